"""Eddy viscosities and sponges against what their formulas give in flows that are known."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp
from diffphys.grids import Field, Neumann, Periodic, face_offset
from diffphys.physics.added_viscosity import filter_width, magnitude_of, strain_rate


pytestmark = pytest.mark.usefixtures("float64")


def linear_velocity(grid: dp.Grid, slopes: np.ndarray) -> tuple[Field, ...]:
    """`v_i = sum_j slopes[i, j] x_j`, with ghost points that go on with the slopes along each axis."""
    parts = []
    for axis in range(grid.dimensions):
        ends = tuple((Neumann(-slopes[axis, d]), Neumann(slopes[axis, d])) for d in range(grid.dimensions))
        points = grid.coordinates(face_offset(grid, axis), (False,) * grid.dimensions)
        values = sum(slope * np.asarray(line) for slope, line in zip(slopes[axis], points, strict=True))
        parts.append(Field(values, grid, face_offset(grid, axis), ends))
    return tuple(parts)


def test_the_eddy_viscosity_of_linear_flow_is_exact():
    """On uneven cells in 3D, the cells beside the sides included; a body that turns has none."""
    generator = np.random.default_rng(0)
    edges = [np.cumsum([0.0, *(0.5 + generator.random(count))]) for count in (5, 4, 3)]
    grid = dp.Grid.from_edges(edges)
    slopes = generator.standard_normal((3, 3))
    strain = (slopes + slopes.T) / 2
    eddies = eqx.filter_jit(dp.Smagorinsky(0.17))
    found = eddies(linear_velocity(grid, slopes))
    width = (np.diff(edges[0])[:, None, None] * np.diff(edges[1])[:, None] * np.diff(edges[2])) ** (1 / 3)
    np.testing.assert_allclose(found, (0.17 * width) ** 2 * np.sqrt(2 * np.sum(strain**2)), rtol=1e-12)
    turning = eddies(linear_velocity(grid, slopes - slopes.T))
    np.testing.assert_allclose(turning, 0, atol=1e-7)
    slope = jax.grad(lambda factor: jnp.sum(magnitude_of({(0, 0): factor * jnp.zeros(3), (0, 1): jnp.zeros(3)})))
    assert slope(1.0) == 0.0


def waves(count: int, stream: float = 0.0, size: float = 1.0) -> tuple[Field, ...]:
    """Random waves without divergence, of the seven longest lengths; a stream carries them."""
    grid, generator = dp.Grid((count, count), (2 * np.pi, 2 * np.pi)), np.random.default_rng(0)
    parts = [np.zeros((count, count)), np.zeros((count, count))]
    points = [tuple(map(np.asarray, grid.coordinates(face_offset(grid, axis), (True, True)))) for axis in range(2)]
    for kx in range(1, 8):
        for ky in range(-7, 8):
            amplitude, phase = generator.random() / (kx**2 + ky**2) ** 0.8, 2 * np.pi * generator.random()
            parts[0] += -ky * amplitude * np.sin(kx * points[0][0] + ky * points[0][1] + phase)
            parts[1] += kx * amplitude * np.sin(kx * points[1][0] + ky * points[1][1] + phase)
    return tuple(
        Field(stream + size * part, grid, face_offset(grid, axis), ((Periodic(), Periodic()),) * 2)
        for axis, part in enumerate(parts)
    )


def constant_by_hand(u: np.ndarray, v: np.ndarray, h: float) -> float:
    """The constant of a periodic flow, written with NumPy for two dimensions; it may be negative."""

    weights = {-1: 0.25, 0: 0.5, 1: 0.25}

    def filtered(values: np.ndarray) -> np.ndarray:
        parts = [weights[i] * weights[j] * np.roll(values, (i, j), (0, 1)) for i in weights for j in weights]
        return np.sum(parts, 0)

    xx, yy = (np.roll(u, -1, 0) - u) / h, (np.roll(v, -1, 1) - v) / h
    xy = (u - np.roll(u, 1, 1) + v - np.roll(v, 1, 0)) / (2 * h)  # at the lower left corners of the cells
    xy = sum(np.roll(xy, (-i, -j), (0, 1)) for i in (0, 1) for j in (0, 1)) / 4
    at_centers = ((u + np.roll(u, -1, 0)) / 2, (v + np.roll(v, -1, 1)) / 2)
    strain = np.array([[xx, xy], [xy, yy]])
    size = np.sqrt(2 * np.sum(strain**2, (0, 1)))
    coarse = np.array([[filtered(part) for part in row] for row in strain])
    coarse_size = np.sqrt(2 * np.sum(coarse**2, (0, 1)))
    trace = sum(filtered(one**2) - filtered(one) ** 2 for one in at_centers)
    product = norm = 0.0
    for i in range(2):
        for j in range(2):
            one, other = at_centers[i], at_centers[j]
            stress = filtered(one * other) - filtered(one) * filtered(other) - (i == j) * trace / 2
            model = h**2 * (4 * coarse_size * coarse[i, j] - filtered(size * strain[i, j]))
            product, norm = product + np.sum(stress * model), norm + np.sum(model**2)
    return -product / (2 * norm)


def test_the_dynamic_constant_is_that_of_least_squares_and_knows_no_units_and_no_stream():
    """Run backward the flow has the opposite constant, of which the model leaves none that is negative."""
    model = dp.DynamicSmagorinsky()
    constant_of = jax.jit(model.constant_of)
    velocity = waves(32, size=-1.0)
    u, v = (np.asarray(part.values) for part in velocity)
    constant = constant_by_hand(u, v, 2 * np.pi / 32)
    assert constant > 1e-4
    for stream, size in ((0.0, -1.0), (3.0, -1.0), (0.0, -7.0)):
        np.testing.assert_allclose(constant_of(waves(32, stream, size)), constant, rtol=1e-10)
    assert constant_by_hand(-u, -v, 2 * np.pi / 32) == pytest.approx(-constant)
    assert constant_of(waves(32)) == 0.0
    expected = constant * filter_width(velocity[0].grid, float) ** 2 * magnitude_of(strain_rate(velocity))
    np.testing.assert_allclose(model(velocity), expected, rtol=1e-10)
    still = tuple(part.with_values(0.0 * part.values) for part in velocity)
    assert constant_of(still) == 0.0 and not np.any(model(still))


def test_a_sponge_rises_linearly_to_its_side():
    grid = dp.Grid((10, 4), (10.0, 1.0))
    velocity = linear_velocity(grid, np.zeros((2, 2)))
    upper = dp.Sponge("x", 6.0, 0.8)(velocity)
    np.testing.assert_allclose(upper[:, 1], [0] * 6 + [0.1, 0.3, 0.5, 0.7])
    lower = dp.Sponge("x", 2.0, 0.4, lower=True)(velocity)
    np.testing.assert_allclose(lower[:, 3], [0.3, 0.1] + [0] * 8)
