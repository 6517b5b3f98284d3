"""Second-order central differences between the places of a staggered grid.

A difference over one spacing lives halfway between its two points: the derivative of centered values along x lives on
the x-faces, that of values on x-faces at the centers. Both are second-order accurate there (Harlow and Welch 1965).

Along a stretched axis the difference of two centers is divided by their distance and that of two faces by the width of
the cell between them. With the volumes of the cells as weights, and on faces their area times the distance of the
centers, the divergence is minus the transpose of the gradient; where the widths change smoothly, both stay of second
order (Manteuffel, White 1986; Verstappen, Veldman 2003).
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffphys.errors import InputError
from diffphys.grids import (
    Condition,
    Field,
    Grid,
    Periodic,
    Unknown,
    center_offset,
    check_field,
    face_offset,
)
from diffphys.grids.axes import at_axis, slice_axis
from diffphys.grids.conditions import homogeneous
from diffphys.grids.ends import lengths_beside, places_beyond
from diffphys.grids.field import check_velocity
from diffphys.grids.numbers import as_whole, shown
from diffphys.linear import along_axis, linear_map


def difference(field: Field, axis: int) -> Field:
    """The derivative of `field` along `axis`, half a cell away: `(f[i + 1] - f[i]) / h`.

    From centers to faces the ghost values of the field's conditions are used, so a bounded axis of n cells gives n + 1
    faces. At the ends of the other axes a derivative of what is uniform there is zero: `Dirichlet(v)` becomes
    `Dirichlet(0)`, and so on; a profile becomes unknown.

    Raises:
        InputError: if a ghost value is needed that no condition defines.
    """
    check_field("difference", "field", field)
    if as_whole(axis, 0) not in range(field.grid.dimensions):
        raise InputError(f"difference: axis is {shown(axis)}; 0 to {field.grid.dimensions - 1} are accepted.")
    values = weighted_pair(field, axis, (-1.0, 1.0))
    offset = tuple(0.5 - place if a == axis else place for a, place in enumerate(field.offset))
    conditions = tuple(
        _derived(pair) if a == axis else (_along_another_axis(pair[0]), _along_another_axis(pair[1]))
        for a, pair in enumerate(field.conditions)
    )
    distance = distances(field.grid, axis, field.offset[axis], field.periodic[axis], field.values.dtype)
    return Field(values / distance, field.grid, offset, conditions)


def gradient(field: Field) -> tuple[Field, ...]:
    """The gradient of a centered field: its component along each axis on that axis's faces.

    Raises:
        InputError: if the field does not live at the centers.
    """
    check_field("gradient", "field", field)
    if field.offset != center_offset(field.grid):
        raise InputError(f"gradient: the field lives at offset {field.offset}; cell centers are accepted.")
    return tuple(difference(field, axis) for axis in range(field.grid.dimensions))


def divergence(velocity: Sequence[Field]) -> Field:
    """The divergence `sum_a d v_a / d a` of a staggered vector field, at the cell centers.

    With the pressure's conditions taken from the same sides (slope 0 where the normal velocity is fixed, `Ghost(0)`
    where it is free) it is exactly minus the transpose of `gradient` on all faces that are not fixed.

    Raises:
        InputError: if component a does not live on the faces normal to axis a.
    """
    check_velocity("divergence", "velocity", velocity, real=False)
    for axis, component in enumerate(velocity):
        expected = face_offset(component.grid, axis)
        if component.offset != expected:
            raise InputError(
                f"divergence: component {axis} lives at offset {component.offset}; {expected} is accepted."
            )
    terms = [difference(component, axis) for axis, component in enumerate(velocity)]
    total = terms[0].values
    for term in terms[1:]:
        total = total + term.values
    return Field(total, terms[0].grid, terms[0].offset, tuple(_derived(pair) for pair in velocity[0].conditions))


def laplacian(field: Field) -> Field:
    """The sum of second derivatives `sum_a (f[i - 1] - 2 f[i] + f[i + 1]) / h_a^2` at the field's own place.

    Along a stretched axis it is the difference of differences, each divided by the distance it spans.

    Raises:
        InputError: if a ghost value is needed that no condition defines.
    """
    check_field("laplacian", "field", field)
    if all(field.grid.uniform) and all(field.periodic):
        closed: dict[tuple[int, ...], float] = {}
        for axis in range(field.grid.dimensions):
            for shift, weight in zip((-1, 0, 1), (1.0, -2.0, 1.0), strict=True):
                place = at_axis(axis, shift, 0, field.grid.dimensions)
                closed[place] = closed.get(place, 0.0) + weight / float(field.grid.spacing_along(axis)) ** 2
        return field.with_values(periodic_sum(field.values, closed))
    padded = field.padded([(1, 1)] * field.grid.dimensions)
    stencil: dict[tuple[int, ...], float] = {}
    stretched = []
    for axis in range(field.grid.dimensions):
        places = [at_axis(axis, shift, 1, field.grid.dimensions) for shift in range(3)]
        if field.grid.uniform[axis]:
            for place, weight in zip(places, (1.0, -2.0, 1.0), strict=True):
                stencil[place] = stencil.get(place, 0.0) + weight / float(field.grid.spacing_along(axis)) ** 2
        else:
            weights = second_difference_weights(
                field.grid, axis, field.offset[axis], field.periodic[axis], padded.dtype
            )
            for neighbor, weight in zip((places[0], places[2]), weights, strict=True):
                stretched.append(weight * shifted_sum(padded, field.shape, {places[1]: -1.0, neighbor: 1.0}))
    parts = ([shifted_sum(padded, field.shape, stencil)] if stencil else []) + stretched
    values = sum(parts[1:], parts[0])
    return Field(values, field.grid, field.offset, tuple(_derived(pair) for pair in field.conditions))


def weighted_pair(field: Field, axis: int, weights: tuple[float, float] | tuple[Array, Array]) -> Array:
    """The weighted sum of the values before and behind each point half a cell away along `axis`."""
    dimensions = field.grid.dimensions
    to_faces = field.offset[axis] == 0.5
    if field.periodic[axis]:
        first = -1 if to_faces else 0
        places = [at_axis(axis, shift, 0, dimensions) for shift in (first, first + 1)]
        total = partial(periodic_sum, field.values)
    else:
        padded = field.padded([(1, 1) if a == axis and to_faces else (0, 0) for a in range(dimensions)])
        places = [at_axis(axis, shift, 0, dimensions) for shift in range(2)]
        total = partial(shifted_sum, padded, [extent - (a == axis) for a, extent in enumerate(padded.shape)])
    lower, upper = weights
    if isinstance(lower, float) and isinstance(upper, float):
        return total({places[0]: lower, places[1]: upper})
    return lower * total({places[0]: 1.0}) + upper * total({places[1]: 1.0})


def periodic_sum(values: Array, stencil: Mapping[tuple[int, ...], float]) -> Array:
    """`sum_s weight[s] * values[i + s]` for an array that closes upon itself along every axis that shifts reach along.

    Its transpose is the mirrored stencil: nothing is folded back from ghost points.
    """
    given = _PeriodicStencil(tuple(stencil.items()))
    return linear_map(given.sum, given.mirrored().sum, (), (values,))[0]


def wrapped(values: Array, widths: Sequence[tuple[int, int]]) -> Array:
    """`values` with what lies one period away before and behind along each axis; in memory, as ghost points are.

    Raises:
        InputError: if there are fewer values along an axis than are asked for beyond an end.
    """
    for axis, (before, behind) in enumerate(widths):
        count = values.shape[axis]
        if max(before, behind) > count:
            raise InputError(
                f"difference: {max(before, behind)} ghost points asked for along an axis of {count}; at most {count} "
                "are accepted."
            )
        if before or behind:
            parts = [slice_axis(values, axis, count - before, count)] if before else []
            parts += [values, slice_axis(values, axis, 0, behind)] if behind else [values]
            values = jax.lax.optimization_barrier(jnp.concatenate(parts, axis))
    return values


@dataclasses.dataclass(frozen=True)
class _PeriodicStencil:
    terms: tuple[tuple[tuple[int, ...], float], ...]

    def sum(self, _: Sequence[Array], operands: Sequence[Array]) -> list[Array]:
        (values,) = operands
        reaches = [(max(0, -min(shifts)), max(0, *shifts)) for shifts in zip(*[s for s, _ in self.terms], strict=True)]
        moved = [(tuple(s + w[0] for s, w in zip(shift, reaches, strict=True)), weight) for shift, weight in self.terms]
        return [_sum_of_slices(wrapped(values, reaches), values.shape, moved)]

    def mirrored(self) -> "_PeriodicStencil":
        return _PeriodicStencil(tuple((tuple(-s for s in shift), weight) for shift, weight in self.terms))


def shifted_sum(padded: Array, shape: Sequence[int], stencil: Mapping[tuple[int, ...], float]) -> Array:
    """`sum_s weight[s] * padded[i + s]` for the points i of an array of this shape; `stencil` is from s to weight.

    Its transpose is the mirrored stencil, on the cotangent with zeros around it.
    """
    given = _Stencil(tuple(shape), padded.shape, tuple(stencil.items()))
    return linear_map(given.sum, given.transposed_sum, (), (padded,))[0]


@dataclasses.dataclass(frozen=True)
class _Stencil:
    shape: tuple[int, ...]
    padded_shape: tuple[int, ...]
    terms: tuple[tuple[tuple[int, ...], float], ...]

    def sum(self, _: Sequence[Array], operands: Sequence[Array]) -> list[Array]:
        return [_sum_of_slices(operands[0], self.shape, self.terms)]

    def transposed_sum(self, _: Sequence[Array], cotangents: Sequence[Array]) -> list[Array]:
        (cotangent,) = cotangents
        shifts = list(zip(*[shift for shift, _ in self.terms], strict=True))
        # Along the other axes something is only cut off at the ends.
        reached = [len(self.terms) == 1 or len(set(along)) > 1 for along in shifts]
        spans = [full - extent for full, extent in zip(self.padded_shape, self.shape, strict=True)]
        within = [span if one else 0 for span, one in zip(spans, reached, strict=True)]
        mirrored = tuple(
            (tuple((span - s) * one for span, s, one in zip(spans, shift, reached, strict=True)), weight)
            for shift, weight in self.terms
        )
        shape = [extent + span for extent, span in zip(self.shape, within, strict=True)]
        total = _sum_of_slices(with_zeros(cotangent, within), shape, mirrored)
        cut = [
            (s[0] * (not one), (span - s[0]) * (not one)) for span, one, s in zip(spans, reached, shifts, strict=True)
        ]
        return [jnp.pad(total, cut) if any(map(any, cut)) else total]


def weighted_sum(padded: Array, stencil: Mapping[tuple[int, ...], np.ndarray]) -> Array:
    """`sum_s weight[s][i] * padded[i + s]`, with weights that differ from point to point: `shifted_sum` where something
    stands in the way. Its transpose is such a sum, too.

    Args:
        padded: The values with points around them.
        stencil: For each shift the weight at each point of the result.
    """
    shape = next(iter(stencil.values())).shape
    spans = [full - extent for full, extent in zip(padded.shape, shape, strict=True)]
    mirrored = {
        tuple(span - s for span, s in zip(spans, shift, strict=True)): np.pad(
            weights, [(s, span - s) for span, s in zip(spans, shift, strict=True)]
        )
        for shift, weights in stencil.items()
    }
    given = _WeightedStencil(tuple(spans), tuple(stencil), tuple(mirrored))
    weights = [jnp.asarray(one, padded.dtype) for one in (*stencil.values(), *mirrored.values())]
    return linear_map(given.sum, given.transposed_sum, weights, (padded,))[0]


@dataclasses.dataclass(frozen=True)
class _WeightedStencil:
    spans: tuple[int, ...]
    shifts: tuple[tuple[int, ...], ...]
    mirrored: tuple[tuple[int, ...], ...]

    def sum(self, weights: Sequence[Array], operands: Sequence[Array]) -> list[Array]:
        return [_weighted_slices(operands[0], self.shifts, weights[: len(self.shifts)])]

    def transposed_sum(self, weights: Sequence[Array], cotangents: Sequence[Array]) -> list[Array]:
        # Around the cotangent stand as many zeros as there are points around the values, at both ends of an axis.
        return [_weighted_slices(with_zeros(cotangents[0], self.spans), self.mirrored, weights[len(self.shifts) :])]


def _weighted_slices(values: Array, shifts: Sequence[tuple[int, ...]], weights: Sequence[Array]) -> Array:
    parts = [
        weight * values[tuple(slice(s, s + extent) for s, extent in zip(shift, weight.shape, strict=True))]
        for shift, weight in zip(shifts, weights, strict=True)
    ]
    return sum(parts[1:], parts[0])


def _sum_of_slices(values: Array, shape: Sequence[int], terms: Iterable[tuple[tuple[int, ...], float]]) -> Array:
    total = None
    for shift, weight in terms:
        part = values[tuple(slice(s, s + extent) for s, extent in zip(shift, shape, strict=True))]
        term = part if weight == 1.0 else -part if weight == -1.0 else weight * part
        total = term if total is None else total + term
    assert total is not None
    return total


def with_zeros(values: Array, widths: Sequence[int]) -> Array:
    """`values` with zeros at both ends of each axis, `widths` of them; in memory, as ghost points are."""
    for axis, width in enumerate(widths):
        if width:
            zeros = jnp.zeros([width if a == axis else extent for a, extent in enumerate(values.shape)], values.dtype)
            values = jax.lax.optimization_barrier(jnp.concatenate([zeros, values, zeros], axis))
    return values


def line_at(values: Array, axis: int, index: int) -> Array:
    """The values at an index along an axis, which keeps the extent 1; its transpose is `among_zeros`."""
    line = _Line(axis, index % values.shape[axis], values.shape[axis])
    return linear_map(line.taken, line.placed, (), (values,))[0]


def among_zeros(part: Array, axis: int, index: int, count: int) -> Array:
    """What has the extent 1 along an axis at an index among `count`, with zeros at the others.

    As a product with a matrix of zeros and a one, which XLA fuses with nothing: zeros around it would be a branch in
    every element of the loop that adds them.
    """
    line = _Line(axis, index % count, count)
    return linear_map(line.placed, line.taken, (), (part,))[0]


@dataclasses.dataclass(frozen=True)
class _Line:
    axis: int
    index: int
    count: int

    def taken(self, _: Sequence[Array], operands: Sequence[Array]) -> list[Array]:
        return [slice_axis(operands[0], self.axis, self.index, self.index + 1)]

    def placed(self, _: Sequence[Array], operands: Sequence[Array]) -> list[Array]:
        return [along_axis(np.eye(self.count, 1, -self.index), operands[0], self.axis)]


def at_both_ends(parts: Sequence[Array], axis: int, count: int) -> list[Array]:
    """Two arrays of `count` entries along an axis that begin with the first part and end with the second one, zeros
    elsewhere: to be added to something.

    They are two slices of one array in memory. XLA would fuse a concatenation that a single loop reads, or an update in
    place, into that loop, which then branches in every element; one that is read twice it makes by itself.
    """
    first, last = parts
    shape = [count - first.shape[axis] if a == axis else extent for a, extent in enumerate(first.shape)]
    zeros = jnp.zeros(shape, first.dtype)
    both = jax.lax.optimization_barrier(jnp.concatenate([zeros, last, first, zeros], axis))
    return [slice_axis(both, axis, start, start + count) for start in (count, 0)]


def distances(grid: Grid, axis: int, offset: float, periodic: bool, dtype) -> float | Array:
    """What a difference between neighboring points with this offset spans: a number, or an array for broadcasting."""
    if grid.uniform[axis]:
        return grid.size[axis] / grid.cells[axis]
    spans = grid.center_distances(axis, periodic) if offset == 0.5 else grid.widths(axis)
    return grid.along(axis, jnp.asarray(spans, dtype))


def second_difference_weights(grid: Grid, axis: int, offset: float, periodic: bool, dtype) -> tuple[Array, Array]:
    """The factors of `f[i - 1] - f[i]` and `f[i + 1] - f[i]` in the second derivative at each point of an axis."""
    lower, upper = (
        grid.along(axis, jnp.asarray(line, dtype)) for line in second_difference(grid, axis, offset, periodic)
    )
    return lower, upper


def second_difference(grid: Grid, axis: int, offset: float, periodic: bool) -> tuple[np.ndarray, np.ndarray]:
    """The same factors in float64 on the host, one for each point."""
    widths, between = grid.widths(axis), grid.center_distances(axis, periodic)
    if offset == 0.5:
        return 1 / (widths * between[: len(widths)]), 1 / (widths * (np.roll(between, -1) if periodic else between[1:]))
    below, above = lengths_beside(widths, periodic)
    return 1 / (between * below), 1 / (between * above)


def _along_another_axis(condition: Condition) -> Condition:
    """What holds for the derivative along one axis at the ends of another."""
    uniform = all(jnp.ndim(number) == 0 for number in vars(condition).values())
    return homogeneous(condition) if uniform else Unknown()


def _derived(pair: tuple[Condition, Condition]) -> tuple[Condition, Condition]:
    """A derivative is periodic where its field is; else nothing is known of it beyond the ends."""
    return pair if isinstance(pair[0], Periodic) else (Unknown(), Unknown())


def points_with_two_ghosts(field: Field, axis: int) -> np.ndarray:
    """The coordinates of the points along an axis, with two periods' or mirror images' beyond each end."""
    edges = field.grid.edges[axis]
    points = (edges[:-1] + edges[1:]) / 2 if field.offset[axis] == 0.5 else edges[: field.shape[axis]]
    return places_beyond(points, edges, field.periodic[axis], 2)
