"""The wake of a cylinder that turns: what is measured of it, its gradient, and the experiment in miniature."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffphys.control import cost
from diffphys.control.koopman import predicted_codes
from diffphys.experiments import EXPERIMENTS
from diffphys.experiments.control_wake import (
    HIGH,
    LOW,
    POINTS,
    Settings,
    Wake,
    asymmetry,
    behind,
    excitation,
    make_autoencoder,
    mirrored,
    observed,
    prediction_loss,
    the_problem,
    wake_grid,
    wake_step,
)
from diffphys.runs import Run, make_settings


SMALL = Settings(cells=4, dt=0.05, hold=2)


def at_first(step, velocity=(1.0, 0.0)):
    return Wake(step.flow.initial_state(velocity), jnp.zeros(2))


def with_values(step, u, v):
    """A wake whose velocity is given as functions of the place, as it is, the cylinder included."""
    wake = at_first(step)
    fields = []
    for part, function in zip(wake.flow.velocity, (u, v), strict=True):
        fields.append(part.with_values(jnp.broadcast_to(function(*part.coordinates()), part.values.shape)))
    return wake._replace(flow=dataclasses.replace(wake.flow, velocity=tuple(fields)))


def test_the_grid_is_symmetric_and_narrow_around_the_cylinder():
    along, across = wake_grid(6).edges
    np.testing.assert_allclose(across, -across[::-1], atol=1e-12)
    assert along[0] <= -6 and along[-1] >= 14 and across[-1] >= 6
    near = (along >= -1 - 1e-9) & (along <= 2 + 1e-9)
    np.testing.assert_allclose(np.diff(along[near]), 1 / 6, rtol=1e-6)
    assert np.all(np.diff(along) > 0) and np.all(np.diff(across) > 0)


def test_observations_are_exact_for_linear_fields_and_asymmetry_is_what_mirrors_do_not_keep():
    step = wake_step(SMALL, 60.0)
    linear = with_values(step, lambda x, y: 1 + 2 * x - 3 * y, lambda x, y: -1 + x + 0.5 * y)
    x, y = (low + (high - low) * (np.arange(n) + 0.5) / n for low, high, n in zip(LOW, HIGH, POINTS, strict=True))
    x, y = np.meshgrid(x, y, indexing="ij")
    np.testing.assert_allclose(jax.jit(observed)(linear), np.stack([1 + 2 * x - 3 * y, -1 + x + 0.5 * y]), atol=1e-4)
    np.testing.assert_allclose(jax.jit(behind)(linear), -1 + 2.1, atol=1e-5)
    # Of these, -3 y and -1 + x change under the mirror.
    uneven = jax.jit(asymmetry)
    np.testing.assert_allclose(uneven(linear), np.mean((3 * y) ** 2 + (x - 1) ** 2), rtol=1e-4)
    symmetric = with_values(step, lambda x, y: 1 + x + y**2, lambda x, y: 2 * y * x)
    assert uneven(symmetric) < 1e-9


@pytest.mark.slow
def test_a_symmetric_wake_stays_so_and_rotation_lifts_it():
    step = wake_step(SMALL, 60.0)

    def turned_by(rate):
        wake = step(at_first(step), rate[None])
        return wake.force, asymmetry(wake)

    forces, uneven = jax.jit(lambda rates: jax.lax.map(turned_by, rates))(jnp.asarray([0.0, 0.4, -0.4]))
    assert uneven[0] < 1e-12 and abs(forces[0, 1]) < 1e-5 and forces[0, 0] > 0
    assert uneven[1] > 1e-7
    np.testing.assert_allclose(forces[1], forces[2] * jnp.asarray([1, -1]), rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_the_gradient_of_the_loop_is_that_of_differences():
    step = wake_step(dataclasses.replace(SMALL, hold=1), 60.0)
    problem = dataclasses.replace(the_problem(dataclasses.replace(SMALL, price=0.1), step), steps=2)
    start = at_first(step, (1.0, 0.1))
    value = jax.jit(jax.value_and_grad(lambda controls: cost(problem, start, controls)))
    controls, length = jnp.asarray([[0.3], [-0.2]]), 1e-5
    gradient = value(controls)[1]
    for index in range(2):
        push = jnp.zeros((2, 1)).at[index].set(length)
        difference = (value(controls + push)[0] - value(controls - push)[0]) / (2 * length)
        np.testing.assert_allclose(gradient[index, 0], difference, rtol=1e-5)


def test_the_loss_of_the_autoencoder_sees_what_a_linear_law_predicts():
    # Two modes that turn into each other by a known angle, pushed by the control along the second.
    keys = jax.random.split(jax.random.key(0), 3)
    modes = jax.random.normal(keys[0], (2, 2, *POINTS))
    modes = modes - jax.vmap(mirrored)(modes)  # as what sheds is
    controls = jax.random.normal(keys[1], (12, 1))
    turn = jnp.asarray([[0.8, -0.6], [0.6, 0.8]])
    pushes = jnp.concatenate([jnp.zeros((12, 1)), controls], 1)
    codes = jnp.concatenate([jnp.ones((1, 2)), predicted_codes(turn, jnp.ones(2), pushes[:-1])])
    observations = jnp.einsum("tc,cdxy->tdxy", codes, modes)
    network = make_autoencoder(2, observations, controls, keys[2])
    loss = jax.jit(prediction_loss)
    assert loss(network, observations, controls, 1e-3)[0] < 0.05, "fresh networks add little"
    without = loss(network, observations, 0 * controls, 1e-3)
    assert without[1] > 0.1, "the control is part of the law"


def test_the_excitation_keeps_its_limit_and_each_level_for_three_controls():
    pushes = excitation(1000, 0.42, jax.random.key(0))
    assert pushes.shape == (1000, 1) and np.max(np.abs(pushes)) <= np.float32(0.42)
    assert np.array_equal(pushes[0:999:3], pushes[2:999:3]) and len(np.unique(pushes)) == 334


@pytest.mark.slow
def test_the_experiment_runs_and_goes_on(tmp_path):
    program = EXPERIMENTS.load("control-wake")
    small = {"cells": 4, "hold": 2, "developed": 1.0, "controlled": 1.0, "excited": 4.0, "updates": 2, "sequence": 8}
    settings = make_settings(program.settings, {**small, "code": 3, "horizon": 2, "iterations": 1, "plan": 4})
    with Run.open(tmp_path, "control-wake", "demo", settings, 0) as run:
        table = program.complete(run)
        metrics = json.loads((tmp_path / "metrics.json").read_text())
        program.complete(run)
    again = json.loads((tmp_path / "metrics.json").read_text())["reynolds"]["re-60"]
    found = metrics["reynolds"]["re-60"]
    assert list(found) == ["none", "proportional", "predictive", "koopman"] and table.row_count == 4
    for arm, numbers in found.items():
        assert numbers == again[arm] and numbers["largest_control"] <= np.float32(0.1 / 0.236)
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert names == {"re-60-forces.png", "re-60-wake.png", "re-60-wake.gif"}
