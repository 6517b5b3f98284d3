r"""Convection of the velocity in symmetry-preserving form.

The momentum of the control volume around a face changes by what its own faces carry in and out,

$$(C(m) u)_f = \frac{1}{\Omega_f} \sum_{\text{faces } k} \pm\, \bar m_k \, \frac{u_f + u_{\text{beyond } k}}{2},$$

where $m$ is the volume that crosses a face of the grid per time and $\bar m_k$ its mean at a face of the control
volume. The mean of the two velocities has weights of one half whatever the distances are. Then the matrix
$\Omega C(m)$ has opposite entries at mirrored places, and a diagonal of half the net flux, which vanishes where $m$
has no divergence: it is skew-symmetric, and convection by itself neither creates nor destroys kinetic energy, on
stretched grids too (Harlow, Welch 1965; Verstappen, Veldman 2003).

Of fourth order is $\tfrac98$ of this sum less $\tfrac18$ of the same sum over control volumes three times as wide
(Morinishi, Lund, Vasilyev, Moin 1998).
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import jax.numpy as jnp
import numpy as np
from jax import Array

from diffphys.errors import InputError
from diffphys.grids import Dirichlet, Field, Grid, Neumann, Periodic, face_offset
from diffphys.grids.conditions import fixes_points, pad_axis
from diffphys.grids.ends import with_even_images
from diffphys.grids.field import check_field, check_velocity
from diffphys.linear import linear_map
from diffphys.operators.advection.fluxes import limited_steps, upstream, with_sides
from diffphys.operators.differences import shifted_sum, slice_axis, wrapped
from diffphys.operators.fourth_order import check_order, spans


def convection(
    velocity: Sequence[Field], carrier: Sequence[Field] | None = None, *, order: int = 2, scheme: str = "central"
) -> tuple[Field, ...]:
    r"""The rate $\nabla \cdot (w\, v)$ at which a velocity $w$ is carried by $v$, on the faces where $w$ lives.

    In the norm $\sum_f \Omega_f w_f^2$ it conserves the energy of $w$ exactly if the carrier has no divergence and
    nothing crosses the sides: $\sum_f \Omega_f w_f (C w)_f = 0$. Here $\Omega_f$ is the product of the lengths
    `control_volume` gives. The sum $\sum_f \Omega_f (C w)_f$, the momentum, only changes through the sides.

    Second order in space on every grid; with `order=4` fourth order on uniform grids, save next to no-slip walls.

    All of that holds for the central scheme. What a face of a control volume carries may also be the value upstream
    (`"upwind"`, first order), or that and half a cell along a limited slope (`"van_leer"`, second order); then the
    momentum is conserved and energy only lost.

    Args:
        velocity: What is carried: one field on the faces of each axis, with conditions that define ghost values.
        carrier: The velocity that carries, on the same faces. Default: `velocity`. Of its conditions only the topology
            matters: on the sides it has the values it is given with.
        order: 2 or 4.
        scheme: "central", or with order 2 "upwind" or "van_leer".

    Returns:
        One field for each axis; zero on the sides where the normal velocity is fixed.

    Raises:
        InputError: if component a does not live on the faces normal to axis a, or for another order or
            scheme.
    """
    check_order("convection", order)
    if scheme not in ("central", "upwind", "van_leer") or (order == 4 and scheme != "central"):
        raise InputError(
            f"convection: scheme is {scheme!r} with order {order}; 'central', or with order 2 'upwind' or 'van_leer', "
            "is accepted."
        )
    carrier = velocity if carrier is None else carrier
    for name, components in (("velocity", velocity), ("carrier", carrier)):
        check_velocity("convection", name, components, None if components is velocity else velocity[0].grid)
        for axis, component in enumerate(components):
            if component.offset != face_offset(component.grid, axis):
                raise InputError(
                    f"convection: component {axis} of {name} lives at offset {component.offset}; "
                    f"{face_offset(component.grid, axis)} is accepted."
                )
    grid = velocity[0].grid
    if (
        order == 2
        and scheme == "central"
        and all(grid.uniform)
        and all(all(part.periodic) for part in (*velocity, *carrier))
    ):
        closed = _Closed(tuple(float(spacing) for spacing in grid.spacing))
        rates = linear_map(
            closed.rates,
            closed.pulled_to_carried,
            [part.values for part in carrier],
            [part.values for part in velocity],
        )
        return tuple(component.with_values(rate) for component, rate in zip(velocity, rates, strict=True))
    return tuple(
        component.with_values(component_convection(component, carrier, order, scheme)) for component in velocity
    )


def scalar_convection(scalar: Field, carrier: Sequence[Field], *, order: int = 2) -> Field:
    r"""The rate $\nabla \cdot (v\, s)$ at which a centered scalar is carried, in the form of `convection`.

    The sum of $s$ over the cells only changes through the sides, and so does that of $s^2$ where the velocity has no
    divergence of that order. A scalar that is the same everywhere changes by its value times that divergence, which is
    zero: of order 4 that is `fourth_order_divergence`.

    Args:
        scalar: The scalar, with conditions that define one ghost value at every end, three for order 4.
        carrier: The velocity on the faces, with conditions that define a ghost value for order 4.
        order: 2 or 4.

    Returns:
        The rate, at the centers.
    """
    check_order("scalar_convection", order)
    reach = order // 2 - 1
    total = jnp.zeros_like(scalar.values)
    for axis, component in enumerate(carrier):
        periodic = component.periodic[axis]
        # Beyond a side as the divergence sees it, or what is the same everywhere would not stay so.
        widths = [(reach, reach + periodic) if a == axis else (0, 0) for a in range(scalar.grid.dimensions)]
        flux = component.padded(widths)
        net = _net_flux(scalar, axis, flux, order)
        total = total + net / jnp.asarray(
            _line(scalar.grid, axis, spans(scalar.grid, axis, 0.5, periodic, order)), total.dtype
        )
    return scalar.with_values(total)


def control_volume(field: Field, order: int = 2) -> np.ndarray | float:
    """The volume of the control volume around each point of a field: a number on a uniform grid."""
    check_field("control_volume", "field", field)
    return relative_control_volume(field, order) * float(np.prod(field.grid.units))


def relative_control_volume(field: Field, order: int = 2) -> np.ndarray | float:
    """The same in units of `grid.units`, in which single precision holds it; see `times_volume_unit`."""
    volume = 1.0
    for axis, unit in enumerate(field.grid.units):
        line = _line(field.grid, axis, spans(field.grid, axis, field.offset[axis], field.periodic[axis], order))
        volume = volume * (line / unit)
    return volume


def times_volume_unit(grid: Grid, total: Array) -> Array:
    """A sum over relative control volumes in the user's units; axis by axis, since a volume alone may be too small."""
    for unit in grid.units:
        total = total * unit
    return total


@dataclasses.dataclass(frozen=True)
class _Closed:
    r"""The second-order scheme on a uniform grid without sides, and its transposes in both of its arguments.

    With $h_d$ the spacing and $e_d$ the step to the next point along axis $d$, what carries component $w_a$ through the
    face of its control volumes between the points $k - e_d$ and $k$, and the rate at the point $k$, are

    $$F_{ad}(k) = \tfrac14 \big(m_d(k - e_a) + m_d(k)\big) \big(w_a(k - e_d) + w_a(k)\big), \qquad
    (C(m) w)_a(k) = \sum_d \frac{F_{ad}(k + e_d) - F_{ad}(k)}{h_d},$$

    linear in the carried velocity $w$ and in the carrier $m$. An array is closed upon itself once, for all of its
    neighbors, and a result is one loop over slices; a derivative needs nothing but the two velocities. In 3D this takes
    half the time of the general scheme below, and its gradient a third.
    """

    spacing: tuple[float, ...]

    def rates(self, carrier: Sequence[Array], carried: Sequence[Array]) -> tuple[Array, ...]:
        return linear_map(self._rates, self._pulled_to_carrier, carried, carrier)

    def _rates(self, carried: Sequence[Array], carrier: Sequence[Array]) -> list[Array]:
        w, m = _closed(carried), _closed(carrier)
        axes = range(len(w))

        def flux(a: int, d: int, *place: int) -> Array:
            return _sum_across(m[d], a, place) * _sum_across(w[a], d, place)

        return [self._total(((flux(a, d, d) - flux(a, d)), d) for d in axes) for a in axes]

    def pulled_to_carried(self, carrier: Sequence[Array], cotangents: Sequence[Array]) -> list[Array]:
        m, g = _closed(carrier), _closed(cotangents)
        axes = range(len(g))

        def pull(a: int, d: int, *place: int) -> Array:
            return _sum_across(m[d], a, place) * _fall_across(g[a], d, place)

        return [self._total(((pull(a, d, d) + pull(a, d)), d) for d in axes) for a in axes]

    def _pulled_to_carrier(self, carried: Sequence[Array], cotangents: Sequence[Array]) -> list[Array]:
        w, g = _closed(carried), _closed(cotangents)
        axes = range(len(g))

        def pull(a: int, d: int, *place: int) -> Array:
            return _sum_across(w[a], d, place) * _fall_across(g[a], d, place)

        return [self._total(((pull(a, d, a) + pull(a, d)), d) for a in axes) for d in axes]

    def _total(self, terms: Iterable[tuple[Array, int]]) -> Array:
        parts = [(0.25 / self.spacing[axis]) * part for part, axis in terms]
        return sum(parts[1:], parts[0])


def _closed(arrays: Sequence[Array]) -> list[Array]:
    return [wrapped(array, [(1, 1)] * array.ndim) for array in arrays]


def _sum_across(closed: Array, axis: int, steps: Sequence[int]) -> Array:
    """The sum of the values before and behind the faces normal to an axis, a step on along each axis of `steps`."""
    return _points(closed, steps, before=axis) + _points(closed, steps)


def _fall_across(closed: Array, axis: int, steps: Sequence[int]) -> Array:
    """The value before those faces less the one behind."""
    return _points(closed, steps, before=axis) - _points(closed, steps)


def _points(closed: Array, steps: Sequence[int], before: int | None = None) -> Array:
    """The points of an array that was closed by one on each end, `steps` on and perhaps one back."""
    starts = [1 + (axis in steps) - (axis == before) for axis in range(closed.ndim)]
    return closed[tuple(slice(start, start + extent - 2) for start, extent in zip(starts, closed.shape, strict=True))]


def component_convection(component: Field, carrier: Sequence[Field], order: int = 2, scheme: str = "central") -> Array:
    """What `convection` gives for one component, which lives on the faces of an axis."""
    grid, axis = component.grid, component.offset.index(0.0)
    total = jnp.zeros_like(component.values)
    for direction in range(grid.dimensions):
        area = 1.0  # of the faces that the carrier crosses; on a uniform axis the length cancels
        for other in range(grid.dimensions):
            if other != direction and not grid.uniform[other]:
                line = spans(grid, other, 0.5, component.periodic[other], order) / grid.units[other]
                area = area * _line(grid, other, line)
        flux = carrier[direction].values * jnp.asarray(area, component.values.dtype)
        flux = _at_control_faces(flux, component, axis, direction, order)
        if scheme == "central":
            net = _net_flux(component, direction, flux, order)
        else:
            carried = flux * _upstream_values(component, direction, flux, scheme)
            net = _two_points(carried, direction, component.shape[direction], {0: -1.0, 1: 1.0})
        volume = _line(
            grid, direction, spans(grid, direction, component.offset[direction], component.periodic[direction], order)
        )
        for other in range(grid.dimensions):
            if other != direction and not grid.uniform[other]:
                line = spans(grid, other, component.offset[other], component.periodic[other], order) / grid.units[other]
                volume = volume * _line(grid, other, line)
        total = total + net / jnp.asarray(volume, component.values.dtype)
    return without_fixed_ends(component, axis, total)


def without_fixed_ends(component: Field, axis: int, values: Array) -> Array:
    """`values` with zeros on the sides where the normal velocity is fixed."""
    for end, condition in enumerate(component.conditions[axis]):
        if fixes_points(condition):
            inside = np.ones(values.shape[axis])
            inside[(0, -1)[end]] = 0.0
            line = [-1 if a == axis else 1 for a in range(values.ndim)]
            values = values * jnp.asarray(inside.reshape(line), values.dtype)
    return values


def _at_control_faces(flux: Array, component: Field, axis: int, direction: int, order: int) -> Array:
    """The carrier's flux along `direction` at the faces of the control volumes normal to it."""
    periodic = component.periodic
    reach = 1 if order == 2 else 3
    if direction == axis:  # from faces to centers
        return _mean(_with_images(flux, axis, (reach, reach), periodic[axis], odd=True), axis, order)
    reach = reach // 2
    width = (reach + 1, reach) if periodic[axis] else (reach + 1, reach + 1)
    flux = _mean(_with_images(flux, axis, width, periodic[axis], odd=False), axis, order)  # to the component's faces
    width = (reach, reach + 1) if periodic[direction] else (reach, reach)
    return _with_images(flux, direction, width, periodic[direction], odd=True)


def _net_flux(component: Field, direction: int, flux: Array, order: int) -> Array:
    grid, count = component.grid, component.shape[direction]
    reach = 1 if order == 2 else 3
    padded = component.padded([(reach, reach) if a == direction else (0, 0) for a in range(grid.dimensions)])
    near = flux * _near_mean(padded, direction, reach)
    if order == 2:
        return _two_points(near, direction, count, {0: -1.0, 1: 1.0})
    far = _far_flux(component, direction, flux, padded)
    narrow = _two_points(near, direction, count, {1: -1.0, 2: 1.0})
    wide = _two_points(far, direction, count, {0: -1.0, 3: 1.0})
    return 9 / 8 * narrow - wide / 24


def _upstream_values(component: Field, direction: int, flux: Array, scheme: str) -> Array:
    """What is carried through the faces of the control volumes normal to `direction`, from where the flux comes."""
    grid, reach = component.grid, 2 if scheme == "van_leer" else 1
    padded = component.padded([(reach, reach) if a == direction else (0, 0) for a in range(grid.dimensions)])
    faces = component.shape[direction] + 1
    points = [slice_axis(padded, direction, start, start + faces) for start in range(2 * reach)]
    below, above = points[reach - 1], points[reach]
    if scheme == "van_leer":
        lower, upper = limited_steps(component, direction, *points)
        values = upstream(flux, below + lower, above - upper)
    else:
        values = upstream(flux, below, above)
    if component.offset[direction] == 0.0:
        return values
    return with_sides(component, direction, values, below, above, flux)


def _far_flux(component: Field, direction: int, flux: Array, padded: Array) -> Array:
    """What the faces of the wide control volumes carry.

    Across a side the wide volumes reach over ghost points. Of a ghost value that is not the plain mirror image of the
    value within, the rest is carried by the flux through the side itself: nothing where that is a wall.
    """
    if component.periodic[direction] or component.offset[direction] == 0.0:
        return flux * _far_mean(padded, direction)
    mirrored = with_even_images(component.values, direction, (3, 3))
    far, count = flux * _far_mean(mirrored, direction), component.shape[direction]
    rest = padded - mirrored
    for ghosts, side in ((0, 1), (count + 3, count + 1)):  # where the ghosts begin, and which face lies on the side
        only = jnp.pad(
            slice_axis(rest, direction, ghosts, ghosts + 3), _pads(component, direction, (ghosts, count + 3 - ghosts))
        )
        far = far + slice_axis(flux, direction, side, side + 1) * _far_mean(only, direction)
    return far


def _pads(component: Field, axis: int, widths: tuple[int, int]) -> list[tuple[int, int]]:
    return [widths if other == axis else (0, 0) for other in range(component.grid.dimensions)]


def _mean(values: Array, axis: int, order: int) -> Array:
    """Halfway between the points: of second order from the nearest two, of fourth from the nearest four."""
    if order == 2:
        return _near_mean(values, axis, 1)
    return 9 / 8 * _near_mean(values, axis, 3) - 1 / 8 * _far_mean(values, axis)


def _near_mean(values: Array, axis: int, reach: int) -> Array:
    start = reach // 2
    return _two_points(values, axis, values.shape[axis] - 1 - 2 * start, {start: 0.5, start + 1: 0.5})


def _far_mean(values: Array, axis: int) -> Array:
    return _two_points(values, axis, values.shape[axis] - 3, {0: 0.5, 3: 0.5})


def _two_points(values: Array, axis: int, count: int, weights: Mapping[int, float]) -> Array:
    """`sum_s weight[s] * values[i + s]` for `count` points i along an axis."""
    shape = [count if a == axis else extent for a, extent in enumerate(values.shape)]
    places = {tuple(s if a == axis else 0 for a in range(values.ndim)): weight for s, weight in weights.items()}
    return shifted_sum(values, shape, places)


def _with_images(flux: Array, axis: int, widths: tuple[int, int], periodic: bool, *, odd: bool) -> Array:
    """`flux` with ghost points such that the ghost cells have the divergence of the cells whose images they are.

    Beyond a side the flux along the normal is mirrored about its value there (`odd`), that across it plainly: whatever
    the velocity's own conditions say, this keeps the fourth-order scheme skew-symmetric next to the sides.
    """
    if periodic:
        return pad_axis(flux, axis, (Periodic(), Periodic()), widths, offset=0.5, spacing=1.0)
    if not odd:  # a mirror image beyond an end is that of a slope of zero between the points
        return pad_axis(flux, axis, (Neumann(0.0), Neumann(0.0)), widths, offset=0.5, spacing=1.0)
    ends = [slice_axis(flux, axis, index, index + 1) for index in (0, flux.shape[axis] - 1)]
    return pad_axis(flux, axis, (Dirichlet(ends[0]), Dirichlet(ends[1])), widths, offset=0.0, spacing=1.0)


def _line(grid: Grid, axis: int, line: np.ndarray) -> np.ndarray | float:
    if grid.uniform[axis]:
        return grid.size[axis] / grid.cells[axis]
    return line.reshape([-1 if other == axis else 1 for other in range(grid.dimensions)])
