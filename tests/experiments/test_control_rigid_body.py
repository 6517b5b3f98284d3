"""Steering a rigid body: controllers, their gradients through flow and body, and the experiment in miniature."""

import dataclasses
import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp
from diffphys.control import closed_loop
from diffphys.experiments import EXPERIMENTS
from diffphys.experiments.control_rigid_body import (
    CRAFTS,
    DT,
    TESTS,
    Chosen,
    Record,
    Settings,
    Task,
    at_rest,
    classical,
    disturbance,
    drawn_targets,
    make_pilot,
    make_step,
    measured,
    section_of,
    the_problem,
    zone_of,
)
from diffphys.runs import Run, make_settings


TINY = 40  # fewer cells do not carry bodies so light


def test_networks_have_the_published_numbers_of_parameters():
    counts = {
        name: sum(leaf.size for leaf in jax.tree.leaves(eqx.filter(make_pilot(name, 0), eqx.is_inexact_array)))
        for name in CRAFTS
    }
    assert counts == {"disk": 2206, "box": 2243}


def test_bodies_are_the_published_ones():
    disk, box = CRAFTS["disk"]().body, CRAFTS["box"]().body
    np.testing.assert_allclose([disk.mass, box.mass, box.moment], [11.781, 36.0, 4000.0], rtol=1e-4)
    assert not disk.turns and box.turns


def test_zones_grow_and_targets_lie_within():
    np.testing.assert_allclose([zone_of(k, 3)[0] for k in range(4)], [20 / 3, 40 / 3, 20, 20])
    assert zone_of(5, 2)[2] == 0.0
    way = drawn_targets(TESTS["turning"], 50) - [40.0, 40.0, 0.0]
    assert np.all(np.abs(way) <= zone_of(3, 3)) and np.max(np.abs(way[:, :2])) > 18


def test_disturbances_come_when_they_are_announced():
    span = jnp.asarray(1000.0)
    forces = [disturbance(jnp.asarray(1000.0 * part), span) for part in (0.1, 0.205, 0.5, 0.75, 0.95)]
    np.testing.assert_allclose(forces, [[0, 0], [25, 0], [0, 25], [0, 25], [0, 0]], atol=1e-3)
    np.testing.assert_allclose(disturbance(jnp.asarray(5.0), jnp.asarray(0.0)), 0.0)


def test_measures_leave_out_the_first_quarter_of_each_section():
    settings, test = Settings(targets=2, length=0.1), TESTS["turning"]
    section = section_of(settings, test)
    place = np.repeat(drawn_targets(test, 2), section, axis=0)
    place[: section // 4] += 100.0  # not counted
    place[section // 4 : section, 0] += 3.0
    place[section // 4 : section, 2] += 2 * np.pi + 0.1  # a whole turn is none
    control = np.zeros((2 * section, 3))
    control[section:] = 0.5
    found = measured(settings, test, Record(place, control))
    np.testing.assert_allclose(found["steady_error"], 1.5, rtol=1e-5)
    np.testing.assert_allclose(found["steady_angle"], 0.05, rtol=1e-5)
    np.testing.assert_allclose(found["effort"], 0.25)
    np.testing.assert_allclose(found["variability"], 0.5 / (2 * section - 1))
    assert not found["lost"]
    place[-1] = np.nan
    assert measured(settings, test, Record(place, control))["lost"]


@pytest.mark.slow
@pytest.mark.parametrize("arm", [0, 1, 2])
@pytest.mark.parametrize("craft", CRAFTS)
def test_the_gradient_of_each_loop_is_that_of_differences(float64, craft, arm):
    own = CRAFTS[craft]()
    step = make_step(TINY, Task(craft))
    step = eqx.tree_at(lambda one: one.flow, step, dataclasses.replace(step.flow, tolerance=1e-12))
    problem = the_problem(step, own, 3, jnp.asarray([41.0, 39.5, 0.1]))
    pilot = jax.tree.map(lambda leaf: leaf.astype(jnp.float64) if eqx.is_array(leaf) else leaf, make_pilot(craft, 0))
    policy = Chosen((pilot, classical("pid", own), classical("loop-shaping", own)), jnp.asarray(arm))
    numbers, rest = eqx.partition(policy.policies[arm], eqx.is_inexact_array)
    start = at_rest(step)
    keys = iter(jax.random.split(jax.random.key(1), len(jax.tree.leaves(numbers))))
    way = jax.tree.map(
        lambda leaf: jnp.where(jnp.isfinite(leaf), leaf, 0.0) * jax.random.normal(next(keys), leaf.shape), numbers
    )

    def price(length):
        moved = jax.tree.map(lambda leaf, push: leaf + length * push, numbers, way)
        return closed_loop(problem, eqx.combine(moved, rest), start).cost

    value = jax.jit(jax.value_and_grad(price))
    difference = (value(1e-5)[0] - value(-1e-5)[0]) / 2e-5
    assert abs(difference) > 1e-6
    np.testing.assert_allclose(value(0.0)[1], difference, rtol=1e-5)


def test_classical_laws_push_towards_the_target():
    for name, make in CRAFTS.items():
        craft = make()
        start = at_rest(make_step(TINY, Task(name)))
        target = jnp.asarray([45.0, 33.0, 0.3])
        for arm in ("pid", "loop-shaping"):
            law = classical(arm, craft)
            control, _ = law(start, target, law.initial_memory())
            np.testing.assert_array_equal(np.sign(control), [1, -1, 1][: len(craft.limits)])


def test_a_control_of_another_shape_is_refused():
    step = make_step(TINY, Task("disk"))
    problem = the_problem(step, CRAFTS["disk"](), 2)
    with pytest.raises(dp.InputError, match="shape"):
        closed_loop(problem, lambda state, target: jnp.zeros(3), at_rest(step))
    with pytest.raises(dp.InputError, match="target"):
        problem.with_target(jnp.asarray([np.nan, 0.0, 0.0]))
    with pytest.raises(dp.InputError, match="multiple of 16"):
        Settings(steps=100)


@pytest.mark.slow
def test_the_experiment_runs_and_goes_on(tmp_path):
    program = EXPERIMENTS.load("control-rigid-body")
    small = {"cells": 40, "episodes": 2, "steps": 16, "flights": 2, "flown": 20, "imitations": 20, "length": 0.05}
    settings = make_settings(program.settings, {**small, "targets": 1, "tests": ("targets", "buoyancy")})
    with Run.open(tmp_path, "control-rigid-body", "demo", settings, 0) as run:
        table = program.complete(run)
        metrics = json.loads((tmp_path / "metrics.json").read_text())
        program.complete(run)
    again = json.loads((tmp_path / "metrics.json").read_text())
    assert list(metrics["tests"]["targets"]) == ["network", "supervised", "pid", "loop-shaping"]
    assert metrics["tests"] == again["tests"] and table.row_count == 8
    assert metrics["tests"]["targets"]["pid"][0]["effort"] > 0
    assert (tmp_path / "figures" / "buoyancy.gif").exists()


def test_dt_is_the_published_one():
    assert float(make_step(TINY, TESTS["targets"]).flow.dt) == pytest.approx(DT)
    stream = make_step(TINY, TESTS["inflow"])
    assert stream.hold * float(stream.flow.dt) == pytest.approx(DT)
