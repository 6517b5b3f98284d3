"""The discrete pressure problem that all solvers solve."""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike

from diffphys.errors import InputError
from diffphys.grids import Condition, Conditions, Grid
from diffphys.grids.axes import at_axis, slab, slice_axis
from diffphys.grids.conditions import check_conditions
from diffphys.grids.ends import ENDS, Kind, image, values_beside
from diffphys.grids.grid import check_grid
from diffphys.grids.numbers import as_floating
from diffphys.prepared import prepared


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class PressureProblem:
    """`A p = rhs` with `A = divergence . open . gradient` at the cell centers.

    `open` is 1 on faces that fluid can cross and 0 on those between fluid and solid. Static and hashable: it describes
    the kinds of sides and which faces are closed, never a number that could be learned.

    Args:
        grid: The grid.
        kinds: For each axis the kinds of the (lower, upper) end.
        solid: For each cell in C order whether it is solid, as bytes of a boolean array, or None without obstacles.
        order: 2, or 4 for the wider differences of `face_gradient` and `face_divergence`; 4 is for uniform grids
            without obstacles.
    """

    grid: Grid
    kinds: tuple[tuple[Kind, Kind], ...]
    solid: bytes | None = None
    order: int = 2

    def __post_init__(self):
        check_grid("PressureProblem", self.grid)
        if self.solid is not None and len(self.solid) != math.prod(self.grid.cells):
            raise InputError(
                f"PressureProblem: solid has {len(self.solid)} entries; one for each of the cells {self.grid.cells} is "
                "accepted."
            )
        if self.order not in (2, 4):
            raise InputError(f"PressureProblem: order is {self.order}; 2 or 4 is accepted.")
        if self.order == 4 and not (self.solid is None and all(self.grid.uniform)):
            raise InputError("PressureProblem: order is 4; with solid cells or stretched axes 2 is accepted.")

    @staticmethod
    def from_conditions(
        grid: Grid, conditions: Conditions, solid: np.ndarray | None = None, order: int = 2
    ) -> "PressureProblem":
        """The problem for a centered field with these conditions (their numbers do not matter here)."""
        check_grid("PressureProblem", grid)
        check_conditions(conditions, grid.dimensions)
        kinds = kinds_of(conditions)
        if solid is not None and solid.shape != grid.cells:
            raise InputError(
                f"PressureProblem: solid has shape {solid.shape}; one entry for each of the cells {grid.cells} is "
                "accepted."
            )
        if solid is not None and solid.all():
            raise InputError(
                "PressureProblem: solid fills the domain; an obstacle that leaves fluid cells is accepted."
            )
        filled = None if solid is None or not solid.any() else solid.astype(bool).tobytes()
        return PressureProblem(grid, kinds, filled, order)

    @property
    def solid_cells(self) -> np.ndarray:
        """For each cell whether it is solid."""
        if self.solid is None:
            return np.zeros(self.grid.cells, bool)
        return np.frombuffer(self.solid, bool).reshape(self.grid.cells)

    def without_obstacle(self) -> "PressureProblem":
        """The same sides with all cells fluid."""
        return PressureProblem(self.grid, self.kinds)

    def closed_faces(self) -> list[np.ndarray]:
        """For each axis which of its faces separate a fluid from a solid cell; faces on the domain's sides are never
        among them.
        """
        solid = self.solid_cells
        closed = []
        for axis, kinds in enumerate(self.kinds):
            below, above = values_beside(solid, axis, kinds, edge=True)
            closed.append(below != above)
        return closed


class Solution(NamedTuple):
    """What a solver returns.

    Attributes:
        pressure: Array at the cell centers, without any component in the null space.
        residual: Largest absolute value of `A pressure - rhs` after the null space's component was removed from `rhs`.
        iterations: How many iterations were made; 0 for a direct solver.
        converged: Whether the solver met its tolerance; always true for a direct solver.
        imbalance: Largest absolute value of the component of `rhs` in the null space, which no pressure can balance
            (for a closed domain: the mean of the divergence).
    """

    pressure: Array
    residual: Array
    iterations: Array
    converged: Array
    imbalance: Array


@runtime_checkable
class PressureSolver(Protocol):
    """What a solver is: it solves, and says how large it is."""

    def solve(self, rhs: Array) -> Solution:
        """Solve `A pressure = rhs` for an array at the cell centers."""
        ...

    def prepared_bytes(self, dtype: DTypeLike = jnp.float32) -> int:
        """How many bytes a compiled program holds of what is prepared for values of this type."""
        ...


def kinds_of(conditions: Conditions) -> tuple[tuple[Kind, Kind], ...]:
    """For each axis the kinds of its (lower, upper) end."""
    return tuple((_kind(lower), _kind(upper)) for lower, upper in conditions)


def apply(problem: PressureProblem, pressure: Array) -> Array:
    """`A pressure`: the divergence of the gradient through the open faces.

    Args:
        problem: The problem.
        pressure: Array at the cell centers.
    """
    gradient = face_gradient(problem, pressure)
    if problem.solid is not None:
        closed_faces = problem.closed_faces()
        gradient = [
            flux * jnp.asarray(~closed, pressure.dtype) for flux, closed in zip(gradient, closed_faces, strict=True)
        ]
    return face_divergence(problem, gradient)


def face_gradient(problem: PressureProblem, pressure: Array) -> list[Array]:
    """For each axis the slope of `pressure` along it on all of its faces, obstacles left out of account.

    Of order 2, `(p[i] - p[i - 1]) / distance`; of order 4, `(p[i - 2] - 27 p[i - 1] + 27 p[i] - p[i + 1]) / (24 h)`.
    Beyond an end stands the mirror image: of the same sign where the slope is 0, of the other sign where the value on
    the side is 0 ("dirichlet") or that at the first point beyond ("ghost", which mirrors at this point).
    """
    slopes = []
    for axis, kinds in enumerate(problem.kinds):
        lengths, _ = axis_lengths(problem.grid, axis, kinds)
        if isinstance(lengths, np.ndarray):
            lengths = jnp.asarray(along(problem.grid, axis, lengths), pressure.dtype)
        if problem.order == 2:
            below, above = values_beside(pressure, axis, kinds)
            slopes.append((above - below) / lengths)
            continue
        padded = _with_images(pressure, axis, kinds, centers=True)
        count = padded.shape[axis] - 3
        slopes.append(_wide_difference(padded, axis, count) / (24 * lengths))
    return slopes


def face_divergence(problem: PressureProblem, components: list[Array]) -> Array:
    """The divergence, at the cell centers, of a vector field whose components are given on all faces of their axis.

    With mirror images beyond the ends that fit those of the pressure it is minus the transpose of `face_gradient`,
    weighted by the volumes (half of one for a face on a side where the pressure is fixed there).
    """
    terms = []
    for axis, (kinds, values) in enumerate(zip(problem.kinds, components, strict=True)):
        _, widths = axis_lengths(problem.grid, axis, kinds)
        if widths is None:
            lengths = problem.grid.size[axis] / problem.grid.cells[axis]
        else:
            lengths = jnp.asarray(along(problem.grid, axis, widths), values.dtype)
        if problem.order == 4:
            padded = _with_images(values, axis, kinds, centers=False)
            terms.append(_wide_difference(padded, axis, problem.grid.cells[axis]) / (24 * lengths))
            continue
        if kinds[0] == "periodic":
            following = jnp.concatenate([slice_axis(values, axis, 1, None), slice_axis(values, axis, 0, 1)], axis)
            terms.append((following - values) / lengths)
        else:
            terms.append((slice_axis(values, axis, 1, None) - slice_axis(values, axis, 0, -1)) / lengths)
    return functools.reduce(jnp.add, terms)


def axis_lengths(grid: Grid, axis: int, kinds: tuple[Kind, Kind]) -> tuple[Any, np.ndarray | None]:
    """The distances of the centers beside each face and the widths of the cells; one spacing and None where uniform."""
    if grid.uniform[axis]:
        return grid.size[axis] / grid.cells[axis], None
    return grid.center_distances(axis, kinds[0] == "periodic"), grid.widths(axis)


def along(grid: Grid, axis: int, line: np.ndarray) -> np.ndarray:
    """An array of one axis, shaped to broadcast against those of the grid."""
    return line.reshape(at_axis(axis, -1, 1, grid.dimensions))


def relative_volumes(grid: Grid) -> np.ndarray:
    """The volume of each cell over the mean volume; a single 1 where all are equal."""
    if all(grid.uniform):
        return np.ones(())
    volumes = functools.reduce(np.multiply.outer, [grid.widths(axis) for axis in range(grid.dimensions)])
    return volumes / volumes.mean()


@prepared
def null_space(problem: PressureProblem) -> np.ndarray:
    """A basis of the null space of `A`, as an array (vectors, *cells), orthonormal if cells count by their volumes.

    It is spanned by the indicators of those regions of cells, joined through open faces, that touch no end with a fixed
    pressure. Found from the actual sides and obstacles, not from the presence of some kind of side.
    """
    volumes = np.broadcast_to(relative_volumes(problem.grid), problem.grid.cells)
    if problem.solid is None:
        fixed = any(anchors(pair) for pair in problem.kinds)
        whole = np.full((1, *problem.grid.cells), volumes.sum() ** -0.5)
        return np.zeros((0, *problem.grid.cells)) if fixed else whole
    from scipy.ndimage import label  # only here: importing it takes as long as the rest of this file

    solid = problem.solid_cells
    fluid_regions, fluid_count = label(~solid)  # pyright: ignore[reportGeneralTypeIssues] (SciPy has no types)
    solid_regions, _ = label(solid)  # pyright: ignore[reportGeneralTypeIssues]
    regions = np.where(solid, solid_regions + fluid_count, fluid_regions)
    regions = _joined_across_periodic_ends(problem, regions, solid)
    vectors = []
    for region in np.unique(regions):
        inside = regions == region
        if not _touches_fixed_pressure(problem, inside):
            vectors.append(inside / np.sqrt(volumes[inside].sum()))
    return np.array(vectors).reshape(-1, *problem.grid.cells)


def right_side(problem: Any, rhs: Any, name: str = "solve: rhs") -> Array:
    """`rhs` as floating numbers; `InputError` unless there is one real number for each cell."""
    rhs = as_floating(rhs, name)
    if rhs.shape != problem.grid.cells:
        hint = (
            " (a leading axis is a batch, for which there is jax.vmap)" if rhs.shape[1:] == problem.grid.cells else ""
        )
        raise InputError(
            f"{name} has shape {rhs.shape}; one entry for each of the cells {problem.grid.cells} is accepted{hint}."
        )
    return rhs


def without_null_space(problem: PressureProblem, values: Array) -> tuple[Array, Array]:
    """`values` without its component in the null space, and the largest absolute value of that component.

    In every region that has no fixed pressure the mean over its volume is taken away. Only the smallest box around
    these regions is touched: a sum over all cells costs little, but on a CPU it is fused into the matrix products
    beside it, and they take half as long again.
    """
    basis = null_space(problem)
    if not len(basis):
        return values, jnp.zeros((), values.dtype)
    places = np.argwhere(basis.any(axis=0))
    start, stop = places.min(axis=0), places.max(axis=0) + 1
    box = tuple(slice(int(first), int(last)) for first, last in zip(start, stop, strict=True))
    vectors = jnp.asarray(basis[:, *box], values.dtype)
    weighted = jnp.asarray((basis * relative_volumes(problem.grid))[:, *box], values.dtype)
    axes = list(range(values.ndim))
    inside = values[box]
    component = jnp.tensordot(jnp.tensordot(weighted, inside, (list(range(1, values.ndim + 1)), axes)), vectors, 1)
    values = jax.lax.dynamic_update_slice(values, inside - component, [one.start for one in box])
    return values, jnp.max(jnp.abs(component))


def anchors(kinds: Sequence[Kind]) -> bool:
    """Whether a pressure is fixed at one of these ends."""
    return any(kind in ENDS and ENDS[kind].anchors for kind in kinds)


def _kind(condition: Condition) -> Kind:
    if condition.kind is None:
        raise InputError(
            f"PressureProblem: an end has the condition {type(condition).__name__}; Periodic, Neumann, Ghost or "
            "Dirichlet is accepted."
        )
    return condition.kind


def _wide_difference(padded: Array, axis: int, count: int) -> Array:
    parts = [slice_axis(padded, axis, start, start + count) for start in range(4)]
    return parts[0] - parts[3] + 27 * (parts[2] - parts[1])


def _with_images(values: Array, axis: int, kinds: tuple[Kind, Kind], *, centers: bool) -> Array:
    """Values at the centers with two mirror images beyond each end (of a periodic axis: as faces need them), or on the
    faces with one.
    """
    count = values.shape[axis]
    if kinds[0] == "periodic":
        beyond = [-2, -1, count] if centers else [-1, count, count + 1]
    else:
        beyond = [-2, -1, count, count + 1] if centers else [-1, count]
    images = []
    for place in beyond:
        index, sign = image(place, count, kinds, centers=centers)
        images.append(sign * slab(values, axis, index) if sign else jnp.zeros_like(slab(values, axis, 0)))
    before = [image for image, place in zip(images, beyond, strict=True) if place < 0]
    return jnp.concatenate([*before, values, *images[len(before) :]], axis)


def _joined_across_periodic_ends(problem: PressureProblem, regions: np.ndarray, solid: np.ndarray) -> np.ndarray:
    for axis, kinds in enumerate(problem.kinds):
        if kinds[0] != "periodic":
            continue
        same = np.atleast_1d(solid.take(0, axis) == solid.take(-1, axis))
        count = int(same.sum())
        for index in range(count):  # one pair of cells after the other, since each may join what others joined before
            one = np.atleast_1d(regions.take(0, axis))[same].flat[index]
            other = np.atleast_1d(regions.take(-1, axis))[same].flat[index]
            regions = np.where(regions == other, one, regions)
    return regions


def _touches_fixed_pressure(problem: PressureProblem, inside: np.ndarray) -> bool:
    for axis, kinds in enumerate(problem.kinds):
        for kind, index in zip(kinds, (0, -1), strict=True):
            if anchors((kind,)) and inside.take(index, axis).any():
                return True
    return False
