"""PISO: orders in space and time, the cavity, a channel on stretched axes, mass, and what the gradient is.

Each is compared with an exact solution, a published one, differences, or a method that shares neither matrix nor
correctors with it.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffphys.grids import Grid, Inflow, Outflow, Periodic, Wall, tanh_edges
from diffphys.operators import SemiLagrangian
from diffphys.physics import FlowState, IncompressibleFlow, Smagorinsky, Sponge
from diffphys.plots import Panel, panels_figure
from diffphys.runs import Figure, setting
from diffphys.stepping import PISO, Detached, RungeKutta, Splitting, StoreAll, Truncated, rollout
from diffphys.verification import published
from diffphys.verification.case import Check, Parts, verification
from diffphys.verification.cavity import profiles, refined, sampled
from diffphys.verification.convergence import advanced, largest_difference, order_check
from diffphys.verification.taylor_green import LENGTH, distance, on_faces


SOURCES = (
    "R. I. Issa, J. Comput. Phys. 62 (1986) 40-65 (the method)",
    "B. List, L.-W. Chen, N. Thuerey, J. Fluid Mech. 949 (2022) A25 (through which turbulence models are trained)",
    published.GHIA,
    published.BOTELLA,
)


@dataclass(frozen=True)
class Settings:
    """What the case is asked for."""

    parts: tuple[str, ...] = setting(
        ("taylor-green", "cavity", "channel", "mass", "gradient"),
        help="which parts",
        choices=("taylor-green", "cavity", "channel", "mass", "gradient"),
    )
    levels: tuple[int, ...] = setting(
        (16, 32, 64), increasing=2, help="cells along each axis of the grids that are refined", minimum=8
    )
    steps: tuple[int, ...] = setting(
        (16, 32, 64), increasing=2, help="steps per unit of time, refined in time", minimum=4
    )
    viscosity: float = setting(0.05, help="of the vortices, length squared per time", minimum=0.0)
    cavity_cells: int = setting(64, help="cells along each edge of the cavity", minimum=8)
    cavity_stretch: float = setting(1.2, help="strength of its stretching, 0 for none", minimum=0.0, maximum=4.0)
    courant: float = setting(2.0, help="Courant number of the lid with the narrowest cells", above=0.0)
    rate: float = setting(1e-5, help="steady where no velocity changes by more than this per unit of time", above=0.0)
    largest_time: float = setting(200.0, help="when to stop at the latest", above=0.0)


METHODS = {
    "PISO order 1": PISO(),
    "PISO order 2": PISO(order=2),
    "PISO order 2, no old pressure": PISO(order=2, old_pressure=False),
}


def measure(settings: Settings, parts: Parts) -> dict[str, Any]:
    made = {
        "taylor-green": _vortices,
        "cavity": _cavity,
        "channel": _channel,
        "mass": _mass,
        "gradient": _gradient,
    }
    return {name: parts(name, lambda name=name: made[name](settings)) for name in settings.parts}


def _vortices(settings: Settings) -> dict[str, Any]:
    """Taylor-Green vortices in a stream: in time on one grid, in space with steps of one Courant number."""

    def final(count: int, steps: int, time: float, **choices: Any) -> list[Any]:
        grid = Grid((count, count), (LENGTH, LENGTH))
        flow = IncompressibleFlow(grid, settings.viscosity, time / steps, Periodic(), **choices)
        start = flow.initial_state(on_faces(grid, 0.0, settings.viscosity, 1.0))
        return [part.values for part in advanced(flow, start, steps).velocity]

    coarse = settings.levels[0]
    reference = final(coarse, 8 * max(settings.steps), 1.0, stepping=RungeKutta(4))
    in_time = {
        name: [distance(final(coarse, steps, 1.0, stepping=method), reference) for steps in settings.steps]
        for name, method in METHODS.items()
    }
    methods = {
        "PISO order 2": dict(stepping=PISO(order=2)),
        "Runge-Kutta 3": dict(stepping=RungeKutta(3)),
        "splitting": dict(stepping=Splitting(), advection=SemiLagrangian()),
    }
    in_space: dict[str, list[float]] = {name: [] for name in methods}
    apart = []
    for count in settings.levels:
        grid = Grid((count, count), (LENGTH, LENGTH))
        finals = {name: final(count, count // 2, 0.5, **choices) for name, choices in methods.items()}
        true = on_faces(grid, 0.5, settings.viscosity, 1.0)
        for name, found in finals.items():
            in_space[name].append(distance(found, true))
        apart.append(distance(finals["PISO order 2"], finals["Runge-Kutta 3"]))
    return dict(
        durations=[1 / steps for steps in settings.steps],
        in_time=in_time,
        spacings=[LENGTH / count for count in settings.levels],
        in_space=in_space,
        apart=apart,
    )


def _cavity(settings: Settings) -> dict[str, Any]:
    """Re 1000, marched to its steady state from that of coarser grids."""
    levels = [settings.cavity_cells]
    while levels[0] >= 64:
        levels.insert(0, levels[0] // 2)
    state = flow = None
    time, rate = 0.0, np.inf
    for count in levels:
        stretch = settings.cavity_stretch
        edges = np.linspace(0.0, 1.0, count + 1) if stretch == 0 else tanh_edges(count, 0.0, 1.0, stretch)
        dt = settings.courant * float(np.diff(edges).min())
        grid = Grid.from_edges([edges, edges])
        sides = dict(x=Wall(), y=(Wall(), Wall(velocity=1.0)))
        flow = IncompressibleFlow(grid, 1e-3, dt, sides, stepping=PISO(tolerance=1e-6))
        state = flow.initial_state() if state is None else refined(state, flow)
        many, time, rate = max(1, round(1.0 / dt)), 0.0, np.inf
        while rate > settings.rate * (1 if count == levels[-1] else 30) and time < settings.largest_time:
            before, state = state, advanced(flow, state, many)
            pairs = zip(state.velocity, before.velocity, strict=True)
            rate = max(largest_difference(a.values, b.values) for a, b in pairs) / (many * dt)
            time += many * dt
            if not np.isfinite(rate):
                break
    assert state is not None and flow is not None
    mass = float(jnp.max(jnp.abs(flow.divergence(state).values)))
    return dict(rate=rate, time=time, divergence=mass, dt=float(flow.dt)) | profiles(state)


def _channel(settings: Settings) -> dict[str, Any]:
    """Between plates on stretched axes, driven by a force, with steps 100 times the bound of explicit diffusion."""
    errors = []
    for count in settings.levels:
        edges = tanh_edges(count, 0.0, 2.0, 1.5)
        grid, y = Grid.from_edges([np.linspace(0, 1, 5), edges]), (edges[1:] + edges[:-1]) / 2
        dt = 100 * float(np.diff(edges).min()) ** 2
        sides = dict(x=Periodic(), y=Wall())
        flow = IncompressibleFlow(grid, 0.5, dt, sides, forces=((0.8, 0.0),), stepping=PISO())
        final = advanced(flow, flow.initial_state(), int(np.ceil(40 / dt)))
        exact = 0.8 * y * (2 - y)
        errors.append(largest_difference(final.velocity[0].values, exact[None, :]) / exact.max())
    return dict(sizes=[1 / count for count in settings.levels], errors=errors)


def _mixing_layer(cells: tuple[int, int], **choices: Any) -> IncompressibleFlow:
    """Two streams that enter and mix, with a sponge before the outflow."""
    grid = Grid(cells, (32.0, 16.0))
    y = np.asarray(grid.centers()[1]).reshape(-1)
    profile = 1 + 0.5 * np.tanh(2 * (y - 8.0))
    sponge = Sponge("x", 28.0, 0.04)
    given: dict[str, Any] = dict(
        grid=grid,
        viscosity=0.002,
        dt=0.4,
        sides=dict(x=(Inflow(lambda time: profile * (1 + 0.1 * jnp.sin(0.5 * time))), Outflow()), y=Wall(slip=True)),
        stepping=PISO(),
        added_viscosity=(sponge,),
    )
    return IncompressibleFlow(**(given | choices))


def _mass(settings: Settings) -> dict[str, Any]:
    """What is lost in a cell, and what leaves through all sides together, with an inflow that pulsates."""
    flow = _mixing_layer((32, 16), added_viscosity=(Sponge("x", 28.0, 0.04), Smagorinsky(0.1)))
    state = advanced(flow, flow.initial_state(), 100)
    u, v = (np.asarray(part.values) for part in state.velocity)
    net = np.sum(u[-1] - u[0]) + np.sum(v[:, -1] - v[:, 0])
    largest = float(jnp.max(jnp.abs(flow.divergence(state).values)))
    return dict(divergence=largest, net=abs(float(net)) / float(np.sum(u[0])), through=float(np.sum(u[0])))


def _gradient(settings: Settings) -> dict[str, Any]:
    """Of a loss on a rollout by a number that forces the flow, by size of the start and by viscosity."""
    steps = 4
    flow = _mixing_layer((16, 8), dt=0.4, added_viscosity=(), stepping=PISO(tolerance=1e-13))
    flow = dataclasses.replace(flow, viscosity=0.05)
    generator = np.random.default_rng(0)
    shapes = [part.shape for part in flow.initial_state().velocity]
    start = flow.initial_state([1 + 0.3 * generator.standard_normal(shapes[0]), 0.3 * generator.random(shapes[1])])
    direction = flow.initial_state([generator.standard_normal(shape) for shape in shapes]).velocity

    def loss(stepping: PISO, adjoint: Any) -> Any:
        def of(numbers: jax.Array) -> jax.Array:
            moved = dataclasses.replace(flow, viscosity=flow.viscosity + numbers[1], stepping=stepping)
            pairs = zip(start.velocity, direction, strict=True)
            velocity = tuple(a.with_values(a.values + numbers[0] * b.values) for a, b in pairs)
            push = jnp.broadcast_to(jnp.stack([numbers[2], 0.5 * numbers[2]]), (steps, 2))

            def step(state: FlowState, force: jax.Array) -> FlowState:
                return moved(state, tuple(force))

            first = dataclasses.replace(start, velocity=velocity)
            final, _ = rollout(step, first, steps, inputs=push, adjoint=adjoint)
            return sum((jnp.mean(part.values**2) for part in final.velocity), jnp.mean(final.pressure.values**2))

        return of

    method = PISO(tolerance=1e-13)
    whole = np.asarray(jax.jit(jax.grad(loss(method, StoreAll())))(jnp.zeros(3)))
    value, size = jax.jit(jax.vmap(loss(method, StoreAll()))), 1e-3
    values = [np.asarray(value(factor * size * jnp.eye(3))) for factor in (1, -1, 2, -2)]
    differences = (8 * (values[0] - values[1]) - (values[2] - values[3])) / (12 * size)

    def apart(stepping: PISO, adjoint: Any, other: Any = whole) -> float:
        found = np.asarray(jax.jit(jax.grad(loss(stepping, adjoint)))(jnp.zeros(3)))
        return float(np.max(np.abs(found / other - 1)))

    single = np.asarray(jax.jit(jax.grad(loss(method, Detached())))(jnp.zeros(3)))
    return dict(
        exact=float(np.max(np.abs(whole / differences - 1))),
        coefficients=apart(dataclasses.replace(method, without_gradient=("coefficients",)), StoreAll()),
        momentum=apart(dataclasses.replace(method, without_gradient=("momentum",)), StoreAll()),
        pressure=apart(dataclasses.replace(method, without_gradient=("pressure",)), StoreAll()),
        window=apart(method, Truncated(steps)),
        one=float(np.max(np.abs(np.asarray(jax.jit(jax.grad(loss(method, Truncated(1))))(jnp.zeros(3))) - single))),
    )


def judge(settings: Settings, results: dict[str, Any]) -> list[Check]:
    checks = []
    if (found := results.get("taylor-green")) is not None:
        for name, errors in found["in_time"].items():
            order = METHODS[name].order
            key = "order_in_time_" + name.lower().replace(",", "").replace(" ", "_")
            bounds = dict(at_least=order - 0.1, at_most=order + 0.1)
            checks.append(order_check(key, f"order in time, {name}", found["durations"], errors, **bounds))
        for name, errors in found["in_space"].items():
            key = "order_in_space_" + name.lower().replace("-", "_").replace(" ", "_")
            least = 0.9 if name == "splitting" else 1.9
            meaning = f"order in space and time together, {name}, to the exact solution"
            checks.append(order_check(key, meaning, found["spacings"], errors, at_least=least))
        meaning = "order at which PISO and Runge-Kutta approach each other"
        checks.append(order_check("order_apart", meaning, found["spacings"], found["apart"], at_least=1.9))
    if (found := results.get("cavity")) is not None:
        u = np.abs(sampled(found, "y", "u", published.GHIA_Y) - published.GHIA_U[1000])
        v = np.abs(sampled(found, "x", "v", published.GHIA_X) - published.GHIA_V[1000])
        kept = ~np.isin(published.GHIA_X, list(published.DOUBTED_V[1000]))
        other = max(
            np.abs(sampled(found, "y", "u", published.GHIA_Y) - published.BOTELLA_U).max(),
            np.abs(sampled(found, "x", "v", published.GHIA_X) - published.BOTELLA_V).max(),
        )
        doubted = f"cavity, Re 1000: v, the same, without {np.sum(~kept)} doubted values"
        checks += [
            Check("cavity_u_from_ghia", u.max(), at_most=0.01, meaning="cavity, Re 1000: u, difference from Ghia"),
            Check("cavity_v_from_ghia", v[kept].max(), at_most=0.01, meaning=doubted),
            Check("cavity_from_botella", other, at_most=0.01, meaning="cavity: difference from Botella and Peyret"),
            Check("cavity_rate", found["rate"], at_most=settings.rate, meaning="cavity: change per unit of time"),
            Check("cavity_divergence", found["divergence"], at_most=1e-9, meaning="cavity: divergence"),
        ]
    if (found := results.get("channel")) is not None:
        meaning = "order in space, channel on stretched axes"
        checks.append(order_check("order_channel", meaning, found["sizes"], found["errors"], at_least=1.9))
    if (found := results.get("mass")) is not None:
        checks += [
            Check("mass_of_cells", found["divergence"], at_most=1e-11, meaning="divergence with eddies and a sponge"),
            Check(
                "mass_of_all", found["net"], at_most=1e-12, meaning="what leaves through all sides, over what enters"
            ),
        ]
    if (found := results.get("gradient")) is not None:
        checks.append(
            Check("gradient_exact", found["exact"], at_most=1e-7, meaning="gradient from differences, relative")
        )
        for part in ("coefficients", "momentum", "pressure"):
            meaning = f"gradient without that of the {part}: from the whole one, relative"
            checks.append(Check(f"gradient_without_{part}", found[part], at_least=1e-3, meaning=meaning))
        meaning = "gradient with a window of all steps: from the whole one, relative"
        checks.append(Check("gradient_window_of_all", found["window"], at_most=1e-10, meaning=meaning))
        meaning = "gradient with a window of one step: from the detached one"
        checks.append(Check("gradient_window_of_one", found["one"], at_most=1e-10, meaning=meaning))
    return checks


def draw(settings: Settings, results: dict[str, Any]) -> dict[str, Figure]:
    panels = []
    if (found := results.get("taylor-green")) is not None:
        for title, x, sizes, curves in (
            ("in time", "dt", found["durations"], found["in_time"]),
            ("in space", "spacing", found["spacings"], found["in_space"]),
        ):
            marked = {name: (sizes, errors) for name, errors in curves.items()}
            panels.append(
                Panel(marked=marked, orders=(1, 2), title=title, x=x, y="error (root mean square)", logarithmic=True)
            )
    if (found := results.get("cavity")) is not None:
        for place, value, points, ghia, botella in (
            ("y", "u", published.GHIA_Y, published.GHIA_U[1000], published.BOTELLA_U),
            ("x", "v", published.GHIA_X, published.GHIA_V[1000], published.BOTELLA_V),
        ):
            panels.append(
                Panel(
                    lines={f"PISO, {settings.cavity_cells} cells": (found[place], found[value])},
                    points={"Ghia et al. 1982": (points, ghia), "Botella, Peyret 1998": (points, botella)},
                    title="cavity, Re = 1000",
                    x=place,
                    y=f"{value} through the center",
                )
            )
    return {"piso": panels_figure(panels)} if panels else {}


PROGRAM = verification(
    "piso",
    Settings,
    {"quick": {"parts": ("taylor-green", "channel"), "levels": (8, 16), "steps": (16, 32)}},
    measure,
    judge,
    draw,
    SOURCES,
)
