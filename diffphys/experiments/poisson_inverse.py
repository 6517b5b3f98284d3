"""A U-Net learns the source of a potential: the inverse simulator is a stencil, the simulator solves a system.

Holl, Koltun, Thuerey, "Scale-invariant Learning by Physics Inversion" (NeurIPS 2022), Poisson experiment.

    y = laplace^-1 x   on 64x64 unit cells, zero beyond the sides; the network sees y* and answers x

The gradient through the solve weights each wave of the error in x by 1 / |k|^4, so that plain training sees only the
longest waves. Here the inverse is exact, and the scale-invariant gradient is that of supervised training.
"""

from dataclasses import dataclass
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from diffphys.experiments.comparison import compare, duration, shown_on
from diffphys.experiments.comparison_figures import show
from diffphys.experiments.inverse_problems import InverseProblem, answers, inverse_problem_arms
from diffphys.experiments.smooth_noise import smooth_noise
from diffphys.grids import Grid
from diffphys.inversion import LinearInverse, PoissonSolve, PoissonStencil
from diffphys.nets import UNet
from diffphys.runs import Program, Run, setting


@dataclass(frozen=True)
class Settings(InverseProblem):
    """As published, save for the time (25,200 s on a GPU) and a direct solver in the place of conjugate gradients."""

    descent_rate: float = setting(3e-12, help="learning rate of gradient descent, of the summed loss", above=0.0)
    momentum: float = setting(0.9, help="momentum of gradient descent", minimum=0.0, maximum=0.99)
    adahessian_rate: float = setting(1e-6, help="learning rate of AdaHessian", above=0.0)


def predict(network: UNet, y: Array) -> Array:
    """x from y; mapped over the axis "batch"."""
    return network(y[None])[0]


def run(settings: Settings, run: Run) -> None:
    """Train all arms on data without end."""
    cells = (settings.cells, settings.cells)
    solve, inverse = PoissonSolve(), LinearInverse(PoissonStencil())

    def make_network(key: Array) -> UNet:
        """37,697 parameters with four levels."""
        return UNet(1, 1, levels=settings.levels, normalization="batch", key=key)

    def draw(key: Array, size: int) -> Array:
        return jax.vmap(lambda one: smooth_noise(one, cells))(jax.random.split(key, size))

    def batch(key: Array, count: Array) -> Array:
        del count
        return jax.vmap(solve)(draw(key, settings.batch))

    tests = jax.jit(lambda key: draw(key, settings.tests))(jax.random.key(run.seed + 1))
    test_y = jax.jit(jax.vmap(solve))(tests)

    def measure(network: UNet) -> dict[str, Array]:
        x = answers(predict, network, test_y)
        return {
            "error": jnp.mean(jnp.abs(x - tests)),
            "error_y": jnp.mean(jnp.abs(jax.vmap(solve)(x) - test_y)),
        }

    arms = inverse_problem_arms(settings, make_network, batch, predict, solve, inverse)
    grid = Grid(cells, (float(settings.cells),) * 2)

    @eqx.filter_jit
    def answer(network: UNet) -> dict[str, Array]:
        x = answers(predict, network, test_y)[:3]
        return {"source": x, "potential": jax.vmap(solve)(x)}

    compare(
        run,
        arms,
        settings,
        measure=measure,
        answers=lambda network: shown_on(grid, answer(network)),
        truth=shown_on(grid, {"source": tests[:3], "potential": test_y[:3]}),
    )


PROGRAM = Program(
    "poisson-inverse",
    Settings,
    {
        "demo": {"seconds": 20.0, "clock": "processor", "seeds": 1, "cells": 32, "batch": 16},
        "book": {"seconds": 60.0, "seeds": 2, "cells": 32, "batch": 16, "tests": 32},
        "paper": {"seconds": 25200.0},
    },
    run,
    partial(show, label="mean |x - x*|", columns={"mean |y - y*|": "error_y"}),
    duration=duration,
)
