"""Values that know their place."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp
from diffphys.grids import Ghost, Unknown


pytestmark = pytest.mark.usefixtures("float64")

PERIODIC = (dp.Periodic(), dp.Periodic())


def test_points_lie_where_the_offset_says():
    grid = dp.Grid((4, 2), (2.0, 3.0), origin=(10.0, -1.0))
    bounded = ((Unknown(), Unknown()), (Unknown(), Unknown()))
    x, y = dp.Field(jnp.zeros((5, 2)), grid, (0.0, 0.5), bounded).coordinates()
    np.testing.assert_allclose(x[:, 0], [10.0, 10.5, 11.0, 11.5, 12.0])
    np.testing.assert_allclose(y[0], [-0.25, 1.25])
    x, _ = dp.Field(jnp.zeros((4, 2)), grid, (0.0, 0.5), (PERIODIC, PERIODIC)).coordinates()
    np.testing.assert_allclose(x[:, 0], [10.0, 10.5, 11.0, 11.5])
    x, y = grid.centers()
    np.testing.assert_allclose(x[:, 0], [10.25, 10.75, 11.25, 11.75])


# Ghost values: for a straight line every condition that is true of the line gives the line beyond the ends. -----------


@pytest.mark.parametrize("offset", [0.0, 0.5])
@pytest.mark.parametrize("lower, upper", list(itertools.product(["value", "slope"], repeat=2)))
def test_ghost_values_continue_a_straight_line(offset, lower, upper):
    grid = dp.Grid((5,), (2.0,), origin=(3.0,))
    a, b = 0.7, -1.3
    ends = {
        ("value", 0): dp.Dirichlet(a + b * 3.0),
        ("value", 1): dp.Dirichlet(a + b * 5.0),
        ("slope", 0): dp.Neumann(-b),  # along the outward normal
        ("slope", 1): dp.Neumann(b),
    }
    points = 3.0 + (np.arange(6 if offset == 0 else 5) + offset) * 0.4
    field = dp.Field(jnp.asarray(a + b * points), grid, (offset,), ((ends[lower, 0], ends[upper, 1]),))
    for width in itertools.product((0, 1, 2), repeat=2):
        beyond = np.concatenate(
            [points[0] - 0.4 * np.arange(width[0], 0, -1), points, points[-1] + 0.4 * np.arange(1, width[1] + 1)]
        )
        np.testing.assert_allclose(field.padded([width]), a + b * beyond, atol=1e-14)  # pyright: ignore


def test_ghost_values_of_the_other_conditions():
    grid = dp.Grid((4,))
    values = jnp.asarray([1.0, 2.0, 3.0, 5.0])
    periodic = dp.Field(values, grid, conditions=(PERIODIC,))
    np.testing.assert_array_equal(periodic.padded([(2, 1)]), [3, 5, 1, 2, 3, 5, 1])
    fixed = dp.Field(values, grid, conditions=((Ghost(7.0), Ghost(-1.0)),))
    np.testing.assert_array_equal(fixed.padded([(2, 1)]), [7, 7, 1, 2, 3, 5, -1])
    with pytest.raises(dp.InputError, match="at most"):
        periodic.padded([(5, 0)])
    with pytest.raises(dp.InputError, match="at most"):
        dp.Field(values, grid, conditions=((dp.Neumann(), dp.Neumann()),)).padded([(5, 0)])


def test_a_profile_must_fit_its_side():
    grid = dp.Grid((4, 3))
    good = ((dp.Dirichlet(jnp.arange(3.0)[None]), dp.Neumann()), (dp.Neumann(), dp.Neumann()))
    padded = dp.Field(jnp.ones((4, 3)), grid, conditions=good).padded([(1, 0), (0, 0)])
    np.testing.assert_array_equal(padded[0], 2 * np.arange(3.0) - 1)
    for wrong in (jnp.arange(3.0), jnp.ones((4, 3)), jnp.ones((1, 4)), jnp.ones((1, 2))):
        conditions = ((dp.Dirichlet(wrong), dp.Neumann()), (dp.Neumann(), dp.Neumann()))
        with pytest.raises(dp.InputError, match="profile"):
            dp.Field(jnp.ones((4, 3)), grid, conditions=conditions).padded([(1, 1), (0, 0)])


# Algebra: the ghost values of a result are the result of the ghost values. --------------------------------------------

KINDS = {"dirichlet": dp.Dirichlet, "neumann": dp.Neumann, "ghost": Ghost}


def field_with(kind, numbers, seed, offset=0.5):
    values = jnp.asarray(np.random.default_rng(seed).standard_normal(6 if offset == 0 else 5))
    return dp.Field(values, dp.Grid((5,), (1.5,)), (offset,), ((KINDS[kind](numbers[0]), KINDS[kind](numbers[1])),))


@pytest.mark.parametrize("offset", [0.0, 0.5])
@pytest.mark.parametrize("kind", KINDS)
def test_conditions_follow_linear_arithmetic_exactly(kind, offset):
    f, g = field_with(kind, (0.3, -2.0), 0, offset), field_with(kind, (1.1, 0.4), 1, offset)
    w = [(2, 1)]
    padded_f, padded_g = f.padded(w), g.padded(w)
    for result, expected in (
        (f + g, padded_f + padded_g),
        (f - g, padded_f - padded_g),
        (f + 1, padded_f + 1),
        (1.5 + f, padded_f + 1.5),
        (f - 2, padded_f - 2),
        (2 - f, 2 - padded_f),
        (-f, -padded_f),
        (3 * f, 3 * padded_f),
        (f * np.float64(0.5), padded_f * 0.5),
        (np.float64(0.5) * f, padded_f * 0.5),
        (np.float64(0.5) + f, padded_f + 0.5),
        (jnp.asarray(2.0) * f, padded_f * 2),
        (f / 4, padded_f / 4),
        (2 * (f + 1) - g / 2, 2 * (padded_f + 1) - padded_g / 2),
    ):
        assert isinstance(result, dp.Field)
        np.testing.assert_allclose(result.padded(w), expected, atol=1e-13)
        assert type(result.conditions[0][0]) is KINDS[kind]


def test_conditions_of_a_product():
    """Fixed values multiply; slopes do not tell the slope of a product."""
    f, g = field_with("dirichlet", (0.3, -2.0), 0), field_with("dirichlet", (1.1, 0.4), 1)
    lower, upper = (f * g).conditions[0]
    assert isinstance(lower, dp.Dirichlet) and isinstance(upper, dp.Dirichlet)
    np.testing.assert_allclose([lower.value, upper.value], [0.33, -0.8])
    ghosts = field_with("ghost", (0.3, -2.0), 0) * field_with("ghost", (1.1, 0.4), 1)
    np.testing.assert_allclose(ghosts.padded([(1, 1)])[jnp.asarray([0, -1])], [0.33, -0.8])
    slopes = field_with("neumann", (0.0, 0.0), 0) * field_with("neumann", (0.0, 0.0), 1)
    mixed = f + field_with("neumann", (0.0, 0.0), 1)
    for unknown in (slopes, mixed, f.map(jnp.sin)):
        with pytest.raises(dp.InputError, match="ghost"):
            unknown.padded([(1, 0)])
    periodic = dp.Field(jnp.arange(5.0), f.grid, conditions=(PERIODIC,))
    np.testing.assert_allclose((periodic * periodic).map(jnp.sqrt).padded([(1, 1)]), periodic.padded([(1, 1)]))


def test_values_of_different_places_do_not_mix():
    grid = dp.Grid((4, 3))
    center = dp.Field(jnp.ones((4, 3)), grid, conditions=(PERIODIC, PERIODIC))
    face = dp.Field(jnp.ones((4, 3)), grid, (0.0, 0.5), (PERIODIC, PERIODIC))
    elsewhere = dp.Field(jnp.ones((4, 3)), dp.Grid((4, 3), (1.0, 1.0)), conditions=(PERIODIC, PERIODIC))
    bounded = dp.Field(jnp.ones((4, 3)), grid)
    for operation in (lambda a, b: a + b, lambda a, b: a - b, lambda a, b: a * b):
        with pytest.raises(dp.InputError, match="offsets"):
            operation(center, face)
        with pytest.raises(dp.InputError, match="grids"):
            operation(center, elsewhere)
        with pytest.raises(dp.InputError, match="periodic"):
            operation(center, bounded)


@pytest.mark.usefixtures("unchecked_types")
def test_what_knows_no_place_is_refused():
    field = dp.Field(jnp.ones((4, 3)), dp.Grid((4, 3)))
    array = np.ones((4, 3))
    for other in (array, jnp.asarray(array), "one", None):
        for operation in (lambda a, b: a + b, lambda a, b: b + a, lambda a, b: a * b, lambda a, b: b * a):
            with pytest.raises((dp.InputError, TypeError)):
                operation(field, other)
        with pytest.raises(dp.InputError, match="number or a field"):
            field + other  # pyright: ignore


def test_wrong_shapes_and_places_are_refused():
    grid = dp.Grid((4, 3))
    with pytest.raises(dp.InputError, match=r"values.*\(3, 4\).*\(4, 3\)"):
        dp.Field(jnp.zeros((3, 4)), grid)
    with pytest.raises(dp.InputError, match="vmap"):
        dp.Field(jnp.zeros((7, 4, 3)), grid)
    with pytest.raises(dp.InputError, match="offset"):
        dp.Field(jnp.zeros((4, 3)), grid, (0.5,))
    with pytest.raises(dp.InputError, match="offset"):
        dp.Field(jnp.zeros((4, 3)), grid, (0.5, 1.0))
    with pytest.raises(dp.InputError, match="conditions"):
        dp.Field(jnp.zeros((4, 3)), grid, conditions=(PERIODIC,))
    with pytest.raises(dp.InputError, match="axis 1 is periodic at one end"):
        dp.Field(jnp.zeros((4, 3)), grid, conditions=(PERIODIC, (dp.Periodic(), dp.Neumann())))
    with pytest.raises(dp.InputError, match="batch|values"):
        dp.Field(jnp.zeros((4, 3)), grid, (0.0, 0.5), (PERIODIC, (dp.Neumann(), dp.Neumann()))).with_values(
            jnp.zeros(4)
        )


def test_fields_pass_through_transformations():
    field = dp.Field(jnp.arange(5.0), dp.Grid((5,)), conditions=((dp.Dirichlet(1.0), dp.Neumann()),))
    doubled = jax.jit(lambda f: 2 * f)(field)
    np.testing.assert_array_equal(doubled.values, 2 * field.values)
    np.testing.assert_array_equal(doubled.padded([(1, 0)]), 2 * field.padded([(1, 0)]))
    gradient = jax.grad(lambda f: jnp.sum(f.padded([(1, 1)]) ** 2))(field)
    assert float(gradient.conditions[0][0].value) == 2 * 2 * (2 * 1.0 - 0.0)
    batch = jax.vmap(lambda number: (field + number).padded([(1, 1)]))(jnp.arange(3.0))
    assert batch.shape == (3, 7)


def test_a_known_end_is_written_into_the_program():
    """XLA leaves out what a wall at rest adds; of an array that is closed over it would know nothing."""
    field = dp.Field(
        jnp.ones((4, 6)), dp.Grid((4, 6), (1.0, 1.0)), conditions=((dp.Neumann(0.0), dp.Neumann(0.0)),) * 2
    )
    program = jax.make_jaxpr(lambda values: field.with_values(values).padded([(1, 1), (1, 1)]))(field.values)
    assert not program.consts
