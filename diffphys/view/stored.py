"""Runs as they lie on disk: found under one directory, and read without ever leaving it.

No symbolic link below that directory is followed, wherever it leads: a link is not there. So nothing that somebody
puts into a run can show a file from elsewhere.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import xarray

from diffphys.errors import InputError
from diffphys.runs import RunDescription, read_description


DEEPEST = 5  # directories between the one that is shown and a run
PICTURES = {".png": "image/png", ".gif": "image/gif"}


@dataclass(frozen=True)
class StoredRun:
    """One run below a directory.

    Attributes:
        name: Its path from there.
        path: Its directory.
        description: Program, preset, seed, settings, and whether it is finished.
    """

    name: str
    path: Path
    description: RunDescription

    @property
    def stamp(self) -> tuple[Any, ...]:
        """Changes whenever something that can be shown does."""
        shown = [self.path / name for name in ("settings.json", "metrics.json", "table.json")]
        shown += [*self._files("curves", "*/*.json"), *self._files("figures", "*"), *self._frames().values()]
        return tuple((str(path), _changed(path)) for path in shown)

    @property
    def frames(self) -> list[str]:
        """Whose frames it holds: first what the others are compared with."""
        first = ("reference", "truth", "source")
        return sorted(self._frames(), key=lambda name: (first.index(name) if name in first else len(first), name))

    def dataset(self, name: str) -> xarray.Dataset | None:
        """The frames of this name in memory; None where there are none, or they are just being replaced."""
        path = self._frames().get(name)
        if path is None or any(one.is_symlink() for one in path.rglob("*")):
            return None
        try:
            with xarray.open_zarr(path, chunks=None, decode_times=False) as data:
                others = [name for name, variable in data.variables.items() if variable.dtype.kind not in "fiub"]
                return data.drop_vars(others).load()
        except Exception:  # zarr and numcodecs raise many kinds for what is damaged, or gone since
            return None

    def curves(self) -> dict[str, dict[str, dict[str, np.ndarray]]]:
        """Columns of numbers by chart and line."""
        found: dict[str, dict[str, dict[str, np.ndarray]]] = {}
        for path in self._files("curves", "*/*.json"):
            written = _json(path)
            if {"chart", "line", "columns"} <= written.keys():
                columns = {name: np.array(values, float) for name, values in written["columns"].items()}
                found.setdefault(written["chart"], {})[written["line"]] = columns
        return found

    def metrics(self) -> dict[str, Any]:
        """What is in metrics.json; empty where it is not written yet."""
        return _json(self.path / "metrics.json")

    def table(self) -> dict[str, Any]:
        """The table of results, as `runs.table_content` wrote it; empty where there is none."""
        return _json(self.path / "table.json")

    def figures(self) -> dict[str, bytes]:
        """Pictures of the report by the name of their file."""
        pictures = (path for path in self._files("figures", "*") if path.suffix in PICTURES)
        return {path.name: _bytes(path) for path in pictures}

    def _frames(self) -> dict[str, Path]:
        there = self.path / "frames"
        if there.is_symlink() or not there.is_dir():
            return {}
        paths = [path for path in sorted(there.glob("[!.]*.zarr")) if path.is_dir() and not path.is_symlink()]
        return {unquote(path.stem): path for path in paths}

    def _files(self, within: str, pattern: str) -> Iterator[Path]:
        """Files that are no links, in directories that are none."""
        for path in sorted((self.path / within).glob(pattern)):
            above = [path, *(parent for parent in path.parents if parent.is_relative_to(self.path / within))]
            if not path.name.startswith(".") and path.is_file() and not any(one.is_symlink() for one in above):
                yield path


def find_runs(directory: str | Path) -> dict[str, StoredRun]:
    """All runs in a directory and those below it, by the path from there; the newest first.

    Raises:
        InputError: there is no such directory.
    """
    root = Path(directory).expanduser()
    if not root.is_dir():
        raise InputError(f'view: "{directory}" is no directory; one that holds runs, as "runs", is accepted.')
    root = root.resolve()
    found = []
    for here, below, files in os.walk(root):  # which follows no links
        path = Path(here)
        depth = len(path.relative_to(root).parts)
        if "settings.json" in files and not (path / "settings.json").is_symlink():
            below.clear()
            try:
                description = read_description(path)
            except InputError:  # not ours, damaged, or of a newer version
                continue
            found.append(StoredRun(str(path.relative_to(root)), path, description))
        elif depth >= DEEPEST:
            below.clear()
        else:
            below[:] = [name for name in below if not name.startswith(".")]
    found.sort(key=lambda run: -_changed(run.path / "settings.json"))
    return {run.name: run for run in found}


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(_bytes(path))
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _bytes(path: Path) -> bytes:
    """The content of a file; empty where it is missing or a link."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(descriptor, "rb") as file:
            return file.read()
    except OSError:
        return b""


def _changed(path: Path) -> int:
    try:
        return path.stat(follow_symlinks=False).st_mtime_ns
    except OSError:
        return 0
