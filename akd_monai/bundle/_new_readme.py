# SPDX-License-Identifier: Apache-2.0
"""What the README of a new bundle says."""

from __future__ import annotations

from akd_monai.bundle._new_bundle import NewBundle

__all__ = ["counted", "new_readme"]

_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_COMMAND = (
    "```bash\npython -m monai.bundle run --config_file \"['configs/train.json','configs/distill.json']\" "
    "--teacher_bundle TEACHER --dataset_dir DATA\n```"
)
_STUDENT = "Distil from a teacher, whose bundle is not modified; the result in `models/model.pt` is the plain network"
_TEACHER = "To use it as a teacher, run from the student's folder"


def new_readme(about: NewBundle) -> dict[str, str]:
    """Return the values of the README's placeholders."""
    target = about.network_def["_target_"]
    role = "teacher" if about.teacher else "student"
    how = _TEACHER if about.teacher else _STUDENT
    values = {
        "title": about.name,
        "network": f"`{target}` ({about.facts['parameters']} parameters)",
        "role": f"It is a {role}; layers: {about.facts['layers']}.",
        "distil": f"{how}:\n\n{_COMMAND}",
        "source": about.reference or f"`{target}`.",
        "task": about.task,
        "target": f"- Target: {_labels(about)}",
        "size": " x ".join(map(str, about.spatial_size)),
        "shape": str([1, about.in_channels, *about.spatial_size]),
        "input": f"{counted(about.in_channels, 'channel').capitalize()}.",
        "output": f"{counted(about.out_channels, 'channel').capitalize()}: {', '.join(about.class_names)}.",
    }
    if list(about.classes) != ["prostate"]:
        # the public data of the project's bundles have labels of the prostate alone
        values["origin"] = ""
    return values


def counted(number: int, what: str) -> str:
    """Return a number of things in words.

    Example:
        >>> counted(1, "channel"), counted(3, "channel"), counted(12, "channel")
        ('one channel', 'three channels', '12 channels')
    """
    word = _NUMBERS[number] if number < len(_NUMBERS) else str(number)
    return f"{word} {what}" if number == 1 else f"{word} {what}s"


def _labels(about: NewBundle) -> str:
    if about.out_channels == 2:
        return f"{about.classes[0]} (background 0, any other label is {about.classes[0]})"
    return ", ".join(f"{name} ({i})" for i, name in enumerate(about.class_names))
