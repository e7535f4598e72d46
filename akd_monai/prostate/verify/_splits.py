# SPDX-License-Identifier: Apache-2.0
"""Read splits in the two forms that this package and MONAI write."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from akd_monai.errors import InputError
from akd_monai.files import read_json
from akd_monai.names import case_name

__all__ = ["read_splits"]

_EXPECTED = "expected {'splits': [{'cases': {case: part}}]} or a MONAI datalist"
_REMEDY = "give the JSON file of the splits"

# Name of the part, by case.
Parts = dict[str, str]


def read_splits(path: Path) -> list[Parts]:
    """Return the part of each case (``SITE/CaseNN``) for every split in a JSON file.

    Understood are ``{"splits": [{"cases": {case: part}}]}``, as :func:`akd_monai.data.write_splits` writes, and
    datalists ``{"training": [{"case_id": ...} or {"image": ...}], ...}``.

    Raises:
        InputError: for a file that is missing or of another form, or a case in two parts of a datalist.
    """
    content = read_json(path, remedy=_REMEDY)
    try:
        splits = _case_tables(content["splits"]) if "splits" in content else [_datalist(content)]
    except (KeyError, TypeError, AttributeError):
        splits = []
    if not any(splits):
        raise InputError(f"holds no splits, {_EXPECTED}", where=str(path), remedy=_REMEDY)
    return splits


def _case_tables(splits: Any) -> list[Parts]:
    return [{str(case): str(part) for case, part in split["cases"].items()} for split in splits]


def _datalist(content: Mapping[str, Any]) -> Parts:
    parts: Parts = {}
    for part, entries in content.items():
        for entry in entries if isinstance(entries, list) else []:
            case = _case_of(entry)
            if parts.setdefault(case, part) != part:
                raise InputError(
                    f"{case} is in the parts {parts[case]!r} and {part!r} of a split; keep each case in one part."
                )
    return parts


def _case_of(entry: Any) -> str:
    named = {"image": entry} if isinstance(entry, str) else entry
    name = case_name(named, fallback="")
    if not name:
        raise KeyError("image")
    return name
