r"""Flow at low Mach number in which a gas burns: velocity, temperature and mass fractions.

Sound is left out: the pressure of the equation of state is one number everywhere, and what pushes the gas is a small
pressure beside it. A gas that is heated expands at once, which is the constraint on the velocity.

One step makes, one after the other,

1. transport of temperature, mass fractions, density and velocity by the velocity of before;
2. explicit diffusion of all but the density;
3. the reaction in each cell, at constant pressure (`combustion.OneStepReaction`);
4. the projection. With the density $\rho^*$ that transport has led to, and $\rho$ that the equation of state says, the
   divergence is $\nabla \cdot v = (1 - \rho / \rho^*) / \Delta t$: the expansion that brings, in the transport of the
   next step, the one to the other. To first order in time that is
   $\nabla \cdot v = \frac{1}{T} \frac{DT}{Dt} + \frac{1}{\sum Y / W} \frac{D}{Dt} \sum Y / W$ (Majda, Sethian 1985).
   It is smaller than $1 / \Delta t$ however much is released, and what an earlier step has left over is made good.

With a scheme of fluxes (`Upwind`, `VanLeer`) $\rho^*$ obeys $\partial_t \rho + \nabla \cdot (\rho v) = 0$ to round-off,
and so do mass fractions times density, with their fluxes by diffusion: mass, and what a reaction does not change of it,
are conserved. With look-ups they are conserved to the order of the scheme.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from diffphys.errors import InputError
from diffphys.grids import (
    Declared,
    Dirichlet,
    Field,
    Grid,
    Inflow,
    Neumann,
    Open,
    Outflow,
    Periodic,
    Sides,
    Wall,
    as_array_of_shape,
    choice,
    parse_sides,
    quantity,
    sides_of,
    within,
)
from diffphys.grids.axes import at_axis
from diffphys.grids.declared import not_among, refuse, whole, wrong_shape
from diffphys.grids.grid import check_grid
from diffphys.grids.numbers import in_precision_of, of_types, plain, shown
from diffphys.grids.sides import depends_on_time, sides_at
from diffphys.operators import (
    CubicSemiLagrangian,
    MacCormack,
    SemiLagrangian,
    Upwind,
    VanLeer,
    difference,
    diffusion_limit,
    diffusion_number,
    divergence,
    explicit_diffusion,
    interpolate,
)
from diffphys.operators.advection import Advection, FluxAdvection
from diffphys.operators.advection.look_ups import Bounded
from diffphys.physics import flow_sides
from diffphys.physics.combustion import Gas, Mixture, OneStepReaction, refused_mixture
from diffphys.physics.flow_parts import A_SOLVER
from diffphys.physics.flow_state import FlowState, Unknowns
from diffphys.physics.incompressible import largest_ratio
from diffphys.physics.obstacles import Variables
from diffphys.poisson import PressureProblem, PressureSolver, direct, variable_density_projection
from diffphys.stepping import Splitting
from diffphys.stepping.clock import later


MIXTURE = ("temperature", "fuel", "oxidizer")
SCALARS = (*MIXTURE, "density")


class ReactingFlow(Declared):
    r"""Flow at low Mach number with temperature, species and a reaction, as a pure function `step(state) -> state`.

    $$\frac{\partial v}{\partial t} + v \cdot \nabla v = -\frac{1}{\rho} \nabla p + \nu \nabla^2 v, \qquad
    \rho = \frac{P}{R\, T \sum_k Y_k / W_k}$$

    $$\rho \frac{DT}{Dt} = \nabla \cdot (\rho \alpha \nabla T) - \rho \frac{h}{c_p} \dot Y_F, \qquad
    \rho \frac{DY}{Dt} = \nabla \cdot (\rho D \nabla Y) + \rho \dot Y, \qquad
    \nabla \cdot v = -\frac{1}{\rho} \frac{D \rho}{Dt}$$

    Hot gas is thin: a flame pushes what it burns ahead of it, and accelerates it by the ratio of the densities. The
    state is a `FlowState` with the scalars "temperature", "fuel", "oxidizer" and "density", the one of transport
    (the head of the file says how it differs from `Gas.density`).

    A flame is as thin as $D / S_L$, with $S_L \approx \sqrt{D / \tau}$ its speed and $\tau$ the time in which the
    hot gas burns; it needs some four cells. `dt` is bound by explicit diffusion, at half the bound of a uniform
    density, which is checked, and with `Upwind` and `VanLeer` by a Courant number of 1 and 1/2. The reaction binds
    it in no case.

    - `constraint="low-mach"`: the above. Needs a side through which gas can leave.
    - `constraint="momentum"`: $\nabla \cdot (\rho v) = 0$ instead, as Tathawadekar, Doan, Silva, Thuerey (2023) have
      it: the velocity does not feel that a density changes in time, only that it varies. One direct solve.
    - `constraint="frozen"`: the velocity stays as it is; their planar flame, which rests.

    Args:
        grid: The grid.
        viscosity: Kinematic, of every density; length squared per time.
        diffusivity: $D$, of fuel and oxidizer.
        thermal_diffusivity: $\alpha$.
        dt: Duration of a step.
        sides: `Periodic`, `Wall`, `Inflow`, `Outflow` or `Open`, as in `grids.parse_sides`. No heat passes a wall.
        entering: The `Mixture` that enters where fluid does: one for all sides, or for each axis name one or a
            (lower, upper) pair, as of sides. None is what is inside, which an `Inflow` does not take.
        gas: Of what the gas is.
        reaction: The reaction; None leaves it out.
        advection: `SemiLagrangian`, `CubicSemiLagrangian`, `MacCormack`, `Upwind` or `VanLeer`.
        constraint: "low-mach", "momentum" or "frozen".
        pressure_solver: From a `VariableProblem` to its solver. Default: `poisson.FictitiousDomain`.
        reaction_steps: Into how many steps of its own the reaction divides each.

    Raises:
        InputError: for a number out of range, sides that close a domain in which gas expands, inflows that nothing
            drains, an inflow of which nothing is said what enters, or a `dt` beyond the bound of diffusion.

    Examples:
        >>> grid = dp.Grid((64,), (0.05,))
        >>> sides = dict(x=(dp.Wall(), dp.Outflow()))
        >>> flow = dp.ReactingFlow(grid, 1e-4, 1e-4, 1e-4, 1e-5, sides, reaction=dp.physics.OneStepReaction())
        >>> final, _ = dp.rollout(flow, flow.initial_state(1400.0, fuel=0.04, oxidizer=0.22), 100)
    """

    grid: Grid = eqx.field(static=True)
    viscosity: Array = eqx.field(converter=quantity, metadata=within(minimum=0.0))
    diffusivity: Array = eqx.field(converter=quantity, metadata=within(minimum=0.0))
    thermal_diffusivity: Array = eqx.field(converter=quantity, metadata=within(minimum=0.0))
    dt: Array = eqx.field(converter=quantity, metadata=within(above=0.0))
    sides: Sides = eqx.field(metadata=sides_of(Periodic, Wall, Inflow, Outflow, Open))
    entering: tuple[tuple[Mixture | None, Mixture | None], ...]
    gas: Gas = eqx.field(metadata=choice(Gas))
    reaction: OneStepReaction | None = eqx.field(
        metadata=choice(OneStepReaction, type(None), words="OneStepReaction(...) or None")
    )
    advection: Advection = eqx.field(
        static=True, metadata=choice(SemiLagrangian, CubicSemiLagrangian, MacCormack, Upwind, VanLeer)
    )
    constraint: str = eqx.field(static=True)
    pressure_solver: Callable[..., PressureSolver] | None = eqx.field(static=True, metadata=A_SOLVER)
    reaction_steps: int = eqx.field(static=True, converter=plain, metadata=whole())

    def __init__(
        self,
        grid: Grid,
        viscosity: ArrayLike,
        diffusivity: ArrayLike,
        thermal_diffusivity: ArrayLike,
        dt: ArrayLike,
        sides: Any,
        entering: Any = None,
        gas: Gas | None = None,
        reaction: OneStepReaction | None = None,
        advection: Advection = SemiLagrangian(),  # noqa: B008 (frozen)
        constraint: str = "low-mach",
        pressure_solver: Callable[..., PressureSolver] | None = None,
        reaction_steps: int = 4,
    ):
        check_grid("ReactingFlow", grid)
        self.grid = grid
        self.viscosity, self.diffusivity = viscosity, diffusivity  # pyright: ignore[reportAttributeAccessIssue]
        self.thermal_diffusivity, self.dt = thermal_diffusivity, dt  # pyright: ignore[reportAttributeAccessIssue]
        self.sides = parse_sides(grid, sides)
        self.entering = _parse_entering(grid, entering)
        self.gas = Gas() if gas is None else gas
        self.reaction = reaction
        self.advection, self.constraint = advection, constraint
        self.pressure_solver, self.reaction_steps = pressure_solver, reaction_steps

    def refused(self):
        yield from not_among("constraint", self.constraint, CONSTRAINTS)
        if isinstance(self.advection, Bounded):
            self.advection.check("ReactingFlow", self.grid.dimensions)
        for axis, (pair, mixtures) in enumerate(zip(self.sides, self.entering, strict=True)):
            name, along = self.grid.axis_names[axis], tuple(n for a, n in enumerate(self.grid.cells) if a != axis)
            for side, mixture in zip(pair, mixtures, strict=True):
                missing = isinstance(side, Inflow) and mixture is None
                yield missing, f"axis {name} has an Inflow() but entering says nothing of it; a Mixture is accepted."
                for part in MIXTURE if mixture is not None else ():
                    if not callable(value := getattr(mixture, part)):
                        yield from wrong_shape(f"entering on axis {name}: {part}", value, (), along)
        given = flow_sides.have_pressure(self.sides)
        yield given, "an Outflow() has a pressure; 0, the one of the gas around, is accepted."
        drains = any(not isinstance(side, Periodic) and side.is_free for pair in self.sides for side in pair)
        if drains or not self._rule.moves:
            return
        for net, gross, _ in flow_sides.given_flows(self.grid, self.sides, self._problem()):
            unbalanced = abs(net) > 1e-5 * gross
            yield unbalanced, f"sides let {net:g} (volume per time) in and nothing out; an Outflow() is accepted."
        closed = "the sides leave heated gas no way out; an Outflow() or Open() side, or constraint='momentum'"
        yield self._rule.expands, f"{closed}, is accepted."

    def limits(self):
        yield diffusion_limit(self.grid, self.viscosity, self.dt, 2.0, "this viscosity")
        for name in ("diffusivity", "thermal_diffusivity"):  # beside thin gas a cell gets up to twice as much
            yield diffusion_limit(self.grid, getattr(self, name), self.dt, 1.0, f"this {name}")

    def initial_state(
        self,
        temperature: ArrayLike = 300.0,
        fuel: ArrayLike = 0.0,
        oxidizer: ArrayLike = 0.0,
        velocity: Sequence[ArrayLike | Field] | None = None,
        time: ArrayLike = 0.0,
    ) -> FlowState:
        """A state whose velocity satisfies the constraint as long as nothing burns or diffuses.

        Args:
            temperature: In kelvin, a number or an array with an entry for each cell; 100 to 6000.
            fuel: Its mass fraction, the same.
            oxidizer: Its mass fraction, the same.
            velocity: For each axis a number, an array with an entry for each face, or a `Field`. Default: the stream
                that the inflows drive.
            time: The time of the state.

        Raises:
            InputError: for a temperature out of range, a negative mass fraction or more than 1 of both together, an
                array of another shape, or values that are not finite.
        """
        time = as_array_of_shape("initial_state", "time", time, ())
        given = dict(zip(MIXTURE, (temperature, fuel, oxidizer), strict=True))
        mixture = {name: as_array_of_shape("initial_state", name, one, self.grid.cells) for name, one in given.items()}
        refuse("initial_state", refused_mixture(*mixture.values()))
        now = self._at(time)
        if velocity is None:
            velocity = flow_sides.stream(now.variables.sides)
        parts = flow_sides.velocity_on_faces("initial_state", self.grid, now.variables.sides, velocity)
        values = tuple(
            as_array_of_shape("initial_state", f"velocity[{axis}]", part, now.variables.velocity_shape(axis))
            for axis, part in enumerate(parts)
        )
        scalars = {**mixture, "density": self.gas.density(**mixture)}
        return _made(self, (values, scalars), time)

    def __call__(self, state: FlowState) -> FlowState:
        flow_sides.check_state("ReactingFlow", self.grid, state, dict.fromkeys(SCALARS))
        values = state.velocity[0].values
        step = in_precision_of("ReactingFlow", self, values)
        start = (
            tuple(part.values for part in state.velocity),
            {name: state.scalars[name].values for name in SCALARS},
        )
        end, potential, _ = Splitting().advance(step, start, step.dt, state.after)
        time, remainder = later(state.time, state.time_remainder, self.dt)
        return of_types(step._state(end, potential / step.dt, time, remainder), state)

    def courant_number(self, state: FlowState) -> Array:
        """The largest `dt |v_a| / h_a` over all faces and axes."""
        flow_sides.check_state("ReactingFlow.courant_number", self.grid, state, dict.fromkeys(SCALARS))
        return jnp.max(jnp.stack([largest_ratio(part, axis, self.dt) for axis, part in enumerate(state.velocity)]))

    def diffusion_number(self, state: Any = None) -> Array:
        """`dt` over the longest step with which diffusion is stable whatever the densities are."""
        fastest = jnp.maximum(2 * jnp.maximum(self.diffusivity, self.thermal_diffusivity), self.viscosity)
        return diffusion_number(self.grid, fastest, self.dt)

    def heat_release(self, state: FlowState) -> Array:
        r"""$-\rho h \dot Y_F$ in each cell, power per volume, zero without a reaction."""
        flow_sides.check_state("ReactingFlow.heat_release", self.grid, state, dict.fromkeys(SCALARS))
        mixture = [state.scalars[name].values for name in MIXTURE]
        if self.reaction is None:
            return jnp.zeros_like(mixture[0])
        rate = self.reaction.rate(self.gas, *mixture)
        return self.gas.density(*mixture) * self.reaction.heat * rate

    # The parts of a step. The state that they advance are the `Unknowns`, velocity and scalars ------------------------

    @property
    def parts(self) -> tuple[Callable[..., Unknowns], ...]:
        """The parts of a step by `Splitting`."""
        return (self._carry, self._diffuse, self._react)

    @jax.named_scope("advection")
    def _carry(self, time: Array, state: Unknowns, dt: Array, _: None) -> Unknowns:
        now = self._at(time)
        velocity, scalars = now.variables.velocity_fields(state[0]), state[1]
        if self._in_fluxes:
            outside = now.density()

            def amount(name: str) -> Field:
                """What is carried of a scalar in a volume, and what enters."""
                entering = [
                    [None if m is None or d is None else m[name] * d for m, d in zip(*two, strict=True)]
                    for two in zip(now.entering, outside, strict=True)
                ]
                return now.carried(scalars[name] * scalars["density"], entering, velocity)

            density = self.advection.carry(now.carried(scalars["density"], outside, velocity), velocity, dt).values
            moved = {name: self.advection.carry(amount(name), velocity, dt).values / density for name in MIXTURE}
        else:
            moved = {
                name: self.advection.carry(now.carried(scalars[name], now.given(name), velocity), velocity, dt).values
                for name in MIXTURE
            }
            # What somebody has changed since the last projection, a network, has to expand as well.
            pending = scalars["density"] / self.gas.density(**{name: scalars[name] for name in MIXTURE})
            density = self.gas.density(**moved) * pending
        carried = self._carried_velocity(velocity, dt) if self._rule.moves else state[0]
        return carried, {**moved, "density": density}

    def _carried_velocity(self, velocity: Sequence[Field], dt: Array) -> tuple[Array, ...]:
        """`v . grad v`; a scheme of fluxes gives `div(v v)`, so what it makes of one everywhere is divided out."""
        moved = [self.advection.carry(part, velocity, dt).values for part in velocity]
        if not self._in_fluxes:
            return tuple(moved)
        ones = [part.with_values(jnp.ones_like(part.values)).with_conditions(_of_one(part)) for part in velocity]
        return tuple(
            part / self.advection.carry(one, velocity, dt).values for part, one in zip(moved, ones, strict=True)
        )

    @jax.named_scope("diffusion")
    def _diffuse(self, time: Array, state: Unknowns, dt: Array, _: None) -> Unknowns:
        now = self._at(time)
        velocity, scalars = now.variables.velocity_fields(state[0]), state[1]
        volume = 1 / scalars["density"]
        spread = now.specific_volume(volume, velocity)
        coefficients = (self.thermal_diffusivity, self.diffusivity, self.diffusivity)

        def diffused(name: str, coefficient: Array) -> Array:
            field = now.diffused(scalars[name], now.given(name), velocity)
            fluxes = []
            for axis, between in enumerate(spread):
                slope = difference(field, axis)
                fluxes.append(slope.with_values(coefficient * slope.values / between))
            return scalars[name] + dt * volume * divergence(fluxes).values

        after = {name: diffused(name, one) for name, one in zip(MIXTURE, coefficients, strict=True)}
        if not self._rule.moves:
            return state[0], {**scalars, **after}
        return tuple(explicit_diffusion(part, self.viscosity, dt).values for part in velocity), {**scalars, **after}

    @jax.named_scope("reaction")
    def _react(self, time: Array, state: Unknowns, dt: Array, _: None) -> Unknowns:
        if self.reaction is None:
            return state
        burnt = self.reaction.after(dt, self.gas, **{n: state[1][n] for n in MIXTURE}, steps=self.reaction_steps)
        return state[0], {**state[1], **burnt._asdict()}

    @jax.named_scope("projection")
    def constrain(self, time: Array, state: Unknowns, _: None) -> tuple[Unknowns, Array]:
        """The velocity that satisfies the constraint, and the potential whose gradient was taken away."""
        now, (values, scalars) = self._at(time), state
        density = self.gas.density(**{name: scalars[name] for name in MIXTURE})
        velocity, kept, potential = self._rule.project(self, now, values, density, scalars["density"])
        return (velocity, {**scalars, "density": kept}), potential

    # What the sides are at a moment -----------------------------------------------------------------------------------

    @property
    def _in_fluxes(self) -> bool:
        return isinstance(self.advection, FluxAdvection)

    @property
    def _rule(self) -> "Constraint":
        return CONSTRAINTS[self.constraint]

    def _at(self, time: ArrayLike) -> "_Moment":
        sides = sides_at(self.sides, time) if depends_on_time(self.sides) else self.sides
        entering = sides_at(self.entering, time) if depends_on_time(self.entering) else self.entering
        variables = Variables(
            self.grid,
            sides,
            tuple(flow_sides.velocity_conditions(sides, axis) for axis in range(self.grid.dimensions)),
            flow_sides.pressure_conditions(sides, Dirichlet),
            flow_sides.scalar_conditions(sides),
        )
        mixtures = tuple(
            tuple(
                None if one is None else {n: flow_sides.profile(getattr(one, n), axis) for n in MIXTURE} for one in pair
            )
            for axis, pair in enumerate(entering)
        )
        return _Moment(variables, mixtures, self.gas)

    def _problem(self) -> PressureProblem:
        conditions = flow_sides.homogeneous_pressure_conditions(self.sides, Dirichlet)
        return PressureProblem.from_conditions(self.grid, conditions)

    def _state(self, state: Unknowns, pressure: Array, time: Array, remainder: Array | None = None) -> FlowState:
        variables = self._at(time).variables
        return FlowState(
            variables.velocity_fields(state[0]),
            variables.pressure_field(pressure),
            {name: variables.scalar_field(values) for name, values in state[1].items()},
            time,
            remainder,
        )


class _Moment(NamedTuple):
    """What the sides mean at a moment; of what enters, for each axis and end a number or None, as inside."""

    variables: Variables
    entering: tuple[tuple[Mapping[str, Array] | None, ...], ...]
    gas: Gas

    def given(self, name: str) -> list[list[Array | None]]:
        """What enters of one scalar."""
        return [[None if one is None else one[name] for one in pair] for pair in self.entering]

    def density(self) -> list[list[Array | None]]:
        """The density of what enters."""
        return [[None if one is None else self.gas.density(**one) for one in pair] for pair in self.entering]

    def carried(self, values: Array, entering: Any, velocity: Sequence[Field]) -> Field:
        """A scalar as transport sees it: what leaves is what is inside."""
        sides = self._sides(entering)
        conditions = flow_sides.carried_conditions(sides, values, velocity, at_rest=0.0)
        return Field(values, self.variables.grid, conditions=conditions)

    def diffused(self, values: Array, entering: Any, velocity: Sequence[Field]) -> Field:
        """A scalar as diffusion sees it: nothing diffuses through a side where fluid leaves."""
        conditions = flow_sides.diffused_conditions(self._sides(entering), values, velocity)
        return Field(values, self.variables.grid, conditions=conditions)

    def specific_volume(self, values: Array, velocity: Sequence[Field]) -> list[Array]:
        """On the faces of each axis the mean of both cells; where fluid enters that of what does."""
        outside = [[None if one is None else 1 / one for one in pair] for pair in self.density()]
        field, grid = self.carried(values, outside, velocity), self.variables.grid
        offsets = [at_axis(axis, 0.0, 0.5, grid.dimensions) for axis in range(grid.dimensions)]
        return [interpolate(field, offset).values for offset in offsets]

    def _sides(self, entering: Any) -> Sides:
        return tuple(
            tuple(
                dataclasses.replace(side, scalar=value) if isinstance(side, (Inflow, Outflow, Open)) else side
                for side, value in zip(pair, values, strict=True)
            )
            for pair, values in zip(self.variables.sides, entering, strict=True)
        )  # pyright: ignore[reportReturnType]


# What the velocity has to satisfy ---------------------------------------------------------------------------------


class Constraint(NamedTuple):
    """What the velocity has to satisfy.

    Attributes:
        project: From a flow, what the sides are, the velocity, the density that the equation of state says and the one
            of transport to the velocity that satisfies it, the density from which transport goes on, and the potential.
        moves: Whether the velocity changes at all.
        expands: Whether it feels that a density changes in time, so that heated gas needs a way out.
    """

    project: Callable[[ReactingFlow, _Moment, Sequence[Array], Array, Array], tuple[tuple[Array, ...], Array, Array]]
    moves: bool = True
    expands: bool = False


def _expanding(
    flow: ReactingFlow, now: _Moment, values: Sequence[Array], density: Array, carried: Array
) -> tuple[tuple[Array, ...], Array, Array]:
    """`div v = (1 - density / carried) / dt`."""
    velocity, spread = _given_at_sides(now, values, density)
    target = (1 - density / carried) / flow.dt.astype(density.dtype)
    conditions = now.variables.pressure
    projected, solution = variable_density_projection(velocity, spread, conditions, target, flow.pressure_solver)
    kept = carried if flow._in_fluxes else density
    return tuple(part.values for part in projected), kept, solution.pressure


def _of_constant_flux(
    flow: ReactingFlow, now: _Moment, values: Sequence[Array], density: Array, carried: Array
) -> tuple[tuple[Array, ...], Array, Array]:
    """`div(density v) = 0`."""
    velocity, spread = _given_at_sides(now, values, density)
    momentum = [part.with_values(part.values / one) for part, one in zip(velocity, spread, strict=True)]
    potential = direct(flow._problem()).solve(divergence(momentum).values).pressure
    field = now.variables.potential_field(potential)
    projected = [
        part.values - one * difference(field, axis).values
        for axis, (part, one) in enumerate(zip(velocity, spread, strict=True))
    ]
    return tuple(projected), density, potential


def _unchanged(
    flow: ReactingFlow, now: _Moment, values: Sequence[Array], density: Array, carried: Array
) -> tuple[tuple[Array, ...], Array, Array]:
    """The velocity stays as it is."""
    return tuple(values), density, jnp.zeros_like(density)


def _given_at_sides(now: _Moment, values: Sequence[Array], density: Array) -> tuple[tuple[Field, ...], list[Array]]:
    """The velocity with its given values on the sides, and the specific volume on the faces."""
    velocity = now.variables.velocity_fields(values)
    velocity = tuple(flow_sides.imposed(axis, part) for axis, part in enumerate(velocity))
    return velocity, now.specific_volume(1 / density, velocity)


CONSTRAINTS = {
    "low-mach": Constraint(_expanding, expands=True),
    "momentum": Constraint(_of_constant_flux),
    "frozen": Constraint(_unchanged, moves=False),
}


@eqx.filter_jit
def _made(flow: ReactingFlow, state: Unknowns, time: Array) -> FlowState:
    """A state with its first projection, as one compiled program."""
    constrained, potential = flow.constrain(time, state, None)
    return flow._state(constrained, jnp.zeros_like(potential), time)


def _of_one(part: Field) -> Any:
    """What holds at the ends of a field that is one everywhere, of the kinds of a velocity component."""
    return tuple(
        tuple(
            end if isinstance(end, Periodic) else Dirichlet(1.0) if isinstance(end, Dirichlet) else Neumann(0.0)
            for end in pair
        )
        for pair in part.conditions
    )


def _parse_entering(grid: Grid, entering: Any) -> tuple[tuple[Mixture | None, Mixture | None], ...]:
    """For each axis what enters at its (lower, upper) side."""
    if isinstance(entering, (tuple, list)) and len(entering) == grid.dimensions:
        entering = dict(zip(grid.axis_names, entering, strict=True))
    of_axes = entering if isinstance(entering, Mapping) else dict.fromkeys(grid.axis_names, entering)
    known = set(of_axes) <= set(grid.axis_names)
    pairs = [tuple(one) if isinstance(one, (tuple, list)) else (one, one) for one in map(of_axes.get, grid.axis_names)]
    right = known and all(len(p) == 2 and all(m is None or isinstance(m, Mixture) for m in p) for p in pairs)
    words = f"a Mixture, or for each of the axes {grid.axis_names} one or a (lower, upper) pair, is accepted."
    if not right:
        raise InputError(f"ReactingFlow: entering is {shown(entering)}; {words}")
    return tuple(pairs)  # pyright: ignore[reportReturnType]
