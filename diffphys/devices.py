"""Values on several devices: what a loop and a linear map ask of their types.

Inside of `jax.shard_map` an array may differ from device to device or be the same on all of them, and its type says
over which axes it varies; on a mesh with explicit axes the type says how an array is spread. The primitives of JAX join
such types by themselves, its loops do not: what goes around must come back as the same type. Outside of both nothing
here adds an operation.
"""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jax.core import ShapedArray
from jax.extend.core import jaxpr_as_fun

from diffphys.errors import InputError


class WithMatrices(eqx.Module):
    """A step whose matrices are leaves, as `with_matrices` makes it.

    Attributes:
        step: The step, whose numbers are leaves as before.
        matrices: All arrays that the step closes over: transforms, corrections, masks.
    """

    step: Callable[..., Any]
    matrices: list[Array]

    def __call__(self, *arguments: Any) -> Any:
        """What the step returns, with these matrices in the place of its own."""
        program, result = _program(self.step, arguments)
        if [_kind(one) for one in program.consts] != [_kind(one) for one in self.matrices]:
            raise InputError(
                "with_matrices: the step or its arguments are of another kind, shape or type than when it was made; "
                "with_matrices makes another one for them."
            )
        leaves = [leaf for leaf in jax.tree.leaves((self.step, arguments)) if eqx.is_array(leaf)]
        return jax.tree.unflatten(result, jaxpr_as_fun(program.replace(consts=self.matrices))(*leaves))


def with_matrices(step: Callable[..., Any], *arguments: Any) -> WithMatrices:
    """The step with all arrays that it closes over as leaves beside its numbers, so that they can be placed.

    Matrices that solvers prepare are constants of the program that is compiled, and each device holds all of them. As
    leaves they are arguments: they go wherever `jax.device_put` brings them, are spread over devices like any array,
    and are in memory once for all programs. They belong to the grid, sides and obstacle of the step; its numbers may
    change. What stands inside of a loop within the step (multigrid, iterations) stays with the program.

        flow = jax.device_put(with_matrices(flow, state), NamedSharding(mesh, PartitionSpec()))
        final = jax.jit(lambda flow, state: rollout(flow, state, 100)[0])(flow, state)

    Args:
        step: A function, or a module whose numbers are leaves.
        *arguments: What it is called with later; only kinds, shapes and types matter.
    """
    program, _ = _program(step, arguments)
    return WithMatrices(step, [jnp.asarray(matrix) for matrix in program.consts])


def _program(step: Callable[..., Any], arguments: Any) -> tuple[Any, Any]:
    """The program of a call, and the structure of its result."""
    arrays, rest = eqx.partition((step, arguments), eqx.is_array)
    leaves, structure = jax.tree.flatten(arrays)

    def call(*leaves: Array) -> list[Array]:
        step, arguments = eqx.combine(jax.tree.unflatten(structure, leaves), rest)
        results, found = jax.tree.flatten(step(*arguments))
        structures.append(found)
        return results

    structures: list[Any] = []
    return jax.make_jaxpr(call)(*leaves), structures[-1]


def _kind(array: Any) -> tuple[tuple[int, ...], Any]:
    return array.shape, array.dtype


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


def argument_of(kind: ShapedArray) -> jax.ShapeDtypeStruct:
    """An argument of this type, with its sharding and the axes over which it varies, for what traces a function."""
    sharding = None if kind.sharding.mesh.empty else kind.sharding
    varies: dict[str, Any] = {name: getattr(kind, name) for name in ("manual_axis_type", "vma") if hasattr(kind, name)}
    return jax.ShapeDtypeStruct(kind.shape, kind.dtype, sharding=sharding, **varies)


def cotangent_of(kind: Any) -> ShapedArray:
    """The type of a cotangent of what has this type, a `ShapedArray`."""
    return kind.to_ct_aval() if hasattr(kind, "to_ct_aval") else kind.to_cotangent_aval()  # as until JAX 0.9


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
    """An array that is the same on all devices, on those on which the arrays of a state are.

    Also where a mesh is set, and every array is on it: in a spread batch the array becomes one of the batch.
    """
    for leaf in jax.tree.leaves(state):
        if _is_on_mesh(leaf):
            value = jnp.where(True, _cast(value, _varying(leaf)), jnp.sum(leaf).astype(value.dtype))
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
    if not missing:
        return array
    lax: Any = jax.lax  # JAX 0.9 renamed `pvary`
    return lax.pcast(array, missing, to="varying") if hasattr(lax, "pcast") else lax.pvary(array, missing)


def _varying(array: Any) -> frozenset[str]:
    """The axes over which an array, or a type, varies."""
    kind = _type(array)
    # Before JAX 0.10 the type held the set itself.
    return kind.manual_axis_type.varying if hasattr(kind, "manual_axis_type") else kind.vma


def _is_on_mesh(array: Any) -> bool:
    return not _type(array).sharding.mesh.empty


def _type(array: Any) -> Any:
    return array if isinstance(array, ShapedArray) else jax.typeof(array)
