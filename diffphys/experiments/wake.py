"""Unsteady wake flow in 2D: a coarse solver that carries a network (Um et al. 2020, section 4 and appendix B.1).

A cylinder of radius 10 stands at (50, 50) in a domain of 100 x 200; the stream comes from below with speed one
(`diffphys.scenarios.cylinder_wake`). The reference solver runs on 128 x 256 cells, the source solver on 32 x 64, with
one step per unit of time both. Training sees six Reynolds numbers, testing five others. Reynolds numbers are the
paper's labels: the viscosity is `6.1035 / label`, the same on both grids.

The error is the mean over all faces of the absolute difference between a run's velocity and the reference's, both on
the coarse grid, over the frames that follow the first.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jax import Array
from rich.table import Table

from diffphys import plots
from diffphys.errors import InputError
from diffphys.experiments.lasting import BLOCKS, SHORTEST, report_lasting, run_lasting
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
    state_of,
)
from diffphys.experiments.studies import Draw, Frames, draw_moments, draw_moving, spread, study_program
from diffphys.grids import Box, Field
from diffphys.learning.study import PLAIN_ADAM, Study, named, stages
from diffphys.nets import ResNet
from diffphys.operators import divergence
from diffphys.physics import FlowState, IncompressibleFlow
from diffphys.runs import Run, setting
from diffphys.scenarios import CYLINDER, SIZE, VISCOSITY_TIMES_LABEL, cylinder_wake


# Table 1 of the paper; those marked in docs/results/wake.md are known from talks only.
PUBLISHED = {"source": 0.146, "least-squares": 0.031, "one-step": 0.049, "unrolled": 0.013}

NAMES = ("velocity_x", "velocity_y")


@dataclass(frozen=True)
class Settings(ScenarioSettings):
    """Settings of the wake experiment; the defaults are those of the `book` preset."""

    sides: str = setting(
        "channel",
        help="channel: inflow, lateral walls that let the flow slip, outflow; no-slip: walls without slip; "
        "published: all sides open, the streamwise velocity held on inflow rows and lateral strips",
        choices=("channel", "no-slip", "published"),
    )
    resolution: int = setting(32, help="cells of the source solver across the stream", minimum=8)
    scale: int = setting(4, help="how many times finer the reference is", minimum=1)
    train_reynolds: tuple[float, ...] = setting(
        (97.65625, 195.3125, 390.625, 781.25, 1562.5, 3125.0), help="Reynolds numbers of the training flows", above=0.0
    )
    test_reynolds: tuple[float, ...] = setting(
        (146.484375, 292.96875, 585.9375, 1171.875, 2343.75),
        help="Reynolds numbers of the test flows",
        above=0.0,
        distinct=True,
    )
    largest_speed: float = setting(2.2, help="bound on the velocity, for the faster form of the advection", above=0.0)
    lasting: int = setting(
        0, help="steps of long runs whose statistics are compared with the reference's; 0 for none", minimum=0
    )
    network: str = setting(
        "small",
        help="small: three residual blocks of 3x3 (49,442 parameters at 32 features); paper: five of 5x5 (260,354)",
        choices=("small", "paper"),
    )

    def __post_init__(self):
        """Refuse what one setting alone cannot tell."""
        super().__post_init__()
        if self.lasting % BLOCKS or 0 < self.lasting < SHORTEST:
            raise InputError(
                f"lasting is {self.lasting}; 0 or a multiple of {BLOCKS} of at least {SHORTEST} steps is accepted."
            )


PRESETS = {
    "demo": {
        **stages((1, 600, 4e-3), (4, 600, 4e-3)),
        "decay": 0.02,
    },
    "book": {},
    "paper": {
        "network": "paper",
        **stages((32, 93600, 1e-4)),
        **PLAIN_ADAM,
    },
    "evaluate": {"weights": "shipped"},
    "lasting": {"weights": "shipped", "lasting": 5000, "test_reynolds": (73.2, 220.0, 1900.0, 4688.0)},
    # Why unrolling works, and what it costs: every way of training, the shift of the inputs, error over seconds.
    "arms": {
        "arms": ("one-step", "noise", "pushforward", "detached", "unrolled"),
        **stages((1, 400, 4e-3), (4, 300, 4e-3), (8, 100, 2e-3)),
        "shift": True,
        "finer": (2, 3),
    },
}


def wake_flow(settings: Settings, resolution: int) -> IncompressibleFlow:
    """The flow on a grid with `resolution` cells across the stream."""
    return cylinder_wake(resolution, sides=settings.sides, largest_speed=settings.largest_speed)


def wake_study(settings: Settings) -> Study:
    """What the experiment compares."""
    source = wake_flow(settings, settings.resolution)
    return Study(
        name="wake",
        case="reynolds",
        train_cases=settings.train_reynolds,
        test_cases=settings.test_reynolds,
        reference=wake_flow(settings, settings.resolution * settings.scale),
        source=source,
        grid=source.grid,
        begin=first_state,
        transfer=lambda state: frame_of(state, settings.scale),
        state=lambda frame: state_of(source, frame),
        names=NAMES,
        fields=lambda state: state.velocity,
        make_network=make_network,
        architecture=named(settings, "network", "features"),
        parameters=lambda label: {"viscosity": VISCOSITY_TIMES_LABEL / label},
        conditioning=conditioning,
        identity=named(settings, "sides", "resolution", "scale", "largest_speed"),
        diagnostics={"divergence": divergence_left},
        fit=fit_of_flow(1.0),
        published=PUBLISHED,
        shipped=shipped_weights("wake"),
        advice=f"it is faster than largest_speed ({settings.largest_speed:g}) or unstable, and a larger bound may help",
        label="Re {:.4g}".format,
    )


def make_network(network: str, features: int, key: Array) -> ResNet:
    """The network: "paper" as published, or "small"."""
    return small_or_published(3, 2, network, features, key)


def conditioning(flow: IncompressibleFlow) -> list[Array]:
    """What the network is told: the published code's number for the Reynolds number, 1e4 / viscosity."""
    return [1e4 / flow.viscosity]


def divergence_left(velocity: tuple[Field, ...]) -> Array:
    """What the projection leaves in each cell."""
    return divergence(velocity).values


def first_state(reference: IncompressibleFlow) -> FlowState:
    """A stream of speed one with a crosswise gust behind the cylinder, so that shedding begins at once."""
    gust = Box((48.0, 107.8), (51.2, 115.7))
    at_rest = reference.initial_state((0.0, 1.0)).velocity
    points = at_rest[0].coordinates()
    return reference.initial_state((jnp.where(gust.contains(points), 1.0, 0.0), 1.0))


def scenario_of(settings: Settings) -> Scenario:
    """The study, and the plain solver on finer grids."""
    return Scenario(wake_study(settings), finer=lambda factor: wake_flow(settings, factor * settings.resolution))


def run(scenario: Scenario, settings: Settings, run: Run) -> None:
    """Generate the data, train each arm, test it, write metrics."""
    run_scenario(scenario, settings, run)
    if settings.lasting:
        arms = {arm: corrected_of(scenario.study, settings, run, arm) for arm in settings.arms if arm != "none"}
        run_lasting(scenario.study, settings.lasting, settings.warmup, settings.scale, arms, run)


def report(scenario: Scenario, run: Run, draw: Draw, title: str) -> Table:
    """Figures and a table from what is on disk."""
    table = report_scenario(scenario, run, draw, title)
    return report_lasting(scenario.study, run) if run.settings.lasting else table


def draw(run: Run, shown: Mapping[str, Frames]) -> None:
    """Pictures and an animation of the vorticity of the first test flow."""
    spacing = (SIZE[0] / run.settings.resolution,) * 2
    vorticity = {name: plots.vorticity(flow["velocity_x"], flow["velocity_y"], spacing) for name, flow in shown.items()}
    frames = run.settings.frames
    times = np.arange(1, frames + 1)
    solid = [(np.asarray(CYLINDER.center), float(CYLINDER.radius))]
    draw_moments(run, "vorticity.png", vorticity, times, SIZE, spread(frames, 5), solid=solid)
    draw_moving(run, "wake.gif", vorticity, times, SIZE, frames // 80, solid=solid)


def duration(run: Run) -> str:
    """What the presets take as they are."""
    words = {
        "demo": "some four minutes on two cores",
        "book": "some fifty minutes on two cores",
        "lasting": "some four minutes on two cores",
    }
    return "" if PROGRAM.differing(run.preset, run.settings) else words.get(run.preset, "")


TITLE = "Wake flow: mean absolute error of the velocity"
PROGRAM = study_program("wake", Settings, PRESETS, scenario_of, draw, TITLE, run=run, report=report, duration=duration)
