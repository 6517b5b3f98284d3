"""What the inversions of heat conduction and of the Poisson problem share: a network sees y and answers x."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from diffphys.experiments.comparison import Arm, Budget
from diffphys.experiments.optimizers import Batch, MakeNetwork, gradient_arm
from diffphys.experiments.second_order import adahessian_arm, hessian_free_arm
from diffphys.inversion import scale_invariant_loss
from diffphys.runs import setting


@dataclass(frozen=True)
class InverseProblem(Budget):
    """The settings that they share; the optimizers are those of the paper, without K-FAC, which did not work there."""

    cells: int = setting(64, help="cells along both axes, a multiple of 8", minimum=8)
    levels: int = setting(4, help="resolutions of the U-Net", minimum=1, maximum=5)
    batch: int = setting(128, help="samples of an update, always new", minimum=1)
    tests: int = setting(128, help="samples for testing", minimum=1)
    adam_rate: float = setting(1e-3, help="learning rate of Adam, alone and with the inverse", above=0.0)
    descent_rate: float = setting(2e-6, help="learning rate of gradient descent, of the summed loss", above=0.0)
    momentum: float = setting(0.0, help="momentum of gradient descent", minimum=0.0, maximum=0.99)
    adahessian_rate: float = setting(1e-3, help="learning rate of AdaHessian", above=0.0)
    hessian_free_rate: float = setting(0.5, help="the part of a Hessian-free step that is made", above=0.0, maximum=1.0)
    iterations: int = setting(8, help="Krylov iterations of a Hessian-free step", minimum=1)


Predict = Callable[[Any, Array], Array]


def answers(predict: Predict, network: Any, y: Array) -> Array:
    """x for every y of a batch, over which the network may normalize."""
    return jax.vmap(lambda one: predict(network, one), axis_name="batch")(y)


def inverse_problem_arms(
    settings: InverseProblem,
    make_network: MakeNetwork,
    batch: Batch,
    predict: Predict,
    simulator: Callable[[Array], Array],
    inverse: Callable[[Array, Array, Array], Array],
) -> dict[str, Arm]:
    """All optimizers, trained without labels on batches of y.

    Args:
        settings: Rates and iterations.
        make_network: From a random key to the network.
        batch: y of the next update.
        predict: From the network and one y to x.
        simulator: From one x to y.
        inverse: Its inverse simulator.
    """

    def outputs(network: Any, y: Array) -> Array:
        return jax.vmap(simulator)(answers(predict, network, y))

    def loss(outputs: Array, y: Array) -> Array:
        return jnp.sum(0.5 * (outputs - y) ** 2)

    def through_physics(network: Any, y: Array) -> Array:
        return loss(outputs(network, y), y)

    def by_inverse(network: Any, y: Array) -> Array:
        return scale_invariant_loss(lambda one: predict(network, one), y, y, simulator=simulator, inverse=inverse)[0]

    adam, descent = optax.adam(settings.adam_rate), optax.sgd(settings.descent_rate, settings.momentum or None)
    rate, iterations = settings.hessian_free_rate, settings.iterations
    return {
        "scale-invariant": gradient_arm(make_network, batch, by_inverse, adam),
        "adam": gradient_arm(make_network, batch, through_physics, adam),
        "gradient-descent": gradient_arm(make_network, batch, through_physics, descent),
        "adahessian": adahessian_arm(make_network, batch, through_physics, settings.adahessian_rate),
        "hessian-free": hessian_free_arm(make_network, batch, outputs, loss, rate, iterations),
    }
