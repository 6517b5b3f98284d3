r"""The Kuramoto-Sivashinsky equation: what the gradient through unrolled steps is worth (List et al. 2025).

$$u_t + u\, u_x + u_{xx} + u_{xxxx} = 0$$

on a periodic line of $16 \pi$ times a factor that differs between cases, 48 points, as published. A frame is made by
two steps of 0.5: by the reference with an exponential Runge-Kutta method of order 2, by the source of order 1. The
network corrects the frame, as in every study here; published is one that sees the frame before.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffphys.experiments.studies import Frames, draw_over_line, study_program
from diffphys.experiments.unrolling import (
    ARMS,
    UnrollingSettings,
    relative_error,
    report_unrolling,
    run_unrolling,
)
from diffphys.grids import Field, Grid, Periodic
from diffphys.learning.study import Study, stages, with_seeds
from diffphys.nets import ResNet
from diffphys.runs import Run, setting
from diffphys.stepping import ExponentialRungeKutta


CELLS = 48
LENGTH = 16 * np.pi
GRID = Grid((CELLS,), (1.0,))  # in units of a case's length
STEPS = 2  # of each frame


@dataclass(frozen=True)
class Settings(UnrollingSettings):
    """Settings of the experiment; the presets give the lengths of data and training."""

    train_factors: tuple[float, ...] = setting((0.9, 1.0, 1.1, 1.2), help="lengths of the training cases", above=0.0)
    test_factors: tuple[float, ...] = setting((0.95, 1.3), help="lengths of the test cases", above=0.0, distinct=True)


COMMON = {"arms": ARMS, "warmup": 200, "frames": 300, "batch": 16, "averaging": 0.97, "features": 16}
LONG = COMMON | {"train_frames": 5000, "frames": 1000, "starts": 80}
PRESETS: dict[str, dict[str, Any]] = {
    "demo": COMMON | {"train_frames": 1000, "seeds": 2} | stages((1, 600, 2e-3), (3, 600, 1e-3)),
    "book": LONG | {"seeds": 5} | stages((1, 500, 2e-3), (3, 700, 1e-3)),
    "paper": LONG | {"seeds": 8} | stages((3, 30000, 1e-3)),
}


class KuramotoSivashinsky(eqx.Module):
    """A frame's steps of the values on the points.

    Args:
        length: Of the line.
        order: Of the exponential Runge-Kutta method.
        dt: Duration of a step.
    """

    length: Array = eqx.field(converter=jnp.asarray)
    order: int = eqx.field(static=True)
    dt: float = eqx.field(static=True, default=0.5)

    def __call__(self, state: Field) -> Field:
        method, waves = ExponentialRungeKutta(self.order), jnp.fft.rfft(state.values)
        for _ in range(STEPS):
            waves = method.advance(self, waves, self.dt).state
        return state.with_values(jnp.fft.irfft(waves, CELLS))

    # What an integrator asks.

    def rate(self, time: Array, waves: Array, given: Any) -> Array:
        """By convection: -(u^2 / 2)_x."""
        return -0.5j * self._wavenumbers * jnp.fft.rfft(jnp.fft.irfft(waves, CELLS) ** 2)

    def stiff_diagonal(self, waves: Array, given: Any) -> Array:
        """By growth and hyperdiffusion: k^2 - k^4."""
        return self._wavenumbers**2 - self._wavenumbers**4

    @property
    def _wavenumbers(self) -> Array:
        return 2 * jnp.pi / self.length * jnp.arange(CELLS // 2 + 1)


def study_of(settings: Settings) -> Study:
    """What the experiment compares."""
    empty = Field(jnp.zeros(CELLS), GRID, (0.5,), ((Periodic(), Periodic()),))
    source = KuramotoSivashinsky(LENGTH, 1)
    # The published size: ten blocks of two layers.
    network = partial(ResNet, 2, 1, blocks=10, kernel_size=3, slope=0.2, axes=1, padding="periodic", first=False)

    def begin(step: KuramotoSivashinsky) -> Field:
        x = step.length * jnp.arange(CELLS) / CELLS
        wave = 2 * jnp.pi * x / step.length
        return empty.with_values(jnp.cos(wave) + 0.1 * jnp.cos(2 * wave) * (1 + 0.1 * jnp.sin(wave)))

    study = Study(
        name="kuramoto-sivashinsky",
        case="factors",
        train_cases=settings.train_factors,
        test_cases=settings.test_factors,
        reference=KuramotoSivashinsky(LENGTH, 2),
        source=source,
        grid=GRID,
        begin=begin,
        transfer=lambda state: {"u": state.values},
        state=lambda frame: empty.with_values(frame["u"]),
        names=("u",),
        fields=lambda state: (state,),
        make_network=network,
        architecture={"features": settings.features},
        parameters=lambda factor: {"length": LENGTH * factor},
        conditioning=lambda step: [step.length],
        interval=STEPS * source.dt,
        metrics={"relative_error": relative_error},
        label="{:g} lengths".format,
        error="relative error",
    )
    return with_seeds(study, settings, settings.seeds)


def draw(run: Run, shown: Mapping[str, Frames]) -> None:
    """The first test case, as long as arms follow the reference."""
    flows = {name: shown[name]["u"][:60] for name in ("reference", "source", *run.settings.arms)}
    draw_over_line(run, flows, 1.0, LENGTH * run.settings.test_factors[0], "velocity")


PROGRAM = study_program(
    "kuramoto-sivashinsky",
    Settings,
    PRESETS,
    study_of,
    draw,
    "Kuramoto-Sivashinsky: relative error",
    run=run_unrolling,
    report=report_unrolling,
)
