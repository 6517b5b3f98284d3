"""Pressure solves by each solver, in the channel of the wake with and without the cylinder.

Each solve is one of ten in a compiled loop, on random right sides. The error is the largest residual over the largest
entry of the right side, both without what the null space holds.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from diffphys.benchmarks.benchmark import Row, benchmark
from diffphys.benchmarks.rows import shape_of
from diffphys.benchmarks.timing import Program, compiled
from diffphys.grids import Grid, Sphere
from diffphys.poisson import ConjugateGradients, MultigridConjugateGradients, PressureProblem, apply, direct
from diffphys.poisson.problem import without_null_space
from diffphys.runs import Run, alternate, setting


REPEATED = 10
SOLVERS = {"direct": direct, "multigrid": MultigridConjugateGradients, "conjugate gradients": ConjugateGradients}


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of the benchmark."""

    resolutions: tuple[int, ...] = setting((32, 64, 128, 256), help="cells across the channel", minimum=8)
    seconds: float = setting(2.0, help="how long each size is timed", above=0.0)


def problem_of(resolution: int, obstacle: bool) -> PressureProblem:
    """Slope 0 at walls and inflow, pressure 0 beyond the outflow; a cylinder or none."""
    grid = Grid((resolution, 2 * resolution), (100.0, 200.0))
    solid = np.asarray(Sphere((50.0, 50.0), 10.0).contains(grid.centers())) if obstacle else None
    kinds = (("neumann", "neumann"), ("neumann", "ghost"))
    return PressureProblem(grid, kinds, None if solid is None else solid.tobytes())


def programs_of_solvers(problem: PressureProblem) -> dict[str, Program]:
    """Each solver, compiled in a loop."""
    rhs = jnp.asarray(np.random.default_rng(0).standard_normal((REPEATED, *problem.grid.cells)), jnp.float32)

    def repeated(solver):
        def all_of(sides):
            return jax.lax.map(lambda rhs: solver(problem).solve(rhs).pressure, sides)

        return all_of

    return {name: compiled(repeated(solver), rhs) for name, solver in SOLVERS.items()}


def measure(settings: Settings, run: Run) -> list[Row]:
    """Time each size, with and without the obstacle."""
    rows = []
    for obstacle in (False, True):
        for resolution in settings.resolutions:
            run.leave_if_asked()
            problem = problem_of(resolution, obstacle)
            programs = programs_of_solvers(problem)
            times = alternate(programs, settings.seconds)
            for name, program in programs.items():
                (sides,) = program.arguments
                solvable, _ = without_null_space(problem, sides[0])
                residual = jnp.max(jnp.abs(apply(problem, program()[0]) - solvable)) / jnp.max(jnp.abs(solvable))
                median, fastest = (1e3 * seconds / REPEATED for seconds in times[name])
                rows.append(
                    Row(
                        shape_of(problem.grid.cells[::-1]),
                        math.prod(problem.grid.cells),
                        "solve around a cylinder" if obstacle else "solve",
                        name,
                        median,
                        fastest,
                        compile_seconds=program.compile_seconds,
                        scratch_megabytes=program.scratch_megabytes,
                        error=float(residual),
                        error_is="residual",
                    )
                )
    return rows


def profile(settings: Settings) -> dict[str, Program]:
    """The solvers on the first size, around the cylinder."""
    return programs_of_solvers(problem_of(settings.resolutions[0], obstacle=True))


PROGRAM = benchmark("poisson", Settings, {"quick": {"resolutions": (8,), "seconds": 0.1}}, measure, profile)
