"""Closed loops: a policy looks at the state in every step and says what the control is.

A policy is a function `policy(state, target) -> control`, or one that remembers something from step to step: then it
has a method `initial_memory()`, and is called as `policy(state, target, memory) -> (control, memory)`. Networks that
are Equinox modules, the classical controllers of this room and model-predictive control are policies alike.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from diffphys.control.problem import ControlProblem, Trajectory, check_problem, price_type
from diffphys.errors import InputError
from diffphys.grids.numbers import as_floating, shown
from diffphys.stepping import Adjoint, Checkpointed, rollout


def closed_loop(
    problem: ControlProblem,
    policy: Callable[..., Any],
    state: Any,
    *,
    adjoint: Adjoint = Checkpointed(),  # noqa: B008 (frozen)
) -> Trajectory:
    """Run the step under a policy, whose controls are brought within their bounds.

    Args:
        problem: What is controlled.
        policy: See the top of this file.
        state: The state from which to start.
        adjoint: How gradients pass backwards in time, see `rollout`; with `Truncated(window)` none passes from one
            window to the one before, neither through the state nor through the policy's memory.

    Raises:
        InputError: for a policy that returns a control of another structure or shape.
    """
    check_problem("closed_loop", problem)
    check_policy("closed_loop", policy)
    carry = first_carry(problem, policy, state)
    carry, (states, controls, prices) = rollout(
        PolicyStep(problem, policy), carry, problem.steps, save_every=1, save=_without_memory, adjoint=adjoint
    )
    final = carry[0]
    return Trajectory(final, states, controls, jnp.sum(prices) + problem.end_cost(final, problem.target))


class PolicyStep(eqx.Module):
    """A step under a policy. It carries the state, the policy's memory, the last control, and what the step cost."""

    problem: ControlProblem
    policy: Callable[..., Any]

    def __call__(self, carry: tuple[Any, Any, Any, Array]) -> tuple[Any, Any, Any, Array]:
        problem, (state, memory, previous, price) = self.problem, carry
        control, memory = decision(problem, self.policy, state, problem.target, memory)
        state = problem.step(state, control)
        return state, memory, control, problem.step_cost(state, control, previous, problem.target).astype(price.dtype)


def first_carry(problem: ControlProblem, policy: Callable[..., Any], state: Any) -> tuple[Any, Any, Any, Array]:
    """What `PolicyStep` carries before the first step."""
    return state, initial_memory(policy), problem.control, jnp.zeros((), price_type(problem))


def check_policy(owner: str, policy: Any) -> None:
    """Refuse what is no policy."""
    if not callable(policy):
        raise InputError(
            f"{owner}: policy is {shown(policy)}; a function policy(state, target), or one with memory, is accepted."
        )


def initial_memory(policy: Any) -> Any:
    """What a policy remembers before the first step; None where it remembers nothing."""
    return policy.initial_memory() if hasattr(policy, "initial_memory") else None


def decision(problem: ControlProblem, policy: Any, state: Any, target: Any, memory: Any) -> tuple[Any, Any]:
    """The policy's control within the bounds, and its memory.

    Raises:
        InputError: for a control of another structure or shape than the problem's.
    """
    if hasattr(policy, "initial_memory"):
        control, memory = policy(state, target, memory)
    else:
        control = policy(state, target)
    control = jax.tree.map(lambda leaf: as_floating(leaf, "closed_loop: the policy's control"), control)
    if jax.tree.structure(control) != jax.tree.structure(problem.control):
        raise InputError(
            f"closed_loop: the policy returns a control of structure {shown(jax.tree.structure(control))}; that of the "
            f"problem's control, {shown(jax.tree.structure(problem.control))}, is accepted."
        )
    for given, one in zip(jax.tree.leaves(control), jax.tree.leaves(problem.control), strict=True):
        if given.shape != one.shape:
            raise InputError(
                f"closed_loop: the policy returns a control of shape {given.shape}; {one.shape} is accepted."
            )
    control = jax.tree.map(lambda given, one: given.astype(one.dtype), control, problem.control)
    return problem.bounded(control), memory


def _without_memory(carry: tuple[Any, Any, Any, Array]) -> tuple[Any, Any, Array]:
    state, _, control, price = carry
    return state, control, price
