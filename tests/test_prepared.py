"""What is remembered between traces is bounded, and can be asked how large it is."""

import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp
from diffphys import prepared
from diffphys.poisson import (
    ConjugateGradients,
    FastDiagonalization,
    FictitiousDomain,
    MultigridConjugateGradients,
    ObstacleCorrected,
    PressureProblem,
)


@pytest.fixture
def nothing_remembered():
    prepared.forget_prepared()
    yield
    prepared.forget_prepared()


@pytest.mark.usefixtures("nothing_remembered")
def test_what_was_asked_for_last_is_remembered_within_the_bound(monkeypatch):
    monkeypatch.setattr(prepared, "LARGEST_BYTES", 8000)
    calls = []

    @prepared.prepared
    def ones(count):
        calls.append(count)
        return np.ones(count), "no array"

    for count in (400, 500, 400, 300, 400, 500, 2000, 2000):
        assert len(ones(count)[0]) == count
        assert prepared.prepared_bytes() <= 8000
    # 400 and 500 fit together; for 300 the 500 goes, which was not asked for longest; 2000 never fits.
    assert calls == [400, 500, 300, 500, 2000, 2000]
    assert prepared.prepared_bytes() == 8 * (400 + 500)


@pytest.mark.usefixtures("nothing_remembered")
def test_a_solver_tells_its_size():
    """Matrices of both directions, one number for each mode, and with an obstacle the correction."""
    walls = ((dp.Neumann(), dp.Neumann()),) * 2
    grid = dp.Grid((12, 10))
    box = FastDiagonalization(PressureProblem.from_conditions(grid, walls), transforms="matrix")
    assert box.prepared_bytes(jnp.float32) == 4 * (2 * (144 + 100) + 120)
    assert box.prepared_bytes(jnp.float64) == 2 * box.prepared_bytes(jnp.float32)
    solid = np.zeros(grid.cells, bool)
    solid[5, 5] = True
    around = ObstacleCorrected(PressureProblem.from_conditions(grid, walls, solid))
    faces, rows = 4, 2 * (3 * 12 + 3 * 10)
    problem = box.problem
    for iterative, size in (
        (ConjugateGradients(problem), 4 * (3 * 120 + 1)),  # weights of two axes, anchors, one volume
        (FictitiousDomain(problem), box.prepared_bytes() + 4 * (3 * 120 + 1)),
    ):
        assert iterative.prepared_bytes() == size
    levels = MultigridConjugateGradients(problem)
    assert 6 * 4 * 120 < levels.prepared_bytes() < 24 * 4 * 120  # five entries of a stencil for each cell, and coarser
    assert levels.prepared_bytes(jnp.float64) > 1.9 * levels.prepared_bytes()
    assert around.prepared_bytes() - box.prepared_bytes() == 4 * (faces**2 + faces + rows) + 8 * faces + 8


@pytest.mark.usefixtures("nothing_remembered")
@pytest.mark.parametrize("end, layers", [(dp.Periodic(), 5), (dp.Neumann(), 8)])
def test_an_obstacle_from_side_to_side_asks_for_a_correction_of_each_mode(end, layers):
    """Of eight modes of a periodic axis three are a cosine and a sine of one eigenvalue."""
    grid = dp.Grid((12, 10, 8))
    conditions = ((dp.Neumann(), dp.Neumann()),) * 2 + ((end, end),)
    solid = np.zeros(grid.cells, bool)
    solid[5:7, 5] = True
    problem = PressureProblem.from_conditions(grid, conditions, solid)
    box = FastDiagonalization(problem.without_obstacle())
    faces, rows = 6, 2 * (4 * 12 + 3 * 10)
    members = 2 * layers if layers == 5 else layers
    indices = 4 * (2 * faces + members + 8)
    added = ObstacleCorrected(problem).prepared_bytes() - box.prepared_bytes()
    assert added == 4 * (layers * faces**2 + faces + rows) + indices
