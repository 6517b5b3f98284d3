r"""The predictor-corrector hierarchy of Holl, Koltun, Thuerey, "Learning to control PDEs with differentiable physics"
(ICLR 2020): networks plan what is between two observations, and a controller follows the plan step by step.

An observation predictor $\mathrm{OP}_n$ says from the observations of frames $i$ and $i + n$ what to be seen half-way,
at $i + n/2$. Asked for half after half, they break a long task into single steps; an estimator of the control then
takes the state of one frame to the planned observation of the next. The left end of every interval is the real state by
the time it is used, the right end the latest plan:

- **Staggered execution** of the interval $(i, i + n)$: $\mathrm{OP}_n$ plans frame $i + n/2$; the left half is
  executed; the right half is executed. N steps ask the predictors N - 1 times.
- **Prediction refinement**: in a left half $(i, i + n)$, and in what is executed within its right half, all plans
  beyond are renewed as soon as the first half is done: $\mathrm{OP}_n(i + n, i + 2n)$ plans frame $i + 3n/2$ anew, and
  $\mathrm{OP}_n(i + n/2, i + 3n/2)$ the interval's own right end. Networks that were trained in staggered execution can
  be used so.

The intervals are loops of two turns, one within the other, so that each predictor is compiled once and not for each of
its calls.
"""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from diffphys.control.problem import ControlProblem, Trajectory, check_problem, price_type
from diffphys.errors import InputError
from diffphys.grids.numbers import shown


def the_state(state: Any) -> Any:
    """All of the state is observed."""
    return state


class PredictorCorrector(eqx.Module):
    """Observation predictors and an estimator of the control; `execute` runs them.

    Args:
        predictors: OP_2, OP_4, ..., OP_N: each takes two observations to the one between them.
        estimator: `estimator(state, observation) -> control`, the control that takes the state to the observation in
            one step: a network, or a formula where the step can be inverted.
        observe: From a state to what is observed of it. Default: all of it.

    Raises:
        InputError: for what cannot be called, or no predictors.
    """

    predictors: tuple[Callable[[Any, Any], Any], ...]
    estimator: Callable[[Any, Any], Any]
    observe: Callable[[Any], Any] = eqx.field(static=True)

    def __init__(
        self,
        predictors: Sequence[Callable[[Any, Any], Any]],
        estimator: Callable[[Any, Any], Any],
        observe: Callable[[Any], Any] = the_state,
    ):
        self.predictors, self.estimator, self.observe = tuple(predictors), estimator, observe
        if not self.predictors or not all(map(callable, self.predictors)):
            raise InputError(
                f"PredictorCorrector: predictors is {shown(predictors)}; one function of two observations for each of "
                "2, 4, ..., N steps is accepted."
            )
        for name, function in (("estimator", estimator), ("observe", observe)):
            if not callable(function):
                raise InputError(f"PredictorCorrector: {name} is {shown(function)}; a function is accepted.")

    @property
    def steps(self) -> int:
        """N, the steps that the hierarchy plans."""
        return 2 ** len(self.predictors)


def execute(hierarchy: PredictorCorrector, problem: ControlProblem, state: Any, *, refined: bool = False) -> Trajectory:
    """Run a problem's step under a hierarchy, towards the problem's target, which is the last observation.

    Controls are brought within their bounds. Everything is differentiable; jit it.

    Args:
        hierarchy: Predictors and estimator.
        problem: What is controlled, with as many steps as the hierarchy plans.
        state: The state from which to start.
        refined: Whether plans are renewed as said at the top of this file, else executed staggered.

    Raises:
        InputError: for a problem of another number of steps.
    """
    check_problem("execute", problem)
    if problem.steps != hierarchy.steps:
        raise InputError(
            f"execute: the problem has {problem.steps} steps and the hierarchy predictors for {hierarchy.steps}; equal "
            "numbers, a power of two, are accepted."
        )
    carry = (state, problem.control, jnp.zeros((), price_type(problem)))
    levels = len(hierarchy.predictors)
    run = _refined if refined else _staggered
    beyond = (problem.target, jnp.asarray(False)) if refined else ()
    carry, saved = run(_Acting(hierarchy, problem), levels, carry, problem.target, *beyond)
    states, controls = jax.tree.map(lambda leaf: leaf.reshape(problem.steps, *leaf.shape[levels:]), saved)
    final, _, price = carry
    return Trajectory(final, states, controls, price + problem.end_cost(final, problem.target))


def midpoint_error(hierarchy: PredictorCorrector, observations: Any) -> Array:
    r"""How far predictors are from what has been seen, to train them before they act together:

    $$\sum_n \frac{1}{2} \sum_i \big| \mathrm{OP}_n(o_i, o_{i + n}) - o_{i + n/2} \big|^2,
    \qquad i = 0, n, 2n, \dots, N - n.$$

    Args:
        hierarchy: Its estimator is not needed.
        observations: Of frames 0 to N, with a leading axis of N + 1.

    Raises:
        InputError: for another number of frames.
    """
    counts = {jnp.shape(leaf)[0] if jnp.ndim(leaf) else 0 for leaf in jax.tree.leaves(observations)}
    if counts != {hierarchy.steps + 1}:
        raise InputError(
            f"midpoint_error: observations have {sorted(counts)} frames; {hierarchy.steps + 1}, the first and one for "
            "each step, are accepted."
        )
    error = jnp.zeros(())
    for level, predictor in enumerate(hierarchy.predictors, start=1):
        span = 2**level
        starts = _cut(observations, slice(0, -1, span))
        middles = _cut(observations, slice(span // 2, None, span))
        ends = _cut(observations, slice(span, None, span))
        planned = jax.vmap(predictor)(starts, ends)
        squares = jax.tree.map(lambda one, two: 0.5 * jnp.sum((one - two) ** 2), planned, middles)
        error = error + sum(jax.tree.leaves(squares))
    return error


class _Acting(eqx.Module):
    """The single step: the estimator's control, within its bounds, and what it costs."""

    hierarchy: PredictorCorrector
    problem: ControlProblem

    def __call__(self, carry: Any, planned: Any) -> tuple[Any, Any]:
        (state, previous, price), problem = carry, self.problem
        control = problem.bounded(self.hierarchy.estimator(state, planned))
        state = problem.step(state, control)
        cost = problem.step_cost(state, control, previous, problem.target).astype(price.dtype)
        return (state, control, price + cost), (state, control)

    def middle(self, level: int, left: Any, right: Any) -> Any:
        """The plan of the predictor for 2^level steps."""
        return self.hierarchy.predictors[level - 1](left, right)

    def seen(self, carry: Any) -> Any:
        """What is observed of the state that is carried."""
        return self.hierarchy.observe(carry[0])


def _staggered(acting: _Acting, level: int, carry: Any, right: Any) -> tuple[Any, Any]:
    """Execute 2^level steps towards the plan `right`."""
    if level == 0:
        return acting(carry, right)
    middle = acting.middle(level, acting.seen(carry), right)

    def half(carry: Any, goal: Any) -> tuple[Any, Any]:
        return _staggered(acting, level - 1, carry, goal)

    return jax.lax.scan(half, carry, _both(middle, right))


def _refined(acting: _Acting, level: int, carry: Any, right: Any, beyond: Any, renewing: Array) -> tuple[Any, Any]:
    """Execute 2^level steps towards the plan `right`; where `renewing`, `beyond` is the plan as many steps later."""
    if level == 0:
        return acting(carry, right)
    middle = acting.middle(level, acting.seen(carry), right)

    def half(inner: Any, is_left: Array) -> tuple[Any, Any]:
        carry, goal, later = inner
        carry, saved = _refined(acting, level - 1, carry, goal, later, is_left | renewing)

        def renewed() -> tuple[Any, Any]:
            later = acting.middle(level, right, beyond)
            return acting.middle(level, acting.seen(carry), later), later

        # After the left half; a left half is executed for the interval's own right end, whether or not that is renewed.
        goals = jax.lax.cond(is_left & renewing, renewed, lambda: (right, beyond))
        return (carry, *goals), saved

    inner, saved = jax.lax.scan(half, (carry, middle, right), jnp.asarray([True, False]))
    return inner[0], saved


def _cut(frames: Any, part: slice) -> Any:
    return jax.tree.map(lambda leaf: leaf[part], frames)


def _both(first: Any, second: Any) -> Any:
    return jax.tree.map(lambda one, two: jnp.stack([one, two]), first, second)
