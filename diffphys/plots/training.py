"""Figures of a training: its loss, and the errors of its arms."""

from collections.abc import Mapping
from math import ceil
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator

from diffphys.errors import InputError
from diffphys.plots.theme import (
    COLORS,
    DPI,
    SMALL_TEXT,
    TEXT,
    WIDTH,
    ArrayLike,
    NotebookFigure,
    Number,
    checked_times,
    colors_of,
    dashes_of,
    positive,
    style_axes,
)


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
    times = checked_times(times)
    if not errors or not all(errors.values()):
        raise InputError("errors: needs at least one case, and at least one arm in each, but one is empty")
    curves = {case: {arm: np.asarray(e, float) for arm, e in arms.items()} for case, arms in errors.items()}
    for case, arms in curves.items():
        for arm, error in arms.items():
            if error.shape != times.shape:
                raise InputError(f'errors: "{arm}" of "{case}" has shape {error.shape}, but times has {times.shape}')

    arms = list(dict.fromkeys([arm for of_case in curves.values() for arm in of_case] + list(published or {})))
    colors = colors_of(arms)
    dashes = dashes_of(arms)
    columns = min(len(curves), 3)
    lines = ceil(len(curves) / columns)
    # The legend stands in the hole at the end of the last line; without a hole, above the panels.
    hole = lines * columns > len(curves)
    figure = NotebookFigure(figsize=(WIDTH, 2.1 * lines + (0.5 if hole else 0.9)), dpi=DPI, layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)

    for panel, (case, of_case) in zip(panels.flat, curves.items(), strict=False):
        for arm, error in of_case.items():
            panel.plot(times, positive(error), color=colors[arm], linewidth=1.3, linestyle=dashes[arm])
        for arm, value in (published or {}).items():
            panel.axhline(value, color=colors[arm], linewidth=1.1, linestyle=":")
        panel.set_title(case, fontsize=TEXT)
        style_axes(panel)
    panels[0, 0].set_yscale("log")
    panels[0, 0].xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    every = [error for of_case in curves.values() for error in of_case.values()]
    # An arm that diverges leaves the panel, and does not take the others' axis with it.
    lasting = [error for error in every if np.isfinite(error).all()]
    least = min((error.max() for error in lasting if error.max() > 0), default=np.inf)
    lasting = [error for error in lasting if error.max() <= 1e4 * least]
    _few_decades(panels[0, 0], np.concatenate(lasting or every))
    for index, panel in enumerate(panels.flat):
        if index >= len(curves):
            panel.set_axis_off()
        elif index // columns == lines - 1:
            panel.set_xlabel("time", fontsize=TEXT)
    figure.supylabel(label, fontsize=TEXT)

    drawn = [arm for arm in arms if any(arm in of_case for of_case in curves.values())]
    entries = [Line2D([], [], color=colors[arm], linewidth=1.8, linestyle=dashes[arm], label=arm) for arm in drawn]
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
    loss = positive(losses)
    edges = np.concatenate([[0], np.flatnonzero(np.diff(unroll)) + 1, [losses.size]])
    window = max(11, losses.size // 50)

    figure = NotebookFigure(figsize=(WIDTH, 3.8), dpi=DPI, layout="constrained")
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
    style_axes(panel)
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
    table: Mapping[str, ArrayLike],
    published: Mapping[str, Number] | None = None,
    *,
    label: str = "mean absolute error",
    each: str = "each test case",
) -> Figure:
    """The error of each arm, every test case and their mean, beside the published means, on a logarithmic axis.

    Dots and not bars: a bar's length means nothing where the axis has no zero. The numbers stand in two columns at the
    right.

    Args:
        table: Arm to the error of each test case, (cases,).
        published: Arm to its published mean. An arm that is not in `table` gets a line of its own.
        label: What the values are.
        each: What the small dots are, for the legend.

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

    colors = colors_of(arms)
    figure = NotebookFigure(figsize=(WIDTH, 0.38 * len(arms) + 1.3), dpi=DPI, layout="constrained")
    panel = figure.add_subplot()
    panel.set_xscale("log")
    beside = panel.get_yaxis_transform()  # x in parts of the panel, y the arm's line
    for line, arm in enumerate(arms):
        values = positive(errors[arm]) if arm in errors else np.array([np.nan])
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
    style_axes(panel)
    panel.tick_params(axis="y", length=0, labelsize=TEXT)

    entries = [
        Line2D([], [], linestyle="", marker="o", markersize=4.5, color="0.6", label=each),
        Line2D([], [], linestyle="", marker="o", markersize=8, color="0.3", label="mean"),
    ]
    if published:
        hollow: dict[str, Any] = {"marker": "D", "markersize": 7, "fillstyle": "none", "color": "black"}
        entries.append(Line2D([], [], linestyle="", label="published mean", **hollow))
    figure.legend(handles=entries, loc="outside upper center", ncols=3, fontsize=SMALL_TEXT, frameon=False)
    return figure


def _few_decades(panel: Axes, values: np.ndarray) -> None:
    """Start the axis at most four decades below its top, so that a tiny first error does not squash the rest."""
    shown = positive(values)
    if np.any(shown > 0):
        top = np.nanmax(shown)
        panel.set_ylim(max(0.7 * np.nanmin(shown), 1e-4 * top), 1.5 * top)


def _running_median(values: np.ndarray, window: int, points: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Medians of `window` neighbors (fewer at the ends) around at most `points` places."""
    places = np.unique(np.linspace(0, len(values) - 1, points).round().astype(int))
    around = [values[max(0, place - window // 2) : place + window // 2 + 1] for place in places]
    finite = [near[np.isfinite(near)] for near in around]
    return places, np.array([np.median(near) if near.size else np.nan for near in finite])
