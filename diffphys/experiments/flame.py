r"""Methane flames whose chemistry a solver leaves out: a network completes it (Tathawadekar et al. 2023).

The reference is `ReactingFlow` with one-step methane chemistry, the source the same step without it. Before each step
of the source a U-Net, which sees temperature, mass fractions and velocity, changes temperature and fractions, and the
step expands by what it has heated (`Completed`). Arms differ in how they are trained: on single steps ("one-step"),
through unrolled steps with gradients ("unrolled"), and without a solver at all ("data-only"): there a residual network
alone leads from each frame to the next, of the velocity, too.

Cases: `planar`, fronts in gas at rest that differ in the equivalence ratio; `uniform`, Bunsen flames of three ratios
and three inlet speeds; `non-uniform`, Bunsen flames whose inlet has a random profile.

N. Tathawadekar, N. A. K. Doan, C. F. Silva, N. Thuerey: Incomplete to complete multiphysics forecasting: a hybrid
approach for learning unknown phenomena (Data-Centric Engineering 4, 2023, e18).
"""

import dataclasses
from collections.abc import Callable, Mapping
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
from diffphys.experiments.studies import Draw, Frames, draw_moments, draw_moving, report_study, study_program
from diffphys.learning import Normalization
from diffphys.learning.corrected import Precomputed
from diffphys.learning.study import (
    PLAIN_ADAM,
    Study,
    StudySettings,
    Variant,
    load_evaluation,
    named,
    run_study,
    stages,
)
from diffphys.nets import ResNet, UNet
from diffphys.physics import FlowState
from diffphys.physics.reacting_flow import MIXTURE
from diffphys.runs import Run, setting
from diffphys.scenarios import BUNSEN_DT, PLANAR_DT, Flame, bunsen_flame, planar_flame, random_inlet


TRAIN_RATIOS, TEST_RATIOS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5), (0.95, 0.85, 0.75, 0.65)
RATIOS, SPEEDS = (0.8, 0.9, 1.0), (8.0, 10.0, 12.0)
BETWEEN_RATIOS, BETWEEN_SPEEDS = (0.85, 0.95), (9.0, 10.0, 11.0)
LARGEST_TEMPERATURE = 4000.0
UNSTABLE = 500.0
"""A rollout counts as unstable whose temperature is wrong by so many kelvin on average, or not finite."""


@dataclass(frozen=True)
class Settings(StudySettings):
    """Settings of the flame experiment."""

    case: str = setting("planar", help="which flames", choices=("planar", "uniform", "non-uniform"))
    resolution: int = setting(32, help="cells along each axis; published are 32 and 100", minimum=8)
    size: float = setting(1.0, help="of a Bunsen flame's box in meters; published with 100 cells: 1.5", above=0.0)
    dt: float = setting(0.0, help="of the reference; 0 for 1e-6 of planar and 5e-4 of Bunsen flames", minimum=0.0)
    stride: int = setting(1, help="how many times longer a step of the source is", minimum=1)
    constraint: str = setting("low-mach", help="of Bunsen flames", choices=("low-mach", "momentum"))
    train_cases: int = setting(12, help="cases of non-uniform flames to train on", minimum=1)
    test_cases: int = setting(12, help="cases of non-uniform flames to test on", minimum=1)
    data_only: bool = setting(True, help="whether a network without a solver is trained, too")

    def __post_init__(self):
        """Refuse what one setting alone cannot tell."""
        super().__post_init__()
        if wrong := {"supervised", "least-squares"} & set(self.arms):
            raise InputError(
                f"arms has {min(wrong)}; for flames those that are trained through the solver are accepted."
            )
        if self.resolution % 2:
            raise InputError(f"resolution is {self.resolution}; an even number is accepted, which a U-Net halves.")


PUBLISHED_LENGTH = {
    "arms": ("one-step", "unrolled"),
    "warmup": 1,
    "train_frames": 301,
    "frames": 600,
    "features": 16,
    "rate_warmup": 20,
}
PRESETS: dict[str, dict[str, Any]] = {
    "demo": {
        **PUBLISHED_LENGTH,
        **stages((2, 300, 2e-3), (16, 100, 1e-3)),
    },
    "book": {
        **PUBLISHED_LENGTH,
        "case": "non-uniform",
        "train_frames": 501,
        "frames": 1000,
        **stages((2, 2000, 2e-3), (8, 1000, 1e-3), (32, 300, 5e-4)),
    },
    "paper": {
        **PUBLISHED_LENGTH,
        "case": "non-uniform",
        "train_frames": 501,
        "frames": 1000,
        **stages((2, 200000, 1e-4), (32, 18000, 1e-4)),
        **PLAIN_ADAM,
    },
}


class Completed(eqx.Module):
    """A solver whose every step a network completes, `s -> P(s + C(s))`: of the fields that it sees, scaled, the
    network changes the first ones. It comes before the step, which so expands at once by what has been heated.

    Temperatures are kept between 300 and 4000 K and mass fractions between 0 and 1, as published.

    Args:
        solver: A step; `Precomputed` for none.
        network: From an array (fields and conditioning numbers, *cells) to the changes (fields, *cells).
        normalization: The scales.
        observe: From a state to its fields at the cells and faces, by name.
        cells: Of the grid.
        told: Whether the network is told the equivalence ratio.
    """

    solver: Any
    network: Any
    normalization: Normalization
    observe: Callable[[FlowState], dict[str, Array]] = eqx.field(static=True)
    cells: tuple[int, ...] = eqx.field(static=True)
    told: bool = eqx.field(static=True)

    def __call__(self, state: FlowState) -> FlowState:
        fields, scales, cells = self.observe(state), self.normalization.fields, self.cells
        # Of a velocity component the faces below the cells.
        channels = [one[: cells[0], : cells[1]] / scale for one, scale in zip(fields.values(), scales, strict=True)]
        if self.told:
            ratio = getattr(self.solver, "solver", self.solver).ratio
            channels.append(jnp.broadcast_to(ratio / self.normalization.parameters[0], cells))
        changes = 0.1 * self.network(jnp.stack(channels))
        for name, change, scale in zip(fields, changes, scales, strict=False):
            values = fields[name]
            change = jnp.pad(scale * change, [(0, n - m) for n, m in zip(values.shape, cells, strict=True)])
            fields[name] = values + change.astype(values.dtype)
        bounds = {"temperature": (300.0, LARGEST_TEMPERATURE), "fuel": (0.0, 1.0), "oxidizer": (0.0, 1.0)}
        fields |= {name: jnp.clip(fields[name], *two) for name, two in bounds.items()}
        return self.solver(_with_fields(state, fields))


def _with_fields(state: FlowState, fields: Mapping[str, Array]) -> FlowState:
    scalars = {name: state.scalars[name].with_values(fields[name]) for name in MIXTURE}
    velocity = tuple(
        part.with_values(fields.get(f"velocity_{axis}", part.values))
        for part, axis in zip(state.velocity, "xy", strict=True)
    )
    return dataclasses.replace(state, scalars={**state.scalars, **scalars}, velocity=velocity)


def flame(settings: Settings, complete: bool, stride: int = 1) -> Flame:
    """The step, with its chemistry or without."""
    more: dict[str, Any] = {} if complete else {"reaction": None}
    if settings.case == "planar":
        return planar_flame(settings.resolution, dt=stride * (settings.dt or PLANAR_DT), **more)
    dt = stride * (settings.dt or BUNSEN_DT)
    return bunsen_flame(settings.resolution, dt=dt, size=settings.size, constraint=settings.constraint, **more)


def cases_of(settings: Settings) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The labels of training and test cases: ratios, speeds with the ratio as fraction, or seeds."""
    if settings.case == "planar":
        return TRAIN_RATIOS, TEST_RATIOS
    if settings.case == "uniform":
        train = tuple(speed + ratio / 10 for ratio in RATIOS for speed in SPEEDS)
        return train, tuple(speed + ratio / 10 for ratio in BETWEEN_RATIOS for speed in BETWEEN_SPEEDS)
    test = range(101, 101 + settings.test_cases)
    return tuple(map(float, range(1, 1 + settings.train_cases))), tuple(map(float, test))


def parameters_of(settings: Settings, label: float) -> dict[str, Any]:
    """The equivalence ratio and the inlet of a case."""
    if settings.case == "planar":
        return {"ratio": label}
    if settings.case == "uniform":
        speed = np.floor(label)
        return {"ratio": 10 * (label - speed), "speed": np.full(settings.resolution, speed, np.float32)}
    return {"speed": random_inlet(jax.random.key(int(label)), settings.resolution)}


def flame_study(settings: Settings) -> Study:
    """What the experiment compares."""
    reference, source = flame(settings, complete=True), flame(settings, complete=False, stride=settings.stride)
    names = MIXTURE if settings.case == "planar" else (*MIXTURE, "velocity_x", "velocity_y")
    empty, density = source.initial_state(), source.flow.gas.density
    train, test = cases_of(settings)
    told = settings.case != "non-uniform"

    def fields(state: FlowState) -> tuple[Any, ...]:
        parts = tuple(state.scalars[name] for name in MIXTURE)
        return parts if settings.case == "planar" else (*parts, *state.velocity)

    def transfer(state: FlowState) -> dict[str, Array]:
        return {name: field.values for name, field in zip(names, fields(state), strict=True)}

    def state(frame: Mapping[str, Array]) -> FlowState:
        made = _with_fields(empty, frame)
        fits = density(*(frame[name] for name in MIXTURE))
        return dataclasses.replace(made, scalars={**made.scalars, "density": made.scalars["density"].with_values(fits)})

    def make_network(features: int, key: Array) -> UNet:
        return UNet(len(names) + told, 3, features=features, levels=2, padding="edge", key=key)

    def make_alone(features: int, key: Array) -> ResNet:
        count = len(names)
        return ResNet(count + told, count, features=features, blocks=3, kernel_size=5, padding="edge", key=key)

    def complete(network: Any, scales: Normalization) -> Completed:
        return Completed(source, network, scales, transfer, source.flow.grid.cells, told)

    def alone(network: Any, scales: Normalization) -> Completed:
        return Completed(Precomputed(source), network, scales, transfer, source.flow.grid.cells, told)

    study = Study(
        name="flame",
        case="flame",
        train_cases=train,
        test_cases=test,
        reference=reference,
        source=source,
        grid=source.flow.grid,
        begin=lambda system: system.initial_state(),
        transfer=transfer,
        state=state,
        names=names,
        fields=fields,
        make_network=make_network,
        architecture={"features": settings.features},
        parameters=lambda label: parameters_of(settings, label),
        conditioning=(lambda flame: [flame.ratio]) if told else (lambda flame: []),
        identity=named(settings, "case", "resolution", "size", "dt", "stride", "constraint"),
        steps_per_frame=settings.stride,
        couple=complete,
        # Without its expansion the velocity is wrong by all of itself, and would hide what the fuel lacks.
        loss_scales="fields" if settings.case == "planar" else "lacking",
        metrics={name: _error_of(name) for name in MIXTURE},
        times=(min(settings.train_frames - 1, settings.frames), settings.frames),
        advice="a smaller dt may be accepted",
        label=_label_of(settings),
        error="mean error of the temperature, K",
    )
    if not settings.data_only:
        return study
    # Without a solver the velocity is no worse than the rest.
    without = dataclasses.replace(study, make_network=make_alone, couple=alone, loss_scales="fields")
    return dataclasses.replace(study, variants={"data-only": Variant(without, settings, "unrolled")})


def _error_of(name: str) -> Any:
    def error(prediction: Mapping[str, Array], target: Mapping[str, Array]) -> Array:
        return jnp.mean(jnp.abs(prediction[name] - target[name]))

    return error


def _label_of(settings: Settings) -> Any:
    if settings.case == "uniform":
        return lambda label: f"{np.floor(label):g} m/s, {10 * (label - np.floor(label)):.3g}"
    return ("ratio {:g}" if settings.case == "planar" else "inlet {:g}").format


# What a flame does over time ------------------------------------------------------------------------------------------


def heat_release(settings: Settings, frames: Frames) -> np.ndarray:
    """What burns in each frame by the chemistry of the reference, in watts per meter of depth."""
    flow = flame(settings, complete=True).flow
    mixture = [jnp.asarray(frames[name]) for name in MIXTURE]
    assert flow.reaction is not None
    rate = flow.gas.density(*mixture) * flow.reaction.heat * flow.reaction.rate(flow.gas, *mixture)
    return np.asarray(jnp.sum(rate, (1, 2))) * float(np.prod(flow.grid.spacing))


def tip(settings: Settings, frames: Frames, most: float) -> np.ndarray:
    """How far from where it enters there is fresh gas: the length of the cells on the middle line that have more than
    half of the `most` fuel, that of the fresh gas; of a planar front its distance from the side of the fresh gas.
    """
    fuel, grid = frames["fuel"], flame(settings, complete=False).flow.grid
    axis = 0 if settings.case == "planar" else 1
    line = fuel.mean(axis=2) if axis == 0 else fuel[:, fuel.shape[1] // 2 - 1 : fuel.shape[1] // 2 + 1].mean(axis=1)
    return (line > 0.5 * most).sum(axis=1) * grid.spacing[axis]


def errors_over_time(run: Run, name: str) -> tuple[float, float]:
    """How wrong an arm is about the length of the fresh gas, in meters, and about the heat release, over the mean one;
    the means of the absolute errors over all test flames and the frames that are kept.
    """
    of_arms = []
    for arm in ("reference", name):
        frames = run.read_frames(arm)
        values = {one: frames[one].transpose("case", "time", "x", "y").values for one in MIXTURE}
        of_arms.append([{one: values[one][case] for one in MIXTURE} for case in range(frames.sizes["case"])])
    pairs = list(zip(*of_arms, strict=True))
    lengths = [[tip(run.settings, one, exact["fuel"].max()) for one in (exact, found)] for exact, found in pairs]
    heats = [[heat_release(run.settings, one) for one in pair] for pair in pairs]
    apart = [float(np.mean(np.abs(np.diff(np.asarray(one), axis=1)))) for one in (lengths, heats)]
    return apart[0], apart[1] / float(np.mean(np.asarray(heats)[:, 0]))


def run(study: Study, settings: Settings, run: Run) -> None:
    """Generate the data, train each arm, test it, write metrics."""
    run_study(study, settings, run)
    metrics = run.read_metrics()
    for name, arm in metrics["arms"].items():
        errors = np.asarray(load_evaluation(run, name)["errors"], float)
        wrong = ~(errors < UNSTABLE)
        arm["unstable"] = [int(np.argmax(line)) + 1 if line.any() else None for line in wrong]
        arm["temperature_at_the_end"] = float(np.mean(errors[:, -1]))
    ends = {name: arm["temperature_at_the_end"] for name, arm in metrics["arms"].items()}
    if {"data-only", "unrolled"} <= ends.keys():
        metrics["data_only_over_unrolled"] = ends["data-only"] / ends["unrolled"]
    run.write_metrics(metrics)


OVER_TIME = ("length, mm", "heat", "unstable")


def report(study: Study, run: Run, draw: Draw, title: str) -> Table:
    """Figures and a table from what is on disk."""
    metrics = run.read_metrics()
    report_study(study, run, draw, title)
    table = Table(title="Flames: mean errors over all test rollouts; those that are wrong by 500 K count as unstable")
    table.add_column("arm")
    trained, last = study.times
    for heading in (f"K, step {trained}", f"K, step {last}", "K, mean", "fuel", "oxidizer", *OVER_TIME, "ms a step"):
        table.add_column(heading, justify="right")
    for name, arm in metrics["arms"].items():
        numbers = [arm[f"temperature_{trained}"], arm[f"temperature_{last}"], arm["temperature_mean"]]
        lost = sum(step is not None for step in arm["unstable"])
        fractions = [arm[f"{one}_mean"] for one in ("fuel", "oxidizer")]
        length, heat = errors_over_time(run, name)
        table.add_row(
            name,
            *("not finite" if one is None else f"{one:.1f}" for one in numbers),
            *("not finite" if one is None else f"{one:.2g}" for one in fractions),
            f"{1e3 * length:.3g}",
            f"{100 * heat:.0f} %",
            f"{lost} of {len(arm['unstable'])}",
            f"{arm['step_ms']:.2f}",
        )
    return table


def draw(run: Run, shown: Mapping[str, Frames]) -> None:
    """The temperature of the first test flame at three times and over time; its tip and what it releases."""
    settings = run.settings
    study = flame_study(settings)
    times, size = study.moments(settings.frames), study.grid.size
    some = np.linspace(0, settings.frames - 1, 4).round().astype(int)[1:]
    rows = {name: frames["temperature"] for name, frames in shown.items()}
    look: dict[str, Any] = {"label": "temperature, K", "at": "cells", "horizontal": 0}
    draw_moments(run, "temperature.png", rows, times, size, some, **look)
    most = shown["reference"]["fuel"].max()
    lengths = {name: tip(settings, frames, most) for name, frames in shown.items()}
    heats = {name: heat_release(settings, frames) for name, frames in shown.items()}
    # What explodes leaves the picture for good, so that the others can be told apart in it.
    seen = {name: np.cumprod(one < 3 * heats["reference"].max()) > 0 for name, one in heats.items()}
    heats = {name: np.where(seen[name], one, np.nan) for name, one in heats.items()}
    panels = [
        plots.Panel(
            lines={name: (times, line) for name, line in lines.items()}, title="the first test flame", x="time, s", y=of
        )
        for lines, of in ((lengths, "length of the fresh gas, m"), (heats, "heat release, W/m"))
    ]
    run.save_figure("flame.png", plots.panels_figure(panels))
    draw_moving(run, "flames.gif", rows, times, size, settings.frames // 80, **look)


TITLE = "Flames: mean error of the temperature"
PROGRAM = study_program("flame", Settings, PRESETS, flame_study, draw, TITLE, run=run, report=report)
