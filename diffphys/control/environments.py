"""Any controlled step as an environment for reinforcement learning (Gymnasium), and for Stable-Baselines3.

Reinforcement learning sees of a problem what it costs: the reward of a step is minus its cost, that of the last step
minus the terminal cost as well, so that what an agent collects in an episode is -J. An episode ends after the task's N
steps, or where the state is not finite. Gymnasium and Stable-Baselines3 are imported only where these functions are
called.
"""

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.flatten_util import ravel_pytree

from diffphys.control.problem import ControlProblem, check_problem
from diffphys.errors import InputError, optional
from diffphys.grids.field import values_of
from diffphys.grids.numbers import shown, whole_number


if TYPE_CHECKING:
    from diffphys.control.gymnasium_environments import ControlEnvironment, ControlVectorEnvironment


def everything(state: Any, target: Any, left: Array) -> Array:
    """What an agent is shown unless something else is asked for: all numbers of the state that change, those of the
    target, and the share of the task that is left.
    """
    return jnp.concatenate([jnp.ravel(leaf) for leaf in [*values_of(state), *values_of(target), left]])


class Episode(NamedTuple):
    """Where an episode is.

    Attributes:
        state: The state.
        target: The target of this episode.
        previous: The last control.
        step: Steps made.
    """

    state: Any
    target: Any
    previous: Any
    step: Array


class Happening(NamedTuple):
    """What an agent is told after a step."""

    observation: Array
    reward: Array
    ended: Array
    finite: Array


class Episodes(eqx.Module):
    """The episodes of a problem as pure functions, which environments compile.

    Args:
        problem: What is controlled; its own target is not used.
        draw: From a random key to a start and a target.
        observe: `observe(state, target, left)`, from a state to what the agent is shown, one array; `left` is the share
            of the task that is left, from 1 to 0.
        failure: The reward of a step to a state that is not finite.

    Raises:
        InputError: for what cannot be called.
    """

    problem: ControlProblem
    draw: Callable[[Array], tuple[Any, Any]]
    observe: Callable[[Any, Any, Array], Array]
    failure: float

    def __check_init__(self):
        if not isinstance(self.problem, ControlProblem):
            raise InputError(f"environment: problem is {shown(self.problem)}; a ControlProblem is accepted.")
        for name in ("draw", "observe"):
            if not callable(getattr(self, name)):
                raise InputError(f"environment: {name} is {shown(getattr(self, name))}; a function is accepted.")

    def begin(self, key: Array) -> tuple[Episode, Array]:
        """The first moment of an episode, and what is seen of it."""
        state, target = self.draw(key)
        episode = Episode(state, target, self.problem.control, jnp.zeros((), jnp.int32))
        return episode, self.seen(episode)

    def advance(self, episode: Episode, action: Array) -> tuple[Episode, Happening]:
        """The moment after a step under an action, the flattened control, which is brought within its bounds."""
        problem, (state, target, previous, count) = self.problem, episode
        control = problem.bounded(ravel_pytree(problem.control)[1](action.astype(self.action.dtype)))
        reached = problem.step(state, control)
        finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in values_of(reached)]))
        following = Episode(reached, target, control, count + 1)
        is_last = following.step >= problem.steps
        end = jnp.where(is_last, problem.end_cost(reached, target), 0.0)
        reward = -(problem.step_cost(reached, control, previous, target) + end)
        # An observation that is not finite would end up in a network.
        seen = jnp.where(finite, self.seen(following), self.seen(episode))
        return following, Happening(seen, jnp.where(finite, reward, self.failure), is_last | ~finite, finite)

    def seen(self, episode: Episode) -> Array:
        """What the agent is shown."""
        left = 1.0 - episode.step / self.problem.steps
        return self.observe(episode.state, episode.target, left).astype(jnp.float32)

    @property
    def action(self) -> Array:
        """The flattened control that acts before the first step."""
        return ravel_pytree(self.problem.control)[0]

    @property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Of the flattened control."""
        lower, upper = (ravel_pytree(bound)[0] for bound in (self.problem.lower, self.problem.upper))
        return np.asarray(lower, np.float32), np.asarray(upper, np.float32)


def environment(
    problem: ControlProblem,
    draw: Callable[[Array], tuple[Any, Any]],
    *,
    observe: Callable[[Any, Any, Array], Array] = everything,
    failure: float = -1e3,
    render_mode: str | None = None,
    picture: Callable[[Any, Any], np.ndarray] | None = None,
) -> "ControlEnvironment":
    """A problem as a `gymnasium.Env`, whose step is one compiled program.

    Actions are the control, flattened to one axis, and lie within the problem's bounds. The trajectory is that of
    `simulate` under the same controls. `info["finite"]` says whether the state is.

    Args:
        problem: What is controlled; its own target is not used.
        draw: From a random key to a start and a target; traced.
        observe: `observe(state, target, left)`, what the agent is shown, one array. Default: everything.
        failure: The reward of a step to a state that is not finite, which ends the episode.
        render_mode: None, or "rgb_array": `render()` then returns a picture, (height, width, 3) bytes.
        picture: From a state and the target to that picture. Default: arrays of one axis as curves and of two as
            colors, those of the target beside or dashed.

    Raises:
        InputError: where Gymnasium is not installed, or for another render_mode.
    """
    check_problem("environment", problem)
    home = _with("gymnasium", "gymnasium", "diffphys.control.gymnasium_environments")
    return home.ControlEnvironment(Episodes(problem, draw, observe, failure), render_mode, picture)


def vector_environment(
    problem: ControlProblem,
    draw: Callable[[Array], tuple[Any, Any]],
    count: int,
    *,
    observe: Callable[[Any, Any, Array], Array] = everything,
    failure: float = -1e3,
) -> "ControlVectorEnvironment":
    """Many episodes side by side as a `gymnasium.vector.VectorEnv`: a step of all of them is one compiled program.

    An episode that ends begins anew within the same step; `info["final_obs"]` then holds what was last seen of it.

    Args:
        problem: As for `environment`.
        draw: As for `environment`.
        count: How many.
        observe: As for `environment`.
        failure: As for `environment`.

    Raises:
        InputError: where Gymnasium is not installed, or for a count below one.
    """
    check_problem("vector_environment", problem)
    home = _with("gymnasium", "gymnasium", "diffphys.control.gymnasium_environments")
    count = whole_number("vector_environment: count", count)
    return home.ControlVectorEnvironment(Episodes(problem, draw, observe, failure), count)


def stable_baselines_environment(environment: "ControlVectorEnvironment") -> Any:
    """A vector environment as the `VecEnv` of Stable-Baselines3, so that its agents train on one compiled program:
    `PPO("MlpPolicy", stable_baselines_environment(vector_environment(problem, draw, 10)))`.

    Args:
        environment: Made by `vector_environment`.

    Raises:
        InputError: where Stable-Baselines3 (and with it PyTorch) is not installed, and for a control without bounds,
            which its agents do not accept.
    """
    if not all(np.all(np.isfinite(bound)) for bound in environment.episodes.bounds):
        raise InputError(
            "stable_baselines_environment: the problem's control has no bounds; finite lower and upper bounds are "
            "accepted."
        )
    home = _with("stable_baselines3", "rl", "diffphys.control.stable_baselines_environments")
    return home.StableBaselinesEnvironment(environment)


def _with(package: str, extra: str, module: str) -> Any:
    """A module of this room that needs another package."""
    optional("such an environment", package, extra)
    return importlib.import_module(module)
