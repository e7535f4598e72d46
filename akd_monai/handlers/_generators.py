# SPDX-License-Identifier: Apache-2.0
"""The generators of random numbers that a data loader uses: those that can be saved, and those that cannot."""

from __future__ import annotations

import random
from collections.abc import Sequence
from types import FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from monai.data import SmartCacheDataset, ThreadDataLoader
from monai.transforms import Randomizable, Transform
from torch import nn
from torch.utils.data import DataLoader, Dataset, Sampler

__all__ = ["of_loader", "of_transforms", "owners", "unsaved"]

_OWNERS = (Transform, Randomizable, Dataset, Sampler)
_OWN = (np.random.Generator, np.random.RandomState, torch.Generator, random.Random)
# MONAI's name of the generator of a random transform
_OF_MONAI = "R"


def of_loader(loader: Any) -> list[torch.Generator]:
    """Return the generators that were given to a data loader and its samplers, each once."""
    owners = (loader, getattr(loader, "sampler", None), getattr(loader, "batch_sampler", None))
    found = [getattr(owner, "generator", None) for owner in owners]
    return list({id(one): one for one in found if isinstance(one, torch.Generator)}.values())


def of_transforms(loader: Any) -> list[np.random.RandomState]:
    """Return the generators of a data set and of all MONAI transforms in it, each once and always in one order."""
    states = []
    for owner in owners(loader):
        state = getattr(owner, _OF_MONAI, None)
        if isinstance(state, np.random.RandomState):
            states.append(state)
    return list({id(state): state for state in states}.values())


def unsaved(loader: Any) -> list[str]:
    """Return in words what draws random numbers that a run cannot put back when it resumes; empty if nothing does.

    Args:
        loader: the data loader of a trainer.

    Example:
        >>> unsaved(DataLoader([1, 2], shuffle=True))
        []
        >>> unsaved(ThreadDataLoader([1, 2], num_workers=0))
        ['ThreadDataLoader reads ahead in a thread']
    """
    words = []
    if isinstance(loader, ThreadDataLoader):
        words.append(f"{type(loader).__name__} reads ahead in a thread")
    elif not isinstance(loader, (DataLoader, list, tuple)):
        words.append(f"{type(loader).__name__} is no data loader of PyTorch")
    if getattr(loader, "persistent_workers", False):
        words.append("worker processes persist over epochs (persistent_workers)")
    for owner in owners(loader):
        if isinstance(owner, SmartCacheDataset):
            words.append(f"{type(owner).__name__} replaces its items in a thread")
        words.extend(f"{type(owner).__name__} has a generator of its own ({name})" for name in _own_names(owner))
    return list(dict.fromkeys(words))


def _own_names(owner: Any) -> list[str]:
    # that of a sampler is saved
    known = {_OF_MONAI, "generator"} if isinstance(owner, Sampler) else {_OF_MONAI}
    return [name for name, value in vars(owner).items() if isinstance(value, _OWN) and name not in known]


def owners(loader: Any) -> list[Any]:
    """Return the data set of a loader, its samplers, and all that is in them and may draw random numbers."""
    parts: list[Any] = [getattr(loader, name, None) for name in ("dataset", "sampler", "batch_sampler")]
    found: dict[int, Any] = {}
    for part in parts:
        _collect(part, found, set())
    return list(found.values())


def _collect(value: Any, found: dict[int, Any], seen: set[int]) -> None:
    if id(value) in found or id(value) in seen:
        return
    if isinstance(value, _OWNERS) or _is_function_object(value):
        found[id(value)] = value
        parts: Sequence[Any] = list(vars(value).values())
    elif isinstance(value, (list, tuple)):
        parts = value
    elif isinstance(value, dict):
        parts = list(value.values())
    else:
        return
    seen.add(id(value))
    for part in parts:
        _collect(part, found, seen)


def _is_function_object(value: Any) -> bool:
    """Return whether a value is an object of a class that someone wrote to be called, such as a transform of one's own."""
    is_other = isinstance(value, (type, FunctionType, MethodType, nn.Module, torch.Tensor))
    return callable(value) and hasattr(value, "__dict__") and not is_other
