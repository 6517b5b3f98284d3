r"""The Fourier waves of a periodic box."""

import dataclasses
import functools
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import Array

from diffphys.errors import InputError
from diffphys.grids import Grid
from diffphys.grids.grid import check_grid
from diffphys.grids.numbers import times
from diffphys.linear import linear_map


@dataclasses.dataclass(frozen=True)
class Waves:
    r"""The waves of a uniform grid with periodic axes, and the transforms between values and their coefficients,

    $$f(x) = \frac{1}{N} \sum_k \hat f_k\, e^{i k \cdot (x - x_0)},$$

    where $x_0$ is the center of the first cell and $N$ the number of cells. Values may stand at any place in the cell:
    going to another one turns each coefficient, $e^{i k \cdot (x - x_0)}$, and loses nothing. Of the last axis only
    the waves that a real field needs are there. The highest wave of an even axis, $(-1)^i$, of which no derivative is
    known, is never kept.

    Args:
        grid: The grid.
        dealiasing: Waves are kept whose number along each axis is below this part of the highest, half the cells.
    """

    grid: Grid
    dealiasing: float = 2 / 3

    def __post_init__(self):
        check_grid("Waves", self.grid)
        if not all(self.grid.uniform):
            raise InputError("Waves: the grid is stretched; one that is uniform along each axis is accepted.")

    @property
    def shape(self) -> tuple[int, ...]:
        """The extents of an array of coefficients."""
        return (*self.grid.cells[:-1], self.grid.cells[-1] // 2 + 1)

    def along(self, axis: int) -> np.ndarray:
        """The whole number of each wave along an axis, broadcasting over the others."""
        cells = self.grid.cells[axis]
        last = axis == self.grid.dimensions - 1
        numbers = np.fft.rfftfreq(cells, 1 / cells) if last else np.fft.fftfreq(cells, 1 / cells)
        return self.grid.along(axis, numbers)

    def vector(self) -> list[np.ndarray]:
        """The component of the wave vector along each axis, broadcasting over the others; 2 pi over a length."""
        return [2 * np.pi / length * self.along(axis) for axis, length in enumerate(self.grid.size)]

    def squares(self) -> np.ndarray:
        """The square of each wave vector's length."""
        return np.asarray(sum(part**2 for part in self.vector()))

    def kept(self) -> np.ndarray:
        """Which waves are kept."""
        along = [
            np.abs(self.along(axis)) < min(self.dealiasing, 1.0) * cells / 2
            for axis, cells in enumerate(self.grid.cells)
        ]
        return np.asarray(functools.reduce(np.logical_and, along))

    def filtered(self, coefficients: Array) -> Array:
        """Coefficients without those of the waves that are not kept."""
        return times(jnp.asarray(self.kept(), jnp.finfo(coefficients.dtype).dtype), coefficients)

    def solenoidal(self) -> list[list[np.ndarray]]:
        r"""For each wave that is kept d - 1 unit vectors $e_j$ at right angles to it and to each other.

        With amplitudes $a_j$ the velocity $\hat v = \sum_j a_j e_j$ is every one without divergence (Craya 1958;
        Herring 1974), and $a_j = e_j \cdot \hat v$ is the projection of any. In 2D $i |k| a$ is the vorticity. Zero
        for the mean, of which nothing needs to be said, and for waves that are not kept.

        Returns:
            For each j one array for each axis.
        """
        kept, vector = self.kept(), np.broadcast_arrays(*self.vector())
        length = np.sqrt(self.squares())
        scale = np.where(length > 0, length, 1.0)
        present = kept & (length > 0)
        if len(vector) == 2:
            x, y = vector
            return [[present * (-y / scale), present * (x / scale)]]
        x, y, z = vector
        across = np.hypot(x, y)
        upright = across == 0  # along z every direction across is as good
        width = np.where(upright, 1.0, across)
        first = [np.where(upright, 1.0, -y / width), np.where(upright, 0.0, x / width), np.zeros_like(x)]
        second = [
            (y * first[2] - z * first[1]) / scale,
            (z * first[0] - x * first[2]) / scale,
            (x * first[1] - y * first[0]) / scale,
        ]
        return [[present * part for part in one] for one in (first, second)]

    def turn(self, offset: Sequence[float]) -> np.ndarray | None:
        """What the coefficients are multiplied with to give values at an offset; None for the centers."""
        phases = [
            np.pi * (2 * place - 1) * self.along(axis) / self.grid.cells[axis]
            for axis, place in enumerate(offset)
            if place != 0.5
        ]
        return np.exp(1j * np.asarray(sum(phases))) if phases else None

    def coefficients(self, values: Array, offset: Sequence[float]) -> Array:
        """The coefficients of values at an offset, all of them: see `kept`."""
        return linear_map(_Coefficients(self, tuple(offset)), _OfCoefficients(self, tuple(offset)), (), (values,))[0]

    def values(self, coefficients: Array, offset: Sequence[float]) -> Array:
        """The values at an offset."""
        return linear_map(_Values(self, tuple(offset)), _OfValues(self, tuple(offset)), (), (coefficients,))[0]


@dataclasses.dataclass(frozen=True)
class _Transform:
    """A transform as a function for `linear_map`. Its transpose is the other transform but for a factor, since waves
    are orthogonal; derived, it would be made of twice as many passes over the arrays.
    """

    waves: Waves
    offset: tuple[float, ...]

    def coefficients(self, values: Array) -> Array:
        found = jnp.fft.rfftn(values, axes=range(-self.waves.grid.dimensions, 0))
        return self._turned(found, conjugate=True)

    def values(self, coefficients: Array) -> Array:
        turned = self._turned(coefficients, conjugate=False)
        return jnp.fft.irfftn(turned, self.waves.grid.cells, axes=range(-self.waves.grid.dimensions, 0))

    def _turned(self, coefficients: Array, conjugate: bool) -> Array:
        turn = self.waves.turn(self.offset)
        if turn is None:
            return coefficients
        return coefficients * jnp.asarray(turn.conj() if conjugate else turn, coefficients.dtype)

    def weights(self, like: Array) -> Array:
        """How often each coefficient stands in the sum over all waves, over their number."""
        cells = self.waves.grid.cells
        numbers = self.waves.along(len(cells) - 1)
        twice = (numbers > 0) & (2 * numbers < cells[-1])
        return jnp.asarray((1 + twice) / np.prod(cells), jnp.finfo(like.dtype).dtype)


class _Coefficients(_Transform):
    def __call__(self, _: Sequence[Array], operands: Sequence[Array]) -> tuple[Array]:
        return (self.coefficients(operands[0]),)


class _Values(_Transform):
    def __call__(self, _: Sequence[Array], operands: Sequence[Array]) -> tuple[Array]:
        return (self.values(operands[0]),)


class _OfCoefficients(_Transform):
    def __call__(self, _: Sequence[Array], cotangents: Sequence[Array]) -> tuple[Array]:
        return (self.values(times(1 / self.weights(cotangents[0]), cotangents[0].conj())),)


class _OfValues(_Transform):
    def __call__(self, _: Sequence[Array], cotangents: Sequence[Array]) -> tuple[Array]:
        return (times(self.weights(cotangents[0]), self.coefficients(cotangents[0]).conj()),)
