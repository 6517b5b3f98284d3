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
the surface, which leaves an error of second order in the velocity.

A small control volume that rubs against the surface would ask for small explicit steps. Its mass is taken as larger
than it is, in momentum and projection alike: it follows the flow a little later, by less than a step's diffusion over
one cell, and a steady flow does not notice.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike, DTypeLike

from diffphys.grids import Declared, Field, Repeated, Shape, choice, quantity, within
from diffphys.grids.axes import at_axis, slice_axis
from diffphys.grids.declared import Refusals, wrong_shape
from diffphys.grids.ends import places_beyond, values_beside
from diffphys.grids.numbers import concrete
from diffphys.grids.shapes import Periods, growing, is_traced
from diffphys.grids.sides import periods
from diffphys.operators.fourth_order import spans


LEAST_OPENING = 1e-2  # of a face; what is less open counts as closed
LEAST_DISTANCE = 1e-2  # in cells; nearer to the surface g = (v - v_b) / d would be lost in round-off
LEAST_MASS = 0.5  # of a full control volume; less would ask for smaller Courant numbers


class Immersed(Declared):
    """A body in the flow, of any position: its numbers are traced, and the flow has gradients with respect to them.

    Args:
        shape: The region it fills now. It may cross a periodic side: see `Shape.repeated`.
        velocity: The velocity of its pivot: one number for all axes or one for each.
        rotation_rate: The rate of its rotation about the pivot, counterclockwise in 2D, in radians per time; in 3D a
            vector.
        pivot: The point about which it rotates, as the shape's own numbers place it. Default: the origin.

    Raises:
        InputError: for another kind of shape, and numbers of another number of entries or that are not finite.

    Examples:
        >>> rotor = dp.Immersed(dp.Sphere((1.0, 1.0), 0.3), rotation_rate=2.0, pivot=(1.0, 1.0))
    """

    shape: Shape = eqx.field(metadata=choice(Shape, words="a shape"))
    velocity: Array = eqx.field(converter=quantity, metadata=within(scalar=False), default=0.0)
    rotation_rate: Array = eqx.field(converter=quantity, metadata=within(scalar=False), default=0.0)
    pivot: Array = eqx.field(converter=quantity, metadata=within(scalar=False), default=0.0)

    def velocity_at(self, points: Sequence[Array], axis: int) -> Array:
        """One component of the rigid motion `velocity + rotation_rate x (x - pivot)` at some points."""
        arm = self.arms(points)
        linear = entry(self.velocity, axis)
        if len(points) == 1:
            return linear + 0 * arm[0]
        if len(points) == 2:
            rate = entry(self.rotation_rate, 0)
            return linear + (-rate * arm[1] if axis == 0 else rate * arm[0])
        following, last = (axis + 1) % 3, (axis + 2) % 3
        return (
            linear + entry(self.rotation_rate, following) * arm[last] - entry(self.rotation_rate, last) * arm[following]
        )

    def arms(self, points: Sequence[Array]) -> list[Array]:
        """From the pivot to some points; where a body repeats itself, from the pivot of the nearest image."""
        if isinstance(self.shape, Repeated):
            points = self.shape.unwrapped(points)
        return [point - entry(self.pivot, axis) for axis, point in enumerate(points)]

    def repeated(self, periods: Periods) -> "Immersed":
        """The body with its images along periodic axes: see `Shape.repeated`."""
        shape = self.shape.repeated(periods)
        return self if shape is self.shape else eqx.tree_at(lambda body: body.shape, self, shape)

    def refused_by(self, flow: Any) -> Refusals:
        """What a flow refuses in it, as far as its numbers are known."""
        axes = flow.grid.dimensions
        yield axes == 1, "solid is Immersed on a grid of one axis; two or three axes are accepted."
        counts = {"velocity": (axes,), "rotation_rate": (1,) if axes == 2 else (3,), "pivot": (axes,)}
        for name, count in counts.items():
            yield from wrong_shape(f"the solid's {name}", getattr(self, name), (), count)
        if not is_traced(self.shape):
            with jax.ensure_compile_time_eval():
                images = self.shape.repeated(periods(flow.grid, flow.sides))
                yield from fills_nothing_or_all(images.contains(flow.grid.centers()))


def fills_nothing_or_all(inside: ArrayLike) -> Refusals:
    """An obstacle is refused that has no cell's center in it, or all of them."""
    cells = concrete(inside)
    if cells is not None:
        yield not cells.any(), "solid contains no cell's center; an obstacle within the domain is accepted."
        yield bool(cells.all()), "solid contains every cell's center; an obstacle that leaves fluid cells is accepted."


class Geometry(NamedTuple):
    r"""How a body cuts the control volumes of one velocity component.

    Attributes:
        active: Which faces carry an unknown; the others have the body's velocity.
        opening: The fraction of each face that lies in the fluid.
        open: The fraction $\kappa$ that fluid crosses: `opening`, less where the face is nearer than the least
            distance; 0 where not active.
        body: The body's velocity, where active in the middle of the open part.
        crossing: What crosses a face besides `open` times the fluid's velocity, because the body moves.
        turning: The closed part's share of convection: the body's velocity is carried by itself there.
        distance: The distance $d$ in the middle of the open part.
        resistance: How fast friction slows the fluid of a full control volume, over the viscosity.
        from_center, normal: The signed distance of each face's center and its gradient.
        surface: The area of the surface in each control volume, over the volume.
        body_flux: The flux of the body's own velocity through that surface, over the volume.
        links: For each axis what is known at the faces of the control volumes normal to it.
    """

    active: Array
    opening: Array
    open: Array
    body: Array
    crossing: Array
    turning: Array
    distance: Array
    resistance: Array
    from_center: Array
    normal: tuple[Array, ...]
    surface: Array
    body_flux: Array
    links: tuple["Links", ...]

    def mass(self, diffused: Array) -> Array:
        """The mass of each control volume, in full ones, with which steps of `viscosity * dt = diffused` are stable."""
        floor = jnp.maximum(diffused.astype(self.resistance.dtype) * self.resistance, LEAST_MASS)
        return jnp.where(self.active, at_least(self.opening, floor), 1.0)

    def implicit_scale(self, reach: Array) -> Array:
        """The square root of what an implicit step of `viscosity * length = reach` has on the diagonal in each control
        volume, over what it has there without the body.
        """
        plain: Any = 0.0
        for axis, link in enumerate(self.links):
            lower, upper = link.beside(axis, 0), link.beside(axis, 1)
            plain = plain + 2 / (lower.gap * upper.gap)
        cut = self.mass(0.0 * reach) + reach * self.resistance
        return jnp.where(self.active, jnp.sqrt(cut / (1 + reach * plain)), 1.0)


class Links(NamedTuple):
    """The faces of control volumes normal to one axis, one more along it than there are unknowns.

    Attributes:
        modified: Where the viscous flux is that of the product.
        section: The open fraction.
        distance: The distance in the middle of the open part.
        slope, body_slope: The derivative of the distance and of the body's velocity along the axis.
        both: Whether both neighbors are active.
        gap: The distance of the neighbors.
    """

    modified: Array
    section: Array
    distance: Array
    slope: Array
    body_slope: Array
    both: Array
    gap: Array

    def beside(self, axis: int, end: int) -> "Links":
        """For each control volume that of its faces below (0) or above (1)."""
        count = self.gap.shape[axis]
        return Links(*[slice_axis(part, axis, end, count - 1 + end) for part in self])


def geometry(body: Immersed, field: Field, axis: int) -> Geometry:
    """How a body cuts the control volumes of the velocity component on the faces normal to `axis`."""
    grid, dtype, shape = field.grid, field.values.dtype, field.shape
    axes = range(grid.dimensions)
    rulers = [_ruler(field, a) for a in axes]
    body = eqx.tree_at(lambda body: body.shape, body, growing(body.shape, _touching(rulers, dtype)))
    extents = _lines([ruler.length for ruler in rulers], dtype)
    narrowest = functools.reduce(jnp.minimum, extents)

    # The faces of the grid.
    face = _patch(body, rulers, [ruler.inner for ruler in rulers], axis, dtype, shape)
    active = face.opening > LEAST_OPENING
    middle = jnp.where(active, face.distance, 1.0)
    distance = at_least(middle, LEAST_DISTANCE * narrowest, narrowest)
    open_ = jnp.where(active, face.opening * (middle / distance), 0.0)

    # The body's velocity on them: at the center, in the middle of the open part, and of the closed part.
    points = [jnp.broadcast_to(line, shape) for line in _lines([ruler.inner for ruler in rulers], dtype)]
    closed = 1 - face.opening
    at_center = body.velocity_at(points, axis)
    in_open = body.velocity_at([point + face.shift.get(a, 0.0) for a, point in enumerate(points)], axis)
    in_closed = body.velocity_at([point + face.opposite.get(a, 0.0) for a, point in enumerate(points)], axis)
    _, turning = jax.jvp(
        lambda *points: body.velocity_at(points, axis), points, [body.velocity_at(points, a) for a in axes]
    )

    # The faces of the control volumes, and the surface that closes what they leave open.
    links = tuple(_links(body, field, axis, b, rulers, active, face.whole) for b in axes)
    normal, surface, body_flux, resistance = [], jnp.zeros(shape, dtype), jnp.zeros(shape, dtype), 0.0
    for b, link in enumerate(links):
        ends = [ruler.inner for ruler in rulers]
        ends[b] = ends[b] + rulers[b].length / 2
        beyond = body.shape.distance(_lines(ends, dtype))
        ends[b] = ends[b] - rulers[b].length
        before = body.shape.distance(_lines(ends, dtype))
        normal.append(jnp.broadcast_to((beyond - before) / extents[b], shape))
        lower, upper = link.beside(b, 0), link.beside(b, 1)
        growth = (upper.section - lower.section) / extents[b]
        surface = surface + growth * normal[b]
        body_flux = body_flux + growth * (upper.body_slope + lower.body_slope) / 2
        for end, sign in ((lower, 1.0), (upper, -1.0)):
            weight, step = jnp.where(end.both, 0.5, 1.0), jnp.where(end.both, end.distance / end.gap, 0.0)
            per_growth = jnp.where(end.modified, end.section * (step + sign * weight * end.slope), distance / end.gap)
            resistance = resistance + per_growth / extents[b]
    return Geometry(
        active=active,
        opening=face.opening,
        open=open_,
        body=jnp.where(active, in_open, at_center),
        crossing=jnp.where(active, (face.opening - open_) * in_open + closed * in_closed, at_center),
        turning=jnp.where(active, closed * turning, 0.0),
        distance=distance,
        resistance=(resistance + surface) / distance,
        from_center=jnp.broadcast_to(body.shape.distance(points), shape),
        normal=tuple(normal),
        surface=surface,
        body_flux=body_flux,
        links=links,
    )


def immersed_laplacian(field: Field, given: Geometry) -> tuple[Array, Array]:
    """What each control volume gains by viscosity, per viscosity and volume, and how much of it the surface gives."""
    grid, dtype = field.grid, field.values.dtype
    growth = jnp.where(given.active, (field.values - given.body) / given.distance, 0.0)  # g
    gain = -given.body_flux
    for axis, link in enumerate(given.links):
        padded = field.padded(at_axis(axis, (1, 1), (0, 0), grid.dimensions))
        count = padded.shape[axis]
        plain = (slice_axis(padded, axis, 1, count) - slice_axis(padded, axis, 0, count - 1)) / link.gap
        below, above = _beside(growth, axis, field.periodic[axis])
        mean = jnp.where(link.both, (below + above) / 2, below + above)  # where one is not active, it is zero
        change = jnp.where(link.both, (above - below) / link.gap, 0.0)
        product = link.body_slope + link.slope * mean + link.distance * change
        flux = jnp.where(link.modified, link.section * product, plain)
        length = _lines([_ruler(field, a).length for a in range(grid.dimensions)], dtype)[axis]
        gain = gain + (slice_axis(flux, axis, 1, count - 1) - slice_axis(flux, axis, 0, count - 2)) / length
    from_surface = -given.surface * growth
    return gain + from_surface, from_surface


class Patch(NamedTuple):
    """The open part of rectangles (segments in 2D) normal to an axis, where the signed distance is positive.

    Attributes:
        opening: Its fraction of the rectangle.
        distance: The mean distance in it.
        shift: For each tangential axis how far its middle is from that of the rectangle.
        opposite: For each tangential axis how far the middle of the closed part is.
        whole: Whether the surface is clear of the rectangle and all of it is open.
    """

    opening: Array
    distance: Array
    shift: dict[int, Array]
    opposite: dict[int, Array]
    whole: Array


class _Ruler(NamedTuple):
    """One axis of a velocity component: its points with a ghost point at each end, and control volumes' lengths."""

    line: np.ndarray
    length: np.ndarray
    between: np.ndarray  # the faces of the control volumes

    @property
    def inner(self) -> np.ndarray:
        return self.line[1:-1]


def _links(
    body: Immersed, field: Field, axis: int, along: int, rulers: list[_Ruler], active: Array, uncut: Array
) -> Links:
    dtype = field.values.dtype
    larger = tuple(count + (a == along) for a, count in enumerate(field.shape))
    places = [ruler.between if a == along else ruler.inner for a, ruler in enumerate(rulers)]
    patch = _patch(body, rulers, places, along, dtype, larger)
    gaps = [np.diff(ruler.line) if a == along else np.ones(1) for a, ruler in enumerate(rulers)]
    gap = jnp.broadcast_to(_lines(gaps, dtype)[along], larger)
    points = _lines([ruler.line if a == along else ruler.inner for a, ruler in enumerate(rulers)], dtype)

    def slope(values: Array) -> Array:
        values = jnp.broadcast_to(values, [count + 2 * (a == along) for a, count in enumerate(field.shape)])
        count = values.shape[along]
        return (slice_axis(values, along, 1, count) - slice_axis(values, along, 0, count - 1)) / gap

    below, above = _beside(active, along, field.periodic[along])
    uncut_below, uncut_above = _beside(uncut, along, field.periodic[along])
    return Links(
        modified=~patch.whole | ~uncut_below | ~uncut_above,
        section=patch.opening,
        distance=patch.distance,
        slope=slope(body.shape.distance(points)),
        body_slope=slope(body.velocity_at(points, axis)),
        both=below & above,
        gap=gap,
    )


def _patch(
    body: Immersed, rulers: list[_Ruler], places: list[np.ndarray], normal: int, dtype: DTypeLike, shape: Sequence[int]
) -> Patch:
    """The open part of the rectangles around these places, as long along each axis as the control volumes."""
    tangential = [a for a in range(len(places)) if a != normal]
    lengths = _lines([ruler.length for ruler in rulers], dtype)

    changes = []
    for a in tangential:
        ends = [places[:a] + [places[a] + sign * rulers[a].length / 2] + places[a + 1 :] for sign in (1, -1)]
        beyond, before = (body.shape.distance(_lines(end, dtype)) for end in ends)
        changes.append(jnp.broadcast_to(beyond - before, shape))
    middle = jnp.broadcast_to(body.shape.distance(_lines(places, dtype)), shape)
    least = 1e-6 * float(min(ruler.length.min() for ruler in rulers))
    opening, mean, shifts, whole, opposite = open_part(middle, changes, least, _touching(rulers, dtype))
    shift, other = (
        {a: part * lengths[a] for a, part in zip(tangential, parts, strict=True)} for parts in (shifts, opposite)
    )
    return Patch(opening, mean, shift, other, whole)


def open_part(
    middle: Array, changes: Sequence[Array], least: float, touching: float
) -> tuple[Array, Array, list[Array], Array, list[Array]]:
    """Where a linear function on a rectangle is positive: the fraction, the mean of the function there, the place of
    that part's middle along each side, in units of the side, whether it is all of the rectangle, and the place of the
    middle of the other part.

    At a kink, where the surface passes through a corner or lies in the rectangle, everything is as it is for a body
    that is larger by round-off: value and derivative belong to that side, the same one for all faces.

    Args:
        middle: The function in the middle of the rectangle.
        changes: For each side of the rectangle (one or two) by how much the function changes along it.
        least: A change that is none.
        touching: A distance that is none.
    """
    if len(changes) == 1:
        parts = [(1.0, 0.0, *_open_segment(middle, changes[0], least, touching))]
    else:  # segments along the first side; their sum over the second by Gauss's rule
        nodes, weights = np.polynomial.legendre.leggauss(4)
        parts = [
            (weight / 2, node / 2, *_open_segment(middle + changes[1] * node / 2, changes[0], least, touching))
            for node, weight in zip(nodes, weights, strict=True)
        ]
    fraction = jnp.asarray(sum(weight * opening for weight, _, opening, _, _, _ in parts))
    some = fraction > 1e-6
    safe = jnp.where(some, fraction, 1.0)

    def mean(total: Any) -> Array:
        return jnp.where(some, total / safe, 0.0)

    shifts = [mean(sum(weight * opening * shift for weight, _, opening, _, shift, _ in parts))]
    if len(changes) == 2:
        shifts.append(mean(sum(weight * opening * place for weight, place, opening, _, _, _ in parts)))
    integral = mean(sum(weight * integral for weight, _, _, integral, _, _ in parts))
    if len(changes) == 1:  # also where the other part is nothing yet: there it begins at the end that is touched
        opposite = [-jnp.sign(changes[0]) * fraction / 2]
    else:
        rest = 1 - fraction
        opposite = [jnp.where(rest > 1e-6, -fraction * one / jnp.where(rest > 1e-6, rest, 1.0), 0.0) for one in shifts]
    return fraction, integral, shifts, functools.reduce(jnp.logical_and, [part[-1] for part in parts]), opposite


def _open_segment(middle: Array, change: Array, least: float, touching: float) -> tuple[Array, Array, Array, Array]:
    """Of a segment the fraction where a linear function is positive, the integral of the function over it, where the
    middle of that part is, and whether it is all of the segment.
    """
    tilted = jnp.abs(change) > least
    width = jnp.where(tilted, jnp.abs(change), 1.0)
    largest = middle + width / 2
    cut = tilted & (largest > touching) & (middle < width / 2 + touching)
    part = largest / width
    part = part - jax.lax.stop_gradient(jnp.maximum(part - 1, 0.0))  # where it only touches, with its derivative
    free = middle > touching
    fraction = jnp.where(cut, part, jnp.where(free, 1.0, 0.0))
    integral = jnp.where(cut, largest**2 / (2 * width), jnp.where(free, middle, 0.0))
    return fraction, integral, jnp.sign(change) * (1 - fraction) / 2, free & ~cut


def _touching(rulers: list[_Ruler], dtype: DTypeLike) -> float:
    """A distance that is none but for round-off."""
    return 4 * float(jnp.finfo(dtype).eps) * max(float(np.max(np.abs(ruler.line))) for ruler in rulers)


def _ruler(field: Field, axis: int) -> _Ruler:
    edges, periodic = field.grid.edges[axis], field.periodic[axis]
    centers = (edges[1:] + edges[:-1]) / 2
    if field.offset[axis] == 0.5:
        line, between = places_beyond(centers, edges, periodic), edges
    else:
        line = places_beyond(edges[:-1] if periodic else edges, edges, periodic)
        between = (line[1:] + line[:-1]) / 2
    return _Ruler(line, spans(field.grid, axis, field.offset[axis], periodic, 2), between)


def _beside(values: Array, axis: int, periodic: bool) -> tuple[Array, Array]:
    """At the faces of the control volumes the values of the two neighbors; beyond an end stands the last one."""
    kind = "periodic" if periodic else "neumann"
    return values_beside(values, axis, (kind, kind), edge=True, twice=True)


def _lines(lines: Sequence[np.ndarray], dtype: DTypeLike) -> list[Array]:
    """One array for each axis, shaped to broadcast against each other."""
    return [jnp.asarray(line.reshape(at_axis(axis, -1, 1, len(lines))), dtype) for axis, line in enumerate(lines)]


def at_least(part: Array, floor: Any, unit: Any = 1.0) -> Array:
    """A part of a cell or a face that is open, or with its unit a distance, or what it counts as if it is less. Where
    both agree to round-off it is the latter, as for a body that is a little larger.
    """
    return jnp.where(part > floor + 64 * jnp.finfo(part.dtype).eps * unit, part, floor)


def entry(value: Array, index: int) -> Array:
    """One entry of what is one number for all or an array of them."""
    return value if value.ndim == 0 else value[index]
