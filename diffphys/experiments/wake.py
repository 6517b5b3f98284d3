"""Unsteady wake flow in 2D: a coarse solver that carries a network (Um et al. 2020, section 4 and appendix B.1).

A cylinder of radius 10 stands at (50, 50) in a domain of 100 x 200; the stream comes from below with speed one. The
reference solver runs on 128 x 256 cells, the source solver on 32 x 64, with one step per unit of time both. Training
sees six Reynolds numbers, testing five others. Reynolds numbers are the paper's labels: the viscosity is `6.1035 /
label`, the same on both grids.

The error is the mean over all faces of the absolute difference between a run's velocity and the reference's, both on
the coarse grid, over the frames that follow the first.
"""

import math
import time
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from rich.table import Table

from diffphys import plots
from diffphys.errors import InputError
from diffphys.grids import Box, Grid, Inflow, Open, Outflow, Sphere, Wall
from diffphys.learning import (
    Corrected,
    Normalization,
    Stage,
    Trajectories,
    half_sum_of_squares,
    load_trajectories,
    mean_absolute_error,
    save_trajectories,
    train,
    with_parameters,
)
from diffphys.learning.training import Progress, initial_progress
from diffphys.nets import ResNet, count_parameters
from diffphys.operators import coarsen, divergence
from diffphys.physics import FlowState, Held, IncompressibleFlow
from diffphys.rollout import Detached, StoreAll, rollout
from diffphys.runs import Program, Run, checkpoint_metadata, load_checkpoint, replacing, setting


SIZE = (100.0, 200.0)
CYLINDER = Sphere(center=(50.0, 50.0), radius=10.0)
VISCOSITY_TIMES_LABEL = 1e4 / 1638.4  # the code's parameter re is 1638.4 times the label, and the viscosity 1e4 / re

# Table 1 of the paper; those marked in docs/results/wake.md are known from talks only.
PUBLISHED = {"source": 0.146, "one-step": 0.049, "unrolled": 0.013}


@dataclass(frozen=True)
class Settings:
    """Settings of the wake experiment; the defaults are those of the `book` preset."""

    arms: tuple[str, ...] = setting(
        ("unrolled",),
        help="what is trained: one-step (no gradient crosses the solver), detached (unrolled, no gradient from step to "
        "step), unrolled (gradients through all steps); none for the source solver alone",
        choices=("none", "one-step", "detached", "unrolled"),
    )
    sides: str = setting(
        "channel",
        help="channel: inflow, lateral walls that let the flow slip, outflow; no-slip: walls without slip; "
        "published: all sides open, the streamwise velocity held on inflow rows and lateral strips",
        choices=("channel", "no-slip", "published"),
    )
    resolution: int = setting(32, help="cells of the source solver across the stream", minimum=8)
    scale: int = setting(4, help="how many times finer the reference is", minimum=1)
    train_reynolds: tuple[float, ...] = setting(
        (97.65625, 195.3125, 390.625, 781.25, 1562.5, 3125.0), help="Reynolds numbers of the training flows", above=0.0
    )
    test_reynolds: tuple[float, ...] = setting(
        (146.484375, 292.96875, 585.9375, 1171.875, 2343.75), help="Reynolds numbers of the test flows", above=0.0
    )
    warmup: int = setting(1000, help="steps of the reference before its first frame", minimum=1)
    train_frames: int = setting(500, help="frames of each training flow", minimum=2)
    frames: int = setting(499, help="frames of each test flow that follow the first", minimum=1)
    largest_speed: float = setting(2.2, help="bound on the velocity, for the faster form of the advection", above=0.0)
    network: str = setting(
        "small",
        help="small: three residual blocks of 3x3 (49,442 parameters at 32 features); paper: five of 5x5 (260,354)",
        choices=("small", "paper"),
    )
    features: int = setting(32, help="channels of the network's layers", minimum=1)
    unroll: tuple[int, ...] = setting((1, 4, 8, 16, 32), help="the curriculum: unrolled steps in each stage", minimum=1)
    updates: tuple[int, ...] = setting((1000, 2000, 1500, 900, 600), help="updates in each stage", minimum=1)
    learning_rates: tuple[float, ...] = setting(
        (4e-3, 4e-3, 2e-3, 1e-3, 5e-4), help="Adam's largest rate in each stage", above=0.0
    )
    decay: float = setting(0.1, help="the rate at the end of a stage over its largest", above=0.0, maximum=1.0)
    rate_warmup: int = setting(50, help="updates over which the rate rises at the beginning of each stage", minimum=0)
    beta2: float = setting(0.99, help="Adam's decay of the mean squares of the gradient", above=0.0, maximum=0.9999)
    averaging: float = setting(
        0.97, help="decay of the moving average of the weights that is kept", minimum=0.0, maximum=0.9999
    )
    batch: int = setting(3, help="windows per update", minimum=1)
    weights: str = setting("", help='instead of training: "shipped", or the file of a network that a run has trained')
    checkpoint_seconds: float = setting(20.0, help="seconds between checkpoints", minimum=0.0, changes_results=False)

    def __post_init__(self):
        """Refuse what one setting alone cannot tell."""
        lengths = {name: len(getattr(self, name)) for name in ("unroll", "updates", "learning_rates")}
        if len(set(lengths.values())) > 1:
            raise InputError(
                f"unroll, updates and learning_rates have {list(lengths.values())} entries; one each for every stage "
                "is accepted."
            )
        if max(self.unroll) >= self.train_frames:
            raise InputError(
                f"unroll is {max(self.unroll)} but a training flow has {self.train_frames} frames (train_frames); "
                "fewer steps than frames are accepted."
            )
        if len(set(self.arms)) < len(self.arms):
            raise InputError(f"arms is {','.join(self.arms)}; each arm once is accepted.")
        if len(set(self.test_reynolds)) < len(self.test_reynolds):
            raise InputError("test_reynolds names a Reynolds number twice; each once is accepted.")


PRESETS = {
    "demo": {
        "unroll": (1, 4),
        "updates": (600, 600),
        "learning_rates": (4e-3, 4e-3),
        "decay": 0.02,
    },
    "book": {},
    "paper": {
        "network": "paper",
        "unroll": (32,),
        "updates": (93600,),
        "learning_rates": (1e-4,),
        "decay": 1.0,
        "rate_warmup": 0,
        "beta2": 0.999,
        "averaging": 0.0,
    },
    "evaluate": {"weights": "shipped"},
}


def wake_flow(settings: Settings, resolution: int, reynolds: Array | float) -> IncompressibleFlow:
    """The flow on a grid with `resolution` cells across the stream."""
    grid = Grid((resolution, 2 * resolution), SIZE)
    spacing = grid.spacing[1]
    infinity = math.inf
    if settings.sides == "published":
        sides: Any = Open()
        rows = Box((-infinity, -infinity), (infinity, 1.5 * spacing))
        strips = Box((-infinity, -infinity), (spacing, infinity)) | Box(
            (SIZE[0] - spacing, -infinity), (infinity, infinity)
        )
        held = (Held(rows | strips, (None, 1.0)),)
    else:
        sides = {"x": Wall(slip=settings.sides == "channel"), "y": (Inflow(1.0), Outflow())}
        held = (Held(Box((-infinity, -infinity), (infinity, 5.0)), (None, 1.0)),)
    return IncompressibleFlow(
        grid,
        viscosity=VISCOSITY_TIMES_LABEL / reynolds,
        dt=1.0,
        sides=sides,
        solid=CYLINDER,
        held=held,
        largest_courant=math.ceil(settings.largest_speed / spacing),
    )


def run(settings: Settings, run: Run) -> None:
    """Generate the data, train each arm, test it, write metrics."""
    if settings.weights:
        load_network(settings.weights)  # a file that holds none is refused before any work
    trained = [arm for arm in settings.arms if arm != "none"]
    needs_training = bool(trained) and not settings.weights
    needed = settings.test_reynolds + (settings.train_reynolds if needs_training else ())
    data_seconds, reference_step_ms = generate_data(settings, run, needed)
    source = wake_flow(settings, settings.resolution, 1000.0)
    test = _load(settings, run, source, settings.test_reynolds, settings.frames + 1)

    errors, shown, source_step_ms, largest_divergence = evaluate(source, source, test)
    metrics: dict[str, Any] = {
        "mae_source": errors.mean(axis=1),
        "mae_source_mean": errors.mean(),
        "test_reynolds": settings.test_reynolds,
        "frames": settings.frames,
        "max_divergence": largest_divergence,
        "seed": run.seed,
        "data_seconds": data_seconds,
        "reference_step_ms": reference_step_ms,
        "source_step_ms": source_step_ms,
        "arms": {"source": {"mae": errors.mean(axis=1), "mae_mean": errors.mean()}},
        "paper": {"mae_source_mean": PUBLISHED["source"], "arms": PUBLISHED},
    }
    _save_evaluation(run, "source", errors, shown, {})
    for arm in trained:
        corrected, learned, losses = (load_arm if settings.weights else train_arm)(settings, run, source, arm)
        run.leave_if_asked()
        errors, shown, step_ms, _ = evaluate(corrected, source, test)
        result = {
            "mae_corrected": errors.mean(axis=1),
            "mae_corrected_mean": errors.mean(),
            "reduction": metrics["mae_source_mean"] / errors.mean(),
            "corrected_step_ms": step_ms,
            **learned,
        }
        metrics |= result
        metrics["arms"][arm] = {"mae": errors.mean(axis=1), "mae_mean": errors.mean(), **learned}
        metrics["paper"]["mae_corrected_mean"] = PUBLISHED.get(arm)
        _save_evaluation(run, arm, errors, shown, losses)
    run.write_metrics(metrics)


def generate_data(settings: Settings, run: Run, labels: tuple[float, ...]) -> tuple[float, float]:
    """Run the reference for each Reynolds number whose frames are not on disk yet; return seconds and milliseconds per
    step.
    """
    grid = Grid((settings.resolution, 2 * settings.resolution), SIZE)
    reference = wake_flow(settings, settings.resolution * settings.scale, 1000.0)
    seconds, steps = [], []
    earlier = run.checkpoint_metadata("data")["seconds"] if run.has_checkpoint("data") else 0.0
    missing = [label for label in dict.fromkeys(labels) if not _data_path(settings, run, label).exists()]

    def save(state: FlowState) -> dict[str, Array]:
        return _coarse_velocity(state, settings.scale)

    with run.progress("reference flows", len(set(labels)), len(set(labels)) - len(missing)) as advance:
        for label in missing:
            run.leave_if_asked()
            started = time.perf_counter()
            frames = max(settings.train_frames if label in settings.train_reynolds else 0, settings.frames + 1)
            flow = with_parameters(reference, {"viscosity": jnp.asarray(VISCOSITY_TIMES_LABEL / label)})
            first, _ = rollout(flow, _initial_state(reference), settings.warmup)
            _, rest = rollout(flow, first, frames - 1, save_every=1, save=save)
            rest = jax.block_until_ready(rest)
            seconds.append(time.perf_counter() - started)
            steps.append(settings.warmup + frames - 1)
            velocity = jax.tree.map(lambda one, more: jnp.concatenate([one[None], more])[None], save(first), rest)
            if not all(bool(jnp.all(jnp.isfinite(part))) for part in velocity.values()):
                raise InputError(
                    f"largest_speed: the reference at Reynolds number {label:g} is faster than "
                    f"{settings.largest_speed:g} or "
                    "unstable; a larger bound may be accepted."
                )
            spent = earlier + sum(seconds)
            # The first flow's time includes compilation, which belongs to the data's cost but not to that of a step.
            step_ms = 1e3 * float(np.median(np.array(seconds[1:] or seconds) / np.array(steps[1:] or steps)))
            run.save_checkpoint("data", (), {"seconds": spent, "step_ms": step_ms})
            save_trajectories(
                _data_path(settings, run, label), Trajectories(velocity, {"reynolds": jnp.array([label])}), grid
            )
            advance()
    described = run.checkpoint_metadata("data")
    return described["seconds"], described["step_ms"]


def train_arm(
    settings: Settings, run: Run, source: IncompressibleFlow, arm: str
) -> tuple[Corrected, dict[str, Any], dict[str, Any]]:
    """Train one arm, from its checkpoint if there is one; return the corrected solver, metrics, and the losses."""
    data = _load(settings, run, source, settings.train_reynolds, settings.train_frames)
    normalization = Normalization.of(list(data.frames.values()), [1e4 / data.parameters["viscosity"]])
    network = make_network(settings.network, settings.features, jax.random.key(run.seed))
    corrected = Corrected(source, network, normalization, conditioning=conditioning)
    stages = _stages(settings, arm)
    total = sum(stage.updates for stage in stages)
    name = f"training-{arm}"

    progress, spent = initial_progress(corrected, stages), 0.0
    if run.has_checkpoint(name):
        progress = run.load_checkpoint(name, progress)
        spent = run.checkpoint_metadata(name)["seconds"]
    done = sum(stage.updates for stage in stages[: int(progress.stage)]) + int(progress.update)
    started = time.perf_counter()

    def save(current: Progress) -> None:
        run.save_checkpoint(name, current, {"seconds": spent + time.perf_counter() - started})

    scales = {name: scale for name, scale in zip(data.frames, normalization.fields, strict=True)}
    with run.progress(f"training {arm}", total, done) as advance:

        def after_update(current: Progress, number: int, loss: float) -> None:
            advance(note=f"loss {loss:.3g}")
            if run.checkpoint_due(settings.checkpoint_seconds):
                save(current)
                run.leave_if_asked()

        corrected, log = train(
            corrected,
            data,
            curriculum=stages,
            batch=settings.batch,
            seed=run.seed,
            averaging=settings.averaging,
            adjoint=Detached() if arm == "detached" else StoreAll(),
            loss=lambda prediction, target: half_sum_of_squares(prediction, target, scales),
            start=lambda frame: _state_of(source, frame),
            observe=_velocity,
            resume=progress,
            after_update=after_update,
        )
    seconds = spent + time.perf_counter() - started
    run.save_checkpoint(f"network-{arm}", (corrected.network, normalization), _architecture(settings) | {"arm": arm})
    learned = {
        "parameters": count_parameters(corrected.network),
        "unroll": max(stage.unroll for stage in stages),
        "updates": total,
        "updates_skipped": log.skipped,
        "train_seconds": seconds,
        "seconds_per_update": seconds / total,
    }
    return corrected, learned, {"losses": log.losses, "unroll": log.unroll}


def load_arm(
    settings: Settings, run: Run, source: IncompressibleFlow, arm: str
) -> tuple[Corrected, dict[str, Any], dict[str, Any]]:
    """The corrected solver with weights from a file, in the form of `train_arm`."""
    network, normalization = load_network(settings.weights)
    corrected = Corrected(source, network, normalization, conditioning=conditioning)
    return corrected, {"parameters": count_parameters(network)}, {}


def load_network(weights: str) -> tuple[ResNet, Normalization]:
    """A trained network and the statistics of its inputs: "shipped" with the package, or from a file."""
    shipped = Path(str(resources.files("diffphys.experiments") / "weights" / "wake.checkpoint"))
    path = shipped if weights == "shipped" else Path(weights)
    described = checkpoint_metadata(path)
    if described.get("network") not in ("small", "paper"):
        raise InputError(
            f"weights: {path} holds no network of the wake experiment; one that a run has trained is accepted."
        )
    architecture = {name: described[name] for name in ("network", "features")}
    like = (make_network(**architecture, key=jax.random.key(0)), Normalization(jnp.ones(2), jnp.ones(1)))
    return load_checkpoint(path, like)


def make_network(network: str, features: int, key: Array) -> ResNet:
    """The network: "paper" as published, or "small"."""
    if network == "paper":
        return ResNet(3, 2, features=features, blocks=5, kernel_size=5, key=key)
    small = {"blocks": 3, "kernel_size": 3, "first": False, "last_kernel_size": 1, "skip": "convolution"}
    return ResNet(3, 2, features=features, key=key, **small)


def conditioning(flow: IncompressibleFlow) -> list[Array]:
    """What the network is told: the published code's number for the Reynolds number, 1e4 / viscosity."""
    return [1e4 / flow.viscosity]


def evaluate(
    step: Any, source: IncompressibleFlow, test: Trajectories
) -> tuple[np.ndarray, dict[str, np.ndarray], float, float]:
    """Roll out every test flow from its first frame.

    Returns:
        The error of each case and frame; the velocity of the first case's frames; milliseconds per step; the largest
        divergence that the source solver left in a frame.
    """
    steps = test.length - 1

    @eqx.filter_jit
    def roll(step: Any, frames: dict[str, Array], parameters: dict[str, Array]):
        first = jax.tree.map(lambda leaf: leaf[0], frames)
        _, states = rollout(
            with_parameters(step, parameters),
            _state_of(source, first),
            steps,
            save_every=1,
            save=lambda state: state.velocity,
        )
        left = jnp.max(jnp.abs(jax.vmap(lambda velocity: divergence(velocity).values)(states)))
        predicted = dict(zip(("velocity_x", "velocity_y"), (part.values for part in states), strict=True))
        target = jax.tree.map(lambda leaf: leaf[1:], frames)
        return jax.vmap(mean_absolute_error)(predicted, target), predicted, left

    errors, shown, left, seconds = [], {}, [], []
    for index in range(test.cases):
        frames, parameters = test.case(index)
        if not index:
            jax.block_until_ready(roll(step, frames, parameters))
        started = time.perf_counter()
        error, predicted, case_left = jax.block_until_ready(roll(step, frames, parameters))
        seconds.append(time.perf_counter() - started)
        errors.append(np.asarray(error))
        left.append(float(case_left))
        shown = shown or {name: np.asarray(values) for name, values in predicted.items()}
    return np.stack(errors), shown, 1e3 * float(np.median(seconds)) / steps, max(left)


def report(run: Run) -> Table:
    """Figures and a table from what is on disk."""
    metrics = run.read_metrics()
    settings = run.settings
    grid = Grid((settings.resolution, 2 * settings.resolution), SIZE)
    names = ["source", *(arm for arm in settings.arms if arm != "none")]
    saved = {name: _load_evaluation(run, name) for name in names}

    reference, _, _ = load_trajectories(_data_path(settings, run, settings.test_reynolds[0]))
    truth = {name: np.asarray(values[0, 1 : settings.frames + 1]) for name, values in reference.frames.items()}
    velocities = {"reference": truth} | {name: tree["shown"] for name, tree in saved.items()}
    vorticity = {
        name: plots.vorticity(velocity["velocity_x"], velocity["velocity_y"], grid.spacing)
        for name, velocity in velocities.items()
    }
    times = np.unique(np.linspace(0, settings.frames - 1, 5).round().astype(int))
    solid = [((50.0, 50.0), 10.0)]
    shown = {name: [frames[index] for index in times] for name, frames in vorticity.items()}
    run.save_figure("vorticity.png", plots.frames_figure(shown, times + 1, SIZE, solid=solid))
    errors = {
        f"Re {value:.4g}": {name: tree["errors"][case] for name, tree in saved.items()}
        for case, value in enumerate(settings.test_reynolds)
    }
    run.save_figure("error-over-time.png", plots.error_over_time_figure(errors, np.arange(1, settings.frames + 1)))
    for name, tree in saved.items():
        if "losses" in tree:
            run.save_figure(f"loss-{name}.png", plots.training_loss_figure(tree["losses"], tree["unroll"]))
    arms = {name: arm["mae"] for name, arm in metrics["arms"].items()}
    run.save_figure("arms.png", plots.arms_figure(arms, PUBLISHED))
    every = max(1, settings.frames // 80)
    with replacing(run.figure_path("wake.gif")) as path:
        plots.write_animation(
            path,
            {name: frames[::every] for name, frames in vorticity.items()},
            np.arange(settings.frames)[::every] + 1,
            SIZE,
            solid=solid,
        )
    return _table(metrics, settings)


def _table(metrics: dict[str, Any], settings: Settings) -> Table:
    table = Table(title="Wake flow: mean absolute error of the velocity")
    table.add_column("arm")
    for value in settings.test_reynolds:
        table.add_column(f"Re {value:.4g}", justify="right")
    for heading in ("mean", "published", "reduction"):
        table.add_column(heading, justify="right")
    for name, arm in metrics["arms"].items():
        published, mean = PUBLISHED.get(name), arm["mae_mean"]
        table.add_row(
            name,
            *map(_error, arm["mae"]),
            _error(mean),
            "" if published is None else f"{published:.3f}",
            "" if mean is None else f"{metrics['mae_source_mean'] / mean:.1f}x",
        )
    return table


def _error(value: float | None) -> str:
    """Of a rollout that did not stay finite, metrics.json holds no number."""
    return "not finite" if value is None else f"{value:.4f}"


def _stages(settings: Settings, arm: str) -> list[Stage]:
    stages = []
    for unroll, updates, rate in zip(settings.unroll, settings.updates, settings.learning_rates, strict=True):
        warmup = min(settings.rate_warmup, updates // 2)
        schedule = optax.warmup_cosine_decay_schedule(rate / (1 + warmup), rate, warmup, updates, settings.decay * rate)
        optimizer = optax.adam(schedule, b2=settings.beta2)
        stages.append(Stage(1 if arm == "one-step" else unroll, updates, optimizer))
    return stages


def _architecture(settings: Settings) -> dict[str, Any]:
    return {"network": settings.network, "features": settings.features}


def _initial_state(reference: IncompressibleFlow) -> FlowState:
    """A stream of speed one with a crosswise gust behind the cylinder, so that shedding begins at once."""
    gust = Box((48.0, 107.8), (51.2, 115.7))
    at_rest = reference.initial_state((0.0, 1.0)).velocity
    points = at_rest[0].coordinates()
    return reference.initial_state((jnp.where(gust.contains(points), 1.0, 0.0), 1.0))


def _state_of(source: IncompressibleFlow, frame: dict[str, Array]) -> FlowState:
    """A state with the velocity of a frame, which is free of divergence already."""
    empty = source.initial_state()
    parts = (frame["velocity_x"], frame["velocity_y"])
    velocity = tuple(field.with_values(values) for field, values in zip(empty.velocity, parts, strict=True))
    return FlowState(velocity, empty.pressure, empty.scalars, empty.time)


def _velocity(state: FlowState) -> dict[str, Array]:
    return {"velocity_x": state.velocity[0].values, "velocity_y": state.velocity[1].values}


def _coarse_velocity(state: FlowState, factor: int) -> dict[str, Array]:
    return {
        name: coarsen(field, factor).values
        for name, field in zip(("velocity_x", "velocity_y"), state.velocity, strict=True)
    }


def _data_path(settings: Settings, run: Run, label: float) -> Path:
    return run.directory / "data" / f"reynolds-{label:.9g}.zarr"


def _load(
    settings: Settings, run: Run, source: IncompressibleFlow, labels: tuple[float, ...], frames: int
) -> Trajectories:
    """The trajectories of several flows with the parameter that the solver needs."""
    cases = [load_trajectories(_data_path(settings, run, label))[0].between(0, frames) for label in labels]
    joined = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *[case.frames for case in cases])
    return Trajectories(joined, {"viscosity": VISCOSITY_TIMES_LABEL / jnp.array(labels)})


def _save_evaluation(
    run: Run, name: str, errors: np.ndarray, shown: dict[str, np.ndarray], losses: dict[str, np.ndarray]
) -> None:
    tree = {"errors": errors, "shown": shown, **losses}
    shapes = jax.tree.map(lambda leaf: [list(leaf.shape), str(leaf.dtype)], tree)
    run.save_checkpoint(f"evaluation-{name}", tree, {"shapes": shapes})


def _load_evaluation(run: Run, name: str) -> dict[str, Any]:
    shapes = run.checkpoint_metadata(f"evaluation-{name}")["shapes"]
    like = jax.tree.map(lambda leaf: np.zeros(leaf[0], leaf[1]), shapes, is_leaf=lambda node: isinstance(node, list))
    return run.load_checkpoint(f"evaluation-{name}", like)


PROGRAM = Program("wake", Settings, PRESETS, run, report)
