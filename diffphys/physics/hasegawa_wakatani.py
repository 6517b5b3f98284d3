"""Drift-wave turbulence at the edge of a magnetized plasma."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike, DTypeLike

from diffphys.grids import (
    Declared,
    Field,
    Grid,
    Limit,
    Periodic,
    as_array_of_shape,
    check_centered,
    choice,
    quantity,
    uniform,
    within,
)
from diffphys.grids.numbers import in_precision_of, of_types
from diffphys.operators import Arakawa, Dealiased
from diffphys.stepping import ImplicitExplicit, RungeKutta


class PlasmaState(NamedTuple):
    """The state of `HasegawaWakatani`: two centered fields. (Within a step: their coefficients of `jnp.fft.rfft2`.)

    Attributes:
        density: n, how far the density is from its background.
        vorticity: Omega, the Laplacian of the electric potential.
    """

    density: Any
    vorticity: Any


class PlasmaBudget(NamedTuple):
    r"""What is stored, gained and lost, as means over the plane. The step of a `HasegawaWakatani` satisfies

    $$\frac{dE}{dt} = \kappa \Gamma_n - \Gamma_c - D_E, \qquad \frac{dU}{dt} = \kappa \Gamma_n - D_U$$

    up to its error in time: on the grid the bracket moves neither.

    Attributes:
        energy: $E = \frac12 \langle n^2 + |\nabla \phi|^2 \rangle$.
        enstrophy: $U = \frac12 \langle (n - \Omega)^2 \rangle$.
        particle_flux: $\Gamma_n = -\langle n\, \partial_y \phi \rangle$, down the background's gradient.
        resistive_loss: $\Gamma_c = c_1 \langle (n - \phi)^2 \rangle$, in the modified form of what is not zonal.
        energy_loss: $D_E = \langle n\, D n - \phi\, D \Omega \rangle$ with the hyperviscosity
            $D = \nu (-\nabla^2)^N$.
        enstrophy_loss: $D_U = \langle (n - \Omega)\, D (n - \Omega) \rangle$.
    """

    energy: Array
    enstrophy: Array
    particle_flux: Array
    resistive_loss: Array
    energy_loss: Array
    enstrophy_loss: Array


class HasegawaWakatani(Declared):
    r"""Density and vorticity of drift waves in a plane across a strong magnetic field (Hasegawa, Wakatani 1983).

    $$\frac{\partial n}{\partial t}
    = c_1 (\phi - n) - [\phi, n] - \kappa\, \partial_y \phi - \nu (-\nabla^2)^N n, \qquad
    \frac{\partial \Omega}{\partial t} = c_1 (\phi - n) - [\phi, \Omega] - \nu (-\nabla^2)^N \Omega, \qquad
    \Omega = \nabla^2 \phi$$

    on a doubly periodic plane, x along the background's gradient of density and y across it, with the Poisson bracket
    $[a, b] = \partial_x a\, \partial_y b - \partial_y a\, \partial_x b$. Lengths are in units of the ion sound radius,
    times in those of the gradient's length over the speed of sound.

    The gradient drives drift waves, whose electrons answer late by the resistivity along the field: each wave has

    $$\omega^2 + i\, \omega\, b - i\, b\, \omega_* = 0, \qquad b = c_1 \frac{1 + k^2}{k^2}, \qquad
    \omega_* = \frac{\kappa k_y}{1 + k^2}$$

    (both $\omega$ less $-i \nu k^{2N}$), of whose solutions one grows, at $c_1 = 1$ fastest near $k_y = 1.3$. From
    small noise waves grow for a time of some 50, break near 80, and stay in a turbulent state from about 150, in which
    the gain $\kappa \Gamma_n$ balances what resistivity and hyperviscosity take (`budget`). A small $c_1$ approaches
    two-dimensional hydrodynamics with large eddies, a large one waves with $n \approx \phi$ and weak transport. In the
    modified form (Numata, Ball, Dewar 2007) means along y, the zonal flow and the zonal density, take no part in the
    exchange: strong zonal flows grow, and transport nearly ceases.

    Good values: a box of $2 \pi / 0.15$, `adiabaticity` 0.1 to 5, `hyperviscosity_order` 3; on 512 x 512 cells the
    hyperviscosity $5 \cdot 10^{-8}$ and `dt` 0.025, on 256 x 256 0.05. On coarser grids the same ratio of
    hyperviscosity to spacing to the power 2 N keeps the smallest scales as smooth: 64 times as much at half the cells
    for N = 3.

    - `bracket=Arakawa()`: second order in space, all derivatives central differences. Five Fourier transforms a stage.
    - `bracket=Dealiased()`: the Galerkin method of the Fourier series below two thirds of the grid's wavenumbers; eight
      transforms. Waves beyond are no part of the solution and set to zero.
    - `stepping=RungeKutta(4)`: `dt` is bound by the largest rate of decay, $c_1 (1 + 1/k^2)$ of the longest waves (45
      at $c_1 = 1$) or $\nu k^{2N}$ of the shortest; and, which is not checked, by a `courant_number` of about 2.
    - `stepping=ImplicitExplicit(n)`: exchange and hyperviscosity are implicit, solved in closed form wave by wave, and
      only the Courant number binds.

    Args:
        grid: A uniform grid of two dimensions; periodic.
        dt: Duration of a step.
        adiabaticity: $c_1$, how fast electrons along the field even out $n - \phi$.
        density_gradient: $\kappa$ of the background.
        hyperviscosity: $\nu$; length to the power 2 N per time.
        hyperviscosity_order: $N$, 1 or more; any number, and damping whether even or odd.
        modified: Whether means along y are left out of the exchange.
        bracket: `Arakawa()` or `Dealiased()`.
        stepping: `RungeKutta(1)` to `(4)`, or `ImplicitExplicit(2)` to `(4)`.

    Raises:
        InputError: if a number is out of range, the grid is of another kind, or `dt` exceeds what the fastest decay
            allows with `stepping`.

    Examples:
        >>> plasma = dp.HasegawaWakatani(dp.Grid((16, 16), (40.0, 40.0)), dt=0.01)
        >>> later = plasma(plasma.initial_state())
    """

    grid: Grid = eqx.field(static=True, metadata=uniform(2))
    dt: Array = eqx.field(converter=quantity, metadata=within(above=0.0))
    adiabaticity: Array = eqx.field(converter=quantity, metadata=within(minimum=0.0), default=1.0)
    density_gradient: Array = eqx.field(converter=quantity, metadata=within(), default=1.0)
    hyperviscosity: Array = eqx.field(converter=quantity, metadata=within(minimum=0.0), default=5e-8)
    hyperviscosity_order: Array = eqx.field(converter=quantity, metadata=within(minimum=1.0), default=3.0)
    modified: bool = eqx.field(static=True, metadata=choice(bool, words="True or False"), default=False)
    bracket: Arakawa | Dealiased = eqx.field(static=True, metadata=choice(Arakawa, Dealiased), default=Arakawa())
    stepping: RungeKutta | ImplicitExplicit = eqx.field(
        static=True, metadata=choice(RungeKutta, ImplicitExplicit), default=RungeKutta(4)
    )

    def limits(self):
        rates, damping = self._decay_rates()
        for name, fastest in (("hyperviscosity", jnp.max(damping)), ("adiabaticity", jnp.max(rates))):
            ratio = self.dt * fastest / self.stepping.real_axis
            yield Limit(ratio, f"this {name}, grid and stepping", "and ImplicitExplicit(3) accepts any")

    def initial_state(self, density: ArrayLike = 0.0, potential: ArrayLike = 0.0) -> PlasmaState:
        """The state of this density and this electric potential.

        Args:
            density: A number, or an array with an entry for each cell.
            potential: The same; its Laplacian is the vorticity, which so has no mean.

        Raises:
            InputError: for an array of another shape or with values that are not finite.
        """
        given = {"density": density, "potential": potential}
        n, phi = (as_array_of_shape("HasegawaWakatani", name, one, self.grid.cells) for name, one in given.items())
        vorticity = -self._waves(phi.dtype).laplacian * jnp.fft.rfft2(phi)
        return PlasmaState(self._field(n), self._field(jnp.fft.irfft2(vorticity, self.grid.cells)))

    def __call__(self, state: PlasmaState) -> PlasmaState:
        step, start = self._coefficients(state)
        end = self.stepping.advance(step, start, step.dt).state
        fields = (self._field(jnp.fft.irfft2(one, self.grid.cells)) for one in end)
        return of_types(PlasmaState(*fields), state)

    def potential(self, state: PlasmaState) -> Field:
        """The electric potential, of mean zero."""
        _, coefficients = self._coefficients(state)
        return self._field(jnp.fft.irfft2(self._potential(coefficients.vorticity), self.grid.cells))

    def courant_number(self, state: PlasmaState) -> Array:
        """The largest sum over the axes of `|v| dt / spacing`, with the drift `v` across the potential's slope."""
        step, (_, vorticity) = self._coefficients(state)
        waves, phi = self._waves(vorticity.real.dtype), self._potential(vorticity)
        slopes = jnp.fft.irfft2(jnp.stack([1j * waves.x * phi, 1j * waves.y * phi]), self.grid.cells)
        hx, hy = self.grid.spacing
        return step.dt * jnp.max(jnp.abs(slopes[1]) / hx + jnp.abs(slopes[0]) / hy)

    def diffusion_number(self, state: PlasmaState | None = None) -> Array:
        """`dt` over the longest one with which the fastest decay is stable; at most 1, and 0 with an implicit step."""
        return self.dt * jnp.max(self._decay_rates()[0]) / self.stepping.real_axis

    def budget(self, state: PlasmaState) -> PlasmaBudget:
        """Energy, enstrophy, and what changes them; one pass over the state, to be saved along a rollout."""
        step, (n, vorticity) = self._coefficients(state)
        waves, phi = self._waves(vorticity.real.dtype), self._potential(vorticity)
        decay, exchanged = step._decay(waves), waves.exchanged * (phi - n)
        # Of a real function's coefficients those with a partner that is left out count twice.
        lone = np.isin(np.arange(n.shape[1]), (0, self.grid.cells[1] / 2))
        weights = jnp.asarray(np.where(lone, 1.0, 2.0) / float(np.prod(self.grid.cells)) ** 2, decay.dtype)

        def mean(a: Array, b: Array) -> Array:
            return jnp.sum(weights * (a.real * b.real + a.imag * b.imag))

        return PlasmaBudget(
            energy=(mean(n, n) - mean(phi, vorticity)) / 2,
            enstrophy=mean(n - vorticity, n - vorticity) / 2,
            particle_flux=-mean(n, 1j * waves.y * phi),
            resistive_loss=step.adiabaticity * mean(exchanged, exchanged),
            energy_loss=mean(n, decay * n) - mean(phi, decay * vorticity),
            enstrophy_loss=mean(n - vorticity, decay * (n - vorticity)),
        )

    # The right side, of the waves' coefficients ----------------------------------------------------------------------

    @jax.named_scope("advection")
    def rate(self, time: ArrayLike, state: PlasmaState, input: None) -> PlasmaState:
        """What the flow carries, and the gradient of the background that it meets."""
        waves, phi = self._waves(state.density.real.dtype), self._potential(state.vorticity)
        density, vorticity = self.bracket.of_coefficients(self.grid, phi, state)
        return PlasmaState(-density - self.density_gradient * 1j * waves.y * phi, -vorticity)

    @jax.named_scope("exchange")
    def stiff_rate(self, time: ArrayLike, state: PlasmaState, input: None) -> PlasmaState:
        """The exchange along the field, and hyperviscosity."""
        waves = self._waves(state.density.real.dtype)
        decay = self._decay(waves)
        exchange = self.adiabaticity * waves.exchanged * (self._potential(state.vorticity) - state.density)
        return PlasmaState(exchange - decay * state.density, exchange - decay * state.vorticity)

    @jax.named_scope("exchange")
    def stiff_change(self, time: ArrayLike, state: PlasmaState, length: Array, input: None) -> PlasmaState:
        r"""What an implicit step of these over `length` changes.

        The exchange $s$ at its end is linear in itself: $n$ and $\Omega$ gain `length * s` both, so that with the decay
        $D$ of the wave $s = c_1 (\phi - n) / (1 + \ell D + \ell c_1 (1 + 1/k^2))$ with $\phi$ and $n$ of the beginning.
        """
        waves = self._waves(state.density.real.dtype)
        decay, c = self._decay(waves), self.adiabaticity * waves.exchanged
        late = self._potential(state.vorticity) - state.density
        exchange = c * late / (1 + length * decay + length * c * (1 + waves.inverse))
        return PlasmaState(*(length * (exchange - decay * one) / (1 + length * decay) for one in state))

    def _potential(self, vorticity: Array) -> Array:
        return -self._waves(vorticity.real.dtype).inverse * vorticity

    def _decay(self, waves: "_Waves") -> Array:
        r"""$\nu k^{2N}$ of each wave, zero for the mean."""
        return self.hyperviscosity * jnp.exp(self.hyperviscosity_order * waves.logarithm) * (waves.laplacian > 0)

    def _decay_rates(self) -> tuple[Array, Array]:
        """Of each wave that is kept the rate at which the stiff part lets it decay, and hyperviscosity's part in it."""
        waves = self._waves(self.dt.dtype)
        damping = self._decay(waves) * jnp.asarray(self.bracket.symbols(self.grid).kept)
        return damping + self.adiabaticity * waves.exchanged * (1 + waves.inverse), damping

    def _waves(self, dtype: DTypeLike) -> "_Waves":
        return _Waves(*(jnp.asarray(one, dtype) for one in _waves(self.grid, self.bracket, self.modified)))

    def _coefficients(self, state: PlasmaState) -> tuple["HasegawaWakatani", PlasmaState]:
        """The step in the precision of the state, and the coefficients of the waves that it keeps."""
        check_centered("HasegawaWakatani", state, ("density", "vorticity"), self.grid)
        step = in_precision_of("HasegawaWakatani", self, state.density.values)
        kept = self.bracket.symbols(self.grid).kept
        spectra = jnp.fft.rfft2(jnp.stack([state.density.values, state.vorticity.values]))
        return step, PlasmaState(*(spectra if kept.all() else spectra * jnp.asarray(kept)))

    def _field(self, values: Array) -> Field:
        return Field(values, self.grid, conditions=((Periodic(), Periodic()),) * 2)


class _Waves(NamedTuple):
    """Of each wave: its derivatives, its Laplacian with inverse and logarithm, and whether it exchanges; all real."""

    x: Any
    y: Any
    laplacian: Any
    inverse: Any
    logarithm: Any
    exchanged: Any


def _waves(grid: Grid, bracket: Arakawa | Dealiased, modified: bool) -> _Waves:
    x, y, laplacian, _ = bracket.symbols(grid)
    moving = laplacian > 0
    some = np.where(moving, laplacian, 1.0)
    exchanged = moving & (np.arange(laplacian.shape[1]) > 0) if modified else moving
    return _Waves(x, y, laplacian, moving / some, np.log(some), exchanged.astype(float))
