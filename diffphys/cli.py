"""The command line: `diffphys list`, `diffphys run`, `diffphys verify`, `diffphys bench`,
`diffphys report`.

Exit codes: 0 success, 1 a result misses its stated bound, 2 bad input (one line on standard error says which setting
and what it accepts), 130 and 143 stopped by SIGINT and SIGTERM with everything saved.
"""

import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from diffphys.benchmarks import BENCHMARKS, Row, load_benchmark, report_benchmark, run_benchmark
from diffphys.errors import InputError
from diffphys.experiments import EXPERIMENTS, load_experiment
from diffphys.runs import (
    Interrupted,
    Listed,
    Run,
    keep_freed_memory,
    make_settings,
    read_description,
    stop_on_signals,
    storage_error,
)
from diffphys.verification import (
    CASES,
    Check,
    checks_table,
    load_case,
    report_case,
    run_case,
    seconds_of,
    summary_table,
)


app = typer.Typer(add_completion=False, help="Differentiable physics on JAX.", rich_markup_mode=None)

# What `list` shows: a heading and its entries.
LISTS: dict[str, dict[str, Listed]] = {
    "Experiments (diffphys run NAME)": EXPERIMENTS,
    "Verification (diffphys verify NAME)": CASES,
    "Benchmarks (diffphys bench NAME)": BENCHMARKS,
}

# Before the name of a case or benchmark where a directory says what is in it.
VERIFY, BENCH = "verify ", "bench "

LARGEST_SEED = 2**32 - 1  # what a JAX random key takes without 64-bit integers


@app.command("list")
def list_everything() -> None:
    """List every experiment, verification and benchmark, a line each."""
    console = Console()
    width = max(len(name) for entries in LISTS.values() for name in entries)
    for heading, entries in LISTS.items():
        console.print(heading, style="bold")
        for name, entry in entries.items():
            console.print(f"  {name:<{width}}  {entry.summary}", markup=False, highlight=False, soft_wrap=True)


@app.command("run")
def run_experiment(
    name: Annotated[str, typer.Argument(help="An experiment of `diffphys list`.")],
    preset: Annotated[str, typer.Option(help="How large: demo, book, paper, or another the experiment has.")] = "demo",
    out: Annotated[Path | None, typer.Option(help="Where to write (default: runs/NAME-PRESET).")] = None,
    seed: Annotated[int, typer.Option(help="All randomness follows from it.", min=0, max=LARGEST_SEED)] = 0,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override a setting: key=value.")] = None,
) -> None:
    """Run an experiment, or go on with it where it stopped."""
    experiment = load_experiment(name)
    settings = experiment.choose(preset, set_ or [])
    directory = out or Path("runs") / f"{name}-{preset}"
    command = ["diffphys", "run", name, "--preset", preset, "--out", str(directory), "--seed", str(seed)]
    again = shlex.join(command + [word for assignment in set_ or [] for word in ("--set", assignment)])

    with stop_on_signals() as stop, Run.open(directory, name, preset, settings, seed, stop) as run:
        if run.finished:
            print(f"This run is finished; `diffphys report {shlex.quote(str(directory))}` makes its figures again.")
            _print_results(run, None)
            return
        try:
            experiment.run(settings, run)
            table = experiment.report(run)
        except Interrupted:
            _complain(f"stopped by {signal.Signals(stop.signal or signal.SIGINT).name} and saved; go on with: {again}")
            raise typer.Exit(128 + (stop.signal or signal.SIGINT)) from None
        run.finish()
        _print_results(run, table)


@app.command("verify")
def verify(
    name: Annotated[str | None, typer.Argument(help="A verification of `diffphys list` (default: all).")] = None,
    preset: Annotated[str, typer.Option(help="How large: full, as the bounds are stated for, or quick.")] = "full",
    out: Annotated[
        Path | None, typer.Option(help="Where to write (default: runs/verify/NAME and what differs).")
    ] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override a setting: key=value.")] = None,
) -> None:
    """Hold physics to known answers, in float64. Leaves with 1 where a result misses its stated bound."""
    if name is None and set_:
        raise InputError("--set needs a NAME: settings belong to one verification")
    # Before anything is computed, so that a mistake costs nothing.
    cases = {one: load_case(one) for one in ([name] if name else CASES)}
    settings = {one: case.choose(preset, set_ or []) for one, case in cases.items()}
    found: dict[str, tuple[list[Check], float]] = {}
    with stop_on_signals() as stop:
        for one, case in cases.items():
            differing = [preset] * (preset != "full") + (set_ or [])
            directory = Path("runs") / "verify" / ",".join([one, *differing]).replace("/", "-")
            if out is not None:
                directory = out if name else out / one
            with Run.open(directory, VERIFY + one, preset, settings[one], 0, stop) as run:
                try:
                    checks = run_case(case, settings[one], run)
                except Interrupted:
                    _complain(
                        f"stopped by {signal.Signals(stop.signal or signal.SIGINT).name}; the same command goes on"
                    )
                    raise typer.Exit(128 + (stop.signal or signal.SIGINT)) from None
                run.finish()
                found[one] = (checks, seconds_of(run))
                _print_results(run, checks_table(one, checks))
    if name is None:
        Console().print(summary_table(found))
    if not all(check.passed for checks, _ in found.values() for check in checks):
        raise typer.Exit(1)


@app.command("bench")
def bench(
    name: Annotated[str | None, typer.Argument(help="A benchmark of `diffphys list` (default: all).")] = None,
    preset: Annotated[str, typer.Option(help="How large: full, or quick to see that all of it runs.")] = "full",
    out: Annotated[Path | None, typer.Option(help="Where to write (default: runs/bench/NAME).")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override a setting: key=value.")] = None,
    profile: Annotated[bool, typer.Option("--profile", help="Name the costliest operations instead.")] = False,
) -> None:
    """Time steps, gradients, solves and training, beside peers where they are installed."""
    if name is None and (set_ or profile):
        raise InputError(f"{'--profile' if profile else '--set'} needs a NAME: it belongs to one benchmark")
    # Before anything is computed, so that a mistake costs nothing.
    chosen = {one: load_benchmark(one) for one in ([name] if name else BENCHMARKS)}
    settings = {one: benchmark.choose(preset, set_ or []) for one, benchmark in chosen.items()}
    if name is not None and profile:
        _print_profile(name, chosen[name], settings[name])
        return
    with stop_on_signals() as stop:
        for one, benchmark in chosen.items():
            directory = Path("runs") / "bench" / one
            if out is not None:
                directory = out if name else out / one
            with Run.open(directory, BENCH + one, preset, settings[one], 0, stop) as run:
                try:
                    rows = run_benchmark(benchmark, settings[one], run)
                except Interrupted:
                    _complain(f"stopped by {signal.Signals(stop.signal or signal.SIGINT).name}")
                    raise typer.Exit(128 + (stop.signal or signal.SIGINT)) from None
                run.finish()
                _print_results(run, _rows_table(one, rows))
                print(f"Table:   {directory / 'table.md'}")


@app.command("report")
def report_run(directory: Annotated[Path, typer.Argument(help="The directory of a run.")]) -> None:
    """Make a run's tables and figures again, from what is on disk."""
    found = read_description(directory)
    if found.experiment.startswith(BENCH):
        benchmark = load_benchmark(found.experiment.removeprefix(BENCH))
        settings = make_settings(benchmark.settings, found.settings)
        with Run.open(directory, found.experiment, found.preset, settings, found.seed) as run:
            _print_results(run, _rows_table(benchmark.name, report_benchmark(benchmark, run)))
        return
    if found.experiment.startswith(VERIFY):
        case = load_case(found.experiment.removeprefix(VERIFY))
        settings = make_settings(case.settings, found.settings)
        with Run.open(directory, found.experiment, found.preset, settings, found.seed) as run:
            _print_results(run, checks_table(case.name, report_case(case, settings, run)))
        return
    experiment = load_experiment(found.experiment)
    settings = make_settings(experiment.settings, found.settings)
    with Run.open(directory, found.experiment, found.preset, settings, found.seed) as run:
        _print_results(run, experiment.report(run))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line on these arguments (default: those of the process) and return the exit code."""
    keep_freed_memory()
    command = typer.main.get_command(app)
    try:
        # Not standalone: Typer would frame its messages in boxes of several lines.
        result = command.main(None if arguments is None else list(arguments), "diffphys", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except InputError as error:
        return _complain(str(error))
    except typer.TyperException as error:
        # `str` leaves out which argument is meant; the method that names it belongs to all usage errors.
        return _complain(f"{getattr(error, 'format_message', error.__str__)()} (see diffphys --help)")
    except OSError as error:  # a full disk, met by a library that writes files itself
        explained = storage_error(error, error.filename or "a file")
        if explained is None:
            raise
        return _complain(str(explained))
    except (KeyboardInterrupt, typer.Abort):
        return _complain("interrupted", 128 + signal.SIGINT)


def _complain(message: str, code: int = 2) -> int:
    """Print a message as one line on standard error and return the exit code."""
    print("diffphys:", " ".join(message.split()), file=sys.stderr)
    return code


def _print_results(run: Run, table: Any) -> None:
    """Print the experiment's table, or else the metrics that are single numbers, and where the files are."""
    console = Console()
    console.print(_metrics_table(run) if table is None else table)
    figures = sorted(path.name for path in (run.directory / "figures").glob("[!.]*"))
    print(f"Metrics: {run.directory / 'metrics.json'}")
    if figures:
        print(f"Figures: {run.directory / 'figures'} ({', '.join(figures)})")


def _metrics_table(run: Run) -> Table:
    """The metrics that are single numbers, beside the published ones where there are any."""
    metrics = run.read_metrics()
    paper = metrics.get("paper")
    published = paper if isinstance(paper, dict) else {}
    table = Table("metric", "here", *(["published"] if published else []), title=f"{run.experiment}, {run.preset}")
    for name, value in metrics.items():
        if isinstance(value, (int, float)):
            table.add_row(name, f"{value:.4g}", *([_number(published.get(name))] if published else []))
    return table


def _rows_table(title: str, rows: list[Row]) -> Table:
    """A benchmark's rows, a line each."""
    table = Table("case", "what", "who", "ms", "forwards", "compile, s", "scratch, MB", "error", title=title)
    for row in rows:
        numbers = (row.milliseconds, row.forwards, row.compile_seconds, row.scratch_megabytes, row.error)
        table.add_row(row.case, row.what, row.who, *("" if one is None else f"{one:.3g}" for one in numbers))
    return table


def _print_profile(name: str, benchmark: Any, settings: Any) -> None:
    """The costliest operations of each of a benchmark's programs, from JAX's profiler."""
    if benchmark.profile is None:
        raise InputError(f"bench --profile: {name} has no program of its own to profile; wake, periodic, poisson have")
    from diffphys.benchmarks.timing import costliest, origins

    for what, program in benchmark.profile(settings).items():
        found = costliest(program)
        meant = origins(program.compiled, [operation for operation, _, _ in found])
        table = Table("operation", "microseconds", "times", "made of", title=f"{name}: {what}")
        for operation, microseconds, times in found:
            table.add_row(operation, f"{microseconds:.1f}", str(times), meant.get(operation, ""))
        Console().print(table)


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, (int, float)) else ""
