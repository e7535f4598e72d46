# SPDX-License-Identifier: Apache-2.0
"""What is added to MONAI Label's inference with a bundle."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monai.transforms import AsDiscreted, Invertd, SaveImaged, Spacingd
from torch import nn
from torch.nn.modules.dropout import _DropoutNd

if TYPE_CHECKING:
    from monailabel.tasks.infer.bundle import BundleInferTask as Base
else:
    # a mixin, so that this module can be read where MONAI Label is not installed
    Base = object


class SafeInfer(Base):
    """Mixin for ``monailabel.tasks.infer.bundle.BundleInferTask``.

    - Weights are loaded strictly; other keys or shapes end the request.
    - ``Spacingd`` of MONAI 1.6 works although MONAI Label's data hold the path of the image beside it.
    - A mask is written as ``uint8`` unless the request names a ``result_dtype``, and with the affine of the image even
      where its axes are sheared.
    - When uncertainty is scored, probabilities are compared, and dropout alone is random: batch normalisation stays as
      trained.
    """

    def __init__(self, path: str, conf: Mapping[str, str], **options: Any) -> None:
        options["load_strict"] = True
        if options.get("train_mode"):
            options |= {"post_filter": [SaveImaged, Invertd, AsDiscreted], "add_post_restore": False}
        super().__init__(path, conf, **options)

    def config(self) -> dict[str, Any]:
        """Return what a viewer can set; weights that were kept during training are offered, the newest first."""
        config: dict[str, Any] = super().config()
        models = Path(self.get_path(validate=False)).parent.glob("*.pt")
        config["model_filename"] = sorted((p.name for p in models), key=lambda name: (len(name), name))
        return config

    def pre_transforms(self, data: Any = None) -> Sequence[Callable]:
        """Return the bundle's preprocessing."""
        return [_WithoutPaths(t) if isinstance(t, Spacingd) else t for t in super().pre_transforms(data)]

    def writer(self, data: dict[str, Any], extension: Any = None, dtype: Any = None) -> tuple[Any, Any]:
        """Write the mask."""
        if data.get("result_dtype") is None:
            data["result_dtype"] = "uint8"
        return super().writer(data, extension, dtype)

    def _get_network(self, device: str, data: Any) -> nn.Module:
        network: nn.Module = super()._get_network(device, data)
        if self.train_mode:
            only_dropout(network)
        return network


class _WithoutPaths:
    """Run a ``Spacingd`` on data without strings such as ``image_path``, which it takes for metadata."""

    def __init__(self, transform: Spacingd) -> None:
        self.transform = transform

    def __call__(self, data: Mapping[Any, Any]) -> dict[Any, Any]:
        names = tuple(f"{key}_" for key in self.transform.keys)
        paths = {k: v for k, v in data.items() if isinstance(v, str) and str(k).startswith(names)}
        return {**self.transform({k: v for k, v in data.items() if k not in paths}), **paths}


def only_dropout(network: nn.Module) -> nn.Module:
    """Put ``network`` into ``eval`` mode with its dropout layers in ``train`` mode, and return it.

    Example:
        >>> network = only_dropout(nn.Sequential(nn.BatchNorm2d(2), nn.Dropout2d(0.2)))
        >>> [layer.training for layer in network]
        [False, True]
    """
    network.eval()
    for module in network.modules():
        if isinstance(module, _DropoutNd):
            module.train()
    return network
