"""The pressure problem: find p with `laplacian(p) = rhs`, with given sides and with faces that an obstacle closes.

Every solver follows one protocol, `solve(rhs) -> Solution` and `prepared_bytes()`, and is differentiable in both modes.
Singular problems are the normal case: the null space is found from the actual sides and closed faces, its component is
removed from the right side and reported, and the solution has none of it.
"""

from diffphys.poisson.capacitance import ObstacleCorrected
from diffphys.poisson.conjugate_gradients import (
    ConjugateGradients,
    ConjugateGradientSteps,
    conjugate_gradient_steps,
)
from diffphys.poisson.diagonalization import FastDiagonalization
from diffphys.poisson.direct import direct
from diffphys.poisson.fictitious_domain import FictitiousDomain
from diffphys.poisson.finite_volumes import VariableProblem, apply
from diffphys.poisson.multigrid import MultigridConjugateGradients
from diffphys.poisson.problem import PressureProblem, PressureSolver, Solution
from diffphys.poisson.variable_density import variable_density_projection


__all__ = [
    "ObstacleCorrected",
    "ConjugateGradients",
    "ConjugateGradientSteps",
    "conjugate_gradient_steps",
    "FastDiagonalization",
    "FictitiousDomain",
    "MultigridConjugateGradients",
    "apply",
    "direct",
    "PressureProblem",
    "PressureSolver",
    "Solution",
    "VariableProblem",
    "variable_density_projection",
]
