r"""Flow by Fourier modes in a periodic box: exact solutions, orders, spectral convergence, budgets, and other solvers.

Exact are Taylor-Green vortices that a stream carries (their error is that of time alone, on any grid that holds their
one wave), and flows whose vorticity is parallel to the velocity, $\nabla \times v = v$ (Arnold, Beltrami, Childress),
whose convection is a pressure: they decay like $e^{-\nu t}$ over a step of any length.

Without viscosity the truncated series keep energy and, in 2D, enstrophy, as the equations do, if aliases are removed;
with it the energy $E$ falls as $\mathrm{d}E / \mathrm{d}t = -\nu \int \omega^2$ in 2D.
"""

import dataclasses
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffphys.grids import Grid, Periodic, face_offset
from diffphys.operators import SkewSymmetric, Spectral, convert, faces_to_centers
from diffphys.physics import FlowState, IncompressibleFlow
from diffphys.plots import Panel, panels_figure
from diffphys.runs import Figure, setting
from diffphys.stepping import ExponentialRungeKutta, ImplicitExplicit, Integrator, RungeKutta, rollout
from diffphys.verification.case import Check, Parts, verification
from diffphys.verification.convergence import ROUND_OFF, advanced, last_order
from diffphys.verification.taylor_green import LENGTH, distance, on_faces


METHODS: dict[str, Integrator] = {
    **{f"exponential {order}": ExponentialRungeKutta(order) for order in (1, 2, 3, 4)},
    **{f"Runge-Kutta {order}": RungeKutta(order) for order in (2, 3, 4)},
    **{f"implicit-explicit {order}": ImplicitExplicit(order) for order in (2, 3, 4)},
}

LEAST_ORDER = {2: 1.85, 4: 3.7}

SOURCES = (
    "G. I. Taylor, A. E. Green, Proc. R. Soc. Lond. A 158 (1937) 499-521",
    "M. Antuono, J. Fluid Mech. 890 (2020) A23 (vortices in three dimensions)",
    "T. Dombre, U. Frisch, J. M. Greene, M. Henon, A. Mehr, A. M. Soward, J. Fluid Mech. 167 (1986) 353-391 "
    "(flows of Arnold, Beltrami, Childress)",
    "S. A. Orszag, J. Atmos. Sci. 28 (1971) 1074 (aliases)",
    "S. M. Cox, P. C. Matthews, J. Comput. Phys. 176 (2002) 430-455 (exponential methods)",
)


@dataclass(frozen=True)
class Settings:
    """What the case is asked for."""

    dimensions: tuple[int, ...] = setting((2, 3), help="in how many dimensions exact flows are", choices=(2, 3))
    viscosity: float = setting(0.02, help="length squared per time", above=0.0)
    methods: tuple[str, ...] = setting(tuple(METHODS), help="the methods in time", choices=tuple(METHODS))
    steps: tuple[int, ...] = setting((16, 32, 64), increasing=2, help="steps that are refined in time", minimum=4)
    levels: tuple[int, ...] = setting(
        (12, 18, 24, 36, 48), increasing=2, help="cells along each axis that are refined in space", minimum=8
    )
    finest: int = setting(72, help="cells along each axis of the solution that these are compared with", minimum=16)
    volumes: tuple[int, ...] = setting(
        (24, 48, 96), increasing=2, help="cells along each axis of the flows by finite volumes", minimum=16
    )
    orders: tuple[int, ...] = setting((2, 4), help="orders in space of these flows", choices=(2, 4))
    peer: bool = setting(True, help="whether to compare with Exponax, where it is installed")


def measure(settings: Settings, parts: Parts) -> dict[str, Any]:
    found = (
        parts("exact", lambda: _exact(settings))
        | parts("time", lambda: _in_time(settings))
        | parts("space", lambda: _in_space(settings))
        | parts("budgets", lambda: _budgets(settings))
        | parts("volumes", lambda: _beside_finite_volumes(settings))
    )
    if settings.peer and importlib.util.find_spec("exponax"):
        found |= parts("peer", lambda: _beside_exponax(settings))
    return found


def in_modes(
    cells: Sequence[int], viscosity: float, dt: float, stepping: Integrator, dealiasing: float = 2 / 3
) -> IncompressibleFlow:
    """The flow in a box of side 2 pi."""
    grid = Grid(tuple(cells), (LENGTH,) * len(cells))
    return IncompressibleFlow(grid, viscosity, dt, Periodic(), advection=Spectral(dealiasing), stepping=stepping)


def _values(state: FlowState) -> list[Array]:
    return [part.values for part in state.velocity]


def of_stream_function(flow: IncompressibleFlow, psi: Callable[[Any, Any], Any]) -> FlowState:
    """The state with the velocity `(d psi / dy, -d psi / dx)` of a function of the place."""
    velocity = []
    for axis, sign in ((0, 1.0), (1, -1.0)):
        points = flow.grid.coordinates(face_offset(flow.grid, axis), (True, True))
        places = tuple(jnp.asarray(line) for line in points)
        along = tuple(jnp.full_like(line, sign * (other != axis)) for other, line in enumerate(places))
        velocity.append(jax.jvp(psi, places, along)[1])
    return flow.initial_state(velocity)


def _eddies(x: Any, y: Any) -> Any:
    """The stream function of a few eddies that deform each other: a sum of waves."""
    return jnp.cos(x) * jnp.sin(y) + 0.5 * jnp.cos(2 * x - y) + 0.3 * jnp.sin(x + 3 * y) + 0.2 * jnp.cos(3 * x)


def _smooth(x: Any, y: Any) -> Any:
    """A stream function with all waves, whose amplitudes fall exponentially."""
    return jnp.exp(jnp.cos(x) + jnp.sin(y)) / 3


def _exact(settings: Settings) -> dict[str, Any]:
    viscosity, carried = settings.viscosity, {}
    for cells in [(12, 12) if dimensions == 2 else (9, 9, 9) for dimensions in settings.dimensions]:
        flow = in_modes(cells, viscosity, 0.01, ExponentialRungeKutta(4))
        final = advanced(flow, flow.initial_state(on_faces(flow.grid, 0.0, viscosity, 1.0)), 50)
        carried[f"{len(cells)}d"] = distance(_values(final), on_faces(flow.grid, 0.5, viscosity, 1.0))
    if 3 not in settings.dimensions:
        return dict(carried=carried)
    flow = in_modes((9, 9, 9), viscosity, 3.0, ExponentialRungeKutta(2))
    start = flow.initial_state(_parallel_to_vorticity(flow.grid))
    decay = np.exp(-3 * viscosity)
    parallel = distance(_values(advanced(flow, start, 1)), [decay * part for part in _values(start)])
    return dict(carried=carried, parallel=parallel)


def _parallel_to_vorticity(grid: Grid) -> list[np.ndarray]:
    """`a sin(z) + c cos(y)` along x and so on around, on the faces: its curl is itself."""
    found = []
    for axis, (first, second) in enumerate(((1.0, 0.8), (0.6, 1.0), (0.8, 0.6))):
        points = grid.coordinates(tuple(0.0 if other == axis else 0.5 for other in range(3)), (True,) * 3)
        before, after = (np.asarray(points[(axis + step) % 3]) for step in (2, 1))
        found.append(np.broadcast_to(first * np.sin(before) + second * np.cos(after), grid.cells))
    return found


def _in_time(settings: Settings) -> dict[str, Any]:
    """Against the classical method with many steps on the same waves."""
    flow = in_modes((18, 18), settings.viscosity, 1.0, ExponentialRungeKutta(4))
    start, time = of_stream_function(flow, _eddies), 0.5

    def ends(method: Integrator, counts: Sequence[int]) -> list[list[Array]]:
        chosen = dataclasses.replace(flow, stepping=method, dt=jnp.asarray(time / counts[0]))
        return [_values(advanced(dataclasses.replace(chosen, dt=jnp.asarray(time / n)), start, n)) for n in counts]

    (reference,) = ends(RungeKutta(4), [8 * max(settings.steps)])
    errors = {
        name: [distance(end, reference) for end in ends(METHODS[name], settings.steps)] for name in settings.methods
    }
    return dict(steps=[time / count for count in settings.steps], time_errors=errors)


def _in_space(settings: Settings) -> dict[str, Any]:
    """The velocity at the places that all grids share, against that of many more waves; steps are the same."""

    def final(count: int) -> list[Array]:
        flow = in_modes((count, count), settings.viscosity, 0.01, ExponentialRungeKutta(4))
        state = advanced(flow, of_stream_function(flow, _smooth), 50)
        every = count // shared
        return [convert(part, (0.0, 0.0)).values[::every, ::every] for part in state.velocity]

    shared = int(np.gcd.reduce([*settings.levels, settings.finest]))
    reference = final(settings.finest)
    return dict(cells=list(settings.levels), space_errors=[distance(final(n), reference) for n in settings.levels])


def _budgets(settings: Settings) -> dict[str, Any]:
    """The drift of energy and enstrophy without viscosity, with two steps; and with it what the budget leaves open."""
    drifts: dict[str, list[list[float]]] = {"kept": [], "aliased": []}
    for name, part in (("kept", 2 / 3), ("aliased", 1.0)):
        flow = in_modes((18, 18), 0.0, 0.02, RungeKutta(4), part)
        start = of_stream_function(flow, lambda x, y: _eddies(x, y) + 0.1 * jnp.cos(5 * x + 5 * y))
        for steps in (50, 100):
            end = advanced(dataclasses.replace(flow, dt=jnp.asarray(1.0 / steps)), start, steps)
            sums = zip(_energy_and_enstrophy(end), _energy_and_enstrophy(start), strict=True)
            drifts[name].append([float(abs(after / before - 1)) for after, before in sums])
    flow = in_modes((18, 18), settings.viscosity, 0.01, ExponentialRungeKutta(4))
    start = of_stream_function(flow, _eddies)
    frames = rollout(flow, start, 100, save_every=1, save=_energy_and_enstrophy)[1]
    first = _energy_and_enstrophy(start)
    energy, enstrophy = (np.concatenate([[one], more]) for one, more in zip(first, frames, strict=True))
    weights = np.asarray([1, *[4, 2] * 49, 4, 1]) * 0.01 / 3  # Simpson's
    lost = settings.viscosity * weights @ enstrophy
    times = (0.01 * np.arange(101)).tolist()
    return dict(
        drifts=drifts,
        open=float(abs(energy[0] - energy[-1] - lost) / lost),
        budget=dict(times=times, energy=energy, enstrophy=enstrophy),
    )


def _energy_and_enstrophy(state: FlowState) -> tuple[Array, Array]:
    """Means over the box: of half the squared velocity, and of the squared vorticity."""
    energy = sum((jnp.mean(part.values**2) / 2 for part in state.velocity), jnp.zeros(()))
    return energy, jnp.mean(_vorticity(state) ** 2)


def _vorticity(state: FlowState) -> Array:
    """At the centers, of the waves themselves."""
    u, v = (part.values for part in faces_to_centers(state.velocity))
    cells = state.pressure.grid.cells
    kx, ky = 1j * jnp.fft.fftfreq(cells[0], 1 / cells[0])[:, None], 1j * jnp.arange(cells[1] // 2 + 1)
    return jnp.fft.irfft2(kx * jnp.fft.rfft2(v) - ky * jnp.fft.rfft2(u), cells)


def _beside_finite_volumes(settings: Settings) -> dict[str, Any]:
    """The difference from flows of second and fourth order, of the same start and steps, refined in space."""
    errors: dict[str, list[float]] = {str(order): [] for order in settings.orders}
    for count in settings.volumes:
        flow = in_modes((count, count), settings.viscosity, 0.5 / 64, ExponentialRungeKutta(4))
        start = of_stream_function(flow, _eddies)
        end = _values(advanced(flow, start, 64))
        for order in errors:
            other = dataclasses.replace(flow, advection=SkewSymmetric(int(order)), stepping=RungeKutta(4))
            errors[order].append(distance(_values(advanced(other, start, 64)), end))
    return dict(spacings=[LENGTH / count for count in settings.volumes], volume_errors=errors)


def _beside_exponax(settings: Settings) -> dict[str, Any]:
    """The vorticity after steps of the same method; for Exponax it has the other sign, and one wave less is kept."""
    import exponax  # pyright: ignore[reportMissingImports]

    count, dt = 48, 0.02
    flow = in_modes((count, count), settings.viscosity, dt, ExponentialRungeKutta(2))
    start = of_stream_function(flow, _eddies)
    stepper = exponax.stepper.NavierStokesVorticity(2, LENGTH, count, dt, diffusivity=settings.viscosity, order=2)
    end = rollout(flow, start, 25)[0]
    other = -jax.jit(lambda one: rollout(stepper, one, 25)[0])(-_vorticity(start)[None])[0]
    finer = advanced(dataclasses.replace(flow, dt=jnp.asarray(dt / 16), stepping=RungeKutta(4)), start, 400)
    size = float(jnp.sqrt(jnp.mean(_vorticity(finer) ** 2)))
    return dict(
        apart=distance([_vorticity(end)], [other]) / size,
        own=distance([_vorticity(end)], [_vorticity(finer)]) / size,
        peers=distance([other], [_vorticity(finer)]) / size,
    )


def judge(settings: Settings, results: dict[str, Any]) -> list[Check]:
    checks = [
        Check(f"carried_{name}", error, at_most=1e-9, meaning=f"vortices that a stream carries, {name.upper()}: error")
        for name, error in results["carried"].items()
    ]
    if "parallel" in results:
        words = "a flow parallel to its vorticity, one step of 3: error"
        checks.append(Check("parallel_to_vorticity", results["parallel"], at_most=ROUND_OFF, meaning=words))
    for name, errors in results["time_errors"].items():
        order, words = METHODS[name].order, name.replace(" ", "_").replace("-", "_").lower()
        found = last_order(results["steps"], errors)
        checks.append(Check(f"order_{words}", found, order - 0.2, order + 0.35, meaning=f"order in time, {name}"))
    errors, finest = np.asarray(results["space_errors"]), results["cells"][-1]
    falls = -np.diff(np.log(errors)) / np.diff(results["cells"])
    checks.append(
        Check(
            "least_fall",
            float(np.min(falls)),
            at_least=0.3,
            meaning="in space: the error falls by a factor e to this power with each further cell, at least",
        )
    )
    words = f"error on {finest}^2 cells"
    checks.append(Check("finest_error", float(errors[-1]), at_most=float(np.exp(-0.3 * finest)), meaning=words))
    for index, name in enumerate(("energy", "enstrophy")):
        (coarse, fine), (aliased, _) = ([one[index] for one in results["drifts"][kind]] for kind in ("kept", "aliased"))
        checks.append(Check(f"{name}_drift", fine, at_most=1e-6, meaning=f"without viscosity: drift of {name}"))
        words = f"order in time with which the drift of {name} vanishes"
        checks.append(Check(f"{name}_drift_order", float(np.log2(coarse / fine)), at_least=3.8, meaning=words))
        words = f"the same with aliases: drift of {name}, over that without"
        checks.append(Check(f"{name}_drift_aliased", aliased / coarse, at_least=100.0, meaning=words))
    words = "energy that viscosity does not account for, of what is lost"
    checks.append(Check("budget_left_open", results["open"], at_most=1e-8, meaning=words))
    for order, errors in results["volume_errors"].items():
        found = last_order(results["spacings"], errors)
        words = f"order with which finite volumes of order {order} approach it"
        checks.append(Check(f"finite_volumes_{order}", found, at_least=LEAST_ORDER[int(order)], meaning=words))
    if "apart" in results:
        checks.append(Check("exponax_apart", results["apart"], at_most=1e-12, meaning="vorticity: apart from Exponax"))
        words = "vorticity: our error over that of Exponax, same steps"
        checks.append(Check("exponax_error", results["own"] / results["peers"], at_most=1.01, meaning=words))
    return checks


def draw(settings: Settings, results: dict[str, Any]) -> dict[str, Figure]:
    budget = results["budget"]
    return {
        "spectral": panels_figure(
            [
                Panel(
                    marked={"Fourier modes": (results["cells"], results["space_errors"])},
                    title="waves refined",
                    x="cells along an axis",
                    y="error (root mean square)",
                    logarithmic=True,
                ),
                *[_in_time_panel(kind, results) for kind in dict.fromkeys(_kind(name) for name in settings.methods)],
                Panel(
                    marked={
                        f"order {order}": (results["spacings"], line)
                        for order, line in results["volume_errors"].items()
                    },
                    orders=settings.orders,
                    title="apart from finite volumes",
                    x="spacing",
                    y="difference (root mean square)",
                    logarithmic=True,
                ),
                Panel(
                    lines={
                        name: (budget["times"], np.asarray(budget[name]) / budget[name][0])
                        for name in ("energy", "enstrophy")
                    },
                    title="with viscosity",
                    x="time",
                    y="over that of the start",
                ),
            ]
        )
    }


def _kind(name: str) -> str:
    """A method's name without its order."""
    return name.rsplit(" ", 1)[0]


def _in_time_panel(kind: str, results: dict[str, Any]) -> Panel:
    errors = {name: line for name, line in results["time_errors"].items() if _kind(name) == kind}
    return Panel(
        marked={f"order {METHODS[name].order}": (results["steps"], line) for name, line in errors.items()},
        orders=[METHODS[name].order for name in errors],
        title=f"steps refined: {kind}",
        x="dt",
        y="error (root mean square)",
        logarithmic=True,
    )


PROGRAM = verification(
    "spectral",
    Settings,
    {
        "quick": {
            "dimensions": (2,),
            "methods": ("exponential 2", "exponential 4"),
            "steps": (16, 32),
            "levels": (12, 18),
            "finest": 36,
            "volumes": (18, 36),
            "orders": (2,),
            "peer": False,
        }
    },
    measure,
    judge,
    draw,
    SOURCES,
)
