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


def explicit(jacobian, gradient, kappa, truncation):
    """V S^kappa U^T g by NumPy, and how many singular values were kept."""
    left, values, right = np.linalg.svd(np.asarray(jacobian), full_matrices=False)
    keep = values > truncation * values[0]
    assert 0 < keep.sum()
    return right[keep].T @ (values[keep] ** kappa * (left[:, keep].T @ np.asarray(gradient).ravel())), keep.sum()


def flat_of(tree):
    return np.asarray(ravel_pytree(tree)[0])


@pytest.mark.parametrize("batch", [3, 60])  # fewer and more rows than the 138 parameters
def test_every_engine_computes_the_definition(batch, key):
    function, network, samples, gradient = problem(batch, key)

    # Of more rows than the network has parameters some singular values are round-off, for which a truncation is needed.
    kinds = [(-1.0, 1e-3), (-0.5, 1e-3)] + ([(1.0, None), (-1.0, None)] if batch == 3 else [])
    cases = [(engine, *kind) for engine in ENGINES for kind in kinds]

    # One program: the Jacobian of the whole batch by forward mode, the gradient of the loss, and all engines.
    @eqx.filter_jit
    def everything(network):
        arrays, static = eqx.partition(network, eqx.is_inexact_array)
        flat, unravel = ravel_pytree(arrays)

        def outputs(parameters):
            net = eqx.combine(unravel(parameters), static)
            return jax.vmap(lambda s: function(net, s))(samples)

        def power(engine, kappa, truncation):
            options: dict[str, Any] = dict(kappa=kappa, truncation=truncation, engine=engine, iterations=500)
            return jacobian_power(function, network, samples, gradient, **options)

        steepest = jax.grad(lambda p: 0.5 * jnp.sum((outputs(p) - samples) ** 2))(flat)
        return jax.jacfwd(lambda p: outputs(p).ravel())(flat), steepest, [power(*case) for case in cases]

    jacobian, steepest, powers = everything(network)
    for (_, kappa, truncation), (direction, spectrum) in zip(cases, powers, strict=True):
        if kappa == 1.0:
            expected, kept, tolerance = np.asarray(steepest), 4 * batch, 1e-10
        elif truncation is None:
            expected, kept = np.linalg.pinv(jacobian) @ np.asarray(gradient).ravel(), 4 * batch
            tolerance = 1e-10
        else:
            expected, kept = explicit(jacobian, gradient, kappa, truncation)
            tolerance = 1e-8
        size = float(np.linalg.norm(expected))
        np.testing.assert_allclose(flat_of(direction), expected, rtol=0, atol=tolerance * size)
        assert spectrum.kept == kept and bool(spectrum.finite)


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


def test_complex_outputs_count_as_two_real_ones(key):
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

    @eqx.filter_jit
    def directions(network):
        results = []
        for function, objective in ((waves, loss), (pairs, loss_of_pairs)):
            gradient = value_and_output_gradient(objective, function, network, samples)[1]
            results.append(
                [jacobian_power(function, network, samples, gradient, engine=engine)[0] for engine in ENGINES]
            )
        return results

    for complex_one, real_one in zip(*directions(network), strict=True):
        np.testing.assert_allclose(flat_of(complex_one), flat_of(real_one), atol=1e-9)


def test_few_iterations_say_that_they_are_not_enough(key):
    function, network, samples, gradient = problem(60, key)
    options: dict[str, Any] = dict(kappa=-0.5, truncation=1e-2, engine="matrix-free")

    @eqx.filter_jit
    def spectra(network):
        return [jacobian_power(function, network, samples, gradient, iterations=n, **options)[1] for n in (10, 138)]

    few, enough = spectra(network)
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


@pytest.mark.parametrize("engine", ENGINES)
def test_a_network_in_float32_may_stand_before_physics_in_float64(engine, key):
    """The direction has the network's precision, and is that of the same network in float64."""
    function, network, samples, gradient = problem(3, key)
    arrays, static = eqx.partition(network, eqx.is_inexact_array)
    coarse = eqx.combine(jax.tree.map(lambda leaf: leaf.astype(jnp.float32), arrays), static)
    options: Any = dict(engine=engine, truncation=1e-2, iterations=12)
    direction = eqx.filter_jit(jacobian_power)
    exact, _ = direction(function, network, samples, gradient, **options)
    rounded, _ = direction(
        lambda net, start: function(lambda x: net(x.astype(jnp.float32)).astype(float), start),
        coarse,
        samples,
        gradient,
        **options,
    )
    assert {leaf.dtype for leaf in jax.tree.leaves(rounded)} == {jnp.dtype("float32")}
    np.testing.assert_allclose(flat_of(rounded), flat_of(exact), rtol=0, atol=1e-4 * np.abs(flat_of(exact)).max())


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
        ({"output_gradient": jnp.full((3, 2), jnp.nan), "engine": "gram"}, "not finite"),
        ({"parameters": jnp.ones(3, complex)}, "complex"),
        ({"parameters": jnp.arange(3)}, "no arrays of floating-point"),
        ({"samples": jnp.ones(())}, "batch axis"),
    ],
)
def test_bad_input_is_refused(options, words):
    arrays = {"parameters": jnp.ones(2), "samples": jnp.ones((3, 2)), "output_gradient": jnp.ones((3, 2))}
    given: dict[str, Any] = arrays | options
    with pytest.raises(InputError, match=words):
        jacobian_power(lambda p, s: s * p, **given)


def test_a_jacobian_that_is_not_finite_is_refused():
    with pytest.raises(InputError, match="not finite"):
        jacobian_power(lambda p, s: jnp.sqrt(p) * s, jnp.zeros(2), jnp.ones((1, 1)), jnp.ones((1, 2)), kappa=1.0)
