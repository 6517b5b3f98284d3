"""What of a dataset can be looked at: its variables, the size of its vectors, and the vorticity."""

from collections.abc import Callable, Sequence

import numpy as np
import xarray

from diffphys import plots


SOLID = "solid"


def quantities(data: xarray.Dataset) -> dict[str, Callable[[], xarray.DataArray]]:
    """From names to functions that compute what is shown; first what most people look for.

    `NAME_x` and `NAME_y` are a vector: `|NAME|` is its magnitude at the cell centers, and in two dimensions `vorticity`
    is that of `velocity`. `solid` is drawn over the others.
    """
    found: dict[str, Callable[[], xarray.DataArray]] = {}
    for name in [str(one)[:-2] for one in data.data_vars if str(one).endswith("_x")]:
        parts = [data[f"{name}_{axis}"] for axis in "xyz" if f"{name}_{axis}" in data]
        if name == "velocity" and len(parts) == 2:
            found["vorticity"] = lambda parts=parts: vorticity(*parts)
        if len(parts) > 1:
            found[f"|{name}|"] = lambda parts=parts: magnitude(parts)
    others = {str(name): variable for name, variable in data.data_vars.items() if name != SOLID}
    return {**found, **{name: lambda variable=variable: variable for name, variable in others.items()}}


def magnitude(parts: Sequence[xarray.DataArray]) -> xarray.DataArray:
    """The length of a vector at the cell centers."""
    squares = [at_centers(part) ** 2 for part in parts]
    return sum(squares[1:], squares[0]) ** 0.5  # where all have values


def vorticity(u: xarray.DataArray, v: xarray.DataArray) -> xarray.DataArray:
    """dv/dx - du/dy, positive counterclockwise: of bounded faces between four cells, else from differences of the
    values at the cell centers.
    """
    leading = [str(one) for one in u.dims if one in ("case", "time")]
    if {"x_face", "y"} <= {*u.dims} and {"x", "y_face"} <= {*v.dims} and u.sizes["x_face"] == v.sizes["x"] + 1:
        u, v = u.transpose(*leading, "x_face", "y"), v.transpose(*leading, "x", "y_face")
        x, y = u["x_face"].values, v["y_face"].values
        uniform = all(np.allclose(np.diff(line), line[1] - line[0]) for line in (x, y))
        if uniform and u.sizes["y"] + 1 == v.sizes["y_face"]:
            values = plots.vorticity(u.values, v.values, (x[1] - x[0], y[1] - y[0]))
            lines = {one: u[one] for one in leading if one in u.coords}
            return xarray.DataArray(values, lines | {"x": x[1:-1], "y": y[1:-1]}, [*leading, "x", "y"])
    return at_centers(v).differentiate("x") - at_centers(u).differentiate("y")


def at_centers(variable: xarray.DataArray) -> xarray.DataArray:
    """The means of neighbors, where values stand on faces; the last cell of a periodic axis is left out."""
    for face in [str(one) for one in variable.dims if str(one).endswith("_face")]:
        line = variable[face].values
        lower, upper = variable.isel({face: slice(None, -1)}), variable.isel({face: slice(1, None)})
        center = face.removesuffix("_face")
        mean = lower.copy(data=(lower.values + upper.values) / 2)
        variable = mean.assign_coords({face: (line[1:] + line[:-1]) / 2}).rename({face: center})
    return variable
