"""Exponax: periodic flow in 2D, pseudo-spectral in the vorticity, exponential time stepping of second order."""

from importlib.metadata import version

import exponax  # pyright: ignore[reportMissingImports]
import jax
import jax.numpy as jnp
import numpy as np
from serving import serve  # pyright: ignore[reportMissingImports]


def make(wanted: dict):
    """Programs for the steps that are wanted."""
    count = wanted["cells"]
    step = exponax.stepper.NavierStokesVorticity(
        2, 2 * np.pi, count, wanted["courant"] * 2 * np.pi / count, diffusivity=1e-3, order=2
    )
    start = exponax.ic.RandomTruncatedFourierSeries(2, cutoff=5)(count, key=jax.random.key(0))

    def after(vorticity, steps):
        return jax.lax.scan(lambda w, _: (step(w), None), vorticity, None, steps)[0]

    programs = {}
    for steps in wanted["lengths"]:
        forward = jax.jit(lambda w, steps=steps: after(w, steps))
        gradient = jax.jit(jax.grad(lambda w, steps=steps: 0.5 * jnp.sum(after(w, steps) ** 2)))
        programs[f"step, {steps} in a row"] = lambda forward=forward: jax.block_until_ready(forward(start))
        programs[f"gradient, {steps} steps"] = lambda gradient=gradient: jax.block_until_ready(gradient(start))
    return f"Exponax {version('exponax')}", programs, None


serve(make)
