"""A step split into as many equal sub-steps as its Courant number asks for."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from diffphys.devices import choose, keeping
from diffphys.errors import InputError
from diffphys.grids.numbers import as_number, check_number, shown, whole_number


class SubSteps(eqx.Module):
    """The step of a flow, made in `k` sub-steps of `dt / k`, with `k = ceil(courant_number / courant)`.

    The Courant number is that of the state from which the step goes out. Differentiable in both modes, with `k` held
    fixed as the whole number it is, and each member of a batch under `jax.vmap` has its own.

    Args:
        flow: A step with a number `dt` and a method `courant_number(state)`, as the flows of this room are.
        courant: The largest Courant number of a sub-step.
        largest: The largest `k`, since a compiled program has a longest loop. Where more are needed, `largest` are
            made, and `courant_number` is then larger than `courant`.

    Raises:
        InputError: for another kind of step, or numbers out of range.
    """

    flow: Any
    courant: Array
    largest: int = eqx.field(static=True)

    def __init__(self, flow: Any, courant: ArrayLike = 0.8, largest: int = 16):
        if not (callable(flow) and hasattr(flow, "dt") and hasattr(flow, "courant_number")):
            raise InputError(f"SubSteps: flow is {shown(flow)}; a step with dt and courant_number(state) is accepted.")
        self.flow, self.largest = flow, whole_number("SubSteps: largest", largest)
        self.courant = as_number(courant, "SubSteps: courant")
        check_number("SubSteps", "courant", self.courant, above=0.0)

    def count(self, state: Any) -> Array:
        """How many sub-steps the step from this state takes."""
        ratio = jax.lax.stop_gradient(self.flow.courant_number(state) / self.courant)
        # A state that is not finite takes one step, which shows it to whoever looks.
        return jnp.clip(jnp.nan_to_num(jnp.ceil(ratio), nan=1.0), 1, self.largest).astype(jnp.int32)

    def __call__(self, state: Any, *given: Any) -> Any:
        """The state one `dt` later; an input acts in every sub-step."""
        count = self.count(state)
        flow = eqx.tree_at(lambda flow: flow.dt, self.flow, self.flow.dt / count.astype(self.flow.dt.dtype))

        step, state = keeping(flow, state, *given)

        def advance(state: Any, index: Array) -> tuple[Any, None]:
            return choose(index < count, lambda now: step(now, *given), lambda now: now, state), None

        return jax.lax.scan(advance, state, jnp.arange(self.largest))[0]

    def courant_number(self, state: Any) -> Array:
        """That of the sub-steps from this state."""
        return self.flow.courant_number(state) / self.count(state)
