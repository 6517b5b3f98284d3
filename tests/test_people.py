"""What a new user gives by mistake or by habit: it works, or one sentence says what is accepted."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import diffphys as dp
from diffphys import operators, plots


GRID = dp.Grid((6, 4), (3.0, 2.0))
CLOSED = ((dp.Neumann(), dp.Neumann()),) * 2
FIELD = dp.Field(np.arange(24.0).reshape(6, 4), GRID, conditions=CLOSED)


def systems(grid):
    periodic = ((dp.Periodic(), dp.Periodic()),) * 2
    return {
        "flow": dp.IncompressibleFlow(grid, 0.1, 0.1, dp.Periodic()),
        "heat": dp.Heat(grid, 0.1, 0.01, periodic),
        "burgers": dp.Burgers(grid, 0.1, 0.01, periodic),
        "gray-scott": dp.GrayScott(grid, 0.1, 0.1, 0.04, 0.06, 0.01, periodic),
        "hasegawa-wakatani": dp.HasegawaWakatani(grid, 0.01),
        "reacting flow": dp.ReactingFlow(grid, 0.1, 0.1, 0.1, 0.01, dp.Open()),
        "wave": dp.Wave(grid, 1.0, 0.01, periodic),
        "shallow water": dp.ShallowWater(grid, dt=0.01, gravity=9.81, sides=dp.Periodic()),
    }


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("name", systems(GRID))
def test_a_step_refuses_what_is_not_its_state_in_one_sentence(name):
    step, other = systems(GRID)[name], systems(dp.Grid((4, 6), (3.0, 2.0)))[name]
    elsewhere = other.initial_state(*([(0.0, 0.0)] if name == "burgers" else []))
    for state in (jnp.zeros((6, 4)), np.zeros((6, 4)), 1.0, "water", None, {}, (FIELD, FIELD, FIELD), elsewhere):
        for call in (step, lambda state: dp.rollout(step, state, 3), getattr(step, "courant_number", step)):
            with pytest.raises(dp.InputError, match="accepted"):
                call(state)


def test_a_field_is_an_array_for_numpy():
    assert np.asarray(FIELD).dtype == FIELD.values.dtype and np.asarray(FIELD, float).dtype == float
    np.testing.assert_array_equal(np.asarray(FIELD), FIELD.values)
    np.testing.assert_array_equal(np.array(FIELD), FIELD.values)
    assert np.asarray([FIELD, FIELD]).shape == (2, 6, 4)
    assert np.mean(FIELD) == 11.5 and isinstance(np.float32(2.0) * FIELD, dp.Field)
    with pytest.raises(dp.InputError):
        _ = FIELD + np.ones((6, 4))
    with pytest.raises(jax.errors.TracerArrayConversionError):
        jax.jit(lambda field: np.asarray(field))(FIELD)


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("given", [FIELD, (FIELD,), FIELD.values, None, "velocity"])
@pytest.mark.parametrize("operator", ["faces_to_centers", "centers_to_faces", "divergence", "convection"])
def test_operators_on_velocities_refuse_what_is_none_in_one_sentence(operator, given):
    with pytest.raises(dp.InputError, match="accepted"):
        getattr(operators, operator)(given)


def test_a_field_is_drawn_as_it_is_and_frames_of_it_too(tmp_path):
    figure = plots.frames_figure(FIELD)
    image = figure.axes[0].images[0]
    np.testing.assert_array_equal(image.get_array(), FIELD.values)
    frames = jax.vmap(lambda factor: FIELD * factor)(jnp.array([0.0, 1.0, 2.0]))
    assert [axis.get_title() for axis in plots.frames_figure(frames).axes[:3]] == ["t = 0", "t = 1", "t = 2"]
    plots.write_animation(tmp_path / "field.gif", frames)
    assert (tmp_path / "field.gif").stat().st_size > 100


VALUES: Any = FIELD.values
NOTHING: Any = None
LINE = dp.Field(np.zeros(4), dp.Grid((4,), (1.0,)))


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    "draw",
    [
        lambda: plots.frames_figure(LINE),
        lambda: plots.frames_figure(VALUES, [0.0], (1.0, 1.0)),
        lambda: plots.frames_figure({"a": FIELD.values[None]}, [0.0]),
        lambda: plots.frames_figure({"a": FIELD.values[None]}, size=(1.0, 1.0)),
        lambda: plots.frames_figure(NOTHING),
        lambda: plots.write_animation("x.gif", VALUES, [0.0], (1.0, 1.0)),
        lambda: plots.space_time_figure(VALUES, [0.0], 1.0),
    ],
)
def test_figures_refuse_what_they_cannot_draw_in_one_sentence(draw):
    with pytest.raises(dp.InputError):
        draw()


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("given", [FIELD, {"u": FIELD.values}, FIELD.values, None])
def test_what_are_no_trajectories_is_one_sentence_that_says_how_to_make_them(tmp_path, given):
    for call in (
        lambda: dp.save_trajectories(tmp_path / "data", given, GRID),
        lambda: dp.train(lambda state: state, given),
    ):
        with pytest.raises(dp.InputError, match="Trajectories are accepted"):
            call()
    cells: Any = (6, 4)
    with pytest.raises(dp.InputError, match="grid"):
        dp.save_trajectories(tmp_path / "data", dp.Trajectories({"u": FIELD.values[None, None]}), cells)
    assert not list(tmp_path.iterdir())


def test_saved_trajectories_open_in_xarray_and_go_to_netcdf(tmp_path):
    data = dp.Trajectories({"u": FIELD.values[None, None]}, {"viscosity": jnp.array([0.1])}, times=jnp.array([0.5]))
    dp.save_trajectories(tmp_path / "data", data, GRID, {"nested": {"a": 1}}, units={"u": "m s-1"}, time_unit="s")
    with xr.open_zarr(tmp_path / "data") as opened:  # a warning would be an error here
        assert opened.u.attrs["units"] == "m s-1" and opened.u.attrs["long_name"] == "u"
        assert float(opened.time[0]) == 0.5 and opened.time.attrs["units"] == "s"
        opened.to_netcdf(tmp_path / "data.nc")
    with xr.open_dataset(tmp_path / "data.nc", decode_times=False) as again:
        np.testing.assert_array_equal(again.u[0, 0], FIELD.values)
