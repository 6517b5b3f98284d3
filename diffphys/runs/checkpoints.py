"""Checkpoints: the arrays and numbers of a pytree in one file that says what it is and notices when it is damaged.

The file is one line of JSON (format, version, kind, shape and dtype of every leaf, metadata, SHA-256) followed by the
leaves as Equinox writes them. Nothing in it is ever unpickled, so that a file from elsewhere can do no harm.
"""

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from diffphys.errors import InputError
from diffphys.runs.files import replacing


# JAX and Equinox are imported where they are used: the command line imports this room also for `list` and `--help`,
# which need neither and would wait for them.

Tree = TypeVar("Tree")

FORMAT = "diffphys checkpoint"
VERSION = 1
ADDED = (".time_remainder",)  # numbers that states had not yet in older files: zero where a file lacks them
_BEGINNING = json.dumps({"format": FORMAT})[:-1].encode()


def save_checkpoint(path: str | Path, tree: Any, *, kind: str, metadata: Mapping[str, Any] | None = None) -> None:
    """Save the arrays and numbers of a pytree; functions and other leaves belong to the code, not to the file.

    The file is replaced as a whole: a process killed at any moment leaves the old one or the new one.
    Values that are not finite are saved as they are.

    Args:
        path: The file.
        tree: Any pytree of JAX arrays (random keys too), NumPy arrays and Python numbers.
        kind: What it is, such as "wake network"; loading may ask for it.
        metadata: Anything JSON can hold, such as the arguments that build the tree to load into.

    Raises:
        InputError: the disk is full, or the path may not be written.
    """
    import equinox

    payload = io.BytesIO()
    equinox.tree_serialise_leaves(payload, tree, filter_spec=_write_leaf)
    content = payload.getvalue()
    header = {
        "format": FORMAT,
        "version": VERSION,
        "kind": kind,
        "bytes": len(content),
        "leaves": _leaves(tree),
        "metadata": dict(metadata or {}),
    }
    header["sha256"] = _digest(header, content)
    with replacing(path) as temporary:
        with open(temporary, "wb") as file:
            file.write(json.dumps(header).encode() + b"\n")
            file.write(content)


def load_checkpoint(path: str | Path, like: Tree, *, kind: str | None = None) -> Tree:
    """Load a checkpoint into the structure of `like`, whose arrays and numbers are replaced by those in the file.

    Args:
        path: The file.
        like: A pytree of the same structure, shapes and dtypes; `jax.ShapeDtypeStruct` leaves will do.
        kind: What it has to be; None accepts every kind.

    Raises:
        InputError: the file is missing, truncated, damaged, no checkpoint, of another kind, written by a newer
            version, or its leaves differ from those of `like` (the sentence names the first that does).
    """
    import equinox
    import jax

    header, content = _read(Path(path))
    if kind is not None and header["kind"] != kind:
        raise InputError(f'"{path}" is a checkpoint of kind "{header["kind"]}", but "{kind}" is asked for')
    asked, saved = _leaves(like), {name for name, _, _ in header["leaves"]}
    added = {name for name, _, _ in asked if name.endswith(ADDED) and name not in saved}
    _compare(path, header["leaves"], [described for described in asked if described[0] not in added])
    readers = jax.tree_util.tree_map_with_path(
        lambda path, _: _zeros if jax.tree_util.keystr(path) in added else _read_leaf, like
    )
    try:
        return equinox.tree_deserialise_leaves(io.BytesIO(content), like, filter_spec=readers)
    except (ValueError, RuntimeError, EOFError) as error:  # only a file made by hand gets here
        raise InputError(f'the checkpoint "{path}" is damaged: its arrays are not those its header names') from error


def checkpoint_metadata(path: str | Path) -> dict[str, Any]:
    """The metadata saved with a checkpoint.

    Raises:
        InputError: the file is missing, truncated, damaged, no checkpoint, or written by a newer version.
    """
    return _read(Path(path))[0]["metadata"]


def _read(path: Path) -> tuple[dict[str, Any], bytes]:
    """Header and payload of a checkpoint that is complete and undamaged."""
    try:
        line, newline, content = path.read_bytes().partition(b"\n")
    except OSError as error:
        raise InputError(f'the checkpoint "{path}" cannot be read: {error.strerror}') from error
    if not line.startswith(_BEGINNING):
        if _BEGINNING.startswith(line) and not newline:
            raise InputError(f'the checkpoint "{path}" is truncated: only {len(line)} bytes of it are there')
        raise InputError(f'"{path}" is not a diffphys checkpoint')
    if not newline:
        raise InputError(f'the checkpoint "{path}" is truncated: it ends within its header')
    try:
        header = json.loads(line)
        newer = header["version"] > VERSION
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f'the checkpoint "{path}" is damaged: its header cannot be read') from error
    if newer:
        raise InputError(
            f'the checkpoint "{path}" has format version {header["version"]}, written by a newer diffphys; '
            f"this one reads up to version {VERSION}: upgrade diffphys"
        )
    if not {"kind", "bytes", "leaves", "metadata", "sha256"} <= header.keys():
        raise InputError(f'the checkpoint "{path}" is damaged: its header is not complete')
    if len(content) < header["bytes"]:
        raise InputError(f'the checkpoint "{path}" is truncated: {len(content)} of {header["bytes"]} bytes are there')
    if header["sha256"] != _digest(header, content):
        raise InputError(f'the checkpoint "{path}" is damaged: its contents do not match its checksum')
    return header, content


def _digest(header: dict[str, Any], content: bytes) -> str:
    """SHA-256 of everything in the file but itself."""
    described = {key: value for key, value in header.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(described).encode() + b"\n" + content).hexdigest()


def _leaves(tree: Any) -> list[list[Any]]:
    """Path, shape and dtype of every leaf that a checkpoint holds."""
    import jax

    described = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if hasattr(leaf, "shape") and hasattr(leaf, "dtype"):
            described.append([jax.tree_util.keystr(path), list(leaf.shape), str(leaf.dtype)])
        elif isinstance(leaf, (bool, int, float, complex)):
            described.append([jax.tree_util.keystr(path), [], type(leaf).__name__])
    return described


def _compare(path: str | Path, saved: list[list[Any]], asked: list[list[Any]]) -> None:
    """Raise InputError at the first leaf in which a file and the tree to load into differ."""
    where = f'the checkpoint "{path}" does not fit what it is loaded into'
    for (name, shape, dtype), (name_asked, shape_asked, dtype_asked) in zip(saved, asked, strict=False):
        if name != name_asked:
            raise InputError(f"{where}: it holds {name or 'one array'} where {name_asked or 'one array'} is asked for")
        if (shape, dtype) != (shape_asked, dtype_asked):
            raise InputError(
                f"{where}: {name or 'its array'} is {dtype}{shape} in the file, "
                f"but {dtype_asked}{shape_asked} is asked for"
            )
    if len(saved) != len(asked):
        raise InputError(f"{where}: it holds {len(saved)} arrays and numbers, but {len(asked)} are asked for")


def _write_leaf(file: Any, leaf: Any) -> None:
    """Write one leaf: random keys as their bits, everything else by Equinox."""
    import equinox
    import jax

    if isinstance(leaf, jax.Array) and jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    equinox.default_serialise_filter_spec(file, leaf)


def _read_leaf(file: Any, leaf: Any) -> Any:
    """Read what `_write_leaf` wrote for a leaf like this one."""
    import equinox
    import jax

    if isinstance(leaf, jax.Array) and jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(jax.numpy.load(file), impl=jax.random.key_impl(leaf))
    return equinox.default_deserialise_filter_spec(file, leaf)


def _zeros(file: Any, leaf: Any) -> Any:
    """What stands for a number that the file had not yet."""
    import jax

    return jax.numpy.zeros(leaf.shape, leaf.dtype)
