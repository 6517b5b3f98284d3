r"""Ten shapes of equal area that turn into each other without changing it.

A star-shaped region around a center $c$ of area $A$ is

$$|x - c|^2 < \frac{A}{\pi}\, g(\theta), \qquad \frac{1}{2 \pi} \int_0^{2 \pi} g \, d\theta = 1,$$

and since its area does not depend on $g$, a mixture of two outlines $g$ is a third shape between them of the same area.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike


ANGLES = np.linspace(0.0, 2 * np.pi, 720, endpoint=False)


def _polygon(corners: Sequence[tuple[float | int, float | int]]) -> np.ndarray:
    """The outline of a polygon that its center sees all of, corners counterclockwise."""
    first = np.array(corners)
    second = np.roll(first, -1, axis=0)
    along = second - first
    ray = np.stack([np.cos(ANGLES), np.sin(ANGLES)], 1)

    def cross(one: np.ndarray, two: np.ndarray) -> np.ndarray:
        return one[..., 0] * two[..., 1] - one[..., 1] * two[..., 0]

    # Each ray leaves through the one side that lies between its ends.
    inside = (cross(first, ray[:, None]) >= 0) & (cross(ray[:, None], second) > 0)
    side = np.argmax(inside, axis=1)
    return _normalized(cross(first, along)[side] / cross(ray, along[side]))


def _normalized(radius: np.ndarray) -> np.ndarray:
    return radius**2 / np.mean(radius**2)


def _star(points: int, inner: float) -> list[tuple[float, float]]:
    angles = np.pi / 2 + np.pi * np.arange(2 * points) / points
    radii = np.where(np.arange(2 * points) % 2, inner, 1.0)
    return [(float(r * np.cos(a)), float(r * np.sin(a))) for r, a in zip(radii, angles, strict=True)]


_PLUS = [(1, -3), (1, -1), (3, -1), (3, 1), (1, 1), (1, 3), (-1, 3), (-1, 1), (-3, 1), (-3, -1), (-1, -1), (-1, -3)]

OUTLINES = np.stack(
    [
        np.ones_like(ANGLES),  # a disk
        _normalized(1 / np.sqrt((np.cos(ANGLES) / 2) ** 2 + np.sin(ANGLES) ** 2)),  # an ellipse
        _normalized(1 + 0.35 * np.cos(3 * ANGLES)),  # a clover
        _polygon([(-1, -1), (1, -1), (1, 1), (-1, 1)]),  # a square
        _polygon([(-1, -2), (1, -2), (1, 2), (-1, 2)]),  # an upright rectangle
        _polygon([(0, -1), (1, 0), (0, 1), (-1, 0)]),  # a diamond
        _polygon([(-1.2, -0.7), (1.2, -0.7), (0, 1.3)]),  # a triangle
        _polygon(_PLUS),  # a plus
        _polygon(_star(5, 0.5)),  # a star
        _polygon([(-1, -1.2), (1, -1.2), (1, 0.2), (0, 1.3), (-1, 0.2)]),  # a house
    ]
)
"""g at the `ANGLES`, a row for each shape."""


def star_shape(points: Sequence[ArrayLike], center: Array, outline: Array, area: float) -> Array:
    """1 within a shape and 0 outside.

    Args:
        points: The coordinates x and y.
        center: Of the shape.
        outline: g, a row of `OUTLINES` or a mixture of rows.
        area: A, in the coordinates' units.
    """
    x, y = (jnp.asarray(one) - center[axis] for axis, one in enumerate(points))
    angle = jnp.arctan2(y, x)
    g = jnp.interp(angle, jnp.asarray(ANGLES), outline, period=2 * np.pi)
    return jnp.where(x**2 + y**2 < area / np.pi * g, 1.0, 0.0)
