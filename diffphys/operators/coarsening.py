"""From a fine grid to a coarse one and back, without losing what crosses a face."""

from collections.abc import Callable

import jax.numpy as jnp
from jax import Array

from diffphys.errors import InputError
from diffphys.grids import Condition, Conditions, Field, Grid, check_field
from diffphys.grids.axes import at_axis
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

    def profile(values: Array) -> Array:
        return _coarsened(values, field.grid, field.offset, factor)

    return Field(values, grid, field.offset, _with_profiles(field, profile))


def refine(field: Field, factor: int) -> Field:
    """`field` on the grid with `factor` times more cells along every axis: what `coarsen` leads back from.

    Along an axis where the field lives at the center of the cell the `factor` cells in its place take its value; where
    it lives on faces the new faces between two old ones lie on the line between their values. A centered field keeps
    its mean over each cell, each face the flux through it, and the divergence in all parts of a cell is what it was in
    the cell (the lowest space of Raviart and Thomas 1977).

    Raises:
        InputError: on a stretched grid.
    """
    check_field("refine", "field", field)
    factor = whole_number("refine: factor", factor)
    grid = field.grid
    if not all(grid.uniform):
        raise InputError(f"refine: grid is {grid}; one whose axes are uniform is accepted.")
    finer = Grid([factor * count for count in grid.cells], grid.size, grid.origin)

    def refined(values: Array) -> Array:
        for axis, place in enumerate(field.offset):
            if values.shape[axis] == 1:
                continue
            values = (
                jnp.repeat(values, factor, axis)
                if place != 0.0
                else _between(values, factor, axis, periodic=field.periodic[axis])
            )
        return values

    return Field(refined(field.values), finer, field.offset, _with_profiles(field, refined))


def _between(values: Array, factor: int, axis: int, *, periodic: bool) -> Array:
    """The values on faces and on the new faces between them, along a line."""
    values = jnp.moveaxis(values, axis, 0)
    following = jnp.roll(values, -1, axis=0) if periodic else values[1:]
    begin = values if periodic else values[:-1]
    part = (jnp.arange(factor) / factor).astype(values.dtype).reshape(1, -1, *[1] * (values.ndim - 1))
    # At the part 0 exactly the old face.
    fine = (begin[:, None] + part * (following - begin)[:, None]).reshape(-1, *values.shape[1:])
    return jnp.moveaxis(fine if periodic else jnp.concatenate([fine, values[-1:]]), 0, axis)


def _coarsened(values: Array, grid: Grid, offset: tuple[float, ...], factor: int) -> Array:
    for axis, place in enumerate(offset):
        if values.shape[axis] == 1 and factor > 1:  # uniform along this axis, as a profile is along its normal
            continue
        if place == 0.0:
            values = values[at_axis(axis, slice(None, None, factor), slice(None), values.ndim)]
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


def _with_profiles(field: Field, change: Callable[[Array], Array]) -> Conditions:
    """The field's conditions, whose profiles are changed as its values are."""

    def of(condition: Condition) -> Condition:
        profiles = {name: value for name, value in vars(condition).items() if jnp.ndim(value) == field.grid.dimensions}
        return type(condition)(**{name: change(value) for name, value in profiles.items()}) if profiles else condition

    return tuple((of(low), of(high)) for low, high in field.conditions)
