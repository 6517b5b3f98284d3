"""What all figures share: their size, text and colors."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
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
SEQUENTIAL_COLORS = "viridis"  # equal steps look equal, and it prints in gray
ERROR_COLORS = "Purples"  # white where there is none, and neither of the two colors of a value
SOLID_COLOR = "0.55"
NAN_COLOR = "0.85"

Number = float | int


class NotebookFigure(Figure):
    """A figure that a notebook shows by itself, also where pyplot has drawn nothing before."""

    def _repr_png_(self) -> bytes:
        written = io.BytesIO()
        self.savefig(written, format="png")
        return written.getvalue()


def save_for_page(figure: Path, target: Path) -> None:
    """Copy a figure's PNG with 64 colors, which a line drawing needs at most: a third as large.

    Args:
        figure: The file to read.
        target: The file to write; its directory is made.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(figure) as picture:
        picture.convert("RGB").quantize(64, dither=Image.Dither.NONE).save(target, optimize=True)


def style_axes(panel: Axes) -> None:
    """A light grid, small numbers, no frame."""
    panel.tick_params(labelsize=SMALL_TEXT)
    panel.grid(True, which="major", color="0.88", linewidth=0.6)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)


def colors_of(arms: Sequence[str]) -> dict[str, str]:
    """A color for each arm, in their order."""
    return {arm: COLORS[index % len(COLORS)] for index, arm in enumerate(arms)}


def dashes_of(arms: Sequence[str]) -> dict[str, Literal["-", "--"]]:
    """A line for each arm: where there are more arms than colors, one whose color comes again is dashed."""
    return {arm: "-" if index < len(COLORS) else "--" for index, arm in enumerate(arms)}


def positive(values: np.ndarray) -> np.ndarray:
    """What a logarithmic axis can show; NaN elsewhere, which leaves a gap."""
    return np.where(np.isfinite(values) & (values > 0), values, np.nan)


def checked_times(times: ArrayLike | None) -> np.ndarray:
    """The times as an array; InputError where they are no list of numbers."""
    times = np.asarray(np.nan if times is None else times, float)
    if times.ndim != 1 or times.size == 0:
        raise InputError(f"times: has shape {times.shape}; give at least one number, (times,)")
    return times
