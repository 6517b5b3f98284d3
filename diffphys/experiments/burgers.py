r"""Burgers' equation with a random force in 1D: four ways to train a network that corrects a coarse solver.

    u_t + u u_x = nu u_xx + f(x, t),    f = sum_i A_i sin(omega_i t + k_i x + phi_i),    0 < x < 2 pi, periodic

with 20 waves: A from [-0.5, 0.5], omega from [-0.4, 0.4], phi from [0, 2 pi] and k from {3, 4, 5, 6}, and nu = 0.01
(Bar-Sinai, Hoyer, Hickey, Brenner: Learning data-driven discretizations for partial differential equations, PNAS 2019).
Each seed is a case with a force of its own, and starts from rest. The source takes first-order semi-Lagrangian steps on
32 cells, which smear the fronts; the reference takes the same on 16 times as many cells with 16 times as many steps.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffphys.experiments.studies import Frames, draw_over_line, study_program
from diffphys.grids import Field, Grid, Periodic
from diffphys.learning import mean_absolute_error
from diffphys.learning.study import USUAL_ARMS, Study, StudySettings, named, seeded_cases, stages
from diffphys.nets import ResNet
from diffphys.operators import coarsen
from diffphys.physics import Burgers
from diffphys.runs import Run, setting


LENGTH = 2 * np.pi
WAVES = 20


@dataclass(frozen=True)
class Settings(StudySettings):
    """Settings of the forced Burgers experiment; the presets give the lengths of data and training."""

    resolution: int = setting(32, help="cells of the source", minimum=8)
    scale: int = setting(16, help="how many times finer the reference is, in space and time", minimum=1)
    dt: float = setting(0.1, help="duration of a step of the source", above=0.0)
    viscosity: float = setting(0.01, help="nu", minimum=0.0)
    train_seeds: tuple[int, ...] = setting(tuple(range(1, 9)), help="the forces of the training cases", minimum=0)
    test_seeds: tuple[int, ...] = setting(
        (101, 102, 103, 104), help="the forces of the test cases", minimum=0, distinct=True
    )


COMMON = {"arms": USUAL_ARMS, "warmup": 1600}
PRESETS: dict[str, dict[str, Any]] = {
    "demo": COMMON
    | {"train_frames": 200, "frames": 400, "features": 16}
    | stages((1, 600, 4e-3), (4, 600, 4e-3), (16, 600, 2e-3)),
    "book": COMMON
    | {"train_frames": 400, "frames": 1000, "train_seeds": tuple(range(1, 33))}
    | stages((1, 2000, 4e-3), (4, 2000, 4e-3), (16, 2000, 2e-3), (32, 1000, 1e-3)),
}


class ForcedState(NamedTuple):
    """Velocity and time."""

    velocity: tuple[Field, ...]
    time: Array


class ForcedBurgers(eqx.Module):
    """A step of Burgers' equation, and then `dt f(x, t + dt)`.

    Args:
        solver: Without the force.
        amplitudes, frequencies, wave_numbers, phases: A, omega, k and phi, one number for each wave.
    """

    solver: Burgers
    amplitudes: Array
    frequencies: Array
    wave_numbers: Array
    phases: Array

    def __call__(self, state: ForcedState) -> ForcedState:
        time = state.time + self.solver.dt
        (velocity,) = self.solver(state.velocity)
        (x,) = velocity.coordinates()
        angles = self.frequencies * time + self.phases
        force = jnp.sin(angles + x[:, None] * self.wave_numbers) @ self.amplitudes
        return ForcedState((velocity.with_values(velocity.values + self.solver.dt * force),), time)


def forced_burgers(settings: Settings, finer: int) -> ForcedBurgers:
    """The step on a grid `finer` times finer than the source's, with no force yet."""
    grid = Grid((settings.resolution * finer,), (LENGTH,))
    # Beyond a Courant number of two the flow is NaN; the fronts stay below one.
    solver = Burgers(grid, settings.viscosity, settings.dt / finer, ((Periodic(), Periodic()),), largest_courant=2)
    return ForcedBurgers(solver, *(jnp.zeros(WAVES) for _ in range(4)))


def draw_force(seed: float) -> dict[str, np.ndarray]:
    """The waves of one case."""
    generator = np.random.default_rng(int(seed))
    return {
        "amplitudes": generator.uniform(-0.5, 0.5, WAVES).astype(np.float32),
        "frequencies": generator.uniform(-0.4, 0.4, WAVES).astype(np.float32),
        "wave_numbers": generator.integers(3, 7, WAVES).astype(np.float32),
        "phases": generator.uniform(0, 2 * np.pi, WAVES).astype(np.float32),
    }


def correlation(prediction: dict[str, Array], target: dict[str, Array]) -> Array:
    """Of the two velocities over the domain: 1 where one is the other, up to its size."""
    return jnp.corrcoef(prediction["velocity"], target["velocity"])[0, 1]


def burgers_study(settings: Settings) -> Study:
    """What the experiment compares."""
    source = forced_burgers(settings, 1)
    return Study(
        name="burgers",
        **seeded_cases(settings),
        reference=forced_burgers(settings, settings.scale),
        source=source,
        grid=source.solver.grid,
        begin=lambda reference: ForcedState(reference.solver.initial_state([0.0]), jnp.zeros(())),
        transfer=lambda state: {"velocity": coarsen(state.velocity[0], settings.scale).values},
        state=lambda frame: ForcedState(source.solver.initial_state([frame["velocity"]]), frame["time"]),
        names=("velocity",),
        fields=lambda state: state.velocity,
        make_network=partial(ResNet, 1, 1, blocks=3, kernel_size=5, axes=1, padding="periodic", first=False),
        architecture={"features": settings.features},
        parameters=draw_force,
        identity=named(settings, "resolution", "scale", "dt", "viscosity"),
        steps_per_frame=settings.scale,
        interval=settings.dt,
        metrics={"mae": mean_absolute_error, "correlation": correlation},
        advice="a smaller dt may be accepted",
    )


def draw(run: Run, shown: Mapping[str, Frames]) -> None:
    """The first test case."""
    flows = {name: flow["velocity"] for name, flow in shown.items()}
    draw_over_line(run, flows, run.settings.dt, LENGTH, "velocity")


TITLE = "Forced Burgers: mean absolute error of the velocity"
PROGRAM = study_program("burgers", Settings, PRESETS, burgers_study, draw, TITLE)
