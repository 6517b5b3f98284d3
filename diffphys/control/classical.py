r"""Classical controllers as policies: PID, a transfer function (loop shaping), and the linear-quadratic regulator.

The first two see the error $e = x^* - h(x)$ of one or more measured numbers $h(x)$, each with a control of its own; the
regulator sees the whole state, and takes from the solver what it needs to know of it, by Jacobian products.
"""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree
from jax.typing import ArrayLike

from diffphys.errors import InputError
from diffphys.grids.field import values_of, with_values_of
from diffphys.grids.numbers import as_number, check_number, concrete, plain, shown, whole_number


Numbers = ArrayLike | Sequence[Any]
"""A number, or an array or list of numbers."""


class PID(eqx.Module):
    r"""$u = K_p e + K_i \int e \, dt + K_d \, \dot e$: proportional, integral and derivative action.

    The integral is a sum over the steps, the derivative a backward difference, zero in the first step. Gains are
    numbers, or arrays with an entry for each measured number; the control has their shape.

    Args:
        proportional, integral, derivative: $K_p$, $K_i$, $K_d$.
        dt: Duration of a step.
        measure: $h$, from a state to what is measured. Default: the state itself.
        largest_integral: The integral stays within plus and minus this, so that it does not wind up while the control
            is at a bound.

    Raises:
        InputError: for gains that are not finite, or numbers out of range.
    """

    proportional: Array
    integral: Array
    derivative: Array
    dt: Array
    largest_integral: Array
    measure: Callable[[Any], Array] = eqx.field(static=True)

    def __init__(
        self,
        proportional: Numbers,
        integral: Numbers = 0.0,
        derivative: Numbers = 0.0,
        *,
        dt: ArrayLike,
        measure: Callable[[Any], Array] = lambda state: state,
        largest_integral: ArrayLike = jnp.inf,
    ):
        gains = {"proportional": proportional, "integral": integral, "derivative": derivative}
        numbers = {name: as_number(gain, f"PID: {name}") for name, gain in gains.items()}
        for name, gain in numbers.items():
            check_number("PID", name, gain, scalar=False)
        try:
            shape = jnp.broadcast_shapes(*(gain.shape for gain in numbers.values()))
        except ValueError:
            shapes = [gain.shape for gain in numbers.values()]
            raise InputError(
                f"PID: the gains have shapes {shapes}; numbers or arrays of one shape are accepted."
            ) from None
        self.proportional, self.integral, self.derivative = (jnp.broadcast_to(gain, shape) for gain in numbers.values())
        self.dt, self.measure = as_number(dt, "PID: dt"), measure
        check_number("PID", "dt", self.dt, above=0.0)
        self.largest_integral = as_number(largest_integral, "PID: largest_integral")

    def initial_memory(self) -> Any:
        """The integral, the last error, and whether there was one."""
        zero = jnp.zeros(self.proportional.shape, self.proportional.dtype)
        return zero, zero, jnp.asarray(False)

    def __call__(self, state: Any, target: Any, memory: Any) -> tuple[Array, Any]:
        total, last, begun = memory
        error = _error("PID", self.measure(state), target, self.proportional.shape).astype(total.dtype)
        total = jnp.clip(total + self.dt * error, -self.largest_integral, self.largest_integral)
        slope = jnp.where(begun, (error - last) / self.dt, 0.0)
        control = self.proportional * error + self.integral * total + self.derivative * slope
        return control, (total, error, jnp.asarray(True))


class TransferFunction(eqx.Module):
    r"""The control as a filter of the error, $u(z) = C(z) e(z)$ with

    $$C(z) = \frac{b_0 + b_1 z^{-1} + \dots + b_m z^{-m}}{1 + a_1 z^{-1} + \dots + a_n z^{-n}}.$$

    Loop shaping chooses $C$ such that the open loop $C P$ is large at low frequencies, small at high ones, and has a
    phase well above $-180$ degrees where its size is one (Skogestad, Postlethwaite 2005); `response` and
    `plant_response` give both factors.

    Args:
        numerator: $b_0, \dots, b_m$.
        denominator: $a_0, a_1, \dots, a_n$; all coefficients are divided by $a_0$.
        channels: The shape of the measured numbers, each of which is filtered alike.
        measure: $h$, from a state to what is measured. Default: the state itself.

    Raises:
        InputError: for coefficients that are no lists of finite numbers, or $a_0 = 0$.
    """

    numerator: Array
    denominator: Array
    channels: tuple[int, ...] = eqx.field(static=True)
    measure: Callable[[Any], Array] = eqx.field(static=True)

    def __init__(
        self,
        numerator: Numbers,
        denominator: Numbers,
        *,
        channels: tuple[int, ...] = (),
        measure: Callable[[Any], Array] = lambda state: state,
    ):
        coefficients = []
        for name, given in (("numerator", numerator), ("denominator", denominator)):
            numbers = as_number(given, f"TransferFunction: {name}")
            if numbers.ndim != 1 or not numbers.size:
                raise InputError(f"TransferFunction: {name} has shape {numbers.shape}; a list of numbers is accepted.")
            check_number("TransferFunction", name, numbers, scalar=False)
            coefficients.append(numbers)
        first = concrete(coefficients[1])
        if first is not None and first[0] == 0:
            raise InputError("TransferFunction: denominator begins with 0; another number is accepted.")
        self.numerator, self.denominator = (numbers / coefficients[1][0] for numbers in coefficients)
        self.channels, self.measure = plain(tuple(channels)), measure

    def initial_memory(self) -> Any:
        """The last errors and the last controls, the latest first."""
        return tuple(
            jnp.zeros((len(numbers) - 1, *self.channels), numbers.dtype)
            for numbers in (self.numerator, self.denominator)
        )

    def __call__(self, state: Any, target: Any, memory: Any) -> tuple[Array, Any]:
        errors, controls = memory
        error = _error("TransferFunction", self.measure(state), target, self.channels).astype(errors.dtype)
        errors = jnp.concatenate([error[None], errors])
        control = jnp.tensordot(self.numerator, errors, 1) - jnp.tensordot(self.denominator[1:], controls, 1)
        controls = jnp.concatenate([control[None], controls])
        return control, (errors[:-1], controls[:-1])

    def response(self, frequencies: Numbers, dt: ArrayLike) -> Array:
        """$C(e^{i omega dt})$ at these angular frequencies, in radians per time."""
        delay = jnp.exp(-1j * as_number(frequencies) * dt)
        return jnp.polyval(self.numerator[::-1], delay) / jnp.polyval(self.denominator[::-1], delay)


def linearize(step: Callable[[Any, Any], Any], state: Any, control: Any) -> tuple[Array, Array]:
    r"""The Jacobians $A = \partial f / \partial x$ and $B = \partial f / \partial u$ of a step, as matrices.

    States and controls are flattened in the order of their leaves, fields as their values. It takes a Jacobian product
    of the solver for each entry of the state and of the control.

    Args:
        step: `step(state, control) -> state`.
        state: Where.
        control: Where.
    """
    (x, as_state), (u, as_control) = _flattened(state), _flattened(control)

    def flat(x: Array, u: Array) -> Array:
        return _flattened(step(as_state(x), as_control(u)))[0]

    return jax.jacfwd(flat, 0)(x, u), jax.jacfwd(flat, 1)(x, u)


def plant_response(
    step: Callable[[Any, Any], Any],
    state: Any,
    control: Any,
    measure: Callable[[Any], Array],
    frequencies: Numbers,
    dt: ArrayLike,
) -> Array:
    r"""How what is measured answers a small oscillating control, $P(z) = H (z - A)^{-1} B$ at $z = e^{i \omega
    \Delta t}$, with the solver's own Jacobians.

    Args:
        step: `step(state, control) -> state`.
        state: A steady state.
        control: The control that keeps it so.
        measure: $h$, from a state to what is measured.
        frequencies: Angular frequencies, (count,), in radians per time.
        dt: Duration of a step.

    Returns:
        Complex numbers, (count, measured numbers, entries of the control).
    """
    a, b = linearize(step, state, control)
    x, as_state = _flattened(state)
    h = jax.jacfwd(lambda x: jnp.ravel(measure(as_state(x))))(x)
    z = jnp.exp(1j * as_number(frequencies) * dt)
    return jax.vmap(lambda z: h @ jnp.linalg.solve(z * jnp.eye(len(x)) - a, b + 0j))(z)


class LinearFeedback(eqx.Module):
    r"""The policy $u = u_0 - K (x - x_0)$.

    Attributes:
        gain: $K$, (entries of the control, entries of the state), both flattened in the order of their leaves.
        state: $x_0$.
        control: $u_0$.
        cost_to_go: $S$, where $\tfrac12 (x - x_0)^T S (x - x_0)$ is what the future costs.
        unsteadiness: The largest entry of $|f(x_0, u_0) - x_0|$: zero where $x_0$ is steady, as the regulator assumes.
        residual: By how much $S$ fails its Riccati equation, relative to its largest entry.
    """

    gain: Array
    state: Any
    control: Any
    cost_to_go: Array
    unsteadiness: Array
    residual: Array

    def __call__(self, state: Any, target: Any) -> Any:
        del target
        (x, _), (u, as_control) = _flattened(state), _flattened(self.control)
        return as_control(u - (self.gain @ (x - _flattened(self.state)[0])).astype(u.dtype))


def linear_quadratic_regulator(
    step: Callable[[Any, Any], Any],
    state: Any,
    control: Any,
    state_weight: Numbers,
    control_weight: Numbers,
    *,
    doublings: int = 30,
) -> LinearFeedback:
    r"""The policy that keeps a steady state best: $\tfrac12 \sum_k \delta x_k^T Q\, \delta x_k + \delta u_k^T R\,
    \delta u_k$ over all times is least for the linear step $\delta x_{k+1} = A\, \delta x_k + B\, \delta u_k$.

    $A$ and $B$ are the solver's own Jacobians. The Riccati equation $S = Q + A^T S (1 + B R^{-1} B^T S)^{-1} A$ is
    solved by doubling: each turn doubles the steps that are looked ahead (Anderson, Moore 1979; Chu, Fan, Lin 2005),
    so that 30 turns are a billion steps. Differentiable.

    Args:
        step: `step(state, control) -> state`.
        state: $x_0$, a steady state, at most a few thousand numbers.
        control: $u_0$, the control that keeps it so.
        state_weight: $Q$: a number, one for each entry of the flattened state, or a symmetric matrix.
        control_weight: $R$, the same for the control; above zero.
        doublings: Turns.

    Raises:
        InputError: for weights of another shape.
    """
    doublings = whole_number("linear_quadratic_regulator: doublings", doublings)
    (x, _), (u, _) = _flattened(state), _flattened(control)
    a, b = linearize(step, state, control)
    q, r = _weight("state_weight", state_weight, x), _weight("control_weight", control_weight, u)
    one = jnp.eye(len(x), dtype=a.dtype)

    def double(carry: tuple[Array, Array, Array], _: None) -> tuple[tuple[Array, Array, Array], None]:
        a, g, s = carry
        solved = jnp.linalg.solve(one + g @ s, jnp.concatenate([a, g], 1))
        ahead, spread = solved[:, : len(x)], solved[:, len(x) :]
        return (a @ ahead, _symmetric(g + a @ spread @ a.T), _symmetric(s + a.T @ s @ ahead)), None

    (_, _, s), _ = jax.lax.scan(double, (a, b @ jnp.linalg.solve(r, b.T), q), None, doublings)
    gain = jnp.linalg.solve(r + b.T @ s @ b, b.T @ s @ a)
    unsteadiness = jnp.max(jnp.abs(_flattened(step(state, control))[0] - x))
    residual = jnp.max(jnp.abs(q + a.T @ s @ (a - b @ gain) - s)) / jnp.max(jnp.abs(s))
    return LinearFeedback(gain, state, control, s, unsteadiness, residual)


def _flattened(tree: Any) -> tuple[Array, Callable[[Array], Any]]:
    """All numbers that change in time as one vector, and the way back."""
    vector, unravel = ravel_pytree(values_of(tree))
    return vector, lambda vector: with_values_of(tree, unravel(vector))


def _symmetric(matrix: Array) -> Array:
    """Round-off that is not symmetric would grow from turn to turn."""
    return (matrix + matrix.T) / 2


def _weight(name: str, given: Numbers, like: Array) -> Array:
    """A weight as a matrix."""
    weight = as_number(given, f"linear_quadratic_regulator: {name}").astype(like.dtype)
    check_number("linear_quadratic_regulator", name, weight, scalar=False)
    if weight.shape == (like.size, like.size):
        return weight
    if weight.ndim < 2 and weight.size in (1, like.size):
        return jnp.diag(jnp.broadcast_to(weight, like.shape))
    raise InputError(
        f"linear_quadratic_regulator: {name} has shape {weight.shape}; a number, {like.size} numbers or a matrix of "
        f"shape {(like.size, like.size)} is accepted."
    )


def _error(owner: str, measured: Any, target: Any, shape: tuple[int, ...]) -> Array:
    """The target minus what is measured."""
    error = jnp.asarray(target) - jnp.asarray(measured)
    if error.shape != shape:
        raise InputError(
            f"{owner}: the error has shape {error.shape}, of a target {shown(jnp.shape(target))} and a measurement "
            f"{jnp.shape(measured)}; {shape}, an entry for each of its controls, is accepted."
        )
    return error
