"""The predictor-corrector hierarchy: in which order it asks whom, what it reaches, and its gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffphys.control import ControlProblem, Force, PredictorCorrector, execute, midpoint_error, simulate
from diffphys.errors import InputError
from tests.control.systems import Pendulum, hanging
from tests.gradients import check_derivatives


pytestmark = pytest.mark.usefixtures("float64")

# Where states and observations are numbers of frames, * a plan made anew (Holl, Koltun, Thuerey 2020, their code).
STAGGERED = "OP8->4 OP4->2 OP2->1 X1 X2 OP2->3 X3 X4 OP4->6 OP2->5 X5 X6 OP2->7 X7 X8"
REFINED = (
    "OP8->4 OP4->2 OP2->1 X1 OP2->3 OP2->2 X2 OP4->6 OP4->4 OP2->3 X3 OP2->5 OP2->4 X4 "
    "OP4->6 OP2->5 X5 OP2->7 OP2->6 X6 OP2->7 X7 X8"
)


def executed(steps: int, refined: bool) -> list[str]:
    """What a hierarchy does, whose observations are the numbers of their frames."""
    calls: list[str] = []

    def note(kind, frame):
        calls.append(f"{kind}{frame:g}")

    def predict(left, right):
        middle = (left + right) / 2
        jax.debug.callback(lambda span, middle: note(f"OP{span:g}->", middle), right - left, middle, ordered=True)
        return middle

    def step(frame, control):
        jax.debug.callback(lambda frame: note("X", frame), frame + control, ordered=True)
        return frame + control

    predictors = [predict] * (steps.bit_length() - 1)
    hierarchy = PredictorCorrector(predictors, lambda state, planned: planned - state)
    problem = ControlProblem(step, steps, 0.0, target=float(steps))
    run = jax.jit(lambda state: execute(hierarchy, problem, state, refined=refined))(jnp.asarray(0.0))
    jax.effects_barrier()
    np.testing.assert_array_equal(run.states, np.arange(1, steps + 1))
    np.testing.assert_array_equal(run.controls, 1.0)
    return calls


@pytest.mark.parametrize(("refined", "known"), [(False, STAGGERED), (True, REFINED)])
def test_the_order_is_the_published_one(refined, known):
    assert executed(8, refined) == known.split()


@pytest.mark.parametrize(
    ("steps", "refined", "count"), [(16, False, 15), (32, False, 31), (16, True, 37), (32, True, 83)]
)
def test_predictors_are_asked_as_often_as_published(steps, refined, count):
    calls = executed(steps, refined)
    assert sum(call.startswith("OP") for call in calls) == count
    assert sum(call.startswith("X") for call in calls) == steps


def steered_pendulum(gains: jax.Array, **settings) -> tuple[PredictorCorrector, ControlProblem]:
    """Predictors that lead along a curve, and a controller that does not quite follow."""

    def predictor(gain):
        return lambda left, right: (left + right) / 2 + gain * jnp.sin(right - left)

    def estimate(state, planned):
        return gains[2:] * (planned - state["angle"])

    problem = ControlProblem(Pendulum(), 4, jnp.zeros(1), target=jnp.asarray(0.9), **settings)
    return PredictorCorrector([predictor(gains[0]), predictor(gains[1])], estimate, lambda s: s["angle"]), problem


@pytest.mark.parametrize("refined", [False, True])
def test_every_part_has_a_right_gradient(refined):
    def end(gains):
        hierarchy, problem = steered_pendulum(
            gains, regularizers=(Force(0.1),), terminal_cost=lambda state, target: (state["angle"] - target) ** 2
        )
        return execute(hierarchy, problem, hanging(), refined=refined).cost

    check_derivatives(end, jnp.asarray([0.3, 0.2, 30.0]), jax.random.key(0))


def test_what_was_executed_is_the_controlled_run_and_stays_in_bounds():
    hierarchy, problem = steered_pendulum(
        jnp.asarray([0.3, 0.2, 30.0]),
        regularizers=(Force(0.1),),
        running_cost=lambda state, control, target: (state["angle"] - target) ** 2,
        lower=-4.0,
        upper=4.0,
    )
    run = execute(hierarchy, problem, hanging())
    assert np.max(np.abs(run.controls)) == 4.0
    again = simulate(problem, hanging(), run.controls)
    for one, two in zip(jax.tree.leaves(run), jax.tree.leaves(again), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-12)


def test_predictors_that_know_the_middle_have_no_error():
    frames = jnp.arange(9.0)[:, None] ** 2
    curved = [lambda left, right: ((jnp.sqrt(left) + jnp.sqrt(right)) / 2) ** 2] * 3
    straight = [lambda left, right: (left + right) / 2] * 3
    estimator = lambda state, planned: planned  # noqa: E731
    np.testing.assert_allclose(midpoint_error(PredictorCorrector(curved, estimator), frames), 0.0, atol=1e-25)
    # Half-way between the squares of a and b the mean is too high by ((b - a) / 2)^2.
    known = 0.5 * (4 * 1.0**4 + 2 * 2.0**4 + 4.0**4)
    np.testing.assert_allclose(midpoint_error(PredictorCorrector(straight, estimator), frames), known, rtol=1e-12)


def test_what_cannot_be_used_is_refused(unchecked_types):
    middle = lambda left, right: (left + right) / 2  # noqa: E731
    hierarchy = PredictorCorrector([middle, middle], lambda state, planned: planned - state)
    problem = ControlProblem(lambda state, control: state + control, 8, 0.0, target=1.0)
    with pytest.raises(InputError, match="problem has 8 steps and the hierarchy predictors for 4"):
        execute(hierarchy, problem, jnp.asarray(0.0))
    with pytest.raises(InputError, match=r"observations have \[8\] frames; 5"):
        midpoint_error(hierarchy, jnp.zeros((8, 2)))
    with pytest.raises(InputError, match="predictors is"):
        PredictorCorrector([], lambda state, planned: planned)
    with pytest.raises(InputError, match="estimator is None"):
        PredictorCorrector([middle], None)  # pyright: ignore[reportArgumentType]
