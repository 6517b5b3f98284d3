"""Divergence is minus the gradient's transpose, for every combination of sides and with any obstacle."""

import functools
import itertools

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp
from diffphys.grids.conditions import with_flux_images
from diffphys.operators import divergence, gradient
from diffphys.operators.differences import among_zeros, line_at
from tests.domains import all_pairs, domains, free_faces, make_flow, random_velocity


pytestmark = pytest.mark.usefixtures("float64")


def check_transpose(flow: dp.IncompressibleFlow, generator: np.random.Generator) -> None:
    """`sum(V p div v) = -sum(W v . grad p)` over all faces whose velocity is free, and v zero on the others.

    V are the volumes of the cells, W those between the centers beside a face; outside an end its cell is mirrored.
    """
    velocity = random_velocity(flow, generator)
    free = [free_faces(flow, axis) for axis in range(flow.grid.dimensions)]
    velocity = [part.with_values(part.values * mask) for part, mask in zip(velocity, free, strict=True)]
    pressure = dp.Field(generator.standard_normal(flow.grid.cells), flow.grid, conditions=flow.variables(0.0).pressure)
    left = np.sum(cell_volumes(flow.grid) * np.asarray(pressure.values) * np.asarray(divergence(velocity).values))
    terms = [
        face_volumes(flow, axis) * np.asarray(part.values) * np.asarray(slope.values)
        for axis, (part, slope) in enumerate(zip(velocity, gradient(pressure), strict=True))
    ]
    right = -sum(np.sum(term) for term in terms)
    size = sum(np.sum(np.abs(term)) for term in terms)
    assert abs(left - right) <= 1e-13 * max(size, 1.0), flow.sides


def cell_volumes(grid: dp.Grid) -> np.ndarray:
    return functools.reduce(np.multiply.outer, [np.diff(edges) for edges in grid.edges])


def face_volumes(flow: dp.IncompressibleFlow, axis: int) -> np.ndarray:
    widths = [np.diff(edges) for edges in flow.grid.edges]
    periodic = isinstance(flow.sides[axis][0], dp.Periodic)
    padded = np.pad(widths[axis], 1, mode="wrap" if periodic else "edge")
    between = (padded[1:] + padded[:-1]) / 2
    widths[axis] = between[:-1] if periodic else between
    return functools.reduce(np.multiply.outer, widths)


@pytest.mark.usefixtures("unchecked_types")
def test_with_every_pair_of_sides_on_every_axis():
    """What holds along one axis knows nothing of the other: each pair along x meets five along y."""
    generator = np.random.default_rng(0)
    pairs = all_pairs()
    for x, first in enumerate(pairs):
        check_transpose(make_flow(dp.Grid((5,), (1.0,)), [first], viscosity=1e-3), generator)
        for shift in range(5):
            second = pairs[(x + 5 * shift) % len(pairs)]
            check_transpose(make_flow(dp.Grid((5, 4), (1.0, 2.7)), [first, second], viscosity=1e-3), generator)


@pytest.mark.slow
def test_for_every_combination_of_sides():
    generator = np.random.default_rng(0)
    combinations = list(itertools.product(all_pairs(), repeat=2))
    assert len(combinations) == 26**2
    for pairs in combinations:
        check_transpose(make_flow(dp.Grid((5, 4), (1.0, 2.7)), pairs, viscosity=1e-3), generator)


@pytest.mark.usefixtures("unchecked_types")
def test_in_three_dimensions_for_a_sample_of_sides():
    grid = dp.Grid((3, 2, 4), (1.0, 0.3, 2.2))
    generator = np.random.default_rng(1)
    pairs = all_pairs()
    for _ in range(40):
        chosen = [pairs[index] for index in generator.integers(0, len(pairs), 3)]
        check_transpose(make_flow(grid, chosen, viscosity=1e-4), generator)


@hypothesis.given(domain=domains(obstacle=True))
def test_with_any_obstacle(domain):
    check_transpose(domain.flow(), np.random.default_rng(2))


@hypothesis.given(domain=domains(stretched=True))
def test_with_any_widths_of_the_cells(domain):
    """With an obstacle, too."""
    check_transpose(domain.flow(), np.random.default_rng(3))


def test_a_line_at_an_index_is_the_transpose_of_one_among_zeros():
    values, part = np.random.default_rng(0).standard_normal((4, 5)), np.arange(4.0)[:, None]
    found, pull = jax.vjp(lambda values: line_at(values, 1, -2), jnp.asarray(values))
    np.testing.assert_array_equal(found, values[:, 3:4])
    placed = np.zeros((4, 5))
    placed[:, 3:4] = part
    np.testing.assert_array_equal(pull(jnp.asarray(part))[0], placed)
    found, pull = jax.vjp(lambda part: among_zeros(part, 1, -2, 5), jnp.asarray(part))
    np.testing.assert_array_equal(found, placed)
    np.testing.assert_array_equal(pull(jnp.asarray(values))[0], values[:, 3:4])


@pytest.mark.parametrize("periodic", [False, True])
def test_images_turned_about_the_value_on_a_side(periodic):
    """`2 f[0] - f[k]` beyond a side, and what their transpose gives back."""
    values = np.random.default_rng(0).standard_normal((5, 3))
    below = values[-2:] if periodic else 2 * values[:1] - values[2:0:-1]
    above = values[:2] if periodic else 2 * values[-1:] - values[-2:-4:-1]
    found, pull = jax.vjp(lambda values: with_flux_images(values, 0, (2, 2), periodic, odd=True), jnp.asarray(values))
    np.testing.assert_allclose(found, np.concatenate([below, values, above]), rtol=1e-15)
    cotangent = np.random.default_rng(1).standard_normal(found.shape)
    np.testing.assert_allclose(jnp.vdot(pull(jnp.asarray(cotangent))[0], values), np.vdot(cotangent, found), rtol=1e-13)
