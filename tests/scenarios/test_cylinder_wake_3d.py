"""The cylinder's wake with a span."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffphys.operators import divergence
from diffphys.poisson.capacitance import cross_section
from diffphys.scenarios import cylinder_wake, cylinder_wake_3d, first_wake_3d
from diffphys.stepping import rollout


def test_its_layers_hold_the_cylinder_of_two_dimensions():
    flow, layer = cylinder_wake_3d(16, 100.0), cylinder_wake(16, 100.0)
    axes, problem = cross_section(flow.pressure_problem())
    assert axes == (0, 1)
    np.testing.assert_array_equal(problem.solid_cells, layer.pressure_problem().solid_cells)
    assert float(flow.viscosity) == pytest.approx(0.061035, rel=1e-5)
    assert flow.grid.spacing == (6.25, 6.25, 6.25)


@pytest.mark.usefixtures("float64")
def test_the_stream_makes_it_three_dimensional_and_without_it_the_span_stays_uniform():
    """What does not vary along z stays that way, to round-off, though each mode of the span is solved by itself."""
    wavy, even = cylinder_wake_3d(8, wave=0.3), cylinder_wake_3d(8, wave=0.0)
    gust = first_wake_3d(even)
    alike = even.initial_state([jnp.broadcast_to(part.values[..., :1], part.shape) for part in gust.velocity])
    run = jax.jit(lambda flow, start: rollout(flow, start, 30)[0].velocity)
    speeds, plain = run(wavy, first_wake_3d(wavy)), run(even, alike)
    assert float(jnp.sqrt(jnp.mean(speeds[2].values ** 2))) > 0.01
    assert float(jnp.max(jnp.abs(plain[0].values))) > 0.1
    assert float(jnp.max(jnp.abs(plain[2].values))) < 1e-13
    assert float(jnp.max(jnp.ptp(plain[0].values, axis=2))) < 1e-13
    for velocity in (speeds, plain):
        assert float(jnp.max(jnp.abs(divergence(velocity).values))) < 1e-13
    z = (np.arange(8) + 0.5) / 8
    entering = np.broadcast_to(1 + 0.3 * np.cos(2 * np.pi * z), (8, 8))
    np.testing.assert_allclose(speeds[1].values[:, 0], entering, rtol=1e-6)


@pytest.mark.slow
def test_vortices_part_soon_after_the_beginning():
    """Two diameters behind the cylinder the flow across the stream turns back and forth, once in 6 D / U or so."""
    flow = cylinder_wake_3d(32)
    behind = jax.jit(lambda start: rollout(flow, start, 400, save_every=2, save=lambda s: s.velocity[0].values[16, 29]))
    _, across = behind(first_wake_3d(flow))
    across = np.asarray(across)[100:]  # after 200 steps
    assert np.all(np.max(across, axis=0) > 0.05) and np.all(np.min(across, axis=0) < -0.05)
    turns = np.sum(across[1:] * across[:-1] < 0, axis=0)
    assert np.all((turns >= 2) & (turns <= 6))  # of 200 units of time; the Strouhal number is 0.1 to 0.3
