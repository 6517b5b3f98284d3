"""Numbers of a system may be known or traced, each for itself."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

import diffphys as dp


def test_a_system_can_be_made_inside_jit_with_some_numbers_known():
    grid = dp.Grid(cells=(8, 8), size=(1.0, 1.0))
    sides = dict(x=dp.Wall(), y=(dp.Inflow(1.0), dp.Outflow()))
    flow = dp.IncompressibleFlow(grid, viscosity=1e-3, dt=0.1, sides=sides)
    start = flow.initial_state()

    def outflow(speed):
        changed = dataclasses.replace(flow, sides=dict(x=dp.Wall(), y=(dp.Inflow(speed), dp.Outflow())))
        return jnp.mean(changed(start).velocity[1].values[:, -1])

    # What flows in flows out, whatever its speed.
    np.testing.assert_allclose(jax.jit(outflow)(2.0), 2.0, rtol=1e-5)
    np.testing.assert_allclose(jax.jit(jax.grad(outflow))(2.0), 1.0, rtol=1e-5)
