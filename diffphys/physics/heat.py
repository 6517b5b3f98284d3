"""Heat conduction: the smallest example of how a system is added."""

import equinox as eqx
import jax
from jax import Array
from jax.typing import ArrayLike

from diffphys.grids import (
    Conditions,
    Declared,
    Field,
    Grid,
    as_array_of_shape,
    at_ends,
    center_offset,
    check_field,
    choice,
    quantity,
    within,
)
from diffphys.grids.numbers import in_precision_of, of_types
from diffphys.operators import diffusion_limit, diffusion_number, implicit_change
from diffphys.operators.diffusion import diffusion_rate
from diffphys.physics.units import conditions_in, step_in, unit_of
from diffphys.stepping import ImplicitExplicit, RungeKutta


class Heat(Declared):
    r"""$\partial T / \partial t = \kappa \nabla^2 T$: a temperature that evens out.

    In one dimension $T_t = \kappa T_{xx}$, in two $T_t = \kappa (T_{xx} + T_{yy})$. A wave of wavenumber $k$ decays
    like $e^{-\kappa k^2 t}$, so fine detail is gone first and what is left spreads like $\sqrt{\kappa t}$. No value
    exceeds those of the start and of the ends. Second order in space, of the order of `stepping` in time.

    `Heat(...)(temperature)` is the temperature one `dt` later, a centered `Field`.

    - `RungeKutta(1)`, the default, costs least: `dt` up to `stable_diffusion_step`, $h^2 / (2 d \kappa)$ with the same
      spacing $h$ along $d$ axes; order 3 and 4 reach 1.25 and 1.39 times as far.
    - `ImplicitExplicit(2)` takes steps of any length, with two matrix products along each axis in each of two stages.
      Choose `dt` by what is to be resolved in time.

    Args:
        grid: The grid.
        diffusivity: Length squared per time, $\kappa$.
        dt: Duration of a step.
        conditions: For each axis what holds at its (lower, upper) end.
        stepping: `RungeKutta(1)` to `(4)`, or `ImplicitExplicit(2)` to `(4)`.

    Raises:
        InputError: if a number is out of range or `dt` exceeds what is stable with `stepping`.

    Examples:
        >>> grid = dp.Grid((16,), (1.0,))
        >>> rod = dp.Heat(grid, diffusivity=1.0, dt=0.001, conditions=((dp.Dirichlet(0.0), dp.Dirichlet(0.0)),))
        >>> final, _ = dp.rollout(rod, rod.initial_state(jnp.sin(jnp.pi * grid.centers()[0])), 100)
        >>> bool(jnp.isclose(jnp.max(final.values), jnp.exp(-0.1 * jnp.pi**2), rtol=0.02))
        True
    """

    grid: Grid = eqx.field(static=True)
    diffusivity: Array = eqx.field(converter=quantity, metadata=within(minimum=0.0))
    dt: Array = eqx.field(converter=quantity, metadata=within(above=0.0))
    conditions: Conditions = eqx.field(metadata=at_ends())
    stepping: RungeKutta | ImplicitExplicit = eqx.field(
        static=True, metadata=choice(RungeKutta, ImplicitExplicit), default=RungeKutta(1)
    )

    def limits(self):
        yield diffusion_limit(self.grid, self.diffusivity, self.dt, self.stepping.real_axis)

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
        if (unit := unit_of(self.grid)) != 1.0:
            own = dict(diffusivity=step.diffusivity / unit, conditions=conditions_in(unit, step.conditions))
            return of_types(step_in(unit, step, temperature, **own), temperature)
        start = temperature.with_conditions(step.conditions)
        return of_types(self.stepping.advance(step, start, step.dt).state, temperature)

    def diffusion_number(self, state: Field | None = None) -> Array:
        """`dt` over the longest step with which `stepping` is stable; zero where it is implicit."""
        return diffusion_number(self.grid, self.diffusivity, self.dt, self.stepping.real_axis)

    @jax.named_scope("diffusion")
    def stiff_rate(self, time: ArrayLike, temperature: Field, input: None) -> Array:
        """`diffusivity * laplacian(temperature)`, all that there is."""
        return diffusion_rate(temperature, self.diffusivity)

    def stiff_change(self, time: ArrayLike, temperature: Field, length: Array, input: None) -> Array:
        """What an implicit step over `length` changes."""
        return implicit_change(temperature, self.diffusivity, length)
