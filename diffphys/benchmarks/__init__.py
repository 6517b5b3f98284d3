"""Timings: what a step, its gradient, a solve or a training update costs, beside peers where they are installed.

A benchmark is one file in this directory that ends in one value:

    BENCHMARK = Benchmark("wake", Settings, {"quick": {"resolutions": (16,)}}, measure, profile)

and one line in `BENCHMARKS` below. `measure` returns rows of plain numbers; tables, figures and the page in the
documentation are made from the rows on disk.
"""

import importlib

from diffphys.benchmarks.benchmark import Benchmark, Row, report_benchmark, run_benchmark
from diffphys.errors import InputError
from diffphys.runs import Listed, nearest


__all__ = ["BENCHMARKS", "Benchmark", "Row", "load_benchmark", "report_benchmark", "run_benchmark"]

BENCHMARKS: dict[str, Listed] = {
    "wake": Listed("diffphys.benchmarks.wake", "a step of the cylinder wake and its derivatives; PhiFlow beside it"),
    "periodic": Listed("diffphys.benchmarks.periodic", "periodic flow in 2D and 3D; JAX-CFD and Exponax beside it"),
    "poisson": Listed("diffphys.benchmarks.poisson", "pressure solves by each solver, with and without an obstacle"),
    "memory": Listed("diffphys.benchmarks.memory", "peak memory of a gradient through 10 to 10,000 steps, per adjoint"),
    "training": Listed("diffphys.benchmarks.training", "one update of a network that is trained through the wake"),
}


def load_benchmark(name: str) -> Benchmark:
    """Import a benchmark by its name.

    Raises:
        InputError: there is no benchmark of this name.
    """
    if name not in BENCHMARKS:
        raise InputError(f'there is no benchmark "{name}": {nearest(name, BENCHMARKS)}')
    return importlib.import_module(BENCHMARKS[name].module).BENCHMARK
