"""Convolutions that know what lies beyond the sides of the domain, in a form that is fast on a CPU.

For an image a with C channels, a kernel w with an odd window and N output channels (one dimension, for brevity)

    b[x, n] = sum over s, c of  a[x + s - (k - 1) / 2, c]  w[s, c, n],        s = 0 ... k - 1,

where values of a beyond the sides come from `padding`. (A cross-correlation, which deep learning calls convolution.)

**How it is computed.** The sum over c is a matrix product and the sum over s can be taken on either side of it: copy
the image k times, shifted, before the product ("gather"), or shift and add its k results afterwards ("scatter").
Gathering over some axes and scattering over the others moves the fewest numbers and leaves one large matrix product.
With 32 channels on 64x32 cells and a batch of three, forward and then value and gradient with respect to weights and
images, on two cores in float32 (JAX 0.10.2), in milliseconds:

                                             two layers 5x5   two layers 3x3   ResNet, 49,442 numbers
    jax.lax.conv_general_dilated                6.3    33        2.5    16             6.9     399
    all shifted copies, one product             8.1    44        4.2    18
    copies along one axis, k products           4.9    42        2.8    15             4.9      37
    gather, one product, scatter; autodiff      3.9    18        3.0    11             4.5      33
    the same with the rule below                                                       4.6      29

(Fastest of nine rounds or more on a machine shared with others; the last row in a run of its own, beside the row above
it, which then took 4.6 and 33. Four steps in a scan took 1660, 106 and 81 ms for the first and the last two rows. A
large layer by itself is an exception: JAX's own convolution was 1.2 to 1.4 times as fast as this one on 128x64 cells,
and 3 times with a batch of 16.)

**How it is differentiated.** The map is linear in the image and in the kernel, so its derivative needs no new
mathematics; but the transpose that automatic differentiation would build adds up padded copies, which is slow. The
`custom_jvp` rule below therefore writes each derivative as the transpose of a fast expression: transposed once more, in
reverse mode, that fast expression is what runs. Forward mode, reverse mode and one inside the other all work. Only the
image is kept for the backward pass, not its k shifted copies.
"""

import functools
import itertools
import math
import operator
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Float

from diffphys.errors import InputError


PADDINGS = {
    "zero": "zeros",
    "periodic": "the values from the other end",
    "edge": "the last value again",
    "reflect": "the mirror image about the side, half a cell beyond the last center: the last value comes twice",
}
"""What lies beyond one end of one axis."""

Padding = str | Sequence[str | tuple[str, str]]
"""One of the PADDINGS for all sides, or for each axis one, or a pair (lower end, upper end)."""

Sides = tuple[tuple[str, str], ...]
"""The same with every axis and end written out."""


class Convolution(eqx.Module):
    """A convolution with learnable kernel and bias; image (channels in, *cells) -> image (channels out, *cells).

    The formula is at the top of this module; batches are `jax.vmap`. The kernel starts from Glorot's uniform
    distribution, within +-scale * sqrt(6 / (window * (channels in + channels out))), and the bias from zero (Glorot,
    Bengio 2010; the default of Keras, which the published solver-in-the-loop networks used).

    Args:
        input_channels, output_channels: at least one each.
        kernel_size: odd length of the window, one for all axes or one for each.
        axes: the number of space axes, 1 to 3.
        padding: what lies beyond the sides: "zero", "periodic", "edge" or "reflect", for all sides, or for each axis a
            name or a pair of names (lower, upper).
        bias: whether to add a learnable number to each output channel.
        scale: factor on the initial kernel.
        key: a `jax.random.key`.

    Raises:
        InputError: where an argument is not one of these, or an image has the wrong shape.
    """

    kernel: Array
    bias: Array | None
    padding: Sides = eqx.field(static=True)

    def __init__(
        self,
        input_channels: int,
        output_channels: int,
        *,
        kernel_size: int | Sequence[int] = 3,
        axes: int = 2,
        padding: Padding = "zero",
        bias: bool = True,
        scale: float = 1.0,
        key: Array,
    ):
        if axes not in (1, 2, 3):
            raise InputError(f"axes is the number of space axes, 1, 2 or 3, but was {axes!r}.")
        for name, number in (("input_channels", input_channels), ("output_channels", output_channels)):
            check_count(name, number, minimum=1)
        self.padding = _checked_paddings(padding, axes)
        window = _checked_window(kernel_size, axes)
        shape = (*window, input_channels, output_channels)
        self.kernel = scale * jax.nn.initializers.glorot_uniform()(key, shape)
        self.bias = jnp.zeros(output_channels) if bias else None

    def __call__(self, image: Float[Array, "channels_in ..."]) -> Float[Array, "channels_out ..."]:
        """The convolved image; shape (channels in, *cells) -> (channels out, *cells)."""
        check_image(image, self.kernel.shape[-2], len(self.padding))
        return jnp.moveaxis(self.channels_last(jnp.moveaxis(image, 0, -1)), -1, 0)

    def channels_last(self, image: Array) -> Array:
        """The same with shapes (*cells, channels): networks keep this order from layer to layer, as it is faster."""
        result = convolve(image, self.kernel, self.padding)
        return result if self.bias is None else result + self.bias


def convolve(
    image: Float[Array, "*cells channels"],
    kernel: Float[Array, "*window channels_in channels_out"],
    padding: Padding = "zero",
) -> Float[Array, "*cells channels_out"]:
    """Convolution of an image with a kernel, of the same size as the image; formula at the top of this module.

    Args:
        image: shape (*cells, channels in); channels last, since that is the order in which it is fast.
        kernel: shape (*window, channels in, channels out), every length of the window odd.
        padding: what lies beyond the sides: "zero", "periodic", "edge" or "reflect", for all sides, or for each axis a
            name or a pair of names (lower, upper).

    Returns:
        shape (*cells, channels out), in the units of image times kernel.

    Raises:
        InputError: where shapes do not fit each other, a window is even or longer than the image allows, or a padding
            is unknown or periodic at one end only.
    """
    sides = _checked_paddings(padding, axes=kernel.ndim - 2)
    _check_shapes(image, kernel, sides)
    dtype = jnp.result_type(image, kernel)
    image, kernel = image.astype(dtype), kernel.astype(dtype)
    reach = [length // 2 for length in kernel.shape[:-2]]
    periodic = tuple(lower == "periodic" for lower, _ in sides)

    # Zeros and periodic images are part of the bilinear map below, as both keep their form when it is transposed. Other
    # sides are copies of values of the image: they are written out here, and the cells computed on them cut off again.
    extended, inside = image, []
    for axis, ((lower, upper), width) in enumerate(zip(sides, reach, strict=True)):
        extended, start = _mirror(extended, axis, width, lower, upper)
        inside.append(slice(start, start + image.shape[axis]))
    result = _convolve(extended, kernel, periodic)
    return result if extended.shape == image.shape else result[tuple(inside)]


def _mirror(image: Array, axis: int, width: int, lower: str, upper: str) -> tuple[Array, int]:
    """The image with `width` copied cells at those ends of the axis that ask for it, and where the old one starts."""
    modes = {"edge": "edge", "reflect": "symmetric"}
    start = width if lower in modes else 0
    for end, name in enumerate((lower, upper)):
        if name in modes and width > 0:
            widths = [(0, 0)] * image.ndim
            widths[axis] = (width, 0) if end == 0 else (0, width)
            image = jnp.pad(image, widths, mode=modes[name])
    return image, start


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def _convolve(image: Array, kernel: Array, periodic: tuple[bool, ...]) -> Array:
    """The bilinear map: convolution with zeros or the periodic image beyond the sides."""
    return _gather_multiply_scatter(image, kernel, periodic)


def _convolve_jvp(periodic, primals, tangents):
    (image, kernel), (image_tangent, kernel_tangent) = primals, tangents
    result = _convolve(image, kernel, periodic)
    tangent = jnp.zeros_like(result)
    # What is not differentiated, such as the data a first layer sees or frozen weights, costs nothing.
    if not isinstance(image_tangent, SymbolicZero):
        tangent += _image_tangent(image_tangent, kernel, periodic)
    if not isinstance(kernel_tangent, SymbolicZero):
        tangent += _kernel_tangent(image, kernel_tangent, periodic)
    return result, tangent


_convolve.defjvp(_convolve_jvp, symbolic_zeros=True)


def _image_tangent(image_tangent: Array, kernel: Array, periodic: tuple[bool, ...]) -> Array:
    """The convolution of a change of the image, as transpose of the convolution with the mirrored kernel."""
    mirrored = jnp.flip(kernel, range(kernel.ndim - 2)).swapaxes(-1, -2)
    shape = (*image_tangent.shape[:-1], kernel.shape[-1])
    return _transpose(lambda cotangent: _gather_multiply_scatter(cotangent, mirrored, periodic), shape, image_tangent)


# Checkpointed so that the image is the residual, not the shifted copies made of it. Nothing is lost by common
# subexpressions: within one program the copies may be shared with the forward pass, in a scan they are made again.
@partial(jax.checkpoint, static_argnums=(2,), prevent_cse=False)
def _kernel_tangent(image: Array, kernel_tangent: Array, periodic: tuple[bool, ...]) -> Array:
    """The convolution with a change of the kernel: as the function above, but with a transpose that is fast.

    The transpose, the gradient with respect to the kernel, is a product of all shifted cotangents with all shifted
    images, summed over the cells. XLA has a fast kernel for it where the first factor's last axis meets the second
    factor's first, which is what the order of the factors below leads to (the other order took 1.4 times as long).
    """
    *window, channels_in, channels_out = kernel_tangent.shape
    split = _split(window, channels_in, channels_out)
    scattered, gathered = _only(window, 0, split), _only(window, split, len(window))
    columns = _gather(_pad(image, gathered, periodic), gathered)
    # A cotangent moved back meets what an image moved forward meets: hence the flip.
    order = (*range(split), len(window) + 1, *range(split, len(window) + 1))
    matrix = jnp.flip(kernel_tangent, range(split)).transpose(order).reshape(-1, columns.shape[-1])
    products = jnp.moveaxis(jnp.tensordot(matrix, columns, (1, -1)), 0, -1)
    shape = (*image.shape[:-1], channels_out)
    return _transpose(lambda cotangent: _gather(_pad(cotangent, scattered, periodic), scattered), shape, products)


def _transpose(function: Callable[[Array], Array], shape: Sequence[int], value: Array) -> Array:
    """The transpose, applied to a value, of a linear function that takes arrays of this shape."""
    return jax.linear_transpose(function, jax.ShapeDtypeStruct(shape, value.dtype))(value)[0]


def _gather_multiply_scatter(image: Array, kernel: Array, periodic: tuple[bool, ...]) -> Array:
    """b = scatter(gather(a) W): see the top of this module."""
    *window, channels_in, channels_out = kernel.shape
    split = _split(window, channels_in, channels_out)
    scattered, gathered = _only(window, 0, split), _only(window, split, len(window))
    columns = _gather(_pad(image, window, periodic), gathered)
    axes = (*range(split, len(window) + 1), *range(split), len(window) + 1)
    matrix = kernel.transpose(axes).reshape(math.prod(gathered) * channels_in, math.prod(scattered) * channels_out)
    return _scatter(columns @ matrix, scattered)


def _split(window: Sequence[int], channels_in: int, channels_out: int) -> int:
    """The number of leading axes to scatter over, so that the fewest numbers are written for each cell."""

    def written(split: int) -> int:
        return math.prod(window[split:]) * channels_in + math.prod(window[:split]) * channels_out

    return min(range(len(window) + 1), key=written)


def _only(window: Sequence[int], start: int, stop: int) -> list[int]:
    """The window with length one in all axes outside start ... stop - 1."""
    return [length if start <= axis < stop else 1 for axis, length in enumerate(window)]


def _pad(image: Array, window: Sequence[int], periodic: tuple[bool, ...]) -> Array:
    """The image with half a window of zeros or of its periodic continuation at both ends of every axis."""
    for mode, wanted in (("wrap", True), ("constant", False)):
        reach = [length // 2 if wraps == wanted else 0 for length, wraps in zip(window, periodic, strict=True)]
        if any(reach):
            image = jnp.pad(image, [(cells, cells) for cells in (*reach, 0)], mode=mode)
    return image


def _gather(image: Array, window: Sequence[int]) -> Array:
    """out[x, (s, c)] = image[x + s, c] for all shifts s in the window."""
    if math.prod(window) == 1:
        return image
    return jnp.concatenate([_shifted(image, window, shift) for shift in _shifts(window)], axis=-1)


def _scatter(image: Array, window: Sequence[int]) -> Array:
    """out[x, n] = sum over s of image[x + s, (s, n)] for all shifts s in the window."""
    parts = jnp.split(image, math.prod(window), axis=-1)
    shifted = (_shifted(part, window, shift) for part, shift in zip(parts, _shifts(window), strict=True))
    return functools.reduce(operator.add, shifted)


def _shifts(window: Sequence[int]) -> Iterable[tuple[int, ...]]:
    return itertools.product(*(range(length) for length in window))


def _shifted(image: Array, window: Sequence[int], shift: Sequence[int]) -> Array:
    return image[tuple(slice(s, s + n - k + 1) for s, n, k in zip(shift, image.shape, window, strict=False))]


def check_count(name: str, number: object, minimum: int) -> None:
    """Raises InputError unless the number is an integer of at least the minimum."""
    if isinstance(number, bool) or not isinstance(number, int) or number < minimum:
        raise InputError(f"{name} must be an integer of at least {minimum}, but was {number!r}.")


def check_image(image: Array, channels: int, axes: int) -> None:
    """Raises InputError unless the image has shape (channels, *cells)."""
    cells = ", ".join("xyz"[:axes])
    wanted = f"an image of shape (channels = {channels}, {cells})"
    if image.ndim == axes + 2 and image.shape[1] == channels:
        raise InputError(f"The network takes {wanted}, but was given {image.shape}: did you forget jax.vmap?")
    if image.ndim == axes + 1 and image.shape[-1] == channels != image.shape[0]:
        raise InputError(f"The network takes {wanted}, but was given {image.shape}: channels come first.")
    if image.ndim != axes + 1 or image.shape[0] != channels:
        raise InputError(f"The network takes {wanted}, but was given {image.shape}.")


def _check_shapes(image: Array, kernel: Array, sides: Sides) -> None:
    *window, channels, _ = kernel.shape
    _checked_window(window, len(window))
    if image.ndim == kernel.ndim and image.shape[-1] == channels:
        raise InputError(
            f"convolve takes one image (*cells, channels), but was given {image.shape}: did you forget jax.vmap?"
        )
    if image.ndim != kernel.ndim - 1 or image.shape[-1] != channels:
        raise InputError(f"An image (*cells, channels) of shape {image.shape} does not fit the kernel {kernel.shape}.")
    for axis, (length, cells) in enumerate(zip(window, image.shape, strict=False)):
        if length // 2 > cells and not {"periodic", "reflect"}.isdisjoint(sides[axis]):
            raise InputError(f"A kernel of size {length} reaches beyond all {cells} cells of the image's axis {axis}.")


def _checked_window(kernel_size: int | Sequence[int], axes: int) -> tuple[int, ...]:
    window = (kernel_size,) * axes if isinstance(kernel_size, int) else tuple(kernel_size)
    if len(window) != axes or not all(isinstance(length, int) and length > 0 and length % 2 == 1 for length in window):
        raise InputError(
            f"kernel_size must be one odd number, or one for each of the {axes} axes, but was {kernel_size!r}."
        )
    return window


def _checked_paddings(padding: Padding, axes: int) -> Sides:
    """A pair (lower, upper) for each axis."""
    if axes not in (1, 2, 3):
        raise InputError(f"A kernel has shape (*window, channels in, channels out) with 1 to 3 axes, not {axes}.")
    each_axis = (padding,) * axes if isinstance(padding, str) else tuple(padding)
    pairs = [(name, name) if isinstance(name, str) else tuple(name) for name in each_axis]
    if len(pairs) != axes or not all(len(pair) == 2 and set(pair) <= set(PADDINGS) for pair in pairs):
        raise InputError(
            f"padding must be one of {', '.join(PADDINGS)}, or for each of the {axes} axes one of them or a pair "
            f"(lower, upper), but was {padding!r}."
        )
    sides = tuple((lower, upper) for lower, upper in pairs)
    for axis, (lower, upper) in enumerate(sides):
        if (lower == "periodic") != (upper == "periodic"):
            raise InputError(
                f"padding of axis {axis} must be periodic at both ends or at neither, but was {lower}, {upper}."
            )
    return sides
