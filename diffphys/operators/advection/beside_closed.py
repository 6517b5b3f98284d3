"""Where look-ups of higher order keep away from closed cells."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import Array

from diffphys.devices import beside
from diffphys.grids import Field, center_offset
from diffphys.operators.advection.look_ups import cells_around
from diffphys.operators.interpolation import at_indices
from diffphys.operators.obstructed import leads_freely, points_near, thin_walls


def sees_nothing_closed(field: Field, positions: Sequence[Array], closed: np.ndarray, reach: int) -> Array:
    """For each point of a field whether the way to a position, and an interpolation there, lead through open cells.

    Around the place of a centered field no cell may be closed, for it holds nothing. A velocity component is zero on
    the faces of an obstacle, as it should be, and may be read there; but no wall may be so thin that the interpolation
    reaches to the other side of it, straight on or along the diagonal of the points it reads.

    Args:
        field: The field, centered or a velocity component.
        positions: For each axis the coordinates that are looked up.
        closed: For each cell whether it is closed.
        reach: How many points on each side of the place the interpolation reads along an axis.
    """
    centered = field.offset == center_offset(field.grid)
    cells = closed if centered else thin_walls(closed, field.periodic, reach * field.grid.dimensions - 1)
    near = points_near(field, cells, reach)
    padded = np.pad(near, 2, mode="edge")
    for axis, wraps in enumerate(field.periodic):
        if wraps:
            inner = np.moveaxis(padded, axis, 0)
            inner[:2], inner[-2:] = inner[-4:-2], inner[2:4]
    lows, _ = cells_around(field, positions)
    return leads_freely(field, positions, closed) & ~at_indices(beside(jnp.asarray(padded), lows), lows)


def open_faces(field: Field, closed: np.ndarray) -> Array:
    """1 at a velocity component's points between open cells, 0 at those beside a closed one."""
    return jnp.asarray(~points_near(field, closed, 0), field.values.dtype)
