"""Unsteady wake flow in 3D: a coarse solver that carries a network (Um et al. 2020, section 4).

A cylinder of radius 10 stands along z at (50, 50) in a domain of 100 x 200 x 100; the stream comes from below and is
faster in some parts of the span than in others (`diffphys.scenarios.cylinder_wake_3d`). Reference and source make one
step per unit of time both. Training sees five Reynolds numbers, testing others; one of them is the published one.
Reynolds numbers are the paper's labels: the viscosity is `6.1035 / label`, the same on both grids.

The published errors are known to us, the published domain, grids, sides and frames are not: here they are those of the
wake in 2D, with a span as long as the domain is wide. Only reductions can be compared.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from diffphys import plots
from diffphys.experiments.solver_in_the_loop import (
    Scenario,
    ScenarioSettings,
    fit_of_flow,
    frame_of,
    report_scenario,
    run_scenario,
    shipped_weights,
    small_or_published,
    state_of,
)
from diffphys.experiments.studies import Frames, draw_moments, draw_moving, spread, study_program
from diffphys.experiments.wake import conditioning, divergence_left
from diffphys.learning import Recovery
from diffphys.learning.study import PLAIN_ADAM, Study, finer_grids, load_cases, named, stages
from diffphys.nets import ResNet
from diffphys.physics import IncompressibleFlow
from diffphys.runs import Run, setting
from diffphys.scenarios import (
    CYLINDER,
    SIZE,
    SPAN,
    VISCOSITY_TIMES_LABEL,
    cylinder_wake_3d,
    first_wake_3d,
)


# The paper's first figure, and a talk on it for the one-step arm, at Re 468.8.
PUBLISHED = {"source": 0.167, "one-step": 0.144, "unrolled": 0.130}

NAMES = ("velocity_x", "velocity_y", "velocity_z")


@dataclass(frozen=True)
class Settings(ScenarioSettings):
    """Settings of the wake in 3D; the presets give the lengths of data and training."""

    resolution: int = setting(16, help="cells of the source across the stream and along the span", minimum=8)
    scale: int = setting(4, help="how many times finer the reference is", minimum=1)
    wave: float = setting(0.2, help="by how much the stream's speed varies over the span", minimum=0.0, maximum=0.9)
    train_reynolds: tuple[float, ...] = setting(
        (146.484375, 292.96875, 585.9375, 1171.875, 2343.75), help="Reynolds numbers of the training flows", above=0.0
    )
    test_reynolds: tuple[float, ...] = setting(
        (468.75, 97.65625, 195.3125, 781.25, 1562.5),
        help="Reynolds numbers of the test flows",
        above=0.0,
        distinct=True,
    )
    largest_speeds: tuple[float, float, float] = setting(
        (2.2, 2.8, 1.5), help="bounds on the velocity's components, for the faster form of the advection", above=0.0
    )
    network: str = setting(
        "small",
        help="small: three residual blocks of 3x3x3; paper: five of 5x5x5, as those of the wake in 2D",
        choices=("small", "paper"),
    )


LENGTHS: dict[str, Any] = {"warmup": 1000, "train_frames": 251, "frames": 250, "features": 16}
PRESETS: dict[str, dict[str, Any]] = {
    "demo": {
        "arms": ("one-step", "unrolled"),
        "scale": 2,
        "warmup": 300,
        "train_reynolds": (146.484375, 585.9375, 2343.75),
        "test_reynolds": (468.75, 1171.875),
        "train_frames": 151,
        "features": 8,
        **stages((1, 200, 4e-3), (4, 150, 4e-3)),
        "decay": 0.02,
    },
    "book": {
        "arms": ("unrolled",),
        "warmup": 300,
        "train_reynolds": (146.484375, 585.9375, 2343.75),
        "test_reynolds": (468.75, 1171.875),
        "features": 12,
        **stages((1, 300, 4e-3), (4, 300, 4e-3), (8, 300, 4e-3), (16, 250, 3e-3), (24, 60, 1e-3)),
        "batch": 2,
        "finer": (2, 3),
    },
    # Five flows in place of three, and training that looks farther ahead; beside it training on single steps.
    "long": {
        "arms": ("one-step", "unrolled"),
        "warmup": 300,
        "test_reynolds": (468.75, 781.25),  # training sees 1171.875
        "features": 12,
        **stages((1, 400, 4e-3), (4, 400, 4e-3), (8, 300, 4e-3), (16, 300, 3e-3), (32, 80, 1e-3)),
        "batch": 2,
        "finer": (2, 3),
        "shift": True,
    },
    "paper": {
        "arms": ("one-step", "unrolled"),
        "resolution": 32,
        "network": "paper",
        "features": 32,
        "frames": 499,
        "train_frames": 500,
        **stages((16, 60000, 1e-4)),
        **PLAIN_ADAM,
    },
    "evaluate": {"weights": "shipped", "warmup": 300, "test_reynolds": (468.75, 1171.875)},
}


def wake_flow(settings: Settings, resolution: int) -> IncompressibleFlow:
    """The flow on a grid with `resolution` cells across the stream."""
    return cylinder_wake_3d(resolution, wave=settings.wave, largest_speeds=settings.largest_speeds)


def wake_study(settings: Settings) -> Study:
    """What the experiment compares."""
    source = wake_flow(settings, settings.resolution)
    return Study(
        name="wake-3d",
        case="reynolds",
        train_cases=settings.train_reynolds,
        test_cases=settings.test_reynolds,
        reference=wake_flow(settings, settings.resolution * settings.scale),
        source=source,
        grid=source.grid,
        begin=first_wake_3d,
        transfer=lambda state: frame_of(state, settings.scale),
        state=lambda frame: state_of(source, frame),
        names=NAMES,
        fields=lambda state: state.velocity,
        make_network=make_network,
        architecture=named(settings, "network", "features"),
        parameters=lambda label: {"viscosity": VISCOSITY_TIMES_LABEL / label},
        conditioning=conditioning,
        identity=named(settings, "resolution", "scale", "wave", "largest_speeds"),
        recovery=Recovery(),
        fit=fit_of_flow(1.0),
        diagnostics={"divergence": divergence_left},
        published=PUBLISHED,
        shipped=shipped_weights("wake-3d"),
        advice="it is faster than largest_speeds or unstable, and larger bounds may help",
        label="Re {:.4g}".format,
    )


def make_network(network: str, features: int, key: Array) -> ResNet:
    """From the velocity and the Reynolds number to a correction of the velocity; the span goes round."""
    return small_or_published(4, 3, network, features, key, padding=("zero", "zero", "periodic"), axes=3)


def scenario_of(settings: Settings) -> Scenario:
    """The study, and the plain solver on finer grids."""
    return Scenario(wake_study(settings), finer=lambda factor: wake_flow(settings, factor * settings.resolution))


def three_dimensional(frames: Mapping[str, Array]) -> dict[str, Array]:
    """How much of the flow is of the third dimension, for each case of frames (cases, times, *points).

    `spanwise` is the root mean square of the velocity along the span, `varying` that of what the others differ from
    their mean over the span.
    """
    places, others = tuple(range(1, 5)), ("velocity_x", "velocity_y")
    varying = [frames[name] - jnp.mean(frames[name], axis=-1, keepdims=True) for name in others]
    return {
        "spanwise": jnp.sqrt(jnp.mean(frames["velocity_z"] ** 2, axis=places)),
        "varying": jnp.sqrt(sum((jnp.mean(part**2, axis=places) for part in varying), jnp.zeros(()))),
    }


def run(scenario: Scenario, settings: Settings, run: Run) -> None:
    """Generate the data, train each arm, test it, write metrics."""
    run_scenario(scenario, settings, run)
    test = load_cases(scenario.study, settings, run, scenario.study.test_cases, settings.frames + 1)
    run.write_metrics(run.read_metrics() | {"reference_in_3d": three_dimensional(test.frames)})


def at_centers(values: np.ndarray, axis: int, cells: int) -> np.ndarray:
    """The means of the faces beside each center, along an axis of frames (times, *points) that may be periodic."""
    below = np.take(values, range(cells), axis)
    return (below + np.take(values, np.arange(1, cells + 1) % values.shape[axis], axis)) / 2


def draw(run: Run, shown: Mapping[str, Frames]) -> None:
    """Pictures and an animation of two planes of the first test flow, across the span and along it."""
    resolution, frames = run.settings.resolution, run.settings.frames
    spacing = (SIZE[0] / resolution,) * 2
    left_out = finer_grids(run.settings.finer)
    flows = {name: flow for name, flow in shown.items() if name not in left_out}
    middle = resolution // 2
    across = {
        name: plots.vorticity(flow["velocity_x"][..., middle], flow["velocity_y"][..., middle], spacing)
        for name, flow in flows.items()
    }
    # Along the span, seen against the stream's side: the velocity along the span in the cylinder's own plane.
    along = {name: at_centers(flow["velocity_z"], 3, resolution)[:, middle] for name, flow in flows.items()}
    times, some = np.arange(1, frames + 1), spread(frames, 4)
    solid = [(np.asarray(CYLINDER.center), float(CYLINDER.radius))]
    side: dict[str, Any] = {"label": "velocity along the span", "horizontal": 0, "at": "cells"}
    for picture, animation, flow, size, look in (
        ("vorticity.png", "wake-3d.gif", across, SIZE, {"solid": solid}),
        ("span.png", "span.gif", along, (SIZE[1], SPAN), side),
    ):
        draw_moments(run, picture, flow, times, size, some, **look)
        draw_moving(run, animation, flow, times, size, frames // 60, **look)


TITLE = "Wake flow in 3D: mean absolute error of the velocity"
PROGRAM = study_program(
    "wake-3d",
    Settings,
    {name: LENGTHS | preset for name, preset in PRESETS.items()},
    scenario_of,
    draw,
    TITLE,
    run=run,
    report=report_scenario,
)
