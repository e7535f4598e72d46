# SPDX-License-Identifier: Apache-2.0
"""What a compression has found, in sentences: what is lost and gained, and whether the teacher helped."""

from __future__ import annotations

from collections.abc import Sequence

from akd_monai.experiments._comparison import MIN_PAIRS
from akd_monai.experiments._compress.found import Found, FoundRow, control_of
from akd_monai.experiments._tables import interval, number
from akd_monai.experiments.statistics import PairedDifference

__all__ = ["choice_rule", "chosen_row", "distillation_sentences", "exchange_sentence"]

_DIGITS = 3


def chosen_row(found: Found) -> FoundRow:
    """Return the student that is recommended: the best by validation where all trainings say it, else by the test."""
    if _has_validation(found):
        return max(found.students, key=lambda row: (row.validation, -row.cpu_seconds))
    return max(found.students, key=lambda row: (row.dice, -row.cpu_seconds))


def choice_rule(found: Found) -> str:
    """Say how the recommended student was chosen."""
    if _has_validation(found):
        return "It was chosen by validation cases; no test case had a part in it."
    return (
        "It was chosen by the cases on which it is tested, for no training names a validation: its score is too good."
    )


def _has_validation(found: Found) -> bool:
    return all(row.validation is not None for row in found.students)


def exchange_sentence(found: Found) -> str:
    """Return the one sentence that says what is lost and what is gained.

    Times and sizes are ratios of what was measured in one run.
    """
    row = chosen_row(found)
    teacher = found.teacher
    gained = (
        f"{row.label}, takes {number(row.cpu_seconds, _DIGITS)} CPU seconds a volume where the teacher takes "
        f"{number(teacher.cpu_seconds, _DIGITS)} ({_times(teacher.cpu_seconds, row.cpu_seconds)}), is a file of "
        f"{number(row.megabytes, 1)} MB instead of {number(teacher.megabytes, 1)} MB "
        f"({_times(teacher.megabytes, row.megabytes)})"
    )
    difference = row.gain(teacher)
    verb = "loses" if difference < 0 else "gains"
    cases = row.minus(teacher)
    return f"{gained}, and {verb} {number(abs(difference), _DIGITS)} {row.metric} against it{_interval(cases)}."


def _times(large: float, small: float) -> str:
    ratio = large / small if small else float("nan")
    return f"{number(ratio, 1)} times less" if ratio >= 1 else f"{number(1 / ratio, 1)} times more"


def _interval(difference: PairedDifference | None) -> str:
    if difference is None:
        return ""
    given = interval(difference.low, difference.high, _DIGITS, signed=True)
    return f" (95 % over {difference.n} cases: {given})" if given else f" ({difference.n} cases)"


def distillation_sentences(found: Found) -> list[dict[str, str]]:
    """Return for each student whether distillation helped it, beside the same student without a teacher."""
    sentences = []
    for row in found.students:
        control = control_of(row, found.rows)
        if control is not None:
            sentences.append(_compared(row, control, found.students))
    return sentences


def _compared(row: FoundRow, control: FoundRow, rows: Sequence[FoundRow]) -> dict[str, str]:
    difference = row.minus(control)
    change = row.gain(control)
    said = f"{number(change, _DIGITS, signed=True)} {row.metric} against {control.label}{_interval(difference)}"
    alone = next(one for one in rows if one.network == row.network and one.how == "alone")
    if alone is not control:
        said += f"; {number(row.gain(alone), _DIGITS, signed=True)} against {alone.label}"
    kind, headline = _outcome(difference, row.network)
    return {"kind": kind, "headline": headline, "sentence": f"{said}."}


def _outcome(difference: PairedDifference | None, network: str) -> tuple[str, str]:
    if difference is None:
        return "few", f"{network}: no difference can be shown from means alone"
    if difference.n < MIN_PAIRS or difference.low is None or difference.high is None:
        return "few", f"{network}: too few cases to tell"
    if difference.low > 0:
        return "helped", f"{network}: distillation helped on these cases"
    if difference.high < 0:
        return "hurt", f"{network}: distillation hurt on these cases"
    return "none", f"{network}: no difference shown"
