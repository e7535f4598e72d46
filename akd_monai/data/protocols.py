# SPDX-License-Identifier: Apache-2.0
"""Who learns from which cases, for one target site: two protocols, as tables that can be read and checked.

``cross_site``: the teacher learns from the other sites; the student from the target's training cases with their labels,
and is tested on the target's held-out cases, each case in one fold. The site is unseen by the teacher alone: this is
transfer with few labels, not domain generalisation.

``loso`` (leave one site out): teacher and student learn from the other sites, and every case of the target is a test
case.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from akd_monai.data.cases import Case
from akd_monai.data.splits import split_summary
from akd_monai.errors import InputError, unknown_name
from akd_monai.files import write_json

__all__ = ["Protocol", "protocol_splits", "write_protocol_splits"]

Protocol = Literal["cross_site", "loso"]
_PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)


def protocol_splits(
    cases: Sequence[Case],
    target: str,
    protocol: Protocol = "cross_site",
    *,
    seed: int = 0,
    folds: int = 4,
    validation: int = 2,
) -> list[dict[str, Any]]:
    """Give every case of all sites its part, once a fold.

    Args:
        cases: entries with ``"case_id"`` and ``"site"``, of the target and of at least one other site.
        target: the site on which the student is evaluated.
        protocol: ``"cross_site"``: parts ``teacher_training`` and ``teacher_validation`` (15 % of each other site's
            cases), and ``training``, ``validation`` and ``test`` in the target, one entry a fold; or ``"loso"``:
            ``training`` and ``validation`` in the other sites, for teacher and student alike, and ``test`` for every case of
            the target, a single entry.
        seed: seed of the order of the cases of each site.
        folds: number of folds within the target; no more than it has cases. ``loso`` has none.
        validation: validation cases of the target in each fold; used with ``cross_site`` only.

    Returns:
        Entries ``{"protocol", "target", "seed", "fold", "folds", "warnings", "cases": {case_id: part}}``, ready for JSON.

    Raises:
        UnknownNameError: for an unknown protocol or a target without cases.
        InputError: if there is no other site, or a patient has cases in the target and in another site.

    Example:
        >>> cases = [{"site": s, "case_id": f"{s}/Case{n:02}"} for s in ("BMC", "HK") for n in range(12)]
        >>> entry = protocol_splits(cases, "HK")[0]
        >>> sorted((part, list(entry["cases"].values()).count(part)) for part in set(entry["cases"].values()))
        [('teacher_training', 10), ('teacher_validation', 2), ('test', 3), ('training', 7), ('validation', 2)]
    """
    if protocol not in _PROTOCOLS:
        raise unknown_name("protocol", protocol, _PROTOCOLS)
    ours = [case for case in cases if case.get("site") == target]
    others = [case for case in cases if case.get("site") != target]
    _check_sites(ours, others, target)
    taught = split_summary(others, seed=seed, folds=None)
    common = {"protocol": protocol, "target": target, "seed": seed}
    if protocol == "loso":
        tested = dict.fromkeys((str(case["case_id"]) for case in ours), "test")
        parts = {**taught["cases"], **tested}
        return [{**common, "fold": 0, "folds": None, "warnings": taught["warnings"], "cases": parts}]
    entries = []
    for summary in _summaries(ours, target, seed, folds, validation):
        entry = {
            **common,
            "fold": summary["fold"],
            "folds": summary["folds"],
            "warnings": [*taught["warnings"], *summary["warnings"]],
            "cases": {**_of_teacher(taught["cases"]), **summary["cases"]},
        }
        entries.append(entry)
    return entries


def write_protocol_splits(
    path: str | os.PathLike[str],
    cases: Sequence[Case],
    target: str,
    protocol: Protocol = "cross_site",
    *,
    seed: int = 0,
    folds: int = 4,
    validation: int = 2,
) -> Path:
    """Write :func:`protocol_splits` as ``{"splits": [...]}`` to a JSON file, which ``verify`` can check; return its path.

    Raises:
        InputError: as for :func:`protocol_splits`, or if the file cannot be written.
    """
    entries = protocol_splits(cases, target, protocol, seed=seed, folds=folds, validation=validation)
    return write_json(path, {"splits": entries}, indent=2)


def _check_sites(ours: Sequence[Case], others: Sequence[Case], target: str) -> None:
    sites = sorted({str(case.get("site")) for case in others})
    if not ours:
        raise unknown_name("target", target, sites, where="among the sites of the cases")
    if not others:
        raise InputError(f"only site {target} has cases; both protocols need at least one other site to learn from.")
    patients = {str(case["patient_id"]) for case in others if case.get("patient_id") is not None}
    for case in ours:
        if case.get("patient_id") is not None and str(case["patient_id"]) in patients:
            raise InputError(
                f"the patient of {case['case_id']} also has a case in another site, so site {target} is not unseen;"
                " remove one of the cases."
            )


def _of_teacher(parts: Mapping[str, str]) -> dict[str, str]:
    return {name: f"teacher_{part}" for name, part in parts.items()}


def _summaries(cases: Sequence[Case], site: str, seed: int, folds: int, validation: int) -> list[dict[str, Any]]:
    """Return the summary of every fold of a site, which may have fewer than ``folds``."""
    first = split_summary(cases, seed=seed, folds=folds, validation=validation)
    used = first["sites"][site]["folds"]
    return [split_summary(cases, seed=seed, fold=fold, folds=used, validation=validation) for fold in range(used)]
