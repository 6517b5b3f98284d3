"""A flow with a network whose output is a force, so that it enters the momentum equation."""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from diffphys.errors import InputError
from diffphys.grids import Field
from diffphys.grids.ends import values_beside
from diffphys.grids.numbers import as_number, check_number
from diffphys.operators import gradient, interpolate
from diffphys.physics import FlowState


class Forced(eqx.Module):
    r"""A flow whose every step has a force by a network of the state from which it goes out,

    $$f = \alpha\, \frac{U}{\Delta t}\, C\Big(\frac{v}{U}, \frac{\nabla p\, \Delta t}{U}\Big).$$

    With `PISO` the force stands in the predictor, and passes the correctors with it: what comes out has no divergence
    (List, Chen, Thuerey 2022). The network sees velocity and gradient of the pressure at the cell centers, and gives
    a force there, which is brought to the faces by the mean of both neighbors; at a side with one neighbor, it is that
    of the last cell.

    Args:
        solver: A step `step(state, force) -> state` of `FlowState`s, with a number `dt`: an `IncompressibleFlow`, or
            what holds one as its `solver`.
        network: From an array (2 d, *cells) to (d, *cells).
        speed: U, which brings the inputs to size one.
        strength: $\alpha$, which brings the outputs to size one: about what the solver errs by in a step, over U.
            Where it is far too large, small changes of the weights are strong forces, and training wanders.
        where: 0 where there is to be no force, as in a sponge, else 1; an array (*cells) or a number. The network does
            not see there, either.
    """

    solver: Callable[..., FlowState]
    network: Callable[[Array], Array]
    speed: Array = eqx.field(converter=as_number, default=1.0)
    strength: Array = eqx.field(converter=as_number, default=1.0)
    where: Array = eqx.field(converter=as_number, default=1.0)

    def __check_init__(self):
        check_number("Forced", "speed", self.speed, above=0.0)
        check_number("Forced", "strength", self.strength, above=0.0)
        check_number("Forced", "where", self.where, minimum=0.0, scalar=False)

    def __call__(self, state: FlowState) -> FlowState:
        return self.solver(state, self.force(state))

    def force(self, state: FlowState) -> tuple[Array, ...]:
        """The force on the faces of each axis, a velocity per time.

        Raises:
            InputError: if the network returns another shape.
        """
        image = self.inputs(state)
        dimensions, cells = state.pressure.grid.dimensions, state.pressure.grid.cells
        with jax.named_scope("network"):
            output = self.network(image)
        if output.shape != (dimensions, *cells):
            raise InputError(
                f"Forced: the network returns an array of shape {output.shape}; {(dimensions, *cells)}, a force for "
                "each axis, is accepted."
            )
        output = output * (self.where * self.strength * self.speed / step_length(self.solver)).astype(output.dtype)
        return tuple(
            _at_faces(part, field, axis) for axis, (part, field) in enumerate(zip(output, state.velocity, strict=True))
        )

    def inputs(self, state: FlowState) -> Array:
        """What the network sees: velocity over U and gradient of the pressure times dt over U, (2 d, *cells)."""
        centers = (0.5,) * len(state.velocity)
        velocity = [interpolate(part, centers).values for part in state.velocity]
        slopes = [interpolate(part, centers).values for part in gradient(state.pressure)]
        speed = self.speed.astype(velocity[0].dtype)
        dt = step_length(self.solver).astype(velocity[0].dtype)
        return self.where.astype(speed.dtype) * jnp.stack([*velocity, *(dt * slope for slope in slopes)]) / speed


class OnlyForced(eqx.Module):
    """The force of a `Forced` on velocities that the solver without it has made before: what supervised training needs.

    A state is a pair: the state from which the step goes out, and the one that the solver alone leads to. The second
    comes back with `dt f` added.

    Args:
        solver: The flow with its network.
    """

    solver: Forced

    @property
    def network(self) -> Any:
        """What is trained."""
        return self.solver.network

    def __call__(self, pair: tuple[FlowState, FlowState]) -> tuple[FlowState, FlowState]:
        before, alone = pair
        dt = step_length(self.solver)
        forces = self.solver.force(before)
        velocity = tuple(
            part.with_values(part.values + dt.astype(force.dtype) * force)
            for part, force in zip(alone.velocity, forces, strict=True)
        )
        return before, dataclasses.replace(alone, velocity=velocity)


def step_length(solver: Any) -> Array:
    """The `dt` of a step, or of the solver that it holds."""
    return solver.dt if hasattr(solver, "dt") else step_length(solver.solver)


def _at_faces(values: Array, field: Field, axis: int) -> Array:
    """From the centers to the faces on which a field lives; beyond a side the last value again."""
    kind = "periodic" if field.periodic[axis] else "neumann"
    below, above = values_beside(values, axis, (kind, kind))
    return (below + above) / 2
