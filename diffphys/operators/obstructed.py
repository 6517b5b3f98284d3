"""Semi-Lagrangian look-ups beside closed cells: a path along which nothing is read through a wall."""

import itertools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffphys.grids import Field


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
    open_ = jnp.asarray(~closed)
    periodic = field.periodic

    def is_open(cell: Sequence[Array]) -> Array:
        return open_[tuple(_within(index, field, axis, periodic[axis]) for axis, index in enumerate(cell))]

    # The path is no function that is differentiated: where it ends, it ends nearby as well.
    path = [jax.lax.stop_gradient(part) for part in displacement]
    home = [jnp.broadcast_to(index, field.shape).astype(jnp.int32) for index in start]
    longest = jnp.max(jnp.stack([jnp.max(jnp.abs(part)) for part in path]))
    bound = 4 * max(field.grid.cells)  # beyond that, periods are passed at once
    count = jnp.clip(jnp.ceil(2 * longest), 1, bound) if steps is None else steps
    count = jnp.asarray(jnp.where(jnp.isfinite(longest), count, 1), jnp.int32)

    def advance(index: Array, carry: tuple) -> tuple:
        cell, free, fraction = carry
        part = (index + 1).astype(path[0].dtype) / count.astype(path[0].dtype)
        ahead = [_nearest(origin, part * one) for origin, one in zip(home, path, strict=True)]
        free = free & _reachable(cell, ahead, is_open)
        cell = [jnp.where(free, new, old) for new, old in zip(ahead, cell, strict=True)]
        return cell, free, jnp.where(free, part, fraction)

    nothing = jnp.zeros(field.shape, path[0].dtype)
    cell, free, fraction = jax.lax.fori_loop(0, count, advance, (home, is_open(home), nothing))
    feet = [index + jnp.where(free, one, fraction * one) for index, one in zip(start, displacement, strict=True)]

    padded = field.padded([(1, 1)] * field.grid.dimensions)
    lows = [jnp.floor(foot) for foot in feet]
    total, weights, all_open = jnp.zeros((), padded.dtype), jnp.zeros((), padded.dtype), jnp.asarray(True)
    for bits in itertools.product((0, 1), repeat=len(feet)):
        weight, place, corner = jnp.ones((), padded.dtype), [], []
        for axis, (bit, low, foot) in enumerate(zip(bits, lows, feet, strict=True)):
            ahead = foot - low
            weight = weight * (ahead if bit else 1 - ahead)
            index = low.astype(jnp.int32) + bit
            corner.append(index)
            inside = jnp.mod(index, field.shape[axis]) if periodic[axis] else jnp.clip(index, -1, field.shape[axis])
            place.append(inside + 1)
        reached = _reachable(cell, corner, is_open)
        total = total + jnp.where(reached, weight * padded[tuple(place)], 0)
        weights = weights + jnp.where(reached, weight, 0)
        all_open = all_open & reached
    carried = total / jnp.where(all_open, 1.0, weights)
    return jnp.where(jnp.asarray(closed), field.values, carried)


def _within(index: Array, field: Field, axis: int, periodic: bool) -> Array:
    """A ghost cell is as open as the cell whose image it is."""
    count = field.grid.cells[axis]
    return jnp.mod(index, count) if periodic else jnp.clip(index, 0, count - 1)


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
