r"""The exact flow between two plates, each at rest, moving or without friction, for `poiseuille` and `couette`.

The solution of $\partial_t u = \nu \, \partial_y^2 u + F$ from rest, with a value or a vanishing slope at each end, is
its steady profile plus modes that decay like $e^{-\nu k_n^2 t}$ (Batchelor, An Introduction to Fluid Dynamics, 1967,
section 4.3).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from diffphys.errors import InputError
from diffphys.grids import Grid, Periodic, Wall, tanh_edges
from diffphys.operators import SkewSymmetric
from diffphys.physics import IncompressibleFlow
from diffphys.runs import setting
from diffphys.verification.case import Parts
from diffphys.verification.convergence import advanced, largest_difference, stepping_of


KINDS = {
    "wall-wall": (True, True),
    "wall-slip": (True, False),
    "slip-wall": (False, True),
    "slip-slip": (False, False),
}
"""Whether there is friction at the lower and the upper plate."""
MODES = 200


@dataclass(frozen=True)
class PlatesSettings:
    """What both cases are asked for."""

    kinds: tuple[str, ...] = setting(tuple(KINDS), help="friction at the lower and upper plate", choices=tuple(KINDS))
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
    time: float = setting(0.1, help="when the start from rest is compared, in units of height^2 / viscosity", above=0.0)
    order: int = setting(2, help="the scheme: order in space", choices=(2, 4))
    diffusion: str = setting("explicit", help="how diffusion is taken", choices=("explicit", "implicit"))
    beyond: float = setting(
        20.0, help="the step of implicit diffusion, in units of the longest explicit one", above=0.0
    )

    def __post_init__(self):
        if self.axis >= self.dimensions:
            raise InputError(f'the setting "axis" accepts at most {self.dimensions - 1} here, not {self.axis}')


@dataclass(frozen=True)
class Plates:
    """Two plates at y = 0 and y = height.

    Attributes:
        kind: Of `KINDS`.
        height: Their distance.
        viscosity: Kinematic viscosity.
        force: Acceleration along the plates.
        speeds: Of the lower and the upper plate; without friction they do not matter.
    """

    kind: str
    height: float
    viscosity: float
    force: float = 0.0
    speeds: tuple[float, float] = (0.0, 0.0)

    @property
    def friction(self) -> tuple[bool, bool]:
        """Whether there is friction at the lower and the upper plate."""
        return KINDS[self.kind]

    def steady(self, y: np.ndarray) -> np.ndarray:
        """The profile after a long time; with no friction at all there is none, and zero is returned."""
        bend, (lower, upper) = self.force / self.viscosity, self.friction
        match lower, upper:
            case True, True:
                rise = (self.speeds[1] - self.speeds[0]) / self.height
                return self.speeds[0] + rise * y + bend / 2 * y * (self.height - y)
            case True, False:
                return self.speeds[0] + bend * (self.height * y - y**2 / 2)
            case False, True:
                return self.speeds[1] + bend / 2 * (self.height**2 - y**2)
        return np.zeros_like(y)

    def profile(self, y: np.ndarray, time: float) -> np.ndarray:
        """The profile at a time after the start from rest."""
        lower, upper = self.friction
        if not (lower or upper):
            return np.full_like(y, self.force * time)
        count = np.arange(1, MODES + 1)
        waves = np.pi / self.height * (count if lower and upper else count - 0.5)
        shape = np.sin if lower else np.cos
        nodes, weights = np.polynomial.legendre.leggauss(4 * MODES)
        nodes, weights = (nodes + 1) * self.height / 2, weights * self.height / 2
        amplitudes = 2 / self.height * (weights * self.steady(nodes)) @ shape(np.outer(nodes, waves))
        return self.steady(y) - shape(np.outer(y, waves)) @ (amplitudes * np.exp(-self.viscosity * waves**2 * time))


class Pushed(eqx.Module):
    """A flow with a constant force."""

    flow: IncompressibleFlow
    force: Any

    def __call__(self, state: Any) -> Any:
        return self.flow(state, [self.force[axis] for axis in range(len(state.velocity))])


def error_of(
    plates: Plates,
    count: int,
    time: float,
    *,
    axis: int,
    dimensions: int,
    stretch: float,
    order: int,
    settle: bool,
    diffusion: str = "explicit",
    beyond: float = 1.0,
) -> float:
    """The largest error of a flow along `axis` after `time`, relative to the fastest speed.

    The plates are normal to the next axis. With `settle` the flow starts from its steady profile, which is where its
    error is asked for; else from rest. With implicit diffusion the steps are `beyond` times as long as the longest
    explicit ones.
    """
    normal = (axis + 1) % dimensions
    across = 2 if order == 2 else 3  # cells along the other axes: as few as the scheme's reach allows
    edges = [np.linspace(0.0, plates.height, across + 1)] * dimensions
    edges[normal] = (
        np.linspace(0, plates.height, count + 1) if stretch == 0 else tanh_edges(count, 0.0, plates.height, stretch)
    )
    grid = Grid.from_edges(edges)
    y = (edges[normal][1:] + edges[normal][:-1]) / 2
    tangential = [other for other in range(dimensions) if other != normal]

    def plate(speed: float, friction: bool) -> Wall:
        velocity = jnp.asarray([speed if other == axis else 0.0 for other in tangential])
        return Wall(velocity=velocity) if friction else Wall(slip=True)

    sides: list[Any] = [Periodic()] * dimensions
    sides[normal] = tuple(plate(*one) for one in zip(plates.speeds, plates.friction, strict=True))
    named = dict(zip(grid.axis_names, sides, strict=True))
    narrow = float(np.diff(edges[normal]).min())
    rate = plates.viscosity * (1 / narrow**2 + (dimensions - 1) * (across / plates.height) ** 2)
    longest = (0.4 if order == 2 else 0.25) / rate * (1.0 if diffusion == "explicit" else beyond)
    steps = int(np.ceil(time / longest))
    stages = 3 if diffusion == "explicit" else 4  # the error of a few long steps must not show beside that in space
    flow = IncompressibleFlow(
        grid,
        plates.viscosity,
        time / steps,
        named,
        advection=SkewSymmetric(order),
        stepping=stepping_of(diffusion, stages),
    )
    line = [-1 if other == normal else 1 for other in range(dimensions)]
    start: list[Any] = [0.0] * dimensions
    force = tuple(plates.force if other == axis else 0.0 for other in range(dimensions))
    state = flow.initial_state(start)
    if settle:
        start[axis] = np.broadcast_to(plates.steady(y).reshape(line), state.velocity[axis].shape)
        state = flow.initial_state(start)
    final = advanced(Pushed(flow, jnp.asarray(force)), state, steps)
    exact = plates.steady(y) if settle else plates.profile(y, time)
    others = max(float(jnp.max(jnp.abs(final.velocity[a].values))) for a in range(dimensions) if a != axis)
    size = max(np.abs(exact).max(), 1e-300)
    return max(largest_difference(final.velocity[axis].values, exact.reshape(line)), others) / size


def errors_of(plates: Plates, levels: Sequence[int], time: float, **settings: Any) -> dict[str, Any]:
    """The errors on grids that are refined."""
    return dict(sizes=[1 / n for n in levels], errors=[error_of(plates, n, time, **settings) for n in levels])


def flows_between_plates(
    settings: PlatesSettings,
    parts: Parts,
    plates_of: Callable[[str], Plates],
    steady_levels: Sequence[int],
    steady_time: float,
) -> list[dict[str, Any]]:
    """The errors from rest ("transient") and from the steady profile on ("steady"), for all plates and stretchings.

    Args:
        settings: Of the case.
        parts: Keeps what is measured.
        plates_of: From a kind to the plates.
        steady_levels: Grids on which the steady profile is followed.
        steady_time: For so long, in units of height^2 / viscosity.
    """
    found = []
    unit = settings.height**2 / settings.viscosity
    for kind in settings.kinds:
        plates = plates_of(kind)
        for stretch in settings.stretch:
            shape = dict(axis=settings.axis, dimensions=settings.dimensions, stretch=stretch, order=settings.order)
            shape |= dict(diffusion=settings.diffusion, beyond=settings.beyond)
            for state, time, levels in (
                ("transient", settings.time, settings.levels),
                ("steady", steady_time, steady_levels),
            ):
                settle = state == "steady"
                if settle and not any(plates.friction):
                    continue  # without friction it goes faster for ever
                errors = parts(
                    f"{state}-{kind}-{stretch:g}",
                    lambda p=plates, n=levels, t=time, s=settle, shape=shape: errors_of(
                        p, n, t * unit, settle=s, **shape
                    ),
                )
                found.append(dict(state=state, kind=kind, stretch=stretch, **errors))
    return found
