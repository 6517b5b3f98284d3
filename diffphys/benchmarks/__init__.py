"""Timings: what a step, its gradient, a solve or a training update costs, beside peers where they are installed.

A benchmark is one file in this directory that ends in one value:

    PROGRAM = benchmark("wake", Settings, {"quick": {"resolutions": (16,)}}, measure, profile)

and one line in `BENCHMARKS` below. `measure` returns rows of plain numbers; tables, figures and the page in the
documentation are made from the rows on disk.
"""

from diffphys.benchmarks.benchmark import Row, benchmark
from diffphys.runs import Catalog, Entry


__all__ = ["BENCHMARKS", "Row", "benchmark"]

BENCHMARKS = Catalog(
    "benchmark",
    "bench",
    "Benchmarks",
    "full",
    {
        "wake": Entry("diffphys.benchmarks.wake", "a step of the cylinder wake and its derivatives; PhiFlow beside it"),
        "periodic": Entry("diffphys.benchmarks.periodic", "periodic flow in 2D and 3D; JAX-CFD and Exponax beside it"),
        "poisson": Entry("diffphys.benchmarks.poisson", "pressure solves by each solver, with and without an obstacle"),
        "memory": Entry(
            "diffphys.benchmarks.memory", "peak memory of a gradient through 10 to 10,000 steps, per adjoint"
        ),
        "training": Entry("diffphys.benchmarks.training", "one update of a network that is trained through the wake"),
    },
)
