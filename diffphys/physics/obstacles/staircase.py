"""The space of a flow around an obstacle made of whole cells, whose surface is a staircase."""

import abc
import copy
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial

from diffphys.errors import InputError
from diffphys.grids import Field, Grid, Repeated, Shape, Sides
from diffphys.grids.declared import refuse
from diffphys.grids.ends import values_beside
from diffphys.grids.numbers import check_kind
from diffphys.grids.shapes import Measured, Periods, is_traced
from diffphys.grids.sides import periods
from diffphys.operators import FluxAdvection, difference, divergence
from diffphys.operators.advection.convection import times_volume_unit, without_fixed_ends
from diffphys.operators.eigenbasis import Line, lines_of
from diffphys.physics.obstacles.immersed import fills_nothing_or_all
from diffphys.physics.obstacles.plain import Plain, stokes_in_a_box
from diffphys.physics.obstacles.space import (
    SECOND_ORDER,
    Convection,
    Stokes,
    Variables,
    WholeFaces,
    face_volumes,
    scalar_spread,
    torque_of,
)
from diffphys.poisson import PressureProblem, PressureSolver, Solution
from diffphys.poisson.constrained import solve_constrained
from diffphys.poisson.iterations import never_unconverged
from diffphys.poisson.separable import solve_separable
from diffphys.poisson.traced_obstacle import ClosedFaces, CorrectedAround, closed_faces


@jax.tree_util.register_static
class FixedSolid:
    """A shape whose numbers are known before the program runs; static and hashable by the cells that it fills.

    Args:
        shape: The shape.
        grid: The grid.
        periods: For each axis its period, or None where it is bounded: see `Shape.repeated`. Default: none.
    """

    def __init__(self, shape: Shape, grid: Grid, periods: Periods = ()):
        self.shape, self.grid, self.periods = shape, grid, tuple(periods)
        self.images = shape.repeated(periods)
        with jax.ensure_compile_time_eval():  # the numbers are known, also where the flow is made inside of jit
            self.cells = np.asarray(self.images.contains(grid.known_centers()))
        self._key = (grid, self.periods, self.cells.tobytes())

    @staticmethod
    def of(owner: str, grid: Grid, sides: Sides, solid: "Shape | FixedSolid | None") -> "FixedSolid | None":
        """The obstacle that a user gives, checked; one that was made for another grid, or for other periods, is made
        anew for these.
        """
        if isinstance(solid, FixedSolid):
            solid = solid if (solid.grid, solid.periods) == (grid, periods(grid, sides)) else solid.shape
        if solid is None or isinstance(solid, FixedSolid):
            return solid
        check_kind(owner, "solid", solid, Shape, "a shape or None")
        if is_traced(solid):
            words = "an obstacle whose cells are known when the flow is made (make it outside of jit, grad and vmap)"
            raise InputError(f"{owner}: solid has numbers that are being traced; {words} is accepted.")
        fixed = FixedSolid(solid, grid, periods(grid, sides))
        refuse(owner, fills_nothing_or_all(fixed.cells))
        return fixed

    def measured(self, unit: float) -> "FixedSolid":
        """The same cells of the same grid, whose lengths are measured in a unit."""
        other = copy.copy(self)
        other.shape, other.grid = Measured(self.shape, unit), self.grid.measured(unit)
        other.periods = tuple(None if period is None else period / unit for period in self.periods)
        other.images = other.shape.repeated(other.periods)
        other._key = (other.grid, other.periods, self.cells.tobytes())
        return other

    def known_cells(self, owner: str, grid: Grid) -> np.ndarray:
        """Its cells; `InputError` where they were found on another grid than the flow's."""
        if self.grid != grid:
            raise InputError(f"{owner}: solid was made for another grid, {self.grid}; one of {grid} is accepted.")
        return self.cells

    def faces(self, problem: PressureProblem, axis: int) -> np.ndarray:
        """Faces of which at least one cell is solid; on a side of the domain, of which the one cell is."""
        below, above = values_beside(self.cells, axis, problem.kinds[axis], edge=True)
        return np.asarray(below | above)

    def crossed(self, problem: PressureProblem, axis: int) -> np.ndarray:
        """Faces that do not part fluid and solid."""
        return ~problem.closed_faces()[axis]

    def solver(self, problem: PressureProblem, made_by: Callable[..., PressureSolver]) -> PressureSolver:
        """What solves the pressure problem."""
        return never_unconverged(made_by(problem))

    def unwrapped(self, points: Sequence[Array]) -> Sequence[Array]:
        """The points, moved by whole periods, as the image of the shape that they lie at has them."""
        return self.images.unwrapped(points) if isinstance(self.images, Repeated) else points

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FixedSolid) and self._key == other._key


class TracedSolid(eqx.Module):
    """The same as an argument of the program: its cells are traced, and what the pressure needs of its surface comes
    with them. Obstacles with room for as many faces take one program, and `jax.vmap` takes several together.

    Args:
        cells: For each cell whether it is solid.
        surface: Its surface.
        grid: The grid.
    """

    cells: Array
    surface: ClosedFaces
    grid: Grid = eqx.field(static=True)

    @staticmethod
    def of(flow: Any, shape: Shape, faces: int) -> "TracedSolid":
        """The obstacle for flows with the grid and sides of one without an obstacle.

        Args:
            flow: That flow.
            shape: The shape, whose numbers are known.
            faces: For how many faces between fluid and solid there is room.

        Raises:
            InputError: for a shape that is traced, fills no cell or all, or closes more faces.
        """
        fixed = FixedSolid.of("TracedSolid", flow.grid, flow.sides, shape)
        assert fixed is not None
        with jax.ensure_compile_time_eval():
            surface = closed_faces(flow.pressure_problem_around(fixed.cells), faces)
            return TracedSolid(jnp.asarray(fixed.cells), jax.tree.map(jnp.asarray, surface), flow.grid)

    def measured(self, unit: float) -> "TracedSolid":
        """The same cells of the same grid, whose lengths are measured in a unit."""
        surface = self.surface._replace(factors=self.surface.factors * unit)
        return TracedSolid(self.cells, surface, self.grid.measured(unit))

    def known_cells(self, owner: str, grid: Grid) -> None:
        """None: they are known when the program runs. `InputError` where they were found on another grid."""
        if self.grid != grid:
            raise InputError(f"{owner}: solid was made for another grid, {self.grid}; one of {grid} is accepted.")

    def faces(self, problem: PressureProblem, axis: int) -> Array:
        """Faces of which at least one cell is solid."""
        below, above = values_beside(self.cells, axis, problem.kinds[axis], edge=True)
        return below | above

    def crossed(self, problem: PressureProblem, axis: int) -> Array:
        """Faces that do not part fluid and solid."""
        below, above = values_beside(self.cells, axis, problem.kinds[axis], edge=True)
        return below == above

    def solver(self, problem: PressureProblem, made_by: Callable[..., PressureSolver]) -> PressureSolver:
        """The direct solution with the correction on its surface."""
        return CorrectedAround(problem, self.surface)

    def unwrapped(self, points: Sequence[Array]) -> Sequence[Array]:
        """The points."""
        return points


class WholeCells(WholeFaces):
    """An obstacle at rest: the faces of its cells are closed for the fluid, and for all that it carries.

    Final classes: `Staircase`, of second order, and `wide_staircase.WideStaircase`, of fourth order away from it.
    """

    all_open = False

    solid: eqx.AbstractVar[Any]

    @property
    @abc.abstractmethod
    def box(self) -> Plain:
        """The space without it."""

    @abc.abstractmethod
    def diffused(self, velocity: Sequence[Field], viscosity: Array) -> tuple[Array, ...]:
        """The rate of the velocity by viscosity, also on the faces of the obstacle."""

    def impose(self, velocity: Sequence[Field]) -> tuple[Field, ...]:
        """The velocity with its given values on the sides, and zero on the faces of the obstacle's cells: where it
        stands in an inflow nothing comes in.
        """
        return self._stopped(super().impose(velocity))

    def problem(self) -> PressureProblem:
        """The pressure problem."""
        grid = self.variables.grid
        return PressureProblem.from_conditions(grid, self.variables.pressure, self.solid.known_cells("solid", grid))

    @property
    def closed_cells(self) -> np.ndarray | None:
        """Those of the obstacle."""
        return self.solid.cells

    def carrier(self, velocity: Sequence[Field]) -> Sequence[Field]:
        """The velocity, zero on the faces of the obstacle."""
        return self._stopped(velocity)

    def momentum(
        self, velocity: Sequence[Field], convection: Sequence[Field], acceleration: Sequence[Array] | None
    ) -> tuple[Array, ...]:
        """That of the box on the free faces."""
        rates = self.box.momentum(velocity, convection, acceleration)
        return tuple(rate * self._free(axis, rate.dtype) for axis, rate in enumerate(rates))

    def scalar_convection(self, scheme: FluxAdvection, scalar: Field, carrier: Sequence[Field]) -> Field:
        """The rate at which a scalar is carried, which the scheme takes from fluid cells alone."""
        return scheme.scalar_convection(
            scalar, carrier, [self._free(axis, scalar.values.dtype) for axis in range(len(carrier))]
        )

    def viscous(self, velocity: Sequence[Field], viscosity: Array) -> tuple[Array, ...]:
        """That of all faces on the free ones."""
        rates = self.diffused(velocity, viscosity)
        return tuple(rate * self._free(axis, rate.dtype) for axis, rate in enumerate(rates))

    def scalar_rate(self, gain: Array) -> Array:
        """The gain itself."""
        return gain

    def released(self, rate: Array) -> Array:
        """The rate in fluid cells."""
        return rate * jnp.asarray(~self.solid.cells, rate.dtype)

    def off_the_obstacle(self, changed: Sequence[Field], before: Sequence[Field]) -> tuple[Field, ...]:
        """The changed velocity on free faces."""
        closed = [self.solid.faces(self.problem(), axis) for axis in range(len(changed))]
        return tuple(
            new.with_values(jnp.where(jnp.asarray(faces), old.values, new.values))
            for new, old, faces in zip(changed, before, closed, strict=True)
        )

    def scalar_laplacian(self, scalar: Field) -> Array:
        """The divergence of the slopes on the free faces."""
        slopes = [difference(scalar, axis) for axis in range(scalar.grid.dimensions)]
        return divergence(self._stopped(slopes)).values

    def scalar_change(self, rhs: Array, reach: Array) -> Array:
        """By conjugate gradients, with the box as preconditioner."""
        field = self.variables.scalar_field(rhs)
        fluid = jnp.asarray(~self.solid.cells, rhs.dtype)
        lines = lines_of(field.grid, field.offset, field.conditions, 2)
        volumes = field.grid.volumes()
        return solve_constrained(
            rhs,
            Partial(_in_fluid, fluid),
            Partial(scalar_spread, self, field, reach),
            Partial(_in_the_box, lines, reach),
            jnp.asarray(volumes / volumes.mean(), rhs.dtype),
        )

    def forces(
        self,
        velocity: Sequence[Field],
        convect: Convection,
        viscosity: Array,
        pressure: Field,
        acceleration: Sequence[Array] | None,
    ) -> tuple[Array, Array]:
        """What the scheme takes from the momentum of the control volumes around closed faces, about the origin."""
        taken, carried, viscous = [], convect(velocity, velocity), self.diffused(velocity, viscosity)
        for axis, field in enumerate(velocity):
            gained = viscous[axis] - carried[axis].values
            gained = gained - difference(pressure, axis).values
            if acceleration is not None:  # the part of the control volume that is fluid
                below, above = values_beside(self.solid.cells, axis, self.problem().kinds[axis], edge=True)
                gained = gained + acceleration[axis] * (1 - (1.0 * below + 1.0 * above) / 2)
            closed = without_fixed_ends(field, axis, gained) * (1 - self._free(axis, gained.dtype))
            taken.append(face_volumes(axis, field, 2) * closed)
        force = jnp.stack([jnp.sum(part) for part in taken])
        torque = torque_of(taken, [self.solid.unwrapped(field.coordinates()) for field in velocity])
        grid = self.variables.grid
        return times_volume_unit(grid, force), times_volume_unit(grid, torque)

    def _stopped(self, parts: Sequence[Field]) -> tuple[Field, ...]:
        """A vector field, zero on the faces of the obstacle."""
        return tuple(
            part.with_values(part.values * self._free(axis, part.values.dtype)) for axis, part in enumerate(parts)
        )

    def _free(self, axis: int, dtype) -> Array:
        """1 on faces between fluid cells, 0 on those of solid ones."""
        return jnp.asarray(~self.solid.faces(self.problem(), axis), dtype)

    def _crossed(self, axis: int, dtype) -> Array:
        """1 on faces that a gradient of the pressure may drive a flow through, 0 on those between fluid and solid.
        (Between solid cells the potential is constant, to round-off.)
        """
        return jnp.asarray(self.solid.crossed(self.problem(), axis), dtype)

    def free_faces(self, velocity: Sequence[Field]) -> tuple[Array, ...]:
        """1 on the faces whose velocity is an unknown, 0 on those of the obstacle and where it is given on a side."""
        return tuple(self.on_free_faces(axis, part, jnp.ones_like(part.values)) for axis, part in enumerate(velocity))

    def on_free_faces(self, axis: int, component: Field, values: Array) -> Array:
        return without_fixed_ends(component, axis, values) * self._free(axis, values.dtype)


class Staircase(WholeCells):
    """The obstacle, with differences of second order.

    Args:
        variables: What the sides mean.
        pressure_solver: From a `PressureProblem` to its solver.
        solid: Its cells.
    """

    variables: Variables
    pressure_solver: Callable[..., PressureSolver] = eqx.field(static=True)
    solid: FixedSolid | TracedSolid

    @property
    def box(self) -> Plain:
        """The space without it."""
        return Plain(self.variables, SECOND_ORDER, self.pressure_solver)

    def diffused(self, velocity: Sequence[Field], viscosity: Array) -> tuple[Array, ...]:
        """That of the box."""
        return self.box.viscous(velocity, viscosity)

    def divergence(self, velocity: Sequence[Field]) -> Field:
        """The divergence."""
        return divergence(velocity)

    def solved(self, source: Array) -> Solution:
        """The solution of the pressure problem."""
        return self.solid.solver(self.problem(), self.pressure_solver).solve(source)

    def slopes(self, potential: Array) -> list[Array]:
        """The gradient of the potential on the faces of each axis, zero on those that the obstacle closes."""
        slopes = self.box.slopes(potential)
        return [slope * self._crossed(axis, slope.dtype) for axis, slope in enumerate(slopes)]

    def stokes(self, reach: Array) -> Stokes:
        """The parts of an implicit step of diffusion."""
        return stokes_in_a_box(self.box, Partial(projected, self), reach)

    def at_rest(self) -> "Staircase":
        """The same with homogeneous conditions."""
        return Staircase(variables=self.variables.homogeneous(), pressure_solver=self.pressure_solver, solid=self.solid)


def projected(space: WholeCells, parts: Sequence[Field]) -> Sequence[Array]:
    """The projection of what lies on free faces."""
    free = [part.with_values(space.on_free_faces(a, part, part.values)) for a, part in enumerate(parts)]
    return space.project(free)[0]


def _in_fluid(fluid: Array, values: Array) -> Array:
    return values * fluid


def _in_the_box(lines: tuple[Line, ...], reach: Array, values: Array) -> Array:
    return solve_separable(lines, values, 1.0, -reach)
