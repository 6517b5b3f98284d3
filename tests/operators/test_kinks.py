"""Beside a kink: the value is that of a side, and the derivative lies between those of both, their mean by symmetry."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp
from diffphys.grids import face_offset
from diffphys.operators import advection_rate, cubic_semi_lagrangian, maccormack, semi_lagrangian
from diffphys.operators.advection.fluxes import harmonic
from diffphys.physics.incompressible import largest_ratio


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


LINEAR = dict(
    gathers=lambda f, v: semi_lagrangian(f, v, 1.0),
    shifts=lambda f, v: semi_lagrangian(f, v, 1.0, 1),
    maccormack=lambda f, v: maccormack(f, v, 1.0, limited=False),
)


def carried_around_rest(schemes, field, velocity, axis):
    """As `around_rest`, for several schemes at once."""

    def steps(speed):
        moving = [part.with_values(part.values + speed * (a == axis)) for a, part in enumerate(velocity)]
        return {name: scheme(field, moving).values for name, scheme in schemes.items()}

    return jax.jit(jax.vmap(jax.jacfwd(steps)))(jnp.array([-EPSILON, 0.0, EPSILON]))


def at_faces(grid):
    """A random field on the faces of a bounded axis, two of which are the ends."""
    offset, ends = face_offset(grid, 1), (dp.Dirichlet(0.3), dp.Dirichlet(0.1))
    values = np.random.default_rng(1).standard_normal(grid.shape(offset, (True, False)))
    return dp.Field(jnp.asarray(values), grid, offset, (PERIODIC, ends))


def check_mean_slopes(schemes, field, velocity, axis):
    found = carried_around_rest(schemes, field, velocity, axis)
    for name, (before, here, after) in found.items():
        np.testing.assert_allclose(here, (before + after) / 2, atol=1e-4, err_msg=name)
    np.testing.assert_allclose(found["gathers"][1], found["shifts"][1], atol=1e-12)  # both forms of one scheme


def test_look_ups_in_a_fluid_at_rest_have_the_mean_slope():
    """Between cells of different widths, and at the ends of the axis, beyond which nothing is looked up."""
    _, velocity = still(STRETCHED, (PERIODIC, (dp.Dirichlet(0.3), dp.Neumann(0.0))))
    check_mean_slopes(LINEAR, at_faces(STRETCHED), velocity, 1)


@pytest.mark.slow
@pytest.mark.parametrize("grid", GRIDS, ids=["uniform", "stretched"])
def test_look_ups_at_rest_have_the_mean_slope_along_every_axis(grid):
    field, velocity = still(grid, (PERIODIC, (dp.Dirichlet(0.3), dp.Neumann(0.0))))
    for carried in (field, at_faces(grid)):
        for axis in range(2):
            schemes = LINEAR | dict(cubic=lambda f, v: cubic_semi_lagrangian(f, v, 1.0))
            check_mean_slopes(schemes, carried, velocity, axis)


def test_beside_closed_cells_a_look_up_at_rest_has_the_mean_slope():
    field, velocity = still(GRIDS[0], (PERIODIC, (dp.Dirichlet(0.3), dp.Neumann(0.0))))
    closed = np.zeros(GRIDS[0].cells, bool)
    closed[2:4, 2] = closed[3, 1] = True
    for axis in range(2):
        before, here, after = around_rest(lambda f, v: semi_lagrangian(f, v, 1.0, closed=closed), field, velocity, axis)
        np.testing.assert_allclose(here, (before + after) / 2, atol=1e-4)
        assert np.any(here != 0) and np.all(here[closed] == 0)


LINE = dp.Grid((30,), (3.0,))


@pytest.mark.parametrize("grid", [LINE, *[pytest.param(grid, marks=pytest.mark.slow) for grid in GRIDS]])
def test_limited_cubic_look_ups_at_rest_have_the_mean_slope(grid):
    """Each side's own slope is zero where the value would leave what is around it, as at an extreme it may to one side
    and not to the other: of the points of a random field there are some of each kind.
    """
    conditions = (PERIODIC, (dp.Dirichlet(0.3), dp.Neumann(0.0)))[: grid.dimensions]
    field, velocity = still(grid, conditions)
    limited = unlimited = 0
    for axis in range(grid.dimensions):
        schemes = [lambda f, v, keep=keep: cubic_semi_lagrangian(f, v, 1.0, limited=keep) for keep in (True, False)]
        (before, here, after), (_, free, _) = (around_rest(scheme, field, velocity, axis) for scheme in schemes)
        np.testing.assert_allclose(here, (before + after) / 2, atol=1e-4)
        limited += np.sum(np.abs(here - free) > 1e-3)
        unlimited += np.sum(np.abs(here - free) < 1e-3)
    assert limited > 3 and unlimited > 3


@pytest.mark.slow
@pytest.mark.parametrize("grid", GRIDS, ids=["uniform", "stretched"])
def test_limited_maccormack_at_rest_has_a_slope_between_those_of_its_sides(grid):
    field, velocity = still(grid, (PERIODIC, (dp.Dirichlet(0.3), dp.Neumann(0.0))))
    for axis in range(2):
        before, here, after = around_rest(lambda f, v: maccormack(f, v, 1.0), field, velocity, axis)
        assert np.all(here >= np.minimum(before, after) - 1e-4)
        assert np.all(here <= np.maximum(before, after) + 1e-4)


def test_at_the_largest_courant_number_weighted_shifts_have_the_inner_slope():
    grid = dp.Grid((6,))
    field = dp.Field(jnp.asarray(np.random.default_rng(2).standard_normal(6)), grid, conditions=(PERIODIC,))

    def step(speed):
        velocity = [dp.Field(jnp.full(6, speed), grid, (0.0,), (PERIODIC,))]
        return semi_lagrangian(field, velocity, 1.0, 1).values

    measure = jax.jit(jax.jacfwd(step))
    for sign in (-1.0, 1.0):
        np.testing.assert_allclose(measure(sign), measure(sign * (1 - EPSILON)), atol=1e-9)


def test_at_the_largest_courant_number_of_a_stretched_axis_weighted_shifts_have_the_inner_slope():
    """Each point is looked up at its neighbor. Where that is the end of the axis, what comes from beyond is looked up
    there too, so that the slope is half of that within.
    """
    edges = np.array([0.0, 1.0, 3.0, 4.0, 8.0, 9.0, 11.0])
    grid, ends = dp.Grid.from_edges((edges,)), (dp.Dirichlet(0.3), dp.Dirichlet(0.1))
    values = np.random.default_rng(2).standard_normal(7)
    field = dp.Field(jnp.asarray(values), grid, (0.0,), (ends,))

    def step(part, gaps):
        velocity = [dp.Field(part * jnp.asarray(gaps), grid, (0.0,), (ends,))]
        return semi_lagrangian(field, velocity, 1.0, 1).values

    widths = np.diff(edges)
    for gaps, beside_end in ((np.append(0.0, widths), 1), (-np.append(widths, 0.0), -2)):
        measure = jax.jit(jax.jacfwd(lambda part, gaps=gaps: step(part, gaps)))
        within = measure(1 - EPSILON)
        np.testing.assert_allclose(measure(1.0), within.at[beside_end].divide(2), atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("grid", GRIDS, ids=["uniform", "stretched"])
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


def test_the_size_of_a_speed_and_its_limited_slopes_at_zero():
    """The derivative is that of a side or the mean of both."""

    def around(function):
        at = jnp.array([-EPSILON, 0.0, EPSILON])
        values, slopes = jax.vmap(jax.value_and_grad(function))(at)
        np.testing.assert_allclose(values, 0.0, atol=3 * EPSILON)
        return np.asarray(slopes)

    grid, ends = dp.Grid((4,)), (PERIODIC,)

    def courant(speed):
        return largest_ratio(dp.Field(jnp.full(4, speed), grid, (0.0,), ends), 0, jnp.asarray(0.5))

    np.testing.assert_allclose(around(courant), [-0.5, 0.0, 0.5], atol=1e-6)
    np.testing.assert_allclose(around(lambda x: dp.Sphere((0.0,), 1.0).distance([x]) + 1.0), [-1, 0, 1], atol=1e-6)
    for other in (1.0, -1.0):  # of one sign twice the smaller slope, of two signs none
        slopes = around(lambda step, other=other: harmonic(step, jnp.asarray(other)))
        np.testing.assert_allclose(np.sort(slopes), [0.0, 0.0, 2.0], atol=1e-6)
        assert slopes[1] == 0.0
