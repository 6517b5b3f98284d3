"""Environments: the trajectory of the rollout, the checkers of Gymnasium and Stable-Baselines3, and what is refused."""

import dataclasses
import importlib.util
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from diffphys.control import Force, environment, simulate, stable_baselines_environment, vector_environment
from diffphys.errors import InputError
from tests.control.systems import swing_up


STEPS = 5


def draw(key):
    angle = 0.2 * jax.random.normal(key)
    return {"angle": angle, "speed": jnp.asarray(-0.2)}, 1.0 + angle


def problem(**settings):
    return swing_up(STEPS, regularizers=(Force(0.3),), lower=-2.0, upper=2.0, **settings)


@pytest.fixture(scope="module")
def single():
    return environment(problem(), draw, render_mode="rgb_array")


# That it is in no registry, that angles have no bounds, and that forces are not between -1 and 1.
@pytest.mark.filterwarnings("ignore:.*WARN:UserWarning")
def test_gymnasium_accepts_the_environment(single):
    check_env(single, skip_render_check=True)


def test_an_episode_is_the_rollout_and_its_reward_minus_its_cost(single):
    single.reset(seed=3)
    start = jax.tree.map(jnp.asarray, single.state)
    target = 1.0 + start["angle"]
    actions = np.random.default_rng(0).uniform(-4.0, 4.0, (STEPS, 1)).astype(np.float32)  # beyond the bounds, too
    states, rewards, ends = [], [], []
    for action in actions:
        seen, reward, ended, truncated, _ = single.step(action)
        states.append(single.state["angle"])
        rewards.append(reward)
        ends.append(ended)
    assert ends == [False] * (STEPS - 1) + [True] and not truncated and seen[-1] == 0.0
    run = simulate(problem(target=target), start, actions)
    np.testing.assert_array_equal(np.asarray(states), run.states["angle"])
    np.testing.assert_allclose(np.sum(rewards), -run.cost, rtol=1e-6)


def test_episodes_side_by_side_are_single_ones_and_begin_anew():
    many = vector_environment(problem(), draw, 3)
    seen, _ = many.reset(seed=1)
    assert seen.shape == (3, 4) and many.observation_space.contains(seen)
    starts = many.states
    actions = np.random.default_rng(0).uniform(-2.0, 2.0, (STEPS, 3, 1)).astype(np.float32)
    total = np.zeros(3)
    for step, action in enumerate(actions):
        seen, rewards, ended, truncated, info = many.step(action)
        total += rewards
        assert ended.all() == (step == STEPS - 1) and not truncated.any() and ("final_obs" in info) == ended.all()
    for index in range(3):
        start = jax.tree.map(lambda leaf: leaf[index], starts)  # noqa: B023
        run = simulate(problem(target=1.0 + start["angle"]), start, actions[:, index])
        np.testing.assert_allclose(total[index], -run.cost, rtol=1e-6)
        np.testing.assert_allclose(info["final_obs"][index, 0], run.final["angle"], rtol=1e-6)
    assert np.all(seen[:, -1] == 1.0) and not np.allclose(many.states["angle"], starts["angle"])
    np.testing.assert_array_equal(many.reset(seed=1)[0], vector_environment(problem(), draw, 3).reset(seed=1)[0])


def test_a_state_that_is_not_finite_ends_the_episode():
    def explodes(state, control):
        return {"angle": state["angle"] + jnp.where(control[0] > 1, jnp.inf, 0.0), "speed": state["speed"]}

    one = environment(dataclasses.replace(problem(), step=explodes), draw, failure=-7.0)
    one.reset(seed=0)
    assert one.step(np.zeros(1, np.float32))[2] is False
    seen, reward, ended, _, info = one.step(np.full(1, 2.0, np.float32))
    assert ended and reward == -7.0 and not info["finite"] and np.all(np.isfinite(seen))


def test_frames_show_the_state(single):
    single.reset(seed=0)
    first = single.render()
    assert first.dtype == np.uint8 and first.ndim == 3 and first.shape[2] == 3
    single.step(np.ones(1, np.float32))
    assert (single.render() != first).any()


@pytest.mark.skipif(importlib.util.find_spec("stable_baselines3") is None, reason="the extra rl is not installed")
def test_stable_baselines_sees_the_same_episodes():
    from stable_baselines3.common.vec_env.base_vec_env import VecEnv  # pyright: ignore[reportMissingImports]

    many = vector_environment(problem(), draw, 2)
    vec = stable_baselines_environment(many)
    assert isinstance(vec, VecEnv)
    vec.seed(1)
    seen = vec.reset()
    np.testing.assert_array_equal(seen, vector_environment(problem(), draw, 2).reset(seed=1)[0])
    for _ in range(STEPS):
        seen, rewards, dones, infos = vec.step(np.zeros((2, 1), np.float32))
    assert dones.all() and rewards.shape == (2,)
    assert all(one["terminal_observation"][-1] == 0.0 for one in infos) and np.all(np.asarray(seen)[:, -1] == 1.0)


def test_what_cannot_be_used_is_refused(single, monkeypatch):
    single.reset(seed=0)
    with pytest.raises(InputError, match="action has shape"):
        single.step(np.zeros(2, np.float32))
    with pytest.raises(InputError, match="reset"):
        environment(problem(), draw).step(np.zeros(1, np.float32))
    with pytest.raises(InputError, match='render_mode is .human.; None or "rgb_array"'):
        environment(problem(), draw, render_mode="human")
    with pytest.raises(InputError, match="count is 0"):
        vector_environment(problem(), draw, 0)
    with pytest.raises(InputError, match="control has no bounds"):
        stable_baselines_environment(vector_environment(swing_up(STEPS), draw, 2))
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    with pytest.raises(InputError, match=r"gymnasium is not installed.*diffphys\[gymnasium\]"):
        environment(problem(), draw)
