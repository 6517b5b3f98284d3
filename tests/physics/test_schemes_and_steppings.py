"""Every scheme of advection in every stepping: a step, or a sentence that names what does not go together."""

import itertools

import jax
import jax.numpy as jnp
import pytest

import diffphys as dp


GRID = dp.Grid((6, 5), (6.0, 5.0))
LOOK_UPS = (
    dp.SemiLagrangian(),
    dp.SemiLagrangian(largest_courant=1),
    dp.CubicSemiLagrangian(limited=True),
    dp.MacCormack(),
)
FLUXES = (dp.Upwind(), dp.VanLeer(), dp.SkewSymmetric(), dp.SkewSymmetric(4))
STEPPINGS = (dp.Splitting(), dp.RungeKutta(2), dp.ImplicitExplicit(2), dp.PISO(), dp.ExponentialRungeKutta(2))
TOGETHER = {
    *itertools.product(LOOK_UPS, [dp.Splitting()]),
    *itertools.product(FLUXES, [dp.Splitting(), dp.RungeKutta(2), dp.ImplicitExplicit(2)]),
    (dp.SkewSymmetric(), dp.PISO()),
    *itertools.product([dp.Spectral()], [dp.RungeKutta(2), dp.ImplicitExplicit(2), dp.ExponentialRungeKutta(2)]),
}


def flow(advection, stepping, grid=GRID):
    scalars = {"dye": dp.PassiveScalar(1e-3)}
    return dp.IncompressibleFlow(
        grid, 1e-3, 0.1, dp.Periodic(), scalars=scalars, advection=advection, stepping=stepping
    )


@pytest.mark.parametrize("stepping", STEPPINGS, ids=lambda one: type(one).__name__)
def test_velocity_and_scalars_take_every_scheme_that_goes_with_a_stepping(stepping):
    for scheme in (*LOOK_UPS, *FLUXES, dp.Spectral()):
        if (scheme, stepping) not in TOGETHER:
            with pytest.raises(dp.InputError, match=r"^IncompressibleFlow: .* (is|are) accepted with it\.$"):
                flow(scheme, stepping)
            continue
        step = flow(scheme, stepping)
        start = step.initial_state((1.0, 0.5))
        shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(start)]
        assert [leaf.shape for leaf in jax.tree.leaves(jax.eval_shape(step, start))] == shapes, scheme


def test_what_a_refusal_offers_is_accepted():
    for scheme in (*LOOK_UPS, dp.Upwind(), dp.SkewSymmetric(4)):
        with pytest.raises(dp.InputError, match=r"; SkewSymmetric\(\) is accepted"):
            flow(scheme, dp.PISO())


STRETCHED = dp.Grid.from_edges([(0.0, 1.0, 3.0, 4.0), (0.0, 1.0, 2.0, 3.0)])


@pytest.mark.parametrize("words, grid", [("stretched", STRETCHED), ("cells", dp.Grid((2, 6)))], ids=["wide", "few"])
def test_order_4_is_refused_in_splitting_where_its_stencils_do_not_fit(words, grid):
    with pytest.raises(dp.InputError, match=rf"order 4 and the grid .*{words}"):
        flow(dp.SkewSymmetric(4), dp.Splitting(), grid=grid)
