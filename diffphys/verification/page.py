"""The verification page of the documentation, made from what `diffphys verify` left on disk.

    diffphys verify --out verification
    python -m diffphys.verification.page docs verification/*

writes docs/verification.md and a figure of each case into docs/images. Nothing on the page is written by hand but its
first paragraphs; each case has its table of numbers and bounds, its notes, its figures, its time, and its sources.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diffphys.plots import save_for_page
from diffphys.runs import Run, make_settings, read_description
from diffphys.verification import CASES, Check, checks_of
from diffphys.verification.case import published_in_words


HEAD = """# Verification

Physics against known answers, in float64. Each number is held to a bound that stands in the code of its case;
`diffphys verify` runs all cases, `diffphys verify NAME --set key=value` one of them with other grids, schemes and
parameters, and leaves with exit code 1 where a bound is missed. This page is made from what the command left on disk;
below each case stands where its settings differed from the defaults.

```bash
diffphys list
diffphys verify taylor-green
diffphys verify cavity --set re=400 --set cells=64 --set dimensions=2
```

"""


def write_page(docs: Path, directories: Sequence[Path]) -> None:
    """Write verification.md and its figures into the directory `docs` from these directories of finished cases."""
    found = {path: read_description(path).program for path in directories}
    names = list(CASES.entries)
    sections, summary = [], []
    for path in sorted(directories, key=lambda path: (names.index(found[path]), str(path))):
        section, line = _section(
            docs, path, found[path], first=all(found[path] != name for name in summary_names(summary))
        )
        sections.append(section)
        summary.append(line)
    table = ["| case | bounds that hold | seconds |", "| --- | --- | --- |", *[line for _, line in summary], ""]
    (docs / "verification.md").write_text(HEAD + "\n".join(table) + "\n" + "\n".join(sections), encoding="utf-8")


def summary_names(summary: list[tuple[str, str]]) -> list[str]:
    """The cases that have a line already."""
    return [name for name, _ in summary]


def _section(docs: Path, path: Path, name: str, first: bool) -> tuple[str, tuple[str, str]]:
    case = CASES.load(name)
    description = read_description(path)
    settings = make_settings(case.settings, description.settings)
    with Run.open(path, name, description.preset, settings, description.seed, kind=CASES.kind) as run:
        case.report(run)
        metrics = run.read_metrics()
        checks, seconds, cores = checks_of(metrics), metrics["seconds"], metrics["cores"]
        changed = {key: value for key, value in description.settings.items() if _differs(case.settings, key, value)}
    title = name if first else f"{name}, {_words(changed, most=3)}"
    lines = [f"## {title}", "", f"{CASES.entries[name].summary[0].upper()}{CASES.entries[name].summary[1:]}.", ""]
    if changed:
        lines += [f"With {_words(changed)}.", ""]
    lines += _table(checks)
    if first:
        lines += [line for note in case.notes for line in (note, "")]
    for figure in sorted((path / "figures").glob("*.png")):
        image = f"verification-{path.name}-{figure.stem}.png"
        save_for_page(figure, docs / "images" / image)
        lines += [f"![{title}: {figure.stem}](images/{image})", ""]
    lines += [f"{seconds:.0f} seconds on {cores} cores (which had other work as well).", ""]
    lines += ["Sources: " + "; ".join(case.sources) + ".", ""]
    bounded = [check for check in checks if check.bound]
    held = sum(check.passed for check in bounded)
    return "\n".join(lines), (name, f"| {title} | {held} of {len(bounded)} | {seconds:.0f} |")


def _table(checks: Sequence[Check]) -> list[str]:
    lines = ["| quantity | here | bound | published | |", "| --- | --- | --- | --- | --- |"]
    for check in checks:
        published = published_in_words(check.published)
        mark = ("holds" if check.passed else "**missed**") if check.bound else ""
        lines.append(f"| {check.meaning or check.name} | {check.value:.4g} | {check.bound} | {published} | {mark} |")
    return [*lines, ""]


def _differs(settings: type, key: str, value: Any) -> bool:
    default = settings.__dataclass_fields__[key].default  # pyright: ignore[reportAttributeAccessIssue]
    return (list(default) if isinstance(default, tuple) else default) != value


def _words(changed: dict[str, Any], most: int | None = None) -> str:
    """The settings that differ, in a heading with so many entries of a list at most."""

    def words(value: Any) -> str:
        if not isinstance(value, list):
            return str(value)
        rest = len(value) - len(value[:most])
        return ", ".join(map(str, value[:most])) + (f" and {rest} more" if rest else "")

    return "; ".join(f"`{key}` = {words(value)}" for key, value in changed.items())


if __name__ == "__main__":
    write_page(Path(sys.argv[1]), [Path(argument) for argument in sys.argv[2:]])
