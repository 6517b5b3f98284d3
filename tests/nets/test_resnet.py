"""Residual networks: the published ones exactly, their derivatives, and what happens to wrong arguments."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffphys.errors import InputError
from diffphys.nets import Convolution, ResNet, count_parameters


def small(key, **arguments):
    """A network for tests."""
    defaults: dict[str, Any] = dict(features=4, blocks=2, kernel_size=3, last_scale=1.0, key=key)
    return ResNet(3, 2, **(defaults | arguments))


@pytest.mark.parametrize(
    ("arguments", "parameters", "convolutions"),
    [
        (dict(), 260_354, 12),
        (dict(blocks=3, kernel_size=3, first=False, last_kernel_size=1), 47_330, 8),
        (dict(blocks=3, kernel_size=3, first=False, last_kernel_size=1, skip="convolution"), 49_442, 10),
    ],
)
def test_published_parameter_counts(key, arguments, parameters, convolutions):
    network = ResNet(3, 2, **arguments, key=key)
    assert count_parameters(network) == parameters
    layers = jax.tree.leaves(network, is_leaf=lambda node: isinstance(node, Convolution))
    assert sum(isinstance(layer, Convolution) for layer in layers) == convolutions
    assert network(jnp.zeros((3, 12, 8))).shape == (2, 12, 8)


def test_a_deeper_corrector_of_two_fields_and_a_mask(key):
    """Ten blocks with ReLU and mirrored sides (Brahmachary, Thuerey 2024): 516,674 parameters are published."""
    network = ResNet(3, 2, blocks=10, activation=jax.nn.relu, padding="reflect", key=key)
    assert count_parameters(network) == 516_674


@pytest.mark.usefixtures("float64")
def test_it_is_the_formula_of_its_docstring(key):
    network = small(key, slope=0.2, padding="edge")
    image = jax.random.normal(key, (3, 6, 5))

    @eqx.filter_jit
    def formula(network, image, activation):
        x = image if network.first is None else activation(network.first(image))
        for block in network.blocks:
            kept = x if block.skip is None else block.skip(x)
            x = activation(block.second(activation(block.first(x))) + kept)
        return network.last(x)

    answer = formula(network, image, lambda x: jnp.maximum(x, 0.2 * x))
    np.testing.assert_allclose(eqx.filter_jit(network)(image), answer, rtol=1e-12, atol=1e-13)

    network = small(key, first=False, skip="convolution", activation=jnp.tanh)
    assert network.first is None and all(block.skip is not None for block in network.blocks)
    np.testing.assert_allclose(
        eqx.filter_jit(network)(image), formula(network, image, jnp.tanh), rtol=1e-12, atol=1e-13
    )


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("axes", [1, 3])
def test_gradients_are_those_of_finite_differences(key, axes):
    """Taylor remainders: |f(x + h d) - f(x) - h f'(x) d| falls like h^2, for weights and image at once."""
    network = small(key, axes=axes, blocks=1, padding="periodic", activation=jnp.tanh)
    weights, rest = eqx.partition(network, eqx.is_inexact_array)
    images = jax.random.normal(key, (2, 3, *(6, 5, 4)[:axes]))
    point = (weights, images)
    random = np.random.default_rng(4)
    direction = jax.tree.map(lambda a: jnp.asarray(random.standard_normal(a.shape)), point)

    @jax.jit
    def loss(point):
        return jnp.sum(jax.vmap(eqx.combine(point[0], rest))(point[1]) ** 2)

    gradient = jax.jit(jax.grad(loss))(point)
    pairs = zip(jax.tree.leaves(gradient), jax.tree.leaves(direction), strict=True)
    slope = sum(jnp.vdot(g, d) for g, d in pairs)
    steps = np.array([1e-2, 1e-3, 1e-4])
    moved = [loss(jax.tree.map(lambda a, d, h=h: a + h * d, point, direction)) for h in steps]
    remainders = np.abs(np.array(moved) - loss(point) - steps * slope)
    orders = np.diff(np.log(remainders)) / np.diff(np.log(steps))
    np.testing.assert_allclose(orders, 2, atol=0.15)


def test_a_fresh_network_barely_moves_a_simulation(key):
    images = jax.random.normal(key, (8, 3, 32, 16))
    fresh = jax.vmap(ResNet(3, 2, key=key))(images)
    published = jax.vmap(ResNet(3, 2, last_scale=1.0, key=key))(images)
    assert jnp.std(fresh) < 0.02
    np.testing.assert_allclose(100 * fresh, published, rtol=1e-3, atol=1e-4)


def test_new_weights_compile_nothing_anew(key):
    traces = []

    @eqx.filter_jit
    @eqx.filter_grad
    def gradient(network, images):
        traces.append(1)
        return jnp.mean(jax.vmap(network)(images) ** 2)

    images = jax.random.normal(key, (2, 3, 8, 6))
    network = small(key)
    for seed in range(3):
        updates = gradient(network, images)
        network = jax.tree.map(lambda w, g: w - 0.1 * g, network, updates)
        gradient(small(jax.random.key(seed)), images)
    assert len(traces) == 1


@pytest.mark.usefixtures("float64")
def test_single_and_double_precision_agree(key):
    network = small(key)
    image = jax.random.normal(key, (3, 8, 6))
    assert network(image).dtype == jnp.float64
    single = jax.tree.map(lambda a: a.astype(jnp.float32), network)
    assert single(image.astype(jnp.float32)).dtype == jnp.float32
    np.testing.assert_allclose(single(image.astype(jnp.float32)), network(image), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (dict(features=0), "features"),
        (dict(blocks=-1), "blocks"),
        (dict(blocks=0, first=False), "blocks"),
        (dict(skip="none"), "skip"),
        (dict(kernel_size=2), "kernel_size"),
        (dict(padding="mirror"), "mirror"),
    ],
)
def test_wrong_arguments_are_named(key, arguments, words):
    with pytest.raises(InputError, match=words):
        small(key, **arguments)


def test_a_batch_without_vmap_is_explained(key):
    with pytest.raises(InputError, match="did you forget jax.vmap"):
        small(key)(jnp.zeros((4, 3, 8, 6)))
