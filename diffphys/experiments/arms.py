"""Comparing optimizers: every arm trains for the same time, from the same networks, and is measured on the way.

An arm is a start and an update of a pytree of arrays, so that a state between any two updates can be saved, and the
state after n updates has the same bits however often it was interrupted. Only where an arm *stops* depends on the
machine when it is stopped by its time; give a limit of updates to have that, too, the same everywhere.
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
from rich.table import Table

from diffphys.inversion import half_inverse_gradients, value_and_output_gradient
from diffphys.plots import COLORS, DPI, WIDTH
from diffphys.runs import Run


LONGEST_CALL = 5.0  # seconds that one compiled call may take, so that a signal is answered soon


@dataclasses.dataclass(frozen=True)
class Arm:
    """One way to train.

    Attributes:
        start: from a random key to the first state, a pytree of arrays. Arms that are compared use the key alike.
        update: one update of the state; traced.
    """

    start: Callable[[Array], Any]
    update: Callable[[Any], Any]


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


def network_of(make_network: MakeNetwork, state: Training) -> Any:
    """The network that a state holds the arrays of."""
    return eqx.combine(state.trainable, _static(make_network))


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

    def update(state: Training) -> Training:
        network = network_of(make_network, state)
        samples = batch(jax.random.fold_in(state.key, state.count), state.count)
        gradient = eqx.filter_grad(lambda net: loss(net, samples))(network)
        changes, optimizer_state = optimizer.update(gradient, state.optimizer_state, state.trainable)
        return Training(eqx.apply_updates(state.trainable, changes), optimizer_state, state.key, state.count + 1)

    return Arm(lambda key: _begin(make_network, optimizer, key), update)


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

    def update(state: Training) -> Training:
        network = network_of(make_network, state)
        samples = batch(jax.random.fold_in(state.key, state.count), state.count)
        _, gradient = value_and_output_gradient(loss, function, network, samples)
        changes, optimizer_state = optimizer.update(
            gradient, state.optimizer_state, network, function=function, samples=samples
        )
        return Training(eqx.apply_updates(state.trainable, changes), optimizer_state, state.key, state.count + 1)

    return Arm(lambda key: _begin(make_network, optimizer, key), update)


def _begin(make_network: MakeNetwork, optimizer: Any, key: Array) -> Training:
    trainable = eqx.filter(make_network(key), eqx.is_inexact_array)
    return Training(trainable, optimizer.init(trainable), jax.random.fold_in(key, 1), jnp.zeros((), jnp.int32))


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


# ------------------------------------------------------------------------------------------------------ the loop


def compare(
    run: Run,
    arms: Mapping[str, Arm],
    *,
    seeds: int,
    seconds: float,
    updates: int,
    measure: Callable[[Any], Mapping[str, Array]],
    published: Mapping[str, Mapping[str, Any]] | None = None,
    more: Mapping[str, Any] | None = None,
    points: Sequence[int] = (),
) -> None:
    """Train all arms for all seeds and write metrics.json.

    Seconds count compiling and training, not measuring. Measured is at the start, then each time the number of updates
    has grown by a fifth, and at the end.

    Args:
        run: where everything is saved.
        arms: by name.
        seeds: how many networks are trained for each arm.
        seconds: after which a training stops.
        updates: after which a training stops.
        measure: from a state to named numbers, of which "error" is compared.
        published: figures of the paper for arms, by the names of `metrics.json`.
        more: other metrics.
        points: numbers of updates at which to measure, too.
    """
    work = [(seed, name) for seed in range(seeds) for name in arms]
    finished: dict[str, list[dict[str, Any]]] = {name: [] for name in arms}
    with run.progress("training", total=len(work)) as advance:
        for seed, name in work:
            record = _train(run, f"{name}-{seed}", arms[name], seed, seconds, updates, measure, points)
            finished[name].append(record)
            summary = {arm: _summary(records) for arm, records in finished.items() if records}
            run.write_metrics({"arms": summary, "paper": {"arms": published or {}}, **(more or {})})
            advance(note=f"{name}: {record['curve']['error'][-1]:.3g}")


def _train(
    run: Run,
    name: str,
    arm: Arm,
    seed: int,
    seconds: float,
    updates: int,
    measure: Callable[[Any], Mapping[str, Array]],
    points: Sequence[int],
) -> dict[str, Any]:
    """One training; its record is what the checkpoint says beside the state."""
    state = arm.start(jax.random.fold_in(jax.random.key(run.seed), seed))
    record: dict[str, Any] = {"seconds": 0.0, "updates": 0, "compile_seconds": 0.0, "curve": {}, "done": False}
    if run.has_checkpoint(name):
        record = run.checkpoint_metadata(name)
        state = run.load_checkpoint(name, state)
    if record["done"]:
        return record

    began = time.perf_counter()
    advance = (
        jax.jit(lambda state, count: jax.lax.fori_loop(0, count, lambda _, now: arm.update(now), state))
        .lower(state, 1)
        .compile()
    )
    if not record["updates"]:
        record["compile_seconds"] = record["seconds"] = time.perf_counter() - began
    measured = jax.jit(measure)
    if not record["curve"]:
        _note(record, measured(state))
    pace = 0.0  # seconds for an update
    # The first update is made even where compiling took all the time.
    while record["updates"] == 0 or (record["updates"] < updates and record["seconds"] < seconds):
        last = record["curve"]["updates"][-1]
        goal = min([updates, max(last + 1, int(1.2 * last)), *(point for point in points if point > last)])
        while record["updates"] == 0 or (record["updates"] < goal and record["seconds"] < seconds):
            # Not beyond the time, and never so long that a signal has to wait.
            affordable = min(LONGEST_CALL, max(seconds - record["seconds"], 0.0)) / pace if pace else 1
            count = max(1, min(goal - record["updates"], int(affordable)))
            began = time.perf_counter()
            state = jax.block_until_ready(advance(state, count))
            spent = time.perf_counter() - began
            pace = spent / count
            record["seconds"] += spent
            record["updates"] += count
            if run.stop_requested:
                run.save_checkpoint(name, state, record)
                run.leave_if_asked()
        _note(record, measured(state))
        if run.checkpoint_due():
            run.save_checkpoint(name, state, record)
    record["done"] = True
    run.save_checkpoint(name, state, record)
    run.leave_if_asked()
    return record


def _note(record: dict[str, Any], numbers: Mapping[str, Array]) -> None:
    """Add a point to the curve."""
    for key, value in (("updates", record["updates"]), ("seconds", record["seconds"]), *numbers.items()):
        record["curve"].setdefault(key, []).append(value if isinstance(value, (int, float)) else float(value))


def _summary(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What metrics.json says of an arm: the median over the seeds, and every seed's curve."""
    finals = [record["curve"]["error"][-1] for record in records]
    return {
        "final_error": float(np.median(finals)),
        "final_errors": finals,
        "seconds": float(np.median([record["seconds"] for record in records])),
        "updates": int(np.median([record["updates"] for record in records])),
        "compile_seconds": [record["compile_seconds"] for record in records],
        "curves": [record["curve"] for record in records],
    }


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
    run.save_figure("curves.png", curves_figure(metrics["arms"], label))
    table = Table(
        "arm", f"{label}, median", "all seeds", "updates", "seconds", "published", *columns, title=run.experiment
    )
    for name, arm in metrics["arms"].items():
        paper = published.get(name, {}).get("final_error")
        seeds = ", ".join(_short(value) for value in arm["final_errors"])
        last = [_short(float(np.median([c[key][-1] for c in arm["curves"]]))) for key in columns.values()]
        numbers = (str(arm["updates"]), f"{arm['seconds']:.1f}", _short(paper))
        table.add_row(name, _short(arm["final_error"]), seeds, *numbers, *last)
    return table


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def curves_figure(arms: Mapping[str, Mapping[str, Any]], label: str) -> Figure:
    """The error of all arms over seconds and over updates: the median of the seeds, and a band over all of them."""
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
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.set_xlabel("seconds, with compiling" if axis == "seconds" else axis)
        panel.grid(alpha=0.3)
    panels[0].set_ylabel(label)
    panels[1].legend(fontsize=7)
    return figure


def _band(curves: Sequence[Mapping[str, Any]], axis: str) -> tuple[np.ndarray, ...]:
    """Points of an axis that all curves reach, and there the smallest, the median and the largest error."""
    positions = [np.asarray(curve[axis], float) for curve in curves]
    # None stands for a number that was not finite.
    errors = [np.asarray([np.nan if e is None else e for e in curve["error"]], float) for curve in curves]
    first = max(max(position[0], position[1] * 0.5) for position in positions)
    last = min(position[-1] for position in positions)
    points = np.geomspace(first, max(last, first * 1.01), 200)
    values = np.stack([np.interp(points, p, e) for p, e in zip(positions, errors, strict=True)])
    return points, values.min(0), np.median(values, 0), values.max(0)
