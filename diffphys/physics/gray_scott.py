"""Reaction and diffusion of two substances, from which patterns grow."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from diffphys.grids import (
    Conditions,
    Declared,
    Field,
    Grid,
    as_array_of_shape,
    at_ends,
    check_centered,
    choice,
    quantity,
    within,
)
from diffphys.grids.numbers import in_precision_of, of_types
from diffphys.operators import diffusion_limit, diffusion_number, implicit_change, laplacian
from diffphys.stepping import ImplicitExplicit, RungeKutta


class Concentrations(NamedTuple):
    """The state of `GrayScott`: two centered fields.

    Attributes:
        substrate: u, what is fed and used up; 1 where nothing reacts.
        activator: v, what makes more of itself.
    """

    substrate: Field
    activator: Field


class GrayScott(Declared):
    r"""An activator that makes more of itself from a substrate, $U + 2V \to 3V$, and decays (Gray, Scott 1984).

    $$\frac{\partial u}{\partial t} = D_u \nabla^2 u - u v^2 + F (1 - u), \qquad
    \frac{\partial v}{\partial t} = D_v \nabla^2 v + u v^2 - (F + k) v$$

    with $\nabla^2 = \partial_{xx}$ in one dimension, $\partial_{xx} + \partial_{yy}$ in two.

    $u = 1, v = 0$ is steady and stable: a pattern needs a start with some $v$ of about 0.3, in a spot. Two more uniform
    steady states, $u = (1 \pm \sqrt{1 - 4 (F + k)^2 / F}) / 2$ and $v = F (1 - u) / (F + k)$, exist where
    $F \ge 4 (F + k)^2$; that of the lower $u$ feeds Turing patterns if $u$ spreads faster than $v$. From spots grow
    spots that divide, worms, labyrinths, holes and pulses, by values of $F$ and $k$ that lie close together
    (Pearson 1993): in two dimensions, with $D_u = 2 \cdot 10^{-5}$ and $D_v = 10^{-5}$ on a box of length 2.5,

    | F | k | pattern |
    |---|---|---|
    | 0.035 | 0.065 | spots that divide |
    | 0.04 | 0.06 | labyrinths |
    | 0.026 | 0.051 | waves and chaos |
    | 0.062 | 0.061 | worms |

    Structures are some $10 \sqrt{D_v / F}$ wide and want at least ten cells, or they stick to the grid and no longer
    divide; patterns fill the box after a time of thousands. Second order in space, of the order of `stepping` in time.
    The reaction is slow, with rates below 1: steps of 0.5 to 1 resolve it.

    - `RungeKutta(n)`: `dt` is bound by diffusion as for `Heat`, with the larger diffusivity.
    - `ImplicitExplicit(n)`: diffusion is implicit, and only the reaction binds `dt`. Worth it on fine grids.

    Args:
        grid: The grid.
        substrate_diffusivity: Length squared per time, $D_u$.
        activator_diffusivity: Length squared per time, $D_v$.
        feed: Rate at which substrate is replenished and all is washed out, $F$; a number, or one for each cell.
        kill: Rate at which the activator decays besides, $k$; a number, or one for each cell.
        dt: Duration of a step.
        conditions: For each axis what holds at its (lower, upper) end, for both alike.
        stepping: `RungeKutta(1)` to `(4)`, or `ImplicitExplicit(2)` to `(4)`.

    Raises:
        InputError: if a number is out of range or `dt` exceeds what diffusion allows with `stepping`.

    Examples:
        >>> grid = dp.Grid((64, 64), (1.25, 1.25))
        >>> x, y = grid.centers()
        >>> periodic = ((dp.Periodic(), dp.Periodic()),) * 2
        >>> system = dp.GrayScott(grid, 2e-5, 1e-5, feed=0.04, kill=0.06, dt=1.0, conditions=periodic)
        >>> spot = (x - 0.6) ** 2 + (y - 0.6) ** 2 < 0.01
        >>> start = system.initial_state(jnp.where(spot, 0.5, 1.0), jnp.where(spot, 0.25, 0.0))
        >>> final, _ = dp.rollout(system, start, 100)
    """

    grid: Grid = eqx.field(static=True)
    substrate_diffusivity: Array = eqx.field(converter=quantity, metadata=within(minimum=0.0))
    activator_diffusivity: Array = eqx.field(converter=quantity, metadata=within(minimum=0.0))
    feed: Array = eqx.field(converter=quantity, metadata=within(minimum=0.0, cells=True))
    kill: Array = eqx.field(converter=quantity, metadata=within(minimum=0.0, cells=True))
    dt: Array = eqx.field(converter=quantity, metadata=within(above=0.0))
    conditions: Conditions = eqx.field(metadata=at_ends())
    stepping: RungeKutta | ImplicitExplicit = eqx.field(
        static=True, metadata=choice(RungeKutta, ImplicitExplicit), default=RungeKutta(2)
    )

    def limits(self):
        for diffusivity in (self.substrate_diffusivity, self.activator_diffusivity):
            yield diffusion_limit(self.grid, diffusivity, self.dt, self.stepping.real_axis)

    def initial_state(self, substrate: ArrayLike = 1.0, activator: ArrayLike = 0.0) -> Concentrations:
        """Two fields, each from a number or an array with an entry for each cell.

        Raises:
            InputError: for an array of another shape or with values that are not finite.
        """
        given = {"substrate": substrate, "activator": activator}
        values = [as_array_of_shape("GrayScott", name, value, self.grid.cells) for name, value in given.items()]
        return Concentrations(*(Field(one, self.grid, conditions=self.conditions) for one in values))

    def __call__(self, state: Concentrations) -> Concentrations:
        check_centered("GrayScott", state, ("substrate", "activator"), self.grid)
        step = in_precision_of("GrayScott", self, state.substrate.values)
        start = Concentrations(*(field.with_conditions(step.conditions) for field in state))
        return of_types(step.stepping.advance(step, start, step.dt).state, state)

    def diffusion_number(self, state: Concentrations | None = None) -> Array:
        """`dt` over the longest step for which diffusion by `stepping` is stable; zero where it is implicit."""
        fastest = jnp.maximum(self.substrate_diffusivity, self.activator_diffusivity)
        return diffusion_number(self.grid, fastest, self.dt, self.stepping.real_axis)

    @jax.named_scope("reaction")
    def rate(self, time: ArrayLike, state: Concentrations, input: None) -> tuple[Array, Array]:
        """The reaction, what is fed, and what decays."""
        u, v = (field.values for field in state)
        return -u * v**2 + self.feed * (1 - u), u * v**2 - (self.feed + self.kill) * v

    @jax.named_scope("diffusion")
    def stiff_rate(self, time: ArrayLike, state: Concentrations, input: None) -> tuple[Array, Array]:
        """Diffusion."""
        u, v = (laplacian(field).values for field in state)
        return self.substrate_diffusivity * u, self.activator_diffusivity * v

    def stiff_change(self, time: ArrayLike, state: Concentrations, length: Array, input: None) -> tuple[Array, Array]:
        """What an implicit step of diffusion over `length` changes."""
        u = implicit_change(state.substrate, self.substrate_diffusivity, length)
        return u, implicit_change(state.activator, self.activator_diffusivity, length)
