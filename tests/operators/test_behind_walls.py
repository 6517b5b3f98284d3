"""What lies behind a wall that is thinner than the Courant number is not seen by the velocity's look-up."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp
from diffphys.grids import face_offset
from diffphys.operators import semi_lagrangian
from diffphys.operators.obstructed import thinnest_wall


pytestmark = pytest.mark.usefixtures("float64")

GRID = dp.Grid((12, 5), (6.0, 5.0))
WRAPPED = ((dp.Periodic(), dp.Periodic()),) * 2
CLOSED = np.zeros(GRID.cells, bool)
CLOSED[:2] = CLOSED[6] = True  # walls of two cells and of one; between them a chamber of four cells and one of five
ONE, OTHER = slice(2, 6), slice(7, 12)


def velocity_of(seed_of_one, seed_of_other):
    """Random, of up to four cells a step, and zero on the faces of closed cells."""
    parts = []
    for axis in range(2):
        values = np.zeros(GRID.cells)
        for chamber, seed in ((ONE, seed_of_one), (OTHER, seed_of_other)):
            values[chamber] = np.random.default_rng(seed).uniform(-4, 4, values[chamber].shape)
        free = ~(CLOSED | np.roll(CLOSED, 1, axis))
        parts.append(dp.Field(values * free * GRID.spacing[axis], GRID, face_offset(GRID, axis), WRAPPED))
    return parts


@pytest.mark.parametrize(
    "scheme",
    [dp.SemiLagrangian(), dp.SemiLagrangian(4), pytest.param(dp.SemiLagrangian((5, 4)), marks=pytest.mark.slow)],
)
def test_one_side_of_a_wall_does_not_know_of_the_other(scheme):
    """A change of all speeds in the other chamber changes nothing in this one, which without the walls it does."""

    @jax.jit
    def carried(velocity):
        within = [scheme.carry(part, velocity, 1.0, CLOSED).values[ONE] for part in velocity]
        across = [semi_lagrangian(part, velocity, 1.0).values[ONE] for part in velocity]
        return within, across

    (within, across), (same, other) = carried(velocity_of(0, 1)), carried(velocity_of(0, 2))
    for one, two in zip(within, same, strict=True):
        np.testing.assert_array_equal(one, two)
    assert any(np.any(one != two) for one, two in zip(across, other, strict=True))
    # Where the path meets no wall the look-up is as it was: some of both kinds.
    alike = [np.isclose(one, two, atol=1e-12) for one, two in zip(within, across, strict=True)]
    assert all(np.any(one & (values != 0)) for one, values in zip(alike, within, strict=True))
    assert not all(map(np.all, alike))


@pytest.mark.slow
def test_a_flow_in_two_chambers_is_two_flows():
    """A step without viscosity at a Courant number of three, a wall of one cell between them, and its derivative."""
    wall = dp.Box((1.5, -1.0), (2.0, 6.0))
    flow = dp.IncompressibleFlow(dp.Grid((8, 5), (4.0, 5.0)), 0.0, 1.0, dp.Wall(), solid=wall)
    fixed, scaled = (
        [np.random.default_rng(seed).uniform(-2, 2, part.shape) for part in flow.initial_state().velocity]
        for seed in (0, 1)
    )

    @jax.jit
    def right_side(left):
        values = [
            one + jnp.zeros_like(one).at[:3].set((left * other)[:3]) for one, other in zip(fixed, scaled, strict=True)
        ]
        start = flow.initial_state(values)
        return [part.values[5:] for part in flow(start).velocity], flow.courant_number(start)

    (found, courant), (change, _) = jax.jvp(right_side, (1.0,), (1.0,))
    other, _ = right_side(-0.5)
    assert courant > 1.5
    for one, two, slope in zip(found, other, change, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-12)
        np.testing.assert_allclose(slope, 0.0, atol=1e-12)


def test_the_thinnest_wall_between_two_open_cells():
    """Along a bounded axis the cells at its ends are no wall; across a periodic side it is one."""
    assert [thinnest_wall(CLOSED, 0, wraps) for wraps in (True, False)] == [1, 1]
    assert [thinnest_wall(CLOSED, 1, wraps) for wraps in (True, False)] == [None, None]
    thick = CLOSED.copy()
    thick[6] = False
    assert [thinnest_wall(thick, 0, wraps) for wraps in (True, False)] == [2, None]
