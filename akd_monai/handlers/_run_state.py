# SPDX-License-Identifier: Apache-2.0
"""Take the state of a training run as plain values, and put it back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.engines import SupervisedTrainer
from monai.handlers import LrScheduleHandler

from akd_monai.errors import InputError, one_line
from akd_monai.handlers._events import attached_handlers, validators_of
from akd_monai.handlers.run_member import RunMember
from akd_monai.networks import unwrap
from akd_monai.teachers import EmaTeacher

__all__ = ["capture", "members_of", "restore", "schedulers_of", "start_members"]


def capture(engine: SupervisedTrainer, schedulers: Sequence[Any] | None, extra: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state of ``engine`` and of all that is trained with it, readable with ``weights_only=True``."""
    scaler = getattr(engine, "scaler", None)
    parts = _parts(engine, schedulers, extra)
    members = members_of(engine)
    state = {
        "iteration": engine.state.iteration,
        "epoch": engine.state.iteration // engine.state.epoch_length,
        "max_epochs": engine.state.max_epochs,
        "parts": {name: part.state_dict() for name, part in parts.items()},
        "scaler": {} if scaler is None else scaler.state_dict(),
        "members": {name: member.run_state() for name, member in members.items()},
    }
    return {name: _plain(value) for name, value in state.items()}


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
    _restore_parts(_parts(engine, schedulers, extra), saved["parts"], source)
    scaler = getattr(engine, "scaler", None)
    if scaler is not None and scaler.is_enabled() and saved["scaler"]:
        scaler.load_state_dict(saved["scaler"])
    for name, member in members_of(engine).items():
        member.start_run(saved["members"].get(name, {}))
    engine.state.iteration = saved["iteration"]
    engine.state.epoch = saved["epoch"]


def start_members(engine: SupervisedTrainer) -> None:
    """Tell every member of the run to start from the beginning."""
    for member in members_of(engine).values():
        member.start_run(None)


def _restore_parts(parts: Mapping[str, Any], saved: Mapping[str, Any], source: str) -> None:
    if parts.keys() != saved.keys():
        raise InputError(
            f"{source} holds {', '.join(sorted(saved))}, but this run has {', '.join(sorted(parts))}: resume with the "
            "configuration the run was started with, choose another output folder, or set resume to 'never'."
        )
    for name, part in parts.items():
        try:
            # Some objects keep what they are given, and PyTorch's schedulers take it apart.
            part.load_state_dict(deepcopy(saved[name]))
        except (RuntimeError, ValueError, KeyError) as error:
            raise InputError(
                f"{source} does not fit this run's {name} ({one_line(error)}): choose another output folder, or set "
                "resume to 'never'."
            ) from error


def _parts(engine: SupervisedTrainer, schedulers: Sequence[Any] | None, extra: Mapping[str, Any]) -> dict[str, Any]:
    parts = {"network": unwrap(engine.network), "optimizer": engine.optimizer}
    for number, scheduler in enumerate(schedulers_of(engine, schedulers)):
        parts[f"lr_scheduler_{number}"] = scheduler
    for name in ("distillation", "adapter_optimizer", "teacher_norm"):
        if getattr(engine, name, None) is not None:
            parts[name] = getattr(engine, name)
    teacher = getattr(engine, "teacher", None)
    if isinstance(teacher, EmaTeacher):
        parts["teacher"] = teacher
    parts.update({f"extra_{name}": part for name, part in extra.items()})
    return parts


def schedulers_of(engine: SupervisedTrainer, given: Sequence[Any] | None) -> list[Any]:
    """Return the schedulers that were given, by default those of every ``LrScheduleHandler`` of the trainer."""
    if given is not None:
        return list(given)
    handlers = [h for h in attached_handlers(engine) if isinstance(h, LrScheduleHandler)]
    return [handler.lr_scheduler for handler in handlers]


def members_of(engine: SupervisedTrainer) -> dict[str, RunMember]:
    """Return the members of the run under names that are the same at every start: class and number."""
    members: dict[str, RunMember] = {}
    seen: set[int] = set()
    numbers: Counter[str] = Counter()
    for follower in (engine, *validators_of(engine)):
        for handler in attached_handlers(follower):
            if isinstance(handler, RunMember) and id(handler) not in seen:
                seen.add(id(handler))
                kind = type(handler).__name__
                members[f"{kind}_{numbers[kind]}"] = handler
                numbers[kind] += 1
    return members


def _plain(value: Any) -> Any:
    """Turn NumPy numbers and MONAI's tensors with metadata into plain ones, which ``weights_only=True`` can read."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_plain(item) for item in value)
    if isinstance(value, MetaTensor):
        value = value.as_tensor()
    return value.detach() if isinstance(value, torch.Tensor) else value
