r"""An implicit step of diffusion under a constraint: the discrete Stokes problem of a Runge-Kutta stage.

With a projection P that is orthogonal in the product weighted with the volumes, and a symmetric S that is negative
semi-definite there (diffusion over a time), the solution of

$$(1 - P S P)\, x = b$$

is, for `b` without divergence, the velocity of an implicit stage together with its pressure. Where P and S commute, as
between periodic and free-slip sides, $x = (1 - S)^{-1} b$. Next to walls with friction they do not. Conjugate gradients
among the velocities without divergence then take $P (1 - S)^{-1} P$ as preconditioner, an approximation of the same
inverse that is exact away from the walls. Its spectrum begins at one, and ends at 1.2 where `S` reaches over one cell,
at 2 over three, and at about six on the finest grids and longest steps tried (36 x 36): some 10 to 25 iterations to
round-off.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from diffphys.poisson.conjugate_gradients import euclidean_norm, preconditioned


LARGEST_ITERATIONS = 300


def solve_constrained(
    rhs: Array,
    project: Callable[[Array], Array],
    smooth: Callable[[Array], Array],
    precondition: Callable[[Array], Array],
    weights: Array,
) -> Array:
    """The solution of `(1 - P S P) x = rhs`, NaN where no solution is found. Differentiable in both modes.

    Args:
        rhs: One array of all unknowns.
        project: P, linear, orthogonal in the product with these weights.
        smooth: S, linear, symmetric and negative semi-definite in that product.
        precondition: An approximation of the inverse of `1 - S`, symmetric and positive definite in that product.
        weights: The volume of each unknown.
    """
    tolerance = 1e-6 if rhs.dtype == jnp.float32 else 1e-13

    def operator(values: Array) -> Array:
        return weights * (values - project(smooth(project(values))))

    def solve(_, given: Array) -> Array:
        given = given / weights
        largest = jnp.max(jnp.abs(given))  # first, since the squares in a norm may overflow or vanish
        given = given / jnp.where(largest > 0, largest, 1.0)
        # Twice: what one projection leaves of a large part outside could be as large as a small part within.
        within = project(project(given))
        length = euclidean_norm(weights * within)
        length = jnp.where(length > 0, length, 1.0)
        inner, _, converged = preconditioned(
            lambda values: weights * (values - project(smooth(values))),
            lambda residual: project(precondition(project(residual / weights))),
            weights * within / length,
            tolerance,
            LARGEST_ITERATIONS,
        )
        solution = (given - within + inner * length) * largest
        return jnp.where(converged, solution, jnp.nan)

    return jax.lax.custom_linear_solve(operator, weights * rhs, solve, symmetric=True)
