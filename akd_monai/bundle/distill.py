# SPDX-License-Identifier: Apache-2.0
"""Distillation of one bundle into another as a function."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from akd_monai.bundle.workflow import DistillationWorkflow
from akd_monai.losses import Activation
from akd_monai.networks import Head

__all__ = ["distill_bundle"]


def distill_bundle(
    teacher: str | Path | Sequence[str | Path],
    student: str | Path,
    *,
    terms: str | Sequence[str] | None = None,
    overlay: str | Path | None = None,
    recipe: str | Path | None = None,
    teacher_weights: str | Path | Sequence[str | Path | None] | None = None,
    tracking: str | dict[str, Any] | None = None,
    run_id: str | None = None,
    activation: Activation | None = None,
    teacher_head: Head = None,
    student_head: Head = None,
    classes: str | None = None,
    allow: str | Sequence[str] = (),
    **override: Any,
) -> Path | None:
    """Run a :class:`DistillationWorkflow` from start to end and return the file of weights that it has written.

    Args:
        teacher: folder of the teacher bundle, with weights; several, separated by commas; or self, for an average of the
            student's own weights.
        student: folder of the student bundle.
        terms: which of the overlay's terms to keep (logits, gram, affinity), the others get weight 0; all by default.
        overlay: a ``distill.json`` of your own.
        recipe: a set of terms and settings by name, such as paper, careful or emkd, or a file of config ids of your own;
            the verb recipes lists them. Other arguments win over it.
        teacher_weights: other weights than the teacher's ``models/model.pt``; several for several teachers, or for one.
        tracking: mlflow, which reads the student's configs/tracking.json where it has one, or a file with tracking settings.
        run_id: id of the expressions that start the student's training; found by default.
        activation: softmax or sigmoid, what turns the logits of both networks into probabilities; read from the bundles
            by default.
        teacher_head: which output of a teacher with several, an index or a key; the final one by default.
        student_head: the same for the student.
        classes: the student's classes as sums of the teacher's, such as "gland=transition zone+peripheral zone"; matched
            by name by default.
        allow: checks to pass in spite of what they find, separated by commas; their messages name them.
        override: any id of the configs, for instance ``epochs`` or ``train#trainer#max_epochs``.

    Returns:
        The best weights by validation, else the newest that were written in this run; None if none were.

    Raises:
        InputError: for a mistake in the bundles or the data.
        UnknownNameError: for a term or an id that does not exist.
        BundleError: for an error of the student's own config or code.

    Example:
        >>> distill_bundle("no/such/teacher", "student")
        Traceback (most recent call last):
        ...
        akd_monai.errors.InputError: bundle folder 'no/such/teacher' does not exist; ...
    """
    workflow = DistillationWorkflow(
        teacher,
        student,
        terms=terms,
        overlay=overlay,
        recipe=recipe,
        teacher_weights=teacher_weights,
        tracking=tracking,
        run_id=run_id,
        activation=activation,
        teacher_head=teacher_head,
        student_head=student_head,
        classes=classes,
        allow=allow,
        **override,
    )
    return workflow.train()
