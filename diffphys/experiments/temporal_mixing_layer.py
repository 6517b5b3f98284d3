r"""A mixing layer that grows in time: a network's force makes a coarse grid follow a fine one.

Two streams in a domain of $40 \pi \times 20 \pi$ on 128 x 64 cells, periodic along the streams, as published; at a
Reynolds number of 250 by the vorticity thickness, as published. The published perturbation is not known: here it is
`perturbed_streams` with random phases. A step of the source is 0.1: within 512 of them the layer rolls up.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

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
from diffphys.learning.turbulence import momentum_thickness, vorticity_thickness
from diffphys.scenarios import perturbed_streams, temporal_mixing_layer
from diffphys.scenarios.turbulence import LAYER


# List, Chen, Thuerey 2022, tables 3 and 6: unrolled over 10 ("squares-only": with that loss) and 60 steps, and with
# gradients through 10, 20 and, as "unrolled", 30 of those.
PUBLISHED = {
    "source": {"mse_512": 1.25e-3},
    "squares-only": {"mse_512": 3.19e-4},
    "unrolled": {"mse_512": 1.93e-5},
    "window-10": {"mse_512": 2.36e-5},
    "window-20": {"mse_512": 2.19e-5},
}

PRESETS: dict[str, dict[str, Any]] = {
    "demo": {
        "arms": ("one-step", "unrolled"),
        "resolution": 64,
        "warmup": 4,
        "train_frames": 513,
        "frames": 512,
        "features": 4,
        **stages((1, 400, 4e-3), (4, 400, 4e-3), (16, 300, 2e-3)),
        "batch": 2,
        "simulator": False,
    },
    # The same flow, a larger network, and training that looks twice as far ahead.
    "longer": {
        "arms": ("unrolled",),
        "resolution": 64,
        "warmup": 4,
        "train_frames": 513,
        "frames": 512,
        "features": 6,
        **stages((1, 800, 4e-3), (4, 1000, 4e-3), (16, 800, 2e-3), (32, 300, 1e-3)),
        "batch": 2,
        "simulator": False,
    },
    "book": {
        "arms": USUAL_ARMS,
        "warmup": 4,
        "train_seeds": (1, 2, 3, 4),
        "train_frames": 513,
        "frames": 512,
        "features": 6,
        "bias": True,
        **stages((1, 800, 4e-3), (6, 1000, 4e-3), (24, 700, 2e-3), (48, 80, 1e-3)),
        "batch": 1,
        "squares_only": True,
    },
    "paper": {
        "arms": USUAL_ARMS,
        "scale": 8,
        "warmup": 8,
        "train_frames": 1500,
        "frames": 512,
        "features": 16,
        "finer": (2, 4),
        **stages((1, 20000, 1e-3), (10, 20000, 3e-4), (30, 20000, 1e-4), (60, 20000, 5e-5)),
        "window": 30,
        "batch": 1,
    },
}


def case_of(settings: TurbulenceSettings) -> TurbulentCase:
    """The flow: where there are fewer cells than published, they have the published size."""
    size = (LAYER[0] * settings.resolution / 128, LAYER[1] * settings.resolution / 128)
    return TurbulentCase(
        name="temporal-mixing-layer",
        flow=partial(temporal_mixing_layer, size=size),
        begin=lambda system: perturbed_streams(system.solver, system.key),
        padding=("periodic", "edge"),
        published=PUBLISHED,
        size=size,
    )


def thicknesses(study: Study, shown: Mapping[str, Frames], times: Any) -> Sequence[plots.Panel]:
    """Vorticity and momentum thickness of the first test case over time."""
    y = np.asarray(study.grid.centers()[1]).reshape(-1)
    profiles = {name: frames["velocity_x"].mean(axis=1) for name, frames in shown.items()}
    return [
        plots.Panel(
            **beside_reference({name: (times, np.asarray(thickness(one, y))) for name, one in profiles.items()}),
            x="time",
            y=label,
        )
        for label, thickness in (
            ("vorticity thickness", vorticity_thickness),
            ("momentum thickness", momentum_thickness),
        )
    ]


COMMON: dict[str, Any] = {"dt": 0.1, "loss": (100.0, 2.0, 0.05, 0.0)}

PROGRAM = study_program(
    "temporal-mixing-layer",
    TurbulenceSettings,
    {name: COMMON | preset for name, preset in PRESETS.items()} | variations(COMMON | PRESETS["longer"], (4, 16)),
    case_of,
    thicknesses,
    "Temporal mixing layer: mean squared error",
    run=run_turbulence,
    report=report_turbulence,
)
