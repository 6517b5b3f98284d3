"""The discrete pressure problem that all solvers solve."""

import dataclasses
import functools
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffphys.errors import InputError
from diffphys.grids import Conditions, Dirichlet, Ghost, Grid, Neumann, Periodic


Kind = str
"""What holds at an end: "periodic", "neumann" (slope 0), "ghost" (0 at the first point beyond), "dirichlet" (0 on the
side).
"""


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
    """

    grid: Grid
    kinds: tuple[tuple[Kind, Kind], ...]
    solid: bytes | None = None

    @staticmethod
    def from_conditions(grid: Grid, conditions: Conditions, solid: np.ndarray | None = None) -> "PressureProblem":
        """The problem for a centered field with these conditions (their numbers do not matter here)."""
        kinds = kinds_of(conditions)
        if solid is not None and solid.shape != grid.cells:
            raise InputError(
                f"PressureProblem: solid has shape {solid.shape}; one entry for each of the cells {grid.cells} is "
                f"accepted."
            )
        if solid is not None and solid.all():
            raise InputError(
                "PressureProblem: solid fills the domain; an obstacle that leaves fluid cells is accepted."
            )
        return PressureProblem(grid, kinds, None if solid is None or not solid.any() else solid.astype(bool).tobytes())

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
            below, above = neighbors(solid, axis, kinds, edge=True)
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
            (for a closed
            domain: the mean of the divergence).
    """

    pressure: Array
    residual: Array
    iterations: Array
    converged: Array
    imbalance: Array


class PressureSolver(Protocol):
    """What the physics rooms ask of a solver."""

    def solve(self, rhs: Array) -> Solution:
        """Solve `A pressure = rhs` for an array at the cell centers."""
        ...


def kinds_of(conditions: Conditions) -> tuple[tuple[Kind, Kind], ...]:
    """For each axis the kinds of its (lower, upper) end."""
    return tuple((_kind(lower), _kind(upper)) for lower, upper in conditions)


def neighbors(values, axis: int, kinds: tuple[Kind, Kind], *, edge: bool = False):
    """For each face normal to `axis` the values of the cells below and above it.

    Beyond an end stands the mirror image for slope 0 (`edge=True`: for every end), 0 for "ghost", minus the mirror
    image for "dirichlet". Works on NumPy and JAX arrays.
    """
    numpy = np if isinstance(values, np.ndarray) else jnp
    first, last = (_slice(values, axis, 0, 1), _slice(values, axis, -1, None))
    if kinds[0] == "periodic":
        return numpy.concatenate([last, _slice(values, axis, 0, -1)], axis), values
    sign = {"neumann": 1, "ghost": 0, "dirichlet": -1}
    before = first if edge else sign[kinds[0]] * first
    behind = last if edge else sign[kinds[1]] * last
    return numpy.concatenate([before, values], axis), numpy.concatenate([values, behind], axis)


def apply(problem: PressureProblem, pressure: Array, open_faces: list | None = None) -> Array:
    """`A pressure`: the divergence of the gradient through the open faces.

    Args:
        problem: The problem.
        pressure: Array at the cell centers.
        open_faces: For each axis 1 where a face is open, 0 where it is closed; default: from `problem.closed_faces()`.
    """
    if open_faces is None:
        open_faces = (
            [None] * len(problem.kinds) if problem.solid is None else [~closed for closed in problem.closed_faces()]
        )
    total = jnp.zeros_like(pressure)
    for axis, kinds in enumerate(problem.kinds):
        below, above = neighbors(pressure, axis, kinds)
        flux = above - below
        if open_faces[axis] is not None:
            flux = flux * jnp.asarray(open_faces[axis], pressure.dtype)
        distances, widths = axis_lengths(problem.grid, axis, kinds)
        if widths is not None:
            flux = flux / jnp.asarray(along(problem.grid, axis, distances), pressure.dtype)
        if kinds[0] == "periodic":
            following = jnp.concatenate([_slice(flux, axis, 1, None), _slice(flux, axis, 0, 1)], axis)
            difference = following - flux
        else:
            difference = _slice(flux, axis, 1, None) - _slice(flux, axis, 0, -1)
        scale = distances**2 if widths is None else jnp.asarray(along(problem.grid, axis, widths), pressure.dtype)
        total = total + difference / scale
    return total


def axis_lengths(grid: Grid, axis: int, kinds: tuple[Kind, Kind]) -> tuple[Any, np.ndarray | None]:
    """The distances of the centers beside each face and the widths of the cells; one spacing and None where uniform."""
    if grid.uniform[axis]:
        return grid.size[axis] / grid.cells[axis], None
    return grid.center_distances(axis, kinds[0] == "periodic"), grid.widths(axis)


def along(grid: Grid, axis: int, line: np.ndarray) -> np.ndarray:
    """An array of one axis, shaped to broadcast against those of the grid."""
    return line.reshape([-1 if other == axis else 1 for other in range(grid.dimensions)])


def relative_volumes(grid: Grid) -> np.ndarray:
    """The volume of each cell over the mean volume; a single 1 where all are equal."""
    if all(grid.uniform):
        return np.ones(())
    volumes = functools.reduce(np.multiply.outer, [grid.widths(axis) for axis in range(grid.dimensions)])
    return volumes / volumes.mean()


@functools.lru_cache(maxsize=32)
def null_space(problem: PressureProblem) -> np.ndarray:
    """A basis of the null space of `A`, as an array (vectors, *cells), orthonormal if cells count by their volumes.

    It is spanned by the indicators of those regions of cells, joined through open faces, that touch no end with a fixed
    pressure. Found from the actual sides and obstacles, not from the presence of some kind of side.
    """
    volumes = np.broadcast_to(relative_volumes(problem.grid), problem.grid.cells)
    if problem.solid is None:
        fixed = any(kind in ("ghost", "dirichlet") for pair in problem.kinds for kind in pair)
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


def check_right_side(problem: Any, rhs: Array) -> None:
    """Raise `InputError` unless there is one entry for each cell."""
    if jnp.shape(rhs) != problem.grid.cells:
        hint = "; a leading axis is a batch: was jax.vmap forgotten?" if rhs.shape[1:] == problem.grid.cells else ""
        raise InputError(
            f"solve: rhs has shape {jnp.shape(rhs)}; one entry for each of the cells {problem.grid.cells} is "
            f"accepted{hint}."
        )


def without_null_space(problem: PressureProblem, values: Array) -> tuple[Array, Array]:
    """`values` without its component in the null space, and the largest absolute value of that component.

    In every region that has no fixed pressure the mean over its volume is taken away.
    """
    basis = null_space(problem)
    if not len(basis):
        return values, jnp.zeros((), values.dtype)
    vectors = jnp.asarray(basis, values.dtype)
    weighted = jnp.asarray(basis * relative_volumes(problem.grid), values.dtype)
    axes = list(range(values.ndim))
    component = jnp.tensordot(jnp.tensordot(weighted, values, (list(range(1, values.ndim + 1)), axes)), vectors, 1)
    return values - component, jnp.max(jnp.abs(component))


def _kind(condition) -> Kind:
    kinds = {Periodic: "periodic", Neumann: "neumann", Ghost: "ghost", Dirichlet: "dirichlet"}
    try:
        return kinds[type(condition)]
    except KeyError:
        raise InputError(
            f"PressureProblem: an end has the condition {type(condition).__name__}; Periodic, Neumann, Ghost or "
            f"Dirichlet is accepted."
        ) from None


def _slice(values, axis: int, start: int | None, stop: int | None):
    return values[tuple(slice(start, stop) if a == axis else slice(None) for a in range(values.ndim))]


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
            if kind in ("ghost", "dirichlet") and inside.take(index, axis).any():
                return True
    return False
