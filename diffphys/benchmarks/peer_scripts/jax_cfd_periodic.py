"""JAX-CFD: periodic flow by second-order finite volumes on a staggered grid, Fourier pressure, Heun's method."""

from importlib.metadata import version

import jax
import jax.numpy as jnp
import numpy as np
from jax_cfd import base as cfd  # pyright: ignore[reportMissingImports]
from serving import serve  # pyright: ignore[reportMissingImports]


def make(wanted: dict):
    """Programs for the steps that are wanted."""
    count, dimensions = wanted["cells"], wanted["dimensions"]
    grid = cfd.grids.Grid((count,) * dimensions, domain=((0, 2 * np.pi),) * dimensions)
    dt = wanted["courant"] * 2 * np.pi / count
    equation = cfd.equations.semi_implicit_navier_stokes(
        density=1.0,
        viscosity=1e-3,
        dt=dt,
        grid=grid,
        convect=lambda v: tuple(cfd.advection.advect_linear(u, v, dt) for u in v),
        time_stepper=cfd.time_stepping.heun_rk2,
    )
    start = cfd.initial_conditions.filtered_velocity_field(jax.random.key(0), grid, 1.0, 3)

    def after(velocity, steps):
        return jax.lax.scan(lambda v, _: (equation(v), None), velocity, None, steps)[0]

    programs = {}
    for steps in wanted["lengths"]:
        forward = jax.jit(lambda v, steps=steps: after(v, steps))
        gradient = jax.jit(
            jax.grad(lambda v, steps=steps: sum(0.5 * jnp.sum(part.data**2) for part in after(v, steps)))
        )
        programs[f"step, {steps} in a row"] = lambda forward=forward: jax.block_until_ready(forward(start))
        programs[f"gradient, {steps} steps"] = lambda gradient=gradient: jax.block_until_ready(gradient(start))
    divergence = cfd.finite_differences.divergence(jax.jit(lambda v: after(v, 4))(start)).data
    return f"JAX-CFD {version('jax-cfd')}", programs, float(jnp.max(jnp.abs(divergence))) * 2 * np.pi / count


serve(make)
