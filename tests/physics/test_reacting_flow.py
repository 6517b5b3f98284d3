"""Reacting flow: ignition, mass and mixture fraction to round-off, the constraint, and what it refuses."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp
from diffphys.operators import divergence, interpolate
from diffphys.physics import Gas, Mixture, OneStepReaction
from diffphys.physics.reacting_flow import MIXTURE, ReactingFlow
from diffphys.verification.reacting_flow import IGNITIONS, ignited
from tests.gradients import check_derivatives


pytestmark = pytest.mark.usefixtures("float64")


# The reaction by itself -----------------------------------------------------------------------------------------------


def test_a_homogeneous_mixture_ignites_as_other_solvers_say():
    """Before, in and after ignition, with fourth order: lean until the fuel is burnt, rich until oxygen is short."""
    after = eqx.filter_jit(OneStepReaction().after)
    for start, end in IGNITIONS.values():
        times = np.linspace(0.0, end, 6)
        exact = ignited(times, start)
        assert exact[1, 0] < 1400 and exact[-1, 0] > (2200 if end == 0.04 else 1700), "it ignites in between"
        errors = []
        for steps in (60, 120):
            found = np.stack([np.stack(after(t, Gas(), *start, steps=steps)) for t in times])
            errors.append(np.max(np.abs(found - exact), axis=0))
        assert errors[1][0] < 2e-3 and errors[1][1:].max() < 2e-7, errors
        assert errors[0][0] / errors[1][0] > 10, errors


@pytest.mark.slow
def test_diffrax_says_so_too():
    pytest.importorskip("diffrax")
    for start, end in IGNITIONS.values():
        times = np.linspace(0.0, end, 6)
        np.testing.assert_allclose(ignited(times, start, "Diffrax"), ignited(times, start), rtol=1e-7, atol=1e-8)


def test_no_step_explodes_and_each_keeps_what_is_conserved():
    """Steps of a microsecond and of a year, from ice to a furnace, with fractions that are zero or wrong."""
    t, f, o = np.meshgrid([5.0, 300.0, 1500.0, 6000.0], [-0.1, 0.0, 0.05, 0.9], [-0.1, 0.0, 0.05, 0.22], indexing="ij")
    for reaction in (
        OneStepReaction(),
        OneStepReaction(1e12, 0.0),
        OneStepReaction(fuel_order=0.3, oxidizer_order=1.5),
    ):
        for duration in (1e-6, 1e-2, 3e7):
            found = reaction.after(duration, Gas(), t, f, o)
            consumed = f - np.asarray(found.fuel)
            assert np.all(np.isfinite(found.temperature)) and np.all(consumed >= 0)
            assert np.all(consumed <= np.maximum(np.minimum(f, o / 4), 0) + 1e-15)
            np.testing.assert_allclose(o - found.oxidizer, 4 * consumed, atol=1e-15)
            np.testing.assert_allclose(found.temperature - t, 5.01e7 / 1450 * consumed, atol=1e-9)
    longest = OneStepReaction(1e12, 0.0).after(3e7, Gas(), 300.0, 0.05, 0.22)
    np.testing.assert_allclose([longest.fuel, longest.oxidizer], [0.0, 0.02], atol=1e-12)


def test_the_rate_is_what_its_formula_says_and_zero_without_fuel():
    density = 101325.0 / (8.314462618 * 1500.0 * (0.05 / 0.016 + 0.2 / 0.032 + 0.75 / 0.028))
    omega = 5.1e4 * density * 0.05 / 0.016 * np.sqrt(density * 0.2 / 0.032) * np.exp(-93600 / 8.314462618 / 1500)
    np.testing.assert_allclose(OneStepReaction().rate(Gas(), 1500.0, 0.05, 0.2), 0.016 * omega / density, rtol=1e-12)
    assert (
        float(OneStepReaction().rate(Gas(), 1500.0, 0.0, 0.2))
        == float(OneStepReaction().rate(Gas(), 1500.0, 0.05, -0.1))
        == 0
    )


@pytest.mark.slow
def test_derivatives_of_the_reaction(key):
    point = (OneStepReaction(), Gas(), 1e-3, np.array([1100.0, 1600.0]), np.array([0.04, 0.08]), np.array([0.22, 0.2]))
    point = jax.tree.map(jnp.asarray, point)
    check_derivatives(lambda p: p[0].after(p[2], p[1], *p[3:], steps=2), point, key)


# The flow -------------------------------------------------------------------------------------------------------------


def tube(advection: Any = dp.Upwind(), dt: Any = 1e-3, cells: Any = 8, **settings: Any):  # noqa: B008
    """Closed at the left, open at the right."""
    sides = dict(x=(dp.Wall(), dp.Outflow()))
    settings = {"reaction": OneStepReaction(), "sides": sides} | settings
    return ReactingFlow(dp.Grid((cells,), (2.0,)), 0.1, 0.1, 0.1, dt, advection=advection, **settings)


@pytest.mark.parametrize("advection", [dp.Upwind(), dp.SemiLagrangian()], ids=str)
def test_what_is_homogeneous_burns_as_by_itself_and_flows_out(advection):
    """Nothing but the expansion moves it: temperature as the reaction alone, velocity linear along the tube."""
    flow = tube(advection)
    final, states = dp.rollout(flow, flow.initial_state(1200.0, 0.04, 0.22), 30, save_every=1, save=lambda s: s)
    alone = ignited(np.array([0.0, 0.03]), (1200.0, 0.04, 0.22))[-1]
    for name, value in zip(MIXTURE, alone, strict=True):
        np.testing.assert_allclose(final.scalars[name].values, value, rtol=1e-4, atol=1e-7)
    velocity = np.asarray(states.velocity[0].values)
    peak = velocity[:, -1].argmax()
    assert velocity[peak, -1] > 10
    np.testing.assert_allclose(velocity[peak], np.linspace(0, velocity[peak, -1], 9), rtol=1e-6, atol=1e-6)
    # All the volume that leaves is the expansion: the logarithm of the densities, but for the first order in time.
    left = 1e-3 * velocity[:, -1].sum() / 2.0
    density = flow.gas.density(*(final.scalars[name].values[0] for name in MIXTURE))
    first = flow.gas.density(1200.0, 0.04, 0.22)
    assert abs(left / np.log(first / density) - 1) < 0.05


def burning_box(advection: Any, **settings: Any):
    """A hot spot in a box of fuel that is richer at one side, with walls and an outflow above; all of it moves."""
    grid = dp.Grid((6, 8), (0.6, 0.8))
    sides = dict(x=dp.Wall(slip=True), y=(dp.Wall(), dp.Outflow()))
    flow = ReactingFlow(
        grid, 0.01, 0.02, 0.02, 1e-3, sides, reaction=OneStepReaction(), advection=advection, **settings
    )
    x, y = grid.centers()
    hot = jnp.exp(-((x - 0.3) ** 2 + (y - 0.3) ** 2) / 0.02)
    return flow, flow.initial_state(900.0 + 1100.0 * hot, 0.05 + 0.03 * x * jnp.ones_like(y), 0.2)


def test_mass_and_mixture_fraction_change_only_by_what_flows_out():
    flow, state = burning_box(dp.Upwind())
    state, _ = dp.rollout(flow, state, 5)
    step, heat, h = eqx.filter_jit(flow), eqx.filter_jit(flow.heat_release), 0.1

    def amounts(one):
        density, needed = one.scalars["density"].values, 4.0
        mixed = one.scalars["oxidizer"].values - needed * one.scalars["fuel"].values
        return np.array([np.sum(density), np.sum(density * mixed)]) * h**2, density, density * mixed

    burnt = 0.0
    for _ in range(5):
        before, density, mixed = amounts(state)
        leaving = np.asarray(state.velocity[1].values)[:, -1] * h * 1e-3
        assert np.all(leaving > 0)
        burnt += float(jnp.sum(heat(state)))
        state = step(state)
        after, *_ = amounts(state)
        out = [np.sum(leaving * np.asarray(one)[:, -1]) for one in (density, mixed)]
        np.testing.assert_allclose(before - after, out, rtol=1e-11)
    assert burnt > 1e6, "it burns meanwhile"


@pytest.mark.parametrize(
    "advection", [pytest.param(dp.VanLeer(), marks=pytest.mark.slow), dp.SemiLagrangian()], ids=str
)
def test_the_divergence_is_the_expansion_that_the_page_states(advection):
    """1/T DT/Dt and so on: here from diffusion and reaction alone, of a state whose density fits."""
    flow, state = burning_box(advection)
    flow = dataclasses.replace(flow, dt=1e-7)
    at_rest = flow.initial_state(*(state.scalars[name].values for name in MIXTURE), velocity=(0.0, 0.0))
    later = flow(at_rest)
    density = [flow.gas.density(*(one.scalars[name].values for name in MIXTURE)) for one in (at_rest, later)]
    expected = -(np.log(density[1]) - np.log(density[0])) / 1e-7
    found = divergence(later.velocity).values
    assert np.max(expected) > 50
    np.testing.assert_allclose(found, expected, atol=1e-3 * np.max(np.abs(expected)))


def test_what_a_network_heats_expands_in_the_next_step():
    for advection in (dp.SemiLagrangian(), dp.Upwind()):
        flow = tube(advection, reaction=None)
        state = flow.initial_state(1000.0)
        heated = state.scalars["temperature"].values * 1.1
        state = dataclasses.replace(
            state, scalars={**state.scalars, "temperature": state.scalars["temperature"].with_values(heated)}
        )
        first = eqx.filter_jit(flow)(state)
        np.testing.assert_allclose(divergence(first.velocity).values, (1 - 1 / 1.1) / 1e-3, rtol=1e-6)
        third = jax.jit(lambda first, flow=flow: flow(flow(first)))(first)
        assert float(jnp.max(jnp.abs(third.velocity[0].values))) < 1e-6, "once"


def test_the_momentum_without_divergence_is_a_switch():
    flow, state = burning_box(dp.SemiLagrangian(), constraint="momentum")
    state, _ = dp.rollout(flow, state, 3)
    momentum = []
    for axis, part in enumerate(state.velocity):
        volume = state.scalars["density"].with_values(1 / state.scalars["density"].values)
        volume = interpolate(volume, tuple(0.0 if a == axis else 0.5 for a in range(2)))
        momentum.append(part.with_values(part.values / volume.values))
    assert float(jnp.max(jnp.abs(divergence(momentum).values))) < 1e-9
    frozen, state = burning_box(dp.SemiLagrangian(), constraint="frozen")
    later, _ = dp.rollout(frozen, state, 3)
    np.testing.assert_array_equal(later.velocity[1].values, state.velocity[1].values)
    assert float(jnp.max(later.scalars["temperature"].values)) > 2000


@pytest.mark.slow
def test_what_enters_is_a_profile_and_a_function_of_time():
    grid = dp.Grid((4, 6), (0.4, 0.6))
    profile = jnp.array([900.0, 700.0, 500.0, 400.0])
    entering = Mixture(lambda time: profile + 1e5 * time, fuel=jnp.array([0.0, 0.1, 0.2, 0.3]), oxidizer=0.1)
    sides = dict(x=dp.Wall(slip=True), y=(dp.Inflow(lambda time: 1.0 + 100 * time), dp.Outflow()))
    flow = ReactingFlow(grid, 0.0, 0.0, 0.0, 1e-3, sides, dict(y=(entering, None)), advection=dp.Upwind())
    start = flow.initial_state(600.0, 0.05, 0.1)
    after = flow(start)
    np.testing.assert_allclose(after.velocity[1].values[:, 0], 1.1, rtol=1e-12)
    # One Euler step: what was there and what came in, by mass.
    outside = flow.gas.density(profile + 100.0, entering.fuel, 0.1)
    inside = flow.gas.density(600.0, 0.05, 0.1)
    came, left = 1e-2 * outside, 1e-2 * inside
    fuel = (inside * 0.05 + came * entering.fuel - left * 0.05) / (inside + came - left)
    np.testing.assert_allclose(after.scalars["fuel"].values[:, 0], fuel, rtol=1e-6)
    np.testing.assert_allclose(after.scalars["fuel"].values[:, 2:], 0.05, rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, dict(constraint="momentum")], ids=str)
def test_derivatives(settings, key):
    """Of every number, of what enters, and of the state."""
    grid = dp.Grid((3, 4), (0.3, 0.4))
    sides = dict(x=dp.Wall(), y=(dp.Inflow(3.0), dp.Outflow()))
    flow = ReactingFlow(
        grid, 0.1, 0.1, 0.1, 1e-3, sides, Mixture(900.0, 0.05, 0.2), reaction=OneStepReaction(), **settings
    )
    random = np.random.default_rng(0)
    state = flow.initial_state(*(np.array([1500, 0.04, 0.15])[:, None, None] * random.uniform(0.8, 1.2, (3, 3, 4))))
    check_derivatives(lambda p: (p[0](p[1]), p[0].heat_release(p[1])), (flow, state), key, second=False)


def test_changing_a_number_compiles_nothing_anew():
    traces = []

    @jax.jit
    def advanced(flow, state):
        traces.append(1)
        return flow(state)

    flow = tube()
    state = flow.initial_state(np.linspace(1000.0, 1500.0, 8), np.linspace(0.02, 0.05, 8), 0.22)
    results = [advanced(flow, state)]
    for name in ("viscosity", "diffusivity", "thermal_diffusivity", "dt"):
        results.append(advanced(dataclasses.replace(flow, **{name: 0.9 * float(getattr(flow, name))}), state))
    results.append(advanced(dataclasses.replace(flow, reaction=OneStepReaction(4e4)), state))
    results.append(advanced(dataclasses.replace(flow, gas=Gas(1e5)), state))
    assert len(traces) == 1
    values = [np.concatenate([one.scalars["fuel"].values, one.velocity[0].values]) for one in results]
    assert all(np.abs(one - values[0]).max() > 1e-9 for one in values[2:])


def test_float32_keeps_its_type_and_an_unstable_run_says_so():
    sides = dict(x=(dp.Inflow(200.0), dp.Outflow()))
    flow = tube(dt=0.05, reaction=None, cells=4, sides=sides, entering=Mixture(400.0))
    state = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), flow.initial_state(300.0))
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(eqx.filter_eval_shape(flow, state)))
    *_, outcome = dp.rollout(flow, state, 100, outcome=True)
    assert int(outcome.first_not_finite) >= 0 and float(outcome.courant_number) > 1


@pytest.mark.usefixtures("unchecked_types")
def test_bad_input_is_refused_by_name():
    inflow = dict(x=(dp.Inflow(1.0), dp.Outflow()))
    for words, settings in (
        ("dt is 0.2; with this diffusivity and spacing at most 0.156", dict(dt=0.2)),
        ("constraint is 'sound'", dict(constraint="sound")),
        ("advection is .*SkewSymmetric", dict(advection=dp.SkewSymmetric())),
        ("reaction is 1; OneStepReaction", dict(reaction=1)),
        ("reaction_steps is 0; a whole number", dict(reaction_steps=0)),
        ("reaction_steps is True; a whole number", dict(reaction_steps=True)),
        ("pressure_solver is 3; a function", dict(pressure_solver=3)),
        ("leave heated gas no way out; an Outflow", dict(sides=dp.Wall())),
        ("leave heated gas no way out; an Outflow", dict(sides=dp.Periodic())),
        ("axis x has an Inflow.* a Mixture", dict(sides=inflow)),
        ("entering is 300.0; a Mixture", dict(sides=inflow, entering=300.0)),
        ("fuel has shape", dict(sides=inflow, entering=Mixture(300.0, np.ones(3) / 4))),
        (
            "sides let 3 .* in and nothing out; an Outflow",
            dict(sides=dict(x=(dp.Inflow(1.0), dp.Inflow(2.0))), entering=Mixture(300.0), constraint="momentum"),
        ),
        ("an Outflow.* has a pressure", dict(sides=dict(x=(dp.Wall(), dp.Outflow(1.0))))),
    ):
        with pytest.raises(dp.InputError, match=f"ReactingFlow: .*{words}"):
            tube(**settings)
    for words, arguments in (
        ("temperature is 20 K; 100 to 6000 K", (20.0,)),
        ("the mass fraction fuel is -0.1; 0 to 1", (300.0, -0.1)),
        ("the mass fraction oxidizer is 1.2", (300.0, 0.0, np.array([0.0, 1.2]))),
        ("fuel and oxidizer are 1.1 of the mass", (300.0, 0.5, 0.6)),
    ):
        with pytest.raises(dp.InputError, match=f"Mixture: {words}"):
            Mixture(*arguments)
    with pytest.raises(dp.InputError, match="initial_state: temperature is 9000 K"):
        tube().initial_state(9000.0)
    with pytest.raises(dp.InputError, match="initial_state: fuel has shape"):
        tube().initial_state(300.0, np.ones(3))
    tube(sides=dp.Periodic(), constraint="momentum")
