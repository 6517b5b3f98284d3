"""One run: a directory that says what is computed in it and holds everything computed so far."""

import errno
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from diffphys.errors import InputError
from diffphys.progress import Advance, progress
from diffphys.runs.checkpoints import checkpoint_metadata, load_checkpoint, save_checkpoint
from diffphys.runs.files import PARTIAL_PREFIX, replacing, write_json
from diffphys.runs.looking import read_frames, save_curve, save_frames
from diffphys.runs.settings import results_settings
from diffphys.runs.signals import Interrupted, StopRequest


if TYPE_CHECKING:
    import xarray

Tree = TypeVar("Tree")

FORMAT = "diffphys run"
VERSION = 2
_LOCK = ".lock"


@runtime_checkable
class Figure(Protocol):
    """What can be saved as a figure, such as a Matplotlib figure."""

    def savefig(self, fname: Any, **options: Any) -> Any:
        """Write the figure to a path."""
        ...


@dataclass(frozen=True)
class RunDescription:
    """What a directory says about the run in it (settings.json)."""

    kind: str
    program: str
    preset: str
    seed: int
    settings: dict[str, Any]
    finished: bool


@dataclass
class Run:
    """A run that this process owns; made by `Run.open`.

    Everything is written as a whole or not at all, so that a process killed at any moment leaves a directory to go
    on from.
    """

    directory: Path
    program: str
    preset: str
    settings: Any
    seed: int
    kind: str = "experiment"
    finished: bool = False
    stop: StopRequest = field(default_factory=StopRequest)
    _last_save: float = field(default_factory=time.monotonic)
    _last_curve: float = float("-inf")

    @classmethod
    @contextmanager
    def open(
        cls,
        directory: str | Path,
        program: str,
        preset: str,
        settings: Any,
        seed: int,
        stop: StopRequest | None = None,
        kind: str = "experiment",
    ) -> Iterator["Run"]:
        """Create the run in a new or empty directory, or go on with it where the directory holds the same run.

        The same run has the same kind, program, preset, seed and settings, save those that do not change what is
        computed. The directory is locked until the block ends, however the process ends.

        Args:
            directory: Where everything is written.
            program: The program's name.
            preset: The preset's name.
            settings: A frozen dataclass with fields made by `setting`.
            seed: The number from which all randomness is derived.
            stop: The request of `stop_on_signals`; without it nothing asks the run to stop.
            kind: What the program is: "experiment", "verification" or "benchmark".

        Raises:
            InputError: the directory belongs to another run (the sentence names what differs), holds other files, is
                in use by another process, or cannot be written.
        """
        directory = Path(directory)
        run = cls(directory, program, preset, settings, seed, kind, stop=stop or StopRequest())
        with _locked(directory):
            # Only now nobody else is writing here: what is still partial was left by a killed process.
            for partial in directory.rglob(f"{PARTIAL_PREFIX}*"):
                shutil.rmtree(partial) if partial.is_dir() else partial.unlink()
            if (directory / "settings.json").exists():
                run.finished = _same_run(read_description(directory), run)
            run._describe()
            yield run

    @property
    def stop_requested(self) -> bool:
        """Whether a signal asked the work to save itself and leave."""
        return self.stop.requested

    def checkpoint_due(self, seconds: float = 30.0) -> bool:
        """Whether to save now: `seconds` have passed since the last checkpoint, or the run was asked to stop."""
        return self.stop_requested or time.monotonic() - self._last_save >= seconds

    def leave_if_asked(self) -> None:
        """Leave if the run was asked to stop; to be called where everything is saved.

        Raises:
            Interrupted: it was.
        """
        if self.stop_requested:
            raise Interrupted

    def progress(self, description: str, total: int, done: int = 0) -> AbstractContextManager[Advance]:
        """Progress of `total` steps, of which `done` were finished by an earlier process; see `progress`."""
        return progress(description, total, done)

    def save_checkpoint(self, name: str, tree: Any, metadata: Mapping[str, Any] | None = None) -> None:
        """Save a pytree under a name; see `diffphys.runs.save_checkpoint`."""
        save_checkpoint(self.checkpoint_path(name), tree, kind=self._kind(name), metadata=metadata)
        self._last_save = time.monotonic()

    def has_checkpoint(self, name: str) -> bool:
        """Whether there is a checkpoint of this name."""
        return self.checkpoint_path(name).exists()

    def load_checkpoint(self, name: str, like: Tree) -> Tree:
        """Load the checkpoint of this name; see `diffphys.runs.load_checkpoint`."""
        return load_checkpoint(self.checkpoint_path(name), like, kind=self._kind(name))

    def checkpoint_metadata(self, name: str) -> dict[str, Any]:
        """What was saved beside the checkpoint of this name."""
        return checkpoint_metadata(self.checkpoint_path(name))

    def checkpoint_path(self, name: str) -> Path:
        """The file of the checkpoint of this name."""
        return self.directory / "checkpoints" / f"{name}.checkpoint"

    def figure_path(self, name: str) -> Path:
        """The file of a figure or an animation, such as "loss.png"; write it within `replacing(path)`."""
        return self.directory / "figures" / name

    def save_figure(self, name: str, figure: Figure, **options: Any) -> None:
        """Save a Matplotlib figure as figures/name; options go to `savefig`."""
        with replacing(self.figure_path(name)) as path:
            figure.savefig(path, **options)

    def curve_due(self, seconds: float = 2.0) -> bool:
        """Whether to write a growing curve anew: `seconds` have passed since one was written."""
        return time.monotonic() - self._last_curve >= seconds

    def save_curve(self, chart: str, line: str, columns: Mapping[str, Any]) -> None:
        """Write a curve for `diffphys view`, again as it grows.

            run.save_curve("training", "unrolled", {"update": range(count), "loss": losses})

        Args:
            chart: What is drawn together.
            line: Which of its lines this is, such as the name of an arm.
            columns: Lists of equally many numbers by name; the first is drawn across, the second upward. Of more than
                2000 rows so many are kept, evenly chosen.

        Raises:
            InputError: columns of different lengths.
        """
        save_curve(self.directory, chart, line, columns)
        self._last_curve = time.monotonic()

    def save_frames(self, name: str, data: "xarray.Dataset") -> None:
        """Write frames for `diffphys view`: of an arm, of the reference, or of whatever else is compared.

            run.save_frames("unrolled", dp.to_xarray(frames, times))

        They are there to be looked at: at most 8 MB of a name are kept, in single precision, by leaving out frames,
        evenly, and then points.

        Args:
            name: Whose frames they are.
            data: Variables with the dimensions `case` and `time`, both of which may be missing, and those of the
                space, as `dp.to_xarray` makes them.

        Raises:
            InputError: if it is no such dataset.
        """
        save_frames(self.directory, name, data)

    def read_frames(self, name: str) -> "xarray.Dataset":
        """The frames that were kept of this name: single precision, and fewer than were saved where those took more
        than 8 MB.

        Raises:
            InputError: if there are none.
        """
        return read_frames(self.directory, name)

    def write_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Write metrics.json: named numbers and lists; arrays become lists, values that are not finite become null."""
        write_json(self.directory / "metrics.json", dict(metrics))

    def read_metrics(self) -> dict[str, Any]:
        """The metrics written last.

        Raises:
            InputError: there are none yet, or the file was damaged.
        """
        path = self.directory / "metrics.json"
        if not path.exists():
            raise InputError(f'"{self.directory}" holds no metrics yet: its run has to get further first')
        return _read_json(path)

    def finish(self) -> None:
        """Note that everything is done, so that the same command does nothing anew."""
        self.finished = True
        self._describe()

    def _kind(self, name: str) -> str:
        return f"{self.program}: {name}"

    def _describe(self) -> None:
        description = {"format": FORMAT, "version": VERSION, **asdict(_description(self))}
        write_json(self.directory / "settings.json", description)


def read_description(directory: str | Path) -> RunDescription:
    """What a directory says about the run in it.

    Raises:
        InputError: it holds no run, a damaged one, or one made by a newer version.
    """
    path = Path(directory) / "settings.json"
    if not path.is_file():
        raise InputError(f'the directory "{directory}" holds no run: there is no settings.json in it')
    content = _read_json(path)
    if content.get("format") != FORMAT:
        raise InputError(f'the directory "{directory}" holds no run: its settings.json was not written by diffphys')
    if not isinstance(content.get("version"), int) or content["version"] > VERSION:
        raise InputError(
            f'the run in "{directory}" has format version {content.get("version")}, written by a newer diffphys; '
            f"this one reads up to version {VERSION}: upgrade diffphys"
        )
    if content["version"] == 1:
        content |= _kind_and_program(str(content.get("experiment", "")))
    try:
        return RunDescription(**{name: content[name] for name in RunDescription.__dataclass_fields__})
    except KeyError as error:
        raise InputError(f'the file "{path}" is damaged: {error} is missing') from error


def _kind_and_program(experiment: str) -> dict[str, str]:
    """What version 1 said in one text: "heat" of an experiment, "verify heat" of a verification."""
    command, _, program = experiment.rpartition(" ")
    kinds = {"": "experiment", "verify": "verification", "bench": "benchmark"}
    return {"kind": kinds[command], "program": program} if program and command in kinds else {}


def _description(run: Run) -> RunDescription:
    return RunDescription(run.kind, run.program, run.preset, run.seed, asdict(run.settings), run.finished)


def _same_run(there: RunDescription, run: Run) -> bool:
    """Whether the run of a directory is finished; InputError if it is another run than `run`."""
    matter = results_settings(run.settings)
    named = {"kind": run.kind, "program": run.program, "preset": run.preset, "seed": run.seed}
    here = json.loads(json.dumps(named | matter))
    old = {"kind": there.kind, "program": there.program, "preset": there.preset, "seed": there.seed} | there.settings
    for name, value in here.items():
        if old.get(name) != value:
            given = old.get(name, "not set")
            raise InputError(
                f'the output directory "{run.directory}" belongs to another run: there {name} is {given}, '
                f"here {value}; choose another directory (--out) or the same settings"
            )
    return there.finished


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f'the file "{path}" cannot be read: {error.strerror}') from error
    except ValueError as error:
        raise InputError(f'the file "{path}" is damaged: it is not JSON') from error
    if not isinstance(content, dict):
        raise InputError(f'the file "{path}" is damaged: it holds no names')
    return content


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Hold the lock of a directory that is empty or holds a run; the kernel releases it even after kill -9."""
    import fcntl  # here, because only this needs a POSIX system

    try:
        directory.mkdir(parents=True, exist_ok=True)
        _refuse_foreign(directory)
        descriptor = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        reason = error.strerror
        raise InputError(f'the output directory "{directory}" (--out) cannot be written to: {reason}') from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f'the output directory "{directory}" is in use by another diffphys process: '
                "wait for it to end or choose another directory (--out)"
            ) from error
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK):
                raise  # those three: a cluster's file system without locks, where users must look out themselves
        yield
    finally:
        os.close(descriptor)


def _refuse_foreign(directory: Path) -> None:
    """Raise InputError where a directory holds files but no run."""
    names = {path.name for path in directory.iterdir()}
    # A process killed before it could describe its run leaves a lock and a partial file, nothing else.
    foreign = {name for name in names if name != _LOCK and not name.startswith(PARTIAL_PREFIX)}
    if foreign and "settings.json" not in names:
        raise InputError(
            f'the output directory "{directory}" is not empty and holds no diffphys run (it holds "{min(foreign)}"): '
            "choose another directory (--out)"
        )
