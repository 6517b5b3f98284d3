"""The reference data of a study: one directory for each case, made where it is missing."""

import hashlib
import json
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from diffphys.errors import InputError
from diffphys.learning.corrected import with_parameters
from diffphys.learning.study.settings import StudySettings
from diffphys.learning.study.study import Study
from diffphys.learning.trajectories import Trajectories, load_trajectories, save_trajectories
from diffphys.runs import Run
from diffphys.stepping import rollout


def generate_data(study: Study, settings: StudySettings, run: Run, labels: Sequence[float]) -> tuple[float, float]:
    """Run the reference for each case whose frames are not on disk yet.

    Returns:
        The seconds it took this run, and milliseconds per step; NaN where all of them were made by another.

    Raises:
        InputError: a reference does not stay finite.
    """
    seconds, steps = [], []
    earlier = run.checkpoint_metadata("data")["seconds"] if run.has_checkpoint("data") else 0.0
    missing = [label for label in dict.fromkeys(labels) if not data_path(study, settings, run, label).exists()]
    with run.progress("reference data", len(set(labels)), len(set(labels)) - len(missing)) as advance:
        for label in missing:
            run.leave_if_asked()
            started = time.perf_counter()
            count = (_frames_of(study, settings, label) - 1) * study.steps_per_frame
            numbers = jax.tree.map(jnp.asarray, study.parameters(label))
            system = with_parameters(study.reference, numbers)
            first, _ = rollout(system, study.begin(system), settings.warmup)
            _, rest = rollout(system, first, count, save_every=study.steps_per_frame, save=study.transfer)
            rest = jax.block_until_ready(rest)
            seconds.append(time.perf_counter() - started)
            steps.append(settings.warmup + count)
            frames = jax.tree.map(
                lambda one, more: jnp.concatenate([one[None], more])[None], study.transfer(first), rest
            )
            if not all(bool(jnp.all(jnp.isfinite(part))) for part in frames.values()):
                raise InputError(f"the reference at {study.case} {label:g} does not stay finite; {study.advice}.")
            # The first case's time includes compilation, which belongs to the data's cost but not to that of a step.
            step_ms = 1e3 * float(np.median(np.array(seconds[1:] or seconds) / np.array(steps[1:] or steps)))
            run.save_checkpoint("data", (), {"seconds": earlier + sum(seconds), "step_ms": step_ms})
            path = data_path(study, settings, run, label)
            apart = getattr(study.reference, "dt", None) if study.interval is None else study.interval
            made = settings.warmup + study.steps_per_frame * jnp.arange(count // study.steps_per_frame + 1)
            times = (
                None if apart is None else apart * (made if study.interval is None else made / study.steps_per_frame)
            )
            save_trajectories(path, Trajectories(frames, {study.case: jnp.array([label])}, times), study.grid)
            advance()
    if not run.has_checkpoint("data"):
        return 0.0, float("nan")
    described = run.checkpoint_metadata("data")
    return described["seconds"], described["step_ms"]


def load_cases(study: Study, settings: StudySettings, run: Run, labels: Sequence[float], frames: int) -> Trajectories:
    """The first frames of several cases, with the parameters that the source needs."""
    paths = [data_path(study, settings, run, label) for label in labels]
    cases = [load_trajectories(path)[0].between(0, frames) for path in paths]
    joined = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *[case.frames for case in cases])
    if study.interval is not None:
        first = settings.warmup / study.steps_per_frame
        times = study.interval * (first + jnp.arange(frames))
        joined = joined | {"time": jnp.broadcast_to(times, (len(labels), frames))}
    return Trajectories(joined, study.parameters_of(labels))


def data_path(study: Study, settings: StudySettings, run: Run, label: float) -> Path:
    """Where the frames of a case are: in the run, or among the data that runs share.

    There the name holds a fingerprint of all that decides what is computed (the study's `identity`, lengths, precision,
    and the version of diffphys), so that runs of different settings cannot take each other's data.
    """
    name = f"{study.case}-{label:.9g}"
    if not settings.data:
        return run.directory / "data" / f"{name}.zarr"
    decides = {
        **study.identity,
        "warmup": settings.warmup,
        "frames": _frames_of(study, settings, label),
        "precision": str(jnp.zeros(()).dtype),
        "version": metadata.version("diffphys"),
    }
    fingerprint = hashlib.sha256(json.dumps([study.name, decides], sort_keys=True).encode()).hexdigest()[:12]
    return Path(settings.data) / f"{study.name}-{name}-{fingerprint}.zarr"


def _frames_of(study: Study, settings: StudySettings, label: float) -> int:
    return max(settings.train_frames if label in study.train_cases else 0, settings.frames + 1)
