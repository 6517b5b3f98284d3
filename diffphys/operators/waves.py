r"""The Fourier waves of a periodic box."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
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
        for the mean, of which nothing needs to be said, and for waves that are not kept. See `velocity` and
        `amplitudes`.

        Returns:
            For each j one array for each axis.
        """
        frame, vector = self._frame(), self.vector()
        if len(vector) == 2:
            x, y = vector
            return [[frame.scales[0] * -y, frame.scales[0] * x]]
        x, y = (np.broadcast_to(part, self.shape) for part in frame.level)
        first, second = frame.scales
        return [
            [first * x, first * y, np.zeros(self.shape)],
            [-second * vector[2] * y, second * vector[2] * x, second * frame.width],
        ]

    # Linear maps of coefficients, wave by wave, each with its transpose.

    def velocity(self, amplitudes: Sequence[Array], mean: Array) -> tuple[Array, ...]:
        """`sum_j a_j e_j` for each axis, with a mean that is given: see `solenoidal`."""
        return linear_map(_Velocity(self), _OfVelocity(self), (), (*amplitudes, mean))

    def amplitudes(self, vector: Sequence[Array]) -> tuple[Array, ...]:
        """`e_j . v` of a vector field: what is along the wave, a gradient, is left out."""
        return self._mapped("_amplitudes", "_velocity", vector)

    def slope_along(self, vector: Sequence[Array]) -> Array:
        """`-i k . v`: minus the divergence of a vector field."""
        return self._mapped("_along", "_times_vector", vector, turned=True)[0]

    @property
    def products(self) -> list[tuple[int, int]]:
        """The pairs of axes of the products that `convected` is given."""
        axes = range(self.grid.dimensions)
        return [(a, b) for a in axes for b in axes[a:] if (a, b) != (axes[-1], axes[-1])]

    def convected(self, products: Sequence[Array]) -> tuple[Array, ...]:
        r"""The amplitudes of $-\nabla \cdot (v v)$, that is $e_j \cdot (-i k \cdot \widehat{v v})$.

        Args:
            products: The coefficients of $v_a v_b$ for each of `products`; where a = b those of $v_a^2 - v_d^2$, since
                the last square, taken from all, is a pressure.
        """
        return self._mapped("_convected", "_of_convected", products, turned=True)

    def _mapped(self, name: str, transpose: str, given: Sequence[Array], turned: bool = False) -> tuple[Array, ...]:
        return linear_map(_EachWave(self, name, turned), _EachWave(self, transpose, turned), (), tuple(given))

    # Of real and imaginary parts; in 3D a frame is made of factors along one or two axes, which are read faster than
    # arrays of all waves.

    def _velocity(self, amplitudes: Sequence[Array]) -> list[Array]:
        frame, number = self._frame(), _numbers_like(amplitudes[0])
        scaled = [number(scale) * one for scale, one in zip(frame.scales, amplitudes, strict=True)]
        vector = [number(part) for part in self.vector()]
        if len(vector) == 2:
            return [-vector[1] * scaled[0], vector[0] * scaled[0]]
        (x, y), upright = map(number, frame.level), vector[2] * scaled[1]
        return [x * scaled[0] - y * upright, y * scaled[0] + x * upright, number(frame.width) * scaled[1]]

    def _amplitudes(self, vector: Sequence[Array]) -> list[Array]:
        frame, number = self._frame(), _numbers_like(vector[0])
        waves = [number(part) for part in self.vector()]
        if len(waves) == 2:
            return [number(frame.scales[0]) * (waves[0] * vector[1] - waves[1] * vector[0])]
        x, y = map(number, frame.level)
        found = [
            x * vector[0] + y * vector[1],
            waves[2] * (x * vector[1] - y * vector[0]) + number(frame.width) * vector[2],
        ]
        return [number(scale) * one for scale, one in zip(frame.scales, found, strict=True)]

    def _along(self, vector: Sequence[Array]) -> list[Array]:
        number = _numbers_like(vector[0])
        return [_sum([number(wave) * part for wave, part in zip(self.vector(), vector, strict=True)])]

    def _times_vector(self, values: Sequence[Array]) -> list[Array]:
        number = _numbers_like(values[0])
        return [number(wave) * values[0] for wave in self.vector()]

    def _convected(self, products: Sequence[Array]) -> list[Array]:
        waves = list(map(_numbers_like(products[0]), self.vector()))
        given, axes = dict(zip(self.products, products, strict=True)), range(len(waves))

        def along(a: int) -> Array:
            pairs = [(b, (min(a, b), max(a, b))) for b in axes]
            return _sum([waves[b] * given[pair] for b, pair in pairs if pair in given])

        return self._amplitudes([along(a) for a in axes])

    def _of_convected(self, amplitudes: Sequence[Array]) -> list[Array]:
        waves, vector = list(map(_numbers_like(amplitudes[0]), self.vector())), self._velocity(amplitudes)
        return [
            waves[a] * vector[a] if a == b else waves[b] * vector[a] + waves[a] * vector[b] for a, b in self.products
        ]

    def _frame(self) -> "_Frame":
        vector = self.vector()
        length = np.sqrt(self.squares())
        present = self.kept() & (length > 0)
        inverse = present / np.where(length > 0, length, 1.0)
        if len(vector) == 2:
            return _Frame((inverse,), (), np.ones(()))
        width = np.hypot(*vector[:2])
        vertical = width == 0  # there every direction across is as good
        x, y = (part / np.where(vertical, 1.0, width) for part in vector[:2])
        return _Frame((present, inverse), (np.where(vertical, 1.0, -y), np.where(vertical, 0.0, x)), width)

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


class _Frame(NamedTuple):
    """Of what the directions at right angles to each wave are made.

    Attributes:
        scales: For each direction the factor of all its components, zero for waves that are not kept; of the first in
            3D one, else one over the length of the wave vector.
        level: In 3D the components along x and y of the first direction, which has none along z.
        width: In 3D the length of the wave vector's part along x and y.
    """

    scales: tuple[np.ndarray, ...]
    level: tuple[np.ndarray, ...]
    width: np.ndarray


@dataclasses.dataclass(frozen=True)
class _EachWave:
    """A real matrix for each wave, or `-i` times it, as a function for `linear_map`: of real and imaginary parts."""

    waves: Waves
    name: str
    turned: bool

    def __call__(self, _: Sequence[Array], operands: Sequence[Array]) -> tuple[Array, ...]:
        of = getattr(self.waves, self.name)
        real, imaginary = of([one.real for one in operands]), of([one.imag for one in operands])
        pairs = (imaginary, [-one for one in real]) if self.turned else (real, imaginary)
        return tuple(jax.lax.complex(*pair) for pair in zip(*pairs, strict=True))


@dataclasses.dataclass(frozen=True)
class _Velocity:
    """`Waves.velocity` as a function for `linear_map`; of the mean its transpose reads one number, and sums none."""

    waves: Waves

    def __call__(self, _: Sequence[Array], operands: Sequence[Array]) -> tuple[Array, ...]:
        *amplitudes, mean = operands
        count, is_mean = np.prod(self.waves.grid.cells), jnp.asarray(self.waves.squares() == 0)
        parts = _EachWave(self.waves, "_velocity", False)((), amplitudes)
        return tuple(jnp.where(is_mean, count * mean[axis], part) for axis, part in enumerate(parts))


class _OfVelocity(_Velocity):
    def __call__(self, _: Sequence[Array], cotangents: Sequence[Array]) -> tuple[Array, ...]:
        first = (0,) * self.waves.grid.dimensions
        mean = np.prod(self.waves.grid.cells) * jnp.stack([one[first].real for one in cotangents])
        return (*_EachWave(self.waves, "_amplitudes", False)((), cotangents), mean)


def _numbers_like(values: Array) -> Callable[[np.ndarray], Array]:
    return lambda numbers: jnp.asarray(numbers, values.dtype)


def _sum(terms: Sequence[Array]) -> Array:
    return functools.reduce(jnp.add, terms)


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
