"""Fixed obstacles by a small dense correction: the capacitance-matrix method.

Let `A_0 = D G` be the operator without the obstacle and C the faces that the obstacle closes. Closing them removes
their flux, `A = A_0 - D_C G_C`. With `q = G_C p`, the gradient that the closed faces would feel,

    p = A_0^+ (rhs + D_C q)        and        (1 - G_C A_0^+ D_C) q = G_C A_0^+ rhs.

The matrix on the left is as small as the obstacle's surface, symmetric (on stretched axes: once each face is scaled by
the square root of its area times its distance), and known before the first step; its null space belongs to regions that
the obstacle cuts off. (Buzbee, Dorr, George, Golub 1971; Proskurowski, Widlund 1976.)

Because the eigenvectors are products over the axes, `G_C A_0^+ rhs` needs them only in the small box around the
obstacle: the whole solve costs two full transforms, as without an obstacle.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffphys.errors import InputError
from diffphys.grids.numbers import shown
from diffphys.linear import along_axis
from diffphys.poisson.diagonalization import (
    FastDiagonalization,
    direct_solution,
    reciprocal_eigenvalues,
)
from diffphys.poisson.problem import PressureProblem, Solution, right_side, without_null_space
from diffphys.prepared import prepared


class Surface(NamedTuple):
    """The closed faces and what is prepared for them, in float64 on the host.

    Attributes:
        start, stop: Corners of the box of cells that holds both neighbors of every closed face (for each axis).
        below, above: Flat index, within the box, of the cells below and above each closed face; of 32 bits, which JAX
            reads alike in single and in double precision.
        factors: For each closed face the square root of area times distance, over the distance; areas times distances
            in units of the mean volume of a cell.
        correction: Pseudo-inverse of `1 - G_C A_0^+ D_C`, scaled to symmetry.
    """

    start: tuple[int, ...]
    stop: tuple[int, ...]
    below: np.ndarray
    above: np.ndarray
    factors: np.ndarray
    correction: np.ndarray


@dataclasses.dataclass(frozen=True)
class ObstacleCorrected:
    """The direct solver for problems with fixed obstacles. Differentiates as the linear map it is, in any mode.

    Args:
        problem: The problem, with solid cells.

    Raises:
        InputError: if the problem has no solid cells, or an obstacle closes more than `largest_surface` faces.
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
        count = sum(int(closed.sum()) for closed in self.problem.closed_faces())
        if count > self.largest_surface:
            raise InputError(
                f"ObstacleCorrected: the obstacle closes {count} faces; at most {self.largest_surface} are accepted "
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

        rows = [
            matrix[start:stop]
            for matrix, start, stop in zip(separable.vectors(), surface.start, surface.stop, strict=True)
        ]
        nearby = coefficients
        for axis, matrix in enumerate(rows):
            nearby = along_axis(matrix, nearby, axis)
        flat = nearby.reshape(-1)
        factors = jnp.asarray(surface.factors, rhs.dtype)
        slope = (flat[surface.above] - flat[surface.below]) * factors  # G_C A_0^+ rhs, scaled
        flux = along_axis(surface.correction, slope, 0) * factors
        source = jnp.zeros_like(flat).at[surface.below].add(flux).at[surface.above].add(-flux)  # volume times D_C q
        source = source.reshape(nearby.shape)
        for axis, matrix in enumerate(rows):
            source = along_axis(matrix.T, source, axis)

        pressure = separable.inverse(coefficients + separable.scaled(source))
        pressure, _ = without_null_space(self.problem, pressure)
        return direct_solution(self.problem, pressure, rhs, imbalance)

    def prepared_bytes(self, dtype: Any = jnp.float32) -> int:
        """How many bytes a compiled program holds of what is prepared for values of this type, the correction on the
        closed faces and the rows of the eigenvectors beside the obstacle among it.
        """
        surface = prepared_surface(self.problem)
        box = zip(surface.start, surface.stop, self.problem.grid.cells, strict=True)
        rows = 2 * sum((stop - start) * count for start, stop, count in box)
        size = np.dtype(dtype).itemsize
        return (
            FastDiagonalization(self.problem.without_obstacle()).prepared_bytes(dtype)
            + size * (2 * surface.correction.size + surface.factors.size + rows)
            + surface.below.nbytes
            + surface.above.nbytes
        )


@prepared
def prepared_surface(problem: PressureProblem) -> Surface:
    """Find the closed faces, the box around them and the correction."""
    below, above, factors = _closed_pairs(problem)
    cells = np.concatenate([below, above])
    start, stop = tuple(cells.min(axis=0)), tuple(cells.max(axis=0) + 1)
    box = tuple(int(last - first) for first, last in zip(start, stop, strict=True))
    flat_below = np.asarray(np.ravel_multi_index(tuple((below - start).T), box), np.int32)
    flat_above = np.asarray(np.ravel_multi_index(tuple((above - start).T), box), np.int32)

    # Q = G_C A_0^+ D_C. With e the product eigenvectors and f the faces' factors, g = f (e(above) - e(below)) are the
    # rows of the scaled G_C in these coordinates and -g those of D_C^T, so Q = -(g / lambda) g^T. Rows are made axis by
    # axis, and for some modes of the first axis at a time: all of them would need faces times cells.
    bases = FastDiagonalization(problem.without_obstacle()).vectors()
    weights = reciprocal_eigenvalues(problem.without_obstacle())
    matrix = np.eye(len(below))
    block = max(1, 10_000_000 * len(bases[0]) // (len(below) * weights.size))
    for start_mode in range(0, len(bases[0]), block):
        modes = slice(start_mode, start_mode + block)
        some = [bases[0][:, modes], *bases[1:]]
        rows = (product_rows(some, above) - product_rows(some, below)).reshape(len(below), -1) * factors[:, None]
        matrix += (rows * weights[modes].reshape(-1)) @ rows.T
    values, vectors = np.linalg.eigh(matrix)
    inverse = np.divide(1.0, values, out=np.zeros_like(values), where=values > 1e-9)
    correction = (vectors * inverse) @ vectors.T
    return Surface(
        tuple(int(i) for i in start), tuple(int(i) for i in stop), flat_below, flat_above, factors, correction
    )


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
