"""Heat conduction: the smallest example of how a system is added."""

import equinox as eqx
import jax
from jax import Array
from jax.typing import ArrayLike

from diffphys.errors import InputError
from diffphys.grids import Conditions, Field, Grid, center_offset
from diffphys.grids.conditions import check_condition_numbers, check_conditions
from diffphys.grids.field import check_field
from diffphys.grids.grid import check_grid
from diffphys.grids.numbers import as_array_of_shape, check_number, concrete, in_precision_of, number, of_types
from diffphys.operators import explicit_diffusion, stable_diffusion_step


class Heat(eqx.Module):
    """`dT/dt = diffusivity * laplacian(T)` by explicit Euler steps: first order in time, second in space.

    `Heat(...)(temperature)` is the temperature one `dt` later, a centered `Field`.

    Args:
        grid: The grid.
        diffusivity: Length squared per time.
        dt: Duration of a step.
        conditions: For each axis what holds at its (lower, upper) end.

    Raises:
        InputError: if a number is out of range or `dt` exceeds `stable_diffusion_step`.
    """

    grid: Grid = eqx.field(static=True)
    diffusivity: Array = eqx.field(converter=number("Heat: diffusivity"))
    dt: Array = eqx.field(converter=number("Heat: dt"))
    conditions: Conditions

    def __check_init__(self):
        check_grid("Heat", self.grid)
        check_conditions(self.conditions, self.grid.dimensions)
        check_condition_numbers("Heat", self.conditions)
        check_number("Heat", "diffusivity", self.diffusivity, minimum=0.0)
        check_number("Heat", "dt", self.dt, above=0.0)
        check_diffusion_step("Heat", self.grid, self.diffusivity, self.dt)

    def initial_state(self, temperature: ArrayLike = 0.0) -> Field:
        """A field of this temperature: a number, or an array with an entry for each cell.

        Raises:
            InputError: for an array of another shape or with values that are not finite.
        """
        values = as_array_of_shape("Heat", "temperature", temperature, self.grid.cells)
        return Field(values, self.grid, conditions=self.conditions)

    def __call__(self, temperature: Field) -> Field:
        check_field("Heat", "temperature", temperature, self.grid, center_offset(self.grid))
        step = in_precision_of("Heat", self, temperature.values)
        diffused = explicit_diffusion(temperature.with_conditions(step.conditions), step.diffusivity, step.dt)
        return of_types(diffused, temperature)


def check_diffusion_step(owner: str, grid: Grid, diffusivity: Array, dt: Array) -> None:
    """Raise `InputError` if `dt` is beyond the bound of explicit diffusion; traced numbers pass."""
    step, coefficient = concrete(dt), concrete(diffusivity)
    if step is None or coefficient is None or step.dtype == object or coefficient.dtype == object:
        return
    with jax.ensure_compile_time_eval():  # the numbers are known, also where the system is made inside of jit
        longest = float(stable_diffusion_step(grid, float(coefficient))) if coefficient > 0 else float("inf")
    if step > longest * (1 + 1e-6):
        raise InputError(
            f"{owner}: dt is {float(step):g}; with this diffusivity and spacing at most {longest:g} is accepted, "
            f"beyond which explicit "
            "diffusion is unstable."
        )
