r"""The discrete calculus of a flow at one moment: what the sides of the domain and an obstacle make of it.

A flow asks its space for the projection, for the rates of momentum, and for what scalars do; which obstacle there is,
and of which order the differences are, only the space knows. `Plain` has no obstacle, in `Staircase` it is a set of
whole cells (in `WideStaircase` with differences of fourth order), in `CutCells` its surface cuts through them.
`Fourier` is a periodic box of waves.
"""

import abc
from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffphys.grids import Conditions, Field, Grid, Neumann, Periodic, Sides, face_offset
from diffphys.grids.conditions import homogeneous
from diffphys.operators import FluxAdvection, difference, divergence, laplacian
from diffphys.operators.advection.convection import relative_control_volume, without_fixed_ends
from diffphys.operators.fourth_order import (
    fourth_order_difference,
    fourth_order_divergence,
    fourth_order_laplacian,
)
from diffphys.physics import flow_sides
from diffphys.poisson import Solution


class Differences(NamedTuple):
    """Central differences of one order.

    Attributes:
        order: 2 or 4.
        difference: The derivative along an axis, half a cell away.
        divergence: Of a velocity on the faces, at the centers.
        laplacian: At the field's own place.
        real_axis: How far stability on the real axis reaches with them, over how far it does with second order.
    """

    order: int
    difference: Callable[[Field, int], Field]
    divergence: Callable[[Sequence[Field]], Field]
    laplacian: Callable[[Field], Field]
    real_axis: float


SECOND_ORDER = Differences(2, difference, divergence, laplacian, 1.0)
FOURTH_ORDER = Differences(
    4, fourth_order_difference, fourth_order_divergence, fourth_order_laplacian, 4 / (7 / 3) ** 2
)

DIFFERENCES = {one.order: one for one in (SECOND_ORDER, FOURTH_ORDER)}


Convection = Callable[[Sequence[Field], Sequence[Field]], Sequence[Field]]
"""From a velocity and what carries it to the rate at which it is carried."""


class Variables(eqx.Module):
    """What the sides mean for each variable of a flow at one moment.

    Attributes:
        grid: The grid.
        sides: The sides, with what they are at this moment.
        velocity: The conditions of each component.
        pressure: The conditions of the pressure, with the values that are given on sides.
        scalar: The conditions of a scalar at rest.
    """

    grid: Grid = eqx.field(static=True)
    sides: Sides
    velocity: tuple[Conditions, ...]
    pressure: Conditions
    scalar: Conditions

    def velocity_fields(self, values: Sequence[Array]) -> tuple[Field, ...]:
        """One field on the faces of each axis."""
        return tuple(
            Field(part, self.grid, face_offset(self.grid, axis), self.velocity[axis])
            for axis, part in enumerate(values)
        )

    def velocity_shape(self, axis: int) -> tuple[int, ...]:
        """The extents of a component's array."""
        periodic = tuple(isinstance(pair[0], Periodic) for pair in self.velocity[axis])
        return self.grid.shape(face_offset(self.grid, axis), periodic)

    def scalar_field(self, values: Array) -> Field:
        """A carried scalar."""
        return Field(values, self.grid, conditions=self.scalar)

    def carried_scalar(self, values: Array, carrier: Sequence[Field], at_rest: float) -> Field:
        """A scalar as advection sees it: see `flow_sides.carried_conditions`."""
        conditions = flow_sides.carried_conditions(self.sides, values, carrier, at_rest=at_rest)
        return Field(values, self.grid, conditions=conditions)

    def diffused_scalar(self, values: Array, carrier: Sequence[Field]) -> Field:
        """A scalar as diffusion sees it: see `flow_sides.diffused_conditions`."""
        conditions = flow_sides.diffused_conditions(self.sides, values, carrier)
        return Field(values, self.grid, conditions=conditions)

    def pressure_field(self, values: Array) -> Field:
        """The pressure."""
        return Field(values, self.grid, conditions=self.pressure)

    def viscosity_field(self, values: Array) -> Field:
        """A viscosity, which goes on beyond the sides as it is there."""
        conditions = tuple(pair if isinstance(pair[0], Periodic) else (Neumann(), Neumann()) for pair in self.pressure)
        return Field(values, self.grid, conditions=conditions)

    def potential_field(self, values: Array) -> Field:
        """What a projection takes away: a pressure that changes nothing of what is given at the sides."""
        return Field(values, self.grid, conditions=all_homogeneous(self.pressure))

    def homogeneous(self) -> "Variables":
        """The same kinds of conditions with zeros in them."""
        return Variables(
            self.grid,
            self.sides,
            tuple(all_homogeneous(one) for one in self.velocity),
            all_homogeneous(self.pressure),
            all_homogeneous(self.scalar),
        )


def all_homogeneous(conditions: Conditions) -> Conditions:
    """The same conditions with zeros in them."""
    return tuple((homogeneous(lower), homogeneous(upper)) for lower, upper in conditions)


class Stokes(NamedTuple):
    """What `poisson.constrained` asks for, as functions of the velocity's components.

    Attributes:
        project: Onto the velocities without divergence.
        smooth: What diffusion changes over the time in question.
        precondition: An approximation of the inverse of `1 - smooth`.
        weights: The volume of each unknown.
        symmetric: Whether `smooth` is symmetric in the product weighted with the volumes.
        exact: Whether `project` is exact, and no solution by iteration itself.
        commutes: Whether diffusion leaves a velocity without divergence as it is, so that no pressure need correct it.
    """

    project: Callable[[Sequence[Field]], Sequence[Array]]
    smooth: Callable[[Sequence[Field]], Sequence[Array]]
    precondition: Callable[[Sequence[Field]], Sequence[Array]]
    weights: Sequence[Array]
    symmetric: bool = True
    exact: bool = True
    commutes: bool = False


class Space(eqx.Module):
    """The discrete calculus of a flow at one moment; final classes: `Fourier`, and those of `FiniteVolumes`."""

    variables: eqx.AbstractVar[Variables]

    @abc.abstractmethod
    def impose(self, velocity: Sequence[Field]) -> tuple[Field, ...]:
        """The velocity with its given values on the sides, and on an obstacle of whole cells."""

    @abc.abstractmethod
    def divergence(self, velocity: Sequence[Field]) -> Field:
        """What the projection makes zero."""

    @abc.abstractmethod
    def carrier(self, velocity: Sequence[Field]) -> Sequence[Field]:
        """What carries: where values live on faces, what crosses these."""

    @abc.abstractmethod
    def project(self, velocity: Sequence[Field]) -> tuple[tuple[Array, ...], Solution]:
        """The nearest velocity without divergence, `v - grad phi` on the faces that are free, and the solution with
        `phi`, NaN where an iteration did not converge.
        """


class FiniteVolumes(Space):
    """The calculus of values on the faces and at the centers; final classes: `CutCells`, and those of `WholeFaces`."""

    def impose(self, velocity: Sequence[Field]) -> tuple[Field, ...]:
        """The velocity with its given values on the sides, on an obstacle's faces only where they are whole."""
        return tuple(flow_sides.imposed(axis, component) for axis, component in enumerate(velocity))

    def convection(self, scheme: FluxAdvection, velocity: Sequence[Field], carrier: Sequence[Field]) -> Sequence[Field]:
        """The rate at which a velocity is carried, by the scheme itself unless an obstacle changes it."""
        return scheme.convection(velocity, carrier)

    def scalar_convection(self, scheme: FluxAdvection, scalar: Field, carrier: Sequence[Field]) -> Field:
        """The rate at which a scalar is carried."""
        return scheme.scalar_convection(scalar, carrier)

    @property
    def closed_cells(self) -> np.ndarray | None:
        """The cells of an obstacle through which no look-up may reach; None where it has no whole ones."""
        return None

    @abc.abstractmethod
    def momentum(
        self, velocity: Sequence[Field], convection: Sequence[Field], acceleration: Sequence[Array] | None
    ) -> tuple[Array, ...]:
        """The rate of the velocity by convection, by the pressure that is given at sides, and by a force."""

    @abc.abstractmethod
    def viscous(self, velocity: Sequence[Field], viscosity: Array) -> tuple[Array, ...]:
        """The rate of the velocity by viscosity."""

    @abc.abstractmethod
    def scalar_rate(self, gain: Array) -> Array:
        """The rate of a scalar whose amount in each cell changes by `gain` per volume of the cell."""

    @abc.abstractmethod
    def released(self, rate: Array) -> Array:
        """The rate of a scalar of which so much is released per time and volume, not within an obstacle."""

    def off_the_obstacle(self, changed: Sequence[Field], before: Sequence[Field]) -> tuple[Field, ...]:
        """A velocity that was changed, as it was before on the faces of an obstacle of whole cells. (To faces within an
        immersed body the projection gives their own.)
        """
        return tuple(changed)

    @abc.abstractmethod
    def scalar_laplacian(self, scalar: Field) -> Array:
        """The rate of a scalar of diffusivity 1 by diffusion; nothing diffuses into an obstacle."""

    @abc.abstractmethod
    def scalar_change(self, rhs: Array, reach: Array) -> Array:
        """The solution of `w - reach * laplacian(w) = rhs` for a scalar, with homogeneous conditions."""

    @abc.abstractmethod
    def stokes(self, reach: Array) -> Stokes:
        """The parts of an implicit step of diffusion over `reach`, viscosity times time."""

    @abc.abstractmethod
    def at_rest(self) -> "FiniteVolumes":
        """The same with homogeneous conditions and a body that does not move: the space of changes."""

    @abc.abstractmethod
    def forces(
        self,
        velocity: Sequence[Field],
        convect: Convection,
        viscosity: Array,
        pressure: Field,
        acceleration: Sequence[Array] | None,
    ) -> tuple[Array, Array]:
        """What the obstacle takes from the momentum of the fluid: the force, and the torque (three numbers)."""


class WholeFaces(FiniteVolumes):
    """A calculus in which a face is open or closed as a whole, so that a velocity loses the gradient of a potential as
    it is; final classes: `Plain`, `Staircase`, `WideStaircase`.
    """

    all_open: ClassVar[bool]
    """Whether no face within the domain is closed."""

    @abc.abstractmethod
    def solved(self, source: Array) -> Solution:
        """The solution of the pressure problem."""

    @abc.abstractmethod
    def slopes(self, potential: Array) -> list[Array]:
        """The gradient of the potential on the faces of each axis, zero on those that an obstacle closes."""

    @abc.abstractmethod
    def free_faces(self, velocity: Sequence[Field]) -> tuple[Array, ...]:
        """1 on the faces whose velocity is an unknown, 0 where it is given: on a side, or on an obstacle."""

    def project(self, velocity: Sequence[Field]) -> tuple[tuple[Array, ...], Solution]:
        """The nearest velocity without divergence, and the potential."""
        solution = self.solved(self.divergence(velocity).values)
        slopes = self.slopes(solution.pressure)
        return tuple(component.values - slope for component, slope in zip(velocity, slopes, strict=True)), solution


def face_volumes(axis: int, component: Field, order: int) -> Array:
    """The volume around each face; of a face on a side of the domain the half that lies within; in the units of
    `operators.convection.times_volume_unit`.
    """
    volume = np.broadcast_to(relative_control_volume(component, order), component.shape).copy()
    if not component.periodic[axis]:
        for end in (0, -1):
            volume[(slice(None),) * axis + (end,)] *= 0.5
    return jnp.asarray(volume, component.values.dtype)


def torque_of(taken: Sequence[Array], arms: Sequence[Sequence[Array]]) -> Array:
    """`sum r x F` as three numbers, of the components of a force with the places on which they act."""
    torque = jnp.zeros(3, taken[0].dtype)
    for axis, (part, places) in enumerate(zip(taken, arms, strict=True)):
        for other, arm in enumerate(places):  # r x F has the component that is neither of the two
            if other != axis:
                sign = 1.0 if (axis - other) % 3 == 1 else -1.0
                torque = torque.at[3 - axis - other].add(sign * jnp.sum(arm * part))
    return torque


# For `poisson.constrained`: functions of a space and of what they are given, to be made with `Partial`, so that the
# arrays in them are known.


def projected_within_sides(space: FiniteVolumes, parts: Sequence[Field]) -> Sequence[Array]:
    """The projection of what is no given normal velocity."""
    free = [part.with_values(without_fixed_ends(part, a, part.values)) for a, part in enumerate(parts)]
    return space.project(free)[0]


def scalar_spread(space: FiniteVolumes, field: Field, reach: Array, values: Array) -> Array:
    """What diffusion over `reach` changes in a scalar, of which `field` tells the place and the conditions."""
    return reach * space.scalar_laplacian(field.with_values(values))
