"""The projection of a flow of variable density, against a solution made by hand."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp
from diffphys.grids import Neumann
from diffphys.operators import divergence
from diffphys.poisson import MultigridConjugateGradients, variable_density_projection
from diffphys.verification.reacting_flow import PRESSURE_ENDS, disturbed_velocity


pytestmark = pytest.mark.usefixtures("float64")


def test_it_gives_back_what_a_pressure_has_disturbed_with_second_order():
    errors = []
    for count in (16, 32):
        exact, disturbed, volumes, target = disturbed_velocity(count)
        project = partial(variable_density_projection, disturbed, volumes, PRESSURE_ENDS, target)
        found, solution = jax.jit(project)()
        np.testing.assert_allclose(divergence(found).values, target, atol=1e-7)
        assert solution.converged and float(solution.imbalance) == 0
        errors.append(max(float(jnp.max(jnp.abs(a.values - b.values))) for a, b in zip(found, exact, strict=True)))
    assert errors[1] < 0.01 and np.log2(errors[0] / errors[1]) > 1.8, errors


@pytest.mark.slow
def test_another_solver_finds_the_same():
    _, disturbed, volumes, target = disturbed_velocity(16)
    found, _ = variable_density_projection(disturbed, volumes, PRESSURE_ENDS, target)
    other, _ = variable_density_projection(disturbed, volumes, PRESSURE_ENDS, target, MultigridConjugateGradients)
    np.testing.assert_allclose(found[0].values, other[0].values, atol=1e-7)


def test_a_closed_box_says_what_no_pressure_can_balance():
    grid = dp.Grid((6, 5), (1.0, 1.0))
    flow = dp.IncompressibleFlow(grid, 0.1, 0.01, dp.Wall())
    at_rest = flow.initial_state((0.0, 0.0))
    target = 0.3 + np.outer(np.arange(6) - 2.5, np.ones(5))
    found, solution = variable_density_projection(at_rest.velocity, (1.0, 2.0), ((Neumann(), Neumann()),) * 2, target)
    assert float(solution.imbalance) == pytest.approx(0.3)
    np.testing.assert_allclose(divergence(found).values, target - 0.3, atol=1e-8)


def test_a_solve_that_does_not_converge_is_not_a_velocity():
    _, disturbed, volumes, target = disturbed_velocity(16)

    def solver(problem):
        return dp.poisson.FictitiousDomain(problem, largest_iterations=2)

    found, solution = jax.jit(
        lambda target: variable_density_projection(disturbed, volumes, PRESSURE_ENDS, target, solver)
    )(target)
    assert not solution.converged and bool(jnp.isnan(found[0].values).any())


@pytest.mark.usefixtures("unchecked_types")
def test_bad_input_is_refused_by_name():
    _, disturbed, volumes, _ = disturbed_velocity(8)
    cases: Any = (
        ("target has shape", (disturbed, volumes, PRESSURE_ENDS, np.ones(3))),
        ("negative", (disturbed, (-1.0, 1.0), PRESSURE_ENDS)),
        ("velocity", (disturbed[:1], volumes, PRESSURE_ENDS)),
        ("specific_volume", (disturbed, volumes[:1], PRESSURE_ENDS)),
    )
    for words, arguments in cases:
        with pytest.raises(dp.InputError, match=words):
            variable_density_projection(*arguments)
