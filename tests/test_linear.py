"""Linear maps with a transpose of their own: every mode of differentiation, batching and their combinations."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffphys.linear import along_axis, linear_map
from tests.gradients import check_derivatives


pytestmark = pytest.mark.usefixtures("float64")


def forward(constants, operands):
    """Two results from two operands: a product with a function of the constant, and a difference."""
    (weight,), (one, other) = constants, operands
    return jnp.sin(weight) * one + other, one[1:] - other[:-1] * weight[:-1]


def transpose(constants, cotangents):
    (weight,), (first, second) = constants, cotangents
    zero = jnp.zeros(1)
    one = jnp.sin(weight) * first + jnp.concatenate([zero, second])
    return one, first - jnp.concatenate([second * weight[:-1], zero])


def wrong(constants, cotangents):
    one, other = transpose(constants, cotangents)
    return 3.0 * one, other


def example(key):
    return tuple(jax.random.normal(one, (5,)) for one in jax.random.split(key, 3))


def mapped(given, pulled=transpose, at_once=None):
    weight, one, other = given
    return linear_map(forward, pulled, (weight,), (one * weight, other), at_once=at_once)


def test_derivatives(key):
    """jvp, vjp and a jvp of a vjp, with respect to operands and constants."""
    check_derivatives(mapped, example(key), key)


def test_reverse_mode_runs_the_transpose_that_is_given(key):
    """And forward mode the map itself: a wrong transpose shows in one and not in the other."""
    given = example(key)
    tangents = tuple(jnp.ones(5) for _ in given)
    for one, other in zip(
        jax.jvp(lambda *g: mapped(g, wrong), given, tangents)[1],
        jax.jvp(lambda *g: mapped(g), given, tangents)[1],
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)
    gradients = [jax.grad(lambda g, pulled=pulled: mapped(g, pulled)[0].sum())(given) for pulled in (transpose, wrong)]
    np.testing.assert_allclose(gradients[1][1], 3.0 * gradients[0][1])


def test_batches_equal_a_loop(key):
    """Constants and operands batched or not, at any axis, also of the gradient and of the tangent."""
    batch = [jax.random.normal(one, (5, 3)) for one in jax.random.split(key, 3)]
    single = example(key)

    def gradient(*given):
        return jax.grad(lambda given: sum(jnp.sum(jnp.sin(part)) for part in mapped(given)))(given)

    def tangent(*given):
        return jax.jvp(lambda *g: mapped(g), given, given)[1]

    for function in (lambda *g: mapped(g), gradient, tangent):
        for chosen in ((0, 1, 2), (0,), (1,), (2,)):
            given = [batch[i] if i in chosen else single[i] for i in range(3)]
            axes = tuple(1 if i in chosen else None for i in range(3))
            found = jax.vmap(function, axes)(*given)
            for index in range(3):
                expected = function(*(part[:, index] if part.ndim == 2 else part for part in given))
                for one, other in zip(found, expected, strict=True):
                    np.testing.assert_allclose(one[index], other, rtol=0, atol=1e-14)


def test_inside_a_scan_and_a_checkpoint(key):
    weight, one, other = example(key)

    def advance(carry, _):
        result, _ = linear_map(forward, transpose, (weight,), carry)
        return (result, carry[0]), None

    def through(body):
        def loss(given):
            return jnp.sum(jax.lax.scan(body, given, None, 4)[0][0] ** 2)

        return jax.grad(loss)((one, other))

    def loop(given):
        for _ in range(4):
            given = (forward((weight,), given)[0], given[0])
        return jnp.sum(given[0] ** 2)

    expected = jax.grad(loop)((one, other))
    for found in (through(advance), through(jax.checkpoint(advance))):
        for left, right in zip(found, expected, strict=True):
            np.testing.assert_allclose(left, right, rtol=1e-13)


@pytest.mark.slow
def test_a_batch_in_parts_is_the_same_batch(key):
    """Whole parts only: six members as three pairs, five one by one; also of the derivatives, of batches of batches,
    and where constants or operands are no batch.
    """
    given = [jax.random.normal(one, (2, 5, 6)) for one in jax.random.split(key, 3)]

    def gradient(at_once, *given):
        return jax.grad(lambda given: sum(jnp.sum(jnp.sin(part)) for part in mapped(given, at_once=at_once)))(given)

    def second(at_once, *given):
        return jax.jvp(lambda *g: gradient(at_once, *g), given, given)[1]

    def value(at_once, *given):
        return mapped(given, at_once=at_once)

    cases = [(value, (2, 2, 2), 6), (value, (None, None, 2), 6), (gradient, (2, 2, 2), 5), (gradient, (2, None, 2), 6)]
    cases += [(gradient, (None, 2, None), 6), (second, (2, 2, 2), 6)]
    for function, axes, count in cases:
        chosen = [part[..., :count] if axis else part[..., 0] for part, axis in zip(given, axes, strict=True)]
        inner = [axis and axis - 1 for axis in axes]  # the first of the three axes is a batch, too
        found, expected = (jax.vmap(jax.vmap(partial(function, n), inner))(*chosen) for n in (2, None))
        for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-14)
    for at_once, loops in ((2, True), (None, False)):
        text = jax.jit(jax.vmap(partial(value, at_once))).lower(*[part[0].T for part in given]).as_text()
        assert ("stablehlo.while" in text) == loops


@pytest.mark.parametrize(
    ("cells", "axis"), [((4,), 0), ((4, 3), 0), ((3, 4), 1), ((4, 3, 2), 0), ((3, 4, 2), 1), ((3, 2, 4), 2)]
)
def test_a_product_along_an_axis_and_its_transpose(key, cells, axis):
    """Against the sum written out; a matrix that is not square, as those of an obstacle's box are not."""
    one, other, third = jax.random.split(key, 3)
    matrix = np.asarray(jax.random.normal(one, (5, 4)))
    values = jax.random.normal(other, cells)
    letters = "abc"[: len(cells)]
    contraction = f"i{letters[axis]},{letters}->{letters.replace(letters[axis], 'i')}"
    expected = np.einsum(contraction, matrix, values)
    result, pull = jax.vjp(lambda values: along_axis(matrix, values, axis), values)
    np.testing.assert_allclose(result, expected, rtol=1e-13, atol=1e-13)
    cotangent = jax.random.normal(third, result.shape)
    np.testing.assert_allclose(jnp.vdot(cotangent, expected), jnp.vdot(pull(cotangent)[0], values), rtol=1e-13)


def test_the_transposed_product_has_the_form_that_is_fast():
    """Rows of the first factor times columns of the second: over the first axes of both XLA is slow on a CPU."""
    matrix = np.ones((5, 4))
    for axis, cells in ((0, (4, 3)), (1, (3, 4))):
        product = partial(along_axis, matrix, axis=axis)
        pull = jax.vjp(product, jnp.ones(cells))[1]
        program = jax.jit(pull).lower(product(jnp.ones(cells))).as_text()
        products = [line for line in program.splitlines() if "dot_general" in line]
        assert products
        assert all("contracting_dims = [1] x [0]" in line for line in products), products
