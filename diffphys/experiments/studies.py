"""A study as a program: run it, and make its figures and its table from what is on disk."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from rich.table import Table

from diffphys import plots
from diffphys.learning import load_trajectories
from diffphys.learning.study import Study, data_path, load_evaluation, run_study, weights_file
from diffphys.runs import Program, Run, replacing


Frames = dict[str, np.ndarray]
Draw = Callable[[Run, Mapping[str, Frames]], None]


def study_program(
    name: str,
    settings: type,
    presets: Mapping[str, Mapping[str, Any]],
    study_of: Callable[[Any], Any],
    draw: Callable[..., Any],
    title: str,
    *,
    run: Callable[[Any, Any, Run], None] = run_study,
    report: Callable[[Any, Run, Any, str], Any] | None = None,
    duration: Callable[[Run], str] = lambda run: "",
) -> Program:
    """The program that runs the study which settings describe, and reports it.

    Args:
        name: Of the program.
        settings: The class of its settings.
        presets: For each preset the settings in which it differs from the defaults.
        study_of: From settings to what is compared: a `Study`, or what else `run` and `report` take.
        draw: As of `report_study`, or what else `report` takes.
        title: Of the table.
        run: `run(study, settings, run)` generates the data, trains, tests, and writes metrics.
        report: `report(study, run, draw, title)` makes figures and a table. Default: `report_study`.
        duration: As of `Program`.
    """
    report = report or report_study

    def run_program(chosen: Any, target: Run) -> None:
        if chosen.weights not in ("", "shipped"):
            weights_file(name, chosen.weights, None)  # another's are refused before the solvers are prepared
        run(study_of(chosen), chosen, target)

    return Program(
        name,
        settings,
        presets,
        run=run_program,
        report=lambda target: report(study_of(target.settings), target, draw, title),
        duration=duration,
    )


def report_study(
    study: Study,
    run: Run,
    draw: Draw,
    title: str,
    arms: Sequence[str] | None = None,
) -> Table:
    """The error over time, the losses, the arms side by side, and what `draw` makes of the first test case's frames.

    Args:
        study: The study.
        run: A run that `run_study` has written.
        draw: `draw(run, shown)` saves figures and animations of the frames that follow the first (every
            `shown_every`-th of them), by name of the flow ("reference", "source", each arm) and of the field.
        title: Of the table.
        arms: Those that are drawn. Default: all.
    """
    settings = run.settings
    metrics, main = run.read_metrics(), next(iter(study.metrics))
    names = [name for name in arms or metrics["arms"] if run.has_checkpoint(f"evaluation-{name}")]
    saved = {name: load_evaluation(run, name) for name in names}

    reference, _, _ = load_trajectories(data_path(study, settings, run, study.test_cases[0]))
    truth = {
        name: np.asarray(reference.frames[name][0, study.shown_every : settings.frames + 1 : study.shown_every])
        for name in study.names
    }
    draw(run, {"reference": truth} | {name: tree["shown"] for name, tree in saved.items()})

    errors = {
        study.label(value): {name: tree["errors"][case] for name, tree in saved.items()}
        for case, value in enumerate(study.test_cases)
    }
    times = study.moments(settings.frames)
    run.save_figure("error-over-time.png", plots.error_over_time_figure(errors, times, label=study.error))
    for name, tree in saved.items():
        if "losses" in tree:
            run.save_figure(f"loss-{name}.png", plots.training_loss_figure(tree["losses"], tree["unroll"]))
    errors_of = {name: arm[main] for name, arm in metrics["arms"].items() if name in (arms or metrics["arms"])}
    run.save_figure("arms.png", plots.arms_figure(errors_of, dict(study.published), label=study.error))
    return study_table(title, main, metrics, [study.label(value) for value in study.test_cases], study.published)


def study_table(
    title: str, metric: str, metrics: Mapping[str, Any], cases: list[str], published: Mapping[str, float]
) -> Table:
    """The error of the source and of every arm in each test case, its mean, the published one, and the reduction."""
    table = Table(title=title)
    table.add_column("arm")
    for heading in (*cases, "mean", *(["published"] if published else []), "reduction"):
        table.add_column(heading, justify="right")
    source = metrics[f"{metric}_source_mean"]
    for name, arm in metrics["arms"].items():
        mean = arm[f"{metric}_mean"]
        known = f"{published[name]:.3f}" if name in published else ""
        reduction = "" if source is None or not mean else f"{source / mean:.1f}x"  # a finer grid may be the reference's
        table.add_row(name, *map(_error, arm[metric]), _error(mean), *([known] if published else []), reduction)
    return table


def _error(value: float | None) -> str:
    """Of a rollout that did not stay finite, metrics.json holds no number."""
    return "not finite" if value is None else f"{value:.4f}"


def spread(frames: int, count: int) -> np.ndarray:
    """The numbers of some frames, from the first to the last, as evenly apart as they can be."""
    return np.unique(np.linspace(0, frames - 1, count).round().astype(int))


def draw_moments(
    run: Run,
    file: str,
    flows: Mapping[str, np.ndarray],
    times: np.ndarray,
    size: Any,
    chosen: np.ndarray,
    **look: Any,
) -> None:
    """A picture of flows in two dimensions, values (times, *points) by name, at some of the times.

    Args:
        run: Where it is saved.
        file: Its name.
        flows: The values of each flow.
        times: Of the values.
        size: Of the domain.
        chosen: The numbers of the times that are drawn.
        **look: As of `frames_figure`.
    """
    picked = {name: values[chosen] for name, values in flows.items()}
    run.save_figure(file, plots.frames_figure(picked, times[chosen], size, **look))


def draw_moving(
    run: Run, file: str, flows: Mapping[str, np.ndarray], times: np.ndarray, size: Any, every: int, **look: Any
) -> None:
    """An animation of every so many-th frame of such flows, all where `every` is 0; `look` as of `write_animation`."""
    every = max(1, every)
    moving = {name: values[::every] for name, values in flows.items()}
    with replacing(run.figure_path(file)) as path:
        plots.write_animation(path, moving, times[::every], size, **look)


def draw_over_line(run: Run, flows: Mapping[str, np.ndarray], dt: float, length: float, name: str) -> None:
    """Flows in one dimension, values (times, points) by name: over space and time, and their profiles at three times.

    Args:
        run: Where the figures are saved.
        flows: The values of each flow; "reference" is drawn as points.
        dt: The time between two values, and before the first.
        length: Of the line.
        name: Of what the values are.
    """
    reference = flows["reference"]
    times = dt * np.arange(1, len(reference) + 1)
    run.save_figure("space-time.png", plots.space_time_figure(flows, times, length, label=name))
    x = np.arange(reference.shape[1]) * length / reference.shape[1]
    panels = [
        plots.Panel(
            lines={flow: (x, values[index]) for flow, values in flows.items() if flow != "reference"},
            points={"reference": (x, reference[index])},
            title=f"t = {times[index]:.3g}",
            x="x",
            y=name,
        )
        for index in np.linspace(0, len(times) - 1, 4).round().astype(int)[1:]
    ]
    run.save_figure("profiles.png", plots.panels_figure(panels, columns=1, height=2.2))
