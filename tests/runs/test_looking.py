"""What a run leaves to be looked at is bounded, says what it is, and is there as a whole or not at all."""

import json

import numpy as np
import pytest
import xarray

from diffphys.errors import InputError
from diffphys.runs.looking import LARGEST, LONGEST, evenly, file_name, read_frames, save_curve, save_frames, thinned


def frames(cases=2, times=50, points=8):
    values = np.arange(cases * times * points**2, dtype=float).reshape(cases, times, points, points)
    lines = {"time": 0.5 * np.arange(times), "y": np.arange(points) + 0.5, "x": np.arange(points) + 0.5}
    return xarray.Dataset({"u": (("case", "time", "y", "x"), values)}, lines)


def test_few_frames_are_kept_as_they_are(tmp_path):
    data = frames()
    save_frames(tmp_path, "one/arm: x", data)
    (path,) = (tmp_path / "frames").iterdir()
    with xarray.open_zarr(path, chunks=None) as kept:
        assert kept.attrs["name"] == "one/arm: x" and kept.u.dtype == np.float32
        np.testing.assert_array_equal(kept.u, data.u)
        np.testing.assert_array_equal(kept.time, data.time)
        assert kept.u.encoding["chunks"] == (1, 50, 8, 8)


def test_frames_are_read_as_they_were_kept(tmp_path):
    save_frames(tmp_path, "one/arm", frames())
    xarray.testing.assert_equal(read_frames(tmp_path, "one/arm"), frames().astype(np.float32))
    with pytest.raises(InputError, match="read_frames"):
        read_frames(tmp_path, "another")


def test_what_is_large_loses_frames_first_and_then_points():
    data = frames()
    half = thinned(data, data.u.size * 2)
    assert half.sizes == {"case": 2, "time": 25, "y": 8, "x": 8}
    assert half.time[0] == data.time[0] and half.time[-1] == data.time[-1]
    np.testing.assert_array_equal(half.u.sel(case=1, time=24.5), data.u.sel(case=1, time=24.5))
    small = thinned(data, 600)
    assert small.sizes == {"case": 2, "time": 2, "y": 4, "x": 4}
    np.testing.assert_array_equal(small.u.isel(time=-1), data.u.isel(time=-1)[:, ::2, ::2])
    huge = thinned(xarray.Dataset({"u": (("z", "y", "x"), np.zeros((256, 256, 256), np.float32))}))
    assert LARGEST / 8 < huge.u.nbytes <= LARGEST


def test_a_curve_says_what_it_is_and_stays_short(tmp_path):
    count = 10_001
    save_curve(
        tmp_path, "training", "an/arm", {"update": range(count), "loss": np.where(np.arange(count) == 0, np.nan, 2)}
    )
    (path,) = (tmp_path / "curves" / "training").iterdir()
    written = json.loads(path.read_text())
    assert (written["chart"], written["line"]) == ("training", "an/arm")
    updates, losses = written["columns"]["update"], written["columns"]["loss"]
    assert len(updates) == len(losses) == LONGEST and updates[0] == 0 and updates[-1] == count - 1
    assert losses[0] is None and losses[1] == 2.0
    save_curve(tmp_path, "training", "an/arm", {"update": [], "loss": []})
    assert json.loads(path.read_text())["columns"] == {"update": [], "loss": []}


def test_names_of_files_are_safe_and_differ():
    names = ["..", ".", "a/b", "a%2Fb", "a\\b", "Re 146.5", "x*", "é", "/etc/passwd"]
    files = [file_name(name) for name in names]
    assert len(set(files)) == len(names)
    assert not any(set(file) & set('/\\*:<>|?"') or file.startswith(".") for file in files)


def test_evenly():
    np.testing.assert_array_equal(evenly(5, 9), range(5))
    np.testing.assert_array_equal(evenly(101, 3), [0, 50, 100])
    np.testing.assert_array_equal(evenly(1, 0), [0])


@pytest.mark.usefixtures("unchecked_types")
def test_mistakes_are_one_sentence(tmp_path):
    with pytest.raises(InputError, match="shapes"):
        save_curve(tmp_path, "a", "b", {"x": [1, 2], "y": [1]})
    with pytest.raises(InputError, match="accepted"):
        save_frames(tmp_path, "a", np.zeros(3))  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="complex"):
        save_frames(tmp_path, "a", xarray.Dataset({"psi": (("x",), np.zeros(3, complex))}))
    assert not list(tmp_path.iterdir())
