"""Central fluxes that keep the sum of squares."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jax import Array
from jax.typing import ArrayLike

from diffphys.grids import Field
from diffphys.grids.numbers import as_whole
from diffphys.operators.advection.carried import carried
from diffphys.operators.advection.convection import convection, scalar_convection
from diffphys.operators.fourth_order import check_order


@dataclasses.dataclass(frozen=True)
class SkewSymmetric:
    """Central differences that neither create nor destroy the sum of squares: see `operators.convection`.

    Args:
        order: 2 or 4.

    Examples:
        >>> grid = dp.Grid((8, 8), (1.0, 1.0))
        >>> flow = dp.IncompressibleFlow(
        ...     grid, 1e-3, 0.01, dp.Periodic(), advection=dp.SkewSymmetric(4), stepping=dp.RungeKutta(3)
        ... )
        >>> later = flow(flow.initial_state((1.0, 0.0)))
    """

    order: int = 2
    stages = 4

    def __post_init__(self):
        check_order("SkewSymmetric", self.order)
        object.__setattr__(self, "order", as_whole(self.order))

    @property
    def scheme(self) -> str:
        """The scheme of `advection_rate`."""
        return "central" if self.order == 2 else "fourth_order"

    def carry(self, field: Field, velocity: Sequence[Field], dt: ArrayLike, closed: np.ndarray | None = None) -> Field:
        """The field one step later, by the classical Runge-Kutta method."""
        return carried(self, field, velocity, dt, closed)

    def convection(self, velocity: Sequence[Field], carrier: Sequence[Field]) -> tuple[Field, ...]:
        """The rate at which a velocity is carried."""
        return convection(velocity, carrier, order=self.order)

    def scalar_convection(
        self, scalar: Field, carrier: Sequence[Field], open_parts: Sequence[Array] | None = None
    ) -> Field:
        """The rate at which a scalar is carried."""
        return scalar_convection(scalar, carrier, order=self.order)
