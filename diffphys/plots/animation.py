"""Flows over time: as a GIF, an MP4, or a player in a notebook."""

import dataclasses
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib.animation import FFMpegWriter, HTMLWriter
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from diffphys.errors import InputError
from diffphys.plots.fields import (
    FieldLike,
    Placement,
    Solid,
    as_drawn,
    check_horizontal,
    checked_frames,
    color_range,
    color_range_of_rows,
    draw_color_bar,
    draw_frame,
    frames_of_field,
    roomy_figure,
    trim_height,
)
from diffphys.plots.looking import (
    How,
    Picture,
    chosen_arrows,
    colors,
    curves,
    draw_solid,
    prepared,
)
from diffphys.plots.theme import (
    TEXT,
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
    clock: str = "t",
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
        limit: Colors span [-limit, limit], or [0, limit], as in `frames_figure`.
        columns: Panels beside each other. Default: all.
        clock: What the times are, which stands before each.
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

    low, high, scale = color_range_of_rows(frames, limit)
    images = []
    for panel, (name, values) in zip(panels.flat, frames.items(), strict=False):
        images.append(draw_frame(panel, values[0], lengths, horizontal, at, solid, scale, low, high))
        panel.set_title(name, fontsize=TEXT + 1)
        panel.set_xticks([])
        panel.set_yticks([])
    for panel in panels.flat[len(frames) :]:
        panel.set_axis_off()
    draw_color_bar(figure, images[0], panels, label, "both")
    moment = panels[-1, 0].set_xlabel(f"{clock} = {times[0]:g}", fontsize=TEXT, loc="left")

    canvas = FigureCanvasAgg(figure)
    trim_height(figure)
    canvas.draw()
    figure.set_layout_engine("none")  # one layout for all frames: nothing jumps, and drawing is several times faster

    def drawn() -> Iterator[np.ndarray]:
        for index, time in enumerate(times):
            for image, values in zip(images, frames.values(), strict=True):
                image.set_data(as_drawn(values[index], horizontal))
            moment.set_text(f"{clock} = {time:g}")
            canvas.draw()
            yield np.asarray(canvas.buffer_rgba())[..., :3]

    _write_gif(path, drawn(), [scale], frames_per_second)


@dataclasses.dataclass(frozen=True)
class Animation:
    """Frames over time. A notebook shows it as a player; `save` keeps it.

    Attributes:
        picture: What is drawn.
        title: Above it.
        frames_per_second: How quickly it plays.
        dpi: Pixels per inch.
    """

    picture: Picture
    title: str = ""
    frames_per_second: Number = 12.5
    dpi: Number = 100

    def pictures(self) -> Iterator[np.ndarray]:
        """Each frame as an array of colors (height, width, 3) of bytes; valid until the next one is drawn."""
        return _curves(self) if self.picture.plane is None else _colors(self)

    def save(self, path: str | Path) -> Path:
        """Write the animation: `.gif`, which plays everywhere; `.mp4`, smaller, where ffmpeg is installed; `.html`, a
        page with a player.

        Raises:
            InputError: for another suffix, or where ffmpeg is missing.
        """
        path = Path(path)
        match path.suffix.lower():
            case ".gif":
                scales = {color_range(values)[2] for values in self.picture.quantities.values()}
                _write_gif(path, self.pictures(), sorted(scales), self.frames_per_second)
            case ".mp4":
                _write_with(_ffmpeg(self.frames_per_second), path, self)
            case ".html":
                path.write_text(self._repr_html_(), encoding="utf-8")
            case suffix:
                raise InputError(f'animation: the suffix is {suffix!r}; ".gif", ".mp4" or ".html" is accepted.')
        return path

    def _repr_html_(self) -> str:
        """The player that a notebook shows."""
        with tempfile.TemporaryDirectory() as directory:
            page = Path(directory) / "player.html"
            with matplotlib.rc_context({"animation.embed_limit": 2**20}):  # megabytes: else frames would be left out
                player = HTMLWriter(max(1, round(self.frames_per_second)), embed_frames=True, default_mode="loop")
            _write_with(player, page, self)
            return page.read_text(encoding="utf-8")


def animate(
    frames: Any,
    times: ArrayLike | None = None,
    *,
    quantity: str | Sequence[str] | None = None,
    overlay: Literal["arrows"] | None = None,
    solid: Any = None,
    across: Literal["x", "y", "z"] = "z",
    at: Number | None = None,
    how: How = "slice",
    title: str = "",
    frames_per_second: Number = 12.5,
    dpi: Number = 100,
) -> Animation:
    """Frames of a rollout over time; quantities stand beside each other.

        dp.animate(frames, solid=flow).save("wake.gif")

    In a notebook, what is returned shows itself as a player. A body that moves is drawn where it is.

    Args:
        frames: As for `plot`, with a leading axis of frames.
        times: As for `plot`, as are quantity, solid, across, at, how and title.
        quantity: What to show.
        overlay: "arrows" draws the velocity on top.
        solid: What to draw in gray.
        across: In three dimensions the axis that the plane is normal to.
        at: Where the slice lies along that axis.
        how: In three dimensions "slice", "mean" or "maximum".
        title: Above it.
        frames_per_second: How quickly it plays. Readers of GIF files round its inverse to hundredths of a second, and
            slow down above 50.
        dpi: Pixels per inch.

    Returns:
        An `Animation`, whose `save("name.gif")` (or .mp4, .html) writes it.

    Raises:
        InputError: as `plot`.

    Examples:
        >>> rod = dp.Heat(dp.Grid((8,), (1.0,)), 1.0, 0.001, ((dp.Neumann(), dp.Neumann()),))
        >>> _, frames = dp.rollout(rod, rod.initial_state(20.0), 4, save_every=2)
        >>> film = dp.animate(frames)
    """
    if not isinstance(frames_per_second, (int, float)) or not frames_per_second > 0:
        raise InputError(f"animate: frames_per_second is {frames_per_second}; a positive number is accepted.")
    if overlay not in (None, "arrows"):
        raise InputError(f'animate: overlay is {overlay!r}; "arrows" or None is accepted.')
    picture = prepared("animate", frames, times, quantity, overlay, solid, across, at, how)
    return Animation(picture, title, frames_per_second, dpi)


def _colors(animation: Animation) -> Iterator[np.ndarray]:
    """Frames in a plane. What does not change is drawn once: that makes the rest several times faster."""
    picture = animation.picture
    figure, drawn = colors(picture, [0], animation.dpi)
    canvas = _still(figure, animation.title)
    changing = [artist for one in drawn for artist in (one["image"], one["velocity"], *one["solid"], one["clock"])]
    changing += [spine for one in drawn for spine in one["panel"].spines.values()]
    for artist in filter(None, changing):
        artist.set_animated(True)
    canvas.draw()
    still = canvas.copy_from_bbox(figure.bbox)
    for frame, time in enumerate(picture.times):
        canvas.restore_region(still)
        for one, values in zip(drawn, picture.quantities.values(), strict=True):
            panel = one["panel"]
            shown = np.where(np.isfinite(values[frame]), values[frame], np.nan)
            one["image"].set_array(shown)
            one["clock"].set_text(time)
            if picture.arrows is not None:
                one["velocity"].set_UVC(*picture.arrows[:, frame, *chosen_arrows(picture)])
            if picture.moving:
                for artist in one["solid"]:
                    artist.remove()
                one["solid"] = draw_solid(panel, picture, frame)
            order = [one["image"], one["velocity"], *one["solid"], *panel.spines.values(), one["clock"]]
            for artist in filter(None, order):
                panel.draw_artist(artist)
        yield np.asarray(canvas.buffer_rgba())[..., :3]


def _curves(animation: Animation) -> Iterator[np.ndarray]:
    """Frames in one dimension, all on the same axes."""
    picture = animation.picture
    figure = curves(picture, [0])
    figure.set_dpi(float(animation.dpi))
    panels = figure.axes
    for panel, values in zip(panels, picture.quantities.values(), strict=True):
        finite = values[np.isfinite(values)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
        margin = 0.05 * (high - low) or 0.5
        panel.set_ylim(low - margin, high + margin)
        if panel.get_legend():
            panel.get_legend().remove()  # pyright: ignore[reportOptionalMemberAccess]
    clock = panels[0].set_title(picture.times[0], fontsize=TEXT, loc="left")
    canvas = _still(figure, animation.title)
    for frame, time in enumerate(picture.times):
        for panel, values in zip(panels, picture.quantities.values(), strict=True):
            panel.lines[0].set_ydata(values[frame])
        clock.set_text(time)
        canvas.draw()
        yield np.asarray(canvas.buffer_rgba())[..., :3]


def _still(figure: Figure, title: str) -> FigureCanvasAgg:
    """The canvas of a figure that is laid out once for all frames: nothing jumps, and drawing is faster."""
    if title:
        figure.suptitle(title, fontsize=TEXT + 2)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    figure.set_layout_engine("none")
    return canvas


def _ffmpeg(frames_per_second: Number) -> FFMpegWriter:
    if not FFMpegWriter.isAvailable():
        raise InputError('animation: MP4 needs ffmpeg, which is not installed; ".gif" and ".html" need nothing.')
    return FFMpegWriter(
        frames_per_second,  # pyright: ignore[reportArgumentType] (ffmpeg takes any number)
        codec="libx264",
        extra_args=["-pix_fmt", "yuv420p"],
    )


def _write_with(writer: Any, path: Path, animation: Animation) -> None:
    """Hand the drawn frames to a writer of Matplotlib, as figures that hold nothing but a picture."""
    figure, image = Figure(dpi=float(animation.dpi)), None
    FigureCanvasAgg(figure)
    for drawn in animation.pictures():
        even = drawn[: drawn.shape[0] // 2 * 2, : drawn.shape[1] // 2 * 2]  # as the codec of MP4 asks
        if image is None:
            figure.set_size_inches(even.shape[1] / figure.dpi, even.shape[0] / figure.dpi)
            image = figure.figimage(even)
            writer.setup(figure, str(path), dpi=figure.dpi)
        image.set_data(even)
        writer.grab_frame()
    writer.finish()


def _write_gif(
    path: str | Path, pictures: Iterable[np.ndarray], scales: Sequence[str], frames_per_second: Number
) -> None:
    """A GIF that repeats for ever, all of whose frames share one palette: the file stays small, nothing flickers."""
    palette = _palette(scales)
    nearest = _nearest(palette)
    images = []
    for drawn in pictures:
        red, green, blue = np.moveaxis(drawn >> 3, -1, 0)
        image = Image.fromarray(nearest[red, green, blue])
        image.putpalette(palette.tobytes())
        images.append(image)
    images[0].save(
        path,
        format="GIF",  # said here because a temporary path may have any name
        save_all=True,
        append_images=images[1:],
        duration=round(1000 / frames_per_second),
        loop=0,
        optimize=False,  # would give each frame a palette of its own
    )


def _palette(scales: Sequence[str]) -> np.ndarray:
    """The palette of all frames, (colors, 3): one or two color scales, a symmetric one with white in its middle, and
    grays.

    With one scale half of what a GIF may hold: more steps are hardly seen, and weak noise that crosses them costs much
    space.
    """
    shades = [matplotlib.colormaps[scale](np.linspace(0, 1, 95))[:, :3] for scale in scales]
    grays = np.repeat(np.linspace(0, 1, 33)[:, None], 3, axis=1)
    return (255 * np.concatenate([*shades, grays])).round().astype(np.uint8)


def _nearest(palette: np.ndarray) -> np.ndarray:
    """For each color of 5 bits the index of the nearest in the palette, (32, 32, 32), white to white and black to
    black. Pillow's own search is coarse: it would turn white into a light gray.
    """
    steps = np.linspace(0, 255, 32)
    colors = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    distance = np.stack([np.sum((colors - one) ** 2, axis=-1) for one in palette.astype(float)], axis=-1)
    return np.argmin(distance, axis=-1).astype(np.uint8).reshape(32, 32, 32)
