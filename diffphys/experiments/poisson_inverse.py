"""A U-Net learns the source of a potential: the inverse simulator is a stencil, the simulator solves a system.

Holl, Koltun, Thuerey, "Scale-invariant Learning by Physics Inversion" (NeurIPS 2022), Poisson experiment.

    y = laplace^-1 x   on 64x64 unit cells, zero beyond the sides; the network sees y* and answers x

The gradient through the solve weights each wave of the error in x by 1 / |k|^4, so that plain training sees only the
longest waves. Here the inverse is exact, and the scale-invariant gradient is that of supervised training.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax
from jax import Array
from rich.table import Table

from diffphys.experiments import Experiment
from diffphys.experiments.arms import Budget, compare, gradient_arm, show
from diffphys.experiments.second_order import adahessian_arm, hessian_free_arm
from diffphys.experiments.smooth_noise import smooth_noise
from diffphys.inversion import LinearInverse, PoissonSolve, PoissonStencil, scale_invariant_loss
from diffphys.nets import UNet
from diffphys.runs import Run, setting


@dataclass(frozen=True)
class Settings(Budget):
    """As published, save for the time (25,200 s on a GPU) and a direct solver in the place of conjugate gradients."""

    cells: int = setting(64, help="cells along both axes, a multiple of 8", minimum=8)
    levels: int = setting(4, help="resolutions of the U-Net", minimum=1, maximum=5)
    batch: int = setting(128, help="samples of an update, always new", minimum=1)
    tests: int = setting(64, help="samples for testing", minimum=1)
    adam_rate: float = setting(1e-3, help="learning rate of Adam, alone and with the inverse", above=0.0)
    descent_rate: float = setting(3e-12, help="learning rate of gradient descent, of the summed loss", above=0.0)
    momentum: float = setting(0.9, help="momentum of gradient descent", minimum=0.0, maximum=0.99)
    adahessian_rate: float = setting(1e-6, help="learning rate of AdaHessian", above=0.0)
    hessian_free_rate: float = setting(0.5, help="the part of a Hessian-free step that is made", above=0.0, maximum=1.0)
    iterations: int = setting(8, help="Krylov iterations of a Hessian-free step", minimum=1)


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

    def answers(network: UNet, y: Array) -> Array:
        return jax.vmap(lambda one: predict(network, one), axis_name="batch")(y)

    def outputs(network: UNet, y: Array) -> Array:
        return jax.vmap(solve)(answers(network, y))

    def loss(outputs: Array, y: Array) -> Array:
        return jnp.sum(0.5 * (outputs - y) ** 2)

    def through_physics(network: UNet, y: Array) -> Array:
        return loss(outputs(network, y), y)

    def by_inverse(network: UNet, y: Array) -> Array:
        return scale_invariant_loss(lambda one: predict(network, one), y, y, simulator=solve, inverse=inverse)[0]

    tests = jax.jit(lambda key: draw(key, settings.tests))(jax.random.key(run.seed + 1))
    test_y = jax.jit(jax.vmap(solve))(tests)

    def measure(network: UNet) -> dict[str, Array]:
        x = answers(network, test_y)
        return {
            "error": jnp.mean(jnp.abs(x - tests)),
            "error_y": jnp.mean(jnp.abs(jax.vmap(solve)(x) - test_y)),
        }

    descent = optax.sgd(settings.descent_rate, settings.momentum)
    arms = {
        "scale-invariant": gradient_arm(make_network, batch, by_inverse, optax.adam(settings.adam_rate)),
        "adam": gradient_arm(make_network, batch, through_physics, optax.adam(settings.adam_rate)),
        "gradient-descent": gradient_arm(make_network, batch, through_physics, descent),
        "adahessian": adahessian_arm(make_network, batch, through_physics, settings.adahessian_rate),
        "hessian-free": hessian_free_arm(
            make_network, batch, outputs, loss, settings.hessian_free_rate, settings.iterations
        ),
    }
    compare(run, arms, settings, measure=measure)


def report(run: Run) -> Table:
    """Curves and table."""
    return show(run, label="mean |x - x*|", columns={"mean |y - y*|": "error_y"})


EXPERIMENT = Experiment(
    "poisson-inverse",
    Settings,
    {
        "demo": {"seconds": 20.0, "seeds": 1, "cells": 32, "batch": 16},
        "book": {"seconds": 30.0, "seeds": 2, "cells": 32, "batch": 16},
        "paper": {"seconds": 25200.0},
    },
    run,
    report,
)
