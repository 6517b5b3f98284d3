"""Shape transitions: shapes keep their area, both ways to push are free of divergence, and the experiment runs."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffphys.control import PredictorCorrector, cost, simulate
from diffphys.experiments import EXPERIMENTS
from diffphys.experiments.control_shapes import (
    AREA,
    CELLS,
    STEPS,
    at_rest,
    carried_velocity,
    draw_scene,
    make_controller,
    measured,
    pushed,
    seen,
    shape_problem,
    steer,
    streamed,
    the_flow,
)
from diffphys.experiments.star_shapes import OUTLINES, star_shape
from diffphys.runs import Run, make_settings


def test_every_shape_and_every_mixture_has_the_same_area():
    points = [np.arange(-200, 200)[:, None] / 20 + 0.025, np.arange(-200, 200)[None] / 20 + 0.025]
    area = jax.jit(lambda outline: jnp.sum(star_shape(points, jnp.zeros(2), outline, 40.0)) / 20**2)
    mixtures = [0.3 * one + 0.7 * two for one, two in zip(OUTLINES, OUTLINES[::-1], strict=True)]
    for outline in [*OUTLINES, *mixtures]:
        np.testing.assert_allclose(area(jnp.asarray(outline)), 40.0, rtol=1e-2)


def test_polygons_have_their_corners_and_sides():
    inside = jax.jit(lambda x, y, outline: star_shape([x, y], jnp.zeros(2), outline, 20.0) == 1)
    plus = jnp.asarray(OUTLINES[7])  # of area 20: its arms reach from -3 to 3 and are two wide
    assert inside(2.9, 0.9, plus) and inside(-0.9, 2.9, plus)
    assert not inside(1.1, 1.1, plus) and not inside(3.1, 0.0, plus)
    upright = jnp.asarray(OUTLINES[4]) / 20 * 8  # of 2 x 4
    assert inside(0.95, 1.95, upright) and not inside(1.05, 0.0, upright) and not inside(0.0, 2.05, upright)


def test_a_scene_begins_and_ends_with_shapes_of_the_library():
    frames = jax.jit(draw_scene)(jax.random.key(0)).frames
    assert frames.shape == (STEPS + 1, CELLS, CELLS) and set(np.unique(frames)) == {0.0, 1.0}
    np.testing.assert_allclose(jnp.sum(frames, (1, 2)), AREA, rtol=0.25)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_both_ways_to_push_keep_the_fluid_free_of_divergence_and_pay_for_what_changes():
    flow, keys = the_flow(), jax.random.split(jax.random.key(0), 3)
    stream = jax.random.normal(keys[0], (CELLS - 1, CELLS - 1))
    force = (jax.random.normal(keys[1], (CELLS + 1, CELLS)), jax.random.normal(keys[2], (CELLS, CELLS + 1)))
    first = streamed(at_rest(jnp.zeros((CELLS, CELLS))), stream)
    # From rest all of the velocity is force.
    np.testing.assert_allclose(first.spent, 0.5 * sum(np.sum(part.values**2) for part in first.flow.velocity))
    second = jax.jit(pushed)(first, force)
    for state in (first, second):
        assert jnp.max(jnp.abs(flow.divergence(state.flow).values)) < 1e-11
        for axis, part in enumerate(state.flow.velocity):
            ends = jnp.take(part.values, jnp.asarray([0, -1]), axis)
            assert jnp.max(jnp.abs(ends)) < 1e-13, "nothing goes through the walls"
    # Without a force the fluid goes on by itself: what is carried, freed of divergence.
    coasting = pushed(first, (jnp.zeros(force[0].shape), jnp.zeros(force[1].shape)))
    carried, _ = flow.project(carried_velocity(first))
    for one, two in zip(coasting.flow.velocity, carried, strict=True):
        np.testing.assert_allclose(one.values, two.values, atol=1e-12)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("pressure", [False, True])
def test_the_gradient_of_the_loop_is_that_of_differences(pressure):
    scene = draw_scene(jax.random.key(1))
    problem, start = shape_problem(scene.target, 0.1, pressure, steps=2), at_rest(scene.start.astype(float))
    keys = iter(jax.random.split(jax.random.key(2), 8))
    blank = problem.at_rest()
    controls, direction = (
        jax.tree.map(lambda leaf: jax.random.normal(next(keys), leaf.shape), blank) for _ in range(2)
    )

    def along(length):
        return cost(problem, start, jax.tree.map(lambda one, two: one + length * two, controls, direction))

    value = jax.jit(jax.value_and_grad(along))
    step = 1e-6
    difference = (value(step)[0] - value(-step)[0]) / (2 * step)
    np.testing.assert_allclose(value(0.0)[1], difference, rtol=1e-5)


def test_a_marker_that_stays_has_an_error_of_one_and_no_force():
    scene = jax.tree.map(lambda leaf: leaf[None], draw_scene(jax.random.key(3)))
    problem = shape_problem(scene.target[0], 1.0)
    run = jax.jit(lambda start: simulate(problem, at_rest(start), problem.at_rest()))(scene.start[0])
    found = measured(jax.tree.map(lambda leaf: leaf[None], run), scene)
    np.testing.assert_allclose([found["error"], found["force"]], [1.0, 0.0], atol=1e-6)


def test_a_plan_lies_half_way_whatever_its_image():
    """Its center of gravity does not say where: what networks plan while they learn is of both signs."""
    scene = draw_scene(jax.random.key(4), 2)
    left, right = seen(scene.start), seen(scene.target)
    controller = make_controller("hierarchy", 8, jax.random.key(5))
    assert isinstance(controller, PredictorCorrector)
    wild = jax.tree.map(lambda leaf: 30 * leaf, controller.predictors[0])
    plan = jax.jit(lambda: wild(left, right))()
    np.testing.assert_array_equal(plan.corner, np.floor((left.corner + right.corner) / 2))
    assert jnp.min(plan.image) < -1 and jnp.max(plan.image) > 2
    beside = np.array(plan.image)
    first, last = np.asarray(plan.corner, int), np.asarray(plan.corner, int) + 32
    beside[first[0] : last[0], first[1] : last[1]] = 0
    assert not beside.any()


@pytest.mark.slow
def test_a_hierarchy_moves_the_marker_by_what_its_networks_say():
    scene = draw_scene(jax.random.key(0))
    controller = make_controller("hierarchy", 8, jax.random.key(1))
    run = jax.jit(lambda scene: steer(controller, scene, 1e-3))(scene)
    assert run.controls.shape == (STEPS, CELLS - 1, CELLS - 1)
    again = simulate(shape_problem(scene.target, 1e-3), at_rest(scene.start), run.controls)
    np.testing.assert_allclose(run.final.marker.values, again.final.marker.values, atol=1e-5)
    assert jnp.all(run.states.spent > 0)


@pytest.mark.slow
def test_the_experiment_runs_and_goes_on(tmp_path):
    program = EXPERIMENTS.load("control-shapes")
    small = {"seconds": 1e9, "updates": 2, "scenes": 2, "iterations": 1, "features": 8, "batch": 1, "seeds": 1}
    small |= {"arms": ("hierarchy", "chain", "pressure"), "planned": 1, "few": 1, "speeds": 1}
    settings = make_settings(program.settings, small)
    with Run.open(tmp_path, "control-shapes", "demo", settings, 0) as run:
        table = program.complete(run)
        metrics = json.loads((tmp_path / "metrics.json").read_text())
        program.complete(run)
    assert json.loads((tmp_path / "metrics.json").read_text())["arms"] == metrics["arms"]
    assert set(metrics["arms"]) == {"hierarchy", "chain", "pressure"}
    assert set(metrics["refined"]) == {"hierarchy", "pressure"}
    assert table.row_count == 8
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {
        "curves.png",
        "force.png",
        "marker.png",
        "marker.gif",
    }
