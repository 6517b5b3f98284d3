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

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike

from diffphys.errors import InputError
from diffphys.grids.numbers import shown
from diffphys.linear import linear_map
from diffphys.operators.eigenbasis import Line, analyzed, eigenbasis, synthesized, takes_fast
from diffphys.operators.transforms import is_fast_together
from diffphys.poisson.problem import PressureProblem, Solution, apply, right_side, without_null_space
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
        for line in lines_of_problem(self.problem):
            values = analyzed(line, values, self.transforms)
        return values

    def inverse(self, coefficients: Array) -> Array:
        """The values with these coefficients: `V_x coefficients V_y^T` in 2D."""
        for line in lines_of_problem(self.problem):
            coefficients = synthesized(line, coefficients, self.transforms)
        return coefficients

    def scaled(self, coefficients: Array) -> Array:
        """The coefficients divided by the eigenvalues, zero for the null space."""
        return coefficients * jnp.asarray(reciprocal_eigenvalues(self.problem), coefficients.dtype)

    def vectors(self) -> list[np.ndarray]:
        """For each axis the matrix whose columns are its eigenvectors."""
        return [eigenbasis(line).inverse for line in lines_of_problem(self.problem)]

    def prepared_bytes(self, dtype: DTypeLike = jnp.float32) -> int:
        """How many bytes a compiled program holds of what is prepared for values of this type: the matrices of the
        axes along which no fast transform is taken, and the reciprocal eigenvalues.
        """
        size = np.dtype(dtype).itemsize
        if self._is_one_transform(dtype):
            return size * reciprocal_spectrum(self.problem).size
        lines = [line for line in lines_of_problem(self.problem) if not takes_fast(line, dtype, self.transforms)]
        lengths = [line.grid.cells[line.axis] for line in lines]
        return size * (2 * sum(count**2 for count in lengths) + int(np.prod(self.problem.grid.cells)))

    def _is_one_transform(self, dtype) -> bool:
        grid = self.problem.grid
        periodic = all(kinds[0] == "periodic" for kinds in self.problem.kinds)
        if not periodic or not all(grid.uniform) or self.transforms == "matrix":
            return False
        return self.transforms == "fast" or is_fast_together(grid.cells, jnp.dtype(dtype).name)


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


def lines_of_problem(problem: PressureProblem) -> list[Line]:
    """The one-dimensional operators between the centers along each axis."""
    return [Line(problem.grid, axis, 0.5, kinds, problem.order) for axis, kinds in enumerate(problem.kinds)]


@prepared
def reciprocal_eigenvalues(problem: PressureProblem) -> np.ndarray:
    """For each mode 1 / eigenvalue, and 0 where the eigenvalue is 0."""
    total = np.zeros(problem.grid.cells)
    for line in lines_of_problem(problem):
        total = total + problem.grid.along(line.axis, eigenbasis(line).values)
    return np.divide(1.0, total, out=np.zeros_like(total), where=total != 0.0)


@prepared
def reciprocal_spectrum(problem: PressureProblem) -> np.ndarray:
    """1 / eigenvalue for the wave numbers of a real Fourier transform of all axes, and 0 where the eigenvalue is 0."""
    total = np.zeros(())
    for line in lines_of_problem(problem):
        axis, cells = line.axis, problem.grid.cells[line.axis]
        numbers = np.arange(cells // 2 + 1 if axis == problem.grid.dimensions - 1 else cells)
        values = eigenbasis(line).values  # those of the cosines come first
        total = np.add.outer(total, values[np.minimum(numbers, cells - numbers)])
    return np.divide(1.0, total, out=np.zeros_like(total), where=total != 0.0)
