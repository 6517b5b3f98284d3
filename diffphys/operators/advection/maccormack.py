"""Two linear look-ups, forth and back, and half of what is missing then.

Like `semi_lagrangian` it allows any Courant number. It does not keep the sum of the values; where that matters see
`fluxes`.
"""

import dataclasses
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from diffphys.grids import Field, center_offset
from diffphys.grids.numbers import plain
from diffphys.operators.advection.beside_closed import beside_closed_cells
from diffphys.operators.advection.look_ups import (
    as_largest_courant,
    cells_around,
    check_carried,
    extremes,
)
from diffphys.operators.advection.semi_lagrangian import nothing_from_behind, semi_lagrangian
from diffphys.operators.interpolation import interpolate, kept_between


@dataclasses.dataclass(frozen=True)
class MacCormack:
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

    def __post_init__(self):
        bound = plain(self.largest_courant)
        as_largest_courant("MacCormack", bound, len(bound) if isinstance(bound, tuple) else 1)
        object.__setattr__(self, "largest_courant", bound)

    def check(self, owner: str, dimensions: int) -> None:
        """Raise `InputError` unless the bound fits a grid of so many axes."""
        as_largest_courant(owner, self.largest_courant, dimensions)

    def carry(self, field: Field, velocity: Sequence[Field], dt: ArrayLike, closed: np.ndarray | None = None) -> Field:
        """The field one step later."""
        carried = maccormack(field, velocity, dt, limited=self.limited, largest_courant=self.largest_courant)
        if closed is None:
            return carried
        if field.offset != center_offset(field.grid):
            return nothing_from_behind(carried, field, velocity, dt, closed, self.largest_courant)
        return beside_closed_cells(carried, field, velocity, dt, closed)


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
        lows, _ = cells_around(field, [line - dt * speed for line, speed in zip(lines, speeds, strict=True)])
        values = kept_between(values, *extremes(field.padded([(2, 2)] * field.grid.dimensions), lows))
    return field.with_values(values)
