# SPDX-License-Identifier: Apache-2.0
"""A teacher that looks at every batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from monai.engines import SupervisedTrainer
from torch import nn

from akd_monai.errors import InputError
from akd_monai.networks import FeatureTaps, probe_layers
from akd_monai.teachers.identity import teacher_identity
from akd_monai.teachers.options import TeacherOptions

Maps = tuple[torch.Tensor, dict[str, torch.Tensor]]
# of values and of decisions; half precision keeps 8 bits (bfloat16) and more
_COMPILED_VALUES, _COMPILED_LABELS = 1e-2, 0.999


class OnlineTeacher:
    """Return the logits and tapped features that a network gives for images, without a graph.

    A CPU is given one image at a time: large networks are no slower so, memory is that of one image, and what is made of
    an image does not depend on its batch, down to the last bit, so that a cache can give the same.

    Args:
        network: the teacher.
        layers: module paths to tap.
        options: how it is run.
        device: where it is run.
        ambient: type of the trainer's autocast, None when it has none.

    Attributes:
        computed: number of images that went through the network.
        served: number of images whose maps were returned.
    """

    def __init__(
        self,
        network: nn.Module,
        layers: Sequence[str],
        options: TeacherOptions,
        device: torch.device,
        ambient: torch.dtype | None = None,
    ) -> None:
        self.network, self.layers, self.options, self.device = network, list(layers), options, device
        self.taps = FeatureTaps(network, layers)
        self.autocast = options.autocast or ambient
        self.computed = self.served = 0
        self._compiled: Any = None
        self._is_reordered = False

    def start(self, trainer: SupervisedTrainer) -> None:
        """Get ready for a run."""
        # a caller may have put a module that owns the teacher into training mode since
        self.network.eval()

    def __call__(self, image: torch.Tensor, batch: Any) -> Maps:
        """Return logits ``[B, K, *spatial]`` and features by layer; ``batch`` is what the loader gave.

        Raises:
            InputError: if the network does not return one tensor.
        """
        self.computed += len(image)
        self.served += len(image)
        if self.device.type != "cpu" or len(image) == 1:
            return self._look(image)
        found = [self._look(one) for one in image.split(1)]
        features = {layer: torch.cat([maps[layer] for _, maps in found]) for layer in self.layers}
        return torch.cat([logits for logits, _ in found]), features

    def _look(self, image: torch.Tensor) -> Maps:
        if self.options.channels_last:
            image = self._reordered(image)
        with torch.no_grad():
            if not self.options.compile:
                return self._run(self.network, image)
            # CUDA graphs write each result to where the one before was, which nobody reads any more.
            torch.compiler.cudagraph_mark_step_begin()
            if self._compiled is None:
                mode = None if self.options.compile is True else self.options.compile
                self._compiled = torch.compile(self.network, mode=mode)
                plain, maps = self._run(self.network, image), self._run(self._compiled, image)
                _check_equal(plain, maps)
                return maps
            return self._run(self._compiled, image)

    def _run(self, network: Any, image: torch.Tensor) -> Maps:
        try:
            with torch.autocast(self.device.type, dtype=self.autocast, enabled=self.autocast is not None):
                logits = network(image)
            if not isinstance(logits, torch.Tensor):
                raise InputError(
                    f"the teacher must return one tensor of logits, got {type(logits).__name__}; "
                    "wrap the network so that forward returns its final logits."
                )
            return logits, dict(self.taps.features)
        finally:
            self.taps.clear()

    def _reordered(self, image: torch.Tensor) -> torch.Tensor:
        order = torch.channels_last if image.dim() == 4 else torch.channels_last_3d
        if not self._is_reordered:
            self.network.to(memory_format=order)  # type: ignore[call-overload]
            self._is_reordered = True
        return image.contiguous(memory_format=order)

    def shapes(self, input_shape: Sequence[int]) -> dict[str, tuple[int, ...]]:
        """Return ``(C, *spatial)`` of each tapped layer, and of the logits under ``""``, for one ``(C, *spatial)``."""
        found = probe_layers(self.network, [*self.layers, None], (1, *input_shape), device=self.device)
        return {name: shape[1:] for name, shape in found.items()}

    def identity(self) -> dict[str, Any]:
        """Return all that decides the maps but the images, as JSON values."""
        facts: dict[str, Any] = {
            "weights": teacher_identity(self.network),
            "device": self.device.type,
            "autocast": str(self.autocast),
            "channels_last": self.options.channels_last,
            "compile": self.options.compile,
        }
        if self.device.type == "cuda":
            facts["float32_matmul"] = torch.get_float32_matmul_precision()
            facts["float32_convolution"] = str(torch.backends.cudnn.conv.fp32_precision)  # type: ignore[attr-defined]
        return facts


def _check_equal(plain: Maps, compiled: Maps) -> None:
    pairs: Mapping[str, tuple[torch.Tensor, torch.Tensor]] = {
        "logits": (plain[0], compiled[0]),
        **{name: (value, compiled[1][name]) for name, value in plain[1].items()},
    }
    for name, (one, other) in pairs.items():
        scale = one.float().abs().max().clamp(min=1e-12)
        difference = ((one.float() - other.float()).abs().max() / scale).item()
        if not difference <= _COMPILED_VALUES:
            raise InputError(
                f"torch.compile changes the teacher's {name} by {difference:.1e} of their largest value: "
                "set compile of teacher_options to false."
            )
    equal = (plain[0].argmax(1) == compiled[0].argmax(1)).float().mean().item()
    if equal < _COMPILED_LABELS:
        raise InputError(
            f"torch.compile changes the teacher's decision in {100 - 100 * equal:.2f} % of the pixels: "
            "set compile of teacher_options to false."
        )
