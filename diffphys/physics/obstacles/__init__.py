"""Spaces: the discrete calculus of a flow without obstacle, around whole cells or an immersed body, and of waves."""

from diffphys.physics.obstacles.cut_cells import CutCells
from diffphys.physics.obstacles.fourier import Fourier, Modes
from diffphys.physics.obstacles.immersed import Immersed
from diffphys.physics.obstacles.plain import Plain
from diffphys.physics.obstacles.space import DIFFERENCES, FOURTH_ORDER, SECOND_ORDER, FiniteVolumes, Space, Variables
from diffphys.physics.obstacles.staircase import FixedSolid, Staircase, TracedSolid
from diffphys.physics.obstacles.wide_staircase import AROUND_CELLS, WideStaircase


__all__ = [
    "CutCells",
    "FiniteVolumes",
    "FixedSolid",
    "Fourier",
    "Immersed",
    "Modes",
    "Plain",
    "Space",
    "Staircase",
    "TracedSolid",
    "Variables",
    "WideStaircase",
    "AROUND_CELLS",
    "DIFFERENCES",
    "FOURTH_ORDER",
    "SECOND_ORDER",
]
