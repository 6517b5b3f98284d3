"""Hasegawa-Wakatani: growth and frequency of every wave, budgets to round-off, orders, and what it refuses."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp
from diffphys.operators import Arakawa, Dealiased
from diffphys.physics import HasegawaWakatani
from diffphys.physics.hasegawa_wakatani import PlasmaState
from diffphys.stepping import ImplicitExplicit, RungeKutta
from tests.gradients import check_derivatives


pytestmark = pytest.mark.usefixtures("float64")

SIZE = (10.0, 8.0)
METHODS = [RungeKutta(4), ImplicitExplicit(3)]


def plasma(cells=(8, 6), dt: Any = 0.01, **settings: Any):
    settings = {"hyperviscosity": 1e-3, "hyperviscosity_order": 2.0} | settings
    return HasegawaWakatani(dp.Grid(cells, SIZE), dt, **settings)


def random_state(system, seed=0, scale=1.0):
    n, phi = scale * np.random.default_rng(seed).standard_normal((2, *system.grid.cells))
    return system.initial_state(n - n.mean(), phi)


def waves_by_hand(system):
    """Derivatives and Laplacian of each wave, for all of its coefficients."""
    kx, ky = np.meshgrid(
        *(2 * np.pi * np.fft.fftfreq(n, h) for n, h in zip(system.grid.cells, system.grid.spacing, strict=True)),
        indexing="ij",
    )
    if system.bracket == Dealiased():
        return ky, kx**2 + ky**2
    hx, hy = system.grid.spacing
    return np.sin(ky * hy) / hy, (2 / hx * np.sin(kx * hx / 2)) ** 2 + (2 / hy * np.sin(ky * hy / 2)) ** 2


def linear_part(k, slope, system, zonal=False):
    """The matrix of one wave's density and vorticity, written from the equations."""
    c = 0.0 if zonal and system.modified else float(system.adiabaticity)
    damping = float(system.hyperviscosity) * k ** (2 * float(system.hyperviscosity_order))
    # phi = -vorticity / k^2; its slope along y is 1j * slope * phi
    drift = 1j * float(system.density_gradient) * slope / k**2
    return np.array([[-c - damping, -c / k**2 + drift], [-c, -c / k**2 - damping]])


@pytest.mark.parametrize("stepping", METHODS, ids=str)
@pytest.mark.parametrize("modified", [False, True])
@pytest.mark.parametrize("bracket", [Arakawa(), Dealiased()], ids=str)
def test_small_waves_evolve_as_the_matrix_exponential_says(stepping, bracket, modified):
    """Every wave that the grid has, in one run: growth, frequency, damping and, if modified, no zonal exchange."""
    system = plasma(
        (9, 8), bracket=bracket, modified=modified, stepping=stepping, adiabaticity=0.7, density_gradient=1.3
    )
    start = random_state(system, scale=1e-9)
    final, _ = dp.rollout(system, start, 100)
    slope, laplacian = waves_by_hand(system)
    old, new = (np.stack([np.fft.fft2(one.values) for one in state]) for state in (start, final))
    numbers = [np.abs(np.rint(np.fft.fftfreq(n) * n)) for n in system.grid.cells]
    checked = 0
    for i, j in np.ndindex(*system.grid.cells):
        kept = bracket == Arakawa() or (numbers[0][i] < 3 and numbers[1][j] < 8 / 3)
        if (i, j) == (0, 0) or j == 4 or not kept:  # at j = 4 a wave of two cells, whose slope is zero
            continue
        matrix = linear_part(np.sqrt(laplacian[i, j]), slope[i, j], system, zonal=j == 0)
        rates, vectors = np.linalg.eig(matrix)
        expected = vectors @ (np.exp(rates) * np.linalg.solve(vectors, old[:, i, j]))
        np.testing.assert_allclose(new[:, i, j], expected, rtol=0, atol=2e-6 * np.abs(old[:, i, j]).max())
        checked += 1
    assert checked >= 24


def fastest_decay(system):
    """Of the stiff part alone, which is what is left without a gradient of the background."""
    system = dataclasses.replace(system, density_gradient=0.0)
    slope, laplacian = (one.ravel()[1:] for one in waves_by_hand(system))
    matrices = [linear_part(np.sqrt(one), along, system) for one, along in zip(laplacian, slope, strict=True)]
    return max(np.abs(np.linalg.eigvals(matrix)).max() for matrix in matrices)


def dispersion(k, ky, c):
    """The growing root of `w^2 + i w b - i b w_drift = 0`."""
    b = c * (1 + k**2) / k**2
    roots = np.roots([1, 1j * b, -1j * b * ky / (1 + k**2)])
    return roots[np.argmax(roots.imag)]


def test_the_matrix_above_has_the_published_dispersion_relation():
    for c, k, ky in ((0.1, 0.6, 0.5), (1.0, 1.0, 1.0), (5.0, 1.7, 0.9)):
        rates = np.linalg.eigvals(linear_part(k, ky, plasma(adiabaticity=c, hyperviscosity=0.0)))
        fastest = 1j * rates[np.argmax(rates.real)]
        np.testing.assert_allclose(fastest, dispersion(k, ky, c), rtol=1e-12)
        assert fastest.imag > 0 and fastest.real > 0


@pytest.mark.parametrize("bracket", [Arakawa(), Dealiased()], ids=str)
@pytest.mark.parametrize("modified", [False, True])
def test_energy_and_enstrophy_change_as_their_budgets_say(bracket, modified):
    """The derivative of each along the right side, by `jax.jvp`, is gains less losses: the bracket moves neither."""
    numbers = dict(adiabaticity=0.7, density_gradient=1.3, hyperviscosity=2e-3, hyperviscosity_order=2.5)
    system = plasma((9, 8), bracket=bracket, modified=modified, **numbers)
    _, start = system._coefficients(random_state(system))
    state = system(random_state(system))  # of which nothing is left that the bracket does not keep
    _, coefficients = system._coefficients(state)
    rates = jax.tree.map(jnp.add, system.rate(0.0, coefficients, None), system.stiff_rate(0.0, coefficients, None))
    along = PlasmaState(*(old.with_values(jnp.fft.irfft2(new, (9, 8))) for old, new in zip(state, rates, strict=True)))
    budget, change = jax.jvp(system.budget, (state,), (along,))
    np.testing.assert_allclose(
        change.energy, 1.3 * budget.particle_flux - budget.resistive_loss - budget.energy_loss, rtol=1e-11
    )
    np.testing.assert_allclose(change.enstrophy, 1.3 * budget.particle_flux - budget.enstrophy_loss, rtol=1e-11)
    assert budget.energy_loss > 0 and budget.enstrophy_loss > 0 and budget.resistive_loss > 0


def test_the_budget_is_what_its_formulas_say_of_two_waves():
    """n = cos(y), phi = sin(y): E = 1/4 + 1/4, U = (1 + 1) / 4, Gamma_n = -1/2, Gamma_c = c1."""
    grid = dp.Grid((4, 64), (2 * np.pi, 2 * np.pi))
    y = np.broadcast_to(np.asarray(grid.centers()[1]), grid.cells)
    system = HasegawaWakatani(grid, 0.01, 0.6, hyperviscosity=0.2, hyperviscosity_order=1, bracket=Dealiased())
    state = system.initial_state(np.cos(y), np.sin(y))
    found = [float(one) for one in system.budget(state)]
    np.testing.assert_allclose(found, [0.5, 0.5, -0.5, 0.6, 0.2, 0.2], atol=1e-12)
    np.testing.assert_allclose(system.potential(state).values, np.sin(y), atol=1e-12)
    np.testing.assert_allclose(state.vorticity.values, -np.sin(y), atol=1e-12)
    np.testing.assert_allclose(system.courant_number(state), 0.01 / (2 * np.pi / 4), rtol=2e-3)


def test_the_mean_density_stays_and_an_even_order_damps_as_an_odd_one():
    for order in (1, 2, 3, 2.5):
        system = plasma(hyperviscosity=1e-4, hyperviscosity_order=order, adiabaticity=0.0, density_gradient=0.0)
        start = random_state(system)
        start = start._replace(density=start.density + 0.3)
        final, _ = dp.rollout(system, start, 20)
        np.testing.assert_allclose(np.mean(final.density.values), 0.3, rtol=1e-12)
        assert system.budget(final).enstrophy < system.budget(start).enstrophy


@pytest.mark.parametrize(
    "stepping, bracket",
    [
        (RungeKutta(1), Arakawa()),
        pytest.param(RungeKutta(4), Dealiased(), marks=pytest.mark.slow),
        pytest.param(ImplicitExplicit(3), Arakawa(), marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_derivatives(stepping, bracket, key):
    """Of every number, the order of the hyperviscosity too, and of the state."""
    system = plasma((5, 4), stepping=stepping, bracket=bracket)
    given = (system, random_state(system))
    second = bracket == Dealiased()
    check_derivatives(lambda given: (given[0](given[1]), given[0].budget(given[1])), given, key, second=second)


def test_changing_a_number_compiles_nothing_anew():
    traces = []

    @jax.jit
    def advanced(system, state):
        traces.append(1)
        return system(state)

    system = plasma()
    state = random_state(system)
    names = ("dt", "adiabaticity", "density_gradient", "hyperviscosity", "hyperviscosity_order")
    results = [advanced(system, state)]
    for name in names:
        results.append(advanced(dataclasses.replace(system, **{name: 1.1 * float(getattr(system, name))}), state))
    assert len(traces) == 1
    values = [np.asarray(one.density.values) for one in results]
    assert all(np.abs(one - values[0]).max() > 1e-9 for one in values[1:])


def test_float32_keeps_its_type():
    system = plasma()
    state = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), random_state(system))
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves((system(state), system.budget(state))))


@pytest.mark.usefixtures("unchecked_types")
def test_bad_input_is_refused_by_name():
    for words, settings in (
        ("adiabaticity is -1", dict(adiabaticity=-1.0)),
        ("hyperviscosity is -0.1", dict(hyperviscosity=-0.1)),
        ("hyperviscosity_order is 0.5", dict(hyperviscosity_order=0.5)),
        ("density_gradient is None", dict(density_gradient=None)),
        ("with this hyperviscosity, .* at most .*, and ImplicitExplicit", dict(hyperviscosity=100.0)),
        ("with this adiabaticity, .* at most ", dict(dt=4.0)),
        ("modified is 1; True or False", dict(modified=1)),
        ("bracket is 'arakawa'; Arakawa", dict(bracket="arakawa")),
        ("stepping is 4", dict(stepping=4)),
    ):
        with pytest.raises(dp.InputError, match=f"HasegawaWakatani: .*{words}"):
            plasma(**settings)
    with pytest.raises(dp.InputError, match="HasegawaWakatani: grid is"):
        HasegawaWakatani(dp.Grid((4,)), 0.1)
    with pytest.raises(dp.InputError, match="potential has shape"):
        plasma().initial_state(0.0, np.ones(3))
    free = plasma(hyperviscosity=100.0, dt=4.0, stepping=ImplicitExplicit(2))
    assert free.diffusion_number() == 0
    np.testing.assert_allclose(
        jax.jit(lambda dt: plasma(dt=dt).diffusion_number())(0.1), 0.1 / 2.78 * fastest_decay(plasma()), rtol=1e-12
    )
