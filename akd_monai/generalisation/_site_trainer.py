# SPDX-License-Identifier: Apache-2.0
"""What the trainers of several sites share: the sites of a batch, a layer's features, and what they refuse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from monai.data import MetaTensor
from monai.engines import SupervisedTrainer
from torch import nn
from torch.func import functional_call

from akd_monai.engines import DistillationMixin
from akd_monai.errors import InputError
from akd_monai.generalisation._sites import batch_sites, check_sites, sample_sites, sites_by_case
from akd_monai.generalisation.site_sampler import SiteSampler
from akd_monai.networks import FeatureTaps, probe_layers, select_head
from akd_monai.networks._wrappers import unwrap

__all__ = ["SiteTrainer", "plain", "trained"]


class SiteTrainer(SupervisedTrainer):
    """Base of trainers whose loss sees the site of each image and the features of a layer.

    The trainer's ``loss_function`` is replaced by :meth:`total_loss` and its ``_iteration`` is run inside feature taps,
    nothing else, so that a step stays that of MONAI's trainer.

    Args:
        method: name for messages.
        sites: how many sites the training cases must be of.
        layer: module path of the features.
        image_shape: ``(channels, *spatial)`` of one input, used once to find the channels of the layer.
        kwargs: all arguments of :class:`monai.engines.SupervisedTrainer`.
    """

    def __init__(
        self, *, method: str, sites: int, layer: str | None, image_shape: Sequence[int], **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self._method = method
        self._check_engine()
        dataset = getattr(self.data_loader, "dataset", None)
        check_sites(sample_sites(dataset), sites, method)
        self._site_of_case = sites_by_case(dataset)
        self._layer = self._checked_layer(layer)
        self.feature_shape = self._probed(self._layer, image_shape)
        self._task_loss = self.loss_function
        self.loss_function = self.total_loss
        self._taps: FeatureTaps | None = None
        self._batch_sites: list[str] = []
        self.add_event_handler(Events.EPOCH_STARTED, self._set_epoch)

    def total_loss(self, prediction: Any, label: torch.Tensor) -> torch.Tensor:
        """Return what is minimised."""
        raise NotImplementedError

    def _check_engine(self) -> None:
        if isinstance(self, DistillationMixin):
            raise self._refusal("cannot be distilled at the same time", "train it alone, then distil from or to it")
        if idist.get_world_size() > 1:
            raise self._refusal("runs on one process only", "start it without torchrun")
        if self.accumulation_steps != 1:
            raise self._refusal("steps after every batch", "set accumulation_steps to 1")

    def _checked_layer(self, layer: str | None) -> str:
        if not layer:
            raise self._refusal(
                "needs features of the network, and no layer is named",
                "name one under 'distillation_layers' in metadata.json, or give its module path",
            )
        return layer

    def _probed(self, layer: str, image_shape: Sequence[int]) -> tuple[int, ...]:
        shape = (1, *image_shape)
        found = probe_layers(self.network, [layer], shape, device=self.state.device, where="student")[layer]
        if len(found) != len(shape):
            raise self._refusal(
                f"needs a map [B, C, *spatial], layer {layer!r} gives {list(found)}", "name another layer"
            )
        return found

    def _set_epoch(self, engine: Engine) -> None:
        sampler = getattr(self.data_loader, "sampler", None)
        if isinstance(sampler, SiteSampler):
            sampler.epoch = engine.state.epoch

    def _iteration(self, engine: Any, batchdata: Any) -> dict[str, Any]:
        self._batch_sites = batch_sites(batchdata, self._site_of_case)
        # hooks exist for one iteration only, so that validation on the same network keeps no features
        with FeatureTaps(self.network, [self._layer]) as self._taps:
            output: dict[str, Any] = super()._iteration(engine, batchdata)
        self._taps = None
        return output

    def _features(self) -> torch.Tensor:
        """Return the layer's output of the latest pass."""
        if self._taps is None:
            raise RuntimeError("features exist inside an iteration only")
        features: torch.Tensor = plain(self._taps.features[self._layer])
        return features

    def _pass(
        self, image: torch.Tensor, parameters: Mapping[str, torch.Tensor], *, keep_statistics: bool = False
    ) -> Any:
        """Return the network's output with other parameters.

        The network is in training mode: batch normalisation takes the statistics of ``image``. Its running statistics are
        updated, as in any pass, unless ``keep_statistics`` says that a copy of them is.
        """
        network = unwrap(self.network)
        buffers = {name: buffer.clone() for name, buffer in network.named_buffers()} if keep_statistics else {}

        def with_parameters(inputs: torch.Tensor) -> Any:
            return functional_call(network, {**parameters, **buffers}, (inputs,))

        return self.inferer(image, with_parameters)

    def _logits(self, prediction: Any, image: torch.Tensor) -> torch.Tensor:
        logits = select_head(prediction, where="student", network=self.network, image_size=image.shape[2:])
        return logits.as_tensor() if isinstance(logits, MetaTensor) else logits

    def _refusal(self, what: str, remedy: str) -> InputError:
        return InputError(f"{self._method} {what}", remedy=remedy)


def plain(value: Any) -> Any:
    """Return a tensor without metadata."""
    return value.as_tensor() if isinstance(value, MetaTensor) else value


def trained(network: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters of a network that are trained, by name."""
    return {name: value for name, value in unwrap(network).named_parameters() if value.requires_grad}
