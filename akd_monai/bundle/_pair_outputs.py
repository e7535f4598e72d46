# SPDX-License-Identifier: Apache-2.0
"""What the outputs of a teacher and a student mean to each other, and where an overlay is told of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from monai.bundle import ConfigParser

from akd_monai.bundle._student import has_id
from akd_monai.bundle._terms import set_option
from akd_monai.errors import check_choice
from akd_monai.losses import Activation
from akd_monai.networks import Head

__all__ = ["PairOutputs"]

_OUTPUT = "teacher_output"
# losses that know both kinds, and DIST, which refuses the second one
_CLASSES = ("LogitsKLLoss", "AdaptiveAffinityLoss", "RegionAffinityLoss", "IntraClassVariationLoss", "DISTLoss")
_NAMES = ("logits", "affinity", "region_affinity", "intra_class_variation", "dist")


@dataclass(frozen=True)
class PairOutputs:
    """What a user says of the outputs of two networks; None is what the bundles say.

    Args:
        activation: ``"softmax"`` or ``"sigmoid"``.
        teacher_head: which output of the teacher.
        student_head: which output of the student.
        classes: the table of classes.
    """

    activation: Activation | None = None
    teacher_head: Head = None
    student_head: Head = None
    classes: str | None = None

    def __post_init__(self) -> None:
        if self.activation is not None:
            check_choice("activation", self.activation, get_args(Activation))

    def given(self) -> dict[str, Any]:
        """Return what was given, by the names of the overlay's ids."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def values(self, parser: ConfigParser, trainer: str, found: Mapping[str, Any]) -> dict[str, Any]:
        """Return the ids to set in a merged config.

        Args:
            parser: the config; terms of an overlay that does not know the ids below are completed in it.
            trainer: id of the trainer.
            found: what the bundles say, ``activation`` and ``classes``, for an overlay without these ids.
        """
        given = self.given()
        if _OUTPUT in parser:
            return given
        activation = self.activation or found.get("activation", "softmax")
        output = {"head": self.teacher_head, "classes": found.get("classes"), "activation": activation}
        values: dict[str, Any] = {name: value for name, value in given.items() if has_id(parser, name)}
        if activation != "softmax":
            set_option(parser, (*_CLASSES, *_NAMES), "activation", activation)
        if any(value is not None for value in (self.teacher_head, output["classes"])) or activation != "softmax":
            values[f"{trainer}#{_OUTPUT}"] = output
        if self.student_head is not None:
            values[f"{trainer}#student_head"] = self.student_head
        return values
