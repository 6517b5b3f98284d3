r"""The flow behind a row of bodies: second order with an inflow and an outflow.

The steady equations are solved by $u = 1 - e^{\lambda x} \cos 2 \pi y$,
$v = \lambda e^{\lambda x} \sin(2 \pi y) / (2 \pi)$ and $p = (1 - e^{2 \lambda x}) / 2$ with
$\lambda = Re / 2 - \sqrt{Re^2 / 4 + 4 \pi^2}$. Both velocity components are given at the inflow, pressure and slopes at
the outflow.
"""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from diffphys.grids import Grid, Inflow, Outflow, Periodic, face_offset
from diffphys.operators import SkewSymmetric
from diffphys.physics import IncompressibleFlow
from diffphys.plots import Panel, panels_figure
from diffphys.runs import Figure, setting
from diffphys.stepping import RungeKutta
from diffphys.verification.case import Check, Parts, verification
from diffphys.verification.convergence import advanced, largest_difference, last_order


SOURCES = ("L. I. G. Kovasznay, Proc. Camb. Phil. Soc. 44 (1948) 58-62",)


@dataclass(frozen=True)
class Settings:
    """What the case is asked for."""

    re: float = setting(40.0, help="Reynolds number", above=0.0, maximum=500.0)
    levels: tuple[int, ...] = setting(
        (24, 48, 96), increasing=2, help="cells across the stream of the grids that are refined", minimum=8
    )
    lower: float = setting(-0.5, help="where the domain begins along the stream")
    length: float = setting(1.5, help="its length along the stream", above=0.0)
    courant: float = setting(0.5, help="Courant number", above=0.0, maximum=1.5)
    stages: int = setting(3, help="the Runge-Kutta method", choices=(2, 3, 4))
    order: int = setting(2, help="the scheme: order in space", choices=(2, 4))
    largest_time: float = setting(20.0, help="when to stop at the latest", above=0.0)


WORDS = dict(u="the velocity along the stream", v="the velocity across it", p="the pressure")


class Exact:
    """The solution and what is given at the sides."""

    def __init__(self, re: float):
        self.rate = re / 2 - np.sqrt(re**2 / 4 + 4 * np.pi**2)

    def u(self, x, y):
        """The velocity along the stream."""
        return 1 - np.exp(self.rate * x) * np.cos(2 * np.pi * y)

    def v(self, x, y):
        """The velocity across it."""
        return self.rate / (2 * np.pi) * np.exp(self.rate * x) * np.sin(2 * np.pi * y)

    def u_slope(self, x, y):
        """The derivative of u along the stream."""
        return self.rate * (self.u(x, y) - 1)

    def v_slope(self, x, y):
        """The derivative of v along the stream."""
        return self.rate * self.v(x, y)

    def pressure(self, x, y):
        """The kinematic pressure."""
        return (1 - np.exp(2 * self.rate * x)) / 2 + 0 * y


def measure(settings: Settings, parts: Parts) -> dict[str, Any]:
    errors: dict[str, list[float]] = {"u": [], "v": [], "p": []}
    field = {}
    for count in settings.levels:
        found = parts(f"cells-{count}", lambda n=count: _solve(settings, n))
        for name in errors:
            errors[name].append(found[name])
        field = found["along"]
    return dict(sizes=[1 / n for n in settings.levels], errors=errors, along=field)


def _solve(settings: Settings, count: int) -> dict[str, Any]:
    exact = Exact(settings.re)
    along = max(4, round(count * settings.length))
    grid = Grid((along, count), (settings.length, 1.0), (settings.lower, -0.5))
    periodic = (False, True)
    faces = [[np.asarray(line) for line in grid.coordinates(face_offset(grid, axis), periodic)] for axis in range(2)]
    first, last = settings.lower, settings.lower + settings.length
    at_centers, at_faces = faces[0][1][0], faces[1][1][0]
    inflow = Inflow(exact.u(first, at_centers), tangential=(exact.v(first, at_faces),))
    outflow = Outflow(
        pressure=exact.pressure(last, at_centers),
        slope=(exact.u_slope(last, at_centers), exact.v_slope(last, at_faces)),
    )
    starts = [exact.u(*faces[0]), exact.v(*faces[1])]
    fastest = max(np.abs(start).max() for start in starts)
    spacing = min(grid.spacing)
    stable = 1 / (2 / settings.re * sum(1 / h**2 for h in grid.spacing))
    dt = min(settings.courant * spacing / fastest, 0.9 * stable)
    flow = IncompressibleFlow(
        grid,
        1 / settings.re,
        dt,
        dict(x=(inflow, outflow), y=Periodic()),
        advection=SkewSymmetric(settings.order),
        stepping=RungeKutta(settings.stages),
    )
    state, time, rate = flow.initial_state(starts), 0.0, np.inf
    many = max(1, int(0.5 / dt))
    while rate > 1e-9 and time < settings.largest_time:
        before, state = state, advanced(flow, state, many)
        time += many * dt
        pairs = zip(before.velocity, state.velocity, strict=True)
        rate = max(largest_difference(one.values, two.values) for one, two in pairs) / (many * dt)
    centers = [np.asarray(line) for line in grid.centers()]
    difference = np.asarray(state.pressure.values) - exact.pressure(*centers)
    line = [int(jnp.argmin(jnp.abs(centers[1][0])))]
    return dict(
        u=largest_difference(state.velocity[0].values, starts[0]),
        v=largest_difference(state.velocity[1].values, starts[1]),
        p=float(np.abs(difference).max()),
        rate=rate,
        along=dict(
            x=faces[0][0][:, 0],
            u=np.asarray(state.velocity[0].values)[:, line[0]],
            exact=starts[0][:, line[0]],
        ),
    )


def judge(settings: Settings, results: dict[str, Any]) -> list[Check]:
    return [
        Check(
            f"order_{name}",
            last_order(results["sizes"], results["errors"][name]),
            at_least=1.9,
            meaning=f"order of {WORDS[name]}",
        )
        for name in ("u", "v", "p")
    ]


def draw(settings: Settings, results: dict[str, Any]) -> dict[str, Figure]:
    along = results["along"]
    every = max(1, len(along["x"]) // 24)
    curves = {name: (results["sizes"], errors) for name, errors in results["errors"].items()}
    return {
        "kovasznay": panels_figure(
            [
                Panel(
                    lines={"u": (along["x"], along["u"])},
                    points={"exact": (along["x"][::every], along["exact"][::every])},
                    title=f"Re = {settings.re:g}, along the middle of a wake",
                    x="x",
                    y="u",
                ),
                Panel(marked=curves, orders=(2,), title="refined", x="spacing", y="largest error", logarithmic=True),
            ]
        )
    }


PROGRAM = verification(
    "kovasznay", Settings, {"quick": {"levels": (32, 64), "largest_time": 8.0}}, measure, judge, draw, SOURCES
)
