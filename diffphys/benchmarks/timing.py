"""Compiled programs with their arguments, and what they spend their time on."""

import glob
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np


@dataclass(frozen=True)
class Program:
    """A compiled program with its arguments."""

    compiled: Any
    arguments: tuple
    compile_seconds: float

    def __call__(self) -> Any:
        return jax.block_until_ready(self.compiled(*self.arguments))

    @property
    def scratch_megabytes(self) -> float:
        """Temporaries by the compiler's own analysis."""
        return self.compiled.memory_analysis().temp_size_in_bytes / 1e6


def compiled(function: Callable, *arguments: Any) -> Program:
    """Compile a function of arrays for these arguments, without JAX's cache of compiled programs on disk."""
    kept = jax.config.jax_enable_compilation_cache  # pyright: ignore[reportAttributeAccessIssue]
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        started = time.perf_counter()
        program = jax.jit(function).lower(*arguments).compile()
        return Program(program, arguments, time.perf_counter() - started)
    finally:
        jax.config.update("jax_enable_compilation_cache", kept)


def costliest(program: Callable[[], Any], runs: int = 20, most: int = 12) -> list[tuple[str, float, int]]:
    """The operations on which a compiled program spends its time: (name in XLA, microseconds per run, times per run).

    From JAX's profiler. Loops, which hold others, are left out. The median over the runs is taken for each operation.
    """
    program()
    with tempfile.TemporaryDirectory() as directory:
        with jax.profiler.trace(directory):
            for _ in range(runs):
                program()
        (path,) = glob.glob(f"{directory}/**/*.xplane.pb", recursive=True)
        durations: dict[str, list[float]] = {}
        for plane in jax.profiler.ProfileData.from_file(path).planes:
            for line in plane.lines:
                if "XLA" not in line.name and "Eigen" not in line.name and "XLA" not in plane.name:
                    continue
                for event in line.events:
                    if not event.name.startswith(("$", "Thunk", "while", "call", "end:")) and event.name[:1].islower():
                        durations.setdefault(event.name, []).append(event.duration_ns / 1e3)
    found = [
        (name, float(np.median(times)) * len(times) / runs, round(len(times) / runs))
        for name, times in durations.items()
    ]
    return sorted(found, key=lambda one: -one[1])[:most]


def origins(compiled_program: Any, names: Sequence[str]) -> dict[str, str]:
    """For each operation's name what it does, read from the compiled program: the JAX operations fused in it."""
    text = compiled_program.as_text()
    found = {}
    for name in names:
        start = text.find(f"%{name} = ")
        if start < 0:
            continue
        line = text[start : text.find("\n", start)]
        called = line.partition("calls=%")[2].split(",")[0].split(" ")[0]
        body = line
        if called and (begin := text.find(f"%{called} (")) >= 0:
            body = text[begin : text.find("\n}", begin)]
        kinds = [
            word.partition("(")[0].split(" ")[-1]
            for word in (part.partition(" = ")[2] for part in body.split("\n"))
            if word
        ]
        kinds = [kind for kind in kinds if kind and kind not in ("parameter", "constant", "broadcast", "bitcast")]
        counts = {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}
        found[name] = ", ".join(
            f"{count} {kind}" for kind, count in sorted(counts.items(), key=lambda one: -one[1])[:5]
        )
    return found
