"""From one place to another: linear averages between offsets, linear look-ups at any point."""

from collections.abc import Sequence

import jax.numpy as jnp
from jax import Array

from diffphys.errors import InputError
from diffphys.grids import Field, Periodic, Unknown
from diffphys.operators.differences import shifted_pair


def interpolate(field: Field, offset: Sequence[float]) -> Field:
    """`field` at another offset of the same grid, by the mean of the two neighbors along each axis that changes.

    Second-order accurate, exact for linear functions. On a boundary face the mean with the ghost value gives a
    `Dirichlet` value exactly. What holds at the ends is kept along axes that do not change, and where it is a fixed
    value.

    Raises:
        InputError: if a ghost value is needed that no condition defines.
    """
    if len(offset) != field.grid.dimensions:
        raise InputError(
            f"interpolate: offset is {tuple(offset)}; one entry for each of {field.grid.dimensions} axes is accepted."
        )
    # From centers to faces first: that is where ghost values, and so the field's own conditions, are needed.
    for axis in sorted(range(field.grid.dimensions), key=lambda axis: -field.offset[axis]):
        place = offset[axis]
        if place != field.offset[axis]:
            below, above = shifted_pair(field, axis)
            new_offset = tuple(place if a == axis else old for a, old in enumerate(field.offset))
            conditions = tuple(
                pair if a == axis or isinstance(pair[0], Periodic) else _at_new_place(pair)
                for a, pair in enumerate(field.conditions)
            )
            field = Field((below + above) / 2, field.grid, new_offset, conditions)
    return field


def sample(field: Field, points: Sequence[Array]) -> Array:
    """The values of `field` at any points, by multilinear interpolation.

    Points outside of a bounded domain are moved to its boundary first; a periodic axis wraps.

    Args:
        field: The field; its conditions must define one ghost value at every end.
        points: One array of coordinates for each axis, all of one shape.

    Returns:
        Array of that shape.
    """
    grid = field.grid
    if len(points) != grid.dimensions:
        raise InputError(
            f"sample: points has {len(points)} arrays; one for each of {grid.dimensions} axes is accepted."
        )
    indices = []
    for axis, point in enumerate(points):
        position = (point - grid.origin[axis]) / grid.spacing[axis]
        position = (
            jnp.mod(position, grid.cells[axis]) if field.periodic[axis] else jnp.clip(position, 0.0, grid.cells[axis])
        )
        indices.append(position - field.offset[axis])
    return look_up(field, indices)


def look_up(field: Field, indices: Sequence[Array]) -> Array:
    """Multilinear interpolation at real-valued indices of the field's own points, at most one beyond each end."""
    padded = field.padded([(1, 1)] * field.grid.dimensions)
    lows, weights = [], []
    for axis, index in enumerate(indices):
        low = jnp.clip(jnp.floor(index), -1, field.shape[axis] - 1)
        weights.append(index - low)
        lows.append(low.astype(jnp.int32) + 1)
    total = jnp.zeros((), padded.dtype)
    for corner in range(2 ** len(lows)):
        bits = [(corner >> axis) & 1 for axis in range(len(lows))]
        weight = jnp.ones((), padded.dtype)
        for bit, fraction in zip(bits, weights, strict=True):
            weight = weight * (fraction if bit else 1 - fraction)
        total = total + weight * padded[tuple(low + bit for low, bit in zip(lows, bits, strict=True))]
    return total


def _at_new_place(pair):
    """Along another axis a profile of values has one entry for each old point, so only uniform conditions are carried
    over.
    """
    uniform = all(all(jnp.ndim(leaf) == 0 for leaf in vars(condition).values()) for condition in pair)
    return pair if uniform else (Unknown(), Unknown())
