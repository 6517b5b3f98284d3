"""The benchmark page of the documentation, made from what `diffphys bench` left on disk.

    diffphys bench --out bench
    python -m diffphys.benchmarks.page docs bench/*

writes docs/benchmarks.md, and the figure of each benchmark into docs/images. Nothing on the page is written by hand but
its first paragraphs.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from diffphys.benchmarks import BENCHMARKS
from diffphys.plots import save_for_page
from diffphys.runs import Run, make_settings, read_description


HEAD = """# Benchmarks

```
diffphys bench                 # all of them; some 20 minutes where the peers are installed
diffphys bench wake            # one; `diffphys list` names them
diffphys bench wake --profile  # which operations a step and its gradient spend their time on
```

Each writes `table.md`, `results.json` (with versions and the size of the machine) and `figures/cost.png` into
`runs/bench/NAME`, or into the directory of `--out`. Programs that are compared run in turns, so that what else the
machine does falls on all of them alike; a table gives medians, the fastest times, and the cost in forward passes. Every
row also gives an error, since speed bought with accuracy would be none: for a flow the largest divergence in one cell
over the largest speed, for a solve the largest residual.

Peers run beside us where they are installed, in processes of their own: PhiFlow 3.4 with conjugate gradients at 1e-4
and its whole loop compiled, JAX-CFD 0.2.1 with the same scheme, Exponax 0.2 with Fourier modes. An install with the
extra `peers` puts them beside diffphys; `--set peers_python=PATH` takes them from another Python.

This page is made from what the command left on disk. What was tried to get there, and what did not help, is on the page
[What was tried for speed](speed-notes.md).
"""


def write_page(docs: Path, directories: Sequence[Path]) -> None:
    """Write benchmarks.md and its figures into the directory `docs` from these directories of finished benchmarks."""
    found = {read_description(path).program: path for path in directories}
    docs.mkdir(parents=True, exist_ok=True)
    sections = [_section(docs, name, found[name]) for name in BENCHMARKS.entries if name in found]
    (docs / "benchmarks.md").write_text("\n".join([HEAD, *sections]), encoding="utf-8")


def _section(docs: Path, name: str, path: Path) -> str:
    benchmark, description = BENCHMARKS.load(name), read_description(path)
    settings = make_settings(benchmark.settings, description.settings)
    with Run.open(path, name, description.preset, settings, description.seed, kind=BENCHMARKS.kind) as run:
        benchmark.report(run)
    # Its first line is a heading.
    table = (path / "table.md").read_text(encoding="utf-8").split("\n", 1)[1].strip()
    summary = BENCHMARKS.entries[name].summary
    lines = [f"## {name}", "", f"{summary[0].upper()}{summary[1:]}.", "", table, ""]
    figure = path / "figures" / "cost.png"
    if figure.exists():
        image = f"benchmark-{name}.png"
        save_for_page(figure, docs / "images" / image)
        lines += [f"![{name}: cost over size](images/{image})", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    write_page(Path(sys.argv[1]), [Path(argument) for argument in sys.argv[2:]])
