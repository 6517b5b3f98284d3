"""From centers to faces and back: what a round trip keeps, and orders of accuracy."""

import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp
from diffphys.grids import center_offset, face_offset, tanh_edges
from diffphys.operators import centers_to_faces, convert, faces_to_centers, interpolate
from tests.gradients import check_derivatives


pytestmark = pytest.mark.usefixtures("float64")

PERIODIC = (dp.Periodic(), dp.Periodic())


@pytest.mark.parametrize("cells", [(8,), (7,), (1,), (2,), (6, 5), (4, 3, 5)])
def test_a_round_trip_on_periodic_axes_loses_nothing(cells):
    grid = dp.Grid(cells, [0.7 * count for count in cells])
    conditions = (PERIODIC,) * len(cells)
    generator = np.random.default_rng(0)
    faces = tuple(
        dp.Field(generator.standard_normal(cells), grid, face_offset(grid, axis), conditions)
        for axis in range(len(cells))
    )
    centers = faces_to_centers(faces)
    for start, back in zip(faces, centers_to_faces(centers), strict=True):
        assert back.offset == start.offset
        np.testing.assert_allclose(back.values, start.values, rtol=0, atol=1e-14)
    for start, back in zip(centers, faces_to_centers(centers_to_faces(centers)), strict=True):
        np.testing.assert_allclose(back.values, start.values, rtol=0, atol=1e-14)
    if cells == (8,):  # while the mean of two neighbors loses sin^2(pi k / N) of each wave
        x = np.asarray(faces[0].coordinates()[0]) / grid.size[0]
        wave = faces[0].with_values(np.cos(2 * np.pi * 2 * x))
        lost = wave.values - interpolate(interpolate(wave, (0.5,)), (0.0,)).values
        np.testing.assert_allclose(lost, np.sin(np.pi * 2 / 8) ** 2 * wave.values, atol=1e-14)


def test_resolved_periodic_data_are_shifted_exactly():
    """Every wave below the highest, at its true values in between; the highest keeps its size."""
    for count in (8, 7):
        grid = dp.Grid((count,), (1.0,))
        centers, faces = (np.asarray(grid.coordinates((place,), (True,))[0]) for place in (0.5, 0.0))
        for wave in range((count + 1) // 2):
            for phase in (0.0, 0.7):
                on_faces = dp.Field(np.cos(2 * np.pi * wave * faces + phase), grid, (0.0,), (PERIODIC,))
                exact = np.cos(2 * np.pi * wave * centers + phase)
                np.testing.assert_allclose(convert(on_faces, (0.5,)).values, exact, atol=1e-14)
        if count % 2 == 0:
            highest = dp.Field((-1.0) ** np.arange(count), grid, (0.0,), (PERIODIC,))
            np.testing.assert_allclose(np.abs(convert(highest, (0.5,)).values), 1.0, atol=1e-14)


def test_single_precision_keeps_its_digits():
    """A round trip of rough data at 256 cells is right to a few units of the last place, as a matrix of the shift,
    which sums 256 products of size one, is not.
    """
    count = 256
    grid = dp.Grid((count,), (1.0,))
    values = np.random.default_rng(0).standard_normal(count)
    given = dp.Field(jnp.asarray(values, jnp.float32), grid, (0.0,), (PERIODIC,))
    waves = np.fft.rfftfreq(count, 1 / count)
    phase = np.exp(1j * np.pi * waves / count)
    phase[-1] = 1.0
    exact = np.fft.irfft(phase * np.fft.rfft(np.asarray(given.values, np.float64)), count)
    unit = np.finfo(np.float32).eps * np.abs(values).max()
    assert np.abs(np.asarray(convert(given, (0.5,)).values) - exact).max() < 1.5 * unit


@pytest.mark.parametrize("kind", ["bounded", "stretched", "stretched periodic"])
def test_other_axes_are_of_high_order(kind):
    """Sixth within, fourth next to the ends; up to the boundary, with values fixed there and without."""
    errors = {"to faces": [], "inner to faces": [], "to centers": [], "round trip": []}
    for count in (32, 64):
        line = np.linspace(0.0, 1.0, count + 1)
        edges = {
            "bounded": line,
            "stretched": tanh_edges(count, 0.0, 1.0, 0.6),
            "stretched periodic": line + 0.2 * np.sin(2 * np.pi * line) / (2 * np.pi),
        }[kind]
        grid = dp.Grid.from_edges([edges])
        periodic = kind == "stretched periodic"

        def function(x, periodic=periodic):
            return np.exp(np.sin(2 * np.pi * x)) if periodic else np.exp(1.3 * np.sin(2 * x + 0.4))

        pair = PERIODIC if periodic else (dp.Dirichlet(function(0.0)), dp.Neumann())
        x, faces = (np.asarray(grid.coordinates((place,), (periodic,))[0]) for place in (0.5, 0.0))
        centered = dp.Field(function(x), grid, (0.5,), (pair,))
        on_faces = dp.Field(function(faces), grid, (0.0,), (pair,))
        found = np.abs(convert(centered, (0.0,)).values - function(faces))
        errors["to faces"].append(found.max())
        errors["inner to faces"].append(found[3:-3].max())
        errors["to centers"].append(np.abs(convert(on_faces, (0.5,)).values - function(x)).max())
        errors["round trip"].append(np.abs(convert(convert(on_faces, (0.5,)), (0.0,)).values - function(faces)).max())
    orders = {name: np.log2(one / other) for name, (one, other) in errors.items()}
    assert orders["inner to faces"] > 5.5 and min(orders.values()) > 3.5, (errors, orders)


def test_values_on_the_sides_are_those_of_the_conditions():
    """A profile at one side, and polynomials of degree three exactly, in two dimensions with unequal spacings."""
    grid = dp.Grid((6, 4), (1.5, 2.0)).with_edges(0, tanh_edges(6, 0.0, 1.5, 0.7))

    def cubic(x, y):
        return (1 + x - 2 * x**2 + 0.5 * x**3) * (1 + y)

    x, y = grid.centers()
    conditions = ((dp.Dirichlet(cubic(0.0, y)), dp.Neumann()), (dp.Neumann(), dp.Neumann()))
    moved = convert(dp.Field(cubic(x, y), grid, conditions=conditions), (0.0, 0.5))
    np.testing.assert_allclose(moved.values, cubic(*moved.coordinates()), atol=1e-13)
    one_cell = dp.Grid((1,), (2.0,))
    between = dp.Field(jnp.asarray([1.0]), one_cell, conditions=((dp.Dirichlet(0.5), dp.Dirichlet(2.0)),))
    np.testing.assert_allclose(convert(between, (0.0,)).values, [0.5, 2.0])


def test_derivatives(key):
    grid = dp.Grid((6, 4), (1.5, 2.0))
    conditions = ((dp.Dirichlet(0.3), dp.Neumann()), PERIODIC)
    values = jnp.asarray(np.random.default_rng(0).standard_normal((6, 4)))
    field = dp.Field(values, grid, conditions=conditions)
    check_derivatives(lambda f: (convert(f, (0.0, 0.5)), convert(f, (0.5, 0.0))), field, key, second=False)


@pytest.mark.usefixtures("unchecked_types")
def test_wrong_places_are_refused():
    grid = dp.Grid((4, 3))
    center = dp.Field(jnp.zeros((4, 3)), grid, center_offset(grid), (PERIODIC, PERIODIC))
    for words, function in (
        ("convert", lambda: convert(center, (0.5,))),
        ("faces_to_centers", lambda: faces_to_centers((center, center))),
        ("centers_to_faces", lambda: centers_to_faces((center,))),
        ("centers_to_faces", lambda: centers_to_faces((convert(center, (0.0, 0.5)), center))),
    ):
        with pytest.raises(dp.InputError, match=words):
            function()
