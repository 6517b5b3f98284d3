"""Each operator on functions whose result is known."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp
from diffphys.grids import Ghost, Unknown, center_offset, face_offset
from diffphys.operators import (
    coarsen,
    difference,
    divergence,
    explicit_diffusion,
    gradient,
    interpolate,
    laplacian,
    refine,
    sample,
    semi_lagrangian,
    stable_diffusion_step,
)
from diffphys.operators.interpolation import linear_interpolation_matrix
from tests.gradients import check_derivatives


pytestmark = pytest.mark.usefixtures("float64")

PERIODIC = (dp.Periodic(), dp.Periodic())


def field_of(grid, offset, conditions, function) -> dp.Field:
    periodic = tuple(isinstance(pair[0], dp.Periodic) for pair in conditions)
    points = grid.coordinates(offset, periodic)
    values = jnp.broadcast_to(function(*points), grid.shape(offset, periodic))
    return dp.Field(values, grid, offset, conditions)


def orders_of(errors) -> np.ndarray:
    return np.log2(np.array(errors[:-1]) / np.array(errors[1:]))


def dirichlet(value=0.0):
    return (dp.Dirichlet(value), dp.Dirichlet(value))


def random_velocity(grid, conditions, key, scale=1.0) -> tuple:
    periodic = tuple(isinstance(pair[0], dp.Periodic) for pair in conditions)
    shapes = [grid.shape(face_offset(grid, axis), periodic) for axis in range(grid.dimensions)]
    return tuple(
        dp.Field(
            scale * jax.random.normal(jax.random.fold_in(key, axis), shape), grid, face_offset(grid, axis), conditions
        )
        for axis, shape in enumerate(shapes)
    )


# Exactness -----------------------------------------------------------------------------------------------------------


def test_linear_functions_are_exact_everywhere():
    """Values fixed on the lower ends, slopes on the upper ones, of a + b x + c y: every operator is exact."""
    grid = dp.Grid((6, 5), (1.5, 4.0), origin=(-1.0, 2.0))
    a, b, c = 0.3, 1.7, -0.4

    def linear(x, y):
        return a + b * x + c * y

    x_line, y_line = (
        grid.origin[axis] + (np.arange(n) + 0.5) * grid.spacing[axis] for axis, n in enumerate(grid.cells)
    )
    conditions = (
        (dp.Dirichlet(linear(grid.origin[0], y_line)[None, :]), dp.Neumann(b)),
        (dp.Dirichlet(linear(x_line, grid.origin[1])[:, None]), dp.Neumann(c)),
    )
    field = field_of(grid, center_offset(grid), conditions, linear)
    slope_x, slope_y = gradient(field)
    np.testing.assert_allclose(slope_x.values, b, atol=1e-13)
    np.testing.assert_allclose(slope_y.values, c, atol=1e-13)
    assert slope_x.shape == (7, 5) and slope_y.shape == (6, 6)
    np.testing.assert_allclose(laplacian(field).values, 0, atol=1e-12)
    for offset in itertools.product((0.0, 0.5), repeat=2):
        if offset == (0.0, 0.0):
            continue  # a corner needs a profile at its own points: that is refused below
        moved = interpolate(field, offset)
        np.testing.assert_allclose(moved.values, linear(*moved.coordinates()), atol=1e-13)
    points = [-1.0 + 1.5 * np.random.default_rng(0).random(20), 2.0 + 4.0 * np.random.default_rng(1).random(20)]
    inside = [np.clip(points[0], -0.85, 0.35), np.clip(points[1], 2.5, 5.5)]
    np.testing.assert_allclose(sample(field, [jnp.asarray(p) for p in inside]), linear(*inside), atol=1e-13)
    with pytest.raises(dp.InputError, match="ghost"):
        interpolate(field, (0.0, 0.0))


def test_constants_are_kept_by_every_operator():
    grid = dp.Grid((6, 5), (1.5, 4.0))
    for x, y in itertools.product((PERIODIC, dirichlet(2.0), (dp.Neumann(), dp.Neumann())), repeat=2):
        field = field_of(grid, center_offset(grid), (x, y), lambda x, y: 2.0)
        for slope in gradient(field):
            np.testing.assert_allclose(slope.values, 0, atol=1e-14)
        np.testing.assert_allclose(laplacian(field).values, 0, atol=1e-13)
        np.testing.assert_allclose(explicit_diffusion(field, 0.1, 0.1).values, 2.0, atol=1e-13)
        velocity = random_velocity(grid, (x, y), jax.random.key(0))
        np.testing.assert_allclose(semi_lagrangian(field, velocity, 0.3).values, 2.0, atol=1e-13)
        np.testing.assert_array_equal(coarsen(dp.Field(jnp.full((6, 4), 2.0), dp.Grid((6, 4))), 2).values, 2.0)


# Orders of convergence -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ends", ["periodic", "dirichlet", "neumann", "mixed"])
def test_differences_and_interpolation_are_second_order(ends):
    """On functions that are odd about a fixed value and even about a fixed slope, up to the boundary."""
    pi = np.pi
    function, derivative, pair = {
        "periodic": (lambda s: np.sin(2 * pi * s), lambda s: 2 * pi * np.cos(2 * pi * s), PERIODIC),
        "dirichlet": (lambda s: 1 + np.sin(pi * s), lambda s: pi * np.cos(pi * s), dirichlet(1.0)),
        "neumann": (lambda s: np.cos(pi * s), lambda s: -pi * np.sin(pi * s), (dp.Neumann(), dp.Neumann())),
        "mixed": (lambda s: np.sin(pi * s / 2), lambda s: pi / 2 * np.cos(pi * s / 2), (dp.Dirichlet(), dp.Neumann())),
    }[ends]
    rate = {"periodic": 4 * pi**2, "dirichlet": pi**2, "neumann": pi**2, "mixed": pi**2 / 4}[ends]
    mean = 1.0 if ends == "dirichlet" else 0.0
    errors = {"gradient": [], "laplacian": [], "interpolate": [], "divergence": [], "face laplacian": []}
    for count in (16, 32, 64):
        grid = dp.Grid((count, 3), (1.0, 0.7))
        conditions = (pair, PERIODIC)
        field = field_of(grid, (0.5, 0.5), conditions, lambda x, y: function(np.asarray(x)))
        slope = gradient(field)[0]
        face_x = np.asarray(slope.coordinates()[0])
        errors["gradient"].append(np.abs(slope.values - derivative(face_x)).max())
        x = np.asarray(field.coordinates()[0])
        errors["laplacian"].append(np.abs(laplacian(field).values + rate * (function(x) - mean)).max())
        moved = interpolate(field, (0.0, 0.5))
        errors["interpolate"].append(np.abs(moved.values - function(face_x)).max())
        faces = field_of(grid, (0.0, 0.5), conditions, lambda x, y: function(np.asarray(x)))
        zero = field_of(grid, (0.5, 0.0), conditions, lambda x, y: 0.0)
        errors["divergence"].append(np.abs(divergence((faces, zero)).values - derivative(x)).max())
        on_faces = laplacian(faces)
        errors["face laplacian"].append(np.abs(on_faces.values + rate * (function(face_x) - mean)).max())
    for name, found in errors.items():
        assert np.all(orders_of(found) > 1.9), (name, found, orders_of(found))


def test_a_sampled_smooth_function_converges_to_second_order():
    errors = []
    points = [jnp.asarray(np.random.default_rng(2).random(200)) for _ in range(2)]
    for count in (16, 32, 64):
        grid = dp.Grid((count, 2 * count), (1.0, 1.0))

        def smooth(x, y):
            return jnp.sin(2 * jnp.pi * x) * jnp.cos(jnp.pi * y)

        field = field_of(grid, (0.5, 0.5), (PERIODIC, (dp.Neumann(), dp.Neumann())), smooth)
        errors.append(float(jnp.max(jnp.abs(sample(field, points) - smooth(*points)))))
    assert np.all(orders_of(errors) > 1.7), errors


# Semi-Lagrangian advection -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("largest_courant", [None, 1, 3])
@pytest.mark.parametrize("periodic", [True, False])
def test_advection_that_must_change_nothing(largest_courant, periodic, key):
    grid = dp.Grid((6, 5), (1.5, 4.0))
    conditions = (PERIODIC if periodic else dirichlet(0.3), (dp.Neumann(0.2), dp.Neumann(-0.1)))
    velocity = random_velocity(grid, conditions, key)
    at_rest = tuple(part * 0 for part in velocity)  # what holds at the sides comes to rest with it
    for field in (*velocity, field_of(grid, (0.5, 0.5), conditions, lambda x, y: jnp.sin(7 * x + y**2))):
        for carrier, dt in ((velocity, 0.0), (at_rest, 1.0)):
            moved = semi_lagrangian(field, carrier, dt, largest_courant)
            np.testing.assert_allclose(moved.values, field.values, rtol=0, atol=1e-15)


@pytest.mark.parametrize("largest_courant", [None, 2])
def test_whole_cells_are_shifted_exactly(largest_courant, key):
    grid = dp.Grid((8, 6), (4.0, 1.5))
    conditions = (PERIODIC, PERIODIC)
    dt, steps = 0.25, (2, -1)
    velocity = tuple(
        dp.Field(jnp.full((8, 6), count * spacing / dt), grid, face_offset(grid, axis), conditions)
        for axis, (count, spacing) in enumerate(zip(steps, grid.spacing, strict=True))
    )
    for offset in ((0.5, 0.5), (0.0, 0.5), (0.5, 0.0)):
        field = dp.Field(jax.random.normal(key, (8, 6)), grid, offset, conditions)
        moved = semi_lagrangian(field, velocity, dt, largest_courant)
        np.testing.assert_allclose(moved.values, np.roll(field.values, steps, (0, 1)), rtol=0, atol=1e-13)


def test_a_bounded_axis_brings_in_what_stands_at_its_side():
    """A wind of one cell per step from a side with the value 5, slope 0 behind."""
    grid = dp.Grid((6,), (3.0,))
    conditions = ((dp.Dirichlet(5.0), dp.Neumann()),)
    field = dp.Field(jnp.arange(6.0), grid, conditions=conditions)
    wind = (dp.Field(jnp.full(7, 1.0), grid, (0.0,), ((dp.Neumann(), dp.Neumann()),)),)
    for largest_courant in (None, 1):
        moved = semi_lagrangian(field, wind, 0.5, largest_courant)
        np.testing.assert_allclose(moved.values, [5.0, 0.0, 1.0, 2.0, 3.0, 4.0], atol=1e-14)


ENDS = (PERIODIC, dirichlet(0.4), (dp.Neumann(0.3), dp.Neumann(-0.2)), (Ghost(0.5), dp.Dirichlet(-1.0)))


@pytest.mark.parametrize("cells", [(7,), (6, 5), pytest.param((3, 4, 3), marks=pytest.mark.slow)])
def test_gathers_and_weighted_shifts_agree(cells, key):
    """At every place, for every pair of ends, at speeds that leave the domain; in whole cells, up to 3 of them."""
    grid = dp.Grid(cells, [0.7 * count + 0.1 for count in cells])
    combinations = [(one, one) for one in ENDS] if len(cells) == 1 else list(itertools.product(ENDS, repeat=2))
    for first, second in combinations if len(cells) < 3 else combinations[1:5:3]:
        conditions = (first, second, first)[: len(cells)]
        velocity = random_velocity(grid, conditions, key)
        fastest = max(float(jnp.max(jnp.abs(part.values))) / h for part, h in zip(velocity, grid.spacing, strict=True))
        for reach in (1, 3):
            dt = 0.999 * reach / fastest
            for field in velocity[:1] + (interpolate(velocity[0], center_offset(grid)),):
                if isinstance(first[0], Ghost):
                    field = field.with_conditions(conditions)  # a ghost value is kept where an average has none
                exact = semi_lagrangian(field, velocity, dt)
                fast = semi_lagrangian(field, velocity, dt, reach)
                np.testing.assert_allclose(fast.values, exact.values, rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("first", "bounds"), [pytest.param(PERIODIC, (1, 3), marks=pytest.mark.slow), (dirichlet(0.2), (3, 1))]
)
def test_each_axis_may_have_a_bound_of_its_own(first, bounds, key):
    """Values and their transpose are those of the gathers; beyond the bound of its own axis a step is NaN."""
    grid = dp.Grid((6, 7), (3.0, 2.1))
    velocity = random_velocity(grid, (first, PERIODIC), key)
    velocity = tuple(
        part.with_values(0.99 * bound * h * part.values / jnp.max(jnp.abs(part.values)))
        for part, bound, h in zip(velocity, bounds, grid.spacing, strict=True)
    )
    field = velocity[0]

    def moved(values, winds, largest_courant):
        carrier = [part.with_values(wind) for part, wind in zip(velocity, winds, strict=True)]
        return semi_lagrangian(field.with_values(values), carrier, 1.0, largest_courant).values

    winds = [part.values for part in velocity]
    cotangent = jax.random.normal(jax.random.fold_in(key, 1), field.shape)
    by_gathers, pull = jax.vjp(lambda values, winds: moved(values, winds, None), field.values, winds)
    by_shifts, pull_shifts = jax.vjp(lambda values, winds: moved(values, winds, bounds), field.values, winds)
    np.testing.assert_allclose(by_shifts, by_gathers, rtol=0, atol=1e-13)
    for one, other in zip(jax.tree.leaves(pull_shifts(cotangent)), jax.tree.leaves(pull(cotangent)), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-11)
    assert bool(jnp.any(jnp.isnan(moved(field.values, winds, bounds[::-1]))))


def test_a_courant_number_beyond_the_bound_is_loud(key):
    grid = dp.Grid((8, 6))
    velocity = random_velocity(grid, (PERIODIC, PERIODIC), key, scale=0.1)
    fast = velocity[0].with_values(velocity[0].values.at[3, 2].set(1.3))
    moved = semi_lagrangian(velocity[0], (fast, velocity[1]), 1.0, 1)
    assert bool(jnp.isnan(moved.values[3, 2])) and int(jnp.sum(jnp.isnan(moved.values))) == 1
    assert bool(jnp.all(jnp.isfinite(semi_lagrangian(velocity[0], (fast, velocity[1]), 1.0, 2).values)))
    lost = velocity[0].with_values(velocity[0].values.at[0, 0].set(jnp.nan))
    for reach in (None, 1):  # NaN in, NaN out: never a look-up at some other place
        assert bool(jnp.any(jnp.isnan(semi_lagrangian(velocity[1], (lost, velocity[1]), 1.0, reach).values)))


@pytest.mark.parametrize("largest_courant", [None, 2])
def test_slopes_take_the_same_part_of_both_neighbors(largest_courant):
    """No wind moves what is the same everywhere, also one too weak to be seen beside a cell, or of whole cells."""
    grid = dp.Grid((6, 6))
    field = dp.Field(jnp.full((6, 6), 5.0), grid, conditions=(PERIODIC, PERIODIC))
    winds = jnp.asarray([0.0, 1e-20, -1e-20, 1.0, -1.0, 1.0 - 1e-16, 0.3]) / 6

    def moved(wind):
        velocity = [
            dp.Field(jnp.full((6, 6), wind), grid, face_offset(grid, axis), (PERIODIC, PERIODIC)) for axis in (0, 1)
        ]
        return semi_lagrangian(field, velocity, 1.0, largest_courant).values

    slopes = jax.vmap(lambda wind: jax.jvp(moved, (wind,), (jnp.ones_like(wind),))[1])(winds)
    np.testing.assert_allclose(slopes, 0.0, atol=1e-12)


@pytest.mark.parametrize("largest_courant", [None, 2])
def test_the_maximum_principle(largest_courant, key):
    """Never beyond the extremes of the values and of what stands at the sides."""
    grid = dp.Grid((8, 6))
    conditions = ((dp.Dirichlet(0.2), dp.Neumann()), PERIODIC)
    for seed in range(4):
        velocity = random_velocity(grid, conditions, jax.random.fold_in(key, seed), scale=0.5)
        values = jax.random.uniform(jax.random.fold_in(key, 100 + seed), (8, 6))
        field = dp.Field(values, grid, conditions=conditions)
        moved = semi_lagrangian(field, velocity, 1.0, None if largest_courant is None else 3)
        ghosts = field.padded([(1, 1), (1, 1)])
        assert float(jnp.min(moved.values)) >= float(jnp.min(ghosts)) - 1e-14
        assert float(jnp.max(moved.values)) <= float(jnp.max(ghosts)) + 1e-14


@pytest.mark.parametrize("largest_courant", [None, 1, 2])
def test_a_periodic_axis_has_no_seam(largest_courant, key):
    """Shifting along a periodic axis before or after is the same, also beside an inflow with a profile."""
    grid = dp.Grid((8, 6))
    profile = jax.random.normal(key, (8, 1))

    def moved(shift):
        conditions = (PERIODIC, (dp.Dirichlet(jnp.roll(profile, shift, 0)), dp.Neumann()))
        velocity = random_velocity(grid, (PERIODIC, dirichlet()), key, scale=0.3)
        velocity = tuple(part.with_values(jnp.roll(part.values, shift, 0)) for part in velocity)
        field = dp.Field(jnp.roll(jax.random.normal(key, (8, 6)), shift, 0), grid, conditions=conditions)
        return semi_lagrangian(field, velocity, 1.0, largest_courant).values

    for shift in (1, 3, 7):
        np.testing.assert_allclose(moved(shift), jnp.roll(moved(0), shift, 0), rtol=0, atol=1e-14)


# Coarsening ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("conditions", [(PERIODIC, dirichlet()), (dirichlet(1.0), (dp.Neumann(), dp.Neumann()))])
@pytest.mark.parametrize("factor", [1, 2, 4])
def test_coarsening_keeps_the_divergence_the_flux_and_the_mean(conditions, factor, key):
    grid = dp.Grid((8, 12), (2.0, 3.5))
    velocity = random_velocity(grid, conditions, key)
    coarse = [coarsen(part, factor) for part in velocity]
    fine = divergence(velocity)
    expected = fine.values.reshape(8 // factor, factor, 12 // factor, factor).mean((1, 3))
    np.testing.assert_allclose(divergence(coarse).values, expected, rtol=0, atol=1e-13)
    for axis, (one, other) in enumerate(zip(velocity, coarse, strict=True)):
        flux, coarse_flux = (
            jnp.take(part.values, -1, axis).sum() * part.grid.spacing[1 - axis] for part in (one, other)
        )
        if not isinstance(conditions[axis][0], dp.Periodic):
            np.testing.assert_allclose(coarse_flux, flux, atol=1e-13)
    np.testing.assert_allclose(coarsen(fine, factor).values.mean(), fine.values.mean(), atol=1e-13)


def test_coarsening_coarsens_profiles_and_keeps_numbers():
    grid = dp.Grid((4, 6))
    conditions = ((dp.Dirichlet(jnp.arange(6.0).reshape(1, 6)), dp.Neumann(0.5)), PERIODIC)
    coarse = coarsen(dp.Field(jnp.zeros((5, 6)), grid, (0.0, 0.5), conditions), 2)
    lower, upper = coarse.conditions[0]
    assert isinstance(lower, dp.Dirichlet) and isinstance(upper, dp.Neumann)
    np.testing.assert_array_equal(lower.value, [[0.5, 2.5, 4.5]])
    np.testing.assert_array_equal(upper.slope, 0.5)
    assert coarse.grid == dp.Grid((2, 3), (4.0, 6.0))


@pytest.mark.parametrize("conditions", [(PERIODIC, dirichlet()), (dirichlet(1.0), (dp.Neumann(), dp.Neumann()))])
@pytest.mark.parametrize("factor", [1, 2, 3])
def test_refining_keeps_the_divergence_and_coarsening_leads_back(conditions, factor, key):
    velocity = random_velocity(dp.Grid((4, 6), (2.0, 3.5)), conditions, key)
    fine = [refine(part, factor) for part in velocity]
    coarse = divergence(velocity)
    np.testing.assert_allclose(divergence(fine).values, refine(coarse, factor).values, rtol=0, atol=1e-12)
    for one, other in zip([*velocity, coarse], [*fine, refine(coarse, factor)], strict=True):
        back = coarsen(other, factor)
        assert back.grid == one.grid and back.offset == one.offset
        np.testing.assert_allclose(back.values, one.values, rtol=0, atol=1e-13)


def test_refining_is_exact_along_the_normal_and_keeps_profiles():
    """A velocity that grows linearly from one wall to the other; a profile has as many values as there are cells."""
    grid = dp.Grid((4, 2), (1.0, 1.0))
    conditions = ((dp.Dirichlet(jnp.asarray([[1.0, 2.0]])), dp.Dirichlet(5.0)), PERIODIC)
    fine = refine(dp.Field(jnp.broadcast_to(1 + jnp.arange(5.0)[:, None], (5, 2)), grid, (0.0, 0.5), conditions), 3)
    np.testing.assert_allclose(fine.values, np.broadcast_to(1 + np.arange(13)[:, None] / 3, (13, 6)), atol=1e-6)
    np.testing.assert_array_equal(fine.conditions[0][0].value, [[1.0, 1.0, 1.0, 2.0, 2.0, 2.0]])  # pyright: ignore
    with pytest.raises(dp.InputError, match="refine: grid"):
        refine(dp.Field(jnp.zeros((2,)), dp.Grid.from_edges([[0.0, 1.0, 3.0]])), 2)


# Diffusion -----------------------------------------------------------------------------------------------------------


def test_the_bound_of_explicit_diffusion_is_sharp():
    """The fastest mode, the checkerboard, keeps its size at the bound, and grows beyond."""
    grid = dp.Grid((6, 4), (1.5, 4.0))
    values = jnp.asarray((-1.0) ** (np.arange(6)[:, None] + np.arange(4)))
    field = dp.Field(values, grid, conditions=(PERIODIC, PERIODIC))
    bound = float(stable_diffusion_step(grid, 0.3))
    np.testing.assert_allclose(explicit_diffusion(field, 0.3, bound).values, -values, atol=1e-13)
    assert float(jnp.max(jnp.abs(explicit_diffusion(field, 0.3, 1.01 * bound).values))) > 1.01
    assert np.isinf(stable_diffusion_step(grid, 0.0))


# Derivatives ---------------------------------------------------------------------------------------------------------


def example(key) -> tuple:
    grid = dp.Grid((5, 4), (1.5, 4.0))
    profile = jax.random.normal(key, (1, 4))
    conditions = ((dp.Dirichlet(profile), dp.Neumann(0.3)), (dp.Dirichlet(-0.2), Ghost(0.4)))
    field = dp.Field(jax.random.normal(key, (5, 4)), grid, conditions=conditions)
    slack = ((dp.Dirichlet(0.3), dp.Neumann(0.1)), (dp.Dirichlet(-0.2), dp.Neumann(0.2)))
    return field, random_velocity(grid, slack, jax.random.fold_in(key, 7), scale=0.4)


OPERATORS = {
    "difference": lambda field, velocity, number: difference(field, 1),
    "gradient": lambda field, velocity, number: gradient(field * number),
    "laplacian": lambda field, velocity, number: laplacian(field),
    "divergence": lambda field, velocity, number: divergence(velocity),
    "interpolate": lambda field, velocity, number: (
        interpolate(field, (0.0, 0.5)),
        interpolate(velocity[0], (0.5, 0.0)),
    ),
    "sample": lambda field, velocity, number: sample(
        field, [0.75 + number * jnp.asarray([0.1, -0.31, 0.52]), 1.9 + number * jnp.asarray([0.3, 0.77, -0.6])]
    ),
    "coarsen": lambda field, velocity, number: coarsen(dp.Field(field.values[:4] * number, dp.Grid((4, 4))), 2),
    "refine": lambda field, velocity, number: refine(velocity[0], 2),
    "explicit_diffusion": lambda field, velocity, number: explicit_diffusion(field, number, 0.07),
    "stable_diffusion_step": lambda field, velocity, number: stable_diffusion_step(field.grid, number),
    "semi_lagrangian": lambda field, velocity, number: semi_lagrangian(field, velocity, number),
    "semi_lagrangian, weighted shifts": lambda field, velocity, number: semi_lagrangian(field, velocity, number, 3),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if "shifts" in name else []) for name in OPERATORS]
)
def test_derivatives(name, key):
    """With respect to values, what holds at the sides, velocity and number: everything an operator is given. (Weighted
    shifts are part of the wake step, whose derivatives are tested as well.)
    """
    check_derivatives(lambda given: OPERATORS[name](*given), (*example(key), jnp.asarray(0.61)), key)


def test_vmap_equals_a_loop(key):
    field, velocity = example(key)
    batch = jax.random.normal(key, (3, *field.shape))
    for function in (
        lambda values: laplacian(field.with_values(values)).values,
        lambda values: semi_lagrangian(field.with_values(values), velocity, 0.5).values,
        lambda values: semi_lagrangian(field.with_values(values), velocity, 0.5, 2).values,
    ):
        for one, values in zip(jax.vmap(function)(batch), batch, strict=True):
            np.testing.assert_allclose(one, function(values), rtol=0, atol=1e-13)


# Bad input -----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("unchecked_types")
def test_wrong_places_are_refused():
    grid = dp.Grid((6, 5))
    center = dp.Field(jnp.zeros((6, 5)), grid, conditions=(PERIODIC, PERIODIC))
    face = dp.Field(jnp.zeros((6, 5)), grid, (0.0, 0.5), (PERIODIC, PERIODIC))
    with pytest.raises(dp.InputError, match="gradient"):
        gradient(face)
    with pytest.raises(dp.InputError, match="divergence"):
        divergence((face, face))
    with pytest.raises(dp.InputError, match="divergence"):
        divergence((face,))
    with pytest.raises(dp.InputError, match="interpolate"):
        interpolate(center, (0.0,))
    with pytest.raises(dp.InputError, match="offset"):
        interpolate(center, (0.0, 0.3))
    with pytest.raises(dp.InputError, match="points"):
        sample(center, [jnp.zeros(3)])
    with pytest.raises(dp.InputError, match="velocity"):
        semi_lagrangian(center, (face,), 0.1)
    for wrong in (0, 1.5, -1, (1,), (1, 2, 1), (1, 0), [1, 1]):
        with pytest.raises(dp.InputError, match="largest_courant"):
            semi_lagrangian(center, (face, face), 0.1, wrong)  # pyright: ignore[reportArgumentType]
    for wrong in (0, 4, -1):
        with pytest.raises(dp.InputError, match="factor"):
            coarsen(center, wrong)
    with pytest.raises(dp.InputError, match="factor"):
        refine(center, 0)
    with pytest.raises(dp.InputError, match="axis"):
        difference(center, 2)


def test_ghost_values_that_nothing_defines_are_refused():
    grid = dp.Grid((6, 5))
    unknown = dp.Field(jnp.zeros((6, 5)), grid)
    half = unknown.with_conditions((PERIODIC, (Unknown(), dp.Neumann())))
    for field in (unknown, half):
        for operator in (
            gradient,
            laplacian,
            lambda f: interpolate(f, (0.5, 0.0)),
            lambda f: explicit_diffusion(f, 1, 1),
        ):
            with pytest.raises(dp.InputError, match="ghost"):
                operator(field)
    difference(half, 0)  # the axis that is known
    with pytest.raises(dp.InputError, match="lower end of axis 1"):
        difference(half, 1)


def test_the_matrix_of_linear_interpolation_is_exact_between_keeps_the_ends_and_goes_round():
    places, points = np.array([0.0, 1.0, 1.5, 3.0]), np.array([-2.0, 0.25, 1.5, 2.9, 4.0])
    matrix = linear_interpolation_matrix(places, points)
    np.testing.assert_allclose(matrix @ (3 * places - 1), 3 * np.clip(points, 0.0, 3.0) - 1, atol=1e-14)
    # With a period of four the last interval leads from 3 back to 0.
    np.testing.assert_allclose(
        linear_interpolation_matrix(places, np.array([3.25, -0.25, 4.5]), 4.0),
        [[0.25, 0.0, 0.0, 0.75], [0.75, 0.0, 0.0, 0.25], [0.5, 0.5, 0.0, 0.0]],
        atol=1e-14,
    )
