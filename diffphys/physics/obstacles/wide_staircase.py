r"""The space of a flow of fourth order around an obstacle made of whole cells.

Where a stencil would touch one of the obstacle's faces (for scalars: one of its cells), the scheme falls back to
second order, link by link:

- divergence, gradient and pressure: see `poisson.wide_differences`;
- convection: a wide control volume that links such a point is left out, and the narrow ones that it spans carry its
  part. They carry the flux of which the divergence is zero, so that energy and momentum are kept as without obstacle;
- viscosity is $\delta^2 - \tfrac1{12} \delta^2 S \delta^2$ with S zero at the points beside the obstacle: symmetric,
  and never a source of energy.

Elsewhere it is the scheme of fourth order. What the staircase itself makes of a smooth surface is of first order.
"""

from collections.abc import Callable, Sequence

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial

from diffphys.grids import Field
from diffphys.grids.axes import at_axis, slice_axis
from diffphys.grids.conditions import with_flux_images
from diffphys.grids.ends import ENDS, with_even_images
from diffphys.operators import FluxAdvection, difference
from diffphys.operators.advection.convection import HALFWAY, net_flux, without_fixed_ends
from diffphys.operators.differences import shifted_sum, weighted_sum
from diffphys.physics.obstacles.plain import Plain, preconditioned
from diffphys.physics.obstacles.space import FOURTH_ORDER, Stokes, Variables, all_homogeneous, face_volumes
from diffphys.physics.obstacles.staircase import FixedSolid, Staircase, WholeCells, projected
from diffphys.poisson import PressureSolver, Solution
from diffphys.poisson.wide_differences import WideDifferences


class WideStaircase(WholeCells):
    """An obstacle at rest, with wide differences away from it.

    Args:
        variables: What the sides mean.
        pressure_solver: Not used: the pressure is solved by `WideDifferences`.
        solid: Its cells.
    """

    variables: Variables
    pressure_solver: Callable[..., PressureSolver] = eqx.field(static=True)
    solid: FixedSolid = eqx.field(static=True)

    @property
    def box(self) -> Plain:
        """The space without it."""
        return Plain(self.variables, FOURTH_ORDER, self.pressure_solver)

    @property
    def differences(self) -> WideDifferences:
        """The differences around the obstacle."""
        return WideDifferences(self.problem())

    def divergence(self, velocity: Sequence[Field]) -> Field:
        """The divergence, of second order beside the obstacle."""
        terms = [
            weighted_sum(_padded(part, axis, 1), self.differences.divergence_weights(axis))
            for axis, part in enumerate(velocity)
        ]
        return difference(velocity[0], 0).with_values(sum(terms[1:], terms[0]))

    def solved(self, source: Array) -> Solution:
        """The solution of the pressure problem."""
        return self.differences.solve(source)

    def slopes(self, potential: Array) -> list[Array]:
        """The gradient of the potential, of second order beside the obstacle and zero on its faces."""
        field = self.variables.potential_field(potential)
        return [
            weighted_sum(_padded(field, axis, 2), self.differences.gradient_weights(axis))
            for axis in range(field.grid.dimensions)
        ]

    def convection(
        self, scheme: FluxAdvection, velocity: Sequence[Field], carrier: Sequence[Field]
    ) -> tuple[Field, ...]:
        """Of fourth order, and of second beside the obstacle."""
        given = [self._with_flux(part, axis) for axis, part in enumerate(carrier)]
        rates = []
        for axis, component in enumerate(velocity):
            wide = [_at_control_faces(one, component, axis, to, 1) for to, (one, _) in enumerate(given)]
            flux = [_at_control_faces(one, component, axis, to, 0) for to, (_, one) in enumerate(given)]
            rate = _net_flux(component, self.solid.faces(self.problem(), axis), wide, flux)
            rates.append(component.with_values(without_fixed_ends(component, axis, rate)))
        return tuple(rates)

    def scalar_convection(self, scheme: FluxAdvection, scalar: Field, carrier: Sequence[Field]) -> Field:
        """Of fourth order, and of second beside the obstacle, into which nothing is carried."""
        wide = [_padded(part, axis, 1) for axis, part in enumerate(carrier)]
        flux = [
            weighted_sum(part, _flux_stencil(self.differences.flux_weights(axis), axis, 0))
            for axis, part in enumerate(wide)
        ]
        return scalar.with_values(_net_flux(scalar, self.solid.cells, wide, flux))

    def _with_flux(self, part: Field, axis: int) -> tuple[Array, Array]:
        """What crosses the faces normal to an axis, and what the divergence counts of it, both with mirror images: two
        beyond each end, of the first three along its own axis.
        """
        kinds, values, periodic = self.problem().kinds[axis], part.values, part.periodic
        below, above = (one.take(range(part.shape[axis]), axis).copy() for one in self.differences.flux_weights(axis))
        if not periodic[
            axis
        ]:  # the image of the flux beyond a side is turned about the flux through it, whatever it is
            for end, (inward, outward) in enumerate([(above, below), (below, above)]):
                side = (slice(None),) * axis + (-end,)
                inward[side], outward[side] = -ENDS[kinds[end]].weight * (1 / 24 - inward[side]), 0.0
        for other in range(part.grid.dimensions):
            if other != axis:
                widths = (2, 1) if periodic[other] else (2, 2)
                values = with_flux_images(values, other, widths, periodic[other], odd=False)
                below, above = (
                    with_even_images(one, other, widths, periodic=periodic[other]) for one in (below, above)
                )
        wide = with_flux_images(values, axis, (3, 3), periodic[axis], odd=True)
        flux = weighted_sum(wide, _flux_stencil((below, above), axis, 2))
        return wide, with_flux_images(flux, axis, (2, 2), periodic[axis], odd=True)

    def diffused(self, velocity: Sequence[Field], viscosity: Array) -> tuple[Array, ...]:
        """`viscosity * laplacian(v)`, of second order beside the obstacle; viscosity is one number."""
        return tuple(
            without_fixed_ends(part, axis, viscosity * self.velocity_laplacian(part))
            for axis, part in enumerate(velocity)
        )

    def velocity_laplacian(self, component: Field) -> Array:
        """The Laplacian of a velocity component, of second order beside the obstacle."""
        closed = self.solid.faces(self.problem(), component.offset.index(0.0))
        parts = []
        for axis in range(component.grid.dimensions):
            spacing, count = component.grid.size[axis] / component.grid.cells[axis], closed.shape[axis]
            points = _with_ghosts(component, closed, axis, 1)
            away = ~np.any([points.take(range(s, s + count), axis) for s in range(3)], axis=0)
            if any(end.extra_length is not None for end in component.conditions[axis]):
                # What lies beyond a side with friction is no mirror image: of the second difference it is another one.
                curved = _second_difference(component, axis) * jnp.asarray(away, component.values.dtype)
                at_rest = component.with_conditions(all_homogeneous(component.conditions)).with_values(curved)
                parts.append(-_second_difference(at_rest, axis) / (12 * spacing**2))
                away = np.zeros_like(away)
            around = _with_ghosts(component, away, axis, 1) / 12
            below, here, above = (around.take(range(s, s + count), axis) for s in range(3))
            weights = (
                -below,
                1 + 2 * (below + here),
                -2 - below - 4 * here - above,
                1 + 2 * (here + above),
                -above,
            )
            # Three ghost points as convection has them, so that a program makes them once.
            stencil = {
                at_axis(axis, 1 + step, 0, closed.ndim): weight / spacing**2 for step, weight in enumerate(weights)
            }
            parts.append(weighted_sum(component.padded(at_axis(axis, (3, 3), (0, 0), closed.ndim)), stencil))
        return sum(parts[1:], parts[0])

    def stokes(self, reach: Array) -> Stokes:
        """The parts of an implicit step of diffusion."""
        shapes = [self.variables.velocity_shape(axis) for axis in range(self.variables.grid.dimensions)]
        fields = self.variables.velocity_fields([jnp.zeros(shape, reach.dtype) for shape in shapes])
        weights = [face_volumes(axis, part, 4) for axis, part in enumerate(fields)]
        return Stokes(
            Partial(projected, self), Partial(_spread, self, reach), Partial(preconditioned, self.box, reach), weights
        )

    def at_rest(self) -> "WideStaircase":
        """The same with homogeneous conditions."""
        return WideStaircase(
            variables=self.variables.homogeneous(), pressure_solver=self.pressure_solver, solid=self.solid
        )


AROUND_CELLS = {2: Staircase, 4: WideStaircase}
"""The space around an obstacle of whole cells, by the order of its differences."""


def _net_flux(field: Field, closed: np.ndarray, wide: Sequence[Array], flux: Sequence[Array]) -> Array:
    r"""What leaves the control volumes of a field. Where a wide volume would link a closed point, of the sum

    $$\frac1{24} \Big( \sum_{\text{three narrow volumes}} m - \sum_{\text{the wide one}} m \Big)$$

    that it adds to what the narrow ones carry nothing is left.

    Args:
        field: The field.
        closed: The points of the field that no wide volume may link.
        wide: For each axis what crosses the faces of the control volumes, also of those around a ghost point.
        flux: For each axis what the divergence counts of that, through the faces of volumes around points within.
    """
    carried = []
    for axis, one in enumerate(wide):
        points, faces = _with_ghosts(field, closed, axis, 3), one.shape[axis]
        free = ~np.any([points.take(range(step, step + faces), axis) for step in range(4)], axis=0)
        carried.append(one * jnp.asarray(free, one.dtype))
    return net_flux(field, carried, field.grid.spacing, 4, flux)


def _at_control_faces(given: Array, component: Field, axis: int, direction: int, beyond: int) -> Array:
    """What `WideStaircase._with_flux` gives for the faces normal to a direction, at the faces of the control volumes of
    a component, and so many beyond those around its points.
    """
    starts = at_axis(axis, 0, 2, given.ndim)
    extents = [count + (1 + 2 * beyond) * (a == direction) for a, count in enumerate(component.shape)]
    places = {
        tuple(start + step * (a == axis) for a, start in enumerate(starts)): weight
        for step, weight in enumerate(HALFWAY[4])
    }
    return shifted_sum(given, extents, places)


def _flux_stencil(weights: tuple[np.ndarray, np.ndarray], axis: int, first: int) -> dict[tuple[int, ...], np.ndarray]:
    """`WideDifferences.flux_weights` as a stencil along an axis that begins so many faces before each."""
    below, above = weights
    return {
        at_axis(axis, first + step, 0, below.ndim): weight
        for step, weight in enumerate((-below, 1 + below + above, -above))
    }


def _padded(field: Field, axis: int, width: int) -> Array:
    """A field with so many ghost points at the ends of an axis as there are beyond the faces, or between them."""
    centered, periodic = field.offset[axis] == 0.5, field.periodic[axis]
    behind = width + periodic * (-1 if centered else 1)
    return field.padded(at_axis(axis, (width, behind), (0, 0), field.grid.dimensions))


def _with_ghosts(field: Field, points: np.ndarray, axis: int, width: int) -> np.ndarray:
    """For the points along an axis and ghost points beyond its ends what is said of the points within."""
    periodic, on_sides = field.periodic[axis], field.offset[axis] == 0.0
    return with_even_images(points, axis, (width, width), periodic=periodic, on_sides=on_sides)


def _second_difference(field: Field, axis: int) -> Array:
    padded = field.padded(at_axis(axis, (1, 1), (0, 0), field.grid.dimensions))
    below, here, above = (slice_axis(padded, axis, step, step + field.shape[axis]) for step in range(3))
    return below - 2 * here + above


def _spread(space: WideStaircase, reach: Array, parts: Sequence[Field]) -> Sequence[Array]:
    return [reach * space.velocity_laplacian(part) for part in parts]
