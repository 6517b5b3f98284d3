"""What the sides of a domain mean for the variables of an incompressible flow; shared by its integrators."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from diffphys.errors import InputError
from diffphys.grids import (
    Condition,
    Conditions,
    ConvectiveOutflow,
    Dirichlet,
    Field,
    Grid,
    Inflow,
    Kept,
    Neumann,
    Open,
    Outflow,
    Periodic,
    Robin,
    Side,
    Sides,
    Unknown,
    Wall,
    as_array_of_shape,
    center_offset,
    check_field,
    face_offset,
)
from diffphys.grids.axes import slab
from diffphys.grids.ends import lengths_beside
from diffphys.grids.field import check_parts, check_velocity
from diffphys.grids.numbers import as_components, check_names, concrete
from diffphys.grids.sides import part_of
from diffphys.linear import along_axis
from diffphys.operators import convert
from diffphys.operators.differences import among_zeros, line_at
from diffphys.poisson import PressureProblem
from diffphys.poisson.problem import null_space


def velocity_conditions(sides: Sides, component: int) -> Conditions:
    """What the sides mean for one velocity component."""
    return tuple(
        tuple(_velocity_condition(component, axis, end, side) for end, side in enumerate(pair))
        for axis, pair in enumerate(sides)
    )  # pyright: ignore[reportReturnType]


def pressure_conditions(sides: Sides, free: type[Condition]) -> Conditions:
    """What the sides mean for the pressure; where the velocity is free holds `free`, `Ghost` or `Dirichlet`."""
    return tuple(
        (_pressure_condition(axis, lower, free), _pressure_condition(axis, upper, free))
        for axis, (lower, upper) in enumerate(sides)
    )


def homogeneous_pressure_conditions(sides: Sides, free: type[Condition]) -> Conditions:
    """What the sides mean for a correction of the pressure, which changes nothing of what is given."""
    return tuple(
        tuple(side if isinstance(side, Periodic) else free() if side.is_free else Neumann(0.0) for side in pair)
        for pair in sides
    )  # pyright: ignore[reportReturnType]


def scalar_conditions(sides: Sides) -> Conditions:
    """What the sides mean for a scalar at rest."""
    return tuple((_scalar_condition(lower), _scalar_condition(upper)) for lower, upper in sides)


def diffused_conditions(sides: Sides, scalar: Array, velocity: Sequence[Field]) -> Conditions:
    """What the sides mean for the diffusion of a scalar: nothing diffuses through a side where fluid leaves.

    There an inflow has the value inside, which makes the slope zero: the kind of a condition is known before the
    program runs, the direction of the flow is not.

    Args:
        sides: The sides.
        scalar: The scalar's values at the cell centers.
        velocity: The velocity, with its normal values on the sides.
    """

    def at(axis: int, end: int, side: Side) -> Condition:
        condition = _scalar_condition(side)
        if not isinstance(side, Inflow):
            return condition
        inward, inside = _inward(velocity[axis], axis, end), slab(scalar, axis, -end)
        return Dirichlet(jnp.where(inward < 0, inside, side.scalar.astype(scalar.dtype)))

    return _for_each_end(sides, at)


def carried_conditions(sides: Sides, scalar: Array, velocity: Sequence[Field], *, at_rest: float) -> Conditions:
    """What the sides mean for a scalar that is carried: what leaves has the value inside, what enters that outside.

    Args:
        sides: The sides.
        scalar: The scalar's values at the cell centers.
        velocity: The velocity, with its normal values on the sides.
        at_rest: The weight of the value outside where the normal velocity is zero. The flux there is zero whatever it
            is; with 1/2 its derivative by the velocity is the mean of both sides'.
    """

    def at(axis: int, end: int, side: Side) -> Condition:
        given = side.scalar if isinstance(side, (Inflow, Outflow, Open, ConvectiveOutflow)) else None
        if given is None:
            return _scalar_condition(side)
        inward, inside = _inward(velocity[axis], axis, end), slab(scalar, axis, -end)
        outside = given.astype(scalar.dtype)
        between = inside + at_rest * (outside - inside)
        return Dirichlet(jnp.where(inward > 0, outside, jnp.where(inward < 0, inside, between)))

    return _for_each_end(sides, at)


def entering_from_rest(sides: Sides, velocity: Sequence[Field], carrier: Sequence[Field]) -> list[Array | None]:
    r"""What takes away the kinetic energy that convection brings in through sides where fluid enters freely.

    Skew-symmetric convection changes the energy by $-\tfrac12 \int v_n |v|^2$ through the sides, which is a gain where
    $v_n < 0$. There the momentum $\tfrac12 v_n^- v$ per area and time, $v_n^- = \min(v_n, 0)$, is added: the
    directional do-nothing condition of Bruneau and Fabrie (1994), whose energy estimate is in Braack and Mucha (2014).
    It is zero where $v_n = 0$, so that it has no jump.

    For the second-order scheme the gain is that very sum, with the normal velocity one cell inside in the place of one
    of the two normal factors, and none is left: the energy of a flow without forces never grows.

    Args:
        sides: The sides.
        velocity: The velocity.
        carrier: What crosses the faces: the velocity, around an immersed body its fluid and the body.

    Returns:
        For each axis what is added to the rate of that component, or None where no side is of this kind.
    """
    added: list[Array | None] = [None] * len(velocity)
    for direction, pair in enumerate(sides):
        for end, side in enumerate(pair):
            if not (isinstance(side, (Outflow, Open)) and side.from_rest):
                continue
            for axis, component in enumerate(velocity):
                grid, values = component.grid, component.values
                sign = 1.0 if end else -1.0
                if axis == direction:
                    width = float(grid.widths(direction)[-end])
                    outward = sign * line_at(carrier[axis].values, axis, -2 if end else 1)
                    factor = jnp.minimum(outward, 0) / width
                else:
                    width = float(grid.widths(direction)[-end])
                    outward = sign * line_at(carrier[direction].values, direction, -end)
                    factor = jnp.minimum(_mean_over(outward, grid, axis, component.periodic[axis]), 0) / (2 * width)
                part = factor * line_at(values, direction, -end)
                part = among_zeros(part, direction, -end, values.shape[direction])
                before = added[axis]
                added[axis] = part if before is None else before + part
    return added


def convective_sides(sides: Sides) -> list[tuple[int, int, ConvectiveOutflow]]:
    """The axis, the end and the side of each convective outflow."""
    return [
        (axis, end, side)
        for axis, pair in enumerate(sides)
        for end, side in enumerate(pair)
        if isinstance(side, ConvectiveOutflow)
    ]


def with_convective_ends(
    sides: Sides,
    velocity: Sequence[Field],
    carrier: Sequence[Field],
    convected: Sequence[Field],
    rates: Sequence[Array],
) -> tuple[Array, ...]:
    r"""The rates of the velocity with those of convective outflows.

    Of the points that lie nearest to such a side the normal velocities, on the side itself, change by
    $-U\, \partial v / \partial n$ alone, and the pressure does not act on them. For the tangential ones, half a cell
    inside, that takes the place of convection; viscosity, forces and pressure act on them as elsewhere. The derivative
    is that of the parabola through the nearest three points, of second order.

    Args:
        sides: The sides.
        velocity: The velocity.
        carrier: What crosses the faces.
        convected: What convection changes elsewhere, as it was taken from the rates.
        rates: The rates of the velocity.
    """
    changed = list(rates)
    for direction, end, side in convective_sides(sides):
        speed = _speed(side, carrier[direction], direction, end)
        for axis, component in enumerate(velocity):
            rate = -speed * _outward_slope(component, direction, end)
            if axis != direction:
                rest = slab(changed[axis], direction, -end) + slab(convected[axis].values, direction, -end)
                rate = rest + rate
            changed[axis] = _with_slab(changed[axis], direction, end, rate)
    return tuple(changed)


def kept(sides: Sides, velocity: Sequence[Field], changed: Sequence[Array]) -> tuple[Array, ...]:
    """The changed velocity, with its normal values on convective outflows as they were."""
    values = list(changed)
    for axis, end, _ in convective_sides(sides):
        values[axis] = _with_slab(values[axis], axis, end, slab(velocity[axis].values, axis, -end))
    return tuple(values)


def carried_out(sides: Sides, velocity: Sequence[Field], carried: Sequence[Array], dt: Array) -> tuple[Array, ...]:
    """The velocity carried over a step, with its normal values on convective outflows: `v' = v - dt U dv'/dn` with the
    difference to the next face, which is bounded for every step.

    Args:
        sides: The sides.
        velocity: The velocity before.
        carried: Its values after, elsewhere.
        dt: Duration of the step.
    """
    changed = list(carried)
    for axis, end, side in convective_sides(sides):
        component, width = velocity[axis], float(velocity[axis].grid.widths(axis)[-end])
        courant = _speed(side, component, axis, end) * dt.astype(component.values.dtype) / width
        before, inside = slab(component.values, axis, -end), slab(changed[axis], axis, -2 if end else 1)
        changed[axis] = _with_slab(changed[axis], axis, end, (before + courant * inside) / (1 + courant))
    return tuple(changed)


def balanced(
    sides: Sides, velocity: tuple[Field, ...], carrier: Callable[[Sequence[Field]], Sequence[Field]]
) -> tuple[Field, ...]:
    """The velocity with one speed added on all convective outflows, so that as much leaves as enters. Where a pressure
    is given on another side, that has as much pass as is needed, and nothing is added.

    Args:
        sides: The sides.
        velocity: The velocity with its given values.
        carrier: From a velocity to what crosses the faces.
    """
    ends = convective_sides(sides)
    if not ends or any(not isinstance(side, Periodic) and side.is_free for pair in sides for side in pair):
        return velocity
    unit = [jnp.zeros_like(part.values) for part in velocity]
    for axis, end, _ in ends:
        unit[axis] = _with_slab(unit[axis], axis, end, jnp.full((), 1.0 if end else -1.0, unit[axis].dtype))
    net, area = (
        _outflow(sides, carrier(parts))
        for parts in (velocity, [part.with_values(part.values + one) for part, one in zip(velocity, unit, strict=True)])
    )
    area = area - net
    speed = jnp.where(area > 0, -net / jnp.where(area > 0, area, 1.0), 0.0)
    return tuple(part.with_values(part.values + speed * one) for part, one in zip(velocity, unit, strict=True))


def _outflow(sides: Sides, carrier: Sequence[Field]) -> Array:
    """The volume that leaves through all sides per time, in the units of `Grid.units`."""
    total = jnp.zeros((), carrier[0].values.dtype)
    for axis, pair in enumerate(sides):
        for end, side in enumerate(pair):
            if not isinstance(side, Periodic):
                total = total - jnp.sum(_areas(carrier[axis], axis) * _inward(carrier[axis], axis, end))
    return total


def face_areas(grid: Grid, axis: int) -> np.ndarray:
    """The area of each face normal to an axis, with extent 1 along it."""
    lines = [np.ones(1) if other == axis else grid.widths(other) for other in range(grid.dimensions)]
    return functools.reduce(np.multiply.outer, lines)


def _areas(component: Field, axis: int) -> Array:
    """The same in the units of `Grid.units`."""
    grid = component.grid
    unit = np.prod([grid.units[other] for other in range(grid.dimensions) if other != axis])
    return jnp.asarray(face_areas(grid, axis) / unit, component.values.dtype)


def _speed(side: ConvectiveOutflow, component: Field, axis: int, end: int) -> Array:
    """The speed at which all is carried out of a side."""
    if side.speed is not None:
        return side.speed.astype(component.values.dtype)
    areas = _areas(component, axis)
    return jnp.maximum(-jnp.sum(areas * _inward(component, axis, end)) / jnp.sum(areas), 0)


def _outward_slope(component: Field, axis: int, end: int) -> Array:
    """The derivative along the outward normal at the points nearest to a side, from them and the two behind them."""
    grid, dtype = component.grid, component.values.dtype
    edges = grid.edges[axis] / grid.units[axis]
    line = edges if component.offset[axis] == 0.0 else (edges[1:] + edges[:-1]) / 2
    line = np.abs(line - line[-end])[::-1] if end else np.abs(line - line[0])
    values = [slab(component.values, axis, -1 - step if end else step) for step in range(min(len(line), 3))]
    if len(values) < 3:
        weights = [1 / line[1], -1 / line[1]] if len(values) == 2 else [0.0]
    else:
        _, near, far = line[:3]
        weights = [1 / near + 1 / far, -far / (near * (far - near)), near / (far * (far - near))]
    terms = [jnp.asarray(weight, dtype) * value for weight, value in zip(weights, values, strict=True)]
    return sum(terms[1:], terms[0]) / jnp.asarray(grid.units[axis], dtype)


def _with_slab(values: Array, axis: int, end: int, part: Array) -> Array:
    """`values` with others at one end of an axis."""
    index = (slice(None),) * axis + (slice(-1, None) if end else slice(0, 1),)
    return values.at[index].set(part)


def _mean_over(flux: Array, grid: Grid, axis: int, periodic: bool) -> Array:
    """From cells to the faces of an axis: the mean of what crosses both cells' part of a side, of one cell at an end.

    As a product, which stands in memory. As two arrays side by side it would be made anew, with a branch, in every
    element of the loop that reads it.
    """
    below, above = lengths_beside(grid.widths(axis), periodic)
    faces, cells = np.arange(len(below)), grid.cells[axis]
    means = np.zeros((len(faces), cells))
    for lengths, beside in ((below, faces - 1), (above, faces)):
        cell = beside % cells if periodic else np.clip(beside, 0, cells - 1)
        np.add.at(means, (faces, cell), lengths / (below + above))
    return along_axis(means, flux, axis)


def _for_each_end(sides: Sides, condition: Callable[[int, int, Side], Condition]) -> Conditions:
    return tuple((condition(axis, 0, lower), condition(axis, 1, upper)) for axis, (lower, upper) in enumerate(sides))


def _inward(component: Field, axis: int, end: int) -> Array:
    """The normal velocity into the domain at one of its sides."""
    normal = slab(component.values, axis, -end)
    return -normal if end else normal


def imposed(axis: int, component: Field) -> Field:
    """The component with its fixed normal values on the sides."""
    # Products with constant masks: they fuse with what comes before, where pieces put side by side would not.
    values, dtype = component.values, component.values.dtype
    free, given = np.ones(values.shape, bool), []
    for end, condition in enumerate(component.conditions[axis]):
        value = condition.value_on_side
        if value is not None:
            side = np.zeros(values.shape, bool)
            side[(slice(None),) * axis + ((0, -1)[end],)] = True
            free &= ~side
            given.append(value.astype(dtype) * jnp.asarray(side, dtype))
    return component.with_values(sum(given, values * jnp.asarray(free, dtype)) if given else values)


def stream(sides: Sides) -> list[Array]:
    """For each axis the mean of the normal speeds at its two sides, which the inflows drive."""
    speeds = []
    for axis, pair in enumerate(sides):
        conditions = velocity_conditions(sides, axis)[axis]
        values = [end.value_on_side for end in conditions if end.value_on_side is not None]
        moving = [value for value, side in zip(values, pair, strict=False) if isinstance(side, Inflow)] or values
        speeds.append(sum(moving[1:], moving[0]) / len(moving) if moving else jnp.zeros(()))
    return speeds


def check_state(owner: str, grid: Grid, state: Any, scalars: Mapping[str, Any], *, on_faces: bool = True) -> None:
    """Raise `InputError` unless it is a state of a flow on this grid that carries these scalars. Costs nothing in a
    compiled program: it looks at nothing but the places of the fields. With `on_faces` the velocity is on the faces.
    """
    check_parts(owner, state, ("velocity", "pressure", "scalars", "time"), "a FlowState")
    check_velocity(owner, "the state's velocity", state.velocity, grid, on_faces=on_faces)
    for name, field in (("pressure", state.pressure), *((f"scalar {name!r}", s) for name, s in state.scalars.items())):
        check_field(owner, f"the state's {name}", field, grid, center_offset(grid))
    check_names(owner, "the state's scalars", state.scalars, scalars)


def velocity_on_faces(owner: str, grid: Grid, sides: Sides, velocity: Sequence[Any]) -> list[Any]:
    """Fields at the centers are brought to the faces (`operators.convert`); numbers and arrays are left as they are.

    Raises:
        InputError: for a field of another grid or at another place.
    """
    parts = []
    for axis, part in enumerate(as_components(owner, "velocity", velocity, grid.dimensions)):
        if isinstance(part, Field):
            check_field(owner, f"velocity[{axis}]", part, grid)
            if part.offset not in (center_offset(grid), face_offset(grid, axis)):
                given = f"velocity[{axis}] is a field at offset {part.offset} of {part.grid}"
                raise InputError(f"{owner}: {given}; one at the centers or at the faces of {grid} is accepted.")
            if part.offset == center_offset(grid):
                conditions = tuple(  # a profile along another axis has as many entries as there are faces
                    pair if other == axis or isinstance(pair[0], Periodic) else (Unknown(), Unknown())
                    for other, pair in enumerate(velocity_conditions(sides, axis))
                )
                part = convert(part.with_conditions(conditions), face_offset(grid, axis))
            part = part.values
        parts.append(part)
    return parts


def forces_on_faces(owner: str, force: Sequence[ArrayLike], velocity: Sequence[Field]) -> list[Array]:
    """The force of each axis as an array over its faces.

    Raises:
        InputError: for another number of axes or arrays of another shape.
    """
    parts = []
    for axis, (component, part) in enumerate(
        zip(velocity, as_components(owner, "force", force, len(velocity)), strict=True)
    ):
        if isinstance(part, Field):
            check_field(owner, f"force[{axis}]", part, component.grid, component.offset)
            part = part.values
        part = as_array_of_shape(owner, f"force[{axis}]", part, component.shape)
        parts.append(part.astype(component.values.dtype))
    return parts


def given_flows(
    grid: Grid, sides: Sides, problem: PressureProblem, open_parts: Callable[[], Sequence[np.ndarray]] | None = None
) -> list[tuple[float, float, bool]]:
    """For each region in which no pressure is fixed the volume per time that inflows let into it, net and in all, and
    whether a convective outflow drains it. Where an obstacle stands in an inflow nothing comes in. Nothing is said
    where a speed is not known.

    Args:
        grid: The grid.
        sides: The sides.
        problem: The pressure problem, with the cells of an obstacle.
        open_parts: For each axis the part of each of its faces that an immersed body leaves open, found when needed.
    """
    inflows = {
        (axis, end): concrete(side.speed)
        for axis, pair in enumerate(sides)
        for end, side in enumerate(pair)
        if isinstance(side, Inflow)
    }
    known = {place: speed for place, speed in inflows.items() if speed is not None}
    if not known or len(known) < len(inflows):
        return []
    flows, parts = [], None
    for region in null_space(problem):
        fluid = (region != 0) & ~problem.solid_cells
        drains = any(fluid.take(-end, axis).any() for axis, end, _ in convective_sides(sides))
        net, gross = 0.0, 0.0
        for (axis, end), speed in known.items():
            through = face_areas(grid, axis).squeeze(axis) * np.where(fluid.take(-end, axis), speed, 0.0)
            if open_parts is not None and np.any(through):
                parts = open_parts() if parts is None else parts
                through = through * parts[axis].take(-end, axis)
            net, gross = net + float(np.sum(through)), gross + float(np.sum(np.abs(through)))
        flows.append((net, gross, drains))
    return flows


def _velocity_condition(component: int, axis: int, end: int, side: Side) -> Condition:
    tangential = component - (component > axis)
    match side:
        case Periodic():
            return side
        case Open():
            return Neumann(0.0)
        case ConvectiveOutflow():
            return Kept() if axis == component else Neumann(0.0)
        case Outflow(slope=slope):
            return Neumann(profile(part_of(slope, component), axis))
        case Inflow(speed=speed) if axis == component:
            speed = profile(speed, axis)
            return Dirichlet(-speed if end else speed)
        case Inflow(tangential=velocity):
            return Dirichlet(profile(part_of(velocity, tangential), axis))
        case Wall(slip=True) if axis != component:
            return Neumann(0.0)
        case Wall(velocity=velocity, slip_length=length) if axis != component and length is not None:
            return Robin(part_of(velocity, tangential), length)
        case Wall(velocity=velocity) if axis != component:
            return Dirichlet(part_of(velocity, tangential))
    return Dirichlet(0.0)


def _pressure_condition(axis: int, side: Side, free: Any) -> Condition:
    match side:
        case Periodic():
            return side
        case Outflow(pressure=pressure):
            return free(profile(pressure, axis))
        case Open():
            return free(0.0)
    return Neumann(0.0)


def _scalar_condition(side: Side) -> Condition:
    match side:
        case Periodic():
            return side
        case Inflow(scalar=value):
            return Dirichlet(value)
    return Neumann(0.0)


def profile(value: Array, axis: int) -> Array:
    """A profile along the side of an axis, with extent 1 along that axis; a number as it is."""
    return jnp.expand_dims(value, axis) if value.ndim else value


def have_pressure(sides: Sides) -> bool:
    """Whether an outflow is given a pressure other than zero, as far as it is known."""
    outflows = [side for pair in sides for side in pair if isinstance(side, Outflow)]
    known = [concrete(side.pressure) for side in outflows]
    return any(callable(side.pressure) for side in outflows) or any(one is not None and one.any() for one in known)
