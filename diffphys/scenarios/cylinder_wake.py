"""The wake of a cylinder in a stream (Um et al. 2020, section 4 and appendix B.1)."""

import math
from collections.abc import Sequence
from typing import Any

from jax import Array

from diffphys.errors import InputError
from diffphys.grids import Box, Grid, Inflow, Open, Outflow, Sphere, Wall
from diffphys.operators import SemiLagrangian
from diffphys.physics import Held, IncompressibleFlow


SIZE = (100.0, 200.0)
CYLINDER = Sphere(center=(50.0, 50.0), radius=10.0)
VISCOSITY_TIMES_LABEL = 1e4 / 1638.4  # the code's parameter re is 1638.4 times the label, and the viscosity 1e4 / re


def cylinder_wake(
    resolution: int,
    reynolds: Array | float = 1000.0,
    *,
    sides: str = "channel",
    largest_speed: float | Sequence[float] = 2.2,
) -> IncompressibleFlow:
    """A cylinder of radius 10 at (50, 50) in a domain of 100 x 200; the stream comes from below with speed one.

    Args:
        resolution: Cells across the stream, twice as many along it.
        reynolds: The label of the paper: the viscosity is `6.1035 / reynolds`, on every grid.
        sides: "channel": inflow, lateral walls that let the flow slip, outflow; "no-slip": walls without slip;
            "published": all sides open, the streamwise velocity held on inflow rows and lateral strips.
        largest_speed: Bound on the velocity, or on each component, for the faster form of the advection; beyond it the
            flow is NaN.

    Raises:
        InputError: another text for `sides`.
    """
    if sides not in ("channel", "no-slip", "published"):
        raise InputError(f'cylinder_wake: sides is {sides!r}; "channel", "no-slip" or "published" is accepted.')
    grid = Grid((resolution, 2 * resolution), SIZE)
    spacing = grid.spacing[1]
    infinity = math.inf
    if sides == "published":
        ends: Any = Open()
        rows = Box((-infinity, -infinity), (infinity, 1.5 * spacing))
        strips = Box((-infinity, -infinity), (spacing, infinity)) | Box(
            (SIZE[0] - spacing, -infinity), (infinity, infinity)
        )
        held = (Held(rows | strips, (None, 1.0)),)
    else:
        ends = {"x": Wall(slip=sides == "channel"), "y": (Inflow(1.0), Outflow())}
        held = (Held(Box((-infinity, -infinity), (infinity, 5.0)), (None, 1.0)),)
    speeds = [largest_speed] * 2 if isinstance(largest_speed, (int, float)) else largest_speed
    cells = tuple(math.ceil(speed / spacing) for speed in speeds)
    return IncompressibleFlow(
        grid,
        viscosity=VISCOSITY_TIMES_LABEL / reynolds,
        dt=1.0,
        sides=ends,
        solid=CYLINDER,
        forces=held,
        advection=SemiLagrangian(cells[0] if isinstance(largest_speed, (int, float)) else cells),
    )
