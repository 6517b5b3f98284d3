"""Ways to train a network that are compared: by a gradient and any Optax optimizer, or by half-inverse gradients."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax import Array

from diffphys.experiments.comparison import Arm, Budget
from diffphys.inversion import half_inverse_gradients, value_and_output_gradient
from diffphys.runs import setting


MakeNetwork = Callable[[Array], Any]
Batch = Callable[[Array, Array], Any]


class Training(NamedTuple):
    """The state of an arm that trains a network.

    Attributes:
        trainable: The network's inexact arrays.
        optimizer_state: The optimizer's.
        key: A random key; update n uses `fold_in(key, n)`.
        count: Updates made.
    """

    trainable: Any
    optimizer_state: Any
    key: Array
    count: Array


def training_arm(
    make_network: MakeNetwork,
    batch: Batch,
    init: Callable[[Any], Any],
    changes: Callable[[Any, Any, Any, Any], tuple[Any, Any]],
) -> Arm:
    """Training a network on batches.

    Args:
        make_network: From a random key to the network.
        batch: From a random key and the number of updates made to the samples of the next.
        init: From the network's trainable arrays to the optimizer's first state.
        changes: `changes(network, trainable, samples, optimizer_state)`, from the network and its trainable arrays to
            the update of the arrays and the optimizer's next state.
    """

    def start(key: Array) -> Training:
        trainable = eqx.filter(make_network(key), eqx.is_inexact_array)
        return Training(trainable, init(trainable), jax.random.fold_in(key, 1), jnp.zeros((), jnp.int32))

    def network(state: Training) -> Any:
        return eqx.combine(state.trainable, _static(make_network))

    def update(state: Training) -> Training:
        samples = batch(jax.random.fold_in(state.key, state.count), state.count)
        change, optimizer_state = changes(network(state), state.trainable, samples, state.optimizer_state)
        return Training(eqx.apply_updates(state.trainable, change), optimizer_state, state.key, state.count + 1)

    return Arm(start, update, network)


def gradient_arm(
    make_network: MakeNetwork,
    batch: Batch,
    loss: Callable[[Any, Any], Array],
    optimizer: optax.GradientTransformation,
) -> Arm:
    """Training by the gradient of `loss(network, batch)`, and any Optax optimizer.

    Args:
        make_network: From a random key to the network.
        batch: From a random key and the number of updates made to the samples of the next.
        loss: A number; the proxy loss of scale-invariant training is one.
        optimizer: Any.
    """

    def changes(network: Any, trainable: Any, samples: Any, state: Any) -> tuple[Any, Any]:
        return optimizer.update(eqx.filter_grad(lambda net: loss(net, samples))(network), state, trainable)

    return training_arm(make_network, batch, optimizer.init, changes)


def half_inverse_arm(
    make_network: MakeNetwork,
    batch: Batch,
    function: Callable[[Any, Any], Any],
    loss: Callable[[Any, Any], Array],
    **options: Any,
) -> Arm:
    """Training by J^kappa; see `diffphys.inversion.half_inverse_gradients` for the options.

    Args:
        make_network: From a random key to the network.
        batch: From a random key and the number of updates made to the samples of the next.
        function: From network and one sample to the outputs.
        loss: `loss(outputs, samples)`, a number.
        **options: Of `half_inverse_gradients`.
    """
    optimizer = half_inverse_gradients(**options)

    def changes(network: Any, trainable: Any, samples: Any, state: Any) -> tuple[Any, Any]:
        del trainable
        _, gradient = value_and_output_gradient(loss, function, network, samples)
        return optimizer.update(gradient, state, network, function=function, samples=samples)

    return training_arm(make_network, batch, optimizer.init, changes)


def _static(make_network: MakeNetwork) -> Any:
    """What of a network is no trainable array, and so the same for every key."""
    shaped = eqx.filter_eval_shape(make_network, jax.random.key(0))
    return eqx.partition(shaped, lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct))[1]


def in_fixed_order(samples: Any, size: int) -> Batch:
    """Batches of a data set, one after the other, the same in every epoch, as the half-inverse papers train."""
    count = jax.tree.leaves(samples)[0].shape[0] // size

    def batch(key: Array, update: Array) -> Any:
        del key
        start = (update % count) * size
        return jax.tree.map(lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, start, size), samples)

    return batch


@dataclasses.dataclass(frozen=True)
class HalfInverse(Budget):
    """The settings of experiments that compare half-inverse gradients on a data set."""

    half_inverse_batch: int = setting(128, help="batch of half-inverse gradients and Gauss-Newton", minimum=1)
    half_inverse_rate: float = setting(1.0, help="eta of half-inverse gradients and Gauss-Newton", above=0.0)
    truncation: float = setting(1e-6, help="relative truncation of singular values", minimum=0.0, maximum=0.5)
    adam_batch: int = setting(512, help="batch of Adam", minimum=1)
    adam_rate: float = setting(3e-4, help="learning rate of Adam", above=0.0)


def half_inverse_arms(
    settings: HalfInverse,
    make_network: MakeNetwork,
    training: Any,
    function: Callable[[Any, Any], Any],
    loss: Callable[[Any, Any], Array],
) -> dict[str, Arm]:
    """Half-inverse gradients, Gauss-Newton and Adam, each with its batches of a data set in a fixed order."""
    few, many = (in_fixed_order(training, size) for size in (settings.half_inverse_batch, settings.adam_batch))
    options: dict[str, Any] = dict(learning_rate=settings.half_inverse_rate, truncation=settings.truncation)

    def objective(network: Any, samples: Any) -> Array:
        return loss(jax.vmap(lambda one: function(network, one))(samples), samples)

    return {
        "half-inverse": half_inverse_arm(make_network, few, function, loss, kappa=-0.5, **options),
        "gauss-newton": half_inverse_arm(make_network, few, function, loss, kappa=-1.0, **options),
        "adam": gradient_arm(make_network, many, objective, optax.adam(settings.adam_rate)),
    }
