"""What is taken along to other libraries comes back as it was, and says what and where it is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import diffphys as dp
from diffphys import exchange


GRID = dp.Grid((6, 4), (3.0, 2.0), (1.0, 0.0))
FLOW = dp.IncompressibleFlow(
    GRID, 0.01, 0.1, {"x": dp.Periodic(), "y": dp.Wall()}, scalars={"smoke": dp.PassiveScalar(0.01)}
)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def state(seed=0):
    """A state of the flow with numbers that nothing relates."""
    empty = FLOW.initial_state()
    leaves, structure = jax.tree.flatten(empty)
    values = [noise(*leaf.shape, seed=seed + place) if leaf.ndim > 1 else leaf for place, leaf in enumerate(leaves)]
    return jax.tree.unflatten(structure, list(map(jnp.asarray, values)))


@pytest.fixture(scope="module")
def frames():
    several = [state(seed) for seed in (0, 100, 200)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *several)
    times = jnp.asarray([0.1, 0.2, 0.3], jnp.float32)
    return dp.FlowState(stacked.velocity, stacked.pressure, stacked.scalars, times, stacked.time_remainder)


def test_a_dataset_says_where_its_values_are_and_what_they_are_called(frames):
    data = dp.to_xarray(frames, units={"velocity": "m s-1", "smoke": "1"}, length_unit="m", time_unit="s")
    assert data.velocity_x.dims == ("time", "y", "x_face") and data.smoke.dims == ("time", "y", "x")
    assert data.velocity_y.attrs == {"long_name": "velocity, y component", "units": "m s-1"}
    assert data.x.attrs["units"] == "m" and data.time.attrs["units"] == "s" and "units" not in data.pressure.attrs
    assert data.time.values.tolist() == [0.1, 0.2, 0.3]  # without the noise of single precision
    np.testing.assert_allclose(data.x, 1.25 + 0.5 * np.arange(6))
    np.testing.assert_allclose(data.y_face, 0.5 * np.arange(5))
    # The value at a place is that of the field there.
    picked = data.velocity_y.sel(x=2.25, y_face=1.5, time=0.2)
    assert float(picked) == float(frames.velocity[1].values[1, 2, 3])


def test_xarray_draws_x_to_the_right_and_y_upward(frames):
    import matplotlib.pyplot as plt

    mesh = dp.to_xarray(frames).smoke.isel(time=0).plot()
    assert (mesh.axes.get_xlabel(), mesh.axes.get_ylabel()) == ("x, cell centers", "y, cell centers")
    assert not mesh.axes.yaxis_inverted()
    plt.close("all")


@pytest.mark.parametrize("way", ["memory", "netcdf", "zarr"])
def test_a_dataset_comes_back_as_the_frames_that_it_was(frames, way, tmp_path):
    data = dp.to_xarray(frames, time_unit="s", attributes={"viscosity": 0.01})
    if way == "netcdf":
        data.to_netcdf(tmp_path / "data.nc")
        data = xr.load_dataset(tmp_path / "data.nc", decode_times=False)
    elif way == "zarr":
        data.to_zarr(tmp_path / "data", zarr_format=2, consolidated=True)
        data = xr.open_zarr(tmp_path / "data", decode_times=False)
    assert data.attrs["viscosity"] == 0.01
    back = dp.from_xarray(data, FLOW.initial_state())
    assert jax.tree.structure(back) == jax.tree.structure(frames)
    for found, expected in zip(jax.tree.leaves(back), jax.tree.leaves(frames), strict=True):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


def test_an_obstacle_is_a_variable_of_its_own():
    grid = dp.Grid((8, 6), (4.0, 3.0))
    box = dp.IncompressibleFlow(grid, 0.1, 0.1, dict(x=dp.Wall(), y=dp.Wall()), dp.Sphere((1.25, 0.75), 0.3))
    state = box.initial_state()
    data = dp.to_xarray(state, solid=box)
    assert data.solid.dims == ("y", "x") and data.solid.sum() == 1
    assert bool(data.solid.sel(x=1.25, y=0.75))
    assert "solid" not in dp.to_xarray(state) and "solid" not in dp.to_xarray(state, solid=None)

    def moving(time):
        return dp.Sphere((0.25 + time, 0.25), 0.3)

    frames = jax.tree.map(lambda leaf: jnp.stack([leaf] * 3), state.pressure)
    over_time = dp.to_xarray(frames, [0.0, 1.0, 2.5], solid=moving).solid
    assert over_time.dims == ("time", "y", "x")
    assert over_time.argmax("x").isel(y=0).values.tolist() == [0, 2, 5]
    with pytest.raises(dp.InputError, match="times, one for each frame, are accepted"):
        dp.to_xarray(frames, solid=moving)


def test_states_fields_and_cases_are_taken_too(frames):
    single = dp.to_xarray(state())
    assert single.pressure.dims == ("y", "x") and float(single.time) == 0.0
    back = dp.from_xarray(single, FLOW.initial_state())
    np.testing.assert_array_equal(back.velocity[0].values, state().velocity[0].values)
    cases = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), frames.pressure)
    data = dp.to_xarray(cases, [1.0, 2.0, 3.0])
    assert data.value.dims == ("case", "time", "y", "x") and data.value.shape == (2, 3, 4, 6)
    back = dp.from_xarray(data, FLOW.initial_state().pressure)
    np.testing.assert_array_equal(back.values, cases.values)
    stretched = dp.Grid.from_edges([[0.0, 1.0, 3.0]])
    np.testing.assert_array_equal(dp.to_xarray(dp.Field(noise(2), stretched)).x, [0.5, 2.0])


@pytest.mark.parametrize(
    "call, said",
    [
        (lambda frames: dp.to_xarray(noise(3, 4)), "Field"),
        (lambda frames: dp.to_xarray(frames, [0.0, 1.0]), "times"),
        (lambda frames: dp.to_xarray(frames, units={"speed": "m"}), "units"),
        (lambda frames: dp.from_xarray(dp.to_xarray(frames.pressure), FLOW.initial_state()), "value"),
        (lambda frames: dp.from_xarray(dp.to_xarray(frames).drop_vars("smoke"), FLOW.initial_state()), "no smoke"),
        (lambda frames: dp.from_xarray(dp.to_xarray(frames).assign_coords(x=noise(6)), FLOW.initial_state()), "x has"),
        (lambda frames: exchange.save_vtk("a.vtr", frames), "name.pvd"),
        (lambda frames: exchange.load_vtk("nowhere.pvd"), "path"),
        (lambda frames: exchange.save_well("a.h5", state(), name="a"), "frames"),
        (lambda frames: exchange.save_well("a.h5", frames, name="a", boundaries={"x": "slip"}), "boundaries"),
        (lambda frames: exchange.load_well("nowhere.h5"), "path"),
    ],
)
def test_what_does_not_fit_is_one_sentence(frames, call, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for library, name in (("pyvista", "vtk"), ("h5py", "well")):
        if any(used.endswith(name) for used in call.__code__.co_names):
            pytest.importorskip(library)
    with pytest.raises(dp.InputError, match=said):
        call(frames)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_a_series_for_paraview_comes_back_at_the_cell_centers(dimensions, tmp_path):
    pytest.importorskip("pyvista")
    grid = dp.Grid((4, 3, 2)[:dimensions], (2.0, 3.0, 4.0)[:dimensions]).with_edges(0, [0.0, 0.5, 1.5, 1.75, 2.0])
    shape = (2, *grid.cells)
    arrays = {"pressure": noise(*shape), **{f"u{axis}": noise(*shape, seed=axis + 1) for axis in range(dimensions)}}
    centered = {name: jax.vmap(lambda values: dp.Field(values, grid))(values) for name, values in arrays.items()}
    vector = tuple(centered[f"u{axis}"] for axis in range(dimensions))
    path = exchange.save_vtk(tmp_path / "series.pvd", {"pressure": centered["pressure"], "u": vector}, [0.5, 0.75])
    found, times = exchange.load_vtk(path)
    assert times is not None and times.tolist() == [0.5, 0.75] and set(found) == {"pressure", "u"}
    assert found["pressure"].grid == grid and len(found["u"]) == dimensions
    np.testing.assert_array_equal(found["pressure"].values, arrays["pressure"])
    for component, expected in zip(found["u"], vector, strict=True):
        np.testing.assert_array_equal(component.values, expected.values)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_paraview_finds_each_value_in_its_cell(tmp_path):
    """As VTK itself sees it: the cell around a point holds the field's value there."""
    pyvista = pytest.importorskip("pyvista")
    values = noise(6, 4)
    path = exchange.save_vtk(tmp_path / "state.vtr", dp.Field(values, GRID))
    mesh = pyvista.read(path)
    cell = mesh.find_containing_cell((1.0 + 0.5 * 3.5, 0.5 * 1.5, 0.0))
    assert mesh.cell_data["value"][cell] == values[3, 1]
    assert exchange.load_vtk(path)[1] is None


def test_frames_in_the_layout_of_the_well_come_back(frames, tmp_path):
    h5py = pytest.importorskip("h5py")
    path = exchange.save_well(tmp_path / "a.h5", frames, name="channel", parameters={"viscosity": 0.25})
    with h5py.File(path) as file:
        assert file.attrs["dataset_name"] == "channel" and file.attrs["n_trajectories"] == 1
        assert file["t0_fields/smoke"].shape == (1, 3, 6, 4) and file["t1_fields/velocity"].shape == (1, 3, 6, 4, 2)
        assert list(file["t0_fields"].attrs["field_names"]) == ["pressure", "smoke"]
        assert {side: file["boundary_conditions"][side].attrs["bc_type"] for side in file["boundary_conditions"]} == {
            "x_periodic": "periodic",
            "y_wall": "wall",
        }
        np.testing.assert_allclose(file["dimensions/x"], 1.25 + 0.5 * np.arange(6))
        np.testing.assert_allclose(file["dimensions/time"], [0.1, 0.2, 0.3])
    found, times, parameters = exchange.load_well(path)
    assert parameters == {"viscosity": 0.25} and found["smoke"].grid == GRID
    np.testing.assert_array_equal(found["smoke"].values[0], frames.scalars["smoke"].values)
    inner = frames.velocity[1].values
    np.testing.assert_allclose(found["velocity"][1].values[0], (inner[..., 1:] + inner[..., :-1]) / 2, rtol=1e-6)
    np.testing.assert_allclose(times, [0.1, 0.2, 0.3])


def test_what_does_not_vary_in_a_file_of_the_well_is_repeated(tmp_path):
    h5py = pytest.importorskip("h5py")
    pressure = jax.tree.map(lambda leaf: jnp.stack([leaf] * 3)[None], dp.Field(noise(6, 4), GRID))
    path = exchange.save_well(tmp_path / "a.h5", pressure, [0.0, 1.0, 2.0], name="a")
    with h5py.File(path, "r+") as file:
        values = file["t0_fields/value"][0, 0]
        del file["t0_fields/value"]
        still = file["t0_fields"].create_dataset("value", data=values)
        still.attrs.update(sample_varying=False, time_varying=False, dim_varying=[True, True])
    np.testing.assert_array_equal(exchange.load_well(path)[0]["value"].values, pressure.values)


@pytest.mark.parametrize(
    "library, call",
    [
        ("pyvista", lambda path, frames: exchange.save_vtk(path / "a.pvd", frames)),
        ("h5py", lambda path, frames: exchange.save_well(path / "a.h5", frames, name="a")),
    ],
)
def test_where_a_library_is_missing_a_sentence_says_how_to_install_it(frames, library, call, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, library, None)
    with pytest.raises(dp.InputError, match=f"{library}.*pip install"):
        call(tmp_path, frames)
