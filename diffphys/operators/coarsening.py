"""From a fine grid to a coarse one without losing what crosses a face."""

import jax.numpy as jnp
from jax import Array

from diffphys.grids import Condition, Field, Grid
from diffphys.grids.field import check_field
from diffphys.grids.numbers import whole_number


def coarsen(field: Field, factor: int) -> Field:
    """`field` on the grid with `factor` times fewer cells along every axis.

    Along an axis where the field lives at the center of the cell the values of `factor` cells are averaged; where it
    lives on faces every `factor`-th face is kept. On a stretched grid the averages are weighted by the widths. A
    centered field keeps its mean over the volume, and each coarse face the flux through it: the coarse divergence is
    the mean of the fine divergence (Um et al. 2020, section B.1).

    Raises:
        InputError: if `factor` does not divide the number of cells.
    """
    check_field("coarsen", "field", field)
    factor = whole_number("coarsen: factor", factor)
    grid = field.grid.coarsened(factor)
    values = _coarsened(field.values, field.grid, field.offset, factor)
    conditions = tuple((_of(field, low, factor), _of(field, high, factor)) for low, high in field.conditions)
    return Field(values, grid, field.offset, conditions)


def _coarsened(values: Array, grid: Grid, offset: tuple[float, ...], factor: int) -> Array:
    for axis, place in enumerate(offset):
        if values.shape[axis] == 1 and factor > 1:  # uniform along this axis, as a profile is along its normal
            continue
        if place == 0.0:
            values = values[tuple(slice(None, None, factor) if a == axis else slice(None) for a in range(values.ndim))]
        else:
            shape = list(values.shape)
            shape[axis : axis + 1] = [shape[axis] // factor, factor]
            parts = values.reshape(shape)
            if grid.uniform[axis]:
                values = jnp.mean(parts, axis=axis + 1)
            else:
                widths = grid.widths(axis).reshape(-1, factor)
                weights = widths / widths.sum(1, keepdims=True)
                weights = weights.reshape(
                    [-1 if a == axis else factor if a == axis + 1 else 1 for a in range(len(shape))]
                )
                values = jnp.sum(parts * jnp.asarray(weights, values.dtype), axis=axis + 1)
    return values


def _of(field: Field, condition: Condition, factor: int) -> Condition:
    """The condition with its profile, if it has one, coarsened like the field."""
    profiles = {name: value for name, value in vars(condition).items() if jnp.ndim(value) == field.grid.dimensions}
    return (
        type(condition)(
            **{name: _coarsened(value, field.grid, field.offset, factor) for name, value in profiles.items()}
        )
        if profiles
        else condition
    )
