"""Where numbers live: the grid, fields on it, what holds at its sides, and shapes within it; and how a system declares
the numbers that it is made of (`Declared`).
"""

from diffphys.grids.conditions import Condition, Conditions, Dirichlet, Ghost, Kept, Neumann, Periodic, Robin, Unknown
from diffphys.grids.declared import Declared, Limit, at_ends, choice, quantity, sides_of, uniform, within
from diffphys.grids.field import Field, center_offset, check_centered, check_field, face_offset
from diffphys.grids.grid import Grid
from diffphys.grids.numbers import as_array_of_shape
from diffphys.grids.shapes import (
    Box,
    Complement,
    Extruded,
    Intersection,
    Repeated,
    Rotated,
    Shape,
    Sphere,
    Translated,
    Union,
    rotation_matrix,
)
from diffphys.grids.sides import ConvectiveOutflow, Inflow, Open, Outflow, Side, Sides, Wall, parse_sides
from diffphys.grids.stretching import refined_edges, tanh_edges


__all__ = [
    "Condition",
    "Conditions",
    "Dirichlet",
    "Ghost",
    "Kept",
    "Neumann",
    "Periodic",
    "Robin",
    "Unknown",
    "center_offset",
    "face_offset",
    "Field",
    "Grid",
    "refined_edges",
    "tanh_edges",
    "Box",
    "Complement",
    "Extruded",
    "Intersection",
    "Repeated",
    "Rotated",
    "Shape",
    "Sphere",
    "Translated",
    "Union",
    "rotation_matrix",
    "ConvectiveOutflow",
    "Inflow",
    "Open",
    "Outflow",
    "parse_sides",
    "Side",
    "Sides",
    "Wall",
    "Declared",
    "Limit",
    "quantity",
    "within",
    "at_ends",
    "sides_of",
    "choice",
    "uniform",
    "as_array_of_shape",
    "check_field",
    "check_centered",
]
