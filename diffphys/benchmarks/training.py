"""One update of the wake's training: 49,442 numbers, 32x64 cells, batch 3, unrolled n steps with gradients.

The data are random frames: an update costs the same on them. The first update compiles; its time less the median is
given as the time to compile.
"""

import dataclasses
import statistics
import time
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax

from diffphys.benchmarks.benchmark import Row, benchmark
from diffphys.benchmarks.wake import wake
from diffphys.learning import Corrected, Trajectories, train
from diffphys.nets import ResNet
from diffphys.runs import Run, setting


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of the benchmark."""

    resolution: int = setting(32, help="cells across the stream", minimum=8)
    unroll: tuple[int, ...] = setting((1, 4, 32), help="unrolled steps", minimum=1)
    batch: int = setting(3, help="windows per update", minimum=1)
    updates: int = setting(12, help="updates that are timed", minimum=1)
    features: int = setting(32, help="channels of the network", minimum=1)


def seconds_of_updates(settings: Settings, unroll: int) -> Sequence[float]:
    """The seconds of each update, the first one with compilation."""
    flow = wake(settings.resolution)
    start = flow.initial_state()
    generator = np.random.default_rng(0)
    frames = {
        str(axis): np.float32(part.values)
        + 0.01 * generator.standard_normal((2, unroll + 4, *part.shape)).astype(np.float32)
        for axis, part in enumerate(start.velocity)
    }
    network = ResNet(
        3,
        2,
        features=settings.features,
        blocks=3,
        kernel_size=3,
        first=False,
        last_kernel_size=1,
        skip="convolution",
        key=jax.random.key(0),
    )
    corrected = Corrected(flow, network, conditioning=lambda solver: [solver.viscosity])

    def state_of(frame):
        velocity = tuple(part.with_values(frame[str(axis)]) for axis, part in enumerate(start.velocity))
        return dataclasses.replace(start, velocity=velocity)

    times = [time.perf_counter()]
    train(
        corrected,
        Trajectories(jax.tree.map(jnp.asarray, frames)),
        unroll=unroll,
        updates=settings.updates + 1,
        batch=settings.batch,
        optimizer=optax.adam(1e-4),
        start=state_of,
        observe=lambda state: {str(axis): part.values for axis, part in enumerate(state.velocity)},
        after_update=lambda progress, number, loss: times.append(time.perf_counter()),
    )
    return list(np.diff(times))


def measure(settings: Settings, run: Run) -> list[Row]:
    """Time updates for each number of unrolled steps, one after the other: an update holds both cores."""
    rows = []
    for unroll in settings.unroll:
        run.leave_if_asked()
        first, *later = seconds_of_updates(settings, unroll)
        median = statistics.median(later)
        rows.append(
            Row(
                f"n = {unroll}",
                unroll,
                f"update, batch {settings.batch}",
                milliseconds=1e3 * median,
                fastest=1e3 * min(later),
                compile_seconds=first - median,
            )
        )
    return rows


PROGRAM = benchmark(
    "training", Settings, {"quick": {"resolution": 8, "unroll": (1,), "updates": 2, "features": 4}}, measure
)
