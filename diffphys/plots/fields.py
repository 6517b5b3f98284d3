"""Pictures of fields over a two-dimensional domain."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.ticker import MaxNLocator

from diffphys.errors import InputError
from diffphys.plots.theme import (
    DPI,
    ERROR_COLORS,
    NAN_COLOR,
    SEQUENTIAL_COLORS,
    SMALL_TEXT,
    SOLID_COLOR,
    TEXT,
    VALUE_COLORS,
    WIDTH,
    ArrayLike,
    NotebookFigure,
    Number,
    checked_times,
)


Solid = Sequence[tuple[ArrayLike, Number]]
Placement = Literal["corners", "cells"]


@runtime_checkable
class FieldLike(Protocol):
    """A `diffphys.Field`, without importing it: the command line imports this file to list what there is."""

    values: Any
    grid: Any


def vorticity(velocity_x: ArrayLike, velocity_y: ArrayLike, spacing: ArrayLike) -> np.ndarray:
    """Vorticity at the interior corners of a bounded two-dimensional staggered grid.

        w[i, j] = (v[i, j] - v[i-1, j]) / dx - (u[i, j] - u[i, j-1]) / dy      0 < i < nx, 0 < j < ny

    Second-order accurate, and exact for a velocity linear in x and y.

    Args:
        velocity_x: u on the faces across x, (..., nx+1, ny), in length per time.
        velocity_y: v on the faces across y, (..., nx, ny+1).
        spacing: (dx, dy), in length.

    Returns:
        (..., nx-1, ny-1), in 1 per time, positive for counterclockwise rotation; leading axes (frames) are kept.

    Raises:
        InputError: the shapes do not fit each other, or `spacing` is not two positive numbers.
    """
    u, v = np.asarray(velocity_x, float), np.asarray(velocity_y, float)
    dx, dy = _two_positive("spacing", spacing)
    if u.ndim < 2 or v.ndim < 2 or u.shape[:-2] != v.shape[:-2] or u.shape[-2:] != (v.shape[-2] + 1, v.shape[-1] - 1):
        raise InputError(
            f"velocity_x {u.shape} and velocity_y {v.shape} are not the faces of one bounded staggered grid: "
            "give (..., nx+1, ny) and (..., nx, ny+1)"
        )
    return np.diff(v, axis=-2)[..., 1:-1] / dx - np.diff(u, axis=-1)[..., 1:-1, :] / dy


def frames_figure(
    rows: Mapping[str, ArrayLike] | FieldLike,
    times: ArrayLike | None = None,
    size: ArrayLike | None = None,
    *,
    solid: Solid | None = None,
    label: str = "vorticity",
    errors: bool = False,
    horizontal: int = 1,
    at: Placement = "corners",
    limit: Number | None = None,
) -> Figure:
    """Snapshots of several flows: one row for each flow, one column for each time, one color scale for all.

    Args:
        rows: Name to frames (times, n0, n1). The first row is the reference. Rows may differ in resolution. Or one
            field in two dimensions, as it is or with a leading axis of times, which knows its lengths.
        times: The time of each column, (times,); of a field's frames 0, 1, ... unless given.
        size: (Lx, Ly), the lengths of the domain.
        solid: Disks (center, radius) drawn in gray, in domain coordinates (x, y).
        label: What the values are, for the color bar.
        errors: Also draw, on a color scale of their own, |row - first row| for every row after the first.
        horizontal: The axis drawn from left to right. For 1 the picture is the usual one turned clockwise by a quarter
            (x points down): a flow along +y runs from left to right, and counterclockwise stays counterclockwise.
        at: Where the values sit: "corners", the interior corners of the grid as `vorticity` returns them, or "cells".
        limit: Colors span [-limit, limit], and [0, limit] where the first row has one sign. Default: the 99th
            percentile of |first row|, so that neither a thin shear layer nor another row that blew up bleaches the
            rest; where it has one sign what it spans.

    Raises:
        InputError: shapes that do not fit each other, or no frames.
    """
    if isinstance(rows, FieldLike):
        rows, times, size, at = *frames_of_field(rows, times), "cells"
    frames, times, lengths = checked_frames(rows, times, size)
    check_horizontal(horizontal)
    reference_name, *others = frames
    error_frames = {}
    if errors:
        for name in others:
            if frames[name].shape != frames[reference_name].shape:
                raise InputError(
                    f'rows: the error of "{name}" {frames[name].shape} needs the shape of "{reference_name}" '
                    f"{frames[reference_name].shape}; leave out errors or give equal shapes"
                )
            error_frames[name] = np.abs(frames[name] - frames[reference_name])

    lines, columns = len(frames) + len(error_frames), len(times)
    figure = roomy_figure(lines, columns, lengths, horizontal, DPI)
    panels = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)

    low, high, scale = color_range_of_rows(frames, limit)
    image = None
    for panel_row, (name, values) in zip(panels, frames.items(), strict=False):
        for panel, frame in zip(panel_row, values, strict=True):
            image = draw_frame(panel, frame, lengths, horizontal, at, solid, scale, low, high)
        panel_row[0].set_ylabel(f"{name}\n{'yx'[horizontal]}", fontsize=TEXT)
    draw_color_bar(figure, image, panels[: len(frames)], label, "both")
    if error_frames:
        top = _percentile(np.concatenate([values.ravel() for values in error_frames.values()]))
        for panel_row, (name, values) in zip(panels[len(frames) :], error_frames.items(), strict=True):
            for panel, frame in zip(panel_row, values, strict=True):
                image = draw_frame(panel, frame, lengths, horizontal, at, solid, ERROR_COLORS, 0.0, top)
            panel_row[0].set_ylabel(f"{name},\nerror\n{'yx'[horizontal]}", fontsize=TEXT)
        draw_color_bar(figure, image, panels[len(frames) :], "|error|", "max")

    for panel, time in zip(panels[0], times, strict=True):
        panel.set_title(f"t = {time:g}", fontsize=TEXT)
    for panel in panels[-1]:
        panel.set_xlabel("xy"[horizontal], fontsize=TEXT, labelpad=1)
    _lay_long_names(figure, panels[:, 0])
    trim_height(figure)
    return figure


def _lay_long_names(figure: Figure, panels: np.ndarray) -> None:
    """Turn the names of rows that are not as high as a name is long, so that none runs into the next."""
    figure.draw_without_rendering()
    labels = [panel.yaxis.label for panel in panels]
    if max(label.get_window_extent().height for label in labels) > panels[0].get_window_extent().height:
        for label in labels:
            label.set(rotation=0, horizontalalignment="right", verticalalignment="center", multialignment="center")


def space_time_figure(
    rows: Mapping[str, ArrayLike], times: ArrayLike, length: Number, *, label: str = "velocity"
) -> Figure:
    """Flows in one dimension: time from left to right, x upward, one panel for each flow, one color scale for all.

    Args:
        rows: Name to values (times, cells). The first row is the reference, whose 99th percentile spans the colors.
            Rows may differ in resolution.
        times: The time of each row of values, (times,), evenly spaced.
        length: L of the domain 0 < x < L.
        label: What the values are, for the color bar.

    Raises:
        InputError: shapes that do not fit each other, or no flows.
    """
    times = checked_times(times)
    check_rows(rows)
    values = {name: np.asarray(row, float) for name, row in rows.items()}
    for name, row in values.items():
        if row.ndim != 2 or len(row) != len(times) or 0 in row.shape:
            raise InputError(f'rows: "{name}" has shape {row.shape}; give ({len(times)}, cells), a row for each time')
    figure = NotebookFigure(figsize=(WIDTH, 1.15 * len(values) + 0.6), dpi=DPI, layout="constrained")
    panels = figure.subplots(len(values), 1, squeeze=False, sharex=True, sharey=True)
    limit = color_limit(values)
    scale = matplotlib.colormaps[VALUE_COLORS].with_extremes(bad=NAN_COLOR)
    image = None
    for panel, (name, row) in zip(panels[:, 0], values.items(), strict=True):
        image = panel.imshow(
            np.where(np.isfinite(row), row, np.nan).T,
            extent=(times[0], times[-1], 0.0, length),
            origin="lower",
            aspect="auto",
            interpolation="nearest",
            cmap=scale,
            vmin=-limit,
            vmax=limit,
        )
        panel.set_ylabel(f"{name}\nx", fontsize=TEXT)
        panel.tick_params(labelsize=SMALL_TEXT, length=2)
        panel.spines[:].set_linewidth(0.6)
    panels[-1, 0].set_xlabel("time", fontsize=TEXT)
    draw_color_bar(figure, image, panels, label, "both")
    return figure


def frames_of_field(field: FieldLike, times: ArrayLike | None) -> tuple[dict[str, np.ndarray], ArrayLike, ArrayLike]:
    """The rows, times and lengths that stand for a field in two dimensions, with or without an axis of times."""
    import jax

    from diffphys.operators import convert

    if field.grid.dimensions != 2:
        raise InputError(f"rows: is a field on {field.grid}; one in two dimensions is accepted, or arrays by name")
    lowest = field.values.ndim - 2
    if lowest > 1:
        raise InputError(
            f"rows: is a field of shape {field.values.shape}; one with at most one leading axis is accepted"
        )
    cells = (0.5,) * 2
    centered = jax.vmap(lambda one: convert(one, cells)) if lowest else lambda one: convert(one, cells)
    values = np.asarray(centered(field).values, float)
    frames = values if lowest else values[None]
    return {"": frames}, np.arange(len(frames)) if times is None else times, field.grid.size


def check_rows(rows: object) -> None:
    """Refuse rows that are no mapping from names, or empty."""
    if not isinstance(rows, Mapping):
        raise InputError(f"rows: is of type {type(rows).__name__}; give a mapping from names to arrays")
    if not rows:
        raise InputError("rows: needs at least one flow, but it is empty")


def checked_frames(
    rows: Mapping[str, ArrayLike], times: ArrayLike | None, size: ArrayLike | None
) -> tuple[dict[str, np.ndarray], np.ndarray, tuple[float, float]]:
    """The frames of each row as arrays, not finite ones as NaN, with the times and the lengths of the domain."""
    times = checked_times(times)
    check_rows(rows)
    frames = {}
    for name, row in rows.items():
        try:
            values = np.asarray(row, float)
        except ValueError:
            raise InputError(f'rows: the frames of "{name}" differ in shape; all frames of a row must agree') from None
        if values.ndim != 3 or len(values) != len(times) or 0 in values.shape:
            raise InputError(
                f'rows: "{name}" has shape {values.shape}; give one two-dimensional array for each of the '
                f"{len(times)} times, ({len(times)}, n0, n1)"
            )
        frames[name] = np.where(np.isfinite(values), values, np.nan)  # drawn in gray: a flow that blew up
    return frames, times, _two_positive("size", size)


def check_horizontal(horizontal: int) -> None:
    """Refuse an axis that is not one of the two."""
    if horizontal not in (0, 1):
        raise InputError(f"horizontal: must be 0 (x from left to right) or 1 (y), but {horizontal} was given")


def _two_positive(name: str, numbers: ArrayLike | None) -> tuple[float, float]:
    pair = np.asarray(np.nan if numbers is None else numbers, float)
    if pair.shape != (2,) or not np.all(np.isfinite(pair) & (pair > 0)):
        raise InputError(f"{name}: must be two positive numbers, one for each axis, but {numbers} was given")
    return float(pair[0]), float(pair[1])


def as_drawn(frame: np.ndarray, horizontal: int) -> np.ndarray:
    """Lines of pixels from the top: x down and y to the right as stored, or y up and x to the right."""
    return frame if horizontal == 1 else frame.T[::-1]


def draw_frame(
    panel: Axes,
    frame: np.ndarray,
    size: tuple[float, float],
    horizontal: int,
    at: Placement,
    solid: Solid | None,
    colors: str,
    low: Number,
    high: Number,
) -> Any:
    """Draw one frame, and the solid in it, on a panel; return the image."""
    # A value fills one spacing around its place, so interior corners leave half a spacing free along the sides.
    free = (0.0, 0.0) if at == "cells" else tuple(0.5 * s / (n + 1) for s, n in zip(size, frame.shape, strict=True))
    (left, right), (down, up) = [(f, s - f) for f, s in zip(free, size, strict=True)]
    extent = (down, up, right, left) if horizontal == 1 else (left, right, down, up)
    scale = matplotlib.colormaps[colors].with_extremes(bad=NAN_COLOR)
    panel.set_facecolor(scale((0.0 - low) / (high - low)))  # the free half spacing looks like zero
    image = panel.imshow(
        as_drawn(frame, horizontal),
        extent=extent,
        cmap=scale,
        vmin=low,
        vmax=high,
        interpolation="bilinear",
        aspect="equal",
    )
    for place, radius in solid or ():
        center = np.asarray(place, float)
        where = (center[1], center[0]) if horizontal == 1 else (center[0], center[1])
        panel.add_patch(Circle(where, radius, facecolor=SOLID_COLOR, edgecolor="0.25", linewidth=0.6, zorder=2))
    if horizontal == 1:
        panel.set(xlim=(0, size[1]), ylim=(size[0], 0))
    else:
        panel.set(xlim=(0, size[0]), ylim=(0, size[1]))
    panel.xaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
    panel.yaxis.set_major_locator(MaxNLocator(2, steps=[1, 2, 5, 10]))
    panel.tick_params(labelsize=SMALL_TEXT - 1, length=2, pad=1.5)
    panel.spines[:].set_linewidth(0.6)
    panel.label_outer()
    return image


def roomy_figure(lines: int, columns: int, size: tuple[float, float], horizontal: int, dpi: Number) -> Figure:
    """A figure high enough for panels as wide as they can be; what is left over goes with `trim_height`."""
    panel_height = WIDTH / columns * (size[0] / size[1] if horizontal == 1 else size[1] / size[0])
    figure = NotebookFigure(figsize=(WIDTH, lines * (panel_height + 0.3) + 1.0), dpi=dpi, layout="compressed")
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.03, wspace=0.01, hspace=0.01)  # type: ignore[union-attr]
    return figure


def trim_height(figure: Figure) -> None:
    """Take from the height what panels of fixed aspect leave empty; their width, which bounds them, stays."""
    figure.draw_without_rendering()
    used = figure.get_tightbbox()
    figure.set_size_inches(WIDTH, used.height + 0.12)


def draw_color_bar(
    figure: Figure, image: Any, panels: np.ndarray, label: str, extend: str, aspect: Number | None = None
) -> None:
    """Draw the color bar of an image beside its panels, so many times longer than wide."""
    aspect = 9 * panels.shape[0] if aspect is None else aspect
    bar = figure.colorbar(image, ax=panels, extend=extend, fraction=0.03, pad=0.015, aspect=aspect)
    bar.set_label(label, fontsize=TEXT)
    bar.ax.tick_params(labelsize=SMALL_TEXT - 1, length=2)
    bar.locator = MaxNLocator(6, symmetric=image.norm.vmin == -image.norm.vmax, steps=[1, 2, 5, 10])
    bar.outline.set_linewidth(0.6)  # type: ignore[operator]
    bar.update_ticks()


def _percentile(values: np.ndarray) -> float:
    """The 99th percentile of the finite values' magnitude, or 1 where that is zero: a color scale needs a width."""
    finite = np.abs(values[np.isfinite(values)])
    return float(np.percentile(finite, 99)) or 1.0 if finite.size else 1.0


def color_range(values: np.ndarray) -> tuple[float, float, str]:
    """Lowest and highest color and the name of the scale: sequential for one sign, symmetric about zero for two.

    Round-off beyond zero is no second sign: less than a thousandth of the range does not count.
    """
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return 0.0, 1.0, SEQUENTIAL_COLORS
    low, high = (float(number) for number in np.percentile(finite, (0.5, 99.5)))
    if low == high:  # nearly all is the same: then the rest is what there is to see
        low, high = float(finite.min()), float(finite.max())
    low, high = (0.0 if abs(end) < 1e-6 * (high - low) else end for end in (low, high))  # round-off about zero
    if min(-low, high) > 1e-3 * (high - low):
        limit = max(-low, high)
        return -limit, limit, VALUE_COLORS
    if high - low <= 1e-6 * max(abs(low), abs(high)):  # a constant, with what single precision adds
        middle = (low + high) / 2
        low, high = middle - 0.5 * (abs(middle) or 1.0), middle + 0.5 * (abs(middle) or 1.0)
    return low, high, SEQUENTIAL_COLORS


def color_range_of_rows(frames: Mapping[str, np.ndarray], limit: Number | None) -> tuple[float, float, str]:
    """Lowest and highest color and the name of the scale for several flows, as the first one has one sign or two."""
    low, high, scale = color_range(next(iter(frames.values())))
    if scale == VALUE_COLORS:
        limit = color_limit(frames) if limit is None else limit
        return -limit, limit, scale
    if limit is not None:
        low, high = (0.0, limit) if high > 0 else (-limit, 0.0)
    return low, high, scale


def color_limit(frames: Mapping[str, np.ndarray]) -> float:
    """The limit of a symmetric color scale: the 99th percentile of the first row's magnitude."""
    return _percentile(next(iter(frames.values())))
