# SPDX-License-Identifier: Apache-2.0
"""Random numbers of a training that knows nothing of keys: saved with a run, and put back when it resumes."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.transforms import Randomizable, Transform
from torch.utils.data import Dataset, Sampler

from akd_monai.handlers._events import run_first, run_late, skip_batches
from akd_monai.handlers.run_member import RunMember

__all__ = ["RandomState"]

_OWNERS = (Transform, Randomizable, Dataset, Sampler)


class RandomState(RunMember):
    """Let a run that :class:`ResumableCheckpoint` resumes draw the random numbers that it would have drawn.

    Saved are the states of the global generators of Python, NumPy and PyTorch (of all its devices), of the generators of
    the data loader and its sampler, and of MONAI's random transforms, each as it was when the epoch began and as it is. A
    resumed run starts its epoch with the former, skips the batches already seen, and continues with the latter; nothing
    is drawn or seeded, so that a run without interruption is the same with this handler and without.

    It holds for data loaders of PyTorch and MONAI that start an iterator in each epoch, with any number of worker
    processes, for ``CacheDataset`` and the like. It does not hold where random numbers live elsewhere: worker processes
    that persist over epochs, MONAI's ``ThreadDataLoader``, ``SmartCacheDataset``, and generators of one's own. A training
    with :class:`KeyedRandomness` needs none of it.

    Example:
        >>> state = RandomState()
        >>> engine = Engine(lambda engine, batch: torch.rand(()).item())
        >>> state.attach(engine)
        >>> _ = engine.run([0])
        >>> saved = state.run_state()
        >>> following = torch.rand(())
        >>> state.start_run(saved)
        >>> _ = engine.run([0], max_epochs=2)
        >>> engine.state.output == following.item()
        True
    """

    def __init__(self) -> None:
        self._engine: Engine | None = None
        self._epoch: dict[str, Any] = {}
        self._later: Mapping[str, Any] | None = None

    def attach(self, engine: Engine) -> None:
        """Follow ``engine``, a trainer; the position among its handlers does not matter."""
        self._engine = engine
        engine.add_event_handler(Events.STARTED, self._started)
        # when the iterator is there, and before it makes a batch
        run_first(engine, Events.GET_BATCH_STARTED, self._continue)

    def run_state(self) -> dict[str, Any]:
        """Return the generators' states."""
        now = self._states()
        at_boundary = self._engine is None or _is_boundary(self._engine)
        return {"epoch": now if at_boundary else self._epoch, "now": now}

    def start_run(self, state: Mapping[str, Any] | None) -> None:
        """Put the states of the epoch back, and those of the step when it begins."""
        self._later = None
        if state:
            self._restore(state["epoch"])
            self._later = state["now"]

    def _started(self, engine: Engine) -> None:
        run_late(engine, Events.EPOCH_STARTED, self._start_epoch)

    def _start_epoch(self, _: Engine) -> None:
        self._epoch = self._states()

    def _continue(self, engine: Engine) -> None:
        if self._later is None:
            return
        if not _is_boundary(engine):
            skip_batches(engine, engine.state.iteration % (engine.state.epoch_length or 1))
            self._restore(self._later)
        self._later = None

    def _states(self) -> dict[str, Any]:
        return {
            "python": _of_python(random.getstate()),
            "numpy": _of_numpy(np.random.get_state(legacy=True)),
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "generators": [generator.get_state() for generator in self._generators()],
            "transforms": [_of_numpy(state.get_state(legacy=True)) for state in self._transforms()],
        }

    def _restore(self, states: Mapping[str, Any]) -> None:
        random.setstate(_to_python(states["python"]))
        np.random.set_state(_to_numpy(states["numpy"]))
        torch.set_rng_state(states["torch"])
        if torch.cuda.is_available() and len(states["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(states["cuda"])
        for generator, state in zip(self._generators(), states["generators"], strict=False):
            generator.set_state(state)
        for transform, state in zip(self._transforms(), states["transforms"], strict=False):
            transform.set_state(_to_numpy(state))

    def _loader(self) -> Any:
        return None if self._engine is None else self._engine.state.dataloader

    def _generators(self) -> list[torch.Generator]:
        loader = self._loader()
        owners = (loader, getattr(loader, "sampler", None), getattr(loader, "batch_sampler", None))
        found = [getattr(owner, "generator", None) for owner in owners]
        return list({id(one): one for one in found if isinstance(one, torch.Generator)}.values())

    def _transforms(self) -> list[np.random.RandomState]:
        return list(
            {id(state): state for state in _numpy_states(getattr(self._loader(), "dataset", None), set())}.values()
        )


def _numpy_states(value: Any, seen: set[int]) -> Iterator[np.random.RandomState]:
    """Yield the generators of a data set and of all transforms in it, always in one order."""
    if id(value) in seen:
        return
    if isinstance(value, (list, tuple)):
        parts = [part for part in value if isinstance(part, (*_OWNERS, list, tuple))]
    elif isinstance(value, _OWNERS):
        if isinstance(getattr(value, "R", None), np.random.RandomState):
            yield value.R  # type: ignore[union-attr]
        parts = list(vars(value).values())
    else:
        return
    seen.add(id(value))
    for part in parts:
        yield from _numpy_states(part, seen)


def _is_boundary(engine: Engine) -> bool:
    return engine.state.iteration % (engine.state.epoch_length or 1) == 0


def _of_numpy(state: Any) -> list[Any]:
    name, keys, *rest = state
    return [name, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest]


def _to_numpy(state: Any) -> tuple[Any, ...]:
    name, keys, *rest = state
    return (name, keys.numpy().astype(np.uint32), *rest)


def _of_python(state: Any) -> list[Any]:
    version, numbers, gauss = state
    return [version, torch.tensor(numbers, dtype=torch.int64), gauss]


def _to_python(state: Any) -> tuple[Any, ...]:
    version, numbers, gauss = state
    return version, tuple(numbers.tolist()), gauss
