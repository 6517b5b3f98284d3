"""What the experiments on unrolling share: one-step, detached and unrolled training of several seeds.

What is compared is the error over short windows from many frames of the test cases, relative to the size of the state.

B. List, L.-W. Chen, K. Bali, N. Thuerey: Differentiability in unrolled training of neural physics simulators on
transient dynamics, Comput. Methods Appl. Mech. Engrg. 433 (2025) 117441.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from rich.table import Table

from diffphys import plots
from diffphys.errors import InputError
from diffphys.experiments.studies import Frames, report_study
from diffphys.learning import Trajectories, with_parameters
from diffphys.learning.study import Study, StudySettings, load_cases, load_network, names_of_seeds, run_study
from diffphys.runs import Run, setting
from diffphys.stepping import rollout


ARMS = ("one-step", "detached", "unrolled")

# Published is the mean over systems, networks and sizes: how much smaller the error is than that of one-step training.
PUBLISHED = {"detached": 0.23, "unrolled": 0.38}


@dataclass(frozen=True)
class UnrollingSettings(StudySettings):
    """Settings of the experiments on unrolling."""

    seeds: int = setting(3, help="networks trained for each arm", minimum=1)
    horizon: int = setting(12, help="steps of the windows in which arms are compared", minimum=1)
    starts: int = setting(40, help="windows in each test case", minimum=1)

    def __post_init__(self):
        """Refuse what one setting alone cannot tell."""
        super().__post_init__()
        if self.horizon > self.frames:
            raise InputError(f"horizon is {self.horizon}; at most frames ({self.frames}) is accepted.")


def over_seeds(values: Sequence[float]) -> dict[str, float]:
    """The mean of what several seeds give and, of at least two, twice its standard error."""
    found = {"mean": float(np.mean(values))}
    if len(values) > 1:
        found["interval"] = float(2 * np.std(values, ddof=1) / np.sqrt(len(values)))
    return found


def run_unrolling(study: Study, settings: UnrollingSettings, run: Run) -> None:
    """Train all arms with all seeds, compare them in windows, write metrics."""
    run_study(study, settings, run)
    metrics = run.read_metrics()
    test = load_cases(study, settings, run, study.test_cases, settings.frames + 1)

    @eqx.filter_jit
    def measured(step: Any, test: Trajectories) -> Array:  # data within would be folded into the program
        return window_errors(study, step, test, settings.horizon, settings.starts)

    windows: dict[str, Any] = {"source": {"errors": [float(measured(study.source, test))]}}
    for arm in settings.arms:
        names = names_of_seeds(arm, settings.seeds)
        networks = [load_network(study, str(run.checkpoint_path(f"network-{name}"))) for name in names]
        windows[arm] = {"errors": [float(measured(study.corrected(*one), test)) for one in networks]}
    for found in windows.values():
        found |= over_seeds(found["errors"])
    if "one-step" in windows:
        for found in windows.values():
            found["less_than_one_step"] = 1 - found["mean"] / windows["one-step"]["mean"]
    paper = {arm: {"less_than_one_step": part} for arm, part in PUBLISHED.items()}
    run.write_metrics(metrics | {"windows": windows, "paper": {"windows": paper}})


def window_errors(study: Study, step: Any, data: Trajectories, horizon: int, starts: int) -> Array:
    r"""The mean over steps, windows and cases of $\|s - \tilde s\| / \|\tilde s\|$, with windows spread evenly."""
    firsts = np.unique(np.linspace(0, data.length - 1 - horizon, starts).round().astype(int))

    def of_case(frames: Mapping[str, Array], parameters: Mapping[str, Array]) -> Array:
        adapted = with_parameters(step, parameters)

        def of_window(window: Mapping[str, Array]) -> Array:
            start = study.state(jax.tree.map(lambda leaf: leaf[0], window))
            _, found = rollout(adapted, start, horizon, save_every=1, save=study.observe)
            return jnp.mean(jax.vmap(relative_error)(found, {name: window[name][1:] for name in study.names}))

        windows = jax.tree.map(lambda leaf: leaf[firsts[:, None] + np.arange(horizon + 1)], frames)
        return jnp.mean(jax.vmap(of_window)(windows))

    return jnp.mean(jax.vmap(of_case)(data.frames, data.parameters))


def relative_error(prediction: Mapping[str, Array], target: Mapping[str, Array]) -> Array:
    """The norm of the difference over that of the target, all fields together."""
    apart = sum((jnp.sum((prediction[name] - target[name]) ** 2) for name in prediction), jnp.zeros(()))
    return jnp.sqrt(apart / sum((jnp.sum(target[name] ** 2) for name in prediction), jnp.zeros(())))


def report_unrolling(study: Study, run: Run, draw: Callable[[Run, Mapping[str, Frames]], None], title: str) -> Table:
    """Figures and a table from what is on disk."""
    report_study(study, run, draw, title)
    windows, horizon = run.read_metrics()["windows"], run.settings.horizon
    errors = {name: found["errors"] for name, found in windows.items()}
    label = f"mean relative error over {horizon} steps"
    run.save_figure("windows.png", plots.arms_figure(errors, {}, label=label, each="each seed"))
    table = Table(title=f"{title}, over {horizon} steps")
    for heading in ("arm", "error", "of each seed", "less than one-step", "published"):
        table.add_column(heading, justify="left" if heading == "arm" else "right")
    for name, found in windows.items():
        less, known = found.get("less_than_one_step"), PUBLISHED.get(name)
        spread = f" ± {found['interval']:.1e}" if "interval" in found else ""
        table.add_row(
            name,
            "not finite" if found["mean"] is None else f"{found['mean']:.3e}{spread}",
            " ".join("-" if error is None else f"{error:.2e}" for error in found["errors"]),
            "" if less is None or name in ("source", "one-step") else f"{100 * less:.0f} %",
            "" if known is None else f"{100 * known:.0f} %",
        )
    return table
