# SPDX-License-Identifier: Apache-2.0
"""What rows of an experiment have learned from beyond the others, in sentences below its tables."""

from __future__ import annotations

from collections.abc import Sequence

from akd_monai.experiments._plan.layers import value_of
from akd_monai.experiments._plan.matrix import Matrix

__all__ = ["budget_notes"]

_BATCH = "unlabelled_batch_size"
_SIZE = "batch_size"


def budget_notes(matrix: Matrix) -> list[str]:
    """Return what a reader must know of steps, slices and labels before comparing rows; nothing where all are alike."""
    notes = []
    if matrix.labelled_cases != (None,):
        notes.append(
            "Labelled cases are those that are learned from; the best epoch of every row is chosen by the same labelled "
            "validation cases beside them."
        )
    for method in matrix.methods:
        extra = value_of(method, _BATCH)
        if extra:
            number = f"{extra} " if isinstance(extra, int) else ""
            notes.append(
                f"{method.name}: as many steps as the others, and in each {number}slices without labels beside the "
                "labelled ones, which the teacher sees as well."
            )
    usual = matrix.settings.get(_SIZE)
    for method in matrix.methods:
        size = value_of(method, _SIZE)
        if size is not None and size != usual:
            notes.append(
                f"{method.name}: batches of {size} slices, which are those of its config and not the other rows'."
            )
    started = [method.name for method in matrix.methods if method.initial == "sources"]
    if started:
        notes.append(
            f"{_listed(started)}: start from what the student learned at the sources, as the control does; that training "
            "comes on top of the steps of the row."
        )
    adapted = [method.name for method in matrix.methods if method.teacher == "adapted"]
    if adapted:
        notes.append(
            f"{_listed(adapted)}: their teacher was fine-tuned on the same labelled cases of the target before, which is a "
            "training more."
        )
    several = [method.name for method in matrix.methods if method.teacher == "several"]
    if several:
        notes.append(f"{_listed(several)}: one teacher for each source site.")
    if any(method.generalise for method in matrix.methods):
        notes.append(
            "Without distillation is what the literature calls DeepAll: all cases of the sources in one training."
        )
    return notes


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
