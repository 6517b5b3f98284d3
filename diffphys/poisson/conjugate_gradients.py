"""Conjugate gradients: the iterative solver, and the independent check of the direct ones."""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from diffphys.grids.numbers import plain, whole_number
from diffphys.poisson.finite_volumes import (
    FiniteVolumes,
    Problem,
    bytes_of_finite_volumes,
    finite_volumes,
    null_space_remover,
    outflow,
)
from diffphys.poisson.iterations import IterativeSolver, check_problem, until_small
from diffphys.poisson.problem import right_side


class ConjugateGradients(IterativeSolver):
    """Conjugate gradients on the pressure problem (Hestenes, Stiefel 1952), matrix-free.

    The derivative is the solution of the same symmetric system (`jax.lax.custom_linear_solve`), never an unrolled
    iteration. Every right side, a cotangent's too, is scaled to size one first, so that tiny ones are not lost; a
    gradient is NaN where the solve for it does not converge. Each cell is preconditioned by its diagonal entry. The
    number of iterations grows with the cells along an axis: `MultigridConjugateGradients` is the solver for more than
    a few.

    Args:
        problem: The problem, of any kind.
        tolerance: Largest residual relative to the right side (both in the Euclidean norm, each cell counted by its
            volume). Default: 1e-5 in float32, 1e-10 in float64.
        largest_iterations: After how many iterations to give up. Default: ten times the number of cells along all axes,
            summed.
        throw: Whether not converging raises an error when the program runs, instead of only showing in the solution.
        keep: Whether the pressure is the last iterate where it did not converge; else it is NaN there.
    """

    problem: Problem
    tolerance: float | None = eqx.field(static=True, default=None)
    largest_iterations: int | None = eqx.field(static=True, converter=plain, default=None)
    throw: bool = eqx.field(static=True, default=False)
    keep: bool = eqx.field(static=True, default=True)

    def prepared_bytes(self, dtype: DTypeLike = jnp.float32) -> int:
        """How many bytes a compiled program holds of what is prepared for values of this type: the finite volumes."""
        return bytes_of_finite_volumes(self.problem, dtype)

    def _iterated(self, system: FiniteVolumes, given: Array, tolerance: float) -> tuple[Array, Array, Array]:
        iterations = self.largest_iterations or 10 * sum(self.problem.grid.cells)
        diagonal = system.diagonal()
        inverse = 1 / jnp.where(diagonal > 0, diagonal, 1)
        return preconditioned(
            lambda pressure: outflow(system, pressure), lambda values: inverse * values, given, tolerance, iterations
        )


def _largest(residual: Array) -> Array:
    return jnp.max(jnp.abs(residual))


class ConjugateGradientSteps(NamedTuple):
    """What a number of steps of conjugate gradients leads to.

    Attributes:
        pressure: Array at the cell centers.
        residuals: What is kept of `rhs - A pressure` before the first step and after each, by default its largest
            absolute value.
    """

    pressure: Array
    residuals: Array


def conjugate_gradient_steps(
    problem: Problem,
    rhs: Array,
    guess: Array,
    iterations: int,
    preconditioner: Callable[[Array], Array] | None = None,
    save: Callable[[Array], Array] = _largest,
) -> ConjugateGradientSteps:
    r"""So many steps of conjugate gradients from a guess (Hestenes, Stiefel 1952), for training a network that guesses.

    The derivative is that of the steps themselves, not that of the solution, in both modes: with k steps the pressure
    depends on the guess, least of all on its parts that k steps remove. Among all pressures that differ from the guess
    by an element of the Krylov space of its residual r, $\text{span}(r, A r, \dots, A^{k-1} r)$, the result is nearest
    to the solution in the norm of -A.

    `ConjugateGradients` solves to a tolerance, from zero.

    Args:
        problem: The problem, of any kind.
        rhs: Array at the cell centers; its component in the null space is left out.
        guess: Where the steps begin; its component in the null space stays.
        iterations: How many steps, k. Steps beyond an exact solution change nothing.
        preconditioner: From a residual times the volumes of the cells to an approximation of the error, linear,
            symmetric and positive, such as `MultigridConjugateGradients.precondition`. Default: none.
        save: From the residual `rhs - A pressure`, an array at the cell centers, to what is kept of it. Default: its
            largest absolute value.

    Raises:
        InputError: for arrays of another shape, or a number of steps below one.
    """
    check_problem("conjugate_gradient_steps", problem)
    iterations = whole_number("conjugate_gradient_steps: iterations", iterations)
    rhs = right_side(problem, rhs, "conjugate_gradient_steps: rhs")
    guess = right_side(problem, guess, "conjugate_gradient_steps: guess").astype(rhs.dtype)
    system = finite_volumes(problem, rhs.dtype)
    remove = null_space_remover(problem, rhs.dtype)

    def ratio(one: Array, other: Array) -> Array:
        return jnp.where(other > 0, one / jnp.where(other > 0, other, 1), 0 * one)

    def improved(state: tuple[Array, ...], _: None) -> tuple[tuple[Array, ...], Array]:
        pressure, residual, direction, last = state
        corrected = residual if preconditioner is None else preconditioner(residual)
        product = jnp.sum(residual * corrected)
        direction = corrected + ratio(product, last) * direction
        response = outflow(system, direction)
        length = ratio(product, jnp.sum(direction * response))
        residual = within(residual - length * response)
        return (pressure + length * direction, residual, direction, product), saved(residual)

    def saved(residual: Array) -> Array:
        return save(-residual / system.volumes)

    def within(residual: Array) -> Array:
        # What round-off brings into the null space would be divided by the eigenvalue zero once all else has vanished.
        return system.volumes * remove(residual / system.volumes)[0]

    first = within(-rhs * system.volumes - outflow(system, guess))
    start = (guess, first, jnp.zeros_like(guess), jnp.ones((), rhs.dtype))
    (pressure, *_), residuals = jax.lax.scan(improved, start, length=iterations)
    return ConjugateGradientSteps(pressure, jnp.concatenate([saved(first)[None], residuals]))


def preconditioned(
    operator: Callable[[Array], Array],
    preconditioner: Callable[[Array], Array],
    given: Array,
    tolerance: float,
    largest_iterations: int,
) -> tuple[Array, Array, Array]:
    """Preconditioned conjugate gradients: the solution, the number of iterations, whether the tolerance was met.

    Each of the two functions appears once in the compiled program; `lineax.CG` holds the operator three times and the
    preconditioner twice, which for a multigrid cycle is most of the compile time. It also gives up with NaN where
    `p . S p` is below `200 eps N` times `r . r`: in float32 on 64 x 64 cells for any smooth right side.
    """

    def improved(
        _: Array, solution: Array, residual: Array, direction: Array, last: Array
    ) -> tuple[Array, Array, Array, Array]:
        corrected = preconditioner(residual)
        product = jnp.sum(residual * corrected)
        direction = corrected + product / last * direction
        response = operator(direction)
        curvature = jnp.sum(direction * response)
        length = jnp.where(curvature > 0, product / jnp.where(curvature > 0, curvature, 1), curvature * 0)
        return solution + length * direction, residual - length * response, direction, product

    zero = jnp.zeros_like(given)
    return until_small(improved, (zero, given, zero, jnp.ones((), given.dtype)), tolerance, largest_iterations)
