"""The implicit step under a constraint: against dense matrices, with derivatives, and what is no solution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffphys.poisson.constrained import minimal_residuals, solve_constrained
from tests.gradients import check_derivatives


pytestmark = pytest.mark.usefixtures("float64")


def matrices(size: int = 9, constraints: int = 3):
    """A projection and a negative semi-definite matrix, symmetric in a weighted product; they do not commute."""
    generator = np.random.default_rng(0)
    weights = 0.5 + generator.random(size)
    root = np.sqrt(weights)
    normals, _ = np.linalg.qr(generator.standard_normal((size, constraints)))
    project = (np.eye(size) - normals @ normals.T) / root[:, None] * root
    factor = generator.standard_normal((size, size))
    smooth = -(factor @ factor.T) / root[:, None] * root
    return weights, project, smooth


def solve(rhs, scale, weights, project, smooth, skewed=None):
    inverse = np.linalg.inv(np.eye(len(weights)) - 0.7 * smooth)  # of another step: it need not be exact
    matrix = smooth if skewed is None else smooth + skewed
    return solve_constrained(
        rhs,
        lambda x: project @ x,
        lambda x: scale * (matrix @ x),
        lambda x: inverse @ x,
        jnp.asarray(weights),
        symmetric=skewed is None,
    )


@pytest.mark.parametrize("size", [1.0, 1e-30, 1e30])
def test_the_solution_is_that_of_the_dense_matrix(size):
    """Also for a right side outside of the constraint, all of it or nearly, as cotangents may be."""
    weights, project, smooth = matrices()
    generator = np.random.default_rng(1)
    matrix = np.eye(9) - 3.0 * project @ smooth @ project
    given = generator.standard_normal(9)
    outside = given - project @ given
    solved = jax.jit(lambda rhs: solve(rhs, 3.0, weights, project, smooth))
    for rhs in (given, project @ given, outside, outside + 1e-9 * given, 0 * given):
        np.testing.assert_allclose(solved(size * rhs), size * np.linalg.solve(matrix, rhs), atol=2e-12 * size)


def test_derivatives(key):
    """With respect to the right side and to the length of the step, which stands in the operator."""
    weights, project, smooth = matrices()
    rhs = jnp.asarray(np.random.default_rng(2).standard_normal(9))
    check_derivatives(lambda given: solve(given[0], given[1], weights, project, smooth), (rhs, jnp.asarray(2.0)), key)
    skewed = 0.1 * np.random.default_rng(3).standard_normal((9, 9))
    check_derivatives(
        lambda given: solve(given[0], given[1], weights, project, smooth, skewed), (rhs, jnp.asarray(2.0)), key
    )


@pytest.mark.parametrize("size", [1.0, 1e-30, 1e30])
def test_a_matrix_that_is_not_symmetric(size):
    """As beside an immersed body: the solution, and that of the transposed matrix, which is another one."""
    weights, project, smooth = matrices()
    generator = np.random.default_rng(3)
    skewed = 0.3 * generator.standard_normal((9, 9))
    matrix = np.eye(9) - 3.0 * project @ (smooth + skewed) @ project
    solved = jax.jit(lambda rhs: solve(rhs, 3.0, weights, project, smooth, skewed))
    given = generator.standard_normal(9)
    for rhs in (given, project @ given, given - project @ given, 0 * given):
        np.testing.assert_allclose(solved(size * rhs), size * np.linalg.solve(matrix, rhs), atol=1e-7 * size)
        (transposed,) = jax.linear_transpose(solved, given)(size * rhs)
        np.testing.assert_allclose(transposed, size * np.linalg.solve(matrix.T, rhs), atol=1e-7 * size)


def test_minimal_residuals_need_no_more_steps_than_unknowns():
    """On a triangular matrix, on which conjugate gradients would go astray."""
    generator = np.random.default_rng(4)
    matrix = jnp.asarray(np.diag([3.0, 2.0, 1.0, 4.0, 5.0, 2.5]) + np.tril(generator.standard_normal((6, 6)), -1))
    rhs = jnp.asarray(generator.standard_normal(6))
    found, steps, converged = minimal_residuals(lambda x: matrix @ x, lambda x: x, rhs, 1e-12, 50)
    assert converged and steps <= 6
    np.testing.assert_allclose(found, np.linalg.solve(matrix, rhs), atol=1e-10)
    # With fewer directions kept it goes on, and says so where it does not arrive.
    found, steps, converged = minimal_residuals(lambda x: matrix @ x, lambda x: x, rhs, 1e-12, 200, kept=3)
    assert converged and steps > 6
    np.testing.assert_allclose(found, np.linalg.solve(matrix, rhs), atol=1e-10)
    assert not minimal_residuals(lambda x: matrix @ x, lambda x: x, rhs, 1e-12, 3)[2]


def test_what_has_no_solution_is_no_number():
    weights, project, smooth = matrices()
    assert np.isnan(solve(jnp.full(9, jnp.nan), 1.0, weights, project, smooth)).all()
    # A matrix that is not negative: conjugate gradients are lost, and no plausible number comes back.
    assert np.isnan(solve(jnp.ones(9), -1.0, weights, project, smooth)).all()
