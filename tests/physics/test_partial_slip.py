"""Walls along which the fluid slips in part: shear flows, the two limits, gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp
from diffphys.errors import InputError
from tests.gradients import check_derivatives


FORCE, VISCOSITY, LENGTHS, SPEEDS = 1.0, 0.5, (0.3, 0.1), (0.2, -0.1)
STEPPINGS = {
    "split": dict(),
    "explicit": dict(stepping=dp.RungeKutta(2)),
    "implicit": dict(stepping=dp.ImplicitExplicit(2)),
    "PISO": dict(stepping=dp.PISO()),
    "fourth order": dict(stepping=dp.ImplicitExplicit(2), advection=dp.SkewSymmetric(4)),
}


def slow(name):
    return pytest.param(name, marks=pytest.mark.slow)


def channel(cells, lengths, dt, speeds=SPEEDS, **more):
    """A channel between two moving walls, driven by a force along it."""
    walls = tuple(dp.Wall(velocity=speed, slip_length=one) for speed, one in zip(speeds, lengths, strict=True))
    sides, grid = dict(x=dp.Periodic(), y=walls), dp.Grid((3, cells), (0.75, 1.0))
    return dp.IncompressibleFlow(grid, VISCOSITY, dt, sides, forces=((FORCE, 0.0),), **more)


def parabola(y, lengths=LENGTHS, speeds=SPEEDS):
    """`nu u'' = -F` with `u - l u' = U` at the lower wall and `u + l u' = U` at the upper one."""
    half = FORCE / (2 * VISCOSITY)
    slope = (speeds[1] - speeds[0] + half + 2 * half * lengths[1]) / (1 + lengths[0] + lengths[1])
    return -half * y**2 + slope * y + speeds[0] + lengths[0] * slope


@pytest.mark.parametrize("kind", ["explicit", *map(slow, ("split", "implicit", "PISO", "fourth order"))])
def test_a_driven_channel_slips_as_it_should(float64, kind):
    """The second difference of a parabola is exact, and beside the walls the slope to the value is short by half a
    distance times `F / nu`: the error is `F h^2 / (8 nu)` everywhere, of second order; and the derivative of the flow
    rate by a slip length is exact.
    """
    cells, implicit = 4, "implicit" in kind or "fourth" in kind
    dt, steps = (2.0, 25) if implicit else (0.05, 300) if kind == "PISO" else (0.01, 2500)
    y, given = (np.arange(cells) + 0.5) / cells, (jnp.array(LENGTHS), jnp.array([1.0, 0.5]))

    def steady(lengths):
        flow = channel(cells, lengths, dt, **STEPPINGS[kind])
        return dp.rollout(flow, flow.initial_state((0.0, 0.0)), steps)[0].velocity[0].values[0]

    found, change = jax.jit(lambda lengths, along: jax.jvp(steady, (lengths,), (along,)))(*given)
    np.testing.assert_allclose(found, parabola(y) + FORCE / (8 * VISCOSITY * cells**2), atol=1e-9)
    exact = jax.jvp(lambda lengths: parabola(y, lengths), (given[0],), (given[1],))[1]
    np.testing.assert_allclose(change, exact, atol=1e-8)


@pytest.mark.parametrize("kind", ["split", "explicit", slow("implicit")])
def test_the_limits_are_no_slip_and_full_slip(float64, kind):
    grid = dp.Grid((6, 5), (1.0, 1.0))
    start = [0.3 * np.random.default_rng(a).standard_normal(s) for a, s in enumerate(((7, 5), (6, 6)))]
    more = STEPPINGS[kind] | (dict(solid=dp.Box((0.3, 0.3), (0.6, 0.6))) if kind == "explicit" else {})

    def ended(**wall):
        flow = dp.IncompressibleFlow(grid, 0.01, 0.02, dp.Wall(**wall), **more)
        return jnp.concatenate([v.values.ravel() for v in dp.rollout(flow, flow.initial_state(start), 3)[0].velocity])

    partial = jax.jit(lambda length: ended(velocity=0.2, slip_length=length))
    np.testing.assert_allclose(partial(0.0), jax.jit(lambda: ended(velocity=0.2))(), atol=1e-11)
    np.testing.assert_allclose(partial(1e12), jax.jit(lambda: ended(slip=True))(), atol=1e-9)


@pytest.mark.parametrize("kind", ["explicit", slow("split"), slow("implicit"), slow("fourth order")])
def test_gradients_by_slip_length_and_wall_speed(float64, kind):
    def ended(given):
        flow = channel(4, given["lengths"], 0.02, given["speeds"], **STEPPINGS[kind])
        state = dp.rollout(flow, flow.initial_state((0.3, 0.0)), 2)[0]
        return state.velocity[0].values

    given = {"lengths": jnp.array(LENGTHS), "speeds": jnp.array(SPEEDS)}
    check_derivatives(ended, given, jax.random.key(0), second=kind != "explicit")


def test_a_slip_length_in_time():
    """`slip_length` may be a function of time: from full slip to a wall that the fluid sticks to."""
    flow = channel(4, (lambda time: 1e9 * (time < 0.055), 0.0), 0.01, (0.0, 0.0), stepping=dp.RungeKutta(1))
    state = flow.initial_state((1.0, 0.0))
    early = dp.rollout(flow, state, 5)[0].velocity[0].values[0, 0]
    late = dp.rollout(flow, state, 20)[0].velocity[0].values[0, 0]
    assert early > 1.0 > late + 0.1


def test_what_makes_no_sense_is_refused():
    grid = dp.Grid((4, 4), (1.0, 1.0))
    with pytest.raises(InputError, match="slip is True and slip_length is given; one of the two is accepted"):
        dp.Wall(slip=True, slip_length=0.1)
    with pytest.raises(InputError, match="slip_length on axis x is -1.0; a number of at least 0 is accepted"):
        dp.IncompressibleFlow(grid, 0.1, 0.01, dp.Wall(slip_length=-1.0))
    with pytest.raises(InputError, match=r"slip_length on axis x has shape \(4,\)"):
        dp.IncompressibleFlow(grid, 0.1, 0.01, dp.Wall(slip_length=np.ones(4)))
