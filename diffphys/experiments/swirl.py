"""A U-Net sees a cloud before and after, and answers the velocity that carried it: a swirl in a periodic stream.

Holl, Koltun, Thuerey, "Scale-invariant Learning by Physics Inversion" (NeurIPS 2022), Navier-Stokes experiment.

    v_t + v . grad v = -grad p,   div v = 0,   m_t + v . grad m = 0     on a periodic square of 128 x 128,   T = 2

64x64 cells, 8 steps of dt = 0.25, each: MacCormack advection of the velocity by itself, projection, the velocity scaled
so that the mean of |v|^2 is what it was, MacCormack advection of the marker m by the new velocity. As energy is kept,
the flow runs backwards when the velocity is turned around.

The velocity to be found is a stream that carries the cloud's center to the middle of the square, a swirl about the
middle, which drifts with the stream, and noise,

    v*(x) = (c - C(m_0)) / T + omega  n x (x - c) exp(-|x - c|^2 / (2 20^2)) + noise,       omega uniform in (-2, 2),

with c the middle, C(m) the center of mass and n the normal of the plane. The network's answer is read as an initial
velocity, without its divergence.

**The inverse simulator** knows stream and swirl, not the noise. The stream is known from the first image. The strength
is that of the answer v itself, `omega_0 = mean(n . (x - c) x v) / mean(r^2 exp(-r^2 / 800))`, and a correction by how
far the cloud runs behind: the simulation is run forward from v, and backward from the *observed* last image; the
centers of both clouds, F_i and B_i, at the same times t_i give

    omega = omega_0 + 1e-3 mean_i (F_i - B_i) x (B_i - c_i),      c_i = c + t_i (c - C(m_0)) / T the swirl's center.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
import xarray
from jax import Array
from matplotlib.figure import Figure
from rich.table import Table

from diffphys.experiments.comparison import Budget, compare, duration, first_network, seconds_to_pass, shown_on
from diffphys.experiments.comparison_figures import show
from diffphys.experiments.optimizers import gradient_arm
from diffphys.experiments.smooth_noise import smooth_noise
from diffphys.grids import Field, Grid, Periodic
from diffphys.inversion import BFGS, TimeReversal, half_squares
from diffphys.nets import UNet
from diffphys.operators import interpolate, maccormack
from diffphys.physics import IncompressibleFlow
from diffphys.plots import DPI, WIDTH
from diffphys.runs import Program, Run, setting
from diffphys.stepping import rollout


SIZE, MIDDLE, RADIUS = 128.0, 64.0, 20.0
DURATION = 2.0


@dataclass(frozen=True)
class Settings(Budget):
    """As published, save for the time (20,000 updates on a GPU)."""

    cells: int = setting(64, help="cells along both axes, a multiple of 16", minimum=16)
    levels: int = setting(5, help="resolutions of the U-Net", minimum=1, maximum=5)
    steps: int = setting(8, help="time steps", minimum=1)
    batch: int = setting(64, help="samples of an update, always new", minimum=1)
    tests: int = setting(64, help="samples for testing", minimum=1)
    adam_rate: float = setting(0.005, help="learning rate of Adam, in all arms", above=0.0)
    correction: float = setting(1e-3, help="change of omega for the cloud's lag", above=0.0)
    inner_steps: int = setting(8, help="gradient steps of the arm `accumulated`", minimum=1)
    inner_rate: float = setting(4e-2, help="their size", above=0.0)
    bfgs_steps: int = setting(16, help="steps of the arm `bfgs`", minimum=1)


class Cloud(NamedTuple):
    """The state of the simulation: velocity on the faces, marker at the centers."""

    velocity: tuple[Field, ...]
    marker: Field


class Sample(NamedTuple):
    """Two images, and the velocity at the cells' centers that leads from one to the other, shape (2, *cells)."""

    first: Array
    last: Array
    velocity: Array


class Swirls:
    """The simulator and its inverse on one grid; everything is of one sample."""

    def __init__(self, settings: Settings):
        self.settings = settings
        self.dt = DURATION / settings.steps
        self.grid = Grid((settings.cells,) * 2, (SIZE, SIZE))
        self.flow = IncompressibleFlow(self.grid, viscosity=0.0, dt=self.dt, sides=Periodic())
        self.centers = jnp.stack(jnp.broadcast_arrays(*self.grid.centers()))

    def step(self, state: Cloud) -> Cloud:
        """One time step."""
        before = _energy(state.velocity)
        advected = tuple(maccormack(component, state.velocity, self.dt) for component in state.velocity)
        projected = self.flow.project(advected)[0]
        scale = jnp.sqrt(before / jnp.maximum(_energy(projected), jnp.finfo(before.dtype).tiny))
        velocity = tuple(component.with_values(scale * component.values) for component in projected)
        return Cloud(velocity, maccormack(state.marker, velocity, self.dt))

    def start(self, velocity: Array, marker: Array) -> Cloud:
        """The state with this velocity at the centers, interpolated to the faces and without its divergence."""
        conditions = ((Periodic(), Periodic()),) * 2
        faces = tuple(
            interpolate(Field(part, self.grid, conditions=conditions), offset)
            for part, offset in zip(velocity, ((0.0, 0.5), (0.5, 0.0)), strict=True)
        )
        return Cloud(self.flow.project(faces)[0], Field(marker, self.grid, conditions=conditions))

    def simulate(self, velocity: Array, marker: Array) -> Array:
        """The last image."""
        return rollout(self.step, self.start(velocity, marker), self.settings.steps)[0].marker.values

    def center(self, marker: Array) -> Array:
        """The center of mass, shape (2,)."""
        return jnp.sum(self.centers * marker, axis=(1, 2)) / jnp.maximum(jnp.sum(marker), 1e-6)

    def stream_and_swirl(self, center: Array, omega: Array) -> Array:
        """The velocity without noise for a cloud with this center, shape (2, *cells)."""
        return ((MIDDLE - center) / DURATION)[:, None, None] + omega * self._unit_swirl()

    def _unit_swirl(self) -> Array:
        x, y = self.centers - MIDDLE
        return jnp.stack([-y, x]) * jnp.exp(-(x**2 + y**2) / (2 * RADIUS**2))

    def draw(self, key: Array) -> Sample:
        """A random case."""
        keys = jax.random.split(key, 5)
        cells = self.grid.cells
        noise = smooth_noise(keys[0], cells, spacing=SIZE / cells[0])
        filled = jax.random.uniform(keys[1], minval=0.05, maxval=0.15)
        position = jax.random.uniform(keys[2], (2, 1, 1), minval=32.0, maxval=96.0)
        box = jnp.all(jnp.abs(self.centers - position) <= 28.0, axis=0)
        first = jnp.where(box & (noise > jnp.quantile(noise, 1 - filled)), 1.0, 0.0)
        omega = jax.random.uniform(keys[3], minval=-2.0, maxval=2.0)
        disturbance = jax.vmap(lambda one: smooth_noise(one, cells, spacing=SIZE / cells[0]))(jax.random.split(keys[4]))
        velocity = self.stream_and_swirl(self.center(first), omega) + 0.1 * disturbance
        return Sample(first, self.simulate(velocity, first), velocity)

    def inverse(self, first: Array, last: Array, velocity: Array) -> Array:
        """The stream and swirl that the top of this file speaks of, near a velocity."""
        steps = self.settings.steps

        def center(state: Cloud) -> Array:
            return self.center(state.marker.values)

        end, forward = rollout(self.step, self.start(velocity, first), steps, save_every=1, save=center)
        forward = jnp.concatenate([self.center(first)[None], forward[:-1]])  # at the times 0, dt, ... T - dt
        observed = end._replace(marker=end.marker.with_values(last))
        backward = TimeReversal(self.step, steps, turned_around).path(observed, center)[::-1]
        stream = (MIDDLE - self.center(first)) / DURATION
        swirls = MIDDLE + self.dt * jnp.arange(steps)[:, None] * stream
        lag = jnp.mean(_cross(forward - backward, backward - swirls))
        unit = self._unit_swirl()
        arm = self.centers - MIDDLE
        omega = jnp.mean(_cross(arm, velocity, axis=0)) / jnp.mean(_cross(arm, unit, axis=0))
        return self.stream_and_swirl(self.center(first), omega + self.settings.correction * lag)

    def loss(self, marker: Array, last: Array) -> Array:
        """How different two images are: the sum of |F(m - m*)| over Fourier modes, all but the longest damped."""
        frequencies = jnp.stack(jnp.meshgrid(*(jnp.fft.fftfreq(n) for n in marker.shape), indexing="ij"))
        squares = jnp.sum(frequencies**2, axis=0)
        weights = jnp.where(squares > 0, jnp.exp(-0.5 * squares * 80.0**2), 0.0)
        modes = jnp.fft.fftn(marker - last)
        return jnp.sum(weights * jnp.sqrt(jnp.maximum(modes.real**2 + modes.imag**2, 1e-5)))


def turned_around(state: Cloud) -> Cloud:
    """The state with the opposite velocity."""
    return state._replace(velocity=tuple(component.with_values(-component.values) for component in state.velocity))


def _energy(velocity: tuple[Field, ...]) -> Array:
    return sum((jnp.mean(component.values**2) for component in velocity), jnp.zeros(()))


def _cross(a: Array, b: Array, axis: int = 1) -> Array:
    """The component of a x b normal to the plane."""
    (a0, a1), (b0, b1) = jnp.moveaxis(a, axis, 0), jnp.moveaxis(b, axis, 0)
    return a0 * b1 - a1 * b0


def predict(network: UNet, samples: Sample) -> Array:
    """Velocities from both images, shape (batch, 2, *cells)."""
    images = jnp.stack([samples.first, samples.last], axis=1)
    return jax.vmap(network, axis_name="batch")(images)


def losses(swirls: Swirls) -> dict[str, Callable[[UNet, Sample], Array]]:
    """What each arm gives to Adam."""
    settings = swirls.settings

    def through_physics(velocity: Array, sample: Sample) -> Array:
        return swirls.loss(swirls.simulate(velocity, sample.first), sample.last)

    def adam(network: UNet, samples: Sample) -> Array:
        return jnp.mean(jax.vmap(through_physics)(predict(network, samples), samples))

    def accumulated(velocity: Array, sample: Sample) -> Array:
        """Several gradient steps, of which only the direction is kept: the size is that of the first gradient."""
        slope = jax.grad(through_physics)

        def descend(now: Array, _: None) -> tuple[Array, None]:
            return now - settings.inner_rate * slope(now, sample), None

        end = jax.lax.scan(descend, velocity, length=settings.inner_steps)[0]
        change = end - velocity
        size = jnp.linalg.norm(slope(velocity, sample)) / jnp.maximum(jnp.linalg.norm(change), 1e-12)
        return velocity + size * change

    def bfgs(velocity: Array, sample: Sample) -> Array:
        # The square root makes of the loss the one of which a local solver takes half the square.
        def simulator(now: Array) -> Array:
            return jnp.sqrt(2.0 * through_physics(now, sample))

        solver = BFGS(simulator, settings.bfgs_steps, 1e-5, 1e-5, memory=10)
        return solver(jnp.zeros(()), velocity)

    def by(inverse: Callable[[Array, Sample], Array]) -> Callable[[UNet, Sample], Array]:
        def proxy(network: UNet, samples: Sample) -> Array:
            velocities = predict(network, samples)
            moved = jax.vmap(inverse)(jax.lax.stop_gradient(velocities), samples)
            return half_squares(velocities - jax.lax.stop_gradient(moved)) / velocities.shape[0]

        return proxy

    return {
        "scale-invariant": by(lambda velocity, sample: swirls.inverse(sample.first, sample.last, velocity)),
        "adam": adam,
        "accumulated": by(accumulated),
        "bfgs": by(bfgs),
    }


def run(settings: Settings, run: Run) -> None:
    """Train all arms on data without end."""
    swirls = Swirls(settings)

    def make_network(key: Array) -> UNet:
        """49,570 parameters with five levels."""
        return UNet(2, 2, levels=settings.levels, normalization="batch", key=key)

    def batch(key: Array, count: Array) -> Sample:
        del count
        return jax.vmap(swirls.draw)(jax.random.split(key, settings.batch))

    tests = jax.jit(jax.vmap(swirls.draw))(jax.random.split(jax.random.key(run.seed + 1), settings.tests))

    def measure(network: UNet) -> dict[str, Array]:
        velocities = predict(network, tests)
        markers = jax.vmap(swirls.simulate)(velocities, tests.first)
        return {
            "error": jnp.mean(jnp.abs(velocities - tests.velocity)),
            "error_marker": jnp.mean(jnp.abs(markers - tests.last)),
            "loss": jnp.mean(jax.vmap(swirls.loss)(markers, tests.last)),
        }

    arms = {
        name: gradient_arm(make_network, batch, loss, optax.adam(settings.adam_rate))
        for name, loss in losses(swirls).items()
    }
    # What an answer of zero everywhere, and what the inverse at its best (no noise) would make.
    bounds = {
        "error_of_zero": jnp.mean(jnp.abs(tests.velocity)),
        "error_of_noise": 0.1 * jnp.sqrt(2 / jnp.pi),
    }
    grid = Grid((settings.cells,) * 2, (SIZE, SIZE))

    def shown(velocities: Array, markers: Array) -> xarray.Dataset:
        parts = {"velocity_x": velocities[:3, 0], "velocity_y": velocities[:3, 1], "last image": markers[:3]}
        return shown_on(grid, parts | {"first image": tests.first[:3]})

    @eqx.filter_jit
    def answer(network: UNet) -> tuple[Array, Array]:
        velocities = predict(network, tests)[:3]
        return velocities, jax.vmap(swirls.simulate)(velocities, tests.first[:3])

    trained = compare(
        run,
        arms,
        settings,
        measure=measure,
        more=bounds,
        answers=lambda network: shown(*answer(network)),
        truth=shown(tests.velocity, tests.last),
    )
    # Three test cases for the figure: both images, and the velocities, true and of every arm.
    examples = {"first": tests.first[:3], "last": tests.last[:3], "v*": tests.velocity[:3]}
    examples |= {name: answer(first_network(run, name, arm))[0] for name, arm in trained.items()}
    metrics = run.read_metrics() | {"examples": {name: value.round(3) for name, value in examples.items()}}
    if {"scale-invariant", "adam"} <= trained.keys():
        metrics["seconds_to_pass_adam"] = seconds_to_pass(metrics["arms"], "scale-invariant", "adam")
    run.write_metrics(metrics)


def report(run: Run) -> Table:
    """Curves, images with velocities, and the table."""
    examples = run.read_metrics()["examples"]
    first, last = jnp.asarray(examples.pop("first")), jnp.asarray(examples.pop("last"))
    figure = Figure(figsize=(WIDTH, 5.0), dpi=DPI, layout="constrained")
    panels = figure.subplots(3, 1 + len(examples), squeeze=False)
    every = max(first.shape[1] // 16, 1)
    points = (jnp.arange(first.shape[1])[::every] + 0.5) * SIZE / first.shape[1]
    for row in range(len(first)):
        panels[row, 0].imshow((last - 0.6 * first)[row].T, origin="lower", cmap="RdBu", vmin=-1, vmax=1)
        panels[row, 0].set_axis_off()
        for column, velocities in enumerate(examples.values(), start=1):
            u, v = jnp.asarray(velocities[row])[:, ::every, ::every]
            panels[row, column].quiver(points, points, u.T, v.T, angles="xy", scale=300.0, width=0.01)
            panels[row, column].set(aspect="equal", xticks=[], yticks=[])
    for column, name in enumerate(("first (red), last (blue)", *examples)):
        panels[0, column].set_title(name, fontsize=8)
    run.save_figure("velocities.png", figure)
    return show(run, label="mean |v - v*|", columns={"mean |m - m*|": "error_marker", "loss": "loss"})


SMALL = {"cells": 32, "adam_rate": 0.001, "seeds": 1}

PROGRAM = Program(
    "swirl",
    Settings,
    {
        # Batches smaller than the published ones need a smaller rate: at 0.005 the errors swing by a factor of two.
        "demo": SMALL | {"seconds": 50.0, "clock": "processor", "batch": 8, "arms": ("scale-invariant", "adam")},
        "book": SMALL | {"seconds": 150.0, "batch": 16, "tests": 32},
        "paper": {"seconds": 7200.0},
    },
    run,
    report,
    duration=duration,
)
