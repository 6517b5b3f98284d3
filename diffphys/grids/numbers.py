"""How numbers that users give become traced leaves."""

import functools
import operator
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer
from jax.typing import ArrayLike, DTypeLike

from diffphys.devices import are_several, beside
from diffphys.errors import InputError
from diffphys.linear import linear_map


def as_number(value: Any, name: str = "an argument") -> Array:
    """`value` as an array of the default float type; `name` is for the message where it is none.

    Every number that could be learned or swept passes through here, so that `0.06`, `1` and `np.float64(0.06)` become
    leaves of one type, and changing one for another compiles nothing anew. What is known stays known inside of `jit`:
    `Sphere((0.5, 0.5), 0.2)` written there has the numbers that it says, and only what depends on an argument is
    traced.
    """
    return _as_array(value, jnp.result_type(float), name)


def constant_of(value: Array, dtype: DTypeLike) -> Array:
    """A single number in another type. Inside of a transformation one that is known is written into the program, where
    XLA simplifies with it (a wall at rest adds nothing); an array that is closed over stays an argument to XLA.
    """
    known = None if isinstance(value, Tracer) or are_several(value) else value
    return value.astype(dtype) if known is None else jnp.asarray(np.asarray(known)[()], dtype)


def as_floating(value: Any, name: str = "an argument", *, complex: bool = False) -> Array:
    """`value` as an array of numbers that can hold a fraction: floating ones keep their type, whole numbers and
    booleans become those of the default float type, so that nothing computed with them is cut off.

    Raises:
        InputError: for what is no array of numbers, and for complex ones unless `complex`.
    """
    if isinstance(value, (Array, np.ndarray)):
        kind = value.dtype
        if jnp.issubdtype(kind, jnp.floating) or (complex and jnp.issubdtype(kind, jnp.complexfloating)):
            return jnp.asarray(value)
    elif complex and _is_complex(value):
        return jnp.asarray(value)
    return _as_array(value, jnp.result_type(float), name)


def _as_array(value: Any, dtype: DTypeLike | None, name: str) -> Array:
    if isinstance(value, Array):  # also one that is being traced
        if _is_number_type(value.dtype):
            return jnp.asarray(value, dtype=dtype)
        raise InputError(f"{name} has type {value.dtype}; a number or an array of numbers is accepted.")
    if hasattr(value, "values") and hasattr(value, "grid"):  # its grid could be another one
        raise InputError(f"{name} is a {type(value).__name__}; an array of numbers is accepted, as its `values` are.")
    try:
        if value is None or isinstance(value, (str, bytes)) or _is_complex(value):
            raise TypeError
        leaves = jax.tree.leaves(value)
        if any(isinstance(leaf, Tracer) for leaf in leaves):
            if are_several(leaves):  # JAX (0.10.2) does not join a spread array and one that is on no mesh
                value = jax.tree.map(lambda leaf: beside(jnp.asarray(leaf, dtype), leaves), value)
            return jnp.asarray(value, dtype=dtype)
        known = np.asarray(value)
        if not _is_number_type(known.dtype) and known.dtype != object:  # object: arrays of JAX in a list
            raise TypeError
        with jax.ensure_compile_time_eval():
            return jnp.asarray(value, dtype=dtype)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{name} is {shown(value)}; a number or an array of numbers is accepted.") from None


def _is_number_type(dtype: Any) -> bool:
    return any(jnp.issubdtype(dtype, kind) for kind in (jnp.floating, jnp.integer, jnp.bool_))


def _is_complex(value: Any) -> bool:
    try:
        return bool(np.iscomplexobj(value))
    except (TypeError, ValueError):
        return False


def shown(value: Any, longest: int = 120) -> str:
    """What was given, for a message: cut where it is long."""
    text = " ".join(repr(value).split())
    return text if len(text) <= longest else f"{text[: longest - 4]} ..."


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
        hint = " (a leading axis is a batch, for which there is jax.vmap)" if values.shape[1:] == shape else ""
        raise InputError(
            f"{owner}: {name} has shape {values.shape}; a number or an array of shape {shape} is accepted{hint}."
        )
    return jnp.broadcast_to(values, shape)


def as_whole(value: Any, least: int = 1) -> int | None:
    """`value` as an integer of Python, or None where it is no whole number of at least `least`.

    Whole numbers of NumPy are accepted, and arrays of one such number; booleans and `2.0` are not.
    """
    if isinstance(value, (bool, np.bool_, Tracer)):
        return None
    try:
        whole = operator.index(value)
    except TypeError:
        return None
    return whole if whole >= least else None


def plain(value: Any) -> Any:
    """A whole number of any type as an integer of Python, also within a tuple, and what is none as it is: the converter
    of static fields, which are compared and hashed.
    """
    if isinstance(value, tuple):
        return tuple(plain(one) for one in value)
    whole = as_whole(value, least=-sys.maxsize)
    return value if whole is None else whole


def one_number(name: str, returned: Any) -> Array:
    """What a user's function of this name returned, where that is one number."""
    if jnp.shape(returned) != ():
        raise InputError(f"{name} returns an array of shape {jnp.shape(returned)}; one number is accepted.")
    return jnp.asarray(returned)


def whole_number(name: str, value: Any, least: int = 1) -> int:
    """`value` as an integer of Python; `name` is for the message where it is no whole number of at least `least`."""
    whole = as_whole(value, least)
    if whole is None:
        raise InputError(f"{name} is {shown(value)}; a whole number of at least {least} is accepted.")
    return whole


def as_components(owner: str, name: str, parts: Any, count: int) -> list[Any]:
    """What is given for each of `count` axes, as a list; `InputError` where there is another number of entries."""
    listed = isinstance(parts, Sequence) and not isinstance(parts, (str, bytes))
    if not listed and not (isinstance(parts, (Array, np.ndarray)) and parts.ndim):
        raise InputError(f"{owner}: {name} is {shown(parts)}; one entry for each of {count} axes is accepted.")
    if len(parts) != count:
        raise InputError(f"{owner}: {name} has {len(parts)} components; {count} are accepted.")
    return list(parts)


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


def magnitude(values: Array) -> Array:
    """`|values|` of real numbers. At zero the derivative is zero, the mean of both sides; that of `jnp.abs` is one."""
    return jnp.sign(values) * values


def times(factor: ArrayLike, values: Array) -> Array:
    """`factor * values`; of a real factor and complex values without the products with its imaginary part, zero, that
    XLA would make, and so in the transpose.
    """
    if jnp.iscomplexobj(factor) or not jnp.iscomplexobj(values):
        return jnp.multiply(factor, values)
    values = jnp.broadcast_to(values, jnp.broadcast_shapes(jnp.shape(factor), values.shape))
    return linear_map(_times_each_part, _times_each_part, (factor,), (values,))[0]


def _times_each_part(factors: Sequence[Array], values: Sequence[Array]) -> tuple[Array]:
    return (jax.lax.complex(factors[0] * values[0].real, factors[0] * values[0].imag),)


def concrete(value: Any) -> np.ndarray | None:
    """The value as a NumPy array, or None where it cannot be looked at: it is being traced, is a function, or is a
    placeholder that JAX puts in while transforming.
    """
    known = None if isinstance(value, Tracer) or callable(value) else np.asarray(value)
    return None if known is None or known.dtype == object else known


def check_kind(owner: str, name: str, value: Any, accepted: type | tuple[type, ...], words: str) -> None:
    """Raise `InputError` unless a value is of one of these types; `words` say which these are."""
    if not isinstance(value, accepted):
        raise InputError(f"{owner}: {name} is {shown(value)}; {words} is accepted.")


def check_number(
    owner: str, name: str, value: Any, *, minimum: float = -np.inf, above: float = -np.inf, scalar: bool = True
) -> None:
    """Raise `InputError` unless `value` is finite, at least `minimum` and greater than `above`; traced values pass."""
    if scalar and np.ndim(value) != 0:
        raise InputError(
            f"{owner}: {name} has shape {np.shape(value)}; one number is accepted (for a batch of them use jax.vmap)."
        )
    known = concrete(value)
    if known is None:
        return
    if not np.all(np.isfinite(known)):
        bad = known.size - np.isfinite(known).sum()
        given = f"is {known}" if known.ndim == 0 else f"is NaN or infinite in {bad} of {known.size} places"
        raise InputError(f"{owner}: {name} {given}; finite numbers are accepted.")
    if not (np.all(known >= minimum) and np.all(known > above)):
        bound = f"greater than {above:g}" if above > -np.inf else f"of at least {minimum:g}"
        raise InputError(f"{owner}: {name} is {known}; a number {bound} is accepted.")


def check_names(owner: str, what: str, given: Iterable[str], accepted: Iterable[str], *, some: bool = False) -> None:
    """Raise `InputError` where a name is none of the accepted ones, or, unless `some` suffice, is missing."""
    given, accepted = sorted(given), sorted(accepted)
    if any(name not in accepted for name in given) or not (some or given == accepted):
        raise InputError(f"{owner}: {what} are {given}; {accepted} are accepted.")


def check_numbers(owner: str, **numbers: Any) -> None:
    """Raise `InputError` unless each of these is one finite real number; of traced ones only the kind is known."""
    for name, number in numbers.items():
        if getattr(number, "dtype", type(number)) in (bool, np.bool_):
            raise InputError(f"{owner}: {name} is {shown(number)}; a number is accepted.")
        check_number(owner, name, as_floating(number, f"{owner}: {name}"))
