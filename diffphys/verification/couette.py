"""Flow between plates that move: the straight line it ends in, and how it starts from rest."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from diffphys.plots import Panel, panels_figure
from diffphys.runs import Figure, setting
from diffphys.verification.case import Check, Parts, in_metrics, verification
from diffphys.verification.channel import KINDS, Plates, PlatesSettings, flows_between_plates
from diffphys.verification.convergence import order_check


SOURCES = ("G. K. Batchelor, An Introduction to Fluid Dynamics (1967), sections 4.2 and 4.3",)


@dataclass(frozen=True)
class Settings(PlatesSettings):
    """What the case is asked for."""

    kinds: tuple[str, ...] = setting(
        tuple(KINDS)[:3], help="friction at the lower and upper plate", choices=tuple(KINDS)[:3]
    )
    levels: tuple[int, ...] = setting(
        (8, 16, 32), increasing=2, help="cells between the plates of the grids that are refined", minimum=4
    )
    axis: int = setting(1, help="the axis of the flow; the plates are normal to the next one", choices=(0, 1, 2))
    height: float = setting(1.5, help="distance of the plates", above=0.0)
    viscosity: float = setting(0.3, help="length squared per time", above=0.0)
    speeds: tuple[float, float] = setting((-0.4, 0.7), help="of the lower and upper plate")


def _plates(settings: Settings, kind: str) -> Plates:
    return Plates(kind, settings.height, settings.viscosity, speeds=settings.speeds)


def measure(settings: Settings, parts: Parts) -> dict[str, Any]:
    flows = flows_between_plates(settings, parts, partial(_plates, settings), settings.levels[:1], 1.0)
    unit = settings.height**2 / settings.viscosity
    y = np.linspace(0, settings.height, 60)
    plates = _plates(settings, settings.kinds[0])
    times = [0.01, 0.03, 0.1, 0.3, 1.0]
    profiles = dict(y=y, times=times, u=[plates.profile(y, time * unit) for time in times])
    return dict(flows=flows, profiles=profiles)


def judge(settings: Settings, results: dict[str, Any]) -> list[Check]:
    checks = []
    for found in results["flows"]:
        name = f"{found['state']} {found['kind']} {found['stretch']:g}"
        if found["state"] == "steady":
            meaning = f"relative error, {name}: a straight line is exact"
            checks.append(Check(in_metrics(f"error {name}"), max(found["errors"]), at_most=1e-11, meaning=meaning))
        else:
            key, meaning = in_metrics(f"order {name}"), f"order, {name}"
            checks.append(order_check(key, meaning, found["sizes"], found["errors"], at_least=1.9))
    return checks


def draw(settings: Settings, results: dict[str, Any]) -> dict[str, Figure]:
    curves = {
        f"{found['kind']} {found['stretch']:g}": (found["sizes"], found["errors"])
        for found in results["flows"]
        if found["state"] == "transient"
    }
    profiles = results["profiles"]
    lines = {f"{time:g}": (u, profiles["y"]) for time, u in zip(profiles["times"], profiles["u"], strict=True)}
    return {
        "couette": panels_figure(
            [
                Panel(
                    lines=lines, title=f"exact, {settings.kinds[0]}, at times of height^2 / viscosity", x="speed", y="y"
                ),
                Panel(
                    marked=curves, orders=(2,), title="from rest", x="1 / cells", y="relative error", logarithmic=True
                ),
            ]
        )
    }


PROGRAM = verification(
    "couette",
    Settings,
    {"quick": {"kinds": ("wall-wall",), "levels": (16, 32), "stretch": (0.0,)}},
    measure,
    judge,
    draw,
    SOURCES,
)
