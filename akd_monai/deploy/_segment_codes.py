# SPDX-License-Identifier: Apache-2.0
"""What a class is in the codes of SNOMED CT, as DICOM wants it; a class without a code is refused."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from akd_monai.errors import InputError, check_mapping
from akd_monai.files import read_json

__all__ = ["KNOWN_CODES", "Code", "SegmentCode", "codes_of"]


@dataclass(frozen=True)
class Code:
    """A coded concept.

    Args:
        value: such as ``"41216001"``.
        scheme: ``"SCT"`` for SNOMED CT.
        meaning: in words.
    """

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True)
class SegmentCode:
    """What a segment shows: its category, and its type within that."""

    category: Code
    type: Code


_ANATOMY = Code("91723000", "SCT", "Anatomical Structure")
_ALTERED = Code("49755003", "SCT", "Morphologically Abnormal Structure")
_ANATOMICAL = {
    "prostate": ("41216001", "Prostate"),
    "peripheral zone": ("279706003", "Peripheral zone of the prostate"),
    "transition zone": ("399384005", "Transition zone of the prostate"),
    "seminal vesicle": ("64739004", "Seminal Vesicle"),
    "bladder": ("89837001", "Bladder"),
    "rectum": ("34402009", "Rectum"),
    "uterus": ("35039007", "Uterus"),
    "liver": ("10200004", "Liver"),
    "spleen": ("78961009", "Spleen"),
    "pancreas": ("15776009", "Pancreas"),
    "kidney": ("64033007", "Kidney"),
    "gallbladder": ("28231008", "Gallbladder"),
    "stomach": ("69695003", "Stomach"),
    "colon": ("71854001", "Colon"),
    "esophagus": ("32849002", "Esophagus"),
    "heart": ("80891009", "Heart"),
    "left ventricle": ("87878005", "Left ventricle"),
    "right ventricle": ("53085002", "Right ventricle"),
    "aorta": ("15825003", "Aorta"),
    "lung": ("39607008", "Lung"),
    "brain": ("12738006", "Brain"),
}
_OTHER = {"lesion": ("52988006", "Lesion"), "tumor": ("108369006", "Neoplasm")}
KNOWN_CODES: dict[str, SegmentCode] = {
    **{name: SegmentCode(_ANATOMY, Code(value, "SCT", words)) for name, (value, words) in _ANATOMICAL.items()},
    **{name: SegmentCode(_ALTERED, Code(value, "SCT", words)) for name, (value, words) in _OTHER.items()},
}
_SYNONYMS = {
    "prostate gland": "prostate",
    "gland": "prostate",
    "transitional zone": "transition zone",
    "urinary bladder": "bladder",
    "oesophagus": "esophagus",
    "tumour": "tumor",
}
_EXAMPLE = (
    '{"NAME": {"category": ["91723000", "SCT", "Anatomical Structure"], "type": ["41216001", "SCT", "Prostate"]}}'
)


def codes_of(labels: Mapping[int, str], file: str | os.PathLike[str] | None = None) -> dict[int, SegmentCode]:
    """Return the code of each class.

    Args:
        labels: names of the classes by their numbers.
        file: a JSON file with codes by the names of classes, which come before those that are known here.

    Raises:
        InputError: for a class without a code, or a file of another form.
    """
    own = {} if file is None else _read(file)
    # a name in other letters is still that class; the very name comes first
    known = {**KNOWN_CODES, **{_key(name): code for name, code in own.items()}}
    missing = [name for name in labels.values() if name not in own and _key(name) not in known]
    if missing:
        what = f"no code of SNOMED CT is known for {_quoted(missing)}, and a DICOM SEG needs one for each class"
        remedy = f"give --segment_codes FILE.json with {_EXAMPLE.replace('NAME', missing[0])}"
        raise InputError(what, remedy=remedy, code="no-segment-code")
    return {number: own.get(name) or known[_key(name)] for number, name in labels.items()}


def _key(name: str) -> str:
    words = re.sub(r"[\W_]+", " ", name).strip().lower()
    return _SYNONYMS.get(words, words)


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))


def _read(file: str | os.PathLike[str]) -> dict[str, SegmentCode]:
    content = read_json(file, remedy=f"such as {_EXAMPLE}")
    return {str(name): _segment_code(str(name), entry, file) for name, entry in content.items()}


def _segment_code(name: str, entry: Any, file: str | os.PathLike[str]) -> SegmentCode:
    fields = check_mapping(f"{name!r} of {os.fspath(file)}", entry, ("category", "type"))
    category = _code(fields.get("category"), f"category of {name!r}", file)
    return SegmentCode(category, _code(fields.get("type"), f"type of {name!r}", file))


def _code(given: Any, what: str, file: str | os.PathLike[str]) -> Code:
    if not isinstance(given, list) or len(given) != 3 or not all(isinstance(part, str) and part for part in given):
        message = f"{what} must be a list of code, scheme and meaning, got {given!r}"
        raise InputError(message, where=str(file), remedy=f"such as {_EXAMPLE}", code="no-segment-code")
    return Code(*given)
