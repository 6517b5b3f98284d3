"""The curl: identities to round-off for every combination of sides, and its order."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp
from diffphys.grids import Ghost, Unknown, face_offset
from diffphys.operators import curl, divergence, gradient


pytestmark = pytest.mark.usefixtures("float64")

PERIODIC = (dp.Periodic(), dp.Periodic())
ENDS = [dp.Dirichlet(0.4), dp.Neumann(), Ghost(0.4)]  # which agree in the corners that two of them share
PAIRS = [PERIODIC, *itertools.product(ENDS, ENDS)]
EDGES = [np.array([0.0, 0.2, 0.5, 0.6]), np.array([1.0, 1.4, 1.5]), np.array([0.0, 0.3, 0.5])]


@pytest.mark.parametrize("dimensions", [2, 3])
def test_the_curl_of_a_gradient_is_zero_with_all_sides(dimensions):
    generator = np.random.default_rng(0)
    grid = dp.Grid.from_edges(EDGES[:dimensions])
    combinations = list(itertools.product(PAIRS, repeat=dimensions))
    for index in range(0, len(combinations), 7 if dimensions == 2 else 197):
        field = dp.Field(generator.standard_normal(grid.cells), grid, conditions=combinations[index])
        rotation = curl(gradient(field))
        for component in [rotation] if isinstance(rotation, dp.Field) else rotation:
            np.testing.assert_allclose(component.values, 0, atol=1e-12)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_the_divergence_of_a_curl_is_zero_with_all_sides(dimensions):
    """From edges to faces nothing is asked of the sides; from faces by way of edges the tangential conditions serve."""
    generator = np.random.default_rng(1)
    grid = dp.Grid.from_edges(EDGES[:dimensions])
    unknown = (Unknown(), Unknown())
    for periodic in itertools.islice(itertools.product([True, False], repeat=dimensions), 0, None, dimensions):
        conditions = tuple(PERIODIC if wraps else unknown for wraps in periodic)
        offsets = [tuple(0.5 if a == axis else 0.0 for a in range(3)) for axis in range(3)]
        offsets = [(0.0, 0.0)] if dimensions == 2 else offsets
        fields = [dp.Field(generator.standard_normal(grid.shape(o, periodic)), grid, o, conditions) for o in offsets]
        velocity = curl(fields[0] if dimensions == 2 else fields)
        assert not isinstance(velocity, dp.Field)
        for axis, component in enumerate(velocity):
            assert component.offset == face_offset(grid, axis)
        np.testing.assert_allclose(divergence(velocity).values, 0, atol=1e-12)
    if dimensions == 3:
        conditions = ((dp.Dirichlet(0.2), dp.Neumann(0.1)), PERIODIC, (dp.Neumann(), dp.Dirichlet()))
        shapes = [grid.shape(face_offset(grid, axis), (False, True, False)) for axis in range(3)]
        flow = [
            dp.Field(generator.standard_normal(shape), grid, face_offset(grid, axis), conditions)
            for axis, shape in enumerate(shapes)
        ]
        vorticity = curl(flow)
        assert not isinstance(vorticity, dp.Field) and vorticity[0].offset == (0.5, 0.0, 0.0)
        np.testing.assert_allclose(divergence(curl(vorticity)).values, 0, atol=1e-10)  # pyright: ignore


def test_vorticity_is_right_and_of_second_order():
    """Of a rigid rotation it is twice the angular velocity; of a cellular flow it converges like h^2, to the walls."""
    grid = dp.Grid.from_edges(EDGES[:2])
    (x0, y0), (x1, y1) = (grid.coordinates(face_offset(grid, axis), (False, False)) for axis in range(2))
    ends = ((dp.Neumann(), dp.Neumann()),) * 2
    rigid = (-3.0 * y0 + 0 * x0, 3.0 * x1 + 0 * y1)
    velocity = [dp.Field(values, grid, face_offset(grid, axis), ends) for axis, values in enumerate(rigid)]
    vorticity = curl(velocity)
    assert isinstance(vorticity, dp.Field) and vorticity.offset == (0.0, 0.0)
    np.testing.assert_allclose(vorticity.values[1:-1, 1:-1], 6.0, atol=1e-12)
    errors = []
    for count in (16, 32):
        grid = dp.Grid((count, count), (1.0, 1.0))
        slip = (dp.Neumann(), dp.Neumann())
        held = (dp.Dirichlet(), dp.Dirichlet())
        (x0, y0), (x1, y1) = (grid.coordinates(face_offset(grid, axis), (False, False)) for axis in range(2))
        pi = np.pi
        u = dp.Field(jnp.sin(pi * x0) * jnp.cos(pi * y0), grid, (0.0, 0.5), (held, slip))
        v = dp.Field(-jnp.cos(pi * x1) * jnp.sin(pi * y1), grid, (0.5, 0.0), (slip, held))
        x, y = grid.coordinates((0.0, 0.0), (False, False))
        found = curl((u, v))
        assert isinstance(found, dp.Field)
        errors.append(float(jnp.max(jnp.abs(found.values - 2 * pi * jnp.sin(pi * x) * jnp.sin(pi * y)))))
    assert 1.9 < np.log2(errors[0] / errors[1]) < 2.1, errors


@pytest.mark.usefixtures("unchecked_types")
def test_wrong_places_are_refused():
    grid = dp.Grid((4, 3))
    center = dp.Field(jnp.zeros((4, 3)), grid, conditions=(PERIODIC, PERIODIC))
    for given in (center, (center, center), (center,), ()):
        with pytest.raises(dp.InputError, match="curl"):
            curl(given)
