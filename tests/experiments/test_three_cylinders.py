"""Three bodies in a stream: layouts, what the network sees, what is refused."""

import dataclasses
import json
from importlib import resources

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffphys.cli import main
from diffphys.experiments import three_cylinders
from diffphys.experiments.three_cylinders import (
    BAR,
    PROGRAM,
    RADIUS,
    SIZE,
    VISCOSITY,
    Settings,
    begin,
    bodies,
    draw_layout,
    make_network,
    mask_of,
    open_stream,
    probe,
    strouhal,
)
from diffphys.grids import Inflow
from diffphys.nets import count_parameters
from diffphys.stepping import rollout


SEEDS = range(200)


def test_drawn_bodies_stand_apart_and_within_the_domain():
    layouts = [draw_layout(Settings(), seed) for seed in SEEDS]
    for layout in layouts:
        apart = np.linalg.norm(layout.centers - np.roll(layout.centers, 1, axis=0), axis=1)
        np.testing.assert_allclose(apart, layout.spacing)
        assert 2 * RADIUS < layout.spacing
        assert np.all(layout.centers - RADIUS > 0) and np.all(layout.centers + RADIUS < SIZE)
    spacings = [layout.spacing for layout in layouts]
    assert min(spacings) < 1.4 and max(spacings) > 5.3
    assert np.ptp([layout.lean for layout in layouts]) > 3.0


def test_bodies_have_the_area_of_two_disks_and_a_bar():
    """Which is a rectangle between the halves of a disk."""
    grid = open_stream(8, 0.01).grid
    expected = 2 * np.pi * RADIUS**2 + np.pi * BAR**2 + 2 * (RADIUS - BAR) * 2 * BAR
    for seed in (1, 101):
        shape = draw_layout(Settings(), seed).shape
        area = float(jnp.sum(shape.volume_fractions(grid))) * np.prod(grid.spacing)
        assert area == pytest.approx(expected, rel=1e-2)


@pytest.mark.parametrize("cells", [4, 7])
def test_there_is_room_for_the_faces_of_every_layout(cells):
    """Of a body as long as n cells no more than n + 1 rows and columns have two closed faces each; aslant it needs
    most of them.
    """
    flow = open_stream(cells, 0.01)
    places = flow.grid.centers()
    counts = []
    for seed in range(12):
        inside = np.asarray(draw_layout(Settings(), seed).shape.contains(places))
        counts.append(sum(int(closed.sum()) for closed in flow.pressure_problem_around(inside).closed_faces()))
    assert 6 * cells < max(counts) <= 12 * (cells + 1)


def test_the_reynolds_number_of_a_cylinder_is_a_hundred():
    flow = open_stream(4, 0.1)
    inflow = flow.sides[0][0]
    assert isinstance(inflow, Inflow)
    assert float(inflow.speed) * 2 * RADIUS / VISCOSITY == pytest.approx(100.0)
    assert flow.grid.cells == (96, 64)


@pytest.mark.slow
def test_the_network_sees_the_layout_that_is_there():
    settings = dataclasses.replace(Settings(), resolution=3)
    system = bodies(settings, 1, 1, (1.0, 2.0))
    for index, seed in enumerate((1, 2)):
        there = dataclasses.replace(system, layout=jnp.asarray(index))
        (mask,) = mask_of(there, None)  # pyright: ignore[reportArgumentType] (which is not read)
        expected = draw_layout(settings, seed).shape
        np.testing.assert_allclose(mask, expected.volume_fractions(system.solver.grid), atol=1e-6)
        cells = np.asarray(expected.contains(system.solver.grid.centers()))
        np.testing.assert_array_equal(there.flow.solid.cells, cells)


def test_the_published_network_has_as_many_numbers():
    shapes = eqx.filter_eval_shape(make_network, "paper", 32, jax.random.key(0))
    counted = sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(shapes) if hasattr(leaf, "shape"))
    assert counted == 516_674
    assert PROGRAM.choose("paper", []).network == "paper"


def test_the_small_network_corrects_two_fields_of_three():
    network = make_network("small", 4, jax.random.key(0))
    assert network(jnp.ones((3, 8, 8))).shape == (2, 8, 8)
    assert count_parameters(network) < 5000


def test_the_strouhal_number_is_that_of_the_signal():
    times = 0.1 * np.arange(500)
    assert strouhal(np.sin(2 * np.pi * 0.163 * times + 0.4) + 0.2, 10.0) == pytest.approx(0.163, rel=2e-3)
    assert strouhal(np.sin(2 * np.pi * 0.03 * times), 10.0) is None  # less than two periods
    assert strouhal(np.full(500, np.nan), 10.0) is None


def test_the_probe_lies_behind_the_bodies():
    settings = Settings()
    x, y = np.array(probe(settings)) / settings.resolution
    assert settings.place[0] + 5.5 / np.sqrt(3) + RADIUS < x < SIZE[0] and y == settings.place[1]


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["spacings=0.9,3"], "where bodies overlap; more than 1 is accepted"),
        (["spacings=3,2"], "the smallest and the largest are accepted"),
        (["place=2,8"], "a body may leave the domain"),
        (["spacings=1.2,14"], "a body may leave the domain"),
        (["unroll=1,4,16,151"], "fewer steps than frames"),
        (["test_seeds=3,101"], "which training sees"),
        (["test_seeds=101,101"], "one or more different whole numbers"),
    ],
)
def test_settings_that_cannot_be_are_refused_in_a_sentence(words, sentence, capsys, tmp_path):
    given = [word for one in words for word in ("--set", one)]
    assert main(["run", "three-cylinders", "--preset", "book", *given, "--out", str(tmp_path / "run")]) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    "weights, sentence",
    [
        (str(resources.files("diffphys.experiments") / "weights" / "wake.checkpoint"), "holds no network of the"),
        ("shipped", "the three-cylinders experiment ships none"),
        ("/nowhere", "cannot be read"),
    ],
)
def test_other_weights_are_refused_before_the_bodies_are_prepared(weights, sentence, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(three_cylinders, "scenario_of", lambda settings: pytest.fail("they are prepared"))
    words = ["--set", f"weights={weights}", "--out", str(tmp_path / "run")]
    assert main(["run", "three-cylinders", "--preset", "demo", *words]) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.slow
def test_a_step_with_shorter_steps_within_is_so_many_of_them():
    settings = dataclasses.replace(Settings(), resolution=3)
    once, twice = (bodies(settings, 1, substeps, (1.0,)) for substeps in (1, 2))
    short = dataclasses.replace(once, solver=twice.solver)
    state = begin(once)
    expected, _ = rollout(short, state, 2)
    np.testing.assert_allclose(twice(state).velocity[1].values, expected.velocity[1].values, atol=1e-6)
    assert float(twice.dt) == pytest.approx(float(once.dt))


@pytest.mark.slow
def test_a_small_run_tells_error_and_strouhal_number_of_each_layout(tmp_path, capsys):
    """A finer grid that is the reference's makes no error."""
    words = """resolution=3 scale=2 substeps=2 train_seeds=1,2 test_seeds=101 warmup=20 train_frames=9 frames=20
        unroll=2 updates=2 learning_rates=1e-3 features=2 finer=2"""
    out = tmp_path / "run"
    given = [word for one in words.split() for word in ("--set", one)]
    assert main(["run", "three-cylinders", "--preset", "demo", "--out", str(out), *given]) == 0
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["arms"]["finer-2"]["mae_mean"] < 1e-6 < metrics["arms"]["source"]["mae_mean"]
    assert set(metrics["strouhal"]) == {"reference", "source", "one-step", "unrolled"}
    figures = {path.name for path in (out / "figures").iterdir()}
    assert {"vorticity.png", "three-cylinders.gif", "layouts.png", "run-time.png"} <= figures
    assert "layout 101" in capsys.readouterr().out
