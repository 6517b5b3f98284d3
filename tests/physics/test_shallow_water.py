"""Shallow water: lakes at rest, bores, smooth waves, dry ground, rotation."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp
from diffphys.operators.advection.reconstruction import limited_sides
from diffphys.stepping import ImplicitExplicit, RungeKutta
from diffphys.verification.convergence import advanced
from diffphys.verification.shallow_water import simple_wave, stoker
from tests.gradients import check_derivatives


pytestmark = pytest.mark.usefixtures("float64")


def test_a_lake_at_rest_stays_and_a_flood_over_dry_ground_is_finite_positive_and_keeps_its_volume():
    """With islands, shores and ponds of one cell, on a plane that turns, between walls and a periodic axis."""
    bottom = 1.5 * np.random.default_rng(0).random((12, 9))
    sides = dict(x=dp.Wall(), y=dp.Periodic())
    water = dp.ShallowWater(
        dp.Grid((12, 9), (1.2, 0.9)), 0.004, sides, bottom=bottom, coriolis=2.0, stepping=RungeKutta(2)
    )
    lake = water.initial_state(1.0)
    rest = advanced(water, lake, 40)
    assert 0.2 < (lake.depth.values == 0).mean() < 0.6
    np.testing.assert_allclose(rest.depth.values, lake.depth.values, atol=1e-14)
    assert max(abs(part.values).max() for part in rest.momentum) < 1e-13

    start = water.initial_state(np.where(np.arange(12)[:, None] < 4, 2.0, 0.0) * np.ones((12, 9)))
    state = start
    for _ in range(40):
        state = advanced(water, state, 5)
        assert water.courant_number(state) < 0.5 and state.depth.values.min() >= -1e-15
        np.testing.assert_allclose(state.depth.values.sum(), start.depth.values.sum(), rtol=1e-13)
    assert all(np.all(np.isfinite(part.values)) for part in state.momentum)
    assert (state.depth.values > 1e-6).sum() > 1.5 * (start.depth.values > 0).sum()


def test_no_momentum_gathers_where_water_comes_and_goes():
    """A film as deep as `dry` beside a pond: pushed on for long, it must not shoot away when it has become deeper."""
    water = dp.ShallowWater(dp.Grid((4,)), 0.01, (dp.Wall(),), bottom=[0.0, 0.5, 0.5, 0.5], dry=1e-3)
    start = water.initial_state(np.array([0.4, 0.5009, 0.5009, 0.5009]))
    pushed = start._replace(momentum=(start.momentum[0].with_values(jnp.asarray([0.0, 0.1, 0.1, 0.1])),))
    final = water(pushed)
    assert np.all(final.momentum[0].values[1:] == 0)
    np.testing.assert_array_equal(final.depth.values, water(start).depth.values)


def test_an_open_side_lets_a_hump_out_and_the_lake_behind_it_at_rest():
    water = dp.ShallowWater(dp.Grid((20,), (1.0,)), 0.004, (dp.Open(),), bottom=0.5 * np.linspace(0, 1, 20) ** 2)
    lake = water.initial_state(1.0)
    humped = water.initial_state(1.0 + 0.05 * np.exp(-((np.linspace(-1, 1, 20) / 0.2) ** 2)))
    for start, left in ((lake, 1e-14), (humped, 1e-3)):
        end = advanced(water, start, 400)
        np.testing.assert_allclose(end.depth.values, lake.depth.values, atol=left)


def test_a_dam_break_converges_to_the_solution_of_stoker():
    """A bore and a fan: of first order in the mean at best; wet ahead, and over dry ground (Ritter)."""
    errors = {0.3: [], 0.0: []}
    for count in (50, 150):
        grid = dp.Grid((count,), (20.0,), origin=(-10.0,))
        x = np.asarray(grid.centers()[0])
        water = dp.ShallowWater(grid, 1.2 / count, (dp.Open(),))
        for ahead, found in errors.items():
            final = advanced(water, water.initial_state(np.where(x < 0, 1.0, ahead)), count)
            depth, velocity = stoker(x, 1.2, 1.0, ahead)
            differences = final.depth.values - depth, final.momentum[0].values - depth * velocity
            found.append([np.abs(one).mean() for one in differences])
    for coarse, fine in errors.values():
        orders = np.log(np.divide(coarse, fine)) / np.log(3)
        assert np.all(orders > 0.7) and fine[0] < 0.005, (errors, orders)


def test_a_wave_that_is_not_small_converges_to_second_order_before_it_breaks():
    """The simple wave `v = 2 (c - c0)`: each value of `c` moves with `3 c - 2 c0`."""
    errors = []
    for count in (50, 100):
        water = dp.ShallowWater(dp.Grid((count,), (1.0,)), 0.1 / count, (dp.Periodic(),), stepping=RungeKutta(2))
        x = (np.arange(count) + 0.5) / count
        depth, velocity = simple_wave(x, 0.0, 0.05)
        final = advanced(water, water.initial_state(depth, (velocity,)), count)
        errors.append(np.abs(final.depth.values - simple_wave(x, 0.1, 0.05)[0]).mean())
    assert abs(np.log2(errors[0] / errors[1]) - 2) < 0.2, errors


def test_axes_are_alike():
    """The rate of a state whose axes are exchanged is the rate with its axes exchanged, and rotation turns back."""
    random = np.random.default_rng(2)
    depth, bottom, u, v = random.random((4, 5, 4))
    sides = dict(x=dp.Wall(), y=(dp.Open(), dp.Wall()))
    swapped = dict(x=sides["y"], y=sides["x"])
    one = dp.ShallowWater(dp.Grid((5, 4)), 0.1, sides, bottom, coriolis=0.7)
    other = dp.ShallowWater(dp.Grid((4, 5)), 0.1, swapped, bottom.T, coriolis=-0.7)
    rate = eqx.filter_jit(lambda water, state: water.rate(0.0, state, None))
    found = rate(one, one.initial_state(depth + bottom, (u, v)))
    expected = rate(other, other.initial_state((depth + bottom).T, (v.T, u.T)))
    for first, second in zip(found.momentum, expected.momentum[::-1], strict=True):
        np.testing.assert_allclose(first.values, second.values.T, atol=1e-13)
    np.testing.assert_allclose(found.depth.values, expected.depth.values.T, atol=1e-13)


def test_rotation_turns_a_uniform_flow_and_balances_a_slope_of_the_surface():
    """Inertial circles, exact to the order of the method; and a jet in geostrophic balance that hardly changes."""
    changes = []
    for count in (16, 32):
        grid = dp.Grid((count, 2), (2 * np.pi, 1.0))
        water = dp.ShallowWater(grid, 0.5 / count, dp.Periodic(), gravity=1.0, coriolis=2.0, stepping=RungeKutta(2))
        x = grid.centers()[0] + jnp.zeros((1, 2))
        start = water.initial_state(2.0 + 0.2 * jnp.cos(x), (0.0, -0.1 * jnp.sin(x)))  # g dh/dx = f v
        final = advanced(water, start, 2 * count)
        changes.append(np.abs(final.depth.values - start.depth.values).mean())
    assert np.log2(changes[0] / changes[1]) > 1.7 and changes[1] < 2e-3, changes
    final = advanced(water, water.initial_state(2.0, (0.3, 0.1)), 2 * count)  # for a time of 1
    turned = np.array([[np.cos(2), np.sin(2)], [-np.sin(2), np.cos(2)]]) @ [0.6, 0.2]
    for part, value in zip(final.momentum, turned, strict=True):
        np.testing.assert_allclose(part.values, value, atol=1e-3)


def test_between_walls_a_state_and_its_mirror_image_are_one_and_nothing_passes():
    """A box with walls is half of a periodic box whose halves mirror each other."""
    random = np.random.default_rng(1)
    depth, u, v, bottom = 1 + 0.2 * random.random((4, 6, 4))

    def mirrored(values, sign=1.0):
        return np.concatenate([values, sign * values[::-1]])

    sides = dict(x=dp.Wall(), y=dp.Periodic())
    euler = RungeKutta(1)
    box = dp.ShallowWater(dp.Grid((6, 4), (6.0, 4.0)), 0.05, sides, bottom - 1, stepping=euler)
    whole = dp.ShallowWater(dp.Grid((12, 4), (12.0, 4.0)), 0.05, dp.Periodic(), mirrored(bottom - 1), stepping=euler)
    start = box.initial_state(depth, (u - 1.1, v - 1.1))
    double = whole.initial_state(mirrored(depth), (mirrored(u - 1.1, -1.0), mirrored(v - 1.1)))
    half, both = advanced(box, start, 5), advanced(whole, double, 5)
    for one, other in zip((half.depth, *half.momentum), (both.depth, *both.momentum), strict=True):
        np.testing.assert_allclose(one.values, other.values[:6], atol=1e-13)
    np.testing.assert_allclose(half.depth.values.sum(), start.depth.values.sum(), rtol=1e-14)


def test_limited_sides_are_exact_for_lines_bounded_and_of_second_order():
    grid = dp.Grid((8,), (4.0,))
    random = dp.Field(
        jnp.asarray(np.random.default_rng(0).random(8)), grid, conditions=((dp.Periodic(), dp.Periodic()),)
    )
    below, above = limited_sides(random, 0)
    assert below.shape == above.shape == (9,) and below[0] == below[-1] and above[0] == above[-1]
    values = np.asarray(random.values)
    for side, cells in ((below[1:], values), (above[:-1], values)):
        around = np.stack([np.roll(cells, 1), cells, np.roll(cells, -1)])
        assert np.all(side >= around.min(0) - 1e-15) and np.all(side <= around.max(0) + 1e-15)
    line = dp.Field(3 - 2 * grid.centers()[0], grid, conditions=((dp.Neumann(2.0), dp.Neumann(-2.0)),))
    for side in limited_sides(line, 0):
        np.testing.assert_allclose(side, 3 - 2 * grid.edges[0], rtol=1e-14)


@pytest.mark.parametrize("order", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_derivatives_also_beside_dry_ground(order, key):
    """With respect to the state, the bottom, gravity, rotation and dt; two cells are dry."""
    random = np.random.default_rng(3)
    bottom = 0.3 * random.random((4, 3))
    bottom[1, 1] = bottom[2, 0] = 2.0
    sides = dict(x=dp.Wall(), y=dp.Periodic())
    water = dp.ShallowWater(dp.Grid((4, 3)), 0.02, sides, bottom, 9.0, 0.5, stepping=RungeKutta(order))
    start = water.initial_state(1 + 0.2 * random.random((4, 3)), tuple(0.3 * random.standard_normal((2, 4, 3))))
    depth, momentum = start.depth.values, tuple(part.values for part in start.momentum)
    wet = depth > 0

    def stepped(given):
        water, depth, momentum = given
        state = start._replace(depth=start.depth.with_values(jnp.where(wet, depth, 0.0)))
        parts = tuple(
            part.with_values(jnp.where(wet, q, 0.0)) for part, q in zip(state.momentum, momentum, strict=True)
        )
        state = state._replace(momentum=parts)
        return water(state), water.courant_number(state)

    check_derivatives(stepped, (water, depth, momentum), key, second=order == 3)


@pytest.mark.usefixtures("unchecked_types")
def test_bad_input_is_refused_by_name():
    grid = dp.Grid((4, 3))
    good = dict(dt=0.1, sides=dp.Wall())
    for words, settings in (
        ("ShallowWater: dt is 0", dict(dt=0.0)),
        ("ShallowWater: gravity is 0", dict(gravity=0.0)),
        ("ShallowWater: dry is -1", dict(dry=-1.0)),
        (r"ShallowWater: bottom has shape \(3, 4\)", dict(bottom=np.ones((3, 4)))),
        ("ShallowWater: bottom is NaN", dict(bottom=np.full((4, 3), np.nan))),
        ("ShallowWater: stepping is ImplicitExplicit", dict(stepping=ImplicitExplicit(2))),
        ("ShallowWater: sides has Inflow", dict(sides=dict(x=(dp.Inflow(1.0), dp.Open()), y=dp.Wall()))),
        ("sides: nothing is said of axis y", dict(sides=dict(x=dp.Wall()))),
        ("one or two uniform axes", dict(grid=dp.Grid((2, 2, 2)))),
        ("stretched along x", dict(grid=grid.with_edges(0, [0.0, 1.0, 3.0]))),
        ("coriolis is given on a line", dict(grid=dp.Grid((4,)), coriolis=1.0)),
    ):
        with pytest.raises(dp.InputError, match=words):
            dp.ShallowWater(**(dict(grid=grid) | good | settings))  # pyright: ignore
    water = dp.ShallowWater(grid, **good)  # pyright: ignore
    for words, given in (
        ("surface has shape", (np.ones(3),)),
        (r"velocity\[1\] has shape", (1.0, (0.0, np.ones(2)))),
        ("velocity has 3 components", (1.0, (0.0, 0.0, 0.0))),
    ):
        with pytest.raises(dp.InputError, match=words):
            water.initial_state(*given)  # pyright: ignore
