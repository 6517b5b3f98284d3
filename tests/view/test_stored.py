"""What is found below a directory, and that nothing from elsewhere ever is."""

import json
import os
import shutil
import warnings

import numpy as np
import pytest
import xarray

from diffphys.errors import InputError
from diffphys.view import find_runs
from diffphys.view.frames import drawn
from diffphys.view.quantities import quantities


def test_runs_are_found_and_read(runs):
    found = find_runs(runs)
    assert set(found) == {"first", "nested/second", "begun"} and list(found)[0] == "begun"  # the newest first
    run = found["nested/second"]
    assert (
        run.description.settings["rate"] == 0.2 and run.description.finished and not found["begun"].description.finished
    )
    assert run.frames == ["reference", "unrolled"] and run.metrics() == {"error": 1.25}
    data = run.dataset("unrolled")
    assert data is not None and data.sizes == {"case": 2, "time": 4, "x": 6, "y": 4, "x_face": 7, "y_face": 5}
    np.testing.assert_array_equal(run.curves()["training"]["unrolled"]["loss"], [1.0, 0.1, 0.02])
    assert run.dataset("nobody") is None and run.dataset("../../../secret") is None
    begun = found["begun"]
    assert begun.frames == [] and begun.curves() == {} and begun.metrics() == {} and begun.figures() == {}
    assert list(find_runs(runs / "first")) == ["."]


def test_a_directory_that_is_missing_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match="accepted"):
        find_runs(tmp_path / "nowhere")


def test_what_changes_changes_the_stamp(runs):
    run = find_runs(runs)["first"]
    before = run.stamp
    assert find_runs(runs)["first"].stamp == before
    path = run.path / "curves" / "training" / "unrolled.json"
    written = json.loads(path.read_text())
    written["columns"] = {"update": [1, 2, 3, 4], "loss": [1.0, 0.1, 0.01, 0.001]}
    path.with_suffix(".new").write_text(json.dumps(written))
    os.replace(path.with_suffix(".new"), path)
    assert run.stamp != before and len(run.curves()["training"]["unrolled"]["loss"]) == 4


def test_of_what_somebody_else_wrote_the_numbers_are_read(runs):
    words = {
        "name": ("x", np.array(["a", "b"])),
        "waves": ("x", np.array([1j, 2j])),
        "u": ("x", np.array([1.0, np.nan])),
    }
    data = xarray.Dataset(words, {"x": ["left", "right"]})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # texts are not yet in Zarr's third format
        data.to_zarr(runs / "first" / "frames" / "foreign.zarr", zarr_format=3)
    found = find_runs(runs)["first"].dataset("foreign")
    assert found is not None and list(found.variables) == ["u"]
    field = drawn("u", quantities(found), 0)
    assert field is not None and np.array_equal(field.lines["x"], [0.0, 1.0])


def test_no_link_is_followed(runs, tmp_path):
    """Neither one to a file elsewhere nor one to another place inside, at any depth."""
    outside = tmp_path / "outside"
    shutil.copytree(runs / "first", outside)
    (outside / "figures" / "secret.png").write_bytes(b"secret")
    shutil.copytree(runs / "first" / "frames" / "unrolled.zarr", tmp_path / "frames")
    (runs / "linked").symlink_to(outside, target_is_directory=True)
    assert "linked" not in find_runs(runs)

    lent = runs / "lent"
    lent.mkdir()
    (lent / "settings.json").symlink_to(outside / "settings.json")
    assert "lent" not in find_runs(runs)

    run = find_runs(runs)["first"]
    shutil.rmtree(run.path / "figures")
    (run.path / "figures").symlink_to(outside / "figures", target_is_directory=True)
    assert run.figures() == {}
    (run.path / "figures").unlink()
    (run.path / "figures").mkdir()
    (run.path / "figures" / "secret.png").symlink_to(outside / "figures" / "secret.png")
    assert run.figures() == {}
    (run.path / "metrics.json").unlink()
    (run.path / "metrics.json").symlink_to(outside / "metrics.json")
    (run.path / "table.json").unlink()
    (run.path / "table.json").symlink_to(outside / "metrics.json")
    assert run.metrics() == {} and run.table() == {}
    shutil.rmtree(run.path / "curves" / "training")
    (run.path / "curves" / "training").symlink_to(outside / "curves" / "training", target_is_directory=True)
    assert run.curves() == {}

    (run.path / "frames" / "lent.zarr").symlink_to(tmp_path / "frames", target_is_directory=True)
    assert run.frames == ["reference", "unrolled"]
    chunk = next(path for path in (run.path / "frames" / "unrolled.zarr" / "pressure").rglob("*") if path.name == "0")
    os.replace(chunk, tmp_path / "chunk")
    chunk.symlink_to(tmp_path / "chunk")
    assert run.dataset("unrolled") is None
    shutil.rmtree(run.path / "frames")
    (run.path / "frames").symlink_to(outside / "frames", target_is_directory=True)
    assert run.frames == [] and run.dataset("reference") is None


def test_what_is_damaged_is_left_out(runs):
    run = find_runs(runs)["first"]
    for path in (run.path / "metrics.json", run.path / "curves" / "training" / "unrolled.json"):
        path.write_text("[1, 2")
    (run.path / "table.json").write_text("[1]")
    (run.path / "frames" / "unrolled.zarr" / "zarr.json").write_text("{}")
    assert run.metrics() == run.curves() == run.table() == {} and run.dataset("unrolled") is None
    (runs / "begun" / "settings.json").write_text("no")
    (runs / "other").mkdir()
    (runs / "other" / "settings.json").write_text('{"format": "of somebody else"}')
    assert set(find_runs(runs)) == {"first", "nested/second"}
