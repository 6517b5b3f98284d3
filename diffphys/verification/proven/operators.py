"""Operators, with random fields on unequal spacings and beside every kind of condition."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from diffphys import operators
from diffphys.grids import Dirichlet, Field, Grid, Neumann, Periodic, face_offset
from diffphys.verification.proven.example import PERIODIC, Example


def _domain(seed: int, stretched: bool = False) -> tuple[Field, tuple[Field, ...], Any]:
    """A centered field and a velocity with random values, unequal spacings and every kind of condition."""
    generator = np.random.default_rng(seed)
    grid = Grid((5, 4), (1.5, 2.0))
    if stretched:
        grid = Grid.from_edges([[0.0, 0.2, 0.5, 0.9, 1.2, 1.5], [0.0, 0.4, 1.0, 1.5, 2.0]])
    conditions = ((Dirichlet(0.3), Neumann(0.2)), (Periodic(), Periodic()))
    field = Field(jnp.asarray(generator.standard_normal(grid.cells)), grid, conditions=conditions)
    velocity = []
    for axis in range(2):
        offset = face_offset(grid, axis)
        values = 0.7 * generator.standard_normal(grid.shape(offset, (False, True)))
        sides = ((Dirichlet(0.1), Neumann(0.3)), (Periodic(), Periodic()))
        velocity.append(Field(jnp.asarray(values), grid, offset, sides))
    return field, tuple(velocity), generator


def _on_field(function: Callable[..., Any], *numbers: float, stretched: bool = False) -> Callable[[int], Example]:
    """The example of a function of a field and numbers."""

    def make(seed: int) -> Example:
        field, _, _ = _domain(seed, stretched)
        return lambda field, *numbers: function(field, *numbers), (field, *map(jnp.asarray, numbers))

    return make


def _on_both(function: Callable[..., Any], *numbers: float, stretched: bool = False) -> Callable[[int], Example]:
    """The example of a function of a field, a velocity and numbers."""

    def make(seed: int) -> Example:
        field, velocity, _ = _domain(seed, stretched)
        return lambda field, velocity, *numbers: function(field, velocity, *numbers), (
            field, velocity, *map(jnp.asarray, numbers),
        )  # fmt: skip

    return make


def _on_velocity(function: Callable[..., Any], stretched: bool = False) -> Callable[[int], Example]:
    def make(seed: int) -> Example:
        _, velocity, _ = _domain(seed, stretched)
        return lambda velocity: function(velocity), (velocity,)

    return make


def _sampled(seed: int) -> Example:
    field, _, _ = _domain(seed)
    points = (jnp.asarray([0.41, 0.77, 1.13]), jnp.asarray([0.33, 1.21, 1.77]))
    return lambda field, points: operators.sample(field, points), (field, points)


def _coarsened(seed: int) -> Example:
    values = jnp.asarray(np.random.default_rng(seed).standard_normal((4, 6)))
    return lambda values: operators.coarsen(Field(values, Grid((4, 6))), 2), (values,)


def _refined(seed: int) -> Example:
    values = jnp.asarray(np.random.default_rng(seed).standard_normal((3, 4)))
    return lambda values: operators.refine(Field(values, Grid((2, 4)), (0.0, 0.5)), 3), (values,)


def _convected(order: int, stretched: bool = False) -> Callable[[int], Example]:
    def make(seed: int) -> Example:
        _, velocity, _ = _domain(seed, stretched)
        return lambda velocity, carrier: operators.convection(velocity, carrier, order=order), (velocity, velocity)

    return make


def _convected_without_sides(seed: int) -> Example:
    """The scheme that a domain without sides has for itself, in 3D."""
    grid, generator = Grid((4, 3, 5), (1.5, 1.0, 2.0)), np.random.default_rng(seed)
    pairs = ((Periodic(), Periodic()),) * 3
    velocity, carrier = (
        tuple(
            Field(jnp.asarray(generator.standard_normal(grid.cells)), grid, face_offset(grid, axis), pairs)
            for axis in range(3)
        )
        for _ in range(2)
    )
    return lambda velocity, carrier: operators.convection(velocity, carrier), (velocity, carrier)


def _transformed(seed: int) -> Example:
    """There and back with another place, so that a real number depends on real numbers; and convection."""
    waves = operators.Waves(Grid((6, 5), (1.5, 2.0)))
    values = jnp.asarray(np.random.default_rng(seed).standard_normal((6, 5)))
    kept, centers = jnp.asarray(waves.kept()), (0.5, 0.5)

    def image(values):
        coefficients = kept * waves.coefficients(values, (0.0, 0.5))
        x, y = (waves.values(part, centers) for part in waves.velocity([coefficients], values[0, :2]))
        products = [waves.coefficients(one, centers) for one in (x**2 - y**2, x * y)]
        (convected,) = waves.convected(products)
        (nearest,) = waves.amplitudes([coefficients, convected])
        slope = waves.slope_along([convected, coefficients])
        return [waves.values(one, centers) for one in (coefficients, convected, nearest, slope)]

    return image, (values,)


def _dealiased(seed: int) -> Example:
    random = np.random.default_rng(seed)
    fields = [Field(jnp.asarray(random.standard_normal((5, 4))), Grid((5, 4)), conditions=PERIODIC) for _ in range(2)]
    return lambda a, b: operators.poisson_bracket(a, b, operators.Dealiased()), tuple(fields)


EXAMPLES: dict[str, Callable[[int], Example]] = {
    "difference": _on_field(lambda field: operators.difference(field, 0)),
    "divergence": _on_velocity(operators.divergence),
    "divergence stretched": _on_velocity(operators.divergence, stretched=True),
    "gradient": _on_field(operators.gradient),
    "gradient stretched": _on_field(operators.gradient, stretched=True),
    "laplacian": _on_field(operators.laplacian),
    "laplacian stretched": _on_field(operators.laplacian, stretched=True),
    "interpolate": _on_field(lambda field: operators.interpolate(field, (0.0, 0.0))),
    "sample": _sampled,
    "coarsen": _coarsened,
    "refine": _refined,
    "explicit_diffusion": _on_field(operators.explicit_diffusion, 0.3, 0.07),
    "implicit_diffusion": _on_field(operators.implicit_diffusion, 0.3, 0.07),
    "implicit_change": _on_field(operators.implicit_change, 0.3, 0.07),
    "crank_nicolson_diffusion": _on_field(operators.crank_nicolson_diffusion, 0.3, 0.07),
    "exact_diffusion": _on_field(operators.exact_diffusion, 0.3, 0.07),
    "stable_diffusion_step": _on_field(lambda field, number: operators.stable_diffusion_step(field.grid, number), 0.3),
    "diffusion_number": _on_field(lambda field, *numbers: operators.diffusion_number(field.grid, *numbers), 0.3, 0.07),
    "semi_lagrangian": _on_both(operators.semi_lagrangian, 0.31),
    "semi_lagrangian stretched": _on_both(operators.semi_lagrangian, 0.31, stretched=True),
    "semi_lagrangian shifts": _on_both(
        lambda field, velocity, dt: operators.semi_lagrangian(field, velocity, dt, 3), 0.31
    ),
    "cubic_semi_lagrangian": _on_both(operators.cubic_semi_lagrangian, 0.31),
    "maccormack": _on_both(operators.maccormack, 0.31),
    "advection_rate": _on_both(lambda field, velocity: operators.advection_rate(field, velocity, "van_leer")),
    **{
        f"advect {scheme}": _on_both(
            lambda field, wind, dt, scheme=scheme: operators.advect(field, wind, dt, scheme), 0.11
        )
        for scheme in ("upwind", "van_leer", "central", "fourth_order")
    },
    "poisson_bracket": _on_field(
        lambda field: operators.poisson_bracket(field, field.with_values(jnp.sin(2 * field.values)))
    ),
    "poisson_bracket dealiased": _dealiased,
    "Waves": _transformed,
    "curl": _on_velocity(operators.curl),
    "curl stretched": _on_velocity(operators.curl, stretched=True),
    "convert": _on_field(lambda field: operators.convert(field, (0.0, 0.0))),
    "centers_to_faces": _on_field(lambda field: operators.centers_to_faces((field, field * 0.5))),
    "faces_to_centers": _on_velocity(operators.faces_to_centers),
    "convection": _convected(2),
    "convection stretched": _convected(2, stretched=True),
    "convection without sides": _convected_without_sides,
    "convection fourth order": _convected(4),
}
