r"""Fast diagonalization: the direct solver for every separable problem.

On a box the operator is a sum of one-dimensional ones, `A = A_x (x) I + I (x) A_y`, for any pair of sides and any
widths W of the cells. Each is symmetric up to the widths: `A_x = W^-1 K` with K symmetric, so there are eigenvectors
with `A_x V = V L` and `V^T W V = I`, and the solution is

$$ p = V_x V_y \left( (V_x^T W_x \, V_y^T W_y \, rhs) / (l_x + l_y) \right): $$

two products per axis, exact to round-off (Lynch, Rice, Thomas 1964). Modes whose eigenvalue vanishes are the null
space; they are left out.

Along uniform axes the eigenvectors are sines and cosines (see `eigenbasis`), and from some length on fast transforms
beat the products with matrices (see `transforms`). Where all axes are periodic, one Fourier transform of all axes
together beats those of single axes, which have to bring each axis in turn to the end.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffphys.errors import InputError
from diffphys.grids import Grid
from diffphys.grids.ends import ENDS, Kind
from diffphys.grids.numbers import shown
from diffphys.linear import along_axis, linear_map
from diffphys.poisson.problem import PressureProblem, Solution, anchors, apply, right_side, without_null_space
from diffphys.poisson.transforms import angles, fast_analysis, fast_synthesis, is_fast, is_fast_together, wave
from diffphys.prepared import prepared


@dataclasses.dataclass(frozen=True)
class FastDiagonalization:
    """The direct solver for problems without obstacles, on uniform and stretched axes.

    Cost on an n x n grid: two dense products per axis, `4 n^3` multiplications, or, along long uniform axes, two fast
    transforms, some `n^2 log n`. Differentiates as the linear map it is, in any mode.

    Args:
        problem: The problem, of order 2 or 4.
        transforms: "matrix", "fast", or None for the faster one along each axis, as measured (`transforms.is_fast`).
            "fast" is for uniform axes; stretched ones take matrices in any case.

    Raises:
        InputError: if the problem has closed faces.
    """

    problem: PressureProblem
    transforms: str | None = None

    def __post_init__(self):
        if not isinstance(self.problem, PressureProblem):
            raise InputError(
                f"FastDiagonalization: problem is a {type(self.problem).__name__}; a PressureProblem is accepted "
                "(MultigridConjugateGradients solves those with coefficients)."
            )
        if self.problem.solid is not None:
            raise InputError(
                "FastDiagonalization: the problem has solid cells; ObstacleCorrected is the solver for these."
            )
        if self.transforms not in (None, "matrix", "fast"):
            raise InputError(
                f"FastDiagonalization: transforms is {shown(self.transforms)}; 'matrix', 'fast' or None is accepted."
            )

    @jax.named_scope("pressure_solve")
    def solve(self, rhs: Array) -> Solution:
        """Solve `A pressure = rhs` for an array at the cell centers."""
        rhs = right_side(self.problem, rhs)
        # What lies in the null space is left out by `scaled`: taking it away before would be one more pass.
        if self._is_one_transform(rhs.dtype):
            inverse = _FourierInverse(self.problem)
            (pressure,) = linear_map(inverse, inverse, (), (rhs,))  # symmetric: it is its own transpose
        else:
            pressure = self.inverse(self.scaled(self.transform(rhs)))
        rhs, imbalance = without_null_space(self.problem, rhs)
        return direct_solution(self.problem, pressure, rhs, imbalance)

    def transform(self, values: Array) -> Array:
        """The coefficients of `values` in the eigenvectors: `V_x^T W_x values W_y V_y` in 2D."""
        for axis, kinds in enumerate(self.problem.kinds):
            if self._is_fast(axis, values.dtype):
                values = fast_analysis(values, axis, kinds)
            else:
                values = along_axis(self._basis(axis).analysis, values, axis)
        return values

    def inverse(self, coefficients: Array) -> Array:
        """The values with these coefficients: `V_x coefficients V_y^T` in 2D."""
        for axis, kinds in enumerate(self.problem.kinds):
            if self._is_fast(axis, coefficients.dtype):
                coefficients = fast_synthesis(coefficients, axis, kinds)
            else:
                coefficients = along_axis(self._basis(axis).vectors, coefficients, axis)
        return coefficients

    def scaled(self, coefficients: Array) -> Array:
        """The coefficients divided by the eigenvalues, zero for the null space."""
        return coefficients * jnp.asarray(reciprocal_eigenvalues(self.problem), coefficients.dtype)

    def vectors(self) -> list[np.ndarray]:
        """For each axis the matrix whose columns are its eigenvectors."""
        return [self._basis(axis).vectors for axis in range(self.problem.grid.dimensions)]

    def prepared_bytes(self, dtype: Any = jnp.float32) -> int:
        """How many bytes a compiled program holds of what is prepared for values of this type: the matrices of the
        axes along which no fast transform is taken, and the reciprocal eigenvalues.
        """
        size = np.dtype(dtype).itemsize
        if self._is_one_transform(dtype):
            return size * reciprocal_spectrum(self.problem).size
        lengths = [count for axis, count in enumerate(self.problem.grid.cells) if not self._is_fast(axis, dtype)]
        return size * (2 * sum(count**2 for count in lengths) + int(np.prod(self.problem.grid.cells)))

    def _is_fast(self, axis: int, dtype) -> bool:
        if self.transforms == "matrix" or not self.problem.grid.uniform[axis]:
            return False
        cells = self.problem.grid.cells[axis]
        return self.transforms == "fast" or is_fast(cells, self.problem.kinds[axis], jnp.dtype(dtype).name)

    def _is_one_transform(self, dtype) -> bool:
        grid = self.problem.grid
        periodic = all(kinds[0] == "periodic" for kinds in self.problem.kinds)
        if not periodic or not all(grid.uniform) or self.transforms == "matrix":
            return False
        return self.transforms == "fast" or is_fast_together(grid.cells, jnp.dtype(dtype).name)

    def _basis(self, axis: int) -> "Eigenbasis":
        return eigenbasis(self.problem.grid, axis, self.problem.kinds[axis], self.problem.order)


@dataclasses.dataclass(frozen=True)
class _FourierInverse:
    """From the right side of a problem that is periodic and uniform along all axes to the solution."""

    problem: PressureProblem

    def __call__(self, _: Sequence[Array], operands: Sequence[Array]) -> tuple[Array]:
        (rhs,) = operands
        factor = jnp.asarray(reciprocal_spectrum(self.problem).reshape(-1), rhs.dtype)
        spectrum = jnp.fft.rfftn(rhs)
        # A real factor would become a complex one, and the product twice as many multiplications.
        line = spectrum.reshape(-1)
        scaled = jax.lax.complex(line.real * factor, line.imag * factor).reshape(spectrum.shape)
        return (jnp.fft.irfftn(scaled, rhs.shape),)


def direct_solution(problem: PressureProblem, pressure: Array, rhs: Array, imbalance: Array) -> Solution:
    """A `Solution` of a solver without iterations. Under `jit` the residual costs nothing where nobody reads it."""
    residual = jnp.max(jnp.abs(apply(problem, pressure) - rhs))
    return Solution(pressure, residual, jnp.zeros((), jnp.int32), jnp.ones((), bool), imbalance)


class Eigenbasis(NamedTuple):
    """The eigenvectors of the operator along one axis, in float64 on the host.

    Attributes:
        values: The eigenvalues.
        vectors: The matrix V whose columns are the eigenvectors.
        analysis: `V^-1 = V^T W`, which gives the coefficients of values in them.
    """

    values: np.ndarray
    vectors: np.ndarray
    analysis: np.ndarray


@prepared
def eigenbasis(grid: Grid, axis: int, kinds: tuple[Kind, Kind], order: int = 2) -> Eigenbasis:
    r"""The eigenbasis of the one-dimensional operator.

    On a uniform axis the eigenvectors are waves of the angle $\theta$ per cell that fit the mirrors at the ends, and
    the eigenvalues are

    $$ -\left(\tfrac{2}{h} \sin \tfrac{\theta}{2}\right)^2 \quad \text{(order 2)}, \qquad
       -\left(\tfrac{1}{12 h} (27 \sin \tfrac{\theta}{2} - \sin \tfrac{3 \theta}{2})\right)^2 \quad \text{(order 4)}. $$

    On a stretched axis, with the weights w of the faces, the operator is `-W^-1 (B^T B)` with the weighted differences
    `B = sqrt(w) G`. Singular values of `B W^-1/2` are as exact for smooth modes as for the shortest; eigenvalues of the
    product would lose twice as many digits.
    """
    if grid.uniform[axis]:
        cells, spacing = grid.cells[axis], grid.size[axis] / grid.cells[axis]
        theta = angles(cells, kinds)
        half = 2 * np.sin(theta / 2)
        symbol = half if order == 2 else (27 * half - 2 * np.sin(1.5 * theta)) / 24
        vectors = wave(cells, kinds)
        return Eigenbasis(-((symbol / spacing) ** 2), vectors, vectors.T)
    periodic = kinds[0] == "periodic"
    cells, widths = grid.cells[axis], grid.widths(axis) / (grid.size[axis] / grid.cells[axis])
    conductances = 1 / grid.center_distances(axis, periodic)
    difference = np.zeros((len(conductances), cells))
    faces = np.arange(len(conductances))
    inside = faces < cells
    difference[faces[inside], faces[inside]] = 1.0
    below = (faces - 1) % cells if periodic else faces - 1
    np.add.at(difference, (faces[below >= 0], below[below >= 0]), -1.0)
    if not periodic:
        for end, kind in zip((0, -1), kinds, strict=True):
            conductances[end] *= ENDS[kind].weight
    root = np.sqrt(widths)
    _, singular, rows = np.linalg.svd(np.sqrt(conductances)[:, None] * difference / root, full_matrices=True)
    singular = np.pad(singular, (0, cells - len(singular)))
    if not anchors(kinds):
        singular[-1] = 0.0  # the constant
    scale = grid.size[axis] / cells  # conductance / width, both in the user's units
    return Eigenbasis(-(singular**2) / scale, rows.T / root[:, None], rows * root)


@prepared
def reciprocal_eigenvalues(problem: PressureProblem) -> np.ndarray:
    """For each mode 1 / eigenvalue, and 0 where the eigenvalue is 0."""
    total = np.zeros(problem.grid.cells)
    for axis, kinds in enumerate(problem.kinds):
        shape = [-1 if a == axis else 1 for a in range(problem.grid.dimensions)]
        total = total + eigenbasis(problem.grid, axis, kinds, problem.order).values.reshape(shape)
    return np.divide(1.0, total, out=np.zeros_like(total), where=total != 0.0)


@prepared
def reciprocal_spectrum(problem: PressureProblem) -> np.ndarray:
    """1 / eigenvalue for the wave numbers of a real Fourier transform of all axes, and 0 where the eigenvalue is 0."""
    total = np.zeros(())
    for axis, (cells, kinds) in enumerate(zip(problem.grid.cells, problem.kinds, strict=True)):
        numbers = np.arange(cells // 2 + 1 if axis == problem.grid.dimensions - 1 else cells)
        values = eigenbasis(problem.grid, axis, kinds, problem.order).values  # those of the cosines come first
        total = np.add.outer(total, values[np.minimum(numbers, cells - numbers)])
    return np.divide(1.0, total, out=np.zeros_like(total), where=total != 0.0)
