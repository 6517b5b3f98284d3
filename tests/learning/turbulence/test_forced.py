"""A force by a network in the momentum equation, and gradient sub-ranges through it."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import diffphys as dp
from diffphys.errors import InputError
from diffphys.learning import train
from diffphys.learning.turbulence import Forced, OnlyForced


GRID = dp.Grid((8, 4), (8.0, 4.0))
SIDES = dict(x=dp.Periodic(), y=dp.Wall(slip=True))
FLOW = dp.IncompressibleFlow(GRID, 0.05, 0.2, SIDES, stepping=dp.PISO(tolerance=1e-7))
EULER = dataclasses.replace(FLOW, stepping=dp.RungeKutta(1))  # less to compile; `diffphys verify piso` has the other


class Constant(eqx.Module):
    """A force whatever the network sees."""

    values: jax.Array

    def __call__(self, image):
        return self.values + 0 * image[:2]


class Mixed(eqx.Module):
    """A force that depends on all inputs, cell by cell."""

    matrix: jax.Array

    def __call__(self, image):
        return jnp.tanh(jnp.tensordot(self.matrix, image, 1))


def some_state(flow=EULER):
    keys = jax.random.split(jax.random.key(0), 2)
    shapes = [part.shape for part in flow.initial_state().velocity]
    velocity = [jax.random.normal(one, shape) for one, shape in zip(keys, shapes, strict=True)]
    return jax.jit(lambda: flow(flow.initial_state(velocity)))()


def test_the_force_enters_the_step_and_nothing_diverges():
    state, push = some_state(), jnp.stack([jnp.full((8, 4), 0.3), jnp.full((8, 4), -0.1)])
    forced = Forced(FLOW, Constant(push / 0.1), speed=2.0, strength=0.1)
    u, v = forced.force(state)
    np.testing.assert_allclose(u, 0.3 * 2 / 0.2, rtol=1e-6)
    assert u.shape == (8, 4) and v.shape == (8, 5)
    after, expected = jax.jit(lambda state: (forced(state), FLOW(state, (3.0, -1.0))))(state)
    for one, other in zip(after.velocity, expected.velocity, strict=True):
        np.testing.assert_allclose(one.values, other.values, atol=1e-5)
    assert float(jnp.max(jnp.abs(FLOW.divergence(after).values))) < 1e-5


def test_what_the_network_sees_is_of_size_one_and_only_where_it_acts():
    state, where = some_state(), jnp.ones((8, 4)).at[6:].set(0)
    image = Forced(FLOW, Constant(jnp.zeros((2, 8, 4))), speed=2.0).inputs(state)
    u, p = np.asarray(state.velocity[0].values), np.asarray(state.pressure.values)
    np.testing.assert_allclose(image[0], (u + np.roll(u, -1, 0)) / 2 / 2.0, rtol=1e-5)
    np.testing.assert_allclose(image[2], 0.2 * (np.roll(p, -1, 0) - np.roll(p, 1, 0)) / 2 / 2.0, rtol=1e-3, atol=1e-5)
    masked = Forced(FLOW, Constant(jnp.ones((2, 8, 4))), where=where)
    assert float(jnp.max(jnp.abs(masked.inputs(state)[:, 6:]))) == 0
    force = masked.force(state)
    assert float(jnp.max(jnp.abs(force[1][6:]))) == 0 and float(jnp.min(force[1][:6])) > 0


def test_a_network_of_another_shape_is_refused():
    with pytest.raises(InputError, match=r"shape \(4, 8, 4\); \(2, 8, 4\)"):
        Forced(FLOW, lambda image: image).force(some_state())


@pytest.mark.slow
def test_supervised_training_finds_a_force_from_steps_made_before():
    """The target has a constant force; the solver alone does not. One number has to be found."""
    start = some_state()
    truth = jnp.array([0.02, 0.0])[:, None, None]
    _, frames = dp.rollout(Forced(EULER, Constant(truth)), start, 12, save_every=1)
    pairs = jax.vmap(lambda before: (before, EULER(before)))(frames)
    following = jax.tree.map(lambda leaf: jnp.concatenate([leaf[1:], leaf[-1:]]), frames)
    # Beside each frame stands what the solver alone made of it; what it should have come to is the next frame.
    data = dp.Trajectories(
        jax.tree.map(lambda leaf: leaf[None, :-1], {"before": pairs[0], "alone": pairs[1], "true": following})
    )
    model = OnlyForced(Forced(EULER, Constant(jnp.zeros((2, 1, 1)))))

    def loss(prediction, target):
        return jnp.sum((prediction - target["before"].velocity[0].values) ** 2)

    trained, _ = train(
        model,
        data,
        updates=300,
        optimizer=optax.adam(2e-3),
        start=lambda frame: (frame["before"], frame["alone"]),
        observe=lambda pair: pair[1].velocity[0].values,
        loss=loss,
    )
    np.testing.assert_allclose(trained.network.values[0], truth[0], atol=1e-3)


@pytest.mark.usefixtures("float64")
def test_sub_ranges_of_all_steps_are_the_gradient_and_of_one_step_the_detached_one():
    flow = dataclasses.replace(EULER, viscosity=0.05, dt=0.2)
    start = some_state(flow)
    matrix = 0.1 * jax.random.normal(jax.random.key(3), (2, 4), jnp.float64)

    @jax.jit
    def gradients(matrix):
        def loss(adjoint):
            def of(matrix):
                step = Forced(flow, Mixed(matrix))
                _, frames = dp.rollout(step, start, 4, save_every=1, adjoint=adjoint)
                return sum(jnp.mean(part.values**2) for part in frames.velocity) + jnp.mean(frames.pressure.values**2)

            return jax.grad(of)(matrix)

        adjoints = (dp.StoreAll(), dp.Truncated(4), dp.Truncated(1), dp.Detached())
        return [loss(adjoint) for adjoint in adjoints]

    whole, all_steps, single, detached = gradients(matrix)
    np.testing.assert_allclose(all_steps, whole, rtol=1e-9)
    np.testing.assert_allclose(single, detached, rtol=1e-9)
    assert np.max(np.abs(whole - detached)) > 1e-3 * np.max(np.abs(whole))
