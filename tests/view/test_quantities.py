"""What is shown of motions that are known."""

import numpy as np
import pytest
import xarray

import diffphys as dp
from diffphys.view.frames import case_words, drawn
from diffphys.view.quantities import quantities
from tests.view.motions import turning


def test_a_rigid_rotation_has_twice_its_speed_as_vorticity_everywhere():
    data = turning(3.0)
    known = quantities(data)
    assert list(known)[:2] == ["vorticity", "|velocity|"] and set(known) > set(data)
    vorticity = known["vorticity"]()
    speeds = 3.0 * np.arange(1, 5) * np.array([[1.0], [10.0]])
    np.testing.assert_allclose(vorticity, 2 * speeds[..., None, None] * np.ones((5, 3)), rtol=1e-6)
    np.testing.assert_allclose(vorticity.x, data.x_face[1:-1])
    magnitude = known["|velocity|"]()
    expected = speeds[..., None, None] * np.hypot(*np.meshgrid(data.x, data.y, indexing="ij"))
    np.testing.assert_allclose(magnitude.transpose("case", "time", "x", "y"), expected, rtol=1e-6)


@pytest.mark.parametrize("faces", [True, False])
def test_a_wave_in_a_periodic_box(faces):
    """u = 0, v = sin(x): vorticity cos(x) and speed |sin(x)|, of second order."""
    errors = []
    for cells in (32, 64):
        face, center = 2 * np.pi * np.arange(cells) / cells, 2 * np.pi * (np.arange(cells) + 0.5) / cells
        lines = {"x_face": face, "y_face": face, "x": center, "y": center} if faces else {"x": center, "y": center}
        places = (("x_face", "y"), ("x", "y_face")) if faces else (("x", "y"), ("x", "y"))
        v = np.broadcast_to(np.sin(center)[:, None], (cells, cells))
        data = xarray.Dataset({"velocity_x": (places[0], 0 * v), "velocity_y": (places[1], v)}, lines)
        known = quantities(data)
        vorticity, speed = known["vorticity"](), known["|velocity|"]()
        inner = vorticity.isel(x=slice(2, -2))  # one-sided differences at the ends
        errors.append(float(abs(inner - np.cos(inner.x)).max()))
        np.testing.assert_allclose(speed, abs(np.sin(speed.x)) + 0 * speed, atol=1e-12)
    assert errors[0] < 0.01 and errors[0] / errors[1] > 3.5


def test_frames_are_drawn_with_y_upward_and_moments_found():
    data = turning(2.0)
    field = drawn("pressure", quantities(data), 1)
    assert field is not None and field.dimensions == 2 and list(field.lines) == ["y", "x"]
    np.testing.assert_allclose(field.extent, (0.0, 3.0, 0.0, 2.0))
    np.testing.assert_array_equal(field.plane(2), data.pressure.isel(case=1, time=2))
    assert [field.nearest(time) for time in (None, -1.0, 0.9, 1.1, 9.0)] == [0, 0, 1, 1, 3]
    assert drawn("nothing", quantities(data), 0) is None
    assert case_words(data) == ["Re 100", "Re 200"]
    assert case_words(data.drop_vars("case")) == ["number 1", "number 2"]
    assert case_words(data.isel(case=0)) == ["the only one"]


def test_stretched_axes_are_drawn_where_they_are():
    line = np.array([0.0, 1.0, 3.0, 7.0])
    data = xarray.Dataset({"u": (("x", "y"), np.add.outer(line, [0.0, 10.0]))}, {"x": line, "y": [0.0, 1.0]})
    field = drawn("u", quantities(data), 0)
    assert field is not None
    x = field.lines["x"]
    assert np.allclose(np.diff(x), x[1] - x[0])
    assert np.abs(field.plane(0)[0] - x).max() <= 2.0  # half the widest step


def test_slices_of_three_dimensions():
    grid = dp.Grid((2, 3, 4), (1.0, 1.0, 1.0))
    values = np.arange(24.0).reshape(2, 3, 4)
    field = drawn("value", quantities(dp.to_xarray(dp.Field(values, grid))), 0)
    assert field is not None and field.dimensions == 3 and list(field.lines) == ["z", "y", "x"]
    np.testing.assert_array_equal(field.plane(0, 3), values[:, :, 3].T)
