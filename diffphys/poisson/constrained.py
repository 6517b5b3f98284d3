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

Beside an immersed body S is not quite symmetric: an entry and its mirror image differ by up to a quarter of the largest
entry. The spectrum of the preconditioned matrix stays real but for 0.006, from 0.8 to 2.4 where `S` reaches over 1.4
cells, to 4.9 over ten, and to 10 over 67 (14 x 12 and 21 x 18 cells): 17 to 26 iterations to round-off. Nor is it
symmetric of fourth order beside a wall with partial slip, beyond which there is no mirror image.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax import Array

from diffphys.linear import linear_solve
from diffphys.poisson.conjugate_gradients import preconditioned
from diffphys.poisson.iterations import euclidean_norm, until_small


LARGEST_ITERATIONS = 300


def solve_constrained(
    rhs: Array,
    project: Callable[[Array], Array],
    smooth: Callable[[Array], Array],
    precondition: Callable[[Array], Array],
    weights: Array,
    symmetric: bool = True,
    exact: bool = True,
) -> Array:
    """The solution of `(1 - P S P) x = rhs`, NaN where no solution is found. Differentiable in both modes.

    The functions are trees of JAX whose leaves are all the arrays that they use: see `linear.linear_solve`.

    Args:
        rhs: One array of all unknowns.
        project: P, linear, orthogonal in the product with these weights.
        smooth: S, linear, symmetric and negative semi-definite in that product.
        precondition: An approximation of the inverse of `1 - S`, symmetric and positive definite in that product.
        weights: The volume of each unknown.
        symmetric: Whether S is symmetric in that product. Where it is only nearly so, as beside an immersed body,
            generalized conjugate residuals take the place of conjugate gradients.
        exact: Whether P is exact. Where it is a solution by iteration itself, less is asked for.
    """
    if exact:
        tolerance = 1e-6 if rhs.dtype == jnp.float32 else 1e-13
    else:
        tolerance = 1e-4 if rhs.dtype == jnp.float32 else 1e-9
    system = _Constrained(project, smooth, precondition, weights, tolerance)
    if symmetric:
        return linear_solve(system.operator, weights * rhs, system.by_conjugate_gradients, symmetric=True)
    # The adjoint of S stands in the transposed operator; the preconditioner is symmetric and serves both.
    return linear_solve(
        system.operator, weights * rhs, system.by_minimal_residuals, system.transposed_by_minimal_residuals
    )


class _Constrained(eqx.Module):
    """The operator, weighted, and the iterations that solve for it."""

    project: Callable[[Array], Array]
    smooth: Callable[[Array], Array]
    precondition: Callable[[Array], Array]
    weights: Array
    tolerance: float = eqx.field(static=True)

    def operator(self, values: Array) -> Array:
        return self.weights * (values - self.project(self.smooth(self.project(values))))

    def by_conjugate_gradients(self, _: Any, given: Array) -> Array:
        return self._solved(
            given,
            lambda given: preconditioned(
                self._within_constraint,
                lambda residual: self.project(self.precondition(self.project(residual / self.weights))),
                given,
                self.tolerance,
                LARGEST_ITERATIONS,
            ),
        )

    def by_minimal_residuals(self, _: Any, given: Array) -> Array:
        return self.transposed_by_minimal_residuals(self._within_constraint, given)

    def transposed_by_minimal_residuals(self, transposed: Callable[[Array], Array], given: Array) -> Array:
        return self._solved(
            given,
            lambda given: minimal_residuals(
                transposed,
                lambda residual: self.project(self.precondition(residual / self.weights)),
                given,
                self.tolerance,
                LARGEST_ITERATIONS,
            ),
        )

    def _within_constraint(self, values: Array) -> Array:
        return self.weights * (values - self.project(self.smooth(values)))

    def _solved(self, given: Array, iterate: Callable[[Array], tuple[Array, Array, Array]]) -> Array:
        given = given / self.weights
        largest = jnp.max(jnp.abs(given))  # first, since the squares in a norm may overflow or vanish
        given = given / jnp.where(largest > 0, largest, 1.0)
        # Twice: what one projection leaves of a large part outside could be as large as a small part within.
        within = self.project(self.project(given))
        length = euclidean_norm(self.weights * within)
        length = jnp.where(length > 0, length, 1.0)
        inner, _, converged = iterate(self.weights * within / length)
        solution = (given - within + inner * length) * largest
        return jnp.where(converged, solution, jnp.nan)


def minimal_residuals(
    operator: Callable[[Array], Array],
    preconditioner: Callable[[Array], Array],
    given: Array,
    tolerance: float,
    largest_iterations: int,
    kept: int = 30,
) -> tuple[Array, Array, Array]:
    """Preconditioned generalized conjugate residuals (Eisenstat, Elman, Schultz 1983), orthogonal to the last `kept`
    directions: the solution, the number of iterations, whether the tolerance was met.

    The residuals are those of GMRES. As in `conjugate_gradients.preconditioned` each of the two functions appears once
    in the compiled program, in `jax.scipy.sparse.linalg.gmres` several times.
    """

    def improved(
        steps: Array, solution: Array, residual: Array, directions: Array, responses: Array
    ) -> tuple[Array, Array, Array, Array]:
        direction = preconditioner(residual)
        response = operator(direction)
        for _ in range(2):  # once leaves the round-off of what it takes away
            shares = responses @ response
            direction, response = direction - shares @ directions, response - shares @ responses
        length = euclidean_norm(response)
        inverse = jnp.where(length > 0, 1 / jnp.where(length > 0, length, 1.0), 0.0)
        direction, response = inverse * direction, inverse * response
        step = jnp.sum(residual * response)
        place = steps % kept
        return (
            solution + step * direction,
            residual - step * response,
            directions.at[place].set(direction),
            responses.at[place].set(response),
        )

    none = jnp.zeros_like(given, shape=(kept, *given.shape))
    return until_small(improved, (jnp.zeros_like(given), given, none, none), tolerance, largest_iterations)
