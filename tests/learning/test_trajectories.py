"""Trajectories on disk: a round trip, and every way in which a file can be wrong."""

import json
import shutil

import jax.numpy as jnp
import numpy as np
import pytest
import xarray

import diffphys as dp


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
