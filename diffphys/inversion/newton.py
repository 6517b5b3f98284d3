r"""Newton's method on all parameters, for problems small enough to hold a Hessian."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.flatten_util import ravel_pytree

from diffphys.errors import InputError
from diffphys.grids.numbers import shown


def newton(learning_rate: float = 1.0, *, damping: float = 0.0) -> optax.GradientTransformationExtraArgs:
    r"""The update $-\eta (H + \lambda I)^{-1} \nabla L$, with the Hessian H of a loss, as an Optax transformation:

        updates, state = optimizer.update(gradient, state, parameters, loss=loss)

    where `loss(parameters)` is a number. H has p^2 entries for p parameters. Towards a saddle or a maximum the update
    goes there, as Newton's method does; see `SaddleFreeNewton` for a cure.

    Args:
        learning_rate: eta.
        damping: lambda, at least 0.

    Raises:
        InputError: damping is negative, or `update` is called without parameters or loss.
    """
    if not damping >= 0.0:
        raise InputError(f"newton: damping is {shown(damping)}; a number of at least 0 is accepted.")

    def init(parameters: Any) -> optax.EmptyState:
        del parameters
        return optax.EmptyState()

    def update(
        gradient: Any,
        state: optax.EmptyState,
        parameters: Any = None,
        *,
        loss: Callable[[Any], Array] | None = None,
        **_: Any,
    ) -> tuple[Any, optax.EmptyState]:
        if parameters is None or loss is None:
            raise InputError("newton: update needs the parameters and loss= besides the gradient.")
        trainable, static = eqx.partition(parameters, eqx.is_inexact_array)
        flat, unravel = ravel_pytree(trainable)
        hessian = jax.hessian(lambda vector: loss(eqx.combine(unravel(vector), static)))(flat)
        matrix = hessian + damping * jnp.eye(flat.size, dtype=flat.dtype)
        return unravel(-learning_rate * jnp.linalg.solve(matrix, ravel_pytree(gradient)[0])), state

    return optax.GradientTransformationExtraArgs(init, update)  # pyright: ignore[reportArgumentType]
