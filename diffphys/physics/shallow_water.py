"""Shallow water on a turning plane, over a bottom that may fall dry."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from diffphys.grids import (
    Declared,
    Dirichlet,
    Field,
    Grid,
    Neumann,
    Open,
    Periodic,
    Wall,
    as_array_of_shape,
    check_centered,
    choice,
    parse_sides,
    quantity,
    sides_of,
    uniform,
    within,
)
from diffphys.grids.axes import slice_axis
from diffphys.grids.numbers import as_components, concrete, in_precision_of, magnitude, of_types
from diffphys.operators.advection.reconstruction import limited_sides
from diffphys.physics.units import step_in, unit_of
from diffphys.stepping import RungeKutta


class WaterState(NamedTuple):
    """The state of `ShallowWater`: centered fields.

    Attributes:
        depth: h, from the bottom to the surface.
        momentum: q = h v, depth times velocity, a field for each axis.
    """

    depth: Field
    momentum: tuple[Field, ...]


class ShallowWater(Declared):
    r"""Water much wider than deep: rivers, floods, tides, tsunamis, and the simplest model of atmosphere and ocean.

    For depth $h$, velocity $v$ and momentum $q = h v$ over a bottom of height $b$, on a plane that turns with the
    Coriolis parameter $f$:

    $$\frac{\partial h}{\partial t} + \nabla \cdot q = 0, \qquad
    \frac{\partial q}{\partial t} + \nabla \cdot \Big( \frac{q \otimes q}{h} + \frac{g h^2}{2} \Big)
    = -g h \nabla b + f\, (q_y, -q_x)$$

    In one dimension $h_t + q_x = 0$ and $q_t + (q^2 / h + g h^2 / 2)_x = -g h b_x$ (and $f = 0$: the water would turn
    out of the line). Disturbances run at $v \pm \sqrt{g h}$; their crests, where it is deeper, overtake the troughs and
    break into bores. With rotation waves longer than $\sqrt{g h} / f$ turn instead of spreading, and flow along lines
    of equal surface, $g \nabla (h + b) = f (v_y, -v_x)$, is steady (geostrophic balance). With $g = 9.81$ a sea of
    depth 100 has waves of speed 31; $f = 10^{-4}$ at middle latitudes.

    The scheme conserves volume to round-off, and on a flat bottom without walls and rotation momentum. It reconstructs
    surface, depth and velocity linearly with van Leer's limiter, takes the part of each that stands above the higher
    bottom at a face (Audusse, Bouchut, Bristeau, Klein, Perthame 2004), and the flux of Harten, Lax and van Leer with
    momentum along the face carried by the volume that crosses it. A lake at rest stays at rest to round-off over any
    bottom, islands and shores included. Second order in space where the flow is smooth, first at crests and bores.
    Where it is shallower than `dry` the water stands still, as a constraint on each stage.

    Choose `dt` so that the `courant_number` stays below 1/2, and `RungeKutta(2)` or `(3)`, which for that are positive
    and without oscillations (Shu, Osher 1988); `RungeKutta(1)` lets small waves grow, `(4)` may empty a cell too far.

    Args:
        grid: The grid, of one or two dimensions, with uniform axes.
        dt: Duration of a step.
        sides: `Periodic()`, `Wall()` (along which the water slides) or `Open()` (through which waves leave), as in
            `grids.parse_sides`.
        bottom: Its height $b$; a number, or one for each cell.
        gravity: $g$, length per time squared.
        coriolis: $f$, per time; a number, or one for each cell.
        dry: The depth below which water stands still.
        stepping: `RungeKutta(1)` to `(4)`.

    Raises:
        InputError: if a number is out of range, for another side, a stretched grid, or a Coriolis parameter in one
            dimension.

    Examples:
        >>> grid = dp.Grid((50,), (100.0,))
        >>> dam = dp.ShallowWater(grid, dt=0.05, sides=dp.Wall())
        >>> x = grid.centers()[0]
        >>> final, _ = dp.rollout(dam, dam.initial_state(surface=jnp.where(x < 50.0, 2.0, 1.0)), 100)
        >>> round(float(jnp.mean(final.depth.values)), 4)  # no water is lost
        1.5
    """

    grid: Grid = eqx.field(static=True, metadata=uniform(1, 2))
    dt: Array = eqx.field(converter=quantity, metadata=within(above=0.0))
    sides: Any = eqx.field(metadata=sides_of(Periodic, Wall, Open))
    bottom: Array = eqx.field(converter=quantity, metadata=within(cells=True), default=0.0)
    gravity: Array = eqx.field(converter=quantity, metadata=within(above=0.0), default=9.81)
    coriolis: Array = eqx.field(converter=quantity, metadata=within(cells=True), default=0.0)
    dry: Array = eqx.field(converter=quantity, metadata=within(above=0.0), default=1e-6)
    stepping: RungeKutta = eqx.field(static=True, metadata=choice(RungeKutta), default=RungeKutta(3))

    def refused(self):
        turns = concrete(self.coriolis) if self.grid.dimensions == 1 else None
        yield turns is not None and bool(turns.any()), "coriolis is given on a line; in two dimensions it is accepted."

    def initial_state(self, surface: ArrayLike = 0.0, velocity: ArrayLike | tuple = 0.0) -> WaterState:
        """The water below a surface, moving.

        Args:
            surface: The height of the surface, a number or an array with an entry for each cell; where it is below
                the bottom the cell is dry.
            velocity: A number for all axes, or a tuple with a number or an array for each.

        Raises:
            InputError: for an array of another shape or with values that are not finite.
        """
        parts = velocity if isinstance(velocity, tuple) else (velocity,) * self.grid.dimensions
        parts = as_components("ShallowWater", "velocity", parts, self.grid.dimensions)
        given = {"surface": surface, **{f"velocity[{axis}]": one for axis, one in enumerate(parts)}}
        height, *v = (as_array_of_shape("ShallowWater", name, one, self.grid.cells) for name, one in given.items())
        depth = jnp.maximum(height - self.bottom, 0.0)
        return self._state(depth, *(depth * one for one in v))

    def __call__(self, state: WaterState) -> WaterState:
        check_centered("ShallowWater", state, ("depth", "momentum"), self.grid)
        step = in_precision_of("ShallowWater", self, state.depth.values)
        if (unit := unit_of(self.grid)) != 1.0:
            own = dict(bottom=step.bottom / unit, dry=step.dry / unit)
            own |= dict(gravity=step.gravity * unit, coriolis=step.coriolis * unit)
            after = step_in(unit, step, _times(1 / unit, state), **own)
            return of_types(_times(unit, after), state)
        start = step._state(state.depth.values, *(part.values for part in state.momentum))
        return of_types(step.stepping.advance(step, start, step.dt).state, state)

    def velocity(self, state: WaterState) -> tuple[Array, ...]:
        """Momentum over depth, zero where it is dry."""
        check_centered("ShallowWater", state, ("depth", "momentum"), self.grid)
        wet = state.depth.values > self.dry
        return tuple(jnp.where(wet, q.values / jnp.where(wet, state.depth.values, 1.0), 0.0) for q in state.momentum)

    def courant_number(self, state: WaterState) -> Array:
        """The largest sum over the axes of `(|v| + sqrt(g h)) dt / spacing`."""
        check_centered("ShallowWater", state, ("depth", "momentum"), self.grid)
        speed = _root(self.gravity * state.depth.values)
        parts = zip(self.velocity(state), self.grid.spacing, strict=True)
        return self.dt * jnp.max(sum((magnitude(v) + speed) / spacing for v, spacing in parts))

    def rate(self, time: ArrayLike, state: WaterState, input: None) -> WaterState:
        """What crosses the faces of each cell, the push of the bottom, and the turning of the plane."""
        v, rates = self.velocity(state), [jnp.zeros_like(part.values) for part in (state.depth, *state.momentum)]
        if self.grid.dimensions == 2:
            qx, qy = (part.values for part in state.momentum)
            rates = [rates[0], self.coriolis * qy, -self.coriolis * qx]
        for axis, spacing in enumerate(self.grid.spacing):
            net = self._net_flux(state.depth.values, v, axis)
            rates = [rate + more / spacing for rate, more in zip(rates, net, strict=True)]
        return self._state(*rates)

    def constrain(self, time: ArrayLike, state: WaterState, input: None) -> tuple[WaterState, None]:
        """Water stands still where it is dry; else momentum would gather there while the depth comes and goes."""
        wet = state.depth.values > self.dry
        return self._state(state.depth.values, *(jnp.where(wet, q.values, 0.0) for q in state.momentum)), None

    @jax.named_scope("advection")
    def _net_flux(self, h: Array, v: tuple[Array, ...], axis: int) -> list[Array]:
        """What enters each cell along an axis less what leaves it, of volume and momentum, times the spacing."""
        g, n = self.gravity, self.grid.cells[axis]
        depths = limited_sides(self._field(h), axis)
        surfaces = limited_sides(self._field(h + self.bottom), axis)
        velocities = [limited_sides(self._field(part, other), axis) for other, part in enumerate(v)]
        bottoms = [surface - depth for surface, depth in zip(surfaces, depths, strict=True)]
        hl, hr = cut = [jnp.maximum(surface - jnp.maximum(*bottoms), 0.0) for surface in surfaces]
        (ul, ur), (cl, cr) = velocities[axis], (_root(g * depth) for depth in cut)
        slowest = jnp.minimum(jnp.minimum(ul - cl, ur - cr), 0.0)
        fastest = jnp.maximum(jnp.maximum(ul + cl, ur + cr), 0.0)
        moving = fastest > slowest
        spread = jnp.where(moving, fastest - slowest, 1.0)
        upper, lower = (jnp.where(moving, one / spread, 0.0) for one in (fastest, slowest))

        def flux(below: Array, above: Array, jump: Array) -> Array:
            return upper * below - lower * above + upper * slowest * jump

        def net(below: Array, above: Array) -> Array:
            """What enters less what leaves, of a flux as the cells below and above each face have it."""
            return slice_axis(above, axis, 0, n) - slice_axis(below, axis, 1, n + 1)

        volume = flux(hl * ul, hr * ur, hr - hl)
        normal = flux(hl * ul**2 + g * hl**2 / 2, hr * ur**2 + g * hr**2 / 2, hr * ur - hl * ul)
        carried = [volume * jnp.where(volume > 0, *pair) for pair in velocities]
        momentum = [net(part, part) for part in carried]
        pushes = [normal + g / 2 * (depth**2 - part**2) for depth, part in zip(depths, cut, strict=True)]
        within = slice_axis(depths[0], axis, 1, n + 1) + slice_axis(depths[1], axis, 0, n)
        momentum[axis] = net(*pushes) + g / 2 * within * net(*bottoms)
        return [net(volume, volume), *momentum]

    def _state(self, depth: Array, *momentum: Array) -> WaterState:
        return WaterState(self._field(depth), tuple(self._field(part, axis) for axis, part in enumerate(momentum)))

    def _field(self, values: Array, normal: int | None = None) -> Field:
        """A field with what its sides mean for it; that of a component of a vector is turned by the walls it meets."""
        conditions = []
        for axis, pair in enumerate(parse_sides(self.grid, self.sides)):
            walls = [Dirichlet() if isinstance(side, Wall) and axis == normal else Neumann() for side in pair]
            conditions.append(pair if isinstance(pair[0], Periodic) else tuple(walls))
        return Field(values, self.grid, conditions=tuple(conditions))


def _times(factor: float, state: WaterState) -> WaterState:
    """The state with all its values times a number."""
    return jax.tree.map(lambda values: values * factor, state)


def _root(values: Array) -> Array:
    """The square root, whose derivative at zero is taken to be zero."""
    positive = values > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, values, 1.0)), 0.0)
