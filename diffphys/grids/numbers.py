"""How numbers that users give become traced leaves."""

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer

from diffphys.errors import InputError


def as_number(value: Any, name: str = "an argument") -> Array:
    """`value` as an array of the default float type; `name` is for the message where it is none.

    Every number that could be learned or swept passes through here, so that `0.06`, `1` and `np.float64(0.06)` become
    leaves of one type, and changing one for another compiles nothing anew.
    """
    try:
        if value is None:
            raise TypeError
        return jnp.asarray(value, dtype=jnp.result_type(float))
    except (TypeError, ValueError):
        raise InputError(f"{name} is {value!r}; a number or an array of numbers is accepted.") from None


def number(name: str) -> Callable[[Any], Array]:
    """The converter of a module's field that holds a number: `viscosity: Array = eqx.field(converter=number(...))`."""
    return functools.partial(as_number, name=name)


def as_array_of_shape(owner: str, name: str, value: Any, shape: tuple[int, ...]) -> Array:
    """A number, or an array with this shape (or extent 1 along some axes), as an array of it.

    Raises:
        InputError: for another shape, and for numbers that are not finite; traced values pass the latter.
    """
    values = as_number(value, f"{owner}: {name}")
    check_number(owner, name, values, scalar=False)
    if values.ndim and (
        values.ndim != len(shape)  # fewer axes would be broadcast, but along which of them is a guess
        or any(given not in (1, extent) for given, extent in zip(values.shape, shape, strict=True))
    ):
        hint = "; a leading axis is a batch: was jax.vmap forgotten?" if values.shape[1:] == shape else ""
        raise InputError(
            f"{owner}: {name} has shape {values.shape}; a number or an array of shape {shape} is accepted{hint}."
        )
    return jnp.broadcast_to(values, shape)


def in_precision_of(owner: str, step: Any, values: Array) -> Any:
    """The step with all its numbers in the floating type of a state's values, so that the state keeps its type.

    Raises:
        InputError: for a state of less than single precision: pressure and differences would be round-off.
    """
    dtype = values.dtype
    if jnp.issubdtype(dtype, jnp.floating) and jnp.finfo(dtype).bits < 32:
        raise InputError(f"{owner}: the state is of type {dtype}; float32 or float64 is accepted.")
    if not jnp.issubdtype(dtype, jnp.floating):
        return step
    return jax.tree.map(
        lambda leaf: leaf.astype(dtype) if eqx.is_inexact_array(leaf) and leaf.dtype != dtype else leaf, step
    )


def of_types(result: Any, state: Any) -> Any:
    """The result of a step, each array of the type that it has in the state."""
    if jax.tree.structure(result) != jax.tree.structure(state):
        return result  # a state of another flow, which loses or gains parts
    return jax.tree.map(lambda new, old: new.astype(old.dtype) if _differs(new, old) else new, result, state)


def _differs(new: Any, old: Any) -> bool:
    both = eqx.is_inexact_array(new) and eqx.is_inexact_array(old)
    return both and new.dtype != old.dtype


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
        bad = known.size - np.isfinite(known).sum()
        given = f"is {known}" if known.ndim == 0 else f"is NaN or infinite in {bad} of {known.size} places"
        raise InputError(f"{owner}: {name} {given}; finite numbers are accepted.")
    if not (np.all(known >= minimum) and np.all(known > above)):
        bound = f"greater than {above:g}" if above > -np.inf else f"of at least {minimum:g}"
        raise InputError(f"{owner}: {name} is {known}; a number {bound} is accepted.")
