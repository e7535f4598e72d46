# SPDX-License-Identifier: Apache-2.0
"""Markdown tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from akd_monai.errors import InputError

__all__ = ["Alignment", "markdown_table"]

Alignment = Literal["left", "right"]

_PAD = {"left": str.ljust, "right": str.rjust}


def markdown_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, align: Sequence[Alignment] | None = None
) -> str:
    r"""Return a Markdown table without a final line break.

    A ``|`` inside a cell is escaped, a line break becomes a space.

    Args:
        header: titles of the columns.
        rows: cells, one for each column.
        align: side of each column; cells are then padded so that columns line up on a terminal too. By default cells
            stand as they are.

    Raises:
        InputError: if a row or ``align`` has another number of entries than the header.

    Example:
        >>> print(markdown_table(["class", "Dice"], [["prostate", "0.9"]]))
        | class | Dice |
        |---|---|
        | prostate | 0.9 |
        >>> print(markdown_table(["class", "Dice"], [["prostate", "0.9"]], align=["left", "right"]))
        | class    | Dice |
        |----------|-----:|
        | prostate |  0.9 |
    """
    lines = [list(map(_cell, line)) for line in (header, *rows)]
    for line in lines:
        _check_length("a row of the table", line, header)
    if align is None:
        rule = "---|" * len(header)
        return _joined(lines, f"|{rule}")
    _check_length("align", align, header)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = [
        [_PAD[side](cell, width) for side, cell, width in zip(align, line, widths, strict=True)] for line in lines
    ]
    rules = [_rule(side, width) for side, width in zip(align, widths, strict=True)]
    return _joined(padded, f"|{'|'.join(rules)}|")


def _cell(entry: str) -> str:
    return entry.replace("|", r"\|").replace("\n", " ")


def _check_length(what: str, entries: Sequence[str], header: Sequence[str]) -> None:
    if len(entries) != len(header):
        raise InputError(f"{what} must have {len(header)} entries, one for each column, got {len(entries)}.")


def _rule(side: Alignment, width: int) -> str:
    # one character for the space on either side of a cell
    return "-" * (width + 2) if side == "left" else "-" * (width + 1) + ":"


def _joined(lines: Sequence[Sequence[str]], rule: str) -> str:
    first, *others = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([first, rule, *others])
