# SPDX-License-Identifier: Apache-2.0
"""Checks across cases: one scan twice, one patient in two places, masks turned over in a whole site, known overlaps."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from akd_monai.errors import InputError
from akd_monai.prostate.verify.case import FLIP_WORDS, CaseCheck
from akd_monai.prostate.verify.report import ERROR, WARNING, Finding
from akd_monai.prostate.verify.thumbnails import alike

# Patients of Prostate-3T also occur in these collections, so none of them is an unseen site for the others.
_RADBOUD = {
    "Prostate-3T (RUNMC)": r"runmc",
    "PROSTATEx": r"prostate-?x",
    "PI-CAI": r"pi-?cai",
    "MSD Task05": r"msd|task05|decathlon",
    "PROMISE12, cases of no known site": r"promise12_(?:other|test)",
}
# No single case may decide for its site, so its evidence counts up to a limit.
_SITE_EVIDENCE, _SITE_CASES, _CASE_LIMIT = -1.2, 3, 4.0


def duplicates(
    checks: Sequence[CaseCheck], patients: Mapping[str, str], parts: Sequence[Mapping[str, str]]
) -> list[Finding]:
    """Report two cases that show one scan: equal voxels, or thumbnails that correlate by more than 0.98, also mirrored.

    Two scans that the manifest gives to one patient of one site are allowed, unless a split puts them apart; the same
    voxels are not.
    """
    seen = [check for check in checks if check.thumbnail is not None]
    pairs = alike([check.thumbnail for check in seen if check.thumbnail is not None])
    found = {(i, j): f"look the same (correlation {r:.3f})" for i, j, r in pairs}
    by_voxels: dict[str, int] = {}
    for j, check in enumerate(seen):
        i = by_voxels.setdefault(check.voxels, j)
        if i != j:
            found[i, j] = "hold the same voxels"
    findings = []
    for (i, j), words in sorted(found.items()):
        first, second = seen[i], seen[j]
        same_patient = patients.get(first.case) is not None and patients.get(first.case) == patients.get(second.case)
        if (
            same_patient
            and first.site == second.site
            and "look" in words
            and not _apart(first.case, second.case, parts)
        ):
            continue
        places = " of different sites" if first.site != second.site else ""
        places += " in different parts of a split" if _apart(first.case, second.case, parts) else ""
        message = f"{first.case} and {second.case}{places} {words}: one scan counts twice"
        remedy = "remove one of the two, or keep both on one side of every split"
        findings.append(Finding(second.case, "", "duplicate", ERROR, message, remedy))
    return findings


def _apart(first: str, second: str, parts: Sequence[Mapping[str, str]]) -> bool:
    return any(p.get(first) is not None and p.get(second) is not None and p[first] != p[second] for p in parts)


def patients_in_two_places(
    checks: Sequence[CaseCheck], patients: Mapping[str, str], parts: Sequence[Mapping[str, str]]
) -> list[Finding]:
    """Report patients of the manifest whose cases lie in several sites, or in several parts of one split."""
    cases: dict[str, list[CaseCheck]] = {}
    for check in checks:
        if check.case in patients:
            cases.setdefault(patients[check.case], []).append(check)
    findings = []
    for group in (group for group in cases.values() if len(group) > 1):
        names = ", ".join(check.case for check in group)
        if len({check.site for check in group}) > 1:
            message = f"one patient in several sites: {names}"
            findings.append(
                Finding(group[-1].case, "", "patient-in-sites", ERROR, message, "keep the patient in one site")
            )
        split = [p for p in parts if len({p[check.case] for check in group if check.case in p}) > 1]
        if split:
            message = f"one patient in several parts of a split: {names}"
            remedy = "split by patient_id of the manifest"
            findings.append(Finding(group[-1].case, "", "patient-in-parts", ERROR, message, remedy))
    return findings


def sites_upside_down(checks: Sequence[CaseCheck]) -> list[Finding]:
    """Report sites whose masks, taken together, fit better turned over; weak signs of single cases add up."""
    findings = []
    for site in sorted({check.site for check in checks}):
        means: dict[str, tuple[float, int]] = {}
        for axis in FLIP_WORDS:
            evidence = [check.flips[axis] for check in checks if check.site == site and check.flips.get(axis)]
            if len(evidence) >= _SITE_CASES:
                means[axis] = float(np.clip(evidence, -_CASE_LIMIT, _CASE_LIMIT).mean()), len(evidence)
        # A mask turned front to back also leans the wrong way along the slices, so only the stronger sign counts.
        axis, (mean, count) = min(means.items(), key=lambda item: item[1], default=("S", (0.0, 0)))
        if mean < _SITE_EVIDENCE:
            message = f"the masks of {count} cases together would fit better turned {FLIP_WORDS[axis]}"
            remedy = "look at some cases; prepare has flip_labels for slices that run the other way"
            findings.append(Finding(site, "", "site-upside-down", WARNING, message, remedy))
    return findings


def known_overlaps(sites: Sequence[str], sources: Sequence[str]) -> list[Finding]:
    """Report collections that are known to share patients, told by names of sites and sources.

    Example:
        >>> [finding.code for finding in known_overlaps(["RUNMC", "MSD"], [])]
        ['known-overlap']
    """
    names = [*sites, *sources]
    there = [
        title for title, pattern in _RADBOUD.items() if any(re.search(pattern, name, re.IGNORECASE) for name in names)
    ]
    if len(there) < 2:
        return []
    message = f"{', '.join(there)} share patients of one hospital"
    remedy = "do not use one of them as an unseen site for another"
    return [Finding("", "", "known-overlap", WARNING, message, remedy)]


def read_splits(path: Path) -> list[dict[str, str]]:
    """Return the part of each case (``SITE/CaseNN``) for every split in a JSON file.

    Understood are ``{"splits": [{"cases": {case: part}}]}``, as :func:`akd_monai.data.write_splits` writes, and
    datalists ``{"training": [{"case_id": ...} or {"image": ...}], ...}``.

    Raises:
        InputError: for a file that is missing or of another form.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if "splits" in content:
            return [{str(case): str(part) for case, part in split["cases"].items()} for split in content["splits"]]
        lists = {part: entries for part, entries in content.items() if isinstance(entries, list)}
        return [{_case_of(entry): part for part, entries in lists.items() for entry in entries}]
    except OSError as error:
        raise InputError(
            f"the splits {path} cannot be read ({error.strerror}); give the JSON file of the splits."
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(
            f"{path} holds no splits; expected {{'splits': [{{'cases': {{case: part}}}}]}} or a MONAI datalist."
        ) from None


def _case_of(entry: Any) -> str:
    if isinstance(entry, dict) and "case_id" in entry:
        return str(entry["case_id"])
    image = Path(str(entry["image"] if isinstance(entry, dict) else entry))
    return f"{image.parent.name}/{image.name.split('.')[0]}"
