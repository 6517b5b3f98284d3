"""How thick a layer between two streams is, from its mean profile."""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike


def vorticity_thickness(profile: Array, y: ArrayLike) -> Array:
    r"""$\delta_\omega = |U_2 - U_1| / \max_y |dU / dy|$ with the streams at the two ends (Brown, Roshko 1974).

    Args:
        profile: U, the last axis across the layer.
        y: Where it is known, increasing.

    Returns:
        A length; the other axes stay.
    """
    slopes = jnp.diff(profile, axis=-1) / jnp.diff(jnp.asarray(y))
    return jnp.abs(profile[..., -1] - profile[..., 0]) / jnp.max(jnp.abs(slopes), axis=-1)


def momentum_thickness(profile: Array, y: ArrayLike) -> Array:
    r"""$\theta = \int \big(\tfrac14 - ((U - \bar U) / \Delta U)^2\big) dy$ with the mean $\bar U$ of the streams at the
    two ends and their difference $\Delta U$; by the trapezoidal rule (Rogers, Moser 1994).

    Args:
        profile: U, the last axis across the layer.
        y: Where it is known, increasing.

    Returns:
        A length; the other axes stay.
    """
    first, last = profile[..., :1], profile[..., -1:]
    return jnp.trapezoid(0.25 - ((profile - (first + last) / 2) / (last - first)) ** 2, jnp.asarray(y), axis=-1)
