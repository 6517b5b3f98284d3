"""Networks that guess a pressure from a divergence, both with normal velocities that vanish at the sides."""

import itertools
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from diffphys.nets import Convolution, convolve


class Pyramid(eqx.Module):
    """A linear network on a pyramid of grids: as the pressure is a linear function of the divergence, so is the guess.

    On each grid, from the coarsest to the finest, the guess of the coarser one is interpolated, and then several times
    improved by a convolution of what the Laplacian of the guess still lacks:

        p <- p + K * (b - laplacian p)

    with another kernel K each time, which is learned, and mirror images beyond the sides. On a grid with cells twice as
    long, in units of its cells, the same pressure has a divergence four times as large. A further pass does the same,
    with kernels of its own, for what the whole guess still lacks. A fresh network makes steps of the damped Jacobi
    iteration. What is learned is a smoother for each grid: a multigrid method from the coarsest grid to the finest,
    found by training (cascadic multigrid: Bornemann, Deuflhard 1996).

    Args:
        cells: Along both axes, a power of two.
        passes: How often all grids are gone through.
        rounds: How often the guess is improved on each grid of a pass.
        kernel_size: Odd length of the kernels; on the coarsest grids they are shorter.
        key: Of small changes of the first kernels.
    """

    kernels: tuple[tuple[Array, ...], ...]

    def __init__(self, cells: int, passes: int, rounds: int, kernel_size: int, key: Array):
        sizes = list(itertools.takewhile(lambda along: along > 1, (cells // 2**level for level in range(32))))
        keys = iter(jax.random.split(key, passes * len(sizes)))

        def stacked(along: int) -> Array:
            length = min(kernel_size, 2 * along + 1)
            noise = 1e-3 * jax.random.normal(next(keys), (rounds, length, length, 1, 1))
            return noise.at[:, length // 2, length // 2].add(-0.2)

        self.kernels = tuple(tuple(stacked(along) for along in sizes) for _ in range(passes))

    def __call__(self, divergence: Array) -> Array:
        """The pressure for a divergence (cells, cells), in units of the cells."""
        pressure = _cascade(self.kernels[0], divergence)
        for kernels in self.kernels[1:]:
            pressure = pressure + _cascade(kernels, divergence - laplacian(pressure))
        return pressure - jnp.mean(pressure)


def _cascade(kernels: Sequence[Array], divergence: Array) -> Array:
    """One pass from the coarsest grid to the finest; kernels are those of the finest grid first."""
    given = [divergence]
    for _ in kernels[1:]:
        given.append(4 * _mean_of_four(given[-1]))
    pressure = jnp.zeros_like(given[-1])
    for of_grid, wanted in zip(kernels[::-1], given[::-1], strict=True):
        if pressure.shape != wanted.shape:
            pressure = jax.image.resize(pressure, wanted.shape, "linear")

        def improved(pressure: Array, kernel: Array, wanted: Array = wanted) -> tuple[Array, None]:
            lacking = (wanted - laplacian(pressure))[None]
            return pressure + convolve(lacking, kernel, padding="reflect")[0], None

        pressure, _ = jax.lax.scan(improved, pressure, of_grid)
    return pressure


class PublishedNetwork(eqx.Module):
    """The published U-Net: 127,265 parameters.

    Three levels down with 4, 8 and 16 channels, each of three convolutions of 5x5, the last of which keeps every second
    cell; three convolutions with 32 channels; three levels up: linear interpolation to twice the cells, joined with
    what the second convolution of that level gave, and three convolutions; a last convolution. Rectified linear units,
    zeros beyond the sides. The divergence is divided by its standard deviation, and the pressure multiplied by it.

    Args:
        key: Of the first weights.
    """

    down: tuple[tuple[Convolution, ...], ...]
    bottom: tuple[Convolution, ...]
    up: tuple[tuple[Convolution, ...], ...]
    last: Convolution

    def __init__(self, key: Array):
        keys = iter(jax.random.split(key, 32))

        def convolutions(*channels: int) -> tuple[Convolution, ...]:
            pairs = itertools.pairwise(channels)
            return tuple(Convolution(one, other, kernel_size=5, key=next(keys)) for one, other in pairs)

        self.down = (convolutions(1, 4, 4, 4), convolutions(4, 8, 8, 8), convolutions(8, 16, 16, 16))
        self.bottom = convolutions(16, 32, 32, 32)
        self.up = (convolutions(48, 16, 16, 16), convolutions(24, 8, 8, 8), convolutions(12, 4, 4, 4))
        (self.last,) = convolutions(4, 1)

    def __call__(self, divergence: Array) -> Array:
        """The pressure for a divergence (cells, cells), in units of the cells."""
        scale = jnp.std(divergence)
        scale = jnp.where(scale > 0, scale, 1)
        x, kept = (divergence / scale)[None], []
        for first, second, third in self.down:
            x = jax.nn.relu(second(jax.nn.relu(first(x))))
            kept.append(x)
            x = jax.nn.relu(third(x)[:, ::2, ::2])
        x = _rectified(self.bottom, x)
        for layers, before in zip(self.up, kept[::-1], strict=True):
            finer = jax.image.resize(x, (x.shape[0], *before.shape[1:]), "linear")
            x = _rectified(layers, jnp.concatenate([finer, before]))
        pressure = scale * self.last(x)[0]
        return pressure - jnp.mean(pressure)


def _rectified(layers: Sequence[Convolution], x: Array) -> Array:
    for layer in layers:
        x = jax.nn.relu(layer(x))
    return x


def _mean_of_four(values: Array) -> Array:
    rows, columns = values.shape
    return values.reshape(rows // 2, 2, columns // 2, 2).mean((1, 3))


def laplacian(pressure: Array) -> Array:
    """In units of the cells, with slope zero at the sides."""
    padded = jnp.pad(pressure, 1, mode="edge")
    beside = padded[2:, 1:-1] + padded[:-2, 1:-1] + padded[1:-1, 2:] + padded[1:-1, :-2]
    return beside - 4 * pressure
