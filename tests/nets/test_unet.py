"""U-Nets: published sizes, shapes, and what a shift or a constant must do."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffphys.errors import InputError
from diffphys.nets import UNet, count_parameters


@pytest.mark.parametrize("channels, levels, count", [(1, 4, 37697), (2, 5, 49570)])
def test_published_parameter_counts(channels, levels, count, key):
    assert count_parameters(UNet(channels, channels, levels=levels, normalization="batch", key=key)) == count


def test_a_periodic_network_commutes_with_a_shift_of_the_coarsest_cell(key):
    network = UNet(1, 2, features=4, levels=3, padding="periodic", key=key)
    # Interpolation at the ends knows no period, which one coarse cell of distance hides from the middle.
    image = jax.random.normal(key, (1, 32, 32))
    shifted = network(jnp.roll(image, 4, axis=1))
    assert network(image).shape == (2, 32, 32)
    np.testing.assert_allclose(
        shifted[:, 14:18, 14:18], jnp.roll(network(image), 4, axis=1)[:, 14:18, 14:18], atol=1e-5
    )


def test_the_coarsest_level_sees_far(key):
    network = UNet(1, 1, features=4, levels=4, key=key)
    far = jax.jit(jax.grad(lambda image: network(image)[0, 32, 32]))(jax.random.normal(key, (1, 64, 64)))
    assert jnp.abs(far[0, 32, 12]) > 0  # four convolutions of three cells alone would reach four cells


def test_batch_normalization_takes_away_scale_and_shift(key):
    network = UNet(1, 1, features=4, levels=1, normalization="batch", key=key)
    images = jax.random.normal(key, (5, 1, 8, 8))
    answers = eqx.filter_vmap(network, axis_name="batch")(images)
    again = eqx.filter_vmap(network, axis_name="batch")(1000.0 * images)
    np.testing.assert_allclose(again, answers, atol=2e-3)


def test_bad_input_is_refused(key):
    with pytest.raises(InputError, match="multiples of 8"):
        UNet(1, 1, key=key)(jnp.zeros((1, 12, 16)))
    with pytest.raises(InputError, match="levels"):
        UNet(1, 1, levels=0, key=key)
