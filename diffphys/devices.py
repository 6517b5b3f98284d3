"""Values on several devices: what a loop and a linear map ask of their types.

Inside of `jax.shard_map` an array may differ from device to device or be the same on all of them, and its type says
over which axes it varies; on a mesh with explicit axes the type says how an array is spread. The primitives of JAX join
such types by themselves, its loops do not: what goes around must come back as the same type. Outside of both nothing
here adds an operation.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.core import ShapedArray


def varying_alike(arrays: Sequence[Array]) -> list[Array]:
    """The arrays, all varying over the axes over which one of them does.

    An array that is the same on all devices meets another that is not: the cast makes the derivative with respect to
    the first the sum over the devices.
    """
    common = frozenset[str]().union(*map(_varying, arrays))
    return [_cast(array, common) for array in arrays]


def of_type(array: Array, wanted: Any) -> Array:
    """The array as a value of another one's type, which varies over all axes that it varies over, or more."""
    array = _cast(array, _varying(wanted))
    if not wanted.sharding.mesh.empty and wanted.sharding.spec != jax.typeof(array).sharding.spec:
        array = jax.sharding.reshard(array, wanted.sharding.spec)
    return array


def keeping(body: Callable[..., Any], carry: Any, *given: Any, following: Any = None) -> tuple[Callable[..., Any], Any]:
    """A loop's body and its first carry, made so that each array keeps its type when it goes around.

    Args:
        body: From a carry, and what is given in each turn, to the next carry, of the same structure and shapes.
        carry: The first.
        given: What is given in the first turn.
        following: What is known of the types after one turn, as `jax.eval_shape` gives them: a body may bring arrays
            to devices of which the first carry says nothing.

    Returns:
        The body, which returns the types that it was given, and a carry of those types. Where no array is on several
        devices, both as they were.
    """
    if not are_several(carry, given, following):
        return body, carry
    after = jax.eval_shape(body, carry, *given)
    while any(jax.tree.leaves(jax.tree.map(_differs, carry, after))):
        # The body's result is not computed: the choice is known when the program is compiled. It only brings arrays to
        # the mesh.
        carry = jax.tree.map(_as_widened, carry, body(carry, *given))
        after = jax.eval_shape(body, carry, *given)
    return lambda carry, *given: jax.tree.map(_as_kept, body(carry, *given), carry), carry


def choose(condition: Array, if_true: Callable[[Any], Any], if_false: Callable[[Any], Any], state: Any) -> Any:
    """`jax.lax.cond`, for functions of one state to its like.

    On several devices both functions are evaluated, as in a batch: JAX (0.10.2) fails there to differentiate a batch of
    conditions.
    """
    if not are_several(condition, state):
        return jax.lax.cond(condition, if_true, if_false, state)
    return jax.tree.map(lambda one, other: jnp.where(condition, one, other), if_true(state), if_false(state))


def beside(value: Array, state: Any) -> Array:
    """An array that is the same on all devices, on those on which the arrays of a state are."""
    for leaf in jax.tree.leaves(state):
        if _is_on_mesh(leaf):
            value = _as_kept(value, jnp.sum(leaf).astype(value.dtype))
    return value


def are_several(*values: Any) -> bool:
    """Whether the program, or one of these arrays, is on several devices as far as types tell."""
    return not jax.sharding.get_abstract_mesh().empty or any(map(_is_on_mesh, jax.tree.leaves(values)))


def is_in_shard_map() -> bool:
    """Whether the program that is being traced is that of one device, within `jax.shard_map`."""
    return bool(jax.sharding.get_abstract_mesh().manual_axes)


def _differs(before: Any, after: Any) -> bool:
    return not _varying(after) <= _varying(before) or (_is_on_mesh(after) and not _is_on_mesh(before))


def _as_kept(after: Any, before: Any) -> Array:
    after = _cast(jnp.asarray(after), _varying(before))
    return jnp.where(True, after, before) if _is_on_mesh(before) and not _is_on_mesh(after) else after


def _as_widened(before: Any, after: Any) -> Array:
    before = _cast(jnp.asarray(before), _varying(after))
    return _as_kept(before, jax.lax.stop_gradient(after))


def _cast(array: Array, axes: frozenset[str]) -> Array:
    missing = tuple(sorted(axes - _varying(array)))
    return jax.lax.pcast(array, missing, to="varying") if missing else array


def _varying(array: Any) -> frozenset[str]:
    """The axes over which an array, or a type, varies."""
    return _type(array).manual_axis_type.varying


def _is_on_mesh(array: Any) -> bool:
    return not _type(array).sharding.mesh.empty


def _type(array: Any) -> Any:
    return array if isinstance(array, ShapedArray) else jax.typeof(array)
