"""Advection: a field carried by a velocity."""

from collections.abc import Sequence

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from diffphys.errors import InputError
from diffphys.grids import Field
from diffphys.grids.conditions import pad_axis
from diffphys.operators.differences import slice_axis
from diffphys.operators.interpolation import index_of, interpolate, look_up


def semi_lagrangian(
    field: Field, velocity: Sequence[Field], dt: ArrayLike, largest_courant: int | None = None
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
        largest_courant: If given, a bound on `dt |v_a| / h_a` in whole cells. The look-up is then written as a sum of
            weighted shifts, several times faster on a CPU than the gathers that serve any Courant number, and otherwise
            the same to round-off. Where the bound is exceeded the result is NaN: a wrong value is never returned.

    Returns:
        The carried field, with the conditions of `field`.
    """
    if len(velocity) != field.grid.dimensions:
        raise InputError(
            f"semi_lagrangian: velocity has {len(velocity)} components; {field.grid.dimensions} are accepted."
        )
    check_largest_courant("semi_lagrangian", largest_courant)
    displacement = [_upstream_displacement(field, component, axis, dt) for axis, component in enumerate(velocity)]
    if largest_courant is None:
        values = look_up(field, [_wrapped(field, axis, part) for axis, part in enumerate(displacement)])
    else:
        values = _weighted_shifts(field, displacement, largest_courant)
    return field.with_values(values)


def check_largest_courant(owner: str, bound: int | None) -> None:
    """Raise `InputError` unless the bound is a whole number of cells, or None."""
    if bound is not None and (isinstance(bound, bool) or not isinstance(bound, int) or bound < 1):
        raise InputError(
            f"{owner}: largest_courant is {bound!r}; a whole number of cells of at least 1, or None, is accepted."
        )


def _upstream_displacement(field: Field, component: Field, axis: int, dt: ArrayLike) -> Array:
    """From each point of the field to its upstream point, along one axis, in cells."""
    speed = interpolate(component, field.offset).values
    if not field.grid.uniform[axis]:
        dt = jnp.asarray(dt, speed.dtype)
        position = field.coordinates()[axis].astype(speed.dtype) - dt * speed
        upstream = index_of(field, axis, position, wrap=False)
        return upstream - _indices(field, axis, upstream.dtype)
    displacement = speed * jnp.asarray(-jnp.asarray(dt) / field.grid.spacing_along(axis), speed.dtype)
    if field.periodic[axis]:
        return displacement
    index = _indices(field, axis, displacement.dtype)
    lowest, highest = -field.offset[axis], field.grid.cells[axis] - field.offset[axis]
    return jnp.clip(displacement, lowest - index, highest - index)


def _indices(field: Field, axis: int, dtype) -> Array:
    count = field.shape[axis]
    return jnp.arange(count, dtype=dtype).reshape([-1 if a == axis else 1 for a in range(field.grid.dimensions)])


def _wrapped(field: Field, axis: int, displacement: Array) -> Array:
    index = _indices(field, axis, displacement.dtype) + displacement
    return jnp.mod(index, field.grid.cells[axis]) if field.periodic[axis] else index


def _weighted_shifts(field: Field, displacement: Sequence[Array], reach: int) -> Array:
    """Linear interpolation at `i + d` is the sum over shifts k of `max(0, 1 - |d - k|) f[i + k]`, axis by axis."""
    padded = field.values
    for axis in field.padding_order():
        conditions = field.conditions[axis]
        spacing = field.grid.spacing_along(axis)
        padded = pad_axis(padded, axis, conditions, (1, 1), offset=field.offset[axis], spacing=spacing)
        if (
            reach > 1
        ):  # upstream points stay within the domain, so ghosts beyond the first carry no weight unless periodic
            if field.periodic[axis]:
                padded = slice_axis(padded, axis, 1, padded.shape[axis] - 1)
                padded = pad_axis(padded, axis, conditions, (reach, reach), offset=0.5, spacing=1.0)
            else:
                padded = jnp.pad(padded, [(reach - 1,) * 2 if a == axis else (0, 0) for a in range(padded.ndim)])
    weights = []
    for distance in displacement:
        distance = jnp.where(jnp.abs(distance) <= reach, distance, jnp.nan)
        weights.append([jnp.maximum(0, 1 - jnp.abs(distance - shift)) for shift in range(-reach, reach + 1)])
    return _sum_of_shifts(padded, weights, field.shape)


def _sum_of_shifts(padded: Array, weights: Sequence[Sequence[Array]], shape: Sequence[int]) -> Array:
    """`sum_k weights[0][k] * (sum_l weights[1][l] * ... shifted values)`, one axis after the other."""
    axis = len(shape) - len(weights)
    if axis == len(shape):
        return padded
    total = None
    for shift, weight in enumerate(weights[0]):
        part = slice_axis(padded, axis, shift, shift + shape[axis])
        term = weight * _sum_of_shifts(part, weights[1:], shape)
        total = term if total is None else total + term
    assert total is not None
    return total
