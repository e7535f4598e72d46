# SPDX-License-Identifier: Apache-2.0
"""Kinds and ranges of the values that the project's configs take, checked before anything is built or written."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import torch

from akd_monai.errors import InputError, near_matches, unknown_name

__all__ = ["check_settings", "known_settings"]


@dataclass(frozen=True)
class _Kind:
    """What a value must be: in words, and as a question."""

    words: str
    fits: Callable[[Any], bool]
    choices: tuple[str, ...] = ()

    def or_none(self) -> _Kind:
        return _Kind(f"{self.words}, or None", lambda value: value is None or self.fits(value), self.choices)


def _is_integer(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_finite(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _integer(least: int) -> _Kind:
    return _Kind(f"an integer of at least {least}", lambda value: _is_integer(value) and value >= least)


def _choice(*names: str) -> _Kind:
    return _Kind(f"one of {', '.join(map(repr, names))}", lambda value: value in names, names)


def _is_size(value: object) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == 2 and all(_is_integer(n) and n >= 1 for n in value)


def _is_names(value: object) -> bool:
    return isinstance(value, str) or (isinstance(value, (list, tuple)) and all(isinstance(name, str) for name in value))


def _is_device(value: object) -> bool:
    if not isinstance(value, (str, torch.device)):
        return False
    try:
        device = torch.device(value)
    except RuntimeError:
        return False
    if device.type != "cuda":
        return device.type in ("cpu", "mps", "xpu", "meta")
    return torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count()


def _devices() -> str:
    found = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    return f"a device of this machine ({', '.join(found)})"


_BOOL = _Kind("True or False", lambda value: isinstance(value, bool))
_SIZE = _Kind("two positive integers such as [384,384]", _is_size)
_NAMES = _Kind("names such as \"['BMC']\", or None for all", lambda value: value is None or _is_names(value))
_PATH = _Kind("a path", lambda value: isinstance(value, (str, os.PathLike)))
_POSITIVE = _Kind("a finite number above 0", lambda value: _is_finite(value) and value > 0)
_WEIGHT = _Kind("a finite number of at least 0", lambda value: _is_finite(value) and value >= 0)
_SHARE = _Kind("a number between 0 and 1", lambda value: _is_finite(value) and 0 <= value <= 1)
_DEVICE = _Kind("", _is_device)
_RESUME = _choice("auto", "never")

_KINDS = {
    "amp": _BOOL,
    "background_ratio": _SHARE,
    "batch_size": _integer(1),
    "cache_dir": _PATH.or_none(),
    "ckpt_dir": _PATH,
    "ckpt_path": _PATH,
    "confidence": _SHARE.or_none(),
    "dataset_dir": _PATH,
    "device": _DEVICE,
    "distillation_resume": _choice("auto", "never", "off"),
    "distillation_seed": _integer(0),
    "ema_decay": _Kind(
        "a number of at least 0 and below 1", lambda value: _is_finite(value) and 0 <= value < 1
    ).or_none(),
    "epochs": _integer(1),
    "fold": _integer(0),
    "folds": _integer(2).or_none(),
    "initial_weights": _PATH.or_none(),
    "iterations_per_checkpoint": _integer(1).or_none(),
    "labelled_cases": _integer(1).or_none(),
    "lambda_affinity": _WEIGHT,
    "lambda_gram": _WEIGHT,
    "lambda_logits": _WEIGHT,
    "lambda_task": _WEIGHT,
    "lambda_unlabelled": _WEIGHT,
    "learning_rate": _POSITIVE,
    "num_workers": _integer(0),
    "output_dir": _PATH,
    "pseudo_labels": _choice("hard", "soft"),
    "resume": _RESUME,
    "samples_per_epoch": _integer(1).or_none(),
    "seed": _integer(0),
    "sites": _NAMES,
    "spatial_size": _SIZE,
    "split_seed": _integer(0),
    "teacher_cache": _PATH.or_none(),
    "teacher_norm": _choice("stored", "target"),
    "teacher_norm_images": _integer(2),
    "teacher_vote": _choice("mean", "agreement"),
    "trust_teacher": _BOOL,
    "unlabelled_batch_size": _integer(0),
    "val_interval": _integer(1),
}

# ids that only overlays of this package have, so that they mean the same in every bundle
_OVERLAY_STARTS = (
    "confidence",
    "distillation_",
    "ema_",
    "initial_weights",
    "lambda_",
    "pseudo_labels",
    "teacher_",
    "trust_",
    "unlabelled_",
)
_OVERLAY_IDS = tuple(name for name in _KINDS if name.startswith(_OVERLAY_STARTS))
# what a command line makes of JSON's null
_NULL = "null"


def check_settings(**values: Any) -> None:
    """Check values by the kinds and ranges that they have in the project's configs, as their ``initialize`` does.

    Args:
        values: values by id: ``epochs``, ``batch_size``, ``spatial_size``, ``device`` and the like.

    Raises:
        InputError: for the first value of another kind or out of range.
        UnknownNameError: for an id without a kind.

    Example:
        >>> check_settings(epochs=3, folds=None, spatial_size=[64, 64])
        >>> check_settings(batch_size=0)
        Traceback (most recent call last):
        ...
        akd_monai.errors.InputError: batch_size must be an integer of at least 1, got 0.
    """
    for name, value in values.items():
        kind = _KINDS.get(name)
        if kind is None:
            raise unknown_name("setting", name, _KINDS)
        if kind.fits(value):
            continue
        words = _devices() if kind is _DEVICE else kind.words
        shown = str(value) if isinstance(value, torch.device) else value
        hint = near_matches(value, kind.choices) if isinstance(value, str) else ""
        if value == _NULL:
            hint = " Write '$None' for None under python -m monai.bundle."
        raise InputError(f"{name} must be {words}, got {shown!r}.{hint}")


def known_settings(*, of_overlay: bool) -> tuple[str, ...]:
    """Return the ids that :func:`check_settings` knows, or only those that overlays alone have."""
    return _OVERLAY_IDS if of_overlay else tuple(_KINDS)
