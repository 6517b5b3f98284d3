"""Curves beside published values, intervals and orders of convergence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from diffphys.errors import InputError
from diffphys.plots.theme import (
    DPI,
    SMALL_TEXT,
    TEXT,
    WIDTH,
    NotebookFigure,
    Number,
    colors_of,
    dashes_of,
    positive,
    style_axes,
)


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
        logarithmic: Whether both axes are, or "x" or "y" for that alone.
    """

    lines: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    points: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    marked: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    bands: Mapping[str, tuple[Number, Number]] = field(default_factory=dict)
    orders: Sequence[Number] = ()
    title: str = ""
    x: str = ""
    y: str = ""
    logarithmic: bool | Literal["x", "y"] = False


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
    figure = NotebookFigure(figsize=(WIDTH, height * lines + 0.2), dpi=DPI, layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False)
    named = [name for panel in panels for name in [*panel.lines, *panel.marked]]
    arms = list(dict.fromkeys(named))
    colors, dashes = colors_of(arms), dashes_of(arms)
    symbols = ("o", "s", "^", "D", "v", "P", "X")
    for axis, panel in zip(axes.flat, panels, strict=False):
        if panel.logarithmic in (True, "y"):
            axis.set_yscale("log")
        if panel.logarithmic in (True, "x"):
            axis.set_xscale("log")
        for index, (name, (low, high)) in enumerate(panel.bands.items()):
            axis.axhspan(low, high, color="0.82" if index % 2 == 0 else "0.9", linewidth=0, label=name, zorder=0)
        for name, (x, y) in panel.lines.items():
            axis.plot(x, y, color=colors[name], linewidth=1.4, linestyle=dashes[name], label=name)
        for index, (name, (x, y)) in enumerate(panel.marked.items()):
            axis.plot(x, y, color=colors[name], linewidth=1.2, marker=symbols[index % 7], markersize=4, label=name)
        for index, (name, (x, y)) in enumerate(panel.points.items()):
            style: Any = dict(
                color="black", marker=symbols[index % 7], markersize=4, markerfacecolor="none", linestyle="none"
            )
            axis.plot(x, y, label=name, zorder=5, **style)
        _draw_orders(axis, panel)
        if panel.logarithmic in (True, "x"):
            _mark_measured(axis, panel)
        axis.tick_params(which="minor", labelsize=SMALL_TEXT - 1)
        axis.set_title(panel.title, fontsize=TEXT)
        axis.set_xlabel(panel.x, fontsize=TEXT)
        axis.set_ylabel(panel.y, fontsize=TEXT)
        style_axes(axis)
        if axis.get_legend_handles_labels()[1]:
            axis.legend(fontsize=SMALL_TEXT - 1, framealpha=0.8, edgecolor="none")
    for axis in list(axes.flat)[len(panels) :]:
        axis.set_axis_off()
    return figure


def _mark_measured(axis: Axes, panel: Panel) -> None:
    """Ticks at the few x of the marked curves: a logarithmic axis of two decades labels what nobody measured."""
    places = np.unique(np.concatenate([np.ravel(np.asarray(x, float)) for x, _ in panel.marked.values()] or [[]]))
    if 1 < len(places) <= (6 if panel.logarithmic is True else 10):
        axis.set_xticks(places, [f"{place:g}" if place >= 1 else f"{place:.2g}" for place in places])
        axis.minorticks_off()
        if panel.logarithmic is True:
            axis.yaxis.minorticks_on()


def _draw_orders(axis: Axes, panel: Panel) -> None:
    """Dashed slopes, each below the marked curve whose own slope is nearest to it, so that the eye can compare."""
    curves = []
    for x, y in panel.marked.values():
        x, y = np.asarray(x, float), positive(np.asarray(y, float))
        if np.isfinite(y).sum() > 1:
            curves.append((x[np.isfinite(y)], y[np.isfinite(y)]))
    for order in panel.orders if curves else ():
        x, y = min(curves, key=lambda curve: abs(np.polyfit(np.log(curve[0]), np.log(curve[1]), 1)[0] - order))
        x, y = x[np.argsort(x)], y[np.argsort(x)]
        slope = 0.6 * np.min(y / x**order) * x**order
        axis.plot(x, slope, color="0.4", linewidth=0.9, linestyle="--", zorder=1)
        place: Any = dict(xytext=(3, -9), textcoords="offset points")
        axis.annotate(f"order {order:g}", (x[-1], slope[-1]), ha="right", fontsize=SMALL_TEXT, color="0.3", **place)
