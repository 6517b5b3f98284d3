"""Koopman model-predictive control: against NumPy's and SciPy's least squares, and on a system that is linear."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from diffphys.control import ControlProblem, KoopmanPredictive, box_quadratic_program, closed_loop, ridge_transition
from diffphys.control.koopman import predicted_codes
from diffphys.errors import InputError
from tests.control.systems import A, B, Linear, as_least_squares


pytestmark = pytest.mark.usefixtures("float64")


def test_the_transition_of_a_linear_system_is_found():
    controls = jax.random.normal(jax.random.key(0), (6, 1))
    start = jnp.asarray([1.0, -0.5])
    codes = jnp.concatenate([start[None], predicted_codes(jnp.asarray(A), start, controls @ B.T)])
    np.testing.assert_allclose(ridge_transition(codes, controls @ B.T, 0.0), A, atol=1e-10)
    # With a ridge: least squares of NumPy with the rows sqrt(lambda) I added, towards what is expected.
    expected = np.array([[0.5, -0.2], [0.3, 0.9]])
    rows = np.vstack([codes[:-1], np.sqrt(0.3) * np.eye(2)])
    right = np.vstack([codes[1:] - controls @ B.T, np.sqrt(0.3) * expected.T])
    known = np.linalg.lstsq(rows, right)[0].T
    np.testing.assert_allclose(ridge_transition(codes, controls @ B.T, 0.3, expected), known, atol=1e-12)


@pytest.mark.parametrize("bound", [0.2, 0.7, 100.0])
def test_a_quadratic_program_with_bounds_is_solved(bound):
    matrix, right = as_least_squares(np.array([1.0, -0.5]), 8, np.diag([40.0, 20.0]))
    known = scipy.optimize.lsq_linear(matrix, right, (-bound, bound), tol=1e-14).x
    found = box_quadratic_program(jnp.asarray(matrix.T @ matrix), jnp.asarray(-matrix.T @ right), -bound, bound, 400)
    np.testing.assert_allclose(found, known, atol=1e-6)
    assert np.all(np.abs(found) <= bound)


def test_plans_in_a_code_are_the_best_ones_where_the_code_is_the_state():
    start, steps = np.array([1.0, -0.5]), 6
    policy = KoopmanPredictive(lambda state: state, A, B, price=0.2, lower=-0.3, upper=0.3, horizon=steps)
    rows, right = [], []
    for k in range(1, steps + 1):
        response = [np.linalg.matrix_power(A, k - 1 - j) @ B if j < k else 0 * B for j in range(steps)]
        rows.append(np.hstack(response))
        right.append(np.array([0.1, 0.0]) - np.linalg.matrix_power(A, k) @ start)
    rows.append(np.sqrt(0.2) * np.eye(steps))
    right.append(np.zeros(steps))
    known = scipy.optimize.lsq_linear(np.vstack(rows), np.concatenate(right), (-0.3, 0.3), tol=1e-14).x
    found = policy.plan(jnp.asarray(A), jnp.asarray(start), jnp.asarray([0.1, 0.0]))
    np.testing.assert_allclose(found[:, 0], known, atol=1e-5)


def test_a_wrong_transition_is_put_right_on_the_way():
    problem = ControlProblem(Linear(), 40, jnp.zeros(1), target=jnp.zeros(2), lower=-3.0, upper=3.0)
    options = {"price": 1e-4, "lower": -3.0, "upper": 3.0, "window": 4, "ridge": 1e-9}
    policy = KoopmanPredictive(lambda state: state, 0.5 * np.eye(2), B, **options)
    run = jax.jit(lambda start: closed_loop(problem, policy, start))(jnp.asarray([1.0, -0.5]))
    assert jnp.all(jnp.abs(run.controls) <= 3.0)
    right = KoopmanPredictive(lambda state: state, A, B, **options)
    known = jax.jit(lambda start: closed_loop(problem, right, start))(run.states[3])
    np.testing.assert_allclose(run.controls[4:8], known.controls[:4], atol=1e-4)
    untouched = np.linalg.matrix_power(A, 40) @ [1.0, -0.5]
    assert jnp.linalg.norm(run.final) < 0.3 * np.linalg.norm(untouched)


def test_what_does_not_fit_is_refused_in_a_sentence():
    with pytest.raises(InputError, match=r"transition has shape \(2, 2\) and control_matrix \(3, 1\)"):
        KoopmanPredictive(lambda state: state, A, np.zeros((3, 1)))
    with pytest.raises(InputError, match="window is 1; "):
        KoopmanPredictive(lambda state: state, A, B, window=1)
    with pytest.raises(InputError, match=r"matrix has shape \(2, 2\) and vector \(3,\)"):
        box_quadratic_program(jnp.eye(2), jnp.zeros(3), 0.0, 1.0)
    with pytest.raises(InputError, match="ridge_transition: codes have shape"):
        ridge_transition(jnp.zeros((3, 2)), jnp.zeros((3, 2)), 0.1)
