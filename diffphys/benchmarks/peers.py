"""Peers in processes of their own, that run once when they are told to: so they can be timed in turns with us."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffphys.errors import InputError
from diffphys.runs import KEEP_FREED_MEMORY


MODULES = {"phiflow_wake": "phi", "jax_cfd_periodic": "jax_cfd", "exponax_periodic": "exponax"}
SCRIPTS = Path(__file__).parent / "peer_scripts"


def check_python(path: str) -> None:
    """Raise `InputError` unless the setting "peers_python" is empty or names a program."""
    if path and shutil.which(path) is None:
        raise InputError(f'the setting "peers_python" accepts a Python interpreter, not "{path}"')


@dataclass(frozen=True)
class Peer:
    """One of the scripts beside this file, what it is asked for, and the Python that has the peer ("": this one)."""

    script: str
    wanted: Mapping[str, Any]
    python: str = ""

    @property
    def installed(self) -> bool:
        """Whether the peer can be imported; a Python that is named is asked."""
        module = MODULES[self.script]
        if not self.python:
            return importlib.util.find_spec(module) is not None
        ask = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"
        return subprocess.run([self.python, "-c", ask], check=False).returncode == 0


@contextmanager
def peer_rows(
    *peers: Peer,
) -> Iterator[tuple[dict[tuple[str, str], Callable[[], float]], dict[str, float]]]:
    """Programs of the peers that are installed, by (who, what), and by who the error of its result.

    A peer that fails leaves its last words on standard error and is left out.
    """
    programs: dict[tuple[str, str], Callable[[], float]] = {}
    errors: dict[str, float] = {}
    processes = []
    try:
        for peer in peers:
            if not peer.installed:
                continue
            process = subprocess.Popen(
                [peer.python or sys.executable, str(SCRIPTS / f"{peer.script}.py")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                # As our own process does.
                env={**os.environ, **KEEP_FREED_MEMORY},
            )
            processes.append(process)
            try:
                print(json.dumps(dict(peer.wanted)), file=process.stdin, flush=True)
                answer = json.loads(_line(process))
            except (OSError, EOFError, ValueError):
                words = (process.stderr.read() if process.stderr else "").strip().splitlines()
                print(f"{peer.script} cannot run: {words[-1] if words else 'it ended'}", file=sys.stderr)
                continue
            if answer["error"] is not None:
                errors[answer["who"]] = answer["error"]
            for what in answer["programs"]:
                programs[answer["who"], what] = lambda process=process, what=what: _run(process, what)
        yield programs, errors
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def _run(process: subprocess.Popen, what: str) -> float:
    print(what, file=process.stdin, flush=True)
    return float(_line(process))


def _line(process: subprocess.Popen) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise EOFError
    return line
