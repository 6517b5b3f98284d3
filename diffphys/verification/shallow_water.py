r"""Shallow water: lakes at rest, dam breaks against Stoker and Ritter, and a wave that steepens.

A wave that runs in one direction into water at rest has $v = 2 (c - c_0)$ with $c = \sqrt{g h}$, and each value of $c$
moves with $v + c = 3 c - 2 c_0$ until the first crest breaks. Where a dam between two depths is taken away a fan runs
back and a bore ahead (Stoker 1957), over dry ground a fan alone (Ritter 1892).
"""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from diffphys.grids import Grid, Open, Periodic, Wall
from diffphys.physics import ShallowWater
from diffphys.plots import Panel, panels_figure
from diffphys.runs import Figure, setting
from diffphys.verification.case import Check, Parts, verification
from diffphys.verification.convergence import advanced, largest_difference, last_order


GRAVITY = 9.81

SOURCES = (
    "A. Ritter, Z. Ver. Dtsch. Ing. 36 (1892) 947-954 (dam break over dry ground)",
    "J. J. Stoker, Water Waves (1957), section 10.8 (dam break)",
    "G. B. Whitham, Linear and Nonlinear Waves (1974), section 13.10 (simple wave)",
    "E. Audusse, F. Bouchut, M.-O. Bristeau, R. Klein, B. Perthame, SIAM J. Sci. Comput. 25 (2004) 2050-2065",
)


@dataclass(frozen=True)
class Settings:
    """What the case is asked for."""

    levels: tuple[int, ...] = setting(
        (100, 200, 400, 800), increasing=2, help="cells of the grids that are refined", minimum=16
    )
    ahead: float = setting(0.3, help="depth ahead of the dam, behind which it is 1", above=0.0, maximum=0.9)
    amplitude: float = setting(0.05, help="of the simple wave, in its speed", above=0.0, maximum=0.2)
    steps: int = setting(2000, help="steps of the lake at rest and of the flood", minimum=1)


def simple_wave(x: np.ndarray, time: float, amplitude: float) -> tuple[np.ndarray, np.ndarray]:
    """Depth and velocity of the wave that starts as `c = c0 (1 + amplitude sin(2 pi x))`, of mean depth near 1."""
    rest, start = np.sqrt(GRAVITY), np.array(x, float)
    for _ in range(100):  # Newton's method for where each value came from
        speed = rest * (1 + amplitude * np.sin(2 * np.pi * start))
        slope = rest * amplitude * 2 * np.pi * np.cos(2 * np.pi * start)
        start = start - (start + (3 * speed - 2 * rest) * time - x) / (1 + 3 * slope * time)
    speed = rest * (1 + amplitude * np.sin(2 * np.pi * start))
    return speed**2 / GRAVITY, 2 * (speed - rest)


def stoker(x: np.ndarray, time: float, behind: float, ahead: float) -> tuple[np.ndarray, np.ndarray]:
    """Depth and velocity after a dam at 0 between these two depths is taken away."""
    fast, slow = np.sqrt(GRAVITY * behind), np.sqrt(GRAVITY * ahead)
    middle, bore, jump, depth = 0.0, 2 * fast, 0.0, behind
    if ahead > 0:
        low, high = slow, fast  # of the speed between bore and fan, where both give the same velocity
        for _ in range(100):
            middle = (low + high) / 2
            depth = middle**2 / GRAVITY
            jump = (depth - ahead) * np.sqrt(GRAVITY / 2 * (1 / depth + 1 / ahead))
            low, high = (middle, high) if jump < 2 * (fast - middle) else (low, middle)
        bore = jump * depth / (depth - ahead)
    velocity = 2 * (fast - middle)
    fan = np.clip((2 * fast - x / time) / 3, middle, fast)
    depth, speed = fan**2 / GRAVITY, 2 * (fast - fan)
    beyond = x > bore * time
    return np.where(beyond, ahead, depth), np.where(beyond, 0.0, np.minimum(speed, velocity))


def measure(settings: Settings, parts: Parts) -> dict[str, Any]:
    return (
        parts("dams", lambda: _dams(settings))
        | parts("wave", lambda: _wave(settings))
        | parts("flood", lambda: _flood(settings))
    )


def _dams(settings: Settings) -> dict[str, Any]:
    """The mean error in depth of both dam breaks on each grid, and the profiles on the finest."""
    found: dict[str, Any] = {"sizes": [20.0 / count for count in settings.levels]}
    for name, ahead in (("bore", settings.ahead), ("dry", 0.0)):
        errors, profile = [], {}
        for count in settings.levels:
            grid = Grid((count,), (20.0,), origin=(-10.0,))
            x = np.asarray(grid.centers()[0])
            water = ShallowWater(grid, 1.2 / count, Open())
            final = advanced(water, water.initial_state(np.where(x < 0, 1.0, ahead)), count)
            exact = stoker(x, 1.2, 1.0, ahead)[0]
            errors.append(float(np.mean(np.abs(np.asarray(final.depth.values) - exact))))
            profile = dict(x=x, found=np.asarray(final.depth.values), exact=exact)
        found |= {f"{name}_errors": errors, name: profile}
    return found


def _wave(settings: Settings) -> dict[str, Any]:
    """The mean error in depth of the simple wave on each grid."""
    errors, time = [], 0.6 / (6 * np.pi * settings.amplitude * np.sqrt(GRAVITY))  # it breaks after 1 / 0.6 of that
    for count in settings.levels:
        grid = Grid((count,), (1.0,))
        x = np.asarray(grid.centers()[0])
        steps = int(np.ceil(time * 4.5 * count / 0.4))
        water = ShallowWater(grid, time / steps, Periodic())
        final = advanced(water, water.initial_state(*simple_wave(x, 0.0, settings.amplitude)), steps)
        exact, _ = simple_wave(x, time, settings.amplitude)
        errors.append(float(np.mean(np.abs(np.asarray(final.depth.values) - exact))))
    start, _ = simple_wave(x, 0.0, settings.amplitude)
    return dict(wave_errors=errors, wave=dict(x=x, start=start, found=np.asarray(final.depth.values), exact=exact))


def _flood(settings: Settings) -> dict[str, Any]:
    """A lake with islands that stays at rest, and a flood over the same bottom, in a turning box with walls."""
    bottom = 1.5 * np.random.default_rng(0).random((24, 18))
    grid = Grid((24, 18), (2.4, 1.8))
    water = ShallowWater(grid, 0.002, Wall(), bottom=bottom, coriolis=0.5)
    lake = water.initial_state(1.0)
    rest = advanced(water, lake, settings.steps)
    flood = water.initial_state(np.where(np.arange(24)[:, None] < 8, 2.0, 0.0) * np.ones((24, 18)))
    end, courant, lowest = flood, 0.0, 0.0
    for _ in range(20):
        end = advanced(water, end, max(1, settings.steps // 20))
        courant = max(courant, float(water.courant_number(end)))
        lowest = min(lowest, float(jnp.min(end.depth.values)))
    volume, after = (float(np.sum(np.asarray(state.depth.values))) for state in (flood, end))
    return dict(
        change_at_rest=largest_difference(rest.depth.values, lake.depth.values),
        momentum_at_rest=max(float(np.max(np.abs(np.asarray(part.values)))) for part in rest.momentum),
        change_of_volume=abs(after / volume - 1),
        lowest=lowest,
        courant=courant,
    )


def judge(settings: Settings, results: dict[str, Any]) -> list[Check]:
    sizes = results["sizes"]
    return [
        Check(
            "change_at_rest",
            max(results["change_at_rest"], results["momentum_at_rest"]),
            at_most=1e-12,
            meaning=f"a lake with islands at rest, {settings.steps} steps: largest change",
        ),
        Check("change_of_volume", results["change_of_volume"], at_most=1e-12, meaning="a flood: change of volume"),
        Check("lowest_depth", results["lowest"], at_least=-1e-14, meaning="a flood: lowest depth"),
        Check("courant", results["courant"], at_most=0.5, meaning="a flood: largest Courant number of 20 moments"),
        Check(
            "order_of_wave",
            last_order(sizes, results["wave_errors"]),
            at_least=1.9,
            meaning="a wave before it breaks: order of the mean error",
        ),
        # At a bore the error is of the size of the jump over a few cells, at the corners of the fan somewhat better.
        Check(
            "order_of_bore",
            last_order(sizes, results["bore_errors"]),
            at_least=0.8,
            meaning="dam break, Stoker: order of the mean error",
        ),
        Check(
            "order_of_dry",
            last_order(sizes, results["dry_errors"]),
            at_least=0.8,
            meaning="dam break over dry ground, Ritter: order of the mean error",
        ),
        Check(
            "bore_error",
            results["bore_errors"][-1],
            at_most=0.8 / settings.levels[-1],
            meaning=f"dam break, Stoker: mean error of the depth, {settings.levels[-1]} cells",
        ),
    ]


def draw(settings: Settings, results: dict[str, Any]) -> dict[str, Figure]:
    panels = []
    for name, title in (("bore", "dam break"), ("dry", "dam break over dry ground")):
        profile = results[name]
        every = max(1, len(profile["x"]) // 40)
        panels.append(
            Panel(
                lines={"found": (profile["x"], profile["found"])},
                points={"exact": (profile["x"][::every], profile["exact"][::every])},
                title=title,
                x="x",
                y="depth",
            )
        )
    wave = results["wave"]
    every = max(1, len(wave["x"]) // 40)
    panels.append(
        Panel(
            lines={"start": (wave["x"], wave["start"]), "found": (wave["x"], wave["found"])},
            points={"exact": (wave["x"][::every], wave["exact"][::every])},
            title="a wave that steepens",
            x="x",
            y="depth",
        )
    )
    panels.append(
        Panel(
            marked={
                title: (results["sizes"], results[f"{name}_errors"])
                for name, title in (("bore", "dam break"), ("dry", "over dry ground"), ("wave", "wave"))
            },
            orders=(1, 2),
            title="refined",
            x="spacing of the dam breaks",
            y="mean error of the depth",
            logarithmic=True,
        )
    )
    return {"depths": panels_figure(panels)}


PROGRAM = verification(
    "shallow-water",
    Settings,
    {"quick": {"levels": (50, 100), "steps": 100}},
    measure,
    judge,
    draw,
    SOURCES,
)
