"""Shapes as signed distances: negative inside, zero on the surface, positive outside.

Shapes combine with `|` (union), `&` (intersection) and `~` (complement). Their numbers are traced leaves.
"""

import abc
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffphys.errors import InputError
from diffphys.grids.grid import Grid
from diffphys.grids.numbers import check_number, concrete, number


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
        the cell's center over one spacing at the surface. Differentiable in the shape's numbers.
        """
        spacing = float(np.mean(grid.spacing))
        return jnp.clip(0.5 - self.distance(grid.centers()) / spacing, 0.0, 1.0)

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


class Union(Shape):
    """Points of either shape."""

    first: Shape
    second: Shape

    def distance(self, points: Sequence[Array]) -> Array:
        return jnp.minimum(self.first.distance(points), self.second.distance(points))


class Intersection(Shape):
    """Points of both shapes."""

    first: Shape
    second: Shape

    def distance(self, points: Sequence[Array]) -> Array:
        return jnp.maximum(self.first.distance(points), self.second.distance(points))


class Complement(Shape):
    """Points outside of a shape."""

    shape: Shape

    def distance(self, points: Sequence[Array]) -> Array:
        return -self.shape.distance(points)


def is_traced(shape: Shape) -> bool:
    """True where a number of the shape is being traced, so that its cells are not known before the program runs."""
    return any(concrete(leaf) is None for leaf in jax.tree.leaves(shape))


def _norm(parts: Sequence[Array]) -> Array:
    square = sum((part**2 for part in parts[1:]), parts[0] ** 2)
    positive = square > 0  # the derivative of sqrt at 0 is infinite; the distance's own is taken as 0 there
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1.0)), 0.0)


def _check_axes(owner: str, name: str, numbers: Array, points: Sequence[Array]) -> None:
    if numbers.ndim != 1 or numbers.shape[0] != len(points):
        raise InputError(
            f"{owner}: {name} has shape {numbers.shape}; one number for each of {len(points)} axes is accepted."
        )
