"""The state of an incompressible flow, and what it exerts on an obstacle."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from diffphys.grids import Field
from diffphys.stepping.clock import later


class FlowState(eqx.Module):
    """The state of an incompressible flow.

    Attributes:
        velocity: One field on the faces of each axis.
        pressure: The kinematic pressure of the last projection, at the cell centers. An outcome: no step depends on it,
            save that of `PISO`, whose predictor begins from it.
        scalars: Passive scalars at the cell centers, by name.
        time: The time of the state, right to its last digit however many steps have led there. Another one may be set:
            `dataclasses.replace(state, time=jnp.asarray(0.0))`.
        time_remainder: What rounding has left out of the time; zero if it is not given.

    Examples:
        >>> flow = dp.IncompressibleFlow(dp.Grid((8, 8), (1.0, 1.0)), viscosity=1e-3, dt=0.01, sides=dp.Wall())
        >>> state = flow.initial_state()
        >>> state.velocity[0].values.shape, state.pressure.values.shape
        ((9, 8), (8, 8))
    """

    velocity: tuple[Field, ...]
    pressure: Field
    scalars: dict[str, Field]
    time: Array
    time_remainder: Array

    def __init__(
        self,
        velocity: Sequence[Field],
        pressure: Field,
        scalars: Mapping[str, Field],
        time: Any,
        time_remainder: Any = None,
    ):
        self.velocity, self.pressure, self.scalars = velocity, pressure, scalars  # pyright: ignore
        self.time = time
        if time_remainder is None:  # what stands for an array, as in the axes for `jax.vmap`, stands for both
            is_number = isinstance(time, (Array, np.ndarray, np.generic, float))
            time_remainder = jnp.zeros_like(time) if is_number else time
        self.time_remainder = time_remainder

    def after(self, duration: ArrayLike) -> Array:
        """The moment so long after this state."""
        return later(self.time, self.time_remainder, duration)[0]


class Forces(NamedTuple):
    """What the flow exerts on an obstacle, per density of the fluid.

    Attributes:
        force: One number for each axis: drag and lift.
        torque: About the pivot of an immersed body, else about the origin: one number in 2D, counterclockwise, a vector
            in 3D.
    """

    force: Array
    torque: Array


Unknowns = tuple[tuple[Array, ...], dict[str, Array]]
"""The values of the velocity's components and of the scalars: what an integrator advances."""
