# SPDX-License-Identifier: Apache-2.0
"""The libraries that run an exported network."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from akd_monai.errors import InputError, check_choice, one_line

__all__ = ["BATCH", "LIGHT_ENGINES", "EngineName", "Network", "Precision", "installed_engines", "open_onnx"]

_Values = NDArray[np.float32]
EngineName = Literal["auto", "onnxruntime", "openvino", "torch"]
Precision = Literal["fp32", "bf16", "fp16", "int8"]
# of the inputs' first axis
BATCH = "batch"
# of these auto takes the first that is installed
LIGHT_ENGINES = ("openvino", "onnxruntime")


@dataclass(frozen=True)
class Network:
    """A network that is ready to run.

    Args:
        engine: name and version of the library.
        run: returns logits ``[B, K, *spatial]`` for a batch ``[B, C, *spatial]`` of float32.
        precision: returns in which precision the products of its layers are really computed, such as ``"fp32"``.
    """

    engine: str
    run: Callable[[_Values], _Values]
    precision: Callable[[], str] = lambda: "fp32"


def installed_engines() -> list[str]:
    """Return which of OpenVINO and ONNX Runtime are installed, the faster one first."""
    return [name for name in LIGHT_ENGINES if importlib.util.find_spec(name) is not None]


def open_onnx(
    path: Path,
    engine: str = "auto",
    threads: int | None = None,
    *,
    one_by_one: bool = False,
    precision: Precision = "fp32",
) -> Network:
    """Open an ONNX file.

    Args:
        path: the file.
        engine: ``auto``, ``onnxruntime`` or ``openvino``.
        threads: threads on the CPU; as many as the library chooses by default.
        one_by_one: take batches of one alone, for which engines plan better.
        precision: what OpenVINO is asked for; ONNX Runtime computes in the types of the file.

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
        return opener(path, threads, one_by_one, precision)
    except InputError:
        raise
    except Exception as error:  # each library has errors of its own
        what = f"cannot be opened by {chosen} ({one_line(error)})"
        raise InputError(what, where=str(path), remedy="export it again", code="no-onnx") from error


# in which the products of a network are computed; the rest is little work
_PRODUCTS = ("Conv", "Gemm", "MatMul", "FullyConnected", "Deconv")
_OPENVINO_HINTS = {"fp32": "f32", "int8": "f32", "bf16": "bf16", "fp16": "f16"}
_TYPES = {
    "f32": "fp32",
    "float": "fp32",
    "f16": "fp16",
    "float16": "fp16",
    "bf16": "bf16",
    "bfloat16": "bf16",
    "i8": "int8",
    "u8": "int8",
    "int8": "int8",
    "uint8": "int8",
}


def _onnxruntime(path: Path, threads: int | None, one_by_one: bool, precision: str) -> Network:
    import onnxruntime

    def opened(profile: str = "") -> Any:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if threads is not None:
            options.intra_op_num_threads = threads
        if one_by_one:
            options.add_free_dimension_override_by_name(BATCH, 1)
        if profile:
            options.enable_profiling = True
            options.profile_file_prefix = profile
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    session = opened()
    name = session.get_inputs()[0].name

    def run(batch: _Values) -> _Values:
        outputs: list[Any] = session.run(None, {name: batch})
        return np.asarray(outputs[0], np.float32)

    def precision_of_products() -> str:
        with tempfile.TemporaryDirectory() as folder:
            profiled = opened(os.path.join(folder, "run"))
            given = profiled.get_inputs()[0]
            shape = [side if isinstance(side, int) else 1 for side in given.shape]
            profiled.run(None, {name: np.zeros(shape, np.float32)})
            events = json.loads(Path(profiled.end_profiling()).read_text(encoding="utf-8"))
        return _named(_profiled_types(events))

    return Network(f"onnxruntime {onnxruntime.__version__}", run, precision_of_products)


def _profiled_types(events: Iterable[Any]) -> Iterator[str]:
    for event in events:
        facts = event.get("args", {})
        types = facts.get("input_type_shape", [])
        if types and any(kind in facts.get("op_name", "") for kind in _PRODUCTS):
            yield next(iter(types[0]))


@functools.cache
def _core() -> Any:
    """Return the one core of this process.

    A core gives the thread that first compiles with it another stack for signals, and takes it away when it is deleted.
    Of two cores, the one that is deleted last gives back the other's stack, which is gone: the next signal, such as
    Ctrl-C, would crash the process.
    """
    import openvino

    return openvino.Core()


def _openvino(path: Path, threads: int | None, one_by_one: bool, precision: str) -> Network:
    import openvino

    # without a hint it computes in half precision where the processor can
    hint = _OPENVINO_HINTS[precision]
    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    core = _core()
    model = core.read_model(str(path))
    if one_by_one:
        model.reshape([1, *model.input(0).get_partial_shape()[1:]])
    compiled = core.compile_model(model, "CPU", settings)

    def run(batch: _Values) -> _Values:
        return np.array(compiled(batch)[0], np.float32)

    def precision_of_products() -> str:
        return _named(_executed_types(compiled.get_runtime_model().get_ops()))

    return Network(f"openvino {openvino.__version__.split('-')[0]}", run, precision_of_products)


def _executed_types(operations: Iterable[Any]) -> Iterator[str]:
    for operation in operations:
        facts = operation.get_rt_info()
        kind = str(facts["layerType"].value if "layerType" in facts else "")
        if any(product in kind for product in _PRODUCTS):
            yield str(facts["runtimePrecision"].value)


def _named(types: Iterable[str]) -> str:
    """Return the precision of most products, and with which others it is mixed."""
    counts = Counter(_TYPES.get(kind.removeprefix("tensor(").removesuffix(")"), kind) for kind in types)
    return " and ".join(f"{kind} ({count} layers)" if len(counts) > 1 else kind for kind, count in counts.most_common())
