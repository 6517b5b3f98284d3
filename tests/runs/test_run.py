"""A run's directory: created, continued, refused where it is another's, and never left half written."""

import errno
import json
import os
import resource
import signal
import time
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
import pytest

from diffphys.errors import InputError
from diffphys.runs import Interrupted, Run, StopRequest, progress, read_description, replacing, setting, stop_on_signals


@dataclass(frozen=True)
class Settings:
    frames: int = setting(10, help="frames")
    reynolds: tuple[float, ...] = setting((73.2, 100.0), help="Reynolds numbers")
    save_every: float = setting(30.0, help="seconds between checkpoints", changes_results=False)


def opened(directory, program="wake", preset="demo", settings=None, seed=0, kind="experiment"):
    return Run.open(directory, program, preset, settings or Settings(), seed, kind=kind)


def test_a_run_is_created_and_continued(tmp_path):
    directory = tmp_path / "new" / "run"
    with opened(directory, seed=3) as run:
        assert not run.finished and not run.has_checkpoint("state")
        run.save_checkpoint("state", jnp.arange(3), metadata={"update": 7})
    with opened(directory, seed=3) as run:
        assert not run.finished and run.checkpoint_metadata("state") == {"update": 7}
        assert run.load_checkpoint("state", jnp.zeros(3, dtype=int)).tolist() == [0, 1, 2]
        run.finish()
    with opened(directory, seed=3) as run:
        assert run.finished
    found = read_description(directory)
    assert (found.kind, found.program, found.preset, found.seed, found.finished) == (
        "experiment", "wake", "demo", 3, True,
    )  # fmt: skip
    assert found.settings == {"frames": 10, "reynolds": [73.2, 100.0], "save_every": 30.0}


@pytest.mark.parametrize(
    "other, words",
    [
        ({"program": "burgers"}, "there program is wake, here burgers"),
        ({"kind": "benchmark"}, "there kind is experiment, here benchmark"),
        ({"preset": "book"}, "there preset is demo, here book"),
        ({"seed": 1}, "there seed is 0, here 1"),
        ({"settings": Settings(frames=11)}, "there frames is 10, here 11"),
        ({"settings": Settings(reynolds=(73.2,))}, r"there reynolds is \[73.2, 100.0\], here \[73.2\]"),
    ],
)
def test_the_directory_of_another_run_is_refused_naming_what_differs(tmp_path, other, words):
    with opened(tmp_path):
        pass
    before = (tmp_path / "settings.json").read_bytes()
    with pytest.raises(InputError, match=words), opened(tmp_path, **other):
        pass
    assert (tmp_path / "settings.json").read_bytes() == before


def test_a_setting_that_changes_no_result_makes_no_other_run(tmp_path):
    with opened(tmp_path) as run:
        run.finish()
    with opened(tmp_path, settings=Settings(save_every=1.0)) as run:
        assert run.finished
    assert read_description(tmp_path).settings["save_every"] == 1.0


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"format": "other"}', '{"format": "diffphys run", "version": 1}']
)
def test_settings_that_are_not_ours_are_refused(tmp_path, content):
    (tmp_path / "settings.json").write_text(content)
    with pytest.raises(InputError, match="holds no run|is damaged"), opened(tmp_path):
        pass
    assert (tmp_path / "settings.json").read_text() == content


def test_a_newer_run_is_refused(tmp_path):
    with opened(tmp_path):
        pass
    path = tmp_path / "settings.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 3}))
    with pytest.raises(InputError, match="format version 3, written by a newer diffphys"), opened(tmp_path):
        pass


@pytest.mark.parametrize(
    "said, kind, program",
    [("wake", "experiment", "wake"), ("verify wake", "verification", "wake"), ("bench wake", "benchmark", "wake")],
)
def test_a_run_of_the_first_version_is_known_for_what_it_is(tmp_path, said, kind, program):
    """Version 1 told the kinds apart by the beginning of one text."""
    settings = {"frames": 10, "reynolds": [73.2, 100.0], "save_every": 30.0}
    old = {"format": "diffphys run", "version": 1, "experiment": said, "preset": "demo", "seed": 0}
    (tmp_path / "settings.json").write_text(json.dumps(old | {"settings": settings, "finished": True}))
    found = read_description(tmp_path)
    assert (found.kind, found.program) == (kind, program)
    with opened(tmp_path, program=program, kind=kind) as run:
        assert run.finished


def test_a_directory_with_other_files_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match='not empty.*"thesis.tex".*--out'), opened(tmp_path):
        pass
    assert os.listdir(tmp_path) == ["thesis.tex"]


def test_what_a_killed_process_left_partial_is_removed(tmp_path):
    (tmp_path / ".lock").touch()
    (tmp_path / "figures").mkdir()
    (tmp_path / ".partial-1-settings.json").write_text("{")
    with pytest.raises(InputError, match='"figures"'), opened(tmp_path):
        pass
    (tmp_path / "figures").rmdir()
    with opened(tmp_path) as run:
        run.figure_path("x").parent.mkdir()
        (run.directory / "figures" / ".partial-1-loss.png").touch()
    with opened(tmp_path):
        assert not list(tmp_path.rglob(".partial-*"))


def test_a_directory_in_use_is_refused(tmp_path):
    with opened(tmp_path):
        with pytest.raises(InputError, match="in use by another diffphys process"), opened(tmp_path):
            pass
    with opened(tmp_path):
        pass


def test_a_directory_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    for directory in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match=r"\(--out\) cannot be written to: (File exists|Not a dir)"):
            with opened(directory):
                pass

    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(InputError, match=r"\(--out\).*Permission denied"), opened(tmp_path / "mine"):
        pass


def test_a_full_disk_is_one_sentence_and_keeps_what_was_there(tmp_path, monkeypatch):
    with opened(tmp_path) as run:
        run.write_metrics({"error": 1.0})
        with monkeypatch.context() as patch:

            def full(*_):
                raise OSError(errno.ENOSPC, "No space left on device")

            patch.setattr(os, "fsync", full)
            with pytest.raises(InputError, match="disk.*is full.*metrics.json.*nothing saved before is lost"):
                run.write_metrics({"error": 2.0})
        assert run.read_metrics() == {"error": 1.0}


def test_a_write_that_breaks_off_midway_keeps_what_was_there(tmp_path):
    """The kernel itself refuses to let the file grow, as a full disk does."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with opened(tmp_path) as run:
        run.save_checkpoint("state", jnp.zeros(10))
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
        try:
            with pytest.raises(InputError, match="is full.*state.checkpoint"):
                run.save_checkpoint("state", jnp.ones(10_000))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert not run.load_checkpoint("state", jnp.ones(10)).any()
        assert os.listdir(tmp_path / "checkpoints") == ["state.checkpoint"]


def test_metrics_take_arrays_and_refuse_to_write_what_json_cannot_hold(tmp_path):
    with opened(tmp_path) as run:
        with pytest.raises(InputError, match="no metrics yet"):
            run.read_metrics()
        run.write_metrics(
            {"a": np.float64(0.1), "b": jnp.arange(2), "c": [float("nan"), np.inf], "arms": {"SRC": {"d": 1}}}
        )
        assert run.read_metrics() == {"a": 0.1, "b": [0, 1], "c": [None, None], "arms": {"SRC": {"d": 1}}}
        (tmp_path / "metrics.json").write_text('{"a": ')
        with pytest.raises(InputError, match="metrics.json.*damaged"):
            run.read_metrics()


def test_a_file_is_replaced_as_a_whole_or_not_at_all(tmp_path):
    path = tmp_path / "figures" / "loss.png"
    with replacing(path) as partial:
        partial.write_text("old")
        assert partial.suffix == ".png" and not path.exists()
    with pytest.raises(ZeroDivisionError), replacing(path) as partial:
        partial.write_text("new")
        raise ZeroDivisionError
    assert path.read_text() == "old" and os.listdir(path.parent) == ["loss.png"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_ask_to_stop_and_handlers_come_back(tmp_path, number, capfd):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with stop_on_signals() as stop, Run.open(tmp_path, "wake", "demo", Settings(), 0, stop) as run:
        assert not run.stop_requested and not run.checkpoint_due()
        run.leave_if_asked()
        os.kill(os.getpid(), number)
        assert run.stop_requested and run.checkpoint_due() and stop.signal == number
        assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL, "a second SIGINT leaves at once"
        with pytest.raises(Interrupted):
            run.leave_if_asked()
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert "Stopping" in capfd.readouterr().err


def test_checkpoints_are_due_by_the_clock(tmp_path):
    with opened(tmp_path) as run:
        time.sleep(0.05)
        assert run.checkpoint_due(0.05) and not run.checkpoint_due(60.0)
        run.save_checkpoint("state", 1)
        assert not run.checkpoint_due(0.05)
        run.stop = StopRequest(signal.SIGTERM)
        assert run.checkpoint_due(60.0)


def test_progress_off_a_terminal_is_an_occasional_line(capsys):
    with progress("training", total=5, done=2) as advance:
        for _ in range(3):
            advance(note="loss 0.1")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("training: 5/5, ") and lines[0].endswith("loss 0.1")


def test_progress_on_a_terminal_shows_rate_and_note(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "200")
    with progress("training [1]", total=5) as advance:
        advance(5, note="loss [0.1]")
    shown = capsys.readouterr().err
    assert "training [1]" in shown and "5/5" in shown and "/s" in shown and "loss [0.1]" in shown
