"""Guesses of the pressure: data, networks and losses against what is known of them, and a small run."""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffphys.cli import main
from diffphys.experiments.pressure_guess import (
    Settings,
    divergences_for_tests,
    drift,
    iterations_to,
    losses,
    residuals_from,
    smoke_flow,
)
from diffphys.experiments.pressure_networks import PublishedNetwork, Pyramid, laplacian
from diffphys.nets import count_parameters
from diffphys.poisson import apply, direct


def closed_box(cells: int):
    return smoke_flow(cells).pressure_problem()


def random_divergence(cells: int) -> jax.Array:
    values = jnp.asarray(np.random.default_rng(cells).standard_normal((cells, cells)), jnp.float32)
    return values - jnp.mean(values)


def test_from_zero_the_data_need_as_many_iterations_as_published():
    problem = closed_box(64)
    rhs = jax.jit(partial(divergences_for_tests, Settings(tests=16)))(0)
    assert float(jnp.max(jnp.abs(jnp.mean(rhs, (1, 2))))) < 1e-5  # nothing enters a closed box
    residuals = residuals_from(problem, jnp.zeros_like, rhs, 200)
    counts = np.asarray(jax.vmap(partial(iterations_to, 1e-3))(jnp.asarray(residuals)))
    assert 110 < counts.mean() < 135, counts
    np.testing.assert_allclose(residuals[:, 0], np.max(np.abs(rhs), (1, 2)), rtol=1e-4)
    # One after the other, they are of different simulations at different times.
    assert len(np.unique(np.asarray(rhs[:, 3, 3]))) == 16


def test_the_first_iteration_below_a_target_is_counted():
    residuals = jnp.asarray([1.0, 0.05, 0.2, 1e-4, 1e-3])
    assert iterations_to((1e-1, 1e-3, 1.0, 1e-9), residuals).tolist() == [1, 3, 0, 4]


def test_with_many_rounds_a_fresh_pyramid_solves(key):
    """It is then Jacobi's iteration on every grid, whose errors are those of the coarser grid's waves."""
    rhs = random_divergence(8)
    problem = closed_box(8)
    np.testing.assert_allclose(laplacian(rhs), apply(problem, rhs), atol=1e-5)
    exact = direct(problem).solve(rhs).pressure

    def error(passes: int, rounds: int) -> float:
        network = Pyramid(8, passes, rounds, 3, key)
        return float(jnp.linalg.norm(jax.jit(network.__call__)(rhs) - exact) / jnp.linalg.norm(exact))

    one, two, many = error(1, 20), error(2, 20), error(1, 200)
    assert many < 0.01 and two < 0.5 * one, (one, two, many)


def test_the_pyramid_is_linear_and_the_published_network_knows_no_unit(key):
    one, other = random_divergence(16), jnp.flip(random_divergence(16), 0) ** 2
    pyramid, published = Pyramid(16, 2, 2, 5, key), PublishedNetwork(key)
    assert count_parameters(published) == 127_265
    assert count_parameters(pyramid) == 2 * 2 * 4 * 25
    found = jax.jit(pyramid.__call__)
    np.testing.assert_allclose(found(3 * one + other), 3 * found(one) + found(other), atol=2e-4)
    guess = jax.jit(published.__call__)
    np.testing.assert_allclose(guess(1e3 * one), 1e3 * guess(one), rtol=1e-3, atol=1e-3)
    assert abs(float(jnp.mean(guess(one)))) < 1e-5 and float(jnp.max(jnp.abs(guess(one)))) > 0
    assert jnp.all(guess(0 * one) == guess(0 * one)), "not finite at rest"


def test_every_loss_vanishes_at_the_solution_and_only_there():
    problem = closed_box(8)
    rhs = random_divergence(8)
    solution = direct(problem).solve(rhs).pressure
    for name, vanishing in losses(problem, 3).items():
        assert float(jnp.max(jnp.abs(vanishing(solution, rhs, solution)))) < 1e-4, name
        assert float(jnp.max(jnp.abs(vanishing(0.5 * solution, rhs, solution)))) > 1e-2, name
    # The first step from zero goes down along the gradient, so far that the energy is least.
    step = losses(problem, 1)["unrolled"](jnp.zeros((8, 8)), rhs, solution)
    length = jnp.sum(rhs**2) / jnp.sum(rhs * apply(problem, rhs))
    np.testing.assert_allclose(step, length * rhs, atol=1e-5)


def test_a_simulation_with_exact_pressures_does_not_drift():
    settings = Settings(cells=16, drift=6)
    exact = drift(settings, lambda rhs: direct(closed_box(16)).solve(rhs).pressure, 0)
    assert max(exact["difference"]) < 1e-5 and max(exact["divergence"]) < 1e-5
    nothing = drift(settings, jnp.zeros_like, 0)
    assert min(nothing["divergence"]) > 1e-3 and nothing["difference"][-1] > 0.05
    assert len(nothing["difference"]) == 6


@pytest.mark.parametrize("given", ["cells=48", "kernel_size=4", "arms=tompson", "network=large", "unroll=401"])
def test_bad_settings_are_refused_in_a_sentence(given, capsys, tmp_path):
    more = ["--set", "cells=8", "--set", "tests=2"] if given.startswith("arms") else []
    assert main(["run", "pressure-guess", "--out", str(tmp_path / "run"), "--set", given, *more]) == 2
    assert given.split("=")[0] in capsys.readouterr().err


@pytest.mark.slow
def test_a_small_run_writes_every_arm_and_its_figures(tmp_path, capsys):
    settings = "cells=16 updates=4 simulations=1 tests=3 drift=3 passes=1 rounds=1"
    words = [word for text in settings.split() for word in ("--set", text)]
    assert main(["run", "pressure-guess", "--out", str(tmp_path / "run"), *words]) == 0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    arms = {"supervised", "residual", "unrolled", "unrolled-residual"}
    assert set(metrics["arms"]) == arms and set(metrics["solvers"]) == arms | {"zero", "multigrid", "direct"}
    for name, one in metrics["solvers"].items():
        assert one["milliseconds"] > 0 and len(one["iterations"]) == 6
        assert one["iterations"] == sorted(one["iterations"]), name
    assert metrics["solvers"]["multigrid"]["iterations"][2] < metrics["solvers"]["zero"]["iterations"][2]
    figures = {path.name for path in (tmp_path / "run" / "figures").iterdir()}
    assert figures == {"curves.png", "iterations.png", "drift.png", "iterations.gif"}
    assert "multigrid" in capsys.readouterr().out
