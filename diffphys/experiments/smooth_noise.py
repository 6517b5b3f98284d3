"""Random fields with a spectrum that falls with the wavenumber, as several papers draw their data."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import Array


def smooth_noise(
    key: Array, cells: Sequence[int], *, spacing: float = 1.0, scale: float = 10.0, smoothness: float = 1.0
) -> Array:
    """Complex white noise times |k|^(-2 smoothness), its real part with zero mean and unit deviation; shape (*cells).

    k counts waves in a length of `scale`; waves with k^2 <= 0.1 are removed. This is `Noise` of PhiFlow.
    """
    axes = [jnp.fft.fftfreq(n, spacing) * scale for n in cells]
    squares = jnp.sum(jnp.stack(jnp.meshgrid(*axes, indexing="ij")) ** 2, axis=0)
    weights = jnp.where(squares > 0.1, jnp.where(squares > 0.1, squares, 1.0) ** -smoothness, 0.0)
    real, imaginary = jax.random.normal(key, (2, *cells))
    field = jnp.real(jnp.fft.ifftn((real + 1j * imaginary) * weights))
    field = field - jnp.mean(field)
    return field / jnp.std(field)


def random_waves(key: Array, cells: Sequence[int], power: float) -> Array:
    """Waves of random size and phase whose spectrum falls like (1 + |k|)^-power, with k in waves per cell; (*cells).

    The real part of the inverse transform of complex white noise times 8 sqrt(n) (1 + |k|)^-power, n the mean number of
    cells along an axis: `randfreq` of the first PhiFlow, from which Um et al. (2020) draw velocities and smoke.
    """
    axes = jnp.meshgrid(*(jnp.fft.fftfreq(n) for n in cells), indexing="ij")
    lengths = jnp.sqrt(sum((one**2 for one in axes), jnp.zeros(())))
    real, imaginary = jax.random.normal(key, (2, *cells))
    size = 8 * (sum(cells) / len(cells)) ** 0.5
    return jnp.fft.ifftn((real + 1j * imaginary) * size * (1 + lengths) ** -power).real
