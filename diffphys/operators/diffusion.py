"""Diffusion."""

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from diffphys.grids import Field, Grid
from diffphys.operators.differences import laplacian, second_difference


def explicit_diffusion(field: Field, diffusivity: ArrayLike, dt: ArrayLike) -> Field:
    """One explicit Euler step of `df/dt = diffusivity * laplacian(f)`.

    First order in time, second in space; stable for `dt` up to `stable_diffusion_step`. Keeps the field's conditions.

    Args:
        field: The field; its conditions must define one ghost value at every end.
        diffusivity: Length squared per time.
        dt: Duration of the step.
    """
    return field.with_values(field.values + jnp.asarray(dt * diffusivity, field.values.dtype) * laplacian(field).values)


def stable_diffusion_step(grid: Grid, diffusivity: ArrayLike) -> Array:
    """The longest stable explicit step: `dt = 1 / (2 diffusivity sum_a 1 / h_a^2)`, infinite without diffusion.

    From the eigenvalue `-4 sum_a 1 / h_a^2` of the fastest mode, which Euler's method keeps bounded up to there. Along
    a stretched axis that eigenvalue is bounded by Gershgorin's circles: twice the largest sum of the factors of the two
    neighbors, at centers and faces.
    """
    return 1.0 / (2.0 * jnp.asarray(diffusivity) * sum(_fastest_rate(grid, axis) for axis in range(grid.dimensions)))


def _fastest_rate(grid: Grid, axis: int) -> float:
    """`1 / h^2`, or what stands for it on a stretched axis: a fourth of a bound of the largest eigenvalue."""
    if grid.uniform[axis]:
        return 1.0 / grid.spacing_along(axis) ** 2  # pyright: ignore[reportReturnType]
    sums = [
        np.max(np.add(*second_difference(grid, axis, offset, periodic)))
        for offset in (0.0, 0.5)
        for periodic in (False, True)
    ]
    return float(max(sums)) / 2
