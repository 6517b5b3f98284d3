"""Beside a kink: the value is that of a side, and the derivative lies between those of both, their mean by symmetry."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp
from diffphys.grids import face_offset
from diffphys.operators import advection_rate, cubic_semi_lagrangian, maccormack, semi_lagrangian


pytestmark = pytest.mark.usefixtures("float64", "unchecked_types")

PERIODIC = (dp.Periodic(), dp.Periodic())
EPSILON = 1e-7


def still(grid, conditions):
    """A random field at the centers, and a fluid at rest."""
    values = np.random.default_rng(0).standard_normal(grid.cells)
    periodic = [isinstance(pair[0], dp.Periodic) for pair in conditions]
    at_rest = tuple(PERIODIC if wraps else (dp.Dirichlet(0.0), dp.Dirichlet(0.0)) for wraps in periodic)
    offsets = [face_offset(grid, axis) for axis in range(grid.dimensions)]
    velocity = [dp.Field(jnp.zeros(grid.shape(offset, periodic)), grid, offset, at_rest) for offset in offsets]
    return dp.Field(jnp.asarray(values), grid, conditions=conditions), velocity


def around_rest(scheme, field, velocity, axis):
    """The derivative of a step by the speed along an axis: a little below zero, at zero, and a little above."""

    def step(speed):
        moving = [part.with_values(part.values + speed * (a == axis)) for a, part in enumerate(velocity)]
        return scheme(field, moving).values

    return np.asarray(jax.jit(jax.vmap(jax.jacfwd(step)))(jnp.array([-EPSILON, 0.0, EPSILON])))


STRETCHED = dp.Grid.from_edges([np.cumsum([0.1, 0.1, 0.13, 0.07, 0.2, 0.1, 0.15]), np.cumsum([0, 0.1, 0.05, 0.2, 0.1])])
# Positions like 0.35 / 0.1 - 0.5 are whole numbers but for round-off, which must not choose a side.
GRIDS = [dp.Grid((6, 5), (0.6, 0.5), (0.1, 0.0)), STRETCHED]


@pytest.mark.parametrize("grid", GRIDS, ids=["uniform", "stretched"])
def test_look_ups_in_a_fluid_at_rest_have_the_mean_slope(grid):
    field, velocity = still(grid, (PERIODIC, (dp.Dirichlet(0.3), dp.Neumann(0.0))))
    found = {}
    for name, scheme in dict(
        gathers=lambda f, v: semi_lagrangian(f, v, 1.0),
        shifts=lambda f, v: semi_lagrangian(f, v, 1.0, 1),
        cubic=lambda f, v: cubic_semi_lagrangian(f, v, 1.0),
    ).items():
        found[name] = [around_rest(scheme, field, velocity, axis) for axis in range(2)]
        for before, here, after in found[name]:
            smaller, larger = np.minimum(before, after) - 1e-4, np.maximum(before, after) + 1e-4
            assert np.all((smaller <= here) & (here <= larger)), name
            if all(grid.uniform):
                np.testing.assert_allclose(here, (before + after) / 2, atol=1e-4, err_msg=name)
    for one, other in zip(found["gathers"], found["shifts"], strict=True):  # both forms of one scheme
        np.testing.assert_allclose(one, other, atol=1e-12)


def test_beside_closed_cells_a_look_up_at_rest_has_the_mean_slope():
    field, velocity = still(GRIDS[0], (PERIODIC, (dp.Dirichlet(0.3), dp.Neumann(0.0))))
    closed = np.zeros(GRIDS[0].cells, bool)
    closed[2:4, 2] = closed[3, 1] = True
    for axis in range(2):
        before, here, after = around_rest(lambda f, v: semi_lagrangian(f, v, 1.0, closed=closed), field, velocity, axis)
        np.testing.assert_allclose(here, (before + after) / 2, atol=1e-4)
        assert np.any(here != 0) and np.all(here[closed] == 0)


@pytest.mark.parametrize(
    "grid", [GRIDS[0], pytest.param(STRETCHED, marks=pytest.mark.slow)], ids=["uniform", "stretched"]
)
def test_a_linear_field_at_rest_is_carried_without_a_kink(grid):
    """Its slope is the same on both sides, so the derivative of each step is minus that slope, limited or not."""
    free = (dp.Neumann(0.0), dp.Neumann(0.0))
    _, velocity = still(grid, (free, free))
    field = dp.Field(jnp.broadcast_to(3.0 * grid.centers()[0], grid.cells), grid, conditions=(free, free))
    for scheme in (
        lambda f, v: semi_lagrangian(f, v, 1.0),
        lambda f, v: semi_lagrangian(f, v, 1.0, 1),
        lambda f, v: cubic_semi_lagrangian(f, v, 1.0, limited=True),
        lambda f, v: maccormack(f, v, 1.0),
    ):
        slopes = around_rest(scheme, field, velocity, 0)[1]
        np.testing.assert_allclose(slopes[2:-2], -3.0, rtol=1e-6)


@pytest.mark.parametrize("scheme", ["upwind", "van_leer"])
def test_what_a_fluid_at_rest_carries_is_the_mean_of_both_sides(scheme):
    field, velocity = still(GRIDS[0], (PERIODIC, PERIODIC))
    for axis in range(2):
        before, here, after = around_rest(lambda f, v: advection_rate(f, v, scheme), field, velocity, axis)
        np.testing.assert_allclose(here, (before + after) / 2, atol=1e-9)
