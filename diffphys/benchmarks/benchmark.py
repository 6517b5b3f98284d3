"""A benchmark: what it measures, and how its rows become a table, a figure and numbers on disk."""

import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

from rich.table import Table

from diffphys import plots
from diffphys.errors import InputError
from diffphys.runs import Program, Run, write_json


@dataclass(frozen=True)
class Row:
    """One measured quantity.

    Attributes:
        case: What is computed on, such as "64x32".
        size: The number that the figure draws costs over: of cells, or of steps.
        what: What is measured, such as "step" or "gradient, 8 steps".
        who: "diffphys", a solver, an adjoint, or a peer with its version.
        milliseconds: Median time, for each step where it is of steps; or None.
        fastest: The shortest time.
        forwards: The median over that of the forward pass of the same case and owner; or None.
        compile_seconds: Time to compile; or None.
        scratch_megabytes: Temporaries of the compiled program by XLA's own analysis; or None.
        error: What shows that the result is right; what it is says `error_is`.
        error_is: In words.
    """

    case: str
    size: int | float
    what: str
    who: str = "diffphys"
    milliseconds: float | None = None
    fastest: float | None = None
    forwards: float | None = None
    compile_seconds: float | None = None
    scratch_megabytes: float | None = None
    error: float | None = None
    error_is: str = ""


def benchmark(
    name: str,
    settings: type,
    presets: Mapping[str, Mapping[str, Any]],
    measure: Callable[[Any, Run], Sequence[Row]],
    profile: Callable[[Any], Mapping[str, Any]] | None = None,
) -> Program:
    """What `diffphys bench` can run. Times measured before are not used again: the machine may differ.

    Args:
        name: Its name in `BENCHMARKS`.
        settings: A frozen dataclass whose fields are made by `diffphys.runs.setting`.
        presets: For each preset besides "full" the settings in which it differs from the defaults; "quick" is there.
        measure: `measure(settings, run)` returns the rows, and asks `run.leave_if_asked()` between them.
        profile: `profile(settings)` returns compiled programs by name, each without arguments; or None.
    """

    def run_benchmark(chosen: Any, run: Run) -> None:
        rows = list(measure(chosen, run))
        write_json(run.directory / "results.json", {"machine": machine(), "rows": [asdict(row) for row in rows]})

    return Program(name, settings, {"full": {}, **presets}, run_benchmark, report_rows, resumes=False, profile=profile)


def report_rows(run: Run) -> Table:
    """Make table, figure and metrics again from the rows on disk."""
    path = run.directory / "results.json"
    if not path.exists():
        raise InputError(f'"{run.directory}" holds no results yet: its run has to get further first')
    found = json.loads(path.read_text(encoding="utf-8"))
    rows = [Row(**row) for row in found["rows"]]
    text = f"# {run.program}\n\n{machine_in_words(found['machine'])}\n\n{markdown(rows)}"
    (run.directory / "table.md").write_text(text, encoding="utf-8")
    metrics: dict[str, Any] = {
        f"{row.who}: {row.case}, {row.what} (ms)": row.milliseconds for row in rows if row.milliseconds is not None
    }
    metrics |= {
        f"{row.who}: {row.case}, {row.what} (MB)": row.scratch_megabytes
        for row in rows
        if row.milliseconds is None and row.scratch_megabytes is not None
    }
    run.write_metrics(metrics)
    if figure := draw(rows):
        run.save_figure("cost.png", figure)
    return _table(run.program, rows)


def _table(title: str, rows: Sequence[Row]) -> Table:
    """The rows, a line each."""
    table = Table("case", "what", "who", "ms", "forwards", "compile, s", "scratch, MB", "error", title=title)
    for row in rows:
        numbers = (row.milliseconds, row.forwards, row.compile_seconds, row.scratch_megabytes, row.error)
        table.add_row(row.case, row.what, row.who, *map(_number, numbers))
    return table


def markdown(rows: Sequence[Row]) -> str:
    """The rows as a table in Markdown; a column that no row fills is left out. Times of others stand with their ratio
    to diffphys' own.
    """
    own = {(row.case, row.what): row.milliseconds for row in rows if row.who == "diffphys"}

    def times(row: Row) -> str:
        ours = own.get((row.case, row.what))
        if row.who == "diffphys" or row.milliseconds is None or not ours:
            return ""
        return f"{row.milliseconds / ours:.1f}x"

    columns: dict[str, Callable[[Row], str]] = {
        "case": lambda row: row.case,
        "what": lambda row: row.what,
        "who": lambda row: row.who,
        "ms, median": lambda row: _number(row.milliseconds),
        "ms, fastest": lambda row: _number(row.fastest),
        "diffphys is faster by": times,
        "forwards": lambda row: _number(row.forwards),
        "compile, s": lambda row: _number(row.compile_seconds),
        "scratch, MB": lambda row: _number(row.scratch_megabytes),
        "error": lambda row: "" if row.error is None else f"{row.error:.1e} {row.error_is}".strip(),
    }
    filled = {name: cells for name, cell in columns.items() if any(cells := [cell(row) for row in rows])}
    lines = ["| " + " | ".join(filled) + " |", "|" + " --- |" * len(filled)]
    lines += ["| " + " | ".join(column[index] for column in filled.values()) + " |" for index in range(len(rows))]
    return "\n".join(lines) + "\n"


def draw(rows: Sequence[Row]) -> Any:
    """Cost over size: time where it was measured, and memory; None where nothing has two sizes.

    Beside peers each task has a panel of its own, in which the curves are those who do it.
    """
    compared = len({row.who for row in rows}) > 1
    panels: dict[tuple[str, str], dict[str, list[tuple[float, float]]]] = {}
    for attribute, label in (("milliseconds", "ms"), ("scratch_megabytes", "scratch memory, MB")):
        apart = compared and label == "ms"
        for row in rows:
            if (value := getattr(row, attribute)) is not None:
                title, name = (row.what, row.who) if apart else ("", f"{row.who}, {row.what}")
                panels.setdefault((label, title), {}).setdefault(name, []).append((row.size, value))
    drawn = []
    for (label, title), curves in panels.items():
        marked = {
            name: ([size for size, _ in sorted(points)], [value for _, value in sorted(points)])
            for name, points in curves.items()
            if len(points) > 1
        }
        if marked:
            drawn.append(plots.Panel(marked=marked, title=title, x="size", y=label, logarithmic=True))
    return plots.panels_figure(drawn, height=3.0 if compared else 4.0) if drawn else None


def machine() -> dict[str, Any]:
    """What the times depend on, without names of machines or people."""
    names = ("diffphys", "jax", "jaxlib", "numpy", "equinox", "phiflow", "jax-cfd", "exponax")
    versions = {}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "cores": os.cpu_count(),
        "architecture": platform.machine(),
        "system": platform.system(),
        "python": platform.python_version(),
        "versions": versions,
    }


def machine_in_words(found: Mapping[str, Any]) -> str:
    """One line for the top of a table."""
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    return f"{found['cores']} cores ({found['architecture']}), Python {found['python']}, {versions}; float32."


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
