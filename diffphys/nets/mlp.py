"""Multilayer perceptrons whose layers have sizes of their own."""

from collections.abc import Callable, Sequence

import equinox as eqx
import jax
from jax import Array

from diffphys.errors import InputError
from diffphys.grids.numbers import as_whole, shown
from diffphys.nets.convolution import check_key


class MLP(eqx.Module):
    """x -> layer_n(activation(... activation(layer_1(x)))), the last layer linear. Batches are `jax.vmap`.

    `equinox.nn.MLP` gives all hidden layers one size; this one takes a list. Weights start uniform in
    `+-1 / sqrt(inputs)`, as those of Equinox and PyTorch.

    Args:
        sizes: Numbers of neurons, from the input to the output: (1, 16, 64, 16, 1), say.
        activation: A function of arrays.
        key: A `jax.random.key`.

    Raises:
        InputError: fewer than two sizes, or one that is no whole number of at least 1.
    """

    layers: tuple[eqx.nn.Linear, ...]
    activation: Callable[[Array], Array] = eqx.field(static=True)

    def __init__(self, sizes: Sequence[int], activation: Callable[[Array], Array], *, key: Array):
        given = sizes
        sizes = [as_whole(size) or 0 for size in sizes] if isinstance(sizes, Sequence) else []
        if len(sizes) < 2 or not all(sizes):
            raise InputError(f"MLP: sizes is {shown(given)}; two or more whole numbers of at least 1 are accepted.")
        if not callable(activation):
            raise InputError(f"MLP: activation is {shown(activation)}; a function of arrays is accepted.")
        check_key(key)
        keys = jax.random.split(key, len(sizes) - 1)
        pairs = zip(sizes[:-1], sizes[1:], keys, strict=True)
        self.layers = tuple(eqx.nn.Linear(inputs, outputs, key=key) for inputs, outputs, key in pairs)
        self.activation = activation

    def __call__(self, x: Array) -> Array:
        """Shape (inputs,) -> (outputs,)."""
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        return self.layers[-1](x)
