"""Policies trained through the solver: the updates are the gradient's, windows cut, and the best law is found."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from diffphys.control import Force, closed_loop, linear_quadratic_regulator, train_policy
from diffphys.errors import InputError
from tests.control.systems import Linear, linear_quadratic, swing_up


pytestmark = pytest.mark.usefixtures("float64")


class Proportional(eqx.Module):
    """u = -K x."""

    gain: jax.Array

    def __call__(self, state, target):
        return -self.gain @ (state - target)


class Springy(eqx.Module):
    """A law with a memory, the angles that it has seen."""

    gains: jax.Array

    def initial_memory(self):
        return jnp.zeros(())

    def __call__(self, state, target, memory):
        memory = memory + target - state["angle"]
        return self.gains[:1] * memory - self.gains[1:] * state["speed"], memory


def draw_angle(key):
    return {"angle": jax.random.normal(key), "speed": jnp.asarray(0.1)}, jnp.asarray(0.5)


def drawn(episode: int, batch: int):
    return jax.vmap(draw_angle)(jax.random.split(jax.random.fold_in(jax.random.key(0), episode), batch))


def test_an_update_is_the_gradient_of_the_closed_loop():
    problem, policy = swing_up(regularizers=(Force(0.3),)), Springy(jnp.asarray([1.0, 0.5]))
    trained, costs = train_policy(policy, problem, draw_angle, episodes=1, batch=3, optimizer=optax.sgd(0.1))

    def cost(policy):
        run = jax.vmap(lambda state, target: closed_loop(problem.with_target(target), policy, state).cost)
        return jnp.mean(run(*drawn(0, 3)))

    value, gradient = eqx.filter_value_and_grad(cost)(policy)
    np.testing.assert_allclose(costs, [value], rtol=1e-12)
    np.testing.assert_allclose(trained.gains, policy.gains - 0.1 * gradient.gains, rtol=1e-12)


def test_windows_are_updates_of_their_own():
    problem, policy = swing_up(regularizers=(Force(0.3),)), Springy(jnp.asarray([1.0, 0.5]))
    trained, _ = train_policy(policy, problem, draw_angle, episodes=1, window=3, optimizer=optax.sgd(0.1))
    state, target = jax.tree.map(lambda leaf: leaf[0], drawn(0, 1))
    first = dataclasses.replace(problem, steps=3, target=target)

    def first_cost(policy):  # without the terminal cost, which belongs to the last window
        run = closed_loop(dataclasses.replace(first, terminal_cost=lambda state, target: 0.0), policy, state)
        return run.cost, run

    gradient, run = eqx.filter_grad(first_cost, has_aux=True)(policy)
    once = Springy(policy.gains - 0.1 * gradient.gains)
    seen = policy.initial_memory()
    for angle in [state["angle"], *run.states["angle"][:-1]]:
        seen = seen + target - angle

    def second_cost(policy):
        class Going(Springy):
            def initial_memory(self):
                return seen

        second = dataclasses.replace(first, control=run.controls[-1])
        return closed_loop(second, Going(policy.gains), run.final).cost

    known = once.gains - 0.1 * eqx.filter_grad(second_cost)(once).gains
    np.testing.assert_allclose(trained.gains, known, rtol=1e-12)


def test_training_finds_the_linear_regulator():
    problem = linear_quadratic(steps=60, terminal_cost=lambda state, target: 0.0)
    known = linear_quadratic_regulator(Linear(), jnp.zeros(2), jnp.zeros(1), [3.0, 1.0], 0.2).gain

    def draw(key):
        return jax.random.normal(key, (2,)), jnp.zeros(2)

    rate = optax.cosine_decay_schedule(0.3, 300)
    start = Proportional(jnp.zeros((1, 2)))
    trained, costs = train_policy(start, problem, draw, episodes=300, batch=8, optimizer=optax.adam(rate))
    np.testing.assert_allclose(trained.gain, known, rtol=2e-2)
    assert np.mean(costs[-20:]) < 0.7 * np.mean(costs[:5])


def test_a_training_that_goes_on_ends_with_the_same_bits():
    problem, policy, optimizer = swing_up(), Springy(jnp.asarray([1.0, 0.5])), optax.adam(0.05)
    saved = []
    whole, _ = train_policy(
        policy,
        problem,
        draw_angle,
        episodes=4,
        window=2,
        optimizer=optimizer,
        after_episode=lambda progress, cost: saved.append(progress),
    )
    rest, costs = train_policy(policy, problem, draw_angle, episodes=4, window=2, optimizer=optimizer, resume=saved[1])
    assert len(costs) == 2 and jnp.array_equal(whole.gains, rest.gains)


def test_what_cannot_be_used_is_refused():
    problem, policy = swing_up(), Springy(jnp.asarray([1.0, 0.5]))
    with pytest.raises(InputError, match="window is 4; a whole number that divides the task's 6 steps"):
        train_policy(policy, problem, draw_angle, window=4)
    with pytest.raises(InputError, match="no floating-point array"):
        train_policy(lambda state, target: jnp.zeros(1), problem, draw_angle)
    with pytest.raises(InputError, match="episodes is 0"):
        train_policy(policy, problem, draw_angle, episodes=0)
