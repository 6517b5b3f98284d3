"""One axis among others: what is told for it alone, and the part of an array along it."""

from typing import Any

from jax import Array


def at_axis(axis: int, here: Any, elsewhere: Any, dimensions: int) -> tuple[Any, ...]:
    """For each of so many axes what is said of it: one thing of `axis`, another of all others.

    Examples:
        >>> from diffphys.grids.axes import at_axis
        >>> at_axis(1, (2, 2), (0, 0), 3)
        ((0, 0), (2, 2), (0, 0))
    """
    return tuple(here if other == axis else elsewhere for other in range(dimensions))


def slice_axis(values: Array, axis: int, start: int | None, stop: int | None) -> Array:
    """`values` from `start` up to `stop` along one axis."""
    return values[at_axis(axis, slice(start, stop), slice(None), values.ndim)]


def slab(values: Array, axis: int, index: int) -> Array:
    """The values at one index along an axis, which keeps the extent 1; -1 is the last index."""
    return slice_axis(values, axis, index, index + 1 or None)
