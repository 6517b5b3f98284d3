"""Frames in the layout of The Well, and back (extra `well`: h5py).

The Well is a collection of simulations for machine learning (Ohana et al., NeurIPS 2024).

Arrays are (trajectories, steps, x, y, z) in single precision, vectors with their components last, on a uniform grid.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from diffphys.errors import InputError, optional
from diffphys.exchange.frames import leading_names, times_of
from diffphys.grids import Field, Grid
from diffphys.grids.named import at_centers, grid_of, named_fields, named_parts
from diffphys.grids.numbers import shown


KINDS = ("periodic", "wall", "open")


def save_well(
    path: str | Path,
    frames: Any,
    times: Any = None,
    *,
    name: str,
    parameters: Mapping[str, float] | None = None,
    boundaries: Mapping[str, str] | None = None,
) -> Path:
    """Write frames as one HDF5 file that The Well's own readers open.

    Args:
        path: The file.
        frames: Frames, or cases and frames, of a field or of a state of any system with fields. Fields are brought to
            the cell centers (`grids.at_centers`).
        times: The time of each frame. Default: the state's own, else 0, 1, ...
        name: The name of the data set.
        parameters: Numbers that the whole simulation has, such as its viscosity.
        boundaries: For each axis name "periodic", "wall" or "open". Default: "periodic" where the fields are, else
            "wall".

    Returns:
        The path.

    Raises:
        InputError: without an axis of frames, for a stretched grid, another kind of boundary, or where h5py is not
            installed.
    """
    h5py = optional("save_well", "h5py", "well")
    grid = grid_of("save_well", frames)
    leading = leading_names("save_well", frames)
    if not leading:
        raise InputError("save_well: frames is one state; frames with a leading axis of times are accepted.")
    if not all(grid.uniform):
        raise InputError(f"save_well: the grid is {grid}; a uniform one is what the layout knows.")
    periodic = next(iter(named_fields(frames).values())).periodic
    kinds = {axis: "periodic" if wraps else "wall" for axis, wraps in zip(grid.axis_names, periodic, strict=True)}
    kinds |= boundaries or {}
    if wrong := [axis for axis, kind in kinds.items() if axis not in grid.axis_names or kind not in KINDS]:
        raise InputError(
            f'save_well: boundaries has {wrong[0]!r}; for each axis "periodic", "wall", "open" is accepted.'
        )
    scalars, vectors = {}, {}
    for part_name, part in named_parts(frames).items():
        if isinstance(part, Field):
            scalars[part_name] = at_centers(part)
        elif isinstance(part, tuple):
            vectors[part_name] = np.stack([at_centers(component) for component in part], axis=-1)
    if len(leading) == 1:
        scalars = {key: values[None] for key, values in scalars.items()}
        vectors = {key: values[None] for key, values in vectors.items()}
    cases, count = next(iter((scalars | vectors).values())).shape[:2]
    moments = times_of("save_well", frames, times)
    moments = np.arange(float(count)) if moments is None else moments
    parameters = {key: float(value) for key, value in (parameters or {}).items()}
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.attrs.update(
            dataset_name=name, grid_type="cartesian", n_spatial_dims=grid.dimensions, n_trajectories=cases, **parameters
        )
        file.attrs["simulation_parameters"] = _texts(h5py, parameters)
        space = file.create_group("dimensions")
        space.attrs["spatial_dims"] = _texts(h5py, grid.axis_names)
        _dataset(space, "time", moments, sample_varying=False)
        for axis, axis_name in enumerate(grid.axis_names):
            edges = grid.edges[axis]
            _dataset(space, axis_name, (edges[1:] + edges[:-1]) / 2, sample_varying=False, time_varying=False)
        sides = file.create_group("boundary_conditions")
        for axis, axis_name in enumerate(grid.axis_names):
            side = sides.create_group(f"{axis_name}_{kinds[axis_name]}")
            side.attrs["associated_dims"] = _texts(h5py, [axis_name])
            side.attrs["associated_fields"] = _texts(h5py, [])
            side.attrs.update(bc_type=kinds[axis_name], sample_varying=False, time_varying=False)
            mask = np.zeros(grid.cells[axis], bool)
            mask[[0, -1]] = True
            side.create_dataset("mask", data=mask)
        numbers = file.create_group("scalars")
        numbers.attrs["field_names"] = _texts(h5py, parameters)
        for key, value in parameters.items():
            _dataset(numbers, key, np.asarray(value), sample_varying=False, time_varying=False)
        for group_name, arrays in (("t0_fields", scalars), ("t1_fields", vectors), ("t2_fields", {})):
            group = file.create_group(group_name)
            group.attrs["field_names"] = _texts(h5py, arrays)
            for key, values in arrays.items():
                varying = {"sample_varying": True, "time_varying": True}
                _dataset(group, key, values, dim_varying=np.ones(grid.dimensions, bool), **varying)
    return path


def load_well(path: str | Path) -> tuple[dict[str, Any], np.ndarray, dict[str, float]]:
    """Read a file in the layout of The Well, our own or one of theirs.

    Returns:
        From names to fields at the cell centers with the leading axes (trajectories, steps), vectors as a field for
        each axis; the times; and the numbers that the whole simulation has. What does not vary in time or from
        trajectory to trajectory is repeated. Tensors are left out.

    Raises:
        InputError: if it is no such file, the grid is not Cartesian and uniform, or h5py is not installed.
    """
    h5py = optional("load_well", "h5py", "well")
    path = Path(path)
    if not path.is_file() or not h5py.is_hdf5(path):
        raise InputError(f"load_well: path is {path}; an HDF5 file is accepted.")
    with h5py.File(path, "r") as file:
        if not {"dimensions", "t0_fields", "t1_fields"} <= set(file) or file.attrs.get("grid_type") != "cartesian":
            raise InputError(f"load_well: {path} has not the groups of The Well, or is not Cartesian.")
        names = [_text(one) for one in file["dimensions"].attrs["spatial_dims"]]
        grid = _grid(path, [np.asarray(file["dimensions"][axis], float) for axis in names])
        times = np.asarray(file["dimensions/time"], float)
        shape = (int(file.attrs["n_trajectories"]), len(times), *grid.cells)
        found: dict[str, Any] = {}
        for group, components in (("t0_fields", 0), ("t1_fields", grid.dimensions)):
            for name in map(_text, file[group].attrs["field_names"]):
                values = _spread(file[group][name], shape, components)
                parts = [values] if not components else [values[..., axis] for axis in range(components)]
                fields = tuple(jax.vmap(jax.vmap(lambda one: Field(one, grid)))(part) for part in parts)
                found[name] = fields if components else fields[0]
        parameters = [_text(one) for one in file.attrs.get("simulation_parameters", [])]
        return found, times, {name: float(file.attrs[name]) for name in parameters}


def _grid(path: Path, lines: list[np.ndarray]) -> Grid:
    """The grid whose cell centers, or on a periodic axis whose points, these are."""
    spacing = [line[1] - line[0] if len(line) > 1 else 1.0 for line in lines]
    for line, step in zip(lines, spacing, strict=True):
        if not np.allclose(np.diff(line), step, rtol=1e-3, atol=0):
            raise InputError(
                f"load_well: {path} has coordinates that are not equally spaced; a uniform grid is accepted."
            )
    cells = [len(line) for line in lines]
    size = [count * step for count, step in zip(cells, spacing, strict=True)]
    return Grid(cells, size, [line[0] - step / 2 for line, step in zip(lines, spacing, strict=True)])


def _spread(dataset: Any, shape: tuple[int, ...], components: int) -> np.ndarray:
    """Values for every trajectory and step, also of what does not vary with them."""
    values = np.asarray(dataset)
    varying = [dataset.attrs["sample_varying"], dataset.attrs["time_varying"], *dataset.attrs["dim_varying"]]
    for axis, varies in enumerate(varying):
        if not varies:
            values = np.expand_dims(values, axis)
    return np.broadcast_to(values, (*shape, *([components] if components else [])))


def _dataset(group: Any, name: str, values: np.ndarray, **attributes: Any) -> None:
    group.create_dataset(name, data=np.asarray(values, np.float32)).attrs.update(attributes)


def _texts(h5py: Any, names: Any) -> np.ndarray:
    return np.array(list(names), dtype=h5py.string_dtype())


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else shown(value) if not isinstance(value, str) else value
