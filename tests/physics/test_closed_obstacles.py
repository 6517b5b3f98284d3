"""An obstacle is closed for everything: nothing of a scalar enters it, passes it, or is released in it."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp
from diffphys.operators import explicit_diffusion, semi_lagrangian
from diffphys.physics import Held, Immersed, PassiveScalar
from diffphys.physics.obstacles.immersed import LEAST_MASS


GRID = dp.Grid((12, 10), (1.2, 1.0))
SLIP = dp.Wall(slip=True)
WALL = dp.Box((0.5, -1.0), (0.6, 2.0))  # the cells of index 5 along x
CUTTING = ((0.47, -1.0), (0.63, 2.0))  # the corners of a box with these, and a part of both neighbors
FLOWS = {
    "semi-Lagrangian": ({}, lambda shape: shape),
    "weighted shifts": (dict(advection=dp.SemiLagrangian(4)), lambda shape: shape),
    "cubic": (dict(advection=dp.CubicSemiLagrangian()), lambda shape: shape),
    "MacCormack": (dict(advection=dp.MacCormack()), lambda shape: shape),
    "explicit": (dict(stepping=dp.RungeKutta(1)), lambda shape: shape),
    "van Leer": (dict(advection=dp.VanLeer(), stepping=dp.RungeKutta(2)), lambda shape: shape),
    "implicit": (dict(stepping=dp.ImplicitExplicit(2)), lambda shape: shape),
    "immersed": (dict(stepping=dp.RungeKutta(1)), Immersed),
    "immersed implicit": (dict(stepping=dp.ImplicitExplicit(2)), Immersed),
}
SLOW = ("implicit", "cubic", "MacCormack", "van Leer")
KINDS = [pytest.param(kind, marks=pytest.mark.slow) if any(one in kind for one in SLOW) else kind for kind in FLOWS]


def flow_of(kind: str, sides, shape, scalar, **more):
    settings, solid = FLOWS[kind]
    return dp.IncompressibleFlow(GRID, 1e-3, 0.02, sides, solid=solid(shape), scalars={"s": scalar}, **settings, **more)


def advance(flow, state, steps):
    return jax.jit(lambda state: dp.rollout(flow, state, steps)[0])(state)


@pytest.mark.parametrize("kind", [*KINDS[:7], pytest.param("immersed", marks=pytest.mark.slow), KINDS[8]])
def test_nothing_passes_a_wall_of_one_cell(float64, kind):
    """On one side a scalar spreads in fluid that moves along the wall; on the other nothing ever shows."""
    still = kind.startswith("immersed")  # around an immersed body a scalar spreads in fluid at rest
    cutting = dp.Box(*CUTTING)  # made here, where its numbers are those of double precision
    sides = dict(x=SLIP, y=SLIP if still else dp.Periodic())
    flow = flow_of(kind, sides, cutting if still else WALL, PassiveScalar(5e-2))
    x, y = GRID.centers()
    speed = 15.0 if isinstance(flow.stepping, dp.Splitting) else 0.0 if still else 1.0  # up to three cells a step
    state = flow.initial_state((0.0, speed), {"s": jnp.where(x < 0.5, jnp.sin(9 * x + 1), 0.0) + 0 * y})
    final = advance(flow, state, 10)
    scalar, start = np.asarray(final.scalars["s"].values), np.asarray(state.scalars["s"].values)
    np.testing.assert_allclose(scalar[5:], 0.0, atol=1e-15)
    mass = np.maximum(1 - cutting.volume_fractions(GRID), LEAST_MASS) if still else 1.0
    np.testing.assert_allclose(np.sum(mass * scalar), np.sum(mass * start), rtol=1e-10)
    assert np.ptp(scalar[:5, 0]) < 0.9 * np.ptp(start[:5, 0])


@pytest.mark.parametrize("kind", [*KINDS[:4], pytest.param("immersed", marks=pytest.mark.slow), KINDS[5]])
def test_a_scalar_in_an_obstacle_is_inert(float64, kind):
    """Air of 300 K around an obstacle whose cells hold zero stays at 300 K; what is released in it is not there."""
    cutting = kind.startswith("immersed")
    shape = dp.Box((0.37, 0.27), (0.83, 0.73)) if cutting else dp.Box((0.4, 0.3), (0.8, 0.7))
    source = PassiveScalar(1e-2, source=dp.Box((0.45, 0.35), (0.75, 0.65)), rate=50.0)
    more = dict(forces=[Held(shape, (0.7, -0.4))]) if "stepping" not in FLOWS[kind][0] else {}
    flow = flow_of(kind, dict(x=(dp.Inflow(1.0, scalar=300.0), dp.Outflow()), y=SLIP), shape, source, **more)
    inside = np.asarray(dp.Box((0.4, 0.3), (0.8, 0.7)).contains(GRID.centers()))
    generator = np.random.default_rng(1)
    velocity = [generator.standard_normal(part.shape) for part in flow.initial_state().velocity]
    state = flow.initial_state(velocity, {"s": jnp.where(inside, 0.0, 300.0)})
    scalar = np.asarray(advance(flow, state, 5).scalars["s"].values)
    # around an immersed body the divergence is that of an iterative solve
    np.testing.assert_allclose(scalar[~inside], 300.0, rtol=1e-5 if cutting else 1e-12)
    np.testing.assert_allclose(scalar[inside], 0.0, atol=1e-10)


@pytest.mark.parametrize("kind", ["explicit", pytest.param("implicit", marks=pytest.mark.slow)])
def test_the_amount_around_an_obstacle_is_conserved(float64, kind):
    shape = dp.Sphere((0.55, 0.5), 0.25)
    region = dp.Box((0.5, 0.1), (1.0, 0.9))
    flow = flow_of(kind, SLIP, shape, PassiveScalar(1e-2, source=region, rate=2.0))
    generator = np.random.default_rng(2)
    velocity = [generator.standard_normal(part.shape) for part in flow.initial_state().velocity]
    state = flow.initial_state(velocity, {"s": generator.uniform(0, 1, GRID.cells)})
    final = advance(flow, state, 5)
    fluid = ~flow.solid.cells
    released = 5 * 0.02 * 2.0 * np.sum(np.asarray(region.coverage(GRID))[fluid])
    before, after = (np.asarray(one.scalars["s"].values) for one in (state, final))
    np.testing.assert_allclose(after[fluid].sum() - before[fluid].sum(), released, rtol=1e-11)
    np.testing.assert_array_equal(after[~fluid], before[~fluid])


def brute_force(values, closed, displacement):
    """The same look-up point by point: a straight path in small steps, ended before the first closed cell."""
    result = values.copy()
    for cell in np.argwhere(~closed):
        d = displacement[(slice(None), *cell)]
        here, end, count = cell.copy(), 0.0, 2 * 4
        for step in range(1, count + 1):
            moved = cell + (np.sign(d) * np.ceil(np.abs(d) * step / count - 0.5)).astype(int)
            if not path(closed, here, moved):
                break
            here, end = moved, step / count
        foot = cell + end * d
        low = np.floor(foot).astype(int)
        total = weights = 0.0
        for bits in itertools.product((0, 1), repeat=2):
            weight = np.prod([f - lo if b else 1 - (f - lo) for b, f, lo in zip(bits, foot, low, strict=True)])
            corner = np.clip(low + bits, 0, np.asarray(values.shape) - 1)
            if path(closed, here, corner):
                total, weights = total + weight * values[tuple(corner)], weights + weight
        result[tuple(cell)] = total / weights
    return result


def path(closed, here, there):
    if closed[tuple(there)]:
        return False
    moves = [axis for axis in range(2) if here[axis] != there[axis]]
    return len(moves) < 2 or any(not closed[tuple(np.where(np.arange(2) == axis, there, here))] for axis in moves)


@pytest.mark.parametrize("seed", [0, *[pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 40)]])
def test_a_look_up_reads_nothing_closed_and_nothing_behind_it(float64, seed):
    """Random cells, displacements up to four cells: against a loop over points."""
    generator = np.random.default_rng(seed)
    grid = dp.Grid((9, 8), (9.0, 8.0))
    closed = generator.random(grid.cells) < 0.3
    zero = (dp.Neumann(0.0), dp.Neumann(0.0))
    conditions = (zero, zero)
    velocity = [
        dp.Field(generator.uniform(-4, 4, grid.shape(offset, (False, False))), grid, offset, conditions)
        for offset in ((0.0, 0.5), (0.5, 0.0))
    ]
    values = generator.standard_normal(grid.cells)
    field = dp.Field(jnp.asarray(values), grid, conditions=conditions)
    found = np.asarray(jax.jit(lambda field: semi_lagrangian(field, velocity, 1.0, 4, closed).values)(field))
    displacement = []
    for axis, part in enumerate(velocity):
        speed = np.asarray(part.values)
        low, high = (np.take(speed, range(start, start + grid.cells[axis]), axis) for start in (0, 1))
        index = np.arange(grid.cells[axis]).reshape([-1 if a == axis else 1 for a in range(2)])
        displacement.append(np.clip(index - (low + high) / 2, -0.5, grid.cells[axis] - 0.5) - index)
    expected = brute_force(values, closed, np.asarray(displacement))
    np.testing.assert_allclose(found, expected, atol=1e-12)
    np.testing.assert_array_equal(found[closed], values[closed])


@pytest.mark.slow
def test_without_closed_cells_near_the_look_up_is_the_plain_one(float64):
    generator = np.random.default_rng(5)
    closed = np.zeros(GRID.cells, bool)
    closed[0, 0] = True
    zero = ((dp.Neumann(0.0), dp.Neumann(0.0)), (dp.Periodic(), dp.Periodic()))
    velocity = [
        dp.Field(generator.uniform(-0.2, 0.2, grid_shape), GRID, offset, zero)
        for grid_shape, offset in (((13, 10), (0.0, 0.5)), ((12, 10), (0.5, 0.0)))
    ]
    field = dp.Field(jnp.asarray(generator.standard_normal(GRID.cells)), GRID, conditions=zero)
    one, other = (semi_lagrangian(field, velocity, 1.0, None, cells).values for cells in (None, closed))
    np.testing.assert_allclose(one[4:, 4:7], other[4:, 4:7], rtol=1e-14)

    def at_rest(speed, cells):  # the derivative beside a closed cell does not see its value
        still = [part.with_values(0 * part.values + speed) for part in velocity]
        return semi_lagrangian(field, still, 1.0, None, cells).values

    slope = jax.jacfwd(
        lambda value: (
            semi_lagrangian(field.with_values(field.values.at[0, 0].set(value)), velocity, 1.0, None, closed).values
        )
    )(0.3)
    assert np.all(np.asarray(slope).ravel()[1:] == 0)
    np.testing.assert_allclose(jax.jacfwd(at_rest)(0.0, closed)[6, 5], jax.jacfwd(at_rest)(0.0, None)[6, 5])


def test_diffusion_between_closed_faces_conserves(float64):
    generator = np.random.default_rng(4)
    closed = [generator.random(shape) < 0.4 for shape in ((13, 10), (12, 11))]
    field = dp.Field(
        jnp.asarray(generator.standard_normal(GRID.cells)), GRID, conditions=((dp.Neumann(0.0), dp.Neumann(0.0)),) * 2
    )
    after = explicit_diffusion(field, 0.1, 0.01, closed).values
    np.testing.assert_allclose(after.sum(), field.values.sum(), rtol=1e-12)
    enclosed = [np.ones_like(faces) for faces in closed]
    np.testing.assert_array_equal(explicit_diffusion(field, 0.1, 0.01, enclosed).values, field.values)


@pytest.mark.parametrize("solid", [lambda shape: shape, pytest.param(Immersed, marks=pytest.mark.slow)])
def test_an_inflow_that_a_body_blocks_is_counted_without_it(float64, solid):
    """In a closed channel two inflows balance; half of one blocked they do not, and what is right is accepted."""
    half = dp.Box((-0.3, -0.5), (0.25, 0.5))
    ends = (dp.Inflow(1.0), dp.Inflow(-1.0))
    dp.IncompressibleFlow(
        GRID, 1e-3, 0.01, dict(x=ends, y=SLIP), solid=solid(dp.Sphere((0.6, 0.5), 0.2)), stepping=dp.RungeKutta(1)
    )
    with pytest.raises(dp.InputError, match="nothing out of it"):
        dp.IncompressibleFlow(GRID, 1e-3, 0.01, dict(x=ends, y=SLIP), solid=solid(half), stepping=dp.RungeKutta(1))
    with pytest.raises(dp.InputError, match="nothing out of it"):  # the way to the outflow is shut
        across = solid(dp.Box((0.5, -1.0), (0.75, 2.0)))
        dp.IncompressibleFlow(
            GRID, 1e-3, 0.01, dict(x=(dp.Inflow(1.0), dp.Outflow()), y=SLIP), solid=across, stepping=dp.RungeKutta(1)
        )
    flow = dp.IncompressibleFlow(
        GRID,
        1e-3,
        0.01,
        dict(x=(dp.Inflow(1.0), dp.Inflow(-0.5)), y=SLIP),
        solid=solid(half),
        stepping=dp.RungeKutta(1),
    )
    state = flow.initial_state()
    through = np.asarray(state.velocity[0].values)
    np.testing.assert_allclose(through[[0, 8]].sum(1), 5.0, rtol=1e-5)
    assert np.max(np.abs(flow.divergence(state).values)) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("bound", [None, 3])
def test_gradients_beside_an_obstacle(float64, bound):
    """Through a rollout, against a difference quotient; in a batch as one by one."""
    scalar = PassiveScalar(1e-2)
    sides = dict(x=(dp.Inflow(1.0, scalar=1.0), dp.Outflow()), y=SLIP)
    flow = dp.IncompressibleFlow(
        GRID,
        1e-3,
        0.03,
        sides,
        solid=dp.Sphere((0.5, 0.5), 0.2),
        scalars={"s": scalar},
        advection=dp.SemiLagrangian(bound),
    )
    start = flow.initial_state()
    weights = jnp.asarray(np.random.default_rng(0).standard_normal(GRID.cells))

    def measured(dt):
        final = dp.rollout(dataclasses.replace(flow, dt=dt), start, 6)[0]
        return jnp.sum(weights * final.scalars["s"].values)

    values, slopes = jax.jit(jax.vmap(jax.value_and_grad(measured)))(0.0311 + jnp.asarray([-1e-6, 0.0, 1e-6]))
    np.testing.assert_allclose(slopes[1], (values[2] - values[0]) / 2e-6, rtol=1e-5)
