"""Indirect control: where velocities act, what they make of the fluid, what is measured, and the experiment runs."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffphys.control import ModelPredictive, PredictorCorrector, cost, simulate
from diffphys.errors import InputError
from diffphys.experiments import EXPERIMENTS
from diffphys.experiments.control_indirect import (
    BLOCK,
    BOTTOM,
    CORNERS,
    FLOOR,
    HIGH,
    LEFT,
    LOW,
    NODES,
    RIGHT,
    SIDE,
    SIZE,
    STEPS,
    Driven,
    Scene,
    Straight,
    bucket_problem,
    center_of,
    draw_scenes,
    make_controller,
    measured,
    steer,
)
from diffphys.operators import faces_to_centers
from diffphys.runs import Run, make_settings


@pytest.fixture(scope="module")
def step():
    return Driven(64)


@pytest.mark.parametrize("cells", [64, 128])
def test_blocks_have_their_area_and_lie_in_their_buckets_and_nothing_lies_in_walls(cells):
    step = Driven(cells)
    area = (SIZE / cells) ** 2
    for left in CORNERS:
        block, bucket = step.block((left, FLOOR)), step.bucket(jnp.asarray([left, FLOOR]) + BLOCK / 2)
        np.testing.assert_allclose(area * jnp.sum(block), BLOCK**2, rtol=1e-5)
        assert jnp.all(block * bucket == block)
        np.testing.assert_allclose(area * jnp.sum(bucket), 28 * (12 if cells == 64 else 11))  # of 5.5 cells all of six
        assert not jnp.any(block[step.walls])
    for corner in ((LEFT, LOW), (RIGHT, LOW), (LEFT, HIGH), (RIGHT, HIGH)):
        assert not jnp.any(step.block(corner)[step.walls])
    # Walls have the same area on every grid: their corners lie on edges of cells.
    assert area * np.sum(step.walls) == 20 * 4 + 4 * 38 + 4 * 34 + 4 * 92 + 68 * 4 + 4 * 2 * 10


def test_scenes_begin_in_the_middle_and_name_all_buckets():
    scenes = draw_scenes(jax.random.key(0), 200)
    assert set(np.unique(scenes.target[:, 0])) == {left + BLOCK / 2 for left in CORNERS}
    low, high = scenes.corner.min(0), scenes.corner.max(0)
    assert low[0] >= LEFT and low[1] >= LOW and high[0] < RIGHT and high[1] < HIGH


@pytest.mark.usefixtures("float64")
def test_velocities_are_given_at_the_border_and_the_fluid_follows_without_turning(step):
    control = 20 * jax.random.normal(jax.random.key(0), (2, NODES, NODES))
    after, given = jax.jit(lambda control: (step(step.start((60.0, 30.0)), control), step.given(control)))(control)
    edges = np.linspace(0.0, SIZE, 65)
    centers = (edges[1:] + edges[:-1]) / 2
    open_faces = []
    for axis, part in enumerate(given):
        x, y = (edges if axis == other else centers for other in (0, 1))
        border = (x[:, None] <= SIDE) | (x[:, None] >= SIZE - SIDE) | (y[None] <= BOTTOM)
        assert jnp.all(part.values[~border] == 0) and jnp.all(part.values[border] != 0)
        closed = np.pad(step.walls, [(1, 1) if axis == other else (0, 0) for other in (0, 1)], mode="edge")
        beside = [np.delete(closed, -1, axis), np.delete(closed, 0, axis)]
        through = after.flow.velocity[axis].values[beside[0] | beside[1]]
        assert jnp.max(jnp.abs(through)) < 1e-11, "nothing goes through a wall"
        open_faces.append(~(beside[0] | beside[1]) & ~border)
    assert jnp.max(jnp.abs(step.flow.divergence(after.flow).values)) < 1e-11
    assert jnp.max(jnp.abs(after.flow.velocity[1].values[32, 20:40])) > 0.1, "the middle moves"
    # Where all four faces around a corner are free and nothing is given, the velocity is a gradient.
    u, v = (part.values for part in after.flow.velocity)
    turning = (v[1:, 1:-1] - v[:-1, 1:-1]) - (u[1:-1, 1:] - u[1:-1, :-1])
    free_u, free_v = open_faces
    free = free_v[1:, 1:-1] & free_v[:-1, 1:-1] & free_u[1:-1, 1:] & free_u[1:-1, :-1]
    assert free.sum() > 1000
    assert jnp.max(jnp.abs(jnp.where(free, turning, 0.0))) < 1e-11
    assert not jnp.any(after.smoke.values[step.walls])
    mean = (jnp.sum(u**2) + jnp.sum(v**2)) / 64**2
    np.testing.assert_allclose(after.effort, mean / 2)


@pytest.mark.usefixtures("float64")
def test_the_gradient_of_the_loop_is_that_of_differences(step):
    problem = dataclasses.replace(bucket_problem(step, jnp.asarray([65.5, 110.5]), 2.0), steps=2)
    controls, direction = jax.random.normal(jax.random.key(1), (2, 2, 2, NODES, NODES))

    def along(length):
        return cost(problem, step.start((60.0, 30.0)), 10 * (controls + length * direction))

    value = jax.jit(jax.value_and_grad(along))
    small = 1e-6
    difference = (value(small)[0] - value(-small)[0]) / (2 * small)
    np.testing.assert_allclose(value(0.0)[1], difference, rtol=1e-5)


@pytest.mark.usefixtures("float64")
def test_the_rule_moves_the_smoke_straight_with_the_least_velocities(step):
    target = jnp.asarray([99.5, 110.5])
    state = step.start((45.0, 40.0))
    control = jax.jit(lambda state: Straight(step)(state, target))(state)

    def drift(control):
        weights = state.smoke.values / jnp.sum(state.smoke.values)
        return jnp.stack([jnp.sum(weights * part.values) for part in faces_to_centers(step.driven(control))])

    others = jax.random.normal(jax.random.key(0), (3, *control.shape))
    drifts = jax.jit(jax.vmap(drift))(jnp.stack([control, *others]))
    wanted = (target - center_of(state.smoke)) / STEPS
    np.testing.assert_allclose(drifts[0], wanted, rtol=1e-2)
    # Another control of the same drift is longer: what is added then has a drift of zero, and is orthogonal to it.
    weights = jnp.linalg.svd(drifts[1:].T)[2][-1]
    unseen = jnp.tensordot(weights, others, 1)
    lengths = jnp.linalg.norm(control) * jnp.linalg.norm(unseen)
    assert jnp.abs(jnp.sum(control * unseen)) < 1e-9 * lengths


def test_smoke_that_stays_misses_and_a_block_at_the_target_is_all_in_the_bucket(step):
    scene = draw_scenes(jax.random.key(3), 1)
    blank = bucket_problem(step, scene.target[0], 0.0)

    def resting(corner):
        run = simulate(blank, step.start(corner), blank.at_rest())
        return measured(step, jax.tree.map(lambda leaf: leaf[None], run), scene)

    found = jax.jit(resting)
    stays, there = found(scene.corner[0]), found(scene.target[0] - BLOCK / 2)
    np.testing.assert_allclose([stays["error"], stays["share"], stays["effort"]], [1.0, 0.0, 0.0], atol=1e-5)
    np.testing.assert_allclose([there["error"], there["share"], there["amount"]], [0.0, 1.0, 1.0], atol=1e-5)


def test_bad_input_is_refused_in_a_sentence(step):
    problem = bucket_problem(step, jnp.asarray([35.5, 110.5]), 1.0)
    with pytest.raises(InputError, match=r"controls have shape \(16, 2, 8, 8\); \(16, 2, 16, 16\)"):
        simulate(problem, step.start((50.0, 30.0)), jnp.zeros((STEPS, 2, 8, 8)))
    with pytest.raises(InputError, match="horizon is 17; a whole number up to the task's 16 steps"):
        ModelPredictive(problem, horizon=17)
    with pytest.raises(InputError, match="target"):
        bucket_problem(step, jnp.asarray([jnp.nan, 110.5]), 1.0)
    with pytest.raises(InputError, match="cells: must be a multiple of 64"):
        Driven(100)


@pytest.mark.slow
def test_a_hierarchy_moves_the_smoke_by_what_its_networks_say(step):
    scene = Scene(jnp.asarray([60.0, 30.0]), jnp.asarray([65.5, 110.5]))
    controller = make_controller("hierarchy", 8, jax.random.key(1))
    assert isinstance(controller, PredictorCorrector) and controller.steps == STEPS
    run = jax.jit(lambda scene: steer(step, controller, scene, 1.0))(scene)
    assert run.controls.shape == (STEPS, 2, NODES, NODES)
    again = jax.jit(
        lambda controls: simulate(bucket_problem(step, scene.target, 1.0), step.start(scene.corner), controls)
    )
    np.testing.assert_allclose(run.final.smoke.values, again(run.controls).final.smoke.values, atol=1e-5)


@pytest.mark.slow
def test_the_experiment_runs_and_goes_on(tmp_path):
    program = EXPERIMENTS.load("control-indirect")
    small = {"seconds": 1e9, "updates": 2, "scenes": 2, "iterations": 1, "features": 8, "batch": 1, "seeds": 1}
    settings = make_settings(program.settings, small | {"planned": 1})
    with Run.open(tmp_path, "control-indirect", "demo", settings, 0) as run:
        table = program.complete(run)
        metrics = json.loads((tmp_path / "metrics.json").read_text())
        program.complete(run)
    assert json.loads((tmp_path / "metrics.json").read_text())["arms"] == metrics["arms"]
    assert set(metrics["arms"]) == {"policy", "hierarchy"} and metrics["trajectory_optimization"]["share"]
    assert table.row_count == 5
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {
        "curves.png",
        "missed.png",
        "smoke.png",
        "smoke.gif",
        "given.png",
        "given.gif",
    }
