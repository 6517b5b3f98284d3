"""Integrators: orders on systems whose solution is known, where they are stable, and what they accept."""

import decimal
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp
from diffphys.stepping import ExponentialRungeKutta, ImplicitExplicit, RungeKutta, Splitting
from diffphys.stepping.phi import phi
from tests.gradients import check_derivatives


pytestmark = pytest.mark.usefixtures("float64")

EXPLICIT = [RungeKutta(order) for order in (1, 2, 3, 4)]
PAIRS = [ImplicitExplicit(order) for order in (2, 3, 4)]


def marched(method, system, start, length, steps):
    """State and last multiplier after `steps` steps, whose number is traced."""
    dt = length / steps

    def advance(index, carry):
        return method.advance(system, carry.state, dt, index * dt)

    first = method.advance(system, start, dt)
    return jax.lax.fori_loop(1, steps, advance, first)


def orders(method, system, start, length, error, counts=(20, 40, 80)):
    """The observed order between neighbors of an error of state and multiplier, all of them by one program."""
    run = jax.jit(lambda steps: marched(method, system, start, length, steps))
    errors = np.array([error(*run(steps)[:2]) for steps in counts])
    return np.log2(errors[:-1] / errors[1:]).T


class Driven(eqx.Module):
    """`y' = -sin(t) - rate (y^2 - cos(t)^2) - stiffness (y - cos t)`, whose solution from 1 is `cos(t)`."""

    rate_of_growth: float = 0.7
    stiffness: float = 3.0

    def rate(self, time, state, input):
        return -jnp.sin(time) - self.rate_of_growth * (state**2 - jnp.cos(time) ** 2)

    def stiff_rate(self, time, state, input):
        return -self.stiffness * (state - jnp.cos(time))

    def stiff_change(self, time, state, length, input):
        return -length * self.stiffness * (state - jnp.cos(time)) / (1 + length * self.stiffness)


@pytest.mark.parametrize("method", [*EXPLICIT, *PAIRS], ids=str)
def test_each_method_has_its_order_with_time_in_the_right_side_and_a_stiff_part(method):
    found = orders(method, Driven(), jnp.ones(()), 2.0, lambda state, _: abs(state - np.cos(2.0)), (40, 80, 160))
    np.testing.assert_allclose(found, method.order, atol=0.2)


class Circle(eqx.Module):
    """A point on a circle whose radius pulsates and whose center moves, carried with both and around.

    Without a `push` the rate is tangent to what the constraint allows; the push is along the normal, which turns.
    """

    push: float = 0.0
    spin: float = 1.3

    def radius(self, time):
        return 1.0 + 0.3 * jnp.sin(time)

    def center(self, time):
        return jnp.stack([0.2 * time, 0.1 * jnp.cos(time)])

    def rate(self, time, state, input):
        away = state - self.center(time)
        moved = jnp.stack([0.2 * jnp.ones_like(time), -0.1 * jnp.sin(time)])
        outward = 0.3 * jnp.cos(time) / self.radius(time) + self.push
        return moved + outward * away + self.spin * jnp.stack([-away[1], away[0]])

    def constrain(self, time, state, input):
        away = state - self.center(time)
        distance = jnp.sqrt(jnp.sum(away**2))
        return self.center(time) + away * (self.radius(time) / distance), distance - self.radius(time)

    def exact(self, time):
        angle = self.spin * time
        return self.center(time) + self.radius(time) * jnp.stack([jnp.cos(angle), jnp.sin(angle)])


@pytest.mark.parametrize("method", EXPLICIT, ids=str)
@pytest.mark.parametrize("push", [0.0, 0.8])
def test_a_constraint_that_turns_keeps_the_order_of_a_rate_along_it_and_is_of_first_else(method, push):
    circle = Circle(push)
    found = orders(
        method,
        circle,
        circle.exact(0.0),
        2.0,
        lambda state, _: np.linalg.norm(state - circle.exact(2.0)),
        (40, 80, 160),
    )
    np.testing.assert_allclose(found[-1], 1 if push else method.order, atol=0.2)


class Damped(eqx.Module):
    """A state in the plane that a force turns and a stiff part lets decay, held on the line `x + y = sin(t)`.

    With `P` the projection onto the line and `s` the coordinate along it, `s' = (a.t) cos(t) - stiffness s`.
    """

    stiffness: float = 2.0

    def rate(self, time, state, input):
        return jnp.stack([jnp.cos(time), 3.0 * jnp.cos(time)])

    def stiff_rate(self, time, state, input):
        return -self.stiffness * state

    def stiff_change(self, time, state, length, input):
        along = (state - jnp.sum(state) / 2) * jnp.ones(2)  # the change keeps the sum
        return -along * (length * self.stiffness / (1 + length * self.stiffness))

    def constrain(self, time, state, input):
        surplus = (jnp.sum(state) - jnp.sin(time)) / 2
        return state - surplus, surplus

    def exact(self, time):
        """Along `(1, -1) / 2`: `d' = -2 cos(t) - stiffness d` from 0."""
        k = self.stiffness
        difference = -2 * (k * jnp.cos(time) + jnp.sin(time) - k * jnp.exp(-k * time)) / (1 + k**2)
        return jnp.stack([jnp.sin(time) + difference, jnp.sin(time) - difference]) / 2


@pytest.mark.parametrize("method", [*EXPLICIT, *PAIRS], ids=str)
def test_a_linear_constraint_that_moves_keeps_the_order_and_the_multiplier_is_of_first(method):
    damped, length = Damped(), 1.5

    def errors(steps):
        state, multiplier, _ = marched(method, damped, damped.exact(0.0), length, steps)
        # half of what both parts would change the sum by, less what the line moves: (4 cos - k sin - cos) / 2
        limit = (3 * jnp.cos(length) - damped.stiffness * jnp.sin(length)) / 2
        return jnp.stack([jnp.linalg.norm(state - damped.exact(length)), abs(multiplier * steps / length - limit)])

    found = np.array([jax.jit(errors)(steps) for steps in (40, 80, 160)])
    found = np.log2(found[:-1] / found[1:])
    np.testing.assert_allclose(found[-1, 0], method.order, atol=0.25)
    np.testing.assert_allclose(found[-1, 1], 1.0, atol=0.25)


class Linear(eqx.Module):
    """`y' = factor * y`."""

    factor: jax.Array

    def rate(self, time, state, input):
        return self.factor * state


class Stiff(eqx.Module):
    """The same, taken implicitly, and nothing else."""

    factor: jax.Array

    def stiff_rate(self, time, state, input):
        return self.factor * state

    def stiff_change(self, time, state, length, input):
        return length * self.factor * state / (1 - length * self.factor)


def growth(method, system, factors):
    """By what one step of duration 1 multiplies the state, for each factor."""
    factors = jnp.asarray(factors)
    one = jnp.ones((), factors.dtype)
    return np.abs(jax.vmap(lambda factor: method.advance(system(factor), one, 1.0).state)(factors))


@pytest.mark.parametrize("method", EXPLICIT, ids=str)
def test_stability_reaches_as_far_on_both_axes_as_is_said(method):
    assert growth(method, Linear, -method.real_axis * np.linspace(0, 1, 200)).max() < 1 + 1e-12
    assert growth(method, Linear, [-1.02 * method.real_axis])[0] > 1.01
    found = growth(method, Linear, 1j * method.imaginary_axis * np.linspace(0, 1, 200))
    assert found.max() < 1 + 1e-12
    assert growth(method, Linear, [1j * (1.02 * method.imaginary_axis + 0.01)])[0] > 1
    # the polynomial of its order
    z = np.array([0.3 - 0.4j])
    taylor = sum(z**k / np.prod(np.arange(1, k + 1.0)) for k in range(method.order + 1))
    np.testing.assert_allclose(growth(method, Linear, z), np.abs(taylor), rtol=1e-12)


@pytest.mark.parametrize("method", PAIRS, ids=str)
def test_what_decays_fast_is_gone_in_one_step(method):
    """L-stable: nowhere in the left half-plane does anything grow, and at its far end nothing is left."""
    assert growth(method, Stiff, -np.logspace(-3, 6, 100)).max() < 1
    assert growth(method, Stiff, [-1e9])[0] < 1e-7
    assert growth(method, Stiff, 1j * np.logspace(-3, 6, 100)).max() <= 1 + 1e-12


@pytest.mark.parametrize("method", [RungeKutta(4), ImplicitExplicit(4)], ids=str)
def test_a_state_may_be_a_field_an_array_a_tuple_or_a_dictionary_in_its_own_precision(method):
    grid = dp.Grid((3,))
    field = dp.Field(jnp.asarray([1.0, 2.0, 3.0]), grid, conditions=((dp.Dirichlet(0.3), dp.Neumann()),))
    state = {"field": field, "pair": (jnp.ones(2, jnp.float32), jnp.asarray(1.0 + 1.0j)), "number": 2.0}

    class Decay:
        def stiff_rate(self, time, state, input):  # of a field a field, or an array
            return {
                "field": -1.0 * state["field"] if input is None else -state["field"].values,
                "pair": tuple(-1.0 * jnp.asarray(one, jnp.result_type(one, float)) for one in state["pair"]),
                "number": -state["number"],
            }

        def stiff_change(self, time, state, length, input):
            scaled = self.stiff_rate(time, state, input)
            factor = length / (1 + length)
            return jax.tree.map(lambda part: factor * part, scaled, is_leaf=lambda part: isinstance(part, dp.Field))

    factors = {}
    for input in (None, 1):
        found = method.advance(Decay(), state, 0.1, input=input).state
        assert jax.tree.structure(found) == jax.tree.structure(state)
        assert found["field"].conditions == field.conditions and found["pair"][0].dtype == jnp.float32
        factors[input] = found["number"] / 2.0
        np.testing.assert_allclose(factors[input], np.exp(-0.1), rtol=1e-6)
        np.testing.assert_allclose(found["field"].values, factors[input] * field.values, rtol=1e-14)
        np.testing.assert_allclose(found["pair"][0], factors[input], rtol=1e-6)
        np.testing.assert_allclose(found["pair"][1], factors[input] * (1 + 1j), rtol=1e-14)
    assert factors[None] == factors[1]


class Forced(eqx.Module):
    """A nonlinear oscillator with friction and a force that is an input."""

    friction: jax.Array

    def rate(self, time, state, input):
        x, v = state
        return v, -jnp.sin(x) + input * jnp.cos(time)

    def stiff_rate(self, time, state, input):
        return jnp.zeros_like(state[0]), -self.friction * state[1]

    def stiff_change(self, time, state, length, input):
        return jnp.zeros_like(state[0]), -state[1] * length * self.friction / (1 + length * self.friction)


@pytest.mark.parametrize(
    ("method", "second"),
    [
        (RungeKutta(2), True),
        (ImplicitExplicit(2), False),
        pytest.param(RungeKutta(4), True, marks=pytest.mark.slow),
        pytest.param(ImplicitExplicit(3), True, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_derivatives_of_every_mode_with_respect_to_all_that_is_given(method, second, key):
    """jvp, vjp and the second derivative, of the state, the system's numbers, dt, time and input."""

    def step(given):
        return method.advance(*given).state

    at = (Forced(jnp.asarray(0.4)), (jnp.asarray([0.3, 1.1]), jnp.asarray([0.7, -0.2])), 0.21, 0.5, jnp.asarray(0.6))
    at = jax.tree.map(jnp.asarray, at)
    check_derivatives(step, at, key, second=second)
    batch = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf + 0.1]), at)
    found = jax.vmap(step)(batch)
    for index in range(2):
        alone = step(jax.tree.map(lambda leaf, index=index: leaf[index], batch))
        for one, other in zip(found, alone, strict=True):
            np.testing.assert_allclose(one[index], other, rtol=1e-13)


@pytest.mark.parametrize("method", [*EXPLICIT[:1], *PAIRS], ids=str)
def test_a_step_of_a_whole_number_is_that_of_the_same_real_number(method):
    whole, real = (method.advance(Driven(), jnp.ones(()), dt).state for dt in (1, 1.0))
    assert whole == real


class Turned(eqx.Module):
    """Two parts that do not commute, each exact: halves around the other are of second order (Strang 1968)."""

    symmetric: bool = eqx.field(static=True)

    @property
    def parts(self):
        def first(time, state, dt, input):
            return jnp.stack([state[0] + dt * state[1], state[1]])

        def second(time, state, dt, input):
            return jnp.stack([state[0], state[1] - dt * state[0]])

        if not self.symmetric:
            return first, second
        half = lambda time, state, dt, input: second(time, state, dt / 2, input)  # noqa: E731
        return half, first, half


@pytest.mark.parametrize("symmetric", [False, True])
def test_splitting_is_of_first_order_and_of_second_where_it_is_symmetric(symmetric):
    found = orders(
        Splitting(),
        Turned(symmetric),
        jnp.asarray([1.0, 0.0]),
        2.0,
        lambda state, _: np.linalg.norm(state - np.array([np.cos(2.0), -np.sin(2.0)])),
    )
    np.testing.assert_allclose(found, 1 + symmetric, atol=0.1)


def test_splitting_ends_on_the_constraint_of_its_end():
    class Pushed(Circle):
        @property
        def parts(self):
            return (lambda time, state, dt, input: state + dt * self.rate(time - dt, state, input),)  # at the end

    circle = Pushed()
    found, euler = (method.advance(circle, circle.exact(0.0), 0.1) for method in (Splitting(), RungeKutta(1)))
    np.testing.assert_allclose(jnp.linalg.norm(found.state - circle.center(0.1)), circle.radius(0.1), rtol=1e-14)
    np.testing.assert_allclose(found.state, euler.state, rtol=1e-14)
    np.testing.assert_allclose(found.multiplier, euler.multiplier, rtol=1e-12)


EXPONENTIALS = [ExponentialRungeKutta(order) for order in (1, 2, 3, 4)]


@pytest.mark.parametrize("z", [-1e3, -30.0, -1.0, -0.99, -1e-3, 0.0, 1e-8, 0.7, 1.0, 3.0])
def test_phi_and_its_derivative_have_all_digits_for_arguments_of_any_size(z):
    with decimal.localcontext(prec=60):
        exact, exponential, argument = [], decimal.Decimal(z).exp(), decimal.Decimal(z)
        for k in range(5):
            rest = exponential - sum(argument**n / math.factorial(n) for n in range(1, k)) - (1 if k else 0)
            exact.append(float(rest / argument**k) if z else 1 / math.factorial(k))
    found = phi(jnp.asarray(z), 3)
    np.testing.assert_allclose(found, exact[:4], rtol=1e-14)
    slopes = jax.jacfwd(lambda z: jnp.stack(phi(z, 3)))(jnp.asarray(z))
    # phi_k' = phi_k - k phi_{k+1}; where both are near 1 / k! the difference has lost nothing
    np.testing.assert_allclose(slopes, [exact[k] - k * exact[k + 1] for k in range(4)], rtol=1e-11)


class Decaying(eqx.Module):
    """`y' = -sin(t) - growth (y^2 - cos(t)^2) + decay cos(t) - decay y`, whose solution from 1 is `cos(t)`: the last
    part diagonal, with another decay for each entry.
    """

    decay: jax.Array = eqx.field(converter=jnp.asarray, default=(0.0, 3.0, 40.0))
    growth: jax.Array | float = 0.7

    def rate(self, time, state, input):
        return -jnp.sin(time) - self.growth * (state**2 - jnp.cos(time) ** 2) + self.decay * jnp.cos(time)

    def stiff_diagonal(self, state, input):
        return -self.decay


@pytest.mark.parametrize("method", EXPONENTIALS, ids=str)
def test_an_exponential_method_has_its_order_and_is_the_explicit_one_where_nothing_decays(method):
    gentle = Decaying(decay=(0.0, 0.5, 3.0))
    found = orders(method, gentle, jnp.ones(3), 2.0, lambda state, _: abs(state - np.cos(2.0)), (40, 80, 160))
    np.testing.assert_allclose(found[:, -1], method.order, atol=0.25)
    if method.order in (1, 2, 4):  # the third is Kutta's, not Shu and Osher's
        still = Decaying(decay=(0.0,))
        one, other = (each.advance(still, jnp.ones(1), 0.3).state for each in (method, RungeKutta(method.order)))
        np.testing.assert_allclose(one, other, rtol=1e-15)


@pytest.mark.parametrize("method", EXPONENTIALS, ids=str)
def test_what_decays_or_turns_by_itself_is_exact_over_a_step_of_any_length(method):
    """Also complex, and in a state of several leaves, of which each keeps its type."""

    class Free(eqx.Module):
        turning: jax.Array

        def rate(self, time, state, input):
            return jax.tree.map(jnp.zeros_like, state)

        def stiff_diagonal(self, state, input):
            return {"amplitude": self.turning, "mean": jnp.asarray(-3.0, jnp.float32)}

    system = Free(jnp.asarray([-1e4, 7j, -0.2 + 3j]))
    start = {"amplitude": jnp.asarray([[1.0, 2.0j, 1 - 1j]] * 2), "mean": jnp.ones(2, jnp.float32)}
    found = method.advance(system, start, 1.7).state
    expected = start["amplitude"] * np.exp(1.7 * np.asarray(system.turning))
    np.testing.assert_allclose(found["amplitude"], expected, rtol=1e-14, atol=1e-300)
    assert found["mean"].dtype == jnp.float32
    np.testing.assert_allclose(found["mean"], np.exp(-5.1), rtol=1e-6)


def test_derivatives_of_an_exponential_step(key):
    system = Decaying(growth=jnp.asarray(0.7))
    check_derivatives(
        lambda given: ExponentialRungeKutta(4).advance(*given).state,
        (system, jnp.asarray([0.9, 1.1, 0.4]), jnp.asarray(0.3)),
        key,
    )


@pytest.mark.usefixtures("unchecked_types")
def test_what_is_not_accepted_is_refused_by_name():
    class Nothing:
        pass

    class Wrong:
        def __init__(self, given):
            self.given = given

        def rate(self, time, state, input):
            return self.given

    grid, one = dp.Grid((3,)), jnp.ones(3)
    periodic = ((dp.Periodic(), dp.Periodic()),)
    field = dp.Field(one, grid, conditions=periodic)
    faces = dp.Field(one, grid, (0.0,), periodic)
    for words, call in (
        ("RungeKutta: order is 5; one of 1, 2, 3, 4", lambda: RungeKutta(5)),
        ("RungeKutta: order is True", lambda: RungeKutta(True)),
        ("RungeKutta: order is 2.5", lambda: RungeKutta(2.5)),  # pyright: ignore
        ("ImplicitExplicit: order is 1; one of 2, 3, 4", lambda: ImplicitExplicit(1)),
        ("RungeKutta: Nothing has no rate", lambda: RungeKutta(1).advance(Nothing(), one, 0.1)),
        ("ImplicitExplicit: Linear has no stiff_rate", lambda: ImplicitExplicit(2).advance(Linear(one), one, 0.1)),
        ("Exponential.*: order is 5; one of 1, 2, 3, 4", lambda: ExponentialRungeKutta(5)),
        ("Linear has no stiff_diagonal", lambda: ExponentialRungeKutta().advance(Linear(one), one, 0.1)),
        ("Splitting: Linear has no parts", lambda: Splitting().advance(Linear(one), one, 0.1)),
        (r"Wrong: rate returns values of shape \(2,\); the state's own", lambda: _step(Wrong(jnp.ones(2)), one)),
        ("Wrong: rate returns nothing", lambda: _step(Wrong(None), one)),
        (r"Wrong: rate returns .*\(3,\) and \(3,\)", lambda: _step(Wrong((one, one)), one)),
        (r"at offset \(0.0,\); .* at offset \(0.5,\)", lambda: _step(Wrong(faces), field)),
        ("the state holds values of type int", lambda: _step(Linear(one), jnp.arange(3))),
        ("dt is 'long'", lambda: RungeKutta(1).advance(Linear(one), one, "long")),  # pyright: ignore
        (
            r"Heat: stepping is 3; RungeKutta\(...\) or ImplicitExplicit\(...\) is accepted",
            lambda: dp.Heat(dp.Grid((3,)), 0.1, 0.1, ((dp.Periodic(), dp.Periodic()),), stepping=3),  # pyright: ignore
        ),
    ):
        with pytest.raises(dp.InputError, match=words):
            call()


def _step(system, state):
    return RungeKutta(2).advance(system, state, 0.1)
