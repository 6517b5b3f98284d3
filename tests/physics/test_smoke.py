"""Smoke with buoyancy: rest, momentum, derivatives, and what is refused."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp
from tests.gradients import check_derivatives


pytestmark = pytest.mark.usefixtures("float64")


STEPPINGS = [dp.RungeKutta(3), dp.Splitting()]


def smoke(
    stepping=STEPPINGS[0], sides=None, solid=None, buoyancy=(0.2, 1.5), diffusivity=0.01, scalar="smoke"
) -> dp.IncompressibleFlow:
    return dp.IncompressibleFlow(
        dp.Grid((6, 5), (1.2, 1.0)),
        0.01,
        0.05,
        dp.Wall() if sides is None else sides,
        solid=solid,
        scalars={"smoke": dp.PassiveScalar(diffusivity=diffusivity)},
        stepping=stepping,
        forces=(dp.Buoyancy(scalar, buoyancy),),
    )


@pytest.mark.parametrize("stepping", STEPPINGS)
@pytest.mark.parametrize("solid", [None, dp.Sphere((0.5, 0.5), 0.2)], ids=["empty", "obstacle"])
def test_layers_at_rest_stay_at_rest(stepping, solid):
    """Lighter layers above heavier ones, without diffusion, beside any obstacle: the pressure carries them."""
    rising = smoke(stepping, solid=solid, buoyancy=(0.0, 1.5), diffusivity=0.0)
    layers = np.broadcast_to(np.linspace(0.2, 1.0, 5) ** 2, (6, 5))
    state = rising.initial_state(scalars={"smoke": layers})
    step = eqx.filter_jit(rising)
    for _ in range(2):
        state = step(state)
    for part in state.velocity:
        np.testing.assert_allclose(part.values, 0, atol=1e-13)


@pytest.mark.parametrize("stepping", STEPPINGS)
def test_buoyancy_gives_the_momentum_of_all_smoke(stepping):
    rising = smoke(stepping, sides=dp.Periodic())
    scalars = {"smoke": np.random.default_rng(0).random((6, 5))}
    state = rising.initial_state(scalars=scalars)
    found = eqx.filter_jit(rising)(state, (0.1, 0.0))
    for axis, expected in enumerate((0.2 * np.mean(scalars["smoke"]) + 0.1, 1.5 * np.mean(scalars["smoke"]))):
        np.testing.assert_allclose(jnp.mean(found.velocity[axis].values), 0.05 * expected, rtol=1e-12)
    if stepping != dp.Splitting():
        np.testing.assert_allclose(jnp.sum(found.scalars["smoke"].values), np.sum(scalars["smoke"]), rtol=1e-13)


@pytest.mark.slow
def test_derivatives_of_smoke(key):
    rising = smoke(dp.RungeKutta(2))
    generator = np.random.default_rng(1)
    state = rising.initial_state(
        [generator.standard_normal((7, 5)), generator.standard_normal((6, 6))], {"smoke": generator.random((6, 5))}
    )

    def step(given):
        buoyancy, scalar = given
        changed = eqx.tree_at(lambda tree: tree.forces[0].acceleration, rising, buoyancy)
        final = changed(eqx.tree_at(lambda tree: tree.scalars["smoke"].values, state, scalar))
        return [part.values for part in final.velocity], final.scalars["smoke"].values

    check_derivatives(step, (rising.forces[0].acceleration, state.scalars["smoke"].values), key, second=False)


@pytest.mark.usefixtures("unchecked_types")
def test_what_smoke_refuses():
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        (dict(buoyancy=(1.0,)), "acceleration"),
        (dict(buoyancy=(0.0, float("nan"))), "acceleration"),
        (dict(scalar="steam"), "steam"),
    )
    for settings, word in cases:
        with pytest.raises(dp.InputError, match=word):
            smoke(**settings)
