"""How far a prediction is from its target. Both are pytrees of arrays of one structure."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffphys.errors import InputError
from diffphys.grids.numbers import as_floating, shown


def half_sum_of_squares(prediction: Any, target: Any, scales: Any = None) -> Array:
    """`1/2 sum ((prediction - target) / scale)^2` over all entries of all arrays.

    Args:
        prediction: Pytree of arrays.
        target: Pytree of arrays of the same structure.
        scales: One number for each array in the same structure, or None for ones.
    """
    _check_alike("half_sum_of_squares", prediction, target)
    scales = jax.tree.map(lambda _: 1.0, prediction) if scales is None else scales
    terms = jax.tree.map(lambda p, t, s: 0.5 * jnp.sum((_difference(p, t) / s) ** 2), prediction, target, scales)
    return sum(jax.tree.leaves(terms), jnp.zeros(()))


def mean_absolute_error(prediction: Any, target: Any) -> Array:
    """The mean of `|prediction - target|` over all entries of all arrays: a long array counts more than a short one."""
    _check_alike("mean_absolute_error", prediction, target)
    differences = jax.tree.map(lambda p, t: jnp.sum(jnp.abs(_difference(p, t))), prediction, target)
    count = sum(jnp.size(leaf) for leaf in jax.tree.leaves(prediction))
    return sum(jax.tree.leaves(differences), jnp.zeros(())) / count


def _check_alike(owner: str, prediction: Any, target: Any) -> None:
    first, second = jax.tree.structure(prediction), jax.tree.structure(target)
    if first != second:
        raise InputError(
            f"{owner}: target has the structure {shown(second)} and prediction {shown(first)}; equal ones are accepted."
        )
    for one, other in zip(jax.tree.leaves(prediction), jax.tree.leaves(target), strict=True):
        if np.shape(one) != np.shape(other) and np.shape(one) and np.shape(other):
            raise InputError(
                f"{owner}: target has an array of shape {np.shape(other)} and prediction one of {np.shape(one)}; equal "
                "shapes are accepted."
            )


def _difference(prediction: Any, target: Any) -> Array:
    """As floating numbers: of unsigned whole ones 3 - 5 would be 254."""
    return as_floating(prediction, "prediction", complex=True) - as_floating(target, "target", complex=True)
