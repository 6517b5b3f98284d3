r"""How far an unrolled flow is from its target, in several senses (List, Chen, Thuerey 2022, section 2.3).

All are of velocities over the unrolled steps: one `Field` for each axis, whose values have a leading axis of steps.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffphys.errors import InputError
from diffphys.grids import Field
from diffphys.grids.numbers import whole_number
from diffphys.learning.turbulence.spectra import energy_spectrum
from diffphys.physics.added_viscosity import strain_rate


Velocity = Sequence[Field]

FLOOR = 1e-10  # of the energy: what a shell is taken to hold at least, so that an empty one has a logarithm


class LossWeights(NamedTuple):
    """What the parts of `turbulence_loss` count for.

    Published are (10, 0.05, 1e-5, 0) for decaying turbulence, (100, 2, 0.05, 0) for the temporal mixing layer and
    (50, 0.5, 2, 0.5) for the spatial one; where the mean flow itself changes, its part does harm.
    """

    squared: float = 1.0
    spectrum: float = 0.0
    strain: float = 0.0
    mean_flow: float = 0.0


def turbulence_loss(prediction: Velocity, target: Velocity, weights: LossWeights, window: int | None = None) -> Array:
    r"""$\lambda_2 L_2 + \lambda_E L_E + \lambda_S L_S + \lambda_M L_M$; parts of weight zero are not computed.

    The published loss is the sum over the steps; this is their mean, so that it has one size for all lengths of a
    curriculum.

    Args:
        prediction: The unrolled velocity.
        target: The one to meet.
        weights: The four $\lambda$.
        window: Steps over which the mean flow is taken, the gradient sub-range in the publication. Default: all.

    Raises:
        InputError: for a window longer than the unrolled steps.
    """
    total = jnp.zeros((), prediction[0].values.dtype)
    if weights.squared:
        total = total + weights.squared * squared_error(prediction, target)
    if weights.spectrum:
        total = total + weights.spectrum * spectral_energy_error(prediction, target)
    if weights.strain:
        total = total + weights.strain * strain_rate_error(prediction, target)
    if weights.mean_flow:
        total = total + weights.mean_flow * mean_flow_error(prediction, target, window)
    return total


def squared_error(prediction: Velocity, target: Velocity) -> Array:
    r"""$L_2 = \frac12 \sum_x |v - \tilde v|^2$ over all faces; the mean over the steps."""
    return sum(
        (jnp.sum((one.values - other.values) ** 2) for one, other in _pairs(prediction, target)), jnp.zeros(())
    ) / (2 * _steps(prediction))


def spectral_energy_error(prediction: Velocity, target: Velocity) -> Array:
    r"""$L_E = \sqrt{\sum_k \ln^2 (\tilde E(k) / E(k))}$ with the shells of `energy_spectrum`; the mean over the steps.

    The logarithm lets the small scales count as much as the large ones.
    """

    def of_step(velocity: Velocity, aim: Velocity) -> Array:
        found, true = energy_spectrum(velocity), energy_spectrum(aim)
        floor = FLOOR * jnp.sum(true)
        return _root(jnp.sum(jnp.log((found + floor) / (true + floor)) ** 2))

    return jnp.mean(jax.vmap(of_step)(tuple(prediction), tuple(target)))


def strain_rate_error(prediction: Velocity, target: Velocity) -> Array:
    r"""$L_S = \sum_{ij} \sum_x |S_{ij} - \tilde S_{ij}|$ at the centers, all entries; the mean over the steps."""

    def of_step(velocity: Velocity, aim: Velocity) -> Array:
        found, true = strain_rate(velocity), strain_rate(aim)
        parts = [(1.0 if i == j else 2.0) * jnp.sum(jnp.abs(part - true[i, j])) for (i, j), part in found.items()]
        return sum(parts, jnp.zeros(()))

    return jnp.mean(jax.vmap(of_step)(tuple(prediction), tuple(target)))


def mean_flow_error(prediction: Velocity, target: Velocity, window: int | None = None) -> Array:
    r"""$L_M = \sum_x |\langle v \rangle - \langle \tilde v \rangle|_1$ of means over windows of steps; the mean
    over the steps. The window lies about each step, and at the ends as near to it as it fits.

    Args:
        prediction: The unrolled velocity.
        target: The one to meet.
        window: Steps in a window. Default: all.

    Raises:
        InputError: for a window longer than the unrolled steps.
    """
    steps = _steps(prediction)
    window = steps if window is None else whole_number("mean_flow_error: window", window)
    if window > steps:
        raise InputError(f"mean_flow_error: window is {window}; at most the unrolled steps ({steps}) are accepted.")
    firsts = np.clip(np.arange(steps) - window // 2, 0, steps - window)

    def means(values: Array) -> Array:
        inside = (np.arange(steps) >= firsts[:, None]) & (np.arange(steps) < firsts[:, None] + window)
        return jnp.tensordot(jnp.asarray(inside / window, values.dtype), values, 1)

    parts = [jnp.sum(jnp.abs(means(one.values - other.values))) for one, other in _pairs(prediction, target)]
    return sum(parts, jnp.zeros(())) / steps


def _pairs(prediction: Velocity, target: Velocity) -> list[tuple[Field, Field]]:
    return list(zip(prediction, target, strict=True))


def _steps(velocity: Velocity) -> int:
    return velocity[0].values.shape[0]


def _root(square: Array) -> Array:
    """The square root, with derivative zero at zero, where the smallest of the subgradients is."""
    positive = square > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1.0)), 0.0)
