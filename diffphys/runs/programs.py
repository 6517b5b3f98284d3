"""What the command line can run: programs with settings, presets, a run and a report, and the lists they stand in."""

import functools
import hashlib
import importlib
import importlib.metadata
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.table import Table

from diffphys.errors import InputError
from diffphys.runs.files import write_json
from diffphys.runs.run import Run
from diffphys.runs.settings import (
    described_settings,
    make_settings,
    nearest,
    parse_overrides,
    results_settings,
    written,
)
from diffphys.runs.tables import table_content, table_of


AS_PUBLISHED = "paper"  # the preset with the settings of a paper
_TABLE = "table.json"
_LONGEST_NAME = 200  # bytes; file systems take 255


@dataclass(frozen=True)
class Program:
    """An experiment, a verification or a benchmark: whatever has settings, computes, and says what came of it.

    Attributes:
        name: Its name in the list of its kind.
        settings: A frozen dataclass whose fields are made by `diffphys.runs.setting`.
        presets: For each preset the settings in which it differs from the defaults.
        run: `run(settings, run)` does all the work and writes through `run`. Called again on the same directory after
            an interruption or kill -9, it goes on from what it saved, with the same bits.
        report: `report(run)` makes metrics, tables and figures from what is on disk, as far as `run` has not written
            them, and may return a Rich renderable (a table) that the command line prints.
        resumes: Whether a run goes on where it stopped, and stays as it is once it is finished. Timings do neither:
            the machine may be another one by then.
        current: `current(run)`: whether the results of a finished run still count.
        profile: `profile(settings)` returns compiled programs by name, each without arguments, for `--profile`; or
            None.
        duration: `duration(run)`: how long a run takes, in words, or "" where nobody can say.
        sources: Where methods, solutions or published figures come from.
        notes: Paragraphs for a page of the docs: what a reader of the numbers should know.
    """

    name: str
    settings: type
    presets: Mapping[str, Mapping[str, Any]]
    run: Callable[[Any, Run], None]
    report: Callable[[Run], Any]
    resumes: bool = True
    current: Callable[[Run], bool] = lambda run: True
    profile: Callable[[Any], Mapping[str, Any]] | None = None
    duration: Callable[[Run], str] = lambda run: ""
    sources: Sequence[str] = ()
    notes: Sequence[str] = ()

    def __post_init__(self):
        """Refuse a preset with names or values that the settings do not accept."""
        for overrides in self.presets.values():
            make_settings(self.settings, overrides)

    def choose(self, preset: str, assignments: Iterable[str] = ()) -> Any:
        """The settings of a preset with the user's `key=value` texts on top.

        Raises:
            InputError: an unknown preset or setting, or a value that is not accepted.
        """
        if preset not in self.presets:
            raise InputError(f'{self.name} has no preset "{preset}"{nearest(preset, self.presets)}')
        overrides = parse_overrides(self.settings, assignments)
        return make_settings(self.settings, {**self.presets[preset], **overrides})

    def finished(self, run: Run) -> bool:
        """Whether everything is done in the directory of a run, so that nothing has to be computed anew."""
        return self.resumes and run.finished and self.current(run)

    def complete(self, run: Run) -> Any:
        """Do the work of a run, or go on with it, make its report, and note that it is finished; return the table.

        Raises:
            Interrupted: the run was asked to stop.
        """
        self.run(run.settings, run)
        table = self.make_report(run)
        run.finish()
        return table

    def make_report(self, run: Run) -> Any:
        """Make metrics, tables and figures from what is on disk, keep the table there, and return it."""
        table = self.report(run)
        if isinstance(table, Table):
            self.remark(table, run.settings)
            write_json(run.directory / _TABLE, table_content(table))
        else:
            write_json(run.directory / _TABLE, {})
        return table

    def table(self, run: Run) -> Any:
        """The table of a finished run as it was kept; where an earlier version kept none, its report is made again."""
        try:
            kept = json.loads((run.directory / _TABLE).read_text(encoding="utf-8"))
            return table_of(kept) if kept else None
        except (OSError, ValueError, LookupError, TypeError):
            return self.make_report(run)

    def differing(self, preset: str, settings: Any) -> dict[str, str]:
        """The settings in which results differ from those of a preset, as a user would write them; empty where the
        program has no such preset.
        """
        if preset not in self.presets:
            return {}
        there = results_settings(self.choose(preset))
        return {name: written(value) for name, value in results_settings(settings).items() if value != there[name]}

    def directory_name(self, begin: str, preset: str, settings: Any, seed: int = 0) -> str:
        """The name of the directory of a run unless the user gives one: `begin`, and what differs from the preset.

        So the same command finds its run again, and another one has a directory of its own.
        """
        differing = {**({"seed": str(seed)} if seed else {}), **self.differing(preset, settings)}
        name = ",".join([begin, *(f"{key}={value}" for key, value in differing.items())]).replace("/", "-")
        if len(name.encode()) <= _LONGEST_NAME:
            return name
        digest = hashlib.sha256(name.encode()).hexdigest()[:8]
        return f"{name.encode()[: _LONGEST_NAME - 9].decode(errors='ignore')}-{digest}"

    def remark(self, table: Table, settings: Any) -> None:
        """Say under a table with published numbers in what the settings differ from the published ones."""
        differing = ", ".join(self.differing(AS_PUBLISHED, settings))
        known = [column for column in table.columns if "published" in str(column.header)]
        if differing and any(map(str, (cell for column in known for cell in column.cells))):
            words = f"Published numbers belong to --preset {AS_PUBLISHED}; this run differs in: {differing}."
            table.caption = f"{table.caption} {words}" if table.caption else words

    def settings_in_words(self) -> str:
        """Every setting with its default, its meaning and what it accepts, and what each preset changes."""
        lines = ["Settings (--set key=value):"]
        for one in described_settings(self.settings):
            note = "" if one.changes_results else "; changes no result"
            lines += [f"  {one.name} = {one.default}", f"      {one.help}", f"      accepts {one.accepted}{note}"]
        lines += ["", "Presets (--preset):"]
        for preset, overrides in self.presets.items():
            changes = " ".join(f"{name}={written(value)}" for name, value in overrides.items())
            lines.append(f"  {preset}: {changes or 'the defaults'}")
        if self.sources:
            lines += ["", "Sources:", *(f"  {source}" for source in self.sources)]
        return "\n".join(lines)


@dataclass(frozen=True)
class Entry:
    """A line of `diffphys list`, and the module that holds what it names, as its `PROGRAM`.

    The line holds what a list shows, so that listing imports nothing that it names (and with it JAX and the
    simulators).
    """

    module: str
    summary: str
    attribute: str = "PROGRAM"


@dataclass(frozen=True)
class Catalog:
    """The programs of one kind.

    Attributes:
        kind: What one of them is, in a word.
        command: The command that runs them, `diffphys COMMAND NAME`.
        title: The heading of their list.
        preset: The preset where the user names none.
        entries: Their lines, by name.
        group: The entry point group in which other packages name programs of their own; or None.
    """

    kind: str
    command: str
    title: str
    preset: str
    entries: dict[str, Entry] = field(default_factory=dict)
    group: str | None = None

    @functools.cached_property
    def known(self) -> dict[str, Entry]:
        """Our own lines, and those of programs that other installed packages bring; a name of ours stays ours."""
        found = importlib.metadata.entry_points(group=self.group) if self.group else ()
        outside = {
            one.name: Entry(one.module, f"from {one.dist.name if one.dist else one.module}", one.attr or "PROGRAM")
            for one in found
        }
        return {**outside, **self.entries} if outside else self.entries

    def load(self, name: str) -> Program:
        """Import a program by its name.

        Raises:
            InputError: there is none of this name.
        """
        entry = self.entries.get(name) or self.known.get(name)
        if entry is None:
            raise InputError(f'there is no {self.kind} "{name}"{nearest(name, self.known)}')
        if name in self.entries:
            return importlib.import_module(entry.module).PROGRAM
        try:
            program = getattr(importlib.import_module(entry.module), entry.attribute)
        except (ImportError, AttributeError) as error:
            raise InputError(f'the {self.kind} "{name}" {entry.summary} cannot be imported: {error}') from error
        if not isinstance(program, Program) or program.name != name:
            raise InputError(
                f'the {self.kind} "{name}" {entry.summary} is {program!r}; a diffphys.runs.Program of that name is '
                "accepted"
            )
        return program
