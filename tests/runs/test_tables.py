"""Tables of results: no number is cut at any width, and what is kept on disk is what was shown."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.table import Table

from diffphys.runs import table_content, table_in_words, table_of


NUMBERS = st.floats().map(lambda value: f"{value:.17g}")
CELLS = st.lists(st.lists(NUMBERS, min_size=9, max_size=9), min_size=1, max_size=4)


def table_with(rows, caption=None):
    table = Table("arm", *(f"heading {n}" for n in range(9)), title="a title of several words", caption=caption)
    for number, row in enumerate(rows):
        table.add_row(f"arm-{number}", *row)
    return table


@settings(max_examples=15, deadline=None)
@given(CELLS, st.sampled_from([None, 20, 40, 80, 200, 1000]), st.booleans())
def test_no_number_is_cut_at_any_width(rows, width, ascii_only):
    text = table_in_words(table_with(rows, "It says more."), width, ascii_only=ascii_only)
    words = text.replace("│", " ").replace("|", " ").split()
    for number, row in enumerate(rows):
        assert f"arm-{number}" in words and all(cell in words for cell in row)
    if width is not None:
        assert max(map(len, text.splitlines())) <= max(width, 38)  # a heading with the longest number
    assert "It says more." in " ".join(text.split())
    assert not ascii_only or text.isascii()


@pytest.mark.parametrize("width", [None, 40])
def test_a_kept_table_is_the_same(width):
    table = Table("arm", title="wake [1]", caption="said below")
    table.add_column("error", justify="right")
    table.add_row("[bold]source", "0.1491")
    again = table_of(json.loads(json.dumps(table_content(table))))
    assert table_in_words(again, width) == table_in_words(table, width)
    assert "[bold]source" in table_in_words(again, width) and "wake [1]" in table_in_words(again, width)


def test_without_a_limit_a_row_is_one_line():
    lines = table_in_words(table_with([["0.123456789012345"] * 9])).splitlines()
    assert sum("0.123456789012345" in line for line in lines) == 1
