"""Burgers' equation: advection by itself, and diffusion."""

from collections.abc import Sequence

import equinox as eqx
from jax import Array
from jax.typing import ArrayLike

from diffphys.grids import Conditions, Field, Grid, face_offset
from diffphys.grids.conditions import check_condition_numbers, check_conditions
from diffphys.grids.field import check_velocity
from diffphys.grids.grid import check_grid
from diffphys.grids.numbers import (
    as_array_of_shape,
    as_components,
    check_number,
    in_precision_of,
    number,
    of_types,
    plain,
)
from diffphys.operators import explicit_diffusion, semi_lagrangian
from diffphys.operators.advection import as_largest_courant
from diffphys.physics.heat import check_diffusion_step


class Burgers(eqx.Module):
    """`dv/dt + v . grad v = viscosity * laplacian(v)` in one to three dimensions, by first-order splitting.

    One step is explicit diffusion followed by semi-Lagrangian self-advection. The state is the velocity, a tuple with
    one `Field` on the faces of each axis.

    Args:
        grid: The grid.
        viscosity: Length squared per time.
        dt: Duration of a step.
        conditions: For each axis what holds at its (lower, upper) end, for every component alike.
        largest_courant: See `operators.semi_lagrangian`.

    Raises:
        InputError: if a number is out of range or `dt` exceeds `stable_diffusion_step`.
    """

    grid: Grid = eqx.field(static=True)
    viscosity: Array = eqx.field(converter=number("Burgers: viscosity"))
    dt: Array = eqx.field(converter=number("Burgers: dt"))
    conditions: Conditions
    largest_courant: int | tuple[int, ...] | None = eqx.field(static=True, converter=plain, default=None)

    def __check_init__(self):
        check_grid("Burgers", self.grid)
        check_conditions(self.conditions, self.grid.dimensions)
        check_condition_numbers("Burgers", self.conditions)
        check_number("Burgers", "viscosity", self.viscosity, minimum=0.0)
        check_number("Burgers", "dt", self.dt, above=0.0)
        as_largest_courant("Burgers", self.largest_courant, self.grid.dimensions)
        check_diffusion_step("Burgers", self.grid, self.viscosity, self.dt)

    def initial_state(self, velocity: Sequence[ArrayLike]) -> tuple[Field, ...]:
        """The velocity from one number or array of face values per component.

        Raises:
            InputError: for arrays of another shape or with values that are not finite.
        """
        parts = as_components("Burgers", "velocity", velocity, self.grid.dimensions)
        return tuple(self._component(axis, values) for axis, values in enumerate(parts))

    def __call__(self, velocity: tuple[Field, ...]) -> tuple[Field, ...]:
        check_velocity("Burgers", "velocity", velocity, self.grid, on_faces=True)
        step = in_precision_of("Burgers", self, velocity[0].values)
        diffused = tuple(
            explicit_diffusion(component.with_conditions(step.conditions), step.viscosity, step.dt)
            for component in velocity
        )
        advected = tuple(semi_lagrangian(part, diffused, step.dt, self.largest_courant) for part in diffused)
        return of_types(advected, velocity)

    def _component(self, axis: int, values: ArrayLike) -> Field:
        offset = face_offset(self.grid, axis)
        periodic = tuple(type(pair[0]).__name__ == "Periodic" for pair in self.conditions)
        shape = self.grid.shape(offset, periodic)
        values = as_array_of_shape("Burgers", f"velocity[{axis}]", values, shape)
        return Field(values, self.grid, offset, self.conditions)
