r"""Sines and cosines along one axis, by fast Fourier transforms.

With the mirrors of `grids.ends` at both ends a sequence goes on for ever, and repeats after M steps, up to its sign.
For n cells M is 2 n, 2 n + 1 or 2 n + 2. The waves that fit are cosines or sines of the angle $\theta$ per cell, with
$\theta_k = 2 \pi k / M$ where the sequence repeats with its sign and $\pi (2 k + 1) / M$ where it does not. (With
mirrors between the cells these are the types II and IV of the discrete cosine and sine transforms, with a point beyond
type I, with one of each the odd types: Martucci 1994.) One Fourier transform of M values gives all coefficients.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffphys.grids.axes import at_axis
from diffphys.grids.ends import ENDS, Kind


def angles(cells: int, kinds: tuple[Kind, Kind]) -> np.ndarray:
    """The angle per cell of each wave that fits the ends, in the order of `wave`'s columns."""
    if kinds[0] == "periodic":
        return 2 * np.pi * np.concatenate([np.arange(cells // 2 + 1), np.arange(1, (cells + 1) // 2)]) / cells
    period, same = _period(cells, kinds)
    numbers = np.arange(cells)
    if not same:
        return np.pi * (2 * numbers + 1) / period
    # The constant fits between two slopes of zero only.
    return 2 * np.pi * (numbers + (ENDS[kinds[0]].parity < 0)) / period


def wave(cells: int, kinds: tuple[Kind, Kind]) -> np.ndarray:
    """The orthogonal matrix whose columns are the waves: on periodic axes all cosines, then the sines."""
    theta = angles(cells, kinds)
    if kinds[0] == "periodic":
        places = np.arange(cells)[:, None]
        cosines = cells // 2 + 1
        values = np.concatenate([np.cos(places * theta[:cosines]), np.sin(places * theta[cosines:])], axis=1)
    else:
        places = np.arange(cells)[:, None] + (0.5 + ENDS[kinds[0]].mirror)
        values = np.cos(places * theta) if ENDS[kinds[0]].parity > 0 else np.sin(places * theta)
    return values / np.sqrt(np.sum(values**2, axis=0))


def fast_analysis(values: Array, axis: int, kinds: tuple[Kind, Kind]) -> Array:
    """`wave^T values` along one axis."""
    cells = values.shape[axis]
    lengths = _lengths(cells, kinds)
    if kinds[0] == "periodic":
        spectrum = jnp.fft.rfft(values, axis=axis)
        sines = jax.lax.slice_in_dim(spectrum.imag, 1, (cells + 1) // 2, axis=axis)
        result = jnp.concatenate([spectrum.real, -sines], axis)
        return result / _line(lengths, values, axis)
    period, same = _period(cells, kinds)
    sign = _signs(kinds)[1]
    image = sign * jnp.flip(values, axis)
    gap = jnp.zeros_like(jax.lax.slice_in_dim(values, 0, 1, axis=axis))
    parts = [values, gap, image] if ENDS[kinds[1]].mirror else [values, image]
    extended = jnp.concatenate([*parts, gap] if ENDS[kinds[0]].mirror else parts, axis)
    shift = 0.5 + ENDS[kinds[0]].mirror
    if same:
        spectrum = jnp.fft.rfft(extended, axis=axis)
        first = int(ENDS[kinds[0]].parity < 0)
    else:
        twist = np.exp(-1j * np.pi * np.arange(period) / period)
        spectrum = jnp.fft.fft(extended * _line(twist, values, axis), axis=axis)
        first = 0
    spectrum = jax.lax.slice_in_dim(spectrum, first, first + cells, axis=axis)
    turned = spectrum * _line(np.exp(-1j * shift * angles(cells, kinds)) / (2 * lengths), values, axis)
    return turned.real if ENDS[kinds[0]].parity > 0 else -turned.imag


def fast_synthesis(coefficients: Array, axis: int, kinds: tuple[Kind, Kind]) -> Array:
    """`wave coefficients` along one axis."""
    cells = coefficients.shape[axis]
    lengths = _lengths(cells, kinds)
    if kinds[0] == "periodic":
        count = cells // 2 + 1
        scaled = coefficients * _line(lengths, coefficients, axis)
        cosines = jax.lax.slice_in_dim(scaled, 0, count, axis=axis)
        sines = jax.lax.slice_in_dim(scaled, count, cells, axis=axis)
        sines = jnp.pad(sines, at_axis(axis, (1, count - 1 - sines.shape[axis]), (0, 0), sines.ndim))
        # A cosine's coefficient stands twice in the whole spectrum, save for the constant and the fastest wave.
        twice = np.full(count, 0.5)
        twice[0] = 1.0
        if cells % 2 == 0:
            twice[-1] = 1.0
        # In units of the full spectrum: coefficient / length^2 times the number of cells.
        weights = cells * twice / lengths[:count] ** 2
        spectrum = jax.lax.complex(cosines, -sines) * _line(weights, coefficients, axis)
        return jnp.fft.irfft(spectrum, cells, axis=axis)
    period, same = _period(cells, kinds)
    shift = 0.5 + ENDS[kinds[0]].mirror
    turn = np.exp(1j * shift * angles(cells, kinds)) / lengths * (1.0 if ENDS[kinds[0]].parity > 0 else -1j)
    if same:
        first = int(ENDS[kinds[0]].parity < 0)
        frequencies = first + np.arange(cells)
        full = (frequencies == 0) | (2 * frequencies == period)  # stands once in the whole spectrum
        spectrum = coefficients * _line(turn * np.where(full, 1.0, 0.5) * period, coefficients, axis)
        behind = period // 2 + 1 - first - cells
        spectrum = jnp.pad(spectrum, at_axis(axis, (first, behind), (0, 0), spectrum.ndim))
        values = jnp.fft.irfft(spectrum, period, axis=axis)
        return jax.lax.slice_in_dim(values, 0, cells, axis=axis)
    spectrum = coefficients * _line(turn * period, coefficients, axis)
    spectrum = jnp.pad(spectrum, at_axis(axis, (0, period - cells), (0, 0), spectrum.ndim))
    values = jax.lax.slice_in_dim(jnp.fft.ifft(spectrum, axis=axis), 0, cells, axis=axis)
    return (values * _line(np.exp(1j * np.pi * np.arange(cells) / period), coefficients, axis)).real


def is_fast(cells: int, kinds: tuple[Kind, Kind], dtype: str) -> bool:
    """Whether the fast transform is the faster one along a uniform axis of so many cells.

    From medians of alternating runs on two CPU cores, both transforms there and back on an n x n grid; time of the
    products with matrices over time of the fast transforms (the machine had other work as well):

    | ends | float32: 64 | 128 | 192 | 256 | 384 | 512 | float64: 64 | 128 | 192 | 256 | 384 | 512 |
    |---|---|---|---|---|---|---|---|---|---|---|---|---|
    | periodic | 1.1 | 1.3 | 2.1 | 2.5 | 1.9 | 4.0 | 9.1 | 2.8 | 1.5 | 1.8 | 8.8 | 4.6 |
    | of one sign | 1.2 | 0.8 | 0.9 | 1.0 | 1.7 | 1.6 | 0.8 | 0.8 | 1.2 | 1.5 | 3.4 | 2.1 |
    | of two signs | 0.1 | 0.3 | 0.5 | 0.3 | 0.8 | 1.2 | 0.1 | 0.6 | 1.6 | 1.0 | 1.2 | 1.3 |

    (slope 0 at both ends; slope 0 and value 0, for which the transform is a complex one.) Lengths with a prime factor
    above 13 cost several times as much; with them matrices win up to four times the length.
    """
    double = dtype == "float64"
    if kinds[0] == "periodic":
        period, limit = cells, 64 if double else 128
    else:
        period, same = _period(cells, kinds)
        limit = (192 if double else 256) if same else (384 if double else 512)
    return cells >= limit * (1 if _largest_prime(period) <= 13 else 4)


def is_fast_together(cells: tuple[int, ...], dtype: str) -> bool:
    """Whether one Fourier transform of all axes, all of them periodic and uniform, beats products with matrices.

    Measured like `is_fast`; time of the products over that of the transform, there and back:

    | axes | float32: 32 | 48 | 64 | 96 | 128 | 256 | float64: 32 | 48 | 64 | 96 | 128 | 256 |
    |---|---|---|---|---|---|---|---|---|---|---|---|---|
    | 2 | 0.8 | 0.8 | 1.2 | 1.4 | 2.1 | 4.0 | 0.9 | 1.2 | 1.8 | 2.1 | 3.6 | 6.3 |
    | 3 | 0.7 | 1.0 | 1.1 | 1.1 | | | 1.6 | 1.1 | 1.5 | 1.4 | | |

    The products take a time like the mean length of the axes.
    """
    double = dtype == "float64"
    limit = (32 if double else 64) if len(cells) == 3 else (48 if double else 64)
    smooth = max(map(_largest_prime, cells)) <= 13
    return sum(cells) >= len(cells) * limit * (1 if smooth else 4)


def _largest_prime(number: int) -> int:
    largest, divisor = 1, 2
    while number > 1:
        while number % divisor == 0:
            number, largest = number // divisor, divisor
        divisor += 1
    return largest


def _period(cells: int, kinds: tuple[Kind, Kind]) -> tuple[int, bool]:
    """After how many steps a sequence with these mirrors repeats, and whether with the same sign."""
    signs = _signs(kinds)
    return 2 * cells + int(sum(2 * ENDS[kind].mirror for kind in kinds)), signs[0] == signs[1]


def _signs(kinds: tuple[Kind, Kind]) -> tuple[int, int]:
    lower, upper = (ENDS[kind].parity for kind in kinds)
    return lower, upper


def _lengths(cells: int, kinds: tuple[Kind, Kind]) -> np.ndarray:
    """The Euclidean lengths of the waves before they are normalized."""
    theta = angles(cells, kinds)
    if kinds[0] == "periodic":
        squares = np.full(cells, cells / 2)
        squares[(theta == 0) | (np.abs(theta - np.pi) < 1e-9)] = cells
        return np.sqrt(squares)
    period, _ = _period(cells, kinds)
    squares = np.full(cells, period / 4)
    squares[(theta == 0) | (np.abs(theta - np.pi) < 1e-9)] = period / 2
    return np.sqrt(squares)


def _line(values: np.ndarray, like: Array, axis: int) -> Array:
    """Numbers along one axis, in the precision of `like`."""
    real = jnp.finfo(like.dtype).dtype
    dtype = real if not np.iscomplexobj(values) else np.result_type(real, np.complex64)
    return jnp.asarray(values.reshape(at_axis(axis, -1, 1, like.ndim)), dtype)
