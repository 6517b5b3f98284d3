"""How stretched and how rotated may a problem be? A periodic simulator whose two directions differ ever more in scale.

Holl, Koltun, Thuerey, "Scale-invariant Learning by Physics Inversion" (NeurIPS 2022), figure 5.

    P(x) = (sin(10 z_1 / xi), 10 xi z_2),       z = R_phi x

Stretching (xi) makes one direction xi^2 times as steep as the other. Without rotation, optimizers that scale each
parameter by itself (Adam and its relatives) undo that in the last layer; rotation (phi) takes this away.
Scale-invariant training by a saddle-free Newton step does not see either.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from matplotlib.figure import Figure
from rich.table import Table

from diffphys.experiments import Experiment
from diffphys.experiments.arms import Arm, Training, compare, gradient_arm, network_of, show
from diffphys.inversion import SaddleFreeNewton, absolute_values, scale_invariant_loss
from diffphys.nets import MLP
from diffphys.plots import COLORS, DPI, WIDTH
from diffphys.runs import Run, setting


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
class Settings:
    """As published, save for the time (600 s on a GPU) and fewer points of the sweeps."""

    seconds: float = setting(40.0, help="training time of each arm, with compiling", above=0.0)
    updates: int = setting(10_000_000, help="updates of each arm at most", minimum=1)
    seeds: int = setting(1, help="networks trained for each arm", minimum=1)
    batch: int = setting(100, help="samples of an update, always new", minimum=1)
    rotations: tuple[float, ...] = setting((0.0, 1.0, 3.0, 10.0, 45.0), help="phi in degrees of the first sweep")
    stretchings: tuple[float, ...] = setting((1.0, 10.0, 64.0), help="xi of the second sweep, at phi = 0", above=0.0)
    stretching: float = setting(32.0, help="xi of the first sweep", above=0.0)
    sweep_optimizers: tuple[str, ...] = setting(
        ("scale-invariant", "adam"), help="arms of the sweeps", choices=OPTIMIZERS
    )


def make_network(key: Array) -> MLP:
    """2-32-64-32-2 with max(x, 0): 4,354 parameters."""
    return MLP((2, 32, 64, 32, 2), jax.nn.relu, key=key)


def rotated(x: Array, degrees: float) -> Array:
    """R_phi x, shape (2,)."""
    angle = np.deg2rad(degrees)
    return jnp.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]], x.dtype) @ x


def simulate(x: Array, xi: float, degrees: float) -> Array:
    """P, shape (2,) -> (2,)."""
    z = rotated(x, degrees)
    return jnp.stack([jnp.sin(10.0 / xi * z[0]), 10.0 * xi * z[1]])


def distance_to_solutions(x: Array, y: Array, xi: float, degrees: float) -> Array:
    """Euclidean distance of x to the nearest of all exact solutions of P(x) = y."""
    z = rotated(x, degrees)
    angle = 10.0 / xi * z[0]
    branches = jnp.stack([jnp.arcsin(y[0]), jnp.pi - jnp.arcsin(y[0])])
    # The nearest of the solutions that lie 2 pi apart: the remainder of the difference, between -pi and pi.
    gaps = jnp.mod(angle - branches + jnp.pi, 2 * jnp.pi) - jnp.pi
    return jnp.hypot(jnp.min(jnp.abs(gaps)) * xi / 10.0, z[1] - y[1] / (10.0 * xi))


def arm_of(optimizer: str, xi: float, degrees: float, batch_size: int) -> Arm:
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
        "gradient-descent": optax.sgd(1e-2 / xi**2),
    }
    loss = by_inverse if optimizer == "scale-invariant" else through_physics
    return gradient_arm(make_network, batch, loss, rules[optimizer])


def name_of(optimizer: str, xi: float, degrees: float) -> str:
    """The name of an arm, which is also that of its checkpoint."""
    return f"{optimizer}_xi{xi:g}_phi{degrees:g}"


def run(settings: Settings, run: Run) -> None:
    """The first sweep's last rotation with all optimizers, and both sweeps with those asked for."""
    last = settings.rotations[-1]
    problems = [(name, settings.stretching, last) for name in OPTIMIZERS]
    problems += [(name, settings.stretching, phi) for phi in settings.rotations for name in settings.sweep_optimizers]
    problems += [(name, xi, 0.0) for xi in settings.stretchings for name in settings.sweep_optimizers]
    problems = list(dict.fromkeys(problems))
    tests = jax.random.uniform(jax.random.key(run.seed + 1), (5000, 2), minval=-1.0, maxval=1.0)

    summary: dict[str, Any] = {}
    for optimizer, xi, phi in problems:

        def measure(state: Training, xi: float = xi, phi: float = phi) -> dict[str, Array]:
            network = network_of(make_network, state)
            return {"error": jnp.mean(jax.vmap(lambda y: distance_to_solutions(network(y), y, xi, phi))(tests))}

        name = name_of(optimizer, xi, phi)
        compare(
            run,
            {name: arm_of(optimizer, xi, phi, settings.batch)},
            seeds=settings.seeds,
            seconds=settings.seconds,
            updates=settings.updates,
            measure=measure,
        )
        summary |= run.read_metrics()["arms"]
        _write(run, settings, summary)


def _write(run: Run, settings: Settings, summary: dict[str, Any]) -> None:
    """metrics.json: the arms at the reference problem by their optimizer's name, and the sweeps."""
    last = settings.rotations[-1]
    arms = {
        name: summary[name_of(name, settings.stretching, last)]
        for name in OPTIMIZERS
        if name_of(name, settings.stretching, last) in summary
    }

    def sweep(problems: list[tuple[float, float]]) -> dict[str, list[float | None]]:
        return {
            name: [summary.get(name_of(name, xi, phi), {}).get("final_error") for xi, phi in problems]
            for name in settings.sweep_optimizers
        }

    reference = settings.stretching == 32.0 and last == 45.0
    run.write_metrics(
        {
            "arms": arms,
            "rotations": settings.rotations,
            "error_over_rotation": sweep([(settings.stretching, phi) for phi in settings.rotations]),
            "stretchings": settings.stretchings,
            "error_over_stretching": sweep([(xi, 0.0) for xi in settings.stretchings]),
            "paper": {
                "arms": PUBLISHED if reference else {},
                "error_over_rotation": {
                    name: [points.get(phi) for phi in settings.rotations]
                    for name, points in PUBLISHED_ROTATIONS.items()
                },
            },
        }
    )


def report(run: Run) -> Table:
    """Curves at the reference problem, both sweeps, and the table."""
    table = show(run, label="distance to a solution")
    metrics = run.read_metrics()
    figure = Figure(figsize=(WIDTH, 3.2), dpi=DPI, layout="constrained")
    panels = figure.subplots(1, 2)
    for color, name in zip(COLORS, metrics["error_over_rotation"], strict=False):
        panels[0].plot(metrics["rotations"], metrics["error_over_rotation"][name], "o-", color=color, label=name)
        paper = metrics["paper"]["error_over_rotation"].get(name)
        if paper:
            points = [(phi, e) for phi, e in zip(metrics["rotations"], paper, strict=True) if e is not None]
            panels[0].plot(*zip(*points, strict=True), "x:", color=color, label=f"{name}, published")
        relative = np.array(metrics["error_over_stretching"][name], float) / np.array(metrics["stretchings"])
        panels[1].plot(metrics["stretchings"], relative, "o-", color=color, label=name)
    panels[0].set(xlabel="rotation, degrees", ylabel="distance to a solution", yscale="log")
    panels[1].set(xlabel="stretching xi", ylabel="distance / xi, no rotation", xscale="log", yscale="log")
    panels[0].legend(fontsize=7)
    run.save_figure("sweeps.png", figure)
    return table


EXPERIMENT = Experiment(
    "sine",
    Settings,
    {
        "demo": {"seconds": 15.0, "rotations": (0.0, 45.0), "stretchings": (1.0,)},
        "book": {},
        "paper": {
            "seconds": 600.0,
            "rotations": (0.0, 1.0, 3.0, 5.0, 10.0, 23.0, 35.0, 40.0, 45.0),
            "stretchings": (1.0, 3.0, 5.0, 10.0, 20.0, 48.0, 64.0),
            "sweep_optimizers": OPTIMIZERS,
        },
    },
    run,
    report,
)
