"""Figures and animations.

`plot` and `animate` show a field, a state, or frames of a rollout in one line. The other functions make the figures of
reports: they take NumPy arrays (or what becomes one).

A figure is a `matplotlib.figure.Figure`, which knows no screen and leaves Matplotlib's global state alone; a notebook
shows it, `savefig` or `diffphys.runs.Run.save_figure` saves it. Those of reports are 8.5 inches wide at 150 dpi, so
that their text is readable in a page 850 pixels wide. Colors are such as color-blind readers tell apart.
"""

from diffphys.plots.animation import Animation, animate, write_animation
from diffphys.plots.curves import Panel, panels_figure
from diffphys.plots.fields import frames_figure, space_time_figure, vorticity
from diffphys.plots.looking import plot
from diffphys.plots.theme import COLORS, DPI, TEXT, WIDTH, save_for_page
from diffphys.plots.training import arms_figure, error_over_time_figure, training_loss_figure


__all__ = [
    "plot",
    "animate",
    "Animation",
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
