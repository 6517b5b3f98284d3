"""What is asked: the floating-point leaves of the arguments, by name, and the function of these alone."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffphys.errors import InputError


def prepared(function: Callable, arguments: Any) -> tuple[list[str], list[Array], Callable]:
    """Names and values of the leaves to move, and the function of these leaves alone."""
    star = isinstance(arguments, (tuple, list)) and _fits(function, arguments)
    given = tuple(arguments) if star else (arguments,)
    paths, structure = jax.tree_util.tree_flatten_with_path(given, is_leaf=lambda leaf: leaf is None)
    moved = [_as_float64(leaf) for _, leaf in paths]
    names = [_name(function, path) for (path, _), leaf in zip(paths, moved, strict=True) if leaf is not None]
    leaves = [leaf for leaf in moved if leaf is not None]
    if not any(leaf.size for leaf in leaves):
        kinds = sorted({str(getattr(leaf, "dtype", type(leaf).__name__)) for _, leaf in paths}) or ["nothing"]
        raise InputError(
            f"check_gradient: the arguments have no floating-point leaf (there is: {', '.join(kinds)}); at least one "
            "is needed to differentiate with respect to."
        )

    def call(leaves: list[Array]) -> list[Array]:
        """The floating-point leaves of the result."""
        rest = iter(leaves)
        full = [old if new is None else next(rest) for (_, old), new in zip(paths, moved, strict=True)]
        result = function(*jax.tree.unflatten(structure, full))
        return [leaf for leaf in map(_as_result, jax.tree.leaves(result)) if leaf is not None]

    try:
        out = jax.eval_shape(call, leaves)
    except (jax.errors.TracerArrayConversionError, jax.errors.ConcretizationTypeError) as error:
        raise InputError(
            f"check_gradient: function cannot be traced by JAX ({str(error).splitlines()[0]}); a function of JAX "
            "operations is accepted."
        ) from error
    if not any(leaf.size for leaf in out):
        raise InputError("check_gradient: the result has no floating-point leaf; at least one is needed.")
    return names, leaves, call


def _fits(function: Callable, arguments: Sequence) -> bool:
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError:
        return False
    except ValueError:  # a builtin without a signature
        return True
    return True


def _as_float64(leaf: Any) -> Array | None:
    """The leaf in double precision, or None where it is no floating-point number."""
    if (
        isinstance(leaf, (bool, int, str, bytes))
        or leaf is None
        or jnp.issubdtype(getattr(leaf, "dtype", np.float64), jax.dtypes.extended)
    ):
        return None
    try:
        kind = jnp.result_type(leaf)
    except TypeError:
        return None
    if jnp.issubdtype(kind, jnp.complexfloating):
        return jnp.asarray(leaf, jnp.complex128)
    return jnp.asarray(leaf, jnp.float64) if jnp.issubdtype(kind, jnp.floating) else None


def _as_result(leaf: Any) -> Array | None:
    try:
        kind = jnp.result_type(leaf)
    except TypeError:
        return None
    return jnp.asarray(leaf) if jnp.issubdtype(kind, jnp.inexact) else None


def _name(function: Callable, path: tuple) -> str:
    """The path of a leaf with the parameter's own name in front, `flow.viscosity` for `[0].viscosity`."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    index = path[0].idx
    named = index < len(parameters) and parameters[index].kind is not inspect.Parameter.VAR_POSITIONAL
    return (parameters[index].name if named else f"argument {index}") + jax.tree_util.keystr(path[1:])
