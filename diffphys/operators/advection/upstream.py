"""Schemes of fluxes whose face values come from upstream."""

import abc
import dataclasses
from collections.abc import Sequence

import numpy as np
from jax import Array
from jax.typing import ArrayLike

from diffphys.grids import Field
from diffphys.operators.advection.carried import carried
from diffphys.operators.advection.convection import convection
from diffphys.operators.advection.fluxes import advection_rate


class _Upstream(abc.ABC):
    """A scheme of fluxes whose face values come from upstream, of second order in everything else."""

    order = 2
    scheme: str
    stages: int

    def carry(self, field: Field, velocity: Sequence[Field], dt: ArrayLike, closed: np.ndarray | None = None) -> Field:
        """The field one step later, by the Runge-Kutta method that suits the scheme."""
        return carried(self, field, velocity, dt, closed)

    def convection(self, velocity: Sequence[Field], carrier: Sequence[Field]) -> tuple[Field, ...]:
        """The rate at which a velocity is carried."""
        return convection(velocity, carrier, scheme=self.scheme)

    def scalar_convection(
        self, scalar: Field, carrier: Sequence[Field], open_parts: Sequence[Array] | None = None
    ) -> Field:
        """The rate at which a scalar is carried."""
        rate = advection_rate(scalar, carrier, self.scheme, open_parts)
        return rate.with_values(-rate.values)


@dataclasses.dataclass(frozen=True)
class Upwind(_Upstream):
    """The value of the cell that the fluid comes from: robust, and of first order. By itself with Euler's method.

    Examples:
        >>> grid = dp.Grid((8, 8), (1.0, 1.0))
        >>> flow = dp.IncompressibleFlow(
        ...     grid, 1e-3, 0.01, dp.Periodic(), advection=dp.Upwind(), stepping=dp.RungeKutta(1)
        ... )
        >>> later = flow(flow.initial_state((1.0, 0.0)))
    """

    scheme = "upwind"
    stages = 1


@dataclasses.dataclass(frozen=True)
class VanLeer(_Upstream):
    """Upwind, and half a cell along a limited slope (van Leer 1974): second order, and no new extremes. By itself with
    Heun's method.

    Examples:
        >>> grid = dp.Grid((8, 8), (1.0, 1.0))
        >>> flow = dp.IncompressibleFlow(
        ...     grid, 1e-3, 0.01, dp.Periodic(), advection=dp.VanLeer(), stepping=dp.RungeKutta(2)
        ... )
        >>> later = flow(flow.initial_state((1.0, 0.0)))
    """

    scheme = "van_leer"
    stages = 2
