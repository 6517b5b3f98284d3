"""Turbulence in two dimensions: what is said of the first states, and that grids agree."""

import jax
import jax.numpy as jnp
import numpy as np

from diffphys.learning.turbulence import energy_spectrum, momentum_thickness, vorticity_thickness
from diffphys.operators import coarsen
from diffphys.scenarios import decaying_turbulence, perturbed_streams, random_vortices, temporal_mixing_layer


def test_vortices_have_the_stated_size_and_spectrum_on_every_grid():
    coarse, fine = (random_vortices(decaying_turbulence(cells, 0.01), jax.random.key(0)) for cells in (64, 128))
    assert abs(float(sum(jnp.mean(part.values**2) for part in fine.velocity)) - 1) < 1e-3
    for one, other in zip(coarse.velocity, fine.velocity, strict=True):
        np.testing.assert_allclose(one.values, coarsen(other, 2).values, atol=0.05)
    k = np.arange(1, 17)
    expected = k**3 * np.exp(-2 * (k / 6) ** 2)
    found = np.asarray(energy_spectrum(fine.velocity))[:16]
    np.testing.assert_allclose(found[1:13], (0.5 * expected / expected.sum())[1:13], rtol=0.45)  # shells of few waves


def test_streams_have_the_stated_thicknesses_and_waves():
    flow = temporal_mixing_layer(512, 0.1, size=(20 * np.pi, 40 * np.pi / 2))
    still = perturbed_streams(flow, jax.random.key(0), amplitude=0.0)
    y = np.asarray(still.velocity[0].coordinates()[1]).reshape(-1)
    profile = still.velocity[0].values[0]
    assert abs(float(vorticity_thickness(profile, y)) - 2) < 0.02
    assert abs(float(momentum_thickness(profile, y)) - 0.5) < 0.005
    moving = perturbed_streams(flow, jax.random.key(0), amplitude=0.1, shortest=8.0)
    waves = np.abs(np.fft.rfft(np.asarray(moving.velocity[1].values)[:, 128])) / 512
    k = 2 * np.pi * np.arange(1, 8) / (20 * np.pi)
    np.testing.assert_allclose(waves[1:8], 0.1 * np.sqrt(2 / 7) * k / 2, rtol=1e-2)  # seven waves, at the middle
    assert np.max(waves[9:]) < 1e-5
