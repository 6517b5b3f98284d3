"""Shapes as signed distances: negative inside, zero on the surface, positive outside.

Shapes combine with `|` (union), `&` (intersection) and `~` (complement); `translated` and `rotated` move them. Their
numbers are traced leaves. `repeated` is a shape as a periodic domain sees it: with all its images.
"""

import abc
import functools
import itertools
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffphys.errors import InputError
from diffphys.grids.fractions import inside_fractions
from diffphys.grids.grid import Grid, check_grid
from diffphys.grids.numbers import as_number, as_whole, check_number, concrete, number, shown


Periods = tuple[float | None, ...]


class Shape(eqx.Module):
    """A region of space."""

    @abc.abstractmethod
    def distance(self, points: Sequence[Array]) -> Array:
        """Signed distance to the surface at `points`, one array of coordinates per axis, broadcast against each other.

        Inside a `Box`, and for every `Intersection`, `Union` and `Complement`, it is a lower bound of the true distance
        with the right sign and the right zero set (Hart 1996).
        """

    def contains(self, points: Sequence[Array]) -> Array:
        """True where a point lies inside or on the surface."""
        return self.distance(points) <= 0

    def coverage(self, grid: Grid, periodic: bool | Sequence[bool] = False) -> Array:
        """For each cell about which fraction of it lies inside: one within, zero outside, and linear in the distance of
        the cell's center over one mean width at the surface. Differentiable in the shape's numbers, and cheap; see
        `volume_fractions` for the true fraction.

        Args:
            grid: The grid.
            periodic: Along which axes the shape repeats itself: see `repeated`. One for all or one for each axis.
        """
        check_grid("coverage", grid)
        self = self.repeated(_periods(grid, periodic))
        if all(grid.uniform):
            spacing = float(np.mean(grid.spacing))
        else:
            widths = [grid.along(axis, grid.widths(axis)) for axis in range(grid.dimensions)]
            spacing = jnp.asarray(functools.reduce(np.add, widths) / grid.dimensions)
        return jnp.clip(0.5 - self.distance(grid.centers()) / spacing, 0.0, 1.0)

    def volume_fractions(self, grid: Grid, periodic: bool | Sequence[bool] = False) -> Array:
        r"""For each cell the fraction of its volume (area in 2D, length in 1D) that lies inside of the shape.

        The signed distance is taken at the corners, the middles of edges and faces, and the center of each cell, and
        interpolated linearly on the simplices between them; the part of a simplex where a linear function is negative
        is known in closed form. The error of the whole volume falls like $h^2$. Sets are combined before they are
        measured, so that what two shapes share counts once. Differentiable in the shape's numbers.

        Args:
            grid: The grid.
            periodic: Along which axes the shape repeats itself: see `repeated`. One for all or one for each axis.

        Returns:
            Array of shape `grid.cells`, between 0 and 1.
        """
        check_grid("volume_fractions", grid)
        return self._fractions(grid, None, False, _periods(grid, periodic))

    def apertures(self, grid: Grid, axis: int, periodic: bool | Sequence[bool] = False) -> Array:
        """For each face normal to `axis` the *open* fraction of its area (length in 2D): what the shape leaves free.

        From the signed distance at the face's corners, the middles of its edges and its center, as `volume_fractions`;
        faces agree where they meet. In 1D a face is a point, open (1) or closed (0). A face that lies in the surface is
        closed. Differentiable in the shape's numbers.

        Args:
            grid: The grid.
            axis: The axis that the faces are normal to.
            periodic: Whether that axis is periodic, which has n faces instead of n + 1; or for each axis whether it is.
                The shape repeats itself along periodic axes.

        Returns:
            Array with an entry for each face, between 0 and 1.
        """
        check_grid("apertures", grid)
        if as_whole(axis, 0) not in range(grid.dimensions):
            raise InputError(f"apertures: axis is {shown(axis)}; 0 to {grid.dimensions - 1} are accepted.")
        if isinstance(periodic, (bool, np.bool_)):
            periodic = [bool(periodic) and a == axis for a in range(grid.dimensions)]
        periods = _periods(grid, periodic)
        return 1 - self._fractions(grid, axis, periods[axis] is not None, periods)

    def repeated(self, periods: Sequence[float | None]) -> "Shape":
        """The shape as a periodic domain sees it: together with its images one period on, two periods on, and so on.

        A sphere, a box, and whatever leads a life of its own is repeated first; unions, intersections and complements
        are those of the repeated parts. What extends to infinity along an axis is taken as it stands there, and within
        an intersection from where the bounded part of it is. The distance is that to the nearest image. A rotated box
        may reach one period to each side of its middle; a shape of another class must lie within one period of the
        domain.

        Args:
            periods: For each axis its period, or None where it is bounded.
        """
        if not isinstance(periods, Sequence) or isinstance(periods, str):
            raise InputError(f"repeated: periods is {shown(periods)}; a number or None for each axis is accepted.")
        for axis, period in enumerate(periods):
            if period is not None:
                check_number("repeated", f"periods[{axis}]", as_number(period, "repeated: periods"), above=0.0)
        periods = tuple(None if period is None else float(period) for period in periods)
        return Repeated(self, periods) if any(period is not None for period in periods) else self

    def _fractions(self, grid: Grid, normal: int | None, periodic: bool, periods: Periods) -> Array:
        """The fraction inside, of cells or of the faces normal to an axis."""
        touching = 4 * float(jnp.finfo(jnp.result_type(float)).eps) * max(float(abs(e).max()) for e in grid.edges)
        return inside_fractions(growing(self.repeated(periods), touching).distance, grid, normal, periodic)

    def _nearest(self, points: Sequence[Array], periods: Periods) -> tuple[Array, list[Array]]:
        """The signed distance to the nearest image, and the points, moved by whole periods, as that image's own shape
        has them.
        """
        choices = [(0.0,) if period is None else (0.0, -period, period) for period in periods]
        return _nearest_of(self, [_moved(points, shifts) for shifts in itertools.product(*choices)])

    def _middle(self) -> Array:
        """A point amid the shape; not finite along an axis where there is none, or where it is not known."""
        return jnp.asarray(jnp.inf)

    def translated(self, by: Any) -> "Shape":
        """The shape moved by a vector, one number for each axis; the vector is a traced leaf."""
        return Translated(self, by)

    def rotated(self, rotation: Any, about: Any) -> "Shape":
        """The shape turned about a point.

        Args:
            rotation: In 2D the angle in radians, counterclockwise (from x to y). In 3D a vector along the axis of
                rotation whose length is the angle, right-handed; or in both a rotation matrix. A traced leaf.
            about: The point that stays where it is, one number for each axis. A traced leaf.

        Raises:
            InputError: for a matrix that is no rotation, or arguments of another shape.
        """
        return Rotated(self, rotation, about)

    def __or__(self, other: "Shape") -> "Shape":
        return Union(self, other)

    def __and__(self, other: "Shape") -> "Shape":
        return Intersection(self, other)

    def __invert__(self) -> "Shape":
        return Complement(self)


class Sphere(Shape):
    """All points within `radius` of `center`: an interval in 1D, a disk in 2D, a ball in 3D.

    Examples:
        >>> disk = dp.Sphere((0.5, 0.5), 0.25)
        >>> float(disk.distance([jnp.asarray(1.0), jnp.asarray(0.5)]))  # outside, from the surface
        0.25
    """

    center: Array = eqx.field(converter=number("Sphere: center"))
    radius: Array = eqx.field(converter=number("Sphere: radius"))

    def __check_init__(self):
        check_number("Sphere", "center", self.center, scalar=False)
        check_number("Sphere", "radius", self.radius, above=0.0)

    def distance(self, points: Sequence[Array]) -> Array:
        _check_axes("Sphere", "center", self.center, points)
        return _norm([point - self.center[axis] for axis, point in enumerate(points)]) - self.radius

    def _nearest(self, points: Sequence[Array], periods: Periods) -> tuple[Array, list[Array]]:
        _check_axes("Sphere", "center", self.center, points)
        near = _near(points, self.center, periods)
        return self.distance(near), near

    def _middle(self) -> Array:
        return self.center


class Box(Shape):
    """All points between the corners `lower` and `upper`; a corner may be infinite along an axis.

    Examples:
        >>> building = dp.Box((1.0, 0.0), (2.0, 0.5)) | dp.Box((3.0, 0.0), (4.0, 1.5))
        >>> bool(building.contains([jnp.asarray(3.5), jnp.asarray(1.0)]))
        True
    """

    lower: Array = eqx.field(converter=number("Box: lower"))
    upper: Array = eqx.field(converter=number("Box: upper"))

    def __check_init__(self):
        if np.ndim(self.lower) != 1 or np.shape(self.lower) != np.shape(self.upper):
            raise InputError(
                f"Box: lower and upper have shapes {np.shape(self.lower)} and {np.shape(self.upper)}; two corners "
                "with one number for each axis are accepted."
            )
        check_number(
            "Box", "upper - lower", jnp.nan_to_num(self.upper - self.lower, posinf=1.0), above=0.0, scalar=False
        )

    def distance(self, points: Sequence[Array]) -> Array:
        _check_axes("Box", "lower", self.lower, points)
        beyond = [jnp.maximum(self.lower[a] - point, point - self.upper[a]) for a, point in enumerate(points)]
        if len(beyond) == 3:  # one maximum of all, whose derivative is their mean where they are equal
            deepest = jnp.max(jnp.stack(jnp.broadcast_arrays(*beyond)), 0)
        else:
            deepest = functools.reduce(jnp.maximum, beyond)
        outside = _norm([jnp.maximum(distance, 0) for distance in beyond])
        return jnp.where(deepest > 0, outside, deepest)

    def _nearest(self, points: Sequence[Array], periods: Periods) -> tuple[Array, list[Array]]:
        _check_axes("Box", "lower", self.lower, points)
        near = _near(points, self._middle(), periods)
        return self.distance(near), near

    def _middle(self) -> Array:
        bounded = jnp.isfinite(self.lower) & jnp.isfinite(self.upper)
        half = [jnp.where(bounded, corner, 0.0) / 2 for corner in (self.lower, self.upper)]
        return jnp.where(bounded, half[0] + half[1], jnp.inf)

    def _fractions(self, grid: Grid, normal: int | None, periodic: bool, periods: Periods) -> Array:
        """Exact: the product over the axes of what the box covers of each interval."""
        _check_axes("Box", "lower", self.lower, grid.centers())
        product = jnp.ones(())
        for axis, edges in enumerate(grid.edges):
            lower, upper = self.lower[axis], self.upper[axis]
            if axis == normal:
                face = jnp.asarray(edges[: grid.cells[axis] + (not periodic)], lower.dtype)
                face = face - _whole_periods(face, self._middle()[axis], periods[axis])
                touching = 4 * jnp.finfo(lower.dtype).eps * float(np.max(np.abs(edges)))
                covered = ((face >= lower - touching) & (face <= upper + touching)).astype(lower.dtype)
            else:
                below, above = jnp.asarray(edges[:-1], lower.dtype), jnp.asarray(edges[1:], lower.dtype)
                middle, period = self._middle()[axis], periods[axis]
                home = _whole_periods(jnp.asarray((edges[0] + edges[-1]) / 2, lower.dtype), middle, period)
                touching = 4 * float(jnp.finfo(lower.dtype).eps) * float(np.max(np.abs(edges)))
                covered = _overlap(below, above, lower + home, upper + home, touching)
                if period is not None:
                    for image in (home - period, home + period):
                        part = _overlap(below, above, lower + image, upper + image, touching)
                        covered = covered + jnp.where(jnp.isfinite(middle), part, 0.0)
                    covered = jnp.where(covered > above - below, above - below, covered)  # where images overlap
                covered = covered / (above - below)
            product = product * grid.along(axis, covered)
        return product


class GrowingBox(Box):
    """A box that takes what differs by round-off for equal: on its surface and at its edges a point lies within, as in
    a box that is a little larger on all sides, and where two faces are equally near the derivative is the mean of
    theirs. So it is right for every move of the faces, alone or together: where they move alike, that of the distance
    itself, else the mean of what it is before and behind.

    Args:
        touching: A distance that is none.
    """

    touching: float = eqx.field(static=True, kw_only=True)

    def distance(self, points: Sequence[Array]) -> Array:
        _check_axes("Box", "lower", self.lower, points)
        ends = [(self.lower[a] - point, point - self.upper[a]) for a, point in enumerate(points)]
        # Of each axis first: where it is equally far to opposite faces and to another one, that counts for half.
        deepest = _largest(self.touching, *[_largest(self.touching, *pair) for pair in ends])
        outside = _norm([jnp.maximum(jnp.maximum(*pair), 0) for pair in ends])
        return jnp.where(deepest > self.touching, outside, deepest)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _largest(touching: float, *values: Array) -> Array:
    """The largest of the values, whose derivative is the mean of those that are as large to round-off."""
    return functools.reduce(jnp.maximum, values)


@_largest.defjvp
def _largest_jvp(touching: float, primals: tuple[Array, ...], tangents: tuple[Array, ...]):
    largest = _largest(touching, *primals)
    near = [jnp.where(value >= largest - touching, 1.0, 0.0).astype(largest.dtype) for value in primals]
    parts = [one * jnp.where(one > 0, tangent, 0.0) for one, tangent in zip(near, tangents, strict=True)]
    return largest, sum(parts[1:], parts[0]) / sum(near[1:], near[0])


def growing(shape: Shape, touching: float) -> Shape:
    """The shape with its boxes as `GrowingBox`."""

    def grown(piece: Any) -> Any:
        if isinstance(piece, Measured):
            return Measured(growing(piece.shape, touching * piece.unit), piece.unit)
        return GrowingBox(piece.lower, piece.upper, touching=touching) if type(piece) is Box else piece

    return jax.tree.map(grown, shape, is_leaf=lambda piece: isinstance(piece, (Box, Measured)))


def _as_axis(axis: Any) -> int:
    whole = as_whole(axis, 0)
    if whole not in (0, 1, 2):
        raise InputError(f"Extruded: axis is {shown(axis)}; 0, 1 or 2 is accepted.")
    return whole


class Extruded(Shape):
    """A shape of fewer axes that goes on for ever along one more: a disk as a cylinder, a rectangle as a column.

    Args:
        shape: The cross-section.
        axis: The axis along which it goes on, counted with it.

    Examples:
        >>> cylinder = dp.grids.Extruded(dp.Sphere((0.5, 0.5), 0.25), axis=2)
        >>> float(cylinder.distance([jnp.asarray(1.0), jnp.asarray(0.5), jnp.asarray(7.0)]))
        0.25
    """

    shape: Shape
    axis: int = eqx.field(static=True, converter=_as_axis)

    def __check_init__(self):
        _check_shapes("Extruded", shape=self.shape)

    def distance(self, points: Sequence[Array]) -> Array:
        distance = self.shape.distance(self._across(points))
        return jnp.broadcast_to(distance, jnp.broadcast_shapes(*map(jnp.shape, points)))

    def _nearest(self, points: Sequence[Array], periods: Periods) -> tuple[Array, list[Array]]:
        distance, near = self.shape._nearest(self._across(points), self._across(periods))
        distance = jnp.broadcast_to(distance, jnp.broadcast_shapes(*map(jnp.shape, points)))
        return distance, [*near[: self.axis], points[self.axis], *near[self.axis :]]

    def _middle(self) -> Array:
        middle = self.shape._middle()
        return jnp.insert(middle, self.axis, jnp.inf) if middle.ndim else middle

    def _across(self, of_axes: Sequence[Any]) -> Any:
        """What belongs to the other axes."""
        if not self.axis < len(of_axes):
            raise InputError(
                f"Extruded: axis is {self.axis}, but there are {len(of_axes)} axes; one of these is accepted."
            )
        return (*of_axes[: self.axis], *of_axes[self.axis + 1 :])


class Union(Shape):
    """Points of either shape."""

    first: Shape
    second: Shape

    def __check_init__(self):
        _check_shapes("Union", first=self.first, second=self.second)

    def distance(self, points: Sequence[Array]) -> Array:
        return jnp.minimum(self.first.distance(points), self.second.distance(points))

    def _nearest(self, points: Sequence[Array], periods: Periods) -> tuple[Array, list[Array]]:
        first, there = self.first._nearest(points, periods)
        second, elsewhere = self.second._nearest(points, periods)
        nearer = first <= second
        return jnp.minimum(first, second), [jnp.where(nearer, *both) for both in zip(there, elsewhere, strict=True)]


class Intersection(Shape):
    """Points of both shapes."""

    first: Shape
    second: Shape

    def __check_init__(self):
        _check_shapes("Intersection", first=self.first, second=self.second)

    def distance(self, points: Sequence[Array]) -> Array:
        return jnp.maximum(self.first.distance(points), self.second.distance(points))

    def _nearest(self, points: Sequence[Array], periods: Periods) -> tuple[Array, list[Array]]:
        near = _near(points, self._middle(), periods)  # for the part that is unbounded; a bounded one finds its own
        distances = [part._nearest(near, periods)[0] for part in (self.first, self.second)]
        return jnp.maximum(*distances), near

    def _middle(self) -> Array:
        first, second = self.first._middle(), self.second._middle()
        return jnp.where(jnp.isfinite(first), first, second)


class Complement(Shape):
    """Points outside of a shape."""

    shape: Shape

    def __check_init__(self):
        _check_shapes("Complement", shape=self.shape)

    def distance(self, points: Sequence[Array]) -> Array:
        return -self.shape.distance(points)

    def _nearest(self, points: Sequence[Array], periods: Periods) -> tuple[Array, list[Array]]:
        return -self.shape._nearest(points, periods)[0], list(points)

    def _fractions(self, grid: Grid, normal: int | None, periodic: bool, periods: Periods) -> Array:
        return 1 - self.shape._fractions(grid, normal, periodic, periods)


class Translated(Shape):
    """A shape moved by a vector `by`, one number for each axis."""

    shape: Shape
    by: Array = eqx.field(converter=number("Translated: by"))

    def __check_init__(self):
        _check_shapes("Translated", shape=self.shape)
        check_number("Translated", "by", self.by, scalar=False)

    def distance(self, points: Sequence[Array]) -> Array:
        _check_axes("Translated", "by", self.by, points)
        return self.shape.distance([point - self.by[axis] for axis, point in enumerate(points)])

    def _nearest(self, points: Sequence[Array], periods: Periods) -> tuple[Array, list[Array]]:
        _check_axes("Translated", "by", self.by, points)
        back = [point - self.by[axis] for axis, point in enumerate(points)]
        distance, near = self.shape._nearest(back, periods)
        return distance, [point - (old - new) for point, old, new in zip(points, back, near, strict=True)]

    def _middle(self) -> Array:
        return self.shape._middle() + self.by


class Rotated(Shape):
    """A shape turned about a point: see `Shape.rotated`."""

    shape: Shape
    rotation: Array = eqx.field(converter=number("Rotated: rotation"))
    about: Array = eqx.field(converter=number("Rotated: about"))

    def __check_init__(self):
        _check_shapes("Rotated", shape=self.shape)
        check_number("Rotated", "rotation", self.rotation, scalar=False)
        check_number("Rotated", "about", self.about, scalar=False)
        axes = np.shape(self.about)
        if (axes, np.shape(self.rotation)) not in (((2,), ()), ((2,), (2, 2)), ((3,), (3,)), ((3,), (3, 3))):
            raise InputError(
                f"Rotated: rotation and about have shapes {np.shape(self.rotation)} and {axes}; in 2D an angle or a "
                "2x2 matrix and two numbers, in 3D a vector of 3 or a 3x3 matrix and three numbers are accepted."
            )
        known = concrete(self.rotation)
        if known is not None and known.ndim == 2:
            product = known @ known.T - np.eye(len(known))
            if np.abs(product).max() > 1e-4 or np.linalg.det(known) < 0:
                raise InputError(
                    "Rotated: rotation is no rotation matrix; an orthogonal one of determinant 1 is accepted."
                )

    def distance(self, points: Sequence[Array]) -> Array:
        _check_axes("Rotated", "about", self.about, points)
        matrix = rotation_matrix(self.rotation)
        arms = [point - self.about[axis] for axis, point in enumerate(points)]
        turned = []  # the inverse rotation is the transpose
        for axis in range(len(arms)):
            turned.append(sum((matrix[other, axis] * arm for other, arm in enumerate(arms)), self.about[axis]))
        return self.shape.distance(turned)

    def _nearest(self, points: Sequence[Array], periods: Periods) -> tuple[Array, list[Array]]:
        _check_axes("Rotated", "about", self.about, points)
        whole = _in_parts(self)
        if whole is not self:
            return whole._nearest(points, periods)
        piece = self.shape
        while isinstance(piece, (Rotated, Translated)):
            piece = piece.shape
        if not isinstance(piece, (Sphere, Box)):
            return super()._nearest(points, periods)
        middle = self._middle()
        near = _near(points, middle, periods)
        if isinstance(piece, Sphere):
            return self.distance(near), near
        choices = []  # the image around whose middle a point lies, and the one on its other side
        for axis, period in enumerate(periods):
            beyond = None if period is None else jax.lax.stop_gradient(period * jnp.sign(near[axis] - middle[axis]))
            choices.append([0.0] if beyond is None else [0.0, jnp.where(jnp.isfinite(middle[axis]), beyond, 0.0)])
        return _nearest_of(self, [_moved(near, shifts) for shifts in itertools.product(*choices)])

    def _turn(self, arm: Array) -> Array:
        return jnp.sum(rotation_matrix(self.rotation) * arm, axis=1)

    def _middle(self) -> Array:
        middle = self.shape._middle()
        bounded = jnp.isfinite(middle)
        place = self.about + self._turn(jnp.where(bounded, middle - jnp.where(bounded, self.about, 0.0), 0.0))
        endless = jnp.any((rotation_matrix(self.rotation) != 0) & ~bounded, axis=1)
        return jnp.where(endless, jnp.inf, place)


class Repeated(Shape):
    """A shape together with its images along periodic axes: see `Shape.repeated`."""

    shape: Shape
    periods: Periods = eqx.field(static=True)

    def distance(self, points: Sequence[Array]) -> Array:
        return self._nearest(points, self.periods)[0]

    def unwrapped(self, points: Sequence[Array]) -> list[Array]:
        """The points, moved by whole periods, as the nearest image's own shape has them."""
        return self._nearest(points, self.periods)[1]

    def _nearest(self, points: Sequence[Array], periods: Periods) -> tuple[Array, list[Array]]:
        if len(self.periods) != len(points):
            raise InputError(
                f"repeated: periods has {len(self.periods)} entries; one for each of {len(points)} axes is accepted."
            )
        return self.shape._nearest(points, self._all(periods))

    def _fractions(self, grid: Grid, normal: int | None, periodic: bool, periods: Periods) -> Array:
        return self.shape._fractions(grid, normal, periodic, self._all(periods))

    def _middle(self) -> Array:
        return self.shape._middle()

    def _all(self, periods: Periods) -> Periods:
        return tuple(own or other for own, other in zip(self.periods, periods, strict=True))


class Measured(Shape):
    """A shape whose places and distances are measured in another unit than its own numbers: divided by it.

    Args:
        shape: The shape.
        unit: The unit, a power of two, so that no bit of a number changes.
    """

    shape: Shape
    unit: float = eqx.field(static=True)

    def distance(self, points: Sequence[Array]) -> Array:
        return self.shape.distance([point * self.unit for point in points]) / self.unit

    def _nearest(self, points: Sequence[Array], periods: Periods) -> tuple[Array, list[Array]]:
        distance, near = self.shape._nearest([point * self.unit for point in points], self._own(periods))
        return distance / self.unit, [point / self.unit for point in near]

    def _fractions(self, grid: Grid, normal: int | None, periodic: bool, periods: Periods) -> Array:
        return self.shape._fractions(grid.measured(1 / self.unit), normal, periodic, self._own(periods))

    def _middle(self) -> Array:
        return self.shape._middle() / self.unit

    def _own(self, periods: Periods) -> Periods:
        return tuple(None if period is None else period * self.unit for period in periods)


def rotation_matrix(rotation: Any) -> Array:
    r"""The matrix of a rotation: of an angle in 2D, of a rotation vector in 3D; a matrix is returned as it is.

    For a vector $w$ of length $\theta$ with the cross-product matrix $K$ it is
    $I + \frac{\sin\theta}{\theta} K + \frac{1 - \cos\theta}{\theta^2} K^2$ (Rodrigues 1840), smooth at zero.
    """
    rotation = as_number(rotation, "rotation_matrix: rotation")
    if rotation.shape not in ((), (3,), (2, 2), (3, 3)):
        raise InputError(
            f"rotation_matrix: rotation has shape {rotation.shape}; an angle, a vector of 3 or a matrix is accepted."
        )
    if rotation.ndim == 2:
        return rotation
    if rotation.ndim == 0:
        cosine, sine = jnp.cos(rotation), jnp.sin(rotation)
        return jnp.stack([jnp.stack([cosine, -sine]), jnp.stack([sine, cosine])])
    square = jnp.sum(rotation**2)
    small = square < 1e-6  # where the quotients are replaced by their series, exact to round-off there
    angle = jnp.sqrt(jnp.where(small, 1.0, square))
    first = jnp.where(small, 1 - square / 6 + square**2 / 120, jnp.sin(angle) / angle)
    second = jnp.where(small, 0.5 - square / 24 + square**2 / 720, 2 * (jnp.sin(angle / 2) / angle) ** 2)
    x, y, z = rotation
    zero = jnp.zeros_like(x)
    cross = jnp.stack([jnp.stack([zero, -z, y]), jnp.stack([z, zero, -x]), jnp.stack([-y, x, zero])])
    return jnp.eye(3, dtype=rotation.dtype) + first * cross + second * jnp.matmul(cross, cross, precision="highest")


def is_traced(shape: Shape) -> bool:
    """True where a number of the shape is being traced, so that its cells are not known before the program runs."""
    return any(concrete(leaf) is None for leaf in jax.tree.leaves(shape))


def _in_parts(shape: Shape) -> Shape:
    """The same shape; where it is a moved or turned composition, the composition of its moved or turned pieces."""
    if not isinstance(shape, (Rotated, Translated)):
        return shape

    def alike(piece: Shape) -> Shape:
        return eqx.tree_at(lambda moved: moved.shape, shape, piece)

    match _in_parts(shape.shape):
        case (Union(first, second) | Intersection(first, second)) as whole:
            return type(whole)(alike(first), alike(second))
        case Complement(whole):
            return Complement(alike(whole))
    return shape


def _overlap(below: Array, above: Array, lower: Array, upper: Array, touching: float) -> Array:
    """The length that a cell and a body's interval have in common. Where their ends meet to round-off, the derivative
    is that of a body which is a little larger.
    """
    common = jnp.where(upper >= above - touching, above, upper) - jnp.where(lower <= below + touching, below, lower)
    length = jnp.maximum(common, 0.0)
    return jnp.where(common >= -touching, common + jax.lax.stop_gradient(length - common), 0.0)


def _periods(grid: Grid, periodic: bool | Sequence[bool]) -> Periods:
    """For each axis its period, or None."""
    wraps: Any = (periodic,) * grid.dimensions if isinstance(periodic, (bool, np.bool_)) else periodic
    if not isinstance(wraps, (tuple, list)) or not all(isinstance(one, (bool, np.bool_)) for one in wraps):
        raise InputError(f"periodic is {shown(periodic)}; True, False, or one of them for each axis is accepted.")
    if len(wraps) != grid.dimensions:
        raise InputError(
            f"periodic has {len(wraps)} entries; True, False, or one of them for each of {grid.dimensions} axes is "
            "accepted."
        )
    return tuple(length if one else None for length, one in zip(grid.size, wraps, strict=True))


def _whole_periods(point: Array, middle: Array, period: float | None) -> Array | float:
    """By how many periods, as a length, a point is away from the image of `middle` that is its own."""
    if period is None:
        return 0.0
    away = jax.lax.stop_gradient(jnp.round((point - middle) / period))
    return jnp.where(jnp.isfinite(middle), period * away, 0.0)


def _near(points: Sequence[Array], middle: Array, periods: Periods) -> list[Array]:
    """The points, moved by whole periods to at most half of one from the middle."""
    middle = jnp.broadcast_to(middle, (len(points),))
    return [p - _whole_periods(p, middle[axis], periods[axis]) for axis, p in enumerate(points)]


def _moved(points: Sequence[Array], by: Sequence[Any]) -> list[Array]:
    return [point - shift for point, shift in zip(points, by, strict=True)]


def _nearest_of(shape: Shape, places: Sequence[list[Array]]) -> tuple[Array, list[Array]]:
    """The smallest distance of a point seen in several places, and the place of it; the first of equal ones."""
    near, distance = places[0], shape.distance(places[0])
    for place in places[1:]:
        other = shape.distance(place)
        near = [jnp.where(other < distance, *both) for both in zip(place, near, strict=True)]
        distance = jnp.minimum(distance, other)
    return distance, near


def _norm(parts: Sequence[Array]) -> Array:
    square = sum((part**2 for part in parts[1:]), parts[0] ** 2)
    positive = square > 0  # the derivative of sqrt at 0 is infinite; the distance's own is taken as 0 there
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1.0)), 0.0)


def _check_shapes(owner: str, **shapes: Any) -> None:
    for name, shape in shapes.items():
        if not isinstance(shape, Shape):
            raise InputError(f"{owner}: {name} is {shown(shape)}; a shape is accepted.")


def _check_axes(owner: str, name: str, numbers: Array, points: Sequence[Array]) -> None:
    if not isinstance(points, Sequence) or not all(isinstance(line, (Array, np.ndarray, float)) for line in points):
        raise InputError(f"{owner}: points is {shown(points)}; an array of coordinates for each axis is accepted.")
    if numbers.ndim != 1 or numbers.shape[0] != len(points):
        raise InputError(
            f"{owner}: {name} has shape {numbers.shape}; one number for each of {len(points)} axes is accepted."
        )
