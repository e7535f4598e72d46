# SPDX-License-Identifier: Apache-2.0
"""Which code a network runs, and values as text that is the same in every process."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

_PLAIN = (bool, int, float, complex, str, bytes, torch.dtype, type(None))


def code_facts(network: nn.Module) -> list[str]:
    """Return PyTorch's version, and each class of a network's modules with a hash of the file that defines it.

    Classes of PyTorch stand under its version. A class without a file, as one typed at a prompt, is known by its source
    where Python still has it, else by its name.

    Example:
        >>> code_facts(nn.ReLU()) == [f"torch {torch.__version__}"]
        True
    """
    classes = {kind for module in network.modules() for kind in type(module).__mro__}
    own = sorted(
        (kind for kind in classes if kind.__module__.partition(".")[0] not in ("torch", "builtins")),
        key=lambda kind: (kind.__module__, kind.__qualname__),
    )
    return [
        f"torch {torch.__version__}",
        *(f"{kind.__module__}.{kind.__qualname__} {hashlib.sha256(_source(kind)).hexdigest()}" for kind in own),
    ]


def _source(kind: type) -> bytes:
    try:
        return Path(inspect.getfile(kind)).read_bytes()
    except (OSError, TypeError):
        pass
    try:
        return inspect.getsource(kind).encode()
    except (OSError, TypeError):
        return b""


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
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray) and value.dtype != object:
        return f"{value.dtype} {value.shape} {hashlib.sha256(value.tobytes()).hexdigest()}"
    return str(getattr(value, "__qualname__", type(value).__qualname__))
