"""Heat conduction: every mode of every combination of sides decays as it must."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp
from diffphys.stepping import ImplicitExplicit, RungeKutta, Splitting
from tests.gradients import check_derivatives


pytestmark = pytest.mark.usefixtures("float64")


def modes(kind: str, cells: int) -> tuple[tuple, list, np.ndarray]:
    """Conditions, the modes at the cell centers, and their angles `k h`."""
    place = np.arange(cells) + 0.5
    if kind == "periodic":
        angles = np.array([2 * np.pi * (k // 2) / cells for k in range(1, cells + 1)])
        vectors = [
            np.cos(a * place + (np.pi / 2 if k % 2 and k > 1 else 0))
            for k, a in zip(range(1, cells + 1), angles, strict=True)
        ]
        return (dp.Periodic(), dp.Periodic()), vectors, angles
    conditions = {"value": dp.Dirichlet(), "slope": dp.Neumann()}
    lower, upper = kind.split("-")
    pair = (conditions[lower], conditions[upper])
    if kind == "slope-slope":
        angles = np.pi * np.arange(cells) / cells
        return pair, [np.cos(a * place) for a in angles], angles
    if kind == "value-value":
        angles = np.pi * np.arange(1, cells + 1) / cells
        return pair, [np.sin(a * place) for a in angles], angles
    angles = np.pi * (np.arange(cells) + 0.5) / cells
    return pair, [(np.sin if lower == "value" else np.cos)(a * place) for a in angles], angles


KINDS = ("periodic", "slope-slope", "value-value", "value-slope", "slope-value")


def test_every_mode_decays_by_the_discrete_factor():
    """`1 - 4 dt D sum_a sin(k_a h_a / 2)^2 / h_a^2`, with unequal spacings."""
    grid = dp.Grid((5, 4), (1.5, 3.2))
    (hx, hy), diffusivity, dt = grid.spacing, 0.3, 0.1
    for x_kind, y_kind in itertools.product(KINDS, repeat=2):
        x_pair, x_modes, x_angles = modes(x_kind, 5)
        y_pair, y_modes, y_angles = modes(y_kind, 4)
        heat = dp.Heat(grid, diffusivity, dt, conditions=(x_pair, y_pair))
        starts = np.array([x[:, None] * y[None, :] for x in x_modes for y in y_modes])
        found = jax.vmap(lambda values, heat=heat: heat(heat.initial_state(values)).values)(jnp.asarray(starts))
        rates = np.sin(x_angles / 2)[:, None] ** 2 / hx**2 + np.sin(y_angles / 2)[None, :] ** 2 / hy**2
        factors = 1 - 4 * diffusivity * dt * rates
        np.testing.assert_allclose(found, factors.reshape(-1, 1, 1) * starts, rtol=0, atol=1e-13)


@pytest.mark.parametrize("stepping", [RungeKutta(3), ImplicitExplicit(2), ImplicitExplicit(3)], ids=str)
def test_every_method_gives_each_mode_the_factor_of_its_stability_function(stepping):
    """A mode is an eigenvector, so a step multiplies it by what the method does to `y' = rate * y` alone."""
    grid, diffusivity = dp.Grid((5, 4), (1.5, 3.2)), 0.3
    (hx, hy), dt = grid.spacing, 0.1 if isinstance(stepping, RungeKutta) else 5.0

    class Alone(eqx.Module):
        factor: jax.Array

        def stiff_rate(self, time, state, input):
            return self.factor * state

        def stiff_change(self, time, state, length, input):
            return length * self.factor * state / (1 - length * self.factor)

    for x_kind, y_kind in zip(KINDS, (*KINDS[1:], *KINDS[:1]), strict=True):
        x_pair, x_modes, x_angles = modes(x_kind, 5)
        y_pair, y_modes, y_angles = modes(y_kind, 4)
        heat = dp.Heat(grid, diffusivity, dt, conditions=(x_pair, y_pair), stepping=stepping)
        starts = np.array([x[:, None] * y[None, :] for x in x_modes for y in y_modes])
        found = jax.vmap(lambda values, heat=heat: heat(heat.initial_state(values)).values)(jnp.asarray(starts))
        rates = np.sin(x_angles / 2)[:, None] ** 2 / hx**2 + np.sin(y_angles / 2)[None, :] ** 2 / hy**2
        rates = jnp.asarray(-4 * diffusivity * rates.reshape(-1))
        factors = jax.vmap(lambda rate: stepping.advance(Alone(rate), jnp.ones(()), dt).state)(rates)
        np.testing.assert_allclose(found, factors.reshape(-1, 1, 1) * starts, rtol=0, atol=1e-12)


def test_a_bar_between_fixed_ends_is_linear_after_long_implicit_steps():
    """A steady state is reached by steps 16,000 times as long as explicit ones, and then stays what it is."""
    ends = ((dp.Dirichlet(1.0), dp.Dirichlet(3.0)),)
    heat = dp.Heat(dp.Grid((40,), (1.0,)), 1.0, 5.0, ends, stepping=ImplicitExplicit(2))
    state = heat.initial_state(np.sin(9 * np.arange(40.0)))
    for _ in range(14):
        state = heat(state)
    np.testing.assert_allclose(state.values, 1 + 2 * (np.arange(40) + 0.5) / 40, atol=1e-10)


def test_the_solution_converges_to_second_order_in_space():
    """With dt like the square of the spacing the first order in time is second order in the spacing."""
    errors = []
    for count in (8, 16, 32):
        grid = dp.Grid((count, count), (1.0, 2.0))
        dt = 0.32 / count**2
        steps = count**2 // 16
        heat = dp.Heat(grid, 0.5, dt, conditions=((dp.Dirichlet(1.0), dp.Neumann()), (dp.Periodic(), dp.Periodic())))
        x, y = (np.asarray(line) for line in grid.centers())
        mode = np.sin(np.pi * x / 2) * np.cos(np.pi * y)
        final, _ = dp.rollout(heat, heat.initial_state(1.0 + mode), steps)
        exact = 1.0 + np.exp(-0.5 * (np.pi**2 / 4 + np.pi**2) * steps * dt) * mode
        errors.append(np.abs(final.values - exact).max())
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert np.all(orders > 1.9), (errors, orders)


def test_the_mean_of_a_closed_domain_is_kept_and_a_slope_brings_in_its_flux():
    grid = dp.Grid((6, 5), (3.0, 1.0))
    start = np.random.default_rng(0).random((6, 5))
    closed = dp.Heat(grid, 0.1, 0.1, conditions=((dp.Neumann(), dp.Neumann()),) * 2)
    final, _ = dp.rollout(closed, closed.initial_state(start), 10)
    np.testing.assert_allclose(final.values.mean(), start.mean(), rtol=1e-13)
    heated = dp.Heat(grid, 0.1, 0.1, conditions=((dp.Neumann(2.0), dp.Neumann()), (dp.Neumann(), dp.Neumann())))
    final, _ = dp.rollout(heated, heated.initial_state(start), 10)
    # flux D * slope = 0.2 through the length 1.0, for a time of 1.0, into the area 3.0
    np.testing.assert_allclose(final.values.mean() - start.mean(), 0.2 * 1.0 * 1.0 / 3.0, rtol=1e-12)


def test_derivatives(key):
    grid = dp.Grid((4, 3))
    heat = dp.Heat(grid, 0.3, 0.2, conditions=((dp.Dirichlet(0.5), dp.Neumann(0.1)), (dp.Periodic(), dp.Periodic())))
    check_derivatives(lambda given: given[0](given[1]), (heat, heat.initial_state(jax.random.normal(key, (4, 3)))), key)


@pytest.mark.slow
@pytest.mark.parametrize("stepping", [RungeKutta(4), ImplicitExplicit(2)], ids=str)
def test_derivatives_of_every_method(stepping, key):
    ends = ((dp.Dirichlet(0.5), dp.Neumann(0.1)), (dp.Periodic(), dp.Periodic()))
    heat = dp.Heat(dp.Grid((4, 3)), 0.3, 0.02, ends, stepping)
    check_derivatives(lambda given: given[0](given[1]), (heat, heat.initial_state(jax.random.normal(key, (4, 3)))), key)


@pytest.mark.usefixtures("unchecked_types")
def test_bad_input_is_refused_by_name():
    grid = dp.Grid((4, 3))
    good = dict(diffusivity=0.3, dt=0.2, conditions=((dp.Neumann(), dp.Neumann()),) * 2)
    nan = float("nan")
    for words, settings in (
        ("diffusivity", dict(diffusivity=-1.0)),
        ("diffusivity", dict(diffusivity="copper")),
        ("dt", dict(dt=0.0)),
        ("dt", dict(dt=nan)),
        ("dt is 1", dict(dt=1.0)),
        ("conditions", dict(conditions=((dp.Neumann(), dp.Neumann()),))),
        ("periodic", dict(conditions=((dp.Periodic(), dp.Neumann()),) * 2)),
        ("conditions", dict(conditions=((dp.Neumann(), dp.Wall()),) * 2)),
        ("conditions", dict(conditions=((dp.Dirichlet(nan), dp.Neumann()),) * 2)),
        ("conditions", dict(conditions=None)),
        ("stepping is Splitting", dict(stepping=Splitting())),
    ):
        with pytest.raises(dp.InputError, match=words):
            dp.Heat(grid, **(good | settings))  # pyright: ignore
    # Methods of higher order reach further: 1 / (2 D (1 + 1)) times half of where their stability ends.
    for stepping, longest in ((RungeKutta(2), 0.25), (RungeKutta(3), 0.25 * 2.51 / 2), (RungeKutta(4), 0.25 * 1.39)):
        unit = dict(diffusivity=1.0, conditions=good["conditions"], stepping=stepping)
        dp.Heat(dp.Grid((4, 3), (4.0, 3.0)), dt=longest, **unit)  # pyright: ignore
        with pytest.raises(dp.InputError, match=f"at most {longest:g} is accepted"):
            dp.Heat(dp.Grid((4, 3), (4.0, 3.0)), dt=1.01 * longest, **unit)  # pyright: ignore
    dp.Heat(grid, **(good | dict(dt=1e6, stepping=ImplicitExplicit(2))))  # pyright: ignore
    heat = dp.Heat(grid, **good)  # pyright: ignore
    for words, values in (
        ("temperature", np.zeros((3, 4))),
        ("temperature", np.zeros(3)),
        ("temperature", np.full((4, 3), nan)),
        ("vmap", np.zeros((2, 4, 3))),
    ):
        with pytest.raises(dp.InputError, match=words):
            heat.initial_state(values)
