"""Look at a state, or at frames of a rollout, in one line.

Axes are as people draw them: x from left to right, y upward (in a plane across x or y, z upward).
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax.numpy as jnp
import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from diffphys.errors import InputError
from diffphys.exchange.obstacles import obstacle_over_time
from diffphys.grids import Grid, Shape
from diffphys.grids.named import at_centers, grid_of, named_fields, named_parts
from diffphys.grids.numbers import shown
from diffphys.plots.fields import color_range, draw_color_bar
from diffphys.plots.quantities import chosen
from diffphys.plots.theme import (
    DPI,
    NAN_COLOR,
    SMALL_TEXT,
    SOLID_COLOR,
    TEXT,
    VALUE_COLORS,
    WIDTH,
    ArrayLike,
    NotebookFigure,
    Number,
    checked_times,
    style_axes,
)


How = Literal["slice", "mean", "maximum"]
Overlay = Literal["arrows", "streamlines"]

MOST_COLUMNS = 6  # frames beside each other
TALLEST = 4.6  # inches of a panel
ARROWS = 22  # along the longer side


def plot(
    state: Any,
    times: ArrayLike | None = None,
    *,
    quantity: str | Sequence[str] | None = None,
    overlay: Overlay | None = None,
    solid: Any = None,
    across: Literal["x", "y", "z"] = "z",
    at: Number | None = None,
    how: How = "slice",
    title: str = "",
) -> Figure:
    """Draw a field, a state, or frames of a rollout: a row for each quantity, a column for each of up to six frames.

    In two dimensions as colors, in one as curves, in three as a slice or a projection. Colors run from low to high
    where all values have one sign, and are symmetric about zero where they have two; all frames of a quantity share
    their scale, cut at the outermost half percent on either side.

        dp.plot(final)
        dp.plot(frames, quantity="vorticity", solid=flow)

    Args:
        state: A `Field`, or a state of any system with fields; or such with a leading axis of frames, as `rollout`
            saves them. Of more than six frames six are drawn, evenly chosen.
        times: The time of each frame, (frames,). Default: the state's own `time`, where it has one.
        quantity: One name or several, of fields ("pressure"), of vectors for their magnitude ("velocity"), of
            components ("velocity_x"), or "vorticity". Default: every field and vector of the state; of a flow its
            vorticity (in 3D its speed) and its scalars.
        overlay: Draw the velocity on top, as "arrows" or "streamlines".
        solid: What to draw in gray: a `Shape`, an `Immersed` body, a function from the time to one, or the flow itself,
            whose obstacle is drawn.
        across: In three dimensions the axis that the plane is normal to.
        at: Where the slice lies along that axis, in the user's units. Default: in the middle.
        how: In three dimensions "slice", or the "mean" or "maximum" along that axis.
        title: Above the figure, such as the name of the case.

    Returns:
        A figure; a notebook shows it, `figure.savefig("name.png")` keeps it.

    Raises:
        InputError: for what holds no field, an unknown quantity, or a place outside of the grid.

    Examples:
        >>> field = dp.Field(jnp.ones((8, 8)), dp.Grid((8, 8), (1.0, 1.0)))
        >>> dp.plot(field).savefig("field.png")
    """
    picture = prepared("plot", state, times, quantity, overlay, solid, across, at, how)
    count = len(picture.times)
    columns = np.unique(np.linspace(0, count - 1, min(count, MOST_COLUMNS)).round().astype(int))
    figure = curves(picture, columns) if picture.plane is None else colors(picture, columns)[0]
    if title:
        figure.suptitle(title, fontsize=TEXT + 2)
    return figure


@dataclasses.dataclass(frozen=True)
class Plane:
    """The plane that is drawn: two axes of the grid, and what becomes of the third.

    Attributes:
        grid: The grid.
        axes: The axis drawn from left to right, and the one drawn upward.
        across: The axis normal to the plane, in three dimensions.
        index: The cell along that axis in a slice; None in a projection.
        how: "slice", "mean" or "maximum".
    """

    grid: Grid
    axes: tuple[int, int]
    across: int | None = None
    index: int | None = None
    how: How = "slice"

    def of(self, values: np.ndarray) -> np.ndarray:
        """From values (*leading, *cells) those in the plane, (*leading, up, right)."""
        if self.across is not None:
            axis = values.ndim - 3 + self.across
            if self.index is not None:
                values = np.take(values, self.index, axis)
            else:
                values = np.nanmean(values, axis) if self.how == "mean" else np.nanmax(values, axis)
        return np.swapaxes(values, -1, -2)

    def distance(self, shape: Shape, fineness: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Coordinates (right, up) finer than the grid's, and the signed distance of a shape there, (up, right)."""
        right, up = (_finer(self.grid.edges[axis], fineness) for axis in self.axes)
        points: list[Any] = [None] * self.grid.dimensions
        points[self.axes[0]], points[self.axes[1]] = jnp.asarray(right)[None, :], jnp.asarray(up)[:, None]
        if self.across is not None:
            points[self.across] = jnp.asarray(_centers(self.grid, self.across)[self.index])
        return right, up, np.broadcast_to(np.asarray(shape.distance(points)), (len(up), len(right)))

    @property
    def words(self) -> str:
        """Which plane it is, for a label; empty in two dimensions."""
        if self.across is None:
            return ""
        name = self.grid.axis_names[self.across]
        if self.index is None:
            return f", {self.how} along {name}"
        return f" at {name} = {_centers(self.grid, self.across)[self.index]:.4g}"


@dataclasses.dataclass(frozen=True)
class Picture:
    """What is drawn, and how.

    Attributes:
        quantities: From labels to values (frames, up, right); in one dimension (frames, cells).
        times: The time of each frame in words.
        moments: The time of each frame as a number, NaN where it is not known.
        plane: The plane; None in one dimension.
        grid: The grid.
        arrows: The velocity in the plane, (2, frames, up, right); or None.
        overlay: How it is drawn.
        solid: From the time to a shape, or None.
        moving: Whether it depends on the time.
    """

    quantities: dict[str, np.ndarray]
    times: list[str]
    moments: np.ndarray
    plane: Plane | None
    grid: Grid
    arrows: np.ndarray | None
    overlay: Overlay | None
    solid: Callable[[float], Shape] | None
    moving: bool


def prepared(
    owner: str, state: Any, times: Any, quantity: Any, overlay: Any, solid: Any, across: Any, at: Any, how: Any
) -> Picture:
    """Everything that `plot` and `animate` draw, checked."""
    grid = grid_of(owner, state)
    values = chosen(owner, state, quantity)
    count = len(next(iter(values.values())))
    moments, words = _times(owner, state, times, count)
    plane = _plane(owner, grid, across, at, how)
    if overlay not in (None, "arrows", "streamlines"):
        raise InputError(f'{owner}: overlay is {shown(overlay)}; "arrows", "streamlines" or None is accepted.')
    arrows = None
    if overlay is not None:
        velocity = named_parts(state).get("velocity")
        if plane is None or not isinstance(velocity, tuple):
            raise InputError(
                f"{owner}: overlay is {overlay!r}; a state with a velocity in two or three dimensions is accepted."
            )
        parts = [plane.of(at_centers(velocity[axis])) for axis in plane.axes]
        arrows = np.stack([part.reshape(count, *part.shape[-2:]) for part in parts])
    shape, moving = obstacle_over_time(owner, solid, next(iter(named_fields(state).values())))
    vectors = [name for name, part in named_parts(state).items() if isinstance(part, tuple) and len(part) > 1]
    values = {
        (f"|{name}|" if name in vectors else name.replace("_", " ")) + (plane.words if plane else ""): (
            plane.of(one) if plane else one
        )
        for name, one in values.items()
    }
    return Picture(values, words, moments, plane, grid, arrows, overlay, shape, moving)


def curves(picture: Picture, columns: Sequence[int] | np.ndarray) -> Figure:
    """In one dimension: a panel for each quantity, a curve for each frame, late ones darker."""
    figure = NotebookFigure(figsize=(WIDTH, 2.4 * len(picture.quantities) + 0.5), dpi=DPI, layout="constrained")
    panels = figure.subplots(len(picture.quantities), 1, squeeze=False, sharex=True)[:, 0]
    shades = matplotlib.colormaps["viridis_r"](np.linspace(0.15, 1.0, len(columns)))
    if len(columns) == 1:
        shades = [matplotlib.colormaps["viridis"](0.3)]
    x = _centers(picture.grid, 0)
    for panel, (name, values) in zip(panels, picture.quantities.items(), strict=True):
        for column, shade in zip(columns, shades, strict=True):
            panel.plot(x, values[column], color=shade, linewidth=1.4, label=picture.times[column])
        panel.set_ylabel(name, fontsize=TEXT)
        panel.set_xlim(picture.grid.edges[0][0], picture.grid.edges[0][-1])
        style_axes(panel)
        if picture.solid is not None:
            fine = _finer(picture.grid.edges[0], 8)
            inside = np.asarray(picture.solid(picture.moments[columns[-1]]).distance([jnp.asarray(fine)])) <= 0
            panel.fill_between(fine, 0, 1, inside, transform=panel.get_xaxis_transform(), color=SOLID_COLOR, lw=0)
    panels[-1].set_xlabel("x", fontsize=TEXT)
    if any(picture.times[column] for column in columns):
        panels[0].legend(fontsize=SMALL_TEXT, frameon=False, ncols=min(len(columns), 3))
    return figure


def colors(picture: Picture, columns: Sequence[int] | np.ndarray, dpi: Number = DPI) -> tuple[Figure, list[dict]]:
    """In a plane: a row of panels for each quantity, a column for each frame.

    Returns:
        The figure, and for each panel what is drawn in it, by kind: what an animation changes.
    """
    plane = picture.plane
    assert plane is not None
    one_row = len(columns) == 1 and len(picture.quantities) > 1  # quantities of one state stand beside each other
    lines, beside = (1, len(picture.quantities)) if one_row else (len(picture.quantities), len(columns))
    if one_row and beside > 3:
        lines, beside = -(-beside // 3), 3
    lengths = [picture.grid.size[axis] for axis in plane.axes]
    ratio = lengths[1] / lengths[0]
    width = min((WIDTH - 1.0) / beside, TALLEST / ratio if 0.1 < ratio < 10 else TALLEST)
    height = min(max(width * ratio, 1.0), TALLEST)
    bars = beside if one_row else 1
    size = (max(beside * width + 0.9 * bars + 0.4, 3.6), lines * (height + 0.45) + 0.3)
    figure = NotebookFigure(figsize=size, dpi=dpi, layout="constrained")
    panels = figure.subplots(lines, beside, squeeze=False, sharex=not one_row, sharey=not one_row)
    drawn = []
    for row, (name, values) in enumerate(picture.quantities.items()):
        low, high, scale = color_range(values)
        mine = panels.flat[row : row + 1] if one_row else panels[row]
        for panel, column in zip(mine, columns, strict=True):
            drawn.append(_draw(panel, picture, values[column], int(column), low, high, scale))
            if one_row or row == 0:
                drawn[-1]["clock"] = panel.set_title(picture.times[column], fontsize=TEXT)
        cut = (np.nanmin(values, initial=low) < low, np.nanmax(values, initial=high) > high)
        extend = {(True, True): "both", (True, False): "min", (False, True): "max"}.get(cut, "neither")
        if scale == VALUE_COLORS and extend != "neither":
            extend = "both"
        draw_color_bar(figure, drawn[-1]["image"], np.atleast_2d(np.asarray(mine)), name, extend, aspect=22)
    for panel in panels.flat[len(drawn) :]:
        panel.set_axis_off()
    names = [picture.grid.axis_names[axis] for axis in plane.axes]
    for one in drawn:
        one["panel"].set_xlabel(names[0], fontsize=TEXT, labelpad=1)
        if one["panel"].get_subplotspec().is_first_col():
            one["panel"].set_ylabel(names[1], fontsize=TEXT, labelpad=1)
        if not one_row:
            one["panel"].label_outer()
    return figure, drawn


def draw_solid(panel: Axes, picture: Picture, frame: int) -> list[Any]:
    """The obstacle as it is in a frame, in gray; what was drawn."""
    if picture.solid is None or picture.plane is None or picture.plane.how != "slice":
        return []
    right, up, distance = picture.plane.distance(picture.solid(float(picture.moments[frame])))
    if not (distance.min() < 0):
        return []
    lowest = min(float(distance.min()), -1e-30)
    inside = panel.contourf(right, up, distance, levels=[lowest, 0.0], colors=[SOLID_COLOR], zorder=5)
    edge = panel.contour(right, up, distance, levels=[0.0], colors=["0.25"], linewidths=0.7, zorder=6)
    return [inside, edge]


def _draw(panel: Axes, picture: Picture, values: np.ndarray, frame: int, low: float, high: float, scale: str) -> dict:
    plane = picture.plane
    assert plane is not None
    right, up = (picture.grid.edges[axis] for axis in plane.axes)
    shades = matplotlib.colormaps[scale].with_extremes(bad=NAN_COLOR)
    style: Any = {"cmap": shades, "vmin": low, "vmax": high}
    values = np.where(np.isfinite(values), values, np.nan)
    if all(picture.grid.uniform[axis] for axis in plane.axes):
        extent = (right[0], right[-1], up[0], up[-1])
        image = panel.imshow(values, origin="lower", extent=extent, interpolation="bilinear", **style)
    else:
        image = panel.pcolormesh(right, up, values, **style)
    ratio = (up[-1] - up[0]) / (right[-1] - right[0])
    panel.set_aspect("equal" if 0.1 < ratio < 10 else "auto")
    panel.set(xlim=(right[0], right[-1]), ylim=(up[0], up[-1]))
    panel.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    panel.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    panel.tick_params(labelsize=SMALL_TEXT - 1, length=2, pad=1.5)
    panel.spines[:].set_linewidth(0.6)
    drawn = {"panel": panel, "image": image, "solid": draw_solid(panel, picture, frame), "velocity": None}
    if picture.arrows is not None:
        drawn["velocity"] = _draw_velocity(panel, picture, frame)
    return drawn


def chosen_arrows(picture: Picture) -> tuple[slice, slice]:
    """Which rows and columns of cells carry an arrow."""
    assert picture.arrows is not None
    every = max(1, max(picture.arrows.shape[-2:]) // ARROWS)
    return slice(every // 2, None, every), slice(every // 2, None, every)


def _draw_velocity(panel: Axes, picture: Picture, frame: int) -> Any:
    plane = picture.plane
    assert plane is not None and picture.arrows is not None
    right, up = (_centers(picture.grid, axis) for axis in plane.axes)
    if picture.overlay == "arrows":
        rows, columns = chosen_arrows(picture)
        longest = float(np.nanpercentile(np.linalg.norm(picture.arrows, axis=0), 99)) or 1.0
        apart = max(np.diff(right[columns]).mean() if len(right[columns]) > 1 else 1.0, 1e-30)
        quiver: Any = panel.quiver  # whose four arrays Matplotlib does not declare
        return quiver(
            right[columns],
            up[rows],
            picture.arrows[0, frame, rows, columns],
            picture.arrows[1, frame, rows, columns],
            angles="xy",
            scale_units="xy",
            scale=longest / apart,
            width=0.0045,
            color="0.1",
            zorder=4,
        )
    x, y = (np.linspace(line[0], line[-1], len(line)) for line in (right, up))  # equal steps, as `streamplot` asks
    u, v = (_regular(part[frame], (right, up), (x, y)) for part in picture.arrows)
    if np.nanmax(np.hypot(u, v)) > 0:
        panel.streamplot(x, y, u, v, density=1.1, linewidth=0.6, arrowsize=0.6, color="0.1", zorder=4)
    return None


def _regular(values: np.ndarray, lines: Sequence[np.ndarray], along: Sequence[np.ndarray]) -> np.ndarray:
    """Values (up, right) at equally spaced points."""
    rows = np.stack([np.interp(along[0], lines[0], row) for row in values])
    return np.stack([np.interp(along[1], lines[1], column) for column in rows.T], axis=1)


def _times(owner: str, state: Any, times: Any, count: int) -> tuple[np.ndarray, list[str]]:
    """The time of each frame as a number and in words."""
    if times is None:
        times = named_parts(state).get("time")
        if not isinstance(times, (np.ndarray, jnp.ndarray)):
            return np.full(count, np.nan), [f"frame {index}" for index in range(count)] if count > 1 else [""]
    moments = checked_times(np.atleast_1d(np.asarray(times, float)))
    if len(moments) != count:
        raise InputError(f"{owner}: times has {len(moments)} entries; {count}, one for each frame, are accepted.")
    return moments, [f"t = {moment:g}" for moment in moments]


def _plane(owner: str, grid: Grid, across: Any, at: Any, how: Any) -> Plane | None:
    if how not in ("slice", "mean", "maximum"):
        raise InputError(f'{owner}: how is {shown(how)}; "slice", "mean" or "maximum" is accepted.')
    if grid.dimensions < 3:
        for name, given, default in (("across", across, "z"), ("at", at, None), ("how", how, "slice")):
            if given != default:
                raise InputError(
                    f"{owner}: {name} is {shown(given)}; in {grid.dimensions}D there is no axis across the picture, so "
                    f"that {default!r} alone is accepted."
                )
        return Plane(grid, (0, 1)) if grid.dimensions == 2 else None
    if across not in grid.axis_names:
        raise InputError(f'{owner}: across is {shown(across)}; "x", "y" or "z" is accepted.')
    axis = grid.axis_names.index(across)
    right, up = (other for other in range(3) if other != axis)
    index = None
    if how == "slice":
        edges = grid.edges[axis]
        at = (edges[0] + edges[-1]) / 2 if at is None else at
        if not isinstance(at, (int, float, np.number)) or not edges[0] <= at <= edges[-1]:
            raise InputError(
                f"{owner}: at is {shown(at)}; a place along {across} from {edges[0]:g} to {edges[-1]:g} is accepted."
            )
        index = int(np.argmin(np.abs(_centers(grid, axis) - at)))
    return Plane(grid, (right, up), axis, index, how)


def solid_of(owner: str, state: Any, solid: Any) -> Shape | None:
    """The shape that is drawn for an obstacle as it is at the time of a state; None without one."""
    shape, _ = obstacle_over_time(owner, solid, next(iter(named_fields(state).values())))
    if shape is None:
        return None
    moments, _ = _times(owner, state, None, 1)
    return shape(float(moments[0]))


def _centers(grid: Grid, axis: int) -> np.ndarray:
    return (grid.edges[axis][1:] + grid.edges[axis][:-1]) / 2


def _finer(edges: np.ndarray, times: int) -> np.ndarray:
    """Points so many times closer than the edges, but not more than some 400."""
    times = max(1, min(times, 400 // len(edges)))
    return np.interp(np.arange(times * (len(edges) - 1) + 1) / times, np.arange(len(edges)), edges)
