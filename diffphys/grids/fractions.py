"""Which fraction of a cell or face lies where a function is negative.

A k-dimensional box (a cell, or a face in one dimension less) is cut into 2^k smaller ones at its center, and each of
these into k! simplices around the diagonal from the center to the corner. The function is evaluated at their vertices,
which neighboring boxes share, and taken as linear within a simplex. There the negative part is known (Min, Gibou 2007).
"""

import functools
import itertools
from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np
from jax import Array

from diffphys.grids.grid import Grid


def inside_fractions(
    function: Callable[[Sequence[Array]], Array], grid: Grid, normal: int | None, periodic: bool
) -> Array:
    """For each cell, or for each face normal to an axis, the fraction of it where `function` is not positive.

    Args:
        function: From coordinates, one array per axis that broadcast against each other, to values.
        grid: The grid.
        normal: Axis that the faces are normal to, or None for cells.
        periodic: Whether that axis is periodic.
    """
    lines = []
    for axis, edges in enumerate(grid.edges):
        if axis == normal:
            line = edges[: grid.cells[axis] + (not periodic)]
        else:  # edges and centers in turn
            line = np.empty(2 * len(edges) - 1)
            line[0::2], line[1::2] = edges, (edges[:-1] + edges[1:]) / 2
        lines.append(grid.along(axis, jnp.asarray(line)))
    values = function(lines)
    values = jnp.broadcast_to(values, [line.size for line in lines])
    # What touches a face to round-off closes it, instead of a part of it that round-off decides.
    scale = max(float(np.max(np.abs(edges))) for edges in grid.edges)
    values = values - 4 * float(jnp.finfo(values.dtype).eps) * scale
    # Fractions depend on ratios only, and up to fourth powers stand in their formulas.
    values = values / min(grid.units)
    axes = [axis for axis in range(grid.dimensions) if axis != normal]
    if not axes:
        return (values <= 0).astype(values.dtype)
    vertex = functools.cache(functools.partial(_vertices, values, tuple(axes), grid.dimensions))
    orders = list(itertools.permutations(axes))  # each is a way from the center to the corner, along edges
    corners = [jnp.stack([vertex(frozenset(order[:count])) for order in orders], -1) for count in range(len(axes) + 1)]
    return jnp.mean(_negative_fraction(corners), axis=tuple(range(grid.dimensions, corners[0].ndim)))


def _vertices(values: Array, axes: tuple[int, ...], dimensions: int, far: frozenset) -> Array:
    """For each small box its vertex that lies on the edge along the axes `far` and at the center along the others.

    Of shape (*boxes, 2, 2, ...): the last axes, one for each axis that is cut, tell the lower from the upper half.
    """
    for index, axis in enumerate(axes):
        count = values.shape[axis]
        if axis in far:
            edges = jnp.take(values, np.arange(0, count, 2), axis)
            lower = jnp.take(edges, np.arange(0, count // 2), axis)
            upper = jnp.take(edges, np.arange(1, count // 2 + 1), axis)
            values = jnp.stack([lower, upper], dimensions + index)
        else:
            centers = jnp.take(values, np.arange(1, count, 2), axis)
            values = jnp.stack([centers, centers], dimensions + index)
    return values


def _negative_fraction(values: Sequence[Array]) -> Array:
    """The fraction of a simplex where the linear function with these values at its vertices is negative.

    With one vertex of the other sign than the rest, a smaller simplex is cut off at it; of a tetrahedron with two of
    each, the quotient is that of Min and Gibou, written so that no difference of like numbers remains.
    """
    values = jnp.broadcast_arrays(*values)
    if len(values) == 2:
        negative = jnp.maximum(-values[0], 0) + jnp.maximum(-values[1], 0)
        part = _quotient(negative, jnp.abs(values[0]) + jnp.abs(values[1]))
        return jnp.where(jnp.maximum(*values) <= 0, 1.0, part)  # two like numbers near zero would leave round-off
    if len(values) == 3:
        low, middle, high = _sorted(values)
        one = _quotient(low**2, (middle - low) * (high - low))
        two = 1 - _quotient(high**2, (high - middle) * (high - low))
        return jnp.where(low > 0, 0.0, jnp.where(high <= 0, 1.0, jnp.where(middle > 0, one, two)))
    d, c, b, a = _sorted(values)
    one = _quotient(-(d**3), (a - d) * (b - d) * (c - d))
    three = 1 - _quotient(a**3, (a - b) * (a - c) * (a - d))
    product = c * d * (c * d - (c + d) * (a + b)) + a * b * (c**2 + c * d + d**2)
    two = _quotient(product, (a - c) * (a - d) * (b - c) * (b - d))
    mixed = jnp.where(c > 0, one, jnp.where(b > 0, two, three))
    return jnp.where(d > 0, 0.0, jnp.where(a <= 0, 1.0, mixed))


def _quotient(numerator: Array, denominator: Array) -> Array:
    """Where the denominator is zero the quotient is not used; a number there keeps derivatives finite."""
    usable = denominator > 0
    return jnp.where(usable, numerator, 0.0) / jnp.where(usable, denominator, 1.0)


def _sorted(values: Sequence[Array]) -> list[Array]:
    """In increasing order, by exchanges of neighbors."""
    line = list(values)
    for end in range(len(line) - 1, 0, -1):
        for index in range(end):
            low, high = jnp.minimum(line[index], line[index + 1]), jnp.maximum(line[index], line[index + 1])
            line[index], line[index + 1] = low, high
    return line
