"""Comparing optimizers: every arm trains for the same time, from the same networks, and is measured on the way.

An arm is a start and an update of a pytree of arrays, so that a state between any two updates can be saved, and the
state after n updates has the same bits however often it was interrupted. Only where an arm *stops* depends on the
machine when it is stopped by its time; give a limit of updates to have that, too, the same everywhere.

Seconds are those of the clock on the wall. Where a machine has other work as well, those say little, and one arm may be
luckier than the next: with `clock=processor` a second is one of the processor's work for this process, all cores
together.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter
from rich.table import Table

from diffphys.errors import InputError
from diffphys.inversion import half_inverse_gradients, value_and_output_gradient
from diffphys.plots import COLORS, DPI, WIDTH
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


@dataclasses.dataclass(frozen=True)
class Arm:
    """One way to train.

    Attributes:
        start: from a random key to the first state, a pytree of arrays. Arms that are compared use the key alike.
        update: one update of the state; traced.
        network: from a state to what is measured, the network.
    """

    start: Callable[[Array], Any]
    update: Callable[[Any], Any]
    network: Callable[[Any], Any]


class Training(NamedTuple):
    """The state of an arm that trains a network.

    Attributes:
        trainable: the network's inexact arrays.
        optimizer_state: the optimizer's.
        key: a random key; update n uses `fold_in(key, n)`.
        count: updates made.
    """

    trainable: Any
    optimizer_state: Any
    key: Array
    count: Array


MakeNetwork = Callable[[Array], Any]
Batch = Callable[[Array, Array], Any]


def training_arm(
    make_network: MakeNetwork,
    batch: Batch,
    init: Callable[[Any], Any],
    changes: Callable[[Any, Any, Any, Any], tuple[Any, Any]],
) -> Arm:
    """Training a network on batches.

    Args:
        make_network: from a random key to the network.
        batch: from a random key and the number of updates made to the samples of the next.
        init: from the network's trainable arrays to the optimizer's first state.
        changes: `changes(network, trainable, samples, optimizer_state)`, from the network and its trainable arrays to
            the update of the arrays and the optimizer's next state.
    """

    def start(key: Array) -> Training:
        trainable = eqx.filter(make_network(key), eqx.is_inexact_array)
        return Training(trainable, init(trainable), jax.random.fold_in(key, 1), jnp.zeros((), jnp.int32))

    def network(state: Training) -> Any:
        return eqx.combine(state.trainable, _static(make_network))

    def update(state: Training) -> Training:
        samples = batch(jax.random.fold_in(state.key, state.count), state.count)
        change, optimizer_state = changes(network(state), state.trainable, samples, state.optimizer_state)
        return Training(eqx.apply_updates(state.trainable, change), optimizer_state, state.key, state.count + 1)

    return Arm(start, update, network)


def gradient_arm(
    make_network: MakeNetwork,
    batch: Batch,
    loss: Callable[[Any, Any], Array],
    optimizer: optax.GradientTransformation,
) -> Arm:
    """Training by the gradient of `loss(network, batch)`, and any Optax optimizer.

    Args:
        make_network: from a random key to the network.
        batch: from a random key and the number of updates made to the samples of the next.
        loss: a number; the proxy loss of scale-invariant training is one.
        optimizer: any.
    """

    def changes(network: Any, trainable: Any, samples: Any, state: Any) -> tuple[Any, Any]:
        return optimizer.update(eqx.filter_grad(lambda net: loss(net, samples))(network), state, trainable)

    return training_arm(make_network, batch, optimizer.init, changes)


def half_inverse_arm(
    make_network: MakeNetwork,
    batch: Batch,
    function: Callable[[Any, Any], Any],
    loss: Callable[[Any, Any], Array],
    **options: Any,
) -> Arm:
    """Training by J^kappa; see `diffphys.inversion.half_inverse_gradients` for the options.

    Args:
        make_network: from a random key to the network.
        batch: from a random key and the number of updates made to the samples of the next.
        function: from network and one sample to the outputs.
        loss: `loss(outputs, samples)`, a number.
        **options: of `half_inverse_gradients`.
    """
    optimizer = half_inverse_gradients(**options)

    def changes(network: Any, trainable: Any, samples: Any, state: Any) -> tuple[Any, Any]:
        del trainable
        _, gradient = value_and_output_gradient(loss, function, network, samples)
        return optimizer.update(gradient, state, network, function=function, samples=samples)

    return training_arm(make_network, batch, optimizer.init, changes)


def _static(make_network: MakeNetwork) -> Any:
    """What of a network is no trainable array, and so the same for every key."""
    shaped = eqx.filter_eval_shape(make_network, jax.random.key(0))
    return eqx.partition(shaped, lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct))[1]


def in_fixed_order(samples: Any, size: int) -> Batch:
    """Batches of a data set, one after the other, the same in every epoch, as the half-inverse papers train."""
    count = jax.tree.leaves(samples)[0].shape[0] // size

    def batch(key: Array, update: Array) -> Any:
        del key
        start = (update % count) * size
        return jax.tree.map(lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, start, size), samples)

    return batch


@dataclasses.dataclass(frozen=True)
class HalfInverse(Budget):
    """The settings of experiments that compare half-inverse gradients on a data set."""

    half_inverse_batch: int = setting(128, help="batch of half-inverse gradients and Gauss-Newton", minimum=1)
    half_inverse_rate: float = setting(1.0, help="eta of half-inverse gradients and Gauss-Newton", above=0.0)
    truncation: float = setting(1e-6, help="relative truncation of singular values", minimum=0.0, maximum=0.5)
    adam_batch: int = setting(512, help="batch of Adam", minimum=1)
    adam_rate: float = setting(3e-4, help="learning rate of Adam", above=0.0)


def half_inverse_arms(
    settings: HalfInverse,
    make_network: MakeNetwork,
    training: Any,
    function: Callable[[Any, Any], Any],
    loss: Callable[[Any, Any], Array],
) -> dict[str, Arm]:
    """Half-inverse gradients, Gauss-Newton and Adam, each with its batches of a data set in a fixed order."""
    few, many = (in_fixed_order(training, size) for size in (settings.half_inverse_batch, settings.adam_batch))
    options: dict[str, Any] = dict(learning_rate=settings.half_inverse_rate, truncation=settings.truncation)

    def objective(network: Any, samples: Any) -> Array:
        return loss(jax.vmap(lambda one: function(network, one))(samples), samples)

    return {
        "half-inverse": half_inverse_arm(make_network, few, function, loss, kappa=-0.5, **options),
        "gauss-newton": half_inverse_arm(make_network, few, function, loss, kappa=-1.0, **options),
        "adam": gradient_arm(make_network, many, objective, optax.adam(settings.adam_rate)),
    }


# ------------------------------------------------------------------------------------------------------ the loop


def compare(
    run: Run,
    arms: Mapping[str, Arm],
    budget: Budget,
    *,
    measure: Callable[[Any], Mapping[str, Array]],
    published: Mapping[str, Mapping[str, Any]] | None = None,
    more: Mapping[str, Any] | None = None,
    points: Sequence[int] = (),
) -> dict[str, Arm]:
    """Train the arms that are asked for, for all seeds, and write metrics.json.

    Seconds count compiling and training, not measuring. An arm is compiled once, and every seed is charged for it.
    Measured is at the start, then each time the number of updates has grown by a fifth, and at the end.

    Args:
        run: where everything is saved.
        arms: by name.
        budget: the same for all of them.
        measure: from a network to named numbers or lists, of which the number "error" is compared.
        published: figures of the paper for arms, by the names of `metrics.json`.
        more: other metrics.
        points: numbers of updates at which to measure, too.

    Returns:
        The arms that were trained; the first network of each stands in the checkpoint of `first_network`.

    Raises:
        InputError: there is no arm of a name that was asked for.
    """
    for name in budget.arms:
        if name != "all" and name not in arms:
            raise InputError(f'arms: there is no arm "{name}": {nearest(name, [*arms, "all"])}')
    arms = {name: arm for name, arm in arms.items() if name in budget.arms or "all" in budget.arms}
    work = [(name, seed) for seed in range(budget.seeds) for name in arms]
    programs = {name: _Program(arm, budget.clock) for name, arm in arms.items()}
    finished: dict[str, list[dict[str, Any]]] = {name: [] for name in arms}
    measured = eqx.filter_jit(measure)
    with run.progress("training", total=len(work)) as advance:
        for name, seed in work:
            record = _train(run, f"{name}-{seed}", programs[name], seed, budget, measured, points)
            finished[name].append(record)
            summary = {arm: _summary(records) for arm, records in finished.items() if records}
            run.write_metrics({"arms": summary, "paper": {"arms": published or {}}, **(more or {})})
            advance(note=f"{name}: {_short(record['curve']['error'][-1])}")
    return arms


def first_network(run: Run, name: str, arm: Arm) -> Any:
    """What an arm has trained from the first seed."""
    return arm.network(run.load_checkpoint(f"{name}-0", arm.start(jax.random.key(0))))


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
    name: str,
    program: _Program,
    seed: int,
    budget: Budget,
    measured: Callable[[Any], Mapping[str, Array]],
    points: Sequence[int],
) -> dict[str, Any]:
    """One training; its record is what the checkpoint says beside the state."""
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
        _note(record, measured(program.arm.network(state)))
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
        _note(record, measured(program.arm.network(state)))
        # From numbers that are not finite no update leads back.
        if not np.isfinite(record["curve"]["error"][-1]):
            break
    record["done"] = True
    run.save_checkpoint(name, state, record)
    run.leave_if_asked()
    return record


def _note(record: dict[str, Any], numbers: Mapping[str, Array]) -> None:
    """Add a point to the curve."""
    for key, value in (("updates", record["updates"]), ("seconds", record["seconds"]), *numbers.items()):
        record["curve"].setdefault(key, []).append(np.asarray(value).tolist())


def _summary(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What metrics.json says of an arm: medians over the seeds, and every seed's curve."""
    curves = [record["curve"] for record in records]
    finals = [_number(curve["error"][-1]) for curve in curves]
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
        values = [[_number(curve[key][i]) for i in row] for curve, row in zip(curves, rows, strict=True)]
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


def _number(value: float | None) -> float:
    """None stands in files for a number that was not finite."""
    return float("nan") if value is None else value


# -------------------------------------------------------------------------------------------------- what is shown


def show(run: Run, *, label: str = "error", columns: Mapping[str, str] | None = None) -> Table:
    """Save the figure of all curves and return the table of the last errors.

    Args:
        run: a run whose metrics were written by `compare`.
        label: what the error is.
        columns: heading to the name of another measured number, shown as the median of its last values.
    """
    columns = columns or {}
    metrics = run.read_metrics()
    published = metrics["paper"]["arms"]
    run.save_figure("curves.png", curves_figure(metrics["arms"], published, label))
    table = Table(
        "arm", f"{label}, median", "all seeds", "updates", "seconds", "published", *columns, title=run.program
    )
    for name, arm in metrics["arms"].items():
        paper = published.get(name, {}).get("final_error")
        seeds = ", ".join(_short(value) for value in arm["final_errors"])
        last = [_short(float(np.median([_number(c[key][-1]) for c in arm["curves"]]))) for key in columns.values()]
        numbers = (str(arm["updates"]), f"{arm['seconds']:.1f}", _short(paper))
        table.add_row(name, _short(arm["final_error"]), seeds, *numbers, *last)
    return table


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def curves_figure(
    arms: Mapping[str, Mapping[str, Any]], published: Mapping[str, Mapping[str, Any]], label: str
) -> Figure:
    """The error of all arms over seconds and over updates: the median of the seeds, and a band over all of them; stars
    are published errors whose seconds are known, on another machine.
    """
    figure = Figure(figsize=(WIDTH, 3.4), dpi=DPI, layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for panel, axis in zip(panels, ("seconds", "updates"), strict=True):
        for number, (name, arm) in enumerate(arms.items()):
            line: dict[str, Any] = {
                "color": COLORS[number % len(COLORS)],
                "linestyle": ("-", "--", ":")[number // len(COLORS) % 3],
            }
            points, low, middle, high = _band(arm["curves"], axis)
            panel.plot(points, middle, label=name, linewidth=1.3, **line)
            if len(arm["curves"]) > 1:
                panel.fill_between(points, low, high, color=line["color"], alpha=0.2, linewidth=0)
            paper = published.get(name, {})
            if axis == "seconds" and {"seconds", "final_error"} <= paper.keys():
                panel.plot(paper["seconds"], paper["final_error"], "*", color=line["color"], markersize=9)
        panel.set_xscale("log")
        panel.set_yscale("log")
        # Plain numbers between powers of ten, and only where those are few.
        panel.xaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1.0, 0.4)))
        panel.set_xlabel("seconds, with compiling" if axis == "seconds" else axis)
        panel.grid(alpha=0.3)
    panels[0].set_ylabel(label)
    panels[1].legend(fontsize=7)
    return figure


def _band(curves: Sequence[Mapping[str, Any]], axis: str) -> tuple[np.ndarray, ...]:
    """Points of an axis that all curves reach, and there the smallest, the median and the largest error."""
    positions = [np.asarray(curve[axis], float) for curve in curves]
    errors = [np.asarray([_number(error) for error in curve["error"]]) for curve in curves]
    first = max(max(position[0], position[1] * 0.5) for position in positions)
    last = min(position[-1] for position in positions)
    points = np.geomspace(first, max(last, first * 1.01), 200)
    values = np.stack([np.interp(points, p, e) for p, e in zip(positions, errors, strict=True)])
    return points, values.min(0), np.median(values, 0), values.max(0)
