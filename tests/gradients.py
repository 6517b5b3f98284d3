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

import functools
from collections.abc import Callable, Sequence
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
    directions: Sequence[Any] = (),
    sizes: tuple[float, ...] = SIZES,
    second: bool = True,
) -> None:
    """Assert the three facts for `function` at `point`.

    Everything happens in one compiled program in which the function appears few times, since compiling is what costs.

    Args:
        function: From a pytree to a pytree. Leaves that are no inexact arrays are held fixed.
        point: Where.
        key: For the random directions.
        directions: More directions for the first two facts, trees like `point`; one that moves all is always tried.
        sizes: Range of `h`.
        second: Whether to check the second derivative, too.
    """
    assert jnp.zeros(()).dtype == jnp.float64, "proofs of derivatives need float64"
    inexact, fixed = eqx.partition(point, eqx.is_inexact_array)
    keys = jax.random.split(key, 4)
    first, other = random_direction(point, keys[0]), random_direction(point, keys[1])
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), first, *directions)
    count = 1 + len(directions)

    def vector(x):
        return eqx.filter(function(eqx.combine(x, fixed)), eqx.is_inexact_array)

    # Optimizing what runs once for a millisecond would take most of the time.
    @functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    def measure(x):
        start = vector(x)
        finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(start)]))
        # Squares make the remainder of a linear function visible; scales bring all its results to size one.
        scales = jax.tree.map(lambda leaf: jnp.maximum(jnp.sqrt(jnp.mean(leaf**2)), 1e-300), start)
        weights = random_direction(jax.tree.map(jnp.sign, start), keys[2])

        def loss_of(result):
            sized = jax.tree.map(lambda leaf, scale: leaf / scale, result, scales)
            return dot(weights, jax.tree.map(lambda leaf: leaf + leaf**2 / 2, sized))

        def loss(x):
            return loss_of(vector(x))

        def pushed(direction):
            return jax.jvp(lambda x: (lambda result: (result, loss_of(result)))(vector(x)), (x,), (direction,))

        (_, values), (tangents, slopes) = jax.lax.map(pushed, stacked)
        paths = jax.tree.map(lambda leaf: jnp.repeat(leaf, len(sizes), axis=0), stacked)
        on_paths = jax.lax.map(
            lambda given: loss(along(x, given[0], given[1])), (paths, jnp.tile(jnp.asarray(sizes), count))
        ).reshape(count, len(sizes))
        remainders = jnp.abs(on_paths - values[:, None] - jnp.asarray(sizes) * slopes[:, None])

        covector = random_direction(start, keys[3])
        (pulled,) = jax.vjp(vector, x)[1](covector)
        forward = jax.vmap(lambda tangent: dot(covector, tangent))(tangents)
        found = dict(
            finite=finite,
            magnitude=sum(jnp.sum(jnp.abs(leaf)) for leaf in jax.tree.leaves(weights)),
            values=values,
            slopes=slopes,
            remainders=remainders,
            forward=forward,
            reverse=jax.vmap(lambda direction: dot(pulled, direction))(stacked),
            sizes=jnp.sqrt(dot(covector, covector) * jax.vmap(lambda tangent: dot(tangent, tangent))(tangents)),
        )
        if not second:
            return found
        small = 1e-5
        near = jax.tree.map(lambda a, b: a + small * jnp.stack([b, -b]), x, first)
        above, below = jax.lax.map(lambda x: dot(jax.grad(loss)(x), other), near)
        pair = jax.tree.map(lambda a, b: jnp.stack([a, b]), first, other)
        # forward over reverse: a jvp of a vjp
        gradients, curved = jax.lax.map(lambda direction: jax.jvp(jax.grad(loss), (x,), (direction,)), pair)
        (one, two), gradient = split(curved), split(gradients)[0]
        return found | dict(
            reverse_slopes=jax.vmap(lambda direction: dot(gradient, direction))(stacked),
            curvature=dot(one, other),
            transposed=dot(two, first),
            difference=(above - below) / (2 * small),
            curvature_size=jnp.sqrt(dot(one, one) * dot(other, other)) + jnp.abs(dot(gradient, other)),
        )

    found: dict[str, Any] = {name: np.asarray(number) for name, number in measure(inexact).items()}
    assert found["finite"], "the value is not finite"
    for index in range(count):
        number = {name: value[index] for name, value in found.items() if np.ndim(value)}
        assert np.abs(number["slopes"]) > 0, f"direction {index}: the derivative is zero, nothing was tested"
        difference = abs(number["forward"] - number["reverse"])
        assert difference <= 1e-11 * number["sizes"], f"direction {index}: the vjp is not the transpose of the jvp"
        remainders = number["remainders"]
        clear = remainders > 3e-14 * found["magnitude"]  # above round-off
        assert clear.sum() >= 3, f"direction {index}: too short, round-off hides the remainder: {remainders}"
        order = np.polyfit(np.log(np.array(sizes)[clear]), np.log(remainders[clear]), 1)[0]
        assert abs(order - 2) < 0.1, f"direction {index}: the Taylor remainder falls like h^{order:.3f}: {remainders}"
        if second:
            bound = 1e-9 * (np.abs(number["slopes"]) + np.abs(number["values"]))
            assert abs(number["slopes"] - number["reverse_slopes"]) <= bound, f"direction {index}"
    if second:
        size = found["curvature_size"]
        assert abs(found["curvature"] - found["transposed"]) <= 1e-9 * size, "the second derivative is not symmetric"
        assert abs(found["curvature"] - found["difference"]) <= 1e-6 * size, "the second derivative is wrong"


def split(pair: Any) -> tuple[Any, Any]:
    """The two entries of a tree whose leaves have a leading axis of two."""
    return jax.tree.map(lambda leaf: leaf[0], pair), jax.tree.map(lambda leaf: leaf[1], pair)


def only(tree: Any, part: Callable[[Any], Any], key: jax.Array, length: float = 1.0) -> Any:
    """A random direction that moves one part of the tree alone, `length` times as far as usual."""
    direction = jax.tree.map(lambda leaf: length * leaf, random_direction(tree, key))
    still = jax.tree.map(jnp.zeros_like, direction)
    return eqx.tree_at(part, still, part(direction))
