r"""The Poisson bracket of two functions of the plane,
$[a, b] = \partial_x a\, \partial_y b - \partial_y a\, \partial_x b$.

With a stream function or an electric potential $a$ it is the rate at which the flow $(-\partial_y a, \partial_x a)$
carries $b$. Over a periodic plane its integral vanishes, and so do those of $a [a, b]$ and $b [a, b]$: what is carried
neither grows nor shrinks. Both schemes here keep all three sums zero to round-off; else energy and enstrophy of
turbulence drift away.

A scheme is a value with three methods: `symbols`, what the derivatives that fit it do to each wave of the plane;
`of_coefficients`, the bracket of one function with several others, from and to coefficients of `jnp.fft.rfft2`; and
`of_fields`, the bracket at the cell centers.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from diffphys.errors import InputError
from diffphys.grids import Field, Grid, check_field
from diffphys.grids.numbers import shown
from diffphys.operators.waves import Waves


class Symbols(NamedTuple):
    """What derivatives do to each wave of a periodic plane, in the order of `jnp.fft.rfft2`; float64, broadcastable.

    Attributes:
        x: The first derivative along x multiplies a coefficient by `1j * x`.
        y: And along y by `1j * y`.
        laplacian: The Laplacian multiplies it by `-laplacian`.
        kept: Whether the wave belongs to the solution.
    """

    x: np.ndarray
    y: np.ndarray
    laplacian: np.ndarray
    kept: np.ndarray


@dataclasses.dataclass(frozen=True)
class Arakawa:
    r"""The second-order bracket of Arakawa (1966): the mean of three forms, with central differences $\delta$,

    $$[a, b] = \tfrac13 \big( \delta_x a\, \delta_y b - \delta_y a\, \delta_x b
    + \delta_x (a\, \delta_y b) - \delta_y (a\, \delta_x b)
    + \delta_y (b\, \delta_x a) - \delta_x (b\, \delta_y a) \big),$$

    of which each alone keeps some of the three sums and the mean all of them. Derivatives and Laplacian beside it are
    the central second-order ones.
    """

    def symbols(self, grid: Grid) -> Symbols:
        """The waves' central differences: `sin(k h) / h`, and `(2 - 2 cos(k h)) / h^2` summed over the axes."""
        (kx, ky), (hx, hy) = Waves(grid).vector(), grid.spacing
        laplacian = (2 - 2 * np.cos(kx * hx)) / hx**2 + (2 - 2 * np.cos(ky * hy)) / hy**2
        x, y = (_without_fastest(np.sin(k * h) / h, k, h) for k, h in ((kx, hx), (ky, hy)))
        return Symbols(x, y, laplacian, np.ones_like(laplacian, bool))

    def of_coefficients(self, grid: Grid, first: Array, others: Sequence[Array]) -> list[Array]:
        """On the grid's points and back."""
        values = jnp.fft.irfft2(jnp.stack([first, *others]), grid.cells)
        a, *carried = (jnp.pad(one, 1, mode="wrap") for one in values)
        return list(jnp.fft.rfft2(jnp.stack([_nine_points(grid, a, b) for b in carried])))

    def of_fields(self, first: Field, second: Field) -> Array:
        """Between the ends that the fields have, whatever these are."""
        return _nine_points(first.grid, first.padded(((1, 1), (1, 1))), second.padded(((1, 1), (1, 1))))


@dataclasses.dataclass(frozen=True)
class Dealiased:
    """The bracket of truncated Fourier series, exact for them: derivatives and products on the grid's points, of waves
    below a third of the cells along each axis only, whose products alias onto none of them (Orszag 1971).
    """

    def symbols(self, grid: Grid) -> Symbols:
        """The wavenumbers themselves; waves beyond a third of the cells are not kept."""
        waves = Waves(grid)
        x, y = (_without_fastest(k, k, h) for k, h in zip(waves.vector(), grid.spacing, strict=True))
        return Symbols(x, y, waves.squares(), waves.kept())

    def of_coefficients(self, grid: Grid, first: Array, others: Sequence[Array]) -> list[Array]:
        """Products on the grid's points, cut."""
        symbols, real = self.symbols(grid), first.real.dtype
        kept = jnp.asarray(symbols.kept)
        along = [1j * jnp.asarray(symbols.kept * one, real) for one in (symbols.x, symbols.y)]
        slopes = jnp.stack([one * derivative for one in (first, *others) for derivative in along])
        ax, ay, *rest = jnp.fft.irfft2(slopes, grid.cells)
        products = [ax * by - ay * bx for bx, by in zip(rest[::2], rest[1::2], strict=True)]
        return list(kept * jnp.fft.rfft2(jnp.stack(products)))

    def of_fields(self, first: Field, second: Field) -> Array:
        """Through the waves and back."""
        if not all(first.periodic) or not all(second.periodic):
            raise InputError("poisson_bracket: Dealiased() is given fields with ends; periodic fields are accepted.")
        a, b = jnp.fft.rfft2(first.values), jnp.fft.rfft2(second.values)
        return jnp.fft.irfft2(self.of_coefficients(first.grid, a, [b])[0], first.grid.cells)


def poisson_bracket(first: Field, second: Field, scheme: Arakawa | Dealiased = Arakawa()) -> Field:  # noqa: B008 (frozen)
    r"""$[a, b] = \partial_x a\, \partial_y b - \partial_y a\, \partial_x b$ at the cell centers.

    Args:
        first: $a$, a centered field of a uniform grid of two dimensions.
        second: $b$, one of the same grid.
        scheme: `Arakawa()`, second order, at nine points; or `Dealiased()`, exact for truncated Fourier series, for
            fields that are periodic along both axes.

    Returns:
        A centered field; what holds at its ends is unknown, save on periodic axes. In the unit of $a\, b$ over length
        squared. On a periodic plane the sums of it, of its product with $a$ and of its product with $b$ are zero to
        round-off (for `Dealiased` with the parts of $a$ and $b$ that it keeps, which are all that it sees).

    Raises:
        InputError: if the fields live elsewhere, the grid is of another kind, or a ghost value is needed that no
            condition defines.
    """
    check_field("poisson_bracket", "first", first)
    check_plane("poisson_bracket", first.grid)
    for name, field in (("first", first), ("second", second)):
        check_field("poisson_bracket", name, field, first.grid, (0.5, 0.5))
    if not isinstance(scheme, (Arakawa, Dealiased)):
        raise InputError(f"poisson_bracket: scheme is {shown(scheme)}; Arakawa() or Dealiased() is accepted.")
    values = scheme.of_fields(first, second)
    return first.map(lambda _: values)


def check_plane(owner: str, grid: Grid) -> None:
    """Raise `InputError` unless the grid has two dimensions and is uniform."""
    if grid.dimensions != 2 or not all(grid.uniform):
        raise InputError(f"{owner}: grid is {grid}; one of two uniform axes is accepted.")


def _without_fastest(symbol: np.ndarray, k: np.ndarray, h: float) -> np.ndarray:
    """Zero for the wave of two cells, whose slope at the grid's points is zero."""
    return np.where(np.abs(np.abs(k) * h - np.pi) < 1e-9, 0.0, symbol)


def _nine_points(grid: Grid, a: Array, b: Array) -> Array:
    """Arakawa's bracket of two arrays with one ghost point on every side."""

    def at(values: Array, i: int, j: int) -> Array:
        nx, ny = grid.cells
        return values[1 + i : 1 + i + nx, 1 + j : 1 + j + ny]

    east, west, north, south = (at(a, i, j) for i, j in ((1, 0), (-1, 0), (0, 1), (0, -1)))
    northeast, northwest, southeast, southwest = (at(a, i, j) for i, j in ((1, 1), (-1, 1), (1, -1), (-1, -1)))
    upward, rightward = north - south, east - west
    total = (
        at(b, -1, 0) * (upward + northwest - southwest)
        - at(b, 1, 0) * (upward + northeast - southeast)
        + at(b, 0, 1) * (rightward + northeast - northwest)
        - at(b, 0, -1) * (rightward + southeast - southwest)
        + at(b, 1, 1) * (east - north)
        + at(b, -1, 1) * (north - west)
        + at(b, 1, -1) * (south - east)
        + at(b, -1, -1) * (west - south)
    )
    hx, hy = grid.spacing
    return total / (12 * hx * hy)
