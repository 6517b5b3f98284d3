"""Every operator on stretched axes: exact for linear functions, of second order, transposed, differentiable."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp
from diffphys.grids import Ghost, center_offset, face_offset, tanh_edges
from diffphys.operators import (
    coarsen,
    divergence,
    explicit_diffusion,
    gradient,
    interpolate,
    laplacian,
    sample,
    semi_lagrangian,
    stable_diffusion_step,
)
from tests.domains import all_pairs, free_faces, make_flow, random_velocity
from tests.gradients import check_derivatives


pytestmark = pytest.mark.usefixtures("float64")

PERIODIC = (dp.Periodic(), dp.Periodic())
X_EDGES = np.array([-1.0, -0.7, -0.55, -0.1, 0.1, 0.5])
Y_EDGES = np.array([2.0, 2.2, 3.0, 3.4, 4.1])


def field_of(grid, offset, conditions, function) -> dp.Field:
    periodic = tuple(isinstance(pair[0], dp.Periodic) for pair in conditions)
    values = jnp.broadcast_to(function(*grid.coordinates(offset, periodic)), grid.shape(offset, periodic))
    return dp.Field(values, grid, offset, conditions)


def test_linear_functions_are_exact_everywhere():
    grid = dp.Grid.from_edges([X_EDGES, Y_EDGES])
    a, b, c = 0.3, 1.7, -0.4

    def linear(x, y):
        return a + b * x + c * y

    x, y = grid.centers()
    conditions = (
        (dp.Dirichlet(linear(-1.0, y)), dp.Neumann(b)),
        (dp.Dirichlet(linear(x, 2.0)), dp.Neumann(c)),
    )
    field = field_of(grid, center_offset(grid), conditions, linear)
    slopes, curvature, moved = jax.jit(
        lambda field: (
            gradient(field),
            laplacian(field).values,
            [interpolate(field, offset) for offset in ((0.0, 0.5), (0.5, 0.0))],
        )
    )(field)
    for slope, expected in zip(slopes, (b, c), strict=True):
        np.testing.assert_allclose(slope.values, expected, atol=1e-13)
    np.testing.assert_allclose(curvature, 0, atol=1e-12)
    for average in moved:
        np.testing.assert_allclose(average.values, linear(*average.coordinates()), atol=1e-13)
    points = [np.random.default_rng(0).uniform(-0.8, 0.3, 20), np.random.default_rng(1).uniform(2.1, 3.7, 20)]
    np.testing.assert_allclose(sample(field, [jnp.asarray(p) for p in points]), linear(*points), atol=1e-13)
    np.testing.assert_allclose(sample(field, field.coordinates()), field.values, atol=1e-14)


@pytest.mark.parametrize("ends", ["periodic", "dirichlet", "neumann", "mixed"])
def test_differences_and_interpolation_are_second_order_where_widths_change_smoothly(ends):
    pi = np.pi
    function, derivative, second, pair = {
        "periodic": (
            lambda s: np.sin(2 * pi * s), lambda s: 2 * pi * np.cos(2 * pi * s),
            lambda s: -4 * pi**2 * np.sin(2 * pi * s), PERIODIC,
        ),
        "dirichlet": (
            lambda s: np.sin(pi * s), lambda s: pi * np.cos(pi * s), lambda s: -(pi**2) * np.sin(pi * s),
            (dp.Dirichlet(), dp.Dirichlet()),
        ),
        "neumann": (
            lambda s: np.cos(pi * s), lambda s: -pi * np.sin(pi * s), lambda s: -(pi**2) * np.cos(pi * s),
            (dp.Neumann(), dp.Neumann()),
        ),
        "mixed": (
            lambda s: np.sin(pi * s / 2), lambda s: pi / 2 * np.cos(pi * s / 2),
            lambda s: -(pi**2) / 4 * np.sin(pi * s / 2), (dp.Dirichlet(), dp.Neumann()),
        ),
    }[ends]  # fmt: skip
    errors = {"gradient": [], "interpolate": [], "divergence": [], "laplacian": [], "face laplacian": []}
    for count in (16, 32, 64):
        line = np.linspace(0, 1, count + 1)
        edges = (
            line + 0.1 * np.sin(2 * pi * line) / (2 * pi) if ends == "periodic" else tanh_edges(count, 0.0, 1.0, 0.8)
        )
        grid = dp.Grid((count, 3)).with_edges(0, edges)
        conditions = (pair, PERIODIC)
        x, faces = (np.asarray(grid.coordinates((place, 0.5), (pair is PERIODIC, True))[0]) for place in (0.5, 0.0))
        field = field_of(grid, (0.5, 0.5), conditions, lambda *_, x=x: function(x))
        on_faces = field_of(grid, (0.0, 0.5), conditions, lambda *_, faces=faces: function(faces))
        still = field_of(grid, (0.5, 0.0), conditions, lambda x, y: 0.0)
        found = jax.jit(
            lambda field, on_faces, still: {
                "gradient": gradient(field)[0].values,
                "interpolate": interpolate(field, (0.0, 0.5)).values,
                "divergence": divergence((on_faces, still)).values,
                "laplacian": laplacian(field).values,
                "face laplacian": laplacian(on_faces).values,
            }
        )(field, on_faces, still)
        exact = {
            "gradient": derivative(faces),
            "interpolate": function(faces),
            "divergence": derivative(x),
            "laplacian": second(x),
            "face laplacian": second(faces),
        }
        for name, expected in exact.items():
            # Beside a side a second derivative is of first order on a stretched axis, as its solution is not.
            inner = slice(1, -1) if "laplacian" in name and pair is not PERIODIC else slice(None)
            errors[name].append(np.abs(found[name] - expected)[inner].max())
    for name, found in errors.items():
        orders = np.log2(np.array(found[:-1]) / np.array(found[1:]))
        assert np.all(orders > 1.85), (name, found, orders)


@pytest.mark.parametrize("dimensions", [1, 2])
def test_divergence_is_minus_the_gradient_transposed(dimensions):
    """With cell volumes as weights, and on faces their area times the distance of the centers, for all sides."""
    grid = dp.Grid.from_edges([X_EDGES, Y_EDGES][:dimensions])
    generator = np.random.default_rng(0)
    pairs = all_pairs()
    combinations = itertools.product(pairs, repeat=dimensions)
    for index, sides in enumerate(combinations):
        if dimensions == 2 and index % 7:  # all were checked on uniform grids; every pair still appears here
            continue
        flow = make_flow(grid, sides, viscosity=1e-4)
        velocity = random_velocity(flow, generator)
        free = [free_faces(flow, axis) for axis in range(dimensions)]
        velocity = [part.with_values(part.values * mask) for part, mask in zip(velocity, free, strict=True)]
        pressure = dp.Field(generator.standard_normal(grid.cells), grid, conditions=flow.variables(0.0).pressure)
        left = np.sum(grid.volumes() * np.asarray(pressure.values) * np.asarray(divergence(velocity).values))
        right, size = 0.0, 1.0
        for axis, (part, slope) in enumerate(zip(velocity, gradient(pressure), strict=True)):
            weights = [grid.widths(other) for other in range(dimensions)]
            weights[axis] = grid.center_distances(axis, part.periodic[axis])
            terms = np.asarray(part.values) * np.asarray(slope.values)
            for other, line in enumerate(weights):
                terms = terms * grid.along(other, line)
            right, size = right - np.sum(terms), size + np.sum(np.abs(terms))
        assert abs(left - right) <= 1e-13 * size, sides


@pytest.mark.parametrize("periodic", [True, False])
def test_semi_lagrangian_advection(periodic, key):
    """dt = 0 and v = 0 change nothing, at every place; and both ways of looking up agree, beyond the seam too."""
    grid = dp.Grid.from_edges([X_EDGES, Y_EDGES])
    ends = PERIODIC if periodic else (dp.Dirichlet(0.3), dp.Neumann(0.2))
    conditions = (ends, (dp.Neumann(0.2), dp.Neumann(-0.1)))
    velocity = []
    for axis in range(2):
        shape = grid.shape(face_offset(grid, axis), (periodic, False))
        values = 0.5 * jax.random.normal(jax.random.fold_in(key, axis), shape)
        velocity.append(dp.Field(values, grid, face_offset(grid, axis), conditions))
    center = field_of(grid, (0.5, 0.5), conditions, lambda x, y: jnp.sin(7 * x + y**2))
    for field in (*velocity, center):
        results = [
            jax.jit(lambda field, velocity, dt, bound=bound: semi_lagrangian(field, velocity, dt, bound).values)
            for bound in (None, 5)
        ]
        for moved in results:
            for carrier, dt in ((velocity, 0.0), ([part * 0 for part in velocity], 1.0)):
                np.testing.assert_allclose(moved(field, carrier, dt), field.values, rtol=0, atol=1e-15)
        exact, fast = (moved(field, velocity, 0.5) for moved in results)
        np.testing.assert_allclose(fast, exact, rtol=0, atol=1e-13)


def test_semi_lagrangian_carries_a_profile_at_first_order():
    errors = []
    for count in (32, 64, 128):
        line = np.linspace(0, 1, count + 1)
        grid = dp.Grid.from_edges([line + 0.3 * np.sin(2 * np.pi * line) / (2 * np.pi)])
        wind = (dp.Field(jnp.ones(count), grid, (0.0,), (PERIODIC,)),)
        field = field_of(grid, (0.5,), (PERIODIC,), lambda x: jnp.sin(2 * jnp.pi * x))
        field, _ = dp.rollout(lambda field: semi_lagrangian(field, wind, 0.125), field, steps=8)  # noqa: B023
        errors.append(np.abs(field.values - np.sin(2 * np.pi * np.asarray(field.coordinates()[0]))).max())
    assert errors[0] < 0.05 and np.all(np.array(errors[:-1]) / errors[1:] > 3), errors  # the look-up: second order


def test_coarsening_keeps_the_integral_and_the_flux(key):
    """The coarse divergence is the volume-weighted mean of the fine one."""
    edges = np.cumsum([0.0, 0.3, 0.1, 0.5, 0.2, 0.2, 0.7, 0.1, 0.4])
    grid = dp.Grid.from_edges([edges, np.append(0.0, np.cumsum(edges[1:] + 0.1))])
    conditions = ((dp.Dirichlet(jax.random.normal(key, (1, 8))), dp.Neumann()), PERIODIC)
    velocity = [
        dp.Field(
            jax.random.normal(jax.random.fold_in(key, axis), grid.shape(face_offset(grid, axis), (False, True))),
            grid, face_offset(grid, axis), conditions,
        )
        for axis in range(2)
    ]  # fmt: skip
    velocity[1] = velocity[1].with_conditions(((dp.Dirichlet(), dp.Neumann()), PERIODIC))
    fine, coarse = divergence(velocity), divergence([coarsen(part, 2) for part in velocity])
    weighted = np.asarray(fine.values) * grid.volumes()
    expected = weighted.reshape(4, 2, 4, 2).sum((1, 3)) / grid.coarsened(2).volumes()
    np.testing.assert_allclose(coarse.values, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_explicit_diffusion_is_stable_up_to_its_bound(offset):
    """The eigenvalues of one step at the bound, from its matrix, lie within the unit circle."""
    for edges, pair in (
        (X_EDGES, PERIODIC),
        (Y_EDGES, (dp.Dirichlet(), dp.Dirichlet())),
        (X_EDGES, (Ghost(), dp.Neumann())),
    ):
        grid = dp.Grid.from_edges([edges])
        start = dp.Field(np.zeros(grid.shape((offset,), (pair is PERIODIC,))), grid, (offset,), (pair,))
        bound = stable_diffusion_step(grid, 0.3)
        jacobian = jax.jacobian(lambda field: explicit_diffusion(field, 0.3, bound).values)  # noqa: B023
        matrix = jax.jit(jacobian)(start).values
        assert np.abs(np.linalg.eigvals(np.asarray(matrix))).max() <= 1 + 1e-12
    nearly_uniform = dp.Grid.from_edges([np.linspace(0, 1, 6) + 1e-9 * np.array([0, 1, 0, 1, 0, 0])])
    assert nearly_uniform.uniform == (False,)
    np.testing.assert_allclose(stable_diffusion_step(nearly_uniform, 1.0), 0.02, rtol=1e-7)


def test_a_steady_temperature_is_reached_exactly():
    """Between two fixed temperatures it is linear, whatever the cells; heat runs on stretched grids as it is."""
    grid = dp.Grid.from_edges([X_EDGES])
    conditions = ((dp.Dirichlet(1.0), dp.Dirichlet(4.0)),)
    heat = dp.Heat(grid, 1.0, float(stable_diffusion_step(grid, 1.0)), conditions)
    final, _ = dp.rollout(heat, heat.initial_state(2.0), steps=2000)
    np.testing.assert_allclose(final.values, 1.0 + 3.0 * (np.asarray(grid.centers()[0]) + 1.0) / 1.5, atol=1e-10)
    with pytest.raises(dp.InputError, match="dt"):
        dp.Heat(grid, 1.0, 1.01 * float(stable_diffusion_step(grid, 1.0)), conditions)


@pytest.mark.slow
def test_derivatives(key):
    grid = dp.Grid.from_edges([X_EDGES, Y_EDGES])
    conditions = (
        (dp.Dirichlet(jax.random.normal(key, (1, 4))), dp.Neumann(0.3)),
        (dp.Neumann(-0.2), dp.Dirichlet(0.4)),
    )
    slack = ((dp.Dirichlet(0.3), dp.Neumann(0.1)), (dp.Dirichlet(-0.2), dp.Neumann(0.2)))
    field = dp.Field(jax.random.normal(key, (5, 4)), grid, conditions=conditions)
    velocity = tuple(
        dp.Field(0.15 * jax.random.normal(jax.random.fold_in(key, axis), shape), grid, face_offset(grid, axis), slack)
        for axis, shape in enumerate([(6, 4), (5, 5)])
    )

    def everything(given):
        field, velocity, number = given
        x = jnp.asarray([-0.31, 0.12, 0.3])
        return (
            gradient(field),
            laplacian(field * number),
            divergence(velocity),
            interpolate(field, (0.0, 0.5)),
            sample(field, [x * number, 3.0 + x]),
            explicit_diffusion(velocity[0], number, 0.01),
            semi_lagrangian(field, velocity, number),
        )

    check_derivatives(everything, (field, velocity, jnp.asarray(0.61)), key, second=False)
