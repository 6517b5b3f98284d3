"""What every peer's script does: read what is wanted, compile it, and run it once for each line that is read.

These scripts import the peer and this file, never diffphys, so that a peer may live in a Python of its own.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any


def serve(make: Callable[[dict], tuple[str, dict[str, Callable[[], Any]], float | None]]) -> None:
    """Answer the benchmark: `make(wanted)` returns the peer's name, its programs by what they compute, its error."""
    wanted, answers = json.loads(sys.stdin.readline()), sys.stdout
    sys.stdout = sys.stderr  # what a peer prints is no answer
    who, programs, error = make(wanted)
    for run in programs.values():
        run()
    print(json.dumps({"who": who, "programs": list(programs), "error": error}), file=answers, flush=True)
    for line in sys.stdin:
        started = time.perf_counter()
        programs[line.strip()]()
        print(time.perf_counter() - started, file=answers, flush=True)
