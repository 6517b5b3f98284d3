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
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial

from diffphys.grids import Field
from diffphys.operators import laplacian
from diffphys.operators.advection.convection import at_control_faces, net_flux, without_fixed_ends
from diffphys.operators.advection.loops import NetFlux
from diffphys.operators.differences import added_within, cut_out, slice_axis
from diffphys.operators.fourth_order import fourth_order_divergence
from diffphys.physics.obstacles.plain import Plain, preconditioned
from diffphys.physics.obstacles.space import FOURTH_ORDER, Stokes, Variables, all_homogeneous, face_volumes
from diffphys.physics.obstacles.staircase import FixedSolid, WholeCells, projected
from diffphys.poisson import PressureSolver, Solution
from diffphys.poisson.problem import face_divergence
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
        wide = fourth_order_divergence(velocity)
        put_back = [self.differences.put_back(part.values, axis) for axis, part in enumerate(velocity)]
        return wide.with_values(wide.values + face_divergence(self.problem(), put_back))

    def solved(self, source: Array) -> Solution:
        """The solution of the pressure problem, by conjugate gradients."""
        return self.differences.solve(source)

    def slopes(self, potential: Array) -> list[Array]:
        """The gradient of the potential, of second order beside the obstacle and zero on its faces."""
        return self.differences.gradient(potential)

    def convection(self, scheme: Any, velocity: Sequence[Field], carrier: Sequence[Field]) -> tuple[Field, ...]:
        """Of fourth order, and of second beside the obstacle."""
        put_back = [self.differences.put_back(part.values, axis) for axis, part in enumerate(carrier)]
        rates = []
        for axis, component in enumerate(velocity):
            flux, missing = (
                [at_control_faces(one, component, axis, direction, 4) for direction, one in enumerate(parts)]
                for parts in ([part.values for part in carrier], put_back)
            )
            rate = self._net_flux(component, self.solid.faces(self.problem(), axis), flux, missing)
            rates.append(component.with_values(without_fixed_ends(component, axis, rate)))
        return tuple(rates)

    def scalar_convection(self, scheme: Any, scalar: Field, carrier: Sequence[Field]) -> Field:
        """Of fourth order, and of second beside the obstacle, into which nothing is carried."""
        flux, missing = [], []
        for axis, part in enumerate(carrier):
            widths = [(1, 1 + part.periodic[axis]) if a == axis else (0, 0) for a in range(scalar.grid.dimensions)]
            flux.append(part.padded(widths))
            missing.append(part.with_values(self.differences.put_back(part.values, axis)).padded(widths))
        return scalar.with_values(self._net_flux(scalar, self.solid.cells, flux, missing))

    def _net_flux(self, field: Field, closed: np.ndarray, flux: Sequence[Array], missing: Sequence[Array]) -> Array:
        """What leaves the control volumes of a field: that of fourth order everywhere, and in a window around the
        obstacle what narrow volumes carry there less what wide ones do that link a closed point.

        Args:
            field: The field.
            closed: The points of the field that no wide volume may link.
            flux: For each axis what crosses the faces of the control volumes, also of those around ghost points.
            missing: What the divergence counts besides, as `WideDifferences.put_back` gives it.
        """
        axes, spacing = range(field.grid.dimensions), field.grid.spacing
        ends = [not field.periodic[axis] and field.offset[axis] == 0.5 for axis in axes]
        window = _window(field, closed, 7)
        wide, narrow = [], []
        for axis in axes:
            points, faces = _with_ghosts(field, closed, axis, 3), flux[axis].shape[axis]
            links = np.any([points.take(range(step, step + faces), axis) for step in range(4)], axis=0)
            within = _moved(window, axis, 3)
            part = cut_out(flux[axis], within) * jnp.asarray(links[within], flux[axis].dtype)
            count = part.shape[axis] - 2
            below, here, above = (slice_axis(part, axis, step, count + step) for step in range(3))
            wide.append(part)
            counted = slice_axis(cut_out(missing[axis], within), axis, 1, count + 1)
            narrow.append(here - (below - 2 * here + above) / 24 + counted)
        whole = [window[axis] == slice(0, field.shape[axis]) for axis in axes]
        ends = tuple(end and one for end, one in zip(ends, whole, strict=True))
        widths = [[(3, 3) if a == axis else (0, 0) for a in axes] for axis in axes]
        padded = [cut_out(field.padded(widths[axis]), _moved(window, axis, 6)) for axis in axes]
        nearer = [slice_axis(one, axis, 2, one.shape[axis] - 2) for axis, one in enumerate(padded)]
        factors = [1 / one for one in spacing]
        less = NetFlux(4, ends)(wide, padded, factors)
        more = NetFlux(2, ends)(narrow, nearer, factors)
        return added_within(net_flux(field, flux, spacing, 4), more - less, window)

    def diffused(self, velocity: Sequence[Field], viscosity: Array) -> tuple[Array, ...]:
        """`viscosity * laplacian(v)`, of second order beside the obstacle; viscosity is one number."""
        return tuple(
            without_fixed_ends(part, axis, viscosity * self.velocity_laplacian(part))
            for axis, part in enumerate(velocity)
        )

    def velocity_laplacian(self, component: Field) -> Array:
        """The Laplacian of a velocity component, of second order beside the obstacle."""
        closed = self.solid.faces(self.problem(), component.offset.index(0.0))
        at_rest = component.with_conditions(all_homogeneous(component.conditions))
        total = laplacian(component).values
        for axis in range(component.grid.dimensions):
            points = _with_ghosts(component, closed, axis, 1)
            beside = np.any([points.take(range(s, s + closed.shape[axis]), axis) for s in range(3)], axis=0)
            curved = _second_difference(component, axis) * jnp.asarray(~beside, total.dtype)
            spacing = component.grid.size[axis] / component.grid.cells[axis]
            total = total - _second_difference(at_rest.with_values(curved), axis) / (12 * spacing**2)
        return total

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


def _window(field: Field, closed: np.ndarray, margin: int) -> tuple[slice, ...]:
    """The smallest box of a field's points around those that are closed, with a margin; along an axis on which that
    would reach beyond an end, all of it.
    """
    found = []
    for axis, count in enumerate(field.shape):
        lines = np.flatnonzero(closed.any(axis=tuple(a for a in range(closed.ndim) if a != axis)))
        start, stop = int(lines.min()) - margin, int(lines.max()) + 1 + margin
        found.append(slice(start, stop) if start >= 0 and stop <= count else slice(0, count))
    return tuple(found)


def _moved(window: tuple[slice, ...], axis: int, more: int) -> tuple[slice, ...]:
    """The window in an array with so many more entries along an axis."""
    return tuple(slice(one.start, one.stop + more) if a == axis else one for a, one in enumerate(window))


def _with_ghosts(field: Field, points: np.ndarray, axis: int, width: int) -> np.ndarray:
    """For the points along an axis and ghost points beyond its ends what is said of the points within."""
    widths = [(width, width) if a == axis else (0, 0) for a in range(points.ndim)]
    mode = "wrap" if field.periodic[axis] else "symmetric" if field.offset[axis] == 0.5 else "reflect"
    return np.pad(points, widths, mode=mode)  # pyright: ignore[reportArgumentType, reportCallIssue]


def _second_difference(field: Field, axis: int) -> Array:
    padded = field.padded([(1, 1) if a == axis else (0, 0) for a in range(field.grid.dimensions)])
    below, here, above = (slice_axis(padded, axis, step, step + field.shape[axis]) for step in range(3))
    return below - 2 * here + above


def _spread(space: WideStaircase, reach: Array, parts: Sequence[Field]) -> Sequence[Array]:
    return [reach * space.velocity_laplacian(part) for part in parts]
