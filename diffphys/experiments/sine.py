"""How stretched and how rotated may a problem be? A periodic simulator whose two directions differ ever more in scale.

Holl, Koltun, Thuerey, "Scale-invariant Learning by Physics Inversion" (NeurIPS 2022), figure 5.

    P(x) = (sin(10 z_1 / xi), 10 xi z_2),       z = R_phi x

Stretching (xi) makes one direction xi^2 times as steep as the other. Without rotation, optimizers that scale each
parameter by itself (Adam and its relatives) undo that in the last layer; rotation (phi) takes this away.
Scale-invariant training by a saddle-free Newton step does not see either.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.typing import ArrayLike
from matplotlib.figure import Figure
from rich.table import Table

from diffphys.experiments.comparison import Arm, Budget, compare, duration
from diffphys.experiments.comparison_figures import show
from diffphys.experiments.optimizers import gradient_arm
from diffphys.inversion import SaddleFreeNewton, absolute_values, scale_invariant_loss
from diffphys.nets import MLP
from diffphys.plots import COLORS, DPI, WIDTH
from diffphys.runs import Program, Run, setting


OPTIMIZERS = ("scale-invariant", "adam", "rmsprop", "adagrad", "adadelta", "gradient-descent")

# Read off plots (to about 20 %), xi = 32, phi = 45 degrees, 600 s.
PUBLISHED = {
    "scale-invariant": {"final_error": 1.3e-2, "seconds": 600.0},
    "adam": {"final_error": 0.3, "seconds": 600.0},
    "rmsprop": {"final_error": 1.5, "seconds": 600.0},
    "adagrad": {"final_error": 1.4, "seconds": 600.0},
    "adadelta": {"final_error": 1.8, "seconds": 600.0},
    "gradient-descent": {"final_error": 1.7, "seconds": 600.0},
}
PUBLISHED_ROTATIONS = {
    "scale-invariant": {0.0: 1.2e-2, 1.0: 1.2e-2, 3.0: 1.2e-2, 45.0: 1.2e-2},
    "adam": {0.0: 1.3e-2, 1.0: 0.05, 3.0: 0.1, 45.0: 0.33},
}


@dataclass(frozen=True)
class Settings(Budget):
    """As published, save for the time: an optimizer trains one network for each problem of both sweeps, all at once."""

    batch: int = setting(100, help="samples of an update, always new", minimum=1)
    rotations: tuple[float, ...] = setting((0.0, 1.0, 3.0, 10.0, 45.0), help="phi in degrees of the first sweep")
    stretchings: tuple[float, ...] = setting((1.0, 10.0, 64.0), help="xi of the second sweep, at phi = 0", above=0.0)
    stretching: float = setting(32.0, help="xi of the first sweep", above=0.0)

    def problems(self) -> list[tuple[float, float]]:
        """(xi, phi) of every problem; the first is the one whose error is an arm's: the last rotation."""
        rotations = [(self.stretching, phi) for phi in self.rotations[::-1]]
        return rotations + [(xi, 0.0) for xi in self.stretchings]


def make_network(key: Array) -> MLP:
    """2-32-64-32-2 with max(x, 0): 4,354 parameters."""
    return MLP((2, 32, 64, 32, 2), jax.nn.relu, key=key)


def rotated(x: Array, degrees: ArrayLike) -> Array:
    """R_phi x, shape (2,)."""
    angle = jnp.deg2rad(degrees)
    cosine, sine = jnp.cos(angle), jnp.sin(angle)
    return jnp.stack([cosine * x[0] - sine * x[1], sine * x[0] + cosine * x[1]])


def simulate(x: Array, xi: ArrayLike, degrees: ArrayLike) -> Array:
    """P, shape (2,) -> (2,)."""
    z = rotated(x, degrees)
    return jnp.stack([jnp.sin(10.0 / xi * z[0]), 10.0 * xi * z[1]])


def distance_to_solutions(x: Array, y: Array, xi: ArrayLike, degrees: ArrayLike) -> Array:
    """Euclidean distance of x to the nearest of all exact solutions of P(x) = y."""
    z = rotated(x, degrees)
    angle = 10.0 / xi * z[0]
    branches = jnp.stack([jnp.arcsin(y[0]), jnp.pi - jnp.arcsin(y[0])])
    # The nearest of the solutions that lie 2 pi apart: the remainder of the difference, between -pi and pi.
    gaps = jnp.mod(angle - branches + jnp.pi, 2 * jnp.pi) - jnp.pi
    return jnp.hypot(jnp.min(jnp.abs(gaps)) * xi / 10.0, z[1] - y[1] / (10.0 * xi))


def arm_of(optimizer: str, xi: ArrayLike, degrees: ArrayLike, batch_size: int) -> Arm:
    """One optimizer on one problem, with the published learning rates."""

    def simulator(x: Array) -> Array:
        return simulate(x, xi, degrees)

    def batch(key: Array, count: Array) -> Array:
        del count
        return jax.random.uniform(key, (batch_size, 2), minval=-1.0, maxval=1.0)

    def through_physics(network: MLP, y: Array) -> Array:
        return jnp.mean(0.5 * jnp.sum((jax.vmap(lambda one: simulator(network(one)))(y) - y) ** 2, axis=1))

    def by_inverse(network: MLP, y: Array) -> Array:
        inverse = SaddleFreeNewton(simulator)
        return scale_invariant_loss(network, y, y, simulator=simulator, inverse=inverse, distance=absolute_values)[0]

    rules: dict[str, Any] = {
        "scale-invariant": optax.adam(1e-3),
        "adam": optax.adam(1e-3),
        "rmsprop": optax.rmsprop(3e-5),
        "adagrad": optax.adagrad(3e-3),
        "adadelta": optax.adadelta(3e-3),
        # With the rate in a chain of its own it may be a traced number.
        "gradient-descent": optax.chain(optax.identity(), optax.scale(-1e-2 / jnp.asarray(xi) ** 2)),
    }
    loss = by_inverse if optimizer == "scale-invariant" else through_physics
    return gradient_arm(make_network, batch, loss, rules[optimizer])


def sweep_arm(optimizer: str, problems: Array, batch_size: int) -> Arm:
    """One optimizer on many problems (xi, phi) at once, from the same network with the same data."""

    def each(function: Callable[[Arm, Any], Any]) -> Callable[[Any], Any]:
        def mapped(states: Any) -> Any:
            return jax.vmap(lambda p, state: function(arm_of(optimizer, p[0], p[1], batch_size), state))(
                problems, states
            )

        return mapped

    def start(key: Array) -> Any:
        return jax.vmap(lambda p: arm_of(optimizer, p[0], p[1], batch_size).start(key))(problems)

    return Arm(start, each(lambda arm, state: arm.update(state)), each(lambda arm, state: arm.network(state)))


def run(settings: Settings, run: Run) -> None:
    """All optimizers on all problems."""
    problems = jnp.asarray(settings.problems())
    tests = jax.random.uniform(jax.random.key(run.seed + 1), (5000, 2), minval=-1.0, maxval=1.0)

    def measure(networks: MLP) -> dict[str, Array]:
        def error(network: MLP, problem: Array) -> Array:
            return jnp.mean(jax.vmap(lambda y: distance_to_solutions(network(y), y, problem[0], problem[1]))(tests))

        errors = jax.vmap(error)(networks, problems)
        return {"error": errors[0], "errors": errors}

    reference = settings.stretching == 32.0 and settings.rotations[-1] == 45.0
    arms = {name: sweep_arm(name, problems, settings.batch) for name in OPTIMIZERS}
    compare(run, arms, settings, measure=measure, published=PUBLISHED if reference else {})
    _note_sweeps(settings, run)


def _note_sweeps(settings: Settings, run: Run) -> None:
    """Add both sweeps to metrics.json: for each arm the last errors, the median of the seeds."""
    metrics = run.read_metrics()
    count = len(settings.rotations)
    for name, arm in metrics["arms"].items():
        last = np.median([np.array(curve["errors"][-1], float) for curve in arm["curves"]], axis=0)
        metrics["arms"][name] |= {
            "error_over_rotation": last[:count][::-1],
            "error_over_stretching": last[count:],
        }
        published = PUBLISHED_ROTATIONS.get(name, {})
        metrics["paper"]["arms"].setdefault(name, {})["error_over_rotation"] = [
            published.get(phi) if settings.stretching == 32.0 else None for phi in settings.rotations
        ]
    run.write_metrics(metrics | {"rotations": settings.rotations, "stretchings": settings.stretchings})


def report(run: Run) -> Table:
    """Curves at the reference problem, both sweeps, and the table."""
    table = show(run, label="distance to a solution")
    metrics = run.read_metrics()
    rotations, stretchings = metrics["rotations"], metrics["stretchings"]
    figure = Figure(figsize=(WIDTH, 3.4), dpi=DPI, layout="constrained")
    over_rotation, over_stretching = figure.subplots(1, 2)
    for color, (name, arm) in zip(COLORS, metrics["arms"].items(), strict=False):
        over_rotation.plot(rotations, arm["error_over_rotation"], "o-", color=color, label=name)
        paper = metrics["paper"]["arms"][name]["error_over_rotation"]
        points = [(phi, error) for phi, error in zip(rotations, paper, strict=True) if error is not None]
        if points:
            over_rotation.plot(*zip(*points, strict=True), "x:", color=color, label=f"{name}, published")
        relative = np.array(arm["error_over_stretching"], float) / np.array(stretchings)
        over_stretching.plot(stretchings, relative, "o-", color=color)
    over_rotation.set(xlabel="rotation, degrees", ylabel="distance to a solution", yscale="log")
    over_stretching.set(xlabel="stretching xi", ylabel="distance / xi, no rotation", xscale="log", yscale="log")
    over_rotation.legend(fontsize=6, ncols=2, loc="center", bbox_to_anchor=(0.58, 0.3))
    run.save_figure("sweeps.png", figure)
    return table


PROGRAM = Program(
    "sine",
    Settings,
    {
        "demo": {"seconds": 30.0, "clock": "processor", "seeds": 1, "rotations": (0.0, 45.0), "stretchings": (1.0,)},
        "book": {"seconds": 30.0, "seeds": 2},
        "paper": {
            "seconds": 600.0 * 17,
            "rotations": (0.0, 1.0, 3.0, 5.0, 10.0, 23.0, 35.0, 40.0, 45.0),
            "stretchings": (1.0, 3.0, 5.0, 10.0, 20.0, 32.0, 48.0, 64.0),
        },
    },
    run,
    report,
    duration=duration,
)
