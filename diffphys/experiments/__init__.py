"""The papers and studies that diffphys reproduces: one file each, listed here.

An experiment is one file in this directory that ends in one value:

    EXPERIMENT = Experiment("wake", Settings, {"demo": {"frames": 100}, "book": {}}, run, report)

and one line in `EXPERIMENTS` below:

    "wake": Listed("diffphys.experiments.wake", "what a reader of the list should know"),

The line holds what a list shows, so that listing imports no experiment (and with it JAX and the simulators).
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from diffphys.errors import InputError
from diffphys.runs import Listed, Run, make_settings, nearest, parse_overrides


@dataclass(frozen=True)
class Experiment:
    """An experiment that the command line can run.

    Attributes:
        name: its name in `EXPERIMENTS`.
        settings: a frozen dataclass whose fields are made by `diffphys.runs.setting`.
        presets: for each preset the settings in which it differs from the defaults.
        run: `run(settings, run)` does all the work and writes through `run`. Called again on the same directory after
            an interruption or kill -9, it goes on from its checkpoints with the same bits.
        report: `report(run)` makes tables and figures from what is on disk, and may return a Rich renderable (a table)
            that the command line prints.
    """

    name: str
    settings: type
    presets: Mapping[str, Mapping[str, Any]]
    run: Callable[[Any, Run], None]
    report: Callable[[Run], Any]

    def __post_init__(self):
        """Refuse a preset with names or values that the settings do not accept."""
        for overrides in self.presets.values():
            make_settings(self.settings, overrides)

    def choose(self, preset: str, assignments: list[str]) -> Any:
        """The settings of a preset with the user's `key=value` texts on top.

        Raises:
            InputError: an unknown preset or setting, or a value that is not accepted.
        """
        if preset not in self.presets:
            raise InputError(f'{self.name} has no preset "{preset}": {nearest(preset, self.presets)}')
        overrides = parse_overrides(self.settings, assignments)
        return make_settings(self.settings, {**self.presets[preset], **overrides})


EXPERIMENTS: dict[str, Listed] = {
    "wake": Listed(
        "diffphys.experiments.wake", "2D cylinder wake: a network, trained through a coarse solver, corrects it"
    ),
    "toy-trajectories": Listed(
        "diffphys.experiments.toy_trajectories", "improved updates: gradient, Newton, inverse simulator in the plane"
    ),
    "linear-chain": Listed(
        "diffphys.experiments.linear_chain", "half-inverse gradients: a network steers two coupled oscillators"
    ),
    "hig-toy": Listed("diffphys.experiments.hig_toy", "half-inverse gradients against saturated neurons"),
    "exponential": Listed("diffphys.experiments.exponential", "scale-invariant training: inverting the exponential"),
    "sine": Listed("diffphys.experiments.sine", "scale-invariant training: a stretched and rotated problem"),
    "heat-inverse": Listed("diffphys.experiments.heat_inverse", "scale-invariant training: heat conduction undone"),
    "poisson-inverse": Listed(
        "diffphys.experiments.poisson_inverse", "scale-invariant training: from potential to source"
    ),
    "swirl": Listed("diffphys.experiments.swirl", "scale-invariant training: a velocity from two images of a cloud"),
    "hig-poisson": Listed("diffphys.experiments.hig_poisson", "half-inverse gradients without a Jacobian: Poisson"),
    "quantum-dipole": Listed("diffphys.experiments.quantum_dipole", "half-inverse gradients: a quantum particle"),
    "oscillators": Listed("diffphys.experiments.oscillators", "half-inverse gradients: nonlinear oscillators"),
}


def load_experiment(name: str) -> Experiment:
    """Import an experiment by its name.

    Raises:
        InputError: there is no experiment of this name.
    """
    if name not in EXPERIMENTS:
        raise InputError(f'there is no experiment "{name}": {nearest(name, EXPERIMENTS)}')
    return importlib.import_module(EXPERIMENTS[name].module).EXPERIMENT
