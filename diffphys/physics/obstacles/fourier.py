"""The space of a flow in a periodic box of Fourier modes."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffphys.grids import Field, center_offset, face_offset
from diffphys.grids.numbers import times
from diffphys.operators import Waves
from diffphys.physics.obstacles.space import Space, Variables
from diffphys.poisson import Solution


class Modes(NamedTuple):
    """A velocity without divergence, and scalars, in Fourier space.

    Attributes:
        amplitudes: Of the d - 1 velocities at right angles to each wave: see `Waves.solenoidal`.
        mean: The mean velocity, d numbers.
        scalars: The coefficients of each scalar.
    """

    amplitudes: tuple[Array, ...]
    mean: Array
    scalars: dict[str, Array]


class Fourier(Space):
    """Values on the faces and at the centers as sums of waves: from the one to the other place nothing is lost.

    Args:
        variables: What the sides mean.
        waves: The waves, with those that are kept.
    """

    variables: Variables
    waves: Waves = eqx.field(static=True)

    def impose(self, velocity: Sequence[Field]) -> tuple[Field, ...]:
        """The velocity itself: nothing is given at periodic sides."""
        return tuple(velocity)

    def divergence(self, velocity: Sequence[Field]) -> Field:
        """That of the waves that are kept, at the centers."""
        found = [self.coefficients(part.values, axis) for axis, part in enumerate(velocity)]
        rate = self.waves.filtered(-self.waves.slope_along(found))
        return self.variables.potential_field(self.values(rate))

    def carrier(self, velocity: Sequence[Field]) -> Sequence[Field]:
        """The velocity itself."""
        return velocity

    def project(self, velocity: Sequence[Field]) -> tuple[tuple[Array, ...], Solution]:
        """The nearest velocity without divergence of the waves that are kept, and the potential."""
        values = [part.values for part in velocity]
        projected = self.on_grid(self.modes(values, {}))[0]
        found = [self.coefficients(part, axis) for axis, part in enumerate(values)]
        left = self.divergence(self.variables.velocity_fields(projected)).values
        zero = jnp.zeros((), left.dtype)
        return projected, Solution(
            self.values(self.potential(found)),
            jnp.max(jnp.abs(left)),
            jnp.zeros((), jnp.int32),
            jnp.ones((), bool),
            zero,  # the divergence of what is periodic has no mean
        )

    # From the grid to modes, and back.

    def modes(self, velocity: Sequence[Array], scalars: Mapping[str, Array]) -> Modes:
        """The waves that are kept, without divergence, of a velocity on the faces and of scalars at the centers."""
        found = [self.coefficients(part, axis) for axis, part in enumerate(velocity)]
        return Modes(
            self.waves.amplitudes(found),
            self.mean(found),
            {name: self.waves.filtered(self.coefficients(values)) for name, values in scalars.items()},
        )

    def on_grid(self, modes: Modes) -> tuple[tuple[Array, ...], dict[str, Array]]:
        """The velocity on the faces, and the scalars at the centers."""
        parts = self.waves.velocity(modes.amplitudes, modes.mean)
        velocity = tuple(self.values(part, axis) for axis, part in enumerate(parts))
        return velocity, {name: self.values(part) for name, part in modes.scalars.items()}

    def coefficients(self, values: Array, axis: int | None = None) -> Array:
        """Of values at the centers, or on the faces of an axis."""
        return self.waves.coefficients(values, self._place(axis))

    def values(self, coefficients: Array, axis: int | None = None) -> Array:
        """At the centers, or on the faces of an axis."""
        return self.waves.values(coefficients, self._place(axis))

    # The geometry of waves.

    def potential(self, coefficients: Sequence[Array]) -> Array:
        """Of the coefficients of a vector field those of the potential whose gradient it has, `-i k . v / |k|^2`."""
        squares = self.waves.squares()
        inverse = self.waves.kept() / (squares + (squares == 0))
        return times(self.real(inverse, coefficients[0]), self.waves.slope_along(coefficients))

    def mean(self, coefficients: Sequence[Array]) -> Array:
        """Of each component of a vector field."""
        first, count = (0,) * self.variables.grid.dimensions, np.prod(self.variables.grid.cells)
        return jnp.stack([part[first].real for part in coefficients]) / count

    def real(self, numbers: Any, like: Array) -> Array:
        """Numbers in the precision of `like`."""
        return jnp.asarray(numbers, jnp.finfo(like.dtype).dtype)

    def _place(self, axis: int | None) -> tuple[float, ...]:
        grid = self.variables.grid
        return center_offset(grid) if axis is None else face_offset(grid, axis)
