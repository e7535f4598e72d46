# SPDX-License-Identifier: Apache-2.0
"""Whether one bundle can teach another, seen from their metadata before anything is trained."""

from __future__ import annotations

from pathlib import Path

from akd_monai.bundle.metadata import input_format, output_format, read_metadata
from akd_monai.errors import InputError


def compare_bundles(teacher: str | Path, student: str | Path) -> list[str]:
    """Refuse a pair of bundles that cannot work together and return warnings about what may not be meant.

    The teacher sees the student's batches, so both must take the same number of channels and spatial dimensions and give
    the same number of classes. Different value ranges of the input, or differently named classes, are warnings: the
    teacher then sees images that were prepared in another way than those it was trained on.

    Args:
        teacher: the teacher's folder.
        student: the student's folder.

    Raises:
        InputError: when channels, classes or spatial dimensions differ.
    """
    ours, theirs = read_metadata(student), read_metadata(teacher)
    image, image_t = input_format(ours), input_format(theirs)
    pred, pred_t = output_format(ours), output_format(theirs)
    facts = {
        "input channels": (image_t["num_channels"], image["num_channels"]),
        "spatial dimensions": (len(image_t["spatial_shape"]), len(image["spatial_shape"])),
        "output classes": (pred_t["num_channels"], pred["num_channels"]),
    }
    different = [f"{name} {a} and {b}" for name, (a, b) in facts.items() if a != b]
    if different:
        raise InputError(
            f"teacher {str(teacher)!r} and student {str(student)!r} do not fit each other: {', '.join(different)} "
            "(teacher and student); the teacher sees the student's batches, so choose bundles for one task."
        )
    warnings = []
    if image_t.get("value_range") != image.get("value_range"):
        warnings.append(
            f"the teacher was trained on values in {image_t.get('value_range')}, the student's preprocessing gives "
            f"{image.get('value_range')}: check that both scale intensities alike"
        )
    classes, classes_t = (list(p.get("channel_def", {}).values()) for p in (pred, pred_t))
    if classes and classes_t and [c.lower() for c in classes] != [c.lower() for c in classes_t]:
        warnings.append(f"the classes are named {classes_t} in the teacher and {classes} in the student")
    return warnings
