"""Forced advection and diffusion: the force against exact solutions, what the network sees, and a small run."""

import dataclasses
import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffphys.cli import main
from diffphys.experiments.forced_advection_diffusion import (
    FORCE_SCALE,
    WAVES,
    Settings,
    draw_case,
    first_state,
    force_of_next_step,
    forced_study,
    solver_on,
)
from diffphys.learning import Normalization, Trajectories, with_parameters
from diffphys.learning.study import precomputed_corrections
from diffphys.learning.study.training import _only_correction, _state_before_correction
from diffphys.operators import SemiLagrangian, coarsen
from diffphys.stepping import rollout


def forced(settings: Settings, finer: int, seed: float):
    numbers = {name: jnp.asarray(value, float) for name, value in draw_case(seed).items()}
    return with_parameters(solver_on(settings, finer, SemiLagrangian(2)), numbers)


@pytest.mark.usefixtures("float64")
def test_a_weak_force_excites_the_wave_that_linear_theory_gives():
    """Where v is tiny, v_t = nu laplacian(v) + a sin(k . x + omega t + phi): v = Im(a e^(i (k . x + phi)) w), and from
    rest w = (e^(i omega t) - e^(-nu k^2 t)) / (i omega + nu k^2).
    """
    omega, phi, nu, end = 0.3, 0.7, 0.1, 2.0
    vector = 2 * np.pi / 32 * np.array([3, -2])
    amplitude = 1e-9 * np.array([1.0, 2.0])
    first = np.eye(1, WAVES)[0]
    numbers = {"amplitudes": np.outer(amplitude, first), "wave_vectors": np.outer(vector, first)}
    numbers |= {"frequencies": omega * first, "phases": phi * first}
    errors = []
    for dt in (0.04, 0.02):
        settings = Settings(dt=dt, viscosity=nu, scale=1)
        step = with_parameters(
            solver_on(settings, 1, SemiLagrangian(1)), {name: jnp.asarray(value) for name, value in numbers.items()}
        )
        final, _ = rollout(step, step.state(jnp.zeros((2, 32, 32)), jnp.zeros(())), round(end / dt))
        decay = nu * np.sum(vector**2)
        response = (np.exp(1j * omega * end) - np.exp(-decay * end)) / (1j * omega + decay)
        for part, size in zip(final.velocity, amplitude, strict=True):
            x, y = part.coordinates()
            exact = np.imag(size * np.exp(1j * (vector[0] * x + vector[1] * y + phi)) * response)
            errors.append(np.max(np.abs(part.values - exact)) / np.max(np.abs(exact)))
        assert float(final.time) == pytest.approx(end)
    assert max(errors[2:]) < 0.01 and all(1.8 < errors[i] / errors[i + 2] < 2.2 for i in range(2)), errors


@pytest.mark.usefixtures("float64")
def test_the_source_has_the_transferred_force_of_the_reference():
    settings = Settings()
    reference, source = forced(settings, settings.scale, 3.0), forced(settings, 1, 3.0)
    time = jnp.asarray(1.3)
    fine = reference.state(reference.force(time), time).velocity
    for part, coarse in zip(fine, source.force(time), strict=True):
        np.testing.assert_allclose(coarsen(part, settings.scale).values, coarse, atol=1e-12)
    # What stands at the top of the module, written out.
    waves = draw_case(3.0)
    x, y = np.meshgrid(np.arange(128) * 0.25, (np.arange(128) + 0.5) * 0.25, indexing="ij")
    plain = sum(
        a * np.sin(kx * x + ky * y + omega * 1.3 + phi)
        for a, kx, ky, omega, phi in zip(
            waves["amplitudes"][0], *waves["wave_vectors"], waves["frequencies"], waves["phases"], strict=True
        )
    )
    np.testing.assert_allclose(fine[0].values, plain, atol=1e-5)


def test_cases_are_drawn_as_published():
    waves = [draw_case(float(seed)) for seed in range(60)]
    lengths = np.linalg.norm([one["wave_vectors"] for one in waves], axis=1)
    assert lengths.min() > 0.799 and lengths.max() < 1.601
    assert all(np.array_equal(waves[3][name], draw_case(3.0)[name]) for name in waves[3])
    settings = Settings(resolution=16, scale=1)
    force = [forced(settings, 1, float(seed)).force(jnp.zeros(())) for seed in range(60)]
    assert np.std(np.abs(force)) == pytest.approx(FORCE_SCALE, rel=0.06)

    # Half of the power of complex noise is in its real part; the spectrum is that of a mean over waves.
    reference = forced(Settings(), 4, 1.0)
    k = np.hypot(*np.meshgrid(np.fft.fftfreq(128), np.fft.fftfreq(128), indexing="ij"))
    expected = 2 * 8 * np.sqrt(128) * np.sqrt(np.mean((1 + k) ** -16.0)) / 128
    deviations = [float(jnp.std(part.values)) for part in first_state(reference).velocity]
    np.testing.assert_allclose(deviations, expected, rtol=0.1)
    one, other = first_state(reference).velocity
    assert not np.array_equal(one.values, other.values)


class Sees(eqx.Module):
    """A network that shows its last two channels, of four."""

    def __call__(self, image):
        assert image.shape[0] == 4
        return image[2:]


def test_the_network_sees_the_force_of_the_step_that_it_corrects():
    study = forced_study(Settings(resolution=16, scale=2))
    numbers = jax.tree.map(jnp.asarray, draw_case(5.0))
    matched = study.corrected(Sees(), Normalization(jnp.ones(2)))
    published = dataclasses.replace(matched, beside=force_of_next_step)
    source = with_parameters(study.source, numbers)
    state = source.state(jnp.zeros((2, 16, 16)), jnp.asarray(3.0))
    alone = source(state)
    for step, time in ((matched, 3.0), (published, 3.1)):
        told = [
            after.values - before.values
            for after, before in zip(with_parameters(step, numbers)(state).velocity, alone.velocity, strict=True)
        ]
        np.testing.assert_allclose(told, np.stack(source.force(jnp.asarray(time))) / FORCE_SCALE, atol=2e-5)

    # Supervised training knows only what a step led to.
    frames = {name: jnp.zeros((1, 4, 16, 16)) for name in study.names} | {"time": 3.0 + 0.1 * jnp.arange(4.0)[None]}
    data = precomputed_corrections(
        study, Trajectories(frames, {name: value[None] for name, value in numbers.items()}), 1
    )
    frame = jax.tree.map(lambda leaf: leaf[0, 1], data.frames)
    only = with_parameters(_only_correction(study, matched), numbers)
    before = _state_before_correction(study)(frame)
    told = [after.values - made.values for after, made in zip(only(before).velocity, before.velocity, strict=True)]
    np.testing.assert_allclose(told, np.stack(source.force(jnp.asarray(3.1))) / FORCE_SCALE, atol=2e-5)


@pytest.mark.parametrize("given", ["test_seeds=3,3", "unroll=200", "network=large"])
def test_bad_settings_are_refused_in_a_sentence(given, capsys):
    stage = ["--set", "updates=1", "--set", "learning_rates=1e-3"] if given.startswith("unroll") else []
    assert main(["run", "forced-advection-diffusion", "--set", given, *stage]) == 2
    assert given.split("=")[0] in capsys.readouterr().err


@pytest.mark.slow
def test_a_small_run_writes_every_arm_and_its_figures(tmp_path, capsys):
    settings = """resolution=16 scale=2 warmup=4 train_frames=8 frames=6 train_seeds=1,2 test_seeds=3 features=4
        unroll=2 updates=3 learning_rates=1e-3 arms=supervised,one-step,unrolled"""
    words = [word for text in settings.split() for word in ("--set", text)]
    assert main(["run", "forced-advection-diffusion", "--out", str(tmp_path / "run"), *words]) == 0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert set(metrics["arms"]) == {"source", "supervised", "one-step", "unrolled", "cubic", "next-force"}
    for arm in metrics["arms"].values():
        assert arm["mae_mean"] > 0 and 0 < arm["relative_mean"] < 1
    figures = {path.name for path in (tmp_path / "run" / "figures").iterdir()}
    assert {"velocity.png", "velocity.gif", "error-over-time.png", "arms.png", "loss-unrolled.png"} <= figures
    assert "seed 3" in capsys.readouterr().out
