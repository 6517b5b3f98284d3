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

import functools
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import Array

from diffphys.errors import InputError
from diffphys.grids import Field, Grid, Periodic, Unknown
from diffphys.grids.ends import lengths_beyond
from diffphys.grids.numbers import as_whole, shown
from diffphys.operators.differences import slice_axis


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
    width = ((2, 1) if periodic else (2, 2)) if to_faces else ((1, 2) if periodic else (1, 1))
    padded = field.padded([width if a == axis else (0, 0) for a in range(grid.dimensions)])
    offset = tuple(0.5 - place if a == axis else place for a, place in enumerate(field.offset))
    conditions = tuple(pair if isinstance(pair[0], Periodic) else (Unknown(), Unknown()) for pair in field.conditions)
    span = along(grid, axis, spans(grid, axis, offset[axis], periodic, 4), padded.dtype)
    return Field(_difference(padded, axis) / span, grid, offset, conditions)


def fourth_order_divergence(velocity: Sequence[Field]) -> Field:
    """The divergence of a staggered vector field at the cell centers, by `fourth_order_difference`."""
    terms = [fourth_order_difference(component, axis) for axis, component in enumerate(velocity)]
    return terms[0].with_values(sum((term.values for term in terms[1:]), terms[0].values))


def fourth_order_gradient(field: Field) -> tuple[Field, ...]:
    """The gradient of a centered field on the faces of each axis, by `fourth_order_difference`."""
    return tuple(fourth_order_difference(field, axis) for axis in range(field.grid.dimensions))


def fourth_order_laplacian(field: Field) -> Field:
    """The sum of second derivatives at the field's own place: the difference of `fourth_order_difference`."""
    grid = field.grid
    total = jnp.zeros_like(field.values)
    for axis in range(grid.dimensions):
        padded = field.padded([(3, 3) if a == axis else (0, 0) for a in range(grid.dimensions)])
        offset, periodic = field.offset[axis], field.periodic[axis]
        between = half_spans(grid, axis, offset, periodic)
        slope = _difference(padded, axis) / along(grid, axis, between, padded.dtype)
        span = along(grid, axis, spans(grid, axis, offset, periodic, 4), padded.dtype)
        total = total + _difference(slope, axis) / span
    return field.with_values(total)


def spans(grid: Grid, axis: int, offset: float, periodic: bool, order: int) -> np.ndarray:
    """The length of the control interval around each point with this offset, as the differences of that order see it:
    to second order the distance of the two points half a cell away.
    """
    return _spans(grid, axis, offset, periodic, order, 0)


def along(grid: Grid, axis: int, line: np.ndarray, dtype) -> Array | float:
    """An array of one axis shaped for broadcasting, or one number along a uniform axis."""
    if grid.uniform[axis]:
        return grid.size[axis] / grid.cells[axis]
    return jnp.asarray(line, dtype).reshape([-1 if other == axis else 1 for other in range(grid.dimensions)])


def _difference(padded: Array, axis: int) -> Array:
    count = padded.shape[axis]
    near = slice_axis(padded, axis, 2, count - 1) - slice_axis(padded, axis, 1, count - 2)
    far = slice_axis(padded, axis, 3, count) - slice_axis(padded, axis, 0, count - 3)
    return 9 / 8 * near - far / 24


def half_spans(grid: Grid, axis: int, offset: float, periodic: bool) -> np.ndarray:
    """Spans of the points half a cell away from those with this offset, from 3/2 cells before to 3/2 cells behind."""
    count = grid.cells[axis] + (1 if offset == 0.0 and not periodic else 0)
    if periodic:
        first = 2 if offset == 0.5 else 1
        return _spans(grid, axis, 0.5 - offset, True, 4, 3)[first : first + count + 3]
    first = 1 if offset == 0.5 else 0
    return _spans(grid, axis, 0.5 - offset, False, 4, 2)[first : first + count + 3]


@functools.lru_cache(maxsize=256)
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
