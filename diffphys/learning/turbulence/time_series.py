"""Numbers of what was recorded over a long time: a frequency, a spectrum, and how far chance alone may move them."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from diffphys.errors import InputError
from diffphys.grids.numbers import whole_number


def frequency_by_phase(values: ArrayLike, dt: float = 1.0) -> float:
    r"""The mean frequency of a signal that repeats, by a fit of its phase.

    Of the coefficients of Fourier those between a half and one and a half of the largest one's frequency make the
    analytic signal $a(t)\, e^{i \phi(t)}$ (Gabor 1946); a line is fitted to $\phi / 2 \pi$ by least squares, a tenth at
    both ends left out, where the series is taken for a period. The error of a steady signal falls with the time to the
    power of -3/2, where counting whole periods or taking the largest coefficient leaves a part of a period.

    Args:
        values: At equal intervals, (times,), at least four periods.
        dt: The interval.

    Returns:
        Periods per time.

    Raises:
        InputError: a series of another shape, one that is not finite or constant, or one of fewer periods.
    """
    series = np.asarray(values, np.float64)
    if series.ndim != 1 or len(series) < 16 or not np.isfinite(series).all():
        raise InputError(
            f"frequency_by_phase: values has shape {series.shape}; sixteen or more finite numbers are accepted."
        )
    series = series - series.mean()
    if np.ptp(series) <= 1e-12 * max(1.0, np.abs(values).max()):
        raise InputError("frequency_by_phase: values are constant; a series that repeats is accepted.")
    count = len(series)
    largest = int(np.argmax(np.abs(np.fft.rfft(series * np.hanning(count)))[1:])) + 1
    if largest < 4:
        raise InputError(f"frequency_by_phase: values hold {largest} periods; four or more are accepted.")
    wave = np.fft.fft(series)
    number = np.arange(count)
    wave[(number < largest / 2) | (number > 1.5 * largest)] = 0.0
    phase = np.unwrap(np.angle(np.fft.ifft(wave)))
    inner = slice(count // 10, count - count // 10)
    slope, _ = np.polyfit(number[inner], phase[inner], 1)
    return float(slope / (2 * np.pi * dt))


def periodograms(values: ArrayLike, segments: int, dt: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    r"""The power spectral densities of segments that overlap by half (Welch 1967), with the window of Hann.

    $\int S\, \mathrm{d} f$ is the variance of the signal; the mean over the segments is Welch's estimate.

    Args:
        values: At equal intervals, (times,).
        segments: How many segments of equal length.
        dt: The interval.

    Returns:
        The frequencies, (frequencies,), and the densities, (segments, frequencies).
    """
    segments = whole_number("periodograms: segments", segments)
    series = np.asarray(values, np.float64)
    series = series - series.mean()
    length = 2 * (len(series) // (segments + 1))
    if length < 8:
        raise InputError(
            f"periodograms: {segments} segments of {len(series)} values have {length}; eight or more are accepted."
        )
    window = np.hanning(length)
    pieces = np.stack([series[first : first + length] for first in np.arange(segments) * (length // 2)])
    wave = np.abs(np.fft.rfft(pieces * window, axis=1)) ** 2
    twice = np.full(wave.shape[1], 2.0)
    twice[0] = 1.0
    if length % 2 == 0:
        twice[-1] = 1.0
    return np.fft.rfftfreq(length, dt), dt * twice * wave / np.sum(window**2)


def bootstrap_interval(
    count: int, measure: Callable[[np.ndarray], ArrayLike], *, samples: int = 200, level: float = 0.95, seed: int = 0
) -> Any:
    """How large a number, or each of an array, becomes by the choice of blocks alone, in a part `level` of all choices
    (Efron 1979; of blocks of a series, whose neighbors are not independent: Kuensch 1989).

    Args:
        count: How many blocks there are.
        measure: From the numbers of blocks, (count,), drawn with replacement, to a number or an array, such as the
            difference between the statistics of these and of all.
        samples: How many draws.
        level: The part.
        seed: Of the draws.
    """
    generator = np.random.default_rng(seed)
    draws = generator.integers(0, count, (samples, count))
    found = np.quantile(np.array([np.asarray(measure(blocks)) for blocks in draws]), level, axis=0)
    return found if found.ndim else float(found)
