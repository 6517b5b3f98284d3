"""What is measured: all numbers of the tests, from two compiled programs."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array


SIZES = np.array([10 ** (-exponent / 2) for exponent in range(4, 15)])  # 1e-2 to 1e-7
PROBES = np.array([1e-10, 3e-11])  # whose squares are below round-off
SMALL = 1e-5  # of the differences of the gradient
# Without optimizations, and with the older way to write loops: with second derivatives of a long step the newer one
# takes twice as long. (Not to fuse at all would be faster still, but XLA then gave wrong numbers beside an FFT.)
QUICKLY = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}


def measured(
    call: Callable, leaves: list[Array], seed: int, forward: bool, reverse: bool, second: bool, optimize: bool
) -> dict[str, np.ndarray]:
    """All numbers of the tests, from two programs in which the function appears few times: compiling is what costs.

    In one program, XLA took several times as long for a step around an immersed body.
    """
    generator = np.random.default_rng(seed)
    masks = jnp.asarray(_masks(len(leaves)))
    sizes = jnp.asarray(np.concatenate([SIZES, PROBES]))
    out = jax.eval_shape(call, leaves)
    lengths = [float(np.max(np.abs(leaf), initial=0.0)) or 1.0 for leaf in leaves]  # each leaf in its own units
    random = [_random(leaves, generator, lengths) for _ in range(2)]
    random += [_random(out, generator, [1.0] * len(out)) for _ in range(2)]

    def loss_of(result, scales, weights):
        # Squares make the remainder of a linear function visible; scales bring all its results to size one.
        sized = [leaf / scale for leaf, scale in zip(result, scales, strict=True)]
        return dot(weights, [leaf + leaf**2 / 2 for leaf in sized])

    def measure(x, base, weights, covector):
        start = call(x)
        scales = [_scale(leaf) for leaf in start]
        covector = [(one / scale).astype(leaf.dtype) for one, scale, leaf in zip(covector, scales, start, strict=True)]

        def loss(x):
            return loss_of(call(x), scales, weights)

        def masked(mask):
            return [part * move for part, move in zip(mask, base, strict=True)]

        def on_path(mask_and_size):
            mask, size = mask_and_size
            return loss([leaf + size * move for leaf, move in zip(x, masked(mask), strict=True)])

        signed = jnp.concatenate([jnp.zeros(1), sizes, -sizes])
        pairs = (jnp.repeat(masks, len(signed), axis=0), jnp.tile(signed, len(masks)))
        values = jax.lax.map(on_path, pairs).reshape(len(masks), len(signed))
        found = dict(
            finite=jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in start]),
            above=values[:, 1 : 1 + len(sizes)] - values[:, :1],
            below=values[:, 1 + len(sizes) :] - values[:, :1],
            magnitude=sum((jnp.sum(jnp.abs(weight)) for weight in weights), jnp.zeros(())),
        )
        if forward:

            def pushed(mask):
                def both(x):
                    result = call(x)
                    return result, loss_of(result, scales, weights)

                _, (tangent, slope) = jax.jvp(both, (x,), (masked(mask),))
                return slope, dot(covector, tangent), _norm(covector) * _norm(tangent)

            found |= dict(zip(("slopes", "forward", "forward_size"), jax.lax.map(pushed, masks), strict=True))
        if reverse:
            (pulled,) = jax.vjp(call, x)[1](covector)
            gradient = jax.grad(loss)(x)
            norms = jnp.stack([_norm(one) * _norm(two) for one, two in zip(pulled, base, strict=True)])
            found |= dict(
                reverse=masks @ jnp.stack(_dots(pulled, base)),
                reverse_size=masks @ norms,
                reverse_slopes=masks @ jnp.stack(_dots(gradient, base)),
            )
        return found, scales

    def bend(x, scales, base, other, weights):
        def loss(x):
            return loss_of(call(x), scales, weights)

        def grown(x):
            return jax.jvp(jax.grad(loss), (x,), (base,))

        shifts = SMALL * jnp.asarray([0.0, 1.0, -1.0, 2.0, -2.0])
        near = [leaf + jnp.multiply.outer(shifts, move) for leaf, move in zip(x, base, strict=True)]
        gradients, curved = jax.lax.map(grown, near)  # jvp of a vjp
        # Of fourth order: where the third derivative is large, the plain difference would be called wrong.
        curved = [leaf[0] for leaf in curved]
        steps = [(8 * (leaf[1] - leaf[2]) - (leaf[3] - leaf[4])) / (12 * SMALL) for leaf in gradients]
        bent = jax.grad(lambda x: jax.jvp(loss, (x,), (base,))[1])(x)  # vjp of a jvp

        def sized(tree):
            return [leaf * length for leaf, length in zip(tree, lengths, strict=True)]

        return dict(
            transposed=_norm(sized([one - two for one, two in zip(curved, bent, strict=True)])),
            differing=jnp.abs(dot(curved, other) - dot(steps, other)),
            curvature=_norm(sized(curved)) + _norm(sized([leaf[0] for leaf in gradients])),
        )

    # Optimizing takes most of the time where the program runs for a millisecond.
    options = {} if optimize else QUICKLY
    base, other, weights, covector = random
    found, scales = jax.jit(measure, compiler_options=options)(leaves, base, weights, covector)
    if forward and reverse and second:
        found |= jax.jit(bend, compiler_options=options)(leaves, scales, base, other, weights)
    return {name: np.asarray(number) for name, number in found.items()}


def _masks(count: int) -> np.ndarray:
    """Which leaves each direction moves: all of them, then each alone."""
    return np.concatenate([np.ones((1, count)), np.eye(count)]) if count > 1 else np.ones((1, 1))


def _random(shapes: Sequence[Any], generator: np.random.Generator, sizes: Sequence[float]) -> list[Any]:
    """Normal random numbers of given sizes. Made on the host: compiling a generator for each leaf takes seconds."""
    random = []
    for like, size in zip(shapes, sizes, strict=True):
        values = generator.standard_normal(like.shape)
        if np.issubdtype(like.dtype, np.complexfloating):
            values = values + 1j * generator.standard_normal(like.shape)
        random.append(size * values)
    return random


def dot(first: Any, second: Any) -> Array:
    """The scalar product of two trees, as JAX transposes: the real part of the plain sum of products."""
    return sum(_dots(first, second), jnp.zeros(()))


def _dots(first: Any, second: Any) -> list[Array]:
    products = jax.tree.map(lambda a, b: jnp.sum(jnp.real(a * b)), first, second)
    return jax.tree.leaves(products)


def _scale(leaf: Array) -> Array:
    """The root mean square of an array, or 1 where that is zero."""
    mean = jnp.sqrt(jnp.sum(jnp.abs(leaf) ** 2) / max(leaf.size, 1))
    return jnp.where(mean > 0, mean, 1.0)


def _norm(tree: Any) -> Array:
    return jnp.sqrt(sum((jnp.sum(jnp.abs(leaf) ** 2) for leaf in jax.tree.leaves(tree)), jnp.zeros(())))
