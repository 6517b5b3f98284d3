"""The powers of a Jacobian against their definition, against each other, and against plain gradients."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from diffphys.errors import InputError
from diffphys.inversion import choose_engine, jacobian_power, value_and_output_gradient


pytestmark = pytest.mark.usefixtures("float64")

ENGINES = ("dense", "gram", "matrix-free")


def oscillator(force, start):
    """A nonlinear simulator of four outputs: two masses pushed eight times."""

    def step(state, push):
        x, v = state[:2], state[2:]
        v = v + 0.3 * (-x - (x - x[::-1]) ** 3 + jnp.array([0.0, 1.0]) * push)
        return jnp.concatenate([x + 0.3 * v, v]), None

    return jax.lax.scan(step, start, force)[0]


def problem(batch, key, width=6):
    """Network and physics: function, parameters, samples and outputs' gradient."""
    network = eqx.nn.MLP(4, 8, width, 2, activation=jnp.tanh, key=key)
    samples = jax.random.uniform(jax.random.fold_in(key, 1), (batch, 4))

    def function(net, start):
        return oscillator(net(start), start)

    def loss(outputs, starts):
        return 0.5 * jnp.sum((outputs - starts) ** 2)

    return function, network, samples, value_and_output_gradient(loss, function, network, samples)[1]


def explicit(function, network, samples, gradient, kappa, truncation):
    """V S^kappa U^T g by NumPy, from a Jacobian of the whole batch at once."""
    arrays, static = eqx.partition(network, eqx.is_inexact_array)
    flat, unravel = ravel_pytree(arrays)
    outputs = jax.vmap(lambda s, p: function(eqx.combine(unravel(p), static), s), in_axes=(0, None))
    jacobian = np.asarray(jax.jacfwd(lambda p: outputs(samples, p).ravel())(flat))
    left, values, right = np.linalg.svd(jacobian, full_matrices=False)
    keep = values > truncation * values[0]
    assert 0 < keep.sum()
    return right[keep].T @ (values[keep] ** kappa * (left[:, keep].T @ np.asarray(gradient).ravel())), keep.sum()


def flat_of(tree):
    return np.asarray(ravel_pytree(tree)[0])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("batch", [3, 60])  # fewer and more rows than the 138 parameters
@pytest.mark.parametrize("kappa", [-1.0, -0.5])
def test_every_engine_computes_the_definition(engine, batch, kappa, key):
    function, network, samples, gradient = problem(batch, key)
    expected, kept = explicit(function, network, samples, gradient, kappa, 1e-3)
    direction, spectrum = jacobian_power(
        function, network, samples, gradient, kappa=kappa, truncation=1e-3, engine=engine, iterations=500
    )
    np.testing.assert_allclose(flat_of(direction), expected, atol=float(1e-8 * np.linalg.norm(expected)))
    assert spectrum.kept == kept and bool(spectrum.finite)


@pytest.mark.parametrize("engine", ENGINES)
def test_power_one_is_the_gradient(engine, key):
    function, network, samples, gradient = problem(5, key)

    def loss(net):
        return 0.5 * jnp.sum((jax.vmap(lambda s: function(net, s))(samples) - samples) ** 2)

    direction, _ = jacobian_power(function, network, samples, gradient, kappa=1.0, engine=engine)
    expected = flat_of(eqx.filter_grad(loss)(network))
    np.testing.assert_allclose(flat_of(direction), expected, rtol=0, atol=float(1e-10 * np.linalg.norm(expected)))


@pytest.mark.parametrize("engine", ENGINES)
def test_power_minus_one_is_the_pseudo_inverse_step(engine, key):
    function, network, samples, gradient = problem(3, key)
    arrays, static = eqx.partition(network, eqx.is_inexact_array)
    flat, unravel = ravel_pytree(arrays)
    rows = [jax.jacrev(lambda p, s=s: function(eqx.combine(unravel(p), static), s))(flat) for s in samples]
    expected = np.linalg.pinv(np.concatenate(rows)) @ np.asarray(gradient).ravel()
    direction, _ = jacobian_power(function, network, samples, gradient, kappa=-1.0, engine=engine)
    np.testing.assert_allclose(flat_of(direction), expected, rtol=0, atol=float(1e-10 * np.linalg.norm(expected)))


def test_a_gauss_newton_step_solves_a_linear_problem(key):
    matrix = jax.random.normal(key, (5, 5)) + 5 * jnp.eye(5)

    def function(parameters, row):
        return row @ parameters

    parameters, target = jnp.ones(5), jnp.arange(5.0)
    gradient = jax.vmap(lambda row: function(parameters, row))(matrix) - target
    step, _ = jacobian_power(function, parameters, matrix, gradient, kappa=-1.0)
    np.testing.assert_allclose(parameters - step, np.linalg.solve(matrix, target), atol=1e-12)


def test_truncated_singular_values_are_left_out_not_raised():
    scales = jnp.array([1.0, 1e-2, 1e-5])
    direction, spectrum = jacobian_power(
        lambda p, s: s * p, jnp.zeros(3), scales[None], jnp.ones((1, 3)), kappa=-0.5, truncation=1e-4, engine="dense"
    )
    np.testing.assert_allclose(direction, [1.0, 10.0, 0.0], rtol=1e-12)
    assert spectrum.kept == 2
    np.testing.assert_allclose([spectrum.largest, spectrum.smallest], [1.0, 1e-2], rtol=1e-12)


@pytest.mark.parametrize("engine", ENGINES)
def test_complex_outputs_count_as_two_real_ones(engine, key):
    network = eqx.nn.MLP(2, 6, 5, 1, activation=jnp.tanh, key=key)
    samples = jax.random.normal(jax.random.fold_in(key, 1), (4, 2))
    goal = jnp.array([1.0 + 2.0j, -1.0j, 0.5])

    def waves(net, sample):
        numbers = net(sample)
        return numbers[:3] * jnp.exp(1j * numbers[3:])

    def pairs(net, sample):
        return jnp.stack([waves(net, sample).real, waves(net, sample).imag])

    def loss(outputs, _):
        return jnp.sum(jnp.abs(outputs - goal) ** 2)

    def loss_of_pairs(outputs, _):
        return jnp.sum((outputs[:, 0] - goal.real) ** 2 + (outputs[:, 1] - goal.imag) ** 2)

    results = []
    for function, objective in ((waves, loss), (pairs, loss_of_pairs)):
        gradient = value_and_output_gradient(objective, function, network, samples)[1]
        results.append(flat_of(jacobian_power(function, network, samples, gradient, engine=engine)[0]))
    np.testing.assert_allclose(*results, atol=1e-9)


def test_few_iterations_say_that_they_are_not_enough(key):
    function, network, samples, gradient = problem(60, key)
    options: dict[str, Any] = dict(kappa=-0.5, truncation=1e-2, engine="matrix-free")
    few = jacobian_power(function, network, samples, gradient, iterations=10, **options)[1]
    enough = jacobian_power(function, network, samples, gradient, iterations=138, **options)[1]
    assert few.error > 1e-2 > 1e-6 > enough.error


def test_a_batch_of_1024_poisson_problems_fits_into_a_gigabyte(key):
    """64 outputs of each of 1024 samples by 24,896 parameters: J alone has 6.5 GB in float32."""
    network = eqx.nn.MLP(64, 64, 128, 2, activation=jnp.tanh, key=key)
    arrays, static = eqx.partition(network, eqx.is_inexact_array)
    arrays = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), arrays)
    samples = jnp.zeros((1024, 64), jnp.float32)

    def direction(parameters, gradient):
        net = eqx.combine(parameters, static)
        return jacobian_power(lambda p, s: p(s), net, samples, gradient, iterations=100)[0]

    compiled = jax.jit(direction).lower(arrays, jnp.ones_like(samples)).compile()
    memory: Any = compiled.memory_analysis()
    assert memory.temp_size_in_bytes < 1e9


def test_it_works_under_jit(key):
    function, network, samples, gradient = problem(3, key)
    arrays, static = eqx.partition(network, eqx.is_inexact_array)

    @jax.jit
    def compiled(parameters):
        return jacobian_power(function, eqx.combine(parameters, static), samples, gradient)

    expected, _ = jacobian_power(function, network, samples, gradient)
    np.testing.assert_allclose(flat_of(compiled(arrays)[0]), flat_of(expected), atol=1e-12)


def test_the_engine_is_chosen_by_size_and_truncation():
    assert choose_engine(128, 1444, jnp.float32, 1e-10) == "dense"
    assert choose_engine(128, 1444, jnp.float32, 1e-2) == "gram"
    assert choose_engine(128, 1444, jnp.float64, 1e-6) == "gram"
    assert choose_engine(65536, 24896, jnp.float32, 1e-5) == "matrix-free"


@pytest.mark.parametrize(
    "options, words",
    [
        ({"kappa": -1.5}, "kappa is -1.5"),
        ({"kappa": float("nan")}, "kappa is nan"),
        ({"truncation": 1.0}, "truncation is 1.0"),
        ({"truncation": -1e-3}, "truncation is -0.001"),
        ({"truncation": 1e-10, "engine": "gram"}, "squares the condition number"),
        ({"engine": "svd"}, "engine is 'svd'"),
        ({"iterations": 0}, "iterations is 0"),
        ({"output_gradient": jnp.ones((3, 5))}, "output_gradient has shapes"),
        ({"output_gradient": jnp.full((3, 4), jnp.nan)}, "not finite"),
        ({"parameters": jnp.ones(3, complex)}, "complex"),
        ({"parameters": jnp.arange(3)}, "no arrays of floating-point"),
        ({"samples": jnp.ones(())}, "batch axis"),
    ],
)
def test_bad_input_is_refused(options, words, key):
    function, network, samples, gradient = problem(3, key)
    given: dict[str, Any] = {"parameters": network, "samples": samples, "output_gradient": gradient} | options
    with pytest.raises(InputError, match=words):
        jacobian_power(function, **given)


def test_a_jacobian_that_is_not_finite_is_refused():
    with pytest.raises(InputError, match="not finite"):
        jacobian_power(lambda p, s: jnp.sqrt(p) * s, jnp.zeros(2), jnp.ones((1, 1)), jnp.ones((1, 2)), kappa=1.0)
