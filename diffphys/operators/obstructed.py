"""Semi-Lagrangian look-ups beside closed cells: a path along which nothing is read through a wall."""

import functools
import itertools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffphys.devices import beside, choose, keeping
from diffphys.errors import InputError
from diffphys.grids import Field, Grid
from diffphys.grids.axes import at_axis
from diffphys.grids.numbers import shown
from diffphys.operators.interpolation import at_indices, index_of, slope_shares, two_sided


def look_up_within(
    field: Field, start: Sequence[Array], displacement: Sequence[Array], closed: np.ndarray, steps: int | None
) -> Array:
    """Multilinear interpolation at `start + displacement`, in cells, without the values of closed cells.

    The path to the foot is followed in steps of at most half a cell; where it would enter a closed cell, or pass
    between two that touch, it ends. At its end the points that cannot be reached from the nearest one through open
    cells have no weight, and the others all of it: a slope of zero at the surface. In a closed cell nothing changes.

    Args:
        field: A centered field; its conditions must define one ghost value at every end.
        start: For each axis the index of each point.
        displacement: For each axis how far its foot lies from it, in cells; not beyond a bounded axis.
        closed: For each cell whether nothing passes it.
        steps: How many steps are enough, or None: as many as the longest displacement asks for.
    """
    is_open = functools.partial(_is_open, ~closed, field.periodic)

    cell, free, fraction = _followed(field.grid, start, displacement, is_open, steps)
    feet = [index + jnp.where(free, one, fraction * one) for index, one in zip(start, displacement, strict=True)]

    lows, fractions = [], []
    for axis, foot in enumerate(feet):
        low = jnp.floor(foot)
        fractions.append(foot - low)
        low, extent = low.astype(jnp.int32), field.grid.cells[axis]
        lows.append((jnp.mod(low, extent) if field.periodic[axis] else jnp.clip(low, -1, extent - 1)) + 1)
    padded = beside(field.padded([(1, 1)] * field.grid.dimensions), lows)
    shares = [slope_shares(field, axis, 1) for axis in range(field.grid.dimensions)]
    interpolated = two_sided(functools.partial(_interpolated, is_open), 1, shares)
    carried = interpolated(padded, tuple(lows), tuple(fractions), tuple(cell))
    return jnp.where(jnp.asarray(closed), field.values, carried)


def come_from_behind(fields: Sequence[Field], paths: Sequence[Sequence[Array]], closed: np.ndarray) -> list[Array]:
    """For each point of some fields whether its foot may lie behind closed cells: where the path meets one and is
    longer than the thinnest wall.

    The points of all fields are followed in one loop, which is compiled once.

    Args:
        fields: The fields, at the faces.
        paths: Of each field for each axis how far the foot lies from each point, in cells; not beyond a bounded axis.
        closed: For each cell whether nothing passes it.
    """
    grid, periodic = fields[0].grid, fields[0].periodic
    walls = [thinnest_wall(closed, axis, wraps) for axis, wraps in enumerate(periodic)]

    def behind(paths: Sequence[Sequence[Array]]) -> list[Array]:
        # One array, however often the loop is traced: `devices.with_matrices` counts them.
        is_open = functools.partial(_is_open, jnp.asarray(~closed), periodic)
        start, path = [], []
        for axis in range(grid.dimensions):
            places = [_in_cells(grid, axis, field.offset[axis], field.values) for field in fields]
            start.append(_one_after_another(places, fields))
            path.append(_one_after_another([of_field[axis] for of_field in paths], fields))
        found = longer_than_walls(path, walls) & ~_followed(grid, start, path, is_open, None)[1]
        ends = np.cumsum([math.prod(field.shape) for field in fields])
        parts = jnp.split(found, ends[:-1])
        return [part.reshape(field.shape) for part, field in zip(parts, fields, strict=True)]

    paths = jax.lax.stop_gradient([list(path) for path in paths])
    longer = [longer_than_walls(path, walls) for path in paths]
    any_longer = functools.reduce(operator.or_, [jnp.any(one) for one in longer])
    return choose(any_longer, behind, lambda _: [one & False for one in longer], paths)


def _one_after_another(arrays: Sequence[Array], fields: Sequence[Field]) -> Array:
    """The numbers of the points of each field in one line."""
    wide = [jnp.broadcast_to(array, field.shape) for array, field in zip(arrays, fields, strict=True)]
    return jnp.concatenate([array.ravel() for array in wide])


def longer_than_walls(displacement: Sequence[Any], walls: Sequence[int | None]) -> Any:
    """For each displacement, or bound of one, whether it may lead through a wall: whether the sum of its parts is
    larger than the thinnest wall, since through one that stands aslant it leads along all axes together. An axis across
    which there is no wall does not count.
    """
    across = [(abs(part), wall) for part, wall in zip(displacement, walls, strict=True) if wall is not None]
    return sum(part for part, _ in across) > min((wall for _, wall in across), default=0)


def thinnest_wall(closed: np.ndarray, axis: int, periodic: bool) -> int | None:
    """The least number of closed cells that stand between two open ones of a line along an axis; None where nowhere any
    do.
    """
    lines = np.moveaxis(closed, axis, -1).reshape(-1, closed.shape[axis])
    thinnest = None
    for line in np.unique(lines, axis=0):
        places = np.flatnonzero(~line)
        if periodic and len(places):
            places = np.append(places, places[0] + len(line))
        walls = np.diff(places) - 1
        walls = walls[walls > 0]
        if len(walls):
            thinnest = int(walls.min()) if thinnest is None else min(thinnest, int(walls.min()))
    return thinnest


def thin_walls(closed: np.ndarray, periodic: Sequence[bool], thickest: int) -> np.ndarray:
    """The closed cells that are part of a wall between two open cells of a line along some axis, of at most so many
    cells.
    """
    thin = np.zeros_like(closed)
    for axis, wraps in enumerate(periodic):
        free = _with_none_beyond(~closed, axis, (thickest, thickest), wraps)
        ways = []
        for sign in (-1, 1):
            way = np.full(closed.shape, 2 * thickest)
            for steps in range(thickest, 0, -1):
                start = thickest + sign * steps
                way = np.where(free.take(range(start, start + closed.shape[axis]), axis), steps, way)
            ways.append(way)
        thin |= closed & (ways[0] + ways[1] - 1 <= thickest)
    return thin


def pinched(closed: np.ndarray, periodic: Sequence[bool]) -> np.ndarray:
    """The closed cells at which two open cells meet along an edge alone: the two cells beside both are closed."""
    found = np.zeros_like(closed)
    for first, second in itertools.combinations(range(closed.ndim), 2):
        for sign in (-1, 1):
            # The cell next along the first axis, next along the second, and next along both; none is open outside.
            along, across = np.roll(closed, -1, first), np.roll(closed, -sign, second)
            beyond = np.roll(along, -sign, second)
            meet = ~closed & ~beyond & along & across
            for axis, last in ((first, -1), (second, -1 if sign == 1 else 0)):
                if not periodic[axis]:
                    meet[(slice(None),) * axis + (last,)] = False
            found |= np.roll(meet, 1, first) | np.roll(meet, sign, second)
    return found


def points_near(field: Field, cells: np.ndarray, reach: int) -> np.ndarray:
    """The points of a field that lie in, on the faces of, or within so many points along the axes of one of these
    cells.
    """
    for axis, (place, wraps) in enumerate(zip(field.offset, field.periodic, strict=True)):
        if place == 0.0:
            before = np.roll(cells, 1, axis) if wraps else _with_none_beyond(cells, axis, (1, 0), wraps)
            behind = cells if wraps else _with_none_beyond(cells, axis, (0, 1), wraps)
            cells = before | behind
    for axis, wraps in enumerate(field.periodic):
        cells = _dilated(cells, axis, reach, wraps)
    return cells


def _dilated(points: np.ndarray, axis: int, reach: int, wraps: bool) -> np.ndarray:
    """The points that lie within `reach` of one of these along an axis."""
    padded = _with_none_beyond(points, axis, (reach, reach), wraps)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis)
    return np.asarray(windows.any(axis=-1))


def _with_none_beyond(points: np.ndarray, axis: int, widths: tuple[int, int], wraps: bool) -> np.ndarray:
    """What is said of points along an axis, with so many beyond its ends of which it is not true."""
    return np.pad(points, at_axis(axis, widths, (0, 0), points.ndim), mode="wrap" if wraps else "constant")


def leads_freely(field: Field, positions: Sequence[Array], closed: np.ndarray) -> Array:
    """For each point of a field whether a straight way leads to its position through open cells alone."""
    is_open = functools.partial(_is_open, ~closed, field.periodic)
    start = [_in_cells(field.grid, axis, place, field.values) for axis, place in enumerate(field.offset)]
    # Indices count from the field's own points; the difference of two is that of two in cells.
    displacement = [
        index_of(field, axis, position, wrap=False) - (start[axis] + 0.5 - field.offset[axis])
        for axis, position in enumerate(positions)
    ]
    return _followed(field.grid, start, displacement, is_open, None)[1]


def _in_cells(grid: Grid, axis: int, place: float, values: Array) -> Array:
    """The indices of points along an axis in those of cells: a lower face lies half a cell before its cell's center."""
    return grid.along(axis, jnp.arange(values.shape[axis], dtype=values.dtype) - (0.5 - place))


def _followed(
    grid: Grid,
    start: Sequence[Array],
    displacement: Sequence[Array],
    is_open: Callable[[Sequence[Array]], Array],
    steps: int | None,
) -> tuple[list[Array], Array, Array]:
    """Straight paths, followed in steps of at most half a cell until they would enter a closed cell: the cell where
    each ends, whether it came to its foot, and which fraction of it was made.

    Args:
        grid: The grid.
        start: For each axis the index of each point that they start from, in those of cells.
        displacement: For each axis how far its foot lies from it, in cells.
        is_open: Whether nothing is in a cell.
        steps: How many steps are enough, or None: as many as the longest displacement asks for.
    """
    # The path is no function that is differentiated: where it ends, it ends nearby as well.
    path = [jax.lax.stop_gradient(part) for part in displacement]
    start = [beside(index, path) for index in start]
    above = [jnp.ceil(index) for index in start]  # of a point between two cells the cell above it
    home = [jnp.broadcast_to(cell, path[0].shape).astype(jnp.int32) for cell in above]
    before = [index - cell for index, cell in zip(start, above, strict=True)]
    longest = jnp.max(jnp.stack([jnp.max(jnp.abs(part)) for part in path]))
    bound = 4 * max(grid.cells)  # beyond that, periods are passed at once
    count = jnp.clip(jnp.ceil(2 * longest), 1, bound) if steps is None else steps
    count = jnp.asarray(jnp.where(jnp.isfinite(longest), count, 1), jnp.int32)

    def advance(carry: tuple, index: Array) -> tuple:
        cell, free, fraction = carry
        part = (index + 1).astype(path[0].dtype) / count.astype(path[0].dtype)
        ahead = [_nearest(origin, way + part * one) for origin, way, one in zip(home, before, path, strict=True)]
        free = free & _reachable(cell, ahead, is_open)
        cell = [jnp.where(free, new, old) for new, old in zip(ahead, cell, strict=True)]
        return cell, free, jnp.where(free, part, fraction)

    nothing = jnp.zeros(path[0].shape, path[0].dtype)
    advance, carry = keeping(advance, (home, is_open(home), nothing), jnp.zeros((), jnp.int32))
    first = beside(jnp.zeros((), jnp.int32), count)
    return jax.lax.fori_loop(first, count, lambda index, carry: advance(carry, index), carry)


def _interpolated(
    is_open: Callable[[Sequence[Array]], Array],
    padded: Array,
    lows: Sequence[Array],
    fractions: Sequence[Array],
    cell: Sequence[Array],
) -> Array:
    """Multilinear between those of the points around a place that can be reached from a cell beside it."""
    total, weights, all_open = jnp.zeros((), padded.dtype), jnp.zeros((), padded.dtype), jnp.asarray(True)
    for bits in itertools.product((0, 1), repeat=len(lows)):
        weight = jnp.ones((), padded.dtype)
        for bit, fraction in zip(bits, fractions, strict=True):
            weight = weight * (fraction if bit else 1 - fraction)
        place = [low + bit for low, bit in zip(lows, bits, strict=True)]
        reached = _reachable(cell, [index - 1 for index in place], is_open)
        total = total + jnp.where(reached, weight * at_indices(padded, place), 0)
        weights = weights + jnp.where(reached, weight, 0)
        all_open = all_open & reached
    return total / jnp.where(all_open, 1.0, weights)


def check_closed(owner: str, name: str, closed: object, shape: tuple[int, ...]) -> None:
    """Raise `InputError` unless it says of each cell or face of this shape whether it is closed."""
    if not isinstance(closed, np.ndarray) or closed.dtype != bool or closed.shape != shape:
        given = f"has shape {closed.shape}" if isinstance(closed, np.ndarray) else f"is {shown(closed)}"
        raise InputError(f"{owner}: {name} {given}; a NumPy array of booleans of shape {shape} is accepted.")


def _is_open(open_cells: np.ndarray | Array, periodic: Sequence[bool], cell: Sequence[Array]) -> Array:
    """Whether nothing is in a cell; a ghost cell is as open as the cell whose image it is."""
    place = [
        jnp.mod(index, count) if wraps else jnp.clip(index, 0, count - 1)
        for index, count, wraps in zip(cell, open_cells.shape, periodic, strict=True)
    ]
    return at_indices(beside(jnp.asarray(open_cells), place), place)


def _nearest(home: Array, displacement: Array) -> Array:
    """The nearest cell; of two equally near ones that from which the path comes."""
    distance = jnp.where(jnp.isfinite(displacement), displacement, 0)
    steps = jnp.sign(distance) * jnp.ceil(jnp.abs(distance) - 0.5)
    return home + steps.astype(jnp.int32)


def _reachable(cell: Sequence[Array], target: Sequence[Array], is_open: Callable[[Sequence[Array]], Array]) -> Array:
    """Whether a way of steps along single axes leads through open cells from a cell to a neighbor of it."""
    axes = range(len(cell))
    reached: dict[tuple[bool, ...], Array] = {}
    for moved in itertools.product((False, True), repeat=len(cell)):
        here = is_open([target[axis] if moved[axis] else cell[axis] for axis in axes])
        before = [reached[tuple(m and a != axis for a, m in enumerate(moved))] for axis in axes if moved[axis]]
        if before:
            way = before[0]
            for other in before[1:]:
                way = way | other
            here = here & way
        reached[moved] = here
    return reached[(True,) * len(cell)]
