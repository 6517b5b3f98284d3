"""Drift-wave turbulence as hw2d publishes it, on any number of cells."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffphys.grids import Grid
from diffphys.physics import HasegawaWakatani, PlasmaState
from diffphys.stepping import ImplicitExplicit, RungeKutta


LENGTH = 2 * np.pi / 0.15


def plasma_turbulence(
    cells: int,
    dt: float,
    stepping: RungeKutta | ImplicitExplicit = RungeKutta(4),  # noqa: B008 (frozen)
) -> HasegawaWakatani:
    r"""Of adiabaticity 1 in a box of $2 \pi / 0.15$, with Arakawa's bracket (Greif 2023).

    From 256 cells along an axis on the hyperviscosity is the published $5 \cdot 10^{-8}$ of order 3; on coarser grids
    it is scaled with the spacing to the power six, so that it takes away the smallest scales as fast.

    Args:
        cells: Along each axis.
        dt: Duration of a step; published are 0.05 up to 256 cells, where Runge-Kutta 4 damps noticeably, and
            0.025 on 512.
        stepping: How a step is made.
    """
    grid = Grid((cells, cells), (LENGTH, LENGTH))
    viscosity = 5e-8 * max(1.0, 256 / cells) ** 6
    return HasegawaWakatani(grid, dt, adiabaticity=1.0, hyperviscosity=viscosity, stepping=stepping)


def drift_wave_noise(system: HasegawaWakatani, key: Array, size: float = 0.01) -> PlasmaState:
    """What waves grow from: a random density of this standard deviation, smooth over a length of one, and the same
    potential.
    """
    grid = system.grid
    kx, ky = (2 * np.pi * np.fft.fftfreq(n, h) for n, h in zip(grid.cells, grid.spacing, strict=True))
    smooth = np.exp(-np.add.outer(kx**2, ky**2) / 2)
    smooth[0, 0] = 0.0
    density = jnp.fft.ifft2(jnp.fft.fft2(jax.random.normal(key, grid.cells)) * smooth).real
    density *= size / jnp.std(density)
    return system.initial_state(density, density)
