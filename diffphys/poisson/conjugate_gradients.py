"""Conjugate gradients: the iterative solver, and the independent check of the direct ones."""

import dataclasses

import jax
import jax.numpy as jnp
import lineax
from jax import Array

from diffphys.errors import InputError
from diffphys.poisson.problem import PressureProblem, Solution, apply, check_right_side, without_null_space


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
        check_right_side(problem, rhs)
        rhs, imbalance = without_null_space(problem, rhs)
        tolerance = self.tolerance or (1e-5 if rhs.dtype == jnp.float32 else 1e-10)
        iterations = self.largest_iterations or 10 * sum(problem.grid.cells)

        def negative_laplacian(pressure: Array) -> Array:  # positive semi-definite
            return -apply(problem, pressure)

        # In units of the smallest spacing the operator's entries are of size one, and so is every right side below.
        # Lineax divides residuals by `atol + rtol * |right side|` entry by entry, so that an rtol alone would ask for
        # an exact zero (or 0 / 0) wherever the right side is zero: the tolerance is given as an atol.
        unit = min(problem.grid.spacing) ** 2
        operator = lineax.FunctionLinearOperator(
            lambda pressure: unit * negative_laplacian(pressure),
            jax.eval_shape(lambda: rhs),
            lineax.positive_semidefinite_tag,
        )
        method = lineax.CG(rtol=0.0, atol=tolerance, max_steps=iterations, norm=_euclidean_norm)

        def scaled_solve(_, given: Array) -> tuple[Array, tuple[Array, Array]]:
            given, _ = without_null_space(problem, given)
            largest = jnp.max(jnp.abs(given))  # first, since the squares in a norm may overflow or vanish
            given = given / jnp.where(largest > 0, largest, 1.0)
            length = _euclidean_norm(given)
            length = jnp.where(length > 0, length, 1.0)
            found = lineax.linear_solve(operator, given / length, method, throw=False)
            pressure, _ = without_null_space(problem, found.value)
            converged = (found.result == lineax.RESULTS.successful) & jnp.isfinite(length * largest)
            return pressure * (length * unit) * largest, (found.stats["num_steps"], converged)

        pressure, (steps, converged) = jax.lax.custom_linear_solve(
            negative_laplacian, -rhs, scaled_solve, symmetric=True, has_aux=True
        )
        residual = jnp.max(jnp.abs(apply(problem, pressure) - rhs))
        return Solution(pressure, residual, steps, converged, imbalance)


def _euclidean_norm(values: Array) -> Array:
    return jnp.sqrt(jnp.sum(values**2))
