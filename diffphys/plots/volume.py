"""A state in three dimensions as surfaces of equal value or as a cloud, by PyVista (extra `3d`)."""

import os
import sys
from collections.abc import Sequence
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np

from diffphys.errors import InputError, optional
from diffphys.exchange.paraview import rectilinear
from diffphys.grids.named import grid_of
from diffphys.plots.fields import color_range
from diffphys.plots.looking import solid_of
from diffphys.plots.quantities import chosen
from diffphys.plots.theme import SEQUENTIAL_COLORS, Number


def scene(
    state: Any,
    *,
    quantity: str | None = None,
    how: Literal["surfaces", "volume"] = "surfaces",
    levels: Sequence[Number] | None = None,
    solid: Any = None,
    title: str = "",
    size: tuple[int, int] = (900, 700),
) -> Any:
    """A state in three dimensions as surfaces of equal value, or as a cloud that is denser where values are larger.

        plots.scene(final, quantity="vorticity").screenshot("vortices.png")
        plots.scene(final, quantity="smoke", how="volume").show()

    Args:
        state: A field, or a state of any system with fields, in three dimensions; of frames pick one,
            `jax.tree.map(lambda leaf: leaf[-1], frames)`.
        quantity: As for `plot`, one name. Default: the first that `plot` would draw.
        how: "surfaces" or "volume".
        levels: The values of the surfaces. Default: of what has one sign a quarter, a half and three quarters of the
            way from low to high; of what has two a third of the limit of the colors, on either side.
        solid: What is drawn in gray, as for `plot`.
        title: Above it.
        size: Width and height in pixels.

    Returns:
        A `pyvista.Plotter`: `screenshot("name.png")` writes it, `show()` opens a window or, in a notebook, what can be
        turned.

    Raises:
        InputError: for another number of dimensions, frames, an unknown quantity, or where PyVista is not installed.
    """
    pyvista = optional("scene", "pyvista", "3d")
    grid = grid_of("scene", state)
    if grid.dimensions != 3:
        raise InputError(f"scene: state lives on {grid}; three dimensions are accepted (plot draws one and two).")
    if how not in ("surfaces", "volume"):
        raise InputError(f'scene: how is {how!r}; "surfaces" or "volume" is accepted.')
    name, frames = next(iter(chosen("scene", state, quantity).items()))
    if len(frames) != 1:
        raise InputError(f"scene: state has {len(frames)} frames; one state is accepted, as leaf[-1] of each leaf.")
    values = np.where(np.isfinite(frames[0]), frames[0], np.nan)
    label = name.replace("_", " ")
    mesh = rectilinear("scene", grid, {label: values}).cell_data_to_point_data()
    low, high, colors = color_range(values)
    if levels is None:
        levels = [low + part * (high - low) for part in (0.25, 0.5, 0.75)] if low != -high else [low / 3, high / 3]
    off_screen = sys.platform == "linux" and not os.environ.get("DISPLAY")
    plotter = pyvista.Plotter(window_size=list(size), off_screen=off_screen)
    style: Any = {"cmap": colors, "clim": (low, high), "scalar_bar_args": {"title": f"{label}\n", "fmt": "%.3g"}}
    if how == "surfaces":
        surfaces = mesh.contour(list(levels), scalars=label)
        if surfaces.n_points:
            plotter.add_mesh(surfaces, scalars=label, opacity=0.6, smooth_shading=True, **style)
    else:
        opacity = "linear" if colors == SEQUENTIAL_COLORS else [1.0, 0.0, 1.0]
        regular = pyvista.ImageData(
            dimensions=[count + 1 for count in grid.cells],
            spacing=[length / count for length, count in zip(grid.size, grid.cells, strict=True)],
            origin=grid.origin,
        )
        plotter.add_volume(regular.sample(mesh), scalars=label, opacity=opacity, **style)
    shape = solid_of("scene", state, solid)
    if shape is not None:
        lines = [
            edges.reshape([-1 if other == axis else 1 for other in range(3)]) for axis, edges in enumerate(grid.edges)
        ]
        mesh["distance"] = np.asarray(shape.distance([jnp.asarray(line) for line in lines])).ravel("F")
        body = mesh.contour([0.0], scalars="distance")
        if body.n_points:
            plotter.add_mesh(body, color="gray", smooth_shading=True)
    plotter.add_mesh(mesh.outline(), color="black")
    plotter.add_axes()
    if title:
        plotter.add_title(title, font_size=10)
    return plotter
