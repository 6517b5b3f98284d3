r"""Hasegawa-Wakatani: growth and frequency of drift waves, orders, and the averages and budgets of turbulence.

A small wave goes like $e^{-i \omega t}$ with the growing root of
$\omega^2 + i \omega b - i b \kappa k_y / (1 + k^2) = 0$, $b = c_1 (1 + k^2) / k^2$.
"""

import time
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffphys.errors import InputError
from diffphys.grids import Field, Grid, Periodic
from diffphys.operators import Arakawa, Dealiased, poisson_bracket
from diffphys.physics import HasegawaWakatani, PlasmaBudget
from diffphys.plots import Panel, panels_figure
from diffphys.runs import Figure, setting
from diffphys.scenarios import drift_wave_noise, plasma_turbulence
from diffphys.stepping import ImplicitExplicit, RungeKutta, rollout
from diffphys.verification.case import Check, Parts, verification
from diffphys.verification.convergence import advanced, last_order


SCHEMES = {"Arakawa": Arakawa(), "dealiased": Dealiased()}
METHODS = {
    **{f"Runge-Kutta {order}": RungeKutta(order) for order in (2, 3, 4)},
    **{f"implicit-explicit {order}": ImplicitExplicit(order) for order in (2, 3, 4)},
}
PUBLISHED = {
    "particle_flux": (0.59, 0.61),
    "resistive_loss": (0.59, 0.61),
    "energy": (3.71, 3.85),
    "enstrophy": (12.3, 14.1),
}
FLUCTUATIONS = {"particle_flux": 0.05, "energy": 0.29, "enstrophy": 0.68}

SOURCES = (
    "A. Hasegawa, M. Wakatani, Phys. Rev. Lett. 50 (1983) 682-686",
    "S. J. Camargo, D. Biskamp, B. D. Scott, Phys. Plasmas 2 (1995) 48-62 (dispersion relation, budgets)",
    "R. Greif, J. Open Source Softw. 8 (2023) 5959: hw2d (averages of 25 runs on 512 x 512 cells)",
    "A. Arakawa, J. Comput. Phys. 1 (1966) 119-143",
)
NOTES = (
    "Turbulence is at $c_1 = 1$ in a box of $2 \\pi / 0.15$, with Arakawa's bracket, central differences and "
    "Runge-Kutta 4 in float32, all averages streamed along the run. From 256 cells along an axis on the hyperviscosity "
    "is the published $5 \\cdot 10^{-8}$ with N = 3 and the averages are held to the published ones; on coarser grids "
    "it is scaled with the spacing to the power six, and only the budgets are held to a bound.",
)


@dataclass(frozen=True)
class Settings:
    """What the case is asked for."""

    adiabaticities: tuple[float, ...] = setting((0.1, 1.0, 5.0), help="c1 of the small waves", above=0.0)
    cells: int = setting(128, help="cells along each axis, 12.6 long, of the small waves", minimum=48)
    levels: tuple[int, ...] = setting(
        (32, 64, 128), increasing=2, help="cells along each axis of the grids that are refined", minimum=16
    )
    steps: tuple[int, ...] = setting((40, 80, 160), increasing=2, help="steps that are refined in time", minimum=10)
    turbulence: tuple[int, ...] = setting((64, 128), help="cells along each axis of the turbulent grids", minimum=32)
    seeds: tuple[int, ...] = setting((0,), help="of the noise from which turbulence grows", minimum=0)
    first: float = setting(150.0, help="time at which averages begin", minimum=0.0)
    time: float = setting(400.0, help="time at which they end", above=0.0)

    def __post_init__(self):
        if self.turbulence and self.time < self.first + 20:
            raise InputError(f"time is {self.time:g} but averages begin at {self.first:g}; 20 more is accepted.")


def measure(settings: Settings, parts: Parts) -> dict[str, Any]:
    found = (
        parts("sums", lambda: _sums())
        | parts("linear", lambda: _linear(settings))
        | parts("space", lambda: _space(settings))
        | parts("time", lambda: _time(settings))
    )
    runs = [(count, seed) for count in settings.turbulence for seed in settings.seeds]
    return found | {
        "turbulence": [
            parts(f"turbulence-{c}-{s}", lambda c=c, s=s: _turbulence(settings, parts, c, s)) for c, s in runs
        ]
    }


# Small and smooth -----------------------------------------------------------------------------------------------------


def _sums() -> dict[str, Any]:
    """The sums of each bracket alone and with either of its functions, over the sums of their magnitudes."""
    random, grid = np.random.default_rng(0), Grid((48, 64), (3.0, 5.0))
    conditions = ((Periodic(), Periodic()),) * 2
    a, b = (Field(jnp.asarray(random.standard_normal(grid.cells)), grid, conditions=conditions) for _ in range(2))
    found = {}
    for name, scheme in SCHEMES.items():
        bracket = np.asarray(poisson_bracket(a, b, scheme))
        weights = (np.ones(grid.cells), np.asarray(a), np.asarray(b))
        found[name] = max(abs(np.sum(one * bracket)) / np.sum(np.abs(one * bracket)) for one in weights)
    return {"sums": found}


def frequency(c: float, kx: Any, ky: Any, gradient: float = 1.0) -> Any:
    """The growing root of the dispersion relation: its real part is the frequency, its imaginary part the growth."""
    squared = kx**2 + ky**2
    b = c * (1 + squared) / squared
    root = np.sqrt(-(b**2) + 4j * b * gradient * ky / (1 + squared))
    roots = np.stack([(-1j * b + root) / 2, (-1j * b - root) / 2])
    return np.where(roots[0].imag > roots[1].imag, roots[0], roots[1])


def _linear(settings: Settings) -> dict[str, Any]:
    """The frequency of each small wave, all of them in one run, from how far it came in a time of 4."""
    waves = np.array([(0, 1), (0, 2), (1, 2), (0, 3), (2, 3), (0, 4), (1, 1), (3, 1)])
    kx, ky = 0.5 * waves.T
    grid = Grid((settings.cells, settings.cells), (4 * np.pi, 4 * np.pi))
    x, y = (np.asarray(line) for line in grid.centers())
    places, found, exact = (waves[:, 0], waves[:, 1]), {name: [] for name in SCHEMES}, []
    for c in settings.adiabaticities:
        omega = frequency(c, kx, ky)
        exact.append([omega.real, omega.imag])
        # From the density's equation: (c - i omega) n = (c - i ky) phi.
        ratio = (c - 1j * ky) / (c - 1j * omega)
        phases = np.exp(1j * (kx[:, None, None] * x + ky[:, None, None] * y))
        phi, n = (1e-7 * np.real(np.tensordot(part, phases, 1)) for part in (np.ones(len(waves)), ratio))
        for name, scheme in SCHEMES.items():
            system = HasegawaWakatani(grid, 0.02, c, hyperviscosity=0.0, bracket=scheme)
            start = system.initial_state(n, phi)
            final = advanced(system, start, 200)
            before, after = (np.fft.fft2(one.vorticity.values)[places] for one in (start, final))
            measured = 1j * np.log(after / before) / 4.0
            found[name].append([measured.real, measured.imag])
    return dict(waves=np.hypot(kx, ky), exact=exact, found=found)


def _smooth(x: Any, y: Any) -> tuple[Any, Any]:
    """A density and a potential of few waves, large enough to turn over within a time of one."""
    k = 2 * np.pi / 8.0
    phi = 1.5 * np.cos(k * x) * np.sin(k * y) + np.sin(2 * k * x + k * y)
    return np.sin(k * y) + 0.8 * np.cos(k * (x - 2 * y)) + 0.5 * phi, phi


def _smooth_run(count: int, steps: int, scheme: Any, method: Any) -> np.ndarray:
    """The longest waves of both fields after a time of one, as if on points of which the first is the origin."""
    grid = Grid((count, count), (8.0, 8.0))
    system = HasegawaWakatani(
        grid, 1.0 / steps, 0.8, 1.2, hyperviscosity=1e-5, hyperviscosity_order=2, bracket=scheme, stepping=method
    )
    final = advanced(system, system.initial_state(*_smooth(*(np.asarray(line) for line in grid.centers()))), steps)
    some = np.concatenate([np.arange(6), np.arange(-5, 0)])
    shift = np.exp(-1j * np.pi * some / count)
    waves = [np.fft.fft2(field.values)[np.ix_(some, some)] / count**2 for field in final]
    return np.stack([wave * shift[:, None] * shift for wave in waves])


def _space(settings: Settings) -> dict[str, Any]:
    """The error of Arakawa's scheme against a dealiased run that resolves all."""
    exact = _smooth_run(96, 160, Dealiased(), RungeKutta(4))
    finer = _smooth_run(144, 160, Dealiased(), RungeKutta(4))
    runs = [_smooth_run(count, 160, Arakawa(), RungeKutta(4)) for count in settings.levels]
    return dict(
        sizes=[8.0 / count for count in settings.levels],
        space_errors=[float(np.linalg.norm(one - exact)) for one in runs],
        spectral_error=float(np.linalg.norm(finer - exact) / np.linalg.norm(exact)),
    )


def _time(settings: Settings) -> dict[str, Any]:
    """The error of each method against one with eight times as many steps, on one dealiased grid."""
    exact = _smooth_run(24, 8 * settings.steps[-1], Dealiased(), RungeKutta(4))
    errors = {
        name: [float(np.linalg.norm(_smooth_run(24, steps, Dealiased(), method) - exact)) for steps in settings.steps]
        for name, method in METHODS.items()
    }
    return dict(dts=[1.0 / steps for steps in settings.steps], time_errors=errors)


# Turbulent ------------------------------------------------------------------------------------------------------------


def _turbulence(settings: Settings, parts: Parts, count: int, seed: int) -> dict[str, Any]:
    """The budget at every half unit of time, of which averages are made; kept on the way every few minutes."""
    system, every, name = plasma_turbulence(count, 0.025 if count >= 256 else 0.05), 0.5, f"state-{count}-{seed}"
    noise = drift_wave_noise(system, jax.random.key(seed))
    state = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), noise)
    chunk, series = round(10.0 / every), np.zeros((round(settings.time / every), len(PlasmaBudget._fields)))
    done, seconds = 0, 0.0
    if (kept := parts.load(name, (state, series))) is not None:
        (state, series), known = kept
        done, seconds = known["done"], known["seconds"]
    started = time.monotonic()
    while done < len(series):
        length = min(chunk, len(series) - done)
        state, budgets, outcome = rollout(
            system,
            state,
            length * round(every / float(system.dt)),
            save_every=round(every / float(system.dt)),
            save=system.budget,
            outcome=True,
        )
        if (step := int(outcome.first_not_finite)) >= 0:
            made = done * every / float(system.dt) + step
            raise InputError(
                f"hasegawa-wakatani on {count} cells becomes unstable at step {made:.0f}, time {made * system.dt:.1f}, "
                f"where the Courant number is {float(outcome.courant_number):.2g}; fewer cells are accepted."
            )
        series[done : done + length] = np.stack([np.asarray(one) for one in budgets], 1)
        done += length
        parts.save(name, (state, series), {"done": done, "seconds": seconds + time.monotonic() - started})
    n = np.asarray(state.density.values)
    return dict(
        cells=count,
        seed=seed,
        viscosity=float(system.hyperviscosity),
        every=every,
        series={key: series[:, index] for index, key in enumerate(PlasmaBudget._fields)},
        seconds=seconds + time.monotonic() - started,
        steps=round(settings.time / float(system.dt)),
        density=n[:: max(1, count // 64), :: max(1, count // 64)],
    )


def averages(settings: Settings, found: dict[str, Any]) -> dict[str, Any]:
    """Means and fluctuations of one run, and how far each budget is from closed, of the gain."""
    series = {
        name: np.asarray(line)[round(settings.first / found["every"]) :] for name, line in found["series"].items()
    }
    means = {name: float(np.mean(line)) for name, line in series.items()}
    passed = found["every"] * (len(series["energy"]) - 1)
    gain = means["particle_flux"]
    losses = {"energy": means["resistive_loss"] + means["energy_loss"], "enstrophy": means["enstrophy_loss"]}
    closure = {
        name: float((series[name][-1] - series[name][0]) / passed - gain + loss) / gain for name, loss in losses.items()
    }
    return dict(mean=means, fluctuation={name: float(np.std(line)) for name, line in series.items()}, closure=closure)


def judge(settings: Settings, results: dict[str, Any]) -> list[Check]:
    checks = [
        Check(f"sums_{name.lower()}", value, at_most=1e-12, meaning=f"the bracket's three sums are zero, {name}")
        for name, value in results["sums"].items()
    ]
    exact = np.asarray(results["exact"])
    for name, found in results["found"].items():
        error = np.max(np.abs(np.asarray(found) / exact - 1), axis=(0, 2))
        count, most = exact.shape[0] * exact.shape[2], 0.01 if name == "Arakawa" else 1e-5
        for kind, value in zip(("frequency", "growth"), error, strict=True):
            words = f"{kind} of {count} small waves, {name}: largest relative error"
            checks.append(Check(f"{kind}_{name.lower()}", float(value), at_most=most, meaning=words))
    checks += [
        Check(
            "order_in_space",
            last_order(results["sizes"], results["space_errors"]),
            at_least=1.9,
            meaning="order in space, Arakawa against dealiased",
        ),
        Check(
            "spectral", results["spectral_error"], at_most=1e-10, meaning="dealiased on 96 and 144 cells: difference"
        ),
    ]
    for name, errors in results["time_errors"].items():
        order = last_order(results["dts"], errors)
        words = f"order_{name.lower().replace(' ', '_').replace('-', '_')}"
        checks.append(Check(words, order, at_least=METHODS[name].order - 0.25, meaning=f"order in time, {name}"))
    for run in results["turbulence"]:
        checks += _turbulence_checks(settings, run)
    return checks


def _turbulence_checks(settings: Settings, run: dict[str, Any]) -> list[Check]:
    found, where = averages(settings, run), f"{run['cells']}, seed {run['seed']}"
    end = f"{run['cells']}_{run['seed']}"
    checks = [
        Check(f"{name}_closure_{end}", abs(value), at_most=0.02, meaning=f"budget of {name}, of the gain; {where}")
        for name, value in found["closure"].items()
    ]
    judged = run["cells"] >= 256
    for name, (low, high) in PUBLISHED.items():
        bounds: dict[str, float] = {"at_least": low, "at_most": high} if judged else {}
        words = f"mean {name.replace('_', ' ')}; {where}"
        checks.append(Check(f"{name}_{end}", found["mean"][name], published=(low, high), meaning=words, **bounds))
    for name, size in FLUCTUATIONS.items():
        bounds = {"at_least": 0.67 * size, "at_most": 1.5 * size} if judged else {}
        words = f"fluctuation of {name.replace('_', ' ')}; {where}"
        value = found["fluctuation"][name]
        checks.append(Check(f"{name}_fluctuation_{end}", value, published=size, meaning=words, **bounds))
    words = f"milliseconds a step; {where}"
    return [*checks, Check(f"step_ms_{end}", 1e3 * run["seconds"] / run["steps"], meaning=words)]


def draw(settings: Settings, results: dict[str, Any]) -> dict[str, Figure]:
    fine = np.linspace(0.2, 2.5, 100)
    curves = {f"c1 = {c:g}": (fine, frequency(c, 0.0, fine).imag) for c in settings.adiabaticities}
    along_y = [0, 1, 3, 5]  # the waves without kx, which the curves are of
    waves = np.asarray(results["waves"])[along_y]
    points = {
        f"found, c1 = {c:g}": (waves, np.asarray(found[1])[along_y])
        for c, found in zip(settings.adiabaticities, results["found"]["Arakawa"], strict=True)
    }
    panels = [
        Panel(lines=curves, points=points, title="drift waves", x="wavenumber along y", y="growth rate"),
        Panel(
            marked={name: (results["dts"], line) for name, line in results["time_errors"].items()},
            orders=(2, 3, 4),
            title="steps refined",
            x="dt",
            y="error",
            logarithmic=True,
        ),
    ]
    if results["turbulence"]:
        lines = {
            f"{run['cells']}, seed {run['seed']}": (
                run["every"] * np.arange(1, len(run["series"]["particle_flux"]) + 1),
                run["series"]["particle_flux"],
            )
            for run in results["turbulence"]
        }
        panels.append(Panel(lines=lines, title="from noise to turbulence", x="time", y="particle flux"))
    return {"waves": panels_figure(panels)}


PROGRAM = verification(
    "hasegawa-wakatani",
    Settings,
    {
        "quick": {"levels": (32, 64), "steps": (40, 80), "turbulence": (32,), "time": 200.0},
        "published": {"turbulence": (512,), "first": 300.0, "time": 1000.0},
        "published-256": {"turbulence": (256,), "seeds": (0, 1, 2), "first": 300.0, "time": 1000.0},
    },
    measure,
    judge,
    draw,
    SOURCES,
    NOTES,
)
