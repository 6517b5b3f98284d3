"""Fourth order around an obstacle of whole cells: what is kept, and where the order is reached."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp
from diffphys.grids import Shape
from diffphys.physics.obstacles import WideStaircase
from tests.gradients import check_derivatives


pytestmark = pytest.mark.usefixtures("float64")

QUICKLY: dict[str, str | bool] = {"xla_backend_optimization_level": "0"}
SIDES = dict(x=dp.Periodic(), y=dp.Wall())
BOX = dp.Box((0.35, 0.2), (0.6, 0.5))


def flow_around(cells, sides, viscosity=0.0, solid: Shape = BOX, **settings):
    return dp.IncompressibleFlow(
        dp.Grid(cells, (1.0, 1.0)),
        viscosity,
        0.002,
        sides,
        solid=solid,
        advection=dp.SkewSymmetric(4),
        stepping=dp.RungeKutta(2),
        **settings,
    )


def random_state(flow):
    generator = np.random.default_rng(0)
    variables = flow.variables(0.0)
    velocity = [generator.standard_normal(variables.velocity_shape(axis)) for axis in range(flow.grid.dimensions)]
    return flow.initial_state(velocity, {name: generator.standard_normal(flow.grid.cells) for name in flow.scalars})


def test_what_the_scheme_keeps_around_an_obstacle():
    """No divergence; of convection the energy and the momentum that the obstacle does not take, of a scalar its sum
    and the sum of its squares, and what is the same everywhere; a projection that is one, and orthogonal; viscosity
    only takes energy.
    """
    flow = flow_around((10, 9), SIDES, scalars={"dye": dp.PassiveScalar(0.0)})
    state = random_state(flow)
    values, dye = tuple(part.values for part in state.velocity), state.scalars["dye"].values
    other = tuple(part.values for part in random_state(dataclasses.replace(flow, dt=0.001)).velocity)
    other = tuple(part + 0.3 * jnp.cos(jnp.arange(part.size)).reshape(part.shape) for part in other)

    def measured(values, other, dye):
        space: Any = flow.space(0.0, None, jnp.float64)
        fields = space.variables.velocity_fields(values)
        rate, scalar_rate = flow.rate(jnp.zeros(()), (values, {"dye": dye}), dp.FlowInput())
        constant = flow.rate(jnp.zeros(()), (values, {"dye": jnp.ones_like(dye)}), dp.FlowInput())[1]["dye"]
        imposed = space.impose(space.variables.velocity_fields(other))
        projected, solution = space.project(imposed)
        again = space.project(space.variables.velocity_fields(projected))[0]
        removed = [part.values - kept for part, kept in zip(imposed, projected, strict=True)]
        return {
            "divergence": jnp.max(jnp.abs(space.divergence(fields).values)),
            "power": inner(values, rate),
            "sum": jnp.sum(scalar_rate["dye"]),
            "sum of squares": jnp.sum(dye * scalar_rate["dye"]),
            "constant": jnp.max(jnp.abs(constant)),
            "again": jnp.max(jnp.stack([jnp.max(jnp.abs(a - b)) for a, b in zip(again, projected, strict=True)])),
            "removed": inner(removed, values),
        }, (inner(values, space.viscous(fields, jnp.ones(()))), solution.iterations)

    small, (lost, iterations) = jax.jit(measured, compiler_options=QUICKLY)(values, other, dye)
    for name, value in small.items():
        assert abs(float(value)) < 1e-11, name
    assert float(lost) < -1.0 and int(iterations) < 20


def inner(first, second):
    return sum(jnp.sum(a * b) for a, b in zip(first, second, strict=True))


def test_the_force_is_what_the_momentum_loses():
    """In a domain without sides nothing else takes momentum."""
    flow = flow_around((10, 9), dp.Periodic(), viscosity=0.01)
    state = random_state(flow)
    values = tuple(part.values for part in state.velocity)

    def balance(values):
        space = flow.space(0.0, None, jnp.float64)
        rate, stiff = (
            part[0]
            for part in (
                flow.rate(jnp.zeros(()), (values, {}), dp.FlowInput()),
                flow.stiff_rate(jnp.zeros(()), (values, {}), dp.FlowInput()),
            )
        )
        total = space.variables.velocity_fields([a + b for a, b in zip(rate, stiff, strict=True)])
        accelerated, solution = space.project(total)
        here = dataclasses.replace(state, pressure=state.pressure.with_values(solution.pressure))
        volume = float(np.prod(flow.grid.spacing))
        return flow.forces_on_solid(here).force, jnp.stack([volume * jnp.sum(part) for part in accelerated])

    force, gained = jax.jit(balance, compiler_options=QUICKLY)(values)
    assert np.abs(force).min() > 1e-3
    np.testing.assert_allclose(force, -gained, rtol=1e-10)


def test_the_order_is_four_away_from_the_obstacle():
    """Divergence, gradient, convection and Laplacian of smooth fields, four cells of the coarser grid from it."""
    coarse, fine = (np.asarray(jax.jit(lambda n=n: errors_on(n), compiler_options=QUICKLY)()) for n in (32, 64))
    assert np.all(np.log2(coarse / fine) > 3.7), np.log2(coarse / fine)


def errors_on(count):
    flow = flow_around((count, count), dp.Periodic(), solid=dp.Box((0.0, 0.0), (0.25, 0.25)))
    space = flow.space(0.0, None, jnp.float64)
    assert isinstance(space, WideStaircase)
    wave = 2 * np.pi
    faces, centers = np.arange(count) / count, (np.arange(count) + 0.5) / count

    def at(x, y):
        """Velocity, `div(v v)` and Laplacian of the stream function `sin(kx) cos(2ky) / 2k`, and a potential."""
        sx, cx, s2, c2 = np.sin(wave * x), np.cos(wave * x), np.sin(2 * wave * y), np.cos(2 * wave * y)
        u, v = -sx * s2, -cx * c2 / 2
        ux, uy, vx, vy = -wave * cx * s2, -2 * wave * sx * c2, wave * sx * c2 / 2, wave * cx * s2
        lap = -5 * wave**2
        return u, v, u * ux + v * uy, u * vx + v * vy, lap * u, lap * v, wave * cx * c2, sx * c2

    on_x, on_y = at(faces[:, None], centers), at(centers[:, None], faces)
    slope = -2 * wave * np.sin(wave * centers)[:, None] * np.sin(2 * wave * faces)
    velocity = space.impose(space.variables.velocity_fields([jnp.asarray(on_x[0]), jnp.asarray(on_y[1])]))
    scheme: Any = flow.scheme  # of fluxes, as its advection is
    convected = space.convection(scheme, velocity, velocity)
    pressure = space.differences.gradient(jnp.asarray(at(centers[:, None], centers)[7]))
    x, y = faces > 0.25 + 4 / 32, centers > 0.25 + 4 / 32
    near = 1 - 4 / 32  # the obstacle's image one period on
    x, y = x & (faces < near), y & (centers < near)
    away = {"x": np.outer(x, y), "y": np.outer(y, x), "centers": np.outer(y, y)}
    return jnp.stack(
        [
            jnp.max(jnp.abs(jnp.where(away[place], error, 0.0)))
            for place, error in (
                ("centers", space.divergence(velocity).values),
                ("x", convected[0].values - on_x[2]),
                ("y", convected[1].values - on_y[3]),
                ("x", space.velocity_laplacian(velocity[0]) - on_x[4]),
                ("y", space.velocity_laplacian(velocity[1]) - on_y[5]),
                ("x", pressure[0] - on_x[6]),
                ("y", pressure[1] - slope),
            )
        ]
    )


@pytest.mark.slow
def test_derivatives_of_the_projected_rate():
    flow = flow_around((7, 6), SIDES, viscosity=0.01, solid=dp.Sphere((0.5, 0.5), 0.2))
    values = tuple(part.values for part in random_state(flow).velocity)

    def projected_rate(values):
        space = flow.space(0.0, None, jnp.float64)
        rate = flow.rate(jnp.zeros(()), (values, {}), dp.FlowInput())[0]
        return space.project(space.variables.velocity_fields(rate))[0]

    check_derivatives(projected_rate, values, jax.random.key(0), second=False)


@pytest.mark.usefixtures("unchecked_types")
def test_what_is_refused_with_an_obstacle():
    stretched = dp.Grid((8, 8)).with_edges(0, np.linspace(0, 1, 9) ** 1.3)
    for grid, solid, words in (
        (dp.Grid((8, 8)), dp.Immersed(dp.Sphere((4.0, 4.0), 2.0)), "immersed.*order 2 is accepted"),
        (stretched, dp.Sphere((0.5, 4.0), 1.3), "stretched.*uniform one is accepted"),
    ):
        with pytest.raises(dp.InputError, match=words):
            dp.IncompressibleFlow(
                grid, 0.1, 0.01, dp.Wall(), solid=solid, advection=dp.SkewSymmetric(4), stepping=dp.RungeKutta(2)
            )
