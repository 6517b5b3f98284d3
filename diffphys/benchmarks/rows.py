"""The rows that every benchmark of a step has: forward, gradient, and what else is derived from them."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from diffphys.benchmarks.benchmark import Row
from diffphys.benchmarks.timing import Program, compiled
from diffphys.runs import alternate


def half_square(values: tuple[Array, ...]) -> Array:
    """The loss of all gradients here."""
    return sum((0.5 * jnp.sum(part**2) for part in values), jnp.zeros(()))


def programs_of(
    advance: Callable[[tuple[Array, ...], int], tuple[Array, ...]],
    start: tuple[Array, ...],
    lengths: tuple[int, ...],
    second: bool = False,
) -> dict[str, Program]:
    """Compiled: steps and their gradient for each length; for the first also a jvp and a Hessian-vector product."""
    programs = {}
    for steps in lengths:

        def forward(values, steps=steps):
            return advance(values, steps)

        def gradient(values, forward=forward):
            return jax.grad(lambda values: half_square(forward(values)))(values)

        programs[f"step, {steps} in a row"] = compiled(forward, start)
        programs[f"gradient, {steps} steps"] = compiled(gradient, start)
        if second and steps == lengths[0]:
            programs[f"jvp, {steps} steps"] = compiled(
                lambda values, forward=forward: jax.jvp(forward, (values,), (values,)), start
            )
            programs[f"Hessian times vector, {steps} steps"] = compiled(
                lambda values, gradient=gradient: jax.jvp(gradient, (values,), (values,))[1], start
            )
    return programs


def rows_of(
    programs: Mapping[str, Program],
    case: str,
    size: int | float,
    error: tuple[float, str],
    seconds: float,
    peers: Mapping[tuple[str, str], Callable[[], float]] | None = None,
    peer_errors: Mapping[str, float] | None = None,
) -> list[Row]:
    """Time the programs in turns with those of peers, all per step.

    Args:
        programs: By what they compute, with the number of steps in it.
        case: Of the rows.
        size: Of the rows.
        error: Of our result, and what it is.
        seconds: How long to time.
        peers: By (who, what) functions that run a peer once and return the seconds it took.
        peer_errors: By who, the same error as ours.
    """
    peers = peers or {}
    ours = {("diffphys", what): program for what, program in programs.items()}
    times = alternate({**ours, **peers}, seconds)
    rows = []
    for (who, what), (median, fastest) in times.items():
        steps = _steps_in(what)
        forward = times.get((who, f"step, {steps} in a row"))
        program = ours.get((who, what))
        rows.append(
            Row(
                case,
                size,
                what,
                who,
                1e3 * median / steps,
                1e3 * fastest / steps,
                None if forward is None else median / forward[0],
                None if program is None else program.compile_seconds,
                None if program is None else program.scratch_megabytes,
                error[0] if who == "diffphys" else (peer_errors or {}).get(who),
                error[1],
            )
        )
    return rows


def _steps_in(what: str) -> int:
    return next(int(word) for word in what.replace(",", " ").split() if word.isdigit())


def shape_of(cells: tuple[int, ...]) -> str:
    """ "64x32" for (64, 32)."""
    return "x".join(str(count) for count in cells)


def largest_residual(divergence: Any, velocity: Any, spacing: float) -> float:
    """The largest divergence over the largest velocity per cell: zero but for round-off."""
    fastest = max(float(jnp.max(jnp.abs(part.values))) for part in velocity)
    return float(jnp.max(jnp.abs(divergence))) * spacing / max(fastest, 1e-30)
