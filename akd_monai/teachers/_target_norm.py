# SPDX-License-Identifier: Apache-2.0
"""Batch statistics of a teacher that are re-estimated when a run starts, and kept when it resumes."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, cast

import ignite.distributed as idist
import torch
from monai.engines import SupervisedTrainer
from torch import nn

from akd_monai.errors import InputError
from akd_monai.teachers._target_images import image_batches
from akd_monai.teachers.average import EmaTeacher
from akd_monai.teachers.norm import _batch_norms, adapt_batch_norm
from akd_monai.teachers.options import TeacherOptions
from akd_monai.teachers.source import networks_of

__all__ = ["TargetNorm", "target_norm"]

logger = logging.getLogger(__name__)


class TargetNorm:
    """Adapt the batch normalisation of teachers to the images of a training, once for a run.

    Args:
        networks: the teachers.
        images: on how many images, at most.

    Raises:
        InputError: for a teacher without batch normalisation.
    """

    def __init__(self, networks: Sequence[nn.Module], images: int) -> None:
        self.networks = list(networks)
        self.images = images
        self._is_done = False
        for network in self.networks:
            if not _batch_norms(network):
                # says why, before any data is read
                adapt_batch_norm(network, [])

    def start(self, trainer: SupervisedTrainer) -> None:
        """Re-estimate the statistics, unless that was done when the run was started."""
        if self._is_done:
            return
        for network in self.networks:
            # read again for each, since a volume may be large
            count = adapt_batch_norm(network, image_batches(trainer, self.images))
            _share(network)
            logger.info("batch statistics of the teacher are re-estimated on %d images of the training data", count)
        self._is_done = True

    def facts(self) -> dict[str, Any]:
        """Return what decides the statistics beside the data."""
        return {"statistics": "target", "images": self.images}

    def state_dict(self) -> dict[str, Any]:
        """Return the statistics."""
        return {"statistics": [_statistics(network) for network in self.networks]} if self._is_done else {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put statistics back.

        Raises:
            ValueError: if they are those of other networks.
        """
        if not state:
            return
        for network, values in zip(self.networks, state["statistics"], strict=True):
            buffers = _statistics(network)
            if buffers.keys() != values.keys():
                raise ValueError("they are the statistics of another network")
            for name, buffer in buffers.items():
                buffer.copy_(values[name])
        self._is_done = True


def target_norm(teacher: nn.Module, options: TeacherOptions | Mapping[str, Any] | None) -> TargetNorm | None:
    """Return what adapts the teacher's batch normalisation, ``None`` where the options keep its own statistics.

    Raises:
        InputError: for a teacher without batch normalisation, or an average of the student, which copies its statistics.
    """
    chosen = TeacherOptions.read(options)
    if chosen.norm == "stored":
        return None
    if isinstance(teacher, EmaTeacher):
        raise InputError(
            "an average of the student has the student's own batch statistics", remedy="set teacher_norm to stored"
        )
    return TargetNorm(networks_of(teacher), chosen.norm_images)


def _statistics(network: nn.Module) -> dict[str, torch.Tensor]:
    found = {}
    for number, layer in enumerate(_batch_norms(network)):
        for name, buffer in layer.named_buffers():
            found[f"{number}.{name}"] = buffer
    return found


def _share(network: nn.Module) -> None:
    """Give every process the statistics of the first, whose part of the data may be another."""
    if idist.get_world_size() == 1:
        return
    for buffer in _statistics(network).values():
        buffer.copy_(cast(torch.Tensor, idist.broadcast(buffer, src=0)))
