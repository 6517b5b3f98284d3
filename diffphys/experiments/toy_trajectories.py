"""Four ways down a valley of two dimensions: what the units of a gradient do to its path.

Holl, Koltun, Thuerey, "Scale-invariant Learning by Physics Inversion" (NeurIPS 2022), figure 1, with the settings of
"Physics-based Deep Learning" (Thuerey et al.), chapter on improved gradients.

    y = P(x) = (x0, x1^2),        L = |y|^2 = y0^2 + y1^2,        start (3, 3), ten iterations
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from matplotlib.figure import Figure
from rich.table import Table

from diffphys.inversion import BFGS, newton, scale_invariant_target
from diffphys.plots import COLORS, DPI, WIDTH
from diffphys.runs import Program, Run, setting


# Printed in the book's notebook: the last point, and the first step's alignment with the diagonal.
PUBLISHED = {
    "gradient-descent": {"final_x": [2.4512184, 0.96171147], "final_error": 2.63, "alignment": 1.053930},
    "newton": {"final_x": [0.05202458, 0.92383826], "final_error": 0.925, "alignment": 1.264911},
    "inverse-simulator": {"final_x": [0.08474258, 0.50421], "final_error": 0.51, "alignment": 1.356443},
    "inverse-bfgs": {"final_x": [0.08474171, 0.50421247], "final_error": 0.51},
}


@dataclass(frozen=True)
class Settings:
    """Step sizes as published."""

    iterations: int = setting(10, help="updates of every method", minimum=1)
    descent_rate: float = setting(0.01, help="eta of gradient descent", above=0.0)
    newton_rate: float = setting(1 / 3, help="eta of Newton's method", above=0.0)
    inverse_rate: float = setting(0.3, help="eta of the inverse simulator", above=0.0, maximum=1.0)


def simulator(x: Array) -> Array:
    """P, shape (2,) -> (2,)."""
    return jnp.stack([x[0], x[1] ** 2])


def loss(x: Array) -> Array:
    """|P(x)|^2."""
    return jnp.sum(simulator(x) ** 2)


def analytic_inverse(target: Array, x: Array, y: Array) -> Array:
    """The inverse with x1 >= 0."""
    del x, y
    return jnp.stack([target[0], jnp.sqrt(target[1])])


def methods(settings: Settings) -> dict[str, Callable[[Array], Array]]:
    """From a point to the next, by name."""
    descent: Any = optax.sgd(settings.descent_rate)
    second_order: Any = newton(settings.newton_rate)
    bfgs = BFGS(simulator, relative_tolerance=1e-9, absolute_tolerance=1e-9)

    def inverse_step(inverse: Callable[..., Array]) -> Callable[[Array], Array]:
        # The loss |y|^2 has its minimum at y = 0, and a Newton step in the space of y lands there.
        return lambda x: scale_invariant_target(x, jnp.zeros_like(x), simulator, inverse, eta=settings.inverse_rate)[0]

    return {
        "gradient-descent": lambda x: x + descent.update(jax.grad(loss)(x), descent.init(x))[0],
        "newton": lambda x: x + second_order.update(jax.grad(loss)(x), optax.EmptyState(), x, loss=loss)[0],
        "inverse-simulator": inverse_step(analytic_inverse),
        "inverse-bfgs": inverse_step(bfgs),
    }


def run(settings: Settings, run: Run) -> None:
    """Ten steps of each: nothing here takes long enough to save in between."""
    arms = {}
    with jax.enable_x64(True):
        start = jnp.array([3.0, 3.0])
        for name, step in methods(settings).items():

            def path(x: Array, step: Callable = step) -> Array:
                return jax.lax.scan(lambda now, _: (step(now),) * 2, x, length=settings.iterations)[1]

            began = time.perf_counter()
            points = np.concatenate([start[None], jax.jit(path)(start)])
            seconds = time.perf_counter() - began
            first = points[1] - points[0]
            with np.errstate(over="ignore", invalid="ignore"):  # of a path that leaves the plane
                distances = np.linalg.norm(points, axis=1)
            run.save_curve("paths", name, {"x0": points[:, 0], "x1": points[:, 1], "update": np.arange(len(points))})
            arms[name] = {
                "final_x": points[-1],
                "final_error": distances[-1],
                "alignment": abs(first.sum()) / np.linalg.norm(first),
                "seconds": seconds,  # nearly all of them for compiling
                "updates": settings.iterations,
                "curve": {"updates": np.arange(len(points)), "error": distances},
                "path": points,
            }
    run.write_metrics({"arms": arms, "paper": {"arms": PUBLISHED}})


def report(run: Run) -> Table:
    """The paths over the loss, and the table of last points."""
    arms = run.read_metrics()["arms"]
    figure = Figure(figsize=(WIDTH, 4.0), dpi=DPI, layout="constrained")
    in_x, in_y = figure.subplots(1, 2)
    grid = np.linspace(0.0, 3.3, 100)
    in_x.contour(grid, grid, grid[None, :] ** 2 + grid[:, None] ** 4, levels=np.geomspace(0.1, 120, 9), colors="0.8")
    in_y.contour(grid, 3 * grid, grid[None, :] ** 2 + 9 * grid[:, None] ** 2, levels=9, colors="0.8")
    table = Table("arm", "last x", "x, published", "distance", "alignment", "alignment, published", title=run.program)
    for color, (name, arm) in zip(COLORS, arms.items(), strict=False):
        path = np.asarray(arm["path"], float)  # None, for what is not finite, becomes NaN
        in_x.plot(*path.T, "o-", color=color, markersize=3, linewidth=1, label=name)
        in_y.plot(path[:, 0], path[:, 1] ** 2, "o-", color=color, markersize=3, linewidth=1)
        paper = PUBLISHED[name]
        texts = [", ".join(_fixed(value, 7) for value in arm["final_x"])]
        texts += [", ".join(f"{value:.7f}" for value in paper["final_x"])]
        alignment = f"{paper['alignment']:.6f}" if "alignment" in paper else ""
        table.add_row(name, *texts, _fixed(arm["final_error"], 3), _fixed(arm["alignment"], 6), alignment)
    in_x.set(xlabel="x0", ylabel="x1", title="parameters x")
    in_y.set(xlabel="y0", ylabel="y1", title="outputs y = P(x)")
    in_x.legend(fontsize=7)
    run.save_figure("paths.png", figure)
    return table


def _fixed(value: float | None, digits: int) -> str:
    """A number with so many digits after the point; None stands in files for one that is not finite."""
    return "not finite" if value is None else f"{value:.{digits}f}"


PROGRAM = Program("toy-trajectories", Settings, {"demo": {}, "book": {}, "paper": {}}, run, report)
