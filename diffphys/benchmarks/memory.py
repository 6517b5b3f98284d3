"""Memory of the gradient through many steps of the wake, for each adjoint, by the compiler's own analysis.

With `Checkpointed` the program also runs, so that the time for each step shows what the memory saved has cost; the
error is the relative difference of the gradient from that of `StoreAll`, where both ran.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from diffphys.benchmarks.benchmark import Row, benchmark
from diffphys.benchmarks.rows import half_square
from diffphys.benchmarks.timing import compiled
from diffphys.benchmarks.wake import advancing, developed, wake
from diffphys.runs import Run, alternate, setting
from diffphys.stepping import Checkpointed, Detached, StoreAll, Truncated


ADJOINTS: dict[str, Any] = {
    "Checkpointed": Checkpointed(),
    "StoreAll": StoreAll(),
    "Truncated(10)": Truncated(10),
    "Detached": Detached(),
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of the benchmark."""

    resolution: int = setting(32, help="cells across the stream", minimum=8)
    lengths: tuple[int, ...] = setting((10, 100, 1000, 10000), help="steps in a rollout", minimum=1)
    most_run: int = setting(100, help="up to how many steps StoreAll runs, too", minimum=0)


def measure(settings: Settings, run: Run) -> list[Row]:
    """Compile the gradient of each adjoint for each number of steps; run those that are affordable."""
    flow = wake(settings.resolution)
    start = developed(flow)
    values = tuple(part.values for part in start.velocity)
    rows = []
    for steps in settings.lengths:
        programs = {}
        for name, adjoint in ADJOINTS.items():
            run.leave_if_asked()
            advance = advancing(flow, start, adjoint)
            programs[name] = compiled(
                lambda values, advance=advance, steps=steps: jax.grad(lambda v: half_square(advance(v, steps)))(values),
                values,
            )
        runs = {name: programs[name] for name in ("Checkpointed", "StoreAll") if _affordable(name, steps, settings)}
        times = alternate(runs, 0.0)
        results = {name: program() for name, program in runs.items()}
        for name, program in programs.items():
            median, fastest = times.get(name, (None, None))
            rows.append(
                Row(
                    f"{steps} steps",
                    steps,
                    "gradient",
                    name,
                    None if median is None else 1e3 * median / steps,
                    None if fastest is None else 1e3 * fastest / steps,
                    compile_seconds=program.compile_seconds,
                    scratch_megabytes=program.scratch_megabytes,
                    error=_difference(results) if name == "Checkpointed" and len(results) == 2 else None,
                    error_is="from StoreAll",
                )
            )
    return rows


def _affordable(name: str, steps: int, settings: Settings) -> bool:
    return name == "Checkpointed" or steps <= settings.most_run


def _difference(results: dict[str, Any]) -> float:
    first, second = results.values()
    largest = max(float(jnp.max(jnp.abs(part))) for part in second)
    return max(float(jnp.max(jnp.abs(a - b))) for a, b in zip(first, second, strict=True)) / largest


PROGRAM = benchmark("memory", Settings, {"quick": {"resolution": 8, "lengths": (2, 4)}}, measure)
