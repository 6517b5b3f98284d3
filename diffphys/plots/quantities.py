"""What of a state can be looked at: its fields, the size of its vectors, its vorticity, as arrays at the cell centers.

Here values are brought to the centers by the mean of their neighbors, which invents no new extremes.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from diffphys.errors import InputError
from diffphys.grids import Field, face_offset
from diffphys.grids.named import at_centers, grid_of, leading_axes, named_fields, named_parts
from diffphys.operators import curl


def quantities(state: Any) -> dict[str, Callable[[], np.ndarray]]:
    """All that can be looked at in a state, by name.

    The fields and the components of vectors have their names in the state (`grids.named_fields`); a vector's own name
    stands for its magnitude; where there is a `velocity` in two or three dimensions, `vorticity` is that of it, in
    three dimensions its magnitude.

    Returns:
        From names to functions without arguments that compute an array (*leading, *cells).
    """
    found: dict[str, Callable[[], np.ndarray]] = {}
    for name, part in named_parts(state).items():
        if isinstance(part, tuple):
            found[name] = lambda part=part: magnitude(part)
            if name == "velocity" and len(part) > 1:
                found["vorticity"] = lambda part=part: vorticity_of(part)
    for name, field in named_fields(state).items():
        found.setdefault(name, lambda field=field: at_centers(field))
    return found


def usual(state: Any) -> list[str]:
    """The quantities shown unless others are asked for: every field and vector; of a flow in place of its velocity and
    pressure the vorticity, in three dimensions the speed.
    """
    parts = {name: part for name, part in named_parts(state).items() if isinstance(part, (Field, tuple))}
    if isinstance(velocity := parts.get("velocity"), tuple) and "pressure" in parts:
        first = "vorticity" if len(velocity) == 2 else "velocity"
        return [first, *(name for name in parts if name not in ("velocity", "pressure"))]
    return list(parts)


def chosen(owner: str, state: Any, names: Any) -> dict[str, np.ndarray]:
    """The quantities of these names (default: the usual ones) as arrays (frames, *cells).

    Raises:
        InputError: for an unknown name, complex numbers, or more than one leading axis.
    """
    grid_of(owner, state)
    if len(leading := leading_axes(owner, state)) > 1:
        raise InputError(
            f"{owner}: the fields have the leading axes {leading}; at most one, the frames, is accepted "
            "(pick a case: jax.tree.map(lambda leaf: leaf[0], frames))."
        )
    known = quantities(state)
    names = usual(state) if names is None else [names] if isinstance(names, str) else list(names)
    for name in names:
        if name not in known:
            raise InputError(f"{owner}: quantity is {name!r}; {', '.join(known)} are accepted.")
    if not names:
        raise InputError(f"{owner}: quantity is empty; at least one of {', '.join(known)} is accepted.")
    arrays = {name: np.asarray(known[name]()) for name in names}
    for name, values in arrays.items():
        if np.iscomplexobj(values):
            raise InputError(f"{owner}: {name} is complex; real numbers are accepted (their real part, or magnitude).")
    return {name: values if leading else values[None] for name, values in arrays.items()}


def magnitude(vector: tuple[Field, ...]) -> np.ndarray:
    """The length of a vector at the cell centers; in one dimension its only component, with its sign."""
    if len(vector) == 1:
        return at_centers(vector[0])
    return np.sqrt(sum(np.square(at_centers(component)) for component in vector))


def vorticity_of(velocity: tuple[Field, ...]) -> np.ndarray:
    """The vorticity at the cell centers, in two dimensions counterclockwise positive, in three its magnitude.

    Of a velocity on the faces from `operators.curl`; of one elsewhere, or where a ghost value is not known, from
    central differences of its values at the centers.
    """
    grid = velocity[0].grid
    if [component.offset for component in velocity] == [face_offset(grid, axis) for axis in range(grid.dimensions)]:
        try:
            of_frames = curl
            for _ in range(velocity[0].values.ndim - grid.dimensions):
                of_frames = jax.vmap(of_frames)
            found = jax.jit(of_frames)(velocity)
            return at_centers(found) if isinstance(found, Field) else magnitude(found)
        except InputError:
            pass
    centered = [at_centers(component) for component in velocity]
    lines = [(edges[1:] + edges[:-1]) / 2 for edges in grid.edges]

    def slope(component: int, along: int) -> np.ndarray:
        if grid.cells[along] == 1:
            return np.zeros_like(centered[component])
        return np.gradient(centered[component], lines[along], axis=along - grid.dimensions)

    if grid.dimensions == 2:
        return slope(1, 0) - slope(0, 1)
    parts = [slope((axis + 2) % 3, (axis + 1) % 3) - slope((axis + 1) % 3, (axis + 2) % 3) for axis in range(3)]
    return np.sqrt(sum(np.square(part) for part in parts))
