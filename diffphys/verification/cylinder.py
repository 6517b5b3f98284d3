r"""Flow around a cylinder in a channel: the benchmark of Schaefer and Turek, in two dimensions.

A channel of 2.2 x 0.41 with a cylinder of diameter 0.1 at (0.2, 0.2), a little below the middle, so that there is lift.
Force coefficients are $2 F / (\bar U^2 D)$ with the mean velocity $\bar U$ of the inlet; the pressure difference is
that between the points in front of the cylinder and behind it. At Re 20 the flow is steady; at Re 100 vortices part
from the cylinder, and drag, lift and the Strouhal number $D f / \bar U$ are those of a period in which they repeat.

The cylinder is immersed: its surface cuts cells. Cells are narrow and square around it and grow along the channel.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy.interpolate import CubicSpline

from diffphys.errors import InputError
from diffphys.grids import Grid, Inflow, Outflow, Sphere, Wall, face_offset
from diffphys.physics import FlowState, Immersed, IncompressibleFlow
from diffphys.plots import Panel, panels_figure
from diffphys.runs import Figure, setting
from diffphys.stepping import RungeKutta
from diffphys.verification.case import Check, Parts, in_metrics, verification


SOURCES = ("M. Schaefer, S. Turek, Notes on Numerical Fluid Mechanics 52 (1996) 547-566",)

LENGTH, HEIGHT, DIAMETER, CENTER = 2.2, 0.41, 0.1, (0.2, 0.2)
VISCOSITY = 1e-3

# The intervals of the published table for 2D-1 (Re 20) and 2D-2 (Re 100): largest drag and lift where they vary.
PUBLISHED: dict[float, dict[str, tuple[float, float]]] = {
    20.0: dict(drag=(5.57, 5.59), lift=(0.0104, 0.0110), pressure=(0.1172, 0.1176)),
    100.0: dict(drag=(3.22, 3.24), lift=(0.99, 1.01), strouhal=(0.295, 0.305), pressure=(2.46, 2.50)),
}


@dataclass(frozen=True)
class Settings:
    """What the case is asked for."""

    re: tuple[float, ...] = setting((20.0, 100.0), help="Reynolds numbers", above=0.0, maximum=500.0)
    cells: int = setting(20, help="cells along the diameter", minimum=5)
    widest: float = setting(6.0, help="the widest cells along the channel, over the narrowest", minimum=1.0)
    profile: tuple[float, ...] = setting(
        (0.0, 0.75, 1.0, 0.75, 0.0),
        help="the inlet at equally spaced heights from wall to wall, of any scale; default: the parabola",
    )
    pulse: tuple[float, ...] = setting((1.0,), help="factors of the inlet at equally spaced times from 0 to the end")
    time: float = setting(7.0, help="diameters over speed / 10 that pass before the flow is measured", above=0.0)
    measured: float = setting(1.0, help="the time over which it is measured, in the same unit", above=0.0)
    stages: int = setting(2, help="the Runge-Kutta method", choices=(2, 3, 4))
    courant: float = setting(0.6, help="Courant number", above=0.0, maximum=1.0)

    def __post_init__(self):
        if not any(self.pulse):
            raise InputError('the setting "pulse" accepts factors of which one is not zero: a flow at some time')


def measure(settings: Settings, parts: Parts) -> dict[str, Any]:
    return {f"re-{re:g}": parts(f"re-{re:g}", lambda r=re: _channel(settings, r)) for re in settings.re}


def channel_edges(cells: int, widest: float) -> list[np.ndarray]:
    """Cells of one size around the cylinder, growing downstream by at most a twentieth each."""
    narrow = DIAMETER / cells
    first = [0.0]
    while first[-1] < CENTER[0] + 1.5 * DIAMETER:
        first.append(first[-1] + narrow)
    size = narrow
    while first[-1] < LENGTH:
        size = min(size * 1.05, widest * narrow)
        first.append(first[-1] + size)
    along = np.array(first)
    # What reaches beyond the end is taken from all growing cells alike.
    fixed = int(np.searchsorted(along, CENTER[0] + 1.5 * DIAMETER))
    start = along[fixed]
    along[fixed:] = start + (along[fixed:] - start) * (LENGTH - start) / (along[-1] - start)
    return [along, np.linspace(0.0, HEIGHT, round(HEIGHT / narrow) + 1)]


def inlet_profile(settings: Settings, y: np.ndarray) -> np.ndarray:
    """The velocity at the inlet over its mean, by a cubic spline through the profile."""
    if len(settings.profile) < 4:
        raise InputError(f'the setting "profile" accepts at least four numbers, not {len(settings.profile)}')
    values = CubicSpline(np.linspace(0.0, HEIGHT, len(settings.profile)), settings.profile)(y)
    if not np.mean(values) > 0:
        raise InputError('the setting "profile" accepts numbers with a positive mean: a flow into the channel')
    return values / np.mean(values)


def _channel(settings: Settings, re: float) -> dict[str, Any]:
    """Forces and the pressure difference over the time in which they are measured."""
    speed = re * VISCOSITY / DIAMETER
    unit = 10 * DIAMETER / speed  # the time in which ten diameters pass
    end, from_ = (settings.time + settings.measured) * unit, settings.time * unit
    grid = Grid.from_edges(channel_edges(settings.cells, settings.widest))
    narrow = DIAMETER / settings.cells
    y = np.asarray(grid.centers()[1]).ravel()
    inlet = speed * inlet_profile(settings, y)
    steady = len(set(settings.pulse)) == 1
    times, factors = jnp.linspace(0.0, end, len(settings.pulse)), jnp.asarray(settings.pulse)

    def entering(time: Any) -> Any:
        return jnp.interp(time, times, factors) * jnp.asarray(inlet)

    west = Inflow(settings.pulse[0] * inlet) if steady else Inflow(entering)
    fastest = 1.5 * float(np.max(np.abs(inlet))) * max(abs(factor) for factor in settings.pulse)
    dt = min(settings.courant * narrow / fastest, 0.3 * narrow**2 / (4 * VISCOSITY) * 2)
    pieces = 400
    each = int(np.ceil(settings.measured * unit / pieces / dt))
    dt = settings.measured * unit / pieces / each
    flow = IncompressibleFlow(
        grid,
        VISCOSITY,
        dt,
        dict(x=(west, Outflow()), y=Wall()),
        solid=Immersed(Sphere(CENTER, DIAMETER / 2)),
        stepping=RungeKutta(settings.stages),
    )
    state = flow.initial_state((settings.pulse[0] * inlet * _around(grid), 0.0))
    state = _advanced(flow, state, int(np.ceil(from_ / dt)))
    state, found = _observed(flow, state, pieces, each)
    force, pressure = np.asarray(found[0]) * 2 / (speed**2 * DIAMETER), np.asarray(found[1])
    return dict(
        re=re,
        times=(np.arange(pieces) + 1) * each * dt,
        drag=force[:, 0],
        lift=force[:, 1],
        pressure=pressure,
        speed=speed,
        cells=list(grid.cells),
        steps=int(np.ceil(from_ / dt)) + pieces * each,
        divergence=float(jnp.max(jnp.abs(flow.divergence(state).values))) * narrow / speed,
    )


def _around(grid: Grid) -> np.ndarray:
    """A factor for the first velocity: zero in the cylinder."""
    x, y = (np.asarray(line) for line in grid.coordinates(face_offset(grid, 0), (False, False)))
    return np.hypot(x - CENTER[0], y - CENTER[1]) > DIAMETER / 2


@eqx.filter_jit
def _advanced(flow: IncompressibleFlow, state: FlowState, steps: int | jax.Array) -> FlowState:
    return jax.lax.fori_loop(0, steps, lambda _, now: flow(now), state)


@eqx.filter_jit
def _observed(flow: IncompressibleFlow, state: FlowState, pieces: int, each: int | jax.Array) -> tuple[FlowState, Any]:
    """Forces and pressure difference after every few steps."""
    difference = _pressure_difference(flow.grid)

    def piece(state: FlowState, _: None) -> tuple[FlowState, Any]:
        state = jax.lax.fori_loop(0, each, lambda _, now: flow(now), state)
        return state, (flow.forces_on_solid(state).force, difference(state))

    return jax.lax.scan(piece, state, length=pieces)


def _pressure_difference(grid: Grid) -> Callable[[FlowState], Any]:
    """Between the foremost and the hindmost point of the cylinder, each extrapolated from two points in the fluid, one
    and two cells away.
    """
    narrow = float(np.diff(grid.edges[0]).min())
    weights = np.zeros(grid.cells)
    for side, sign in ((-1, 1.0), (1, -1.0)):
        for away, factor in ((1, 2.0), (2, -1.0)):
            weights += sign * factor * _bilinear(grid, (CENTER[0] + side * (DIAMETER / 2 + away * narrow), CENTER[1]))
    return lambda state: jnp.sum(jnp.asarray(weights) * state.pressure.values)


def _bilinear(grid: Grid, point: tuple[float, float]) -> np.ndarray:
    """The weights of the cells' values in the one at a point."""
    lines = []
    for edges, place in zip(grid.edges, point, strict=True):
        centers = (np.asarray(edges)[1:] + np.asarray(edges)[:-1]) / 2
        below = int(np.searchsorted(centers, place)) - 1
        part = (place - centers[below]) / (centers[below + 1] - centers[below])
        weight = np.zeros(len(centers))
        weight[below], weight[below + 1] = 1 - part, part
        lines.append(weight)
    return np.outer(*lines)


def periodic_numbers(found: dict[str, Any]) -> dict[str, float]:
    """Largest drag and lift, the Strouhal number, and the pressure half a period after the largest lift."""
    times, lift, drag = (np.asarray(found[name]) for name in ("times", "lift", "drag"))
    swing = lift - np.mean(lift)
    up = np.flatnonzero((swing[:-1] < 0) & (swing[1:] >= 0))
    crossings = times[up] - swing[up] * (times[up + 1] - times[up]) / (swing[up + 1] - swing[up])
    period = float(np.mean(np.diff(crossings))) if len(crossings) > 1 else np.nan
    largest = times[int(np.argmax(np.where(times < times[-1] - period / 2, lift, -np.inf)))] if period > 0 else np.nan
    return dict(
        drag=float(np.max(drag)),
        lift=float(np.max(lift)),
        strouhal=DIAMETER / (found["speed"] * period),
        pressure=float(np.interp(largest + period / 2, times, np.asarray(found["pressure"]))),
    )


def numbers_of(found: dict[str, Any]) -> dict[str, float]:
    """What the published table gives for this flow."""
    lift, drag = np.asarray(found["lift"]), np.asarray(found["drag"])
    if np.ptp(lift) > 0.05 * np.max(np.abs(drag)):
        return periodic_numbers(found)
    return dict(drag=float(drag[-1]), lift=float(lift[-1]), pressure=float(found["pressure"][-1]))


WORDS = dict(drag="drag", lift="lift", strouhal="Strouhal number", pressure="pressure difference")


def judge(settings: Settings, results: dict[str, Any]) -> list[Check]:
    checks = []
    standard = (settings.profile, settings.pulse) == (Settings.profile, Settings.pulse)
    for found in results.values():
        re = found["re"]
        published = PUBLISHED.get(re, {}) if standard else {}
        numbers = numbers_of(found)
        for what in dict.fromkeys([*numbers, *published]):
            value, interval = numbers.get(what, np.nan), published.get(what)
            bounds = {}
            if interval and what == "drag":
                bounds = dict(at_least=0.98 * interval[0], at_most=1.02 * interval[1])
            if interval and what == "strouhal":
                bounds = dict(at_least=interval[0], at_most=interval[1])
            largest = "largest " if "strouhal" in numbers and what in ("drag", "lift") else ""
            checks.append(
                Check(
                    in_metrics(f"{what}_re_{re:g}"),
                    value,
                    published=interval,
                    meaning=f"{largest}{WORDS[what]}, Re {re:g}",
                    **bounds,
                )
            )
        checks.append(
            Check(
                in_metrics(f"divergence_re_{re:g}"),
                found["divergence"],
                at_most=1e-6,
                meaning=f"what crosses a cell's faces, Re {re:g}, over speed and size",
            )
        )
    return checks


def draw(settings: Settings, results: dict[str, Any]) -> dict[str, Figure]:
    panels = []
    for what in ("drag", "lift"):
        lines = {}
        for found in results.values():
            start = np.asarray(found["times"]) - found["times"][0]
            lines[f"Re {found['re']:g}"] = (start * found["speed"] / DIAMETER, found[what])
        panels.append(Panel(lines=lines, title=what, x="time in diameters over speed", y="coefficient"))
    return {"forces": panels_figure(panels)}


PROGRAM = verification(
    "cylinder",
    Settings,
    {"quick": {"re": (20.0,), "cells": 8, "time": 3.0, "measured": 0.5}},
    measure,
    judge,
    draw,
    SOURCES,
)
