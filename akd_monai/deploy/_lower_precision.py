# SPDX-License-Identifier: Apache-2.0
"""An ONNX file in a lower precision, by ONNX Runtime's tools."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from akd_monai.data.checked_volume import checked_volume
from akd_monai.deploy._onnx_file import INPUT
from akd_monai.deploy._pipeline import prepared
from akd_monai.deploy._recipe import Recipe
from akd_monai.errors import InputError

__all__ = ["write_lower"]

# inputs of one volume; neighbouring slices say little that is new
_INPUTS = 12


def write_lower(source: Path, target: Path, precision: str, recipe: Recipe, cases: Sequence[Path]) -> None:
    """Write an ONNX file in a lower precision, with the metadata of the given one.

    Args:
        source: the ONNX file in single precision.
        target: the file to write.
        precision: ``int8``, ``bf16`` (the file stays as it is; OpenVINO is asked to compute so) or ``fp16``.
        recipe: how inputs are prepared.
        cases: images to find the ranges of values on.

    Raises:
        InputError: if the packages onnx and onnxruntime are not installed.
    """
    try:
        import onnx
        import onnxruntime  # noqa: F401 - its tools are used
    except ImportError as error:
        remedy = f"pip install {error.name}"
        raise InputError(f"precision {precision} needs the package {error.name}", remedy=remedy) from error
    given = onnx.load(str(source))
    if precision == "int8":
        _quantize(source, target, _inputs(recipe, cases))
        model = onnx.load(str(target))
    elif precision == "fp16":
        model = _halved(given)
    else:
        model = onnx.load(str(source))
    del model.metadata_props[:]
    model.metadata_props.extend(given.metadata_props)
    onnx.save(model, str(target))


def _quantize(source: Path, target: Path, inputs: Iterator[NDArray[np.float32]]) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class _Reader(CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> Any:
            batch = next(inputs, None)
            return None if batch is None else {INPUT: batch}

    with _quiet():
        quantize_static(
            str(source),
            str(target),
            _Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            # what the instructions of x86 multiply
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )


def _halved(model: Any) -> Any:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with _quiet():
        return convert_float_to_float16(model, keep_io_types=True)


def _inputs(recipe: Recipe, cases: Sequence[Path]) -> Iterator[NDArray[np.float32]]:
    """Yield inputs of the network, spread evenly over each volume."""
    for path in cases:
        volume, _ = prepared(checked_volume(path, channels=recipe.channels), recipe)
        batches = list(recipe.inferer.inputs(volume.array))
        chosen = np.linspace(0, len(batches) - 1, min(_INPUTS, len(batches))).round().astype(int)
        for number in chosen:
            yield batches[number]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep ONNX Runtime's tools from the log: they advise steps that change nothing here."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
