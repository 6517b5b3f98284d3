"""The published set-up of drift-wave turbulence: its hyperviscosity on coarser grids, and what waves grow from."""

import jax
import numpy as np
import pytest

from diffphys.scenarios import drift_wave_noise, plasma_turbulence


@pytest.mark.usefixtures("float64")
def test_hyperviscosity_takes_the_smallest_waves_away_as_fast_on_every_coarser_grid():
    fine, coarse, finest = (plasma_turbulence(cells, 0.02) for cells in (128, 32, 512))
    rates = []
    for system in (fine, coarse):
        spacing = system.grid.spacing[0]
        rates.append(float(system.hyperviscosity) * (8 / spacing**2) ** 3)
    np.testing.assert_allclose(rates[0], rates[1], rtol=1e-12)
    np.testing.assert_allclose(finest.hyperviscosity, 5e-8, rtol=1e-12)
    np.testing.assert_allclose(finest.grid.size, 2 * np.pi / 0.15)


@pytest.mark.usefixtures("float64")
def test_noise_has_its_size_and_no_mean_and_its_potential_is_the_density():
    system = plasma_turbulence(64, 0.02)
    one, same, other = (drift_wave_noise(system, jax.random.key(seed)) for seed in (1, 1, 2))
    density = np.asarray(one.density)
    np.testing.assert_allclose([density.std(), density.mean()], [0.01, 0.0], atol=1e-12)
    np.testing.assert_allclose(system.potential(one).values, density, atol=1e-12)
    np.testing.assert_array_equal(density, np.asarray(same.density))
    assert np.abs(density - np.asarray(other.density)).max() > 0.01
    # Smooth: neighbors are alike.
    assert np.std(np.diff(density, axis=0)) < 0.6 * density.std()
