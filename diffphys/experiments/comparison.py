"""Comparing optimizers: every arm trains for the same time, from the same networks, and is measured on the way.

An arm is a start and an update of a pytree of arrays, so that a state between any two updates can be saved, and the
state after n updates has the same bits however often it was interrupted. Only where an arm *stops* depends on the
machine when it is stopped by its time; give a limit of updates to have that, too, the same everywhere.

Seconds are those of the clock on the wall, unless `clock=processor`: then a second is one of the processor's work for
this process, all cores together. Where a machine has other work as well, seconds on the wall say little, and one arm
may be luckier than the next; that is why the `demo` presets count the processor's.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import equinox as eqx
import jax
import numpy as np
import xarray
from jax import Array

from diffphys.errors import InputError
from diffphys.exchange import to_xarray
from diffphys.grids import Field, Grid
from diffphys.runs import Run, nearest, setting


LONGEST_CALL = 5.0  # seconds that one compiled call may take, so that a signal is answered soon
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}


@dataclasses.dataclass(frozen=True)
class Budget:
    """How long and how often every arm trains: what the settings of all experiments on updates begin with."""

    seconds: float = setting(60.0, help="training time of each arm and seed, with compiling", above=0.0)
    updates: int = setting(10_000_000, help="updates of each arm at most", minimum=1)
    seeds: int = setting(3, help="networks trained for each arm", minimum=1)
    clock: str = setting(
        "wall", help="whose seconds: on a shared machine the processor's say more", choices=tuple(CLOCKS)
    )
    arms: tuple[str, ...] = setting(("all",), help="names of the arms to train, or all")


def duration(run: Run) -> str:
    """How long a comparison takes at most, in words."""
    clock = " of the processor's time" if run.settings.clock == "processor" else ""
    seeds = f" and each of {run.settings.seeds} seeds" if run.settings.seeds > 1 else ""
    return f"at most {run.settings.seconds:g} s{clock} for each arm{seeds}"


@dataclasses.dataclass(frozen=True)
class Arm:
    """One way to train.

    Attributes:
        start: From a random key to the first state, a pytree of arrays. Arms that are compared use the key alike.
        update: One update of the state; traced.
        network: From a state to what is measured, the network.
    """

    start: Callable[[Array], Any]
    update: Callable[[Any], Any]
    network: Callable[[Any], Any]


def compare(
    run: Run,
    arms: Mapping[str, Arm],
    budget: Budget,
    *,
    measure: Callable[[Any], Mapping[str, Array]],
    published: Mapping[str, Mapping[str, Any]] | None = None,
    more: Mapping[str, Any] | None = None,
    points: Sequence[int] = (),
    answers: Callable[[Any], xarray.Dataset] | None = None,
    truth: xarray.Dataset | None = None,
) -> dict[str, Arm]:
    """Train the arms that are asked for, for all seeds, and write metrics.json.

    Seconds count compiling and training, not measuring. An arm is compiled once, and every seed is charged for it.
    Measured is at the start, then each time the number of updates has grown by a fifth, and at the end.

    Args:
        run: Where everything is saved.
        arms: By name.
        budget: The same for all of them.
        measure: From a network to named numbers or lists, of which the number "error" is compared.
        published: Figures of the paper for arms, by the names of `metrics.json`.
        more: Other metrics.
        points: Numbers of updates at which to measure, too.
        answers: From a network to what it makes of a few cases, for `diffphys view`, as `shown_on` makes it; of the
            first seed's.
        truth: The same of what is looked for.

    Returns:
        The arms that were trained; the first network of each stands in the checkpoint of `first_network`.

    Raises:
        InputError: there is no arm of a name that was asked for.
    """
    for name in budget.arms:
        if name != "all" and name not in arms:
            raise InputError(f'arms: there is no arm "{name}"{nearest(name, [*arms, "all"])}')
    arms = {name: arm for name, arm in arms.items() if name in budget.arms or "all" in budget.arms}
    work = [(name, seed) for seed in range(budget.seeds) for name in arms]
    programs = {name: _Program(arm, budget.clock) for name, arm in arms.items()}
    finished: dict[str, list[dict[str, Any]]] = {name: [] for name in arms}
    measured = eqx.filter_jit(measure)
    if truth is not None:
        run.save_frames("truth", truth)
    with run.progress("training", total=len(work)) as advance:
        for name, seed in work:
            record = _train(run, name, programs[name], seed, budget, measured, points)
            finished[name].append(record)
            if answers is not None and seed == 0:
                run.save_frames(name, answers(first_network(run, name, arms[name])))
            results = {arm: summary(records) for arm, records in finished.items() if records}
            run.write_metrics({"arms": results, "paper": {"arms": published or {}}, **(more or {})})
            advance(note=f"{name}: {in_short(record['curve']['error'][-1])}")
    return arms


def first_network(run: Run, name: str, arm: Arm) -> Any:
    """What an arm has trained from the first seed."""
    return arm.network(run.load_checkpoint(f"{name}-0", arm.start(jax.random.key(0))))


def shown_on(grid: Grid, arrays: Mapping[str, Array], times: Any = None) -> xarray.Dataset:
    """Values at the cell centers, (cases, *cells) or (cases, times, *cells) by name, for `diffphys view`."""
    fields = {}
    for name, values in arrays.items():
        on_grid = partial(Field, grid=grid)
        for _ in range(values.ndim - grid.dimensions):
            on_grid = jax.vmap(on_grid)
        fields[name] = on_grid(values)
    data = to_xarray(fields, times)
    return data if "case" in data.dims or "time" not in data.dims else data.rename(time="case")


def shown_over(name: str, line: Any, arrays: Mapping[str, Array]) -> xarray.Dataset:
    """Curves over a line of numbers, (cases, numbers) by name, for `diffphys view`."""
    variables = {key: (("case", name), np.asarray(values)) for key, values in arrays.items()}
    return xarray.Dataset(variables, {name: np.asarray(line)})


class _Program:
    """An arm's updates as one compiled program, made when it is first needed."""

    def __init__(self, arm: Arm, clock: str):
        self.arm, self.clock = arm, CLOCKS[clock]
        self.compile_seconds = 0.0
        self._compiled: Any = None

    def prepare(self, state: Any) -> None:
        if self._compiled is None:
            began = self.clock()
            update = self.arm.update
            several = jax.jit(lambda state, count: jax.lax.fori_loop(0, count, lambda _, now: update(now), state))
            self._compiled = several.lower(state, 1).compile()
            self.compile_seconds = self.clock() - began

    def __call__(self, state: Any, count: int) -> tuple[Any, float]:
        """The state after so many updates, and the seconds they took."""
        began = self.clock()
        state = jax.block_until_ready(self._compiled(state, count))
        return state, self.clock() - began


def _train(
    run: Run,
    arm: str,
    program: _Program,
    seed: int,
    budget: Budget,
    measured: Callable[[Any], Mapping[str, Array]],
    points: Sequence[int],
) -> dict[str, Any]:
    """One training; its record is what the checkpoint says beside the state."""
    name = f"{arm}-{seed}"
    state = program.arm.start(jax.random.fold_in(jax.random.key(run.seed), seed))
    record: dict[str, Any] = {"seconds": 0.0, "updates": 0, "compile_seconds": 0.0, "curve": {}, "done": False}
    if run.has_checkpoint(name):
        record = run.checkpoint_metadata(name)
        state = run.load_checkpoint(name, state)
    if record["done"]:
        return record

    program.prepare(state)
    if not record["updates"]:
        record["compile_seconds"] = record["seconds"] = program.compile_seconds
    if not record["curve"]:
        note(record, measured(program.arm.network(state)))
        _draw_curve(run, arm, seed, record)
    pace = 0.0  # seconds for an update
    # The first update is made even where compiling took all the time.
    while record["updates"] == 0 or (record["updates"] < budget.updates and record["seconds"] < budget.seconds):
        last = record["curve"]["updates"][-1]
        goal = min([budget.updates, max(last + 1, int(1.2 * last)), *(point for point in points if point > last)])
        while record["updates"] == 0 or (record["updates"] < goal and record["seconds"] < budget.seconds):
            # Not beyond the time, and never so long that a signal has to wait.
            affordable = min(LONGEST_CALL, max(budget.seconds - record["seconds"], 0.0)) / pace if pace else 1
            count = max(1, min(goal - record["updates"], int(affordable)))
            state, spent = program(state, count)
            pace = max(spent, 1e-9) / count
            record["seconds"] += spent
            record["updates"] += count
            if run.stop_requested or run.checkpoint_due():
                run.save_checkpoint(name, state, record)
                run.leave_if_asked()
        note(record, measured(program.arm.network(state)))
        _draw_curve(run, arm, seed, record)
        # From numbers that are not finite no update leads back.
        if not np.isfinite(record["curve"]["error"][-1]):
            break
    record["done"] = True
    run.save_checkpoint(name, state, record)
    run.leave_if_asked()
    return record


def note(record: dict[str, Any], numbers: Mapping[str, Array]) -> None:
    """Add a point to the curve."""
    for key, value in (("updates", record["updates"]), ("seconds", record["seconds"]), *numbers.items()):
        record["curve"].setdefault(key, []).append(np.asarray(value).tolist())


def _draw_curve(run: Run, arm: str, seed: int, record: Mapping[str, Any]) -> None:
    """What was measured so far, for `diffphys view`; `updates` and then the error come first."""
    first = ("updates", "error", "seconds")
    order = [*first, *(key for key in record["curve"] if key not in first)]
    columns = {key: record["curve"][key] for key in order}
    numbers = {key: [as_number(value) for value in column] for key, column in columns.items() if not _nested(column)}
    run.save_curve("comparison", f"{arm}, seed {seed}", numbers)


def _nested(column: Sequence[Any]) -> bool:
    """Whether lists were measured, one for each problem."""
    return any(isinstance(value, list) for value in column)


def summary(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What metrics.json says of an arm: medians over the seeds, and every seed's curve."""
    curves = [record["curve"] for record in records]
    finals = [as_number(curve["error"][-1]) for curve in curves]
    return {
        "final_error": float(np.median(finals)),
        "final_errors": finals,
        "seconds": float(np.median([record["seconds"] for record in records])),
        "updates": int(np.median([record["updates"] for record in records])),
        "compile_seconds": [record["compile_seconds"] for record in records],
        "curve": _median_curve(curves),
        "curves": curves,
    }


def _median_curve(curves: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Seconds and error after those numbers of updates at which every seed was measured, medians over the seeds."""
    updates = [n for n in curves[0]["updates"] if all(n in curve["updates"] for curve in curves)]
    rows = [[curve["updates"].index(n) for n in updates] for curve in curves]

    def median(key: str) -> list[float]:
        values = [[as_number(curve[key][i]) for i in row] for curve, row in zip(curves, rows, strict=True)]
        return np.median(np.array(values, float), axis=0).tolist()

    return {"updates": updates, "seconds": median("seconds"), "error": median("error")}


def median_after(arm: Mapping[str, Any], key: str, updates: int) -> float | None:
    """What was measured of an arm after so many updates, the median over the seeds; None where one never got there."""
    found = [dict(zip(curve["updates"], curve[key], strict=True)).get(updates) for curve in arm["curves"]]
    return None if None in found else float(np.median(np.array(found, float)))


def seconds_to_pass(arms: Mapping[str, Mapping[str, Any]], arm: str, other: str) -> float | None:
    """When the median curve of an arm first lies below the best error that the other's ever had; None: never."""
    best = np.nanmin(arms[other]["curve"]["error"])
    curve = arms[arm]["curve"]
    return next((s for s, e in zip(curve["seconds"], curve["error"], strict=True) if e < best), None)


def as_number(value: float | None) -> float:
    """None stands in files for a number that was not finite."""
    return float("nan") if value is None else value


def in_short(value: float | None) -> str:
    """Three digits of a measured number, which None stands for in files where it is not finite."""
    return f"{value:.3g}" if value is not None and np.isfinite(value) else "not finite"
