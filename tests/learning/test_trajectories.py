"""Trajectories on disk: a round trip, and every way in which a file can be wrong."""

import json
import os
import shutil
import tempfile
import types
import warnings
from pathlib import Path

import hypothesis.extra.numpy as arrays_of
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray
from hypothesis import example as given_example
from hypothesis import given, settings
from hypothesis import strategies as st

import diffphys as dp
from diffphys.runs import files


GRID = dp.Grid((4, 3), (2.0, 3.0))


def example() -> dp.Trajectories:
    numbers = np.random.default_rng(0).normal(size=(2, 5, 60)).astype(np.float32)
    frames = {
        "velocity_x": jnp.asarray(numbers[..., :15].reshape(2, 5, 5, 3)),
        "velocity_y": jnp.asarray(numbers[..., 15:31].reshape(2, 5, 4, 4)),
        "density": jnp.asarray(numbers[..., 31:43].reshape(2, 5, 4, 3)),
    }
    return dp.Trajectories(frames, {"viscosity": jnp.array([0.1, 0.2])})


def test_a_round_trip_keeps_every_bit_and_opens_in_xarray(tmp_path):
    dp.save_trajectories(tmp_path / "data.zarr", example(), GRID, {"origin_of_data": "test"})
    loaded, grid, attributes = dp.load_trajectories(tmp_path / "data.zarr")
    assert grid == GRID and attributes["origin_of_data"] == "test"
    for name, values in example().frames.items():
        assert jnp.array_equal(loaded.frames[name], values)
    assert jnp.array_equal(loaded.parameters["viscosity"], example().parameters["viscosity"])
    dataset = xarray.open_zarr(tmp_path / "data.zarr", consolidated=False, chunks=None)
    assert dataset["velocity_x"].dims == ("case", "frame", "x_face", "y")
    assert np.allclose(dataset["x_face"], [0.0, 0.5, 1.0, 1.5, 2.0]) and np.allclose(dataset["y"], [0.5, 1.5, 2.5])


@pytest.mark.usefixtures("unchecked_types")
def test_states_are_saved_as_a_rollout_gives_them(tmp_path):
    flow = dp.IncompressibleFlow(GRID, 0.1, 0.1, sides=dict(x=dp.Periodic(), y=dp.Wall()))
    _, frames = dp.rollout(flow, flow.initial_state((1.0, 0.0)), 4, save_every=2)
    one_case = dp.Trajectories(jax.tree.map(lambda leaf: leaf[None], frames), times=frames.time)
    dp.save_trajectories(tmp_path / "flow.zarr", one_case, GRID)
    loaded, grid, _ = dp.load_trajectories(tmp_path / "flow.zarr")
    assert set(loaded.frames) == {"velocity_x", "velocity_y", "pressure"} and grid == GRID
    np.testing.assert_array_equal(loaded.frames["velocity_x"][0], frames.velocity[0].values)
    np.testing.assert_array_equal(loaded.times, frames.time)
    with xarray.open_zarr(tmp_path / "flow.zarr", chunks=None) as data:
        assert data["velocity_x"].dims == ("case", "frame", "x_face", "y")  # the n faces of a periodic axis
    with pytest.raises(dp.InputError, match="accepted"):
        dp.save_trajectories(tmp_path / "no.zarr", frames, GRID)
    with pytest.raises(dp.InputError, match="holds no fields"):
        dp.save_trajectories(tmp_path / "no.zarr", dp.Trajectories(jnp.zeros((1, 2, 4, 3))), GRID)


def test_saving_replaces_what_was_there(tmp_path):
    path = tmp_path / "data.zarr"
    dp.save_trajectories(path, example(), GRID)
    dp.save_trajectories(path, example().between(0, 2), GRID)
    assert dp.load_trajectories(path)[0].length == 2
    assert [entry.name for entry in tmp_path.iterdir()] == ["data.zarr"]


def damage_nothing_there(path):
    shutil.rmtree(path)


def damage_a_file_in_its_place(path):
    shutil.rmtree(path)
    path.write_text("not a directory")


def damage_foreign(path):
    shutil.rmtree(path)
    xarray.Dataset({"a": (("n",), np.ones(3))}).to_zarr(path, zarr_format=3, consolidated=False)


def damage_empty(path):
    shutil.rmtree(path)
    path.mkdir()


def damage_newer(path):
    metadata = json.loads((path / "zarr.json").read_text())
    metadata["attributes"]["version"] = 99
    (path / "zarr.json").write_text(json.dumps(metadata))


def damage_missing_chunk(path):
    largest_file(path / "velocity_x").unlink()


def damage_truncated_chunk(path):
    chunk = largest_file(path / "velocity_x")
    chunk.write_bytes(chunk.read_bytes()[:-20])


def damage_missing_array(path):
    shutil.rmtree(path / "density")


def damage_missing_checksums(path):
    metadata = json.loads((path / "zarr.json").read_text())
    del metadata["attributes"]["checksums"]
    (path / "zarr.json").write_text(json.dumps(metadata))


def damage_truncated_metadata(path):
    (path / "zarr.json").write_text((path / "zarr.json").read_text()[:40])


def largest_file(path):
    return max((file for file in path.rglob("c/**/*") if file.is_file()), key=lambda file: file.stat().st_size)


@pytest.mark.parametrize(
    "damage", [function for name, function in sorted(globals().items()) if name.startswith("damage_")]
)
def test_what_is_damaged_or_foreign_is_refused(tmp_path, damage):
    path = tmp_path / "data.zarr"
    dp.save_trajectories(path, example(), GRID)
    damage(path)
    with pytest.raises(dp.InputError, match="data.zarr"):
        dp.load_trajectories(path)


def test_values_that_are_not_finite_are_refused():
    frames = {"density": jnp.ones((1, 2, 4, 3)).at[0, 1, 2, 2].set(jnp.nan)}
    with pytest.raises(dp.InputError, match="not finite"):
        dp.Trajectories(frames)
    with pytest.raises(dp.InputError, match="viscosity"):
        dp.Trajectories({"density": jnp.ones((1, 2, 4, 3))}, {"viscosity": jnp.array([jnp.inf])})


@pytest.mark.parametrize(
    ("frames", "parameters"),
    [
        ({}, {}),
        ({"a": jnp.ones(3)}, {}),
        ({"a": jnp.ones((2, 5, 4)), "b": jnp.ones((2, 6, 4))}, {}),
        ({"a": jnp.ones((2, 5, 4))}, {"viscosity": jnp.ones(3)}),
    ],
)
def test_shapes_that_do_not_fit_are_refused(frames, parameters):
    with pytest.raises(dp.InputError, match="Trajectories"):
        dp.Trajectories(frames, parameters)


def test_what_has_no_place_on_the_grid_cannot_be_saved(tmp_path):
    with pytest.raises(dp.InputError, match="'a'"):
        dp.save_trajectories(tmp_path / "data", dp.Trajectories({"a": jnp.ones((2, 5, 7, 7))}), GRID)
    with pytest.raises(dp.InputError, match="mapping"):
        dp.save_trajectories(tmp_path / "data", dp.Trajectories(jnp.ones((2, 5, 4, 3))), GRID)
    assert not (tmp_path / "data").exists()


def contents(directory: Path) -> dict:
    """Every file below a directory, with what is in it."""
    return {file.relative_to(directory): file.read_bytes() for file in directory.rglob("*") if file.is_file()}


def foreign_note(path):
    path.mkdir()
    (path / "notes.txt").write_text("dear to me")


def foreign_note_beside_trajectories(path):
    dp.save_trajectories(path, example(), GRID)
    (path / "density" / "notes.txt").write_text("dear to me")


def foreign_array_in_trajectories(path):
    dp.save_trajectories(path, example(), GRID)
    added = xarray.Dataset({"vorticity": (("case", "frame"), np.ones((2, 5)))})
    added.to_zarr(path, mode="a", zarr_format=3, consolidated=False)


def foreign_zarr(path):
    xarray.Dataset({"a": (("n",), np.ones(3))}).to_zarr(path, zarr_format=3, consolidated=False)


def foreign_file(path):
    path.write_text("dear to me")


@pytest.mark.parametrize(
    "make", [function for name, function in sorted(globals().items()) if name.startswith("foreign_")]
)
def test_nothing_that_was_on_disk_is_lost(tmp_path, make):
    make(tmp_path / "data")
    before = contents(tmp_path)
    with pytest.raises(dp.InputError, match="something else"):
        dp.save_trajectories(tmp_path / "data", example(), GRID)
    assert contents(tmp_path) == before


def test_an_empty_directory_a_link_and_the_home_directory_are_paths(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to("data")
    for path in (tmp_path / "link", "~/data", "~/new/data"):
        dp.save_trajectories(path, example(), GRID)
        assert dp.load_trajectories(path)[0].cases == 2
    assert (tmp_path / "link").is_symlink() and (tmp_path / "new" / "data").is_dir()
    with pytest.raises(dp.InputError, match="home"):
        dp.save_trajectories("~nobody-of-this-name/data", example(), GRID)


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_a_kill_while_saving_leaves_the_old_or_the_new_trajectories(tmp_path, monkeypatch, renames):
    path = tmp_path / "data"
    dp.save_trajectories(path, example(), GRID)
    left = [renames]

    def killed(*names):
        if not left[0]:
            raise KeyboardInterrupt  # and nothing is done from here on
        left[0] -= 1
        os.replace(*names)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(files, "os", types.SimpleNamespace(**(vars(os) | {"replace": killed})))
        patch.setattr(files, "_remove", lambda path: None if left[0] else killed())
        dp.save_trajectories(path, example().between(0, 2), GRID)
    loaded, _, _ = dp.load_trajectories(path)
    assert loaded.length == (2 if renames == 2 else 5)
    dp.save_trajectories(path, example().between(0, 3), GRID)
    assert dp.load_trajectories(path)[0].length == 3
    assert [entry.name for entry in tmp_path.iterdir() if not entry.name.startswith(".partial-")] == ["data"]


def test_reserved_and_nested_attributes_stay_attributes(tmp_path):
    given = {
        "size": [1.0, 1.0],
        "version": 7,
        "format": "mine",
        "checksums": {},
        "contents": "x",
        "coordinates": "x y",
        "flags": {"a": [True, None, {"b": 0.5}]},
        "": "empty",
        "u/v": "slash",
        "large": 10**30,
    }
    dp.save_trajectories(tmp_path / "data", example(), GRID, given)
    _, grid, attributes = dp.load_trajectories(tmp_path / "data")
    assert grid == GRID and attributes == given
    dp.save_trajectories(tmp_path / "data", example(), GRID, {"a": (1, np.float32(0.5)), "b": jnp.arange(2)})
    assert dp.load_trajectories(tmp_path / "data")[2] == {"a": [1, 0.5], "b": [0, 1]}
    with pytest.raises(dp.InputError, match="attributes"):
        dp.save_trajectories(tmp_path / "data", example(), GRID, {"a": object()})
    with pytest.raises(dp.InputError, match="attributes"):
        dp.save_trajectories(tmp_path / "data", example(), GRID, {"a": {1: 2}})
    assert dp.load_trajectories(tmp_path / "data")[2] == {"a": [1, 0.5], "b": [0, 1]}


def test_xarray_and_netcdf_users_find_places_times_units_and_names_without_a_warning(tmp_path):
    data = dp.Trajectories(
        {"u/v": jnp.ones((2, 5, 4, 3)), "density": 2 * jnp.ones((2, 5, 4, 3)), "vorticity": jnp.ones((2, 5, 4, 4))},
        {"density": jnp.array([1.0, 2.0]), "inflow": jnp.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])},
        times=0.5 * jnp.arange(5),
    )
    dp.save_trajectories(
        tmp_path / "data",
        data,
        GRID,
        {"author": "me", "nested": {"a": 1}},
        offsets={"u/v": (0.0, 0.5), "vorticity": (0.0, 0.0)},  # n faces along x, which is periodic
        units={"u/v": "m s-1"},
        length_unit="m",
        time_unit="s",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = xarray.open_zarr(tmp_path / "data", chunks=None)
    velocity = next(one for one in found.values() if one.attrs["long_name"] == "u/v")
    assert velocity.dims == ("case", "frame", "x_face", "y") and velocity.attrs["units"] == "m s-1"
    assert np.array_equal(found.x_face, [0.0, 0.5, 1.0, 1.5]) and np.array_equal(found.x, [0.25, 0.75, 1.25, 1.75])
    assert np.array_equal(found.y_face, [0.0, 1.0, 2.0, 3.0]) and found.y.attrs["units"] == "m"
    assert np.array_equal(velocity.time, [0.0, 0.5, 1.0, 1.5, 2.0]) and velocity.time.attrs["units"] == "s"
    assert found.attrs["author"] == "me"
    found.to_netcdf(tmp_path / "data.nc")
    with xarray.open_dataset(tmp_path / "data.nc") as again:
        assert np.array_equal(again["density"], 2 * np.ones((2, 5, 4, 3)))
    loaded, _, _ = dp.load_trajectories(tmp_path / "data")
    assert np.array_equal(loaded.frames["density"], data.frames["density"])
    assert np.array_equal(loaded.parameters["density"], [1.0, 2.0])
    assert np.array_equal(loaded.parameters["inflow"], data.parameters["inflow"])
    assert np.array_equal(loaded.times, data.times) and loaded.between(1, 3).times.tolist() == [0.5, 1.0]


def test_a_field_brings_its_place(tmp_path):
    flow = dp.IncompressibleFlow(GRID, viscosity=0.01, dt=0.1, sides=dp.Periodic())
    _, states = dp.rollout(flow, flow.initial_state((1.0, 0.5)), steps=3, save_every=1)
    frames = {"u": states.velocity[0], "v": states.velocity[1], "p": states.pressure}
    batch = dp.Trajectories({name: one_case(field) for name, field in frames.items()}, {}, times=states.time)
    dp.save_trajectories(tmp_path / "data", batch, GRID)
    found = xarray.open_zarr(tmp_path / "data", chunks=None)
    assert found.u.dims[2:] == ("x_face", "y") and np.array_equal(found.x_face, [0.0, 0.5, 1.0, 1.5])
    assert found.v.dims[2:] == ("x", "y_face") and np.allclose(found.time, [0.1, 0.2, 0.3])
    assert np.array_equal(dp.load_trajectories(tmp_path / "data")[0].frames["u"], states.velocity[0].values[None])
    with pytest.raises(dp.InputError, match="lives on"):
        dp.save_trajectories(tmp_path / "data", batch, dp.Grid((4, 3), (2.0, 3.5)))


def one_case(field):
    return jax.tree.map(lambda leaf: leaf[None], field)


NAMES = st.one_of(
    st.sampled_from(["x", "y_face", "time", "case", "..", ".", "", "u/v", "zarr.json", "U", "u", "c"]), st.text()
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
TYPES = st.sampled_from(
    ["bool", "int8", "uint16", "int32", "int64", "float16", "float32", "float64", "complex64", "complex128"]
)
GRIDS = st.sampled_from(
    [GRID, dp.Grid((3,), (1e-9,)), dp.Grid((2, 1, 3)), dp.Grid.from_edges([[0.0, 1.0, 3.0], [1.0, 2.0]])]
)


@st.composite
def saved_arguments(draw):
    grid, leading = draw(GRIDS), (draw(st.integers(1, 2)), draw(st.integers(1, 3)))

    def numbers(shape):
        dtype = np.dtype(draw(TYPES))
        options: dict = {"allow_nan": False, "allow_infinity": False} if dtype.kind in "fc" else {}
        return draw(arrays_of.arrays(dtype, shape, elements=arrays_of.from_dtype(dtype, **options)))

    frames = {}
    for name in draw(st.lists(NAMES, min_size=1, max_size=4, unique=True)):
        further = [draw(st.integers(0, 1)) for _ in grid.cells]
        frames[name] = numbers((*leading, *(n + more for n, more in zip(grid.cells, further, strict=True))))
    parameters = {
        name: numbers((leading[0], *draw(st.lists(st.integers(1, 2), max_size=2))))
        for name in draw(st.lists(NAMES | st.sampled_from(sorted(frames)), max_size=3, unique=True))
    }
    times = draw(st.none() | st.just(np.arange(leading[1]) * 0.1))
    return dp.Trajectories(frames, parameters, times), grid, draw(st.dictionaries(NAMES, JSON, max_size=3))


def same_bits(one, other):
    one, other = np.asarray(one), np.asarray(other)
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


def check_round_trip(given):
    """What is saved is what is loaded, and opens in xarray; or it is refused and nothing is written."""
    data, grid, attributes = given
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "data"
        dp.save_trajectories(path, data, grid, attributes)
        loaded, again, found = dp.load_trajectories(path)
        assert again == grid and found == attributes
        for one, other in ((data.frames, loaded.frames), (data.parameters, loaded.parameters)):
            assert list(one) == list(other) and all(same_bits(one[name], other[name]) for name in one)
        assert (data.times is None) == (loaded.times is None)
        assert data.times is None or same_bits(data.times, loaded.times)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            opened = xarray.open_zarr(path, chunks=None)
        assert len(opened.data_vars) == len(data.frames) + len(data.parameters)
        dp.save_trajectories(path, loaded, again, found)  # over its own
        assert os.listdir(directory) == ["data"]


ANY = (dp.Trajectories({"x": -np.zeros((1, 2, 4, 3), np.float32), "..": np.ones((1, 2, 4, 3))}), GRID, {"size": 1})


SIGNED = (dp.Trajectories({"x": np.full((1, 1, 4, 3), complex(0.0, -0.0), np.complex64)}), GRID, {})
NUMBERED = (dp.Trajectories({"x": np.zeros((1, 1, 4, 3))}, {"a_1": np.zeros(1), "a": np.zeros((1, 2))}), GRID, {})


@given_example(ANY)
@given_example(SIGNED)
@given_example(NUMBERED)
@settings(max_examples=3)
@given(saved_arguments())
def test_whatever_is_saved_is_what_is_loaded(given):
    check_round_trip(given)


@pytest.mark.slow
@settings(max_examples=1000)
@given(saved_arguments())
def test_whatever_is_saved_is_what_is_loaded_many(given):
    check_round_trip(given)


@pytest.mark.parametrize(
    ("frames", "parameters", "options"),
    [
        ({"a": jnp.ones((2, 5, 4, 3), jnp.bfloat16)}, {}, {}),
        ({"a": jax.random.split(jax.random.key(0), (2, 5, 4, 3))}, {}, {}),
        ({"a": {"b": jnp.ones((2, 5, 4, 3))}}, {}, {}),
        ({1: jnp.ones((2, 5, 4, 3))}, {}, {}),
        ({"a": jnp.ones((2, 5, 4))}, {}, {}),
        ({"a": jnp.ones((2, 5, 4, 3))}, {"b": jnp.ones(2, jnp.bfloat16)}, {}),
        ({"a": jnp.ones((2, 5, 4, 3))}, {}, {"offsets": {"a": (0.25, 0.5)}}),
        ({"a": jnp.ones((2, 5, 5, 3))}, {}, {"offsets": {"a": (0.5, 0.5)}}),
        ({"a": jnp.ones((2, 5, 4, 3))}, {}, {"offsets": {"b": (0.5, 0.5)}}),
        ({"a": jnp.ones((2, 5, 4, 3))}, {}, {"units": {"b": "m"}}),
        ({"a": jnp.ones((2, 5, 5, 3)), "b": jnp.ones((2, 5, 4, 3))}, {}, {"offsets": {"b": (0.0, 0.5)}}),
    ],
)
def test_what_cannot_be_kept_is_refused_and_the_folder_untouched(tmp_path, frames, parameters, options):
    dp.save_trajectories(tmp_path / "data", example(), GRID)
    before = contents(tmp_path)
    with pytest.raises(dp.InputError, match="save_trajectories"):
        dp.save_trajectories(tmp_path / "data", dp.Trajectories(frames, parameters), GRID, **options)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("times", [np.ones(4), np.array([0.0, 1.0, 1.0, 2.0, 3.0]), np.array([0, 1, 2, 3, np.inf])])
def test_times_that_do_not_fit_are_refused(times):
    with pytest.raises(dp.InputError, match="times"):
        dp.Trajectories(example().frames, times=times)


@pytest.mark.parametrize("grid", [GRID, GRID.with_edges(0, [0.0, 0.2, 0.5, 1.0, 2.0])])
def test_files_of_the_first_version_are_read(tmp_path, grid):
    """Written as diffphys wrote them until version 2: attributes of the user and of the format side by side."""
    import hashlib

    values = {name: np.asarray(one) for name, one in example().frames.items()}
    parameters = {"viscosity": np.array([0.1, 0.2], np.float32)}
    dimensions = {"velocity_x": ("x_face", "y"), "velocity_y": ("x", "y_face"), "density": ("x", "y")}
    described = {
        "format": "diffphys-trajectories",
        "version": 1,
        "checksums": {name: hashlib.sha256(one.tobytes()).hexdigest() for name, one in (values | parameters).items()},
        "frame_names": list(values),
        "parameter_names": list(parameters),
        "cells": list(grid.cells),
        "size": list(grid.size),
        "origin": list(grid.origin),
        **({} if all(grid.uniform) else {"stretched": [edges and list(edges) for edges in grid.stretched]}),
        "origin_of_data": "test",
    }
    arrays = {name: (("case", "frame", *dimensions[name]), one) for name, one in values.items()}
    arrays |= {name: (("case",), one) for name, one in parameters.items()}
    xarray.Dataset(arrays, {"x": (("x",), np.arange(4.0))}, described).to_zarr(
        tmp_path / "data", zarr_format=3, consolidated=False
    )
    loaded, again, attributes = dp.load_trajectories(tmp_path / "data")
    assert again == grid and attributes == {"origin_of_data": "test"} and loaded.times is None
    assert all(same_bits(loaded.frames[name], one) for name, one in values.items())
    assert same_bits(loaded.parameters["viscosity"], parameters["viscosity"])
    dp.save_trajectories(tmp_path / "data", example(), GRID)  # it may be replaced, too
    assert dp.load_trajectories(tmp_path / "data")[1] == GRID
