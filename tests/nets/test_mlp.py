"""Perceptrons with layers of their own sizes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffphys.errors import InputError
from diffphys.nets import MLP, count_parameters


def test_it_computes_its_formula(key):
    network = MLP((2, 3, 5, 1), jnp.tanh, key=key)
    x = np.array([0.3, -2.0])
    (w1, b1), (w2, b2), (w3, b3) = [(np.asarray(layer.weight), np.asarray(layer.bias)) for layer in network.layers]
    expected = w3 @ np.tanh(w2 @ np.tanh(w1 @ x + b1) + b2) + b3
    np.testing.assert_allclose(network(jnp.asarray(x)), expected, rtol=1e-5)


@pytest.mark.parametrize(
    "sizes, count",
    [
        ((1, 16, 64, 16, 1), 2177),
        ((2, 32, 64, 32, 2), 4354),
        ((4, 20, 20, 20, 24), 1444),
        ((64, 64, 128, 64, 64), 24896),
    ],
)
def test_published_parameter_counts(sizes, count, key):
    assert count_parameters(MLP(sizes, jax.nn.relu, key=key)) == count


@pytest.mark.parametrize("sizes", [(3,), (3, 0, 1), (3, True, 1)])
def test_bad_sizes_are_refused(sizes, key):
    with pytest.raises(InputError, match="sizes is"):
        MLP(sizes, jnp.tanh, key=key)
