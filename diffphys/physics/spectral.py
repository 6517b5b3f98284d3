r"""Flow in a periodic box by Fourier modes: what an integrator advances where advection is `Spectral`.

Within a step there are only coefficients. A velocity without divergence has d - 1 amplitudes for each wave and a mean,
so that neither a pressure nor a constraint is left:

$$\dot a_j = e_j \cdot (\hat f - i k \cdot \widehat{v v}) - \nu |k|^2 a_j, \qquad
\dot{\hat s} = \hat q - i k \cdot \widehat{v s} - \kappa |k|^2 \hat s.$$

Products are formed on the grid. Of $v v$ only the traceless part is needed, the rest is a pressure (Basdevant 1983):
with the velocity there and the products back that is 4 transforms in 2D, and 8 in 3D.
"""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from diffphys.grids.numbers import times
from diffphys.physics import flow_sides
from diffphys.physics.forces import Buoyancy, FlowInput, LinearDrag
from diffphys.physics.obstacles import Fourier, Modes


class SpectralFlow(eqx.Module):
    """The right sides of a flow in Fourier space: see `stepping.System`.

    Args:
        space: The waves.
        viscosity: Length squared per time.
        diffusivities: Of each scalar.
        sources: Of each scalar what is released per time and volume in each cell, or None.
        forces: What acts on the flow.
    """

    space: Fourier
    viscosity: Array
    diffusivities: dict[str, Array]
    sources: dict[str, Array | None]
    forces: tuple[Any, ...]

    def rate(self, time: Array, modes: Modes, given: FlowInput) -> Modes:
        """By convection, forces and sources."""
        flux, speeds = self._flux(modes)
        push = self._push(modes, given)
        mean = jnp.zeros_like(modes.mean)
        if push is not None:
            flux = [one + more for one, more in zip(flux, push, strict=True)]
            mean = jnp.stack([part[(0,) * part.ndim].real for part in push]) / speeds[0].size
        scalars = {name: self._scalar_rate(name, part, speeds) for name, part in modes.scalars.items()}
        return Modes(self.space.amplitudes(flux), mean, scalars)

    def stiff_diagonal(self, modes: Modes, given: FlowInput) -> Modes:
        """By viscosity, drag and diffusion: the rate of each entry over its value."""
        squares = self.space.real(self.space.waves.squares(), modes.mean)
        drag = jnp.zeros_like(self.viscosity)
        for force in self.forces:
            drag = drag + force.rate if isinstance(force, LinearDrag) else drag
        scalars = {name: -self.diffusivities[name] * squares for name in modes.scalars}
        return Modes(-(self.viscosity * squares + drag), -drag, scalars)

    def stiff_rate(self, time: Array, modes: Modes, given: FlowInput) -> Modes:
        """The same as a rate."""
        return _each(times, self.stiff_diagonal(modes, given), modes)

    def stiff_change(self, time: Array, modes: Modes, length: Array, given: FlowInput) -> Modes:
        """What an implicit step over `length` changes: `w = length * diagonal * (modes + w)`."""

        def change(factor: Array, part: Array) -> Array:
            reach = length.astype(factor.dtype) * factor
            return times(reach / (1 - reach), part)

        return _each(change, self.stiff_diagonal(modes, given), modes)

    def pressure(self, modes: Modes, given: FlowInput) -> Array:
        """The pressure at the centers that belongs to these modes, without its mean."""
        change, speeds = self._flux(modes)
        push = self._push(modes, given)
        if push is not None:
            change = [one + more for one, more in zip(change, push, strict=True)]
        whole = self.space.values(self.space.potential(change)) - speeds[-1] ** 2
        return whole - jnp.mean(whole)

    def _flux(self, modes: Modes) -> tuple[list[Array], list[Array]]:
        """For each axis the coefficients of the rate by convection, but for a gradient; the velocity at the centers."""
        space, last = self.space, len(modes.mean) - 1
        parts = space.velocity(modes.amplitudes)
        speeds = [space.values(part) + mean for part, mean in zip(parts, modes.mean, strict=True)]
        fluxes = {}
        for a in range(last):
            square = speeds[a] ** 2 - speeds[last] ** 2  # the last square, taken from all of them, is a pressure
            fluxes[a, a] = space.coefficients(square)
            for b in range(a + 1, last + 1):
                fluxes[a, b] = fluxes[b, a] = space.coefficients(speeds[a] * speeds[b])
        vector = space.vector(modes.mean)
        change = []
        for a in range(last + 1):
            terms = [times(vector[b], fluxes[a, b]) for b in range(last + 1) if (a, b) in fluxes]
            change.append(_turned(sum(terms[1:], terms[0])))
        return change, speeds

    def _push(self, modes: Modes, given: FlowInput) -> list[Array] | None:
        """For each axis the coefficients of all forces; None where there is none."""
        total = None
        for force in (*self.forces, given.force):
            if force is None or isinstance(force, LinearDrag):
                continue
            more = self._push_of(force, modes)
            total = more if total is None else [one + other for one, other in zip(total, more, strict=True)]
        return total

    def _push_of(self, force: Any, modes: Modes) -> list[Array]:
        if isinstance(force, Buoyancy):
            return [times(part, modes.scalars[force.scalar]) for part in force.acceleration]
        values, scalars = self.space.on_grid(modes)
        velocity = self.space.variables.velocity_fields(values)
        fields = {name: self.space.variables.scalar_field(part) for name, part in scalars.items()}
        parts: Any = force(fields, velocity) if callable(force) else force
        parts = flow_sides.forces_on_faces("IncompressibleFlow", parts, velocity)
        return [self.space.coefficients(part, axis) for axis, part in enumerate(parts)]

    def _scalar_rate(self, name: str, coefficients: Array, speeds: Sequence[Array]) -> Array:
        space = self.space
        values = space.values(coefficients)
        rate = _turned(space.along_the_wave([space.coefficients(speed * values) for speed in speeds]))
        source = self.sources[name]
        rate = rate if source is None else rate + space.coefficients(source)
        return space.waves.filtered(rate)


def _turned(values: Array) -> Array:
    """`-i * values`, without a product."""
    return jax.lax.complex(values.imag, -values.real)


def _each(function: Callable[[Array, Array], Array], diagonal: Modes, modes: Modes) -> Modes:
    return Modes(
        function(diagonal.amplitudes, modes.amplitudes),
        function(diagonal.mean, modes.mean),
        {name: function(diagonal.scalars[name], part) for name, part in modes.scalars.items()},
    )
