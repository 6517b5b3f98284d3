"""A step beyond the bound of explicit diffusion, seen where it cannot be refused: viscosity or dt are traced."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp
from diffphys.stepping import SubSteps


pytestmark = pytest.mark.usefixtures("float64")

GRID = dp.Grid((4, 6), (1.0, 3.0))
PERIODIC = ((dp.Periodic(), dp.Periodic()),) * 2
BOARD = np.indices(GRID.cells).sum(0) % 2 * 2.0 - 1  # the fastest mode: its decay is what bounds the step
LONGEST = 1 / (2 * (4**2 + 2**2))  # of Euler's method, with diffusivity 1
FACTORS = np.array([0.5, 0.98, 1.02, 3.0])


def growth(step, state, values):
    """How the fastest mode has grown after 40 steps, and the outcome; as a value of a compiled program."""
    final, _, outcome = dp.rollout(step, state, 40, outcome=True)
    return jnp.max(jnp.abs(values(final))) / jnp.max(jnp.abs(values(state))), outcome


def heat(stepping):
    def run(factor):
        system = dp.Heat(GRID, factor, LONGEST * stepping.real_axis / 2, PERIODIC, stepping)
        return growth(system, system.initial_state(BOARD), lambda field: field.values)

    return run


def burgers(factor):
    system = dp.Burgers(GRID, 1.0, factor * LONGEST, PERIODIC)
    return growth(system, system.initial_state((1e-30 * BOARD, 0.0)), lambda state: state[0].values)


def gray_scott(factor):
    system = dp.GrayScott(GRID, 0.3, factor, 0.0, 0.0, LONGEST, PERIODIC)
    return growth(system, system.initial_state(0.0, 1e-30 * BOARD), lambda state: state.activator.values)


def carried(stepping, advection=None):
    """A scalar that spreads faster than momentum, in a fluid at rest."""

    def run(factor):
        flow = dp.IncompressibleFlow(
            GRID,
            0.1,
            LONGEST * stepping.real_axis / 2,
            dp.Periodic(),
            scalars={"dye": dp.PassiveScalar(factor)},
            stepping=stepping,
            advection=advection,
        )
        state = flow.initial_state(scalars={"dye": BOARD})
        return growth(flow, state, lambda state: state.scalars["dye"].values)

    return run


@pytest.mark.parametrize(
    "run",
    [
        *[heat(dp.RungeKutta(order)) for order in (1, 3, 4)],
        burgers,
        gray_scott,
        carried(dp.Splitting()),
        pytest.param(carried(dp.RungeKutta(3)), marks=pytest.mark.slow),
    ],
)
def test_the_fastest_mode_grows_where_the_diffusion_number_exceeds_one(run):
    """With numbers that are traced, in a batch: all are finite, and yet it is seen which are unstable."""
    grown, outcome = jax.jit(jax.vmap(run))(FACTORS)
    np.testing.assert_allclose(outcome.diffusion_number, FACTORS, rtol=1e-12)
    np.testing.assert_array_equal(np.asarray(grown) > 1, FACTORS > 1)
    np.testing.assert_array_equal(outcome.first_not_finite, -1)
    np.testing.assert_array_equal(outcome.courant_number, -1.0)


def test_a_number_that_can_be_refused_is_the_bound_itself():
    """The flow at the bound is accepted, of second order and of fourth, and its number is one."""
    for advection, longest in ((dp.SkewSymmetric(2), 1.0), (dp.SkewSymmetric(4), 4 / (7 / 3) ** 2)):
        dt, stepping = longest * LONGEST, dp.RungeKutta(2)
        flow = dp.IncompressibleFlow(GRID, 1.0, dt, dp.Periodic(), advection=advection, stepping=stepping)
        np.testing.assert_allclose(flow.diffusion_number(flow.initial_state()), 1.0, rtol=1e-12)
        with pytest.raises(dp.InputError, match="dt is"):
            dataclasses.replace(flow, viscosity=1.001)


def test_a_method_that_is_implicit_has_no_bound():
    for stepping in (dp.ImplicitExplicit(2), dp.ImplicitExplicit(4)):
        assert float(dp.Heat(GRID, 1.0, 1e3 * LONGEST, PERIODIC, stepping).diffusion_number()) == 0.0
        flow = dp.IncompressibleFlow(GRID, 1.0, 1e3 * LONGEST, dp.Periodic(), stepping=stepping)
        assert float(flow.diffusion_number(flow.initial_state())) == 0.0
    still = dp.Heat(GRID, 0.0, 1.0, PERIODIC)
    assert float(still.diffusion_number()) == 0.0


def test_sub_steps_are_within_the_bound_of_diffusion():
    """A step of 2.5 times the bound is three sub-steps, each member of a batch with its own number of them."""
    system = dp.Heat(GRID, 1.0, LONGEST, PERIODIC)
    start = system.initial_state(BOARD)

    def run(diffusivity):
        split = SubSteps(dataclasses.replace(system, diffusivity=diffusivity), dt=2.5 * LONGEST, largest=4)
        final, _, outcome = dp.rollout(split, start, 1, outcome=True)
        return split.count(start), outcome.diffusion_number, final.values

    diffusivities = np.array([0.2, 0.4, 1.0, 3.0])
    counts, numbers, finals = jax.jit(jax.vmap(run))(diffusivities)
    np.testing.assert_array_equal(counts, [1, 1, 3, 4])
    np.testing.assert_allclose(numbers, [0.5, 1.0, 2.5 / 3, 7.5 / 4], rtol=1e-12)  # 4 are not enough for the last
    for number, count, final in zip(numbers, counts, finals, strict=True):
        np.testing.assert_allclose(final, (1 - 2 * number) ** int(count) * BOARD, rtol=1e-12)


def test_sub_steps_of_a_flow_look_at_both_numbers():
    flow = dp.IncompressibleFlow(GRID, 1.0, 0.5 * LONGEST, dp.Periodic())
    slow, fast = flow.initial_state((1.0, 0.0)), flow.initial_state((35.0, 0.0))
    split = SubSteps(flow, courant=1.0, dt=4 * LONGEST)
    assert [int(split.count(state)) for state in (slow, fast)] == [4, 14]  # 35 * 0.1 / 0.25
    assert float(split.diffusion_number(slow)) == 1.0 and float(split.courant_number(fast)) == 1.0
