"""Figures: the numbers in them are exact, the colors comparable, the files what they should be."""

import io
import itertools

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from diffphys.errors import InputError
from diffphys.plots import (
    Panel,
    arms_figure,
    error_over_time_figure,
    frames_figure,
    panels_figure,
    space_time_figure,
    training_loss_figure,
    vorticity,
    write_animation,
)


SIZE = (100.0, 200.0)
TIMES = np.array([0.0, 10.0, 20.0])
SOLID = [((50.0, 50.0), 10.0)]


def faces(cells, spacing, velocity_x, velocity_y):
    """u and v of a bounded staggered grid, from functions of (x, y)."""
    (nx, ny), (dx, dy) = cells, spacing
    edge_x, edge_y = dx * np.arange(nx + 1), dy * np.arange(ny + 1)
    center_x, center_y = dx * (np.arange(nx) + 0.5), dy * (np.arange(ny) + 0.5)
    u = velocity_x(edge_x[:, None], center_y[None, :]) * np.ones((nx + 1, ny))
    v = velocity_y(center_x[:, None], edge_y[None, :]) * np.ones((nx, ny + 1))
    return u, v


def waves(shape=(7, 15), scale=1.0):
    phase = np.arange(3)[:, None, None] + np.arange(shape[0])[:, None] + 0.3 * np.arange(shape[1])
    return scale * np.sin(phase)


def rows():
    return {"reference": waves(), "source": waves(scale=5.0), "corrected": waves(scale=0.9)}


def xs(line):
    return np.asarray(line.get_xdata())


def ys(line):
    return np.asarray(line.get_ydata())


def pixels(image):
    return np.asarray(image.get_array())


def frames_in(animation):
    return animation.n_frames


def images(figure):
    return [image for axes in figure.axes for image in axes.images]


def test_vorticity_of_a_solid_body_rotation_is_twice_its_rate():
    spacing = (0.5, 0.25)
    u, v = faces((6, 9), spacing, lambda x, y: -0.7 * (y - 1.0), lambda x, y: 0.7 * (x + 2.0))
    w = vorticity(u, v, spacing)
    assert w.shape == (5, 8)
    np.testing.assert_allclose(w, 1.4, rtol=1e-12)


def test_vorticity_of_a_uniform_flow_is_zero_and_of_a_shear_its_slope():
    spacing = (0.5, 0.25)
    assert not np.any(vorticity(*faces((6, 9), spacing, lambda x, y: 3.0, lambda x, y: -2.0), spacing))
    shear = faces((6, 9), spacing, lambda x, y: 4.0 * y, lambda x, y: 0.0)
    np.testing.assert_allclose(vorticity(*shear, spacing), -4.0, rtol=1e-12)


def test_vorticity_keeps_leading_axes():
    u, v = np.random.default_rng(0).normal(size=(3, 7, 9)), np.random.default_rng(1).normal(size=(3, 6, 10))
    w = vorticity(u, v, (1.0, 2.0))
    assert w.shape == (3, 5, 8)
    np.testing.assert_array_equal(w[1], vorticity(u[1], v[1], (1.0, 2.0)))


@pytest.mark.parametrize(
    "u, v, spacing, named",
    [
        (np.ones((7, 9)), np.ones((6, 9)), (1.0, 1.0), "velocity_x"),
        (np.ones((2, 7, 9)), np.ones((3, 6, 10)), (1.0, 1.0), "velocity_x"),
        (np.ones(7), np.ones(7), (1.0, 1.0), "velocity_x"),
        (np.ones((7, 9)), np.ones((6, 10)), (1.0,), "spacing"),
        (np.ones((7, 9)), np.ones((6, 10)), (1.0, 0.0), "spacing"),
    ],
)
def test_vorticity_refuses_what_is_no_staggered_grid(u, v, spacing, named):
    with pytest.raises(InputError, match=named):
        vorticity(u, v, spacing)


@pytest.mark.parametrize("horizontal", [0, 1])
def test_all_panels_share_one_symmetric_color_scale(horizontal):
    figure = frames_figure(rows(), TIMES, SIZE, solid=SOLID, horizontal=horizontal)
    shown = images(figure)
    assert len(shown) == 9
    limits = {image.get_clim() for image in shown}
    assert len(limits) == 1
    low, high = limits.pop()
    # The reference decides, also where another row is five times as strong.
    assert low == -high and 0.9 < high <= 1.0
    assert len(figure.axes) == 10  # and one color bar
    assert all(len(axes.patches) == 1 for axes in figure.axes[:9])


def test_a_row_that_blew_up_leaves_the_others_readable():
    wild = rows() | {"source": np.full((3, 7, 15), np.nan), "corrected": waves(scale=1e30)}
    assert images(frames_figure(wild, TIMES, SIZE))[0].get_clim()[1] <= 1.0
    lost = {"reference": np.full((3, 7, 15), np.inf), "source": np.full((3, 7, 15), np.inf)}
    frames_figure(lost, TIMES, SIZE, errors=True).savefig(io.BytesIO())


def test_flow_along_y_runs_from_left_to_right_without_a_mirror():
    """A mark at small x and large y has to appear at the top right, over its own coordinates."""
    frame = np.zeros((1, 4, 8))
    frame[0, 0, 7] = 1.0
    figure = frames_figure({"a": frame}, [0.0], SIZE, at="cells", limit=1.0)
    image = images(figure)[0]
    left, right, bottom, top = image.get_extent()
    assert (left, right, bottom, top) == (0.0, 200.0, 100.0, 0.0) and image.origin == "upper"
    assert pixels(image)[0, -1] == 1.0
    assert figure.axes[0].get_xlabel() == "y" and figure.axes[0].get_ylabel().endswith("x")

    upright = images(frames_figure({"a": frame}, [0.0], SIZE, at="cells", limit=1.0, horizontal=0))[0]
    assert tuple(upright.get_extent()) == (0.0, 100.0, 0.0, 200.0)
    assert pixels(upright)[0, 0] == 1.0


def test_corners_lie_half_a_spacing_inside():
    # Interior corners of 8 x 16 cells; each value fills one cell around its corner.
    image = images(frames_figure({"a": waves()}, TIMES, SIZE))[0]
    assert tuple(image.get_extent()) == (6.25, 193.75, 93.75, 6.25)


def test_error_rows_show_the_difference_on_a_scale_of_their_own():
    flows = rows()
    shown = images(frames_figure(flows, TIMES, SIZE, errors=True))
    assert len(shown) == 15
    np.testing.assert_allclose(pixels(shown[9]), np.abs(flows["source"][0] - flows["reference"][0]))
    assert {image.get_clim() for image in shown[9:]} == {shown[9].get_clim()} != {shown[0].get_clim()}
    assert shown[9].get_clim()[0] == 0.0


@pytest.mark.parametrize(
    "flows, times, size, options, named",
    [
        ({}, TIMES, SIZE, {}, "rows"),
        ({"a": waves()}, TIMES[:2], SIZE, {}, '"a"'),
        ({"a": waves()[0]}, TIMES, SIZE, {}, '"a"'),
        ({"a": [np.ones((2, 3)), np.ones((2, 3)), np.ones((3, 2))]}, TIMES, SIZE, {}, '"a"'),
        ({"a": waves()}, 3.0, SIZE, {}, "times"),
        ({"a": waves()}, TIMES, (100.0, -1.0), {}, "size"),
        ({"a": waves()}, TIMES, SIZE, {"horizontal": 2}, "horizontal"),
        ({"a": waves(), "b": waves((3, 7))}, TIMES, SIZE, {"errors": True}, '"b"'),
    ],
)
def test_frames_that_do_not_fit_are_refused(flows, times, size, options, named):
    with pytest.raises(InputError, match=named):
        frames_figure(flows, times, size, **options)


@pytest.mark.parametrize("cases", [1, 3, 5])
def test_errors_over_time_are_drawn_for_each_case_and_saved(cases, tmp_path):
    error = np.array([0.0, 1e-3, 1e-2])
    errors = {f"Re = {case}": {"source": 10 * error, "corrected": error} for case in range(cases)}
    figure = error_over_time_figure(errors, TIMES, {"corrected": 0.013})
    drawn = [axes for axes in figure.axes if axes.get_title()]
    assert [axes.get_title() for axes in drawn] == list(errors)
    assert all(axes.get_yscale() == "log" for axes in drawn)
    np.testing.assert_array_equal(ys(drawn[0].lines[1]), [np.nan, 1e-3, 1e-2])
    assert ys(drawn[0].lines[2])[0] == 0.013 and drawn[0].lines[2].get_color() == drawn[0].lines[1].get_color()
    figure.savefig(tmp_path / "errors.png")
    with Image.open(tmp_path / "errors.png") as picture:
        assert picture.size[0] == 1275


@pytest.mark.parametrize("last", [1e3, np.inf])
def test_an_arm_that_diverges_does_not_hide_the_others(last):
    errors = {"Re = 1": {"source": np.array([1e-3, 1e2, last]), "corrected": np.array([1e-3, 1e-2, 2e-2])}}
    low, high = error_over_time_figure(errors, TIMES).axes[0].get_ylim()
    assert 1e-4 < low < 1e-3 and 2e-2 < high < 1e-1


def test_no_two_arms_have_the_same_line():
    arms = {f"arm {index}": np.array([1e-3, 1e-2, 2e-2]) for index in range(10)}
    panel = Panel(lines={arm: (TIMES, error) for arm, error in arms.items()})
    for figure in (error_over_time_figure({"Re = 1": arms}, TIMES), panels_figure([panel])):
        lines = figure.axes[0].lines
        assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 10


def test_errors_over_time_of_the_wrong_length_are_refused():
    with pytest.raises(InputError, match='"source" of "Re = 1"'):
        error_over_time_figure({"Re = 1": {"source": np.ones(2)}}, TIMES)
    with pytest.raises(InputError, match="errors"):
        error_over_time_figure({}, TIMES)


def test_the_running_median_stays_within_its_stage():
    losses = np.concatenate([np.full(300, 2.0), np.full(200, 8.0)])
    losses[[10, 250, 400]] = 1e3, np.nan, 0.0  # an outlier and two values without a logarithm
    figure = training_loss_figure(losses, np.repeat([1, 4], [300, 200]))
    each, first, second = figure.axes[0].lines
    assert np.isnan(ys(each)[[250, 400]]).all() and np.isfinite(ys(each)).sum() == 498
    assert set(ys(first)) == {2.0} and set(ys(second)) == {8.0}
    assert xs(first)[0] == 1 and xs(first)[-1] == 300 and xs(second)[0] == 301
    heads = figure.axes[0].child_axes[0]
    assert [text.get_text() for text in heads.get_xticklabels()] == ["1", "4"]
    figure.savefig(io.BytesIO())


def test_losses_and_unroll_must_agree():
    with pytest.raises(InputError, match="losses"):
        training_loss_figure(np.ones(3), np.ones(4))
    with pytest.raises(InputError, match="losses"):
        training_loss_figure([], [])


def test_arms_show_the_mean_of_the_cases_and_the_published_value():
    figure = arms_figure({"source": [0.1, 0.3], "corrected": [0.01, np.nan]}, {"source": 0.146, "PRE": 0.031})
    axes = figure.axes[0]
    assert axes.get_xscale() == "log"
    assert [text.get_text() for text in axes.get_yticklabels()] == ["source", "corrected", "PRE"]
    texts = [text.get_text() for text in axes.texts]
    assert "0.200" in texts and "diverged" in texts and "0.146" in texts and "0.031" in texts
    figure.savefig(io.BytesIO())


def test_arms_without_errors_are_refused():
    with pytest.raises(InputError, match="table"):
        arms_figure({})
    with pytest.raises(InputError, match='"source"'):
        arms_figure({"source": np.ones((2, 2))})


def test_the_animation_has_a_frame_for_each_time_and_one_palette(tmp_path):
    path = tmp_path / "partial"  # no suffix, as a temporary name may have none
    write_animation(path, rows(), TIMES, SIZE, solid=SOLID, frames_per_second=10)
    with Image.open(path) as animation:
        assert animation.format == "GIF" and frames_in(animation) == 3 and animation.size[0] == 850
        assert animation.info["loop"] == 0 and animation.info["duration"] == 100
        assert animation.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
        pictures = []
        for index in range(3):
            animation.seek(index)
            pictures.append(np.asarray(animation.convert("RGB")).reshape(-1, 3))
    assert len(np.unique(np.concatenate(pictures), axis=0)) <= 128
    assert any(np.any(pictures[0] != later) for later in pictures[1:])


def test_the_animation_says_in_each_frame_what_its_times_are(tmp_path, monkeypatch):
    told = []
    set_text = Text.set_text
    monkeypatch.setattr(Text, "set_text", lambda text, words: (told.append(words), set_text(text, words))[1])
    write_animation(tmp_path / "a.gif", {"a": waves()}, [0, 5, 10], SIZE, clock="iterations")
    assert [words for words in told if "=" in str(words)] == [f"iterations = {n}" for n in (0, 0, 5, 10)]


def test_the_animation_of_many_frames_stays_small(tmp_path):
    phase = 0.2 * np.arange(80)[:, None, None] + 0.3 * np.arange(31)[:, None] + 0.2 * np.arange(63)
    flow = np.sin(phase) * np.exp(-((np.arange(31)[:, None] - 15) ** 2) / 30)
    path = tmp_path / "wake.gif"
    write_animation(path, {"reference": flow, "source": 0.5 * flow, "corrected": 0.9 * flow}, np.arange(80), SIZE)
    assert path.stat().st_size < 3e6


def test_an_animation_of_frames_that_do_not_fit_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(InputError, match='"a"'):
        write_animation(tmp_path / "a.gif", {"a": waves()}, TIMES[:2], SIZE)
    with pytest.raises(InputError, match="frames_per_second"):
        write_animation(tmp_path / "a.gif", {"a": waves()}, TIMES, SIZE, frames_per_second=0)
    assert not list(tmp_path.iterdir())


def test_figures_touch_no_global_state():
    import matplotlib

    before = dict(matplotlib.rcParams)
    figure = frames_figure(rows(), TIMES, SIZE)
    assert isinstance(figure, Figure) and figure.dpi == 150
    assert dict(matplotlib.rcParams) == before
    assert np.all(np.asarray(colormaps["RdBu_r"].get_bad()) == 0)  # the shared color maps stay as they are


def test_space_and_time_are_drawn_with_one_color_scale_and_x_upward():
    times = np.linspace(0.0, 4.0, 5)
    reference = np.arange(15.0).reshape(5, 3)
    figure = space_time_figure({"reference": reference, "twice": 2 * reference, "lost": reference * np.nan}, times, 6.0)
    first, second, lost = images(figure)
    assert np.array_equal(pixels(first), reference.T) and first.origin == "lower"
    assert first.get_extent() == [0.0, 4.0, 0.0, 6.0]
    assert first.get_clim() == second.get_clim() == lost.get_clim()
    assert first.get_clim()[1] == -first.get_clim()[0] == np.percentile(reference, 99)
    with pytest.raises(InputError, match=r'"reference" has shape \(5, 3\); give \(4, cells\)'):
        space_time_figure({"reference": reference}, times[1:], 6.0)
    with pytest.raises(InputError, match="at least one flow"):
        space_time_figure({}, times, 6.0)


@pytest.mark.parametrize("size", [(96.0, 12.0), (24.0, 24.0)])
def test_names_of_rows_do_not_run_into_each_other(size):
    names = ("reference", "source", "unrolled", "smagorinsky", "finer-2")
    figure = frames_figure({name: np.ones((4, 16, 8)) for name in names}, range(4), size, at="cells", horizontal=0)
    figure.draw_without_rendering()
    boxes = [panel.yaxis.label.get_window_extent() for panel in figure.axes if panel.get_ylabel()][: len(names)]
    assert len(boxes) == len(names)
    assert all(above.y0 >= below.y1 for above, below in itertools.pairwise(boxes))
