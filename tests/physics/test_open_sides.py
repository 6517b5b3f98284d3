"""What leaves through an open side is gone, and what enters is what is outside: scalars and momentum."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp
from diffphys.operators import convection, interpolate
from diffphys.physics import IncompressibleFlow, PassiveScalar
from diffphys.physics.flow_sides import carried_conditions, entering_from_rest


GRID = dp.Grid((12, 8), (1.2, 0.8))
STRETCHED = dp.Grid.from_edges(
    [np.cumsum([0, *np.linspace(0.08, 0.12, 12)]), np.cumsum([0, *np.linspace(0.12, 0.08, 8)])]
)
SLIP, HOT = dp.Wall(slip=True), 300.0
FLOWS = {
    "semi-Lagrangian": {},
    "weighted shifts": dict(advection=dp.SemiLagrangian(2)),
    "cubic": dict(advection=dp.CubicSemiLagrangian()),
    "MacCormack": dict(advection=dp.MacCormack()),
    "van Leer by itself": dict(advection=dp.VanLeer()),
    "explicit": dict(stepping=dp.RungeKutta(2)),
    "upwind": dict(advection=dp.Upwind(), stepping=dp.RungeKutta(2)),
    "van Leer": dict(advection=dp.VanLeer(), stepping=dp.RungeKutta(2)),
    "implicit": dict(stepping=dp.ImplicitExplicit(2)),
    "fourth order": dict(advection=dp.SkewSymmetric(4), stepping=dp.RungeKutta(4)),
}
SIDES = {
    "open": dp.Open(),
    "through": dict(x=(dp.Inflow(1.0, scalar=HOT), dp.Open()), y=SLIP),
    "sucked out": dict(x=(dp.Inflow(-1.0), dp.Outflow()), y=dp.Open()),
    "both ways": dict(x=(dp.Inflow(jnp.linspace(-1.0, 1.0, 8), scalar=HOT), dp.Outflow()), y=dp.Wall()),
    "given outside": dict(x=(dp.Open(scalar=HOT), dp.Outflow(scalar=HOT)), y=dp.Open(scalar=HOT)),
}


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


def flow_of(kind: str, sides, grid=GRID, diffusivity=1e-3, dt=0.02, **more):
    return IncompressibleFlow(grid, 1e-3, dt, sides, scalars={"s": PassiveScalar(diffusivity)}, **FLOWS[kind], **more)


def stirred(flow, values: float | np.ndarray = HOT, seed=0):
    generator = np.random.default_rng(seed)
    shapes = [part.shape for part in flow.initial_state().velocity]
    return flow.initial_state([0.5 * generator.standard_normal(shape) for shape in shapes], {"s": values})


def advance(flow, state, steps):
    return jax.jit(lambda state: dp.rollout(flow, state, steps)[0])(state)


@pytest.mark.parametrize("kind", ["semi-Lagrangian", "explicit", slow("fourth order"), slow("implicit")])
def test_air_of_one_temperature_keeps_it(float64, kind):
    flow = flow_of(kind, SIDES["open"])
    final = advance(flow, stirred(flow), 5)
    np.testing.assert_allclose(final.scalars["s"].values, HOT, rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("grid", [GRID, STRETCHED])
@pytest.mark.parametrize("kind", FLOWS)
@pytest.mark.parametrize("sides", SIDES)
def test_air_of_one_temperature_keeps_it_everywhere(float64, kind, sides, grid):
    if kind == "weighted shifts" and grid is STRETCHED:
        return
    for seed in range(3):
        flow = flow_of(kind, SIDES[sides], grid)
        final = advance(flow, stirred(flow, seed=seed), 10)
        np.testing.assert_allclose(final.scalars["s"].values, HOT, rtol=1e-12)


ENDS = {"as inside": dp.Open(), "given": dp.Open(scalar=-7.0), "sucked": dp.Inflow(-1.0, scalar=-7.0)}


@pytest.mark.parametrize(
    "kind, end",
    [
        ("semi-Lagrangian", "given"),
        ("explicit", "as inside"),
        slow("explicit", "given"),
        slow("explicit", "sucked"),
        *(slow("semi-Lagrangian", end) for end in ("as inside", "sucked")),
        *(slow(kind, end) for kind in ("implicit", "fourth order") for end in ENDS),
    ],
)
def test_a_front_leaves_without_piling_up(float64, kind, end):
    """Carried in at 1 by a uniform stream, the channel is full after a crossing and stays so."""
    side = ENDS[end]
    flow = flow_of(kind, dict(x=(dp.Inflow(1.0, scalar=1.0), side), y=SLIP), diffusivity=2e-2)
    state = flow.initial_state()
    final, saved = jax.jit(lambda state: dp.rollout(flow, state, 300, save_every=60))(state)
    amounts = np.asarray(saved.scalars["s"].values).mean((1, 2))
    assert np.all(np.abs(amounts[2:] - 1.0) < 2e-2)
    assert np.all(np.asarray(saved.scalars["s"].values) < 1.15)
    np.testing.assert_allclose(final.scalars["s"].values, 1.0, atol=2e-4)


@pytest.mark.parametrize("kind", ["explicit", slow("implicit")])
def test_the_amount_changes_by_what_crosses_the_sides(float64, kind):
    """For a short step: the normal velocity times what is inside or outside, summed over the sides; nothing else."""
    flow = flow_of(kind, dict(x=(dp.Open(scalar=2.0), dp.Open(scalar=5.0)), y=dp.Open(scalar=3.0)), dt=1e-4)
    state = stirred(flow, np.random.default_rng(3).uniform(0.5, 1.5, GRID.cells))
    rate = (np.sum(advance(flow, state, 1).scalars["s"].values) - np.sum(state.scalars["s"].values)) / 1e-4
    scalar = np.asarray(state.scalars["s"].values)
    u, v = (np.asarray(part.values) for part in state.velocity)
    expected = 0.0
    for normal, inside, outside in (
        (u[0], scalar[0], 2.0),
        (-u[-1], scalar[-1], 5.0),
        (v[:, 0], scalar[:, 0], 3.0),
        (-v[:, -1], scalar[:, -1], 3.0),
    ):
        expected += np.sum(normal * np.where(normal > 0, outside, inside)) / 0.1
    np.testing.assert_allclose(rate, expected, rtol=5e-3)


def test_the_derivative_by_a_velocity_at_rest_is_the_mean_of_both_sides(float64):
    """The flux through a side is `v` times what is inside or outside; at `v = 0` its value has no jump."""
    flow = flow_of("explicit", dict(x=(dp.Inflow(0.0, scalar=3.0), dp.Open(scalar=5.0)), y=SLIP), diffusivity=0.0)

    def amount(speed):
        start = flow.initial_state(scalars={"s": 1.0})
        velocity = (start.velocity[0].with_values(start.velocity[0].values + speed), start.velocity[1])
        scalar = start.scalars["s"]
        conditions = carried_conditions(flow.sides, scalar.values, velocity, at_rest=0.5)
        flux = velocity[0].values * interpolate(scalar.with_conditions(conditions), velocity[0].offset).values
        return jnp.mean(flux[0] - flux[-1])

    def exactly(speed):
        return speed * ((3.0 if speed > 0 else 1.0) - (1.0 if speed > 0 else 5.0))

    for speed in (-0.1, 0.0, 0.1):
        np.testing.assert_allclose(amount(speed), exactly(speed), atol=1e-13)
    np.testing.assert_allclose(jax.grad(amount)(0.0), ((3.0 - 1.0) + (1.0 - 5.0)) / 2, rtol=1e-12)


def test_the_value_outside_is_traced(float64):
    def warmth(outside):
        flow = flow_of("explicit", dict(x=(dp.Open(scalar=outside), dp.Inflow(-1.0)), y=SLIP))
        return jnp.mean(advance(flow, flow.initial_state(), 10).scalars["s"].values)

    value, slope = jax.value_and_grad(warmth)(2.0)
    np.testing.assert_allclose(value, 2.0 * slope, rtol=1e-12)
    assert slope > 0.1
    with pytest.raises(dp.InputError, match="Open: scalar on axis x"):
        flow_of("explicit", dict(x=dp.Open(scalar=np.nan), y=SLIP))


def test_squares_of_what_is_carried_do_not_grow_where_clean_fluid_enters(float64):
    """Heavy fluid below an open ceiling: central fluxes change the sum of squares only through the sides, and what
    enters at zero brings none. (Entering as it is inside it has 1.9 times as much at the end.)
    """
    grid = dp.Grid((16, 16), (1.0, 1.0))
    x, y = grid.centers()
    blob = -jnp.exp(-((x - 0.4) ** 2 + (y - 0.9) ** 2) / 0.02)
    sides = dict(x=dp.Wall(), y=(dp.Wall(), dp.Open(scalar=0.0)))
    heavy, pull = {"s": PassiveScalar(0.0)}, (dp.Buoyancy("s", (0.0, 1.0)),)
    flow = IncompressibleFlow(grid, 1e-3, 0.02, sides, scalars=heavy, forces=pull, stepping=dp.RungeKutta(3))
    start = flow.initial_state(scalars={"s": blob})
    squares = dp.rollout(flow, start, 400, save_every=20, save=lambda state: jnp.sum(state.scalars["s"].values ** 2))[1]
    assert np.all(np.diff(np.asarray([jnp.sum(blob**2), *squares])) < 1e-4 * squares[0]), squares


def vortex_pair(flow, strength: float):
    """Two opposite vortices that push each other along x, from their stream function on the corners of the cells."""
    x, y = np.asarray(flow.grid.edges[0])[:, None], np.asarray(flow.grid.edges[1])[None]
    width, half = 0.12, 0.15
    stream = sum(
        sign * strength * width / 2 * np.exp(-((x - 1.2) ** 2 + (y - 0.5 - sign * half) ** 2) / (2 * width**2))
        for sign in (1, -1)
    )
    return flow.initial_state((np.diff(stream, axis=1) * 24, -np.diff(stream, axis=0) * 24))


@pytest.mark.parametrize(
    "side, order, stepping",
    [
        (dp.Outflow(), 2, dp.RungeKutta(3)),
        slow(dp.Open(), 2, dp.RungeKutta(3)),
        slow(dp.Outflow(), 4, dp.RungeKutta(4)),
        slow(dp.Outflow(), 2, dp.ImplicitExplicit(3)),
    ],
)
def test_a_vortex_pair_leaves_without_gain_of_energy(float64, side, order, stepping):
    grid = dp.Grid((48, 24), (2.0, 1.0))
    sides = dict(x=(SLIP, side), y=SLIP)
    flow = IncompressibleFlow(grid, 1e-5, 0.004, sides, advection=dp.SkewSymmetric(order), stepping=stepping)
    start = vortex_pair(flow, 12.0)

    @jax.jit
    def energies(state):
        def body(state, _):
            state = flow(state)
            return state, (flow.kinetic_energy(state), jnp.min(state.velocity[0].values))

        return jax.lax.scan(body, state, length=250)[1]

    energy, backward = energies(start)
    assert np.all(np.diff(np.asarray([flow.kinetic_energy(start), *energy])) <= 1e-12)
    assert np.min(backward) > 1.3 * np.min(start.velocity[0].values)


@pytest.mark.parametrize("grid", [GRID, STRETCHED])
def test_convection_gains_no_energy_through_free_sides(float64, grid):
    """What it loses is `v_n |v|^2 / 2` where fluid leaves, exactly; one normal factor is that one cell inside."""
    sides = dict(x=dp.Outflow(), y=SLIP)
    flow = IncompressibleFlow(grid, 0.0, 0.01, sides, stepping=dp.RungeKutta(3))
    generator = np.random.default_rng(7)
    state = flow.initial_state([generator.standard_normal(part.shape) for part in flow.initial_state().velocity])
    added = entering_from_rest(flow.sides, state.velocity, state.velocity)
    rates = [
        -carried.values + (0 if part is None else part)
        for carried, part in zip(convection(state.velocity), added, strict=True)
    ]
    change = jax.jvp(
        lambda *values: flow.kinetic_energy(
            dataclasses.replace(
                state, velocity=tuple(p.with_values(v) for p, v in zip(state.velocity, values, strict=True))
            )
        ),
        [part.values for part in state.velocity],
        rates,
    )[1]
    u, v = (np.asarray(part.values) for part in state.velocity)
    widths, expected = grid.widths(1), 0.0
    for sign, on, within in ((-1, 0, 1), (1, -1, -2)):
        expected -= np.sum(widths * u[on] ** 2 * np.maximum(sign * u[within], 0)) / 2
        crossing = sign * widths * u[on]
        crossing = np.maximum(crossing[1:] + crossing[:-1], 0) / 2  # at the slipping ends v is zero
        expected -= np.sum(crossing * v[on, 1:-1] ** 2) / 2
    np.testing.assert_allclose(change, expected, rtol=1e-11)
    assert expected < 0


@pytest.mark.parametrize("order", [2, slow(4)])
def test_where_nothing_flows_back_nothing_is_changed(float64, order):
    """A channel of Poiseuille's profile with a ripple: two programs, the same numbers to round-off."""
    y = (np.arange(8) + 0.5) / 8
    results = []
    for from_rest in (True, False):
        ends = (dp.Inflow(6 * y * (1 - y)), dp.Outflow(from_rest=from_rest))
        flow = IncompressibleFlow(
            GRID, 1e-2, 0.01, dict(x=ends, y=dp.Wall()), advection=dp.SkewSymmetric(order), stepping=dp.RungeKutta(2)
        )
        generator = np.random.default_rng(0)
        noise = [0.1 * generator.standard_normal(part.shape) for part in flow.initial_state().velocity]
        state = flow.initial_state((1.0 + noise[0], noise[1]))
        results.append([np.asarray(part.values) for part in advance(flow, state, 5).velocity])
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-13, atol=1e-15)
    assert np.min(results[0][0][-1]) > 0


def test_two_pressures_drive_a_channel(float64):
    """Poiseuille's flow between two pressures is steady where the entering fluid brings its velocity along."""
    y = (np.arange(8) + 0.5) * 0.1
    viscosity, drop = 0.05, 0.6
    profile = drop / 1.2 / (2 * viscosity) * (y * (0.8 - y) + 0.1**2 / 4)  # of the differences: zero at the walls
    ends = (dp.Outflow(pressure=drop, from_rest=False), dp.Outflow())
    flow = IncompressibleFlow(GRID, viscosity, 0.01, dict(x=ends, y=dp.Wall()), stepping=dp.RungeKutta(2))
    state = flow.initial_state((np.broadcast_to(profile, (13, 8)), 0.0))
    final = advance(flow, state, 20)
    np.testing.assert_allclose(final.velocity[0].values, state.velocity[0].values, rtol=1e-10)
