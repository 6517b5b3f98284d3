"""Shapes as signed distances: negative inside, zero on the surface, positive outside.

Shapes combine with `|` (union), `&` (intersection) and `~` (complement); `translated` and `rotated` move them. Their
numbers are traced leaves.
"""

import abc
import functools
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

    def coverage(self, grid: Grid) -> Array:
        """For each cell about which fraction of it lies inside: one within, zero outside, and linear in the distance of
        the cell's center over one mean width at the surface. Differentiable in the shape's numbers, and cheap; see
        `volume_fractions` for the true fraction.
        """
        check_grid("coverage", grid)
        if all(grid.uniform):
            spacing = float(np.mean(grid.spacing))
        else:
            widths = [grid.along(axis, grid.widths(axis)) for axis in range(grid.dimensions)]
            spacing = jnp.asarray(functools.reduce(np.add, widths) / grid.dimensions)
        return jnp.clip(0.5 - self.distance(grid.centers()) / spacing, 0.0, 1.0)

    def volume_fractions(self, grid: Grid) -> Array:
        r"""For each cell the fraction of its volume (area in 2D, length in 1D) that lies inside of the shape.

        The signed distance is taken at the corners, the middles of edges and faces, and the center of each cell, and
        interpolated linearly on the simplices between them; the part of a simplex where a linear function is negative
        is known in closed form. The error of the whole volume falls like $h^2$. Sets are combined before they are
        measured, so that what two shapes share counts once. Differentiable in the shape's numbers.

        Returns:
            Array of shape `grid.cells`, between 0 and 1.
        """
        check_grid("volume_fractions", grid)
        return self._fractions(grid, None, False)

    def apertures(self, grid: Grid, axis: int, periodic: bool = False) -> Array:
        """For each face normal to `axis` the *open* fraction of its area (length in 2D): what the shape leaves free.

        From the signed distance at the face's corners, the middles of its edges and its center, as `volume_fractions`;
        faces agree where they meet. In 1D a face is a point, open (1) or closed (0). A face that lies in the surface is
        closed. Differentiable in the shape's numbers.

        Args:
            grid: The grid.
            axis: The axis that the faces are normal to.
            periodic: Whether the axis is periodic: n faces instead of n + 1.

        Returns:
            Array with an entry for each face, between 0 and 1.
        """
        check_grid("apertures", grid)
        if as_whole(axis, 0) not in range(grid.dimensions):
            raise InputError(f"apertures: axis is {shown(axis)}; 0 to {grid.dimensions - 1} are accepted.")
        return 1 - self._fractions(grid, axis, periodic)

    def _fractions(self, grid: Grid, normal: int | None, periodic: bool) -> Array:
        """The fraction inside, of cells or of the faces normal to an axis."""
        return inside_fractions(self.distance, grid, normal, periodic)

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
    """All points within `radius` of `center`: an interval in 1D, a disk in 2D, a ball in 3D."""

    center: Array = eqx.field(converter=number("Sphere: center"))
    radius: Array = eqx.field(converter=number("Sphere: radius"))

    def __check_init__(self):
        check_number("Sphere", "center", self.center, scalar=False)
        check_number("Sphere", "radius", self.radius, above=0.0)

    def distance(self, points: Sequence[Array]) -> Array:
        _check_axes("Sphere", "center", self.center, points)
        return _norm([point - self.center[axis] for axis, point in enumerate(points)]) - self.radius


class Box(Shape):
    """All points between the corners `lower` and `upper`; a corner may be infinite along an axis."""

    lower: Array = eqx.field(converter=number("Box: lower"))
    upper: Array = eqx.field(converter=number("Box: upper"))

    def __check_init__(self):
        if np.ndim(self.lower) != 1 or np.shape(self.lower) != np.shape(self.upper):
            raise InputError(
                f"Box: lower and upper have shapes {np.shape(self.lower)} and {np.shape(self.upper)}; two corners "
                f"with one number for "
                "each axis are accepted."
            )
        check_number(
            "Box", "upper - lower", jnp.nan_to_num(self.upper - self.lower, posinf=1.0), above=0.0, scalar=False
        )

    def distance(self, points: Sequence[Array]) -> Array:
        _check_axes("Box", "lower", self.lower, points)
        beyond = [jnp.maximum(self.lower[a] - point, point - self.upper[a]) for a, point in enumerate(points)]
        deepest = beyond[0]
        for other in beyond[1:]:
            deepest = jnp.maximum(deepest, other)
        return _norm([jnp.maximum(distance, 0) for distance in beyond]) + jnp.minimum(deepest, 0)

    def _fractions(self, grid: Grid, normal: int | None, periodic: bool) -> Array:
        """Exact: the product over the axes of what the box covers of each interval."""
        _check_axes("Box", "lower", self.lower, grid.centers())
        product = jnp.ones(())
        for axis, edges in enumerate(grid.edges):
            lower, upper = self.lower[axis], self.upper[axis]
            if axis == normal:
                face = jnp.asarray(edges[: grid.cells[axis] + (not periodic)], lower.dtype)
                touching = 4 * jnp.finfo(lower.dtype).eps * float(np.max(np.abs(edges)))
                covered = ((face >= lower - touching) & (face <= upper + touching)).astype(lower.dtype)
            else:
                below, above = jnp.asarray(edges[:-1], lower.dtype), jnp.asarray(edges[1:], lower.dtype)
                overlap = jnp.minimum(above, upper) - jnp.maximum(below, lower)
                covered = jnp.maximum(overlap, 0.0) / (above - below)
            product = product * grid.along(axis, covered)
        return product


class Union(Shape):
    """Points of either shape."""

    first: Shape
    second: Shape

    def __check_init__(self):
        _check_shapes("Union", first=self.first, second=self.second)

    def distance(self, points: Sequence[Array]) -> Array:
        return jnp.minimum(self.first.distance(points), self.second.distance(points))


class Intersection(Shape):
    """Points of both shapes."""

    first: Shape
    second: Shape

    def __check_init__(self):
        _check_shapes("Intersection", first=self.first, second=self.second)

    def distance(self, points: Sequence[Array]) -> Array:
        return jnp.maximum(self.first.distance(points), self.second.distance(points))


class Complement(Shape):
    """Points outside of a shape."""

    shape: Shape

    def __check_init__(self):
        _check_shapes("Complement", shape=self.shape)

    def distance(self, points: Sequence[Array]) -> Array:
        return -self.shape.distance(points)

    def _fractions(self, grid: Grid, normal: int | None, periodic: bool) -> Array:
        return 1 - self.shape._fractions(grid, normal, periodic)


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
        if known is not None and known.dtype != object and known.ndim == 2:
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
