"""What training does when an update diverges, step by step."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from diffphys.errors import InputError
from diffphys.learning import Recovery
from diffphys.learning.recovery import recovering


def followed(gradients, recovery, optimizer=None):
    """The weights after each of these gradients, and the last state; plain descent at rate 1 unless told otherwise."""
    optimizer = recovering(optimizer or optax.sgd(1.0), recovery)
    weights: Any = jnp.zeros(2)
    found = []
    state: Any = optimizer.init(weights)
    for gradient in gradients:
        changes, state = optimizer.update(jnp.full(2, float(gradient)), state, weights)
        weights = optax.apply_updates(weights, changes)
        found.append(float(weights[0]))
    return found, state


def test_an_update_far_larger_than_usual_is_left_out():
    weights, state = followed([1, 1, 9, 11, np.nan, 1], Recovery(largest_jump=10.0, patience=5))
    # 9 is accepted, and raises the running mean to 1.4: 11 is less than ten times that, NaN is not.
    assert weights == [-1, -2, -11, -22, -22, -23]
    weights, _ = followed([1, 1, 30, 1], Recovery(largest_jump=10.0, patience=5))
    assert weights == [-1, -2, -2, -3]
    assert int(state.returns) == 0 and int(state.good) == 5


def test_after_several_in_a_row_it_goes_back_and_the_optimizer_starts_anew():
    momentum = optax.sgd(1.0, momentum=0.5)
    bad = np.inf
    weights, state = followed([1, 1, 1, bad, bad, 1], Recovery(patience=2, keep_every=2), momentum)
    # Kept are the weights before the first and the third update: 0 and -2.5.
    assert weights == [-1, -2.5, -4.25, -4.25, -2.5, -3.5]  # from -2.5 by 1, with no momentum left
    assert int(state.returns) == 1


@pytest.mark.parametrize("wrong", [{"largest_jump": 1.0}, {"patience": 0}, {"keep_every": -1}])
def test_bad_settings_are_refused(wrong):
    with pytest.raises(InputError, match=f"Recovery: {next(iter(wrong))}"):
        Recovery(**wrong)
