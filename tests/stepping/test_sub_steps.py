"""Sub-steps by Courant number."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp
from diffphys.stepping import SubSteps
from tests.gradients import check_derivatives


pytestmark = pytest.mark.usefixtures("float64")


class Decay(eqx.Module):
    """Euler steps of `du/dt = -u^2 + push`; the Courant number is `u dt`."""

    dt: jax.Array

    def __call__(self, state, push=0.0):
        return state + self.dt * (push - state**2)

    def courant_number(self, state):
        return jnp.max(jnp.abs(state)) * self.dt


def by_hand(dt, state, count, push=0.0):
    for _ in range(count):
        state = Decay(dt / count)(state, push)
    return state


def test_a_step_is_made_in_as_many_parts_as_its_courant_number_asks_for():
    split = SubSteps(Decay(jnp.asarray(0.5)), courant=0.25, largest=5)
    states = jnp.asarray([[0.3, 0.1], [0.6, 0.2], [1.9, -0.4], [9.0, 0.0]])
    counts = [1, 2, 4, 5]  # 0.6 / 0.5 of a step each; the last one would need 18
    np.testing.assert_array_equal(jax.vmap(split.count)(states), counts)
    found = jax.vmap(split)(states, jnp.arange(4.0))
    for index, (state, count) in enumerate(zip(states, counts, strict=True)):
        np.testing.assert_allclose(found[index], by_hand(0.5, state, count, index), rtol=1e-13)
    assert float(split.courant_number(states[2])) <= 0.25


def test_derivatives_of_sub_steps(key):
    """Through a rollout, with respect to state, dt and input, in both modes; and they are those by hand."""
    split = SubSteps(Decay(jnp.asarray(0.5)), courant=0.25, largest=5)
    state = jnp.asarray([1.7, -0.4])

    def final(given):
        dt, state, pushes = given
        return dp.rollout(eqx.tree_at(lambda tree: tree.flow.dt, split, dt), state, 2, inputs=pushes)[0]

    check_derivatives(final, (jnp.asarray(0.5), state, jnp.asarray([0.3, 0.7])), key, second=False)
    slope = jax.grad(lambda state: split(state).sum())(state)
    np.testing.assert_allclose(slope, jax.grad(lambda state: by_hand(0.5, state, 4).sum())(state), rtol=1e-12)


def test_what_sub_steps_refuse():
    flow = Decay(jnp.asarray(0.5))
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        (dict(flow=lambda state: state), "flow"),
        (dict(flow=flow, courant=0.0), "courant"),
        (dict(flow=flow, largest=0), "largest"),
    )
    for settings, word in cases:
        with pytest.raises(dp.InputError, match=word):
            SubSteps(**settings)
