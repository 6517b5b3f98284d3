"""Does an inverse simulator invert? A check to make before training by it."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffphys.errors import InputError
from diffphys.inversion.jacobian_power import as_real
from diffphys.inversion.scale_invariant import Simulator, check_same_shapes


class InverseCheck(eqx.Module):
    """What `check_inverse` measured, one number for each sample.

    Attributes:
        before: |P(x) - target| at the guess.
        after: |P(x~) - target| at what the inverse returned.
        ratio: After / before: 0 for an exact inverse, below 1 for one that gets nearer.
        distance: |x~ - x_true| / |x - x_true|, against the x that the target was made from. Large beside a small ratio:
            the inverse found another solution.
    """

    before: Array
    after: Array
    ratio: Array
    distance: Array


def check_inverse(
    simulator: Simulator,
    inverse: Callable[[Any, Any, Any], Any],
    x: Any,
    guess: Any,
    *,
    largest_ratio: float | None = 0.9,
) -> InverseCheck:
    """Simulate x, ask the inverse to get there from the guess, and simulate its answer.

    Args:
        simulator: P of one sample.
        inverse: `inverse(target, x, y)` of one sample.
        x: Samples of the true input, pytree of arrays with the batch as first axis.
        guess: Where the inverse starts, as x: samples of what an untrained network returns, say.
        largest_ratio: Refuse an inverse that leaves more than this of |P(x) - target| in the mean over the samples;
            None refuses nothing.

    Raises:
        InputError: the inverse returns other shapes than x or numbers that are not finite, or it does not invert.
    """
    check_same_shapes("guess", guess, "x", x)

    def single(true: Any, start: Any) -> tuple[Array, Array, Array, Array, Array]:
        target, y = simulator(true), simulator(start)
        answer = inverse(target, start, y)
        check_same_shapes("inverse: its result", answer, "the simulator's input", start)
        finite = jnp.all(jnp.isfinite(as_real(answer, derivative=False)))
        distances = (_distance(y, target), _distance(simulator(answer), target))
        return *distances, _distance(answer, true), _distance(start, true), finite

    before, after, near, far, finite = jax.vmap(single)(x, guess)
    if not bool(jnp.all(finite)):
        bad = int(np.argmin(np.asarray(finite)))
        raise InputError(f"inverse: its result for sample {bad} is not finite; finite numbers are accepted.")
    result = InverseCheck(before, after, _ratio(after, before), _ratio(near, far))
    mean = float(jnp.mean(result.ratio))
    if largest_ratio is not None and not mean <= largest_ratio:
        raise InputError(
            f"inverse does not invert the simulator: it leaves {mean:.3g} of the distance to the target, at most "
            f"{largest_ratio:g} (largest_ratio) is accepted."
        )
    return result


def _distance(a: Any, b: Any) -> Array:
    return jnp.linalg.norm(as_real(jax.tree.map(jnp.subtract, a, b), derivative=False))


def _ratio(part: Array, whole: Array) -> Array:
    """0 / 0 is 0: who is there already has nothing left to do."""
    return jnp.where(part > 0, part / jnp.where(whole > 0, whole, 1.0), 0.0)
