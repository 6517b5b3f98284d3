"""The choice between the direct solvers."""

from diffphys.errors import InputError
from diffphys.poisson.capacitance import ObstacleCorrected
from diffphys.poisson.diagonalization import FastDiagonalization
from diffphys.poisson.problem import PressureProblem


def direct(problem: PressureProblem) -> FastDiagonalization | ObstacleCorrected:
    """The direct solver for a problem: fast diagonalization, with the capacitance correction where there is an
    obstacle.

    Raises:
        InputError: for a problem with coefficients, which no direct solver here can solve.
    """
    if not isinstance(problem, PressureProblem):
        raise InputError(
            f"direct: problem is a {type(problem).__name__}; a PressureProblem is accepted "
            "(MultigridConjugateGradients solves those with coefficients)."
        )
    return FastDiagonalization(problem) if problem.solid is None else ObstacleCorrected(problem)
