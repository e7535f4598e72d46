# SPDX-License-Identifier: Apache-2.0
"""Markdown tables, character for character."""

from __future__ import annotations

import pytest

from akd_monai.errors import InputError
from akd_monai.tables import markdown_table


def test_cells_stand_as_they_are_by_default():
    assert markdown_table(["a", "long title"], [["1", "2"], ["", "three"]]) == (
        "| a | long title |\n"
        "|---|---|\n"
        "| 1 | 2 |\n"
        "|  | three |"
    )  # fmt: skip


def test_aligned_columns_line_up():
    assert markdown_table(["name", "x"], [["a", "1"], ["longer", "22"]], align=["left", "right"]) == (
        "| name   |  x |\n"
        "|--------|---:|\n"
        "| a      |  1 |\n"
        "| longer | 22 |"
    )  # fmt: skip


def test_a_table_without_rows_has_title_and_rule():
    assert markdown_table(["a"], []) == "| a |\n|---|"


@pytest.mark.parametrize("align", [None, ["left", "left"]], ids=["plain", "aligned"])
def test_a_bar_or_a_line_break_in_a_cell_keeps_the_columns(align):
    assert r"| b\|c | d e |" in markdown_table(["a1234", "a23"], [["b|c", "d\ne"]], align=align).replace("  ", " ")


@pytest.mark.parametrize(
    ("rows", "align", "message"),
    [
        ([["1"]], None, "a row of the table must have 2 entries, one for each column, got 1"),
        ([["1", "2", "3"]], ["left", "right"], "a row of the table must have 2 entries, one for each column, got 3"),
        ([["1", "2"]], ["left"], "align must have 2 entries, one for each column, got 1"),
    ],
)
def test_rows_of_another_length_are_refused(rows, align, message):
    with pytest.raises(InputError, match=message):
        markdown_table(["a", "b"], rows, align=align)
