"""How far a prediction is from its target. Both are pytrees of arrays of one structure."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array


def half_sum_of_squares(prediction: Any, target: Any, scales: Any = None) -> Array:
    """`1/2 sum ((prediction - target) / scale)^2` over all entries of all arrays.

    Args:
        prediction: Pytree of arrays.
        target: Pytree of arrays of the same structure.
        scales: One number for each array in the same structure, or None for ones.
    """
    scales = jax.tree.map(lambda _: 1.0, prediction) if scales is None else scales
    terms = jax.tree.map(lambda p, t, s: 0.5 * jnp.sum(((p - t) / s) ** 2), prediction, target, scales)
    return sum(jax.tree.leaves(terms), jnp.zeros(()))


def mean_absolute_error(prediction: Any, target: Any) -> Array:
    """The mean of `|prediction - target|` over all entries of all arrays: a long array counts more than a short one."""
    differences = jax.tree.map(lambda p, t: jnp.sum(jnp.abs(p - t)), prediction, target)
    count = sum(leaf.size for leaf in jax.tree.leaves(prediction))
    return sum(jax.tree.leaves(differences), jnp.zeros(())) / count
