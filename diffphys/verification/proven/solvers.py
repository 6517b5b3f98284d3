"""Pressure solvers, with respect to right sides, guesses and coefficients."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from diffphys import physics, poisson
from diffphys.grids import Grid, Neumann, Periodic, Wall, face_offset
from diffphys.verification.proven.example import TIGHT, Example


def _problem(solid: bool, stretched: bool = False) -> Any:
    grid = Grid((6, 5), (1.5, 2.0))
    if stretched:
        grid = Grid.from_edges([[0.0, 0.2, 0.5, 0.9, 1.2, 1.4, 1.5], [0.0, 0.4, 1.0, 1.5, 1.8, 2.0]])
    conditions = ((Neumann(), Neumann()), (Periodic(), Periodic()))
    cells = np.zeros(grid.cells, bool)
    cells[2:4, 1:3] = True
    return poisson.PressureProblem.from_conditions(grid, conditions, cells if solid else None)


def _solver(
    make_solver: Callable[..., Any], solid: bool, stretched: bool = False, **settings: Any
) -> Callable[[int], Example]:
    def make(seed: int) -> Example:
        solver = make_solver(_problem(solid, stretched), **settings)
        rhs = jnp.asarray(np.random.default_rng(seed).standard_normal((6, 5)))
        return lambda rhs: solver.solve(rhs).pressure, (rhs,)

    return make


def _steps_from_a_guess(seed: int) -> Example:
    rhs, guess = jnp.asarray(np.random.default_rng(seed).standard_normal((2, 6, 5)))
    return lambda rhs, guess: poisson.conjugate_gradient_steps(_problem(True), rhs, guess, 4).pressure, (rhs, guess)


def _applied(seed: int) -> Example:
    pressure = jnp.asarray(np.random.default_rng(seed).standard_normal((6, 5)))
    return lambda pressure: poisson.apply(_problem(True), pressure), (pressure,)


def _variable(make_solver: Callable) -> Callable[[int], Example]:
    """The solution for coefficients on the faces, with respect to them and the right side."""

    def make(seed: int) -> Example:
        generator = np.random.default_rng(seed)
        grid = Grid((6, 5), (1.5, 2.0))
        conditions = ((Neumann(), Neumann()), (Periodic(), Periodic()))
        shapes = [grid.shape(face_offset(grid, axis), (False, True)) for axis in range(2)]
        coefficients = tuple(jnp.asarray(np.exp(0.5 * generator.standard_normal(shape))) for shape in shapes)
        rhs = jnp.asarray(generator.standard_normal(grid.cells))

        def solve(coefficients: Any, rhs: Any) -> Any:
            problem = poisson.VariableProblem.from_conditions(grid, conditions, coefficients)
            return make_solver(problem, tolerance=1e-14).solve(rhs).pressure

        return solve, (coefficients, rhs)

    return make


def _projection_of_variable_density(seed: int) -> Example:
    """With respect to velocity, volumes, and the divergence that is asked for."""
    generator = np.random.default_rng(seed)
    flow = physics.IncompressibleFlow(Grid((6, 5), (1.5, 2.0)), 0.1, 0.1, {"x": Wall(), "y": Periodic()})
    start = flow.initial_state((0.0, 0.0)).velocity
    velocity = tuple(part.with_values(jnp.asarray(generator.standard_normal(part.shape))) for part in start)
    volumes = tuple(jnp.asarray(np.exp(0.5 * generator.standard_normal(part.shape))) for part in start)

    def project(velocity: Any, volumes: Any, target: Any) -> Any:
        found, solution = poisson.variable_density_projection(
            velocity, volumes, ((Neumann(), Neumann()), (Periodic(), Periodic())), target, TIGHT
        )
        return [part.values for part in found], solution.pressure

    return project, (velocity, volumes, jnp.asarray(generator.standard_normal((6, 5))))


EXAMPLES: dict[str, Callable[[int], Example]] = {
    "apply": _applied,
    "direct": _solver(poisson.direct, False),
    "direct stretched": _solver(poisson.direct, False, stretched=True),
    "FastDiagonalization": _solver(poisson.FastDiagonalization, False),
    "ObstacleCorrected": _solver(poisson.ObstacleCorrected, True),
    "ConjugateGradients": _solver(poisson.ConjugateGradients, True, tolerance=1e-14),
    "conjugate_gradient_steps": _steps_from_a_guess,
    "MultigridConjugateGradients": _solver(poisson.MultigridConjugateGradients, True, tolerance=1e-14),
    "VariableProblem": _variable(poisson.MultigridConjugateGradients),
    "FictitiousDomain": _variable(poisson.FictitiousDomain),
    "variable_density_projection": _projection_of_variable_density,
}
