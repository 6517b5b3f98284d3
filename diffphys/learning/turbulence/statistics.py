"""Statistics of a flow while it runs: nothing is stored but the statistics themselves.

step = with_statistics(flow, lambda state: {"velocity": at_centers(state), "spectrum": energy_spectrum(state.velocity)})
empty = {"velocity": Moments.empty(velocity), "spectrum": Average.empty(spectrum)}
(state, found), _ = rollout(step, (state, empty), steps)
found["velocity"].mean, found["velocity"].covariance, found["spectrum"].mean
"""

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array


class Average(eqx.Module):
    """The mean of a tree of arrays over all that was added.

    Attributes:
        count: How many were added.
        mean: Their mean; zero where there are none.
    """

    count: Array
    mean: Any

    @staticmethod
    def empty(like: Any) -> "Average":
        """Of nothing yet, for trees of arrays as this one."""
        return Average(jnp.zeros(()), jax.tree.map(jnp.zeros_like, like))

    def added(self, values: Any) -> "Average":
        """With one more."""
        count = self.count + 1
        return Average(count, jax.tree.map(lambda mean, new: mean + (new - mean) / count, self.mean, values))


class Moments(eqx.Module):
    r"""Mean and covariance of the components of a vector in each point, such as the Reynolds stresses
    $\langle v_i' v_j' \rangle$ of a velocity, updated one by one (Welford 1962) so that nothing cancels.

    Attributes:
        count: How many vectors were added.
        mean: (components, ...).
        products: The sums of the products of what the components differ by from their means,
            (components, components, ...).
    """

    count: Array
    mean: Array
    products: Array

    @staticmethod
    def empty(like: Array) -> "Moments":
        """Of nothing yet, for arrays (components, ...) as this one."""
        return Moments(jnp.zeros(()), jnp.zeros_like(like), jnp.zeros((len(like), *like.shape), like.dtype))

    def added(self, values: Array) -> "Moments":
        """With one more."""
        count = self.count + 1
        change = values - self.mean
        mean = self.mean + change / count
        return Moments(count, mean, self.products + change[:, None] * (values - mean)[None])

    def merged(self, other: "Moments") -> "Moments":
        """Of both together (Chan, Golub, LeVeque 1983): of members of an ensemble, or of parts of a run."""
        count = self.count + other.count
        safe = jnp.where(count > 0, count, 1.0)
        change = other.mean - self.mean
        mean = self.mean + change * other.count / safe
        between = change[:, None] * change[None] * self.count * other.count / safe
        return Moments(count, mean, self.products + other.products + between)

    @property
    def covariance(self) -> Array:
        """(components, components, ...), over the number that was added."""
        return self.products / jnp.where(self.count > 0, self.count, 1.0)


Accumulators = Mapping[str, Average | Moments]


def with_statistics(step: Callable[..., Any], measure: Callable[[Any], Mapping[str, Any]]) -> Callable[..., Any]:
    """The step of a pair: the state goes on, and what is measured of it after the step is added.

    Args:
        step: A step `step(state) -> state` or `step(state, input) -> state`.
        measure: From a state to values by name, each as its accumulator takes them.

    Returns:
        `(state, accumulators) -> (state, accumulators)`, the accumulators a mapping of the same names.
    """

    def both(pair: tuple[Any, Accumulators], *inputs: Any) -> tuple[Any, Accumulators]:
        state = step(pair[0], *inputs)
        values = measure(state)
        return state, {name: accumulator.added(values[name]) for name, accumulator in pair[1].items()}

    return both
