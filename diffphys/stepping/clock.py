"""A clock that does not lose time: the moment, and what its rounding has left out.

In single precision the spacing of numbers is 6e-5 at 1000 and 5e-4 at 4096, so that a sum of many short steps is off by
more and more, and at last stands still. Here the part that does not fit is kept and comes in with the next step.
"""

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike


def later(time: Array, remainder: Array, duration: ArrayLike) -> tuple[Array, Array]:
    """The moment `duration` after `time + remainder`, to the nearest number, and the remainder that belongs to it.

    The error of the first sum is found exactly (Knuth 1969, section 4.2.2, theorem B), so that both together have twice
    the digits of one (Dekker 1971). A remainder that is no rounding of this time, since somebody has set another, is
    left out. The derivative is that of the sum of time and duration. In double precision the plain sum is enough
    (1e7 steps of 0.01 are off by 1e-5), so nothing is kept: a state has no part that is nothing but noise.

    Args:
        time: A moment.
        remainder: What its rounding has left out, less than half its spacing.
        duration: How much later.
    """
    duration = jnp.asarray(duration, time.dtype)
    if time.dtype == jnp.float64:
        return time + duration, jnp.zeros_like(remainder)
    whole = time + duration
    added = whole - time
    lost = (time - (whole - added)) + (duration - added)
    lost = jax.lax.stop_gradient(lost + jnp.where(time + remainder == time, remainder, 0))
    moment = whole + lost
    return moment, jax.lax.stop_gradient(lost - (moment - whole))
