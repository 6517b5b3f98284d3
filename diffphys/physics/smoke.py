r"""Smoke: a flow that is driven by the buoyancy of a scalar which it carries (the Boussinesq approximation).

    dv/dt + v . grad v = -grad p + viscosity * laplacian(v) + buoyancy * s,        div v = 0
    ds/dt + v . grad s = diffusivity * laplacian(s) + source

Density differences are small and matter only as weight (Boussinesq 1903; Fedkiw, Stam, Jensen 2001): `buoyancy` is the
acceleration per unit of the scalar, upward for hot smoke.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from diffphys.errors import InputError
from diffphys.grids import Field
from diffphys.grids.numbers import as_number, check_number, shown
from diffphys.operators import interpolate
from diffphys.physics.flow_sides import check_state, forces_on_faces
from diffphys.physics.incompressible import FlowState, IncompressibleFlow
from diffphys.physics.runge_kutta import FlowInput, RungeKuttaFlow


class Smoke(eqx.Module):
    """A flow with buoyancy as a pure function `step(state) -> state`, or `step(state, force) -> state`.

    With a `RungeKuttaFlow` buoyancy acts in every stage and the step has that method's order; scalar and velocity are
    carried by central, conservative schemes. With an `IncompressibleFlow` the buoyancy is that of the scalar from which
    the step goes out, to first order, and both are carried by semi-Lagrangian advection.

    Args:
        flow: The flow, with the scalar among its `scalars`; obstacles and sides are its own.
        buoyancy: Acceleration per unit of the scalar: one number for each axis.
        scalar: The scalar's name.

    Raises:
        InputError: if the flow does not carry the scalar, or for a buoyancy of another shape.
    """

    flow: IncompressibleFlow | RungeKuttaFlow
    buoyancy: Array
    scalar: str = eqx.field(static=True)

    def __init__(
        self,
        flow: IncompressibleFlow | RungeKuttaFlow,
        buoyancy: Sequence[ArrayLike] | ArrayLike,
        scalar: str = "smoke",
    ):
        if not isinstance(flow, (IncompressibleFlow, RungeKuttaFlow)):
            raise InputError(f"Smoke: flow is {shown(flow)}; an IncompressibleFlow or a RungeKuttaFlow is accepted.")
        if not isinstance(scalar, str) or scalar not in flow.scalars:
            raise InputError(
                f"Smoke: scalar is {shown(scalar)}; this flow carries {sorted(flow.scalars)}, and one of them is "
                "accepted."
            )
        self.flow, self.scalar = flow, scalar
        self.buoyancy = as_number(buoyancy, "Smoke: buoyancy")
        if self.buoyancy.shape != (flow.grid.dimensions,):
            raise InputError(
                f"Smoke: buoyancy has shape {self.buoyancy.shape}; one number for each of {flow.grid.dimensions} axes "
                "is accepted."
            )
        check_number("Smoke", "buoyancy", self.buoyancy, scalar=False)

    def __call__(self, state: FlowState, force: Sequence[ArrayLike] | None = None) -> FlowState:
        """The state one step of the flow later.

        Args:
            state: The state.
            force: Acceleration besides the buoyancy, for each axis a number or an array with an entry for each face.
        """
        check_state("Smoke", self.flow.grid, state, self.flow.scalars)

        def push(scalars: Mapping[str, Field], velocity: Sequence[Field]) -> list[Array]:
            rise = self.lift(scalars[self.scalar], velocity)
            if force is None:
                return rise
            given = forces_on_faces("Smoke", force, velocity)
            return [one + other for one, other in zip(rise, given, strict=True)]

        if isinstance(self.flow, RungeKuttaFlow):
            return self.flow(state, FlowInput(force=push))
        return self.flow(state, push(state.scalars, state.velocity))

    def lift(self, scalar: Field, velocity: Sequence[Field]) -> list[Array]:
        """The acceleration on the faces of each axis: the buoyancy times the mean of the scalar in the cells beside."""
        return [
            self.buoyancy[axis].astype(scalar.values.dtype) * interpolate(scalar, part.offset).values
            for axis, part in enumerate(velocity)
        ]

    def initial_state(self, *arguments: Any, **settings: Any) -> FlowState:
        """The state of the flow: see its `initial_state`."""
        return self.flow.initial_state(*arguments, **settings)

    def courant_number(self, state: FlowState) -> Array:
        """That of the flow."""
        return jnp.asarray(self.flow.courant_number(state))
