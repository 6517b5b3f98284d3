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
