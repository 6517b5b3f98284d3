"""Time in single precision: right to its last digit after any number of steps, in every system that carries it."""

import dataclasses
from fractions import Fraction
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import diffphys as dp
import diffphys.physics
from diffphys.runs import load_checkpoint, save_checkpoint
from diffphys.stepping.clock import later


@jax.jit
def ticked(time, remainder, durations, steps):
    """The clock after many steps, whose durations change in turn."""

    def tick(index, clock):
        return later(clock[0], clock[1], durations[index % durations.shape[0]])

    return jax.lax.fori_loop(0, steps, tick, (time, remainder))


def as_fraction(value) -> Fraction:
    return Fraction(float(value))


def assert_nearest(time, exact: Fraction, digits_of: Fraction = Fraction(0)):
    """The time is the exact one to half the spacing of single precision there, and a hair."""
    spacing = np.spacing(np.float32(max(abs(float(exact)), float(digits_of))))
    assert abs(as_fraction(time) - exact) <= Fraction(float(spacing)) * Fraction(51, 100)


@pytest.mark.parametrize("start, dt, steps", [(0.0, 1e-2, 10**5), (4096.0, 1e-4, 10**5), (1e5, 1e-3, 10**5)])
def test_steps_add_up(start, dt, steps):
    start, dt = jnp.float32(start), jnp.float32(dt)
    time, remainder = ticked(start, jnp.float32(0.0), dt[None], steps)
    exact = as_fraction(start) + steps * as_fraction(dt)
    assert_nearest(time, exact)
    assert abs(as_fraction(time) + as_fraction(remainder) - exact) < 1e-9 * exact


def test_ten_million_steps_add_up():
    time, _ = ticked(jnp.float32(0.0), jnp.float32(0.0), jnp.float32(0.01)[None], 10**7)
    assert_nearest(time, 10**7 * as_fraction(jnp.float32(0.01)))
    np.testing.assert_allclose(time, 1e5, rtol=1e-7)


lengths = st.floats(2.0**-20, 2.0**10, width=32)


@given(st.floats(-(2.0**20), 2.0**20, width=32), st.lists(lengths, min_size=4, max_size=4), st.integers(0, 2000))
def test_any_steps_add_up(start, durations, steps):
    """Steps longer and shorter than the spacing, from negative times through zero, of changing length."""
    time, _ = ticked(jnp.float32(start), jnp.float32(0.0), jnp.asarray(durations, jnp.float32), steps)
    exact, largest = Fraction(start), abs(Fraction(start))
    for index in range(steps):
        exact += Fraction(float(np.float32(durations[index % 4])))
        largest = max(largest, abs(exact))
    # Where the sum passes through zero, the digits are those of twice single precision at the largest time.
    assert_nearest(time, exact, largest * Fraction(1, 10**6))


def test_derivatives_are_those_of_the_sum():
    def end(start, durations):
        return jax.lax.scan(
            lambda clock, duration: (later(*clock, duration), None), (start, jnp.zeros_like(start)), durations
        )[0][0]

    start, durations = jnp.float32(3000.0), jnp.full(500, 1e-4, jnp.float32)
    to_start, to_durations = jax.jit(jax.grad(end, (0, 1)))(start, durations)
    assert float(to_start) == 1.0
    np.testing.assert_array_equal(to_durations, 1.0)
    assert float(jax.jvp(end, (start, durations), (0.0, jnp.ones_like(durations)))[1]) == 500.0


def test_a_time_that_is_set_is_taken_as_it_is():
    """What was left out of another time is no part of it."""
    time, remainder = ticked(jnp.float32(1e6), jnp.float32(0.0), jnp.float32(0.01)[None], 7)
    assert float(remainder) != 0.0
    assert float(later(jnp.float32(0.25), remainder, 0.5)[0]) == 0.75


def shaken(time):
    """An inflow that swings once in each unit of time."""
    return jnp.sin(2 * jnp.pi * time)


NAMES = [
    *("splitting", "Runge-Kutta", "buoyancy", "SubSteps"),
    pytest.param("implicit-explicit", marks=pytest.mark.slow),
]


def flows() -> dict[str, Any]:
    grid = dp.Grid((4, 4))
    settings: dict[str, Any] = dict(viscosity=0.0, dt=0.01)
    settings["sides"] = dict(x=(dp.Inflow(shaken), dp.Outflow()), y=dp.Wall(slip=True))
    scalars = {"smoke": dp.PassiveScalar()}
    split = dp.IncompressibleFlow(grid, scalars=scalars, **settings)
    stages = dp.IncompressibleFlow(grid, scalars=scalars, **settings, stepping=dp.RungeKutta(2))
    return {
        "splitting": split,
        "Runge-Kutta": stages,
        "implicit-explicit": dataclasses.replace(stages, stepping=dp.ImplicitExplicit(3)),
        "buoyancy": dataclasses.replace(stages, forces=(dp.Buoyancy("smoke", (0.0, 1e-3)),)),
        "SubSteps": dp.SubSteps(split, courant=0.004, largest=2),
    }


@pytest.mark.parametrize("name", NAMES)
def test_an_inflow_sees_the_right_time(name):
    """After many steps it swings as at first; a unit of time holds a whole number of steps."""
    flow = flows()[name]
    inner = flow.flow if hasattr(flow, "flow") else flow
    # A plain sum of 0.01 stands 0.67 too high after 1000 units of time; at 4096 short steps change nothing.
    steps = 1500
    for start, dt in ((990.0, 0.01), (4096.0, 1e-4)):
        step = dataclasses.replace(inner, dt=dt)
        step = step if inner is flow else dataclasses.replace(flow, flow=step)
        state = dataclasses.replace(inner.initial_state(), time=jnp.float32(start))
        final, _ = dp.rollout(step, state, steps, adjoint=dp.StoreAll())
        exact = start + steps * float(np.float32(dt))
        np.testing.assert_allclose(final.time, exact, rtol=6.1e-8)
        tolerance = 2 * np.pi * float(np.spacing(np.float32(start)))  # of the time and of its product with two pi
        entering = final.velocity[0].values[0]
        np.testing.assert_allclose(entering, np.sin(2 * np.pi * exact), atol=2 * tolerance)


def test_an_inflow_is_right_after_a_hundred_thousand_steps():
    flow = flows()["splitting"]
    final, _ = dp.rollout(flow, flow.initial_state(), 10**5, adjoint=dp.StoreAll())
    np.testing.assert_allclose(final.time, 1000.0, rtol=6.1e-8)
    np.testing.assert_allclose(final.velocity[0].values[0], 0.0, atol=1e-3)


@pytest.mark.parametrize("name", ("splitting", "Runge-Kutta"))
def test_a_step_keeps_its_time_and_has_its_derivative(name):
    """A step with another `dt` in each of two parts; what a state without a remainder is."""
    flow = flows()[name]
    start = flow.initial_state()
    made = dp.FlowState(start.velocity, start.pressure, start.scalars, jnp.float32(2048.0))
    assert jax.tree.structure(made) == jax.tree.structure(start) and float(made.time_remainder) == 0.0

    def end(dt):
        first, _ = dp.rollout(dataclasses.replace(flow, dt=dt), made, 40)
        return dp.rollout(dataclasses.replace(flow, dt=dt / 2), first, 60)[0].time

    time, slope = jax.value_and_grad(end)(jnp.float32(2e-4))
    np.testing.assert_allclose(time, 2048.0 + 70 * 2e-4, rtol=6.1e-8)
    assert float(slope) == 70.0


@pytest.mark.usefixtures("unchecked_types")
def test_axes_for_vmap_are_written_like_a_state():
    flow = flows()["splitting"]
    states = jax.vmap(lambda time: dataclasses.replace(flow.initial_state(), time=time))(jnp.asarray([0.0, 0.25]))
    none: Any = None
    axes = dp.FlowState(none, none, none, 0)  # pyright: ignore[reportArgumentType]
    states = eqx.tree_at(lambda state: (state.velocity, state.pressure, state.scalars), states, (none, none, none))
    found = jax.vmap(lambda state: state.after(0.5), in_axes=(axes,))(states)
    np.testing.assert_allclose(found, [0.5, 0.75])


def test_a_state_of_an_older_file_is_read(tmp_path):
    """Files from before states kept a remainder: it is zero; nothing else may be missing."""
    state = dataclasses.replace(flows()["splitting"].initial_state(), time=jnp.float32(1.5))
    path = tmp_path / "state.checkpoint"

    class State(eqx.Module):  # the leaves that a state had then, by the same names
        velocity: Any
        pressure: Any
        scalars: Any
        time: Any

    older = State(state.velocity, state.pressure, state.scalars, state.time)
    save_checkpoint(path, {"state": older}, kind="state")
    for like in (state, jax.eval_shape(lambda: state)):
        found = load_checkpoint(path, {"state": like})["state"]
        assert jax.tree.structure(found) == jax.tree.structure(state)
        assert float(found.time) == 1.5 and float(found.time_remainder) == 0.0
        np.testing.assert_array_equal(found.velocity[0].values, state.velocity[0].values)
    save_checkpoint(path, {"state": {"velocity": older.velocity}}, kind="state")
    with pytest.raises(dp.InputError, match="fit"):
        load_checkpoint(path, {"state": state})
