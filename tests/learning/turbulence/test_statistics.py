"""Statistics made while a flow runs, against all frames at once."""

import jax
import jax.numpy as jnp
import numpy as np

import diffphys as dp
from diffphys.learning.turbulence import Average, Moments, with_statistics


def test_a_rollout_carries_what_all_frames_together_give():
    """Far from zero, where the mean of squares less the square of the mean would keep no digit in float32."""

    def step(angle):
        return angle + 0.7

    def measure(angle):
        vector = 3000.0 + jnp.stack([jnp.cos(angle), jnp.sin(2 * angle) * jnp.ones(3)])
        return {"velocity": vector, "square": (angle - 5) ** 2}

    start = jnp.array([0.0, 0.4, 1.1])
    empty = {"velocity": Moments.empty(measure(start)["velocity"]), "square": Average.empty(measure(start)["square"])}
    (_, found), _ = dp.rollout(with_statistics(step, measure), (start, empty), 40)
    _, frames = dp.rollout(step, start, 40, save_every=1, save=measure)
    values = np.asarray(frames["velocity"], np.float64)
    np.testing.assert_allclose(found["velocity"].mean, values.mean(0), rtol=1e-6)
    apart = values - values.mean(0)
    expected = np.einsum("tix,tjx->ijx", apart, apart) / 40
    np.testing.assert_allclose(found["velocity"].covariance, expected, atol=1e-3)
    np.testing.assert_allclose(found["square"].mean, np.asarray(frames["square"]).mean(0), rtol=1e-5)
    assert float(found["square"].count) == 40


def test_an_input_goes_to_the_step():
    step = with_statistics(lambda state, push: state + push, lambda state: {"state": state})
    (state, found), _ = dp.rollout(
        step, (jnp.zeros(2), {"state": Average.empty(jnp.zeros(2))}), 3, inputs=jnp.arange(3.0)
    )
    np.testing.assert_allclose(state, [3, 3])
    np.testing.assert_allclose(found["state"].mean, [4 / 3, 4 / 3])


def test_parts_merge_to_the_whole_and_nothing_adds_nothing():
    values = jax.random.normal(jax.random.key(0), (9, 2, 4))

    def of(some):
        return jax.lax.scan(lambda moments, one: (moments.added(one), None), Moments.empty(values[0]), some)[0]

    whole, parts = of(values), of(values[:4]).merged(of(values[4:]))
    for one, other in zip(jax.tree.leaves(whole), jax.tree.leaves(parts), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    nothing = Moments.empty(values[0])
    np.testing.assert_allclose(whole.merged(nothing).covariance, whole.covariance, atol=1e-6)
    assert float(jnp.max(jnp.abs(nothing.merged(nothing).covariance))) == 0
