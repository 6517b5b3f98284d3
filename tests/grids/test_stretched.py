"""Grids whose cells are given by their edges."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp
from diffphys.grids import refined_edges, tanh_edges


pytestmark = pytest.mark.usefixtures("float64", "unchecked_types")

EDGES = np.array([0.0, 0.1, 0.4, 1.0, 1.2])


def test_edges_give_cells_sizes_widths_and_distances():
    grid = dp.Grid.from_edges([EDGES, [2.0, 2.5, 3.0]])
    assert grid.cells == (4, 2) and grid.size == (1.2, 1.0) and grid.origin == (0.0, 2.0)
    assert grid.uniform == (False, True)
    np.testing.assert_array_equal(grid.edges[0], EDGES)
    np.testing.assert_allclose(grid.edges[1], [2.0, 2.5, 3.0])
    np.testing.assert_allclose(grid.widths(0), [0.1, 0.3, 0.6, 0.2])
    np.testing.assert_allclose(grid.center_distances(0, False), [0.1, 0.2, 0.45, 0.4, 0.2])
    np.testing.assert_allclose(grid.center_distances(0, True), [0.15, 0.2, 0.45, 0.4])
    np.testing.assert_allclose(grid.volumes(), np.outer([0.1, 0.3, 0.6, 0.2], [0.5, 0.5]))
    x, y = grid.coordinates((0.5, 0.0), (False, False))
    np.testing.assert_allclose(x[:, 0], [0.05, 0.25, 0.7, 1.1])
    np.testing.assert_allclose(y[0], [2.0, 2.5, 3.0])
    x, _ = grid.coordinates((0.0, 0.5), (True, False))
    np.testing.assert_allclose(x[:, 0], EDGES[:-1])
    with pytest.raises(ValueError, match="read-only"):
        grid.widths(0)[0] = 1.0


def test_a_uniform_grid_is_what_it_was():
    grid = dp.Grid((4, 3), (2.0, 3.3), (1.0, -1.0))
    assert grid.uniform == (True, True) and grid.spacing == (0.5, 3.3 / 3)
    for axis in range(2):
        np.testing.assert_allclose(grid.widths(axis), grid.spacing[axis])
        assert np.diff(grid.edges[axis]) == pytest.approx(grid.widths(axis))
        assert set(grid.center_distances(axis, False)) == {grid.spacing[axis]}
        assert len(grid.center_distances(axis, True)) == grid.cells[axis]
    assert repr(grid) == "Grid(cells=(4, 3), size=(2.0, 3.3), origin=(1.0, -1.0))"


def test_equally_spaced_edges_make_a_uniform_axis():
    grid = dp.Grid.from_edges([np.linspace(-1.0, 2.0, 7), np.linspace(0, 1, 6, dtype=np.float32)])
    assert grid.uniform == (True, True) and grid == dp.Grid((6, 5), (3.0, 1.0), (-1.0, 0.0))
    bent = np.linspace(-1.0, 2.0, 7) + 1e-9 * np.array([0, 1, 0, 0, 0, 0, 0])
    assert dp.Grid.from_edges([bent]).uniform == (False,)


def test_stretched_grids_are_equal_hashable_and_coarsened():
    one, other = dp.Grid.from_edges([EDGES, EDGES]), dp.Grid.from_edges([list(EDGES), tuple(EDGES)])
    assert one == other and hash(one) == hash(other) and "stretched along x, y" in repr(one)
    assert one != dp.Grid((4, 4), (1.2, 1.2)) and one != one.with_edges(1, EDGES**2)
    assert dp.Grid((4, 3)).with_edges(0, EDGES) == dp.Grid.from_edges([EDGES, [0, 1, 2, 3]])
    assert one.coarsened(2) == dp.Grid.from_edges([[0.0, 0.4, 1.2]] * 2)
    traced = jax.jit(lambda field: field.grid.centers()[0])(dp.Field(jnp.zeros((4, 4)), one))
    np.testing.assert_allclose(traced[:, 0], [0.05, 0.25, 0.7, 1.1])


def test_a_grid_is_replaced_as_any_dataclass_is():
    """`dataclasses.replace` keeps edges that fit, and refuses to forget them."""
    uniform = dp.Grid((4, 3), (2.0, 3.3))
    assert dataclasses.replace(uniform, size=(1.0, 1.0)) == dp.Grid((4, 3), (1.0, 1.0))
    grid = dp.Grid.from_edges([EDGES, [2.0, 2.5, 3.0]])
    other = dataclasses.replace(grid, cells=(4, 8), origin=(0.0, 1.0))
    assert other == dp.Grid.from_edges([EDGES, np.linspace(1.0, 2.0, 9)])
    assert dp.Grid(grid.cells, grid.size, grid.origin, stretched=grid.stretched) == grid == grid.measured(1.0)
    np.testing.assert_array_equal(grid.measured(7.0).edges[0], EDGES / 7.0)
    assert dataclasses.replace(uniform, stretched=(None, np.linspace(0.0, 3.3, 4))) == uniform
    for change in ({"cells": (5, 2)}, {"size": (1.0, 1.0)}, {"origin": (0.5, 2.0)}, {"stretched": (EDGES * 2, None)}):
        with pytest.raises(dp.InputError, match="axis x has .* with_edges gives an axis others"):
            dataclasses.replace(grid, **change)
    for wrong in (3.0, (None,), "xy"):
        with pytest.raises(dp.InputError, match="stretched|edges"):
            dataclasses.replace(grid, stretched=wrong)


def test_what_was_written_for_uniform_grids_refuses():
    with pytest.raises(dp.InputError, match="axis y is stretched"):
        _ = dp.Grid((3, 4)).with_edges(1, EDGES).spacing


@pytest.mark.parametrize(
    "words, edges",
    [
        ("axis x.*shape", [[1.0]]),
        ("axis y.*shape", [EDGES, np.ones((2, 2))]),
        ("axis x.*0.3 to 0.3", [[0.0, 0.3, 0.3]]),
        ("axis x.*0.3 to 0.2", [[0.0, 0.3, 0.2]]),
        ("axis x.*finite", [[0.0, float("nan")]]),
        ("axis x.*increasing", [["a", "b"]]),
        ("one to three axes", []),
        ("one to three axes", 3.0),
    ],
)
def test_bad_edges_are_refused_by_name(words, edges):
    with pytest.raises(dp.InputError, match=words):
        dp.Grid.from_edges(edges)
    with pytest.raises(dp.InputError, match="axis is 2"):
        dp.Grid((3, 3)).widths(2)


def test_edges_that_are_traced_are_refused():
    with pytest.raises(dp.InputError, match="traced"):
        jax.jit(lambda edges: dp.Grid.from_edges([edges]).widths(0))(jnp.asarray(EDGES))


@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_ghost_values_continue_a_straight_line(offset):
    """As on uniform grids: mirror images at the distances of what they mirror."""
    grid = dp.Grid.from_edges([EDGES])
    line = dp.Field(jnp.zeros(5 if offset == 0 else 4), grid, (offset,)).coordinates()[0]
    inner = np.asarray(line) if offset else np.asarray(line)[1:-1]
    beyond = [(2 * EDGES[0] - inner)[1::-1], (2 * EDGES[-1] - inner)[:-3:-1]]
    for ends in ((dp.Neumann(-1.5), dp.Dirichlet(0.3 + 1.5 * 1.2)), (dp.Dirichlet(0.3), dp.Neumann(1.5))):
        field = dp.Field(0.3 + 1.5 * line, grid, (offset,), (ends,))
        expected = 0.3 + 1.5 * np.concatenate([beyond[0], line, beyond[1]])
        np.testing.assert_allclose(field.padded([(2, 2)]), expected, atol=1e-14)


# Making edges --------------------------------------------------------------------------------------------------------


def test_tanh_edges_are_narrow_where_they_should_be():
    edges = tanh_edges(16, -1.0, 3.0, 1.5)
    widths = np.diff(edges)
    assert edges[0] == -1.0 and edges[-1] == 3.0 and np.all(widths > 0)
    np.testing.assert_allclose(widths, widths[::-1])
    many = np.diff(tanh_edges(4001, 0.0, 1.0, 1.5))
    np.testing.assert_allclose(many[2000] / many[0], np.cosh(1.5) ** 2, rtol=2e-3)
    for toward, order in (("lower", 1), ("upper", -1)):
        assert np.all(np.diff(np.diff(tanh_edges(16, 0.0, 1.0, 2.0, toward))[::order]) > 0)


@pytest.mark.parametrize("around", [0.0, 0.7, 2.5, 4.0])
def test_refined_edges_are_narrowest_around_a_point(around):
    edges = refined_edges(41, 0.0, 4.0, around, 5.0)
    widths = np.diff(edges)
    narrowest = int(np.argmin(widths))
    assert edges[0] == 0.0 and edges[-1] == 4.0 and np.all(widths > 0)
    assert edges[max(narrowest - 1, 0)] <= around <= edges[min(narrowest + 2, 41)]
    assert np.all(np.diff(widths[: narrowest + 1]) < 1e-14) and np.all(np.diff(widths[narrowest:]) > -1e-14)
    assert np.max(widths[1:] / widths[:-1]) < 1.3  # smooth


@pytest.mark.parametrize(
    "words, make",
    [
        ("cells", lambda: tanh_edges(0, 0.0, 1.0)),
        ("cells", lambda: tanh_edges(2.5, 0.0, 1.0)),  # pyright: ignore
        ("lower", lambda: tanh_edges(4, 1.0, 1.0)),
        ("strength", lambda: tanh_edges(4, 0.0, 1.0, 0.0)),
        ("toward", lambda: tanh_edges(4, 0.0, 1.0, 1.0, "left")),
        ("around", lambda: refined_edges(4, 0.0, 1.0, 2.0)),
    ],
)
def test_bad_arguments_are_refused_by_name(words, make):
    with pytest.raises(dp.InputError, match=words):
        make()
