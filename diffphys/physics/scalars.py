"""Scalars that a flow carries."""

import equinox as eqx
from jax import Array

from diffphys.grids import Shape
from diffphys.grids.declared import Declared, quantity, within


class PassiveScalar(Declared):
    """A scalar that the flow carries.

    Args:
        diffusivity: Length squared per time.
        source: Region in which it is released.
        rate: Amount per time and volume released there.
    """

    diffusivity: Array = eqx.field(converter=quantity, metadata=within(minimum=0.0), default=0.0)
    source: Shape | None = None
    rate: Array = eqx.field(converter=quantity, metadata=within(), default=1.0)
