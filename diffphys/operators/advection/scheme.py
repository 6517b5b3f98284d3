"""What a flow asks of an advection scheme."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from jax.typing import ArrayLike

from diffphys.grids import Field


class Advection(Protocol):
    """A scheme that carries fields."""

    def carry(self, field: Field, velocity: Sequence[Field], dt: ArrayLike, closed: np.ndarray | None = None) -> Field:
        """The field, at any place, one step of duration `dt` later.

        Of a centered field nothing comes from cells that are `closed`, nor through them; the velocity on their faces is
        zero.
        """
        ...


class FluxAdvection(Advection, Protocol):
    """A scheme of fluxes: what leaves a control volume enters its neighbor.

    Attributes:
        order: The order in space of the differences that belong to it.
    """

    order: Any

    def convection(self, velocity: Sequence[Field], carrier: Sequence[Field]) -> tuple[Field, ...]:
        """The rate `div(v w)` at which a velocity `w` on the faces is carried by `v`: see `operators.convection`."""
        ...

    def scalar_convection(self, scalar: Field, carrier: Sequence[Field]) -> Field:
        """The rate `div(v s)` at which a centered scalar is carried."""
        ...
