"""The losses against their formulas, written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp
from diffphys.errors import InputError
from diffphys.learning.turbulence import (
    LossWeights,
    mean_flow_error,
    spectral_energy_error,
    squared_error,
    strain_rate_error,
    turbulence_loss,
)


LENGTH = 2 * np.pi
FLOW = dp.IncompressibleFlow(dp.Grid((8, 8), (LENGTH, LENGTH)), 0.1, 0.01, dp.Periodic())
STEPS = 5


def unrolled(key):
    empty = FLOW.initial_state().velocity
    keys = jax.random.split(key, 2)
    return tuple(
        jax.vmap(part.with_values)(jax.random.normal(one, (STEPS, 8, 8))) for part, one in zip(empty, keys, strict=True)
    )


PREDICTION, TARGET = unrolled(jax.random.key(1)), unrolled(jax.random.key(2))
ARRAYS = [np.stack([np.asarray(part.values) for part in velocity]) for velocity in (PREDICTION, TARGET)]


def test_squares_and_means_over_windows():
    apart = ARRAYS[0] - ARRAYS[1]
    assert float(squared_error(PREDICTION, TARGET)) == pytest.approx(0.5 * np.sum(apart**2) / STEPS, rel=1e-5)
    assert float(mean_flow_error(PREDICTION, TARGET)) == pytest.approx(np.sum(np.abs(apart.mean(1))), rel=1e-5)
    assert float(mean_flow_error(PREDICTION, TARGET, 1)) == pytest.approx(np.sum(np.abs(apart)) / STEPS, rel=1e-5)
    windows = [apart[:, first : first + 3].mean(1) for first in (0, 0, 1, 2, 2)]  # about each step, within the five
    expected = sum(np.sum(np.abs(window)) for window in windows) / STEPS
    assert float(mean_flow_error(PREDICTION, TARGET, 3)) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(InputError, match=r"mean_flow_error: window is 6; at most the unrolled steps \(5\)"):
        mean_flow_error(PREDICTION, TARGET, 6)


def test_the_spectral_error_of_a_flow_of_twice_the_size():
    """Four times the energy in each of the four shells."""
    doubled = jax.tree.map(lambda leaf: 2 * leaf, TARGET)
    assert float(spectral_energy_error(doubled, TARGET)) == pytest.approx(np.log(4) * np.sqrt(4), rel=1e-5)


def test_the_strain_error_of_a_wave():
    """u = sin y, v = 0 beside rest: both off-diagonal entries are half of cos y, on the grid times a known factor."""
    u = dp.Field(jnp.zeros((8, 8)), FLOW.grid, (0.0, 0.5), TARGET[0].conditions)
    y = u.coordinates()[1]
    wave = jax.vmap(u.with_values)(jnp.broadcast_to(jnp.sin(y), (STEPS, 8, 8)))
    rest = jax.tree.map(jnp.zeros_like, TARGET)
    h = LENGTH / 8
    factor = np.sin(h / 2) / (h / 2) * np.cos(h / 2)  # of the difference, and of the mean that brings it to the centers
    expected = 2 * 8 * np.sum(np.abs(factor * np.cos(y) / 2))
    assert float(strain_rate_error((wave, rest[1]), rest)) == pytest.approx(expected, rel=1e-5)


def test_the_whole_is_the_weighted_sum_and_has_a_gradient_at_its_minimum():
    weights = LossWeights(10.0, 0.5, 0.1, 2.0)
    parts = [part(PREDICTION, TARGET) for part in (squared_error, spectral_energy_error, strain_rate_error)]
    expected = sum(w * float(p) for w, p in zip(weights, [*parts, mean_flow_error(PREDICTION, TARGET, 2)], strict=True))
    assert float(turbulence_loss(PREDICTION, TARGET, weights, 2)) == pytest.approx(expected, rel=1e-5)

    def of(size):
        larger = jax.tree.map(lambda leaf: size * leaf, TARGET)
        return turbulence_loss(larger, TARGET, weights, 2)

    value, slope = jax.jit(jax.value_and_grad(of))(1.0)
    assert abs(float(value)) < 1e-3 and np.isfinite(float(slope))
