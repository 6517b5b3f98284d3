"""Direct, corrected and iterative solves of one problem, and known solutions."""

import itertools
from typing import Any

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp
from diffphys.grids import Ghost, Neumann
from diffphys.poisson import ConjugateGradients, FastDiagonalization, ObstacleCorrected, PressureProblem, direct
from diffphys.poisson.iterations import never_unconverged
from diffphys.poisson.problem import apply, without_null_space
from tests.domains import domains
from tests.gradients import check_derivatives


pytestmark = pytest.mark.usefixtures("float64")

ENDS = {"neumann": Neumann(), "ghost": Ghost(), "dirichlet": dp.Dirichlet()}


def pairs():
    return [(dp.Periodic(), dp.Periodic()), *itertools.product(ENDS.values(), ENDS.values())]


def dense_matrix(problem: PressureProblem) -> np.ndarray:
    """The matrix, entry by entry from the definition: flux through every open face. Shares no code with the library."""
    cells, solid = problem.grid.cells, problem.solid_cells
    number = {cell: index for index, cell in enumerate(itertools.product(*map(range, cells)))}
    matrix = np.zeros((len(number), len(number)))
    for cell, row in number.items():
        for axis, spacing in enumerate(problem.grid.spacing):
            for end, step in enumerate((-1, 1)):
                other = list(cell)
                other[axis] += step
                kind = problem.kinds[axis][end]
                if not 0 <= other[axis] < cells[axis] and kind != "periodic":
                    matrix[row, row] -= {"neumann": 0, "ghost": 1, "dirichlet": 2}[kind] / spacing**2
                    continue
                other[axis] %= cells[axis]
                if solid[cell] == solid[tuple(other)]:
                    matrix[row, row] -= 1 / spacing**2
                    matrix[row, number[tuple(other)]] += 1 / spacing**2
    return matrix


def check_against_dense(problem: PressureProblem, rhs: np.ndarray, solvers) -> None:
    matrix = dense_matrix(problem)
    values, vectors = np.linalg.eigh(matrix)
    null = vectors[:, np.abs(values) <= 1e-9 * np.abs(values).max()]
    flat = rhs.reshape(-1)
    component = null @ (null.T @ flat)
    expected = (np.linalg.pinv(matrix, rcond=1e-10) @ (flat - component)).reshape(rhs.shape)
    size = np.abs(expected).max() + 1e-300
    for solver in solvers:
        found = jax.jit(solver.solve)(jnp.asarray(rhs))
        name = type(solver).__name__
        assert bool(found.converged), name
        np.testing.assert_allclose(found.pressure, expected, rtol=0, atol=1e-11 * size, err_msg=name)
        np.testing.assert_allclose(
            matrix @ np.asarray(found.pressure).reshape(-1), flat - component, atol=1e-11 * np.abs(rhs).max()
        )
        np.testing.assert_allclose(found.imbalance, np.abs(component).max(), atol=1e-12 * np.abs(rhs).max())
        assert float(found.residual) <= 1e-11 * np.abs(rhs).max(), name


def test_every_combination_of_ends_agrees_with_the_dense_matrix():
    generator = np.random.default_rng(0)
    grid = dp.Grid((4, 5), (1.0, 2.9))
    for x, y in itertools.product(pairs(), pairs()):
        problem = PressureProblem.from_conditions(grid, (x, y))
        check_against_dense(problem, generator.standard_normal(grid.cells), [FastDiagonalization(problem)])


@pytest.mark.parametrize("cells", [(1,), (2,), (7,), (2, 1), (3, 2, 4)])
def test_other_dimensions_and_single_cells(cells):
    generator = np.random.default_rng(1)
    grid = dp.Grid(cells, [0.7 * count for count in cells])
    for pair in pairs():
        problem = PressureProblem.from_conditions(grid, (pair,) * len(cells))
        check_against_dense(problem, generator.standard_normal(cells), [FastDiagonalization(problem)])


@hypothesis.settings(max_examples=10)
@hypothesis.given(domain=domains(obstacle=True))
def test_any_obstacle_agrees_with_the_dense_matrix(domain):
    """Random cells: obstacles touch the sides, close them and cut off pockets of fluid."""
    problem = domain.flow().pressure_problem()
    rhs = np.random.default_rng(2).standard_normal(domain.cells)
    check_against_dense(problem, rhs, [direct(problem)])


SOLID = np.zeros((8, 6), bool)
SOLID[3:6, 2:5] = True
SOLID[4, 3] = False  # a pocket of fluid inside of the obstacle
SOLID[0, 0] = SOLID[7, 5] = True  # corners of the domain


@pytest.mark.parametrize("solid", [None, SOLID], ids=["empty", "obstacle"])
@pytest.mark.parametrize("closed", [True, False])
def test_conjugate_gradients_agree_with_the_direct_solver(solid, closed):
    grid = dp.Grid((8, 6), (1.0, 1.7))
    y = (Neumann(), Neumann()) if closed else (Neumann(), Ghost())
    problem = PressureProblem.from_conditions(grid, ((Neumann(), Neumann()), y), solid)
    iterative = ConjugateGradients(problem, tolerance=1e-12)
    solve = jax.jit(iterative.solve)
    random = np.random.default_rng(3).standard_normal(grid.cells)
    sparse = np.zeros(grid.cells)
    sparse[1, 1], sparse[6, 1] = 1.0, -1.0  # zeros in the right side once ended the iteration at once
    for rhs in (random, sparse):
        check_against_dense(problem, rhs, [direct(problem)])
        found, expected = solve(jnp.asarray(rhs)), direct(problem).solve(jnp.asarray(rhs))
        assert bool(found.converged) and 0 < int(found.iterations) <= 10 * sum(grid.cells)
        size = np.abs(expected.pressure).max()
        np.testing.assert_allclose(found.pressure, expected.pressure, rtol=0, atol=1e-11 * size)
        np.testing.assert_allclose(found.imbalance, expected.imbalance, atol=1e-14)


def test_the_solution_has_no_null_space_component_and_zero_gives_zero():
    problem = PressureProblem.from_conditions(
        dp.Grid((8, 6)), ((Neumann(), Neumann()), (dp.Periodic(), dp.Periodic())), SOLID
    )
    for solver in (direct(problem), ConjugateGradients(problem)):
        found = solver.solve(jnp.asarray(np.random.default_rng(4).standard_normal((8, 6))))
        assert float(without_null_space(problem, found.pressure)[1]) < 1e-14
        zero = solver.solve(jnp.zeros((8, 6)))
        np.testing.assert_array_equal(zero.pressure, 0)
        assert bool(zero.converged)


def test_not_converging_is_visible_under_jit_and_nan_never_converges():
    problem = PressureProblem.from_conditions(dp.Grid((16, 12)), ((Neumann(), Neumann()), (Neumann(), Ghost())))
    solver = ConjugateGradients(problem, tolerance=1e-10, largest_iterations=3)
    rhs = jnp.asarray(np.random.default_rng(5).standard_normal((16, 12)))
    found = jax.jit(solver.solve)(rhs)
    assert not bool(found.converged) and int(found.iterations) == 3 and float(found.residual) > 1e-3
    found = jax.jit(ConjugateGradients(problem).solve)(rhs.at[3, 4].set(jnp.nan))
    assert not bool(found.converged)


@pytest.mark.slow
def test_what_did_not_converge_is_nan_where_it_may_not_be_used_and_has_both_modes():
    """Forward mode for several directions at once, too: the mark is made within the solve."""
    problem, rhs = (
        PressureProblem.from_conditions(dp.Grid((6, 5)), ((dp.Neumann(), dp.Neumann()),) * 2),
        jnp.sin(jnp.arange(30.0)).reshape(6, 5),
    )

    def pressure(scales, **settings):
        solver = never_unconverged(ConjugateGradients(problem, **settings))
        return solver.solve(scales[0] * rhs + scales[1] * rhs**2).pressure

    scales = jnp.asarray([1.0, 0.5])
    np.testing.assert_allclose(jax.jacfwd(pressure)(scales), jax.jacrev(pressure)(scales), atol=1e-4)
    assert bool(jnp.all(jnp.isnan(pressure(scales, tolerance=1e-6, largest_iterations=1))))


def test_smooth_right_sides_converge_in_float32():
    """Their curvature `p . S p` is a small part of their square, which is no reason to give up."""
    grid = dp.Grid((48, 48), (1.0, 1.0))
    problem = PressureProblem.from_conditions(grid, ((Neumann(), Neumann()), (Neumann(), Neumann())))
    places = (np.arange(48) + 0.5) / 48
    rhs = jnp.asarray(np.cos(np.pi * places)[:, None] * np.cos(2 * np.pi * places), "float32")
    found = jax.jit(ConjugateGradients(problem).solve)(rhs)
    assert bool(found.converged)
    np.testing.assert_allclose(found.pressure, rhs / (-5 * np.pi**2), atol=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("scale", [1e-30, 1e30])
@pytest.mark.parametrize("iterative", [False, True])
def test_cotangents_of_any_size_keep_their_direction(dtype, scale, iterative):
    problem = PressureProblem.from_conditions(dp.Grid((8, 6)), ((Neumann(), Ghost()), (Neumann(), Neumann())), SOLID)
    solver = ConjugateGradients(problem) if iterative else direct(problem)
    generator = np.random.default_rng(6)
    rhs, cotangent = (jnp.asarray(generator.standard_normal((8, 6)), dtype) for _ in range(2))
    pull = jax.jit(lambda cotangent: jax.vjp(lambda given: solver.solve(given).pressure, rhs)[1](cotangent)[0])
    factor = jnp.asarray(scale, dtype)
    expected, found = pull(cotangent), pull(cotangent * factor) / factor
    assert found.dtype == jnp.dtype(dtype)
    precision = 3e-4 if dtype == "float32" and iterative else 1e-5 if dtype == "float32" else 1e-8
    np.testing.assert_allclose(found, expected, rtol=0, atol=precision * float(jnp.max(jnp.abs(expected))))


@pytest.mark.parametrize("solver", [FastDiagonalization, ObstacleCorrected, ConjugateGradients])
def test_derivatives(solver, key):
    """The solution is linear in the right side; a symmetric inverse is its own transpose."""
    solid = None if solver is FastDiagonalization else SOLID
    problem = PressureProblem.from_conditions(dp.Grid((8, 6)), ((Neumann(), Neumann()), (Neumann(), Neumann())), solid)
    settings: dict[str, Any] = dict(tolerance=1e-14) if solver is ConjugateGradients else {}
    instance = solver(problem, **settings)
    check_derivatives(lambda rhs: instance.solve(rhs).pressure, jax.random.normal(key, (8, 6)), key)


def test_vmap_equals_a_loop():
    problem = PressureProblem.from_conditions(dp.Grid((8, 6)), ((Neumann(), Ghost()), (Neumann(), Neumann())), SOLID)
    batch = jnp.asarray(np.random.default_rng(7).standard_normal((3, 8, 6)))
    for solver in (direct(problem), ConjugateGradients(problem, tolerance=1e-12)):
        solve = jax.jit(lambda rhs, solver=solver: solver.solve(rhs).pressure)
        for one, rhs in zip(jax.vmap(solve)(batch), batch, strict=True):
            np.testing.assert_allclose(one, solve(rhs), atol=1e-10)


@pytest.mark.parametrize("name", ["neumann", "dirichlet", "periodic", "mixed"])
def test_known_solutions_are_recovered_to_second_order(name):
    """`laplacian(p) = f` on [0, 1] x [0, 2] for products of functions that meet the sides."""
    pi = np.pi
    along_axis = {  # function, minus its second derivative over itself, conditions
        "neumann": (lambda s: np.cos(pi * s), pi**2, (Neumann(), Neumann())),
        "dirichlet": (lambda s: np.sin(pi * s), pi**2, (dp.Dirichlet(), dp.Dirichlet())),
        "periodic": (lambda s: np.sin(2 * pi * s), 4 * pi**2, (dp.Periodic(), dp.Periodic())),
        "mixed": (lambda s: np.sin(pi * s / 2), pi**2 / 4, (dp.Dirichlet(), Neumann())),
    }
    x_function, x_rate, x_ends = along_axis[name]
    y_function, y_rate, y_ends = along_axis["neumann"]
    errors = []
    for count in (8, 16, 32):
        grid = dp.Grid((count, 3 * count // 2), (1.0, 2.0))
        x, y = grid.centers()
        exact = x_function(np.asarray(x)) * y_function(np.asarray(y) / 2)
        problem = PressureProblem.from_conditions(grid, (x_ends, y_ends))
        found = jax.jit(direct(problem).solve)(jnp.asarray(-(x_rate + y_rate / 4) * exact))
        errors.append(np.abs(np.asarray(found.pressure) - exact).max())
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert np.all(orders > 1.9) and errors[-1] < 5e-3, (errors, orders)


def test_a_polynomial_that_meets_no_symmetry_is_recovered_to_second_order():
    """A Dirichlet end where the second derivative does not vanish: first-order ghost values, second-order solution."""
    errors = []
    for count in (8, 16, 32, 64):
        grid = dp.Grid((count,), (1.0,))
        (x,) = grid.centers()
        problem = PressureProblem.from_conditions(grid, ((dp.Dirichlet(), Neumann()),))
        found = jax.jit(direct(problem).solve)(jnp.ones(count))
        errors.append(np.abs(np.asarray(found.pressure) - np.asarray(x**2 / 2 - x)).max())
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert np.all(orders > 1.9), (errors, orders)


def test_apply_matches_the_dense_matrix():
    problem = PressureProblem.from_conditions(
        dp.Grid((8, 6), (1.0, 0.4)), ((dp.Periodic(), dp.Periodic()), (dp.Dirichlet(), Ghost())), SOLID
    )
    values = np.random.default_rng(8).standard_normal((8, 6))
    expected = (dense_matrix(problem) @ values.reshape(-1)).reshape(8, 6)
    np.testing.assert_allclose(apply(problem, jnp.asarray(values)), expected, atol=1e-10)


def test_bad_input_is_refused():
    grid = dp.Grid((8, 6))
    neumann = ((Neumann(), Neumann()), (Neumann(), Neumann()))
    empty = PressureProblem.from_conditions(grid, neumann)
    full = PressureProblem.from_conditions(grid, neumann, SOLID)
    with pytest.raises(dp.InputError, match="solid"):
        PressureProblem.from_conditions(grid, neumann, SOLID[:-1])
    with pytest.raises(dp.InputError, match="solid"):
        PressureProblem.from_conditions(grid, neumann, np.ones((8, 6), bool))
    with pytest.raises(dp.InputError, match="Unknown"):
        PressureProblem.from_conditions(grid, dp.Field(jnp.zeros((8, 6)), grid).conditions)
    with pytest.raises(dp.InputError, match="ObstacleCorrected"):
        FastDiagonalization(full)
    with pytest.raises(dp.InputError, match="FastDiagonalization"):
        ObstacleCorrected(empty)
    with pytest.raises(dp.InputError, match="faces"):
        ObstacleCorrected(full, largest_surface=3)
    with pytest.raises(dp.InputError, match="tolerance"):
        ConjugateGradients(empty, tolerance=0.0)
    with pytest.raises(dp.InputError, match="largest_iterations"):
        ConjugateGradients(empty, largest_iterations=0)
    for solver in (direct(empty), direct(full), ConjugateGradients(empty)):
        with pytest.raises(dp.InputError, match="rhs"):
            solver.solve(jnp.zeros((6, 8)))
        with pytest.raises(dp.InputError, match="rhs.*vmap"):
            solver.solve(jnp.zeros((3, 8, 6)))
