"""Residual convolutional networks, as used to correct coarse solvers.

K. He, X. Zhang, S. Ren, J. Sun: Deep residual learning for image recognition, CVPR 2016.
K. Um, R. Brand, Y. Fei, P. Holl, N. Thuerey: Solver-in-the-Loop, NeurIPS 2020.
"""

from collections.abc import Callable

import equinox as eqx
import jax
from jax import Array
from jaxtyping import Float

from diffphys.errors import InputError
from diffphys.nets.convolution import Convolution, Padding, check_count, check_image, check_key


class ResidualBlock(eqx.Module):
    """x -> activation(second(activation(first(x))) + skip(x)), with skip the identity or a convolution of one cell."""

    first: Convolution
    second: Convolution
    skip: Convolution | None

    def __call__(self, image: Array, activation: Callable[[Array], Array]) -> Array:
        """Shape (channels, *cells)."""
        residual = self.second(activation(self.first(image)))
        kept = image if self.skip is None else self.skip(image)
        return activation(residual + kept)


class ResNet(eqx.Module):
    """A residual network on an image: (input channels, *cells) -> (output channels, *cells). Batches are `jax.vmap`.

        x = activation(first(image)),   x = activation(conv(activation(conv(x))) + x)  for each block,   last(x).

    The defaults are the network of Um et al. (2020, "mars_moon" in their code): with 3 inputs and 2 outputs, 12
    convolutions of 5x5 and 260,354 parameters. The small residual networks of "Physics-based Deep Learning" (Thuerey et
    al.) have no first convolution, three blocks of 3x3 of which the first takes the image itself, and a last
    convolution of one cell; the second of these has a convolution of one cell in every skip:

        ResNet(3, 2, blocks=3, kernel_size=3, first=False, last_kernel_size=1, key=key)                        47,330
        ResNet(3, 2, blocks=3, kernel_size=3, first=False, last_kernel_size=1, skip="convolution", key=key)    49,442

    Args:
        input_channels, output_channels: At least one each.
        features: Channels of all layers between.
        blocks: Number of residual blocks.
        kernel_size: Odd length of the window of all convolutions save skips and, where `last_kernel_size` is given, the
            last.
        slope: The leaky ReLU's slope for negative numbers, max(x, slope * x).
        activation: A function of arrays to use instead of the leaky ReLU.
        padding: What lies beyond the sides: "zero", "periodic", "edge" or "reflect", for all sides, or for each axis a
            name or a pair of names (lower, upper).
        first: Whether a convolution and activation come before the blocks.
        skip: "identity", where the number of channels allows it, or "convolution" (of one cell) in every block.
        last_kernel_size: Window of the last convolution, which is linear; `kernel_size` where None.
        last_scale: Factor on the last convolution's initial kernel. At 1, as published, a fresh network answers with
            numbers as large as its inputs, which after a few unrolled steps have destroyed the flow. At 0.01 training
            starts close to the bare solver, and loses little by it: Adam's updates do not depend on a gradient's scale.
        axes: The number of space axes, 1 to 3.
        key: A `jax.random.key`.

    Raises:
        InputError: where an argument is not one of these, or an image has the wrong shape.
    """

    first: Convolution | None
    blocks: tuple[ResidualBlock, ...]
    last: Convolution
    slope: float = eqx.field(static=True)
    activation: Callable[[Array], Array] | None = eqx.field(static=True)

    def __init__(
        self,
        input_channels: int,
        output_channels: int,
        *,
        features: int = 32,
        blocks: int = 5,
        kernel_size: int = 5,
        slope: float = 0.3,
        activation: Callable[[Array], Array] | None = None,
        padding: Padding = "zero",
        first: bool = True,
        skip: str = "identity",
        last_kernel_size: int | None = None,
        last_scale: float = 0.01,
        axes: int = 2,
        key: Array,
    ):
        input_channels = check_count("input_channels", input_channels, minimum=1)
        output_channels = check_count("output_channels", output_channels, minimum=1)
        check_key(key)
        features = check_count("features", features, minimum=1)
        blocks = check_count("blocks", blocks, minimum=0 if first else 1)
        if skip not in ("identity", "convolution"):
            raise InputError(f"skip must be 'identity' or 'convolution', but was {skip!r}.")
        if activation is not None and not callable(activation):
            raise InputError(f"activation must be a function of an array, such as jax.nn.relu, but was {activation!r}.")
        keys = iter(jax.random.split(key, 2 + 3 * blocks))

        def convolution(channels_in: int, channels_out: int, window: int, scale: float = 1.0) -> Convolution:
            return Convolution(
                channels_in, channels_out, kernel_size=window, axes=axes, padding=padding, scale=scale, key=next(keys)
            )

        def block(channels: int) -> ResidualBlock:
            return ResidualBlock(
                first=convolution(channels, features, kernel_size),
                second=convolution(features, features, kernel_size),
                skip=convolution(channels, features, 1) if skip == "convolution" or channels != features else None,
            )

        self.first = convolution(input_channels, features, kernel_size) if first else None
        self.blocks = tuple(block(features if first or i > 0 else input_channels) for i in range(blocks))
        last_window = kernel_size if last_kernel_size is None else last_kernel_size
        self.last = convolution(features, output_channels, last_window, last_scale)
        self.slope = slope
        self.activation = activation

    def __call__(self, image: Float[Array, "channels_in *cells"]) -> Float[Array, "channels_out *cells"]:
        """The network's answer; shape (input channels, *cells) -> (output channels, *cells)."""
        layer = self.first if self.first is not None else self.blocks[0].first
        check_image(image, channels=layer.kernel.shape[-2], axes=layer.kernel.ndim - 2)
        x = image
        if self.first is not None:
            x = self._activate(self.first(x))
        for block in self.blocks:
            x = block(x, self._activate)
        return self.last(x)

    def _activate(self, x: Array) -> Array:
        return jax.nn.leaky_relu(x, self.slope) if self.activation is None else self.activation(x)


def count_parameters(module: eqx.Module) -> int:
    """The number of trainable numbers: the sizes of all floating-point arrays of a module, added."""
    return sum(leaf.size for leaf in jax.tree.leaves(eqx.filter(module, eqx.is_inexact_array)))
