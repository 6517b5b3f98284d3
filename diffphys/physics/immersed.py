r"""Obstacles whose surface cuts through cells: how a shape, its place and its motion enter a flow.

Everything is found from the signed distance $d$ of the surface, positive in the fluid, which is taken as linear
within a cell. A face has the open fraction $\kappa$; through the rest goes the velocity $v_b$ of the body. The
projection removes the divergence of $\kappa v + (1 - \kappa) v_b$ (Ng, Min, Gibou 2009; apertures as in Kirkpatrick,
Armfield, Kent 2003 and Cheny, Botella 2010), and convection is carried by that same velocity, which keeps it
skew-symmetric.

The velocity on a cut face is that in the middle of its open part. Beside the surface $v = v_b + d\, g$ with a smooth
$g$, the derivative along the normal. The viscous flux through a face $k$ of a control volume that is cut, or whose
neighbor is, follows from that product,

$$\partial v = \partial v_b + \partial d \; \frac{g_1 + g_2}{2} + d_k \, \partial g,$$

and what the control volume gives to the surface is $\nu g$ times the surface's area, which closes it. So a shear flow
along a plane of any inclination is kept exactly, and the truncation error is of order one in a layer of one cell at
the surface.

Two floors keep the step explicit: a cut control volume has at least half the mass of a full one, which changes nothing
in a steady flow, and $d$ in $g = (v - v_b) / d$ is at least a fifth of a cell, with $\kappa$ reduced by the same
factor, so that what flows through a face still belongs to $g$.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffphys.errors import InputError
from diffphys.grids import Field, Grid, Shape
from diffphys.grids.numbers import check_number, number
from diffphys.operators.differences import slice_axis
from diffphys.operators.fourth_order import spans


LEAST_OPENING = 1e-2  # of a face; what is less open counts as closed
LEAST_DISTANCE = 0.2  # in cells
LEAST_MASS = 0.5  # of a full control volume


class Immersed(eqx.Module):
    """A body in the flow, of any position: its numbers are traced, and the flow has gradients with respect to them.

    Args:
        shape: The region it fills now. It must not cross a periodic side.
        velocity: The velocity of its pivot: one number for all axes or one for each.
        rotation_rate: The rate of its rotation about the pivot, counterclockwise in 2D, in radians per time; in 3D a
            vector.
        pivot: The point about which it rotates. Default: the origin.
    """

    shape: Shape
    velocity: Array = eqx.field(converter=number("Immersed: velocity"), default=0.0)
    rotation_rate: Array = eqx.field(converter=number("Immersed: rotation_rate"), default=0.0)
    pivot: Array = eqx.field(converter=number("Immersed: pivot"), default=0.0)

    def __check_init__(self):
        if not isinstance(self.shape, Shape):
            raise InputError(f"Immersed: shape is {self.shape!r}; a shape is accepted.")
        for name in ("velocity", "rotation_rate", "pivot"):
            check_number("Immersed", name, getattr(self, name), scalar=False)

    def velocity_at(self, points: Sequence[Array], axis: int) -> Array:
        """One component of the rigid motion `velocity + rotation_rate x (x - pivot)` at some points."""
        dimensions = len(points)
        arm = [point - _entry(self.pivot, a) for a, point in enumerate(points)]
        linear = _entry(self.velocity, axis)
        if dimensions == 1:
            return linear + 0 * arm[0]
        if dimensions == 2:
            rate = _entry(self.rotation_rate, 0)
            return linear + (-rate * arm[1] if axis == 0 else rate * arm[0])
        following, last = (axis + 1) % 3, (axis + 2) % 3
        rate = self.rotation_rate
        rates = [rate, rate, rate] if rate.ndim == 0 else [rate[a] for a in range(3)]
        return linear + rates[following] * arm[last] - rates[last] * arm[following]


class Apertures(NamedTuple):
    """The geometry of a body for one velocity component.

    Attributes:
        active: Which faces carry an unknown; the others have the body's velocity.
        open: The fraction $\\kappa$ of each face that fluid can cross, 0 where not active.
        mass: The mass of each control volume, in full ones.
        body: The body's velocity, where active in the middle of the open part.
        crossing: What crosses a face beside `open` times the fluid's velocity, because the body moves.
        turning: The closed part's share of convection: the body's velocity is carried by itself there.
        distance: What g is measured by.
        modified, sections, section_distances, slopes, body_slopes, both: For each axis, at the faces of the control
            volumes normal to it, one more than unknowns: where the flux is that of the product; the open fraction; the
            distance in the middle of the open part; the derivative of the distance and of the body's velocity; whether
            both neighbors are active.
        normal: The gradient of the distance at the faces.
        surface: The area of the surface in each control volume, over its volume.
        body_flux: The flux of the body's own velocity through that surface, over the volume.
    """

    active: Array
    open: Array
    mass: Array
    body: Array
    crossing: Array
    turning: Array
    distance: Array
    modified: tuple[Array, ...]
    sections: tuple[Array, ...]
    section_distances: tuple[Array, ...]
    slopes: tuple[Array, ...]
    body_slopes: tuple[Array, ...]
    both: tuple[Array, ...]
    normal: tuple[Array, ...]
    surface: Array
    body_flux: Array


def apertures(body: Immersed, field: Field, axis: int) -> Apertures:
    """The geometry of a body for the velocity component on the faces normal to `axis`."""
    grid, dtype = field.grid, field.values.dtype
    lines, lengths = [], []
    for a in range(grid.dimensions):
        extended = _extended(grid, a, field.offset[a], field.periodic[a])
        lines.append(extended)
        lengths.append(_padded_spans(grid, a, field.offset[a], field.periodic[a]))

    def at(places: Sequence[np.ndarray]) -> Array:
        return body.shape.distance([_shaped(grid, a, jnp.asarray(line, dtype)) for a, line in enumerate(places)])

    def patch(places: list[np.ndarray], normal: int) -> tuple[Array, Array, dict[int, Array]]:
        """Open fraction, mean distance of the open part and where its middle is, in units of the patch's length along
        each axis, for patches normal to an axis around these places.
        """
        tangential = [a for a in range(grid.dimensions) if a != normal]
        middle, changes = at(places), []
        for a in tangential:
            half = lengths[a][1:-1] / 2
            above = [line + half if other == a else line for other, line in enumerate(places)]
            below = [line - half if other == a else line for other, line in enumerate(places)]
            changes.append(at(above) - at(below))
        fraction, distance, shifts = _open_part(middle, changes, _smallest(grid))
        return fraction, distance, dict(zip(tangential, shifts, strict=True))

    inner = [line[1:-1] for line in lines]
    shape = field.shape
    opening, middle, shifts = patch(inner, axis)
    opening = jnp.broadcast_to(opening, shape)
    active = opening > LEAST_OPENING
    # Of the smallest cell's width; on stretched grids the obstacle should stand where the cells are smallest.
    floor = LEAST_DISTANCE * _local(grid, field)
    distance = jnp.maximum(jnp.where(active, middle, 1.0), floor)
    fraction = jnp.where(active, opening * jnp.minimum(jnp.where(active, middle, 1.0) / distance, 1.0), 0.0)
    # The body's velocity in the middle of the open part and of the closed part.
    points = [_shaped(grid, a, jnp.asarray(line, dtype)) for a, line in enumerate(inner)]
    extents = [_shaped(grid, a, jnp.asarray(lengths[a][1:-1], dtype)) for a in range(grid.dimensions)]
    to_open = [shifts[a] * extents[a] if a in shifts else jnp.zeros(()) for a in range(grid.dimensions)]
    closed = 1 - opening
    ratio = jnp.where(closed > 1e-6, -opening / jnp.where(closed > 1e-6, closed, 1.0), 0.0)
    center = jnp.broadcast_to(body.velocity_at(points, axis), shape)
    in_open = body.velocity_at([point + shift for point, shift in zip(points, to_open, strict=True)], axis)
    in_closed = body.velocity_at([point + ratio * shift for point, shift in zip(points, to_open, strict=True)], axis)
    velocity = jnp.where(active, in_open, center)
    crossing = jnp.where(active, (opening - fraction) * in_open + closed * in_closed, center)
    _, turning = jax.jvp(
        lambda *points: jnp.broadcast_to(body.velocity_at(points, axis), shape),
        tuple(jnp.broadcast_to(point, shape) for point in points),
        tuple(jnp.broadcast_to(body.velocity_at(points, a), shape) for a in range(grid.dimensions)),
    )
    modified, sections, section_distances, slopes, body_slopes, both, normals = [], [], [], [], [], [], []
    surface, body_flux = jnp.zeros(shape, dtype), jnp.zeros(shape, dtype)
    full = opening >= 1.0
    for b in range(grid.dimensions):
        line = lines[b]
        between = (line[1:] + line[:-1]) / 2 if field.offset[b] == 0.0 else grid.edges[b]
        places = [between if a == b else inner[a] for a in range(grid.dimensions)]
        section, section_distance, _ = patch(places, b)
        larger = tuple(count + 1 if a == b else count for a, count in enumerate(shape))
        section = jnp.broadcast_to(section, larger)
        gaps = _shaped(grid, b, jnp.asarray(np.diff(line), dtype))
        whole = at([line if a == b else inner[a] for a in range(grid.dimensions)])
        slope = (slice_axis(whole, b, 1, len(line)) - slice_axis(whole, b, 0, len(line) - 1)) / gaps
        body_at = body.velocity_at(
            [_shaped(grid, a, jnp.asarray(line if a == b else inner[a], dtype)) for a in range(grid.dimensions)], axis
        )
        body_at = jnp.broadcast_to(body_at, tuple(count + 2 if a == b else count for a, count in enumerate(shape)))
        body_slope = (slice_axis(body_at, b, 1, len(line)) - slice_axis(body_at, b, 0, len(line) - 1)) / gaps
        below, above = _beside(active, b, field.periodic[b])
        full_below, full_above = _beside(full, b, field.periodic[b])
        modified.append((section < 1.0) | ~full_below | ~full_above)
        sections.append(section)
        section_distances.append(jnp.broadcast_to(section_distance, larger))
        slopes.append(jnp.broadcast_to(slope, larger))
        body_slopes.append(body_slope)
        both.append(below & above)
        span = _shaped(grid, b, jnp.asarray(lengths[b][1:-1], dtype))
        half = [line_ + (lengths[b][1:-1] / 2 if a == b else 0) for a, line_ in enumerate(inner)]
        other = [line_ - (lengths[b][1:-1] / 2 if a == b else 0) for a, line_ in enumerate(inner)]
        normal = (at(half) - at(other)) / span
        normals.append(jnp.broadcast_to(normal, shape))
        growth = (slice_axis(section, b, 1, larger[b]) - slice_axis(section, b, 0, larger[b] - 1)) / span
        surface = surface + growth * normal
        mean_slope = (slice_axis(body_slope, b, 1, larger[b]) + slice_axis(body_slope, b, 0, larger[b] - 1)) / 2
        body_flux = body_flux + growth * mean_slope
    return Apertures(
        active,
        fraction,
        jnp.where(active, jnp.maximum(opening, LEAST_MASS), 1.0),
        velocity,
        crossing,
        jnp.where(active, closed * turning, 0.0),
        distance,
        tuple(modified),
        tuple(sections),
        tuple(section_distances),
        tuple(slopes),
        tuple(body_slopes),
        tuple(both),
        tuple(normals),
        surface,
        body_flux,
    )


class ViscousRates(NamedTuple):
    """The Laplacian beside a body: what each control volume gains, and what of it the surface within it gives."""

    gain: Array
    from_surface: Array


def immersed_laplacian(field: Field, geometry: Apertures) -> ViscousRates:
    """The Laplacian of a velocity component beside a body, per volume of a full control volume."""
    grid, dtype = field.grid, field.values.dtype
    growth = jnp.where(geometry.active, (field.values - geometry.body) / geometry.distance, 0.0)  # g
    total = jnp.zeros_like(field.values)
    for b in range(grid.dimensions):
        padded = field.padded([(1, 1) if a == b else (0, 0) for a in range(grid.dimensions)])
        line = _extended(grid, b, field.offset[b], field.periodic[b])
        gaps = _shaped(grid, b, jnp.asarray(np.diff(line), dtype))
        count = padded.shape[b]
        plain = (slice_axis(padded, b, 1, count) - slice_axis(padded, b, 0, count - 1)) / gaps
        below, above = _beside(growth, b, field.periodic[b])
        mean = jnp.where(geometry.both[b], (below + above) / 2, below + above)  # the other one is zero
        change = jnp.where(geometry.both[b], (above - below) / gaps, 0.0)
        product = geometry.body_slopes[b] + geometry.slopes[b] * mean + geometry.section_distances[b] * change
        flux = jnp.where(geometry.modified[b], geometry.sections[b] * product, plain)
        span = _shaped(grid, b, jnp.asarray(_padded_spans(grid, b, field.offset[b], field.periodic[b])[1:-1], dtype))
        total = total + (slice_axis(flux, b, 1, count - 1) - slice_axis(flux, b, 0, count - 2)) / span
    wall = jnp.where(geometry.active, geometry.surface * growth, 0.0)
    return ViscousRates(total - wall - jnp.where(geometry.active, geometry.body_flux, 0.0), -wall)


def _open_part(middle: Array, changes: Sequence[Array], unit: float) -> tuple[Array, Array, list[Array]]:
    """The fraction of a patch where a linear function is positive, its mean there, and the middle of that part along
    each axis in units of the patch.

    The function has the value `middle` in the middle and changes by `changes` from side to side.
    """
    if not changes:
        return jnp.where(middle > 0, 1.0, 0.0), jnp.maximum(middle, 0.0), []
    if len(changes) == 1:
        parts = [(1.0, 0.0, *_open_segment(middle, changes[0], unit))]
    else:
        nodes, weights = np.polynomial.legendre.leggauss(4)
        parts = [
            (weight / 2, node / 2, *_open_segment(middle + changes[1] * node / 2, changes[0], unit))
            for node, weight in zip(nodes, weights, strict=True)
        ]
    fraction = jnp.asarray(sum(weight * opening for weight, _, opening, _, _ in parts))
    some = fraction > 1e-6
    safe = jnp.where(some, fraction, 1.0)

    def mean(total: Any) -> Array:
        return jnp.where(some, total / safe, 0.0)

    distance = mean(sum(weight * integral for weight, _, _, integral, _ in parts))
    shifts = [mean(sum(weight * opening * shift for weight, _, opening, _, shift in parts))]
    if len(changes) == 2:
        shifts.append(mean(sum(weight * opening * place for weight, place, opening, _, _ in parts)))
    return fraction, distance, shifts


def _open_segment(middle: Array, change: Array, unit: float) -> tuple[Array, Array, Array]:
    """Of a segment the fraction where a linear function is positive, the integral of the function over it, and where
    its middle is.
    """
    width = jnp.maximum(jnp.abs(change), 1e-6 * unit)
    largest = middle + width / 2
    cut = (largest > 0) & (middle < width / 2)
    fraction = jnp.where(cut, largest / width, jnp.where(middle > 0, 1.0, 0.0))
    integral = jnp.where(cut, largest**2 / (2 * width), jnp.maximum(middle, 0.0))
    return fraction, integral, jnp.sign(change) * (1 - fraction) / 2


def _beside(values: Array, axis: int, periodic: bool) -> tuple[Array, Array]:
    """At the faces of the control volumes the values of the two neighbors; beyond an end stands the last one."""
    count = values.shape[axis]
    first, last = slice_axis(values, axis, 0, 1), slice_axis(values, axis, count - 1, count)
    before, behind = (last, first) if periodic else (first, last)
    return jnp.concatenate([before, values], axis), jnp.concatenate([values, behind], axis)


def _extended(grid: Grid, axis: int, offset: float, periodic: bool) -> np.ndarray:
    """The coordinates of the points along an axis, with one ghost point at each end."""
    edges = grid.edges[axis]
    line = (edges[1:] + edges[:-1]) / 2 if offset == 0.5 else (edges[:-1] if periodic else edges)
    length = edges[-1] - edges[0]
    if periodic:
        return np.concatenate([[line[-1] - length], line, [line[0] + length]])
    if offset == 0.5:
        return np.concatenate([[2 * edges[0] - line[0]], line, [2 * edges[-1] - line[-1]]])
    return np.concatenate([[2 * line[0] - line[1]], line, [2 * line[-1] - line[-2]]])


def _padded_spans(grid: Grid, axis: int, offset: float, periodic: bool) -> np.ndarray:
    return np.pad(spans(grid, axis, offset, periodic, 2), 1, mode="edge")


def _smallest(grid: Grid) -> float:
    return float(min(grid.widths(axis).min() for axis in range(grid.dimensions)))


def _local(grid: Grid, field: Field) -> Array:
    """At each point the smallest length of its control volume."""
    smallest: Any = np.inf
    for a in range(grid.dimensions):
        line = spans(grid, a, field.offset[a], field.periodic[a], 2)
        smallest = np.minimum(smallest, line.reshape([-1 if other == a else 1 for other in range(grid.dimensions)]))
    return jnp.asarray(np.broadcast_to(smallest, field.shape), field.values.dtype)


def _shaped(grid: Grid, axis: int, line: Array) -> Array:
    return line.reshape([-1 if other == axis else 1 for other in range(grid.dimensions)])


def _entry(value: Array, index: int) -> Array:
    return value if value.ndim == 0 else value[index]
