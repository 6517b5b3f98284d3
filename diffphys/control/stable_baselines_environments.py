"""Vector environments as Stable-Baselines3 wants them. This file needs Stable-Baselines3, and with it PyTorch."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from stable_baselines3.common.vec_env.base_vec_env import VecEnv  # pyright: ignore[reportMissingImports]

from diffphys.control.gymnasium_environments import ControlVectorEnvironment


class StableBaselinesEnvironment(VecEnv):
    """Made by `stable_baselines_environment`."""

    def __init__(self, environment: ControlVectorEnvironment):
        self.environment, self._actions = environment, np.zeros(0)
        super().__init__(environment.num_envs, environment.single_observation_space, environment.single_action_space)

    def reset(self) -> np.ndarray:
        """Begin all episodes, with the seed that was set, if one was."""
        seed = self._seeds[0]
        self._reset_seeds()
        return self.environment.reset(seed=seed)[0]

    def step_async(self, actions: np.ndarray) -> None:
        """Keep the actions for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Make the step."""
        seen, rewards, ended, _, info = self.environment.step(self._actions)
        infos: list[dict[str, Any]] = [{"TimeLimit.truncated": False} for _ in range(self.num_envs)]
        for index in np.flatnonzero(ended):
            infos[index]["terminal_observation"] = info["final_obs"][index]
        return seen, rewards.astype(np.float32), ended, infos

    def close(self) -> None:
        """Nothing is open."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """The attribute, the same for all episodes."""
        return [getattr(self.environment, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of all episodes."""
        setattr(self.environment, attr_name, value)

    def env_method(self, method_name: str, *arguments: Any, indices: Any = None, **named: Any) -> list[Any]:
        """Call a method, the same for all episodes."""
        return [getattr(self.environment, method_name)(*arguments, **named) for _ in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> Sequence[bool]:  # pyright: ignore
        """No episode is wrapped."""
        return [False for _ in self._get_indices(indices)]
