# SPDX-License-Identifier: Apache-2.0
"""What a training run is made of, as plain values, and back."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from monai.engines import SupervisedTrainer
from monai.handlers import LrScheduleHandler

from akd_monai.errors import InputError
from akd_monai.handlers.events import attached_handlers, validators_of
from akd_monai.networks import unwrap


class RunMember(ABC):
    """A handler whose state belongs to the run: it is found, saved and restored without being named."""

    @abstractmethod
    def run_state(self) -> dict[str, Any]:
        """Return the state as tensors, numbers, texts, lists and dictionaries."""

    @abstractmethod
    def start_run(self, state: Mapping[str, Any] | None) -> None:
        """Go on from ``state``, or start anew when it is None."""


def capture(engine: SupervisedTrainer, schedulers: Sequence[Any] | None, extra: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state of ``engine`` and of all that is trained with it, readable with ``weights_only=True``."""
    scaler = getattr(engine, "scaler", None)
    return _plain(
        {
            "iteration": engine.state.iteration,
            "epoch": engine.state.iteration // engine.state.epoch_length,
            "max_epochs": engine.state.max_epochs,
            "parts": {name: part.state_dict() for name, part in _parts(engine, schedulers, extra).items()},
            "scaler": {} if scaler is None else scaler.state_dict(),
            "members": {name: member.run_state() for name, member in _members(engine).items()},
        }
    )


def restore(
    engine: SupervisedTrainer,
    saved: Mapping[str, Any],
    schedulers: Sequence[Any] | None,
    extra: Mapping[str, Any],
    source: str,
) -> None:
    """Put what :func:`capture` returned back, strictly; ``max_epochs`` stays that of ``engine``.

    Raises:
        InputError: if a part is missing on one side or does not fit, naming ``source`` and the part.
    """
    parts = _parts(engine, schedulers, extra)
    if parts.keys() != saved["parts"].keys():
        raise InputError(
            f"{source} holds {', '.join(sorted(saved['parts']))}, but this run has {', '.join(sorted(parts))}: "
            "go on with the configuration it was started with, choose another output folder, or set resume to 'never'."
        )
    for name, part in parts.items():
        try:
            # Some objects keep what they are given, and PyTorch's schedulers take it apart.
            part.load_state_dict(deepcopy(saved["parts"][name]))
        except (RuntimeError, ValueError, KeyError) as error:
            raise InputError(
                f"{source} does not fit this run's {name} ({' '.join(str(error).split())[:300]}): choose another "
                "output folder, or set resume to 'never'."
            ) from error
    scaler = getattr(engine, "scaler", None)
    if scaler is not None and scaler.is_enabled() and saved["scaler"]:
        scaler.load_state_dict(saved["scaler"])
    for name, member in _members(engine).items():
        member.start_run(saved["members"].get(name, {}))
    engine.state.iteration, engine.state.epoch = saved["iteration"], saved["epoch"]


def start_anew(engine: SupervisedTrainer) -> None:
    """Tell every member of the run that nothing is to be continued."""
    for member in _members(engine).values():
        member.start_run(None)


def identity(engine: SupervisedTrainer, fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``fingerprint`` as plain values, with the facts that a resumed run can never change.

    Raises:
        InputError: if a value has no JSON form.
    """
    try:
        given = json.loads(json.dumps(dict(fingerprint), default=_jsonable))
    except TypeError as error:
        raise InputError(f"fingerprint must hold numbers, texts, lists and dictionaries only: {error}.") from error
    return {
        "epoch_length": engine.state.epoch_length,
        "network_class": type(unwrap(engine.network)).__qualname__,
        "optimizer_class": type(engine.optimizer).__qualname__,
        **given,
    }


def differences(saved: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    """Return one text for each key in which two fingerprints differ.

    Example:
        >>> differences({"seed": 1, "data": "a"}, {"seed": 2, "data": "a"})
        ['seed (was 1, is 2)']
    """
    keys = sorted(saved.keys() | current.keys())
    values = [(key, saved.get(key, "absent"), current.get(key, "absent")) for key in keys]
    return [f"{key} (was {_short(old)}, is {_short(new)})" for key, old, new in values if old != new]


def _parts(engine: SupervisedTrainer, schedulers: Sequence[Any] | None, extra: Mapping[str, Any]) -> dict[str, Any]:
    parts = {"network": unwrap(engine.network), "optimizer": engine.optimizer}
    if schedulers is None:
        handlers = [h for h in attached_handlers(engine) if isinstance(h, LrScheduleHandler)]
        schedulers = [handler.lr_scheduler for handler in handlers]
    parts.update({f"lr_scheduler_{i}": scheduler for i, scheduler in enumerate(schedulers)})
    for name in ("distillation", "adapter_optimizer"):
        if getattr(engine, name, None) is not None:
            parts[name] = getattr(engine, name)
    parts.update({f"extra_{name}": part for name, part in extra.items()})
    return parts


def _members(engine: SupervisedTrainer) -> dict[str, RunMember]:
    owners = [handler for e in (engine, *validators_of(engine)) for handler in attached_handlers(e)]
    members: dict[str, RunMember] = {}
    for owner in owners:
        if isinstance(owner, RunMember) and not any(owner is member for member in members.values()):
            kind = type(owner).__name__
            members[f"{kind}_{sum(name.startswith(f'{kind}_') for name in members)}"] = owner
    return members


def _plain(value: Any) -> Any:
    """Turn NumPy numbers into Python's own, which ``weights_only=True`` can read."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_plain(item) for item in value)
    return value.detach() if isinstance(value, torch.Tensor) else value


def _jsonable(value: Any) -> Any:
    if isinstance(value, (np.generic, torch.Tensor)) and value.ndim == 0:
        return value.item()
    if isinstance(value, (np.ndarray, torch.Tensor)):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{value!r} is a {type(value).__name__}")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
