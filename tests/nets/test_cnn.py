"""Plain convolutional networks."""

import jax
import numpy as np
import pytest

from diffphys.errors import InputError
from diffphys.nets import CNN, count_parameters


def test_it_is_its_layers_one_after_the_other(key):
    network = CNN((2, 3, 1), (3, 1), padding="periodic", key=key)
    image = jax.random.normal(key, (2, 6, 5))
    hidden = network.layers[0](image)
    expected = np.einsum("chw,cn->nhw", np.maximum(hidden, 0.2 * hidden), network.layers[1].kernel[0, 0])
    np.testing.assert_allclose(network(image), expected, rtol=1e-4, atol=1e-7)


def test_the_published_number_of_parameters(key):
    """List, Chen, Thuerey 2022: 82,000."""
    assert count_parameters(CNN((4, 16, 16, 32, 64, 64, 64, 2), key=key)) == 81_856


@pytest.mark.parametrize("channels, sizes", [((4,), ()), ((4, 2), (3, 3)), ((4, 0, 2), (3, 3))])
def test_what_does_not_fit_is_refused(channels, sizes, key):
    with pytest.raises(InputError, match="CNN: channels"):
        CNN(channels, sizes, key=key)
