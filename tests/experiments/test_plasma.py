"""The plasma experiment: statistics against formulas, a model that changes no mean, and what a small run writes."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffphys.cli import main
from diffphys.experiments.plasma import (
    Settings,
    Shells,
    Statistics,
    averages,
    averages_of,
    difference_of_averages,
    difference_of_statistics,
    plasma_study,
    shells,
    statistics,
    tried,
    tuned,
)
from diffphys.physics import PlasmaBudget
from diffphys.scenarios import drift_wave_noise


STUDY = plasma_study(Settings(resolution=16, scale=2, features=4))
SOLVER = STUDY.source.solver


def test_the_spectrum_holds_all_energy_of_waves_within_the_largest_circle():
    x, y = SOLVER.grid.centers()
    unit = 2 * np.pi / SOLVER.grid.size[0]
    phi = jnp.cos(unit * (3 * x + 4 * y))  # of the fifth shell
    state = SOLVER.initial_state(jnp.cos(2 * unit * x) * jnp.ones_like(y), phi)
    found = statistics(SOLVER, state)
    laplacian = sum((2 / h * np.sin(unit * m * h / 2)) ** 2 for m, h in zip((3, 4), SOLVER.grid.spacing, strict=True))
    expected = np.zeros(7)
    expected[1], expected[4] = 1 / 4, laplacian / 4
    np.testing.assert_allclose(found.spectrum, expected, atol=1e-6)
    np.testing.assert_allclose(np.sum(found.spectrum), found.budget.energy, rtol=1e-5)


def test_shells_sum_to_the_budget():
    keys = jax.random.split(jax.random.key(0))
    density, phi = (drift_wave_noise(SOLVER, key, 1.0).density.values for key in keys)
    state = SOLVER.initial_state(density, phi)
    found, budget = shells(SOLVER, state), SOLVER.budget(state)
    np.testing.assert_allclose(jnp.sum(found.density + found.potential), budget.energy, rtol=1e-4)
    np.testing.assert_allclose(jnp.sum(found.flux), budget.particle_flux, rtol=1e-3)
    np.testing.assert_allclose(jnp.sum(found.enstrophy), budget.enstrophy, rtol=1e-4)


def test_averages_of_an_ensemble_are_compared_and_not_its_members():
    random = np.random.default_rng(0)
    found = Shells(*(jnp.asarray(random.uniform(1, 2, (6, 5, 4))) for _ in range(4)))
    shuffled = Shells(*(part[::-1, ::-1] for part in found))
    exact = averages_of(found)
    np.testing.assert_allclose(difference_of_averages(averages_of(shuffled), exact), 0, atol=1e-8)
    np.testing.assert_allclose(exact.means[1], np.mean(np.sum(found.density + found.potential, -1)), rtol=1e-6)
    np.testing.assert_allclose(exact.fluctuations[2], np.std(np.sum(found.enstrophy, -1)), rtol=1e-5)
    larger = Shells(*(1.1 * part for part in found))
    # Three means and three fluctuations are 10 % off, both spectra and the flux's.
    logarithm = np.log(1.1) ** 2
    expected = 30 * 3 * 0.01 + 3 * 0.01 + 3 * (2 * logarithm + 0.01)
    np.testing.assert_allclose(difference_of_averages(averages_of(larger), exact), expected, rtol=1e-3)


def test_the_difference_of_statistics_is_zero_for_equal_ones_and_has_a_gradient():
    state = drift_wave_noise(SOLVER, jax.random.key(0), 1.0)
    exact = statistics(SOLVER, state)
    assert float(difference_of_statistics(exact, exact)) == 0

    def loss(size):
        larger = state._replace(density=size * state.density)
        return difference_of_statistics(statistics(SOLVER, larger), exact)

    value, slope = jax.jit(jax.value_and_grad(loss))(1.2)
    assert value > 0 and slope > 0


def test_the_model_sees_the_potential_and_moves_without_making():
    """Its change is the divergence of fluxes: known for a wave, and of mean zero whatever they are."""
    model = STUDY.make_network(4, jax.random.key(0))
    state = drift_wave_noise(SOLVER, jax.random.key(1), 1.0)
    image = jnp.stack([state.density.values + 0.3, state.vorticity.values])
    seen = []
    wave = np.sin(2 * np.pi * np.arange(16) / 16)
    fluxes = np.stack(
        [wave[:, None] + 0 * wave, 3 + 0 * np.outer(wave, wave), wave + 0 * wave[:, None], 0 * np.outer(wave, wave)]
    )
    object.__setattr__(model, "network", lambda channels: (seen.append(channels), jnp.asarray(fluxes))[1])
    step = wave - np.roll(wave, 1)
    np.testing.assert_allclose(model(image), [np.add.outer(step, step), np.zeros((16, 16))], atol=1e-6)
    np.testing.assert_allclose(seen[0][2], SOLVER.potential(state).values, atol=1e-5)
    object.__setattr__(model, "network", lambda channels: jnp.concatenate([channels[:2] ** 2, channels[1:]]))
    change = model(image)
    np.testing.assert_allclose(np.mean(change, axis=(1, 2)), 0, atol=1e-6)
    assert np.std(change) > 0.1


def test_averages_fluctuations_and_intervals_are_those_of_known_series():
    random = np.random.default_rng(0)
    series = 2.0 + 0.5 * random.standard_normal((8, 4000))
    series[:, :100] = 100.0
    line = jnp.asarray(series)
    found = averages(Statistics(PlasmaBudget(*[line] * 6), jnp.zeros((8, 4000, 3))), 100)
    assert found["energy"] == pytest.approx(2.0, abs=0.02)
    assert found["energy_fluctuation"] == pytest.approx(0.5, abs=0.01)
    assert found["energy_interval"] == pytest.approx(2 * 0.5 / np.sqrt(8 * 3900), rel=0.8)
    errors = {"source": 0.1, "hyperviscosity x 1": 0.5, "hyperviscosity x 3": 0.2, "hyperviscosity x 10": None}
    found = {name: {"error_of_means": error} for name, error in errors.items()}
    assert tuned(found, tried(Settings(hyperviscosities=(1.0, 3.0, 10.0)))) == "hyperviscosity x 3"


@pytest.mark.slow
def test_a_small_run_writes_averages_of_every_arm_and_its_figures(tmp_path, capsys):
    settings = """resolution=16 scale=2 warmup=60 train_frames=12 frames=8 train_seeds=1 test_seeds=2 features=4
        unroll=2 updates=2 learning_rates=1e-3 arms=unrolled settling=2 averaging_time=20 members=2
        hyperviscosities=1,3 ongoing_updates=2 ongoing_members=4 ongoing_unroll=4"""
    words = [word for text in settings.split() for word in ("--set", text)]
    assert main(["run", "plasma", "--out", str(tmp_path / "run"), *words]) == 0
    found = json.loads((tmp_path / "run" / "metrics.json").read_text())["averages"]
    assert set(found) == {"reference", "source", "unrolled", "ongoing", "hyperviscosity x 1", "hyperviscosity x 3"}
    assert found["source"]["energy"] == found["hyperviscosity x 1"]["energy"] != found["hyperviscosity x 3"]["energy"]
    assert found["reference"]["error_of_means"] == 0 < found["unrolled"]["error_of_means"]
    assert all(one["stable_members"] >= 1 for one in found.values())
    figures = {path.name for path in (tmp_path / "run" / "figures").iterdir()}
    assert {"statistics.png", "vorticity.png", "vorticity.gif", "density.png", "loss-unrolled.png"} <= figures
    assert "particle flux" in capsys.readouterr().out


def test_an_arm_that_has_nothing_to_go_on_from_is_refused(capsys):
    assert main(["run", "plasma", "--set", "arms=one-step", "--set", "ongoing_updates=3"]) == 2
    assert "ongoing" in capsys.readouterr().err


def test_a_seed_twice_is_refused(capsys):
    assert main(["run", "plasma", "--set", "test_seeds=3,3"]) == 2
    assert "test_seeds" in capsys.readouterr().err
