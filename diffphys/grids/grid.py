"""The Cartesian grid, uniform or stretched along each axis."""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer

from diffphys.errors import InputError
from diffphys.grids.axes import at_axis
from diffphys.grids.numbers import as_whole, shown
from diffphys.prepared import Prepared, prepared


AXIS_NAMES = ("x", "y", "z")


@dataclasses.dataclass(frozen=True, init=False, repr=False)
class Grid:
    """A Cartesian grid of one to three axes, uniform unless it is told its edges.

    Axis order is x, y, z, and array axis 0 is x. Along an axis of `n` cells and length `L` the spacing is
    `h = L / n`; cell `i` has its center at `origin + (i + 1/2) h` and its faces at `origin + i h` and one spacing
    beyond. Along a stretched axis (`Grid.from_edges`, `with_edges`) cell `i` lies between the edges `e[i]` and
    `e[i + 1]`, where its faces are, and has its center halfway.

    Where in its cell a number lives is told by an *offset* in units of the cell's width: `(0.5, 0.5)` is the center,
    `(0.0, 0.5)` the lower x-face. A periodic axis has as many faces as cells; a bounded one has one more.

    A grid holds no arrays. It is hashable and static under `jit`.

    Args:
        cells: Number of cells along each axis.
        size: Length of the domain along each axis, in the user's units. Default: cells of length one.
        origin: Position of the lower corner. Default: zero.
        stretched: For each axis its edges where they are not equally spaced, else None; they have to fit the other
            arguments. `with_edges` finds all four.

    Raises:
        InputError: if an argument is not positive, not finite, or of the wrong length, or edges do not fit.

    Examples:
        >>> grid = dp.Grid((32, 64), (1.0, 2.0))
        >>> grid.spacing
        (0.03125, 0.03125)
        >>> x, y = grid.centers()
        >>> x.shape, y.shape
        ((32, 1), (1, 64))
    """

    cells: tuple[int, ...]
    size: tuple[float, ...]
    origin: tuple[float, ...]
    stretched: tuple[tuple[float, ...] | None, ...]

    def __init__(
        self,
        cells: Sequence[int],
        size: Sequence[float] | None = None,
        origin: Sequence[float] | None = None,
        *,
        stretched: Sequence[Any] | None = None,
    ):
        cells = _as_tuple("cells", cells)
        if not 1 <= len(cells) <= 3:
            raise InputError(f"Grid: cells has {len(cells)} entries; one to three axes are accepted.")
        if not all(_is_real(count) and count >= 1 and int(count) == count for count in cells):
            raise InputError(f"Grid: cells is {shown(cells)}; whole numbers of at least 1 are accepted.")
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
        object.__setattr__(self, "stretched", self._fitting(stretched))

    @classmethod
    def from_edges(cls, edges: Sequence[Any]) -> "Grid":
        """A grid whose cells are given by their edges: for each axis the n + 1 positions that bound its n cells.

        An axis whose edges are equally spaced to round-off counts as uniform. `grids.tanh_edges` and
        `grids.refined_edges` make edges that are close together where much happens.

        Raises:
            InputError: if the edges of an axis are not finite or do not increase strictly.
        """
        if not isinstance(edges, Sequence) or not 1 <= len(edges) <= 3:
            raise InputError("Grid.from_edges: a list of edges for each of one to three axes is accepted.")
        grid = cls((1,) * len(edges))
        for axis, line in enumerate(edges):
            grid = grid.with_edges(axis, line)
        return grid

    def with_edges(self, axis: int, edges: Any) -> "Grid":
        """This grid with other cells along one axis, given by their edges.

        Raises:
            InputError: if there is no such axis, or the edges are not finite or do not increase strictly.
        """
        self._check_axis("with_edges", axis)
        line, _ = _as_edges(AXIS_NAMES[axis], edges)
        changes = {
            "cells": len(line) - 1,
            "size": float(line[-1] - line[0]),
            "origin": float(line[0]),
            "stretched": edges,
        }
        old = {name: getattr(self, name) for name in changes}
        return Grid(**{name: (*old[name][:axis], value, *old[name][axis + 1 :]) for name, value in changes.items()})

    @functools.cached_property
    def prepared(self) -> Prepared:
        """What solvers have prepared for this grid."""
        return Prepared()

    def __getstate__(self) -> dict[str, Any]:
        """What a copy is made from: not what was prepared."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def __repr__(self) -> str:
        places = f"cells={self.cells}, size={self.size}, origin={self.origin}"
        names = [name for name, regular in zip(self.axis_names, self.uniform, strict=True) if not regular]
        return f"Grid({places})" if not names else f"Grid({places}, stretched along {', '.join(names)})"

    @property
    def dimensions(self) -> int:
        """Number of axes."""
        return len(self.cells)

    @property
    def uniform(self) -> tuple[bool, ...]:
        """For each axis whether its cells are equally wide."""
        return tuple(edges is None for edges in self.stretched)

    @property
    def spacing(self) -> tuple[float, ...]:
        """Distance between neighboring cell centers along each axis of a uniform grid.

        Raises:
            InputError: if an axis is stretched, since then there is no such number.
        """
        if not all(self.uniform):
            name = self.axis_names[self.uniform.index(False)]
            raise InputError(
                f"Grid: axis {name} is stretched and has no one spacing; a uniform grid is accepted by what was called."
            )
        return tuple(length / count for length, count in zip(self.size, self.cells, strict=True))

    def spacing_along(self, axis: int) -> "float | np.ndarray":
        """The spacing of a uniform axis; the widths of the cells of a stretched one."""
        self._check_axis("spacing_along", axis)
        return self.widths(axis) if self.stretched[axis] else self.size[axis] / self.cells[axis]

    @property
    def edges(self) -> tuple[np.ndarray, ...]:
        """For each axis the n + 1 positions that bound its n cells, in float64 and read-only."""
        return _edges(self)

    def widths(self, axis: int) -> np.ndarray:
        """The width of each cell along an axis."""
        self._check_axis("widths", axis)
        return _widths(self)[axis]

    def center_distances(self, axis: int, periodic: bool) -> np.ndarray:
        """For each face normal to an axis the distance of the two cell centers beside it.

        On a periodic axis face `i` lies between the cells `i - 1` and `i`. On a bounded one of n cells there are n + 1
        faces; beyond an end stands the mirror image of the last cell, so the distance there is that cell's width.
        """
        self._check_axis("center_distances", axis)
        return _center_distances(self, axis, bool(periodic))

    @property
    def units(self) -> tuple[float, ...]:
        """For each axis a power of four near the mean width of its cells.

        Products and squares of lengths in the user's units may leave the range of single precision; in these they are
        of size one. Going to them and back changes no bit of a number, nor of its square root.
        """
        return tuple(
            4.0 ** round(math.log2(length / count) / 2) for length, count in zip(self.size, self.cells, strict=True)
        )

    def measured(self, unit: float) -> "Grid":
        """The same grid with its lengths measured in a unit: divided by it."""
        size, origin = ([number / unit for number in numbers] for numbers in (self.size, self.origin))
        lines = [None if edges is None else [edge / unit for edge in edges] for edges in self.stretched]
        return Grid(self.cells, size, origin, stretched=lines)

    def volumes(self) -> np.ndarray:
        """The volume of each cell (area in 2D, width in 1D): the product of its widths."""
        return functools.reduce(np.multiply.outer, _widths(self))

    def along(self, axis: int, line: Any) -> Any:
        """An array of one axis, shaped to broadcast against the arrays of this grid."""
        return line.reshape(at_axis(axis, -1, 1, self.dimensions))

    @property
    def axis_names(self) -> tuple[str, ...]:
        """The names of this grid's axes: `("x", "y", "z")`, as many as there are."""
        return AXIS_NAMES[: self.dimensions]

    def shape(self, offset: Sequence[float], periodic: Sequence[bool]) -> tuple[int, ...]:
        """Number of points with this offset along each axis."""
        for name, given in (("offset", offset), ("periodic", periodic)):
            if len(given) != self.dimensions:
                raise InputError(
                    f"Grid: {name} has {len(given)} entries; one for each of {self.dimensions} axes is accepted."
                )
        return tuple(
            count + 1 if place == 0.0 and not wraps else count
            for count, place, wraps in zip(self.cells, offset, periodic, strict=True)
        )

    def coordinates(self, offset: Sequence[float], periodic: Sequence[bool]) -> tuple[Array, ...]:
        """Coordinates of all points with this offset, one array per axis, shaped to broadcast against each other."""
        lines = [
            self._line(axis, offset[axis], count, jnp.arange(count))
            for axis, count in enumerate(self.shape(offset, periodic))
        ]
        return tuple(self.along(axis, jnp.asarray(line)) for axis, line in enumerate(lines))

    def centers(self) -> tuple[Array, ...]:
        """Coordinates of the cell centers, shaped to broadcast against each other."""
        return self.coordinates((0.5,) * self.dimensions, (False,) * self.dimensions)

    def known_centers(self) -> tuple[Array, ...]:
        """The same numbers, for a program that is about to be made: NumPy finds them, and nothing is compiled."""
        dtype = jnp.result_type(float)
        lines = [self._line(axis, 0.5, count, np.arange(count, dtype=dtype)) for axis, count in enumerate(self.cells)]
        return tuple(jnp.asarray(self.along(axis, line), dtype) for axis, line in enumerate(lines))

    def _line(self, axis: int, offset: float, count: int, indices: Any) -> Any:
        """The coordinates along an axis of `count` points with these indices, in the indices' kind of array."""
        if self.stretched[axis] is None:
            return self.origin[axis] + (indices + offset) * (self.size[axis] / self.cells[axis])
        edges = self.edges[axis]
        return edges[:count] if offset == 0.0 else (edges[:-1] + edges[1:]) / 2

    def coarsened(self, factor: int) -> "Grid":
        """The grid of the same domain with `factor` times fewer cells along every axis; each `factor`-th edge stays."""
        given, factor = factor, as_whole(factor) or 0
        if not factor or any(count % factor for count in self.cells):
            raise InputError(
                f"coarsened: factor is {shown(given)}; a whole number that divides cells {self.cells} is accepted."
            )
        coarse = Grid([count // factor for count in self.cells], self.size, self.origin)
        for axis, edges in enumerate(self.stretched):
            if edges is not None:
                coarse = coarse.with_edges(axis, edges[::factor])
        return coarse

    def _fitting(self, stretched: Any) -> tuple[tuple[float, ...] | None, ...]:
        """The edges of each stretched axis, which have to be those of its cells; None where they are equally spaced."""
        if stretched is None:
            return (None,) * self.dimensions
        if not isinstance(stretched, Sequence) or len(stretched) != self.dimensions:
            raise InputError(
                f"Grid: stretched is {shown(stretched)}; edges or None for each of {self.dimensions} axes are accepted."
            )
        lines: list[tuple[float, ...] | None] = []
        for axis, edges in enumerate(stretched):
            if edges is None:
                lines.append(None)
                continue
            line, tolerance = _as_edges(AXIS_NAMES[axis], edges)
            ends = (self.origin[axis], self.origin[axis] + self.size[axis])
            off = np.max(np.abs(line[[0, -1]] - ends))
            if len(line) != self.cells[axis] + 1 or off > tolerance * np.max(np.abs(ends)):
                raise InputError(
                    f"Grid: axis {AXIS_NAMES[axis]} has {self.cells[axis]} cells from {ends[0]:g} to {ends[1]:g}, its "
                    f"edges in stretched bound {len(line) - 1} from {line[0]:g} to {line[-1]:g}; edges that fit are "
                    "accepted, and with_edges gives an axis others."
                )
            equal = np.linspace(line[0], line[-1], len(line))
            uniform = np.max(np.abs(line - equal)) <= tolerance * np.max(np.abs(line))
            lines.append(None if uniform else tuple(line.tolist()))
        return tuple(lines)

    def _check_axis(self, name: str, axis: int) -> None:
        if as_whole(axis, 0) not in range(self.dimensions):
            raise InputError(f"Grid.{name}: axis is {shown(axis)}; 0 to {self.dimensions - 1} are accepted.")


def check_grid(owner: str, grid: Any) -> None:
    """Raise `InputError` unless it is a grid."""
    if not isinstance(grid, Grid):
        raise InputError(f"{owner}: grid is {shown(grid)}; a Grid is accepted.")


# Lines of single axes, looked up for each operation that is traced.
@prepared
def _edges(grid: Grid) -> tuple[np.ndarray, ...]:
    lines = []
    for cells, size, origin, stretched in zip(grid.cells, grid.size, grid.origin, grid.stretched, strict=True):
        lines.append(_fixed(origin + np.arange(cells + 1) * (size / cells) if stretched is None else stretched))
    return tuple(lines)


@prepared
def _widths(grid: Grid) -> tuple[np.ndarray, ...]:
    return tuple(
        _fixed(np.full(cells, size / cells) if stretched is None else np.diff(stretched))
        for cells, size, stretched in zip(grid.cells, grid.size, grid.stretched, strict=True)
    )


@prepared
def _center_distances(grid: Grid, axis: int, periodic: bool) -> np.ndarray:
    widths = grid.widths(axis)
    below = np.concatenate([widths[-1:] if periodic else widths[:1], widths[:-1]])
    distances = (below + widths) / 2
    return _fixed(distances if periodic else np.append(distances, widths[-1]))


def _fixed(values: Any) -> np.ndarray:
    """An array that nobody can change, since all who ask are given the same one."""
    array = np.array(values, np.float64)
    array.flags.writeable = False
    return array


def _as_edges(name: str, edges: Any) -> tuple[np.ndarray, float]:
    """The edges in float64, and the relative round-off of the numbers they were given as."""
    if isinstance(edges, Tracer):
        raise InputError(f"Grid: the edges of axis {name} are being traced; edges known beforehand are accepted.")
    try:
        given = np.asarray(edges)
        if given.dtype.kind not in "fiu":
            raise TypeError
        line = given.astype(np.float64)
    except (TypeError, ValueError):
        raise InputError(
            f"Grid: the edges of axis {name} are {shown(edges)}; increasing numbers are accepted."
        ) from None
    if line.ndim != 1 or len(line) < 2:
        raise InputError(
            f"Grid: the edges of axis {name} have shape {line.shape}; n + 1 numbers for n >= 1 cells are accepted."
        )
    if not np.all(np.isfinite(line)):
        raise InputError(f"Grid: the edges of axis {name} are {line}; finite numbers are accepted.")
    if np.any(np.diff(line) <= 0):
        first = int(np.argmax(np.diff(line) <= 0))
        raise InputError(
            f"Grid: the edges of axis {name} go from {line[first]:g} to {line[first + 1]:g}; strictly increasing "
            "numbers are accepted."
        )
    return line, 8 * float(np.finfo(given.dtype if given.dtype.kind == "f" else np.float64).eps)


def _is_real(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _as_tuple(name: str, values: Sequence) -> tuple:
    try:
        return tuple(value.item() if hasattr(value, "item") else value for value in values)
    except (TypeError, ValueError):
        raise InputError(f"Grid: {name} is {shown(values)}; one number for each axis is accepted.") from None
