"""Implicit and exact diffusion: what they must solve, for every combination of ends, on stretched axes too."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

import diffphys as dp
from diffphys.grids import Ghost
from diffphys.operators import (
    crank_nicolson_diffusion,
    exact_diffusion,
    explicit_diffusion,
    implicit_diffusion,
    laplacian,
)
from tests.gradients import check_derivatives


pytestmark = pytest.mark.usefixtures("float64")

PERIODIC = (dp.Periodic(), dp.Periodic())
ENDS = [dp.Dirichlet(0.7), dp.Neumann(-0.3), Ghost(0.4)]
PAIRS = [PERIODIC, *itertools.product(ENDS, ENDS)]
EDGES = np.array([0.0, 0.2, 0.25, 0.7, 1.0, 1.1])
GRIDS = [dp.Grid((5,), (1.1,)), dp.Grid.from_edges([EDGES])]


def fixed_ends(field) -> dp.Field:
    """On faces a Dirichlet condition is the value of a point: what the schemes are given obeys it, too."""
    values = np.array(field.values)
    for axis, pair in enumerate(field.conditions):
        for end, condition in zip((0, -1), pair, strict=True):
            if field.offset[axis] == 0.0 and isinstance(condition, dp.Dirichlet):
                np.moveaxis(values, axis, 0)[end] = np.moveaxis(np.asarray(condition.value + 0 * values), axis, 0)[end]
    return field.with_values(jnp.asarray(values))


def residuals(field, z):
    """How far each scheme is from its definition, in terms of the discrete Laplacian alone."""
    backward, trapezoid = implicit_diffusion(field, 2.0, z / 2), crank_nicolson_diffusion(field, z, 1.0)
    free = jnp.ones_like(field.values)
    for axis, pair in enumerate(field.conditions):
        for end, condition in zip((0, -1), pair, strict=True):
            if field.offset[axis] == 0.0 and isinstance(condition, dp.Dirichlet):
                free = jnp.moveaxis(jnp.moveaxis(free, axis, 0).at[end].set(0.0), 0, axis)
    rates = [free * laplacian(part).values for part in (field, backward, trapezoid)]
    return (
        backward.values - field.values - z * rates[1],
        trapezoid.values - field.values - z / 2 * (rates[0] + rates[2]),
    )


def test_each_scheme_solves_its_equation_for_every_pair_of_ends():
    """Along one axis: all ends, centers and faces, uniform and stretched; the exact one by a dense exponential."""
    generator = np.random.default_rng(0)
    cases = [*itertools.product(GRIDS[:1], (0.0, 0.5), PAIRS[::3]), *itertools.product(GRIDS[1:], (0.0, 0.5), PAIRS)]
    for grid, offset, pair in cases:
        shape = grid.shape((offset,), (pair is PERIODIC,))
        field = fixed_ends(dp.Field(generator.standard_normal(shape), grid, (offset,), (pair,)))
        with jax.disable_jit():
            for residual in residuals(field, 0.37):
                np.testing.assert_allclose(residual, 0, atol=1e-12)
        free = [
            index
            for index in range(shape[0])
            if not (offset == 0.0 and index in (0, shape[0] - 1) and isinstance(pair[-(index > 0)], dp.Dirichlet))
        ]
        rate = np.zeros((shape[0] + 1, shape[0] + 1))  # d/dt (f, 1), from the Laplacian of unit vectors
        constant = np.asarray(laplacian(field.with_values(jnp.zeros(shape))).values)
        rate[:-1, -1] = constant
        for index in range(shape[0]):
            rate[:-1, index] = np.asarray(laplacian(field.with_values(jnp.eye(shape[0])[index])).values) - constant
        rate[[index for index in range(shape[0]) if index not in free]] = 0
        exact = scipy.linalg.expm(0.11 * rate) @ np.append(field.values, 1.0)
        found = exact_diffusion(field, 0.11, 1.0, spectral=False).values
        np.testing.assert_allclose(found, exact[:-1], atol=1e-12)


def test_each_scheme_solves_its_equation_in_two_and_three_dimensions():
    generator = np.random.default_rng(1)
    for trial in range(6):
        cells = (5, 3) if trial < 4 else (5, 3, 2)
        grid = dp.Grid(cells, [1.0 + 0.3 * axis for axis in range(len(cells))]).with_edges(0, EDGES)
        offset = tuple(float(place) for place in generator.choice([0.0, 0.5], len(cells)))
        conditions = tuple(PAIRS[index] for index in generator.integers(0, len(PAIRS), len(cells)))
        shape = grid.shape(offset, [pair is PERIODIC for pair in conditions])
        start = fixed_ends(dp.Field(generator.standard_normal(shape), grid, offset, conditions))
        for residual in jax.jit(residuals)(start, 0.37):
            np.testing.assert_allclose(residual, 0, atol=1e-12)


def test_resolved_periodic_data_diffuse_exactly():
    """Every mode at its own rate, with unequal spacings, the highest included; and modes between walls."""
    grid = dp.Grid((8, 6), (2.0, 0.9))
    wave = (2 * np.pi / 2.0, 2 * np.pi / 0.9)
    x, y = (np.asarray(line) for line in grid.centers())
    for k, m in ((1, 0), (3, 2), (2, -1), (4, 0)):
        mode = np.cos(k * wave[0] * (x - x[0, 0]) + m * wave[1] * (y - y[0, 0]))
        field = dp.Field(mode, grid, conditions=(PERIODIC, PERIODIC))
        rate = (k * wave[0]) ** 2 + (m * wave[1]) ** 2
        for t in (1e-4, 0.01):
            found = exact_diffusion(field, 0.5, t).values
            np.testing.assert_allclose(found, np.exp(-0.5 * rate * t) * mode, atol=1e-13)
    walls = ((dp.Dirichlet(), dp.Dirichlet()), (dp.Neumann(), dp.Neumann()))
    mode = np.sin(3 * np.pi * x / 2.0) * np.cos(2 * np.pi * y / 0.9)
    found = exact_diffusion(dp.Field(mode, grid, conditions=walls), 0.5, 0.02).values
    rate = (3 * np.pi / 2.0) ** 2 + (2 * np.pi / 0.9) ** 2
    np.testing.assert_allclose(found, np.exp(-0.5 * rate * 0.02) * mode, atol=1e-13)


def test_orders_in_time():
    grid = dp.Grid((6, 5), (1.0, 0.8)).with_edges(1, 0.8 * np.linspace(0, 1, 6) ** 1.5)
    conditions = ((dp.Dirichlet(1.0), dp.Neumann(0.5)), (dp.Neumann(), dp.Dirichlet(-0.3)))
    start = dp.Field(np.random.default_rng(0).standard_normal((6, 5)), grid, conditions=conditions)
    exact = exact_diffusion(start, 0.1, 0.2, spectral=False).values
    for scheme, order, steps in (
        (implicit_diffusion, 1, (64, 128, 256)),
        (crank_nicolson_diffusion, 2, (16, 32, 64)),
        (lambda *given: exact_diffusion(*given, spectral=False), None, (3,)),
    ):
        errors = []
        for count in steps:
            final, _ = dp.rollout(lambda f: scheme(f, 0.1, 0.2 / count), start, steps=count)  # noqa: B023
            errors.append(float(jnp.max(jnp.abs(final.values - exact))))
        if order is None:
            assert errors[0] < 1e-13  # steps of an exact solution compose
        else:
            assert np.all(np.abs(np.log2(np.array(errors[:-1]) / errors[1:]) - order) < 0.1), errors


def test_what_diffusion_keeps():
    """Heat between insulated ends, extremes, steady states; and an enormous step ends in the steady state."""
    generator = np.random.default_rng(3)
    grid = GRIDS[1]
    insulated = dp.Field(generator.standard_normal(5), grid, conditions=((dp.Neumann(), dp.Neumann()),))
    held = dp.Field(generator.uniform(1.0, 4.0, 5), grid, conditions=((dp.Dirichlet(1.0), dp.Dirichlet(4.0)),))
    line = 1.0 + 3.0 * np.asarray(grid.centers()[0]) / 1.1
    for scheme in (implicit_diffusion, crank_nicolson_diffusion, exact_diffusion):
        heat = np.sum(scheme(insulated, 1.0, 0.3).values * grid.widths(0))
        np.testing.assert_allclose(heat, np.sum(insulated.values * grid.widths(0)), atol=1e-14)
        np.testing.assert_allclose(scheme(held.with_values(line), 1.0, 10.0).values, line, atol=1e-13)
        np.testing.assert_array_equal(scheme(held, 1.0, 0.0).values, held.values)
    for scheme in (implicit_diffusion, exact_diffusion):
        for dt in (0.01, 1.0):
            values = scheme(held, 1.0, dt).values
            assert 1.0 <= float(values.min()) and float(values.max()) <= 4.0
        np.testing.assert_allclose(scheme(held, 1.0, 1e9).values, line, atol=1e-7)
    short = exact_diffusion(held, 1.0, 1e-7).values - explicit_diffusion(held, 1.0, 1e-7).values
    assert float(jnp.max(jnp.abs(short))) < 1e-8


@pytest.mark.slow
def test_derivatives(key):
    """With respect to values, what holds at the ends, diffusivity and dt; at dt = 0 too, where a quotient is 0 / 0."""
    grid = dp.Grid((5, 3), (1.1, 1.2)).with_edges(0, EDGES)
    conditions = ((dp.Dirichlet(jax.random.normal(key, (1, 3))), dp.Neumann(0.3)), (dp.Neumann(-0.1), Ghost(0.4)))
    face = ((dp.Dirichlet(0.3), dp.Neumann(0.1)), (dp.Dirichlet(-0.2), dp.Neumann(0.2)))
    center = dp.Field(jax.random.normal(key, (5, 3)), grid, conditions=conditions)
    faces = dp.Field(jax.random.normal(key, (6, 3)), grid, (0.0, 0.5), face)

    def everything(given):
        center, faces, diffusivity, dt = given
        return (
            implicit_diffusion(center, diffusivity, dt),
            crank_nicolson_diffusion(faces, diffusivity, dt),
            exact_diffusion(center, diffusivity, dt),
        )

    check_derivatives(everything, (center, faces, jnp.asarray(0.61), jnp.asarray(0.07)), key)
    slope = jax.jvp(lambda dt: exact_diffusion(center, 0.61, dt).values, (0.0,), (1.0,))[1]
    np.testing.assert_allclose(
        slope,
        jax.jvp(lambda dt: exact_diffusion(center, 0.61, dt).values, (1e-9,), (1.0,))[1],
        atol=1e-5 * float(jnp.max(jnp.abs(slope))),
    )


@pytest.mark.usefixtures("unchecked_types")
def test_bad_arguments_are_refused_by_name():
    field = dp.Field(jnp.zeros(5), GRIDS[0], conditions=(PERIODIC,))
    for scheme in (implicit_diffusion, crank_nicolson_diffusion, exact_diffusion):
        with pytest.raises(dp.InputError, match="diffusivity has shape"):
            scheme(field, jnp.ones(5), 0.1)
        with pytest.raises(dp.InputError, match="dt has shape"):
            scheme(field, 1.0, jnp.ones(5))
        with pytest.raises(dp.InputError, match="nothing is known"):
            scheme(dp.Field(jnp.zeros(5), GRIDS[0]), 1.0, 0.1)
