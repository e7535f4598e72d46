# SPDX-License-Identifier: Apache-2.0
"""Write a network of PyTorch as an ONNX file with metadata."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from akd_monai.errors import InputError, one_line

__all__ = ["EXAMPLE_BATCH", "INPUT", "MOST_IN_BATCH", "OUTPUT", "write_onnx"]

INPUT = "image"
OUTPUT = "logits"
MOST_IN_BATCH = 1024
# they name optional packages that are not there, and every step of the optimisation
_CHATTY = ("torch.onnx", "onnxscript", "onnx_ir")
# a batch of one is taken for a constant
EXAMPLE_BATCH = 2


def write_onnx(network: nn.Module, input_shape: Sequence[int], path: Path, metadata: Mapping[str, str]) -> int:
    """Write an ONNX file of any batch size and return its opset.

    Args:
        network: in ``eval`` mode, on the CPU; takes one tensor and returns one.
        input_shape: ``(channels, *spatial)``.
        path: the file.
        metadata: entries of ``metadata_props``; ``akd_monai.opset`` is added.

    Raises:
        InputError: if the package onnx is missing, or the network cannot be exported.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401 - PyTorch's exporter needs it

        from akd_monai.deploy._onnx_rewrites import rewrite
    except ImportError as error:
        raise InputError(
            f"export needs the package {error.name}", remedy="pip install onnx onnxscript", code="no-engine"
        ) from error
    example = torch.zeros(EXAMPLE_BATCH, *input_shape)
    _check_output(network, example)
    try:
        _export(network, example, path)
    except Exception as error:  # the exporter raises errors of its own for each of its stages
        what = f"{type(network).__name__} cannot be exported to ONNX with any batch size ({one_line(error)})"
        raise InputError(what, remedy="run this bundle by python -m monai.bundle run", code="not-exportable") from error
    model = onnx.load(str(path))
    rewrite(model)
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    for name, value in {**metadata, "akd_monai.opset": str(opset)}.items():
        entry = model.metadata_props.add()
        entry.key = name
        entry.value = value
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return int(opset)


def _check_output(network: nn.Module, example: torch.Tensor) -> None:
    with torch.no_grad():
        output = network(example)
    if not isinstance(output, torch.Tensor) or output.shape[2:] != example.shape[2:]:
        got = list(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
        what = (
            f"{type(network).__name__} returns {got} for an input of {list(example.shape)}, wanted logits of its size"
        )
        raise InputError(what, remedy="run this bundle by python -m monai.bundle run", code="not-exportable")


def _export(network: nn.Module, example: torch.Tensor, path: Path) -> None:
    loggers = [logging.getLogger(name) for name in _CHATTY]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                network,
                (example,),
                str(path),
                dynamo=True,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=MOST_IN_BATCH)},),
                external_data=False,
                verbose=False,
            )
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
