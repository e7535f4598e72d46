# SPDX-License-Identifier: Apache-2.0
"""The Dice that arXiv 2404.02738 prints in its tables 2 to 4, by network, method, teacher and site."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from akd_monai.data import SITES

__all__ = [
    "PAPER",
    "PRINTED_BESIDE",
    "PRINTED_UNDER",
    "TABLE_3_NOTES",
    "PaperDice",
    "paper_dice",
    "printed_beside",
]

PAPER = "arXiv 2404.02738"
# the paper's S1 to S6, as the table of sites names them
_SITES = tuple(site.name for site in SITES)
_T1 = "deeplabv3plus"
_T2 = "unetplusplus"
_ALL = frozenset({"logits", "gram", "affinity"})
_WITHOUT: frozenset[str] = frozenset()

_TEACHERS = {
    _T1: (0.895, 0.886, 0.889, 0.874, 0.878, 0.885),
    _T2: (0.901, 0.893, 0.883, 0.880, 0.869, 0.871),
}
# a student, the terms it learned by, the teacher
_STUDENTS: dict[tuple[str, frozenset[str], str | None], tuple[float, ...]] = {
    ("enet", _WITHOUT, None): (0.714, 0.604, 0.539, 0.782, 0.701, 0.772),
    ("enet", _ALL, _T1): (0.810, 0.642, 0.734, 0.881, 0.796, 0.876),
    ("enet", _ALL, _T2): (0.808, 0.637, 0.684, 0.858, 0.894, 0.869),
    ("espnet", _WITHOUT, None): (0.703, 0.482, 0.573, 0.738, 0.745, 0.715),
    ("espnet", _ALL, _T1): (0.819, 0.563, 0.604, 0.826, 0.819, 0.832),
    ("espnet", _ALL, _T2): (0.837, 0.594, 0.643, 0.842, 0.836, 0.808),
    ("erfnet", _WITHOUT, None): (0.788, 0.720, 0.736, 0.760, 0.725, 0.694),
    ("erfnet", _ALL, _T1): (0.823, 0.751, 0.799, 0.869, 0.801, 0.861),
    ("erfnet", _ALL, _T2): (0.843, 0.746, 0.752, 0.892, 0.877, 0.852),
    ("enet", frozenset({"logits"}), _T1): (0.691, 0.571, 0.505, 0.741, 0.619, 0.721),
    ("enet", frozenset({"affinity"}), _T1): (0.700, 0.599, 0.648, 0.780, 0.691, 0.740),
    ("enet", frozenset({"gram"}), _T1): (0.698, 0.583, 0.630, 0.767, 0.690, 0.738),
    ("enet", frozenset({"gram", "logits"}), _T1): (0.763, 0.679, 0.659, 0.807, 0.769, 0.775),
    ("enet", frozenset({"affinity", "logits"}), _T1): (0.772, 0.691, 0.688, 0.810, 0.762, 0.798),
    ("enet", frozenset({"affinity", "gram"}), _T1): (0.781, 0.611, 0.709, 0.849, 0.781, 0.816),
}
# rows of other methods, which were run under protocols that the paper does not give
PRINTED_BESIDE: dict[str, tuple[float, ...]] = {
    "MSKD": (0.762, 0.643, 0.532, 0.809, 0.790, 0.658),
    "EMKD": (0.635, 0.524, 0.681, 0.696, 0.544, 0.711),
    "SAML": (0.896, 0.875, 0.843, 0.886, 0.873, 0.883),
    "DRDG": (0.709, 0.758, 0.665, 0.739, 0.857, 0.826),
}
# beside which of our rows they belong: those that learn from labels of the target, or those that see nothing of it
PRINTED_UNDER = {"MSKD": "cross_site", "EMKD": "cross_site", "SAML": "loso", "DRDG": "loso"}
TABLE_3_NOTES = (
    "Table 3 of the paper has all of these methods in one table. They solve two tasks: the students of a distillation learn "
    "from labelled cases of the target site, while SAML and DRDG are methods for a target of which nothing is seen in "
    "training. A row of one task says nothing about a row of the other.",
    "The printed numbers of SAML seem to be those of its own publication, cut after the third digit, at all sites but one: "
    "another network, inputs of three slices, and the other task. DRDG's protocol is not given.",
    "EMKD is printed with a mean of 0.632, below the 0.685 of ENet without any distillation. Whether that is the method or "
    "its setting cannot be told from one run without an interval.",
    "MSKD has no public code: mskd-style is our reading of its abstract. DRDG is not public either: disentangle is a "
    "baseline of our own. Neither is a result of the method whose row stands beside it.",
)


@dataclass(frozen=True)
class PaperDice:
    """What the paper prints for one cell.

    Attributes:
        dice: the printed value, one run without an interval.
        table: where it stands, such as ``"table 2"``.
    """

    dice: float
    table: str


def paper_dice(network: str, target: str, *, teacher: str | None = None, terms: Sequence[str] = ()) -> PaperDice | None:
    """Return the paper's Dice of a network at a site, or None where it prints none.

    Args:
        network: a student, or one of the two teachers.
        target: name of the site.
        teacher: of a distilled student.
        terms: that the student learned by; none for a student that learned alone, or a teacher.

    Example:
        >>> paper_dice("enet", "BMC", teacher="deeplabv3plus", terms=["logits", "affinity"])
        PaperDice(dice=0.691, table='table 4')
        >>> paper_dice("enet", "HK").dice, paper_dice("unetplusplus", "HK").dice, paper_dice("enet", "elsewhere")
        (0.772, 0.871, None)
    """
    if target not in _SITES:
        return None
    used = frozenset(terms)
    values: tuple[float, ...] | None = _TEACHERS.get(network) if not used else None
    if values is None:
        values = _STUDENTS.get((network, used, teacher if used else None))
    if values is None:
        return None
    is_of_table_4 = 0 < len(used) < len(_ALL)
    return PaperDice(values[_SITES.index(target)], "table 4" if is_of_table_4 else "table 2")


def printed_beside(method: str, targets: Sequence[str]) -> list[float | None]:
    """Return the Dice that the paper prints for another method at each target, None where it has no such site.

    Example:
        >>> printed_beside("SAML", ["HK", "elsewhere"])
        [0.883, None]
    """
    values = PRINTED_BESIDE[method]
    return [values[_SITES.index(target)] if target in _SITES else None for target in targets]
