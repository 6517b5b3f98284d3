"""Flows over time as a GIF."""

from collections.abc import Mapping
from math import ceil
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from diffphys.errors import InputError
from diffphys.plots.fields import (
    FieldLike,
    Placement,
    Solid,
    as_drawn,
    check_horizontal,
    checked_frames,
    color_limit,
    draw_color_bar,
    draw_frame,
    frames_of_field,
    roomy_figure,
    trim_height,
)
from diffphys.plots.theme import (
    TEXT,
    VALUE_COLORS,
    ArrayLike,
    Number,
)


def write_animation(
    path: str | Path,
    rows: Mapping[str, ArrayLike] | FieldLike,
    times: ArrayLike | None = None,
    size: ArrayLike | None = None,
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
    if isinstance(rows, FieldLike):
        rows, times, size, at = *frames_of_field(rows, times), "cells"
    frames, times, lengths = checked_frames(rows, times, size)
    check_horizontal(horizontal)
    if not frames_per_second > 0:
        raise InputError(f"frames_per_second: must be positive, but {frames_per_second} was given")
    columns = len(frames) if columns is None else max(1, min(columns, len(frames)))
    lines = ceil(len(frames) / columns)
    figure = roomy_figure(lines, columns, lengths, horizontal, dpi)
    panels = figure.subplots(lines, columns, squeeze=False)

    limit = color_limit(frames) if limit is None else limit
    images = []
    for panel, (name, values) in zip(panels.flat, frames.items(), strict=False):
        images.append(draw_frame(panel, values[0], lengths, horizontal, at, solid, VALUE_COLORS, -limit, limit))
        panel.set_title(name, fontsize=TEXT + 1)
        panel.set_xticks([])
        panel.set_yticks([])
    for panel in panels.flat[len(frames) :]:
        panel.set_axis_off()
    draw_color_bar(figure, images[0], panels, label, "both")
    clock = panels[-1, 0].set_xlabel(f"t = {times[0]:g}", fontsize=TEXT, loc="left")

    canvas = FigureCanvasAgg(figure)
    trim_height(figure)
    canvas.draw()
    figure.set_layout_engine("none")  # one layout for all frames: nothing jumps, and drawing is several times faster
    palette = _palette()
    pictures = []
    for index, time in enumerate(times):
        for image, values in zip(images, frames.values(), strict=True):
            image.set_data(as_drawn(values[index], horizontal))
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
