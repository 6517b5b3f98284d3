"""README and docs show only code that runs and commands that exist."""

import re
import shlex
import sys
import types
from pathlib import Path
from typing import Any

import jax
import pytest


ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
FENCE = re.compile(
    r"^(?P<indent>[ ]*)```[ ]*(?P<language>\w+)[^\n]*\n(?P<body>.*?)^(?P=indent)```[ ]*$", re.MULTILINE | re.DOTALL
)


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def fenced_blocks(text: str, *languages: str) -> list[tuple[int, str]]:
    """The blocks of these languages, each with the number of lines before its first."""
    blocks = []
    for match in FENCE.finditer(text):
        if match["language"] in languages:
            lines_before = text.count("\n", 0, match.start("body"))
            blocks.append((lines_before, re.sub(f"^{match['indent']}", "", match["body"], flags=re.MULTILINE)))
    return blocks


def page_as_module(text: str) -> str:
    """All Python of a page, every line at its own line number, so that a traceback points into the page."""
    lines = [""] * (text.count("\n") + 1)
    for lines_before, body in fenced_blocks(text, "python", "py"):
        for offset, line in enumerate(body.splitlines()):
            lines[lines_before + offset] = line
    return "\n".join(lines)


def shown_commands(text: str) -> list[list[str]]:
    """The `diffphys` and `make` commands in the shell blocks of a page, as lists of words."""
    commands = []
    for _, body in fenced_blocks(text, "bash", "sh", "shell", "console"):
        for line in body.replace("\\\n", " ").splitlines():
            for part in re.split(r"&&|;|\|", line.strip().removeprefix("$ ")):
                words = shlex.split(part, comments=True)
                if words and Path(words[0]).name in ("diffphys", "make"):
                    commands.append([Path(words[0]).name, *words[1:]])
    return commands


def check_make_command(words: list[str]) -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    unknown = [word for word in words if "=" not in word and word not in targets]
    assert not unknown, f"the Makefile has no target {unknown}"


def check_diffphys_command(words: list[str]) -> None:
    """Parse the words as the command line would, with the names of experiment, preset and settings, and run nothing."""
    from typer.core import TyperGroup
    from typer.main import get_command

    from diffphys.cli import CATALOGS, app  # pyright: ignore[reportMissingImports]

    group = get_command(app)
    assert isinstance(group, TyperGroup)
    assert words and words[0] in group.commands, f"diffphys has no command {words[:1]}"
    if words[1:] and words[-1] == "--help":  # asked for, it ends the process: only the names before it are looked up
        words = words[:-1]
    given = group.commands[words[0]].make_context(words[0], words[1:]).params
    for catalog in CATALOGS.values():
        if words[0] == catalog.command and given["name"]:
            catalog.load(given["name"]).choose(given["preset"], given["set_"] or [])


@pytest.mark.parametrize("page", [page for page in PAGES if page_as_module(page.read_text()).strip()], ids=name_of)
def test_python_on_the_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # Classes look their module up by name, for example dataclasses whose annotations are strings.
    module = types.ModuleType("page_" + re.sub(r"\W", "_", name_of(page)))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    code = compile(page_as_module(page.read_text()), str(page), "exec")
    with jax.enable_x64(False):
        exec(code, module.__dict__)


TOOL = re.compile(r"(?<![\w./`-])((?:dp|diffphys)(?:\.[a-zA-Z_]\w*)+)")
TEST_OR_FILE = re.compile(r"`((?:diffphys|tests|docs)/[\w/.-]+)`")


def test_names_and_files_in_the_text_of_a_page_exist():
    """What stands between backticks in the prose; a system that a page adds is not there yet."""
    import diffphys

    missing = []
    for page in PAGES:
        text = FENCE.sub("", page.read_text())
        for name in sorted({name for code in re.findall(r"`([^`\n]+)`", text) for name in TOOL.findall(code)}):
            place: Any = diffphys
            try:
                for part in name.split(".")[1:]:
                    place = getattr(place, part)
            except AttributeError:
                is_file = name.split(".")[-1] in ("py", "pyproject") or (ROOT / name.replace(".", "/")).exists()
                missing += [] if is_file else [(name_of(page), name)]
        paths = [path for path in TEST_OR_FILE.findall(text) if "fisher" not in path]
        missing += [(name_of(page), path) for path in paths if not (ROOT / path).exists()]
    assert not missing


@pytest.mark.parametrize("page", [page for page in PAGES if shown_commands(page.read_text())], ids=name_of)
def test_commands_on_the_page_exist(page):
    for program, *words in shown_commands(page.read_text()):
        if program == "make":
            check_make_command(words)
        else:
            check_diffphys_command(words)


def test_blocks_keep_their_line_numbers():
    page = "# Title\n\n```python\na = 1\n```\n\n- item\n\n    ```py title='b'\n    b = a\n    ```\n```bash\nmake\n```\n"
    lines = page_as_module(page).split("\n")
    assert lines[3] == "a = 1"
    assert lines[9] == "b = a"
    assert len([line for line in lines if line]) == 2


def test_commands_are_found():
    page = "```bash\ncd here && make test  # everything\n.venv/bin/diffphys run wake \\\n  --seed 3\nls\n```\n"
    assert shown_commands(page) == [["make", "test"], ["diffphys", "run", "wake", "--seed", "3"]]


def test_an_unknown_target_is_refused():
    with pytest.raises(AssertionError, match="no target"):
        check_make_command(["demoo"])
