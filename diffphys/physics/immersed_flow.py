"""The momentum of a flow around an immersed body, its projection, and the forces: see `physics.immersed`."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from jax import Array

from diffphys.grids import Conditions, Field, Grid
from diffphys.operators import convection, difference, divergence
from diffphys.operators.convection import relative_control_volume, times_volume_unit, without_fixed_ends
from diffphys.physics.immersed import LEAST_MASS, Geometry, Immersed, geometry, immersed_laplacian
from diffphys.poisson import PressureSolver, Solution, VariableProblem
from diffphys.poisson.problem import trusted_pressure


def geometries(body: Immersed, fields: Sequence[Field]) -> tuple[Geometry, ...]:
    """How the body cuts the control volumes of each velocity component."""
    return tuple(geometry(body, field, axis) for axis, field in enumerate(fields))


def crossing(fields: Sequence[Field], cuts: Sequence[Geometry]) -> tuple[Field, ...]:
    """What crosses the faces of the grid: the fluid through their open part, the body through the rest."""
    return tuple(
        field.with_values(cut.open * field.values + cut.crossing) for field, cut in zip(fields, cuts, strict=True)
    )


def momentum_rates(
    fields: Sequence[Field],
    cuts: Sequence[Geometry],
    viscosity: Array,
    diffused: Array,
    outside: Field,
    pushed: Sequence[Array] | None,
    entering: Sequence[Array | None],
) -> tuple[Array, ...]:
    """The right side of the velocity: what a control volume gains over its mass.

    Args:
        fields: The velocity.
        cuts: How the body cuts its control volumes.
        viscosity: The viscosity.
        diffused: Viscosity times the step, for which the masses are chosen.
        outside: A pressure that is zero within and has the given values at the sides.
        pushed: The acceleration by a force.
        entering: What is added where fluid enters through a free side, per axis; or None.
    """
    carried = convection(fields, crossing(fields, cuts))
    rates = []
    for axis, (field, cut) in enumerate(zip(fields, cuts, strict=True)):
        gain = viscosity * immersed_laplacian(field, cut)[0] - carried[axis].values + cut.turning
        gain = gain - cut.open * difference(outside, axis).values
        if pushed is not None:
            gain = gain + cut.open * pushed[axis]
        if (part := entering[axis]) is not None:
            gain = gain + part
        rate = jnp.where(cut.active, gain / cut.mass(diffused), 0.0)
        rates.append(without_fixed_ends(field, axis, rate))
    return tuple(rates)


def viscous_rates(fields: Sequence[Field], cuts: Sequence[Geometry], viscosity: Array) -> tuple[Array, ...]:
    """What viscosity alone adds to the right side, with the masses that no explicit step has made larger."""
    rates = []
    for axis, (field, cut) in enumerate(zip(fields, cuts, strict=True)):
        gain = viscosity.astype(field.values.dtype) * immersed_laplacian(field, cut)[0]
        rate = jnp.where(cut.active, gain / cut.mass(0.0 * viscosity), 0.0)
        rates.append(without_fixed_ends(field, axis, rate))
    return tuple(rates)


def fluid_fractions(body: Immersed, grid: Grid) -> Array:
    """The fluid of each cell as a part of the cell."""
    return 1 - body.shape.volume_fractions(grid)


def scalar_mass(body: Immersed, grid: Grid) -> Array:
    """The fluid of each cell as a part of the cell, in small ones more than there is, as in those of the momentum."""
    return jnp.maximum(fluid_fractions(body, grid), LEAST_MASS)


def projection(
    fields: Sequence[Field],
    cuts: Sequence[Geometry],
    diffused: Array,
    conditions: Conditions,
    solver: Callable[[VariableProblem], PressureSolver],
    accepted: Callable[[Solution], Array] = trusted_pressure,
) -> tuple[tuple[Array, ...], Array]:
    """The nearest velocity, in the norm of the control volumes' masses, for which what crosses the faces has no
    divergence; and the potential of the correction.

    Args:
        fields: The velocity, with its fixed values on the sides.
        cuts: How the body cuts its control volumes.
        diffused: Viscosity times the step, for which the masses are chosen.
        conditions: The potential's, homogeneous.
        solver: From the problem to its solver.
        accepted: From what the solver found to the potential.
    """
    weights = [cut.open / cut.mass(diffused) for cut in cuts]
    coefficients = [cut.open * weight for cut, weight in zip(cuts, weights, strict=True)]
    problem = VariableProblem.from_conditions(fields[0].grid, conditions, coefficients)
    potential = accepted(solver(problem).solve(divergence(crossing(fields, cuts)).values))
    slopes = Field(potential, fields[0].grid, conditions=conditions)
    values = []
    for axis, (field, cut, weight) in enumerate(zip(fields, cuts, weights, strict=True)):
        change = without_fixed_ends(field, axis, weight * difference(slopes, axis).values)
        values.append(jnp.where(cut.active, field.values - change, cut.body))
    return tuple(values), potential


def forces_on_body(
    body: Immersed, fields: Sequence[Field], cuts: Sequence[Geometry], viscosity: Array, pressure: Field
) -> tuple[Array, Array]:
    """What the body takes from the momentum of the fluid: the force, and the torque about its pivot (three numbers).

    Pressure acts on the closed part of every face, friction on the surface in each control volume. Convection carries
    nothing into the body but what crosses from open into closed faces.
    """
    flow = crossing(fields, cuts)
    relative = tuple(
        field.with_values(jnp.where(cut.active, field.values - cut.body, 0.0))
        for field, cut in zip(fields, cuts, strict=True)
    )
    carried = convection(relative, flow)
    force, torque = [], jnp.zeros(3, fields[0].values.dtype)
    for axis, (field, cut) in enumerate(zip(fields, cuts, strict=True)):
        volume: Any = relative_control_volume(field)
        gain, from_surface = immersed_laplacian(field, cut)
        friction = viscosity * jnp.where(cut.active, -from_surface, gain)
        friction = volume * without_fixed_ends(field, axis, friction)
        through = jnp.where(cut.active, 0.0, -carried[axis].values) - (1 - cut.open) * difference(pressure, axis).values
        through = volume * without_fixed_ends(field, axis, through)
        force.append(jnp.sum(friction) + jnp.sum(through))
        for other, arm in enumerate(body.arms(field.coordinates())):
            if other != axis:  # r x F has the component that is neither of the two
                at_surface = arm - cut.from_center * cut.normal[other]
                sign = 1.0 if (axis - other) % 3 == 1 else -1.0
                torque = torque.at[3 - axis - other].add(
                    sign * (jnp.sum(through * arm) + jnp.sum(friction * at_surface))
                )
    grid = fields[0].grid
    return times_volume_unit(grid, jnp.stack(force)), times_volume_unit(grid, torque)
