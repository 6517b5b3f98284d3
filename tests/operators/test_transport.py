"""Convection and diffusion as a matrix: the same numbers as the operators, and the transpose."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp
from diffphys.grids import Dirichlet, Field, Neumann, Periodic, face_offset
from diffphys.operators import convection, laplacian
from diffphys.operators.transport import convective, diffusive, ends_of, total, viscous_force


pytestmark = pytest.mark.usefixtures("float64")

UNEVEN = [[0.0, 0.2, 0.5, 0.9, 1.2, 1.5], [0.0, 0.4, 1.0, 1.5, 2.0]]
GRIDS = {"uniform": dp.Grid((5, 4), (1.5, 2.0)), "stretched": dp.Grid.from_edges(UNEVEN), "3D": dp.Grid((4, 3, 5))}


def random_velocity(grid: dp.Grid, conditions, seed: int = 0) -> tuple[Field, ...]:
    generator, parts = np.random.default_rng(seed), []
    periodic = [isinstance(pair[0], Periodic) for pair in conditions]
    for axis in range(grid.dimensions):
        offset = face_offset(grid, axis)
        values = jnp.asarray(generator.standard_normal(grid.shape(offset, periodic)))
        parts.append(Field(values, grid, offset, conditions))
    return tuple(parts)


def free(field: Field, axis: int) -> np.ndarray:
    """1 where no condition fixes the value on a side."""
    inside = np.ones(field.shape)
    for end, condition in zip((0, -1), field.conditions[axis], strict=True):
        if isinstance(condition, Dirichlet):
            inside[(slice(None),) * axis + (end,)] = 0.0
    return inside


@pytest.mark.parametrize("name", GRIDS)
def test_the_matrix_is_convection_and_diffusion(name):
    """Of every component, with periodic axes and with fixed values and slopes at the ends; and with its transpose."""
    grid = GRIDS[name]
    bounded = ((Dirichlet(0.3), Neumann(0.7)), (Neumann(-0.4), Dirichlet(0.2)), (Periodic(), Periodic()))

    @jax.jit
    def differences(velocity, carrier, other):
        rates, found, products = convection(velocity, carrier), [], []
        for axis, field in enumerate(velocity):
            ends = ends_of(field.with_values, field.values)
            matrix = total(convective(field, carrier, ends), diffusive(field, jnp.asarray(0.3), ends)[0])
            right = rates[axis].values - 0.3 * laplacian(field).values
            found.append(free(field, axis) * (matrix.apply(field.values) + matrix.beyond(ends) - right))
            turned = [matrix.transposed().apply(other[axis].values)]
            turned += jax.linear_transpose(matrix.apply, field.values)(other[axis].values)
            product = jnp.sum(other[axis].values * matrix.apply(field.values))
            products += [product - jnp.sum(one * field.values) for one in turned]
        return found, products

    for conditions in (bounded[: grid.dimensions], bounded[::-1][: grid.dimensions]):
        fields = [random_velocity(grid, conditions, seed) for seed in range(3)]
        found, products = differences(*fields)
        for difference in (*found, *products):
            np.testing.assert_allclose(difference, 0, atol=1e-12)


def test_a_body_that_turns_has_no_viscous_stress_whatever_the_viscosity():
    """Away from the sides, where the conditions say something else; the first half of the stress alone would push."""
    grid = dp.Grid.from_edges([np.linspace(0, 1, 9), dp.grids.tanh_edges(8, 0.0, 1.0, 1.0)])
    conditions = ((Neumann(), Neumann()),) * 2
    viscosity = Field(np.random.default_rng(0).random(grid.cells), grid, conditions=conditions)
    x, y = (np.asarray(line) for line in grid.edges)
    centers = [(line[1:] + line[:-1]) / 2 for line in (x, y)]
    velocity = (
        Field(np.tile(-centers[1], (9, 1)), grid, (0.0, 0.5), conditions),
        Field(np.tile(centers[0][:, None], (1, 9)), grid, (0.5, 0.0), conditions),
    )
    forces = jax.jit(viscous_force)(velocity, viscosity)
    for force in forces:
        np.testing.assert_allclose(force[2:-2, 2:-2], 0, atol=1e-11)
    halves = [
        diffusive(part, viscosity, ends_of(part.with_values, part.values))[0].apply(part.values) for part in velocity
    ]
    assert all(float(jnp.max(jnp.abs(half[2:-2, 2:-2]))) > 1 for half in halves)


def test_one_viscosity_everywhere_is_the_laplacian():
    """The transposed half vanishes for a velocity without divergence, next to walls too."""
    grid = dp.Grid((6, 5), (1.5, 2.0))
    flow = dp.IncompressibleFlow(grid, 0.3, 0.01, dict(x=(dp.Inflow(1.0), dp.Outflow()), y=dp.Wall()))
    flow = dp.IncompressibleFlow(grid, 0.3, 0.01, flow.sides, stepping=dp.RungeKutta(2))
    generator = np.random.default_rng(0)
    shapes = [part.shape for part in flow.initial_state().velocity]
    velocity = flow.initial_state([generator.standard_normal(shape) for shape in shapes]).velocity
    viscosity = Field(jnp.full(grid.cells, 0.3), grid, conditions=((Neumann(), Neumann()),) * 2)
    for axis, (part, force) in enumerate(zip(velocity, jax.jit(viscous_force)(velocity, viscosity), strict=True)):
        difference = force - 0.3 * laplacian(part).values
        np.testing.assert_allclose(difference * free(part, axis), 0, atol=1e-11)


@pytest.mark.parametrize("speed", [1.0, 300.0, 1e9, 1e30])
def test_ghost_points_lose_no_digits_where_what_is_given_is_large(speed):
    """Beside a wall in fast motion, in single precision: the mirror image has the factor -1, however fast it is."""
    grid = dp.Grid((4, 3))
    values = jnp.ones((4, 3), jnp.float32)
    field = dp.Field(
        values, grid, conditions=((dp.Dirichlet(speed), dp.Neumann(speed)), (dp.Periodic(), dp.Periodic()))
    )
    between, around = ends_of(field.with_values, values)
    assert between is not None and around is None
    lower, upper = between
    np.testing.assert_array_equal(lower.factor, -1.0)
    np.testing.assert_array_equal(upper.factor, 1.0)
    np.testing.assert_allclose(lower.given, 2 * np.float32(speed), rtol=1e-6)
    np.testing.assert_allclose(upper.given, np.float32(speed), rtol=1e-6)
