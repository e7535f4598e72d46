# SPDX-License-Identifier: Apache-2.0
"""Whether one bundle can teach another, by their configs and metadata, before anything is trained."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from akd_monai.bundle._classes import teacher_classes
from akd_monai.bundle._preprocessing import compare_preprocessing
from akd_monai.bundle.metadata import input_format, read_metadata
from akd_monai.bundle.outputs import output_activation
from akd_monai.bundle.teacher import SELF, _listed
from akd_monai.data._modality import modality_of
from akd_monai.errors import InputError, check_choice
from akd_monai.handlers.findings import Finding, read_allowed, settle
from akd_monai.losses import Activation

__all__ = ["compare_bundles"]


def compare_bundles(
    teacher: str | Path | Sequence[str | Path],
    student: str | Path,
    *,
    activation: Activation | None = None,
    classes: str | Mapping[str, Any] | None = None,
    allow: str | Iterable[str] | None = None,
    override: Mapping[str, Any] | None = None,
) -> list[str]:
    """Refuse a pair of bundles that cannot work together and return warnings about what may not be intended.

    The teacher sees the student's batches, so both must take the same number of channels and spatial dimensions, prepare
    images alike, and return the same classes under the same activation. Nothing of the bundles is run or imported:

    * the activations are those of :func:`output_activation`;
    * classes are matched by their names, in any order, or by the table ``classes``, see the how-to "Distil any two bundles";
    * the modality, such as CT and MR, is that of the metadata; another one is refused;
    * the preprocessing of the teacher's inference is compared with that of the student's training. Other intensities,
      another orientation and a spacing that differs by more than a quarter are refused, all differences are logged as one
      table. What the teacher's own training does in the student's way is no difference.

    Args:
        teacher: the teacher's folder; of several teachers each is compared. Nothing is compared for ``"self"``, an average
            of the student.
        student: the student's folder.
        activation: what turns the logits of both into probabilities, where their configs do not tell.
        classes: which of the teacher's classes make up a class of the student:
            ``"gland=transition zone+peripheral zone"``.
        allow: checks whose findings are accepted: ``classes``, ``intensity``, ``modality``, ``orientation``, ``spacing``,
            as a list or a string with commas.
        override: values by id that the run sets in the student's configs, such as
            ``{"train#preprocessing#transforms#2#a_min": -1000}``; its preprocessing and its loss are
            read with them.

    Returns:
        Warnings, each without its full stop.

    Raises:
        InputError: if channels, dimensions, activations, classes, modality or the preprocessing do not fit, or both are one
            folder.
        UnknownNameError: if ``classes`` or ``allow`` names what does not exist.

    Example:
        >>> import tempfile
        >>> from akd_monai.bundle import assemble_bundles
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     compare_bundles(*assemble_bundles(["unetplusplus", "enet"], bundles_dir=folder))
        []
    """
    # before anything is read
    read_allowed(allow)
    folders = list(dict.fromkeys(_listed(teacher)))
    if folders == [SELF]:
        read_metadata(student)
        return []
    if len(folders) > 1:
        return _of_each(folders, student, activation, classes, allow, override)
    return _of_one(folders[0], student, activation, classes, allow, override)


def _of_one(
    teacher: str,
    student: str | Path,
    activation: Activation | None,
    classes: str | Mapping[str, Any] | None,
    allow: str | Iterable[str] | None,
    override: Mapping[str, Any] | None,
) -> list[str]:
    allowed = read_allowed(allow)
    of_teacher = read_metadata(teacher)
    of_student = read_metadata(student)
    if Path(teacher).samefile(student):
        raise InputError(
            f"teacher {str(teacher)!r} and student {str(student)!r} are one folder, where the student's weights would "
            "replace the teacher's",
            remedy="give the student a copy of the bundle",
        )
    different = list(_differences(of_teacher, of_student))
    if different:
        raise InputError(
            f"teacher {str(teacher)!r} and student {str(student)!r} do not fit each other: {', '.join(different)} "
            "(teacher and student); the teacher sees the student's batches, so choose bundles for one task."
        )
    common = _common_activation(teacher, student, activation, override)
    teacher_classes(teacher, student, classes, activation=common, allow=allowed)
    settle([*_other_modality(of_teacher, of_student), *compare_preprocessing(teacher, student, override)], allowed)
    contradicted = [] if activation is None else _contradicted(teacher, student, activation, override)
    return [*contradicted, *_warnings(of_teacher, of_student)]


def _of_each(
    folders: Sequence[str],
    student: str | Path,
    activation: Activation | None,
    classes: str | Mapping[str, Any] | None,
    allow: str | Iterable[str] | None,
    override: Mapping[str, Any] | None,
) -> list[str]:
    """Return the warnings about each of several teachers, with its folder."""
    warnings = []
    for folder in folders:
        found = compare_bundles(folder, student, activation=activation, classes=classes, allow=allow, override=override)
        warnings += [f"{folder}: {warning}" for warning in found]
    return warnings


def _contradicted(
    teacher: str | Path, student: str | Path, activation: Activation, override: Mapping[str, Any] | None
) -> Iterator[str]:
    """Yield a warning for each bundle whose configs name another activation than the one that was given."""
    for role, bundle, values in (("teacher", teacher, None), ("student", student, override)):
        try:
            own = output_activation(bundle, values)
        except InputError:
            # what the configs leave open is what the argument is for
            continue
        if own != activation:
            yield f"activation is set to {activation}, but the configs of the {role} speak for {own}"


def _differences(teacher: Mapping[str, Any], student: Mapping[str, Any]) -> Iterator[str]:
    facts = zip(_facts(teacher).items(), _facts(student).values(), strict=True)
    for (name, of_teacher), of_student in facts:
        if of_teacher != of_student:
            yield f"{name} {of_teacher} and {of_student}"


def _facts(metadata: Mapping[str, Any]) -> dict[str, int]:
    image = input_format(metadata)
    return {
        "input channels": image["num_channels"],
        "spatial dimensions": len(image["spatial_shape"]),
    }


def _other_modality(teacher: Mapping[str, Any], student: Mapping[str, Any]) -> Iterator[Finding]:
    theirs = input_format(teacher).get("modality")
    ours = input_format(student).get("modality")
    different = modality_of(theirs) != modality_of(ours)
    if different and modality_of(theirs) and modality_of(ours):
        yield Finding("modality", "danger", str(theirs), str(ours), "the teacher was trained on images of another kind")


def _common_activation(
    teacher: str | Path, student: str | Path, given: Activation | None, override: Mapping[str, Any] | None
) -> Activation:
    if given is not None:
        check_choice("activation", given, ("softmax", "sigmoid"))
        return given
    of_teacher = output_activation(teacher)
    of_student = output_activation(student, override)
    if of_teacher != of_student:
        raise InputError(
            f"the teacher's channels are {_kind(of_teacher)}, the student's {_kind(of_student)}",
            remedy="choose bundles of one kind, or set --activation if their configs say it wrongly",
            code="activation",
        )
    return of_teacher


def _kind(activation: Activation) -> str:
    return "softmax classes" if activation == "softmax" else "sigmoid channels, which may overlap"


def _warnings(teacher: Mapping[str, Any], student: Mapping[str, Any]) -> Iterator[str]:
    range_of_teacher = input_format(teacher).get("value_range")
    range_of_student = input_format(student).get("value_range")
    if range_of_teacher != range_of_student:
        yield (
            f"the teacher was trained on values in {range_of_teacher}, the student's preprocessing gives "
            f"{range_of_student}: check that both scale intensities alike"
        )
