"""A U-Net learns what the temperature was, from what heat conduction has left of it.

Holl, Koltun, Thuerey, "Scale-invariant Learning by Physics Inversion" (NeurIPS 2022), heat experiment; the first 50
updates are a notebook of "Physics-based Deep Learning" (Thuerey et al.).

    u_t = nu laplace u   on a periodic square of 64x64 unit cells,   nu t = 8,   x = u(0), y = u(t)

Data are four to ten soft boxes. The diffusion of the gradient by the adjoint leaves only the coarsest modes of the
error in the update; the inverse, damped where the residual is noise, leaves all that can be known. The physics is
computed in float64 (see `NoiseAwareHeatInverse`), the network in float32.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array
from matplotlib.figure import Figure
from rich.table import Table

from diffphys.experiments import Experiment
from diffphys.experiments.arms import Training, compare, gradient_arm, network_of, show
from diffphys.inversion import NoiseAwareHeatInverse, SpectralHeat, scale_invariant_loss
from diffphys.nets import UNet
from diffphys.plots import DPI, WIDTH
from diffphys.runs import Run, setting


# Mean |x - x*| for each cell after the full training (6000 s on a GPU).
PUBLISHED = {
    "scale-invariant": {"final_error": 0.01231},
    "adam": {"final_error": 0.03052},
    "gradient-descent": {"final_error": 0.02904},
}
# 1/2 sum of squares in x after 50 updates, read off a plot.
PUBLISHED_AFTER_50 = {"scale-invariant": 20.5, "adam": 29.0}


@dataclass(frozen=True)
class Settings:
    """As published, save for the time."""

    cells: int = setting(64, help="cells along both axes, a multiple of 8", minimum=16)
    diffusion_time: float = setting(8.0, help="nu t, in squared cells", above=0.0)
    noise: float = setting(1e-6, help="relative noise that the inverse expects", above=0.0)
    seconds: float = setting(1000.0, help="training time of each arm and seed, with compiling", above=0.0)
    updates: int = setting(1_000_000, help="updates of each arm at most", minimum=1)
    seeds: int = setting(1, help="networks trained for each arm", minimum=1)
    batch: int = setting(128, help="samples of an update, always new", minimum=1)
    tests: int = setting(128, help="samples for testing", minimum=1)
    adam_rate: float = setting(1e-3, help="learning rate of Adam, alone and with the inverse", above=0.0)
    descent_rate: float = setting(2e-6, help="learning rate of gradient descent, of the summed loss", above=0.0)


def draw_boxes(key: Array, cells: int) -> Array:
    """A temperature: the sum of 4 to 10 boxes with edges smooth over one cell; shape (cells, cells)."""
    keys = jax.random.split(key, 4)
    count = jnp.floor(4 + 7 * jax.random.uniform(keys[0]))
    centers = 0.5 * cells + (jax.random.uniform(keys[1], (10, 2)) - 0.5) * 0.8 * cells
    half_sizes = jax.random.uniform(keys[2], (10, 2), maxval=10.0 * cells / 64)
    strengths = jnp.where(jnp.arange(10) < count, jax.random.uniform(keys[3], (10,)), 0.0)
    # No box reaches beyond the domain.
    centers = jnp.clip(centers, half_sizes, cells - half_sizes)
    position = jnp.arange(cells) + 0.5
    outside_x = jnp.abs(position - centers[:, :1]) - half_sizes[:, :1]
    outside_y = jnp.abs(position - centers[:, 1:]) - half_sizes[:, 1:]
    distance = jnp.maximum(outside_x[:, :, None], outside_y[:, None, :])
    return jnp.tensordot(strengths, jnp.clip(0.5 - distance, 0.0, 1.0), 1)


def make_network(key: Array) -> UNet:
    """37,697 parameters, in float32."""
    network = UNet(1, 1, normalization="batch", key=key)
    return jax.tree.map(lambda leaf: leaf.astype(jnp.float32), network)


def predict(network: UNet, y: Array) -> Array:
    """x from y, with the mean of y: heat is conserved. Mapped over the axis "batch"."""
    x = network(y[None].astype(jnp.float32))[0].astype(y.dtype)
    return x + jnp.mean(y) - jnp.mean(x)


def run(settings: Settings, run: Run) -> None:
    """Train all arms on data without end."""
    with jax.enable_x64(True):
        heat = SpectralHeat(settings.diffusion_time)
        inverse = NoiseAwareHeatInverse(heat, settings.noise)

        def draw(key: Array, size: int) -> Array:
            x = jax.vmap(lambda one: draw_boxes(one, settings.cells))(jax.random.split(key, size))
            return jax.vmap(heat)(x)

        def batch(key: Array, count: Array) -> Array:
            del count
            return draw(key, settings.batch)

        def through_physics(network: UNet, y: Array) -> Array:
            x = jax.vmap(lambda one: predict(network, one), axis_name="batch")(y)
            return jnp.sum(0.5 * (jax.vmap(heat)(x) - y) ** 2)

        def by_inverse(network: UNet, y: Array) -> Array:
            return scale_invariant_loss(lambda one: predict(network, one), y, y, simulator=heat, inverse=inverse)[0]

        test_key = jax.random.key(run.seed + 1)
        tests = jax.vmap(lambda one: draw_boxes(one, settings.cells))(jax.random.split(test_key, settings.tests))
        test_y = jax.vmap(heat)(tests)

        def measure(state: Training) -> dict[str, Array]:
            x = jax.vmap(lambda y: predict(network_of(make_network, state), y), axis_name="batch")(test_y)
            return {
                "error": jnp.mean(jnp.abs(jnp.maximum(x, 0.0) - tests)),
                "half_squares_x": jnp.sum(0.5 * (x - tests) ** 2) / settings.tests,
                "half_squares_y": jnp.sum(0.5 * (jax.vmap(heat)(x) - test_y) ** 2) / settings.tests,
            }

        arms = {
            "scale-invariant": gradient_arm(make_network, batch, by_inverse, optax.adam(settings.adam_rate)),
            "adam": gradient_arm(make_network, batch, through_physics, optax.adam(settings.adam_rate)),
            "gradient-descent": gradient_arm(make_network, batch, through_physics, optax.sgd(settings.descent_rate)),
        }
        compare(
            run,
            arms,
            seeds=settings.seeds,
            seconds=settings.seconds,
            updates=settings.updates,
            measure=measure,
            published=PUBLISHED,
            more={"published_half_squares_x_after_50_updates": PUBLISHED_AFTER_50},
        )
        _save_examples(run, arms, tests, test_y)


def _save_examples(run: Run, arms: Any, tests: Array, test_y: Array) -> None:
    """Three test cases for the figure: truth, what is seen, and what every arm's first network answers."""
    rows = {"x*": tests[:3], "y*": test_y[:3]}
    for name, arm in arms.items():
        state = run.load_checkpoint(f"{name}-0", arm.start(jax.random.key(0)))
        network = network_of(make_network, state)
        rows[name] = jax.vmap(lambda y, network=network: predict(network, y), axis_name="batch")(test_y)[:3]
    run.write_metrics(run.read_metrics() | {"examples": {name: value.round(4) for name, value in rows.items()}})


def report(run: Run) -> Table:
    """Curves, reconstructions and the table."""
    examples = run.read_metrics()["examples"]
    figure = Figure(figsize=(WIDTH, 5.0), dpi=DPI, layout="constrained")
    panels = figure.subplots(3, len(examples), squeeze=False)
    for column, (name, cases) in enumerate(examples.items()):
        for row, values in enumerate(cases):
            panel = panels[row, column]
            panel.imshow(jnp.asarray(values).T, origin="lower", cmap="viridis", vmin=0.0, vmax=2.0)
            panel.set_axis_off()
        panels[0, column].set_title(name, fontsize=8)
    run.save_figure("reconstructions.png", figure)
    return show(run, label="mean |x - x*|", columns={"1/2 squares x": "half_squares_x", "y": "half_squares_y"})


EXPERIMENT = Experiment(
    "heat-inverse",
    Settings,
    {
        "demo": {"seconds": 65.0, "updates": 50},
        "book": {},
        "paper": {"seconds": 6000.0, "seeds": 3},
    },
    run,
    report,
)
