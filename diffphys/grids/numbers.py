"""How numbers that users give become traced leaves."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer

from diffphys.errors import InputError


def as_number(value: Any) -> Array:
    """`value` as an array of the default float type.

    Every number that could be learned or swept passes through here, so that `0.06`, `1` and `np.float64(0.06)` become
    leaves of one type, and changing one for another compiles nothing anew.
    """
    try:
        return jnp.asarray(value, dtype=jnp.result_type(float))
    except (TypeError, ValueError):
        raise InputError(f"a number or an array of numbers is accepted, {value!r} was given.") from None


def concrete(value: Any) -> np.ndarray | None:
    """The value as a NumPy array, or None where it is being traced and cannot be looked at."""
    return None if isinstance(value, Tracer) else np.asarray(value)


def check_number(
    owner: str, name: str, value: Any, *, minimum: float = -np.inf, above: float = -np.inf, scalar: bool = True
) -> None:
    """Raise `InputError` unless `value` is finite, at least `minimum` and greater than `above`; traced values pass."""
    if scalar and np.ndim(value) != 0:
        raise InputError(
            f"{owner}: {name} has shape {np.shape(value)}; one number is accepted (for a batch of them use jax.vmap)."
        )
    known = concrete(value)
    if known is None or known.dtype == object:  # object: a placeholder that JAX puts in while transforming
        return
    if not np.all(np.isfinite(known)):
        raise InputError(f"{owner}: {name} is {known}; finite numbers are accepted.")
    if not (np.all(known >= minimum) and np.all(known > above)):
        bound = f"greater than {above:g}" if above > -np.inf else f"of at least {minimum:g}"
        raise InputError(f"{owner}: {name} is {known}; a number {bound} is accepted.")
