r"""Differences of fourth order around an obstacle of whole cells, and the pressure that belongs to them.

On a uniform axis the wide divergence is the narrow one of a flux, $D_4 = D_2 M$ with

$$ (M u)_f = u_f - \tfrac1{24} \big( (u_{f + 1} - u_f) - (u_f - u_{f - 1}) \big), $$

and the wide gradient is $G_4 = M G_2$. Each difference in M links two faces. Beside an obstacle those links are left
out that touch one of its faces: there the divergence is the one of second order, and so is the gradient. M stays
symmetric, so that the gradient remains minus the transpose of the divergence, and the projection orthogonal; an
obstacle's faces have neither flux nor gradient.

The pressure's operator $A = D_2 M P M G_2$, in which P closes the obstacle's faces, is no longer separable. But it
differs from $A_0 = D_2 M_0 M_0 G_2$, that of the box, only by what $E = M P M - M_0 M_0$ makes of the slopes on a few
faces beside the obstacle's surface. With D and G restricted to these, and as in `capacitance`,

$$ p = A_0^+ (rhs - D E q), \qquad (1 + G A_0^+ D E)\, q = G A_0^+ rhs, $$

where the small matrix is known before the first step: a solve costs two transforms. Where the surface is large,
conjugate gradients do it with the direct solution of second order as preconditioner: M lies between 1 and 7/6, whatever
is left out, and they gain more than a digit in each iteration.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike

from diffphys.errors import InputError
from diffphys.grids.axes import at_axis
from diffphys.grids.ends import values_beside, with_even_images
from diffphys.linear import along_axis, linear_solve
from diffphys.poisson.capacitance import ObstacleCorrected, product_rows
from diffphys.poisson.conjugate_gradients import preconditioned
from diffphys.poisson.diagonalization import FastDiagonalization, reciprocal_eigenvalues
from diffphys.poisson.iterations import of_length_one
from diffphys.poisson.problem import (
    PressureProblem,
    Solution,
    face_divergence,
    face_gradient,
    right_side,
    without_null_space,
)
from diffphys.prepared import prepared


class WideDifferences(eqx.Module):
    """The differences and the direct solver's use for them.

    Args:
        problem: The problem of second order, with solid cells, on a uniform grid.
        largest_iterations: After how many iterations to give up, with NaN as pressure.
        largest_surface: With how many faces beside the obstacle's surface the solution is still direct.

    Raises:
        InputError: if an axis is stretched, or there are no solid cells.
    """

    problem: PressureProblem = eqx.field(static=True)
    largest_iterations: int = eqx.field(static=True, default=60)
    largest_surface: int = eqx.field(static=True, default=3000)  # 72 MB in float64, prepared in half a minute

    def __check_init__(self):
        if self.problem.solid is None or self.problem.order != 2 or not all(self.problem.grid.uniform):
            raise InputError(
                "WideDifferences: the problem is stretched, of order 4 or without solid cells; a problem of order 2 "
                "with solid cells on a uniform grid is accepted (FastDiagonalization solves order 4 without)."
            )

    def left_out(self, axis: int) -> np.ndarray:
        """For each cell whether the link between its two faces normal to the axis touches a face that the obstacle
        closes.
        """
        closed = self.problem.closed_faces()[axis]
        if self.problem.kinds[axis][0] == "periodic":
            return closed | np.roll(closed, -1, axis)
        count = closed.shape[axis] - 1
        return closed.take(range(count), axis) | closed.take(range(1, count + 1), axis)

    def flux_weights(self, axis: int) -> tuple[np.ndarray, np.ndarray]:
        """For each face normal to an axis, the last one of a periodic axis, too, the weights in M of its differences
        with the face below and with the face above: 1/24, or zero where the link is left out. A side is a mirror.
        """
        kept = np.where(self.left_out(axis), 0.0, 1 / 24)
        around = with_even_images(kept, axis, (1, 1), periodic=self.problem.kinds[axis][0] == "periodic")
        faces = kept.shape[axis] + 1
        return around.take(range(faces), axis), around.take(range(1, 1 + faces), axis)

    def divergence_weights(self, axis: int) -> dict[tuple[int, ...], np.ndarray]:
        """Of the four faces around a cell in its divergence, by their shift from the one before its lower face."""
        below, above = self.flux_weights(axis)
        own, count = 1 + below + above, self.problem.grid.cells[axis]
        lower, upper = (
            [one.take(range(start, start + count), axis) for one in (below, own, above)] for start in (0, 1)
        )
        unit = self.problem.grid.size[axis] / count
        weights = (lower[0], -upper[0] - lower[1], upper[1] + lower[2], -upper[2])
        dimensions = self.problem.grid.dimensions
        return {at_axis(axis, shift, 0, dimensions): weight / unit for shift, weight in enumerate(weights)}

    def gradient_weights(self, axis: int) -> dict[tuple[int, ...], np.ndarray]:
        """Of the four cells around a face in the slope on it, by their shift from the cell before the one below."""
        closed = self.problem.closed_faces()[axis]
        below, above = (one.take(range(closed.shape[axis]), axis) for one in self.flux_weights(axis))
        own = ~closed * (1 + below + above)
        unit = self.problem.grid.size[axis] / self.problem.grid.cells[axis]
        weights = (below, -own - below, own + above, -above)
        dimensions = self.problem.grid.dimensions
        return {at_axis(axis, shift, 0, dimensions): weight / unit for shift, weight in enumerate(weights)}

    def flux(self, values: Array, axis: int) -> Array:
        """`M values` for the faces normal to an axis, with mirror images beyond the ends that fit the pressure's."""
        return values - self._second_difference(values, axis, ~self.left_out(axis)) / 24

    def gradient(self, pressure: Array) -> list[Array]:
        """The gradient on the faces of each axis, zero on an obstacle's."""
        slopes = face_gradient(self.problem, pressure)
        closed = self.problem.closed_faces()
        return [
            self.flux(slope * jnp.asarray(~faces, slope.dtype), axis)
            for axis, (slope, faces) in enumerate(zip(slopes, closed, strict=True))
        ]

    def apply(self, pressure: Array) -> Array:
        """The divergence of the gradient."""
        fluxes = [self.flux(slope, axis) for axis, slope in enumerate(self.gradient(pressure))]
        return face_divergence(self.problem, fluxes)

    @jax.named_scope("pressure_solve")
    def solve(self, rhs: Array) -> Solution:
        """Solve `apply(pressure) = rhs` for an array at the cell centers; NaN where an iteration does not converge."""
        rhs = right_side(self.problem, rhs)
        rhs, imbalance = without_null_space(self.problem, rhs)
        if self._is_direct:
            pressure, steps, converged = self._corrected(rhs), jnp.zeros((), jnp.int32), jnp.ones((), bool)
        else:
            pressure, (steps, converged) = linear_solve(self.apply, rhs, self._solved, symmetric=True, has_aux=True)
        residual = jnp.max(jnp.abs(self.apply(pressure) - rhs))
        return Solution(pressure, residual, steps, converged, imbalance)

    def prepared_bytes(self, dtype: DTypeLike = jnp.float32) -> int:
        """How many bytes a compiled program holds of what is prepared for values of this type: by the direct solution
        the correction and the rows of the eigenvectors beside the obstacle; by the iteration its preconditioner, and
        which faces and links are open.
        """
        size = np.dtype(dtype).itemsize
        if not self._is_direct:
            opened = sum(closed.size for closed in self.problem.closed_faces())
            links = self.problem.solid_cells.size * self.problem.grid.dimensions
            return ObstacleCorrected(self.problem).prepared_bytes(dtype) + size * (opened + links)
        beside = prepared_beside(self.problem)
        box = zip(beside.start, beside.stop, self.problem.grid.cells, strict=True)
        rows = sum((stop - start) * count for start, stop, count in box)
        weights = beside.gradient.size + beside.divergence.size
        return (
            FastDiagonalization(_box(self.problem)).prepared_bytes(dtype)
            + size * (2 * beside.correction.size + weights + 2 * rows)  # matrices twice: see `linear.along_axis`
            + beside.cells.nbytes
        )

    @property
    def _is_direct(self) -> bool:
        return sum(int(np.sum(faces)) for faces in faces_beside(self.problem)) <= self.largest_surface

    def _corrected(self, rhs: Array) -> Array:
        """The direct solution: see above."""
        separable, beside = FastDiagonalization(_box(self.problem)), prepared_beside(self.problem)
        coefficients = separable.scaled(separable.transform(rhs))
        rows = [
            basis[start:stop] for basis, start, stop in zip(separable.vectors(), beside.start, beside.stop, strict=True)
        ]
        nearby = coefficients
        for axis, matrix in enumerate(rows):
            nearby = along_axis(matrix, nearby, axis)
        flat = nearby.reshape(-1)
        cells = jnp.asarray(beside.cells)
        gradient, divergence = (jnp.asarray(one, rhs.dtype) for one in (beside.gradient, beside.divergence))
        slope = jnp.sum(gradient * flat[cells], axis=0)
        flux = along_axis(beside.correction, slope, 0)
        source = jnp.zeros_like(flat).at[cells].add(divergence * flux).reshape(nearby.shape)
        for axis, matrix in enumerate(rows):
            source = along_axis(matrix.T, source, axis)
        return without_null_space(self.problem, separable.inverse(coefficients - separable.scaled(source)))[0]

    def _solved(self, _, given: Array) -> tuple[Array, tuple[Array, Array]]:
        given, length, largest = of_length_one(without_null_space(self.problem, given)[0])
        narrow = ObstacleCorrected(self.problem)
        unit = min(self.problem.grid.units) ** 2  # in which the operator is of size one
        pressure, steps, converged = preconditioned(
            lambda values: -unit * self.apply(values),
            lambda residual: -narrow.solve(residual / unit).pressure,
            given,
            1e-6 if given.dtype == jnp.float32 else 1e-14,
            self.largest_iterations,
        )
        pressure, _imbalance = without_null_space(self.problem, pressure)
        return jnp.where(converged, -unit * pressure * length * largest, jnp.nan), (steps, converged)

    def _second_difference(self, values: Array, axis: int, links: np.ndarray) -> Array:
        kinds = self.problem.kinds[axis]
        if kinds[0] == "periodic":
            rise = jnp.roll(values, -1, axis) - values
        else:
            rise = jnp.diff(values, axis=axis)
        below, above = values_beside(rise * jnp.asarray(links, values.dtype), axis, kinds)
        return jnp.asarray(above - below)


class Beside(NamedTuple):
    """What is prepared for the faces on which `E` acts, in float64 on the host.

    Attributes:
        start, stop: Corners of the box of cells that holds both neighbors of each of these faces.
        cells: Flat index, within the box, of the cells below and above each face, as an array (2, faces).
        gradient: The weights of these two cells in the slope on the face, an array of the same shape.
        divergence: The weights of the flux through the face in the divergence of these two cells.
        correction: `E (1 + G A_0^+ D E)^+`.
    """

    start: tuple[int, ...]
    stop: tuple[int, ...]
    cells: np.ndarray
    gradient: np.ndarray
    divergence: np.ndarray
    correction: np.ndarray


@prepared
def faces_beside(problem: PressureProblem) -> list[np.ndarray]:
    """For each axis which faces `E` links with another one, or with itself."""
    found = []
    for axis in range(problem.grid.dimensions):
        matrix = _changed(problem, axis)
        found.append(np.asarray(abs(matrix).sum(axis=0) > 1e-12).reshape(problem.closed_faces()[axis].shape))
    return found


@prepared
def prepared_beside(problem: PressureProblem) -> Beside:
    """Find these faces, the box around them and the correction."""
    from scipy.linalg import block_diag

    cells, gradient, divergence, blocks = [], [], [], []
    for axis, faces in enumerate(faces_beside(problem)):
        flat = np.flatnonzero(faces)
        blocks.append(_changed(problem, axis)[flat][:, flat].toarray())
        pairs, slopes, outward = _cells_beside(problem, axis, np.argwhere(faces))
        cells.append(pairs)
        gradient.append(slopes)
        divergence.append(outward)
    cells, gradient, divergence = (np.concatenate(one, axis=1) for one in (cells, gradient, divergence))
    changed = np.asarray(block_diag(*blocks), float)
    start, stop = cells.min(axis=(0, 1)), cells.max(axis=(0, 1)) + 1
    box = tuple(int(last - first) for first, last in zip(start, stop, strict=True))

    bases, weights = FastDiagonalization(_box(problem)).vectors(), reciprocal_eigenvalues(_box(problem))
    matrix = np.zeros((cells.shape[1],) * 2)
    block = max(1, 10_000_000 * len(bases[0]) // (len(matrix) * weights.size))
    for first in range(0, len(bases[0]), block):
        some = [bases[0][:, first : first + block], *bases[1:]]
        below, above = (product_rows(some, one).reshape(len(matrix), -1) for one in cells)
        slopes = gradient[0][:, None] * below + gradient[1][:, None] * above
        outward = divergence[0][:, None] * below + divergence[1][:, None] * above
        matrix += (slopes * weights[first : first + block].reshape(-1)) @ outward.T
    correction = changed @ np.linalg.pinv(np.eye(len(matrix)) + matrix @ changed, rcond=1e-9)
    flat = np.stack([np.ravel_multi_index(tuple((one - start).T), box) for one in cells])
    return Beside(
        tuple(int(i) for i in start),
        tuple(int(i) for i in stop),
        flat.astype(np.int32),
        gradient,
        divergence,
        correction,
    )


def _cells_beside(problem: PressureProblem, axis: int, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The cells below and above faces normal to an axis, (2, faces, axes), their weights in the slopes on these faces,
    and those of the fluxes through them in the divergence of these cells, each (2, faces). A cell that is not there, as
    on a side, has the weight zero.
    """
    count, unit = problem.grid.cells[axis], problem.grid.size[axis] / problem.grid.cells[axis]
    below, above = values_beside(np.eye(count), 0, problem.kinds[axis])
    cells, slopes, outward = [], [], []
    for step, sign in ((-1, 1.0), (0, -1.0)):
        index = faces[:, axis] + step
        index = index % count if problem.kinds[axis][0] == "periodic" else index
        there = (index >= 0) & (index < count)
        index = np.clip(index, 0, count - 1)
        slopes.append(there * (above - below)[faces[:, axis], index] / unit)
        outward.append(there * sign / unit)
        cells.append(np.concatenate([faces[:, :axis], index[:, None], faces[:, axis + 1 :]], axis=1))
    return np.stack(cells), np.stack(slopes), np.stack(outward)


def _box(problem: PressureProblem) -> PressureProblem:
    return PressureProblem(problem.grid, problem.kinds, order=4)


def _changed(problem: PressureProblem, axis: int):
    """`E` for the faces normal to an axis, as a sparse matrix."""
    import scipy.sparse as sparse

    shape, kinds, closed = problem.grid.cells, problem.kinds[axis], problem.closed_faces()[axis]
    count = shape[axis]
    faces = closed.shape[axis]
    rise = np.roll(np.eye(count), 1, 1) - np.eye(count) if faces == count else np.diff(np.eye(faces), axis=0)
    below, above = values_beside(np.eye(count), 0, kinds)
    before, behind = (sparse.identity(int(np.prod(part))) for part in (shape[:axis], shape[axis + 1 :]))
    rise, fall = (sparse.kron(before, sparse.kron(one, behind)).tocsr() for one in (rise, above - below))
    one = sparse.identity(closed.size)
    kept = sparse.diags((~WideDifferences(problem).left_out(axis)).reshape(-1).astype(float))
    whole, some = one - fall @ rise / 24, one - fall @ kept @ rise / 24
    opened = sparse.diags((~closed).reshape(-1).astype(float))
    return (some @ opened @ some - whole @ whole).tocsr()
