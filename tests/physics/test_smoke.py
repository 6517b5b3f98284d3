"""Smoke with buoyancy: rest, momentum, derivatives, and what is refused."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp
from tests.gradients import check_derivatives


pytestmark = pytest.mark.usefixtures("float64")


def smoke(
    kind=dp.RungeKuttaFlow, sides=None, solid=None, buoyancy=(0.2, 1.5), diffusivity=0.01, **settings
) -> dp.Smoke:
    flow = kind(
        dp.Grid((6, 5), (1.2, 1.0)),
        0.01,
        0.05,
        dp.Wall() if sides is None else sides,
        solid=solid,
        scalars={"smoke": dp.PassiveScalar(diffusivity=diffusivity)},
        **settings,
    )
    return dp.Smoke(flow, buoyancy)


@pytest.mark.parametrize("kind", [dp.RungeKuttaFlow, dp.IncompressibleFlow])
@pytest.mark.parametrize("solid", [None, dp.Sphere((0.5, 0.5), 0.2)], ids=["empty", "obstacle"])
def test_layers_at_rest_stay_at_rest(kind, solid):
    """Lighter layers above heavier ones, without diffusion, beside any obstacle: the pressure carries them."""
    rising = smoke(kind, solid=solid, buoyancy=(0.0, 1.5), diffusivity=0.0)
    layers = np.broadcast_to(np.linspace(0.2, 1.0, 5) ** 2, (6, 5))
    state = rising.initial_state(scalars={"smoke": layers})
    step = eqx.filter_jit(rising)
    for _ in range(2):
        state = step(state)
    for part in state.velocity:
        np.testing.assert_allclose(part.values, 0, atol=1e-13)


@pytest.mark.parametrize("kind", [dp.RungeKuttaFlow, dp.IncompressibleFlow])
def test_buoyancy_gives_the_momentum_of_all_smoke(kind):
    rising = smoke(kind, sides=dp.Periodic())
    scalars = {"smoke": np.random.default_rng(0).random((6, 5))}
    state = rising.initial_state(scalars=scalars)
    found = eqx.filter_jit(rising)(state, (0.1, 0.0))
    for axis, expected in enumerate((0.2 * np.mean(scalars["smoke"]) + 0.1, 1.5 * np.mean(scalars["smoke"]))):
        np.testing.assert_allclose(jnp.mean(found.velocity[axis].values), 0.05 * expected, rtol=1e-12)
    if kind is dp.RungeKuttaFlow:
        np.testing.assert_allclose(jnp.sum(found.scalars["smoke"].values), np.sum(scalars["smoke"]), rtol=1e-13)


@pytest.mark.slow
def test_derivatives_of_smoke(key):
    rising = smoke(stages=2)
    generator = np.random.default_rng(1)
    state = rising.initial_state(
        [generator.standard_normal((7, 5)), generator.standard_normal((6, 6))], {"smoke": generator.random((6, 5))}
    )

    def step(given):
        buoyancy, scalar = given
        changed = eqx.tree_at(lambda tree: tree.buoyancy, rising, buoyancy)
        final = changed(eqx.tree_at(lambda tree: tree.scalars["smoke"].values, state, scalar))
        return [part.values for part in final.velocity], final.scalars["smoke"].values

    check_derivatives(step, (rising.buoyancy, state.scalars["smoke"].values), key, second=False)


@pytest.mark.usefixtures("unchecked_types")
def test_what_smoke_refuses():
    flow = smoke().flow
    cases: tuple[tuple[Any, str], ...] = (
        ((flow, (1.0,)), "buoyancy"),
        ((flow, (0.0, float("nan"))), "buoyancy"),
        ((flow, (0.0, 1.0), "steam"), "steam"),
        ((3, (0.0, 1.0)), "flow"),
    )
    for arguments, word in cases:
        with pytest.raises(dp.InputError, match=word):
            dp.Smoke(*arguments)
