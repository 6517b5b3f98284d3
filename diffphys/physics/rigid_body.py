r"""A rigid body that the flow moves, and that moves the flow.

One velocity $u$ fills the whole domain, the body's place included. Through a face of which the part $\chi$ lies in the
body and $\kappa = 1 - \chi$ in the fluid passes

$$u = \kappa v + \chi\, R U, \qquad R U = V + \omega\, e_z \times (x - X),$$

with the fluid's velocity $v$ and the body's motion $U = (V, \omega)$ about its center of mass $X$. The fluid that would
be in the place of the body has the mass $A$ (lengths and times are the user's, densities those over the fluid's); what
the body has beyond that is $M_e = M - A$, negative for one that is lighter. One step makes

1. the body's place, $X' = X + \Delta t\, V$, and the fractions there;
2. convection, diffusion and forces on all of $u$, by the Runge-Kutta method of the flow with $u^n$ as carrier: $u^*$.
   Fluxes telescope, so the sum over all faces changes by forces and sides alone;
3. pressure, friction and motion, all at once. The fluid in a face at the surface rubs at the body,
   $v' = v^* - G p - \beta (v' - R U')$ with $\kappa v^* = u^* - \chi R U^n$, and the body takes what the fluid loses,
   beside the impulse $J$ of weight and control. With $q = \beta / (1 + \beta)$ and what goes along with the body,
   $\tilde\chi = \chi + \kappa q$, this is

   $$u' = (1 - q)(u^* - \chi R U^n) - (1 - \tilde\chi) G p + \tilde\chi R U', \qquad
   m = M_e + R^T \tilde\chi R,$$

   $$m U' = M_e U^n + J + R^T \big(q u^* + (1 - q) \chi R U^n\big) - R^T \tilde\chi G p,$$

   and $D u' = 0$ asks for a pressure with one symmetric, positive operator,
   $D \big(1 - \tilde\chi + \tilde\chi R\, m^{-1} R^T \tilde\chi\big) G$ (Batty, Bertails, Bridson 2007, who have it
   without friction): that of closed faces and one of rank three.

A face whose open part has its middle at the distance $d$ from the surface of normal $n$ has
$\beta = \nu \Delta t \sum_a (|n_a| / (h_a \kappa d) - 1 / h_a^2)^+$, which makes of the differences across the surface
those to the surface (Gibou, Fedkiw, Cheng, Kang 2002); without viscosity the body is smooth.

Nothing is lagged, so a body may be much lighter than the fluid; where pressure and motion take turns, the added mass
makes a light one unstable whatever the step is (Causin, Gerbeau, Nobile 2005). In a periodic box $\sum u + M_e V$
changes by impulses alone, to round-off. With friction before the pressure, each for itself, a cylinder of density 0.1
settled by 29 percent faster than one of density 2 of the same weight (3 cells along the diameter, steps of a fifth of
$h^2 / \nu$); together by half a percent slower.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from diffphys.errors import InputError
from diffphys.grids import (
    Box,
    Declared,
    Field,
    Grid,
    Periodic,
    Shape,
    Sphere,
    as_array_of_shape,
    choice,
    quantity,
    within,
)
from diffphys.grids.declared import Refusals, refuse, wrong_shape
from diffphys.grids.field import check_parts
from diffphys.grids.numbers import as_number, check_number, concrete, in_precision_of, number, of_types, shown
from diffphys.grids.shapes import Periods
from diffphys.grids.sides import periods
from diffphys.operators import difference, divergence
from diffphys.operators.advection.convection import without_fixed_ends
from diffphys.physics import flow_sides
from diffphys.physics.flow_state import FlowState, Unknowns
from diffphys.physics.forces import FlowInput
from diffphys.physics.incompressible import IncompressibleFlow
from diffphys.physics.obstacles import FiniteVolumes
from diffphys.physics.units import unit_of
from diffphys.poisson import Solution, VariableProblem
from diffphys.poisson.low_rank import solve_with_low_rank
from diffphys.stepping import RungeKutta
from diffphys.stepping.clock import later


LEAST_OPENING = 1e-2  # of a face; what is less open counts as closed: at 1e-6 single precision did not converge
LEAST_DENSITY = 0.05  # of a body over the fluid's: the area of the faces within it is right to a few percent


class RigidBody(Declared):
    """A rigid body in the plane: its shape about its center of mass, and what its inertia is.

    Densities are over the fluid's, so a mass is an area.

    Args:
        shape: The region that it fills, its center of mass at the origin, at an angle of zero.
        mass: Of the body.
        moment: Its moment of inertia about the center of mass.
        area: Of the shape, the mass of the fluid that it displaces.
        area_moment: The moment of inertia of that fluid.
        turns: Whether it may turn; else it only moves to and fro.

    Raises:
        InputError: for numbers that are not positive, another kind of shape, or a mass below a twentieth of the area.

    Examples:
        >>> disk = dp.RigidBody.disk(radius=0.5, density=0.3)
        >>> round(float(disk.mass), 4)
        0.2356
    """

    shape: Shape = eqx.field(metadata=choice(Shape, words="a shape"))
    mass: Array = eqx.field(converter=quantity, metadata=within(above=0.0))
    moment: Array = eqx.field(converter=quantity, metadata=within(above=0.0))
    area: Array = eqx.field(converter=quantity, metadata=within(above=0.0))
    area_moment: Array = eqx.field(converter=quantity, metadata=within(above=0.0))
    turns: bool = eqx.field(static=True, metadata=choice(bool, words="True or False"), default=True)

    @staticmethod
    def disk(radius: ArrayLike, density: ArrayLike, turns: bool = True) -> "RigidBody":
        """A disk of one density, of the mass `density pi radius^2` and the moment `mass radius^2 / 2`."""
        radius, density = as_number(radius, "disk: radius"), as_number(density, "disk: density")
        area = jnp.pi * radius**2
        moment = area * radius**2 / 2
        return RigidBody(Sphere((0.0, 0.0), radius), density * area, density * moment, area, moment, turns)

    @staticmethod
    def box(lengths: Any, density: ArrayLike, moment: ArrayLike | None = None, turns: bool = True) -> "RigidBody":
        """A rectangle of these side lengths and of one density, of the moment `mass (a^2 + b^2) / 12` unless another
        one is given, as for a mass that sits at its ends.
        """
        lengths, density = as_number(lengths, "box: lengths"), as_number(density, "box: density")
        check_number("box", "lengths", lengths, above=0.0, scalar=False)
        refuse("box", wrong_shape("lengths", lengths, (2,)))
        area = lengths[0] * lengths[1]
        own = area * jnp.sum(lengths**2) / 12
        inertia = density * own if moment is None else as_number(moment, "box: moment")
        return RigidBody(Box(-lengths / 2, lengths / 2), density * area, inertia, area, own, turns)

    def refused(self) -> Refusals:
        mass, area = concrete(self.mass), concrete(self.area)
        light = mass is not None and area is not None and bool(np.any(mass < LEAST_DENSITY * area))
        yield light, f"mass is {mass} and area {area}; a mass of at least {LEAST_DENSITY} of the area is accepted."

    def at(self, position: Array, angle: Array) -> Shape:
        """The shape at a place."""
        return self.shape.rotated(angle, jnp.zeros_like(position)).translated(position)


class RigidBodyState(eqx.Module):
    """Flow and body.

    Attributes:
        flow: The flow; its velocity is that of the fluid and the body together, free of divergence.
        position: Of the center of mass, (2,).
        angle: In radians, counterclockwise.
        velocity: Of the center of mass, (2,).
        rotation_rate: Radians per time.
    """

    flow: FlowState
    position: Array
    angle: Array
    velocity: Array
    rotation_rate: Array


class RigidBodyInput(eqx.Module):
    """What acts in a step: a control, and what acts on the fluid.

    Args:
        force: On the body, (2,), over the fluid's density: a mass (an area) times an acceleration.
        torque: On the body, one number.
        flow: On the fluid.

    Examples:
        >>> push = dp.RigidBodyInput(force=(0.1, 0.0), torque=0.02)
        >>> push.force.shape
        (2,)
    """

    force: Array = eqx.field(converter=number("RigidBodyInput: force"), default=0.0)
    torque: Array = eqx.field(converter=number("RigidBodyInput: torque"), default=0.0)
    flow: FlowInput | None = None


class _Cut(NamedTuple):
    """How the body covers the faces of an axis.

    Attributes:
        covered: chi, the part of each face within the body.
        friction: q, how much of its slip the fluid in a face loses in a step: one within the body.
        rigid: R, a velocity on the faces for each unit motion, (*faces, 3).
    """

    covered: Array
    friction: Array
    rigid: Array

    def moving(self, motion: Array) -> Array:
        """`R motion`."""
        return self.rigid @ motion


class RigidBodyFlow(Declared):
    r"""A rigid body in an incompressible flow, each moving the other, as a pure function `step(state) -> state`.

    $$M \frac{dV}{dt} = \oint \big(-p\, n + \nu (\nabla v + \nabla v^T)\, n\big)\, ds + (M - A)\, g + f, \qquad
    \Theta \frac{d\omega}{dt} = \oint (x - X) \times \big(\dots\big)\, ds + \tau$$

    Pressure and motion are found together, so bodies lighter than the fluid are stable, too; the head of the file says
    how. Second order in space away from the surface, first at it, first in time. Momentum of fluid and body together is
    conserved to round-off.

    The step is bound by explicit diffusion and by a Courant number of about one; take `RungeKutta(3)` for the flow.
    Eight cells along the diameter show what happens, sixteen and more measure it. The body sees the walls by the
    pressure between alone and stops nowhere: leaving a domain with sides makes the state NaN, which `rollout` reports.

    Args:
        flow: The fluid: two uniform axes, `RungeKutta`, no solid. Its forces act on the fluid outside and on what is in
            the place of the body; a uniform weight is `gravity` instead, with its pressure taken away.
        body: The body.
        gravity: $g$, one number for each axis.
        tolerance: Of the pressure, relative to the divergence that it removes. Default: 1e-5 in float32, 1e-10 in
            float64. Momentum is conserved with any.

    Raises:
        InputError: for a flow that has a solid, another stepping, or another grid.

    Examples:
        >>> grid = dp.Grid((32, 64), (2.0, 4.0))
        >>> flow = dp.IncompressibleFlow(grid, 0.01, 0.01, dp.Wall(), stepping=dp.RungeKutta(3))
        >>> bubble = dp.RigidBodyFlow(flow, dp.RigidBody.disk(0.3, density=0.1), gravity=(0.0, -1.0))
        >>> final, _ = dp.rollout(bubble, bubble.initial_state((1.0, 1.0)), 20)
        >>> bool(final.velocity[1] > 0)  # it rises
        True
    """

    flow: IncompressibleFlow = eqx.field(metadata=choice(IncompressibleFlow))
    body: RigidBody = eqx.field(metadata=choice(RigidBody))
    gravity: Array = eqx.field(converter=quantity, metadata=within(scalar=False), default=(0.0, 0.0))
    tolerance: float | None = eqx.field(static=True, default=None)

    def refused(self) -> Refusals:
        flow, given = self.flow, self.tolerance
        wrong = given is not None and not (isinstance(given, float) and 0 < given < 1)
        yield wrong, f"tolerance is {shown(given)}; None or a number between 0 and 1 is accepted."
        yield flow.grid.dimensions != 2, f"flow has {flow.grid.dimensions} axes; two are accepted."
        yield not all(flow.grid.uniform), "flow has a stretched grid; one of uniform axes is accepted."
        yield flow.solid is not None, "flow has a solid beside the body; a flow without one is accepted."
        words = f"flow has stepping={flow.stepping!r}; RungeKutta(...) is accepted."
        yield not isinstance(flow.stepping, RungeKutta), words
        yield flow.order != 2, f"flow has advection={flow.advection!r}; a scheme of second order is accepted."
        words = f"flow has cells of the sizes {flow.grid.spacing}; sizes between 1e-5 and 1e5 are accepted."
        yield unit_of(flow.grid) != 1.0, words
        yield from wrong_shape("gravity", self.gravity, (2,))

    @property
    def grid(self) -> Grid:
        """The flow's grid."""
        return self.flow.grid

    @property
    def dt(self) -> Array:
        """The duration of a step."""
        return self.flow.dt

    def initial_state(
        self,
        position: Any,
        angle: ArrayLike = 0.0,
        velocity: Any = (0.0, 0.0),
        rotation_rate: ArrayLike = 0.0,
        flow: FlowState | None = None,
    ) -> RigidBodyState:
        """The body at a place and with a motion, the fluid around it free of divergence.

        Args:
            position: Of the center of mass, (2,).
            angle: In radians, counterclockwise.
            velocity: Of the center of mass, (2,).
            rotation_rate: Radians per time.
            flow: The fluid before the body is put there. Default: that of `IncompressibleFlow.initial_state`.

        Raises:
            InputError: for a body that is not within the domain, and numbers that are not finite.
        """
        flow = self.flow.initial_state() if flow is None else flow
        flow_sides.check_state("RigidBodyFlow", self.grid, flow, self.flow.scalars)
        given = dict(position=(position, (2,)), angle=(angle, ()), velocity=(velocity, (2,)))
        given |= dict(rotation_rate=(rotation_rate, ()))
        dtype = flow.velocity[0].values.dtype
        parts = {
            name: as_array_of_shape("initial_state", name, value, shape).astype(dtype)
            for name, (value, shape) in given.items()
        }
        inside = concrete(self._inside(parts["position"], parts["angle"]))
        if inside is not None and not inside:
            place = ", ".join(f"{entry:g}" for entry in np.asarray(concrete(parts["position"])))
            raise InputError(
                f"initial_state: position is ({place}), where the body is not within the domain, which is "
                f"{self.grid}; a place where all of it is within is accepted."
            )
        return _made(self, RigidBodyState(flow, **parts))

    def __call__(self, state: RigidBodyState, given: RigidBodyInput | None = None) -> RigidBodyState:
        """The state one `dt` later.

        Args:
            state: The state.
            given: What acts in this step.
        """
        return self.reported(state, given)[0]

    def reported(self, state: RigidBodyState, given: RigidBodyInput | None = None) -> tuple[RigidBodyState, Solution]:
        """The state one `dt` later, and what the pressure's solver says of itself."""
        check_parts(
            "RigidBodyFlow", state, ("flow", "position", "angle", "velocity", "rotation_rate"), "a RigidBodyState"
        )
        flow_sides.check_state("RigidBodyFlow", self.grid, state.flow, self.flow.scalars)
        values = state.flow.velocity[0].values
        step = in_precision_of("RigidBodyFlow", self, values)
        following, solution = step._step(state, *step._acting(given, values))
        return of_types(following, state), solution

    def momentum(self, state: RigidBodyState) -> Array:
        r"""$\int u\, dx + (M - A) V$, of fluid and body together, (2,): in a periodic box no step changes it but by the
        forces.
        """
        volume = float(np.prod(self.grid.spacing))
        total = jnp.stack([volume * jnp.sum(part.values) for part in state.flow.velocity])
        return total + (self.body.mass - self.body.area) * state.velocity

    def kinetic_energy(self, state: RigidBodyState) -> Array:
        r"""$\tfrac12 \int u^2\, dx + \tfrac12 (M - A) V^2 + \tfrac12 (\Theta - \Theta_A) \omega^2$."""
        excess = self.body.mass - self.body.area, self.body.moment - self.body.area_moment
        own = excess[0] * jnp.sum(state.velocity**2) + excess[1] * state.rotation_rate**2
        return self.flow.kinetic_energy(state.flow) + own / 2

    def courant_number(self, state: RigidBodyState) -> Array:
        """The largest `dt |u_a| / h_a` over all faces and axes."""
        return self.flow.courant_number(state.flow)

    def diffusion_number(self, state: RigidBodyState) -> Array:
        """`dt` over the longest step for which diffusion is stable."""
        return self.flow.diffusion_number(state.flow)

    # The parts of a step ----------------------------------------------------------------------------------------------

    def _acting(self, given: RigidBodyInput | None, values: Array) -> tuple[Array, FlowInput]:
        """The force and torque of a control in one array, and what acts on the fluid."""
        given = RigidBodyInput() if given is None else given
        if not isinstance(given, RigidBodyInput):
            raise InputError(f"RigidBodyFlow: the input is {shown(given)}; a RigidBodyInput is accepted.")
        force, torque = given.force, given.torque
        refuse("RigidBodyInput", wrong_shape("force", force, (2,), ()))
        refuse("RigidBodyInput", wrong_shape("torque", torque, ()))
        push = jnp.concatenate([jnp.broadcast_to(force, (2,)), torque[None]]).astype(values.dtype)
        return push, self.flow._input(given.flow, values)

    def _step(self, state: RigidBodyState, push: Array, acting: FlowInput) -> tuple[RigidBodyState, Solution]:
        flow, before = self.flow, state.flow
        space = flow.volumes(before.time, acting, before.velocity[0].values.dtype)
        carrier = space.variables.velocity_fields([part.values for part in before.velocity])
        unknowns = (tuple(part.values for part in carrier), {n: before.scalars[n].values for n in flow.scalars})
        moved: Any = flow.stepping.advance(_Carried(flow, carrier), unknowns, flow.dt, before.after, acting).state

        position = state.position + self.dt * state.velocity
        angle = state.angle + self.dt * state.rotation_rate
        time, remainder = later(before.time, before.time_remainder, self.dt)
        space = flow.volumes(time, acting, before.velocity[0].values.dtype)
        fields = space.variables.velocity_fields(moved[0])
        fields = flow_sides.balanced(space.variables.sides, space.impose(fields), space.carrier)

        cuts = self._cuts(fields, position, angle)
        motion = jnp.append(state.velocity, state.rotation_rate)
        weight = jnp.append((self.body.mass - self.body.area) * self.gravity, 0.0)
        kept, cuts, momentum = self._bound(fields, cuts, motion)
        momentum = momentum + self.dt * (push + weight)
        velocity, motion, solution = self._couple(space, kept, cuts, momentum, motion)
        inside = self._inside(position, angle)
        motion = jnp.where(inside, motion, jnp.nan)
        after = flow._state(velocity, solution.pressure / self.dt, moved[1], time, remainder, acting)
        return RigidBodyState(after, position, angle, motion[:2], motion[2]), solution

    def _inside(self, position: Array, angle: Array) -> Array:
        """Whether no part of the body is on a side: of its distance at the middles of the outermost cells' sides."""
        shape, grid = self.body.at(position, angle), self.grid
        clear = jnp.asarray(True)
        for axis, pair in enumerate(self.flow.sides):
            other = 1 - axis
            for end, side in enumerate(pair):
                if isinstance(side, Periodic):
                    continue
                line = jnp.asarray(np.linspace(grid.edges[other][0], grid.edges[other][-1], 2 * grid.cells[other] + 1))
                at = [line.astype(position.dtype)] * 2
                at[axis] = jnp.full((), grid.edges[axis][-end], position.dtype)
                clear = clear & (jnp.min(shape.distance(at)) > 0)
            low, high = grid.edges[axis][0], grid.edges[axis][-1]
            if not isinstance(pair[0], Periodic):
                clear = clear & (position[axis] > low) & (position[axis] < high)
        return clear

    def _cuts(self, fields: Sequence[Field], position: Array, angle: Array) -> tuple[_Cut, ...]:
        """How the body covers the faces of each axis."""
        shape = self.body.at(position, angle).repeated(periods(self.grid, self.flow.sides))
        return tuple(self._cut(shape, field, axis, position) for axis, field in enumerate(fields))

    def _cut(self, shape: Shape, field: Field, axis: int, position: Array) -> _Cut:
        spacing, dtype, other = self.grid.spacing, field.values.dtype, 1 - axis
        points = [point.astype(dtype) for point in field.coordinates()]

        def distance(a: int, shift: float) -> Array:
            at = [point + (shift * spacing[a] if b == a else 0.0) for b, point in enumerate(points)]
            return jnp.broadcast_to(shape.distance(at), field.shape)

        ends = [(distance(a, -0.5), distance(a, 0.5)) for a in (0, 1)]
        # Of each half of a face the open part, where the distance is linear, and the distance integrated over it.
        low, high = ends[other]
        parts = [_open_half(low, distance(axis, 0.0)), _open_half(distance(axis, 0.0), high)]
        open_ = (parts[0][0] + parts[1][0]) / 2
        # Of a slip that is counted over the whole face the distance counts by the face's open part.
        apart = (parts[0][1] + parts[1][1]) / 2
        open_ = jnp.where(open_ > LEAST_OPENING, open_, 0.0)
        viscosity = jnp.max(self.flow.viscosity)
        excess: Any = 0.0  # beta times the distance, over viscosity and step
        for a, (before, behind) in enumerate(ends):
            slope = jnp.abs(behind - before) / spacing[a]
            excess = excess + jnp.maximum(slope / spacing[a] - apart / spacing[a] ** 2, 0.0)
        beta = viscosity * self.dt * excess
        total = beta + apart
        friction = jnp.where((open_ > 0) & (total > 0), beta / jnp.where(total > 0, total, 1.0), 1.0)

        arms = _arms(points, position, periods(self.grid, self.flow.sides))
        turn = jnp.broadcast_to(-arms[1] if axis == 0 else arms[0], field.shape)
        ones = jnp.ones(field.shape, dtype)
        rigid = jnp.stack([ones if axis == 0 else 0 * ones, ones if axis == 1 else 0 * ones, turn], -1)
        return _Cut(1 - open_, friction, rigid)

    def _excess(self) -> Array:
        """What the body's mass and moment are beyond the fluid's in its place, (3, 3)."""
        body = self.body
        return jnp.diag(jnp.stack([body.mass - body.area] * 2 + [body.moment - body.area_moment]))

    def _inverse(self, matrix: Array) -> Array:
        """The inverse of a mass matrix, of a body that does not turn without its last row."""
        if self.body.turns:
            return jnp.linalg.inv(matrix)
        return jnp.zeros_like(matrix).at[:2, :2].set(jnp.linalg.inv(matrix[:2, :2]))

    def _within(self, cuts: tuple[_Cut, ...], parts: Sequence[Array]) -> Array:
        """`R^T` of values on the faces, integrated."""
        volume = float(np.prod(self.grid.spacing))
        terms = [jnp.tensordot(part, cut.rigid, 2) for part, cut in zip(parts, cuts, strict=True)]
        return volume * sum(terms[1:], terms[0])

    def _mass(self, cuts: tuple[_Cut, ...], parts: Sequence[Array]) -> Array:
        """`R^T parts R`, integrated."""
        volume = float(np.prod(self.grid.spacing))
        terms = [
            jnp.tensordot(part[..., None] * cut.rigid, cut.rigid, ((0, 1), (0, 1)))
            for part, cut in zip(parts, cuts, strict=True)
        ]
        return volume * sum(terms[1:], terms[0])

    @jax.named_scope("friction")
    def _bound(
        self, fields: Sequence[Field], cuts: tuple[_Cut, ...], motion: Array
    ) -> tuple[list[Field], tuple[_Cut, ...], Array]:
        """What the fluid keeps of its own velocity, the parts of faces that go with the body, fluid that rubs at it
        included, and its momentum with what it takes from the fluid.
        """
        bodies = [cut.covered * cut.moving(motion) for cut in cuts]
        kept = [
            field.with_values((1 - cut.friction) * (field.values - body))
            for field, cut, body in zip(fields, cuts, bodies, strict=True)
        ]
        taken = [field.values - own.values for field, own in zip(fields, kept, strict=True)]
        bound = tuple(cut._replace(covered=cut.covered + (1 - cut.covered) * cut.friction) for cut in cuts)
        return kept, bound, self._excess() @ motion + self._within(cuts, taken)

    @jax.named_scope("projection")
    def _couple(
        self, space: FiniteVolumes, kept: Sequence[Field], cuts: tuple[_Cut, ...], momentum: Array | None, motion: Array
    ) -> tuple[tuple[Array, ...], Array, Solution]:
        """Velocity and motion without divergence, of a body with this momentum; without one, None, its motion stays."""
        grid, variables = self.grid, space.variables
        covered = [cut.covered for cut in cuts]
        inverse = self._inverse(self._excess() + self._mass(cuts, covered))
        if momentum is None:
            inverse = jnp.zeros_like(inverse)
        else:
            motion = inverse @ momentum
        fields = [
            field.with_values(field.values + cut.covered * cut.moving(motion))
            for field, cut in zip(kept, cuts, strict=True)
        ]
        conditions = variables.potential_field(jnp.zeros(grid.cells, fields[0].values.dtype)).conditions
        problem = VariableProblem.from_conditions(grid, conditions, [1 - one for one in covered])
        parts = [
            [field.with_values(cut.covered * cut.rigid[..., j]) for field, cut in zip(fields, cuts, strict=True)]
            for j in range(3)
        ]
        fluxes = jnp.stack([divergence(part).values for part in parts], -1)
        volume = float(np.prod(grid.spacing))
        solution = solve_with_low_rank(problem, fluxes, volume * inverse, divergence(fields).values, self.tolerance)
        potential = variables.potential_field(solution.pressure)
        slopes = [
            without_fixed_ends(field, axis, difference(potential, axis).values) for axis, field in enumerate(fields)
        ]
        change = -inverse @ self._within(cuts, [c * slope for c, slope in zip(covered, slopes, strict=True)])
        velocity = tuple(
            field.values - (1 - cut.covered) * slope + cut.covered * cut.moving(change)
            for field, cut, slope in zip(fields, cuts, slopes, strict=True)
        )
        return velocity, motion + change, solution


class _Carried(eqx.Module):
    """The right sides of a flow with a velocity that carries, for a Runge-Kutta method."""

    flow: IncompressibleFlow
    carrier: tuple[Field, ...]

    def rate(self, time: Array, state: Unknowns, given: FlowInput) -> Unknowns:
        space = self.flow.volumes(time, given, state[0][0].dtype)
        return self.flow.carried_rate(space, state, self.carrier, given)

    def stiff_rate(self, time: Array, state: Unknowns, given: FlowInput) -> Unknowns:
        return self.flow.stiff_rate(time, state, given)


@eqx.filter_jit
def _made(step: RigidBodyFlow, state: RigidBodyState) -> RigidBodyState:
    """The state with fluid and body put together, as one compiled program."""
    flow = step.flow
    space = flow.volumes(state.flow.time, None, state.flow.velocity[0].values.dtype)
    fields = space.variables.velocity_fields([part.values for part in state.flow.velocity])
    cuts = step._cuts(fields, state.position, state.angle)
    motion = jnp.append(state.velocity, state.rotation_rate)
    kept = [field.with_values((1 - cut.covered) * field.values) for field, cut in zip(fields, cuts, strict=True)]
    velocity, _, _ = step._couple(space, kept, cuts, None, motion)
    made = flow._state(
        velocity,
        jnp.zeros_like(state.flow.pressure.values),
        {name: field.values for name, field in state.flow.scalars.items()},
        state.flow.time,
        state.flow.time_remainder,
    )
    return dataclasses.replace(state, flow=of_types(made, state.flow))


def _open_half(first: Array, second: Array) -> tuple[Array, Array]:
    """Of a line with these distances at its ends the part where they are positive, and their integral over it."""
    width = jnp.abs(first) + jnp.abs(second)
    part = jnp.maximum(first, 0) + jnp.maximum(second, 0)
    part = part / jnp.where(width > 0, width, 1.0)
    return part, part * (jnp.maximum(first, 0) + jnp.maximum(second, 0)) / 2


def _arms(points: list[Array], position: Array, lengths: Periods) -> list[Array]:
    """From the center of mass to some points, along periodic axes that of the nearest image."""
    arms = []
    for axis, (point, period) in enumerate(zip(points, lengths, strict=True)):
        arm = point - position[axis]
        arms.append(arm if period is None else arm - jax.lax.stop_gradient(period * jnp.round(arm / period)))
    return arms
