# SPDX-License-Identifier: Apache-2.0
"""The teacher that a distillation names: one bundle, several bundles or weights, or the student itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from akd_monai.bundle.load import load_network
from akd_monai.bundle.metadata import input_format, read_metadata, weights_sha256
from akd_monai.errors import InputError
from akd_monai.teachers import EmaTeacher, TeacherEnsemble
from akd_monai.teachers.votes import TeacherVote, check_vote

__all__ = ["SELF", "load_teacher", "teacher_list", "teacher_root", "teacher_sha256", "teacher_value_range"]

#: Stands in place of a teacher's bundle for an average of the student's own weights.
SELF = "self"

Folders = str | Path | Sequence[str | Path]
Weights = str | Path | Sequence[str | Path | None] | None


def teacher_list(teacher_bundle: Folders, teacher_weights: Weights = None) -> list[tuple[str, str | None]]:
    """Return the folder and the weights of each teacher; weights are None for the bundle's own.

    Args:
        teacher_bundle: one folder, or a list; a string with commas that is no folder itself is a list.
        teacher_weights: a file for each, None for ``models/model.pt``; one folder with several files is as many teachers.

    Raises:
        InputError: if the numbers do not fit, a teacher is named twice, or the student itself is one of several.

    Example:
        >>> teacher_list("site_a,site_b"), teacher_list("teacher", ["fold0.pt", "fold1.pt"])
        ([('site_a', None), ('site_b', None)], [('teacher', 'fold0.pt'), ('teacher', 'fold1.pt')])
    """
    folders = _listed(teacher_bundle)
    if not folders:
        raise InputError("teacher_bundle is an empty list: name the folder of at least one teacher.")
    weights = [None] * len(folders)
    if teacher_weights is not None:
        weights = _listed(teacher_weights, "teacher_weights must be a file or a list of files")
    if len(folders) == 1:
        folders = folders * len(weights)
    if len(folders) != len(weights):
        raise InputError(
            f"teacher_bundle names {len(folders)} teachers and teacher_weights {len(weights)} files",
            remedy="give one file for each teacher in the same order, or several for one teacher",
        )
    teachers = list(zip(folders, weights, strict=True))
    _check_teachers(teachers)
    return [(str(folder), file) for folder, file in teachers]


def teacher_root(teacher_bundle: Folders, student_bundle: str | Path) -> str | list[str]:
    """Return the folder, or folders, to read of the teacher: that of the student where it is its own teacher.

    Args:
        teacher_bundle: as given to a distillation.
        student_bundle: the student's folder.

    Example:
        >>> teacher_root("self", "student"), teacher_root("a,b", "student"), teacher_root("a", "student")
        ('student', ['a', 'b'], 'a')
    """
    folders = _listed(teacher_bundle)
    if folders == [SELF]:
        return str(student_bundle)
    # several weights of one bundle are several teachers that read alike
    return folders[0] if len(set(folders)) == 1 else folders


def load_teacher(
    bundle_dir: Folders,
    *,
    weights: Weights = None,
    vote: TeacherVote = "mean",
    ema_decay: float | None = None,
    device: str | torch.device = "cpu",
    trust_bundle: bool = False,
) -> nn.Module:
    """Return the teacher of a distillation: a network, several, or an average of the student.

    Several are a :class:`~akd_monai.teachers.TeacherEnsemble`, the average is an :class:`~akd_monai.teachers.EmaTeacher`;
    each network is loaded by :func:`load_network`.

    Args:
        bundle_dir: folder of a teacher, or of several; ``"self"`` for an average of the student's own weights.
        weights: a file for each, by default the bundle's own; several files for one folder are several teachers.
        vote: how several are combined, see :func:`~akd_monai.teachers.combine_logits`.
        ema_decay: of the average of the student, 0.99 by default; only with ``"self"``.
        device: where the networks go.
        trust_bundle: as in :func:`load_network`.

    Raises:
        InputError: as for :func:`load_network` and :func:`~akd_monai.bundle.teacher.teacher_list`, for a vote that does
            not exist, weights of ``"self"``, or a decay without it.

    Example:
        >>> load_teacher("self", ema_decay=0.9).decay
        0.9
        >>> load_teacher("teacher", ema_decay=0.9)
        Traceback (most recent call last):
        ...
        akd_monai.errors.InputError: ema_decay is that of an average of the student, but the teacher is 'teacher'; ...
    """
    teachers = teacher_list(bundle_dir, weights)
    # a vote has no effect on one
    check_vote(vote, len(teachers))
    folder, file = teachers[0]
    if folder == SELF:
        if file is not None:
            raise InputError("an average of the student has no weights of its own: leave out teacher_weights.")
        return EmaTeacher() if ema_decay is None else EmaTeacher(ema_decay)
    if ema_decay is not None:
        raise InputError(
            f"ema_decay is that of an average of the student, but the teacher is {folder!r}",
            remedy="leave it out, or set teacher_bundle to self",
        )
    networks = []
    for folder, file in teachers:
        networks.append(load_network(folder, weights=file, device=device, trust_bundle=trust_bundle))
    return networks[0] if len(networks) == 1 else TeacherEnsemble(networks, vote)


def teacher_sha256(teacher_bundle: Folders, teacher_weights: Weights = None) -> str | dict[str, str]:
    """Return the SHA-256 of the teacher's weights; of several teachers by their number, from 1; ``"self"`` as it is.

    Args:
        teacher_bundle: as given to a distillation.
        teacher_weights: as given to a distillation.

    Raises:
        InputError: if a file does not exist.
    """
    teachers = teacher_list(teacher_bundle, teacher_weights)
    if teachers[0][0] == SELF:
        return SELF
    hashes = [weights_sha256(folder, file) for folder, file in teachers]
    if len(hashes) == 1:
        return hashes[0]
    return {str(number): value for number, value in enumerate(hashes, start=1)}


def teacher_value_range(teacher: Folders) -> Any:
    """Return the range of the images of a teacher by its metadata; None where it is not said, or several teachers differ.

    Args:
        teacher: one folder or several, see :func:`teacher_root`.
    """
    folders = _listed(teacher)
    ranges = [input_format(read_metadata(folder)).get("value_range") for folder in folders]
    return ranges[0] if all(one == ranges[0] for one in ranges) else None


def _listed(given: Any, wanted: str = "teacher_bundle must be a folder or a list of folders") -> list[Any]:
    if given is None or not isinstance(given, str | Path | Sequence):
        raise InputError(f"{wanted}, got {given!r}.")
    if isinstance(given, Path):
        return [str(given)]
    if not isinstance(given, str):
        return [None if one is None else str(one) for one in given]
    if "," not in given or Path(given).exists():
        return [given]
    return [part.strip() for part in given.split(",") if part.strip()]


def _check_teachers(teachers: Sequence[tuple[str, str | None]]) -> None:
    if len(teachers) > 1 and any(folder == SELF for folder, _ in teachers):
        raise InputError("the student itself cannot be one of several teachers: set teacher_bundle to self alone.")
    seen = set()
    for folder, file in teachers:
        place = (Path(folder).resolve(), Path(file).resolve() if file else None)
        if place in seen:
            raise InputError(f"teacher {file or folder!r} is named twice; name each teacher once.")
        seen.add(place)
