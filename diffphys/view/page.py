"""The page: what is chosen, and what is then shown. Each reader has one of their own."""

from collections.abc import Callable
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import xarray
from bokeh.core.validation import silence
from bokeh.core.validation.warnings import EMPTY_LAYOUT
from bokeh.document import Document
from bokeh.layouts import column, row
from bokeh.models import Button, CheckboxGroup, Div, RadioButtonGroup, Row, Select, Slider
from jinja2 import Template

from diffphys.errors import InputError
from diffphys.view.frames import Drawn, case_words, drawn
from diffphys.view.pictures import Chart, Colors, Curves, shared_limits
from diffphys.view.quantities import SOLID, quantities
from diffphys.view.stored import StoredRun, find_runs
from diffphys.view.tables import results_html, settings_html


REFRESH = 2000  # milliseconds after which the disk is read again
PLAY = 120  # milliseconds of a frame
WIDE: dict[str, Any] = {"sizing_mode": "stretch_width"}
NOTHING = "nothing"
KNOWN = ("reference", "truth")  # what others are compared with

silence(EMPTY_LAYOUT)  # a run without frames has no pictures

TEMPLATE = Template(
    """{% from macros import embed %}<!DOCTYPE html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>{{ title|e }}</title>
  {{ bokeh_css }}{{ bokeh_js }}
  <style>
    body { margin: 0 auto; padding: 10px; max-width: 1160px; font-family: system-ui, sans-serif; }
  </style>
</head>
<body>{% for doc in docs %}{% for root in doc.roots %}{{ embed(root) }}{% endfor %}{% endfor %}{{ plot_script }}</body>
</html>"""
)


class Side:
    """What is shown on one side: a run, and whose frames."""

    def __init__(self, title: str, beside: bool):
        self.beside = beside
        self.choose_run = _select(title, 300)
        self.choose_arm = _select("whose frames", 200)
        self.run: StoredRun | None = None
        self.data: xarray.Dataset | None = None
        self._read: dict[Any, xarray.Dataset | None] = {}

    def offer(self, runs: dict[str, StoredRun]) -> None:
        """Offer these runs; the choice stays where it can."""
        names = [NOTHING] * self.beside + list(runs)
        if self.choose_run.options != names:
            self.choose_run.options = names
        if self.choose_run.value not in names:
            self.choose_run.value = names[0] if names else ""

    def read(self, runs: dict[str, StoredRun]) -> bool:
        """Read what is chosen; whether it is something else than before, or has changed on disk."""
        run = runs.get(self.choose_run.value)  # whatever a browser sends: only what was found is a run
        arms = [] if run is None else run.frames
        if self.choose_arm.options != arms:
            self.choose_arm.options = arms
        if self.choose_arm.value not in arms:
            self.choose_arm.value = arms[0 if self.beside else -1] if arms else ""
        self.choose_arm.visible = bool(arms)
        stamp = (run and run.name, run and run.stamp, self.choose_arm.value)
        changed = stamp not in self._read
        if changed:
            self._read = {stamp: run.dataset(self.choose_arm.value) if run and arms else None}
        self.run, self.data = run, self._read[stamp]
        return changed

    def of_arm(self, name: str) -> xarray.Dataset | None:
        """The frames of another name in the same run."""
        return None if self.run is None else self.run.dataset(name)


class Page:
    """The page of one reader."""

    def __init__(self, directory: str | Path, document: Document):
        self.directory, self.document = directory, document
        self.left, self.right = Side("run", beside=False), Side("beside it", beside=True)
        self.case, self.quantity = _select("case", 200), _select("show", 200)
        self.time = Slider(start=0, end=1, value=0, step=1, show_value=False, **WIDE)
        self.clock, self.depth = Div(align="center", width=110), Div(align="center", width=110)
        self.slice = Slider(start=0, end=1, value=0, step=1, show_value=False, visible=False, max_width=400, **WIDE)
        self.play = Button(label="Play", width=80, align="end")
        self.pictures = _row()
        self.chart_name = _select("curves", 300)
        self.across, self.upward = _select("across", 200), _select("upward", 200)
        self.logarithmic = CheckboxGroup(labels=["logarithmic across", "logarithmic upward"], active=[1])
        self.chart_place = column(**WIDE)
        self.settings, self.results = Div(**WIDE), Div(**WIDE)
        self.head = Div(**WIDE)
        self.message = Div(**WIDE)
        self.drawn: list[Drawn] = []
        self.figures: list[Colors | Curves] = []
        self.chart: Chart | None = None
        self.playing: Any = None
        self._listening = True

        chosen = _row(self.left.choose_run, self.left.choose_arm, self.right.choose_run, self.right.choose_arm)
        moments = _row(self.case, self.quantity, self.play)
        sliders = column(row(self.clock, self.time, **WIDE), row(self.depth, self.slice, **WIDE), **WIDE)
        fields = column(moments, sliders, self.message, self.pictures, **WIDE)
        axes = _row(self.chart_name, self.across, self.upward, self.logarithmic)
        parts = {
            "Fields": fields,
            "Curves": column(axes, self.chart_place, **WIDE),
            "Settings": self.settings,
            "Results": self.results,
        }
        self.parts = RadioButtonGroup(labels=list(parts), active=0, **WIDE, max_width=520)

        def turn() -> None:
            for number, part in enumerate(parts.values()):
                part.visible = number == self.parts.active

        turn()
        document.add_root(column(self.head, chosen, self.parts, *parts.values(), **WIDE))
        document.title, document.template = "diffphys", TEMPLATE
        for side in (self.left, self.right):
            self._on(side.choose_run, self.refresh)
            self._on(side.choose_arm, self.refresh)
        self._on(self.parts, turn, "active")
        self._on(self.case, self.draw)
        self._on(self.quantity, self.draw)
        self._on(self.time, self.move)
        self._on(self.slice, self.move)
        for widget in (self.chart_name, self.across, self.upward):
            self._on(widget, self.draw_chart)
        self._on(self.logarithmic, self.draw_chart, "active")
        self.play.on_click(self.toggle)
        document.add_periodic_callback(self.refresh, REFRESH)
        self.refresh()

    def _on(self, widget: Any, action: Callable[[], None], name: str = "value") -> None:
        widget.on_change(name, lambda attr, old, new: self._do(action))

    def _do(self, action: Callable[[], None]) -> None:
        """Act on a choice, but not on those that are made in acting."""
        if self._listening:
            self._listening = False
            try:
                action()
            finally:
                self._listening = True

    def refresh(self) -> None:
        """Read the disk again, and draw what has changed."""
        listening, self._listening = self._listening, False
        try:
            try:
                runs = find_runs(self.directory)
            except InputError as error:  # the directory went away
                runs, problem = {}, str(error)
            else:
                problem = "" if runs else f"There is no run in {self.directory} yet."
            head = f"<b>diffphys</b> &nbsp; {escape(str(self.directory))} <i>{escape(problem)}</i>"
            if self.head.text != head:
                self.head.text = head
            for side in (self.left, self.right):
                side.offer(runs)
            changed = [side.read(runs) for side in (self.left, self.right)]
            if any(changed):
                shown = list({side.run.name: side.run for side in (self.left, self.right) if side.run}.values())
                self.settings.text, self.results.text = settings_html(shown), results_html(shown)
                self.draw()
                self.draw_chart()
        finally:
            self._listening = listening

    def draw(self) -> None:
        """Draw the fields anew, as another run, case or quantity asks for; the moment stays where it can."""
        time, frame = self.moment, int(self.time.value)
        fields: dict[str, Drawn] = {}
        solids: dict[str, Drawn | None] = {}
        for side in (self.left, self.right):
            if side.run is None or side.data is None:
                continue
            known = quantities(side.data)
            if side is self.left:
                self._offer(self.case, case_words(side.data))
                self._offer(self.quantity, list(known))
            field = drawn(self.quantity.value, known, self._case_index())
            if field is not None and (not fields or field.dimensions == next(iter(fields.values())).dimensions):
                name = f"{side.run.name}: {side.choose_arm.value}" + " " * (side is self.right)
                fields[name] = field
                body = {SOLID: partial(side.data.__getitem__, SOLID)} if SOLID in side.data else {}
                solids[name] = drawn(SOLID, body, 0)
        self.drawn = list(fields.values())
        if not fields:
            self.message.text = "This run keeps no frames (yet); its curves and results are behind the other tabs."
            self.figures = []
        else:
            alone = self.right.run is not None and len(fields) == 1
            self.message.text = "The run beside it keeps no frames of this." if alone else ""
            first = self.drawn[0]
            if first.dimensions == 1:
                gray = [] if self.left.run is None else [f"{self.left.run.name}: {name}" for name in KNOWN]
                self.figures = [Curves(self.quantity.value, self._with_known(fields), gray)]
            else:
                limits = shared_limits(self.drawn)
                self.figures = [Colors(name, field, limits, solids[name]) for name, field in fields.items()]
            last = len(first.values) - 1
            self.time.update(end=max(last, 1), value=first.nearest(time) if time is not None else min(frame, last))
            deepest = self._deepest(first)
            self.slice.update(end=max(deepest, 1), value=self.slice.value if self.slice.visible else deepest // 2)
        self.message.visible = bool(self.message.text)
        self.case.visible = self.quantity.visible = bool(fields)
        self.time.visible = self.clock.visible = self.play.visible = bool(fields) and len(self.drawn[0].values) > 1
        self.slice.visible = self.depth.visible = bool(fields) and self.drawn[0].dimensions == 3
        self.move()
        self.pictures.children = [one.figure for one in self.figures]

    def _with_known(self, fields: dict[str, Drawn]) -> dict[str, Drawn]:
        """Curves together with what they are compared with in the left run."""
        if self.left.run is None:
            return fields
        for known in KNOWN:
            data = self.left.of_arm(known) if known in self.left.run.frames else None
            if data is not None and self.left.choose_arm.value != known:
                found = drawn(self.quantity.value, quantities(data), self._case_index())
                if found is not None and found.lines.keys() == self.drawn[0].lines.keys():
                    return fields | {f"{self.left.run.name}: {known}": found}
        return fields

    @property
    def moment(self) -> float | None:
        """The time that is shown."""
        if not self.drawn or self.drawn[0].times is None:
            return None
        return float(self.drawn[0].times[min(int(self.time.value), len(self.drawn[0].times) - 1)])

    def move(self) -> None:
        """Show the moment, and in three dimensions the slice, that the sliders say."""
        if not self.drawn:
            return
        frame = min(int(self.time.value), len(self.drawn[0].values) - 1)
        time = self.moment
        for figure, field in zip(self.figures, self.drawn, strict=False):
            here = frame if field is self.drawn[0] or time is None else field.nearest(time)
            figure.show(min(here, len(field.values) - 1), min(int(self.slice.value), self._deepest(field)))
        self.clock.text = f"frame {frame + 1} of {len(self.drawn[0].values)}" if time is None else f"time {time:.5g}"
        first = self.drawn[0]
        if first.dimensions == 3:
            name, line = next(iter(first.lines.items()))
            self.depth.text = f"{name} {line[min(int(self.slice.value), len(line) - 1)]:.4g}"

    def toggle(self) -> None:
        """Play, or stop playing."""
        if self.playing is not None:
            self.document.remove_periodic_callback(self.playing)
            self.playing, self.play.label = None, "Play"
        else:
            self.playing, self.play.label = self.document.add_periodic_callback(self._next, PLAY), "Stop"

    def _next(self) -> None:
        if self.drawn:
            self.time.value = (int(self.time.value) + 1) % len(self.drawn[0].values)

    def draw_chart(self) -> None:
        """Draw the curves, or let those that are drawn grow."""
        found = [{} if side.run is None else side.run.curves() for side in (self.left, self.right)]
        # How training goes comes first.
        charts = sorted(found[0], key=lambda name: (name not in ("training", "comparison"), name))
        self._offer(self.chart_name, charts or ["none yet"])
        lines = found[0].get(self.chart_name.value, {})
        columns = list(dict.fromkeys(name for line in lines.values() for name in line))
        self._offer(self.across, columns)
        self._offer(self.upward, columns[1:] or columns)
        across, upward = self.across.value, self.upward.value
        others = {} if self.right.run is self.left.run else found[1].get(self.chart_name.value, {})
        beside = {f"{name} (beside)": name for name in others}
        of_both = lines | {label: others[name] for label, name in beside.items()}
        shown = {
            name: (line[across], line[upward]) for name, line in of_both.items() if {across, upward} <= line.keys()
        }
        logarithmic = (0 in self.logarithmic.active, 1 in self.logarithmic.active)
        if not any(bool(np.any(y > 0)) for _, y in shown.values()):
            logarithmic = (logarithmic[0], False)
        if self.chart is not None and self.chart.key == (
            self.chart_name.value,
            across,
            upward,
            tuple(shown),
            logarithmic,
        ):
            self.chart.grow(shown)
        elif shown:
            self.chart = Chart(self.chart_name.value, across, upward, shown, beside, logarithmic)
            self.chart_place.children = [self.chart.figure]
        else:
            self.chart = None
            self.chart_place.children = [Div(text="This run has drawn no curves (yet).")]

    def _case_index(self) -> int:
        return max(self.case.options.index(self.case.value), 0) if self.case.value in self.case.options else 0

    @staticmethod
    def _deepest(field: Drawn) -> int:
        return field.values.shape[1] - 1 if field.dimensions == 3 else 0

    @staticmethod
    def _offer(select: Any, options: list[str]) -> None:
        """Offer these; the choice stays where it can."""
        if select.options != options:
            select.options = options
        if select.value not in options:
            select.value = options[0] if options else ""


def _select(title: str, widest: int) -> Any:
    """A choice, as wide as there is room."""
    styles: Any = {"flex": "1 1 150px"}
    return Select(title=title, options=[], **WIDE, max_width=widest, styles=styles)


def _row(*children: Any) -> Row:
    """Side by side where there is room, else below each other."""
    return Row(children=list(children), **WIDE, styles={"flex-wrap": "wrap"})


def page(directory: str | Path) -> Callable[[Document], None]:
    """What makes the page of each reader who comes."""
    return lambda document: Page(directory, document) and None
