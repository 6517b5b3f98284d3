"""Scale-invariant training: what its gradient is, and what it does not depend on."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

from diffphys.errors import InputError
from diffphys.inversion import (
    BFGS,
    GaussNewton,
    LinearInverse,
    Newton,
    NoiseAwareHeatInverse,
    PoissonSolve,
    PoissonStencil,
    RepeatedInverse,
    SaddleFreeNewton,
    SpectralHeat,
    TimeReversal,
    absolute_values,
    check_inverse,
    scale_invariant_loss,
    scale_invariant_target,
    scale_invariant_update,
)
from diffphys.inversion.local_inverses import _eigenvectors


pytestmark = pytest.mark.usefixtures("float64")


def pair_of(scale):
    """A nonlinear simulator whose outputs have the units of `scale`, and its exact inverse."""

    def simulator(x):
        return scale * jnp.array([jnp.sinh(x[0]), x[1] ** 3 + x[1] + x[0]])

    def inverse(target, x, y):
        first = jnp.arcsinh(target[0] / scale[0])
        second = target[1] / scale[1] - first  # t^3 + t = second, by Cardano
        root = jnp.sqrt(second**2 / 4 + 1 / 27)
        return jnp.array([first, jnp.cbrt(second / 2 + root) + jnp.cbrt(second / 2 - root)])

    return simulator, inverse


def proxy_gradient(network, inputs, targets, simulator, inverse, eta=1.0):
    """The gradient of the proxy loss as one vector, compiled as one program."""

    @eqx.filter_jit
    def compiled(net):
        return eqx.filter_grad(scale_invariant_loss, has_aux=True)(
            net, inputs, targets, simulator=simulator, inverse=inverse, eta=eta
        )[0]

    return ravel_pytree(compiled(network))[0]


def gradient_of(loss, network):
    """The gradient as one vector, compiled as one program."""
    return ravel_pytree(eqx.filter_jit(eqx.filter_grad(loss))(network))[0]


def network_gradient(scale, key, eta):
    network = eqx.nn.MLP(2, 2, 8, 1, key=key)
    simulator, inverse = pair_of(scale)
    truth = jax.random.normal(key, (10, 2))
    targets = jax.vmap(simulator)(truth)
    inputs = jax.vmap(simulator)(truth) / scale  # the network's input stays what it is
    return np.asarray(proxy_gradient(network, inputs, targets, simulator, inverse, eta))


@pytest.mark.parametrize("eta", [1.0, 0.3])
def test_the_update_does_not_depend_on_the_scale_of_the_outputs(eta, key):
    plain = network_gradient(jnp.array([1.0, 1.0]), key, eta)
    scaled = network_gradient(jnp.array([1e-4, 300.0]), key, eta)
    np.testing.assert_allclose(scaled, plain, atol=float(1e-10 * np.linalg.norm(plain)))


def test_an_exact_inverse_lands_on_the_solution():
    simulator, inverse = pair_of(jnp.array([2.0, 0.5]))
    truth = jnp.array([0.7, -1.2])
    moved, y = scale_invariant_target(jnp.zeros(2), simulator(truth), simulator, inverse)
    np.testing.assert_allclose(moved, truth, atol=1e-12)
    np.testing.assert_allclose(y, simulator(jnp.zeros(2)))


def test_a_step_on_a_linear_problem_lands_on_the_solution(key):
    matrix = jax.random.normal(key, (4, 4)) + 4 * jnp.eye(4)
    truth = jnp.arange(4.0)
    inverse = LinearInverse(lambda d: jnp.linalg.solve(matrix, d))
    moved, _ = scale_invariant_target(jnp.ones(4), matrix @ truth, lambda x: matrix @ x, inverse)
    np.testing.assert_allclose(moved, truth, atol=1e-12)


def test_one_gradient_step_as_inverse_is_ordinary_training(key):
    """The paper's remark that the scheme contains first-order training, checked."""
    network = eqx.nn.MLP(2, 2, 8, 1, key=key)
    simulator, _ = pair_of(jnp.array([1.0, 2.0]))
    inputs, targets = jax.random.normal(key, (2, 10, 2))

    def descent(target, x, y):
        return x - jax.grad(lambda now: 0.5 * jnp.sum((simulator(now) - target) ** 2))(x)

    def ordinary(net):
        return jnp.mean(0.5 * jnp.sum((jax.vmap(lambda i: simulator(net(i)))(inputs) - targets) ** 2, axis=1))

    proxy = proxy_gradient(network, inputs, targets, simulator, descent)
    np.testing.assert_allclose(proxy, gradient_of(ordinary, network), atol=1e-12)


def test_the_poisson_gradient_is_the_supervised_one(key):
    network = eqx.nn.MLP(64, 64, 16, 1, key=key)
    truth = jax.random.normal(key, (5, 8, 8))
    solve = PoissonSolve()
    targets = jax.jit(jax.vmap(solve))(truth)

    def image(net, y):
        return net(y.ravel()).reshape(8, 8)

    def supervised(net):
        return jnp.mean(0.5 * jnp.sum((jax.vmap(lambda y: image(net, y))(targets) - truth) ** 2, axis=(1, 2)))

    def physical(net):
        return scale_invariant_loss(
            lambda y: image(net, y), targets, targets, simulator=solve, inverse=LinearInverse(PoissonStencil())
        )[0]

    expected = gradient_of(supervised, network)
    np.testing.assert_allclose(gradient_of(physical, network), expected, atol=float(1e-10 * np.linalg.norm(expected)))


def test_training_by_any_optimizer_finds_the_inverse(key):
    simulator, inverse = pair_of(jnp.array([1e3, 1e-3]))
    network = eqx.nn.MLP(2, 2, 32, 2, key=key)
    optimizer = optax.adamw(1e-2, weight_decay=1e-6)
    truth = jax.random.normal(key, (100, 2))
    targets = jax.vmap(simulator)(truth)
    inputs = targets / jnp.array([1e3, 1e-3])

    arrays, static = eqx.partition(network, eqx.is_inexact_array)

    @jax.jit
    def train(arrays):
        def update(carry, _):
            net, state = carry
            net, state, (x, _) = scale_invariant_update(
                eqx.combine(net, static),
                state,
                inputs,
                targets,
                optimizer=optimizer,
                simulator=simulator,
                inverse=inverse,
            )
            return (eqx.filter(net, eqx.is_inexact_array), state), jnp.mean(jnp.abs(x - truth))

        return jax.lax.scan(update, (arrays, optimizer.init(arrays)), length=500)[1]

    errors = train(arrays)
    assert errors[-1] < 0.05 and errors[0] > 0.5


# --------------------------------------------------------------------------------------------------- local solvers


def rosenbrock_like(x):
    return jnp.array([x[0], 5.0 * (x[1] - x[0] ** 2)])


@pytest.mark.parametrize(
    "solver",
    [
        Newton(rosenbrock_like, steps=30),
        SaddleFreeNewton(rosenbrock_like, steps=60),
        GaussNewton(rosenbrock_like, steps=3),
        BFGS(rosenbrock_like),
        BFGS(rosenbrock_like, memory=5),
    ],
    ids=["Newton", "SaddleFreeNewton", "GaussNewton", "BFGS", "L-BFGS"],
)
def test_local_solvers_reach_the_target(solver):
    truth = jnp.array([0.4, 0.9])
    found = solver.solve(rosenbrock_like(truth), jnp.array([0.2, 0.3]))
    np.testing.assert_allclose(found.x, truth, atol=1e-4)
    assert bool(found.converged) and found.loss < 1e-6


def test_newton_goes_to_the_saddle_and_saddle_free_newton_leaves_it():
    def simulator(x):
        return jnp.sin(x)

    # From 1.3, L = 1/2 (sin x - 0.2)^2 is curved downwards: its maximum, sin x = 1, is nearer than its minimum.
    start, target = jnp.array([1.3]), jnp.array([0.2])
    by_newton = Newton(simulator, steps=20)(target, start)
    np.testing.assert_allclose(by_newton, jnp.pi / 2, atol=1e-10)
    by_saddle_free = SaddleFreeNewton(simulator, steps=200)(target, start)
    np.testing.assert_allclose(jnp.sin(by_saddle_free), 0.2, atol=1e-6)


def test_the_closed_form_of_two_eigenvectors_is_that_of_lapack(key):
    halves = jax.random.normal(key, (50, 2, 2)) * jnp.logspace(-8, 8, 50)[:, None, None]
    special = jnp.array([[[1e8, 1.0], [1.0, 1e-6]], [[-3.0, 0.0], [0.0, -3.0]], [[0.0, 0.0], [0.0, 0.0]]])
    matrices = jnp.concatenate([halves + halves.swapaxes(1, 2), special])
    values, vectors = jax.jit(jax.vmap(_eigenvectors))(matrices)
    sizes = np.linalg.norm(matrices, axis=(1, 2)) + 1e-300
    differences = np.sort(values, axis=1) - np.linalg.eigvalsh(matrices)
    assert np.max(abs(differences) / sizes[:, None]) < 1e-14
    again = np.einsum("nij,nj,nkj->nik", vectors, values, vectors)
    assert np.max(abs(again - matrices) / sizes[:, None, None]) < 1e-14


def test_gauss_newton_makes_the_smallest_change_that_reaches_the_target():
    moved = GaussNewton(lambda x: x[:1] + 2.0 * x[1:])(jnp.array([5.0]), jnp.zeros(2))
    np.testing.assert_allclose(moved, [1.0, 2.0], atol=1e-12)


def test_bfgs_says_that_it_did_not_converge():
    found = BFGS(rosenbrock_like, steps=1).solve(jnp.array([3.0, 4.0]), jnp.zeros(2))
    assert not bool(found.converged)


def test_solvers_take_pytrees_and_complex_outputs():
    def simulator(x):
        return {"wave": x["amplitude"] * jnp.exp(1j * x["phase"])}

    truth = {"amplitude": jnp.array([2.0]), "phase": jnp.array([0.5])}
    moved = GaussNewton(simulator, steps=8)(simulator(truth), {"amplitude": jnp.ones(1), "phase": jnp.zeros(1)})
    np.testing.assert_allclose(moved["amplitude"], 2.0, atol=1e-10)
    np.testing.assert_allclose(moved["phase"], 0.5, atol=1e-10)


# -------------------------------------------------------------------------------------------------- known inverses


def test_the_stencil_inverts_the_solve(key):
    solve, stencil = PoissonSolve(spacing=(0.5, 2.0)), PoissonStencil(spacing=(0.5, 2.0))
    source = jax.random.normal(key, (9, 12))
    np.testing.assert_allclose(jax.jit(lambda x: stencil(solve(x)))(source), source, atol=1e-12)


@pytest.mark.parametrize("periodic", [True, False])
def test_the_stencil_is_second_order(periodic):
    errors = []
    for n in (32, 64):
        # Nodes of a wave on [0, 2 pi): its zeros at both ends are the cells beyond the sides.
        x = jnp.arange(n) * 2 * jnp.pi / n if periodic else jnp.arange(1, n) * jnp.pi / n
        spacing = float(x[1] - x[0])
        u = jnp.sin(x)[:, None] * jnp.sin(x)[None, :]
        errors.append(float(jnp.max(jnp.abs(jax.jit(PoissonStencil(spacing, periodic))(u) + 2 * u))))
    assert 3.9 < errors[0] / errors[1] < 4.1


def test_heat_decays_as_published():
    """Decay of Fourier mode m along one axis of 64 cells at nu t = 8, from the reference: e^(-8 (2 pi m / 64)^2)."""
    heat = jax.jit(SpectralHeat(8.0))
    x = jnp.arange(64.0)
    for mode, decay in ((1, 0.926), (2, 0.735), (4, 0.291), (6, 6.2e-2), (8, 7.2e-3)):
        wave = jnp.cos(2 * jnp.pi * mode * x / 64)[:, None] * jnp.ones(64)
        np.testing.assert_allclose(heat(wave), decay * wave, atol=0.01 * decay)


def test_the_heat_inverse_inverts_signal_and_leaves_noise_alone(key):
    heat, inverse = SpectralHeat(8.0), NoiseAwareHeatInverse(SpectralHeat(8.0))
    x = jnp.arange(64.0)
    m = jnp.array([1, 3, 5, 8])[:, None]
    truth = jnp.sum(jnp.cos(2 * jnp.pi * m * x / 64 + m), axis=0)[:, None] * jnp.ones(64) / 64
    guess = jnp.zeros((64, 64))
    inverse, heat = jax.jit(inverse), jax.jit(heat)
    moved = inverse(heat(truth), guess, heat(guess))
    np.testing.assert_allclose(moved, truth, atol=1e-6)

    noise = 1e-9 * jax.random.normal(key, (64, 64))
    disturbed = inverse(heat(truth) + noise, guess, heat(guess))
    assert jnp.max(jnp.abs(disturbed - truth)) < 1e-3  # the exact inverse multiplies this noise by up to e^158


def test_a_repeated_inverse_finds_waves_that_cannot_be_seen():
    """What is nowhere negative and mostly zero is determined by its long waves."""
    heat = SpectralHeat(8.0)
    inverse = NoiseAwareHeatInverse(heat)
    truth = jnp.zeros((32, 32)).at[4:9, 20:28].set(1.0).at[18:24, 6:14].set(0.5)
    start = jnp.full((32, 32), jnp.mean(truth))

    @jax.jit
    def errors(truth):
        answers = [inverse] + [RepeatedInverse(heat, inverse, steps, jax.nn.relu) for steps in (1, 3, 20)]
        found = [answer(heat(truth), start, heat(start)) for answer in answers]
        return jnp.stack([jnp.sum(jnp.abs(jax.nn.relu(x) - truth)) for x in found])

    bare, once, thrice, often = errors(truth)
    np.testing.assert_allclose(once, bare, rtol=1e-12)
    assert often < 0.8 * thrice and thrice < 0.9 * once


def test_leapfrog_runs_backwards_and_a_dissipative_step_does_not():
    def leapfrog(state):
        x, v = state
        v = v - 0.05 * jnp.sin(x)
        x = x + 0.1 * v
        return x, v - 0.05 * jnp.sin(x)

    def turned(state):
        return state[0], -state[1]

    def simulator(state):
        return jax.lax.fori_loop(0, 50, lambda _, s: leapfrog(s), state)

    truth = (jnp.array([[0.3], [1.0]]), jnp.array([[0.5], [-0.2]]))
    guess = (jnp.zeros((2, 1)), jnp.zeros((2, 1)))
    measured = check_inverse(simulator, TimeReversal(leapfrog, 50, turned), truth, guess)
    assert jnp.all(measured.distance < 1e-12)

    def damped(state):
        x, v = leapfrog(state)
        return x, 0.9 * v

    def damped_simulator(state):
        return jax.lax.fori_loop(0, 50, lambda _, s: damped(s), state)

    with pytest.raises(InputError, match="does not invert"):
        check_inverse(damped_simulator, TimeReversal(damped, 50, turned), truth, guess, largest_ratio=0.5)


# ------------------------------------------------------------------------------------------------- mistakes


def test_the_check_tells_inverses_from_others():
    simulator, inverse = pair_of(jnp.array([1.0, 1.0]))
    x = jnp.array([[0.5, 1.0], [1.0, -1.0]])
    measured = check_inverse(simulator, inverse, x, jnp.zeros((2, 2)))
    assert jnp.all(measured.ratio < 1e-10) and jnp.all(measured.distance < 1e-10)
    with pytest.raises(InputError, match="does not invert the simulator: it leaves 1"):
        check_inverse(simulator, lambda target, x, y: x, x, jnp.zeros((2, 2)))
    with pytest.raises(InputError, match="sample 1 is not finite"):
        check_inverse(simulator, lambda target, x, y: jnp.log(target), jnp.abs(x) * jnp.array([[1.0], [-1.0]]), 0 * x)
    with pytest.raises(InputError, match="its result has shapes"):
        check_inverse(simulator, lambda target, x, y: x[:1], x, jnp.zeros((2, 2)))


@pytest.mark.usefixtures("unchecked_types")
def test_what_is_no_optimizer_is_refused():
    simulator, inverse = pair_of(jnp.ones(2))
    tools: Any = dict(optimizer="adam", simulator=simulator, inverse=inverse)
    with pytest.raises(InputError, match="optimizer is 'adam'; an optimizer of Optax"):
        scale_invariant_update(lambda one: one, None, jnp.zeros((4, 2)), jnp.zeros((4, 2)), **tools)


def test_bad_input_is_refused():
    simulator, inverse = pair_of(jnp.ones(2))
    with pytest.raises(InputError, match="eta is 0.0"):
        scale_invariant_target(jnp.zeros(2), jnp.zeros(2), simulator, inverse, eta=0.0)
    with pytest.raises(InputError, match="target has shapes"):
        scale_invariant_target(jnp.zeros(2), jnp.zeros(3), simulator, inverse)
    with pytest.raises(InputError, match="inverse: its result has shapes"):
        scale_invariant_target(jnp.zeros(2), jnp.zeros(2), simulator, lambda target, x, y: target[:1])
    for inputs, targets, words in (
        (jnp.zeros((4, 2)), jnp.zeros((3, 2)), r"inputs shapes \[\(4, 2\)\] and targets shapes \[\(3, 2\)\]"),
        (jnp.zeros((4, 2)), jnp.full((4, 2), jnp.nan), "targets is NaN or infinite in 8 of 8 places"),
    ):
        with pytest.raises(InputError, match=words):
            scale_invariant_loss(lambda one: one, inputs, targets, simulator=simulator, inverse=inverse)
    with pytest.raises(InputError, match="steps is 0"):
        Newton(simulator, steps=0)
    with pytest.raises(InputError, match="memory is 0"):
        BFGS(simulator, memory=0)
    with pytest.raises(InputError, match="largest_loss_change"):
        SaddleFreeNewton(simulator, largest_loss_change=0.0)
    with pytest.raises(InputError, match="truncation"):
        GaussNewton(simulator, truncation=1.0)
    with pytest.raises(InputError, match="2 numbers for 3 axes"):
        PoissonStencil(spacing=(1.0, 1.0))(jnp.zeros((3, 3, 3)))
    with pytest.raises(InputError, match="diffusion_time"):
        SpectralHeat(0.0)
    with pytest.raises(InputError, match="noise"):
        NoiseAwareHeatInverse(SpectralHeat(1.0), noise=0.0)
    with pytest.raises(InputError, match="RepeatedInverse: steps is 0"):
        RepeatedInverse(simulator, inverse, 0)
    with pytest.raises(InputError, match="steps is 0"):
        TimeReversal(lambda s: s, 0, lambda s: s)


def test_absolute_values_weight_every_entry_alike():
    gradient = jax.grad(absolute_values)(jnp.array([3.0, -0.1]))
    np.testing.assert_array_equal(gradient, [1.0, -1.0])
