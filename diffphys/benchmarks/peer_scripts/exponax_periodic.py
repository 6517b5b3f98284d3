"""Exponax: periodic flow, pseudo-spectral (in 2D in the vorticity), exponential time stepping of second order."""

from importlib.metadata import version

import exponax  # pyright: ignore[reportMissingImports]
import jax
import jax.numpy as jnp
import numpy as np
from serving import serve  # pyright: ignore[reportMissingImports]


def make(wanted: dict):
    """Programs for the steps that are wanted."""
    count, dimensions = wanted["cells"], wanted["dimensions"]
    stepper = exponax.stepper.NavierStokesVorticity if dimensions == 2 else exponax.stepper.NavierStokesVelocity
    step = stepper(dimensions, 2 * np.pi, count, wanted["courant"] * 2 * np.pi / count, diffusivity=1e-3, order=2)
    series = exponax.ic.RandomTruncatedFourierSeries(dimensions, cutoff=5)
    channels = 1 if dimensions == 2 else 3
    start = jnp.concatenate([series(count, key=jax.random.key(seed)) for seed in range(channels)])

    def after(state, steps):
        return jax.lax.scan(lambda w, _: (step(w), None), state, None, steps)[0]

    programs = {}
    for steps in wanted["lengths"]:
        forward = jax.jit(lambda w, steps=steps: after(w, steps))
        gradient = jax.jit(jax.grad(lambda w, steps=steps: 0.5 * jnp.sum(after(w, steps) ** 2)))
        programs[f"step, {steps} in a row"] = lambda forward=forward: jax.block_until_ready(forward(start))
        programs[f"gradient, {steps} steps"] = lambda gradient=gradient: jax.block_until_ready(gradient(start))
    return f"Exponax {version('exponax')}", programs, None


serve(make)
