"""What is carried out of a convective outflow leaves: order, reflection, balance, gradients."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp
from diffphys.errors import InputError
from diffphys.grids import ConvectiveOutflow, Field, Kept, face_offset
from diffphys.operators import difference, laplacian
from diffphys.physics.flow_sides import with_convective_ends
from tests.gradients import check_derivatives


STEPPINGS = {
    "explicit": dict(stepping=dp.RungeKutta(2)),
    "split": dict(),
    "implicit": dict(stepping=dp.ImplicitExplicit(2)),
    "fourth order": dict(stepping=dp.RungeKutta(3), advection=dp.SkewSymmetric(4)),
    "van Leer": dict(stepping=dp.RungeKutta(2), advection=dp.VanLeer()),
}


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


def test_a_shear_wave_leaves_with_second_order(float64):
    """`v = sin(k (x - t))`, carried by `u = 1`, solves the equations without viscosity, the side's own too."""
    rate = 4.0

    def error(cells, side):
        wave = dp.Inflow(1.0, tangential=lambda time: -jnp.sin(rate * time))
        sides, grid = dict(x=(wave, side), y=dp.Periodic()), dp.Grid((cells, 2), (1.0, 0.2))
        flow = dp.IncompressibleFlow(grid, 0.0, 0.4 / cells, sides, stepping=dp.RungeKutta(3))
        x = (np.arange(cells) + 0.5) / cells
        start = flow.initial_state((1.0, jnp.asarray(np.sin(rate * x)[:, None] * np.ones((1, 2)))))
        state = jax.jit(lambda state: dp.rollout(flow, state, 5 * cells // 2)[0])(start)
        return float(np.max(np.abs(state.velocity[1].values[:, 0] - np.sin(rate * (x - 1.0)))))

    errors = [error(cells, ConvectiveOutflow(1.0)) for cells in (12, 24)]
    assert np.log2(errors[0] / errors[1]) > 1.8


@pytest.mark.parametrize("end", [0, 1])
def test_the_derivative_along_the_normal_is_of_second_order(float64, end):
    """For the component on the side and the one half a cell inside, on a stretched grid."""
    out, wall = ConvectiveOutflow(2.0), dp.Wall()
    sides = ((wall, out) if end else (out, wall), (wall, wall))
    errors = []
    for cells in (8, 16, 32):
        edges = np.linspace(0, 1, cells + 1)
        grid = dp.Grid.from_edges((edges + 0.05 * np.sin(2 * np.pi * edges), np.linspace(0, 1, 3)))
        velocity, slopes = [], []
        for axis in range(2):
            offset = face_offset(grid, axis)
            x, y = (np.asarray(line) for line in grid.coordinates(offset, (False, False)))
            velocity.append(Field(jnp.exp(x) + 0 * y, grid, offset))
            slopes.append(np.exp(x[-end, 0]) * (1 if end else -1))
        still = [part.with_values(0 * part.values) for part in velocity]
        rates = with_convective_ends(sides, velocity, velocity, still, [part.values for part in still])
        errors.append([np.max(np.abs(rates[a][-end] + 2 * slopes[a])) for a in range(2)])
        assert all(np.count_nonzero(np.asarray(rate).any(axis=1)) == 1 for rate in rates)
    assert np.log2(np.array(errors[1]) / errors[2]).min() > 1.8


def vortex(cells, length, side, kind="explicit"):
    """The velocity in the first unit of length after a vortex has left it, carried by a stream of speed 1."""
    grid = dp.Grid((int(cells * length), cells), (length, 1.0))
    sides = dict(x=(dp.Inflow(1.0), side), y=dp.Wall(slip=True))
    flow = dp.IncompressibleFlow(grid, 1e-4, 0.3 / cells, sides, **STEPPINGS[kind])
    x, y = np.meshgrid(
        *(np.linspace(0, one, count + 1) for one, count in zip(grid.size, grid.cells, strict=True)), indexing="ij"
    )
    stream = 0.03 * np.exp(-((x - 0.6) ** 2 + (y - 0.5) ** 2) / 0.02)
    start = (1 + np.diff(stream, axis=1) * cells, -np.diff(stream, axis=0) * cells)
    state = jax.jit(lambda: dp.rollout(flow, flow.initial_state(start), int(0.9 * cells / 0.3))[0])()
    return np.concatenate([part.values[:cells].ravel() for part in state.velocity])


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "factor"), [("explicit", 5), ("implicit", 5), ("fourth order", 5), ("van Leer", 3)])
def test_a_vortex_leaves_with_a_part_of_the_reflection(float64, kind, factor):
    """Against a domain three times as long, of which the first third cannot know the end yet. Van Leer's limiter damps
    what a given pressure reflects, too.
    """
    reference = vortex(24, 3.0, dp.Outflow(), kind)
    given, carried = (
        np.sqrt(np.mean((vortex(24, 1.0, side, kind) - reference) ** 2)) for side in (dp.Outflow(), ConvectiveOutflow())
    )
    assert carried < given / factor


def stirred(flow, seed=0):
    generator = np.random.default_rng(seed)
    shapes = [part.shape for part in flow.initial_state().velocity]
    return flow.initial_state([1.0 + 0.3 * generator.standard_normal(shape) for shape in shapes], time=0.0)


@pytest.mark.parametrize("kind", ["explicit", slow("split"), slow("implicit"), slow("fourth order"), slow("van Leer")])
@pytest.mark.parametrize("solid", [False, slow(True)])
def test_as_much_leaves_as_enters(float64, kind, solid):
    """Two convective sides, an inflow that changes in time: no divergence, whatever the start."""
    grid = dp.Grid.from_edges((np.cumsum([0, *np.linspace(0.08, 0.12, 10)]), np.linspace(0, 0.8, 9)))
    grid = dp.Grid((10, 8), (1.0, 0.8)) if kind == "fourth order" else grid
    sides = dict(x=(dp.Inflow(lambda time: 1 + time), ConvectiveOutflow()), y=(dp.Wall(), ConvectiveOutflow(0.5)))
    body = dp.Box((0.3, 0.3), (0.5, 0.5)) if solid else None
    flow = dp.IncompressibleFlow(grid, 1e-3, 0.02, sides, solid=body, **STEPPINGS[kind])
    state = jax.jit(lambda state: dp.rollout(flow, state, 4)[0])(stirred(flow))
    assert np.max(np.abs(flow.divergence(state).values)) < 1e-11
    assert np.isfinite(state.pressure.values).all()


@pytest.mark.parametrize("kind", [slow("split"), slow("explicit"), slow("implicit")])
def test_gradients_by_speed_inflow_and_start(float64, kind):
    grid = dp.Grid((5, 4), (1.0, 0.8))

    def ended(given):
        sides = dict(x=(dp.Inflow(given["inflow"]), ConvectiveOutflow(given["speed"])), y=dp.Wall())
        flow = dp.IncompressibleFlow(grid, 1e-2, 0.02, sides, **STEPPINGS[kind])
        state = flow(flow.initial_state((given["start"], 0.0)))
        return [part.values for part in state.velocity]

    start = 1.0 + 0.2 * np.random.default_rng(0).standard_normal((6, 4))
    given = {"speed": jnp.array(0.7), "inflow": jnp.array(1.0), "start": jnp.asarray(start)}
    check_derivatives(ended, given, jax.random.key(0), second=kind != "split")


def test_operators_leave_what_is_kept(float64):
    """Beyond the side the field goes on upside down about its own value; at centers nothing is known of it."""
    grid = dp.Grid((4,), (1.0,))
    line = Field(np.linspace(0.0, 1.0, 5), grid, (0.0,), ((Kept(), Kept()),))
    np.testing.assert_allclose(laplacian(line).values, 0.0, atol=1e-12)
    with pytest.raises(InputError, match="no condition defines it"):
        difference(Field(np.zeros(4), grid, conditions=((Kept(), Kept()),)), 0)


def test_what_makes_no_sense_is_refused():
    grid = dp.Grid((8, 8), (1.0, 1.0))

    def flow(solid=None, stepping: Any = dp.RungeKutta(3), **sides):  # noqa: B008 (frozen)
        return dp.IncompressibleFlow(grid, 0.1, 0.001, sides, solid=solid, stepping=stepping)

    with pytest.raises(InputError, match="speed on axis x is -1.0; a number of at least 0 is accepted"):
        flow(x=(dp.Inflow(1.0), ConvectiveOutflow(-1.0)), y=dp.Wall())
    with pytest.raises(InputError, match="two regions that an obstacle parts drain through"):
        flow(dp.Box((0.0, 0.4), (1.0, 0.6)), x=(dp.Inflow(1.0), ConvectiveOutflow()), y=dp.Wall())
    with pytest.raises(InputError, match=r"stepping is PISO\(.*\) and sides have a ConvectiveOutflow\(\); Outflow"):
        flow(x=(dp.Inflow(1.0), ConvectiveOutflow()), y=dp.Wall(), stepping=dp.PISO())
    with pytest.raises(InputError, match=r"Periodic\(\), Wall\(\) or Open\(\) is accepted"):
        dp.ShallowWater(grid, 0.01, dict(x=ConvectiveOutflow(), y=dp.Wall()))
