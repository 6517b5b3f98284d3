r"""Reacting flow: ignition, the speed of a planar flame, mass and mixture fraction, and the projection.

Where heat and fuel diffuse alike, a steady planar flame has temperature and fractions on one line, so that the flux
$q = \rho \alpha\, dT/dx$ is a function of the temperature alone,

$$\frac{dq}{dT} = m - \frac{\rho^2 \alpha}{q}\, \dot T(T), \qquad q(T_u) = q(T_b) = 0,$$

whose eigenvalue $m = \rho_u S_L$ is the mass that burns per area and time.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy.integrate import solve_ivp

from diffphys.grids import Dirichlet, Field, Grid, Inflow, Neumann, Outflow, Periodic, Wall, face_offset
from diffphys.operators import Upwind, VanLeer, divergence
from diffphys.physics import Gas, Mixture, OneStepReaction, ReactingFlow
from diffphys.physics.combustion import GAS_CONSTANT
from diffphys.plots import Panel, panels_figure
from diffphys.poisson import variable_density_projection
from diffphys.runs import Figure, setting
from diffphys.verification.case import Check, Parts, verification
from diffphys.verification.convergence import advanced, last_order, order_check


SOURCES = (
    "A. Majda, J. Sethian, Combust. Sci. Technol. 42 (1985) 185-205 (low Mach number)",
    "A. S. Almgren, J. B. Bell, P. Colella, L. H. Howell, M. L. Welcome, J. Comput. Phys. 142 (1998) 1-46",
    "N. Tathawadekar, N. A. K. Doan, C. F. Silva, N. Thuerey, Data-Centric Eng. 4 (2023) e18 (chemistry of the flames)",
    "P. Kidger, On Neural Differential Equations (2022): Diffrax",
    "P. Virtanen and others, Nature Methods 17 (2020) 261-272: SciPy",
)
NOTES = (
    "The planar flame burns methane and air of an equivalence ratio of 0.8 from 300 K with the published rates of a "
    "planar flame and diffusivities of 0.1. Its speed is what burns per area over the density of the fresh gas; the "
    "exact one is found by shooting in the temperature, which knows neither grid nor step. Its thickness, diffusivity "
    "over speed, is 27 mm. The limit of the grids is what the two finest lead to at second order.",
    "Ignition is compared with SciPy's Radau method at a relative tolerance of 1e-10; where Diffrax is installed, its "
    "Kvaerno method is held against both.",
)


@dataclass(frozen=True)
class Settings:
    """What the case is asked for."""

    steps: tuple[int, ...] = setting((30, 60, 120), increasing=2, help="steps over an ignition", minimum=10)
    levels: tuple[int, ...] = setting((16, 32, 64), increasing=2, help="cells of the projection's grids", minimum=8)
    cells: tuple[int, ...] = setting((48, 96, 192), increasing=2, help="cells along the planar flame", minimum=24)
    ratio: float = setting(0.8, help="equivalence ratio of the planar flame", above=0.3, maximum=0.98)


def measure(settings: Settings, parts: Parts) -> dict[str, Any]:
    return (
        parts("ignition", lambda: _ignition(settings))
        | parts("projection", lambda: _projection(settings))
        | parts("conservation", lambda: _conservation())
        | parts("planar", lambda: _planar(settings))
    )


# A cell by itself -----------------------------------------------------------------------------------------------------

IGNITIONS = {"lean": ((1200.0, 0.04, 0.22), 0.04), "rich": ((1200.0, 0.08, 0.2), 0.012)}


def ignited(times: np.ndarray, start: tuple[float, float, float], solver: str = "SciPy") -> np.ndarray:
    """Temperature, fuel and oxidizer of methane at these times, from the rates as the equations have them: by SciPy's
    Radau method, or by Diffrax's implicit Runge-Kutta method of fifth order (Kvaerno), with tight tolerances.
    """

    def rates(mixture: Any, numpy: Any) -> Any:
        temperature, fuel, oxidizer = mixture
        moles = fuel / 0.016 + oxidizer / 0.032 + (1 - fuel - oxidizer) / 0.028
        density = 101325.0 / (GAS_CONSTANT * temperature * moles)
        omega = 5.1e4 * density * numpy.maximum(fuel, 0) / 0.016
        omega = omega * numpy.sqrt(density * numpy.maximum(oxidizer, 0) / 0.032)
        burning = 0.016 / density * omega * numpy.exp(-93600.0 / (GAS_CONSTANT * temperature))
        return numpy.stack([5.01e7 / 1450.0 * burning, -burning, -4 * burning])

    if solver == "SciPy":
        found = solve_ivp(
            lambda _, y: rates(y, np),
            (0.0, times[-1]),
            start,
            method="Radau",
            t_eval=times,
            rtol=1e-10,
            atol=1e-12,
        )
        return found.y.T
    import diffrax  # pyright: ignore[reportMissingImports] (only here: it is not among the dependencies)

    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(lambda _, y, __: rates(y, jnp)),
        diffrax.Kvaerno5(),
        0.0,
        times[-1],
        1e-6,
        jnp.array(start),
        saveat=diffrax.SaveAt(ts=jnp.asarray(times)),
        stepsize_controller=diffrax.PIDController(rtol=1e-10, atol=1e-13),
        max_steps=100_000,
    )
    return np.asarray(solution.ys)


def _ignition(settings: Settings) -> dict[str, Any]:
    """The largest error of the temperature over each ignition; and how far two other solvers are from each other."""
    after, errors, curves, apart = eqx.filter_jit(OneStepReaction().after), {}, {}, {}
    for name, (start, end) in IGNITIONS.items():
        times = np.linspace(0.0, end, 9)
        exact = ignited(times, start)
        if find_spec("diffrax"):
            apart[name] = float(np.max(np.abs(ignited(times, start, "Diffrax") - exact)[:, 0]))
        errors[name] = []
        for steps in settings.steps:
            found = [float(after(t, Gas(), *start, steps=steps).temperature) for t in times]
            errors[name].append(float(np.max(np.abs(np.asarray(found) - exact[:, 0]))))
        curves[name] = dict(times=times, exact=exact[:, 0], found=found)
    return dict(ignition_errors=errors, ignition=curves, apart=apart)


# The projection -------------------------------------------------------------------------------------------------------

PRESSURE_ENDS = ((Neumann(), Dirichlet()), (Periodic(), Periodic()))


def disturbed_velocity(count: int) -> tuple[list[Field], list[Field], list[Array], np.ndarray]:
    """A velocity, what a pressure and specific volumes from 1 to 7 have made of it, these volumes on the faces, and its
    divergence. The pressure has no slope at x = 0 and is zero at x = 1; the velocity along x vanishes at x = 0.
    """
    grid, wave = Grid((count, count), (1.0, 1.0)), 2 * np.pi
    exact, disturbed, volumes = [], [], []
    for axis in range(2):
        offset = face_offset(grid, axis)
        x, y = np.meshgrid(
            *((np.arange(count + (axis == a == 0)) + (0.0 if axis == a else 0.5)) / count for a in range(2)),
            indexing="ij",
        )
        velocity = (np.sin(x) * (2 + np.cos(wave * y)), x**2 * np.sin(wave * y))[axis]
        volume = 1 + 3 * (1 + np.sin(3 * x + 1) * np.cos(wave * y))
        slope = (
            -np.pi / 2 * np.sin(np.pi / 2 * x) * (2 + np.sin(wave * y)),
            wave * np.cos(np.pi / 2 * x) * np.cos(wave * y),
        )[axis]
        ends = ((Dirichlet(0.0), Neumann(0.0)), (Periodic(), Periodic()))
        exact.append(Field(jnp.asarray(velocity), grid, offset, ends))
        disturbed.append(Field(jnp.asarray(velocity + volume * slope), grid, offset, ends))
        volumes.append(jnp.asarray(volume))
    x, y = (np.asarray(line) for line in grid.centers())
    return exact, disturbed, volumes, np.cos(x) * (2 + np.cos(wave * y)) + wave * x**2 * np.cos(wave * y)


def _projection(settings: Settings) -> dict[str, Any]:
    """The largest error of the velocity, and of its divergence on the finest grid."""
    errors, left = [], 0.0
    for count in settings.levels:
        exact, disturbed, volumes, target = disturbed_velocity(count)
        found, _ = variable_density_projection(disturbed, volumes, PRESSURE_ENDS, target)
        errors.append(max(float(jnp.max(jnp.abs(a.values - b.values))) for a, b in zip(found, exact, strict=True)))
        left = float(jnp.max(jnp.abs(divergence(found).values - target)))
    return dict(projection_errors=errors, divergence_left=left)


# Mass -----------------------------------------------------------------------------------------------------------------


def _conservation() -> dict[str, Any]:
    """What a burning box loses, of mass and of mixture fraction, but for what leaves through its side: relative."""
    grid = Grid((16, 24), (0.6, 0.9))
    sides = dict(x=Wall(slip=True), y=(Wall(), Outflow()))
    flow = ReactingFlow(grid, 0.01, 0.02, 0.02, 2e-4, sides, reaction=OneStepReaction(), advection=Upwind())
    x, y = grid.centers()
    hot = jnp.exp(-((x - 0.3) ** 2 + (y - 0.3) ** 2) / 0.02)
    state = flow.initial_state(900.0 + 1100.0 * hot, 0.05 + 0.03 * x * jnp.ones_like(y), 0.2)
    step, h = eqx.filter_jit(lambda flow, state: flow(state)), grid.spacing[0]
    worst, burnt = np.zeros(2), 0.0
    for _ in range(100):
        rho, fuel, oxidizer = (np.asarray(state.scalars[one].values) for one in ("density", "fuel", "oxidizer"))
        amounts = [rho, rho * (oxidizer - 4 * fuel)]
        leaving = np.asarray(state.velocity[1].values)[:, -1] * h * 2e-4
        burnt += float(jnp.sum(flow.heat_release(state))) * h**2 * 2e-4
        state = step(flow, state)
        rho, fuel, oxidizer = (np.asarray(state.scalars[one].values) for one in ("density", "fuel", "oxidizer"))
        for index, (before, after) in enumerate(zip(amounts, (rho, rho * (oxidizer - 4 * fuel)), strict=True)):
            lost = (np.sum(before) - np.sum(after)) * h**2 - np.sum(leaving * before[:, -1])
            worst[index] = max(worst[index], abs(lost) / (np.sum(np.abs(before)) * h**2))
    return dict(lost=worst, released=burnt)


# A planar flame -------------------------------------------------------------------------------------------------------

DIFFUSIVITY, LENGTH, FRESH, DURATION = 0.1, 0.4, 300.0, 0.04
FACTOR, ENERGY = 1.1e7, 83600.0


def burning_rate(ratio: float) -> float:
    """The mass that a planar flame burns per area and time, by shooting from the burnt side."""
    mixture = Mixture.with_air(FRESH, ratio)
    fuel, oxidizer, heat = float(mixture.fuel), float(mixture.oxidizer), 5.01e7 / 1450.0
    burnt = FRESH + heat * fuel

    def source(temperature: float) -> float:
        r"""$\rho^2 \alpha \dot T$ where the gas has this temperature."""
        done = (temperature - FRESH) / (burnt - FRESH)
        f, o = fuel * (1 - done), oxidizer - 4 * fuel * done
        density = 101325.0 / (GAS_CONSTANT * temperature * (f / 0.016 + o / 0.032 + (1 - f - o) / 0.028))
        omega = FACTOR * density * f / 0.016 * np.sqrt(density * o / 0.032)
        return density * DIFFUSIVITY * heat * 0.016 * omega * np.exp(-ENERGY / (GAS_CONSTANT * temperature))

    first = 1e-3 * (burnt - FRESH)

    def reaches(m: float) -> bool:
        """Whether heat still flows where the gas is fresh: it burns more than this m."""
        slope = (np.sqrt(m**2 + 4 * source(burnt - first) / first) - m) / 2
        start = (slope * first) ** 2 / 2  # q^2 / 2, which has no singular right side

        def rate(cooled: float, half: np.ndarray) -> list[float]:
            return [source(burnt - cooled) - m * np.sqrt(2 * max(half[0], 0.0))]

        def gone(cooled: float, half: np.ndarray) -> float:
            return half[0] - 1e-6 * start

        gone.terminal = True  # pyright: ignore[reportFunctionMemberAccess]
        found = solve_ivp(rate, (first, burnt - FRESH), [start], rtol=1e-7, atol=1e-10, events=gone, max_step=20.0)
        return found.t[-1] >= (burnt - FRESH) * (1 - 1e-9)

    low, high = 0.01, 100.0
    while high / low > 1 + 1e-5:
        middle = np.sqrt(low * high)
        low, high = (middle, high) if reaches(middle) else (low, middle)
    return float(low)


def _planar(settings: Settings) -> dict[str, Any]:
    """What a flame burns that the inflow holds in its place, on grids that are refined together with the step."""
    mixture, reaction, gas = Mixture.with_air(FRESH, settings.ratio), OneStepReaction(FACTOR, ENERGY), Gas()
    exact, fresh = burning_rate(settings.ratio), float(gas.density(FRESH, mixture.fuel, mixture.oxidizer))
    speeds, profiles = [], {}
    for count in settings.cells:
        grid = Grid((count,), (LENGTH,))
        h = LENGTH / count
        steps = int(np.ceil(DURATION / (0.2 * h**2 / DIFFUSIVITY)))
        sides, entering = dict(x=(Inflow(exact / fresh), Outflow())), dict(x=(mixture, None))
        flow = ReactingFlow(
            grid,
            DIFFUSIVITY,
            DIFFUSIVITY,
            DIFFUSIVITY,
            DURATION / steps,
            sides,
            entering,
            reaction=reaction,
            advection=VanLeer(),
            reaction_steps=1,
        )
        x = np.asarray(grid.centers()[0])
        done = (1 + np.tanh((x - LENGTH / 2) / 0.015)) / 2
        heated = 5.01e7 / 1450.0 * float(mixture.fuel)
        start = flow.initial_state(
            FRESH + heated * done, mixture.fuel * (1 - done), mixture.oxidizer - 4 * mixture.fuel * done
        )
        final = advanced(flow, start, steps)
        speeds.append(float(jnp.sum(flow.heat_release(final))) * h / (5.01e7 * float(mixture.fuel) * fresh))
        profiles[f"{count}"] = dict(x=x, temperature=np.asarray(final.scalars["temperature"].values))
        velocity = np.asarray(final.velocity[0].values)
    density = np.asarray(final.scalars["density"].values)
    return dict(
        sizes=[LENGTH / count for count in settings.cells],
        speeds=speeds,
        exact=exact / fresh,
        acceleration=float(velocity[-1] / velocity[0]),
        expansion=float(density[0] / density[-1]),
        profiles=profiles,
    )


def judge(settings: Settings, results: dict[str, Any]) -> list[Check]:
    checks, dts = [], [1.0 / steps for steps in settings.steps]
    for name, errors in results["ignition_errors"].items():
        words = f"ignition of a {name} mixture"
        if name in results["apart"]:
            said = f"{words}: SciPy and Diffrax differ by, kelvin"
            checks.append(Check(f"references_{name}", results["apart"][name], at_most=1e-3, meaning=said))
        checks.append(Check(f"ignition_{name}", errors[-1], at_most=0.01, meaning=f"{words}: largest error, kelvin"))
        checks.append(Check(f"ignition_order_{name}", last_order(dts, errors), at_least=3.5, meaning=f"order, {name}"))
    sizes = [1.0 / count for count in settings.levels]
    errors = np.abs(np.asarray(results["speeds"]) / results["exact"] - 1)
    coarse, fine = results["speeds"][-2:]
    limit = abs((fine + (fine - coarse) / 3) / results["exact"] - 1)
    mass, mixture = results["lost"]
    return [
        *checks,
        order_check(
            "projection_order", "variable density: order of the projection", sizes, results["projection_errors"], 1.8
        ),
        Check("divergence_left", results["divergence_left"], at_most=1e-6, meaning="of the divergence asked for"),
        Check("mass_lost", mass, at_most=1e-13, meaning="mass that is lost in a step of a burning box, relative"),
        Check("mixture_lost", mixture, at_most=1e-13, meaning="mixture fraction that is lost, relative"),
        Check("released", results["released"], at_least=1e4, meaning="heat released meanwhile, joules per meter"),
        Check("flame_speed_limit", limit, at_most=0.025, meaning="planar flame: error of its speed in the limit"),
        order_check("flame_speed_order", "order of the speed", results["sizes"], errors, 1.5),
        Check("flame_speed_error", float(errors[-1]), meaning="relative error of the speed on the finest grid"),
        Check(
            "acceleration",
            results["acceleration"] / results["expansion"],
            at_least=0.98,
            at_most=1.02,
            meaning="velocities over densities before and behind the flame",
        ),
        Check("flame_speed", results["speeds"][-1], meaning=f"flame speed; exact {results['exact']:.4g}, m/s"),
    ]


def draw(settings: Settings, results: dict[str, Any]) -> dict[str, Figure]:
    panels = [
        Panel(
            lines={f"{name}, by SciPy": (one["times"], one["exact"]) for name, one in results["ignition"].items()},
            points={f"{name}, here": (one["times"], one["found"]) for name, one in results["ignition"].items()},
            title="ignition",
            x="time, s",
            y="temperature, K",
        ),
        Panel(
            lines={f"{name} cells": (one["x"], one["temperature"]) for name, one in results["profiles"].items()},
            title="planar flame",
            x="x, m",
            y="temperature, K",
        ),
        Panel(
            marked={"flame speed": (results["sizes"], np.abs(np.asarray(results["speeds"]) / results["exact"] - 1))},
            orders=(1, 2),
            title="grids refined",
            x="spacing, m",
            y="relative error",
            logarithmic=True,
        ),
    ]
    return {"flames": panels_figure(panels)}


PROGRAM = verification(
    "reacting-flow",
    Settings,
    {"quick": {"steps": (30, 60), "levels": (16, 32), "cells": (48, 96)}},
    measure,
    judge,
    draw,
    SOURCES,
    NOTES,
)
