r"""The wave equation: standing waves between all kinds of ends, energy, and what a change of speed sends back.

Where the speed changes from $c_1$ to $c_2$ a wave of amplitude 1 sends back $(c_2 - c_1) / (c_2 + c_1)$ and lets
$2 c_2 / (c_2 + c_1)$ through.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from diffphys.grids import Conditions, Dirichlet, Grid, Neumann, Periodic
from diffphys.physics import Wave
from diffphys.plots import Panel, panels_figure
from diffphys.runs import Figure, setting
from diffphys.stepping import RungeKutta, Splitting
from diffphys.verification.case import Check, Parts, verification
from diffphys.verification.convergence import advanced, last_order


METHODS = {
    "leapfrog": Splitting(),
    **{f"Runge-Kutta {order}": RungeKutta(order) for order in (1, 2, 3, 4)},
}

SOURCES = (
    "Every textbook: separation of variables; d'Alembert 1747",
    "E. Hairer, C. Lubich, G. Wanner, Acta Numerica 12 (2003) 399-450 (leapfrog and its energy)",
)


@dataclass(frozen=True)
class Settings:
    """What the case is asked for."""

    levels: tuple[int, ...] = setting(
        (16, 32, 64, 128), increasing=2, help="cells along each axis of the grids that are refined", minimum=8
    )
    steps: tuple[int, ...] = setting((40, 80, 160), increasing=2, help="steps that are refined in time", minimum=10)
    periods: int = setting(200, help="periods over which the energy is watched", minimum=10)
    cells: int = setting(400, help="cells of the string whose speed changes", minimum=100)
    ratio: float = setting(0.5, help="speed behind the change, ahead of which it is 1", above=0.0, maximum=1.0)


def measure(settings: Settings, parts: Parts) -> dict[str, Any]:
    return (
        parts("space", lambda: _space(settings))
        | parts("time", lambda: _time(settings))
        | parts("energy", lambda: _energy(settings))
        | parts("change", lambda: _change(settings))
    )


def _space(settings: Settings) -> dict[str, Any]:
    """The error of a standing wave between a fixed end, a free end and periodic sides, after about a period."""
    errors, ends = [], ((Dirichlet(), Neumann()), (Periodic(), Periodic()))
    frequency = np.hypot(1.5 * np.pi, 2 * np.pi)
    for count in settings.levels:
        grid = Grid((count, count), (1.0, 1.0))
        x, y = (np.asarray(line) for line in grid.centers())
        shape = np.sin(1.5 * np.pi * x) * np.cos(2 * np.pi * y)
        wave = Wave(grid, 1.0, 0.5 / count, ends)
        final = advanced(wave, wave.initial_state(shape), 2 * count)
        errors.append(float(np.max(np.abs(final.displacement.values - np.cos(frequency) * shape))))
    return dict(sizes=[1 / count for count in settings.levels], space_errors=errors)


def _time(settings: Settings) -> dict[str, Any]:
    """The error of each method for one mode of the grid, against its exact discrete frequency, steps refined."""
    grid, errors = Grid((12,), (1.0,)), {}
    shape = np.cos(np.pi * np.asarray(grid.centers()[0]))
    frequency = 24 * np.sin(np.pi / 24)
    conditions: Conditions = ((Neumann(), Neumann()),)
    for name, method in METHODS.items():
        errors[name] = []
        for steps in settings.steps:
            wave = Wave(grid, 1.0, 1.5 / steps, conditions, stepping=method)
            final = advanced(wave, wave.initial_state(shape), steps)
            exact = np.cos(1.5 * frequency) * shape, -np.sin(1.5 * frequency) * shape
            found = final.displacement.values, final.velocity.values / frequency
            errors[name].append(float(np.linalg.norm(np.subtract(found, exact))))
    return dict(steps=[1.5 / steps for steps in settings.steps], time_errors=errors)


def _energy(settings: Settings) -> dict[str, Any]:
    """The energy of random waves where the speed varies, over many periods of the slowest."""
    grid, random = Grid((16, 12), (1.0, 1.0)), np.random.default_rng(0)
    conditions: Conditions = ((Dirichlet(0.3), Neumann()), (Periodic(), Periodic()))
    speed, start = 0.5 + random.random(grid.cells), random.standard_normal((2, *grid.cells))
    found, times = {}, []
    for name in ("leapfrog", "Runge-Kutta 3", "Runge-Kutta 4"):
        wave = Wave(grid, speed, 0.015, conditions, stepping=METHODS[name])
        state = wave.initial_state(*start)
        pieces = 20
        steps = int(np.ceil(4 * settings.periods / pieces / 0.015))
        energies = [float(wave.energy(state))]
        for _ in range(pieces):
            state = advanced(wave, state, steps)
            energies.append(float(wave.energy(state)))
        found[name] = [energy / energies[0] for energy in energies]
        times = (np.arange(pieces + 1) * steps * 0.015).tolist()
    return dict(energies=found, times=times)


def _change(settings: Settings) -> dict[str, Any]:
    """A pulse that runs to the right into the part of a string where it is slower."""
    grid = Grid((settings.cells,), (4.0,))
    x = np.asarray(grid.centers()[0])

    def pulse(place: Any) -> Any:
        return np.exp(-((place / 0.15) ** 2))

    speed = np.where(x < 2.0, 1.0, settings.ratio)
    wave = Wave(grid, speed, 1.0 / settings.cells, ((Dirichlet(), Dirichlet()),))
    # it runs to the right: u_t = -c u_x
    start = wave.initial_state(pulse(x - 1.0), 2 * (x - 1.0) / 0.15**2 * pulse(x - 1.0))
    final = advanced(wave, start, 2 * settings.cells)
    back = (settings.ratio - 1) / (settings.ratio + 1)
    exact = np.where(x < 2.0, back * pulse(x - 1.0), (1 + back) * pulse((x - 2.0) / settings.ratio - 1.0))
    found = np.asarray(final.displacement.values)
    return dict(profile=dict(x=x, start=pulse(x - 1.0), found=found, exact=exact))


def judge(settings: Settings, results: dict[str, Any]) -> list[Check]:
    profile = {name: np.asarray(line) for name, line in results["profile"].items()}
    checks = [
        Check(
            "order_in_space",
            last_order(results["sizes"], results["space_errors"]),
            at_least=1.9,
            meaning="order in space and time of leapfrog steps, 2D",
        )
    ]
    for name, errors in results["time_errors"].items():
        order = METHODS[name].order if name != "leapfrog" else 2
        words = f"order_{name.lower().replace(' ', '_').replace('-', '_')}"
        found = last_order(results["steps"], errors)
        checks.append(Check(words, found, order - 0.15, order + 0.35, meaning=f"order in time, {name}"))
    for name, energies in results["energies"].items():
        checks.append(
            Check(
                f"energy_{name.lower().replace(' ', '_').replace('-', '_')}",
                energies[-1],
                at_least=0.9 if name == "leapfrog" else None,
                at_most=1.1 if name == "leapfrog" else 1.0,
                meaning=f"energy after {settings.periods} periods of its start, {name}",
            )
        )
    checks.append(
        Check(
            "error_behind_change",
            float(np.max(np.abs(profile["found"] - profile["exact"]))),
            at_most=0.02 * (400 / settings.cells) ** 2,
            meaning=f"a pulse where the speed changes to {settings.ratio:g}: largest error, {settings.cells} cells",
        )
    )
    return checks


def draw(settings: Settings, results: dict[str, Any]) -> dict[str, Figure]:
    profile = results["profile"]
    every = max(1, len(profile["x"]) // 50)
    return {
        "waves": panels_figure(
            [
                Panel(
                    lines={"start": (profile["x"], profile["start"]), "end": (profile["x"], profile["found"])},
                    points={"exact": (profile["x"][::every], profile["exact"][::every])},
                    title="slower on the right",
                    x="x",
                    y="displacement",
                ),
                Panel(
                    lines={name: (results["times"], line) for name, line in results["energies"].items()},
                    title="energy of random waves",
                    x="time",
                    y="energy / that of the start",
                ),
                Panel(
                    marked={"leapfrog": (results["sizes"], results["space_errors"])},
                    orders=(2,),
                    title="cells and steps refined",
                    x="spacing",
                    y="largest error",
                    logarithmic=True,
                ),
                Panel(
                    marked={name: (results["steps"], line) for name, line in results["time_errors"].items()},
                    orders=(1, 2, 3, 4),
                    title="steps refined",
                    x="dt",
                    y="error of u and v",
                    logarithmic=True,
                ),
            ]
        )
    }


PROGRAM = verification(
    "wave",
    Settings,
    {"quick": {"levels": (16, 32), "periods": 10, "cells": 200}},
    measure,
    judge,
    draw,
    SOURCES,
)
