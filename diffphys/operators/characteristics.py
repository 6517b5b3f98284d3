"""Advection along characteristics of higher order: cubic interpolation, and MacCormack's correction.

Like `semi_lagrangian` these look up where the fluid came from and allow any Courant number. They do not keep the sum of
the values; where that matters see `fluxes`.
"""

from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from diffphys.grids import Field
from diffphys.operators.advection import check_carried, semi_lagrangian
from diffphys.operators.differences import points_with_two_ghosts
from diffphys.operators.interpolation import index_of, interpolate, sample, slope_shares, two_sided


def cubic_semi_lagrangian(field: Field, velocity: Sequence[Field], dt: ArrayLike, *, limited: bool = False) -> Field:
    """One semi-Lagrangian step of `df/dt + v . grad f = 0` with cubic interpolation.

    The point that arrives at x is followed back with the midpoint rule, `x - dt v(x - dt v(x) / 2)`, and the field is
    interpolated there by the cubic polynomials through four points along each axis (Staniforth, Cote 1991). Second
    order in time; in space the error of a step falls like `h^4`, and so like `h^3` at a fixed Courant number. Stable
    for every step. Next to the sides of a bounded axis it is as good as the mirror images that stand there.

    Args:
        field: The field to carry, at any place; its conditions must define two ghost values at every end.
        velocity: The velocity's components on the faces; their conditions must define one ghost value at every end.
        dt: Duration of the step.
        limited: Whether to keep each value between the extremes of the points around its upstream point (Bermejo,
            Staniforth 1992): no new extremes, at the price of clipped ones.

    Returns:
        The carried field, with the conditions of `field`.

    Raises:
        InputError: for a velocity that does not fit, ghost values that nothing defines, or an axis of too few points.
    """
    check_carried("cubic_semi_lagrangian", field, velocity, dt)
    dt = jnp.asarray(dt, field.values.dtype)
    here = [jnp.broadcast_to(line, field.shape).astype(field.values.dtype) for line in field.coordinates()]
    speeds = [interpolate(component, field.offset).values for component in velocity]
    middle = [point - dt / 2 * speed for point, speed in zip(here, speeds, strict=True)]
    upstream = [point - dt * sample(component, middle) for point, component in zip(here, velocity, strict=True)]
    lows, fractions = _cells_around(field, upstream)
    padded = field.padded([(2, 2)] * field.grid.dimensions)

    def cubic(padded: Array, lows: Sequence[Array], fractions: Sequence[Array]) -> Array:
        weights = [_cubic_weights(field, axis, *place) for axis, place in enumerate(zip(lows, fractions, strict=True))]
        return _weighted_sum(padded, lows, weights, [])

    shares = [slope_shares(field, axis, 2) for axis in range(field.grid.dimensions)]
    values = two_sided(cubic, 2, shares)(padded, tuple(lows), tuple(fractions))
    if limited:
        values = _limited(values, *_extremes(padded, lows))
    return field.with_values(values)


def maccormack(
    field: Field,
    velocity: Sequence[Field],
    dt: ArrayLike,
    *,
    limited: bool = True,
    largest_courant: int | tuple[int, ...] | None = None,
) -> Field:
    """One step of `df/dt + v . grad f = 0` by the unconditionally stable MacCormack method.

    A semi-Lagrangian step forward and one back would return to the field; half of what is missing is the error of the
    step, and is added: `f' = S f + (f - S^-1 S f) / 2` (Selle, Fedkiw, Kim, Liu, Rossignac 2008). Second order in space
    and time. The correction can make new extremes; `limited` keeps each value between those of the points around its
    upstream point, as in that paper.

    Args:
        field: The field to carry, at any place; its conditions must define one ghost value at every end.
        velocity: The velocity's components on the faces.
        dt: Duration of the step.
        limited: Whether to keep to the extremes.
        largest_courant: A bound on the Courant number for the two semi-Lagrangian steps: see `semi_lagrangian`.

    Returns:
        The carried field, with the conditions of `field`.

    Raises:
        InputError: for a velocity that does not fit or ghost values that nothing defines.
    """
    check_carried("maccormack", field, velocity, dt)
    forth = semi_lagrangian(field, velocity, dt, largest_courant)
    back = semi_lagrangian(forth, velocity, -jnp.asarray(dt), largest_courant)
    values = forth.values + (field.values - back.values) / 2
    if limited:
        dt = jnp.asarray(dt, values.dtype)
        speeds = [interpolate(component, field.offset).values for component in velocity]
        lines = [line.astype(values.dtype) for line in field.coordinates()]
        lows, _ = _cells_around(field, [line - dt * speed for line, speed in zip(lines, speeds, strict=True)])
        values = _limited(values, *_extremes(field.padded([(2, 2)] * field.grid.dimensions), lows))
    return field.with_values(values)


def beside_closed_cells(
    carried: Field, field: Field, velocity: Sequence[Field], dt: ArrayLike, closed: np.ndarray
) -> Field:
    """`carried`, a look-up with more points than the linear one, where none of these can lie in a closed cell or behind
    one; elsewhere the linear look-up, which reads neither: see `semi_lagrangian`.

    Args:
        carried: The result of the look-up of higher order.
        field: The centered field before.
        velocity: The velocity's components on the faces.
        dt: Duration of the step.
        closed: For each cell whether it is closed.
    """
    if not closed.any():
        return carried
    within = semi_lagrangian(field, velocity, dt, closed=closed).values
    plain = semi_lagrangian(field, velocity, dt).values
    dt = jnp.asarray(dt, field.values.dtype)
    speeds = [interpolate(component, field.offset).values for component in velocity]
    lines = [line.astype(field.values.dtype) for line in field.coordinates()]
    lows, _ = _cells_around(field, [line - dt * speed for line, speed in zip(lines, speeds, strict=True)])
    near = closed
    for axis, wraps in enumerate(field.periodic):  # the points of the stencil, and one more for the path's own error
        near = _dilated(near, axis, 3, wraps)
    padded = np.pad(near, 2, mode="edge")
    for axis, wraps in enumerate(field.periodic):
        if wraps:
            inner = np.moveaxis(padded, axis, 0)
            inner[:2], inner[-2:] = inner[-4:-2], inner[2:4]
    beside = jnp.asarray(padded)[tuple(lows)] | (within != plain)
    return field.with_values(jnp.where(beside, within, carried.values))


def _dilated(cells: np.ndarray, axis: int, reach: int, wraps: bool) -> np.ndarray:
    """The cells that lie within `reach` of one of these along an axis."""
    widths = [(reach, reach) if a == axis else (0, 0) for a in range(cells.ndim)]
    padded = np.pad(cells, widths, mode="wrap" if wraps else "constant")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis)
    return np.asarray(windows.any(axis=-1))


@jax.custom_jvp
def _limited(values: Array, smallest: Array, largest: Array) -> Array:
    """The values, kept between bounds. On a bound, but for round-off, they keep their own derivative: where the fluid
    is at rest each point is one of the extremes around it, and nothing is limited.
    """
    return jnp.clip(values, smallest, largest)


@_limited.defjvp
def _limited_jvp(primals, tangents):
    values, smallest, largest = primals
    margin = 8 * jnp.finfo(values.dtype).eps * jnp.maximum(jnp.abs(smallest), jnp.abs(largest))
    own, low, high = tangents
    tangent = jnp.where(values < smallest - margin, low, jnp.where(values > largest + margin, high, own))
    return _limited(*primals), tangent


def _cells_around(field: Field, positions: Sequence[Array]) -> tuple[list[Array], list[Array]]:
    """For each axis the index, in an array with two ghost points, of the point below; and how far on to the next."""
    lows, fractions = [], []
    for axis, position in enumerate(positions):
        index = index_of(field, axis, position, wrap=True)
        low = jnp.clip(jnp.floor(index), -1, field.shape[axis] - 1)
        lows.append(low.astype(jnp.int32) + 2)
        fractions.append(index - low)
    return lows, fractions


def _cubic_weights(field: Field, axis: int, low: Array, t: Array) -> list[Array]:
    """Lagrange's weights of the four points around, from the one before the point below to the one behind the next."""
    if field.grid.uniform[axis]:
        return [
            -t * (t - 1) * (t - 2) / 6,
            (t + 1) * (t - 1) * (t - 2) / 2,
            -(t + 1) * t * (t - 2) / 2,
            (t + 1) * t * (t - 1) / 6,
        ]
    points = jnp.asarray(points_with_two_ghosts(field, axis), t.dtype)
    nodes = [points[low + shift] for shift in (-1, 0, 1, 2)]
    place = nodes[1] + t * (nodes[2] - nodes[1])
    weights = []
    for one in range(4):
        others = [other for other in range(4) if other != one]
        weights.append(jnp.prod(jnp.stack([(place - nodes[k]) / (nodes[one] - nodes[k]) for k in others]), 0))
    return weights


def _weighted_sum(
    padded: Array, lows: Sequence[Array], weights: Sequence[Sequence[Array]], index: list[Array]
) -> Array:
    """The sum over all products of one point per axis, one axis inside of the other."""
    if not weights:
        return padded[tuple(index)]
    low = lows[len(index)]
    terms = [
        weight * _weighted_sum(padded, lows, weights[1:], [*index, low + shift])
        for shift, weight in zip((-1, 0, 1, 2), weights[0], strict=True)
    ]
    return sum(terms[1:], terms[0])


def _extremes(padded: Array, lows: Sequence[Array]) -> tuple[Array, Array]:
    """The smallest and the largest of the points at the corners of the cell around each upstream point."""
    corners = list(_corners(padded, lows))
    smallest, largest = corners[0], corners[0]
    for corner in corners[1:]:
        smallest, largest = jnp.minimum(smallest, corner), jnp.maximum(largest, corner)
    return smallest, largest


def _corners(padded: Array, lows: Sequence[Array]) -> Iterator[Array]:
    for number in range(2 ** len(lows)):
        yield padded[tuple(low + ((number >> axis) & 1) for axis, low in enumerate(lows))]
