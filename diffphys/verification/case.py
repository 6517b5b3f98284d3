"""A case of verification: what is measured, to which bounds it is held, and how both stand in a directory."""

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from diffphys.errors import InputError
from diffphys.runs import Run, make_settings, nearest, parse_overrides, write_json


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


@dataclass(frozen=True)
class Case:
    """A case that `diffphys verify` can run.

    Attributes:
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

    name: str
    settings: type
    presets: Mapping[str, Mapping[str, Any]]
    measure: Callable[[Any, Parts], dict[str, Any]]
    judge: Callable[[Any, dict[str, Any]], Sequence[Check]]
    draw: Callable[[Any, dict[str, Any]], Mapping[str, Any]]
    sources: Sequence[str] = ()
    notes: Sequence[str] = ()

    def __post_init__(self):
        """Refuse a preset with names or values that the settings do not accept."""
        for overrides in self.presets.values():
            make_settings(self.settings, overrides)

    def choose(self, preset: str, assignments: Sequence[str]) -> Any:
        """The settings of a preset with the user's `key=value` texts on top.

        Raises:
            InputError: an unknown preset or setting, or a value that is not accepted.
        """
        presets = {"full": {}, **self.presets}
        if preset not in presets:
            raise InputError(f'{self.name} has no preset "{preset}": {nearest(preset, presets)}')
        return make_settings(self.settings, {**presets[preset], **parse_overrides(self.settings, assignments)})


def run_case(case: Case, settings: Any, run: Run) -> list[Check]:
    """Measure a case, or go on with it where it stopped, in float64; write results, metrics and figures.

    A run of the same code that is finished is not computed anew.
    """
    import jax  # here, so that the command line need not wait for it

    code = code_identity()
    path = run.directory / "results.json"
    known = _read(path) if path.exists() and run.finished else {}
    if known.get("code") != code:
        started, parts = time.monotonic(), Parts(run, code)
        with jax.enable_x64(True):
            results = case.measure(settings, parts)
        write_json(
            path,
            {
                "code": code,
                "seconds": time.monotonic() - started + parts.seconds,
                "cores": os.cpu_count(),
                "versions": {"jax": jax.__version__},
                "results": results,
            },
        )
    return report_case(case, settings, run)


def report_case(case: Case, settings: Any, run: Run) -> list[Check]:
    """Make metrics and figures of a case from its results on disk."""
    path = run.directory / "results.json"
    if not path.exists():
        raise InputError(f'"{run.directory}" holds no results yet: its run has to get further first')
    found = _read(path)
    checks = list(case.judge(settings, found["results"]))
    metrics: dict[str, Any] = {check.name: check.value for check in checks}
    metrics["bounds"] = {
        check.name: {
            key: bound for key, bound in (("at_least", check.at_least), ("at_most", check.at_most)) if bound is not None
        }
        for check in checks
        if check.bound
    }
    metrics["passed"] = {check.name: check.passed for check in checks if check.bound}
    metrics["paper"] = {check.name: check.published for check in checks if check.published is not None}
    metrics["seconds"], metrics["cores"] = round(found["seconds"], 1), found["cores"]
    run.write_metrics(metrics)
    for name, figure in case.draw(settings, found["results"]).items():
        run.save_figure(f"{name}.png", figure)
    return checks


def seconds_of(run: Run) -> float:
    """How long a case took to measure, with the pieces that were kept from before."""
    return float(run.read_metrics().get("seconds", math.nan))


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
            *([_published(check.published)] if published else []),
            mark,
        )
    return table


def summary_table(found: Mapping[str, tuple[Sequence[Check], float]]) -> Table:
    """All cases, a line each: how many bounds hold and how long it took, by name."""
    table = Table("case", "bounds that hold", "seconds", "", title="verification")
    for name, (checks, seconds) in found.items():
        bounded = [check for check in checks if check.bound or not check.passed]
        held = sum(check.passed for check in bounded)
        table.add_row(name, f"{held} of {len(bounded)}", f"{seconds:.0f}", "" if held == len(bounded) else "MISSED")
    return table


def code_identity() -> str:
    """A short text that changes with any line of the package."""
    package = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _published(value: float | tuple[float, float] | None) -> str:
    if value is None:
        return ""
    return f"{value[0]:.5g} to {value[1]:.5g}" if isinstance(value, tuple) else f"{value:.5g}"


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
