"""The value found upstream by cubic interpolation.

Like `semi_lagrangian` it allows any Courant number. It does not keep the sum of the values; where that matters see
`fluxes`.
"""

import dataclasses
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from diffphys.devices import beside
from diffphys.grids import Field
from diffphys.operators.advection.beside_closed import sees_nothing_closed
from diffphys.operators.advection.look_ups import (
    cells_around,
    check_carried,
    extremes,
)
from diffphys.operators.advection.semi_lagrangian import SemiLagrangian
from diffphys.operators.differences import points_with_two_ghosts
from diffphys.operators.interpolation import (
    at_indices,
    interpolate,
    sample,
    slope_shares,
    two_sided,
    two_sided_within,
)


@dataclasses.dataclass(frozen=True)
class CubicSemiLagrangian:
    """The value found upstream by cubic interpolation: see `operators.cubic_semi_lagrangian`.

    Args:
        limited: Whether to keep each value between those around its upstream point.

    Examples:
        >>> grid = dp.Grid((8, 8), (1.0, 1.0))
        >>> flow = dp.IncompressibleFlow(grid, 1e-3, 0.01, dp.Periodic(), advection=dp.CubicSemiLagrangian())
        >>> later = flow(flow.initial_state((1.0, 0.0)))
    """

    limited: bool = False

    def carry(self, field: Field, velocity: Sequence[Field], dt: ArrayLike, closed: np.ndarray | None = None) -> Field:
        """The field one step later."""
        carried = cubic_semi_lagrangian(field, velocity, dt, limited=self.limited)
        if closed is None or not closed.any():
            return carried
        linear = SemiLagrangian().carry(field, velocity, dt, closed)
        middle, upstream = _followed_back(field, velocity, jnp.asarray(dt, field.values.dtype))
        free = sees_nothing_closed(field, middle, closed, 1) & sees_nothing_closed(field, upstream, closed, 2)
        return field.with_values(jnp.where(free, carried.values, linear.values))


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
    _, upstream = _followed_back(field, velocity, jnp.asarray(dt, field.values.dtype))
    lows, fractions = cells_around(field, upstream)
    padded = beside(field.padded([(2, 2)] * field.grid.dimensions), lows)

    def cubic(padded: Array, lows: Sequence[Array], fractions: Sequence[Array]) -> Array:
        weights = [_cubic_weights(field, axis, *place) for axis, place in enumerate(zip(lows, fractions, strict=True))]
        return _weighted_sum(padded, lows, weights, [])

    shares = [slope_shares(field, axis, 2) for axis in range(field.grid.dimensions)]
    look_up = two_sided_within(cubic, extremes, 2, shares) if limited else two_sided(cubic, 2, shares)
    values = look_up(padded, tuple(lows), tuple(fractions))
    return field.with_values(values)


def _followed_back(field: Field, velocity: Sequence[Field], dt: Array) -> tuple[list[Array], list[Array]]:
    """The places where each point was half a step and a step before."""
    here = [jnp.broadcast_to(line, field.shape).astype(field.values.dtype) for line in field.coordinates()]
    speeds = [interpolate(component, field.offset).values for component in velocity]
    middle = [point - dt / 2 * speed for point, speed in zip(here, speeds, strict=True)]
    return middle, [point - dt * sample(component, middle) for point, component in zip(here, velocity, strict=True)]


def _cubic_weights(field: Field, axis: int, low: Array, t: Array) -> list[Array]:
    """Lagrange's weights of the four points around, from the one before the point below to the one behind the next."""
    if field.grid.uniform[axis]:
        return [
            -t * (t - 1) * (t - 2) / 6,
            (t + 1) * (t - 1) * (t - 2) / 2,
            -(t + 1) * t * (t - 2) / 2,
            (t + 1) * t * (t - 1) / 6,
        ]
    points = beside(jnp.asarray(points_with_two_ghosts(field, axis), t.dtype), low)
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
        return at_indices(padded, index)
    low = lows[len(index)]
    terms = [
        weight * _weighted_sum(padded, lows, weights[1:], [*index, low + shift])
        for shift, weight in zip((-1, 0, 1, 2), weights[0], strict=True)
    ]
    return sum(terms[1:], terms[0])
