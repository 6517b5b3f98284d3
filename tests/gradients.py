"""Proofs that derivatives are right: `dp.check_gradient`, held to what the library's own functions keep.

Piecewise-linear interpolation has kinks where an upstream point crosses a grid point. Random fields lie on a kink with
probability zero, and the order of the Taylor remainder is that of the smallest h whose remainders are clear of
round-off.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import diffphys as dp


def check_derivatives(
    function: Callable[[Any], Any],
    point: Any,
    key: jax.Array,
    *,
    second: bool = True,
) -> dp.GradientCheck:
    """Assert every test of `dp.check_gradient` for `function` at `point`, each leaf alone and all together.

    Args:
        function: From a pytree to a pytree. Leaves that are no inexact arrays are held fixed.
        point: Where.
        key: For the random directions.
        second: Whether to check the second derivative, too.
    """
    assert jnp.zeros(()).dtype == jnp.float64, "proofs of derivatives need float64"
    seed = int(jax.random.key_data(key)[-1])
    # Optimizing what runs once for a millisecond would take most of the time.
    found = dp.check_gradient(
        lambda point: function(point),
        (point,),
        seed=seed,
        tolerance=1e-11,
        second_tolerance=1e-9,
        second=second,
        optimize=False,
        show=False,
    )
    assert found.passed, str(found)
    assert not all(one.status == "independent" for one in found.findings[:1]), "nothing was tested"
    for one in found.findings:
        if one.test == "Taylor remainder" and one.status == "right" and one.value == one.value:
            assert abs(one.value - 2) < 0.1, str(one)
    return found
