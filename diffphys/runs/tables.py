"""Tables of results: printed so that no number is ever cut, and kept on disk so that a finished run shows its own."""

import sys
import textwrap
from collections.abc import Mapping
from io import StringIO
from typing import Any

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table


NARROWEST = 20  # columns of a terminal below which lines get too short to read


def table_in_words(table: Table, width: int | None = None, *, ascii_only: bool = False) -> str:
    """A table as text: as wide as its cells need or, where that is more than `width`, row after row as a list.

    Args:
        table: A Rich table whose cells are texts.
        width: Columns of the terminal; None where nothing limits them, as in a file or a pipe.
        ascii_only: Whether lines are drawn with ASCII characters.
    """
    file = _Ascii() if ascii_only else StringIO()
    console = Console(file=file, width=10_000, color_system=None, markup=False, highlight=False)
    needed = Measurement.get(console, console.options, table).maximum
    console.width = max(needed, len(str(table.title or "")))
    if width is not None and console.width > width:
        return _rows_in_words(table, max(width, NARROWEST))
    caption, table.caption = table.caption, None  # Rich would break it at the table's width
    try:
        console.print(table)
    finally:
        table.caption = caption
    lines = [line.rstrip() for line in file.getvalue().splitlines()]
    return "\n".join(lines + textwrap.wrap(str(caption or ""), width or max(console.width, 80)))


def table_content(table: Table) -> dict[str, Any]:
    """A table as what JSON can hold; `table_of` makes it again."""
    columns = [{"heading": str(column.header), "justify": column.justify} for column in table.columns]
    rows = zip(*(map(str, column.cells) for column in table.columns), strict=True)
    texts = {name: str(getattr(table, name) or "") for name in ("title", "caption")}
    return {**texts, "columns": columns, "rows": [list(row) for row in rows]}


def table_of(content: Mapping[str, Any]) -> Table:
    """The table that `table_content` wrote down."""
    table = Table(title=content["title"] or None, caption=content["caption"] or None)
    for column in content["columns"]:
        table.add_column(column["heading"], justify=column["justify"])
    for row in content["rows"]:
        table.add_row(*row)
    return table


def terminal_width() -> int | None:
    """Columns of the terminal that standard output is, or None where it is a pipe or a file."""
    return Console().width if sys.stdout.isatty() else None


def _rows_in_words(table: Table, width: int) -> str:
    """Every row as a paragraph: its first cell, then a line for each other cell that is not empty."""
    lines = textwrap.wrap(str(table.title or ""), width)
    first, *others = table_content(table)["columns"]
    for row in table_content(table)["rows"]:
        lines += ["", *_wrapped(row[0] or first["heading"], width, "")]
        for column, cell in zip(others, row[1:], strict=True):
            if cell:
                lines += _wrapped(f"{column['heading']}: {cell}" if column["heading"] else cell, width, "  ")
    if table.caption:
        lines += ["", *textwrap.wrap(str(table.caption), width)]
    return "\n".join(lines)


def _wrapped(text: str, width: int, indent: str) -> list[str]:
    # Words are never broken: a number in two pieces would be two numbers.
    options: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}
    return textwrap.wrap(text, width, initial_indent=indent, subsequent_indent=indent + "  ", **options)


class _Ascii(StringIO):
    """Text of which Rich is told that it holds only ASCII characters."""

    encoding = "ascii"  # pyright: ignore[reportAssignmentType]
