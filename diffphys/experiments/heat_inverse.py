"""A U-Net learns what the temperature was, from what heat conduction has left of it.

Holl, Koltun, Thuerey, "Scale-invariant Learning by Physics Inversion" (NeurIPS 2022), heat experiment; the first 50
updates are a notebook of "Physics-based Deep Learning" (Thuerey et al.).

    u_t = nu laplace u   on a periodic square of 64x64 unit cells,   nu t = 8,   x = u(0), y = u(t)

Data are four to ten soft boxes. The diffusion of the gradient by the adjoint leaves only the coarsest modes of the
error in the update; the inverse, damped where the residual is noise, leaves all that can be known. The physics is
computed in float64 (see `NoiseAwareHeatInverse`), the network in float32.

An inverse simulator is good for more than updates. With `inverse_steps` above zero it is used so many times in a row,
and no temperature is left negative; the network is shown, beside y, what this makes of y from a start at the mean, and
answers by how much to change that.
"""

from collections.abc import Callable
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from matplotlib.figure import Figure
from rich.table import Table

from diffphys.experiments.comparison import compare, duration, first_network, median_after, shown_on
from diffphys.experiments.comparison_figures import show
from diffphys.experiments.inverse_problems import InverseProblem, answers, inverse_problem_arms
from diffphys.grids import Grid
from diffphys.inversion import NoiseAwareHeatInverse, RepeatedInverse, SpectralHeat
from diffphys.nets import UNet
from diffphys.plots import DPI, WIDTH
from diffphys.runs import Program, Run, setting


# Mean |x - x*| for each cell after the full training (6000 s on a GPU); after 50 updates, read off a plot.
PUBLISHED = {
    "scale-invariant": {"final_error": 0.01231, "seconds": 6000.0, "half_squares_x_after_50_updates": 20.5},
    "adam": {"final_error": 0.03052, "seconds": 6000.0, "half_squares_x_after_50_updates": 29.0},
    "gradient-descent": {"final_error": 0.02904, "seconds": 6000.0},
}


FASTEST = ("scale-invariant", "adam", "gradient-descent")


@dataclass(frozen=True)
class Settings(InverseProblem):
    """As published, save for the time."""

    diffusion_time: float = setting(8.0, help="nu t, in squared cells", above=0.0)
    noise: float = setting(1e-6, help="relative noise that the inverse expects", above=0.0)
    inverse_steps: int = setting(0, help="uses of the inverse whose result the network sees (published: 0)", minimum=0)


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


def network_maker(informed: bool, levels: int) -> Callable[[Array], UNet]:
    """A U-Net of 37,697 parameters, or 37,841 where it sees two images; in float32."""

    def make(key: Array) -> UNet:
        network = UNet(2 if informed else 1, 1, levels=levels, normalization="batch", key=key)
        return jax.tree.map(lambda leaf: leaf.astype(jnp.float32), network)

    return make


def predictor(inverse: Callable[[Array, Array, Array], Array], informed: bool) -> Callable[[UNet, Array], Array]:
    """From a network and y to x, with the mean of y: heat is conserved. Mapped over the axis "batch"."""

    def predict(network: UNet, y: Array) -> Array:
        mean = jnp.full_like(y, jnp.mean(y))
        known = inverse(y, mean, mean) if informed else jnp.zeros_like(y)
        images = jnp.stack([y, known] if informed else [y])
        answer = network(images.astype(jnp.float32))[0].astype(y.dtype)
        x = known + (0.1 * answer if informed else answer)  # what is missing is small
        return x + jnp.mean(y) - jnp.mean(x)

    return predict


def run(settings: Settings, run: Run) -> None:
    """Train all arms on data without end."""
    with jax.enable_x64(True):
        heat = SpectralHeat(settings.diffusion_time)
        inverse = NoiseAwareHeatInverse(heat, settings.noise)
        informed = settings.inverse_steps > 0
        if informed:
            inverse = RepeatedInverse(heat, inverse, settings.inverse_steps, jax.nn.relu)
        predict, make_network = predictor(inverse, informed), network_maker(informed, settings.levels)

        def draw(key: Array, size: int) -> Array:
            return jax.vmap(lambda one: draw_boxes(one, settings.cells))(jax.random.split(key, size))

        def batch(key: Array, count: Array) -> Array:
            del count
            return jax.vmap(heat)(draw(key, settings.batch))

        test_key = jax.random.key(run.seed + 1)
        tests = jax.jit(lambda key: draw(key, settings.tests))(test_key)
        test_y = jax.jit(jax.vmap(heat))(tests)

        def measure(network: UNet) -> dict[str, Array]:
            x = answers(predict, network, test_y)
            return {
                "error": jnp.mean(jnp.abs(jnp.maximum(x, 0.0) - tests)),
                "half_squares_x": jnp.sum(0.5 * (x - tests) ** 2) / settings.tests,
                "half_squares_y": jnp.sum(0.5 * (jax.vmap(heat)(x) - test_y) ** 2) / settings.tests,
            }

        arms = inverse_problem_arms(settings, make_network, batch, predict, heat, inverse)
        published = {} if informed else PUBLISHED
        grid = Grid((settings.cells,) * 2, (float(settings.cells),) * 2)
        answer = eqx.filter_jit(lambda network: answers(predict, network, test_y)[:3])
        trained = compare(
            run,
            arms,
            settings,
            measure=measure,
            published=published,
            points=(50,),
            answers=lambda network: shown_on(grid, {"temperature": answer(network)}),
            truth=shown_on(grid, {"temperature": tests[:3], "seen": test_y[:3]}),
        )
        metrics = run.read_metrics()
        for arm in metrics["arms"].values():
            arm["half_squares_x_after_50_updates"] = median_after(arm, "half_squares_x", 50)
        # Three test cases for the figure: truth, what is seen, and what every arm answers.
        examples = {"x*": tests[:3], "y*": test_y[:3]}
        examples |= {name: answer(first_network(run, name, arm)) for name, arm in trained.items()}
        run.write_metrics(metrics | {"examples": {name: case.round(4) for name, case in examples.items()}})


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


PROGRAM = Program(
    "heat-inverse",
    Settings,
    {
        "demo": {"seconds": 50.0, "clock": "processor", "seeds": 1, "batch": 16, "tests": 32, "arms": FASTEST},
        "book": {"seconds": 60.0, "seeds": 1, "batch": 16, "tests": 32},
        "informed": {
            "seconds": 80.0,
            "seeds": 1,
            "batch": 16,
            "tests": 32,
            "inverse_steps": 10,
            "arms": ("scale-invariant", "adam"),
        },
        "paper": {"seconds": 6000.0},
    },
    run,
    report,
    duration=duration,
)
