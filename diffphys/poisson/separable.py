"""Separable problems given by their one-dimensional matrices: `(shift + scale * (A_x + A_y + A_z)) x = rhs`.

Fast diagonalization (Lynch, Rice, Thomas 1964) for any one-dimensional operators that are symmetric in a weighted
scalar product: the pressure of the fourth-order scheme, and implicit diffusion at any place of a staggered grid.
`shift` and `scale` are traced, so that a viscosity or a time step has a gradient and changing it compiles nothing anew.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from diffphys.grids import Conditions, Grid
from diffphys.grids.conditions import end_of
from diffphys.grids.ends import ENDS, Kind, kind_of_end
from diffphys.linear import along_axis
from diffphys.operators.differences import second_difference
from diffphys.operators.fourth_order import half_spans, spans
from diffphys.prepared import prepared


class Line(NamedTuple):
    """One axis of a separable operator, static and hashable: the operator is `laplacian` along it.

    Attributes:
        grid: The grid.
        axis: Which axis.
        offset: Where the unknowns live along it.
        kinds: What holds at both ends, all homogeneous.
        order: 2 or 4.
    """

    grid: Grid
    axis: int
    offset: float
    kinds: tuple[Kind, Kind]
    order: int


def _kinds(conditions: Conditions) -> list[tuple[Kind, Kind]]:
    pairs = [[one.kind or kind_of_end(end_of(one)) for one in pair] for pair in conditions]
    return [(lower, upper) for lower, upper in pairs]


def lines_of(grid: Grid, offset: tuple[float, ...], conditions: Conditions, order: int) -> tuple[Line, ...]:
    """The axes of the Laplacian of a field at this offset with these conditions, whose numbers do not matter.

    An end of `Robin`, whose length is traced, is taken for one of slope 0: a preconditioner.
    """
    return tuple(Line(grid, axis, offset[axis], kinds, order) for axis, kinds in enumerate(_kinds(conditions)))


def solve_separable(lines: tuple[Line, ...], rhs: Array, shift: ArrayLike, scale: ArrayLike) -> Array:
    """The solution of `(shift + scale * laplacian) x = rhs`.

    Points on a boundary where the value is fixed at 0 are no unknowns: `x` is zero there, whatever `rhs` is. Modes for
    which the operator vanishes are left out, so that a pressure is found up to its constant.
    """
    shift, scale = jnp.asarray(shift, rhs.dtype), jnp.asarray(scale, rhs.dtype)
    bases = [eigenbasis_of(line) for line in lines]
    if any(values.size == 0 for values, _, _ in bases):  # one cell between two sides: all of its faces are fixed
        return jnp.zeros_like(rhs)
    coefficients = rhs
    for axis, (_, forward, _) in enumerate(bases):
        coefficients = along_axis(forward, coefficients, axis)
    total = 0.0
    for axis, (values, _, _) in enumerate(bases):
        total = total + values.reshape([-1 if other == axis else 1 for other in range(rhs.ndim)])
    size = max(float(np.abs(values).max()) for values, _, _ in bases)
    vanishes = np.abs(total) < 1e-11 * size
    factor = shift + scale * jnp.asarray(total, rhs.dtype)
    singular = vanishes & (shift == 0)
    coefficients = jnp.where(singular, 0.0, coefficients / jnp.where(singular, 1.0, factor))
    for axis, (_, _, backward) in enumerate(bases):
        coefficients = along_axis(backward, coefficients, axis)
    return coefficients


@prepared
def eigenbasis_of(line: Line) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Eigenvalues, the matrix to the coefficients and the matrix back, in float64 on the host."""
    matrix = matrix_of(line)
    periodic = line.kinds[0] == "periodic"
    # Only the ratios of the weights count; in these units the coefficients are as large as the values.
    weights = spans(line.grid, line.axis, line.offset, periodic, line.order) / line.grid.units[line.axis]
    if line.offset == 0.0 and not periodic:  # a free point on the boundary has half a control interval
        weights[[0, -1]] *= 0.5
    free = np.ones(len(weights), bool)
    if line.offset == 0.0 and not periodic:
        free[[0, -1]] = [not ENDS[kind].fixes_points for kind in line.kinds]
    root = np.sqrt(weights[free])
    symmetric = root[:, None] * matrix[np.ix_(free, free)] / root
    values, vectors = np.linalg.eigh((symmetric + symmetric.T) / 2)
    forward, backward = np.zeros((len(values), len(weights))), np.zeros((len(weights), len(values)))
    forward[:, free] = vectors.T * root
    backward[free] = vectors / root[:, None]
    return values, forward, backward


def matrix_of(line: Line) -> np.ndarray:
    """The dense matrix of the second difference along one axis, ghost points included."""
    grid, axis, offset, (lower, upper), order = line
    periodic = lower == "periodic"
    count = grid.cells[axis] + (1 if offset == 0.0 and not periodic else 0)
    reach = 1 if order == 2 else 3
    ghosts = np.zeros((count + 2 * reach, count))
    ghosts[reach : reach + count] = np.eye(count)
    for step in range(1, reach + 1):
        if periodic:
            ghosts[reach - step, (-step) % count] = ghosts[reach + count - 1 + step, (step - 1) % count] = 1.0
            continue
        first = 1 if offset == 0.0 else 0
        for row, mirror, kind in (
            (reach - step, first + step - 1, lower),
            (reach + count - 1 + step, count - first - step, upper),
        ):
            ghosts[row, mirror] = ENDS[kind].image
    if order == 2:
        below, above = second_difference(grid, axis, offset, periodic)
        rows = np.arange(count)
        matrix = np.zeros((count, count + 2))
        matrix[rows, rows], matrix[rows, rows + 2], matrix[rows, rows + 1] = below, above, -(below + above)
        return matrix @ ghosts
    first = _difference_matrix(count + 6) / half_spans(grid, axis, offset, periodic)[:, None]
    second = _difference_matrix(count + 3) / spans(grid, axis, offset, periodic, 4)[:, None]
    return second @ first @ ghosts


def _difference_matrix(count: int) -> np.ndarray:
    matrix = np.zeros((count - 3, count))
    for row in range(count - 3):
        matrix[row, row : row + 4] = [1 / 24, -9 / 8, 9 / 8, -1 / 24]
    return matrix
