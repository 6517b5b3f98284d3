"""PISO: order in time with every kind of side, steady states, mass, gradients and what they leave out, bad input.

Derivatives with respect to every leaf are proven by `diffphys verify adjoints`, published flows by `diffphys verify
piso`.
"""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp
from diffphys.grids import tanh_edges
from diffphys.verification.convergence import advanced


pytestmark = pytest.mark.usefixtures("float64")


def channel(**settings: Any) -> dp.IncompressibleFlow:
    """Inflow and wall that change in time, outflow, a carried scalar that is released and pushes."""
    given: dict[str, Any] = dict(
        grid=dp.Grid((7, 6), (1.4, 1.2)),
        viscosity=0.05,
        dt=0.05,
        sides=dict(
            x=(dp.Inflow(lambda time: 1 + 0.5 * jnp.sin(5 * time), scalar=0.4), dp.Outflow()),
            y=(dp.Wall(), dp.Wall(velocity=lambda time: jnp.sin(3 * time))),
        ),
        scalars={"dye": dp.PassiveScalar(0.03, dp.Sphere((0.4, 0.6), 0.3), 0.7)},
        forces=(dp.Buoyancy("dye", (0.3, 1.1)),),
        stepping=dp.PISO(),
    )
    return dp.IncompressibleFlow(**(given | settings))


def random_state(flow: dp.IncompressibleFlow, seed: int = 0, size: float = 1.0) -> dp.FlowState:
    generator = np.random.default_rng(seed)
    shapes = [part.shape for part in flow.initial_state().velocity]
    scalars = {name: generator.random(flow.grid.cells) for name in flow.scalars}
    return flow.initial_state([size * generator.standard_normal(shape) for shape in shapes], scalars)


def distance(first: dp.FlowState, second: dp.FlowState) -> float:
    """The largest difference of velocities and scalars."""
    pairs = zip(*(jax.tree.leaves((one.velocity, one.scalars)) for one in (first, second)), strict=True)
    return max(float(jnp.max(jnp.abs(a - b))) for a, b in pairs)


STRETCHED = dp.Grid.from_edges([tanh_edges(7, 0.0, 1.4, 0.8), tanh_edges(6, 0.0, 1.2, 1.0)])
CASES = {
    "uniform": {},
    "stretched": dict(grid=STRETCHED),
    "eddies and a sponge": dict(added_viscosity=(dp.Smagorinsky(0.17), dp.Sponge("x", 0.9, 0.5))),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_the_order_in_time_is_that_asked_for_and_the_solution_that_of_runge_kutta(name):
    """Against explicit steps of third order, which share neither matrix nor correctors with it."""
    flow = channel(**CASES[name])
    start = random_state(flow)
    reference = advanced(dataclasses.replace(flow, stepping=dp.RungeKutta(3), dt=0.2 / 200), start, 200)
    for order in (1, 2):
        flow = dataclasses.replace(flow, stepping=dp.PISO(order=order))
        finals = [advanced(dataclasses.replace(flow, dt=0.2 / n), start, n) for n in (20, 40)]
        coarse, fine = (distance(final, reference) for final in finals)
        assert abs(np.log2(coarse / fine) - order) < 0.25, (order, coarse, fine)
        for final in finals:  # the mass of every cell, and with it that of all that crosses the sides
            np.testing.assert_allclose(flow.divergence(final).values, 0, atol=1e-11)


def test_a_channel_on_uneven_cells_is_steady_for_any_step():
    """The parabola of the scheme between walls, driven by a force; steps 1000 times the bound of explicit ones."""
    grid, height = dp.Grid.from_edges([np.linspace(0, 1, 4), tanh_edges(8, 0.0, 2.0, 1.5)]), 2.0
    dt = 500 * float(np.diff(grid.edges[1]).min()) ** 2
    sides = dict(x=dp.Periodic(), y=dp.Wall())
    flow = dp.IncompressibleFlow(grid, 0.5, dt, sides, forces=((0.8, 0.0),), stepping=dp.PISO())
    final = advanced(flow, flow.initial_state(), 30)
    y = np.asarray(grid.centers()[1]).reshape(-1)
    second = advanced(dataclasses.replace(flow, dt=dt / 2), final, 3)
    np.testing.assert_allclose(second.velocity[0].values, final.velocity[0].values, rtol=1e-8)
    np.testing.assert_allclose(final.velocity[0].values[0], 0.8 * y * (height - y), atol=0.05)


def test_a_viscosity_that_varies_has_its_own_profile():
    """Where the viscosity is `1 + y` a force drives `u' = f (c - y) / (1 + y)` between walls: of second order."""
    errors = []
    for count in (12, 24):
        grid = dp.Grid((3, count), (1.0, 1.0))
        y = np.asarray(grid.centers()[1]).reshape(-1)
        sides = dict(x=dp.Periodic(), y=dp.Wall())
        viscosity = np.broadcast_to(1 + y, grid.cells)
        flow = dp.IncompressibleFlow(grid, viscosity, 10.0, sides, forces=((1.0, 0.0),), stepping=dp.PISO())
        final = advanced(flow, flow.initial_state(), 12)
        c = 1 / np.log(2) - 1
        exact = (c + 1) * np.log(1 + y) - y
        errors.append(np.max(np.abs(np.asarray(final.velocity[0].values[0]) - exact)))
    assert 1.9 < np.log2(errors[0] / errors[1]) < 2.1 and errors[1] < 1e-3, errors


def through_the_sides(state: dp.FlowState) -> float:
    """What leaves the domain through all of its sides, volume per time."""
    total = 0.0
    for axis, part in enumerate(state.velocity):
        if not part.periodic[axis]:
            area = np.ones([1] * part.grid.dimensions)
            for other in range(part.grid.dimensions):
                if other != axis:
                    area = area * part.grid.along(other, part.grid.widths(other))
            values = np.asarray(part.values)
            total += np.sum(area * (values.take([-1], axis) - values.take([0], axis)))
    return total


def test_mass_is_balanced_to_round_off_where_the_pressure_is_iterated_too():
    """In 3D, with a sponge before the outflow, on uneven cells, in float32; the report says how it was solved."""
    with jax.enable_x64(False):
        grid = dp.Grid.from_edges([np.linspace(0, 2, 9), tanh_edges(5, 0.0, 1.0, 1.0), np.linspace(0, 1, 5)])
        profile = np.random.default_rng(0).random((5, 4)) + 0.5
        flow = dp.IncompressibleFlow(
            grid,
            1e-2,
            0.05,
            dict(x=(dp.Inflow(profile), dp.Outflow()), y=dp.Wall(slip=True), z=dp.Periodic()),
            stepping=dp.PISO(),
            added_viscosity=(dp.Sponge("x", 1.5, 0.2),),
        )
        state, step = random_state(flow, size=0.3), eqx.filter_jit(flow.reported)
        for _ in range(3):
            state, report = step(state)
        assert report is not None
        assert abs(through_the_sides(state)) < 2e-6
        assert float(jnp.max(jnp.abs(flow.divergence(state).values))) < 2e-5
        assert np.all(report.momentum.iterations > 0) and report.momentum.iterations.shape == (3,)
        assert np.all(report.pressure.iterations > 0) and report.pressure.iterations.shape == (2,)
        assert np.all(report.momentum.residual < 1e-4) and np.all(report.pressure.residual < 1e-2)


def test_where_the_momentum_is_not_solved_the_state_is_not_finite():
    flow = dp.IncompressibleFlow(dp.Grid((4, 4)), 0.1, 0.1, dp.Periodic(), stepping=dp.PISO(largest_iterations=1))
    assert np.isnan(eqx.filter_jit(flow)(random_state(flow)).velocity[0].values).any()


def loss_of(stepping: dp.PISO, adjoint: Any = None, steps: int = 2, **settings: Any) -> Any:
    """A function of three numbers that move the start, the viscosity and the forces."""
    given = dict(stepping=stepping, scalars={}, forces=(), grid=dp.Grid((6, 5), (1.4, 1.2)), dt=0.1)
    flow = channel(**(given | settings))
    start = random_state(flow, size=0.7)
    direction = random_state(flow, seed=1, size=0.3).velocity
    adjoint = dp.StoreAll() if adjoint is None else adjoint

    def loss(numbers: jax.Array) -> jax.Array:
        moved = dataclasses.replace(flow, viscosity=0.05 + numbers[1])
        velocity = [
            a.with_values(a.values + numbers[0] * b.values) for a, b in zip(start.velocity, direction, strict=True)
        ]

        def step(state: dp.FlowState, force: jax.Array) -> dp.FlowState:
            return moved(state, tuple(force))

        forces = jnp.broadcast_to(jnp.stack([numbers[2], 0.5 * numbers[2]]), (steps, 2))
        state = dataclasses.replace(start, velocity=tuple(velocity))
        final, _ = dp.rollout(step, state, steps, inputs=forces, adjoint=adjoint)
        return sum((jnp.sum(part.values**2) for part in final.velocity), jnp.sum(final.pressure.values**2))

    return loss


def value_and_slopes(loss: Any) -> tuple[float, np.ndarray]:
    value, slopes = jax.jit(jax.value_and_grad(loss))(jnp.zeros(3))
    return float(value), np.asarray(slopes)


@pytest.mark.slow
def test_the_gradient_is_exact_where_the_viscosity_varies_too():
    """With an eddy viscosity, on uneven cells: through the iteration for the pressure, which has its own tolerance."""
    added = (dp.Smagorinsky(0.3), dp.Sponge("x", 0.9, 0.5))
    loss = loss_of(dp.PISO(tolerance=1e-13), added_viscosity=added, grid=STRETCHED)
    value, exact = value_and_slopes(loss)
    size, program = 1e-4, jax.jit(jax.vmap(loss))
    values = [program(factor * size * jnp.eye(3)) for factor in (1, -1, 2, -2)]
    np.testing.assert_allclose(exact, (8 * (values[0] - values[1]) - (values[2] - values[3])) / (12 * size), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("order", [1, 2])
def test_the_gradient_is_that_of_the_step_and_options_leave_parts_of_it_out(order):
    """Differences agree with the exact one to their own error, and with none of the others."""
    loss = loss_of(dp.PISO(order=order, tolerance=1e-13))
    value, exact = value_and_slopes(loss)
    size, program = 1e-4, jax.jit(jax.vmap(loss))
    near, less, far, least = (program(factor * size * jnp.eye(3)) for factor in (1, -1, 2, -2))
    np.testing.assert_allclose(exact, (8 * (near - less) - (far - least)) / (12 * size), rtol=1e-7)
    for part in ("coefficients", "momentum", "pressure"):
        same, other = value_and_slopes(loss_of(dp.PISO(order=order, tolerance=1e-13, without_gradient=(part,))))
        assert same == pytest.approx(value, rel=1e-12)  # the step is the same
        assert np.max(np.abs(other / exact - 1)) > 1e-3, part
        if part == "coefficients":
            assert other[1] == 0.0  # with a matrix that is constant the viscosity has no derivative


@pytest.mark.slow
def test_a_window_as_long_as_the_rollout_has_the_whole_gradient_and_of_one_step_none_between_steps():
    """In velocity and pressure, both of which go on from step to step."""

    def slopes(adjoint: Any) -> np.ndarray:
        return value_and_slopes(loss_of(dp.PISO(correctors=1), adjoint, sides=dp.Periodic()))[1]

    whole, window, single, detached = map(slopes, (dp.StoreAll(), dp.Truncated(2), dp.Truncated(1), dp.Detached()))
    np.testing.assert_allclose(window, whole, rtol=1e-12)
    np.testing.assert_allclose(single, detached, rtol=1e-12)
    assert np.max(np.abs(single[1:] / whole[1:] - 1)) > 1e-2


def test_changing_a_number_compiles_nothing_anew():
    flow = channel(added_viscosity=(dp.Smagorinsky(0.1), dp.Sponge("x", 1.0, 0.1)))
    state, traces = random_state(flow), []

    @eqx.filter_jit
    def step(flow, state):
        traces.append(None)
        return flow(state)

    step(flow, state)
    other = channel(
        viscosity=0.07, dt=0.03, added_viscosity=(dp.Smagorinsky(0.2), dp.Sponge("x", 0.9, 0.3)), sides=flow.sides
    )
    other = eqx.tree_at(lambda flow: flow.scalars, other, flow.scalars)
    step(other, state)
    assert len(traces) == 1


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: channel(viscosity=-0.1), "viscosity is -0.1"),
        (lambda: channel(viscosity=-0.1 * np.ones((7, 6))), "viscosity is"),
        (lambda: channel(viscosity=np.ones((3, 6))), "viscosity has shape"),
        (lambda: channel(sides=dict(x=(dp.Inflow(1.0), dp.Wall()), y=dp.Wall())), "nothing out of it"),
        (lambda: channel(added_viscosity=(dp.Sponge("x", 1.5, 0.1),)), "start is 1.5 on axis x, which goes from 0 to"),
        (lambda: channel(added_viscosity=(dp.Sponge("z", 0.5, 0.1),)), "axis is 'z'"),
        (lambda: channel(added_viscosity=dp.Smagorinsky(0.1)), "added_viscosity is Smagorinsky"),
        (lambda: dp.Smagorinsky(-0.1), "constant is -0.1"),
        (lambda: channel(advection=dp.SkewSymmetric(4)), "advection is SkewSymmetric"),
        (lambda: channel(advection=dp.SemiLagrangian()), r"SkewSymmetric\(\) is accepted"),
        (lambda: channel(solid=dp.Sphere((0.6, 0.5), 0.25)), "beside scalars"),
        (lambda: channel(stepping=dp.ImplicitExplicit(), added_viscosity=(dp.Smagorinsky(0.1),)), "varies in space"),
        (lambda: dp.PISO(correctors=0), "correctors is 0"),
        (lambda: dp.PISO(order=3), "order is 3"),
        (lambda: dp.PISO(without_gradient=("matrix",)), "without_gradient is"),
        (lambda: dp.PISO(tolerance=2.0), "tolerance is 2.0"),
        (lambda: dp.rollout(channel(), random_state(channel()), 3, adjoint=dp.Truncated(4)), "window"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(make, message):
    with pytest.raises(dp.InputError, match=message):
        make()
