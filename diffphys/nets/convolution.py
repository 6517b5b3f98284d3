"""Convolutions that know what lies beyond the sides of the domain, in a form that is fast on a CPU.

For an image a with C channels, a kernel w with an odd window and N output channels (one dimension, for brevity)

    b[x, n] = sum over s, c of  a[x + s - (k - 1) / 2, c]  w[s, c, n],        s = 0 ... k - 1,

where values of a beyond the sides come from `padding`. (A cross-correlation, which deep learning calls convolution.)

**How it is computed.** The sum over c is a matrix product and the sum over s can be taken on either side of it: copy
the image k times, shifted, before the product ("gather"), or shift and add its k results afterwards ("scatter").
Gathering over some axes and scattering over the others moves the fewest numbers and leaves one large matrix product.
An image is written as one line of numbers for each channel, half a window of zeros between its rows: every shift is
then the same line, read from further on, and copying it copies whole lines.

Milliseconds of one core for the value and its gradient with respect to weights and images, in float32 (JAX 0.10.2;
medians, programs in turns, on a machine whose other core was busy):

                                                                ResNet of 49,442 numbers        ResNet of 260,354
                                              batch 1   batch 3   batch 16   4 steps in a scan          batch 3
    jax.lax.conv_general_dilated                 17        49        390            6527                  187
    gather, product, scatter; channels last      13        44        422             180                  288
    the same on lines, channels first            14        44        435             174                  278

Inside a loop, where a network in a solver's loop always is, JAX's own convolution is not usable on a CPU; outside of
one it is the fastest for many channels. The U-Net of the inverse problems on 64x64 cells with a batch of 16, which has
few channels, takes 445 ms on lines and 574 with the channels last. Batches of more than three images have since been
convolved in parts, one after the other: 364 instead of 529 ms for the first network and a batch of 16, on a slower day.

**How it is differentiated.** The map is linear in the image and in the kernel, so its derivative needs no new
mathematics; but the transpose that automatic differentiation would build adds up padded copies, which is slow.
`linear_map` gives each of the two its transpose: by the image another convolution, with the mirrored kernel, and by the
kernel a product of shifted cotangents and shifted images. Forward mode, reverse mode and one inside the other all work.
Only the image is kept for the backward pass, not its k shifted copies.
"""

import dataclasses
import functools
import itertools
import math
import operator
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from diffphys.errors import InputError
from diffphys.grids.ends import with_even_images, with_last_value
from diffphys.grids.numbers import as_floating, as_whole, shown
from diffphys.linear import linear_map


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
        input_channels, output_channels: At least one each.
        kernel_size: Odd length of the window, one for all axes or one for each.
        axes: The number of space axes, 1 to 3.
        padding: What lies beyond the sides: "zero", "periodic", "edge" or "reflect", for all sides, or for each axis a
            name or a pair of names (lower, upper).
        bias: Whether to add a learnable number to each output channel.
        scale: Factor on the initial kernel.
        key: A `jax.random.key`.

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
        given, axes = axes, as_whole(axes) or 0
        if axes not in (1, 2, 3):
            raise InputError(f"axes is the number of space axes, 1, 2 or 3, but was {shown(given)}.")
        check_key(key)
        channels = (
            check_count("input_channels", input_channels, minimum=1),
            check_count("output_channels", output_channels, minimum=1),
        )
        self.padding = _checked_paddings(padding, axes)
        window = _checked_window(kernel_size, axes)
        shape = (*window, *channels)
        self.kernel = scale * jax.nn.initializers.glorot_uniform()(key, shape)
        self.bias = jnp.zeros(channels[1]) if bias else None

    def __call__(self, image: Float[Array, "channels_in ..."]) -> Float[Array, "channels_out ..."]:
        """The convolved image; shape (channels in, *cells) -> (channels out, *cells)."""
        check_image(image, self.kernel.shape[-2], len(self.padding))
        result = convolve(image, self.kernel, self.padding)
        return result if self.bias is None else result + each_channel(self.bias, result)


def convolve(
    image: Float[Array, "channels *cells"],
    kernel: Float[Array, "*window channels_in channels_out"],
    padding: Padding = "zero",
) -> Float[Array, "channels_out *cells"]:
    """Convolution of an image with a kernel, of the same size as the image; formula at the top of this module.

    Args:
        image: Shape (channels in, *cells).
        kernel: Shape (*window, channels in, channels out), every length of the window odd.
        padding: What lies beyond the sides: "zero", "periodic", "edge" or "reflect", for all sides, or for each axis a
            name or a pair of names (lower, upper).

    Returns:
        shape (channels out, *cells), in the units of image times kernel.

    Raises:
        InputError: where shapes do not fit each other, a window is even or longer than the image allows, or a padding
            is unknown or periodic at one end only.
    """
    image, kernel = (as_floating(array, name) for array, name in ((image, "image"), (kernel, "kernel")))
    sides = _checked_paddings(padding, axes=kernel.ndim - 2)
    _check_shapes(image, kernel, sides)
    dtype = jnp.result_type(image, kernel)
    image, kernel = image.astype(dtype), kernel.astype(dtype)
    reach = [length // 2 for length in kernel.shape[:-2]]
    periodic = tuple(lower == "periodic" for lower, _ in sides)

    # Zeros and periodic images are part of the bilinear map below, as both keep their form when it is transposed. Other
    # sides are copies of values of the image: they are written out here, and the cells computed on them cut off again.
    extended, inside = image, [slice(None)]
    for axis, ((lower, upper), width) in enumerate(zip(sides, reach, strict=True), start=1):
        extended, start = _mirror(extended, axis, width, lower, upper)
        inside.append(slice(start, start + image.shape[axis]))
    result = _convolve(extended, kernel, periodic)
    return result if extended.shape == image.shape else result[tuple(inside)]


def _mirror(image: Array, axis: int, width: int, lower: str, upper: str) -> tuple[Array, int]:
    """The image with `width` copied cells at those ends of the axis that ask for it, and where the old one starts."""
    beyond = {"edge": with_last_value, "reflect": with_even_images}
    for name, widths in ((lower, (width, 0)), (upper, (0, width))):
        if name in beyond and width > 0:
            image = beyond[name](image, axis, widths)
    return image, width if lower in beyond else 0


AT_ONCE = 3
"""Images of a batch that are convolved together: the shifted copies of more do not stay in the cache."""


def _convolve(image: Array, kernel: Array, periodic: tuple[bool, ...]) -> Array:
    """The bilinear map: convolution with zeros or the periodic image beyond the sides."""
    by_image = _ByImage(periodic)
    return linear_map(by_image.forward, by_image.transposed, (kernel,), (image,), at_once=AT_ONCE)[0]


@dataclasses.dataclass(frozen=True)
class _ByImage:
    """The convolution as a linear map of the image; its transpose is the convolution with the mirrored kernel."""

    periodic: tuple[bool, ...]

    def forward(self, kernels: Sequence[Array], images: Sequence[Array]) -> tuple[Array]:
        by_kernel = _ByKernel(self.periodic, kernels[0].shape)
        return (linear_map(by_kernel.forward, by_kernel.transposed, images, kernels)[0],)

    def transposed(self, kernels: Sequence[Array], cotangents: Sequence[Array]) -> tuple[Array]:
        mirrored = jnp.flip(kernels[0], range(kernels[0].ndim - 2)).swapaxes(-1, -2)
        return self.forward((mirrored,), cotangents)


@dataclasses.dataclass(frozen=True)
class _ByKernel:
    """The convolution as a linear map of the kernel; its transpose is a sum over the cells of shifted cotangents times
    shifted images.
    """

    periodic: tuple[bool, ...]
    shape: tuple[int, ...]

    def forward(self, images: Sequence[Array], kernels: Sequence[Array]) -> tuple[Array]:
        return (_written_out(images[0], kernels[0], self.periodic),)

    def transposed(self, images: Sequence[Array], cotangents: Sequence[Array]) -> tuple[Array]:
        lines = _Lines.of(images[0].shape, self.shape)
        columns = _shifted(_flattened(images[0], lines, self.periodic), lines.gathered, lines.length + lines.tail)
        # What was added up from s cells further on comes from s cells before.
        cotangent = _widened(lines.line_of(cotangents[0]), lines.tail, lines.tail)
        back = [lines.tail - shift for shift in lines.scattered]
        matrix = jnp.einsum("ir,jr->ij", _shifted(cotangent, back, lines.length + lines.tail), columns)
        return (_kernel(matrix, self.shape, lines.split),)


@partial(jax.jit, static_argnums=2, inline=True)  # outside of other programs it is one program, not thirty
def _written_out(image: Array, kernel: Array, periodic: tuple[bool, ...]) -> Array:
    lines = _Lines.of(image.shape, kernel.shape)
    columns = _shifted(_flattened(image, lines, periodic), lines.gathered, lines.length + lines.tail)
    return lines.cells_of(_scattered(_product(_matrix(kernel, lines.split), columns), lines.scattered, lines.length))


def _product(matrix: Array, columns: Array) -> Array:
    """matrix @ columns.

    Where images are a batch and the kernel is not, `jax.vmap` would make of this one product whose result has to be
    transposed in memory. The zero times an entry of the image gives every image its own copy of the (small) matrix,
    which makes it a batch of products: 1.9 instead of 5 ms for 3 x (96, 96) @ (96, 2244).
    """
    return (matrix + 0 * jax.lax.stop_gradient(columns[0, 0])) @ columns


class _Lines(NamedTuple):
    """Where cells and shifts lie when an image is written as one line of numbers for each channel.

    With half a window added at both ends of every axis, a shift by (s, t) is one by s rows and t numbers.

    Attributes:
        cells: Of the image.
        padded: Cells with half a window at both ends of each axis.
        split: The number of leading axes of the window that are gathered over.
        gathered, scattered: The shifts over the leading axes and over the others, first the one that is zero.
        length: Numbers from the first cell to the end of the last row, without what was added along the first axis.
        tail: The largest shift that is scattered.
    """

    cells: tuple[int, ...]
    padded: tuple[int, ...]
    split: int
    gathered: tuple[int, ...]
    scattered: tuple[int, ...]
    length: int
    tail: int

    @classmethod
    def of(cls, image: Sequence[int], kernel: Sequence[int]) -> "_Lines":
        """For the shapes of an image and a kernel."""
        cells, (*window, channels_in, channels_out) = tuple(image[1:]), kernel
        padded = tuple(n + k - 1 for n, k in zip(cells, window, strict=True))
        strides = [math.prod(padded[axis + 1 :]) for axis in range(len(cells))]

        # Of the numbers that are written for each cell there should be few.
        def written(split: int) -> int:
            return math.prod(window[:split]) * channels_in + math.prod(window[split:]) * channels_out

        split = min(range(len(window) + 1), key=written)

        def shifts(axes: range) -> tuple[int, ...]:
            steps = itertools.product(*(range(window[axis]) for axis in axes))
            return tuple(sum(s * strides[axis] for s, axis in zip(step, axes, strict=True)) for step in steps)

        scattered = shifts(range(split, len(window)))
        return cls(cells, padded, split, shifts(range(split)), scattered, cells[0] * strides[0], max(scattered))

    def cells_of(self, line: Array) -> Array:
        """The image on a line of `length` numbers."""
        rows = line.reshape(-1, self.cells[0], *self.padded[1:])
        return rows[(slice(None), slice(None), *(slice(n) for n in self.cells[1:]))]

    def line_of(self, image: Array) -> Array:
        """The image on a line of `length` numbers, with zeros where it has none: the transpose of `cells_of`."""
        for axis in range(len(self.cells), 1, -1):
            rows = image.reshape(math.prod(image.shape[:axis]), -1)
            added = (self.padded[axis - 1] - self.cells[axis - 1]) * math.prod(image.shape[axis + 1 :])
            widened = _widened(rows, 0, added)
            image = widened.reshape(*image.shape[:axis], self.padded[axis - 1], *image.shape[axis + 1 :])
        return image.reshape(image.shape[0], -1)


def _flattened(image: Array, lines: _Lines, periodic: tuple[bool, ...]) -> Array:
    """The image with zeros or its periodic continuation at both ends of every axis, one line for each channel, and
    zeros behind it where a shifted line needs them.
    """
    for axis in range(len(lines.cells), 0, -1):
        reach = (lines.padded[axis - 1] - lines.cells[axis - 1]) // 2 * math.prod(image.shape[axis + 1 :])
        rows = image.reshape(math.prod(image.shape[:axis]), -1)
        if periodic[axis - 1] and reach:
            rows = _in_memory(jnp.concatenate([rows[:, -reach:], rows, rows[:, :reach]], 1))
        else:
            rows = _widened(rows, reach, reach)
        image = rows.reshape(*image.shape[:axis], lines.padded[axis - 1], *image.shape[axis + 1 :])
    line = image.reshape(image.shape[0], -1)
    return _widened(line, 0, max(lines.gathered) + lines.tail + lines.length - line.shape[1])


def _widened(rows: Array, before: int, behind: int) -> Array:
    """Zeros before and behind each row."""
    if before == behind == 0:
        return rows
    zeros = [jnp.zeros((rows.shape[0], count), rows.dtype) for count in (before, behind)]
    return _in_memory(jnp.concatenate([zeros[0], _in_memory(rows), zeros[1]], 1))


def _in_memory(rows: Array) -> Array:
    """An array that stands in memory, from where it is copied row by row. Fused into a loop over its copies it would
    be computed with a branch for every number, which takes ten times as long.
    """
    return jax.lax.optimization_barrier(rows)


def _shifted(line: Array, shifts: Sequence[int], length: int) -> Array:
    """out[(s, c), i] = line[c, i + s]."""
    if len(shifts) == 1:
        return jax.lax.slice_in_dim(line, shifts[0], shifts[0] + length, axis=1)
    return _in_memory(jnp.concatenate([jax.lax.slice_in_dim(line, s, s + length, axis=1) for s in shifts]))


def _scattered(product: Array, shifts: Sequence[int], length: int) -> Array:
    """out[n, i] = sum over s of product[(s, n), i + s]."""
    parts = jnp.split(product, len(shifts))
    moved = [jax.lax.slice_in_dim(part, s, s + length, axis=1) for part, s in zip(parts, shifts, strict=True)]
    return functools.reduce(operator.add, moved)


def _matrix(kernel: Array, split: int) -> Array:
    """From (*gathered, *scattered, c, n) to ((scattered, n), (gathered, c))."""
    axes = kernel.ndim - 2
    order = (*range(split, axes), axes + 1, *range(split), axes)
    return kernel.transpose(order).reshape(math.prod(kernel.shape[split:axes]) * kernel.shape[-1], -1)


def _kernel(matrix: Array, shape: Sequence[int], split: int) -> Array:
    """The inverse of `_matrix`."""
    axes = len(shape) - 2
    order = (*range(split, axes), axes + 1, *range(split), axes)
    return matrix.reshape([shape[axis] for axis in order]).transpose([order.index(axis) for axis in range(axes + 2)])


def each_channel(numbers: Array, image: Array) -> Array:
    """One number for each channel, in a shape that fits an image (channels, *cells)."""
    return numbers.reshape(-1, *[1] * (image.ndim - 1))


def check_count(name: str, number: object, minimum: int) -> int:
    """The number as an integer of Python; raises InputError unless it is one of at least the minimum."""
    whole = as_whole(number, minimum)
    if whole is None:
        raise InputError(f"{name} must be an integer of at least {minimum}, but was {shown(number)}.")
    return whole


def check_key(key: object) -> None:
    """Raises InputError unless it is a key for random numbers."""
    try:
        jax.random.split(key)  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError):
        raise InputError(f"key is {shown(key)}; a jax.random.key is accepted.") from None


def check_image(image: Array, channels: int, axes: int) -> None:
    """Raises InputError unless the image has shape (channels, *cells)."""
    if not isinstance(image, (Array, np.ndarray)):
        raise InputError(f"The network takes an image, but was given {shown(image)}; an array is accepted.")
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
    if image.ndim == kernel.ndim and image.shape[1] == channels:
        raise InputError(
            f"convolve takes one image (channels, *cells), but was given {image.shape}: did you forget jax.vmap?"
        )
    if image.ndim != kernel.ndim - 1 or image.shape[0] != channels:
        raise InputError(f"An image (channels, *cells) of shape {image.shape} does not fit the kernel {kernel.shape}.")
    for axis, (length, cells) in enumerate(zip(window, image.shape[1:], strict=True)):
        if length // 2 > cells and not {"periodic", "reflect"}.isdisjoint(sides[axis]):
            raise InputError(f"A kernel of size {length} reaches beyond all {cells} cells of the image's axis {axis}.")


def _checked_window(kernel_size: int | Sequence[int], axes: int) -> tuple[int, ...]:
    given = kernel_size if isinstance(kernel_size, Sequence) else (kernel_size,) * axes
    window = tuple(as_whole(length) or 0 for length in given)
    if len(window) != axes or not all(length % 2 == 1 for length in window):
        raise InputError(
            f"kernel_size must be one odd number, or one for each of the {axes} axes, but was {shown(kernel_size)}."
        )
    return window


def _checked_paddings(padding: Padding, axes: int) -> Sides:
    """A pair (lower, upper) for each axis."""
    if axes not in (1, 2, 3):
        raise InputError(f"A kernel has shape (*window, channels in, channels out) with 1 to 3 axes, not {axes}.")
    each_axis = padding if isinstance(padding, Sequence) and not isinstance(padding, str) else (padding,) * axes
    pairs = [tuple(name) if isinstance(name, (tuple, list)) else (name, name) for name in each_axis]
    named = all(isinstance(name, str) and name in PADDINGS for pair in pairs for name in pair)
    if len(pairs) != axes or not named or any(len(pair) != 2 for pair in pairs):
        raise InputError(
            f"padding must be one of {', '.join(PADDINGS)}, or for each of the {axes} axes one of them or a pair "
            f"(lower, upper), but was {shown(padding)}."
        )
    sides = tuple((lower, upper) for lower, upper in pairs)
    for axis, (lower, upper) in enumerate(sides):
        if (lower == "periodic") != (upper == "periodic"):
            raise InputError(
                f"padding of axis {axis} must be periodic at both ends or at neither, but was {lower}, {upper}."
            )
    return sides
