r"""Second-order optimizers of whole networks, as the papers on updates compare with.

Two are here: AdaHessian, and a Hessian-free one, which solves for the Gauss-Newton step of the network and the physics
together by a few Krylov iterations. Neither knows an inverse of the physics.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax import Array

from diffphys.experiments.comparison import Arm
from diffphys.experiments.optimizers import Batch, MakeNetwork, half_inverse_arm, training_arm


class AdaHessianState(NamedTuple):
    """The state of `adahessian_arm`.

    Attributes:
        count: Updates made.
        mean: The running mean of gradients.
        squares: The running mean of the squared diagonal of the Hessian.
    """

    count: Array
    mean: Any
    squares: Any


def adahessian_arm(
    make_network: MakeNetwork,
    batch: Batch,
    loss: Callable[[Any, Any], Array],
    learning_rate: float,
    decays: tuple[float, float] = (0.9, 0.999),
    epsilon: float = 1e-4,
) -> Arm:
    r"""AdaHessian: Adam with the diagonal D of the Hessian in the place of the gradient's square.

    $$D \approx z \odot H z,\quad z_i = \pm 1 \text{ at random},\qquad
      \Delta\theta = -\eta\, \frac{\hat m}{\sqrt{\hat v} + \epsilon},\qquad
      m, v \text{ the running means of } g \text{ and } D^2,$$

    with D averaged over the window of a convolution's kernel. Source: Yao, Gholami, Shen, Mustafa, Keutzer, Mahoney
    (AAAI 2021).
    """

    def start(trainable: Any) -> AdaHessianState:
        zeros = jax.tree.map(jnp.zeros_like, trainable)
        return AdaHessianState(jnp.zeros((), jnp.int32), zeros, zeros)

    def changes(network: Any, trainable: Any, samples: Any, state: AdaHessianState) -> tuple[Any, AdaHessianState]:
        static = eqx.filter(network, eqx.is_inexact_array, inverse=True)

        def gradient_at(arrays: Any) -> Any:
            return jax.grad(lambda now: loss(eqx.combine(now, static), samples))(arrays)

        leaves, structure = jax.tree.flatten(trainable)
        keys = jax.random.split(jax.random.fold_in(jax.random.key(0), state.count), len(leaves))
        signs = [jax.random.rademacher(key, leaf.shape, leaf.dtype) for key, leaf in zip(keys, leaves, strict=True)]
        direction = jax.tree.unflatten(structure, signs)
        gradient, product = jax.jvp(gradient_at, (trainable,), (direction,))
        diagonal = jax.tree.map(lambda z, hz: _over_window(z * hz), direction, product)

        count = state.count + 1
        first, second = decays
        mean = jax.tree.map(lambda m, g: first * m + (1 - first) * g, state.mean, gradient)
        squares = jax.tree.map(lambda v, d: second * v + (1 - second) * d**2, state.squares, diagonal)
        # Both means begin at zero, for which they are corrected as in Adam.
        risen = optax.tree.bias_correction(mean, first, count)
        risen_squares = optax.tree.bias_correction(squares, second, count)
        step = jax.tree.map(lambda m, v: -learning_rate * m / (jnp.sqrt(v) + epsilon), risen, risen_squares)
        return step, AdaHessianState(count, mean, squares)

    return training_arm(make_network, batch, start, changes)


def _over_window(diagonal: Array) -> Array:
    """The mean over all axes of a kernel but the last two, its channels; other arrays as they are."""
    if diagonal.ndim <= 2:
        return diagonal
    mean = jnp.mean(diagonal, axis=tuple(range(diagonal.ndim - 2)), keepdims=True)
    return jnp.broadcast_to(mean, diagonal.shape)


def hessian_free_arm(
    make_network: MakeNetwork,
    batch: Batch,
    outputs: Callable[[Any, Any], Array],
    loss: Callable[[Array, Any], Array],
    learning_rate: float,
    iterations: int,
) -> Arm:
    """The Gauss-Newton step by a few Krylov iterations with products only (Martens, ICML 2010): fewer iterations than
    it takes to converge are its regularization.

    Args:
        make_network: From a random key to the network.
        batch: From a random key and the number of updates made to the samples of the next.
        outputs: `outputs(network, samples)` of the whole batch, whose samples may depend on each other.
        loss: `loss(outputs, samples)`, half the sum of squared differences.
        learning_rate: 1 is the whole step.
        iterations: Krylov iterations.
    """
    # To the engine the whole batch is one sample.
    return half_inverse_arm(
        make_network,
        lambda key, count: jax.tree.map(lambda leaf: leaf[None], batch(key, count)),
        outputs,
        lambda values, samples: loss(values[0], jax.tree.map(lambda leaf: leaf[0], samples)),
        kappa=-1.0,
        truncation=0.0,
        engine="matrix-free",
        iterations=iterations,
        learning_rate=learning_rate,
    )
