"""A run that was killed, interrupted or terminated goes on and ends with the same bits."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


DUMMY = Path(__file__).with_name("dummy_experiment.py")
ROOT = DUMMY.parents[2]


def start(directory, *settings):
    words = [word for text in settings for word in ("--set", text)]
    command = [sys.executable, str(DUMMY), "run", "dummy", "--out", str(directory), "--set", "updates=150", *words]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(directory):
    process = start(directory)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert not list(directory.rglob(".partial-*"))
    return out


def wait_for_a_new_checkpoint(directory, process):
    path = directory / "checkpoints" / "state.checkpoint"
    before = path.stat().st_mtime_ns if path.exists() else None
    while not path.exists() or path.stat().st_mtime_ns == before:
        assert process.poll() is None, process.communicate()
        time.sleep(0.001)


def results(directory):
    names = ("checkpoints/state.checkpoint", "metrics.json", "figures/final.png")
    return [(directory / name).read_bytes() for name in names]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs") / "uninterrupted"
    finish(directory)
    return results(directory)


def test_killed_at_random_moments(tmp_path, uninterrupted):
    directory = tmp_path / "run"
    for _ in range(3):
        process = start(directory, "pause=0.005")
        wait_for_a_new_checkpoint(directory, process)
        time.sleep(random.uniform(0.0, 0.1))
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL, "it ended before it was killed"
    finish(directory)
    assert results(directory) == uninterrupted


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_save_and_say_how_to_go_on(tmp_path, uninterrupted, number, code):
    directory = tmp_path / "run"
    process = start(directory, "pause=0.02")
    wait_for_a_new_checkpoint(directory, process)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    last = err.splitlines()[-1]
    assert f"stopped by {number.name} and saved; go on with: diffphys run dummy --preset demo --out {directory}" in last
    assert "Traceback" not in err and not (directory / "metrics.json").exists()
    finish(directory)
    assert results(directory) == uninterrupted


def test_a_second_interrupt_leaves_at_once(tmp_path):
    process = start(tmp_path / "run", "pause=3600")
    while not (tmp_path / "run" / "settings.json").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    while "Stopping" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGINT


def test_a_second_process_is_refused_and_the_first_goes_on(tmp_path):
    directory = tmp_path / "run"
    first = start(directory, "pause=0.1")
    wait_for_a_new_checkpoint(directory, first)
    second = start(directory)
    _, err = second.communicate(timeout=60)
    assert second.returncode == 2 and "in use by another diffphys process" in err and len(err.splitlines()) == 1
    assert first.poll() is None
    first.terminate()
    first.communicate(timeout=60)
    assert first.returncode == 143, "the first is not disturbed and still saves itself"
