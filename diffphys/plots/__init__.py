"""Figures and animations.

`plot` and `animate` show a field, a state, or frames of a rollout in one line. The other functions make the figures of
reports: they take NumPy arrays (or what becomes one).

A figure is a `matplotlib.figure.Figure`, which knows no screen and leaves Matplotlib's global state alone; a notebook
shows it, `savefig` or `diffphys.runs.Run.save_figure` saves it. Those of reports are 8.5 inches wide at 150 dpi, so
that their text is readable in a page 850 pixels wide. Colors are such as color-blind readers tell apart.

A name is imported when it is first asked for: the command line lists what there is without waiting for Matplotlib.
"""

import importlib
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from diffphys.plots.animation import Animation as Animation
    from diffphys.plots.animation import animate as animate
    from diffphys.plots.animation import write_animation as write_animation
    from diffphys.plots.curves import Panel as Panel
    from diffphys.plots.curves import panels_figure as panels_figure
    from diffphys.plots.fields import frames_figure as frames_figure
    from diffphys.plots.fields import space_time_figure as space_time_figure
    from diffphys.plots.fields import vorticity as vorticity
    from diffphys.plots.looking import plot as plot
    from diffphys.plots.theme import COLORS as COLORS
    from diffphys.plots.theme import DPI as DPI
    from diffphys.plots.theme import TEXT as TEXT
    from diffphys.plots.theme import WIDTH as WIDTH
    from diffphys.plots.theme import save_for_page as save_for_page
    from diffphys.plots.training import arms_figure as arms_figure
    from diffphys.plots.training import error_over_time_figure as error_over_time_figure
    from diffphys.plots.training import training_loss_figure as training_loss_figure
    from diffphys.plots.volume import scene as scene

_HOME = {
    **dict.fromkeys(("Animation", "animate", "write_animation"), "animation"),
    **dict.fromkeys(("Panel", "panels_figure"), "curves"),
    **dict.fromkeys(("frames_figure", "space_time_figure", "vorticity"), "fields"),
    **dict.fromkeys(("plot",), "looking"),
    **dict.fromkeys(("scene",), "volume"),
    **dict.fromkeys(("COLORS", "DPI", "TEXT", "WIDTH", "save_for_page"), "theme"),
    **dict.fromkeys(("arms_figure", "error_over_time_figure", "training_loss_figure"), "training"),
}

__all__ = [
    "plot",
    "animate",
    "Animation",
    "scene",
    "frames_figure",
    "space_time_figure",
    "vorticity",
    "panels_figure",
    "Panel",
    "error_over_time_figure",
    "training_loss_figure",
    "arms_figure",
    "write_animation",
    "save_for_page",
    "WIDTH",
    "DPI",
    "TEXT",
    "COLORS",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'diffphys.plots' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"diffphys.plots.{_HOME[name]}"), name)
    globals()[name] = value  # asked for once
    return value
