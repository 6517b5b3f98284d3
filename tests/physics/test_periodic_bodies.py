"""A body on a periodic side is whole: on a periodic domain no place is special."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp


pytestmark = pytest.mark.usefixtures("float64", "unchecked_types")

GRID = dp.Grid((12, 10), (2.4, 2.0))
SPACING = 0.2


class Drifting(eqx.Module):
    """Two disks that move along a straight line and turn about each other."""

    start: jax.Array
    velocity = np.array((8.0, -3.0))
    rate = 4.0

    def __call__(self, time):
        place = self.start + self.velocity * time
        disks = dp.Sphere(place - 0.25, 0.3) | dp.Sphere(place + 0.25, 0.27)
        shape = disks.rotated(0.3 + self.rate * time, place)
        return dp.Immersed(shape, velocity=self.velocity, rotation_rate=self.rate, pivot=place)


@pytest.mark.slow
def test_a_turning_body_may_cross_periodic_sides_at_any_time():
    """By whole cells displaced, across a corner or several periods on, it drives the same flow, displaced as well."""

    @eqx.filter_jit
    def run(start):
        flow = dp.IncompressibleFlow(GRID, 0.02, 0.02, dp.Periodic(), solid=Drifting(start), stepping=dp.RungeKutta(2))
        state = dp.rollout(flow, flow.initial_state(), 5)[0]
        return [part.values for part in state.velocity], flow.forces_on_solid(state)

    middle = np.array((1.23, 1.04))
    still, force = run(middle)
    assert all(0.1 < np.abs(part).max() < 20 for part in still)
    for cells in ((6, 0), (5, 6), (-27, 14)):
        moved, push = run(middle + SPACING * np.array(cells))
        for one, other in zip(still, moved, strict=True):
            np.testing.assert_allclose(other, np.roll(one, cells, (0, 1)), atol=1e-7 * np.abs(one).max())
        np.testing.assert_allclose(push.force, force.force, rtol=1e-6)
        np.testing.assert_allclose(push.torque, force.torque, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("stepping", [dp.Splitting(), dp.RungeKutta(3)])
def test_an_obstacle_a_source_and_a_held_region_on_a_side_are_whole(stepping):
    settings: dict = dict(stepping=stepping, viscosity=0.02, dt=0.02, sides=dict(x=dp.Periodic(), y=dp.Wall()))
    body, source = dp.Sphere((1.23, 1.04), 0.45), dp.Sphere((0.5, 1.5), 0.3)
    results = []
    for cells in (0, 6, -5):
        by = (SPACING * cells, 0.0)
        settings |= dict(
            solid=body.translated(by), scalars=dict(smoke=dp.PassiveScalar(0.01, source=source.translated(by)))
        )
        if stepping == dp.Splitting():
            settings |= dict(forces=[dp.Held(dp.Box((0.3, 0.2), (0.7, 0.6)).translated(by), (1.0, None))])
        flow = dp.IncompressibleFlow(GRID, **settings)
        state = eqx.filter_jit(lambda flow: dp.rollout(flow, flow.initial_state((0.3, 0.0)), 3)[0])(flow)
        torque = None if stepping == dp.Splitting() else eqx.filter_jit(flow.forces_on_solid)(state)
        results.append(([state.velocity[0], state.velocity[1], state.scalars["smoke"]], torque))
        for one, other in zip(results[0][0], results[-1][0], strict=True):
            np.testing.assert_allclose(other.values, np.roll(one.values, cells, 0), atol=1e-11)
        if torque is not None:  # about the origin: the force in y times the way adds to it
            at_first = results[0][1]
            np.testing.assert_allclose(torque.force, at_first.force, atol=1e-11)
            np.testing.assert_allclose(torque.torque, at_first.torque + by[0] * at_first.force[1], atol=1e-11)


def test_a_body_beside_a_side_is_as_it_was():
    """To the bit: without images, on the same domain between walls, its own geometry is the same."""
    body = dp.Immersed(dp.Sphere((1.23, 1.04), 0.45), (0.3, 0.1), 0.7, (0.1, 0.2))
    points = [jnp.linspace(0.6, 1.9, 14)[:, None], jnp.linspace(0.4, 1.7, 13)[None, :]]
    wrapped = body.repeated(GRID.size)
    for axis in range(2):
        np.testing.assert_array_equal(wrapped.velocity_at(points, axis), body.velocity_at(points, axis))
    np.testing.assert_array_equal(wrapped.shape.distance(points), body.shape.distance(points))
    assert body.repeated((None, None)) is body


def test_what_lies_on_an_image_moves_as_its_own_body_does():
    """The arms are those from the pivot of the image, wherever the pivot is, for compositions and a rotated box."""
    lines = [jnp.linspace(0, 2.4, 13)[:, None], jnp.linspace(0, 2.0, 11)[None, :]]
    corner, far = jnp.array((0.1, -0.05)), jnp.array((0.1 + 2 * 2.4, -0.05 - 3 * 2.0))
    for make in (
        lambda place: dp.Sphere(place - 0.2, 0.3) | dp.Sphere(place + 0.2, 0.27),
        lambda place: dp.Box((-0.5, -0.2), (0.4, 0.2)).translated(place).rotated(0.5, place),
    ):
        bodies = [dp.Immersed(make(at), 0.0, 0.7, at + 0.8).repeated(GRID.size) for at in (corner, far)]
        inside = bodies[0].shape.contains(lines)
        assert inside[0, 0] and inside[-1, -1] and not inside.all()
        points = [jnp.broadcast_to(line, inside.shape)[inside] for line in lines]
        near = [point - round_ for point, round_ in zip(points, whole_periods(points, corner, GRID.size), strict=True)]
        for body in bodies:
            np.testing.assert_allclose(body.velocity_at(points, 0), -0.7 * (near[1] - corner[1] - 0.8), atol=1e-12)
            np.testing.assert_allclose(body.velocity_at(points, 1), 0.7 * (near[0] - corner[0] - 0.8), atol=1e-12)


def whole_periods(points, middle, periods):
    return [period * np.round((p - m) / period) for p, m, period in zip(points, middle, periods, strict=True)]
