"""What the experiments on turbulent flows share: a coarse flow by PISO with a network's force in its predictor.

The reference is the same flow on a grid `scale` times finer with as many more steps, by Runge-Kutta 3, whose steps cost
less there; the source takes the published steps by PISO. The arms are those of every study. Beside them stand the
source with Smagorinsky's eddy viscosity, whose constant is tuned on training frames, a network that goes on without a
solver, and the plain source on finer grids.

B. List, L.-W. Chen, N. Thuerey: Learned turbulence modelling with differentiable fluid solvers, J. Fluid Mech. 949
(2022) A25.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from rich.table import Table

from diffphys import plots
from diffphys.errors import InputError
from diffphys.experiments.studies import Frames, draw_moments, draw_moving, report_study, spread
from diffphys.experiments.unrolling import over_seeds
from diffphys.grids import Field
from diffphys.learning import Normalization, Recovery, Trajectories, with_parameters
from diffphys.learning.corrected import Precomputed
from diffphys.learning.study import (
    Evaluation,
    Seeded,
    Study,
    StudySettings,
    Variant,
    evaluate,
    evaluate_finer,
    finer_grids,
    load_cases,
    means,
    named,
    names_of_seeds,
    run_study,
    save_evaluation,
    with_seeds,
)
from diffphys.learning.turbulence import Forced, LossWeights, energy_spectrum, shell_wavenumbers, turbulence_loss
from diffphys.nets import CNN
from diffphys.operators import coarsen, divergence
from diffphys.physics import FlowState, IncompressibleFlow, Smagorinsky
from diffphys.runs import Run, setting
from diffphys.stepping import PISO, RungeKutta, rollout


NAMES = ("velocity_x", "velocity_y")


@dataclass(frozen=True)
class TurbulenceSettings(StudySettings):
    """Settings of the experiments on turbulent flows."""

    resolution: int = setting(128, help="cells of the source along x", minimum=8)
    scale: int = setting(4, help="how many times finer the reference is, in space and time", minimum=1)
    dt: float = setting(0.1, help="duration of a step of the source", above=0.0)
    train_seeds: tuple[int, ...] = setting((1, 2), help="what the training cases begin with", minimum=0)
    test_seeds: tuple[int, ...] = setting((101,), help="what the test cases begin with", minimum=0, distinct=True)
    loss: tuple[float, float, float, float] = setting(
        (1.0, 0.0, 0.0, 0.0), help="weights of squares, spectral energy, strain rate and mean flow", minimum=0.0
    )
    bias: bool = setting(False, help="whether the network's layers add learnable numbers; the published ones do not")
    strength: float = setting(0.003, help="what brings the network's force to size one, see Forced", above=0.0)
    compared_at: tuple[int, ...] = setting((64, 512), help="steps after which the error is told", minimum=1)
    smagorinsky: tuple[float, ...] = setting(
        (0.03, 0.06, 0.09, 0.14, 0.2), help="constants that are tried for Smagorinsky's eddy viscosity", above=0.0
    )
    finer: tuple[int, ...] = setting((2,), help="factors of the finer grids on which the source runs alone", minimum=2)
    simulator: bool = setting(True, help="whether a network is trained that goes on without a solver")
    windows: tuple[int, ...] = setting((0,), help="further unrolled arms with these sub-ranges; 0 for none", minimum=0)
    sizes: tuple[int, ...] = setting((0,), help="further unrolled arms with networks of these features", minimum=0)
    squares_only: bool = setting(False, help="whether a further arm is unrolled with the loss of squares alone")
    mean_flow: float = setting(
        0.0, help="weight of the mean flow in the loss of a further unrolled arm; 0 for none", minimum=0.0
    )
    seeds: int = setting(1, help="networks trained for each arm", minimum=1)

    def __post_init__(self):
        """Refuse what one setting alone cannot tell."""
        super().__post_init__()
        for factor in self.finer:
            if self.scale % factor:
                raise InputError(f"finer is {factor} and scale {self.scale}; divisors of scale are accepted.")
        if max(self.windows) > max(self.unroll):
            raise InputError(
                f"windows is {max(self.windows)}; at most the longest unroll ({max(self.unroll)}) is accepted."
            )


def _seed(label: float) -> dict[str, Any]:
    return {"seed": label}


@dataclass(frozen=True)
class TurbulentCase:
    """A flow of the experiments.

    Attributes:
        name: Of the experiment.
        flow: `flow(cells, dt, stepping=..., added_viscosity=...)` with so many cells along x.
        begin: From the reference, as `wrap` makes it, to the first state of its case.
        padding: What the network sees beyond the sides, for each axis.
        published: Arm to published figures by the names of `metrics.json`.
        size: Of the domain.
        wrap: From a flow to the step that is told what a case is.
        parameters: From a case's label to those numbers of that step.
        case: What a label is, in a word.
        train_cases, test_cases: Labels; default: the seeds of the settings.
        inner: The flow in that part of the domain that is compared and forced, from its beginning on. Default: all.
        label: From a label to words.
    """

    name: str
    flow: Callable[..., IncompressibleFlow]
    begin: Callable[[Any], FlowState]
    padding: tuple[str, str]
    published: Mapping[str, Mapping[str, float]]
    size: tuple[float, float]
    wrap: Callable[[IncompressibleFlow], Any] = Seeded
    parameters: Callable[[float], dict[str, Any]] = _seed
    case: str = "seeds"
    train_cases: tuple[float, ...] = ()
    test_cases: tuple[float, ...] = ()
    inner: IncompressibleFlow | None = None
    label: Callable[[float], str] = "seed {:g}".format


def turbulence_study(case: TurbulentCase, settings: TurbulenceSettings) -> Study:
    """What an experiment compares."""
    flow = case.flow(settings.resolution, settings.dt, stepping=PISO())
    source = case.wrap(flow)
    fine = case.flow(settings.resolution * settings.scale, settings.dt / settings.scale, stepping=RungeKutta(3))
    empty = flow.initial_state()
    inner = (case.inner or flow).initial_state().velocity
    mask = np.arange(flow.grid.cells[0]) < inner[0].grid.cells[0]

    def velocity(frame: Mapping[str, Array]) -> tuple[Field, ...]:
        return tuple(field.with_values(frame[name]) for name, field in zip(NAMES, empty.velocity, strict=True))

    def state(frame: Mapping[str, Array]) -> FlowState:
        pressure = empty.pressure.with_values(frame["pressure"])
        return FlowState(velocity(frame), pressure, {}, frame.get("time", empty.time))

    def within(frame: Mapping[str, Array]) -> tuple[Field, ...]:
        """The velocity in the part that is compared."""
        parts = zip(NAMES, inner, strict=True)
        return tuple(field.with_values(frame[name][: field.shape[0]]) for name, field in parts)

    def error(prediction: Mapping[str, Array], target: Mapping[str, Array]) -> Array:
        one, other = (
            {name: field.values for name, field in zip(NAMES, within(frame), strict=True)}
            for frame in (prediction, target)
        )
        return mean_squared_error(one, other)

    def unrolled_loss(weights: LossWeights, window: int, prediction: Mapping[str, Array], target: Mapping[str, Array]):
        steps = prediction[NAMES[0]].shape[0]
        of_all = jax.vmap(within)
        return turbulence_loss(of_all(prediction), of_all(target), weights, min(window, steps) or None)

    def couple(network: CNN, normalization: Normalization) -> Forced:
        return Forced(source, network, jnp.sqrt(jnp.mean(normalization.fields**2)), settings.strength, mask[:, None])

    weights = LossWeights(*settings.loss)
    study = Study(
        name=case.name,
        case=case.case,
        train_cases=case.train_cases or tuple(map(float, settings.train_seeds)),
        test_cases=case.test_cases or tuple(map(float, settings.test_seeds)),
        reference=case.wrap(fine),
        source=source,
        grid=flow.grid,
        begin=case.begin,
        transfer=partial(frame_of, settings.scale),
        state=state,
        names=NAMES,
        fields=lambda state: state.velocity,
        make_network=partial(make_network, 4, case.padding),
        architecture=named(settings, "features", "bias"),
        parameters=case.parameters,
        identity=named(settings, "resolution", "scale", "dt") | {"size": list(case.size)},
        steps_per_frame=settings.scale,
        interval=settings.dt if case.wrap is not Seeded else None,
        metrics={"mse": error},
        unrolled_loss=partial(unrolled_loss, weights, settings.window),
        recovery=Recovery(),
        times=tuple(time for time in settings.compared_at if time <= settings.frames),
        shown_every=shown_every(settings),
        couple=couple,
        diagnostics={"divergence": lambda velocity: divergence(velocity).values},
        advice="a smaller dt may be accepted",
        label=case.label,
        error="mean squared error of the velocity",
    )
    variants: dict[str, Variant] = {}
    if settings.simulator:
        alone = dataclasses.replace(
            study, source=Precomputed(source), couple=None, make_network=partial(make_network, 2, case.padding)
        )
        variants["simulator"] = Variant(alone, settings)
    for window in filter(None, settings.windows):
        other = dataclasses.replace(study, unrolled_loss=partial(unrolled_loss, weights, window))
        variants[f"window-{window}"] = Variant(other, dataclasses.replace(settings, window=window))
    for features in filter(None, settings.sizes):
        other = dataclasses.replace(study, architecture={**study.architecture, "features": features})
        variants[f"features-{features}"] = Variant(other, dataclasses.replace(settings, features=features))
    if settings.squares_only:
        squares = partial(unrolled_loss, LossWeights(weights.squared), settings.window)
        variants["squares-only"] = Variant(dataclasses.replace(study, unrolled_loss=squares), settings)
    if settings.mean_flow:
        with_mean = partial(unrolled_loss, weights._replace(mean_flow=settings.mean_flow), settings.window)
        variants["mean-flow"] = Variant(dataclasses.replace(study, unrolled_loss=with_mean), settings)
    return with_seeds(dataclasses.replace(study, variants=variants), settings, settings.seeds)


def variations(longer: Mapping[str, Any], windows: tuple[int, ...]) -> dict[str, dict[str, Any]]:
    """The presets that change one thing of `longer`: how far gradients reach, the loss, the seed, the network's size.

    Args:
        longer: That preset, whole.
        windows: Sub-ranges of the gradient beside the full one.
    """
    shorter = {"updates": tuple(updates // 3 for updates in longer["updates"]), "simulator": False}
    unrolled = shorter | {"arms": ("unrolled",)}
    changes = {
        "sub-ranges": unrolled | {"windows": windows, "window": 0},
        "losses": unrolled | {"squares_only": True, "mean_flow": 0.0 if longer["loss"][3] else 0.5},
        "seeds": shorter | {"arms": ("one-step", "detached", "unrolled"), "seeds": 3},
        "sizes": unrolled | {"sizes": (2, 16)},
    }
    return {name: {**longer, **change} for name, change in changes.items()}


def make_network(channels: int, padding: tuple[str, str], features: int, *, bias: bool = False, key: Array) -> CNN:
    """The published network, of which 16 features are the published widths: 81,856 parameters with 4 channels.

    Without biases its answer to twice the input is twice the answer. What a step errs by is not like that: it is of
    higher order in the velocity.
    """
    widths = [features * factor for factor in (1, 1, 2, 4, 4, 4)]
    return CNN((channels, *widths, 2), padding=padding, bias=bias, key=key)


def frame_of(factor: int, state: FlowState) -> dict[str, Array]:
    """Velocity and pressure of a state on a grid so many times coarser."""
    velocity = {name: coarsen(field, factor).values for name, field in zip(NAMES, state.velocity, strict=True)}
    return velocity | {"pressure": coarsen(state.pressure, factor).values}


def mean_squared_error(prediction: Mapping[str, Array], target: Mapping[str, Array]) -> Array:
    """The mean of the squared difference over the faces of both components."""
    squares = [jnp.sum((prediction[name] - target[name]) ** 2) for name in prediction]
    return sum(squares, jnp.zeros(())) / sum(values.size for values in prediction.values())


def shown_every(settings: TurbulenceSettings) -> int:
    """Of the test frames so many are left out between two that figures need."""
    return max(1, settings.frames // 64)


# Baselines ------------------------------------------------------------------------------------------------------------


def run_turbulence(case: TurbulentCase, settings: TurbulenceSettings, run: Run) -> None:
    """Generate the data, train and test each arm, test the baselines, write metrics."""
    study = turbulence_study(case, settings)
    run_study(study, settings, run)
    metrics = run.read_metrics()
    test = load_cases(study, settings, run, study.test_cases, settings.frames + 1)
    if not settings.weights:
        constant, tried = tuned_smagorinsky(study, case, settings, run)
        found = evaluate(study, with_eddies(case, settings, constant), test)
        save_evaluation(study, run, "smagorinsky", found, {}, settings.frames)
        metrics["arms"]["smagorinsky"] = {**means(study, found), "constant": constant, "tried": tried}
        run.leave_if_asked()
    for name, factor in finer_grids(settings.finer).items():
        found = on_finer_grid(study, case, settings, factor, test)
        save_evaluation(study, run, name, found, {}, settings.frames)
        metrics["arms"][name] = means(study, found)
        run.leave_if_asked()
    metrics["paper"] = {"arms": case.published}
    if settings.seeds > 1:
        metrics["seeds"] = {
            arm: of_all_seeds(metrics["arms"], arm, settings.seeds, study.times) for arm in settings.arms
        }
    run.write_metrics(metrics)


def of_all_seeds(arms: Mapping[str, Any], arm: str, seeds: int, times: Sequence[int]) -> dict[str, dict[str, float]]:
    """Of an arm's error at each time the mean over its seeds, and twice the standard error."""
    names = names_of_seeds(arm, seeds)
    keys = [f"mse_{time}" for time in times]
    return {key: over_seeds([np.nan if arms[name][key] is None else arms[name][key] for name in names]) for key in keys}


def with_eddies(case: TurbulentCase, settings: TurbulenceSettings, constant: float | Array) -> Any:
    """The source with Smagorinsky's eddy viscosity."""
    return case.wrap(
        case.flow(settings.resolution, settings.dt, stepping=PISO(), added_viscosity=(Smagorinsky(constant),))
    )


def tuned_smagorinsky(
    study: Study, case: TurbulentCase, settings: TurbulenceSettings, run: Run
) -> tuple[float, dict[str, float]]:
    """The constant with the smallest error after 100 steps from the first frames of the training cases, as published,
    and the errors of all that were tried.
    """
    steps = min(100, settings.train_frames - 1)
    data = load_cases(study, settings, run, study.train_cases, steps + 1)

    @eqx.filter_jit
    def error(step: Any, frames: Mapping[str, Array]) -> Array:
        final, _ = rollout(step, study.state(jax.tree.map(lambda leaf: leaf[0], frames)), steps)
        return study.metrics["mse"](study.observe(final), jax.tree.map(lambda leaf: leaf[-1], frames))

    found = {}
    for constant in settings.smagorinsky:
        step = with_eddies(case, settings, constant)
        cases = [data.case(index) for index in range(data.cases)]
        errors = [float(error(with_parameters(step, numbers), frames)) for frames, numbers in cases]
        found[f"{constant:g}"] = float(np.mean(errors))
    return float(min(found, key=lambda name: found[name] if np.isfinite(found[name]) else np.inf)), found


def on_finer_grid(
    study: Study, case: TurbulentCase, settings: TurbulenceSettings, factor: int, test: Trajectories
) -> Evaluation:
    """The plain source on a grid and with steps so many times finer, from the reference's first states."""
    fine = case.flow(settings.resolution * factor, settings.dt / factor, stepping=PISO())
    empty = fine.initial_state()

    def start(ready: FlowState) -> FlowState:
        *velocity, pressure = frame_of(settings.scale // factor, ready).values()
        parts = tuple(field.with_values(part) for field, part in zip(empty.velocity, velocity, strict=True))
        return FlowState(parts, empty.pressure.with_values(pressure), {}, ready.time)

    frame = partial(frame_of, factor)
    return evaluate_finer(study, settings, test, case.wrap(fine), start=start, frame=frame, steps=factor)


# Figures and tables ---------------------------------------------------------------------------------------------------


def report_turbulence(case: TurbulentCase, run: Run, more: Callable[..., Sequence[plots.Panel]], title: str) -> Table:
    """Figures and a table from what is on disk.

    Args:
        case: The flow.
        run: A run that `run_turbulence` has written.
        more: `more(study, shown, times)`, further panels beside the spectra.
        title: Of the table.
    """
    study = turbulence_study(case, run.settings)
    report_study(study, run, lambda run, shown: draw(case, study, run, shown, more), title)
    arms, last = run.read_metrics()["arms"], study.times[-1:] or (None,)
    if last[0] is not None:
        at_last = {name: arm[f"mse_{last[0]}"] for name, arm in arms.items() if arm[f"mse_{last[0]}"] is not None}
        points = {  # without those that diverge
            name: ([arms[name]["step_ms"]], [error])
            for name, error in at_last.items()
            if error <= 100 * min(at_last.values())
        }
        panel = plots.Panel(
            points=points,
            x="milliseconds per coarse step",
            y=f"mean squared error after {last[0]} steps",
            logarithmic=True,
        )
        run.save_figure("error-over-cost.png", plots.panels_figure([panel], height=4.5))
        other_sizes = [name for name, one in study.variants.items() if one.study.architecture != study.architecture]
        sized = sorted(
            (arm["parameters"], arm[f"mse_{last[0]}"])
            for name, arm in arms.items()
            if name == "unrolled" or name in other_sizes
        )
        if len(sized) > 1:
            parameters, errors = zip(*sized, strict=True)
            panel = plots.Panel(
                lines={"unrolled": (parameters, errors)},
                x="parameters of the network",
                y=f"mean squared error after {last[0]} steps",
                logarithmic=True,
            )
            run.save_figure("error-over-size.png", plots.panels_figure([panel], height=4.5))
    return table_of(title, arms, case.published, study.times)


def table_of(
    title: str, arms: Mapping[str, Any], published: Mapping[str, Mapping[str, float]], times: Sequence[int]
) -> Table:
    """The error of each arm at the times compared, how many times less than the source's, and the published figures."""
    table = Table(title=title)
    table.add_column("arm")
    for at in times:
        table.add_column(f"after {at}", justify="right")
        table.add_column("less by", justify="right")
        table.add_column("published", justify="right")
    table.add_column("ms a step", justify="right")
    for name, arm in arms.items():
        cells = []
        for at in times:
            key = f"mse_{at}"
            value, source, known = arm[key], arms["source"][key], published.get(name, {}).get(key)
            ratio = "" if None in (value, source) or name == "source" else f"{source / value:.2f}"
            cells += ["not finite" if value is None else f"{value:.2e}", ratio, "" if known is None else f"{known:.2e}"]
        table.add_row(name, *cells, f"{arm['step_ms']:.2f}")
    return table


def draw(
    case: TurbulentCase,
    study: Study,
    run: Run,
    shown: Mapping[str, Frames],
    more: Callable[..., Sequence[plots.Panel]],
) -> None:
    """Vorticity of the first test case at some times and as an animation; of arms that have not diverged, which would
    take the others' axes with them, the spectrum at the end and what an experiment adds.
    """
    settings, every = run.settings, study.shown_every
    fields = study.fields(study.state({name: part[0] for name, part in shown["reference"].items()} | _still(study)))
    wraps = [field.periodic[axis] for axis, field in enumerate(fields)]  # then the last face is the first

    def vorticity(frames: Frames) -> np.ndarray:
        u, v = (
            np.concatenate([part, part.take([0], axis + 1)], axis + 1) if wraps[axis] else part
            for axis, part in enumerate(frames[name] for name in NAMES)
        )
        return plots.vorticity(u, v, study.grid.spacing)

    rows = {name: vorticity(frames) for name, frames in shown.items()}
    count = len(rows["reference"])
    times = settings.dt * every * np.arange(1, count + 1)
    draw_moments(run, "vorticity.png", rows, times, case.size, spread(count, 5)[1:], horizontal=0)
    few = {name: rows[name] for name in ("reference", "source", "unrolled") if name in rows}
    draw_moving(run, "vorticity.gif", few, times, case.size, 1, horizontal=0)

    spectrum = jax.jit(lambda frame: energy_spectrum(study.fields(study.state(frame | _still(study)))))
    # Where an axis is shorter, its waves meet every second shell, say: as many are taken together.
    together = round(max(case.size) / min(case.size))
    wavenumbers = in_groups(shell_wavenumbers(study.grid), together).mean(1)
    fastest = {name: max(abs(part).max() for part in frames.values()) for name, frames in shown.items()}
    lasting = {name: frames for name, frames in shown.items() if fastest[name] <= 10 * fastest["reference"]}
    lines = {
        name: (
            wavenumbers,
            in_groups(spectrum({name: part[-1] for name, part in frames.items()}), together).sum(1),
        )
        for name, frames in lasting.items()
    }
    panel = plots.Panel(
        **beside_reference(lines), title=f"t = {times[-1]:.3g}", x="wavenumber", y="energy in a shell", logarithmic=True
    )
    run.save_figure("statistics.png", plots.panels_figure([panel, *more(study, lasting, times)]))


def in_groups(line: Any, count: int) -> np.ndarray:
    """Neighbors of a line in groups of so many, (groups, count), without what is left over at its end."""
    line = np.asarray(line)
    return line[: len(line) // count * count].reshape(-1, count)


def beside_reference(lines: Mapping[str, tuple[Any, Any]]) -> dict[str, Any]:
    """Curves of arms, and of the reference symbols on top of them."""
    return {
        "lines": {name: line for name, line in lines.items() if name != "reference"},
        "points": {"reference": lines["reference"]},
    }


def _still(study: Study) -> dict[str, Array]:
    return {"pressure": jnp.zeros(study.grid.cells)}
