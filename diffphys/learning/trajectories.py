"""Trajectories: what a network is trained on, in memory and on disk.

On disk a set of trajectories is a Zarr group that xarray opens, never a pickle. Zarr reads a chunk that is missing as
zeros, so each array carries a checksum, and a damaged file is refused instead of being trained on.

What belongs to the format stands in attributes of the group that are numbers or text, since NetCDF knows no others:
`format`, `version`, and as JSON `checksums` and `contents` (names, grid, and what the user gave as attributes). Arrays
have names there that every file system, Zarr and NetCDF accept; `contents` tells which are whose.
"""

import hashlib
import json
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffphys.errors import InputError
from diffphys.exchange.coordinates import line_attributes, time_attributes, unit_attribute
from diffphys.grids import Field, Grid
from diffphys.grids.grid import check_grid
from diffphys.grids.named import named_fields
from diffphys.grids.numbers import concrete, shown
from diffphys.runs import replacing
from diffphys.runs.files import recovered


FORMAT = "diffphys-trajectories"
VERSION = 2  # 1: a mapping of checksums, names and grid as attributes of their own, beside those of the user
TYPES = {"bool", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))} | {
    *(f"float{bits}" for bits in (16, 32, 64)),
    *(f"complex{bits}" for bits in (64, 128)),
}
FIRST_KEYS = {
    "format",
    "version",
    "checksums",
    "frame_names",
    "parameter_names",
    "cells",
    "size",
    "origin",
    "stretched",
}


class Trajectories(eqx.Module):
    """Several cases of one system, each a sequence of frames at equal intervals.

    Args:
        frames: Pytree of arrays with leading axes (cases, frames).
        parameters: For each number of the step that differs between cases its values, of shape (cases,); for several
            numbers that belong together (cases, numbers).
        times: The time of each frame, of shape (frames,), increasing; or None.

    Raises:
        InputError: if leading axes differ, a value is not finite, or times do not increase.

    Examples:
        >>> data = dp.Trajectories({"temperature": jnp.zeros((4, 10, 32))}, {"diffusivity": jnp.ones(4)})
        >>> data.cases, data.length
        (4, 10)
    """

    frames: Any
    parameters: dict[str, Any] = eqx.field(default_factory=dict)
    times: Any = None

    def __check_init__(self):
        leaves = jax.tree.leaves(self.frames)
        if not leaves or any(np.ndim(leaf) < 2 for leaf in leaves):
            raise InputError(
                "Trajectories: frames has no arrays with two leading axes; arrays (cases, frames, ...) are accepted."
            )
        leading = np.shape(leaves[0])[:2]
        for leaf in leaves:
            if np.shape(leaf)[:2] != leading:
                raise InputError(
                    f"Trajectories: arrays of frames have leading axes {leading} and {np.shape(leaf)[:2]}; equal "
                    "ones are accepted."
                )
            _check_finite("frames", leaf)
        if not isinstance(self.parameters, Mapping):
            raise InputError(
                f"Trajectories: parameters is {shown(self.parameters)}; a mapping from names to one value for each "
                "case is accepted."
            )
        for name, values in self.parameters.items():
            if np.shape(values)[:1] != leading[:1]:
                raise InputError(
                    f"Trajectories: parameter {name!r} has shape {np.shape(values)}; one value for each of "
                    f"{leading[0]} cases is accepted."
                )
            _check_finite(f"parameter {name!r}", values)
        if self.times is not None:
            if np.shape(self.times) != leading[1:]:
                raise InputError(
                    f"Trajectories: times has shape {np.shape(self.times)}; one for each of {leading[1]} frames is "
                    "accepted."
                )
            known = concrete(self.times)
            if known is not None and not (np.isfinite(known).all() and (np.diff(known) > 0).all()):
                raise InputError("Trajectories: times do not increase; finite, increasing times are accepted.")

    @property
    def cases(self) -> int:
        return np.shape(jax.tree.leaves(self.frames)[0])[0]

    @property
    def length(self) -> int:
        """Number of frames of each case."""
        return np.shape(jax.tree.leaves(self.frames)[0])[1]

    def case(self, index: int) -> tuple[Any, dict[str, Any]]:
        """The frames of one case and its parameters."""
        return jax.tree.map(lambda leaf: leaf[index], self.frames), {k: v[index] for k, v in self.parameters.items()}

    def between(self, first: int, last: int) -> "Trajectories":
        """The frames from `first` up to `last` of every case."""
        return Trajectories(
            jax.tree.map(lambda leaf: leaf[:, first:last], self.frames),
            self.parameters,
            None if self.times is None else self.times[first:last],
        )


def check_trajectories(name: str, given: object) -> None:
    """Raise `InputError` unless they are trajectories."""
    if not isinstance(given, Trajectories):
        raise InputError(
            f"{name} is of type {type(given).__name__}; Trajectories are accepted, as of a rollout's frames "
            "Trajectories(jax.tree.map(lambda leaf: leaf[None], frames)), one case."
        )


def save_trajectories(
    path: Path | str,
    trajectories: Trajectories,
    grid: Grid,
    attributes: Mapping[str, Any] | None = None,
    *,
    offsets: Mapping[str, Sequence[float]] | None = None,
    units: Mapping[str, str] | None = None,
    length_unit: str | None = None,
    time_unit: str | None = None,
) -> None:
    """Write trajectories whose frames are values on `grid`: a mapping from names to arrays (cases, frames, *points), or
    states of any system with fields, as a rollout saves them.

    Opens in xarray, without a warning, with the coordinates of the points and the times of the frames; from there it
    goes to NetCDF. Names may be any text: where the files cannot have them, the array has another name there and the
    true one as its `long_name`. What `load_trajectories` gives back is what was saved, bit for bit; of a `Field` its
    values.

    Written as a whole or not at all. Earlier trajectories at this path are replaced once the new ones are complete;
    anything else that is there stays, and nothing is written.

    Args:
        path: The directory to make; `~` is the home directory.
        trajectories: The trajectories. A frame may be a `Field` whose values have the two leading axes; it knows its
            place. Of states the fields are kept, by the names that they have there (`velocity_x`).
        grid: The grid.
        attributes: Anything else to keep: text, numbers, and lists and mappings of them. Tuples and arrays become
            lists.
        offsets: For frames that are arrays their place in the cell, 0.5 or 0.0 for each axis. Default: by their shape,
            n values along an axis of n cells being at the centers, n + 1 on the faces. The n faces of a periodic axis
            have to be told from the centers here: `{"velocity_x": (0.0, 0.5)}`.
        units: The units of frames and parameters.
        length_unit: The unit of the coordinates.
        time_unit: The unit of `trajectories.times`.

    Raises:
        InputError: if the frames are not such a mapping, an array fits no place on the grid or has a type that Zarr
            does not know, an attribute is none of the above, or there is something else at `path`.

    Examples:
        >>> data = dp.Trajectories({"temperature": jnp.zeros((2, 5, 8))})
        >>> dp.save_trajectories("rods.zarr", data, dp.Grid((8,), (1.0,)))
        >>> loaded, grid, _ = dp.load_trajectories("rods.zarr")
        >>> grid.cells
        (8,)
    """
    import xarray  # here, so that training without files neither needs it nor waits for it
    import zarr

    path = _resolved(path)
    _check_replaceable(path)
    check_trajectories("save_trajectories: trajectories", trajectories)
    check_grid("save_trajectories", grid)
    frames, parameters = trajectories.frames, dict(trajectories.parameters)
    frames = dict(frames if isinstance(frames, Mapping) else named_fields(frames))
    if not frames:
        raise InputError(
            "save_trajectories: frames is no mapping and holds no fields; a mapping from names to arrays, or states "
            "with fields, is accepted."
        )
    for name, given in (("offsets", offsets), ("units", units)):
        known = frames if name == "offsets" else frames | parameters
        if unknown := [one for one in given or {} if one not in known]:
            raise InputError(
                f"save_trajectories: {name} has {unknown[0]!r}; names of frames {list(known)} are accepted."
            )
    lines = [line for axis in grid.axis_names for line in (axis, f"{axis}_face")]
    stored = _stored_names([*frames, *parameters], ["case", "frame", "time", *lines])
    frame_names, parameter_names = stored[: len(frames)], stored[len(frames) :]
    variables, coordinates = {}, {}
    for name, there, values in zip(frames, frame_names, frames.values(), strict=True):
        if isinstance(values, Mapping) or (not isinstance(values, Field) and not hasattr(values, "dtype")):
            raise InputError(f"save_trajectories: frame {name!r} is {type(values).__name__}; an array is accepted.")
        dimensions, places = _places(name, values, grid, (offsets or {}).get(name))
        for dimension, line in places.items():
            if len(coordinates.setdefault(dimension, line)) != len(line):
                raise InputError(
                    f"save_trajectories: {name!r} has {len(line)} values along {dimension}, another frame has "
                    f"{len(coordinates[dimension])}; axes that are periodic for all frames or for none are accepted."
                )
        values = values.values if isinstance(values, Field) else values
        variables[there] = _variable(name, ("case", "frame", *dimensions), values, units)
    for name, there, values in zip(parameters, parameter_names, parameters.values(), strict=True):
        further = [f"{there}_{number}" for number in range(1, np.ndim(values))]
        variables[there] = _variable(name, ("case", *further), values, units)
    lines = {
        dimension: ((dimension,), line, line_attributes(dimension, length_unit))
        for dimension, line in coordinates.items()
    }
    if trajectories.times is not None:
        lines["time"] = (("frame",), _array("times", trajectories.times), time_attributes(time_unit))
    checksums = {name: _checksum(values) for name, (_, values, *_) in (variables | lines).items()}
    own = _plain("attributes", dict(attributes or {}))
    contents = {
        "frames": dict(zip(frames, frame_names, strict=True)),
        "parameters": dict(zip(parameters, parameter_names, strict=True)),
        "cells": list(grid.cells),
        "size": list(grid.size),
        "origin": list(grid.origin),
        "stretched": [edges and list(edges) for edges in grid.stretched],
        "attributes": own,
    }
    described = {
        **{name: _shown(value) for name, value in own.items() if _is_shown(name)},
        "format": FORMAT,
        "version": VERSION,
        "checksums": json.dumps(checksums),
        "contents": json.dumps(contents),
    }
    # A chunk of zeros is written, too: one that is left out loses the signs of complex zeros.
    with (
        zarr.config.set({"array.write_empty_chunks": True}),
        replacing(path) as beside,
        warnings.catch_warnings(),
    ):
        # Readers ask for consolidated metadata first and warn where there are none. Zarr warns that its third format
        # does not specify them yet; readers that do not know them do not look at them.
        warnings.filterwarnings("ignore", "Consolidated metadata is currently not part")
        dataset = xarray.Dataset(variables, lines, described)
        dataset.to_zarr(beside, mode="w", zarr_format=3, consolidated=True)


def load_trajectories(path: Path | str) -> tuple[Trajectories, Grid, dict[str, Any]]:
    """Read what `save_trajectories` wrote, with its grid and attributes.

    Arrays are those of JAX, or, where JAX would change their type (double precision without `jax_enable_x64`), of
    NumPy.

    Raises:
        InputError: if the path holds no such data, data of a newer version, data that is damaged, or values that are
            not finite.

    Examples:
        >>> data = dp.Trajectories({"temperature": jnp.zeros((2, 5, 8))})
        >>> dp.save_trajectories("rods.zarr", data, dp.Grid((8,), (1.0,)))
        >>> loaded, grid, _ = dp.load_trajectories("rods.zarr")
        >>> grid.cells
        (8,)
    """
    import xarray

    path = _resolved(path)
    if not path.is_dir():
        raise InputError(
            f"load_trajectories: path is {path}, which is no directory; one that save_trajectories wrote is accepted."
        )
    try:
        dataset = xarray.open_zarr(path, consolidated=False, chunks=None, decode_cf=False)
        attributes = dict(dataset.attrs)
    except Exception as error:  # zarr, numcodecs and json raise many kinds for what is not theirs
        raise InputError(
            f"load_trajectories: {path} cannot be read as a Zarr group ({type(error).__name__})."
        ) from error
    if attributes.get("format") != FORMAT:
        raise InputError(
            f"load_trajectories: {path} holds no diffphys trajectories; what save_trajectories wrote is accepted."
        )
    if attributes.get("version") not in (1, VERSION):
        raise InputError(
            f"load_trajectories: {path} has format version {attributes.get('version')}; this diffphys reads versions 1 "
            f"to {VERSION}."
        )
    try:
        checksums, contents = _described(attributes)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"load_trajectories: {path} is damaged ({error} is missing); generate it again.") from error
    arrays = {}
    for name, checksum in checksums.items():
        try:
            values = dataset[name].values
        except Exception as error:
            raise InputError(
                f"load_trajectories: {name} in {path} is damaged ({type(error).__name__}); generate it again."
            ) from error
        if _checksum(values) != checksum:
            raise InputError(
                f"load_trajectories: {name} in {path} is damaged (its checksum differs); generate it again."
            )
        kept = jax.dtypes.canonicalize_dtype(values.dtype) == values.dtype
        arrays[name] = jnp.asarray(values) if kept else values
    try:
        frames = {name: arrays[there] for name, there in contents["frames"].items()}
        parameters = {name: arrays[there] for name, there in contents["parameters"].items()}
        grid = Grid(contents["cells"], contents["size"], contents["origin"])
        for axis, edges in enumerate(contents["stretched"]):
            grid = grid if edges is None else grid.with_edges(axis, edges)
    except (KeyError, TypeError) as error:
        raise InputError(f"load_trajectories: {path} is damaged ({error} is missing); generate it again.") from error
    times = arrays.get("time") if attributes["version"] != 1 else None
    return Trajectories(frames, parameters, times), grid, contents["attributes"]


def _described(attributes: dict[str, Any]) -> tuple[dict[str, str], dict[str, Any]]:
    """The checksums and the contents, of this version or the first."""
    if attributes["version"] != 1:
        return json.loads(attributes["checksums"]), json.loads(attributes["contents"])
    contents = {key: attributes[key] for key in ("cells", "size", "origin")}
    contents["stretched"] = attributes.get("stretched", [])
    for key in ("frames", "parameters"):
        contents[key] = {name: name for name in attributes[f"{key[:-1]}_names"]}
    contents["attributes"] = {key: value for key, value in attributes.items() if key not in FIRST_KEYS}
    return attributes["checksums"], contents


def _resolved(path: Path | str) -> Path:
    """The directory itself, behind `~` and links, brought back where a process was killed while it was replaced."""
    try:
        path = Path(path).expanduser().resolve()
    except RuntimeError:
        raise InputError(
            f"trajectories: path is {path}, whose home directory is unknown; a path is accepted."
        ) from None
    recovered(path)
    return path


def _check_replaceable(path: Path) -> None:
    """Raise `InputError` where anything but trajectories stands at the path."""
    if not path.exists():
        return
    found = path.name
    if path.is_dir():
        own = _own_arrays(path)
        files = [file.relative_to(path) for file in path.rglob("*") if not file.is_dir() or file.is_symlink()]
        foreign = [file for file in files if not _is_own(file.parts, own)]
        if not foreign:
            return
        found = str(min(foreign))
    raise InputError(
        f"save_trajectories: path is {path}, where there is something else ({found}); a path with nothing but "
        "trajectories, or with nothing, is accepted."
    )


def _own_arrays(path: Path) -> set[str]:
    """The names of the arrays that `save_trajectories` wrote into this directory; none where it did not."""
    try:
        attributes = json.loads((path / "zarr.json").read_text())["attributes"]
        if attributes["format"] != FORMAT:
            return set()
        checksums, contents = _described(attributes)
        names = "xyz"[: len(contents["cells"])]
    except (OSError, ValueError, KeyError, TypeError):
        return set()
    return {*checksums, *names, *(f"{name}_face" for name in names)}


def _is_own(parts: tuple[str, ...], own: set[str]) -> bool:
    """Whether a file belongs to the group or to one of its own arrays."""
    if not own or parts == ("zarr.json",):
        return bool(own)
    first, *rest = parts
    chunk = bool(rest) and rest[0] == "c" and all(part.isdecimal() for part in rest[1:])
    return first in own and (rest == ["zarr.json"] or chunk)


def _places(
    name: str, values: Any, grid: Grid, offset: Sequence[float] | None
) -> tuple[list[str], dict[str, np.ndarray]]:
    """The names of the dimensions of values on the grid and their coordinates, in double precision."""
    array = values.values if isinstance(values, Field) else values
    shape = np.shape(array)[2:]
    accepted = f"values at the centers, faces or corners of a grid of {grid.cells} cells are accepted."
    if isinstance(values, Field):
        if values.grid != grid:
            raise InputError(f"save_trajectories: {name!r} lives on {values.grid}; values on {grid} are accepted.")
        if offset is not None and tuple(offset) != values.offset:
            raise InputError(f"save_trajectories: offsets[{name!r}] is {offset}; the field's is {values.offset}.")
        offset = values.offset
    if len(shape) != grid.dimensions:
        raise InputError(f"save_trajectories: {name!r} has points of shape {shape}; {accepted}")
    if offset is None:
        offset = [0.5 if count == cells else 0.0 for count, cells in zip(shape, grid.cells, strict=True)]
    if len(offset) != grid.dimensions or any(place not in (0.0, 0.5) for place in offset):
        raise InputError(
            f"save_trajectories: offsets[{name!r}] is {offset}; 0.0 or 0.5 for each of {grid.dimensions} axes is "
            "accepted."
        )
    places = {}
    for axis, edges, count, cells, place in zip(grid.axis_names, grid.edges, shape, grid.cells, offset, strict=True):
        if count != cells and not (place == 0.0 and count == cells + 1):
            raise InputError(f"save_trajectories: {name!r} has points of shape {shape}; {accepted}")
        places[axis if place else f"{axis}_face"] = (edges[1:] + edges[:-1]) / 2 if place else edges[:count]
    return list(places), places


def _stored_names(names: Sequence[Any], taken: Sequence[str]) -> list[str]:
    """For each name one of letters, digits and underscores, no two alike and none of those taken, also where a file
    system does not tell small from large letters.
    """

    def with_dimensions(name: str) -> set[str]:
        """A dimension of a parameter is its name with a number behind it; no array may have that name."""
        return {name.lower(), *(f"{name.lower()}_{number}" for number in range(1, 33))}

    used, stored = {name.lower() for name in taken}, []
    for name in names:
        if not isinstance(name, str):
            raise InputError(f"save_trajectories: a name is {name!r}; text is accepted.")
        plain = re.sub(r"[^A-Za-z0-9_]+", "_", name)[:60]
        plain = plain if re.match(r"[A-Za-z]", plain) else f"array_{plain.strip('_')}".rstrip("_")
        candidates = [plain, *(f"{plain}_of_{number}" for number in range(2, len(names) + len(used) + 2))]
        found = next(one for one in candidates if not used & with_dimensions(one))
        used |= with_dimensions(found)
        stored.append(found)
    return stored


def _variable(name: str, dimensions: tuple[str, ...], values: Any, units: Mapping[str, str] | None) -> tuple:
    printed = name if name.isprintable() else ascii(name)
    return dimensions, _array(name, values), {"long_name": printed} | unit_attribute((units or {}).get(name))


def _array(name: str, values: Any) -> np.ndarray:
    if str(values.dtype) not in TYPES:
        raise InputError(
            f"save_trajectories: {name!r} has the type {values.dtype}; bool, int, uint, float16 to float64 and complex "
            "numbers are accepted."
        )
    array = np.asarray(values)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _plain(name: str, value: Any) -> Any:
    """What JSON gives back as it was given; tuples, arrays and NumPy's numbers as lists and numbers."""
    if isinstance(value, (np.ndarray, np.generic, Array)) and np.dtype(value.dtype).kind in "biufU":
        value = value.tolist()
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(name, one) for one in value]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _plain(f"{name}[{key!r}]", one) for key, one in value.items()}
    raise InputError(
        f"save_trajectories: {name} is {value!r}; text, numbers, and lists and mappings from text to them are accepted."
    )


def _is_shown(name: str) -> bool:
    """Whether an attribute also stands by itself; xarray and NetCDF have a meaning of their own for some names."""
    return bool(re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name)) and name not in (
        "coordinates",
        "Conventions",
        "grid_mapping",
    )


def _shown(value: Any) -> Any:
    """Text or a number that NetCDF, too, can keep."""
    if isinstance(value, (str, float)) or (type(value) is int and abs(value) < 2**31):
        return value
    return json.dumps(value)


def _check_finite(name: str, values: Any) -> None:
    if not hasattr(values, "dtype") or not jnp.issubdtype(values.dtype, jnp.inexact) or concrete(values) is None:
        return
    library = np if isinstance(values, np.ndarray) else jnp  # JAX might round large numbers to infinity
    if not library.all(library.isfinite(values)):
        raise InputError(f"Trajectories: {name} holds values that are not finite; finite values are accepted.")


def _checksum(values: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()
