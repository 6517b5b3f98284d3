r"""Differences of fourth order around an obstacle of whole cells, and the pressure that belongs to them.

On a uniform axis the wide divergence is the narrow one of a flux, $D_4 = D_2 M$ with

$$ (M u)_f = u_f - \tfrac1{24} \big( (u_{f + 1} - u_f) - (u_f - u_{f - 1}) \big), $$

and the wide gradient is $G_4 = M G_2$. Each difference in M links two faces. Beside an obstacle those links are left
out that touch one of its faces: there the divergence is the one of second order, and so is the gradient. M stays
symmetric, so that the gradient remains minus the transpose of the divergence, and the projection orthogonal; an
obstacle's faces have neither flux nor gradient.

The pressure's operator $D_2 M P M G_2$, in which P closes the obstacle's faces, is no longer separable. But M lies
between 1 and 7/6, whatever is left out, so that conjugate gradients with the direct solution of second order as
preconditioner gain more than a digit in each iteration.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffphys.errors import InputError
from diffphys.grids.ends import values_beside
from diffphys.linear import linear_solve
from diffphys.poisson.capacitance import ObstacleCorrected
from diffphys.poisson.conjugate_gradients import euclidean_norm, preconditioned
from diffphys.poisson.problem import (
    PressureProblem,
    Solution,
    face_divergence,
    face_gradient,
    right_side,
    without_null_space,
)


class WideDifferences(eqx.Module):
    """The differences and the direct solver's use for them.

    Args:
        problem: The problem of second order, with solid cells, on a uniform grid.
        largest_iterations: After how many iterations to give up, with NaN as pressure.

    Raises:
        InputError: if an axis is stretched, or there are no solid cells.
    """

    problem: PressureProblem = eqx.field(static=True)
    largest_iterations: int = eqx.field(static=True, default=60)

    def __check_init__(self):
        if self.problem.solid is None or self.problem.order != 2 or not all(self.problem.grid.uniform):
            raise InputError(
                "WideDifferences: the problem is stretched, of order 4 or without solid cells; a problem of order 2 "
                "with solid cells on a uniform grid is accepted (FastDiagonalization solves order 4 without)."
            )

    def left_out(self, axis: int) -> np.ndarray:
        """For each cell whether the link between its two faces normal to the axis touches an obstacle's face."""
        below, above = values_beside(self.problem.solid_cells, axis, self.problem.kinds[axis], edge=True)
        touches = np.asarray(below | above)
        if self.problem.kinds[axis][0] == "periodic":
            return touches | np.roll(touches, -1, axis)
        count = touches.shape[axis] - 1
        return touches.take(range(count), axis) | touches.take(range(1, count + 1), axis)

    def put_back(self, values: Array, axis: int) -> Array:
        """What leaving out those links adds to the flux of values on the faces normal to an axis."""
        return self._second_difference(values, axis, self.left_out(axis)) / 24

    def flux(self, values: Array, axis: int) -> Array:
        """`M values` for the faces normal to an axis, with mirror images beyond the ends that fit the pressure's."""
        return values - self._second_difference(values, axis, ~self.left_out(axis)) / 24

    def gradient(self, pressure: Array) -> list[Array]:
        """The gradient on the faces of each axis, zero on an obstacle's."""
        slopes = face_gradient(self.problem, pressure)
        closed = self.problem.closed_faces()
        return [
            self.flux(slope * jnp.asarray(~faces, slope.dtype), axis)
            for axis, (slope, faces) in enumerate(zip(slopes, closed, strict=True))
        ]

    def apply(self, pressure: Array) -> Array:
        """The divergence of the gradient."""
        fluxes = [self.flux(slope, axis) for axis, slope in enumerate(self.gradient(pressure))]
        return face_divergence(self.problem, fluxes)

    @jax.named_scope("pressure_solve")
    def solve(self, rhs: Array) -> Solution:
        """Solve `apply(pressure) = rhs` for an array at the cell centers; NaN where the iteration does not converge."""
        rhs = right_side(self.problem, rhs)
        rhs, imbalance = without_null_space(self.problem, rhs)
        pressure, (steps, converged) = linear_solve(self.apply, rhs, self._solved, symmetric=True, has_aux=True)
        residual = jnp.max(jnp.abs(self.apply(pressure) - rhs))
        return Solution(pressure, residual, steps, converged, imbalance)

    def _solved(self, _, given: Array) -> tuple[Array, tuple[Array, Array]]:
        given, _imbalance = without_null_space(self.problem, given)
        largest = jnp.max(jnp.abs(given))
        given = given / jnp.where(largest > 0, largest, 1.0)
        length = euclidean_norm(given)
        length = jnp.where(length > 0, length, 1.0)
        narrow = ObstacleCorrected(self.problem)
        unit = min(self.problem.grid.units) ** 2  # in which the operator is of size one
        pressure, steps, converged = preconditioned(
            lambda values: -unit * self.apply(values),
            lambda residual: -narrow.solve(residual / unit).pressure,
            given / length,
            1e-6 if given.dtype == jnp.float32 else 1e-14,
            self.largest_iterations,
        )
        pressure, _imbalance = without_null_space(self.problem, pressure)
        return jnp.where(converged, -unit * pressure * length * largest, jnp.nan), (steps, converged)

    def _second_difference(self, values: Array, axis: int, links: np.ndarray) -> Array:
        kinds = self.problem.kinds[axis]
        if kinds[0] == "periodic":
            rise = jnp.roll(values, -1, axis) - values
        else:
            rise = jnp.diff(values, axis=axis)
        below, above = values_beside(rise * jnp.asarray(links, values.dtype), axis, kinds)
        return jnp.asarray(above - below)
