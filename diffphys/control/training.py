"""Training a policy in the closed loop, by gradients that pass backwards through the solver."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from diffphys.control.closed_loop import PolicyStep, check_policy, first_carry
from diffphys.control.problem import ControlProblem, check_problem
from diffphys.errors import InputError
from diffphys.grids.numbers import shown, whole_number
from diffphys.stepping import Adjoint, Checkpointed, rollout


class PolicyProgress(eqx.Module):
    """What training has come to: all that is needed to go on with the same bits.

    Attributes:
        trainable: The trained arrays.
        optimizer_state: The optimizer's state.
        episode: Episodes made.
    """

    trainable: Any
    optimizer_state: Any
    episode: Array


def train_policy(
    policy: Any,
    problem: ControlProblem,
    draw: Callable[[Array], tuple[Any, Any]],
    *,
    episodes: int = 100,
    window: int | None = None,
    batch: int = 1,
    optimizer: optax.GradientTransformation | None = None,
    seed: int = 0,
    adjoint: Adjoint = Checkpointed(),  # noqa: B008 (frozen)
    resume: PolicyProgress | None = None,
    after_episode: Callable[[PolicyProgress, float], None] | None = None,
) -> tuple[Any, np.ndarray]:
    """Train the inexact arrays of a policy through the solver, by truncated backpropagation in time.

    An episode starts `batch` runs, each towards its own target, and goes through the task's N steps in windows. After
    each window the policy descends the gradient of what the window cost, the mean over the batch, with the terminal
    cost in the last; the next window goes on from the states that were reached, through which no gradient passes. An
    update whose gradient is not finite is left out. What is drawn depends on `seed` and the number of the episode only.

    Args:
        policy: An Equinox module that is a policy, see `closed_loop`.
        problem: What is controlled; its own target is not used.
        draw: From a random key to a start and a target.
        episodes: How many.
        window: Steps of a window; must divide N. Default: all N.
        batch: Runs in an episode.
        optimizer: Any Optax optimizer. Default: Adam at 1e-3.
        seed: Seed of the drawing.
        adjoint: How gradients pass within a window, see `rollout`.
        resume: Progress to go on from.
        after_episode: Called with the progress and the mean cost of the episode: for checkpoints, progress bars, and
            leaving early by an exception.

    Returns:
        The trained policy, and the mean cost of each episode that was made, as it was while the policy changed.

    Raises:
        InputError: for a window that does not divide the task, a policy with nothing to train, or numbers out of range.
    """
    check_problem("train_policy", problem)
    check_policy("train_policy", policy)
    for name, value in (("episodes", episodes), ("batch", batch)):
        whole_number(f"train_policy: {name}", value)
    window = problem.steps if window is None else whole_number("train_policy: window", window)
    if problem.steps % window:
        raise InputError(
            f"train_policy: window is {window}; a whole number that divides the task's {problem.steps} steps is "
            "accepted."
        )
    optimizer = optax.adam(1e-3) if optimizer is None else optimizer
    if not isinstance(optimizer, optax.GradientTransformation):
        raise InputError(f"train_policy: optimizer is {shown(optimizer)}; an optimizer of Optax is accepted.")
    guarded = _guarded(optimizer)
    trainable, static = eqx.partition(policy, eqx.is_inexact_array)
    if not jax.tree.leaves(trainable):
        raise InputError("train_policy: the policy has no floating-point array; one that can be trained is accepted.")
    progress = first_progress(policy, optimizer) if resume is None else resume
    key, costs = jax.random.key(seed), []
    for _ in range(int(progress.episode), episodes):
        progress, cost = _episode(progress, static, problem, draw, window, batch, guarded, adjoint, key)
        costs.append(float(cost))
        if after_episode is not None:
            after_episode(progress, costs[-1])
    return eqx.combine(progress.trainable, static), np.asarray(costs)


def first_progress(policy: Any, optimizer: optax.GradientTransformation) -> PolicyProgress:
    """The progress before the first episode; what a checkpoint of a later one is loaded into."""
    trainable = eqx.filter(policy, eqx.is_inexact_array)
    return PolicyProgress(trainable, _guarded(optimizer).init(trainable), jnp.zeros((), jnp.int32))


@functools.lru_cache(maxsize=8)  # another one each time would compile training anew wherever it goes on
def _guarded(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """The optimizer, which leaves out an update that is not finite."""
    return optax.apply_if_finite(optimizer, max_consecutive_errors=2**31 - 1)


@eqx.filter_jit
def _episode(
    progress: PolicyProgress,
    static: Any,
    problem: ControlProblem,
    draw: Callable,
    window: int,
    batch: int,
    optimizer: optax.GradientTransformation,
    adjoint: Adjoint,
    key: Array,
) -> tuple[PolicyProgress, Array]:
    """All windows of one episode."""
    states, targets = jax.vmap(draw)(jax.random.split(jax.random.fold_in(key, progress.episode), batch))
    part = dataclasses.replace(problem, steps=window)

    def window_cost(trainable: Any, carries: Any, is_last: Array) -> tuple[Array, Any]:
        policy = eqx.combine(trainable, static)

        def single(carry: Any, target: Any) -> tuple[Array, Any]:
            towards = part.with_target(target)
            step = PolicyStep(towards, policy)
            carry, prices = rollout(step, carry, window, save_every=1, save=lambda carry: carry[-1], adjoint=adjoint)
            # Only the last window pays for the end; elsewhere nothing of it is differentiated either.
            end = jax.lax.cond(
                is_last,
                lambda state: problem.end_cost(state, target).astype(prices.dtype),
                lambda state: jnp.zeros((), prices.dtype),
                carry[0],
            )
            return jnp.sum(prices) + end, carry

        costs, carries = jax.vmap(single)(carries, targets)
        return jnp.mean(costs), jax.lax.stop_gradient(carries)

    def turn(carry: Any, is_last: Array) -> tuple[Any, Array]:
        trainable, memory, carries = carry
        (cost, carries), gradient = jax.value_and_grad(window_cost, has_aux=True)(trainable, carries, is_last)
        changes, memory = optimizer.update(gradient, memory, trainable)
        return (optax.apply_updates(trainable, changes), memory, carries), cost

    policy = eqx.combine(progress.trainable, static)
    carries = jax.vmap(lambda state: first_carry(problem, policy, state))(states)
    windows = jnp.arange(problem.steps // window) == problem.steps // window - 1
    carry = (progress.trainable, progress.optimizer_state, carries)
    (trainable, memory, _), costs = jax.lax.scan(turn, carry, windows)
    return PolicyProgress(trainable, memory, progress.episode + 1), jnp.sum(costs)
