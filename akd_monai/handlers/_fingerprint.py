# SPDX-License-Identifier: Apache-2.0
"""What must not change between start and resume of a run, and what did change, in words."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.engines import SupervisedTrainer

from akd_monai.errors import InputError
from akd_monai.handlers._facts import facts_of, place_of
from akd_monai.networks import unwrap

__all__ = ["Identity", "differences", "fingerprint_of"]

_LONGEST = 60
_MOST = 6
# an entry of the fingerprint of version 0.1, which compared files by their sizes
_BY_SIZE = "cases"

logger = logging.getLogger(__name__)


class _Absent:
    def __repr__(self) -> str:
        return "absent"


_ABSENT = _Absent()


class Identity:
    """What a run is: what the user named, and all that determines its result.

    It is taken once, before the first step, since schedules and random transforms change with every step.

    Args:
        engine: the trainer.
        given: the values that the user named.
        schedulers: the schedules that are saved with the trainer.
    """

    def __init__(self, engine: SupervisedTrainer, given: Mapping[str, Any], schedulers: Sequence[Any]) -> None:
        self._fingerprint = fingerprint_of(engine, given)
        self._facts = json.loads(json.dumps(facts_of(engine, schedulers)))
        self._place = place_of(engine)

    def state(self) -> dict[str, Any]:
        """Return the identity as plain values, for a checkpoint."""
        return {"fingerprint": self._fingerprint, "facts": self._facts, "place": self._place}

    def changes(self, saved: Mapping[str, Any], max_epochs: int) -> str:
        """Return in words what differs from the run of a checkpoint, nothing if it is the same run.

        What may differ is logged where it matters: versions, the device, and numbers of a schedule that follow from
        another number of epochs.
        """
        known = saved.get("facts")
        if known is None:
            logger.warning(
                "this run was started by an earlier version: loss, transforms, optimizer and data are not compared"
            )
            before = {name: value for name, value in saved["fingerprint"].items() if name != _BY_SIZE}
            now = {name: value for name, value in self._fingerprint.items() if name != _BY_SIZE}
            return _joined(differences(before, now))
        facts = self._facts
        if saved["max_epochs"] != max_epochs:
            known, facts = _without_lengths(known, facts)
        if saved["place"]["device"] != self._place["device"]:
            known, facts = _without_precision(known), _without_precision(facts)
        phrases = [*differences(saved["fingerprint"], self._fingerprint), *differences(known, facts)]
        if not phrases:
            for phrase in differences(saved["place"], self._place):
                logger.info("resumed under other conditions, so last digits may differ: %s", phrase)
        return _joined(phrases)


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


def _joined(phrases: list[str]) -> str:
    more = len(phrases) - _MOST
    return "; ".join(phrases[:_MOST]) + (f"; and {more} more" if more > 0 else "")


def _without_lengths(known: Mapping[str, Any], facts: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Take the numbers out of the schedules, which follow from the number of epochs."""
    # a run without schedules has a list, which is empty
    changed = differences({"schedules": known["schedules"]}, {"schedules": facts["schedules"]})
    before = {**known, "schedules": _without_numbers(known["schedules"])}
    now = {**facts, "schedules": _without_numbers(facts["schedules"])}
    if changed and before["schedules"] == now["schedules"]:
        logger.info("with another number of epochs the schedule is another: %s", _joined(changed))
    # the first rate of a group is that of its schedule
    for side in (before, now):
        side["optimizer"] = {name: value for name, value in side["optimizer"].items() if name != "initial_lr"}
    return before, now


def _without_numbers(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_numbers(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_without_numbers(item) for item in value]
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return None if is_number else value


def _without_precision(facts: Mapping[str, Any]) -> dict[str, Any]:
    # mixed precision is a property of the device
    trainer = {name: value for name, value in facts["trainer"].items() if not name.startswith("amp")}
    return {**facts, "trainer": trainer}


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
