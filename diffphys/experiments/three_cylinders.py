"""Three bodies in a stream, in layouts that training has not seen: a coarse solver that carries a network.

Two cylinders and a third body of the same length, a bar with round ends, stand at the corners of an equilateral
triangle in a stream of speed one. Layouts differ in the spacing of the corners, from 1.2 to 5.5 diameters, in how the
triangle is turned, and in how the bar leans. The network sees where the bodies are beside the velocity; it is trained
on some layouts and tested on others (Brahmachary and Thuerey 2024).

Lengths are in diameters; the domain is 24 x 16, and with a viscosity of 0.01 the Reynolds number is 100. Source and
reference are the same scheme, central differences that keep the energy and Runge-Kutta of second order in time,
around whole cells. The obstacle is an argument of the step (`physics.obstacles.TracedSolid`), so that all layouts, also
within one batch, take one program.

S. Brahmachary, N. Thuerey: Unsteady cylinder wakes from arbitrary bodies with differentiable physics-assisted neural
network, Physical Review E 109, 055304 (2024).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from rich.table import Table

from diffphys import plots
from diffphys.errors import InputError
from diffphys.experiments.solver_in_the_loop import (
    Scenario,
    ScenarioSettings,
    corrected_of,
    fit_of_flow,
    frame_of,
    report_scenario,
    run_scenario,
    shipped_weights,
    small_or_published,
    state_at,
    state_of,
    with_further_arms,
)
from diffphys.experiments.studies import Frames, draw_moments, draw_moving, spread
from diffphys.grids import Box, Grid, Inflow, Outflow, Shape, Sphere, Wall
from diffphys.learning import Corrected, Normalization, Trajectories, with_parameters
from diffphys.learning.study import PLAIN_ADAM, Study, finer_grids, load_cases, named, stages, weights_file
from diffphys.learning.turbulence import frequency_by_phase
from diffphys.nets import ResNet
from diffphys.operators import SkewSymmetric, divergence
from diffphys.physics import FlowState, IncompressibleFlow
from diffphys.physics.obstacles import TracedSolid
from diffphys.runs import Program, Run, setting
from diffphys.stepping import RungeKutta, rollout


SIZE = (24.0, 16.0)  # in diameters
RADIUS = 0.5
BAR = 0.25  # half the bar's width, the radius of its ends
VISCOSITY = 0.01
PROBE = 6.0  # from the middle of the triangle, downstream
NAMES = ("velocity_x", "velocity_y")


@dataclass(frozen=True)
class Settings(ScenarioSettings):
    """Settings of the experiment; the presets give the lengths of data and training."""

    resolution: int = setting(4, help="cells of the source along a diameter", minimum=3)
    scale: int = setting(4, help="how many times finer the reference is", minimum=1)
    dt: float = setting(0.1, help="the source's step, in diameters over the speed of the stream", above=0.0)
    substeps: int = setting(3, help="steps of the reference for one of the source", minimum=1)
    train_seeds: tuple[int, ...] = setting(tuple(range(1, 25)), help="the layouts of training", minimum=0)
    test_seeds: tuple[int, ...] = setting(
        tuple(range(101, 109)), help="the layouts of testing", minimum=0, distinct=True
    )
    spacings: tuple[float, float] = setting(
        (1.2, 5.5), help="smallest and largest distance of two bodies' centers, in diameters", above=0.0
    )
    place: tuple[float, float] = setting((8.0, 8.0), help="the middle of the triangle, in diameters", above=0.0)
    network: str = setting(
        "small",
        help="small: three residual blocks of 3x3; paper: ten of 5x5 (516,674 parameters at 32 features)",
        choices=("small", "paper"),
    )

    def __post_init__(self):
        """Refuse what one setting alone cannot tell."""
        super().__post_init__()
        if self.spacings[0] > self.spacings[1]:
            raise InputError(f"spacings is {self.spacings}; the smallest and the largest are accepted.")
        if self.spacings[0] <= 2 * RADIUS:
            raise InputError(
                f"spacings begins with {self.spacings[0]:g}, where bodies overlap; more than 1 is accepted."
            )
        reach = self.spacings[1] / np.sqrt(3) + RADIUS
        if any(not reach < middle < length - reach for middle, length in zip(self.place, SIZE, strict=True)):
            raise InputError(
                f"place is {self.place} and the largest spacing {self.spacings[1]:g}, so that a body may leave the "
                f"domain of {SIZE[0]:g} x {SIZE[1]:g}; {reach:.3g} from all sides or farther is accepted."
            )


PRESETS: dict[str, dict[str, Any]] = {
    "demo": {
        "arms": ("one-step", "unrolled"),
        "scale": 3,
        "substeps": 2,
        "train_seeds": tuple(range(1, 7)),
        "test_seeds": (101, 103),
        "warmup": 400,
        "train_frames": 101,
        "frames": 500,
        "features": 16,
        "batch": 2,
        **stages((1, 400, 4e-3), (4, 200, 3e-3)),
        "finer": (2,),
    },
    "book": {
        "arms": ("one-step", "unrolled"),
        "scale": 3,
        "substeps": 2,
        "train_seeds": tuple(range(1, 13)),
        "test_seeds": (101, 102, 103, 104),
        "warmup": 400,
        "train_frames": 151,
        "frames": 500,
        "features": 16,
        "batch": 2,
        **stages((1, 400, 4e-3), (4, 300, 4e-3), (16, 300, 3e-3), (32, 150, 1.5e-3)),
        "finer": (2,),
    },
    "paper": {
        "scale": 8,
        "substeps": 6,
        "train_seeds": tuple(range(1, 51)),
        "test_seeds": tuple(range(101, 151)),
        "warmup": 1500,
        "train_frames": 100,
        "frames": 300,
        "network": "paper",
        "batch": 1,
        **stages((4, 240000, 1e-4)),
        **PLAIN_ADAM,
    },
}


# ------------------------------------------------------------------------------------------------------------- layouts


@dataclass(frozen=True)
class Layout:
    """Where three bodies are.

    Attributes:
        centers: Of the cylinders, and last of the bar, (3, 2).
        lean: The angle of the bar to the stream.
        spacing: The distance of two centers.
    """

    centers: np.ndarray
    lean: float
    spacing: float

    @property
    def along(self) -> np.ndarray:
        """From the middle of the bar to that of its round end."""
        return (RADIUS - BAR) * np.array([np.cos(self.lean), np.sin(self.lean)])

    @property
    def shape(self) -> Shape:
        """The bodies together."""
        first, second, third = self.centers
        along, half = self.along, RADIUS - BAR
        middle = Box((-half, -BAR), (half, BAR)).rotated(self.lean, (0.0, 0.0)).translated(tuple(third))
        ends = Sphere(tuple(third + along), BAR) | Sphere(tuple(third - along), BAR)
        return Sphere(tuple(first), RADIUS) | Sphere(tuple(second), RADIUS) | middle | ends

    def disks(self) -> list[tuple[np.ndarray, float]]:
        """Disks whose union looks like the bodies, for pictures."""
        bar = [(self.centers[2] + part * self.along, BAR) for part in np.linspace(-1, 1, 9)]
        return [(center, RADIUS) for center in self.centers[:2]] + bar


def draw_layout(settings: Settings, seed: float) -> Layout:
    """The layout of one case: spacing, turn of the triangle and lean of the bar, each from a uniform distribution."""
    generator = np.random.default_rng(int(seed))
    spacing = generator.uniform(settings.spacings[0], settings.spacings[1])
    turn, lean = generator.uniform(0.0, 2 * np.pi), generator.uniform(0.0, np.pi)
    angles = turn + 2 * np.pi / 3 * np.arange(3)
    corners = spacing / np.sqrt(3) * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return Layout(np.asarray(settings.place) + corners, float(lean), float(spacing))


class Bodies(eqx.Module):
    """A flow around one of several layouts.

    Args:
        solver: The flow without bodies.
        solids: The bodies of all layouts, with a leading axis.
        masks: For each layout the part of each cell that the bodies fill, which the network sees; (layouts, *cells).
        layout: The number of the one that is there.
        substeps: How many steps of the flow make one.
    """

    solver: IncompressibleFlow
    solids: TracedSolid
    masks: Array
    layout: Array
    substeps: int = eqx.field(static=True, default=1)

    def __call__(self, state: FlowState) -> FlowState:
        return self.flow(state) if self.substeps == 1 else rollout(self.flow, state, self.substeps)[0]

    @property
    def flow(self) -> IncompressibleFlow:
        """The flow around the layout that is there."""
        return replace(self.solver, solid=jax.tree.map(lambda leaf: leaf[self.layout], self.solids))

    @property
    def mask(self) -> Array:
        """The part of each cell that the bodies fill."""
        return self.masks[self.layout]

    @property
    def dt(self) -> Array:
        """The time that all steps take."""
        return self.solver.dt * self.substeps


def open_stream(cells: int, dt: float) -> IncompressibleFlow:
    """The stream without bodies, with so many cells along a diameter."""
    return IncompressibleFlow(
        Grid(tuple(int(cells * length) for length in SIZE), SIZE),
        viscosity=VISCOSITY,
        dt=dt,
        sides={"x": (Inflow(1.0), Outflow()), "y": Wall(slip=True)},
        stepping=RungeKutta(2),
        advection=SkewSymmetric(),
    )


def bodies(settings: Settings, factor: int, substeps: int, labels: Sequence[float]) -> Bodies:
    """The flow around some layouts, on a grid so many times finer than the source's."""
    cells = settings.resolution * factor
    flow = open_stream(cells, settings.dt / substeps)
    shapes = [draw_layout(settings, label).shape for label in labels]
    # A convex body as long as n cells lies in n + 1 rows and n + 1 columns at most, and closes two faces of each.
    solids = [TracedSolid.of(flow, shape, 3 * 4 * (cells + 1)) for shape in shapes]
    return Bodies(
        flow,
        jax.tree.map(lambda *leaves: jnp.stack(leaves), *solids),
        jnp.stack([shape.volume_fractions(flow.grid) for shape in shapes]),
        jnp.asarray(0),
        substeps,
    )


def begin(system: Bodies) -> FlowState:
    """The stream around the bodies with a crosswise gust behind them, so that shedding begins at once."""
    gust = Box((12.0, 7.0), (14.0, 10.0))
    points = system.solver.initial_state().velocity[1].coordinates()
    return system.flow.initial_state((1.0, jnp.where(gust.contains(points), 0.5, 0.0)))


# ----------------------------------------------------------------------------------------------------------- the study


def make_network(network: str, features: int, key: Array) -> ResNet:
    """The network: "paper" as published, or "small"; from velocity and mask to corrections of the velocity."""
    if network == "small":
        return small_or_published(3, 2, network, features, key, "reflect")
    return ResNet(3, 2, features=features, blocks=10, activation=jax.nn.relu, padding="reflect", key=key)


def labels_of(settings: Settings) -> tuple[float, ...]:
    """Those of all layouts, in the order in which they are numbered."""
    return tuple(map(float, dict.fromkeys((*settings.train_seeds, *settings.test_seeds))))


def cylinders_study(settings: Settings, *, with_reference: bool = True) -> Study:
    """What the experiment compares; without its reference, whose surfaces take a while to prepare, for reports."""
    labels = labels_of(settings)
    source = bodies(settings, 1, 1, labels)

    def couple(network: Any, normalization: Normalization) -> Corrected:
        return Corrected(source, network, normalization, fields=fields, beside=mask_of)

    def words(label: float) -> str:
        return f"layout {label:g}, spacing {draw_layout(settings, label).spacing:.2f}"

    return Study(
        name="three-cylinders",
        case="layouts",
        train_cases=tuple(map(float, settings.train_seeds)),
        test_cases=tuple(map(float, settings.test_seeds)),
        reference=bodies(settings, settings.scale, settings.substeps, labels) if with_reference else source,
        source=source,
        grid=source.solver.grid,
        begin=begin,
        transfer=lambda state: frame_of(state, settings.scale),
        state=lambda frame: state_of(source.solver, frame),
        names=NAMES,
        fields=fields,
        make_network=make_network,
        architecture=named(settings, "network", "features"),
        parameters=lambda label: {"layout": labels.index(label)},
        identity=named(settings, "resolution", "scale", "dt", "substeps", "spacings", "place"),
        diagnostics={"divergence": lambda velocity: divergence(velocity).values},
        couple=couple,
        fit=fit_of_flow(settings.dt, flow=lambda system: system.flow),
        shipped=shipped_weights("three-cylinders"),
        advice="the step is too long for it, and more substeps may help",
        label=words,
        error="mean absolute error of the velocity",
    )


def fields(state: FlowState) -> tuple[Any, ...]:
    """What is compared and corrected."""
    return state.velocity


def mask_of(system: Bodies, predicted: FlowState) -> Sequence[Array]:
    """What the network sees beside the velocity."""
    return [system.mask]


def scenario_of(settings: Settings, *, with_reference: bool = True) -> Scenario:
    """The study, and the plain solver on finer grids, with as many times shorter steps."""
    study = cylinders_study(settings, with_reference=with_reference)
    return Scenario(
        study,
        finer=lambda factor: bodies(settings, factor, factor, labels_of(settings)),
        start=lambda finer, state: state_at(finer.solver, state),
    )


def run(settings: Settings, run: Run) -> None:
    """Generate the data, train each arm, test it, measure how often vortices are shed; write metrics."""
    if settings.weights:  # what is none of ours is refused before the bodies' surfaces are prepared
        weights_file("three-cylinders", settings.weights, shipped_weights("three-cylinders"))
    scenario = scenario_of(settings)
    run_scenario(scenario, settings, run)
    run.leave_if_asked()
    study, metrics = scenario.study, run.read_metrics()
    test = load_cases(study, settings, run, study.test_cases, settings.frames + 1)
    trained = with_further_arms(study, settings).trained(settings)
    steps = {"source": study.source} | {name: corrected_of(study, settings, run, name) for name in trained}
    signals = {"reference": np.asarray(test.frames["velocity_y"])[:, 1:, *probe(settings)]}
    signals |= {name: crosswise(study, settings, step, test) for name, step in steps.items()}
    rate = 1.0 / settings.dt
    metrics["strouhal"] = {name: [strouhal(one, rate) for one in lines] for name, lines in signals.items()}
    metrics["spacing"] = [draw_layout(settings, label).spacing for label in study.test_cases]
    run.write_metrics(metrics)


# ----------------------------------------------------------------------------------------------------- Strouhal number


def probe(settings: Settings) -> tuple[int, int]:
    """The face of the crosswise velocity some diameters behind the middle of the triangle."""
    return int((settings.place[0] + PROBE) * settings.resolution), int(round(settings.place[1] * settings.resolution))


def crosswise(study: Study, settings: Settings, step: Any, test: Trajectories) -> np.ndarray:
    """The crosswise velocity behind the bodies over time, of each test case; (cases, frames)."""
    place = probe(settings)

    @eqx.filter_jit
    def signal(step: Any, frames: Mapping[str, Array], parameters: dict[str, Array]) -> Array:
        first = jax.tree.map(lambda leaf: leaf[0], frames)
        adapted = with_parameters(step, parameters)
        steps = settings.frames
        return rollout(
            adapted, study.state(first), steps, save_every=1, save=lambda state: state.velocity[1].values[place]
        )[1]

    return np.stack([np.asarray(signal(step, *test.case(index))) for index in range(test.cases)])


def strouhal(signal: np.ndarray, rate: float) -> float | None:
    """The frequency of a signal times diameter over speed; None where it is not finite or holds no four periods."""
    try:
        return frequency_by_phase(signal, 1.0 / rate)
    except InputError:
        return None


# -------------------------------------------------------------------------------------------------- figures and tables


def report(run: Run) -> Table:
    """Figures and a table from what is on disk."""
    scenario = scenario_of(run.settings, with_reference=False)
    report_scenario(scenario, run, draw, "Three bodies: mean absolute error of the velocity")
    metrics = run.read_metrics()
    run.save_figure("layouts.png", layouts_figure(metrics))
    return layouts_table(metrics, [scenario.study.label(case) for case in scenario.study.test_cases])


def layouts_figure(metrics: Mapping[str, Any]) -> Any:
    """Error and Strouhal number of each layout, over its spacing."""
    order = np.argsort(metrics["spacing"])
    spacing = np.asarray(metrics["spacing"])[order]

    def over_spacing(values: Sequence[float | None]) -> tuple[np.ndarray, np.ndarray]:
        return spacing, np.asarray(values, float)[order]

    errors = {name: over_spacing(arm["mae"]) for name, arm in metrics["arms"].items()}
    numbers = {name: over_spacing(values) for name, values in metrics["strouhal"].items()}
    truth = {"reference": numbers.pop("reference")}
    words = "spacing over diameter"
    return plots.panels_figure(
        [
            plots.Panel(marked=errors, x=words, y="mean absolute error", logarithmic="y"),
            plots.Panel(marked=numbers, points=truth, x=words, y="Strouhal number"),
        ]
    )


def layouts_table(metrics: Mapping[str, Any], cases: Sequence[str]) -> Table:
    """Of every arm the error in each layout, its mean, the reduction, and the Strouhal numbers."""
    table = Table(title="Three bodies: mean absolute error, and Strouhal number, of each layout")
    table.add_column("arm")
    for heading in (*cases, "mean", "reduction"):
        table.add_column(heading, justify="right")

    def row(name: str, errors: Sequence[float | None], *more: str) -> None:
        numbers = metrics["strouhal"].get(name, [None] * len(cases))
        words = [
            f"{'' if error is None else f'{error:.4f}'} {'' if number is None else f'St {number:.3f}'}".strip()
            for error, number in zip(errors, numbers, strict=True)
        ]
        table.add_row(name, *words, *more)

    row("reference", [None] * len(cases), "", "")
    source = metrics["mae_source_mean"]
    for name, arm in metrics["arms"].items():
        mean = arm["mae_mean"]
        less = "" if source is None or not mean or name == "source" else f"{source / mean:.1f}x"
        row(name, arm["mae"], "not finite" if mean is None else f"{mean:.4f}", less)
    return table


def draw(run: Run, shown: Mapping[str, Frames]) -> None:
    """Pictures and an animation of the vorticity around the first unseen layout."""
    settings = run.settings
    spacing = (1.0 / settings.resolution,) * 2
    left_out = finer_grids(settings.finer)
    vorticity = {
        name: plots.vorticity(flow["velocity_x"], flow["velocity_y"], spacing)
        for name, flow in shown.items()
        if name not in left_out
    }
    solid = draw_layout(settings, settings.test_seeds[0]).disks()
    frames = settings.frames
    times = settings.dt * np.arange(1, frames + 1)
    look: dict[str, Any] = {"solid": solid, "horizontal": 0}
    draw_moments(run, "vorticity.png", vorticity, times, SIZE, spread(frames, 4)[1:], **look)
    draw_moving(run, "three-cylinders.gif", vorticity, times, SIZE, frames // 100, columns=2, **look)


PROGRAM = Program("three-cylinders", Settings, PRESETS, run, report)
