"""Plans one by one go on where they stopped, and a blur keeps what there is and has its width."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffphys.control import ControlProblem, optimize_controls, simulate
from diffphys.experiments.comparison import Budget
from diffphys.experiments.planned import blur_matrix, plan_each
from diffphys.runs import Run


def plan(start):
    """Drive a number to zero in three steps, at a price; the best controls are all -start / (3 + 1)."""
    problem = ControlProblem(
        lambda state, control: state + control[0],
        3,
        jnp.zeros(1),
        running_cost=lambda state, control, target: jnp.sum(control**2),
        terminal_cost=lambda state, target: state**2,
    )
    return simulate(problem, start, optimize_controls(problem, start, iterations=5).controls)


def planned(directory, starts):
    with Run.open(directory, "plans", "demo", Budget(), 0) as run:
        found = plan_each(
            run,
            jnp.asarray(starts),
            plan,
            measure=lambda runs, starts: {"left": jnp.mean(jnp.abs(runs.final / starts))},
            picture=lambda runs: {"controls": runs.controls},
            keep=("left",),
        )
        return found, run.load_checkpoint("plans", {"controls": jnp.zeros((3, 1))})


def test_plans_are_made_one_by_one_and_go_on_where_they_stopped(tmp_path):
    whole, picture = planned(tmp_path / "whole", [1.0, 2.0, -3.0])
    np.testing.assert_allclose(whole["left"], 1 / 4, rtol=1e-4)
    np.testing.assert_allclose(picture["controls"], -1 / 4, rtol=1e-4)
    first, _ = planned(tmp_path / "parts", [1.0])
    both, again = planned(tmp_path / "parts", [1.0, 2.0, -3.0])
    assert both["left"] == whole["left"] and both["seconds"][:1] == first["seconds"]
    np.testing.assert_array_equal(again["controls"], picture["controls"])


@pytest.mark.usefixtures("float64")
def test_a_blur_keeps_the_amount_and_spreads_by_its_width():
    spread = blur_matrix(64, 3.0)[:, 31]
    places = jnp.arange(64) - 31
    np.testing.assert_allclose([jnp.sum(spread), jnp.sum(spread * places)], [1.0, 0.0], atol=1e-12)
    np.testing.assert_allclose(jnp.sqrt(jnp.sum(spread * places**2)), 3.0, rtol=1e-6)
    assert jax.jit(blur_matrix, static_argnums=0)(8, 2.0).shape == (8, 8)
