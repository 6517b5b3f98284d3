"""The pressure around a body that it moves is the pseudo-inverse of its operator, also for sources within the body."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp
from diffphys.poisson import VariableProblem
from diffphys.poisson.finite_volumes import finite_volumes, outflow
from diffphys.poisson.low_rank import solve_with_low_rank
from tests.gradients import check_derivatives


pytestmark = pytest.mark.usefixtures("float64")

GRID = dp.Grid((6, 5), (1.2, 1.0))
WALLS = (dp.Neumann(), dp.Neumann())
AROUND = (dp.Periodic(), dp.Periodic())


@pytest.mark.parametrize("sides", [(WALLS, WALLS), (AROUND, AROUND), ((dp.Neumann(), dp.Dirichlet(0.0)), WALLS)])
def test_it_is_the_pseudo_inverse_where_cells_are_closed_all_around(sides, key):
    """Of two cells within the body all faces are closed: whatever is asked there changes nothing."""
    generator = np.random.default_rng(3)
    shapes = [
        GRID.shape(offset, [isinstance(pair[0], dp.Periodic) for pair in sides]) for offset in ((0.0, 0.5), (0.5, 0.0))
    ]
    open_parts = [generator.uniform(0.3, 1.0, shape) for shape in shapes]
    open_parts[0][2:5, 2] = 0.0
    open_parts[1][2:4, 2:4] = 0.0
    problem = VariableProblem.from_conditions(GRID, sides, [jnp.asarray(part) for part in open_parts])
    live = np.ones(GRID.cells, bool)
    live[2:4, 2] = False
    fluxes = generator.standard_normal((*GRID.cells, 3)) * live[..., None]
    fluxes -= fluxes[live].mean(axis=0) * live[..., None]
    weights = np.diag([2.0, 2.0, 0.5])

    system = finite_volumes(problem, jnp.float64)
    unit = jnp.eye(live.size).reshape(-1, *GRID.cells)
    matrix = np.asarray(jax.vmap(lambda one: outflow(system, one))(unit)).reshape(live.size, -1)
    columns = fluxes.reshape(live.size, 3)
    matrix = matrix + columns @ weights @ columns.T
    rhs = generator.standard_normal(GRID.cells)

    def pressure(rhs):
        return solve_with_low_rank(problem, jnp.asarray(fluxes), jnp.asarray(weights), rhs, 1e-13).pressure

    expected = -(np.linalg.pinv(matrix, rcond=1e-10) @ rhs.reshape(-1)).reshape(GRID.cells)
    found = jax.jit(pressure)(jnp.asarray(rhs))
    np.testing.assert_allclose(found, expected, atol=1e-10)
    assert np.all(np.asarray(found)[~live] == 0.0)
    check_derivatives(pressure, jnp.asarray(rhs), key)
