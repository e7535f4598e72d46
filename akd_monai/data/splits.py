# SPDX-License-Identifier: Apache-2.0
"""Splits by case (or by patient) within each site: a function of (seed, site), with nothing to lose or to mix up."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from akd_monai.data._labelled import check_labelled_cases, divide_by_label, image_of, prepared_without_label
from akd_monai.data._site_splits import PARTS, SiteSplit, SplitPart, case_id_of, site_of, site_splits
from akd_monai.data.cases import Case, read_cases
from akd_monai.errors import InputError, unknown_name
from akd_monai.files import write_json

__all__ = ["Part", "SplitPart", "datalist", "split_cases", "split_summary", "write_splits"]

logger = logging.getLogger(__name__)

Part = Literal[SplitPart, "unlabelled", "all"]
_UNLABELLED = "unlabelled"


def datalist(
    dataset_dir: str | os.PathLike[str],
    part: Part,
    *,
    sites: str | Iterable[str] | None = None,
    seed: int = 0,
    fold: int = 0,
    folds: int | None = 4,
    validation: int = 2,
    labelled_cases: int | None = None,
) -> list[Case]:
    """List one part of the cases of a folder: :func:`~akd_monai.data.read_cases`, then :func:`split_cases`.

    This is the function that bundles call from JSON. When no case can be spared for validation, the training cases
    are used instead and a warning says so.

    The part ``"unlabelled"`` also holds the images that were prepared without a mask, ``unlabelled/SITE/CaseNN.nii.gz``,
    for the sites of the cases, but for those of patients who have a validation or test case.

    Args:
        dataset_dir: the folder that holds one folder a site.
        part: ``"training"``, ``"validation"``, ``"test"``, ``"unlabelled"``, or ``"all"`` for every case.
        sites: as for :func:`~akd_monai.data.read_cases`.
        seed: seed of the order.
        fold: as for :func:`split_cases`.
        folds: likewise.
        validation: likewise.
        labelled_cases: likewise.

    Raises:
        InputError: if cases cannot be found, paired or split.
        UnknownNameError: if there is no such part or site.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     (Path(folder) / "HK").mkdir()
        ...     for name in ("Case13", "Case14"):
        ...         for suffix in ("", "_segmentation"):
        ...             (Path(folder) / "HK" / f"{name}{suffix}.nii.gz").touch()
        ...     [len(datalist(folder, part)) for part in ("training", "test", "all")]
        [1, 1, 2]
    """
    cases = read_cases(dataset_dir, sites)
    chosen = split_cases(
        cases, part, seed=seed, fold=fold, folds=folds, validation=validation, labelled_cases=labelled_cases
    )
    if part == _UNLABELLED:
        splits = site_splits(cases, seed, fold, folds, validation)
        held_out = [case for case in cases if splits[site_of(case)].parts[case_id_of(case)] != "training"]
        chosen += prepared_without_label(dataset_dir, map(site_of, cases), held_out)
    if part == "validation":
        summary = split_summary(cases, seed=seed, fold=fold, folds=folds, validation=validation)
        for warning in summary["warnings"]:
            logger.warning("%s", warning)
    return chosen


def split_cases(
    cases: Sequence[Case],
    part: Part,
    *,
    seed: int = 0,
    fold: int = 0,
    folds: int | None = 4,
    validation: int = 2,
    labelled_cases: int | None = None,
) -> list[Case]:
    r"""Return one part of ``cases``, split within each site.

    With ``folds`` :math:`K`, a site's cases are put into an order that depends on (seed, site) alone; the test cases of
    fold :math:`f` are those at :math:`f, f + K, f + 2K, ...`, so that each case is tested exactly once over the folds.
    Of the others, ``validation`` are validation cases, but never more than half of them. Without ``folds`` there is no
    test part and 15 % of each site's cases, at least one of three, are validation cases: the split for a teacher.

    A site with fewer cases than ``folds`` has as many folds as cases. A site of up to three cases spares none for
    validation (with ``folds``). When no site can spare one, the validation part *is* the training part;
    :func:`split_summary` says so. Entries with ``"patient_id"`` are split by patient within their site.

    With ``labelled_cases`` :math:`n`, the training part is :math:`n` of the training cases of all sites together, the
    first in an order that depends on ``seed`` alone, so that a smaller choice is part of a larger one. The others are the
    part ``"unlabelled"``, without their labels. Validation and test cases stay what they are; where the training cases
    serve as validation cases, those with labels do.

    Args:
        cases: entries with ``"case_id"`` and ``"site"``.
        part: ``"training"``, ``"validation"``, ``"test"``, ``"unlabelled"``, or ``"all"`` for every case.
        seed: seed of the order.
        fold: 0 to ``folds`` - 1.
        folds: number of folds, at least 2; ``None`` for no test part.
        validation: validation cases (or patients) a site, at least 0; used with ``folds`` only.
        labelled_cases: how many training cases have labels, 1 to their number; ``None`` for all.

    Raises:
        InputError: if the numbers make no sense, a site of one case is to be tested, there is no test part, or there are
            fewer training cases than ``labelled_cases``.
        UnknownNameError: if there is no such part.

    Example:
        >>> cases = [{"site": "HK", "case_id": f"HK/Case{n:02}"} for n in range(12)]
        >>> [len(split_cases(cases, part)) for part in ("training", "validation", "test")]
        [7, 2, 3]
        >>> [len(split_cases(cases, part, labelled_cases=4)) for part in ("training", "unlabelled", "validation")]
        [4, 3, 2]
    """
    check_labelled_cases(labelled_cases)
    if part == "all":
        return list(cases)
    if part not in (*PARTS, _UNLABELLED):
        raise unknown_name("part", part, get_args(Part))
    if part == "test" and folds is None:
        raise InputError("there is no test part without folds; set folds, for example --folds 4.")
    splits = site_splits(cases, seed, fold, folds, validation)
    is_of_training = part in ("training", _UNLABELLED) or (part == "validation" and _validation_is_training(splits))
    wanted = "training" if is_of_training else part
    chosen = [case for case in cases if splits[site_of(case)].parts[case_id_of(case)] == wanted]
    if not is_of_training:
        return chosen
    labelled, others = divide_by_label(chosen, seed, labelled_cases)
    return [image_of(case) for case in others] if part == _UNLABELLED else labelled


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
    splits = site_splits(cases, seed, fold, folds, validation)
    of_cases: dict[str, str] = {}
    for split in splits.values():
        of_cases.update(split.parts)
    return {
        "seed": seed,
        "fold": fold,
        "folds": folds,
        "validation": validation,
        "validation_is_training": _validation_is_training(splits),
        "warnings": _warnings(splits, folds),
        "sites": {name: _counts(split) for name, split in splits.items()},
        "cases": of_cases,
    }


def _counts(split: SiteSplit) -> dict[str, int | None]:
    of_parts = list(split.parts.values())
    return {
        "cases": len(of_parts),
        "patients": split.patients,
        "folds": split.folds,
        **{part: of_parts.count(part) for part in PARTS},
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

    Raises:
        InputError: as for :func:`split_cases`, or if the file cannot be written.
    """
    splits = site_splits(cases, seed, 0, folds, validation)
    count = 1 if folds is None else max(split.folds or 1 for split in splits.values())
    summaries = [split_summary(cases, seed=seed, fold=f, folds=folds, validation=validation) for f in range(count)]
    return write_json(path, {"splits": summaries}, indent=2)


def _validation_is_training(splits: Mapping[str, SiteSplit]) -> bool:
    return not any("validation" in split.parts.values() for split in splits.values())


def _warnings(splits: Mapping[str, SiteSplit], folds: int | None) -> list[str]:
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
