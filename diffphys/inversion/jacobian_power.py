r"""Powers of a Jacobian, $J^\kappa g$, by three engines.

For the economy singular value decomposition $J = U S V^T$ of an n x p matrix, with relative truncation $\tau$,

$$J^\kappa := V S^\kappa U^T, \quad \text{summed over the singular values } s_i > \tau s_1 \text{ only},$$

which maps a vector g of n outputs to a vector of p parameters. `kappa` = 1 gives the gradient $J^T g$, -1 the
pseudo-inverse $J^+ g$ (Gauss-Newton), -1/2 the half-inverse of Schnell, Holl, Thuerey (2022). Singular values at or
below the truncation are left out, not raised to it: their directions are round-off, and raising would amplify them.

| engine | how | memory | limits |
|---|---|---|---|
| "dense" | singular value decomposition of J | n p | the slowest for large J |
| "gram" | eigenvectors of the smaller one of $J J^T$ and $J^T J$ | n p, or p^2 where p < n | condition number squared |
| "matrix-free" | Golub-Kahan-Lanczos bidiagonalization, jvp and vjp only | (n + p) iterations | approximate |

**Why bidiagonalization.** Started at g, it builds bases U' of span{g, JJ^T g, ...} and V' of span{J^T g, ...} in which
J is a small lower-bidiagonal B, J V' = U' B (Golub, Kahan 1965; Paige, Saunders 1982). Then $J^\kappa g \approx V'
B^\kappa U'^T g$, with $B^\kappa$ from the decomposition of the small B. It works on J itself, so the condition number
is not squared as in Lanczos iterations on $J J^T$; for kappa = -1 without truncation it is LSQR; after as many
iterations as g has components along distinct singular values it is exact. Stopped earlier, it has found the directions
that matter most for g, and leaves the others out like a truncation does.
"""

import math
from collections.abc import Callable
from typing import Any, Literal, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jax.core import Tracer
from jax.flatten_util import ravel_pytree
from jax.typing import DTypeLike

from diffphys.errors import InputError
from diffphys.grids.numbers import shown, whole_number


Engine = Literal["auto", "dense", "gram", "matrix-free"]

# Up to this many bytes "auto" forms the Jacobian.
LARGEST_JACOBIAN = 2**28


class Spectrum(eqx.Module):
    """What an engine saw of the Jacobian.

    Attributes:
        largest: The largest singular value.
        smallest: The smallest one that was kept.
        kept: How many were kept.
        finite: Whether the outputs' gradient and everything computed from the Jacobian is finite.
        error: Estimate of the direction's relative error: for "matrix-free" its change over the last tenth of the
            iterations, zero for the direct engines.
    """

    largest: Array
    smallest: Array
    kept: Array
    finite: Array
    error: Array


def default_truncation(rows: int, columns: int, dtype: DTypeLike, engine: str = "dense") -> float:
    """`10 max(rows, columns) eps`, as published; its square root for the Gram matrix, whose eigenvalues are squares."""
    epsilon = 10.0 * max(rows, columns) * float(jnp.finfo(dtype).eps)
    return min(math.sqrt(epsilon) if engine == "gram" else epsilon, 0.5)


def choose_engine(
    rows: int, columns: int, dtype: DTypeLike, truncation: float | None, memory: int = LARGEST_JACOBIAN
) -> str:
    """The engine that "auto" stands for.

    A Jacobian larger than `memory` bytes is never formed. Otherwise the Gram matrix is used where it resolves the
    truncation that is asked for (in float32 about 3e-4 and more, in float64 nearly always): a symmetric eigenproblem is
    several times faster than a singular value decomposition.
    """
    if rows * columns * jnp.dtype(dtype).itemsize > memory:
        return "matrix-free"
    resolved = math.sqrt(float(jnp.finfo(dtype).eps))
    return "gram" if truncation is not None and truncation >= resolved else "dense"


def jacobian_power(
    function: Callable[[Any, Any], Any],
    parameters: Any,
    samples: Any,
    output_gradient: Any,
    *,
    kappa: float = -0.5,
    truncation: float | None = None,
    engine: str = "auto",
    iterations: int = 100,
    memory: int = LARGEST_JACOBIAN,
) -> tuple[Any, Spectrum]:
    r"""The direction $J^\kappa g$ in the space of parameters, J stacked over the samples of a mini-batch.

    Row (i, j) of J is $\partial y_{ij} / \partial\theta$ with $y_i$ = `function(parameters, sample i)`, so that network
    and physics, all samples and all outputs are inverted jointly. Complex outputs count as their real and imaginary
    parts.

    Args:
        function: From parameters and one sample to the outputs for it, any pytree of real or complex arrays.
        parameters: Pytree whose inexact arrays are differentiated; other leaves (an Equinox module's activation) are
            handed through.
        samples: Pytree of arrays, each with the batch as its first axis.
        output_gradient: g, the derivative of a loss by the outputs as `jax.grad` gives it (for complex outputs that is
            dL/d(real) - i dL/d(imaginary)); as the outputs, with the batch as first axis.
        kappa: The power, from -1 to 1.
        truncation: Relative truncation tau in [0, 1). None: 10 max(n, p) eps, as published.
        engine: "dense", "gram", "matrix-free", or "auto" for `choose_engine`.
        iterations: Of the matrix-free engine, at most; it needs (n + p) iterations numbers of memory.
        memory: Bytes up to which "auto" forms the Jacobian.

    Returns:
        The direction (a pytree as the inexact arrays of `parameters`, None elsewhere) and a `Spectrum`.

    Raises:
        InputError: an argument is out of its range, shapes do not fit, parameters are complex, or, where values are
            known (outside `jit`), the Jacobian or g is not finite.
    """
    check_options(kappa, truncation, engine, iterations)
    problem = _Problem(function, parameters, samples, output_gradient)
    rows, columns, dtype = problem.rows, problem.columns, problem.dtype
    if engine == "auto":
        engine = choose_engine(rows, columns, dtype, truncation, memory)
    if truncation is None:
        truncation = default_truncation(rows, columns, dtype, engine)
    elif engine == "gram" and truncation < math.sqrt(float(jnp.finfo(dtype).eps)):
        raise InputError(
            f'truncation is {truncation:g}, but engine "gram" squares the condition number: it resolves no less than '
            f'{math.sqrt(float(jnp.finfo(dtype).eps)):.1e} in {dtype.name}. Choose engine "dense", or float64.'
        )
    if engine == "dense":
        flat, spectrum = _dense(problem, kappa, truncation)
    elif engine == "gram":
        flat, spectrum = _gram(problem, kappa, truncation)
    else:
        flat, spectrum = _matrix_free(problem, kappa, truncation, min(iterations, rows, columns))
    if not isinstance(spectrum.finite, Tracer) and not bool(spectrum.finite):
        raise InputError(
            "the Jacobian or output_gradient is not finite: check the parameters and the simulator at these samples; "
            "finite numbers are accepted."
        )
    return problem.unravel(flat), spectrum


def check_options(kappa: float, truncation: float | None, engine: str, iterations: int) -> None:
    """Raise `InputError` unless all of these are accepted."""
    if not isinstance(kappa, (int, float)) or not -1.0 <= kappa <= 1.0:
        raise InputError(f"kappa is {shown(kappa)}; a number from -1 (Gauss-Newton) to 1 (gradient) is accepted.")
    if truncation is not None and (not isinstance(truncation, (int, float)) or not 0.0 <= truncation < 1.0):
        raise InputError(f"truncation is {shown(truncation)}; None or a number from 0 to below 1 is accepted.")
    if engine not in get_args(Engine):
        raise InputError(f"engine is {shown(engine)}; one of {', '.join(get_args(Engine))} is accepted.")
    whole_number("iterations", iterations)


def check_samples(samples: Any) -> None:
    """Raise `InputError` unless all arrays have one batch axis in front."""
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(samples)]
    sizes = {shape[:1] for shape in shapes}
    if len(sizes) != 1 or () in sizes or (0,) in sizes:
        raise InputError(
            f"samples must be arrays with one common, non-empty batch axis in front; given are shapes {shapes}."
        )


class _Problem:
    """The map from flat real parameters to flat real outputs, and the flat real gradient of the outputs."""

    def __init__(self, function: Callable, parameters: Any, samples: Any, output_gradient: Any):
        trainable, static = eqx.partition(parameters, eqx.is_inexact_array)
        if any(jnp.iscomplexobj(leaf) for leaf in jax.tree.leaves(trainable)):
            raise InputError("parameters holds complex arrays; real ones are accepted (split them in two).")
        if not jax.tree.leaves(trainable):
            raise InputError("parameters holds no arrays of floating-point numbers; at least one is accepted.")
        check_samples(samples)
        self.parameters, self.unravel = ravel_pytree(trainable)
        self.samples = samples
        # In the precision of the parameters, whatever that of the physics is.
        self.sample = lambda flat, sample: as_real(
            function(eqx.combine(self.unravel(flat), static), sample), derivative=False
        ).astype(self.dtype)
        shapes = jax.eval_shape(jax.vmap(lambda s: function(parameters, s)), samples)
        _check_same_shapes(shapes, output_gradient)
        self.gradient = jax.vmap(lambda g: as_real(g, derivative=True))(output_gradient).astype(self.dtype)
        self.batch, self.outputs = self.gradient.shape

    @property
    def dtype(self) -> Any:
        return self.parameters.dtype

    @property
    def rows(self) -> int:
        return self.batch * self.outputs

    @property
    def columns(self) -> int:
        return self.parameters.size

    def all_outputs(self, flat: Array) -> Array:
        """Shape (n,)."""
        return jax.vmap(self.sample, in_axes=(None, 0))(flat, self.samples).reshape(-1)

    def jacobian(self, samples: Any) -> Array:
        """Of some of the samples, shape (their number, outputs, p), sample by sample in the cheaper mode."""
        differentiate = jax.jacrev if self.outputs <= self.columns else jax.jacfwd
        return jax.vmap(differentiate(self.sample), in_axes=(None, 0))(self.parameters, samples)


def as_real(tree: Any, derivative: bool) -> Array:
    """All numbers of a pytree in one real vector; of a derivative by a complex number that JAX gives, the imaginary
    part has the other sign.
    """
    parts = []
    for leaf in map(jnp.asarray, jax.tree.leaves(tree)):
        parts.append(leaf.real.ravel())
        if jnp.iscomplexobj(leaf):
            parts.append((-leaf.imag if derivative else leaf.imag).ravel())
    return jnp.concatenate(parts)


def _check_same_shapes(outputs: Any, gradient: Any) -> None:
    expected = [leaf.shape for leaf in jax.tree.leaves(outputs)]
    given = [jnp.shape(leaf) for leaf in jax.tree.leaves(gradient)]
    if expected != given or jax.tree.structure(outputs) != jax.tree.structure(gradient):
        raise InputError(f"output_gradient has shapes {given}; those of the outputs are accepted, {expected}.")


def _power(values: Array, kappa: float, keep: Array) -> Array:
    """values^kappa where kept, zero elsewhere, without a division by zero on the way."""
    return jnp.where(keep, jnp.where(keep, values, 1.0) ** kappa, 0.0)


def _spectrum(values: Array, keep: Array, direction: Array, error: Array | float = 0.0) -> Spectrum:
    return Spectrum(
        largest=jnp.max(values),
        smallest=jnp.min(jnp.where(keep, values, jnp.inf)),
        kept=jnp.sum(keep),
        finite=jnp.all(jnp.isfinite(direction)) & jnp.all(jnp.isfinite(values)),
        error=jnp.asarray(error, direction.dtype),
    )


def _dense(problem: _Problem, kappa: float, truncation: float) -> tuple[Array, Spectrum]:
    jacobian = problem.jacobian(problem.samples).reshape(problem.rows, problem.columns)
    left, values, right = jnp.linalg.svd(jacobian, full_matrices=False)
    keep = values > truncation * values[0]
    direction = right.T @ (_power(values, kappa, keep) * (left.T @ problem.gradient.ravel()))
    return direction, _spectrum(values, keep, direction)


def _gram(problem: _Problem, kappa: float, truncation: float) -> tuple[Array, Spectrum]:
    r"""$J^T (JJ^T)^{(\kappa-1)/2} g$ or, where there are fewer parameters than rows, $(J^TJ)^{(\kappa-1)/2} J^T g$."""
    gradient = problem.gradient.ravel()
    if problem.rows <= problem.columns:
        jacobian = problem.jacobian(problem.samples).reshape(problem.rows, problem.columns)
        squares, vectors = jnp.linalg.eigh(jacobian @ jacobian.T)
        values, keep = _kept_roots(squares, truncation)
        direction = jacobian.T @ (vectors @ (_power(values, kappa - 1, keep) * (vectors.T @ gradient)))
        return direction, _spectrum(values, keep, direction)

    # Sample after sample, so that the memory does not grow with the batch.
    def add(sums: tuple[Array, Array], sample: tuple[Any, Array]) -> tuple[tuple[Array, Array], None]:
        gram, projected = sums
        single = problem.jacobian(jax.tree.map(lambda leaf: leaf[None], sample[0]))[0]
        return (gram + single.T @ single, projected + single.T @ sample[1]), None

    zero = jnp.zeros_like(problem.parameters)
    start = (jnp.zeros((zero.size, zero.size), zero.dtype), zero)
    (gram, projected), _ = jax.lax.scan(add, start, (problem.samples, problem.gradient))
    squares, vectors = jnp.linalg.eigh(gram)
    values, keep = _kept_roots(squares, truncation)
    direction = vectors @ (_power(values, kappa - 1, keep) * (vectors.T @ projected))
    return direction, _spectrum(values, keep, direction)


def _kept_roots(squares: Array, truncation: float) -> tuple[Array, Array]:
    values = jnp.sqrt(jnp.maximum(squares, 0.0))
    return values, values > truncation * jnp.max(values)


def _matrix_free(problem: _Problem, kappa: float, truncation: float, iterations: int) -> tuple[Array, Spectrum]:
    outputs, forward = jax.linearize(problem.all_outputs, problem.parameters)
    del outputs
    backward = jax.linear_transpose(forward, problem.parameters)
    norm, alphas, betas, basis = _bidiagonalize(
        forward, lambda u: backward(u)[0], problem.gradient.ravel(), problem.parameters, iterations
    )
    coefficients, values, keep = _small_power(alphas, betas, kappa, truncation)
    earlier = iterations - max(iterations // 10, 1)
    if earlier > 0:
        before, _, _ = _small_power(alphas[:earlier], betas[:earlier], kappa, truncation)
        change = coefficients.at[:earlier].add(-before)
        error = jnp.linalg.norm(change) / jnp.maximum(jnp.linalg.norm(coefficients), jnp.finfo(norm.dtype).tiny)
    else:
        error = jnp.asarray(1.0, norm.dtype)
    direction = norm * (coefficients @ basis)
    return direction, _spectrum(values, keep, direction, error)


def _small_power(alphas: Array, betas: Array, kappa: float, truncation: float) -> tuple[Array, Array, Array]:
    """B^kappa e_1 for the lower-bidiagonal B with this diagonal and these numbers below it, and B's singular values."""
    count = alphas.size
    matrix = jnp.zeros((count + 1, count), alphas.dtype)
    matrix = matrix.at[jnp.arange(count), jnp.arange(count)].set(alphas)
    matrix = matrix.at[jnp.arange(1, count + 1), jnp.arange(count)].set(betas)
    left, values, right = jnp.linalg.svd(matrix, full_matrices=False)
    # Values of round-off size, from directions that were not there to be found, are never kept.
    floor = max(truncation, 10 * count * float(jnp.finfo(alphas.dtype).eps))
    keep = values > floor * values[0]
    return right.T @ (_power(values, kappa, keep) * left[0]), values, keep


def _bidiagonalize(
    forward: Callable[[Array], Array],
    backward: Callable[[Array], Array],
    start: Array,
    like: Array,
    iterations: int,
) -> tuple[Array, Array, Array, Array]:
    """Golub-Kahan lower bidiagonalization started at an output vector, with full reorthogonalization.

    Where nothing new is left to be found, alpha and beta are zero from there on, and so are the vectors.

    Returns:
        The start's norm, the diagonal (k,), the numbers below it (k,), and the basis of parameters (k, p).
    """
    norm = jnp.linalg.norm(start)
    first = start / jnp.where(norm > 0, norm, 1.0)
    lefts = jnp.zeros((iterations + 1, start.size), start.dtype).at[0].set(first)
    rights = jnp.zeros((iterations, like.size), like.dtype)
    alphas = betas = jnp.zeros(iterations, like.dtype)

    def step(i: Array, carry: tuple[Array, ...]) -> tuple[Array, ...]:
        lefts, rights, alphas, betas = carry
        scale = jnp.maximum(jnp.max(alphas), jnp.max(betas))
        alpha, right = _normalized(_orthogonal(backward(lefts[i]), rights), scale)
        scale = jnp.maximum(scale, alpha)
        beta, left = _normalized(_orthogonal(forward(right), lefts), scale)
        return lefts.at[i + 1].set(left), rights.at[i].set(right), alphas.at[i].set(alpha), betas.at[i].set(beta)

    _, rights, alphas, betas = jax.lax.fori_loop(0, iterations, step, (lefts, rights, alphas, betas))
    return norm, alphas, betas, rights


def _orthogonal(vector: Array, basis: Array) -> Array:
    """The part of a vector orthogonal to the rows of a basis; twice is enough (Giraud, Langou, Rozloznik 2005).

    It contains the three-term recurrence, because the rows of the last step are in the basis.
    """
    for _ in range(2):
        vector = vector - (basis @ vector) @ basis
    return vector


def _normalized(vector: Array, scale: Array) -> tuple[Array, Array]:
    """Norm and direction, both zero where the norm is round-off of the scale."""
    norm = jnp.linalg.norm(vector)
    there = norm > 10 * float(jnp.finfo(vector.dtype).eps) * scale
    return jnp.where(there, norm, 0.0), jnp.where(there, vector / jnp.where(there, norm, 1.0), 0.0)
