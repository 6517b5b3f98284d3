"""Timing programs in turns, so that what else the machine does falls on all of them alike."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any


def alternate(programs: Mapping[Any, Callable[[], Any]], seconds: float) -> dict[Any, tuple[float, float]]:
    """For each program (median, fastest) seconds of its runs, taken in turns for so long, at least three rounds."""
    for program in programs.values():
        program()
    times: dict[Any, list[float]] = {name: [] for name in programs}
    started, rounds = time.perf_counter(), 0
    while rounds < 3 or time.perf_counter() - started < seconds:
        for name, program in programs.items():
            begun = time.perf_counter()
            given = program()  # a peer in another process returns the time that it measured itself
            times[name].append(given if isinstance(given, float) else time.perf_counter() - begun)
        rounds += 1
    return {name: (statistics.median(found), min(found)) for name, found in times.items()}
