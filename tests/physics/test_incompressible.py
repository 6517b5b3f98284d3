"""The projection, the step's derivatives, what the sides mean, and what is refused."""

import dataclasses
import functools
import itertools
from typing import Any

import equinox as eqx
import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp
from diffphys.operators import divergence
from diffphys.poisson import ConjugateGradients
from tests.domains import domains, free_faces, make_flow, mask, pressure_pairs, random_velocity
from tests.gradients import check_derivatives


pytestmark = pytest.mark.usefixtures("float64")

OBSTACLE = np.zeros((7, 6), bool)
OBSTACLE[2:5, 1:4] = True
OBSTACLE[3, 2] = False  # a pocket of fluid
OBSTACLE[6, 5] = OBSTACLE[0, 0] = True  # touches the sides


def channel(**settings: Any) -> dp.IncompressibleFlow:
    """A small wake flow: inflow, outflow, slip walls, an obstacle, a held region and a carried scalar."""
    given: dict[str, Any] = dict(
        grid=dp.Grid((5, 8), (2.5, 5.0)),
        viscosity=0.02,
        dt=0.3,
        sides=dict(x=dp.Wall(slip=True), y=(dp.Inflow(1.1, scalar=0.4), dp.Outflow())),
        solid=dp.Sphere(center=(1.2, 1.8), radius=0.45),
        forces=(dp.Held(dp.Box((-1.0, -1.0), (9.0, 0.9)), (None, 1.05)),),
        scalars={"dye": dp.PassiveScalar(diffusivity=0.01, source=dp.Sphere((0.7, 3.0), 0.6), rate=0.5)},
    )
    return dp.IncompressibleFlow(**(given | settings))


def random_state(flow: dp.IncompressibleFlow, seed: int = 0) -> dp.FlowState:
    """Values for every face, also inside of the obstacle: a step accepts any state, and kinks at zero are avoided."""
    generator = np.random.default_rng(seed)
    velocity = tuple(part.with_values(0.3 + part.values) for part in random_velocity(flow, generator, 0.3))
    start = flow.initial_state(scalars={name: generator.random(flow.grid.cells) for name in flow.scalars})
    return dataclasses.replace(start, velocity=velocity)


# The projection ------------------------------------------------------------------------------------------------------


def check_projection(flow: dp.IncompressibleFlow, generator: np.random.Generator) -> None:
    """For homogeneous sides: idempotent, symmetric, without divergence, and zero on the faces that are not free."""

    def project(velocity):
        return flow.project(velocity)[0]

    def inner(first, second):
        return sum(
            float(np.sum(np.asarray(a.values) * np.asarray(b.values))) for a, b in zip(first, second, strict=True)
        )

    first, second = random_velocity(flow, generator), random_velocity(flow, generator)
    projected, solution = eqx.filter_jit(flow.project)(first)
    size = inner(first, first)
    spacing = min(flow.grid.spacing)
    # Even a region that fluid cannot leave takes no part in an imbalance where nothing flows in.
    assert float(solution.imbalance) < 1e-12 / spacing
    assert float(jnp.max(jnp.abs(divergence(projected).values))) < 1e-12 / spacing
    for axis, part in enumerate(projected):
        np.testing.assert_allclose(np.where(free_faces(flow, axis), 0, part.values), 0, atol=1e-13)
    for one, two in zip(project(projected), projected, strict=True):
        np.testing.assert_allclose(one.values, two.values, rtol=0, atol=1e-12)
    assert abs(inner(project(first), second) - inner(first, project(second))) < 1e-12 * size
    assert inner(projected, projected) <= size * (1 + 1e-12)


@pytest.mark.parametrize("solid", [None, OBSTACLE], ids=["empty", "obstacle"])
def test_the_projection_is_orthogonal_for_every_combination_of_sides(solid):
    grid = dp.Grid((7, 6), (1.0, 2.3))
    generator = np.random.default_rng(0)
    for pairs in itertools.product(pressure_pairs(), repeat=2):
        flow = make_flow(grid, pairs, None if solid is None else mask(solid), viscosity=1e-3)
        check_projection(flow, generator)


@pytest.mark.slow
@hypothesis.settings(max_examples=12)
@hypothesis.given(domain=domains(obstacle=True))
def test_the_projection_is_orthogonal_in_any_domain(domain):
    check_projection(domain.flow(), np.random.default_rng(1))


@pytest.mark.parametrize("solver", ["direct", "iterative"])
def test_the_gradient_of_half_the_square_of_the_projection_is_the_projection(solver):
    for pairs in ([pressure_pairs()[0], pressure_pairs()[2]], [pressure_pairs()[1]] * 2):
        settings: dict[str, Any] = {}
        if solver == "iterative":
            settings["pressure_solver"] = functools.partial(ConjugateGradients, tolerance=1e-14)
        flow = make_flow(dp.Grid((7, 6), (1.0, 2.3)), pairs, mask(OBSTACLE), viscosity=1e-3, **settings)
        velocity = random_velocity(flow, np.random.default_rng(2))

        def energy(values, velocity=velocity, flow=flow):
            given = [part.with_values(one) for part, one in zip(velocity, values, strict=True)]
            return jnp.sum(jnp.stack([jnp.sum(part.values**2) for part in flow.project(given)[0]])) / 2

        found = jax.jit(jax.grad(energy))([part.values for part in velocity])
        for one, part in zip(found, flow.project(velocity)[0], strict=True):
            np.testing.assert_allclose(one, part.values, rtol=0, atol=1e-11)


def test_inflow_with_any_profile_leaves_no_divergence():
    """Also where an obstacle stands in the inflow, and where an axis is periodic."""
    grid = dp.Grid((7, 6), (1.0, 2.3))
    generator = np.random.default_rng(3)
    for lateral in (dp.Periodic(), dp.Wall(), (dp.Inflow(0.3), dp.Open())):
        for solid in (None, OBSTACLE):
            sides = dict(x=lateral, y=(dp.Inflow(generator.standard_normal(7)), dp.Outflow()))
            flow = dp.IncompressibleFlow(grid, 1e-3, 0.1, sides, None if solid is None else mask(solid))
            projected, solution = flow.project(random_velocity(flow, generator))
            assert float(jnp.max(jnp.abs(divergence(projected).values))) < 1e-12
            assert float(solution.imbalance) < 1e-12
            once_more, _ = flow.project(projected)
            for one, two in zip(once_more, projected, strict=True):
                np.testing.assert_allclose(one.values, two.values, rtol=0, atol=1e-12)


# What is between the sides of a step ---------------------------------------------------------------------------------


def test_what_flows_in_flows_out():
    flow = channel(sides=dict(x=dp.Wall(), y=(dp.Inflow(jnp.asarray([0.2, 0.9, 1.3, 0.8, 0.1])), dp.Outflow())))
    final, frames = dp.rollout(flow, flow.initial_state(), 20, save_every=5)
    normal = frames.velocity[1].values
    np.testing.assert_allclose(normal.sum(axis=1), 3.3, atol=1e-12)  # the same flux through every section
    assert float(jnp.max(jnp.abs(divergence(final.velocity).values))) < 1e-12
    np.testing.assert_allclose(final.time, 6.0)


def test_fluid_at_rest_stays_at_rest_under_a_potential_force():
    """Hydrostatics: the pressure alone carries a force that is a gradient, beside any obstacle."""
    grid = dp.Grid((7, 6), (1.0, 2.3))
    potential = np.random.default_rng(4).standard_normal(grid.cells)
    flow = make_flow(grid, [(dp.Wall(), dp.Wall())] * 2, mask(OBSTACLE), viscosity=1e-3, dt=0.05)
    force = []
    for axis in range(2):
        slope = np.diff(potential, axis=axis) / grid.spacing[axis]
        force.append(jnp.pad(jnp.asarray(slope), [(1, 1) if a == axis else (0, 0) for a in range(2)]))
    state = flow.initial_state()
    step = jax.jit(lambda state: flow(state, force))
    for _ in range(3):
        state = step(state)
    for part in state.velocity:
        np.testing.assert_allclose(part.values, 0, atol=1e-13)
    fluid = ~OBSTACLE
    fluid[3, 2] = False  # the pocket has its own mean pressure
    difference = (np.asarray(state.pressure.values) - potential)[fluid]
    np.testing.assert_allclose(difference, difference.mean(), atol=1e-11)


def test_held_velocities_are_seen_by_the_advection():
    """Everything held at one cell per step: the scalar moves by one cell exactly."""
    grid = dp.Grid((6, 5))
    flow = dp.IncompressibleFlow(
        grid,
        viscosity=0.0,
        dt=0.5,
        sides=dp.Periodic(),
        forces=[dp.Held(dp.Box((-9.0, -9.0), (99.0, 99.0)), (2.0, None))],
        scalars={"dye": dp.PassiveScalar()},
    )
    dye = np.random.default_rng(5).random((6, 5))
    state = eqx.filter_jit(flow)(flow.initial_state(scalars={"dye": dye}))
    np.testing.assert_allclose(state.scalars["dye"].values, np.roll(dye, 1, 0), atol=1e-14)
    np.testing.assert_allclose(state.velocity[0].values, 2.0, atol=1e-13)


def test_a_source_releases_its_rate():
    flow = channel()
    empty = dataclasses.replace(
        flow,
        sides=dp.Wall(),
        forces=(),
        scalars={"dye": dp.PassiveScalar(source=dp.Box((-1.0, 1.0), (9.0, 4.0)), rate=0.7)},
    )
    state = eqx.filter_jit(empty)(empty.initial_state())
    np.testing.assert_allclose(float(state.scalars["dye"].values.max()), 0.7 * 0.3, rtol=1e-12)


def test_the_choice_of_solver_changes_nothing():
    flow = channel()
    state = random_state(flow)
    other = dataclasses.replace(flow, pressure_solver=functools.partial(ConjugateGradients, tolerance=1e-13))
    found = [jax.tree.leaves(eqx.filter_jit(one)(state)) for one in (flow, other)]
    for one, two in zip(*found, strict=True):
        np.testing.assert_allclose(one, two, rtol=0, atol=1e-10)


# Derivatives ---------------------------------------------------------------------------------------------------------


def numbers_of(flow: dp.IncompressibleFlow) -> dict:
    shapes = [part.shape for part in flow.initial_state().velocity]
    generator = np.random.default_rng(6)
    return dict(
        viscosity=flow.viscosity,
        dt=flow.dt,
        inflow=flow.sides[1][0].speed,  # pyright: ignore[reportAttributeAccessIssue]
        held=flow.forces[0].velocity[1],
        diffusivity=flow.scalars["dye"].diffusivity,
        rate=flow.scalars["dye"].rate,
        force=[jnp.asarray(0.1 * generator.standard_normal(shape)) for shape in shapes],
    )


def with_numbers(flow: dp.IncompressibleFlow, numbers: dict) -> dp.IncompressibleFlow:
    names = [name for name in numbers if name != "force"]

    def places(tree):
        where = dict(
            viscosity=lambda f: f.viscosity,
            dt=lambda f: f.dt,
            inflow=lambda f: f.sides[1][0].speed,
            held=lambda f: f.forces[0].velocity[1],
            diffusivity=lambda f: f.scalars["dye"].diffusivity,
            rate=lambda f: f.scalars["dye"].rate,
        )
        return [where[name](tree) for name in names]

    return eqx.tree_at(places, flow, [numbers[name] for name in names])


def wake_step(flow, state, numbers):
    return with_numbers(flow, numbers)(state, numbers["force"])


@pytest.mark.parametrize(
    ("largest_courant", "second"),
    [(1, False), pytest.param(1, True, marks=pytest.mark.slow), pytest.param(None, True, marks=pytest.mark.slow)],
)
def test_derivatives_of_the_wake_step(largest_courant, second, key):
    """With respect to the state and every number, all at once, and each alone, since a small one could hide."""
    flow = channel(advection=dp.SemiLagrangian(largest_courant))
    state, numbers = random_state(flow), numbers_of(flow)
    assert float(flow.courant_number(state)) < 1
    point = (state, numbers)
    check_derivatives(lambda given: wake_step(flow, *given), point, key, second=second)


class TinyNetwork(eqx.Module):
    """Smooth, so that Taylor's theorem holds, and small, so that the flow stays a flow."""

    weights: jax.Array
    bias: jax.Array

    def __call__(self, channels):
        near = channels + jnp.roll(channels, 1, 1) - jnp.roll(channels, 1, 2)
        return 0.05 * jnp.tanh(jnp.tensordot(self.weights, near, 1) + self.bias[:, None, None])


@pytest.mark.slow
def test_derivatives_of_five_steps_that_carry_a_network(key):
    """Through `rollout` and `Corrected`, with respect to the state, the numbers, and the network's weights."""
    flow = channel(advection=dp.SemiLagrangian(1))
    network = TinyNetwork(jax.random.normal(key, (2, 2)), jnp.asarray([0.3, -0.1]))
    state, numbers = flow.initial_state(), numbers_of(flow)
    state = random_state(flow)
    forces = [jnp.stack([part * (1 + 0.1 * i) for i in range(5)]) for part in numbers.pop("force")]

    def unrolled(given):
        state, numbers, network, forces = given
        step = dp.Corrected(with_numbers(flow, numbers), network)
        return dp.rollout(step, state, 5, inputs=forces)[0]

    point = (state, numbers, network, forces)
    check_derivatives(unrolled, point, key)


# Batches and compilations --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_vmap_over_viscosity_and_over_states_equals_a_loop():
    flow = channel()
    states = [random_state(flow, seed) for seed in range(3)]
    batch = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
    together = jax.vmap(flow)(batch)
    for index, state in enumerate(states):
        for one, two in zip(jax.tree.leaves(together), jax.tree.leaves(flow(state)), strict=True):
            np.testing.assert_allclose(one[index], two, rtol=0, atol=1e-12)
    viscosities = jnp.asarray([0.0, 0.01, 0.03])

    def final(viscosity):
        return dp.rollout(dataclasses.replace(flow, viscosity=viscosity), states[0], 3)[0]

    together = jax.vmap(final)(viscosities)
    for index, viscosity in enumerate(viscosities):
        for one, two in zip(jax.tree.leaves(together), jax.tree.leaves(final(viscosity)), strict=True):
            np.testing.assert_allclose(one[index], two, rtol=0, atol=1e-12)


# Bad input -----------------------------------------------------------------------------------------------------------

INF, NAN = float("inf"), float("nan")

REFUSED = {
    "grid": dict(grid=(5, 8)),
    "viscosity": [dict(viscosity=value) for value in (-0.1, NAN, INF, (1.0, 2.0), "thick", None)],
    "dt": [dict(dt=value) for value in (0.0, -0.1, NAN, "long")],
    "dt is": [dict(viscosity=1.0), dict(dt=30.0)],  # beyond the bound of explicit diffusion
    "sides": [
        dict(sides=None),
        dict(sides="wall"),
        dict(sides=dict(x=dp.Wall())),
        dict(sides=dict(x=dp.Wall(), y=dp.Wall(), z=dp.Wall())),
        dict(sides=dict(x=dp.Wall(), y=(dp.Periodic(), dp.Wall()))),
        dict(sides=dict(x=dp.Wall(), y=3)),
        dict(sides=dict(x=dp.Wall(), y=(dp.Wall(), dp.Wall(), dp.Wall()))),
        dict(sides=dict(x=dp.Wall, y=dp.Wall())),
        dict(sides=dict(x=dp.Wall(), y=(dp.Inflow(1.0), dp.Wall()))),  # a net flux that cannot vanish
        dict(sides=dict(x=dp.Wall(), y=dp.Inflow(1.0))),
    ],
    "speed": [
        dict(sides=dict(x=dp.Wall(), y=(dp.Inflow(jnp.ones(4)), dp.Outflow()))),
        dict(sides=dict(x=dp.Wall(), y=(dp.Inflow(NAN), dp.Outflow()))),
    ],
    "velocity": [
        dict(sides=dict(x=dp.Wall(velocity=jnp.ones(3)), y=dp.Outflow())),
        dict(sides=dict(x=dp.Wall(velocity=NAN), y=dp.Outflow())),
        dict(forces=(dp.Held(dp.Sphere((1.0, 1.0), 1.0), (1.0,)),)),
    ],
    "scalar": dict(sides=dict(x=dp.Wall(), y=(dp.Inflow(1.0, scalar=NAN), dp.Outflow()))),
    "solid": [
        dict(solid=dp.Sphere(center=(50.0, 50.0), radius=1.0)),  # outside
        dict(solid=dp.Sphere(center=(1.0, 1.0), radius=50.0)),  # fills it
        dict(solid=dp.Sphere(center=(1.26, 1.26), radius=0.001)),  # between the centers
        dict(solid="cylinder"),
    ],
    "center": dict(solid=dp.Sphere(center=(1.0, 1.0, 1.0), radius=0.5)),
    "dt is 0.3; with the diffusivity of PassiveScalar 'dye'": dict(scalars={"dye": dp.PassiveScalar(diffusivity=5.0)}),
    "scalars": dict(scalars={"dye": 0.1}),
    "forces": dict(forces=(dp.Sphere((1.0, 1.0), 1.0),)),
    "where": dict(forces=(dp.Held(dp.Sphere((1.0,), 1.0), (1.0, None)),)),
    "source": dict(scalars={"dye": dp.PassiveScalar(source=dp.Sphere((1.0,), 1.0))}),
    "largest_courant": dict(advection=dp.SemiLagrangian((1, 2, 3))),
    "advection": [dict(advection=value) for value in (3, "upwind")],
    "stepping": [dict(stepping=value) for value in (3, "RK4", None)],
    "pressure_solver": [dict(pressure_solver=value) for value in (3, "direct")],
}


@pytest.mark.parametrize(
    "name, settings",
    [(name, one) for name, given in REFUSED.items() for one in (given if isinstance(given, list) else [given])],
)
@pytest.mark.usefixtures("unchecked_types")
def test_bad_settings_are_refused_by_name(name, settings):
    with pytest.raises(dp.InputError, match=name):
        channel(**settings)


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("settings", [dict(diffusivity=-1.0), dict(diffusivity=NAN), dict(rate=NAN), dict(rate="x")])
def test_bad_scalars_are_refused_by_name(settings):
    with pytest.raises(dp.InputError, match=f"PassiveScalar: {next(iter(settings))} is"):
        dp.PassiveScalar(**settings)


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    ("words", "where", "velocity"),
    [
        ("where is None; a shape is accepted", None, (1.0, None)),
        (r"velocity\[0\] is '1.0'; a number", dp.Sphere((1.0, 1.0), 1.0), ("1.0", None)),
        (r"velocity\[1\] is nan; finite", dp.Sphere((1.0, 1.0), 1.0), (1.0, NAN)),
        (r"velocity is 1.0; a number or None for each axis", dp.Sphere((1.0, 1.0), 1.0), 1.0),
        (r"velocity is 'fast'; a number or None for each axis", dp.Sphere((1.0, 1.0), 1.0), "fast"),
    ],
)
def test_bad_held_regions_are_refused_by_name(words, where, velocity):
    with pytest.raises(dp.InputError, match=f"Held: {words}"):
        dp.Held(where, velocity)


@pytest.mark.usefixtures("unchecked_types")
def test_bad_states_are_refused_by_name():
    flow = channel()
    good = random_state(flow)
    x_shape, y_shape = (part.shape for part in good.velocity)
    for velocity, words in (
        ((0.0,), "velocity"),
        ((0.0, NAN), r"velocity\[1\]"),
        ((0.0, np.full(y_shape, INF)), r"velocity\[1\]"),
        ((np.zeros(y_shape), 0.0), r"velocity\[0\]"),
        ((np.zeros((3, *x_shape)), 0.0), "vmap"),
        ((np.zeros(x_shape[1:]), 0.0), r"velocity\[0\]"),  # broadcasting would guess along which axis it runs
    ):
        with pytest.raises(dp.InputError, match=words):
            flow.initial_state(velocity)
    for scalars, words in (
        ({"smoke": 0.0}, "smoke"),
        ({"dye": NAN}, "dye"),
        ({"dye": np.zeros((8, 5))}, "dye"),
        ({"dye": np.zeros((3, 5, 8))}, "vmap"),
    ):
        with pytest.raises(dp.InputError, match=words):
            flow.initial_state(scalars=scalars)
    batch = jax.tree.map(lambda leaf: jnp.stack([leaf] * 3), good)
    with pytest.raises(dp.InputError, match="vmap"):
        flow(batch)
    with pytest.raises(dp.InputError, match="vmap"):
        dp.rollout(flow, batch, 2)
    with pytest.raises(dp.InputError, match="dye"):
        flow(dataclasses.replace(good, scalars={}))
    with pytest.raises(dp.InputError, match="force"):
        eqx.filter_jit(flow)(good, [0.1])  # of which a part is done before it is looked at
    with pytest.raises(dp.InputError, match=r"force\[0\]"):
        flow(good, [np.zeros((2, 2)), 0.1])


def test_an_obstacle_that_is_traced_is_refused_with_a_way_out():
    with pytest.raises(dp.InputError, match="solid.*traced"):
        jax.jit(lambda radius: channel(solid=dp.Sphere((1.0, 1.0), radius)).initial_state())(0.5)
