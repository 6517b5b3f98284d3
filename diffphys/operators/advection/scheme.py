"""What a flow asks of an advection scheme."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jax import Array
from jax.typing import ArrayLike

from diffphys.grids import Field


@runtime_checkable
class Advection(Protocol):
    """A scheme that carries fields."""

    def carry(self, field: Field, velocity: Sequence[Field], dt: ArrayLike, closed: np.ndarray | None = None) -> Field:
        """The field, at any place, one step of duration `dt` later.

        Of a centered field nothing comes from cells that are `closed`, nor through them, and of a velocity component
        nothing from behind them; the velocity on their faces is zero.
        """
        ...


@runtime_checkable
class FluxAdvection(Advection, Protocol):
    """A scheme of fluxes: what leaves a control volume enters its neighbor.

    By itself it is integrated with `stages` stages, and `scheme` is its name in `advection_rate`.
    """

    @property
    def order(self) -> int:
        """The order in space of the differences that belong to it."""
        ...

    @property
    def scheme(self) -> str:
        """One of the names of `advection_rate`."""
        ...

    @property
    def stages(self) -> int:
        """How many stages suit it where it carries a field by itself."""
        ...

    def convection(self, velocity: Sequence[Field], carrier: Sequence[Field]) -> tuple[Field, ...]:
        """The rate `div(v w)` at which a velocity `w` on the faces is carried by `v`: see `operators.convection`."""
        ...

    def scalar_convection(
        self, scalar: Field, carrier: Sequence[Field], open_parts: Sequence[Array] | None = None
    ) -> Field:
        """The rate `div(v s)` at which a centered scalar is carried; with an obstacle for each axis the part of each
        face that is open.
        """
        ...
