"""What an end of an axis does to the values beside it, written once.

Beyond an end values go on as in a mirror, upright or upside down. Where the mirror is and which of the two it does is
all there is to know of a kind of end; what stands in the first cell beyond, how much a difference over the face on the
side counts, and which points have no value of their own follow from it:

| kind | parity | mirror | at the first center beyond | weight of the face | a point on the side |
|---|---|---|---|---|---|
| `"neumann"`: slope 0 | even | on the side | the value | 0 | free |
| `"dirichlet"`: value 0 | odd | on the side | minus the value | 2 | fixed |
| `"ghost"`: 0 at the first center beyond | odd | half a cell beyond | 0 | 1 | free |

The numbers that an end is given (a value, a slope) are those of `conditions`. Lengths beyond an end, as those of the
cells of a stretched axis, have even mirror images whatever stands there.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from diffphys.grids.axes import at_axis


Kind = str
"""What holds at an end: "periodic", or one of `ENDS`."""


@dataclasses.dataclass(frozen=True)
class End:
    """A kind of end, with homogeneous numbers.

    Attributes:
        parity: 1 where values go on upright, -1 where upside down, in the mirror.
        mirror: How far beyond the side it stands, in cells: 0, or 0.5 at the first center beyond.
    """

    parity: int
    mirror: float = 0.0

    @property
    def image(self) -> int:
        """What stands at a center beyond the side, over the value of the center whose image it is: that on the mirror
        is its own image upside down, and so zero.
        """
        return 0 if self.mirror else self.parity

    @property
    def weight(self) -> float:
        """The slope on the side over what it is where zero stands at the center beyond: the weight of its face among
        those that let something through.
        """
        return 1.0 - self.image

    @property
    def anchors(self) -> bool:
        """Whether a constant does not fit, so that values are known in full and not up to a constant."""
        return self.parity < 0

    @property
    def fixes_points(self) -> bool:
        """Whether a point on the side has a fixed value, and is no unknown."""
        return self.parity < 0 and not self.mirror


ENDS: Mapping[Kind, End] = {"neumann": End(1), "dirichlet": End(-1), "ghost": End(-1, mirror=0.5)}


def kind_of_end(end: End) -> Kind:
    """The name of a kind of end."""
    return next(kind for kind, one in ENDS.items() if one == end)


def image(place: int, count: int, kinds: Sequence[Kind], *, centers: bool) -> tuple[int, int]:
    """Which of `count` values along an axis stands at a place, and with which sign; sign 0 where the value is 0.

    Args:
        place: The index, before the first value or behind the last one.
        count: How many values there are.
        kinds: What holds at the (lower, upper) end for the values at the centers.
        centers: Whether these are values at the centers; else those of their derivative on the faces, whose images have
            the other sign.
    """
    if kinds[0] == "periodic":
        return place % count, 1
    ends = [ENDS[kind] for kind in kinds]
    # Twice the index of the mirrors, from the first center or from the first face.
    below, above = (int(2 * end.mirror) + centers for end in ends)
    mirrors = (-below, 2 * (count - 1) + above)
    signs = [end.parity if centers else -end.parity for end in ends]
    sign = 1
    while not 0 <= place < count:
        end = 0 if place < 0 else 1
        if 2 * place == mirrors[end]:  # a point on the mirror that is its own image with the other sign
            return 0, 0
        place, sign = mirrors[end] - place, sign * signs[end]
    return place, sign


def lengths_beyond(lengths: np.ndarray, periodic: bool, count: int = 1) -> np.ndarray:
    """The lengths of cells along an axis with those of `count` more at both ends."""
    return np.pad(lengths, count, mode="wrap" if periodic else "symmetric")


def places_beyond(points: np.ndarray, edges: np.ndarray, periodic: bool, count: int = 1) -> np.ndarray:
    """The coordinates of points along an axis with those of `count` more at both ends: one period away, or mirror
    images about the side. A point on the side is its own image, and has no second place.

    Args:
        points: The coordinates of the centers, or of the faces.
        edges: The coordinates of all faces.
        periodic: Whether the axis closes upon itself.
        count: How many.
    """
    length = edges[-1] - edges[0]
    if periodic:
        return np.concatenate([points[-count:] - length, points, points[:count] + length])
    first = int(points[0] == edges[0])
    lower, upper = points[first : first + count][::-1], points[::-1][first : first + count]
    return np.concatenate([2 * edges[0] - lower, points, 2 * edges[-1] - upper])


def lengths_beside(lengths: np.ndarray, periodic: bool) -> tuple[np.ndarray, np.ndarray]:
    """For each face normal to an axis the lengths of the cells below and above it: n faces of a periodic axis of n
    cells, else n + 1.
    """
    around, faces = lengths_beyond(lengths, periodic), len(lengths) + (not periodic)
    return around[:faces], around[1 : 1 + faces]


def with_even_images(
    values: Any, axis: int, widths: tuple[int, int], *, periodic: bool = False, on_sides: bool = False
) -> Any:
    """Values along an axis and so many beyond its lower and upper end: a period away, or upright mirror images.

    Args:
        values: An array of NumPy or JAX.
        axis: The axis.
        widths: How many.
        periodic: Whether the axis closes upon itself.
        on_sides: Whether the first and the last value lie on the sides, so that they are their own images.
    """
    numpy = np if isinstance(values, np.ndarray) else jnp
    mode = "wrap" if periodic else "reflect" if on_sides else "symmetric"
    return numpy.pad(values, at_axis(axis, widths, (0, 0), values.ndim), mode=mode)


def with_last_value(values: Array, axis: int, widths: tuple[int, int]) -> Array:
    """Values along an axis with the last one again, so many times at its lower and upper end."""
    return jnp.pad(values, at_axis(axis, widths, (0, 0), values.ndim), mode="edge")


def values_beside(
    values: Any, axis: int, kinds: Sequence[Kind], *, edge: bool = False, twice: bool = False
) -> tuple[Any, Any]:
    """For each face normal to `axis` the values of the centers below and above it.

    Args:
        values: An array of NumPy or JAX with the values at the centers.
        axis: The axis.
        kinds: What holds at the (lower, upper) end.
        edge: Whether the mirror image is upright at every end, as for what only tells cells apart.
        twice: Whether the first face of a periodic axis stands behind its last one again, so that it has both ends.
    """
    numpy = np if isinstance(values, np.ndarray) else jnp
    first, last = (values[(slice(None),) * axis + (part,)] for part in (slice(0, 1), slice(-1, None)))
    if kinds[0] == "periodic":
        if not twice:
            return numpy.concatenate([last, values[(slice(None),) * axis + (slice(0, -1),)]], axis), values
        before, behind = last, first
    else:
        before = first if edge else ENDS[kinds[0]].image * first
        behind = last if edge else ENDS[kinds[1]].image * last
    return numpy.concatenate([before, values], axis), numpy.concatenate([values, behind], axis)
