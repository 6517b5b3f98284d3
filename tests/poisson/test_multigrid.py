"""Multigrid: few iterations whatever the grid, the coefficients and the obstacle are; a cycle that is symmetric."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp
from diffphys.grids import Ghost, Neumann
from diffphys.poisson import MultigridConjugateGradients, PressureProblem, VariableProblem
from diffphys.poisson.finite_volumes import finite_volumes
from diffphys.poisson.multigrid import cycle, make_levels


pytestmark = pytest.mark.usefixtures("float64")

WALLS, PERIODIC = (Neumann(), Neumann()), (dp.Periodic(), dp.Periodic())
OUTFLOW = (Neumann(), Ghost())

# Running takes no time here, compiling does.
quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def on_faces(values: np.ndarray) -> list[np.ndarray]:
    """Harmonic means of the values in the cells beside each face, between walls."""
    faces = []
    for axis in range(values.ndim):
        padded = np.pad(values, [(int(a == axis),) * 2 for a in range(values.ndim)], mode="edge")
        below, above = np.delete(padded, -1, axis), np.delete(padded, 0, axis)
        faces.append(2 * below * above / np.maximum(below + above, 1e-300))
    return faces


def coefficients(cells: tuple[int, ...]) -> dict[str, list[np.ndarray]]:
    """Coefficients of contrast 100, closed faces, and an obstacle that cuts cells."""
    places = np.meshgrid(*[(np.arange(count) + 0.5) / count for count in cells], indexing="ij")
    squares = sum(np.floor(place * 4.3) for place in places) % 2
    radius = np.sqrt(sum((place - 0.43) ** 2 for place in places))
    generator = np.random.default_rng(0)
    found = {
        "smooth": on_faces(10 ** np.mean([np.sin(2 * np.pi * place + 1) for place in places], axis=0)),
        "inclusion": on_faces(np.where(radius < 0.27, 100.0, 1.0)),
        "half": on_faces(np.where(places[0] < 0.4, 100.0, 1.0)),
        "chess board": on_faces(np.where(squares == 0, 100.0, 1.0)),
        "layers of five cells": on_faces(np.where(np.indices(cells)[0] // 5 % 2 == 0, 100.0, 1.0)),
        "random": on_faces(100 ** generator.random(cells)),
        "random faces": [100 ** generator.random(np.add(cells, np.arange(len(cells)) == a)) for a in range(len(cells))],
        "disk of closed faces": on_faces(np.where(radius < 0.2, 0.0, 1.0)),
    }
    apertures = []  # faces that the surface of a disk crosses are partly open, some of them hardly
    for axis in range(len(cells)):
        ends = [(np.arange(count) + 0.5) / count for count in cells]
        ends[axis] = np.arange(cells[axis] + 1) / cells[axis]
        at_face = np.sqrt(sum((place - 0.43) ** 2 for place in np.meshgrid(*ends, indexing="ij")))
        apertures.append(np.clip((at_face - 0.2) * cells[0] + 0.5, 0.0, 1.0))
    return found | {"disk that cuts cells": apertures}


def test_at_most_twelve_iterations_with_any_coefficients():
    cells = (33, 32)
    grid = dp.Grid(cells, (1.0, 1.0))
    rhs = jnp.asarray(np.random.default_rng(1).standard_normal(cells))
    solve = quick_jit(lambda problem: MultigridConjugateGradients(problem, tolerance=1e-8).solve(rhs))
    for name, faces in coefficients(cells).items():
        found = solve(VariableProblem.from_conditions(grid, (WALLS, WALLS), faces))
        assert bool(found.converged) and int(found.iterations) <= 12, (name, int(found.iterations))


@pytest.mark.slow
def test_at_most_twelve_iterations_on_a_large_grid():
    """Where the coarse levels conduct very differently along the axes, the hardest of the coefficients."""
    cells = (512, 512)
    rhs = jnp.asarray(np.random.default_rng(1).standard_normal(cells))
    solve = quick_jit(lambda problem: MultigridConjugateGradients(problem, tolerance=1e-8).solve(rhs))
    for name, faces in coefficients(cells).items():
        found = solve(VariableProblem.from_conditions(dp.Grid(cells, (1.0, 1.0)), (WALLS, WALLS), faces))
        assert bool(found.converged) and int(found.iterations) <= 12, (name, int(found.iterations))


@pytest.mark.slow
def test_the_number_of_iterations_does_not_grow_with_the_grid():
    """Obstacles, anisotropic cells, stretched axes, odd numbers of cells, one to three axes."""
    half_blocked = np.zeros((128, 16), bool)
    half_blocked[60:68, :8] = True
    disks = []
    for count in (24, 96):
        places = (np.arange(count) + 0.5) / count
        disks.append(np.hypot(places[:, None] - 0.43, places - 0.5) < 0.15)
    tanh = np.tanh(np.linspace(-1, 1, 33) * 1.8)  # widths that differ by a factor of nine
    problems = {
        **{
            f"disk {len(disk)}": PressureProblem.from_conditions(dp.Grid(disk.shape), (OUTFLOW, WALLS), disk)
            for disk in disks
        },
        "channel": PressureProblem.from_conditions(dp.Grid((128, 16)), (OUTFLOW, WALLS), half_blocked),
        "flat cells": PressureProblem.from_conditions(dp.Grid((33, 40), (33.0, 5.0)), (WALLS, PERIODIC)),
        "one axis": PressureProblem.from_conditions(dp.Grid((301,)), (PERIODIC,)),
        "three axes": PressureProblem.from_conditions(dp.Grid((12, 9, 11)), (WALLS, PERIODIC, OUTFLOW)),
        "stretched": PressureProblem.from_conditions(dp.Grid.from_edges([tanh, tanh]), (WALLS, WALLS)),
    }
    generator = np.random.default_rng(2)
    sides = {name: generator.standard_normal(problem.grid.cells) for name, problem in problems.items()}

    @quick_jit
    def solve(sides):
        solvers = {name: MultigridConjugateGradients(problem, tolerance=1e-8) for name, problem in problems.items()}
        return {name: solver.solve(sides[name]) for name, solver in solvers.items()}

    for name, found in solve(sides).items():
        assert bool(found.converged) and int(found.iterations) <= 12, (name, int(found.iterations))


def test_a_cycle_is_symmetric_and_positive():
    """What conjugate gradients ask of a preconditioner; also that it removes most of any error at once."""
    cells, size = (23, 12), 276
    problem = VariableProblem.from_conditions(dp.Grid(cells), (OUTFLOW, PERIODIC), [1.0, 1.0])
    system = finite_volumes(problem, jnp.float64)
    generator = np.random.default_rng(3)
    system = system._replace(
        weights=tuple(np.asarray(part) * 100 ** generator.random(cells) for part in system.weights)
    )
    system = system._replace(anchor=np.asarray(system.anchor))
    levels = make_levels(system, problem, 2)
    assert len(levels) == 3  # so that the middle level corrects itself twice
    unit = jnp.eye(size).reshape(size, *cells)
    both = quick_jit(lambda: (jax.vmap(lambda e: cycle(levels, e))(unit), jax.vmap(levels[0].apply)(unit)))()
    matrix, operator = (np.asarray(values).reshape(size, size) for values in both)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-13 * np.abs(matrix).max())
    np.testing.assert_allclose(operator, operator.T, atol=1e-13 * np.abs(operator).max())
    ratios = np.linalg.eigvals(matrix @ operator).real
    assert 0.3 < ratios.min() and ratios.max() < 1 + 1e-9, (ratios.min(), ratios.max())


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_cotangents_of_any_size_keep_their_direction(scale):
    """In float32, with respect to the right side and to the coefficients."""
    generator = np.random.default_rng(4)
    cells = (7, 8)
    faces = [jnp.asarray(1 + generator.random(shape), jnp.float32) for shape in ((8, 8), (7, 8))]
    rhs, cotangent = (jnp.asarray(generator.standard_normal(cells), jnp.float32) for _ in range(2))

    def pressure(rhs, *faces):
        problem = VariableProblem.from_conditions(dp.Grid(cells), (WALLS, PERIODIC), faces)
        return MultigridConjugateGradients(problem).solve(rhs).pressure

    @quick_jit
    def pulled(scale):
        return jax.vjp(pressure, rhs, *faces)[1](cotangent * scale)

    expected, found = pulled(jnp.float32(1.0)), pulled(jnp.float32(scale))
    for one, other in zip(expected, found, strict=True):
        assert other.dtype == jnp.float32
        np.testing.assert_allclose(other / np.float32(scale), one, rtol=0, atol=1e-4 * float(jnp.abs(one).max()))


def test_batches_and_errors_on_request():
    grid = dp.Grid((7, 8))
    rhs = jnp.asarray(np.random.default_rng(5).standard_normal((2, 7, 8)))
    factors = jnp.array([1.0, 3.0])

    def solve(rhs, factor, **settings):
        problem = VariableProblem.from_conditions(grid, (WALLS, OUTFLOW), [factor, 1.0])
        return MultigridConjugateGradients(problem, **settings).solve(rhs)

    together = quick_jit(jax.vmap(lambda rhs, factor: solve(rhs, factor, tolerance=1e-12)))(rhs, factors)
    alone = quick_jit(lambda rhs, factor: solve(rhs, factor, tolerance=1e-12))
    for index in range(2):
        np.testing.assert_allclose(together.pressure[index], alone(rhs[index], factors[index]).pressure, atol=1e-10)
    hasty = quick_jit(lambda: solve(rhs[0], 1.0, largest_iterations=1))()
    assert not bool(hasty.converged) and int(hasty.iterations) == 1
    with pytest.raises(Exception, match="no convergence"):
        quick_jit(lambda: solve(rhs[0], 1.0, largest_iterations=1, throw=True))().pressure.block_until_ready()
