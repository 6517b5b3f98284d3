"""Fixed obstacles by a small dense correction: the capacitance-matrix method.

Let `A_0 = D G` be the operator without the obstacle and C the faces that the obstacle closes. Closing them removes
their flux, `A = A_0 - D_C G_C`. With `q = G_C p`, the gradient that the closed faces would feel,

    p = A_0^+ (rhs + D_C q)        and        (1 - G_C A_0^+ D_C) q = G_C A_0^+ rhs.

The matrix on the left is as small as the obstacle's surface, symmetric (on stretched axes: once each face is scaled by
the square root of its area times its distance), and known before the first step; its null space belongs to regions that
the obstacle cuts off. (Buzbee, Dorr, George, Golub 1971; Proskurowski, Widlund 1976.)

Because the eigenvectors are products over the axes, `G_C A_0^+ rhs` needs them only in the small box around the
obstacle: the whole solve costs two full transforms, as without an obstacle.

**An axis along which the obstacle does not vary** keeps its eigenvectors, whatever its ends and widths are: closing
the same faces in every layer commutes with the transform along it, as for a cylinder from side to side. For each mode
of such an axis, with the eigenvalue l, the problem is that of one layer, `(A + l) p = rhs`, with a small matrix of its
own, `1 - G_C (A_0 + l)^+ D_C`, on the faces of one layer. Modes of one eigenvalue, as the cosine and the sine of a
periodic axis, share it. A cylinder that closes f faces in each of n layers asks for n matrices of f x f, or half as
many, in the place of one of f n x f n.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike

from diffphys.errors import InputError
from diffphys.grids import Grid
from diffphys.grids.numbers import shown
from diffphys.linear import along_axis, linear_map
from diffphys.operators.eigenbasis import eigenbasis
from diffphys.poisson.diagonalization import (
    FastDiagonalization,
    direct_solution,
    lines_of_problem,
    reciprocal_eigenvalues,
)
from diffphys.poisson.problem import PressureProblem, Solution, right_side, without_null_space
from diffphys.prepared import prepared


class Surface(NamedTuple):
    """The closed faces of the cross-section and what is prepared for them, in float64 on the host.

    The cross-section has the axes along which the obstacle varies; the modes are those of the others. Where it varies
    along all axes there is one mode.

    Attributes:
        axes: The axes of the cross-section.
        start, stop: Corners of the box of its cells that holds both neighbors of every closed face (for each of these
            axes).
        below, above: Flat index, within the box, of the cells below and above each closed face; of 32 bits, which JAX
            reads alike in single and in double precision.
        factors: For each closed face the square root of area times distance, over the distance; areas times distances
            in units of the mean volume of a cell.
        members: For each eigenvalue of the other axes the modes that have it, as an array (eigenvalues, members); where
            there are fewer some stand twice.
        places: For each mode its place in `members`, counted along its rows.
        corrections: For each eigenvalue the pseudo-inverse of `1 - G_C A_0^+ D_C`, scaled to symmetry.
    """

    axes: tuple[int, ...]
    start: tuple[int, ...]
    stop: tuple[int, ...]
    below: np.ndarray
    above: np.ndarray
    factors: np.ndarray
    members: np.ndarray
    places: np.ndarray
    corrections: np.ndarray


@dataclasses.dataclass(frozen=True)
class ObstacleCorrected:
    """The direct solver for problems with fixed obstacles. Differentiates as the linear map it is, in any mode.

    Args:
        problem: The problem, with solid cells.

    Raises:
        InputError: if the problem has no solid cells, or an obstacle closes more than `largest_surface` faces; along
            axes on which it does not vary those of one layer count, times the root of the number of layers.
    """

    problem: PressureProblem
    largest_surface: int = 6000  # a correction of 6000 x 6000 float64 takes 288 MB and about a minute to prepare

    def __post_init__(self):
        if not isinstance(self.problem, PressureProblem):
            raise InputError(f"ObstacleCorrected: problem is {shown(self.problem)}; a PressureProblem is accepted.")
        if self.problem.solid is None:
            raise InputError(
                "ObstacleCorrected: the problem has no solid cells; FastDiagonalization is the solver for these."
            )
        axes, layer = cross_section(self.problem)
        count = sum(int(closed.sum()) for closed in layer.closed_faces())
        layers = math.prod(self.problem.grid.cells) // math.prod(layer.grid.cells)
        if layers * count**2 > self.largest_surface**2:
            within = "" if layers == 1 else f" in each of {layers} layers"
            most = math.floor(self.largest_surface / math.sqrt(layers))
            raise InputError(
                f"ObstacleCorrected: the obstacle closes {count} faces{within}; at most {most} are accepted "
                "(MultigridConjugateGradients takes any number)."
            )

    @jax.named_scope("pressure_solve")
    def solve(self, rhs: Array) -> Solution:
        """Solve `A pressure = rhs` for an array at the cell centers."""
        separable = FastDiagonalization(self.problem.without_obstacle())
        surface = prepared_surface(self.problem)
        rhs = right_side(self.problem, rhs)
        rhs, imbalance = without_null_space(self.problem, rhs)
        coefficients = separable.scaled(separable.transform(rhs))

        vectors = separable.vectors()
        rows = {
            axis: vectors[axis][start:stop]
            for axis, start, stop in zip(surface.axes, surface.start, surface.stop, strict=True)
        }
        nearby = coefficients
        for axis, matrix in rows.items():
            nearby = along_axis(matrix, nearby, axis)
        layers = _cross_section_first(surface, nearby)  # for each mode of the other axes the values in the box
        within, modes = layers.shape[: len(surface.axes)], layers.shape[len(surface.axes) :]
        flat, factors = layers.reshape(-1, *modes), jnp.asarray(surface.factors, rhs.dtype)
        if modes:  # in two steps, as arrays on the explicit axes of a mesh ask for
            flat, factors = flat.reshape(math.prod(within), -1), factors[:, None]
        slope = (flat[surface.above] - flat[surface.below]) * factors  # G_C A_0^+ rhs, scaled
        flux = _corrected(surface, slope) * factors
        source = jnp.zeros_like(flat).at[surface.below].add(flux).at[surface.above].add(-flux)  # volume times D_C q
        source = _axes_in_order(surface, source.reshape(-1, *modes).reshape(*within, *modes))
        for axis, matrix in rows.items():
            source = along_axis(matrix.T, source, axis)

        pressure = separable.inverse(coefficients + separable.scaled(source))
        pressure, _ = without_null_space(self.problem, pressure)
        return direct_solution(self.problem, pressure, rhs, imbalance)

    def prepared_bytes(self, dtype: DTypeLike = jnp.float32) -> int:
        """How many bytes a compiled program holds of what is prepared for values of this type, the correction on the
        closed faces and the rows of the eigenvectors beside the obstacle among it.
        """
        surface = prepared_surface(self.problem)
        cells = [self.problem.grid.cells[axis] for axis in surface.axes]
        box = zip(surface.start, surface.stop, cells, strict=True)
        rows = 2 * sum((stop - start) * count for start, stop, count in box)
        copies = 2 if len(surface.axes) == self.problem.grid.dimensions else 1  # see `_corrected`
        size = np.dtype(dtype).itemsize
        return (
            FastDiagonalization(self.problem.without_obstacle()).prepared_bytes(dtype)
            + size * (surface.corrections.size * copies + surface.factors.size + rows)
            + sum(indices.nbytes for indices in (surface.below, surface.above, surface.members, surface.places))
        )


def _cross_section_first(surface: Surface, values: Array) -> Array:
    """The axes of the cross-section in front of the others."""
    return jnp.moveaxis(values, surface.axes, range(len(surface.axes)))


def _axes_in_order(surface: Surface, values: Array) -> Array:
    """The inverse of `_cross_section_first`."""
    return jnp.moveaxis(values, range(len(surface.axes)), surface.axes)


def _corrected(surface: Surface, slope: Array) -> Array:
    """The correction of each mode times its slopes, (faces, modes) -> (faces, modes), or (faces,) without modes."""
    if slope.ndim == 1:
        # Symmetric up to round-off alone; its transpose keeps the bits that flows in two dimensions always had.
        return along_axis(surface.corrections[0], slope, 0)
    corrections = jnp.asarray(surface.corrections, slope.dtype)
    grouped = jnp.moveaxis(slope[:, surface.members], 1, 0)
    (product,) = linear_map(_product, _product, (corrections,), (grouped,))
    return jnp.moveaxis(product, 0, 1).reshape(len(slope), -1)[:, surface.places]


def _product(matrices: Sequence[Array], operands: Sequence[Array]) -> tuple[Array]:
    """For symmetric matrices, so that it is its own transpose."""
    return (jnp.matmul(matrices[0], operands[0], precision="highest"),)


def cross_section(problem: PressureProblem) -> tuple[tuple[int, ...], PressureProblem]:
    """The axes along which the obstacle varies, and the problem on these alone: one layer of the others."""
    solid = problem.solid_cells
    # An obstacle that fills the domain, which no solver meets, still has a cross-section.
    axes = tuple(a for a in range(solid.ndim) if np.any(solid != solid.take([0], a))) or tuple(range(solid.ndim))
    if len(axes) == solid.ndim:
        return axes, problem
    layer = solid[tuple(slice(None) if axis in axes else 0 for axis in range(solid.ndim))]
    grid = problem.grid
    cells, size, origin = [grid.cells[a] for a in axes], [grid.size[a] for a in axes], [grid.origin[a] for a in axes]
    within = Grid(cells, size, origin, stretched=[grid.stretched[axis] for axis in axes])
    return axes, PressureProblem(within, tuple(problem.kinds[axis] for axis in axes), layer.tobytes())


@prepared
def prepared_surface(problem: PressureProblem) -> Surface:
    """Find the closed faces of the cross-section, the box around them and the corrections."""
    axes, layer = cross_section(problem)
    below, above, factors = _closed_pairs(layer)
    cells = np.concatenate([below, above])
    start, stop = tuple(cells.min(axis=0)), tuple(cells.max(axis=0) + 1)
    box = tuple(int(last - first) for first, last in zip(start, stop, strict=True))
    flat_below = np.asarray(np.ravel_multi_index(tuple((below - start).T), box), np.int32)
    flat_above = np.asarray(np.ravel_multi_index(tuple((above - start).T), box), np.int32)
    first, members, places = _modes(problem, axes)

    # Q = G_C A_0^+ D_C. With e the product eigenvectors and f the faces' factors, g = f (e(above) - e(below)) are the
    # rows of the scaled G_C in these coordinates and -g those of D_C^T, so Q = -(g / lambda) g^T. Rows are made axis by
    # axis, and for some modes of the first axis at a time: all of them would need faces times cells.
    vectors = FastDiagonalization(problem.without_obstacle()).vectors()
    bases = [vectors[axis] for axis in axes]
    reciprocal = np.moveaxis(reciprocal_eigenvalues(problem.without_obstacle()), axes, range(len(axes)))
    weights = reciprocal.reshape(*layer.grid.cells, -1)[..., first]
    matrices = np.tile(np.eye(len(below)), (len(first), 1, 1))
    block = max(1, 10_000_000 * len(bases[0]) // (len(below) * math.prod(layer.grid.cells)))
    for start_mode in range(0, len(bases[0]), block):
        modes = slice(start_mode, start_mode + block)
        some = [bases[0][:, modes], *bases[1:]]
        rows = (product_rows(some, above) - product_rows(some, below)).reshape(len(below), -1) * factors[:, None]
        for matrix, of_group in zip(
            matrices, np.moveaxis(weights[modes].reshape(rows.shape[1], -1), 1, 0), strict=True
        ):
            matrix += (rows * of_group) @ rows.T
    values, eigenvectors = np.linalg.eigh(matrices)
    inverse = np.divide(1.0, values, out=np.zeros_like(values), where=values > 1e-9)
    corrections = (eigenvectors * inverse[:, None, :]) @ eigenvectors.swapaxes(1, 2)
    return Surface(
        axes,
        tuple(int(i) for i in start),
        tuple(int(i) for i in stop),
        flat_below,
        flat_above,
        factors,
        members,
        places,
        corrections,
    )


def _modes(problem: PressureProblem, axes: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The modes of the axes that are not of the cross-section, by their eigenvalues: the first one of each eigenvalue,
    and `members` and `places` of `Surface`.
    """
    lines = lines_of_problem(problem)
    others = [eigenbasis(lines[axis]).values for axis in range(len(lines)) if axis not in axes]
    values = functools.reduce(np.add.outer, others, np.zeros(())).reshape(-1)
    _, first, group, counts = np.unique(values, return_index=True, return_inverse=True, return_counts=True)
    order = np.argsort(group, kind="stable")  # the modes, one eigenvalue after the other
    rank = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    members = np.repeat(first[:, None], counts.max(), axis=1)
    members[group[order], rank] = order
    places = np.empty(len(order), int)
    places[order] = group[order] * counts.max() + rank
    return first, np.asarray(members, np.int32), np.asarray(places, np.int32)


def _closed_pairs(problem: PressureProblem) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each closed face the indices of the cells below and above it, (faces, axes), its factor: see `Surface`."""
    grid = problem.grid
    below, above, factors = [], [], []
    for axis, closed in enumerate(problem.closed_faces()):
        upper = np.argwhere(closed)
        lower = upper.copy()
        lower[:, axis] = (lower[:, axis] - 1) % grid.cells[axis]
        below.append(lower)
        above.append(upper)
        # sqrt(area * distance) / distance
        lines = [grid.widths(other) * grid.cells[other] / grid.size[other] for other in range(grid.dimensions)]
        lines[axis] = (
            grid.size[axis] / grid.cells[axis] * grid.center_distances(axis, problem.kinds[axis][0] == "periodic")
        ) ** -1.0
        factors.append(np.sqrt(np.prod([lines[a][upper[:, a]] for a in range(grid.dimensions)], axis=0)))
    return np.concatenate(below), np.concatenate(above), np.concatenate(factors)


def product_rows(bases: list[np.ndarray], cells: np.ndarray) -> np.ndarray:
    """For each cell the values of all product eigenvectors there, as an array (cells, modes_x, modes_y, ...)."""
    rows = bases[0][cells[:, 0]]
    for axis, basis in enumerate(bases[1:], start=1):
        rows = rows[..., None] * basis[cells[:, axis]].reshape(len(cells), *[1] * axis, -1)
    return rows
