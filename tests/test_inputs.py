"""What is given at the public entrances: whole numbers, a state of another grid, and what is no input at all."""

import dataclasses
import functools
import pickle
from typing import Any

import equinox as eqx
import hypothesis
import hypothesis.extra.numpy
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import strategies

import diffphys as dp
from diffphys import inversion, learning, nets, operators, physics, poisson
from diffphys.grids import (
    Complement,
    ConvectiveOutflow,
    Extruded,
    Ghost,
    Kept,
    Robin,
    Rotated,
    Translated,
    Union,
    Unknown,
    face_offset,
    parse_sides,
    refined_edges,
    rotation_matrix,
    tanh_edges,
)
from diffphys.grids.numbers import as_floating, as_number, as_whole
from diffphys.physics import Concentrations, PlasmaState, WaterState, WaveState
from diffphys.stepping import SubSteps


GRID = dp.Grid((8, 8), (1.0, 1.0))
WIDER = dp.Grid((8, 8), (2.0, 1.0))  # arrays of one shape: only the grid tells them apart
CLOSED = ((dp.Periodic(), dp.Periodic()),) * 2
MIXED = ((dp.Dirichlet(0.5), dp.Neumann(0.25)), (dp.Periodic(), dp.Periodic()))


# --- Whole numbers


def test_the_difference_of_whole_numbers_beside_a_value_is_that_of_numbers():
    grid, ends = dp.Grid((4,), (1.0,)), ((dp.Dirichlet(0.5), dp.Dirichlet(0.5)),)
    field = dp.Field(np.array([0, 0, 0, 1]), grid, conditions=ends)
    assert jnp.issubdtype(field.values.dtype, jnp.floating)
    # (0 - 0.5) / (h / 2) at the lower end, (0.5 - 1) / (h / 2) at the upper one
    np.testing.assert_allclose(operators.difference(field, 0).values, [-4, 0, 0, 4, -4], atol=1e-6)


def centered_and_linear(field):
    """Everything that takes a centered field of these conditions, all in one program."""
    places = [face_offset(GRID, axis) for axis in range(2)]
    speed = [dp.Field(jnp.full(GRID.shape(place, field.periodic), 0.3), GRID, place, MIXED) for place in places]
    rhs = field.values
    problem = poisson.PressureProblem.from_conditions(GRID, MIXED)
    return [
        operators.laplacian(field).values,
        operators.difference(field, 0).values,
        operators.interpolate(field, (0.0, 0.5)).values,
        operators.convert(field, (0.0, 0.5)).values,
        operators.coarsen(field, 2).values,
        operators.refine(field, 2).values,
        operators.sample(field, [jnp.array([0.3]), jnp.array([1])]),
        operators.explicit_diffusion(field, 1, 0.001).values,
        operators.implicit_diffusion(field, 1, 0.01).values,
        operators.exact_diffusion(field, 1, 0.01).values,
        operators.semi_lagrangian(field, speed, 0.1).values,
        operators.semi_lagrangian(field, speed, 0.1, 1).values,
        operators.cubic_semi_lagrangian(field, speed, 0.1).values,
        operators.advection_rate(field, speed, "van_leer").values,
        dp.Heat(GRID, 1, 0.001, MIXED)(field).values,
        poisson.direct(problem).solve(rhs).pressure,
        poisson.apply(problem, rhs),
        inversion.PoissonSolve()(rhs),
        inversion.SpectralHeat(0.01)(rhs),
        learning.half_sum_of_squares(rhs, 2 * jnp.asarray(rhs)),
    ]  # fmt: skip


@jax.jit
def results(given):
    return centered_and_linear(dp.Field(given, GRID, conditions=MIXED)), [
        poisson.direct(poisson.PressureProblem.from_conditions(GRID, MIXED)).solve(given).pressure,
        inversion.PoissonSolve()(given),
        inversion.SpectralHeat(0.01)(given),
        learning.mean_absolute_error(given, 1 - given.astype(bool)),
        nets.convolve(given[None], jnp.ones((3, 3, 1, 1), int)),
    ]


def check_whole_numbers(values):
    exact = results(values.astype(np.float32))
    for given, expected in zip(jax.tree.leaves(results(values)), jax.tree.leaves(exact), strict=True):
        assert jnp.issubdtype(given.dtype, jnp.floating)
        np.testing.assert_allclose(given, expected, rtol=1e-5, atol=1e-5 * (1 + np.abs(expected).max()))


def whole(*kinds):
    return hypothesis.extra.numpy.arrays(
        strategies.sampled_from([np.dtype(kind) for kind in kinds]),
        (8, 8),
        elements=strategies.integers(0, 1),
    )


@hypothesis.settings(max_examples=4)
@hypothesis.given(values=whole("int32", "bool"))
def test_whole_numbers_and_booleans_give_what_the_same_numbers_give(values):
    check_whole_numbers(values)


@pytest.mark.slow
@hypothesis.settings(max_examples=100)
@hypothesis.given(values=whole("int8", "uint8", "int16", "uint16", "int32", "uint32", "bool"))
def test_whole_numbers_of_every_type_give_what_the_same_numbers_give(values):
    check_whole_numbers(values)


def test_an_integral_right_side_has_the_solution_of_the_equation():
    problem = poisson.PressureProblem.from_conditions(GRID, ((dp.Neumann(), dp.Neumann()),) * 2)
    rhs = np.arange(64).reshape(8, 8)
    for solver in (poisson.direct(problem), poisson.ConjugateGradients(problem)):
        solution = solver.solve(rhs)  # pyright: ignore
        np.testing.assert_allclose(poisson.apply(problem, solution.pressure), rhs - rhs.mean(), atol=1e-3)


def test_a_whole_position_on_a_stretched_axis_is_looked_up_where_it_is():
    grid = dp.Grid.from_edges([np.array([0.0, 0.5, 1.5, 3.0, 4.0])])
    centers = grid.centers()[0]
    field = dp.Field(2 * centers, grid, conditions=((dp.Dirichlet(0.0), dp.Dirichlet(8.0)),))
    np.testing.assert_allclose(operators.sample(field, [np.array([1, 2, 3])]), [2, 4, 6], rtol=1e-6)  # pyright: ignore


def test_unsigned_numbers_do_not_wrap_in_a_loss():
    three, five = np.array([3], np.uint8), np.array([5], np.uint8)
    np.testing.assert_allclose(learning.half_sum_of_squares(three, five), 2.0)
    np.testing.assert_allclose(learning.mean_absolute_error(three, five), 2.0)


STAGES = functools.partial(dp.IncompressibleFlow, stepping=dp.RungeKutta(1))


@pytest.mark.parametrize("flow", [dp.IncompressibleFlow, STAGES])
def test_a_flow_takes_whole_numbers_everywhere(flow):
    def run(one, two):
        sides = dict(x=(dp.Inflow(one), dp.Outflow()), y=dp.Wall())
        made = flow(GRID, 0.001, 0.01, sides, scalars={"s": dp.PassiveScalar(0.0, dp.Box((0, 0), (1, 1)), two)})
        start = made.initial_state((one * np.ones((9, 8), type(one)), two - 2 * one), {"s": one})
        pushes = (np.full(2, two), np.full(2, 0 * one))
        return dp.rollout(made, start, 2, inputs=pushes)[0] if flow is STAGES else start

    for given, expected in zip(jax.tree.leaves(run(1, 2)), jax.tree.leaves(run(1.0, 2.0)), strict=True):
        assert jnp.issubdtype(given.dtype, jnp.floating)
        np.testing.assert_array_equal(given, expected)


@pytest.mark.parametrize("value", [1j, np.array([1j]), "1.5", b"1", None, {}, [[1], [1, 2]], np.datetime64("2020")])
def test_what_is_no_real_number_is_refused(value):
    for convert in (as_number, as_floating):
        with pytest.raises(dp.InputError, match="a number or an array of numbers is accepted"):
            convert(value, "Sphere: radius")


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("kind", [np.int8, np.uint64, np.array, jnp.asarray])
def test_a_whole_number_may_be_of_any_integral_type(kind):
    two = kind(2)
    assert as_whole(two) == 2 and type(as_whole(two)) is int
    heat = dp.Heat(GRID, 0.001, 0.01, CLOSED)
    final, frames = dp.rollout(heat, heat.initial_state(1.0), two, save_every=two, adjoint=dp.Truncated(two))
    assert frames.values.shape == (1, 8, 8)
    made = (
        SubSteps(FLOWS["runge_kutta"](GRID), largest=two).largest,
        dp.SemiLagrangian(two).largest_courant,
        dp.RungeKutta(two).order,
        dp.SkewSymmetric(two).order,
        dp.Burgers(GRID, 0.001, 0.01, CLOSED, two).largest_courant,
        dp.Stage(two, two, optax.sgd(1.0)).unroll,
        inversion.RepeatedInverse(abs, max, two).steps,
        inversion.TimeReversal(abs, two, abs).steps,
        inversion.BFGS(abs, steps=two, memory=two).memory,
        poisson.MultigridConjugateGradients(
            poisson.PressureProblem.from_conditions(GRID, CLOSED), largest_iterations=two, smoothing=two
        ).smoothing,
    )
    assert made == (2,) * len(made) and all(type(one) is int for one in made)
    assert GRID.coarsened(two) == operators.coarsen(final, two).grid
    assert len(tanh_edges(two, 0.0, 1.0)) == 3
    assert nets.MLP((two, two), jnp.tanh, key=jax.random.key(0)).layers[0].weight.shape == (2, 2)
    assert nets.Convolution(two, two, axes=two, key=jax.random.key(0)).kernel.shape == (3, 3, 2, 2)


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("value", [True, 2.0, "2", None, np.array([2]), -1, np.bool_(True)])
def test_what_is_no_whole_number_is_refused(value):
    heat = dp.Heat(GRID, 0.001, 0.01, CLOSED)
    with pytest.raises(dp.InputError, match="a whole number of at least 0 is accepted"):
        dp.rollout(heat, heat.initial_state(1.0), value)
    with pytest.raises(dp.InputError, match="a whole number of at least 1 is accepted"):
        dp.Stage(value, 1, optax.sgd(1.0))


# --- A state of another grid


def splitting(grid):
    return dp.IncompressibleFlow(grid, 0.001, 0.01, dp.Periodic(), scalars={"s": dp.PassiveScalar()})


def runge_kutta(grid):
    return dp.IncompressibleFlow(
        grid, 0.001, 0.01, dp.Periodic(), scalars={"s": dp.PassiveScalar()}, stepping=dp.RungeKutta(1)
    )


FLOWS = {"splitting": splitting, "runge_kutta": runge_kutta}
SYSTEMS = {
    "heat": lambda grid: dp.Heat(grid, 0.001, 0.01, CLOSED),
    "corrected": lambda grid: dp.Corrected(dp.Heat(grid, 0.001, 0.01, CLOSED), lambda image: image),
    "burgers": lambda grid: dp.Burgers(grid, 0.001, 0.01, CLOSED),
    **FLOWS,
    "sub-steps": lambda grid: SubSteps(runge_kutta(grid)),
}


def state_on(grid) -> dict[str, Any]:
    """For each system a state, by name."""
    velocity = tuple(dp.Field(jnp.ones((8, 8)), grid, face_offset(grid, axis), CLOSED) for axis in range(2))
    center = dp.Field(jnp.ones((8, 8)), grid, conditions=CLOSED)
    flow = dp.FlowState(velocity, center, {"s": center}, jnp.zeros(()))
    return {name: flow for name in SYSTEMS} | {"heat": center, "corrected": center, "burgers": velocity}


def refused_for_its_grid(call):
    with pytest.raises(dp.InputError, match="another grid") as raised:
        call()
    message = str(raised.value)
    assert str(GRID) in message and str(WIDER) in message and len(message) < 300 and "\n" not in message


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_state_of_another_grid_is_refused_in_a_sentence_that_names_both(name):
    system, state = SYSTEMS[name](GRID), state_on(WIDER)[name]
    refused_for_its_grid(lambda: system(state))
    refused_for_its_grid(lambda: dp.rollout(system, state, 2))
    refused_for_its_grid(lambda: eqx.filter_jit(system)(state))
    if hasattr(system, "courant_number"):
        refused_for_its_grid(lambda: system.courant_number(state))


@pytest.mark.parametrize("name", FLOWS)
def test_every_method_of_a_flow_refuses_what_lives_on_another_grid(name):
    flow, state, own = FLOWS[name](GRID), state_on(WIDER)[name], state_on(GRID)[name]
    refused_for_its_grid(lambda: flow.project(state.velocity))
    refused_for_its_grid(lambda: flow.initial_state(state.velocity))
    refused_for_its_grid(lambda: flow(own, state.velocity))
    refused_for_its_grid(lambda: flow(dataclasses.replace(own, pressure=state.pressure)))
    refused_for_its_grid(lambda: flow(dataclasses.replace(own, scalars=state.scalars)))
    if name == "runge_kutta":
        body = dp.IncompressibleFlow(
            GRID, 0.001, 0.01, dp.Wall(), dp.Sphere((0.5, 0.5), 0.2), flow.scalars, stepping=dp.RungeKutta(1)
        )
        for method in (flow.divergence, flow.kinetic_energy, body.forces_on_solid):
            refused_for_its_grid(lambda method=method: method(state))


def test_operators_refuse_a_velocity_of_another_grid():
    own, other = state_on(GRID)["heat"], state_on(WIDER)["burgers"]
    carried = (operators.semi_lagrangian, operators.cubic_semi_lagrangian, operators.maccormack)
    for operator in carried:
        refused_for_its_grid(lambda operator=operator: operator(own, other, 0.1))
    refused_for_its_grid(lambda: operators.advection_rate(own, other, "upwind"))
    refused_for_its_grid(lambda: operators.divergence((state_on(GRID)["burgers"][0], other[1])))
    refused_for_its_grid(lambda: operators.curl((state_on(GRID)["burgers"][0], other[1])))
    refused_for_its_grid(lambda: operators.convection(state_on(GRID)["burgers"], other))


def test_a_field_where_an_array_is_wanted_is_refused_inside_jit_and_outside():
    """Its values would be taken for values on another grid."""
    field = dp.Field(jnp.ones(WIDER.cells), WIDER)
    solver = poisson.direct(dp.IncompressibleFlow(GRID, 0.01, 0.1, dp.Wall()).pressure_problem())
    own = dp.Field(jnp.ones(GRID.cells), GRID)
    functions: list[Any] = [solver.solve, lambda values: dp.Field(values, GRID), lambda values: own.with_values(values)]
    for function in functions:
        for wrapped in (function, jax.jit(function)):
            with pytest.raises(dp.InputError, match="is a Field; an array of numbers"):
                wrapped(field)


def test_a_step_onto_another_grid_is_named_as_one():
    refused_for_its_grid(lambda: dp.rollout(lambda field: state_on(WIDER)["heat"], state_on(GRID)["heat"], 2))


@pytest.mark.parametrize("flow", [dp.IncompressibleFlow, STAGES])
def test_a_flow_given_another_grid_has_the_obstacle_of_that_grid(flow):
    body = dp.Sphere((0.5, 0.5), 0.2)
    made = flow(GRID, 0.001, 0.01, dp.Wall(), body)
    for grid in (WIDER, dp.Grid((16, 8), (1.0, 1.0))):  # of one shape, and of another
        expected = flow(grid, 0.001, 0.01, dp.Wall(), body)
        changed = dataclasses.replace(made, grid=grid)
        np.testing.assert_array_equal(changed.solid.cells, expected.solid.cells)
        assert changed.pressure_problem() == expected.pressure_problem()
    # What replaces a part without the constructor is refused when it is used.
    old = eqx.tree_at(lambda flow: flow.solid, made, dataclasses.replace(made, grid=WIDER).solid)
    refused_for_its_grid(lambda: old.pressure_problem())
    outside = dp.Sphere((1.7, 0.5), 0.2)
    with pytest.raises(dp.InputError, match="contains no cell's center"):
        dataclasses.replace(flow(WIDER, 0.001, 0.01, dp.Wall(), outside), grid=GRID)


def test_the_solver_follows_the_obstacle_that_takes_anothers_place():
    body = dp.Sphere((0.5, 0.5), 0.2)
    staircase = dp.IncompressibleFlow(GRID, 0.001, 0.001, dp.Wall(), body, stepping=dp.RungeKutta(1))
    immersed = dataclasses.replace(staircase, solid=dp.Immersed(body))
    # Traced only: the direct solver of the staircase would refuse the coefficients of the immersed body's problem.
    state = eqx.filter_eval_shape(immersed, staircase.initial_state((0.0, 0.0)))
    assert state.pressure.shape == (8, 8)


def test_an_input_that_the_flow_would_not_use_is_refused():
    flow = FLOWS["runge_kutta"](GRID)
    state = state_on(GRID)["runge_kutta"]
    with pytest.raises(dp.InputError, match="without an immersed body"):
        flow(state, dp.FlowInput(solid=dp.Immersed(dp.Sphere((0.5, 0.5), 0.2))))
    with pytest.raises(dp.InputError, match="of the kinds"):
        flow(state, dp.FlowInput(sides=parse_sides(GRID, dp.Wall())))
    with pytest.raises(dp.InputError, match=r"scalars are \['dye', 's'\]; \['s'\] are accepted"):
        flow(dataclasses.replace(state, scalars={**state.scalars, "dye": state.scalars["s"]}))


# --- Known and traced


@pytest.mark.parametrize("flow", [dp.IncompressibleFlow, STAGES])
def test_a_known_obstacle_is_known_inside_jit(flow):
    outside, expected = dp.Sphere((0.5, 0.5), 0.2), flow(GRID, 0.001, 0.01, dp.Wall(), dp.Sphere((0.5, 0.5), 0.2))

    @jax.jit
    def made(viscosity):
        one = flow(GRID, viscosity, 0.01, dp.Wall(), outside)
        other = flow(GRID, viscosity, 0.01, dp.Wall(), dp.Sphere((0.5, 0.5), 0.2))
        assert one.solid == other.solid == expected.solid
        return one(one.initial_state((1.0, 0.0)))

    result = expected(expected.initial_state((1.0, 0.0)))
    np.testing.assert_allclose(made(0.001).velocity[0].values, result.velocity[0].values, atol=1e-6)
    with pytest.raises(dp.InputError, match="numbers that are being traced"):
        jax.jit(lambda radius: flow(GRID, 0.001, 0.01, dp.Wall(), dp.Sphere((0.5, 0.5), radius)).dt)(0.2)


def test_what_is_written_inside_jit_is_checked_there():
    with pytest.raises(dp.InputError, match="Sphere: radius is -0.2"):
        jax.jit(lambda x: x * dp.Sphere((0.5, 0.5), -0.2).radius)(1.0)


# --- Scalars, saved modules


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("flow", [dp.IncompressibleFlow, STAGES])
def test_both_flows_check_their_scalars_alike(flow):
    with pytest.raises(dp.InputError, match="diffusivity is -1.0"):
        dp.PassiveScalar(-1.0)
    with pytest.raises(dp.InputError, match="rate is nan"):
        dp.PassiveScalar(rate=np.nan)
    with pytest.raises(dp.InputError, match="source is 3; a shape or None is accepted"):
        dp.PassiveScalar(0.0, source=3)  # pyright: ignore
    for scalar, told in (
        (dp.PassiveScalar(0.0, source=dp.Sphere((0.5,), 0.2)), "does not fit the grid"),
        (1.0, "a PassiveScalar is accepted"),
    ):
        with pytest.raises(dp.InputError, match=told):
            flow(GRID, 0.001, 0.01, dp.Periodic(), scalars={"s": scalar})
    with pytest.raises(dp.InputError, match="a mapping from names to PassiveScalar is accepted"):
        flow(GRID, 0.001, 0.01, dp.Periodic(), scalars=[dp.PassiveScalar()])


PROBLEM = poisson.PressureProblem.from_conditions(GRID, CLOSED)
IMMERSED = dp.IncompressibleFlow(
    GRID, 0.001, 0.001, dp.Wall(), dp.Immersed(dp.Sphere((0.5, 0.5), 0.2)), stepping=dp.RungeKutta(1)
)


@pytest.mark.parametrize(
    "module",
    [
        *[make(GRID) for name, make in SYSTEMS.items() if name != "corrected"],
        dp.IncompressibleFlow(GRID, 0.001, 0.01, dp.Wall(), dp.Sphere((0.5, 0.5), 0.2)),
        IMMERSED,
        dp.Corrected(FLOWS["runge_kutta"](GRID), nets.ResNet(2, 2, features=2, blocks=1, key=jax.random.key(0))),
        nets.UNet(1, 1, features=2, levels=1, key=jax.random.key(0)),
        nets.MLP((1, 2), np.tanh, key=jax.random.key(0)),  # pyright: ignore  (JAX does not pickle jnp.tanh)
        poisson.direct(PROBLEM),
        poisson.ConjugateGradients(PROBLEM),
        poisson.FictitiousDomain(poisson.VariableProblem.from_conditions(GRID, CLOSED, (1.0, 1.0))),
        dp.Trajectories(jnp.ones((1, 2, 3))),
        dp.Normalization((1.0,)),
        inversion.PoissonSolve(),
        inversion.NoiseAwareHeatInverse(inversion.SpectralHeat(0.1)),
        dp.Stage(1, 1, optax.GradientTransformation(len, max)),  # pyright: ignore
        dp.Checkpointed(2),
        dp.Field(jnp.ones((8, 8)), GRID, conditions=MIXED),
    ],
    ids=lambda module: type(module).__name__,
)
def test_what_is_made_of_our_modules_can_be_pickled(module):
    again = pickle.loads(pickle.dumps(module))
    assert jax.tree.structure(again) == jax.tree.structure(module)
    for one, other in zip(jax.tree.leaves(again), jax.tree.leaves(module), strict=True):
        if eqx.is_array(one):
            np.testing.assert_array_equal(one, other)


# --- What is no input at all

BAD = {
    "none": None, "string": "abc", "list": [1, "a"], "object": object(), "nan": float("nan"), "negative": -1.0,
    "complex": 1j, "wrong shape": jnp.ones((3, 5, 7)), "strings": np.array(["a"]), "empty": (), "mapping": {"a": 1},
    "zero": 0, "negative whole": -3, "boolean": True,
}  # fmt: skip

FIELD = dp.Field(jnp.ones((8, 8)), GRID, conditions=CLOSED)
FACES = tuple(dp.Field(jnp.ones((8, 8)), GRID, face_offset(GRID, axis), CLOSED) for axis in range(2))
SPHERE, HEAT = dp.Sphere((0.5, 0.5), 0.2), SYSTEMS["heat"](GRID)
SPLITTING, RUNGE_KUTTA = FLOWS["splitting"](GRID), FLOWS["runge_kutta"](GRID)
STATE = state_on(GRID)["runge_kutta"]


def _pushed(state, control):
    return 0.9 * state + control


def _last(state, target):
    return state**2


PROBLEM_OF_CONTROL = dp.control.ControlProblem(_pushed, 2, jnp.zeros(()), terminal_cost=_last)


def entrances():
    """A name, a function and arguments that it accepts."""
    number, key = dict(diffusivity=0.1, dt=0.1), jax.random.key(0)
    carried = dict(field=FIELD, velocity=FACES, dt=0.1)
    flow = dict(grid=GRID, viscosity=0.001, dt=0.01, sides=dp.Periodic(), solid=None, scalars=None)
    net = dict(input_channels=1, output_channels=1, features=2, key=key)
    solver = dict(problem=PROBLEM, tolerance=1e-3, largest_iterations=3)
    yield dp.Grid, dict(cells=(8, 8), size=(1.0, 1.0), origin=(0.0, 0.0))
    yield dp.Grid.from_edges, dict(edges=[[0.0, 1.0, 3.0]])
    yield GRID.with_edges, dict(axis=0, edges=[0.0, 1.0, 3.0])
    yield GRID.coarsened, dict(factor=2)
    yield dp.Field, dict(values=jnp.ones((8, 8)), grid=GRID, offset=(0.5, 0.5), conditions=CLOSED)
    yield dp.Dirichlet, dict(value=1.0)
    yield Ghost, dict(value=1.0)
    yield tanh_edges, dict(cells=4, lower=0.0, upper=1.0, strength=2.0, toward="both")
    yield refined_edges, dict(cells=4, lower=0.0, upper=1.0, around=0.5, strength=2.0)
    yield dp.Sphere, dict(center=(0.5, 0.5), radius=0.2)
    yield dp.Box, dict(lower=(0.2, 0.2), upper=(0.5, 0.5))
    yield Union, dict(first=SPHERE, second=SPHERE)
    yield Complement, dict(shape=SPHERE)
    yield Extruded, dict(shape=SPHERE, axis=2)
    yield Translated, dict(shape=SPHERE, by=(0.1, 0.1))
    yield Rotated, dict(shape=SPHERE, rotation=0.1, about=(0.5, 0.5))
    yield rotation_matrix, dict(rotation=0.1)
    yield SPHERE.contains, dict(points=GRID.centers())
    yield SPHERE.coverage, dict(grid=GRID, periodic=False)
    yield SPHERE.volume_fractions, dict(grid=GRID, periodic=(True, False))
    yield SPHERE.apertures, dict(grid=GRID, axis=0, periodic=False)
    yield SPHERE.repeated, dict(periods=(1.0, None))
    yield parse_sides, dict(grid=GRID, sides=dp.Periodic())
    yield dp.Inflow, dict(speed=1.0, scalar=0.0, tangential=0.0)
    yield dp.Outflow, dict(pressure=0.0, slope=0.0, scalar=1.0, from_rest=True)
    yield dp.Open, dict(scalar=1.0, from_rest=True)
    yield dp.Wall, dict(velocity=0.0, slip=False, slip_length=0.1)
    yield ConvectiveOutflow, dict(speed=1.0, scalar=1.0)
    yield Robin, dict(value=1.0, length=0.1)
    yield Kept, dict()
    for operator in (operators.gradient, operators.laplacian, operators.control_volume):
        yield operator, dict(field=FIELD)
    for operator in (operators.divergence, operators.faces_to_centers):
        yield operator, dict(velocity=FACES)
    yield operators.difference, dict(field=FIELD, axis=0)
    yield operators.curl, dict(field=FACES)
    yield operators.convection, dict(velocity=FACES, carrier=FACES, order=2)
    yield operators.coarsen, dict(field=FIELD, factor=2)
    yield operators.refine, dict(field=FIELD, factor=2)
    yield operators.interpolate, dict(field=FIELD, offset=(0.0, 0.5))
    yield operators.convert, dict(field=FIELD, offset=(0.0, 0.5))
    yield operators.sample, dict(field=FIELD, points=[jnp.ones(2)] * 2)
    yield operators.semi_lagrangian, dict(carried, largest_courant=None, closed=np.zeros((8, 8), bool))
    yield operators.cubic_semi_lagrangian, carried
    yield operators.maccormack, carried
    yield operators.advect, dict(carried, scheme="upwind", open_parts=None)
    yield operators.advection_rate, dict(field=FIELD, velocity=FACES, scheme="van_leer", open_parts=None)
    yield operators.centers_to_faces, dict(velocity=(FIELD, FIELD))
    yield operators.poisson_bracket, dict(first=FIELD, second=FIELD, scheme=operators.Arakawa())
    yield operators.Waves, dict(grid=GRID, dealiasing=2 / 3)
    yield operators.stable_diffusion_step, dict(grid=GRID, diffusivity=1.0)
    yield operators.explicit_diffusion, dict(number, field=FIELD, closed=(np.zeros((8, 8), bool),) * 2)
    yield operators.implicit_diffusion, dict(number, field=FIELD)
    yield poisson.direct, dict(problem=PROBLEM)
    yield poisson.direct(PROBLEM).solve, dict(rhs=jnp.ones((8, 8)))
    yield poisson.ConjugateGradients, solver
    yield poisson.MultigridConjugateGradients, dict(solver, smoothing=2)
    yield poisson.ObstacleCorrected, dict(problem=PROBLEM)
    yield poisson.apply, dict(problem=PROBLEM, pressure=jnp.ones((8, 8)))
    yield poisson.PressureProblem.from_conditions, dict(grid=GRID, conditions=CLOSED)
    yield poisson.VariableProblem.from_conditions, dict(grid=GRID, conditions=CLOSED, coefficients=(1.0, 1.0))
    yield dp.Heat, dict(grid=GRID, diffusivity=0.001, dt=0.01, conditions=CLOSED)
    yield HEAT, dict(temperature=FIELD)
    yield HEAT.initial_state, dict(temperature=1.0)
    yield dp.Burgers, dict(grid=GRID, viscosity=0.001, dt=0.01, conditions=CLOSED, largest_courant=None)
    yield SYSTEMS["burgers"](GRID), dict(velocity=FACES)
    yield dp.Wave, dict(grid=GRID, speed=1.0, dt=0.01, conditions=CLOSED, damping=0.1, stepping=dp.Splitting())
    yield dp.Wave(GRID, 1.0, 0.01, CLOSED).initial_state, dict(displacement=1.0, velocity=0.0)
    yield dp.Wave(GRID, 1.0, 0.01, CLOSED), dict(state=WaveState(FIELD, FIELD))
    yield dp.Wave(GRID, 1.0, 0.01, CLOSED).energy, dict(state=WaveState(FIELD, FIELD))
    yield (
        dp.GrayScott,
        dict(
            grid=GRID,
            substrate_diffusivity=1e-3,
            activator_diffusivity=1e-3,
            feed=0.1,
            kill=0.1,
            dt=0.1,
            conditions=CLOSED,
            stepping=dp.RungeKutta(2),
        ),
    )
    yield dp.GrayScott(GRID, 1e-3, 1e-3, 0.1, 0.1, 0.1, CLOSED), dict(state=Concentrations(FIELD, FIELD))
    yield (
        dp.ShallowWater,
        dict(
            grid=GRID,
            dt=0.01,
            sides=dp.Periodic(),
            bottom=0.0,
            gravity=9.81,
            coriolis=0.0,
            dry=1e-6,
            stepping=dp.RungeKutta(3),
        ),
    )
    yield dp.ShallowWater(GRID, 0.01, dp.Periodic()).initial_state, dict(surface=1.0, velocity=0.0)
    yield dp.ShallowWater(GRID, 0.01, dp.Periodic()), dict(state=WaterState(FIELD, (FIELD, FIELD)))
    yield (
        dp.HasegawaWakatani,
        dict(
            grid=GRID,
            dt=0.01,
            adiabaticity=1.0,
            density_gradient=1.0,
            hyperviscosity=1e-4,
            hyperviscosity_order=2.0,
            modified=False,
            bracket=operators.Arakawa(),
            stepping=dp.RungeKutta(4),
        ),
    )
    yield dp.HasegawaWakatani(GRID, 0.01), dict(state=PlasmaState(FIELD, FIELD))
    yield (
        dp.ReactingFlow,
        dict(
            grid=GRID,
            viscosity=0.1,
            diffusivity=0.1,
            thermal_diffusivity=0.1,
            dt=0.01,
            sides=dp.Open(),
            entering=physics.Mixture(300.0),
            gas=physics.Gas(),
            reaction=physics.OneStepReaction(),
            advection=dp.SemiLagrangian(),
            constraint="low-mach",
            pressure_solver=None,
            reaction_steps=4,
        ),
    )
    yield (
        dp.RigidBodyFlow,
        dict(flow=RUNGE_KUTTA, body=dp.RigidBody.disk(1.0, 0.5), gravity=(0.0, -1.0), tolerance=None),
    )
    yield dp.RigidBody.disk, dict(radius=1.0, density=0.5, turns=True)
    yield dp.RigidBody.box, dict(lengths=(1.0, 2.0), density=0.5, moment=None, turns=True)
    yield physics.Mixture, dict(temperature=300.0, fuel=0.1, oxidizer=0.1)
    yield physics.Gas, dict(pressure=1e5, heat_capacity=1e3, fuel_mass=0.1, oxidizer_mass=0.1, rest_mass=0.1)
    yield (
        physics.OneStepReaction,
        dict(
            pre_exponential=1.0,
            activation_energy=1.0,
            heat=1.0,
            oxidizer_moles=1.0,
            fuel_order=1.0,
            oxidizer_order=1.0,
        ),
    )
    yield (
        dp.IncompressibleFlow,
        dict(flow, forces=(), advection=None, stepping=dp.RungeKutta(3), pressure_solver=None, added_viscosity=()),
    )
    yield dp.Smagorinsky, dict(constant=0.2)
    yield dp.Sponge, dict(axis="x", start=0.5, largest=0.1, lower=False)
    yield dp.LinearDrag, dict(rate=0.1)
    yield dp.SinusoidalForce, dict(amplitude=0.1, waves=2)
    yield (
        dp.PISO,
        dict(correctors=2, order=1, old_pressure=True, without_gradient=(), tolerance=None, largest_iterations=9),
    )
    yield dp.Spectral, dict(dealiasing=2 / 3)
    yield dp.ExponentialRungeKutta, dict(order=2)
    yield dp.CubicSemiLagrangian, dict(limited=True)
    yield dp.MacCormack, dict(limited=True, largest_courant=None)
    yield dp.to_xarray, dict(frames=FIELD)
    yield (
        dp.control.ControlProblem,
        dict(
            step=_pushed,
            steps=2,
            control=jnp.zeros(()),
            terminal_cost=_last,
            target=None,
            regularizers=(dp.control.Force(0.1),),
            lower=-1.0,
            upper=1.0,
        ),
    )
    yield dp.control.Force, dict(weight=1.0)
    yield dp.control.Jerk, dict(weight=1.0)
    for function in (dp.control.simulate, dp.control.cost):  # what the user's own step is given, it checks itself
        yield functools.partial(function, state=1.0), dict(problem=PROBLEM_OF_CONTROL, controls=jnp.zeros(2))
    yield RUNGE_KUTTA.reported, dict(state=STATE, given=None)
    yield RUNGE_KUTTA.at_centers, dict(state=STATE)
    yield RUNGE_KUTTA.at_faces, dict(state=STATE)
    yield RUNGE_KUTTA.diffusion_number, dict(state=STATE)
    yield dp.SkewSymmetric, dict(order=2)
    yield dp.SemiLagrangian, dict(largest_courant=None)
    yield dp.RungeKutta, dict(order=3)
    yield dp.ImplicitExplicit, dict(order=3)
    yield SPLITTING.initial_state, dict(velocity=None, scalars=None)
    yield RUNGE_KUTTA.initial_state, dict(velocity=None, scalars=None, time=0.0)
    yield SPLITTING, dict(state=STATE, given=None)
    yield RUNGE_KUTTA, dict(state=STATE, given=None)
    yield SPLITTING.courant_number, dict(state=STATE)
    yield RUNGE_KUTTA.kinetic_energy, dict(state=STATE)
    yield RUNGE_KUTTA.divergence, dict(state=STATE)
    yield RUNGE_KUTTA.project, dict(velocity=FACES, time=0.0)
    yield dp.FlowInput, dict(force=None)
    yield dp.Held, dict(where=SPHERE, velocity=(1.0, None))
    yield dp.Immersed, dict(shape=SPHERE, velocity=0.0, rotation_rate=0.0, pivot=0.0)
    yield dp.Buoyancy, dict(scalar="s", acceleration=(0.0, 1.0))
    yield SubSteps, dict(flow=SPLITTING, courant=0.8, largest=3)
    yield dp.rollout, dict(step=HEAT, state=FIELD, steps=0, save_every=None, inputs=None, stop=None, outcome=False)
    yield dp.Trajectories, dict(frames=jnp.ones((2, 3, 4)), parameters={})
    yield dp.Normalization, dict(fields=(1.0,), parameters=())
    yield dp.Stage, dict(unroll=1, updates=1, optimizer=optax.sgd(1.0))
    yield learning.half_sum_of_squares, dict(prediction=jnp.ones(2), target=jnp.ones(2))
    yield learning.mean_absolute_error, dict(prediction=jnp.ones(2), target=jnp.ones(2))
    yield learning.with_parameters, dict(step=HEAT, parameters={})
    yield nets.MLP, dict(sizes=(1, 2), activation=jnp.tanh, key=key)
    yield nets.Convolution, dict(input_channels=1, output_channels=1, kernel_size=3, axes=2, padding="zero", key=key)
    yield nets.ResNet, dict(net, blocks=1)
    yield nets.UNet, dict(net, levels=1)
    yield nets.convolve, dict(image=jnp.ones((1, 4, 4)), kernel=jnp.ones((3, 3, 1, 1)), padding="zero")
    yield inversion.PoissonSolve, dict(spacing=1.0)
    yield inversion.PoissonSolve(), dict(source=jnp.ones((4, 4)))
    yield inversion.SpectralHeat, dict(diffusion_time=1.0, spacing=1.0)


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.filterwarnings("ignore:A JAX array is being set as static")
@pytest.mark.parametrize("bad", [pytest.param(name, marks=[] if name in ("none", "string") else pytest.mark.slow)
                                 for name in BAD])  # fmt: skip
def test_what_is_no_input_is_refused_in_one_sentence_or_accepted(bad):
    for function, accepted in entrances():
        for argument in accepted:
            try:
                function(**{**accepted, argument: BAD[bad]})
            except dp.InputError as error:
                message = str(error)
                assert len(message) < 450 and "\n" not in message, message
            except Exception as error:
                raise AssertionError(f"{function}: {argument}={bad} raises {type(error).__name__}: {error}") from error


@pytest.mark.parametrize("name", ["step", "save", "stop", "state", "inputs"])
def test_rollout_says_what_is_no_array(name):
    text = np.array(["a"])
    given: dict[str, Any] = dict(
        step=lambda state, _: state, state=jnp.ones(2), steps=2, inputs=jnp.ones(2), save_every=1, save=lambda x: x
    )
    given[name] = text if name in ("state", "inputs") else (lambda *_: "text")
    with pytest.raises(dp.InputError, match="pytree of arrays|one boolean"):
        dp.rollout(**given)  # pyright: ignore


def test_conditions_of_a_mistaken_kind_are_named():
    with pytest.raises(dp.InputError, match="a pair"):
        FIELD.with_conditions(((Unknown(), 3), (Unknown(), Unknown())))  # pyright: ignore


# --- One and two cells along an axis

ENDS = {
    "periodic": (dp.Periodic(), dp.Periodic()),
    "values": (dp.Dirichlet(0.3), dp.Dirichlet(-0.2)),
    "slopes": (dp.Neumann(0.3), dp.Neumann(0.1)),
    "mixed": (dp.Dirichlet(0.3), dp.Neumann(0.1)),
}


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("kind", ENDS)
def test_few_cells_diffuse_implicitly_as_the_equation_says(kind):
    for cells in (1, 2):
        grid = dp.Grid((cells,), (1.0,))
        for offset in ((0.5,), (0.0,)):
            shape = grid.shape(offset, (kind == "periodic",))
            field = dp.Field(np.linspace(1.0, 2.0, shape[0]), grid, offset, (ENDS[kind],))
            after = operators.implicit_diffusion(field, 0.5, 0.1)
            residual = after.values - 0.05 * operators.laplacian(after).values - field.values
            ends = [offset[0] == 0.0 and isinstance(end, dp.Dirichlet) for end in ENDS[kind]]
            residual = residual[ends[0] : shape[0] - ends[1]]  # points on a side have its value instead
            np.testing.assert_allclose(residual, 0.0, atol=1e-12)


WIDE = {
    "cubic_semi_lagrangian": lambda field, speed: operators.cubic_semi_lagrangian(field, speed, 0.1),
    "maccormack": lambda field, speed: operators.maccormack(field, speed, 0.1),
    "semi_lagrangian": lambda field, speed: operators.semi_lagrangian(field, speed, 0.1, 3),
    "van_leer": lambda field, speed: operators.advection_rate(field, speed, "van_leer"),
    "fourth_order": lambda field, speed: operators.advection_rate(field, speed, "fourth_order"),
    "convection": lambda field, speed: operators.convection(speed, order=4)[0],
}


@pytest.mark.parametrize(
    "operator", [pytest.param(name, marks=[pytest.mark.slow] * ("cubic" in name)) for name in WIDE]
)
def test_what_looks_further_than_the_axis_goes_is_refused_or_as_on_many_periods(operator):
    for cells in (1, 2):
        results = []
        for periods in (1, 4):  # the same numbers again and again, on a long axis
            grid = dp.Grid((cells * periods,), (1.0 * periods,))
            values = np.tile(np.linspace(1.0, 2.0, cells), periods)
            field = dp.Field(values, grid, conditions=CLOSED[:1])
            speed = (dp.Field(0.5 + 0 * values, grid, (0.0,), CLOSED[:1]),)
            try:
                results.append(WIDE[operator](field, speed).values[:cells])
            except dp.InputError as error:
                assert periods == 1 and "ghost points asked for along an axis" in str(error)
        if len(results) == 2:
            np.testing.assert_allclose(results[0], results[1], atol=1e-5)


def test_a_flow_of_few_cells_is_right_or_refused():
    sides = dict(x=dp.Wall(), y=dp.Periodic())
    for cells in ((1, 4), (2, 4), (4, 2), (4, 1)):
        grid = dp.Grid(cells, (1.0, 1.0))
        with pytest.raises(dp.InputError, match="at least 3 along each axis"):
            dp.IncompressibleFlow(grid, 0.1, 0.01, sides, advection=dp.SkewSymmetric(4), stepping=dp.RungeKutta(3))
    # A stream along the walls of a channel that is one cell wide: the slope to a wall is v / (h / 2) on either side.
    grid = dp.Grid((1, 4), (1.0, 4.0))
    flow = dp.IncompressibleFlow(grid, 0.1, 0.01, sides, stepping=dp.ImplicitExplicit(3))
    after = flow(flow.initial_state((0.0, 1.0)))
    np.testing.assert_allclose(after.velocity[0].values, 0.0, atol=1e-6)
    np.testing.assert_allclose(after.velocity[1].values, np.exp(-4 * 0.1 * 0.01), rtol=1e-6)
