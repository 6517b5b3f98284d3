r"""Proofs that derivatives are right, for any function of a pytree.

Four facts hold for a correct derivative of a smooth function and fail for a wrong one (Griewank, Walther 2008):

- Taylor: $|f(x + h d) - f(x) - h f'(x) d|$ falls like $h^2$;
- the dot-product test: $u \cdot (J d) = (J^T u) \cdot d$ for random vectors, so that `vjp` is the transpose of `jvp`;
- the derivative of the gradient is the same by `jvp` of a `vjp` and by `vjp` of a `jvp`, which makes it symmetric;
- it agrees with differences of the gradient.

A wrong derivative leaves a remainder that falls like $h$ only. So does a right one at a kink, as of `abs` at zero:
there the slopes to both sides differ, and the verdict says so instead of calling the derivative wrong.

How small h may be depends on how much round-off the function makes. That is measured, by remainders at an h for which
$h^2$ is nothing; the order is then that of the smallest h whose remainders are clear of it.
"""

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffphys.errors import InputError


SIZES = np.array([10 ** (-exponent / 2) for exponent in range(4, 15)])  # 1e-2 to 1e-7
PROBES = np.array([1e-10, 3e-11])  # whose squares are below round-off
SMALL = 1e-5  # of the differences of the gradient
LEAST_ORDER = 1.9  # of the remainder
# Without optimizations, and with the older way to write loops: with second derivatives of a long step the newer one
# takes twice as long. (Not to fuse at all would be faster still, but XLA then gave wrong numbers beside an FFT.)
QUICKLY = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}


Status = Literal["right", "independent", "wrong", "kink", "not finite", "unclear", "missing"]


@dataclasses.dataclass(frozen=True)
class GradientFinding:
    """What one test found.

    Attributes:
        test: Its name: "value", "Taylor remainder", "dot product", "second derivative" or "modes".
        part: The leaf of the arguments that it moved, such as `flow.viscosity`, or "all leaves together".
        status: "right"; "independent" (the result does not depend on this part, and the derivative is zero); "wrong";
            "kink" (not smooth at this point); "not finite"; "unclear" (round-off hides the answer); "missing" (one of
            the two modes of differentiation is not defined).
        value: The number found: the order of the remainder, or a relative difference. NaN where there is none.
        explanation: A sentence: what was found and what it usually means.
    """

    test: str
    part: str
    status: Status
    value: float
    explanation: str

    @property
    def passed(self) -> bool:
        """Whether the test speaks for the derivative."""
        return self.status in ("right", "independent")


@dataclasses.dataclass(frozen=True)
class GradientCheck:
    """The result of `check_gradient`: true where every test passed, and a readable verdict as text."""

    findings: tuple[GradientFinding, ...]

    @property
    def passed(self) -> bool:
        """Whether every test passed."""
        return all(finding.passed for finding in self.findings)

    @property
    def failures(self) -> tuple[GradientFinding, ...]:
        """The findings that did not pass."""
        return tuple(finding for finding in self.findings if not finding.passed)

    def __bool__(self) -> bool:
        return self.passed

    def __str__(self) -> str:
        if self.passed:
            lines = [f"The gradient is right: {len(self.findings)} tests passed."]
        elif any(finding.status == "wrong" for finding in self.failures):
            lines = ["The gradient is WRONG."]
        else:
            lines = ["The gradient is not proven."]
        lines += [f"  {finding.test}, {finding.part}: {finding.explanation}" for finding in self.failures]
        still = [finding.part for finding in self.findings if finding.status == "independent"]
        if still:
            lines.append(f"  The result does not depend on {', '.join(still)}.")
        orders = [f.value for f in self.findings if f.test == "Taylor remainder" and f.status == "right"]
        if orders:
            lines.append(f"  Taylor remainders fall like h^{min(orders):.2f} to h^{max(orders):.2f} (right: h^2).")
        return "\n".join(lines)


def check_gradient(
    function: Callable[..., Any],
    arguments: Any,
    *,
    seed: int = 0,
    tolerance: float = 1e-9,
    second_tolerance: float | None = None,
    second: bool = True,
    optimize: bool = True,
    show: bool = True,
) -> GradientCheck:
    """Prove, or disprove, the derivatives of a function of any pytrees, in float64.

    Every floating-point leaf of the arguments is moved alone, and all of them together, along a random direction of the
    size of the leaf. Works in float32 programs, too: the arguments are cast and everything runs in
    `jax.enable_x64`.

        dp.check_gradient(lambda flow, state: dp.rollout(flow, state, 10)[0], (flow, state))

    Args:
        function: From pytrees to a pytree.
        arguments: What it is called with: a tuple or list, `function(*arguments)`, or where that does not fit its
            signature or it is no tuple or list, `function(arguments)`. Integers, booleans, keys and whatever is no
            number are held fixed.
        seed: For the random directions.
        tolerance: Largest difference in the dot-product test, relative to the size of its terms. A function with an
            iterative solver needs what that solver's tolerance allows.
        second_tolerance: The same for the two second derivatives. Default: `tolerance`.
        second: Whether to check second derivatives.
        optimize: Whether XLA optimizes the program: False compiles faster, for functions that take a millisecond.
        show: Whether to print the verdict.

    Returns:
        The findings; true where all of them pass.

    Raises:
        InputError: if the arguments or the result have no floating-point leaf, or JAX cannot trace the function.
    """
    if not callable(function):
        raise InputError(f"check_gradient: function is {function!r}; a function of the arguments is accepted.")
    with jax.enable_x64(True):
        names, leaves, call = _prepared(function, arguments)
        tolerances = (tolerance, tolerance if second_tolerance is None else second_tolerance)
        result = GradientCheck(tuple(_findings(names, leaves, call, seed, tolerances, second, optimize)))
    if show:
        print(result)
    return result


def _random(shapes: Sequence[Any], generator: np.random.Generator, sizes: Sequence[float]) -> list[Any]:
    """Normal random numbers of given sizes. Made on the host: compiling a generator for each leaf takes seconds."""
    random = []
    for like, size in zip(shapes, sizes, strict=True):
        values = generator.standard_normal(like.shape)
        if np.issubdtype(like.dtype, np.complexfloating):
            values = values + 1j * generator.standard_normal(like.shape)
        random.append(size * values)
    return random


def dot(first: Any, second: Any) -> Array:
    """The scalar product of two trees, as JAX transposes: the real part of the plain sum of products."""
    return sum(_dots(first, second), jnp.zeros(()))


def _dots(first: Any, second: Any) -> list[Array]:
    products = jax.tree.map(lambda a, b: jnp.sum(jnp.real(a * b)), first, second)
    return jax.tree.leaves(products)


def _scale(leaf: Array) -> Array:
    """The root mean square of an array, or 1 where that is zero."""
    mean = jnp.sqrt(jnp.sum(jnp.abs(leaf) ** 2) / max(leaf.size, 1))
    return jnp.where(mean > 0, mean, 1.0)


def _norm(tree: Any) -> Array:
    return jnp.sqrt(sum((jnp.sum(jnp.abs(leaf) ** 2) for leaf in jax.tree.leaves(tree)), jnp.zeros(())))


# What is asked ------------------------------------------------------------------------------------------------------


def _prepared(function: Callable, arguments: Any) -> tuple[list[str], list[Array], Callable]:
    """Names and values of the leaves to move, and the function of these leaves alone."""
    star = isinstance(arguments, (tuple, list)) and _fits(function, arguments)
    given = tuple(arguments) if star else (arguments,)
    paths, structure = jax.tree_util.tree_flatten_with_path(given, is_leaf=lambda leaf: leaf is None)
    moved = [_as_float64(leaf) for _, leaf in paths]
    names = [_name(function, path) for (path, _), leaf in zip(paths, moved, strict=True) if leaf is not None]
    leaves = [leaf for leaf in moved if leaf is not None]
    if not any(leaf.size for leaf in leaves):
        kinds = sorted({str(getattr(leaf, "dtype", type(leaf).__name__)) for _, leaf in paths}) or ["nothing"]
        raise InputError(
            f"check_gradient: the arguments have no floating-point leaf (there is: {', '.join(kinds)}); at least one "
            "is needed to differentiate with respect to."
        )

    def call(leaves: list[Array]) -> list[Array]:
        """The floating-point leaves of the result."""
        rest = iter(leaves)
        full = [old if new is None else next(rest) for (_, old), new in zip(paths, moved, strict=True)]
        result = function(*jax.tree.unflatten(structure, full))
        return [leaf for leaf in map(_as_result, jax.tree.leaves(result)) if leaf is not None]

    try:
        out = jax.eval_shape(call, leaves)
    except (jax.errors.TracerArrayConversionError, jax.errors.ConcretizationTypeError) as error:
        raise InputError(
            f"check_gradient: function cannot be traced by JAX ({str(error).splitlines()[0]}); a function of JAX "
            "operations is accepted."
        ) from error
    if not any(leaf.size for leaf in out):
        raise InputError("check_gradient: the result has no floating-point leaf; at least one is needed.")
    return names, leaves, call


def _fits(function: Callable, arguments: Sequence) -> bool:
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError:
        return False
    except ValueError:  # a builtin without a signature
        return True
    return True


def _as_float64(leaf: Any) -> Array | None:
    """The leaf in double precision, or None where it is no floating-point number."""
    if (
        isinstance(leaf, (bool, int, str, bytes))
        or leaf is None
        or jnp.issubdtype(getattr(leaf, "dtype", np.float64), jax.dtypes.extended)
    ):
        return None
    try:
        kind = jnp.result_type(leaf)
    except TypeError:
        return None
    if jnp.issubdtype(kind, jnp.complexfloating):
        return jnp.asarray(leaf, jnp.complex128)
    return jnp.asarray(leaf, jnp.float64) if jnp.issubdtype(kind, jnp.floating) else None


def _as_result(leaf: Any) -> Array | None:
    try:
        kind = jnp.result_type(leaf)
    except TypeError:
        return None
    return jnp.asarray(leaf) if jnp.issubdtype(kind, jnp.inexact) else None


def _name(function: Callable, path: tuple) -> str:
    """The path of a leaf with the parameter's own name in front, `flow.viscosity` for `[0].viscosity`."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    index = path[0].idx
    named = index < len(parameters) and parameters[index].kind is not inspect.Parameter.VAR_POSITIONAL
    return (parameters[index].name if named else f"argument {index}") + jax.tree_util.keystr(path[1:])


# What is measured ---------------------------------------------------------------------------------------------------


def _measured(
    call: Callable, leaves: list[Array], seed: int, forward: bool, reverse: bool, second: bool, optimize: bool
) -> dict[str, np.ndarray]:
    """All numbers of the tests, from two programs in which the function appears few times: compiling is what costs.

    In one program, XLA took several times as long for a step around an immersed body.
    """
    generator = np.random.default_rng(seed)
    masks = jnp.asarray(_masks(len(leaves)))
    sizes = jnp.asarray(np.concatenate([SIZES, PROBES]))
    out = jax.eval_shape(call, leaves)
    lengths = [float(np.max(np.abs(leaf), initial=0.0)) or 1.0 for leaf in leaves]  # each leaf in its own units
    random = [_random(leaves, generator, lengths) for _ in range(2)]
    random += [_random(out, generator, [1.0] * len(out)) for _ in range(2)]

    def loss_of(result, scales, weights):
        # Squares make the remainder of a linear function visible; scales bring all its results to size one.
        sized = [leaf / scale for leaf, scale in zip(result, scales, strict=True)]
        return dot(weights, [leaf + leaf**2 / 2 for leaf in sized])

    def measure(x, base, weights, covector):
        start = call(x)
        scales = [_scale(leaf) for leaf in start]
        covector = [(one / scale).astype(leaf.dtype) for one, scale, leaf in zip(covector, scales, start, strict=True)]

        def loss(x):
            return loss_of(call(x), scales, weights)

        def masked(mask):
            return [part * move for part, move in zip(mask, base, strict=True)]

        def on_path(mask_and_size):
            mask, size = mask_and_size
            return loss([leaf + size * move for leaf, move in zip(x, masked(mask), strict=True)])

        signed = jnp.concatenate([jnp.zeros(1), sizes, -sizes])
        pairs = (jnp.repeat(masks, len(signed), axis=0), jnp.tile(signed, len(masks)))
        values = jax.lax.map(on_path, pairs).reshape(len(masks), len(signed))
        found = dict(
            finite=jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in start]),
            above=values[:, 1 : 1 + len(sizes)] - values[:, :1],
            below=values[:, 1 + len(sizes) :] - values[:, :1],
            magnitude=sum((jnp.sum(jnp.abs(weight)) for weight in weights), jnp.zeros(())),
        )
        if forward:

            def pushed(mask):
                def both(x):
                    result = call(x)
                    return result, loss_of(result, scales, weights)

                _, (tangent, slope) = jax.jvp(both, (x,), (masked(mask),))
                return slope, dot(covector, tangent), _norm(covector) * _norm(tangent)

            found |= dict(zip(("slopes", "forward", "forward_size"), jax.lax.map(pushed, masks), strict=True))
        if reverse:
            (pulled,) = jax.vjp(call, x)[1](covector)
            gradient = jax.grad(loss)(x)
            norms = jnp.stack([_norm(one) * _norm(two) for one, two in zip(pulled, base, strict=True)])
            found |= dict(
                reverse=masks @ jnp.stack(_dots(pulled, base)),
                reverse_size=masks @ norms,
                reverse_slopes=masks @ jnp.stack(_dots(gradient, base)),
            )
        return found, scales

    def bend(x, scales, base, other, weights):
        def loss(x):
            return loss_of(call(x), scales, weights)

        def grown(x):
            return jax.jvp(jax.grad(loss), (x,), (base,))

        shifts = SMALL * jnp.asarray([0.0, 1.0, -1.0, 2.0, -2.0])
        near = [leaf + jnp.multiply.outer(shifts, move) for leaf, move in zip(x, base, strict=True)]
        gradients, curved = jax.lax.map(grown, near)  # jvp of a vjp
        # Of fourth order: where the third derivative is large, the plain difference would be called wrong.
        curved = [leaf[0] for leaf in curved]
        steps = [(8 * (leaf[1] - leaf[2]) - (leaf[3] - leaf[4])) / (12 * SMALL) for leaf in gradients]
        bent = jax.grad(lambda x: jax.jvp(loss, (x,), (base,))[1])(x)  # vjp of a jvp

        def sized(tree):
            return [leaf * length for leaf, length in zip(tree, lengths, strict=True)]

        return dict(
            transposed=_norm(sized([one - two for one, two in zip(curved, bent, strict=True)])),
            differing=jnp.abs(dot(curved, other) - dot(steps, other)),
            curvature=_norm(sized(curved)) + _norm(sized([leaf[0] for leaf in gradients])),
        )

    # Optimizing takes most of the time where the program runs for a millisecond.
    options = {} if optimize else QUICKLY
    base, other, weights, covector = random
    found, scales = jax.jit(measure, compiler_options=options)(leaves, base, weights, covector)
    if forward and reverse and second:
        found |= jax.jit(bend, compiler_options=options)(leaves, scales, base, other, weights)
    return {name: np.asarray(number) for name, number in found.items()}


def _masks(count: int) -> np.ndarray:
    """Which leaves each direction moves: all of them, then each alone."""
    return np.concatenate([np.ones((1, count)), np.eye(count)]) if count > 1 else np.ones((1, 1))


def _undefined(transform: Callable, leaves: list[Array]) -> str:
    """Empty where a derivative is defined; else the reason."""
    try:
        jaxpr = jax.make_jaxpr(transform)(leaves).jaxpr
    except (TypeError, ValueError, NotImplementedError) as error:
        return str(error).splitlines()[0].rstrip(".")
    if any(equation.primitive.name == "custom_lin" for equation in _equations(jaxpr)):
        return "the function holds a custom_vjp rule, which gives reverse mode only"
    return ""


def _equations(jaxpr: Any) -> Iterator[Any]:
    """Every equation of a program, those of loops and calls inside it included."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda leaf: hasattr(leaf, "eqns")):
            inner = getattr(inner, "jaxpr", inner)
            if hasattr(inner, "eqns"):
                yield from _equations(inner)


def _lower_precision(jaxpr: Any) -> str:
    """The first type with less than double precision that a program computes in, or nothing."""
    for equation in _equations(jaxpr):
        for variable in equation.outvars:
            kind = getattr(variable.aval, "dtype", None)
            if kind is not None and jnp.issubdtype(kind, jnp.inexact) and jnp.finfo(kind).bits < 64:
                return str(kind)
    return ""


# What it means ------------------------------------------------------------------------------------------------------


def _findings(
    names: list[str],
    leaves: list[Array],
    call: Callable,
    seed: int,
    tolerances: tuple[float, float],
    second: bool,
    optimize: bool,
) -> Iterator[GradientFinding]:
    no_forward = _undefined(lambda x: jax.jvp(call, (x,), (x,)), leaves)
    no_reverse = _undefined(lambda x: jax.vjp(call, x)[1](call(x)), leaves)
    for mode, why in (("forward mode (jvp)", no_forward), ("reverse mode (vjp)", no_reverse)):
        if why:
            yield GradientFinding("modes", "the function", "missing", np.nan, f"{mode} is not defined: {why}.")
    if no_forward and no_reverse:
        return
    found = _measured(call, leaves, seed, not no_forward, not no_reverse, second, optimize)
    if not found["finite"].all():
        bad = int(np.argmin(found["finite"]))
        explanation = f"leaf {bad} of the result is NaN or infinite already; choose arguments where it is finite."
        yield GradientFinding("value", "the result", "not finite", np.nan, explanation)
        return
    low = _lower_precision(jax.make_jaxpr(call)(leaves).jaxpr)
    parts = ["all leaves together", *names] if len(names) > 1 else names

    taylor = []
    for index, part in enumerate(parts):
        kinds = [("Taylor remainder", "slopes"), ("Taylor remainder of the vjp", "reverse_slopes")]
        kinds = [(test, slopes) for test, slopes in kinds if slopes in found]
        judged = [_taylor(test, found, slopes, index, part, low) for test, slopes in kinds]
        # With both modes the dot product proves the second, where it is finite.
        taylor.append(judged[-1] if judged[0].passed and judged[-1].status == "not finite" else judged[0])
    yield from taylor
    if no_forward or no_reverse:
        return
    for index, part in enumerate(parts):
        if taylor[index].status != "not finite":
            yield _transpose(found, index, part, tolerances[0], low)
    if second and all(finding.passed for finding in taylor):
        yield from _second(found, tolerances[1])


def _taylor(test: str, found: dict[str, np.ndarray], slopes: str, index: int, part: str, low: str) -> GradientFinding:
    slope, above, below = float(found[slopes][index]), found["above"][index], found["below"][index]
    if not np.isfinite(slope):
        explanation = (
            "the derivative is NaN or infinite although the value is finite. Usual causes: sqrt, a norm or a division "
            "at zero; jnp.where whose branch not taken is not finite (guard what goes in, not only what comes out)."
        )
        return GradientFinding(test, part, "not finite", np.nan, explanation)
    sizes = np.concatenate([SIZES, PROBES])
    round_off = 1e-15 * float(found["magnitude"])
    if slope == 0 and np.nanmax(np.abs([above, below])) <= 3 * round_off:
        return GradientFinding(test, part, "independent", np.nan, "the result does not depend on it.")
    remainders = np.maximum(np.abs(above - sizes * slope), np.abs(below + sizes * slope))
    order = _order(remainders, round_off)
    if order >= LEAST_ORDER:
        return GradientFinding(test, part, "right", order, f"falls like h^{order:.2f}.")
    finite = np.isfinite(remainders) & (sizes >= SIZES[-1])
    agreement = np.min(remainders[finite] / (sizes[finite] * abs(slope))) if slope and finite.any() else np.inf
    if np.isnan(order) and agreement < 1e-6:
        explanation = f"differences agree to {agreement:.0e}; the curvature is below round-off."
        return GradientFinding(test, part, "right", np.nan, explanation)
    if low and agreement < 0.01:
        explanation = (
            f"differences agree to {agreement:.0e} only, because inside the function numbers are cast to {low}, which "
            "rounds too much for a proof. Let the types follow the arguments."
        )
        return GradientFinding(test, part, "unclear", order, explanation)
    # On a smooth function f(x + h d) + f(x - h d) - 2 f(x) falls like h^2 whatever the derivative; at a kink like h.
    bend, smallest = _order(np.abs(above + below), round_off), len(SIZES) - 1
    jump = max(np.abs(above[-1]), np.abs(below[-1])) > 0.5 * max(np.abs(above[smallest]), np.abs(below[smallest]))
    if jump or bend < 1.5:
        right, left = above[smallest] / SIZES[-1], -below[smallest] / SIZES[-1]
        what = "jumps here" if jump else f"has a kink here, with slopes {left:.6g} and {right:.6g} to its two sides"
        explanation = (
            f"the function {what}, so that no derivative exists; JAX gives {slope:.6g}. Usual causes: abs, max, relu "
            "or a look-up at its corner; rounding, argmax. Try arguments moved by a random bit."
        )
        return GradientFinding(test, part, "kink", order, explanation)
    if np.isnan(order):
        explanation = (
            f"round-off hides the remainder; differences agree to {agreement:.0e}. Usual causes: an iterative solver "
            "with a loose tolerance, or a part that hardly matters to the result."
        )
        return GradientFinding(test, part, "unclear", np.nan, explanation)
    best = int(np.argmin(np.abs(SIZES - 1e-5)))
    quotient = (above[best] - below[best]) / (2 * SIZES[best])
    explanation = (
        f"falls like h^{order:.2f}, not h^2: the derivative along it is {slope:.8g}, differences give "
        f"{quotient:.8g}. Usual causes: an error in a custom_jvp or custom_vjp rule, stop_gradient, a cast to "
        "integers, an iterative solver that stops early."
    )
    return GradientFinding(test, part, "wrong", order, explanation)


def _order(values: np.ndarray, round_off: float) -> float:
    """The order in h over the five smallest sizes at which the values are clear of round-off; NaN for fewer than three.

    Round-off is what the probes show, where h^2 is nothing.
    """
    noise = np.nanmax(values[len(SIZES) :], initial=round_off)
    clear = np.flatnonzero(np.isfinite(values[: len(SIZES)]) & (values[: len(SIZES)] > 10 * noise))[-5:]
    if len(clear) < 3:
        return np.nan
    return float(np.polyfit(np.log(SIZES[clear]), np.log(values[clear]), 1)[0])


def _transpose(found: dict[str, np.ndarray], index: int, part: str, tolerance: float, low: str) -> GradientFinding:
    forward, reverse = found["forward"][index], found["reverse"][index]
    size = max(found["forward_size"][index], found["reverse_size"][index])
    difference = abs(forward - reverse) / (size or 1.0)
    explanation = f"u . (J d) is {forward:.10g} and (J^T u) . d is {reverse:.10g}"
    if difference <= tolerance:
        return GradientFinding("dot product", part, "right", difference, f"{explanation}.")
    if low and difference < 1e-3:
        explanation += f"; inside the function numbers are cast to {low}, which rounds too much for a proof."
        return GradientFinding("dot product", part, "unclear", difference, explanation)
    explanation += (
        ": the vjp is not the transpose of the jvp. Usual causes: an error in a custom_vjp or a transpose rule, or an "
        f"iterative solver whose tolerance is looser than {tolerance:g}."
    )
    return GradientFinding("dot product", part, "wrong", difference, explanation)


def _second(found: dict[str, np.ndarray], tolerance: float) -> Iterator[GradientFinding]:
    part, size = "all leaves together", float(found["curvature"]) or 1.0
    symmetric, differing = float(found["transposed"] / size), float(found["differing"] / size)
    for test, value, bound, meaning in (
        (
            "second derivative, jvp of vjp against vjp of jvp",
            symmetric,
            tolerance,
            "it is not symmetric. Usual cause: a custom rule that is right itself but that JAX does not differentiate "
            "rightly, as with stop_gradient inside it",
        ),
        (
            "second derivative against differences of the gradient",
            differing,
            max(1e-6, tolerance),
            "Usual causes: a custom rule whose own derivative is wrong, or a kink of the gradient near the point",
        ),
    ):
        if not np.isfinite(value):
            yield GradientFinding(test, part, "not finite", np.nan, "the second derivative is NaN or infinite.")
        elif value <= bound:
            yield GradientFinding(test, part, "right", value, f"they agree to {value:.0e}.")
        else:
            yield GradientFinding(test, part, "wrong", value, f"they differ by {value:.1e}: {meaning}.")
