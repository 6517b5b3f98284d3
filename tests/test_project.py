"""The files around the package agree with each other and with the package."""

import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

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


def test_every_room_has_a_page_in_the_api_reference():
    settings = (ROOT / "mkdocs.yml").read_text()
    drafts = set(re.findall(r"^  /api/(\w+)\.md$", settings, re.MULTILINE))
    for room in sorted(rooms()):
        page = ROOT / "docs" / "api" / f"{room}.md"
        assert page.exists() and f"::: diffphys.{room}" in page.read_text(), f"docs/api/{room}.md is missing"
        assert f"api/{room}.md\n" in settings, f"mkdocs.yml does not list api/{room}.md in nav"
        assert room not in drafts, f"diffphys.{room} stands: take its page from draft_docs in mkdocs.yml"


def test_the_typing_marker_is_installed():
    import diffphys

    assert (Path(diffphys.__file__).parent / "py.typed").exists()


def test_the_function_rollout_is_not_hidden_by_its_module():
    """Importing training imports the module `diffphys.rollout`, which must not take the function's place."""
    program = "import diffphys as dp; dp.train; dp.Checkpointed; dp.rollout(lambda state: state, 0.0, 1)"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
