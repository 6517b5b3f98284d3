r"""Incompressible flow, composed of a grid, its sides, an obstacle, scalars, forces, and schemes in space and time.

    dv/dt + v . grad v = -grad p + viscosity * laplacian(v) + force,        div v = 0
    ds/dt + v . grad s = diffusivity * laplacian(s) + source

Velocity components live on the faces (Harlow and Welch 1965), pressure and scalars at the centers.

With `stepping=Splitting()` one step is (Stam 1999; in this order as in Um et al. 2020)

1. explicit diffusion of velocity and scalars;
2. regions that are held are overwritten;
3. scalars and velocity are carried, both by the velocity of before;
4. sources of scalars, and forces;
5. projection: normal velocities at walls and inflows are set, those on an obstacle's faces are zero, and the gradient
   of a pressure removes the divergence to round-off.

With `RungeKutta` and `ImplicitExplicit` each stage is advanced by the sum of all rates and then projected (see
`stepping`), so that the velocity has the method's order, also where the sides move. Around an immersed body that is
displaced it has not: the projection itself then changes in time, and an order of 1.2 was measured for three and four
stages. In an implicit stage velocity and pressure are found together (`poisson.constrained`): where they are split, one
after the other, the fluid slips along the walls, and the order is lost there.

With `PISO` momentum is implicit, and correctors find the pressure: see `stepping.piso` and `momentum`.

With `Spectral` a step goes to Fourier modes, is made there (see `spectral`), and comes back to the faces: states are
those of every other flow; a rollout stays there from step to step. Only the waves that are kept come back. The pressure
is that of the state from which the step went out.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.flatten_util import ravel_pytree
from jax.tree_util import Partial
from jax.typing import ArrayLike, DTypeLike

from diffphys.grids import (
    Declared,
    Dirichlet,
    Field,
    Ghost,
    Grid,
    Shape,
    Sides,
    as_array_of_shape,
    choice,
    parse_sides,
    quantity,
    within,
)
from diffphys.grids.declared import refuse
from diffphys.grids.ends import lengths_beside
from diffphys.grids.field import check_parts, check_velocity
from diffphys.grids.grid import check_grid
from diffphys.grids.numbers import as_number, check_kind, check_names, in_precision_of, magnitude, of_types
from diffphys.grids.sides import depends_on_time, periods, sides_at
from diffphys.operators import Waves, diffusion_limit, diffusion_number, explicit_diffusion, faces_to_centers
from diffphys.operators.advection import Advection, FluxAdvection, SemiLagrangian, SkewSymmetric, Spectral
from diffphys.operators.advection.convection import times_volume_unit
from diffphys.operators.advection.semi_lagrangian import carried_velocity
from diffphys.physics import flow_sides
from diffphys.physics.added_viscosity import AddedViscosity, as_added_viscosity
from diffphys.physics.flow_parts import A_SOLVER, as_obstacle, as_scalars, refused, refused_input
from diffphys.physics.flow_state import FlowState, Forces, Unknowns
from diffphys.physics.flow_units import flow_in, input_in
from diffphys.physics.forces import FlowInput, Force, Held, as_forces
from diffphys.physics.momentum import MomentumEquation, implicit_scalar, momentum_equation
from diffphys.physics.obstacles import (
    AROUND_CELLS,
    DIFFERENCES,
    CutCells,
    FiniteVolumes,
    FixedSolid,
    Fourier,
    Immersed,
    Plain,
    Space,
    TracedSolid,
    Variables,
)
from diffphys.physics.obstacles.space import WholeFaces, face_volumes
from diffphys.physics.scalars import PassiveScalar
from diffphys.physics.spectral import SpectralFlow, SpectralState
from diffphys.physics.units import field_in, unit_of
from diffphys.poisson import FictitiousDomain, PressureProblem, PressureSolver, Solution, direct
from diffphys.poisson.constrained import solve_constrained
from diffphys.stepping import (
    PISO,
    ExponentialRungeKutta,
    ImplicitExplicit,
    Integrator,
    PISOReport,
    RungeKutta,
    Splitting,
    WorkingForm,
)
from diffphys.stepping.clock import later


class IncompressibleFlow(Declared):
    """Incompressible flow as a pure function `step(state) -> state`, or `step(state, input) -> state`.

    Viscosity, dt, all that the sides are given, held velocities, rates and an immersed body are traced leaves:
    `dataclasses.replace(flow, viscosity=0.1)` compiles nothing anew, and everything has a gradient.

    Args:
        grid: The grid, stretched or not.
        viscosity: Kinematic viscosity, length squared per time; with `RungeKutta` and `PISO` also an array with an
            entry for each cell.
        dt: Duration of a step.
        sides: One side for all, or for each axis name a side or a (lower, upper) pair: see `grids.parse_sides`.
        solid: A shape: an obstacle at rest made of whole cells, whose numbers must be known when the flow is made. Or
            `Immersed`: a body whose surface cuts cells, of second order, whose place and motion are traced; or a
            function from the time to that body as it is then. Or, with `RungeKutta`, a
            `physics.obstacles.TracedSolid`: an obstacle of whole cells that is an argument of the program. Or None.
        scalars: Passive scalars by name.
        advection: `SemiLagrangian`, `CubicSemiLagrangian`, `MacCormack` (with `Splitting`), `Upwind`, `VanLeer` or
            `SkewSymmetric`, for velocity and scalars. `SkewSymmetric(order=4)` makes all of the scheme of fourth order,
            which is reached where no sides are near. Around an obstacle of whole cells, on a uniform grid, the links
            that touch it are of second order: see `physics.obstacles.wide_staircase`. With `Splitting` only advection
            is of fourth order, on uniform grids without obstacle. `Spectral` makes all of it Fourier modes, in a
            periodic box. Default: semi-Lagrangian with `Splitting`, else skew-symmetric of second order.
        stepping: `Splitting()`, of first order in time; `RungeKutta(order)`; `ImplicitExplicit(order)`, with
            diffusion taken implicitly, for steps beyond the bound of explicit diffusion (around an immersed body such
            a step costs more than ten explicit ones); `PISO(correctors, order)`, with convection and diffusion
            implicit, by `SkewSymmetric(2)`; or with `Spectral` `ExponentialRungeKutta(order)`, with diffusion and drag
            exactly.
        forces: `Buoyancy`, `LinearDrag`, `SinusoidalForce`, `Held` regions, functions from the scalars and the
            velocity (as fields) to an acceleration, or accelerations: for each axis a number or an array with an entry
            for each face.
        pressure_solver: From a `PressureProblem` to its solver, for second order; with an immersed body, and with
            `PISO` where viscosity or cells vary, from a `VariableProblem`. Default: the direct one, where coefficients
            vary `poisson.FictitiousDomain`.
        added_viscosity: What adds to the viscosity, with `RungeKutta` and `PISO`: `Smagorinsky`,
            `DynamicSmagorinsky`, `Sponge`, or functions from the velocity (as fields) to an array with an entry for
            each cell. An explicit step has to be short enough for all of it.

    Raises:
        InputError: for sides that are missing or contradict each other, a net flux through the sides that cannot
            vanish, an obstacle that is outside of the domain or fills it, a number out of range, parts that do not go
            together, or a `dt` beyond the bound of explicit diffusion where that is asked for.

    Examples:
        >>> flow = dp.IncompressibleFlow(
        ...     dp.Grid((16, 32), (100.0, 200.0)),
        ...     viscosity=0.06,
        ...     dt=1.0,
        ...     sides=dict(x=dp.Wall(), y=(dp.Inflow(1.0), dp.Outflow())),
        ...     solid=dp.Sphere((50.0, 50.0), 10.0),
        ... )
        >>> final, frames = dp.rollout(flow, flow.initial_state(), steps=20, save_every=10)
    """

    grid: Grid = eqx.field(static=True)
    viscosity: Array = eqx.field(converter=quantity, metadata=within(minimum=0.0, cells=True))
    dt: Array = eqx.field(converter=quantity, metadata=within(above=0.0))
    sides: Sides
    solid: Any
    scalars: dict[str, PassiveScalar]
    advection: Advection | Spectral | None = eqx.field(static=True)
    stepping: Integrator = eqx.field(
        static=True, metadata=choice(Splitting, RungeKutta, ImplicitExplicit, ExponentialRungeKutta, PISO)
    )
    forces: tuple[Any, ...]
    pressure_solver: Callable[..., PressureSolver] | None = eqx.field(static=True, metadata=A_SOLVER)
    added_viscosity: tuple[Any, ...]

    def __init__(
        self,
        grid: Grid,
        viscosity: ArrayLike,
        dt: ArrayLike,
        sides: Any,
        solid: Shape | FixedSolid | TracedSolid | Immersed | Callable[[Array], Immersed] | None = None,
        scalars: Mapping[str, PassiveScalar] | None = None,
        advection: Advection | Spectral | None = None,
        stepping: Integrator = Splitting(),  # noqa: B008 (frozen)
        forces: Sequence[Force] = (),
        pressure_solver: Callable[..., PressureSolver] | None = None,
        added_viscosity: Sequence[AddedViscosity] = (),
    ):
        check_grid("IncompressibleFlow", grid)
        self.grid = grid
        self.viscosity, self.dt = viscosity, dt  # pyright: ignore[reportAttributeAccessIssue] (the converter's work)
        self.sides = parse_sides(grid, sides)
        self.solid = as_obstacle(grid, self.sides, solid)
        self.scalars = as_scalars("IncompressibleFlow", scalars)
        self.advection, self.stepping = advection, stepping
        self.forces = as_forces("IncompressibleFlow", forces, grid.dimensions)
        self.pressure_solver = pressure_solver
        self.added_viscosity = as_added_viscosity("IncompressibleFlow", added_viscosity)

    def refused(self):
        return refused(self)

    def limits(self):
        yield diffusion_limit(self.grid, self.viscosity, self.dt, self._real_axis, "this viscosity")
        for name, scalar in self.scalars.items():
            given = f"the diffusivity of PassiveScalar {name!r}"
            yield diffusion_limit(self.grid, scalar.diffusivity, self.dt, self._real_axis, given)

    def __call__(self, state: FlowState, given: FlowInput | Sequence[ArrayLike] | None = None) -> FlowState:
        """The state one `dt` later.

        Args:
            state: The state.
            given: A `FlowInput`, or a force alone: for each axis a number or an array with an entry for each face.
        """
        return self.reported(state, given)[0]

    def reported(
        self, state: FlowState, given: FlowInput | Sequence[ArrayLike] | None = None
    ) -> tuple[FlowState, PISOReport | None]:
        """The state one `dt` later, and what the iterative solvers of `PISO` say of themselves, a
        `stepping.PISOReport`; None with other methods.

        Args:
            state: The state.
            given: As for the step.
        """
        flow_sides.check_state("IncompressibleFlow", self.grid, state, self.scalars)
        form = self.working_form(state, given)
        if form is not None:
            return form.back(form.step(form.state, given)), None
        values = state.velocity[0].values
        flow, given = in_precision_of("IncompressibleFlow", self, values), self._input(given, values)
        following, report = flow._step(state, given)
        return of_types(following, state), report

    def working_form(
        self, state: FlowState, given: FlowInput | Sequence[ArrayLike] | None = None
    ) -> WorkingForm | None:
        """With `Spectral` a state in Fourier modes, in which `rollout` leaves it from step to step; else None.

        Args:
            state: The state.
            given: What acts in the first step.
        """
        if not isinstance(self.advection, Spectral):
            return None
        flow_sides.check_state("IncompressibleFlow", self.grid, state, self.scalars)
        values = state.velocity[0].values
        whole = in_precision_of("IncompressibleFlow", self, values)
        unit = unit_of(self.grid)
        flow = whole if unit == 1.0 else flow_in(unit, whole)
        space, axes = flow.space(state.time), periods(flow.grid, flow.sides)
        assert isinstance(space, Fourier)
        system = SpectralFlow(
            space,
            flow.viscosity,
            {name: scalar.diffusivity for name, scalar in flow.scalars.items()},
            {name: scalar.release(flow.grid, axes, values.dtype) for name, scalar in flow.scalars.items()},
            flow.forces,
        )

        def acting(given: FlowInput | Sequence[ArrayLike] | None) -> FlowInput:
            own = self._input(given, values)
            return own if unit == 1.0 else input_in(unit, self.grid, own)

        def step(now: SpectralState, given: FlowInput | Sequence[ArrayLike] | None = None) -> SpectralState:
            return system.advanced(flow.stepping, flow.dt, now, acting(given), unit)

        def back(now: SpectralState) -> FlowState:
            velocity, scalars = space.on_grid(now.modes)
            pressure = system.pressure(now.before, now.given)
            return of_types(whole._state(velocity, pressure, scalars, now.time, now.time_remainder), state)

        modes = space.modes(*self._unknowns(state))
        start = SpectralState(modes, modes, acting(given), state.time, state.time_remainder)
        return WorkingForm(start, step, back)

    def _input(self, given: FlowInput | Sequence[ArrayLike] | None, values: Array) -> FlowInput:
        """What acts in a step, in the precision of a state's values."""
        given = given if isinstance(given, FlowInput) else FlowInput(force=given)
        refuse("FlowInput", refused_input(self, given))
        return in_precision_of("IncompressibleFlow", given, values)

    def _unknowns(self, state: FlowState) -> Unknowns:
        velocity = tuple(part.values for part in state.velocity)
        return velocity, {name: state.scalars[name].values for name in self.scalars}

    def _step(self, state: FlowState, given: FlowInput) -> tuple[FlowState, PISOReport | None]:
        unit = unit_of(self.grid)
        flow, acting, after = self, given, state.after
        if unit != 1.0:
            flow, acting = flow_in(unit, self), input_in(unit, self.grid, given)
            after = lambda duration: state.after(unit * duration)  # noqa: E731
        (velocity, scalars), potential, report = flow.stepping.advance(
            flow, self._unknowns(state), flow.dt, after, acting, state.pressure.values * flow.dt
        )
        if unit != 1.0 and report is not None:  # of the pressure the residual is a divergence
            report = report._replace(pressure=report.pressure._replace(residual=report.pressure.residual / unit))
        time, remainder = later(state.time, state.time_remainder, self.dt)
        return self._state(velocity, potential / flow.dt, scalars, time, remainder, given), report

    # What an integrator asks: see `stepping.System`. The state that it advances are the `Unknowns`.

    def rate(self, time: Array, state: Unknowns, given: FlowInput) -> Unknowns:
        """The right sides of velocity and scalars by advection, forces and sources, without the gradient of the
        pressure save for what is given of it.
        """
        space = self.volumes(time, given, state[0][0].dtype)
        return self.carried_rate(space, state, space.carrier(space.variables.velocity_fields(state[0])), given)

    def carried_rate(
        self, space: FiniteVolumes, state: Unknowns, carrier: Sequence[Field], given: FlowInput
    ) -> Unknowns:
        """The same where another velocity, without divergence, carries."""
        variables = space.variables
        velocity = variables.velocity_fields(state[0])
        scalars = {name: variables.scalar_field(values) for name, values in state[1].items()}
        with jax.named_scope("advection"):
            convected = space.convection(self._fluxes, velocity, carrier)
            entering = flow_sides.entering_from_rest(variables.sides, velocity, carrier)
        convected = tuple(
            part if more is None else part.with_values(part.values - more)
            for part, more in zip(convected, entering, strict=True)
        )
        with jax.named_scope("forces"):
            acceleration = self._acceleration(given, scalars, velocity)
        rates = space.momentum(velocity, convected, acceleration)
        return flow_sides.with_convective_ends(variables.sides, velocity, carrier, convected, rates), {
            name: self._scalar_rate(space, name, values, carrier) for name, values in state[1].items()
        }

    @jax.named_scope("diffusion")
    def stiff_rate(self, time: Array, state: Unknowns, given: FlowInput) -> Unknowns:
        """The right sides by diffusion, without the pressure that belongs to it."""
        return self._diffusion(self.volumes(time, given, state[0][0].dtype), state)

    @jax.named_scope("diffusion")
    def stiff_change(self, time: Array, state: Unknowns, length: Array, given: FlowInput) -> Unknowns:
        """What diffusion over `length` changes in an implicit stage: `w = length P G(v + w)`, and so for scalars."""
        space = self.volumes(time, given, state[0][0].dtype)
        velocity, scalars = self._diffusion(space, state)
        space = space.at_rest()
        fields = space.variables.velocity_fields(state[0])
        dtype = state[0][0].dtype
        unraveled = ravel_pytree(state[0])[1]

        def on_all(function: Callable[[Sequence[Field]], Sequence[Array]]) -> Callable[[Array], Array]:
            """The same function of one array of all unknowns."""
            return Partial(_of_one, function, unraveled, fields)

        stokes = space.stokes((length * self.viscosity).astype(dtype))
        project = on_all(stokes.project)
        rhs = project(ravel_pytree(tuple(length.astype(dtype) * rate for rate in velocity))[0])
        if stokes.commutes:
            change = on_all(stokes.precondition)(rhs)
        else:
            weights = ravel_pytree(tuple(stokes.weights))[0]
            change = solve_constrained(
                rhs,
                project,
                on_all(stokes.smooth),
                on_all(stokes.precondition),
                weights / jnp.mean(weights),
                symmetric=stokes.symmetric,
                exact=stokes.exact,
            )
        return unraveled(change), {
            name: space.scalar_change(
                length.astype(rate.dtype) * rate, (length * self.scalars[name].diffusivity).astype(rate.dtype)
            )
            for name, rate in scalars.items()
        }

    @jax.named_scope("projection")
    def constrain(self, time: Array, state: Unknowns, given: FlowInput) -> tuple[Unknowns, Array]:
        """The velocity without divergence, and the potential whose gradient was taken away."""
        space = self.volumes(time, given, state[0][0].dtype)
        velocity = space.variables.velocity_fields(state[0])
        if not isinstance(self.stepping, Splitting):  # there it is a part by itself, before advection
            velocity = self._held(space, velocity)
        projected, solution = space.project(_imposed(space, velocity))
        return (projected, state[1]), solution.pressure

    def linearized(
        self,
        times: Sequence[Array],
        state: Unknowns,
        about: Unknowns,
        dt: Array,
        weight: float,
        given: FlowInput,
        frozen: bool,
    ) -> MomentumEquation:
        """The implicit step from a state, linear about another one; the times are those of the state, of the other and
        of the end.
        """
        # An immersed body, which cuts faces, is refused with PISO.
        before, around, after = (cast(WholeFaces, self.volumes(time, given, state[0][0].dtype)) for time in times)
        velocity = around.variables.velocity_fields(about[0])
        carrier = around.carrier(velocity)
        scalars = {name: around.variables.scalar_field(values) for name, values in about[1].items()}
        resting = [part.with_values(jnp.zeros_like(part.values)) for part in velocity]
        push = around.momentum(velocity, resting, self._acceleration(given, scalars, velocity))
        carried = {
            name: implicit_scalar(
                (before, after),
                (state[1][name], about[1][name]),
                carrier,
                self.scalars[name].diffusivity,
                self._source(around, name, values.dtype),
                dt,
                weight,
                frozen,
                cast(PISO, self.stepping),
            )
            for name, values in about[1].items()
        }
        return momentum_equation(
            (before, after),
            (state[0], velocity),
            carrier,
            self._viscosity(velocity),
            push,
            dt,
            weight,
            frozen,
            carried,
            self.pressure_solver,
        )

    @property
    def parts(self) -> tuple[Callable[..., Unknowns], ...]:
        """The parts of a step by `Splitting`."""
        return (self._diffuse, self._hold, self._carry, self._push)

    @jax.named_scope("diffusion")
    def _diffuse(self, time: Array, state: Unknowns, dt: Array, given: FlowInput) -> Unknowns:
        variables = self.variables(time, given)
        velocity = variables.velocity_fields(state[0])
        spread = [explicit_diffusion(part, self.viscosity, dt).values for part in velocity]
        return flow_sides.kept(variables.sides, velocity, spread), state[1]

    def _hold(self, time: Array, state: Unknowns, dt: Array, given: FlowInput) -> Unknowns:
        space = self.volumes(time, given, state[0][0].dtype)
        held = self._held(space, space.variables.velocity_fields(state[0]))
        return tuple(part.values for part in held), state[1]

    def _carry(self, time: Array, state: Unknowns, dt: Array, given: FlowInput) -> Unknowns:
        """Both by the velocity of before; an obstacle is closed for scalars, which diffuse first."""
        space = self.volumes(time, given, state[0][0].dtype)
        velocity = space.variables.velocity_fields(state[0])
        # Zero on the faces of an obstacle, into which diffusion has brought something.
        carrier = space.carrier(velocity)

        def carried(name: str, values: Array) -> Array:
            with jax.named_scope("diffusion"):
                spread = space.variables.diffused_scalar(values, carrier)
                reach = jnp.asarray(dt * self.scalars[name].diffusivity, values.dtype)
                values = values + reach * space.scalar_laplacian(spread)
            with jax.named_scope("advection"):
                scalar = space.variables.carried_scalar(values, carrier, at_rest=0.0)
                return self.scheme.carry(scalar, carrier, dt, space.closed_cells).values

        with jax.named_scope("advection"):
            moved = carried_velocity(self.scheme, velocity, carrier, dt, space.closed_cells)
        moved = flow_sides.carried_out(space.variables.sides, velocity, tuple(part.values for part in moved), dt)
        return moved, {name: carried(name, values) for name, values in state[1].items()}

    @jax.named_scope("forces")
    def _push(self, time: Array, state: Unknowns, dt: Array, given: FlowInput) -> Unknowns:
        space = self.volumes(time, given, state[0][0].dtype)
        scalars = {
            name: values if (source := self._source(space, name, values.dtype)) is None else values + dt * source
            for name, values in state[1].items()
        }
        fields = {name: space.variables.scalar_field(values) for name, values in scalars.items()}
        acceleration = self._acceleration(given, fields, space.variables.velocity_fields(state[0]))
        if acceleration is None:
            return state[0], scalars
        return tuple(part + dt * push for part, push in zip(state[0], acceleration, strict=True)), scalars

    # What the sides, the obstacle and the forces are at a moment.

    def space(self, time: ArrayLike, given: FlowInput | None = None, dtype: DTypeLike | None = None) -> Space:
        """The discrete calculus at this time, with what acts in this step."""
        if isinstance(self.advection, Spectral):
            return Fourier(self.variables(time, given), Waves(self.grid, self.advection.dealiasing))
        return self.volumes(time, given, dtype)

    def volumes(self, time: ArrayLike, given: FlowInput | None = None, dtype: DTypeLike | None = None) -> FiniteVolumes:
        """The same of a flow by finite volumes."""
        variables = self.variables(time, given)
        if (body := self.body(time, given)) is not None:
            dtype = jnp.result_type(float) if dtype is None else dtype
            diffused = (self.viscosity * self.dt if self._explicit else 0.0 * self.viscosity).astype(dtype)
            return CutCells.around(body, variables, diffused, self._solver, dtype)
        if self.solid is None:
            return Plain(variables, DIFFERENCES[self.order], self._solver)
        return AROUND_CELLS[self.order](variables=variables, pressure_solver=self._solver, solid=self.solid)

    def variables(self, time: ArrayLike, given: FlowInput | None = None) -> Variables:
        """What the sides mean for each variable at this time."""
        sides = self.sides if given is None or given.sides is None else given.sides
        sides = sides_at(sides, time) if depends_on_time(sides) else sides
        return Variables(
            self.grid,
            sides,
            tuple(flow_sides.velocity_conditions(sides, axis) for axis in range(self.grid.dimensions)),
            flow_sides.pressure_conditions(sides, self._free),
            flow_sides.scalar_conditions(sides),
        )

    def body(self, time: ArrayLike, given: FlowInput | None = None) -> Immersed | None:
        """The immersed body as it is at this time, with its images along periodic axes; None where there is none."""
        solid = self.solid if given is None or given.solid is None else given.solid
        if solid is None or isinstance(solid, (FixedSolid, TracedSolid)):
            return None
        if isinstance(solid, Immersed):
            body = solid
        else:
            body = in_precision_of("IncompressibleFlow", solid(jnp.asarray(time)), self.dt)
        return body.repeated(periods(self.grid, self.sides))

    def pressure_problem(self) -> PressureProblem:
        """The pressure problem of these sides and an obstacle of whole cells, of second order."""
        solid = self.solid.known_cells("IncompressibleFlow", self.grid) if isinstance(self.solid, FixedSolid) else None
        return self.pressure_problem_around(solid)

    def pressure_problem_around(self, solid: np.ndarray | None) -> PressureProblem:
        """The pressure problem of these sides with these solid cells."""
        conditions = flow_sides.homogeneous_pressure_conditions(self.sides, self._free)
        return PressureProblem.from_conditions(self.grid, conditions, solid)

    # What is made and measured outside of a step.

    def initial_state(
        self,
        velocity: Sequence[ArrayLike | Field] | None = None,
        scalars: Mapping[str, ArrayLike] | None = None,
        time: ArrayLike = 0.0,
    ) -> FlowState:
        """A state made free of divergence.

        Args:
            velocity: For each axis a number, an array with an entry for each face, or a `Field` at the faces or at the
                cell centers, which `operators.convert` brings to the faces. Default: the stream that the inflows drive,
                the mean of the normal speeds at the two sides of each axis.
            scalars: For each scalar a number or an array with an entry for each cell. Default: zero.
            time: The time of the state.

        Raises:
            InputError: for arrays of the wrong shape or with values that are not finite, and for unknown scalars.
        """
        time = as_array_of_shape("initial_state", "time", time, ())
        if velocity is None:
            velocity = flow_sides.stream(sides_at(self.sides, time) if depends_on_time(self.sides) else self.sides)
        scalars = {} if scalars is None else scalars
        check_kind("initial_state", "scalars", scalars, Mapping, "a mapping from names to numbers or arrays")
        check_names("initial_state", "scalars", scalars, self.scalars, some=True)
        carried = {
            name: as_array_of_shape("initial_state", f"scalar {name!r}", scalars.get(name, 0.0), self.grid.cells)
            for name in self.scalars
        }
        values = self._without_divergence("initial_state", velocity, time)
        return self._state(values, jnp.zeros(self.grid.cells), carried, time)

    def at_centers(self, state: FlowState) -> FlowState:
        """The state with all of it at the cell centers, where pressure and scalars live: for a network, a picture or
        another program. The velocity is brought there by `operators.convert`: without a loss along uniform periodic
        axes, else to sixth order, fourth next to the sides. `at_faces` leads back; a step takes states on the faces.

        Args:
            state: A state of this flow.

        Raises:
            InputError: for a state of another flow.
        """
        flow_sides.check_state("IncompressibleFlow.at_centers", self.grid, state, self.scalars)
        return dataclasses.replace(state, velocity=faces_to_centers(state.velocity))

    def at_faces(self, state: FlowState) -> FlowState:
        """The state with its velocity on the faces, made free of divergence there: the way back from `at_centers`, also
        of what a network has made of it in between.

        A state without divergence comes back to round-off where all axes are periodic and uniform, else as exactly as
        `operators.convert` keeps it.

        Args:
            state: A state whose velocity is at the cell centers, one field for each axis; or on the faces already.

        Raises:
            InputError: for fields of another grid or at other places.
        """
        flow_sides.check_state("IncompressibleFlow.at_faces", self.grid, state, self.scalars, on_faces=False)
        velocity = self._without_divergence("IncompressibleFlow.at_faces", state.velocity, state.time)
        scalars = {name: field.values for name, field in state.scalars.items()}
        made = self._state(velocity, state.pressure.values, scalars, state.time, state.time_remainder)
        made = jax.tree.map(lambda leaf: leaf.astype(state.velocity[0].values.dtype), made)
        return dataclasses.replace(made, time=state.time, time_remainder=state.time_remainder)

    def project(self, velocity: Sequence[Field], time: ArrayLike = 0.0) -> tuple[tuple[Field, ...], Solution]:
        """The nearest velocity without divergence: `v - grad phi` with `laplacian(phi) = div v`, and the solution with
        `phi`, which is the pressure times dt.

        Normal velocities at walls and inflows are set first, and those on an obstacle's faces are zero. On the
        remaining faces this is an orthogonal projection: linear, idempotent, symmetric.
        """
        check_velocity("IncompressibleFlow.project", "velocity", velocity, self.grid, on_faces=True)
        time = as_number(time, "IncompressibleFlow.project: time")
        space = self.space(time, None, velocity[0].values.dtype)
        fields = space.variables.velocity_fields([part.values for part in velocity])
        projected, solution = space.project(_imposed(space, fields))
        return space.variables.velocity_fields(projected), solution

    def divergence(self, state: FlowState) -> Field:
        """The divergence that the projection makes zero, of the order of the scheme; around an immersed body that of
        what crosses the faces, fluid and body together.
        """
        flow_sides.check_state("IncompressibleFlow.divergence", self.grid, state, self.scalars)
        return self.space(state.time, None, state.velocity[0].values.dtype).divergence(state.velocity)

    def courant_number(self, state: FlowState) -> Array:
        """The largest `dt |v_a| / h_a` over all faces and axes, on a stretched axis with the narrower cell beside."""
        check_parts("courant_number", state, ("velocity",), "a FlowState")
        check_velocity("courant_number", "the state's velocity", state.velocity, self.grid, on_faces=True)
        return jnp.max(jnp.stack([largest_ratio(part, axis, self.dt) for axis, part in enumerate(state.velocity)]))

    def diffusion_number(self, state: FlowState) -> Array:
        """`dt` over the longest step for which diffusion of velocity and scalars is stable; zero where it is implicit.

        Where `dt`, the viscosity or a diffusivity is traced a flow beyond the bound cannot be refused: there this
        number tells, which `rollout` reports with `outcome=True`.
        """
        check_parts("diffusion_number", state, ("velocity",), "a FlowState")
        check_velocity("diffusion_number", "the state's velocity", state.velocity, self.grid, on_faces=True)
        fastest = jnp.max(self._viscosity(state.velocity))
        for scalar in self.scalars.values():
            fastest = jnp.maximum(fastest, scalar.diffusivity)
        return diffusion_number(self.grid, fastest, self.dt, self._real_axis)

    def forces_on_solid(self, state: FlowState, given: FlowInput | Sequence[ArrayLike] | None = None) -> Forces:
        """What the flow exerts on the obstacle, exactly what the scheme takes there from the fluid's momentum.

        It is the pressure over the closed faces (of an immersed body: the closed part of all faces), the momentum that
        convection and viscosity carry into their control volumes, and what a force gives to the fluid there. In a
        steady flow it balances the fluxes through any surface around the obstacle. The pressure is that of the state,
        the mean over the step that led to it. A look-up scheme has no fluxes; with it convection is the central one.

        Args:
            state: The state after a step.
            given: What acted in that step, as the step was given it.

        Raises:
            InputError: if there is no obstacle.
        """
        flow_sides.check_state("IncompressibleFlow.forces_on_solid", self.grid, state, self.scalars)
        given = given if isinstance(given, FlowInput) else FlowInput(force=given)
        refuse("FlowInput", refused_input(self, given))
        unit = unit_of(self.grid)
        if unit == 1.0:
            return self._forces_on_solid(state, given)
        flow, acting = flow_in(unit, self), input_in(unit, self.grid, given)
        own = flow.grid
        there = FlowState(
            tuple(field_in(unit, own, part) for part in state.velocity),
            field_in(unit, own, state.pressure),
            {name: field_in(unit, own, field) for name, field in state.scalars.items()},
            state.time,
        )
        found = flow._forces_on_solid(there, acting)
        force, torque = found.force, found.torque * unit
        for _ in range(self.grid.dimensions - 1):  # one after the other: their product may be too small a number
            force, torque = force * unit, torque * unit
        return Forces(force, torque)

    def _forces_on_solid(self, state: FlowState, given: FlowInput) -> Forces:
        space = self.volumes(state.time, given, state.velocity[0].values.dtype)
        fields = space.variables.velocity_fields([part.values for part in state.velocity])
        scheme = self.scheme if isinstance(self.scheme, FluxAdvection) else SkewSymmetric()
        pressure = space.variables.pressure_field(state.pressure.values)
        force, torque = space.forces(
            fields,
            Partial(space.convection, scheme),
            self._viscosity(fields),
            pressure,
            self._acceleration(given, state.scalars, fields),
        )
        return Forces(force, torque if self.grid.dimensions == 3 else torque[2])

    def kinetic_energy(self, state: FlowState) -> Array:
        """Half the sum of the squared velocity over the control volumes around the faces, the energy that
        skew-symmetric convection conserves. A face on a side of the domain counts for the half of its volume that lies
        within.
        """
        check_parts("kinetic_energy", state, ("velocity",), "a FlowState")
        check_velocity("kinetic_energy", "the state's velocity", state.velocity, self.grid, on_faces=True)
        total = jnp.zeros(())
        for axis, component in enumerate(state.velocity):
            total = total + jnp.sum(face_volumes(axis, component, self.order) * component.values**2) / 2
        return times_volume_unit(self.grid, total)

    @property
    def scheme(self) -> Advection:
        """The scheme of differences asked for, else the one that suits the method in time."""
        if self.advection is not None and not isinstance(self.advection, Spectral):
            return self.advection
        return SemiLagrangian() if isinstance(self.stepping, Splitting) else SkewSymmetric()

    @property
    def _fluxes(self) -> FluxAdvection:
        """The scheme as one of fluxes, as it is with every stepping that asks for a rate."""
        return cast(FluxAdvection, self.scheme)

    @property
    def order(self) -> int:
        """The order of the differences in space."""
        return 2 if isinstance(self.stepping, Splitting) else self._fluxes.order

    @property
    def _real_axis(self) -> float:
        """How far stability reaches on the negative real axis, in the units of second-order differences."""
        if isinstance(self.advection, Spectral):
            return self.stepping.real_axis * 4 / (np.pi * self.advection.dealiasing) ** 2
        return self.stepping.real_axis * DIFFERENCES[self.order].real_axis

    @property
    def _explicit(self) -> bool:
        return not isinstance(self.stepping, (ImplicitExplicit, ExponentialRungeKutta))

    @property
    def is_immersed(self) -> bool:
        """Whether there is a body whose surface cuts cells."""
        return self.solid is not None and not isinstance(self.solid, (FixedSolid, TracedSolid))

    @property
    def _solver(self) -> Callable[..., PressureSolver]:
        """The solver asked for, else the one that suits the obstacle, also where another took its place."""
        return self.pressure_solver or (FictitiousDomain if self.is_immersed else direct)

    @property
    def _free(self) -> type:
        """What the pressure does where fluid leaves freely: as published it vanishes half a cell beyond the side, else
        on the side itself, which is of second order.
        """
        return Ghost if isinstance(self.stepping, Splitting) else Dirichlet

    def _viscosity(self, velocity: Sequence[Field]) -> Array:
        """The viscosity, with all that adds to it: one number, or an array with an entry for each cell."""
        total = self.viscosity.astype(velocity[0].values.dtype)
        for part in self.added_viscosity:
            more = as_array_of_shape("IncompressibleFlow", "an added viscosity", part(velocity), self.grid.cells)
            total = total + more.astype(total.dtype)
        return total

    def _state(
        self,
        velocity: Sequence[Array],
        pressure: Array,
        scalars: Mapping[str, Array],
        time: Array,
        remainder: Array | None = None,
        given: FlowInput | None = None,
    ) -> FlowState:
        variables = self.variables(time, given)
        return FlowState(
            variables.velocity_fields(velocity),
            variables.pressure_field(pressure),
            {name: variables.scalar_field(values) for name, values in scalars.items()},
            time,
            remainder,
        )

    def _without_divergence(self, owner: str, velocity: Sequence[ArrayLike | Field], time: Array) -> tuple[Array, ...]:
        """What is given for the velocity, on the faces and projected."""
        sides = sides_at(self.sides, time) if depends_on_time(self.sides) else self.sides
        velocity = flow_sides.velocity_on_faces(owner, self.grid, sides, velocity)
        variables = self.variables(time)
        values = tuple(
            as_array_of_shape(owner, f"velocity[{axis}]", part, variables.velocity_shape(axis))
            for axis, part in enumerate(velocity)
        )
        return _first_projection(self, values, time)

    def _diffusion(self, space: FiniteVolumes, state: Unknowns) -> Unknowns:
        """`viscosity laplacian(v)` on the free faces, and `diffusivity laplacian(s)`."""
        velocity = space.variables.velocity_fields(state[0])
        carrier = space.carrier(velocity)
        return space.viscous(velocity, self._viscosity(velocity)), {
            name: self.scalars[name].diffusivity.astype(values.dtype)
            * space.scalar_laplacian(space.variables.diffused_scalar(values, carrier))
            for name, values in state[1].items()
        }

    @jax.named_scope("advection")
    def _scalar_rate(self, space: FiniteVolumes, name: str, values: Array, carrier: Sequence[Field]) -> Array:
        """`-div(v s) + source`."""
        scalar = space.variables.carried_scalar(values, carrier, at_rest=0.5)
        rate = space.scalar_rate(-space.scalar_convection(self._fluxes, scalar, carrier).values)
        source = self._source(space, name, values.dtype)
        return rate if source is None else rate + source

    def _source(self, space: FiniteVolumes, name: str, dtype: DTypeLike) -> Array | None:
        release = self.scalars[name].release(self.grid, periods(self.grid, self.sides), dtype)
        return None if release is None else space.released(release)

    def _held(self, space: FiniteVolumes, velocity: tuple[Field, ...]) -> tuple[Field, ...]:
        held = velocity
        for force in self.forces:
            held = force.of(held, periods(self.grid, self.sides)) if isinstance(force, Held) else held
        return held if held is velocity else space.off_the_obstacle(held, velocity)

    def _acceleration(
        self, given: FlowInput, scalars: Mapping[str, Field], velocity: Sequence[Field]
    ) -> list[Array] | None:
        """The sum of all forces on the faces of each axis; None where there is none."""
        total = None
        for force in (*(one for one in self.forces if not isinstance(one, Held)), given.force):
            if force is None:
                continue
            parts: Any = force(scalars, velocity) if callable(force) else force
            parts = flow_sides.forces_on_faces("IncompressibleFlow", parts, velocity)
            total = parts if total is None else [one + more for one, more in zip(total, parts, strict=True)]
        return total


@eqx.filter_jit
@jax.named_scope("projection")
def _first_projection(flow: IncompressibleFlow, velocity: tuple[Array, ...], time: Array) -> tuple[Array, ...]:
    """One compiled program: operation by operation the first projection takes several times as long to prepare."""
    space = flow.space(time, None, velocity[0].dtype)
    return space.project(_imposed(space, space.variables.velocity_fields(velocity)))[0]


def _imposed(space: Space, velocity: Sequence[Field]) -> tuple[Field, ...]:
    """The velocity with its given values, and as much leaving through convective outflows as enters."""
    return flow_sides.balanced(space.variables.sides, space.impose(velocity), space.carrier)


def largest_ratio(component: Field, axis: int, dt: Array) -> Array:
    """The largest `dt |v| / h` over the faces normal to an axis."""
    grid = component.grid
    if grid.uniform[axis]:
        return jnp.max(magnitude(component.values)) * dt / grid.spacing_along(axis)
    below, above = lengths_beside(grid.widths(axis), component.periodic[axis])
    narrower = grid.along(axis, jnp.asarray(np.minimum(below, above), component.values.dtype))
    return jnp.max(magnitude(component.values) / narrower) * dt


def _of_one(
    function: Callable[[Sequence[Field]], Sequence[Array]],
    unraveled: Callable[[Array], tuple[Array, ...]],
    fields: Sequence[Field],
    values: Array,
) -> Array:
    parts = [field.with_values(part) for field, part in zip(fields, unraveled(values), strict=True)]
    return ravel_pytree(tuple(function(parts)))[0]
