"""What an end does: each fact of the table against functions of the continuum that have these ends."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from diffphys.grids import Dirichlet, Field, Ghost, Grid, Neumann, Periodic
from diffphys.grids.ends import (
    ENDS,
    image,
    lengths_beside,
    lengths_beyond,
    places_beyond,
    values_beside,
    with_even_images,
    with_last_value,
)


CELLS = 5
PAIRS = list(itertools.product(ENDS, repeat=2))
CONDITIONS = {"neumann": Neumann(), "dirichlet": Dirichlet(), "ghost": Ghost()}


def function_with(kinds):
    """A smooth function that has these ends with zeros in them, and its derivative; the side below is at 0, a cell is
    of width 1."""
    places = [0.0 if kind != "ghost" else -0.5 for kind in kinds]
    start, length = places[0], CELLS - places[0] - places[1]
    even = [kind == "neumann" for kind in kinds]
    # Of all sines and cosines between the two mirrors the third that fits.
    waves = 2.0 if even[0] == even[1] else 2.5
    rate, phase = np.pi * waves / length, np.pi / 2 if even[0] else 0.0
    return (
        lambda x: np.sin(rate * (x - start) + phase),
        lambda x: rate * np.cos(rate * (x - start) + phase),
    )


@pytest.mark.parametrize("kinds", PAIRS)
def test_images_continue_the_functions_that_fit(kinds):
    value, slope = function_with(kinds)
    for centers, function in ((True, value), (False, slope)):
        points = np.arange(CELLS) + 0.5 if centers else np.arange(CELLS + 1.0)
        shift, values = points[0], function(points)
        for place in (-4, -3, -2, -1, len(points), len(points) + 1, len(points) + 2):
            index, sign = image(place, len(points), kinds, centers=centers)
            assert sign * values[index] == pytest.approx(function(place + shift), abs=1e-12)


@pytest.mark.parametrize("kinds", PAIRS)
def test_weights_of_faces_are_those_of_the_slopes(kinds):
    value, _ = function_with(kinds)
    centers = value(np.arange(CELLS) + 0.5)
    for end, (inner, beyond) in enumerate(((0.5, -0.5), (CELLS - 0.5, CELLS + 0.5))):
        fall = value(inner) - value(beyond)
        assert ENDS[kinds[end]].weight * value(inner) == pytest.approx(fall, abs=1e-12)
    below, above = values_beside(centers, 0, kinds)
    assert below[0] == pytest.approx(value(-0.5), abs=1e-12)
    assert above[-1] == pytest.approx(value(CELLS + 0.5), abs=1e-12)


@pytest.mark.parametrize("kind", ENDS)
def test_what_an_end_leaves_open(kind):
    """A constant fits where the slope is zero only; a point on the side is no unknown where its value is given."""
    assert ENDS[kind].anchors == (kind != "neumann")
    assert ENDS[kind].fixes_points == (kind == "dirichlet")


@pytest.mark.parametrize("kind", ENDS)
def test_ghost_points_of_fields_are_the_images(kind):
    grid, values = Grid(cells=(CELLS,), size=(1.0,)), np.random.default_rng(0).normal(size=CELLS)
    padded = Field(jnp.asarray(values), grid, conditions=((CONDITIONS[kind],) * 2,)).padded([(1, 1)])
    for place in (-1, CELLS):
        index, sign = image(place, CELLS, (kind, kind), centers=True)
        assert float(padded[place + 1]) == pytest.approx(sign * values[index], rel=1e-6)


def test_images_of_a_periodic_axis_lie_one_period_away():
    kinds, values = ("periodic", "periodic"), np.arange(5.0)
    assert [image(place, 5, kinds, centers=True) for place in (-2, 5, 6)] == [(3, 1), (0, 1), (1, 1)]
    below, above = values_beside(values, 0, kinds)
    np.testing.assert_array_equal(below, np.roll(values, 1))
    np.testing.assert_array_equal(above, values)
    below, above = values_beside(values, 0, kinds, twice=True)
    np.testing.assert_array_equal(below, values[[4, 0, 1, 2, 3, 4]])
    np.testing.assert_array_equal(above, values[[0, 1, 2, 3, 4, 0]])
    padded = Field(jnp.asarray(values), Grid((5,), (1.0,)), conditions=((Periodic(), Periodic()),)).padded([(1, 1)])
    np.testing.assert_array_equal(padded, values[[4, 0, 1, 2, 3, 4, 0]])


@pytest.mark.parametrize("periodic", [False, True])
def test_lengths_beyond_are_the_distances_of_places_beyond(periodic):
    edges = np.array([1.0, 1.2, 1.7, 3.0, 3.3])
    widths, faces = np.diff(edges), edges[:-1] if periodic else edges
    around = places_beyond(faces, edges, periodic, 2)
    ends = around if not periodic else np.append(around, around[-1] + lengths_beyond(widths, True, 2)[-1])
    np.testing.assert_allclose(np.diff(ends)[: len(widths) + 4], lengths_beyond(widths, periodic, 2))
    below, above = lengths_beside(widths, periodic)
    centers = places_beyond((edges[1:] + edges[:-1]) / 2, edges, periodic)
    np.testing.assert_allclose((below + above) / 2, np.diff(centers)[: len(below)])


def test_images_of_arrays():
    values = jnp.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(with_even_images(values, 1, (2, 1)), values[:, np.array([1, 0, 0, 1, 2, 2])])
    for whole in (np.asarray(values), values):
        around = with_even_images(whole, 1, (1, 2), periodic=True)
        np.testing.assert_array_equal(around, values[:, np.array([2, 0, 1, 2, 0, 1])])
        about_points = with_even_images(whole, 1, (2, 1), on_sides=True)
        np.testing.assert_array_equal(about_points, values[:, np.array([2, 1, 0, 1, 2, 1])])
    np.testing.assert_array_equal(with_last_value(values, 0, (0, 2)), values[np.array([0, 1, 1, 1])])
