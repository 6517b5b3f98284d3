"""Grids, shapes and sides: what they are and what they refuse."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp
from diffphys.grids import Extruded, parse_sides


pytestmark = pytest.mark.usefixtures("float64", "unchecked_types")

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    "words, settings",
    [
        ("cells", dict(cells=())),
        ("cells", dict(cells=(1, 2, 3, 4))),
        ("cells", dict(cells=(0, 4))),
        ("cells", dict(cells=(-3, 4))),
        ("cells", dict(cells=(4.5, 4))),
        ("cells", dict(cells=(True, 4))),
        ("cells", dict(cells=("a", 4))),
        ("cells", dict(cells=(NAN, 4))),
        ("cells", dict(cells=(INF, 4))),
        ("cells", dict(cells=8)),
        ("size", dict(size=(1.0,))),
        ("size", dict(size=(1.0, 0.0))),
        ("size", dict(size=(1.0, -2.0))),
        ("size", dict(size=(1.0, NAN))),
        ("size", dict(size=(1.0, "wide"))),
        ("size", dict(size=3.0)),
        ("origin", dict(origin=(0.0, INF))),
        ("origin", dict(origin=(0.0, None))),
    ],
)
def test_a_bad_grid_is_refused_by_name(words, settings):
    with pytest.raises(dp.InputError, match=words):
        dp.Grid(**(dict(cells=(4, 4)) | settings))


def test_a_place_needs_an_entry_for_each_axis():
    grid = dp.Grid((4, 4))
    for offset, periodic, words in (((0.0,), (False, False), "offset has 1"), ((0.0, 0.5), (False,), "periodic has 1")):
        with pytest.raises(dp.InputError, match=words):
            grid.coordinates(offset, periodic)


@pytest.mark.parametrize("x64", [False, True])
def test_known_centers_are_the_centers_to_the_last_bit(x64):
    """A cell whose center lies on an obstacle's surface must not change sides by who computed its place."""
    with jax.enable_x64(x64):
        for cells, size, origin in (
            ((7, 5), (0.7, 3.1), (0.3, -1.7)),
            ((33, 3, 6), (100.0, 1e-3, 0.1), (0.0, 1e4, 0.2)),
        ):
            uniform = dp.Grid(cells, size, origin)
            for grid in (uniform, uniform.with_edges(0, np.cumsum(1.0 + np.arange(cells[0] + 1) / 7))):
                for known, center in zip(grid.known_centers(), grid.centers(), strict=True):
                    assert known.dtype == center.dtype
                    np.testing.assert_array_equal(known, center)


def test_grids_are_equal_and_hashable_by_what_they_are():
    assert dp.Grid((4, 3)) == dp.Grid([np.int64(4), 3.0], (4, 3), (0, 0))  # pyright: ignore
    assert hash(dp.Grid((4, 3))) == hash(dp.Grid((4, 3), (4.0, 3.0)))
    assert dp.Grid((4, 3)) != dp.Grid((4, 3), (4.0, 3.1))
    assert dp.Grid((4, 6), (1.0, 3.0), (2.0, 5.0)).coarsened(2) == dp.Grid((2, 3), (1.0, 3.0), (2.0, 5.0))
    for factor in (0, -1, 3, 1.5):
        with pytest.raises(dp.InputError, match="factor"):
            dp.Grid((4, 6)).coarsened(factor)  # pyright: ignore


# Shapes --------------------------------------------------------------------------------------------------------------


def brute_force_distance(inside, point, points):
    """Signed distance to the nearest point of the other kind among many."""
    is_inside = inside(point[None])[0]
    others = points[inside(points) != is_inside]
    return (-1 if is_inside else 1) * np.linalg.norm(others - point, axis=1).min()


def test_distances_are_distances():
    lines = np.linspace(-2, 2, 401)
    points = np.stack(np.meshgrid(lines, lines, indexing="ij"), -1).reshape(-1, 2)
    for shape, inside in (
        (dp.Sphere((0.3, -0.2), 0.7), lambda p: np.linalg.norm(p - [0.3, -0.2], axis=1) <= 0.7),
        (dp.Box((-0.5, -1.0), (0.4, 0.8)), lambda p: np.all((p >= [-0.5, -1.0]) & (p <= [0.4, 0.8]), axis=1)),
    ):
        for point in np.random.default_rng(0).uniform(-1.5, 1.5, (25, 2)):
            found = float(shape.distance([jnp.asarray(number) for number in point]))
            exact = brute_force_distance(inside, point, points)
            if found > 0 or isinstance(shape, dp.Sphere):
                assert abs(found - exact) < 0.015
            else:  # within a box the nearest side counts
                assert exact - 0.015 < found <= 0 or abs(found - exact) < 0.015


def test_shapes_combine_as_sets():
    x, y = np.random.default_rng(1).uniform(-2, 2, (2, 500))
    ball, box = dp.Sphere((0.0, 0.0), 1.0), dp.Box((-0.2, -0.5), (INF, 0.5))
    in_ball, in_box = x**2 + y**2 <= 1, (x >= -0.2) & (y >= -0.5) & (y <= 0.5)
    points = (jnp.asarray(x), jnp.asarray(y))
    np.testing.assert_array_equal(ball.contains(points), in_ball)
    np.testing.assert_array_equal(box.contains(points), in_box)
    np.testing.assert_array_equal((ball | box).contains(points), in_ball | in_box)
    np.testing.assert_array_equal((ball & box).contains(points), in_ball & in_box)
    np.testing.assert_array_equal((ball & ~box).contains(points), in_ball & ~in_box)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_an_extruded_shape_is_its_cross_section_in_every_layer(axis):
    """Also where it repeats itself across, and its measure is the cross-section's times the length."""
    disk = dp.Sphere((0.95, 0.5), 0.2)
    column = Extruded(disk, axis)
    grid, layer = dp.Grid((6, 6, 6), (1.0, 1.0, 1.0)), dp.Grid((6, 6), (1.0, 1.0))
    for periodic in (False, True):
        for name in ("coverage", "volume_fractions"):
            found, expected = (
                jax.jit(partial(getattr(shape, name), cells, periodic))()
                for shape, cells in ((column, grid), (disk, layer))
            )
            assert float(jnp.max(expected)) > 0.5
            for one in jnp.moveaxis(found, axis, 0):
                np.testing.assert_allclose(one, expected, atol=2e-6 if name == "coverage" else 0.02)

    def volume(radius):
        return jnp.sum(Extruded(dp.Sphere((0.5, 0.5), radius), axis).volume_fractions(grid))

    slope = jax.jit(jax.grad(volume))(0.3)
    assert float(slope) / 6**3 == pytest.approx(2 * np.pi * 0.3, rel=0.05)


def test_coverage_is_a_differentiable_area():
    grid = dp.Grid((80, 60), (4.0, 3.0))

    def area(radius, x):
        return jnp.sum(dp.Sphere((x, 1.5), radius).coverage(grid)) * 0.05**2

    centers = 2.0 + 0.05 * jnp.linspace(0, 1, 20)  # the slope counts the cells on the surface: a mean of such counts
    values, slopes = jax.vmap(jax.value_and_grad(area), (None, 0))(0.9, centers)
    np.testing.assert_allclose(values, np.pi * 0.9**2, rtol=2e-3)
    np.testing.assert_allclose(slopes.mean(), 2 * np.pi * 0.9, rtol=1e-2)
    at_center = jax.grad(lambda center: dp.Sphere(center, 1.0).distance([jnp.asarray(1.0)] * 2))(jnp.ones(2))
    assert np.all(np.isfinite(at_center))


@pytest.mark.parametrize(
    "words, make",
    [
        ("radius", lambda: dp.Sphere((0.0, 0.0), 0.0)),
        ("radius", lambda: dp.Sphere((0.0, 0.0), NAN)),
        ("radius", lambda: dp.Sphere((0.0, 0.0), (1.0, 2.0))),
        ("radius", lambda: dp.Sphere((0.0, 0.0), None)),
        ("center", lambda: dp.Sphere((0.0, NAN), 1.0)),
        ("center", lambda: dp.Sphere("middle", 1.0)),
        ("center", lambda: dp.Sphere((0.0,), 1.0).coverage(dp.Grid((4, 3)))),
        ("lower", lambda: dp.Box((0.0,), (1.0, 2.0))),
        ("lower", lambda: dp.Box((0.0,), (1.0,)).coverage(dp.Grid((4, 3)))),
        ("upper", lambda: dp.Box((0.0, 0.0), (1.0, 0.0))),
        ("upper", lambda: dp.Box((0.0, 0.0), (1.0, NAN))),
        ("upper", lambda: dp.Box((0.0, 0.0), (1.0, -INF))),
        ("shape", lambda: Extruded(1.0, 2)),  # pyright: ignore[reportArgumentType] (refused)
        ("axis", lambda: Extruded(dp.Sphere((0.0, 0.0), 1.0), 3)),
        ("axis", lambda: Extruded(dp.Sphere((0.0,), 1.0), 2).coverage(dp.Grid((4, 3)))),
        ("value", lambda: dp.Dirichlet("one")),
        ("slope", lambda: dp.Neumann(None)),
        ("speed", lambda: dp.Inflow("fast")),
        ("velocity", lambda: dp.Wall("fast")),
    ],
)
def test_bad_shapes_and_sides_are_refused_by_name(words, make):
    with pytest.raises(dp.InputError, match=words):
        make()


# Sides ---------------------------------------------------------------------------------------------------------------


def test_every_way_to_write_sides_means_the_same():
    grid = dp.Grid((4, 3))
    wall, out = dp.Wall(), dp.Outflow()
    assert parse_sides(grid, wall) == ((wall, wall), (wall, wall))
    pairs = parse_sides(grid, dict(y=(wall, out), x=out))
    assert pairs == ((out, out), (wall, out))
    assert parse_sides(grid, pairs) == pairs
    assert parse_sides(grid, [out, (wall, out)]) == pairs


def test_an_axis_that_is_not_named_right_is_named_in_the_message():
    grid = dp.Grid((4, 3))
    with pytest.raises(dp.InputError, match="axis y"):
        parse_sides(grid, dict(x=dp.Wall()))
    with pytest.raises(dp.InputError, match="'z'"):
        parse_sides(grid, dict(x=dp.Wall(), y=dp.Wall(), z=dp.Wall()))
    with pytest.raises(dp.InputError, match="axis x is periodic at one end"):
        parse_sides(grid, dict(x=(dp.Periodic(), dp.Wall()), y=dp.Wall()))
