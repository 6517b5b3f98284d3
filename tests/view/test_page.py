"""The page without a browser: what a choice shows, and what the disk adds while it is open."""

import json
from typing import Any

import numpy as np
import pytest

from diffphys.runs import Run
from tests.view.conftest import Settings
from tests.view.motions import turning


pytest.importorskip("bokeh")

from bokeh.document import Document  # noqa: E402

from diffphys.view.page import Page  # noqa: E402
from diffphys.view.pictures import Colors, Curves  # noqa: E402


@pytest.fixture
def page(runs):
    made = Page(runs, Document())
    made.left.choose_run.value = "first"
    return made


def image(page, number=0):
    return np.asarray(page.figures[number].source.data["image"][0])


def test_choices_and_time_change_the_picture(page):
    assert page.left.choose_arm.value == "unrolled" and page.quantity.value == "vorticity"
    assert page.case.options == ["Re 100", "Re 200"] and page.time.end == 3
    np.testing.assert_allclose(image(page), 4.0)
    page.time.value = 2
    np.testing.assert_allclose(image(page), 12.0)
    assert page.clock.text == "time 1.5"
    page.case.value = "Re 200"
    np.testing.assert_allclose(image(page), 120.0)
    page.left.choose_arm.value = "reference"
    np.testing.assert_allclose(image(page), 60.0)
    page.quantity.value = "pressure"
    assert image(page).shape == (4, 6)


def test_two_runs_stand_beside_each_other_at_the_same_time(page, runs):
    page.right.choose_run.value = "nested/second"
    assert page.right.choose_arm.value == "reference"
    page.right.choose_arm.value = "unrolled"
    page.time.value = 3
    np.testing.assert_allclose(image(page, 0), 16.0)
    np.testing.assert_allclose(image(page, 1), 24.0)
    assert '<tr class="differs"><td>rate</td><td>0.1</td><td>0.2</td></tr>' in page.settings.text
    assert page.results.text.count("0.123456") == 10 and page.results.text.count("data:image/png;base64,") == 2
    assert set(page.chart.sources) == {"unrolled", "unrolled (beside)"}
    page.right.choose_run.value = "first"  # an arm beside another of the same run
    page.right.choose_arm.value = "reference"
    np.testing.assert_allclose(image(page, 1), 8.0)
    assert set(page.chart.sources) == {"unrolled"} and "<th>first</th></tr>" in page.settings.text


def test_what_a_run_writes_appears(page, runs):
    page.left.choose_run.value = "begun"
    assert page.message.visible and page.figures == [] and page.chart is None
    with Run.open(runs / "begun", "turning", "demo", Settings(rate=0.7), 0) as run:
        run.save_curve("training", "unrolled", {"update": [1, 2], "loss": [1.0, 0.5]})
        page.refresh()
        chart: Any = page.chart
        assert chart.sources["unrolled"].data == {"x": [1.0, 2.0], "y": [1.0, 0.5]}
        run.save_curve("training", "unrolled", {"update": [1, 2, 3], "loss": [1.0, 0.5, 0.25]})
        page.refresh()
        assert page.chart is chart and chart.sources["unrolled"].data["y"] == [1.0, 0.5, 0.25]
        run.save_frames("unrolled", turning(5.0))
        page.refresh()
        np.testing.assert_allclose(image(page), 10.0)
    page.left.choose_run.value = "first"
    with Run.open(runs / "new", "turning", "demo", Settings(rate=0.9), 0):
        pass
    page.refresh()
    assert "new" in page.left.choose_run.options and page.left.choose_run.value == "first"


def test_only_what_was_found_can_be_chosen(page, tmp_path):
    for name in ("../secret.txt", "/etc/passwd", str(tmp_path), "first/../../secret.txt", ""):
        page.left.choose_run.value = name
        assert page.left.run is None or page.left.run.name in page.left.choose_run.options
        page.left.choose_run.value = "first"
        page.left.choose_arm.value = name
        assert page.left.choose_arm.value in page.left.choose_arm.options
        page.quantity.value = page.case.value = page.chart_name.value = name
        page.refresh()


def test_what_stands_in_files_is_text(page, runs):
    path = runs / "first" / "settings.json"
    written = json.loads(path.read_text())
    written["settings"]["<script>alert(1)</script>"] = "<img src=x>"
    path.write_text(json.dumps(written))
    (runs / "first" / "table.json").write_text(
        json.dumps({"title": "", "caption": "<b>", "columns": [{"heading": "<i>"}], "rows": [["<script>"]]})
    )
    page.refresh()
    shown = page.settings.text + page.results.text
    assert "&lt;script&gt;" in shown and "<script>" not in shown and "<img src=x>" not in shown and "<b>" not in shown


def test_lines_have_the_truth_behind_them(page, runs):
    for name, factor in (("truth", 1.0), ("adam", 2.0)):
        with Run.open(runs / "line", "turning", "demo", Settings(rate=0.3), 0) as run:
            run.save_frames(name, turning(factor).isel(y=0, y_face=0, drop=True)[["pressure"]])
    page.refresh()
    page.left.choose_run.value = "line"
    page.left.choose_arm.value = "adam"
    (figure,) = page.figures
    assert isinstance(figure, Curves) and set(figure.sources) == {"line: adam", "line: truth"}
    page.time.value = 1
    drawn = figure.sources["line: adam"].data["y"] / figure.sources["line: truth"].data["y"]
    np.testing.assert_allclose(drawn, 4.0, rtol=1e-6)
    page.left.choose_run.value = "first"
    assert isinstance(page.figures[0], Colors)


def test_playing_goes_round(page):
    page.toggle()
    assert page.play.label == "Stop"
    for expected in (1, 2, 3, 0):
        page._next()
        assert page.time.value == expected
    page.toggle()
    assert page.play.label == "Play"


def test_an_obstacle_is_drawn_over_the_field_in_gray(runs, page):
    data = turning(1.0)
    solid = np.zeros((4, 6), bool)
    solid[1, 2] = True
    with Run.open(runs / "around", "turning", "demo", Settings(), 0) as run:
        run.save_frames("reference", data.assign(solid=(("y", "x"), solid)))
    again = Page(runs, Document())
    again.left.choose_run.value = "around"
    assert "solid" not in again.quantity.options
    (picture,) = again.figures
    assert isinstance(picture, Colors)
    np.testing.assert_array_equal(picture.body.data["image"][0], solid)
    again.time.value = 2
    np.testing.assert_array_equal(picture.body.data["image"][0], solid)
    before = page.figures[0]
    assert isinstance(before, Colors) and len(before.body.data["image"]) == 0
