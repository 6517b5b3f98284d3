"""The environments themselves; `environments` says what they are. This file needs Gymnasium."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from diffphys.control.environments import Episode, Episodes, Happening
from diffphys.errors import InputError
from diffphys.grids.field import values_of
from diffphys.grids.numbers import shown


class ControlEnvironment(gymnasium.Env):
    """One episode at a time; made by `environment`."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 12}

    def __init__(
        self,
        episodes: Episodes,
        render_mode: str | None = None,
        picture: Callable[[Any, Any], np.ndarray] | None = None,
    ):
        if render_mode not in (None, "rgb_array"):
            raise InputError(f'environment: render_mode is {shown(render_mode)}; None or "rgb_array" is accepted.')
        self.episodes, self.render_mode = episodes, render_mode
        self.observation_space, self.action_space = _spaces(episodes)
        self._picture = draw_picture if picture is None else picture
        self._episode: Episode | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """Begin an episode; the same seed draws the same starts and targets."""
        super().reset(seed=seed, options=options)
        key = jax.random.key(int(self.np_random.integers(2**31)))
        self._episode, seen = _begin(self.episodes, key)
        return np.asarray(seen), {"finite": True}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Make a step under an action."""
        if self._episode is None:
            raise InputError("step: no episode has begun; reset() is to be called before the first step.")
        action = np.asarray(action)
        if action.shape != self.action_space.shape:
            raise InputError(
                f"step: the action has shape {action.shape}; {self.action_space.shape}, the control flattened, is "
                "accepted."
            )
        self._episode, told = _advance(self.episodes, self._episode, jnp.asarray(action))
        info = {"finite": bool(told.finite)}
        return np.asarray(told.observation), float(told.reward), bool(told.ended), False, info

    def render(self) -> np.ndarray | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """A picture of the state and the target, (height, width, 3) bytes; None without render_mode."""
        if self.render_mode is None or self._episode is None:
            return None
        return self._picture(self._episode.state, self._episode.target)

    @property
    def state(self) -> Any:
        """The state of the episode, a pytree."""
        return self._episode and self._episode.state


class ControlVectorEnvironment(VectorEnv):
    """Many episodes side by side; made by `vector_environment`."""

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}

    def __init__(self, episodes: Episodes, count: int):
        self.episodes, self.num_envs = episodes, count
        self.single_observation_space, self.single_action_space = _spaces(episodes)
        self.observation_space = batch_space(self.single_observation_space, count)
        self.action_space = batch_space(self.single_action_space, count)
        self._running: Any = None

    def reset(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin all episodes; the same seed draws the same starts and targets."""
        super().reset(seed=seed, options=options)
        key = jax.random.key(int(self.np_random.integers(2**31)))
        self._running, seen = _begin_all(self.episodes, key, self.num_envs)
        return np.asarray(seen), {}

    def step(self, actions: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Make a step of each episode; those that end begin anew."""
        if self._running is None:
            raise InputError("step: no episodes have begun; reset() is to be called before the first step.")
        actions = np.asarray(actions)
        if actions.shape != self.action_space.shape:
            raise InputError(f"step: actions have shape {actions.shape}; {self.action_space.shape} is accepted.")
        self._running, seen, told = _advance_all(self.episodes, self._running, jnp.asarray(actions))
        ended = np.asarray(told.ended)
        info: dict[str, Any] = {"finite": np.asarray(told.finite)}
        if ended.any():
            info |= {"final_obs": np.asarray(told.observation), "_final_obs": ended}
        return np.asarray(seen), np.asarray(told.reward, np.float64), ended, np.zeros_like(ended), info

    @property
    def states(self) -> Any:
        """The states of the episodes, a pytree with a leading axis."""
        return self._running and self._running[0].state


@eqx.filter_jit
def _begin(episodes: Episodes, key: jax.Array) -> tuple[Episode, jax.Array]:
    return episodes.begin(key)


@eqx.filter_jit
def _advance(episodes: Episodes, episode: Episode, action: jax.Array) -> tuple[Episode, Happening]:
    return episodes.advance(episode, action)


@eqx.filter_jit
def _begin_all(episodes: Episodes, key: jax.Array, count: int) -> tuple[Any, jax.Array]:
    key, now = jax.random.split(key)
    running, seen = jax.vmap(episodes.begin)(jax.random.split(now, count))
    return (running, key), seen


@eqx.filter_jit
def _advance_all(episodes: Episodes, running: Any, actions: jax.Array) -> tuple[Any, jax.Array, Happening]:
    (current, key) = running
    following, told = jax.vmap(episodes.advance)(current, actions)

    def anew() -> tuple[Any, jax.Array]:
        """Some have ended: they begin anew."""
        begun, seen = _begin_all(episodes, key, len(actions))

        def chosen(new: jax.Array, old: jax.Array) -> jax.Array:
            return jnp.where(told.ended.reshape(-1, *[1] * (old.ndim - 1)), new, old)

        return (jax.tree.map(chosen, begun[0], following), begun[1]), chosen(seen, told.observation)

    running, seen = jax.lax.cond(jnp.any(told.ended), anew, lambda: ((following, key), told.observation))
    return running, seen, told


def _spaces(episodes: Episodes) -> tuple[gymnasium.spaces.Box, gymnasium.spaces.Box]:
    """What an agent sees and does."""
    _, seen = eqx.filter_eval_shape(episodes.begin, jax.random.key(0))
    return gymnasium.spaces.Box(-np.inf, np.inf, seen.shape, np.float32), gymnasium.spaces.Box(*episodes.bounds)


def draw_picture(state: Any, target: Any) -> np.ndarray:
    """The arrays of a state that have one or two axes, and those of the target, as a picture, (height, width, 3)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.0, 3.0), dpi=80, layout="constrained")
    curves, images = [], []
    for tree, line in ((state, "-"), (target, "--")):
        for values in map(np.asarray, values_of(tree)):
            if values.ndim < 2:
                curves.append((np.atleast_1d(values), line if values.size > 1 else "o"))
            elif values.ndim == 2:
                images.append(values)
    panels = np.atleast_1d(figure.subplots(1, len(images) + bool(curves) or 1))
    for panel, values in zip(panels, images, strict=False):
        panel.imshow(values.T, origin="lower", cmap="RdBu_r")
    for values, line in curves:
        panels[-1].plot(values, line, color="0.4" if line == "--" else "C0")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
