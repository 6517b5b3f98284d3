"""The eigenvectors of the second difference along one axis, in which every function of the Laplacian is a product.

On a box the Laplacian is a sum of one-dimensional operators, one for each axis. Each is symmetric once it is weighted
with the lengths of its control volumes, for any pair of conditions and any widths, and so has real eigenvalues and a
basis of eigenvectors (Lynch, Rice, Thomas 1964). A function of the whole operator is then a matrix product along each
axis, a multiplication, and the products back.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from diffphys.errors import InputError
from diffphys.grids import Condition, Field, Grid, Periodic, Robin
from diffphys.grids.conditions import end_of, fixes_points
from diffphys.operators.differences import second_difference
from diffphys.prepared import prepared


class Eigenbasis(NamedTuple):
    """Of the operator `A = inverse . diag(values) . transform` on the free points of one axis.

    In float64 on the host, save where an end has a length that is traced (`Robin`).

    Attributes:
        values: The eigenvalues, none of them positive.
        exact_values: Those of the second derivative for the same modes; on a stretched axis equal to `values`.
        transform: From values to coefficients.
        inverse: From coefficients to values.
    """

    values: Any
    exact_values: Any
    transform: Any
    inverse: Any


@prepared
def eigenbasis(grid: Grid, axis: int, offset: float, kinds: tuple[type[Condition], type[Condition]]) -> Eigenbasis:
    """The eigenbasis of the second difference between the points with this offset along an axis.

    Args:
        grid: The grid.
        axis: The axis.
        offset: 0.5 for centers, 0.0 for faces. A face whose value a `Dirichlet` end fixes is no free point.
        kinds: The types of the conditions at the (lower, upper) end; their numbers do not matter here.
    """
    matrix, lengths, free = _second_difference_matrix(grid, axis, offset, kinds)
    matrix, root = matrix[free, free], np.sqrt(lengths[free])
    symmetric = root[:, None] * matrix / root
    values, vectors = np.linalg.eigh((symmetric + symmetric.T) / 2)
    values = np.minimum(values, 0.0)
    values[values > -1e-13 * np.max(np.add(*second_difference(grid, axis, offset, kinds[0] is Periodic)))] = 0.0
    exact = values
    if grid.uniform[axis]:
        spacing = grid.size[axis] / grid.cells[axis]
        exact = -((2 / spacing * np.arcsin(np.minimum(np.sqrt(-values) * spacing / 2, 1.0))) ** 2)
    return Eigenbasis(values, exact, vectors.T * root, vectors / root[:, None])


def _second_difference_matrix(
    grid: Grid, axis: int, offset: float, kinds: tuple[type[Condition], type[Condition]]
) -> tuple[np.ndarray, np.ndarray, slice]:
    """The second difference between all points, in the user's units, the lengths that make it symmetric, in the axis'
    own unit, and which points are free.
    """
    periodic = kinds[0] is Periodic
    below, above = second_difference(grid, axis, offset, periodic)
    count = len(below)
    matrix = np.diag(-(below + above))
    for index in range(count):
        for other, weight in ((index - 1, below[index]), (index + 1, above[index])):
            if periodic or 0 <= other < count:
                matrix[index, other % count] += weight
    lengths = np.array(grid.widths(axis) if offset == 0.5 else grid.center_distances(axis, periodic))
    lengths /= grid.units[axis]  # only their ratios count; coefficients are then as large as the values
    if not periodic:
        for end, inner, kind, weight in ((0, 1, kinds[0], below[0]), (count - 1, count - 2, kinds[1], above[-1])):
            if offset == 0.5:
                matrix[end, end] += end_of(kind).image * weight
            elif end_of(kind).parity > 0:  # the mirror image doubles the one neighbor of a point on the side
                matrix[end, inner] += weight
                lengths[end] /= 2
    return matrix, lengths, slice(*free_range(count, offset, kinds))


def free_range(count: int, offset: float, kinds: tuple[type[Condition], type[Condition]]) -> tuple[int, int]:
    """The first of the points along an axis that no `Dirichlet` end fixes, and the one behind the last."""
    if offset == 0.5:
        return 0, count
    return int(fixes_points(kinds[0])), count - int(fixes_points(kinds[1]))


def bases_of(field: Field) -> list[Eigenbasis]:
    """The eigenbasis of each axis of a field.

    Raises:
        InputError: if a condition of the field is unknown.
    """
    bases = []
    for axis, pair in enumerate(field.conditions):
        kinds = (type(pair[0]), type(pair[1]))
        if any(kind.end is None and kind is not Periodic for kind in kinds):
            raise InputError(
                f"Field: nothing is known beyond an end of axis {axis}; conditions there are accepted "
                "(Field.with_conditions)."
            )
        if Robin in kinds:
            bases.append(_basis_of_robin(field, axis))
        else:
            bases.append(eigenbasis(field.grid, axis, field.offset[axis], kinds))
    return bases


def _basis_of_robin(field: Field, axis: int) -> Eigenbasis:
    """The eigenbasis beside ends whose lengths are traced, found while the program runs.

    Such an end is one of given slope whose slope grows with the value beside it: only an entry of the diagonal differs.
    """
    grid, offset, pair = field.grid, field.offset[axis], field.conditions[axis]
    matrix, lengths, free = _second_difference_matrix(grid, axis, offset, (type(pair[0]), type(pair[1])))
    root = np.sqrt(lengths)
    symmetric = root[:, None] * matrix / root
    drain = jnp.zeros(len(matrix), field.values.dtype)
    widths = grid.widths(axis)
    for end, condition in enumerate(pair):
        if isinstance(condition, Robin):
            if condition.length.ndim:
                raise InputError(
                    f"Field: Robin on axis {axis} has a profile of lengths, of shape {condition.length.shape}; for "
                    "implicit and exact diffusion one number is accepted."
                )
            width = widths[-end]
            reach = condition.length.astype(drain.dtype) + (width / 2 if offset == 0.5 else 0.0)
            drain = drain.at[-end].add((1.0 if offset == 0.5 else 2.0) / (width * reach))
    symmetric = jnp.asarray(((symmetric + symmetric.T) / 2)[free, free], drain.dtype) - jnp.diag(drain[free])
    values, vectors = jnp.linalg.eigh(symmetric)
    values = jnp.minimum(values, 0.0)
    exact = values
    if grid.uniform[axis]:
        spacing = grid.size[axis] / grid.cells[axis]
        exact = -((2 / spacing * jnp.arcsin(jnp.minimum(jnp.sqrt(-values) * spacing / 2, 1.0))) ** 2)
    rows = jnp.asarray(root[free], drain.dtype)
    return Eigenbasis(values, exact, vectors.T * rows, vectors / rows[:, None])
