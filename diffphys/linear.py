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
from collections.abc import Callable, Sequence

import jax
from jax import Array
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jax.typing import ArrayLike


Function = Callable[[Sequence[Array], Sequence[Array]], Sequence[Array]]
"""From constants and operands to results, linear in the operands taken together."""


def linear_map(
    forward: Function, transpose: Function, constants: Sequence[ArrayLike], operands: Sequence[ArrayLike]
) -> tuple[Array, ...]:
    """`forward(constants, operands)`, differentiated in reverse by `transpose(constants, cotangents)`.

    With respect to the constants the derivative is that of the code in `forward` (or `transpose`, once transposed).

    Args:
        forward: A pure function, linear in the operands taken together, without captured arrays that are traced.
        transpose: From constants and one cotangent for each result to one cotangent for each operand:
            `sum(c . forward(x)) = sum(transpose(c) . x)`. Only a test can tell whether it is.
        constants: Arrays on which the map depends in any way.
        operands: Arrays in which it is linear.
    """
    # What a transformation holds constant may be an array of NumPy.
    arrays = [jax.numpy.asarray(array) for array in (*constants, *operands)]
    return tuple(_linear_map.bind(*arrays, forward=forward, transpose=transpose, constants=len(constants)))


_linear_map = Primitive("linear_map")
_linear_map.multiple_results = True


@_linear_map.def_impl
def _evaluate(*arrays, forward, transpose, constants):
    return list(forward(arrays[:constants], arrays[constants:]))


@_linear_map.def_abstract_eval
def _shapes(*arrays, forward, transpose, constants):
    given = [jax.ShapeDtypeStruct(one.shape, one.dtype) for one in arrays]
    results = jax.eval_shape(forward, given[:constants], given[constants:])
    return [ShapedArray(result.shape, result.dtype) for result in results]


def _jvp(primals, tangents, *, forward, transpose, constants):
    kept, operands = primals[:constants], primals[constants:]
    result = linear_map(forward, transpose, kept, operands)
    terms = []
    if not all(isinstance(tangent, ad.Zero) for tangent in tangents[constants:]):
        directions = [ad.instantiate_zeros(tangent) for tangent in tangents[constants:]]
        terms.append(linear_map(forward, transpose, kept, directions))
    if not all(isinstance(tangent, ad.Zero) for tangent in tangents[:constants]):
        directions = tuple(ad.instantiate_zeros(tangent) for tangent in tangents[:constants])
        terms.append(jax.jvp(lambda *kept: tuple(forward(kept, operands)), kept, directions)[1])
    return result, [sum(parts[1:], parts[0]) for parts in zip(*terms, strict=True)]


def _transpose(cotangents, *arrays, forward, transpose, constants):
    kept, operands = arrays[:constants], arrays[constants:]
    cotangents = [ad.instantiate_zeros(cotangent) for cotangent in cotangents]
    results = linear_map(transpose, forward, kept, cotangents)
    # An operand that is known is a zero that the rule above has put in the place of a missing tangent.
    pulled = [
        result if ad.is_undefined_primal(operand) else None for result, operand in zip(results, operands, strict=True)
    ]
    return [None] * constants + pulled


@dataclasses.dataclass(frozen=True)
class _Batched:
    function: Function
    axes: tuple[int | None, ...]

    def __call__(self, constants: Sequence[Array], operands: Sequence[Array]) -> Sequence[Array]:
        axes = (list(self.axes), [0] * len(operands))
        return jax.vmap(lambda kept, given: tuple(self.function(kept, given)), axes)(list(constants), list(operands))


def _batch(arrays, axes, *, forward, transpose, constants):
    size = next(array.shape[axis] for array, axis in zip(arrays, axes, strict=True) if axis is not None)

    def leading(array, axis):
        if axis is None:
            return jax.numpy.broadcast_to(array, (size, *array.shape))
        return jax.numpy.moveaxis(array, axis, 0)

    # Operands all have the batch in front, so that the transpose returns cotangents of that form.
    operands = [leading(array, axis) for array, axis in zip(arrays[constants:], axes[constants:], strict=True)]
    mapped = tuple(None if axis is None else axis for axis in axes[:constants])
    results = linear_map(_Batched(forward, mapped), _Batched(transpose, mapped), arrays[:constants], operands)
    return results, [0] * len(results)


ad.primitive_jvps[_linear_map] = _jvp
ad.primitive_transposes[_linear_map] = _transpose
batching.primitive_batchers[_linear_map] = _batch
mlir.register_lowering(_linear_map, mlir.lower_fun(_evaluate, multiple_results=True))
