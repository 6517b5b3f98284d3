"""Frames as arrays: what all formats ask of a state."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffphys.errors import InputError
from diffphys.grids import Field
from diffphys.grids.named import leading_axes, named_fields, named_parts


LEADING = ("case", "time")


def leading_names(owner: str, state: Any) -> tuple[str, ...]:
    """The names of the axes before those of the grid: none, ("time",), or ("case", "time").

    Raises:
        InputError: if there are more than two, or no field.
    """
    leading = leading_axes(owner, state)
    if len(leading) > 2:
        raise InputError(f"{owner}: the fields have the leading axes {leading}; at most cases and frames are accepted.")
    return LEADING[2 - len(leading) :]


def times_of(owner: str, state: Any, times: Any) -> np.ndarray | None:
    """The time of each frame: those given, or the state's own; None where nobody says.

    Raises:
        InputError: if there is another number of them than of frames.
    """
    leading = leading_axes(owner, state)
    own = named_parts(state).get("time")
    if times is None and isinstance(own, (Array, np.ndarray)):
        times = np.asarray(own)
        times = times[0] if times.ndim == 2 else times
    if times is None:
        return None
    given = np.asarray(times)
    times = np.array([_shortest(time) for time in given.ravel()]).reshape(given.shape)
    if times.shape != leading[-1:]:
        raise InputError(f"{owner}: times has shape {times.shape}; {leading[-1:]}, one for each frame, is accepted.")
    return times


def _shortest(number: Any) -> float:
    """The shortest decimal number that is this one in its own precision: 0.2, not 0.20000000298."""
    return float(str(number))


def rebuilt(owner: str, like: Any, arrays: dict[str, np.ndarray]) -> Any:
    """A state like another one, with the leading axes of arrays named after its parts.

    Raises:
        InputError: if an array is missing or has another shape.
    """
    like = jax.tree.map(lambda leaf: jnp.asarray(leaf) + 0, like)  # so that each part is an object of its own
    fields = named_fields(like)
    for name, field in fields.items():
        if name not in arrays:
            raise InputError(f"{owner}: there is no {name}; {', '.join(arrays)} are there, and like asks for it.")
        shape = arrays[name].shape
        if shape[len(shape) - len(field.shape) :] != field.shape:
            raise InputError(f"{owner}: {name} has shape {shape}; {field.shape}, as in like, is accepted at its end.")
    leading = arrays[next(iter(fields))].ndim - next(iter(fields.values())).values.ndim
    names = {id(part): name for name, part in {**named_parts(like), **fields}.items()}

    def filled(given: dict[str, Array]) -> Any:
        def replaced(part: Any) -> Any:
            name = names.get(id(part))
            if name not in given:
                return part
            values = given[name].astype(part.values.dtype if isinstance(part, Field) else part.dtype)
            return part.with_values(values) if isinstance(part, Field) else values

        return jax.tree.map(replaced, like, is_leaf=lambda node: isinstance(node, Field))

    function: Callable = filled
    for _ in range(leading):
        function = jax.vmap(function)
    return function({name: jnp.asarray(values) for name, values in arrays.items()})
