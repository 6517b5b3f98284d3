"""Flow between plates that a force drives, from rest and in its steady state, with every pair of plates.

Besides, the parabola that enters through an inflow and leaves through an outflow as it came.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from diffphys.errors import InputError
from diffphys.grids import Grid, Inflow, Outflow, Wall, tanh_edges
from diffphys.operators import SkewSymmetric
from diffphys.physics import IncompressibleFlow
from diffphys.plots import Panel, panels_figure
from diffphys.runs import setting
from diffphys.verification.case import Check, Parts, verification
from diffphys.verification.channel import KINDS, Plates, errors_of
from diffphys.verification.convergence import advanced, largest_difference, order_check, stepping_of


SOURCES = ("G. K. Batchelor, An Introduction to Fluid Dynamics (1967), sections 4.2 and 4.3",)


@dataclass(frozen=True)
class Settings:
    """What the case is asked for."""

    kinds: tuple[str, ...] = setting(KINDS, help="friction at the lower and upper plate", choices=KINDS)
    levels: tuple[int, ...] = setting(
        (12, 24, 48), increasing=2, help="cells between the plates of the grids that are refined", minimum=4
    )
    stretch: tuple[float, ...] = setting(
        (0.0, 1.5), help="strength of the stretching, 0 for none", minimum=0.0, maximum=4.0
    )
    dimensions: int = setting(2, help="2 or 3", choices=(2, 3))
    axis: int = setting(0, help="the axis of the flow; the plates are normal to the next one", choices=(0, 1, 2))
    height: float = setting(2.0, help="distance of the plates", above=0.0)
    viscosity: float = setting(0.5, help="length squared per time", above=0.0)
    force: float = setting(0.8, help="acceleration along the plates")
    time: float = setting(0.1, help="when the start from rest is compared, in units of height^2 / viscosity", above=0.0)
    order: int = setting(2, help="the scheme: order in space", choices=(2, 4))
    diffusion: str = setting("explicit", help="how diffusion is taken", choices=("explicit", "implicit"))
    beyond: float = setting(
        20.0, help="the step of implicit diffusion, in units of the longest explicit one", above=0.0
    )

    def __post_init__(self):
        if self.axis >= self.dimensions:
            raise InputError(f'the setting "axis" accepts at most {self.dimensions - 1} here, not {self.axis}')


def measure(settings: Settings, parts: Parts) -> dict[str, Any]:
    found = {}
    unit = settings.height**2 / settings.viscosity
    for kind in settings.kinds:
        plates = Plates(kind, settings.height, settings.viscosity, settings.force)
        for stretch in settings.stretch:
            shape = dict(axis=settings.axis, dimensions=settings.dimensions, stretch=stretch, order=settings.order)
            shape |= dict(diffusion=settings.diffusion, beyond=settings.beyond)
            for name, time, settle in (("transient", settings.time, False), ("steady", 3.0, True)):
                if settle and kind == "slip-slip":
                    continue  # without friction it goes faster for ever
                found[f"{name} {kind} {stretch:g}"] = parts(
                    f"{name}-{kind}-{stretch:g}",
                    lambda p=plates, t=time, s=settle, shape=shape: errors_of(
                        p, settings.levels, t * unit, settle=s, **shape
                    ),
                )
    for stretch in settings.stretch:
        found[f"through {stretch:g}"] = parts(f"through-{stretch:g}", lambda s=stretch: _through(settings, s))
    return found


def _through(settings: Settings, stretch: float) -> dict[str, Any]:
    """A parabola at the inflow, walls beside, an outflow: how far from a parabola it leaves."""
    errors = []
    height, speed = settings.height, 1.0
    for count in settings.levels:
        y = np.linspace(0, height, count + 1) if stretch == 0 else tanh_edges(count, 0.0, height, stretch)
        grid = Grid.from_edges([np.linspace(0, 2 * height, count + 1), y])
        centers = (y[1:] + y[:-1]) / 2
        parabola = 4 * speed * centers * (height - centers) / height**2
        viscosity = speed * height / 20
        diffusive = viscosity * (1 / np.diff(y).min() ** 2 + (count / (2 * height)) ** 2)
        if settings.diffusion == "implicit":
            diffusive /= settings.beyond
        time = 4 * height / speed
        steps = int(np.ceil(time * (diffusive + speed * count / height) / (0.4 if settings.order == 2 else 0.25)))
        sides = dict(x=(Inflow(parabola), Outflow()), y=Wall())
        flow = IncompressibleFlow(
            grid,
            viscosity,
            time / steps,
            sides,
            advection=SkewSymmetric(settings.order),
            stepping=stepping_of(settings.diffusion, 3),
        )
        final = advanced(flow, flow.initial_state(), steps)
        errors.append(largest_difference(final.velocity[0].values, parabola[None, :]) / speed)
    return dict(sizes=[1 / n for n in settings.levels], errors=errors)


def judge(settings: Settings, results: dict[str, Any]) -> list[Check]:
    checks = []
    for name, found in results.items():
        key = name.replace(" ", "_").replace("-", "_").replace(".", "_")
        if "slip-slip" in name:
            checks.append(
                Check(f"error_{key}", max(found["errors"]), at_most=1e-11, meaning=f"relative error, {name} (uniform)")
            )
            continue
        checks.append(order_check(f"order_{key}", f"order, {name}", found["sizes"], found["errors"], at_least=1.9))
    return checks


def draw(settings: Settings, results: dict[str, Any]) -> dict[str, Any]:
    panels = []
    for start in ("transient", "steady", "through"):
        curves = {
            name.removeprefix(start + " "): (found["sizes"], found["errors"])
            for name, found in results.items()
            if name.startswith(start) and "slip-slip" not in name
        }
        titles = dict(transient="from rest", steady="steady", through="through inflow and outflow")
        if curves:
            panels.append(
                Panel(
                    marked=curves, orders=(2,), title=titles[start], x="1 / cells", y="relative error", logarithmic=True
                )
            )
    return {"orders": panels_figure(panels)}


PROGRAM = verification(
    "poiseuille",
    Settings,
    {"quick": {"kinds": ("wall-slip",), "levels": (24, 48), "stretch": (0.0,)}},
    measure,
    judge,
    draw,
    SOURCES,
)
