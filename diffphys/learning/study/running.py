"""All of a study in one run."""

from typing import Any

from diffphys.cache import forget_programs_if_many
from diffphys.errors import InputError
from diffphys.learning.study.data import generate_data, load_cases
from diffphys.learning.study.evaluation import Evaluation, evaluate, save_evaluation, save_reference
from diffphys.learning.study.settings import StudySettings
from diffphys.learning.study.study import Study
from diffphys.learning.study.training import load_arm, load_network, train_arm
from diffphys.runs import Run


def run_study(study: Study, settings: StudySettings, run: Run) -> None:
    """Make the data, train each arm, test it, and write metrics.

    With "mae" as the first metric and "reynolds" as the case, metrics.json holds: `mae_source` and `mae_corrected` (of
    the last of `arms`) for each test case, their means `mae_source_mean` and `mae_corrected_mean`, `reduction`,
    `test_reynolds`, `frames`, `max_NAME` of each diagnostic, times, and in `arms` for each arm `mae`, `mae_mean` and
    the same of each further metric, `step_ms`, and `mae_64` where frame 64 is one of the study's times.
    """
    if settings.weights:
        load_network(study, settings.weights)  # a file that holds none is refused before any work
    if study.fit is None and "least-squares" in settings.arms:
        raise InputError(f"arms: the {study.name} experiment has no least-squares; the other arms are accepted.")
    trained = study.trained(settings)
    needs_training = bool(trained) and not settings.weights
    needed = study.test_cases + (study.train_cases if needs_training else ())
    data_seconds, reference_step_ms = generate_data(study, settings, run, needed)
    test = load_cases(study, settings, run, study.test_cases, settings.frames + 1)

    main = next(iter(study.metrics))
    found = evaluate(study, study.source, test)
    source_mean = found.errors[main].mean()
    metrics: dict[str, Any] = {
        f"{main}_source": found.errors[main].mean(axis=1),
        f"{main}_source_mean": source_mean,
        f"test_{study.case}": study.test_cases,
        "frames": settings.frames,
        **{f"max_{name}": value for name, value in found.diagnostics.items()},
        "seed": run.seed,
        "data_seconds": data_seconds,
        "reference_step_ms": reference_step_ms,
        "source_step_ms": found.step_ms,
        "arms": {"source": means(study, found)},
        "paper": {f"{main}_source_mean": study.published.get("source"), "arms": study.published},
    }
    save_reference(study, run, test, found.kept)
    save_evaluation(study, run, "source", found, {}, settings.frames)
    for name, variant in trained.items():
        forget_programs_if_many()  # each arm has some for every stage
        if settings.weights:
            corrected, learned, losses = load_arm(study, settings)
        else:
            corrected, learned, losses = train_arm(name, variant, run)
        run.leave_if_asked()
        found = evaluate(study, corrected, test)
        if name in settings.arms or settings.weights:  # variants stand under "arms" only
            metrics |= {
                f"{main}_corrected": found.errors[main].mean(axis=1),
                f"{main}_corrected_mean": found.errors[main].mean(),
                "reduction": source_mean / found.errors[main].mean(),
                "corrected_step_ms": found.step_ms,
                **learned,
            }
            metrics["paper"][f"{main}_corrected_mean"] = study.published.get(name)
        metrics["arms"][name] = {**means(study, found), **learned}
        save_evaluation(study, run, name, found, losses, settings.frames)
    run.write_metrics(metrics)


def means(study: Study, found: Evaluation) -> dict[str, Any]:
    """Of each metric its mean over the frames of each case and over all of them, the first at certain times, and
    milliseconds per step.
    """
    told: dict[str, Any] = {"step_ms": found.step_ms}
    for name, errors in found.errors.items():
        told |= {name: errors.mean(axis=1), f"{name}_mean": errors.mean()}
    main = next(iter(study.metrics))
    return told | {f"{main}_{time}": found.errors[main][:, time - 1].mean() for time in study.times}
