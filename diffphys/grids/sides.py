"""What the sides of a domain are, in the words of physics.

A domain has two sides for each axis. Users name what is there; the physics rooms translate it for each variable into
`conditions`. For the velocity of an incompressible flow, its pressure and a scalar carried by it:

| side | normal velocity | tangential velocity | pressure | scalar |
|---|---|---|---|---|
| `Periodic()` | periodic | periodic | periodic | periodic |
| `Wall()` | 0 | the wall's own (no slip) | slope 0 | slope 0 |
| `Wall(slip=True)` | 0 | slope 0 | slope 0 | slope 0 |
| `Wall(slip_length=l)` | 0 | the wall's own plus l times the shear (partial slip) | slope 0 | slope 0 |
| `Inflow(v)` | v into the domain | given (0) | slope 0 | given (0) |
| `Outflow()` | free, slope given (0) | slope given (0) | given (0) outside | where fluid enters: given (as inside) |
| `Open()` | free | slope 0 | 0 outside | where fluid enters: given (as inside) |
| `ConvectiveOutflow(U)` | carried out at U | carried out at U | slope 0 | where fluid enters: given (as inside) |

What fluid that leaves carries is what is inside, at every side and whatever is given there: at an `Inflow` of negative
speed, too. What is given is that of the fluid which enters. Where nothing is given at an `Outflow` or `Open` side, it
brings what is next to the side: air at 300 K everywhere stays at 300 K. Nothing diffuses through these two, nor
through an inflow where fluid leaves; what crosses them is the normal velocity times the value. A scalar that pulls
fluid in, as smoke by its buoyancy, needs what is outside: with central fluxes more enters of what a cell at the side
has too much or too little of, and grows without bound.

Fluid that enters through an `Outflow` or `Open` side comes from rest, so that it brings no kinetic energy: the pressure
given there is its total pressure, $p + |v|^2 / 2$ (the directional do-nothing condition: Bruneau, Fabrie 1994; Braack,
Mucha 2014). Where no fluid enters nothing is changed. With `from_rest=False` it brings the velocity that it has inside,
and its energy: a channel driven by two pressures needs that, but a vortex that leaves can grow without bound. That
holds for schemes of fluxes in stages. With `Splitting` fluid that enters has the velocity on the side; a look-up
never exceeds what is there, and needs no treatment.

At a `ConvectiveOutflow` no pressure is given: what arrives there is carried on as it is, `dv/dt + U dv/dn = 0`
(Orlanski 1976); `physics.flow_sides.with_convective_ends` says how.

What is given is a number, a profile along the side, or a function of time that returns one of them: a plain function,
or an Equinox module whose numbers are then traced.

A function of time is given the nearest number to it, however many steps have led there. In single precision that is
6e-8 of the time: at 1000 `sin(2 pi t)` is right to 4e-4, at 1e5 to 0.05, half of it by the function's own `2 pi t`.
Who needs more writes `sin(2 pi (t % 1))`, sets the clock back after whole periods by `dataclasses.replace`, or computes
in double precision.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from diffphys.errors import InputError
from diffphys.grids.conditions import Periodic
from diffphys.grids.grid import Grid, check_grid
from diffphys.grids.numbers import as_number, check_number, shown


class TimeFunction(eqx.Module):
    """A plain function of time in the place of a number; static, so that another function is compiled anew."""

    function: Callable[[Array], Any] = eqx.field(static=True)

    def __call__(self, time: Array) -> Any:
        return self.function(time)


class _Scaled(eqx.Module):
    """A function of time whose results are in another unit."""

    function: Callable[[Array], Any]
    factor: float = eqx.field(static=True)

    def __call__(self, time: Array) -> Any:
        return jax.tree.map(lambda part: self.factor * jnp.asarray(part), self.function(time))


def _scaled(factor: float, given: Any) -> Any:
    """What a side is given, times a factor: a number, a profile, a function of time, or a tuple of those."""
    if isinstance(given, tuple):
        return tuple(_scaled(factor, part) for part in given)
    return _Scaled(given, factor) if callable(given) else given * factor


def given(name: str) -> Callable[[Any], Any]:
    """The converter of what a side is given: a number, a profile, or a function of time; or a sequence of those."""

    def convert(value: Any) -> Any:
        if isinstance(value, (tuple, list)) and any(callable(part) or np.ndim(part) for part in value):
            return tuple(convert(part) for part in value)
        if callable(value):
            return value if isinstance(value, eqx.Module) else TimeFunction(value)
        return as_number(value, name)

    return convert


def _given_or_none(name: str) -> Callable[[Any], Any]:
    convert = given(name)
    return lambda value: None if value is None else convert(value)


class _Bounding(eqx.Module):
    """What is at a side that bounds the domain.

    Attributes:
        is_free: Whether fluid leaves and enters as the pressure there has it; else its normal velocity is given.
        kind: What it is, without its numbers.
    """

    is_free: ClassVar[bool] = False

    @property
    def kind(self) -> str:
        return type(self).__name__

    def measured(self, unit: float) -> "Side":
        """The same where lengths are measured in a unit, and speeds as before; functions are given the user's time."""
        return self  # pyright: ignore[reportReturnType]


class Wall(_Bounding):
    """A wall that nothing passes.

    Args:
        velocity: The wall's own tangential velocity: one number for each tangential axis, or one number for all; or a
            function of time.
        slip: If true the fluid slips along it without friction.
        slip_length: How far behind the wall the velocity, continued along its slope there, is that of the wall: the
            fluid beside it moves at the wall's velocity plus `slip_length` times the derivative into the fluid (Navier
            1823). A number of at least 0, or a function of time. Default: none, the fluid sticks.

    Examples:
        >>> lid = dp.Wall(velocity=1.0)  # of a driven cavity
        >>> sides = dict(x=dp.Wall(), y=(dp.Wall(), lid))
    """

    velocity: Any = eqx.field(converter=given("Wall: velocity"), default=0.0)
    slip: bool = eqx.field(static=True, default=False)
    slip_length: Any = eqx.field(converter=_given_or_none("Wall: slip_length"), default=None)

    def __check_init__(self):
        _check_truth("Wall", slip=self.slip)
        if self.slip and self.slip_length is not None:
            raise InputError("Wall: slip is True and slip_length is given; one of the two is accepted.")

    @property
    def kind(self) -> str:
        return "Wall (slip)" if self.slip else "Wall" if self.slip_length is None else "Wall (slip length)"

    def measured(self, unit: float) -> "Wall":
        if self.slip_length is None:
            return self
        return dataclasses.replace(self, slip_length=_scaled(1 / unit, self.slip_length))


class Inflow(_Bounding):
    """Fluid enters at a prescribed velocity.

    Args:
        speed: Normal speed *into* the domain: a number, or a profile with an entry for each cell along the tangential
            axes (negative: fluid is sucked out); or a function of time that returns one.
        scalar: What a carried scalar has where fluid enters, or a function of time.
        tangential: The velocity along the side: one number for all tangential axes, or a tuple with an entry for each,
            a number, a profile over the points of that velocity component, or a function of time.

    Examples:
        >>> parabola = dp.Inflow(1.0 - jnp.linspace(-1.0, 1.0, 16) ** 2)  # one number for each cell of the side
        >>> sides = dict(x=(parabola, dp.Outflow()), y=dp.Wall())
    """

    speed: Any = eqx.field(converter=given("Inflow: speed"))
    scalar: Any = eqx.field(converter=given("Inflow: scalar"), default=0.0)
    tangential: Any = eqx.field(converter=given("Inflow: tangential"), default=0.0)


class Outflow(_Bounding):
    """Fluid leaves freely: slopes vanish and so does the pressure outside, unless other values are given.

    Fluid may enter as well: see the head of this file.

    Args:
        pressure: The kinematic pressure on the side: a number, or a profile with an entry for each cell along the
            tangential axes; or a function of time that returns one.
        slope: The derivative of the velocity along the outward normal: one number for all components, or a tuple with
            an entry for each, a number, a profile over the points of that component, or a function of time.
        scalar: What a carried scalar has outside, where fluid enters, or a function of time. Default: as inside.
        from_rest: Whether fluid that enters comes from rest, so that it brings no energy.

    Examples:
        >>> sides = dict(x=(dp.Inflow(1.0), dp.Outflow()), y=dp.Wall())
    """

    is_free: ClassVar[bool] = True
    pressure: Any = eqx.field(converter=given("Outflow: pressure"), default=0.0)
    slope: Any = eqx.field(converter=given("Outflow: slope"), default=0.0)
    scalar: Any = eqx.field(converter=_given_or_none("Outflow: scalar"), default=None)
    from_rest: bool = eqx.field(static=True, default=True)

    def __check_init__(self):
        _check_truth("Outflow", from_rest=self.from_rest)

    def measured(self, unit: float) -> "Outflow":
        return dataclasses.replace(self, slope=_scaled(unit, self.slope))


class ConvectiveOutflow(_Bounding):
    """Fluid leaves, and takes along what it brings: `dv/dt + U dv/dn = 0` along the outward normal n (Orlanski 1976).

    A vortex passes with little reflection, where at `Outflow` and `Open` a given pressure holds its middle back. No
    pressure is given, so the normal velocities on all such sides are shifted together until as much leaves as enters.

    Args:
        speed: The speed U at which all is carried out, at least 0: a number or a function of time. Default: the mean
            normal velocity through the side at that moment, as long as it is positive.
        scalar: What a carried scalar has outside, where fluid enters, or a function of time. Default: as inside.
    """

    speed: Any = eqx.field(converter=_given_or_none("ConvectiveOutflow: speed"), default=None)
    scalar: Any = eqx.field(converter=_given_or_none("ConvectiveOutflow: scalar"), default=None)

    @property
    def kind(self) -> str:
        return "ConvectiveOutflow" if self.speed is None else "ConvectiveOutflow (given speed)"


class Open(_Bounding):
    """Fluid leaves and enters freely; the pressure is zero outside.

    Args:
        scalar: What a carried scalar has outside, where fluid enters, or a function of time. Default: as inside.
        from_rest: Whether fluid that enters comes from rest, so that it brings no energy: see the head of this file.

    Examples:
        >>> sides = dict(x=dp.Wall(), y=(dp.Wall(), dp.Open()))  # a room without a ceiling
    """

    is_free: ClassVar[bool] = True
    scalar: Any = eqx.field(converter=_given_or_none("Open: scalar"), default=None)
    from_rest: bool = eqx.field(static=True, default=True)

    def __check_init__(self):
        _check_truth("Open", from_rest=self.from_rest)


def _check_truth(owner: str, **given: Any) -> None:
    for name, value in given.items():
        if not isinstance(value, (bool, np.bool_)):
            raise InputError(f"{owner}: {name} is {shown(value)}; True or False is accepted.")


Side = Periodic | Wall | Inflow | Outflow | Open | ConvectiveOutflow
Sides = tuple[tuple[Side, Side], ...]
"""For each axis what is at its (lower, upper) side."""


def periods(grid: Grid, sides: "Sides") -> tuple[float | None, ...]:
    """For each axis its period, or None where it is bounded: what `Shape.repeated` asks for."""
    return tuple(
        length if isinstance(lower, Periodic) else None for length, (lower, _) in zip(grid.size, sides, strict=True)
    )


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
    check_grid("parse_sides", grid)
    if isinstance(sides, Side):
        sides = {name: sides for name in grid.axis_names}
    if isinstance(sides, Sequence) and not isinstance(sides, str) and len(sides) == grid.dimensions:
        sides = dict(zip(grid.axis_names, sides, strict=True))
    if not isinstance(sides, Mapping):
        raise InputError(
            f"sides: {shown(sides)} was given; a side, or one for each of the axes {grid.axis_names} is accepted."
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
            f"sides: axis {name} was given {shown(given)}; Periodic(), Wall(), Inflow(speed), Outflow(), Open(), "
            "ConvectiveOutflow() or a pair (lower, upper) of them is accepted."
        )
    lower, upper = pair
    if isinstance(lower, Periodic) != isinstance(upper, Periodic):
        raise InputError(
            f"sides: axis {name} is periodic at one end only; Periodic() at both ends or at none is accepted."
        )
    tangential = tuple(cells for other, cells in enumerate(grid.cells) if other != axis)
    for side in pair:
        if isinstance(side, ConvectiveOutflow) and side.speed is not None and not callable(side.speed):
            check_number("ConvectiveOutflow", f"speed on axis {name}", side.speed, minimum=0.0)
        if (
            isinstance(side, (Inflow, Outflow, Open, ConvectiveOutflow))
            and side.scalar is not None
            and not callable(side.scalar)
        ):
            check_number(type(side).__name__, f"scalar on axis {name}", side.scalar)
        if isinstance(side, Inflow):
            _check_profile("Inflow", f"speed on axis {name}", side.speed, tangential)
            _check_parts("Inflow", f"tangential on axis {name}", side.tangential, grid.dimensions - 1)
        if isinstance(side, Outflow):
            _check_profile("Outflow", f"pressure on axis {name}", side.pressure, tangential)
            _check_parts("Outflow", f"slope on axis {name}", side.slope, grid.dimensions)
        if isinstance(side, Wall) and side.slip_length is not None and not callable(side.slip_length):
            check_number("Wall", f"slip_length on axis {name}", side.slip_length, minimum=0.0)
        if isinstance(side, Wall) and not callable(side.velocity):
            _check_parts("Wall", f"velocity on axis {name}", side.velocity, grid.dimensions - 1)
            if (
                not isinstance(side.velocity, tuple)
                and side.velocity.ndim
                and side.velocity.shape != (grid.dimensions - 1,)
            ):
                raise InputError(
                    f"Wall: velocity on axis {name} has shape {side.velocity.shape}; a number or one for each of the "
                    f"{grid.dimensions - 1} tangential axes is accepted."
                )
    return lower, upper


def _check_profile(owner: str, name: str, value: Any, shape: tuple[int, ...]) -> None:
    if callable(value):
        return
    check_number(owner, name, value, scalar=False)
    if value.ndim and value.shape != shape:
        raise InputError(
            f"{owner}: {name} has shape {value.shape}; a number or a profile of shape {shape}, one entry for each cell "
            "along the side, is accepted."
        )


def _check_parts(owner: str, name: str, value: Any, count: int) -> None:
    parts = value if isinstance(value, tuple) else (value,)
    if isinstance(value, tuple) and len(parts) != count:
        raise InputError(
            f"{owner}: {name} has {len(parts)} entries; one number or one entry for each of {count} is accepted."
        )
    for part in parts:
        if not callable(part):
            check_number(owner, name, part, scalar=False)


def part_of(value: Any, index: int) -> Any:
    """The entry for one component of what is given for all or for each."""
    if isinstance(value, tuple):
        return value[index]
    return value if value.ndim == 0 else value[index]


def depends_on_time(sides: Any) -> bool:
    """Whether something that sides, or another tree, are given is a function of time."""
    return any(callable(leaf) for leaf in jax.tree.leaves(sides, is_leaf=_is_function))


def sides_at(sides: Any, time: ArrayLike) -> Any:
    """The sides, or another tree of what sides are given, at a moment: functions of time are replaced by their
    values.
    """

    def at(leaf: Any) -> Any:
        return given("a side's function of time")(leaf(jnp.asarray(time))) if _is_function(leaf) else leaf

    return jax.tree.map(at, sides, is_leaf=_is_function)


def _is_function(leaf: Any) -> bool:
    return callable(leaf) and not isinstance(leaf, (Side, Array))
