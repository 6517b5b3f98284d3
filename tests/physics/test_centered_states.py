"""A state at the cell centers, and back on the faces."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp
from tests.gradients import check_derivatives


pytestmark = pytest.mark.usefixtures("float64")


def box(cells=(8, 7), **settings):
    return dp.IncompressibleFlow(
        dp.Grid(cells, (1.0, 2.0)), 0.01, 0.02, dp.Periodic(), scalars={"dye": dp.PassiveScalar()}, **settings
    )


def random_state(flow, steps=1):
    generator = np.random.default_rng(0)
    velocity = [generator.standard_normal(part.shape) for part in flow.initial_state().velocity]
    state = flow.initial_state(velocity, {name: generator.random(flow.grid.cells) for name in flow.scalars})
    return dp.rollout(flow, state, steps)[0]


@pytest.mark.parametrize("stepping", [dp.Splitting(), dp.RungeKutta(2)])
def test_a_round_trip_in_a_periodic_box_loses_nothing(stepping):
    """Of an odd and an even number of cells, all of the state: the next step is the same."""
    flow = box(stepping=stepping)
    state = random_state(flow)
    centered = flow.at_centers(state)
    assert all(part.offset == (0.5, 0.5) and part.shape == flow.grid.cells for part in centered.velocity)
    again = flow.at_faces(centered)
    assert jax.tree.structure(again) == jax.tree.structure(state)
    for old, new in zip(jax.tree.leaves(state), jax.tree.leaves(again), strict=True):
        np.testing.assert_allclose(new, old, rtol=0, atol=1e-13)
    step = eqx.filter_jit(flow)
    for old, new in zip(jax.tree.leaves(step(state)), jax.tree.leaves(step(again)), strict=True):
        np.testing.assert_allclose(new, old, rtol=0, atol=1e-12)


def test_a_vortex_has_its_exact_values_at_the_centers():
    """Taylor and Green's, resolved by a few cells: to round-off, while means of faces lose percents."""
    flow = box((6, 5))

    def vortex(offset):
        x, y = (
            2 * np.pi * line / size
            for line, size in zip(flow.grid.coordinates(offset, (True, True)), flow.grid.size, strict=True)
        )
        return jnp.sin(x) * jnp.cos(y), -2 * jnp.cos(x) * jnp.sin(y)

    start = flow.initial_state([vortex((0.0, 0.5))[0], vortex((0.5, 0.0))[1]])
    # The discrete projection of a wave is a multiple of it in each component.
    for part, wave in zip(flow.at_centers(start).velocity, vortex((0.5, 0.5)), strict=True):
        ratio = jnp.vdot(wave, part.values) / jnp.vdot(wave, wave)
        np.testing.assert_allclose(part.values, ratio * wave, atol=1e-14)
        np.testing.assert_allclose(ratio, 1.0, atol=0.1)


def test_between_walls_a_round_trip_is_of_fourth_order_and_without_divergence():
    errors = []
    for count in (16, 32):
        flow = dp.IncompressibleFlow(dp.Grid((count, count), (1.0, 1.0)), 0.01, 1e-4, dp.Wall())
        x, y = (np.pi * np.linspace(0, 1, count + 1) for _ in range(2))
        stream = np.sin(x)[:, None] ** 2 * np.sin(y) ** 2
        start = flow.initial_state([np.diff(stream, axis=1) * count, -np.diff(stream, axis=0) * count])
        again = flow.at_faces(flow.at_centers(start))
        assert float(jnp.max(jnp.abs(flow.divergence(again).values))) < 1e-12
        for axis, part in enumerate(again.velocity):
            assert not np.any(np.take(part.values, [0, -1], axis))  # the walls
        pairs = zip(again.velocity, start.velocity, strict=True)
        errors.append(max(float(jnp.max(jnp.abs(new.values - old.values))) for new, old in pairs))
    assert errors[0] / errors[1] > 2**3.5, errors


def test_derivatives_through_centers_and_back(key):
    """What a network would do in between: something to each value there."""
    flow = box((4, 3))
    state = random_state(flow)

    def changed(values):
        centered = flow.at_centers(state)
        velocity = tuple(part.with_values(part.values * (1 + 0.1 * values)) for part in centered.velocity)
        return [part.values for part in flow.at_faces(dataclasses.replace(centered, velocity=velocity)).velocity]

    check_derivatives(jax.jit(changed), jnp.asarray(np.random.default_rng(1).random((4, 3))), key, second=False)


@pytest.mark.usefixtures("unchecked_types")
def test_a_state_keeps_its_type_its_time_and_its_place():
    flow = box((4, 3))
    single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), random_state(flow))
    again = flow.at_faces(flow.at_centers(single))
    assert {leaf.dtype for leaf in jax.tree.leaves(again)} == {jnp.dtype(jnp.float32)}
    assert again.time == single.time and float(again.time) > 0
    with pytest.raises(dp.InputError, match="offset"):
        flow(flow.at_centers(single))
    with pytest.raises(dp.InputError, match="another grid"):
        flow.at_centers(random_state(box((4, 4))))
    with pytest.raises(dp.InputError, match="offset"):
        flow.at_centers(flow.at_centers(single))
    with pytest.raises(dp.InputError, match="FlowState"):
        flow.at_faces(single.velocity)
