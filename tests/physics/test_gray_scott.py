"""Gray-Scott: steady states, reactions known in closed form, and how fast each Turing mode grows."""

import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp
from diffphys.physics.gray_scott import Concentrations
from diffphys.stepping import ImplicitExplicit, RungeKutta
from tests.gradients import check_derivatives


pytestmark = pytest.mark.usefixtures("float64")

PERIODIC = (dp.Periodic(), dp.Periodic())
CLOSED = (dp.Neumann(), dp.Neumann())
FEED, KILL = 0.04, 0.058


def steady(sign):
    """The roots of `F u (1 - u) = (F + k)^2`, and `v = F (1 - u) / (F + k)`."""
    u = (1 + sign * np.sqrt(1 - 4 * (FEED + KILL) ** 2 / FEED)) / 2
    return u, FEED * (1 - u) / (FEED + KILL)


def system(conditions=(PERIODIC, CLOSED), spread=(0.4, 0.1), dt=0.5, stepping=None, **numbers):
    grid = dp.Grid((6, 5), (6.0, 7.5))
    numbers = dict(feed=FEED, kill=KILL) | numbers
    return dp.GrayScott(grid, *spread, dt=dt, conditions=conditions, stepping=stepping or RungeKutta(4), **numbers)


@pytest.mark.parametrize("stepping", [RungeKutta(2), ImplicitExplicit(3)], ids=str)
def test_steady_states_stay_and_reactions_follow_their_closed_forms(stepping):
    for state in ((1.0, 0.0), steady(1), steady(-1)):
        gray_scott = system(stepping=stepping)
        final = gray_scott(gray_scott.initial_state(*state))
        np.testing.assert_allclose([field.values.ravel() for field in final], np.outer(state, np.ones(30)), atol=1e-14)

    # Without activator the substrate returns to 1 like exp(-F t).
    gray_scott = system(dt=0.25, stepping=stepping)
    final, _ = dp.rollout(gray_scott, gray_scott.initial_state(0.2, 0.0), 40)
    np.testing.assert_allclose(final.substrate.values, 1 - 0.8 * np.exp(-FEED * 10), rtol=1e-5)

    # Without feed and decay u + v = s, and s^2 t = ln(v / (s - v)) - s / v between two times.
    gray_scott = system(dt=0.02, stepping=stepping, feed=0.0, kill=0.0)
    final, _ = dp.rollout(gray_scott, gray_scott.initial_state(0.9, 0.3), 200)
    u, v = (np.asarray(field.values) for field in final)
    np.testing.assert_allclose(u + v, 1.2, rtol=1e-13)
    passed = np.log(v / u) - 1.2 / v - (np.log(0.3 / 0.9) - 1.2 / 0.3)
    np.testing.assert_allclose(passed / 1.2**2, 4.0, rtol=1e-4)


@pytest.mark.parametrize("stepping", [RungeKutta(4), ImplicitExplicit(3)], ids=str)
def test_modes_grow_as_the_dispersion_relation_says(stepping):
    """Around the steady state of the lower u: the larger eigenvalue of `J - k^2 diag(Du, Dv)`, to 1 %.

    The wavenumber is that of the differences, `k = (2 / h) sin(w h / 2)`.
    """
    count, time, steps = 48, 60.0, 60
    u, v = steady(-1)
    jacobian = np.array([[-(v**2) - FEED, -2 * u * v], [v**2, 2 * u * v - FEED - KILL]])
    grown = []
    for mode in (5, 7, 10):
        wave = 2 * np.pi * mode / 72.0
        discrete = 2 / 1.5 * np.sin(wave * 1.5 / 2)
        rates, vectors = np.linalg.eig(jacobian - discrete**2 * np.diag([0.4, 0.1]))
        fastest = int(np.argmax(np.real(rates)))
        rate, vector = float(np.real(rates[fastest])), np.real(vectors[:, fastest])
        assert abs(np.imag(rates[fastest])) < 1e-12
        grid = dp.Grid((count,), (72.0,))
        gray_scott = dp.GrayScott(grid, 0.4, 0.1, FEED, KILL, time / steps, (PERIODIC,), stepping)
        shape = 1e-6 * np.cos(wave * grid.centers()[0])
        start = gray_scott.initial_state(u + vector[0] * shape, v + vector[1] * shape)
        final, _ = dp.rollout(gray_scott, start, steps)
        growth = np.log(np.abs(final.activator.values - v).max() / np.abs(start.activator.values - v).max()) / time
        grown.append((growth, rate))
    assert max(rate for _, rate in grown) > 0.005 and min(rate for _, rate in grown) < 0, grown
    found, expected = np.transpose(grown)
    np.testing.assert_allclose(found, expected, atol=0.01 * expected.max())


def test_what_reacts_is_kept_and_ends_that_are_closed_let_nothing_through():
    """`d/dt sum(u + v) = sum(F (1 - u) - (F + k) v)` for any state, whatever F and k are in each cell."""
    random = np.random.default_rng(0)
    feed, kill, u, v = random.random((4, 6, 5))
    gray_scott = system(feed=feed, kill=kill)
    state = gray_scott.initial_state(u, v)
    total = sum(part.sum() for part in gray_scott.rate(0.0, state, None))
    np.testing.assert_allclose(total, np.sum(feed * (1 - u) - (feed + kill) * v), rtol=1e-12)
    assert all(abs(part.sum()) < 1e-12 for part in gray_scott.stiff_rate(0.0, state, None))


@pytest.mark.parametrize(
    "stepping", [RungeKutta(1), pytest.param(ImplicitExplicit(2), marks=pytest.mark.slow)], ids=str
)
def test_derivatives(stepping, key):
    random = np.random.default_rng(0)
    ends = (PERIODIC, (dp.Dirichlet(0.4), dp.Neumann(0.1)))
    gray_scott = system(ends, stepping=stepping, feed=random.random((6, 5)))
    start = gray_scott.initial_state(*random.random((2, 6, 5)))
    second = isinstance(stepping, ImplicitExplicit)
    check_derivatives(lambda given: given[0](given[1]), (gray_scott, start), key, second=second)


@pytest.mark.usefixtures("unchecked_types")
def test_bad_input_is_refused_by_name():
    for words, settings in (
        ("GrayScott: substrate_diffusivity is -1", dict(spread=(-1.0, 0.1))),
        ("GrayScott: activator_diffusivity is None", dict(spread=(0.1, None))),
        ("GrayScott: feed is -0.1", dict(feed=-0.1)),
        (r"GrayScott: kill has shape \(5, 6\)", dict(kill=np.ones((5, 6)))),
        ("GrayScott: dt is 2; .* at most ", dict(dt=2.0)),
        ("GrayScott: stepping is 4", dict(stepping=4)),
        ("conditions", dict(conditions=(PERIODIC,))),
    ):
        with pytest.raises(dp.InputError, match=words):
            system(**settings)  # pyright: ignore
    system(dt=2.0, stepping=ImplicitExplicit(2))
    with pytest.raises(dp.InputError, match="activator has shape"):
        system().initial_state(1.0, np.ones(3))
    assert isinstance(system().initial_state(), Concentrations) and jnp.all(system().initial_state()[0].values == 1)
