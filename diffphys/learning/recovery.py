"""What training does when an update diverges."""

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from diffphys.errors import InputError
from diffphys.grids.numbers import shown, whole_number


@dataclasses.dataclass(frozen=True)
class Recovery:
    """Leave out an update whose gradient is far larger than usual or not finite; after several in a row go back to
    earlier weights and start the optimizer anew.

    Args:
        largest_jump: How many times larger than the running mean of its norm a gradient may be (100 in List et al.
            2025).
        patience: After how many such updates in a row it goes back.
        keep_every: After how many good updates the weights are kept to go back to.
    """

    largest_jump: float = 100.0
    patience: int = 3
    keep_every: int = 50

    def __post_init__(self):
        if not (isinstance(self.largest_jump, (int, float)) and 1 < self.largest_jump < math.inf):
            raise InputError(f"Recovery: largest_jump is {shown(self.largest_jump)}; a number above 1 is accepted.")
        for name in ("patience", "keep_every"):
            object.__setattr__(self, name, whole_number(f"Recovery: {name}", getattr(self, name)))


class RecoveryState(NamedTuple):
    """What `recovering` remembers.

    Attributes:
        inner: The state of the optimizer.
        usual: The running mean of the gradient's norm; zero before the first.
        kept: The weights to go back to.
        good: How many updates were made.
        failed: How many in a row were not.
        returns: How often it went back.
        last_finite: Whether the last update was made.
    """

    inner: Any
    usual: Array
    kept: Any
    good: Array
    failed: Array
    returns: Array
    last_finite: Array


DECAY = 0.95  # of the running mean of the norm


def recovering(optimizer: optax.GradientTransformation, recovery: Recovery) -> optax.GradientTransformationExtraArgs:
    """An optimizer that recovers from updates that diverge, see `Recovery`."""
    optimizer = optax.with_extra_args_support(optimizer)

    def init(weights: Any) -> RecoveryState:
        zero = jnp.zeros((), jnp.int32)
        return RecoveryState(optimizer.init(weights), jnp.zeros(()), weights, zero, zero, zero, jnp.ones((), bool))

    def update(gradient: Any, state: RecoveryState, weights: Any = None, **more: Any) -> tuple[Any, RecoveryState]:
        norm = optax.tree.norm(gradient).astype(jnp.float32)
        ordinary = (state.usual == 0) | (norm <= recovery.largest_jump * state.usual)
        fine = jnp.isfinite(norm) & ordinary
        failed = jnp.where(fine, 0, state.failed + 1)
        back = failed >= recovery.patience

        def made() -> tuple[Any, Any, Any]:
            changes, inner = optimizer.update(gradient, state.inner, weights, **more)
            keep = state.good % recovery.keep_every == 0
            kept = jax.tree.map(lambda now, old: jnp.where(keep, now, old), weights, state.kept)
            return changes, inner, kept

        def left_out() -> tuple[Any, Any, Any]:
            changes = jax.tree.map(
                lambda old, now: jnp.where(back, old - now, jnp.zeros_like(now)), state.kept, weights
            )
            fresh = optimizer.init(state.kept)
            inner = jax.tree.map(lambda new, old: jnp.where(back, new, old), fresh, state.inner)
            return changes, inner, state.kept

        changes, inner, kept = jax.lax.cond(fine, made, left_out)
        mean = jnp.where(state.usual == 0, norm, DECAY * state.usual + (1 - DECAY) * norm)
        return changes, RecoveryState(
            inner,
            jnp.where(fine, mean, state.usual),
            kept,
            state.good + fine,
            jnp.where(back, 0, failed),
            state.returns + back,
            fine,
        )

    return optax.GradientTransformationExtraArgs(init, update)  # pyright: ignore[reportArgumentType]
