r"""Inverse simulators of linear simulators: exact where round-off allows it, damped where noise would be amplified.

Of a linear P, $P^{-1}(y^*; x, y) = x + P^{-1}(y^* - y)$: only the residual is inverted, so an approximate inverse gets
better from update to update.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from diffphys.errors import InputError
from diffphys.grids import Ghost, Grid
from diffphys.grids.numbers import as_floating, check_numbers, shown
from diffphys.inversion.scale_invariant import check_same_shapes
from diffphys.operators.eigenbasis import lines_of
from diffphys.poisson.separable import solve_separable


class LinearInverse(eqx.Module):
    """`x + inverse_operator(target - y)` for a linear simulator with a known inverse.

    For the Poisson problem y = laplace^-1 x the inverse operator is the stencil, and no system is solved:

        inverse = LinearInverse(PoissonStencil(spacing=1.0))

    Args:
        inverse_operator: From a difference of outputs to a difference of inputs.
    """

    inverse_operator: Callable[[Any], Any]

    def __call__(self, target: Any, x: Any, y: Any) -> Any:
        difference = self.inverse_operator(jax.tree.map(jnp.subtract, target, y))
        check_same_shapes("inverse_operator: its result", difference, "the simulator's input", x)
        return jax.tree.map(jnp.add, x, difference)


class PoissonStencil(eqx.Module):
    r"""The Laplacian with the second-order stencil of 2 d + 1 points, on any number of axes.

    $$(\Delta u)_i = \sum_a \frac{u_{i - e_a} - 2 u_i + u_{i + e_a}}{h_a^2}$$

    Args:
        spacing: h, one number or one for each axis.
        periodic: Whether the axes are; otherwise u is zero in the cells beyond the sides.

    Raises:
        InputError: a spacing is not above 0.
    """

    spacing: float | tuple[float, ...] = eqx.field(static=True, default=1.0)
    periodic: bool = eqx.field(static=True, default=False)

    def __check_init__(self):
        values = self.spacing if isinstance(self.spacing, tuple) else (self.spacing,)
        for value in values:
            check_numbers("PoissonStencil", spacing=value)
        if not all(value > 0 for value in values):
            raise InputError(f"PoissonStencil: spacing is {shown(self.spacing)}; numbers above 0 are accepted.")

    def __call__(self, u: Array) -> Array:
        """Shape (*cells) -> (*cells)."""
        u = _cells("PoissonStencil: u", u, complex=True)
        spacing = _each_axis("PoissonStencil: spacing", self.spacing, u.ndim)
        padded = jnp.pad(u, 1, mode="wrap" if self.periodic else "constant")
        inner = tuple(slice(1, -1) for _ in range(u.ndim))
        total = jnp.zeros_like(u)
        for axis, h in enumerate(spacing):
            lower = padded[inner[:axis] + (slice(None, -2),) + inner[axis + 1 :]]
            upper = padded[inner[:axis] + (slice(2, None),) + inner[axis + 1 :]]
            total = total + (lower - 2.0 * u + upper) / h**2
        return total


class PoissonSolve(eqx.Module):
    r"""The solution u of $\Delta u = f$ for `PoissonStencil` with zeros beyond the sides, to round-off.

    The stencil's eigenvectors are the sine modes $\sin(\pi j (i + 1) / (n + 1))$ with eigenvalues
    $-4 \sin^2(\pi j / (2 (n + 1))) / h^2$, those of `Ghost` ends: two transforms along each axis solve it (fast
    diagonalization; Lynch, Rice, Thomas 1964). It is its own adjoint.

    Args:
        spacing: As for the stencil.

    Raises:
        InputError: a spacing is not above 0, or a source has more than three axes.
    """

    spacing: float | tuple[float, ...] = eqx.field(static=True, default=1.0)

    def __check_init__(self):
        PoissonStencil(self.spacing)

    def __call__(self, source: Array) -> Array:
        """Shape (*cells) -> (*cells)."""
        source = _cells("PoissonSolve: source", source)
        if source.ndim > 3:
            raise InputError(f"PoissonSolve: source has {source.ndim} axes; one to three are accepted.")
        spacing = _each_axis("PoissonSolve: spacing", self.spacing, source.ndim)
        grid = Grid(source.shape, [count * h for count, h in zip(source.shape, spacing, strict=True)])
        zero_beyond = ((Ghost(), Ghost()),) * source.ndim
        return solve_separable(lines_of(grid, (0.5,) * source.ndim, zero_beyond, 2), source, 0.0, 1.0)


class SpectralHeat(eqx.Module):
    r"""Heat conduction over a long time on a periodic grid: each Fourier mode decays exactly.

    $$\hat y(k) = \hat x(k)\, e^{-\nu t\, |2 \pi k|^2}$$

    Args:
        diffusion_time: nu t, in squared units of the spacing's unit; above 0.
        spacing: The cells' edge, the same along all axes.

    Raises:
        InputError: a number is not above 0.
    """

    diffusion_time: float = eqx.field(static=True)
    spacing: float = eqx.field(static=True, default=1.0)

    def __check_init__(self):
        check_numbers("SpectralHeat", diffusion_time=self.diffusion_time, spacing=self.spacing)
        if not (self.diffusion_time > 0 and self.spacing > 0):
            raise InputError(
                f"SpectralHeat: diffusion_time is {self.diffusion_time!r} and spacing {shown(self.spacing)}; "
                "numbers above 0 are accepted."
            )

    def exponents(self, cells: Sequence[int], dtype: DTypeLike) -> Array:
        """`nu t |2 pi k|^2` for every mode of a real transform, shape (*cells[:-1], cells[-1] // 2 + 1)."""
        axes = [jnp.fft.fftfreq(n, self.spacing) for n in cells[:-1]] + [jnp.fft.rfftfreq(cells[-1], self.spacing)]
        squares = jnp.sum(jnp.stack(jnp.meshgrid(*axes, indexing="ij")) ** 2, axis=0)
        return (self.diffusion_time * (2 * jnp.pi) ** 2 * squares).astype(dtype)

    def __call__(self, x: Array) -> Array:
        """Shape (*cells) -> (*cells)."""
        x = _cells("SpectralHeat: x", x)
        decay = jnp.exp(-self.exponents(x.shape, x.dtype))
        return jnp.fft.irfftn(jnp.fft.rfftn(x) * decay, s=x.shape)


class NoiseAwareHeatInverse(eqx.Module):
    r"""The inverse of `SpectralHeat`, applied to those modes of the residual that are signal rather than noise.

    The exact inverse multiplies mode k by $e^{+\nu t |2\pi k|^2}$, up to $e^{158}$ for the grid of the paper, and so
    turns round-off into everything. With the residual $d = y^* - y$ of N_x cells per axis, the expected amplitudes of
    signal and noise are

    $$\sigma_s(k) = N_x e^{-\nu t |2\pi k|^2}, \qquad \sigma_n = \varepsilon \sqrt{\textstyle\sum d^2},$$

    the probability that mode k is signal, given $|\hat d(k)|$, is
    $p = l_s / (l_s + l_n)$ with $l = \frac12 \exp(-\frac12 |\hat d|^2 / \sigma^2)$, and

    $$\tilde x = x + \mathcal F^{-1}\big[\hat d\, e^{a\, \nu t |2\pi k|^2}\big], \qquad a = 2 (p - \tfrac12)
       \text{ if } p \le 0.5 \text{ or } p \ge 0.68, \text{ otherwise } 0.$$

    a = 1 inverts the mode, a = 0 copies the residual, a = -1 diffuses it once more, which is the direction of gradient
    descent. Needs float64 as soon as the residual is small: the smallest noise is round-off. Source: Holl, Koltun,
    Thuerey (2022), the heat experiment.

    Args:
        heat: The simulator.
        noise: epsilon, the relative size of errors in the residual; above 0.

    Raises:
        InputError: noise is not above 0.
    """

    heat: SpectralHeat
    noise: float = eqx.field(static=True, default=1e-6)

    def __check_init__(self):
        if not self.noise > 0:
            raise InputError(f"NoiseAwareHeatInverse: noise is {shown(self.noise)}; a number above 0 is accepted.")

    def __call__(self, target: Array, x: Array, y: Array) -> Array:
        """Shapes (*cells)."""
        target, x, y = (
            _cells(f"NoiseAwareHeatInverse: {name}", array) for name, array in (("target", target), ("x", x), ("y", y))
        )
        residual = target - y
        exponents = self.heat.exponents(residual.shape, residual.dtype)
        modes = jnp.fft.rfftn(residual)
        signal = residual.shape[0] * jnp.exp(-exponents)
        noise = self.noise * jnp.sqrt(jnp.sum(residual**2))
        likelihood_signal = jnp.exp(-0.5 * _square_ratio(jnp.abs(modes), signal))
        likelihood_noise = jnp.exp(-0.5 * _square_ratio(jnp.abs(modes), noise))
        total = likelihood_signal + likelihood_noise
        # Where neither explains the mode, p = 0 and a = -1 as in the published code: the mode is diffused once more.
        probability = jnp.where(total > 0, likelihood_signal / jnp.where(total > 0, total, 1.0), 0.0)
        power = jnp.where((probability <= 0.5) | (probability >= 0.68), 2.0 * (probability - 0.5), 0.0)
        # The largest exponents belong to pure noise, whose power is negative; the bound only keeps 0 * inf away.
        largest = math.log(float(jnp.finfo(residual.dtype).max)) - 1.0
        return x + jnp.fft.irfftn(modes * jnp.exp(jnp.minimum(power * exponents, largest)), s=residual.shape)


def _square_ratio(value: Array, scale: Array) -> Array:
    """(value / scale)^2, large but never 0/0 or inf/inf where the scale underflows."""
    tiny = float(jnp.finfo(value.dtype).tiny) ** 0.5
    return jnp.minimum(value / jnp.maximum(scale, tiny), 1e18) ** 2


def _cells(name: str, values: Any, *, complex: bool = False) -> Array:
    """`values` as an array of floating numbers with an axis at least and an entry at least."""
    array = as_floating(values, name, complex=complex)
    if array.size == 0 or array.ndim == 0:
        raise InputError(f"{name} has shape {array.shape}; an array with an entry for each cell is accepted.")
    return array


def _each_axis(name: str, value: float | tuple[float, ...], axes: int) -> tuple[float, ...]:
    values = value if isinstance(value, tuple) else (value,) * axes
    if len(values) != axes:
        raise InputError(f"{name} has {len(values)} numbers for {axes} axes; one number, or one for each, is accepted.")
    return values
