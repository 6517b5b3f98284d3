r"""The pressure problem around a body that the pressure itself moves: one of low rank is added to the operator.

A rigid body takes the impulse of the pressure on its surface and moves with it, which changes the divergence around it.
With the flux $b_j$ through the cells of its motion in direction $j$ and its mass matrix $M$ the pressure solves

$$\big(S + B M^{-1} B^T\big)\, p = -V d, \qquad B = (b_1, b_2, b_3),$$

with $S$ of `finite_volumes` and $d$ the divergence to be removed (Batty, Bertails, Bridson 2007). The matrix stays
symmetric and positive; what is added has a rank of three, so that conjugate gradients need at most three iterations
more in exact arithmetic, whatever the body's mass is.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from diffphys.linear import linear_solve
from diffphys.poisson.conjugate_gradients import preconditioned
from diffphys.poisson.diagonalization import FastDiagonalization
from diffphys.poisson.finite_volumes import FiniteVolumes, VariableProblem, finite_volumes, outflow
from diffphys.poisson.iterations import of_length_one
from diffphys.poisson.problem import PressureProblem, Solution, null_space, right_side, without_null_space


@jax.named_scope("pressure_solve")
def solve_with_low_rank(
    problem: VariableProblem,
    fluxes: Array,
    weights: Array,
    rhs: Array,
    tolerance: float | None = None,
    largest_iterations: int = 200,
) -> Solution:
    r"""The pressure with $(A - V^{-1} B M^{-1} B^T)\, p = \text{rhs}$, by conjugate gradients that the direct solution
    for open faces preconditions, as `FictitiousDomain` has it. Differentiable in both modes.

    Cells whose faces are all closed have the pressure zero, and `rhs` is not asked there. Where nothing fixes the
    pressure its mean over the other cells is zero, and that of `rhs` is left out.

    Args:
        problem: The problem; coefficients from 0 to 1.
        fluxes: $B$, (*cells, rank): what leaves each cell by a unit motion, in the units of $V d$, where a cell of mean
            volume has $V = 1$.
        weights: $M^{-1}$, (rank, rank), symmetric and positive semi-definite.
        rhs: $d$, an array at the cell centers.
        tolerance: Largest residual relative to the right side. Default: 1e-5 in float32, 1e-10 in float64.
        largest_iterations: After how many iterations to give up; the pressure is NaN then.
    """
    rhs = right_side(problem, rhs)
    rhs, imbalance = without_null_space(PressureProblem(problem.grid, problem.kinds), rhs)
    system = finite_volumes(problem, rhs.dtype)
    live = jnp.asarray(system.diagonal() > 0)
    fluxes = jnp.where(live[..., None], fluxes, 0.0)
    tolerance = tolerance or (1e-5 if rhs.dtype == jnp.float32 else 1e-10)
    coupled = _Coupled(problem, system, fluxes, weights, live, tolerance, largest_iterations)
    given = -rhs * system.volumes
    pressure, (steps, converged) = linear_solve(coupled.operator, given, coupled.solve, symmetric=True, has_aux=True)
    residual = jnp.max(jnp.abs((coupled.operator(pressure) - coupled.without_null_space(given)) / system.volumes))
    return Solution(pressure, residual, steps, converged, imbalance)


class _Coupled(eqx.Module):
    problem: VariableProblem
    system: FiniteVolumes
    fluxes: Array
    weights: Array
    live: Array
    tolerance: float = eqx.field(static=True)
    largest_iterations: int = eqx.field(static=True)

    def operator(self, pressure: Array) -> Array:
        moved = self.weights @ jnp.tensordot(pressure, self.fluxes, pressure.ndim)
        return outflow(self.system, pressure) + jnp.tensordot(self.fluxes, moved, 1)

    def without_null_space(self, values: Array) -> Array:
        """Without what the operator does not see: cells that are closed all around and, where nothing fixes the
        pressure, the mean of the others. The solution lies there, and so does what a cotangent may ask for.
        """
        values = jnp.where(self.live, values, 0.0)
        if len(null_space(PressureProblem(self.problem.grid, self.problem.kinds))):
            values = jnp.where(self.live, values - jnp.sum(values) / jnp.sum(self.live), 0.0)
        return values

    def solve(self, _: Any, given: Array) -> tuple[Array, tuple[Array, Array]]:
        given, length, largest = of_length_one(self.without_null_space(given))
        pressure, steps, converged = preconditioned(
            self.operator, self._open, given, self.tolerance, self.largest_iterations
        )
        pressure = self.without_null_space(pressure) * length * largest
        return jnp.where(converged, pressure, jnp.nan), (steps, converged)

    def _open(self, residual: Array) -> Array:
        separable = FastDiagonalization(PressureProblem(self.problem.grid, self.problem.kinds))
        return -separable.inverse(separable.scaled(separable.transform(residual / self.system.volumes)))
