"""What `train(after_update=...)` may call: a bar, TensorBoard, or several in turn."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from diffphys.errors import optional
from diffphys.progress import ProgressBar


AfterUpdate = Callable[[Any, int, float], None]


def show_training(description: str = "training") -> AfterUpdate:
    """A bar with rate, remaining time and loss on standard error: `train(..., after_update=show_training())`."""
    bar = ProgressBar(description)

    def after_update(progress: Any, number: int, loss: float) -> None:
        total = len(progress.losses)
        if number == 0 or not bar.shown:  # a training that goes on begins in the middle
            bar(0, total)
        bar(number + 1, total, f"loss {loss:.2e}")

    return after_update


def log_to_tensorboard(directory: str | Path, every: int = 1) -> AfterUpdate:
    """Write the loss, the steps per second and the updates left out where TensorBoard reads them.

        train(hybrid, data, after_update=learning.log_to_tensorboard("runs/tensorboard"))

    and `tensorboard --logdir runs/tensorboard` beside it.

    Args:
        directory: Where it writes.
        every: After every so many updates.

    Raises:
        InputError: if TensorBoard is not installed; the extra `tensorboard` brings it.
    """
    writer = optional("log_to_tensorboard", "tensorboard.summary", "tensorboard").Writer(str(directory))
    before = (time.monotonic(), -1)

    def after_update(progress: Any, number: int, loss: float) -> None:
        nonlocal before
        last = number + 1 == len(progress.losses)
        if (number + 1) % every and not last:
            return
        now = (time.monotonic(), number)
        writer.add_scalar("loss", loss, step=number + 1)
        writer.add_scalar("updates per second", (now[1] - before[1]) / max(now[0] - before[0], 1e-9), step=number + 1)
        writer.add_scalar("updates left out", int(progress.skipped), step=number + 1)
        before = now
        if last:
            writer.flush()

    return after_update


def in_turn(*callbacks: AfterUpdate) -> AfterUpdate:
    """One callback that calls several: `after_update=in_turn(show_training(), log_to_tensorboard("logs"))`."""

    def after_update(progress: Any, number: int, loss: float) -> None:
        for callback in callbacks:
            callback(progress, number, loss)

    return after_update
