# SPDX-License-Identifier: Apache-2.0
"""Write a network as a program of ``torch.export``, which PyTorch runs without the network's code."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from akd_monai.deploy._engines import Network
from akd_monai.deploy._onnx_file import EXAMPLE_BATCH, MOST_IN_BATCH
from akd_monai.errors import InputError, one_line
from akd_monai.files import atomic_write

__all__ = ["open_pt2", "write_pt2"]


def write_pt2(network: nn.Module, input_shape: Sequence[int], path: Path) -> None:
    """Write a ``.pt2`` file that takes batches of any size.

    Args:
        network: in ``eval`` mode, on the CPU; takes one tensor and returns one.
        input_shape: ``(channels, *spatial)``.
        path: the file.

    Raises:
        InputError: if the network cannot be exported.
    """
    example = torch.zeros(EXAMPLE_BATCH, *input_shape)
    batch = torch.export.Dim("batch", min=1, max=MOST_IN_BATCH)
    data = io.BytesIO()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.export.save(torch.export.export(network, (example,), dynamic_shapes=({0: batch},)), data)
    except Exception as error:  # torch.export raises errors of its own for each of its stages
        what = f"{type(network).__name__} cannot be exported by torch.export with any batch size ({one_line(error)})"
        raise InputError(what, remedy="leave --pt2 out", code="not-exportable") from error
    atomic_write(path, data.getvalue())


def open_pt2(path: Path) -> Network:
    """Open a ``.pt2`` file."""
    program = torch.export.load(str(path)).module()

    def run(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return np.asarray(program(torch.from_numpy(batch)).numpy())

    return Network(f"pt2 {torch.__version__.split('+')[0]}", run)
