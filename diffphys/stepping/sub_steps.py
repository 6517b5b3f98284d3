"""A step split into as many equal sub-steps as its Courant and diffusion numbers ask for."""

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
    r"""The step of a flow, made in $k$ sub-steps of $\Delta t / k$, as many as its numbers ask for:

    $$k = \lceil \max(C / C_\text{largest},\, D) \rceil$$

    with the Courant number $C$ of the state from which the step goes out and its diffusion number $D$, the step over
    the longest one with which explicit diffusion is stable.

    Differentiable in both modes, with `k` held fixed as the whole number it is, and each member of a batch under
    `jax.vmap` has its own.

    Args:
        flow: A step with a number `dt` and a method `courant_number(state)`, `diffusion_number(state)` or both, as the
            systems of `physics` have them.
        courant: The largest Courant number of a sub-step.
        largest: The largest `k`, since a compiled program has a longest loop. Where more are needed, `largest` are
            made, and `courant_number` is then larger than `courant`, or `diffusion_number` larger than 1.
        dt: Duration of the whole step. Default: that of the flow, which by itself refuses a step beyond the bound of
            explicit diffusion; given here only the sub-steps have to be within it.

    Raises:
        InputError: for another kind of step, or numbers out of range.

    Examples:
        >>> flow = dp.IncompressibleFlow(dp.Grid((8, 8), (1.0, 1.0)), viscosity=1e-3, dt=0.2, sides=dp.Periodic())
        >>> step = dp.SubSteps(flow, largest=4)
        >>> later = step(flow.initial_state((1.0, 0.0)))
    """

    flow: Any
    courant: Array
    largest: int = eqx.field(static=True)

    def __init__(self, flow: Any, courant: ArrayLike = 0.8, largest: int = 16, dt: ArrayLike | None = None):
        known = [name for name in ("courant_number", "diffusion_number") if hasattr(flow, name)]
        if not (callable(flow) and hasattr(flow, "dt") and known):
            raise InputError(
                f"SubSteps: flow is {shown(flow)}; a step with dt and courant_number(state) or diffusion_number(state) "
                "is accepted."
            )
        if dt is not None:
            dt = as_number(dt, "SubSteps: dt")
            check_number("SubSteps", "dt", dt, above=0.0)
            flow = _with_duration(flow, dt.astype(flow.dt.dtype))
        self.flow, self.largest = flow, whole_number("SubSteps: largest", largest)
        self.courant = as_number(courant, "SubSteps: courant")
        check_number("SubSteps", "courant", self.courant, above=0.0)

    def count(self, state: Any) -> Array:
        """How many sub-steps the step from this state takes."""
        ratio = jnp.zeros(())
        if hasattr(self.flow, "courant_number"):
            ratio = self.flow.courant_number(state) / self.courant
        if hasattr(self.flow, "diffusion_number"):
            # A step that is the longest stable one but for round-off is made at once.
            ratio = jnp.maximum(ratio, self.flow.diffusion_number(state) / (1 + 1e-6))
        # A state that is not finite takes one step, which shows it to whoever looks.
        whole = jnp.nan_to_num(jnp.ceil(jax.lax.stop_gradient(ratio)), nan=1.0)
        return jnp.clip(whole, 1, self.largest).astype(jnp.int32)

    def __call__(self, state: Any, *given: Any) -> Any:
        """The state one `dt` later; an input acts in every sub-step."""
        count = self.count(state)
        flow = _with_duration(self.flow, self.flow.dt / count.astype(self.flow.dt.dtype))

        step, state = keeping(flow, state, *given)

        def advance(state: Any, index: Array) -> tuple[Any, None]:
            return choose(index < count, lambda now: step(now, *given), lambda now: now, state), None

        return jax.lax.scan(advance, state, jnp.arange(self.largest))[0]

    def courant_number(self, state: Any) -> Array:
        """That of the sub-steps from this state; 0 for a flow that has none."""
        return self._of_a_sub_step("courant_number", state)

    def diffusion_number(self, state: Any) -> Array:
        """That of the sub-steps from this state; 0 for a flow that has none."""
        return self._of_a_sub_step("diffusion_number", state)

    def _of_a_sub_step(self, name: str, state: Any) -> Array:
        return getattr(self.flow, name)(state) / self.count(state) if hasattr(self.flow, name) else jnp.zeros(())


def _with_duration(flow: Any, dt: Array) -> Any:
    """The flow with another duration of its step, which it does not check."""
    return eqx.tree_at(lambda flow: flow.dt, flow, dt)
