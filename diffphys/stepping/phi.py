r"""The functions of which the coefficients of exponential integrators are made."""

import math

import jax.numpy as jnp
from jax import Array


TERMS = 16
"""Of the series: the first that is left out is below round-off in double precision where it is used."""


def phi(z: Array, highest: int) -> list[Array]:
    r"""$\varphi_0(z) = e^z$ and $\varphi_{k+1}(z) = (\varphi_k(z) - 1 / k!) / z$, that is
    $\varphi_k(z) = \sum_n z^n / (n + k)!$, up to the highest that is asked for.

    Dividing by small z loses all digits (Kassam, Trefethen 2005). There, for $|z| < 1$, the highest is summed as its
    series and the others follow from it without a division, $\varphi_k = z \varphi_{k+1} + 1 / k!$; elsewhere they
    follow upward from $e^z - 1$.

    Args:
        z: Real or complex numbers.
        highest: The largest k.

    Returns:
        An array of the shape of `z` for each k.
    """
    near = jnp.abs(z) < 1
    small, large = jnp.where(near, z, 0), jnp.where(near, 1, z)  # each branch with a derivative also where unused
    series = jnp.zeros_like(z)
    for n in reversed(range(TERMS)):
        series = series * small + 1 / math.factorial(n + highest)
    downward = [series]
    for k in reversed(range(highest)):
        downward.append(downward[-1] * small + 1 / math.factorial(k))
    upward = [jnp.exp(large)]
    for k in range(highest):
        upward.append((jnp.expm1(large) if k == 0 else upward[-1] - 1 / math.factorial(k)) / large)
    return [jnp.where(near, one, other) for one, other in zip(reversed(downward), upward, strict=True)]
