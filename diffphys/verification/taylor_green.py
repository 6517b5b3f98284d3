r"""Taylor-Green vortices: order in space, order in time of each method, and a start from centered data.

In two dimensions the vortices $u = \sin x \cos y$, $v = -\cos x \sin y$ decay like $e^{-2 \nu t}$, in three those of
Antuono (2020), which are eigenvectors of the curl, like $e^{-3 \nu t}$. A uniform stream carries them, so that
convection is not balanced by the pressure alone: the exact solution moves with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from diffphys.grids import Field, Grid, Periodic, center_offset, face_offset
from diffphys.operators import SkewSymmetric, centers_to_faces, faces_to_centers
from diffphys.physics import IncompressibleFlow
from diffphys.plots import Panel, panels_figure
from diffphys.runs import Figure, setting
from diffphys.verification.case import Check, Parts, verification
from diffphys.verification.convergence import advanced, order_check, stepping_of


SOURCES = (
    "G. I. Taylor, A. E. Green, Proc. R. Soc. Lond. A 158 (1937) 499-521",
    "M. Antuono, J. Fluid Mech. 890 (2020) A23 (the solution in three dimensions)",
)

LENGTH = 2 * np.pi
LEAST_ORDER = {2: 1.9, 4: 3.8}


@dataclass(frozen=True)
class Settings:
    """What the case is asked for."""

    dimensions: tuple[int, ...] = setting((2, 3), help="in how many dimensions", choices=(2, 3))
    orders: tuple[int, ...] = setting((2, 4), help="the schemes: order in space", choices=(2, 4))
    stages: tuple[int, ...] = setting((2, 3, 4), help="the methods in time, by their stages", choices=(2, 3, 4))
    levels: tuple[int, ...] = setting(
        (16, 32, 64), increasing=2, help="cells along each axis of the grids in 2D", minimum=8
    )
    levels_3d: tuple[int, ...] = setting(
        (8, 16, 32), increasing=2, help="cells along each axis of the grids in 3D", minimum=6
    )
    viscosity: float = setting(0.05, help="length squared per time", minimum=0.0)
    stream: float = setting(1.0, help="speed of the uniform stream along x; half of it along y and z")
    time: float = setting(0.5, help="end of the simulations that are refined in space", above=0.0)
    courant: float = setting(0.25, help="Courant number of the simulations that are refined in space", above=0.0)
    steps: tuple[int, ...] = setting(
        (8, 16, 32, 64), increasing=2, help="steps per unit of time, refined in time", minimum=4
    )
    diffusion: str = setting("explicit", help="how diffusion is taken", choices=("explicit", "implicit"))
    start_cells: int = setting(64, help="cells along each axis of the start from centered data", minimum=8)
    start_viscosity: float = setting(0.001, help="viscosity of the start from centered data", minimum=0.0)
    start_steps: int = setting(20, help="steps of the start from centered data", minimum=1)
    start_dt: float = setting(0.05, help="duration of these steps", above=0.0)


def exact(points: Sequence[Any], time: float, viscosity: float, stream: float) -> list[np.ndarray]:
    """All velocity components at these points."""
    speeds = [stream, stream / 2, stream / 2][: len(points)]
    moved = [np.asarray(line) - speed * time for line, speed in zip(points, speeds, strict=True)]
    decay = np.exp(-len(points) * viscosity * time)
    if len(points) == 2:
        x, y = moved
        return [speeds[0] + decay * np.sin(x) * np.cos(y), speeds[1] - decay * np.cos(x) * np.sin(y)]
    size = 4 * np.sqrt(2) / (3 * np.sqrt(3)) * decay
    found = []
    for axis in range(3):
        x, y, z = moved[axis], moved[(axis + 1) % 3], moved[(axis + 2) % 3]
        first = np.sin(x - 5 * np.pi / 6) * np.cos(y - np.pi / 6) * np.sin(z)
        second = np.cos(z - 5 * np.pi / 6) * np.sin(x - np.pi / 6) * np.sin(y)
        found.append(speeds[axis] + size * (first - second))
    return found


def on_faces(grid: Grid, time: float, viscosity: float, stream: float) -> list[np.ndarray]:
    """Each component on its own faces."""
    periodic = (True,) * grid.dimensions
    return [
        exact(grid.coordinates(face_offset(grid, axis), periodic), time, viscosity, stream)[axis]
        for axis in range(grid.dimensions)
    ]


def distance(first: Sequence[Any], second: Sequence[Any]) -> float:
    """The root mean square of the difference of two velocities."""
    squares = [np.mean((np.asarray(one) - np.asarray(two)) ** 2) for one, two in zip(first, second, strict=True)]
    return float(np.sqrt(sum(squares)))


def measure(settings: Settings, parts: Parts) -> dict[str, Any]:
    found = {}
    for dimensions in settings.dimensions:
        for order in settings.orders:
            name = f"space-{dimensions}d-order-{order}"
            found[name] = parts(name, lambda d=dimensions, o=order: _in_space(settings, d, o))
        name = f"time-{dimensions}d"
        found[name] = parts(name, lambda d=dimensions: _in_time(settings, d))
    for order in settings.orders:
        name = f"start-order-{order}"
        found[name] = parts(name, lambda o=order: _from_centers(settings, o))
    return found


def _in_space(settings: Settings, dimensions: int, order: int) -> dict[str, Any]:
    errors, sizes = [], []
    for count in settings.levels if dimensions == 2 else settings.levels_3d:
        grid = Grid((count,) * dimensions, (LENGTH,) * dimensions)
        h = LENGTH / count
        steps = int(np.ceil(settings.time * (1 + abs(settings.stream)) / (settings.courant * h)))
        flow = IncompressibleFlow(
            grid,
            settings.viscosity,
            settings.time / steps,
            Periodic(),
            advection=SkewSymmetric(order),
            stepping=stepping_of(settings.diffusion, 4),
        )
        start = flow.initial_state(on_faces(grid, 0.0, settings.viscosity, settings.stream))
        final = advanced(flow, start, steps)
        true = on_faces(grid, settings.time, settings.viscosity, settings.stream)
        errors.append(distance([part.values for part in final.velocity], true))
        sizes.append(h)
    return dict(sizes=sizes, errors=errors)


def _in_time(settings: Settings, dimensions: int) -> dict[str, Any]:
    """Against the explicit method of fourth order with many steps on the same grid, so that errors in space do not
    matter.
    """
    grid = Grid((16,) * dimensions if dimensions == 2 else (8,) * dimensions, (LENGTH,) * dimensions)
    start_values = on_faces(grid, 0.0, settings.viscosity, settings.stream)

    def final(stages: int, steps: int, diffusion: str = settings.diffusion) -> list[Any]:
        flow = IncompressibleFlow(
            grid, settings.viscosity, 1.0 / steps, Periodic(), stepping=stepping_of(diffusion, stages)
        )
        return [part.values for part in advanced(flow, flow.initial_state(start_values), steps).velocity]

    reference = final(4, 16 * max(settings.steps), "explicit")
    errors = {str(one): [distance(final(one, steps), reference) for steps in settings.steps] for one in settings.stages}
    return dict(sizes=[1 / steps for steps in settings.steps], errors=errors)


def _from_centers(settings: Settings, order: int) -> dict[str, Any]:
    """The relative error where the start is known at the centers and the result is asked for there."""
    grid = Grid((settings.start_cells,) * 2, (LENGTH, LENGTH))
    viscosity, dt = settings.start_viscosity, settings.start_dt
    flow = IncompressibleFlow(
        grid, viscosity, dt, Periodic(), advection=SkewSymmetric(order), stepping=stepping_of(settings.diffusion, 3)
    )
    centers = grid.coordinates(center_offset(grid), (True, True))
    conditions = ((Periodic(), Periodic()),) * 2
    start = [Field(values, grid, conditions=conditions) for values in exact(centers, 0.0, viscosity, 0.0)]
    state = flow.initial_state([part.values for part in centers_to_faces(start)])
    found = [part.values for part in faces_to_centers(advanced(flow, state, settings.start_steps).velocity)]
    true = exact(centers, settings.start_steps * dt, viscosity, 0.0)
    return dict(error=distance(found, true) / distance(true, [np.zeros(1)] * 2))


def judge(settings: Settings, results: dict[str, Any]) -> list[Check]:
    checks = []
    for dimensions in settings.dimensions:
        for order in settings.orders:
            found = results[f"space-{dimensions}d-order-{order}"]
            checks.append(
                order_check(
                    f"order_in_space_{dimensions}d_scheme_{order}",
                    f"order in space, {dimensions}D, scheme of order {order}",
                    found["sizes"],
                    found["errors"],
                    at_least=LEAST_ORDER[order],
                )
            )
        found = results[f"time-{dimensions}d"]
        for stages in settings.stages:
            checks.append(
                order_check(
                    f"order_in_time_{dimensions}d_stages_{stages}",
                    f"order in time, {dimensions}D, Runge-Kutta {stages}",
                    found["sizes"],
                    found["errors"][str(stages)],
                    at_least=stages - 0.1,
                    at_most=stages + 0.1,
                )
            )
    for order in settings.orders:
        checks.append(
            Check(
                f"relative_error_from_centers_scheme_{order}",
                results[f"start-order-{order}"]["error"],
                at_most=1e-3,
                meaning=f"relative error from centered data, {settings.start_cells}^2, scheme of order {order}",
            )
        )
    return checks


def draw(settings: Settings, results: dict[str, Any]) -> dict[str, Figure]:
    panels = []
    for dimensions in settings.dimensions:
        curves = {order: results[f"space-{dimensions}d-order-{order}"] for order in settings.orders}
        panels.append(
            Panel(
                marked={f"scheme of order {order}": (one["sizes"], one["errors"]) for order, one in curves.items()},
                orders=settings.orders,
                title=f"in space, {dimensions}D",
                x="spacing",
                y="error (root mean square)",
                logarithmic=True,
            )
        )
        found = results[f"time-{dimensions}d"]
        panels.append(
            Panel(
                marked={f"Runge-Kutta {one}": (found["sizes"], found["errors"][str(one)]) for one in settings.stages},
                orders=settings.stages,
                title=f"in time, {dimensions}D",
                x="dt",
                y="error (root mean square)",
                logarithmic=True,
            )
        )
    return {"orders": panels_figure(panels)}


PROGRAM = verification(
    "taylor-green",
    Settings,
    {"quick": {"dimensions": (2,), "levels": (16, 32), "steps": (16, 32), "start_cells": 64}},
    measure,
    judge,
    draw,
    SOURCES,
)
