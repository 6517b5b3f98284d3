"""Divergence is minus the gradient's transpose, for every combination of sides and with any obstacle."""

import itertools

import hypothesis
import numpy as np
import pytest

import diffphys as dp
from diffphys.operators import divergence, gradient
from tests.domains import all_pairs, domains, free_faces, make_flow, random_velocity


pytestmark = pytest.mark.usefixtures("float64")


def check_transpose(flow: dp.IncompressibleFlow, generator: np.random.Generator) -> None:
    """`sum(p * div v) = -sum(v * grad p)` over all faces whose velocity is free, and v zero on the others."""
    velocity = random_velocity(flow, generator)
    free = [free_faces(flow, axis) for axis in range(flow.grid.dimensions)]
    velocity = [part.with_values(part.values * mask) for part, mask in zip(velocity, free, strict=True)]
    pressure = dp.Field(generator.standard_normal(flow.grid.cells), flow.grid, conditions=flow.pressure_conditions())
    left = np.sum(np.asarray(pressure.values) * np.asarray(divergence(velocity).values))
    terms = [
        np.asarray(part.values) * np.asarray(slope.values)
        for part, slope in zip(velocity, gradient(pressure), strict=True)
    ]
    right = -sum(np.sum(term) for term in terms)
    size = sum(np.sum(np.abs(term)) for term in terms)
    assert abs(left - right) <= 1e-13 * max(size, 1.0), flow.sides


@pytest.mark.parametrize("dimensions", [1, 2])
def test_for_every_combination_of_sides(dimensions):
    grid = dp.Grid((5, 4)[:dimensions], (1.0, 2.7)[:dimensions])
    generator = np.random.default_rng(0)
    combinations = list(itertools.product(all_pairs(), repeat=dimensions))
    assert len(combinations) == 26**dimensions
    for pairs in combinations:
        check_transpose(make_flow(grid, pairs, viscosity=1e-3), generator)


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
