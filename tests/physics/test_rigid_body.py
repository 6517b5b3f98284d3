"""A rigid body and the flow around it, each moving the other."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp
from diffphys.verification.rigid_body import added_mass, faxen_drag, lattice_added_mass, settling_speed


DENSITIES = (0.1, 1.0, 10.0)


def _swirling(cells: int, density: float, **settings):
    """A body amid vortices in a periodic box, across whose side it lies."""
    grid = dp.Grid((cells, cells), (2.0, 2.0))
    flow = dp.IncompressibleFlow(grid, 0.01, 0.02, dp.Periodic(), stepping=dp.RungeKutta(3))
    step = dp.RigidBodyFlow(flow, dp.RigidBody.disk(0.3, density), **settings)
    wave = jnp.sin(jnp.pi * (jnp.arange(cells) + 0.5) * 2 / cells)
    start = flow.initial_state((0.5 * wave[None, :] * jnp.ones((cells, 1)), 0.5 * wave[:, None] * jnp.ones((1, cells))))
    return step, step.initial_state((1.9, 1.1), velocity=(0.4, 0.2), rotation_rate=1.0, flow=start)


def test_momentum_of_fluid_and_body_is_conserved_and_their_energy_falls(float64):
    step, start = _swirling(24, 1.0)

    @jax.jit
    def measured(density):
        own = dataclasses.replace(step, body=dp.RigidBody.disk(0.3, density))

        def report(state):
            divergence = jnp.max(jnp.abs(own.flow.divergence(state.flow).values))
            return own.momentum(state), own.kinetic_energy(state), divergence

        return report(start), dp.rollout(own, start, 60, save_every=1, save=report)[1]

    for density in DENSITIES:
        (momentum, energy, _), (momenta, energies, divergences) = measured(density)
        np.testing.assert_allclose(momenta, np.broadcast_to(momentum, momenta.shape), atol=1e-13)
        assert np.all(np.append(energy, energies)[1:] < np.append(energy, energies)[:-1])
        assert np.max(divergences) < 1e-8


@pytest.mark.slow
def test_a_pushed_cylinder_has_the_added_mass_of_the_box_whatever_its_density(float64):
    exact = lattice_added_mass(0.15)
    errors = [[added_mass(cells, density) / exact - 1 for density in DENSITIES] for cells in (16, 32)]
    np.testing.assert_allclose(errors[1], errors[1][0], atol=1e-4)
    assert np.max(np.abs(errors[1])) < 0.015
    assert np.min(np.abs(errors[0])) > 2.5 * np.max(np.abs(errors[1]))  # from 32 to 64 cells it is 4.3


@pytest.mark.slow
def test_terminal_speed_between_walls_is_that_of_faxen_for_light_and_heavy_bodies(float64):
    speeds = [settling_speed(16, density) for density in (0.1, 2.0)]  # 3.2 cells along the diameter
    np.testing.assert_allclose(speeds, speeds[0], rtol=0.01)
    np.testing.assert_allclose(speeds, 1.0, atol=0.2)


@pytest.mark.slow
def test_terminal_speed_converges(float64):
    coarse, fine = (abs(settling_speed(cells, 0.1) - 1) for cells in (16, 32))
    assert fine < 0.06
    assert coarse > 2.3 * fine


def test_faxen_drag_is_that_of_wide_channels():
    k = 1e-3  # there the series is ln(W / D) - 0.9157
    np.testing.assert_allclose(4 * np.pi / faxen_drag(k), np.log(1 / k) - 0.9157, rtol=1e-5)


def test_a_body_in_a_uniform_stream_goes_along_with_it(float64):
    grid = dp.Grid((16, 16), (1.0, 1.0))
    flow = dp.IncompressibleFlow(grid, 0.01, 0.01, dp.Periodic(), stepping=dp.RungeKutta(3))
    step = dp.RigidBodyFlow(flow, dp.RigidBody.box((0.3, 0.4), 0.5))
    start = step.initial_state((0.5, 0.5), 0.3, velocity=(1.0, 0.5), flow=flow.initial_state((1.0, 0.5)))
    final, _ = dp.rollout(step, start, 70)
    np.testing.assert_allclose(final.position, [1.2, 0.85], atol=1e-12)
    np.testing.assert_allclose(final.velocity, [1.0, 0.5], atol=1e-12)
    np.testing.assert_allclose(final.rotation_rate, 0.0, atol=1e-11)


def test_a_disk_turns_by_its_own_inertia_alone_and_one_that_does_not_turn_stays(float64):
    grid = dp.Grid((32, 32), (2.0, 2.0))
    flow = dp.IncompressibleFlow(grid, 0.0, 1e-6, dp.Wall(slip=True), stepping=dp.RungeKutta(1))
    disk = dp.RigidBody.disk(0.4, 0.5)
    for turns, rate in ((True, 1 / disk.moment), (False, 0.0)):
        step = dp.RigidBodyFlow(flow, dataclasses.replace(disk, turns=turns))
        after = eqx.filter_jit(step)(step.initial_state((1.0, 1.0)), dp.RigidBodyInput(torque=1e6))
        np.testing.assert_allclose(after.rotation_rate, rate, rtol=0.02)  # 6 cells along the radius
        np.testing.assert_allclose(after.velocity, 0.0, atol=1e-3 * float(1 / disk.moment))


def _small():
    grid = dp.Grid((12, 12), (1.2, 1.2))
    flow = dp.IncompressibleFlow(
        grid, 0.02, 0.02, dict(x=(dp.Inflow(0.3), dp.Outflow()), y=dp.Wall()), stepping=dp.RungeKutta(2)
    )
    step = dp.RigidBodyFlow(flow, dp.RigidBody.box((0.5, 0.2), 0.3), (0.1, -0.3), tolerance=1e-13)
    return step, step.initial_state((0.53, 0.61), 0.2)


def _outcome(numbers):
    """What five steps lead to, from controls and a place."""
    step, start = _small()
    start = dataclasses.replace(start, position=start.position + numbers[:2])

    def controlled(state):
        return step(state, dp.RigidBodyInput(force=numbers[2:4], torque=numbers[4]))

    final, _ = dp.rollout(controlled, start, 5)
    return jnp.concatenate([final.position, final.velocity, final.angle[None], final.rotation_rate[None]])


@pytest.mark.slow
def test_taylor_remainder_has_slope_two_and_both_modes_agree(float64):
    numbers, direction = jnp.zeros(5), jnp.array([0.02, -0.03, 0.5, 0.3, 0.1])
    loss = jax.jit(lambda numbers: jnp.sum(jnp.sin(_outcome(numbers))))
    value, gradient = jax.jit(jax.value_and_grad(loss))(numbers)
    slope = gradient @ direction
    sizes = 10.0 ** -np.arange(3.0, 6.0)
    remainders = [float(abs(loss(numbers + size * direction) - value - size * slope)) for size in sizes]
    np.testing.assert_allclose(np.diff(np.log10(remainders)), -2.0, atol=0.2)
    tangent = jax.jit(lambda d: jax.jvp(loss, (numbers,), (d,))[1])(direction)
    np.testing.assert_allclose(tangent, slope, rtol=1e-8)


def test_changing_a_number_compiles_nothing_anew():
    step, start = _small()
    step = dataclasses.replace(step, tolerance=None)
    traces = []

    @eqx.filter_jit
    def advance(step, state, given):
        traces.append(None)
        return step(state, given)

    for density in (0.3, 2.0):
        own = dataclasses.replace(step, body=dp.RigidBody.box((0.5, 0.2), density), gravity=(0.0, -density))
        after = advance(own, start, dp.RigidBodyInput((density, 0.0), 0.1))
        assert np.all(np.isfinite(after.velocity))
    assert len(traces) == 1


def test_a_body_that_leaves_the_domain_makes_the_state_nan_as_rollout_reports():
    step, start = _small()
    step = dataclasses.replace(step, tolerance=None)

    def away(state):
        return step(state, dp.RigidBodyInput(force=(0.0, 3.0)))

    *_, outcome = dp.rollout(away, start, 60, outcome=True)
    assert 0 < int(outcome.first_not_finite) < 60


def _refusals():
    flow = _small()[0].flow
    disk = dp.RigidBody.disk(0.2, 0.5)
    step = dp.RigidBodyFlow(flow, disk)
    solid = dataclasses.replace(flow, solid=dp.Immersed(dp.Sphere((0.6, 0.6), 0.2)))
    state = step.initial_state((0.6, 0.6))
    return {
        "solid": lambda: dp.RigidBodyFlow(solid, disk),
        "stepping": lambda: dp.RigidBodyFlow(dataclasses.replace(flow, stepping=dp.Splitting()), disk),
        "gravity": lambda: dp.RigidBodyFlow(flow, disk, gravity=(1.0, 2.0, 3.0)),
        "tolerance": lambda: dp.RigidBodyFlow(flow, disk, tolerance=2.0),
        "mass": lambda: dp.RigidBody.disk(0.2, 0.01),
        "lengths": lambda: dp.RigidBody.box((0.2, 0.3, 0.1), 1.0),
        "not within the domain": lambda: step.initial_state((0.1, 0.6)),
        "velocity has shape": lambda: step.initial_state((0.6, 0.6), velocity=(1.0, 2.0, 3.0)),
        "position": lambda: step.initial_state((np.nan, 0.6)),
        "force has shape": lambda: step(state, dp.RigidBodyInput(force=(1.0, 2.0, 3.0))),
        "torque has shape": lambda: step(state, dp.RigidBodyInput(torque=(1.0, 2.0))),
        "RigidBodyInput": lambda: step(state, (1.0, 2.0)),  # pyright: ignore[reportArgumentType] (refused)
    }


@pytest.mark.parametrize("word", _refusals())
def test_a_mistake_is_refused_in_a_sentence(word):
    with pytest.raises(dp.InputError, match=word):
        _refusals()[word]()
