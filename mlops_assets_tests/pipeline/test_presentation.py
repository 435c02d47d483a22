"""What is shown of data cannot become markup, however the data was made."""

from __future__ import annotations

import pytest

from mlops_assets.pipeline.presentation import cell, code_block, table


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("<script>alert(1)</script>", "&lt;script&gt;alert\\(1\\)&lt;/script&gt;"),
        ("a | b", "a \\| b"),
        ("![x](http://evil)", "\\!\\[x\\]\\(http\\://evil\\)"),
        ("one\ntwo\r\nthree\x1b[31m", "one two three \\[31m"),
        ("`code`", "\\`code\\`"),
        ("right\u202eleft", "right left"),
        (None, ""),
        (1.5, "1.5"),
    ],
)
def test_a_cell_is_one_line_of_text_without_markup(value, shown):
    assert cell(value) == shown


def test_a_long_value_is_cut():
    assert cell("x" * 500, width=10) == "x" * 10 + "…"


def test_a_table_has_a_line_per_row_and_escaped_headings():
    lines = str(table([{"a|b": 1}, {"a|b": "x\ny"}], ["a|b"]).value).splitlines()
    assert lines == ["| a\\|b |", "| --- |", "| 1 |", "| x y |"]


def test_code_cannot_close_its_own_fence():
    text = str(code_block("SELECT 1 -- ```\n# heading", "sql").value)
    assert text.startswith("````sql\n")
    assert text.endswith("\n````")
