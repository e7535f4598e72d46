# SPDX-License-Identifier: Apache-2.0
"""Which training cases have labels, and images that have none."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from numbers import Integral
from pathlib import Path

import numpy as np

from akd_monai.data._site_splits import case_id_of
from akd_monai.data.cases import Case, read_cases
from akd_monai.data.manifest import UNLABELLED, patient_ids
from akd_monai.errors import InputError
from akd_monai.files import as_path
from akd_monai.keys import random_key
from akd_monai.names import visible

__all__ = ["check_labelled_cases", "divide_by_label", "image_of", "prepared_without_label"]

logger = logging.getLogger(__name__)

_KEPT = ("image", "site", "case_id", "patient_id")


def check_labelled_cases(count: object) -> None:
    """Raise ``InputError`` unless ``count`` is None or an integer of at least 1."""
    is_integer = isinstance(count, Integral) and not isinstance(count, bool)
    if count is None or (is_integer and int(count) >= 1):  # type: ignore[call-overload]
        return
    raise InputError(
        f"labelled_cases must be an integer of at least 1, or null for all training cases, got {count!r}",
        remedy="to train on unlabelled images alone, keep some cases and set lambda_task to 0",
    )


def divide_by_label(training: Sequence[Case], seed: int, count: int | None) -> tuple[list[Case], list[Case]]:
    """Return the training cases that keep their labels, and the others, each in the given order.

    The choice is the start of an order of all training cases that depends on ``seed`` alone: of 4 chosen cases, 2 are
    those that a choice of 2 has.

    Raises:
        InputError: if there are fewer than ``count`` training cases.
    """
    check_labelled_cases(count)
    if count is None:
        return list(training), []
    if count > len(training):
        raise InputError(
            f"labelled_cases is {count}, but there are {len(training)} training cases",
            remedy=f"set it to {len(training)} or less, or to null for all",
        )
    order = sorted(case_id_of(case) for case in training)
    np.random.default_rng(random_key(seed, "labelled")).shuffle(order)
    chosen = set(order[:count])
    labelled = [case for case in training if case_id_of(case) in chosen]
    return labelled, [case for case in training if case_id_of(case) not in chosen]


def image_of(case: Case) -> Case:
    """Return a case without its label and whatever else may be derived from it."""
    return {key: case[key] for key in _KEPT if key in case}


def prepared_without_label(
    dataset_dir: str | os.PathLike[str], sites: Iterable[str], held_out: Sequence[Case]
) -> list[Case]:
    """Return the images that ``prepare`` has put below ``unlabelled/``, for some sites.

    Left out, with a warning, are images of patients who have a validation or test case.

    Args:
        dataset_dir: the prepared folder.
        sites: names of folders.
        held_out: the cases whose patients must not be trained on.
    """
    root = Path(os.path.abspath(as_path(dataset_dir, "dataset_dir")))
    folder = root / UNLABELLED
    present = {path.name for path in visible(folder) if path.is_dir()} if folder.is_dir() else set()
    wanted = [site for site in dict.fromkeys(sites) if site in present and any(visible(folder / site))]
    if not wanted:
        return []
    patients = patient_ids(root)
    closed = {patients.get(case_id_of(case)) for case in held_out} - {None}
    found = []
    for case in read_cases(folder, wanted, require_label=False):
        if patients.get(case_id_of(case)) in closed:
            logger.warning(
                "unlabelled case %s is not trained on: its patient has a validation or test case.", case["case_id"]
            )
            continue
        found.append({**image_of(case), "case_id": f"{UNLABELLED}/{case['case_id']}"})
    return found
