"""What acts on a flow: buoyancy, regions that hold the velocity, forces of one's own, and inputs of single steps."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from diffphys.errors import InputError
from diffphys.grids import Declared, Field, Shape, Sides, choice, quantity, within
from diffphys.grids.declared import Refusals, each, misplaced, not_among, whole, wrong_shape
from diffphys.grids.numbers import as_number, check_kind, plain, shown
from diffphys.grids.shapes import Periods
from diffphys.operators import interpolate
from diffphys.physics.obstacles import Immersed


class Buoyancy(Declared):
    r"""Density differences that matter only as weight (Boussinesq 1903; Fedkiw, Stam, Jensen 2001).

    The acceleration is $s\, b$, the scalar times `acceleration`, upward for hot smoke.

    Args:
        scalar: The scalar's name.
        acceleration: Per unit of the scalar: one number for each axis.

    Examples:
        >>> plume = dp.IncompressibleFlow(
        ...     dp.Grid((8, 8), (1.0, 1.0)),
        ...     viscosity=1e-3,
        ...     dt=0.01,
        ...     sides=dp.Wall(),
        ...     scalars={"smoke": dp.PassiveScalar(source=dp.Sphere((0.5, 0.2), 0.1))},
        ...     forces=(dp.Buoyancy("smoke", (0.0, 1.0)),),
        ... )
    """

    scalar: str = eqx.field(static=True)
    acceleration: Array = eqx.field(converter=quantity, metadata=within(scalar=False))

    def __call__(self, scalars: Mapping[str, Field], velocity: Sequence[Field]) -> list[Array]:
        """The acceleration on the faces of each axis: that of the mean of the scalar in the cells beside."""
        scalar = scalars[self.scalar]
        return [
            self.acceleration[axis].astype(scalar.values.dtype) * interpolate(scalar, part.offset).values
            for axis, part in enumerate(velocity)
        ]

    def refused_by(self, flow: Any) -> Refusals:
        """What a flow refuses in it."""
        yield from not_among("Buoyancy: scalar", self.scalar, flow.scalars)
        yield from wrong_shape("Buoyancy: acceleration", self.acceleration, (flow.grid.dimensions,))


class LinearDrag(Declared):
    r"""Friction that takes the same part of every wave, $-r\, v$: of a bottom (Rayleigh), or what takes the energy of
    two-dimensional turbulence out at the largest scales.

    With `Spectral` it is taken with the viscosity: exactly by `ExponentialRungeKutta`, implicitly by
    `ImplicitExplicit`.

    Args:
        rate: Per time.

    Examples:
        >>> grid = dp.Grid((8, 8), (1.0, 1.0))
        >>> flow = dp.IncompressibleFlow(grid, 1e-3, 0.01, dp.Periodic(), forces=(dp.LinearDrag(0.1),))
        >>> later = flow(flow.initial_state((1.0, 0.0)))
    """

    rate: Array = eqx.field(converter=quantity, metadata=within(minimum=0.0))

    def __call__(self, scalars: Mapping[str, Field], velocity: Sequence[Field]) -> list[Array]:
        """The acceleration on the faces of each axis."""
        return [-self.rate.astype(part.values.dtype) * part.values for part in velocity]


class SinusoidalForce(Declared):
    r"""A force along x that varies across, $A \sin(2 \pi m\, y / L_y)$, that of Kolmogorov's flow (Arnold, Meshalkin
    1960).

    Args:
        amplitude: Acceleration.
        waves: How many waves fit into the domain along y, a whole number.

    Examples:
        >>> grid = dp.Grid((8, 8), (1.0, 1.0))
        >>> flow = dp.IncompressibleFlow(
        ...     grid, 1e-3, 0.01, dp.Periodic(), forces=(dp.SinusoidalForce(1.0, waves=2),)
        ... )
        >>> later = flow(flow.initial_state((1.0, 0.0)))
    """

    amplitude: Array = eqx.field(converter=quantity, metadata=within())
    waves: int = eqx.field(static=True, converter=plain, metadata=whole(), default=4)

    def refused_by(self, flow: Any) -> Refusals:
        """What a flow refuses in it."""
        yield flow.grid.dimensions == 1, "SinusoidalForce: the flow has one axis; a flow in 2D or 3D is accepted."

    def __call__(self, scalars: Mapping[str, Field], velocity: Sequence[Field]) -> list[Array]:
        """The acceleration on the faces of each axis."""
        along, *across = velocity
        grid = along.grid
        places = (along.coordinates()[1] - grid.origin[1]) * (2 * np.pi * self.waves / grid.size[1])
        push = self.amplitude.astype(along.values.dtype) * jnp.sin(places).astype(along.values.dtype)
        return [jnp.broadcast_to(push, along.shape), *(jnp.zeros_like(part.values) for part in across)]


def _held_components(parts: Any) -> tuple[Array | None, ...]:
    if isinstance(parts, str) or not np.iterable(parts):
        return parts  # pyright: ignore[reportReturnType] (its declaration refuses it)
    return tuple(None if part is None else quantity(part) for part in parts)


class Held(Declared):
    """A region in which velocity components are overwritten.

    With `Splitting` that is done after diffusion and before advection, with other methods before each projection. The
    projection may change them again: this is a forcing zone, not a side.

    Args:
        where: Region; faces whose center lies in it are overwritten.
        velocity: One number for each axis, or None for components that are left alone.

    Examples:
        >>> still = dp.Held(dp.Box((0.0, 0.0), (1.0, 0.2)), (0.0, None))  # nothing moves along x below y = 0.2
    """

    where: Shape = eqx.field(metadata=choice(Shape, words="a shape"))
    velocity: tuple[Array | None, ...] = eqx.field(converter=_held_components, metadata=each(within()))

    def of(self, velocity: Sequence[Field], periods: Periods) -> tuple[Field, ...]:
        """The velocity with the held values, where axes may be periodic."""
        where = self.where.repeated(periods)
        return tuple(
            component
            if value is None
            else component.with_values(
                jnp.where(
                    where.contains(component.coordinates()),
                    value.astype(component.values.dtype),
                    component.values,
                )
            )
            for component, value in zip(velocity, self.velocity, strict=True)
        )

    def refused_by(self, flow: Any) -> Refusals:
        """What a flow refuses in it."""
        axes, given = flow.grid.dimensions, len(self.velocity)
        yield from misplaced("Held: where", self.where, flow.grid)
        yield given != axes, f"Held: velocity has {given} components; a number or None for each of {axes} is accepted."


Force = Held | Callable[[Mapping[str, Field], Sequence[Field]], Any] | Sequence[ArrayLike]
"""A region that is held; a function from scalars and velocity to an acceleration; or, for each axis, a number or an
array with an entry for each face.
"""


class Acceleration(eqx.Module):
    """A plain function from scalars and velocity to an acceleration; static, so that another one is compiled anew."""

    function: Callable[[Mapping[str, Field], Sequence[Field]], Any] = eqx.field(static=True)

    def __call__(self, scalars: Mapping[str, Field], velocity: Sequence[Field]) -> Any:
        return self.function(scalars, velocity)


def as_forces(owner: str, forces: Any, dimensions: int) -> tuple[Force, ...]:
    """What acts on a flow, as a user gives it: plain functions become static, numbers traced.

    Raises:
        InputError: for something that is none.
    """
    check_kind(owner, "forces", forces, (tuple, list), "a tuple of forces")
    found = []
    for force in forces:
        if isinstance(force, (Buoyancy, Held)) or (callable(force) and isinstance(force, eqx.Module)):
            found.append(force)
        elif callable(force):
            found.append(Acceleration(force))
        elif isinstance(force, (tuple, list)) and len(force) == dimensions:
            found.append(tuple(as_number(part, f"{owner}: a component of forces") for part in force))
        else:
            words = "Buoyancy(...), Held(...), a function from scalars and velocity to an acceleration, or"
            raise InputError(f"{owner}: forces has {shown(force)}; {words} {dimensions} numbers or arrays is accepted.")
    return tuple(found)


class FlowInput(eqx.Module):
    """What acts on a flow during one step: an argument of the step, and an entry of the `inputs` of `rollout`.

    Args:
        force: Acceleration, for each axis a number or an array with an entry for each face; or a function that returns
            one from the scalars and the velocity of a stage, each as fields; or None.
        sides: Sides to use in this step instead of those of the flow, of the same kinds; or None.
        solid: The immersed body as it is during this step, instead of that of the flow, which must have one; or None.

    Examples:
        >>> flow = dp.IncompressibleFlow(dp.Grid((8, 8), (1.0, 1.0)), viscosity=1e-3, dt=0.01, sides=dp.Periodic())
        >>> later = flow(flow.initial_state(), dp.FlowInput(force=(1.0, 0.0)))
        >>> bool(jnp.allclose(later.velocity[0].values, 0.01))
        True
    """

    force: Any = None
    sides: Sides | None = None
    solid: Immersed | None = None
