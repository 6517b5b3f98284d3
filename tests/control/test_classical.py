"""Classical controllers: against SciPy's filters and Riccati equation, and what control theory knows of their loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.signal

import diffphys as dp
from diffphys.control import (
    PID,
    ControlProblem,
    TransferFunction,
    closed_loop,
    linear_quadratic_regulator,
    linearize,
    plant_response,
)
from diffphys.errors import InputError
from tests.control.systems import A, B, Linear, Pendulum, hanging
from tests.gradients import check_derivatives


pytestmark = pytest.mark.usefixtures("float64")
DT = 0.05


def lagging(disturbance: float):
    """x' = -x + u + d: a tank, a heated body, a drone with drag."""
    return lambda state, control: state + DT * (control + disturbance - state)


def regulated(controller, disturbance: float, steps: int = 800) -> np.ndarray:
    problem = ControlProblem(lagging(disturbance), steps, jnp.zeros(()), target=1.0)
    return np.asarray(closed_loop(problem, controller, jnp.asarray(0.2)).states)


def test_integral_action_removes_what_proportional_action_leaves():
    # At rest x = Kp (1 - x) + d.
    np.testing.assert_allclose(regulated(PID(4.0, dt=DT), 0.5)[-1], (4.0 + 0.5) / 5.0, rtol=1e-12)
    np.testing.assert_allclose(regulated(PID(4.0, 2.0, 0.1, dt=DT), 0.5)[-1], 1.0, rtol=1e-9)


def test_the_three_actions_are_the_filter_that_textbooks_give():
    kp, ki, kd = 4.0, 2.0, 0.1
    # The derivative of the first error is left out; a start at the target has none.
    known = scipy.signal.lfilter(
        [kp + ki * DT + kd / DT, -kp - 2 * kd / DT, kd / DT], [1.0, -1.0], np.r_[0.0, np.sin(np.arange(1.0, 9.0))]
    )
    controller = PID(kp, ki, kd, dt=DT)
    memory, controls = controller.initial_memory(), []
    for error in np.r_[0.0, np.sin(np.arange(1.0, 9.0))]:
        control, memory = controller(jnp.asarray(0.0), error, memory)
        controls.append(control)
    np.testing.assert_allclose(controls, known, rtol=1e-12)


def test_the_integral_does_not_wind_up():
    problem = ControlProblem(lagging(0.0), 400, jnp.zeros(()), target=1.0, lower=0.0, upper=1.2)

    def overshoot(largest):
        run = closed_loop(problem, PID(4.0, 2.0, dt=DT, largest_integral=largest), jnp.asarray(-5.0))
        assert np.max(run.controls) == 1.2
        return float(np.max(run.states)) - 1

    assert overshoot(0.6) < 0.05 < 0.1 < overshoot(np.inf)


def test_a_transfer_function_filters_as_scipy_does():
    # The controller of Ramos, Trost, Thuerey (2022), with another leading coefficient.
    numerator, denominator = [2 * 1.17009, 2 * -1.46942, 2 * 0.30598], [2.0, 2 * -1.23068, 2 * 0.26726]
    controller = TransferFunction(numerator, denominator, channels=(2,))
    errors = np.random.default_rng(0).normal(size=(12, 2))
    memory, controls = controller.initial_memory(), []
    for error in errors:
        control, memory = controller(jnp.zeros(2), error, memory)
        controls.append(control)
    np.testing.assert_allclose(controls, scipy.signal.lfilter(numerator, denominator, errors, axis=0), rtol=1e-10)
    frequencies = np.array([0.1, 1.0, 10.0])
    _, known = scipy.signal.freqz(numerator, denominator, frequencies * DT)  # pyright: ignore[reportArgumentType]
    np.testing.assert_allclose(controller.response(frequencies, DT), known, rtol=1e-9)


def test_the_plant_answers_as_its_matrices_say():
    frequencies = np.array([0.3, 2.0, 20.0])
    found = plant_response(Linear(), jnp.zeros(2), jnp.zeros(1), lambda state: state[0], frequencies, DT)
    # Cramer's rule: the first state of (z - A)^-1 B.
    z = np.exp(1j * frequencies * DT)
    known = A[0, 1] * B[1, 0] / ((z - A[0, 0]) * (z - A[1, 1]) - A[0, 1] * A[1, 0])
    np.testing.assert_allclose(found[:, 0, 0], known, rtol=1e-10)


def test_the_regulator_is_that_of_the_riccati_equation():
    q, r = np.diag([3.0, 1.0]), np.array([[0.2]])
    known = scipy.linalg.solve_discrete_are(A, B, q, r)
    found = linear_quadratic_regulator(Linear(), jnp.zeros(2), jnp.zeros(1), [3.0, 1.0], 0.2)
    np.testing.assert_allclose(found.cost_to_go, known, rtol=1e-9)
    np.testing.assert_allclose(found.gain, np.linalg.solve(r + B.T @ known @ B, B.T @ known @ A), rtol=1e-9)
    assert found.residual < 1e-10 and found.unsteadiness == 0


def test_the_regulator_holds_what_falls_by_itself():
    upright = {"angle": jnp.asarray(np.pi), "speed": jnp.asarray(0.0)}
    a, b = linearize(Pendulum(), upright, jnp.zeros(1))
    assert np.max(np.abs(np.linalg.eigvals(a))) > 1.1
    policy = linear_quadratic_regulator(Pendulum(), upright, jnp.zeros(1), [10.0, 1.0], 0.1)
    assert policy.unsteadiness < 1e-14
    assert np.max(np.abs(np.linalg.eigvals(a - b @ policy.gain))) < 1
    problem = ControlProblem(Pendulum(), 100, jnp.zeros(1))
    tilted = {"angle": jnp.asarray(np.pi + 0.3), "speed": jnp.asarray(0.0)}
    np.testing.assert_allclose(closed_loop(problem, policy, tilted).final["angle"], np.pi, atol=1e-6)


def test_a_field_is_regulated():
    grid = dp.Grid((8,), (1.0,))
    # It heats itself, so that without a control it does not stay cold.
    heat = dp.Heat(grid, 0.1, 0.01, ((dp.Neumann(0.0), dp.Neumann(0.0)),))
    heater = jnp.where(jnp.arange(8) < 2, 1.0, 0.0)

    def step(field, control):
        return heat(field.with_values(field.values * 1.02 + 0.01 * control * heater))

    cold = heat.initial_state(0.0)
    (a, b), policy = jax.jit(
        lambda: (
            linearize(step, cold, jnp.zeros(())),
            linear_quadratic_regulator(step, cold, jnp.zeros(()), 1.0, 1e-3),
        )
    )()
    assert policy.gain.shape == (1, 8) and policy.residual < 1e-10  # of a field its values, not its conditions
    assert np.max(np.abs(np.linalg.eigvals(a))) > 1.01 and np.max(np.abs(np.linalg.eigvals(a - b @ policy.gain))) < 1


def test_controllers_have_right_gradients():
    problem = ControlProblem(
        Pendulum(),
        4,
        jnp.zeros(1),
        target=jnp.asarray([0.6]),
        terminal_cost=lambda s, t: jnp.sum((s["angle"] - t) ** 2),
    )
    measure = lambda state: state["angle"][None]  # noqa: E731

    def ends(given):
        gains, numerator, denominator, weights = given
        still = {"angle": jnp.asarray(0.0), "speed": jnp.asarray(0.0)}
        policies = [
            PID(*gains, dt=0.1, measure=measure),
            TransferFunction(numerator, denominator, channels=(1,), measure=measure),
            linear_quadratic_regulator(Pendulum(), still, jnp.zeros(1), weights, 0.1, doublings=4),
        ]
        return [closed_loop(problem, policy, hanging()).cost for policy in policies]

    gains = jnp.asarray([[4.0], [2.0], [0.3]])
    check_derivatives(
        ends,
        (gains, jnp.asarray([1.2, -1.4]), jnp.asarray([1.1, -0.9]), jnp.asarray([2.0, 0.7])),
        jax.random.key(0),
        second=False,
    )


def test_what_cannot_be_used_is_refused(unchecked_types):
    def refused(sentence, make):
        with pytest.raises(InputError, match=sentence):
            make()

    refused("PID: dt is 0.0", lambda: PID(1.0, dt=0.0))
    refused("PID: integral is nan", lambda: PID(1.0, jnp.nan, dt=DT))
    refused("gains have shapes", lambda: PID(jnp.ones(2), jnp.ones(3), dt=DT))
    refused("denominator begins with 0", lambda: TransferFunction([1.0], [0.0, 1.0]))
    refused("numerator has shape", lambda: TransferFunction(1.0, [1.0]))
    refused(
        r"the error has shape \(2,\)",
        lambda: closed_loop(
            ControlProblem(Linear(), 3, jnp.zeros(1), target=jnp.zeros(2)), PID(1.0, dt=DT), jnp.zeros(2)
        ),
    )
    refused(
        r"state_weight has shape \(3,\)",
        lambda: linear_quadratic_regulator(Linear(), jnp.zeros(2), jnp.zeros(1), jnp.ones(3), 1.0),
    )
