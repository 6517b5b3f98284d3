"""Lines of docstrings, comments, messages and pages are broken where they are full, or a sentence or a clause ends."""

import ast
import io
import re
import tokenize
from pathlib import Path

import pytest


ROOT = Path(__file__).parent.parent
FILES = sorted(path for room in ("diffphys", "tests") for path in (ROOT / room).rglob("*.py"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
# Lines have up to 120 characters: one that has room for the next word and five more was broken by accident.
WIDTH = 115
ENDS = re.compile(r"[.:;!?,)|\\$`}\]]$")
CLAUSE = re.compile(r"""[.:;!?,)]\s?["']$""")
BEGINS = re.compile(r"[-*|#>`$\\\d(]|Args:|Returns:|Raises:")
CODE = re.compile(r"[=<]|::|^\s*(@|from |import |class |def |diffphys |python )")


def broken_early(lines: list[str]) -> list[str]:
    """Lines that a full stop does not end, and that have room for the first word of the next one."""
    found = []
    for line, following in zip(lines, lines[1:], strict=False):
        text, word = line.strip(), following.split()[:1]
        if not text or not word or CODE.search(line) or CODE.search(following):
            continue
        indented_less = len(following) - len(following.lstrip()) < len(line) - len(line.lstrip())
        is_other = text.startswith(("|", "#", "$", ">>>")) or "   " in text  # a table, a heading, a formula, an example
        if indented_less or is_other or ENDS.search(text) or BEGINS.match(following.strip()):
            continue
        if len(line.rstrip()) + 1 + len(word[0]) <= WIDTH:
            found.append(text)
    return found


def docstrings(tree: ast.AST) -> list[ast.Expr]:
    nodes = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    first = [node.body[0] for node in ast.walk(tree) if isinstance(node, nodes) and node.body]
    return [one for one in first if isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant)]


def comments(text: str) -> list[list[str]]:
    """Blocks of whole lines of comment."""
    blocks: list[list[str]] = [[]]
    for line in text.splitlines():
        if line.strip().startswith("# "):
            blocks[-1].append(line.replace("# ", "  ", 1))
        elif blocks[-1]:
            blocks.append([])
    return [block for block in blocks if block]


def messages(text: str) -> list[str]:
    """Pieces of a text written over several lines, where the first one has room for a word of the next."""
    kinds = {tokenize.STRING, getattr(tokenize, "FSTRING_START", -1)}
    ends = {tokenize.STRING, getattr(tokenize, "FSTRING_END", -1)}
    tokens = [t for t in tokenize.generate_tokens(io.StringIO(text).readline) if t.type != tokenize.NL]
    found = []
    for one, other in zip(tokens, tokens[1:], strict=False):
        if one.type in ends and other.type in kinds and other.start[0] == one.end[0] + 1:
            line, following = one.line.rstrip("\n").splitlines()[-1], other.line.splitlines()[0]
            word = re.sub(r'^\s*[rf]*"', "", following).split(" ")[0]
            is_clause = CLAUSE.search(line) or word.startswith("(")
            if len(line) + len(word) <= WIDTH and "\\n" not in line and not is_clause:
                found.append(line.strip())
    return found


def prose(page: str) -> list[str]:
    """The lines of a page, without programs and formulas, and with a link or a code span as one word."""
    blocks = re.compile(r"^ *```.*?^ *```|\$\$.*?\$\$|\A---\n.*?^---$", re.MULTILINE | re.DOTALL)
    text = blocks.sub(lambda block: "\n" * block[0].count("\n"), page)
    return re.sub(r"\[[^\]\n]*\]\([^)\n]*\)|`[^`\n]*`", lambda one: one[0].replace(" ", "_"), text).split("\n")


def test_no_line_of_a_page_is_broken_early():
    found = [(page.name, line) for page in PAGES for line in broken_early(prose(page.read_text(encoding="utf-8")))]
    assert not found


def test_a_line_of_a_page_that_is_broken_early_is_seen():
    assert broken_early(prose("---\nhide: all\n---\nA line\nthat goes on.\n")) == ["A line"]
    long = "x" * 100
    assert not broken_early(prose(f"```bash\na b\nc d\n```\n{long} see\n[a page of its own](own.md) about it.\n"))


def test_no_line_is_broken_early():
    found = []
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        lines = text.split("\n")
        for docstring in docstrings(ast.parse(text)):
            block = lines[docstring.lineno - 1 : docstring.end_lineno]
            block[0], block[-1] = re.sub(r'r?"""', "   ", block[0]), block[-1].replace('"""', "")
            found += [(path.name, line) for line in broken_early(block)]
        for block in comments(text):
            found += [(path.name, line) for line in broken_early(block)]
        if path.is_relative_to(ROOT / "diffphys"):  # texts in tests may be data
            found += [(path.name, line) for line in messages(text)]
    assert not found


@pytest.mark.parametrize(
    "text",
    ['"""One line that ends too\nearly."""\n', "x = 1\n# A comment that\n# ends early.\n"],
    ids=["docstring", "comment"],
)
def test_a_line_that_is_broken_early_is_seen(text):
    blocks = comments(text) or [text.replace('"""', "").splitlines()]
    assert any(map(broken_early, blocks))


def test_a_message_that_is_broken_early_is_seen():
    assert messages('raise ValueError(\n    "a sentence "\n    "of two halves"\n)\n')


ENTRY = re.compile(r"^ +\w+(?:, \w+)*: (.*)$")
# A symbol of the formula keeps its case: "depth: h, from the bottom to the surface."
SYMBOL = re.compile(r"(eta|beta|lambda|nu|omega|epsilon|chi|kappa|[b-z]|[a-z]\*|a(?=,| and))([,.; ]|$)")


def entries(docstring: str) -> list[str]:
    """What `Args:` and `Attributes:` say of each name, without its continuation lines."""
    found, inside = [], None
    for line in docstring.splitlines():
        indent = len(line) - len(line.lstrip())
        if re.fullmatch(r" *(Args|Attributes):", line):
            inside = indent
        elif inside is not None and line.strip() and indent <= inside:
            inside = None
        elif inside is not None and indent == inside + 4 and (entry := ENTRY.match(line)):
            found.append(entry[1])
    return found


def begins_small(entry: str) -> bool:
    return entry[:1].islower() and not SYMBOL.match(entry)


def split_spans(docstring: str) -> list[str]:
    """Lines on which a code span begins that ends on the next one."""
    return [line.strip() for line in docstring.splitlines() if "```" not in line and line.count("`") % 2]


def test_entries_begin_with_a_capital_and_code_spans_stand_on_one_line():
    small, split = [], []
    for path in FILES:
        if path.is_relative_to(ROOT / "diffphys"):
            for docstring in docstrings(ast.parse(path.read_text(encoding="utf-8"))):
                text = docstring.value.value  # pyright: ignore[reportAttributeAccessIssue]
                small += [(path.name, entry) for entry in entries(text) if begins_small(entry)]
                split += [(path.name, line) for line in split_spans(text)]
    assert not small and not split, (small, split)


def test_a_small_letter_and_a_split_span_are_seen():
    text = "What.\n\nArgs:\n    depth: h, the depth.\n    steps: how many.\n    other: As `x +\n        1`.\n"
    assert [begins_small(entry) for entry in entries(text)] == [False, True, False]
    assert split_spans(text) == ["other: As `x +", "1`."]
