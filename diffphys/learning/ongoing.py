"""Training on the averages of runs that a step leads to by itself.

What is trained on windows that begin at the reference's states never meets those that it leads to after a long time,
and over the steps of a window their averages hardly change. Here an ensemble of runs goes on from update to update.
Each update follows every run for a few steps more, compares the averages of the ensemble over them with those of the
reference, descends the gradient through these few steps, and leaves the runs where they have come to. Now and then one
of them begins anew.

Averages are compared, not the values of single runs: the squared difference to a reference that has long gone another
way is least for runs that do not fluctuate at all.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax import Array

from diffphys.learning.training import trained_network
from diffphys.stepping import rollout


class OngoingProgress(eqx.Module):
    """What training has come to: all that is needed to go on with the same bits.

    Attributes:
        trainable: The trained arrays.
        average: Their moving average.
        optimizer_state: The optimizer's state.
        members: Where the runs are.
        update: Updates made.
        losses: For each update the loss before it.
        renewed: How many runs had to begin anew because they were no longer sound.
    """

    trainable: Any
    average: Any
    optimizer_state: Any
    members: Any
    update: Array
    losses: Array
    renewed: Array


class Ongoing(eqx.Module):
    """What stays the same during a training.

    Attributes:
        starts: States that runs begin with, stacked, at least one.
        statistics: From a state to what is averaged.
        loss: From the statistics of the ensemble, with two leading axes (members, times), to a number.
        sound: From a state to whether its run may go on.
        optimizer: Any Optax optimizer.
        data: What `beside` is given.
        beside: From the step, the data and a random key to a number that is added to the loss.
        members: Runs in the ensemble.
        unroll: Steps of an update.
        every: Steps between two values of the statistics.
        spin_up: Steps of every run before the first update.
        lifetime: After how many updates a run begins anew, on average.
        averaging: Of the weights, as of `train`.
        seed: Of what is drawn.
        trainable: From the step to the part of it that is trained.
    """

    starts: Any
    statistics: Callable[[Any], Any] = eqx.field(static=True)
    loss: Callable[[Any], Array] = eqx.field(static=True)
    sound: Callable[[Any], Array] = eqx.field(static=True)
    optimizer: optax.GradientTransformation = eqx.field(static=True)
    data: Any = None
    beside: Callable[[Any, Any, Array], Array] = eqx.field(static=True, default=lambda step, data, key: jnp.zeros(()))
    members: int = eqx.field(static=True, default=12)
    unroll: int = eqx.field(static=True, default=16)
    every: int = eqx.field(static=True, default=4)
    spin_up: int = eqx.field(static=True, default=0)
    lifetime: float = eqx.field(static=True, default=32.0)
    averaging: float = eqx.field(static=True, default=0.97)
    seed: int = eqx.field(static=True, default=0)
    trainable: Callable[[Any], Any] = eqx.field(static=True, default=trained_network)


def begin_ongoing(step: Any, problem: Ongoing, updates: int) -> OngoingProgress:
    """The progress of a training that has not begun, its runs after their spin-up."""
    arrays = eqx.filter(problem.trainable(step), eqx.is_inexact_array)
    zero = jnp.zeros((), jnp.int32)
    members = _spun_up(step, problem)
    return OngoingProgress(arrays, arrays, problem.optimizer.init(arrays), members, zero, jnp.zeros(updates), zero)


def train_ongoing(
    step: Any,
    problem: Ongoing,
    updates: int,
    resume: OngoingProgress | None = None,
    after_update: Callable[[OngoingProgress, int, float], None] | None = None,
) -> tuple[Any, OngoingProgress]:
    """Train part of a step so that the averages of its own long runs meet those of the reference.

    An update whose gradient is not finite is left out.

    Args:
        step: The step, usually a `Corrected` that `train` has trained.
        problem: What is compared, and how.
        updates: How many updates are made.
        resume: Progress to go on from.
        after_update: Called after each update with the progress, its number and its loss.

    Returns:
        The trained step, with the moving average of the weights, and the progress.
    """
    progress = begin_ongoing(step, problem, updates) if resume is None else resume
    for number in range(int(progress.update), updates):
        progress, value = _update(progress, step, problem)
        if after_update is not None:
            after_update(progress, number, float(value))
    return _with(step, progress.average, problem), progress


@eqx.filter_jit
def _spun_up(step: Any, problem: Ongoing) -> Any:
    drawn = _drawn(problem, jax.random.fold_in(jax.random.key(problem.seed), 2**31 - 1))
    if not problem.spin_up:
        return drawn
    return jax.vmap(lambda state: rollout(step, state, problem.spin_up)[0])(drawn)


@eqx.filter_jit
def _update(progress: OngoingProgress, step: Any, problem: Ongoing) -> tuple[OngoingProgress, Array]:
    key = jax.random.fold_in(jax.random.key(problem.seed), progress.update)
    for_beside, for_starts, for_ends = jax.random.split(key, 3)

    def objective(arrays: Any) -> tuple[Array, Any]:
        candidate = _with(step, arrays, problem)

        def follow(member: Any) -> tuple[Any, Any]:
            return rollout(candidate, member, problem.unroll, save_every=problem.every, save=problem.statistics)

        ends, series = jax.vmap(follow)(progress.members)
        return problem.loss(series) + problem.beside(candidate, problem.data, for_beside), ends

    (value, ends), gradient = jax.value_and_grad(objective, has_aux=True)(progress.trainable)
    finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(gradient)]))
    changes, optimizer_state = problem.optimizer.update(gradient, progress.optimizer_state, progress.trainable)

    def if_finite(new: Any, old: Any) -> Any:
        return jax.tree.map(lambda one, other: jnp.where(finite, one, other), new, old)

    trainable = if_finite(optax.apply_updates(progress.trainable, changes), progress.trainable)
    unsound = ~jax.vmap(problem.sound)(ends)
    anew = unsound | (jax.random.uniform(for_ends, (problem.members,)) < 1 / problem.lifetime)
    fresh = _drawn(problem, for_starts)
    members = jax.tree.map(
        lambda new, old: jnp.where(anew.reshape(-1, *[1] * (old.ndim - 1)), new, old).astype(old.dtype), fresh, ends
    )
    following = OngoingProgress(
        trainable,
        optax.incremental_update(trainable, progress.average, 1.0 - problem.averaging),
        if_finite(optimizer_state, progress.optimizer_state),
        members,
        progress.update + 1,
        progress.losses.at[progress.update].set(value.astype(progress.losses.dtype)),
        progress.renewed + jnp.sum(unsound).astype(progress.renewed.dtype),
    )
    return following, value


def _drawn(problem: Ongoing, key: Array) -> Any:
    count = len(jax.tree.leaves(problem.starts)[0])
    chosen = jax.random.randint(key, (problem.members,), 0, count)
    return jax.tree.map(lambda leaf: leaf[chosen], problem.starts)


def _with(step: Any, arrays: Any, problem: Ongoing) -> Any:
    part = problem.trainable(step)
    return eqx.tree_at(problem.trainable, step, eqx.combine(arrays, part))
