"""The parts of a state by name, for whatever shows or stores states of any system."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax import Array

from diffphys.errors import InputError
from diffphys.grids.field import Field
from diffphys.grids.grid import AXIS_NAMES, Grid
from diffphys.grids.numbers import shown


Part = Field | tuple[Field, ...] | Array | np.ndarray


def named_parts(state: Any) -> dict[str, Part]:
    """The fields, vectors and arrays of a state, each by the name that it has there.

    A field for each axis, in a tuple or a list, is one vector. What stands in a mapping is called by its key alone
    (`smoke`, not `scalars_smoke`) as long as nothing else has that name. A state without names of its own is called
    `value` where it is one field, and `velocity` where it is one vector, as that of `Burgers`.

    Args:
        state: Any pytree of fields and arrays, also one with leading axes, as a rollout saves it.

    Returns:
        From names to fields, tuples of fields and arrays, in the order of the state.
    """
    found = list(_walk(state, "", ""))
    shorts = [short for short, _, _ in found]
    return {short if shorts.count(short) == 1 else full: part for short, full, part in found}


def named_fields(state: Any) -> dict[str, Field]:
    """The fields of a state by name, the components of its vectors with their axis: `velocity_x`, `velocity_y`."""
    fields = {}
    for name, part in named_parts(state).items():
        if isinstance(part, Field):
            fields[name] = part
        elif isinstance(part, tuple):
            fields |= {f"{name}_{axis}": one for axis, one in zip(AXIS_NAMES, part, strict=False)}
    return fields


def grid_of(owner: str, state: Any) -> Grid:
    """The grid on which the fields of a state live.

    Raises:
        InputError: if there is no field, or there are several grids.
    """
    fields = list(named_fields(state).values())
    if not fields:
        raise InputError(
            f"{owner}: {shown(state)} holds no Field; a Field or a state with fields is accepted "
            "(Field(array, grid) makes one of an array)."
        )
    if others := [field.grid for field in fields if field.grid != fields[0].grid]:
        raise InputError(f"{owner}: the fields live on {fields[0].grid} and on {others[0]}; one grid is accepted.")
    return fields[0].grid


def leading_axes(owner: str, state: Any) -> tuple[int, ...]:
    """The extents of the axes that stand before those of the grid: `()` for a state, `(frames,)` for saved ones.

    Raises:
        InputError: if they are not the same for all fields.
    """
    found = [field.values.shape[: field.values.ndim - field.grid.dimensions] for field in named_fields(state).values()]
    if others := [one for one in found if one != found[0]]:
        raise InputError(f"{owner}: fields have the leading axes {found[0]} and {others[0]}; equal ones are accepted.")
    return found[0] if found else ()


def at_centers(field: Field) -> np.ndarray:
    """The values (*leading, *cells) at the cell centers, as the mean of the two or more points around each."""
    values = np.asarray(field.values)
    values = values.astype(np.result_type(values, np.float32), copy=False)
    leading = values.ndim - field.grid.dimensions
    for axis, (place, cells) in enumerate(zip(field.offset, field.grid.cells, strict=True)):
        if place == 0.0:
            lower = np.take(values, range(cells), leading + axis)
            upper = np.take(values, np.arange(1, cells + 1) % values.shape[leading + axis], leading + axis)
            values = (lower + upper) / 2
    return values


def _walk(node: Any, short: str, full: str) -> Iterator[tuple[str, str, Any]]:
    """Triples of the name by itself, the name with all that stands above it, and the part."""
    if isinstance(node, Field) or _is_vector(node):
        name = "value" if isinstance(node, Field) else "velocity"
        yield short or name, full or name, node if isinstance(node, Field) else tuple(node)
    elif isinstance(node, (Array, np.ndarray, np.generic)):
        yield short or "value", full or "value", node
    else:
        for name, child, alone in _children(node):
            whole = f"{full}_{name}" if full else name
            yield from _walk(child, name if alone else f"{short}_{name}" if short else name, whole)


def _children(node: Any) -> list[tuple[str, Any, bool]]:
    """Name and value of what a container holds, and whether the name stands for itself."""
    if isinstance(node, Mapping):
        return [(str(key), child, True) for key, child in node.items()]
    if isinstance(node, tuple) and hasattr(node, "_fields"):
        return [(name, getattr(node, name), False) for name in node._fields]  # pyright: ignore
    if isinstance(node, (tuple, list)):
        return [(f"part_{index}", child, False) for index, child in enumerate(node)]
    if dataclasses.is_dataclass(node) and not isinstance(node, type):
        return [(field.name, getattr(node, field.name), False) for field in dataclasses.fields(node)]
    leaves = jax.tree.leaves(node)
    return [] if not leaves or leaves[0] is node else [(f"part_{i}", leaf, False) for i, leaf in enumerate(leaves)]


def _is_vector(node: Any) -> bool:
    return (
        isinstance(node, Sequence)
        and not hasattr(node, "_fields")
        and bool(node)
        and all(isinstance(one, Field) for one in node)
        and len(node) == node[0].grid.dimensions
    )
