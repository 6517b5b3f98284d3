"""The forced Burgers experiment: its force against an exact solution, and in miniature all that it writes."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffphys.cli import main
from diffphys.experiments.burgers import WAVES, ForcedState, Settings, burgers_study, draw_force, forced_burgers
from diffphys.learning import with_parameters
from diffphys.stepping import rollout


@pytest.mark.usefixtures("float64")
def test_a_weak_force_excites_the_wave_that_linear_theory_gives():
    """Where u is tiny, u_t = nu u_xx + A sin(omega t + k x + phi): u = Im(A e^(i (k x + phi)) w), and from rest
    w = (e^(i omega t) - e^(-nu k^2 t)) / (i omega + nu k^2).
    """
    amplitude, omega, k, phi, nu, end = 1e-9, 0.3, 3, 0.7, 0.05, 2.0
    errors = []
    for dt in (0.02, 0.01):
        settings = Settings(resolution=128, dt=dt, viscosity=nu)
        first = jnp.eye(1, WAVES)[0]
        numbers = {"amplitudes": amplitude, "frequencies": omega, "wave_numbers": k, "phases": phi}
        step = with_parameters(forced_burgers(settings, 1), {name: value * first for name, value in numbers.items()})
        start = ForcedState(step.solver.initial_state([0.0]), jnp.zeros(()))
        final, _ = rollout(step, start, round(end / dt))
        x = np.arange(128) * 2 * np.pi / 128
        response = (np.exp(1j * omega * end) - np.exp(-nu * k**2 * end)) / (1j * omega + nu * k**2)
        exact = np.imag(amplitude * np.exp(1j * (k * x + phi)) * response)
        errors.append(np.max(np.abs(final.velocity[0].values - exact)) / np.max(np.abs(exact)))
        assert float(final.time) == pytest.approx(end)
    assert errors[1] < 0.01 and 1.7 < errors[0] / errors[1] < 2.3, errors


def test_source_and_reference_have_the_same_force_and_begin_at_rest():
    study = burgers_study(Settings())
    one, other = draw_force(3.0), draw_force(3.0)
    assert all(np.array_equal(one[name], other[name]) for name in one)
    assert set(one["wave_numbers"]) == {3, 4, 5, 6}
    assert np.max(np.abs(one["amplitudes"])) <= 0.5 and np.max(np.abs(one["frequencies"])) <= 0.4
    assert not np.array_equal(one["phases"], draw_force(4.0)["phases"])
    reference = with_parameters(study.reference, jax.tree.map(jnp.asarray, one))
    state = study.begin(reference)
    for _ in range(study.steps_per_frame):
        state = reference(state)
    assert float(state.time) == pytest.approx(study.interval)
    assert study.transfer(state)["velocity"].shape == (32,)


@pytest.mark.slow
def test_a_small_run_writes_every_arm_and_its_figures(tmp_path, capsys):
    settings = """resolution=16 scale=2 warmup=40 train_frames=20 frames=10 train_seeds=1,2 test_seeds=3 features=4
        unroll=2 updates=3 learning_rates=1e-3 arms=none,supervised,unrolled"""
    words = [word for text in settings.split() for word in ("--set", text)]
    assert main(["run", "burgers", "--out", str(tmp_path / "run"), *words]) == 0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert set(metrics["arms"]) == {"source", "supervised", "unrolled"}
    for arm in metrics["arms"].values():
        assert arm["mae_mean"] > 0 and -1 <= arm["correlation_mean"] <= 1
    figures = {path.name for path in (tmp_path / "run" / "figures").iterdir()}
    assert {"space-time.png", "profiles.png", "error-over-time.png", "arms.png", "loss-unrolled.png"} <= figures
    assert "seed 3" in capsys.readouterr().out


def test_a_seed_twice_is_refused(capsys):
    assert main(["run", "burgers", "--set", "test_seeds=3,3"]) == 2
    assert "test_seeds" in capsys.readouterr().err
