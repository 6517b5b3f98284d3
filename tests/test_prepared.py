"""What is prepared is kept by the grid, goes with it, is bounded, and can be asked how large it is."""

import copy
import dataclasses
import gc
import pickle
import subprocess
import sys
from pathlib import Path

import jax
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
    direct,
)
from diffphys.poisson.capacitance import prepared_surface
from diffphys.poisson.traced_obstacle import CorrectedAround, closed_faces
from diffphys.poisson.wide_differences import WideDifferences


def test_what_was_asked_for_last_is_kept_within_the_bound(monkeypatch):
    monkeypatch.setattr(prepared, "LARGEST_BYTES", 8000)
    grid, calls = dp.Grid((4,)), []

    @prepared.prepared
    def ones(grid, count):
        calls.append(count)
        return np.ones(count), "no array"

    for count in (400, 500, 400, 300, 400, 500, 2000, 2000):
        assert len(ones(grid, count)[0]) == count
        assert grid.prepared.bytes() <= 8000
    # 400 and 500 fit together; for 300 the 500 goes, which was not asked for longest; 2000 never fits.
    assert calls == [400, 500, 300, 500, 2000, 2000]
    assert grid.prepared.bytes() == 8 * (400 + 500)


def test_all_grids_keep_no_more_than_the_bound_together(monkeypatch):
    first, second = dp.Grid((4,)), dp.Grid((4,))
    monkeypatch.setattr(prepared, "LARGEST_BYTES", prepared.kept_bytes() + 8000)

    @prepared.prepared
    def ones(grid, count):
        return np.ones(count)

    kept = ones(first, 400)
    ones(second, 500)
    assert ones(first, 400) is kept
    ones(second, 300)
    assert (first.prepared.bytes(), second.prepared.bytes()) == (3200, 2400)
    del first, kept
    gc.collect()
    ones(second, 500)
    assert second.prepared.bytes() == 6400


def channel_around(sphere):
    grid = dp.Grid((12, 10))
    return dp.IncompressibleFlow(
        grid, viscosity=0.1, dt=0.1, sides=dict(x=(dp.Inflow(1.0), dp.Outflow()), y=dp.Wall()), solid=sphere
    )


def test_a_flow_made_anew_finds_what_was_prepared():
    flow = channel_around(dp.Sphere((5.0, 5.0), 1.6))
    surface = prepared_surface(flow.pressure_problem())
    again = dataclasses.replace(jax.tree.map(lambda leaf: 2 * leaf, flow), dt=0.2)
    assert prepared_surface(again.pressure_problem()) is surface
    other = channel_around(dp.Sphere((5.0, 5.0), 1.6))
    assert prepared_surface(other.pressure_problem()) is not surface


def test_a_copy_of_a_grid_brings_nothing_along():
    grid = channel_around(dp.Sphere((5.0, 5.0), 1.6)).grid
    assert grid.edges[0][-1] == 12
    assert grid.prepared.bytes() > 0
    for copied in (copy.deepcopy(grid), copy.copy(grid), pickle.loads(pickle.dumps(grid)), dataclasses.replace(grid)):
        assert copied == grid
        assert copied.prepared.bytes() == 0


def test_what_was_prepared_goes_with_the_last_flow_and_its_programs():
    """In a process of its own: other tests' programs hold grids of their own."""
    program = """
import gc, weakref, jax, diffphys as dp
from tests.test_prepared import channel_around
flow = channel_around(dp.Sphere((5.0, 5.0), 1.6))
energy = lambda flow: sum((one.values**2).sum() for one in dp.rollout(flow, flow.initial_state(), 3)[0].velocity)
assert jax.grad(energy)(flow).viscosity != 0
grid = weakref.ref(flow.grid)
assert grid().prepared.bytes() > 1000
del flow
jax.clear_caches()
jax._src.api_util.donation_vector.cache_clear()  # which the line above forgets
gc.collect()
assert grid() is None
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[1])


def test_a_solver_tells_its_size():
    """Matrices of both directions, one number for each mode, and with an obstacle the correction twice."""
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
    assert around.prepared_bytes() - box.prepared_bytes() == 4 * (2 * faces**2 + faces + rows) + 8 * faces + 8
    moved = CorrectedAround(problem, closed_faces(around.problem, room=9))
    assert moved.prepared_bytes() == box.prepared_bytes() + 4


def test_the_solver_of_wide_differences_tells_its_size():
    """A cell closes two faces along each axis. M, which links neighbors, is another one on four, and so E = M P M - M M
    on six, whose neighbors are seven cells.
    """
    walls = ((dp.Neumann(), dp.Neumann()),) * 2
    solid = np.zeros((12, 10), bool)
    solid[5, 5] = True
    problem = PressureProblem.from_conditions(dp.Grid((12, 10)), walls, solid)
    box, rows = direct(problem.without_obstacle()), 2 * (7 * 12 + 7 * 10)
    direct_bytes, faces = WideDifferences(problem).prepared_bytes(), 12
    assert direct_bytes - box.prepared_bytes() == 4 * (2 * faces**2 + 4 * faces + rows) + 8 * faces
    iterated = WideDifferences(problem, largest_surface=0)
    opened = 13 * 10 + 12 * 11
    assert iterated.prepared_bytes() - direct(problem).prepared_bytes() == 4 * (opened + 2 * 120)


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
