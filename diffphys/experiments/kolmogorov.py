r"""Kolmogorov's flow: what the gradient through unrolled steps is worth (List et al. 2025).

A periodic square of $2 \pi$, driven by the force $f_x = \sin 6 y$; the viscosity is one over the Reynolds number. The
source has 32 x 32 cells and steps of 0.02 by PISO, the reference 128 x 128 and steps of 0.005, as published, which it
takes by Runge-Kutta 3. After each step a network of velocity and Reynolds number corrects the velocity.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np
from jax import Array

from diffphys import plots
from diffphys.experiments.studies import Frames, spread, study_program
from diffphys.experiments.turbulence import NAMES, frame_of
from diffphys.experiments.unrolling import (
    ARMS,
    UnrollingSettings,
    relative_error,
    report_unrolling,
    run_unrolling,
)
from diffphys.grids import Grid, Periodic
from diffphys.learning.study import Study, stages, with_seeds
from diffphys.nets import ResNet
from diffphys.physics import FlowState, IncompressibleFlow, SinusoidalForce
from diffphys.runs import Run, setting
from diffphys.scenarios import random_vortices
from diffphys.stepping import PISO, RungeKutta


LENGTH = 2 * np.pi
CELLS, SCALE = 32, 4
DT = 0.02


@dataclass(frozen=True)
class Settings(UnrollingSettings):
    """Settings of the experiment; the presets give the lengths of data and training."""

    train_reynolds: tuple[float, ...] = setting(
        (300.0, 400.0, 500.0, 700.0, 800.0, 900.0), help="Reynolds numbers of the training flows", above=0.0
    )
    test_reynolds: tuple[float, ...] = setting(
        (600.0, 1000.0), help="those of the test flows", above=0.0, distinct=True
    )


COMMON = {"arms": ARMS, "warmup": 4000, "frames": 300, "batch": 3, "starts": 20, "horizon": 100}
PRESETS: dict[str, dict[str, Any]] = {
    "demo": COMMON
    | {"train_reynolds": (300.0, 500.0, 800.0), "train_frames": 300, "seeds": 1, "features": 16}
    | stages((1, 400, 2e-3), (4, 300, 1e-3)),
    "book": COMMON
    | {"train_frames": 400, "seeds": 3, "features": 16}
    | stages((1, 200, 2e-3), (2, 150, 2e-3), (4, 300, 1e-3)),
    "paper": COMMON
    | {"train_frames": 6000, "frames": 1500, "seeds": 8, "features": 32}
    | stages((1, 144000, 1e-4), (2, 144000, 1e-5), (4, 144000, 1e-6)),
}


def kolmogorov_flow(finer: int, stepping: PISO | RungeKutta) -> IncompressibleFlow:
    """The flow on a grid so many times finer than the source's."""
    grid = Grid((CELLS * finer, CELLS * finer), (LENGTH, LENGTH))
    force = SinusoidalForce(1.0, 6)
    return IncompressibleFlow(grid, 1 / 500, DT / finer, Periodic(), stepping=stepping, forces=(force,))


def study_of(settings: Settings) -> Study:
    """What the experiment compares."""
    source = kolmogorov_flow(1, PISO())
    empty = source.initial_state()

    def state(frame: Mapping[str, Array]) -> FlowState:
        velocity = tuple(field.with_values(frame[name]) for name, field in zip(NAMES, empty.velocity, strict=True))
        return FlowState(velocity, empty.pressure.with_values(frame["pressure"]), {}, empty.time)

    study = Study(
        name="kolmogorov",
        case="reynolds",
        train_cases=settings.train_reynolds,
        test_cases=settings.test_reynolds,
        reference=kolmogorov_flow(SCALE, RungeKutta(3)),
        source=source,
        grid=source.grid,
        begin=begin,
        transfer=partial(frame_of, SCALE),
        state=state,
        names=NAMES,
        fields=lambda state: state.velocity,
        make_network=partial(ResNet, 3, 2, blocks=4, kernel_size=3, padding="periodic", first=False),
        architecture={"features": settings.features},
        parameters=lambda reynolds: {"viscosity": 1 / reynolds},
        conditioning=lambda flow: [1e-3 / flow.viscosity],
        steps_per_frame=SCALE,
        metrics={"relative_error": relative_error},
        shown_every=max(1, settings.frames // 50),
        label="Re {:g}".format,
        error="relative error of the velocity",
    )
    return with_seeds(study, settings, settings.seeds)


def begin(reference: IncompressibleFlow) -> FlowState:
    """Random vortices, others for each Reynolds number."""
    seed = int(round(1 / float(reference.viscosity)))
    return random_vortices(reference, jax.random.key(seed), wavenumber=4.0)


def draw(run: Run, shown: Mapping[str, Frames]) -> None:
    """Vorticity of the first test case at some times."""
    spacing = (LENGTH / CELLS,) * 2
    count = len(shown["reference"][NAMES[0]])
    chosen = spread(count, 5)[1:]
    rows = {}
    for name in ("reference", "source", *run.settings.arms):
        u, v = (shown[name][part][chosen] for part in NAMES)
        closed = np.concatenate([u, u[:, :1]], 1), np.concatenate([v, v[:, :, :1]], 2)
        rows[name] = plots.vorticity(*closed, spacing)
    every = max(1, run.settings.frames // 50)
    times = DT * every * (chosen + 1)
    run.save_figure("vorticity.png", plots.frames_figure(rows, times, (LENGTH, LENGTH), horizontal=0))


PROGRAM = study_program(
    "kolmogorov",
    Settings,
    PRESETS,
    study_of,
    draw,
    "Kolmogorov's flow: relative error of the velocity",
    run=run_unrolling,
    report=report_unrolling,
)
