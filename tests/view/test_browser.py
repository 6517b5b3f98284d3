"""In a browser, as wide as a desktop and as a phone: a run is opened, the slider moved, and the picture changes."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from diffphys.view.server import _free


pytest.importorskip("bokeh")
playwright = pytest.importorskip("playwright.sync_api")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ROOT = Path(__file__).parents[2]


@pytest.fixture
def browser():
    with playwright.sync_playwright() as started:
        try:
            opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        except playwright.Error as error:
            pytest.skip(f"there is no browser: {error}")
        yield opened
        opened.close()


@pytest.fixture
def address(runs):
    port = str(_free(None))
    command = [sys.executable, "-m", "diffphys", "view", str(runs), "--no-browser", "--port", port]
    with subprocess.Popen(
        command, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            yield server.stdout.readline().split()[1]  # pyright: ignore[reportOptionalMemberAccess]
        finally:
            server.send_signal(signal.SIGINT)


@pytest.mark.parametrize("width", [1200, 390])
def test_a_run_is_opened_the_slider_moved_and_the_picture_changes(browser, address, width):
    page = browser.new_page(viewport={"width": width, "height": 850})
    problems, elsewhere = [], []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("request", lambda one: elsewhere.append(one.url) if not one.url.startswith((address, "data:")) else None)
    page.goto(address)
    page.get_by_label("run", exact=True).select_option("first")
    page.wait_for_timeout(1500)
    canvas = page.locator("canvas").first
    canvas.wait_for(timeout=20_000)
    first = canvas.screenshot()
    assert page.get_by_text("time 0.5").is_visible()

    page.locator(".noUi-handle").locator("visible=true").first.focus()
    page.keyboard.press("ArrowRight")
    page.get_by_text("time 1").wait_for(timeout=20_000)
    page.wait_for_timeout(500)
    assert canvas.screenshot() != first

    page.get_by_label("beside it").select_option("nested/second")
    page.wait_for_timeout(1500)
    assert page.locator("canvas").count() > 1
    for tab, seen in {"Curves": "logarithmic upward", "Settings": "rate", "Results": "0.123456 ± 0.0001"}.items():
        page.get_by_text(tab, exact=True).click()
        page.get_by_text(seen, exact=True).first.wait_for(timeout=20_000)
        assert page.evaluate("document.documentElement.scrollWidth") <= width  # nothing hangs over the edge
    picture = page.locator("img").first.bounding_box()
    assert picture and picture["x"] + picture["width"] <= width
    assert problems == [] and [url for url in elsewhere if not url.startswith("ws://127.0.0.1")] == []
