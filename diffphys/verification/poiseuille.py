"""Flow between plates that a force drives, from rest and in its steady state, with every pair of plates.

Besides, the parabola that enters through an inflow and leaves through an outflow as it came.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from diffphys.grids import Grid, Inflow, Outflow, Wall, tanh_edges
from diffphys.operators import SkewSymmetric
from diffphys.physics import IncompressibleFlow
from diffphys.plots import Panel, panels_figure
from diffphys.runs import Figure, setting
from diffphys.verification.case import Check, Parts, in_metrics, verification
from diffphys.verification.channel import Plates, PlatesSettings, flows_between_plates
from diffphys.verification.convergence import advanced, largest_difference, order_check, stepping_of


SOURCES = ("G. K. Batchelor, An Introduction to Fluid Dynamics (1967), sections 4.2 and 4.3",)


@dataclass(frozen=True)
class Settings(PlatesSettings):
    """What the case is asked for."""

    force: float = setting(0.8, help="acceleration along the plates")


def measure(settings: Settings, parts: Parts) -> dict[str, Any]:
    def plates(kind: str) -> Plates:
        return Plates(kind, settings.height, settings.viscosity, settings.force)

    flows = flows_between_plates(settings, parts, plates, settings.levels, 3.0)
    for stretch in settings.stretch:
        errors = parts(f"through-{stretch:g}", lambda s=stretch: _through(settings, s))
        flows.append(dict(state="through", kind="", stretch=stretch, **errors))
    return dict(flows=flows)


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
    for found in results["flows"]:
        name = " ".join(filter(None, (found["state"], found["kind"], f"{found['stretch']:g}")))
        if found["kind"] == "slip-slip":
            meaning = f"relative error, {name} (uniform)"
            checks.append(Check(in_metrics(f"error {name}"), max(found["errors"]), at_most=1e-11, meaning=meaning))
        else:
            key, meaning = in_metrics(f"order {name}"), f"order, {name}"
            checks.append(order_check(key, meaning, found["sizes"], found["errors"], at_least=1.9))
    return checks


def draw(settings: Settings, results: dict[str, Any]) -> dict[str, Figure]:
    panels = []
    titles = dict(transient="from rest", steady="steady", through="through inflow and outflow")
    for state, title in titles.items():
        curves = {
            " ".join(filter(None, (found["kind"], f"{found['stretch']:g}"))): (found["sizes"], found["errors"])
            for found in results["flows"]
            if found["state"] == state and found["kind"] != "slip-slip"
        }
        if curves:
            panels.append(
                Panel(marked=curves, orders=(2,), title=title, x="1 / cells", y="relative error", logarithmic=True)
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
