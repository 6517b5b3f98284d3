"""Measures what docs/choosing-settings.md says: the error that each setting of a flow leaves, and what it costs.

    python docs/scripts/flow_settings.py

Decaying vortices in a periodic box, and a jet between two walls without slip, each computed with every setting on the
same grid and compared with a solution on a fine one. Costs are medians of rounds in which the settings take turns, so
that other work on the machine meets all.
"""

import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import diffphys as dp
from diffphys.operators import faces_to_centers


SIZE = 2 * np.pi
TIME = 2.0
VISCOSITY = 2e-3
CELLS = 64
FINER = 5  # odd: each center of the coarse grid is one of the fine grid
ROUNDS = 9


def stirred(flow: dp.IncompressibleFlow) -> dp.FlowState:
    """A few large vortices, the same on every grid, of speeds up to about one."""
    generator = np.random.default_rng(0)
    waves = [(*generator.integers(-3, 4, 2), *generator.random(2)) for _ in range(8)]
    velocity = []
    for axis in range(2):
        x, y = flow.grid.coordinates(dp.grids.face_offset(flow.grid, axis), (True, True))
        parts = [
            (second, -first)[axis] * (0.2 + height) * jnp.sin(first * x + second * y + SIZE * phase)
            for first, second, phase, height in waves
        ]
        velocity.append(0.15 * sum(parts))
    return flow.initial_state(velocity)


def jet(flow: dp.IncompressibleFlow) -> dp.FlowState:
    """A jet along two walls, with a wave on it."""
    y = flow.grid.coordinates(dp.grids.face_offset(flow.grid, 0), (True, False))[1]
    x, z = flow.grid.coordinates(dp.grids.face_offset(flow.grid, 1), (True, False))
    profile = jnp.sin(y / 2) ** 4 + jnp.zeros((flow.grid.cells[0], 1))
    return flow.initial_state([profile, 0.1 * jnp.sin(2 * x) * jnp.sin(z / 2) ** 2])


STARTS = {"box": (stirred, dp.Periodic()), "walls": (jet, {"x": dp.Periodic(), "y": dp.Wall()})}
"""The problems, each with its start and its sides."""

SETTINGS: dict[str, tuple[float, dict[str, Any]]] = {
    "`SemiLagrangian(2)`, `Splitting()`": (1.0, dict(advection=dp.SemiLagrangian(2))),
    "the same, steps four times as long": (4.0, dict(advection=dp.SemiLagrangian(5))),
    "`MacCormack(largest_courant=2)`, `Splitting()`": (1.0, dict(advection=dp.MacCormack(largest_courant=2))),
    "`CubicSemiLagrangian()`, `Splitting()`": (1.0, dict(advection=dp.CubicSemiLagrangian())),
    "`VanLeer()`, `RungeKutta(2)`": (0.5, dict(advection=dp.VanLeer(), stepping=dp.RungeKutta(2))),
    "`SkewSymmetric()`, `RungeKutta(3)`": (1.0, dict(stepping=dp.RungeKutta(3))),
    "`SkewSymmetric(4)`, `RungeKutta(3)`": (
        1.0,
        dict(advection=dp.SkewSymmetric(order=4), stepping=dp.RungeKutta(3)),
    ),
    "`SkewSymmetric()`, `ImplicitExplicit(3)`": (1.0, dict(stepping=dp.ImplicitExplicit(3))),
    "`SkewSymmetric()`, `PISO()`": (1.0, dict(stepping=dp.PISO())),
    "`SkewSymmetric()`, `PISO(order=2)`": (1.0, dict(stepping=dp.PISO(order=2))),
    "`Spectral()`, `RungeKutta(3)`": (1.0, dict(advection=dp.Spectral(), stepping=dp.RungeKutta(3))),
    "`Spectral()`, `ExponentialRungeKutta(4)`": (
        1.0,
        dict(advection=dp.Spectral(), stepping=dp.ExponentialRungeKutta(4)),
    ),
}
"""Each with its step, in units of one with a Courant number of about a half."""


def flow_of(problem: str, cells: int, length: float, **settings: Any) -> tuple[dp.IncompressibleFlow, int]:
    """The flow, and its number of steps."""
    steps = round(TIME / (length * 0.5 * SIZE / cells))
    grid = dp.Grid((cells, cells), (SIZE, SIZE))
    return dp.IncompressibleFlow(grid, VISCOSITY, TIME / steps, STARTS[problem][1], **settings), steps


def at_end(problem: str, flow: dp.IncompressibleFlow, steps: int) -> np.ndarray:
    """The velocity at the centers after the time."""
    final = jax.jit(lambda state: dp.rollout(flow, state, steps)[0])(STARTS[problem][0](flow))
    return np.stack([np.asarray(part.values, float) for part in faces_to_centers(final.velocity)])


def reference(problem: str) -> np.ndarray:
    """The same on a grid five times as fine, at the centers of the coarse one."""
    advection = dp.Spectral() if problem == "box" else dp.SkewSymmetric(order=4)
    with jax.enable_x64(True):
        fine = at_end(problem, *flow_of(problem, FINER * CELLS, 0.5, advection=advection, stepping=dp.RungeKutta(4)))
    return fine[:, FINER // 2 :: FINER, FINER // 2 :: FINER]


def costs(problem: str, flows: dict[str, tuple[dp.IncompressibleFlow, int]]) -> dict[str, tuple[float, float]]:
    """Milliseconds from start to end, and of the gradient through the last eighth over those of that part alone."""
    programs = {}
    for name, (flow, steps) in flows.items():
        start = STARTS[problem][0](flow)
        few = max(1, steps // 8)

        def loss(state, flow=flow, few=few):
            final, _ = dp.rollout(flow, state, few, adjoint=dp.StoreAll())
            return sum(jnp.sum(part.values**2) for part in final.velocity)

        whole = jax.jit(lambda state, flow=flow, steps=steps: dp.rollout(flow, state, steps)[0].velocity)
        programs[name] = [(one, start) for one in (whole, jax.jit(loss), jax.jit(jax.grad(loss, allow_int=True)))]
    times = {name: ([], [], []) for name in flows}
    for turn in range(ROUNDS + 1):
        for name, three in programs.items():
            for (program, start), record in zip(three, times[name], strict=True):
                begun = time.perf_counter()
                jax.block_until_ready(program(start))
                if turn:  # the first compiles
                    record.append(time.perf_counter() - begun)
    medians = {name: [statistics.median(record) for record in three] for name, three in times.items()}
    return {name: (whole * 1e3, gradient / part) for name, (whole, part, gradient) in medians.items()}


def main() -> None:
    for problem in STARTS:
        exact = reference(problem)
        flows = {
            name: flow_of(problem, CELLS, length, **settings)
            for name, (length, settings) in SETTINGS.items()
            if problem == "box" or "Spectral" not in name
        }
        measured = costs(problem, flows)
        print(f"\n{problem}\n\n| setting | steps | relative error | ms | gradient |\n| --- | --- | --- | --- | --- |")
        for name, (flow, steps) in flows.items():
            error = np.linalg.norm(at_end(problem, flow, steps) - exact) / np.linalg.norm(exact)
            whole, ratio = measured[name]
            print(f"| {name} | {steps} | {error:.2g} | {whole:.2g} | {ratio:.1f} |", flush=True)


if __name__ == "__main__":
    main()
