"""Values that know their place."""

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from diffphys.devices import is_in_shard_map
from diffphys.errors import InputError
from diffphys.grids import conditions as conditions_
from diffphys.grids.axes import at_axis
from diffphys.grids.conditions import Conditions, Unknown, is_periodic
from diffphys.grids.grid import Grid, check_grid
from diffphys.grids.numbers import as_floating, shown


def center_offset(grid: Grid) -> tuple[float, ...]:
    """The offset of cell centers: `(0.5, 0.5)` in 2D."""
    return (0.5,) * grid.dimensions


def face_offset(grid: Grid, axis: int) -> tuple[float, ...]:
    """The offset of the faces normal to `axis`: `(0.0, 0.5)` for the x-faces in 2D."""
    return at_axis(axis, 0.0, 0.5, grid.dimensions)


def values_of(state: Any) -> list[Array]:
    """The arrays of a state that change in time: of a field its values; its conditions stay."""
    leaves = jax.tree.leaves(state, is_leaf=is_field)
    return [leaf.values if isinstance(leaf, Field) else jnp.asarray(leaf) for leaf in leaves]


def with_values_of(state: Any, values: Sequence[Array]) -> Any:
    """The state with other arrays in the place of `values_of(state)`."""
    leaves, structure = jax.tree.flatten(state, is_leaf=is_field)
    return structure.unflatten(
        leaf.with_values(one) if isinstance(leaf, Field) else one for leaf, one in zip(leaves, values, strict=True)
    )


def is_field(leaf: Any) -> bool:
    """Whether a node of a tree is a field."""
    return isinstance(leaf, Field)


class Field(eqx.Module):
    """An array, the grid it lives on, its offset in the cell, and what holds at the ends of each axis.

    Values of different places cannot be added, and a ghost value that no condition defines cannot be asked for: a wrong
    staggering is an error at once instead of a lost order of accuracy. Conditions follow arithmetic exactly.

    Args:
        values: Array of shape `grid.shape(offset, periodic)`; within `jax.shard_map` also a block of it, for arithmetic
            and `map`. Batches are `jax.vmap`, never an axis of a field. Whole numbers and booleans become floating
            ones, so that no operator cuts off what it multiplies them by.
        grid: The grid.
        offset: 0.5 or 0.0 for each axis. Default: cell centers.
        conditions: For each axis a pair (lower, upper). Default: unknown.

    Raises:
        InputError: if the array's shape is not that of the place, or an argument is of another kind.

    Examples:
        >>> field = dp.Field(jnp.arange(4.0), dp.Grid((4,), (1.0,)))
        >>> (2 * field + 1).values
        Array([1., 3., 5., 7.], dtype=float32)
    """

    values: Array
    grid: Grid = eqx.field(static=True)
    offset: tuple[float, ...] = eqx.field(static=True)
    conditions: Conditions

    def __init__(
        self,
        values: ArrayLike,
        grid: Grid,
        offset: Sequence[float] | None = None,
        conditions: Conditions | None = None,
    ):
        check_grid("Field", grid)
        values = as_floating(values, "Field: values", complex=True)
        self.grid = grid
        self.offset = center_offset(grid) if offset is None else as_offset("Field", offset, grid)
        conditions = ((Unknown(), Unknown()),) * grid.dimensions if conditions is None else conditions
        conditions_.check_conditions(conditions, grid.dimensions)
        self.conditions = tuple(conditions)
        expected = self.grid.shape(self.offset, self.periodic)
        shape = values.shape
        if shape != expected and not (is_in_shard_map() and _divides(shape, expected)):
            hint = (
                " (a leading axis is a batch, for which there is jax.vmap)"
                if shape[-len(expected) :] == expected
                else ""
            )
            raise InputError(
                f"Field: values has shape {shape}; at offset {self.offset} of a grid of {grid.cells} cells "
                f"{expected} is accepted{hint}."
            )
        conditions_.check_profiles(self.conditions, shape)
        self.values = values

    # NumPy's arrays and numbers leave arithmetic with a field to the field, instead of making an array of fields.
    __array_ufunc__ = None

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """The values, for `np.asarray(field)` and whatever draws or saves arrays."""
        return np.array(self.values, dtype, copy=copy)

    @property
    def periodic(self) -> tuple[bool, ...]:
        """For each axis whether it is periodic."""
        return tuple(is_periodic(pair) for pair in self.conditions)

    @property
    def is_block(self) -> bool:
        """Whether it holds one device's part of a grid that `jax.shard_map` has spread over several."""
        return is_in_shard_map() and self.values.shape != self.grid.shape(self.offset, self.periodic)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    def coordinates(self) -> tuple[Array, ...]:
        """Coordinates of the field's points, one array per axis, shaped to broadcast against each other."""
        self._check_whole("coordinates")
        return self.grid.coordinates(self.offset, self.periodic)

    def with_values(self, values: ArrayLike) -> "Field":
        """The same place and conditions with other values."""
        return Field(values, self.grid, self.offset, self.conditions)

    def with_conditions(self, conditions: Conditions) -> "Field":
        """The same values with other conditions."""
        return Field(self.values, self.grid, self.offset, conditions)

    def map(self, function: Callable[[Array], Array]) -> "Field":
        """A pointwise function of the values. What holds at the ends is unknown afterwards, save on periodic axes."""
        forgotten = tuple(pair if is_periodic(pair) else (Unknown(), Unknown()) for pair in self.conditions)
        return Field(function(self.values), self.grid, self.offset, forgotten)

    def plot(self, **options: Any) -> Any:
        """A figure of the field: `dp.plot(field)`, whose options are accepted.

        Looking stands above all other rooms, and Matplotlib is imported only where somebody looks: so it is asked for
        by name.
        """
        return importlib.import_module("diffphys.plots").plot(self, **options)

    def padded(self, widths: Sequence[tuple[int, int]]) -> Array:
        """The values with ghost points around them, `widths[axis] = (lower, upper)` of them.

        Axes are padded one after the other, so that corners combine the conditions of both axes; the periodic ones
        come last, so that a profile at a side wraps with the values beside it.
        """
        values = self.values
        for axis in self.padding_order():
            values = conditions_.pad_axis(
                values,
                axis,
                self.conditions[axis],
                widths[axis],
                offset=self.offset[axis],
                spacing=self.grid.spacing_along(axis),
            )
        return values

    def padding_order(self) -> list[int]:
        """The axes in the order in which they are padded: bounded ones first, then periodic ones."""
        self._check_whole("padding")
        return sorted(range(self.grid.dimensions), key=lambda axis: self.periodic[axis])

    def __add__(self, other: "Field | ArrayLike") -> "Field":
        if isinstance(other, Field):
            self._check_same_place(other)
            return self._combine(self.values + other.values, other, conditions_.added)
        constant = _scalar(other, "+")
        return self._transform(self.values + constant, lambda condition: conditions_.shifted(condition, constant))

    def __mul__(self, other: "Field | ArrayLike") -> "Field":
        if isinstance(other, Field):
            self._check_same_place(other)
            return self._combine(self.values * other.values, other, conditions_.multiplied)
        factor = _scalar(other, "*")
        return self._transform(self.values * factor, lambda condition: conditions_.scaled(condition, factor))

    def __truediv__(self, other: "ArrayLike") -> "Field":
        return self * (1.0 / _scalar(other, "/"))

    def __neg__(self) -> "Field":
        return self * -1.0

    def __sub__(self, other: "Field | ArrayLike") -> "Field":
        return self + (-other if isinstance(other, Field) else -_scalar(other, "-"))

    def __rsub__(self, other: "ArrayLike") -> "Field":
        return (-self) + other

    __radd__ = __add__
    __rmul__ = __mul__

    def _check_whole(self, owner: str) -> None:
        if self.is_block:
            whole = self.grid.shape(self.offset, self.periodic)
            raise InputError(
                f"{owner}: a field holds a block of shape {self.values.shape} of a grid's {whole} points, within "
                "jax.shard_map; what looks at neighbors or at a whole axis accepts whole fields (arithmetic and map "
                "accept blocks, whose neighbors jax.lax.ppermute exchanges)."
            )

    def _check_same_place(self, other: "Field") -> None:
        if self.grid != other.grid:
            raise InputError(
                f"Field: operands live on different grids, {self.grid} and {other.grid}; one grid is accepted."
            )
        if self.offset != other.offset:
            raise InputError(
                f"Field: operands live at offsets {self.offset} and {other.offset}; equal offsets are accepted "
                "(operators.interpolate brings one to the other)."
            )

    def _combine(self, values: Array, other: "Field", rule: Callable) -> "Field":
        pairs = tuple(
            (rule(mine[0], theirs[0]), rule(mine[1], theirs[1]))
            for mine, theirs in zip(self.conditions, other.conditions, strict=True)
        )
        return Field(values, self.grid, self.offset, pairs)

    def _transform(self, values: Array, rule: Callable) -> "Field":
        return Field(values, self.grid, self.offset, tuple((rule(low), rule(high)) for low, high in self.conditions))


def check_field(
    owner: str, name: str, field: object, grid: Grid | None = None, offset: Sequence[float] | None = None
) -> None:
    """Raise `InputError` unless it is a field, of this grid and at this place where they are given."""
    if not isinstance(field, Field):
        raise InputError(f"{owner}: {name} is {shown(field)}; a Field is accepted.")
    field._check_whole(owner)
    if grid is not None and field.grid != grid:
        raise InputError(f"{owner}: {name} lives on another grid, {field.grid}; a field of {grid} is accepted.")
    if offset is not None and field.offset != tuple(offset):
        raise InputError(f"{owner}: {name} lives at offset {field.offset}; {tuple(offset)} is accepted.")


def check_parts(owner: str, state: Any, names: Sequence[str], words: str) -> None:
    """Raise `InputError` unless a state has these parts; `words` say which one has."""
    if not all(hasattr(state, name) for name in names):
        raise InputError(f"{owner}: state is {shown(state)}; {words}, as initial_state gives, is accepted.")


def check_centered(owner: str, state: Any, names: Sequence[str], grid: Grid) -> None:
    """Raise `InputError` unless a state has these parts, each a field at the centers of this grid or a tuple of one for
    each axis.
    """
    check_parts(owner, state, names, f"one with {' and '.join(names)}")
    for name in names:
        part = getattr(state, name)
        for field in part if isinstance(part, tuple) else (part,):
            check_field(owner, f"the state's {name}", field, grid, center_offset(grid))


def check_velocity(
    owner: str, name: str, velocity: object, grid: Grid | None = None, *, on_faces: bool = False, real: bool = True
) -> None:
    """Raise `InputError` unless there is a field for each axis, all of one grid (of this one where it is given); with
    `on_faces` each on the faces normal to its axis, and with `real` without complex numbers.
    """
    if isinstance(velocity, Field) or not isinstance(velocity, Sequence) or not velocity:
        raise InputError(f"{owner}: {name} is {shown(velocity)}; a sequence of one Field for each axis is accepted.")
    for axis, component in enumerate(velocity):
        check_field(owner, f"{name}[{axis}]", component, grid)
        grid = component.grid if grid is None else grid
        if real and jnp.issubdtype(component.values.dtype, jnp.complexfloating):
            raise InputError(f"{owner}: {name}[{axis}] has type {component.values.dtype}; real numbers are accepted.")
    assert grid is not None
    if len(velocity) != grid.dimensions:
        raise InputError(f"{owner}: {name} has {len(velocity)} components; {grid.dimensions} are accepted.")
    for axis, component in enumerate(velocity):
        if on_faces:
            check_field(owner, f"{name}[{axis}]", component, offset=face_offset(grid, axis))


def as_offset(owner: str, offset: Any, grid: Grid) -> tuple[float, ...]:
    """`offset` as a tuple; `InputError` unless it is a place on this grid."""
    places = tuple(offset) if isinstance(offset, Sequence) else offset
    if not isinstance(places, tuple) or len(places) != grid.dimensions or any(one not in (0.0, 0.5) for one in places):
        raise InputError(
            f"{owner}: offset is {shown(places)}; 0.0 or 0.5 for each of {grid.dimensions} axes is accepted."
        )
    return places


def _divides(shape: tuple[int, ...], whole: tuple[int, ...]) -> bool:
    """Whether a grid's points may be divided into blocks of this shape."""
    return len(shape) == len(whole) and all(count and not of % count for count, of in zip(shape, whole, strict=True))


def _scalar(value: ArrayLike, operation: str) -> Array:
    if isinstance(value, (int, float, np.number, np.ndarray, jax.Array)) and np.ndim(value) == 0:
        return jnp.asarray(value)
    raise InputError(
        f"Field: a field {operation} an operand of type {type(value).__name__} and shape {np.shape(value)}; a number "
        "or a field is accepted, since an array does not know its place (Field.with_values)."
    )
