r"""Smoke that rises in a closed box: a coarse solver that carries a network, and how far ahead training has to look.

    dv/dt + v . grad v = -grad p + nu laplacian(v) + b s e_y,    div v = 0,    ds/dt + v . grad s = 0

A box of 100 x 100 whose walls let the flow slip. Three round clouds of smoke start at rest in its lower half, rise,
meet the lid and spread below it; where they are and how large is what cases differ in. The reference solver runs on
128 x 128 cells, the source solver on 32 x 32, with one step per unit of time both.

These are the equations of Um et al. (2020), section 4. Their domain, grid, viscosity, frames and cases are not known to
us: here they are such that the source's relative error is about a quarter, and only reductions can be compared.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffphys.experiments.solver_in_the_loop import (
    Scenario,
    ScenarioSettings,
    fit_of_flow,
    frame_of,
    report_scenario,
    run_scenario,
    shipped_weights,
    small_or_published,
    state_at,
    state_of,
    velocity_of,
)
from diffphys.experiments.studies import Frames, draw_moments, draw_moving, spread, study_program
from diffphys.grids import Field, Grid, Wall
from diffphys.learning import Corrected, Normalization, Recovery, mean_absolute_error
from diffphys.learning.corrected import as_it_is
from diffphys.learning.study import PLAIN_ADAM, Study, finer_grids, named, seeded_cases, stages
from diffphys.nets import ResNet
from diffphys.operators import SemiLagrangian, divergence
from diffphys.physics import Buoyancy, FlowState, IncompressibleFlow, PassiveScalar
from diffphys.runs import Run, setting


SIZE = 100.0
CLOUDS = 3
EDGE = 1.5  # over which a cloud fades, a bit less than two cells of the reference
VELOCITY = ("velocity_x", "velocity_y")
NAMES = (*VELOCITY, "smoke")

# Reductions of the source's error, known from a talk on the paper: supervised on single steps, 4 and 128 steps ahead.
AHEAD = {1: 0.29, 4: 0.41, 128: 0.60}


@dataclass(frozen=True)
class Settings(ScenarioSettings):
    """Settings of the buoyancy experiment; the presets give the lengths of data and training."""

    resolution: int = setting(32, help="cells of the source solver along each axis", minimum=8)
    scale: int = setting(4, help="how many times finer the reference is", minimum=1)
    viscosity: float = setting(0.1, help="kinematic viscosity, the same on both grids", minimum=0.0)
    buoyancy: float = setting(0.05, help="acceleration upward where there is nothing but smoke", minimum=0.0)
    train_seeds: tuple[int, ...] = setting(tuple(range(1, 33)), help="the clouds of the training cases", minimum=0)
    test_seeds: tuple[int, ...] = setting(
        (101, 102, 103, 104, 105), help="the clouds of the test cases", minimum=0, distinct=True
    )
    largest_speed: float = setting(3.0, help="bound on the velocity, for the faster form of the advection", above=0.0)
    corrects: str = setting(
        "everything",
        help="everything: the network sees and corrects velocity and smoke; velocity: it sees both, corrects one",
        choices=("velocity", "everything"),
    )
    bounded: bool = setting(
        False, help="whether the corrected smoke is kept between zero and one, as the solver alone keeps it"
    )
    network: str = setting(
        "small",
        help="small: three residual blocks of 3x3; paper: five of 5x5, as for the wake",
        choices=("small", "paper"),
    )


LENGTHS: dict[str, Any] = {"warmup": 20, "train_frames": 151, "frames": 150}
PRESETS: dict[str, dict[str, Any]] = {
    "demo": {
        "arms": ("one-step", "unrolled"),
        "look_ahead": (4,),
        "train_seeds": tuple(range(1, 17)),
        "features": 16,
        **stages((1, 500, 4e-3), (4, 500, 4e-3), (16, 300, 2e-3)),
        "shift": True,
        "finer": (2, 3),
    },
    "book": {
        "bounded": True,
        "features": 24,
        **stages((1, 600, 4e-3), (4, 700, 4e-3), (16, 900, 3e-3), (32, 500, 1.5e-3)),
        "shift": True,
        "finer": (2, 3),
    },
    "look-ahead": {
        "arms": ("one-step", "unrolled"),
        "corrects": "velocity",
        "look_ahead": (2, 4, 8, 16, 32, 64),
        "seeds": 3,
        "features": 16,
        **stages((1, 300, 4e-3), (4, 250, 4e-3), (16, 150, 3e-3), (64, 60, 1e-3), (128, 30, 5e-4)),
    },
    "paper": {
        "arms": ("one-step", "unrolled"),
        "corrects": "velocity",
        "look_ahead": (4,),
        "network": "paper",
        **stages((1, 10000, 1e-4), (4, 10000, 1e-4), (16, 10000, 1e-4), (128, 60000, 1e-4)),
        **PLAIN_ADAM,
    },
    "evaluate": {"weights": "shipped", "bounded": True},
}


class Smoke(eqx.Module):
    """A flow with the clouds that it begins with, which nothing but `begin` reads.

    Args:
        solver: The flow.
        centers: Of the clouds, (clouds, 2).
        radii: Of the clouds.
    """

    solver: IncompressibleFlow
    centers: Array
    radii: Array

    def __call__(self, state: FlowState) -> FlowState:
        return self.solver(state)

    @property
    def dt(self) -> Array:
        """The flow's."""
        return self.solver.dt

    def initial_state(self, *given: Any, **options: Any) -> FlowState:
        """The flow's."""
        return self.solver.initial_state(*given, **options)


def smoke_flow(settings: Settings, resolution: int) -> Smoke:
    """The flow on a grid with `resolution` cells along each axis, with no clouds yet."""
    flow = IncompressibleFlow(
        Grid((resolution, resolution), (SIZE, SIZE)),
        viscosity=settings.viscosity,
        dt=1.0,
        sides=Wall(slip=True),
        scalars={"smoke": PassiveScalar()},
        forces=(Buoyancy("smoke", (0.0, settings.buoyancy)),),
        advection=SemiLagrangian(ceil(settings.largest_speed * resolution / SIZE)),
    )
    return Smoke(flow, jnp.zeros((CLOUDS, 2)), jnp.ones(CLOUDS))


def draw_clouds(seed: float) -> dict[str, np.ndarray]:
    """The clouds of one case, in the lower half of the box and off its walls."""
    generator = np.random.default_rng(int(seed))
    centers = generator.uniform((20.0, 15.0), (80.0, 45.0), (CLOUDS, 2))
    return {"centers": centers.astype(np.float32), "radii": generator.uniform(7.0, 13.0, CLOUDS).astype(np.float32)}


def begin(system: Smoke) -> FlowState:
    """The clouds at rest: one inside, zero outside, with an edge that fades."""
    points = jnp.stack(jnp.broadcast_arrays(*system.solver.grid.centers()))

    def cloud(center: Array, radius: Array) -> Array:
        distance = jnp.sqrt(jnp.sum((points - center[:, None, None]) ** 2, axis=0))
        return 0.5 * (1.0 - jnp.tanh((distance - radius) / EDGE))

    clouds = [cloud(center, radius) for center, radius in zip(system.centers, system.radii, strict=True)]
    # Where clouds overlap there is no more smoke than in one.
    return system.solver.initial_state(scalars={"smoke": jnp.max(jnp.stack(clouds), axis=0)})


class OfVelocity(eqx.Module):
    """A network that sees velocity and smoke and leaves the smoke as it is."""

    network: ResNet

    def __call__(self, image: Array) -> Array:
        return jnp.concatenate([self.network(image), jnp.zeros_like(image[-1:])])


def make_network(corrects: str, network: str, features: int, key: Array) -> ResNet | OfVelocity:
    """From velocity and smoke to their corrections."""
    if corrects == "velocity":
        return OfVelocity(small_or_published(3, 2, network, features, key))
    return small_or_published(3, 3, network, features, key)


def velocity_error(prediction: Mapping[str, Array], target: Mapping[str, Array]) -> Array:
    """The mean absolute error of the velocity over all faces."""
    return mean_absolute_error(*({name: frame[name] for name in VELOCITY} for frame in (prediction, target)))


def relative_error(prediction: Mapping[str, Array], target: Mapping[str, Array]) -> Array:
    """The sum of absolute errors of the velocity over that of its absolute values."""
    apart = [jnp.sum(jnp.abs(prediction[name] - target[name])) for name in VELOCITY]
    return sum(apart, jnp.zeros(())) / sum((jnp.sum(jnp.abs(target[name])) for name in VELOCITY), jnp.zeros(()))


def smoke_error(prediction: Mapping[str, Array], target: Mapping[str, Array]) -> Array:
    """The mean absolute error of the smoke over all cells."""
    return jnp.mean(jnp.abs(prediction["smoke"] - target["smoke"]))


def fields(state: FlowState) -> tuple[Field, ...]:
    """What is compared and seen by the network."""
    return (*state.velocity, state.scalars["smoke"])


def bounded(state: FlowState) -> FlowState:
    """The state with its smoke between zero and one."""
    smoke = state.scalars["smoke"]
    return replace(state, scalars={"smoke": smoke.with_values(jnp.clip(smoke.values, 0.0, 1.0))})


def buoyancy_study(settings: Settings) -> Study:
    """What the experiment compares."""
    source = smoke_flow(settings, settings.resolution)

    def couple(network: Any, normalization: Normalization) -> Corrected:
        kept = bounded if settings.bounded else as_it_is
        return Corrected(source, network, normalization, fields=fields, kept=kept)

    return Study(
        name="buoyancy",
        **seeded_cases(settings),
        reference=smoke_flow(settings, settings.resolution * settings.scale),
        source=source,
        grid=source.solver.grid,
        begin=begin,
        transfer=lambda state: frame_of(state, settings.scale),
        state=lambda frame: state_of(source.solver, frame),
        names=NAMES,
        fields=fields,
        make_network=make_network,
        architecture=named(settings, "corrects", "network", "features"),
        couple=couple,
        parameters=draw_clouds,
        identity=named(settings, "resolution", "scale", "viscosity", "buoyancy", "largest_speed"),
        metrics={"mae": velocity_error, "relative": relative_error, "smoke": smoke_error},
        recovery=Recovery(),  # over 128 steps a window may diverge
        fit=fit_of_flow(
            1.0,
            corrected=fields if settings.corrects == "everything" else velocity_of,
            flow=lambda system: system.solver,
            closed=True,
        ),
        diagnostics={"divergence": lambda found: divergence(found[:2]).values},
        shipped=shipped_weights("buoyancy"),
        advice=f"it is faster than largest_speed ({settings.largest_speed:g}) or unstable, and a larger bound may help",
        error="mean absolute error of the velocity",
    )


def scenario_of(settings: Settings) -> Scenario:
    """The study, the plain solver on finer grids, and the published reductions."""
    return Scenario(
        buoyancy_study(settings),
        finer=lambda factor: smoke_flow(settings, factor * settings.resolution),
        start=lambda finer, state: state_at(finer.solver, state),
        ahead=AHEAD,
    )


def draw(run: Run, shown: Mapping[str, Frames]) -> None:
    """Pictures and an animation of the smoke of the first test case."""
    left_out = finer_grids(run.settings.finer)
    smoke = {name: flow["smoke"] for name, flow in shown.items() if name not in left_out}
    frames, size = run.settings.frames, (SIZE, SIZE)
    times = np.arange(1, frames + 1)
    look: dict[str, Any] = {"label": "smoke", "horizontal": 0, "at": "cells", "limit": 1.0}
    draw_moments(run, "smoke.png", smoke, times, size, spread(frames, 6)[1:], **look)
    few = {name: smoke[name] for name in ("reference", "source", "one-step", "unrolled") if name in smoke}
    draw_moving(run, "smoke.gif", few, times, size, frames // 75, **look)


PROGRAM = study_program(
    "buoyancy",
    Settings,
    {name: LENGTHS | preset for name, preset in PRESETS.items()},
    scenario_of,
    draw,
    "Rising smoke: errors of velocity and smoke",
    run=run_scenario,
    report=report_scenario,
)
