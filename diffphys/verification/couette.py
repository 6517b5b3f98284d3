"""Flow between plates that move: the straight line it ends in, and how it starts from rest."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from diffphys.errors import InputError
from diffphys.plots import Panel, panels_figure
from diffphys.runs import setting
from diffphys.verification.case import Check, Parts, verification
from diffphys.verification.channel import KINDS, Plates, errors_of
from diffphys.verification.convergence import order_check


SOURCES = ("G. K. Batchelor, An Introduction to Fluid Dynamics (1967), sections 4.2 and 4.3",)


@dataclass(frozen=True)
class Settings:
    """What the case is asked for."""

    kinds: tuple[str, ...] = setting(KINDS[:3], help="friction at the lower and upper plate", choices=KINDS[:3])
    levels: tuple[int, ...] = setting(
        (8, 16, 32), increasing=2, help="cells between the plates of the grids that are refined", minimum=4
    )
    stretch: tuple[float, ...] = setting(
        (0.0, 1.5), help="strength of the stretching, 0 for none", minimum=0.0, maximum=4.0
    )
    dimensions: int = setting(2, help="2 or 3", choices=(2, 3))
    axis: int = setting(1, help="the axis of the flow; the plates are normal to the next one", choices=(0, 1, 2))
    height: float = setting(1.5, help="distance of the plates", above=0.0)
    viscosity: float = setting(0.3, help="length squared per time", above=0.0)
    speeds: tuple[float, float] = setting((-0.4, 0.7), help="of the lower and upper plate")
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
        plates = Plates(kind, settings.height, settings.viscosity, speeds=settings.speeds)
        for stretch in settings.stretch:
            shape = dict(axis=settings.axis, dimensions=settings.dimensions, stretch=stretch, order=settings.order)
            shape |= dict(diffusion=settings.diffusion, beyond=settings.beyond)
            for name, time, settle in (("transient", settings.time, False), ("steady", 1.0, True)):
                levels = settings.levels[:1] if settle else settings.levels
                found[f"{name} {kind} {stretch:g}"] = parts(
                    f"{name}-{kind}-{stretch:g}",
                    lambda p=plates, n=levels, t=time, s=settle, shape=shape: errors_of(
                        p, n, t * unit, settle=s, **shape
                    ),
                )
    y = np.linspace(0, settings.height, 60)
    plates = Plates(settings.kinds[0], settings.height, settings.viscosity, speeds=settings.speeds)
    times = [0.01, 0.03, 0.1, 0.3, 1.0]
    found["profiles"] = dict(y=y, times=times, u=[plates.profile(y, time * unit) for time in times])
    return found


def judge(settings: Settings, results: dict[str, Any]) -> list[Check]:
    checks = []
    for name, found in results.items():
        key = name.replace(" ", "_").replace("-", "_").replace(".", "_")
        if name.startswith("steady"):
            meaning = f"relative error, {name}: a straight line is exact"
            checks.append(Check(f"error_{key}", max(found["errors"]), at_most=1e-11, meaning=meaning))
        elif name.startswith("transient"):
            checks.append(order_check(f"order_{key}", f"order, {name}", found["sizes"], found["errors"], at_least=1.9))
    return checks


def draw(settings: Settings, results: dict[str, Any]) -> dict[str, Any]:
    curves = {
        name.removeprefix("transient "): (found["sizes"], found["errors"])
        for name, found in results.items()
        if name.startswith("transient")
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
