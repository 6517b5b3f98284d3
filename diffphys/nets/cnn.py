"""Plain convolutional networks: one layer after the other."""

from collections.abc import Sequence

import equinox as eqx
import jax
from jax import Array
from jaxtyping import Float

from diffphys.errors import InputError
from diffphys.grids.numbers import as_whole, shown
from diffphys.nets.convolution import Convolution, Padding, check_image, check_key


class CNN(eqx.Module):
    """x -> layer_n(activation(... activation(layer_1(x)))), each layer a convolution, the last without activation;
    (input channels, *cells) -> (output channels, *cells). Batches are `jax.vmap`.

    The defaults are the network of List, Chen, Thuerey (2022) up to its widths: seven layers without biases, whose
    windows together see 19 cells. It has 81,856 parameters as

        CNN((4, 16, 16, 32, 64, 64, 64, 2), key=key)

    Args:
        channels: Of the input, of what each layer gives, so of the output last.
        kernel_sizes: Odd length of the window of each layer.
        slope: The leaky ReLU's slope for negative numbers.
        padding: What lies beyond the sides, as for `Convolution`.
        bias: Whether layers add learnable numbers.
        last_scale: Factor on the last layer's initial kernel; 1 as published. At 0.01 a fresh network in a solver
            starts close to the bare solver.
        axes: The number of space axes, 1 to 3.
        key: A `jax.random.key`.

    Raises:
        InputError: where an argument is not one of these, or an image has the wrong shape.
    """

    layers: tuple[Convolution, ...]
    slope: float = eqx.field(static=True)

    def __init__(
        self,
        channels: Sequence[int],
        kernel_sizes: Sequence[int] = (7, 5, 5, 3, 3, 1, 1),
        *,
        slope: float = 0.2,
        padding: Padding = "zero",
        bias: bool = False,
        last_scale: float = 0.01,
        axes: int = 2,
        key: Array,
    ):
        counts = [as_whole(count) or 0 for count in channels]
        if len(counts) != len(kernel_sizes) + 1 or len(counts) < 2 or not all(counts):
            raise InputError(
                f"CNN: channels is {shown(channels)} and kernel_sizes {shown(kernel_sizes)}; whole numbers of at least "
                "1, one channel count more than kernel sizes, are accepted."
            )
        check_key(key)
        last = len(kernel_sizes) - 1
        self.layers = tuple(
            Convolution(
                counts[number],
                counts[number + 1],
                kernel_size=window,
                axes=axes,
                padding=padding,
                bias=bias,
                scale=last_scale if number == last else 1.0,
                key=one,
            )
            for number, (window, one) in enumerate(zip(kernel_sizes, jax.random.split(key, last + 1), strict=True))
        )
        self.slope = slope

    def __call__(self, image: Float[Array, "channels_in *cells"]) -> Float[Array, "channels_out *cells"]:
        """The network's answer."""
        first = self.layers[0].kernel
        check_image(image, channels=first.shape[-2], axes=first.ndim - 2)
        for layer in self.layers[:-1]:
            image = jax.nn.leaky_relu(layer(image), self.slope)
        return self.layers[-1](image)
