"""Burgers' equation: advection by itself, and diffusion."""

from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from diffphys.grids import (
    Condition,
    Conditions,
    Declared,
    Field,
    Grid,
    as_array_of_shape,
    at_ends,
    choice,
    face_offset,
    quantity,
    within,
)
from diffphys.grids.conditions import homogeneous, is_periodic, shifted
from diffphys.grids.field import check_velocity
from diffphys.grids.numbers import as_components, in_precision_of, of_types, plain
from diffphys.operators import (
    convection,
    diffusion_limit,
    diffusion_number,
    explicit_diffusion,
    implicit_change,
    semi_lagrangian,
)
from diffphys.operators.advection.look_ups import as_largest_courant
from diffphys.operators.diffusion import diffusion_rate
from diffphys.physics.units import conditions_in, step_in, unit_of
from diffphys.stepping import ImplicitExplicit, RungeKutta, Splitting


class Burgers(Declared):
    r"""$\partial v / \partial t + v \cdot \nabla v = \nu \nabla^2 v$: a velocity that carries itself.

    In one dimension $u_t + u u_x = \nu u_{xx}$; in two $u_t + u u_x + v u_y = \nu (u_{xx} + u_{yy})$ and the same for
    $v$. High values overtake low ones, so that slopes steepen into fronts of height $\Delta u$ and width about
    $4 \nu / \Delta u$, which then move with the mean of both sides, merge and decay. On a periodic axis of length
    $2 \pi$ a sine of height 1 has its front after a time of 1; viscosities of 0.01 to 0.1 show it well.

    The state is the velocity, a tuple with one `Field` on the faces of each axis.

    - `Splitting()`, the default: explicit diffusion, then semi-Lagrangian self-advection. First order in space and
      time, bounded for every step that diffusion allows (`stable_diffusion_step`); fronts are as wide as a cell at
      least, and neither momentum nor energy is conserved.
    - `RungeKutta(n)`: second order in space. In one dimension the form is
      $\tfrac13 (u^2)_x + \tfrac13 u u_x$, discretely $\tfrac23 C(u) u - \tfrac13 u\, C(u) 1$ with the operator $C$ of
      `operators.convection`: the sum of $u$ and, save for viscosity, the sum of $u^2$ are conserved. In more
      dimensions, where the equation itself conserves neither, it is the advective form $C(v) w - w\, C(v) 1$. Both are
      central: a front needs cells of at most $2 \nu / |v|$, or wiggles remain behind it. Choose order 3 or 4 and a
      Courant number $\sum_a |v_a| \Delta t / h_a$ of about 1; besides, `dt` is bound by diffusion as for `Heat`.
    - `ImplicitExplicit(n)`: the same in space, with diffusion taken implicitly: only the Courant number binds `dt`.

    Args:
        grid: The grid.
        viscosity: Length squared per time, $\nu$.
        dt: Duration of a step.
        conditions: For each axis what holds at its (lower, upper) end, for every component alike.
        largest_courant: See `operators.semi_lagrangian`; only with `Splitting()`.
        stepping: `Splitting()`, `RungeKutta(1)` to `(4)`, or `ImplicitExplicit(2)` to `(4)`.

    Raises:
        InputError: if a number is out of range or `dt` exceeds what diffusion allows with `stepping`.

    Examples:
        >>> grid = dp.Grid((32,), (1.0,))
        >>> system = dp.Burgers(grid, viscosity=1e-2, dt=0.01, conditions=((dp.Periodic(), dp.Periodic()),))
        >>> x = grid.coordinates((0.0,), periodic=(True,))[0]
        >>> (velocity,), _ = dp.rollout(system, system.initial_state([jnp.sin(2 * jnp.pi * x)]), 50)
    """

    grid: Grid = eqx.field(static=True)
    viscosity: Array = eqx.field(converter=quantity, metadata=within(minimum=0.0))
    dt: Array = eqx.field(converter=quantity, metadata=within(above=0.0))
    conditions: Conditions = eqx.field(metadata=at_ends())
    largest_courant: int | tuple[int, ...] | None = eqx.field(static=True, converter=plain, default=None)
    stepping: Splitting | RungeKutta | ImplicitExplicit = eqx.field(
        static=True, metadata=choice(Splitting, RungeKutta, ImplicitExplicit), default=Splitting()
    )

    def limits(self):
        yield diffusion_limit(self.grid, self.viscosity, self.dt, self.stepping.real_axis, "this viscosity")

    def refused(self):
        as_largest_courant("Burgers", self.largest_courant, self.grid.dimensions)
        useless = self.largest_courant is not None and not isinstance(self.stepping, Splitting)
        yield useless, f"largest_courant is given with stepping {self.stepping!r}; with Splitting() it is accepted."

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
        if (unit := unit_of(self.grid)) != 1.0:
            own = dict(viscosity=step.viscosity / unit, conditions=conditions_in(unit, step.conditions))
            return of_types(step_in(unit, step, velocity, **own), velocity)
        start = tuple(component.with_conditions(step.conditions) for component in velocity)
        return of_types(self.stepping.advance(step, start, step.dt).state, velocity)

    def diffusion_number(self, state: tuple[Field, ...] | None = None) -> Array:
        """`dt` over the longest step for which diffusion by `stepping` is stable; zero where it is implicit."""
        return diffusion_number(self.grid, self.viscosity, self.dt, self.stepping.real_axis)

    @jax.named_scope("advection")
    def rate(self, time: ArrayLike, velocity: tuple[Field, ...], input: None) -> tuple[Array, ...]:
        """What advection changes, by the central forms."""
        ones = tuple(
            Field(jnp.ones_like(part.values), part.grid, part.offset, tuple(map(_ends_of_ones, part.conditions)))
            for part in velocity
        )
        carried, spread = (2 / 3, 1 / 3) if self.grid.dimensions == 1 else (1.0, 1.0)
        parts = zip(velocity, convection(velocity), convection(ones, velocity), strict=True)
        return tuple(spread * part.values * net.values - carried * flux.values for part, flux, net in parts)

    @jax.named_scope("diffusion")
    def stiff_rate(self, time: ArrayLike, velocity: tuple[Field, ...], input: None) -> tuple[Array, ...]:
        """What diffusion changes."""
        return tuple(diffusion_rate(part, self.viscosity) for part in velocity)

    def stiff_change(
        self, time: ArrayLike, velocity: tuple[Field, ...], length: Array, input: None
    ) -> tuple[Array, ...]:
        """What an implicit step of diffusion over `length` changes."""
        return tuple(implicit_change(part, self.viscosity, length) for part in velocity)

    @property
    def parts(self) -> tuple[Callable[..., tuple[Field, ...]], ...]:
        """Diffusion, then advection, each by itself."""
        return self._diffused, self._advected

    @jax.named_scope("diffusion")
    def _diffused(self, time: ArrayLike, velocity: tuple[Field, ...], dt: Array, input: None) -> tuple[Field, ...]:
        return tuple(explicit_diffusion(component, self.viscosity, dt) for component in velocity)

    @jax.named_scope("advection")
    def _advected(self, time: ArrayLike, velocity: tuple[Field, ...], dt: Array, input: None) -> tuple[Field, ...]:
        return tuple(semi_lagrangian(component, velocity, dt, self.largest_courant) for component in velocity)

    def _component(self, axis: int, values: ArrayLike) -> Field:
        offset = face_offset(self.grid, axis)
        shape = self.grid.shape(offset, tuple(is_periodic(pair) for pair in self.conditions))
        values = as_array_of_shape("Burgers", f"velocity[{axis}]", values, shape)
        return Field(values, self.grid, offset, self.conditions)


def _ends_of_ones(pair: tuple[Condition, Condition]) -> tuple[Condition, Condition]:
    """What holds at two ends of this kind for a field that is one everywhere."""
    lower, upper = (shifted(homogeneous(condition), jnp.ones(())) for condition in pair)
    return lower, upper
