"""An obstacle that is an argument of the program: the flow around it is that around the same cells when fixed."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp
from diffphys.physics.obstacles import TracedSolid
from diffphys.poisson import PressureProblem, direct
from diffphys.poisson.problem import null_space
from diffphys.poisson.traced_obstacle import CorrectedAround, closed_faces
from tests.gradients import check_derivatives


pytestmark = pytest.mark.usefixtures("float64")

GRID = dp.Grid((16, 12), (4.0, 3.0))
SIDES = dict(x=(dp.Inflow(1.0), dp.Outflow()), y=dp.Wall(slip=True))


def flow_around(solid, **more):
    return dp.IncompressibleFlow(GRID, 0.02, 0.05, SIDES, solid, **{"stepping": dp.RungeKutta(1), **more})


def shapes():
    """One body, and two of which one is a ring with fluid in it."""
    ring = dp.Sphere((2.6, 1.6), 0.8) & ~dp.Sphere((2.6, 1.6), 0.4)
    return [dp.Sphere((1.3, 1.5), 0.4), dp.Box((0.6, 0.3), (1.1, 1.0)) | ring]


@pytest.mark.parametrize("ends", [("dirichlet", "neumann"), ("neumann", "neumann"), ("periodic", "periodic")])
def test_the_pressure_solves_the_problem_of_the_same_cells(ends):
    """Up to a level in what the obstacle cuts off; on stretched axes, too."""
    edges = np.cumsum(1 + 0.4 * np.sin(np.arange(13)))
    grids = [GRID, dp.Grid.from_edges([np.linspace(0, 4.0, 17), edges])]
    for grid in grids:
        x, y = (line / length for line, length in zip(grid.centers(), grid.size, strict=True))
        y = y - grid.origin[1] / grid.size[1]
        cells = np.asarray(
            (abs(x - 0.4) < 0.2) & (abs(y - 0.5) < 0.2) & ~((abs(x - 0.4) < 0.07) & (abs(y - 0.5) < 0.1))
        )
        kinds = (ends, ("neumann", "neumann"))
        problem = PressureProblem(grid, kinds, cells.tobytes())
        volumes = grid.volumes()
        rhs = np.random.default_rng(0).standard_normal(grid.cells)
        regions = [np.broadcast_to(region != 0, grid.cells) for region in null_space(problem)]
        assert len(regions) == 2 + (ends[0] != "dirichlet")  # the fluid within, the solid, and perhaps the rest
        for region in regions:
            rhs[region] -= np.sum((rhs * volumes)[region]) / np.sum(np.broadcast_to(volumes, grid.cells)[region])
        solver = CorrectedAround(problem.without_obstacle(), closed_faces(problem, 60))
        found = eqx.filter_jit(lambda given, rhs: given.solve(rhs))(solver, rhs)
        expected = np.array(jax.jit(direct(problem).solve)(jnp.asarray(rhs)).pressure)
        pressure = np.array(found.pressure)
        for region in regions:
            pressure[region] -= pressure[region].mean()
            expected[region] -= expected[region].mean()
        np.testing.assert_allclose(pressure, expected, atol=1e-11 * np.abs(expected).max())
        assert float(found.residual) < 1e-11 * np.abs(rhs).max()


@pytest.mark.slow
def test_flows_around_several_obstacles_are_those_around_fixed_ones_in_one_program():
    empty = flow_around(None)
    traces = []

    def advance(solid):
        traces.append(None)
        flow = dataclasses.replace(empty, solid=solid)
        state, _ = dp.rollout(flow, flow.initial_state((1.0, 0.2)), 8)
        return state, flow.forces_on_solid(state)

    solids = [TracedSolid.of(empty, shape, 80) for shape in shapes()]
    program = eqx.filter_jit(advance)
    found = [program(solid) for solid in solids]
    assert len(traces) == 1
    together = jax.vmap(advance)(jax.tree.map(lambda *leaves: jnp.stack(leaves), *solids))
    for index, (shape, (state, forces)) in enumerate(zip(shapes(), found, strict=True)):
        fixed = flow_around(shape)
        expected, _ = dp.rollout(fixed, fixed.initial_state((1.0, 0.2)), 8)
        assert float(jnp.max(jnp.abs(expected.velocity[1].values))) > 0.2
        for one, other, three in zip(state.velocity, expected.velocity, together[0].velocity, strict=True):
            np.testing.assert_allclose(one.values, other.values, atol=1e-11)
            np.testing.assert_allclose(three.values[index], other.values, atol=1e-11)
        assert float(jnp.max(jnp.abs(fixed.divergence(state).values))) < 1e-11
        pushed = fixed.forces_on_solid(expected)
        np.testing.assert_allclose(forces.force, pushed.force, atol=1e-10)
        np.testing.assert_allclose(forces.torque, pushed.torque, atol=1e-10)


def test_gradients_pass_through_the_step():
    empty = flow_around(None)
    flow = dataclasses.replace(empty, solid=TracedSolid.of(empty, shapes()[0], 40))
    state = flow.initial_state((1.0, 0.2))

    def speeds(velocity):
        started = dataclasses.replace(
            state, velocity=tuple(part.with_values(v) for part, v in zip(state.velocity, velocity, strict=True))
        )
        return [part.values for part in flow(started).velocity]

    check_derivatives(speeds, [part.values for part in state.velocity], jax.random.key(0), second=False)


@pytest.mark.parametrize(
    "change, words",
    [
        (dict(stepping=dp.Splitting()), "TracedSolid"),
        (dict(advection=dp.SkewSymmetric(4)), "order 2 is accepted"),
        (dict(pressure_solver=direct), "None is accepted"),
        (dict(grid=dp.Grid((8, 8), (4.0, 3.0))), "another grid"),
    ],
)
def test_what_does_not_go_with_it_is_refused(change, words):
    empty = flow_around(None)
    solid = TracedSolid.of(empty, shapes()[0], 40)
    given = dict(grid=GRID, sides=SIDES, viscosity=0.02, dt=0.05, solid=solid, stepping=dp.RungeKutta(2))
    with pytest.raises(dp.InputError, match=words):
        dp.IncompressibleFlow(**{**given, **change})


def test_too_little_room_is_refused_in_a_sentence():
    with pytest.raises(dp.InputError, match="closes 1. faces; room for 1. or more is accepted"):
        TracedSolid.of(flow_around(None), shapes()[0], 3)
