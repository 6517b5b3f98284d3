"""Time: one loop over any step, its adjoint chosen by an argument.

A rollout applies `step` again and again inside one compiled loop. What a gradient through it costs in memory, and how
far back in time it reaches, is the choice of the caller:

| adjoint | gradient | memory for n steps |
|---|---|---|
| `Checkpointed()` | exact | about sqrt(n) states, 32 steps' intermediates at most; a step computed up to 3 times |
| `StoreAll()` | exact | n steps' intermediates; each step computed once |
| `Truncated(window)` | cut where a window of steps begins | as `StoreAll` |
| `Detached()` | none from step to step | as `StoreAll`, without the states' derivatives |
"""

import dataclasses
import functools
import inspect
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffphys.devices import are_several, beside, choose, keeping, varying_alike
from diffphys.errors import InputError
from diffphys.grids import Field
from diffphys.grids.numbers import as_whole, shown, whole_number
from diffphys.progress import ProgressBar


@dataclasses.dataclass(frozen=True)
class StoreAll:
    """Keep what every step's derivative needs: fastest, memory grows with the number of steps.

    Examples:
        >>> def loss(rate):
        ...     final, _ = dp.rollout(lambda x: x - rate * x, jnp.asarray(1.0), 8, adjoint=dp.StoreAll())
        ...     return final
        >>> bool(jnp.isclose(jax.grad(loss)(0.1), -8 * 0.9**7))
        True
    """


@dataclasses.dataclass(frozen=True)
class Checkpointed:
    """Keep the state at the beginning of each segment and compute the segment again when its derivative is needed
    (Griewank, Walther 2008, chapter 12). The gradient is that of `StoreAll` to round-off.

    Up to 32 steps are one segment, of which nothing is computed again. Beyond that segments have about sqrt(n) steps,
    at most 32; where these are more than 32, about sqrt(n / 32) of them form a longer segment with a checkpoint of its
    own, and each step is computed three times instead of twice.

    Args:
        segment: Steps in a segment, all of one length. Default: as said above.

    Examples:
        >>> def loss(rate):
        ...     final, _ = dp.rollout(lambda x: x - rate * x, jnp.asarray(1.0), 8, adjoint=dp.Checkpointed())
        ...     return final
        >>> bool(jnp.isclose(jax.grad(loss)(0.1), -8 * 0.9**7))
        True
    """

    segment: int | None = None


@dataclasses.dataclass(frozen=True)
class Truncated:
    """No gradient passes from one window of steps to the one before: the gradient sub-ranges of turbulence training
    (List, Chen, Thuerey 2022). One window of all steps is `StoreAll`.

    Args:
        window: Steps in a window.

    Examples:
        >>> def loss(rate):
        ...     final, _ = dp.rollout(lambda x: x - rate * x, jnp.asarray(1.0), 8, adjoint=dp.Truncated(2))
        ...     return final
        >>> bool(jnp.isclose(jax.grad(loss)(0.1), -2 * 0.9**7))
        True
    """

    window: int


@dataclasses.dataclass(frozen=True)
class Detached:
    """No gradient passes through the state that enters a step, the first included: unrolled training that sees the
    states which the trained step leads to, but not how they came about. Parameters of the step still have gradients.

    Examples:
        >>> def loss(rate):
        ...     final, _ = dp.rollout(lambda x: x - rate * x, jnp.asarray(1.0), 8, adjoint=dp.Detached())
        ...     return final
        >>> bool(jnp.isclose(jax.grad(loss)(0.1), -(0.9**7)))
        True
    """


class Outcome(NamedTuple):
    """What came of a rollout, as values that can be looked at outside of compiled programs.

    Attributes:
        steps: How many steps were made; fewer than asked for where `stop` ended it.
        first_not_finite: The first step (counted from 0) that led to a state with a number that is not finite; -1 if
            all are finite.
        courant_number: The Courant number, `step.courant_number(state)`, of the state from which that step went out;
            -1 if all states are finite or the step has no such method.
        diffusion_number: The largest `step.diffusion_number(state)` of all steps that were made, whether they led to
            finite numbers or not: beyond 1 explicit diffusion is unstable. -1 if no step was made or the step has no
            such method.
    """

    steps: Array
    first_not_finite: Array
    courant_number: Array
    diffusion_number: Array


Step = Callable[..., Any]
"""From a state to the next, `step(state)`, or with what acts in this moment, `step(state, input)`."""


class WorkingForm(NamedTuple):
    """A state in another form, in which a step would rather work: what `step.working_form(state)` returns, or None.

    A rollout then stays in it from step to step, so that what leads there and back is computed once and not in every
    step. `step(state)` has to be `back` after this step from this state, but for round-off.

    Attributes:
        state: The state in that form, any pytree of arrays.
        step: From such a state, and an input if there are any, to the next.
        back: From such a state to the usual one.
    """

    state: Any
    step: Step
    back: Callable[[Any], Any]


Adjoint = StoreAll | Checkpointed | Truncated | Detached


def rollout(
    step: Step,
    state: Any,
    steps: int,
    *,
    inputs: Any = None,
    save_every: int | None = None,
    save: Callable[[Any], Any] = lambda state: state,
    adjoint: Adjoint = Checkpointed(),  # noqa: B008 (frozen)
    stop: Callable[[Any], Any] | None = None,
    outcome: bool = False,
    progress: bool | Callable[[int, int], Any] | None = None,
) -> tuple[Any, ...]:
    """Apply `step` to `state` `steps` times.

    Args:
        step: A pure function `step(state) -> state`, or `step(state, input) -> state` if `inputs` are given. Numbers in
            it are traced if it is a pytree (as every system of `physics` is); a plain function is compiled once for
            each function object. Where it has a method `working_form(state)`, or `working_form(state, input)`, the
            rollout stays in that form: see `WorkingForm`.
        state: The initial state, any pytree of arrays.
        steps: How many steps.
        inputs: One input per step: a pytree of arrays with a leading axis of length `steps`; or None.
        save_every: Save after every so many steps. Must divide `steps`. Default: save nothing.
        save: From a state to what is saved of it, where `save_every` asks for it. Default: all of it.
        adjoint: How gradients pass backwards in time.
        stop: From a state to whether to stop there, a boolean; tried on the first state and after every step. From then
            on the state stays as it is, and so does what is saved; its gradient is that of the steps that were made,
            whatever a step from there would give. Under `jax.vmap` each member of the batch stops by itself; those that
            have stopped cost as much as the others.
        outcome: Whether to return an `Outcome` as well.
        progress: True shows a bar on standard error. Or a function that is called, also from compiled programs, with
            the steps made and their number: with 0 first, then after every hundredth of them. The backward pass of a
            gradient calls it again for steps that it computes again. Where it is None nothing is added to the program.

    Returns:
        The final state, and what was saved as one pytree with a leading axis of length `steps / save_every` (None
        without `save_every`). The initial state is not among them. With `outcome=True`, the `Outcome` comes third.

    Raises:
        InputError: for counts that are not positive or do not divide, inputs of another length, or a step that changes
            the shape or type of its state.

    Examples:
        >>> final, frames = dp.rollout(lambda x: 0.5 * x, jnp.asarray(8.0), steps=4, save_every=2)
        >>> float(final), frames.tolist()
        (0.5, [2.0, 0.5])
    """
    steps = whole_number("rollout: steps", steps, least=0)
    if save_every is not None:
        every = as_whole(save_every)
        if every is None or steps % every:
            raise InputError(
                f"rollout: save_every is {shown(save_every)}; a whole number that divides steps ({steps}) is accepted."
            )
        save_every = every
    if not isinstance(adjoint, Adjoint):
        raise InputError(
            f"rollout: adjoint is {shown(adjoint)}; StoreAll(), Checkpointed(), Truncated(window) or Detached() is "
            "accepted."
        )
    for name in ("segment", "window"):
        length = getattr(adjoint, name, None)
        if length is not None:
            adjoint = dataclasses.replace(adjoint, **{name: whole_number(f"rollout: {name} of the adjoint", length)})
    if isinstance(adjoint, Truncated) and 0 < steps < adjoint.window:
        raise InputError(f"rollout: window of the adjoint is {adjoint.window}; at most steps ({steps}) is accepted.")
    if not callable(save):
        raise InputError(f"rollout: save is {shown(save)}; a function from a state to what is saved of it is accepted.")
    if stop is not None and not callable(stop):
        raise InputError(f"rollout: stop is {shown(stop)}; a function from a state to a boolean, or None, is accepted.")
    if not isinstance(outcome, (bool, np.bool_)):
        raise InputError(f"rollout: outcome is {shown(outcome)}; True or False is accepted.")
    if progress is True:
        progress = ProgressBar()
    if progress is not None and progress is not False and not callable(progress):
        raise InputError(
            f"rollout: progress is {shown(progress)}; True, or a function of the steps made and their number, is "
            "accepted."
        )
    if not callable(step):
        raise InputError(f"rollout: step is {shown(step)}; a function from a state to the next state is accepted.")
    inputs = _as_arrays(inputs, "inputs")
    for leaf in jax.tree.leaves(inputs):
        if jnp.ndim(leaf) == 0 or jnp.shape(leaf)[0] != steps:
            raise InputError(
                f"rollout: an array of inputs has shape {jnp.shape(leaf)}; a leading axis of length {steps}, one "
                "entry for each step, is accepted."
            )
    state = _as_arrays(state, "state")  # also Python's numbers, so that another value compiles nothing anew
    final, saved, found = _rollout(
        step, state, steps, inputs, save_every, save, adjoint, stop, bool(outcome), progress or None
    )
    return (final, saved, found) if outcome else (final, saved)


@eqx.filter_jit
def _traced_once(step: Step, *given: Any) -> Any:
    """What a step gives. Where it is asked for again with arguments of the same shapes, Python does not run again."""
    return step(*given)


@eqx.filter_jit
def _rollout(
    step: Step,
    state: Any,
    steps: int,
    inputs: Any,
    save_every: int | None,
    save: Callable,
    adjoint: Adjoint,
    stop: Callable | None,
    outcome: bool,
    progress: Callable | None,
):
    # Without a step there is no first input, but its type is known.
    first = jax.tree.map(lambda leaf: leaf[0] if steps else jnp.zeros_like(leaf, shape=leaf.shape[1:]), inputs)
    known = _check_step(step, state, inputs, first)
    advanced, usual = functools.partial(_traced_once, step), lambda state: state
    if steps and stop is None:  # where no step is made the state is returned as it is
        form = _working_form(step, state, inputs, first)
        if form is not None:
            state, advanced, usual = form
            known = _check_step(advanced, state, inputs, first)

    def made(current, given):
        following = advanced(current) if inputs is None else advanced(current, given)
        return jax.tree.map(lambda new, old: jnp.asarray(new, old.dtype), following, current)

    made, state = keeping(made, state, first, following=known)

    def turn(carry, given):
        index, current, watched = carry
        if stop is None:
            following = made(_cut(current, index, adjoint), given)
        else:
            following = _made_unless(watched[0], made, current, given, lambda state: _cut(state, index, adjoint))
        if watched is not None:
            watched = _watched(watched, step, stop, outcome, index, usual(current), usual(following))
        if progress is not None:
            _tell(progress, index + 1, steps)
        return index + 1, following, watched

    if progress is not None:
        jax.debug.callback(functools.partial(_in_numbers, progress, steps), 0)
    watched = None  # without a condition or a report the loop carries nothing for them
    if stop is not None or outcome:
        stopped = jnp.zeros((), bool) if stop is None else _condition(stop, state)
        unknown = jnp.full((), -1.0)
        watched = (stopped, Outcome(jnp.zeros((), jnp.int32), jnp.full((), -1, jnp.int32), unknown, unknown))
        watched = jax.tree.map(lambda number: beside(number, state), watched)
    carry, segments = (jnp.zeros((), jnp.int32), state, watched), _segments(steps, adjoint)
    turn, carry = keeping(turn, carry, first, following=known)

    def advance(carry, given):
        return turn(carry, given), None

    if save_every is None:
        (_, final, watched), _ = _loop(advance, carry, inputs, steps, segments)
        return usual(final), None, watched and watched[1]

    def advance_frame(carry, given):
        carry, _ = _loop(advance, carry, given, save_every, segments)
        return carry, _as_arrays(save(usual(carry[1])), "what save returns")

    frames = steps // save_every
    per_frame = jax.tree.map(lambda leaf: leaf.reshape(frames, save_every, *leaf.shape[1:]), inputs)
    whole_frames = tuple(segment // save_every for segment in segments if segment >= save_every)
    (_, final, watched), saved = _loop(advance_frame, carry, per_frame, frames, whole_frames)
    return usual(final), saved, watched and watched[1]


def _working_form(step: Step, state: Any, inputs: Any, first: Any) -> WorkingForm | None:
    if not hasattr(step, "working_form"):
        return None
    return step.working_form(state) if inputs is None else step.working_form(state, first)


def _tell(progress: Callable, done: Array, steps: int) -> None:
    """Say how many steps are made, after every hundredth of them. It waits for nothing and changes no number."""
    due = (done % math.ceil(steps / 100) == 0) | (done == steps)
    call = functools.partial(_in_numbers, progress, steps)
    jax.lax.cond(due, lambda: jax.debug.callback(call, done), lambda: None)


def _in_numbers(progress: Callable, steps: int, done: Any) -> None:
    progress(int(done), steps)


def _made_unless(stopped: Array, made: Callable, current: Any, given: Any, cut: Callable[[Any], Any]) -> Any:
    """The state after a step, or where a rollout has stopped that state itself.

    Under `jax.vmap` both are computed and one is chosen. The derivative of a step that is not made may be infinite, and
    zero times infinity is NaN: so nothing that the step depends on, its own numbers neither, hears of it. On several
    devices its own numbers do.
    """

    def following(state: Any) -> Any:
        if are_several(stopped, state):  # there a program that is traced already cannot be given numbers that vary
            function, numbers = made, []
        else:
            function, numbers = jax.closure_convert(made, state, given)
        heard = jax.tree.map(lambda leaf: _heard_unless(stopped, leaf), (cut(state), given, numbers))
        return function(heard[0], heard[1], *heard[2])

    return choose(stopped, lambda state: state, following, current)


def _heard_unless(stopped: Array, leaf: Array) -> Array:
    """The number itself, whose derivative is zero where a rollout has stopped."""
    if not jnp.issubdtype(jnp.result_type(leaf), jnp.inexact):
        return leaf
    return _selected(*varying_alike([stopped, leaf]))


@jax.custom_jvp
def _selected(stopped: Array, leaf: Array) -> Array:
    return leaf


@_selected.defjvp
def _selected_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    (stopped, leaf), (_, tangent) = primals, tangents
    return leaf, jnp.where(stopped, jnp.zeros_like(tangent), tangent)


def _condition(stop: Callable, state: Any) -> Array:
    found = stop(state)
    if not isinstance(found, (Array, np.ndarray, np.generic, bool)):
        raise InputError(f"rollout: stop returns {shown(found)}; one boolean is accepted.")
    found = jnp.asarray(found)
    if found.shape != () or found.dtype != bool:
        raise InputError(
            f"rollout: stop returns an array of shape {found.shape} and type {found.dtype}; one boolean is accepted "
            "(jnp.any or jnp.all make one of many)."
        )
    return found


def _watched(watched: Any, step: Any, stop: Callable | None, outcome: bool, index: Array, current: Any, following: Any):
    """Whether to stop now, and what is known so far."""
    stopped, found = watched
    counted = found.steps + 1 - stopped.astype(jnp.int32)
    if outcome:
        numbers = [leaf for leaf in jax.tree.leaves(following) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
        finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in numbers])) if numbers else True
        first = (found.first_not_finite < 0) & ~jnp.asarray(finite) & ~stopped
        courant, diffusion = found.courant_number, found.diffusion_number
        if hasattr(step, "courant_number"):
            number = jax.lax.stop_gradient(step.courant_number(current))
            courant = jnp.where(first, number.astype(courant.dtype), courant)
        if hasattr(step, "diffusion_number"):
            number = jax.lax.stop_gradient(step.diffusion_number(current))
            diffusion = jnp.where(stopped, diffusion, jnp.maximum(diffusion, number.astype(diffusion.dtype)))
        found = Outcome(counted, jnp.where(first, index, found.first_not_finite), courant, diffusion)
    else:
        found = found._replace(steps=counted)
    return (stopped if stop is None else stopped | _condition(stop, following)), found


LONGEST = 32  # steps in a segment, and segments in the one that holds them


def _segments(steps: int, adjoint: Adjoint) -> tuple[int, ...]:
    """The lengths of the segments, each within the one before; none where nothing is computed again."""
    if not isinstance(adjoint, Checkpointed):
        return ()
    if adjoint.segment:
        return (adjoint.segment,)
    if steps <= LONGEST:
        return ()
    segment = _near(min(math.sqrt(steps), float(LONGEST)), steps, LONGEST)
    count = steps // segment
    return (segment,) if count <= LONGEST else (segment * _near(math.sqrt(count), count, count), segment)


def _near(length: float, whole: int, longest: int) -> int:
    """Of the lengths within a factor of two the nearest that leaves no remainder, which would be compiled by itself."""
    candidates = range(math.ceil(length / 2), min(int(2 * length), longest) + 1)
    near = sorted(candidates, key=lambda one: abs(math.log(one / length)))
    return next((one for one in near if whole % one == 0), round(length))


def _cut(state: Any, index: Array, adjoint: Adjoint) -> Any:
    match adjoint:
        case Detached():
            return jax.lax.stop_gradient(state)
        case Truncated(window=window):
            first = (index % window == 0) & (index > 0)
            return jax.tree.map(lambda leaf: jnp.where(first, jax.lax.stop_gradient(leaf), leaf), state)
    return state


def _loop(body: Callable, carry: Any, inputs: Any, length: int, segments: tuple[int, ...]) -> tuple[Any, Any]:
    """`jax.lax.scan` over `length` steps, in checkpointed segments within segments, those that are shorter."""
    segments = tuple(segment for segment in segments if segment < length)
    if not segments:
        return jax.lax.scan(body, carry, inputs, length)
    segment, *shorter = segments
    whole, rest = divmod(length, segment)

    def advance(carry, given, count):
        return jax.checkpoint(lambda carry, given: _loop(body, carry, given, count, tuple(shorter)))(carry, given)

    head = jax.tree.map(lambda leaf: leaf[: whole * segment].reshape(whole, segment, *leaf.shape[1:]), inputs)
    carry, saved = jax.lax.scan(lambda carry, given: advance(carry, given, segment), carry, head, whole)
    saved = jax.tree.map(lambda leaf: leaf.reshape(whole * segment, *leaf.shape[2:]), saved)
    if rest:
        tail = jax.tree.map(lambda leaf: leaf[whole * segment :], inputs)
        carry, last = advance(carry, tail, rest)
        saved = jax.tree.map(lambda head, tail: jnp.concatenate([head, tail]), saved, last)
    return carry, saved


def _check_step(step: Step, state: Any, inputs: Any, first: Any) -> Any:
    """One clear sentence where the step's result cannot be its next argument; the types of that result."""
    if inputs is not None and not _accepts_input(step):
        raise InputError("rollout: inputs are given but step accepts a state only; step(state, input) is accepted.")
    given = () if inputs is None else (first,)
    try:
        following = jax.eval_shape(lambda: _as_arrays(_traced_once(step, state, *given), "what step returns"))
    except jax.errors.TracerArrayConversionError as error:
        raise InputError(
            "rollout: step gives to NumPy an array whose values are not known while it is compiled; functions of "
            "jax.numpy are accepted."
        ) from error
    except jax.errors.TracerBoolConversionError as error:
        raise InputError(
            "rollout: step decides (if, while, and, or) by values that are not known while it is compiled; jnp.where "
            "and jax.lax.cond are accepted."
        ) from error
    before, after = jax.tree.structure(state), jax.tree.structure(following)
    if before != after:
        raise InputError(f"rollout: {_changed(state, following)}; a step that keeps the state's structure is accepted.")
    for old, new in zip(jax.tree.leaves(state), jax.tree.leaves(following), strict=True):
        if jnp.shape(old) != new.shape:
            raise InputError(
                f"rollout: step turns an array of shape {jnp.shape(old)} into {new.shape}; a step that keeps the "
                "shapes of its state is accepted (for a batch of states use jax.vmap)."
            )
        if old.dtype != new.dtype:
            raise InputError(
                f"rollout: step turns an array of type {old.dtype} into {new.dtype}; a step that keeps the types of "
                "its state is accepted."
            )
    return following


def _changed(state: Any, following: Any) -> str:
    """What a step has changed of its state besides the numbers, in few words."""
    trees = [jax.tree.flatten(tree, is_leaf=lambda node: isinstance(node, Field)) for tree in (state, following)]
    for old, new in zip(trees[0][0], trees[1][0], strict=False):
        if isinstance(old, Field) and isinstance(new, Field):
            if old.grid != new.grid:
                return f"step turns a field of {old.grid} into one on another grid, {new.grid}"
            if old.offset != new.offset:
                return f"step turns a field at offset {old.offset} into one at {new.offset}"
            if jax.tree.structure(old) != jax.tree.structure(new):
                kinds = [[[type(end).__name__ for end in pair] for pair in field.conditions] for field in (old, new)]
                return f"step turns a field with conditions {kinds[0]} into one with {kinds[1]}"
    before, after = (shown(jax.tree.structure(tree)) for tree in (state, following))
    return f"step turns a state of structure {before} into {after}"


def _accepts_input(step: Step) -> bool:
    try:
        inspect.signature(step).bind(None, None)
    except TypeError:
        return False
    except ValueError:  # a builtin without a signature
        return True
    return True


def _as_arrays(tree: Any, name: str) -> Any:
    def convert(leaf: Any) -> Array:
        try:
            if isinstance(leaf, (str, bytes)):  # JAX would take it for the name of a type
                raise TypeError
            return jnp.asarray(leaf)
        except (TypeError, ValueError, OverflowError):
            raise InputError(f"rollout: {name} contains {shown(leaf)}; a pytree of arrays is accepted.") from None

    return jax.tree.map(convert, tree)
