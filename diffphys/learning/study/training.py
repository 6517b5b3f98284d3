"""Training the arms of a study."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from diffphys.errors import InputError
from diffphys.learning.corrected import Corrected, Normalization, Precomputed, with_parameters
from diffphys.learning.losses import half_sum_of_squares
from diffphys.learning.study.data import load_cases
from diffphys.learning.study.least_squares import fitted_corrections
from diffphys.learning.study.settings import PUSHED, StudySettings
from diffphys.learning.study.study import Frame, Study, Variant
from diffphys.learning.training import Progress, Stage, initial_progress, train
from diffphys.learning.trajectories import Trajectories
from diffphys.learning.turbulence import Forced, OnlyForced
from diffphys.nets import count_parameters
from diffphys.runs import Run, checkpoint_metadata, load_checkpoint
from diffphys.stepping import Detached, StoreAll, Truncated, rollout


SUPERVISED = ("supervised", "least-squares")  # no step of their training runs a solver

Trained = tuple[Any, dict[str, Any], dict[str, Any]]


def train_arm(name: str, variant: Variant, run: Run) -> Trained:
    """Train the arm of this name, from its checkpoint if there is one; return the corrected source, metrics, and the
    losses.
    """
    study, settings, arm, seed = variant.study, variant.settings, variant.arm, run.seed + variant.seed
    data = load_cases(study, settings, run, study.train_cases, settings.train_frames)
    normalization = Normalization.of([data.frames[name] for name in study.names], _conditioning_of(study, data))
    network = study.make_network(key=jax.random.key(seed), **study.architecture)
    corrected = study.corrected(network, normalization)
    scales = dict(zip(study.names, normalization.fields, strict=True))
    weights = scales if study.loss_scales == "fields" else lacking(study, network, normalization, data)
    start, step, observe = study.state, corrected, study.observe
    if arm == "supervised" and isinstance(corrected, Forced):
        data = precomputed_corrections(study, data, 1)
        start, step = _states_before_and_after(study), OnlyForced(corrected)
        observe = _second(study.observe)
    elif arm == "supervised":
        data = precomputed_corrections(study, data, max(settings.unroll))
        start, step = _state_before_correction(study), _only_correction(study, corrected)
    elif arm == "least-squares":
        data = fitted_corrections(study, settings, run)
        start, step = _state_before_correction(study), _only_correction(study, corrected)
    longest = dict.fromkeys((*SUPERVISED, "one-step", "noise"), 1) | {"pushforward": PUSHED}
    stages = curriculum(settings, longest.get(arm))
    total = sum(stage.updates for stage in stages)
    progress, spent = initial_progress(step, stages, recovery=study.recovery), 0.0
    if run.has_checkpoint(f"training-{name}"):
        progress = run.load_checkpoint(f"training-{name}", progress)
        spent = run.checkpoint_metadata(f"training-{name}")["seconds"]
    done = sum(stage.updates for stage in stages[: int(progress.stage)]) + int(progress.update)
    started = time.perf_counter()

    def save(current: Progress) -> None:
        run.save_checkpoint(f"training-{name}", current, {"seconds": spent + time.perf_counter() - started})

    def loss(prediction: Frame, target: Frame) -> jax.Array:
        pointwise = half_sum_of_squares(prediction, {name: target[name] for name in prediction}, weights)
        if study.further_loss is None or arm in SUPERVISED:
            return pointwise
        return pointwise + study.further_loss(prediction, target)

    def unrolled_loss(prediction: Frame, target: Frame) -> jax.Array:
        assert study.unrolled_loss is not None
        return study.unrolled_loss(prediction, {name: target[name] for name in prediction})

    single = all(stage.unroll == 1 for stage in stages)
    adjoint = Truncated(settings.window) if settings.window and not single else StoreAll()
    with run.progress(f"training {name}", total, done) as advance:

        def after_update(current: Progress, number: int, loss: float) -> None:
            advance(note=f"loss {loss:.3g}")
            if run.curve_due() or number + 1 == total:
                losses = np.asarray(current.losses)[: number + 1]
                run.save_curve("training", name, {"update": np.arange(1, number + 2), "loss": losses})
            if run.checkpoint_due(settings.checkpoint_seconds):
                save(current)
                run.leave_if_asked()

        trained, log = train(
            step,
            data,
            curriculum=stages,
            batch=settings.batch,
            seed=seed,
            averaging=settings.averaging,
            adjoint=Detached() if arm in ("pushforward", "detached") else adjoint,
            loss=loss,
            unrolled_loss=None if study.unrolled_loss is None else unrolled_loss,
            recovery=study.recovery,
            start=start,
            observe=observe,
            perturb=with_noise({name: settings.noise * scale for name, scale in scales.items()})
            if arm == "noise"
            else None,
            resume=progress,
            after_update=after_update,
        )
    seconds = spent + time.perf_counter() - started
    run.save_checkpoint(
        f"network-{name}", (trained.network, normalization), {**study.architecture, "study": study.name, "arm": name}
    )
    learned = {
        "parameters": count_parameters(trained.network),
        "unroll": max(stage.unroll for stage in stages),
        "updates": total,
        "updates_skipped": log.skipped,
        "train_seconds": seconds,
        "seconds_per_update": seconds / total,
    }
    return study.corrected(trained.network, normalization), learned, {"losses": log.losses, "unroll": log.unroll}


def load_arm(study: Study, settings: StudySettings) -> Trained:
    """The corrected source with weights from a file, in the form of `train_arm`."""
    network, normalization = load_network(study, settings.weights)
    return study.corrected(network, normalization), {"parameters": count_parameters(network)}, {}


def weights_file(name: str, weights: str, shipped: Path | None) -> tuple[Path, dict[str, Any]]:
    """The file of a trained network and what it says of itself: "shipped", or a path.

    Raises:
        InputError: there is no such file, or it says that its network is that of another study than the named one.
    """
    path = Path(weights)
    if weights == "shipped":
        if shipped is None:
            raise InputError(f"weights: the {name} experiment ships none; a file is accepted.")
        path = shipped
    described = checkpoint_metadata(path)
    # Networks of before there were studies do not say whose they are.
    if described.get("study", name) != name:
        raise _no_network_of(name, path)
    return path, described


def _no_network_of(name: str, path: Path) -> InputError:
    return InputError(
        f"weights: {path} holds no network of the {name} experiment; one that a run has trained is accepted."
    )


def load_network(study: Study, weights: str) -> tuple[Any, Normalization]:
    """A trained network and the statistics of its inputs: "shipped" with the package, or from a file.

    Raises:
        InputError: there is no such file, or it holds no network of this study.
    """
    path, described = weights_file(study.name, weights, study.shipped)
    if not study.architecture.keys() <= described.keys():
        raise _no_network_of(study.name, path)
    network = study.make_network(key=jax.random.key(0), **{name: described[name] for name in study.architecture})
    told = len(study.conditioning(study.source))
    scales = Normalization(jnp.ones(len(study.names)), jnp.ones(told) if told else ())
    try:
        return load_checkpoint(path, (network, scales))
    except InputError as error:
        raise InputError(f"weights: {path} holds no network of the {study.name} experiment: {error}") from error


def curriculum(settings: StudySettings, longest: int | None = None) -> list[Stage]:
    """The stages of an arm, none of which looks over more steps than `longest`: an arm that looks less far ahead makes
    as many updates, at the same rates.
    """
    stages = []
    for unroll, updates, rate in zip(settings.unroll, settings.updates, settings.learning_rates, strict=True):
        warmup = min(settings.rate_warmup, updates // 2)
        schedule = optax.warmup_cosine_decay_schedule(rate / (1 + warmup), rate, warmup, updates, settings.decay * rate)
        optimizer = optax.adam(schedule, b2=settings.beta2)
        stages.append(Stage(min(unroll, longest or unroll), updates, optimizer))
    return stages


def with_noise(deviations: Mapping[str, Any]) -> Callable[[jax.Array, Frame], Frame]:
    """From a key and a frame to the frame with normal noise of these standard deviations, independent in each point."""

    def perturb(key: jax.Array, frame: Frame) -> Frame:
        keys = dict(zip(deviations, jax.random.split(key, len(deviations)), strict=True))
        noise = {name: size * jax.random.normal(keys[name], frame[name].shape) for name, size in deviations.items()}
        return frame | {name: frame[name] + part.astype(frame[name].dtype) for name, part in noise.items()}

    return perturb


# ------------------------------------------------------------------- supervised training on corrections known before


def precomputed_corrections(study: Study, data: Trajectories, steps: int) -> Trajectories:
    """The data of the supervised arm: frames, and with each what the source alone makes of an earlier one.

    The source starts from every `steps`-th frame and runs alone. Beside frame t stands, as "before " and its name, what
    it had come to at t + 1: `frame[t + 1] - before[t]` is the correction that was missing there. With one step these
    are the corrections of the reference's own states.
    """
    segments = (data.length - 1) // steps
    length = segments * steps
    starts = jax.tree.map(lambda leaf: leaf[:, :length:steps], data.frames)

    @eqx.filter_jit
    def run_alone(source: Any, starts: Frame, parameters: dict[str, jax.Array]) -> Frame:
        def of_case(starts: Frame, parameters: dict[str, jax.Array]) -> Frame:
            step = with_parameters(source, parameters)

            def of_start(frame: Frame) -> Frame:
                return rollout(step, study.state(frame), steps, save_every=1, save=study.observe)[1]

            found = jax.lax.map(of_start, starts)
            return jax.tree.map(lambda leaf: leaf.reshape(length, *leaf.shape[2:]), found)

        return jax.lax.map(lambda case: of_case(*case), (starts, parameters))

    alone = run_alone(study.source, starts, data.parameters)
    frames = jax.tree.map(lambda leaf: leaf[:, : length + 1], data.frames)
    if study.interval is not None:
        alone = alone | {"time": frames["time"][:, :-1] + study.interval}
    # The last frame is only ever a target; beside it stands what is never read.
    before = {f"before {name}": jnp.concatenate([part, part[:, -1:]], axis=1) for name, part in alone.items()}
    return Trajectories(frames | before, data.parameters)


def lacking(study: Study, network: Any, normalization: Normalization, data: Trajectories) -> dict[str, jax.Array]:
    """For each field the root mean square of what the step lacks of the next frame as long as its network gives zero,
    over all frames.
    """
    zero = jax.tree.map(lambda leaf: jnp.zeros_like(leaf) if eqx.is_inexact_array(leaf) else leaf, network)

    @eqx.filter_jit
    def squares(step: Any, frames: Frame, parameters: dict[str, jax.Array]) -> dict[str, jax.Array]:
        adapted = with_parameters(step, parameters)

        def of_frame(pair: tuple[Frame, Frame]) -> dict[str, jax.Array]:
            found = study.observe(adapted(study.state(pair[0])))
            return {name: jnp.mean((pair[1][name] - found[name]) ** 2) for name in study.names}

        pairs = tuple(jax.tree.map(lambda leaf, part=part: leaf[part], frames) for part in (slice(-1), slice(1, None)))
        return {name: jnp.mean(part) for name, part in jax.lax.map(of_frame, pairs).items()}

    bare = study.corrected(zero, normalization)
    found = [squares(bare, *data.case(index)) for index in range(data.cases)]
    return {name: jnp.sqrt(jnp.mean(jnp.stack([one[name] for one in found]))) for name in study.names}


def _state_before_correction(study: Study) -> Any:
    def state(frame: Frame) -> Any:
        return study.state({name: frame.get(f"before {name}", values) for name, values in frame.items()})

    return state


def _states_before_and_after(study: Study) -> Any:
    """The state from which a step goes out, and the one that the source alone leads to."""
    alone = _state_before_correction(study)
    return lambda frame: (study.state(frame), alone(frame))


def _second(observe: Any) -> Any:
    return lambda pair: observe(pair[1])


def _only_correction(study: Study, corrected: Corrected) -> Corrected:
    return Corrected(
        Precomputed(corrected.solver),
        corrected.network,
        corrected.normalization,
        fields=corrected.fields,
        conditioning=lambda made: study.conditioning(made.solver),
        beside=lambda made, predicted: corrected.beside(made.solver, predicted),
        kept=corrected.kept,
    )


def _conditioning_of(study: Study, data: Trajectories) -> list[jax.Array]:
    """The numbers that the network is told, of all cases."""
    told = [study.conditioning(with_parameters(study.source, data.case(index)[1])) for index in range(data.cases)]
    return [jnp.stack(numbers) for numbers in zip(*told, strict=True)]
