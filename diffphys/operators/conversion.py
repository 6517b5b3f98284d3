r"""From centers to faces and back with high accuracy.

The mean of two neighbors multiplies a wave by $\cos(k h / 2)$, so that a round trip loses $\sin^2(k h / 2)$ of it: of
the shortest waves nearly all. Here a periodic axis is shifted by half a cell in Fourier space, which loses nothing, and
other axes are interpolated with polynomials of degree five.
"""

import dataclasses
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import Array

from diffphys.errors import InputError
from diffphys.grids import Field, Grid, Periodic, center_offset, check_field, face_offset
from diffphys.grids.axes import at_axis
from diffphys.grids.field import as_offset, check_velocity
from diffphys.linear import along_axis, linear_map
from diffphys.operators.interpolation import at_new_place


def convert(field: Field, offset: Sequence[float]) -> Field:
    r"""`field` at another offset of the same grid, with high accuracy along each axis that changes.

    Along a uniform periodic axis every wave is shifted as it is, $\hat f_k e^{\pm i k h / 2}$: exact for resolved data,
    and a round trip returns the values to round-off. The one exception of an even number of cells is its highest wave,
    $(-1)^i$, of which the values at one place tell nothing about the other: it is handed on with its amplitude, so
    that the round trip returns it, too.

    Along a bounded or stretched axis the value is that of the polynomial through the three nearest points on each side,
    next to the ends through the nearest four: sixth and fourth order. From centers to faces a `Dirichlet` value is one
    of the points, and is the value on its side.

    Use `interpolate` where a value must stay between its neighbors.

    Args:
        field: The field. Conditions matter only where they are `Periodic` or `Dirichlet`.
        offset: 0.5 or 0.0 for each axis.

    Returns:
        The field there, with the conditions as from `interpolate`.

    Raises:
        InputError: for an offset of another length.
    """
    check_field("convert", "field", field)
    grid = field.grid
    offset = as_offset("convert", offset, grid)
    for axis, place in enumerate(offset):
        if place == field.offset[axis]:
            continue
        if field.periodic[axis] and grid.uniform[axis]:
            values = half_a_cell_on(field.values, axis, 1 if place == 0.5 else -1)
        else:
            values = _by_polynomials(field, axis, place)
        new_offset = tuple(place if a == axis else old for a, old in enumerate(field.offset))
        conditions = tuple(
            old if a == axis or isinstance(old[0], Periodic) else at_new_place(old)
            for a, old in enumerate(field.conditions)
        )
        field = Field(values, grid, new_offset, conditions)
    return field


def faces_to_centers(velocity: Sequence[Field]) -> tuple[Field, ...]:
    """The velocity's components, given on the faces, at the cell centers: see `convert`.

    Raises:
        InputError: if component a does not live on the faces normal to axis a.
    """
    check_velocity("faces_to_centers", "velocity", velocity, real=False)
    for axis, component in enumerate(velocity):
        if component.offset != face_offset(component.grid, axis):
            raise InputError(
                f"faces_to_centers: component {axis} lives at offset {component.offset}; "
                f"{face_offset(component.grid, axis)} is accepted."
            )
    return tuple(convert(component, center_offset(component.grid)) for component in velocity)


def centers_to_faces(velocity: Sequence[Field]) -> tuple[Field, ...]:
    """The velocity's components, given at the cell centers, on the faces normal to their axes: see `convert`.

    Raises:
        InputError: if a component does not live at the centers, or there is not one for each axis.
    """
    check_velocity("centers_to_faces", "velocity", velocity, real=False)
    for axis, component in enumerate(velocity):
        if component.offset != center_offset(component.grid) or len(velocity) != component.grid.dimensions:
            raise InputError(
                f"centers_to_faces: component {axis} of {len(velocity)} lives at offset {component.offset}; one for "
                f"each of {component.grid.dimensions} axes at the centers is accepted."
            )
    return tuple(convert(component, face_offset(component.grid, axis)) for axis, component in enumerate(velocity))


def half_a_cell_on(values: Array, axis: int, direction: int) -> Array:
    """Values along a uniform periodic axis, taken half a cell further up (1) or down (-1): see `convert`.

    By Fourier transforms: the same map as a matrix has entries that fall off slowly, and in single precision its sums
    lose a digit. As an orthogonal map it has its inverse as transpose.
    """
    return linear_map(_HalfCell(axis, direction).shifted, _HalfCell(axis, -direction).shifted, (), (values,))[0]


@dataclasses.dataclass(frozen=True)
class _HalfCell:
    axis: int
    direction: int

    def shifted(self, _: Sequence[Array], operands: Sequence[Array]) -> list[Array]:
        (values,) = operands
        count, is_complex = values.shape[self.axis], jnp.iscomplexobj(values)
        waves = np.fft.fftfreq(count, 1 / count) if is_complex else np.arange(count // 2 + 1)
        phase = np.exp(1j * self.direction * np.pi * waves / count)
        if count % 2 == 0:
            phase[count // 2] = 1.0  # the highest wave keeps its amplitude
        line = phase.reshape(at_axis(self.axis, -1, 1, values.ndim))
        spectrum = (jnp.fft.fft if is_complex else jnp.fft.rfft)(values, axis=self.axis)
        spectrum = spectrum * jnp.asarray(line, spectrum.dtype)
        if is_complex:
            return [jnp.fft.ifft(spectrum, axis=self.axis)]
        return [jnp.fft.irfft(spectrum, count, axis=self.axis)]


def _by_polynomials(field: Field, axis: int, place: float) -> Array:
    """The values at the other place along an axis that is bounded or stretched."""
    pair = field.conditions[axis]
    fixed = tuple(condition.value_on_side is not None for condition in pair)
    matrix = polynomial_matrix(field.grid, axis, place, field.periodic[axis], *fixed)
    lower, inner, upper = matrix[:, :1], matrix[:, 1:-1], matrix[:, -1:]
    values = along_axis(inner, field.values, axis)
    for condition, column in zip(pair, (lower, upper), strict=True):
        value = condition.value_on_side
        if value is not None and place == 0.0:
            value = value.astype(values.dtype)
            values = values + value * field.grid.along(axis, jnp.asarray(column[:, 0], values.dtype))
    return values


def polynomial_matrix(
    grid: Grid, axis: int, place: float, periodic: bool, lower: bool = False, upper: bool = False
) -> np.ndarray:
    """The matrix that gives the values with the offset `place` from those with the other one, in float64.

    Its first and last column belong to the values on the sides, where `lower` and `upper` tell that they are known.
    """
    count = grid.cells[axis]
    edges = grid.edges[axis]
    centers = (edges[:-1] + edges[1:]) / 2
    points, targets = (edges, centers) if place == 0.5 else (centers, edges)
    if periodic:  # three more points beyond each end
        points, targets = points[:count], targets[:count]
        names = np.arange(-3, count + 3)
        points = points[names % count] + grid.size[axis] * (names // count)
        names = 1 + names % count
    else:
        names = 1 + np.arange(len(points))
        if place == 0.0:
            points = np.concatenate([edges[:1][:lower], points, edges[-1:][:upper]])
            names = np.concatenate([[0][:lower], names, [count + 1][:upper]]).astype(int)
    columns = (count if periodic or place == 0.0 else count + 1) + 2
    matrix = np.zeros((len(targets), columns))
    for row, target in enumerate(targets):
        for index, weight in _lagrange(points, target):
            matrix[row, names[index]] += weight
    return matrix


def _lagrange(points: np.ndarray, target: float) -> list[tuple[int, float]]:
    """The indices and weights of the polynomial through the points nearest to a place, three on each side or four."""
    behind = int(np.searchsorted(points, target))
    if 3 <= behind <= len(points) - 3:
        window = range(behind - 3, behind + 3)
    else:
        start = min(max(behind - 2, 0), max(len(points) - 4, 0))
        window = range(start, min(start + 4, len(points)))
    near = points[list(window)]
    weights = []
    for index, point in zip(window, near, strict=True):
        others = near[near != point]
        weights.append((index, float(np.prod((target - others) / (point - others)))))
    return weights
