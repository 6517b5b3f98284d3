"""Second-order central differences between the places of a staggered grid.

A difference over one spacing lives halfway between its two points: the derivative of centered values along x lives on
    the
x-faces, that of values on x-faces at the centers. Both are second-order accurate there (Harlow and Welch 1965).
"""

from collections.abc import Sequence

import jax.numpy as jnp
from jax import Array

from diffphys.errors import InputError
from diffphys.grids import Condition, Field, Periodic, Unknown, center_offset, face_offset


def difference(field: Field, axis: int) -> Field:
    """The derivative of `field` along `axis`, half a spacing away: `(f[i + 1] - f[i]) / h`.

    From centers to faces the ghost values of the field's conditions are used, so a bounded axis of n cells gives n + 1
    faces.

    Raises:
        InputError: if a ghost value is needed that no condition defines.
    """
    if not 0 <= axis < field.grid.dimensions:
        raise InputError(f"difference: axis is {axis}; 0 to {field.grid.dimensions - 1} are accepted.")
    values = shifted_pair(field, axis)
    offset = tuple(0.5 - place if a == axis else place for a, place in enumerate(field.offset))
    conditions = tuple(_derived(pair) for pair in field.conditions)
    return Field((values[1] - values[0]) / field.grid.spacing[axis], field.grid, offset, conditions)


def gradient(field: Field) -> tuple[Field, ...]:
    """The gradient of a centered field: its component along each axis on that axis's faces.

    Raises:
        InputError: if the field does not live at the centers.
    """
    if field.offset != center_offset(field.grid):
        raise InputError(f"gradient: the field lives at offset {field.offset}; cell centers are accepted.")
    return tuple(difference(field, axis) for axis in range(field.grid.dimensions))


def divergence(velocity: Sequence[Field]) -> Field:
    """The divergence `sum_a d v_a / d a` of a staggered vector field, at the cell centers.

    With the pressure's conditions taken from the same sides (slope 0 where the normal velocity is fixed, `Ghost(0)`
    where it is free) it is exactly minus the transpose of `gradient` on all faces that are not fixed.

    Raises:
        InputError: if component a does not live on the faces normal to axis a.
    """
    if not velocity or len(velocity) != velocity[0].grid.dimensions:
        raise InputError(f"divergence: velocity has {len(velocity)} components; one for each axis is accepted.")
    for axis, component in enumerate(velocity):
        expected = face_offset(component.grid, axis)
        if component.offset != expected:
            raise InputError(
                f"divergence: component {axis} lives at offset {component.offset}; {expected} is accepted."
            )
    terms = [difference(component, axis) for axis, component in enumerate(velocity)]
    total = terms[0].values
    for term in terms[1:]:
        total = total + term.values
    return Field(total, terms[0].grid, terms[0].offset, tuple(_derived(pair) for pair in velocity[0].conditions))


def laplacian(field: Field) -> Field:
    """The sum of second derivatives `sum_a (f[i - 1] - 2 f[i] + f[i + 1]) / h_a^2` at the field's own place.

    Raises:
        InputError: if a ghost value is needed that no condition defines.
    """
    total = jnp.zeros_like(field.values)
    for axis, spacing in enumerate(field.grid.spacing):
        widths = [(1, 1) if a == axis else (0, 0) for a in range(field.grid.dimensions)]
        padded = field.padded(widths)
        count = field.shape[axis]
        below, above = slice_axis(padded, axis, 0, count), slice_axis(padded, axis, 2, count + 2)
        total = total + (below - 2 * field.values + above) / spacing**2
    return Field(total, field.grid, field.offset, tuple(_derived(pair) for pair in field.conditions))


def shifted_pair(field: Field, axis: int) -> tuple[Array, Array]:
    """The values before and behind each point half a spacing away along `axis`."""
    periodic = field.periodic[axis]
    if field.offset[axis] == 0.5:  # to faces
        width = (1, 0) if periodic else (1, 1)
    else:  # to centers
        width = (0, 1) if periodic else (0, 0)
    padded = field.padded([width if a == axis else (0, 0) for a in range(field.grid.dimensions)])
    count = padded.shape[axis] - 1
    return slice_axis(padded, axis, 0, count), slice_axis(padded, axis, 1, count + 1)


def slice_axis(values: Array, axis: int, start: int, stop: int) -> Array:
    """`values` from `start` up to `stop` along one axis."""
    return values[tuple(slice(start, stop) if a == axis else slice(None) for a in range(values.ndim))]


def _derived(pair: tuple[Condition, Condition]) -> tuple[Condition, Condition]:
    """A derivative is periodic where its field is; else nothing is known of it beyond the ends."""
    return pair if isinstance(pair[0], Periodic) else (Unknown(), Unknown())
