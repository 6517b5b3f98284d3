"""Conjugate gradients: the iterative solver, and the independent check of the direct ones."""

import dataclasses

import jax
import jax.numpy as jnp
import lineax
from jax import Array

from diffphys.errors import InputError
from diffphys.poisson.problem import PressureProblem, Solution, apply, without_null_space


@dataclasses.dataclass(frozen=True)
class ConjugateGradients:
    """Conjugate gradients on the pressure problem (Hestenes, Stiefel 1952), matrix-free, by Lineax.

    The derivative is the solution of the same symmetric system (`jax.lax.custom_linear_solve`), never an unrolled
    iteration. Every right side, a cotangent's too, is scaled to size one first, so that tiny ones are not lost.

    Args:
        problem: The problem.
        tolerance: Largest residual relative to the right side (both in the Euclidean norm). Default: 1e-5 in float32,
            1e-10 in float64.
        largest_iterations: After how many iterations to give up. Default: ten times the number of cells along all axes,
            summed.
    """

    problem: PressureProblem
    tolerance: float | None = None
    largest_iterations: int | None = None

    def __post_init__(self):
        if self.tolerance is not None and not 0 < self.tolerance < 1:
            raise InputError(
                f"ConjugateGradients: tolerance is {self.tolerance}; a number between 0 and 1 is accepted."
            )
        if self.largest_iterations is not None and self.largest_iterations < 1:
            raise InputError(
                f"ConjugateGradients: largest_iterations is {self.largest_iterations}; at least 1 is accepted."
            )

    def solve(self, rhs: Array) -> Solution:
        """Solve `A pressure = rhs` for an array at the cell centers. Not converging shows in `Solution.converged`."""
        problem = self.problem
        rhs, imbalance = without_null_space(problem, rhs)
        tolerance = self.tolerance or (1e-5 if rhs.dtype == jnp.float32 else 1e-10)
        iterations = self.largest_iterations or 10 * sum(problem.grid.cells)

        def negative_laplacian(pressure: Array) -> Array:  # positive semi-definite
            return -apply(problem, pressure)

        def scaled_solve(_, given: Array) -> tuple[Array, tuple[Array, Array]]:
            given, _ = without_null_space(problem, given)
            size = jnp.max(jnp.abs(given))
            size = jnp.where(size > 0, size, 1.0)
            operator = lineax.FunctionLinearOperator(
                negative_laplacian, jax.eval_shape(lambda: given), lineax.positive_semidefinite_tag
            )
            method = lineax.CG(rtol=tolerance, atol=0.0, max_steps=iterations, norm=lambda x: jnp.sqrt(jnp.sum(x**2)))
            found = lineax.linear_solve(operator, given / size, method, throw=False)
            pressure, _ = without_null_space(problem, found.value)
            return pressure * size, (found.stats["num_steps"], found.result == lineax.RESULTS.successful)

        pressure, (steps, converged) = jax.lax.custom_linear_solve(
            negative_laplacian, -rhs, scaled_solve, symmetric=True, has_aux=True
        )
        residual = jnp.max(jnp.abs(apply(problem, pressure) - rhs))
        return Solution(pressure, residual, steps, converged, imbalance)
