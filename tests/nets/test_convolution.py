"""The fast convolution is the same map, and has the same derivatives, as the plain ones of JAX and NumPy."""

from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffphys.errors import InputError
from diffphys.nets import Convolution
from diffphys.nets import convolve as channels_first
from diffphys.nets.convolution import Padding


NUMPY_MODES = {"zero": "constant", "periodic": "wrap", "edge": "edge", "reflect": "symmetric"}
CELLS = (7, 6, 5)


def convolve(image, kernel, padding: Padding = "zero"):
    """The fast convolution with the channels behind the cells, as NumPy and JAX are asked here."""
    return jnp.moveaxis(channels_first(jnp.moveaxis(image, -1, 0), kernel, padding), 0, -1)


def plain(image, kernel, sides):
    """JAX's own convolution of the image that NumPy's definition of each padding extends, one end after the other."""
    axes = kernel.ndim - 2
    for axis, (lower, upper) in enumerate(sides):
        reach = kernel.shape[axis] // 2
        widths = [(0, 0)] * image.ndim
        widths[axis] = (reach, reach)
        below = jnp.pad(image, widths, mode=NUMPY_MODES[lower])
        above = jnp.pad(image, widths, mode=NUMPY_MODES[upper])
        middle = image.shape[axis] // 2 + reach
        lower_part = jax.lax.slice_in_dim(below, 0, middle, axis=axis)
        image = jnp.concatenate([lower_part, jax.lax.slice_in_dim(above, middle, None, axis=axis)], axis)
    letters = "XYZ"[:axes]
    numbers = (f"N{letters}C", f"{letters}IO", f"N{letters}C")
    return jax.lax.conv_general_dilated(image[None], kernel, (1,) * axes, "VALID", dimension_numbers=numbers)[0]


def problem(key, window, channels=(3, 4)):
    """A random image and kernel."""
    keys = jax.random.split(key)
    image = jax.random.normal(keys[0], (*CELLS[: len(window)], channels[0]))
    return image, jax.random.normal(keys[1], (*window, *channels))


SAME = [(name, name) for name in NUMPY_MODES]
MIXED = [("edge", "zero"), ("zero", "reflect"), ("reflect", "edge")]
CASES = (
    [((3,), (pair,)) for pair in SAME + MIXED]
    + [((1,), (SAME[0],)), ((5,), (SAME[1],)), ((5,), (MIXED[2],))]
    + [((3, 5), (a, b)) for a, b in zip(SAME + MIXED, MIXED + SAME, strict=True)]
    + [((5, 3), (SAME[0], SAME[0])), ((3, 3), (SAME[1], SAME[0])), ((1, 5), (SAME[0], SAME[1]))]
    + [((3, 3, 3), (SAME[0], SAME[1], MIXED[0])), ((5, 3, 1), (SAME[1], SAME[3], SAME[0]))]
)
CASES = [(window, sides, (3, 4)) for window, sides in CASES]
# Channels decide how the sum over the window is divided between shifting before and shifting after the product.
CASES += [((3, 5), (SAME[0], SAME[1]), channels) for channels in [(1, 40), (40, 1)]]
CASES += [((3, 3, 3), (SAME[1], SAME[0], SAME[0]), channels) for channels in [(1, 40), (2, 7), (40, 1)]]


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("window", "sides", "channels"), CASES)
def test_it_and_its_gradients_equal_the_plain_convolution(key, window, sides, channels):
    image, kernel = problem(key, window, channels)
    cotangent = jax.random.normal(jax.random.key(5), (*image.shape[:-1], channels[1]))

    @partial(jax.jit, static_argnums=0)
    def with_gradients(convolution, image, kernel):
        result, pullback = jax.vjp(lambda a, w: convolution(a, w, sides), image, kernel)
        return result, *pullback(cotangent)

    for ours, theirs in zip(with_gradients(convolve, image, kernel), with_gradients(plain, image, kernel), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("padding", ["zero", "periodic", "reflect", [("edge", "zero"), "periodic"]])
def test_forward_and_reverse_mode_are_transposes(key, padding):
    primals = problem(key, (3, 5))
    tangents = problem(jax.random.key(1), (3, 5))
    result, tangent = jax.jvp(lambda a, w: convolve(a, w, padding), primals, tangents)
    cotangent = jax.random.normal(jax.random.key(2), result.shape)
    pulled = jax.vjp(lambda a, w: convolve(a, w, padding), *primals)[1](cotangent)
    forward = jnp.vdot(cotangent, tangent)
    reverse = sum(jnp.vdot(p, t) for p, t in zip(pulled, tangents, strict=True))
    np.testing.assert_allclose(forward, reverse, rtol=1e-12)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("padding", ["zero", "periodic", "edge"])
def test_second_derivatives_under_vmap_and_scan(key, padding):
    """jvp of a gradient, and gradient of a gradient, through a scan over a batch; the plain convolution beside it."""
    kernel = 0.3 * problem(key, (3, 3), (2, 2))[1]
    images = jax.random.normal(key, (4, 6, 5, 2))
    directions = jax.tree.map(lambda a: jax.random.normal(jax.random.key(3), a.shape), (kernel, images))

    def second_derivatives(convolution):
        def loss(kernel, images):
            def step(images, _):
                return jax.vmap(lambda image: jnp.tanh(convolution(image, kernel)))(images), None

            return jnp.sum(jax.lax.scan(step, images, None, length=3)[0] ** 2)

        gradient = jax.grad(loss, argnums=(0, 1))

        def slope(*point):
            return sum(jnp.vdot(g, d) for g, d in zip(gradient(*point), directions, strict=True))

        reverse = jax.jit(jax.grad(slope, argnums=(0, 1)))(kernel, images)
        forward = jax.jit(lambda *point: jax.jvp(gradient, point, directions)[1])(kernel, images)
        return reverse, forward

    sides = ((padding, padding),) * 2
    ours = second_derivatives(lambda image, kernel: convolve(image, kernel, padding))
    theirs = second_derivatives(lambda image, kernel: plain(image, kernel, sides))
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.usefixtures("float64")
def test_a_kernel_for_each_image(key):
    """vmap over both arguments, or over kernels only, as ensembles of networks need it."""
    images = jax.random.normal(key, (3, 6, 5, 2))
    kernels = jax.random.normal(key, (3, 3, 3, 2, 4))
    apart = jnp.stack([convolve(a, w) for a, w in zip(images, kernels, strict=True)])
    np.testing.assert_allclose(jax.vmap(convolve)(images, kernels), apart, rtol=1e-12, atol=1e-12)
    gradient = jax.grad(lambda w, a: jnp.sum(convolve(a, w) ** 2))
    np.testing.assert_allclose(
        jax.vmap(gradient, (0, None))(kernels, images[0]),
        jnp.stack([gradient(w, images[0]) for w in kernels]),
        rtol=1e-12,
        atol=1e-12,
    )


@pytest.mark.usefixtures("float64")
def test_frozen_weights_and_undifferentiated_images(key):
    """Where only one argument is differentiated, the other's derivative takes no part."""
    image, kernel = problem(key, (3, 3))
    plain_sides = (("zero", "zero"),) * 2
    for argument in (0, 1):
        ours = jax.grad(lambda a, w: jnp.sum(jnp.sin(convolve(a, w))), argument)(image, kernel)
        theirs = jax.grad(lambda a, w: jnp.sum(jnp.sin(plain(a, w, plain_sides))), argument)(image, kernel)
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("float64")
def test_a_periodic_convolution_moves_with_its_image(key):
    image, kernel = problem(key, (5, 3))
    moved = convolve(jnp.roll(image, (3, -2), (0, 1)), kernel, "periodic")
    np.testing.assert_allclose(moved, jnp.roll(convolve(image, kernel, "periodic"), (3, -2), (0, 1)), atol=1e-13)
    unmoved_sides = convolve(jnp.roll(image, (3, -2), (0, 1)), kernel, "zero")
    assert not np.allclose(unmoved_sides, jnp.roll(convolve(image, kernel, "zero"), (3, -2), (0, 1)))


def test_the_kernel_is_not_mirrored():
    """One number in the window's upper half brings values from the next cell: a cross-correlation, as in PyTorch."""
    kernel = jnp.zeros((3, 1, 1)).at[2].set(1.0)
    image = jnp.arange(4.0)[:, None]
    np.testing.assert_array_equal(convolve(image, kernel, "zero")[:, 0], [1, 2, 3, 0])
    np.testing.assert_array_equal(convolve(image, kernel, "edge")[:, 0], [1, 2, 3, 3])
    np.testing.assert_array_equal(convolve(image, kernel, "periodic")[:, 0], [1, 2, 3, 0])
    np.testing.assert_array_equal(convolve(image + 5, kernel, "periodic")[:, 0], [6, 7, 8, 5])


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_precision_follows_the_arguments(key, dtype):
    image, kernel = (array.astype(dtype) for array in problem(key, (3, 3)))
    result, pullback = jax.vjp(convolve, image, kernel)
    assert result.dtype == dtype
    assert [g.dtype for g in pullback(result)] == [dtype, dtype]


def test_a_layer_has_channels_first_and_compiles_once(key):
    traces = []

    @eqx.filter_jit
    def apply(layer, image):
        traces.append(1)
        return layer(image)

    image = jax.random.normal(key, (3, 6, 5))
    answers = []
    for seed in range(3):
        layer = Convolution(3, 4, kernel_size=3, padding=["periodic", ("edge", "zero")], key=jax.random.key(seed))
        layer = eqx.tree_at(lambda layer: layer.bias, layer, jnp.arange(4.0))  # a bias one would notice
        answers.append(apply(layer, image))
        expected = convolve(jnp.moveaxis(image, 0, -1), layer.kernel, ["periodic", ("edge", "zero")]) + jnp.arange(4.0)
        np.testing.assert_allclose(answers[-1], jnp.moveaxis(expected, -1, 0), rtol=1e-5, atol=1e-6)
    assert answers[0].shape == (4, 6, 5)
    assert not np.allclose(answers[0], answers[1])
    assert len(traces) == 1


def test_initial_weights_are_glorot_uniform(key):
    layer = Convolution(20, 40, kernel_size=5, scale=0.5, key=key)
    limit = 0.5 * np.sqrt(6 / (25 * (20 + 40)))
    assert layer.bias is not None
    np.testing.assert_array_equal(layer.bias, 0)
    assert 0.99 * limit < jnp.max(jnp.abs(layer.kernel)) <= limit
    np.testing.assert_allclose(jnp.std(layer.kernel), limit / np.sqrt(3), rtol=0.02)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (dict(padding="periodical"), "periodical"),
        (dict(padding=["zero"]), "2 axes"),
        (dict(padding=[("periodic", "zero"), "zero"]), "periodic at both ends"),
        (dict(kernel_size=4), "odd"),
        (dict(kernel_size=(3, 3, 3)), "2 axes"),
        (dict(axes=4), "axes"),
        (dict(input_channels=0), "input_channels"),
        (dict(output_channels=-1), "output_channels"),
    ],
)
def test_wrong_arguments_are_named(key, arguments, words):
    with pytest.raises(InputError, match=words):
        defaults: dict[str, Any] = dict(input_channels=2, output_channels=3, key=key)
        Convolution(**(defaults | arguments))


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((8, 2, 6, 5), "did you forget jax.vmap"),
        ((6, 5, 2), "channels come first"),
        ((3, 6, 5), "channels = 2"),
        ((2, 6), "channels = 2"),
    ],
)
def test_wrong_images_are_explained(key, shape, words):
    with pytest.raises(InputError, match=words):
        Convolution(2, 3, key=key)(jnp.zeros(shape))


def test_wrong_shapes_of_the_function_are_explained():
    kernel = jnp.zeros((3, 3, 2, 4))
    with pytest.raises(InputError, match="did you forget jax.vmap"):
        channels_first(jnp.zeros((7, 2, 6, 5)), kernel)
    with pytest.raises(InputError, match="does not fit"):
        channels_first(jnp.zeros((3, 6, 5)), kernel)
    with pytest.raises(InputError, match="odd"):
        channels_first(jnp.zeros((2, 6, 5)), jnp.zeros((3, 2, 2, 4)))
    with pytest.raises(InputError, match="beyond all 1 cells"):
        channels_first(jnp.zeros((2, 1, 5)), jnp.zeros((5, 3, 2, 4)), "periodic")
