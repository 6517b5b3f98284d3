"""Ctrl-C and termination: the work is asked to stop and gets the time to save itself first."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


class Interrupted(Exception):
    """Raised by work that was asked to stop, after it has saved itself."""


@dataclass
class StopRequest:
    """Whether work was asked to stop, and by which signal."""

    signal: int | None = None

    @property
    def requested(self) -> bool:
        """True once the first signal has come."""
        return self.signal is not None


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Within this block SIGINT and SIGTERM only set a request, which the work asks for between its steps.

    A second SIGINT ends the process at once; a run on disk survives that as it survives kill -9.
    The previous handlers are back when the block ends.
    """
    request = StopRequest()

    def ask_to_stop(number: int, _frame: object) -> None:
        if request.signal is None:
            request.signal = number
        # The system's own action, because a Python handler would wait for the end of a long compiled call.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        # os.write, because the interrupted code may be inside a print; ESC [?25h shows the cursor that a progress
        # bar hides, since a second SIGINT leaves no time for it.
        cursor = "\x1b[?25h" if sys.stderr.isatty() else ""
        os.write(2, f"{cursor}\nStopping as soon as the work is saved (Ctrl-C leaves at once).\n".encode())

    previous = {number: signal.signal(number, ask_to_stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
