"""Rising smoke, and what the scenarios of Um et al. (2020) share."""

import json
from importlib import resources

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffphys.cli import main
from diffphys.experiments import buoyancy, wake
from diffphys.experiments.buoyancy import SIZE, Settings, begin, draw_clouds, make_network, smoke_flow
from diffphys.experiments.solver_in_the_loop import (
    frame_of,
    looking_ahead,
    over_look_ahead,
    published_reductions,
    speed_up,
    state_at,
    with_further_arms,
)
from diffphys.learning import Normalization, with_parameters
from diffphys.operators import coarsen, divergence


SMALL = Settings(
    resolution=16,
    warmup=2,
    train_frames=9,
    frames=6,
    unroll=(1, 2, 4),
    updates=(2, 2, 2),
    learning_rates=(1e-3, 1e-3, 1e-3),
    features=2,
)


# Physics ------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("float64")
def test_smoke_accelerates_the_flow_as_the_vorticity_equation_says():
    """From rest: d omega / dt = b ds/dx, so for s = cos(k x) sin(m y) v grows by b k^2 / (k^2 + m^2) s."""
    k, m = 2 * np.pi / SIZE, 3 * np.pi / SIZE
    errors = []
    for cells in (16, 32):
        flow = smoke_flow(SMALL, cells).solver
        x, y = flow.grid.centers()
        state = flow.initial_state(scalars={"smoke": jnp.cos(k * x) * jnp.sin(m * y)})
        after = eqx.filter_jit(flow)(state).velocity[1]
        x, y = after.coordinates()
        expected = SMALL.buoyancy * k**2 / (k**2 + m**2) * jnp.cos(k * x) * jnp.sin(m * y)
        errors.append(float(jnp.max(jnp.abs(after.values - expected))))
    assert errors[1] < 2e-4 and errors[0] / errors[1] == pytest.approx(4, rel=0.1)


@pytest.mark.usefixtures("float64")
def test_smoke_in_layers_stays_at_rest_and_mirrored_clouds_rise_as_mirror_images():
    system = smoke_flow(SMALL, 16)
    step = eqx.filter_jit(lambda state: system.solver(system.solver(system.solver(state))))
    y = jnp.broadcast_to(system.solver.grid.centers()[1], (16, 16))
    still = step(system.solver.initial_state(scalars={"smoke": jnp.sin(y)}))
    assert max(float(jnp.max(jnp.abs(part.values))) for part in still.velocity) < 1e-14

    clouds = draw_clouds(3)
    centers = clouds["centers"]
    other = np.stack([SIZE - centers[:, 0], centers[:, 1]], axis=1)
    one, mirrored = (
        step(begin(with_parameters(system, {"centers": jnp.asarray(at), "radii": jnp.asarray(clouds["radii"])})))
        for at in (centers, other)
    )
    assert float(jnp.max(one.velocity[1].values)) > 0.02  # upward, where smoke is
    np.testing.assert_allclose(mirrored.velocity[0].values, -one.velocity[0].values[::-1], atol=1e-6)
    np.testing.assert_allclose(mirrored.velocity[1].values, one.velocity[1].values[::-1], atol=1e-6)


def test_clouds_hold_the_smoke_of_disks_and_stand_in_the_lower_half():
    """A fading edge of width w adds pi^3 w^2 / 12 to the area of a disk."""
    system = smoke_flow(SMALL, 128)
    centers, radii = jnp.asarray([[25.0, 25.0], [75.0, 25.0], [50.0, 72.0]]), jnp.asarray([9.0, 12.0, 7.0])
    smoke = begin(with_parameters(system, {"centers": centers, "radii": radii})).scalars["smoke"].values
    expected = np.pi * float(jnp.sum(radii**2)) + 3 * np.pi**3 * buoyancy.EDGE**2 / 12
    assert float(jnp.sum(smoke)) * (SIZE / 128) ** 2 == pytest.approx(expected, rel=2e-3)
    assert 0 <= float(jnp.min(smoke)) and float(jnp.max(smoke)) <= 1
    drawn = [draw_clouds(seed) for seed in range(200)]
    lowest = min(float(np.min(clouds["centers"] - clouds["radii"][:, None])) for clouds in drawn)
    highest = max(float(np.max(clouds["centers"][:, 1])) for clouds in drawn)
    assert lowest > 0 and highest < SIZE / 2
    assert not np.array_equal(drawn[0]["centers"], drawn[1]["centers"])


def test_a_network_of_the_velocity_leaves_the_smoke():
    image = jax.random.normal(jax.random.key(0), (3, 8, 8))
    found = make_network("velocity", "small", 4, jax.random.key(1))(image)
    assert found.shape == (3, 8, 8) and np.all(found[2] == 0) and np.all(np.any(found[:2] != 0, axis=(1, 2)))
    assert np.any(make_network("everything", "small", 4, jax.random.key(1))(image)[2] != 0)


def test_smoke_that_is_bounded_stays_between_zero_and_one_and_the_velocity_is_left():
    settings = Settings(**{**vars(SMALL), "bounded": True})
    states = {}
    for name, given in {"free": SMALL, "bounded": settings}.items():
        study = buoyancy.buoyancy_study(given)
        scales = Normalization(jnp.array([1.0, 1.0, 5.0]))  # so that a fresh network makes too much of it
        network = jax.tree.map(lambda leaf: 30 * leaf, study.make_network(key=jax.random.key(0), **study.architecture))
        state = begin(study.source)
        states[name] = eqx.filter_jit(study.corrected(network, scales))(state)
    free, bounded = (states[name].scalars["smoke"].values for name in ("free", "bounded"))
    assert float(jnp.min(free)) < 0 or float(jnp.max(free)) > 1
    np.testing.assert_allclose(bounded, jnp.clip(free, 0.0, 1.0))
    for one, other in zip(states["free"].velocity, states["bounded"].velocity, strict=True):
        np.testing.assert_allclose(one.values, other.values)


# What scenarios share -----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("float64")
def test_a_state_on_another_grid_has_no_divergence_and_the_same_smoke():
    fine, between = smoke_flow(SMALL, 32).solver, smoke_flow(SMALL, 24).solver
    u, v = (jax.random.normal(jax.random.key(index), shape) for index, shape in enumerate(((33, 32), (32, 33))))
    state = fine.initial_state((u, v), {"smoke": jax.random.uniform(jax.random.key(2), (32, 32))})
    found = state_at(between, state)
    assert float(jnp.max(jnp.abs(divergence(found.velocity).values))) < 1e-12
    np.testing.assert_allclose(jnp.mean(found.scalars["smoke"].values), jnp.mean(state.scalars["smoke"].values))
    # Both cover the coarse cells of an eighth of the box, so there they agree.
    for one, other in zip(found.velocity, state.velocity, strict=True):
        np.testing.assert_allclose(coarsen(one, 3).values, coarsen(other, 4).values, atol=1e-12)


def test_the_time_for_an_error_lies_on_the_line_between_two_grids():
    plain = [(1.0, 0.1), (8.0, 0.05), (27.0, 0.1 / 3)]  # of first order in space: time grows with the third power
    for error in (0.1, 0.08, 0.04, 0.1 / 3):
        assert speed_up(plain, 2.0, error) == pytest.approx((0.1 / error) ** 3 / 2)
    assert speed_up(plain, 2.0, 0.03) is None and speed_up(plain, 2.0, None) is None


def test_arms_look_less_far_ahead_with_as_many_updates_and_each_seed_has_its_own():
    settings = Settings(**{**vars(SMALL), "look_ahead": (2,), "seeds": 2, "arms": ("one-step", "noise", "unrolled")})
    study = with_further_arms(buoyancy.buoyancy_study(settings), settings)
    variants, trained = study.variants, study.trained(settings)
    assert set(trained) == {*settings.arms, *variants}
    assert set(variants) == {"unrolled-2", *(f"{arm}-seed-1" for arm in (*settings.arms, "unrolled-2"))}
    assert variants["unrolled-2"].settings.unroll == (1, 2, 2) and variants["unrolled-2"].settings.updates == (2, 2, 2)
    assert variants["unrolled-2-seed-1"].seed == 1 and variants["one-step-seed-1"].arm == "one-step"
    errors = {"source": (1.0, 0), "one-step": (0.5, 1), "one-step-seed-1": (0.7, 1), "unrolled-2": (0.25, 2)}
    arms = {name: {"mae_mean": 0.1, "unroll": 1 if trained[name].arm == "noise" else 4} for name in trained}
    arms |= {name: {"mae_mean": error, "unroll": steps} for name, (error, steps) in errors.items()}
    found = over_look_ahead(arms, trained, "mae")
    assert found == {"1": {"errors": [0.5, 0.7], "reductions": [0.5, pytest.approx(0.3)]},
                     "2": {"errors": [0.25], "reductions": [0.75]},
                     "4": {"errors": [0.1] * 3, "reductions": [0.9] * 3}}  # fmt: skip


def test_published_reductions_stand_beside_arms_that_look_as_far():
    settings = Settings(**{**vars(SMALL), "look_ahead": (2,), "seeds": 2, "arms": ("one-step", "noise", "unrolled")})
    trained = with_further_arms(buoyancy.buoyancy_study(settings), settings).trained(settings)
    assert set(looking_ahead(trained)) == {name for name in trained if "noise" not in name}
    steps = {"one-step": 1, "noise": 1, "unrolled": 16, "unrolled-2-seed-1": 2}
    arms = {name: {"unroll": count} for name, count in steps.items()}
    known = published_reductions(arms, {name: trained[name] for name in arms}, {1: 0.29, 2: 0.41, 128: 0.60})
    assert known == {"one-step": {"reduction": 0.29}, "unrolled-2-seed-1": {"reduction": 0.41}}
    assert published_reductions({"unrolled": {}}, {"unrolled": trained["unrolled"]}, {1: 0.29}) == {}  # from a file


def test_the_wake_has_the_same_parts():
    """Its plain solver on a finer grid, and frames there that are those of its own grid."""
    settings = wake.PROGRAM.choose("arms", ["resolution=16", "scale=2"])
    scenario = wake.scenario_of(settings)
    finer = scenario.finer(2)
    state = scenario.start(finer, scenario.study.begin(scenario.study.reference))
    frame = frame_of(state, 2)
    assert {name: values.shape for name, values in frame.items()} == {"velocity_x": (17, 32), "velocity_y": (16, 33)}


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["unroll=1,4,151"], "fewer steps than frames"),
        (["look_ahead=64"], "at most the longest unroll"),
        (["finer=1"], "2 or more"),
        (["weights=shipped", "seeds=2"], "weights takes the place of training"),
        (["test_seeds=7,7"], "one or more different whole numbers"),
        (["train_seeds=1,103,102"], "test_seeds has 102, which training sees, too"),
    ],
)
def test_settings_that_cannot_be_are_refused_in_a_sentence(words, sentence, capsys):
    assert main(["run", "buoyancy", *(word for one in words for word in ("--set", one))]) == 2
    assert sentence in capsys.readouterr().err


def test_weights_of_another_scenario_are_refused(tmp_path, capsys):
    plain = ["--set", "look_ahead=0", "--set", "shift=false"]
    weights = str(resources.files("diffphys.experiments") / "weights" / "wake.checkpoint")
    assert main(["run", "buoyancy", "--set", f"weights={weights}", *plain, "--out", str(tmp_path / "run")]) == 2
    assert "holds no network of the buoyancy experiment" in capsys.readouterr().err


@pytest.mark.slow
def test_a_small_run_measures_what_was_asked_for(tmp_path, capsys):
    words = """resolution=16 scale=4 warmup=2 train_frames=9 frames=6 unroll=2 updates=2 learning_rates=1e-3 features=2
        train_seeds=1,2 test_seeds=3 arms=one-step,unrolled look_ahead=0 seeds=2 shift=true finer=2,3"""
    out = tmp_path / "run"
    assert main(["run", "buoyancy", "--out", str(out), *(w for one in words.split() for w in ("--set", one))]) == 0
    metrics = json.loads((out / "metrics.json").read_text())
    trained = {"one-step", "unrolled"}
    assert set(metrics["arms"]) == {"source", "finer-2", "finer-3", *trained, *(f"{name}-seed-1" for name in trained)}
    assert set(metrics["look_ahead"]) == {"1", "2"} and len(metrics["look_ahead"]["2"]["errors"]) == 2
    # The plain solver on a finer grid is nearer to the reference, and slower.
    errors = [metrics["arms"][name]["mae_mean"] for name in ("source", "finer-2", "finer-3")]
    assert errors[0] > errors[1] > errors[2] > 0
    assert metrics["run_time"]["step_ms"]["reference"] > metrics["run_time"]["step_ms"]["source"] > 0
    assert set(metrics["shift"]) == {"reference", "source", *trained}
    assert len(metrics["shift"]["unrolled"]["from_training"]["within"]) == 6
    figures = {path.name for path in (out / "figures").iterdir()}
    assert {"smoke.png", "smoke.gif", "look-ahead.png", "run-time.png", "shift.png", "arms.png"} <= figures
    assert "29 %" in capsys.readouterr().out
