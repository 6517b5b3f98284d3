"""Orders of convergence, and states after many steps, with one compiled program for any number of steps."""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import numpy as np

from diffphys.stepping import ImplicitExplicit, RungeKutta
from diffphys.verification.case import Check


ROUND_OFF = 1e-12  # in float64, of steps whose values are of size one


@eqx.filter_jit
def advanced(step: Callable[[Any], Any], state: Any, steps: int | jax.Array) -> Any:
    """The state after `steps` steps, whose number is traced: another one compiles nothing anew. No reverse mode."""

    def advance(_, state: Any) -> Any:
        return jax.tree.map(lambda new, old: new.astype(old.dtype), step(state), state)

    return jax.lax.fori_loop(0, steps, advance, state)


def stepping_of(diffusion: str, order: int) -> RungeKutta | ImplicitExplicit:
    """The Runge-Kutta method of this order with diffusion "explicit" or "implicit"."""
    return RungeKutta(order) if diffusion == "explicit" else ImplicitExplicit(order)


def orders_of(sizes: Sequence[float], errors: Sequence[float]) -> np.ndarray:
    """The observed order between each two neighbors: the slope of log(error) over log(size)."""
    return np.diff(np.log(np.asarray(errors, float))) / np.diff(np.log(np.asarray(sizes, float)))


def last_order(sizes: Sequence[float], errors: Sequence[float]) -> float:
    """The order between the two finest, NaN where an error is not positive."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(orders_of(sizes, errors)[-1])


def order_check(
    name: str,
    meaning: str,
    sizes: Sequence[float],
    errors: Sequence[float],
    at_least: float,
    at_most: float | None = None,
) -> Check:
    """The last order with its bounds. Errors of round-off, of values of size one, have no order: where all of them are
    none but that, the largest is held to it instead.
    """
    if max(errors) < ROUND_OFF:
        return Check(name, max(errors), at_most=ROUND_OFF, meaning=f"{meaning}: errors are round-off, without an order")
    return Check(name, last_order(sizes, errors), at_least=at_least, at_most=at_most, meaning=meaning)


def largest_difference(first: Any, second: Any) -> float:
    """The largest absolute difference of two arrays."""
    return float(np.max(np.abs(np.asarray(first) - np.asarray(second))))
