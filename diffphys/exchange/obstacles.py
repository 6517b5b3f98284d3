"""Which part of a domain is solid, as a user says it: a shape, a body, a flow, or what a time makes of these."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from diffphys.errors import InputError
from diffphys.grids import Field, Shape
from diffphys.grids.numbers import shown


def obstacle_over_time(owner: str, solid: Any, field: Field) -> tuple[Callable[[float], Shape] | None, bool]:
    """An obstacle as a function from the time to a shape, None without one, and whether it depends on the time.

    Args:
        owner: Who asks, for the message.
        solid: A `Shape`, an `Immersed` body, a function from the time to one, a flow, whose obstacle it is, a network
            beside a flow, or None.
        field: A field of the flow: across periodic axes the shape repeats itself.

    Raises:
        InputError: if it is none of these.
    """
    while hasattr(solid, "solver") and not hasattr(solid, "shape"):  # a network beside a solver
        solid = solid.solver
    if not isinstance(solid, Shape) and hasattr(solid, "solid"):  # a flow
        solid = solid.solid
    if solid is None:
        return None, False
    periods = [length if wraps else None for length, wraps in zip(field.grid.size, field.periodic, strict=True)]

    def shape_of(body: Any) -> Shape:
        shape = body if isinstance(body, Shape) else getattr(body, "shape", None)
        if not isinstance(shape, Shape):
            raise InputError(
                f"{owner}: solid is {shown(body)}; a shape, an Immersed body, a function from the time to one, or a "
                "flow with an obstacle is accepted."
            )
        return shape.repeated(periods)

    if callable(solid) and not isinstance(solid, Shape) and not hasattr(solid, "shape"):
        return lambda time: shape_of(solid(jnp.asarray(0.0 if np.isnan(time) else time))), True
    shape = shape_of(solid)
    return lambda time: shape, False


def solid_cells(shape: Shape, field: Field) -> np.ndarray:
    """Which cells have their center in an obstacle."""
    return np.broadcast_to(np.asarray(shape.contains(field.grid.centers())), field.grid.cells)
