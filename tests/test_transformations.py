"""Every transformation of JAX, tried on every public step and on the functions that bring their own derivatives.

`tests/conftest.py` gives the tests two devices. A batch of two states, one on each, has the gradient of the batch on
one device; and what a transformation says of a step is what the step says by itself.
"""

from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.export
import jax.extend.core
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jax.tree_util import Partial

import diffphys as dp
from diffphys import operators, poisson
from diffphys.devices import beside, keeping, varying_alike, with_matrices
from diffphys.grids import Dirichlet, Neumann
from diffphys.linear import linear_map, linear_solve
from diffphys.nets.convolution import convolve
from tests.systems import SYSTEMS, state_of


pytestmark = [
    pytest.mark.usefixtures("float64"),
    pytest.mark.skipif(jax.device_count() < 2, reason="XLA_FLAGS were set before, with one device"),
]
MEMBERS = PartitionSpec("members")


def slow_but(quick, names=SYSTEMS):
    return [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in names]


def mesh(kind=AxisType.Auto):
    return jax.make_mesh((2,), ("members",), axis_types=(kind,))


def close(found, expected, rtol=1e-9):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    largest = max(float(np.max(np.abs(leaf), initial=0.0)) for leaf in jax.tree.leaves(expected))
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=rtol, atol=rtol * max(largest, 1.0))


def problem(name):
    """The numbers of a step, two states, and the loss of a batch of states after two steps of a rollout."""
    step = SYSTEMS[name]()
    numbers, rest = eqx.partition(step, eqx.is_inexact_array)
    states = jax.tree.map(lambda *leaves: jnp.stack(leaves), *[state_of(step, seed) for seed in (0, 1)])

    def one(numbers, state):
        final, _ = dp.rollout(eqx.combine(numbers, rest), state, 2)
        return sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(final))

    return numbers, states, lambda numbers, states: jnp.sum(jax.vmap(partial(one, numbers))(states)), one


def spread(states, kind):
    return jax.device_put(states, NamedSharding(mesh(kind), MEMBERS))


def of_each_device(loss, checked):
    """The loss as a program in which each device computes that of its own states, and all add up."""
    return jax.shard_map(
        lambda numbers, states: jax.lax.psum(loss(numbers, states), "members"),
        mesh=mesh(),
        in_specs=(PartitionSpec(), MEMBERS),
        out_specs=PartitionSpec(),
        check_vma=checked,
    )


# On two devices -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", slow_but(("heat",)))
def test_gradients_on_two_devices(name):
    """Of all numbers of the step, which are the same on both, and of the states: `jax.shard_map` with its checks and
    without; `jit(vmap(rollout))` of states that are spread over explicit or automatic axes.
    """
    numbers, states, loss, _ = problem(name)
    gradient = jax.grad(loss, (0, 1))
    expected = jax.jit(gradient)(numbers, states)
    for checked in (True, False):
        close(jax.jit(jax.grad(of_each_device(loss, checked), (0, 1)))(numbers, states), expected)
    for kind in (AxisType.Explicit, AxisType.Auto):
        close(jax.jit(gradient)(numbers, spread(states, kind)), expected)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_matrices_of_a_step_are_leaves_that_can_be_placed(kind):
    """A batch that is spread over two devices, with the flow's matrices on both, or each on both by halves."""
    grid, body = dp.Grid((8, 6), (1.6, 1.2)), dp.Sphere((0.6, 0.6), 0.25)
    sides = dict(x=(dp.Inflow(1.0), dp.Outflow()), y=dp.Wall())
    flow = dp.IncompressibleFlow(grid, 0.01, 0.05, sides, body, advection=dp.SemiLagrangian(1))
    state = flow.initial_state()
    states = jax.tree.map(lambda leaf: jnp.stack([leaf, 1.1 * leaf]), state)

    def loss(step, states):
        finals = jax.vmap(lambda state: dp.rollout(step, state, 2)[0].velocity[0].values)(states)
        return jnp.sum(jnp.sin(finals))

    gradient = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), allow_int=True))
    opened = with_matrices(flow, state)
    held = sum(matrix.nbytes for matrix in opened.matrices)
    assert held >= poisson.direct(flow.pressure_problem()).prepared_bytes(jnp.float64) > 0
    value, (of_flow, of_states) = gradient(flow, states)
    whole, halves = (NamedSharding(mesh(kind), spec) for spec in (PartitionSpec(), MEMBERS))
    placed = jax.device_put(opened, whole)
    if kind is AxisType.Auto:
        matrices = [
            jax.device_put(one, halves) if one.ndim and one.shape[0] % 2 == 0 else one for one in placed.matrices
        ]
        placed = eqx.tree_at(lambda step: step.matrices, placed, matrices)
    found, (of_placed, of_spread) = gradient(placed, spread(states, kind))
    close((found, of_placed.step, of_spread), (value, of_flow, of_states))
    with pytest.raises(dp.InputError, match="with_matrices makes another one"):
        opened(jax.tree.map(lambda leaf: leaf.astype(jnp.float32), state))


@pytest.mark.parametrize("kind", [AxisType.Explicit, AxisType.Auto])
def test_a_table_is_looked_up_by_a_spread_batch_under_a_mesh_that_is_set(kind):
    """All arrays are on that mesh, also the table and one of its indices, which are not in the batch."""
    table, columns = np.arange(12.0).reshape(4, 3), jnp.array([[[0, 1, 2], [2, 2, 0]] * 2] * 2)

    def look_up(column):
        row = jnp.broadcast_to(jnp.arange(4)[:, None], (4, 3))
        return beside(jnp.asarray(table), [row, column])[row, column]

    with jax.set_mesh(mesh(kind)):
        found = jax.jit(jax.vmap(look_up))(spread(columns, kind))
    np.testing.assert_array_equal(found, table[np.indices((4, 3))[0], columns])


@pytest.mark.slow
@pytest.mark.parametrize("name", SYSTEMS)
def test_rollouts_under_a_mesh_that_is_set(name):
    """Values and gradients, with `jax.set_mesh` around everything; and a spread batch of flows of one state."""
    numbers, states, loss, one = problem(name)
    expected = jax.jit(jax.value_and_grad(loss))(numbers, states)
    first = jax.tree.map(lambda leaf: leaf[0], states)
    flows = jax.tree.map(lambda leaf: jnp.stack([leaf, 0.9 * leaf]), numbers)
    of_flows = jax.jit(jax.vmap(one, (0, None)))
    several = of_flows(flows, first)
    for kind in (AxisType.Explicit, AxisType.Auto):
        with jax.set_mesh(mesh(kind)):
            close(jax.jit(jax.value_and_grad(loss))(numbers, spread(states, kind)), expected)
            close(of_flows(spread(flows, kind), first), several)


@pytest.mark.parametrize("outcome", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_rollout_that_stops_on_each_device_by_itself(outcome):
    """With inputs, saved frames and an outcome."""
    flow = SYSTEMS["heat"]()
    states = jax.tree.map(
        lambda *leaves: jnp.stack(leaves), state_of(flow, 0), state_of(flow, 1).with_values(3.0 + jnp.zeros((8, 6)))
    )
    pushes = jnp.linspace(0.1, 0.4, 4)

    def step(state, push):
        following = flow(state)
        return following.with_values(following.values + push)

    def run(states):
        return jax.vmap(
            lambda state: dp.rollout(
                step, state, 4, inputs=pushes, save_every=2, stop=lambda now: jnp.max(now.values) > 2.0, outcome=outcome
            )
        )(states)

    expected = run(states)
    for checked in (True, False):
        on_each = jax.shard_map(run, mesh=mesh(), in_specs=MEMBERS, out_specs=MEMBERS, check_vma=checked)
        close(jax.jit(on_each)(states), expected)
    for kind in (AxisType.Explicit, AxisType.Auto):
        close(jax.jit(run)(spread(states, kind)), expected)


@pytest.mark.parametrize("checked", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_shared_weights_of_a_convolution(checked, key):
    """The gradient over two devices is the sum of both shares, by one compiled program or operation by operation."""
    kernel, images = jax.random.normal(key, (3, 3, 2, 2)), jax.random.normal(key, (4, 2, 6, 5))

    def loss(kernel, images):
        return jnp.sum(jnp.sin(jax.vmap(lambda image: convolve(image, kernel, "periodic"))(images)))

    gradient = jax.grad(loss, (0, 1))
    expected = gradient(kernel, images)
    shared = of_each_device(loss, checked)
    close(jax.grad(shared, (0, 1))(kernel, images), expected)
    close(jax.jit(jax.grad(shared, (0, 1)))(kernel, images), expected)
    close(jax.jit(gradient)(kernel, spread(images, AxisType.Explicit)), expected)

    def curved(loss, kernel, images):  # a derivative of the gradient, in both orders
        over = jax.jvp(lambda kernel: jax.grad(loss)(kernel, images), (kernel,), (kernel,))[1]
        return over, jax.grad(lambda kernel: jax.jvp(lambda k: loss(k, images), (kernel,), (kernel,))[1])(kernel)

    close(jax.jit(partial(curved, shared))(kernel, images), curved(loss, kernel, images))


@pytest.mark.slow
def test_a_linear_map_whose_arrays_vary_differently(key):
    """Each of constant and operand the same on both devices or not: all first and second derivatives."""
    weights, values = jax.random.normal(key, (2, 5)), jax.random.normal(jax.random.key(1), (2, 5))

    def product(constants, operands):
        return [jnp.sin(constants[0]) * operands[0]]

    def loss(weight, value):
        return jnp.sum(jnp.sin(linear_map(product, product, (weight,), (value,))[0]))

    for varying in ((True, True), (True, False), (False, True)):
        given = [array if varies else array[0] for array, varies in zip((weights, values), varying, strict=True)]

        def plain(*given, varying=varying):
            return jnp.sum(jax.vmap(loss, [0 if varies else None for varies in varying])(*given))

        def local(*given, varying=varying):
            own = [array[0] if varies else array for array, varies in zip(given, varying, strict=True)]
            return jax.lax.psum(loss(*own), "members")

        specs = tuple(MEMBERS if varies else PartitionSpec() for varies in varying)
        shared = jax.shard_map(local, mesh=mesh(), in_specs=specs, out_specs=PartitionSpec())
        for derivative in (lambda f: jax.grad(f, (0, 1)), lambda f: jax.hessian(f, (0, 1))):
            close(jax.jit(derivative(shared))(*given), derivative(plain)(*given))


@pytest.mark.parametrize("symmetric", [True, False])
def test_a_linear_solve_whose_arrays_vary_differently(symmetric, key):
    """Each of matrix and right side the same on both devices or not: all first and second derivatives."""
    weights, values = jax.random.normal(key, (2, 3, 3)), jax.random.normal(jax.random.key(1), (2, 3))

    def matrix(weight):
        return 4 * jnp.eye(3) + (weight + weight.T if symmetric else jnp.sin(weight))

    def product(weight, x):
        return matrix(weight) @ x

    def inverse(weight, _, rhs):
        return jax.lax.stop_gradient(jnp.linalg.inv(matrix(weight))) @ rhs, jnp.int32(3)

    def transposed(weight, _, rhs):
        return jax.lax.stop_gradient(jnp.linalg.inv(matrix(weight))).T @ rhs, jnp.int32(3)

    def loss(weight, value):
        functions = [Partial(function, weight) for function in (product, inverse, transposed)]
        solution, count = linear_solve(functions[0], value, *functions[1:], symmetric=symmetric, has_aux=True)
        assert count.dtype == jnp.int32
        return jnp.sum(jnp.sin(solution))

    def exact(weight, value):
        return jnp.sum(jnp.sin(jnp.linalg.solve(matrix(weight), value)))

    def derivatives(loss):
        return lambda *given: (jax.grad(loss, (0, 1))(*given), jax.hessian(loss, (0, 1))(*given))

    specs = PartitionSpec("members"), PartitionSpec()
    for varying in ((True, False), (False, True), (False, False)):
        given = [both if varies else both[:1] for both, varies in zip((weights, values), varying, strict=True)]

        def local(weights, values):
            return jax.lax.pmean(loss(weights[0], values[0]), "members")

        def plain(weights, values):
            return jnp.mean(jnp.stack([exact(weights[i % len(weights)], values[i % len(values)]) for i in (0, 1)]))

        def on_each(*given, varying=varying, local=local):
            places = tuple(specs[0] if varies else specs[1] for varies in varying)
            return jax.shard_map(local, mesh=mesh(), in_specs=places, out_specs=specs[1])(*given)

        close(jax.jit(derivatives(on_each))(*given), jax.jit(derivatives(plain))(*given))


@pytest.mark.parametrize(
    "solver",
    [
        poisson.ConjugateGradients,
        pytest.param(poisson.FictitiousDomain, marks=pytest.mark.slow),
        pytest.param(poisson.MultigridConjugateGradients, marks=pytest.mark.slow),
    ],
)
def test_coefficients_that_are_on_several_devices_and_a_right_side_that_is_not(solver, key):
    """And the other way around: within `jax.shard_map`, and as a spread batch."""
    grid = dp.Grid((8, 6), (8.0, 6.0))
    ends = ((Neumann(0.0), Neumann(0.0)), (Dirichlet(0.0), Neumann(0.0)))
    faces = 1 + jax.random.uniform(key, (2, 9, 6))
    rhs = jax.random.normal(jax.random.key(1), (2, 8, 6))

    def one(faces, rhs):
        problem = poisson.VariableProblem.from_conditions(grid, ends, (faces, 1.0))
        solution = solver(problem, tolerance=1e-12).solve(rhs)
        return jnp.sum(jnp.sin(solution.pressure))

    for axes, given in (((0, None), (faces, rhs[0])), ((None, 0), (faces[0], rhs))):

        def loss(*given, axes=axes):
            return jnp.sum(jax.vmap(one, axes)(*given))

        expected = jax.jit(jax.grad(loss, (0, 1)))(*given)
        places = tuple(PartitionSpec() if axis is None else MEMBERS for axis in axes)
        on_each = jax.shard_map(
            lambda *given, loss=loss: jax.lax.psum(loss(*given), "members"),
            mesh=mesh(),
            in_specs=places,
            out_specs=PartitionSpec(),
        )
        close(jax.jit(jax.grad(on_each, (0, 1)))(*given), expected)
        apart = [
            array if axis is None else spread(array, AxisType.Explicit) for array, axis in zip(given, axes, strict=True)
        ]
        close(jax.jit(jax.grad(loss, (0, 1)))(*apart), expected)


def test_nothing_is_added_where_no_array_is_on_several_devices():
    values = [jnp.ones(3), jnp.zeros(())]

    def body(carry):
        return carry

    assert all(one is other for one, other in zip(varying_alike(values), values, strict=True))
    assert beside(values[1], values) is values[1]
    kept, carry = keeping(body, values)
    assert kept is body and carry is values
    matrix = 2 * jnp.eye(3)

    def product(x):
        return matrix @ x

    def inverse(_, rhs):
        return rhs / 2

    def primitives(solve):
        closed = jax.make_jaxpr(lambda rhs: solve(product, rhs, inverse, symmetric=True))(values[0])
        return [equation.primitive.name for equation in closed.eqns]

    assert primitives(linear_solve) == primitives(jax.lax.custom_linear_solve) == ["custom_linear_solve"]


# Blocks of a grid ---------------------------------------------------------------------------------------------------


CELLS = dp.Grid((8, 5), (4.0, 2.0))
WRAPPED = ((dp.Periodic(), dp.Periodic()),) * 2


def of_blocks(function):
    """A function of fields and numbers, each device with its half of the cells along x, all with the same numbers."""
    return jax.shard_map(function, mesh=mesh(), in_specs=(MEMBERS, PartitionSpec()), out_specs=MEMBERS)


def diffused_in_blocks(field, reach):
    """Explicit diffusion; the neighbors along the axis that is cut come from the other device."""
    values = field.values
    first, last = (
        jax.lax.ppermute(part, "members", [(0, 1), (1, 0)]) for part in (values[:1], values[-1:])
    )  # of the device that follows, and of the one before
    beside = jnp.concatenate([last, values, first])
    change = (beside[2:] - 2 * values + beside[:-2]) / CELLS.spacing[0] ** 2
    change += (jnp.roll(values, 1, 1) - 2 * values + jnp.roll(values, -1, 1)) / CELLS.spacing[1] ** 2
    return field.with_values(values + reach * change)


def test_a_field_may_hold_a_block_of_a_grid(key):
    """Arithmetic, `map` and a stencil with an exchange of neighbors: values and gradients are those of the whole."""
    whole = dp.Field(jax.random.normal(key, CELLS.cells), CELLS, conditions=WRAPPED)

    def combined(field, factor):
        return (2.0 * field + field.map(jnp.sin) - field / factor) * field

    def diffused(field, reach):
        return operators.explicit_diffusion(field, reach, 1.0)

    for plain, blockwise in ((combined, combined), (diffused, diffused_in_blocks)):

        def loss(function, field, number):
            return jnp.sum(jnp.sin(function(field, number).values))

        gradient = jax.jit(jax.value_and_grad(loss, (1, 2)), static_argnums=0)
        close(gradient(of_blocks(blockwise), whole, jnp.asarray(0.03)), gradient(plain, whole, jnp.asarray(0.03)))


def test_what_looks_beyond_a_block_says_so():
    """And so does JAX where a mesh cannot divide the cells."""
    whole = dp.Field(jnp.ones(CELLS.cells), CELLS, conditions=WRAPPED)
    heat = dp.Heat(CELLS, 0.1, 0.1, WRAPPED)
    for function in (
        operators.laplacian,
        lambda field: operators.implicit_diffusion(field, 0.1, 0.1),
        lambda field: operators.convert(field, (0.0, 0.5)),
        lambda field: field.with_values(field.coordinates()[0] + 0 * field.values),
        lambda field: field.with_values(field.padded([(1, 1), (0, 0)])[1:-1]),
        heat,
    ):
        with pytest.raises(dp.InputError, match=r"block of shape \(4, 5\) of a grid's \(8, 5\) points"):
            of_blocks(lambda field, _, function=function: function(field))(whole, 0.0)
    with pytest.raises(dp.InputError, match="has shape"):
        of_blocks(lambda field, _: field.with_values(field.values[:3]))(whole, 0.0)
    odd = dp.Grid((7, 5))
    with pytest.raises(ValueError, match="divisible"):
        of_blocks(lambda field, _: 2.0 * field)(dp.Field(jnp.ones((7, 5)), odd, conditions=WRAPPED), 0.0)


# On one ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", slow_but(("heat",)))
def test_transformations_of_one_program(name):
    """Values, gradients and directional derivatives of one state, each by every way that JAX offers."""
    numbers, states, _, one = problem(name)
    state = jax.tree.map(lambda leaf: leaf[0], states)
    value, gradient = jax.jit(jax.value_and_grad(one))(numbers, state)
    direction = jax.tree.map(jnp.ones_like, numbers)
    slope = sum(jnp.sum(leaf) for leaf in jax.tree.leaves(gradient))
    typed = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), (numbers, state))

    assert jax.eval_shape(one, *typed).dtype == value.dtype
    close(jax.jit(one).lower(*typed).compile()(numbers, state), value)
    exported = jax.export.export(jax.jit(lambda *leaves: one(*jax.tree.unflatten(jax.tree.structure(typed), leaves))))(
        *jax.tree.leaves(typed)
    )
    close(exported.call(*jax.tree.leaves((numbers, state))), value)
    closed = jax.make_jaxpr(one)(numbers, state)
    close(jax.jit(jax.extend.core.jaxpr_as_fun(closed))(*jax.tree.leaves((numbers, state)))[0], value)

    close(jax.jit(lambda n, s: jax.linearize(partial(_with_state, one, s), n)[1](direction))(numbers, state), slope)
    for policy in (
        jax.checkpoint_policies.nothing_saveable,
        jax.checkpoint_policies.everything_saveable,
        jax.checkpoint_policies.dots_saveable,
    ):
        close(jax.jit(jax.grad(jax.checkpoint(one, policy=policy)))(numbers, state), gradient)

    by_rule: Any = jax.custom_batching.custom_vmap(one)

    @by_rule.def_vmap
    def _(size, batched, numbers, states):
        assert not any(jax.tree.leaves(batched[0])) and all(jax.tree.leaves(batched[1]))
        return jax.lax.map(partial(one, numbers), states), True

    first = jax.jit(jax.vmap(one, (None, 0)))(numbers, states)
    close(jax.jit(jax.vmap(by_rule, (None, 0)))(numbers, states), first)
    named = jax.vmap(lambda n, s: jax.lax.pmean(one(n, s), "batch"), (None, 0), axis_name="batch")
    close(jax.jit(named)(numbers, states), jnp.full(2, first.mean()))
    around = jax.vmap(one, (None, 0), spmd_axis_name="members")
    with jax.set_mesh(mesh()):
        close(jax.jit(around)(numbers, spread(states, AxisType.Auto)), first)


def _with_state(function, state, numbers):
    return function(numbers, state)


@pytest.mark.parametrize("name", slow_but(("heat",)))
def test_loops_around_a_step(name):
    """`fori_loop`, `while_loop` and `scan` of the bare step are the rollout, and `closure_convert` keeps it."""
    step = SYSTEMS[name]()
    state = state_of(step)
    expected = dp.rollout(step, state, 2)[0]
    close(jax.jit(lambda s: jax.lax.fori_loop(0, 2, lambda _, now: step(now), s))(state), expected)
    by_while = jax.jit(lambda s: jax.lax.while_loop(lambda c: c[0] < 2, lambda c: (c[0] + 1, step(c[1])), (0, s))[1])
    close(by_while(state), expected)
    given_away = jax.tree.map(jnp.copy, state)
    close(jax.jit(lambda s: dp.rollout(step, s, 2)[0], donate_argnums=0)(given_away), expected)
    converted, constants = jax.closure_convert(lambda state: step(state), state)
    close(jax.jit(converted)(state, *constants), jax.jit(lambda state: step(state))(state))
