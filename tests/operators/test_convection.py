"""Convection that conserves energy, and the differences of fourth order."""

import itertools

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp
from diffphys.grids import face_offset
from diffphys.operators import control_volume, convection, difference, divergence, laplacian
from diffphys.operators.eigenbasis import lines_of
from diffphys.operators.fourth_order import fourth_order_difference, fourth_order_divergence, fourth_order_laplacian
from diffphys.physics.flow_sides import homogeneous_pressure_conditions, imposed, velocity_conditions
from diffphys.poisson.separable import solve_separable
from tests.gradients import check_derivatives


pytestmark = pytest.mark.usefixtures("float64")

# What runs once for a millisecond is not worth optimizing.
QUICKLY = {"xla_backend_optimization_level": 0}
STRETCHED = dp.Grid.from_edges(
    [np.cumsum([0, 0.5, 0.7, 0.6, 0.9, 1.0, 0.8, 0.7]), np.cumsum([0, 0.3, 0.4, 0.6, 0.5, 0.4, 0.35, 0.45])]
)
CLOSED = [dp.Wall(velocity=0.7), dp.Wall(slip=True), dp.Inflow(0.0, tangential=-0.4)]
PAIRS = [(dp.Periodic(), dp.Periodic()), *itertools.product(CLOSED, CLOSED)]


def random_velocity(grid, sides, order, seed=0):
    """A random velocity without divergence of the scheme's order, by a projection that is written here."""
    generator = np.random.default_rng(seed)
    fields = []
    for axis in range(grid.dimensions):
        conditions = velocity_conditions(sides, axis)
        shape = grid.shape(face_offset(grid, axis), [isinstance(pair[0], dp.Periodic) for pair in sides])
        field = dp.Field(generator.standard_normal(shape), grid, face_offset(grid, axis), conditions)
        fields.append(imposed(axis, field))
    conditions = homogeneous_pressure_conditions(sides, dp.Dirichlet)
    source = divergence(fields) if order == 2 else fourth_order_divergence(fields)
    lines = lines_of(grid, (0.5,) * grid.dimensions, conditions, order)
    potential = dp.Field(solve_separable(lines, source.values, 0.0, 1.0), grid, conditions=conditions)
    slope = difference if order == 2 else fourth_order_difference
    return [field.with_values(field.values - slope(potential, axis).values) for axis, field in enumerate(fields)]


def weights(field, axis, order):
    """Volumes of the control volumes, half of them on the sides."""
    volume = np.broadcast_to(control_volume(field, order), field.shape).copy()
    if not field.periodic[axis]:
        for end in (0, -1):
            volume[(slice(None),) * axis + (end,)] /= 2
    return volume


@pytest.mark.parametrize("order", [2, 4])
@pytest.mark.parametrize("grid", [dp.Grid((7, 7), (2.0, 1.3)), STRETCHED], ids=["uniform", "stretched"])
def test_convection_neither_creates_nor_destroys_energy(grid, order):
    """Whatever the sides are through which nothing passes, moving walls too; and it keeps the momentum along them."""
    for pairs in list(itertools.product(PAIRS, PAIRS))[::17]:
        velocity = random_velocity(grid, pairs, order)
        total = divergence(velocity) if order == 2 else fourth_order_divergence(velocity)
        np.testing.assert_allclose(total.values, 0, atol=1e-11)
        powers = [
            weights(part, axis, order) * part.values * rate.values
            for axis, (part, rate) in enumerate(zip(velocity, convection(velocity, order=order), strict=True))
        ]
        size = sum(float(jnp.sum(jnp.abs(power))) for power in powers)
        assert size > 0.1
        assert abs(sum(float(jnp.sum(power)) for power in powers)) < 1e-12 * size, pairs


CELLS = (6, 5)


@hypothesis.given(
    pairs=st.tuples(st.sampled_from(PAIRS), st.sampled_from(PAIRS)),
    widths=st.tuples(*[st.lists(st.floats(0.3, 3.0), min_size=count, max_size=count) for count in CELLS]),
    solid=st.sets(st.tuples(st.integers(0, 5), st.integers(0, 4)), max_size=6),
    seed=st.integers(0, 1000),
)
def test_convection_conserves_energy_in_any_closed_domain(pairs, widths, solid, seed):
    """`u . C(u) u = 0` with any sides, widths of cells and obstacle.

    The velocity is the curl of a stream function on the corners, which vanishes on the sides and at every corner of a
    solid cell: no flux enters these, and no divergence is left that would have to be solved for.
    """
    grid = dp.Grid.from_edges([np.cumsum([0.0, *along]) for along in widths])
    periodic = [isinstance(pair[0], dp.Periodic) for pair in pairs]
    stream = np.random.default_rng(seed).standard_normal((7, 6))
    for x, y in solid:
        stream[x : x + 2, y : y + 2] = 0
    for axis, wraps in enumerate(periodic):
        first, last = (np.moveaxis(stream, axis, 0)[end] for end in (0, -1))
        first[...] = last[...] = np.where((first == 0) | (last == 0), 0, first) if wraps else 0
    if periodic == [True, True]:
        stream[[0, 0, -1, -1], [0, -1, 0, -1]] = 0
    dx, dy = (np.diff(edges) for edges in grid.edges)
    u, v = np.diff(stream, axis=1) / dy, -np.diff(stream, axis=0) / dx[:, None]
    values = (u[:-1] if periodic[0] else u), (v[:, :-1] if periodic[1] else v)
    sides = dp.grids.parse_sides(grid, pairs)
    velocity = [
        dp.Field(jnp.asarray(one), grid, face_offset(grid, axis), velocity_conditions(sides, axis))
        for axis, one in enumerate(values)
    ]
    np.testing.assert_allclose(divergence(velocity).values, 0, atol=1e-12)
    powers = [
        weights(part, axis, 2) * part.values * rate.values
        for axis, (part, rate) in enumerate(zip(velocity, convection(velocity), strict=True))
    ]
    # What a single face carries at most: where only few faces are open, the products themselves cancel to round-off.
    fastest = max(float(jnp.abs(part.values).max()) for part in velocity)
    size = fastest**3 * max(map(sum, widths))
    assert abs(sum(float(jnp.sum(power)) for power in powers)) <= 1e-12 * size


def test_convection_keeps_momentum_in_a_periodic_domain():
    """Of any velocity and any carrier, whether that has a divergence or not."""
    sides = ((dp.Periodic(),) * 2,) * 2
    velocity, generator = random_velocity(STRETCHED, sides, 2), np.random.default_rng(3)
    carrier = [part.with_values(generator.standard_normal(part.shape)) for part in velocity]
    for order in (2, 4):
        for axis, rate in enumerate(convection(velocity, carrier, order=order)):
            momentum = weights(rate, axis, order) * rate.values
            assert abs(float(jnp.sum(momentum))) < 1e-12 * float(jnp.sum(jnp.abs(momentum)))


def errors_of(order):
    """Against `div(v v) = (sin 2x, sin 2y) / 2` of the Taylor-Green vortex, whose Laplacian is `-2 v`; sides of
    symmetry are free-slip walls.
    """
    errors = []
    for count in (12, 24):
        for sides, cells in ((((dp.Periodic(),) * 2,) * 2, 2 * count), (((dp.Wall(slip=True),) * 2,) * 2, count)):
            length = 2 * np.pi * cells / (2 * count)
            grid = dp.Grid((cells, cells), (length, length))
            faces = np.arange(cells if cells > count else cells + 1) * length / cells
            centers = (np.arange(cells) + 0.5) * length / cells
            values = (
                np.sin(faces)[:, None] * np.cos(centers),
                -np.cos(centers)[:, None] * np.sin(faces),
            )
            sides = dp.grids.parse_sides(grid, sides)
            velocity = [
                dp.Field(one, grid, face_offset(grid, axis), velocity_conditions(sides, axis))
                for axis, one in enumerate(values)
            ]
            rates = convection(velocity, order=order)
            smooth = laplacian if order == 2 else fourth_order_laplacian
            errors.append(jnp.max(jnp.abs(rates[0].values - np.sin(2 * faces)[:, None] / 2)))
            errors.append(jnp.max(jnp.abs(rates[1].values - np.sin(2 * faces) / 2)))
            errors.append(jnp.max(jnp.abs(smooth(velocity[0]).values + 2 * values[0])))
    return errors


@pytest.mark.parametrize("order", [2, 4])
def test_order_of_convection_and_of_the_laplacian(order):
    coarse, fine = np.array(jax.jit(lambda: errors_of(order), compiler_options=QUICKLY)()).reshape(2, -1)
    orders = np.log2(coarse / fine)
    assert np.all(np.abs(orders - order) < 0.12), orders


@pytest.mark.slow
@pytest.mark.parametrize("order", [2, 4])
def test_derivatives_of_convection(order, key):
    """Bilinear in velocity and carrier, and linear in what the sides are given."""
    sides = dp.grids.parse_sides(
        STRETCHED, dict(x=(dp.Inflow(0.5, tangential=0.2), dp.Outflow(slope=0.3)), y=(dp.Wall(velocity=0.7), dp.Wall()))
    )
    velocity = random_velocity(STRETCHED, sides, order)

    def rates(given):
        values, sides = given
        fields = [
            dp.Field(one, STRETCHED, face_offset(STRETCHED, axis), velocity_conditions(sides, axis))
            for axis, one in enumerate(values)
        ]
        return [rate.values for rate in convection(fields, order=order)]

    check_derivatives(rates, ([part.values for part in velocity], sides), key)


def test_what_convection_refuses():
    velocity = random_velocity(STRETCHED, ((dp.Periodic(),) * 2,) * 2, 2)
    for arguments, settings, word in (
        ((velocity[:1],), {}, "velocity"),
        ((velocity[::-1],), {}, "component 0 of velocity"),
        ((velocity, velocity[:1]), {}, "carrier"),
        ((velocity,), dict(order=3), "order"),
    ):
        with pytest.raises(dp.InputError, match=word):
            convection(*arguments, **settings)
