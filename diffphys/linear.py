"""Linear maps that bring their own transpose.

Automatic differentiation transposes a program operation by operation: a slice becomes a padded array, a stencil of nine
slices a sum of nine padded arrays, and compilers for CPUs run such sums element by element with a branch for each pad.
Written by hand the transpose of a stencil is a stencil, as fast as the map itself. `linear_map` joins the two in a way
that keeps every mode of differentiation: forward mode applies the map to the tangent, reverse mode applies the
transpose to the cotangent, and each of the two may be differentiated, batched and transposed again.

(A `jax.custom_vjp` would lose forward mode. A `jax.custom_jvp` whose rule is the transpose of the transpose keeps all
modes, but in forward mode runs the slow sums.)
"""

import dataclasses
import functools
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jax.typing import ArrayLike

from diffphys.devices import argument_of, cotangent_of, is_in_shard_map, of_type, varying_alike


Function = Callable[[Sequence[Array], Sequence[Array]], Sequence[Array]]
"""From constants and operands to results, linear in the operands taken together."""


def linear_map(
    forward: Function,
    transpose: Function,
    constants: Sequence[ArrayLike],
    operands: Sequence[ArrayLike],
    *,
    at_once: int | None = None,
) -> tuple[Array, ...]:
    """`forward(constants, operands)`, differentiated in reverse by `transpose(constants, cotangents)`.

    With respect to the constants the derivative is that of the code in `forward` (or `transpose`, once transposed).

    Args:
        forward: A pure function, linear in the operands taken together, without captured arrays that are traced.
        transpose: From constants and one cotangent for each result to one cotangent for each operand:
            `sum(c . forward(x)) = sum(transpose(c) . x)`. Only a test can tell whether it is.
        constants: Arrays on which the map depends in any way.
        operands: Arrays in which it is linear.
        at_once: At most so many members of a batch (`jax.vmap`) are computed together, one such part after the other in
            a loop: for maps whose arrays in between are much larger than what enters and leaves them, and for a larger
            batch would not stay in the cache. Default: all of them.
    """
    # What a transformation holds constant may be an array of NumPy.
    arrays = varying_alike([jnp.asarray(array) for array in (*constants, *operands)])
    return tuple(
        _linear_map.bind(*arrays, forward=forward, transpose=transpose, constants=len(constants), at_once=at_once)
    )


def along_axis(matrix: np.ndarray | Array, values: Array, axis: int) -> Array:
    """The product of a matrix, usually known, with `values` along one axis, in full precision on every device.

    Its transpose is the same product with the transposed matrix, which stands in memory as well. Derived, it would be a
    product over the first axes of both, for which XLA has no fast kernel on a CPU: a gradient through the 64x32 wake
    takes 1.4 times as long with it.
    """
    known = (jnp.asarray(matrix, values.dtype), jnp.asarray(matrix.T, values.dtype))
    along = _Along(axis)
    return linear_map(along.forward, along.transposed, known, (values,))[0]


def linear_solve(
    operator: Callable[[Array], Array],
    rhs: Array,
    solve: Callable[[Any, Array], Any],
    transpose_solve: Callable[[Any, Array], Any] | None = None,
    *,
    symmetric: bool = False,
    has_aux: bool = False,
) -> Any:
    """`jax.lax.custom_linear_solve`, of the same arguments, which also works within `jax.shard_map`.

    There JAX (0.10.2) asks that all that the functions close over varies over the same axes of devices, constants of
    the program, too, which no caller can see to: whatever a gradient keeps for its way back varies by then over all.
    `linear_map` traces its functions anew for the types that they meet, and takes that place. It has to know all
    arrays, so the functions are trees of JAX, such as `jax.tree_util.Partial` or a method of an `equinox.Module`, whose
    leaves are the arrays that are traced. Elsewhere the arguments go on as they are.

    Args:
        operator: A linear function.
        rhs: What it shall give.
        solve: From the operator and a right side to the solution; any code, which is not differentiated.
        transpose_solve: The same for the transposed operator. Default: `solve`, for a symmetric one.
        symmetric: Whether the operator is its own transpose.
        has_aux: Whether the two return a pair, of the solution and a report, a tree of arrays without derivative.
    """
    if not is_in_shard_map():
        return jax.lax.custom_linear_solve(operator, rhs, solve, transpose_solve, symmetric=symmetric, has_aux=has_aux)
    leaves, structure = jax.tree.flatten((operator, solve, solve if transpose_solve is None else transpose_solve))
    is_array = [isinstance(leaf, (jax.Array, np.ndarray)) for leaf in leaves]
    known = tuple(None if array else leaf for leaf, array in zip(leaves, is_array, strict=True))
    constants = [jnp.asarray(leaf) for leaf, array in zip(leaves, is_array, strict=True) if array]
    solver = _Solve(structure, known, tuple(is_array), symmetric, has_aux)
    *constants, rhs = varying_alike([*constants, rhs])
    solution, report = solver.solution(constants, rhs)
    return (solution, report) if has_aux else solution


@dataclasses.dataclass(frozen=True)
class _Solve:
    """The inverse of an operator, or of its transpose, as a function for `linear_map`.

    Attributes:
        structure: The tree of the operator and of the two functions that solve.
        known: Its leaves, None in the place of arrays.
        is_array: Which leaves are arrays: the constants.
        symmetric, has_aux: See `linear_solve`.
        transposed: Whether it is the inverse of the transpose.
    """

    structure: Any
    known: tuple[Any, ...]
    is_array: tuple[bool, ...]
    symmetric: bool
    has_aux: bool
    transposed: bool = False

    def __call__(self, constants: Sequence[Array], operands: Sequence[Array]) -> tuple[Array]:
        return (self.solution(constants, operands[0])[0],)

    def solution(self, constants: Sequence[Array], rhs: Array) -> tuple[Array, Any]:
        """The solution and the report. With `A x = b` it is `A dx = db - dA x`."""

        @jax.custom_jvp
        def solved(constants, rhs):
            operator, solve = self._functions(constants)
            found = solve(operator, rhs)
            solution, report = found if self.has_aux else (found, ())
            # As floating-point numbers, which have a derivative: zero.
            return solution, jax.tree.map(lambda leaf: jnp.asarray(leaf, rhs.dtype), report)

        @solved.defjvp
        def _(primals, tangents):
            (constants, rhs), (changes, change) = primals, tangents
            solution, report = solved(constants, rhs)
            _, moved = jax.jvp(lambda constants: self._functions(constants)[0](solution), (constants,), (changes,))
            turned = dataclasses.replace(self, transposed=not self.transposed)
            (response,) = linear_map(self, turned, constants, (change - moved,))
            return (solution, report), (response, jax.tree.map(jnp.zeros_like, report))

        solution, report = solved(list(constants), rhs)
        types = jax.eval_shape(self._report, constants, rhs)
        return solution, jax.tree.map(lambda leaf, one: leaf.astype(one.dtype), report, types)

    def _report(self, constants: Sequence[Array], rhs: Array) -> Any:
        operator, solve = self._functions(constants)
        return solve(operator, rhs)[1] if self.has_aux else ()

    def _functions(self, constants: Sequence[Array]) -> tuple[Callable[[Array], Array], Callable[[Any, Array], Any]]:
        given = iter(constants)
        leaves = [next(given) if array else leaf for leaf, array in zip(self.known, self.is_array, strict=True)]
        operator, solve, transpose_solve = jax.tree.unflatten(self.structure, leaves)
        if not self.transposed:
            return operator, solve
        if self.symmetric:
            return operator, transpose_solve
        return lambda values: jax.linear_transpose(operator, values)(values)[0], transpose_solve


@dataclasses.dataclass(frozen=True)
class _Along:
    """The product along one axis, of the matrix and of its transpose."""

    axis: int

    def forward(self, known: Sequence[Array], operands: Sequence[Array]) -> tuple[Array]:
        (matrix, transposed), (values,) = known, operands
        if self.axis == values.ndim - 1:
            return (jnp.matmul(values, transposed, precision="highest"),)
        if values.ndim == 2:
            return (jnp.matmul(matrix, values, precision="highest"),)
        product = jnp.tensordot(matrix, values, (1, self.axis), precision="highest")
        return (jnp.moveaxis(product, 0, self.axis),)

    def transposed(self, known: Sequence[Array], cotangents: Sequence[Array]) -> tuple[Array]:
        return self.forward(known[::-1], cotangents)


_linear_map = Primitive("linear_map")
_linear_map.multiple_results = True


@_linear_map.def_impl
def _evaluate(*arrays, forward, transpose, constants, at_once):
    return list(forward(arrays[:constants], arrays[constants:]))


@_linear_map.def_abstract_eval
def _types(*arrays, forward, transpose, constants, at_once):
    # All that tracing depends on beside the arguments.
    context = (jnp.result_type(float), jax.sharding.get_abstract_mesh())
    # One map is met again and again: linearized, batched, transposed.
    found = _known_types.setdefault(forward, {})
    key = (arrays, constants, context)
    if key not in found:
        found[key] = _results(forward, arrays[:constants], arrays[constants:])
    return list(found[key])


_known_types = weakref.WeakKeyDictionary()
"""For each map the types of its results; a map lives in the programs that it is part of."""


def _results(forward, constants, operands):
    """The types of the results: beside shape and number their sharding and the devices over which they vary."""
    given = [argument_of(one) for one in (*constants, *operands)]
    known = len(constants)
    return tuple(jax.make_jaxpr(lambda *all: tuple(forward(all[:known], all[known:])))(*given).out_avals)


def _jvp(primals, tangents, *, forward, transpose, constants, at_once):
    kept, operands = primals[:constants], primals[constants:]
    result = linear_map(forward, transpose, kept, operands, at_once=at_once)
    terms = []
    if not all(isinstance(tangent, ad.Zero) for tangent in tangents[constants:]):
        directions = [ad.instantiate_zeros(tangent) for tangent in tangents[constants:]]
        terms.append(linear_map(forward, transpose, kept, directions, at_once=at_once))
    if not all(isinstance(tangent, ad.Zero) for tangent in tangents[:constants]):
        directions = tuple(ad.instantiate_zeros(tangent) for tangent in tangents[:constants])
        terms.append(jax.jvp(lambda *kept: tuple(forward(kept, operands)), kept, directions)[1])
    return result, [sum(parts[1:], parts[0]) for parts in zip(*terms, strict=True)]


def _transpose(cotangents, *arrays, forward, transpose, constants, at_once):
    kept, operands = arrays[:constants], arrays[constants:]
    cotangents = [ad.instantiate_zeros(cotangent) for cotangent in cotangents]
    results = linear_map(transpose, forward, kept, cotangents, at_once=at_once)
    # An operand that is known is a zero that the rule above has put in the place of a missing tangent.
    pulled = [
        of_type(result, cotangent_of(operand.aval)) if ad.is_undefined_primal(operand) else None
        for result, operand in zip(results, operands, strict=True)
    ]
    return [None] * constants + pulled


@dataclasses.dataclass(frozen=True)
class _Batched:
    """A function of one member as one of a whole batch: of operands with the batch in front, of constants with it at
    `axes`, or without it (None).

    Where `jax.vmap` was told that the batch lies on an axis of devices (`spmd_axis_name`), that is passed on.
    """

    function: Function
    axes: tuple[int | None, ...]
    at_once: int | None
    devices: Any

    def __call__(self, constants: Sequence[Array], operands: Sequence[Array]) -> Sequence[Array]:
        sharding = jax.typeof(operands[0]).sharding
        if sharding.mesh.empty or sharding.spec[0] is None:
            return self._in_parts(constants, operands)
        # Members that are explicitly spread over devices: each device computes its own. (Within one program for all of
        # them JAX would ask for the sharding of every array that is reshaped.)
        members, whole = jax.sharding.PartitionSpec(sharding.spec[0]), jax.sharding.PartitionSpec()
        places = [
            whole if axis is None else jax.sharding.PartitionSpec(*[None] * axis, sharding.spec[0])
            for axis in self.axes
        ]
        names = sharding.spec[0]
        on_each = jax.shard_map(
            self._in_parts,
            mesh=sharding.mesh,
            in_specs=(places, members),
            out_specs=members,
            axis_names=set(names) if isinstance(names, tuple) else {names},
        )
        return jax.jit(on_each, inline=True)(list(constants), list(operands))

    def _in_parts(self, constants: Sequence[Array], operands: Sequence[Array]) -> Sequence[Array]:
        size = operands[0].shape[0]
        part = size if self.at_once is None else max(n for n in range(1, self.at_once + 1) if size % n == 0)
        if part == size:
            return self._together(constants, self.axes, operands)
        batched = [(array, axis) for array, axis in zip(constants, self.axes, strict=True) if axis is not None]
        moved = [jnp.moveaxis(array, axis, 0) for array, axis in batched]
        parts = [array.reshape(size // part, part, *array.shape[1:]) for array in (*moved, *operands)]

        def of_part(arrays):
            given = iter(arrays)
            kept = [next(given) if axis is not None else one for one, axis in zip(constants, self.axes, strict=True)]
            axes = tuple(None if axis is None else 0 for axis in self.axes)
            return self._together(kept, axes, list(given))

        return [array.reshape(size, *array.shape[2:]) for array in jax.lax.map(of_part, parts)]

    def _together(self, constants: Sequence[Array], axes: Sequence[int | None], operands: Sequence[Array]):
        mapped = jax.vmap(
            lambda kept, given: tuple(self.function(kept, given)),
            (list(axes), [0] * len(operands)),
            spmd_axis_name=self.devices,
        )
        return mapped(list(constants), list(operands))


def _batch(axis, arrays, axes, *, forward, transpose, constants, at_once):
    if all(place is None for place in axes):
        results = linear_map(forward, transpose, arrays[:constants], arrays[constants:], at_once=at_once)
        return results, [None] * len(results)

    def leading(array: Any, place: int | None) -> Any:  # also what NumPy holds
        if place is None and axis.explicit_mesh_axis is not None:  # an array that is on no mesh, too
            spread = next(jax.typeof(other).sharding for other, at in zip(arrays, axes, strict=True) if at is not None)
            spec = jax.sharding.PartitionSpec(axis.explicit_mesh_axis, *jax.typeof(array).sharding.spec)
            return jnp.broadcast_to(array, (axis.size, *array.shape), out_sharding=spread.update(spec=spec))
        return batching.bdim_at_front(array, place, axis.size)

    # Operands all have the batch in front, so that the transpose returns cotangents of that form.
    operands = [leading(array, place) for array, place in zip(arrays[constants:], axes[constants:], strict=True)]
    batched = functools.partial(_Batched, axes=tuple(axes[:constants]), at_once=at_once, devices=axis.spmd_name)
    results = linear_map(batched(forward), batched(transpose), arrays[:constants], operands)
    return results, [0] * len(results)


ad.primitive_jvps[_linear_map] = _jvp
ad.primitive_transposes[_linear_map] = _transpose
batching.fancy_primitive_batchers[_linear_map] = _batch
mlir.register_lowering(_linear_map, mlir.lower_fun(_evaluate, multiple_results=True))
