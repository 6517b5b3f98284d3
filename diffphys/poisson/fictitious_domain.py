"""Conjugate gradients with the direct solution for open faces as preconditioner, made for obstacles."""

import equinox as eqx
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from diffphys.grids.numbers import plain
from diffphys.poisson.conjugate_gradients import preconditioned
from diffphys.poisson.diagonalization import FastDiagonalization
from diffphys.poisson.finite_volumes import FiniteVolumes, VariableProblem, bytes_of_finite_volumes, outflow
from diffphys.poisson.iterations import IterativeSolver
from diffphys.poisson.problem import PressureProblem


class FictitiousDomain(IterativeSolver):
    """Conjugate gradients on faces with coefficients from 0 to 1, preconditioned by the direct solution for open faces.

    A function that solves the problem in the fluid extends into the obstacle with a bounded energy, so the number of
    iterations grows neither with the grid nor with how little a face is open (the fictitious domain method: Glowinski,
    Pan, Periaux 1994). One iteration costs as much as a direct solution; it compiles much faster than a multigrid
    cycle. Beside coefficients that vary over the whole domain `MultigridConjugateGradients` is the faster one.

    Args:
        problem: The problem.
        tolerance: Largest residual relative to the right side. Default: 1e-5 in float32, 1e-10 in float64.
        largest_iterations: After how many iterations to give up.
        throw: Whether not converging raises an error when the program runs, instead of only showing in the solution.
        keep: Whether the pressure is the last iterate where it did not converge; else it is NaN there.
    """

    problem: PressureProblem | VariableProblem
    tolerance: float | None = eqx.field(static=True, default=None)
    largest_iterations: int = eqx.field(static=True, converter=plain, default=200)
    throw: bool = eqx.field(static=True, default=False)
    keep: bool = eqx.field(static=True, default=True)

    def prepared_bytes(self, dtype: DTypeLike = jnp.float32) -> int:
        """How many bytes a compiled program holds of what is prepared for values of this type: by the preconditioner,
        and the finite volumes.
        """
        separable = FastDiagonalization(PressureProblem(self.problem.grid, self.problem.kinds))
        return separable.prepared_bytes(dtype) + bytes_of_finite_volumes(self.problem, dtype)

    def _iterated(self, system: FiniteVolumes, given: Array, tolerance: float) -> tuple[Array, Array, Array]:
        grid, kinds = self.problem.grid, self.problem.kinds
        separable = FastDiagonalization(PressureProblem(grid, kinds))
        # A preconditioner may have any unit. In that of the finite volumes coefficients are of size one, and so are the
        # products of conjugate gradients; with the squares of lengths they underflow below 1e-6.
        unit = min(grid.units) ** -2
        volumes = jnp.asarray(system.volumes, given.dtype)

        def without_obstacle(residual: Array) -> Array:
            return -separable.inverse(separable.scaled(separable.transform(residual / volumes)) * unit)

        return preconditioned(
            lambda pressure: outflow(system, pressure), without_obstacle, given, tolerance, self.largest_iterations
        )
