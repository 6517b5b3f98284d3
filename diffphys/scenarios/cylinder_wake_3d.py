r"""The wake of a cylinder in three dimensions (Um et al. 2020, section 4): that of `cylinder_wake`, with a span.

The stream is not the same over the span: it enters with the speed

$$ 1 + a \cos(2 \pi z / L_z), $$

so that vortices part from the cylinder sooner where it is fast, bend, and join across the span. In a stream of speed
one (a = 0) what a gust brings to the third dimension dies away: on 32 x 64 x 32 cells the root mean square of the
velocity along the span falls from 0.027 to 0.0002 within 1000 steps, where with a = 0.2 it stays above 0.035.
"""

import math
from collections.abc import Sequence

import jax.numpy as jnp
from jax import Array

from diffphys.grids import Box, Extruded, Grid, Inflow, Outflow, Periodic, Wall
from diffphys.operators import SemiLagrangian
from diffphys.physics import FlowState, IncompressibleFlow
from diffphys.scenarios.cylinder_wake import CYLINDER, SIZE, VISCOSITY_TIMES_LABEL


SPAN = 100.0  # five diameters
CYLINDER_3D = Extruded(CYLINDER, axis=2)


def cylinder_wake_3d(
    resolution: int,
    reynolds: Array | float = 468.75,
    *,
    wave: float = 0.2,
    largest_speeds: Sequence[float] = (2.2, 2.8, 1.5),
) -> IncompressibleFlow:
    """A cylinder of radius 10 along z at (50, 50) in a domain of 100 x 200 x 100, periodic in z; the lateral sides let
    the flow slip, and the stream comes from below.

    Args:
        resolution: Cells across the stream and along the span, twice as many along the stream.
        reynolds: The label of the paper: the viscosity is `6.1035 / reynolds`, on every grid.
        wave: a, by how much the speed of the stream varies over the span.
        largest_speeds: Bounds on the three components of the velocity, for the faster form of the advection; beyond
            them the flow is NaN.
    """
    grid = Grid((resolution, 2 * resolution, resolution), (*SIZE, SPAN))
    z = grid.centers()[2].reshape(-1)
    speed = jnp.broadcast_to(1.0 + wave * jnp.cos(2 * jnp.pi * z / SPAN), (resolution, resolution))
    return IncompressibleFlow(
        grid,
        viscosity=VISCOSITY_TIMES_LABEL / reynolds,
        dt=1.0,
        sides={"x": Wall(slip=True), "y": (Inflow(speed), Outflow()), "z": Periodic()},
        solid=CYLINDER_3D,
        advection=SemiLagrangian(
            tuple(math.ceil(speed / spacing) for speed, spacing in zip(largest_speeds, grid.spacing, strict=True))
        ),
    )


def first_wake_3d(flow: IncompressibleFlow) -> FlowState:
    """A stream of speed one with a crosswise gust behind the cylinder, three times as fast in the middle of the span as
    at its ends, so that shedding begins at once and not everywhere at the same time.

    The gust is as wide as the cylinder and two diameters long: after 200 steps vortices part as they do later. From one
    of 3.2 x 8, as the wake in 2D begins with, it takes a thousand steps.
    """
    gust = Box((40.0, 65.0, -math.inf), (60.0, 105.0, math.inf))
    points = flow.initial_state().velocity[0].coordinates()
    strength = 1.0 - 0.5 * jnp.cos(2 * jnp.pi * points[2] / SPAN)
    return flow.initial_state((jnp.where(gust.contains(points), strength, 0.0), 1.0, 0.0))
