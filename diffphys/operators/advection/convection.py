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

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from diffphys.errors import InputError
from diffphys.grids import Field, Grid, check_field, face_offset
from diffphys.grids.axes import at_axis, slice_axis
from diffphys.grids.conditions import fixes_points, with_flux_images
from diffphys.grids.field import check_velocity
from diffphys.linear import linear_map
from diffphys.operators.advection.fluxes import limited_steps, upstream, with_sides
from diffphys.operators.advection.loops import Closed, NetFlux
from diffphys.operators.differences import shifted_sum
from diffphys.operators.fourth_order import check_order, spans


HALFWAY = {2: (0.5, 0.5), 4: (-1 / 16, 9 / 16, 9 / 16, -1 / 16)}
"""For each order the weights of the nearest points in the value halfway between."""


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
        InputError: if component a does not live on the faces normal to axis a, or for another order or scheme.
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
    if scheme == "central" and all(grid.uniform) and all(all(part.periodic) for part in (*velocity, *carrier)):
        closed = Closed(tuple(float(spacing) for spacing in grid.spacing), order)
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
    fluxes, volumes = [], []
    for axis, component in enumerate(carrier):
        periodic = component.periodic[axis]
        # Beyond a side as the divergence sees it, or what is the same everywhere would not stay so.
        widths = at_axis(axis, (reach, reach + periodic), (0, 0), scalar.grid.dimensions)
        fluxes.append(component.padded(widths))
        volumes.append(_line(scalar.grid, axis, spans(scalar.grid, axis, 0.5, periodic, order)))
    return scalar.with_values(net_flux(scalar, fluxes, volumes, order))


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


def component_convection(component: Field, carrier: Sequence[Field], order: int = 2, scheme: str = "central") -> Array:
    """What `convection` gives for one component, which lives on the faces of an axis."""
    grid, axis = component.grid, component.offset.index(0.0)
    fluxes, volumes = [], []
    for direction in range(grid.dimensions):
        flux, volume = control_flux(component, carrier, direction, order)
        fluxes.append(flux)
        volumes.append(volume)
    if scheme == "central":
        return without_fixed_ends(component, axis, net_flux(component, fluxes, volumes, order))
    total = jnp.zeros_like(component.values)
    for direction, (flux, volume) in enumerate(zip(fluxes, volumes, strict=True)):
        carried = flux * _upstream_values(component, direction, flux, scheme)
        net = _weighted(carried, direction, component.shape[direction], {0: -1.0, 1: 1.0})
        total = total + net / jnp.asarray(volume, component.values.dtype)
    return without_fixed_ends(component, axis, total)


def control_flux(component: Field, carrier: Sequence[Field], direction: int, order: int = 2) -> tuple[Array, Any]:
    """What crosses the faces of a component's control volumes that are normal to a direction, one more of them than
    points, and the volume of each control volume, in the same units.
    """
    grid, axis = component.grid, component.offset.index(0.0)
    area = 1.0  # of the faces that the carrier crosses; on a uniform axis the length cancels
    for other in range(grid.dimensions):
        if other != direction and not grid.uniform[other]:
            line = spans(grid, other, 0.5, component.periodic[other], order) / grid.units[other]
            area = area * _line(grid, other, line)
    flux = carrier[direction].values * jnp.asarray(area, component.values.dtype)
    flux = at_control_faces(flux, component, axis, direction, order)
    volume = _line(
        grid, direction, spans(grid, direction, component.offset[direction], component.periodic[direction], order)
    )
    for other in range(grid.dimensions):
        if other != direction and not grid.uniform[other]:
            line = spans(grid, other, component.offset[other], component.periodic[other], order) / grid.units[other]
            volume = volume * _line(grid, other, line)
    return flux, volume


def without_fixed_ends(component: Field, axis: int, values: Array) -> Array:
    """`values` with zeros on the sides where the normal velocity is fixed."""
    for end, condition in enumerate(component.conditions[axis]):
        if fixes_points(condition):
            inside = np.ones(values.shape[axis])
            inside[(0, -1)[end]] = 0.0
            line = at_axis(axis, -1, 1, values.ndim)
            values = values * jnp.asarray(inside.reshape(line), values.dtype)
    return values


def at_control_faces(flux: Array, component: Field, axis: int, direction: int, order: int) -> Array:
    """The carrier's flux along `direction` at the faces of the control volumes normal to it."""
    periodic = component.periodic
    reach = 1 if order == 2 else 3
    if direction == axis:  # from faces to centers
        return _mean(with_flux_images(flux, axis, (reach, reach), periodic[axis], odd=True), axis, order)
    reach = reach // 2
    width = (reach + 1, reach) if periodic[axis] else (reach + 1, reach + 1)
    flux = with_flux_images(flux, axis, width, periodic[axis], odd=False)
    flux = _mean(flux, axis, order)  # to the component's faces
    width = (reach, reach + 1) if periodic[direction] else (reach, reach)
    return with_flux_images(flux, direction, width, periodic[direction], odd=True)


def net_flux(
    component: Field, fluxes: Sequence[Array], volumes: Sequence[Any], order: int, narrow: Sequence[Array] = ()
) -> Array:
    """What leaves the control volumes of a field, over their volume: see `loops`.

    Args:
        component: The field.
        fluxes: For each axis what crosses the faces of the control volumes: see `at_control_faces`.
        volumes: For each axis the volumes in units of the area that the fluxes have, a number or an array.
        order: 2 or 4.
        narrow: For each axis what crosses the faces of narrow volumes, if it is something else: see `NetFlux`.
    """
    dimensions = component.grid.dimensions
    ends = tuple(not component.periodic[axis] and component.offset[axis] == 0.5 for axis in range(dimensions))
    net = NetFlux(order, ends, own=bool(narrow))
    padded = [component.padded(at_axis(axis, (net.reach, net.reach), (0, 0), dimensions)) for axis in range(dimensions)]
    return net(fluxes, padded, [1 / np.asarray(volume) for volume in volumes], narrow)


def _upstream_values(component: Field, direction: int, flux: Array, scheme: str) -> Array:
    """What is carried through the faces of the control volumes normal to `direction`, from where the flux comes."""
    grid, reach = component.grid, 2 if scheme == "van_leer" else 1
    padded = component.padded(at_axis(direction, (reach, reach), (0, 0), grid.dimensions))
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


def _mean(values: Array, axis: int, order: int) -> Array:
    """Halfway between the points: of second order from the nearest two, of fourth from the nearest four."""
    weights = HALFWAY[order]
    return _weighted(values, axis, values.shape[axis] - len(weights) + 1, dict(enumerate(weights)))


def _weighted(values: Array, axis: int, count: int, weights: Mapping[int, float]) -> Array:
    """`sum_s weight[s] * values[i + s]` for `count` points i along an axis."""
    shape = [count if a == axis else extent for a, extent in enumerate(values.shape)]
    places = {at_axis(axis, s, 0, values.ndim): weight for s, weight in weights.items()}
    return shifted_sum(values, shape, places)


def _line(grid: Grid, axis: int, line: np.ndarray) -> np.ndarray | float:
    if grid.uniform[axis]:
        return grid.size[axis] / grid.cells[axis]
    return line.reshape(at_axis(axis, -1, 1, grid.dimensions))
