"""Burgers' equation against the Cole-Hopf solution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp
from diffphys.stepping import ImplicitExplicit, RungeKutta
from tests.gradients import check_derivatives


pytestmark = pytest.mark.usefixtures("float64")

PERIODIC = (dp.Periodic(), dp.Periodic())


def cole_hopf(x, time, viscosity):
    """`u = -2 nu phi_x / phi` for `phi = 2.2 + 2 exp(-nu t) cos(x)`, which solves the heat equation."""
    decay = 2 * np.exp(-viscosity * time)
    return 2 * viscosity * decay * np.sin(x) / (2.2 + decay * np.cos(x))


@pytest.mark.parametrize("largest_courant", [None, 1])
@pytest.mark.parametrize("axis", [0, 1])
def test_the_solution_converges_to_first_order(axis, largest_courant):
    """Along each axis of a 2D grid; time steps and spacings shrink together."""
    viscosity, time, errors = 0.05, 10.0, []
    for count in (64, 128, 256):
        cells = (count, 2) if axis == 0 else (2, count)
        size = (2 * np.pi, 1.0) if axis == 0 else (1.0, 2 * np.pi)
        grid = dp.Grid(cells, size)
        steps = 8 * count  # within the bound of explicit diffusion on the finest grid
        step = dp.Burgers(grid, viscosity, time / steps, (PERIODIC, PERIODIC), largest_courant)
        x = np.arange(count) * 2 * np.pi / count
        along = np.broadcast_to(cole_hopf(x, 0.0, viscosity), (2, count))
        start = step.initial_state([along.T, 0.0] if axis == 0 else [0.0, along])
        final, _ = dp.rollout(step, start, steps)
        exact = np.broadcast_to(cole_hopf(x, time, viscosity), (2, count))
        errors.append(np.abs(final[axis].values - (exact.T if axis == 0 else exact)).max())
        np.testing.assert_array_equal(final[1 - axis].values, 0)
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert 0.85 < orders[0] < orders[1] < 1.05 and orders[1] > 0.92, (errors, orders)
    # Linear interpolation adds a viscosity of about u h / 2, here 0.0012, for a time of 10: 1.2 % of the amplitude.
    assert errors[-1] < 0.02 * np.abs(exact).max()


@pytest.mark.parametrize("stepping", [RungeKutta(3), ImplicitExplicit(3)], ids=str)
def test_central_steps_converge_to_second_order_against_a_potential_of_two_dimensions(stepping):
    """Cole-Hopf in 2D: `v = -2 nu grad(phi) / phi` where phi solves the heat equation."""
    viscosity, time, errors = 0.1, 1.0, []

    def exact(x, y, t):
        both, one = np.exp(-2 * viscosity * t), 0.7 * np.exp(-viscosity * t)
        phi = 2.2 + both * np.cos(x) * np.cos(y) + one * np.sin(y)
        slopes = -both * np.sin(x) * np.cos(y), -both * np.cos(x) * np.sin(y) + one * np.cos(y)
        return [-2 * viscosity * slope / phi for slope in slopes]

    for count in (12, 24):
        grid = dp.Grid((count, count), (2 * np.pi, 2 * np.pi))
        face = np.arange(count) * 2 * np.pi / count
        center = face + np.pi / count
        places = (face[:, None], center[None, :]), (center[:, None], face[None, :])
        step = dp.Burgers(grid, viscosity, time / count, (PERIODIC, PERIODIC), stepping=stepping)
        start, end = ([exact(*place, t)[axis] for axis, place in enumerate(places)] for t in (0.0, time))
        final, _ = dp.rollout(step, step.initial_state(start), count)
        errors.append(max(np.abs(part.values - to).max() for part, to in zip(final, end, strict=True)))
    assert abs(np.log2(errors[0] / errors[1]) - 2) < 0.15, errors


def test_a_central_front_between_fixed_values_is_of_second_order_and_conserves():
    """The front of the test below; and on a periodic axis without viscosity neither sum nor energy change."""
    errors = []
    for count in (40, 80):
        grid = dp.Grid((count,), (10.0,), origin=(-4.0,))

        def front(x, time):
            return 0.5 - 0.4 * np.tanh(0.4 * (x - 0.5 * time) / 0.2)

        ends = ((dp.Dirichlet(front(-np.inf, 0.0)), dp.Dirichlet(front(np.inf, 0.0))),)
        step = dp.Burgers(grid, 0.1, 1.0 / count, ends, stepping=ImplicitExplicit(3))
        x = -4.0 + np.arange(count + 1) * 10.0 / count
        final, _ = dp.rollout(step, step.initial_state([front(x, 0.0)]), count)
        errors.append(np.abs(final[0].values - front(x, 1.0)).max())
    assert 1.8 < np.log2(errors[0] / errors[1]) < 2.4 and errors[1] < 0.02, errors

    step = dp.Burgers(dp.Grid((16,)), 0.0, 0.01, (PERIODIC,), stepping=RungeKutta(3))
    velocity = step.initial_state([np.random.default_rng(0).standard_normal(16)])
    (rate,) = step.rate(0.0, velocity, None)
    assert abs(rate.sum()) < 1e-12 and abs(jnp.sum(rate * velocity[0].values)) < 1e-12


def test_the_default_is_diffusion_and_then_advection():
    """Bit for bit, as it was before a method could be chosen."""
    conditions = ((dp.Dirichlet(0.5), dp.Neumann(0.1)), PERIODIC)
    step = dp.Burgers(dp.Grid((4, 3)), 0.1, 0.3, conditions)
    random = np.random.default_rng(0)
    velocity = step.initial_state([random.standard_normal(part.shape) for part in step.initial_state([0.0, 0.0])])
    diffused = tuple(dp.operators.explicit_diffusion(part, step.viscosity, step.dt) for part in velocity)
    for found, part in zip(step(velocity), diffused, strict=True):
        np.testing.assert_array_equal(found.values, dp.operators.semi_lagrangian(part, diffused, step.dt).values)


def test_a_travelling_front_between_fixed_values():
    """`u = c - a tanh(a (x - c t) / (2 nu))` keeps its form: bounded ends."""
    viscosity, speed, height, errors = 0.1, 0.5, 0.4, []

    def front(x, time):
        return speed - height * np.tanh(height * (x - speed * time) / (2 * viscosity))

    for count in (40, 80, 160):
        grid = dp.Grid((count,), (10.0,), origin=(-4.0,))
        steps = count * count // 160
        ends = ((dp.Dirichlet(front(-np.inf, 0.0)), dp.Dirichlet(front(np.inf, 0.0))),)
        step = dp.Burgers(grid, viscosity, 1.0 / steps, ends)
        x = -4.0 + np.arange(count + 1) * 10.0 / count
        final, _ = dp.rollout(step, step.initial_state([front(x, 0.0)]), steps)
        errors.append(np.abs(final[0].values - front(x, 1.0)).max())
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert np.all(orders > 0.7) and errors[-1] < 0.02, (errors, orders)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, dict(stepping=RungeKutta(3)), dict(stepping=ImplicitExplicit(2))], ids=str)
def test_derivatives(settings, key):
    conditions = ((dp.Dirichlet(0.5), dp.Neumann(0.1)), PERIODIC)
    step = dp.Burgers(dp.Grid((4, 3)), 0.1, 0.3, conditions, **settings)
    shapes = [part.shape for part in step.initial_state([0.0, 0.0])]
    start = step.initial_state(
        [jax.random.normal(one, shape) for one, shape in zip(jax.random.split(key), shapes, strict=True)]
    )
    check_derivatives(lambda given: given[0](given[1]), (step, start), key)


@pytest.mark.usefixtures("unchecked_types")
def test_bad_input_is_refused_by_name():
    grid = dp.Grid((4, 3))
    good = dict(viscosity=0.1, dt=0.2, conditions=(PERIODIC, PERIODIC))
    for words, settings in (
        ("viscosity", dict(viscosity=-1.0)),
        ("viscosity", dict(viscosity=None)),
        ("dt", dict(dt=-1.0)),
        ("dt is 30", dict(dt=30.0)),
        ("conditions", dict(conditions=(PERIODIC,))),
        ("conditions", dict(conditions=(PERIODIC, (dp.Dirichlet(np.inf), dp.Neumann())))),
        ("largest_courant", dict(largest_courant=0)),
        ("largest_courant is given with stepping", dict(largest_courant=1, stepping=RungeKutta(3))),
        ("stepping is 'fast'", dict(stepping="fast")),
    ):
        with pytest.raises(dp.InputError, match=words):
            dp.Burgers(grid, **(good | settings))  # pyright: ignore
    step = dp.Burgers(grid, **good)  # pyright: ignore
    for words, values in (
        ("velocity", [0.0]),
        (r"velocity\[1\]", [0.0, np.zeros((3, 4))]),
        (r"velocity\[0\]", [np.full((4, 3), np.nan), 0.0]),
        ("vmap", [np.zeros((2, 4, 3)), 0.0]),
    ):
        with pytest.raises(dp.InputError, match=words):
            step.initial_state(values)
