r"""Open-loop trajectory optimization: the controls of one start, by the gradient through the solver.

Optimizers of Optax descend, and what leaves the bounds is brought back after each update (projected gradients,
Bertsekas 1976). Minimizers of Optimistix know no bounds: they see $u = u^- + (u^+ - u^-)\, \sigma(z)$ with the logistic
function $\sigma$ where there are two, $u = u^\pm \mp \mathrm{softplus}(z)$ where there is one, and move $z$.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
import optimistix
from jax import Array

from diffphys.control.problem import ControlProblem, check_problem, cost
from diffphys.errors import InputError
from diffphys.grids.numbers import shown, whole_number
from diffphys.stepping import Adjoint, Checkpointed


Optimizer = optax.GradientTransformation | optimistix.AbstractMinimiser

_DEFAULT = optax.lbfgs()  # one for all calls: another one, with functions of its own, would compile anew
_INWARD = 1e-3  # how far a start on a bound is moved inward for a minimizer that cannot see bounds


class Plan(NamedTuple):
    r"""Controls that an optimizer has found.

    Attributes:
        controls: Of each step, with a leading axis of N: the best of all iterations, within their bounds.
        cost: J there.
        first_cost: J of the controls from which it started.
        iterations: How many were made.
        stationarity: The largest entry of $|u - P(u - \nabla J)|$ with the projection $P$ onto the bounds: zero where
            no small change within the bounds lowers J.
    """

    controls: Any
    cost: Array
    first_cost: Array
    iterations: Array
    stationarity: Array


def optimize_controls(
    problem: ControlProblem,
    state: Any,
    controls: Any = None,
    *,
    optimizer: Optimizer | None = None,
    iterations: int = 200,
    adjoint: Adjoint = Checkpointed(),  # noqa: B008 (frozen)
) -> Plan:
    """The controls that take a start to where the problem's costs are low, in one compiled program.

    It may be called within `jax.jit` and `jax.vmap`: many starts or targets are one batch.

    Args:
        problem: What is controlled.
        state: The state from which to start.
        controls: Where the optimizer starts (a warm start): a control for each of N steps. Default: those at rest.
        optimizer: Any of Optax, those that ask for the loss included (`optax.lbfgs()`), or a minimizer of Optimistix
            (`optimistix.BFGS(rtol, atol)`). Default: `optax.lbfgs()`.
        iterations: How many; of a minimizer of Optimistix, at most.
        adjoint: How gradients pass backwards in time, see `rollout`.

    Raises:
        InputError: for controls of another structure or shape, or another optimizer.
    """
    check_problem("optimize_controls", problem)
    iterations = whole_number("optimize_controls: iterations", iterations)
    optimizer = _DEFAULT if optimizer is None else optimizer
    if not isinstance(optimizer, Optimizer):
        raise InputError(
            f"optimize_controls: optimizer is {shown(optimizer)}; one of Optax, or a minimizer of Optimistix, is "
            "accepted."
        )
    controls = problem.at_rest() if controls is None else problem.checked_controls("optimize_controls", controls)
    return _optimize(problem, state, problem.bounded(controls), optimizer, iterations, adjoint)


@eqx.filter_jit
def _optimize(
    problem: ControlProblem, state: Any, start: Any, optimizer: Optimizer, iterations: int, adjoint: Adjoint
) -> Plan:
    def objective(controls: Any) -> Array:
        return cost(problem, state, controls, adjoint=adjoint)

    find = _minimized if isinstance(optimizer, optimistix.AbstractMinimiser) else _descended
    return find(problem, objective, start, optimizer, iterations)


def _descended(problem: ControlProblem, objective: Any, start: Any, optimizer: Any, iterations: int) -> Plan:
    optimizer = optax.with_extra_args_support(optimizer)

    def advance(carry: Any, _: None) -> tuple[Any, Array]:
        controls, memory, best = carry
        value, gradient = jax.value_and_grad(objective)(controls)
        best = jax.tree.map(lambda new, old: jnp.where(value < best[1], new, old), (controls, value, gradient), best)
        # A search along a line asks for the cost elsewhere; other optimizers leave these three unread.
        asked = {"value": value, "grad": gradient, "value_fn": lambda other: objective(problem.bounded(other))}
        changes, memory = optimizer.update(gradient, memory, controls, **asked)
        return (problem.bounded(optax.apply_updates(controls, changes)), memory, best), value

    worst = jnp.full_like(jax.eval_shape(objective, start), jnp.inf)
    carry = (start, optimizer.init(start), (start, worst, jax.tree.map(jnp.zeros_like, start)))
    # One turn more than iterations: the last one only looks at what the last update has come to.
    (_, _, (controls, value, gradient)), values = jax.lax.scan(advance, carry, None, iterations + 1)
    value = jnp.where(jnp.isfinite(value), value, values[0])
    return Plan(controls, value, values[0], jnp.asarray(iterations), _stationarity(problem, controls, gradient))


def _minimized(problem: ControlProblem, objective: Any, start: Any, optimizer: Any, iterations: int) -> Plan:
    bounds = problem.lower, problem.upper

    def inside(free: Any) -> Any:
        return problem.bounded(jax.tree.map(_from_free, free, *bounds))

    free = jax.tree.map(_to_free, start, *bounds)
    found = optimistix.minimise(
        lambda free, _: objective(inside(free)), optimizer, free, max_steps=iterations, throw=False
    )
    before, after = objective(start), objective(inside(found.value))
    controls = jax.tree.map(lambda new, old: jnp.where(after < before, new, old), inside(found.value), start)
    value, gradient = jax.value_and_grad(objective)(controls)
    return Plan(controls, value, before, found.stats["num_steps"], _stationarity(problem, controls, gradient))


def _stationarity(problem: ControlProblem, controls: Any, gradient: Any) -> Array:
    moved = problem.bounded(jax.tree.map(jnp.subtract, controls, gradient))
    distances = jax.tree.map(lambda one, two: jnp.max(jnp.abs(one - two)), controls, moved)
    return jnp.max(jnp.stack(jax.tree.leaves(distances)))


def _from_free(free: Array, lower: Array, upper: Array) -> Array:
    """The control that belongs to a number that is free, see the top of this file."""
    both, below, above = _kinds(lower, upper)
    low, high = jnp.where(jnp.isfinite(lower), lower, 0.0), jnp.where(jnp.isfinite(upper), upper, 0.0)
    one_sided = jnp.where(above, high - jax.nn.softplus(-free), free)
    one_sided = jnp.where(below, low + jax.nn.softplus(free), one_sided)
    return jnp.where(both, low + (high - low) * jax.nn.sigmoid(free), one_sided)


def _to_free(control: Array, lower: Array, upper: Array) -> Array:
    """The inverse of `_from_free`, of a control that is moved inward where it lies on a bound."""
    both, below, above = _kinds(lower, upper)
    low, high = jnp.where(jnp.isfinite(lower), lower, 0.0), jnp.where(jnp.isfinite(upper), upper, 0.0)
    width = jnp.where(both & (high > low), high - low, 1.0)
    share = jnp.clip((control - low) / width, _INWARD, 1 - _INWARD)
    above_low, below_high = jnp.maximum(control - low, _INWARD), jnp.maximum(high - control, _INWARD)
    one_sided = jnp.where(above, -_inverse_softplus(below_high), control)
    one_sided = jnp.where(below, _inverse_softplus(above_low), one_sided)
    return jnp.where(both, jnp.log(share) - jnp.log1p(-share), one_sided)


def _kinds(lower: Array, upper: Array) -> tuple[Array, Array, Array]:
    """Where both bounds are finite, the lower alone, the upper alone."""
    low, high = jnp.isfinite(lower), jnp.isfinite(upper)
    return low & high, low & ~high, high & ~low


def _inverse_softplus(value: Array) -> Array:
    return value + jnp.log(-jnp.expm1(-value))
