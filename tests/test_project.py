"""The files around the package agree with each other and with the package."""

import ast
import importlib
import json
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml


ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def rooms() -> set[str]:
    """Every public file and directory of the package that is code."""
    package = ROOT / "diffphys"
    files = {path.stem for path in package.glob("*.py")} - {"__init__", "__main__"}
    return files | {path.parent.name for path in package.glob("*/__init__.py")}


def test_version_is_the_same_everywhere():
    assert metadata.version("diffphys") == PROJECT["version"]
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == PROJECT["version"]


def test_every_dependency_is_pinned():
    pinned = set(re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    wanted = (
        PROJECT["dependencies"] + PROJECT["optional-dependencies"]["test"] + PROJECT["optional-dependencies"]["docs"]
    )

    def normalized(name: str) -> str:
        return re.sub(r"[-_.]+", "-", name).lower()

    names = {normalized(re.match(r"[\w.-]+", requirement)[0]) for requirement in wanted}  # pyright: ignore
    assert names <= {normalized(name) for name in pinned}


def test_the_oldest_versions_are_those_that_are_tested():
    """Each lower bound of what the package needs is what `make test-lowest` installs."""
    pinned = dict(re.findall(r"^([\w.-]+)==(.+)$", (ROOT / "constraints-lowest.txt").read_text(), re.MULTILINE))
    for requirement in PROJECT["dependencies"]:
        name, bound = requirement.split(">=")
        assert pinned[name] == bound or pinned[name].removesuffix(".0") == bound, requirement


def test_simulations_have_gradients_without_what_only_files_plots_and_the_command_line_need():
    script = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"matplotlib", "optimistix", "PIL", "pandas", "typer", "xarray", "zarr"}:
            raise ImportError(name)

sys.meta_path.insert(0, Missing())
import jax
import diffphys as dp

for room in ("grids", "operators", "poisson", "physics", "stepping", "nets", "learning", "gradients"):
    getattr(dp, room)
heat = dp.Heat(dp.Grid((8,), (1.0,)), 0.1, 0.01, ((dp.Dirichlet(0.0), dp.Neumann(0.0)),))
final = lambda start: dp.rollout(heat, heat.initial_state(start), 2)[0].values.sum()
print(jax.grad(final)(jax.numpy.ones(8)).sum())
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_every_room_has_a_page_in_the_api_reference():
    settings = (ROOT / "mkdocs.yml").read_text()
    drafts = set(re.findall(r"^  /api/(\w+)\.md$", settings, re.MULTILINE))
    for room in sorted(rooms()):
        page = ROOT / "docs" / "api" / f"{room}.md"
        assert page.exists() and f"::: diffphys.{room}" in page.read_text(), f"docs/api/{room}.md is missing"
        assert f"api/{room}.md\n" in settings, f"mkdocs.yml does not list api/{room}.md in nav"
        assert room not in drafts, f"diffphys.{room} stands: take its page from draft_docs in mkdocs.yml"


def test_a_name_that_a_room_shows_is_taken_from_the_room():
    """From another room; what is no name for users is taken from the file in which it stands, unless it is private."""
    package, past = ROOT / "diffphys", []
    for path in package.rglob("*.py"):
        room = path.relative_to(package).parts[0]
        imports = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
        for node in imports:
            parts = (node.module or "").split(".")
            if parts[0] != "diffphys" or len(parts) < 3 or parts[1] == room:
                continue
            is_room_within = package.joinpath(*parts[1:], "__init__.py").exists()
            shown = () if is_room_within else importlib.import_module(f"diffphys.{parts[1]}").__all__
            past += [(path, one.name) for one in node.names if one.name in shown or one.name.startswith("_")]
    assert not past


def test_the_typing_marker_is_installed():
    import diffphys

    assert (Path(diffphys.__file__).parent / "py.typed").exists()


def test_every_page_of_the_api_is_reachable_from_the_top():
    rooms = sorted(path.stem for path in (ROOT / "docs" / "api").glob("*.md") if path.stem != "index")
    program = (
        "import sys, diffphys as dp; assert 'jax' not in sys.modules; "
        f"print(*[getattr(dp, room).__name__ for room in {rooms}]); assert {{*{rooms}, 'rollout'}} <= set(dir(dp))"
    )
    found = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert found.stdout.split() == [f"diffphys.{room}" for room in rooms], found.stderr


def test_the_oscillator_has_as_many_lines_as_the_pages_say():
    notebook = json.loads((ROOT / "docs" / "notebooks" / "half-inverse-oscillator.ipynb").read_text())
    program = next("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code")
    count = sum(bool(line.strip()) for line in program.splitlines())
    assert count == 26 and "Twenty-six lines" in json.dumps(notebook)
    for page in ("index.md", "inversion.md"):
        assert f"{count} lines" in (ROOT / "docs" / page).read_text()


def test_examples_of_the_nine_jobs_have_as_many_lines_as_their_page_says():
    rows = re.findall(r"^\|.*\|$", (ROOT / "docs" / "nine-jobs.md").read_text(), re.MULTILINE)
    seen = 0
    for _, _, where, lines, *_ in (row.split("|") for row in rows):
        scripts = re.findall(r"gallery/(\w+)\.ipynb", where)
        for script, count in zip(scripts, lines.split(",") if scripts else [], strict=True):
            code = [line.strip() for line in (ROOT / "docs" / "gallery" / f"{script}.py").read_text().splitlines()]
            assert len([line for line in code if line and not line.startswith("#")]) == int(count), script
            seen += 1
    assert seen >= 7


def test_the_readme_says_of_peers_what_the_page_of_benchmarks_shows():
    """From the slowest to the fastest row of each kind, by the medians."""
    page, readme = ((ROOT / name).read_text() for name in ("docs/benchmarks.md", "README.md"))

    def said(what: str, peer: str, digits: int) -> str:
        rows = re.findall(rf"^\| \S+ \| ({what}),.*\| {peer} [\d.]+ \|[^|]*\|[^|]*\| ([\d.]+)x", page, re.MULTILINE)
        factors = sorted(float(factor) for _, factor in rows)
        return f"{factors[0]:.{digits}f} to {factors[-1]:.{digits}f}"

    wake = [said(what, "PhiFlow", 0) for what in ("step", "gradient")]
    assert "a wake step is {} times as fast, its gradient {} times".format(*wake) in readme
    periodic = [said(what, "JAX-CFD", 1) for what in ("2D step", "3D step", "2D gradient", "3D gradient")]
    assert "are {} times as fast in 2D, {} times in 3D, gradients {} and {} times".format(*periodic) in readme


def test_the_site_loads_nothing_from_a_network():
    settings = (ROOT / "mkdocs.yml").read_text()
    for kind in ("extra_javascript", "extra_css"):
        loaded = re.findall(r"^  - (\S+)$", settings.split(f"\n{kind}:\n")[1].split("\n\n")[0], re.MULTILINE)
        assert loaded and all((ROOT / "docs" / path).is_file() for path in loaded), loaded


def test_pages_of_the_interface_show_the_signatures_of_modules():
    griffe = pytest.importorskip("griffe")  # with the extra `docs`
    code = (
        "import equinox as eqx\nfrom typing import ClassVar\n\n"
        "class Base(eqx.Module):\n    grid: int = eqx.field(static=True)\n    kind: ClassVar[str] = 'a'\n\n"
        "class Heat(Base):\n    dt: float = eqx.field(converter=float, default=0.1)\n"
        "    hidden: int = eqx.field(init=False)\n"
    )
    extensions = griffe.load_extensions(str(ROOT / "docs" / "scripts" / "signatures.py"))
    with griffe.temporary_visited_package("package", {"__init__.py": code}, extensions=extensions) as package:
        given = [(one.name, one.default and str(one.default)) for one in package["Heat"].parameters]
    assert given == [("self", None), ("grid", None), ("dt", "0.1")]
