r"""Local inverse simulators by optimization: any differentiable simulator gets one.

Each looks for the x near the given one that minimizes

$$L(x) = \tfrac12 |P(x) - y^*|^2,$$

and is called like every inverse simulator, `inverse(target, x, y)`; `solve` also says how well it went. They see one
sample, so x should be small for those with a Hessian (Newton, saddle-free Newton) or a Jacobian (Gauss-Newton). One or
a few steps are enough in training: the next update of the network goes on from there.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix
from jax import Array
from jax.flatten_util import ravel_pytree

from diffphys.errors import InputError
from diffphys.grids.numbers import plain, shown, whole_number
from diffphys.inversion.jacobian_power import as_real, default_truncation
from diffphys.inversion.scale_invariant import Simulator


class LocalSolution(eqx.Module):
    """What a local solver found.

    Attributes:
        x: The result, as the simulator's input.
        loss: L there.
        iterations: Made.
        converged: Whether a solver with a tolerance met it; where there is none, whether L did not grow.
    """

    x: Any
    loss: Array
    iterations: Array
    converged: Array


class _Descent(eqx.Module):
    """What the solvers that make a fixed number of steps share."""

    simulator: Simulator
    steps: eqx.AbstractVar[int]

    def step(self, residual: Callable[[Array], Array], x: Array) -> Array:
        """The change of x in one step."""
        raise NotImplementedError

    def solve(self, target: Any, x: Any, y: Any = None) -> LocalSolution:
        """Start at x; the known y is not needed."""
        del y
        start, residual, unravel = _flat_residual(self.simulator, target, x)
        end = jax.lax.fori_loop(0, self.steps, lambda _, now: now + self.step(residual, now), start)
        before, after = _loss(residual, start), _loss(residual, end)
        return LocalSolution(unravel(end), after, jnp.asarray(self.steps), after <= before)

    def __call__(self, target: Any, x: Any, y: Any = None) -> Any:
        return self.solve(target, x, y).x


class Newton(_Descent):
    r"""$x \leftarrow x - (H + \lambda I)^{-1} \nabla L$ with the exact Hessian. Near a saddle it goes to the saddle.

    Args:
        simulator: P.
        steps: Made at each call.
        damping: lambda, at least 0.

    Raises:
        InputError: an option is out of its range.
    """

    simulator: Simulator
    steps: int = eqx.field(static=True, converter=plain, default=1)
    damping: float = 0.0

    def __check_init__(self):
        whole_number("Newton: steps", self.steps)
        if isinstance(self.damping, (int, float)) and not self.damping >= 0.0:
            raise InputError(f"Newton: damping is {shown(self.damping)}; a number of at least 0 is accepted.")

    def step(self, residual: Callable[[Array], Array], x: Array) -> Array:
        """The change of x in one step."""
        gradient, hessian = _gradient_and_hessian(residual, x)
        return -jnp.linalg.solve(hessian + self.damping * jnp.eye(x.size, dtype=x.dtype), gradient)


class SaddleFreeNewton(_Descent):
    r"""Newton's step with the absolute eigenvalues of the Hessian, bounded where curvature is low.

    With $H = V \Sigma V^T$ and $g_e = V^T \nabla L$, the step along eigenvector i is $-\mathrm{sign}(g_{e,i})\, n_i$
    with $n_i = |g_{e,i} / \Sigma_i|$ if $\Sigma_i$ exceeds the geometric mean of all $|\Sigma|$, and otherwise
    $n_i = \min(|g_{e,i} / \Sigma_i|,\ c / |g_{e,i}|)$: a direction that is flat or curved downwards may not change the
    loss by more than about c. This is the solver of the sine experiment of Holl, Koltun, Thuerey (2022), with c = 0.2;
    absolute eigenvalues are from Dauphin et al. (2014).

    Args:
        simulator: P.
        steps: Made at each call.
        largest_loss_change: c, above 0.

    Raises:
        InputError: an option is out of its range.
    """

    simulator: Simulator
    steps: int = eqx.field(static=True, converter=plain, default=1)
    largest_loss_change: float = 0.2

    def __check_init__(self):
        whole_number("SaddleFreeNewton: steps", self.steps)
        if isinstance(self.largest_loss_change, (int, float)) and not self.largest_loss_change > 0.0:
            raise InputError(
                f"SaddleFreeNewton: largest_loss_change is {shown(self.largest_loss_change)}; a number above 0 is "
                "accepted."
            )

    def step(self, residual: Callable[[Array], Array], x: Array) -> Array:
        """The change of x in one step."""
        gradient, hessian = _gradient_and_hessian(residual, x)
        values, vectors = _eigenvectors(hessian)
        along = vectors.T @ gradient
        tiny = float(jnp.finfo(x.dtype).tiny)
        size = jnp.abs(along) / jnp.maximum(jnp.abs(values), tiny)
        mean = jnp.exp(jnp.mean(jnp.log(jnp.maximum(jnp.abs(values), tiny))))
        bounded = jnp.minimum(size, self.largest_loss_change / jnp.maximum(jnp.abs(along), tiny))
        # A direction without gradient stays where it is, also where its bound is infinite.
        size = jnp.where(jnp.abs(along) > tiny, jnp.where(values > mean, size, bounded), 0.0)
        return vectors @ (-jnp.sign(along) * size)


class GaussNewton(_Descent):
    r"""$x \leftarrow x + J^+ (y^* - P(x))$ with the pseudo-inverse of the Jacobian, truncated at relative singular
    values.

    Where x has more entries than y it is the smallest change that reaches the target to first order.

    Args:
        simulator: P.
        steps: Made at each call.
        truncation: From 0 to below 1; None: 10 max(shape) eps.

    Raises:
        InputError: an option is out of its range.
    """

    simulator: Simulator
    steps: int = eqx.field(static=True, converter=plain, default=1)
    truncation: float | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        whole_number("GaussNewton: steps", self.steps)
        if self.truncation is not None and not 0.0 <= self.truncation < 1.0:
            raise InputError(
                f"GaussNewton: truncation is {shown(self.truncation)}; None or a number from 0 to below 1 is accepted."
            )

    def step(self, residual: Callable[[Array], Array], x: Array) -> Array:
        """The change of x in one step."""
        value = residual(x)
        jacobian = (jax.jacrev if value.size <= x.size else jax.jacfwd)(residual)(x)
        given = self.truncation
        truncation = default_truncation(value.size, x.size, x.dtype) if given is None else given
        left, values, right = jnp.linalg.svd(jacobian, full_matrices=False)
        keep = values > truncation * values[0]
        inverse = jnp.where(keep, 1.0 / jnp.where(keep, values, 1.0), 0.0)
        return -(right.T @ (inverse * (left.T @ value)))


class BFGS(eqx.Module):
    """The quasi-Newton method of Broyden, Fletcher, Goldfarb and Shanno, from Optimistix, started at x.

    Args:
        simulator: P.
        steps: Iterations at most.
        relative_tolerance: On x and L between iterations.
        absolute_tolerance: Likewise.
        memory: None keeps an approximate inverse Hessian, the square of x's entries; a whole number keeps so many of
            the last steps in its place (the limited-memory form, L-BFGS), for large x.

    Raises:
        InputError: an option is out of its range.
    """

    simulator: Simulator
    steps: int = eqx.field(static=True, converter=plain, default=256)
    relative_tolerance: float = eqx.field(static=True, default=1e-6)
    absolute_tolerance: float = eqx.field(static=True, default=1e-6)
    memory: int | None = eqx.field(static=True, converter=plain, default=None)

    def __check_init__(self):
        whole_number("BFGS: steps", self.steps)
        if not (self.relative_tolerance > 0.0 and self.absolute_tolerance > 0.0):
            raise InputError(
                f"BFGS: relative_tolerance is {self.relative_tolerance!r} and absolute_tolerance "
                f"{shown(self.absolute_tolerance)}; numbers above 0 are accepted."
            )
        if self.memory is not None:
            whole_number("BFGS: memory", self.memory)

    def solve(self, target: Any, x: Any, y: Any = None) -> LocalSolution:
        """Start at x; the known y is not needed."""
        del y
        start, residual, unravel = _flat_residual(self.simulator, target, x)
        tolerances = self.relative_tolerance, self.absolute_tolerance
        solver = (
            optimistix.BFGS(*tolerances)
            if self.memory is None
            else optimistix.LBFGS(*tolerances, history_length=self.memory)
        )
        found = optimistix.minimise(
            lambda now, _: _loss(residual, now), solver, start, max_steps=self.steps, throw=False
        )
        converged = found.result == optimistix.RESULTS.successful
        # What did not stay finite must not end up in a network.
        end = jnp.where(jnp.all(jnp.isfinite(found.value)), found.value, start)
        return LocalSolution(unravel(end), _loss(residual, end), found.stats["num_steps"], converged)

    def __call__(self, target: Any, x: Any, y: Any = None) -> Any:
        return self.solve(target, x, y).x


def _flat_residual(simulator: Simulator, target: Any, x: Any) -> tuple[Array, Callable[[Array], Array], Callable]:
    """x as one vector, P(x) - y* as a function from vector to real vector, and the way back to the shapes of x."""
    start, unravel = ravel_pytree(x)

    def residual(vector: Array) -> Array:
        return as_real(jax.tree.map(jnp.subtract, simulator(unravel(vector)), target), derivative=False)

    return start, residual, unravel


def _loss(residual: Callable[[Array], Array], x: Array) -> Array:
    return 0.5 * jnp.sum(residual(x) ** 2)


def _gradient_and_hessian(residual: Callable[[Array], Array], x: Array) -> tuple[Array, Array]:
    def loss(now: Array) -> Array:
        return _loss(residual, now)

    return jax.grad(loss)(x), jax.hessian(loss)(x)


def _eigenvectors(matrix: Array) -> tuple[Array, Array]:
    """Eigenvalues and, in columns, eigenvectors of a symmetric matrix.

    Of a matrix of two rows, the rotation by half the angle of (a - c, 2 b) is the answer, without a call of LAPACK for
    each sample: that would take longer than the rest of a training.
    """
    if matrix.shape != (2, 2):
        return jnp.linalg.eigh(matrix)
    (a, b), (_, c) = matrix
    middle, radius, angle = (a + c) / 2, jnp.hypot((a - c) / 2, b), jnp.arctan2(2 * b, a - c) / 2
    cosine, sine = jnp.cos(angle), jnp.sin(angle)
    # The determinant gives the eigenvalue of smaller size without cancellation.
    outer = jnp.where(middle >= 0, middle + radius, middle - radius)
    inner = jnp.where(outer != 0, (a * c - b * b) / jnp.where(outer != 0, outer, 1.0), 0.0)
    larger, smaller = jnp.where(middle >= 0, outer, inner), jnp.where(middle >= 0, inner, outer)
    return jnp.stack([larger, smaller]), jnp.array([[cosine, -sine], [sine, cosine]])
