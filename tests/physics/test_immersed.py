"""Bodies whose surface cuts cells, and the forces on them; `diffphys verify adjoints` proves their derivatives."""

import equinox as eqx
import numpy as np
import pytest

import diffphys as dp
from diffphys.verification.convergence import advanced


pytestmark = pytest.mark.usefixtures("float64")

BOX = dp.Grid((13, 12), (2.6, 2.4), (-1.3, -1.2))


@pytest.mark.slow
def test_the_vortex_around_a_rotating_cylinder():
    """`v = rate R^2 / r` around it solves the full equations, and the torque is `-4 pi nu rate R^2`."""
    radius, rate, viscosity, (left, low) = 0.5, 1.3, 0.1, (0.03, 0.02)
    errors, torques = [], []
    for count in (12, 24):
        grid = dp.Grid((count, count), (2.0, 2.0), (-1.0, -1.0))
        edges = grid.edges[0]
        middle = (edges[1:] + edges[:-1]) / 2

        def along(x, y):
            return -rate * radius**2 * (y - low) / ((x - left) ** 2 + (y - low) ** 2)

        def across(x, y):
            return rate * radius**2 * (x - left) / ((x - left) ** 2 + (y - low) ** 2)

        speeds = [along(-1, middle), -along(1, middle), across(middle, -1), -across(middle, 1)]
        excess = np.mean(speeds)
        slides = [across(-1, edges), across(1, edges), along(edges, -1), along(edges, 1)]
        west, east, south, north = (
            dp.Inflow(speed - excess, tangential=(slide,)) for speed, slide in zip(speeds, slides, strict=True)
        )
        body = dp.Immersed(dp.Sphere((left, low), radius), rotation_rate=rate, pivot=(left, low))
        steps = 60 * (count // 12) ** 2
        flow = dp.IncompressibleFlow(
            grid, viscosity, 1.0 / steps, dict(x=(west, east), y=(south, north)), solid=body, stepping=dp.RungeKutta(2)
        )
        places = [np.meshgrid(edges, middle, indexing="ij"), np.meshgrid(middle, edges, indexing="ij")]
        exact = [along(*places[0]), across(*places[1])]
        start = flow.initial_state(
            [np.where(np.hypot(x - left, y - low) > 0.4, one, 0) for one, (x, y) in zip(exact, places, strict=True)]
        )
        state = advanced(flow, start, steps)
        error = [
            np.abs(part.values - one)[np.hypot(x - left, y - low) > radius]
            for part, one, (x, y) in zip(state.velocity, exact, places, strict=True)
        ]
        errors.append(np.mean(np.concatenate(error)))
        torques.append(
            abs(
                float(eqx.filter_jit(flow.forces_on_solid)(state).torque) / (-4 * np.pi * viscosity * rate * radius**2)
                - 1
            )
        )
    assert np.log2(errors[0] / errors[1]) > 1.8, errors
    assert torques[1] < 0.05, torques


@pytest.mark.slow
def test_a_fluid_at_rest_carries_a_body_by_the_weight_it_displaces():
    flow = dp.IncompressibleFlow(
        BOX, 0.1, 0.01, dp.Wall(), solid=dp.Immersed(dp.Sphere((0.07, -0.04), 0.6)), stepping=dp.RungeKutta(1)
    )
    state = eqx.filter_jit(flow)(flow.initial_state(), (0.3, -0.8))
    for part in state.velocity:
        np.testing.assert_allclose(part.values, 0, atol=1e-9)
    found = eqx.filter_jit(flow.forces_on_solid)(state)
    area = np.pi * 0.36
    np.testing.assert_allclose(found.force, [-0.3 * area, 0.8 * area], rtol=0.01)
    np.testing.assert_allclose(found.torque, area * (0.07 * 0.8 - 0.04 * 0.3), atol=0.02 * area)


@pytest.mark.slow
def test_a_cylinder_that_starts_to_move_feels_its_added_mass():
    """`-pi R^2 a` in an unbounded fluid (Lamb 1932); walls eight radii away add some percent."""
    grid = dp.Grid((40, 40), (8.0, 8.0), (-4.0, -4.0))
    flow = dp.IncompressibleFlow(
        grid,
        0.0,
        1e-3,
        dp.Wall(),
        solid=lambda time: dp.Immersed(dp.Sphere((0.02, 0.01), 0.5), velocity=(2 * time, 0.0)),
        stepping=dp.RungeKutta(3),
    )
    state = eqx.filter_jit(flow)(flow.initial_state())
    force = eqx.filter_jit(flow.forces_on_solid)(state).force
    np.testing.assert_allclose(force[0], -np.pi * 0.25 * 2, rtol=0.05)
    np.testing.assert_allclose(force[1], 0, atol=0.01)


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    "solid, settings, words",
    [
        (dp.Immersed(dp.Sphere((5.0, 0.0), 0.5)), {}, "contains no cell's center"),
        (dp.Immersed(dp.Sphere((0.0, 0.0), 9.0)), {}, "contains every cell's center"),
        (dp.Immersed(dp.Sphere((0.0, 0.0), 0.5), velocity=(1.0, 2.0, 3.0)), {}, "velocity has shape"),
        (dp.Immersed(dp.Sphere((0.0, 0.0), 0.5)), {"advection": dp.SkewSymmetric(4)}, "order 2 is accepted"),
        (lambda time: time, {}, "a function that returns Immersed"),
    ],
)
def test_what_is_refused(solid, settings, words):
    with pytest.raises(dp.InputError, match=words):
        dp.IncompressibleFlow(BOX, 0.1, 0.01, dp.Wall(), solid=solid, **settings, stepping=dp.RungeKutta(3))
