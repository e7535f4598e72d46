# SPDX-License-Identifier: Apache-2.0
"""Objects of a training as plain values: the same in every process for the same settings, and readable when they differ.

Of an object of PyTorch or MONAI the settings are what its constructor takes, numbers, strings, and the objects in it,
because such libraries keep tensors and lists that change in public attributes; of any other object every public
attribute is a setting.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from functools import partial
from types import CodeType, FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine
from monai.transforms import Randomizable, Transform
from torch import nn
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import Dataset, Sampler

from akd_monai.identity import tensor_bytes

__all__ = ["describe", "digest", "library_of", "settings_of", "weights_digest"]

_LIBRARIES = ("monai", "torch", "torchvision", "ignite")
# what never changes a result, or says where a run is instead of what it is
_NEVER = {
    "R",
    "cache_dir",
    "cache_num",
    "cache_rate",
    "copy_cache",
    "data_source",
    "device",
    "epoch",
    "log_stats",
    "num_workers",
    "optimizer",
    "pin_memory",
    "progress",
    "rank",
    "start",
    "sw_batch_size",
    "sw_device",
    "training",
    "verbose",
}
_NUMBERS = (bool, int, float, str)
_NESTED = (Transform, Randomizable, nn.Module, Dataset, Sampler, LRScheduler, FunctionType, MethodType, partial)
_IGNORED = (torch.device, torch.Generator, np.random.RandomState, np.random.Generator, Engine, type(os))
_LONGEST = 64
_DEEPEST = 24
_DIGITS = 16
_OMITTED = object()


def describe(value: Any, special: Callable[[Any], Any] | None = None) -> Any:
    """Return ``value`` as numbers, strings, lists and dictionaries.

    Paths and devices are left out, large tensors and lists become hashes, and a function without a name of its own is
    known by its code and by what it has closed over.

    Args:
        value: anything.
        special: returns the description of an object that it knows better, None for every other.

    Example:
        >>> describe({"p": 0.5, "where": "/home/ada", "loss": nn.BCEWithLogitsLoss()})
        {'p': 0.5, 'loss': {'class': 'BCEWithLogitsLoss', 'pos_weight': None, 'reduction': 'mean', 'weight': None}}
    """
    found = _Description(special).of(value)
    return None if found is _OMITTED else found


def digest(data: bytes | memoryview) -> str:
    """Return the SHA-256 of ``data``, shortened to what a reader can compare."""
    return hashlib.sha256(data).hexdigest()[:_DIGITS]


def weights_digest(network: nn.Module) -> str:
    """Return a hash of a network's parameters and buffers."""
    texts = []
    for name, value in network.state_dict().items():
        texts.append(f"{name} {digest(tensor_bytes(value)) if isinstance(value, torch.Tensor) else value}")
    return digest("\n".join(texts).encode())


def library_of(value: Any) -> str:
    """Return the package that defines the class of ``value``."""
    return str(type(value).__module__).partition(".")[0]


def settings_of(value: Any) -> dict[str, Any]:
    """Return the attributes of an object that are settings, by name without a leading underscore."""
    attributes = dict(getattr(value, "__dict__", {}))
    if isinstance(value, nn.Module):
        attributes = {**attributes, **value._modules, **value._buffers, **value._parameters}
    given = _parameters_of(type(value))
    is_library = library_of(value) in _LIBRARIES and not isinstance(value, LRScheduler)
    settings = {}
    for name, item in attributes.items():
        plain = name.strip("_")
        is_public = not name.startswith("_") and (not is_library or isinstance(item, _NUMBERS))
        if plain not in _NEVER and (plain in given or is_public or _is_nested(item)):
            settings[plain] = item
    return settings


def _parameters_of(kind: type) -> set[str]:
    names: set[str] = set()
    for base in kind.__mro__:
        if "__init__" in vars(base):
            names |= set(inspect.signature(base.__init__).parameters)  # type: ignore[misc]
    return names


def _is_nested(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(_is_nested(item) for item in value)
    return isinstance(value, _NESTED) or (library_of(value) == "monai" and not isinstance(value, (Engine, Enum)))


class _Description:
    """One description: objects that contain themselves are described once."""

    def __init__(self, special: Callable[[Any], Any] | None) -> None:
        self._special = special
        self._path: list[int] = []

    def of(self, value: Any) -> Any:
        if id(value) in self._path or len(self._path) > _DEEPEST:
            return "..."
        self._path.append(id(value))
        try:
            found = None if self._special is None else self._special(value)
            return self._of(value) if found is None else found
        finally:
            self._path.pop()

    def _of(self, value: Any) -> Any:
        if isinstance(value, _IGNORED):
            return _OMITTED
        if isinstance(value, (str, os.PathLike)):
            return _OMITTED if os.path.isabs(value) else str(value)
        simple = _simple(value)
        if simple is not _OMITTED:
            return simple
        if isinstance(value, Mapping):
            return self._mapping(value)
        if isinstance(value, (list, tuple)):
            return self._sequence(value)
        if isinstance(value, (set, frozenset)):
            return sorted((self.of(item) for item in value), key=repr)
        if (callable(value) and not hasattr(value, "__dict__")) or isinstance(value, _FUNCTIONS):
            return self._function(value)
        return self._object(value)

    def _mapping(self, values: Mapping[Any, Any]) -> dict[str, Any]:
        described = {str(name): self.of(item) for name, item in values.items()}
        return {name: item for name, item in described.items() if item is not _OMITTED}

    def _sequence(self, values: Iterable[Any]) -> Any:
        described = [item for item in map(self.of, values) if item is not _OMITTED]
        if any(isinstance(item, dict) and "class" in item for item in described):
            return _by_class(described)
        if len(described) > _LONGEST:
            return {"count": len(described), "sha256": digest(json.dumps(described).encode())}
        return described

    def _object(self, value: Any) -> dict[str, Any]:
        settings = self._mapping(dict(sorted(settings_of(value).items())))
        return {"class": type(value).__qualname__, **settings}

    def _function(self, value: Any) -> Any:
        if isinstance(value, partial):
            return {"function": self.of(value.func), "arguments": self.of([*value.args, value.keywords])}
        if isinstance(value, MethodType):
            owner = self.of(value.__self__)
            return value.__name__ if owner in (_OMITTED, "...") else {"method": value.__name__, "of": owner}
        name = str(getattr(value, "__qualname__", type(value).__qualname__))
        if not isinstance(value, FunctionType) or not {"<lambda>", "<locals>"} & set(name.split(".")):
            return name
        facts = {"function": name, "code": digest(_code_text(value.__code__).encode())}
        around = self._mapping(_around(value))
        return {**facts, **around}


_FUNCTIONS = (FunctionType, MethodType, partial, type)


def _simple(value: Any) -> Any:
    """Return the plain form of a value that has no parts."""
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if value - value == 0 else str(value)
    if isinstance(value, (complex, slice, range, torch.dtype, np.dtype, torch.Size)):
        return str(value)
    if isinstance(value, (bytes, bytearray)):
        return digest(bytes(value))
    if isinstance(value, torch.Tensor):
        return _tensor(value)
    if isinstance(value, np.ndarray):
        return _array(value)
    return _OMITTED


def _tensor(value: torch.Tensor) -> Any:
    # what is trained says nothing of the settings but its shape
    if value.requires_grad or value.is_sparse or value.is_quantized:
        return f"{value.dtype} {list(value.shape)}"
    if value.numel() <= 1:
        return _simple(value.item()) if value.numel() else []
    return f"{value.dtype} {list(value.shape)} {digest(tensor_bytes(value))}"


def _array(value: np.ndarray[Any, Any]) -> str:
    data = repr(value.tolist()).encode() if value.dtype == object else np.ascontiguousarray(value).tobytes()
    return f"{value.dtype} {list(value.shape)} {digest(data)}"


def _by_class(described: list[Any]) -> dict[str, Any]:
    """Return a list of objects under the names of their classes, so that a difference names one of them."""
    seen: Counter[str] = Counter()
    named: dict[str, Any] = {}
    for item in described:
        name = item["class"] if isinstance(item, dict) and "class" in item else "value"
        seen[name] += 1
        named[name if seen[name] == 1 else f"{name}_{seen[name]}"] = item
    return {**named, "order": list(named)}


def _around(function: FunctionType) -> dict[str, Any]:
    """Return the values that a function without a name of its own uses, by name."""
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    values = {name: cell.cell_contents for name, cell in cells if _is_filled(cell)}
    for name in function.__code__.co_names:
        found = function.__globals__.get(name)
        if isinstance(found, (bool, int, float, str)):
            values.setdefault(name, found)
    if function.__defaults__:
        values["defaults"] = list(function.__defaults__)
    return values


def _is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:
        return False


def _code_text(code: CodeType) -> str:
    constants = []
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            constants.append(_code_text(constant))
        elif isinstance(constant, frozenset):
            constants.append(str(sorted(map(repr, constant))))
        else:
            constants.append(repr(constant))
    return f"{code.co_code.hex()} {constants} {code.co_names} {code.co_varnames}"
