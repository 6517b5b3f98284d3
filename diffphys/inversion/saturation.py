"""Neuron saturation: the symptom of an update that inverts too much."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array


class Saturation(eqx.Module):
    """Activations of the hidden layers over a data set; each entry of a list is one layer, shape (neurons,).

    Attributes:
        mean: Over the samples.
        deviation: The standard deviation over the samples. A neuron with nearly none says the same to every sample.
        saturated: The part of all neurons whose deviation is below the threshold.
    """

    mean: list[Array]
    deviation: list[Array]
    saturated: Array


def neuron_saturation(network: Any, inputs: Array, *, threshold: float = 0.01) -> Saturation:
    """Mean and deviation of every hidden neuron's activation, as in section 2 of Schnell, Holl, Thuerey (2022).

    With tanh a mean near +-1 and no deviation is saturation; with ReLU a dead neuron shows as zeros.

    Args:
        network: A multilayer perceptron, `equinox.nn.MLP` or `diffphys.nets.MLP`.
        inputs: Shape (samples, inputs).
        threshold: Deviation below which a neuron counts as saturated.
    """
    layers = jax.vmap(lambda one: _activations(network, one))(inputs)
    deviations = [jnp.std(layer, axis=0) for layer in layers]
    quiet = jnp.concatenate([deviation < threshold for deviation in deviations])
    return Saturation([jnp.mean(layer, axis=0) for layer in layers], deviations, jnp.mean(quiet))


def _activations(network: Any, x: Array) -> list[Array]:
    """What the hidden layers hand on, first to last."""
    hidden = []
    for index, layer in enumerate(network.layers[:-1]):
        # eqx.nn.MLP stores one activation function for each neuron of each layer; learned ones hold arrays.
        activation = jax.tree.map(lambda leaf, i=index: leaf[i] if eqx.is_array(leaf) else leaf, network.activation)
        x = eqx.filter_vmap(lambda function, value: function(value))(activation, layer(x))
        hidden.append(x)
    return hidden
