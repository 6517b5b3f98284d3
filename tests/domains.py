"""Domains to try things on: every combination of sides, unequal spacings, obstacles of any form."""

import itertools
from typing import Any, NamedTuple

import equinox as eqx
import hypothesis.strategies as st
import jax.numpy as jnp
import numpy as np

import diffphys as dp
from diffphys.grids import Shape


class CellMask(Shape):
    """An obstacle given cell by cell, to try forms that no union of smooth shapes has."""

    cells: bytes = eqx.field(static=True)
    shape: tuple[int, ...] = eqx.field(static=True)

    def distance(self, points):
        inside = np.frombuffer(self.cells, bool).reshape(self.shape)
        return jnp.where(inside, -1.0, 1.0)


def mask(cells) -> CellMask:
    cells = np.asarray(cells, bool)
    return CellMask(cells.tobytes(), cells.shape)


def end_kinds() -> list:
    """What a bounded side may be, with nothing flowing in: the homogeneous problem."""
    return [dp.Wall(), dp.Wall(slip=True), dp.Inflow(0.0), dp.Outflow(), dp.Open()]


def all_pairs() -> list[tuple]:
    """All 26 pairs of sides of an axis."""
    return [(dp.Periodic(), dp.Periodic()), *itertools.product(end_kinds(), end_kinds())]


def pressure_pairs() -> list[tuple]:
    """The five pairs that differ for the pressure."""
    wall, outflow = dp.Wall(), dp.Outflow()
    return [(dp.Periodic(), dp.Periodic()), (wall, wall), (wall, outflow), (outflow, wall), (outflow, outflow)]


def make_flow(
    grid: dp.Grid, pairs, solid: Shape | None = None, viscosity: float = 0.01, dt: float = 0.1, **settings: Any
) -> dp.IncompressibleFlow:
    sides = dict(zip(grid.axis_names, pairs, strict=True))
    return dp.IncompressibleFlow(grid, viscosity=viscosity, dt=dt, sides=sides, solid=solid, **settings)


def random_velocity(flow: dp.IncompressibleFlow, generator: np.random.Generator, scale: float = 1.0) -> list:
    """A value for every face, independent of its neighbors: no smoothness helps."""
    velocity = []
    for axis in range(flow.grid.dimensions):
        conditions = flow.variables(0.0).velocity[axis]
        offset = tuple(0.0 if other == axis else 0.5 for other in range(flow.grid.dimensions))
        shape = flow.grid.shape(offset, tuple(isinstance(pair[0], dp.Periodic) for pair in conditions))
        values = jnp.asarray(scale * generator.standard_normal(shape))
        velocity.append(dp.Field(values, flow.grid, offset, conditions))
    return velocity


def free_faces(flow: dp.IncompressibleFlow, axis: int) -> np.ndarray:
    """Faces whose normal velocity is free: not on a wall, an inflow or an obstacle. Written without the library."""
    cells, periodic = flow.grid.cells, isinstance(flow.sides[axis][0], dp.Periodic)
    solid = np.zeros(cells, bool) if flow.solid is None else flow.solid.cells
    solid = np.moveaxis(solid, axis, 0)
    count = cells[axis]
    free = np.zeros((count if periodic else count + 1, *solid.shape[1:]), bool)
    for face in range(free.shape[0]):
        if periodic:
            free[face] = ~solid[face - 1] & ~solid[face]
        elif 0 < face < count:
            free[face] = ~solid[face - 1] & ~solid[face]
        else:
            side = flow.sides[axis][0 if face == 0 else 1]
            if isinstance(side, (dp.Outflow, dp.Open)):
                free[face] = ~solid[0 if face == 0 else -1]
    return np.moveaxis(free, 0, axis)


class Domain(NamedTuple):
    """A domain as plain numbers, since Hypothesis wants to see no JAX while it draws."""

    cells: tuple[int, ...]
    size: tuple[float, ...]
    pairs: tuple[int, ...]
    solid: tuple[bool, ...] | None
    widths: tuple[tuple[float, ...], ...] | None = None  # of the cells along each axis of a stretched grid

    def grid(self) -> dp.Grid:
        if self.widths is None:
            return dp.Grid(self.cells, self.size)
        return dp.Grid.from_edges([np.cumsum([0.0, *widths]) for widths in self.widths])

    def flow(self) -> dp.IncompressibleFlow:
        grid, sides = self.grid(), all_pairs()
        solid = None if self.solid is None else mask(np.array(self.solid).reshape(self.cells))
        return make_flow(grid, [sides[index] for index in self.pairs], solid, viscosity=1e-3)


@st.composite
def domains(draw, obstacle: bool | None = None, stretched: bool = False) -> Domain:
    """Any domain: one to three axes, any sides, unequal spacings, any set of solid cells; any widths of `stretched`."""
    cells = draw(st.sampled_from([(5,), (4, 3), (5, 6), (3, 2, 4)]))  # few shapes: each one is compiled anew
    size = tuple(count * draw(st.floats(0.3, 3.0)) for count in cells)
    pairs = tuple(draw(st.integers(0, 25)) for _ in cells)
    solid = None
    if draw(st.booleans()) if obstacle is None else obstacle:
        count = int(np.prod(cells))
        solid = draw(st.lists(st.booleans(), min_size=count, max_size=count))
        solid[draw(st.integers(0, count - 1))] ^= not any(solid) or all(solid)
    widths = None
    if stretched:
        widths = tuple(tuple(draw(st.floats(0.3, 3.0)) for _ in range(count)) for count in cells)
    return Domain(cells, size, pairs, None if solid is None else tuple(solid), widths)
