r"""The sums of skew-symmetric convection as loops over slices, with transposes of their own.

Along an axis $d$ with the spacing $h$ and the step $e$ to the next point, a control volume at the point $k$ loses

$$ \frac1h \sum_{j} c_j \big( m(k + \tfrac{j + 1}2 e)\, \tfrac12 (w(k) + w(k + j e))
   - m(k - \tfrac{j - 1}2 e)\, \tfrac12 (w(k - j e) + w(k)) \big) $$

where $m(k)$ crosses the face before the point $k$. To second order $j = 1$ with $c_1 = 1$; to fourth order $c_1 = 9/8$
and, of volumes three times as wide, $c_3 = -1/24$. That is linear in the carried values $w$ and in the carrier $m$, so
that a derivative needs nothing but the two. The transpose in $w$ has the differences $w(k) - w(k + j e)$ in the place
of the sums, and the transpose in $m$ is the product of the sums of one with the differences of the other.
"""

import dataclasses
from collections.abc import Iterable, Sequence

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from diffphys.grids.axes import at_axis, slice_axis
from diffphys.linear import linear_map
from diffphys.operators.differences import at_both_ends, with_zeros, wrapped


VOLUMES = {2: {1: 1.0}, 4: {1: 9 / 8, 3: -1 / 24}}
"""For each order the widths of the control volumes in cells, and the weights of their sums."""

MEANS = {2: {1: 1.0}, 4: {1: 9 / 8, 3: -1 / 8}}
"""For each order the distances of the points whose means give the value halfway between, and their weights."""


class _Volumes:
    """Control volumes of one order."""

    order: int

    @property
    def reach(self) -> int:
        """How far the widest control volume's neighbors are away: so many ghost points there are."""
        return max(VOLUMES[self.order])


@dataclasses.dataclass(frozen=True)
class Closed(_Volumes):
    r"""Convection of a velocity on a uniform grid without sides, and its transposes in both of its arguments.

    The carrier's component $m_d$ is brought to the faces of the control volumes of $w_a$ by means along $a$. An array
    is closed upon itself once, for all of its neighbors, and a result is one loop over slices.
    """

    spacing: tuple[float, ...]
    order: int

    def rates(self, carrier: Sequence[Array], carried: Sequence[Array]) -> tuple[Array, ...]:
        return linear_map(self._rates, self._pulled_to_carrier, carried, carrier)

    def _rates(self, carried: Sequence[Array], carrier: Sequence[Array]) -> list[Array]:
        w, m = self._closed(carried), self._closed(carrier)
        axes = range(len(w))

        def flux(a: int, d: int, width: int, place: int) -> Array:
            return self._at_face(m[d], a, d, place) * self._sum_across(w[a], d, width, place)

        def net(a: int, d: int, width: int) -> Array:
            return flux(a, d, width, (width + 1) // 2) - flux(a, d, width, (1 - width) // 2)

        return [self._total((net(a, d, j), d, c) for d in axes for j, c in VOLUMES[self.order].items()) for a in axes]

    def pulled_to_carried(self, carrier: Sequence[Array], cotangents: Sequence[Array]) -> list[Array]:
        m, g = self._closed(carrier), self._closed(cotangents)
        axes = range(len(g))

        def pull(a: int, d: int, width: int, place: int) -> Array:
            return self._at_face(m[d], a, d, place) * self._fall_across(g[a], d, width, place)

        def both(a: int, d: int, width: int) -> Array:
            return pull(a, d, width, (width + 1) // 2) + pull(a, d, width, (1 - width) // 2)

        return [self._total((both(a, d, j), d, c) for d in axes for j, c in VOLUMES[self.order].items()) for a in axes]

    def _pulled_to_carrier(self, carried: Sequence[Array], cotangents: Sequence[Array]) -> list[Array]:
        w, g = self._closed(carried), self._closed(cotangents)
        axes = range(len(g))

        def pull(a: int, d: int, width: int, place: int) -> Array:
            """What the face before each point takes of its carrier, a few points on along the carried axis."""
            sums = self._sum_across(w[a], d, width, 0, {a: place})
            return sums * self._fall_across(g[a], d, width, 0, {a: place})

        def mean(a: int, d: int, width: int, distance: int) -> Array:
            return pull(a, d, width, (distance + 1) // 2) + pull(a, d, width, (1 - distance) // 2)

        return [
            self._total(
                (mean(a, d, j, distance), d, c * weight)
                for a in axes
                for j, c in VOLUMES[self.order].items()
                for distance, weight in MEANS[self.order].items()
            )
            for d in axes
        ]

    def _at_face(self, closed: Array, across: int, along: int, place: int) -> Array:
        """Twice the mean along the carried axis, at the face that lies `place` points on."""
        parts = [
            part if weight == 1.0 else weight * part
            for distance, weight in MEANS[self.order].items()
            for part in [self._sum_across(closed, across, distance, 0, {along: place})]
        ]
        return sum(parts[1:], parts[0])

    def _sum_across(self, closed: Array, axis: int, width: int, place: int, steps: dict[int, int] | None = None):
        """The sum of the values on the two sides of the face before each point, `place` points on, `width` apart."""
        before, behind = self._beside(closed, axis, width, place, steps or {})
        return before + behind

    def _fall_across(self, closed: Array, axis: int, width: int, place: int, steps: dict[int, int] | None = None):
        """The value before that face less the one behind."""
        before, behind = self._beside(closed, axis, width, place, steps or {})
        return before - behind

    def _beside(self, closed: Array, axis: int, width: int, place: int, steps: dict[int, int]) -> tuple[Array, Array]:
        behind = place + (width - 1) // 2
        moves = [{**steps, axis: steps.get(axis, 0) + step} for step in (behind - width, behind)]
        return self._points(closed, moves[0]), self._points(closed, moves[1])

    def _points(self, closed: Array, moves: dict[int, int]) -> Array:
        """The points of an array that was closed upon itself, some steps on."""
        starts = [self.reach + moves.get(axis, 0) for axis in range(closed.ndim)]
        extents = [extent - 2 * self.reach for extent in closed.shape]
        return closed[tuple(slice(start, start + extent) for start, extent in zip(starts, extents, strict=True))]

    def _closed(self, arrays: Sequence[Array]) -> list[Array]:
        return [wrapped(array, [(self.reach, self.reach)] * array.ndim) for array in arrays]

    def _total(self, terms: Iterable[tuple[Array, int, float]]) -> Array:
        parts = [(0.25 * weight / self.spacing[axis]) * part for part, axis, weight in terms]
        return sum(parts[1:], parts[0])


@dataclasses.dataclass(frozen=True)
class NetFlux(_Volumes):
    """The same sum for one field whose axes may end, from the fluxes through the faces of its control volumes.

    The field comes with ghost points, once for each axis, as many beyond both ends as the widest volume reaches; the
    flux along an axis with one entry for each face that a volume has there, also of those around ghost points.

    To fourth order the wide volumes reach over ghost points across a side. Of a ghost value that is not the plain
    mirror image of the value within, the rest is carried by the flux through the side itself: nothing where that is a
    wall. Otherwise the scheme would not be skew-symmetric there.

    Attributes:
        order: 2 or 4.
        ends: For each axis whether it ends half a cell beyond the field's last points.
        own: Whether narrow volumes have fluxes of their own (order 4). Through each face goes that and 1/24 of the wide
            volumes' flux there and at both faces beside it, in the place of 9/8 of the latter.
    """

    order: int
    ends: tuple[bool, ...]
    own: bool = False

    def __call__(
        self,
        fluxes: Sequence[Array],
        padded: Sequence[Array],
        factors: Sequence[ArrayLike],
        narrow: Sequence[Array] = (),
    ) -> Array:
        """For each axis what leaves the control volumes along it, times a factor; the sum of all axes.

        Args:
            fluxes: For each axis what crosses the faces.
            padded: For each axis the values with ghost points along it.
            factors: For each axis the reciprocal of the volumes, a number or an array that broadcasts.
            narrow: For each axis what crosses the faces of narrow volumes, if they have fluxes of their own: only of
                volumes around points within.
        """
        factors = [jnp.asarray(factor, padded[0].dtype) for factor in factors]
        return linear_map(self._of_values, self._pulled_to_values, [*factors, *fluxes, *narrow], padded)[0]

    def _of_values(self, given: Sequence[Array], padded: Sequence[Array]) -> tuple[Array, ...]:
        factors, fluxes = given[: len(padded)], given[len(padded) :]
        return linear_map(self._of_fluxes, self._pulled_to_fluxes, [*factors, *padded], fluxes)

    def _of_fluxes(self, given: Sequence[Array], fluxes: Sequence[Array]) -> list[Array]:
        axes = len(self.ends)
        parts = []
        for axis, (factor, values) in enumerate(zip(given[:axes], given[axes:], strict=True)):
            count = values.shape[axis] - 2 * self.reach
            terms = []
            for width, weight, flux, margin in self._volumes(fluxes, axis):
                below, here, above = (self._points(values, axis, step, count) for step in (-width, 0, width))
                first, last = (_faces(flux, axis, width, margin, end, count) for end in (0, 1))
                terms.append((0.5 * weight) * (last * (here + above) - first * (below + here)))
            if self._has_sides(axis):
                wide = fluxes[axis]
                lost = [
                    (sign / 48) * self._through_the_side(axis, wide, end) * self._rest(axis, values, end)
                    for end, sign in enumerate(_SIGNS)
                ]
                terms += at_both_ends(lost, axis, count)
            parts.append(factor * sum(terms[1:], terms[0]))
        return [sum(parts[1:], parts[0])]

    def _pulled_to_fluxes(self, given: Sequence[Array], cotangents: Sequence[Array]) -> list[Array]:
        axes = len(self.ends)
        pulled: dict[int, Array] = {}
        for axis, (factor, values) in enumerate(zip(given[:axes], given[axes:], strict=True)):
            lost = factor * cotangents[0]
            fall = with_zeros(lost, self._widths(axis, 2 * self.reach))  # as `_pulled_to_values` has it: made once
            count = lost.shape[axis]
            if self.own:
                pulled[axes + axis] = self._pull(axis, values, fall, 1, 1.0, 0)
                three = self._pull(axis, values, fall, 1, 1 / 24, 2)
                parts = [slice_axis(three, axis, step, step + count + 3) for step in range(3)]
                parts.append(self._pull(axis, values, fall, 3, VOLUMES[4][3], 1))
            else:
                margin = (self.reach - 1) // 2
                volumes = VOLUMES[self.order].items()
                parts = [self._pull(axis, values, fall, width, weight, margin) for width, weight in volumes]
            pulled[axis] = sum(parts[1:], parts[0])
            if self._has_sides(axis):
                given_back = []
                for end, sign in enumerate(_SIGNS):
                    back = (sign / 48) * self._rest(axis, values, end) * _three(lost, axis, end)
                    given_back.append(jnp.sum(back, axis, keepdims=True) * _middle(axis, values) - back)
                for part in at_both_ends(given_back, axis, count + 3):
                    pulled[axis] = pulled[axis] + part
        return [pulled[place] for place in sorted(pulled)]

    def _pull(self, axis: int, values: Array, fall: Array, width: int, weight: float, beyond: int) -> Array:
        """What the faces of volumes of one width take, with so many beyond those around points within."""
        start, faces = self.reach - (width + 1) // 2 - beyond, values.shape[axis] - 2 * self.reach + 1 + 2 * beyond
        below, above, before, behind = (
            slice_axis(one, axis, first + step, first + step + faces)
            for one, first in ((values, start), (fall, start + self.reach))
            for step in (0, width)
        )
        return (0.5 * weight) * (below + above) * (before - behind)

    def _pulled_to_values(self, given: Sequence[Array], cotangents: Sequence[Array]) -> list[Array]:
        axes = len(self.ends)
        fluxes, pulled = given[axes:], []
        for axis, factor in enumerate(given[:axes]):
            lost = factor * cotangents[0]
            count = lost.shape[axis] + 2 * self.reach
            fall = with_zeros(lost, self._widths(axis, 2 * self.reach))
            widths = self._widths(axis, self.reach)  # of faces that no control volume has
            around = [with_zeros(one, widths) if place % axes == axis else one for place, one in enumerate(fluxes)]
            terms = []
            for width, weight, flux, margin in self._volumes(around, axis):
                below, here, above = (self._points(fall, axis, step, count) for step in (-width, 0, width))
                first, last = (_faces(flux, axis, width, margin, end, count) for end in (0, 1))
                terms.append((0.5 * weight) * (last * (here - above) + first * (below - here)))
            if self._has_sides(axis):
                beside = []
                for end, sign in enumerate(_SIGNS):
                    through = self._through_the_side(axis, fluxes[axis], end)
                    weighted = (sign / 48) * through * _three(lost, axis, end)
                    image = -jnp.flip(weighted, axis)
                    beside.append(jnp.concatenate([image, weighted] if end else [weighted, image], axis))
                terms += at_both_ends(beside, axis, count)
            pulled.append(sum(terms[1:], terms[0]))
        return pulled

    def _volumes(self, fluxes: Sequence[Array], axis: int) -> list[tuple[int, float, Array, int]]:
        """For each width of control volumes along an axis the weight of their sum, their fluxes, and how many faces
        beyond those around points within these have at both ends.
        """
        margin, wide = (self.reach - 1) // 2, fluxes[axis]
        if not self.own:
            return [(width, weight, wide, margin) for width, weight in VOLUMES[self.order].items()]
        own = fluxes[len(self.ends) + axis]
        three = [slice_axis(wide, axis, step, step + own.shape[axis]) for step in range(3)]
        narrow = own + (1 / 24) * (three[0] + three[1] + three[2])
        return [(1, 1.0, narrow, 0), (3, VOLUMES[4][3], wide, margin)]

    def _has_sides(self, axis: int) -> bool:
        return self.order == 4 and self.ends[axis]

    def _through_the_side(self, axis: int, flux: Array, end: int) -> Array:
        """The flux through the side less that of each face which passes ghost values, of which the side is one."""
        start = flux.shape[axis] - 3 if end else 0
        return slice_axis(flux, axis, start + 1, start + 2) - slice_axis(flux, axis, start, start + 3)

    def _rest(self, axis: int, values: Array, end: int) -> Array:
        """The three ghost values less the mirror images."""
        start = values.shape[axis] - 6 if end else 0
        lower, upper = (slice_axis(values, axis, start + step, start + step + 3) for step in (0, 3))
        return upper - jnp.flip(lower, axis) if end else lower - jnp.flip(upper, axis)

    def _points(self, padded: Array, axis: int, step: int, count: int) -> Array:
        """The points with this step from each of `count` within."""
        return slice_axis(padded, axis, self.reach + step, self.reach + step + count)

    def _widths(self, axis: int, width: int) -> tuple[int, ...]:
        return at_axis(axis, width, 0, len(self.ends))


_SIGNS = (1.0, -1.0)
"""Of what comes in through a lower and an upper side."""


def _faces(flux: Array, axis: int, width: int, margin: int, end: int, count: int) -> Array:
    """The face at the lower or upper end of each point's control volume of this width."""
    start = margin + ((width + 1) // 2 if end else (1 - width) // 2)
    return slice_axis(flux, axis, start, start + count)


def _middle(axis: int, like: Array) -> Array:
    return jnp.asarray([0.0, 1.0, 0.0], like.dtype).reshape(at_axis(axis, -1, 1, like.ndim))


def _three(values: Array, axis: int, end: int) -> Array:
    """The three values next to an end."""
    count = values.shape[axis]
    return slice_axis(values, axis, count - 3 if end else 0, count if end else 3)
