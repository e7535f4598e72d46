# SPDX-License-Identifier: Apache-2.0
"""What must not change between start and resume of a run, and what did change, in words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from monai.engines import SupervisedTrainer

from akd_monai.errors import InputError
from akd_monai.networks import unwrap

__all__ = ["differences", "fingerprint_of"]

_LONGEST = 60


class _Absent:
    def __repr__(self) -> str:
        return "absent"


_ABSENT = _Absent()


def fingerprint_of(engine: SupervisedTrainer, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``given`` as plain values, with the facts that a resumed run can never change.

    Raises:
        InputError: if a value has no JSON form.
    """
    try:
        plain = json.loads(json.dumps(dict(given), default=_jsonable))
    except TypeError as error:
        raise InputError(f"fingerprint must hold numbers, strings, lists and dictionaries only: {error}.") from error
    return {
        "epoch_length": engine.state.epoch_length,
        "network_class": type(unwrap(engine.network)).__qualname__,
        "optimizer_class": type(engine.optimizer).__qualname__,
        **plain,
    }


def differences(saved: Mapping[str, Any], current: Mapping[str, Any], parent: str = "") -> list[str]:
    """Return one phrase for each entry in which two fingerprints differ; entries of mappings are named with a dot.

    Example:
        >>> differences({"seed": 1, "teacher": {"dtype": None, "size": 2}}, {"seed": 1, "teacher": {"dtype": "half"}})
        ["teacher.dtype (was None, is 'half')", 'teacher.size (was 2, is absent)']
    """
    phrases = []
    for name in sorted(saved.keys() | current.keys()):
        old = saved.get(name, _ABSENT)
        new = current.get(name, _ABSENT)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            phrases += differences(old, new, f"{parent}{name}.")
        elif old != new:
            phrases.append(f"{parent}{name} (was {_short(old)}, is {_short(new)})")
    return phrases


def _jsonable(value: Any) -> Any:
    if isinstance(value, (np.generic, torch.Tensor)) and value.ndim == 0:
        return value.item()
    if isinstance(value, (np.ndarray, torch.Tensor)):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{value!r} is a {type(value).__name__}")


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 3]}..."
