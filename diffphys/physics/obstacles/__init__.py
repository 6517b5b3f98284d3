"""Obstacles: the discrete calculus of a flow without one, around whole cells, and around an immersed body."""

from diffphys.physics.obstacles.cut_cells import CutCells
from diffphys.physics.obstacles.immersed import Immersed
from diffphys.physics.obstacles.plain import Plain
from diffphys.physics.obstacles.space import FOURTH_ORDER, SECOND_ORDER, Space, Variables
from diffphys.physics.obstacles.staircase import FixedSolid, Staircase
from diffphys.physics.obstacles.wide_staircase import WideStaircase


__all__ = [
    "CutCells",
    "FixedSolid",
    "Immersed",
    "Plain",
    "Space",
    "Staircase",
    "Variables",
    "WideStaircase",
    "FOURTH_ORDER",
    "SECOND_ORDER",
]
