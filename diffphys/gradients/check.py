"""The one function that most need."""

from collections.abc import Callable
from typing import Any

import jax

from diffphys.errors import InputError
from diffphys.gradients.arguments import prepared
from diffphys.gradients.findings import GradientCheck
from diffphys.gradients.verdicts import verdicts_of


def check_gradient(
    function: Callable[..., Any],
    arguments: Any,
    *,
    seed: int = 0,
    tolerance: float = 1e-9,
    second_tolerance: float | None = None,
    second: bool = True,
    optimize: bool = True,
    show: bool = True,
) -> GradientCheck:
    """Prove, or disprove, the derivatives of a function of any pytrees, in float64.

    Every floating-point leaf of the arguments is moved alone, and all of them together, along a random direction of the
    size of the leaf. Works in float32 programs, too: the arguments are cast and everything runs in
    `jax.enable_x64`.

        dp.check_gradient(lambda flow, state: dp.rollout(flow, state, 10)[0], (flow, state))

    Args:
        function: From pytrees to a pytree.
        arguments: What it is called with: a tuple or list, `function(*arguments)`, or where that does not fit its
            signature or it is no tuple or list, `function(arguments)`. Integers, booleans, keys and whatever is no
            number are held fixed.
        seed: For the random directions.
        tolerance: Largest difference in the dot-product test, relative to the size of its terms. A function with an
            iterative solver needs what that solver's tolerance allows.
        second_tolerance: The same for the two second derivatives. Default: `tolerance`.
        second: Whether to check second derivatives.
        optimize: Whether XLA optimizes the program: False compiles faster, for functions that take a millisecond.
        show: Whether to print the verdict.

    Returns:
        The findings; true where all of them pass.

    Raises:
        InputError: if the arguments or the result have no floating-point leaf, or JAX cannot trace the function.

    Examples:
        >>> bool(dp.check_gradient(lambda x: jnp.sum(jnp.sin(x)), (jnp.ones(3),), show=False))
        True
    """
    if not callable(function):
        raise InputError(f"check_gradient: function is {function!r}; a function of the arguments is accepted.")
    with jax.enable_x64(True):
        names, leaves, call = prepared(function, arguments)
        tolerances = (tolerance, tolerance if second_tolerance is None else second_tolerance)
        result = GradientCheck(tuple(verdicts_of(names, leaves, call, seed, tolerances, second, optimize)))
    if show:
        print(result)
    return result
