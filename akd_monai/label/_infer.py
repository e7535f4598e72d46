# SPDX-License-Identifier: Apache-2.0
"""Additions to MONAI Label's inference with a bundle."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
from monai.transforms import AsDiscreted, Invertd, SaveImaged, Spacingd
from monai.utils import convert_to_numpy
from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from akd_monai.data.gate import odd_share
from akd_monai.data.placement import nifti_like
from akd_monai.deploy.exported_network import ExportedNetwork
from akd_monai.errors import InputError

if TYPE_CHECKING:
    from monailabel.tasks.infer.bundle import BundleInferTask as Base
else:
    # a mixin, so that this module can be read where MONAI Label is not installed
    Base = object

__all__ = ["SafeInfer", "only_dropout", "write_nifti"]

logger = logging.getLogger(__name__)


class SafeInfer(Base):  # type: ignore[misc]  # MONAI Label has no types
    """Mixin for ``monailabel.tasks.infer.bundle.BundleInferTask``.

    - Weights are loaded strictly; other keys or shapes end the request.
    - ``Spacingd`` of MONAI 1.6 works although MONAI Label's data hold the path of the image beside it.
    - A mask is written as ``uint8`` unless the request names a ``result_dtype``, and with the affine of the image even
      where its axes are sheared.
    - An exported network (:class:`~akd_monai.deploy.ExportedNetwork` as ``network_def``) runs where the weights are those
      that it was exported from.
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

    def pre_transforms(self, data: Any = None) -> Sequence[Callable[..., Any]]:
        """Return the bundle's preprocessing."""
        return [_WithoutPaths(t) if isinstance(t, Spacingd) else t for t in super().pre_transforms(data)]

    def writer(self, data: dict[str, Any], extension: Any = None, dtype: Any = None) -> tuple[Any, Any]:
        """Write the mask."""
        if self.type in ("classification", "detection"):
            return self._monai_labels_writer(data, extension, dtype)
        wanted = {"result_extension": extension, "result_dtype": dtype, "labels": self.labels}
        data.update({key: value for key, value in wanted.items() if value is not None})
        if data.get("result_dtype") is None:
            largest = max((self.labels or {}).values(), default=1)
            data["result_dtype"] = "uint8" if largest < 256 else "uint16"
        path = write_nifti(data, self.output_label_key)
        if path is None:
            return self._monai_labels_writer(data)
        return path, data.get(self.output_json_key, {})

    def _monai_labels_writer(self, *arguments: Any) -> tuple[Any, Any]:
        written: tuple[Any, Any] = super().writer(*arguments)
        return written

    def _get_network(self, device: str, data: Any) -> nn.Module:
        if isinstance(self.network, ExportedNetwork):
            return self._exported(self.network, data)
        network: nn.Module = super()._get_network(device, data)
        if self.train_mode:
            only_dropout(network)
        return network

    def _exported(self, network: ExportedNetwork, data: Any) -> nn.Module:
        """Return an exported network; the weights that are asked for must be those that it was exported from."""
        if self.train_mode:
            what = "an exported network has no dropout, by which uncertainty is scored"
            raise InputError(what, where=str(network.path), remedy="serve the bundle with its network in PyTorch")
        weights = Path(self.get_path())
        chosen = (data or {}).get("model_filename")
        # a viewer sends what it chose as one name or as a list of it
        name = chosen[0] if isinstance(chosen, (list, tuple)) else chosen
        network.check_weights(weights.with_name(name) if name else weights)
        return network


class _WithoutPaths:
    """Run a ``Spacingd`` on data without strings such as ``image_path``, which it takes for metadata."""

    def __init__(self, transform: Spacingd) -> None:
        self.transform = transform

    def __call__(self, data: Mapping[Any, Any]) -> dict[Any, Any]:
        names = tuple(f"{key}_" for key in self.transform.keys)
        paths = {key: value for key, value in data.items() if isinstance(value, str) and str(key).startswith(names)}
        rest = {key: value for key, value in data.items() if key not in paths}
        return {**self.transform(rest), **paths}


def write_nifti(data: Mapping[str, Any], key: str = "pred") -> str | None:
    """Write the mask ``data[key]`` as NIfTI and return the path, or None where another form is asked for.

    It has qform, sform, codes and units of the image's file. ITK, which MONAI Label uses, sets its own, and writes sheared
    axes to NIfTI as if they were at right angles. An empty mask, or one of everything, is a warning.
    """
    name = str(data.get("result_extension") or data.get("image_path") or "").lower()
    extension = next((suffix for suffix in (".nii.gz", ".nii") if name.endswith(suffix)), None)
    mask = convert_to_numpy(data[key])
    affine = data.get(f"{key}_meta_dict", {}).get("affine")
    if extension is None or affine is None or mask.ndim > 3 or not data.get("result_write_to_file", True):
        return None
    image_path = data.get("image_path")
    warning = odd_share(mask)
    if warning:
        logger.warning("%s: %s.", image_path or key, warning)
    image = nifti_like(mask.astype(data["result_dtype"]), np.asarray(affine, dtype=np.float64), image_path)
    with tempfile.NamedTemporaryFile(suffix=extension, delete=False) as file:
        nib.save(image, file.name)
    return file.name


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
