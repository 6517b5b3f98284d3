"""What it means: a finding for each test and each leaf."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffphys.gradients.findings import GradientFinding
from diffphys.gradients.measurements import PROBES, SIZES, measured


LEAST_ORDER = 1.9  # of the remainder


def verdicts_of(
    names: list[str],
    leaves: list[Array],
    call: Callable,
    seed: int,
    tolerances: tuple[float, float],
    second: bool,
    optimize: bool,
) -> Iterator[GradientFinding]:
    """Every finding: both modes, then for each leaf Taylor remainder and dot product, then second derivatives."""
    no_forward = _undefined(lambda x: jax.jvp(call, (x,), (x,)), leaves)
    no_reverse = _undefined(lambda x: jax.vjp(call, x)[1](call(x)), leaves)
    for mode, why in (("forward mode (jvp)", no_forward), ("reverse mode (vjp)", no_reverse)):
        if why:
            yield GradientFinding("modes", "the function", "missing", np.nan, f"{mode} is not defined: {why}.")
    if no_forward and no_reverse:
        return
    found = measured(call, leaves, seed, not no_forward, not no_reverse, second, optimize)
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
