# SPDX-License-Identifier: Apache-2.0
"""A teacher that is run on every batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.engines import SupervisedTrainer
from torch import nn

from akd_monai._faults import machine_fault
from akd_monai.errors import InputError, one_line
from akd_monai.networks import FeatureTaps, probe_layers
from akd_monai.teachers._compiled import check_compiled
from akd_monai.teachers._identity import teacher_identity
from akd_monai.teachers.options import TeacherOptions
from akd_monai.teachers.output import TeacherOutput

__all__ = ["OnlineTeacher", "TeacherOutputs"]

# how layers say that they do not take a size
_REFUSALS = (RuntimeError, ValueError, AssertionError, TypeError, IndexError)

# logits [B, K, *spatial] and features [B, C, *spatial] by layer
TeacherOutputs = tuple[torch.Tensor, dict[str, torch.Tensor]]


class OnlineTeacher:
    """Return the logits and tapped features that a network gives for images, without a graph.

    On a CPU, images are processed one at a time: that is no slower for large networks, takes the memory of one image, and
    makes the outputs for an image independent of its batch, down to the last bit, so that a cache can give the same.

    Args:
        network: the teacher, in ``eval`` mode on ``device``.
        layers: module paths to tap.
        options: precision, memory order, compiling.
        device: where it is run.
        ambient: type of the trainer's autocast, None when it has none.
        output: what is taken from the network's output; by default its logits, as they are.

    Attributes:
        computed: number of images that went through the network.
        served: number of images for which outputs were returned.

    Raises:
        UnknownNameError: for a layer that the network does not have.

    Example:
        >>> network = nn.Sequential(nn.Conv2d(1, 4, 1), nn.Conv2d(4, 2, 1)).eval()
        >>> teacher = OnlineTeacher(network, ["0"], TeacherOptions(), torch.device("cpu"))
        >>> logits, features = teacher(torch.ones(3, 1, 8, 8), None)
        >>> logits.shape, features["0"].shape, teacher.computed
        (torch.Size([3, 2, 8, 8]), torch.Size([3, 4, 8, 8]), 3)
    """

    def __init__(
        self,
        network: nn.Module,
        layers: Sequence[str],
        options: TeacherOptions,
        device: torch.device,
        ambient: torch.dtype | None = None,
        output: TeacherOutput | None = None,
    ) -> None:
        self.network = network
        self.layers = list(layers)
        self.options = options
        self.device = device
        self.output = output or TeacherOutput()
        self.taps = FeatureTaps(network, layers)
        self.autocast = options.autocast or ambient
        self.computed = 0
        self.served = 0
        self._compiled: Any = None
        self._is_reordered = False

    def start(self, trainer: SupervisedTrainer) -> None:
        """Prepare for a run."""
        # a caller may have put a module that owns the teacher into training mode since
        self.network.eval()

    def __call__(self, image: torch.Tensor, batch: Any) -> TeacherOutputs:
        """Return logits ``[B, K, *spatial]`` and features by layer.

        Args:
            image: ``[B, C, *spatial]``.
            batch: what the loader gave; it is not used.

        Raises:
            InputError: if the network does not take images of this size, its output is not as ``output`` says, or
                compiling changes what it returns.
        """
        self.computed += len(image)
        self.served += len(image)
        if self.device.type != "cpu" or len(image) == 1:
            return self._outputs(image)
        singles = [self._outputs(one) for one in image.split(1)]
        features = {}
        for layer in self.layers:
            features[layer] = torch.cat([single[1][layer] for single in singles])
        return torch.cat([single[0] for single in singles]), features

    def _outputs(self, image: torch.Tensor) -> TeacherOutputs:
        if self.options.channels_last:
            image = self._reordered(image)
        with torch.no_grad():
            return self._compiled_outputs(image) if self.options.compile else self._forward(self.network, image)

    def _compiled_outputs(self, image: torch.Tensor) -> TeacherOutputs:
        # CUDA graphs write each result to where the one before was, which nobody reads any more.
        torch.compiler.cudagraph_mark_step_begin()
        if self._compiled is not None:
            return self._forward(self._compiled, image)
        mode = self.options.compile if isinstance(self.options.compile, str) else None
        self._compiled = torch.compile(self.network, mode=mode)
        plain = self._forward(self.network, image)
        outputs = self._forward(self._compiled, image)
        check_compiled(plain, outputs, self.output.activation)
        return outputs

    def _forward(self, network: Any, image: torch.Tensor) -> TeacherOutputs:
        try:
            with torch.autocast(self.device.type, dtype=self.autocast, enabled=self.autocast is not None):
                returned = self._returned(network, image)
            logits = self.output(returned, network=self.network, image_size=image.shape[2:])
            return logits, dict(self.taps.features)
        finally:
            self.taps.clear()

    def _returned(self, network: Any, image: torch.Tensor) -> Any:
        try:
            return network(image)
        except _REFUSALS as error:
            if isinstance(error, InputError) or machine_fault(error):
                raise
            raise InputError(
                f"cannot process the student's images of shape {list(image.shape)}: {one_line(error)}",
                where="teacher",
                remedy="crop the student's training images to a size that the teacher takes, by the id of their crop",
            ) from error

    def _reordered(self, image: torch.Tensor) -> torch.Tensor:
        order = torch.channels_last if image.dim() == 4 else torch.channels_last_3d
        if not self._is_reordered:
            # PyTorch's types know this argument for tensors alone
            self.network.to(memory_format=order)  # type: ignore[call-overload]
            self._is_reordered = True
        return image.contiguous(memory_format=order)

    def shapes(self, input_shape: Sequence[int]) -> dict[str, tuple[int, ...]]:
        """Return ``(C, *spatial)`` of each tapped layer, and of the logits under ``""``, for one ``(C, *spatial)``."""
        layers = [*self.layers, None]
        found = probe_layers(
            self.network, layers, (1, *input_shape), self.device, head=self.output.head, where="teacher"
        )
        shapes = {name: shape[1:] for name, shape in found.items()}
        shapes[""] = (self.output.channels(shapes[""][0]), *shapes[""][1:])
        return shapes

    def identity(self) -> dict[str, Any]:
        """Return all that decides the outputs but the images, as JSON values."""
        facts: dict[str, Any] = {
            "weights": teacher_identity(self.network),
            "device": self.device.type,
            "autocast": str(self.autocast),
            "channels_last": self.options.channels_last,
            "compile": self.options.compile,
        }
        output = self.output.facts()
        if output:
            facts["output"] = output
        if self.device.type == "cuda":
            facts["float32_matmul"] = torch.get_float32_matmul_precision()
            # added to the module when it is imported, where mypy cannot see it
            facts["float32_convolution"] = str(torch.backends.cudnn.conv.fp32_precision)  # type: ignore[attr-defined]
        return facts
