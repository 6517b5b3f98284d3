"""A few steps of conjugate gradients from a guess: they are optimal, they end, and they have derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp
from diffphys.errors import InputError
from diffphys.grids import Neumann
from diffphys.poisson import (
    MultigridConjugateGradients,
    PressureProblem,
    conjugate_gradient_steps,
    direct,
)
from tests.gradients import check_derivatives
from tests.poisson.test_solvers import dense_matrix


pytestmark = pytest.mark.usefixtures("float64")

GRID = dp.Grid((8, 6), (2.0, 1.2))
CLOSED = ((Neumann(), Neumann()),) * 2
ANCHORED = ((Neumann(), dp.Dirichlet()), (dp.Periodic(), dp.Periodic()))


def problem(conditions, body: bool = False) -> PressureProblem:
    solid = np.zeros(GRID.cells, bool)
    solid[3:5, 2:4] = body
    return PressureProblem.from_conditions(GRID, conditions, solid)


@pytest.mark.parametrize("conditions, body", [(CLOSED, False), (ANCHORED, True)])
@pytest.mark.parametrize("multigrid", [False, True])
def test_the_steps_are_the_best_of_their_krylov_space(conditions, body, multigrid):
    """Nearest to the solution in the energy norm among guess + span(M r, M S M r, ...)."""
    given, steps = problem(conditions, body), 3
    rhs, guess = np.random.default_rng(0).standard_normal((2, *GRID.cells))
    precondition = MultigridConjugateGradients(given).precondition if multigrid else None
    found = conjugate_gradient_steps(given, jnp.asarray(rhs), jnp.asarray(guess), steps, precondition)

    matrix = -dense_matrix(given)
    exact = np.linalg.pinv(matrix, rcond=1e-10) @ -rhs.reshape(-1)
    error = exact - guess.reshape(-1)
    cycle = np.eye(matrix.shape[0])
    if precondition is not None:
        cycle = jax.vmap(lambda one: precondition(one.reshape(GRID.cells)).reshape(-1), out_axes=1)(jnp.asarray(cycle))
    space = [cycle @ matrix @ error]
    while len(space) < steps:
        space.append(cycle @ matrix @ space[-1])
    basis = np.linalg.qr(np.stack(space, 1))[0]
    best = np.linalg.solve(basis.T @ matrix @ basis, basis.T @ matrix @ error)
    np.testing.assert_allclose(found.pressure.reshape(-1), guess.reshape(-1) + basis @ best, atol=1e-8)
    left = matrix @ (exact - np.asarray(found.pressure).reshape(-1))
    assert float(found.residuals[-1]) == pytest.approx(np.max(np.abs(left)), rel=1e-6)
    assert float(found.residuals[0]) == pytest.approx(np.max(np.abs(matrix @ error)), rel=1e-6)
    # The residual itself is rhs - A pressure, whose sign the largest magnitude does not tell.
    whole = conjugate_gradient_steps(
        given, jnp.asarray(rhs), jnp.asarray(guess), steps, precondition, save=lambda residual: residual
    )
    assert whole.residuals.shape == (steps + 1, *GRID.cells)
    np.testing.assert_allclose(whole.residuals[0].reshape(-1), -matrix @ error, atol=1e-9)
    np.testing.assert_allclose(whole.residuals[-1].reshape(-1), -left, atol=1e-9)


@pytest.mark.parametrize("conditions", [CLOSED, ANCHORED])
def test_enough_steps_solve_and_further_ones_change_nothing(conditions):
    given = problem(conditions)
    rhs, guess = map(jnp.asarray, np.random.default_rng(1).standard_normal((2, *GRID.cells)))
    found = conjugate_gradient_steps(given, rhs, guess, 120)
    exact = direct(given).solve(rhs).pressure
    kept = jnp.mean(guess) if conditions == CLOSED else 0.0  # what the null space has of the guess
    np.testing.assert_allclose(found.pressure, exact + kept, atol=1e-9)
    assert found.residuals.shape == (121,) and jnp.isfinite(found.residuals).all()
    same = conjugate_gradient_steps(given, jnp.zeros(GRID.cells), jnp.zeros(GRID.cells), 3)
    assert jnp.all(same.pressure == 0) and jnp.all(same.residuals == 0)


def test_they_have_derivatives_with_respect_to_guess_and_right_side(key):
    given = problem(CLOSED)
    rhs, guess = map(jnp.asarray, np.random.default_rng(2).standard_normal((2, *GRID.cells)))
    check_derivatives(lambda both: conjugate_gradient_steps(given, both[0], both[1], 3).pressure, (rhs, guess), key)
    # A gradient at the solution is finite, too.
    exact = direct(given).solve(rhs).pressure
    gradient = jax.grad(lambda guess: jnp.sum(conjugate_gradient_steps(given, rhs, guess, 3).pressure ** 2))(exact)
    assert jnp.isfinite(gradient).all()


@pytest.mark.usefixtures("unchecked_types")
def test_bad_arguments_are_refused():
    given, zero = problem(CLOSED), jnp.zeros(GRID.cells)
    with pytest.raises(InputError, match="guess has shape"):
        conjugate_gradient_steps(given, zero, zero[1:], 3)
    with pytest.raises(InputError, match="iterations"):
        conjugate_gradient_steps(given, zero, zero, 0)
    with pytest.raises(InputError, match="problem is"):
        conjugate_gradient_steps(GRID, zero, zero, 1)  # pyright: ignore[reportArgumentType]
