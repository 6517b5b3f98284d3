"""What a module is made of, declared with its range where it is named.

    class Heat(Declared):
        grid: Grid = eqx.field(static=True)
        diffusivity: Array = eqx.field(converter=quantity, metadata=within(minimum=0.0))
        dt: Array = eqx.field(converter=quantity, metadata=within(above=0.0))
        conditions: Conditions = eqx.field(metadata=ends())
        stepping: Any = eqx.field(static=True, metadata=choice(RungeKutta, Splitting), default=RungeKutta(1))

        def check(self):
            ...  # what else must hold; all of the above is in range by then

A number that a user gives becomes a traced leaf of the default float type. What is no number, not finite, out of its
range, of another shape or of another kind is refused in a sentence that names the class, the field and what is
accepted.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from diffphys.errors import InputError
from diffphys.grids.conditions import check_condition_numbers, check_conditions
from diffphys.grids.grid import check_grid
from diffphys.grids.numbers import as_array_of_shape, as_number, check_number, shown


@dataclasses.dataclass(frozen=True)
class _Range:
    minimum: float
    above: float
    scalar: bool
    cells: bool


def quantity(value: ArrayLike | Sequence[ArrayLike]) -> Array:
    """The converter of a field that holds a number, which becomes a traced array of the default float type."""
    try:
        return as_number(value)
    except InputError:
        return _NoNumber(value)  # pyright: ignore[reportReturnType] (`Declared` refuses it, and knows of which field)


def within(
    *, minimum: float = -np.inf, above: float = -np.inf, scalar: bool = True, cells: bool = False
) -> dict[str, Any]:
    """The metadata of a field that holds a number.

    Args:
        minimum: It is at least this.
        above: It is greater than this.
        scalar: Whether it is one number; else it may be an array.
        cells: Whether it may be an array with an entry for each cell of the module's `grid` instead of one number.
    """
    return {"declared": _Range(minimum, above, scalar and not cells, cells)}


def ends() -> dict[str, Any]:
    """The metadata of a field of a module with a `grid`: for each axis what holds at its (lower, upper) end."""
    return {"declared": _Ends()}


def choice(*accepted: type) -> dict[str, Any]:
    """The metadata of a static field that holds a value of one of these types, as methods are."""
    return {"declared": _Choice(accepted)}


class Declared(eqx.Module):
    """A module whose fields are checked as their metadata declare: `within`, `ends` and `choice`.

    A class says in `check` what else must hold. (A `__check_init__` of its own would run before this one, and meet
    numbers that are none.)
    """

    def __check_init__(self):
        if "grid" in {field.name for field in dataclasses.fields(self)}:
            check_grid(type(self).__name__, self.grid)  # pyright: ignore[reportAttributeAccessIssue]
        for field in dataclasses.fields(self):
            if (declared := field.metadata.get("declared")) is not None:
                _check(self, field.name, getattr(self, field.name), declared)
        self.check()

    def check(self) -> None:
        """Raise `InputError` unless what the class needs beyond its fields' own ranges holds."""


@dataclasses.dataclass(frozen=True)
class _Ends:
    pass


@dataclasses.dataclass(frozen=True)
class _Choice:
    accepted: tuple[type, ...]


@dataclasses.dataclass(frozen=True)
class _NoNumber:
    """What could not be converted, kept until the class that it was given to can say so."""

    given: Any


def _check(module: Any, name: str, value: Any, declared: _Range | _Ends | _Choice) -> None:
    owner = type(module).__name__
    match declared:
        case _Ends():
            check_conditions(value, module.grid.dimensions)
            check_condition_numbers(owner, value)
        case _Choice(accepted):
            if not isinstance(value, accepted):
                names = " or ".join(f"{one.__name__}(...)" for one in accepted)
                raise InputError(f"{owner}: {name} is {shown(value)}; {names} is accepted.")
        case _Range(minimum, above, scalar, cells):
            if isinstance(value, _NoNumber):
                what = "a number" if scalar else "a number or an array of numbers"
                raise InputError(f"{owner}: {name} is {shown(value.given)}; {what} is accepted.")
            check_number(owner, name, value, minimum=minimum, above=above, scalar=scalar)
            # A placeholder that JAX puts in while transforming has no type; a batch of numbers has none of the shapes.
            if cells and getattr(value, "ndim", 0):
                as_array_of_shape(owner, name, value, module.grid.cells)
