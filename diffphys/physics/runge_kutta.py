r"""Incompressible flow by Runge-Kutta methods, every stage projected.

    dv/dt + div(v v) = -grad p + viscosity * laplacian(v) + force,        div v = 0

Convection is central and skew-symmetric (`operators.convection`), so that it neither creates nor destroys kinetic
energy; pressure and viscosity are central too. In space the scheme is of second order, or of fourth; in time of the
order of the Runge-Kutta method.

With $F$ the right side without the pressure and $P$ the projection onto velocities without divergence whose normal
values on the sides are those of time $t$, an explicit method with coefficients $a_{ij}, b_j, c_i$ is

$$V_i = P_{t + c_i \Delta t}\Big(v^n + \Delta t \sum_{j < i} a_{ij} F(V_j)\Big), \qquad
v^{n+1} = P_{t + \Delta t}\Big(v^n + \Delta t \sum_j b_j F(V_j)\Big).$$

This is the method applied to the ordinary differential equation for the part of the velocity that has no divergence, so
the velocity has its full order, also where the sides move (Hairer, Lubich, Roche 1989; Sanderse, Koren 2012). Around an
immersed body that is displaced it has not: the projection itself then changes in time, and an order of 1.2 was measured
for three and four stages.

Implicit diffusion is the same with a pair of methods (`tableaus`), the diffusion $G = \nu \nabla^2 v$ taken from the
stage itself:

$$V_i - \Delta t\, \gamma\, P\, G(V_i) = P_{t + c_i \Delta t}\Big(v^n + \Delta t \sum_{j < i} \big(a_{ij} F(V_j)
+ \tilde a_{ij} P\, G(V_j)\big)\Big), \qquad \nabla \cdot V_i = r(t + c_i \Delta t).$$

Velocity and pressure of a stage are found together (`poisson.constrained`): where they are split, one after the other,
the fluid slips along the walls, and the order is lost there.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.flatten_util import ravel_pytree
from jax.typing import ArrayLike

from diffphys.errors import InputError
from diffphys.grids import Dirichlet, Field, Grid, Periodic, Shape, Sides, Wall, face_offset, parse_sides
from diffphys.grids.numbers import as_array_of_shape, as_number, check_number, concrete
from diffphys.grids.sides import TimeFunction, depends_on_time, sides_at
from diffphys.operators import convection, difference, divergence, interpolate, laplacian, stable_diffusion_step
from diffphys.operators.convection import control_volume, without_fixed_ends
from diffphys.operators.fourth_order import (
    check_order,
    fourth_order_difference,
    fourth_order_divergence,
    fourth_order_laplacian,
)
from diffphys.physics.flow_sides import (
    check_net_flux,
    forces_on_faces,
    homogeneous_pressure_conditions,
    imposed,
    pressure_conditions,
    scalar_conditions,
    stream,
    velocity_conditions,
    velocity_on_faces,
)
from diffphys.physics.immersed import Immersed
from diffphys.physics.immersed_flow import (
    crossing,
    forces_on_body,
    geometries,
    momentum_rates,
    projection,
    scalar_mass,
    viscous_rates,
)
from diffphys.physics.incompressible import FixedSolid, FlowState, PassiveScalar, largest_ratio
from diffphys.poisson import FictitiousDomain, PressureProblem, direct
from diffphys.poisson.constrained import solve_constrained
from diffphys.poisson.problem import neighbors
from diffphys.poisson.separable import lines_of, solve_separable
from diffphys.stepping.tableaus import ADDITIVE, EXPLICIT, square


class FlowInput(eqx.Module):
    """What acts on a flow during one step: an argument of `RungeKuttaFlow`, and an entry of the `inputs` of `rollout`.

    Args:
        force: Acceleration, for each axis a number or an array with an entry for each face; or a function that returns
            one from the scalars and the velocity of a stage, each as fields; or None.
        sides: Sides to use in this step instead of those of the flow, of the same kinds; or None.
        solid: The immersed body as it is during this step, instead of that of the flow, which must have one; or None.
    """

    force: Any = None
    sides: Sides | None = None
    solid: Immersed | None = None


class Forces(NamedTuple):
    """What the flow exerts on an obstacle, per density of the fluid.

    Attributes:
        force: One number for each axis: drag and lift.
        torque: About the pivot of an immersed body, else about the origin: one number in 2D, counterclockwise, a vector
            in 3D.
    """

    force: Array
    torque: Array


class Stokes(NamedTuple):
    """What `poisson.constrained` asks for, as functions of the velocity's components."""

    project: Callable[[Sequence[Field]], Sequence[Array]]
    smooth: Callable[[Sequence[Field]], Sequence[Array]]
    precondition: Callable[[Sequence[Field]], Sequence[Array]]
    weights: Sequence[Array]


class RungeKuttaFlow(eqx.Module):
    """Incompressible flow as a pure function `step(state) -> state`, or `step(state, input) -> state`.

    Second- or fourth-order accurate in space, of order two to four in time, and without numerical diffusion: what is
    not resolved shows as ripples. Viscosity, dt, and all that the sides are given are traced leaves.

    Args:
        grid: The grid, stretched or not.
        viscosity: Kinematic viscosity, length squared per time.
        dt: Duration of a step.
        sides: One side for all, or for each axis name a side or a (lower, upper) pair: see `grids.parse_sides`. The
            pressure vanishes, or has its given value, on the outflow itself.
        solid: A shape: an obstacle at rest made of whole cells, whose numbers must be known when the flow is made. Or
            `Immersed`: a body whose surface cuts cells, of second order, whose place and motion are traced; or a
            function from the time to that body as it is then. Or None.
        scalars: Passive scalars by name, carried in conservative form.
        stages: The Runge-Kutta method: 2 (Heun), 3 (Shu, Osher 1988) or 4 (Kutta), which is its order as well. With
            implicit diffusion the pair of this order (Ascher, Ruuth, Spiteri 1997; Kennedy, Carpenter 2003), which
            takes one stage more, for order 4 two.
        diffusion: "explicit", or "implicit" for steps beyond the bound of explicit diffusion, of the velocity and of
            all scalars; convection still asks for a Courant number around one. Around an immersed body such a step
            costs more than ten explicit ones.
        order: The order in space, 2 or 4. Four needs a domain without obstacle, and is reached where no sides are near:
            behind a row of bodies with inflow and outflow (`diffphys verify kovasznay --set order=4`) the velocity is
            of order 2.6 and the pressure of order 1.0, in the largest norm.
        pressure_solver: From a `PressureProblem` to its solver, for second order; with an immersed body from a
            `VariableProblem`. Default: the direct one, with an immersed body `poisson.FictitiousDomain`.

    Raises:
        InputError: for sides that are missing or contradict each other, a net flux through the sides that cannot
            vanish, an obstacle that is outside of the domain or fills it, a number out of range, or a `dt` beyond the
            bound of explicit diffusion where that is asked for.
    """

    grid: Grid = eqx.field(static=True)
    viscosity: Array
    dt: Array
    sides: Sides
    solid: Any
    scalars: dict[str, PassiveScalar]
    stages: int = eqx.field(static=True)
    order: int = eqx.field(static=True)
    diffusion: str = eqx.field(static=True)
    pressure_solver: Any = eqx.field(static=True)

    def __init__(
        self,
        grid: Grid,
        viscosity: ArrayLike,
        dt: ArrayLike,
        sides: Any,
        solid: Shape | FixedSolid | Immersed | Callable[[Array], Immersed] | None = None,
        scalars: Mapping[str, PassiveScalar] | None = None,
        stages: int = 3,
        order: int = 2,
        pressure_solver: Any = None,
        diffusion: str = "explicit",
    ):
        if not isinstance(grid, Grid):
            raise InputError(f"RungeKuttaFlow: grid is {grid!r}; a Grid is accepted.")
        self.grid = grid
        self.viscosity = as_number(viscosity, "RungeKuttaFlow: viscosity")
        self.dt = as_number(dt, "RungeKuttaFlow: dt")
        self.sides = parse_sides(grid, sides)
        self.solid = _obstacle(grid, self.sides, solid)
        self.scalars = dict(scalars or {})
        self.stages, self.order, self.diffusion = stages, order, diffusion
        self.pressure_solver = pressure_solver or (FictitiousDomain if self._immersed else direct)
        check_number("RungeKuttaFlow", "viscosity", self.viscosity, minimum=0.0)
        check_number("RungeKuttaFlow", "dt", self.dt, above=0.0)
        check_order("RungeKuttaFlow", order)
        if stages not in (2, 3, 4) or isinstance(stages, bool):
            raise InputError(f"RungeKuttaFlow: stages is {stages!r}; 2, 3 or 4 is accepted.")
        if diffusion not in ("explicit", "implicit"):
            raise InputError(f"RungeKuttaFlow: diffusion is {diffusion!r}; 'explicit' or 'implicit' is accepted.")
        if order == 4 and self.solid is not None:
            raise InputError("RungeKuttaFlow: order is 4 and there is a solid; order 2 is accepted with an obstacle.")
        largest = max((self.viscosity, *(scalar.diffusivity for scalar in self.scalars.values())), key=_known_size)
        if diffusion == "explicit":
            self._check_step(largest)
        check_net_flux("RungeKuttaFlow", grid, self.sides, self.pressure_problem())

    def __call__(self, state: FlowState, given: FlowInput | Sequence[ArrayLike] | None = None) -> FlowState:
        """The state one `dt` later.

        Args:
            state: The state.
            given: A `FlowInput`, or a force alone: for each axis a number or an array with an entry for each face.
        """
        if not isinstance(given, FlowInput):
            given = FlowInput(force=given)
        if missing := [name for name in self.scalars if name not in state.scalars]:
            raise InputError(
                f"RungeKuttaFlow: the state has no scalar {missing[0]!r}; a state with {sorted(self.scalars)}, as "
                "initial_state gives, is accepted."
            )
        velocity = tuple(component.values for component in state.velocity)
        scalars = {name: state.scalars[name].values for name in self.scalars}
        advance = self._advance_explicitly if self.diffusion == "explicit" else self._advance_implicitly
        final, potential, carried = advance(velocity, scalars, given, state.time)
        time = state.time + self.dt
        sides = self._sides(given, time)
        return FlowState(
            tuple(self._component(sides, axis, values) for axis, values in enumerate(final)),
            Field(potential / self.dt, self.grid, conditions=pressure_conditions(sides, Dirichlet)),
            {name: Field(values, self.grid, conditions=scalar_conditions(sides)) for name, values in carried.items()},
            time,
        )

    def _advance_explicitly(
        self, velocity: tuple[Array, ...], scalars: dict[str, Array], given: FlowInput, start: Array
    ) -> tuple[tuple[Array, ...], Array, dict[str, Array]]:
        """The velocity after a step, the potential that the projection took away over it, and the scalars."""
        method, dt = EXPLICIT[self.stages], self.dt
        rates: list[tuple[tuple[Array, ...], dict[str, Array]]] = []
        stage, carried = velocity, scalars
        for index, row in enumerate(method.a):
            if index:
                stage = self._projected(
                    _advanced(velocity, dt, row, [rate for rate, _ in rates]), given, start + method.c[index] * dt
                )[0]
                carried = _advanced(scalars, dt, row, [rate for _, rate in rates])
            rates.append(self._rates(stage, carried, given, start + method.c[index] * dt))
        final, potential = self._projected(
            _advanced(velocity, dt, method.b, [rate for rate, _ in rates]), given, start + dt
        )
        return final, potential, _advanced(scalars, dt, method.b, [rate for _, rate in rates])

    def _advance_implicitly(
        self, velocity: tuple[Array, ...], scalars: dict[str, Array], given: FlowInput, start: Array
    ) -> tuple[tuple[Array, ...], Array, dict[str, Array]]:
        """The same with diffusion taken implicitly.

        What diffusion does in a stage is kept as the change that solved it, over `gamma dt`: evaluated anew from the
        stage it would bring back the round-off that the implicit solve has smoothed.
        """
        method, dt = ADDITIVE[self.stages], self.dt
        length, count = method.gamma * dt, len(method.c)
        state = (velocity, scalars)

        def rates_of(stage: Any, time: Array) -> tuple[Any, Any]:
            """By convection and forces, and by diffusion without the pressure that belongs to it."""
            faces, centers = stage
            return self._rates(faces, centers, given, time), self._diffusion_rates(faces, centers, given, time)

        def advance(carry: Any, coefficients: Any) -> tuple[Any, None]:
            _, rates, changes, diffusion = carry
            index, row, implicit_row, weight, c = coefficients
            time = start + c * dt
            known = _combined(_combined(state, dt, row, rates), dt, implicit_row, changes)
            known = (self._projected(known[0], given, time)[0], known[1])
            change = self._implicit_change(*known, length, given, time)
            stage = jax.tree.map(jnp.add, known, change)
            rate, diffused = rates_of(stage, time)
            return (
                stage,
                jax.tree.map(lambda all, one: all.at[index].set(one), rates, rate),
                jax.tree.map(lambda all, one: all.at[index].set(one / length.astype(one.dtype)), changes, change),
                jax.tree.map(lambda sum, one: sum + weight.astype(one.dtype) * one, diffusion, diffused[0]),
            ), None

        def first_of_all(first: Any) -> Any:
            return jax.tree.map(lambda one: jnp.zeros((count, *one.shape), one.dtype).at[0].set(one), first)

        rate, diffused = rates_of(state, start)
        explicit, implicit = square(method.explicit), square(method.implicit)
        carry = (
            state,
            first_of_all(rate),
            first_of_all(diffused),
            jax.tree.map(lambda one: float(implicit[-1, 0]) * one, diffused[0]),
        )
        coefficients = (explicit, implicit - np.diag(np.diag(implicit)), implicit[-1], np.asarray(method.c))
        after_first = jax.tree.map(lambda line: jnp.asarray(line[1:], dt.dtype), coefficients)
        # A loop, so that a stage, in which conjugate gradients stand, is compiled once and not for each.
        (stage, rates, _, diffusion), _ = jax.lax.scan(advance, carry, (jnp.arange(1, count), *after_first))

        weights = jnp.asarray(method.b, dt.dtype)
        total = _combined(velocity, dt, weights, rates[0])
        total = jax.tree.map(lambda one, more: one + dt.astype(one.dtype) * more, total, diffusion)
        potential = self._projected(total, given, start + dt)[1]
        # The last implicit stage has the weights of the result; the explicit weights may differ from their last row.
        rest = np.asarray(method.b) - explicit[-1]
        if rest.any():
            stage = _combined(stage, dt, jnp.asarray(rest, dt.dtype), rates)
            stage = (self._projected(stage[0], given, start + dt)[0], stage[1])
        return stage[0], potential, stage[1]

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
        time = as_number(time, "initial_state: time")
        sides = self._sides(FlowInput(), time)
        velocity = velocity_on_faces("initial_state", self.grid, sides, stream(sides) if velocity is None else velocity)
        if len(velocity) != self.grid.dimensions:
            raise InputError(
                f"initial_state: velocity has {len(velocity)} components; {self.grid.dimensions} are accepted."
            )
        if unknown := [name for name in scalars or {} if name not in self.scalars]:
            raise InputError(
                f"initial_state: scalar {unknown[0]!r} was given; this flow carries {sorted(self.scalars)}."
            )
        values = tuple(
            as_array_of_shape("initial_state", f"velocity[{axis}]", part, self._shape(axis))
            for axis, part in enumerate(velocity)
        )
        projected = _first_projection(self, values, time)
        return FlowState(
            tuple(self._component(sides, axis, part) for axis, part in enumerate(projected)),
            Field(jnp.zeros(self.grid.cells), self.grid, conditions=pressure_conditions(sides, Dirichlet)),
            {
                name: Field(
                    as_array_of_shape(
                        "initial_state", f"scalar {name!r}", (scalars or {}).get(name, 0.0), self.grid.cells
                    ),
                    self.grid,
                    conditions=scalar_conditions(sides),
                )
                for name in self.scalars
            },
            time,
        )

    def project(self, velocity: Sequence[Field], time: ArrayLike = 0.0) -> tuple[tuple[Field, ...], Array]:
        """The nearest velocity without divergence that has the sides' normal values, and the potential of the
        correction: `v - grad phi`.
        """
        sides = self._sides(FlowInput(), time)
        projected, potential = self._projected(tuple(part.values for part in velocity), FlowInput(), time)
        return tuple(self._component(sides, axis, values) for axis, values in enumerate(projected)), potential

    def divergence(self, state: FlowState) -> Field:
        """The divergence that the projection makes zero, of the order of the scheme; around an immersed body that of
        what crosses the faces, fluid and body together.
        """
        if (body := self.body(state.time)) is not None:
            return divergence(crossing(state.velocity, geometries(body, state.velocity)))
        return (divergence if self.order == 2 else fourth_order_divergence)(state.velocity)

    def courant_number(self, state: FlowState) -> Array:
        """The largest `dt |v_a| / h_a` over all faces and axes, on a stretched axis with the narrower cell beside."""
        return jnp.max(jnp.stack([largest_ratio(part, axis, self.dt) for axis, part in enumerate(state.velocity)]))

    def forces(self, state: FlowState, given: FlowInput | Sequence[ArrayLike] | None = None) -> Forces:
        """What the flow exerts on the obstacle, exactly what the scheme takes there from the fluid's momentum.

        It is the pressure over the closed faces (of an immersed body: the closed part of all faces), the momentum that
        convection and viscosity carry into their control volumes, and what a force gives to the fluid there. In a
        steady flow it balances the fluxes through any surface around the obstacle. The pressure is that of the state,
        the mean over the step that led to it.

        Args:
            state: The state after a step.
            given: What acted in that step, as the step was given it.

        Raises:
            InputError: if there is no obstacle.
        """
        if self.solid is None:
            raise InputError("RungeKuttaFlow.forces: the flow has no solid; a flow with an obstacle is accepted.")
        given = given if isinstance(given, FlowInput) else FlowInput(force=given)
        sides = self._sides(given, state.time)
        fields = tuple(self._component(sides, axis, part.values) for axis, part in enumerate(state.velocity))
        pushed = self._pushed(given, fields, {name: one.values for name, one in state.scalars.items()}, sides)
        pressure = state.pressure.with_conditions(pressure_conditions(sides, Dirichlet))
        if (body := self.body(state.time, given)) is not None:
            force, torque = forces_on_body(body, fields, geometries(body, fields), self.viscosity, pressure)
            return Forces(force, torque if self.grid.dimensions == 3 else torque[2])
        carried = convection(fields)
        force, torque = [], jnp.zeros(3)
        for axis, field in enumerate(fields):
            gained = self.viscosity * laplacian(field).values - carried[axis].values - difference(pressure, axis).values
            if pushed is not None:  # the part of the control volume that is fluid
                below, above = neighbors(self.solid.cells, axis, self.pressure_problem().kinds[axis], edge=True)
                gained = gained + pushed[axis] * (1 - (1.0 * below + 1.0 * above) / 2)
            closed = without_fixed_ends(field, axis, gained) * (1 - self._fluid_faces(axis, gained.dtype))
            taken = self._face_volumes(axis, field) * closed
            force.append(jnp.sum(taken))
            for other, arm in enumerate(field.coordinates()):  # r x F has the component that is neither of the two
                if other != axis:
                    sign = 1.0 if (axis - other) % 3 == 1 else -1.0
                    torque = torque.at[3 - axis - other].add(sign * jnp.sum(arm * taken))
        return Forces(jnp.stack(force), torque if self.grid.dimensions == 3 else torque[2])

    def kinetic_energy(self, state: FlowState) -> Array:
        """Half the sum of the squared velocity over the control volumes around the faces, the energy that convection
        conserves. A face on a side of the domain counts for the half of its volume that lies within.
        """
        total = jnp.zeros(())
        for axis, component in enumerate(state.velocity):
            total = total + jnp.sum(self._face_volumes(axis, component) * component.values**2) / 2
        return total

    def pressure_problem(self) -> PressureProblem:
        """The pressure problem that belongs to these sides and this obstacle, of the second-order scheme."""
        return PressureProblem.from_conditions(
            self.grid,
            homogeneous_pressure_conditions(self.sides, Dirichlet),
            self.solid.cells if isinstance(self.solid, FixedSolid) else None,
        )

    def body(self, time: ArrayLike, given: FlowInput | None = None) -> Immersed | None:
        """The immersed body as it is at this time; None where there is none."""
        if not self._immersed:
            return None
        if given is not None and given.solid is not None:
            return given.solid
        return self.solid if isinstance(self.solid, Immersed) else self.solid(jnp.asarray(time))

    @property
    def _immersed(self) -> bool:
        return self.solid is not None and not isinstance(self.solid, FixedSolid)

    def _sides(self, given: FlowInput, time: ArrayLike) -> Sides:
        sides = self.sides if given.sides is None else given.sides
        return sides_at(sides, time) if depends_on_time(sides) else sides

    def _shape(self, axis: int) -> tuple[int, ...]:
        return self.grid.shape(face_offset(self.grid, axis), [isinstance(pair[0], Periodic) for pair in self.sides])

    def _component(self, sides: Sides, axis: int, values: Array) -> Field:
        return Field(values, self.grid, face_offset(self.grid, axis), velocity_conditions(sides, axis))

    def _rates(
        self, velocity: tuple[Array, ...], scalars: dict[str, Array], given: FlowInput, time: ArrayLike
    ) -> tuple[tuple[Array, ...], dict[str, Array]]:
        """The right sides of velocity and scalars, without the pressure's gradient save for what is given of it."""
        sides = self._sides(given, time)
        fields = tuple(self._component(sides, axis, values) for axis, values in enumerate(velocity))
        outside = Field(
            jnp.zeros(self.grid.cells, velocity[0].dtype), self.grid, conditions=pressure_conditions(sides, Dirichlet)
        )
        if (body := self.body(time, given)) is not None:
            cuts = geometries(body, fields)
            pushed = self._pushed(given, fields, scalars, sides)
            viscosity = self.viscosity if self.diffusion == "explicit" else 0.0 * self.viscosity
            return momentum_rates(fields, cuts, viscosity, self._diffused(), outside, pushed), {
                name: self._scalar_rate(name, values, fields, sides, body) for name, values in scalars.items()
            }
        carried = convection(fields, order=self.order)
        rates = []
        for axis, component in enumerate(fields):
            rate = -carried[axis].values
            if self.diffusion == "explicit":
                rate = rate + self.viscosity * self._smoothed(component)
            if any(isinstance(condition, Dirichlet) for condition in outside.conditions[axis]):
                rate = rate - self._slope(outside, axis)
            rates.append(rate)
        if (pushed := self._pushed(given, fields, scalars, sides)) is not None:
            rates = [rate + part for rate, part in zip(rates, pushed, strict=True)]
        rates = tuple(self._on_free_faces(fields[axis], axis, rate) for axis, rate in enumerate(rates))
        return rates, {name: self._scalar_rate(name, values, fields, sides) for name, values in scalars.items()}

    def _pushed(
        self, given: FlowInput, fields: tuple[Field, ...], scalars: dict[str, Array], sides: Sides
    ) -> list[Array] | None:
        """The force of this stage on the faces of each axis."""
        force: Any = given.force
        if force is None:
            return None
        if callable(force):
            conditions = scalar_conditions(sides)
            force = force({name: Field(one, self.grid, conditions=conditions) for name, one in scalars.items()}, fields)
        return forces_on_faces("RungeKuttaFlow", force, fields)

    def _scalar_rate(
        self,
        name: str,
        values: Array,
        velocity: tuple[Field, ...],
        sides: Sides,
        body: Immersed | None = None,
    ) -> Array:
        """`-div(v s) + source`, central: the mean of the two cells at each face; and what explicit diffusion adds."""
        settings = self.scalars[name]
        scalar = Field(values, self.grid, conditions=scalar_conditions(sides))
        cuts = None if body is None else geometries(body, velocity)
        fluxes = []
        for axis, component in enumerate(velocity if cuts is None else crossing(velocity, cuts)):
            flux = component.values * interpolate(scalar, component.offset).values
            if self.diffusion == "explicit":
                slope = self._scalar_slope(scalar, axis)
                if cuts is not None:  # nothing diffuses into the body
                    slope = slope * cuts[axis].open
                flux = flux - settings.diffusivity * slope
            fluxes.append(component.with_values(flux))
        rate = -divergence(fluxes).values
        if body is not None:  # small volumes follow a little later, as those of the momentum do
            rate = rate / scalar_mass(body, self.grid)
        return rate if settings.source is None else rate + settings.rate * settings.source.coverage(self.grid)

    def _scalar_slope(self, scalar: Field, axis: int) -> Array:
        """The slope on the faces of an axis. Nothing diffuses into an obstacle."""
        slope = difference(scalar, axis).values
        return slope * self._fluid_faces(axis, slope.dtype) if isinstance(self.solid, FixedSolid) else slope

    def _diffused(self) -> Array:
        """Viscosity times the step that explicit diffusion takes: the masses beside an immersed body depend on it."""
        return self.viscosity * self.dt if self.diffusion == "explicit" else 0.0 * self.viscosity

    def _diffusion_rates(
        self, velocity: tuple[Array, ...], scalars: dict[str, Array], given: FlowInput, time: ArrayLike
    ) -> tuple[tuple[Array, ...], dict[str, Array]]:
        """`viscosity laplacian(v)` on the free faces, and `diffusivity laplacian(s)`."""
        sides, body = self._sides(given, time), self.body(time, given)
        fields = [self._component(sides, axis, values) for axis, values in enumerate(velocity)]
        conditions = scalar_conditions(sides)
        spread = {
            name: self.scalars[name].diffusivity.astype(values.dtype)
            * self._scalar_laplacian(Field(values, self.grid, conditions=conditions), fields, body)
            for name, values in scalars.items()
        }
        if body is not None:
            return viscous_rates(fields, geometries(body, fields), self.viscosity), spread
        return tuple(
            self._on_free_faces(part, axis, self.viscosity.astype(part.values.dtype) * self._smoothed(part))
            for axis, part in enumerate(fields)
        ), spread

    def _scalar_laplacian(self, scalar: Field, faces: Sequence[Field], body: Immersed | None) -> Array:
        """The divergence of the slopes; beside an immersed body over the mass of each cell."""
        slopes = [part.with_values(self._scalar_slope(scalar, axis)) for axis, part in enumerate(faces)]
        if body is None:
            return divergence(slopes).values
        cuts = geometries(body, faces)
        through = [slope.with_values(slope.values * cut.open) for slope, cut in zip(slopes, cuts, strict=True)]
        return divergence(through).values / scalar_mass(body, self.grid)

    def _implicit_change(
        self,
        velocity: tuple[Array, ...],
        scalars: dict[str, Array],
        length: Array,
        given: FlowInput,
        time: ArrayLike,
    ) -> tuple[tuple[Array, ...], dict[str, Array]]:
        """What diffusion over `length` changes in an implicit stage: `w = length P G(v + w)`, and so for scalars."""
        sides, body = self._sides(given, time), self.body(time, given)
        rates, scalar_rates = self._diffusion_rates(velocity, scalars, given, time)
        homogeneous = [
            tuple((type(lower)(), type(upper)()) for lower, upper in velocity_conditions(sides, axis))
            for axis in range(self.grid.dimensions)
        ]
        fields = [
            Field(values, self.grid, face_offset(self.grid, axis), homogeneous[axis])
            for axis, values in enumerate(velocity)
        ]
        reach = (length * self.viscosity).astype(velocity[0].dtype)
        unraveled = ravel_pytree(velocity)[1]

        def on_all(function: Callable[[list[Field]], Sequence[Array]]) -> Callable[[Array], Array]:
            """The same function of one array of all unknowns."""

            def of_one(values: Array) -> Array:
                parts = [field.with_values(part) for field, part in zip(fields, unraveled(values), strict=True)]
                return ravel_pytree(tuple(function(parts)))[0]

            return of_one

        stokes = self._stokes(fields, reach) if body is None else self._stokes_around(body, fields, reach)
        project = on_all(stokes.project)
        rhs = project(ravel_pytree(tuple(length.astype(rate.dtype) * rate for rate in rates))[0])
        if self._commutes():
            change = on_all(stokes.precondition)(rhs)
        else:
            weights = ravel_pytree(tuple(stokes.weights))[0]
            change = solve_constrained(
                rhs,
                project,
                on_all(stokes.smooth),
                on_all(stokes.precondition),
                weights / jnp.mean(weights),
                symmetric=body is None,
            )
        spread = {
            name: self._scalar_change(name, length.astype(rate.dtype) * rate, length, sides, fields, body)
            for name, rate in scalar_rates.items()
        }
        return unraveled(change), spread

    def _stokes(self, fields: Sequence[Field], reach: Array) -> Stokes:
        """The parts of an implicit stage without a body that cuts cells."""
        lines = [lines_of(self.grid, part.offset, part.conditions, self.order) for part in fields]

        def project(parts: Sequence[Field]) -> Sequence[Array]:
            on_free = [part.with_values(self._on_free_faces(part, a, part.values)) for a, part in enumerate(parts)]
            return self._without_divergence(on_free)[0]

        return Stokes(
            project,
            lambda parts: [reach * self._smoothed(part) for part in parts],
            lambda parts: [
                solve_separable(line, part.values, 1.0, -reach) for line, part in zip(lines, parts, strict=True)
            ],
            [self._face_volumes(axis, part) for axis, part in enumerate(fields)],
        )

    def _stokes_around(self, body: Immersed, fields: Sequence[Field], reach: Array) -> Stokes:
        """The same around an immersed body. Its motion stands in the right side: the change vanishes on it."""
        cuts = geometries(Immersed(body.shape), fields)
        masses = [cut.mass(self._diffused()) for cut in cuts]
        scales = [cut.implicit_scale(reach) for cut in cuts]
        lines = [lines_of(self.grid, part.offset, part.conditions, 2) for part in fields]
        conditions = homogeneous_pressure_conditions(self.sides, Dirichlet)

        def project(parts: Sequence[Field]) -> Sequence[Array]:
            on_free = [part.with_values(without_fixed_ends(part, a, part.values)) for a, part in enumerate(parts)]
            return projection(on_free, cuts, self._diffused(), conditions, self.pressure_solver)[0]

        return Stokes(
            project,
            lambda parts: viscous_rates(parts, cuts, reach),
            lambda parts: [
                solve_separable(line, mass * part.values / scale, 1.0, -reach) / scale
                for line, part, mass, scale in zip(lines, parts, masses, scales, strict=True)
            ],
            [
                mass * self._face_volumes(axis, part)
                for axis, (part, mass) in enumerate(zip(fields, masses, strict=True))
            ],
        )

    def _commutes(self) -> bool:
        """Whether diffusion leaves a velocity without divergence as it is, so that no pressure need correct it."""
        return self.solid is None and all(
            isinstance(side, Periodic) or (isinstance(side, Wall) and side.slip) for pair in self.sides for side in pair
        )

    def _scalar_change(
        self, name: str, rhs: Array, length: Array, sides: Sides, faces: Sequence[Field], body: Immersed | None
    ) -> Array:
        """The solution of `w - length diffusivity laplacian(w) = rhs`."""
        conditions = tuple((type(lower)(), type(upper)()) for lower, upper in scalar_conditions(sides))
        reach = (length * self.scalars[name].diffusivity).astype(rhs.dtype)
        lines = lines_of(self.grid, (0.5,) * self.grid.dimensions, conditions, 2)
        if self.solid is None:
            return solve_separable(lines, rhs, 1.0, -reach)
        volumes = jnp.asarray(self.grid.volumes() / self.grid.volumes().mean(), rhs.dtype)
        fluid = 1.0 if body is not None else jnp.asarray(~self.solid.cells, rhs.dtype)
        mass = 1.0 if body is None else scalar_mass(body, self.grid)
        return solve_constrained(
            rhs,
            lambda values: values * fluid,
            lambda values: reach * self._scalar_laplacian(Field(values, self.grid, conditions=conditions), faces, body),
            lambda values: solve_separable(lines, mass * values, 1.0, -reach),
            mass * volumes,
        )

    def _projected(
        self, velocity: tuple[Array, ...], given: FlowInput, time: ArrayLike
    ) -> tuple[tuple[Array, ...], Array]:
        """The velocity without divergence, and the potential whose gradient was taken away."""
        sides = self._sides(given, time)
        fields = tuple(imposed(axis, self._component(sides, axis, values)) for axis, values in enumerate(velocity))
        if (body := self.body(time, given)) is not None:
            conditions = homogeneous_pressure_conditions(self.sides, Dirichlet)
            cuts = geometries(body, fields)
            return projection(fields, cuts, self._diffused(), conditions, self.pressure_solver)
        if self.solid is not None:
            fields = tuple(
                part.with_values(part.values * self._fluid_faces(axis, part.values.dtype))
                for axis, part in enumerate(fields)
            )
        return self._without_divergence(fields)

    def _without_divergence(self, velocity: Sequence[Field]) -> tuple[tuple[Array, ...], Array]:
        """The velocity less the gradient on the free faces that takes its divergence away, and the potential."""
        potential = self._potential(velocity)
        field = Field(potential, self.grid, conditions=homogeneous_pressure_conditions(self.sides, Dirichlet))
        return tuple(
            part.values - self._on_free_faces(part, axis, self._slope(field, axis))
            for axis, part in enumerate(velocity)
        ), potential

    def _potential(self, velocity: Sequence[Field]) -> Array:
        source = (divergence if self.order == 2 else fourth_order_divergence)(velocity).values
        stretched = self.solid is None and self.pressure_solver is direct and not all(self.grid.uniform)
        if self.order == 2 and not stretched:
            return self.pressure_solver(self.pressure_problem()).solve(source).pressure
        conditions = homogeneous_pressure_conditions(self.sides, Dirichlet)
        return solve_separable(
            lines_of(self.grid, (0.5,) * self.grid.dimensions, conditions, self.order), source, 0.0, 1.0
        )

    def _smoothed(self, field: Field) -> Array:
        return (laplacian if self.order == 2 else fourth_order_laplacian)(field).values

    def _slope(self, field: Field, axis: int) -> Array:
        return (difference if self.order == 2 else fourth_order_difference)(field, axis).values

    def _on_free_faces(self, component: Field, axis: int, values: Array) -> Array:
        """`values` with zeros on sides where the normal velocity is fixed, and on an obstacle's faces."""
        values = without_fixed_ends(component, axis, values)
        return values if self.solid is None else values * self._fluid_faces(axis, values.dtype)

    def _fluid_faces(self, axis: int, dtype) -> Array:
        assert self.solid is not None
        return jnp.asarray(~np.asarray(self.solid.faces(self.pressure_problem(), axis)), dtype)

    def _face_volumes(self, axis: int, component: Field) -> Array:
        volume = np.broadcast_to(control_volume(component, self.order), component.shape).copy()
        if not component.periodic[axis]:
            for end in (0, -1):
                volume[(slice(None),) * axis + (end,)] *= 0.5
        return jnp.asarray(volume, component.values.dtype)

    def _check_step(self, diffusivity: Array) -> None:
        step, coefficient = concrete(self.dt), concrete(diffusivity)
        if step is None or coefficient is None or step.dtype == object or coefficient.dtype == object:
            return
        if not coefficient > 0:
            return
        with jax.ensure_compile_time_eval():  # the numbers are known, also where the system is made inside of jit
            reach = EXPLICIT[self.stages].real_axis / 2 * (1.0 if self.order == 2 else 4 / (7 / 3) ** 2)
            longest = float(stable_diffusion_step(self.grid, float(coefficient))) * reach
        if step > longest * (1 + 1e-6):
            raise InputError(
                f"RungeKuttaFlow: dt is {float(step):g}; with this diffusivity and spacing at most {longest:g} is "
                "accepted, beyond which explicit diffusion is unstable."
            )


def _obstacle(grid: Grid, sides: Sides, solid: Any) -> Any:
    """The obstacle that a user gives, checked."""
    periodic = [isinstance(pair[0], Periodic) for pair in sides]
    if isinstance(solid, Immersed):
        solid.check("RungeKuttaFlow", grid, periodic)
        return solid
    if callable(solid):
        now = solid(jnp.zeros(()))
        if not isinstance(now, Immersed):
            raise InputError(f"RungeKuttaFlow: solid(time) is {now!r}; a function that returns Immersed is accepted.")
        now.check("RungeKuttaFlow", grid, periodic)
        return solid if isinstance(solid, eqx.Module) else TimeFunction(solid)
    return FixedSolid.of("RungeKuttaFlow", grid, solid)


@eqx.filter_jit
def _first_projection(flow: RungeKuttaFlow, velocity: tuple[Array, ...], time: Array) -> tuple[Array, ...]:
    """One compiled program: operation by operation the first projection takes several times as long to prepare."""
    return flow._projected(velocity, FlowInput(), time)[0]


def _advanced(start: Any, dt: Array, weights: Sequence[float], rates: Sequence[Any]) -> Any:
    """`start + dt * sum(weights * rates)`, weights of zero left out."""
    used = [(weight, rate) for weight, rate in zip(weights, rates, strict=False) if weight]
    if not used:
        return start
    total = jax.tree.map(
        lambda *parts: sum(w * p for (w, _), p in zip(used, parts, strict=True)), *[r for _, r in used]
    )
    return jax.tree.map(lambda values, rate: values + dt.astype(values.dtype) * rate, start, total)


def _combined(start: Any, dt: Array, weights: Array, rates: Any) -> Any:
    """`start + dt * sum_j weights[j] * rates[j]`, the rates of all stages along a leading axis."""
    return jax.tree.map(
        lambda values, all: values + jnp.tensordot((dt * weights).astype(values.dtype), all, 1), start, rates
    )


def _known_size(value: Array) -> float:
    known = concrete(value)
    return -1.0 if known is None or known.dtype == object else float(known)
