"""What the scenarios of Um et al. (2020) share: why unrolling works, how far ahead to look, and what it costs.

To the arms of every study come arms that look over fewer steps, further seeds, the shift of the inputs
(`diffphys.learning.study.shift`), and the plain solver on finer grids, whose error over seconds is compared with that
of the networks.

K. Um, R. Brand, Y. R. Fei, P. Holl, N. Thuerey: Solver-in-the-Loop: learning from differentiable physics to interact
with iterative PDE-solvers, NeurIPS 2020.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jax import Array
from rich.table import Table

from diffphys import plots
from diffphys.errors import InputError
from diffphys.experiments.studies import Frames, report_study
from diffphys.grids import Field
from diffphys.learning import Normalization, Trajectories, with_parameters
from diffphys.learning.study import (
    Fit,
    Study,
    StudySettings,
    Variant,
    evaluate_finer,
    finer_grids,
    load_cases,
    load_network,
    means,
    run_study,
    save_evaluation,
    with_seeds,
)
from diffphys.learning.study.shift import (
    Shift,
    principal_components,
    shift_from,
    states_of_rollouts,
    states_of_training,
    vectors,
)
from diffphys.nets import ResNet
from diffphys.nets.convolution import Padding
from diffphys.operators import coarsen, refine
from diffphys.physics import FlowState, IncompressibleFlow
from diffphys.runs import Run, alternate, setting
from diffphys.stepping import rollout


TRAINING_STATES = 960  # from which principal components are made
TIMED_STEPS = 20


@dataclass(frozen=True)
class ScenarioSettings(StudySettings):
    """Settings of the scenarios."""

    look_ahead: tuple[int, ...] = setting(
        (0,), help="further unrolled arms that look over at most so many steps; 0 for none", minimum=0
    )
    seeds: int = setting(1, help="networks trained for each arm", minimum=1)
    shift: bool = setting(False, help="whether it is measured how far an arm's states lie from those of its training")
    finer: tuple[int, ...] = setting(
        (0,),
        help="factors of the finer grids on which the source runs alone, for error over seconds; 0 for none",
        minimum=0,
    )

    def __post_init__(self):
        """Refuse what one setting alone cannot tell."""
        super().__post_init__()
        if max(self.look_ahead) > max(self.unroll):
            raise InputError(
                f"look_ahead is {max(self.look_ahead)}; at most the longest unroll ({max(self.unroll)}) is accepted."
            )
        if 1 in self.finer:
            raise InputError("finer is 1, the source's own grid; 2 or more is accepted, or 0 for none.")
        # A Reynolds number of the training may be tested for comparison; a seen case of random numbers says nothing.
        seen = set(getattr(self, "train_seeds", ())) & set(getattr(self, "test_seeds", ()))
        if seen and not self.weights and self.arms != ("none",):
            raise InputError(f"test_seeds has {min(seen)}, which training sees, too; others are accepted.")
        if self.weights and (any(self.look_ahead) or self.seeds > 1 or self.shift):
            raise InputError(
                "weights takes the place of training; look_ahead=0, seeds=1 and shift=false are accepted with it."
            )


def at_resolution(field: Field, like: Field) -> Field:
    """A field on the grid of another, by refining and coarsening, so that what crosses faces is kept."""
    have, want = field.grid.cells[0], like.grid.cells[0]
    common = int(np.lcm(have, want))
    return coarsen(refine(field, common // have), common // want)


def state_at(flow: IncompressibleFlow, state: FlowState) -> FlowState:
    """A state of a flow on another grid, as a state of this one."""
    empty = flow.initial_state()
    velocity = [at_resolution(field, like) for field, like in zip(state.velocity, empty.velocity, strict=True)]
    scalars = {name: at_resolution(field, empty.scalars[name]) for name, field in state.scalars.items()}
    return FlowState(
        tuple(like.with_values(field.values) for field, like in zip(velocity, empty.velocity, strict=True)),
        empty.pressure,
        {name: empty.scalars[name].with_values(field.values) for name, field in scalars.items()},
        state.time,
    )


def frame_of(state: FlowState, factor: int = 1) -> dict[str, Array]:
    """Velocity and scalars of a state on a grid so many times coarser, by name."""
    velocity = {f"velocity_{axis}": part for axis, part in zip("xyz", state.velocity, strict=False)}
    return {name: coarsen(field, factor).values for name, field in (velocity | state.scalars).items()}


def state_of(flow: IncompressibleFlow, frame: Mapping[str, Array]) -> FlowState:
    """A state with the velocity, which is free of divergence already, and the scalars of a frame."""
    empty = flow.initial_state()
    velocity = [
        field.with_values(frame[f"velocity_{axis}"]) for axis, field in zip("xyz", empty.velocity, strict=False)
    ]
    scalars = {name: field.with_values(frame[name]) for name, field in empty.scalars.items()}
    return FlowState(tuple(velocity), empty.pressure, scalars, empty.time)


def velocity_of(state: FlowState) -> tuple[Field, ...]:
    """The velocity of a state."""
    return state.velocity


def itself(step: Any) -> Any:
    """A step that is a flow."""
    return step


def fit_of_flow(
    dt: float,
    corrected: Callable[[FlowState], tuple[Field, ...]] = velocity_of,
    flow: Callable[[Any], IncompressibleFlow] = itself,
    closed: bool = False,
) -> Fit:
    """How corrections of a flow are fitted for the arm least-squares: those of the velocity have no divergence, and the
    weight of their change is one over the step, as published.

    Args:
        dt: The duration of the source's step.
        corrected: The fields that are corrected, the velocity first.
        flow: From the reference's step to its flow.
        closed: Whether the flow is in a box, whose walls no correction crosses and beside which all faces count. Of an
            open one those within two cells of the ends do not, as published.
    """

    def project(reference: Any, fields: tuple[Field, ...]) -> tuple[Field, ...]:
        projecting = flow(reference)
        axes = projecting.grid.dimensions
        return (*projecting.project(fields[:axes])[0], *fields[axes:])

    margin = 0 if closed else 2
    return Fit(corrected, weight=1 / dt, divergence_free=True, project=project, margin=margin, closed=closed)


@dataclass(frozen=True)
class Scenario:
    """A study, and what its further figures need.

    Attributes:
        study: The study, without further arms.
        finer: From a factor to the source on a grid so many times finer.
        start: `start(finer, state)`, the reference's state on the grid of another step.
        frame: `frame(state, factor)`, a state of a step on a grid so many times finer as a frame of the source.
        ahead: Steps that training looks ahead to the published reduction of the source's error, a part of one.
    """

    study: Study
    finer: Callable[[int], Any]
    start: Callable[[Any, Any], Any] = state_at
    frame: Callable[[Any, int], Mapping[str, Array]] = frame_of
    ahead: Mapping[int, float] = dataclasses.field(default_factory=dict)


def shipped_weights(name: str) -> Path | None:
    """The file of the weights that the package ships for an experiment, where there is one."""
    path = Path(str(resources.files("diffphys.experiments") / "weights" / f"{name}.checkpoint"))
    return path if path.exists() else None


def small_or_published(
    inputs: int, outputs: int, network: str, features: int, key: Array, padding: Padding = "zero", axes: int = 2
) -> ResNet:
    """The network of the scenarios: "paper" as published, or "small"."""
    sizes: dict[str, Any] = {"blocks": 5, "kernel_size": 5}
    if network == "small":
        sizes = {"blocks": 3, "kernel_size": 3, "last_kernel_size": 1, "first": False, "skip": "convolution"}
    return ResNet(inputs, outputs, features=features, padding=padding, axes=axes, key=key, **sizes)


def with_further_arms(study: Study, settings: ScenarioSettings) -> Study:
    """The study with arms that look less far ahead, and with further seeds of all arms, as variants."""
    variants = dict(study.variants)
    for ahead in filter(None, settings.look_ahead):
        unroll = tuple(min(ahead, steps) for steps in settings.unroll)
        shorter = dataclasses.replace(settings, unroll=unroll, window=min(settings.window, ahead), look_ahead=(0,))
        variants[f"unrolled-{ahead}"] = Variant(study, shorter)
    return with_seeds(dataclasses.replace(study, variants=variants), settings, settings.seeds)


def run_scenario(scenario: Scenario, settings: ScenarioSettings, run: Run) -> None:
    """Generate the data, train each arm, test it, and measure what the settings ask for; write metrics."""
    study = with_further_arms(scenario.study, settings)
    run_study(study, settings, run)
    metrics = run.read_metrics()
    main = next(iter(study.metrics))
    test = load_cases(study, settings, run, study.test_cases, settings.frames + 1)
    trained, finer_ones = study.trained(settings), finer_grids(settings.finer)
    if settings.seeds > 1 or any(settings.look_ahead):
        metrics["look_ahead"] = over_look_ahead(metrics["arms"], trained, main)
    firsts = {name: corrected_of(study, settings, run, name) for name, arm in trained.items() if not arm.seed}
    for name, factor in finer_ones.items():
        run.leave_if_asked()
        finer = scenario.finer(factor)
        found = evaluate_finer(
            study,
            settings,
            test,
            finer,
            start=lambda state, finer=finer: scenario.start(finer, state),
            frame=lambda state, factor=factor: scenario.frame(state, factor),
        )
        save_evaluation(study, run, name, found, {}, settings.frames)
        metrics["arms"][name] = means(study, found)
    if finer_ones:
        run.leave_if_asked()
        metrics["run_time"] = run_time(scenario, settings, test, firsts, metrics["arms"], main)
    if settings.shift:
        run.leave_if_asked()
        metrics["shift"] = measured_shift(study, settings, run, test, firsts)
    if scenario.ahead:
        metrics["paper"]["arms"] = published_reductions(metrics["arms"], trained, scenario.ahead)
        for arm in metrics["arms"].values():
            error, source = arm[f"{main}_mean"], metrics[f"{main}_source_mean"]
            arm["reduction"] = None if None in (error, source) else 1 - error / source
    run.write_metrics(metrics)


def corrected_of(study: Study, settings: ScenarioSettings, run: Run, name: str) -> Any:
    """The source with the network of an arm."""
    return study.corrected(*load_network(study, settings.weights or str(run.checkpoint_path(f"network-{name}"))))


# ----------------------------------------------------------------------------------------- how far training looks ahead


def looking_ahead(trained: Mapping[str, Variant]) -> list[str]:
    """The arms whose training has gradients through all steps that it looks ahead."""
    return [name for name, variant in trained.items() if variant.arm in ("one-step", "unrolled")]


def published_reductions(
    arms: Mapping[str, Any], trained: Mapping[str, Variant], ahead: Mapping[int, float]
) -> dict[str, dict[str, float]]:
    """The published reduction of the source's error by those arms that look as many steps ahead as a published one;
    weights from a file do not say how many.
    """
    steps = {name: arms[name].get("unroll") for name in looking_ahead(trained)}
    return {name: {"reduction": ahead[count]} for name, count in steps.items() if count in ahead}


def over_look_ahead(arms: Mapping[str, Any], trained: Mapping[str, Variant], metric: str) -> dict[str, Any]:
    """For each number of steps that an arm looks ahead, with gradients through all of them, the errors of its seeds."""
    found: dict[str, Any] = {}
    for arm in (arms[name] for name in looking_ahead(trained)):
        found.setdefault(str(arm["unroll"]), {"errors": []})["errors"].append(arm[f"{metric}_mean"])
    source = arms["source"][f"{metric}_mean"]
    for of_steps in found.values():
        if None not in of_steps["errors"]:
            of_steps["reductions"] = [1 - error / source for error in of_steps["errors"]]
    return dict(sorted(found.items(), key=lambda item: int(item[0])))


# ------------------------------------------------------------------------------------------------- what accuracy costs


def run_time(
    scenario: Scenario,
    settings: ScenarioSettings,
    test: Trajectories,
    arms: Mapping[str, Any],
    metrics: Mapping[str, Any],
    metric: str,
) -> dict[str, Any]:
    """Milliseconds of a step of everything that is compared, one after another in turns, and what that says.

    Of each arm `speed_up`: how many times longer the plain solver takes to be as accurate, from a power law between
    the two grids around; None where no grid that was tried is. `of_finest`: how many times longer the finest one takes.
    """
    study = scenario.study
    frames, numbers = test.case(0)
    start = study.state(jax.tree.map(lambda leaf: leaf[0], frames))
    system = with_parameters(study.reference, numbers)
    fine = eqx.filter_jit(study.begin)(system)

    @eqx.filter_jit
    def steps(step: Any, state: Any) -> Any:
        return rollout(step, state, TIMED_STEPS)[0]

    contenders = {"source": (with_parameters(study.source, numbers), start)}
    factors = finer_grids(settings.finer)
    for name, factor in factors.items():
        finer = with_parameters(scenario.finer(factor), numbers)
        contenders[name] = (finer, eqx.filter_jit(scenario.start)(finer, fine))
    contenders |= {name: (with_parameters(arm, numbers), start) for name, arm in arms.items()}
    contenders["reference"] = (system, fine)
    programs = {
        name: lambda step=step, state=state: jax.block_until_ready(steps(step, state))
        for name, (step, state) in contenders.items()
    }
    times = {name: 1e3 * median / TIMED_STEPS for name, (median, _) in alternate(programs, 5.0).items()}
    times["reference"] *= study.steps_per_frame  # as long as one step of the source
    plain = ["source", *sorted(factors, key=lambda name: factors[name])]
    curve = [(times[name], metrics[name][f"{metric}_mean"]) for name in plain]
    return {
        "step_ms": times,
        "arms": {
            name: {
                "speed_up": speed_up(curve, times[name], metrics[name][f"{metric}_mean"]),
                "of_finest": curve[-1][0] / times[name],
            }
            for name in arms
        },
    }


def speed_up(plain: Sequence[tuple[float, float | None]], time: float, error: float | None) -> float | None:
    """How many times longer the plain solver takes for an error, between (time, error) of its grids; or None."""
    if error is None:
        return None
    for (short, coarse), (long, fine) in zip(plain[:-1], plain[1:], strict=True):
        if coarse is not None and fine is not None and fine <= error <= coarse:
            part = np.log(coarse / error) / np.log(coarse / fine) if coarse > fine else 0.0
            return float(short * (long / short) ** part / time)
    return None


# ------------------------------------------------------------------------------------------------- the shift of inputs


def measured_shift(
    study: Study, settings: ScenarioSettings, run: Run, test: Trajectories, arms: Mapping[str, Any]
) -> dict[str, Any]:
    """How far the states of each arm's rollouts lie from the reference's training states and from those of its own
    training, and how far the reference's test states do: over time, and their means over time.
    """
    data = load_cases(study, settings, run, study.train_cases, settings.train_frames)
    normalization = Normalization.of([data.frames[name] for name in study.names])
    scales = dict(zip(study.names, np.asarray(normalization.fields).tolist(), strict=True))
    of_reference = principal_components(
        states_of_training(study, settings, data, "one-step", study.source, scales, TRAINING_STATES)
    )
    cases = [test.between(1, test.length).case(index)[0] for index in range(test.cases)]
    truth = np.stack([vectors(frames, scales) for frames in cases])
    found: dict[str, Any] = {"reference": {"from_reference": over_time(shift_from(of_reference, truth))}}
    trained = study.trained(settings)
    for name, step in {"source": study.source, **arms}.items():
        states = states_of_rollouts(study, step, test, scales)
        found[name] = {"from_reference": over_time(shift_from(of_reference, states))}
        if name in trained:
            variant = trained[name]
            own = states_of_training(study, variant.settings, data, variant.arm, step, scales, TRAINING_STATES)
            found[name]["from_training"] = over_time(shift_from(principal_components(own), states))
    return found


def over_time(shift: Shift) -> dict[str, Any]:
    """A shift of (cases, times) as it stands in metrics.json: means over cases in each time, and over all."""
    parts = {"within": shift.within, "beyond": shift.beyond}
    return {
        f"{name}{suffix}": values
        for name, part in parts.items()
        for suffix, values in (("", part.mean(axis=0)), ("_mean", part.mean()))
    }


# -------------------------------------------------------------------------------------------------- figures and tables


def report_scenario(
    scenario: Scenario, run: Run, draw: Callable[[Run, Mapping[str, Frames]], None], title: str
) -> Table:
    """Figures and a table from what is on disk."""
    study = with_further_arms(scenario.study, run.settings)
    metrics = run.read_metrics()
    further = {name for name, arm in study.trained(run.settings).items() if arm.seed}
    table = report_study(study, run, draw, title, [name for name in metrics["arms"] if name not in further])
    if "look_ahead" in metrics:
        run.save_figure("look-ahead.png", look_ahead_figure(metrics["look_ahead"], scenario.ahead))
    if "run_time" in metrics:
        run.save_figure("run-time.png", run_time_figure(study, metrics, finer_grids(run.settings.finer)))
    if "shift" in metrics:
        run.save_figure("shift.png", shift_figure(metrics["shift"], study.moments(run.settings.frames)))
    return reductions_table(title, metrics, study) if scenario.ahead else table


def look_ahead_figure(found: Mapping[str, Any], published: Mapping[int, float]) -> Any:
    """The reduction of the source's error over the steps that training looks ahead, a dot for each seed."""
    told = {int(steps): one["reductions"] for steps, one in found.items() if "reductions" in one}
    steps = [count for count, parts in told.items() for _ in parts]
    seeds = [100 * part for parts in told.values() for part in parts]
    marked = {"mean of the seeds": (list(told), [100 * float(np.mean(parts)) for parts in told.values()])}
    if published:
        marked["published"] = (list(published), [100 * part for part in published.values()])
    panel = plots.Panel(
        marked=marked,
        points={"each seed": (steps, seeds)},
        x="steps that training looks ahead",
        y="reduction of the source's error, %",
        logarithmic="x",
    )
    return plots.panels_figure([panel], height=4.0)


def run_time_figure(study: Study, metrics: Mapping[str, Any], finer: Iterable[str]) -> Any:
    """The error over the time that a step takes: of the plain solver on its grids, and of each arm."""
    times, main = metrics["run_time"]["step_ms"], next(iter(study.metrics))
    errors = {name: metrics["arms"][name][f"{main}_mean"] for name in times if name != "reference"}
    plain = ["source", *finer]
    curve = ([float(f"{times[name]:.2g}") for name in plain], [errors[name] for name in plain])
    panel = plots.Panel(
        marked={"plain solver on finer and finer grids": curve},
        points={n: ([times[n]], [error]) for n, error in errors.items() if n not in plain and error is not None},
        title=f"the reference takes {times['reference']:.3g} ms",
        x="milliseconds for a step of the source",
        y=study.error,
        logarithmic=True,
    )
    return plots.panels_figure([panel], height=4.4)


def shift_figure(found: Mapping[str, Any], times: Any) -> Any:
    """How far states lie from the reference's training states, and from those of each arm's own training, over time."""
    titles = {"from_reference": "from the reference's training states", "from_training": "from the arm's own training"}
    parts = {"within": "within the leading components", "beyond": "beyond them"}
    panels = [
        plots.Panel(
            # What is not finite is None on disk, and a gap here.
            lines={name: (times, np.asarray(one[key][part], float)) for name, one in found.items() if key in one},
            title=title,
            x="time",
            y=words,
            logarithmic="y",
        )
        for part, words in parts.items()
        for key, title in titles.items()
    ]
    return plots.panels_figure(panels)


def reductions_table(title: str, metrics: Mapping[str, Any], study: Study) -> Table:
    """Each metric of every arm, and by how much the first one is less than the source's, beside the published part."""
    table = Table(title=title)
    table.add_column("arm")
    for heading in (*study.metrics, "less than source", "published"):
        table.add_column(heading, justify="right")
    for name, arm in metrics["arms"].items():
        values = [arm[f"{metric}_mean"] for metric in study.metrics]
        less, known = arm.get("reduction"), metrics["paper"]["arms"].get(name, {}).get("reduction")
        table.add_row(
            name,
            *("not finite" if value is None else f"{value:.4f}" for value in values),
            "" if less is None or name == "source" else f"{100 * less:.1f} %",
            "" if known is None else f"{100 * known:.0f} %",
        )
    return table
