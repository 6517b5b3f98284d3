"""The wave equation."""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from diffphys.grids import (
    Conditions,
    Declared,
    Field,
    Grid,
    Limit,
    as_array_of_shape,
    at_ends,
    check_centered,
    choice,
    quantity,
    within,
)
from diffphys.grids.conditions import homogeneous
from diffphys.grids.numbers import in_precision_of, of_types
from diffphys.operators import control_volume, gradient, laplacian, stable_diffusion_step
from diffphys.physics.units import conditions_in, step_in, unit_of
from diffphys.stepping import RungeKutta, Splitting


class WaveState(NamedTuple):
    """The state of `Wave`: two centered fields.

    Attributes:
        displacement: u.
        velocity: Its derivative with respect to time.
    """

    displacement: Field
    velocity: Field


class Wave(Declared):
    r"""$\partial^2 u / \partial t^2 = c^2 \nabla^2 u - \gamma\, \partial u / \partial t$: a membrane, a string, sound.

    In one dimension $u_{tt} = c^2 u_{xx} - \gamma u_t$, in two $u_{tt} = c^2 (u_{xx} + u_{yy}) - \gamma u_t$; solved
    for $u$ and $v = u_t$. What is let go runs in all directions at speed $c$; a wave that meets a `Dirichlet` end comes
    back upside down, at a `Neumann` end upright, and where $c$ changes in space a part comes back and the rest is
    bent. Nothing decays but by $\gamma$, amplitudes like $e^{-\gamma t / 2}$.

    Second order in space. A wave of $n$ cells per length runs too slowly by a part of $\tfrac16 (\pi / n)^2$: 20 cells
    for each length are 0.4 % off. The discrete energy
    $E = \tfrac12 \sum V \big( v^2 / c^2 + |\nabla_h u|^2 \big)$ is constant in continuous time without damping, for any
    $c(x)$, whatever fixed values or slopes of zero stand at the ends. With $\omega = 2 c\, (\sum_a h_a^{-2})^{1/2}$,
    the largest frequency of the grid:

    - `Splitting()`, the default, is the leapfrog method, of second order (kick, drift, kick: Verlet 1967): stable for
      $\omega \Delta t \le 2$ (in one dimension $c \Delta t \le h$), its energy oscillates by a part of order
      $\Delta t^2$ and never drifts. The best choice for long times.
    - `RungeKutta(4)` up to $\omega \Delta t = 2.82$ and `RungeKutta(3)` up to 1.73 lose energy slowly, mostly of short
      waves. Orders 1 and 2 gain it without bound and serve for short times only.

    Args:
        grid: The grid.
        speed: $c$, length per time; a number, or one for each cell.
        dt: Duration of a step.
        conditions: For each axis what holds at its (lower, upper) end, for the displacement.
        damping: $\gamma$, per time; a number, or one for each cell.
        stepping: `Splitting()` or `RungeKutta(1)` to `(4)`.

    Raises:
        InputError: if a number is out of range or `dt` exceeds what is stable with `stepping`.

    Examples:
        >>> fixed = ((dp.Dirichlet(0.0), dp.Dirichlet(0.0)),)
        >>> string = dp.Wave(dp.Grid((32,), (1.0,)), speed=1.0, dt=0.02, conditions=fixed)
        >>> final, _ = dp.rollout(string, string.initial_state(jnp.sin(jnp.pi * string.grid.centers()[0])), 50)
    """

    grid: Grid = eqx.field(static=True)
    speed: Array = eqx.field(converter=quantity, metadata=within(minimum=0.0, cells=True))
    dt: Array = eqx.field(converter=quantity, metadata=within(above=0.0))
    conditions: Conditions = eqx.field(metadata=at_ends())
    damping: Array = eqx.field(converter=quantity, metadata=within(minimum=0.0, cells=True), default=0.0)
    stepping: Splitting | RungeKutta = eqx.field(
        static=True, metadata=choice(Splitting, RungeKutta), default=Splitting()
    )

    def limits(self):
        reach = getattr(self.stepping, "imaginary_axis", 2.0)
        if reach > 0:  # else a wave grows with every step, however short, and slowly where it is short
            longest = reach * jnp.sqrt(stable_diffusion_step(self.grid, 1.0) / 2).astype(self.dt.dtype)
            ratio = self.dt * jnp.max(self.speed) / longest
            yield Limit(ratio, "this speed, spacing and stepping", "beyond which the shortest waves grow")

    def initial_state(self, displacement: ArrayLike = 0.0, velocity: ArrayLike = 0.0) -> WaveState:
        """Two fields, each from a number or an array with an entry for each cell.

        Raises:
            InputError: for an array of another shape or with values that are not finite.
        """
        given = {"displacement": displacement, "velocity": velocity}
        values = [as_array_of_shape("Wave", name, value, self.grid.cells) for name, value in given.items()]
        fields = [Field(one, self.grid, conditions=self.conditions) for one in values]
        return self._with_conditions(WaveState(*fields))

    def __call__(self, state: WaveState) -> WaveState:
        check_centered("Wave", state, ("displacement", "velocity"), self.grid)
        step = in_precision_of("Wave", self, state.displacement.values)
        if (unit := unit_of(self.grid)) == 1.0:
            return of_types(step.stepping.advance(step, step._with_conditions(state), step.dt).state, state)
        own = dict(damping=step.damping * unit, conditions=conditions_in(unit, step.conditions))
        after = step_in(unit, step, self._with_velocity(state, state.velocity.values * unit), **own)
        return of_types(self._with_velocity(after, after.velocity.values / unit), state)

    def rate(self, time: ArrayLike, state: WaveState, input: None) -> tuple[Array, Array]:
        """Velocity and acceleration."""
        return state.velocity.values, self._pull(state) - self.damping * state.velocity.values

    def energy(self, state: WaveState) -> Array:
        """The discrete energy, with the displacement's own conditions at its ends; needs a speed above 0."""
        check_centered("Wave", state, ("displacement", "velocity"), self.grid)
        total = jnp.sum(self.grid.volumes() * (state.velocity.values / self.speed) ** 2)
        for axis, slope in enumerate(gradient(state.displacement)):
            volumes = np.broadcast_to(control_volume(slope), slope.shape).copy()
            for end, condition in enumerate(state.displacement.conditions[axis]):
                if condition.end and not condition.end.mirror:  # the difference there reaches over half a cell
                    np.moveaxis(volumes, axis, 0)[-end] /= 2
            total = total + jnp.sum(volumes * slope.values**2)
        return total / 2

    @property
    def parts(self) -> tuple[Callable[..., WaveState], ...]:
        """Half a kick and half of the damping, a drift, and both in reverse."""
        return self._kicked, self._damped, self._drifted, self._damped, self._kicked

    def _kicked(self, time: ArrayLike, state: WaveState, dt: Array, input: None) -> WaveState:
        return self._with_velocity(state, state.velocity.values + dt / 2 * self._pull(state))

    def _damped(self, time: ArrayLike, state: WaveState, dt: Array, input: None) -> WaveState:
        return self._with_velocity(state, state.velocity.values * jnp.exp(-self.damping * dt / 2))

    def _drifted(self, time: ArrayLike, state: WaveState, dt: Array, input: None) -> WaveState:
        moved = state.displacement.values + dt * state.velocity.values
        return state._replace(displacement=state.displacement.with_values(moved))

    @jax.named_scope("restoring_force")
    def _pull(self, state: WaveState) -> Array:
        return self.speed**2 * laplacian(state.displacement).values

    def _with_velocity(self, state: WaveState, velocity: Array) -> WaveState:
        return state._replace(velocity=state.velocity.with_values(velocity))

    def _with_conditions(self, state: WaveState) -> WaveState:
        fixed = tuple((homogeneous(lower), homogeneous(upper)) for lower, upper in self.conditions)
        return WaveState(state.displacement.with_conditions(self.conditions), state.velocity.with_conditions(fixed))
