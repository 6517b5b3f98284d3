"""Steering a rigid body: controllers, their gradients through flow and body, and the experiment in miniature."""

import dataclasses
import json
from typing import Any, NamedTuple

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
    Follower,
    Record,
    Settings,
    Steered,
    Task,
    at_rest,
    classical,
    disturbance,
    drawn_targets,
    make_pilot,
    make_step,
    measured,
    refuse_lost,
    section_of,
    the_problem,
    zone_of,
)
from diffphys.physics import RigidBodyState
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
    np.testing.assert_allclose(forces, [[0, 0], [0, 25], [25, 0], [0, 25], [0, 0]], atol=1e-3)
    np.testing.assert_allclose(disturbance(jnp.asarray(5.0), jnp.asarray(0.0)), 0.0)


def test_the_tests_are_the_published_ones():
    sections = {name: section_of(Settings(), test) * DT for name, test in TESTS.items()}
    times = {"targets": 100, "buoyancy": 200, "turning": 100, "inflow": 100, "inflow and buoyancy": 100}
    assert sections == pytest.approx(times | {"disturbances": 500})  # of steps of 0.05 in the stream
    np.testing.assert_allclose(drawn_targets(TESTS["buoyancy"], 5)[[0, 4], :2], 30.0)  # in turn
    np.testing.assert_allclose(drawn_targets(TESTS["disturbances"], 4), [[120.0, 50.0, 0.0]])
    flow = make_step(TINY, TESTS["inflow"]).flow.flow
    speed = float(jnp.mean(flow.initial_state().velocity[0].values))
    assert speed == pytest.approx(0.67, rel=1e-5)
    assert speed * 20.0 / float(flow.viscosity) == pytest.approx(3000)  # of the box's width
    assert 1.0 * 10.0 / float(make_step(TINY, TESTS["targets"]).flow.flow.viscosity) == pytest.approx(1000)
    assert make_step(TINY, TESTS["disturbances"]).flow.flow.scalars and TESTS["disturbances"].stream


class Clock(NamedTuple):
    """In place of a flow."""

    time: Any


class Echo(eqx.Module):
    """A body without a fluid, which keeps what acts on it."""

    def __call__(self, state, given):
        return dataclasses.replace(state, velocity=given.force, rotation_rate=given.torque)


ALONE: Any = Echo()


def _body(position: Any = (0.0, 0.0), angle: Any = 0.0, velocity: Any = (0.0, 0.0), rate: Any = 0.0, time: Any = 0.0):
    clock: Any = Clock(jnp.asarray(time))
    return RigidBodyState(clock, *(jnp.asarray(part) for part in (position, angle, velocity, rate)))


def test_the_force_on_the_box_turns_with_it_and_disturbances_do_not():
    step = Steered(ALONE, jnp.asarray([54.0, 54.0, 200.0]), jnp.asarray(0.0))
    acting = step(_body(angle=np.pi / 2), jnp.asarray([1.0, 0.0, 0.5]))
    np.testing.assert_allclose([*acting.velocity, acting.rotation_rate], [0.0, 54.0, 100.0], atol=1e-4)
    late = _body(angle=np.pi / 2, time=50.0)
    pushed = Steered(ALONE, step.limits, jnp.asarray(100.0))(late, jnp.zeros(3))
    np.testing.assert_allclose(pushed.velocity, [25.0, 0.0])


def test_the_boxs_network_sees_from_aboard_and_not_farther_than_it_was_trained():
    pilot = make_pilot("box", 0)
    state = _body((10.0, 10.0), np.pi / 2, (0.0, 2.0), 0.05)
    seen = pilot.seen(state, jnp.asarray([10.0, 15.0, np.pi / 2 - 0.1 * np.pi]))
    np.testing.assert_allclose(seen, [2.0, 0.0, 1.0, 0.0, 1.0, -0.1], atol=1e-5)  # speeds over 1 and 1 / 20
    np.testing.assert_allclose(pilot.seen(state, jnp.asarray([10.0, 70.0, 0.0]))[2:4], [4.0, 0.0], atol=1e-5)
    turned = [pilot.seen(_body(angle=angle), jnp.asarray([0.0, 0.0, -3.0]))[5] for angle in (3.0, 3.0 - 2 * np.pi)]
    np.testing.assert_allclose(turned, (2 * np.pi - 6.0) / np.pi, rtol=1e-4)  # the short way around


def test_what_is_imitated_starts_at_once_and_ends_at_rest():
    follower = Follower(jnp.zeros(3), jnp.ones(3), jnp.ones(3), jnp.asarray(10.0))
    target = jnp.asarray([3.0, -1.0, 0.5])
    start = follower(_body(), target)
    assert np.all(start * target > 0.03 * target**2)
    end = _body(target[:2], target[2], time=10.0)
    np.testing.assert_allclose(follower(end, target), 0.0, atol=1e-6)


def test_measures_leave_out_the_first_quarter_of_each_section():
    settings, test = Settings(targets=2, length=0.1), TESTS["turning"]
    section = section_of(settings, test)
    place = np.repeat(drawn_targets(test, 2), section, axis=0)
    place[: section // 4] += 100.0  # not counted
    place[section // 4 : section, 0] += 3.0
    place[section // 4 : section, 2] += 2 * np.pi + 0.1  # a whole turn is none
    control = np.zeros((2 * section, 3))
    control[section + section // 2 :] = 1.0
    found = measured(settings, test, Record(place, control))
    np.testing.assert_allclose(found["steady_error"], 1.5, rtol=1e-5)
    np.testing.assert_allclose(found["steady_angle"], 0.05, rtol=1e-5)
    np.testing.assert_allclose(found["effort"], 0.25)
    np.testing.assert_allclose(found["variability"], 1.0 / (2 * (section - 1)))
    assert found["lost"] == 0
    place[-1] = np.nan
    found = measured(settings, test, Record(place, control))
    assert found["lost"] == 1
    np.testing.assert_allclose([found["steady_error"], found["effort"]], [3.0, 0.0])


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
    start = at_rest(step, Task(craft))
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


@pytest.mark.parametrize("name", CRAFTS)
def test_classical_laws_push_towards_the_target_however_the_body_lies(name):
    craft, target = CRAFTS[name](), jnp.asarray([45.0, 33.0, 0.3])
    for arm in ("pid", "loop-shaping"):
        law = classical(arm, craft)
        for angle in (0.0, 2.5) if name == "box" else (0.0,):
            step = Steered(ALONE, jnp.asarray(craft.limits), jnp.asarray(0.0))
            state = _body((40.0, 40.0), angle)
            acting = step(state, law(state, target, law.initial_memory())[0])
            assert float(acting.velocity[1] / acting.velocity[0]) == pytest.approx(-7 / 5, rel=1e-4)
            assert acting.velocity[0] > 0
            assert name == "disk" or np.sign(acting.rotation_rate) == np.sign(0.3 - angle)


def test_the_gains_of_the_loop_shaping_are_those_of_the_body_with_the_fluid_that_it_pushes_aside():
    craft = CRAFTS["box"]()
    law = classical("loop-shaping", craft)
    control, _ = law(_body(), jnp.asarray([1.0, 0.0, 0.01]), law.initial_memory())
    gains = [5.928722 * (36 + 1.5 * 120) / 36, 215.484 * (4000 + 120 * 436 / 12) / 4000]
    np.testing.assert_allclose(control[jnp.asarray([0, 2])], [gains[0] / 54, 0.01 * gains[1] / 200], rtol=1e-4)


def test_a_control_of_another_shape_is_refused():
    step = make_step(TINY, Task("disk"))
    problem = the_problem(step, CRAFTS["disk"](), 2)
    with pytest.raises(dp.InputError, match="shape"):
        closed_loop(problem, lambda state, target: jnp.zeros(3), at_rest(step, Task("disk")))
    with pytest.raises(dp.InputError, match="target"):
        problem.with_target(jnp.asarray([np.nan, 0.0, 0.0]))
    for target in ([np.nan, 0.0, 0.0], [90.0, 40.0, 0.0], [40.0, 40.0]):
        with pytest.raises(dp.InputError, match="within the domain of 80 x 80"):
            the_problem(step, CRAFTS["disk"](), 2, target)
    with pytest.raises(dp.InputError, match="multiple of 16"):
        Settings(steps=100)
    refuse_lost("flights", 2, np.array([True, False]))
    with pytest.raises(dp.InputError, match="flights is 2, and in all of them the body left the domain"):
        refuse_lost("flights", 2, np.array([False, False]))
    with pytest.raises(dp.InputError, match="at least 40"):
        make_settings(Settings, {"cells": 24})


@pytest.mark.slow
def test_the_experiment_runs_and_goes_on(tmp_path):
    program = EXPERIMENTS.load("control-rigid-body")
    small = {
        "cells": 40,
        "episodes": 2,
        "steps": 16,
        "flights": 2,
        "flown": 20,
        "imitations": 20,
        "length": 0.05,
        "window": 16,
    }
    tests = ("targets", "buoyancy", "turning", "disturbances")
    settings = make_settings(program.settings, {**small, "targets": 1, "tests": tests})
    with Run.open(tmp_path, "control-rigid-body", "demo", settings, 0) as run:
        table = program.complete(run)
        metrics = json.loads((tmp_path / "metrics.json").read_text())
        program.complete(run)
    again = json.loads((tmp_path / "metrics.json").read_text())
    assert list(metrics["tests"]["targets"]) == ["network", "supervised", "pid", "loop-shaping"]
    assert metrics["tests"] == again["tests"] and table.row_count == 16
    assert metrics["tests"]["targets"]["pid"][0]["effort"] > 0
    assert np.isfinite(metrics["tests"]["disturbances"]["network"][0]["steady_angle"])
    assert (tmp_path / "figures" / "buoyancy.gif").exists() and (tmp_path / "figures" / "disturbances.gif").exists()


def test_dt_is_the_published_one_of_the_control():
    for name in ("targets", "inflow"):
        assert float(make_step(TINY, TESTS[name]).flow.dt) == pytest.approx(DT) == 0.1
