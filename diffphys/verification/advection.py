"""A profile carried once around a periodic axis: how well each scheme keeps its shape, its variation and its mass."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from diffphys.grids import Field, Grid, Periodic, face_offset
from diffphys.operators import advect, cubic_semi_lagrangian, maccormack, semi_lagrangian
from diffphys.plots import Panel, panels_figure
from diffphys.runs import Figure, setting
from diffphys.verification.case import Check, Parts, verification
from diffphys.verification.convergence import advanced, last_order


SOURCES = (
    "R. Courant, E. Isaacson, M. Rees, Comm. Pure Appl. Math. 5 (1952) 243-255 (upwind, semi-Lagrangian)",
    "B. van Leer, J. Comput. Phys. 14 (1974) 361-370",
    "A. Staniforth, J. Cote, Mon. Weather Rev. 119 (1991) 2206-2223 (cubic semi-Lagrangian)",
    "A. Selle, R. Fedkiw, B. Kim, Y. Liu, J. Rossignac, J. Sci. Comput. 35 (2008) 350-371 (MacCormack)",
)

SCHEMES = (
    "upwind", "van_leer", "central", "fourth_order", "semi_lagrangian", "cubic", "limited_cubic", "maccormack",
    "limited_maccormack",
)  # fmt: skip
CONSERVATIVE = ("upwind", "van_leer", "central", "fourth_order")
# Of no growing total variation in one dimension.
LIMITED = ("upwind", "van_leer", "semi_lagrangian")
# Of no new extremes.
BOUNDED = (*LIMITED, "limited_cubic", "limited_maccormack")
# In the mean error of a smooth profile, at a fixed Courant number; clipped extremes cost limited schemes some of it.
LEAST_ORDER = dict(
    upwind=0.9, van_leer=1.7, central=1.9, fourth_order=3.8, semi_lagrangian=0.9, cubic=2.8, limited_cubic=1.9,
    maccormack=1.9, limited_maccormack=1.7,
)  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """What the case is asked for."""

    schemes: tuple[str, ...] = setting(SCHEMES, help="the schemes", choices=SCHEMES)
    cells: int = setting(100, help="cells of the profiles that are shown", minimum=16)
    levels: tuple[int, ...] = setting(
        (64, 128, 256), increasing=2, help="cells of the grids that are refined", minimum=16
    )
    courant: float = setting(0.4, help="Courant number", above=0.0, maximum=0.5)
    periods: int = setting(1, help="how often the profile goes around", minimum=1)
    axis: int = setting(0, help="the axis it goes along", choices=(0, 1))
    width: float = setting(0.3, help="width of the square profile, of a period of 1", above=0.0, maximum=0.9)


class Carried(eqx.Module):
    """The step of one scheme with a uniform velocity."""

    velocity: tuple[Field, ...]
    dt: Any
    scheme: str = eqx.field(static=True)

    def __call__(self, field: Field) -> Field:
        given = (field, self.velocity, self.dt)
        match self.scheme:
            case "semi_lagrangian":
                return semi_lagrangian(*given)
            case "cubic" | "limited_cubic":
                return cubic_semi_lagrangian(*given, limited=self.scheme == "limited_cubic")
            case "maccormack" | "limited_maccormack":
                return maccormack(*given, limited=self.scheme == "limited_maccormack")
        return advect(*given, self.scheme)


def measure(settings: Settings, parts: Parts) -> dict[str, Any]:
    return {scheme: parts(scheme, lambda s=scheme: _of_scheme(settings, s)) for scheme in settings.schemes}


def _of_scheme(settings: Settings, scheme: str) -> dict[str, Any]:
    errors = []
    for count in settings.levels:
        centers, step, field, steps = _carried(settings, scheme, count, lambda x: np.exp(np.sin(2 * np.pi * x)))
        found = _line(settings, advanced(step, field, steps))
        errors.append(float(np.mean(np.abs(found - np.exp(np.sin(2 * np.pi * centers))))))

    def square(x: np.ndarray) -> np.ndarray:
        return 1.0 * (np.abs(x - 0.5) < settings.width / 2)

    centers, step, field, steps = _carried(settings, scheme, settings.cells, square)
    start = field.values

    @eqx.filter_jit
    def follow(step: Carried, field: Field) -> Any:
        def advance(field: Field, _: None) -> Any:
            new = step(field)
            line = jnp.moveaxis(new.values, settings.axis, 0)[:, 0]
            variation = jnp.sum(jnp.abs(line - jnp.roll(line, 1)))
            return new, (variation, jnp.sum(line), jnp.min(line), jnp.max(line))

        return jax.lax.scan(advance, field, None, steps)

    final, (variation, mass, least, most) = follow(step, field)
    first = _line(settings, field.with_values(start))
    return dict(
        sizes=[1 / count for count in settings.levels],
        errors=errors,
        x=centers,
        start=first,
        profile=_line(settings, final),
        variation=np.asarray(variation),
        growth=max(np.diff([np.abs(first - np.roll(first, 1)).sum(), *np.asarray(variation)]).tolist()),
        mass=float(np.max(np.abs(np.asarray(mass) - first.sum())) / first.sum()),
        excess=float(max(0.0, -np.min(least), np.max(most) - 1)),
        error=float(np.mean(np.abs(_line(settings, final) - first))),
    )


def _carried(settings: Settings, scheme: str, count: int, profile: Callable[[np.ndarray], np.ndarray]) -> tuple:
    """Centers, the step, the field and the number of steps after which it is where it was."""
    cells, size = [3, 3], [0.2, 0.2]
    cells[settings.axis], size[settings.axis] = count, 1.0
    grid = Grid(cells, size)
    conditions = ((Periodic(), Periodic()),) * 2
    velocity = tuple(
        Field(jnp.full(grid.cells, 1.0 if a == settings.axis else 0.0), grid, face_offset(grid, a), conditions)
        for a in range(2)
    )
    steps = int(np.ceil(settings.periods * count / settings.courant))
    centers = (np.arange(count) + 0.5) / count
    values = np.expand_dims(profile(centers), 1 - settings.axis) * np.ones(grid.cells)
    field = Field(values, grid, conditions=conditions)
    return centers, Carried(velocity, jnp.asarray(settings.periods / steps), scheme), field, steps


def _line(settings: Settings, field: Field) -> np.ndarray:
    return np.moveaxis(np.asarray(field.values), settings.axis, 0)[:, 0]


def judge(settings: Settings, results: dict[str, Any]) -> list[Check]:
    checks = []
    for scheme, found in results.items():
        title = scheme.replace("_", " ")
        order = last_order(found["sizes"], found["errors"])
        checks.append(Check(f"{scheme}_order", order, at_least=LEAST_ORDER[scheme], meaning=f"{title}: order"))
        meaning = f"{title}: mean error of the square"
        checks.append(Check(f"{scheme}_square_error", found["error"], meaning=meaning))
        if scheme in LIMITED:
            meaning = f"{title}: largest growth of total variation"
            checks.append(Check(f"{scheme}_variation", found["growth"], at_most=1e-12, meaning=meaning))
        if scheme in BOUNDED:
            checks.append(
                Check(f"{scheme}_excess", found["excess"], at_most=1e-12, meaning=f"{title}: beyond extremes")
            )
        if scheme in CONSERVATIVE:
            checks.append(Check(f"{scheme}_mass", found["mass"], at_most=1e-12, meaning=f"{title}: change of mass"))
    return checks


def draw(settings: Settings, results: dict[str, Any]) -> dict[str, Figure]:
    names = list(results)
    groups = [[n for n in names if n in CONSERVATIVE], [n for n in names if n not in CONSERVATIVE]]
    panels = []
    for title, group in zip(("conservative", "semi-Lagrangian"), groups, strict=True):
        if not group:
            continue
        panels.append(
            Panel(
                lines={name.replace("_", " "): (results[name]["x"], results[name]["profile"]) for name in group},
                points={"start": (results[group[0]]["x"][::4], results[group[0]]["start"][::4])},
                title=f"{title}, after {settings.periods} period{'s' * (settings.periods > 1)}",
                x="x",
                y="profile",
            )
        )
        panels.append(
            Panel(
                marked={name.replace("_", " "): (results[name]["sizes"], results[name]["errors"]) for name in group},
                orders=(1, 2, 4) if title == "conservative" else (1, 2, 3),
                title="a smooth profile, refined",
                x="1 / cells",
                y="mean error",
                logarithmic=True,
            )
        )
    return {"profiles": panels_figure(panels, height=3.4)}


PROGRAM = verification(
    "advection",
    Settings,
    {"quick": {"schemes": ("van_leer", "cubic"), "levels": (32, 64), "cells": 50}},
    measure,
    judge,
    draw,
    SOURCES,
)
