"""Training on averages of runs that go on: a known answer, unsound runs, and going on from a checkpoint."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from diffphys.learning.ongoing import Ongoing, train_ongoing


class _Relaxing(eqx.Module):
    """A number that relaxes within ten steps towards what the network says."""

    network: jax.Array

    def __call__(self, state: jax.Array) -> jax.Array:
        return state + 0.1 * (self.network - state)


def _problem(**more) -> Ongoing:
    return Ongoing(
        jnp.linspace(0.0, 1.0, 5),
        lambda state: state,
        lambda found: (jnp.mean(found) - 2.0) ** 2,
        lambda state: state < 10.0,
        optax.adam(0.05),
        **{"members": 4, "unroll": 3, "every": 1, "averaging": 0.5, **more},
    )


def test_the_average_of_long_runs_is_met_though_the_gradient_passes_through_few_steps():
    trained, progress = train_ongoing(_Relaxing(jnp.array(0.5)), _problem(lifetime=1e9), 300)
    np.testing.assert_allclose(trained.network, 2.0, atol=0.02)
    np.testing.assert_allclose(progress.members, 2.0, atol=0.02)
    assert int(progress.renewed) == 0 and float(progress.losses[-1]) < 1e-3 < float(progress.losses[0])


def test_runs_that_are_not_sound_begin_anew():
    _, progress = train_ongoing(_Relaxing(jnp.array(1e3)), _problem(lifetime=1e9), 2)
    assert int(progress.renewed) == 8 and float(jnp.max(progress.members)) <= 1.0


def test_training_goes_on_with_the_same_bits():
    step, kept = _Relaxing(jnp.array(0.5)), []
    problem = _problem(data=jnp.ones(3), beside=lambda step, data, key: jnp.sum(data) * jax.random.uniform(key))
    whole, _ = train_ongoing(step, problem, 6, after_update=lambda progress, number, loss: kept.append(progress))
    again, progress = train_ongoing(step, problem, 6, resume=kept[2])
    np.testing.assert_array_equal(again.network, whole.network)
    np.testing.assert_array_equal(progress.losses, kept[-1].losses)
    assert float(progress.losses[0]) != float(progress.losses[1])
