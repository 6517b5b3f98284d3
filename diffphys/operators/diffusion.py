"""Diffusion."""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from diffphys.grids import Field, Grid
from diffphys.operators.differences import laplacian


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

    From the eigenvalue `-4 sum_a 1 / h_a^2` of the fastest mode, which Euler's method keeps bounded up to there.
    """
    return 1.0 / (2.0 * jnp.asarray(diffusivity) * sum(1.0 / spacing**2 for spacing in grid.spacing))
