"""The command line: `diffphys list`, `run`, `verify`, `bench`, `report` and `view`.

What can be run is always a `diffphys.runs.Program` of one of three catalogs: experiments, verifications, benchmarks.
`diffphys run NAME --help` (and `verify`, `bench`) says what the settings and presets of that program are.

Exit codes: 0 success, 1 a result misses its stated bound, 2 bad input (one line on standard error says which setting
and what it accepts), 130 and 143 stopped by SIGINT and SIGTERM with everything saved.
"""

import dataclasses
import importlib
import io
import os
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from typer.core import TyperCommand

from diffphys import __version__
from diffphys.benchmarks import BENCHMARKS
from diffphys.errors import InputError
from diffphys.experiments import EXPERIMENTS
from diffphys.runs import (
    Catalog,
    Interrupted,
    Program,
    Run,
    keep_freed_memory,
    make_settings,
    memory_error,
    nearest,
    one_thread_for_linear_algebra,
    read_description,
    stop_on_signals,
    storage_error,
    table_in_words,
    terminal_width,
)
from diffphys.verification import CASES, summary_table


app = typer.Typer(help="Differentiable physics on JAX.", rich_markup_mode=None)

CATALOGS = {catalog.kind: catalog for catalog in (EXPERIMENTS, CASES, BENCHMARKS)}

LARGEST_SEED = 2**32 - 1  # what a JAX random key takes without 64-bit integers


class ProgramCommand(TyperCommand):
    """A command on a program, whose `--help` after a NAME also says the settings and presets of that program."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Answer `NAME --help`; leave everything else to Typer."""
        if "--help" in args:
            given, _, _ = self.make_parser(ctx).parse_args(args=list(args))
            if given.get("help") and given.get("name"):
                catalog = next(one for one in CATALOGS.values() if one.command == self.name)
                described = _described(catalog, given["name"])
                _say(f"{self.get_help(ctx)}\n\n{described}")
                ctx.exit()
        return super().parse_args(ctx, args)


def _described(catalog: Catalog, name: str) -> str:
    """A program in words: what it is, the command that runs it, its settings and presets."""
    program = _loaded(catalog, name)
    return f"{name}: {catalog.known[name].summary}\ndiffphys {catalog.command} {name}\n\n{program.settings_in_words()}"


def _loaded(catalog: Catalog, name: str) -> Program:
    """The program of this name; what another command runs is refused with that command."""
    for other in CATALOGS.values():
        if name in other.known and name not in catalog.known:
            raise InputError(f'there is no {catalog.kind} "{name}"; `diffphys {other.command} {name}` runs it')
    return catalog.load(name)


def _show_version(asked: bool) -> None:
    if asked:
        _say(f"diffphys {__version__}")
        raise typer.Exit


@app.callback()
def everywhere(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Differentiable physics on JAX."""


def _names(*catalogs: Catalog) -> Callable[[str], list[str]]:
    """What completes a name of these catalogs."""

    def completed(incomplete: str) -> list[str]:
        names = sorted({name for catalog in catalogs for name in catalog.known})
        return [name for name in names if name.startswith(incomplete)]

    return completed


def _preset_names(context: typer.Context, incomplete: str) -> list[str]:
    """What completes a preset of the program that the command line names."""
    program = _named(context)
    return [name for name in program.presets if name.startswith(incomplete)] if program else []


def _setting_names(context: typer.Context, incomplete: str) -> list[str]:
    """What completes `key=` for the program that the command line names."""
    program = _named(context)
    fields = dataclasses.fields(program.settings) if program else ()
    return [f"{field.name}=" for field in fields if field.name.startswith(incomplete)]


def _named(context: typer.Context) -> Program | None:
    """The program that the command line names, while it is still being written."""
    catalog = next((one for one in CATALOGS.values() if one.command == context.info_name), None)
    name = context.params.get("name") or next(iter(context.args), "")  # left in args where an option lacks its value
    return catalog.load(name) if catalog and name in catalog.known else None


SET = typer.Option("--set", help="Override a setting: key=value.", autocompletion=_setting_names)


@app.command("list")
def list_programs(
    name: Annotated[
        str | None,
        typer.Argument(help="What to describe (default: a line of each).", autocompletion=_names(*CATALOGS.values())),
    ] = None,
) -> None:
    """List every experiment, verification and benchmark, a line each; or describe one, with settings and presets."""
    if name is not None:
        having = [catalog for catalog in CATALOGS.values() if name in catalog.known]
        if not having:
            known = sorted({known for catalog in CATALOGS.values() for known in catalog.known})
            raise InputError(f'there is no experiment, verification or benchmark "{name}"{nearest(name, known)}')
        _say("\n\n".join(_described(catalog, name) for catalog in having))
        return
    width = max(len(name) for catalog in CATALOGS.values() for name in catalog.known)
    for catalog in CATALOGS.values():
        _say(f"{catalog.title} (diffphys {catalog.command} NAME)")
        for name, entry in catalog.known.items():
            _say(f"  {name:<{width}}  {entry.summary}")


@app.command("run", cls=ProgramCommand)
def run_experiment(
    name: Annotated[str, typer.Argument(help="An experiment of `diffphys list`.", autocompletion=_names(EXPERIMENTS))],
    preset: Annotated[
        str,
        typer.Option(help="How large: demo, book, paper, or another the experiment has.", autocompletion=_preset_names),
    ] = "demo",
    out: Annotated[
        Path | None, typer.Option(help="Where to write (default: runs/NAME-PRESET and what differs).")
    ] = None,
    seed: Annotated[int, typer.Option(help="All randomness follows from it.", min=0, max=LARGEST_SEED)] = 0,
    set_: Annotated[list[str] | None, SET] = None,
) -> None:
    """Run an experiment, or go on with it where it stopped; with NAME, --help lists its settings and presets."""

    def directory(program: Program, settings: Any) -> Path:
        return out or Path("runs") / program.directory_name(f"{name}-{preset}", preset, settings, seed)

    _carry_out(EXPERIMENTS, [name], preset, set_ or [], directory, seed)


@app.command("verify", cls=ProgramCommand)
def verify(
    name: Annotated[
        str | None,
        typer.Argument(help="A verification of `diffphys list` (default: all).", autocompletion=_names(CASES)),
    ] = None,
    preset: Annotated[
        str,
        typer.Option(help="How large: full, as the bounds are stated for, or quick.", autocompletion=_preset_names),
    ] = "full",
    out: Annotated[
        Path | None, typer.Option(help="Where to write (default: runs/verify/NAME and what differs).")
    ] = None,
    set_: Annotated[list[str] | None, SET] = None,
) -> None:
    """Hold physics to known answers, in float64. Leaves with 1 where a result misses its stated bound."""
    if name is None and set_:
        raise InputError("--set needs a NAME: settings belong to one verification")

    directory = _directory_of(CASES, name, preset, out)
    found = _carry_out(CASES, [name] if name else list(CASES.entries), preset, set_ or [], directory)
    if name is None:
        _say_table(summary_table(found))
    if not all(passed for metrics in found.values() for passed in metrics["passed"].values()):
        raise typer.Exit(1)


@app.command("bench", cls=ProgramCommand)
def bench(
    name: Annotated[
        str | None,
        typer.Argument(help="A benchmark of `diffphys list` (default: all).", autocompletion=_names(BENCHMARKS)),
    ] = None,
    preset: Annotated[
        str, typer.Option(help="How large: full, or quick to see that all of it runs.", autocompletion=_preset_names)
    ] = "full",
    out: Annotated[
        Path | None, typer.Option(help="Where to write (default: runs/bench/NAME and what differs).")
    ] = None,
    set_: Annotated[list[str] | None, SET] = None,
    profile: Annotated[bool, typer.Option("--profile", help="Name the costliest operations instead.")] = False,
) -> None:
    """Time steps, gradients, solves and training, beside peers where they are installed."""
    if name is None and (set_ or profile):
        raise InputError(f"{'--profile' if profile else '--set'} needs a NAME: it belongs to one benchmark")
    if name is not None and profile:
        program = BENCHMARKS.load(name)
        _print_profile(program, program.choose(preset, set_ or []))
        return
    directory = _directory_of(BENCHMARKS, name, preset, out)
    _carry_out(BENCHMARKS, [name] if name else list(BENCHMARKS.entries), preset, set_ or [], directory)


@app.command("report")
def report_run(directory: Annotated[Path, typer.Argument(help="The directory of a run.")]) -> None:
    """Make a run's tables and figures again, from what is on disk."""
    found = read_description(directory)
    if found.kind not in CATALOGS:
        raise InputError(f'the run in "{directory}" is of the unknown kind "{found.kind}"')
    program = CATALOGS[found.kind].load(found.program)
    settings = make_settings(program.settings, found.settings)
    with Run.open(directory, found.program, found.preset, settings, found.seed, kind=found.kind) as run:
        _print_results(program, run, program.make_report(run))


@app.command("view")
def view_runs(
    directory: Annotated[Path, typer.Argument(help="Holds runs, at any depth.")] = Path("runs"),
    port: Annotated[int | None, typer.Option(help="Where the page is (default: 5006, or a free one).", min=1)] = None,
    browser: Annotated[bool, typer.Option(help="Open a browser.")] = True,
) -> None:
    """Show runs in a browser: fields over time, curves as they grow, settings and results, two side by side.

    Reads only, and only what lies in DIRECTORY; the page is there for this machine alone, until Ctrl-C.
    """
    from diffphys.view import serve

    try:
        serve(directory, port, browser=browser, ready=lambda address: _say(f"{directory}: {address} (Ctrl-C ends it)"))
    except KeyboardInterrupt:
        pass


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line on these arguments (default: those of the process) and return the exit code."""
    keep_freed_memory()
    one_thread_for_linear_algebra()
    if not _speaks_unicode(sys.stdout) and isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a letter that the terminal does not know becomes a question mark
    command = typer.main.get_command(app)
    try:
        # Not standalone: Typer would frame its messages in boxes of several lines.
        result = command.main(None if arguments is None else list(arguments), "diffphys", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except InputError as error:
        return _complain(str(error))
    except _usage_errors() as error:
        # `str` leaves out which argument is meant; the method that names it belongs to all usage errors.
        return _complain(f"{getattr(error, 'format_message', error.__str__)()} (see diffphys --help)")
    except OSError as error:  # a full disk, met by a library that writes files itself
        explained = storage_error(error, error.filename or "a file")
        if explained is None:
            raise
        return _complain(str(explained))
    except (RuntimeError, MemoryError) as error:  # JAX's own errors are such
        explained = memory_error(error)
        if explained is None:
            raise
        return _complain(str(explained))
    except SystemExit as end:  # so Typer ends after completing a word, and where nobody reads its help any more
        if end.code:
            _silence()
        return 0
    except (KeyboardInterrupt, typer.Abort):
        return _complain("interrupted", 128 + signal.SIGINT)


def _usage_errors() -> type[Exception]:
    """What Typer raises where the words of a command are wrong; an older one those of Click."""
    if hasattr(typer, "TyperException"):
        return typer.TyperException
    return importlib.import_module("click").ClickException


def _directory_of(catalog: Catalog, name: str | None, preset: str, out: Path | None) -> Callable[[Program, Any], Path]:
    """Where a verification or a benchmark writes: into `out`, or below it where all of them run, or by its name."""

    def directory(program: Program, settings: Any) -> Path:
        if out is not None:
            return out if name else out / program.name
        begin = ",".join([program.name, *[preset] * (preset != catalog.preset)])
        return Path("runs") / catalog.command / program.directory_name(begin, preset, settings)

    return directory


def _carry_out(
    catalog: Catalog,
    names: Sequence[str],
    preset: str,
    assignments: Sequence[str],
    directory_of: Callable[[Program, Any], Path],
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """Run programs, or go on where they stopped, and print what came of each; return their metrics by name."""
    # Before anything is computed, so that a mistake costs nothing.
    programs = {name: _loaded(catalog, name) for name in names}
    settings = {name: program.choose(preset, assignments) for name, program in programs.items()}
    metrics = {}
    with stop_on_signals() as stop:
        for name, program in programs.items():
            directory = directory_of(program, settings[name])
            with Run.open(directory, name, preset, settings[name], seed, stop, kind=catalog.kind) as run:
                if program.finished(run):
                    again = f"diffphys report {shlex.quote(str(directory))}"
                    _say(f"This run is finished; `{again}` makes its figures again.")
                    table = program.table(run)
                else:
                    _announce(program, run)
                    try:
                        table = program.complete(run)
                    except Interrupted:
                        number = stop.signal or signal.SIGINT
                        then = "and saved; go on with" if program.resumes else "; start again with"
                        command = _command(catalog, run, assignments)
                        _complain(f"stopped by {signal.Signals(number).name} {then}: {command}")
                        raise typer.Exit(128 + number) from None
                _print_results(program, run, table)
                metrics[name] = run.read_metrics()
    return metrics


def _announce(program: Program, run: Run) -> None:
    """Say on standard error what begins, where it writes, and how long it takes; until a program is compiled, the
    first minute perhaps, there is nothing else to see.
    """
    duration = program.duration(run)
    words = [f"{run.program}, {run.preset}: writes to {run.directory}", *[duration] * bool(duration)]
    print("; ".join([*words, "compiling comes first"]), file=sys.stderr, flush=True)


def _command(catalog: Catalog, run: Run, assignments: Sequence[str]) -> str:
    """The command that goes on with a run."""
    words = ["diffphys", catalog.command, run.program, "--preset", run.preset, "--out", str(run.directory)]
    if catalog is EXPERIMENTS:
        words += ["--seed", str(run.seed)]
    return shlex.join(words + [word for assignment in assignments for word in ("--set", assignment)])


def _complain(message: str, code: int = 2) -> int:
    """Print a message as one line on standard error and return the exit code."""
    print("diffphys:", " ".join(message.split()), file=sys.stderr)
    return code


def _say(text: str) -> None:
    """Print on standard output. Where nobody reads any more, as after `| head -1`, the work goes on in silence."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        _silence()


def _silence() -> None:
    """Let standard output lead nowhere, for what is still in its buffer, too."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say_table(table: Table) -> None:
    """Print a table; no number is cut, however narrow the terminal is."""
    _say(table_in_words(table, terminal_width(), ascii_only=not _speaks_unicode(sys.stdout)))


def _speaks_unicode(stream: Any) -> bool:
    return (getattr(stream, "encoding", None) or "utf-8").lower().startswith("utf")


def _print_results(program: Program, run: Run, table: Any) -> None:
    """Print the program's table, or else the metrics that are single numbers, and where the files are."""
    _say_table(_metrics_table(program, run) if table is None else table)
    _say(f"Metrics: {run.directory / 'metrics.json'}")
    if (run.directory / "table.md").exists():
        _say(f"Table:   {run.directory / 'table.md'}")
    figures = sorted(path.name for path in (run.directory / "figures").glob("[!.]*"))
    if figures:
        _say(f"Figures: {run.directory / 'figures'} ({', '.join(figures)})")


def _metrics_table(program: Program, run: Run) -> Table:
    """The metrics that are single numbers, beside published ones and stated bounds where there are any."""
    metrics = run.read_metrics()
    published, passed = (found if isinstance(found := metrics.get(name), dict) else {} for name in ("paper", "passed"))
    more = ["published"] * bool(published) + ["bound"] * bool(passed)
    table = Table("metric", "here", *more, title=f"{run.program}, {run.preset}")
    for name, value in metrics.items():
        if isinstance(value, (int, float)) or name in passed:
            cells = [_number(published.get(name))] * bool(published)
            cells += [{True: "holds", False: "MISSED", None: ""}[passed.get(name)]] * bool(passed)
            table.add_row(name, _number(value) or "not finite", *cells)
    program.remark(table, run.settings)
    return table


def _print_profile(program: Program, settings: Any) -> None:
    """The costliest operations of each of a benchmark's programs, from JAX's profiler."""
    if program.profile is None:
        raise InputError(
            f"bench --profile: {program.name} has no program of its own to profile; wake, periodic, poisson have"
        )
    from diffphys.benchmarks.timing import costliest, origins

    for what, compiled in program.profile(settings).items():
        found = costliest(compiled)
        meant = origins(compiled.compiled, [operation for operation, _, _ in found])
        table = Table("operation", "microseconds", "times", "made of", title=f"{program.name}: {what}")
        for operation, microseconds, times in found:
            table.add_row(operation, f"{microseconds:.1f}", str(times), meant.get(operation, ""))
        _say_table(table)


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, (int, float)) else ""
