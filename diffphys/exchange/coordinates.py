"""Names and coordinates of the places of a field, as xarray and NetCDF have them."""

import numpy as np

from diffphys.grids import Field


def places(field: Field) -> dict[str, np.ndarray]:
    """For each axis the name of its dimension, `x` at the centers and `x_face` on the faces, and its coordinates."""
    found = {}
    for axis, (name, offset) in enumerate(zip(field.grid.axis_names, field.offset, strict=True)):
        edges = field.grid.edges[axis]
        count = field.values.shape[field.values.ndim - field.grid.dimensions + axis]
        found[name if offset else f"{name}_face"] = (edges[1:] + edges[:-1]) / 2 if offset else edges[:count]
    return found


def line_attributes(dimension: str, unit: str | None) -> dict[str, str]:
    """What a coordinate along a dimension is called, and its unit."""
    axis = dimension[0]
    place = "faces" if dimension.endswith("_face") else "cell centers"
    return {"long_name": f"{axis}, {place}", "axis": axis.upper()} | unit_attribute(unit)


def time_attributes(unit: str | None) -> dict[str, str]:
    """What the coordinate of the time is called, and its unit."""
    return {"long_name": "time", "standard_name": "time", "axis": "T"} | unit_attribute(unit)


def unit_attribute(unit: str | None) -> dict[str, str]:
    """The unit, where there is one."""
    return {} if unit is None else {"units": unit}
