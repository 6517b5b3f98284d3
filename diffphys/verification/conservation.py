r"""What a flow must keep: energy, mass and momentum, to round-off.

The skew-symmetric convection $C(u) u$ changes no kinetic energy: $\sum_f \Omega_f u_f (C(u) u)_f = 0$ with the
volumes $\Omega_f$ of the control volumes around the faces, whatever the resolution. In time a Runge-Kutta method of
order p loses energy like $\Delta t^p$ or better. The divergence of every state and the change of a carried scalar's
total vanish, and the momentum of a periodic box changes by what the force gives.
"""

import itertools
from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
import numpy as np

from diffphys.grids import Field, Grid, Periodic, Side, Wall, face_offset, tanh_edges
from diffphys.operators import SkewSymmetric, control_volume, convection
from diffphys.physics import IncompressibleFlow, PassiveScalar
from diffphys.plots import Panel, panels_figure
from diffphys.runs import Figure, setting
from diffphys.stepping import RungeKutta
from diffphys.verification.case import Check, Parts, verification
from diffphys.verification.channel import Pushed
from diffphys.verification.convergence import advanced, last_order


SOURCES = (
    "F. H. Harlow, J. E. Welch, Phys. Fluids 8 (1965) 2182-2189",
    "R. W. C. P. Verstappen, A. E. P. Veldman, J. Comput. Phys. 187 (2003) 343-368",
    "Y. Morinishi, T. S. Lund, O. V. Vasilyev, P. Moin, J. Comput. Phys. 143 (1998) 90-124",
)


@dataclass(frozen=True)
class Settings:
    """What the case is asked for."""

    cells: tuple[int, ...] = setting((12, 9, 7), help="cells along each axis", minimum=6, lengths=(2, 3))
    orders: tuple[int, ...] = setting((2, 4), help="the schemes: order in space", choices=(2, 4))
    stretch: float = setting(1.0, help="strength of the stretching of the second-order grids", minimum=0.0, maximum=3.0)
    stages: tuple[int, ...] = setting((2, 3, 4), help="the methods in time, by their stages", choices=(2, 3, 4))
    steps: tuple[int, ...] = setting(
        (80, 160, 320), increasing=2, help="steps over which the energy is followed", minimum=5
    )
    seed: int = setting(0, help="of the random velocities", minimum=0)


def measure(settings: Settings, parts: Parts) -> dict[str, Any]:
    found = {
        f"space-{order}": parts(f"space-{order}", lambda o=order: _in_space(settings, o)) for order in settings.orders
    }
    for order in settings.orders:
        found[f"kept-{order}"] = parts(f"kept-{order}", lambda o=order: _kept(settings, o))
    found["time"] = parts("time", lambda: _in_time(settings))
    return found


def _grid(settings: Settings, sides: tuple[Side, ...], stretch: float) -> Grid:
    edges = [
        tanh_edges(count, 0.0, 1.0 + axis / 3, stretch) if stretch else np.linspace(0.0, 1.0 + axis / 3, count + 1)
        for axis, count in enumerate(settings.cells[: len(sides)])
    ]
    return Grid.from_edges(edges)


def _random_flow(
    settings: Settings, sides: tuple[Side, ...], order: int, stretch: float, **more: Any
) -> tuple[Any, Any]:
    """A flow without viscosity and a random velocity without divergence of size one."""
    grid = _grid(settings, sides, stretch)
    flow = IncompressibleFlow(
        grid,
        0.0,
        0.01,
        dict(zip(grid.axis_names, sides, strict=True)),
        **more,
        advection=SkewSymmetric(order),
        stepping=RungeKutta(3),
    )
    generator = np.random.default_rng(settings.seed)
    shapes = [
        grid.shape(face_offset(grid, axis), [isinstance(side, Periodic) for side in sides])
        for axis in range(grid.dimensions)
    ]
    return flow, flow.initial_state([generator.standard_normal(shape) for shape in shapes])


def _in_space(settings: Settings, order: int) -> dict[str, Any]:
    """The rate of change of the energy by convection, relative to the sum of the sizes of its terms."""
    found = {}
    kinds = {"periodic": Periodic(), "wall": Wall(), "slip": Wall(slip=True)}
    dimensions = range(2, 1 + len(settings.cells))
    for names in itertools.chain(*(itertools.product(kinds, repeat=count) for count in dimensions)):
        for stretch in (0.0, settings.stretch) if order == 2 and settings.stretch else (0.0,):
            if order == 4 and "wall" in names:
                continue  # next to no-slip walls the fourth-order scheme is conservative only at second order
            flow, state = _random_flow(settings, tuple(kinds[name] for name in names), order, stretch)
            rates = convection(state.velocity, order=order)
            terms = [
                np.asarray(control_volume(part, order)) * np.asarray(part.values * rate.values)
                for part, rate in zip(state.velocity, rates, strict=True)
            ]
            change = abs(sum(np.sum(term) for term in terms)) / sum(np.sum(np.abs(term)) for term in terms)
            found[", ".join(names) + (", stretched" if stretch else "")] = float(change)
    return found


def _kept(settings: Settings, order: int) -> dict[str, Any]:
    """Divergence, a scalar's total and the momentum of a periodic box after some steps."""
    sides = (Periodic(),) * len(settings.cells)
    flow, state = _random_flow(settings, sides, order, 0.0, scalars={"dye": PassiveScalar()})
    generator = np.random.default_rng(settings.seed + 1)
    dye = Field(jnp.asarray(generator.random(flow.grid.cells)), flow.grid, conditions=state.scalars["dye"].conditions)
    state = replace(state, scalars={"dye": dye})
    force = jnp.asarray([0.3, -0.2, 0.1][: len(sides)])
    steps = 20
    final = advanced(Pushed(flow, force), state, steps)
    pairs = zip(final.velocity, state.velocity, strict=True)
    gained = [float(jnp.mean(after.values) - jnp.mean(before.values)) for after, before in pairs]
    expected = np.asarray(force) * float(flow.dt) * steps
    before, after = float(jnp.sum(dye.values)), float(jnp.sum(final.scalars["dye"].values))
    return dict(
        divergence=float(jnp.max(jnp.abs(flow.divergence(final).values))),
        scalar=abs(after - before) / before,
        momentum=float(np.max(np.abs(np.array(gained) - expected)) / np.max(np.abs(expected))),
    )


def _in_time(settings: Settings) -> dict[str, Any]:
    """How much energy a smooth inviscid flow loses over one unit of time by each method."""
    grid = Grid((16, 16), (2 * np.pi, 2 * np.pi))
    x, y = np.arange(16) * 2 * np.pi / 16, (np.arange(16) + 0.5) * 2 * np.pi / 16
    u = np.sin(x)[:, None] * np.cos(y) + 0.5 * np.cos(2 * y) + 0.4
    v = -np.cos(y)[:, None] * np.sin(x) + 0.3 * np.sin(2 * y)[:, None]
    losses: dict[str, list[float]] = {}
    for stages in settings.stages:
        losses[str(stages)] = []
        for steps in settings.steps:
            flow = IncompressibleFlow(grid, 0.0, 2.0 / steps, Periodic(), stepping=RungeKutta(stages))
            start = flow.initial_state([u, v])
            before, after = flow.kinetic_energy(start), flow.kinetic_energy(advanced(flow, start, steps))
            losses[str(stages)].append(abs(float(after - before)) / float(before))
    return dict(sizes=[2.0 / steps for steps in settings.steps], losses=losses)


def judge(settings: Settings, results: dict[str, Any]) -> list[Check]:
    checks = []
    for order in settings.orders:
        found, kept = results[f"space-{order}"], results[f"kept-{order}"]
        checks += [
            Check(
                f"energy_in_space_scheme_{order}",
                max(found.values()),
                at_most=1e-13,
                meaning=f"relative energy change by convection, scheme {order}, worst of {len(found)} domains",
            ),
            Check(
                f"divergence_scheme_{order}", kept["divergence"], at_most=1e-11, meaning=f"divergence, scheme {order}"
            ),
            Check(
                f"scalar_scheme_{order}",
                kept["scalar"],
                at_most=1e-13,
                meaning=f"change of a scalar's total, scheme {order}",
            ),
            Check(
                f"momentum_scheme_{order}",
                kept["momentum"],
                at_most=1e-12,
                meaning=f"momentum minus force times time, relative, scheme {order}",
            ),
        ]
    for stages in settings.stages:
        order = last_order(results["time"]["sizes"], results["time"]["losses"][str(stages)])
        meaning = f"order in dt of the energy lost in time, Runge-Kutta {stages}"
        checks.append(Check(f"energy_in_time_stages_{stages}", order, at_least=stages - 0.25, meaning=meaning))
    return checks


def draw(settings: Settings, results: dict[str, Any]) -> dict[str, Figure]:
    time = results["time"]
    marked = {f"Runge-Kutta {stages}": (time["sizes"], time["losses"][str(stages)]) for stages in settings.stages}
    points = {}
    for order in settings.orders:
        values = sorted(results[f"space-{order}"].values())
        points[f"scheme of order {order}"] = (np.arange(1, 1 + len(values)), np.maximum(values, 1e-18))
    return {
        "energy": panels_figure(
            [
                Panel(
                    points=points,
                    title="in space: energy changed by convection",
                    x="domains, sorted",
                    y="relative to its terms",
                    logarithmic="y",
                ),
                Panel(marked=marked, title="in time: energy lost", x="dt", y="relative", logarithmic=True),
            ]
        )
    }


PROGRAM = verification(
    "conservation",
    Settings,
    {"quick": {"cells": (8, 6), "orders": (2,), "stages": (3,), "steps": (80, 160)}},
    measure,
    judge,
    draw,
    SOURCES,
)
