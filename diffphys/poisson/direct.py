"""The choice between the direct solvers."""

from diffphys.poisson.capacitance import ObstacleCorrected
from diffphys.poisson.diagonalization import FastDiagonalization
from diffphys.poisson.problem import PressureProblem


def direct(problem: PressureProblem) -> FastDiagonalization | ObstacleCorrected:
    """The direct solver for a problem: fast diagonalization, with the capacitance correction where there is an
    obstacle.
    """
    return FastDiagonalization(problem) if problem.solid is None else ObstacleCorrected(problem)
