"""Direct solvers on stretched axes, by fast transforms, and of fourth order."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp
from diffphys.grids import Ghost, Neumann
from diffphys.operators.eigenbasis import analyzed, eigenbasis, lines_of, synthesized, takes_fast
from diffphys.operators.transforms import fast_analysis, fast_synthesis, wave
from diffphys.poisson import (
    ConjugateGradients,
    FastDiagonalization,
    MultigridConjugateGradients,
    ObstacleCorrected,
    PressureProblem,
    VariableProblem,
    direct,
)
from diffphys.poisson.capacitance import cross_section
from diffphys.poisson.problem import face_divergence, face_gradient
from diffphys.poisson.separable import solve_separable
from tests.gradients import check_derivatives
from tests.poisson.test_coefficients import PAIRS, dense_matrix, expected_solution, faces, stretched_grid


pytestmark = pytest.mark.usefixtures("float64")

KINDS = [("periodic", "periodic"), *itertools.product(("neumann", "ghost", "dirichlet"), repeat=2)]

# Compiled as one program and without effort: running it takes no time.
quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def check(solvers, matrices, generator) -> None:
    """The solvers against dense matrices."""
    sides = [generator.standard_normal(solver.problem.grid.cells) for solver in solvers]
    solve = quick_jit(lambda sides: [solver.solve(rhs) for solver, rhs in zip(solvers, sides, strict=True)])
    for solver, matrix, rhs, found in zip(solvers, matrices, sides, solve(sides), strict=True):
        pressure, component = expected_solution(matrix, solver.problem.grid.volumes(), rhs)
        np.testing.assert_allclose(found.pressure, pressure, rtol=0, atol=1e-11 * np.abs(pressure).max())
        np.testing.assert_allclose(found.imbalance, np.abs(component).max(), atol=1e-12)
        assert float(found.residual) < 1e-11 * np.abs(rhs).max()


def test_fast_transforms_are_products_with_the_matrix_of_waves():
    generator = np.random.default_rng(0)
    cases = list(itertools.product(KINDS, (1, 5, 6)))
    values = [generator.standard_normal((2, cells)) for _, cells in cases]

    @quick_jit
    def transformed(values):
        pairs = list(zip(values, cases, strict=True))
        there = [fast_analysis(one, 1, kinds) for one, (kinds, _) in pairs]
        back = [fast_synthesis(one, 1, kinds) for one, (kinds, _) in pairs]
        return there, back

    for (kinds, cells), one, there, back in zip(cases, values, *transformed(values), strict=True):
        matrix = wave(cells, kinds)
        np.testing.assert_allclose(matrix.T @ matrix, np.eye(cells), atol=1e-14)
        np.testing.assert_allclose(there, one @ matrix, atol=1e-13, err_msg=f"{kinds}")
        np.testing.assert_allclose(back, one @ matrix.T, atol=1e-13, err_msg=f"{kinds}")


def test_every_combination_of_ends_on_stretched_axes():
    generator = np.random.default_rng(1)
    grid = stretched_grid((5, 4), generator)
    combinations = list(zip(PAIRS, PAIRS[3:] + PAIRS[:3], strict=True))
    matrices = [
        dense_matrix(grid, ends, [np.ones(faces(grid, ends, axis)) for axis in range(2)]) for ends in combinations
    ]
    check([direct(PressureProblem.from_conditions(grid, ends)) for ends in combinations], matrices, generator)


def test_obstacles_on_stretched_axes():
    generator = np.random.default_rng(2)
    solvers, matrices = [], []
    for cells in ((9,), (7, 6), (4, 3, 5)):
        grid = stretched_grid(cells, generator).with_edges(0, np.arange(cells[0] + 1) / 3)  # one axis is uniform
        for pair in PAIRS[:: 4 if len(cells) == 2 else 9]:
            conditions = (pair, *PAIRS[1 : len(cells)])
            problem = PressureProblem.from_conditions(grid, conditions, generator.random(cells) < 0.3)
            solvers.append(ObstacleCorrected(problem))
            matrices.append(dense_matrix(grid, conditions, [(~closed) * 1.0 for closed in problem.closed_faces()]))
    check(solvers, matrices, generator)


@pytest.mark.parametrize("varies", [(True, True, False), (False, True, True), (False, True, False)])
def test_obstacles_from_side_to_side(varies):
    """For every pair of ends of the axes along which an obstacle does not vary, on uniform and on stretched ones; among
    them obstacles that cut off pockets or, as walls, whole parts of the domain.
    """
    generator = np.random.default_rng(6)
    solvers, matrices = [], []
    for index, pair in enumerate(PAIRS):
        grid = dp.Grid((4, 3, 5), (1.0, 1.7, 1.3)) if index % 2 else stretched_grid((4, 3, 5), generator)
        others = (PAIRS[(index + 4) % len(PAIRS)], PAIRS[(3 * index) % len(PAIRS)])
        conditions = (pair, others[0], pair) if varies == (False, True, False) else (*others, pair)
        conditions = conditions[::-1] if varies == (False, True, True) else conditions
        layer = generator.random([count if one else 1 for count, one in zip(grid.cells, varies, strict=True)]) < 0.4
        layer.reshape(-1)[:2] = [True, False]
        layer[-1, 1, -1] = not layer[0, 1, 0] if varies != (False, True, False) else layer[0, 1, 0]
        problem = PressureProblem.from_conditions(grid, conditions, np.broadcast_to(layer, grid.cells))
        assert cross_section(problem)[0] == tuple(np.flatnonzero(varies))
        solvers.append(direct(problem))
        matrices.append(dense_matrix(grid, conditions, [(~closed) * 1.0 for closed in problem.closed_faces()]))
    check(solvers, matrices, generator)


@pytest.mark.parametrize("pair", [(dp.Periodic(), dp.Periodic()), (Neumann(), Neumann())], ids=["periodic", "walls"])
def test_around_a_column_the_pressure_is_of_second_order(pair):
    """cos(pi x) cos(pi y) w(z) has no slope across the column's faces at 1 and 2, nor at the sides. On the grid it is a
    solution as well, with (2 / h) sin(pi h / 2) in the place of pi.
    """
    errors = []
    for layers in (2, 4):
        cells = (3 * layers, 3 * layers, 4 * layers)
        grid = dp.Grid(cells, (3.0, 3.0, 4.0))
        solid = np.zeros(cells, bool)
        solid[layers : 2 * layers, layers : 2 * layers] = True
        problem = PressureProblem.from_conditions(grid, ((Neumann(), Neumann()), (Neumann(), Neumann()), pair), solid)
        x, y, z = grid.centers()
        wave = jnp.cos(jnp.pi * z) + (jnp.sin(jnp.pi * z) if isinstance(pair[0], dp.Periodic) else 0.0)
        expected = jnp.cos(jnp.pi * x) * jnp.cos(jnp.pi * y) * wave
        found = quick_jit(direct(problem).solve)(-3 * jnp.pi**2 * expected)
        assert float(found.imbalance) < 1e-12
        factor = (np.pi / (2 * layers * np.sin(np.pi / (2 * layers)))) ** 2
        np.testing.assert_allclose(found.pressure, factor * expected, rtol=0, atol=1e-12)
        errors.append(float(jnp.max(jnp.abs(found.pressure - expected)) / jnp.max(jnp.abs(expected))))
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.15)


def test_derivatives_around_a_column(key):
    """Both modes, where the cosine and the sine share a correction; and the solution is its own transpose."""
    solid = np.zeros((4, 3, 4), bool)
    solid[1:3, 1] = True
    problem = PressureProblem.from_conditions(
        dp.Grid(solid.shape, (1.0, 1.7, 1.3)),
        ((Neumann(), Neumann()), (Neumann(), Ghost()), (dp.Periodic(), dp.Periodic())),
        solid,
    )
    check_derivatives(lambda rhs: direct(problem).solve(rhs).pressure, jax.random.normal(key, solid.shape), key)
    solve = quick_jit(lambda rhs: direct(problem).solve(rhs).pressure)
    one, other = jax.random.normal(jax.random.key(1), (2, *solid.shape))
    left, right = float(jnp.vdot(one, solve(other))), float(jnp.vdot(other, solve(one)))
    assert left == pytest.approx(right, rel=1e-11)


def test_smooth_pressures_are_exact_on_strongly_stretched_axes():
    """Widths that differ by 200, and the solution by sums: the flux through a face is what lies before it.

    The smooth modes' eigenvalues are 1e-8 of the largest ones, and must be as exact as those.
    """
    edges = np.tanh(np.linspace(-1, 1, 97) * 3.4)
    grid = dp.Grid.from_edges([edges])
    widths, centers = grid.widths(0), (edges[1:] + edges[:-1]) / 2
    rhs = centers * (1 - centers**2 / 3)
    slopes = np.cumsum(widths * rhs)[:-1]
    expected = np.concatenate([[0.0], np.cumsum(slopes * np.diff(centers))])
    expected -= np.sum(widths * expected) / np.sum(widths)
    problem = PressureProblem.from_conditions(grid, ((Neumann(), Neumann()),))
    found = direct(problem).solve(jnp.asarray(rhs - np.sum(widths * rhs) / np.sum(widths)))
    np.testing.assert_allclose(found.pressure, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("order", [2, 4])
def test_gradient_and_divergence_are_adjoint_for_all_ends(order):
    """D = -G^T, a face on a side with pressure 0 counting half; so A is symmetric and any combination diagonalizes."""
    problems = [PressureProblem.from_conditions(dp.Grid((6,), (1.7,)), (pair,), order=order) for pair in PAIRS]

    @quick_jit
    def jacobians():
        pairs = []
        for problem in problems:
            (slopes,) = jax.jacfwd(lambda p, problem=problem: face_gradient(problem, p))(jnp.zeros(6))
            faces = jnp.zeros(slopes.shape[0])
            pairs.append((slopes, jax.jacfwd(lambda u, problem=problem: face_divergence(problem, [u]))(faces)))
        return pairs

    matrices = []
    for pair, (slopes, divergence) in zip(PAIRS, jacobians(), strict=True):
        slopes, divergence = np.asarray(slopes), np.asarray(divergence)
        weights = np.ones(len(slopes))
        for end, condition in zip((0, -1), pair, strict=True):
            if isinstance(condition, dp.Dirichlet):
                weights[end] = 0.5
            elif isinstance(condition, Neumann):  # the normal velocity there is given, not corrected
                np.testing.assert_allclose(slopes[end], 0, atol=1e-12)
                weights[end] = 0.0
        free = weights > 0
        np.testing.assert_allclose(divergence[:, free], -(slopes.T * weights)[:, free], atol=1e-12)
        matrices.append(divergence @ slopes)
        np.testing.assert_allclose(matrices[-1], matrices[-1].T, atol=1e-11)
    for transforms in ("matrix", "fast"):
        solvers = [FastDiagonalization(problem, transforms) for problem in problems]
        check(solvers, matrices, np.random.default_rng(4))


@pytest.mark.parametrize("order", [2, 4])
@pytest.mark.parametrize("cells", [(9,), (8, 7), (7, 8), (6, 5, 4)])
def test_one_fourier_transform_of_periodic_axes(cells, order):
    """The same as products with matrices, in every mode of differentiation and for batches."""
    grid = dp.Grid(cells, [1.3, 0.7, 2.1][: len(cells)])
    problem = PressureProblem.from_conditions(grid, ((dp.Periodic(), dp.Periodic()),) * len(cells), order=order)
    rhs, direction, covector = np.random.default_rng(0).standard_normal((3, 2, *cells))

    @quick_jit
    def measure():
        def answers(solver):
            solve = jax.vmap(lambda rhs: solver.solve(rhs).pressure)
            pressure, tangent = jax.jvp(solve, (rhs,), (direction,))
            pulled = jax.vjp(solve, rhs)[1](covector)[0]
            curved = jax.jvp(jax.grad(lambda rhs: jnp.sum(solve(rhs) ** 3)), (rhs,), (direction,))[1]
            return jnp.stack([pressure, tangent, pulled, curved])

        return [answers(FastDiagonalization(problem, transforms)) for transforms in ("fast", "matrix")]

    fast, matrix = measure()
    for one, other in zip(fast, matrix, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-12 * np.abs(other).max())


def test_fourth_order():
    """Products of waves that meet the sides: the error is `3/320` times the fourth power of the angle per cell."""
    pi = np.pi
    ends = [  # conditions, function, minus its second derivative over pi^2 and itself
        ((dp.Periodic(), dp.Periodic()), lambda s: np.sin(2 * pi * s), 4),
        ((Neumann(), Neumann()), lambda s: np.cos(pi * s), 1),
        ((dp.Dirichlet(), dp.Dirichlet()), lambda s: np.sin(pi * s), 1),
        ((dp.Dirichlet(), Neumann()), lambda s: np.sin(pi * s / 2), 0.25),
    ]
    cases, solvers, sides, exact = [], [], [], []
    for (x_ends, x_function, x_rate), (y_ends, y_function, y_rate) in itertools.pairwise(ends):
        for count in (8, 16, 32):
            grid = dp.Grid((count, count + 1), (1.0, 1.0))
            x = (np.arange(count)[:, None] + 0.5) / count
            y = (np.arange(count + 1) + 0.5) / (count + 1)
            exact.append(x_function(x) * y_function(y))
            solvers.append(direct(PressureProblem.from_conditions(grid, (x_ends, y_ends), order=4)))
            sides.append(-(pi**2) * (x_rate + y_rate) * exact[-1])
            cases.append(max(x_rate, y_rate))
    found = quick_jit(
        lambda: [solver.solve(jnp.asarray(rhs)).pressure for solver, rhs in zip(solvers, sides, strict=True)]
    )()
    errors = np.array([np.abs(np.asarray(one) - other).max() for one, other in zip(found, exact, strict=True)])
    errors = errors.reshape(-1, 3)
    assert np.all(np.log2(errors[:, :-1] / errors[:, 1:]) > 3.8), errors
    largest = 3 / 320 * (pi * np.sqrt(np.array(cases[::3])) / 32) ** 4
    assert np.all(errors[:, -1] < 1.1 * largest), (errors, largest)


def test_fast_transforms_serve_shifted_problems():
    """Implicit diffusion at the centers of long axes, and the fourth-order pressure: as with matrices."""
    grid = dp.Grid((200, 3), (1.0, 0.02))
    rhs = jnp.asarray(np.random.default_rng(0).standard_normal(grid.cells))
    for ends in ((dp.Periodic(), dp.Periodic()), (dp.Neumann(), dp.Neumann())):
        for order in (2, 4):
            lines = lines_of(grid, (0.5, 0.5), (ends, (dp.Neumann(), dp.Dirichlet())), order)
            assert takes_fast(lines[0], jnp.float64) and not takes_fast(lines[1], jnp.float64)
            coefficients = rhs
            for line in lines:
                coefficients = analyzed(line, coefficients, "matrix")
            spectrum = sum(grid.along(line.axis, eigenbasis(line).values) for line in lines)
            expected = coefficients / (1.0 - 1e-4 * spectrum)
            for line in lines:
                expected = synthesized(line, expected, "matrix")
            np.testing.assert_allclose(solve_separable(lines, rhs, 1.0, -1e-4), expected, atol=1e-12)


def test_all_solvers_recover_the_same_pressure():
    """`p = (cos 2x + cos 2y) / 4` of the Taylor-Green vortex, periodic and between walls, on two grids."""
    uniform = dp.Grid((20, 16), (2 * np.pi, 2 * np.pi))
    stretched = dp.Grid.from_edges([line + 0.2 * np.sin(line) for line in uniform.edges])
    names, solvers, sides, exact = [], [], [], []
    for grid, pair in itertools.product((uniform, stretched), (PAIRS[0], PAIRS[1])):
        problem = PressureProblem.from_conditions(grid, (pair, pair))
        variable = VariableProblem.from_conditions(grid, (pair, pair), [1.0, 1.0])
        x, y = ((line[1:] + line[:-1]) / 2 for line in grid.edges)
        exact.append((np.cos(2 * x)[:, None] + np.cos(2 * y)) / 4)
        solvers += [
            FastDiagonalization(problem, "matrix"),
            FastDiagonalization(problem, "fast"),
            ConjugateGradients(problem, tolerance=1e-13),
            MultigridConjugateGradients(problem, tolerance=1e-13),
            MultigridConjugateGradients(variable, tolerance=1e-13),
        ]
        sides += [-4 * exact[-1]] * 5
        names += [f"{pair[0]} {grid}"] * 5
    found = quick_jit(lambda: [solver.solve(jnp.asarray(rhs)) for solver, rhs in zip(solvers, sides, strict=True)])()
    for index, one in enumerate(found):
        assert bool(one.converged), (names[index], solvers[index])
        np.testing.assert_allclose(one.pressure, found[index // 5 * 5].pressure, atol=1e-11, err_msg=names[index])
        # The error of the second difference of cos 2x is 1/12 of the square of the angle per cell, largest for y.
        error = np.abs(np.asarray(one.pressure) - exact[index // 5]).max()
        assert error < (1.1 if index < 10 else 3.0) / 12 * (4 * np.pi / 16) ** 2 * 0.5, (error, names[index])


@pytest.mark.parametrize("case", ["fast", "stretched obstacle"])
def test_derivatives(case, key):
    if case == "fast":
        problem = PressureProblem.from_conditions(dp.Grid((6, 5)), (PAIRS[0], (Neumann(), Ghost())))
        solver = FastDiagonalization(problem, "fast")
    else:
        grid = stretched_grid((6, 5), np.random.default_rng(5))
        solid = np.zeros(grid.cells, bool)
        solid[2:4, 1:3] = True
        solver = direct(PressureProblem.from_conditions(grid, (PAIRS[1], PAIRS[0]), solid))
    check_derivatives(lambda rhs: solver.solve(rhs).pressure, jax.random.normal(key, solver.problem.grid.cells), key)


def test_bad_input_is_refused(unchecked_types):
    grid, walls = dp.Grid((4, 4)), (PAIRS[1], PAIRS[1])
    stretched = stretched_grid((4, 4), np.random.default_rng(6))
    variable = VariableProblem.from_conditions(grid, walls, [1.0, 1.0])
    plain = PressureProblem.from_conditions(grid, walls)
    wide = PressureProblem.from_conditions(grid, walls, order=4)
    refused = [
        ("order", lambda: PressureProblem.from_conditions(grid, walls, order=3)),
        ("order.*stretched", lambda: PressureProblem.from_conditions(stretched, walls, order=4)),
        ("order.*iterative", lambda: ConjugateGradients(wide).solve(jnp.zeros((4, 4)))),
        ("VariableProblem", lambda: direct(variable)),  # pyright: ignore[reportArgumentType]
        ("VariableProblem", lambda: FastDiagonalization(variable)),  # pyright: ignore[reportArgumentType]
        ("coefficients has 1", lambda: VariableProblem.from_conditions(grid, walls, [1.0])),
        ("coefficients.1. has shape", lambda: VariableProblem.from_conditions(grid, walls, [1.0, jnp.ones((4, 4))])),
        ("negative", lambda: VariableProblem.from_conditions(grid, walls, [1.0, -1.0])),
        ("all coefficients are 0", lambda: VariableProblem.from_conditions(grid, walls, [0.0, 0.0])),
        ("transforms", lambda: FastDiagonalization(plain, "fft")),
        ("smoothing", lambda: MultigridConjugateGradients(plain, smoothing=0)),
        ("rhs.*vmap", lambda: MultigridConjugateGradients(variable).solve(jnp.zeros((2, 4, 4)))),
    ]
    for message, mistake in refused:
        with pytest.raises(dp.InputError, match=message):
            mistake()
