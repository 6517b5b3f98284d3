"""What a run leaves to be looked at, beside its numbers: curves that grow, and frames, bounded in size.

A curve is a JSON file of columns, `curves/CHART/LINE.json`. Frames are a Zarr group that xarray opens,
`frames/NAME.zarr`, for each arm, the reference, or whatever else is compared. `diffphys view` shows both.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np

from diffphys.errors import InputError
from diffphys.runs.files import replacing, write_json


if TYPE_CHECKING:
    import xarray

# xarray is imported where it is used: the command line imports this room also for `list` and `--help`.

LARGEST = 8_000_000  # bytes of the frames of one name
LONGEST = 2000  # points of a curve
LEADING = ("case", "time")  # the dimensions that are not those of the space


def evenly(count: int, most: int) -> np.ndarray:
    """Indices of at most so many of `count` things, evenly chosen, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, max(min(count, most), 1)).round().astype(int))


def file_name(text: str) -> str:
    """A text as the name of a file on every system; no two texts have the same."""
    return quote(text, safe=" ,=()+@").replace(".", "%2E")[:200]


def save_curve(directory: Path, chart: str, line: str, columns: Mapping[str, Any]) -> None:
    """Write one line of a chart: columns of equally many numbers, of long ones evenly chosen rows.

    Raises:
        InputError: columns of different lengths.
    """
    arrays = {name: np.asarray(values, float) for name, values in columns.items()}
    shapes = {values.shape for values in arrays.values()}
    if len(shapes) != 1 or len(next(iter(shapes))) != 1:
        raise InputError(f"save_curve: columns have shapes {sorted(shapes)}; one list of numbers each is accepted.")
    rows = evenly(next(iter(shapes))[0], LONGEST) if next(iter(shapes))[0] else []
    content = {
        "chart": chart,
        "line": line,
        "columns": {name: [_short(value) for value in values[rows]] for name, values in arrays.items()},
    }
    write_json(directory / "curves" / file_name(chart) / f"{file_name(line)}.json", content)


def save_frames(directory: Path, name: str, data: "xarray.Dataset") -> None:
    """Write what `thinned` leaves of a dataset."""
    import warnings

    kept = thinned(data).assign_attrs(name=name)
    with replacing(directory / "frames" / f"{file_name(name)}.zarr") as beside, warnings.catch_warnings():
        # As in `save_trajectories`: readers ask for consolidated metadata first, which Zarr calls unspecified.
        warnings.filterwarnings("ignore", "Consolidated metadata is currently not part")
        # A chunk holds the frames of one case, so that moving through time reads one file.
        chunks = {
            one: {"chunks": tuple(1 if dimension == "case" else count for dimension, count in variable.sizes.items())}
            for one, variable in kept.data_vars.items()
        }
        kept.to_zarr(beside, mode="w", zarr_format=3, consolidated=True, encoding=chunks)


def read_frames(directory: Path, name: str) -> "xarray.Dataset":
    """What `save_frames` wrote.

    Raises:
        InputError: if there are no frames of this name.
    """
    import xarray

    path = directory / "frames" / f"{file_name(name)}.zarr"
    if not path.is_dir():
        raise InputError(f"read_frames: {path} is not there; a name whose frames were saved is accepted.")
    with xarray.open_zarr(path, chunks=None, decode_times=False) as data:
        return data.load()


def thinned(data: "xarray.Dataset", largest: int = LARGEST) -> "xarray.Dataset":
    """A dataset whose values take at most so many bytes: in single precision, of fewer frames, and then fewer points.

    Args:
        data: Variables with the dimensions `case` and `time`, both of which may be missing, and those of the space.
        largest: Bytes.

    Raises:
        InputError: if it is no such dataset.
    """
    import xarray

    if not isinstance(data, xarray.Dataset) or not data.data_vars:
        raise InputError("save_frames: data is no xarray.Dataset with variables; what dp.to_xarray makes is accepted.")
    if complex_ones := [name for name, variable in data.items() if np.iscomplexobj(variable.values)]:
        raise InputError(f"save_frames: {complex_ones[0]} is complex; real numbers are accepted.")
    data = data.map(lambda variable: variable.astype(np.float32), keep_attrs=True)
    if "time" in data.sizes:
        most = int(largest * data.sizes["time"] / _size(data))
        data = data.isel(time=evenly(data.sizes["time"], max(most, 2)))
    while _size(data) > largest and (wide := [d for d, n in data.sizes.items() if d not in LEADING and n > 2]):
        longest = max(data.sizes[dimension] for dimension in wide)
        data = data.isel({d: slice(None, None, 2) for d in wide if data.sizes[d] > longest // 2})
    return data


def _size(data: "xarray.Dataset") -> int:
    """Bytes of the values; the coordinates' are few."""
    return sum(variable.nbytes for variable in data.values())


def _short(value: float) -> float:
    """Six digits, which no screen shows more of; None, for what is not finite, is made by `write_json`."""
    return float(f"{value:.6g}")
