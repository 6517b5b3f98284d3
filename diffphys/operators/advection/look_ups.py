"""What the schemes that look up where the fluid came from share: their checks, the cells around an upstream point, and
limits by the values there.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from diffphys.errors import InputError
from diffphys.grids import Field, check_field
from diffphys.grids.field import check_velocity
from diffphys.grids.numbers import as_whole, check_numbers, plain, shown
from diffphys.operators.interpolation import at_indices, index_of


class Bounded:
    """A look-up that may be told a bound on the Courant number, for faster look-ups."""

    largest_courant: int | tuple[int, ...] | None

    def __post_init__(self):
        bound = plain(self.largest_courant)
        as_largest_courant(type(self).__name__, bound, len(bound) if isinstance(bound, tuple) else 1)
        object.__setattr__(self, "largest_courant", bound)

    def check(self, owner: str, dimensions: int) -> None:
        """Raise `InputError` unless the bound fits a grid of so many axes."""
        as_largest_courant(owner, self.largest_courant, dimensions)


def check_carried(owner: str, field: Field, velocity: Sequence[Field], dt: ArrayLike) -> None:
    """Raise `InputError` unless there is a field, a velocity on its grid and one number for the step."""
    check_field(owner, "field", field)
    check_velocity(owner, "velocity", velocity, field.grid)
    check_numbers(owner, dt=dt)


def as_largest_courant(owner: str, bound: Any, dimensions: int) -> int | tuple[int, ...] | None:
    """The bound in integers of Python; `InputError` unless it is a whole number of cells, a tuple of one for each axis,
    or None.
    """
    if bound is None:
        return None
    bounds = [as_whole(one) for one in (bound if isinstance(bound, tuple) else (bound,) * dimensions)]
    whole = [one for one in bounds if one is not None]
    if not len(whole) == len(bounds) == dimensions:
        raise InputError(
            f"{owner}: largest_courant is {shown(bound)}; a whole number of cells of at least 1, a tuple of "
            f"{dimensions} of them, one for each axis, or None is accepted."
        )
    return tuple(whole) if isinstance(bound, tuple) else whole[0]


def cells_around(field: Field, positions: Sequence[Array]) -> tuple[list[Array], list[Array]]:
    """For each axis the index, in an array with two ghost points, of the point below; and how far on to the next."""
    lows, fractions = [], []
    for axis, position in enumerate(positions):
        index = index_of(field, axis, position, wrap=True)
        low = jnp.clip(jnp.floor(index), -1, field.shape[axis] - 1)
        lows.append(low.astype(jnp.int32) + 2)
        fractions.append(index - low)
    return lows, fractions


def extremes(padded: Array, lows: Sequence[Array]) -> tuple[Array, Array]:
    """The smallest and the largest of the points at the corners of the cell around each upstream point."""
    corners = list(_corners(padded, lows))
    smallest, largest = corners[0], corners[0]
    for corner in corners[1:]:
        smallest, largest = jnp.minimum(smallest, corner), jnp.maximum(largest, corner)
    return smallest, largest


def _corners(padded: Array, lows: Sequence[Array]) -> Iterator[Array]:
    for number in range(2 ** len(lows)):
        yield at_indices(padded, [low + ((number >> axis) & 1) for axis, low in enumerate(lows)])
