r"""Gray-Scott: growth of every Turing mode, reactions known in closed form, and a pattern.

Around a uniform steady state with Jacobian $J$ a mode of wavenumber $k$ grows with the larger eigenvalue of
$J - k^2 \mathrm{diag}(D_u, D_v)$. Without feed and decay $u + v = s$ is constant and
$s^2 t = \ln \frac{v}{s - v} - \frac{s}{v}$ between two times.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from diffphys.grids import Grid, Periodic
from diffphys.physics import GrayScott
from diffphys.plots import Panel, panels_figure
from diffphys.runs import Figure, setting
from diffphys.stepping import ImplicitExplicit, RungeKutta
from diffphys.verification.case import Check, Parts, verification
from diffphys.verification.convergence import advanced, last_order


METHODS = {
    **{f"Runge-Kutta {order}": RungeKutta(order) for order in (1, 2, 3, 4)},
    **{f"implicit-explicit {order}": ImplicitExplicit(order) for order in (2, 3, 4)},
}
DIFFUSIVITIES = (0.4, 0.1)

SOURCES = (
    "P. Gray, S. K. Scott, Chem. Eng. Sci. 39 (1984) 1087-1097",
    "J. E. Pearson, Science 261 (1993) 189-192 (patterns)",
    "A. M. Turing, Phil. Trans. R. Soc. B 237 (1952) 37-72",
)


@dataclass(frozen=True)
class Settings:
    """What the case is asked for."""

    feed: float = setting(0.04, help="F", above=0.0)
    kill: float = setting(0.058, help="k, with 4 (F + k)^2 < F", above=0.0)
    cells: int = setting(576, help="cells of the axis, 72 long, of the modes", minimum=96)
    modes: tuple[int, ...] = setting((2, 4, 5, 6, 7, 8, 9, 10), increasing=1, help="waves on the axis", minimum=1)
    steps: tuple[int, ...] = setting((10, 20, 40), increasing=2, help="steps that are refined in time", minimum=4)
    pattern: int = setting(96, help="cells along each axis of the pattern, 0.013 wide", minimum=32)
    time: float = setting(3000.0, help="end of the pattern", above=0.0)


def steady_state(feed: float, kill: float) -> tuple[float, float]:
    """The uniform steady state of the lower u that has an activator."""
    u = (1 - np.sqrt(1 - 4 * (feed + kill) ** 2 / feed)) / 2
    return float(u), float(feed * (1 - u) / (feed + kill))


def growth_rate(wave: float, feed: float, kill: float) -> tuple[complex, np.ndarray]:
    """The eigenvalue of largest real part of a mode around that state, and its eigenvector."""
    u, v = steady_state(feed, kill)
    jacobian = np.array([[-(v**2) - feed, -2 * u * v], [v**2, 2 * u * v - feed - kill]])
    rates, vectors = np.linalg.eig(jacobian - wave**2 * np.diag(DIFFUSIVITIES))
    fastest = int(np.argmax(np.real(rates)))
    return complex(rates[fastest]), vectors[:, fastest]


def measure(settings: Settings, parts: Parts) -> dict[str, Any]:
    return (
        parts("growth", lambda: _growth(settings))
        | parts("time", lambda: _time(settings))
        | parts("pattern", lambda: _pattern(settings))
    )


def _growth(settings: Settings) -> dict[str, Any]:
    """The rate at which each mode grows, from the amplitude after a time of 40, and from the dispersion relation."""
    grid, (u, v) = Grid((settings.cells,), (72.0,)), steady_state(settings.feed, settings.kill)
    x, steps, found, exact = np.asarray(grid.centers()[0]), 80, [], []
    pair = ((Periodic(), Periodic()),)
    system = GrayScott(grid, *DIFFUSIVITIES, settings.feed, settings.kill, 0.5, pair, ImplicitExplicit(3))
    for mode in settings.modes:
        wave = 2 * np.pi * mode / 72.0
        rate, vector = growth_rate(wave, settings.feed, settings.kill)
        # The mode as a complex number in each substance: the part along the eigenvector grows, and turns if it must.
        shape = np.real(np.outer(vector, 1e-6 * np.cos(wave * x)))
        final = advanced(system, system.initial_state(u + shape[0], v + shape[1]), steps)
        end = [np.mean(2 * np.cos(wave * x) * (np.asarray(f.values) - s)) for f, s in zip(final, (u, v), strict=True)]
        growth = np.exp(rate * 40.0)
        expected = 1e-6 * np.real(growth * vector)
        size = float(np.linalg.norm(end) / np.linalg.norm(expected))
        exact.append(rate.real)
        found.append(rate.real + float(np.log(size)) / 40.0)
    return dict(found=found, exact=exact)


def reacted(activator: float, total: float, time: float) -> float:
    """The activator after the reaction alone, by bisection of `s^2 t = ln(v / (s - v)) - s / v` between two times."""

    def clock(v: float) -> float:
        return float(np.log(v / (total - v)) - total / v) / total**2

    low, high = activator, total * (1 - 1e-15)
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if clock(middle) - clock(activator) < time else (low, middle)
    return low


def _time(settings: Settings) -> dict[str, Any]:
    """The error of the reaction alone after a time of 2, for each method, steps refined."""
    errors: dict[str, list[float]] = {}
    grid, exact = Grid((2,)), reacted(0.3, 1.2, 2.0)
    for name, method in METHODS.items():
        errors[name] = []
        for steps in settings.steps:
            system = GrayScott(grid, 0.0, 0.0, 0.0, 0.0, 2.0 / steps, ((Periodic(), Periodic()),), method)
            final = advanced(system, system.initial_state(0.9, 0.3), steps)
            errors[name].append(abs(float(np.asarray(final.activator.values)[0]) - exact))
    return dict(steps=[2.0 / steps for steps in settings.steps], errors=errors)


def _pattern(settings: Settings) -> dict[str, Any]:
    """A labyrinth, from one spot with noise: the sum of u + v changes by feed and decay alone."""
    length = settings.pattern * 1.25 / 96
    grid = Grid((settings.pattern, settings.pattern), (length, length))
    random, (feed, kill) = np.random.default_rng(0), (0.04, 0.06)
    x, y = (np.asarray(line) - length / 2 for line in grid.centers())
    spot = (np.abs(x) < 0.15) & (np.abs(y) < 0.15)
    noise = 1 + 0.01 * random.standard_normal((2, *grid.cells))
    system = GrayScott(grid, 2e-5, 1e-5, feed, kill, 1.0, ((Periodic(), Periodic()),) * 2, ImplicitExplicit(2))
    start = system.initial_state(np.where(spot, 0.5, 1.0) * noise[0], np.where(spot, 0.25, 0.0) * noise[1])
    final = advanced(system, start, int(settings.time))
    u, v = (np.asarray(field.values) for field in final)
    reaction = [np.asarray(part) for part in system.rate(0.0, final, None)]
    gained = np.sum(feed * (1 - u) - (feed + kill) * v)
    return dict(
        x=x[:, 0],
        u=u[:, settings.pattern // 2],
        v=v[:, settings.pattern // 2],
        lowest=float(min(u.min(), v.min())),
        highest=float(u.max()),
        balance=abs(float(sum(part.sum() for part in reaction) - gained)) / float(np.sum(np.abs(reaction))),
        covered=[float(np.mean(np.asarray(field.activator.values) > 0.1)) for field in (start, final)],
    )


def judge(settings: Settings, results: dict[str, Any]) -> list[Check]:
    found, exact = np.asarray(results["found"]), np.asarray(results["exact"])
    checks = [
        Check(
            "growth",
            float(np.max(np.abs(found - exact)) / np.max(np.abs(exact))),
            at_most=0.01,
            meaning=f"growth rates of {len(exact)} modes: largest error, of the largest rate",
        )
    ]
    for name, errors in results["errors"].items():
        order = METHODS[name].order
        words = f"order_{name.lower().replace(' ', '_').replace('-', '_')}"
        checks.append(
            Check(words, last_order(results["steps"], errors), at_least=order - 0.25, meaning=f"order in time, {name}")
        )
    return [
        *checks,
        Check("balance", results["balance"], at_most=1e-12, meaning="u + v changes by feed and decay alone"),
        Check("lowest", results["lowest"], at_least=-1e-6, meaning="a pattern: lowest concentration"),
        Check("highest", results["highest"], at_most=1.05, meaning="a pattern: highest substrate"),
        Check(
            "spread",
            results["covered"][1] / results["covered"][0],
            at_least=3.0,
            meaning="a pattern: area of its activator, of that of the spot it grew from",
        ),
    ]


def draw(settings: Settings, results: dict[str, Any]) -> dict[str, Figure]:
    waves = [2 * np.pi * mode / 72.0 for mode in settings.modes]
    fine = np.linspace(waves[0], waves[-1], 100)
    curve = [growth_rate(wave, settings.feed, settings.kill)[0].real for wave in fine]
    return {
        "growth": panels_figure(
            [
                Panel(
                    lines={"dispersion relation": (fine, curve)},
                    points={"found": (waves, results["found"])},
                    title="Turing modes",
                    x="wavenumber",
                    y="growth rate",
                ),
                Panel(
                    marked={name: (results["steps"], line) for name, line in results["errors"].items()},
                    orders=(1, 2, 3, 4),
                    title="the reaction alone, steps refined",
                    x="dt",
                    y="error",
                    logarithmic=True,
                ),
                Panel(
                    lines={"substrate": (results["x"], results["u"]), "activator": (results["x"], results["v"])},
                    title=f"a labyrinth, through its middle, at {settings.time:g}",
                    x="x",
                    y="u, v",
                ),
            ]
        )
    }


PROGRAM = verification(
    "gray-scott",
    Settings,
    {"quick": {"cells": 288, "modes": (5, 7), "pattern": 64, "time": 1000.0}},
    measure,
    judge,
    draw,
    SOURCES,
)
