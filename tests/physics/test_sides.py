"""Walls on every axis in 2D and 3D, and starts from centered velocities."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp
from diffphys.grids import face_offset
from diffphys.operators import faces_to_centers


pytestmark = pytest.mark.usefixtures("float64")


@pytest.mark.parametrize("axes", [(0, 1), (1, 0), (0, 1, 2), (1, 2, 0), (2, 1, 0)])
def test_moving_and_slipping_walls_on_every_axis(axes):
    """Between a wall at rest and a moving one the velocity stays linear; along slipping walls a cosine decays.

    Of the axes the first has the moving wall, which pulls along the last; the one in between has slipping walls.
    """
    dimensions, (across, along) = len(axes), (axes[0], axes[-1])
    grid = dp.Grid((5, 4, 3)[:dimensions], (1.5, 1.0, 0.9)[:dimensions])
    pull = [0.0] * dimensions
    pull[along] = 2.0
    moving = dp.Wall(velocity=jnp.asarray([speed for axis, speed in enumerate(pull) if axis != across]))
    sides: dict[str, Any] = {name: dp.Periodic() for name in grid.axis_names}
    sides[grid.axis_names[across]] = (dp.Wall(), moving)
    points = grid.coordinates(face_offset(grid, along), [axis == along for axis in range(dimensions)])
    linear = 2.0 * points[across] / grid.size[across]
    wave, rate = jnp.zeros(()), 0.0
    if dimensions == 3:
        slipping = axes[1]
        sides[grid.axis_names[slipping]] = dp.Wall(slip=True)
        wave = jnp.cos(np.pi * points[slipping] / grid.size[slipping])
        rate = (2 / grid.spacing[slipping] * np.sin(np.pi / 2 / grid.cells[slipping])) ** 2
        # the wave does not vanish at the other walls; beside them only the linear part is looked at
    flow = dp.IncompressibleFlow(grid, viscosity=0.02, dt=0.1, sides=sides)
    velocity = []
    for axis in range(dimensions):
        offset, conditions = face_offset(grid, axis), flow.variables(0.0).velocity[axis]
        shape = grid.shape(offset, [isinstance(pair[0], dp.Periodic) for pair in conditions])
        values = jnp.broadcast_to(linear + wave if axis == along else 0.0, shape)
        velocity.append(dp.Field(values, grid, offset, conditions))
    pressure = dp.Field(jnp.zeros(grid.cells), grid, conditions=flow.variables(0.0).pressure)
    start = dp.FlowState(tuple(velocity), pressure, {}, jnp.asarray(0.0))
    after = eqx.filter_jit(flow)(start)
    for axis, component in enumerate(after.velocity):
        if axis == along:
            expected = jnp.broadcast_to(linear + (1 - 0.1 * 0.02 * rate) * wave, component.shape)
            inner = [slice(None)] * dimensions
            if dimensions == 3:
                inner[across] = slice(1, -1)
            np.testing.assert_allclose(component.values[tuple(inner)], expected[tuple(inner)], atol=1e-13)
        else:
            np.testing.assert_allclose(component.values, 0, atol=1e-13)


def test_a_run_starts_and_restarts_from_centered_velocities_without_loss():
    """Taylor and Green's vortex from its values at the centers: those at the faces to round-off, and back again."""
    grid = dp.Grid((8, 7), (1.0, 2.0))
    flow = dp.IncompressibleFlow(grid, viscosity=0.01, dt=0.02, sides=dp.Periodic())

    def vortex(offset):
        x, y = (
            2 * np.pi * line / size
            for line, size in zip(grid.coordinates(offset, (True, True)), grid.size, strict=True)
        )
        return jnp.sin(x) * jnp.cos(y), -2 * jnp.cos(x) * jnp.sin(y)

    periodic = ((dp.Periodic(), dp.Periodic()),) * 2
    centered = [dp.Field(part, grid, conditions=periodic) for part in vortex((0.5, 0.5))]
    state = flow.initial_state(centered)
    exact = [vortex(face_offset(grid, axis))[axis] for axis in range(2)]
    for part, expected in zip(flow.initial_state(exact).velocity, state.velocity, strict=True):
        np.testing.assert_allclose(part.values, expected.values, atol=1e-14)
    random = flow.initial_state([np.random.default_rng(axis).standard_normal((8, 7)) for axis in range(2)])
    again = flow.initial_state(faces_to_centers(random.velocity))
    for one, other in zip(random.velocity, again.velocity, strict=True):
        np.testing.assert_allclose(one.values, other.values, atol=1e-13)


def test_centered_velocities_between_walls_and_at_an_inflow():
    """The values on the sides are those of the sides; fields at the faces are taken as they are."""
    grid = dp.Grid((6, 5), (1.0, 1.0))
    profile = 1 + jnp.arange(5.0)
    flow = dp.IncompressibleFlow(grid, 0.001, 0.01, dict(x=(dp.Inflow(profile), dp.Outflow()), y=dp.Wall()))
    centered = [dp.Field(jnp.broadcast_to(profile, (6, 5)), grid), dp.Field(jnp.zeros((6, 5)), grid)]
    state = flow.initial_state(centered)
    np.testing.assert_allclose(state.velocity[0].values, jnp.broadcast_to(profile, (7, 5)), atol=1e-12)
    np.testing.assert_allclose(state.velocity[1].values, 0, atol=1e-12)
    same = flow.initial_state(state.velocity)
    np.testing.assert_allclose(same.velocity[0].values, state.velocity[0].values, atol=1e-13)
    with pytest.raises(dp.InputError, match=r"velocity\[1\] is a field at offset"):
        flow.initial_state([centered[0], state.velocity[0]])
