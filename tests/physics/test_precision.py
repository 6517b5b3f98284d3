"""A state keeps its floating type, whatever the numbers of the flow and the program around it are."""

import threading

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp
from diffphys.errors import InputError
from tests.systems import GRID, SYSTEMS, channel, state_of


QUICK = ("heat", "burgers")


def types(tree):
    return [leaf.dtype for leaf in jax.tree.leaves(tree)]


def cast(tree, dtype):
    """The floating-point numbers of a tree in another type."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype) if eqx.is_inexact_array(leaf) else leaf, tree)


def advanced(step, state):
    return dp.rollout(step, state, 1)[0]


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in SYSTEMS])
def test_a_state_keeps_its_type_and_its_result(name):
    """In one process: single precision, then a program with double precision around the same single numbers, whose
    result is the same but for the order of sums; and a double state is more exact than both.
    """
    with jax.enable_x64(False):
        step = SYSTEMS[name]()
        state = state_of(step)
        expected = advanced(step, state)
        assert types(expected) == types(state)
    with jax.enable_x64(True):
        step = cast(step, jnp.float64)  # with the same weights: a key gives others in double precision
        result = advanced(step, state)
        assert types(result) == types(state)
        double = cast(state, jnp.float64)
        exact = advanced(step, double)
        assert types(exact) == types(double)
        assert types(advanced(cast(step, jnp.float32), double)) == types(double)
    largest = max(float(np.max(np.abs(leaf))) for leaf in jax.tree.leaves(exact))
    for one, other, third in zip(*map(jax.tree.leaves, (result, expected, exact)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5 * largest)
        np.testing.assert_allclose(one, third, rtol=1e-4, atol=1e-4 * largest)


@pytest.mark.parametrize("name", [n if n == "heat" else pytest.param(n, marks=pytest.mark.slow) for n in SYSTEMS])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_less_than_single_precision_is_refused(name, dtype):
    step = SYSTEMS[name]()
    with pytest.raises(InputError, match=f"the state is of type {dtype}; float32 or float64 is accepted"):
        step(cast(state_of(step), dtype))


PLANE = ((dp.Periodic(), dp.Periodic()),) * 2
OTHERS = {
    "GrayScott": lambda: dp.GrayScott(GRID, 0.1, 0.05, 0.04, 0.06, 0.1, PLANE),
    "HasegawaWakatani": lambda: dp.HasegawaWakatani(GRID, 1e-3),
    "ReactingFlow": lambda: dp.ReactingFlow(GRID, 0.1, 0.1, 0.1, 0.01, dp.Open()),
    "ShallowWater": lambda: dp.ShallowWater(GRID, 0.01, dp.Periodic()),
    "Wave": lambda: dp.Wave(GRID, 1.0, 0.1, PLANE),
}


@pytest.mark.parametrize("name", OTHERS)
def test_every_other_system_keeps_the_type_of_its_state_and_refuses_less(name):
    with jax.enable_x64(True):
        step = OTHERS[name]()
        state = step.initial_state(500.0 if name == "ReactingFlow" else 1.0)
        for dtype in (jnp.float32, jnp.float64):
            given = cast(state, dtype)
            assert types(jax.eval_shape(step, given)) == types(given)
        with pytest.raises(InputError, match=f"{name}: the state is of type bfloat16"):
            step(cast(state, jnp.bfloat16))


def test_inputs_of_another_type_do_not_change_the_state():
    """A force, and an amount that is released, in double precision."""
    with jax.enable_x64(True):
        flow = SYSTEMS["split, obstacle"]()
        state = cast(state_of(flow), jnp.float32)
        force = (np.ones((9, 6)), 0.5)
        assert types(jax.eval_shape(flow, state, force)) == types(state)
        flow = SYSTEMS["stages, obstacle"]()
        state = cast(state_of(flow), jnp.float32)
        assert types(jax.eval_shape(flow, state, force)) == types(state)


@pytest.mark.slow
def test_a_proof_in_double_precision_after_a_single_step_around_an_obstacle():
    """The example of `check_gradient`'s docstring."""
    flow = dp.IncompressibleFlow(GRID, 0.05, 0.2, channel(), solid=dp.Sphere((4.2, 2.6), 1.3))
    state = state_of(flow)
    dp.rollout(flow, state, 2)
    found = dp.check_gradient(
        lambda flow, state: dp.rollout(flow, state, 2)[0], (flow, state), second=False, optimize=False, show=False
    )
    assert found.passed, str(found)


@pytest.mark.slow
def test_training_on_single_data_in_a_double_program(key):
    with jax.enable_x64(True):
        flow = dp.Heat(dp.Grid((8,), (1.0,)), 0.05, 0.1, ((dp.Periodic(), dp.Periodic()),))
        start = flow.initial_state(jax.random.normal(key, (8,)))
        frames = dp.rollout(flow, start, 4, save_every=1)[1]
        data = dp.Trajectories(cast(jax.tree.map(lambda leaf: leaf[None], frames), jnp.float32), {})

        class Scaled(eqx.Module):
            factor: jax.Array

            def __call__(self, image):
                return self.factor * image

        for factor in (jnp.asarray(0.1), jnp.asarray(0.1, jnp.float32)):
            trained, log = dp.train(dp.Corrected(flow, Scaled(factor)), data, unroll=2, updates=3, batch=2)
            assert trained.network.factor.dtype == factor.dtype and abs(trained.network.factor) < 0.1
            assert np.all(np.isfinite(log.losses))


@pytest.mark.slow
def test_two_threads_of_different_precision():
    """Each has its own type and result, as if it were alone."""
    found: dict[bool, list] = {}

    def run(double: bool):
        with jax.enable_x64(double):
            step = SYSTEMS["split, obstacle"]()
            state = state_of(step)
            results = []
            for _ in range(5):
                state = advanced(step, state)
                results.append(state.velocity[0].values)
            found[double] = results

    threads = [threading.Thread(target=run, args=(double,)) for double in (False, True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for single, double in zip(found[False], found[True], strict=True):
        assert single.dtype == jnp.float32 and double.dtype == jnp.float64
        np.testing.assert_allclose(single, double, rtol=1e-4, atol=1e-5)
