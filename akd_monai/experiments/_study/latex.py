# SPDX-License-Identifier: Apache-2.0
"""Tables in LaTeX, with the rules of booktabs."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["latex_cell", "latex_string", "latex_table"]

_ESCAPED = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "−": "$-$",
    "×": r"$\times$",
}


def latex_string(words: str) -> str:
    r"""Return words with all that LaTeX would read as a command escaped.

    Example:
        >>> print(latex_string("enet_x & 50 %"))
        enet\_x \& 50 \%
    """
    return "".join(_ESCAPED.get(character, character) for character in words)


def latex_cell(parts: Sequence[str], *, is_bold: bool = False) -> str:
    r"""Return a figure with what belongs to it stacked below it, smaller.

    Example:
        >>> print(latex_cell(["0.5", "[0.4, 0.6]"], is_bold=True))
        \shortstack{\textbf{0.5}\\{\scriptsize [0.4, 0.6]}}
        >>> print(latex_cell(["0.5"]))
        0.5
    """
    if not parts:
        return ""
    first, *below = map(latex_string, parts)
    figure = rf"\textbf{{{first}}}" if is_bold else first
    lines = [figure, *(rf"{{\scriptsize {part}}}" for part in below)]
    # a line that starts with a bracket would be read as the option of the line break, hence the braces
    stacked = r"\\".join(lines)
    return rf"\shortstack{{{stacked}}}" if below else figure


def latex_table(
    caption: str, label: str, header: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str]
) -> str:
    """Return a table that needs the package booktabs.

    Args:
        caption: plain words, which are escaped here.
        label: after ``tab:``.
        header: plain titles of the columns, the first for the rows.
        rows: cells in LaTeX, a list of their own for each row; an empty list is a rule between rows.
        notes: plain sentences below the table.
    """
    titles = " & ".join(map(latex_string, header))
    body = [" & ".join(row) + r" \\" if row else r"\midrule" for row in rows]
    below = [rf"\par\footnotesize {latex_string(note)}" for note in notes]
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table}",
        r"\centering\footnotesize",
        rf"\caption{{{latex_string(caption)}}}",
        rf"\label{{tab:{label}}}",
        rf"\begin{{tabular}}{{l{'c' * (len(header) - 1)}}}",
        r"\toprule",
        rf"{titles} \\",
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
        *below,
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"
