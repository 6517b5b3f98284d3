"""Trajectories: what a network is trained on, in memory and on disk.

On disk a set of trajectories is a Zarr group that xarray opens, never a pickle. Zarr reads a chunk that is missing as
zeros, so each array carries a checksum, and a damaged file is refused instead of being trained on.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray
from jax import Array

from diffphys.errors import InputError
from diffphys.grids import Grid, face_offset
from diffphys.grids.numbers import concrete, shown
from diffphys.runs import replacing


FORMAT = "diffphys-trajectories"
VERSION = 1


class Trajectories(eqx.Module):
    """Several cases of one system, each a sequence of frames at equal intervals.

    Args:
        frames: Pytree of arrays with leading axes (cases, frames).
        parameters: For each number of the step that differs between cases its values, of shape (cases,).

    Raises:
        InputError: if leading axes differ or a value is not finite.
    """

    frames: Any
    parameters: dict[str, Array] = eqx.field(default_factory=dict)

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
                    f"ones are accepted."
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

    @property
    def cases(self) -> int:
        return np.shape(jax.tree.leaves(self.frames)[0])[0]

    @property
    def length(self) -> int:
        """Number of frames of each case."""
        return np.shape(jax.tree.leaves(self.frames)[0])[1]

    def case(self, index: int) -> tuple[Any, dict[str, Array]]:
        """The frames of one case and its parameters."""
        return jax.tree.map(lambda leaf: leaf[index], self.frames), {k: v[index] for k, v in self.parameters.items()}

    def between(self, first: int, last: int) -> "Trajectories":
        """The frames from `first` up to `last` of every case."""
        return Trajectories(jax.tree.map(lambda leaf: leaf[:, first:last], self.frames), self.parameters)


def save_trajectories(
    path: Path | str, trajectories: Trajectories, grid: Grid, attributes: Mapping[str, Any] | None = None
) -> None:
    """Write trajectories whose frames are a mapping from names to arrays (cases, frames, *points) of values on `grid`.

    Opens in xarray with coordinates. Written as a whole or not at all.

    Raises:
        InputError: if the frames are not such a mapping or an array fits no place on the grid.
    """
    if not isinstance(trajectories.frames, Mapping):
        raise InputError("save_trajectories: frames is not a mapping; a mapping from names to arrays is accepted.")
    variables, coordinates = {}, {}
    for name, values in trajectories.frames.items():
        dimensions, places = _places(name, np.shape(values)[2:], grid)
        coordinates |= places
        variables[name] = (("case", "frame", *dimensions), np.asarray(values))
    for name, values in trajectories.parameters.items():
        variables[name] = (("case",), np.asarray(values))
    checksums = {name: _checksum(values) for name, (_, values) in variables.items()}
    described = {
        "format": FORMAT,
        "version": VERSION,
        "checksums": checksums,
        "frame_names": list(trajectories.frames),
        "parameter_names": list(trajectories.parameters),
        "cells": list(grid.cells),
        "size": list(grid.size),
        "origin": list(grid.origin),
        **({} if all(grid.uniform) else {"stretched": [edges and list(edges) for edges in grid.stretched]}),
        **(attributes or {}),
    }
    with replacing(path) as beside:
        dataset = xarray.Dataset(variables, coordinates, described)
        dataset.to_zarr(beside, mode="w", zarr_format=3, consolidated=False)


def load_trajectories(path: Path | str) -> tuple[Trajectories, Grid, dict[str, Any]]:
    """Read what `save_trajectories` wrote, with its grid and attributes.

    Raises:
        InputError: if the path holds no such data, data of a newer version, data that is damaged, or values that are
            not finite.
    """
    path = Path(path)
    if not path.is_dir():
        raise InputError(
            f"load_trajectories: path is {path}, which is no directory; one that save_trajectories wrote is accepted."
        )
    try:
        dataset = xarray.open_zarr(path, consolidated=False, chunks=None)
        attributes = dict(dataset.attrs)
    except Exception as error:  # zarr, numcodecs and json raise many kinds for what is not theirs
        raise InputError(
            f"load_trajectories: {path} cannot be read as a Zarr group ({type(error).__name__})."
        ) from error
    if attributes.get("format") != FORMAT:
        raise InputError(
            f"load_trajectories: {path} holds no diffphys trajectories; what save_trajectories wrote is accepted."
        )
    if attributes.get("version") != VERSION:
        raise InputError(
            f"load_trajectories: {path} has format version {attributes.get('version')}; this diffphys reads version "
            f"{VERSION}."
        )
    missing = {"checksums", "frame_names", "parameter_names", "cells", "size", "origin"} - attributes.keys()
    if missing:
        raise InputError(f"load_trajectories: {path} is damaged ({min(missing)} is missing); generate it again.")
    arrays = {}
    for name, checksum in attributes["checksums"].items():
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
        arrays[name] = jnp.asarray(values)
    frames = {name: arrays[name] for name in attributes["frame_names"]}
    parameters = {name: arrays[name] for name in attributes["parameter_names"]}
    grid = Grid(attributes["cells"], attributes["size"], attributes["origin"])
    for axis, edges in enumerate(attributes.get("stretched", [])):
        grid = grid if edges is None else grid.with_edges(axis, edges)
    return Trajectories(frames, parameters), grid, attributes


def _places(name: str, shape: tuple[int, ...], grid: Grid) -> tuple[list[str], dict[str, Any]]:
    """The names of the dimensions of an array of values, by its shape, and their coordinates."""
    for axis in [None, *range(grid.dimensions)]:
        offset = (0.5,) * grid.dimensions if axis is None else face_offset(grid, axis)
        expected = grid.shape(offset, (False,) * grid.dimensions)
        if shape == expected:
            dimensions = [f"{n}_face" if a == axis else n for a, n in enumerate(grid.axis_names)]
            lines = grid.coordinates(offset, (False,) * grid.dimensions)
            return dimensions, {
                dimension: np.asarray(line).reshape(-1) for dimension, line in zip(dimensions, lines, strict=True)
            }
    raise InputError(
        f"save_trajectories: {name!r} has points of shape {shape}; values at the centers or faces of a grid of "
        f"{grid.cells} cells are accepted."
    )


def _check_finite(name: str, values: Any) -> None:
    if concrete(values) is None or not hasattr(values, "dtype") or not np.issubdtype(values.dtype, np.floating):
        return
    finite = bool(jnp.all(jnp.isfinite(values)))
    if not finite:
        raise InputError(f"Trajectories: {name} holds values that are not finite; finite values are accepted.")


def _checksum(values: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()
