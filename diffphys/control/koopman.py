r"""Koopman model-predictive control: plans in a code in which the system is linear.

J. Morton, F. D. Witherden, A. Jameson, M. J. Kochenderfer, "Deep dynamical modeling and control of unsteady fluid
flows" (NeurIPS 2018). An encoder takes what is observed to a code $z$ of a few numbers that follows

$$z_{k+1} = A z_k + B u_k.$$

$B$ is learned with the encoder. $A$ is identified from the latest observations, by least squares with a ridge:

$$A = \arg\min_A \sum_k |z_{k+1} - B u_k - A z_k|^2 + \lambda |A - A_0|^2.$$

As published $A_0$ is zero; with what longer observations have led to, few steps suffice.

The controls of a horizon are then the solution of a quadratic program with bounds,

$$\min_{u^- \le u \le u^+} \; \frac{1}{2} \sum_{k=1}^{N} |z_k - z^*|^2 + \frac{r}{2} |u_{k-1}|^2,$$

of which the first acts; in the next step everything is done anew.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from diffphys.errors import InputError
from diffphys.grids.numbers import as_floating, as_number, check_number, plain, shown, whole_number


def ridge_transition(codes: Array, driven: Array, ridge: ArrayLike, expected: ArrayLike = 0.0) -> Array:
    r"""The matrix A of least squares with a ridge; see the top of this file.

    Args:
        codes: $z_0$ to $z_K$, shape (K + 1, n).
        driven: $B u_0$ to $B u_{K-1}$, shape (K, n).
        ridge: $\lambda$, above 0 where there are fewer than n steps.
        expected: $A_0$, to which the ridge draws: zero as published, or what longer observations have led to.

    Returns:
        A, shape (n, n).

    Raises:
        InputError: for shapes that do not fit each other.
    """
    if codes.ndim != 2 or driven.shape != (codes.shape[0] - 1, codes.shape[1]):
        raise InputError(
            f"ridge_transition: codes have shape {codes.shape} and driven {driven.shape}; (K + 1, n) and (K, n) are "
            "accepted."
        )
    before, after = codes[:-1], codes[1:] - driven
    identity = jnp.eye(codes.shape[1], dtype=codes.dtype)
    right = before.T @ after + ridge * (expected * jnp.ones_like(identity)).T
    return jnp.linalg.solve(before.T @ before + ridge * identity, right).T


def predicted_codes(transition: Array, code: Array, driven: Array) -> Array:
    r"""$z_1$ to $z_K$ from $z_0$ and $B u_0$ to $B u_{K-1}$, shape (K, n).

    Args:
        transition: A, shape (n, n).
        code: $z_0$, shape (n,).
        driven: Shape (K, n).
    """

    def advance(code: Array, push: Array) -> tuple[Array, Array]:
        code = transition @ code + push
        return code, code

    return jax.lax.scan(advance, code, driven)[1]


def box_quadratic_program(
    matrix: Array, vector: Array, lower: ArrayLike, upper: ArrayLike, iterations: int = 200
) -> Array:
    r"""The minimum of $\tfrac12 x^T H x + g^T x$ within $x^- \le x \le x^+$, for a few unknowns.

    Projected gradients with Nesterov's acceleration (Beck, Teboulle 2009), which starts anew whenever it would lead
    uphill (O'Donoghue, Candes 2015). What it returns is within the bounds to the last bit.

    Args:
        matrix: H, symmetric and positive definite, shape (n, n).
        vector: g, shape (n,).
        lower: The lower bounds: a number or an array of n.
        upper: The upper bounds, likewise.
        iterations: How many.

    Raises:
        InputError: for shapes that do not fit each other.
    """
    matrix, vector = (as_floating(one, "box_quadratic_program: matrix and vector") for one in (matrix, vector))
    if vector.ndim != 1 or matrix.shape != 2 * vector.shape:
        raise InputError(
            f"box_quadratic_program: matrix has shape {matrix.shape} and vector {vector.shape}; (n, n) and (n,) are "
            "accepted."
        )
    iterations = whole_number("box_quadratic_program: iterations", iterations)
    lower, upper = (jnp.broadcast_to(jnp.asarray(one, vector.dtype), vector.shape) for one in (lower, upper))
    length = 1 / jnp.linalg.norm(matrix, 2)

    def advance(carry: tuple[Array, Array, Array], _: None) -> tuple[tuple[Array, Array, Array], None]:
        point, ahead, momentum = carry
        following = jnp.clip(ahead - length * (matrix @ ahead + vector), lower, upper)
        uphill = jnp.dot(ahead - following, following - point) > 0
        grown = jnp.where(uphill, 1.0, (1 + jnp.sqrt(1 + 4 * momentum**2)) / 2).astype(vector.dtype)
        share = jnp.where(uphill, 0.0, (momentum - 1) / grown)
        return (following, following + share * (following - point), grown), None

    start = jnp.clip(jnp.zeros_like(vector), lower, upper)
    carry = (start, start, jnp.ones((), vector.dtype))
    return jax.lax.scan(advance, carry, None, iterations)[0][0]


class KoopmanPredictive(eqx.Module):
    """A policy that plans in a code; `closed_loop(problem, KoopmanPredictive(...), state)`. Controls have one axis.

    Until it has seen `window` states it plans with the given transition.

    Args:
        encoder: From a state to its code of n numbers. The problem's target is such a code, of the goal.
        transition: $A_0$, with which it also begins, shape (n, n).
        control_matrix: B, shape (n, m).
        price: r, what controls cost beside squares of the code.
        lower, upper: The bounds of the controls: numbers, or arrays of m.
        horizon: Steps of a plan.
        window: States from which A is identified anew in every step.
        ridge: The ridge of that.

    Raises:
        InputError: for matrices whose shapes do not fit each other, or numbers out of range.
    """

    encoder: Callable[[Any], Array]
    transition: Array = eqx.field(converter=as_number)
    control_matrix: Array = eqx.field(converter=as_number)
    price: Array = eqx.field(converter=as_number, default=1.0)
    lower: Array = eqx.field(converter=as_number, default=-jnp.inf)
    upper: Array = eqx.field(converter=as_number, default=jnp.inf)
    horizon: int = eqx.field(static=True, converter=plain, default=16)
    window: int = eqx.field(static=True, converter=plain, default=17)
    ridge: Array = eqx.field(converter=as_number, default=1e-3)

    def __check_init__(self):
        if not callable(self.encoder):
            raise InputError(f"KoopmanPredictive: encoder is {shown(self.encoder)}; a function is accepted.")
        square, wide = self.transition.shape, self.control_matrix.shape
        if len(square) != 2 or square[0] != square[1] or len(wide) != 2 or wide[0] != square[0]:
            raise InputError(
                f"KoopmanPredictive: transition has shape {square} and control_matrix {wide}; (n, n) and (n, m) are "
                "accepted."
            )
        whole_number("KoopmanPredictive: horizon", self.horizon)
        whole_number("KoopmanPredictive: window", self.window, 2)
        check_number("KoopmanPredictive", "price", self.price, minimum=0.0)
        check_number("KoopmanPredictive", "ridge", self.ridge, minimum=0.0)

    def initial_memory(self) -> Any:
        """Codes and controls of the window, and how many states were seen."""
        codes, controls = self.control_matrix.shape
        dtype = self.transition.dtype
        return jnp.zeros((self.window, codes), dtype), jnp.zeros((self.window, controls), dtype), jnp.zeros((), int)

    def __call__(self, state: Any, target: Array, memory: Any) -> tuple[Array, Any]:
        codes, controls, seen = memory
        codes = jnp.concatenate([codes[1:], self.encoder(state)[None].astype(codes.dtype)])
        # The last control of the window led to the last code.
        driven = controls[1:] @ self.control_matrix.T
        transition = ridge_transition(codes, driven, self.ridge, self.transition)
        transition = jnp.where(seen + 1 >= self.window, transition, self.transition)
        control = self.plan(transition, codes[-1], target)[0]
        return control, (codes, jnp.concatenate([controls[1:], control[None]]), seen + 1)

    def plan(self, transition: Array, code: Array, goal: Array) -> Array:
        """The controls of a horizon, shape (N, m).

        Args:
            transition: A.
            code: Of the state at hand.
            goal: The code to come near to.
        """
        steps, (size, controls) = self.horizon, self.control_matrix.shape
        free = predicted_codes(transition, code, jnp.zeros((steps, size), code.dtype))

        def powers(response: Array, _: None) -> tuple[Array, Array]:
            return transition @ response, response

        responses = jax.lax.scan(powers, self.control_matrix, None, steps)[1]  # A^i B
        delay = jnp.arange(steps)[:, None] - jnp.arange(steps)
        reached = jnp.where((delay >= 0)[..., None, None], responses[jnp.maximum(delay, 0)], 0.0)
        reached = reached.transpose(0, 2, 1, 3).reshape(steps * size, steps * controls)
        price = jnp.maximum(self.price, 1e-12) * jnp.eye(steps * controls, dtype=code.dtype)
        vector = reached.T @ (free - goal).reshape(-1)
        lower, upper = (jnp.tile(jnp.broadcast_to(one, (controls,)), steps) for one in (self.lower, self.upper))
        return box_quadratic_program(reached.T @ reached + price, vector, lower, upper).reshape(steps, controls)
