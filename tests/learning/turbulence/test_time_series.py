"""A frequency, spectra and intervals, on signals whose numbers are known."""

import numpy as np
import pytest

from diffphys.errors import InputError
from diffphys.learning.turbulence import bootstrap_interval, frequency_by_phase, periodograms


TIMES = 0.5 * np.arange(4000)


@pytest.mark.parametrize("frequency", [0.0123456, 0.04, 0.0917])
def test_the_frequency_is_found_far_below_the_spacing_of_the_coefficients(frequency):
    """With harmonics, a mean, an amplitude that changes, and noise of a tenth; the spacing is 5e-4."""
    turn = 2 * np.pi * frequency * TIMES
    clean = 3 + (1 + 0.2 * np.sin(TIMES / 300)) * np.cos(turn + 1) + 0.3 * np.cos(2 * turn) + 0.2 * np.sin(3 * turn)
    assert frequency_by_phase(clean, 0.5) == pytest.approx(frequency, rel=2e-4)
    noisy = clean + 0.1 * np.random.default_rng(0).standard_normal(len(clean))
    assert frequency_by_phase(noisy, 0.5) == pytest.approx(frequency, rel=5e-4)


def test_a_frequency_that_drifts_has_its_mean_where_the_fit_looks():
    phase = 0.05 * TIMES + 1e-6 * TIMES**2  # symmetric about the middle, where the slope is 0.052
    assert frequency_by_phase(np.sin(2 * np.pi * phase), 0.5) == pytest.approx(0.052, rel=1e-3)


def test_spectra_hold_the_variance_and_peak_at_the_frequency():
    series = 2 * np.sin(2 * np.pi * 0.1 * TIMES) + np.random.default_rng(1).standard_normal(len(TIMES))
    frequencies, densities = periodograms(series, 7, 0.5)
    assert densities.shape == (7, len(frequencies)) and frequencies[-1] == pytest.approx(1.0)
    spectrum = densities.mean(axis=0)
    assert np.sum(spectrum) * frequencies[1] == pytest.approx(np.var(series), rel=0.03)
    assert frequencies[np.argmax(spectrum)] == pytest.approx(0.1, abs=frequencies[1])
    # The noise alone, of variance one, is spread evenly over frequencies up to one.
    assert np.mean(spectrum[frequencies > 0.2]) == pytest.approx(1.0, rel=0.1)


def test_the_interval_of_a_mean_is_that_of_the_normal_distribution():
    blocks = np.random.default_rng(2).standard_normal(400)
    found = bootstrap_interval(400, lambda chosen: abs(blocks[chosen].mean() - blocks.mean()), samples=2000)
    assert found == pytest.approx(1.96 * np.std(blocks) / 20, rel=0.08)
    assert bootstrap_interval(5, lambda chosen: 3.0) == 3.0


@pytest.mark.parametrize(
    "values, words",
    [(np.ones(100), "constant"), (np.sin(np.arange(100) / 10), "periods"), (np.full(100, np.nan), "finite numbers")],
)
def test_series_without_a_frequency_are_refused(values, words):
    with pytest.raises(InputError, match=words):
        frequency_by_phase(values)
    with pytest.raises(InputError, match="eight or more"):
        periodograms(values, 50)
