r"""Flow in a periodic box by Fourier modes: what an integrator advances where advection is `Spectral`.

Within a step there are only coefficients. A velocity without divergence has d - 1 amplitudes for each wave and a mean,
so that neither a pressure nor a constraint is left:

$$\dot a_j = e_j \cdot (\hat f - i k \cdot \widehat{v v}) - \nu |k|^2 a_j, \qquad
\dot{\hat s} = \hat q - i k \cdot \widehat{v s} - \kappa |k|^2 \hat s.$$

Products are formed on the grid. Of $v v$ only the traceless part is needed, the rest is a pressure (Basdevant 1983):
with the velocity there and the products back that is 4 transforms in 2D, and 8 in 3D.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from diffphys.grids.numbers import times
from diffphys.physics import flow_sides
from diffphys.physics.forces import Buoyancy, FlowInput, LinearDrag
from diffphys.physics.obstacles import Fourier, Modes
from diffphys.stepping import Integrator
from diffphys.stepping.clock import later


class SpectralState(NamedTuple):
    """The state of a flow in Fourier space.

    Attributes:
        modes: The state.
        before: That from which the last step went out, whose pressure is reported.
        given: What acted in that step.
        time: The time of the state.
        time_remainder: What rounding has left out of the time.
    """

    modes: Modes
    before: Modes
    given: FlowInput
    time: Array
    time_remainder: Array


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

    def advanced(
        self, stepping: Integrator, dt: Array, now: SpectralState, given: FlowInput, unit: float = 1.0
    ) -> SpectralState:
        """The state after a step; its time counts `unit` for each of what `dt` is given in."""

        def after(duration: ArrayLike) -> Array:
            return later(now.time, now.time_remainder, unit * duration)[0]

        modes = stepping.advance(self, now.modes, dt, after, given).state
        return SpectralState(modes, now.modes, given, *later(now.time, now.time_remainder, unit * dt))

    # What an integrator asks: see `stepping.System`.

    def rate(self, time: Array, modes: Modes, given: FlowInput) -> Modes:
        """By convection, forces and sources."""
        speeds = self._speeds(modes)
        rates = self.space.waves.convected(self._products(speeds))
        mean, push = jnp.zeros_like(modes.mean), self._push(modes, given)
        if push is not None:
            more = self.space.waves.amplitudes(push)
            rates = tuple(one + other for one, other in zip(rates, more, strict=True))
            mean = self.space.mean(push)
        scalars = {name: self._scalar_rate(name, part, speeds) for name, part in modes.scalars.items()}
        return Modes(rates, mean, scalars)

    def stiff_diagonal(self, modes: Modes, given: FlowInput) -> Modes:
        """By viscosity, drag and diffusion: the rate of each entry over its value."""
        squares = self.space.real(self.space.waves.squares(), modes.mean)
        drag = jnp.zeros_like(self.viscosity)
        for force in self.forces:
            drag = drag + force.rate if isinstance(force, LinearDrag) else drag
        scalars = {name: -self.diffusivities[name] * squares for name in modes.scalars}
        viscous = -(self.viscosity * squares + drag)
        return Modes((viscous,) * len(modes.amplitudes), -drag, scalars)

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
        space, speeds = self.space, self._speeds(modes)
        vector, squares = space.waves.vector(), space.waves.squares()
        share = space.waves.kept() / (squares + (squares == 0))
        found, push = jnp.zeros(space.waves.shape, modes.amplitudes[0].dtype), self._push(modes, given)
        for (a, b), product in zip(space.waves.products, self._products(speeds), strict=True):
            found = found - times(space.real((1 if a == b else 2) * share * vector[a] * vector[b], product), product)
        whole = space.values(found if push is None else found + space.potential(push)) - speeds[-1] ** 2
        return whole - jnp.mean(whole)

    def _speeds(self, modes: Modes) -> list[Array]:
        """The velocity at the centers."""
        return [self.space.values(part) for part in self.space.waves.velocity(modes.amplitudes, modes.mean)]

    def _products(self, speeds: Sequence[Array]) -> list[Array]:
        """The coefficients of the products of which convection is made: see `Waves.convected`."""
        values = [
            speeds[a] * speeds[b] if a != b else speeds[a] ** 2 - speeds[-1] ** 2 for a, b in self.space.waves.products
        ]
        return [self.space.coefficients(one) for one in values]

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
        rate = space.waves.slope_along([space.coefficients(speed * values) for speed in speeds])
        source = self.sources[name]
        rate = rate if source is None else rate + space.coefficients(source)
        return space.waves.filtered(rate)


def _each(function: Callable[[Array, Array], Array], diagonal: Modes, modes: Modes) -> Modes:
    return Modes(
        tuple(function(*pair) for pair in zip(diagonal.amplitudes, modes.amplitudes, strict=True)),
        function(diagonal.mean, modes.mean),
        {name: function(diagonal.scalars[name], part) for name, part in modes.scalars.items()},
    )
