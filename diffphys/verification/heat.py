r"""Heat conduction: every mode of every combination of sides decays as it must.

On a grid with spacings $h_a$ each product of one-dimensional modes with angles $\theta_a = k_a h_a$ is an eigenvector
of the scheme, for any combination of a fixed value, a fixed slope and periodic sides. One explicit step multiplies it
by $1 - 4 D \Delta t \sum_a \sin^2(\theta_a / 2) / h_a^2$.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffphys.errors import InputError
from diffphys.grids import Conditions, Dirichlet, Grid, Neumann, Periodic
from diffphys.physics import Heat
from diffphys.plots import Panel, panels_figure
from diffphys.runs import Figure, setting
from diffphys.verification.case import Check, Parts, verification
from diffphys.verification.convergence import advanced, largest_difference, last_order


BOUNDED = {
    "slope-slope": ((Neumann(), Neumann()), np.cos, 0.0),
    "value-value": ((Dirichlet(), Dirichlet()), np.sin, 1.0),
    "value-slope": ((Dirichlet(), Neumann()), np.sin, 0.5),
    "slope-value": ((Neumann(), Dirichlet()), np.cos, 0.5),
}
"""Conditions, the function of the modes, and the number of the first in half waves."""
KINDS = ("periodic", *BOUNDED)

SOURCES = ("Every textbook: separation of variables; the discrete factor follows by inserting the mode",)


@dataclass(frozen=True)
class Settings:
    """What the case is asked for."""

    cells: tuple[int, ...] = setting((5, 4), help="cells along each axis of the modes' grid, one to three", minimum=2)
    size: tuple[float, ...] = setting((1.5, 3.2), help="length of each axis", above=0.0)
    diffusivity: float = setting(0.3, help="length squared per time", above=0.0)
    dt: float = setting(0.1, help="duration of the step that is compared mode by mode", above=0.0)
    levels: tuple[int, ...] = setting(
        (8, 16, 32), increasing=2, help="cells along each axis of the grids that are refined", minimum=4
    )


def measure(settings: Settings, parts: Parts) -> dict[str, Any]:
    if not 1 <= len(settings.cells) <= 3 or len(settings.size) != len(settings.cells):
        raise InputError(
            f"the settings cells and size have {len(settings.cells)} and {len(settings.size)} entries; one for each of "
            "one to three axes is accepted in both"
        )
    return parts("modes", lambda: _modes(settings)) | parts("refinement", lambda: _refinement(settings))


def _modes(settings: Settings) -> dict[str, Any]:
    """The largest difference from the discrete factor over all modes of each combination of sides."""
    grid, dt = Grid(settings.cells, settings.size), settings.dt
    found, factors_seen, exact_seen = {}, [], []
    for kinds in itertools.product(KINDS, repeat=grid.dimensions):
        axes = [modes(kind, cells) for kind, cells in zip(kinds, grid.cells, strict=True)]
        heat = Heat(grid, settings.diffusivity, dt, conditions=tuple(pair for pair, _, _ in axes))
        starts = _products([vectors for _, vectors, _ in axes])
        stepped = jax.vmap(lambda values, heat=heat: heat(heat.initial_state(values)).values)(jnp.asarray(starts))
        rates = np.zeros((1,) * grid.dimensions)
        for axis, ((_, _, angles), spacing) in enumerate(zip(axes, grid.spacing, strict=True)):
            line = [-1 if other == axis else 1 for other in range(grid.dimensions)]
            rates = rates + (np.sin(angles / 2) ** 2 / spacing**2).reshape(line)
        factors = (1 - 4 * settings.diffusivity * dt * rates).reshape(-1)
        shape = (-1, *[1] * grid.dimensions)
        found[", ".join(kinds)] = largest_difference(stepped, factors.reshape(shape) * starts)
        sums = tuple(range(1, 1 + grid.dimensions))
        factors_seen += (np.sum(np.asarray(stepped) * starts, axis=sums) / np.sum(starts**2, axis=sums)).tolist()
        exact_seen += factors.tolist()
    return dict(mode_errors=found, factors=factors_seen, exact_factors=exact_seen)


def _refinement(settings: Settings) -> dict[str, Any]:
    """The error of one smooth solution as cells and steps shrink together, dt like the spacing squared."""
    errors, sizes = [], []
    dimensions, diffusivity = len(settings.size), settings.diffusivity
    waves = [np.pi / (2 * length) if axis == 0 else 2 * np.pi / length for axis, length in enumerate(settings.size)]
    time = 0.5 / (diffusivity * sum(wave**2 for wave in waves))
    conditions: Conditions = ((Dirichlet(1.0), Neumann()), *[(Periodic(), Periodic())] * (dimensions - 1))
    for count in settings.levels:
        grid = Grid((count,) * dimensions, settings.size)
        stable = 1 / (2 * diffusivity * sum(1 / h**2 for h in grid.spacing))
        steps = int(np.ceil(time / (0.4 * stable)))
        heat = Heat(grid, diffusivity, time / steps, conditions)
        lines = [np.asarray(line) for line in grid.centers()]
        mode = np.sin(waves[0] * lines[0])
        for wave, line in zip(waves[1:], lines[1:], strict=True):
            mode = mode * np.cos(wave * line)
        final = advanced(heat, heat.initial_state(1.0 + np.broadcast_to(mode, grid.cells)), steps)
        exact = 1.0 + np.exp(-diffusivity * sum(wave**2 for wave in waves) * time) * mode
        errors.append(largest_difference(final.values, exact))
        sizes.append(1 / count)
    return dict(sizes=sizes, errors=errors)


def modes(kind: str, cells: int) -> tuple[tuple, np.ndarray, np.ndarray]:
    """Conditions, the modes at the cell centers as rows, and their angles $k h$."""
    place = np.arange(cells) + 0.5
    if kind == "periodic":
        waves = np.arange(1, cells + 1)
        angles = 2 * np.pi * (waves // 2) / cells
        shift = np.where((waves % 2 == 1) & (waves > 1), np.pi / 2, 0.0)
        return (Periodic(), Periodic()), np.cos(np.outer(angles, place) + shift[:, None]), angles
    conditions, wave, first = BOUNDED[kind]
    angles = np.pi * (np.arange(cells) + first) / cells
    return conditions, wave(np.outer(angles, place)), angles


def _products(vectors: Sequence[np.ndarray]) -> np.ndarray:
    """All products of one mode from each axis, (modes, *cells)."""
    product = vectors[0]
    for other in vectors[1:]:
        product = product[:, None, ..., None] * other.reshape(1, len(other), *[1] * (product.ndim - 1), -1)
        product = product.reshape(-1, *product.shape[2:])
    return product


def judge(settings: Settings, results: dict[str, Any]) -> list[Check]:
    order = last_order(results["sizes"], results["errors"])
    return [
        Check(
            "mode_error",
            max(results["mode_errors"].values()),
            at_most=1e-12,
            meaning=f"largest error of {len(results['factors'])} modes, {len(results['mode_errors'])} kinds of sides",
        ),
        Check("order_in_space", order, at_least=1.9, meaning="order of convergence in space"),
    ]


def draw(settings: Settings, results: dict[str, Any]) -> dict[str, Figure]:
    exact = np.array(results["exact_factors"])
    line = np.array([exact.min(), exact.max()])
    return {
        "decay": panels_figure(
            [
                Panel(
                    lines={"found = exact": (line, line)},
                    points={"every mode of every combination": (exact, results["factors"])},
                    title="decay in one step",
                    x="exact factor of the scheme",
                    y="factor found",
                ),
                Panel(
                    marked={"explicit steps": (results["sizes"], results["errors"])},
                    orders=(2,),
                    title="a smooth solution, refined",
                    x="1 / cells",
                    y="largest error",
                    logarithmic=True,
                ),
            ]
        )
    }


PROGRAM = verification(
    "heat", Settings, {"quick": {"cells": (4,), "size": (1.0,), "levels": (8, 16)}}, measure, judge, draw, SOURCES
)
