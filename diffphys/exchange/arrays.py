"""States and frames as xarray datasets, and back; from there they go to NetCDF and Zarr."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from diffphys.errors import InputError
from diffphys.exchange.coordinates import line_attributes, places, time_attributes, unit_attribute
from diffphys.exchange.frames import leading_names, rebuilt, times_of
from diffphys.exchange.obstacles import obstacle_over_time, solid_cells
from diffphys.grids import Grid
from diffphys.grids.named import grid_of, named_fields
from diffphys.grids.numbers import shown


if TYPE_CHECKING:
    import xarray  # takes a third of a second, and is needed by those alone who call these functions


def to_xarray(
    frames: Any,
    times: Any = None,
    *,
    units: Mapping[str, str] | None = None,
    length_unit: str | None = None,
    time_unit: str | None = None,
    solid: Any = None,
    attributes: Mapping[str, str | float] | None = None,
) -> "xarray.Dataset":
    """A state, or frames of a rollout, with coordinates, units and long names.

        data = dp.to_xarray(frames, units={"velocity_x": "m s-1"}, length_unit="m", time_unit="s")
        data.velocity_x.sel(time=20.0).plot()
        data.to_netcdf("wake.nc")

    Each field is a variable with its name in the state (`velocity_x`, `pressure`, `smoke`; a field alone is `value`).
    Dimensions are (time, z, y, x), the order in which xarray and ParaView draw x to the right and y upward; on the
    faces across x the dimension is `x_face`.

    Args:
        frames: A field, or a state of any system with fields; with a leading axis of frames, or those of cases and
            frames.
        times: The time of each frame, (frames,). Default: the state's own, where it has one.
        units: The unit of each variable by name; `{"velocity": "m s-1"}` is that of all its components.
        length_unit: The unit of the coordinates.
        time_unit: The unit of the times.
        solid: What is solid, as the variable `solid`: for each cell whether its center lies in the obstacle, and for
            each frame where it moves. A `Shape`, an `Immersed` body, a function from the time to one, or the flow.
        attributes: Text and numbers to keep with the data.

    Raises:
        InputError: if there is no field, there are other than as many times as frames, or a unit of an unknown name.

    Examples:
        >>> rod = dp.Heat(dp.Grid((8,), (1.0,)), 1.0, 0.001, ((dp.Neumann(), dp.Neumann()),))
        >>> _, frames = dp.rollout(rod, rod.initial_state(20.0), 4, save_every=2)
        >>> dict(dp.to_xarray(frames, times=[0.002, 0.004]).sizes)
        {'time': 2, 'x': 8}
    """
    import xarray

    grid = grid_of("to_xarray", frames)
    leading = leading_names("to_xarray", frames)
    times = times_of("to_xarray", frames, times)
    fields = named_fields(frames)
    units = _units(fields, units)
    variables: dict[str, Any] = {}
    coordinates: dict[str, np.ndarray] = {}
    for name, field in fields.items():
        lines = places(field)
        for dimension, line in lines.items():
            if len(coordinates.setdefault(dimension, line)) != len(line):
                raise InputError(
                    f"to_xarray: {name} has {len(line)} values along {dimension}, another field has "
                    f"{len(coordinates[dimension])}; fields that are all periodic along an axis, or none, are accepted."
                )
        values = np.moveaxis(np.asarray(field.values), range(-grid.dimensions, 0), range(-1, -grid.dimensions - 1, -1))
        described = {"long_name": _long_name(name, fields)} | unit_attribute(units.get(name))
        variables[name] = ((*leading, *reversed(lines)), values, described)
    lines: dict[str, Any] = {
        one: ((one,), line, line_attributes(one, length_unit)) for one, line in coordinates.items()
    }
    if solid is not None:
        variables |= _solid_cells(solid, next(iter(fields.values())), times)
        for axis, name in enumerate(grid.axis_names):
            centers = (grid.edges[axis][1:] + grid.edges[axis][:-1]) / 2
            lines.setdefault(name, ((name,), centers, line_attributes(name, length_unit)))
    if times is not None:
        lines["time"] = (("time",) if times.ndim else (), times, time_attributes(time_unit))
    return xarray.Dataset(variables, lines, dict(attributes or {}))


def from_xarray(dataset: "xarray.Dataset", like: Any) -> Any:
    """What `to_xarray` made a dataset of, also after NetCDF or Zarr.

    Args:
        dataset: The data, with a variable for each field of `like`.
        like: A state of the system without leading axes, such as `flow.initial_state()`: it says the places of the
            fields and what holds at their sides, which a dataset does not.

    Returns:
        A state, or frames, of the structure of `like` and of its types; its `time`, where it has one, is that of the
        dataset.

    Raises:
        InputError: if a variable is missing, or the grid is another one.

    Examples:
        >>> state = dp.Heat(dp.Grid((8,), (1.0,)), 1.0, 0.001, ((dp.Neumann(), dp.Neumann()),)).initial_state(20.0)
        >>> again = dp.from_xarray(dp.to_xarray(state), state)
    """
    import xarray

    if not isinstance(dataset, xarray.Dataset):
        raise InputError(f"from_xarray: dataset is {shown(dataset)}; an xarray.Dataset is accepted.")
    grid = grid_of("from_xarray", like)
    arrays = {}
    for name, field in named_fields(like).items():
        if name in dataset:
            lines = places(field)
            order = [dimension for dimension in ("case", "time") if dimension in dataset[name].dims]
            if {*dataset[name].dims} != {*order, *lines}:
                raise InputError(
                    f"from_xarray: {name} has the dimensions {dataset[name].dims}; {(*order, *lines)} are accepted."
                )
            _check_lines(dataset, lines, grid)
            arrays[name] = dataset[name].transpose(*order, *lines).values
    if not arrays:
        raise InputError(f"from_xarray: dataset has {list(dataset)}; {list(named_fields(like))} are accepted.")
    if "time" in dataset.coords and "case" not in dataset.dims:
        arrays["time"] = dataset["time"].values
    return rebuilt("from_xarray", like, arrays)


def _check_lines(dataset: "xarray.Dataset", lines: dict[str, np.ndarray], grid: Grid) -> None:
    for dimension, line in lines.items():
        there = dataset[dimension].values if dimension in dataset.coords else line
        if there.shape != line.shape or not np.allclose(there, line, rtol=1e-6, atol=1e-6 * max(grid.size)):
            raise InputError(
                f"from_xarray: {dimension} has {len(there)} coordinates from {there[0]:g} to {there[-1]:g}; "
                f"{len(line)} from {line[0]:g} to {line[-1]:g}, those of like, are accepted."
            )


def _solid_cells(solid: Any, field: Any, times: np.ndarray | None) -> dict[str, Any]:
    """The variable `solid`, if there is an obstacle: (z, y, x), and for one that moves (time, z, y, x)."""
    shape, moves = obstacle_over_time("to_xarray", solid, field)
    if shape is None:
        return {}
    if moves and times is None:
        raise InputError("to_xarray: solid moves with the time; times, one for each frame, are accepted with it.")
    moments = np.atleast_1d(times) if moves and times is not None else np.zeros(1)
    inside = [solid_cells(shape(float(time)), field).transpose() for time in moments]
    names = field.grid.axis_names[::-1]
    described = {"long_name": "whether the center of the cell is solid"}
    if moves and times is not None and times.ndim:
        return {"solid": (("time", *names), np.stack(inside), described)}
    return {"solid": (names, inside[0], described)}


def _units(fields: Mapping[str, Any], units: Mapping[str, str] | None) -> dict[str, str]:
    found = {}
    for name, unit in (units or {}).items():
        meant = [one for one in fields if one == name or one in {f"{name}_{axis}" for axis in "xyz"}]
        if not meant:
            raise InputError(f"to_xarray: units has {name!r}; {', '.join(fields)} are accepted.")
        found |= dict.fromkeys(meant, unit)
    return found


def _long_name(name: str, fields: Mapping[str, Any]) -> str:
    vector, _, axis = name.rpartition("_")
    if axis in ("x", "y", "z") and f"{vector}_x" in fields:
        return f"{vector.replace('_', ' ')}, {axis} component"
    return name.replace("_", " ")
