"""Runs on disk, made in milliseconds."""

from dataclasses import dataclass

import pytest
from matplotlib.figure import Figure

from diffphys.runs import Run, setting, write_json
from tests.view.motions import turning


@dataclass(frozen=True)
class Settings:
    rate: float = setting(0.1, help="a number", above=0.0)
    arms: tuple[str, ...] = setting(("unrolled",), help="texts")


@pytest.fixture
def runs(tmp_path):
    """Two runs of frames and curves and one that has only begun, in a directory beside a secret."""
    (tmp_path / "secret.txt").write_text("the secret")
    directory = tmp_path / "runs"
    for number, name in enumerate(("first", "nested/second")):
        settings = Settings(rate=0.1 * (1 + number))
        with Run.open(directory / name, "turning", "demo", settings, number) as run:
            run.save_frames("reference", turning(1.0))
            run.save_frames("unrolled", turning(2.0 + number))
            run.save_curve("training", "unrolled", {"update": [1, 2, 3], "loss": [1.0, 0.1, 0.01 * (1 + number)]})
            run.write_metrics({"error": 0.25 + number})
            columns = [{"heading": "a heading of many words", "justify": "left"}] * 6
            rows = [["a name that is long", *["0.123456 ± 0.0001"] * 5]]
            write_json(run.directory / "table.json", {"title": "", "caption": "", "columns": columns, "rows": rows})
            run.save_figure("wide.png", Figure(figsize=(12, 1), dpi=100))
            run.finish()
    with Run.open(directory / "begun", "turning", "demo", Settings(rate=0.7), 0):
        pass
    return directory
