# SPDX-License-Identifier: Apache-2.0
"""The libraries that run an exported network."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from akd_monai.errors import InputError, check_choice, one_line

__all__ = ["LIGHT_ENGINES", "EngineName", "Network", "installed_engines", "open_onnx"]

_Values = NDArray[np.float32]
EngineName = Literal["auto", "onnxruntime", "openvino", "torch"]
# of these auto takes the first that is installed
LIGHT_ENGINES = ("openvino", "onnxruntime")


@dataclass(frozen=True)
class Network:
    """A network that is ready to run.

    Args:
        engine: name and version of the library.
        run: returns logits ``[B, K, *spatial]`` for a batch ``[B, C, *spatial]`` of float32.
    """

    engine: str
    run: Callable[[_Values], _Values]


def installed_engines() -> list[str]:
    """Return which of OpenVINO and ONNX Runtime are installed, the faster one first."""
    return [name for name in LIGHT_ENGINES if importlib.util.find_spec(name) is not None]


def open_onnx(path: Path, engine: str = "auto", threads: int | None = None) -> Network:
    """Open an ONNX file.

    Args:
        path: the file.
        engine: ``auto``, ``onnxruntime`` or ``openvino``.
        threads: threads on the CPU; as many as the library chooses by default.

    Raises:
        InputError: if the engine is not installed, or cannot open the file.
    """
    check_choice("engine", engine, get_args(EngineName))
    installed = installed_engines()
    if not installed or engine not in ("auto", *installed):
        wanted = "onnxruntime" if engine == "auto" else engine
        raise InputError(f"engine {wanted} is not installed", remedy=f"pip install {wanted}", code="no-engine")
    chosen = installed[0] if engine == "auto" else engine
    opener = _openvino if chosen == "openvino" else _onnxruntime
    try:
        return opener(path, threads)
    except InputError:
        raise
    except Exception as error:  # each library has errors of its own
        what = f"cannot be opened by {chosen} ({one_line(error)})"
        raise InputError(what, where=str(path), remedy="export it again", code="no-onnx") from error


def _onnxruntime(path: Path, threads: int | None) -> Network:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(batch: _Values) -> _Values:
        outputs: list[Any] = session.run(None, {name: batch})
        return np.asarray(outputs[0], np.float32)

    return Network(f"onnxruntime {onnxruntime.__version__}", run)


def _openvino(path: Path, threads: int | None) -> Network:
    import openvino

    # without a hint it computes in half precision where the processor can
    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(str(path)), "CPU", settings)

    def run(batch: _Values) -> _Values:
        return np.array(compiled(batch)[0], np.float32)

    return Network(f"openvino {openvino.__version__.split('-')[0]}", run)
