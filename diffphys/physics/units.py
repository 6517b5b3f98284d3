r"""Systems in the unit of length of their grid's cells, where single precision holds what a step makes.

With cells as small as 1e-12 and speeds of 1e12 an acceleration is 1e36 and a step lasts 1e-24: their product is
harmless, each by itself (and every square of them) is about to leave the range of single precision. Where lengths and
times are measured in cells, and speeds as before, all of it is a speed or its square. The unit is a power of two, so
that going there and back changes no bit. Where the cells are between 1e-5 and 1e5 nothing is done.

With the unit $\lambda$ lengths become $L / \lambda$, times $T / \lambda$, viscosities $\nu / \lambda$; rates,
slopes and accelerations become $\lambda$ times as large; speeds, pressures and scalars stay. `flow_units` does that
for all that belongs to a flow.
"""

import copy
from typing import Any

import jax

from diffphys.grids import Conditions, Field, Grid


def unit_of(grid: Grid) -> float:
    """The unit of length in which a step on this grid is made; 1 where the user's own does as well."""
    if all(1e-5 < unit < 1e5 for unit in grid.units):
        return 1.0
    return min(grid.units)


def step_in(unit: float, system: Any, state: Any, **changed: Any) -> Any:
    """The state after a step that is made in a unit.

    Args:
        unit: The unit.
        system: The system.
        state: Fields in a tree.
        changed: The system's numbers in that unit, save `dt`.
    """
    own = changed_to(system, grid=system.grid.measured(unit), dt=system.dt / unit, **changed)

    def brought(unit: float, grid: Grid, state: Any) -> Any:
        return jax.tree.map(
            lambda field: field_in(unit, grid, field), state, is_leaf=lambda leaf: isinstance(leaf, Field)
        )

    return brought(1 / unit, system.grid, own(brought(unit, own.grid, state)))


def field_in(unit: float, grid: Grid, field: Field) -> Field:
    """A field on the same grid measured in a unit, which is given; its values stay."""
    return Field(field.values, grid, field.offset, conditions_in(unit, field.conditions))


def conditions_in(unit: float, conditions: Conditions) -> Conditions:
    """What holds at the ends, in a unit."""
    return tuple((lower.measured(unit), upper.measured(unit)) for lower, upper in conditions)


def changed_to(module: Any, **changed: Any) -> Any:
    """A module with other fields, which are right by then: nothing is checked or converted anew."""
    made = copy.copy(module)
    for name, value in changed.items():
        object.__setattr__(made, name, value)
    return made
