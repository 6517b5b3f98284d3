"""From one place to another: linear averages between offsets, linear look-ups at any point."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.custom_derivatives import SymbolicZero

from diffphys.devices import are_several, beside
from diffphys.errors import InputError
from diffphys.grids import Field, Periodic, Unknown, check_field
from diffphys.grids.ends import lengths_beside
from diffphys.grids.field import as_offset
from diffphys.grids.numbers import as_floating, shown
from diffphys.operators.differences import weighted_pair


def interpolate(field: Field, offset: Sequence[float]) -> Field:
    """`field` at another offset of the same grid, by the mean of the two neighbors along each axis that changes.

    Second-order accurate, exact for linear functions: along a stretched axis the mean is weighted by the distances. On
    a boundary face the mean with the ghost value gives a `Dirichlet` value exactly. What holds at the ends is kept
    along axes that do not change, and where it is a fixed value.

    Raises:
        InputError: if a ghost value is needed that no condition defines.
    """
    check_field("interpolate", "field", field)
    offset = as_offset("interpolate", offset, field.grid)
    # From centers to faces first: that is where ghost values, and so the field's own conditions, are needed.
    for axis in sorted(range(field.grid.dimensions), key=lambda axis: -field.offset[axis]):
        place = offset[axis]
        if place != field.offset[axis]:
            new_offset = tuple(place if a == axis else old for a, old in enumerate(field.offset))
            conditions = tuple(
                pair if a == axis or isinstance(pair[0], Periodic) else at_new_place(pair)
                for a, pair in enumerate(field.conditions)
            )
            field = Field(weighted_pair(field, axis, _weights_halfway(field, axis)), field.grid, new_offset, conditions)
    return field


def linear_interpolation_matrix(places: np.ndarray, points: np.ndarray, period: float | None = None) -> np.ndarray:
    """The matrix of linear interpolation along a line, from values at `places` to values at `points`.

    Beyond the first and the last place it takes their values; a line with a period goes on there.

    Args:
        places: Where the values are, increasing, (places,).
        points: Where they are wanted, (points,).
        period: Of the line, or None where it ends.

    Returns:
        Array of shape (points, places).
    """
    return np.stack([np.interp(points, places, one, period=period) for one in np.eye(len(places))], axis=1)


def sample(field: Field, points: Sequence[Array]) -> Array:
    """The values of `field` at any points, by multilinear interpolation.

    Points outside of a bounded domain are moved to its boundary first; a periodic axis wraps.

    Args:
        field: The field; its conditions must define one ghost value at every end.
        points: One array of coordinates for each axis, all of one shape.

    Returns:
        Array of that shape.
    """
    check_field("sample", "field", field)
    grid = field.grid
    if not isinstance(points, Sequence):
        raise InputError(f"sample: points is {shown(points)}; an array of coordinates for each axis is accepted.")
    if len(points) != grid.dimensions:
        raise InputError(
            f"sample: points has {len(points)} arrays; one for each of {grid.dimensions} axes is accepted."
        )
    indices = []
    for axis, point in enumerate(points):
        indices.append(index_of(field, axis, as_floating(point, f"sample: points[{axis}]"), wrap=True))
    return look_up(field, indices)


def index_of(field: Field, axis: int, position: Array, *, wrap: bool) -> Array:
    """The real-valued index, among the field's points along an axis, of a position in the user's units.

    Linear between neighboring points; positions outside of a bounded axis are moved to its end first. On a periodic
    axis each period adds the number of cells, or with `wrap` nothing.
    """
    grid = field.grid
    if grid.uniform[axis]:
        position = (position - grid.origin[axis]) / (grid.size[axis] / grid.cells[axis])
        if not field.periodic[axis]:
            position = jnp.clip(position, 0.0, grid.cells[axis])
        elif wrap:
            position = jnp.mod(position, grid.cells[axis])
        return position - field.offset[axis]
    start, length = grid.origin[axis], grid.size[axis]
    points = _points_with_ghosts(field, axis)
    indices = np.arange(len(points)) - 1.0
    points, indices = (beside(jnp.asarray(line, position.dtype), position) for line in (points, indices))
    if not field.periodic[axis]:
        position = jnp.clip(position, start, start + length)
        return _between(position, points, indices)
    periods = jnp.floor((position - start) / length)
    within = position - periods * length
    index = _between(within, points, indices)
    return index if wrap else index + periods * grid.cells[axis]


@jax.custom_jvp
def _between(position: Array, points: Array, indices: Array) -> Array:
    """Linear between the points. On a point the slope is that across the two intervals beside it, of which
    `slope_shares` makes the mean slope of a look-up.
    """
    if not are_several(position):
        return jnp.interp(position, points, indices)
    # The search of JAX (0.10.2) fails for what is explicitly spread over devices.
    low = jnp.sum(position[..., None] >= points[1:-1], -1)
    share = (position - points[low]) / (points[low + 1] - points[low])
    return indices[low] + jnp.clip(share, 0, 1) * (indices[low + 1] - indices[low])


@_between.defjvp
def _between_jvp(primals, tangents):
    position, points, indices = primals
    value = _between(position, points, indices)
    nearest = jnp.round(value)
    beside = at_point(value, nearest, len(points))
    first = indices[0]
    lower = jnp.where(beside, nearest - 1, jnp.floor(value)) - first
    upper = jnp.where(beside, nearest + 1, jnp.floor(value) + 1) - first
    lower, upper = (jnp.clip(end.astype(jnp.int32), 0, len(points) - 1) for end in (lower, upper))
    slope = (indices[upper] - indices[lower]) / (points[upper] - points[lower])
    return value, slope * tangents[0]


def at_point(index: Array, nearest: Array | float | int, count: int) -> Array:
    """Where a real-valued index among `count` points is that of a point, but for round-off."""
    return jnp.abs(index - nearest) <= 4 * jnp.finfo(index.dtype).eps * count


def _points_with_ghosts(field: Field, axis: int) -> np.ndarray:
    """The coordinates of the points along a stretched axis and of one ghost point beyond each end."""
    grid = field.grid
    edges, length = grid.edges[axis], grid.size[axis]
    points = (edges[:-1] + edges[1:]) / 2 if field.offset[axis] == 0.5 else edges
    if field.periodic[axis]:
        points = points[: grid.cells[axis]]
        return np.concatenate([points[-1:] - length, points, points[:1] + length])
    inner = (0, -1) if field.offset[axis] == 0.5 else (1, -2)
    return np.concatenate([[2 * edges[0] - points[inner[0]]], points, [2 * edges[-1] - points[inner[1]]]])


Instead = tuple[Array, Field] | None
"""For each point that is looked up whether another field stands in the place of the first, and that field; or None."""


def look_up(field: Field, indices: Sequence[Array], instead: Instead = None) -> Array:
    """Multilinear interpolation at real-valued indices of the field's own points, at most one beyond each end.

    Args:
        field: The field.
        indices: For each axis the indices.
        instead: Where another field, with points at the same places, is looked up instead, and that field.
    """
    lows, weights = [], []
    for axis, index in enumerate(indices):
        low = jnp.clip(jnp.floor(index), -1, field.shape[axis] - 1)
        weights.append(index - low)
        lows.append(low.astype(jnp.int32) + 1)
    padded, which = padded_for_look_up(field, lows, instead)
    shares = [slope_shares(field, axis, 1) for axis in range(field.grid.dimensions)]
    return two_sided(_multilinear, 1, shares)(padded, tuple(lows), tuple(weights), *which)


def padded_for_look_up(field: Field, indices: Sequence[Array], instead: Instead) -> tuple[Array, tuple[Array, ...]]:
    """The values with a ghost point at each end, and what a look-up there adds to its indices.

    With another field they have a last axis of two entries, and the further index says of which field each point is.
    """
    widths = [(1, 1)] * field.grid.dimensions
    if instead is None:
        return beside(field.padded(widths), indices), ()
    condition, other = instead
    both = jnp.stack([field.padded(widths), other.padded(widths)], axis=-1)
    return beside(both, indices), (condition.astype(jnp.int32),)


def at_indices(values: Array, indices: Sequence[Array]) -> Array:
    """`values[indices]` for whole numbers that are known to be within the array: none counts from its end, so that
    nothing is asked of their signs.
    """
    return values.at[tuple(indices)].get(mode="promise_in_bounds", wrap_negative_indices=False)


class SlopeShares(NamedTuple):
    """With which weights the slopes per index in the two cells beside each point of an axis make the slope there.

    Attributes:
        below: For each padded point the weight of the cell below it.
        above: For each padded point the weight of the cell above it.
    """

    below: tuple[float, ...]
    above: tuple[float, ...]


def slope_shares(field: Field, axis: int, padding: int) -> SlopeShares | None:
    """The weights with which a look-up has the mean of both cells' slopes at a point; None where all are one half.

    With lengths `h` and `H` of the cells below and above, an index that moves at the rate of `index_of`, which is
    `2 / (h + H)` per length, makes the mean slope `(s / h + S / H) / 2` of `s (h + H) / (4 h) + S (h + H) / (4 H)`.
    What lies beyond the end of a bounded axis is never looked up: a point there has the slope of the cell within.

    Args:
        field: The field that is looked up.
        axis: The axis.
        padding: How many ghost points stand at each end.
    """
    uniform, ends = field.grid.uniform[axis], not field.periodic[axis] and field.offset[axis] == 0.0
    if uniform and not ends:
        return None
    gaps = np.diff(_points_with_ghosts(field, axis))
    both = gaps[:-1] + gaps[1:]
    shares = [np.full(both.shape, 0.5) if uniform else both / (4 * gap) for gap in (gaps[:-1], gaps[1:])]
    if ends:
        (shares[0][0], shares[1][0]), (shares[0][-1], shares[1][-1]) = (0.0, 1.0), (1.0, 0.0)
    if field.periodic[axis]:
        padded = [np.pad(share, padding, mode="wrap") for share in shares]
    else:
        padded = [np.pad(share, padding, constant_values=0.5) for share in shares]
    below, above = (tuple(share.tolist()) for share in padded)
    return SlopeShares(below, above)


def two_sided(interpolation: Callable, reach: int, shares: Sequence[SlopeShares | None]) -> Callable:
    """An interpolation whose slope at a point is the mean of those in the two cells that share the point.

    Args:
        interpolation: From an array, for each axis the indices of the points below, and for each axis how far on to the
            next, to the interpolated values; what else it is given is taken as it is.
        reach: How many points on each side of the place it needs.
        shares: For each axis the weights of the two slopes: see `slope_shares`.
    """
    function = jax.custom_jvp(interpolation)
    function.defjvp(functools.partial(_two_sided_jvp, interpolation, reach, shares), symbolic_zeros=True)
    return function


@jax.custom_jvp
def kept_between(values: Array, smallest: Array, largest: Array) -> Array:
    """The values, kept between bounds. On a bound, but for round-off, they keep their own derivative: where the fluid
    is at rest each point is one of the extremes around it, and nothing is limited.
    """
    return jnp.clip(values, smallest, largest)


@kept_between.defjvp
def _kept_between_jvp(primals, tangents):
    values, smallest, largest = primals
    margin = round_off_of(smallest, largest)
    own, low, high = tangents
    tangent = jnp.where(values < smallest - margin, low, jnp.where(values > largest + margin, high, own))
    return kept_between(*primals), tangent


def round_off_of(smallest: Array, largest: Array) -> Array:
    """By how much a value between two others may differ by round-off."""
    return 8 * jnp.finfo(smallest.dtype).eps * jnp.maximum(jnp.abs(smallest), jnp.abs(largest))


def two_sided_within(interpolation: Callable, bounds: Callable, reach: int, shares: Sequence[SlopeShares | None]):
    """As `two_sided`, for an interpolation whose values are kept between bounds that each cell has for itself.

    At a point each of the two cells has a slope of its own, zero where the value would leave the bounds of that cell:
    the slope is the mean of these, and not what the mean of both without bounds would be.

    Args:
        interpolation: See `two_sided`.
        bounds: From an array and for each axis the indices of the points below to the smallest and the largest value.
        reach: See `two_sided`.
        shares: See `two_sided`.
    """

    def kept(padded: Array, lows: Sequence[Array], fractions: Sequence[Array]) -> Array:
        return kept_between(interpolation(padded, lows, fractions), *bounds(padded, lows))

    function = jax.custom_jvp(kept)

    @function.defjvp
    def _(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
        (padded, lows, fractions), (padded_tangent, _, moved) = primals, tangents
        value, tangent = jax.jvp(lambda padded: kept(padded, lows, fractions), (padded,), (padded_tangent,))
        for axis, change in enumerate(moved):
            at_a_point, sides = _sides(padded, lows, fractions, axis, reach, shares[axis])
            for onward, (low, fraction, share) in zip((-1.0, 1.0), sides, strict=True):
                corners = [low if a == axis else other for a, other in enumerate(lows)]

                def along(place: Array, axis: int = axis, corners: list[Array] = corners) -> Array:
                    return interpolation(padded, corners, [place if a == axis else f for a, f in enumerate(fractions)])

                there, slope = jax.jvp(along, (fraction,), (jnp.ones_like(fraction),))
                smallest, largest = bounds(padded, corners)
                margin = round_off_of(smallest, largest)
                rises, falls = onward * slope > 0, onward * slope < 0
                leaves = (rises & (there >= largest - margin)) | (falls & (there <= smallest + margin))
                beyond = (there > largest + margin) | (there < smallest - margin)
                free = ~jnp.where(at_a_point, leaves, beyond)
                tangent = tangent + jnp.where(free, slope, 0.0) * share * change
        return value, tangent

    return function


def _sides(
    padded: Array, lows: Sequence[Array], fractions: Sequence[Array], axis: int, reach: int, own: SlopeShares | None
) -> tuple[Array, list[tuple[Array, Array, Any]]]:
    """Where a place is that of a point along an axis; and of the cells below and above it the index of the point below,
    how far on to the next, and the weight of the cell's slope. Within a cell both are that cell.
    """
    low, fraction = lows[axis], fractions[axis]
    first, last = (at_point(fraction, end, padded.shape[axis]) for end in (0.0, 1.0))
    down, up = first & (low >= reach), last & (low < padded.shape[axis] - reach - 1)
    share: Any = (0.5, 0.5)
    if own is not None:
        point = jnp.where(last, low + 1, low)
        weights = [beside(jnp.asarray(part, fraction.dtype), point)[point] for part in own]
        share = [jnp.where(first | last, weight, 0.5) for weight in weights]
    return first | last, [
        (jnp.where(down, low - 1, low), jnp.where(down, fraction + 1, fraction), share[0]),
        (jnp.where(up, low + 1, low), jnp.where(up, fraction - 1, fraction), share[1]),
    ]


def _two_sided_jvp(interpolation: Callable, reach: int, shares: Sequence[SlopeShares | None], primals, tangents):
    padded, lows, fractions, *given = primals
    padded_tangent, _, moved, *_ = tangents
    if isinstance(padded_tangent, SymbolicZero):
        value = interpolation(padded, lows, fractions, *given)
        tangent = jnp.zeros_like(value)
    else:
        value, tangent = jax.jvp(
            lambda padded: interpolation(padded, lows, fractions, *given), (padded,), (padded_tangent,)
        )
    if all(isinstance(part, SymbolicZero) for part in moved):
        return value, tangent
    moved = tuple(
        jnp.zeros_like(fraction) if isinstance(part, SymbolicZero) else part
        for part, fraction in zip(moved, fractions, strict=True)
    )
    # The slopes are values: of each axis the derivative keeps one array, and not what each corner gives to it.
    sides = [_sides(padded, lows, fractions, axis, reach, shares[axis])[1] for axis in range(len(lows))]
    slopes = [jnp.zeros_like(value) for _ in moved]
    for side in zip(*sides, strict=True):
        corners, places, weights = zip(*side, strict=True)
        _, pull = jax.vjp(functools.partial(_at_places, interpolation, padded, corners, given), places)
        (along,) = pull(jnp.ones_like(value))
        slopes = [slope + weight * one for slope, weight, one in zip(slopes, weights, along, strict=True)]
    for slope, change in zip(slopes, moved, strict=True):
        tangent = tangent + slope * change
    return value, tangent


def _at_places(
    interpolation: Callable, padded: Array, corners: Sequence[Array], given: Sequence[Any], places: Sequence[Array]
) -> Array:
    return interpolation(padded, corners, places, *given)


def _multilinear(padded: Array, lows: Sequence[Array], fractions: Sequence[Array], *which: Array) -> Array:
    total = jnp.zeros((), padded.dtype)
    for corner in range(2 ** len(lows)):
        bits = [(corner >> axis) & 1 for axis in range(len(lows))]
        weight = jnp.ones((), padded.dtype)
        for bit, fraction in zip(bits, fractions, strict=True):
            weight = weight * (fraction if bit else 1 - fraction)
        place = [low + bit for low, bit in zip(lows, bits, strict=True)]
        total = total + weight * at_indices(padded, (*place, *which))
    return total


def _weights_halfway(field: Field, axis: int) -> tuple[float, float] | tuple[Array, Array]:
    """The weights of linear interpolation halfway between faces, or at the face between two centers."""
    if field.grid.uniform[axis] or field.offset[axis] == 0.0:
        return 0.5, 0.5
    widths = field.grid.widths(axis)
    lower, upper = lengths_beside(widths, field.periodic[axis])
    weight = field.grid.along(axis, jnp.asarray(upper / (lower + upper), field.values.dtype))
    return weight, 1 - weight


def at_new_place(pair):
    """Along another axis a profile of values has one entry for each old point, so only uniform conditions are carried
    over.
    """
    uniform = all(all(jnp.ndim(leaf) == 0 for leaf in vars(condition).values()) for condition in pair)
    return pair if uniform else (Unknown(), Unknown())
