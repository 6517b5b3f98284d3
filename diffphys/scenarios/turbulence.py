"""Two-dimensional turbulence that decays, and two streams that mix, on the domains of List, Chen, Thuerey (2022).

The published initial fields could not be recovered; those that stand here have the published Reynolds numbers.
"""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffphys.grids import Grid, Inflow, Outflow, Periodic, Wall
from diffphys.physics import FlowState, IncompressibleFlow, Sponge
from diffphys.stepping import PISO, RungeKutta


BOX = 2 * np.pi
LAYER = (40 * np.pi, 20 * np.pi)


def decaying_turbulence(
    cells: int,
    dt: float,
    *,
    viscosity: float = 1e-3,
    size: float = BOX,
    stepping: PISO | RungeKutta = PISO(),  # noqa: B008 (frozen)
    added_viscosity: Sequence[Any] = (),
) -> IncompressibleFlow:
    """A periodic square without forces.

    Args:
        cells: Along each axis.
        dt: Duration of a step.
        viscosity: Kinematic; at 1e-3 vortices of `random_vortices` have a Reynolds number of some hundreds.
        size: Length of an edge.
        stepping: How a step is made.
        added_viscosity: Models of turbulence.
    """
    grid = Grid((cells, cells), (size, size))
    return IncompressibleFlow(
        grid, viscosity, dt, Periodic(), stepping=stepping, added_viscosity=tuple(added_viscosity)
    )


def random_vortices(flow: IncompressibleFlow, key: Array, *, wavenumber: float = 6.0) -> FlowState:
    r"""A velocity of root mean square one with random phases and the spectrum $E(k) \propto k^3 e^{-2 (k / k_0)^2}$.

    The same key gives the same waves on every grid: there are amplitudes for those within four times $k_0$ only.

    Args:
        flow: A periodic flow of two dimensions.
        key: Of the phases.
        wavenumber: $k_0$, in radians per length; the spectrum is largest near it.
    """
    grid = flow.grid
    unit = 2 * np.pi / np.asarray(grid.size)
    last = np.floor(4 * wavenumber / unit).astype(int)
    kx, ky = np.meshgrid(*(np.arange(-n, n + 1) * one for n, one in zip(last, unit, strict=True)), indexing="ij")
    k = np.hypot(kx, ky)
    kept = (k > 0) & (k <= 4 * wavenumber)
    # In shells of radius k there are waves in proportion to k, and the velocity is k times the stream function.
    size = np.where(kept, np.exp(-((k / wavenumber) ** 2)), 0.0)
    phases = 2 * jnp.pi * jax.random.uniform(key, kx.shape)
    amplitudes = jnp.asarray(size) * jnp.exp(1j * phases)

    def stream(x: np.ndarray, y: np.ndarray) -> Array:
        along_x, along_y = (np.exp(1j * np.outer(place.reshape(-1), one)) for place, one in ((x, kx[:, 0]), (y, ky[0])))
        return (jnp.asarray(along_x) @ amplitudes @ jnp.asarray(along_y).T).real

    velocity = _turned(flow, stream)
    speed = jnp.sqrt(sum(jnp.mean(part**2) for part in velocity))
    return flow.initial_state([part / speed for part in velocity])


def temporal_mixing_layer(
    cells: int,
    dt: float,
    *,
    viscosity: float = 0.016,
    size: Sequence[float] = LAYER,
    stepping: PISO | RungeKutta = PISO(),  # noqa: B008 (frozen)
    added_viscosity: Sequence[Any] = (),
) -> IncompressibleFlow:
    r"""Two streams, $u = \tanh y$ about the middle, periodic along x, with walls that let the flow slip far away.

    The vorticity thickness, the difference of the streams over the largest slope, is 2: with the viscosity 0.016 the
    Reynolds number of it is 250. Waves of length 14 grow fastest, at a rate of 0.19 (Michalke 1964).

    Args:
        cells: Along x, half as many across.
        dt: Duration of a step.
        viscosity: Kinematic.
        size: Of the domain.
        stepping: How a step is made.
        added_viscosity: Models of turbulence.
    """
    grid = Grid((cells, cells // 2), tuple(size), origin=(0.0, -size[1] / 2))
    sides = dict(x=Periodic(), y=Wall(slip=True))
    return IncompressibleFlow(grid, viscosity, dt, sides, stepping=stepping, added_viscosity=tuple(added_viscosity))


def perturbed_streams(
    flow: IncompressibleFlow, key: Array, *, amplitude: float = 0.05, shortest: float = 8.0
) -> FlowState:
    r"""The two streams with waves that grow: the stream function $\ln \cosh y$ has added to it

    $$\psi' = \varepsilon\, e^{-y^2 / 4} \sqrt{2 / N} \sum_{n=1}^{N} \cos(2 \pi n x / L + \phi_n)$$

    with random phases, for all waves of the domain down to a shortest one.

    Args:
        flow: A `temporal_mixing_layer`.
        key: Of the phases.
        amplitude: $\varepsilon$, length squared per time.
        shortest: Length of the shortest wave.
    """
    length = flow.grid.size[0]
    count = int(length / shortest)
    phases = 2 * jnp.pi * jax.random.uniform(key, (count,))

    def stream(x: np.ndarray, y: np.ndarray) -> Array:
        angles = jnp.asarray(2 * np.pi * np.outer(x.reshape(-1), np.arange(1, count + 1)) / length) + phases
        waves = amplitude * np.sqrt(2 / count) * jnp.sum(jnp.cos(angles), axis=1)
        y = y.reshape(-1)
        return jnp.asarray(np.log(np.cosh(y))) + waves[:, None] * jnp.asarray(np.exp(-(y**2) / 4))

    return flow.initial_state(_turned(flow, stream))


class PerturbedInlet(eqx.Module):
    r"""What enters a `spatial_mixing_layer`: two streams and two disturbances that beat,

    $$u = 1 + \tfrac12 \tanh 2 y + \sum_{i=1}^{2} \varepsilon_i \cos(n_i y)\, (1 - \tanh^2 \tfrac y2)\,
    \sin \Omega_i t, \qquad n = (0.4 \pi, 0.3 \pi), \quad \Omega = (0.22, 0.11),$$

    as means over the cells, so that all grids have the same flux in the same place (List, Chen, Thuerey 2022).

    Args:
        amplitudes: $\varepsilon$, in units of the mean speed; published are (0.05, 0.05), (0.075, 0.025),
            (0.025, 0.075), (0.04, 0.06), (0.06, 0.04) for training and (0.082, 0.018) for the test.
        profile: The two streams, for each cell.
        modes: The shape of each disturbance, (2, cells).
    """

    amplitudes: Array
    profile: Array
    modes: Array

    def __call__(self, time: Array) -> Array:
        waves = jnp.sin(jnp.asarray(FREQUENCIES, self.profile.dtype) * time)
        return self.profile + (self.amplitudes * waves) @ self.modes


FREQUENCIES = (0.22, 0.11)
WAVENUMBERS = (0.4 * np.pi, 0.3 * np.pi)
SPATIAL = (256.0, 64.0)
SPONGE = 0.875  # of the length of the domain, where it begins


def spatial_mixing_layer(
    cells: int,
    dt: float,
    *,
    amplitudes: Sequence[float] = (0.05, 0.05),
    viscosity: float = 0.002,
    size: Sequence[float] = SPATIAL,
    stepping: PISO | RungeKutta = PISO(),  # noqa: B008 (frozen)
    added_viscosity: Sequence[Any] = (),
) -> IncompressibleFlow:
    """Two streams of speeds 1.5 and 0.5 that enter, mix and leave; walls far away let them slip.

    The vorticity thickness at the inlet is 1: with the viscosity 0.002 the Reynolds number of it is 500. In the last
    eighth of the domain a sponge raises the viscosity to 21 times its value.

    Args:
        cells: Along x; as many per length across.
        dt: Duration of a step.
        amplitudes: Of the two disturbances at the inlet, see `PerturbedInlet`.
        viscosity: Kinematic.
        size: Of the domain.
        stepping: How a step is made.
        added_viscosity: Models of turbulence, beside the sponge.
    """
    count = round(cells * size[1] / size[0])
    grid = Grid((cells, count), tuple(size), origin=(0.0, -size[1] / 2))
    edges = grid.edges[1]
    inside = edges[:-1, None] + np.diff(edges)[:, None] * (np.arange(16) + 0.5) / 16
    modes = [np.cos(n * inside) * (1 - np.tanh(inside / 2) ** 2) for n in WAVENUMBERS]
    inlet = PerturbedInlet(
        jnp.asarray(amplitudes, float),
        jnp.asarray((1 + 0.5 * np.tanh(2 * inside)).mean(axis=1), float),
        jnp.asarray(np.stack(modes).mean(axis=2), float),
    )
    return IncompressibleFlow(
        grid,
        viscosity,
        dt,
        dict(x=(Inflow(inlet), Outflow()), y=Wall(slip=True)),
        stepping=stepping,
        added_viscosity=(Sponge("x", SPONGE * size[0], 20 * viscosity), *added_viscosity),
    )


def _turned(flow: IncompressibleFlow, stream: Any) -> list[Array]:
    """The velocity on the faces that a stream function at the corners of the cells has: none of it diverges."""
    at_rest = flow.initial_state().velocity
    values = stream(*flow.grid.edges)
    slopes = [jnp.diff(values, axis=1 - axis) / flow.grid.spacing[1 - axis] for axis in range(2)]
    u, v = slopes[0], -slopes[1]
    return [part[tuple(slice(0, n) for n in at_rest[axis].shape)] for axis, part in enumerate((u, v))]
