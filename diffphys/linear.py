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
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jax.typing import ArrayLike


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
    arrays = [jnp.asarray(array) for array in (*constants, *operands)]
    return tuple(
        _linear_map.bind(*arrays, forward=forward, transpose=transpose, constants=len(constants), at_once=at_once)
    )


def along_axis(matrix: np.ndarray, values: Array, axis: int) -> Array:
    """The product of a matrix that is known with `values` along one axis, in full precision on every device.

    Its transpose is the same product with the transposed matrix, which stands in memory as well. Derived, it would be a
    product over the first axes of both, for which XLA has no fast kernel on a CPU: a gradient through the 64x32 wake
    takes 1.4 times as long with it.
    """
    known = (jnp.asarray(matrix, values.dtype), jnp.asarray(matrix.T, values.dtype))
    along = _Along(axis)
    return linear_map(along.forward, along.transposed, known, (values,))[0]


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
def _shapes(*arrays, forward, transpose, constants, at_once):
    given = tuple(jax.ShapeDtypeStruct(one.shape, one.dtype) for one in arrays)
    return list(_results(forward, given[:constants], given[constants:]))


@functools.lru_cache(maxsize=4096)  # one map is met again and again: linearized, batched, transposed
def _results(forward, constants, operands):
    results = jax.eval_shape(forward, list(constants), list(operands))
    return tuple(ShapedArray(result.shape, result.dtype) for result in results)


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
        result if ad.is_undefined_primal(operand) else None for result, operand in zip(results, operands, strict=True)
    ]
    return [None] * constants + pulled


@dataclasses.dataclass(frozen=True)
class _Batched:
    """A function of one member as one of a whole batch: of operands with the batch in front, of constants with it at
    `axes`, or without it (None).
    """

    function: Function
    axes: tuple[int | None, ...]
    at_once: int | None

    def __call__(self, constants: Sequence[Array], operands: Sequence[Array]) -> Sequence[Array]:
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
        mapped = jax.vmap(lambda kept, given: tuple(self.function(kept, given)), (list(axes), [0] * len(operands)))
        return mapped(list(constants), list(operands))


def _batch(arrays, axes, *, forward, transpose, constants, at_once):
    size = next(array.shape[axis] for array, axis in zip(arrays, axes, strict=True) if axis is not None)

    def leading(array, axis):
        if axis is None:
            return jnp.broadcast_to(array, (size, *array.shape))
        return jnp.moveaxis(array, axis, 0)

    # Operands all have the batch in front, so that the transpose returns cotangents of that form.
    operands = [leading(array, axis) for array, axis in zip(arrays[constants:], axes[constants:], strict=True)]
    mapped = tuple(None if axis is None else axis for axis in axes[:constants])
    batched = functools.partial(_Batched, axes=mapped, at_once=at_once)
    results = linear_map(batched(forward), batched(transpose), arrays[:constants], operands)
    return results, [0] * len(results)


ad.primitive_jvps[_linear_map] = _jvp
ad.primitive_transposes[_linear_map] = _transpose
batching.primitive_batchers[_linear_map] = _batch
mlir.register_lowering(_linear_map, mlir.lower_fun(_evaluate, multiple_results=True))
