"""Half-inverse gradients beyond the dense Jacobian: a network learns to be the Laplacian of nothing but its output.

Schnell, Holl, Thuerey, "Half-Inverse Gradients for Physical Deep Learning" (ICLR 2022), Poisson experiment.

    x* random on 8x8 cells, y* = laplace x* (zero beyond the sides), the network sees y* and answers x,
    L = 1/2 |laplace x - y*|^2, summed over the batch

The stacked Jacobian of a batch of b samples has 64 b rows and 24,896 columns: 408 MB in float32 for b = 64, 6.5 GB for
b = 1024, which is where the published method ended. The matrix-free engine needs (64 b + 24,896) numbers for each
iteration instead. The preset `convolution` does the same with a convolutional network of 74,593 parameters on 32x32
cells.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax import Array

from diffphys.experiments.comparison import Arm, Budget, compare, duration, shown_on
from diffphys.experiments.comparison_figures import show
from diffphys.experiments.optimizers import gradient_arm, half_inverse_arm
from diffphys.experiments.smooth_noise import smooth_noise
from diffphys.grids import Grid
from diffphys.inversion import PoissonStencil
from diffphys.nets import MLP, ResNet, count_parameters
from diffphys.runs import Program, Run, setting


@dataclass(frozen=True)
class Settings(Budget):
    """As published, save for the time, the matrix-free engine, and the second batch."""

    cells: int = setting(8, help="cells along both axes", minimum=4)
    network: str = setting("perceptron", help="which network", choices=("perceptron", "convolution"))
    features: int = setting(32, help="channels of the convolutional network", minimum=1)
    batches: tuple[int, ...] = setting((64, 1024), help="batch sizes; each gives two arms", minimum=1)
    iterations: int = setting(40, help="of the matrix-free engine", minimum=1)
    truncation: float = setting(1e-5, help="relative truncation of singular values", minimum=0.0, maximum=0.5)
    half_inverse_rate: float = setting(0.01, help="eta of half-inverse gradients, of the summed loss", above=0.0)
    adam_rate: float = setting(3e-4, help="learning rate of Adam", above=0.0)
    dense: bool = setting(False, help="also half-inverse gradients by the dense engine with the first batch size")


def run(settings: Settings, run: Run) -> None:
    """Train all arms on data without end."""
    cells = (settings.cells, settings.cells)
    stencil = PoissonStencil()

    def make_network(key: Array) -> Any:
        if settings.network == "perceptron":
            size = settings.cells**2
            return MLP((size, 64, 128, 64, size), jnp.tanh, key=key)
        return ResNet(1, 1, features=settings.features, blocks=4, kernel_size=3, last_scale=1.0, key=key)

    def predict(network: Any, y: Array) -> Array:
        if settings.network == "perceptron":
            return network(y.ravel()).reshape(cells)
        return network(y[None])[0]

    def function(network: Any, y: Array) -> Array:
        return stencil(predict(network, y))

    def draw(key: Array, size: int) -> Array:
        return jax.vmap(lambda one: smooth_noise(one, cells))(jax.random.split(key, size))

    def loss(outputs: Array, y: Array) -> Array:
        return jnp.sum(0.5 * (outputs - y) ** 2)

    tests = jax.jit(lambda key: draw(key, 256))(jax.random.key(run.seed + 1))
    test_y = jax.jit(jax.vmap(stencil))(tests)

    def measure(network: Any) -> dict[str, Array]:
        x = jax.vmap(lambda y: predict(network, y))(test_y)
        return {
            "error": loss(jax.vmap(stencil)(x), test_y) / tests.shape[0],
            "error_x": jnp.mean(jnp.abs(x - tests)),
        }

    def arms_of(size: int) -> dict[str, Arm]:
        def batch(key: Array, count: Array) -> Array:
            del count
            return jax.vmap(stencil)(draw(key, size))

        def through_physics(network: Any, y: Array) -> Array:
            return loss(jax.vmap(lambda one: function(network, one))(y), y) / size

        # The published rate belongs to a batch of 64; the direction grows like the root of the batch.
        rate = settings.half_inverse_rate * (64 / size) ** 0.5
        options: dict[str, Any] = dict(learning_rate=rate, truncation=settings.truncation)
        matrix_free = dict(engine="matrix-free", iterations=settings.iterations)
        made = {
            f"half-inverse-{size}": half_inverse_arm(make_network, batch, function, loss, **matrix_free, **options),
            f"adam-{size}": gradient_arm(make_network, batch, through_physics, optax.adam(settings.adam_rate)),
        }
        if settings.dense and size == settings.batches[0]:
            made[f"half-inverse-dense-{size}"] = half_inverse_arm(
                make_network, batch, function, loss, engine="dense", **options
            )
        return made

    grid = Grid(cells, (float(settings.cells),) * 2)

    @eqx.filter_jit
    def answer(network: Any) -> dict[str, Array]:
        x = jax.vmap(lambda y: predict(network, y))(test_y[:3])
        return {"potential": x, "source": jax.vmap(stencil)(x)}

    arms = {name: arm for size in settings.batches for name, arm in arms_of(size).items()}
    compare(
        run,
        arms,
        settings,
        measure=measure,
        more={"parameters": count_parameters(make_network(jax.random.key(0)))},
        answers=lambda network: shown_on(grid, answer(network)),
        truth=shown_on(grid, {"potential": tests[:3], "source": test_y[:3]}),
    )


PROGRAM = Program(
    "half-inverse-poisson",
    Settings,
    {
        "demo": {"seconds": 40.0, "clock": "processor", "seeds": 1},
        "book": {"seconds": 20.0, "seeds": 2},
        "convolution": {
            "seconds": 60.0,
            "seeds": 2,
            "cells": 32,
            "network": "convolution",
            "batches": (8,),
            "iterations": 20,
        },
        "paper": {"seconds": 3600.0, "dense": True},
    },
    run,
    partial(show, label="test loss", columns={"mean |x - x*|": "error_x"}),
    duration=duration,
)
