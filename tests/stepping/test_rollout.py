"""Time: saving, inputs, the four adjoints, what is compiled anew, and what is refused."""

import dataclasses
import itertools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp
from diffphys.stepping import WorkingForm
from tests.gradients import check_derivatives


pytestmark = pytest.mark.usefixtures("float64")


class Oscillators(eqx.Module):
    """A cheap nonlinear step with parameters: every state depends on all before it, and gradients do not vanish."""

    coupling: jax.Array
    dt: jax.Array

    def __call__(self, state: dict, force: Any = None) -> dict:
        acceleration = jnp.tanh(self.coupling @ state["position"]) - 0.1 * state["speed"]
        if force is not None:
            acceleration = acceleration + force["push"]
        speed = state["speed"] + self.dt * acceleration
        return {"position": state["position"] + self.dt * speed, "speed": speed}


def example(key, steps=11) -> tuple[Oscillators, dict, dict]:
    keys = jax.random.split(key, 4)
    step = Oscillators(jax.random.normal(keys[0], (3, 3)), jnp.asarray(0.3))
    state = {"position": jax.random.normal(keys[1], (3,)), "speed": jax.random.normal(keys[2], (3,))}
    return step, state, {"push": 0.3 * jax.random.normal(keys[3], (steps, 3))}


def unrolled(step, state, inputs, steps, cut=lambda index, state: state):
    """The plain Python loop."""
    states = []
    for index in range(steps):
        state = cut(index, state)
        given = () if inputs is None else (jax.tree.map(lambda leaf, index=index: leaf[index], inputs),)
        state = step(state, *given)
        states.append(state)
    return state, states


def stacked(states):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)


def assert_close(found, expected, tolerance=1e-12):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for one, two in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, two, rtol=tolerance, atol=tolerance)


def assert_differ(found, expected):
    differences = [
        float(jnp.max(jnp.abs(one - two)))
        for one, two in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
    ]
    assert max(differences) > 1e-3, differences


def loss_of(final, frames) -> jax.Array:
    total = sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(final))
    if frames is not None:
        total += sum(
            jnp.sum(jnp.cos(leaf) * jnp.arange(1.0, 1 + leaf.shape[0])[:, None]) for leaf in jax.tree.leaves(frames)
        )
    return jnp.asarray(total)


def value_and_gradients(step, state, inputs, steps, save_every, adjoints) -> list:
    """The loss and its gradients with each adjoint, in one compiled program."""

    def loss(given, adjoint):
        step, state, inputs = given
        return loss_of(*dp.rollout(step, state, steps, inputs=inputs, save_every=save_every, adjoint=adjoint))

    return quickly_compiled(lambda given: [jax.value_and_grad(loss)(given, adjoint) for adjoint in adjoints])(
        (step, state, inputs)
    )


def reference(step, state, inputs, steps, save_every, cut=lambda index, state: state):
    """The loss and its gradients through the plain Python loop."""

    def loss(given):
        step, state, inputs = given
        final, states = unrolled(step, state, inputs, steps, cut)
        return loss_of(final, None if save_every is None else stacked(states[save_every - 1 :: save_every]))

    return quickly_compiled(jax.value_and_grad(loss))((step, state, inputs))


def quickly_compiled(function):
    """Compiled without optimization: what runs once for a millisecond is not worth it."""
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0})


@pytest.mark.parametrize("with_inputs", [False, True])
def test_the_loop_is_the_loop(with_inputs, key):
    step, state, inputs = example(key, 12)
    given = inputs if with_inputs else None
    final, states = unrolled(step, state, given, 12)
    for save_every in (None, 1, 3, 12):
        found, frames = dp.rollout(step, state, 12, inputs=given, save_every=save_every)
        assert_close(found, final)
        if save_every is None:
            assert frames is None
        else:
            assert_close(frames, stacked(states[save_every - 1 :: save_every]))
    _, positions = dp.rollout(step, state, 12, inputs=given, save_every=4, save=lambda state: state["position"])
    assert_close(positions, stacked([one["position"] for one in states[3::4]]))


class Decay(eqx.Module):
    """Numbers that a step multiplies; their logarithms are its working form."""

    factor: Any
    has_form: bool = eqx.field(static=True, default=True)

    def __call__(self, state, given=1.0):
        return self.factor * given * state

    def working_form(self, state, given=1.0):
        if not self.has_form:
            return None

        def step(logarithm, given=1.0):
            return logarithm + jnp.log(self.factor * given)

        return WorkingForm(jnp.log(state), step, jnp.exp)


def test_a_rollout_stays_in_the_working_form_of_its_step():
    start, factors = jnp.asarray([1.0, 2.0, 3.0]), jnp.linspace(0.5, 2.0, 6)
    for inputs in (None, factors):
        settings: dict[str, Any] = dict(inputs=inputs, save_every=2, outcome=True)
        found, expected = (dp.rollout(Decay(0.9, has), start, 6, **settings) for has in (True, False))
        assert_close(found, expected)
    program = jax.make_jaxpr(lambda state: dp.rollout(Decay(0.9), state, 6)[0])(start)
    assert str(program).count(" exp ") == 1  # at the end, not in the loop


def test_no_steps_change_nothing(key):
    step, state, _ = example(key)
    assert_close(dp.rollout(step, state, 0)[0], state, 0)
    final, frames = dp.rollout(step, state, 0, save_every=2)
    assert frames["position"].shape == (0, 3)


SEGMENTS = (None, 1, 2, 5, 12, 40)


@pytest.mark.parametrize("with_inputs, save_every", [(False, None), (True, 2), (True, 6)])
def test_adjoints_that_are_exact_agree(with_inputs, save_every, key):
    """Segments that divide the steps or leave a remainder, are shorter or longer than the interval of saving."""
    step, state, inputs = example(key, 12)
    given = inputs if with_inputs else None
    expected = reference(step, state, given, 12, save_every)
    adjoints = [dp.StoreAll(), dp.Truncated(12), *map(dp.Checkpointed, SEGMENTS)]
    for found in value_and_gradients(step, state, given, 12, save_every, adjoints):
        assert_close(found, expected, 1e-11)


def test_truncated_is_a_loop_with_stop_gradient(key):
    step, state, inputs = example(key, 12)
    exact = reference(step, state, inputs, 12, 3)
    windows = (1, 2, 5)
    results = value_and_gradients(step, state, inputs, 12, 3, [dp.Truncated(window) for window in windows])
    for window, found in zip(windows, results, strict=True):

        def cut(index, state, window=window):
            return jax.lax.stop_gradient(state) if index and index % window == 0 else state

        assert_close(found, reference(step, state, inputs, 12, 3, cut), 1e-11)
        assert_close(found[0], exact[0])
        assert_differ(found[1], exact[1])


def test_detached_is_a_loop_without_gradients_between_steps(key):
    step, state, inputs = example(key, 12)
    found, truncated, exact = value_and_gradients(
        step, state, inputs, 12, 1, [dp.Detached(), dp.Truncated(1), dp.StoreAll()]
    )
    expected = reference(step, state, inputs, 12, 1, lambda index, state: jax.lax.stop_gradient(state))
    assert_close(found, expected, 1e-11)
    assert_close(truncated[1][0], found[1][0])  # with respect to parameters
    assert_close(truncated[1][2], found[1][2])  # with respect to inputs
    assert_close(found[1][1], jax.tree.map(jnp.zeros_like, state))  # the first state is cut off, too
    assert_differ(truncated[1][1], found[1][1])
    assert_differ(found[1][0], exact[1][0])


@pytest.mark.parametrize("adjoint", [dp.StoreAll(), dp.Checkpointed(4), dp.Truncated(5), dp.Detached()], ids=str)
def test_jvp_and_second_derivatives_go_through_every_adjoint(adjoint, key):
    step, state, inputs = example(key, 10)

    def final(given):
        step, state, inputs = given
        return dp.rollout(step, state, 10, inputs=inputs, save_every=5, adjoint=adjoint)

    if isinstance(adjoint, (dp.StoreAll, dp.Checkpointed)):
        check_derivatives(final, (step, state, inputs), key)
        return
    # A cut gradient is no derivative of the value: only jvp and vjp can agree.
    tangent = jax.tree.map(jnp.ones_like, (step, state, inputs))
    out, pushed = jax.jvp(final, ((step, state, inputs),), (tangent,))
    (pulled,) = jax.vjp(final, (step, state, inputs))[1](out)
    left = sum(jnp.vdot(a, b) for a, b in zip(jax.tree.leaves(out), jax.tree.leaves(pushed), strict=True))
    right = sum(jnp.vdot(a, b) for a, b in zip(jax.tree.leaves(pulled), jax.tree.leaves(tangent), strict=True))
    np.testing.assert_allclose(left, right, rtol=1e-11)


def wake() -> dp.IncompressibleFlow:
    return dp.IncompressibleFlow(
        dp.Grid((4, 6)),
        viscosity=0.05,
        dt=0.2,
        sides=dict(x=dp.Wall(velocity=0.1), y=(dp.Inflow(1.0), dp.Outflow())),
        solid=dp.Box((1.0, 2.0), (2.0, 3.0)),
        forces=(dp.Held(dp.Box((0.0, 0.0), (4.0, 1.0)), (None, 0.9)),),
        advection=dp.SemiLagrangian(1),
    )


@pytest.mark.slow
def test_adjoints_agree_for_a_flow(key):
    flow = wake()
    start = flow.initial_state()

    def loss(flow, adjoint):
        final, _ = dp.rollout(flow, start, 7, adjoint=adjoint)
        return jnp.stack([jnp.sum(part.values**2) for part in final.velocity]).sum()

    adjoints = (dp.StoreAll(), dp.Checkpointed())
    results = quickly_compiled(lambda flow: [jax.value_and_grad(loss)(flow, adjoint) for adjoint in adjoints])(flow)
    for other in results[1:]:
        assert_close(other, results[0], 1e-11)


def scratch_memory(system, start, steps, adjoint, save_every=None) -> int:
    """Bytes of temporaries in the compiled gradient with respect to the viscosity."""

    def loss(viscosity):
        step = dataclasses.replace(system, viscosity=viscosity)
        final, frames = dp.rollout(step, start, steps, adjoint=adjoint, save_every=save_every, save=lambda state: 0.0)
        return jnp.stack([jnp.sum(leaf**2) for leaf in jax.tree.leaves(final)]).sum()

    compiled = quickly_compiled(jax.grad(loss)).lower(system.viscosity).compile()
    analysis = compiled.memory_analysis()
    assert analysis is not None
    return analysis.temp_size_in_bytes


def test_memory_grows_like_the_square_root_of_the_steps():
    """From 100 to 10000 steps: at most 10 x with checkpoints, 100 x without; saving costs what is saved and no more."""
    burgers = dp.Burgers(dp.Grid((16,)), viscosity=0.1, dt=0.2, conditions=((dp.Periodic(), dp.Periodic()),))
    start = burgers.initial_state([jnp.sin(jnp.arange(16.0))])
    few, many = (scratch_memory(burgers, start, steps, dp.Checkpointed()) for steps in (100, 10000))
    assert 0 < many <= 10 * few, (few, many)
    few_stored, many_stored = (scratch_memory(burgers, start, steps, dp.StoreAll()) for steps in (100, 10000))
    assert many_stored > 50 * few_stored
    assert many_stored > 20 * many
    for save_every in (10, 1000):
        assert scratch_memory(burgers, start, 10000, dp.Checkpointed(), save_every) < 2 * many + 8 * 10000


@pytest.mark.slow
def test_memory_of_a_flow_grows_like_the_square_root_of_the_steps():
    flow = wake()
    few, many = (scratch_memory(flow, flow.initial_state(), steps, dp.Checkpointed()) for steps in (100, 10000))
    assert 0 < many <= 10 * few, (few, many)


# Compilations --------------------------------------------------------------------------------------------------------


class Compilations:
    """Counts programs that JAX traces or compiles while it is open."""

    def __enter__(self):
        self.count = 0
        jax.monitoring.register_event_duration_secs_listener(self._listen)
        return self

    def __exit__(self, *_):
        jax.monitoring.unregister_event_duration_listener(self._listen)

    def _listen(self, event: str, duration_secs: float, **kwargs: str | int) -> None:
        self.count += event in ("/jax/core/compile/jaxpr_trace_duration", "/jax/core/compile/backend_compile_duration")


def test_the_counter_counts():
    with Compilations() as compilations:
        jax.jit(lambda x: x * 3 + 1)(1.0)
    assert compilations.count > 0


def changed_flows(flow) -> list:
    """The same flow with each of its numbers changed, and given as Python's, NumPy's and JAX's numbers."""
    sides = dict(x=dp.Wall(velocity=0.2), y=(dp.Inflow(1.0), dp.Outflow()))
    return [
        dataclasses.replace(flow, viscosity=0.04),
        dataclasses.replace(flow, viscosity=np.float32(0.03)),
        dataclasses.replace(flow, viscosity=jnp.asarray(0.02)),
        dataclasses.replace(flow, viscosity=0),
        dataclasses.replace(flow, dt=0.1),
        dataclasses.replace(flow, sides=sides),
        dataclasses.replace(flow, sides=dict(sides, y=(dp.Inflow(1.5), dp.Outflow()))),
        dataclasses.replace(flow, sides=dict(sides, y=(dp.Inflow(2), dp.Outflow()))),
        dataclasses.replace(flow, forces=(dp.Held(dp.Box((0.0, 0.0), (4.0, 1.5)), (None, 0.7)),)),
        dataclasses.replace(flow, solid=dp.Box((1.1, 2.1), (2.0, 3.0))),  # the same cells
    ]


@pytest.mark.parametrize("way", ["rollout", "filter_jit"])
def test_another_number_compiles_nothing_anew(way):
    flow = wake()
    start = flow.initial_state()
    compiled = eqx.filter_jit(lambda flow, state: flow(state))

    def run(flow, state):
        return dp.rollout(flow, state, 2)[0] if way == "rollout" else compiled(flow, state)

    first = run(flow, start)
    flows, other = changed_flows(flow), jax.tree.map(lambda leaf: leaf * 0.9, start)
    with Compilations() as compilations:
        results = [run(one, start) for one in flows]
        run(flow, other)
    assert compilations.count == 0
    for result in results[:-1]:  # and the numbers are not ignored
        assert not np.array_equal(result.velocity[1].values, first.velocity[1].values)
    np.testing.assert_array_equal(results[-1].velocity[1].values, first.velocity[1].values)
    with Compilations() as compilations:
        run(dataclasses.replace(flow, solid=dp.Box((0.0, 2.0), (1.0, 3.0))), start)
    assert compilations.count > 0


def test_another_slope_value_or_plain_number_compiles_nothing_anew():
    def heat(slope, value, diffusivity=0.1):
        return dp.Heat(dp.Grid((5,)), diffusivity, dt=1.0, conditions=((dp.Neumann(slope), dp.Dirichlet(value)),))

    steps = [heat(0.0, 1.0), heat(0.5, 1.0), heat(0.5, 2), heat(0.5, 2, 0.2)]
    starts = [step.initial_state(number) for step, number in zip(steps, (0.0, 1.0, 2, 3.5), strict=True)]
    dp.rollout(steps[0], starts[0], 3)
    with Compilations() as compilations:
        for step in steps[1:]:
            for start in starts:
                dp.rollout(step, start, 3)
    assert compilations.count == 0

    def halved(x):
        return x / 2

    dp.rollout(halved, 1.0, 3)
    with Compilations() as compilations:
        final, _ = dp.rollout(halved, 2.0, 3)
    assert compilations.count == 0 and float(final) == 0.25


def test_gradients_compile_nothing_anew():
    flow = wake()
    start = flow.initial_state()

    @eqx.filter_jit
    def gradient(viscosity, flow):
        def loss(viscosity):
            final, _ = dp.rollout(dataclasses.replace(flow, viscosity=viscosity), start, 2)
            return jnp.sum(final.velocity[0].values ** 2)

        return jax.grad(loss)(viscosity)

    numbers = [jnp.asarray(number) for number in (0.05, 0.02)]
    gradient(numbers[0], flow)
    other = dataclasses.replace(flow, dt=0.1)
    with Compilations() as compilations:
        gradient(numbers[1], other)
    assert compilations.count == 0


# Bad input -----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    "words, settings",
    [
        ("steps", dict(steps=-1)),
        ("steps", dict(steps=2.0)),
        ("steps", dict(steps=True)),
        ("save_every", dict(save_every=0)),
        ("save_every", dict(save_every=5)),
        ("save_every", dict(save_every=True)),
        ("adjoint", dict(adjoint="store all")),
        ("segment", dict(adjoint=dp.Checkpointed(0))),
        ("segment", dict(adjoint=dp.Checkpointed(True))),
        ("window", dict(adjoint=dp.Truncated(-1))),
        ("window", dict(adjoint=dp.Truncated(13))),
        ("inputs", dict(inputs={"push": np.zeros((11, 3))})),
        ("inputs", dict(inputs={"push": np.zeros((12, 3)), "pull": 1.0})),
        ("step", dict(step=3)),
        ("inputs", dict(step=lambda state: state, inputs=np.zeros(12))),
        ("structure", dict(step=lambda state: (state,))),
        ("shape", dict(step=lambda state: {name: leaf[:2] for name, leaf in state.items()})),
        ("vmap", dict(step=lambda state: {name: leaf + np.zeros((4, 1)) for name, leaf in state.items()})),
        ("type", dict(step=lambda state: {name: leaf.astype(int) for name, leaf in state.items()})),
        ("state", dict(state={"position": "here"})),
        ("save", dict(save=3, save_every=2)),
        ("jax.numpy", dict(step=lambda state: {name: np.sin(leaf) for name, leaf in state.items()})),
        ("jnp.where", dict(step=lambda state: state if state["position"][0] > 0 else state)),
    ],
)
def test_bad_input_is_refused_by_name(words, settings, key):
    step, state, _ = example(key)
    with pytest.raises(dp.InputError, match=words):
        dp.rollout(**(dict(step=step, state=state, steps=12) | settings))


def test_a_whole_number_state_that_becomes_a_fraction_is_refused():
    """Cutting it to a whole number would go on with a wrong value without a word."""
    with pytest.raises(dp.InputError, match="int.*float"):
        dp.rollout(lambda x: x * 0.5, 1, 3)


# Early stop and outcome ----------------------------------------------------------------------------------------------


def test_a_rollout_stops_where_its_condition_holds_with_the_gradient_of_the_steps_made():
    """Each member of a batch by itself; saved frames repeat the state in which it stopped."""

    def doubled(state):
        return 2.0 * state

    def final(start):
        return dp.rollout(doubled, start, 8, save_every=2, stop=lambda state: state > 10.0, outcome=True)

    starts = jnp.asarray([1.0, 3.0, 20.0, 0.01])
    found, frames, outcome = jax.vmap(final)(starts)
    np.testing.assert_allclose(found, [16.0, 12.0, 20.0, 2.56])
    np.testing.assert_array_equal(outcome.steps, [4, 2, 0, 8])
    np.testing.assert_array_equal(outcome.first_not_finite, [-1] * 4)
    np.testing.assert_allclose(frames[0], [4.0, 16.0, 16.0, 16.0])
    slopes = jax.vmap(jax.grad(lambda start: final(start)[0]))(starts)
    np.testing.assert_allclose(slopes, [16.0, 4.0, 1.0, 256.0])
    np.testing.assert_allclose(jax.jvp(lambda start: final(start)[0], (3.0,), (1.0,))[1], 4.0)


class Growing(eqx.Module):
    """Squares its state, and calls it its Courant number."""

    def __call__(self, state):
        return state**2

    def courant_number(self, state):
        return jnp.max(state)


def test_the_first_step_that_is_not_finite_is_reported_with_its_courant_number():
    start = jnp.asarray([0.5, 1e40])
    _, _, outcome = dp.rollout(Growing(), start, 6, outcome=True)
    assert int(outcome.steps) == 6
    assert int(outcome.first_not_finite) == 2  # 1e80, 1e160, then 1e320
    np.testing.assert_allclose(outcome.courant_number, 1e160)
    _, _, fine = dp.rollout(lambda state: state / 2, start, 3, outcome=True)
    assert int(fine.first_not_finite) == -1 and float(fine.courant_number) == float(fine.diffusion_number) == -1.0


class Rocket(eqx.Module):
    """Flies on while there is fuel; without it a step is NaN and has no finite derivative."""

    thrust: jax.Array

    def __call__(self, state: dict, force: Any = None) -> dict:
        push = self.thrust * jnp.sqrt(state["fuel"]) / jnp.where(state["fuel"] > 0, 1.0, 0.0)
        speed = jnp.tanh(state["speed"] * push + (0.0 if force is None else force))
        return {"fuel": state["fuel"] - 1.0 - 0.01 * jnp.sum(speed**2), "speed": speed}

    def courant_number(self, state: dict) -> jax.Array:
        return jnp.max(jnp.abs(state["speed"]))


def is_empty(state: dict) -> jax.Array:
    return state["fuel"] <= 0.0


def cut_of(adjoint):
    """What an adjoint does to the state that enters a step."""

    def cut(index, state):
        if isinstance(adjoint, dp.Detached) or (
            isinstance(adjoint, dp.Truncated) and index and index % adjoint.window == 0
        ):
            return jax.lax.stop_gradient(state)
        return state

    return cut


STEPS = 6
FUELS = (-1.0, 0.0, 2.7, 3.5, 99.0)  # of which no step is made, none, three, four, all
MADE = (0, 0, 3, 4, STEPS)


def flight(fuel, adjoint, stops, save_every, with_inputs, looped) -> Any:
    """From (rocket, speed, inputs) to a loss; by a rollout, or by a loop that makes the steps there are and no more."""

    def loss(given):
        rocket, state, inputs = given
        inputs = inputs if with_inputs else None
        if not looped:
            stop = is_empty if stops else None
            final, frames, *outcome = dp.rollout(
                rocket,
                state | {"fuel": fuel + 0 * jnp.sum(state["speed"])},
                STEPS,
                inputs=inputs,
                save_every=save_every,
                save=lambda state: {"speed": 2.0 * state["speed"], "fuel": state["fuel"]},
                adjoint=adjoint,
                stop=stop,
                outcome=True,
            )
            return flight_loss(final, frames), outcome[0]
        made = MADE[FUELS.index(fuel)]
        state = state | {"fuel": jnp.asarray(fuel)}
        _, states = unrolled(rocket, state, inputs, made, cut_of(adjoint))
        states = (states or [state]) + [states[-1] if states else state] * STEPS
        final, frames = states[STEPS - 1], None
        if save_every is not None:
            frames = stacked(states[save_every - 1 : STEPS : save_every])
            frames["speed"] = 2.0 * frames["speed"]
        return flight_loss(final, frames), made

    return loss


def flight_loss(final, frames) -> jax.Array:
    total = jnp.sum(jnp.sin(final["speed"])) + final["fuel"] ** 2
    if frames is not None:
        weights = jnp.arange(1.0, 1 + frames["fuel"].shape[0])
        total += jnp.sum(weights * frames["fuel"]) + jnp.sum(jnp.cos(frames["speed"]) * weights[:, None])
    return total


ADJOINTS = (
    *(dp.StoreAll(), dp.Checkpointed(), dp.Checkpointed(1), dp.Checkpointed(4)),
    *(dp.Truncated(1), dp.Truncated(2), dp.Truncated(4), dp.Detached()),
)


def check_combination(adjoint, stops, save_every, with_inputs, batched):
    """Values and gradients, in both modes, are those of the Python loop over the steps that were made."""
    keys = jax.random.split(jax.random.key(5), 3)
    given = (
        Rocket(jnp.asarray(0.8)),
        {"speed": jax.random.normal(keys[0], (3,))},
        0.5 * jax.random.normal(keys[1], (STEPS, 3)),
    )
    tangent = jax.tree.map(lambda leaf: jax.random.normal(keys[2], leaf.shape), given)
    settings = (adjoint, stops, save_every, with_inputs)
    fuels = FUELS if stops else FUELS[-1:]

    def measured(fuel, given):
        loss = flight(fuel, *settings, looped=False)
        (value, outcome), gradient = jax.value_and_grad(loss, has_aux=True)(given)
        return value, gradient, jax.jvp(lambda given: loss(given)[0], (given,), (tangent,))[1], outcome

    if batched:  # the sum of all, whose gradient gathers what every member contributes

        def total(given):
            losses, outcomes = jax.vmap(lambda fuel: flight(fuel, *settings, looped=False)(given))(jnp.asarray(fuels))
            return jnp.sum(losses), outcomes

        (sum_of_losses, _), gathered = quickly_compiled(jax.value_and_grad(total, has_aux=True))(given)
        each = quickly_compiled(jax.vmap(measured, in_axes=(0, None)))(jnp.asarray(fuels), given)
        found = [jax.tree.map(lambda leaf, index=index: leaf[index], each) for index in range(len(fuels))]
    else:
        sum_of_losses, gathered = None, None
        program = quickly_compiled(measured)
        found = [program(jnp.asarray(fuel), given) for fuel in fuels]

    losses = [flight(fuel, *settings, looped=True) for fuel in fuels]
    reference = quickly_compiled(
        lambda given: [(*jax.value_and_grad(lambda given, loss=loss: loss(given)[0])(given),) for loss in losses]
    )(given)
    made = [MADE[FUELS.index(fuel)] for fuel in fuels]
    for (value, gradient, slope, outcome), expected, count in zip(found, reference, made, strict=True):
        assert_close((value, gradient), expected, 1e-11)
        along = sum(
            jnp.vdot(one, two) for one, two in zip(jax.tree.leaves(expected[1]), jax.tree.leaves(tangent), strict=True)
        )
        np.testing.assert_allclose(slope, along, rtol=1e-9, atol=1e-11)
        assert (int(outcome.steps), int(outcome.first_not_finite)) == (count, -1)
        assert float(outcome.courant_number) == -1.0
    if batched:
        expected = jax.tree.map(lambda *leaves: jnp.sum(jnp.stack(leaves), 0), *reference)
        assert_close((sum_of_losses, gathered), expected, 1e-11)


@pytest.mark.slow
def test_options_combine():
    """Each kind of adjoint with a way to save, inputs and batches; all combinations are tried among the slow."""
    for adjoint, save_every, with_inputs, batched in (
        (dp.StoreAll(), None, True, False),
        (dp.Checkpointed(4), 2, False, True),
        (dp.Truncated(2), 3, True, True),
        (dp.Detached(), 6, False, False),
    ):
        check_combination(adjoint, True, save_every, with_inputs, batched)


@pytest.mark.slow
@pytest.mark.parametrize("adjoint", ADJOINTS, ids=str)
def test_all_options_combine(adjoint):
    for choice in itertools.product((True, False), (None, 1, 2, 3, 6), (True, False), (True, False)):
        check_combination(adjoint, *choice)


@pytest.mark.usefixtures("unchecked_types")
def test_what_a_condition_must_be():
    conditions: tuple[Any, ...] = (True, lambda state: state, lambda state: state > jnp.zeros(2))
    for stop in conditions:
        with pytest.raises(dp.InputError, match="stop"):
            dp.rollout(lambda state: state, 1.0, 3, stop=stop)


# JAX's own checks ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", ["jax_debug_nans", "jax_debug_infs", "jax_disable_jit"])
def test_checks_of_jax_can_be_on(setting):
    """Nothing that a finite rollout gives, or computes, stands for itself as NaN or infinity."""
    heat = dp.Heat(dp.Grid((4,)), 0.1, dt=1.0, conditions=((dp.Periodic(), dp.Periodic()),))
    start = heat.initial_state(np.arange(4.0))

    def run(start, adjoint):
        final, frames, outcome = dp.rollout(
            heat,
            start,
            4,
            save_every=2,
            adjoint=adjoint,
            stop=lambda state: jnp.max(state.values) < 2.7,
            outcome=True,
        )
        return jnp.sum(final.values**2) + jnp.sum(frames.values), outcome

    jax.config.update(setting, True)
    try:
        results = [
            jax.value_and_grad(run, has_aux=True)(start, adjoint)
            for adjoint in (dp.StoreAll(), dp.Checkpointed(3), dp.Truncated(3), dp.Detached())
        ]
    finally:
        jax.config.update(setting, False)
    expected = [
        jax.value_and_grad(run, has_aux=True)(start, adjoint)
        for adjoint in (dp.StoreAll(), dp.Checkpointed(3), dp.Truncated(3), dp.Detached())
    ]
    assert 0 < int(expected[0][0][1].steps) < 4
    assert_close(results, expected)


def test_no_steps_with_inputs_and_a_state_that_is_not_finite():
    """Where no step is made no step is to blame, and inputs for none have a shape all the same."""
    final, frames, outcome = dp.rollout(
        lambda state, given: state + given, 1.0, 0, inputs=np.zeros(0), save_every=1, outcome=True
    )
    assert float(final) == 1.0 and frames.shape == (0,) and int(outcome.steps) == 0
    _, _, outcome = dp.rollout(lambda state: state, jnp.inf, 3, stop=jnp.isinf, outcome=True)
    assert (int(outcome.steps), int(outcome.first_not_finite)) == (0, -1)
