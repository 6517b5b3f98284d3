"""The flow with implicit diffusion: order in time with walls, long steps, steady states.

Derivatives of the implicit solve are proven in `tests/poisson/test_constrained.py`, those of whole steps with respect
to every leaf by `diffphys verify adjoints`.
"""

import dataclasses
import itertools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp
from diffphys.stepping.tableaus import ADDITIVE, square
from diffphys.verification.convergence import advanced


pytestmark = pytest.mark.usefixtures("float64")


@pytest.mark.parametrize("order", ADDITIVE)
def test_pairs_of_methods_meet_all_conditions_of_their_order(order):
    """Every tree with either matrix at every branch, and what lets steady states be steady."""
    method = ADDITIVE[order]
    matrices = square(method.explicit), square(method.implicit)
    c = np.array(method.c)
    for matrix in matrices:
        np.testing.assert_allclose(matrix.sum(1), c, atol=1e-15)
    np.testing.assert_allclose(np.diag(matrices[1]), [0] + [method.gamma] * (len(c) - 1), atol=1e-15)
    for b in (np.array(method.b), matrices[1][-1]):
        trees = [(b.sum(), 1), (b @ c, 1 / 2)]
        if order >= 3:
            trees += [(b @ c**2, 1 / 3), *((b @ a @ c, 1 / 6) for a in matrices)]
        if order >= 4:
            trees += [(b @ c**3, 1 / 4)]
            trees += [one for a in matrices for one in ((b * c @ a @ c, 1 / 8), (b @ a @ c**2, 1 / 12))]
            trees += [(b @ first @ second @ c, 1 / 24) for first, second in itertools.product(matrices, repeat=2)]
        for found, exact in trees:
            np.testing.assert_allclose(found, exact, atol=1e-14)


def channel(**settings: Any) -> dp.IncompressibleFlow:
    """Inflow and wall that change in time, outflow, an obstacle, a carried scalar."""
    given: dict[str, Any] = dict(
        grid=dp.Grid((7, 6), (1.4, 1.2)),
        viscosity=0.05,
        dt=0.05,
        sides=dict(
            x=(dp.Inflow(lambda time: 1 + 0.5 * jnp.sin(5 * time), scalar=0.4), dp.Outflow()),
            y=(dp.Wall(), dp.Wall(velocity=lambda time: jnp.sin(3 * time))),
        ),
        solid=dp.Sphere((0.6, 0.5), 0.25),
        scalars={"dye": dp.PassiveScalar(diffusivity=0.03)},
        stepping=dp.ImplicitExplicit(3),
    )
    return dp.IncompressibleFlow(**(given | settings))


def random_state(flow: dp.IncompressibleFlow, seed: int = 0, size: float = 1.0) -> dp.FlowState:
    generator = np.random.default_rng(seed)
    shapes = [part.shape for part in flow.initial_state().velocity]
    scalars = {name: generator.random(flow.grid.cells) for name in flow.scalars}
    return flow.initial_state([size * generator.standard_normal(shape) for shape in shapes], scalars)


def distance(first: dp.FlowState, second: dp.FlowState) -> list[float]:
    """Between the velocities, and between the scalars."""
    pairs = ((first.velocity, second.velocity), (first.scalars, second.scalars))
    return [
        max((float(jnp.max(jnp.abs(a - b))) for a, b in zip(*map(jax.tree.leaves, pair), strict=True)), default=0.0)
        for pair in pairs
    ]


@pytest.mark.slow
def test_order_in_time_beside_walls_and_an_obstacle():
    """Against the explicit method with short steps, which knows nothing of pairs and of coupled solves."""
    flow = channel()
    start = random_state(flow)
    explicit = dataclasses.replace(flow, stepping=dp.RungeKutta(4), dt=0.4 / 160)
    reference = advanced(explicit, start, 160)
    for stages in (2, 3):
        flow = dataclasses.replace(flow, stepping=dp.ImplicitExplicit(stages))
        finals = [advanced(dataclasses.replace(flow, dt=0.4 / steps), start, steps) for steps in (20, 40)]
        for coarse, fine in zip(*(distance(final, reference) for final in finals), strict=True):
            assert abs(np.log2(coarse / fine) - stages) < 0.15, (stages, coarse, fine)
        np.testing.assert_allclose(flow.divergence(finals[0]).values, 0, atol=1e-12)
        # The pressure of a short step is the same, too: the part that diffusion has in it is not forgotten.
        short = [advanced(dataclasses.replace(one, dt=1e-4), reference, 1).pressure.values for one in (flow, explicit)]
        np.testing.assert_allclose(*short, atol=2e-3)


@pytest.mark.slow
def test_order_in_time_around_a_body_that_turns_to_and_fro():
    """The same around an immersed body in its place: displaced, it costs explicit steps their order too (1.2)."""

    def body(time):
        return dp.Immersed(dp.Sphere((0.6, 0.53), 0.27), rotation_rate=jnp.sin(5 * time), pivot=(0.6, 0.53))

    flow = channel(grid=dp.Grid((14, 12), (1.4, 1.2)), solid=body)
    start = random_state(flow)
    reference = advanced(dataclasses.replace(flow, stepping=dp.RungeKutta(4), dt=0.4 / 800), start, 800)
    for stages, steps in ((2, 20), (3, 40)):
        flow = dataclasses.replace(flow, stepping=dp.ImplicitExplicit(stages))
        finals = [advanced(dataclasses.replace(flow, dt=0.4 / count), start, count) for count in (steps, 2 * steps)]
        for coarse, fine in zip(*(distance(final, reference) for final in finals), strict=True):
            assert abs(np.log2(coarse / fine) - stages) < 0.25, (stages, coarse, fine)
        np.testing.assert_allclose(flow.divergence(finals[0]).values, 0, atol=1e-8)


@pytest.mark.slow
def test_a_steady_flow_around_a_turning_body_is_the_explicit_one():
    """With steps of six times the bound, forces included: masses of small volumes and the pressure are those of it."""
    grid = dp.Grid((12, 8), (3.0, 2.0))
    given: dict[str, Any] = dict(
        grid=grid,
        viscosity=0.5,
        sides=dict(x=(dp.Inflow(1.0), dp.Outflow()), y=dp.Wall(slip=True)),
        solid=dp.Immersed(dp.Sphere((1.0, 1.03), 0.35), rotation_rate=1.0, pivot=(1.0, 1.03)),
    )
    explicit = dp.IncompressibleFlow(dt=0.03, **given, stepping=dp.RungeKutta(2))
    implicit = dp.IncompressibleFlow(dt=0.2, **given, stepping=dp.ImplicitExplicit(2))
    slow, fast = advanced(explicit, explicit.initial_state(), 600), advanced(implicit, implicit.initial_state(), 90)
    assert distance(slow, fast)[0] < 1e-7
    forces = [eqx.filter_jit(flow.forces_on_solid)(state) for flow, state in ((explicit, slow), (implicit, fast))]
    for one, other in zip(*map(jax.tree.leaves, forces), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_a_wave_between_slip_walls_decays_by_the_function_of_the_method():
    """`R(z)` of the implicit method at the eigenvalue of the fourth-order difference, 100 times beyond the bound."""
    grid, viscosity, dt = dp.Grid((6, 8), (0.6, 1.0)), 1.0, 0.5
    waves = np.pi / 0.6, 2 * np.pi
    x, y = np.arange(7) * 0.1, np.arange(8) / 8
    u = waves[1] * np.sin(waves[0] * x)[:, None] * np.sin(waves[1] * (y + 0.5 / 8))
    v = waves[0] * np.cos(waves[0] * (x[:-1] + 0.05))[:, None] * np.cos(waves[1] * y)
    flow = dp.IncompressibleFlow(
        grid,
        viscosity,
        dt,
        dict(x=dp.Wall(slip=True), y=dp.Periodic()),
        advection=dp.SkewSymmetric(4),
        stepping=dp.ImplicitExplicit(4),
    )
    start = flow.initial_state((1e-7 * u, 1e-7 * v))
    value = -sum(
        ((27 * np.sin(wave * h / 2) - np.sin(3 * wave * h / 2)) / (12 * h)) ** 2
        for wave, h in zip(waves, grid.spacing, strict=True)
    )
    matrix = square(ADDITIVE[4].implicit)
    ones = np.ones(len(matrix))
    factor = 1 + viscosity * dt * value * matrix[-1] @ np.linalg.solve(
        np.eye(6) - viscosity * dt * value * matrix, ones
    )
    for final, first in zip(advanced(flow, start, 1).velocity, start.velocity, strict=True):
        np.testing.assert_allclose(final.values, factor * first.values, atol=1e-6 * abs(factor) * 1e-7)


@pytest.mark.slow
def test_steps_far_beyond_the_bound_stay_right_on_stretched_cells():
    """Steps of 30 and 15 times the explicit bound against many explicit ones, of a fluid that a wall sets in motion."""
    grid = dp.Grid.from_edges([dp.grids.tanh_edges(7, 0.0, 0.7, 1.2), dp.grids.tanh_edges(6, 0.0, 0.6, 0.8)])
    sides = dict(x=dp.Wall(), y=(dp.Wall(slip=True), dp.Wall(velocity=0.5)))
    flow = dp.IncompressibleFlow(grid, 1.0, 3e-4, sides, stepping=dp.RungeKutta(4))
    start, time, steps = random_state(flow, size=1e-2), 0.03, 100
    reference = advanced(dataclasses.replace(flow, dt=time / steps), start, steps)
    with pytest.raises(dp.InputError, match="explicit diffusion"):
        dataclasses.replace(flow, dt=time)
    implicit = dataclasses.replace(flow, stepping=dp.ImplicitExplicit(4), dt=time)
    first, second = (
        distance(advanced(dataclasses.replace(implicit, dt=time / n), start, n), reference)[0] for n in (2, 4)
    )
    assert first < 5e-3 and second < 1e-4, (first, second)


def test_a_steady_channel_is_steady_for_any_step():
    """The parabola of the scheme, `f (y (H - y) + h^2 / 4) / (2 nu)`, driven by a force; steps 1000 times too long."""
    grid, height = dp.Grid((3, 8), (1.0, 2.0)), 2.0
    y = (np.arange(8) + 0.5) * height / 8
    profile = 0.8 * (y * (height - y) + (height / 8) ** 2 / 4) / (2 * 0.5)
    flow = dp.IncompressibleFlow(
        grid, 0.5, 0.5 * 1000 * (height / 8) ** 2, dict(x=dp.Periodic(), y=dp.Wall()), stepping=dp.ImplicitExplicit(3)
    )
    state = flow.initial_state((np.tile(profile, (3, 1)), 0.0))
    final = advanced(Pushed(flow), state, 3)
    np.testing.assert_allclose(final.velocity[0].values, state.velocity[0].values, atol=1e-10)
    from_rest = advanced(Pushed(flow), flow.initial_state(), 5)  # L-stable: in a few such steps it is there
    np.testing.assert_allclose(from_rest.velocity[0].values, state.velocity[0].values, rtol=1e-6)


class Pushed(eqx.Module):
    flow: dp.IncompressibleFlow

    def __call__(self, state):
        return self.flow(state, (0.8, 0.0))


@pytest.mark.usefixtures("unchecked_types")
def test_what_is_refused():
    for given in ("crank-nicolson", True, None):
        with pytest.raises(dp.InputError, match="stepping"):
            channel(stepping=given)
