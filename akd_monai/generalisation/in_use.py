# SPDX-License-Identifier: Apache-2.0
"""Whether a training really uses what a config file has added to it."""

from __future__ import annotations

from typing import Any

from akd_monai.errors import InputError
from akd_monai.handlers._events import attached_handlers
from akd_monai.handlers._generators import owners

__all__ = ["check_in_use"]


def check_in_use(trainer: Any, *parts: Any) -> None:
    """Refuse a training that ignores transforms or handlers which a config file has added.

    A bundle of another project may lack the ids ``train#random_transforms`` and ``train#handlers``, or name them and use
    others. MONAI then creates the ids and trains as if nothing had been added.

    Args:
        trainer: a trainer of MONAI, built but not yet run.
        parts: transforms that its data set must apply, and handlers that must be attached to it; the same objects, not
            equal ones.

    Raises:
        InputError: for the first part that is not in use.

    Example:
        >>> from monai.data import DataLoader, Dataset
        >>> from monai.transforms import Compose, RandFlipd
        >>> flip, other = RandFlipd("image"), RandFlipd("image")
        >>> class Trainer:
        ...     data_loader = DataLoader(Dataset([], Compose([flip])))
        ...     _event_handlers = {}
        >>> check_in_use(Trainer, flip)
        >>> check_in_use(Trainer, other)
        Traceback (most recent call last):
        ...
        akd_monai.errors.InputError: RandFlipd is not part of this training: ...
    """
    used = {id(part) for part in (*owners(trainer.data_loader), *attached_handlers(trainer))}
    for part in parts:
        if id(part) not in used:
            raise InputError(
                f"{type(part).__name__} is not part of this training: the bundle's trainer does not use the ids "
                "train#random_transforms and train#handlers, to which the config file adds it; add it to the transforms or "
                "handlers that the trainer does use."
            )
