# SPDX-License-Identifier: Apache-2.0
"""Checks across cases: one scan twice, one patient in two places, masks reversed in a complete site, known overlaps."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from akd_monai.prostate.verify._check import FLIP_WORDS, CaseCheck
from akd_monai.prostate.verify._splits import Parts
from akd_monai.prostate.verify._thumbnails import alike
from akd_monai.prostate.verify.report import Finding

__all__ = ["duplicates", "known_overlaps", "patients_in_two_places", "sites_upside_down"]

# Patients of Prostate-3T also occur in these collections, so none of them is an unseen site for the others.
_RADBOUD = {
    "Prostate-3T (RUNMC)": r"runmc",
    "PROSTATEx": r"prostate-?x",
    "PI-CAI": r"pi-?cai",
    "MSD Task05": r"msd|task05|decathlon",
    "PROMISE12, cases of no known site": r"promise12_(?:other|test)",
}
# Mean evidence below which the masks of a site are reported, and the number of cases that it takes.
_SITE_EVIDENCE = -1.2
_SITE_CASES = 3
# No single case may decide for its site, so its evidence counts up to a limit.
_CASE_LIMIT = 4.0


def duplicates(checks: Sequence[CaseCheck], patients: Mapping[str, str], parts: Sequence[Parts]) -> list[Finding]:
    """Report two cases that show one scan: equal voxels, or thumbnails that correlate by more than 0.98, also mirrored.

    Two scans that the manifest gives to one patient of one site are allowed, unless a split puts them apart; the same
    voxels are not.
    """
    findings = []
    for first, second, words, same_voxels in _same_scans(checks):
        apart = _apart(first.case, second.case, parts)
        one_patient = patients.get(first.case) is not None and patients.get(first.case) == patients.get(second.case)
        if one_patient and first.site == second.site and not same_voxels and not apart:
            continue
        places = " of different sites" if first.site != second.site else ""
        places += " in different parts of a split" if apart else ""
        message = f"{first.case} and {second.case}{places} {words}: one scan counts twice"
        remedy = "remove one of the two, or keep both on one side of every split"
        findings.append(Finding(second.case, "", "duplicate", "error", message, remedy))
    return findings


def _same_scans(checks: Sequence[CaseCheck]) -> Iterator[tuple[CaseCheck, CaseCheck, str, bool]]:
    """Yield pairs of cases that show one scan, how that is known, and whether their voxels are equal."""
    seen = [check for check in checks if check.thumbnail is not None]
    thumbnails = [check.thumbnail for check in seen if check.thumbnail is not None]
    found = {(i, j): f"look the same (correlation {r:.3f})" for i, j, r in alike(thumbnails)}
    equal = set()
    first_with: dict[str, int] = {}
    for j, check in enumerate(seen):
        i = first_with.setdefault(check.voxels, j)
        if i != j:
            found[i, j] = "hold the same voxels"
            equal.add((i, j))
    for i, j in sorted(found):
        yield seen[i], seen[j], found[i, j], (i, j) in equal


def _apart(first: str, second: str, parts: Sequence[Parts]) -> bool:
    return any(first in part and second in part and part[first] != part[second] for part in parts)


def patients_in_two_places(
    checks: Sequence[CaseCheck], patients: Mapping[str, str], parts: Sequence[Parts]
) -> list[Finding]:
    """Report patients of the manifest whose cases lie in several sites, or in several parts of one split."""
    cases: dict[str, list[CaseCheck]] = {}
    for check in checks:
        if check.case in patients:
            cases.setdefault(patients[check.case], []).append(check)
    findings = []
    for group in cases.values():
        names = ", ".join(check.case for check in group)
        last = group[-1].case
        if len({check.site for check in group}) > 1:
            message = f"one patient in several sites: {names}"
            findings.append(Finding(last, "", "patient-in-sites", "error", message, "keep the patient in one site"))
        if any(_divided(group, part) for part in parts):
            message = f"one patient in several parts of a split: {names}"
            remedy = "split by patient_id of the manifest"
            findings.append(Finding(last, "", "patient-in-parts", "error", message, remedy))
    return findings


def _divided(group: Sequence[CaseCheck], parts: Parts) -> bool:
    return len({parts[check.case] for check in group if check.case in parts}) > 1


def sites_upside_down(checks: Sequence[CaseCheck]) -> list[Finding]:
    """Report sites whose masks, taken together, fit better reversed; weak signs of single cases add up."""
    findings = []
    for site in sorted({check.site for check in checks}):
        means = _mean_evidence([check for check in checks if check.site == site])
        if not means:
            continue
        # A mask turned front to back also leans the wrong way along the slices, so only the stronger sign counts.
        axis = min(means, key=lambda name: means[name])
        mean, count = means[axis]
        if mean < _SITE_EVIDENCE:
            message = f"the masks of {count} cases together would fit better turned {FLIP_WORDS[axis]}"
            remedy = "check the pictures of some cases; prepare has --flip_labels for slices that run the other way"
            findings.append(Finding(site, "", "site-upside-down", "warning", message, remedy))
    return findings


def _mean_evidence(checks: Sequence[CaseCheck]) -> dict[str, tuple[float, int]]:
    """Return mean evidence and number of cases by axis, for axes on which enough cases have evidence."""
    means = {}
    for axis in FLIP_WORDS:
        evidence = [check.flips[axis] for check in checks if check.flips.get(axis)]
        if len(evidence) >= _SITE_CASES:
            means[axis] = float(np.clip(evidence, -_CASE_LIMIT, _CASE_LIMIT).mean()), len(evidence)
    return means


def known_overlaps(sites: Sequence[str], sources: Sequence[str]) -> list[Finding]:
    """Report collections that are known to share patients, recognised by names of sites and sources.

    Example:
        >>> [finding.code for finding in known_overlaps(["RUNMC", "MSD"], [])]
        ['known-overlap']
    """
    names = [*sites, *sources]
    present = [title for title, pattern in _RADBOUD.items() if _any_matches(pattern, names)]
    if len(present) < 2:
        return []
    message = f"{', '.join(present)} share patients of one hospital"
    remedy = "do not use one of them as an unseen site for another"
    return [Finding("", "", "known-overlap", "warning", message, remedy)]


def _any_matches(pattern: str, names: Sequence[str]) -> bool:
    return any(re.search(pattern, name, re.IGNORECASE) for name in names)
