# SPDX-License-Identifier: Apache-2.0
"""Whether one bundle can teach another, by their metadata, before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from akd_monai.bundle.metadata import input_format, output_format, read_metadata
from akd_monai.errors import InputError

__all__ = ["compare_bundles"]


def compare_bundles(teacher: str | Path, student: str | Path) -> list[str]:
    """Refuse a pair of bundles that cannot work together and return warnings about what may not be intended.

    The teacher sees the student's batches, so both must take the same number of channels and spatial dimensions and
    return the same number of classes. Different value ranges of the input, or differently named classes, are warnings:
    the teacher then sees images that were prepared in another way than those it was trained on.

    Args:
        teacher: the teacher's folder.
        student: the student's folder.

    Returns:
        Warnings, each without its full stop.

    Raises:
        InputError: if channels, classes or spatial dimensions differ.

    Example:
        >>> import tempfile
        >>> from akd_monai.bundle import assemble_bundles
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     compare_bundles(*assemble_bundles(["unetplusplus", "enet"], bundles_dir=folder))
        []
    """
    of_teacher = read_metadata(teacher)
    of_student = read_metadata(student)
    different = list(_differences(of_teacher, of_student))
    if different:
        raise InputError(
            f"teacher {str(teacher)!r} and student {str(student)!r} do not fit each other: {', '.join(different)} "
            "(teacher and student); the teacher sees the student's batches, so choose bundles for one task."
        )
    return list(_warnings(of_teacher, of_student))


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
        "output classes": output_format(metadata)["num_channels"],
    }


def _warnings(teacher: Mapping[str, Any], student: Mapping[str, Any]) -> Iterator[str]:
    range_of_teacher = input_format(teacher).get("value_range")
    range_of_student = input_format(student).get("value_range")
    if range_of_teacher != range_of_student:
        yield (
            f"the teacher was trained on values in {range_of_teacher}, the student's preprocessing gives "
            f"{range_of_student}: check that both scale intensities alike"
        )
    of_teacher = _class_names(teacher)
    of_student = _class_names(student)
    if of_teacher and of_student and _lower(of_teacher) != _lower(of_student):
        yield f"the classes are named {of_teacher} in the teacher and {of_student} in the student"


def _class_names(metadata: Mapping[str, Any]) -> list[str]:
    return list(output_format(metadata).get("channel_def", {}).values())


def _lower(names: list[str]) -> list[str]:
    return [name.lower() for name in names]
