r"""Smoke: at rest where it has to rest, in waves of the right frequency, and a plume that converges.

- **Rest.** A scalar that depends on the height alone is carried by the pressure: nothing moves, whatever its profile,
  on stretched cells and around an obstacle, and the pressure between two cells differs by the weight between them.
- **Internal waves.** In the stratification $b\,s = N^2 y$ a small wave with $\psi \sim \cos(k x) \sin(m y)$ swings with
  $\omega = N k / \sqrt{k^2 + m^2}$.
- **Energy.** Without viscosity and diffusion the kinetic energy and the potential energy $-b \int y\, s$ have a sum
  that never changes. In space this holds to round-off, as what rises is carried through the very faces on which
  buoyancy acts; in time to the order of the method.
- **A plume** that rises from a warm spot, to which no solution is known: height, kinetic energy and variance converge
  with the order of the scheme.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from diffphys.grids import Grid, Periodic, Sphere, Wall, tanh_edges
from diffphys.physics import Buoyancy, FlowState, IncompressibleFlow, PassiveScalar
from diffphys.plots import Panel, panels_figure
from diffphys.runs import Figure, setting
from diffphys.stepping import RungeKutta
from diffphys.verification.case import Check, Parts, verification
from diffphys.verification.convergence import advanced, last_order


SOURCES = (
    "J. Boussinesq, Theorie analytique de la chaleur 2 (1903)",
    "J. S. Turner, Buoyancy Effects in Fluids (Cambridge 1973), chapter 2 (internal waves)",
)


@dataclass(frozen=True)
class Settings:
    """What the case is asked for."""

    cells: tuple[int, ...] = setting((7, 9, 6), help="cells at rest, the last axis upward", minimum=6, lengths=(2, 3))
    stretch: float = setting(1.0, help="strength of their stretching", minimum=0.0, maximum=3.0)
    waves: tuple[int, ...] = setting(
        (16, 32, 64), increasing=1, help="cells across of the grids for internal waves", minimum=8
    )
    mode: tuple[int, int] = setting((2, 1), help="wave numbers across and upward in the box", minimum=1)
    levels: tuple[int, ...] = setting(
        (32, 64, 128), increasing=1, help="cells across of the grids for the plume", minimum=8
    )
    buoyancy: float = setting(1.0, help="acceleration for a scalar of one", above=0.0)
    viscosity: float = setting(2e-3, help="of the plume", above=0.0)
    diffusivity: float = setting(2e-3, help="of the plume", above=0.0)
    time: float = setting(2.0, help="over which the plume rises", above=0.0)
    stages: int = setting(3, help="the Runge-Kutta method", choices=(2, 3, 4))
    courant: float = setting(0.5, help="Courant number", above=0.0, maximum=1.0)


def measure(settings: Settings, parts: Parts) -> dict[str, Any]:
    return dict(
        rest=parts("rest", lambda: _rest(settings)),
        waves=[parts(f"wave-{count}", lambda n=count: _wave(settings, n)) for count in settings.waves],
        energy=parts("energy", lambda: _energy(settings)),
        plumes=[parts(f"plume-{count}", lambda n=count: _plume(settings, n)) for count in settings.levels],
    )


def _upward(grid: Grid, buoyancy: float) -> list[float]:
    return [0.0] * (grid.dimensions - 1) + [buoyancy]


def _buoyant(flow: IncompressibleFlow, acceleration: list[float]) -> IncompressibleFlow:
    return dataclasses.replace(flow, forces=(Buoyancy("smoke", acceleration),))


def _with_smoke(flow: IncompressibleFlow, velocity: Any, values: Any) -> FlowState:
    """A state with this velocity and scalar."""
    return flow.initial_state(velocity, {"smoke": jnp.broadcast_to(values, flow.grid.cells)})


def _height(grid: Grid) -> np.ndarray:
    return np.asarray(grid.centers()[-1])


def _rest(settings: Settings) -> dict[str, dict[str, float]]:
    """Speed, and the error of the pressure, after ten steps from rest, over the speed and pressure of a free fall."""
    stretched = Grid.from_edges([tanh_edges(n, 0.0, 1.0, settings.stretch) for n in settings.cells])
    uniform = Grid(settings.cells)
    walls, mixed = Wall(), {name: Periodic() for name in uniform.axis_names[:-1]} | {uniform.axis_names[-1]: Wall()}
    middle = tuple(extent / 2 for extent in uniform.size)
    ball = Sphere(middle, 0.3 * min(uniform.size))
    step = 0.05 * min(uniform.spacing)
    dye: dict[str, Any] = dict(scalars={"smoke": PassiveScalar()})
    flows = {
        "stretched cells": IncompressibleFlow(stretched, 0.0, 0.01, walls, **dye, stepping=RungeKutta(settings.stages)),
        "periodic": IncompressibleFlow(uniform, 0.0, step, mixed, **dye, stepping=RungeKutta(settings.stages)),
        "an obstacle": IncompressibleFlow(
            uniform, 0.0, step, walls, solid=ball, **dye, stepping=RungeKutta(settings.stages)
        ),
        "semi-Lagrangian": IncompressibleFlow(uniform, 0.0, step, walls, **dye),
    }
    found = {}
    for name, flow in flows.items():
        smoke = _buoyant(flow, _upward(flow.grid, settings.buoyancy))
        top = float(flow.grid.edges[-1][-1])
        profile = np.sin(2.0 * _height(flow.grid) / top) + 0.3 * np.cos(11.0 * _height(flow.grid) / top)
        start = _with_smoke(smoke, None, profile)
        final = advanced(smoke, start, 10)
        speed = max(float(jnp.max(jnp.abs(part.values))) for part in final.velocity)
        pressure = np.asarray(final.pressure.values)
        weight = settings.buoyancy * np.asarray(start.scalars["smoke"].values)
        below = 0.5 * np.diff(np.asarray(flow.grid.edges[-1], float))  # half of each cell
        # The mean of the weight in two cells, each with the part of the way that leads through the other.
        rise = np.diff(pressure, axis=-1) - (weight[..., 1:] * below[:-1] + weight[..., :-1] * below[1:])
        fluid = np.ones(flow.grid.cells, bool) if flow.solid is None else ~np.asarray(flow.solid.cells)
        rise = rise[fluid[..., 1:] & fluid[..., :-1]]
        found[name] = dict(
            speed=speed / (settings.buoyancy * 10 * float(flow.dt)),
            pressure=float(np.max(np.abs(rise))) / (settings.buoyancy * top),
        )
    return found


def _wave(settings: Settings, count: int) -> dict[str, Any]:
    """An internal wave after a time in which it swings once and a third, relative to its amplitude."""
    across, up = settings.mode
    grid = Grid((count, count), (1.0, 1.0))
    k, m, stratification, amplitude = 2 * np.pi * across, np.pi * up, 4.0, 1e-8
    omega = np.sqrt(stratification) * k / np.hypot(k, m)
    steps = int(np.ceil(4 / 3 * 2 * np.pi / omega * count / settings.courant / 4))
    dt = 4 / 3 * 2 * np.pi / omega / steps
    flow = IncompressibleFlow(
        grid,
        0.0,
        dt,
        dict(x=Periodic(), y=Wall(slip=True)),
        scalars={"smoke": PassiveScalar()},
        stepping=RungeKutta(settings.stages),
    )
    smoke = _buoyant(flow, [0.0, -settings.buoyancy])  # a heavy scalar that increases downward
    x, y = np.arange(count) / count, np.arange(count + 1) / count
    half = 0.5 / count
    u = amplitude * m * np.cos(k * x)[:, None] * np.cos(m * (y[:-1] + half))
    v = amplitude * k * np.sin(k * (x + half))[:, None] * np.sin(m * y)
    background = -stratification / settings.buoyancy * _height(grid)
    state = advanced(smoke, _with_smoke(smoke, (u, v), background), steps)
    phase = np.cos(omega * dt * steps)
    errors = [
        float(np.max(np.abs(np.asarray(part.values) - phase * exact))) / (amplitude * max(k, m))
        for part, exact in zip(state.velocity, (u, v), strict=True)
    ]
    return dict(size=1 / count, error=max(errors))


def _spot(grid: Grid) -> np.ndarray:
    x, y = grid.centers()
    return np.exp(-((np.asarray(x) - 0.45) ** 2 + (np.asarray(y) - 0.4) ** 2) / 0.15**2)


def _sums(flow: IncompressibleFlow, state: FlowState) -> dict[str, float]:
    """Height of the center of mass, kinetic and potential energy, and the variance of the scalar."""
    grid, scalar = flow.grid, np.asarray(state.scalars["smoke"].values)
    volumes = np.asarray(grid.volumes())
    moment = float(np.sum(volumes * _height(grid) * scalar))
    return dict(
        height=moment / float(np.sum(volumes * scalar)),
        kinetic=float(flow.kinetic_energy(state)),
        potential=-float(flow.forces[0].acceleration[-1]) * moment,
        variance=float(np.sum(volumes * scalar**2)),
    )


def _energy(settings: Settings) -> dict[str, Any]:
    """What the sum of both energies loses while an inviscid plume rises, over what turned from one into the other."""
    losses, sizes = [], []
    for steps in (40, 80, 160):
        grid = Grid((16, 24), (1.0, 1.5))
        flow = IncompressibleFlow(
            grid,
            0.0,
            1.0 / steps,
            Wall(slip=True),
            scalars={"smoke": PassiveScalar()},
            stepping=RungeKutta(settings.stages),
        )
        smoke = _buoyant(flow, _upward(grid, settings.buoyancy))
        start = _with_smoke(smoke, None, _spot(grid))
        before, after = _sums(smoke, start), _sums(smoke, advanced(smoke, start, steps))
        turned = before["potential"] - after["potential"]
        losses.append(abs(after["kinetic"] - before["kinetic"] - turned) / turned)
        sizes.append(1.0 / steps)
    return dict(sizes=sizes, losses=losses)


def _plume(settings: Settings, count: int) -> dict[str, Any]:
    """A warm spot in a closed box, followed until it has risen."""
    grid = Grid((count, 3 * count // 2), (1.0, 1.5))
    spacing = max(grid.spacing)
    fastest = np.sqrt(0.5 * settings.buoyancy)  # what is seen; a spot of this size rises some 0.4 in a free fall
    stable = 0.2 * spacing**2 / max(settings.viscosity, settings.diffusivity)
    pieces = 20
    each = int(np.ceil(settings.time / pieces / min(settings.courant * spacing / fastest, stable)))
    flow = IncompressibleFlow(
        grid,
        settings.viscosity,
        settings.time / pieces / each,
        Wall(),
        scalars={"smoke": PassiveScalar(diffusivity=settings.diffusivity)},
        stepping=RungeKutta(settings.stages),
    )
    smoke = _buoyant(flow, _upward(grid, settings.buoyancy))
    state = _with_smoke(smoke, None, _spot(grid))
    times, heights = [0.0], [_sums(smoke, state)["height"]]
    for piece in range(pieces):
        state = advanced(smoke, state, each)
        times.append((piece + 1) * settings.time / pieces)
        heights.append(_sums(smoke, state)["height"])
    total = float(jnp.sum(state.scalars["smoke"].values)) / float(np.sum(_spot(grid)))
    return dict(size=1 / count, times=times, heights=heights, kept=abs(total - 1), **_sums(smoke, state))


WORDS = dict(height="the height of a plume", kinetic="its kinetic energy", variance="the variance of its scalar")


def _refined(results: dict[str, Any], name: str) -> tuple[list[float], list[float]]:
    """Spacings, and the difference to the next finer grid."""
    plumes = results["plumes"]
    pairs = zip(plumes, plumes[1:], strict=False)
    return [plume["size"] for plume in plumes[:-1]], [abs(one[name] - two[name]) for one, two in pairs]


def judge(settings: Settings, results: dict[str, Any]) -> list[Check]:
    rest, waves, energy, plumes = (results[name] for name in ("rest", "waves", "energy", "plumes"))
    sizes = [wave["size"] for wave in waves]
    checks = [
        Check(
            f"{what}_at_rest",
            max(found[what] for found in rest.values()),
            at_most=1e-12,
            meaning=f"at rest: {words}, worst of {len(rest)} domains",
        )
        for what, words in (("speed", "speed over that of a free fall"), ("pressure", "pressure less the weight above"))
    ]
    if len(waves) > 1:
        order = last_order(sizes, [wave["error"] for wave in waves])
        checks.append(Check("order_internal_wave", order, at_least=1.9, meaning="order of an internal wave"))
    checks.append(Check("internal_wave", waves[-1]["error"], meaning="its error on the finest grid, relative"))
    checks.append(
        Check(
            "order_energy",
            last_order(energy["sizes"], energy["losses"]),
            at_least=settings.stages - 0.25,
            meaning="order in dt of the energy lost by a plume without friction",
        )
    )
    if len(plumes) > 2:
        for name, words in WORDS.items():
            order = last_order(*_refined(results, name))
            checks.append(Check(f"order_{name}", order, at_least=1.8, meaning=f"order of {words}"))
    checks.append(
        Check("scalar_kept", max(plume["kept"] for plume in plumes), at_most=1e-12, meaning="change of a plume's total")
    )
    checks.append(Check("height", plumes[-1]["height"], meaning=f"height of the plume at t = {settings.time:g}"))
    return checks


def draw(settings: Settings, results: dict[str, Any]) -> dict[str, Figure]:
    plumes, waves = results["plumes"], results["waves"]
    marked = {"internal wave": ([wave["size"] for wave in waves], [wave["error"] for wave in waves])}
    if len(plumes) > 2:
        marked |= {words.removeprefix("the "): _refined(results, name) for name, words in WORDS.items()}
    return {
        "smoke": panels_figure(
            [
                Panel(
                    lines={f"{round(1 / plume['size'])} cells": (plume["times"], plume["heights"]) for plume in plumes},
                    title="a plume in a closed box",
                    x="time",
                    y="height of its center",
                ),
                Panel(
                    marked=marked, orders=(2,), title="refined", x="spacing", y="error, difference", logarithmic=True
                ),
            ]
        )
    }


PROGRAM = verification(
    "smoke",
    Settings,
    {"quick": {"cells": (7, 6), "waves": (16, 32), "levels": (16, 32), "time": 1.0}},
    measure,
    judge,
    draw,
    SOURCES,
)
