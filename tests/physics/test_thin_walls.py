"""What is behind a wall of one cell changes nothing in front of it: in every scheme, for velocity and scalars alike."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp
from diffphys.grids import Shape
from diffphys.operators.advection.beside_closed import open_faces
from diffphys.operators.advection.semi_lagrangian import around_corners, carried_velocity, upstream_path
from diffphys.operators.obstructed import points_near


pytestmark = pytest.mark.usefixtures("float64")

GRID = dp.Grid((10, 8), (10.0, 8.0))


class Aslant(Shape):
    """A plate along the diagonal of the cells, as many of them thick."""

    thickness: int = 1

    def distance(self, points):
        return abs(points[0] - points[1] - 1.0 - 0.5 * (self.thickness - 1)) - 0.5 * self.thickness + 0.1


WALLS = {
    "straight": dp.Box((4.0, -1.0), (5.0, 9.0)),
    "straight, two cells": dp.Box((4.0, -1.0), (6.0, 9.0)),
    "aslant": Aslant(),
    "aslant, two cells": Aslant(2),
}
STEPS: dict[str, dict[str, Any]] = dict(
    linear=dict(advection=dp.SemiLagrangian()),
    shifts=dict(advection=dp.SemiLagrangian(3)),
    cubic=dict(advection=dp.CubicSemiLagrangian()),
    limited=dict(advection=dp.CubicSemiLagrangian(limited=True)),
    MacCormack=dict(advection=dp.MacCormack()),
    unlimited=dict(advection=dp.MacCormack(limited=False)),
    upwind=dict(advection=dp.Upwind()),
    van_leer=dict(advection=dp.VanLeer()),
    central=dict(advection=dp.SkewSymmetric()),
    upwind_stages=dict(advection=dp.Upwind(), stepping=dp.RungeKutta(2)),
    van_leer_stages=dict(advection=dp.VanLeer(), stepping=dp.RungeKutta(3)),
    stages=dict(stepping=dp.RungeKutta(4)),
    order_4=dict(advection=dp.SkewSymmetric(4), stepping=dp.RungeKutta(3)),
    implicit=dict(stepping=dp.ImplicitExplicit(3)),
    implicit_van_leer=dict(advection=dp.VanLeer(), stepping=dp.ImplicitExplicit(2)),
    piso=dict(stepping=dp.PISO(tolerance=1e-13)),
    piso_2=dict(stepping=dp.PISO(order=2, tolerance=1e-13)),
)
LONG = ("linear", "shifts", "cubic", "limited", "MacCormack", "unlimited")  # steps of any length
ITERATED = ("order_4", "implicit", "implicit_van_leer", "piso", "piso_2")


def sides_of_a_wall(cells):
    """The cells on the two sides, and those of the wall itself."""
    i, j = np.indices(cells.shape)
    lower = ~cells & (np.cumsum(cells, 0) == 0)
    return lower & ~cells, ~lower & ~cells


def faces_of(cells, axis):
    """The faces of these cells."""
    grown = np.pad(cells, [(1, 1) if a == axis else (0, 0) for a in range(2)])
    return grown.take(range(1, grown.shape[axis]), axis) | grown.take(range(grown.shape[axis] - 1), axis)


QUICK = [("MacCormack", "aslant"), ("van_leer", "aslant")]
ALL = [(name, wall) for name in STEPS for wall in WALLS]
CASES = [*QUICK, *[pytest.param(*case, marks=pytest.mark.slow) for case in ALL if case not in QUICK]]


@pytest.mark.parametrize(("name", "wall"), CASES)
def test_nothing_behind_a_wall_is_seen(name, wall):
    """Three steps from two states that differ behind the wall and in it; the difference does show behind it."""
    dye = {} if "piso" in name else {"dye": dp.PassiveScalar(0.05)}
    flow = dp.IncompressibleFlow(
        GRID, 0.05, 1.0 if name in LONG else 0.2, dp.Wall(), solid=WALLS[wall], scalars=dye, **STEPS[name]
    )
    before, behind = sides_of_a_wall(flow.solid.cells)
    generator = np.random.default_rng(0)

    def state(seed):
        other = np.random.default_rng(seed)
        velocity = []
        for axis, part in enumerate(flow.initial_state().velocity):
            own = np.random.default_rng(7 + axis).uniform(-2, 2, part.shape)
            velocity.append(np.where(faces_of(before, axis), own, other.uniform(-2, 2, part.shape)))
        scalar = np.where(before, generator.random(GRID.cells), other.random(GRID.cells))
        return velocity, {name: scalar for name in dye}

    @jax.jit
    def run(velocity, scalars):
        return dp.rollout(flow, flow.initial_state(velocity, scalars), 3)[0]

    generator = np.random.default_rng(0)
    one = run(*state(1))
    generator = np.random.default_rng(0)
    two = run(*state(2))
    bound = 1e-9 if name in ITERATED else 1e-12
    for axis, (a, b) in enumerate(zip(one.velocity, two.velocity, strict=True)):
        seen = faces_of(before, axis)
        np.testing.assert_allclose(a.values[seen], b.values[seen], atol=bound)
        assert np.max(np.abs(a.values - b.values)) > 1e-3
    for dye in one.scalars:
        a, b = (state.scalars[dye].values for state in (one, two))
        np.testing.assert_allclose(a[before], b[before], atol=bound)
        assert np.max(np.abs(a - b)[behind]) > 1e-3


@pytest.mark.slow
def test_a_thick_wall_is_carried_as_published_and_by_both_forms():
    """Where no path is long enough to see through it, as if no wall could be seen through."""
    flow = dp.IncompressibleFlow(GRID, 0.05, 0.2, dp.Wall(), solid=dp.Box((3.0, 2.0), (7.0, 6.0)))
    draw = np.random.default_rng(0)
    velocity = [part.with_values(draw.uniform(-2, 2, part.shape)) for part in flow.initial_state().velocity]
    closed, scheme = flow.solid.cells, dp.SemiLagrangian(1)
    held = [part.with_values(part.values * open_faces(part, closed)) for part in velocity]
    carried = carried_velocity(scheme, velocity, held, 0.2, closed)
    for part, by_shifts, by_gathers in zip(
        velocity, carried, carried_velocity(dp.SemiLagrangian(), velocity, held, 0.2, closed), strict=True
    ):
        np.testing.assert_array_equal(by_shifts.values, scheme.carry(part, velocity, 0.2).values)
        np.testing.assert_allclose(by_gathers.values, by_shifts.values, atol=1e-13)


BOX = dp.Grid((6, 6, 6), (6.0, 6.0, 6.0))


class AslantAlongAll(Shape):
    """A plate of one cell in three dimensions, whose cells have indices of the same sum."""

    def distance(self, points):
        return abs(points[0] + points[1] + points[2] - 7.5) - 0.6


@pytest.mark.slow
@pytest.mark.parametrize("largest_courant", [None, 1])
def test_a_corner_behind_a_wall_aslant_along_all_axes_is_not_read(largest_courant):
    """The eight points around an upstream place reach behind it, where the way to that place is free."""
    flow = dp.IncompressibleFlow(BOX, 0.05, 0.1, dp.Wall(), solid=AslantAlongAll())
    closed, scheme = flow.solid.cells, dp.SemiLagrangian(largest_courant)
    behind = (np.indices(BOX.cells).sum(0) > 6) & ~closed
    draw = np.random.default_rng(0)
    front = [part.with_values(draw.uniform(-1, 1, part.shape)) for part in flow.initial_state().velocity]
    front = [part.with_values(part.values * open_faces(part, closed)) for part in front]
    hidden = [points_near(part, behind, 0) & np.asarray(open_faces(part, closed), bool) for part in front]
    other = [part.with_values(part.values + away) for part, away in zip(front, hidden, strict=True)]
    carry = jax.jit(lambda velocity: [scheme.carry(part, velocity, 0.6, closed).values for part in velocity])
    seen = 0.0
    for one, changed, away, part in zip(carry(front), carry(other), hidden, front, strict=True):
        visible = ~away & np.asarray(open_faces(part, closed), bool)
        np.testing.assert_array_equal(one[visible], changed[visible])
        plain = scheme.carry(part, front, 0.6).values
        seen = max(seen, float(np.max(np.abs(one - plain)[visible])))
    assert seen > 1e-3  # the look-up over all eight points is another one there


def test_without_the_far_corner_a_linear_field_is_carried_alike():
    flow = dp.IncompressibleFlow(BOX, 0.05, 0.1, dp.Wall(), solid=AslantAlongAll())
    wind = [part.with_values(np.full(part.shape, speed)) for part, speed in
            zip(flow.initial_state().velocity, (0.3, -0.2, 0.5), strict=True)]  # fmt: skip
    x, y, z = wind[0].coordinates()
    field = wind[0].with_values(jnp.broadcast_to(x - 2 * y + 0.5 * z, wind[0].shape))
    plain = jax.jit(dp.SemiLagrangian().carry)(field, wind, 0.6)
    found = around_corners(plain, field, upstream_path(field, wind, 0.6), flow.solid.cells)
    within = (slice(1, -1),) * 3
    np.testing.assert_allclose(found.values[within], plain.values[within], atol=1e-14)
