# SPDX-License-Identifier: Apache-2.0
"""Which code a network runs, and values as text that is the same in every process."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import is_dataclass
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

__all__ = ["code_facts", "plain_text", "source_facts", "tensor_bytes", "volume_key"]

_PLAIN = (bool, int, float, complex, str, bytes, torch.dtype, type(None), Enum, np.generic)


def code_facts(network: nn.Module) -> list[str]:
    """Return PyTorch's version, and each class of a network's modules with a hash of the file that defines it.

    Example:
        >>> code_facts(nn.ReLU()) == [f"torch {torch.__version__}"]
        True
    """
    classes = {kind for module in network.modules() for kind in type(module).__mro__}
    return [f"torch {torch.__version__}", *source_facts(classes, versioned=("torch",))]


def source_facts(used: Iterable[Any], versioned: Sequence[str]) -> list[str]:
    """Return each class or function by name, with a hash of the file that defines it.

    One without a file, as typed at a prompt, is known by its source where Python still has it, else by its name.

    Args:
        used: classes and functions.
        versioned: packages whose version stands for their code; what they and Python itself define is left out.
    """
    own = {thing for thing in used if str(thing.__module__).partition(".")[0] not in (*versioned, "builtins")}
    return sorted(
        f"{thing.__module__}.{thing.__qualname__} {hashlib.sha256(_source(thing)).hexdigest()}" for thing in own
    )


def _source(thing: Any) -> bytes:
    try:
        return Path(inspect.getfile(thing)).read_bytes()
    except (OSError, TypeError):
        pass
    try:
        return inspect.getsource(thing).encode()
    except (OSError, TypeError):
        return b""


def tensor_bytes(value: torch.Tensor) -> memoryview:
    """Return the numbers of a tensor as bytes."""
    plain = torch.as_tensor(value.detach()).cpu().contiguous().reshape(-1).view(torch.uint8)
    return plain.numpy().data


def volume_key(volume: torch.Tensor) -> str:
    """Return a hash of a prepared volume, which stands for its file and for every transform that prepared it.

    Example:
        >>> volume_key(torch.zeros(2)) == volume_key(torch.zeros(2)), volume_key(torch.zeros(2)) == volume_key(torch.ones(2))
        (True, False)
    """
    digest = hashlib.sha256(f"{volume.dtype} {list(volume.shape)}\n".encode())
    digest.update(tensor_bytes(volume))
    return digest.hexdigest()[:32]


def plain_text(value: Any) -> str:
    """Return a value as text that does not change from process to process; of an object the name of its class.

    Example:
        >>> plain_text({"mode": ("nearest", 2.0), "where": nn.ReLU(), "how": nn.functional.relu})
        "{'mode': ['nearest', 2.0], 'where': ReLU, 'how': relu}"
    """
    if isinstance(value, _PLAIN):
        return repr(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{plain_text(k)}: {plain_text(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(plain_text, value)) + "]"
    if isinstance(value, (set, frozenset)):
        return "{" + ", ".join(sorted(map(plain_text, value))) + "}"
    if isinstance(value, torch.Tensor):
        return f"{value.dtype} {list(value.shape)} {hashlib.sha256(tensor_bytes(value)).hexdigest()}"
    if isinstance(value, np.ndarray) and value.dtype != object:
        return f"{value.dtype} {list(value.shape)} {hashlib.sha256(value.tobytes()).hexdigest()}"
    if isinstance(value, partial):
        return f"partial {plain_text([value.func, value.args, value.keywords])}"
    if is_dataclass(value) and not isinstance(value, type):
        return f"{type(value).__qualname__} {plain_text(vars(value))}"
    return str(getattr(value, "__qualname__", type(value).__qualname__))
