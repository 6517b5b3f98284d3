"""Where the energy of a flow is: by wavenumber, and by distance."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import Array

from diffphys.errors import InputError
from diffphys.grids import Field, Grid
from diffphys.grids.field import check_velocity
from diffphys.operators import interpolate


def energy_spectrum(velocity: Sequence[Field]) -> Array:
    r"""The kinetic energy in shells of waves, a mean over the volume and without the mean flow,

    $$E_n = \frac12 \sum_{n - 1/2 \le |k| / k_1 < n + 1/2}\; \sum_i |\hat v_i(k)|^2, \qquad
    \hat v_i(k) = \frac1N \sum_x v_i(x)\, e^{-i k \cdot x},$$

    with the longest wave of the domain, $k_1 = 2 \pi / L$ of its longest edge, for $n = 1, 2, \dots$ up to the shortest
    wave of the axis that has the widest cells. Where all axes are periodic the shells hold all energy of waves within
    the last; a component keeps its place on the faces, since a shift changes no $|\hat v|$. An axis with sides is taken
    for a period as it is (as in List, Chen, Thuerey 2022), and a component on its faces is brought to the centers.

    Args:
        velocity: One field for each axis of a uniform grid, all on the faces or all at the centers.

    Returns:
        One number for each shell, velocity squared.

    Raises:
        InputError: for other fields, and on a stretched grid.
    """
    check_velocity("energy_spectrum", "velocity", velocity)
    grid = velocity[0].grid
    if not all(grid.uniform):
        raise InputError(f"energy_spectrum: grid is {grid}; one whose axes are uniform is accepted.")
    shell, weight, last = _shells(grid)
    energy = jnp.zeros(shell.shape, velocity[0].values.dtype)
    for part in velocity:
        centered = part if part.shape == grid.cells else interpolate(part, (0.5,) * grid.dimensions)
        wave = jnp.fft.rfftn(centered.values) / np.prod(grid.cells)
        energy = energy + (wave.real**2 + wave.imag**2)
    sums = (
        jnp.zeros(last + 2, energy.dtype)
        .at[np.minimum(shell, last + 1)]
        .add(energy * jnp.asarray(weight, energy.dtype))
    )
    return sums[1 : last + 1] / 2


def shell_wavenumbers(grid: Grid) -> np.ndarray:
    """The wavenumber of each shell of `energy_spectrum`, in radians per length."""
    return 2 * np.pi / max(grid.size) * np.arange(1, _shells(grid)[2] + 1)


def two_point_correlation(values: Array, axis: int) -> Array:
    r"""$R(r) = \langle f(x)\, f(x + r) \rangle$ along a periodic axis with equal cells, for each distance of whole
    cells.

    Args:
        values: $f$, any number of axes.
        axis: Along which points lie apart. Over it the mean is taken; the others stay as they are.

    Returns:
        An array of the same shape, where the axis counts the distance, 0 first. Beyond half the period distances are
        those the other way around. Of fluctuations it is this less the square of the mean.
    """
    wave = jnp.fft.rfft(values, axis=axis)
    count = values.shape[axis]
    return jnp.fft.irfft(wave.real**2 + wave.imag**2, count, axis=axis) / count


def _shells(grid: Grid) -> tuple[np.ndarray, np.ndarray, int]:
    """For each coefficient of `jnp.fft.rfftn` its shell and how many waves it stands for; the last shell."""
    *first, last_axis = range(grid.dimensions)
    unit = 1 / max(grid.size)
    lines = [np.fft.fftfreq(grid.cells[axis], grid.spacing[axis]) for axis in first]
    lines.append(np.fft.rfftfreq(grid.cells[last_axis], grid.spacing[last_axis]))
    square = sum(line**2 for line in np.meshgrid(*lines, indexing="ij"))
    shell = np.floor(np.sqrt(square) / unit + 0.5).astype(int)
    weight = np.full(shell.shape, 2.0)
    weight[..., 0] = 1.0
    if grid.cells[last_axis] % 2 == 0:
        weight[..., -1] = 1.0
    return shell, weight, int(np.floor(0.5 / max(grid.spacing) / unit + 1e-9))
