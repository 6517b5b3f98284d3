"""The space of a flow without obstacle."""

from collections.abc import Callable, Sequence

import equinox as eqx
import jax.numpy as jnp
from jax import Array
from jax.tree_util import Partial

from diffphys.errors import InputError
from diffphys.grids import Field, Periodic, Wall
from diffphys.grids.conditions import fixes_points
from diffphys.operators import laplacian
from diffphys.operators.advection.convection import without_fixed_ends
from diffphys.operators.eigenbasis import Line, lines_of
from diffphys.operators.transport import viscous_force
from diffphys.physics.obstacles.space import (
    Convection,
    Differences,
    Stokes,
    Variables,
    WholeFaces,
    face_volumes,
    projected_within_sides,
)
from diffphys.poisson import PressureProblem, PressureSolver, Solution, direct
from diffphys.poisson.iterations import never_unconverged
from diffphys.poisson.separable import solve_separable


class Plain(WholeFaces):
    """No obstacle.

    Args:
        variables: What the sides mean.
        differences: Of second or fourth order.
        pressure_solver: From a `PressureProblem` to its solver, for second order.
    """

    all_open = True

    variables: Variables
    differences: Differences = eqx.field(static=True)
    pressure_solver: Callable[..., PressureSolver] = eqx.field(static=True)

    def divergence(self, velocity: Sequence[Field]) -> Field:
        """The divergence, of the order of the differences."""
        return self.differences.divergence(velocity)

    def solved(self, source: Array) -> Solution:
        """The solution of the pressure problem."""
        grid = self.variables.grid
        if self.differences.order == 2:
            return never_unconverged(self.pressure_solver(self.problem())).solve(source)
        if all(grid.uniform):
            return direct(self.problem()).solve(source)
        potential = solve_separable(self.lines(self.variables.potential_field(source)), source, 0.0, 1.0)
        slopes = self.variables.homogeneous().velocity_fields(self.slopes(potential))
        difference = self.differences.divergence(slopes).values - source
        imbalance = jnp.abs(jnp.mean(difference))  # what is left of the right side is its part in the null space
        residual = jnp.max(jnp.abs(difference - jnp.mean(difference)))
        return Solution(potential, residual, jnp.zeros((), jnp.int32), jnp.ones((), bool), imbalance)

    def problem(self) -> PressureProblem:
        """The pressure problem."""
        order = self.differences.order if all(self.variables.grid.uniform) else 2
        return PressureProblem.from_conditions(self.variables.grid, self.variables.pressure, order=order)

    def slopes(self, potential: Array) -> list[Array]:
        """The gradient of the potential on the faces of each axis."""
        field = self.variables.potential_field(potential)
        return [self.differences.difference(field, axis).values for axis in range(field.grid.dimensions)]

    def given_slope(self, axis: int, like: Array) -> Array | None:
        """What the pressure that is given at the sides of an axis contributes to its gradient; None where none is."""
        variables = self.variables
        if not any(fixes_points(end) for end in variables.pressure[axis]):
            return None
        outside = variables.pressure_field(jnp.zeros(variables.grid.cells, like.dtype))
        return self.differences.difference(outside, axis).values

    def carrier(self, velocity: Sequence[Field]) -> Sequence[Field]:
        """The velocity itself."""
        return velocity

    def momentum(
        self, velocity: Sequence[Field], convection: Sequence[Field], acceleration: Sequence[Array] | None
    ) -> tuple[Array, ...]:
        """`-convection - grad(given pressure) + acceleration` on the free faces."""
        rates = []
        for axis, component in enumerate(velocity):
            rate = -convection[axis].values
            slope = self.given_slope(axis, rate)
            rate = rate if slope is None else rate - slope
            rate = rate if acceleration is None else rate + acceleration[axis]
            rates.append(without_fixed_ends(component, axis, rate))
        return tuple(rates)

    def viscous(self, velocity: Sequence[Field], viscosity: Array) -> tuple[Array, ...]:
        """`viscosity * laplacian(v)` on the free faces, of second order; with a viscosity for each cell it is
        `div(viscosity (grad v + grad v^T))`.
        """
        if viscosity.ndim:
            forces = viscous_force(velocity, self.variables.viscosity_field(viscosity))
        else:
            forces = [viscosity * self.differences.laplacian(part).values for part in velocity]
        return tuple(
            without_fixed_ends(part, axis, force)
            for axis, (part, force) in enumerate(zip(velocity, forces, strict=True))
        )

    def free_faces(self, velocity: Sequence[Field]) -> tuple[Array, ...]:
        """1 on the faces whose velocity is an unknown, 0 where it is given on a side."""
        return tuple(without_fixed_ends(part, axis, jnp.ones_like(part.values)) for axis, part in enumerate(velocity))

    def scalar_rate(self, gain: Array) -> Array:
        """The gain itself."""
        return gain

    def released(self, rate: Array) -> Array:
        """The rate itself."""
        return rate

    def scalar_laplacian(self, scalar: Field) -> Array:
        """The Laplacian, of second order."""
        return laplacian(scalar).values

    def scalar_change(self, rhs: Array, reach: Array) -> Array:
        """By fast diagonalization."""
        field = self.variables.scalar_field(rhs)
        return solve_separable(lines_of(field.grid, field.offset, field.conditions, 2), rhs, 1.0, -reach)

    def lines(self, field: Field) -> tuple[Line, ...]:
        """The one-dimensional operators of a field's Laplacian."""
        return lines_of(field.grid, field.offset, field.conditions, self.differences.order)

    def stokes(self, reach: Array) -> Stokes:
        """The parts of an implicit step of diffusion, which leaves what slips along all sides without divergence."""
        sides = [side for pair in self.variables.sides for side in pair]
        slips = all(isinstance(side, Periodic) or (isinstance(side, Wall) and side.slip) for side in sides)
        return stokes_in_a_box(self, Partial(projected_within_sides, self), reach)._replace(commutes=slips)

    def at_rest(self) -> "Plain":
        """The same with homogeneous conditions."""
        return Plain(self.variables.homogeneous(), self.differences, self.pressure_solver)

    def forces(
        self,
        velocity: Sequence[Field],
        convect: Convection,
        viscosity: Array,
        pressure: Field,
        acceleration: Sequence[Array] | None,
    ) -> tuple[Array, Array]:
        """Refused: there is nothing that a force acts on."""
        raise InputError("forces: the flow has no solid; a flow with an obstacle is accepted.")


def stokes_in_a_box(box: Plain, project: Callable[[Sequence[Field]], Sequence[Array]], reach: Array) -> Stokes:
    """The parts of an implicit step with the diffusion of a box without obstacle."""
    velocity = box.variables.velocity_fields  # of any values: volumes depend on the place alone
    shapes = [box.variables.velocity_shape(axis) for axis in range(box.variables.grid.dimensions)]
    fields = velocity([jnp.zeros(shape, reach.dtype) for shape in shapes])
    weights = [face_volumes(a, part, box.differences.order) for a, part in enumerate(fields)]
    # Of fourth order it is symmetric where all that lies beyond the sides are mirror images.
    mirrors = all(end.extra_length is None for part in fields for pair in part.conditions for end in pair)
    symmetric = box.differences.order == 2 or mirrors
    return Stokes(project, Partial(_spread, box, reach), Partial(preconditioned, box, reach), weights, symmetric)


def _spread(box: Plain, reach: Array, parts: Sequence[Field]) -> Sequence[Array]:
    return [reach * box.differences.laplacian(part).values for part in parts]


def preconditioned(box: Plain, reach: Array, parts: Sequence[Field]) -> Sequence[Array]:
    """The solution of `w - reach * laplacian(w) = parts` for each component by itself, without the pressure."""
    return [solve_separable(box.lines(part), part.values, 1.0, -reach) for part in parts]
