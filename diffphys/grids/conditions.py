"""What a field does at the two ends of an axis: the vocabulary of the operators.

Users name physics (`Wall`, `Inflow`, ...: see `sides`); the physics rooms translate that, variable by variable, into
the few conditions below. A condition is a kind of end (see `ends`) with its numbers. It says what stands in the *ghost
points* beyond, and follows the arithmetic of fields exactly: if `f` is fixed at 1, `f + 1` is fixed at 2, and
`f * g` is fixed only where both factors are.

With the boundary at distance d from an interior point and from its mirror image beyond the end:

| condition | ghost value |
|---|---|
| `Dirichlet(v)`: the value at the boundary is v | `2 v - interior` |
| `Neumann(s)`: the derivative along the outward normal is s | `interior + 2 d s` |
| `Robin(v, l)`: the value there plus l times that derivative is v | `interior + 2 d (v - interior) / (l + d)` |
| `Ghost(v)`: the points beyond the boundary hold v | `v` |
| `Kept()`: the value at a point on the boundary is what it is | `2 (value there) - interior` |
| `Periodic()` | the value one period away |
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffphys.errors import InputError
from diffphys.grids.axes import at_axis, slice_axis
from diffphys.grids.ends import ENDS, End, Kind
from diffphys.grids.numbers import check_number, concrete, constant_of, number, shown
from diffphys.linear import linear_map


class Condition(eqx.Module):
    """What holds at one end of an axis. Final classes: `Periodic`, `Dirichlet`, `Neumann`, `Robin`, `Ghost`,
    `Kept`, `Unknown`.

    Attributes:
        kind: The name of its kind, where it is a kind that `ends` knows.
        end: What that kind of end does to values; None where there is no mirror.
        value_on_side: The value that a point on the side is given; None where it is given none.
        extra_length: How far beyond the side the given value stands on a straight continuation; None where no condition
            of that kind holds. What lies beyond such an end is no mirror image.
    """

    kind: ClassVar[Kind | None] = None
    end: ClassVar[End | None] = None

    @property
    def value_on_side(self) -> Array | None:
        return None

    @property
    def extra_length(self) -> Array | None:
        return None

    def measured(self, unit: float) -> "Condition":
        """The same where lengths are measured in a unit."""
        return self


class Periodic(Condition):
    """The axis closes upon itself. Both ends must be periodic; as a side of a domain it has the same meaning.

    Examples:
        >>> ring = dp.Heat(dp.Grid((8,), (1.0,)), 1.0, 0.005, ((dp.Periodic(), dp.Periodic()),))
        >>> box = dp.IncompressibleFlow(dp.Grid((8, 8), (1.0, 1.0)), viscosity=0.01, dt=0.01, sides=dp.Periodic())
    """

    kind: ClassVar[Kind | None] = "periodic"

    def measured(self, unit: float) -> "Periodic":
        return self


class Dirichlet(Condition):
    """The value on the boundary is fixed. `value`: a number, or an array of extent 1 along the axis.

    Examples:
        >>> ends = ((dp.Dirichlet(0.0), dp.Dirichlet(1.0)),)  # of one axis
        >>> rod = dp.Heat(dp.Grid((8,), (1.0,)), diffusivity=1.0, dt=0.005, conditions=ends)
    """

    kind: ClassVar[Kind | None] = "dirichlet"
    end: ClassVar[End | None] = ENDS["dirichlet"]
    value: Array = eqx.field(converter=number("Dirichlet: value"), default=0.0)

    @property
    def value_on_side(self) -> Array:
        return self.value


class Neumann(Condition):
    """The derivative along the *outward* normal is fixed. `slope`: a number, or an array of extent 1 along the axis.

    Examples:
        >>> insulated = ((dp.Neumann(0.0), dp.Neumann(0.0)),)
        >>> rod = dp.Heat(dp.Grid((8,), (1.0,)), diffusivity=1.0, dt=0.005, conditions=insulated)
    """

    kind: ClassVar[Kind | None] = "neumann"
    end: ClassVar[End | None] = ENDS["neumann"]
    slope: Array = eqx.field(converter=number("Neumann: slope"), default=0.0)

    def measured(self, unit: float) -> "Neumann":
        return Neumann(self.slope * unit)


class Robin(Condition):
    r"""The value on the boundary and the derivative along the *outward* normal are bound to each other:
    $f + \ell\, \partial f / \partial n = v$.

    A straight continuation reaches $v$ at the distance $\ell$ beyond the boundary: a slip length (Navier 1823), or the
    conductivity of a body over its heat transfer coefficient. With $\ell = 0$ it is `Dirichlet`, and the longer
    $\ell$, the nearer to `Neumann(0)`. To the values beside it it is an end of given slope, $(v - f) / (\ell + d)$ at
    the distance d from the boundary, which is of second order; a point on the boundary is free.

    Attributes:
        value: A number, or an array of extent 1 along the axis.
        length: The same, at least 0; where points lie on the boundary, above 0.
    """

    end: ClassVar[End | None] = ENDS["neumann"]
    value: Array = eqx.field(converter=number("Robin: value"), default=0.0)
    length: Array = eqx.field(converter=number("Robin: length"), default=0.0)

    @property
    def extra_length(self) -> Array:
        return self.length

    def measured(self, unit: float) -> "Robin":
        return Robin(self.value, self.length / unit)


class Ghost(Condition):
    """The points beyond the boundary hold a fixed value, as the pressure does outside of an outflow.

    With it the gradient on the boundary face is `(value - interior) / h`, which makes the gradient exactly minus the
    transpose of the divergence, boundary faces included.
    """

    kind: ClassVar[Kind | None] = "ghost"
    end: ClassVar[End | None] = ENDS["ghost"]
    value: Array = eqx.field(converter=number("Ghost: value"), default=0.0)


class Kept(Condition):
    """A point on the boundary has the value that it has: no operator changes it, another rule does.

    As `Dirichlet` with that value; for fields with points on the boundary only.
    """

    end: ClassVar[End | None] = ENDS["dirichlet"]


class Unknown(Condition):
    """Nothing is known beyond this end. Asking for a ghost value raises."""


Conditions = tuple[tuple[Condition, Condition], ...]
"""For each axis what holds at its (lower, upper) end."""


def is_periodic(pair: tuple[Condition, Condition]) -> bool:
    """Whether these are the ends of an axis that closes upon itself."""
    return isinstance(pair[0], Periodic)


def end_of(condition: Condition | type[Condition]) -> End:
    """What a condition that `ends` knows does to values."""
    assert condition.end is not None
    return condition.end


def fixes_points(condition: Condition | type[Condition]) -> bool:
    """Whether a point on the side has a fixed value there, and is no unknown."""
    return condition.end is not None and condition.end.fixes_points


def check_conditions(conditions: Conditions, dimensions: int) -> None:
    """Raise `InputError` unless there is a pair for every axis and an axis is periodic at both ends or at none."""
    if not isinstance(conditions, Sequence) or len(conditions) != dimensions:
        raise InputError(
            f"conditions: {shown(conditions)} was given; a (lower, upper) pair for each of {dimensions} axes is "
            "accepted."
        )
    for axis, pair in enumerate(conditions):
        if not isinstance(pair, Sequence) or len(pair) != 2 or not all(isinstance(end, Condition) for end in pair):
            raise InputError(
                f"conditions: axis {axis} was given {shown(pair)}; a pair (lower, upper) of Periodic(), "
                "Dirichlet(value), Neumann(slope), Robin(value, length), Ghost(value), Kept() or Unknown() is "
                "accepted."
            )
        if isinstance(pair[0], Periodic) != isinstance(pair[1], Periodic):
            raise InputError(f"conditions: axis {axis} is periodic at one end only; Periodic at both ends is accepted.")


def check_profiles(conditions: Conditions, shape: tuple[int, ...]) -> None:
    """Raise `InputError` unless every condition holds a number or a profile that fits an array of this shape."""
    for axis, pair in enumerate(conditions):
        expected = tuple(1 if other == axis else extent for other, extent in enumerate(shape))
        for condition in pair:
            for value in vars(condition).values():
                given = jnp.shape(value)
                if given and (
                    len(given) != len(shape)
                    or any(one not in (1, full) for one, full in zip(given, expected, strict=True))
                ):
                    raise InputError(
                        f"conditions: a profile of shape {given} is given on axis {axis} of a field of shape {shape}; "
                        f"a number or an array of shape {expected} is accepted."
                    )


def check_condition_numbers(owner: str, conditions: Conditions) -> None:
    """Raise `InputError` unless all numbers in the conditions are finite; traced ones pass."""
    for axis, pair in enumerate(conditions):
        for condition in pair:
            for name, value in vars(condition).items():
                kind = type(condition).__name__
                least = 0.0 if name == "length" else -np.inf
                named = f"conditions on axis {axis}: {name} of {kind}"
                check_number(owner, named, value, minimum=least, scalar=False)


def added(first: Condition, second: Condition) -> Condition:
    """The condition of a sum."""
    return _combined(first, second, lambda a, b: a + b, linear=True)


def multiplied(first: Condition, second: Condition) -> Condition:
    """The condition of a product: `(f g)' = f' g + f g'` is not fixed by two slopes, so only values survive."""
    return _combined(first, second, lambda a, b: a * b, linear=False)


def scaled(condition: Condition, factor: Array) -> Condition:
    """The condition of `factor * field`."""
    match condition:
        case Dirichlet(value=value):
            return Dirichlet(factor * value)
        case Neumann(slope=slope):
            return Neumann(factor * slope)
        case Ghost(value=value):
            return Ghost(factor * value)
        case Robin(value=value, length=length):
            return Robin(factor * value, length)
    return condition


def shifted(condition: Condition, constant: Array) -> Condition:
    """The condition of `field + constant`: a fixed value moves, a slope does not."""
    match condition:
        case Dirichlet(value=value):
            return Dirichlet(value + constant)
        case Ghost(value=value):
            return Ghost(value + constant)
        case Robin(value=value, length=length):
            return Robin(value + constant, length)
    return condition


def homogeneous(condition: Condition) -> Condition:
    """The same condition with zero for what is given: that of a change of the field."""
    if isinstance(condition, Robin):
        return Robin(length=condition.length)
    return type(condition)() if condition.end else condition


def _combined(first: Condition, second: Condition, operation: Any, *, linear: bool) -> Condition:
    if isinstance(first, Periodic) != isinstance(second, Periodic):
        raise InputError("Field: one operand is periodic along an axis, the other is not; equal topology is accepted.")
    match first, second:
        case (Periodic(), Periodic()) | (Kept(), Kept()):
            return first
        case Dirichlet(value=a), Dirichlet(value=b):
            return Dirichlet(operation(a, b))
        case Ghost(value=a), Ghost(value=b):
            return Ghost(operation(a, b))
        case Neumann(slope=a), Neumann(slope=b) if linear:
            return Neumann(operation(a, b))
        case Robin(value=a, length=one), Robin(value=b, length=other) if linear and one is other:
            return Robin(operation(a, b), one)
    return Unknown()


def pad_axis(
    values: Array,
    axis: int,
    conditions: tuple[Condition, Condition],
    widths: tuple[int, int],
    *,
    offset: float,
    spacing: float | np.ndarray,
) -> Array:
    """`values` with `widths` ghost points before and behind along `axis`.

    Args:
        values: Array of the values on the grid's points; it may have been padded along other axes already.
        axis: Axis along which to pad.
        conditions: What holds at the lower and the upper end.
        widths: How many ghost points to put there.
        offset: 0.5 if the boundary lies half a cell before the first point, 0.0 if the first point lies on it.
        spacing: Distance between points along the axis; along a stretched one the widths of its cells. Ghost points
            are the mirror images of points within, there too.

    Raises:
        InputError: if a ghost value is asked for where no condition defines it.
    """
    if not any(widths):
        return values
    copies, constants = [], []
    for lower, width, condition in zip((True, False), widths, conditions, strict=True):
        copy, constant = None, None
        if width:
            copy, constant = _ghosts(values, axis, condition, width, offset, spacing, lower=lower)
        copies.append(copy)
        constants.append(constant)
    extension = _Extension(axis, widths, tuple(copies), tuple(constant is not None for constant in constants))
    given = [values, *(constant for constant in constants if constant is not None)]
    return linear_map(extension.extended, extension.folded, (), given)[0]


def with_flux_images(flux: Array, axis: int, widths: tuple[int, int], periodic: bool, *, odd: bool) -> Array:
    """`flux` with ghost points such that the ghost cells have the divergence of the cells whose images they are.

    Beyond a side the flux along the normal is mirrored about its value there (`odd`), that across it plainly: whatever
    the velocity's own conditions say, this keeps the fourth-order scheme skew-symmetric next to the sides.
    """
    if periodic:
        return pad_axis(flux, axis, (Periodic(), Periodic()), widths, offset=0.5, spacing=1.0)
    if not odd:  # a mirror image beyond an end is that of a slope of zero between the points
        return pad_axis(flux, axis, (Neumann(0.0), Neumann(0.0)), widths, offset=0.5, spacing=1.0)
    return pad_axis(flux, axis, (Kept(), Kept()), widths, offset=0.0, spacing=1.0)


@dataclasses.dataclass(frozen=True)
class _Copy:
    """Points of an axis, `start` to `stop`, that are copied to one of its ends: times a factor, perhaps mirrored, and
    added to twice the value at `about`, the point on the mirror.
    """

    start: int
    stop: int
    factor: float = 1.0
    mirrored: bool = False
    about: int | None = None

    def of(self, values: Array, axis: int) -> Array:
        copied = self.turned(slice_axis(values, axis, self.start, self.stop), axis)
        return copied if self.about is None else copied + 2 * slice_axis(values, axis, self.about, self.about + 1)

    def back(self, ghosts: Array, axis: int) -> tuple[Array, int]:
        """The transpose: what comes to points from the ghosts, and which of the points is the first."""
        turned = self.turned(ghosts, axis)
        if self.about is None:
            return turned, self.start
        both = [2 * jnp.sum(ghosts, axis, keepdims=True), turned]
        return jnp.concatenate(both if self.about < self.start else both[::-1], axis), min(self.about, self.start)

    def turned(self, values: Array, axis: int) -> Array:
        turned = jnp.flip(values, axis) if self.mirrored and self.stop - self.start > 1 else values
        return turned if self.factor == 1.0 else self.factor * turned


@dataclasses.dataclass(frozen=True)
class _Extension:
    """An axis with ghost points at its ends, as a linear map of the values and of what is added to the ghosts.

    Both directions end in an array in memory (the barrier): fused into the loops that read it, each entry would be
    computed again for each reader, with branches for the ends.
    """

    axis: int
    widths: tuple[int, int]
    copies: tuple[_Copy | None, ...]
    added: tuple[bool, ...]

    def extended(self, _: Sequence[Array], operands: Sequence[Array]) -> list[Array]:
        values, *given = operands
        added = iter(given)
        ghosts = []
        for width, copy, has_more in zip(self.widths, self.copies, self.added, strict=True):
            parts = [] if copy is None else [copy.of(values, self.axis)]
            parts += [next(added)] if has_more else []
            ghosts.append([sum(parts[1:], parts[0])] if width else [])
        return [jax.lax.optimization_barrier(jnp.concatenate([*ghosts[0], values, *ghosts[1]], self.axis))]

    def folded(self, _: Sequence[Array], cotangents: Sequence[Array]) -> list[Array]:
        (cotangent,) = cotangents
        count = cotangent.shape[self.axis] - sum(self.widths)
        first, last = self.widths[0], self.widths[0] + count
        ends = (
            slice_axis(cotangent, self.axis, 0, first),
            slice_axis(cotangent, self.axis, last, cotangent.shape[self.axis]),
        )
        values = slice_axis(cotangent, self.axis, first, last)
        for copy, end in zip(self.copies, ends, strict=True):
            if copy is not None:
                values = jax.lax.optimization_barrier(values)
                given_back, start = copy.back(end, self.axis)
                changed = slice_axis(values, self.axis, start, start + given_back.shape[self.axis]) + given_back
                values = jax.lax.dynamic_update_slice_in_dim(values, changed, start, self.axis)
        return [values, *(end for end, has_more in zip(ends, self.added, strict=True) if has_more)]


def _ghosts(
    values: Array,
    axis: int,
    condition: Condition,
    width: int,
    offset: float,
    spacing: float | np.ndarray,
    *,
    lower: bool,
) -> tuple[_Copy | None, Array | None]:
    """The ghost points of one end: what is copied there, and what is added to that."""
    count = values.shape[axis]
    if isinstance(condition, Periodic):
        if width > count:
            raise InputError(
                f"pad_axis: {width} ghost points asked for along an axis of {count}; at most {count} are accepted."
            )
        return (_Copy(count - width, count) if lower else _Copy(0, width)), None
    first = 0 if offset else 1  # a point on the boundary is its own mirror image
    if width + first > count and not isinstance(condition, Ghost):
        raise InputError(
            f"pad_axis: {width} ghost points asked for along an axis of {count}; at most {count - first} are accepted."
        )
    start, stop = (first, first + width) if lower else (count - first - width, count - first)
    shape = [width if a == axis else extent for a, extent in enumerate(values.shape)]
    copy = _Copy(start, stop, float(condition.end.image), mirrored=True) if condition.end else None
    match condition:
        case Dirichlet(value=value):
            return copy, jnp.broadcast_to(2 * _profile(value, values, axis), shape)
        case Kept() if not offset:
            return _Copy(start, stop, -1.0, mirrored=True, about=0 if lower else count - 1), None
        case Neumann() | Robin():
            distance = _mirror_distances(width, offset, spacing, lower=lower, dtype=values.dtype)
            nearest_distance = (distance if width == 1 else distance[0]) / 2
            if width > 1:
                distance = (distance[::-1] if lower else distance).reshape(at_axis(axis, -1, 1, values.ndim))
            match condition:
                case Neumann(slope=slope):
                    slope = _profile(slope, values, axis)
                case Robin(value=value, length=length):
                    nearest = slice_axis(values, axis, 0, 1) if lower else slice_axis(values, axis, count - 1, count)
                    gap = nearest_distance if offset else 0.0
                    if not offset:
                        _check_length(length)
                    slope = (_profile(value, values, axis) - nearest) / (_profile(length, values, axis) + gap)
            return copy, jnp.broadcast_to(distance * slope, shape)
        case Ghost(value=value):
            return None, jnp.broadcast_to(_profile(value, values, axis), shape)
    raise InputError(
        f"Field: a ghost value at the {'lower' if lower else 'upper'} end of axis {axis} is asked for, but no "
        "condition defines it; give the field conditions there (Field.with_conditions)."
    )


def _check_length(length: Array) -> None:
    """Raise `InputError` for points on a boundary whose length is known to be 0."""
    known = concrete(length)
    if known is not None and np.any(known == 0):
        raise InputError(
            "Robin: length is 0 for points on the boundary; above 0, or Dirichlet(value), is accepted for them."
        )


def _mirror_distances(width: int, offset: float, spacing: float | np.ndarray, *, lower: bool, dtype) -> Array:
    """From the first, second, ... point within to its mirror image beyond the end; of one point a number, which is
    written into the program: XLA simplifies with it, as it does with no array that is closed over.
    """
    if isinstance(spacing, np.ndarray):
        widths = spacing if lower else spacing[::-1]
        ends = np.cumsum(widths[:width])
        distances = 2 * ends - widths[:width] if offset else 2 * ends
        return jnp.asarray(distances if width > 1 else distances[0], dtype)
    if width == 1:
        return jnp.asarray(np.asarray(spacing, dtype)[()] * np.asarray(1 if offset else 2, dtype)[()], dtype)
    steps = jnp.arange(1, width + 1, dtype=dtype)
    return spacing * (2 * steps - 1 if offset else 2 * steps)


def _profile(value: Array, values: Array, axis: int) -> Array:
    """`value` as something that broadcasts against `values`; a profile goes on beyond its ends with its end values."""
    if value.ndim == 0:
        return constant_of(value, values.dtype)
    value = value.astype(values.dtype)
    missing = [0 if extent == 1 else values.shape[a] - extent for a, extent in enumerate(value.shape)]
    if any(missing):  # the array has ghost points along another axis, symmetric on both ends
        value = jnp.pad(value, [(extra // 2, extra - extra // 2) for extra in missing], mode="edge")
    return value
