r"""Decaying turbulence in two dimensions: a network's force makes a coarse grid follow a fine one.

A periodic square of $2 \pi$ with 128 x 128 cells, as published; the first fields, whose formula is not published, are
`random_vortices` that have decayed for a time of 2, at a viscosity of 1e-3. A step of the source is 0.01.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from diffphys import plots
from diffphys.experiments.studies import Frames, study_program
from diffphys.experiments.turbulence import (
    TurbulenceSettings,
    TurbulentCase,
    beside_reference,
    report_turbulence,
    run_turbulence,
    variations,
)
from diffphys.learning.study import USUAL_ARMS, Study, stages
from diffphys.scenarios import decaying_turbulence, random_vortices
from diffphys.scenarios.turbulence import BOX


# List, Chen, Thuerey 2022, table 1.
PUBLISHED = {
    "source": {"mse_64": 2.78e-3, "mse_512": 0.057},
    "smagorinsky": {"mse_64": 2.69e-3, "mse_512": 0.051},
    "supervised": {"mse_64": 1.52e-3, "mse_512": 0.369},
    "one-step": {"mse_64": 1.65e-3, "mse_512": 0.046},
    "unrolled": {"mse_64": 4.09e-4, "mse_512": 0.021},
}

PRESETS: dict[str, dict[str, Any]] = {
    "demo": {
        "arms": ("one-step", "unrolled"),
        "resolution": 64,
        "scale": 4,
        "warmup": 800,
        "train_frames": 400,
        "frames": 512,
        "features": 4,
        **stages((1, 400, 4e-3), (8, 400, 2e-3)),
        "batch": 1,
        "simulator": False,
    },
    # The same flow, a larger network, and training that looks three times as far ahead.
    "longer": {
        "arms": ("unrolled",),
        "resolution": 64,
        "scale": 4,
        "warmup": 800,
        "train_frames": 600,
        "frames": 512,
        "features": 6,
        **stages((1, 800, 4e-3), (4, 1200, 4e-3), (12, 900, 3e-3), (24, 250, 1.5e-3)),
        "batch": 1,
        "simulator": False,
    },
    # In a minute: six flows of a third of the test's length, and biases.
    "more-flows": {
        "arms": ("unrolled",),
        "resolution": 64,
        "scale": 4,
        "warmup": 800,
        "train_seeds": (1, 2, 3, 4, 5, 6),
        "train_frames": 160,
        "frames": 512,
        "features": 6,
        "bias": True,
        **stages((1, 600, 4e-3), (8, 400, 2e-3)),
        "batch": 1,
        "simulator": False,
    },
    # Six flows: a network that has seen two learns those by heart.
    "book": {
        "arms": USUAL_ARMS,
        "scale": 4,
        "warmup": 800,
        "train_seeds": (1, 2, 3, 4, 5, 6),
        "test_seeds": (101, 102, 103, 104),
        "train_frames": 400,
        "frames": 512,
        "features": 6,
        "bias": True,
        **stages((1, 600, 4e-3), (8, 1000, 3e-3), (24, 500, 1.5e-3), (48, 60, 7e-4)),
        "batch": 1,
    },
    "paper": {
        "arms": USUAL_ARMS,
        "scale": 8,
        "warmup": 1600,
        "train_frames": 1500,
        "frames": 512,
        "features": 16,
        "finer": (2, 4),
        **stages((1, 20000, 1e-3), (10, 20000, 3e-4), (30, 20000, 1e-4)),
        "batch": 1,
    },
}


def case_of(settings: TurbulenceSettings) -> TurbulentCase:
    """The flow: where there are fewer cells than published, they have the published size."""
    size = BOX * settings.resolution / 128
    return TurbulentCase(
        name="decaying-turbulence",
        flow=partial(decaying_turbulence, size=size),
        begin=lambda system: random_vortices(system.solver, system.key),
        padding=("periodic", "periodic"),
        published=PUBLISHED,
        size=(size, size),
    )


def energy_over_time(study: Study, shown: Mapping[str, Frames], times: Any) -> Sequence[plots.Panel]:
    """The kinetic energy of the first test case."""
    lines = {
        name: (times, sum((part**2).mean(axis=(1, 2)) for part in frames.values()) / 2)
        for name, frames in shown.items()
    }
    return [plots.Panel(**beside_reference(lines), x="time", y="kinetic energy")]


COMMON: dict[str, Any] = {"dt": 0.01, "loss": (10.0, 0.05, 1e-5, 0.0)}

PROGRAM = study_program(
    "decaying-turbulence",
    TurbulenceSettings,
    {name: COMMON | preset for name, preset in PRESETS.items()} | variations(COMMON | PRESETS["longer"], (1, 6)),
    case_of,
    energy_over_time,
    "Decaying turbulence: mean squared error",
    run=run_turbulence,
    report=report_turbulence,
)
