"""Progress of long work: a bar with rate and remaining time on a terminal, an occasional line elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, runtime_checkable


SECONDS_BETWEEN_LINES = 30.0


@runtime_checkable
class Advance(Protocol):
    """What a work loop calls: `advance()` after each step, `advance(count)` after several, with a note if it likes."""

    def __call__(self, count: int = 1, note: str = "") -> None:
        """Count finished steps; the note (a loss, an error) is shown beside the bar."""
        ...


@contextmanager
def progress(description: str, total: int, done: int = 0) -> Iterator[Advance]:
    """Show the progress of `total` steps, of which `done` were finished by an earlier process, on standard error.

    with progress("training", total=1000) as advance:
        for update in range(1000):
            ...
            advance(note=f"loss {loss:.2e}")
    """
    display = _bar if sys.stderr.isatty() else _lines
    with display(description, total, done) as advance:
        yield advance


class ProgressBar:
    """A bar for `rollout(..., progress=...)`, on standard error; a bar with the same words is the same.

    Begins anew at each rollout. A function of one's own may stand in its place.

    Args:
        description: Words beside it.

    Examples:
        >>> final, _ = dp.rollout(lambda x: 0.9 * x, jnp.ones(2), 100, progress=dp.ProgressBar())
    """

    def __init__(self, description: str = "rollout"):
        self.description = description
        self._shown: AbstractContextManager[Advance] | None = None
        self._done = 0

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """Show that so many steps of all are made. The first call of a rollout says 0, the last one all.

        Smaller numbers in between are steps that the backward pass of a gradient computes again: they do not count.
        """
        if done == 0:
            self._close()
            self._shown, self._done = progress(self.description, total), 0
            self._advance = self._shown.__enter__()
        elif self._shown is not None and done > self._done:
            self._advance(done - self._done, note)
            self._done = done
            if done >= total:
                self._close()

    @property
    def shown(self) -> bool:
        """Whether it has begun and not ended."""
        return self._shown is not None

    def _close(self) -> None:
        if self._shown is not None:
            self._shown.__exit__(None, None, None)
            self._shown = None

    # Programs are compiled for the function that is called: equal bars share them.
    def __eq__(self, other: object) -> bool:
        return type(other) is ProgressBar and other.description == self.description

    def __hash__(self) -> int:
        return hash((ProgressBar, self.description))


@contextmanager
def _bar(description: str, total: int, done: int) -> Iterator[Advance]:
    # Who draws no bar, a simulation among them, needs no Rich and does not wait for it.
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    started = time.monotonic()
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        task = bars.add_task(description, total=total, completed=done, note="", rate="")
        finished = 0

        def advance(count: int = 1, note: str = "") -> None:
            nonlocal finished
            finished += count
            bars.update(task, advance=count, note=note, rate=_rate(finished / max(time.monotonic() - started, 1e-9)))

        yield advance


@contextmanager
def _lines(description: str, total: int, done: int) -> Iterator[Advance]:
    started = spoken = time.monotonic()
    finished = 0

    def advance(count: int = 1, note: str = "") -> None:
        nonlocal finished, spoken
        finished += count
        now = time.monotonic()
        if now - spoken >= SECONDS_BETWEEN_LINES or done + finished == total:
            spoken = now
            rate = finished / max(now - started, 1e-9)
            left = (total - done - finished) / rate
            words = (f"{description}: {done + finished}/{total}", _rate(rate), f"{left:.0f} s left", note)
            print(", ".join(filter(None, words)), file=sys.stderr, flush=True)

    yield advance


def _rate(per_second: float) -> str:
    return f"{per_second:.3g}/s" if per_second >= 1 else f"{1 / max(per_second, 1e-9):.3g} s each"
