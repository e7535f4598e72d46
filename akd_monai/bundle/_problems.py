# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a bundle, as a phrase with its severity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

__all__ = ["Problem", "ProblemSeverity", "by_severity"]

ProblemSeverity = Literal["error", "warning", "note"]


class Problem(str):
    """One phrase about a bundle, with how serious it is.

    Args:
        phrase: what is wrong, and where.
        severity: ``"error"``: the bundle, or the config concerned, would not run; ``"warning"``: it is probably wrong, or
            the Model Zoo would not accept it; ``"note"``: it is unusual.

    Attributes:
        severity: as given.

    Example:
        >>> problem = Problem("LICENSE is missing", "warning")
        >>> problem, problem.severity
        ('LICENSE is missing', 'warning')
    """

    severity: ProblemSeverity

    def __new__(cls, phrase: str, severity: ProblemSeverity = "error") -> Problem:
        """Return the phrase with its severity."""
        problem = super().__new__(cls, phrase)
        problem.severity = severity
        return problem


def by_severity(problems: Sequence[Problem]) -> list[Problem]:
    """Return problems with the most serious first, those of one severity in their order.

    Example:
        >>> by_severity([Problem("b", "note"), Problem("a", "error"), Problem("c", "warning")])
        ['a', 'c', 'b']
    """
    return sorted(problems, key=lambda problem: get_args(ProblemSeverity).index(problem.severity))
