"""What a module is made of, declared with its range where it is named.

    class Heat(Declared):
        grid: Grid = eqx.field(static=True)
        diffusivity: Quantity = quantity(minimum=0.0)
        dt: Quantity = quantity(above=0.0)
        conditions: Conditions = ends()
        stepping: RungeKutta | ImplicitExplicit = choice(RungeKutta, ImplicitExplicit, default=RungeKutta(1))

        def check(self):
            ...  # what else must hold; all of the above is in range by then

A number that a user gives becomes a traced leaf of the default float type. What is no number, not finite, out of its
range, of another shape or of another kind is refused in a sentence that names the class, the field and what is
accepted.
"""

import dataclasses
import itertools
from typing import TYPE_CHECKING, Any

import equinox as eqx
import numpy as np
from jax import Array

from diffphys.errors import InputError
from diffphys.grids.conditions import check_condition_numbers, check_conditions
from diffphys.grids.numbers import as_array_of_shape, as_number, check_number
from diffphys.grids.sides import parse_sides


if TYPE_CHECKING:
    Quantity = Any  # whoever makes the module may give a number, a list, an array
else:
    Quantity = Array  # what the field holds


@dataclasses.dataclass(frozen=True)
class _Range:
    minimum: float
    above: float
    scalar: bool
    cells: bool


def quantity(
    *,
    minimum: float = -np.inf,
    above: float = -np.inf,
    scalar: bool = True,
    cells: bool = False,
    default: Any = dataclasses.MISSING,
) -> Any:
    """A field of a `Declared` module that holds a number.

    Args:
        minimum: It is at least this.
        above: It is greater than this.
        scalar: Whether it is one number; else it may be an array.
        cells: Whether it may be an array with an entry for each cell of the module's `grid` instead of one number.
        default: Its value where none is given.
    """
    given: dict[str, Any] = {} if default is dataclasses.MISSING else {"default": default}
    allowed = _Range(minimum, above, scalar and not cells, cells)
    return eqx.field(converter=_converted, metadata={"declared": allowed}, **given)


def ends() -> Any:
    """A field of a `Declared` module with a `grid`: for each axis what holds at its (lower, upper) end."""
    return eqx.field(metadata={"declared": _Ends()})


def sides_among(*accepted: type) -> Any:
    """A field of a `Declared` module with a `grid`: what stands at the sides of its domain, as `parse_sides` takes it.

    Args:
        accepted: The types of sides that the module knows.
    """
    return eqx.field(metadata={"declared": _Sides(accepted)})


def choice(*accepted: type, default: Any = dataclasses.MISSING) -> Any:
    """A static field of a `Declared` module that holds a value of one of these types, as methods are.

    Args:
        accepted: The types.
        default: Its value where none is given.
    """
    given: dict[str, Any] = {} if default is dataclasses.MISSING else {"default": default}
    return eqx.field(static=True, metadata={"declared": _Choice(accepted)}, **given)


class Declared(eqx.Module):
    """A module whose fields are checked as they were declared with `quantity`, `ends`, `sides_among` and `choice`.

    A class says in `check` what else must hold. (A `__check_init__` of its own would run before this one, and meet
    numbers that are none.)
    """

    def __check_init__(self):
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
class _Sides:
    accepted: tuple[type, ...]


@dataclasses.dataclass(frozen=True)
class _Choice:
    accepted: tuple[type, ...]


@dataclasses.dataclass(frozen=True)
class _NoNumber:
    """What could not be converted, kept until the class that it was given to can say so."""

    given: Any


def _converted(value: Any) -> Any:
    try:
        return as_number(value)
    except InputError:
        return _NoNumber(value)


def _check(module: Any, name: str, value: Any, declared: _Range | _Ends | _Sides | _Choice) -> None:
    owner = type(module).__name__
    match declared:
        case _Ends():
            check_conditions(value, module.grid.dimensions)
            check_condition_numbers(owner, value)
        case _Sides(accepted):
            for side in itertools.chain(*parse_sides(module.grid, value)):
                if not isinstance(side, accepted):
                    raise InputError(f"{owner}: {name} has {side!r}; {_names(accepted)} is accepted.")
        case _Choice(accepted):
            if not isinstance(value, accepted):
                raise InputError(f"{owner}: {name} is {value!r}; {_names(accepted)} is accepted.")
        case _Range(minimum, above, scalar, cells):
            if isinstance(value, _NoNumber):
                what = "a number" if scalar else "a number or an array of numbers"
                raise InputError(f"{owner}: {name} is {value.given!r}; {what} is accepted.")
            check_number(owner, name, value, minimum=minimum, above=above, scalar=scalar)
            # A placeholder that JAX puts in while transforming has no type; a batch of numbers has none of the shapes.
            if cells and getattr(value, "ndim", 0):
                as_array_of_shape(owner, name, value, module.grid.cells)


def _names(accepted: tuple[type, ...]) -> str:
    return " or ".join(f"{one.__name__}(...)" for one in accepted)
