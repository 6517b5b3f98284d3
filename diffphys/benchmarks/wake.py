"""The cylinder wake of the wake experiment: one step inside a rollout, its gradient, jvp and Hessian-vector product.

All adjoints are `StoreAll`, the fastest for so few steps. The peer is PhiFlow with its best settings: see
`peers/phiflow_wake.py`.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from diffphys.benchmarks.benchmark import Row, benchmark
from diffphys.benchmarks.peers import Peer, check_python, peer_rows
from diffphys.benchmarks.rows import largest_residual, programs_of, rows_of, shape_of
from diffphys.benchmarks.timing import Program
from diffphys.operators import divergence
from diffphys.physics import IncompressibleFlow
from diffphys.runs import Run, setting
from diffphys.scenarios import cylinder_wake
from diffphys.stepping import StoreAll, rollout


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of the benchmark."""

    resolutions: tuple[int, ...] = setting((32, 64, 128), help="cells across the stream", minimum=8)
    lengths: tuple[int, ...] = setting((8, 32), help="steps in a rollout", minimum=1)
    seconds: float = setting(6.0, help="how long each size is timed", above=0.0)
    second_derivatives: bool = setting(True, help="whether to time jvp and Hessian-vector product, too")
    peer_lengths: tuple[int, ...] = setting(
        (8,),
        help="steps in a rollout of PhiFlow, which writes out every step: 32 take it minutes to compile",
        minimum=1,
    )
    peers_python: str = setting(
        "", help="the Python that has the peers (pip install 'diffphys[peers]'); default: this one"
    )

    def __post_init__(self):
        check_python(self.peers_python)


# In 600 steps the fluid is never faster than 0.9 across the stream and 1.9 along it; beyond a bound it is NaN.
LARGEST_SPEED = (1.4, 2.2)


def wake(resolution: int) -> IncompressibleFlow:
    """The flow of the wake experiment with `resolution` cells across the stream, Reynolds number 1000."""
    return cylinder_wake(resolution, largest_speed=LARGEST_SPEED)


def advancing(flow: Callable, start: Any, adjoint: Any = StoreAll()) -> Any:  # noqa: B008 (frozen)
    """From velocity arrays and a number of steps to velocity arrays."""

    def advance(values, steps):
        velocity = tuple(part.with_values(one) for part, one in zip(start.velocity, values, strict=True))
        final, _ = rollout(flow, dataclasses.replace(start, velocity=velocity), steps, adjoint=adjoint)
        return tuple(part.values for part in final.velocity)

    return advance


def developed(flow: IncompressibleFlow, steps: int = 50) -> Any:
    """A state in which the stream has met the cylinder."""
    return rollout(flow, flow.initial_state(), steps)[0]


def measure(settings: Settings, run: Run) -> list[Row]:
    """Time each size."""
    rows: list[Row] = []
    for resolution in settings.resolutions:
        run.leave_if_asked()
        flow = wake(resolution)
        start = developed(flow)
        values = tuple(part.values for part in start.velocity)
        programs = programs_of(advancing(flow, start), values, settings.lengths, settings.second_derivatives)
        residual = largest_residual(divergence(start.velocity).values, start.velocity, min(flow.grid.spacing))
        wanted = {"resolution": resolution, "lengths": list(settings.peer_lengths)}
        peer = Peer("phiflow_wake", wanted, settings.peers_python)
        with peer_rows(peer) as (programs_of_peer, errors):
            rows += rows_of(
                programs,
                shape_of(flow.grid.cells[::-1]),
                math.prod(flow.grid.cells),
                (residual, "divergence"),
                settings.seconds,
                programs_of_peer,
                errors,
            )
    return rows


def profile(settings: Settings) -> dict[str, Program]:
    """The programs of the first size."""
    flow = wake(settings.resolutions[0])
    start = developed(flow)
    values = tuple(jnp.asarray(np.asarray(part.values)) for part in start.velocity)
    return programs_of(advancing(flow, start), values, settings.lengths[:1])


PROGRAM = benchmark(
    "wake",
    Settings,
    {"quick": {"resolutions": (8,), "lengths": (2,), "seconds": 0.1, "second_derivatives": False}},
    measure,
    profile,
)
