"""Figures of Bokeh: fields as colors or curves, and charts of numbers that grow."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from bokeh.models import (
    BasicTicker,
    ColorBar,
    ColumnDataSource,
    HoverTool,
    Legend,
    LinearColorMapper,
    LogTicker,
    PrintfTickFormatter,
    Range1d,
)
from bokeh.plotting import figure
from matplotlib import colormaps
from matplotlib.colors import to_hex

from diffphys.plots import COLORS
from diffphys.plots.fields import color_range
from diffphys.view.frames import Drawn


TOOLS = "pan,box_zoom,reset,save"
WIDEST = 520  # pixels of a picture of a field
TALLEST = 640
BODY_COLOR = "#9a9a9a"
Lines = Mapping[str, tuple[np.ndarray, np.ndarray]]


class Colors:
    """A field in a plane as colors; moving through time changes the numbers alone.

    Args:
        title: Above it.
        field: What is drawn.
        limits: Lowest and highest color, and the scale.
        solid: Where an obstacle is, drawn in gray; or None.
    """

    def __init__(self, title: str, field: Drawn, limits: tuple[float, float, str], solid: Drawn | None = None):
        self.field, self.solid = field, solid
        left, right, low, high = field.extent
        up_name, right_name = list(field.lines)[-2:]
        ratio = (high - low) / (right - left)
        ratio = ratio if 0.1 < ratio < 10 else 1.0
        beside, below = 112, 100  # pixels of axes, title, color bar and tools
        width = min(WIDEST, (TALLEST - below) / ratio + beside)
        self.source = ColumnDataSource({"image": [field.plane(0)]})
        smallest, largest, scale = limits
        palette = [to_hex(colormaps[scale](part)) for part in np.linspace(0, 1, 256)]
        mapper = LinearColorMapper(palette=palette, low=smallest, high=largest, nan_color="#d9d9d9")
        self.figure = figure(
            title=title,
            tools=TOOLS,
            x_range=Range1d(start=left, end=right),
            y_range=Range1d(start=low, end=high),
            x_axis_label=_axis(right_name),
            y_axis_label=_axis(up_name),
            sizing_mode="scale_width",
            max_width=round(width),
            aspect_ratio=width / ((width - beside) * ratio + below),
            toolbar_location="below",
            styles={"flex": "1 1 300px"},
        )
        self.figure.xaxis.ticker = BasicTicker(desired_num_ticks=4)
        place: dict[str, Any] = {"x": left, "y": low, "dw": right - left, "dh": high - low, "color_mapper": mapper}
        drawn = self.figure.image("image", source=self.source, **place)
        self.body = ColumnDataSource({"image": [] if solid is None else [solid.plane(0)]})
        if solid is not None:
            gray = LinearColorMapper(palette=[BODY_COLOR], low=0.5, high=1.0, low_color=(0, 0, 0, 0.0))
            left, right, low, high = solid.extent
            place = {"x": left, "y": low, "dw": right - left, "dh": high - low, "color_mapper": gray}
            self.figure.image("image", source=self.body, **place)
        bar = ColorBar(color_mapper=mapper, width=10, label_standoff=4, ticker=BasicTicker(desired_num_ticks=5))
        self.figure.add_layout(bar, "right")
        hover = HoverTool(renderers=[drawn], tooltips=[(right_name, "$x"), (up_name, "$y"), (field.name, "@image")])
        self.figure.add_tools(hover)
        self.figure.toolbar.logo = None

    def show(self, frame: int, across: int = 0) -> None:
        """Draw another frame."""
        self.source.data = {"image": [self.field.plane(frame, across)]}
        if self.solid is not None:
            moment = min(frame, len(self.solid.values) - 1)  # the only one of what rests
            self.body.data = {"image": [self.solid.plane(moment, min(across, len(self.solid.values[moment]) - 1))]}


class Curves:
    """Fields over one line, together in one figure.

    Args:
        title: Above it.
        fields: What is drawn, by the name of its curve.
        known: The names of those that others are compared with, which are gray.
    """

    def __init__(self, title: str, fields: Mapping[str, Drawn], known: Collection[str]):
        self.fields = dict(fields)
        first = next(iter(fields.values()))
        (line_name,) = first.lines
        self.figure = figure(
            title=title,
            tools=TOOLS,
            x_axis_label=_axis(line_name),
            y_axis_label=first.name,
            sizing_mode="stretch_width",
            height=380,
            max_width=900,
            toolbar_location="below",
        )
        self.figure.toolbar.logo = None
        finite = np.concatenate([field.values[np.isfinite(field.values)] for field in fields.values()])
        low, high = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
        margin = 0.05 * (high - low) or 0.5
        self.figure.y_range = Range1d(start=low - margin, end=high + margin)
        self.sources, items, colors = {}, [], iter(COLORS)
        for name, field in fields.items():
            (points,) = field.lines.values()
            gray: dict[str, Any] = {"color": "#888888", "width": 5, "alpha": 0.6}
            style = gray if name in known else {"color": next(colors)}
            self.sources[name] = ColumnDataSource({"x": points, "y": field.values[0]})
            line = self.figure.line(
                "x",
                "y",
                source=self.sources[name],
                line_color=style["color"],
                line_width=style.get("width", 2),
                line_alpha=style.get("alpha", 1.0),
            )
            items.append((name, [line]))
        self.figure.add_layout(_legend(items), "above")

    def show(self, frame: int, across: int = 0) -> None:
        """Draw another frame: of each curve the one that is nearest in time."""
        del across
        first = next(iter(self.fields.values()))
        time = None if first.times is None else float(first.times[frame])
        for name, field in self.fields.items():
            (line,) = field.lines.values()
            self.sources[name].data = {"x": line, "y": field.values[field.nearest(time)]}


class Chart:
    """Numbers over numbers, a line each; they may grow.

    Args:
        title: Above it.
        across: What is drawn across.
        upward: What is drawn upward.
        lines: By name.
        beside: For each line of a second run, dashed, the one of the first run whose color it has.
        logarithmic: Whether the axes are, across and upward.
    """

    def __init__(
        self,
        title: str,
        across: str,
        upward: str,
        lines: Lines,
        beside: Mapping[str, str],
        logarithmic: tuple[bool, bool],
    ):
        self.logarithmic, self.key = logarithmic, (title, across, upward, tuple(lines), logarithmic)
        kinds: dict[str, Any] = dict(zip(("x_axis_type", "y_axis_type"), map(_kind, logarithmic), strict=True))
        self.figure = figure(
            title=title,
            tools=TOOLS,
            x_axis_label=across,
            y_axis_label=upward,
            sizing_mode="stretch_width",
            height=420,
            toolbar_location="below",
            **kinds,
        )
        for axis, is_logarithmic in zip((self.figure.xaxis, self.figure.yaxis), logarithmic, strict=True):
            if is_logarithmic:
                axis.ticker = LogTicker(mantissas=[1, 2, 5], desired_num_ticks=6, num_minor_ticks=0)
                axis.formatter = PrintfTickFormatter(format="%g")
        self.figure.toolbar.logo = None
        self.sources, items = {}, []
        names = list(dict.fromkeys(beside.get(name, name) for name in lines))
        for name, values in lines.items():
            self.sources[name] = ColumnDataSource(self._data(*values))
            color = COLORS[names.index(beside.get(name, name)) % len(COLORS)]
            dash = "dashed" if name in beside else "solid"
            line = self.figure.line("x", "y", source=self.sources[name], line_color=color, line_width=2, line_dash=dash)
            items.append((name, [line]))
        self.figure.add_layout(_legend(items), "above")

    def grow(self, lines: Lines) -> None:
        """Draw the same lines with what has come since."""
        for name, values in lines.items():
            data = self._data(*values)
            if data != self.sources[name].data:
                self.sources[name].data = data

    def _data(self, x: np.ndarray, y: np.ndarray) -> dict[str, Any]:
        shown = np.isfinite(x)
        for values, logarithmic in zip((x, y), self.logarithmic, strict=True):
            shown &= (values > 0) if logarithmic else True
        return {"x": x[shown].tolist(), "y": y[shown].tolist()}


def shared_limits(fields: list[Drawn]) -> tuple[float, float, str]:
    """The colors of fields that stand beside each other."""
    return color_range(np.concatenate([field.values.ravel() for field in fields]))


def _legend(items: list[Any]) -> Legend:
    """The names of lines; a click on one hides it."""
    small: Any = {"label_text_font_size": "12px", "padding": 2, "spacing": 2, "border_line_color": None}
    return Legend(items=items, click_policy="hide", ncols=2, **small)


def _kind(logarithmic: bool) -> str:
    return "log" if logarithmic else "linear"


def _axis(name: str) -> str:
    return name.removesuffix("_face")
