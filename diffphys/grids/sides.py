"""What the sides of a domain are, in the words of physics.

A domain has two sides for each axis. Users name what is there; the physics rooms translate it for each variable into
`conditions`. For the velocity of an incompressible flow, its pressure and a scalar carried by it:

| side | normal velocity | tangential velocity | pressure | scalar |
|---|---|---|---|---|
| `Periodic()` | periodic | periodic | periodic | periodic |
| `Wall()` | 0 | the wall's own (no slip) | slope 0 | slope 0 |
| `Wall(slip=True)` | 0 | slope 0 | slope 0 | slope 0 |
| `Inflow(v)` | v into the domain | 0 | slope 0 | given (0) |
| `Outflow()` | free | slope 0 | 0 outside | slope 0 |
| `Open()` | free | slope 0 | 0 outside | 0 outside |
"""

from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
from jax import Array

from diffphys.errors import InputError
from diffphys.grids.conditions import Periodic
from diffphys.grids.grid import Grid
from diffphys.grids.numbers import check_number, number


class Wall(eqx.Module):
    """A wall that nothing passes.

    Args:
        velocity: The wall's own tangential velocity: one number for each tangential axis, or one number for all.
        slip: If true the fluid slips along it without friction.
    """

    velocity: Array = eqx.field(converter=number("Wall: velocity"), default=0.0)
    slip: bool = eqx.field(static=True, default=False)


class Inflow(eqx.Module):
    """Fluid enters at a prescribed speed.

    Args:
        speed: Normal speed *into* the domain: a number, or a profile with an entry for each cell along the tangential
            axes (negative: fluid is sucked out).
        scalar: What a carried scalar has where it enters.
    """

    speed: Array = eqx.field(converter=number("Inflow: speed"))
    scalar: Array = eqx.field(converter=number("Inflow: scalar"), default=0.0)


class Outflow(eqx.Module):
    """Fluid leaves freely: slopes vanish, the pressure outside is zero."""


class Open(eqx.Module):
    """Fluid leaves and enters freely; the pressure and carried scalars are zero outside."""


Side = Periodic | Wall | Inflow | Outflow | Open
Sides = tuple[tuple[Side, Side], ...]
"""For each axis what is at its (lower, upper) side."""


def parse_sides(grid: Grid, sides: Any) -> Sides:
    """The sides of every axis as (lower, upper) pairs, checked.

    Args:
        grid: The grid of the domain.
        sides: One side for all, or a mapping from axis name to a side or a (lower, upper) pair of sides:
            `dict(x=Wall(), y=(Inflow(1.0), Outflow()))`; or pairs for all axes, as this function returns them.

    Raises:
        InputError: for an axis that is missing or unknown, a value that is no side, an axis periodic at one end only,
            or a profile whose shape is not that of the side.
    """
    if isinstance(sides, Side):
        sides = {name: sides for name in grid.axis_names}
    if isinstance(sides, Sequence) and not isinstance(sides, str) and len(sides) == grid.dimensions:
        sides = dict(zip(grid.axis_names, sides, strict=True))
    if not isinstance(sides, Mapping):
        raise InputError(
            f"sides: {sides!r} was given; a side, or one for each of the axes {grid.axis_names} is accepted."
        )
    if missing := [name for name in grid.axis_names if name not in sides]:
        raise InputError(
            f"sides: nothing is said of axis {missing[0]}; a side for each of the axes {grid.axis_names} is accepted."
        )
    if unknown := [name for name in sides if name not in grid.axis_names]:
        raise InputError(f"sides: axis {unknown[0]!r} was given; this grid has the axes {grid.axis_names}.")
    return tuple(_parse_pair(grid, axis, sides[name]) for axis, name in enumerate(grid.axis_names))


def _parse_pair(grid: Grid, axis: int, given: Any) -> tuple[Side, Side]:
    name = grid.axis_names[axis]
    pair = (given, given) if isinstance(given, Side) else given
    if not isinstance(pair, Sequence) or len(pair) != 2 or not all(isinstance(side, Side) for side in pair):
        raise InputError(
            f"sides: axis {name} was given {given!r}; Periodic(), Wall(), Inflow(speed), Outflow(), Open() or a pair "
            "(lower, upper) of them is accepted."
        )
    lower, upper = pair
    if isinstance(lower, Periodic) != isinstance(upper, Periodic):
        raise InputError(
            f"sides: axis {name} is periodic at one end only; Periodic() at both ends or at none is accepted."
        )
    tangential = tuple(cells for other, cells in enumerate(grid.cells) if other != axis)
    for side in pair:
        if isinstance(side, Inflow):
            check_number("Inflow", f"speed on axis {name}", side.speed, scalar=False)
            check_number("Inflow", f"scalar on axis {name}", side.scalar)
            if side.speed.ndim and side.speed.shape != tangential:
                raise InputError(
                    f"Inflow: speed on axis {name} has shape {side.speed.shape}; a number or a profile of shape "
                    f"{tangential}, one "
                    "entry for each cell along the side, is accepted."
                )
        if isinstance(side, Wall):
            check_number("Wall", f"velocity on axis {name}", side.velocity, scalar=False)
            if side.velocity.ndim and side.velocity.shape != (grid.dimensions - 1,):
                raise InputError(
                    f"Wall: velocity on axis {name} has shape {side.velocity.shape}; a number or one for each of the "
                    f"{grid.dimensions - 1} tangential axes is accepted."
                )
    return lower, upper
