"""Training through a solver."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from diffphys.errors import InputError
from diffphys.grids.numbers import as_floating, one_number, shown, whole_number
from diffphys.learning.corrected import with_parameters
from diffphys.learning.losses import half_sum_of_squares
from diffphys.learning.recovery import Recovery, recovering
from diffphys.learning.trajectories import Trajectories, check_trajectories
from diffphys.stepping import Adjoint, StoreAll, Truncated, rollout


@dataclasses.dataclass(frozen=True)
class Stage:
    """A part of a curriculum.

    Args:
        unroll: Over how many steps the loss looks.
        updates: How many updates are made.
        optimizer: Any Optax optimizer; it starts anew with the stage. Those that ask for the loss (`optax.lbfgs`,
            `optax.polyak_sgd`, `optax.contrib.reduce_on_plateau`) are given that of the update's windows: `value`,
            `grad` and `value_fn`.

    Examples:
        >>> import optax
        >>> curriculum = [dp.Stage(1, 400, optax.adam(3e-3)), dp.Stage(4, 200, optax.adam(1e-3))]
    """

    unroll: int
    updates: int
    optimizer: optax.GradientTransformation

    def __post_init__(self):
        for name in ("unroll", "updates"):
            value = getattr(self, name)
            object.__setattr__(self, name, whole_number(f"Stage: {name}", value))
        if not isinstance(self.optimizer, optax.GradientTransformation):
            raise InputError(f"Stage: optimizer is {shown(self.optimizer)}; an optimizer of Optax is accepted.")


class Progress(eqx.Module):
    """What training has come to: all that is needed to go on with the same bits.

    Attributes:
        trainable: The trained arrays.
        average: Their moving average.
        optimizer_state: The optimizer's state in this stage.
        stage: Index of the stage.
        update: Updates made in this stage.
        losses: For each update of all stages the loss before it; zero where it has not been made, see `stage` and
            `update`.
        skipped: How many updates were left out because a gradient was not finite, or diverged.
    """

    trainable: Any
    average: Any
    optimizer_state: Any
    stage: Array
    update: Array
    losses: Array
    skipped: Array


@dataclasses.dataclass(frozen=True)
class Log:
    """What training saw.

    Attributes:
        losses: For each update the loss before it.
        unroll: For each update over how many steps the loss looked.
        skipped: How many updates were left out because a gradient was not finite, or diverged.
        validation: Pairs (update, value) of the validation function.
    """

    losses: np.ndarray
    unroll: np.ndarray
    skipped: int
    validation: list[tuple[int, float]]


def trained_network(step: Any) -> Any:
    """What is trained unless something else is asked for: the `network` that a step has, as a `Corrected` does."""
    if not hasattr(step, "network"):
        raise InputError(
            f"train: step is a {type(step).__name__}; a Corrected is accepted or another step with a network, or with "
            "`trainable`, a function that picks what is trained."
        )
    return step.network


def train(
    step: Any,
    data: Trajectories,
    *,
    unroll: int = 1,
    updates: int = 1000,
    optimizer: optax.GradientTransformation | None = None,
    curriculum: Sequence[Stage] | None = None,
    batch: int = 3,
    seed: int = 0,
    averaging: float = 0.0,
    adjoint: Adjoint = StoreAll(),  # noqa: B008 (frozen)
    loss: Callable[[Any, Any], Array] = half_sum_of_squares,
    unrolled_loss: Callable[[Any, Any], Array] | None = None,
    recovery: Recovery | None = None,
    start: Callable[[Any], Any] = lambda frame: frame,
    observe: Callable[[Any], Any] = lambda state: state,
    perturb: Callable[[Array, Any], Any] | None = None,
    trainable: Callable[[Any], Any] = trained_network,
    validation: Callable[[Any], float] | None = None,
    validate_every: int = 500,
    resume: Progress | None = None,
    after_update: Callable[[Progress, int, float], None] | None = None,
) -> tuple[Any, Log]:
    """Train part of a step so that rollouts from frames of the data meet the frames that follow.

    Each update draws `batch` windows (case, first frame) at random, starts from their first frames, unrolls n steps
    with the case's parameters, and descends the gradient of `1/n sum_i loss(observe(s_i), frame_i)`, summed over the
    batch, through the steps. What is drawn depends on `seed` and the number of the update only. An update whose
    gradient is not finite is left out.

    Args:
        step: The step, usually a `Corrected`.
        data: Frames and, for each case, the values of numbers of the step (`with_parameters`).
        unroll: Steps n over which the loss looks, in a single stage.
        updates: Updates in a single stage.
        optimizer: Any Optax optimizer, for a single stage. Default: Adam at 1e-3.
        curriculum: Several stages instead, each with its n.
        batch: Windows per update.
        seed: Seed of the drawing.
        averaging: What is returned is a moving average of the trained arrays, `a <- averaging a + (1 - averaging) w`
            after each update (Polyak and Juditsky 1992): larger rates become possible, since the average does not
            wander as they do. 0, the last arrays themselves; 0.97 looks back over some 30 updates.
        adjoint: How gradients pass through the unrolled steps; `Detached()` gives unrolled training without gradients
            in time, `Truncated(window)` gradients within windows of steps (in a stage with fewer steps, through all).
        loss: From two pytrees (prediction, target) to a number. Default: `half_sum_of_squares` without scales, so in
            the units of the data; where fields of different units are compared, give its `scales`,
            `functools.partial(half_sum_of_squares, scales=...)`.
        unrolled_loss: Instead of `loss`, from two pytrees of all unrolled steps, with a leading axis, to a number.
        recovery: What is done about updates that diverge. Default: those whose gradient is not finite are left out.
        start: From a frame of the data to a state. Default: the frame is one.
        observe: From a state to what the data holds. Default: the state.
        perturb: From a random key and the first frame of a window to the frame that the rollout begins with: noise, so
            that training meets states beside the data's (Sanchez-Gonzalez et al. 2020); what follows stays the target.
            Default: the frame as it is.
        trainable: From the step to the part of it that is trained. Default: the network of a `Corrected`.
        validation: From the step to a number, asked for every `validate_every` updates and at the end; kept in the log.
        validate_every: How often.
        resume: Progress to go on from.
        after_update: Called after each update with the progress, its number and its loss: for checkpoints, progress
            bars, and leaving early by an exception.

    Returns:
        The trained step, and a log.

    Raises:
        InputError: if windows are longer than the data, or numbers are out of range.

    Examples:
        >>> _, frames = dp.rollout(lambda x: 0.9 * x, jnp.ones((1, 8)), 20, save_every=1)
        >>> data = dp.Trajectories(frames[None])  # one case
        >>> network = dp.nets.ResNet(1, 1, axes=1, features=4, blocks=1, key=jax.random.key(0))
        >>> hybrid, log = dp.train(dp.Corrected(lambda x: x, network), data, unroll=2, updates=5)
    """
    check_trajectories("train: data", data)
    if curriculum is None:
        curriculum = [Stage(unroll, updates, optax.adam(1e-3) if optimizer is None else optimizer)]
    elif (unroll, updates, optimizer) != (1, 1000, None):
        raise InputError(
            "train: unroll, updates or optimizer is given beside curriculum; each stage of that has its own, "
            "Stage(unroll, updates, optimizer)."
        )
    if not isinstance(curriculum, Sequence) or not all(isinstance(one, Stage) for one in curriculum):
        raise InputError(f"train: curriculum is {shown(curriculum)}; a list of Stage is accepted.")
    stages = list(curriculum)
    if not stages:
        raise InputError("train: curriculum is empty; at least one stage is accepted.")
    batch = whole_number("train: batch", batch)
    validate_every = whole_number("train: validate_every", validate_every)
    if not 0.0 <= averaging < 1.0:
        raise InputError(f"train: averaging is {shown(averaging)}; a number of at least 0 and below 1 is accepted.")
    longest = max(stage.unroll for stage in stages)
    if longest >= data.length:
        raise InputError(
            f"train: unroll is {longest} but the data has {data.length} frames; at most {data.length - 1} steps, one "
            "less than the frames, are accepted."
        )
    if isinstance(adjoint, Truncated) and adjoint.window > longest:
        raise InputError(
            f"train: window of the adjoint is {adjoint.window}; at most the unrolled steps ({longest}) are accepted."
        )
    problem = _Problem(
        data, batch, jax.random.key(seed), averaging, adjoint, loss, unrolled_loss, start, observe, perturb, trainable
    )
    progress = resume if resume is not None else initial_progress(step, stages, trainable, recovery)
    offsets = np.cumsum([0] + [stage.updates for stage in stages])
    validated: list[tuple[int, float]] = []

    for index in range(int(progress.stage), len(stages)):
        stage = stages[index]
        guarded = _guarded(stage, recovery)
        if int(progress.stage) != index:
            progress = _next_stage(progress, index, guarded)
        for update in range(int(progress.update), stage.updates):
            number = int(offsets[index]) + update
            progress, value = _update(progress, step, problem, stage.unroll, guarded, jnp.asarray(number, jnp.int32))
            if after_update is not None:
                after_update(progress, number, float(value))
            if validation is not None and ((number + 1) % validate_every == 0 or number + 1 == offsets[-1]):
                validated.append((number + 1, float(validation(_merge(step, progress.average, trainable)))))
    unrolls = np.repeat([stage.unroll for stage in stages], [stage.updates for stage in stages])
    log = Log(np.asarray(progress.losses), unrolls, int(progress.skipped), validated)
    return _merge(step, progress.average, trainable), log


def initial_progress(
    step: Any,
    stages: Sequence[Stage],
    trainable: Callable[[Any], Any] = trained_network,
    recovery: Recovery | None = None,
) -> Progress:
    """The progress of a training that has not begun: the shapes and types of a checkpoint."""
    arrays = eqx.filter(trainable(step), eqx.is_inexact_array)
    guarded = _guarded(stages[0], recovery)
    total = sum(stage.updates for stage in stages)
    zero = jnp.zeros((), jnp.int32)
    return Progress(arrays, arrays, guarded.init(arrays), zero, zero, jnp.zeros(total), zero)


def _guarded(stage: Stage, recovery: Recovery | None) -> optax.GradientTransformationExtraArgs:
    """The stage's optimizer, which leaves out what is not finite, and recovers from what diverges if asked to."""
    guarded: Any = optax.apply_if_finite(
        optax.with_extra_args_support(stage.optimizer), max_consecutive_errors=2**31 - 1
    )
    return guarded if recovery is None else recovering(guarded, recovery)


class _Problem(eqx.Module):
    """What stays the same during a training."""

    data: Trajectories
    batch: int = eqx.field(static=True)
    key: Array  # an array, so that another seed compiles nothing anew
    averaging: float = eqx.field(static=True)
    adjoint: Adjoint = eqx.field(static=True)
    loss: Callable = eqx.field(static=True)
    unrolled_loss: Callable | None = eqx.field(static=True)
    start: Callable = eqx.field(static=True)
    observe: Callable = eqx.field(static=True)
    perturb: Callable | None = eqx.field(static=True)
    trainable: Callable = eqx.field(static=True)


def _next_stage(progress: Progress, index: int, optimizer: optax.GradientTransformation) -> Progress:
    return Progress(
        progress.trainable,
        progress.average,
        optimizer.init(progress.trainable),
        jnp.asarray(index, jnp.int32),
        jnp.zeros((), jnp.int32),
        progress.losses,
        progress.skipped,
    )


@eqx.filter_jit
def _update(
    progress: Progress,
    step: Any,
    problem: _Problem,
    unroll: int,
    optimizer: optax.GradientTransformationExtraArgs,
    number: Array,
) -> tuple[Progress, Array]:
    firsts, targets, parameters = _draw(problem, unroll, number)

    def objective(arrays: Any) -> Array:
        candidate = _merge(step, arrays, problem.trainable)
        of_window = partial(_window_loss, candidate, problem, unroll)
        return jnp.sum(jax.vmap(of_window)(firsts, targets, parameters))

    value, gradient = jax.value_and_grad(objective)(progress.trainable)
    # A search along a line and rates that follow the loss ask for it; other optimizers leave these three unread.
    asked = {"value": value, "grad": gradient, "value_fn": objective}
    changes, optimizer_state = optimizer.update(gradient, progress.optimizer_state, progress.trainable, **asked)
    finite = optimizer_state.last_finite  # pyright: ignore[reportAttributeAccessIssue]
    trainable = optax.apply_updates(progress.trainable, changes)
    following = Progress(
        trainable,
        optax.incremental_update(trainable, progress.average, 1.0 - problem.averaging),
        optimizer_state,
        progress.stage,
        progress.update + 1,
        progress.losses.at[number].set(value.astype(progress.losses.dtype)),
        progress.skipped + jnp.where(finite, 0, 1).astype(progress.skipped.dtype),
    )
    return following, value


def _draw(problem: _Problem, unroll: int, number: Array) -> tuple[Any, Any, dict[str, Array]]:
    """Of `batch` windows what they begin with, the `unroll` frames that follow, and their cases' parameters."""
    data = problem.data
    drawn = jax.random.fold_in(problem.key, number)
    case_key, frame_key = jax.random.split(drawn)
    cases = jax.random.randint(case_key, (problem.batch,), 0, data.cases)
    firsts = jax.random.randint(frame_key, (problem.batch,), 0, data.length - unroll)

    def window(leaf: Array) -> Array:
        sizes = (1, unroll + 1, *leaf.shape[2:])

        def cut(case: Array, first: Array) -> Array:
            return jax.lax.dynamic_slice(leaf, (case, first, *[0] * (leaf.ndim - 2)), sizes)[0]

        return jax.vmap(cut)(cases, firsts)

    frames = jax.tree.map(lambda leaf: as_floating(window(jnp.asarray(leaf)), complex=True), data.frames)
    first_frames, targets = (
        jax.tree.map(lambda leaf, part=part: leaf[:, part], frames) for part in (0, slice(1, None))
    )
    if problem.perturb is not None:
        # A third key beside the two above, which stay what they are without noise.
        first_frames = jax.vmap(problem.perturb)(
            jax.random.split(jax.random.fold_in(drawn, 2), problem.batch), first_frames
        )
    return first_frames, targets, {name: jnp.asarray(values)[cases] for name, values in data.parameters.items()}


def _window_loss(
    step: Any, problem: _Problem, unroll: int, first: Any, targets: Any, parameters: dict[str, Array]
) -> Array:
    adapted = with_parameters(step, parameters)
    adjoint = problem.adjoint
    if isinstance(adjoint, Truncated):
        adjoint = Truncated(min(adjoint.window, unroll))
    _, states = rollout(adapted, problem.start(first), unroll, save_every=1, adjoint=adjoint)
    if problem.unrolled_loss is not None:
        return one_number("train: unrolled_loss", problem.unrolled_loss(jax.vmap(problem.observe)(states), targets))

    def loss_of(state: Any, target: Any) -> Array:
        return one_number("train: loss", problem.loss(problem.observe(state), target))

    return jnp.mean(jax.vmap(loss_of)(states, targets))


def _merge(step: Any, arrays: Any, trainable: Callable[[Any], Any]) -> Any:
    """`step` with the trained arrays in the place of its own."""
    part = trainable(step)
    return eqx.tree_at(trainable, step, eqx.combine(arrays, part))
