"""Measures what docs/advection-schemes.md says: error, overshoot, loss of mass and cost of every advection scheme.

    python docs/scripts/advection_schemes.py

A wind of constant speed carries a field once around a periodic square, obliquely to the grid; then the exact result is
the start. Costs are medians of rounds in which the schemes take turns, so that other work on the machine meets all.
"""

import functools
import statistics
import time

import jax
import jax.numpy as jnp

import diffphys as dp
from diffphys.grids import face_offset
from diffphys.operators import advect, cubic_semi_lagrangian, maccormack, semi_lagrangian


SCHEMES = {
    "`semi_lagrangian`": semi_lagrangian,
    "`semi_lagrangian`, `largest_courant=1`": functools.partial(semi_lagrangian, largest_courant=1),
    "`maccormack`": maccormack,
    "`cubic_semi_lagrangian`": cubic_semi_lagrangian,
    "`cubic_semi_lagrangian`, `limited=True`": functools.partial(cubic_semi_lagrangian, limited=True),
    "`advect`, `upwind`": functools.partial(advect, scheme="upwind"),
    "`advect`, `van_leer`": functools.partial(advect, scheme="van_leer"),
    "`advect`, `central`": functools.partial(advect, scheme="central"),
    "`advect`, `fourth_order`": functools.partial(advect, scheme="fourth_order"),
}
PERIODIC = ((dp.Periodic(), dp.Periodic()),) * 2


def winds(grid: dp.Grid) -> tuple[dp.Field, ...]:
    return tuple(dp.Field(jnp.ones(grid.cells), grid, face_offset(grid, axis), PERIODIC) for axis in range(2))


def smooth(x, y):
    return jnp.exp(-((x - 0.5) ** 2 + (y - 0.5) ** 2) / 0.1**2)


def square(x, y):
    return jnp.where((jnp.abs(x - 0.5) < 0.2) & (jnp.abs(y - 0.5) < 0.2), 1.0, 0.0)


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def carried(name: str, profile, count: int, steps: int):
    """Relative mean error and overshoot after once around."""
    grid = dp.Grid((count, count), (1.0, 1.0))
    start = dp.Field(profile(*grid.centers()), grid, conditions=PERIODIC)
    velocity = winds(grid)
    final, _ = dp.rollout(lambda f: SCHEMES[name](f, velocity, 1 / steps), start, steps=steps)
    error = jnp.sum(jnp.abs(final.values - start.values)) / jnp.sum(jnp.abs(start.values))
    return error, jnp.maximum(jnp.max(final.values) - 1, -jnp.min(final.values))


@functools.partial(jax.jit, static_argnums=0)
def lost(name: str):
    """Relative change of the sum of a square that a flow of four vortices has torn to threads on 64 x 64 cells."""
    grid = dp.Grid((64, 64), (1.0, 1.0))
    velocity = []
    for axis in range(2):
        x, y = (2 * jnp.pi * line for line in grid.coordinates(face_offset(grid, axis), (True, True)))
        values = jnp.cos(x) * jnp.sin(y) if axis else -jnp.sin(x) * jnp.cos(y)
        velocity.append(dp.Field(values, grid, face_offset(grid, axis), PERIODIC))
    start = dp.Field(square(*grid.centers()), grid, conditions=PERIODIC)
    final, _ = dp.rollout(lambda f: SCHEMES[name](f, velocity, 1 / 320), start, steps=320)
    return jnp.abs(jnp.sum(final.values) / jnp.sum(start.values) - 1)


def costs(count: int = 128, steps: int = 10, rounds: int = 9) -> dict[str, tuple[float, float]]:
    """Milliseconds of a step in float32, and how many times as long its gradient takes."""
    grid = dp.Grid((count, count), (1.0, 1.0))
    start = dp.Field(smooth(*grid.centers()), grid, conditions=PERIODIC)
    velocity = winds(grid)
    programs = {}
    for name, scheme in SCHEMES.items():

        def loss(start, velocity, scheme=scheme):
            def step(field, gust):  # the wind changes, else the compiler takes what depends on it out of the loop
                return scheme(field, [component * gust for component in velocity], 0.2 / count)

            gusts = jnp.linspace(0.9, 1.1, steps)
            final, _ = dp.rollout(step, start, steps, inputs=gusts, adjoint=dp.StoreAll())
            return jnp.sum(final.values**2)

        programs[name] = [jax.jit(loss), jax.jit(jax.value_and_grad(loss, (0, 1)))]
    times = {name: ([], []) for name in SCHEMES}
    for turn in range(rounds + 1):
        for name, pair in programs.items():
            for program, record in zip(pair, times[name], strict=True):
                begin = time.perf_counter()
                jax.block_until_ready(program(start, velocity))
                if turn:  # the first compiles
                    record.append((time.perf_counter() - begin) / steps * 1e3)
    medians = {name: [statistics.median(record) for record in pair] for name, pair in times.items()}
    return {name: (forward, backward / forward) for name, (forward, backward) in medians.items()}


def main() -> None:
    measured = costs()
    print("| scheme | smooth, 64² | smooth, 128² | long steps | square | overshoot | sum lost | ms | gradient |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name in SCHEMES:
        with jax.enable_x64(True):
            errors = [float(carried(name, smooth, count, 5 * count)[0]) for count in (64, 128)]
            long = "" if "advect" in name or "courant" in name else f"{float(carried(name, smooth, 64, 20)[0]):.2g}"
            edge, overshoot = (float(number) for number in carried(name, square, 64, 320))
            change = float(lost(name))
        forward, ratio = measured[name]
        print(
            f"| {name} | {errors[0]:.2g} | {errors[1]:.2g} | {long} | {edge:.2g} | {max(overshoot, 0):.2g} "
            f"| {change:.0e} | {forward:.2f} | {ratio:.1f} |"
        )


if __name__ == "__main__":
    main()
