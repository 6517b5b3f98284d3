"""Robin ends: the value and the slope on a side bound to each other, of second order everywhere."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq

import diffphys as dp
from diffphys import poisson
from diffphys.errors import InputError
from diffphys.grids import Dirichlet, Field, Grid, Neumann, Periodic, Robin, Unknown
from diffphys.operators import crank_nicolson_diffusion, difference, exact_diffusion, implicit_diffusion, laplacian
from tests.gradients import check_derivatives


LENGTHS = (0.3, 0.8)


def mode():
    """The slowest mode of the second derivative on [0, 1] with these lengths: the rate and the function."""
    lower, upper = LENGTHS
    # sin(k x) + l k cos(k x) has the lower end; that it has the upper one is an equation for k.
    rate: Any = brentq(lambda k: (1 - lower * upper * k * k) * np.sin(k) + (lower + upper) * k * np.cos(k), 0.5, 3.0)
    return rate, lambda x: np.sin(rate * x) + lower * rate * np.cos(rate * x)


def field_of(cells, offset, stretched):
    """That mode on a grid."""
    edges = np.linspace(0, 1, cells + 1)
    edges = edges + 0.05 * np.sin(2 * np.pi * edges) if stretched else edges
    grid = Grid.from_edges((edges,))
    points = (edges[1:] + edges[:-1]) / 2 if offset else edges
    lower, upper = LENGTHS
    return Field(mode()[1](points), grid, (offset,), ((Robin(0.0, lower), Robin(0.0, upper)),))


@pytest.mark.parametrize("stretched", [False, True])
@pytest.mark.parametrize("offset", [0.5, 0.0])
def test_diffusion_decays_as_it_should(float64, offset, stretched):
    """Exact in time, so that the error is that in space, of the eigenvalue and of the mode."""
    errors = []
    for cells in (8, 16, 32):
        start = field_of(cells, offset, stretched)
        decayed = jax.jit(lambda field: exact_diffusion(field, 1.0, 0.1))(start)
        errors.append(np.max(np.abs(decayed.values - start.values * np.exp(-0.1 * mode()[0] ** 2))))
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert orders.min() > 1.9


@pytest.mark.parametrize("offset", [0.5, 0.0])
def test_implicit_steps_solve_their_equation(float64, offset):
    """In two dimensions, both of them with such ends: `f' - z laplacian(f') = f` with the plain Laplacian."""
    grid = Grid((5, 4), (1.0, 0.7))
    ends = (Robin(0.4, 0.2), Robin(-0.3, 0.1)), (Robin(1.0, 0.05), Neumann(0.5))
    shape = grid.shape((offset, 0.5), (False, False))
    field = Field(np.random.default_rng(0).normal(size=shape), grid, (offset, 0.5), ends)
    solved = implicit_diffusion(field, 0.3, 0.2)
    np.testing.assert_allclose(solved.values - 0.06 * laplacian(solved).values, field.values, atol=1e-12)
    solved = crank_nicolson_diffusion(field, 0.3, 0.2)
    mean = (laplacian(solved).values + laplacian(field).values) / 2
    np.testing.assert_allclose(solved.values - 0.06 * mean, field.values, atol=1e-12)


def test_a_length_of_zero_is_a_fixed_value_and_a_long_one_a_slope(float64):
    values = np.random.default_rng(0).normal(size=6)
    for robin, plain in ((Robin(0.7, 0.0), Dirichlet(0.7)), (Robin(0.7, 1e14), Neumann(0.0))):
        ends = [Field(values, Grid((6,), (1.0,)), (0.5,), ((one, one),)) for one in (robin, plain)]
        for function in (laplacian, lambda field: implicit_diffusion(field, 1.0, 0.1)):
            found, expected = (function(field).values for field in ends)
            np.testing.assert_allclose(found, expected, atol=1e-11)


def test_arithmetic_keeps_the_condition(float64):
    """A straight line that meets it, scaled, shifted and added to another."""
    grid, (lower, upper) = Grid((4,), (1.0,)), LENGTHS
    length = jnp.asarray(lower)

    def line(slope, start):  # its values at the centers, and what it has at the ends
        ends = Robin(start - length * slope, length), Robin(start + slope + upper * slope, jnp.asarray(upper))
        return Field(start + slope * (np.arange(4) + 0.5) / 4, grid, conditions=(ends,))

    first = line(2.0, 0.3)
    for field, slope in ((first, 2.0), (3 * first - 1.0, 6.0), (first / 2 + 1.0, 1.0)):
        np.testing.assert_allclose(difference(field, 0).values, slope, atol=1e-12)
    total = first + first
    np.testing.assert_allclose(difference(total, 0).values[0], 4.0, atol=1e-12)
    assert isinstance((first + line(1.0, 0.0)).conditions[0][1], Unknown)  # two arrays of lengths
    assert isinstance((first * first).conditions[0][0], Unknown)


def variable(grid, ends, coefficient=1.0):
    return poisson.VariableProblem.from_conditions(grid, ends, [coefficient] * grid.dimensions)


def test_pressure_problems_know_the_length(float64):
    """`A p` is the Laplacian with these ends, and the solution has a gradient by the length."""
    grid = Grid.from_edges((np.array([0, 0.2, 0.5, 0.7, 1.0]), np.linspace(0, 1, 4)))
    rhs = jnp.asarray(np.random.default_rng(0).normal(size=grid.cells))

    def solved(length):
        ends = (Robin(0.0, length), Neumann()), (Robin(0.0, 0.2), Robin(0.0, 2 * length))
        solution = poisson.ConjugateGradients(variable(grid, ends), tolerance=1e-13).solve(rhs)
        return solution.pressure, Field(solution.pressure, grid, conditions=ends)

    pressure, field = jax.jit(solved)(0.3)
    np.testing.assert_allclose(laplacian(field).values, rhs, atol=1e-9)
    check_derivatives(lambda length: solved(length)[0], jnp.asarray(0.3), jax.random.key(0))


def test_poisson_with_robin_ends_is_of_second_order(float64):
    """`p = sin(x) cosh(y)` is harmonic; what the ends have is lifted to the right side."""
    errors = []
    for cells in (8, 16):
        grid = Grid((cells, cells), (1.0, 1.0))
        line = (np.arange(cells) + 0.5) / cells
        exact = np.sin(line)[:, None] * np.cosh(line)
        ends = (
            (Robin(-0.3 * np.cosh(line)[None], 0.3), Robin((np.sin(1) + 0.5 * np.cos(1)) * np.cosh(line)[None], 0.5)),
            (Neumann(0.0), Robin(np.sin(line)[:, None] * (np.cosh(1) + 0.2 * np.sinh(1)), 0.2)),
        )
        lift = laplacian(Field(np.zeros(grid.cells), grid, conditions=ends)).values
        solver = poisson.ConjugateGradients(variable(grid, ends), tolerance=1e-12)
        found = jax.jit(lambda solver, rhs: solver.solve(rhs).pressure)(solver, -lift)
        errors.append(np.max(np.abs(found - exact)))
    assert np.log2(errors[0] / errors[1]) > 1.9


def test_what_makes_no_sense_is_refused():
    grid = Grid((4,), (1.0,))
    ends = ((Robin(0.0, 0.1), Neumann()),)
    with pytest.raises(InputError, match="the condition Robin; Periodic, Neumann, Ghost or Dirichlet is accepted"):
        poisson.PressureProblem.from_conditions(grid, ends)
    with pytest.raises(InputError, match="length is 0 for points on the boundary"):
        laplacian(Field(np.zeros(5), grid, (0.0,), ((Robin(1.0), Robin(1.0)),)))
    with pytest.raises(InputError, match="length of Robin is -1"):
        dp.Heat(grid, 1.0, 0.01, ((Robin(0.0, -1.0), Neumann()),))
    with pytest.raises(InputError, match="a profile of lengths"):
        plane = Grid((4, 3), (1.0, 1.0))
        profile = ((Robin(0.0, np.ones((1, 3))), Neumann()), (Periodic(), Periodic()))
        implicit_diffusion(Field(np.zeros((4, 3)), plane, conditions=profile), 1.0, 0.1)


@pytest.mark.parametrize("stepping", [dp.RungeKutta(2), dp.ImplicitExplicit(2)])
def test_heat_has_a_gradient_by_value_and_length(float64, stepping):
    def warmth(given):
        value, length = given
        heat = dp.Heat(Grid((6,), (1.0,)), 0.5, 0.01, ((Robin(value, length), Robin(0.0, 2 * length)),), stepping)
        return dp.rollout(heat, heat.initial_state(1.0), 1)[0].values

    check_derivatives(warmth, (jnp.asarray(0.7), jnp.asarray(0.2)), jax.random.key(0))


@pytest.mark.parametrize("end", [Dirichlet(0.7), Neumann(-0.4), Robin(0.3, 0.2)])
@pytest.mark.parametrize("offset", [0.5, 0.0])
def test_ghost_values_know_nothing_of_the_unit_of_length(float64, end, offset):
    grid, unit = Grid((4,), (0.8,)), 0.25
    values = np.random.default_rng(1).normal(size=grid.shape((offset,), (False,)))
    field = Field(values, grid, (offset,), ((end, end),))
    measured = Field(values, grid.measured(unit), (offset,), ((end.measured(unit), end.measured(unit)),))
    np.testing.assert_allclose(measured.padded([(2, 2)]), field.padded([(2, 2)]), rtol=1e-14)
