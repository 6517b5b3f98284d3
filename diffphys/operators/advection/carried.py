"""One field alone, carried over a step by a scheme of fluxes."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jax import Array
from jax.typing import ArrayLike

from diffphys.grids import Field, center_offset
from diffphys.operators.advection.beside_closed import open_faces
from diffphys.operators.advection.convection import component_convection
from diffphys.operators.advection.fluxes import advect
from diffphys.operators.advection.scheme import FluxAdvection
from diffphys.stepping import RungeKutta


@dataclasses.dataclass(frozen=True)
class _Carried:
    """One field as a system: what a fixed velocity carries in and out of its control volumes."""

    scheme: FluxAdvection
    velocity: Sequence[Field]
    open_part: Array | None

    def rate(self, time: ArrayLike, field: Field, input: None) -> Array:
        name = "central" if self.scheme.order == 4 else self.scheme.scheme  # `convection` knows order 4 by its order
        rate = -component_convection(field, self.velocity, self.scheme.order, name)
        # What came to the faces of an obstacle in one stage would be seen from behind it in the next.
        return rate if self.open_part is None else rate * self.open_part


def carried(
    scheme: FluxAdvection, field: Field, velocity: Sequence[Field], dt: ArrayLike, closed: np.ndarray | None = None
) -> Field:
    """The field one step later, by the Runge-Kutta method with as many stages as suit the scheme."""
    if field.offset == center_offset(field.grid):
        open_parts = None if closed is None else [open_faces(component, closed) for component in velocity]
        return advect(field, velocity, dt, scheme.scheme, open_parts)
    open_part = None if closed is None else open_faces(field, closed)
    return RungeKutta(scheme.stages).advance(_Carried(scheme, velocity, open_part), field, dt).state
