"""How far states lie from others, in principal components."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp
from diffphys.errors import InputError
from diffphys.learning.study import StudySettings
from diffphys.learning.study.shift import (
    Components,
    principal_components,
    shift_from,
    states_of_rollouts,
    states_of_training,
    vectors,
)
from diffphys.runs import make_settings
from tests.learning.test_study import heat_study


def spread(generator: Any, states: int = 400) -> np.ndarray:
    """States with known variances along known directions."""
    turned, _ = np.linalg.qr(generator.standard_normal((6, 6)))
    sizes = np.array([5.0, 3.0, 1.0, 0.5, 0.2, 0.1])
    return 2.0 + (generator.standard_normal((states, 6)) * sizes) @ turned.T


def test_components_are_those_of_the_covariance():
    states = spread(np.random.default_rng(0))
    found = principal_components(states, 0.97)
    values, vectors_of = np.linalg.eigh(np.cov(states.T, bias=True))
    values, vectors_of = values[::-1], vectors_of[:, ::-1]
    count = len(found.variances)
    assert values[:count].sum() / values.sum() >= 0.97 > values[: count - 1].sum() / values.sum()
    np.testing.assert_allclose(found.variances, values[:count], rtol=1e-10)
    np.testing.assert_allclose(np.abs(np.sum(found.directions * vectors_of[:, :count].T, axis=1)), 1.0, rtol=1e-10)
    assert found.rest == pytest.approx(values[count:].sum())


def test_both_distances_are_one_over_the_training_states():
    states = spread(np.random.default_rng(1))
    for held in (0.5, 0.9, 0.999999):
        shift = shift_from(principal_components(states, held), states)
        assert np.mean(shift.within**2) == pytest.approx(1.0, rel=1e-9)
        assert np.mean(shift.beyond**2) == pytest.approx(1.0, rel=1e-9)


def test_a_shift_along_a_component_and_one_out_of_them_are_told_apart():
    components = Components(np.zeros(4), np.eye(4)[:2], np.array([4.0, 1.0]), 0.25)
    states = np.array([[[6.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.3, -0.4]], [[2.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]])
    shift = shift_from(components, states)
    np.testing.assert_allclose(shift.within, [[np.sqrt(9 / 2), 0.0], [1.0, 0.0]])
    np.testing.assert_allclose(shift.beyond, [[0.0, 1.0], [0.0, 0.0]], atol=1e-12)


def test_vectors_hold_every_field_over_its_scale():
    frames = {"a": np.arange(6.0).reshape(2, 3), "b": np.ones((2, 2, 1)), "time": np.zeros(2)}
    np.testing.assert_array_equal(vectors(frames, {"a": 2.0, "b": 0.5}), [[0, 0.5, 1, 2, 2], [1.5, 2, 2.5, 2, 2]])


def test_states_of_arms_are_where_their_steps_go_out():
    """One-step training sees frames, unrolled training also what the step makes of them, noise noisy frames."""
    study = dataclasses.replace(heat_study(), interval=None, state=lambda frame: (field(frame), jnp.zeros(())))
    short = {"train_frames": 9, "unroll": (3,), "updates": (1,), "learning_rates": (1,)}
    settings = make_settings(StudySettings, short)
    frames = jnp.asarray(np.random.default_rng(2).standard_normal((2, 9, 8)))
    data = dp.Trajectories({"temperature": frames}, study.parameters_of((0.05, 0.03)))
    scales = {"temperature": 2.0}

    def states(arm: str, count: int) -> np.ndarray:
        return states_of_training(study, settings, data, arm, study.source, scales, count)

    np.testing.assert_allclose(states("one-step", 16), np.asarray(frames[:, :8]).reshape(16, 8) / 2, rtol=1e-6)
    # Windows of three begin at the first and at the last frame that three follow, in each case.
    found = states("unrolled", 12).reshape(2, 2, 3, 8)
    np.testing.assert_allclose(found[:, :, 0], np.asarray(frames[:, [0, 5]]) / 2, rtol=1e-6)
    rolled = states_of_rollouts(study, study.source, data.between(5, 8), scales)
    np.testing.assert_allclose(found[:, 1, 1:], rolled, rtol=1e-5, atol=1e-7)
    apart = states("noise", 16) - states("one-step", 16)
    assert 0.5 * settings.noise < np.std(apart) < 1.5 * settings.noise


def field(frame: Any) -> dp.Field:
    return heat_study().source.heat.initial_state(0.0).with_values(frame["temperature"])


@pytest.mark.parametrize(
    "states, held, words",
    [
        (np.ones((2, 3)), 0.9, "three or more rows"),
        (np.ones((5, 3)), 0.9, "vary"),
        (np.eye(5), 1.0, "below 1"),
    ],
)
def test_states_without_components_are_refused(states, held, words):
    with pytest.raises(InputError, match=words):
        principal_components(states, held)
