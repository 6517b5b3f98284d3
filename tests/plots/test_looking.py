"""One line shows a state: the right numbers at the right places, in colors that fit their sign."""

import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.animation import FFMpegWriter
from PIL import Image

import diffphys as dp
from diffphys import plots
from diffphys.plots.fields import color_range
from diffphys.plots.quantities import quantities


GRID = dp.Grid((8, 6), (4.0, 3.0), (-1.0, 2.0))
PERIODIC = ((dp.Periodic(), dp.Periodic()),) * 2
WALLS = ((dp.Neumann(), dp.Neumann()),) * 2


def rotation(grid, rate):
    """A rigid rotation on the faces, whose ghost values nobody knows."""
    fields = []
    for axis, (offset, sign) in enumerate((((0.0, 0.5), -1), ((0.5, 0.0), 1))):
        x, y = grid.coordinates(offset, (False, False))
        shape = grid.shape(offset, (False, False))
        fields.append(dp.Field(jnp.broadcast_to(sign * rate * (y if axis == 0 else x), shape), grid, offset))
    return tuple(fields)


def shaded(figure):
    return [image for axes in figure.axes for image in axes.images]


def values_of(image):
    return np.asarray(image.get_array())


def outline(axes, index):
    """The corners of what was drawn of a solid: 0 its area, 1 its edge."""
    return np.asarray(axes.collections[index].get_paths()[0].vertices)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("grid", [GRID, dp.Grid.from_edges(([0.0, 1.0, 1.5, 3.0], [0.0, 0.5, 2.0, 2.5, 4.0]))])
def test_magnitude_and_vorticity_of_a_rotation(grid):
    found = quantities({"velocity": rotation(grid, 0.7)})
    x, y = (np.asarray(line) for line in grid.centers())
    np.testing.assert_allclose(found["velocity"](), 0.7 * np.hypot(x, y), rtol=1e-12)
    np.testing.assert_allclose(found["vorticity"](), 1.4, rtol=1e-12)
    np.testing.assert_allclose(found["velocity_x"](), np.broadcast_to(-0.7 * y, grid.cells), rtol=1e-12)


@pytest.mark.usefixtures("float64")
def test_the_vorticity_of_a_flow_is_of_second_order_also_at_periodic_sides():
    errors = []
    for cells in (16, 32):
        grid = dp.Grid((cells, cells), (2 * np.pi, 2 * np.pi))
        flow = dp.IncompressibleFlow(grid, 0.0, 0.1, dp.Periodic())
        (_, y), (x, _) = (grid.coordinates(offset, (True, True)) for offset in ((0.0, 0.5), (0.5, 0.0)))
        state = flow.initial_state((jnp.broadcast_to(jnp.sin(y), (cells, cells)), jnp.sin(x) + 0 * y))
        x, y = grid.centers()
        errors.append(np.max(np.abs(quantities(state)["vorticity"]() - (jnp.cos(x) - jnp.cos(y)))))
    assert 3.5 < errors[0] / errors[1] < 4.5


@pytest.mark.usefixtures("float64")
def test_the_vorticity_in_three_dimensions_is_its_magnitude():
    grid = dp.Grid((4, 5, 6), (1.0, 2.0, 3.0))
    turn = np.array([0.3, -0.5, 1.1])
    place = [np.broadcast_to(np.asarray(line), grid.cells) for line in grid.centers()]
    velocity = np.cross(turn, np.stack(place, axis=-1))
    state = {"velocity": tuple(dp.Field(velocity[..., axis], grid) for axis in range(3))}
    np.testing.assert_allclose(quantities(state)["vorticity"](), 2 * np.linalg.norm(turn), rtol=1e-12)


def test_x_runs_to_the_right_and_y_upward():
    """A mark at small x and large y appears at the upper left, over its own coordinates."""
    marked = np.zeros((8, 6))
    marked[1, 5] = 1.0
    image = shaded(dp.Field(marked, GRID).plot())[0]
    assert image.origin == "lower" and tuple(image.get_extent()) == (-1.0, 3.0, 2.0, 5.0)
    assert values_of(image)[5, 1] == 1.0 and values_of(image).shape == (6, 8)
    axes = dp.plot(dp.Field(marked, GRID)).axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("x", "y") and not axes.yaxis_inverted()


def test_colors_are_sequential_for_one_sign_and_symmetric_for_two():
    assert color_range(np.linspace(1.0, 3.0, 1001))[2] == color_range(np.linspace(-3.0, -1.0, 1001))[2] == "viridis"
    low, high, scale = color_range(np.linspace(-1.0, 3.0, 1001))
    assert scale == "RdBu_r" and -low == high == pytest.approx(2.98)
    assert color_range(np.append(np.linspace(0.0, 1.0, 1001), -1e-7))[2] == "viridis"  # round-off is no sign
    assert color_range(np.full(4, 2.0)) == (1.0, 3.0, "viridis")
    assert color_range(np.zeros(4)) == (-0.5, 0.5, "viridis") and color_range(np.full(4, np.nan))[:2] == (0.0, 1.0)
    assert color_range(np.append(np.full(50, 3e-17), np.linspace(0.0, 2.0, 51)))[0] == 0.0
    one_point = np.zeros(1000)
    one_point[3] = 5.0
    assert color_range(one_point)[:2] == (0.0, 5.0)


def test_of_many_frames_six_are_drawn_with_their_times_and_without_float_noise():
    field = dp.Field(np.arange(48.0).reshape(8, 6), GRID)
    frames = jax.vmap(lambda factor: field * factor)(jnp.linspace(0.0, 1.0, 11))
    figure = dp.plot(frames, np.float32(0.1) * np.arange(11, dtype=np.float32), title="Re = 100")
    assert [axes.get_title() for axes in figure.axes[:6]] == [f"t = {time:g}" for time in (0, 0.2, 0.4, 0.6, 0.8, 1)]
    assert figure.get_suptitle() == "Re = 100"
    limits = {image.get_clim() for image in shaded(figure)}
    assert len(limits) == 1 and len(shaded(figure)) == 6
    assert [axes.get_title() for axes in dp.plot(frames).axes[:2]] == ["frame 0", "frame 2"]


def test_a_flow_shows_its_vorticity_and_scalars_its_obstacle_and_its_time():
    flow = dp.IncompressibleFlow(
        GRID, 0.1, 0.1, dp.Wall(), solid=dp.Sphere((1.0, 3.5), 0.8), scalars={"smoke": dp.PassiveScalar(0.0)}
    )
    velocity = rotation(GRID, 0.7)
    centered = dp.Field(np.arange(48.0).reshape(8, 6), GRID)
    state = dp.FlowState(velocity, centered, {"smoke": centered * 2.0}, jnp.asarray(0.25))
    figure = dp.plot(state, solid=flow)
    labels = [axes.get_ylabel() for axes in figure.axes]
    assert "vorticity" in labels and "smoke" in labels and figure.axes[0].get_title() == "t = 0.25"
    edge = outline(figure.axes[0], 1)
    np.testing.assert_allclose(np.hypot(edge[:, 0] - 1.0, edge[:, 1] - 3.5), 0.8, atol=0.02)
    asked = dp.plot(state, quantity=["velocity", "velocity_x", "pressure"], overlay="streamlines")
    assert {"|velocity|", "velocity x", "pressure"} <= {axes.get_ylabel() for axes in asked.axes}
    asked.draw_without_rendering()


def test_a_body_that_moves_is_drawn_where_it_is():
    field = dp.Field(np.zeros((8, 6)), GRID, conditions=PERIODIC)
    frames = jax.tree.map(lambda leaf: jnp.stack([leaf] * 3), field)

    def body(time):
        return dp.Immersed(dp.Sphere((0.0, 3.5), 0.5).translated((time, 0.0)))

    figure = dp.plot(frames, [0.0, 1.0, 2.0], solid=body)
    for axes, middle in zip(figure.axes, (0.0, 1.0, 2.0), strict=False):
        edge = outline(axes, 1)
        np.testing.assert_allclose(np.hypot(edge[:, 0] - middle, edge[:, 1] - 3.5), 0.5, atol=0.03)
    # Across a periodic side its images are drawn, too.
    beside = outline(dp.plot(field, solid=dp.Sphere((-1.0, 3.5), 0.5)).axes[0], 0)
    assert beside[:, 0].min() < -0.9 and beside[:, 0].max() > 2.9


def test_arrows_point_along_the_velocity():
    quiver = dp.plot({"velocity": rotation(GRID, 1.0)}, overlay="arrows").axes[0].collections[-1]
    points: Any = quiver
    x, y = points.XY.T
    np.testing.assert_allclose(points.U, -y, rtol=1e-5)
    np.testing.assert_allclose(points.V, x, rtol=1e-5, atol=1e-6)


def test_one_dimension_is_curves():
    grid = dp.Grid((5,), (1.0,))
    field = dp.Field(np.arange(5.0) - 2, grid)
    figure = dp.plot({"u": (field,)}, solid=dp.Sphere((0.5,), 0.1))
    np.testing.assert_array_equal(np.asarray(figure.axes[0].lines[0].get_ydata()), np.arange(5.0) - 2)
    np.testing.assert_allclose(np.asarray(figure.axes[0].lines[0].get_xdata()), 0.1 + 0.2 * np.arange(5))
    frames = jax.vmap(lambda factor: field * factor)(jnp.array([1.0, 2.0]))
    assert len(dp.plot(frames, [0.0, 0.5]).axes[0].lines) == 2


@pytest.mark.parametrize("across", "xyz")
def test_three_dimensions_are_a_slice_or_a_projection(across):
    grid = dp.Grid((4, 5, 6), (4.0, 5.0, 6.0))
    values = np.random.default_rng(0).normal(size=(4, 5, 6)).astype(np.float32)
    field, axis = dp.Field(values, grid), "xyz".index(across)
    figure = dp.plot(field, across=across, at=2.7)
    np.testing.assert_array_equal(values_of(shaded(figure)[0]), np.take(values, 2, axis).T)
    assert (figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()) == tuple("xyz".replace(across, ""))
    assert figure.axes[-1].get_ylabel() == f"value at {across} = 2.5"
    reductions: Any = {"mean": np.mean, "maximum": np.max}
    for how, reduce in reductions.items():
        shown = values_of(shaded(dp.plot(field, across=across, how=how))[0])
        np.testing.assert_allclose(shown, reduce(values, axis).T, rtol=1e-6)


def test_a_stretched_grid_is_drawn_with_its_own_cells():
    grid = GRID.with_edges(0, [-1.0, 0.0, 3.0])
    mesh: Any = dp.plot(dp.Field(np.arange(12.0).reshape(2, 6), grid)).axes[0].collections[0]
    np.testing.assert_array_equal(mesh.get_coordinates()[0, :, 0], [-1.0, 0.0, 3.0])
    np.testing.assert_array_equal(np.asarray(mesh.get_array()).reshape(6, 2), np.arange(12.0).reshape(2, 6).T)


FIELD = dp.Field(np.zeros((8, 6)), GRID)


@pytest.mark.parametrize(
    "given, options, said",
    [
        (np.zeros((8, 6)), {}, "Field"),
        (FIELD, {"quantity": "pressure"}, "value are accepted"),
        (FIELD, {"quantity": []}, "quantity"),
        (FIELD, {"overlay": "arrows"}, "velocity"),
        (FIELD, {"overlay": "wind"}, "overlay"),
        (FIELD, {"times": [0.0, 1.0]}, "times"),
        (FIELD, {"solid": 3.0}, "solid"),
        (FIELD, {"how": "sum"}, "how"),
        (FIELD, {"how": "mean"}, "how is 'mean'; in 2D"),
        (FIELD, {"across": "y"}, "across is 'y'; in 2D"),
        (FIELD, {"at": 0.5}, "at is 0.5; in 2D"),
        (dp.Field(np.zeros((8, 6), complex), GRID), {}, "complex"),
        (dp.Field(np.zeros((2, 2, 2)), dp.Grid((2, 2, 2))), {"across": "w"}, "across"),
        (dp.Field(np.zeros((2, 2, 2)), dp.Grid((2, 2, 2))), {"at": 7.0}, "from 0 to 2"),
        (jax.tree.map(lambda leaf: leaf[None, None], FIELD), {}, "leading axes"),
    ],
)
def test_what_cannot_be_drawn_is_one_sentence(given, options, said):
    with pytest.raises(dp.InputError, match=said):
        dp.plot(given, **options)


def turned(count=3):
    """Frames that hold the same values, each turned by one cell, so that they share their colors."""
    values = np.arange(48.0).reshape(8, 6) - 20
    field = dp.Field(values, GRID)
    return jax.vmap(lambda by: field.with_values(jnp.roll(field.values, by, 0)))(jnp.arange(count))


def test_each_frame_of_an_animation_is_what_a_fresh_figure_shows():
    frames = turned()

    def solid(time):
        return dp.Sphere((0.0, 3.5), 0.5).translated((time, 0.0))

    several = [picture.copy() for picture in dp.animate(frames, [0.0, 1.0, 2.0], solid=solid).pictures()]
    assert len(several) == 3 and not np.array_equal(several[0], several[2])
    last = jax.tree.map(lambda leaf: jnp.stack([leaf[2]] * 3), frames)
    fresh = next(dp.animate(last, [2.0, 2.0, 2.0], solid=solid).pictures())
    np.testing.assert_array_equal(several[2], fresh)


def test_animations_are_written_as_gif_and_as_a_player(tmp_path):
    animation = dp.animate(turned(), [0.0, 1.0, 2.0], quantity="value", title="case", frames_per_second=10)
    with Image.open(animation.save(tmp_path / "a.gif")) as gif:
        shown: Any = gif
        assert shown.n_frames == 3 and gif.info["duration"] == 100 and gif.info["loop"] == 0
        first = np.asarray(gif.convert("RGB"))
        assert tuple(first[0, 0]) == (255, 255, 255)
    assert animation._repr_html_().count("data:image/png") == 3
    assert "data:image/png" in animation.save(tmp_path / "a.html").read_text()
    line = dp.Field(np.arange(5.0), dp.Grid((5,)))
    curves = dp.animate(jax.vmap(lambda factor: line * factor)(jnp.arange(3.0)))
    with Image.open(curves.save(tmp_path / "b.gif")) as gif:
        shown = gif
        assert shown.n_frames == 3
    arrows = {"velocity": jax.tree.map(lambda leaf: jnp.stack([leaf, -leaf]), rotation(GRID, 1.0))}
    forth, back = (one.copy() for one in dp.animate(arrows, quantity="vorticity", overlay="arrows").pictures())
    assert not np.array_equal(forth, back)


def test_a_film_needs_ffmpeg_and_says_so(tmp_path, monkeypatch):
    animation = dp.animate(turned())
    if FFMpegWriter.isAvailable():
        assert animation.save(tmp_path / "a.mp4").stat().st_size > 1000
    monkeypatch.setattr(FFMpegWriter, "isAvailable", lambda: False)
    with pytest.raises(dp.InputError, match="ffmpeg"):
        animation.save(tmp_path / "b.mp4")
    with pytest.raises(dp.InputError, match="suffix"):
        animation.save(tmp_path / "b.avi")
    for options in ({"overlay": "streamlines"}, {"frames_per_second": 0}):
        wrong: Any = options
        with pytest.raises(dp.InputError, match=next(iter(options))):
            dp.animate(turned(), **wrong)


def test_looking_is_imported_only_where_somebody_looks():
    program = "import sys, diffphys as dp; dp.Field, dp.rollout; assert 'matplotlib' not in sys.modules; dp.plot"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def test_a_notebook_shows_a_figure_by_itself():
    """Matplotlib's own shows only once pyplot has drawn something."""
    field = dp.Field(np.ones((4, 4)), dp.Grid((4, 4), (1.0, 1.0)))
    figures: list[Any] = [field.plot(), plots.frames_figure(field)]
    assert all(figure._repr_png_()[:8] == b"\x89PNG\r\n\x1a\n" for figure in figures)
