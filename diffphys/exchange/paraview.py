"""Frames for ParaView, as VTK's rectilinear grids with the times in a `.pvd` file, and back (extra `3d`: PyVista)."""

import xml.etree.ElementTree as xml
from pathlib import Path
from typing import Any

import numpy as np

from diffphys.errors import InputError, optional
from diffphys.exchange.frames import leading_names, times_of
from diffphys.grids import Field, Grid
from diffphys.grids.named import at_centers, grid_of, named_parts


def save_vtk(path: str | Path, frames: Any, times: Any = None) -> Path:
    """Write a state as `name.vtr`, or frames as `name.pvd`, which ParaView opens as a series in time.

    Every field is a value for each cell (`grids.at_centers`, the mean of its neighbors where it lives on faces), every
    vector a vector. Beside a `.pvd` file stands a directory of its name with one file for each frame.

    Args:
        path: The file, ending in `.vtr` for a state, in `.pvd` for frames.
        frames: A field or a state of any system with fields; or frames of such.
        times: The time of each frame. Default: the state's own, else 0, 1, ...

    Returns:
        The path.

    Raises:
        InputError: for another suffix, cases beside frames, or where PyVista is not installed.
    """
    path = Path(path)
    grid = grid_of("save_vtk", frames)
    leading = leading_names("save_vtk", frames)
    suffix = ".pvd" if leading else ".vtr"
    if len(leading) > 1 or path.suffix != suffix:
        raise InputError(
            f"save_vtk: path is {path.name} and the leading axes are {leading}; name.vtr for a state and name.pvd for "
            "frames of one case are accepted."
        )
    arrays = {}
    for name, part in named_parts(frames).items():
        if isinstance(part, Field):
            arrays[name] = at_centers(part)
        elif isinstance(part, tuple):
            components = [at_centers(component) for component in part]
            components += [np.zeros_like(components[0])] * (3 - len(part))
            arrays[name] = np.stack(components, axis=-1)
    if not leading:
        _write(path, grid, arrays)
        return path
    moments = times_of("save_vtk", frames, times)
    count = len(next(iter(arrays.values())))
    moments = np.arange(float(count)) if moments is None else moments
    directory = path.with_suffix("")
    directory.mkdir(parents=True, exist_ok=True)
    root = xml.Element("VTKFile", type="Collection", version="0.1")
    collection = xml.SubElement(root, "Collection")
    for index, moment in enumerate(moments):
        file = directory / f"{path.stem}_{index:05d}.vtr"
        _write(file, grid, {name: values[index] for name, values in arrays.items()})
        xml.SubElement(collection, "DataSet", timestep=repr(float(moment)), file=f"{directory.name}/{file.name}")
    xml.indent(root)
    xml.ElementTree(root).write(path, xml_declaration=True)
    return path


def load_vtk(path: str | Path) -> tuple[dict[str, Any], np.ndarray | None]:
    """Read a `.vtr` file, or a `.pvd` series as `save_vtk` writes it.

    Returns:
        From names to fields at the cell centers, vectors as a field for each axis, with a leading axis for a series;
        and the times of a series, else None.

    Raises:
        InputError: if there is no such file, it holds another kind of grid, or PyVista is not installed.
    """
    path = Path(path)
    if path.suffix not in (".vtr", ".pvd") or not path.is_file():
        raise InputError(f"load_vtk: path is {path}; a file that ends in .vtr or .pvd is accepted.")
    if path.suffix == ".vtr":
        return _fields(*_read(path)), None
    entries = [entry.attrib for entry in xml.parse(path).getroot().iter("DataSet")]
    read = [_read(path.parent / entry["file"]) for entry in entries]
    if not read or any(grid != read[0][0] for grid, _ in read):
        raise InputError(f"load_vtk: {path} names no files, or files with several grids; frames on one are accepted.")
    arrays = {name: np.stack([frame[name] for _, frame in read]) for name in read[0][1]}
    return _fields(read[0][0], arrays), np.array([float(entry["timestep"]) for entry in entries])


def rectilinear(owner: str, grid: Grid, arrays: dict[str, np.ndarray]) -> Any:
    """A `pyvista.RectilinearGrid` with arrays (*cells) or (*cells, components) as values of its cells."""
    pyvista = optional(owner, "pyvista", "3d")
    edges = [grid.edges[axis] if axis < grid.dimensions else np.zeros(1) for axis in range(3)]
    mesh = pyvista.RectilinearGrid(*edges)
    for name, values in arrays.items():
        by_cell = values.reshape(*grid.cells, -1)  # VTK counts x first
        mesh.cell_data[name] = np.stack([by_cell[..., part].ravel("F") for part in range(by_cell.shape[-1])], axis=-1)
    return mesh


def _write(path: Path, grid: Grid, arrays: dict[str, np.ndarray]) -> None:
    mesh = rectilinear("save_vtk", grid, arrays)
    path.parent.mkdir(parents=True, exist_ok=True)
    mesh.save(path)


def _read(path: Path) -> tuple[Grid, dict[str, np.ndarray]]:
    pyvista = optional("load_vtk", "pyvista", "3d")
    mesh = pyvista.read(path)
    if not isinstance(mesh, pyvista.RectilinearGrid):
        raise InputError(f"load_vtk: {path} holds a {type(mesh).__name__}; a rectilinear grid is accepted.")
    edges = [np.asarray(line, float) for line in (mesh.x, mesh.y, mesh.z) if len(line) > 1]
    grid = Grid.from_edges(edges)
    arrays = {}
    for name in mesh.cell_data:
        values = np.asarray(mesh.cell_data[name])
        parts = values.reshape(values.shape[0], -1).T
        arrays[name] = np.stack([part.reshape(grid.cells, order="F") for part in parts], axis=-1)
        arrays[name] = arrays[name][..., 0] if values.ndim == 1 else arrays[name][..., : grid.dimensions]
    return grid, arrays


def _fields(grid: Grid, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    import jax

    def field(values: np.ndarray) -> Field:
        leading = values.ndim - grid.dimensions
        return jax.vmap(lambda one: Field(one, grid))(values) if leading else Field(values, grid)

    found = {}
    for name, values in arrays.items():
        scalar = values.shape[-grid.dimensions :] == grid.cells
        found[name] = field(values) if scalar else tuple(field(values[..., a]) for a in range(grid.dimensions))
    return found
