"""Spectra, correlations and thicknesses against waves and profiles whose values are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp
from diffphys.errors import InputError
from diffphys.learning.turbulence import (
    energy_spectrum,
    momentum_thickness,
    shell_wavenumbers,
    two_point_correlation,
    vorticity_thickness,
)


def periodic_velocity(cells, size, parts):
    grid = dp.Grid(cells, size)
    fields = []
    for axis, values in enumerate(parts):
        offset = tuple(0.0 if a == axis else 0.5 for a in range(len(cells)))
        field = dp.Field(jnp.zeros(cells), grid, offset, ((dp.Periodic(), dp.Periodic()),) * len(cells))
        fields.append(field.with_values(values(*field.coordinates()) + jnp.zeros(cells)))
    return fields


def test_each_wave_stands_in_its_shell_with_its_energy_wherever_it_lives():
    unit = 2 * np.pi / 4.0  # the longest edge
    velocity = periodic_velocity(
        (16, 8), (4.0, 2.0), [lambda x, y: 3 + jnp.cos(unit * (3 * x + 4 * y)), lambda x, y: 2 * jnp.sin(2 * unit * x)]
    )
    found = energy_spectrum(velocity)
    expected = np.zeros(8)
    expected[4], expected[1] = 1 / 4, 4 / 4  # half the mean square of each
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(shell_wavenumbers(velocity[0].grid), unit * np.arange(1, 9))


def test_in_three_dimensions_the_shells_hold_the_energy_of_smooth_noise():
    random = np.random.default_rng(0)
    modes = [(random.standard_normal(), random.integers(0, 3, 3), random.uniform(0, 6)) for _ in range(12)]

    def noise(x, y, z):
        return sum(a * jnp.cos(k[0] * x + k[1] * y + k[2] * z + phase) for a, k, phase in modes if k.any())

    velocity = periodic_velocity((8, 8, 8), (2 * np.pi,) * 3, [noise, lambda x, y, z: 0 * x, noise])
    energy = sum(float(jnp.mean(part.values**2)) for part in velocity) / 2
    assert float(jnp.sum(energy_spectrum(velocity))) == pytest.approx(energy, rel=1e-5)


def test_a_stretched_grid_is_refused():
    grid = dp.Grid.from_edges([np.array([0.0, 1.0, 3.0]), np.array([0.0, 1.0, 2.0])])
    flow = dp.IncompressibleFlow(grid, 0.1, 0.01, dp.Wall())
    with pytest.raises(InputError, match="energy_spectrum: grid"):
        energy_spectrum(flow.initial_state().velocity)


def test_correlations_are_the_means_of_products():
    values = jax.random.normal(jax.random.key(0), (12, 5))
    direct = jnp.stack([jnp.mean(values * jnp.roll(values, -distance, 0), axis=0) for distance in range(12)])
    np.testing.assert_allclose(two_point_correlation(values, 0), direct, atol=1e-6)


def test_thicknesses_of_a_hyperbolic_tangent():
    """u = 3 + tanh(2 y): 2 / 2 for the vorticity, and the integral of sech^2(2 y) / 4 for the momentum."""
    y = np.linspace(-12, 12, 1201)
    profile = jnp.asarray(np.stack([3 + np.tanh(2 * y), 5 * np.tanh(2 * y)]))
    np.testing.assert_allclose(vorticity_thickness(profile, y), [1, 1], rtol=2e-3)
    np.testing.assert_allclose(momentum_thickness(profile, y), [1 / 4, 1 / 4], rtol=1e-4)
