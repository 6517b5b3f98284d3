r"""Advection in conservative form: what leaves a cell enters its neighbor.

$$\frac{\mathrm{d} f_i}{\mathrm{d} t} = -\frac{1}{V_i} \sum_{\text{faces}} \pm A\, v\, f_{\text{face}}$$

The schemes differ in how the value on a face is taken from the centers beside it. Whatever it is, the sum of
`f * volume` only changes through the sides of the domain, to round-off.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from diffphys.errors import InputError
from diffphys.grids import Field, Periodic, Unknown, as_array_of_shape, center_offset, check_field, face_offset
from diffphys.grids.axes import at_axis, slice_axis
from diffphys.grids.field import check_velocity
from diffphys.grids.numbers import as_components, check_numbers, shown
from diffphys.operators.differences import distances, points_with_two_ghosts
from diffphys.stepping import RungeKutta


SCHEMES = ("upwind", "van_leer", "central", "fourth_order")


def advection_rate(
    field: Field, velocity: Sequence[Field], scheme: str, open_parts: Sequence[ArrayLike] | None = None
) -> Field:
    r"""The rate $-\nabla \cdot (v f)$ at which a centered field changes, in conservative form.

    - `"upwind"`: the value of the cell that the fluid comes from. First order; the rate of an Euler step that makes no
      new extremes up to a Courant number of 1 (Courant, Isaacson, Rees 1952).
    - `"van_leer"`: that cell's value, and half a cell along its slope: the harmonic mean of the slopes to both sides,
      zero at an extreme (van Leer 1974, 1979). Second order where the field is smooth, first at extremes; total
      variation never grows in one dimension.
    - `"central"`: the mean of both cells, whatever their widths. Second order; where the velocity has no divergence the
      sum of `f^2 * volume` is constant, too.
    - `"fourth_order"`: the mean of four cells, and the flux corrected for the difference of its value on the face and
      its mean. Fourth order on uniform grids; second at faces next to the sides of a bounded axis.

    Where fluid enters through a side the value on it is that of the field's condition.

    Args:
        field: A centered field; its conditions must define one ghost value at every end, two for `"van_leer"` and
            `"fourth_order"`.
        velocity: The velocity's components on the faces.
        scheme: One of the above.
        open_parts: For each axis which part of each face is open, between 0 and 1, where something closes them: the
            velocity has to be zero on a face that is closed. `"van_leer"` then takes for the slope across a face no
            more of it than is open; `"fourth_order"`, which would look through, is refused. Default: all of it.

    Returns:
        The rate, at the centers.

    Raises:
        InputError: for another scheme, a field or a velocity at another place, or `"fourth_order"` on a stretched axis.
    """
    _check("advection_rate", field, velocity, scheme)
    parts = _checked_parts("advection_rate", open_parts, velocity, scheme)
    total = jnp.zeros_like(field.values)
    for axis, component in enumerate(velocity):
        flux = advective_flux(field, component, axis, scheme, parts[axis])
        if field.periodic[axis]:
            flux = jnp.concatenate([flux, slice_axis(flux, axis, 0, 1)], axis)
        count = field.shape[axis]
        change = slice_axis(flux, axis, 1, count + 1) - slice_axis(flux, axis, 0, count)
        total = total - change / distances(field.grid, axis, 0.0, field.periodic[axis], change.dtype)
    forgotten = tuple(pair if isinstance(pair[0], Periodic) else (Unknown(), Unknown()) for pair in field.conditions)
    return Field(total, field.grid, field.offset, forgotten)


def advective_flux(field: Field, component: Field, axis: int, scheme: str, open_part: Array | None = None) -> Array:
    """The flux `v f` of a centered field on the faces normal to an axis: see `advection_rate`.

    Args:
        field: The field.
        component: The velocity's component on these faces.
        axis: The axis.
        scheme: "upwind", "van_leer", "central" or "fourth_order".
        open_part: As of `advection_rate`, of these faces.
    """
    flux = component.values * _face_values(field, component.values, axis, scheme, open_part)
    if scheme == "fourth_order":
        flux = flux - _second_difference(flux, axis, field.periodic[axis]) / 24
    return flux


def advect(
    field: Field, velocity: Sequence[Field], dt: ArrayLike, scheme: str, open_parts: Sequence[ArrayLike] | None = None
) -> Field:
    """One step of `df/dt + div(v f) = 0`: `advection_rate` with the Runge-Kutta method that suits the scheme.

    | scheme | method | stable up to a Courant number of |
    |---|---|---|
    | `"upwind"` | Euler | 1 |
    | `"van_leer"` | the second-order method that keeps total variation (Shu, Osher 1988) | 1/2 (without new extremes) |
    | `"central"` | the classical fourth-order one | 2.8 |
    | `"fourth_order"` | the classical fourth-order one | 2.0 |

    The Courant number is the sum of `dt |v_a| / h_a` over the axes.

    Args:
        field: A centered field, with conditions as in `advection_rate`.
        velocity: The velocity's components on the faces, for the whole step.
        dt: Duration of the step.
        scheme: "upwind", "van_leer", "central" or "fourth_order".
        open_parts: As of `advection_rate`.

    Returns:
        The carried field, with the conditions of `field`.

    Raises:
        InputError: as `advection_rate`.
    """
    _check("advect", field, velocity, scheme)
    check_numbers("advect", dt=dt)
    method = RungeKutta({"upwind": 1, "van_leer": 2}.get(scheme, 4))
    return method.advance(
        _Transport(tuple(velocity), scheme, open_parts), field, jnp.asarray(dt, field.values.dtype)
    ).state


class _Transport(NamedTuple):
    """One field as a system: what a fixed velocity carries in and out of its cells."""

    velocity: tuple[Field, ...]
    scheme: str
    open_parts: Sequence[ArrayLike] | None

    def rate(self, time: ArrayLike, field: Field, input: None) -> Field:
        return advection_rate(field, self.velocity, self.scheme, self.open_parts)


def _face_values(field: Field, speed: Array, axis: int, scheme: str, open_part: Array | None) -> Array:
    """The field on the faces normal to an axis."""
    periodic, count = field.periodic[axis], field.shape[axis]
    faces = count if periodic else count + 1
    reach = 2 if scheme in ("van_leer", "fourth_order") else 1
    widths = (reach, reach - 1) if periodic else (reach, reach)
    padded = field.padded(at_axis(axis, widths, (0, 0), field.grid.dimensions))
    below, above = (slice_axis(padded, axis, start, start + faces) for start in (reach - 1, reach))
    if scheme == "central":
        return with_sides(field, axis, (below + above) / 2, below, above, None)
    if scheme == "upwind":
        return with_sides(field, axis, upstream(speed, below, above), below, above, speed)
    before, behind = (slice_axis(padded, axis, start, start + faces) for start in (0, 3))
    if scheme == "fourth_order":
        return with_sides(field, axis, (9 * (below + above) - before - behind) / 16, below, above, None)
    lower, upper = limited_steps(field, axis, before, below, above, behind, open_part)
    carried = upstream(speed, below + lower, above - upper)
    return with_sides(field, axis, carried, below, above, speed)


def upstream(speed: Array, below: Array, above: Array) -> Array:
    """The value on the side that the fluid comes from. At rest nothing is carried, and the derivative of what is, with
    respect to the speed, is the mean of both.
    """
    return jnp.where(speed > 0, below, jnp.where(speed < 0, above, (below + above) / 2))


def limited_steps(
    field: Field,
    axis: int,
    before: Array,
    below: Array,
    above: Array,
    behind: Array,
    open_part: Array | None = None,
) -> tuple[Array, Array]:
    """By how much the limited slopes (van Leer 1974) of the points below and above each face change the values on the
    way to it, given the four values around the face. Of the slope across a face counts what is open of it.
    """
    steps = (below - before, above - below, behind - above)
    if open_part is not None:
        count, ends = open_part.shape[axis], at_axis(axis, (1, 1), (0, 0), below.ndim)
        beside = jnp.pad(open_part, ends, mode="wrap") if field.periodic[axis] else jnp.pad(open_part, ends)
        around = [slice_axis(beside, axis, start, start + count) for start in range(3)]
        steps = tuple(step * part for step, part in zip(steps, around, strict=True))
    grid = field.grid
    if grid.uniform[axis]:  # in units of the spacing
        return 0.5 * harmonic(steps[0], steps[1]), 0.5 * harmonic(steps[1], steps[2])
    dtype, count = below.dtype, below.shape[axis]
    # Lengths in the axis' own unit: products of two slopes in the user's units might overflow.
    points = points_with_two_ghosts(field, axis) / grid.units[axis]
    centered = field.offset[axis] == 0.5
    faces = (
        grid.edges[axis][:count] / grid.units[axis] if centered else (points[1 : 1 + count] + points[2 : 2 + count]) / 2
    )
    around = [np.diff(points)[start : start + count] for start in range(3)]
    gradients = [step / grid.along(axis, jnp.asarray(line, dtype)) for step, line in zip(steps, around, strict=True)]
    to_face = [
        grid.along(axis, jnp.asarray(line, dtype))
        for line in (faces - points[1 : 1 + count], points[2 : 2 + count] - faces)
    ]
    lower = _bounded(harmonic(gradients[0], gradients[1]), steps[0], steps[1], 2 * to_face[0])
    upper = _bounded(harmonic(gradients[1], gradients[2]), steps[1], steps[2], 2 * to_face[1])
    return lower * to_face[0], upper * to_face[1]


@jax.custom_jvp
def harmonic(one: Array, other: Array) -> Array:
    """The harmonic mean of two slopes of one sign, zero otherwise; with a finite derivative where slopes vanish.

    By their shares in the sum: of slopes that differ by round-off at small speeds the product, and the square in the
    derivative of a quotient, would leave the range of single precision.
    """
    return 2 * one * _shares(one, other)[1]


@harmonic.defjvp
def _harmonic_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    first, second = _shares(*primals)
    return 2 * primals[0] * second, 2 * (second**2 * tangents[0] + first**2 * tangents[1])


def _shares(one: Array, other: Array) -> tuple[Array, Array]:
    """What each of two numbers of one sign is of their sum; nothing where the signs differ."""
    alike = jnp.sign(one) * jnp.sign(other) > 0
    total = jnp.where(alike, one + other, 1.0)
    return jnp.where(alike, one / total, 0.0), jnp.where(alike, other / total, 0.0)


def _bounded(slope: Array, before: Array, behind: Array, width: Array) -> Array:
    """The slope, so that half a cell along it no neighbor's value is passed, which unequal widths would allow."""
    bound = 2 * jnp.minimum(jnp.abs(before), jnp.abs(behind)) / width
    return jnp.clip(slope, -bound, bound)


def with_sides(field: Field, axis: int, values: Array, below: Array, above: Array, speed: Array | None) -> Array:
    """The values on the faces, on the sides as the conditions say: the mean with the ghost, or a ghost's own value.

    With a speed, only where it comes in; where fluid leaves a cell's own value goes with it.
    """
    if field.periodic[axis]:
        return values
    last = values.shape[axis] - 1
    parts = [slice_axis(values, axis, 1, last)]
    for end, condition in enumerate(field.conditions[axis]):
        face = slice(last, last + 1) if end else slice(0, 1)
        index = (slice(None),) * axis + (face,)
        beyond, inside = (above[index], below[index]) if end else (below[index], above[index])
        beyond_holds = condition.end is not None and bool(condition.end.mirror) and speed is not None
        entering = beyond if beyond_holds else (beyond + inside) / 2
        if speed is not None:
            inward = speed[index] < 0 if end else speed[index] > 0
            entering = jnp.where(inward, entering, inside)
        parts.insert(len(parts) if end else 0, entering)
    return jnp.concatenate(parts, axis)


def _second_difference(flux: Array, axis: int, periodic: bool) -> Array:
    """`F[i - 1] - 2 F[i] + F[i + 1]` of the fluxes; zero at the sides of a bounded axis."""
    if periodic:
        return jnp.roll(flux, 1, axis) - 2 * flux + jnp.roll(flux, -1, axis)
    count = flux.shape[axis]
    inner = (
        slice_axis(flux, axis, 0, count - 2)
        - 2 * slice_axis(flux, axis, 1, count - 1)
        + slice_axis(flux, axis, 2, count)
    )
    return jnp.pad(inner, at_axis(axis, (1, 1), (0, 0), flux.ndim))


def _checked_parts(
    owner: str, open_parts: Any, velocity: Sequence[Field], scheme: str
) -> Sequence[Array] | Sequence[None]:
    if open_parts is None:
        return [None] * len(velocity)
    if scheme == "fourth_order":
        raise InputError(f"{owner}: scheme 'fourth_order' is given with open_parts; None is accepted with it.")
    parts = as_components(owner, "open_parts", open_parts, len(velocity))
    return [
        as_array_of_shape(owner, f"open_parts[{axis}]", part, component.shape).astype(component.values.dtype)
        for axis, (part, component) in enumerate(zip(parts, velocity, strict=True))
    ]


def _check(owner: str, field: Field, velocity: Sequence[Field], scheme: str) -> None:
    if not isinstance(scheme, str) or scheme not in SCHEMES:
        raise InputError(f"{owner}: scheme is {shown(scheme)}; one of {', '.join(SCHEMES)} is accepted.")
    check_field(owner, "field", field)
    grid = field.grid
    if field.offset != center_offset(grid):
        raise InputError(f"{owner}: the field lives at offset {field.offset}; cell centers are accepted.")
    check_velocity(owner, "velocity", velocity, grid)
    for axis, component in enumerate(velocity):
        if component.offset != face_offset(grid, axis):
            raise InputError(
                f"{owner}: velocity[{axis}] does not live on the faces of the field's grid, as is accepted."
            )
        if component.periodic != field.periodic:
            raise InputError(
                f"{owner}: velocity[{axis}] and the field are periodic along different axes; equal is accepted."
            )
    if scheme == "fourth_order" and not all(grid.uniform):
        raise InputError(f"{owner}: scheme 'fourth_order' is given with a stretched axis; a uniform grid is accepted.")
