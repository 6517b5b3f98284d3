"""The uniform Cartesian grid."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import Array

from diffphys.errors import InputError


AXIS_NAMES = ("x", "y", "z")


@dataclasses.dataclass(frozen=True, init=False)
class Grid:
    """A uniform Cartesian grid of one to three axes.

    Axis order is x, y, z, and array axis 0 is x. Along an axis of `n` cells and length `L` the spacing is
    `h = L / n`; cell `i` has its center at `origin + (i + 1/2) h` and its faces at `origin + i h` and `origin + (i + 1)
    h`.

    Where in its cell a number lives is told by an *offset* in units of the spacing: `(0.5, 0.5)` is the center,
    `(0.0, 0.5)` the lower x-face. A periodic axis has as many faces as cells; a bounded one has one more.

    A grid holds no arrays. It is hashable and static under `jit`.

    Args:
        cells: Number of cells along each axis.
        size: Length of the domain along each axis, in the user's units. Default: cells of length one.
        origin: Position of the lower corner. Default: zero.

    Raises:
        InputError: if an argument is not positive, not finite, or of the wrong length.
    """

    cells: tuple[int, ...]
    size: tuple[float, ...]
    origin: tuple[float, ...]

    def __init__(
        self, cells: Sequence[int], size: Sequence[float] | None = None, origin: Sequence[float] | None = None
    ):
        cells = _as_tuple("cells", cells)
        if not 1 <= len(cells) <= 3:
            raise InputError(f"Grid: cells has {len(cells)} entries; one to three axes are accepted.")
        if not all(_is_real(count) and count >= 1 and int(count) == count for count in cells):
            raise InputError(f"Grid: cells is {cells}; whole numbers of at least 1 are accepted.")
        size = tuple(float(count) for count in cells) if size is None else _as_tuple("size", size)
        origin = (0.0,) * len(cells) if origin is None else _as_tuple("origin", origin)
        for name, values in (("size", size), ("origin", origin)):
            if len(values) != len(cells):
                raise InputError(f"Grid: {name} has {len(values)} entries; cells has {len(cells)}, one for each axis.")
            if not all(_is_real(value) for value in values):
                raise InputError(f"Grid: {name} is {values}; finite numbers are accepted.")
        if any(length <= 0 for length in size):
            raise InputError(f"Grid: size is {size}; positive lengths are accepted.")
        object.__setattr__(self, "cells", tuple(int(count) for count in cells))
        object.__setattr__(self, "size", tuple(float(length) for length in size))
        object.__setattr__(self, "origin", tuple(float(position) for position in origin))

    @property
    def dimensions(self) -> int:
        """Number of axes."""
        return len(self.cells)

    @property
    def spacing(self) -> tuple[float, ...]:
        """Distance between neighboring cell centers along each axis."""
        return tuple(length / count for length, count in zip(self.size, self.cells, strict=True))

    @property
    def axis_names(self) -> tuple[str, ...]:
        """The names of this grid's axes: `("x", "y", "z")`, as many as there are."""
        return AXIS_NAMES[: self.dimensions]

    def shape(self, offset: Sequence[float], periodic: Sequence[bool]) -> tuple[int, ...]:
        """Number of points with this offset along each axis."""
        return tuple(
            count + 1 if place == 0.0 and not wraps else count
            for count, place, wraps in zip(self.cells, offset, periodic, strict=True)
        )

    def coordinates(self, offset: Sequence[float], periodic: Sequence[bool]) -> tuple[Array, ...]:
        """Coordinates of all points with this offset, one array per axis, shaped to broadcast against each other."""
        coordinates = []
        for axis, count in enumerate(self.shape(offset, periodic)):
            line = self.origin[axis] + (jnp.arange(count) + offset[axis]) * self.spacing[axis]
            coordinates.append(line.reshape([-1 if other == axis else 1 for other in range(self.dimensions)]))
        return tuple(coordinates)

    def centers(self) -> tuple[Array, ...]:
        """Coordinates of the cell centers, shaped to broadcast against each other."""
        return self.coordinates((0.5,) * self.dimensions, (False,) * self.dimensions)

    def coarsened(self, factor: int) -> "Grid":
        """The grid of the same domain with `factor` times fewer cells along every axis."""
        if not isinstance(factor, int) or factor < 1 or any(count % factor for count in self.cells):
            raise InputError(
                f"coarsened: factor is {factor}; a whole number that divides cells {self.cells} is accepted."
            )
        return Grid([count // factor for count in self.cells], self.size, self.origin)


def _is_real(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _as_tuple(name: str, values: Sequence) -> tuple:
    try:
        return tuple(value.item() if hasattr(value, "item") else value for value in values)
    except TypeError:
        raise InputError(f"Grid: {name} is {values!r}; one number for each axis is accepted.") from None
