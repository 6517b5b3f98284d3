"""A flow, and all that belongs to it, in the unit of length of its grid's cells: see `units`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax import Array

from diffphys.grids import Field, Grid, Sides
from diffphys.grids.shapes import Measured
from diffphys.physics import flow_sides
from diffphys.physics.added_viscosity import DynamicSmagorinsky, Smagorinsky, Sponge
from diffphys.physics.forces import Buoyancy, FlowInput, Held, LinearDrag, SinusoidalForce
from diffphys.physics.obstacles import FixedSolid, Immersed, TracedSolid
from diffphys.physics.scalars import PassiveScalar
from diffphys.physics.units import changed_to, field_in


def flow_in(unit: float, flow: Any) -> Any:
    """An incompressible flow in a unit. Functions of time are given the user's time, and functions of fields fields on
    the user's grid.
    """
    grid = flow.grid
    return changed_to(
        flow,
        grid=grid.measured(unit),
        viscosity=flow.viscosity / unit,
        dt=flow.dt / unit,
        sides=_sides_in(unit, flow.sides),
        solid=_solid_in(unit, flow.solid),
        scalars={name: _scalar_in(unit, scalar) for name, scalar in flow.scalars.items()},
        forces=tuple(_force_in(unit, grid, force) for force in flow.forces),
        added_viscosity=tuple(_viscosity_in(unit, grid, part) for part in flow.added_viscosity),
    )


def input_in(unit: float, grid: Grid, given: FlowInput) -> FlowInput:
    """What acts in a step, in a unit."""
    return FlowInput(
        None if given.force is None else _force_in(unit, grid, given.force),
        None if given.sides is None else _sides_in(unit, given.sides),
        _solid_in(unit, given.solid),
    )


def _sides_in(unit: float, sides: Sides) -> Sides:
    return tuple((lower.measured(unit), upper.measured(unit)) for lower, upper in sides)


class _Body(eqx.Module):
    """A body that is a function of time, in a unit."""

    function: Callable[[Array], Immersed]
    unit: float = eqx.field(static=True)

    def __call__(self, time: Array) -> Immersed:
        return _body_in(self.unit, self.function(time))


def _body_in(unit: float, body: Immersed) -> Immersed:
    return changed_to(
        body,
        shape=Measured(body.shape, unit),
        rotation_rate=body.rotation_rate * unit,
        pivot=body.pivot / unit,
    )


def _solid_in(unit: float, solid: Any) -> Any:
    if solid is None:
        return None
    if isinstance(solid, (FixedSolid, TracedSolid)):
        return solid.measured(unit)
    return _body_in(unit, solid) if isinstance(solid, Immersed) else _Body(solid, unit)


def _scalar_in(unit: float, scalar: PassiveScalar) -> PassiveScalar:
    source = None if scalar.source is None else Measured(scalar.source, unit)
    return changed_to(scalar, diffusivity=scalar.diffusivity / unit, source=source, rate=scalar.rate * unit)


class _Force(eqx.Module):
    """A function from scalars and velocity to an acceleration, in a unit."""

    function: Callable[[Mapping[str, Field], Sequence[Field]], Any]
    unit: float = eqx.field(static=True)
    grid: Grid = eqx.field(static=True)

    def __call__(self, scalars: Mapping[str, Field], velocity: Sequence[Field]) -> Any:
        mine = {name: field_in(1 / self.unit, self.grid, field) for name, field in scalars.items()}
        fields = [field_in(1 / self.unit, self.grid, part) for part in velocity]
        given = flow_sides.forces_on_faces("IncompressibleFlow", self.function(mine, fields), fields)
        return [self.unit * part for part in given]


def _force_in(unit: float, grid: Grid, force: Any) -> Any:
    match force:
        case Buoyancy():
            return changed_to(force, acceleration=force.acceleration * unit)
        case LinearDrag():
            return changed_to(force, rate=force.rate * unit)
        case SinusoidalForce():
            return changed_to(force, amplitude=force.amplitude * unit)
        case Held():
            return changed_to(force, where=Measured(force.where, unit))
    if callable(force):
        return _Force(force, unit, grid)
    return tuple(part.values * unit if isinstance(part, Field) else jnp.asarray(part) * unit for part in force)


class _Viscosity(eqx.Module):
    """A function from the velocity to a viscosity, in a unit."""

    function: Callable[[Sequence[Field]], Any]
    unit: float = eqx.field(static=True)
    grid: Grid = eqx.field(static=True)

    def __call__(self, velocity: Sequence[Field]) -> Array:
        fields = [field_in(1 / self.unit, self.grid, part) for part in velocity]
        return jnp.asarray(self.function(fields)) / self.unit


def _viscosity_in(unit: float, grid: Grid, part: Any) -> Any:
    if isinstance(part, (Smagorinsky, DynamicSmagorinsky)):  # numbers without a unit
        return part
    if isinstance(part, Sponge):
        return changed_to(part, start=part.start / unit, largest=part.largest / unit)
    return _Viscosity(part, unit, grid)
