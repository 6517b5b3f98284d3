"""Writing files so that a reader, a full disk or kill -9 never meets half of one."""

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from diffphys.errors import InputError


PARTIAL_PREFIX = ".partial-"  # names of files still being written; a run removes those a killed process left behind
PREVIOUS_PREFIX = ".previous-"  # names of directories that are being replaced, for the time of two renames

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG}


def storage_error(error: OSError, path: str | Path) -> InputError | None:
    """The sentence for a disk that is full or may not be written; None for every other kind of error."""
    if error.errno in _FULL:
        return InputError(
            f'the disk (or your quota on it) is full, so "{path}" could not be written; '
            "nothing saved before is lost: free some space and give the same command again"
        )
    if error.errno in _REFUSED:
        return InputError(f'"{path}" cannot be written: {os.strerror(error.errno or 0)}')
    return None


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Write a file, or a directory of files, as a whole or not at all.

    Yields a temporary path with the same suffix in the same directory. What is written there takes the place of
    `path` when the block ends without an exception; until then, and if it never does, `path` stays as it was.

        with replacing("figures/loss.png") as path:
            figure.savefig(path)

    Raises:
        InputError: the disk is full, or the path may not be written.
    """
    path = Path(path)
    temporary = path.with_name(f"{PARTIAL_PREFIX}{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        is_directory = temporary.is_dir()
        for written in (file for file in temporary.rglob("*") if file.is_file()) if is_directory else (temporary,):
            with open(written, "rb+") as file:  # the contents must be on the disk before the name points to them
                os.fsync(file.fileno())
        if is_directory:
            _put_in_place(temporary, path)
        else:
            os.replace(temporary, path)
    except OSError as error:
        explained = storage_error(error, path)
        if explained is None:
            raise
        raise explained from error
    finally:
        _remove(temporary)


def recovered(path: Path) -> None:
    """Give a directory its name back, where a process was killed between the two renames that replace one."""
    if not path.exists() and _aside(path).exists():
        os.replace(_aside(path), path)


def _put_in_place(directory: Path, path: Path) -> None:
    """A directory takes the place of nothing but an empty one, so what is there steps aside: it is never gone before
    the new one has its name.
    """
    recovered(path)
    _remove(_aside(path))  # what was replaced by a process that was killed afterwards
    if not os.path.lexists(path):
        os.replace(directory, path)
        return
    os.replace(path, _aside(path))
    try:
        os.replace(directory, path)
    except BaseException:
        os.replace(_aside(path), path)
        raise
    _remove(_aside(path))


def _aside(path: Path) -> Path:
    return path.with_name(f"{PREVIOUS_PREFIX}{path.name}")


def _remove(path: Path) -> None:
    """Remove a file or directory that may be missing, in a directory that may be missing, too."""
    try:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    except OSError:  # what went wrong before is the error to report, not this
        pass


def write_json(path: str | Path, content: Any) -> None:
    """Write JSON as a whole or not at all; numbers that are not finite, which JSON has no word for, become null."""
    text = json.dumps(_plain(content), indent=2, allow_nan=False) + "\n"
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _plain(value: Any) -> Any:
    """Mappings, sequences, arrays and scalars of NumPy and JAX as what JSON knows."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value
