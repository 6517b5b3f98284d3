"""Look-ups of higher order around closed cells."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from diffphys.grids import Field
from diffphys.operators.advection.look_ups import cells_around
from diffphys.operators.advection.semi_lagrangian import semi_lagrangian
from diffphys.operators.interpolation import interpolate


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
    lows, _ = cells_around(field, [line - dt * speed for line, speed in zip(lines, speeds, strict=True)])
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
