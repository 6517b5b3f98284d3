"""Reinforcement learning beside what is trained through the solver: proximal policy optimization by Stable-Baselines3.

It needs the extra `rl`; where that is missing, an experiment says so in a sentence and leaves the arm out.
"""

import dataclasses
import importlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jax import Array

from diffphys.control import ControlProblem, stable_baselines_environment, vector_environment
from diffphys.experiments.comparison import CLOCKS, Budget, note, summary
from diffphys.runs import Run


@dataclasses.dataclass(frozen=True)
class ProximalPolicy:
    """The numbers of proximal policy optimization (Schulman et al. 2017).

    Attributes:
        episodes: Side by side.
        steps: Of each, between two updates of the agent.
        epochs: How often the agent learns from these steps.
        batch: Steps of a gradient.
        rate: Adam's.
    """

    episodes: int
    steps: int
    epochs: int
    batch: int
    rate: float


def missing_extra() -> str:
    """A sentence that says what is missing for reinforcement learning; empty where nothing is."""
    for package in ("gymnasium", "stable_baselines3"):
        try:
            importlib.import_module(package)
        except ImportError:
            return f"The arm ppo is left out, since {package} is not installed (the extra rl)."
    return ""


def train_proximal_policy(
    run: Run,
    name: str,
    problem: ControlProblem,
    draw: Callable[[Array], tuple[Any, Any]],
    method: ProximalPolicy,
    budget: Budget,
    *,
    observe: Callable[[Any, Any, Array], Array],
    hidden: tuple[int, ...],
    measure: Callable[[Callable[[np.ndarray], np.ndarray]], Mapping[str, Array]],
) -> dict[str, Any]:
    """Train an agent from every seed as long as the other arms are trained, and measure it on the way.

    A run that was killed goes on from the last weights that were measured, with other random numbers than it would have
    had.

    Args:
        run: Where everything is saved.
        name: The arm's.
        problem: What is controlled.
        draw: From a random key to a start and a target.
        method: Its numbers.
        budget: How long; an update is one of the agent, from all episodes' steps.
        observe: What the agent sees.
        hidden: Neurons of the hidden layers of agent and critic.
        measure: From a function of observations to actions, both with a leading axis, to named numbers.

    Returns:
        What metrics.json says of an arm.
    """
    records = []
    for seed in range(budget.seeds):
        record = {"seconds": 0.0, "updates": 0, "compile_seconds": 0.0, "curve": {}, "done": False}
        agent = _agent(problem, draw, method, observe, hidden, seed)
        saved = f"{name}-{seed}"
        if run.has_checkpoint(saved):
            record = run.checkpoint_metadata(saved)
            _load(agent, run.load_checkpoint(saved, _arrays(agent)))

        def act(seen: np.ndarray, agent: Any = agent) -> np.ndarray:
            return agent.predict(seen, deterministic=True)[0]

        if not record["curve"]:
            note(record, measure(act))
        clock, length = CLOCKS[budget.clock], method.episodes * method.steps
        while not record["done"]:
            goal = max(record["updates"] + 1, int(1.2 * record["updates"]))
            while record["updates"] < min(goal, budget.updates) and record["seconds"] < budget.seconds:
                began = clock()
                agent.learn(length, reset_num_timesteps=False)
                record["seconds"] += clock() - began
                record["updates"] += 1
            note(record, measure(act))
            record["done"] = record["updates"] >= budget.updates or record["seconds"] >= budget.seconds
            run.save_checkpoint(saved, _arrays(agent), record)
            run.leave_if_asked()
        measure(act)
        records.append(record)
    return summary(records)


def _agent(
    problem: ControlProblem,
    draw: Callable,
    method: ProximalPolicy,
    observe: Callable,
    hidden: tuple[int, ...],
    seed: int,
) -> Any:
    import torch  # pyright: ignore[reportMissingImports]
    from stable_baselines3 import PPO  # pyright: ignore[reportMissingImports]
    from stable_baselines3.common.vec_env import VecNormalize  # pyright: ignore[reportMissingImports]

    torch.set_num_threads(1)  # networks are small: threads that wait for each other by spinning cost more than they do
    episodes = stable_baselines_environment(vector_environment(problem, draw, method.episodes, observe=observe))
    return PPO(
        "MlpPolicy",
        VecNormalize(episodes, norm_obs=False),
        learning_rate=method.rate,
        n_steps=method.steps,
        n_epochs=method.epochs,
        batch_size=method.batch,
        policy_kwargs={"net_arch": list(hidden)},
        seed=seed,
        device="cpu",
    )


def _arrays(agent: Any) -> dict[str, np.ndarray]:
    """The weights of agent and critic."""
    return {name: tensor.detach().numpy().copy() for name, tensor in agent.policy.state_dict().items()}


def _load(agent: Any, arrays: Mapping[str, np.ndarray]) -> None:
    import torch  # pyright: ignore[reportMissingImports]

    agent.policy.load_state_dict({name: torch.tensor(np.asarray(values)) for name, values in arrays.items()})
