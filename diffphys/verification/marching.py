"""Marching in time for any number of steps with one compiled program, and orders of convergence."""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import numpy as np


@eqx.filter_jit
def march(step: Callable[[Any], Any], state: Any, steps: int | jax.Array) -> Any:
    """The state after `steps` steps, whose number is traced: another one compiles nothing anew. No reverse mode."""

    def advance(_, state: Any) -> Any:
        return jax.tree.map(lambda new, old: new.astype(old.dtype), step(state), state)

    return jax.lax.fori_loop(0, steps, advance, state)


def orders_of(sizes: Sequence[float], errors: Sequence[float]) -> np.ndarray:
    """The observed order between each two neighbors: the slope of log(error) over log(size)."""
    return np.diff(np.log(np.asarray(errors, float))) / np.diff(np.log(np.asarray(sizes, float)))


def last_order(sizes: Sequence[float], errors: Sequence[float]) -> float:
    """The order between the two finest, NaN where an error is not positive."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(orders_of(sizes, errors)[-1])


def largest_difference(first: Any, second: Any) -> float:
    """The largest absolute difference of two arrays."""
    return float(np.max(np.abs(np.asarray(first) - np.asarray(second))))
