"""Controlled runs and the controls that optimization finds: against linear algebra, differences and SciPy."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import optimistix
import pytest
import scipy.linalg
import scipy.optimize

import diffphys as dp
from diffphys.control import (
    ControlProblem,
    Force,
    Jerk,
    ModelPredictive,
    closed_loop,
    cost,
    optimize_controls,
    simulate,
)
from diffphys.errors import InputError
from tests.control.systems import A, B, Linear, Quadratic, as_least_squares, hanging, linear_quadratic, swing_up
from tests.gradients import check_derivatives


START = np.array([1.0, -0.5])
TERMINAL = np.diag([40.0, 20.0])
pytestmark = pytest.mark.usefixtures("float64")


def test_the_best_controls_are_those_of_linear_algebra():
    matrix, right = as_least_squares(START, 8, TERMINAL)
    best = np.linalg.lstsq(matrix, right)[0]
    value = 0.5 * np.sum((matrix @ best - right) ** 2)
    plan = optimize_controls(linear_quadratic(), jnp.asarray(START), iterations=40)
    np.testing.assert_allclose(plan.controls[:, 0], best, atol=1e-7)
    np.testing.assert_allclose(plan.cost, value, rtol=1e-12)
    assert plan.stationarity < 1e-6 and plan.cost < plan.first_cost


@pytest.mark.parametrize("optimizer", [optax.adam(0.1), optimistix.BFGS(1e-10, 1e-10)], ids=["Optax", "Optimistix"])
def test_bounds_are_kept_to_the_last_bit_and_the_controls_within_are_the_best(optimizer):
    matrix, right = as_least_squares(START, 8, TERMINAL)
    lower, upper = -0.7, 0.3
    known = scipy.optimize.lsq_linear(matrix, right, (lower, upper), tol=1e-14).x
    assert set(known[np.isclose(known, lower) | np.isclose(known, upper)].round(9)) == {lower, upper}, "both bounds act"
    problem = linear_quadratic(lower=lower, upper=upper)
    plan = optimize_controls(problem, jnp.asarray(START), optimizer=optimizer, iterations=400)
    assert np.all(plan.controls >= lower) and np.all(plan.controls <= upper)
    np.testing.assert_allclose(plan.controls[:, 0], known, atol=2e-4)


def test_one_sided_bounds_reach_minimizers_that_cannot_see_them():
    matrix, right = as_least_squares(START, 8, TERMINAL)
    for lower, upper in ((-0.7, np.inf), (-np.inf, -0.5)):
        known = scipy.optimize.lsq_linear(matrix, right, (lower, upper), tol=1e-14).x
        problem = linear_quadratic(lower=lower, upper=upper)
        plan = optimize_controls(problem, jnp.asarray(START), optimizer=optimistix.BFGS(1e-10, 1e-10), iterations=400)
        assert np.all(plan.controls >= lower) and np.all(plan.controls <= upper)
        np.testing.assert_allclose(plan.controls[:, 0], known, atol=2e-3)


def test_a_controlled_run_is_the_rollout_and_costs_what_it_says():
    problem = swing_up(regularizers=(Force(0.3), Jerk(0.7)))
    controls = jax.random.normal(jax.random.key(1), (6, 1))
    run = simulate(problem, hanging(), controls)
    final, states = dp.rollout(problem.step, hanging(), 6, inputs=controls, save_every=1)
    assert jax.tree.all(jax.tree.map(jnp.array_equal, (run.final, run.states), (final, states)))
    changes = np.diff(np.asarray(controls), axis=0, prepend=0.0)
    known = np.sum((np.asarray(states["angle"]) - 1) ** 2) + (float(final["angle"]) - 1) ** 2
    known += 0.15 * np.sum(np.asarray(controls) ** 2) + 0.35 * np.sum(changes**2)
    np.testing.assert_allclose(run.cost, known, rtol=1e-13)
    np.testing.assert_allclose(cost(problem, hanging(), controls), known, rtol=1e-13)


def test_the_gradient_of_the_cost_is_right():
    problem = swing_up(regularizers=(Force(0.3), Jerk(0.7)), lower=-50.0, upper=50.0)
    controls = jax.random.normal(jax.random.key(1), (6, 1))
    check_derivatives(lambda given: cost(*given), (problem, hanging(), controls), jax.random.key(2))


def test_adjoints_agree_and_a_window_cuts():
    problem, controls = swing_up(), jnp.full((6, 1), 0.5)

    def gradient(adjoint):
        return jax.grad(lambda controls: cost(problem, hanging(), controls, adjoint=adjoint))(controls)

    whole = gradient(dp.StoreAll())
    np.testing.assert_allclose(gradient(dp.Checkpointed(2)), whole, rtol=1e-12)
    # A force of the first window costs what it costs within the window: nothing of the last cost reaches it.
    first = dataclasses.replace(problem, steps=3, terminal_cost=lambda state, target: 0.0)
    known = jax.grad(lambda controls: cost(first, hanging(), controls))(controls[:3])
    np.testing.assert_allclose(gradient(dp.Truncated(3))[:3], known, rtol=1e-12)
    assert not np.allclose(whole[:3], known)


def test_another_number_compiles_nothing_anew():
    traced = []

    class Counted(Linear):
        def __call__(self, state, control):
            traced.append(1)
            return super().__call__(state, control)

    problem = dataclasses.replace(linear_quadratic(steps=3), step=Counted())
    optimize_controls(problem, jnp.asarray(START), iterations=3)
    before = len(traced)
    other = eqx.tree_at(lambda one: (one.step.a, one.target, one.upper), problem, (2 * A, jnp.ones(2), jnp.ones(1)))
    optimize_controls(other, jnp.asarray(2 * START), iterations=3)
    assert before > 0 and len(traced) == before


def test_many_starts_are_one_batch():
    starts = jnp.stack([jnp.asarray(START), -jnp.asarray(START)])
    plans = jax.vmap(lambda start: optimize_controls(linear_quadratic(), start, iterations=40))(starts)
    np.testing.assert_allclose(plans.controls[0], -plans.controls[1], atol=1e-6)


def test_model_predictive_control_with_the_cost_to_go_is_the_linear_regulator():
    # x^T P x, minus what the state at hand has cost already, is what the future costs: then any horizon is enough.
    ahead = scipy.linalg.solve_discrete_are(A, B, np.diag([3.0, 1.0]), np.array([[0.2]]))
    gain = np.linalg.solve(0.2 + B.T @ ahead @ B, B.T @ ahead @ A)
    problem = linear_quadratic(steps=5, terminal_cost=Quadratic(ahead - np.diag([3.0, 1.0])))
    run = closed_loop(problem, ModelPredictive(problem, horizon=2, iterations=12), jnp.asarray(START))
    state = START
    for control in np.asarray(run.controls):
        np.testing.assert_allclose(control, -gain @ state, atol=1e-6)
        state = A @ state + B @ control
    np.testing.assert_allclose(run.final, state, rtol=1e-12)


def test_model_predictive_control_keeps_the_bounds():
    problem = linear_quadratic(steps=4, lower=-0.3, upper=0.3)
    run = closed_loop(problem, ModelPredictive(problem, horizon=3, iterations=5), jnp.asarray(START))
    assert np.max(np.abs(run.controls)) == 0.3


def test_a_closed_loop_has_the_gradient_of_its_policy():
    problem = swing_up(regularizers=(Force(0.3), Jerk(0.7)), lower=-50.0, upper=50.0)

    def end(given):
        gains, problem = given
        policy = lambda state, target: gains[:1] * (target - state["angle"]) + gains[1:] * state["speed"]  # noqa: E731
        return closed_loop(problem, policy, hanging()).cost

    check_derivatives(end, (jnp.asarray([2.0, -0.5]), problem), jax.random.key(2))


@pytest.mark.slow
def test_a_plume_in_three_dimensions_is_steered_by_a_wind_that_varies_across_its_direction():
    """One that does not is a gradient, which between walls the pressure balances: the plan then gains nothing."""
    grid = dp.Grid((6, 6, 8), (1.5, 1.5, 2.0))
    smoke = dp.PassiveScalar(diffusivity=1e-3)
    lift = dp.Buoyancy("smoke", (0.0, 0.0, 1.0))
    flow = dp.IncompressibleFlow(grid, 2e-3, 0.1, dp.Wall(), scalars={"smoke": smoke}, forces=(lift,))
    x, y, z = grid.centers()
    cloud = jnp.exp(-((x - 0.5) ** 2 + (y - 0.7) ** 2 + (z - 0.7) ** 2) / 0.05)
    start = flow.initial_state(scalars={"smoke": cloud})

    def distance(state, target):
        density = state.scalars["smoke"].values
        return jnp.sum(density * (x - target) ** 2) / jnp.sum(density)

    gained = {}
    for name, wind in {"uniform": jnp.ones_like(z), "sheared": jnp.exp(-((z - 0.8) ** 2) / 0.1)}.items():
        problem = ControlProblem(
            lambda state, control, wind=wind: flow(state, [control[0] * wind, 0.0, 0.0]),
            12,
            jnp.zeros(1),
            terminal_cost=distance,
            target=1.0,
            lower=-3.0,
            upper=3.0,
        )
        plan = optimize_controls(problem, start, optimizer=optax.adam(0.5), iterations=10)
        gained[name] = 1.0 - plan.cost / plan.first_cost
    assert gained["sheared"] > 0.1 and abs(gained["uniform"]) < 1e-3


def refused(sentence, make):
    with pytest.raises(InputError, match=sentence):
        make()


def test_what_cannot_be_used_is_refused(unchecked_types):
    problem, start = linear_quadratic(), jnp.asarray(START)
    refused(r"controls have shape \(8, 2\); \(8, 1\)", lambda: optimize_controls(problem, start, jnp.zeros((8, 2))))
    refused(r"controls have shape \(7, 1\)", lambda: simulate(problem, start, jnp.zeros((7, 1))))
    refused("controls have the structure", lambda: cost(problem, start, {"u": jnp.zeros((8, 1))}))
    refused("controls is NaN", lambda: optimize_controls(problem, start, jnp.full((8, 1), jnp.nan)))
    refused("target is NaN or infinite in 1 of 2", lambda: linear_quadratic(target=jnp.asarray([0.0, jnp.nan])))
    running = ControlProblem(Linear(), 2, jnp.zeros(1), running_cost=lambda state, control, target: state)
    refused(r"running_cost returns an array of shape \(2,\)", lambda: optimize_controls(running, start))
    ending = ControlProblem(Linear(), 2, jnp.zeros(1), terminal_cost=lambda state, target: state)
    refused(r"terminal_cost returns an array of shape \(2,\)", lambda: optimize_controls(ending, start))
    refused("steps is 0", lambda: linear_quadratic(steps=0))
    refused("step is 3", lambda: ControlProblem(3, 2, jnp.zeros(1)))  # pyright: ignore[reportArgumentType]
    refused("control is", lambda: ControlProblem(Linear(), 2, ()))
    refused(r"lower has shape \(3,\)", lambda: linear_quadratic(lower=jnp.zeros(3)))
    refused("nowhere above", lambda: linear_quadratic(lower=1.0, upper=0.0))
    refused("horizon is 9; a whole number up to the task's 8", lambda: ModelPredictive(problem, horizon=9))
    refused("iterations is 0", lambda: ModelPredictive(problem, horizon=2, iterations=0))
    refused("optimizer is 'adam'", lambda: optimize_controls(problem, start, optimizer="adam"))  # pyright: ignore
    refused("returns a control of shape", lambda: closed_loop(problem, lambda state, target: state, start))
    refused("policy is None", lambda: closed_loop(problem, None, start))  # pyright: ignore[reportArgumentType]
    refused("Force: weight", lambda: Force(-1.0))
