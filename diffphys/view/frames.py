"""One frame of a quantity, ready to be drawn: numbers over one line, or colors in a plane."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import xarray


LEADING = ("case", "time")


@dataclass(frozen=True)
class Drawn:
    """A quantity of one case, all its frames.

    Attributes:
        name: Of the quantity.
        values: (frames, points) in one dimension, (frames, up, right) in two, (frames, across, up, right) in three.
        lines: Of each of these axes after the first its name and its coordinates.
        times: Of each frame; None where there is only one and nobody says.
    """

    name: str
    values: np.ndarray
    lines: dict[str, np.ndarray]
    times: np.ndarray | None

    @property
    def dimensions(self) -> int:
        return len(self.lines)

    def nearest(self, time: float | None) -> int:
        """The frame that is closest to a time."""
        return 0 if self.times is None or time is None else int(np.argmin(np.abs(self.times - time)))

    def plane(self, frame: int, across: int = 0) -> np.ndarray:
        """The colors of a frame, (up, right); in three dimensions of a slice."""
        return self.values[frame] if self.dimensions == 2 else self.values[frame, across]

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, right, lower and upper end of the plane, half a cell beyond the outermost values."""
        up, right = list(self.lines.values())[-2:]
        return (*_ends(right), *_ends(up))


def drawn(name: str, known: Mapping[str, Callable[[], xarray.DataArray]], case: int) -> Drawn | None:
    """A quantity of one case, on evenly spaced points; None where there is none of this name, or it has no points or
    more than three dimensions.
    """
    if name not in known:
        return None
    quantity = known[name]()
    if "case" in quantity.dims:
        quantity = quantity.isel(case=min(case, quantity.sizes["case"] - 1))
    space = sorted(str(one) for one in quantity.dims if one not in LEADING)
    if not 1 <= len(space) <= 3 or 0 in quantity.shape:
        return None
    if "time" not in quantity.dims:
        quantity = quantity.expand_dims("time")
    quantity = quantity.transpose("time", *reversed(space))  # z, y, x: x to the right, y upward
    values, lines = np.asarray(quantity.values, float), {}
    for axis, one in enumerate(reversed(space), start=1):
        lines[one] = np.asarray(quantity[one].values, float)
        if len(space) > 1 and not _even(lines[one]):
            fine = np.linspace(lines[one][0], lines[one][-1], 2 * len(lines[one]))
            places = np.abs(lines[one][None, :] - fine[:, None]).argmin(axis=1)
            values, lines[one] = np.take(values, places, axis), fine
    times = np.asarray(quantity["time"].values, float) if "time" in quantity.coords else None
    return Drawn(name, values, lines, times)


def case_words(data: xarray.Dataset) -> list[str]:
    """The cases of a dataset in words; one without a word where there are none."""
    if "case" not in data.dims:
        return ["the only one"]
    if "case" not in data.coords:
        return [f"number {index + 1}" for index in range(data.sizes["case"])]
    name = data["case"].attrs.get("long_name", "case")
    try:
        words = [str(word) for word in json.loads(data["case"].attrs["labels"])]
    except (KeyError, TypeError, ValueError):
        words = []
    if len(words) == data.sizes["case"]:
        return words
    return [f"{name} {value:g}" for value in data["case"].values]


def _even(line: np.ndarray) -> bool:
    steps = np.diff(line)
    return len(line) < 3 or bool(np.allclose(steps, steps[0], rtol=1e-3))


def _ends(line: np.ndarray) -> tuple[float, float]:
    half = (line[-1] - line[0]) / (2 * (len(line) - 1)) if len(line) > 1 else 0.5
    return float(line[0] - half), float(line[-1] + half)
