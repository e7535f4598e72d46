# SPDX-License-Identifier: Apache-2.0
"""Splits by case (or by patient) within each site: a function of (seed, site), with nothing to lose or to mix up."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from akd_monai.data.cases import Case, read_cases
from akd_monai.errors import InputError, UnknownNameError, near_matches
from akd_monai.files import atomic_write
from akd_monai.keys import random_key

_LOGGER = logging.getLogger(__name__)

PARTS = ("training", "validation", "test")
_VALIDATION_SHARE = 0.15
_SMALL_SITE = 3


@dataclass(frozen=True)
class _SiteSplit:
    """How one site is divided: a part for each of its cases, and how many folds the site allows."""

    parts: Mapping[str, str]
    folds: int | None
    patients: int


def datalist(
    dataset_dir: str | os.PathLike[str],
    part: str,
    *,
    sites: str | Iterable[str] | None = None,
    seed: int = 0,
    fold: int = 0,
    folds: int | None = 4,
    validation: int = 2,
) -> list[Case]:
    """List one part of the cases of a folder: :func:`~akd_monai.data.cases.read_cases`, then :func:`split_cases`.

    This is the function that bundles call from JSON. When no case can be spared for validation, the training cases
    are used instead and a warning says so.

    Raises:
        InputError: if cases cannot be found, paired or split.
    """
    cases = read_cases(dataset_dir, sites)
    chosen = split_cases(cases, part, seed=seed, fold=fold, folds=folds, validation=validation)
    if part == "validation":
        summary = split_summary(cases, seed=seed, fold=fold, folds=folds, validation=validation)
        for warning in summary["warnings"]:
            _LOGGER.warning(warning)
    return chosen


def split_cases(
    cases: Sequence[Case],
    part: str,
    *,
    seed: int = 0,
    fold: int = 0,
    folds: int | None = 4,
    validation: int = 2,
) -> list[Case]:
    r"""Return one part of ``cases``, split within each site.

    With ``folds`` :math:`K`, a site's cases are put into an order that depends on (seed, site) alone; the test cases of
    fold :math:`f` are those at :math:`f, f + K, f + 2K, ...`, so that each case is tested exactly once over the folds.
    Of the others, ``validation`` are validation cases, but never more than half of them. Without ``folds`` there is no
    test part and 15 % of each site's cases, at least one of three, are validation cases: the split for a teacher.

    A site with fewer cases than ``folds`` has as many folds as cases. A site of up to three cases spares none for
    validation (with ``folds``). When no site can spare one, the validation part *is* the training part;
    :func:`split_summary` says so. Entries with ``"patient_id"`` are split by patient within their site.

    Args:
        cases: entries with ``"case_id"`` and ``"site"``.
        part: ``"training"``, ``"validation"``, ``"test"``, or ``"all"`` for every case.
        seed: key of the order.
        fold: 0 to ``folds`` - 1.
        folds: number of folds, at least 2; ``None`` for no test part.
        validation: validation cases (or patients) a site, at least 0; used with ``folds`` only.

    Raises:
        InputError: if the numbers make no sense, a site of one case is to be tested, or there is no test part.
        UnknownNameError: if there is no such part.

    Example:
        >>> cases = [{"site": "HK", "case_id": f"HK/Case{n:02}"} for n in range(12)]
        >>> [len(split_cases(cases, part)) for part in ("training", "validation", "test")]
        [7, 2, 3]
    """
    if part == "all":
        return list(cases)
    if part not in PARTS:
        raise UnknownNameError(
            f"unknown part {part!r}; known are {', '.join((*PARTS, 'all'))}.{near_matches(str(part), (*PARTS, 'all'))}"
        )
    if part == "test" and folds is None:
        raise InputError("there is no test part without folds; set folds (for example 4), or take the part 'all'.")
    splits = _splits(cases, seed, fold, folds, validation)
    wanted = "training" if part == "validation" and _validation_is_training(splits) else part
    return [case for case in cases if splits[_site_of(case)].parts[_name_of(case)] == wanted]


def split_summary(
    cases: Sequence[Case], *, seed: int = 0, fold: int = 0, folds: int | None = 4, validation: int = 2
) -> dict[str, Any]:
    """Return what :func:`split_cases` does with ``cases``, ready for JSON: the part of every case, counts, warnings.

    Example:
        >>> cases = [{"site": "I2CVB", "case_id": f"I2CVB/Case{n:02}"} for n in range(2)]
        >>> summary = split_summary(cases)
        >>> summary["validation_is_training"], summary["sites"]["I2CVB"]
        (True, {'cases': 2, 'patients': 2, 'folds': 2, 'training': 1, 'validation': 0, 'test': 1})
    """
    splits = _splits(cases, seed, fold, folds, validation)
    sites = {
        name: {
            "cases": len(split.parts),
            "patients": split.patients,
            "folds": split.folds,
            **{part: list(split.parts.values()).count(part) for part in PARTS},
        }
        for name, split in splits.items()
    }
    return {
        "seed": seed,
        "fold": fold,
        "folds": folds,
        "validation": validation,
        "validation_is_training": _validation_is_training(splits),
        "warnings": _warnings(splits, folds),
        "sites": sites,
        "cases": {name: part for split in splits.values() for name, part in split.parts.items()},
    }


def write_splits(
    path: str | os.PathLike[str],
    cases: Sequence[Case],
    *,
    seed: int = 0,
    folds: int | None = 4,
    validation: int = 2,
) -> Path:
    """Write the summary of every fold (see :func:`split_summary`) to a JSON file and return its path.

    Folds that no site has, because every site is smaller, are left out.
    """
    splits = _splits(cases, seed, 0, folds, validation)
    count = 1 if folds is None else max(split.folds or 1 for split in splits.values())
    summaries = [split_summary(cases, seed=seed, fold=f, folds=folds, validation=validation) for f in range(count)]
    return atomic_write(path, json.dumps({"splits": summaries}, indent=2) + "\n")


def _splits(cases: Sequence[Case], seed: int, fold: int, folds: int | None, validation: int) -> dict[str, _SiteSplit]:
    _check_numbers(fold, folds, validation)
    by_site: dict[str, list[Case]] = {}
    for case in cases:
        by_site.setdefault(_site_of(case), []).append(case)
    if not by_site:
        raise InputError("there is no case to split; check dataset_dir and sites.")
    splits = {name: _split_site(name, group, seed, fold, folds, validation) for name, group in by_site.items()}
    most = max(split.folds or 0 for split in splits.values())
    if folds is not None and fold >= most:
        raise InputError(f"fold {fold} does not exist: the sites have at most {most} cases; set folds to {most}.")
    return splits


def _check_numbers(fold: int, folds: int | None, validation: int) -> None:
    if folds is not None and folds < 2:
        raise InputError(f"folds must be at least 2, or null for no test part, got {folds}.")
    if folds is not None and not 0 <= fold < folds:
        raise InputError(f"fold must be 0 to {folds - 1} for {folds} folds, got {fold}.")
    if validation < 0:
        raise InputError(f"validation must be 0 or more cases a site, got {validation}.")


def _split_site(
    site: str, cases: Sequence[Case], seed: int, fold: int, folds: int | None, validation: int
) -> _SiteSplit:
    patients: dict[str, list[str]] = {}
    for case in cases:
        patients.setdefault(_patient_of(case), []).append(_name_of(case))
    names = [name for group in patients.values() for name in group]
    if len(set(names)) != len(names):
        raise InputError(f"site {site} lists a case twice; case_id must be unique.")
    order = sorted(patients)
    np.random.default_rng(random_key(seed, "split", site)).shuffle(order)
    count = len(order)
    if folds is None:
        used, test, rest = None, [], order
        spared = max(1, round(_VALIDATION_SHARE * count)) if count >= _SMALL_SITE else 0
    else:
        if count == 1:
            raise InputError(
                f"site {site} has one case ({names[0]}), which cannot be tested and trained on;"
                " leave the site out, or set folds to null to train on it."
            )
        used = min(folds, count)
        test = order[fold::used] if fold < used else []
        rest = [name for name in order if name not in test]
        spared = min(validation, len(rest) // 2) if count > _SMALL_SITE else 0
    parts = {
        **dict.fromkeys(rest[spared:], "training"),
        **dict.fromkeys(rest[:spared], "validation"),
        **dict.fromkeys(test, "test"),
    }
    return _SiteSplit({_name_of(c): parts[_patient_of(c)] for c in cases}, used, count)


def _site_of(case: Case) -> str:
    if "site" not in case:
        raise InputError(f"case {case.get('case_id', case.get('image'))!r} names no site; add the entry 'site'.")
    return str(case["site"])


def _name_of(case: Case) -> str:
    if "case_id" not in case:
        raise InputError(f"the case of image {case.get('image')!r} has no name; add the entry 'case_id'.")
    return str(case["case_id"])


def _patient_of(case: Case) -> str:
    # the kind of name is kept apart: a patient's number may equal another case's name
    patient = case.get("patient_id")
    return f"case {_name_of(case)}" if patient is None else f"patient {patient}"


def _validation_is_training(splits: Mapping[str, _SiteSplit]) -> bool:
    return not any("validation" in split.parts.values() for split in splits.values())


def _warnings(splits: Mapping[str, _SiteSplit], folds: int | None) -> list[str]:
    warnings = []
    if _validation_is_training(splits):
        counts = ", ".join(f"{name}: {split.patients}" for name, split in splits.items())
        warnings.append(
            f"no case was spared for validation (cases a site: {counts}): the training cases serve as validation cases,"
            " so validation metrics are too good and the best checkpoint is not chosen independently."
        )
    reduced = [f"{name} ({split.folds})" for name, split in splits.items() if folds and split.folds != folds]
    if reduced:
        warnings.append(f"fewer folds than the {folds} asked for, one a case: {', '.join(reduced)}.")
    return warnings
