"""The implicit step under a constraint: against dense matrices, with derivatives, and what is no solution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffphys.poisson.constrained import solve_constrained
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


def solve(rhs, scale, weights, project, smooth):
    inverse = np.linalg.inv(np.eye(len(weights)) - 0.7 * smooth)  # of another step: it need not be exact
    return solve_constrained(
        rhs, lambda x: project @ x, lambda x: scale * (smooth @ x), lambda x: inverse @ x, jnp.asarray(weights)
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


def test_what_has_no_solution_is_no_number():
    weights, project, smooth = matrices()
    assert np.isnan(solve(jnp.full(9, jnp.nan), 1.0, weights, project, smooth)).all()
    # A matrix that is not negative: conjugate gradients are lost, and no plausible number comes back.
    assert np.isnan(solve(jnp.ones(9), -1.0, weights, project, smooth)).all()
