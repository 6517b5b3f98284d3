"""Long rollouts from the first frame of every test case, beside the reference."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffphys.exchange import to_xarray
from diffphys.grids import Field
from diffphys.learning.corrected import with_parameters
from diffphys.learning.study.settings import StudySettings
from diffphys.learning.study.study import Study
from diffphys.learning.trajectories import Trajectories
from diffphys.runs import Run
from diffphys.runs.looking import LARGEST, evenly
from diffphys.stepping import rollout


class Evaluation(NamedTuple):
    """What came of the rollouts.

    Attributes:
        errors: For each metric its value in each frame, (cases, frames).
        shown: Of the first case's frames every `shown_every`-th, by name.
        frames: Fields by name, (cases, frames): those of every case that are kept to be looked at.
        kept: Which frames these are.
        step_ms: Milliseconds per step.
        diagnostics: The largest magnitude of each diagnostic in any frame.
    """

    errors: dict[str, np.ndarray]
    shown: dict[str, np.ndarray]
    frames: dict[str, Field]
    kept: np.ndarray
    step_ms: float
    diagnostics: dict[str, float]


def evaluate(study: Study, step: Any, test: Trajectories) -> Evaluation:
    """Roll out every test case from its first frame; the first frame is not compared."""
    steps = test.length - 1

    @eqx.filter_jit
    def roll(step: Any, frames: dict[str, Array], parameters: dict[str, Array]):
        first = jax.tree.map(lambda leaf: leaf[0], frames)
        adapted = with_parameters(step, parameters)
        _, states = rollout(adapted, study.state(first), steps, save_every=1, save=study.fields)
        return compared(study, states, frames)

    return gathered(study, test, lambda index: roll(step, *test.case(index)))


def finer_grids(factors: Sequence[int]) -> dict[str, int]:
    """How many times finer each grid is on which the source runs alone, by the name that stands beside the arms; a
    factor of 0 stands for none.
    """
    return {f"finer-{factor}": factor for factor in factors if factor}


def evaluate_finer(
    study: Study,
    settings: StudySettings,
    test: Trajectories,
    finer: Any,
    *,
    start: Callable[[Any], Any],
    frame: Callable[[Any], Mapping[str, Array]],
    steps: int = 1,
) -> Evaluation:
    """The source without a network on a finer grid, from the reference's first states, compared on the source's grid.

    Args:
        study: The study.
        settings: Its settings.
        test: The test cases.
        finer: The step on the finer grid.
        start: From a state of the reference to a state there.
        frame: From a state there to a frame of the source.
        steps: So many steps there make one of the source.
    """

    @eqx.filter_jit
    def first_state(system: Any) -> Any:
        ready, _ = rollout(system, study.begin(system), settings.warmup)
        return start(ready)

    @eqx.filter_jit
    def roll(step: Any, state: Any, frames: Mapping[str, Array]):
        _, found = rollout(step, state, steps * (test.length - 1), save_every=steps, save=frame)
        return compared(study, jax.vmap(lambda one: study.fields(study.state(one)))(found), frames)

    cases = [jax.tree.map(jnp.asarray, study.parameters(label)) for label in study.test_cases]
    starts = [first_state(with_parameters(study.reference, numbers)) for numbers in cases]
    steppers = [with_parameters(finer, numbers) for numbers in cases]
    return gathered(study, test, lambda index: roll(steppers[index], starts[index], test.case(index)[0]))


def compared(study: Study, states: tuple[Field, ...], frames: Mapping[str, Array]) -> tuple[Any, Any, Any]:
    """The errors of a case's predicted frames, the frames by name, and the largest magnitude of each diagnostic."""
    found = {name: jnp.max(jnp.abs(jax.vmap(measure)(states))) for name, measure in study.diagnostics.items()}
    predicted = {name: field.values for name, field in zip(study.names, states, strict=True)}
    target = {name: frames[name][1:] for name in predicted}
    errors = {name: jax.vmap(metric)(predicted, target) for name, metric in study.metrics.items()}
    return errors, dict(zip(study.names, states, strict=True)), found


def gathered(study: Study, test: Trajectories, roll: Callable[[int], tuple[Any, Any, Any]]) -> Evaluation:
    """All test cases together, of each of which `roll` gives what `compared` does; the first is rolled twice, so that
    compiling is not timed.
    """
    errors, shown, frames_of, found, seconds = [], {}, [], [], []
    kept = kept_frames(study, test)
    for index in range(test.cases):
        if not index:
            jax.block_until_ready(roll(index))
        started = time.perf_counter()
        of_case, states, diagnosed = jax.block_until_ready(roll(index))
        seconds.append(time.perf_counter() - started)
        errors.append({name: np.asarray(values) for name, values in of_case.items()})
        found.append({name: float(value) for name, value in diagnosed.items()})
        every = study.shown_every
        shown = shown or {name: np.asarray(field.values)[every - 1 :: every] for name, field in states.items()}
        frames_of.append(jax.tree.map(lambda leaf: np.asarray(leaf)[kept], states))
    return Evaluation(
        {name: np.stack([of_case[name] for of_case in errors]) for name in study.metrics},
        shown,
        jax.tree.map(lambda *leaves: np.stack(leaves), *frames_of),
        kept,
        1e3 * float(np.median(seconds)) / (test.length - 1),
        {name: max(one[name] for one in found) for name in study.diagnostics},
    )


def kept_frames(study: Study, test: Trajectories) -> np.ndarray:
    """Which frames are kept to be looked at: as many as all cases together have room for."""
    size = 4 * test.cases * sum(test.frames[name][0, 0].size for name in study.names)
    return evenly(test.length - 1, LARGEST // size)


def save_evaluation(
    study: Study, run: Run, name: str, found: Evaluation, losses: Mapping[str, np.ndarray], count: int
) -> None:
    """Keep what figures and tables are made of, and what is looked at."""
    times, labels = study.moments(count), [study.label(case) for case in study.test_cases]
    for metric, errors in found.errors.items():
        of_cases = {label: of_case for label, of_case in zip(labels, errors, strict=True)}
        title = study.error if metric == next(iter(found.errors)) else metric
        run.save_curve(f"{title} over time", name, {"time": times, **of_cases})
    save_frames(study, run, name, found.frames, times[found.kept])
    main, *others = found.errors
    more = {f"errors_{other}": found.errors[other] for other in others}
    tree = {"errors": found.errors[main], "shown": found.shown, **more, **losses}
    shapes = jax.tree.map(lambda leaf: [list(leaf.shape), str(leaf.dtype)], tree)
    run.save_checkpoint(f"evaluation-{name}", tree, {"shapes": shapes})


def save_reference(study: Study, run: Run, test: Trajectories, kept: np.ndarray) -> None:
    """The reference's frames beside those of `save_evaluation`."""
    chosen = jax.tree.map(lambda leaf: leaf[:, 1 + kept], test.frames)
    fields = jax.jit(jax.vmap(jax.vmap(lambda frame: study.fields(study.state(frame)))))(chosen)
    times = study.moments(test.length - 1)[kept]
    save_frames(study, run, "reference", dict(zip(study.names, fields, strict=True)), times)


def save_frames(study: Study, run: Run, name: str, frames: Mapping[str, Field], times: np.ndarray) -> None:
    """Frames of all test cases for `diffphys view`."""
    import xarray

    words = json.dumps([study.label(case) for case in study.test_cases])
    described = {"long_name": study.case, "labels": words}
    cases = xarray.Variable("case", np.asarray(study.test_cases, float), described)
    solid = getattr(study.source, "solid", None)
    run.save_frames(name, to_xarray(frames, times, solid=solid).assign_coords(case=cases))


def load_evaluation(run: Run, name: str) -> dict[str, Any]:
    """The errors of the first metric, the first case's frames ("shown") and the losses of the source or an arm."""
    shapes = run.checkpoint_metadata(f"evaluation-{name}")["shapes"]
    like = jax.tree.map(lambda leaf: np.zeros(leaf[0], leaf[1]), shapes, is_leaf=lambda node: isinstance(node, list))
    return run.load_checkpoint(f"evaluation-{name}", like)
