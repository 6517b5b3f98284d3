"""A motion that is known."""

import numpy as np
import xarray


def turning(angle: float, times: int = 4, cells: tuple[int, int] = (6, 4)) -> xarray.Dataset:
    """A velocity on the faces that turns rigidly, faster with time and from case to case, and a pressure."""
    x_face, y_face = np.linspace(0, 3, cells[0] + 1), np.linspace(0, 2, cells[1] + 1)
    x, y = (x_face[1:] + x_face[:-1]) / 2, (y_face[1:] + y_face[:-1]) / 2
    speed = angle * (1 + np.arange(times))[None, :] * np.array([[1.0], [10.0]])
    speed = speed[:, :, None, None]
    return xarray.Dataset(
        {
            "velocity_x": (("case", "time", "y", "x_face"), -speed * y[:, None] * np.ones(cells[0] + 1)),
            "velocity_y": (("case", "time", "y_face", "x"), speed * x[None, :] * np.ones((cells[1] + 1, 1))),
            "pressure": (("case", "time", "y", "x"), speed**2 * np.hypot(x[None, :], y[:, None]) ** 2 / 2),
        },
        {"time": 0.5 * np.arange(1, times + 1), "x": x, "y": y, "x_face": x_face, "y_face": y_face},
    ).assign_coords(case=xarray.Variable("case", [100.0, 200.0], {"labels": '["Re 100", "Re 200"]'}))
