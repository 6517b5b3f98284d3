"""One field alone, carried over a step by a scheme of fluxes."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from jax import Array
from jax.typing import ArrayLike

from diffphys.grids import Field, center_offset
from diffphys.operators.advection.convection import component_convection
from diffphys.operators.advection.fluxes import advect
from diffphys.operators.advection.scheme import FluxAdvection
from diffphys.stepping import RungeKutta


@dataclasses.dataclass(frozen=True)
class _Carried:
    """One field as a system: what a fixed velocity carries in and out of its control volumes."""

    scheme: FluxAdvection
    velocity: Sequence[Field]

    def rate(self, time: Any, field: Field, input: Any) -> Array:
        return -component_convection(field, self.velocity, self.scheme.order, self.scheme.scheme)


def carried(scheme: FluxAdvection, field: Field, velocity: Sequence[Field], dt: ArrayLike) -> Field:
    """The field one step later, by the Runge-Kutta method with as many stages as suit the scheme."""
    if field.offset == center_offset(field.grid):
        return advect(field, velocity, dt, scheme.scheme)
    return RungeKutta(scheme.stages).advance(_Carried(scheme, velocity), field, dt).state
