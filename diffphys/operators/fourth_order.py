r"""Central differences of fourth order on a staggered grid.

With $\delta_1 f$ the difference of the two nearest points and $\delta_3 f$ that of the two next ones, three spacings
apart,

$$\frac{\mathrm{d} f}{\mathrm{d} x} \approx \frac{1}{h} \Big(\frac98\, \delta_1 f - \frac1{24}\, \delta_3 f\Big)$$

(Morinishi, Lund, Vasilyev, Moin 1998). Along a stretched axis the same differences are taken in the cells' index, of
the values and of the coordinates (Verstappen, Veldman 2003). Beyond the ends stand the ghost points of the field's
conditions. They are mirror images, so that the gradient stays exactly minus the transpose of the divergence. The order
is four where the mirrored field is smooth, as at periodic and free-slip sides; next to a no-slip wall the error of the
mirror image is that of the second-order scheme.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import Array

from diffphys.errors import InputError
from diffphys.grids import Field, Grid, Periodic, Unknown
from diffphys.grids.axes import at_axis
from diffphys.grids.ends import lengths_beyond
from diffphys.grids.numbers import as_whole, shown
from diffphys.operators.differences import periodic_sum, shifted_sum
from diffphys.prepared import prepared


WEIGHTS = (1 / 24, -9 / 8, 9 / 8, -1 / 24)
"""Of the four nearest points in a difference over one spacing."""


def check_order(owner: str, order: int) -> None:
    """Raise `InputError` unless the spatial order is 2 or 4."""
    if as_whole(order) not in (2, 4):
        raise InputError(f"{owner}: order is {shown(order)}; 2 or 4 is accepted.")


def fourth_order_difference(field: Field, axis: int) -> Field:
    """The derivative of `field` along `axis`, half a cell away, with the nearest four points.

    Raises:
        InputError: if a ghost value is needed that no condition defines.
    """
    grid, periodic, to_faces = field.grid, field.periodic[axis], field.offset[axis] == 0.5
    offset = tuple(0.5 - place if a == axis else place for a, place in enumerate(field.offset))
    conditions = tuple(pair if isinstance(pair[0], Periodic) else (Unknown(), Unknown()) for pair in field.conditions)
    unit = grid.size[axis] / grid.cells[axis] if grid.uniform[axis] else 1.0
    weights = [weight / unit for weight in WEIGHTS]
    if periodic:
        values = periodic_sum(field.values, _stencil(grid, axis, weights, first=-2 if to_faces else -1))
    else:
        reach = 2 if to_faces else 1
        padded = field.padded(at_axis(axis, (reach, reach), (0, 0), grid.dimensions))
        values = _difference(padded, axis, weights)
    if not grid.uniform[axis]:
        values = values / along(grid, axis, spans(grid, axis, offset[axis], periodic, 4), values.dtype)
    return Field(values, grid, offset, conditions)


def fourth_order_divergence(velocity: Sequence[Field]) -> Field:
    """The divergence of a staggered vector field at the cell centers, by `fourth_order_difference`."""
    terms = [fourth_order_difference(component, axis) for axis, component in enumerate(velocity)]
    return terms[0].with_values(sum((term.values for term in terms[1:]), terms[0].values))


def fourth_order_laplacian(field: Field) -> Field:
    """The sum of second derivatives at the field's own place: the difference of `fourth_order_difference`.

    Along uniform axes both differences are one stencil of seven points,
    `(f[-3] - 54 f[-2] + 783 f[-1] - 1460 f[0] + ...) / (24 h)^2`.
    """
    grid, dimensions = field.grid, field.grid.dimensions
    uniform = [axis for axis in range(dimensions) if grid.uniform[axis]]
    seven = {
        axis: (np.convolve(WEIGHTS, WEIGHTS) / (grid.size[axis] / grid.cells[axis]) ** 2).tolist() for axis in uniform
    }
    if len(uniform) == dimensions and all(field.periodic):
        stencil: dict[tuple[int, ...], float] = {}
        for axis, weights in seven.items():
            for place, weight in _stencil(grid, axis, weights, first=-3).items():
                stencil[place] = stencil.get(place, 0.0) + weight
        return field.with_values(periodic_sum(field.values, stencil))
    parts = []
    for axis in uniform:
        # Along each axis alone as convection has them, so that a program makes ghost points once.
        padded = field.padded(at_axis(axis, (3, 3), (0, 0), dimensions))
        parts.append(shifted_sum(padded, field.shape, _stencil(grid, axis, seven[axis], first=0)))
    for axis in range(dimensions):
        if grid.uniform[axis]:
            continue
        padded = field.padded(at_axis(axis, (3, 3), (0, 0), dimensions))
        offset, periodic = field.offset[axis], field.periodic[axis]
        between = half_spans(grid, axis, offset, periodic)
        slope = _difference(padded, axis, WEIGHTS) / along(grid, axis, between, padded.dtype)
        span = along(grid, axis, spans(grid, axis, offset, periodic, 4), padded.dtype)
        parts.append(_difference(slope, axis, WEIGHTS) / span)
    return field.with_values(sum(parts[1:], parts[0]))


def spans(grid: Grid, axis: int, offset: float, periodic: bool, order: int) -> np.ndarray:
    """The length of the control interval around each point with this offset, as the differences of that order see it:
    to second order the distance of the two points half a cell away.
    """
    return _spans(grid, axis, offset, periodic, order, 0)


def along(grid: Grid, axis: int, line: np.ndarray, dtype) -> Array | float:
    """An array of one axis shaped for broadcasting, or one number along a uniform axis."""
    if grid.uniform[axis]:
        return grid.size[axis] / grid.cells[axis]
    return jnp.asarray(line, dtype).reshape(at_axis(axis, -1, 1, grid.dimensions))


def _difference(padded: Array, axis: int, weights: Sequence[float]) -> Array:
    shape = [extent - 3 if a == axis else extent for a, extent in enumerate(padded.shape)]
    places = {at_axis(axis, s, 0, padded.ndim): weight for s, weight in enumerate(weights)}
    return shifted_sum(padded, shape, places)


def _stencil(grid: Grid, axis: int, weights: Sequence[float], first: int) -> dict[tuple[int, ...], float]:
    """The weights of the points along an axis, of which the first is `first` steps on."""
    return {at_axis(axis, first + step, 0, grid.dimensions): weight for step, weight in enumerate(weights)}


def half_spans(grid: Grid, axis: int, offset: float, periodic: bool) -> np.ndarray:
    """Spans of the points half a cell away from those with this offset, from 3/2 cells before to 3/2 cells behind."""
    count = grid.cells[axis] + (1 if offset == 0.0 and not periodic else 0)
    if periodic:
        first = 2 if offset == 0.5 else 1
        return _spans(grid, axis, 0.5 - offset, True, 4, 3)[first : first + count + 3]
    first = 1 if offset == 0.5 else 0
    return _spans(grid, axis, 0.5 - offset, False, 4, 2)[first : first + count + 3]


@prepared
def _spans(grid: Grid, axis: int, offset: float, periodic: bool, order: int, ghosts: int) -> np.ndarray:
    count = grid.cells[axis]
    extra = ghosts + 3
    widths = lengths_beyond(grid.widths(axis), periodic, extra)
    edges = np.concatenate([[0.0], np.cumsum(widths)])
    centers = (edges[1:] + edges[:-1]) / 2
    # Face i of the grid is edge i + extra, and the points beside it are the centers i + extra - 1 and i + extra.
    points = centers if offset == 0.0 else edges
    shift = -1 if offset == 0.0 else 0
    number = count + 1 if offset == 0.0 and not periodic else count
    index = np.arange(-ghosts, number + ghosts) + extra + shift
    near = points[index + 1] - points[index]
    if order == 2:
        return near
    return 9 / 8 * near - (points[index + 2] - points[index - 1]) / 24
