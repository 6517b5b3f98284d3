"""Convection in a domain without sides has loops of its own: the general scheme, and the general derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp
from diffphys.grids import face_offset
from diffphys.operators import convection, difference, laplacian
from diffphys.operators.advection.convection import component_convection
from tests.gradients import check_derivatives


pytestmark = pytest.mark.usefixtures("float64")

# What runs once for a millisecond is not worth optimizing.
QUICKLY: dict[str, str | bool] = {"xla_backend_optimization_level": "0"}
GRIDS = [
    dp.Grid((5, 4), (1.0, 2.7)),
    dp.Grid((3, 1), (1.0, 1.0)),
    dp.Grid((3, 5, 2), (2.0, 1.0, 0.4)),
]
WIDE_GRIDS = [dp.Grid((5, 3), (1.0, 2.7)), dp.Grid((3, 5, 4), (2.0, 1.0, 0.4))]


def velocities(grid, count):
    """As many random velocities."""
    generator = np.random.default_rng(3)
    conditions = ((dp.Periodic(), dp.Periodic()),) * grid.dimensions
    return [
        [
            dp.Field(generator.standard_normal(grid.cells), grid, face_offset(grid, axis), conditions)
            for axis in range(grid.dimensions)
        ]
        for _ in range(count)
    ]


@pytest.mark.parametrize("order, grid", [(2, grid) for grid in GRIDS] + [(4, grid) for grid in WIDE_GRIDS], ids=str)
def test_the_closed_scheme_is_the_general_one(order, grid):
    """Of a velocity that another one carries, with a divergence, too."""
    carried, carrier = velocities(grid, 2)

    def general(carried, carrier):
        return [component_convection(part, carrier, order) for part in carried]

    def closed(carried, carrier):
        return [part.values for part in convection(carried, carrier, order=order)]

    cotangents = [part.values for part in velocities(grid, 3)[2]]
    for ours, theirs in zip(
        jax.tree.leaves(both_ways(closed, carried, carrier, cotangents)),
        jax.tree.leaves(both_ways(general, carried, carrier, cotangents)),
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-13, atol=1e-13)


def both_ways(function, carried, carrier, cotangents):
    def every(carried, carrier, cotangents):
        value, pull = jax.vjp(function, carried, carrier)
        return value, pull(cotangents), jax.jvp(function, (carried, carrier), (carrier, carried))[1]

    return jax.jit(every).lower(carried, carrier, cotangents).compile(QUICKLY)(carried, carrier, cotangents)


def test_derivatives_of_the_closed_scheme():
    """Also the second ones, and where a velocity carries itself."""
    (velocity,) = velocities(dp.Grid((4, 3), (1.0, 0.7)), 1)
    check_derivatives(lambda u: [part.values for part in convection(u)], velocity, jax.random.key(0))


def test_a_batch_is_what_its_members_are():
    carried, carrier = velocities(dp.Grid((5, 4), (1.0, 2.0)), 2)
    batch = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf, -leaf]), carried)

    def rates(given):
        return [part.values for part in convection(given, carrier)]

    together = jax.jit(jax.vmap(rates))(batch)
    alone_of = jax.jit(rates)
    for index in range(3):
        alone = alone_of(jax.tree.map(lambda leaf, i=index: leaf[i], batch))
        for one, many in zip(alone, together, strict=True):
            np.testing.assert_allclose(many[index], one, rtol=1e-14)


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_periodic_stencils_are_sums_of_rolled_arrays(grid):
    (velocity,) = velocities(grid, 1)
    for axis, part in enumerate(velocity):
        values, spacing = np.asarray(part.values), float(grid.spacing_along(axis))
        np.testing.assert_allclose(
            difference(part, axis).values, (np.roll(values, -1, axis) - values) / spacing, atol=1e-12
        )
        centered = dp.Field(values, grid, conditions=part.conditions)
        expected = (values - np.roll(values, 1, axis)) / spacing
        np.testing.assert_allclose(difference(centered, axis).values, expected, atol=1e-12)
        expected = sum(
            (np.roll(values, 1, other) - 2 * values + np.roll(values, -1, other))
            / float(grid.spacing_along(other)) ** 2
            for other in range(grid.dimensions)
        )
        np.testing.assert_allclose(laplacian(part).values, expected, rtol=1e-12, atol=1e-10)
