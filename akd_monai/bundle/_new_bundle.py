# SPDX-License-Identifier: Apache-2.0
"""What a bundle for a new network is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["NewBundle"]


@dataclass(frozen=True)
class NewBundle:
    """What a new bundle is about.

    Args:
        name: of the bundle.
        network_def: the network's definition, as configs hold it.
        in_channels: channels of the image.
        classes: names of the classes without the background.
        spatial_size: height and width of slices.
        layers: module paths of the layers worth distilling.
        teacher: whether it is a teacher, without overlay.
        task: one sentence without full stop.
        authors: of the bundle.
        reference: the network's publication.
        facts: ``parameters`` and ``layers`` of the network, in words.
    """

    name: str
    network_def: Mapping[str, Any]
    in_channels: int
    classes: Sequence[str]
    spatial_size: Sequence[int]
    layers: Mapping[str, str]
    teacher: bool
    task: str
    authors: str
    reference: str | None
    facts: Mapping[str, str]

    @property
    def out_channels(self) -> int:
        """Channels of the logits, background included."""
        return len(self.classes) + 1

    @property
    def class_names(self) -> list[str]:
        """Names of all classes, the background first."""
        return ["background", *self.classes]
