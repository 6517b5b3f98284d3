"""Scalars that a flow carries."""

from typing import Any

import equinox as eqx
from jax import Array
from jax.typing import DTypeLike

from diffphys.grids import Declared, Grid, Shape, choice, quantity, within
from diffphys.grids.declared import Refusals, misplaced
from diffphys.grids.shapes import Periods


class PassiveScalar(Declared):
    """A scalar that the flow carries.

    Args:
        diffusivity: Length squared per time.
        source: Region in which it is released.
        rate: Amount per time and volume released there.

    Examples:
        >>> smoke = dp.PassiveScalar(diffusivity=1e-3, source=dp.Sphere((0.5, 0.2), 0.1), rate=2.0)
    """

    diffusivity: Array = eqx.field(converter=quantity, metadata=within(minimum=0.0), default=0.0)
    source: Shape | None = eqx.field(metadata=choice(Shape, type(None), words="a shape or None"), default=None)
    rate: Array = eqx.field(converter=quantity, metadata=within(), default=1.0)

    def refused_by(self, flow: Any) -> Refusals:
        """What a flow refuses in it."""
        yield from misplaced("PassiveScalar: source", self.source, flow.grid)

    def release(self, grid: Grid, periods: Periods, dtype: DTypeLike) -> Array | None:
        """What is released per time and volume in each cell, where axes may be periodic; None without a source."""
        if self.source is None:
            return None
        return self.rate * self.source.repeated(periods).coverage(grid).astype(dtype)
