r"""What is to be controlled, and what it costs.

A step that takes an input, $x_{k+1} = f(x_k, u_k)$, is steered by controls $u_0, \dots, u_{N-1}$ such that

$$J = \sum_{k=0}^{N-1} \Big( \ell(x_{k+1}, u_k, x^*) + \sum_r r(u_k, u_{k-1}) \Big) + \phi(x_N, x^*),
\qquad u^- \le u_k \le u^+,$$

is small: $\ell$ the running cost, $r$ the regularizers, $\phi$ the terminal cost and $x^*$ the target. Everything in
this room takes such a problem: trajectory optimization finds the controls of one start, a policy finds them from the
state, an environment shows it to reinforcement learning.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffphys.errors import InputError
from diffphys.grids.numbers import (
    as_floating,
    as_number,
    check_number,
    concrete,
    one_number,
    plain,
    shown,
    whole_number,
)
from diffphys.stepping import Adjoint, Checkpointed, rollout


def no_cost(*_: Any) -> Array:
    """Zero."""
    return jnp.zeros(())


class Force(eqx.Module):
    r"""The regularizer $\tfrac{w}{2} |u_k|^2$: how much force is spent, over all entries of a control.

    Args:
        weight: $w$, at least 0.
    """

    weight: Array = eqx.field(converter=as_number, default=1.0)

    def __check_init__(self):
        check_number("Force", "weight", self.weight, minimum=0.0)

    def __call__(self, control: Any, previous: Any) -> Array:
        del previous
        return 0.5 * self.weight * sum_of_squares(control)


class Jerk(eqx.Module):
    r"""The regularizer $\tfrac{w}{2} |u_k - u_{k-1}|^2$: how abruptly the control changes from step to step.

    Before the first step acts the problem's `control`, which is what $u_{-1}$ is.

    Args:
        weight: $w$, at least 0.
    """

    weight: Array = eqx.field(converter=as_number, default=1.0)

    def __check_init__(self):
        check_number("Jerk", "weight", self.weight, minimum=0.0)

    def __call__(self, control: Any, previous: Any) -> Array:
        return 0.5 * self.weight * sum_of_squares(jax.tree.map(jnp.subtract, control, previous))


class ControlProblem(eqx.Module):
    """A step that takes a control, a time to reach something in, and what that costs; formula at the top of this file.

    Numbers in the step, in the costs (where these are modules), the target and the bounds are traced: changing one
    compiles nothing anew, and each has a gradient.

    Args:
        step: `step(state, control) -> state`.
        steps: N, how many steps the task lasts.
        control: The control that acts before the first step, usually zeros; all others have its structure and shapes.
        running_cost: `running_cost(state, control, target)`, a number: of the state that a step leads to and of the
            control that led there. Default: zero.
        terminal_cost: `terminal_cost(state, target)`, a number: of the last state. Default: zero.
        target: Any pytree of numbers that the costs and policies are told. Default: nothing.
        regularizers: What the controls cost by themselves, `regularizer(control, previous)`: `Force`, `Jerk` or a
            function of your own.
        lower, upper: The bounds of the controls: one number, or a pytree with the control's structure whose arrays
            broadcast to the control's. Default: none.

    Raises:
        InputError: for what cannot be called, a control that is no floating numbers, a target that is not finite, and
            bounds of another shape or of which the upper lies below the lower.
    """

    step: Callable[[Any, Any], Any]
    steps: int = eqx.field(static=True)
    control: Any
    running_cost: Callable[[Any, Any, Any], Array]
    terminal_cost: Callable[[Any, Any], Array]
    target: Any
    regularizers: tuple[Callable[[Any, Any], Array], ...]
    lower: Any
    upper: Any

    def __init__(
        self,
        step: Callable[[Any, Any], Any],
        steps: int,
        control: Any,
        *,
        running_cost: Callable[[Any, Any, Any], Array] = no_cost,
        terminal_cost: Callable[[Any, Any], Array] = no_cost,
        target: Any = None,
        regularizers: Sequence[Callable[[Any, Any], Array]] = (),
        lower: Any = -np.inf,
        upper: Any = np.inf,
    ):
        self.step, self.running_cost, self.terminal_cost = step, running_cost, terminal_cost
        if not isinstance(regularizers, (tuple, list)):
            raise InputError(
                f"ControlProblem: regularizers is {shown(regularizers)}; a tuple of functions is accepted."
            )
        self.steps, self.regularizers = plain(steps), tuple(regularizers)
        self.control = jax.tree.map(lambda leaf: as_floating(leaf, "ControlProblem: control"), control)
        self.target = jax.tree.map(lambda leaf: as_floating(leaf, "ControlProblem: target", complex=True), target)
        self.lower, self.upper = (self._bound(name, bound) for name, bound in (("lower", lower), ("upper", upper)))

    def __check_init__(self):
        whole_number("ControlProblem: steps", self.steps)
        functions = {"step": self.step, "running_cost": self.running_cost, "terminal_cost": self.terminal_cost}
        functions |= {f"regularizers[{index}]": one for index, one in enumerate(self.regularizers)}
        for name, function in functions.items():
            if not callable(function):
                raise InputError(f"ControlProblem: {name} is {shown(function)}; a function is accepted.")
        if not jax.tree.leaves(self.control):
            raise InputError(f"ControlProblem: control is {shown(self.control)}; at least one array is accepted.")
        for leaf in jax.tree.leaves(self.control):
            check_number("ControlProblem", "control", leaf, scalar=False)
        for leaf in jax.tree.leaves(self.target):
            check_number("ControlProblem", "target", leaf, scalar=False)
        for lower, upper in zip(jax.tree.leaves(self.lower), jax.tree.leaves(self.upper), strict=True):
            low, high = concrete(lower), concrete(upper)
            if low is not None and high is not None and not np.all(low <= high):
                raise InputError(
                    f"ControlProblem: lower is {shown(low)} and upper {shown(high)}; a lower bound that is a number "
                    "and nowhere above the upper one is accepted."
                )

    def with_target(self, target: Any) -> "ControlProblem":
        """The same problem with another target."""
        return dataclasses.replace(self, target=target)

    def bounded(self, control: Any) -> Any:
        """The control, or controls with a leading axis of steps, within the bounds to the last bit."""
        return jax.tree.map(
            lambda one, low, high: jnp.minimum(jnp.maximum(one, low.astype(one.dtype)), high.astype(one.dtype)),
            control,
            self.lower,
            self.upper,
        )

    def step_cost(self, state: Any, control: Any, previous: Any, target: Any) -> Array:
        """What a step costs: the running cost of the state it leads to, and the regularizers."""
        price = one_number("ControlProblem: running_cost", self.running_cost(state, control, target))
        return sum((regularizer(control, previous) for regularizer in self.regularizers), price)

    def end_cost(self, state: Any, target: Any) -> Array:
        """What the last state costs."""
        return one_number("ControlProblem: terminal_cost", self.terminal_cost(state, target))

    def at_rest(self, steps: int | None = None) -> Any:
        """The controls that stay as they are before the first step, with a leading axis of `steps` (N)."""
        count = self.steps if steps is None else steps
        return self.bounded(jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *leaf.shape)), self.control))

    def checked_controls(self, owner: str, controls: Any) -> Any:
        """The controls of all steps as arrays.

        Raises:
            InputError: where they have not the structure of `control`, or not its shapes behind an axis of N steps.
        """
        controls = jax.tree.map(lambda leaf: as_floating(leaf, f"{owner}: controls"), controls)
        if jax.tree.structure(controls) != jax.tree.structure(self.control):
            raise InputError(
                f"{owner}: controls have the structure {shown(jax.tree.structure(controls))}; that of the problem's "
                f"control, {shown(jax.tree.structure(self.control))}, is accepted."
            )
        for given, one in zip(jax.tree.leaves(controls), jax.tree.leaves(self.control), strict=True):
            if given.shape != (self.steps, *one.shape):
                raise InputError(
                    f"{owner}: controls have shape {given.shape}; {(self.steps, *one.shape)}, a control for each of "
                    f"{self.steps} steps, is accepted."
                )
            check_number(owner, "controls", given, scalar=False)
        return jax.tree.map(lambda given, one: given.astype(one.dtype), controls, self.control)

    def _bound(self, name: str, bound: Any) -> Any:
        """The bound with the structure and shapes of the control."""
        if jax.tree.structure(bound) != jax.tree.structure(self.control):
            if jax.tree.structure(bound) != jax.tree.structure(0.0):
                raise InputError(
                    f"ControlProblem: {name} is {shown(bound)}; one number, or the structure of control, is accepted."
                )
            bound = jax.tree.map(lambda _: bound, self.control)

        def broadcast(one: Any, leaf: Array) -> Array:
            values = as_number(one, f"ControlProblem: {name}").astype(leaf.dtype)
            try:
                return jnp.broadcast_to(values, leaf.shape)
            except ValueError:
                raise InputError(
                    f"ControlProblem: {name} has shape {values.shape}; a number or an array of the control's shape "
                    f"{leaf.shape} is accepted."
                ) from None

        return jax.tree.map(broadcast, bound, self.control)


class Trajectory(NamedTuple):
    """A controlled run.

    Attributes:
        final: The last state.
        states: The states after each step, with a leading axis of N.
        controls: The controls of each step, with a leading axis of N.
        cost: J.
    """

    final: Any
    states: Any
    controls: Any
    cost: Array


def check_problem(owner: str, problem: Any) -> None:
    """Raise `InputError` unless it is a `ControlProblem`."""
    if not isinstance(problem, ControlProblem):
        raise InputError(f"{owner}: problem is {shown(problem)}; a ControlProblem is accepted.")


def simulate(
    problem: ControlProblem,
    state: Any,
    controls: Any,
    *,
    adjoint: Adjoint = Checkpointed(),  # noqa: B008 (frozen)
) -> Trajectory:
    """Run the step under given controls, which are brought within their bounds first.

    Args:
        problem: What is controlled.
        state: The state from which to start.
        controls: A control for each of N steps: the structure of `problem.control`, with a leading axis.
        adjoint: How gradients pass backwards in time, see `rollout`.

    Raises:
        InputError: for controls of another structure or shape, or a state that the step does not keep.
    """
    check_problem("simulate", problem)
    controls = problem.bounded(problem.checked_controls("simulate", controls))
    (final, _), (states, prices) = _priced_rollout(problem, state, controls, adjoint, _all_of_it)
    return Trajectory(final, states, controls, jnp.sum(prices) + problem.end_cost(final, problem.target))


def cost(
    problem: ControlProblem,
    state: Any,
    controls: Any,
    *,
    adjoint: Adjoint = Checkpointed(),  # noqa: B008 (frozen)
) -> Array:
    """J alone, without keeping the states: `simulate(...).cost` in the memory that the adjoint takes.

    The controls are taken as they are, also beyond their bounds.

    Args:
        problem: What is controlled.
        state: The state from which to start.
        controls: A control for each of N steps.
        adjoint: How gradients pass backwards in time, see `rollout`.

    Raises:
        InputError: as `simulate`.
    """
    check_problem("cost", problem)
    controls = problem.checked_controls("cost", controls)
    (final, _), prices = _priced_rollout(problem, state, controls, adjoint, _price)
    return jnp.sum(prices) + problem.end_cost(final, problem.target)


def sum_of_squares(tree: Any) -> Array:
    """Over all entries of all arrays."""
    return sum((jnp.sum(leaf**2) for leaf in jax.tree.leaves(tree)), jnp.zeros(()))


class _Priced(eqx.Module):
    """The step of a problem, which carries what it cost; its inputs are a control and the one before."""

    problem: ControlProblem

    def __call__(self, carry: Any, given: Any) -> Any:
        (state, price), (control, previous) = carry, given
        state = self.problem.step(state, control)
        return state, self.problem.step_cost(state, control, previous, self.problem.target).astype(price.dtype)


def _priced_rollout(problem: ControlProblem, state: Any, controls: Any, adjoint: Adjoint, save: Callable) -> Any:
    previous = jax.tree.map(lambda all, one: jnp.concatenate([one[None], all[:-1]]), controls, problem.control)
    carry = (state, jnp.zeros((), price_type(problem)))
    return rollout(
        _Priced(problem), carry, problem.steps, inputs=(controls, previous), save_every=1, save=save, adjoint=adjoint
    )


def price_type(problem: ControlProblem) -> Any:
    """The type of a cost: that of the controls."""
    return jnp.result_type(*jax.tree.leaves(problem.control))


def _all_of_it(carry: Any) -> Any:
    return carry


def _price(carry: Any) -> Array:
    return carry[1]
