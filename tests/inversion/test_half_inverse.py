"""Half-inverse gradients as an Optax transformation, Newton beside it, and saturation."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from diffphys.errors import InputError
from diffphys.inversion import (
    gauss_newton,
    half_inverse_gradients,
    jacobian_power,
    neuron_saturation,
    newton,
    value_and_output_gradient,
)


pytestmark = pytest.mark.usefixtures("float64")


def linear(parameters, row):
    return row @ parameters


def squares(outputs, rows):
    del rows
    return 0.5 * jnp.sum((outputs - 1.0) ** 2)


def test_the_update_is_minus_the_rate_times_the_direction(key):
    rows, parameters = jax.random.normal(key, (6, 3)), jnp.array([1.0, 2.0, 3.0])
    _, gradient = value_and_output_gradient(squares, linear, parameters, rows)
    direction, _ = jacobian_power(linear, parameters, rows, gradient)
    optimizer: Any = optax.chain(half_inverse_gradients(0.5), optax.scale(2.0))
    updates, state = optimizer.update(gradient, optimizer.init(parameters), parameters, function=linear, samples=rows)
    np.testing.assert_allclose(updates, -direction, atol=1e-14)
    assert state[0].count == 1 and state[0].spectrum.kept == 3


def test_the_rate_may_be_a_schedule(key):
    rows, parameters = jax.random.normal(key, (6, 3)), jnp.ones(3)
    _, gradient = value_and_output_gradient(squares, linear, parameters, rows)
    optimizer: Any = half_inverse_gradients(lambda count: 1.0 / (1.0 + count))
    state = optimizer.init(parameters)
    first, state = optimizer.update(gradient, state, parameters, function=linear, samples=rows)
    second, _ = optimizer.update(gradient, state, parameters, function=linear, samples=rows)
    np.testing.assert_allclose(first, 2.0 * second)


def test_gauss_newton_lands_on_the_least_squares_solution(key):
    rows, parameters = jax.random.normal(key, (6, 3)), jnp.zeros(3)
    _, gradient = value_and_output_gradient(squares, linear, parameters, rows)
    optimizer: Any = gauss_newton(1.0)
    updates, _ = optimizer.update(gradient, optimizer.init(parameters), parameters, function=linear, samples=rows)
    np.testing.assert_allclose(updates, np.linalg.lstsq(rows, np.ones(6))[0], atol=1e-12)


def test_the_state_keeps_its_shape_in_a_scan(key):
    rows = jax.random.normal(key, (6, 3)) @ jnp.diag(jnp.array([1.0, 0.3, 0.1]))
    optimizer: Any = half_inverse_gradients(0.5)

    def update(carry, _):
        parameters, state = carry
        value, gradient = value_and_output_gradient(squares, linear, parameters, rows)
        change, state = optimizer.update(gradient, state, parameters, function=linear, samples=rows)
        return (parameters + change, state), value

    start = jnp.zeros(3)
    _, values = jax.lax.scan(update, (start, optimizer.init(start)), length=30)
    assert values[-1] < values[0] and bool(jnp.all(jnp.diff(values) <= 1e-12))


def test_an_update_that_is_not_finite_is_left_out_and_counted():
    optimizer: Any = half_inverse_gradients(1.0)

    @jax.jit
    def update(parameters):
        state = optimizer.init(parameters)
        gradient = jnp.ones((1, 2))
        return optimizer.update(
            gradient, state, parameters, function=lambda p, s: s * jnp.sqrt(p), samples=jnp.ones((1, 1))
        )

    updates, state = update(jnp.array([0.0, 1.0]))
    assert not jnp.any(updates) and state.skipped == 1


def test_missing_arguments_are_named():
    optimizer: Any = half_inverse_gradients()
    with pytest.raises(InputError, match="function= and samples="):
        optimizer.update(jnp.ones((1, 1)), optimizer.init(jnp.ones(1)), jnp.ones(1))
    with pytest.raises(InputError, match=r"loss returns \(3, 1\); one number"):
        value_and_output_gradient(lambda y, x: y - x, lambda p, s: p * s, jnp.ones(()), jnp.ones((3, 1)))
    with pytest.raises(InputError, match=r"one common, non-empty batch axis.*\(\)"):
        value_and_output_gradient(lambda y, x: jnp.sum(y), lambda p, s: p * s, jnp.ones(()), jnp.ones(()))
    with pytest.raises(InputError, match=r"one sample, of shapes \[\(\)\].*the batch as first axis"):
        value_and_output_gradient(lambda y, x: jnp.sum(y), lambda p, s: p @ s, jnp.ones(3), jnp.ones(3))
    with pytest.raises(InputError, match="loss="):
        newton().update(jnp.ones(1), optax.EmptyState(), jnp.ones(1))
    with pytest.raises(InputError, match="kappa"):
        half_inverse_gradients(kappa=2.0)
    with pytest.raises(InputError, match="damping"):
        newton(damping=-1.0)


def test_newton_lands_on_the_minimum_of_a_quadratic(key):
    root = jax.random.normal(key, (4, 4))
    matrix, center = root @ root.T + jnp.eye(4), jnp.arange(4.0)

    def loss(tree):
        difference = jnp.concatenate([tree["a"], tree["b"]]) - center
        return 0.5 * difference @ matrix @ difference

    start = {"a": jnp.ones(1), "b": jnp.ones(3)}
    optimizer: Any = newton()
    updates, _ = optimizer.update(jax.grad(loss)(start), optimizer.init(start), start, loss=loss)
    end = optax.apply_updates(start, updates)
    np.testing.assert_allclose(np.concatenate([end["a"], end["b"]]), center, atol=1e-12)  # pyright: ignore


def test_saturation_sees_what_an_mlp_hands_on(key):
    network = eqx.nn.MLP(2, 1, 3, 2, activation=jnp.tanh, key=key)
    inputs = jax.random.normal(key, (50, 2))
    first = np.tanh(np.asarray(inputs) @ np.asarray(network.layers[0].weight).T + np.asarray(network.layers[0].bias))
    seen = neuron_saturation(network, inputs)
    np.testing.assert_allclose(seen.mean[0], first.mean(0), atol=1e-12)
    np.testing.assert_allclose(seen.deviation[0], first.std(0), atol=1e-12)
    assert seen.saturated == 0.0

    # A bias far out puts all neurons of the first layer at 1, and with them everything behind.
    stuck = eqx.tree_at(lambda net: net.layers[0].bias, network, jnp.full(3, 50.0))
    assert neuron_saturation(stuck, inputs).saturated == 1.0
