"""The Runge-Kutta flow: orders in time and space, what it conserves, its derivatives, and what it refuses."""

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
from tests.gradients import check_derivatives


pytestmark = pytest.mark.usefixtures("float64")


def largest_difference(first: dp.FlowState, second: dp.FlowState) -> float:
    return max(
        float(jnp.max(jnp.abs(one.values - two.values)))
        for one, two in zip(first.velocity, second.velocity, strict=True)
    )


def channel(**settings: Any) -> dp.IncompressibleFlow:
    """Inflow and wall that change in time, outflow, a carried scalar."""
    given: dict[str, Any] = dict(
        stepping=dp.RungeKutta(3),
        grid=dp.Grid((6, 5), (1.2, 1.0)),
        viscosity=0.02,
        dt=0.05,
        sides=dict(
            x=(dp.Inflow(Pulse(jnp.linspace(0.5, 1.5, 5)), scalar=0.4), dp.Outflow()),
            y=(dp.Wall(), dp.Wall(velocity=lambda time: jnp.sin(3 * time))),
        ),
        scalars={"dye": dp.PassiveScalar(diffusivity=0.01, source=dp.Sphere((0.53, 0.46), 0.33), rate=0.5)},
    )
    return dp.IncompressibleFlow(**(given | settings))


class Pulse(eqx.Module):
    """A profile that swells and shrinks; its numbers are traced."""

    profile: jax.Array

    def __call__(self, time):
        return self.profile * (1 + 0.5 * jnp.sin(5 * time))


def random_state(flow: dp.IncompressibleFlow, seed: int = 0) -> dp.FlowState:
    generator = np.random.default_rng(seed)
    shapes = [part.shape for part in flow.initial_state().velocity]
    scalars = {name: generator.random(flow.grid.cells) for name in flow.scalars}
    return flow.initial_state([generator.standard_normal(shape) for shape in shapes], scalars)


@pytest.mark.slow
@pytest.mark.parametrize("stages", [3, 4])
def test_order_in_time_where_the_sides_change(stages):
    flow = channel(stepping=dp.RungeKutta(stages))
    start = random_state(flow)

    def final(steps):
        return advanced(dataclasses.replace(flow, dt=0.48 / steps), start, steps)

    reference = final(192)
    finals = [final(steps) for steps in (24, 48)]
    coarse, fine = (largest_difference(one, reference) for one in finals)
    assert abs(np.log2(coarse / fine) - stages) < 0.2, (coarse, fine)
    dyes = [float(jnp.max(jnp.abs(one.scalars["dye"].values - reference.scalars["dye"].values))) for one in finals]
    assert abs(np.log2(dyes[0] / dyes[1]) - stages) < 0.2, dyes
    np.testing.assert_allclose(flow.divergence(reference).values, 0, atol=1e-11)
    np.testing.assert_allclose(reference.velocity[1].values[:, 0], 0, atol=1e-14)
    inflow = 1 + 0.5 * np.sin(5 * 0.48)
    np.testing.assert_allclose(reference.velocity[0].values[0], np.linspace(0.5, 1.5, 5) * inflow, atol=1e-12)


@pytest.mark.parametrize("order", [2, 4])
def test_the_taylor_green_vortex(order):
    """`v = (sin x cos y, -cos x sin y) exp(-2 nu t)` and `p = (cos 2x + cos 2y) exp(-4 nu t) / 4`."""
    viscosity, errors = 0.05, []
    for count in (12, 24):
        grid = dp.Grid((count, count), (2 * np.pi, 2 * np.pi))
        face, center = np.arange(count) * 2 * np.pi / count, (np.arange(count) + 0.5) * 2 * np.pi / count
        u, v = np.sin(face)[:, None] * np.cos(center), -np.cos(center)[:, None] * np.sin(face)
        flow = dp.IncompressibleFlow(
            grid, viscosity, 0.02, dp.Periodic(), advection=dp.SkewSymmetric(order), stepping=dp.RungeKutta(4)
        )
        state = advanced(flow, flow.initial_state([u, v]), 25)
        decay = np.exp(-2 * viscosity * 0.5)
        errors.append(
            max(np.abs(state.velocity[0].values - decay * u).max(), np.abs(state.velocity[1].values - decay * v).max())
        )
    assert abs(np.log2(errors[0] / errors[1]) - order) < 0.1, errors
    middle = np.exp(-4 * viscosity * 0.49)  # the pressure is the mean over the last step
    pressure = (np.cos(2 * center)[:, None] + np.cos(2 * center)) / 4 * middle
    np.testing.assert_allclose(state.pressure.values, pressure, atol=0.02 if order == 2 else 1e-3)


def test_kovasznay_flow_is_second_order_with_inflow_and_outflow():
    """Kovasznay 1948: the wake of a row of cylinders, a steady solution of the full equations."""
    reynolds = 40.0
    rate = reynolds / 2 - np.sqrt(reynolds**2 / 4 + 4 * np.pi**2)
    errors = []
    for count in (8, 16):
        grid = dp.Grid((3 * count // 2, count), (1.5, 1.0), (-0.5, -0.5))

        def along(x, y):
            return 1 - np.exp(rate * x) * np.cos(2 * np.pi * y)

        def across(x, y):
            return rate / (2 * np.pi) * np.exp(rate * x) * np.sin(2 * np.pi * y)

        (xf,), (yf,) = (grid.edges[0],), (grid.edges[1][:-1],)
        xc, yc = (grid.edges[0][1:] + xf[:-1]) / 2, yf + 0.5 / count
        slope = (-rate * np.exp(rate) * np.cos(2 * np.pi * yc), rate * across(1.0, yf))
        sides = dict(
            x=(
                dp.Inflow(along(-0.5, yc), tangential=(across(-0.5, yf),)),
                dp.Outflow(pressure=np.full(count, (1 - np.exp(2 * rate)) / 2), slope=slope),
            ),
            y=dp.Periodic(),
        )
        flow = dp.IncompressibleFlow(grid, 1 / reynolds, 0.3 / count, sides, stepping=dp.RungeKutta(3))
        exact = along(xf[:, None], yc), across(xc[:, None], yf)
        state = advanced(flow, flow.initial_state(exact), round(2.5 / float(flow.dt)))
        errors.append(
            max(float(np.abs(part.values - one).max()) for part, one in zip(state.velocity, exact, strict=True))
        )
    assert np.log2(errors[0] / errors[1]) > 1.8 and errors[1] < 0.02, errors


@pytest.mark.parametrize("order", [2, 4])
def test_without_viscosity_the_energy_falls_only_with_the_error_in_time(order):
    """Third order in time keeps the energy to third order in dt; space adds nothing."""
    sides = dict(x=dp.Wall(velocity=0.7), y=dp.Periodic())
    flow = dp.IncompressibleFlow(
        dp.Grid((7, 6), (1.0, 1.3)), 0.0, 0.01, sides, advection=dp.SkewSymmetric(order), stepping=dp.RungeKutta(3)
    )
    start = random_state(flow)
    energy = float(flow.kinetic_energy(start))
    losses = [
        abs(float(flow.kinetic_energy(advanced(dataclasses.replace(flow, dt=0.08 / steps), start, steps))) - energy)
        for steps in (16, 32)
    ]
    assert losses[1] < 1e-3 * energy
    assert np.log2(losses[0] / losses[1]) > 2.8, losses


STRETCHED = {
    "moving wall": {"x": dp.Periodic(), "y": (dp.Wall(), dp.Wall(velocity=(1.0,)))},
    "through": {"x": (dp.Inflow(1.0), dp.Outflow()), "y": dp.Wall(slip=True)},
    "open": {"x": dp.Open(), "y": dp.Wall()},
}


@pytest.mark.parametrize("name", STRETCHED)
def test_order_four_projects_on_stretched_axes_with_sides(name):
    uniform = np.linspace(0.0, 1.0, 9)
    edges = (uniform if name == "moving wall" else tanh_edges(8, 0.0, 1.0), tanh_edges(12, 0.0, 1.0))
    flow = dp.IncompressibleFlow(
        dp.Grid.from_edges(edges),
        1e-3,
        1e-3,
        STRETCHED[name],
        advection=dp.SkewSymmetric(order=4),
        stepping=dp.RungeKutta(2),
    )
    generator = np.random.default_rng(0)
    start = flow.initial_state([generator.standard_normal(part.shape) for part in flow.initial_state().velocity])
    final = jax.jit(lambda state: dp.rollout(flow, state, 3)[0])(start)
    np.testing.assert_allclose(flow.divergence(final).values, 0.0, atol=1e-10)
    assert any(np.abs(part.values).max() > 0.1 for part in final.velocity)


def test_a_force_moves_what_is_periodic_and_the_sides_of_a_step_may_be_given():
    flow = dp.IncompressibleFlow(dp.Grid((4, 5)), 0.1, 0.5, dp.Periodic(), stepping=dp.RungeKutta(3))
    state = eqx.filter_jit(flow)(random_state(flow), (0.3, jnp.full((4, 5), -0.2)))
    before = random_state(flow)
    for axis, push in enumerate((0.3, -0.2)):
        change = jnp.mean(state.velocity[axis].values - before.velocity[axis].values)
        np.testing.assert_allclose(change, 0.5 * push, atol=1e-14)
    walls = dict(x=dp.Periodic(), y=(dp.Wall(), dp.Wall(velocity=1.0)))
    couette = dp.IncompressibleFlow(dp.Grid((3, 4), (1.0, 1.0)), 0.1, 0.05, walls, stepping=dp.RungeKutta(3))
    still = dataclasses.replace(couette, sides=dict(x=dp.Periodic(), y=dp.Wall()))
    start = random_state(couette)
    one, two = still(start, dp.FlowInput(sides=couette.sides)), couette(start)
    assert largest_difference(one, two) == 0.0
    assert largest_difference(two, still(start)) > 1e-3


@pytest.mark.slow
def test_derivatives_of_a_step(key):
    """With respect to the state, to every number of the flow, those in a function of time too, and to the force."""
    flow = channel(stepping=dp.RungeKutta(2))
    state = random_state(flow)
    generator = np.random.default_rng(1)
    force = [jnp.asarray(generator.standard_normal(part.shape)) for part in state.velocity]
    point = (flow, state, force)
    check_derivatives(lambda given: given[0](given[1], given[2]), point, key)


def test_a_fluid_at_rest_carries_an_obstacle_by_the_weight_it_displaces():
    """Per density: minus the acceleration times the area of its cells, at their centroid."""
    flow = dp.IncompressibleFlow(
        dp.Grid((7, 6), (1.4, 1.2)), 0.1, 0.01, dp.Wall(), solid=dp.Sphere((0.8, 0.5), 0.35), stepping=dp.RungeKutta(1)
    )
    state = eqx.filter_jit(flow)(flow.initial_state(), (0.3, -0.8))
    for part in state.velocity:
        np.testing.assert_allclose(part.values, 0, atol=1e-13)
    found = flow.forces_on_solid(state, (0.3, -0.8))
    assert flow.solid is not None
    area = 0.04 * flow.solid.cells.sum()
    x, y = (np.broadcast_to(line, (7, 6))[flow.solid.cells].mean() for line in flow.grid.centers())
    np.testing.assert_allclose(found.force, [-0.3 * area, 0.8 * area], rtol=1e-9)
    np.testing.assert_allclose(found.torque, area * (x * 0.8 + y * 0.3), rtol=1e-9)
    with pytest.raises(dp.InputError, match="solid"):
        dataclasses.replace(flow, solid=None).forces_on_solid(state)


def test_what_pushes_a_steady_channel_rests_on_its_obstacle_and_walls():
    """The momentum budget, exactly: the force on all fluid is what obstacle and walls take."""
    grid = dp.Grid((8, 6), (1.6, 1.2))
    flow = dp.IncompressibleFlow(
        grid,
        0.3,
        0.01,
        dict(x=dp.Periodic(), y=dp.Wall()),
        solid=dp.Sphere((0.7, 0.5), 0.25),
        stepping=dp.RungeKutta(3),
    )
    state = advanced(Pushed(flow), flow.initial_state(), 800)
    along = state.velocity[0].values
    assert float(jnp.max(along)) > 0.1
    friction = 0.3 * float(jnp.sum(along[:, 0] + along[:, -1])) / 0.1 * 0.2  # the slope at the walls times their area
    assert flow.solid is not None
    fluid = 0.04 * (~flow.solid.cells).sum()
    np.testing.assert_allclose(flow.forces_on_solid(state, (1.0, 0.0)).force[0] + friction, fluid, rtol=1e-8)


class Pushed(eqx.Module):
    flow: dp.IncompressibleFlow

    def __call__(self, state):
        return self.flow(state, (1.0, 0.0))


def test_changing_a_number_compiles_nothing():
    flow = channel(sides=dict(x=(dp.Inflow(1.0), dp.Outflow()), y=dp.Wall()))
    state, count = flow.initial_state(), 0

    @eqx.filter_jit
    def step(flow, state):
        nonlocal count
        count += 1
        return flow(state)

    for changes in (
        {},
        dict(viscosity=0.01),
        dict(dt=0.02),
        dict(sides=dict(x=(dp.Inflow(1.1), dp.Outflow(0.3)), y=dp.Wall())),
    ):
        step(dataclasses.replace(flow, **changes), state)
    assert count == 1


REFUSED = {
    "grid": dict(grid=(5, 8)),
    "viscosity": [dict(viscosity=value) for value in (-0.1, float("nan"), None)],
    "dt": [dict(dt=value) for value in (0.0, float("nan"), "long")],
    "dt is": [
        dict(viscosity=1.0),
        dict(advection=dp.SkewSymmetric(4), dt=0.8),
        dict(stepping=dp.RungeKutta(2), dt=0.8),
    ],
    "stepping": [dict(stepping=value) for value in (3, "RK4", None)],
    "advection": [
        dict(advection=dp.SemiLagrangian()),
        dict(advection="upwind"),
    ],
    "sides let": dict(sides=dict(x=(dp.Inflow(1.0), dp.Wall()), y=dp.Wall())),
    "tangential": dict(sides=dict(x=(dp.Inflow(1.0, tangential=(1.0, jnp.ones(2))), dp.Outflow()), y=dp.Wall())),
    "pressure": dict(sides=dict(x=(dp.Inflow(1.0), dp.Outflow(pressure=jnp.ones(3))), y=dp.Wall())),
    "solid": dict(solid=dp.Sphere((9.0, 9.0), 0.2)),
}


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("word", REFUSED)
def test_what_is_refused(word):
    cases = REFUSED[word]
    for case in cases if isinstance(cases, list) else [cases]:
        with pytest.raises(dp.InputError, match=word):
            channel(**case)
