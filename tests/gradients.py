"""Proofs that derivatives are right, for any function of a pytree.

Three facts hold for a correct derivative of a smooth function and fail for a wrong one (Griewank, Walther 2008):

- Taylor: `|f(x + h d) - f(x) - h f'(x) d|` falls like `h^2`;
- the dot-product test: `u . (J d) = (J^T u) . d` for random vectors, so that `vjp` is the transpose of `jvp`;
- the derivative of the gradient (`jvp` inside of it a `vjp`) is symmetric and agrees with differences of the gradient.

Piecewise-linear interpolation has kinks where an upstream point crosses a grid point. Random fields lie on a kink with
probability zero, but the facts hold only as long as no point on the way to `x + h d` crosses one: hence the small `h`.
With some hundred points and displacements of order one, the nearest kink is some 1e-3 away; h is at most 1e-4 relative,
and at least 1e-6, where the remainder (1e-12) is still well above round-off (1e-16). So: float64 only.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np


SIZES = (1e-4, 3e-5, 1e-5, 3e-6, 1e-6)


def random_direction(tree: Any, key: jax.Array) -> Any:
    """Normal random numbers for every inexact array in the tree, of the size of the array's largest entry."""
    leaves, structure = jax.tree.flatten(eqx.filter(tree, eqx.is_inexact_array))
    keys = jax.random.split(key, max(len(leaves), 1))
    random = []
    for leaf, one in zip(leaves, keys, strict=False):
        size = jnp.max(jnp.abs(leaf)) if leaf.size else jnp.ones(())
        random.append(jnp.where(size > 0, size, 1.0) * jax.random.normal(one, leaf.shape, leaf.dtype))
    return jax.tree.unflatten(structure, random)


def dot(first: Any, second: Any) -> jax.Array:
    """The plain scalar product of two trees."""
    products = jax.tree.map(lambda a, b: jnp.sum(a * b), first, second)
    return sum(jax.tree.leaves(products), jnp.zeros(()))


def along(point: Any, direction: Any, size: Any) -> Any:
    """`point + size * direction`."""
    return jax.tree.map(lambda a, b: a + size * b, point, direction)


def check_derivatives(
    function: Callable[[Any], Any],
    point: Any,
    key: jax.Array,
    *,
    direction: Any = None,
    sizes: tuple[float, ...] = SIZES,
    second: bool = True,
) -> None:
    """Assert the three facts for `function` at `point`.

    Args:
        function: From a pytree to a pytree. Leaves that are no inexact arrays are held fixed.
        point: Where.
        key: For the random directions.
        direction: Direction of the Taylor test. Default: random.
        sizes: Range of `h`.
        second: Whether to check the second derivative, too.
    """
    assert jnp.zeros(()).dtype == jnp.float64, "proofs of derivatives need float64"
    inexact, fixed = eqx.partition(point, eqx.is_inexact_array)
    keys = jax.random.split(key, 5)
    first = random_direction(point, keys[0]) if direction is None else direction
    other = random_direction(point, keys[1])

    def vector(x):
        return eqx.filter(function(eqx.combine(x, fixed)), eqx.is_inexact_array)

    start = jax.jit(vector)(inexact)
    assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(start)), "the value is not finite"
    scales = jax.tree.map(lambda leaf: jnp.maximum(jnp.sqrt(jnp.mean(leaf**2)), 1e-300), start)
    # Squares make the remainder of a linear function visible; scales bring all its results to size one.
    weights = jax.tree.map(lambda leaf: jnp.where(jnp.any(leaf != 0), 1.0, 0.0), start)
    weights = jax.tree.map(lambda one, leaf: one * leaf, weights, random_direction(start, keys[2]))
    weights = jax.tree.map(lambda leaf, scale: leaf / jnp.maximum(jnp.max(jnp.abs(leaf)), 1e-300), weights, scales)

    def loss(x):
        sized = jax.tree.map(lambda leaf, scale: leaf / scale, vector(x), scales)
        return dot(weights, jax.tree.map(lambda leaf: leaf + leaf**2 / 2, sized))

    @jax.jit
    def measure(x):
        value, slope = jax.jvp(loss, (x,), (first,))
        gradient = jax.grad(loss)(x)
        along_path = jax.lax.map(lambda size: loss(along(x, first, size)), jnp.asarray(sizes))
        remainder = jnp.abs(along_path - value - jnp.asarray(sizes) * slope)

        tangent = jax.jvp(vector, (x,), (first,))[1]
        covector = random_direction(tangent, keys[3])
        (pulled,) = jax.vjp(vector, x)[1](covector)
        found = dict(
            value=value,
            slope=slope,
            reverse_slope=dot(gradient, first),
            remainder=remainder,
            forward=dot(covector, tangent),
            reverse=dot(pulled, first),
            size=jnp.sqrt(dot(covector, covector) * dot(tangent, tangent)),
        )
        if second:
            curved = jax.jvp(jax.grad(loss), (x,), (first,))[1]  # forward over reverse: a jvp of a vjp
            small = 1e-5
            above, below = (jax.grad(loss)(along(x, first, sign * small)) for sign in (1, -1))
            difference = (dot(above, other) - dot(below, other)) / (2 * small)
            found |= dict(
                curvature=dot(curved, other),
                transposed=dot(jax.jvp(jax.grad(loss), (x,), (other,))[1], first),
                difference=difference,
                curvature_size=jnp.sqrt(dot(curved, curved) * dot(other, other)) + jnp.abs(dot(gradient, other)),
            )
        return found

    found: dict[str, Any] = {name: np.asarray(number) for name, number in measure(inexact).items()}
    assert np.abs(found["slope"]) > 0, "the derivative along the direction is zero: nothing was tested"
    np.testing.assert_allclose(found["forward"], found["reverse"], rtol=0, atol=1e-11 * found["size"])
    np.testing.assert_allclose(found["slope"], found["reverse_slope"], rtol=1e-9, atol=1e-12 * np.abs(found["value"]))
    order = np.polyfit(np.log(sizes), np.log(np.maximum(found["remainder"], 1e-300)), 1)[0]
    assert abs(order - 2) < 0.1, f"the Taylor remainder falls like h^{order:.3f}: {found['remainder']}"
    if second:
        size = found["curvature_size"]
        np.testing.assert_allclose(found["curvature"], found["transposed"], rtol=0, atol=1e-9 * size)
        np.testing.assert_allclose(found["curvature"], found["difference"], rtol=0, atol=1e-6 * size)
