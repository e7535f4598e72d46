# SPDX-License-Identifier: Apache-2.0
"""What metadata and README of a student that is like a teacher say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from akd_monai.bundle._new_teacher import TeacherFacts

__all__ = ["Told", "like_metadata", "like_readme"]

_OWN = ("eval_metrics", "weights_sha256", "supported_apps", "distillation_layers", "changelog", "published_results")


@dataclass(frozen=True)
class Told:
    """What is told about a new student.

    Args:
        name: of the bundle.
        network: where its class is imported from.
        parameters: how many it has.
        student_layers: module paths worth distilling, by level.
        teacher_layer: the teacher's layer of the same resolution.
        reason: why there is none.
        modules: names of the teacher's Python files and folders that were copied.
    """

    name: str
    network: str
    parameters: int
    student_layers: Mapping[str, str]
    teacher_layer: str | None
    reason: str
    modules: Sequence[str]


def like_metadata(metadata: Mapping[str, Any], teacher: str, told: Told) -> dict[str, Any]:
    """Return the teacher's metadata as those of the student."""
    kept = {name: value for name, value in metadata.items() if name not in _OWN}
    short = told.network.rsplit(".", 1)[-1]
    return {
        **kept,
        "required_packages_version": metadata.get("required_packages_version", {}),
        "version": "0.1.0",
        "changelog": {"0.1.0": f"configs of {teacher} with the network {short}"},
        "name": told.name,
        "description": f"{short} of {told.parameters:,} parameters for the task of {teacher}",
        "eval_metrics": {},
        "distillation_layers": dict(told.student_layers),
    }


def like_readme(facts: TeacherFacts, told: Told) -> str:
    """Return the README of the student."""
    teacher = facts.root.name
    option = f" --teacher_layer {told.teacher_layer}" if told.teacher_layer else ""
    trust = " --trust_teacher" if told.modules else ""
    return "\n".join(
        [
            f"# {told.name}",
            "",
            f"A student of the bundle `{teacher}`: {facts.metadata.get('task', 'segmentation')}.",
            "",
            "## Network",
            "",
            f"`{told.network}` with {told.parameters:,} parameters, {facts.spatial_dims}D, {facts.in_channels} channels in, "
            f"{facts.out_channels} out. It was run without data on "
            f"{', '.join(' x '.join(map(str, size)) for size in facts.sizes)}.",
            "",
            f"Layers worth distilling: {_layers(told)}.",
            "",
            "## Data and training",
            "",
            f"Everything but the network is that of `{teacher}`: data, transforms, crops, inferer, loss, optimiser, "
            "metrics. Where its configs name `dataset_dir` and the like, set them for this bundle as well.",
            _code(teacher, told),
            "",
            "```bash",
            f"python -m akd_monai distill --teacher {teacher} --student {told.name} --dataset_dir DATA{option}{trust}",
            "```",
            "",
            "Run it from the folder that holds both bundles. Without a teacher, from this bundle's folder, `python -m "
            "monai.bundle run` with the config `train` trains the same network.",
            "",
        ]
    )


def _layers(told: Told) -> str:
    listed = ", ".join(f"`{layer}` ({level})" for level, layer in told.student_layers.items()) or "none was found"
    if told.teacher_layer:
        return f"{listed}; of the teacher `{told.teacher_layer}`"
    none = f"none of the teacher is proposed ({told.reason})"
    return f"{listed}; {none}, so the Gram term is off unless `--teacher_layer` is given"


def _code(teacher: str, told: Told) -> str:
    copied = f" {', '.join(f'`{name}`' for name in told.modules)} was copied as it is." if told.modules else ""
    return (
        f"Expressions (`$...`) in the configs are those of `{teacher}` too, and run when this bundle is trained; "
        f"`python -m akd_monai check {told.name}` lists them.{copied}"
    )
