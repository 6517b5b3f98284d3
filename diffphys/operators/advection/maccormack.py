"""Two linear look-ups, forth and back, and half of what is missing then.

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
from diffphys.grids import Field, center_offset
from diffphys.operators.advection.beside_closed import open_faces, sees_nothing_closed
from diffphys.operators.advection.look_ups import (
    Bounded,
    cells_around,
    check_carried,
    extremes,
)
from diffphys.operators.advection.semi_lagrangian import SemiLagrangian, semi_lagrangian
from diffphys.operators.interpolation import interpolate, kept_between


@dataclasses.dataclass(frozen=True)
class MacCormack(Bounded):
    """Two linear look-ups, forth and back, and half of what is missing then: see `operators.maccormack`.

    Args:
        limited: Whether to keep each value between those around its upstream point.
        largest_courant: As of `SemiLagrangian`.

    Examples:
        >>> grid = dp.Grid((8, 8), (1.0, 1.0))
        >>> flow = dp.IncompressibleFlow(grid, 1e-3, 0.01, dp.Periodic(), advection=dp.MacCormack())
        >>> later = flow(flow.initial_state((1.0, 0.0)))
    """

    limited: bool = True
    largest_courant: int | tuple[int, ...] | None = None

    def carry(self, field: Field, velocity: Sequence[Field], dt: ArrayLike, closed: np.ndarray | None = None) -> Field:
        """The field one step later."""
        if closed is None or not closed.any():
            return maccormack(field, velocity, dt, limited=self.limited, largest_courant=self.largest_courant)
        linear = SemiLagrangian(self.largest_courant)
        dt = jnp.asarray(dt, field.values.dtype)
        forth = linear.carry(field, velocity, dt, closed)
        if field.offset != center_offset(field.grid):
            forth = forth.with_values(forth.values * open_faces(field, closed))
        corrected = _corrected(field, forth, linear.carry(forth, velocity, -dt, closed), velocity, dt, self.limited)
        free = jnp.asarray(True)
        for duration in (dt, -dt):
            free &= sees_nothing_closed(field, _upstream(field, velocity, duration), closed, 1)
        return field.with_values(jnp.where(free, corrected, forth.values))


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
    return field.with_values(_corrected(field, forth, back, velocity, jnp.asarray(dt, field.values.dtype), limited))


def _corrected(field: Field, forth: Field, back: Field, velocity: Sequence[Field], dt: Array, limited: bool) -> Array:
    """A look-up with half of what is missing after the way back, perhaps within the extremes around its foot."""
    values = forth.values + (field.values - back.values) / 2
    if not limited:
        return values
    lows, _ = cells_around(field, _upstream(field, velocity, dt))
    padded = beside(field.padded([(2, 2)] * field.grid.dimensions), lows)
    return kept_between(values, *extremes(padded, lows))


def _upstream(field: Field, velocity: Sequence[Field], dt: Array) -> list[Array]:
    """The places where the linear look-up finds the points a step before."""
    speeds = [interpolate(component, field.offset).values for component in velocity]
    lines = [line.astype(field.values.dtype) for line in field.coordinates()]
    return [line - dt * speed for line, speed in zip(lines, speeds, strict=True)]
