"""What iterative solvers share: scales, the loop, and what makes an iteration a solver of the pressure problem."""

import abc
import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from diffphys.devices import beside, keeping
from diffphys.errors import InputError
from diffphys.grids.numbers import check_numbers, shown, whole_number
from diffphys.linear import linear_solve
from diffphys.poisson.finite_volumes import (
    FiniteVolumes,
    Problem,
    VariableProblem,
    apply,
    finite_volumes,
    null_space_remover,
    outflow,
)
from diffphys.poisson.problem import PressureProblem, PressureSolver, Solution, right_side


class IterativeSolver(eqx.Module):
    """An iteration that solves the pressure problem, with its derivatives.

    Final classes: `ConjugateGradients`, `FictitiousDomain`, `MultigridConjugateGradients`; there the fields are told.
    """

    problem: eqx.AbstractVar[Problem]
    tolerance: eqx.AbstractVar[float | None]
    largest_iterations: eqx.AbstractVar[int | None]
    throw: eqx.AbstractVar[bool]
    keep: eqx.AbstractVar[bool]

    def __check_init__(self):
        name = type(self).__name__
        check_problem(name, self.problem)
        if self.tolerance is not None:
            check_numbers(name, tolerance=self.tolerance)
            if not 0 < self.tolerance < 1:
                raise InputError(f"{name}: tolerance is {self.tolerance}; a number between 0 and 1 is accepted.")
        if self.largest_iterations is not None:
            whole_number(f"{name}: largest_iterations", self.largest_iterations)

    @abc.abstractmethod
    def _iterated(self, system: FiniteVolumes, given: Array, tolerance: float) -> tuple[Array, Array, Array]:
        """From the finite volumes, in a unit in which their largest weight is one, a right side of Euclidean norm one
        and the tolerance to the pressure, the number of iterations and whether it converged.
        """

    @jax.named_scope("pressure_solve")
    def solve(self, rhs: Array) -> Solution:
        """Solve `A pressure = rhs` for an array at the cell centers. Not converging shows in `Solution.converged`."""
        problem = self.problem
        rhs = right_side(problem, rhs)
        remove = null_space_remover(problem, rhs.dtype)
        rhs, imbalance = remove(rhs)
        tolerance = self.tolerance or (1e-5 if rhs.dtype == jnp.float32 else 1e-10)
        system = finite_volumes(problem, rhs.dtype)
        rhs = beside(rhs, system)
        scaled = _Scaled(self._iterated, system, remove, tolerance, self.keep)
        pressure, (steps, converged) = linear_solve(
            scaled.operator, -rhs * system.volumes, scaled.solve, scaled.transpose_solve, symmetric=True, has_aux=True
        )
        residual = jnp.max(jnp.abs(apply(problem, pressure) - rhs))
        if self.throw:
            name = type(self).__name__
            sentence = f"{name}: no convergence to the tolerance within the largest number of iterations."
            pressure = eqx.error_if(pressure, ~converged, sentence)
        return Solution(pressure, residual, steps, converged, imbalance)


def never_unconverged(solver: PressureSolver) -> PressureSolver:
    """The solver, with NaN as pressure where an iteration does not meet its tolerance.

    What goes on with it goes on with NaN, which `rollout` reports with `outcome=True` and `train` leaves out: a wrong
    flow is never returned. To raise at once instead, give a solver with `throw=True`, or set `jax_debug_nans`.
    """
    return dataclasses.replace(solver, keep=False) if isinstance(solver, IterativeSolver) else solver


class _Scaled(eqx.Module):
    """An iteration, for finite volumes and right sides of any size. The leaves of its tree are all arrays that it uses,
    as `linear_solve` asks.
    """

    iterate: Callable[[FiniteVolumes, Array, float], tuple[Array, Array, Array]]
    system: FiniteVolumes
    remove: Callable[[Array], tuple[Array, Array]]
    tolerance: float = eqx.field(static=True)
    keep: bool = eqx.field(static=True)

    def operator(self, pressure: Array) -> Array:
        return outflow(self.system, pressure)

    def solve(self, _: Any, given: Array) -> tuple[Array, tuple[Array, Array]]:
        system = self.system
        given, length, largest = of_length_one(system.volumes * self.remove(given / system.volumes)[0])
        unit = system.largest_weight()
        scaled = FiniteVolumes(
            tuple(weights / unit for weights in system.weights), system.anchor / unit, system.volumes
        )
        pressure, steps, converged = self.iterate(scaled, given, self.tolerance)
        pressure, _ = self.remove(pressure)
        pressure, converged = pressure * (length / unit) * largest, converged & jnp.isfinite(length * largest)
        # Within the solve: what it reports besides is not to be had everywhere that the pressure is (JAX 0.10 makes it
        # a batch of its own under `jacfwd`, and a transposed solve reports to nobody).
        return pressure if self.keep else jnp.where(converged, pressure, jnp.nan), (steps, converged)

    def transpose_solve(self, transposed: Any, given: Array) -> tuple[Array, tuple[Array, Array]]:
        cotangent, (steps, converged) = self.solve(transposed, given)
        return jnp.where(converged, cotangent, jnp.nan), (steps, converged)  # nobody sees what it reports


def check_problem(name: str, problem: object) -> None:
    """Raise `InputError` unless it is a problem."""
    if not isinstance(problem, (PressureProblem, VariableProblem)):
        raise InputError(f"{name}: problem is {shown(problem)}; a PressureProblem or VariableProblem is accepted.")


def until_small(
    improved: Callable[..., tuple[Array, ...]],
    start: tuple[Array, ...],
    tolerance: float,
    largest_iterations: int,
) -> tuple[Array, Array, Array]:
    """An iteration from a start on: the solution, the number of iterations, whether the tolerance was met.

    Args:
        improved: From the number of iterations and the arrays of a state to those of the next one. The first array is
            the solution, the second its residual.
        start: The arrays of the first state.
        tolerance: The largest Euclidean norm of the residual.
        largest_iterations: After how many iterations to give up.
    """

    def unfinished(carry: tuple[Array, ...]) -> Array:
        _, residual, *_, steps = carry
        return (euclidean_norm(residual) > tolerance) & (steps < largest_iterations)

    def following(carry: tuple[Array, ...]) -> tuple[Array, ...]:
        *state, steps = carry
        return (*improved(steps, *state), steps + 1)

    following, carry = keeping(following, (*start, beside(jnp.zeros((), jnp.int32), start)))
    solution, residual, *_, steps = jax.lax.while_loop(unfinished, following, carry)
    return solution, steps, euclidean_norm(residual) <= tolerance


def of_length_one(values: Array) -> tuple[Array, Array, Array]:
    """Values over their Euclidean norm, and the norm as two factors: the squares in it, and the product of the two, may
    overflow or vanish. Zero stays zero.
    """
    largest = jnp.max(jnp.abs(values))
    values = values / jnp.where(largest > 0, largest, 1.0)
    length = euclidean_norm(values)
    length = jnp.where(length > 0, length, 1.0)
    return values / length, length, largest


def euclidean_norm(values: Array) -> Array:
    """The square root of the sum of squares."""
    return jnp.sqrt(jnp.sum(values**2))
