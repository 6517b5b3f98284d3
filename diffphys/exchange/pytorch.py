"""Our functions as differentiable functions of PyTorch (extra `torch`).

Arrays change hands by DLPack, without a copy where both libraries use the same device. A derivative of any order is a
function of the same kind, so PyTorch may differentiate it again; `torch.func.vmap` becomes `jax.vmap`.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffphys.errors import InputError, optional
from diffphys.grids.numbers import shown


def to_torch(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of JAX arrays as a function of PyTorch's tensors that PyTorch can differentiate.

        advance = dp.to_torch(lambda values, viscosity: ...)     # from arrays to arrays
        loss = (advance(values, viscosity) - target).square().mean()
        loss.backward()

    It is compiled, once for each combination of shapes. Reverse and forward mode, derivatives of derivatives
    (`torch.autograd.gradgradcheck`) and `torch.func.vmap` work. What a function holds beside its arguments, such as the
    numbers of a flow, is constant: what should have a gradient has to be an argument.

    Args:
        function: A pure function of arrays, or of pytrees of them, that returns such.

    Returns:
        A function of the same arguments whose arrays are tensors, all on one device; other leaves (numbers, arrays
        of NumPy and JAX) are constants. What it returns has the structure of the function's result, with tensors on
        that device.

    Raises:
        InputError: where PyTorch is not installed, a tensor has a type that JAX would change (double precision without
            `jax_enable_x64`), or tensors are on several devices.

    Examples:
        >>> import torch
        >>> square = dp.to_torch(lambda x: x**2)
        >>> x = torch.tensor([3.0], requires_grad=True)
        >>> square(x).sum().backward()
        >>> x.grad
        tensor([6.])
    """
    optional("to_torch", "torch", "torch")
    if not callable(function):
        raise InputError(f"to_torch: function is {shown(function)}; a function of arrays is accepted.")
    held = _Held(function)

    @functools.wraps(function, updated=())
    def of_tensors(*arguments: Any) -> Any:
        return _call(held, arguments)

    return of_tensors


@dataclasses.dataclass(eq=False)
class _Held:
    """A function, and for each structure of its arguments that of its result, noted while it is traced."""

    function: Callable[..., Any]
    results: dict[Any, Any] = dataclasses.field(default_factory=dict)


# The three that follow are functions from a tuple of arrays to another; equal ones share what is compiled.


@dataclasses.dataclass(frozen=True)
class _Flat:
    held: _Held
    structure: Any

    def __call__(self, arrays: tuple) -> tuple:
        result = self.held.function(*jax.tree.unflatten(self.structure, arrays))
        leaves, self.held.results[self.structure] = jax.tree.flatten(result)
        return tuple(jnp.asarray(leaf) for leaf in leaves)


@dataclasses.dataclass(frozen=True)
class _Pulled:
    """From inputs and cotangents to the cotangents of those inputs that are floating numbers."""

    function: Any
    count: int

    def __call__(self, arrays: tuple) -> tuple:
        inputs, cotangents = arrays[: self.count], arrays[self.count :]
        floating = [_is_floating(array) for array in inputs]

        def of_floating(given: list) -> list:
            parts = iter(given)
            every = tuple(next(parts) if is_one else array for array, is_one in zip(inputs, floating, strict=True))
            return [result for result in self.function(every) if _is_floating(result)]

        _, pull = jax.vjp(of_floating, [array for array, is_one in zip(inputs, floating, strict=True) if is_one])
        # PyTorch's gradient with respect to a complex number is the conjugate of JAX's.
        return tuple(map(jnp.conj, pull(list(map(jnp.conj, cotangents)))[0]))


@dataclasses.dataclass(frozen=True)
class _Pushed:
    """From inputs and the tangents of those that are floating numbers to the tangents of such results."""

    function: Any
    count: int

    def __call__(self, arrays: tuple) -> tuple:
        inputs, tangents = arrays[: self.count], iter(arrays[self.count :])
        every = tuple(next(tangents) if _is_floating(a) else np.zeros(a.shape, jax.dtypes.float0) for a in inputs)
        results, pushed = jax.jvp(lambda *given: self.function(given), inputs, every)
        return tuple(part for result, part in zip(results, pushed, strict=True) if _is_floating(result))


@dataclasses.dataclass(frozen=True)
class _Batched:
    function: Any
    axes: tuple[int | None, ...]

    def __call__(self, arrays: tuple) -> tuple:
        return jax.vmap(self.function, in_axes=(self.axes,))(arrays)


@functools.partial(jax.jit, static_argnums=0)
def _compiled(function: Any, arrays: tuple) -> tuple:
    return function(arrays)


def _call(held: _Held, arguments: tuple) -> Any:
    import torch  # pyright: ignore[reportMissingImports] (an extra)

    leaves, structure = jax.tree.flatten(arguments)
    devices = {leaf.device for leaf in leaves if isinstance(leaf, torch.Tensor)}
    if len(devices) > 1:
        raise InputError(f"to_torch: the tensors are on {', '.join(map(str, devices))}; one device is accepted.")
    device = devices.pop() if devices else torch.device("cpu")
    tensors = [leaf if isinstance(leaf, torch.Tensor) else _constant(leaf, device) for leaf in leaves]
    results = _differentiable().apply(_Flat(held, structure), *tensors)
    return jax.tree.unflatten(held.results[structure], results)


@functools.cache
def _differentiable() -> Any:
    """The class that PyTorch asks for derivatives; made when PyTorch is known to be there."""
    import torch  # pyright: ignore[reportMissingImports] (an extra)

    class Differentiable(torch.autograd.Function):
        @staticmethod
        def forward(function: Any, *tensors: Any) -> tuple:
            arrays = tuple(_to_jax(tensor) for tensor in tensors)
            results = jax.block_until_ready(_compiled(function, arrays))  # before PyTorch changes what JAX still reads
            device = tensors[0].device if tensors else torch.device("cpu")
            given = {tensor.data_ptr() for tensor in tensors}
            found = tuple(torch.from_dlpack(result).to(device) for result in results)
            # A result that is an argument as it stands shares its memory, where it is changed in place.
            return tuple(tensor.clone() if tensor.data_ptr() in given else tensor for tensor in found)

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple, output: tuple) -> None:
            ctx.function, *tensors = inputs
            ctx.save_for_backward(*tensors)
            ctx.save_for_forward(*tensors)
            ctx.floating = [tensor.is_floating_point() or tensor.is_complex() for tensor in output]
            ctx.mark_non_differentiable(
                *(tensor for tensor, is_one in zip(output, ctx.floating, strict=True) if not is_one)
            )

        @staticmethod
        def backward(ctx: Any, *cotangents: Any) -> tuple:
            tensors = ctx.saved_tensors
            given = [one for one, is_one in zip(cotangents, ctx.floating, strict=True) if is_one]
            pulled = iter(Differentiable.apply(_Pulled(ctx.function, len(tensors)), *tensors, *given))
            return (None, *(next(pulled) if _is_differentiable(tensor) else None for tensor in tensors))

        @staticmethod
        def jvp(ctx: Any, *tangents: Any) -> tuple:
            tensors = ctx.saved_tensors
            given = [
                torch.zeros_like(tensor) if tangent is None else tangent
                for tensor, tangent in zip(tensors, tangents[1:], strict=True)
                if _is_differentiable(tensor)
            ]
            pushed = iter(Differentiable.apply(_Pushed(ctx.function, len(tensors)), *tensors, *given))
            return tuple(next(pushed) if is_one else None for is_one in ctx.floating)

        @staticmethod
        def vmap(info: Any, in_dims: tuple, function: Any, *tensors: Any) -> tuple:
            if all(axis is None for axis in in_dims[1:]):
                results = Differentiable.apply(function, *tensors)
                return results, (None,) * len(results)
            results = Differentiable.apply(_Batched(function, tuple(in_dims[1:])), *tensors)
            return results, (0,) * len(results)

    return Differentiable


def _to_jax(tensor: Any) -> jax.Array:
    import torch  # pyright: ignore[reportMissingImports] (an extra)

    kind = str(tensor.dtype).removeprefix("torch.")
    if tensor.dtype == torch.int64 and not jax.config.read("jax_enable_x64"):
        tensor = tensor.to(torch.int32)  # PyTorch's whole numbers are long by themselves
    elif jnp.dtype(kind) != jax.dtypes.canonicalize_dtype(jnp.dtype(kind)):
        raise InputError(
            f"to_torch: a tensor has type {kind}, which JAX would cut; another type is accepted, "
            'or jax.config.update("jax_enable_x64", True).'
        )
    tensor = tensor.detach().contiguous()
    if tensor.device.type != "cpu" and not _shares(tensor.device.type):
        tensor = tensor.cpu()
    return jnp.from_dlpack(tensor)


@functools.cache
def _shares(kind: str) -> bool:
    """Whether JAX has devices of a kind that PyTorch names."""
    try:
        return bool(jax.devices({"cuda": "gpu"}.get(kind, kind)))
    except RuntimeError:
        return False


def _constant(leaf: Any, device: Any) -> Any:
    import torch  # pyright: ignore[reportMissingImports] (an extra)

    return torch.from_dlpack(jnp.asarray(leaf) + 0).to(device)


def _is_floating(array: Any) -> bool:
    return jnp.issubdtype(array.dtype, jnp.inexact)


def _is_differentiable(tensor: Any) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()
