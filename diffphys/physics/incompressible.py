"""Incompressible flow with obstacles and passive scalars, by first-order operator splitting.

    dv/dt + v . grad v = -grad p + viscosity * laplacian(v) + force,        div v = 0

One step of duration dt (Stam 1999; in this order as in Um et al. 2020):

1. explicit diffusion of each velocity component;
2. components that are held somewhere are overwritten there;
3. semi-Lagrangian advection of scalars and velocity, both by the velocity of before the advection;
4. sources of scalars and the force are added;
5. projection: normal velocities at walls and inflows are set, those on an obstacle's faces are zero, and the gradient
of a
   pressure removes the divergence to round-off.

Velocity components live on the faces (Harlow and Welch 1965); an obstacle is the set of cells whose centers it
contains, so its surface is a staircase.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from diffphys.errors import InputError
from diffphys.grids import (
    Conditions,
    Field,
    Ghost,
    Grid,
    Outflow,
    Periodic,
    Shape,
    Sides,
    face_offset,
    parse_sides,
)
from diffphys.grids.field import check_velocity
from diffphys.grids.grid import check_grid
from diffphys.grids.numbers import (
    as_array_of_shape,
    as_number,
    check_number,
    concrete,
    in_precision_of,
    number,
    of_types,
    shown,
)
from diffphys.grids.shapes import Periods, Repeated, is_traced
from diffphys.grids.sides import depends_on_time, periods, sides_at
from diffphys.operators import difference, divergence, explicit_diffusion, semi_lagrangian
from diffphys.operators.advection import as_largest_courant
from diffphys.physics import flow_sides
from diffphys.physics.clock import later
from diffphys.physics.heat import check_diffusion_step
from diffphys.poisson import PressureProblem, Solution, direct
from diffphys.poisson.problem import neighbors, trusted_pressure


class FlowState(eqx.Module):
    """The state of an incompressible flow.

    Attributes:
        velocity: One field on the faces of each axis.
        pressure: The kinematic pressure of the last projection, at the cell centers. An outcome: no step depends on it.
        scalars: Passive scalars at the cell centers, by name.
        time: The time of the state, right to its last digit however many steps have led there. Another one may be set:
            `dataclasses.replace(state, time=jnp.asarray(0.0))`.
        time_remainder: What rounding has left out of the time; zero if it is not given.
    """

    velocity: tuple[Field, ...]
    pressure: Field
    scalars: dict[str, Field]
    time: Array
    time_remainder: Array

    def __init__(
        self,
        velocity: Sequence[Field],
        pressure: Field,
        scalars: Mapping[str, Field],
        time: Any,
        time_remainder: Any = None,
    ):
        self.velocity, self.pressure, self.scalars = velocity, pressure, scalars  # pyright: ignore
        self.time = time
        if time_remainder is None:  # what stands for an array, as in the axes for `jax.vmap`, stands for both
            is_number = isinstance(time, (Array, np.ndarray, np.generic, float))
            time_remainder = jnp.zeros_like(time) if is_number else time
        self.time_remainder = time_remainder

    def after(self, duration: ArrayLike) -> Array:
        """The moment so long after this state."""
        return later(self.time, self.time_remainder, duration)[0]


def _held_components(parts: Any) -> tuple[Array | None, ...]:
    if not isinstance(parts, (Sequence, np.ndarray, Array)) or isinstance(parts, str):
        raise InputError(f"Held: velocity is {shown(parts)}; a number or None for each axis is accepted.")
    return tuple(None if part is None else as_number(part, "Held: velocity") for part in parts)


class Held(eqx.Module):
    """A region in which velocity components are overwritten in every step, after diffusion and before advection.

    The projection may change them again: this is a forcing zone, not a side.

    Args:
        where: Region; faces whose center lies in it are overwritten.
        velocity: One number for each axis, or None for components that are left alone.
    """

    where: Shape
    velocity: tuple[Array | None, ...] = eqx.field(converter=_held_components)


class PassiveScalar(eqx.Module):
    """A scalar that the flow carries.

    Args:
        diffusivity: Length squared per time.
        source: Region in which it is released.
        rate: Amount per time and volume released there.
    """

    diffusivity: Array = eqx.field(converter=number("PassiveScalar: diffusivity"), default=0.0)
    source: Shape | None = None
    rate: Array = eqx.field(converter=number("PassiveScalar: rate"), default=1.0)


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
            self.cells = np.asarray(self.images.contains(grid.centers()))
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
        if not isinstance(solid, Shape):
            raise InputError(f"{owner}: solid is {shown(solid)}; a shape or None is accepted.")
        if is_traced(solid):
            raise InputError(
                f"{owner}: solid has numbers that are being traced; an obstacle whose cells are known when the flow is "
                "made is accepted (make the flow outside of jit, grad and vmap)."
            )
        fixed = FixedSolid(solid, grid, periods(grid, sides))
        if not fixed.cells.any():
            raise InputError(f"{owner}: solid contains no cell's center; an obstacle within the domain is accepted.")
        if fixed.cells.all():
            raise InputError(
                f"{owner}: solid contains every cell's center; an obstacle that leaves fluid cells is accepted."
            )
        return fixed

    def cells_on(self, owner: str, grid: Grid) -> np.ndarray:
        """Its cells; `InputError` where they were found on another grid than the flow's."""
        if self.grid != grid:
            raise InputError(f"{owner}: solid was made for another grid, {self.grid}; one of {grid} is accepted.")
        return self.cells

    def faces(self, problem: PressureProblem, axis: int) -> np.ndarray:
        """Faces of which at least one cell is solid; on a side of the domain, of which the one cell is."""
        below, above = neighbors(self.cells, axis, problem.kinds[axis], edge=True)
        return np.asarray(below | above)

    def unwrapped(self, points: Sequence[Array]) -> Sequence[Array]:
        """The points, moved by whole periods, as the image of the shape that they lie at has them."""
        return self.images.unwrapped(points) if isinstance(self.images, Repeated) else points

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FixedSolid) and self._key == other._key


class IncompressibleFlow(eqx.Module):
    """Incompressible flow as a pure function `step(state) -> state`, or `step(state, force) -> state`.

    Second order in space except for the semi-Lagrangian advection's numerical diffusion, first order in time.
    Viscosity, dt,
    inflow speeds, wall velocities, held velocities and rates are traced leaves: `dataclasses.replace(flow,
        viscosity=0.1)` compiles
    nothing anew, and everything has a gradient.

    Args:
        grid: The grid.
        viscosity: Kinematic viscosity, length squared per time.
        dt: Duration of a step.
        sides: One side for all, or for each axis name a side or a (lower, upper) pair: see `grids.parse_sides`.
        solid: An obstacle at rest, or None. Its numbers must be known when the flow is made.
        held: Regions in which velocity components are held.
        scalars: Passive scalars by name.
        largest_courant: Bound on the Courant number in whole cells, for all axes or a tuple, for faster advection: see
            `operators.semi_lagrangian`.
        pressure_solver: From a `PressureProblem` to its solver. Default: the direct one.

    Raises:
        InputError: for sides that are missing or contradict each other, a net flux through the sides that cannot
            vanish, an obstacle that is outside of the domain or fills it, a number out of range, or a `dt` beyond the
            bound of explicit diffusion.
    """

    grid: Grid = eqx.field(static=True)
    viscosity: Array
    dt: Array
    sides: Sides
    solid: FixedSolid | None
    held: tuple[Held, ...]
    scalars: dict[str, PassiveScalar]
    largest_courant: int | tuple[int, ...] | None = eqx.field(static=True)
    pressure_solver: Any = eqx.field(static=True)

    def __init__(
        self,
        grid: Grid,
        viscosity: ArrayLike,
        dt: ArrayLike,
        sides: Any,
        solid: Shape | FixedSolid | None = None,
        held: Sequence[Held] = (),
        scalars: Mapping[str, PassiveScalar] | None = None,
        largest_courant: int | tuple[int, ...] | None = None,
        pressure_solver: Any = direct,
    ):
        check_grid("IncompressibleFlow", grid)
        self.grid = grid
        self.viscosity = as_number(viscosity, "IncompressibleFlow: viscosity")
        self.dt = as_number(dt, "IncompressibleFlow: dt")
        self.sides = parse_sides(grid, sides)
        self.solid = FixedSolid.of("IncompressibleFlow", grid, self.sides, solid)
        if not isinstance(held, Sequence):
            raise InputError(f"IncompressibleFlow: held is {shown(held)}; a sequence of Held is accepted.")
        self.held = tuple(held)
        self.largest_courant = as_largest_courant("IncompressibleFlow", largest_courant, grid.dimensions)
        self.pressure_solver = pressure_solver
        check_number("IncompressibleFlow", "viscosity", self.viscosity, minimum=0.0)
        check_number("IncompressibleFlow", "dt", self.dt, above=0.0)
        check_diffusion_step("IncompressibleFlow", grid, self.viscosity, self.dt)
        _check_outside_pressure(self.sides)
        flow_sides.check_net_flux("IncompressibleFlow", grid, self.sides, self.pressure_problem())
        self.scalars = checked_scalars("IncompressibleFlow", grid, scalars)
        for name, scalar in self.scalars.items():
            check_diffusion_step(f"PassiveScalar {name!r}", grid, scalar.diffusivity, self.dt)
        for region in self.held:
            if not isinstance(region, Held):
                raise InputError(f"IncompressibleFlow: held has {shown(region)}; values of type Held are accepted.")
            if region.where is None:
                raise InputError("Held: where is None; a shape is accepted.")
            _check_region("Held", "where", region.where, grid.centers())
            for axis, value in enumerate(region.velocity):
                if value is not None:
                    check_number("Held", f"velocity[{axis}]", value)
            if len(region.velocity) != grid.dimensions:
                raise InputError(
                    f"Held: velocity has {len(region.velocity)} components; a number or None for each of "
                    f"{grid.dimensions} axes is accepted."
                )

    def __call__(self, state: FlowState, force: Sequence[ArrayLike] | None = None) -> FlowState:
        """The state one `dt` later.

        Args:
            state: The state.
            force: Acceleration, for each axis a number or an array with an entry for each face; or None.
        """
        flow_sides.check_state("IncompressibleFlow", self.grid, state, self.scalars)
        flow = in_precision_of("IncompressibleFlow", self, state.velocity[0].values)
        return of_types(flow._now(state.after(flow.dt))._step(state, force), state)

    def _step(self, state: FlowState, force: Sequence[ArrayLike] | None) -> FlowState:
        velocity = tuple(
            component.with_conditions(self.velocity_conditions(axis)) for axis, component in enumerate(state.velocity)
        )
        diffused = tuple(explicit_diffusion(component, self.viscosity, self.dt) for component in velocity)
        carrier = self._hold(diffused)
        scalars = {name: self._carry(name, state.scalars[name], carrier) for name in self.scalars}
        advected = tuple(semi_lagrangian(component, carrier, self.dt, self.largest_courant) for component in carrier)
        forced = advected if force is None else self._add(advected, force)
        projected, solution = self.project(forced)
        pressure = Field(solution.pressure / self.dt, self.grid, conditions=self.pressure_conditions())
        return FlowState(projected, pressure, scalars, *later(state.time, state.time_remainder, self.dt))

    def initial_state(
        self, velocity: Sequence[ArrayLike | Field] | None = None, scalars: Mapping[str, ArrayLike] | None = None
    ) -> FlowState:
        """A state at time zero, made free of divergence.

        Args:
            velocity: For each axis a number, an array with an entry for each face, or a `Field` at the faces or at the
                cell centers, which `operators.convert` brings to the faces. Default: the stream that the inflows drive,
                the mean of the normal speeds at the two sides of each axis.
            scalars: For each scalar a number or an array with an entry for each cell. Default: zero.

        Raises:
            InputError: for arrays of the wrong shape or with values that are not finite, and for unknown scalars.
        """
        return self._now(0.0)._start(velocity, scalars)

    def _start(
        self, velocity: Sequence[ArrayLike | Field] | None, scalars: Mapping[str, ArrayLike] | None
    ) -> FlowState:
        velocity = flow_sides.stream(self.sides) if velocity is None else velocity
        velocity = flow_sides.velocity_on_faces("initial_state", self.grid, self.sides, velocity)
        flow_sides.check_given_scalars(scalars, self.scalars)
        components = tuple(self._component(axis, values) for axis, values in enumerate(velocity))
        projected = _projected(self, components)
        carried = {name: self._scalar(name, (scalars or {}).get(name, 0.0)) for name in self.scalars}
        pressure = Field(jnp.zeros(self.grid.cells), self.grid, conditions=self.pressure_conditions())
        return FlowState(projected, pressure, carried, as_number(0.0))

    def project(self, velocity: Sequence[Field]) -> tuple[tuple[Field, ...], Solution]:
        """The nearest velocity without divergence: `v - grad phi` with `laplacian(phi) = div v`.

        Normal velocities at walls and inflows are set first and those on an obstacle's faces are zero. On the remaining
        faces this is
        an orthogonal projection: linear, idempotent, symmetric.

        Returns:
            The velocity, and the solution with `phi`, which is the pressure times dt.
        """
        check_velocity("IncompressibleFlow.project", "velocity", velocity, self.grid, on_faces=True)
        imposed = tuple(self._impose(axis, component) for axis, component in enumerate(velocity))
        solution = self.pressure_solver(self.pressure_problem()).solve(divergence(imposed).values)
        potential = Field(trusted_pressure(solution), self.grid, conditions=self.pressure_conditions())
        projected = []
        for axis, component in enumerate(imposed):
            correction = difference(potential, axis).values
            if self.solid is not None:
                correction = correction * self._passable(axis, correction.dtype)
            projected.append(component.with_values(component.values - correction))
        return tuple(projected), solution

    def courant_number(self, state: FlowState) -> Array:
        """The largest `dt |v_a| / h_a` over all faces and axes, on a stretched axis with the narrower cell beside."""
        flow_sides.check_velocity_of("courant_number", self.grid, state)
        ratios = [largest_ratio(component, axis, self.dt) for axis, component in enumerate(state.velocity)]
        return jnp.max(jnp.stack(ratios))

    def pressure_problem(self) -> PressureProblem:
        """The pressure problem that belongs to these sides and this obstacle."""
        cells = None if self.solid is None else self.solid.cells_on("IncompressibleFlow", self.grid)
        return PressureProblem.from_conditions(self.grid, self.pressure_conditions(), cells)

    def velocity_conditions(self, component: int) -> Conditions:
        """What the sides mean for one velocity component."""
        return flow_sides.velocity_conditions(self.sides, component)

    def pressure_conditions(self) -> Conditions:
        """What the sides mean for the pressure."""
        return flow_sides.pressure_conditions(self.sides, Ghost)

    def scalar_conditions(self) -> Conditions:
        """What the sides mean for a passive scalar."""
        return flow_sides.scalar_conditions(self.sides)

    def _now(self, time: ArrayLike) -> "IncompressibleFlow":
        """The flow with what its sides are at this moment."""
        if not depends_on_time(self.sides):
            return self
        return eqx.tree_at(lambda flow: flow.sides, self, sides_at(self.sides, time))

    def _impose(self, axis: int, component: Field) -> Field:
        """The component with its fixed normal values on the sides and zero on the obstacle's faces."""
        component = flow_sides.imposed(axis, component)
        if self.solid is not None:  # last: where an obstacle stands in an inflow, nothing comes in
            outside = ~self._closed_faces(axis)
            component = component.with_values(component.values * jnp.asarray(outside, component.values.dtype))
        return component

    def _closed_faces(self, axis: int) -> np.ndarray:
        """Which faces normal to an axis belong to the obstacle."""
        assert self.solid is not None
        return np.asarray(self.solid.faces(self.pressure_problem(), axis))

    def _passable(self, axis: int, dtype) -> Array:
        """1 on faces that a gradient of the pressure may drive a flow through, 0 on those between fluid and solid."""
        return jnp.asarray(~self.pressure_problem().closed_faces()[axis], dtype)

    def _hold(self, velocity: tuple[Field, ...]) -> tuple[Field, ...]:
        def held(axis: int, component: Field, region: Shape, value: Array | None) -> Field:
            if value is None:
                return component
            where = region.contains(component.coordinates())
            if self.solid is not None:  # an obstacle at rest is not held
                where = where & jnp.asarray(~self._closed_faces(axis))
            return component.with_values(jnp.where(where, value, component.values))

        for region in self.held:
            where = region.where.repeated(periods(self.grid, self.sides))
            velocity = tuple(
                held(axis, component, where, region.velocity[axis]) for axis, component in enumerate(velocity)
            )
        return velocity

    def _carry(self, name: str, scalar: Field, carrier: tuple[Field, ...]) -> Field:
        """A scalar after diffusion, advection and release. An obstacle is closed for all three."""
        settings, closed, cells = self.scalars[name], None, None
        if self.solid is not None:
            cells = self.solid.cells
            closed = [self._closed_faces(axis) for axis in range(self.grid.dimensions)]
            carrier = tuple(  # diffusion has moved the faces of the obstacle, too
                part.with_values(part.values * jnp.asarray(~faces, part.values.dtype))
                for part, faces in zip(carrier, closed, strict=True)
            )
        spread = scalar.with_conditions(flow_sides.diffused_conditions(self.sides, scalar.values, carrier))
        values = explicit_diffusion(spread, settings.diffusivity, self.dt, closed).values
        carried = Field(
            values,
            self.grid,
            conditions=flow_sides.carried_conditions(self.sides, values, carrier, at_rest=0.0),
        )
        values = semi_lagrangian(carried, carrier, self.dt, self.largest_courant, cells).values
        if settings.source is not None:
            source = settings.source.repeated(periods(self.grid, self.sides)).coverage(self.grid)
            released = self.dt * settings.rate * source.astype(self.dt.dtype)
            values = values + (released if cells is None else released * jnp.asarray(~cells, values.dtype))
        return Field(values, self.grid, conditions=self.scalar_conditions())

    def _add(self, velocity: tuple[Field, ...], force: Sequence[ArrayLike]) -> tuple[Field, ...]:
        parts = flow_sides.forces_on_faces("IncompressibleFlow", force, velocity)
        return tuple(
            component.with_values(component.values + self.dt * part)
            for component, part in zip(velocity, parts, strict=True)
        )

    def _component(self, axis: int, values: ArrayLike) -> Field:
        conditions = self.velocity_conditions(axis)
        offset = face_offset(self.grid, axis)
        shape = self.grid.shape(offset, tuple(isinstance(pair[0], Periodic) for pair in conditions))
        values = as_array_of_shape("initial_state", f"velocity[{axis}]", values, shape)
        return Field(values, self.grid, offset, conditions)

    def _scalar(self, name: str, values: ArrayLike) -> Field:
        values = as_array_of_shape("initial_state", f"scalar {name!r}", values, self.grid.cells)
        return Field(values, self.grid, conditions=self.scalar_conditions())


@eqx.filter_jit
def _projected(flow: IncompressibleFlow, velocity: tuple[Field, ...]) -> tuple[Field, ...]:
    """One compiled program: operation by operation the first projection takes several times as long to prepare."""
    return flow.project(velocity)[0]


def largest_ratio(component: Field, axis: int, dt: Array) -> Array:
    """The largest `dt |v| / h` over the faces normal to an axis."""
    grid = component.grid
    if grid.uniform[axis]:
        return jnp.max(jnp.abs(component.values)) * dt / grid.spacing_along(axis)
    widths, wraps = grid.widths(axis), component.periodic[axis]
    below = np.append(widths[-1:] if wraps else widths[:1], widths[:-1] if wraps else widths)
    above = widths if wraps else np.append(widths, widths[-1:])
    narrower = grid.along(axis, jnp.asarray(np.minimum(below, above), component.values.dtype))
    return jnp.max(jnp.abs(component.values) / narrower) * dt


def checked_scalars(owner: str, grid: Grid, scalars: Any) -> dict[str, PassiveScalar]:
    """The passive scalars that a user gives a flow, checked."""
    if scalars is not None and not isinstance(scalars, Mapping):
        raise InputError(f"{owner}: scalars is {shown(scalars)}; a mapping from names to PassiveScalar is accepted.")
    for name, scalar in (scalars or {}).items():
        if not isinstance(scalar, PassiveScalar):
            raise InputError(f"{owner}: scalars[{name!r}] is {shown(scalar)}; a PassiveScalar is accepted.")
        named = f"PassiveScalar {name!r}"
        check_number(named, "diffusivity", scalar.diffusivity, minimum=0.0)
        check_number(named, "rate", scalar.rate)
        _check_region(named, "source", scalar.source, grid.centers())
    return dict(scalars or {})


def _check_region(owner: str, name: str, region: Shape | None, points: Sequence[Array]) -> None:
    if region is None:
        return
    if not isinstance(region, Shape):
        raise InputError(f"{owner}: {name} is {shown(region)}; a shape is accepted.")
    try:
        jax.eval_shape(region.contains, points)
    except InputError as error:
        raise InputError(f"{owner}: {name} does not fit the grid. {error}") from None


def _check_outside_pressure(sides: Sides) -> None:
    for pair in sides:
        for side in pair:
            known = (
                concrete(side.pressure) if isinstance(side, Outflow) and not callable(side.pressure) else np.zeros(())
            )
            if isinstance(side, Outflow) and (callable(side.pressure) or (known is not None and np.any(known != 0))):
                raise InputError(
                    "IncompressibleFlow: an Outflow has a pressure; 0 is accepted here, other values by RungeKuttaFlow."
                )
