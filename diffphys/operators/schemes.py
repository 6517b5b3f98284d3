"""Advection schemes as values, so that a flow can be given any of them.

| scheme | family | order in space | keeps |
|---|---|---|---|
| `SemiLagrangian`, `CubicSemiLagrangian`, `MacCormack` | look-ups, for steps of any length | 1, 3, 2 | extremes |
| `Upwind`, `VanLeer` | fluxes | 1, 2 | the sum; no new extremes |
| `SkewSymmetric(order)` | fluxes | 2 or 4 | the sum, and the sum of squares |

Every scheme can `carry` a field over a step. A scheme of fluxes also says how fast the carried field changes, which is
what a Runge-Kutta method asks for.
"""

import abc
import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
from jax import Array
from jax.typing import ArrayLike

from diffphys.grids import Field, center_offset
from diffphys.grids.numbers import as_whole, plain
from diffphys.operators.advection import as_largest_courant, semi_lagrangian
from diffphys.operators.characteristics import beside_closed_cells, cubic_semi_lagrangian, maccormack
from diffphys.operators.convection import component_convection, convection, scalar_convection
from diffphys.operators.fluxes import advect, advection_rate
from diffphys.operators.fourth_order import check_order
from diffphys.stepping import RungeKutta


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


@dataclasses.dataclass(frozen=True)
class SemiLagrangian:
    """The value found upstream by linear interpolation: see `operators.semi_lagrangian`.

    Args:
        largest_courant: A bound on the Courant number in whole cells, for all axes or a tuple, for faster look-ups.
    """

    largest_courant: int | tuple[int, ...] | None = None

    def __post_init__(self):
        bound = plain(self.largest_courant)
        as_largest_courant("SemiLagrangian", bound, len(bound) if isinstance(bound, tuple) else 1)
        object.__setattr__(self, "largest_courant", bound)

    def check(self, owner: str, dimensions: int) -> None:
        """Raise `InputError` unless the bound fits a grid of so many axes."""
        as_largest_courant(owner, self.largest_courant, dimensions)

    def carry(self, field: Field, velocity: Sequence[Field], dt: ArrayLike, closed: np.ndarray | None = None) -> Field:
        """The field one step later."""
        return semi_lagrangian(field, velocity, dt, self.largest_courant, closed)


@dataclasses.dataclass(frozen=True)
class CubicSemiLagrangian:
    """The value found upstream by cubic interpolation: see `operators.cubic_semi_lagrangian`.

    Args:
        limited: Whether to keep each value between those around its upstream point.
    """

    limited: bool = False

    def carry(self, field: Field, velocity: Sequence[Field], dt: ArrayLike, closed: np.ndarray | None = None) -> Field:
        """The field one step later."""
        carried = cubic_semi_lagrangian(field, velocity, dt, limited=self.limited)
        return carried if closed is None else beside_closed_cells(carried, field, velocity, dt, closed)


@dataclasses.dataclass(frozen=True)
class MacCormack:
    """Two linear look-ups, forth and back, and half of what is missing then: see `operators.maccormack`.

    Args:
        limited: Whether to keep each value between those around its upstream point.
        largest_courant: As of `SemiLagrangian`.
    """

    limited: bool = True
    largest_courant: int | tuple[int, ...] | None = None

    def __post_init__(self):
        bound = plain(self.largest_courant)
        as_largest_courant("MacCormack", bound, len(bound) if isinstance(bound, tuple) else 1)
        object.__setattr__(self, "largest_courant", bound)

    def check(self, owner: str, dimensions: int) -> None:
        """Raise `InputError` unless the bound fits a grid of so many axes."""
        as_largest_courant(owner, self.largest_courant, dimensions)

    def carry(self, field: Field, velocity: Sequence[Field], dt: ArrayLike, closed: np.ndarray | None = None) -> Field:
        """The field one step later."""
        carried = maccormack(field, velocity, dt, limited=self.limited, largest_courant=self.largest_courant)
        return carried if closed is None else beside_closed_cells(carried, field, velocity, dt, closed)


class _Upstream(abc.ABC):
    """A scheme of fluxes whose face values come from upstream, of second order in everything else."""

    order: ClassVar[int] = 2
    scheme: ClassVar[str]
    stages: ClassVar[int]

    def carry(self, field: Field, velocity: Sequence[Field], dt: ArrayLike, closed: np.ndarray | None = None) -> Field:
        """The field one step later, by the Runge-Kutta method that suits the scheme."""
        return _carried(self, field, velocity, dt)

    def convection(self, velocity: Sequence[Field], carrier: Sequence[Field]) -> tuple[Field, ...]:
        """The rate at which a velocity is carried."""
        return convection(velocity, carrier, scheme=self.scheme)

    def scalar_convection(self, scalar: Field, carrier: Sequence[Field]) -> Field:
        """The rate at which a scalar is carried."""
        rate = advection_rate(scalar, carrier, self.scheme)
        return rate.with_values(-rate.values)


@dataclasses.dataclass(frozen=True)
class Upwind(_Upstream):
    """The value of the cell that the fluid comes from: robust, and of first order. By itself with Euler's method."""

    scheme: ClassVar[str] = "upwind"
    stages: ClassVar[int] = 1


@dataclasses.dataclass(frozen=True)
class VanLeer(_Upstream):
    """Upwind, and half a cell along a limited slope (van Leer 1974): second order, and no new extremes. By itself with
    Heun's method.
    """

    scheme: ClassVar[str] = "van_leer"
    stages: ClassVar[int] = 2


@dataclasses.dataclass(frozen=True)
class SkewSymmetric:
    """Central differences that neither create nor destroy the sum of squares: see `operators.convection`.

    Args:
        order: 2 or 4.
    """

    order: int = 2
    stages: ClassVar[int] = 4

    def __post_init__(self):
        check_order("SkewSymmetric", self.order)
        object.__setattr__(self, "order", as_whole(self.order))

    @property
    def scheme(self) -> str:
        """The scheme of `advection_rate`."""
        return "central" if self.order == 2 else "fourth_order"

    def carry(self, field: Field, velocity: Sequence[Field], dt: ArrayLike, closed: np.ndarray | None = None) -> Field:
        """The field one step later, by the classical Runge-Kutta method."""
        return _carried(self, field, velocity, dt)

    def convection(self, velocity: Sequence[Field], carrier: Sequence[Field]) -> tuple[Field, ...]:
        """The rate at which a velocity is carried."""
        return convection(velocity, carrier, order=self.order)

    def scalar_convection(self, scalar: Field, carrier: Sequence[Field]) -> Field:
        """The rate at which a scalar is carried."""
        return scalar_convection(scalar, carrier, order=self.order)


@dataclasses.dataclass(frozen=True)
class _Carried:
    """One field as a system: what a fixed velocity carries in and out of its control volumes."""

    scheme: Any
    velocity: Sequence[Field]

    def rate(self, time: Any, field: Field, input: Any) -> Array:
        return -component_convection(field, self.velocity, self.scheme.order, self.scheme.scheme)


def _carried(scheme: Any, field: Field, velocity: Sequence[Field], dt: ArrayLike) -> Field:
    if field.offset == center_offset(field.grid):
        return advect(field, velocity, dt, scheme.scheme)
    return RungeKutta(scheme.stages).advance(_Carried(scheme, velocity), field, dt).state
