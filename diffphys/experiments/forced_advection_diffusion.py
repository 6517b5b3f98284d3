r"""A forced velocity that carries itself in 2D: a coarse solver that carries a network (Um et al. 2020).

    dv/dt + v . grad v = nu laplacian(v) + g(x, t),    g = sum_i a_i sin(k_i . x + omega_i t + phi_i),    nu = 0.1

in a periodic box of 32 x 32, with 20 waves: the components of a from [-0.15, 0.15], |k| from [0.8, 1.6] in any
direction, omega from [-0.4, 0.4], phi from [0, 2 pi]. The waves do not fit into the box, so that the force jumps where
the box repeats itself, as it does in the published code. Each seed is a case with a force and a first velocity of its
own. The reference runs on 128 x 128 cells, the source on 32 x 32, both with steps of 0.1: semi-Lagrangian advection,
exact diffusion, and then `dt g(t)`.

The network sees the velocity and the force. In the published code it is trained with the force of the step that it
corrects, and tested with that of the next one. Here it is tested as it is trained; the arm `next-force` is the network
of the arm `unrolled`, tested as published.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffphys.experiments.burgers import ForcedState
from diffphys.experiments.smooth_noise import random_waves
from diffphys.experiments.solver_in_the_loop import (
    Scenario,
    ScenarioSettings,
    at_resolution,
    report_scenario,
    run_scenario,
    small_or_published,
)
from diffphys.experiments.studies import Frames, draw_moments, draw_moving, spread, study_program
from diffphys.experiments.unrolling import relative_error
from diffphys.grids import Field, Grid, Periodic, face_offset
from diffphys.learning import Corrected, Normalization, mean_absolute_error
from diffphys.learning.study import (
    PLAIN_ADAM,
    Fit,
    Study,
    evaluate,
    load_cases,
    load_network,
    means,
    named,
    save_evaluation,
    seeded_cases,
    stages,
)
from diffphys.nets import ResNet
from diffphys.operators import Advection, CubicSemiLagrangian, SemiLagrangian, coarsen, exact_diffusion
from diffphys.runs import Run, setting


SIZE = (32.0, 32.0)
WAVES = 20
NAMES = ("velocity_x", "velocity_y")
ALL_ARMS = ("supervised", "least-squares", "one-step", "detached", "unrolled")
# Table 1 of the paper, from memory: see docs/results/forced-advection-diffusion.md.
PUBLISHED = {"source": 0.248, "least-squares": 0.218, "one-step": 0.159, "unrolled": 0.152}
# The standard deviation of the absolute value of a component of the force, by which the published code divides it: that
# of a normal variable whose variance is the sum of those of 20 waves, U(-0.15, 0.15) times a sine.
FORCE_SCALE = float(np.sqrt((1 - 2 / np.pi) * WAVES * 0.3**2 / 12 / 2))


@dataclass(frozen=True)
class Settings(ScenarioSettings):
    """Settings of the experiment; lengths and numbers of the system are the published ones."""

    warmup: int = setting(30, help="steps of the reference before its first frame", minimum=1)
    train_frames: int = setting(200, help="frames of each training case", minimum=2)
    frames: int = setting(199, help="frames of each test case that follow the first", minimum=1)
    resolution: int = setting(32, help="cells of the source along each axis", minimum=8)
    scale: int = setting(4, help="how many times finer the reference is", minimum=1)
    dt: float = setting(0.1, help="duration of a step, of source and reference", above=0.0)
    viscosity: float = setting(0.1, help="nu", minimum=0.0)
    train_seeds: tuple[int, ...] = setting(
        tuple(range(10)), help="the forces of the training cases", minimum=0, distinct=True
    )
    test_seeds: tuple[int, ...] = setting(
        tuple(range(100, 105)), help="the forces of the test cases", minimum=0, distinct=True
    )
    network: str = setting(
        "small",
        help="small: three residual blocks of 3x3 (49,762 parameters at 32 features); paper: five of 5x5 (261,154)",
        choices=("small", "paper"),
    )
    batch: int = setting(5, help="windows per update", minimum=1)


PRESETS: dict[str, dict[str, Any]] = {
    "demo": {
        "arms": ("supervised", "least-squares", "one-step", "unrolled"),
        **stages((1, 400, 4e-3), (4, 300, 4e-3)),
        "decay": 0.02,
    },
    "book": {
        "arms": ALL_ARMS,
        **stages((1, 400, 4e-3), (4, 400, 4e-3), (8, 100, 2e-3)),
        "decay": 0.02,
        "seeds": 3,
        "shift": True,
        "finer": (2, 3),
    },
    "paper": {
        "arms": ("one-step", "unrolled"),
        "network": "paper",
        **stages((4, 39200, 1e-4)),
        **PLAIN_ADAM,
    },
}


class ForcedAdvectionDiffusion(eqx.Module):
    """A step: the velocity carries itself, diffuses exactly, and then `dt g(t)` is added.

    Args:
        grid: Of two periodic axes.
        viscosity, dt: nu, and the duration of a step.
        points: The force of a face is its mean over so many points along the face, which are the faces of a grid that
            is so many times finer: source and reference then have the same force, as `coarsen` transfers it.
        amplitudes, wave_vectors: a and k, (2, waves).
        frequencies, phases: omega and phi, (waves,).
        seed: Of the first velocity.
        scheme: Of advection.
    """

    grid: Grid = eqx.field(static=True)
    viscosity: Array
    dt: Array
    points: int = eqx.field(static=True)
    amplitudes: Array
    wave_vectors: Array
    frequencies: Array
    phases: Array
    seed: Array
    scheme: Advection = eqx.field(static=True)

    def __call__(self, state: ForcedState) -> ForcedState:
        carried = [self.scheme.carry(part, state.velocity, self.dt, None) for part in state.velocity]
        velocity = [exact_diffusion(part, self.viscosity, self.dt) for part in carried]
        force = self.force(state.time)
        pushed = (part.with_values(part.values + self.dt * g) for part, g in zip(velocity, force, strict=True))
        return ForcedState(tuple(pushed), state.time + self.dt)

    def force(self, time: Array) -> tuple[Array, ...]:
        """g on the faces of each axis.

        The sine of a sum is a sum of products of numbers that depend on x or on y alone: two products of matrices.
        """
        found = []
        offsets = (np.arange(self.points) - (self.points - 1) / 2) / self.points
        for axis in range(2):
            x, y = self.grid.coordinates(face_offset(self.grid, axis), periodic=(True, True))
            kx, ky = self.wave_vectors
            angles_x = x.reshape(-1, 1) * kx + (self.frequencies * time + self.phases)
            angles_y = y.reshape(-1, 1) * ky
            # The mean of e^(i k s) over points s that lie evenly about zero.
            along_face = self.wave_vectors[1 - axis] * self.grid.spacing[1 - axis]
            size = self.amplitudes[axis] * jnp.mean(jnp.cos(offsets[:, None] * along_face), axis=0)
            found.append(
                (size * jnp.sin(angles_x)) @ jnp.cos(angles_y).T + (size * jnp.cos(angles_x)) @ jnp.sin(angles_y).T
            )
        return tuple(found)

    def state(self, velocity: Sequence[Array] | Array, time: Array) -> ForcedState:
        """A state from arrays (cells, cells)."""
        conditions = ((Periodic(), Periodic()),) * 2
        return ForcedState(
            tuple(
                Field(part, self.grid, face_offset(self.grid, axis), conditions) for axis, part in enumerate(velocity)
            ),
            time,
        )


def solver_on(settings: Settings, finer: int, scheme: Advection) -> ForcedAdvectionDiffusion:
    """The step on a grid `finer` times finer than the source's, with no force yet."""
    cells = settings.resolution * finer
    # A grid whose faces are no union of the reference's, as one three times finer, takes the force at their middles.
    points = max(1, settings.scale // finer)
    zeros, pairs = jnp.zeros(WAVES), jnp.zeros((2, WAVES))
    return ForcedAdvectionDiffusion(
        Grid((cells, cells), SIZE),
        jnp.asarray(settings.viscosity, float),
        jnp.asarray(settings.dt, float),
        points,
        pairs,
        pairs,
        zeros,
        zeros,
        jnp.zeros(()),
        scheme,
    )


def draw_case(seed: float) -> dict[str, Any]:
    """The waves of one case, as published, and its seed."""
    generator = np.random.default_rng(int(seed))
    angles = generator.uniform(0, np.pi, WAVES)
    lengths = 0.8 * (1 + generator.uniform(0, 1, WAVES))
    return {
        "amplitudes": generator.uniform(-0.15, 0.15, (2, WAVES)).astype(np.float32),
        "wave_vectors": (lengths * np.stack([np.cos(angles), np.sin(angles)])).astype(np.float32),
        "frequencies": generator.uniform(-0.4, 0.4, WAVES).astype(np.float32),
        "phases": generator.uniform(0, 2 * np.pi, WAVES).astype(np.float32),
        "seed": float(seed),
    }


def first_state(reference: ForcedAdvectionDiffusion) -> ForcedState:
    """Noise whose spectrum falls like (1 + |k|)^-8, k in waves per cell of the reference, as published."""
    keys = jax.random.split(jax.random.key(reference.seed.astype(int)))
    velocity = [2 * random_waves(key, reference.grid.cells, 8.0) for key in keys]
    return reference.state(velocity, jnp.zeros(()))


def force_of_step(solver: ForcedAdvectionDiffusion, state: ForcedState, steps_ahead: int = 0) -> list[Array]:
    """What the network sees of the force: that of the step that led to the state, or of a later one."""
    force = solver.force(state.time + (steps_ahead - 1) * solver.dt)
    return [part / FORCE_SCALE for part in force]


force_of_next_step = partial(force_of_step, steps_ahead=1)


def make_network(network: str, features: int, key: Array) -> ResNet:
    """The network: "paper" as published, or "small"; periodic, where the published one sees zeros beyond the box."""
    return small_or_published(4, 2, network, features, key, padding="periodic")


def forced_study(settings: Settings) -> Study:
    """What the experiment compares."""
    # Beyond a Courant number of one the source would be NaN, of two the reference: a speed of 10 or 5.
    source = solver_on(settings, 1, SemiLagrangian(1))

    def couple(network: Any, normalization: Normalization, beside: Any = force_of_step) -> Corrected:
        return Corrected(source, network, normalization, fields=_velocity, beside=beside)

    return Study(
        name="forced-advection-diffusion",
        **seeded_cases(settings),
        reference=solver_on(settings, settings.scale, SemiLagrangian(2)),
        source=source,
        grid=source.grid,
        begin=first_state,
        transfer=lambda state: velocity_on(state, settings.scale),
        state=lambda frame: source.state([frame[name] for name in NAMES], frame["time"]),
        names=NAMES,
        fields=_velocity,
        make_network=make_network,
        architecture=named(settings, "network", "features"),
        parameters=draw_case,
        identity=named(settings, "resolution", "scale", "dt", "viscosity"),
        interval=settings.dt,
        metrics={"mae": mean_absolute_error, "relative": relative_error},
        couple=couple,
        # As published: the weight is one over dt, and corrections may diverge, as this velocity does.
        fit=Fit(_velocity, weight=1 / settings.dt),
        published=PUBLISHED,
        advice="a smaller dt may be accepted",
    )


def _velocity(state: ForcedState) -> tuple[Field, ...]:
    return state.velocity


def velocity_on(state: ForcedState, factor: int) -> dict[str, Array]:
    """The velocity of a state on a grid so many times coarser, by name."""
    return {name: coarsen(part, factor).values for name, part in zip(NAMES, state.velocity, strict=True)}


def scenario_of(settings: Settings) -> Scenario:
    """The study, and the plain solver on finer grids, with the same step."""

    def start(finer: ForcedAdvectionDiffusion, state: ForcedState) -> ForcedState:
        empty = finer.state(jnp.zeros((2, *finer.grid.cells)), state.time)
        parts = zip(state.velocity, empty.velocity, strict=True)
        return finer.state([at_resolution(part, like).values for part, like in parts], state.time)

    return Scenario(
        forced_study(settings),
        # Two cells a step, as the reference: a speed of 10 on a grid twice finer, of 6.7 on one three times finer.
        finer=lambda factor: solver_on(settings, factor, SemiLagrangian(2)),
        start=start,
        frame=lambda state, factor: velocity_on(state, factor) | {"time": state.time},
    )


def run(scenario: Scenario, settings: Settings, run: Run) -> None:
    """Generate the data, train each arm, test it, measure what the settings ask for, and test what needs no training;
    write metrics.
    """
    run_scenario(scenario, settings, run)
    study, metrics = scenario.study, run.read_metrics()
    test = load_cases(study, settings, run, study.test_cases, settings.frames + 1)
    more = {"cubic": solver_on(settings, 1, CubicSemiLagrangian())}
    if "unrolled" in settings.arms:
        weights = settings.weights or str(run.checkpoint_path("network-unrolled"))
        trained = study.corrected(*load_network(study, weights))
        more["next-force"] = dataclasses.replace(trained, beside=force_of_next_step)
    for name, step in more.items():
        run.leave_if_asked()
        found = evaluate(study, step, test)
        save_evaluation(study, run, name, found, {}, settings.frames)
        metrics["arms"][name] = means(study, found)
    run.write_metrics(metrics)


def draw(run: Run, shown: Mapping[str, Frames]) -> None:
    """Pictures and an animation of the first test case's velocity along x."""
    frames = run.settings.frames
    times = run.settings.dt * np.arange(1, frames + 1)
    # Supervised training is so far off that nothing could be seen beside it; detached looks as unrolled does.
    drawn = ("reference", "source", "one-step", "unrolled" if "unrolled" in shown else "detached")
    velocity = {name: flow["velocity_x"] for name, flow in shown.items() if name in drawn}
    look: dict[str, Any] = {"label": "velocity along x", "at": "cells", "horizontal": 0}
    draw_moments(run, "velocity.png", velocity, times, SIZE, spread(frames, 5), errors=True, **look)
    draw_moving(run, "velocity.gif", velocity, times, SIZE, frames // 80, **look)


TITLE = "Forced advection and diffusion: mean absolute error of the velocity"
PROGRAM = study_program(
    "forced-advection-diffusion", Settings, PRESETS, scenario_of, draw, TITLE, run=run, report=report_scenario
)
