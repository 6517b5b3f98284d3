"""Where numbers live: the grid, fields on it, what holds at its sides, and shapes within it."""

from diffphys.grids.conditions import Condition as Condition
from diffphys.grids.conditions import Conditions as Conditions
from diffphys.grids.conditions import Dirichlet as Dirichlet
from diffphys.grids.conditions import Ghost as Ghost
from diffphys.grids.conditions import Neumann as Neumann
from diffphys.grids.conditions import Periodic as Periodic
from diffphys.grids.conditions import Unknown as Unknown
from diffphys.grids.field import center_offset as center_offset
from diffphys.grids.field import face_offset as face_offset
from diffphys.grids.field import Field as Field
from diffphys.grids.grid import Grid as Grid
from diffphys.grids.shapes import Box as Box
from diffphys.grids.shapes import Complement as Complement
from diffphys.grids.shapes import Intersection as Intersection
from diffphys.grids.shapes import Shape as Shape
from diffphys.grids.shapes import Sphere as Sphere
from diffphys.grids.shapes import Union as Union
from diffphys.grids.sides import Inflow as Inflow
from diffphys.grids.sides import Open as Open
from diffphys.grids.sides import Outflow as Outflow
from diffphys.grids.sides import parse_sides as parse_sides
from diffphys.grids.sides import Side as Side
from diffphys.grids.sides import Sides as Sides
from diffphys.grids.sides import Wall as Wall
