"""Incompressible flow against known solutions."""

import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp


pytestmark = pytest.mark.usefixtures("float64")


def orders_of(errors) -> np.ndarray:
    return np.log2(np.array(errors[:-1]) / np.array(errors[1:]))


@pytest.mark.parametrize("axis", [0, 1])
def test_poiseuille_flow_is_second_order_in_space(axis):
    """A constant force along a channel: `u = F / (2 nu) y (H - y)`, whichever axis the channel follows."""
    viscosity, force, height, errors = 0.5, 0.8, 2.0, []
    for count in (4, 8, 16):
        cells, size = ((2, count), (1.0, height)) if axis == 0 else ((count, 2), (height, 1.0))
        sides = dict(x=dp.Periodic(), y=dp.Wall()) if axis == 0 else dict(x=dp.Wall(), y=dp.Periodic())
        dt = 0.2 * (height / count) ** 2 / viscosity
        flow = dp.IncompressibleFlow(dp.Grid(cells, size), viscosity, dt, sides)
        steps = round(20 / dt)  # slowest mode: exp(-pi^2 nu t / H^2) = exp(-25)
        push = jnp.zeros((steps, 2)).at[:, axis].set(force)
        final, _ = dp.rollout(flow, flow.initial_state(), steps, inputs=[push[:, 0], push[:, 1]])
        y = (np.arange(count) + 0.5) * height / count
        exact = force / (2 * viscosity) * y * (height - y)
        found = final.velocity[axis].values
        errors.append(np.abs(found - (exact[None, :] if axis == 0 else exact[:, None])).max())
        np.testing.assert_allclose(final.velocity[1 - axis].values, 0, atol=1e-12)
    assert np.all(orders_of(errors) > 1.95) and errors[-1] < 0.01, errors


@pytest.mark.parametrize("axis", [0, 1])
def test_couette_flow_is_exact(axis):
    """Between a wall that moves and one that rests the profile is a straight line, which the scheme holds exactly."""
    wall, moving = dp.Wall(), dp.Wall(velocity=jnp.asarray([0.7]))
    sides = dict(x=dp.Periodic(), y=(wall, moving)) if axis == 0 else dict(x=(wall, moving), y=dp.Periodic())
    flow = dp.IncompressibleFlow(dp.Grid((5, 5), (1.0, 1.0)), 0.1, 0.05, sides)
    line = 0.7 * (np.arange(5) + 0.5) / 5
    profile = np.broadcast_to(line[None, :] if axis == 0 else line[:, None], (5, 5))
    start = flow.initial_state([profile, 0.0] if axis == 0 else [0.0, profile])
    np.testing.assert_allclose(flow(start).velocity[axis].values, profile, atol=1e-14)
    from_rest, _ = dp.rollout(flow, flow.initial_state(), 800)
    np.testing.assert_allclose(from_rest.velocity[axis].values, profile, atol=1e-10)


@pytest.mark.slow
def test_each_tangential_axis_of_a_moving_wall_in_three_dimensions():
    """The two numbers belong to the tangential axes in order: for a wall at z they are along x and y."""
    walls = (dp.Wall(), dp.Wall(velocity=jnp.asarray([0.7, -0.3])))
    for axis in range(3):
        sides = {name: dp.Periodic() for name in "xyz"} | {"xyz"[axis]: walls}
        flow = dp.IncompressibleFlow(dp.Grid((4, 4, 4), (1.0, 1.0, 1.0)), 0.1, 0.05, sides)
        final, _ = dp.rollout(flow, flow.initial_state(), 600)
        line = ((np.arange(4) + 0.5) / 4).reshape([-1 if a == axis else 1 for a in range(3)])
        first, second = (other for other in range(3) if other != axis)
        np.testing.assert_allclose(final.velocity[axis].values, 0, atol=1e-12)
        for component, speed in ((first, 0.7), (second, -0.3)):
            found = final.velocity[component].values
            np.testing.assert_allclose(found, np.broadcast_to(speed * line, found.shape), atol=1e-9)


@pytest.mark.parametrize("largest_courant", [None, 1])
def test_the_taylor_green_vortex_converges_to_first_order(largest_courant):
    """`u = sin x cos y exp(-2 nu t)`, and its pressure `(cos 2x + cos 2y) / 4 exp(-4 nu t)`."""
    viscosity, time, errors, pressure_errors = 0.05, 1.0, [], []
    for count in (16, 32, 64):
        grid = dp.Grid((count, count), (2 * np.pi, 2 * np.pi))
        steps = count // 2
        advection = dp.SemiLagrangian(largest_courant)
        flow = dp.IncompressibleFlow(grid, viscosity, time / steps, dp.Periodic(), advection=advection)
        face, center = np.arange(count) * 2 * np.pi / count, (np.arange(count) + 0.5) * 2 * np.pi / count
        u, v = np.sin(face)[:, None] * np.cos(center), -np.cos(center)[:, None] * np.sin(face)
        start = flow.initial_state([u, v])
        np.testing.assert_allclose(start.velocity[0].values, u, atol=1e-13)  # already without discrete divergence
        final, _ = dp.rollout(flow, start, steps)
        decay = np.exp(-2 * viscosity * time)
        errors.append(
            max(np.abs(final.velocity[0].values - decay * u).max(), np.abs(final.velocity[1].values - decay * v).max())
        )
        pressure = (np.cos(2 * center)[:, None] + np.cos(2 * center)) / 4 * decay**2
        pressure_errors.append(np.abs(final.pressure.values - pressure).max())
    assert np.all(orders_of(errors) > 0.8) and errors[-1] < 0.05, errors
    assert np.all(orders_of(pressure_errors) > 0.7), pressure_errors


def test_a_uniform_stream_passes_any_domain_unchanged():
    flow = dp.IncompressibleFlow(
        dp.Grid((5, 7), (1.0, 2.0)), 0.01, 0.1, dict(x=dp.Wall(slip=True), y=(dp.Inflow(0.8), dp.Outflow()))
    )
    final, _ = dp.rollout(flow, flow.initial_state(), 20)
    np.testing.assert_allclose(final.velocity[1].values, 0.8, atol=1e-13)
    np.testing.assert_allclose(final.velocity[0].values, 0.0, atol=1e-13)
    np.testing.assert_allclose(final.pressure.values, 0.0, atol=1e-12)


@pytest.mark.slow
def test_mirrored_and_turned_flows_are_mirrored_and_turned():
    """The scheme prefers no axis and no direction."""

    def final(axis, upwards, lateral):
        ends = (dp.Inflow(1.0), dp.Outflow())
        ends = ends if upwards else ends[::-1]
        center, cells, size = [1.3, 1.0], [8, 5], [4.0, 2.5]
        if not upwards:
            center[0] = 4.0 - 1.3
        sides = dict(x=ends, y=lateral)
        if axis == 1:
            center, cells, size, sides = center[::-1], cells[::-1], size[::-1], dict(x=lateral, y=ends)
        flow = dp.IncompressibleFlow(dp.Grid(cells, size), 0.02, 0.2, sides, solid=dp.Sphere(center, 0.4))
        velocity = dp.rollout(flow, flow.initial_state(), 10)[0].velocity
        along, across = velocity[axis].values, velocity[1 - axis].values
        along, across = (along, across) if axis == 0 else (along.T, across.T)
        return (along, across) if upwards else (-along[::-1], across[::-1])

    for lateral in (dp.Periodic(), (dp.Wall(slip=True), dp.Open())):
        expected = final(0, True, lateral)
        assert float(jnp.max(jnp.abs(expected[1]))) > 0.05
        for axis, upwards in ((0, False), (1, True)):
            for one, two in zip(final(axis, upwards, lateral), expected, strict=True):
                np.testing.assert_allclose(one, two, rtol=0, atol=1e-11)
