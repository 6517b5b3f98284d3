"""Figures and animations from plain arrays.

Every function takes NumPy arrays (or what becomes one) and returns a `matplotlib.figure.Figure`, which knows no screen
and leaves Matplotlib's global state alone; `diffphys.runs.Run.save_figure` saves it. All are 8.5 inches wide at 150
dpi, so that their text is readable in a page 850 pixels wide, and use colors that color-blind readers tell apart.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle
from matplotlib.ticker import MaxNLocator, NullLocator
from PIL import Image

from diffphys.errors import InputError


if TYPE_CHECKING:
    from numpy.typing import ArrayLike
else:
    # The tests check types as functions are called, which NumPy's recursive type does not survive: it refuses a tuple
    # of numbers. What is given is checked below anyway, in words.
    ArrayLike = Any

WIDTH = 8.5  # inches
DPI = 150
TEXT = 9.0  # points
SMALL_TEXT = 8.0

# The palette of Okabe and Ito ("Color Universal Design", 2008), ordered so that the first two contrast most.
COLORS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")

VALUE_COLORS = "RdBu_r"  # blue to red through white: color-blind readers tell its two sides apart
ERROR_COLORS = "Purples"  # white where there is none, and neither of the two colors of a value
SOLID_COLOR = "0.55"
NAN_COLOR = "0.85"

Number = float | int
Solid = Sequence[tuple[ArrayLike, Number]]
Placement = Literal["corners", "cells"]


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
    rows: Mapping[str, ArrayLike],
    times: ArrayLike,
    size: ArrayLike,
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
        rows: Name to frames (times, n0, n1). The first row is the reference. Rows may differ in resolution.
        times: The time of each column, (times,).
        size: (Lx, Ly), the lengths of the domain.
        solid: Disks (center, radius) drawn in gray, in domain coordinates (x, y).
        label: What the values are, for the color bar.
        errors: Also draw, on a color scale of their own, |row - first row| for every row after the first.
        horizontal: The axis drawn from left to right. For 1 the picture is the usual one turned clockwise by a quarter
            (x points down): a flow along +y runs from left to right, and counterclockwise stays counterclockwise.
        at: Where the values sit: "corners", the interior corners of the grid as `vorticity` returns them, or "cells".
        limit: Colors span [-limit, limit]. Default: the 99th percentile of |first row|, so that neither a thin shear
            layer nor another row that blew up bleaches the rest.

    Raises:
        InputError: shapes that do not fit each other, or no frames.
    """
    frames, times, lengths = _checked_frames(rows, times, size)
    _check_horizontal(horizontal)
    reference_name, *others = frames
    error_frames = {}
    if errors:
        for name in others:
            if frames[name].shape != frames[reference_name].shape:
                raise InputError(
                    f'rows: the error of "{name}" {frames[name].shape} needs the shape of '
                    f'"{reference_name}" {frames[reference_name].shape}; leave out errors or give equal shapes'
                )
            error_frames[name] = np.abs(frames[name] - frames[reference_name])

    lines, columns = len(frames) + len(error_frames), len(times)
    figure = _roomy_figure(lines, columns, lengths, horizontal, DPI)
    panels = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)

    limit = _color_limit(frames) if limit is None else limit
    image = None
    for panel_row, (name, values) in zip(panels, frames.items(), strict=False):
        for panel, frame in zip(panel_row, values, strict=True):
            image = _draw_frame(panel, frame, lengths, horizontal, at, solid, VALUE_COLORS, -limit, limit)
        panel_row[0].set_ylabel(f"{name}\n{'yx'[horizontal]}", fontsize=TEXT)
    _color_bar(figure, image, panels[: len(frames)], label, "both")
    if error_frames:
        top = _percentile(np.concatenate([values.ravel() for values in error_frames.values()]))
        for panel_row, (name, values) in zip(panels[len(frames) :], error_frames.items(), strict=True):
            for panel, frame in zip(panel_row, values, strict=True):
                image = _draw_frame(panel, frame, lengths, horizontal, at, solid, ERROR_COLORS, 0.0, top)
            panel_row[0].set_ylabel(f"{name},\nerror\n{'yx'[horizontal]}", fontsize=TEXT)
        _color_bar(figure, image, panels[len(frames) :], "|error|", "max")

    for panel, time in zip(panels[0], times, strict=True):
        panel.set_title(f"t = {time:g}", fontsize=TEXT)
    for panel in panels[-1]:
        panel.set_xlabel("xy"[horizontal], fontsize=TEXT, labelpad=1)
    _trim(figure)
    return figure


def error_over_time_figure(
    errors: Mapping[str, Mapping[str, ArrayLike]],
    times: ArrayLike,
    published: Mapping[str, Number] | None = None,
    *,
    label: str = "mean absolute error",
) -> Figure:
    """The error of each arm over time on a logarithmic axis, one small panel for each test case.

    Args:
        errors: Case to arm to the error of each frame, (frames,). Values that are zero or not finite leave a gap, as
            the first frame does, where every arm still equals the reference.
        times: The time of each frame, (frames,).
        published: Arm to a published mean over frames and cases, drawn dotted in the color of its arm.
        label: What the values are.

    Raises:
        InputError: no cases, or shapes that do not fit `times`.
    """
    times = _checked_times(times)
    if not errors or not all(errors.values()):
        raise InputError("errors: needs at least one case, and at least one arm in each, but one is empty")
    curves = {case: {arm: np.asarray(e, float) for arm, e in arms.items()} for case, arms in errors.items()}
    for case, arms in curves.items():
        for arm, error in arms.items():
            if error.shape != times.shape:
                raise InputError(f'errors: "{arm}" of "{case}" has shape {error.shape}, but times has {times.shape}')

    arms = list(dict.fromkeys([arm for of_case in curves.values() for arm in of_case] + list(published or {})))
    colors = _colors_of(arms)
    columns = min(len(curves), 3)
    lines = ceil(len(curves) / columns)
    # The legend stands in the hole at the end of the last line; without a hole, above the panels.
    hole = lines * columns > len(curves)
    figure = Figure(figsize=(WIDTH, 2.1 * lines + (0.5 if hole else 0.9)), dpi=DPI, layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)

    for panel, (case, of_case) in zip(panels.flat, curves.items(), strict=False):
        for arm, error in of_case.items():
            panel.plot(times, _positive(error), color=colors[arm], linewidth=1.3)
        for arm, value in (published or {}).items():
            panel.axhline(value, color=colors[arm], linewidth=1.1, linestyle=":")
        panel.set_title(case, fontsize=TEXT)
        _style(panel)
    panels[0, 0].set_yscale("log")
    panels[0, 0].xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    _few_decades(panels[0, 0], np.concatenate([e for of_case in curves.values() for e in of_case.values()]))
    for index, panel in enumerate(panels.flat):
        if index >= len(curves):
            panel.set_axis_off()
        elif index // columns == lines - 1:
            panel.set_xlabel("time", fontsize=TEXT)
    figure.supylabel(label, fontsize=TEXT)

    drawn = [arm for arm in arms if any(arm in of_case for of_case in curves.values())]
    entries = [Line2D([], [], color=colors[arm], linewidth=1.8, label=arm) for arm in drawn]
    entries += [
        Line2D([], [], color=colors[arm], linewidth=1.3, linestyle=":", label=f"{arm}, published mean")
        for arm in (published or {})
    ]
    if hole:
        panels[-1, -1].legend(handles=entries, loc="center", fontsize=TEXT, frameon=False)
    else:
        columns_of_legend = min(len(entries), 4)
        figure.legend(
            handles=entries, loc="outside upper center", ncols=columns_of_legend, fontsize=TEXT, frameon=False
        )
    return figure


def training_loss_figure(losses: ArrayLike, unroll: ArrayLike, *, label: str = "training loss") -> Figure:
    """The loss of every update on a logarithmic axis, with its running median and the stages of the curriculum.

    The median runs over 2 % of the updates (at least 11) and never across two stages, whose losses are sums over
    different numbers of steps.

    Args:
        losses: (updates,). Values that are not positive and finite leave a gap.
        unroll: The number n of unrolled steps in each update, (updates,); equal neighbors are one stage.
        label: What the values are.

    Raises:
        InputError: no updates, or the two shapes differ.
    """
    losses, unroll = np.asarray(losses, float), np.asarray(unroll)
    if losses.ndim != 1 or losses.shape != unroll.shape or losses.size == 0:
        raise InputError(
            f"losses {losses.shape} and unroll {unroll.shape} must both be (updates,), with at least one update"
        )
    updates = np.arange(1, losses.size + 1)
    loss = _positive(losses)
    edges = np.concatenate([[0], np.flatnonzero(np.diff(unroll)) + 1, [losses.size]])
    window = max(11, losses.size // 50)

    figure = Figure(figsize=(WIDTH, 3.8), dpi=DPI, layout="constrained")
    panel = figure.add_subplot()
    panel.set_yscale("log")
    panel.plot(updates, loss, color=COLORS[5], linewidth=0.5, alpha=0.7, label="each update", rasterized=True)
    for stage, (start, end) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
        panel.axvspan(start + 0.5, end + 0.5, color="0.93" if stage % 2 else "1.0", linewidth=0, zorder=0)
        center, median = _running_median(loss[start:end], window)
        name = "running median" if stage == 0 else None
        panel.plot(start + 1 + center, median, color=COLORS[1], linewidth=1.8, label=name)
    panel.set_xlim(0.5, losses.size + 0.5)
    panel.set_xlabel("update", fontsize=TEXT)
    panel.set_ylabel(label, fontsize=TEXT)
    panel.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10], integer=True))
    _style(panel)
    figure.legend(loc="outside lower center", ncols=2, fontsize=TEXT, frameon=False)

    heads = panel.secondary_xaxis("top")
    centers, names, free_from = [], [], 0.0
    for start, end in zip(edges[:-1], edges[1:], strict=True):
        center = 0.5 * (start + end + 1)
        # A stage too narrow for its number beside the one before keeps only its shade.
        if center - 0.015 * losses.size >= free_from:
            centers.append(center)
            names.append(f"{unroll[start]:g}")
            free_from = center + 0.015 * losses.size
    heads.set_xticks(centers, names, fontsize=SMALL_TEXT)
    heads.xaxis.set_minor_locator(NullLocator())
    heads.tick_params(length=0)
    heads.set_xlabel("n, steps unrolled", fontsize=TEXT)
    return figure


def arms_figure(
    table: Mapping[str, ArrayLike], published: Mapping[str, Number] | None = None, *, label: str = "mean absolute error"
) -> Figure:
    """The error of each arm, every test case and their mean, beside the published means, on a logarithmic axis.

    Dots and not bars: a bar's length means nothing where the axis has no zero. The numbers stand in two columns at the
    right.

    Args:
        table: Arm to the error of each test case, (cases,).
        published: Arm to its published mean. An arm that is not in `table` gets a line of its own.
        label: What the values are.

    Raises:
        InputError: no arms, or errors that are not a list of numbers.
    """
    published = dict(published or {})
    errors = {arm: np.asarray(values, float) for arm, values in table.items()}
    for arm, values in errors.items():
        if values.ndim != 1 or values.size == 0:
            raise InputError(f'table: "{arm}" has shape {values.shape}; give one error for each case, (cases,)')
    arms = list(dict.fromkeys([*errors, *published]))
    if not arms:
        raise InputError("table: needs at least one arm, but it is empty")

    colors = _colors_of(arms)
    figure = Figure(figsize=(WIDTH, 0.38 * len(arms) + 1.3), dpi=DPI, layout="constrained")
    panel = figure.add_subplot()
    panel.set_xscale("log")
    beside = panel.get_yaxis_transform()  # x in parts of the panel, y the arm's line
    for line, arm in enumerate(arms):
        values = _positive(errors[arm]) if arm in errors else np.array([np.nan])
        mean = float(np.mean(errors[arm])) if arm in errors else np.nan
        below = np.full(values.shape, line + 0.24)  # so that the mean hides none of them
        panel.scatter(values, below, s=16, color=colors[arm], alpha=0.6, linewidths=0)
        if mean > 0 and np.isfinite(mean):
            panel.scatter([mean], [line], s=80, color=colors[arm], edgecolors="white", linewidths=0.8, zorder=3)
        if arm in published:
            panel.plot([published[arm]], [line], "D", markersize=7.5, fillstyle="none", color="black", zorder=4)
        number = f"{mean:#.3g}" if np.isfinite(mean) else "–" if arm not in errors else "diverged"
        panel.text(1.02, line, number, transform=beside, va="center", fontsize=TEXT, weight="bold")
        if published:
            number = f"{published[arm]:g}" if arm in published else "–"
            panel.text(1.15, line, number, transform=beside, va="center", fontsize=TEXT)
    panel.text(1.02, -0.75, "mean", transform=beside, va="center", fontsize=SMALL_TEXT)
    if published:
        panel.text(1.15, -0.75, "published", transform=beside, va="center", fontsize=SMALL_TEXT)
    panel.set_yticks(range(len(arms)), arms, fontsize=TEXT)
    panel.set_ylim(len(arms) - 0.5, -0.5)
    panel.set_xlabel(label, fontsize=TEXT)
    _style(panel)
    panel.tick_params(axis="y", length=0, labelsize=TEXT)

    entries = [
        Line2D([], [], linestyle="", marker="o", markersize=4.5, color="0.6", label="each test case"),
        Line2D([], [], linestyle="", marker="o", markersize=8, color="0.3", label="mean"),
    ]
    if published:
        hollow: dict[str, Any] = {"marker": "D", "markersize": 7, "fillstyle": "none", "color": "black"}
        entries.append(Line2D([], [], linestyle="", label="published mean", **hollow))
    figure.legend(handles=entries, loc="outside upper center", ncols=3, fontsize=SMALL_TEXT, frameon=False)
    return figure


def write_animation(
    path: str | Path,
    rows: Mapping[str, ArrayLike],
    times: ArrayLike,
    size: ArrayLike,
    *,
    solid: Solid | None = None,
    label: str = "vorticity",
    horizontal: int = 1,
    at: Placement = "corners",
    limit: Number | None = None,
    columns: int | None = None,
    frames_per_second: Number = 12.5,
    dpi: Number = 100,
) -> None:
    """Write the flows side by side over time as a GIF that repeats for ever.

    All frames share one palette, made of the color scale and of grays, so the file stays small and nothing flickers.

    Args:
        path: The file; its name needs no suffix, as a temporary one may have none.
        rows: Name to frames (times, n0, n1), as in `frames_figure`, from which also the arguments not named here.
        times: The time of each frame, (times,).
        size: (Lx, Ly), the lengths of the domain.
        solid: Disks (center, radius) drawn in gray.
        label: What the values are, for the color bar.
        horizontal: The axis drawn from left to right.
        at: Where the values sit, "corners" or "cells".
        limit: Colors span [-limit, limit].
        columns: Panels beside each other. Default: all.
        frames_per_second: Readers of GIF files round its inverse to hundredths of a second, and slow down above 50.
        dpi: Pixels per inch of the 8.5 inches of width.

    Raises:
        InputError: shapes that do not fit each other, or no frames.
    """
    frames, times, lengths = _checked_frames(rows, times, size)
    _check_horizontal(horizontal)
    if not frames_per_second > 0:
        raise InputError(f"frames_per_second: must be positive, but {frames_per_second} was given")
    columns = len(frames) if columns is None else max(1, min(columns, len(frames)))
    lines = ceil(len(frames) / columns)
    figure = _roomy_figure(lines, columns, lengths, horizontal, dpi)
    panels = figure.subplots(lines, columns, squeeze=False)

    limit = _color_limit(frames) if limit is None else limit
    images = []
    for panel, (name, values) in zip(panels.flat, frames.items(), strict=False):
        images.append(_draw_frame(panel, values[0], lengths, horizontal, at, solid, VALUE_COLORS, -limit, limit))
        panel.set_title(name, fontsize=TEXT + 1)
        panel.set_xticks([])
        panel.set_yticks([])
    for panel in panels.flat[len(frames) :]:
        panel.set_axis_off()
    _color_bar(figure, images[0], panels, label, "both")
    clock = panels[-1, 0].set_xlabel(f"t = {times[0]:g}", fontsize=TEXT, loc="left")

    canvas = FigureCanvasAgg(figure)
    _trim(figure)
    canvas.draw()
    figure.set_layout_engine("none")  # one layout for all frames: nothing jumps, and drawing is several times faster
    palette = _palette()
    pictures = []
    for index, time in enumerate(times):
        for image, values in zip(images, frames.values(), strict=True):
            image.set_data(_as_drawn(values[index], horizontal))
        clock.set_text(f"t = {time:g}")
        canvas.draw()
        picture = Image.fromarray(_nearest(np.asarray(canvas.buffer_rgba())[..., :3], palette))
        picture.putpalette(palette.tobytes())
        pictures.append(picture)
    pictures[0].save(
        path,
        format="GIF",  # said here because a temporary path may have any name
        save_all=True,
        append_images=pictures[1:],
        duration=round(1000 / frames_per_second),
        loop=0,
        optimize=False,  # would give each frame a palette of its own
    )


def save_for_page(figure: Path, target: Path) -> None:
    """Copy a figure's PNG with 64 colors, which a line drawing needs at most: a third as large.

    Args:
        figure: The file to read.
        target: The file to write; its directory is made.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(figure) as picture:
        picture.convert("RGB").quantize(64, dither=Image.Dither.NONE).save(target, optimize=True)


def _checked_frames(
    rows: Mapping[str, ArrayLike], times: ArrayLike, size: ArrayLike
) -> tuple[dict[str, np.ndarray], np.ndarray, tuple[float, float]]:
    times = _checked_times(times)
    if not rows:
        raise InputError("rows: needs at least one flow, but it is empty")
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


def _checked_times(times: ArrayLike) -> np.ndarray:
    times = np.asarray(times, float)
    if times.ndim != 1 or times.size == 0:
        raise InputError(f"times: has shape {times.shape}; give at least one number, (times,)")
    return times


def _check_horizontal(horizontal: int) -> None:
    if horizontal not in (0, 1):
        raise InputError(f"horizontal: must be 0 (x from left to right) or 1 (y), but {horizontal} was given")


def _two_positive(name: str, numbers: ArrayLike) -> tuple[float, float]:
    pair = np.asarray(numbers, float)
    if pair.shape != (2,) or not np.all(np.isfinite(pair) & (pair > 0)):
        raise InputError(f"{name}: must be two positive numbers, one for each axis, but {numbers} was given")
    return float(pair[0]), float(pair[1])


def _as_drawn(frame: np.ndarray, horizontal: int) -> np.ndarray:
    """Lines of pixels from the top: x down and y to the right as stored, or y up and x to the right."""
    return frame if horizontal == 1 else frame.T[::-1]


def _draw_frame(
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
    # A value fills one spacing around its place, so interior corners leave half a spacing free along the sides.
    free = (0.0, 0.0) if at == "cells" else tuple(0.5 * s / (n + 1) for s, n in zip(size, frame.shape, strict=True))
    (left, right), (down, up) = [(f, s - f) for f, s in zip(free, size, strict=True)]
    extent = (down, up, right, left) if horizontal == 1 else (left, right, down, up)
    scale = matplotlib.colormaps[colors].with_extremes(bad=NAN_COLOR)
    panel.set_facecolor(scale((0.0 - low) / (high - low)))  # the free half spacing looks like zero
    image = panel.imshow(
        _as_drawn(frame, horizontal),
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


def _roomy_figure(lines: int, columns: int, size: tuple[float, float], horizontal: int, dpi: Number) -> Figure:
    """A figure high enough for panels as wide as they can be; what is left over goes with `_trim`."""
    panel_height = WIDTH / columns * (size[0] / size[1] if horizontal == 1 else size[1] / size[0])
    figure = Figure(figsize=(WIDTH, lines * (panel_height + 0.3) + 1.0), dpi=dpi, layout="compressed")
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.03, wspace=0.01, hspace=0.01)  # type: ignore[union-attr]
    return figure


def _trim(figure: Figure) -> None:
    """Take from the height what panels of fixed aspect leave empty; their width, which bounds them, stays."""
    figure.draw_without_rendering()
    used = figure.get_tightbbox()
    figure.set_size_inches(WIDTH, used.height + 0.12)


def _color_bar(figure: Figure, image: Any, panels: np.ndarray, label: str, extend: str) -> None:
    bar = figure.colorbar(image, ax=panels, extend=extend, fraction=0.03, pad=0.015, aspect=9 * panels.shape[0])
    bar.set_label(label, fontsize=TEXT)
    bar.ax.tick_params(labelsize=SMALL_TEXT - 1, length=2)
    bar.locator = MaxNLocator(6, symmetric=extend == "both", steps=[1, 2, 5, 10])
    bar.outline.set_linewidth(0.6)  # type: ignore[operator]
    bar.update_ticks()


def _percentile(values: np.ndarray) -> float:
    """The 99th percentile of the finite values' magnitude, or 1 where that is zero: a color scale needs a width."""
    finite = np.abs(values[np.isfinite(values)])
    return float(np.percentile(finite, 99)) or 1.0 if finite.size else 1.0


def _color_limit(frames: Mapping[str, np.ndarray]) -> float:
    return _percentile(next(iter(frames.values())))


def _colors_of(arms: Sequence[str]) -> dict[str, str]:
    return {arm: COLORS[index % len(COLORS)] for index, arm in enumerate(arms)}


def _positive(values: np.ndarray) -> np.ndarray:
    """What a logarithmic axis can show; NaN elsewhere, which leaves a gap."""
    return np.where(np.isfinite(values) & (values > 0), values, np.nan)


def _few_decades(panel: Axes, values: np.ndarray) -> None:
    """Start the axis at most four decades below its top, so that a tiny first error does not squash the rest."""
    shown = _positive(values)
    if np.any(shown > 0):
        top = np.nanmax(shown)
        panel.set_ylim(max(0.7 * np.nanmin(shown), 1e-4 * top), 1.5 * top)


def _running_median(values: np.ndarray, window: int, points: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Medians of `window` neighbors (fewer at the ends) around at most `points` places."""
    places = np.unique(np.linspace(0, len(values) - 1, points).round().astype(int))
    around = [values[max(0, place - window // 2) : place + window // 2 + 1] for place in places]
    finite = [near[np.isfinite(near)] for near in around]
    return places, np.array([np.median(near) if near.size else np.nan for near in finite])


def _style(panel: Axes) -> None:
    panel.tick_params(labelsize=SMALL_TEXT)
    panel.grid(True, which="major", color="0.88", linewidth=0.6)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)


def _palette() -> np.ndarray:
    """The palette of all frames, (128, 3): the color scale, with white in its middle, and grays for all else.

    Half of what a GIF may hold: more steps are hardly seen, and weak noise that crosses them costs much space.
    """
    scale = matplotlib.colormaps[VALUE_COLORS](np.linspace(0, 1, 95))[:, :3]
    grays = np.repeat(np.linspace(0, 1, 33)[:, None], 3, axis=1)
    return (255 * np.concatenate([scale, grays])).round().astype(np.uint8)


def _nearest(picture: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """The index of each pixel's nearest color. Pillow's own search is coarse: it would turn white into a light gray."""
    red, green, blue = np.moveaxis(picture.astype(np.int32), -1, 0)
    colors, where = np.unique(red << 16 | green << 8 | blue, return_inverse=True)
    shades = np.stack([colors >> 16, colors >> 8 & 255, colors & 255], axis=-1)
    distance = np.sum((shades[:, None] - palette.astype(np.int32)) ** 2, axis=-1)
    return np.argmin(distance, axis=1).astype(np.uint8)[where].reshape(picture.shape[:2])


# Curves ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Panel:
    """What one panel of `panels_figure` shows.

    Attributes:
        lines: Name to (x, y) of a curve.
        points: Name to (x, y) of published or exact values, drawn as open symbols on top of the curves.
        marked: Name to (x, y) of a measured curve with a symbol at each of its few points.
        bands: Name to (lower, upper) of an interval of y, drawn across the panel.
        orders: Powers of x drawn as dashed slopes below the marked curves of a logarithmic panel.
        title: Above it.
        x, y: What the axes are.
        logarithmic: Whether both axes are, or "y" for that alone.
    """

    lines: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    points: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    marked: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    bands: Mapping[str, tuple[Number, Number]] = field(default_factory=dict)
    orders: Sequence[Number] = ()
    title: str = ""
    x: str = ""
    y: str = ""
    logarithmic: bool | Literal["y"] = False


def panels_figure(panels: Sequence[Panel], columns: int = 2, height: Number = 3.0) -> Figure:
    """Panels of curves beside published values, intervals and orders of convergence.

    A name has one color in all panels; each panel has its own legend.

    Args:
        panels: The panels, line by line.
        columns: How many stand beside each other.
        height: Of one panel, in inches.

    Raises:
        InputError: no panels.
    """
    if not panels:
        raise InputError("panels: needs at least one panel, but it is empty")
    columns = min(columns, len(panels))
    lines = ceil(len(panels) / columns)
    figure = Figure(figsize=(WIDTH, height * lines + 0.2), dpi=DPI, layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False)
    named = [name for panel in panels for name in [*panel.lines, *panel.marked]]
    colors = _colors_of(list(dict.fromkeys(named)))
    symbols = ("o", "s", "^", "D", "v", "P", "X")
    for axis, panel in zip(axes.flat, panels, strict=False):
        if panel.logarithmic:
            axis.set_yscale("log")
        if panel.logarithmic is True:
            axis.set_xscale("log")
        for index, (name, (low, high)) in enumerate(panel.bands.items()):
            axis.axhspan(low, high, color="0.82" if index % 2 == 0 else "0.9", linewidth=0, label=name, zorder=0)
        for name, (x, y) in panel.lines.items():
            axis.plot(x, y, color=colors[name], linewidth=1.4, label=name)
        for index, (name, (x, y)) in enumerate(panel.marked.items()):
            axis.plot(x, y, color=colors[name], linewidth=1.2, marker=symbols[index % 7], markersize=4, label=name)
        for index, (name, (x, y)) in enumerate(panel.points.items()):
            style: Any = dict(
                color="black", marker=symbols[index % 7], markersize=4, markerfacecolor="none", linestyle="none"
            )
            axis.plot(x, y, label=name, zorder=5, **style)
        _draw_orders(axis, panel)
        if panel.logarithmic is True:
            _mark_measured(axis, panel)
        axis.tick_params(which="minor", labelsize=SMALL_TEXT - 1)
        axis.set_title(panel.title, fontsize=TEXT)
        axis.set_xlabel(panel.x, fontsize=TEXT)
        axis.set_ylabel(panel.y, fontsize=TEXT)
        _style(axis)
        if axis.get_legend_handles_labels()[1]:
            axis.legend(fontsize=SMALL_TEXT - 1, framealpha=0.8, edgecolor="none")
    for axis in list(axes.flat)[len(panels) :]:
        axis.set_axis_off()
    return figure


def _mark_measured(axis: Axes, panel: Panel) -> None:
    """Ticks at the few x of the marked curves: a logarithmic axis of two decades labels what nobody measured."""
    places = np.unique(np.concatenate([np.ravel(np.asarray(x, float)) for x, _ in panel.marked.values()] or [[]]))
    if 1 < len(places) <= 6:
        axis.set_xticks(places, [f"{place:g}" if place >= 1 else f"{place:.2g}" for place in places])
        axis.minorticks_off()
        axis.yaxis.minorticks_on()


def _draw_orders(axis: Axes, panel: Panel) -> None:
    """Dashed slopes, each below the marked curve whose own slope is nearest to it, so that the eye can compare."""
    curves = []
    for x, y in panel.marked.values():
        x, y = np.asarray(x, float), _positive(np.asarray(y, float))
        if np.isfinite(y).sum() > 1:
            curves.append((x[np.isfinite(y)], y[np.isfinite(y)]))
    for order in panel.orders if curves else ():
        x, y = min(curves, key=lambda curve: abs(np.polyfit(np.log(curve[0]), np.log(curve[1]), 1)[0] - order))
        x, y = x[np.argsort(x)], y[np.argsort(x)]
        slope = 0.6 * np.min(y / x**order) * x**order
        axis.plot(x, slope, color="0.4", linewidth=0.9, linestyle="--", zorder=1)
        place: Any = dict(xytext=(3, -9), textcoords="offset points")
        axis.annotate(f"order {order:g}", (x[-1], slope[-1]), ha="right", fontsize=SMALL_TEXT, color="0.3", **place)
