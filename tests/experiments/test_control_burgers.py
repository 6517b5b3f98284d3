"""Burgers' equation, steered: every arm meets its target, the measure is the published one, and the experiment runs."""

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffphys.experiments import EXPERIMENTS, control_burgers
from diffphys.experiments.control_burgers import (
    POINTS,
    STEPS,
    draw_scenes,
    make_policy,
    make_predictors,
    measured,
    steer,
    steered_burgers,
    wait,
)
from diffphys.runs import Run, make_settings
from diffphys.stepping import rollout


def test_the_ground_truth_meets_its_target_with_a_force_of_one():
    scenes = draw_scenes(jax.random.key(0), 2)
    forces = jnp.broadcast_to(scenes.force[:, None], (2, STEPS, POINTS))

    def states(start, force):
        return rollout(steered_burgers(), start, STEPS, inputs=force, save_every=1)[1]

    found = measured(jax.jit(jax.vmap(states))(scenes.start, forces), forces, scenes)
    assert found["deviation"] == 0
    np.testing.assert_allclose([found["error"], found["squares"]], 1.0, rtol=1e-5)


@pytest.mark.parametrize("make", [make_policy, pytest.param(make_predictors, marks=pytest.mark.slow)])
def test_untrained_networks_meet_the_target_and_pay_for_it(make):
    scenes = draw_scenes(jax.random.key(0), 2)

    def both(scenes):
        network = make(4, jax.random.key(1))
        runs = jax.vmap(lambda scene: steer(network, scene))(scenes), jax.vmap(wait)(scenes)
        return [measured(*run[:2], scenes) for run in runs]

    steered, waiting = jax.jit(both)(scenes)
    assert steered["deviation"] < 1e-5 and waiting["deviation"] < 1e-5
    if make is make_predictors:
        assert steered["error"] > 2
    # One blow: each point's force by itself, so that its square is large while its sum is not.
    assert waiting["squares"] > 5 and waiting["error"] < 2


def test_the_experiment_runs_goes_on_and_says_what_it_leaves_out(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "stable_baselines3", None)
    monkeypatch.setattr(control_burgers, "STEPS", 4)  # of 32: every node of the tree of networks is compiled by itself
    program = EXPERIMENTS.load("control-burgers")
    small = {"seconds": 1e9, "updates": 1, "scenes": 2, "iterations": 1, "features": 4, "batch": 1, "seeds": 1}
    settings = make_settings(program.settings, {**small, "arms": ("hierarchy", "ppo")})
    with Run.open(tmp_path, "control-burgers", "demo", settings, 0) as run:
        table = program.complete(run)
    assert "ppo is left out, since stable_baselines3 is not installed" in table.caption
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["arms"]["hierarchy"]["updates"] == 1 and metrics["refined"]["deviation"] < 1e-4
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == {
        "curves",
        "force",
        "squares",
        "totals",
        "velocity",
    }


@pytest.mark.slow
def test_an_agent_learns_and_goes_on(tmp_path):
    pytest.importorskip("stable_baselines3")
    program = EXPERIMENTS.load("control-burgers")
    small = {"seconds": 1e9, "scenes": 2, "iterations": 1, "features": 4, "batch": 1, "seeds": 1, "arms": ("ppo",)}
    settings = make_settings(program.settings, {**small, "updates": 1})
    with Run.open(tmp_path, "control-burgers", "demo", settings, 0) as run:
        program.complete(run)
        first = run.read_metrics()["arms"]["ppo"]
        program.complete(run)
    assert first["updates"] == 1 and run.read_metrics()["arms"]["ppo"] == first
    assert np.all(np.isfinite(first["final_errors"]))
