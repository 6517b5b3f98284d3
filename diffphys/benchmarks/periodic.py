"""Periodic flow by second-order finite volumes with Heun's method, and by Fourier modes, in 2D and 3D; with gradients.

Beside each method is the peer of the same one: JAX-CFD with central convection, Heun and a direct pressure solve, and
Exponax with dealiased Fourier modes and an exponential method of second order. The two methods are not one another's
peers: on the same cells their errors differ by orders of magnitude.
"""

import dataclasses
import itertools
import math
from typing import Any

import jax
import numpy as np

from diffphys.benchmarks.benchmark import Row, benchmark
from diffphys.benchmarks.peers import Peer, check_python, peer_rows
from diffphys.benchmarks.rows import largest_residual, programs_of, rows_of, shape_of
from diffphys.benchmarks.timing import Program
from diffphys.benchmarks.wake import advancing
from diffphys.grids import Grid, Periodic
from diffphys.operators import Spectral
from diffphys.physics import FlowState, IncompressibleFlow
from diffphys.runs import Run, setting
from diffphys.stepping import ExponentialRungeKutta, RungeKutta, rollout


COURANT = 0.2


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of the benchmark."""

    squares: tuple[int, ...] = setting((64, 128, 256, 512), help="cells along an axis in 2D", minimum=4)
    cubes: tuple[int, ...] = setting((16, 32, 64), help="cells along an axis in 3D", minimum=4)
    lengths: tuple[int, ...] = setting((8,), help="steps in a rollout", minimum=1)
    seconds: float = setting(5.0, help="how long each size is timed", above=0.0)
    peers_python: str = setting(
        "", help="the Python that has the peers (pip install 'diffphys[peers]'); default: this one"
    )

    def __post_init__(self):
        check_python(self.peers_python)


METHODS: dict[str, tuple[dict[str, Any], str]] = {
    "": (dict(stepping=RungeKutta(2)), "jax_cfd_periodic"),
    "Fourier ": (dict(advection=Spectral(), stepping=ExponentialRungeKutta(2)), "exponax_periodic"),
}
"""By the word before their rows: what makes the flow, and the script of the peer."""


def periodic(count: int, dimensions: int, **method: Any) -> tuple[IncompressibleFlow, FlowState]:
    """The flow, and a random state of a few large vortices that has made four steps."""
    grid = Grid((count,) * dimensions, (2 * np.pi,) * dimensions)
    flow = IncompressibleFlow(
        grid,
        viscosity=1e-3,
        dt=COURANT * 2 * np.pi / count,
        sides=Periodic(),
        **{"stepping": RungeKutta(2), **method},
    )
    generator = np.random.default_rng(0)
    points = np.meshgrid(*[2 * np.pi * np.arange(count) / count] * dimensions, indexing="ij")
    velocity = []
    for _ in range(dimensions):
        phases, waves = generator.random(4) * 2 * np.pi, generator.integers(1, 4, (4, dimensions))
        parts = [
            np.sin(sum(w * p for w, p in zip(wave, points, strict=True)) + phase)
            for wave, phase in zip(waves, phases, strict=True)
        ]
        velocity.append(np.asarray(0.3 * sum(parts), np.float32))
    return flow, rollout(flow, flow.initial_state(velocity), 4)[0]


def measure(settings: Settings, run: Run) -> list[Row]:
    """Time each size."""
    rows: list[Row] = []
    sizes = [(count, 2) for count in settings.squares] + [(count, 3) for count in settings.cubes]
    for (count, dimensions), (word, (method, script)) in itertools.product(sizes, METHODS.items()):
        run.leave_if_asked()
        flow, start = periodic(count, dimensions, **method)
        values = tuple(part.values for part in start.velocity)
        programs = programs_of(advancing(flow, start), values, settings.lengths)
        residual = largest_residual(
            jax.jit(lambda flow, state: flow.divergence(state).values)(flow, start),
            start.velocity,
            min(flow.grid.spacing),
        )
        wanted = {"cells": count, "dimensions": dimensions, "courant": COURANT, "lengths": list(settings.lengths)}
        with peer_rows(Peer(script, wanted, settings.peers_python)) as (programs_of_peers, errors):
            found = rows_of(
                programs,
                shape_of(flow.grid.cells),
                math.prod(flow.grid.cells),
                (residual, "divergence"),
                settings.seconds,
                programs_of_peers,
                errors,
            )
        rows += [dataclasses.replace(row, what=f"{dimensions}D {word}{row.what}") for row in found]
    return rows


def profile(settings: Settings) -> dict[str, Program]:
    """The programs of the first square."""
    flow, start = periodic(settings.squares[0], 2)
    values = tuple(part.values for part in start.velocity)
    return programs_of(advancing(flow, start), values, settings.lengths[:1])


PROGRAM = benchmark(
    "periodic",
    Settings,
    {"quick": {"squares": (8,), "cubes": (4,), "lengths": (2,), "seconds": 0.1}},
    measure,
    profile,
)
