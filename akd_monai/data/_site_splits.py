# SPDX-License-Identifier: Apache-2.0
"""The split of each site: an order of its patients that depends on (seed, site), cut into parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from akd_monai.data.cases import Case
from akd_monai.errors import InputError
from akd_monai.keys import random_key

__all__ = ["PARTS", "SiteSplit", "SplitPart", "case_id_of", "site_of", "site_splits"]

SplitPart = Literal["training", "validation", "test"]
PARTS: tuple[SplitPart, ...] = get_args(SplitPart)

_VALIDATION_SHARE = 0.15
_SMALL_SITE = 3


@dataclass(frozen=True)
class SiteSplit:
    """How one site is divided.

    Args:
        parts: the part of each case, by name.
        folds: how many folds the site allows; ``None`` without a test part.
        patients: number of patients.
    """

    parts: Mapping[str, str]
    folds: int | None
    patients: int


def site_splits(
    cases: Sequence[Case], seed: int, fold: int, folds: int | None, validation: int
) -> dict[str, SiteSplit]:
    """Return the split of each site; the arguments are those of :func:`~akd_monai.data.splits.split_cases`.

    Raises:
        InputError: if the numbers make no sense, a case has no site or name, or a site of one case is to be tested.
    """
    _check_numbers(fold, folds, validation)
    by_site: dict[str, list[Case]] = {}
    for case in cases:
        by_site.setdefault(site_of(case), []).append(case)
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
) -> SiteSplit:
    _check_unique(site, cases)
    patients = sorted({_patient_of(case) for case in cases})
    np.random.default_rng(random_key(seed, "split", site)).shuffle(patients)
    if folds is None:
        used = None
        parts = _without_test(patients)
    else:
        if len(patients) == 1:
            raise InputError(
                f"site {site} has one case ({case_id_of(cases[0])}), which cannot be tested and trained on;"
                " leave the site out, or train on it without a test part: --folds null, which"
                " python -m monai.bundle wants as --folds '$None'."
            )
        used = min(folds, len(patients))
        parts = _with_test(patients, fold, used, validation)
    return SiteSplit({case_id_of(case): parts[_patient_of(case)] for case in cases}, used, len(patients))


def _check_unique(site: str, cases: Sequence[Case]) -> None:
    names = {case_id_of(case) for case in cases}
    if len(names) != len(cases):
        raise InputError(f"site {site} lists a case twice; case_id must be unique.")


def _without_test(order: Sequence[str]) -> dict[str, str]:
    spared = 0
    if len(order) >= _SMALL_SITE:
        spared = max(1, round(_VALIDATION_SHARE * len(order)))
    return {**dict.fromkeys(order[spared:], "training"), **dict.fromkeys(order[:spared], "validation")}


def _with_test(order: Sequence[str], fold: int, folds: int, validation: int) -> dict[str, str]:
    test = order[fold::folds] if fold < folds else []
    rest = [name for name in order if name not in test]
    spared = 0
    if len(order) > _SMALL_SITE:
        spared = min(validation, len(rest) // 2)
    return {
        **dict.fromkeys(rest[spared:], "training"),
        **dict.fromkeys(rest[:spared], "validation"),
        **dict.fromkeys(test, "test"),
    }


def site_of(case: Case) -> str:
    """Return the site of a case; it must have one."""
    if "site" not in case:
        raise InputError(f"case {case.get('case_id', case.get('image'))!r} names no site; add the entry 'site'.")
    return str(case["site"])


def case_id_of(case: Case) -> str:
    """Return the ``"case_id"`` of a case; it must have one."""
    if "case_id" not in case:
        raise InputError(f"the case of image {case.get('image')!r} has no name; add the entry 'case_id'.")
    return str(case["case_id"])


def _patient_of(case: Case) -> str:
    # the kind of name is kept apart: a patient's number may equal another case's name
    patient = case.get("patient_id")
    return f"case {case_id_of(case)}" if patient is None else f"patient {patient}"
