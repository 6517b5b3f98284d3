"""The figure and the table of a comparison of optimizers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter
from rich.table import Table

from diffphys.experiments.comparison import as_number, in_short
from diffphys.plots import COLORS, DPI, WIDTH
from diffphys.runs import Run


def show(run: Run, *, label: str = "error", columns: Mapping[str, str] | None = None) -> Table:
    """Save the figure of all curves and return the table of the last errors.

    Args:
        run: A run whose metrics were written by `compare`.
        label: What the error is.
        columns: Heading to the name of another measured number, shown as the median of its last values.
    """
    columns = columns or {}
    metrics = run.read_metrics()
    published = metrics["paper"]["arms"]
    run.save_figure("curves.png", curves_figure(metrics["arms"], published, label))
    known = ["published"] if any(paper.get("final_error") is not None for paper in published.values()) else []
    table = Table("arm", f"{label}, median", "all seeds", "updates", "seconds", *known, *columns, title=run.program)
    for name, arm in metrics["arms"].items():
        paper = published.get(name, {}).get("final_error")
        seeds = ", ".join(in_short(value) for value in arm["final_errors"])
        last = [in_short(float(np.median([as_number(c[key][-1]) for c in arm["curves"]]))) for key in columns.values()]
        numbers = [str(arm["updates"]), f"{arm['seconds']:.1f}"]
        numbers += [in_short(paper) if paper is not None else ""] * len(known)
        table.add_row(name, in_short(arm["final_error"]), seeds, *numbers, *last)
    return table


def curves_figure(
    arms: Mapping[str, Mapping[str, Any]], published: Mapping[str, Mapping[str, Any]], label: str
) -> Figure:
    """The error of all arms over seconds and over updates: the median of the seeds, and a band over all of them; stars
    are published errors whose seconds are known, on another machine.
    """
    figure = Figure(figsize=(WIDTH, 3.4), dpi=DPI, layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for panel, axis in zip(panels, ("seconds", "updates"), strict=True):
        for number, (name, arm) in enumerate(arms.items()):
            line: dict[str, Any] = {
                "color": COLORS[number % len(COLORS)],
                "linestyle": ("-", "--", ":")[number // len(COLORS) % 3],
            }
            points, low, middle, high = _band(arm["curves"], axis)
            panel.plot(points, middle, label=name, linewidth=1.3, **line)
            if len(arm["curves"]) > 1:
                panel.fill_between(points, low, high, color=line["color"], alpha=0.2, linewidth=0)
            paper = published.get(name, {})
            if axis == "seconds" and {"seconds", "final_error"} <= paper.keys():
                panel.plot(paper["seconds"], paper["final_error"], "*", color=line["color"], markersize=9)
        panel.set_xscale("log")
        panel.set_yscale("log")
        # Plain numbers between powers of ten, and only where those are few.
        panel.xaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1.0, 0.4)))
        panel.set_xlabel("seconds, with compiling" if axis == "seconds" else axis)
        panel.grid(alpha=0.3)
    panels[0].set_ylabel(label)
    panels[1].legend(fontsize=7)
    return figure


def _band(curves: Sequence[Mapping[str, Any]], axis: str) -> tuple[np.ndarray, ...]:
    """Points of an axis that all curves reach, and there the smallest, the median and the largest error."""
    positions = [np.asarray(curve[axis], float) for curve in curves]
    errors = [np.asarray([as_number(error) for error in curve["error"]]) for curve in curves]
    first = max(max(position[0], position[1] * 0.5) for position in positions)
    last = min(position[-1] for position in positions)
    points = np.geomspace(first, max(last, first * 1.01), 200)
    values = np.stack([np.interp(points, p, e) for p, e in zip(positions, errors, strict=True)])
    return points, values.min(0), np.median(values, 0), values.max(0)
