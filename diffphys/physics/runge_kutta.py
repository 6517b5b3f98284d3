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
the velocity has its full order, also where the sides move (Hairer, Lubich, Roche 1989; Sanderse, Koren 2012).
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from diffphys.errors import InputError
from diffphys.grids import Dirichlet, Field, Grid, Periodic, Shape, Sides, face_offset, parse_sides
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
from diffphys.physics.immersed import Immersed, apertures, immersed_laplacian
from diffphys.physics.incompressible import FixedSolid, FlowState, PassiveScalar, largest_ratio
from diffphys.poisson import PressureProblem, SeparableConjugateGradients, VariableProblem, direct
from diffphys.poisson.separable import lines_of, solve_separable


class Tableau(NamedTuple):
    """The coefficients of an explicit Runge-Kutta method, and how far its stability reaches on the real axis."""

    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]
    c: tuple[float, ...]
    real_axis: float


TABLEAUS = {
    2: Tableau(((), (1.0,)), (0.5, 0.5), (0.0, 1.0), 2.0),  # Heun
    3: Tableau(((), (1.0,), (0.25, 0.25)), (1 / 6, 1 / 6, 2 / 3), (0.0, 1.0, 0.5), 2.51),  # Shu, Osher 1988
    4: Tableau(((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)), (1 / 6, 1 / 3, 1 / 3, 1 / 6), (0.0, 0.5, 0.5, 1.0), 2.78),
}


class FlowInput(eqx.Module):
    """What acts on a flow during one step: an argument of `RungeKuttaFlow`, and an entry of the `inputs` of `rollout`.

    Args:
        force: Acceleration, for each axis a number or an array with an entry for each face; or a function that returns
            one from the scalars and the velocity of a stage, each as fields; or None.
        sides: Sides to use in this step instead of those of the flow, of the same kinds; or None.
        solid: The immersed body as it is in this step, instead of that of the flow; or None.
    """

    force: Any = None
    sides: Sides | None = None
    solid: Immersed | None = None


class Forces(NamedTuple):
    """What the flow exerts on an obstacle, per density of the fluid.

    Attributes:
        force: One number for each axis: drag and lift.
        torque: About the body's pivot (about the origin for an obstacle of whole cells): one number in 2D,
            counterclockwise, a vector in 3D.
    """

    force: Array
    torque: Array


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
        solid: A shape for an obstacle at rest made of whole cells, whose numbers must be known when the flow is made;
            or an `Immersed` body, whose surface cuts cells and whose numbers are traced; or a function from the time to
            the `Immersed` body as it is then; or None.
        scalars: Passive scalars by name, carried in conservative form.
        stages: The Runge-Kutta method: 2 (Heun), 3 (Shu, Osher 1988) or 4 (Kutta), which is its order as well.
        order: The order in space, 2 or 4. Four needs a domain without obstacle.
        pressure_solver: From a `PressureProblem`, with an immersed body a `VariableProblem`, to its solver, for second
            order. Default: the direct one, with an immersed body conjugate gradients
            with it as preconditioner.

    Raises:
        InputError: for sides that are missing or contradict each other, a net flux through the sides that cannot
            vanish, an obstacle that is outside of the domain or fills it, a number out of range, or a `dt` beyond the
            bound of explicit diffusion.
    """

    grid: Grid = eqx.field(static=True)
    viscosity: Array
    dt: Array
    sides: Sides
    solid: Any
    scalars: dict[str, PassiveScalar]
    stages: int = eqx.field(static=True)
    order: int = eqx.field(static=True)
    pressure_solver: Any = eqx.field(static=True)

    def __init__(
        self,
        grid: Grid,
        viscosity: ArrayLike,
        dt: ArrayLike,
        sides: Any,
        solid: Shape | FixedSolid | Immersed | Any | None = None,
        scalars: Mapping[str, PassiveScalar] | None = None,
        stages: int = 3,
        order: int = 2,
        pressure_solver: Any = None,
    ):
        if not isinstance(grid, Grid):
            raise InputError(f"RungeKuttaFlow: grid is {grid!r}; a Grid is accepted.")
        self.grid = grid
        self.viscosity = as_number(viscosity, "RungeKuttaFlow: viscosity")
        self.dt = as_number(dt, "RungeKuttaFlow: dt")
        self.sides = parse_sides(grid, sides)
        if isinstance(solid, Immersed):
            self.solid = solid
        elif callable(solid):
            self.solid = solid if isinstance(solid, eqx.Module) else TimeFunction(solid)
        else:
            self.solid = FixedSolid.of("RungeKuttaFlow", grid, solid)
        self.scalars = dict(scalars or {})
        self.stages, self.order = stages, order
        self.pressure_solver = pressure_solver or (SeparableConjugateGradients if self._immersed else direct)
        check_number("RungeKuttaFlow", "viscosity", self.viscosity, minimum=0.0)
        check_number("RungeKuttaFlow", "dt", self.dt, above=0.0)
        check_order("RungeKuttaFlow", order)
        if stages not in TABLEAUS or isinstance(stages, bool):
            raise InputError(f"RungeKuttaFlow: stages is {stages!r}; 2, 3 or 4 is accepted.")
        if order == 4 and self.solid is not None:
            raise InputError("RungeKuttaFlow: order is 4 and there is a solid; order 2 is accepted with an obstacle.")
        largest = max((self.viscosity, *(scalar.diffusivity for scalar in self.scalars.values())), key=_known_size)
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
        method, dt = TABLEAUS[self.stages], self.dt
        velocity = tuple(component.values for component in state.velocity)
        scalars = {name: state.scalars[name].values for name in self.scalars}
        rates: list[tuple[tuple[Array, ...], dict[str, Array]]] = []
        stage, carried = velocity, scalars
        for index, row in enumerate(method.a):
            if index:
                stage = self._projected(
                    _advanced(velocity, dt, row, [rate for rate, _ in rates]), given, state.time + method.c[index] * dt
                )[0]
                carried = _advanced(scalars, dt, row, [rate for _, rate in rates])
            rates.append(self._rates(stage, carried, given, state.time + method.c[index] * dt))
        time = state.time + dt
        final, potential = self._projected(_advanced(velocity, dt, method.b, [rate for rate, _ in rates]), given, time)
        carried = _advanced(scalars, dt, method.b, [rate for _, rate in rates])
        sides = self._sides(given, time)
        return FlowState(
            tuple(self._component(sides, axis, values) for axis, values in enumerate(final)),
            Field(potential / dt, self.grid, conditions=pressure_conditions(sides, Dirichlet)),
            {name: Field(values, self.grid, conditions=scalar_conditions(sides)) for name, values in carried.items()},
            time,
        )

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
        """The divergence that the projection makes zero, of the order of the scheme."""
        return (divergence if self.order == 2 else fourth_order_divergence)(state.velocity)

    def courant_number(self, state: FlowState) -> Array:
        """The largest `dt |v_a| / h_a` over all faces and axes, on a stretched axis with the narrower cell beside."""
        return jnp.max(jnp.stack([largest_ratio(part, axis, self.dt) for axis, part in enumerate(state.velocity)]))

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

    @property
    def _immersed(self) -> bool:
        return self.solid is not None and not isinstance(self.solid, FixedSolid)

    def body(self, time: ArrayLike, given: FlowInput | None = None) -> Immersed | None:
        """The immersed body as it is at this time; None where there is none."""
        if given is not None and given.solid is not None:
            return given.solid
        if not self._immersed or isinstance(self.solid, Immersed):
            return self.solid if self._immersed else None
        return self.solid(jnp.asarray(time))

    def forces(self, state: FlowState, given: FlowInput | None = None) -> Forces:
        """What the flow exerts on the obstacle, exactly what the scheme takes from the fluid's momentum.

        The pressure over the closed parts of all faces, the friction at the surface, and the momentum that convection
        and viscosity carry into closed faces. The pressure is that of the state, the mean over the step that led to it.

        Raises:
            InputError: if there is no obstacle.
        """
        if self.solid is None:
            raise InputError("RungeKuttaFlow.forces: the flow has no solid; a flow with an obstacle is accepted.")
        given = FlowInput() if given is None else given
        sides, body = self._sides(given, state.time), self.body(state.time, given)
        fields = tuple(self._component(sides, axis, part.values) for axis, part in enumerate(state.velocity))
        pressure = state.pressure.with_conditions(pressure_conditions(sides, Dirichlet))
        geometries = self._geometries(body, fields)
        carrier = self._carrier(fields, geometries)
        relative = tuple(
            field.with_values(jnp.where(geometry.active, field.values - geometry.body, 0.0))
            for field, geometry in zip(fields, geometries, strict=True)
        )
        carried = convection(relative, carrier)
        pivot = jnp.zeros(()) if body is None else body.pivot
        force, torque = [], jnp.zeros(3)
        for axis, (field, geometry) in enumerate(zip(fields, geometries, strict=True)):
            volume = self._face_volumes(axis, field)
            gained = immersed_laplacian(field, geometry) if body is not None else None
            gain = laplacian(field).values if gained is None else gained.gain
            closed = without_fixed_ends(field, axis, self.viscosity * gain - carried[axis].values)
            slope = without_fixed_ends(field, axis, difference(pressure, axis).values)
            through = volume * (jnp.where(geometry.active, 0.0, closed) - (1 - geometry.open) * slope)
            surface = 0 * through if gained is None else -volume * self.viscosity * gained.from_surface
            force.append(jnp.sum(through) + jnp.sum(surface))
            arms = [points - (pivot if pivot.ndim == 0 else pivot[a]) for a, points in enumerate(field.coordinates())]
            at_surface = (
                arms
                if gained is None
                else [arm - geometry.distance * normal for arm, normal in zip(arms, geometry.normal, strict=True)]
            )
            for other in range(self.grid.dimensions):
                if other != axis:  # r x F: the component that is neither of the two
                    moment = jnp.sum(through * arms[other]) + jnp.sum(surface * at_surface[other])
                    sign = 1.0 if (axis - other) % 3 == 1 else -1.0
                    torque = torque.at[3 - axis - other].add(sign * moment)
        return Forces(jnp.stack(force), torque if self.grid.dimensions == 3 else torque[2])

    def _geometries(self, body: Immersed | None, fields: tuple[Field, ...]) -> tuple[Any, ...]:
        """What stands in the way of each velocity component: the apertures of a body, or the closed faces of cells."""
        if body is not None:
            return tuple(apertures(body, field, axis) for axis, field in enumerate(fields))
        return tuple(_Closed.of(self, field, axis) for axis, field in enumerate(fields))

    def _carrier(self, fields: tuple[Field, ...], geometries: tuple[Any, ...]) -> tuple[Field, ...]:
        """What crosses the faces: the fluid through their open part, the body through the rest."""
        return tuple(
            field.with_values(one.open * field.values + one.crossing)
            for field, one in zip(fields, geometries, strict=True)
        )

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
        if (body := self.body(time, given)) is not None:
            return self._immersed_rates(body, fields, given, sides, scalars), {
                name: self._scalar_rate(name, values, fields, sides, body) for name, values in scalars.items()
            }
        carried = convection(fields, order=self.order)
        rates = []
        smooth = laplacian if self.order == 2 else fourth_order_laplacian
        outside = self._outside(sides, velocity[0].dtype)
        for axis, component in enumerate(fields):
            rate = self.viscosity * smooth(component).values - carried[axis].values
            if any(isinstance(condition, Dirichlet) for condition in outside.conditions[axis]):
                rate = rate - self._slope(outside, axis)
            rates.append(rate)
        if given.force is not None:
            pushed = self._pushed(given, fields, scalars, sides)
            rates = [rate + part for rate, part in zip(rates, pushed, strict=True)]
        rates = tuple(self._on_free_faces(fields[axis], axis, rate) for axis, rate in enumerate(rates))
        return rates, {name: self._scalar_rate(name, values, fields, sides, None) for name, values in scalars.items()}

    def _immersed_rates(
        self, body: Immersed, fields: tuple[Field, ...], given: FlowInput, sides: Sides, scalars: dict[str, Array]
    ) -> tuple[Array, ...]:
        """The right side of the velocity beside a body: what is gained by a control volume over its mass."""
        geometries = self._geometries(body, fields)
        carried = convection(fields, self._carrier(fields, geometries))
        pushed = None if given.force is None else self._pushed(given, fields, scalars, sides)
        outside = self._outside(sides, fields[0].values.dtype)
        rates = []
        for axis, (field, geometry) in enumerate(zip(fields, geometries, strict=True)):
            rate = self.viscosity * immersed_laplacian(field, geometry).gain - carried[axis].values + geometry.turning
            rate = rate - geometry.open * self._slope(outside, axis)
            if pushed is not None:
                rate = rate + geometry.open * pushed[axis]
            rates.append(without_fixed_ends(field, axis, jnp.where(geometry.active, rate / geometry.mass, 0.0)))
        return tuple(rates)

    def _pushed(
        self, given: FlowInput, fields: tuple[Field, ...], scalars: dict[str, Array], sides: Sides
    ) -> list[Array]:
        force: Any = given.force
        if callable(force):
            conditions = scalar_conditions(sides)
            force = force({name: Field(one, self.grid, conditions=conditions) for name, one in scalars.items()}, fields)
        return forces_on_faces("RungeKuttaFlow", force, fields)

    def _outside(self, sides: Sides, dtype: Any) -> Field:
        """A pressure of zero within and of the given values on the sides, whose gradient acts there."""
        return Field(jnp.zeros(self.grid.cells, dtype), self.grid, conditions=pressure_conditions(sides, Dirichlet))

    def _scalar_rate(
        self, name: str, values: Array, velocity: tuple[Field, ...], sides: Sides, body: Immersed | None
    ) -> Array:
        """`-div(v s) + diffusivity laplacian(s) + source`, central: the mean of the two cells at each face."""
        settings = self.scalars[name]
        scalar = Field(values, self.grid, conditions=scalar_conditions(sides))
        geometries = None if self.solid is None and body is None else self._geometries(body, velocity)
        carrier = velocity if geometries is None else self._carrier(velocity, geometries)
        fluxes = []
        for axis, component in enumerate(carrier):
            diffused = settings.diffusivity * difference(scalar, axis).values
            if geometries is not None:
                diffused = geometries[axis].open * diffused
            carried = component.values * interpolate(scalar, component.offset).values
            fluxes.append(component.with_values(carried - diffused))
        rate = -divergence(fluxes).values
        if body is not None:
            rate = rate / jnp.maximum(1 - body.shape.volume_fractions(self.grid), 0.5)
        return rate if settings.source is None else rate + settings.rate * settings.source.coverage(self.grid)

    def _projected(
        self, velocity: tuple[Array, ...], given: FlowInput, time: ArrayLike
    ) -> tuple[tuple[Array, ...], Array]:
        """The velocity without divergence, and the potential whose gradient was taken away."""
        sides = self._sides(given, time)
        fields = tuple(imposed(axis, self._component(sides, axis, values)) for axis, values in enumerate(velocity))
        if (body := self.body(time, given)) is not None:
            return self._immersed_projection(body, fields)
        if self.solid is not None:
            fields = tuple(
                part.with_values(jnp.where(self._solid_faces(axis), 0.0, part.values))
                for axis, part in enumerate(fields)
            )
        potential = self._potential(fields)
        field = Field(potential, self.grid, conditions=homogeneous_pressure_conditions(self.sides, Dirichlet))
        return tuple(
            part.values - self._on_free_faces(part, axis, self._slope(field, axis)) for axis, part in enumerate(fields)
        ), potential

    def _immersed_projection(self, body: Immersed, fields: tuple[Field, ...]) -> tuple[tuple[Array, ...], Array]:
        """The nearest velocity, in the norm of the control volumes' masses, for which what crosses the faces has no
        divergence.
        """
        geometries = self._geometries(body, fields)
        conditions = homogeneous_pressure_conditions(self.sides, Dirichlet)
        coefficients = [geometry.open**2 / geometry.mass for geometry in geometries]
        problem = VariableProblem.from_conditions(self.grid, conditions, coefficients)
        source = divergence(self._carrier(fields, geometries)).values
        potential = self.pressure_solver(problem).solve(source).pressure
        slopes = Field(potential, self.grid, conditions=conditions)
        values = []
        for axis, (field, geometry) in enumerate(zip(fields, geometries, strict=True)):
            change = without_fixed_ends(field, axis, geometry.open / geometry.mass * self._slope(slopes, axis))
            values.append(jnp.where(geometry.active, field.values - change, geometry.body))
        return tuple(values), potential

    def _potential(self, velocity: tuple[Field, ...]) -> Array:
        source = (divergence if self.order == 2 else fourth_order_divergence)(velocity).values
        stretched = self.solid is None and self.pressure_solver is direct and not all(self.grid.uniform)
        if self.order == 2 and not stretched:
            return self.pressure_solver(self.pressure_problem()).solve(source).pressure
        conditions = homogeneous_pressure_conditions(self.sides, Dirichlet)
        return solve_separable(
            lines_of(self.grid, (0.5,) * self.grid.dimensions, conditions, self.order), source, 0.0, 1.0
        )

    def _slope(self, field: Field, axis: int) -> Array:
        return (difference if self.order == 2 else fourth_order_difference)(field, axis).values

    def _on_free_faces(self, component: Field, axis: int, values: Array) -> Array:
        """`values` with zeros on sides where the normal velocity is fixed, and on an obstacle's faces."""
        values = without_fixed_ends(component, axis, values)
        return values if self.solid is None else jnp.where(self._solid_faces(axis), 0.0, values)

    def _solid_faces(self, axis: int) -> Array:
        assert self.solid is not None
        return jnp.asarray(self.solid.faces(self.pressure_problem(), axis))

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
            reach = TABLEAUS[self.stages].real_axis / 2 * (1.0 if self.order == 2 else 4 / (7 / 3) ** 2)
            if self._immersed:  # friction in small control volumes is three times as fast
                reach = reach / 3
            longest = float(stable_diffusion_step(self.grid, float(coefficient))) * reach
        if step > longest * (1 + 1e-6):
            raise InputError(
                f"RungeKuttaFlow: dt is {float(step):g}; with this diffusivity and spacing at most {longest:g} is "
                "accepted, beyond which explicit diffusion is unstable."
            )


class _Closed(NamedTuple):
    """The faces of an obstacle of whole cells, in the words of `Apertures`."""

    active: Array
    open: Array
    body: Array
    crossing: Array

    @staticmethod
    def of(flow: RungeKuttaFlow, field: Field, axis: int) -> "_Closed":
        active = ~flow._solid_faces(axis)
        return _Closed(active, active.astype(field.values.dtype), *[jnp.zeros_like(field.values)] * 2)


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


def _known_size(value: Array) -> float:
    known = concrete(value)
    return -1.0 if known is None or known.dtype == object else float(known)
