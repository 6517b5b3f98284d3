"""The experiments on updates: published numbers where there are any, and that every one of them runs and resumes."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffphys.errors import InputError
from diffphys.experiments import EXPERIMENTS, swirl
from diffphys.experiments.heat_inverse import draw_boxes
from diffphys.experiments.inverse_problems import InverseProblem, inverse_problem_arms
from diffphys.experiments.linear_chain import chain
from diffphys.experiments.quantum_dipole import DT, POINTS, SPACING, eigenstates, simulate
from diffphys.experiments.sine import distance_to_solutions
from diffphys.experiments.sine import simulate as sine_simulate
from diffphys.experiments.smooth_noise import smooth_noise
from diffphys.experiments.swirl import Swirls, turned_around
from diffphys.operators import divergence
from diffphys.runs import Interrupted, Run, StopRequest, make_settings
from diffphys.view import find_runs


def train(name: str, directory: Path, stop: StopRequest | None = None, **settings: Any) -> dict[str, Any]:
    experiment = EXPERIMENTS.load(name)
    chosen = make_settings(experiment.settings, settings)
    with Run.open(directory, name, "demo", chosen, 0, stop) as run:
        experiment.run(chosen, run)
        experiment.report(run)
        return json.loads((directory / "metrics.json").read_text())


def test_toy_trajectories_are_the_published_ones(tmp_path):
    metrics = train("toy-trajectories", tmp_path)
    for name, published in metrics["paper"]["arms"].items():
        # The published BFGS minimized by finite differences, and agrees with the exact inverse to 3e-6 itself.
        np.testing.assert_allclose(metrics["arms"][name]["final_x"], published["final_x"], atol=1e-5)
        assert {"final_error", "seconds", "updates", "curve"} <= metrics["arms"][name].keys()
        if "alignment" in published:
            np.testing.assert_allclose(metrics["arms"][name]["alignment"], published["alignment"], atol=1e-6)


def test_the_linear_chain_is_as_good_as_published(tmp_path):
    """Published: 1.06e-5 after 2 epochs of 128 updates, 1.19e-6 after 4."""
    metrics = train("linear-chain", tmp_path, seconds=1e9, updates=512, seeds=1, arms=("half-inverse",))
    _, second, _, fourth = metrics["arms"]["half-inverse"]["errors_after_epochs"]
    assert second < 1e-5 and fourth < 1.2e-6


SMALL: dict[str, dict[str, Any]] = {
    "half-inverse-toy": {"samples": 16, "seeds": 2},
    "exponential": {"arms": ("newton-clipped",)},
    "sine": {"rotations": (0.0, 45.0), "stretchings": (1.0,), "arms": ("scale-invariant", "gradient-descent")},
    "oscillators": {"samples": 512, "steps": 2, "half_inverse_batch": 4, "arms": ("half-inverse",)},
    "half-inverse-poisson": {"batches": (4,), "iterations": 2, "arms": ("half-inverse-4",)},
    "quantum-dipole": {"samples": 256, "steps": 4, "half_inverse_batch": 2, "arms": ("half-inverse",)},
    "heat-inverse": {"cells": 16, "levels": 1, "batch": 2, "tests": 4, "arms": ("scale-invariant",)},
    "poisson-inverse": {"cells": 16, "levels": 1, "batch": 2, "tests": 2, "arms": ("adam",)},
    # Not swirl, which compiles for a minute: its simulator and its inverse are tested below.
}


@pytest.mark.parametrize("name", SMALL)
def test_every_experiment_runs(name, tmp_path):
    metrics = train(name, tmp_path, **{"seconds": 1e9, "updates": 2, "seeds": 1, **SMALL[name]})
    for arm in metrics["arms"].values():
        assert {"final_error", "seconds", "updates", "curve", "curves"} <= arm.keys() and arm["updates"] == 2
        assert arm["curve"]["updates"] == [0, 1, 2] and np.all(np.isfinite(arm["curve"]["error"]))
    assert (tmp_path / "figures" / "curves.png").exists()
    shown = find_runs(tmp_path)["."]
    for name_of_arm, arm in metrics["arms"].items():
        for seed, curve in enumerate(arm["curves"]):
            drawn = shown.curves()["comparison"][f"{name_of_arm}, seed {seed}"]
            np.testing.assert_allclose(drawn["error"], curve["error"], rtol=1e-5)
    frames: dict[str, Any] = {one: shown.dataset(one) for one in shown.frames}
    assert name == "sine" or {*metrics["arms"]} <= {*frames}  # whose answers are points, without a place
    assert all(np.isfinite(variable).all() for data in frames.values() for variable in data.values())
    if name in ("half-inverse-poisson", "poisson-inverse"):
        for data in frames.values():
            beyond = np.pad(data.potential, ((0, 0), (1, 1), (1, 1)))
            neighbors = beyond[:, 2:, 1:-1] + beyond[:, :-2, 1:-1] + beyond[:, 1:-1, 2:] + beyond[:, 1:-1, :-2]
            np.testing.assert_allclose(data.source, neighbors - 4 * data.potential, atol=2e-4)
    if name == "heat-inverse":
        for data in frames.values():  # what conducts loses nothing
            np.testing.assert_allclose(
                data.temperature.mean(("x", "y")), frames["truth"].seen.mean(("x", "y")), rtol=1e-5
            )


def test_an_unknown_arm_is_named(tmp_path):
    with pytest.raises(InputError, match='no arm "adm": did you mean "adam"'):
        train("half-inverse-toy", tmp_path, updates=1, arms=("adm",))


def test_an_interrupted_comparison_ends_with_the_same_bits(tmp_path):
    options: dict[str, Any] = dict(updates=40, seeds=1, samples=64, arms=("half-inverse", "adam"))
    straight = train("half-inverse-toy", tmp_path / "straight", **options)

    class AfterTwelve(StopRequest):
        asked = 0

        @property
        def requested(self) -> bool:
            self.asked += 1
            return self.asked > 12

    with pytest.raises(Interrupted):
        train("half-inverse-toy", tmp_path / "stopped", AfterTwelve(), **options)
    resumed = train("half-inverse-toy", tmp_path / "stopped", **options)
    for name, arm in straight["arms"].items():
        assert resumed["arms"][name]["final_error"] == arm["final_error"]


@pytest.mark.usefixtures("float64")
def test_every_arm_keeps_a_network_in_float32_before_physics_in_float64():
    """A state whose types change from one update to the next could not be carried through a compiled loop."""

    def predict(network: Any, y: jax.Array) -> jax.Array:
        return network(y.astype(jnp.float32)).astype(float)

    arms = inverse_problem_arms(
        InverseProblem(iterations=2),
        lambda key: eqx.nn.Linear(4, 4, key=key, dtype=jnp.float32),
        lambda key, count: jax.random.normal(key, (3, 4), float),
        predict,
        simulator=lambda x: 2.0 * x,
        inverse=lambda y, x, y_predicted: x + 0.5 * (y - y_predicted),
    )
    for name, arm in arms.items():
        state = jax.eval_shape(arm.start, jax.random.key(0))
        assert jax.eval_shape(arm.update, state) == state, name


@pytest.mark.usefixtures("float64")
def test_the_chain_oscillates_at_its_known_frequencies():
    """Without control the even mode swings with frequency 1, the odd one with sqrt(1 + 2 c)."""
    time, coupling = 3.0, 0.2
    start = jnp.array([1.0, 0.5, 0.0, 0.0])
    end = chain(jnp.zeros(300), start, steps=300, dt=time / 300, coupling=coupling)
    even, odd = 0.75 * np.cos(time), 0.25 * np.cos(np.sqrt(1 + 2 * coupling) * time)
    np.testing.assert_allclose(end[:2], [even + odd, even - odd], atol=1e-8)


@pytest.mark.usefixtures("float64")
def test_an_eigenstate_only_turns_its_phase_and_a_field_keeps_the_norm(key):
    steps = 10
    energy = 4 / SPACING**2 * np.sin(np.pi / (2 * (POINTS + 1))) ** 2
    factor = (1 - 0.5j * DT * energy) / (1 + 0.5j * DT * energy)  # Crank and Nicolson
    np.testing.assert_allclose(simulate(jnp.zeros(steps)), factor**steps * eigenstates()[0], atol=1e-12)
    np.testing.assert_allclose(jnp.linalg.norm(simulate(3 * jax.random.normal(key, (steps,)))), 1.0, atol=1e-12)


@pytest.mark.usefixtures("float64")
def test_the_distance_to_a_solution_is_zero_there_and_small_beside_it(key):
    x = 20.0 * jax.random.normal(key, (50, 2))
    y = jax.jit(jax.vmap(lambda one: sine_simulate(one, 32.0, 30.0)))(x)
    distances = jax.jit(jax.vmap(lambda one, goal: distance_to_solutions(one, goal, 32.0, 30.0)))
    np.testing.assert_allclose(distances(x, y), 0.0, atol=1e-6)
    np.testing.assert_array_less(distances(x + jnp.array([3e-3, 4e-3]), y), 5e-3 + 1e-6)


def test_boxes_and_noise_look_as_described(key):
    boxes = jax.jit(jax.vmap(lambda one: draw_boxes(one, 64)))(jax.random.split(key, 1000))
    assert jnp.min(boxes) == 0.0 and jnp.max(boxes) < 10.0
    # Seven boxes of strength 1/2 and 10x10 cells in the mean.
    np.testing.assert_allclose(jnp.mean(boxes), 7 * 0.5 * 10 * 10 / 64**2, rtol=0.05)
    noise = jax.jit(lambda key: smooth_noise(key, (64, 64)))(key)
    np.testing.assert_allclose([jnp.mean(noise), jnp.std(noise)], [0.0, 1.0], atol=1e-5)
    # Neighbors are alike: |k|^-2 leaves little to short waves.
    assert jnp.mean((noise[1:] - noise[:-1]) ** 2) < 0.2


@pytest.mark.usefixtures("float64")
def test_the_swirl_keeps_its_energy_runs_backward_and_its_inverse_turns_the_right_way(key):
    swirls = Swirls(make_settings(swirl.Settings, {"cells": 32}))
    steps = swirls.settings.steps
    first = jnp.exp(-jnp.sum((swirls.centers - jnp.array([40.0, 70.0])[:, None, None]) ** 2, axis=0) / 200.0)
    center = swirls.center(first)

    def strength(velocity):
        """omega of a velocity that is stream and swirl."""
        swirl_of_one = swirls.stream_and_swirl(center, jnp.array(1.0)) - swirls.stream_and_swirl(center, jnp.array(0.0))
        return jnp.sum(velocity * swirl_of_one) / jnp.sum(swirl_of_one**2)  # the swirl has no mean: stream drops out

    @jax.jit
    def measure(omega, guess):
        start = swirls.start(swirls.stream_and_swirl(center, omega), first)

        def there_and_back(state, index):
            state = jax.tree.map(partial(jnp.where, index == steps), turned_around(state), state)
            following = swirls.step(state)
            return following, following

        again, states = jax.lax.scan(there_and_back, start, jnp.arange(2 * steps))
        end = jax.tree.map(lambda leaf: leaf[steps - 1], states)
        energies = [sum(jnp.mean(part.values**2) for part in state.velocity) for state in (start, end)]
        leak = jnp.max(jnp.abs(divergence(end.velocity).values))
        missing = [jnp.linalg.norm(a.values + b.values) for a, b in zip(again.velocity, start.velocity, strict=True)]
        moved = [jnp.linalg.norm(part.values - jnp.mean(part.values)) for part in start.velocity]
        mistaken = swirls.inverse(first, end.marker.values, swirls.stream_and_swirl(center, guess))
        return energies, leak, jnp.array(missing) / jnp.array(moved), strength(mistaken)

    energies, leak, missing, corrected = measure(1.0, 0.6)
    np.testing.assert_allclose(energies[1], energies[0], rtol=1e-12)
    assert leak < 1e-11
    assert jnp.all(missing < 0.2)
    assert 0.6 < corrected < 1.0
    np.testing.assert_allclose(measure(1.0, 1.0)[-1], 1.0, atol=0.02)
    assert -1.0 < measure(-1.0, -0.6)[-1] < -0.6
