"""Fast diagonalization: the direct solver for every separable problem.

On a uniform box the operator is a sum of one-dimensional ones, `A = A_x (x) I + I (x) A_y`, each symmetric for any pair
of sides. With `A_x = V_x L_x V_x^T` the solution is `V_x V_y ((V_x^T V_y^T rhs) / (l_x + l_y))`: two matrix products
per axis, exact to round-off (Lynch, Rice, Thomas 1964). Modes whose eigenvalue vanishes are the null space; they are
left out.
"""

import dataclasses
import functools

import jax.numpy as jnp
import numpy as np
from jax import Array

from diffphys.errors import InputError
from diffphys.poisson.problem import Kind, PressureProblem, Solution, apply, check_right_side, without_null_space


@dataclasses.dataclass(frozen=True)
class FastDiagonalization:
    """The direct solver for problems without obstacles.

    Cost: two dense products per axis, `4 n^3` multiplications on an n x n grid. Differentiates as the linear map it is,
        in any mode.

    Args:
        problem: The problem.

    Raises:
        InputError: if the problem has closed faces.
    """

    problem: PressureProblem

    def __post_init__(self):
        if self.problem.solid is not None:
            raise InputError(
                "FastDiagonalization: the problem has solid cells; ObstacleCorrected is the solver for these."
            )

    def solve(self, rhs: Array) -> Solution:
        """Solve `A pressure = rhs` for an array at the cell centers."""
        check_right_side(self.problem, rhs)
        rhs, imbalance = without_null_space(self.problem, rhs)
        pressure = self.inverse(self.scaled(self.transform(rhs)))
        return direct_solution(self.problem, pressure, rhs, imbalance)

    def transform(self, values: Array) -> Array:
        """The coefficients of `values` in the eigenvectors: `V_x^T values V_y` in 2D."""
        for axis, matrix in enumerate(self.vectors(values.dtype)):
            values = along_axis(matrix.T, values, axis)
        return values

    def inverse(self, coefficients: Array) -> Array:
        """The values with these coefficients: `V_x coefficients V_y^T` in 2D."""
        for axis, matrix in enumerate(self.vectors(coefficients.dtype)):
            coefficients = along_axis(matrix, coefficients, axis)
        return coefficients

    def scaled(self, coefficients: Array) -> Array:
        """The coefficients divided by the eigenvalues, zero for the null space."""
        return coefficients * jnp.asarray(reciprocal_eigenvalues(self.problem), coefficients.dtype)

    def vectors(self, dtype) -> list[Array]:
        """For each axis the orthogonal matrix whose columns are its eigenvectors."""
        axes = zip(self.problem.grid.cells, self.problem.grid.spacing, self.problem.kinds, strict=True)
        return [jnp.asarray(eigenbasis(*axis)[1], dtype) for axis in axes]


def direct_solution(problem: PressureProblem, pressure: Array, rhs: Array, imbalance: Array) -> Solution:
    """A `Solution` of a solver without iterations. Under `jit` the residual costs nothing where nobody reads it."""
    residual = jnp.max(jnp.abs(apply(problem, pressure) - rhs))
    return Solution(pressure, residual, jnp.zeros((), jnp.int32), jnp.ones((), bool), imbalance)


def along_axis(matrix: Array, values: Array, axis: int) -> Array:
    """The product of `matrix` with `values` along one axis, in full precision on every device."""
    if axis == values.ndim - 1:
        return jnp.matmul(values, matrix.T, precision="highest")
    if values.ndim == 2:
        return jnp.matmul(matrix, values, precision="highest")
    return jnp.moveaxis(jnp.tensordot(matrix, values, (1, axis), precision="highest"), 0, axis)


@functools.lru_cache(maxsize=128)
def eigenbasis(cells: int, spacing: float, kinds: tuple[Kind, Kind]) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues and eigenvectors (columns) of the one-dimensional operator, in float64 on the host."""
    matrix = -2.0 * np.eye(cells)
    steps = np.arange(cells - 1)
    matrix[steps, steps + 1] = matrix[steps + 1, steps] = 1.0
    if kinds[0] == "periodic":
        matrix[0, -1] += 1.0
        matrix[-1, 0] += 1.0
    else:
        for index, kind in zip((0, -1), kinds, strict=True):
            matrix[index, index] += {"neumann": 1.0, "ghost": 0.0, "dirichlet": -1.0}[kind]
    values, vectors = np.linalg.eigh(matrix / spacing**2)
    values[np.abs(values) < 1e-12 * max(np.abs(values).max(), 1.0 / spacing**2)] = 0.0
    return values, vectors


@functools.lru_cache(maxsize=32)
def reciprocal_eigenvalues(problem: PressureProblem) -> np.ndarray:
    """For each mode 1 / eigenvalue, and 0 where the eigenvalue is 0."""
    total = np.zeros(problem.grid.cells)
    for axis, (cells, spacing, kinds) in enumerate(
        zip(problem.grid.cells, problem.grid.spacing, problem.kinds, strict=True)
    ):
        shape = [-1 if a == axis else 1 for a in range(problem.grid.dimensions)]
        total = total + eigenbasis(cells, spacing, kinds)[0].reshape(shape)
    return np.divide(1.0, total, out=np.zeros_like(total), where=total != 0.0)
