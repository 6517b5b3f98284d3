"""U-Nets: convolutions on a pyramid of resolutions, joined by skip connections.

O. Ronneberger, P. Fischer, T. Brox: U-Net, MICCAI 2015.
"""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from diffphys.errors import InputError
from diffphys.nets.convolution import Convolution, Padding, check_count, check_image, check_key, each_channel


class BatchNormalization(eqx.Module):
    """scale (x - mean) / sqrt(variance + 1e-5) + shift for each channel, over all cells and the mapped axis "batch".

    The statistics are always those of the batch at hand, also where a trained network is used: there is no state.
    """

    scale: Array
    shift: Array

    def __call__(self, image: Array) -> Array:
        """Shape (channels, *cells)."""
        axes = tuple(range(1, image.ndim))
        mean = jax.lax.pmean(jnp.mean(image, axes), "batch")
        variance = jax.lax.pmean(jnp.mean((image - each_channel(mean, image)) ** 2, axes), "batch")
        scale = self.scale * jax.lax.rsqrt(variance + 1e-5)
        return each_channel(scale, image) * (image - each_channel(mean, image)) + each_channel(self.shift, image)


class DoubleConvolution(eqx.Module):
    """Twice: a convolution over three cells along each axis, a normalization if there is one, max(x, 0)."""

    convolutions: tuple[Convolution, Convolution]
    normalizations: tuple[BatchNormalization, ...]

    def __call__(self, image: Array) -> Array:
        """Shape (channels, *cells)."""
        for index, convolution in enumerate(self.convolutions):
            image = convolution(image)
            if self.normalizations:
                image = self.normalizations[index](image)
            image = jax.nn.relu(image)
        return image


class UNet(eqx.Module):
    """A U-Net on an image: (input channels, *cells) -> (output channels, *cells). Batches are `jax.vmap`.

    From the finest level to the coarsest: two convolutions, then the maximum of each block of two cells along each
    axis; and back: linear interpolation to twice the cells, joined with what that level had, two convolutions. A last
    convolution of one cell is linear. The defaults are the network of PhiML, which Holl, Koltun, Thuerey (2022) use:
    37,697 parameters for one channel in and out with normalization="batch".

    Args:
        input_channels, output_channels: At least one each.
        features: Channels of every level.
        levels: Resolutions, at least one; each axis needs a multiple of 2^(levels - 1) cells.
        normalization: None, or "batch": then the network has to be mapped by `jax.vmap(network, axis_name="batch")`,
            which is what `diffphys.inversion.scale_invariant_loss` does.
        padding: As for `Convolution`.
        axes: The number of space axes, 1 to 3.
        key: A `jax.random.key`.

    Raises:
        InputError: where an argument is not one of these, or an image has the wrong shape.
    """

    down: tuple[DoubleConvolution, ...]
    up: tuple[DoubleConvolution, ...]
    last: Convolution

    def __init__(
        self,
        input_channels: int,
        output_channels: int,
        *,
        features: int = 16,
        levels: int = 4,
        normalization: Literal["batch"] | None = None,
        padding: Padding = "zero",
        axes: int = 2,
        key: Array,
    ):
        input_channels = check_count("input_channels", input_channels, minimum=1)
        output_channels = check_count("output_channels", output_channels, minimum=1)
        check_key(key)
        features = check_count("features", features, minimum=1)
        levels = check_count("levels", levels, minimum=1)
        if normalization not in (None, "batch"):
            raise InputError(f"normalization must be None or 'batch', but was {normalization!r}.")
        keys = iter(jax.random.split(key, 4 * levels))

        def convolution(inputs: int, outputs: int, window: int) -> Convolution:
            # From Glorot's bound to 1 / sqrt(window * inputs), PyTorch's: that of the published networks.
            scale = ((inputs + outputs) / (6 * inputs)) ** 0.5
            options = {"kernel_size": window, "axes": axes, "padding": padding, "scale": scale}
            return Convolution(inputs, outputs, **options, key=next(keys))

        def block(channels: int) -> DoubleConvolution:
            pair = (convolution(channels, features, 3), convolution(features, features, 3))
            normalize = BatchNormalization(jnp.ones(features), jnp.zeros(features))
            return DoubleConvolution(pair, (normalize, normalize) if normalization else ())

        self.down = tuple(block(input_channels if level == 0 else features) for level in range(levels))
        self.up = tuple(block(2 * features) for _ in range(levels - 1))
        self.last = convolution(features, output_channels, 1)

    def __call__(self, image: Array) -> Array:
        """The network's answer; shape (input channels, *cells) -> (output channels, *cells)."""
        first = self.down[0].convolutions[0].kernel
        check_image(image, channels=first.shape[-2], axes=first.ndim - 2)
        multiple = 2 ** len(self.up)
        if any(n % multiple for n in image.shape[1:]):
            raise InputError(
                f"A U-Net of {len(self.down)} levels takes multiples of {multiple} cells along each axis, "
                f"but was given {image.shape[1:]}."
            )
        x, skips = image, []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else _largest_of_two(x))
            skips.append(x)
        for block, skip in zip(self.up, skips[-2::-1], strict=True):
            finer = jax.image.resize(x, (x.shape[0], *skip.shape[1:]), "linear")
            x = block(jnp.concatenate([skip, finer]))
        return self.last(x)


def _largest_of_two(x: Array) -> Array:
    """The maximum over blocks of two cells along each axis but the first, which holds the channels."""
    for axis in range(1, x.ndim):
        pairs = x.reshape(*x.shape[:axis], x.shape[axis] // 2, 2, *x.shape[axis + 1 :])
        x = jnp.max(pairs, axis=axis + 1)
    return x
