r"""The eigenvectors of the second difference along one axis, in which every function of the Laplacian is a product.

On a box the Laplacian is a sum of one-dimensional operators, one for each axis. Each is symmetric once it is weighted
with the lengths of its control volumes, for any pair of conditions and any widths, and so has real eigenvalues and a
basis of eigenvectors (Lynch, Rice, Thomas 1964). A function of the whole operator is then a matrix product along each
axis, a multiplication, and the products back: pressure, implicit and exact diffusion, of second and of fourth order,
all take their spectrum from here.

Between the centers of a uniform axis the eigenvectors are sines and cosines, and from some length on fast transforms
beat the products with matrices (see `transforms`).
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike

from diffphys.errors import InputError
from diffphys.grids import Conditions, Field, Grid, Periodic
from diffphys.grids.conditions import end_of
from diffphys.grids.ends import ENDS, Kind, kind_of_end
from diffphys.linear import along_axis
from diffphys.operators.differences import second_difference
from diffphys.operators.fourth_order import half_spans, spans
from diffphys.operators.transforms import angles, fast_analysis, fast_synthesis, is_fast, wave
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

    An end with an extra length, which is traced, is taken for one of slope 0: a preconditioner.
    """
    return tuple(Line(grid, axis, offset[axis], kinds, order) for axis, kinds in enumerate(_kinds(conditions)))


class Eigenbasis(NamedTuple):
    """Of the operator `A = inverse . diag(values) . transform` along one axis.

    In float64 on the host, save where an end has an extra length, which is traced.

    Attributes:
        values: The eigenvalues, none of them positive.
        exact_values: Those of the second derivative for the same modes; on a stretched axis equal to `values`.
        transform: From values to coefficients, with zeros for points whose value an end fixes.
        inverse: From coefficients to values, zero at these points.
    """

    values: Any
    exact_values: Any
    transform: Any
    inverse: Any


@prepared
def eigenbasis(line: Line) -> Eigenbasis:
    r"""The eigenbasis of one axis.

    Between the centers of a uniform axis the eigenvectors are waves of the angle $\theta$ per cell that fit the mirrors
    at the ends, and the eigenvalues are

    $$ -\left(\tfrac{2}{h} \sin \tfrac{\theta}{2}\right)^2 \quad \text{(order 2)}, \qquad
       -\left(\tfrac{1}{12 h} (27 \sin \tfrac{\theta}{2} - \sin \tfrac{3 \theta}{2})\right)^2 \quad \text{(order 4)}. $$

    Between those of a stretched axis, to second order, the operator is `-W^-1 (B^T B)` with the differences
    `B = sqrt(w) G` weighted for the faces. Singular values of `B W^-1/2` are as exact for smooth modes as for the
    shortest; eigenvalues of the product would lose twice as many digits. Everything else is found from the matrix.
    """
    uniform = line.grid.uniform[line.axis]
    if line.offset == 0.5 and uniform:
        return _waves(line)
    if line.offset == 0.5 and line.order == 2:
        return _singular_vectors(line)
    matrix, weights, free = symmetrized(line)
    root = np.sqrt(weights[free])
    values, vectors = np.linalg.eigh(matrix[np.ix_(free, free)])
    values = np.minimum(values, 0.0)
    values[values > -1e-13 * np.abs(matrix).max()] = 0.0
    transform, inverse = np.zeros((len(values), len(weights))), np.zeros((len(weights), len(values)))
    transform[:, free] = vectors.T * root
    inverse[free] = vectors / root[:, None]
    return Eigenbasis(values, exact_values(line, values, np), transform, inverse)


def exact_values(line: Line, values: Any, numpy: Any) -> Any:
    """Of the second derivative for the modes with these eigenvalues of the difference of second order."""
    if not line.grid.uniform[line.axis] or line.order != 2:
        return values
    spacing = line.grid.size[line.axis] / line.grid.cells[line.axis]
    return -((2 / spacing * numpy.arcsin(numpy.minimum(numpy.sqrt(-values) * spacing / 2, 1.0))) ** 2)


def _waves(line: Line) -> Eigenbasis:
    cells = line.grid.cells[line.axis]
    spacing = line.grid.size[line.axis] / cells
    theta = angles(cells, line.kinds)
    half = 2 * np.sin(theta / 2)
    symbol = half if line.order == 2 else (27 * half - 2 * np.sin(1.5 * theta)) / 24
    vectors = wave(cells, line.kinds)
    return Eigenbasis(-((symbol / spacing) ** 2), -((theta / spacing) ** 2), vectors.T, vectors)


def _singular_vectors(line: Line) -> Eigenbasis:
    grid, axis, kinds = line.grid, line.axis, line.kinds
    periodic = kinds[0] == "periodic"
    cells, widths = grid.cells[axis], grid.widths(axis) / (grid.size[axis] / grid.cells[axis])
    conductances = 1 / grid.center_distances(axis, periodic)
    difference = np.zeros((len(conductances), cells))
    faces = np.arange(len(conductances))
    inside = faces < cells
    difference[faces[inside], faces[inside]] = 1.0
    below = (faces - 1) % cells if periodic else faces - 1
    np.add.at(difference, (faces[below >= 0], below[below >= 0]), -1.0)
    if not periodic:
        for end, kind in zip((0, -1), kinds, strict=True):
            conductances[end] *= ENDS[kind].weight
    root = np.sqrt(widths)
    _, singular, rows = np.linalg.svd(np.sqrt(conductances)[:, None] * difference / root, full_matrices=True)
    singular = np.pad(singular, (0, cells - len(singular)))
    if not any(kind in ENDS and ENDS[kind].anchors for kind in kinds):
        singular[-1] = 0.0  # the constant
    scale = grid.size[axis] / cells  # conductance / width, both in the user's units
    values = -(singular**2) / scale
    return Eigenbasis(values, values, rows * root, rows.T / root[:, None])


def analyzed(line: Line, values: Array, transforms: str | None = None) -> Array:
    """The coefficients of values along an axis, by a fast transform where it is the faster one: see `takes_fast`."""
    if takes_fast(line, values.dtype, transforms):
        return fast_analysis(values, line.axis, line.kinds)
    return along_axis(eigenbasis(line).transform, values, line.axis)


def synthesized(line: Line, coefficients: Array, transforms: str | None = None) -> Array:
    """The values with these coefficients along an axis."""
    if takes_fast(line, coefficients.dtype, transforms):
        return fast_synthesis(coefficients, line.axis, line.kinds)
    return along_axis(eigenbasis(line).inverse, coefficients, line.axis)


def takes_fast(line: Line, dtype: DTypeLike, transforms: str | None = None) -> bool:
    """Whether the transforms between values and coefficients are fast ones; always the same for both ways.

    Args:
        line: The axis.
        dtype: The type of the values.
        transforms: "matrix", "fast" wherever there is one, or None for the faster one, as measured.
    """
    if transforms == "matrix" or line.offset != 0.5 or not line.grid.uniform[line.axis]:
        return False
    return transforms == "fast" or is_fast(line.grid.cells[line.axis], line.kinds, jnp.dtype(dtype).name)


def symmetrized(line: Line) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The operator between all points, made symmetric by the roots of their weights; the weights, lengths of control
    intervals in the unit of the axis, so that coefficients are as large as values; and which points are free.
    """
    matrix = matrix_of(line)
    bounded_faces = line.offset == 0.0 and line.kinds[0] != "periodic"
    weights = spans(line.grid, line.axis, line.offset, line.kinds[0] == "periodic", line.order)
    weights = weights / line.grid.units[line.axis]
    free = np.ones(len(weights), bool)
    if bounded_faces:
        ends = [ENDS[kind] for kind in line.kinds]
        free[[0, -1]] = [not end.fixes_points for end in ends]
        # The mirror image doubles the one neighbor of a point on the side: it has half a control interval.
        weights[[0, -1]] *= [0.5 if end.parity > 0 else 1.0 for end in ends]
    root = np.sqrt(weights)
    symmetric = root[:, None] * matrix / root
    return (symmetric + symmetric.T) / 2, weights, free


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
        if any(end.extra_length is not None for end in pair):
            bases.append(_basis_with_extra_lengths(field, axis))
        else:
            bases.append(eigenbasis(lines_of(field.grid, field.offset, field.conditions, 2)[axis]))
    return bases


def _basis_with_extra_lengths(field: Field, axis: int) -> Eigenbasis:
    """The eigenbasis beside ends whose extra lengths are traced, found while the program runs.

    Such an end is one of given slope whose slope grows with the value beside it: only an entry of the diagonal differs.
    """
    grid, offset, pair = field.grid, field.offset[axis], field.conditions[axis]
    line = lines_of(grid, field.offset, field.conditions, 2)[axis]
    matrix, weights, free = symmetrized(line)
    drain = jnp.zeros(len(matrix), field.values.dtype)
    widths = grid.widths(axis)
    for end, condition in enumerate(pair):
        length = condition.extra_length
        if length is not None:
            if length.ndim:
                name = type(condition).__name__
                raise InputError(
                    f"Field: {name} on axis {axis} has a profile of lengths, of shape {length.shape}; for implicit and "
                    "exact diffusion one number is accepted."
                )
            width = widths[-end]
            reach = length.astype(drain.dtype) + (width / 2 if offset == 0.5 else 0.0)
            drain = drain.at[-end].add((1.0 if offset == 0.5 else 2.0) / (width * reach))
    (places,) = np.nonzero(free)
    symmetric = jnp.asarray(matrix[np.ix_(places, places)], drain.dtype) - jnp.diag(drain[places])
    values, vectors = jnp.linalg.eigh(symmetric)
    values = jnp.minimum(values, 0.0)
    rows = jnp.asarray(np.sqrt(weights[places]), drain.dtype)
    transform = jnp.zeros((len(places), len(matrix)), drain.dtype).at[:, places].set(vectors.T * rows)
    inverse = jnp.zeros((len(matrix), len(places)), drain.dtype).at[places].set(vectors / rows[:, None])
    return Eigenbasis(values, exact_values(line, values, jnp), transform, inverse)
