r"""Burgers' equation against the Cole-Hopf solution.

$u = -2 \nu \phi_x / \phi$ solves Burgers' equation where $\phi$ solves the heat equation; here
$\phi = a + 2 e^{-\nu t} \cos x$ on the periodic axis $[0, 2 \pi)$, whose largest slope grows as $a$ approaches 2.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from diffphys.grids import Grid, Periodic
from diffphys.physics import Burgers
from diffphys.plots import Panel, panels_figure
from diffphys.runs import Figure, setting
from diffphys.stepping import RungeKutta, Splitting
from diffphys.verification.case import Check, Parts, verification
from diffphys.verification.convergence import advanced, largest_difference, last_order


SOURCES = (
    "E. Hopf, Comm. Pure Appl. Math. 3 (1950) 201-230",
    "J. D. Cole, Quart. Appl. Math. 9 (1951) 225-236",
)


@dataclass(frozen=True)
class Settings:
    """What the case is asked for."""

    levels: tuple[int, ...] = setting(
        (64, 128, 256, 512), increasing=2, help="cells of the grids that are refined", minimum=8
    )
    viscosity: float = setting(0.05, help="length squared per time", above=0.0)
    offset: float = setting(2.2, help="the constant a in phi; nearer to 2 is steeper", above=2.0)
    time: float = setting(10.0, help="end of the simulation", above=0.0)
    courant: float = setting(0.5, help="largest Courant number", above=0.0, maximum=10.0)
    axis: int = setting(0, help="the axis of the wave", choices=(0, 1))


def cole_hopf(x: np.ndarray, time: float, settings: Settings) -> np.ndarray:
    """The exact solution."""
    decay = 2 * np.exp(-settings.viscosity * time)
    return 2 * settings.viscosity * decay * np.sin(x) / (settings.offset + decay * np.cos(x))


METHODS = {"semi-Lagrangian": Splitting(), "central": RungeKutta(3)}


def measure(settings: Settings, parts: Parts) -> dict[str, Any]:
    found = {name: _refined(settings, method) for name, method in METHODS.items()}
    return found["semi-Lagrangian"] | dict(central_errors=found["central"]["errors"])


def _refined(settings: Settings, stepping: Splitting | RungeKutta) -> dict[str, Any]:
    """The error on each grid, and the profiles on the finest."""
    errors, sizes, profiles = [], [], {}
    for count in settings.levels:
        cells, size = [2, 2], [1.0, 1.0]
        cells[settings.axis], size[settings.axis] = count, 2 * np.pi
        grid = Grid(cells, size)
        x = np.arange(count) * 2 * np.pi / count
        start, exact = cole_hopf(x, 0.0, settings), cole_hopf(x, settings.time, settings)
        h = 2 * np.pi / count
        fastest = max(np.abs(start).max(), np.abs(exact).max())
        stable = 1 / (2 * settings.viscosity * sum(1 / spacing**2 for spacing in grid.spacing))
        steps = int(np.ceil(settings.time / min(settings.courant * h / fastest, 0.9 * stable)))
        step = Burgers(
            grid, settings.viscosity, settings.time / steps, ((Periodic(), Periodic()),) * 2, stepping=stepping
        )
        values: list[Any] = [0.0, 0.0]
        values[settings.axis] = np.broadcast_to(start, (2, count)).T if settings.axis == 0 else np.tile(start, (2, 1))
        final = advanced(step, step.initial_state(values), steps)
        found = np.asarray(final[settings.axis].values).take(0, 1 - settings.axis)
        errors.append(largest_difference(found, exact) / float(np.abs(exact).max()))
        sizes.append(h)
        profiles = dict(x=x, start=start, exact=exact, found=found)
    return dict(sizes=sizes, errors=errors, profiles=profiles)


def judge(settings: Settings, results: dict[str, Any]) -> list[Check]:
    # Semi-Lagrangian steps with linear interpolation are of first order in space and in time.
    return [
        Check(
            "order",
            last_order(results["sizes"], results["errors"]),
            at_least=0.9,
            meaning="order of convergence of the first-order scheme",
        ),
        Check(
            "relative_error",
            results["errors"][-1],
            at_most=0.01,
            meaning=f"largest error relative to the amplitude, {settings.levels[-1]} cells",
        ),
        Check(
            "order_central",
            last_order(results["sizes"], results["central_errors"]),
            at_least=1.9,
            meaning="order of convergence of the central form, Runge-Kutta 3",
        ),
        Check(
            "relative_error_central",
            results["central_errors"][-1],
            at_most=1e-4,
            meaning=f"its largest error relative to the amplitude, {settings.levels[-1]} cells",
        ),
    ]


def draw(settings: Settings, results: dict[str, Any]) -> dict[str, Figure]:
    profiles = results["profiles"]
    every = max(1, len(profiles["x"]) // 32)
    return {
        "cole-hopf": panels_figure(
            [
                Panel(
                    lines={"start": (profiles["x"], profiles["start"]), "end": (profiles["x"], profiles["found"])},
                    points={"exact": (profiles["x"][::every], profiles["exact"][::every])},
                    title=f"{settings.levels[-1]} cells",
                    x="x",
                    y="u",
                ),
                Panel(
                    marked={
                        "semi-Lagrangian": (results["sizes"], results["errors"]),
                        "central": (results["sizes"], results["central_errors"]),
                    },
                    orders=(1, 2),
                    title="refined",
                    x="spacing",
                    y="largest error / amplitude",
                    logarithmic=True,
                ),
            ]
        )
    }


PROGRAM = verification(
    "burgers", Settings, {"quick": {"levels": (64, 128), "time": 2.0}}, measure, judge, draw, SOURCES
)
