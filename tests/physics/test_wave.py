"""The wave equation: frequencies between all kinds of ends, energy, order, and speed that varies."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp
from diffphys.stepping import ImplicitExplicit, RungeKutta, Splitting
from tests.gradients import check_derivatives
from tests.verification.test_heat import KINDS, modes


pytestmark = pytest.mark.usefixtures("float64")

PERIODIC = (dp.Periodic(), dp.Periodic())
FIXED, FREE = (dp.Dirichlet(), dp.Dirichlet()), (dp.Neumann(), dp.Neumann())
METHODS = [Splitting(), *(RungeKutta(order) for order in (1, 2, 3, 4))]


def matrix(stepping, frequencies, dt):
    """What one step does to displacement and velocity of modes of these frequencies, each (2, 2)."""
    zero = np.zeros_like(frequencies)
    generator = dt * np.stack([[zero, zero + 1], [-(frequencies**2), zero]]).transpose(2, 0, 1)
    if isinstance(stepping, Splitting):
        drift = np.eye(2) + dt * np.array([[0, 1], [0, 0]])
        kick = np.eye(2) + dt / 2 * np.stack([[zero, zero], [-(frequencies**2), zero]]).transpose(2, 0, 1)
        return kick @ drift @ kick
    total = power = np.broadcast_to(np.eye(2), generator.shape)
    for index in range(1, stepping.order + 1):
        power = power @ generator / index
        total = total + power
    return total


@pytest.mark.parametrize("stepping", METHODS, ids=str)
def test_every_mode_has_its_frequency_between_every_pair_of_ends(stepping):
    """`(2 c / h) sin(k h / 2)` along each axis, and the method's own polynomial in it."""
    grid, speed, dt = dp.Grid((5, 4), (1.5, 3.2)), 1.7, 0.08
    for x_kind, y_kind in zip(KINDS, (*KINDS[2:], *KINDS[:2]), strict=True):
        x_pair, x_modes, x_angles = modes(x_kind, 5)
        y_pair, y_modes, y_angles = modes(y_kind, 4)
        wave = dp.Wave(grid, speed, dt, (x_pair, y_pair), stepping=stepping)
        shapes = np.array([x[:, None] * y[None, :] for x in x_modes for y in y_modes])
        (hx, hy) = grid.spacing
        squares = np.sin(x_angles / 2)[:, None] ** 2 / hx**2 + np.sin(y_angles / 2)[None, :] ** 2 / hy**2
        step = matrix(stepping, 2 * speed * np.sqrt(squares.reshape(-1)), dt)
        found = jax.vmap(lambda u, v, wave=wave: wave(wave.initial_state(u, v)))(0.3 * shapes, 0.9 * shapes)
        exact = step @ np.array([0.3, 0.9])
        for field, factors in zip(found, exact.T, strict=True):
            np.testing.assert_allclose(field.values, factors[:, None, None] * shapes, rtol=0, atol=1e-12)


def test_energy_is_constant_in_space_and_bounded_in_time():
    """For a speed that varies, fixed values, free ends and unequal cells; and leapfrog never drifts."""
    random = np.random.default_rng(0)
    grid = dp.Grid((9, 6), (2.0, 3.0)).with_edges(0, [0.0, 0.3, 0.5, 0.8, 1.0, 1.3, 1.5, 1.7, 1.8, 2.0])
    speed = 0.5 + random.random((9, 6))
    for ends in (((dp.Dirichlet(0.7), dp.Neumann()), PERIODIC), (FREE, (dp.grids.Ghost(0.2), dp.Dirichlet(-0.4)))):
        wave = dp.Wave(grid, speed, 0.02, ends)
        state = wave.initial_state(*random.standard_normal((2, 9, 6)))
        rates = wave.rate(0.0, state, None)
        moved = [field.values + 0 * rate for field, rate in zip(state, rates, strict=True)]
        power = jax.jvp(lambda u, v, wave=wave: wave.energy(wave.initial_state(u, v)), tuple(moved), rates)[1]
        assert abs(power) < 1e-12 * wave.energy(state), power
    _, energies = dp.rollout(wave, state, 2000, save_every=10, save=wave.energy)
    first, last = energies[:100], energies[100:]
    assert np.ptp(energies) < 0.2 * energies.mean() and abs(first.mean() / last.mean() - 1) < 0.01


def test_a_pulse_comes_back_upright_from_a_free_end_and_upside_down_from_a_fixed_one():
    """After one travel along the string and back (leapfrog with `c dt = h` is exact), and halved by damping."""
    count = 40
    grid = dp.Grid((count,), (1.0,))
    x = (np.arange(count) + 0.5) / count
    pulse = np.exp(-(((x - 0.5) / 0.08) ** 2))
    for ends, sign in ((FREE, 1.0), (FIXED, -1.0), ((dp.Dirichlet(), dp.Neumann()), None)):
        wave = dp.Wave(grid, 2.0, 0.5 / count, (ends,))
        final, _ = dp.rollout(wave, wave.initial_state(pulse), count)  # a time of 1/2: each half has met one end
        expected = sign * pulse[::-1] if sign else 0 * pulse  # one half upright and one not: they cancel
        np.testing.assert_allclose(final.displacement.values, expected, atol=1e-6)
    damped = dp.Wave(grid, 2.0, 0.25 / count, (FREE,), damping=2 * np.log(2.0) / 0.5)
    final, _ = dp.rollout(damped, damped.initial_state(pulse), 2 * count)
    np.testing.assert_allclose(final.displacement.values.max(), 0.5, atol=0.03)


@pytest.mark.parametrize("stepping", [Splitting(), RungeKutta(4)], ids=str)
def test_a_damped_standing_wave_converges_to_second_order(stepping):
    """`u = exp(-g t / 2) cos(w t) cos(k x) cos(l y)` with `w^2 = c^2 (k^2 + l^2) - g^2 / 4`."""
    speed, damping, time, errors = 1.3, 0.8, 1.0, []
    waves = np.pi, 2 * np.pi
    frequency = np.sqrt(speed**2 * (waves[0] ** 2 + waves[1] ** 2) - damping**2 / 4)
    for count in (8, 16, 32):
        grid = dp.Grid((count, count), (1.0, 1.0))
        x, y = (np.asarray(line) for line in grid.centers())
        shape = np.cos(waves[0] * x) * np.cos(waves[1] * y)
        wave = dp.Wave(grid, speed, time / (3 * count), (FREE, PERIODIC), damping, stepping)
        start = wave.initial_state(shape, -damping / 2 * shape)  # the derivative at 0
        final, _ = dp.rollout(wave, start, 3 * count)
        exact = np.exp(-damping * time / 2) * np.cos(frequency * time) * shape
        errors.append(np.abs(final.displacement.values - exact).max())
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    np.testing.assert_allclose(orders, 2.0, atol=0.2)


@pytest.mark.parametrize("stepping", [Splitting(), pytest.param(RungeKutta(4), marks=pytest.mark.slow)], ids=str)
def test_derivatives(stepping, key):
    random = np.random.default_rng(0)
    speed, damping = 0.5 + random.random((2, 4, 3))
    ends = ((dp.Dirichlet(0.5), dp.Neumann(0.1)), PERIODIC)
    wave = dp.Wave(dp.Grid((4, 3)), speed, 0.3, ends, damping, stepping)
    start = wave.initial_state(*random.standard_normal((2, 4, 3)))

    def stepped(given):
        wave, state = given
        return wave(state), wave.energy(state)

    check_derivatives(stepped, (wave, start), key, second=isinstance(stepping, RungeKutta))


@pytest.mark.usefixtures("unchecked_types")
def test_bad_input_is_refused_by_name():
    grid = dp.Grid((4, 3), (4.0, 1.5))
    good = dict(speed=2.0, dt=0.1, conditions=(FREE, FIXED))
    longest = 1 / (2 * np.sqrt(1 + 4))  # 2 / omega
    for words, settings in (
        ("Wave: speed is -1", dict(speed=-1.0)),
        (r"Wave: speed has shape \(3, 4\)", dict(speed=np.ones((3, 4)))),
        ("Wave: damping is -1", dict(damping=-1.0)),
        ("Wave: dt is nan", dict(dt=np.nan)),
        (f"at most {longest:g} is accepted", dict(dt=1.01 * longest)),
        (f"at most {2.82 / 2 * longest:g} is accepted", dict(dt=1.5 * longest, stepping=RungeKutta(4))),
        ("Wave: stepping is ImplicitExplicit", dict(stepping=ImplicitExplicit(2))),
        ("conditions", dict(conditions=None)),
    ):
        with pytest.raises(dp.InputError, match=words):
            dp.Wave(grid, **(good | settings))  # pyright: ignore
    for settings in (dict(dt=longest), dict(dt=5.0, stepping=RungeKutta(2)), dict(dt=5.0, speed=0.0)):
        wave = dp.Wave(grid, **(good | settings))  # pyright: ignore
    with pytest.raises(dp.InputError, match="velocity has shape"):
        wave.initial_state(0.0, np.ones(2))
    assert jax.jit(lambda speed: dp.Wave(grid, **(good | dict(speed=speed))).speed)(1e9) == 1e9  # pyright: ignore
    assert jnp.all(wave.initial_state(1.0).displacement.values == 1)
