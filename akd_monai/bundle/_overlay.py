# SPDX-License-Identifier: Apache-2.0
"""An overlay of distillation, fitted to the config of a student and merged into it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser
from monai.bundle.utils import merge_kv

from akd_monai.bundle._configs import missed_ids
from akd_monai.bundle._student import find_handlers, find_trainer, has_id, with_own_ids
from akd_monai.errors import InputError

__all__ = ["keep_one_checkpoint", "merge_overlay", "mixed_target"]

_USUAL = "train#trainer"
_TARGET = "_target_"
_OURS = "akd_monai.engines.DistillationTrainer"
_MONAIS = ("SupervisedTrainer", "monai.engines.SupervisedTrainer", "monai.engines.trainer.SupervisedTrainer")
_HANDLERS_ID = "distillation_handlers"
_CHECKPOINT = "ResumableCheckpoint"
# the last handlers of this package's overlay
_RESUMING = ("RandomState", "SaverState", _CHECKPOINT)


def merge_overlay(parser: ConfigParser, overlay: Mapping[str, Any], path: Path) -> str:
    """Merge an overlay into a student's train config, and return the id of the student's trainer.

    An overlay that is written for the usual ids is given those of the student, and where it names
    :class:`~akd_monai.engines.DistillationTrainer`, the student's own class of trainer is extended, not replaced.

    Args:
        parser: the student's config alone, read and not yet parsed.
        overlay: content of the overlay.
        path: its file, for messages.

    Raises:
        InputError: if the trainer is not found, or the overlay changes an id below one that does not exist.
    """
    trainer = _USUAL
    if any(_is_of_trainer(str(name)) for name in overlay):
        trainer = find_trainer(parser)
        overlay = with_own_ids(overlay, trainer, find_handlers(parser, trainer))
    target = f"{trainer}#{_TARGET}"
    if overlay.get(target) == _OURS:
        overlay = {**overlay, target: mixed_target(parser.get(target))}
    rest = _with_handlers(parser, overlay, f"+{find_handlers(parser, trainer)}")
    missed = missed_ids(parser.get(), rest)
    if missed:
        what = f"changes {missed[0]!r}, whose parent does not exist in train.json"
        raise InputError(what, where=str(path), remedy="correct the id", code="missed-id")
    for name, value in rest.items():
        _merge(parser, str(name), value, path)
    return trainer


def mixed_target(target: Any) -> str:
    """Return the ``_target_`` that extends the one of a student's trainer.

    Example:
        >>> mixed_target("SupervisedTrainer")
        'akd_monai.engines.DistillationTrainer'
        >>> mixed_target("scripts.trainer.Own")
        "$akd_monai.engines.distillation_trainer('scripts.trainer.Own')"
    """
    if target in _MONAIS or not isinstance(target, str):
        return _OURS
    if target.startswith("$"):
        return f"$akd_monai.engines.distillation_trainer({target[1:].strip()})"
    given = target if target.startswith("@") else repr(target)
    return f"$akd_monai.engines.distillation_trainer({given})"


def _is_of_trainer(name: str) -> bool:
    plain = name.removeprefix("+").replace("::", "#")
    return plain == _USUAL or plain.startswith(f"{_USUAL}#") or plain == "train#handlers"


def _with_handlers(parser: ConfigParser, overlay: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the overlay with what adds its handlers in the form that the student's list of handlers takes."""
    rest = dict(overlay)
    if name not in rest:
        return rest
    place = name.removeprefix("+")
    present = parser.get(place) if has_id(parser, place) else None
    if isinstance(present, list):
        return rest
    added = rest.pop(name)
    if present is None:
        rest[place] = added
    elif isinstance(present, str) and present.startswith(("$", "@")):
        rest[_HANDLERS_ID] = added
        expression = present[1:].strip() if present.startswith("$") else present
        rest[place] = f"$list({expression}) + list(@{_HANDLERS_ID})"
    else:
        what = f"the student's handlers at {place!r} are a {type(present).__name__}, wanted a list"
        raise InputError(what, remedy="list them in the student's config, or give an overlay of your own")
    return rest


def _merge(parser: ConfigParser, name: str, value: Any, path: Path) -> None:
    try:
        merge_kv(parser, name, value)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        what = f"cannot change {name!r} of the student's train config"
        raise InputError(what, where=str(path), remedy="correct the id", code="missed-id") from error


def keep_one_checkpoint(parser: ConfigParser, handlers: str) -> None:
    """Take the handlers with which a run resumes out of the overlay's where the student's config has its own."""
    for place in (handlers, _HANDLERS_ID):
        listed = parser.get(place)
        if not isinstance(listed, list):
            continue
        names = [str(handler.get("_target_")) if isinstance(handler, dict) else "" for handler in listed]
        if sum(name.endswith(f".{_CHECKPOINT}") for name in names) > 1:
            ours = listed[-len(_RESUMING) :]
            parser[place] = [handler for handler in listed if not any(handler is one for one in ours)]
