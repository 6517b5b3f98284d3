"""The value found upstream by linear interpolation: a look-up for steps of any length."""

import dataclasses
import functools
import itertools
import operator
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from diffphys.devices import beside, choose
from diffphys.grids import Field, center_offset, check_field
from diffphys.grids.axes import at_axis, slice_axis
from diffphys.grids.conditions import pad_axis
from diffphys.linear import linear_map
from diffphys.operators.advection.look_ups import Bounded, as_largest_courant, check_carried
from diffphys.operators.advection.scheme import Advection
from diffphys.operators.differences import with_zeros
from diffphys.operators.interpolation import (
    Instead,
    SlopeShares,
    at_indices,
    index_of,
    interpolate,
    look_up,
    padded_for_look_up,
    slope_shares,
)
from diffphys.operators.obstructed import (
    check_closed,
    come_from_behind,
    longer_than_walls,
    look_up_within,
    pinched,
    points_near,
    thinnest_wall,
)


Limits = tuple[float, float] | None


@dataclasses.dataclass(frozen=True)
class SemiLagrangian(Bounded):
    """The value found upstream by linear interpolation: see `operators.semi_lagrangian`.

    Args:
        largest_courant: A bound on the Courant number in whole cells, for all axes or a tuple, for faster look-ups.

    Examples:
        >>> grid = dp.Grid((8, 8), (1.0, 1.0))
        >>> flow = dp.IncompressibleFlow(grid, 1e-3, 0.01, dp.Periodic(), advection=dp.SemiLagrangian(1))
        >>> later = flow(flow.initial_state((1.0, 0.0)))
    """

    largest_courant: int | tuple[int, ...] | None = None

    def carry(self, field: Field, velocity: Sequence[Field], dt: ArrayLike, closed: np.ndarray | None = None) -> Field:
        """The field one step later."""
        if closed is None or field.offset == center_offset(field.grid):
            return semi_lagrangian(field, velocity, dt, self.largest_courant, closed)
        carried = semi_lagrangian(field, velocity, dt, self.largest_courant)
        path = upstream_path(field, velocity, dt)
        carried = around_corners(carried, field, path, closed)
        (carried,) = nothing_from_behind([carried], [field], [path], closed, self.largest_courant)
        return carried


def semi_lagrangian(
    field: Field,
    velocity: Sequence[Field],
    dt: ArrayLike,
    largest_courant: int | tuple[int, ...] | None = None,
    closed: np.ndarray | None = None,
) -> Field:
    """One semi-Lagrangian step of `df/dt + v . grad f = 0`: each point takes the value found upstream.

    The point that arrives at x is looked up at `x - dt v(x)` (one backward Euler step of the characteristic) by
    multilinear interpolation (Courant, Isaacson, Rees 1952; Stam 1999). First order in time, unconditionally stable,
    never exceeds the extremes of the field and its ghost values, and damps what is not smooth. Points upstream of a
    bounded domain are moved to its boundary.

    Args:
        field: The field to carry, at any place; its conditions must define one ghost value at every end.
        velocity: The velocity's components on the faces, in units of length per time.
        dt: Duration of the step.
        largest_courant: If given, a bound on `dt |v_a| / h_a` in whole cells, one for all axes or a tuple. The
            look-up is then written as a sum of weighted shifts, several times faster on a CPU than the gathers that
            serve any Courant number, and otherwise the same to round-off. Where a bound is exceeded the result is NaN:
            a wrong value is never returned.
        closed: For each cell whether it is closed, for a centered field. Then a look-up reads no value of a closed cell
            and none from behind one (`operators.obstructed`), and in closed cells nothing changes. This takes gathers
            whatever bound is given.

    Returns:
        The carried field, with the conditions of `field`.
    """
    check_carried("semi_lagrangian", field, velocity, dt)
    largest_courant = as_largest_courant("semi_lagrangian", largest_courant, field.grid.dimensions)
    displacement = _upstream_displacements(field, velocity, dt)
    limits = [_limits(field, axis) for axis in range(field.grid.dimensions)]
    reach = (largest_courant,) * field.grid.dimensions if isinstance(largest_courant, int) else largest_courant
    if closed is not None:
        check_closed("semi_lagrangian", "closed", closed, field.grid.cells)
        check_field("semi_lagrangian", "field", field, offset=center_offset(field.grid))
    if closed is not None and closed.any():
        within = []
        for axis, (part, limit) in enumerate(zip(displacement, limits, strict=True)):
            if reach is not None:
                within.append(_confined(part, axis, limit, reach[axis]))
            else:
                within.append(_clipped(part, axis, limit))
        start = [_indices(field, axis, part.dtype) for axis, part in enumerate(within)]
        steps = None if reach is None else 2 * max(reach)
        return field.with_values(look_up_within(field, start, within, closed, steps))
    if reach is not None:
        return field.with_values(_weighted_shifts(field, displacement, limits, reach))
    return field.with_values(look_up(field, _wrapped(field, _within_domain(field, displacement))))


def around_corners(
    carried: Field, field: Field, path: Sequence[Array], closed: np.ndarray, instead: Instead = None
) -> Field:
    """`carried`, a look-up of a velocity component in three dimensions, without what lies behind a wall that stands
    aslant along all axes.

    Of the eight points around an upstream place the one that is farther along every axis may lie behind such a wall,
    though the way to the place is free. Near a cell of it the interpolation takes, of the point on the own side, its
    neighbor along each axis alone: `f + sum_a t_a (f_a - f)`, which differs by products of the fractions `t`.

    Args:
        carried: The result of the look-up.
        field: The component before.
        path: From each point to its upstream point, as `upstream_path` gives it.
        closed: For each cell whether it is closed.
        instead: As for `look_up`.
    """
    walls = pinched(closed, field.periodic) if field.grid.dimensions == 3 else closed[:0]
    if not walls.any():
        return carried
    near = points_near(field, walls, 1)
    base, toward, shares = [], [], []
    for axis, way in enumerate(path):
        index, backward = _indices(field, axis, way.dtype) + way, way < 0
        low, count = jnp.floor(index), field.shape[axis]
        start = low + backward
        shares.append(jnp.where(backward, start - index, index - start))
        start = start.astype(jnp.int32)
        base.append(jnp.mod(start, count) if field.periodic[axis] else jnp.clip(start, 0, count - 1))
        toward.append(jnp.where(backward, -1, 1))
    padded, which = padded_for_look_up(field, base, instead)
    here = at_indices(padded, (*(one + 1 for one in base), *which))
    value = here
    for axis, (step, share) in enumerate(zip(toward, shares, strict=True)):
        next_to = [one + 1 + step * (a == axis) for a, one in enumerate(base)]
        value = value + share * (at_indices(padded, (*next_to, *which)) - here)
    is_near = at_indices(beside(jnp.asarray(near), base), base)
    return field.with_values(jnp.where(is_near, value, carried.values))


def nothing_from_behind(
    carried: Sequence[Field],
    fields: Sequence[Field],
    paths: Sequence[Sequence[Array]],
    closed: np.ndarray,
    largest_courant: int | tuple[int, ...] | None = None,
) -> list[Field]:
    """`carried`, look-ups of velocity components around obstacles, without what lies behind them.

    Within an obstacle a look-up finds the zero on the faces of its cells. Where a displacement is longer than an
    obstacle is thick it may find the fluid on the other side: there the value is zero, that of the surface which the
    path meets. Where no displacement is so long nothing is done, and where a bound on the Courant number says so
    nothing is asked.

    Args:
        carried: The results of the look-ups.
        fields: The components before.
        paths: Of each component from each point to its upstream point, as `upstream_path` gives it.
        closed: For each cell whether it is closed.
        largest_courant: The bound on the Courant number, if there is one.
    """
    if not longer_than_walls(_reach(fields[0], largest_courant), _walls(fields[0], closed)):
        return list(carried)
    behind = come_from_behind(fields, paths, closed)
    return [
        field.with_values(jnp.where(hidden, 0.0, one.values))
        for one, field, hidden in zip(carried, fields, behind, strict=True)
    ]


def carried_velocity(
    scheme: Advection, velocity: Sequence[Field], held: Sequence[Field], dt: ArrayLike, closed: np.ndarray | None
) -> tuple[Field, ...]:
    """A velocity carried by itself around an obstacle, nothing of which comes through a wall.

    Explicit diffusion brings something to the faces of an obstacle, from either side one cell deep. A look-up that ends
    on its own side of a wall finds there what it should, as in the published splitting (Um et al. 2020): a wall that
    takes part in the shear. A linear look-up whose path is longer than the thinnest wall less that one cell may find
    what came from the other side, and so may the wider stencils of other schemes: they find zero.

    Args:
        scheme: The scheme.
        velocity: The components after diffusion.
        held: The same, zero on the faces of an obstacle.
        dt: Duration of the step.
        closed: For each cell whether it is closed, or None.
    """
    if closed is None or not isinstance(scheme, SemiLagrangian):
        return tuple(scheme.carry(part, held, dt, closed) for part in held)

    walls = [None if wall is None else wall - 1 for wall in _walls(velocity[0], closed)]
    if not longer_than_walls(_reach(velocity[0], scheme.largest_courant), walls):
        return tuple(scheme.carry(part, velocity, dt, closed) for part in velocity)
    paths = [upstream_path(part, velocity, dt) for part in velocity]
    longer = [longer_than_walls(jax.lax.stop_gradient(path), walls) for path in paths]
    if scheme.largest_courant is None:  # one gather takes either: a second look-up would be compiled as well
        carried = []
        for a, (part, part_held) in enumerate(zip(velocity, held, strict=True)):
            ways = zip(upstream_path(part, held, dt), paths[a], strict=True)
            paths[a] = [jnp.where(longer[a], other, own) for other, own in ways]
            instead = longer[a], part_held
            found = part.with_values(look_up(part, _wrapped(part, paths[a]), instead))
            carried.append(around_corners(found, part, paths[a], closed, instead))
        return tuple(nothing_from_behind(carried, velocity, paths, closed))

    def of(part: Field, part_held: Field, far: Array) -> Field:
        def without(values: Array) -> Array:
            return jnp.where(far, scheme.carry(part_held, held, dt, closed).values, values)

        carried = scheme.carry(part, velocity, dt, closed)
        return part.with_values(choose(jnp.any(far), without, lambda values: values, carried.values))

    return tuple(of(*parts) for parts in zip(velocity, held, longer, strict=True))


def _walls(field: Field, closed: np.ndarray) -> list[int | None]:
    """The thinnest wall across each axis, in cells."""
    return [thinnest_wall(closed, axis, wraps) for axis, wraps in enumerate(field.periodic)]


def _reach(field: Field, largest_courant: int | tuple[int, ...] | None) -> list[float]:
    """The longest displacement along each axis that a bound on the Courant number allows, in cells."""
    given = largest_courant if isinstance(largest_courant, tuple) else (largest_courant,) * field.grid.dimensions
    return [np.inf if far is None else float(far) for far in given]


def upstream_path(field: Field, velocity: Sequence[Field], dt: ArrayLike) -> list[Array]:
    """From each point to its upstream point along each axis, in cells; it does not lead beyond a bounded axis."""
    return _within_domain(field, _upstream_displacements(field, velocity, dt))


def _within_domain(field: Field, displacement: Sequence[Array]) -> list[Array]:
    return [_clipped(part, axis, _limits(field, axis)) for axis, part in enumerate(displacement)]


def _upstream_displacements(field: Field, velocity: Sequence[Field], dt: ArrayLike) -> list[Array]:
    return [_upstream_displacement(field, component, axis, dt) for axis, component in enumerate(velocity)]


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def _clipped(displacement: Array, axis: int, limit: Limits) -> Array:
    """The displacements, those that lead beyond a bounded axis to its end."""
    if limit is None:
        return displacement
    index = _index(displacement, axis)
    return jnp.clip(displacement, limit[0] - index, limit[1] - index)


@_clipped.defjvp
def _clipped_jvp(axis: int, limit: Limits, primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (displacement,), (tangent,) = primals, tangents
    return _clipped(displacement, axis, limit), tangent * _free(displacement, axis, limit)


def _upstream_displacement(field: Field, component: Field, axis: int, dt: ArrayLike) -> Array:
    """From each point of the field to its upstream point, along one axis, in cells."""
    speed = interpolate(component, field.offset).values
    if not field.grid.uniform[axis]:
        dt = jnp.asarray(dt, speed.dtype)
        position = field.coordinates()[axis].astype(speed.dtype) - dt * speed
        upstream = index_of(field, axis, position, wrap=False)
        return upstream - _indices(field, axis, upstream.dtype)
    return speed * jnp.asarray(-jnp.asarray(dt) / field.grid.spacing_along(axis), speed.dtype)


def _limits(field: Field, axis: int) -> tuple[float, float] | None:
    """The indices of the two ends of a bounded axis, where upstream points beyond it are moved to; or None."""
    if field.periodic[axis] or not field.grid.uniform[axis]:  # an index on a stretched axis lies within already
        return None
    return -field.offset[axis], field.grid.cells[axis] - field.offset[axis]


def _indices(field: Field, axis: int, dtype) -> Array:
    return _index(jax.ShapeDtypeStruct(field.shape, dtype), axis)


def _index(array: Array | jax.ShapeDtypeStruct, axis: int) -> Array:
    """For each point its index along an axis."""
    count, dimensions = array.shape[axis], len(array.shape)
    return jnp.arange(count, dtype=array.dtype).reshape(at_axis(axis, -1, 1, dimensions))


def _wrapped(field: Field, path: Sequence[Array]) -> list[Array]:
    """The indices of the upstream points, within the first period of a periodic axis."""
    indices = [_indices(field, axis, way.dtype) + way for axis, way in enumerate(path)]
    return [
        jnp.mod(index, count) if wraps else index
        for index, count, wraps in zip(indices, field.grid.cells, field.periodic, strict=True)
    ]


def _weighted_shifts(
    field: Field, displacement: Sequence[Array], limits: Sequence[Limits], reach: tuple[int, ...]
) -> Array:
    """Linear interpolation at `i + d` is the sum over shifts k of `max(0, 1 - |d - k|) f[i + k]`, axis by axis."""
    padded = field.values
    for axis in field.padding_order():
        conditions = field.conditions[axis]
        spacing = field.grid.spacing_along(axis)
        padded = pad_axis(padded, axis, conditions, (1, 1), offset=field.offset[axis], spacing=spacing)
        if reach[axis] > 1:
            if field.periodic[axis]:
                padded = slice_axis(padded, axis, 1, padded.shape[axis] - 1)
                padded = pad_axis(padded, axis, conditions, (reach[axis], reach[axis]), offset=0.5, spacing=1.0)
            else:  # upstream points stay within the domain: ghosts beyond the first carry no weight
                padded = with_zeros(padded, [(reach[axis] - 1) * (a == axis) for a in range(padded.ndim)])
    shares = tuple(slope_shares(field, axis, reach[axis]) for axis in range(field.grid.dimensions))
    return _carried(padded, tuple(displacement), tuple(limits), reach, shares)


# The derivative of `_carried` is written down: with respect to the displacements it is a factor that is known once the
# value is, with respect to the field it is the same interpolation, whose transpose is a sum of shifts again.


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3, 4))
def _carried(
    padded: Array,
    displacement: tuple[Array, ...],
    limits: tuple[Limits, ...],
    reach: tuple[int, ...],
    shares: tuple[SlopeShares | None, ...],
) -> Array:
    """`sum_k w_k(d_x) sum_l w_l(d_y) f[i + k, j + l]` with the weights `w_k(d) = max(0, 1 - |d - k|)`.

    Displacements are first confined to the limits of each axis; those longer than the reach become NaN.
    """
    displacement = tuple(_confined(part, axis, limits[axis], reach[axis]) for axis, part in enumerate(displacement))
    weights = [[_weight(part, shift) for shift in _shifts(far)] for part, far in zip(displacement, reach, strict=True)]
    return _nested_sum(padded, weights, displacement[0].shape)


@_carried.defjvp
def _carried_jvp(
    limits: tuple[Limits, ...], reach: tuple[int, ...], shares: tuple[SlopeShares | None, ...], primals, tangents
):
    (padded, given), (padded_tangent, given_tangent) = primals, tangents
    displacement = tuple(_confined(part, axis, limits[axis], reach[axis]) for axis, part in enumerate(given))
    weights = [[_weight(part, shift) for shift in _shifts(far)] for part, far in zip(displacement, reach, strict=True)]
    carry = _Carry(reach, shares)
    (tangent,) = linear_map(carry.forward, carry.transposed, displacement, (padded_tangent,))
    for axis, direction in enumerate(given_tangent):
        between = [_between(displacement[axis], axis, reach[axis], shares[axis])]
        steps = jax.lax.optimization_barrier(jnp.diff(padded, axis=axis))
        slope = _nested_sum(steps, weights[:axis] + between + weights[axis + 1 :], displacement[0].shape)
        tangent = tangent + slope * _free(given[axis], axis, limits[axis]) * direction
    return _nested_sum(padded, weights, displacement[0].shape), tangent


@dataclasses.dataclass(frozen=True)
class _Carry:
    """The interpolation as a linear map of the padded field, the displacements held fixed."""

    reach: tuple[int, ...]
    shares: tuple[SlopeShares | None, ...]

    def forward(self, displacement: Sequence[Array], operands: Sequence[Array]) -> list[Array]:
        return [_carried(operands[0], tuple(displacement), (None,) * len(displacement), self.reach, self.shares)]

    def transposed(self, displacement: Sequence[Array], cotangents: Sequence[Array]) -> list[Array]:
        """Each point gives its cotangent, times the weights, to the points that it was interpolated from.

        `f'[j] = sum_(k, l) (c w_k w_l)[j - (k, l)]`: zeros are put around cotangent and displacements, the products
        `c w_k` along the first axis and the weights along the others are written to memory, for one shift after the
        other; then one loop adds up shifted products.
        """
        (cotangent,) = cotangents
        spans = [2 * far for far in self.reach]
        shape = [extent + span for extent, span in zip(cotangent.shape, spans, strict=True)]
        factors = []
        for axis, part in enumerate(displacement):
            weights = jnp.stack([_weight(with_zeros(part, spans), shift) for shift in _shifts(self.reach[axis])])
            factors.append(weights * with_zeros(cotangent, spans)[None] if axis == 0 else weights)
        factors = jax.lax.optimization_barrier([factor.reshape(-1, *factor.shape[2:]) for factor in factors])
        total = None
        for choice in itertools.product(*(range(span + 1) for span in spans)):
            window = [slice(span - k, span - k + extent) for span, k, extent in zip(spans, choice, shape, strict=True)]
            parts = []
            for factor, k in zip(factors, choice, strict=True):
                start = k * (shape[0] + spans[0]) + spans[0] - choice[0]
                parts.append(factor[(slice(start, start + shape[0]), *window[1:])])
            term = functools.reduce(operator.mul, parts)
            total = term if total is None else total + term
        assert total is not None
        return [total]


def _shifts(reach: int) -> range:
    return range(-reach, reach + 1)


def _confined(displacement: Array, axis: int, limit: Limits, reach: int) -> Array:
    displacement = _clipped(displacement, axis, limit)
    return jnp.where(jnp.abs(displacement) <= reach, displacement, jnp.nan)


def _free(displacement: Array, axis: int, limit: Limits) -> ArrayLike:
    """The derivative of `_clipped`: 1 within the limits, 0 beyond, their mean on a limit."""
    if limit is None:
        return 1.0
    index = _index(displacement, axis)
    lowest, highest = limit[0] - index, limit[1] - index
    within = (displacement > lowest) & (displacement < highest)
    beyond = (displacement < lowest) | (displacement > highest)
    return jnp.where(within, 1.0, jnp.where(beyond, 0.0, 0.5)).astype(displacement.dtype)


def _weight(displacement: Array, shift: int) -> Array:
    return jnp.maximum(0, 1 - jnp.abs(displacement - shift))


def _between(displacement: Array, axis: int, reach: int, shares: SlopeShares | None) -> list[Array]:
    """For each shift but the last 1 between it and the next, where the interpolation has the slope
    `f[shift + 1] - f[shift]`, and 0 elsewhere; on either of the two 1/2 or what `slope_shares` has, so that a kink has
    the mean slope of both sides. Beyond the reach there is no other side.
    """
    extent, line = displacement.shape[axis], at_axis(axis, -1, 1, displacement.ndim)

    def step(past: Array, shift: int, side: np.ndarray | None) -> Array:
        """1 past a shift, 0 before it, and upon it the share of the slope past it."""
        share = 0.5
        if side is not None:
            share = jnp.asarray(side[shift + reach :][:extent].reshape(line), displacement.dtype)
        return jnp.where(displacement == shift, share, jnp.where(past, 1.0, 0.0)).astype(displacement.dtype)

    below, above = (None, None) if shares is None else (np.array(shares.below), np.array(shares.above))
    inner = _shifts(reach)[1:-1]
    rising = [step(displacement > shift, shift, above) for shift in inner]
    if below is None or above is None or np.all(below + above == 1):  # what is not above a point is below it
        steps = [jnp.ones_like(displacement), *rising, jnp.zeros_like(displacement)]
        return [lower - upper for lower, upper in itertools.pairwise(steps)]
    falling = [step(displacement < shift, shift, below) for shift in inner]
    first = step(displacement > -reach, -reach, np.where(below == 0, above, 2 * above))
    last = step(displacement < reach, reach, np.where(above == 0, below, 2 * below))
    return [lower * upper for lower, upper in zip([first, *rising], [*falling, last], strict=True)]


def _nested_sum(padded: Array, weights: Sequence[Sequence[Array]], shape: Sequence[int]) -> Array:
    """`sum_k weights[0][k] * (sum_l weights[1][l] * ... shifted values)`, one axis after the other."""
    axis = len(shape) - len(weights)
    if axis == len(shape):
        return padded
    total = None
    for shift, weight in enumerate(weights[0]):
        part = slice_axis(padded, axis, shift, shift + shape[axis])
        term = weight * _nested_sum(part, weights[1:], shape)
        total = term if total is None else total + term
    assert total is not None
    return total
