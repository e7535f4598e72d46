# SPDX-License-Identifier: Apache-2.0
"""An exported network in the place of the one in PyTorch, for MONAI's engines."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import nn

from akd_monai.deploy._engines import open_onnx
from akd_monai.deploy._onnx_metadata import onnx_metadata
from akd_monai.deploy._recipe import Recipe, recipe_of_metadata
from akd_monai.errors import InputError
from akd_monai.files import sha256_of

__all__ = ["ExportedNetwork"]


class ExportedNetwork(nn.Module):
    r"""Run an ONNX file of ``export`` on ONNX Runtime or OpenVINO, as ``network_def`` of a bundle's configs.

    Inference and evaluation of the bundle then need one override::

        python -m monai.bundle run --config_file configs/inference.json --dataset_dir images \
            --network_def "{'_target_': 'akd_monai.deploy.ExportedNetwork', 'path': 'models/model.onnx'}"

    It has no parameters and cannot be trained. :class:`~akd_monai.handlers.LoadWeights` compares the SHA-256 of the file
    of weights with the one from which the network was exported, in place of loading it.

    Args:
        path: the ONNX file.
        engine: ``auto``, ``onnxruntime`` or ``openvino``.
        threads: threads on the CPU; as many as the engine chooses by default.

    Raises:
        InputError: if the file cannot be opened or was not made by ``export``, or the engine is not installed.

    Example:
        >>> ExportedNetwork("no/such/model.onnx")
        Traceback (most recent call last):
        ...
        akd_monai.errors.InputError: no/such/model.onnx: cannot be opened (No such file or directory); check path and
        permissions.
    """

    def __init__(self, path: str | os.PathLike[str], engine: str = "auto", threads: int | None = None) -> None:
        super().__init__()
        self.path = Path(path)
        self.recipe: Recipe = recipe_of_metadata(onnx_metadata(self.path), str(self.path))
        self._opened = open_onnx(self.path, engine, threads)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits ``[B, K, *spatial]`` in float32 for ``[B, C, *spatial]``, on the device of ``x``.

        The spatial sizes are those of the exported file.
        """
        if tuple(x.shape[1:]) != self.recipe.input_shape:
            wanted = list(self.recipe.input_shape)
            what = f"was exported for inputs of {wanted}, got {list(x.shape[1:])}"
            raise InputError(what, where=str(self.path), remedy="run it with the settings of its bundle")
        batch = x.detach().to("cpu", torch.float32).contiguous()
        # a plain tensor: metadata of MONAI's know nothing of another array
        return torch.from_numpy(self._opened.run(torch.Tensor.numpy(batch.as_subclass(torch.Tensor)))).to(x.device)

    def check_weights(self, path: str | os.PathLike[str]) -> None:
        """Compare a file of weights with the one that was exported.

        Raises:
            InputError: if it is another one.
        """
        if sha256_of(path) != self.recipe.facts.get("weights_sha256"):
            what = f"was exported from other weights than {os.fspath(path)}"
            raise InputError(what, where=str(self.path), remedy="export it again", code="other-weights")
