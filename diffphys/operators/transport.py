r"""Convection and diffusion as a matrix, for implicit steps.

A point of a staggered grid exchanges momentum, or a scalar, with its two neighbors along each axis. With the volume
$m_k$ that crosses the face $k$ of its control volume per time, the viscosity $\nu_k$ there and the distance $\delta_k$
to the neighbor beyond, what leaves per volume $\Omega$ is

$$(B f)_P = \frac{1}{\Omega} \sum_k \Big( \pm m_k \frac{f_P + f_k}{2} - \nu_k A_k \frac{f_k - f_P}{\delta_k} \Big)
= b_P f_P + \sum_k b_k f_k$$

(Ferziger, Peric 2002, sections 4 and 8): the scheme of `convection` and of `laplacian`, and with a viscosity that
varies $-\nabla \cdot (\nu \nabla f)$. A neighbor beyond an end is a ghost point, $f_k = s f_P + g$: its share $s$ goes
into the matrix, and the part $g$ that is given stands apart (`beyond`), since it may change while the matrix stays.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffphys.grids import Conditions, Field, Neumann, Periodic, center_offset
from diffphys.grids.axes import at_axis, slab, slice_axis
from diffphys.grids.ends import with_even_images
from diffphys.linear import linear_map
from diffphys.operators.advection.convection import control_flux
from diffphys.operators.differences import difference, second_difference, wrapped
from diffphys.operators.fourth_order import spans
from diffphys.operators.interpolation import interpolate


class End(NamedTuple):
    """A ghost point: `factor` times its mirror image within, and `given`. Arrays of extent 1 along the axis."""

    factor: Array
    given: Array


Ends = tuple[tuple[End, End] | None, ...]
"""For each axis the ghost points beyond its (lower, upper) end; None where it is periodic."""


class Transport(eqx.Module):
    """The matrix $B$, of which each row has an entry for its point and for the two neighbors along each axis.

    Attributes:
        diagonal: The entry of each point's row that belongs to itself.
        lower: For each axis the entry that belongs to the neighbor before; zero where that is a ghost point.
        upper: The same for the neighbor behind.
        outside: For each axis the entries that belong to the ghost points beyond its (lower, upper) end, with extent 1
            along the axis; None where it is periodic.
    """

    diagonal: Array
    lower: tuple[Array, ...]
    upper: tuple[Array, ...]
    outside: tuple[tuple[Array, Array] | None, ...]

    def apply(self, values: Array) -> Array:
        """`B f` without what is given at ghost points."""
        return linear_map(_product, _transposed_product, (self.diagonal, *self.lower, *self.upper), (values,))[0]

    def transposed(self) -> "Transport":
        """The transposed matrix, for products only."""
        lower, upper = _mirrored(self.lower, self.upper)
        return Transport(self.diagonal, lower, upper, self.outside)

    def beyond(self, ends: Ends) -> Array:
        """What is given at the ghost points, times their entries."""
        total = jnp.zeros_like(self.diagonal)
        for axis, (pair, entries) in enumerate(zip(ends, self.outside, strict=True)):
            if pair is not None and entries is not None:
                for end, entry, place in zip(pair, entries, _first_and_last(self.diagonal, axis), strict=True):
                    total = total + place * (entry * end.given)
        return total

    def times(self, factor: Array) -> "Transport":
        """All entries times a number, or those of each row times its own, with extent 1 nowhere."""
        rows = jnp.broadcast_to(factor, self.diagonal.shape)
        return Transport(
            rows * self.diagonal,
            tuple(rows * entries for entries in self.lower),
            tuple(rows * entries for entries in self.upper),
            tuple(
                None if pair is None else (slab(rows, axis, 0) * pair[0], slab(rows, axis, -1) * pair[1])
                for axis, pair in enumerate(self.outside)
            ),
        )

    def scaled(self, rows: Array, columns: Array) -> "Transport":
        """Each row times its number, and each column times its own."""
        scaled = self.times(rows)
        return Transport(
            scaled.diagonal * columns,
            tuple(part * jnp.roll(columns, 1, axis) for axis, part in enumerate(scaled.lower)),
            tuple(part * jnp.roll(columns, -1, axis) for axis, part in enumerate(scaled.upper)),
            scaled.outside,
        )


def total(first: Transport, second: Transport) -> Transport:
    """The sum of two matrices."""
    return Transport(
        first.diagonal + second.diagonal,
        tuple(one + other for one, other in zip(first.lower, second.lower, strict=True)),
        tuple(one + other for one, other in zip(first.upper, second.upper, strict=True)),
        tuple(
            None if one is None or other is None else (one[0] + other[0], one[1] + other[1])
            for one, other in zip(first.outside, second.outside, strict=True)
        ),
    )


def ends_of(field_of: Callable[[Array], Field], like: Array) -> Ends:
    """The ghost points of a field, which depend on its values in no other way than `End` says.

    Args:
        field_of: From values to the field with its conditions.
        like: An array of the values' shape and type.
    """
    periodic = field_of(jnp.zeros_like(like)).periodic
    bounded = [axis for axis in range(like.ndim) if not periodic[axis]]

    def ghosts(values: Array) -> list[tuple[Array, Array]]:
        field, found = field_of(values), []
        for axis in bounded:
            padded = field.padded(at_axis(axis, (1, 1), (0, 0), like.ndim))
            found.append((slab(padded, axis, 0), slab(padded, axis, -1)))
        return found

    # The derivative, since a difference of two values would lose digits where what is given is large.
    given, factors = jax.jvp(ghosts, (jnp.zeros_like(like),), (jnp.ones_like(like),))
    ends: list[tuple[End, End] | None] = [None] * like.ndim
    for axis, (lower, upper), (below, above) in zip(bounded, factors, given, strict=True):
        ends[axis] = End(lower, below), End(upper, above)
    return tuple(ends)


def convective(field: Field, carrier: Sequence[Field], ends: Ends) -> Transport:
    """The matrix of `convection` for a component of the velocity, and of `scalar_convection` for a centered field.

    Args:
        field: Tells the place of what is carried, and which axes are periodic.
        carrier: The velocity on the faces.
        ends: The ghost points.
    """
    grid, centered = field.grid, field.offset == center_offset(field.grid)
    rows = []
    for axis in range(grid.dimensions):
        if centered:
            periodic = carrier[axis].periodic[axis]
            flux = carrier[axis].padded(at_axis(axis, (0, int(periodic)), (0, 0), grid.dimensions))
            volume = grid.along(axis, jnp.asarray(spans(grid, axis, 0.5, periodic, 2), flux.dtype))
        else:
            flux, volume = control_flux(field, carrier, axis)
        half = 0.5 / jnp.asarray(volume, flux.dtype)
        rows.append((-half * slice_axis(flux, axis, 0, -1), half * slice_axis(flux, axis, 1, None)))
    diagonal = sum((before + behind for before, behind in rows), jnp.zeros_like(field.values))
    return _with_ends(field, diagonal, rows, ends)


def diffusive(field: Field, viscosity: Array | Field, ends: Ends) -> tuple[Transport, Array]:
    """The matrix of `-div(viscosity grad f)`, and its diagonal as it is away from the ends.

    Args:
        field: Tells the place of what diffuses, and which axes are periodic.
        viscosity: One number, or a field at the centers with conditions.
        ends: The ghost points.
    """
    grid, rows = field.grid, []
    for axis in range(grid.dimensions):
        lines = second_difference(grid, axis, field.offset[axis], field.periodic[axis])
        before, behind = (grid.along(axis, jnp.asarray(line, field.values.dtype)) for line in lines)
        if isinstance(viscosity, Field):
            at_faces = viscosity_at_control_faces(field, axis, viscosity)
            rows.append((-slice_axis(at_faces, axis, 0, -1) * before, -slice_axis(at_faces, axis, 1, None) * behind))
        else:
            rows.append((-viscosity * before, -viscosity * behind))
    diagonal = -sum((before + behind for before, behind in rows), jnp.zeros_like(field.values))
    return _with_ends(field, diagonal, rows, ends), diagonal


def viscosity_at_control_faces(field: Field, axis: int, viscosity: Field) -> Array:
    """A centered viscosity at the faces of a field's control volumes normal to an axis, one more than points."""
    offset = tuple(0.5 - place if a == axis else place for a, place in enumerate(field.offset))
    values = interpolate(viscosity, offset).values
    if field.periodic[axis]:
        widths = (1, 0) if field.offset[axis] == 0.0 else (0, 1)
    else:  # a point on a side has one control face beyond it
        widths = (1, 1) if field.offset[axis] == 0.0 else (0, 0)
    return with_even_images(values, axis, widths, periodic=field.periodic[axis])


def viscous_force(velocity: Sequence[Field], viscosity: Field) -> list[Array]:
    r"""$\nabla \cdot (\nu (\nabla v + \nabla v^T))$ on the faces of each axis, with a centered viscosity $\nu$."""
    forces = []
    for component, transposed in zip(velocity, transposed_stress(velocity, viscosity), strict=True):
        ends = ends_of(component.with_values, component.values)
        matrix, _ = diffusive(component, viscosity, ends)
        forces.append(transposed - matrix.apply(component.values) - matrix.beyond(ends))
    return forces


def transposed_stress(velocity: Sequence[Field], viscosity: Field) -> list[Array]:
    r"""$\sum_d \partial_d (\nu\, \partial_a v_d)$ on the faces of each axis $a$.

    With $\nabla \cdot (\nu \nabla v_a)$ it is the force of the viscous stress $\nu (\nabla v + \nabla v^T)$. It
    vanishes where the viscosity is the same everywhere and the velocity has no divergence. On sides where the normal
    velocity is free it is left out.
    """
    parts = []
    for axis, component in enumerate(velocity):
        force = jnp.zeros_like(component.values)
        for direction, other in enumerate(velocity):
            slope = difference(other, axis)
            stress = slope.with_values(slope.values * interpolate(viscosity, slope.offset).values)
            force = force + difference(stress.with_conditions(_even(component.conditions)), direction).values
        inside = np.ones(component.shape)
        if not component.periodic[axis]:
            for end in (0, -1):
                inside[(slice(None),) * axis + (end,)] = 0.0
        parts.append(force * jnp.asarray(inside, force.dtype))
    return parts


def _even(conditions: Conditions) -> Conditions:
    """A slope of zero at every end."""
    return tuple(pair if isinstance(pair[0], Periodic) else (Neumann(), Neumann()) for pair in conditions)


def _with_ends(field: Field, diagonal: Array, rows: Sequence[tuple[Array, Array]], ends: Ends) -> Transport:
    """The matrix of these rows, the ghost points' shares brought to the points whose images they are."""
    lower, upper, outside = [], [], []
    for axis, (before, behind) in enumerate(rows):
        before, behind = jnp.broadcast_to(before, field.shape), jnp.broadcast_to(behind, field.shape)
        pair = ends[axis]
        if pair is None:
            lower.append(before)
            upper.append(behind)
            outside.append(None)
            continue
        first, last = _first_and_last(diagonal, axis)
        entries = (slab(before, axis, 0), slab(behind, axis, -1))
        shares = [entry * end.factor for entry, end in zip(entries, pair, strict=True)]
        before, behind = before * (1 - first), behind * (1 - last)
        if field.offset[axis] == 0.5:  # the image of the point itself, else that of its neighbor within
            diagonal = diagonal + first * shares[0] + last * shares[1]
        else:
            before, behind = before + last * shares[1], behind + first * shares[0]
        lower.append(before)
        upper.append(behind)
        outside.append(entries)
    return Transport(diagonal, tuple(lower), tuple(upper), tuple(outside))


def _product(entries: Sequence[Array], operands: Sequence[Array]) -> list[Array]:
    (values,) = operands
    axes = values.ndim
    diagonal, lower, upper = entries[0], entries[1 : 1 + axes], entries[1 + axes :]
    closed = wrapped(values, [(1, 1)] * axes)
    product = diagonal * values
    for axis in range(axes):
        product = product + lower[axis] * _neighbor(closed, axis, 0) + upper[axis] * _neighbor(closed, axis, 2)
    return [product]


def _transposed_product(entries: Sequence[Array], operands: Sequence[Array]) -> list[Array]:
    axes = operands[0].ndim
    lower, upper = _mirrored(entries[1 : 1 + axes], entries[1 + axes :])
    return _product((entries[0], *lower, *upper), operands)


def _mirrored(lower: Sequence[Array], upper: Sequence[Array]) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    """The entries of the transposed matrix: a neighbor's entry for this point."""
    return (
        tuple(jnp.roll(entries, 1, axis) for axis, entries in enumerate(upper)),
        tuple(jnp.roll(entries, -1, axis) for axis, entries in enumerate(lower)),
    )


def _neighbor(closed: Array, axis: int, start: int) -> Array:
    """The values one point before (0) or behind (2), of an array that was closed by one on each end."""
    starts = at_axis(axis, start, 1, closed.ndim)
    return closed[tuple(slice(s, s + extent - 2) for s, extent in zip(starts, closed.shape, strict=True))]


def _first_and_last(like: Array, axis: int) -> tuple[Array, Array]:
    """1 at the first, and at the last, point of an axis and 0 elsewhere."""
    count = like.shape[axis]
    lines = [np.zeros(at_axis(axis, count, 1, like.ndim)) for _ in range(2)]
    lines[0].flat[0] = lines[1].flat[-1] = 1.0
    return jnp.asarray(lines[0], like.dtype), jnp.asarray(lines[1], like.dtype)
