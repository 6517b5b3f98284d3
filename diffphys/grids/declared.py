"""What a module is made of, declared with its range where it is named: see `Declared`."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from diffphys.errors import InputError
from diffphys.grids.conditions import check_condition_numbers, check_conditions
from diffphys.grids.grid import Grid, check_grid
from diffphys.grids.numbers import as_array_of_shape, as_number, as_whole, check_number, concrete, shown
from diffphys.grids.shapes import Shape
from diffphys.grids.sides import parse_sides


Refusals = Iterator[tuple[bool, str]]
"""Conditions, each with the sentence that is said where it holds."""


class Limit(NamedTuple):
    """A bound on the length of a step.

    Attributes:
        ratio: The step over the longest that is accepted, at most one.
        given: On what the longest depends, for the sentence: "with this ...".
        beyond: What happens beyond it, "beyond which ...", or another end of the sentence.
    """

    ratio: Array
    given: str
    beyond: str


@dataclasses.dataclass(frozen=True)
class _Range:
    minimum: float
    above: float
    scalar: bool
    cells: bool


@dataclasses.dataclass(frozen=True)
class _Ends:
    pass


@dataclasses.dataclass(frozen=True)
class _Choice:
    accepted: tuple[type, ...]
    words: str


@dataclasses.dataclass(frozen=True)
class _Axes:
    counts: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class _Sides:
    accepted: tuple[type, ...]


@dataclasses.dataclass(frozen=True)
class _Count:
    least: int


@dataclasses.dataclass(frozen=True)
class _Each:
    of: Any


@dataclasses.dataclass(frozen=True)
class _NoNumber:
    """What could not be converted, kept until the class that it was given to can say so."""

    given: Any


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


def at_ends() -> dict[str, Any]:
    """The metadata of a field of a module with a `grid`: for each axis what holds at its (lower, upper) end."""
    return {"declared": _Ends()}


def choice(*accepted: type, words: str = "") -> dict[str, Any]:
    """The metadata of a field that holds a value of one of these types, as methods are; `words` name them."""
    return {"declared": _Choice(accepted, words or " or ".join(f"{one.__name__}(...)" for one in accepted))}


def uniform(*counts: int) -> dict[str, Any]:
    """The metadata of a `grid` that has so many axes, all of them uniform."""
    return {"declared": _Axes(counts)}


def sides_of(*accepted: type) -> dict[str, Any]:
    """The metadata of a field that holds the sides of the module's `grid`, all of these kinds."""
    return {"declared": _Sides(accepted)}


def whole(least: int = 1) -> dict[str, Any]:
    """The metadata of a static field, with `numbers.plain` as converter, that holds a whole number of at least this."""
    return {"declared": _Count(least)}


def each(declared: dict[str, Any]) -> dict[str, Any]:
    """The metadata of a field that holds for each axis what this declares, or None."""
    return {"declared": _Each(declared["declared"])}


class Declared(eqx.Module):
    """A module whose fields are checked as their metadata declare.

    A number that a user gives becomes a traced leaf of the default float type: changing it compiles nothing anew, and
    it has a gradient. What is no number, not finite, out of its range, of another shape or of another kind is refused
    in a sentence that names the class, the field and what is accepted; what is traced passes.

    A class says in `limits` how long a step may be, and in `refused` what else must not be. (A `__check_init__` of its
    own would run before this one, and meet numbers that are none.)

    Raises:
        InputError: where a field is not what it declares, or `dt` is beyond a limit.

    Examples:
        >>> import equinox as eqx
        >>> from diffphys.grids import Declared, Limit, quantity, within
        >>> class Relaxation(Declared):
        ...     grid: dp.Grid = eqx.field(static=True)
        ...     rest: jax.Array = eqx.field(converter=quantity, metadata=within(cells=True))
        ...     time: jax.Array = eqx.field(converter=quantity, metadata=within(above=0.0))
        ...     dt: jax.Array = eqx.field(converter=quantity, metadata=within(above=0.0))
        ...
        ...     def limits(self):
        ...         yield Limit(self.dt / (2 * self.time), "this time", "beyond which it grows")
        >>> Relaxation(dp.Grid((8,)), rest=1, time=0.1, dt=0.3)
        Traceback (most recent call last):
        ...
        InputError: Relaxation: dt is 0.3; with this time at most 0.2 is accepted, beyond which it grows.
    """

    def __check_init__(self):
        owner = type(self).__name__
        if "grid" in {field.name for field in dataclasses.fields(self)}:
            check_grid(owner, self.grid)  # pyright: ignore[reportAttributeAccessIssue]
        for field in dataclasses.fields(self):
            if (declared := field.metadata.get("declared")) is not None:
                _check(self, field.name, getattr(self, field.name), declared)
        refuse(owner, self.refused())
        if (dt := concrete(getattr(self, "dt", None))) is not None:
            with jax.ensure_compile_time_eval():  # what is known is known, also where the module is made inside of jit
                refuse(owner, _longer(float(dt), self.limits()))

    def limits(self) -> Iterable[Limit]:
        """How long a step, `dt`, may be; what is traced passes."""
        return ()

    def refused(self) -> Refusals:
        """What is refused besides; all fields are in their own ranges."""
        yield from ()


def refuse(owner: str, refusals: Refusals) -> None:
    """Raise `InputError` with the first sentence whose condition holds."""
    for holds, sentence in refusals:
        if holds:
            raise InputError(f"{owner}: {sentence}")


def wrong_shape(name: str, given: ArrayLike, *accepted: tuple[int, ...]) -> Refusals:
    """An array is refused whose shape is none of these."""
    shape, *others = (f"of shape {one}" if one else "one number" for one in accepted)
    words = " or ".join([*others, shape])
    yield np.shape(given) not in accepted, f"{name} has shape {np.shape(given)}; {words} is accepted."


def not_among(name: str, value: Any, accepted: Iterable[str]) -> Refusals:
    """A value is refused that is none of these names."""
    names = sorted(accepted)
    yield value not in names, f"{name} is {shown(value)}; one of {names} is accepted."


def misplaced(name: str, region: Shape | None, grid: Grid) -> Refusals:
    """A region is refused that is no shape of as many axes as a grid has; None is a region nowhere."""
    if region is None:
        return
    yield not isinstance(region, Shape), f"{name} is {shown(region)}; a shape is accepted."
    try:
        jax.eval_shape(region.contains, grid.centers())
    except InputError as error:
        yield True, f"{name} does not fit the grid. {error}"


def _longer(dt: float, limits: Iterable[Limit]) -> Refusals:
    for limit in limits:
        if (ratio := concrete(limit.ratio)) is not None and ratio > 1 + 1e-6:
            longest = dt / float(ratio)
            yield True, f"dt is {dt:g}; with {limit.given} at most {longest:g} is accepted, {limit.beyond}."


def _check(module: Any, name: str, value: Any, declared: Any) -> None:
    owner = type(module).__name__
    match declared:
        case _Ends():
            check_conditions(value, module.grid.dimensions)
            check_condition_numbers(owner, value)
        case _Choice(accepted, words):
            if not isinstance(value, accepted):
                raise InputError(f"{owner}: {name} is {shown(value)}; {words} is accepted.")
        case _Axes(counts):
            if value.dimensions not in counts or not all(value.uniform):
                numbers = " or ".join(("no", "one", "two", "three")[number] for number in counts)
                raise InputError(f"{owner}: {name} is {value}; one of {numbers} uniform axes is accepted.")
        case _Sides(accepted):
            for side in (side for pair in parse_sides(module.grid, value) for side in pair):
                if not isinstance(side, accepted):
                    *most, last = (f"{one.__name__}()" for one in accepted)
                    words = f"{', '.join(most)} or {last}"
                    raise InputError(f"{owner}: {name} has {side!r}; {words} is accepted.")
        case _Count(least):
            if as_whole(value, least) is None:
                raise InputError(f"{owner}: {name} is {shown(value)}; a whole number of at least {least} is accepted.")
        case _Each(of):
            if not isinstance(value, tuple):
                raise InputError(f"{owner}: {name} is {shown(value)}; a number or None for each axis is accepted.")
            for index, one in enumerate(value):
                if one is not None:
                    _check(module, f"{name}[{index}]", one, of)
        case _Range(minimum, above, scalar, cells):
            if isinstance(value, _NoNumber):
                what = "a number" if scalar else "a number or an array of numbers"
                raise InputError(f"{owner}: {name} is {shown(value.given)}; {what} is accepted.")
            check_number(owner, name, value, minimum=minimum, above=above, scalar=scalar)
            # A placeholder that JAX puts in while transforming has no type; a batch of numbers has none of the shapes.
            if cells and getattr(value, "ndim", 0):
                as_array_of_shape(owner, name, value, module.grid.cells)
