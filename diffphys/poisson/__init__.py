"""The pressure problem: find p with `laplacian(p) = rhs`, with given sides and with faces that an obstacle closes.

Every solver follows one protocol, `solve(rhs) -> Solution`, and is differentiable in both modes. Singular problems are the normal
case: the null space is found from the actual sides and closed faces, its component is removed from the right side and
reported, and the solution has none of it.
"""

from diffphys.poisson.capacitance import ObstacleCorrected as ObstacleCorrected
from diffphys.poisson.conjugate_gradients import ConjugateGradients as ConjugateGradients
from diffphys.poisson.diagonalization import FastDiagonalization as FastDiagonalization
from diffphys.poisson.problem import apply as apply
from diffphys.poisson.direct import direct as direct
from diffphys.poisson.problem import PressureProblem as PressureProblem
from diffphys.poisson.problem import PressureSolver as PressureSolver
from diffphys.poisson.problem import Solution as Solution
