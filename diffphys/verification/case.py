"""A case of verification: what is measured, to which bounds it is held, and how both stand in a directory."""

import hashlib
import inspect
import json
import math
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from diffphys.errors import InputError
from diffphys.runs import Figure, Program, Run, write_json


RESULTS = "results.json"


@dataclass(frozen=True)
class Check:
    """One number, held to its bound.

    Args:
        name: Its name in metrics.json: lower case with underscores.
        value: What was measured.
        at_least: The smallest value that passes; or None.
        at_most: The largest value that passes; or None.
        published: The published value, or (lower, upper) interval, of the same quantity; or None.
        meaning: What it is, in a few words, with its unit if it has one.
    """

    name: str
    value: float
    at_least: float | None = None
    at_most: float | None = None
    published: float | tuple[float, float] | None = None
    meaning: str = ""

    @property
    def passed(self) -> bool:
        """Whether the value is finite and within its bounds."""
        return (
            math.isfinite(self.value)
            and (self.at_least is None or self.value >= self.at_least)
            and (self.at_most is None or self.value <= self.at_most)
        )

    @property
    def bound(self) -> str:
        """The bounds in words; empty where there are none."""
        words = (("at least", self.at_least), ("at most", self.at_most))
        return ", ".join(f"{word} {bound:.4g}" for word, bound in words if bound is not None)


def in_metrics(words: str) -> str:
    """Words as a name in metrics.json."""
    return re.sub("[-. ]", "_", words)


class Parts:
    """The results of the longer pieces of a case, kept on disk: a killed case goes on with the pieces it lacks.

    A piece counts only for the same code: results of another version of diffphys are computed anew.
    """

    def __init__(self, run: Run, code: str):
        self._run, self._code = run, code
        self.seconds = 0.0
        """How long the pieces took that were kept from before."""

    def __call__(self, name: str, compute: Callable[[], Any]) -> Any:
        """The result of `compute()`, which is made of numbers, texts, lists and dictionaries (arrays become lists)."""
        path = self._run.directory / "parts" / f"{name}.json"
        if path.exists() and (kept := _read(path)).get("code") == self._code:
            self.seconds += kept["seconds"]
            return kept["result"]
        self._run.leave_if_asked()
        started = time.monotonic()
        result = compute()
        write_json(path, {"code": self._code, "seconds": time.monotonic() - started, "result": result})
        return _read(path)["result"]

    def save(self, name: str, tree: Any, metadata: Mapping[str, Any]) -> None:
        """Keep what a long piece has come to, and leave if asked: where it is killed it goes on from here."""
        if self._run.checkpoint_due():
            self._run.save_checkpoint(name, tree, {**metadata, "code": self._code})
            self._run.leave_if_asked()

    def load(self, name: str, like: Any) -> tuple[Any, dict[str, Any]] | None:
        """What `save` kept last, of the same code, and the metadata beside it; None where there is nothing."""
        if not self._run.has_checkpoint(name):
            return None
        metadata = self._run.checkpoint_metadata(name)
        return (self._run.load_checkpoint(name, like), metadata) if metadata["code"] == self._code else None


def verification(
    name: str,
    settings: type,
    presets: Mapping[str, Mapping[str, Any]],
    measure: Callable[[Any, Parts], dict[str, Any]],
    judge: Callable[[Any, dict[str, Any]], Sequence[Check]],
    draw: Callable[[Any, dict[str, Any]], Mapping[str, Figure]],
    sources: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> Program:
    """A case that `diffphys verify` can run, in float64. A finished run counts as long as the code stays the same.

    Args:
        name: Its name in `CASES`.
        settings: A frozen dataclass whose fields are made by `diffphys.runs.setting`; its defaults are those that the
            bounds are stated for.
        presets: For each preset besides "full" the settings in which it differs from the defaults; "quick" is there.
        measure: `measure(settings, parts)` computes, long pieces through `parts`, and returns named results of
            numbers, texts, lists and dictionaries.
        judge: `judge(settings, results)` holds them to their bounds: a list of `Check`.
        draw: `draw(settings, results)` gives Matplotlib figures by the name of their file without ending.
        sources: Where solution or published figures come from.
        notes: Paragraphs for the page of the docs: what a reader of the numbers should know.
    """

    def run_case(chosen: Any, run: Run) -> None:
        _measure(measure, chosen, run)

    def same_code(run: Run) -> bool:
        path = run.directory / RESULTS
        return path.exists() and _read(path).get("code") == code_identity(measure)

    def report_case(run: Run) -> Table:
        found = _results(run)
        checks = list(judge(run.settings, found["results"]))
        _write_metrics(run, checks, found)
        for figure_name, figure in draw(run.settings, found["results"]).items():
            run.save_figure(f"{figure_name}.png", figure)
        return checks_table(run.program, checks)

    presets = {"full": {}, **presets}
    return Program(name, settings, presets, run_case, report_case, current=same_code, sources=sources, notes=notes)


def _measure(measure: Callable[[Any, Parts], dict[str, Any]], settings: Any, run: Run) -> None:
    """Compute, or go on where it stopped, and write the results."""
    import jax  # here, so that the command line need not wait for it

    code = code_identity(measure)
    started, parts = time.monotonic(), Parts(run, code)
    with jax.enable_x64(True):
        results = measure(settings, parts)
    seconds = time.monotonic() - started + parts.seconds
    versions = {"jax": jax.__version__}
    found = {"code": code, "seconds": seconds, "cores": os.cpu_count(), "versions": versions, "results": results}
    write_json(run.directory / RESULTS, found)


def _results(run: Run) -> dict[str, Any]:
    path = run.directory / RESULTS
    if not path.exists():
        raise InputError(f'"{run.directory}" holds no results yet: its run has to get further first')
    return _read(path)


def _write_metrics(run: Run, checks: Sequence[Check], found: Mapping[str, Any]) -> None:
    metrics: dict[str, Any] = {check.name: check.value for check in checks}
    metrics["bounds"] = {
        check.name: {
            key: bound for key, bound in (("at_least", check.at_least), ("at_most", check.at_most)) if bound is not None
        }
        for check in checks
        if check.bound
    }
    metrics["passed"] = {check.name: check.passed for check in checks if check.bound or not check.passed}
    metrics["paper"] = {check.name: check.published for check in checks if check.published is not None}
    metrics["meanings"] = {check.name: check.meaning for check in checks}
    metrics["seconds"], metrics["cores"] = round(found["seconds"], 1), found["cores"]
    run.write_metrics(metrics)


def checks_of(metrics: Mapping[str, Any]) -> list[Check]:
    """The numbers of a case, each with its bounds, from its metrics."""
    checks = []
    for name, meaning in metrics["meanings"].items():
        published = metrics["paper"].get(name)
        checks.append(
            Check(
                name,
                math.nan if metrics[name] is None else metrics[name],
                **metrics["bounds"].get(name, {}),
                published=tuple(published) if isinstance(published, list) else published,
                meaning=meaning,
            )
        )
    return checks


def checks_table(title: str, checks: Sequence[Check]) -> Table:
    """A case's numbers, a line each."""
    published = any(check.published is not None for check in checks)
    table = Table("quantity", "here", "bound", *(["published"] if published else []), "", title=title)
    for check in checks:
        mark = ("holds" if check.passed else "MISSED") if check.bound or not check.passed else ""
        table.add_row(
            check.meaning or check.name,
            f"{check.value:.4g}",
            check.bound,
            *([published_in_words(check.published)] if published else []),
            mark,
        )
    return table


def summary_table(metrics: Mapping[str, Mapping[str, Any]]) -> Table:
    """All cases, a line each: how many bounds hold and how long it took, from the metrics by name."""
    table = Table("case", "bounds that hold", "seconds", "", title="verification")
    for name, of_case in metrics.items():
        passed = list(of_case["passed"].values())
        mark = "" if all(passed) else "MISSED"
        table.add_row(name, f"{sum(passed)} of {len(passed)}", f"{of_case['seconds']:.0f}", mark)
    return table


def published_in_words(value: float | tuple[float, float] | None) -> str:
    """A published number or interval; empty where there is none."""
    if value is None:
        return ""
    return f"{value[0]:.5g} to {value[1]:.5g}" if isinstance(value, tuple) else f"{value:.5g}"


def code_identity(measure: Callable[..., Any]) -> str:
    """A short text that changes with any line of the package, and of the file of a case that another package brings."""
    package = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes())
    own = Path(inspect.getfile(measure))
    if own.is_file() and not own.is_relative_to(package):
        digest.update(own.read_bytes())
    return digest.hexdigest()[:16]


def _read(path: Path) -> dict[str, Any]:
    """The content of a file of numbers; what was not finite, and so became null, is NaN again."""
    try:
        return _with_nan(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise InputError(f'the file "{path}" is damaged: it is not JSON') from error


def _with_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _with_nan(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_with_nan(item) for item in value]
    return math.nan if value is None else value
