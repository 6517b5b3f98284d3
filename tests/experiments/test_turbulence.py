"""The experiments on turbulent flows: what they compare, and in miniature all that they write."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffphys.cli import main
from diffphys.errors import InputError
from diffphys.experiments import EXPERIMENTS
from diffphys.experiments import spatial_mixing_layer as spatial
from diffphys.experiments.decaying_turbulence import case_of as decaying
from diffphys.experiments.temporal_mixing_layer import case_of as mixing
from diffphys.experiments.turbulence import (
    TurbulenceSettings,
    frame_of,
    mean_squared_error,
    of_all_seeds,
    table_of,
    turbulence_study,
)
from diffphys.learning import Normalization, with_parameters
from diffphys.learning.turbulence import Average, Moments
from diffphys.nets import count_parameters
from diffphys.runs import make_settings


CASES = {"temporal-mixing-layer": mixing, "decaying-turbulence": decaying, "spatial-mixing-layer": spatial.case_of}
SMALL = TurbulenceSettings(resolution=16, scale=2, features=1)


@pytest.mark.parametrize("case_of", [decaying, mixing])
def test_frames_of_the_reference_are_states_of_the_source_without_divergence(case_of):
    study = turbulence_study(case_of(SMALL), SMALL)
    first = study.begin(study.reference)
    frame = study.transfer(first)
    state = study.state(frame)
    assert float(jnp.max(jnp.abs(study.diagnostics["divergence"](study.fields(state))))) < 1e-4
    again = study.observe(state)
    assert all(np.array_equal(again[name], frame[name]) for name in study.names)
    assert frame["pressure"].shape == study.grid.cells


def test_the_published_cells_and_network_are_the_papers():
    """128 x 64 cells on 40 pi x 20 pi, and 81,856 parameters at 16 features; a quarter of the cells keep their size."""
    study = turbulence_study(mixing(TurbulenceSettings()), TurbulenceSettings())
    assert study.grid.cells == (128, 64) and study.grid.size == pytest.approx((40 * np.pi, 20 * np.pi))
    assert count_parameters(study.make_network(16, key=jax.random.key(0))) == 81_856
    small = turbulence_study(mixing(SMALL), SMALL)
    assert small.grid.spacing == pytest.approx(study.grid.spacing)


def test_the_loss_of_all_steps_is_the_weighted_one_and_further_arms_change_one_thing_each():
    settings = dataclasses.replace(SMALL, loss=(2.0, 0.5, 0.0, 0.0), windows=(2,), sizes=(3,), squares_only=True)
    settings = dataclasses.replace(settings, mean_flow=0.5, seeds=2)
    study = turbulence_study(decaying(settings), settings)
    shape = (3, 16, 16)
    one, other = (
        {name: jax.random.normal(jax.random.key(seed + place), shape) for place, name in enumerate(study.names)}
        for seed in (0, 2)
    )
    assert study.unrolled_loss is not None
    squares = 2.0 * sum(float(jnp.sum((one[name] - other[name]) ** 2)) for name in study.names) / 6
    further = {"simulator", "window-2", "features-3", "squares-only", "mean-flow"}
    assert set(study.variants) == further | {f"{arm}-seed-1" for arm in further | set(settings.arms)}
    assert study.variants["unrolled-seed-1"].seed == 1 and study.variants["window-2"].seed == 0
    with_mean = study.variants["mean-flow"].study.unrolled_loss
    assert with_mean is not None and float(with_mean(one, other)) > float(study.unrolled_loss(one, other))
    plain = study.variants["squares-only"].study.unrolled_loss
    assert plain is not None and float(plain(one, other)) == pytest.approx(squares, rel=1e-5)
    assert float(study.unrolled_loss(one, other)) > squares
    assert study.variants["window-2"].settings.window == 2
    assert study.variants["features-3"].study.architecture == {"features": 3, "bias": False}
    error = mean_squared_error(one, other)
    assert float(error) == pytest.approx(squares * 6 / 2 / 2 / (3 * 16 * 16), rel=1e-5)


def test_a_simulator_without_a_solver_only_adds_its_networks_output():
    study = turbulence_study(decaying(SMALL), SMALL).variants["simulator"].study
    network = study.make_network(1, key=jax.random.key(0))
    state = study.state(frame_of(2, study.begin(turbulence_study(decaying(SMALL), SMALL).reference)))
    after = study.corrected(network, Normalization(jnp.ones(2)))(state)
    image = jnp.stack([part.values for part in state.velocity])
    for part, expected in zip(after.velocity, image + network(image), strict=True):
        np.testing.assert_allclose(part.values, expected, atol=1e-6)


def test_tables_tell_ratios_and_what_is_published():
    arms = {
        "source": {"mse_64": 4e-3, "step_ms": 1.0},
        "unrolled": {"mse_64": 5e-4, "step_ms": 2.0},
        "simulator": {"mse_64": None, "step_ms": 2.0},
    }
    table = table_of("title", arms, {"unrolled": {"mse_64": 1e-4}}, (64,))
    columns = [list(column.cells) for column in table.columns]
    assert columns[1] == ["4.00e-03", "5.00e-04", "not finite"]
    assert columns[2] == ["", "8.00", ""] and columns[3] == ["", "1.00e-04", ""]


def test_what_enters_is_the_published_disturbance_and_the_same_on_all_grids():
    coarse, fine = (spatial.spatial_mixing_layer(cells, 0.4, size=(16.0, 16.0)) for cells in (16, 64))
    inlets = [getattr(flow.sides[0][0], "speed") for flow in (coarse, fine)]  # noqa: B009 (an Inflow)
    for inlet, flow in zip(inlets, (coarse, fine), strict=True):
        inlet = dataclasses.replace(inlet, amplitudes=jnp.array([0.082, 0.018]))
        y = np.asarray(flow.grid.centers()[1]).reshape(-1)
        wave = sum(
            e * np.cos(n * y) * (1 - np.tanh(y / 2) ** 2) * np.sin(o * 7.0)
            for e, n, o in ((0.082, 0.4 * np.pi, 0.22), (0.018, 0.3 * np.pi, 0.11))
        )
        np.testing.assert_allclose(inlet(7.0), 1 + 0.5 * np.tanh(2 * y) + wave, atol=0.15 * flow.grid.spacing[1] ** 2)
    found = [inlet(jnp.asarray(3.0)) for inlet in inlets]
    np.testing.assert_allclose(found[0], found[1].reshape(16, 4).mean(1), atol=1e-3)


def test_a_case_has_its_amplitudes():
    settings = spatial.Settings(resolution=16, scale=2, features=1)
    study = turbulence_study(spatial.case_of(settings), settings)
    step = with_parameters(study.source, study.parameters(0.082))
    np.testing.assert_allclose(step.flow.sides[0][0].speed.amplitudes, [0.082, 0.018], rtol=1e-6)
    assert study.interval == settings.dt and len(study.train_cases) == 5


@pytest.mark.parametrize("name", ["train_amplitudes", "test_amplitudes"])
def test_an_amplitude_beyond_the_sum_of_both_is_refused(name):
    with pytest.raises(InputError, match=name):
        spatial.PROGRAM.choose("demo", [f"{name}=0.2"])


def test_long_runs_are_compared_by_the_moments_of_all_their_blocks():
    values = np.random.default_rng(0).standard_normal((40, 2, 3, 8))
    blocks = []
    for part in np.split(values, 4):
        moments = Moments.empty(jnp.zeros((2, 3, 8)))
        for one in part:
            moments = moments.added(jnp.asarray(one))
        blocks.append({"velocity": moments, "spectrum": Average(jnp.asarray(10.0), jnp.asarray(part[:, 0].mean(0)))})
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *blocks)
    found = spatial.profiles_of(stacked)
    np.testing.assert_allclose(found["mean"], values[:, 0].mean(0), atol=1e-5)
    np.testing.assert_allclose(found["uv"], np.mean(values[:, 0] * values[:, 1], 0) - values.mean(0).prod(0), atol=1e-5)
    assert spatial.compared(stacked, stacked)["uu"] == [0.0] * 3
    # The variance of 40 normal numbers is known to 22 %, of which a profile's distance is the root mean square.
    known = spatial.interval(stacked)["uu"]
    assert all(0.1 < one < 0.5 for one in known)


@pytest.mark.parametrize("wrong", [{"finer": (3,)}, {"windows": (64,)}, {"window": 64}, {"test_seeds": (3, 3)}])
def test_settings_that_do_not_fit_are_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        make_settings(type(SMALL), dataclasses.asdict(SMALL) | wrong)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_small_run_writes_arms_and_baselines_and_its_figures(name, tmp_path, capsys):
    settings = """resolution=16 scale=2 warmup=2 train_frames=12 frames=8 compared_at=4,8 features=1 unroll=1,2
        updates=2,2 learning_rates=1e-3,1e-3 arms=supervised,unrolled smagorinsky=0.05,0.1
        simulator=true"""
    if name == "spatial-mixing-layer":
        settings += " dt=0.4 train_amplitudes=0.05 long_run=20 blocks=2"
    varied = {"features-2", "features-2-seed-1", "unrolled-seed-1"} if name == "decaying-turbulence" else set()
    settings += " sizes=2 seeds=2 arms=unrolled simulator=false" if varied else ""
    words = [word for text in settings.split() for word in ("--set", text)]
    assert main(["run", name, "--out", str(tmp_path / "run"), *words]) == 0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    arms = metrics["arms"]
    others = varied or {"supervised", "simulator"}
    assert set(arms) == {"source", "unrolled", "smagorinsky", "finer-2"} | others
    assert all(arm["mse_8"] > arm["mse_4"] > 0 and arm["step_ms"] > 0 for arm in arms.values())
    assert metrics["mse_corrected_mean"] == arms["unrolled"]["mse_mean"]  # the last of `arms`, no variant
    if name == "spatial-mixing-layer":
        long = metrics["long_run"]
        assert set(long) == {"source", "unrolled", "interval_of_the_reference"}
        assert all(len(long["source"][profile]) == 3 for profile in ("mean", "uu", "uv", "vv", "spectrum"))
        assert {path.name for path in (tmp_path / "run" / "figures").iterdir()} >= {"profiles.png", "spectra.png"}
        return
    assert arms["finer-2"]["mse_8"] < 0.2 * arms["source"]["mse_8"]  # of second order: 1/16 of the square
    tried = arms["smagorinsky"]["tried"]
    assert tried[f"{arms['smagorinsky']['constant']:g}"] == min(tried.values())
    figures = {path.name for path in (tmp_path / "run" / "figures").iterdir()}
    assert {"vorticity.png", "vorticity.gif", "statistics.png", "error-over-cost.png", "loss-unrolled.png"} <= figures
    if varied:
        assert "error-over-size.png" in figures
        seeds = [arms[arm]["mse_8"] for arm in ("unrolled", "unrolled-seed-1")]
        assert seeds[0] != seeds[1] and metrics["seeds"]["unrolled"]["mse_8"]["mean"] == pytest.approx(np.mean(seeds))
    assert "published" in capsys.readouterr().out


@pytest.mark.parametrize("name", CASES)
def test_presets_that_vary_one_thing_differ_from_longer_in_that(name):
    program = EXPERIMENTS.load(name)
    longer, case_of = program.presets["longer"], CASES[name]
    for preset, changed in (
        ("sub-ranges", {"windows", "window"}),
        ("losses", {"squares_only", "mean_flow"}),
        ("seeds", {"seeds"}),
        ("sizes", {"sizes"}),
    ):
        given, settings = program.presets[preset], program.choose(preset)
        different = {key for key in given if given[key] != longer.get(key)}
        assert different - changed <= {"arms", "updates", "simulator"} and different & changed
        study = turbulence_study(case_of(settings), settings)
        assert len(study.variants) >= (1 if name.startswith("spatial") else 2)


def test_seeds_are_told_by_their_mean_and_interval():
    arms = {"unrolled": {"mse_8": 1.0}, "unrolled-seed-1": {"mse_8": 3.0}, "one-step": {"mse_8": None}}
    assert of_all_seeds(arms, "unrolled", 2, (8,)) == {"mse_8": {"mean": 2.0, "interval": pytest.approx(2.0)}}
    assert np.isnan(of_all_seeds(arms, "one-step", 1, (8,))["mse_8"]["mean"])
