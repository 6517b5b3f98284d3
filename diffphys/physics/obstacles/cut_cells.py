"""The space of a flow around an immersed body, whose surface cuts cells: see `immersed` for its geometry."""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax import Array
from jax.tree_util import Partial
from jax.typing import DTypeLike

from diffphys.grids import Field
from diffphys.operators import FluxAdvection, difference, divergence
from diffphys.operators.advection.convection import relative_control_volume, times_volume_unit, without_fixed_ends
from diffphys.operators.eigenbasis import Line, lines_of
from diffphys.physics.obstacles.immersed import (
    LEAST_MASS,
    Geometry,
    Immersed,
    at_least,
    geometry,
    immersed_laplacian,
)
from diffphys.physics.obstacles.space import (
    Convection,
    FiniteVolumes,
    Stokes,
    Variables,
    face_volumes,
    projected_within_sides,
    scalar_spread,
    torque_of,
)
from diffphys.poisson import PressureSolver, Solution, VariableProblem
from diffphys.poisson.constrained import solve_constrained
from diffphys.poisson.iterations import never_unconverged
from diffphys.poisson.separable import solve_separable


class CutCells(FiniteVolumes):
    """An immersed body as it is at one moment.

    Args:
        variables: What the sides mean.
        body: The body.
        cuts: How it cuts the control volumes of each velocity component.
        diffused: Viscosity times the step that explicit diffusion takes, for which the masses of small control volumes
            are chosen; zero where diffusion is implicit.
        pressure_solver: From a `VariableProblem` to its solver.
    """

    variables: Variables
    body: Immersed
    cuts: tuple[Geometry, ...]
    diffused: Array
    pressure_solver: Callable[..., PressureSolver] = eqx.field(static=True)

    @staticmethod
    def around(
        body: Immersed,
        variables: Variables,
        diffused: Array,
        pressure_solver: Callable[..., PressureSolver],
        dtype: DTypeLike,
    ) -> "CutCells":
        """The space around a body, for values of this type."""
        shapes = [variables.velocity_shape(axis) for axis in range(variables.grid.dimensions)]
        fields = variables.velocity_fields([jnp.zeros(shape, dtype) for shape in shapes])
        cuts = tuple(geometry(body, field, axis) for axis, field in enumerate(fields))
        return CutCells(variables, body, cuts, diffused, pressure_solver)

    def divergence(self, velocity: Sequence[Field]) -> Field:
        """The divergence of what crosses the faces, fluid and body together."""
        return divergence(self.carrier(velocity))

    def carrier(self, velocity: Sequence[Field]) -> tuple[Field, ...]:
        """What crosses the faces of the grid: the fluid through their open part, the body through the rest."""
        return tuple(
            field.with_values(cut.open * field.values + cut.crossing)
            for field, cut in zip(velocity, self.cuts, strict=True)
        )

    def scalar_convection(self, scheme: FluxAdvection, scalar: Field, carrier: Sequence[Field]) -> Field:
        """The rate at which a scalar is carried, its slopes taken as far as the faces are open."""
        return scheme.scalar_convection(scalar, carrier, [cut.open for cut in self.cuts])

    def project(self, velocity: Sequence[Field]) -> tuple[tuple[Array, ...], Solution]:
        """The nearest velocity, in the norm of the control volumes' masses, for which what crosses the faces has no
        divergence; and the potential of the correction.
        """
        weights = [cut.open / cut.mass(self.diffused) for cut in self.cuts]
        coefficients = [cut.open * weight for cut, weight in zip(self.cuts, weights, strict=True)]
        grid = self.variables.grid
        slopes = self.variables.potential_field(jnp.zeros(grid.cells, velocity[0].values.dtype))
        problem = VariableProblem.from_conditions(grid, slopes.conditions, coefficients)
        solution = never_unconverged(self.pressure_solver(problem)).solve(self.divergence(velocity).values)
        slopes = slopes.with_values(solution.pressure)
        values = []
        for axis, (field, cut, weight) in enumerate(zip(velocity, self.cuts, weights, strict=True)):
            change = without_fixed_ends(field, axis, weight * difference(slopes, axis).values)
            values.append(jnp.where(cut.active, field.values - change, cut.body))
        return tuple(values), solution

    def momentum(
        self, velocity: Sequence[Field], convection: Sequence[Field], acceleration: Sequence[Array] | None
    ) -> tuple[Array, ...]:
        """What a control volume gains, over its mass."""
        dtype = velocity[0].values.dtype
        outside = self.variables.pressure_field(jnp.zeros(self.variables.grid.cells, dtype))
        gains = []
        for axis, cut in enumerate(self.cuts):
            gain = cut.turning - convection[axis].values - cut.open * difference(outside, axis).values
            gains.append(gain if acceleration is None else gain + cut.open * acceleration[axis])
        return self._over_masses(velocity, gains)

    def viscous(self, velocity: Sequence[Field], viscosity: Array) -> tuple[Array, ...]:
        """What a control volume gains by viscosity, over its mass."""
        gains = [viscosity * immersed_laplacian(field, cut)[0] for field, cut in zip(velocity, self.cuts, strict=True)]
        return self._over_masses(velocity, gains)

    def scalar_rate(self, gain: Array) -> Array:
        """The gain over the fluid of each cell: small volumes follow a little later, as those of the momentum do."""
        return gain / self.scalar_mass()

    def released(self, rate: Array) -> Array:
        """The rate in the fluid of each cell, over its mass."""
        return rate * self.fluid_fractions() / self.scalar_mass()

    def fluid_fractions(self) -> Array:
        """The fluid of each cell as a part of the cell."""
        return 1 - self.body.shape.volume_fractions(self.variables.grid)

    def scalar_mass(self) -> Array:
        """The same, in small ones more than there is, as in the volumes of the momentum."""
        return at_least(self.fluid_fractions(), LEAST_MASS)

    def scalar_laplacian(self, scalar: Field) -> Array:
        """The divergence of the slopes through the open part of each face, over the fluid of each cell."""
        slopes = [difference(scalar, axis) for axis in range(scalar.grid.dimensions)]
        through = [slope.with_values(slope.values * cut.open) for slope, cut in zip(slopes, self.cuts, strict=True)]
        return self.scalar_rate(divergence(through).values)

    def scalar_change(self, rhs: Array, reach: Array) -> Array:
        """By conjugate gradients, with the box as preconditioner."""
        field = self.variables.scalar_field(rhs)
        lines = lines_of(field.grid, field.offset, field.conditions, 2)
        volumes, mass = field.grid.volumes(), self.scalar_mass()
        return solve_constrained(
            rhs,
            Partial(_as_given),
            Partial(scalar_spread, self, field, reach),
            Partial(_over_a_mass, lines, mass, reach),
            mass * jnp.asarray(volumes / volumes.mean(), rhs.dtype),
        )

    def stokes(self, reach: Array) -> Stokes:
        """The parts of an implicit step of diffusion."""
        masses = [cut.mass(self.diffused) for cut in self.cuts]
        scales = [cut.implicit_scale(reach) for cut in self.cuts]
        fields = self.variables.velocity_fields(masses)
        weights = [
            mass * face_volumes(axis, part, 2) for axis, (part, mass) in enumerate(zip(fields, masses, strict=True))
        ]
        return Stokes(
            Partial(projected_within_sides, self),
            Partial(_viscous, self, reach),
            Partial(_over_masses, masses, scales, reach),
            weights,
            symmetric=False,
            exact=False,
        )

    def at_rest(self) -> "CutCells":
        """The same with homogeneous conditions, around the body without its motion."""
        still = Immersed(self.body.shape)
        dtype = self.cuts[0].open.dtype
        return CutCells.around(still, self.variables.homogeneous(), self.diffused, self.pressure_solver, dtype)

    def forces(
        self,
        velocity: Sequence[Field],
        convect: Convection,
        viscosity: Array,
        pressure: Field,
        acceleration: Sequence[Array] | None,
    ) -> tuple[Array, Array]:
        """What the body takes from the momentum of the fluid: the force, and the torque about its pivot.

        Pressure acts on the closed part of every face, friction on the surface in each control volume. Convection
        carries nothing into the body but what crosses from open into closed faces.
        """
        relative = tuple(
            field.with_values(jnp.where(cut.active, field.values - cut.body, 0.0))
            for field, cut in zip(velocity, self.cuts, strict=True)
        )
        carried = convect(relative, self.carrier(velocity))
        taken, arms = [], []
        force = []
        for axis, (field, cut) in enumerate(zip(velocity, self.cuts, strict=True)):
            volume: Any = relative_control_volume(field)
            gain, from_surface = immersed_laplacian(field, cut)
            friction = viscosity * jnp.where(cut.active, -from_surface, gain)
            friction = volume * without_fixed_ends(field, axis, friction)
            through = jnp.where(cut.active, 0.0, -carried[axis].values)
            through = through - (1 - cut.open) * difference(pressure, axis).values
            through = volume * without_fixed_ends(field, axis, through)
            force.append(jnp.sum(friction) + jnp.sum(through))
            arm = self.body.arms(field.coordinates())
            at_surface = [one - cut.from_center * cut.normal[other] for other, one in enumerate(arm)]
            taken.append((through, friction))
            arms.append((arm, at_surface))
        torque = torque_of([one for one, _ in taken], [arm for arm, _ in arms])
        torque = torque + torque_of([one for _, one in taken], [arm for _, arm in arms])
        grid = self.variables.grid
        return times_volume_unit(grid, jnp.stack(force)), times_volume_unit(grid, torque)

    def _over_masses(self, velocity: Sequence[Field], gains: Sequence[Array]) -> tuple[Array, ...]:
        return tuple(
            without_fixed_ends(field, axis, jnp.where(cut.active, gain / cut.mass(self.diffused), 0.0))
            for axis, (field, cut, gain) in enumerate(zip(velocity, self.cuts, gains, strict=True))
        )


def _as_given(values: Array) -> Array:
    return values


def _over_a_mass(lines: tuple[Line, ...], mass: Array, reach: Array, values: Array) -> Array:
    return solve_separable(lines, mass * values, 1.0, -reach)


def _viscous(space: CutCells, reach: Array, parts: Sequence[Field]) -> Sequence[Array]:
    return space.viscous(parts, reach)


def _over_masses(
    masses: Sequence[Array], scales: Sequence[Array], reach: Array, parts: Sequence[Field]
) -> Sequence[Array]:
    return [
        solve_separable(lines_of(part.grid, part.offset, part.conditions, 2), mass * part.values / scale, 1.0, -reach)
        / scale
        for part, mass, scale in zip(parts, masses, scales, strict=True)
    ]
