# SPDX-License-Identifier: Apache-2.0
"""Random numbers of a training that knows nothing of keys: saved with a run, and put back when it resumes."""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events

from akd_monai.handlers._events import run_first, run_late, skip_batches
from akd_monai.handlers._generators import of_loader, of_transforms, unsaved
from akd_monai.handlers.run_member import RunMember

__all__ = ["RandomState"]

logger = logging.getLogger(__name__)


class RandomState(RunMember):
    """Let a run that :class:`ResumableCheckpoint` resumes draw the random numbers that it would have drawn.

    Saved are the states of the global generators of Python, NumPy and PyTorch (of all its devices), of the generators of
    the data loader and its sampler, and of MONAI's random transforms, each as it was when the data loader was last
    started and as it is. A resumed run starts its loader with the former, skips the batches already seen, and continues
    with the latter; nothing is drawn or seeded, so that a run without interruption is the same with this handler and
    without.

    It holds for data loaders of PyTorch and MONAI that start an iterator in each pass over the data, with any number of
    worker processes, for ``CacheDataset`` and the like. It does not hold where random numbers live elsewhere: worker
    processes that persist over epochs, MONAI's ``ThreadDataLoader``, ``SmartCacheDataset``, and generators of one's own;
    what of these is found is logged as a warning when the run starts. A training with :class:`KeyedRandomness` needs none
    of it.

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
        self._pass: dict[str, Any] = {}
        # iteration after which the loader was last started
        self._began = 0
        self._saved: Mapping[str, Any] | None = None
        # with which the next batch is made, once those already seen are skipped
        self._next: Mapping[str, Any] = {}

    def attach(self, engine: Engine) -> None:
        """Follow ``engine``, a trainer; the position among its handlers does not matter."""
        self._engine = engine
        engine.add_event_handler(Events.STARTED, self._started)
        # when the iterator is there, and before it makes a batch
        run_first(engine, Events.GET_BATCH_STARTED, self._continue)

    def run_state(self) -> dict[str, Any]:
        """Return the generators' states."""
        now = self._states()
        seen = self._seen()
        if seen and seen == _length_of(self._loader()):
            # the next batch is the first of a loader that starts with these states
            return {"pass": now, "now": now, "seen": 0}
        return {"pass": self._pass or now, "now": now, "seen": seen}

    def start_run(self, state: Mapping[str, Any] | None) -> None:
        """Put the states back: now, and for the batches already seen when the loader starts."""
        self._saved = state or None
        if state:
            self._restore(state["now"])

    def _started(self, engine: Engine) -> None:
        for found in unsaved(engine.state.dataloader):
            logger.warning(
                "should this run be interrupted, the resumed run draws other random numbers than it would have: %s",
                found,
            )
        run_late(engine, Events.EPOCH_STARTED, self._start_epoch)
        run_late(engine, Events.DATALOADER_STOP_ITERATION, self._start_pass)
        self._pass = {}

    def _start_epoch(self, engine: Engine) -> None:
        if self._pass:
            return
        saved = self._saved
        if saved is not None:
            is_new = engine.state.iteration % (engine.state.epoch_length or 1) == 0
            # in an epoch that began before the interruption, the handlers of its beginning have drawn already
            self._next = self._states() if is_new else saved["now"]
            self._restore(saved["pass"] if saved["seen"] else self._next)
        self._start_pass(engine)

    def _start_pass(self, engine: Engine) -> None:
        self._pass = self._states()
        self._began = engine.state.iteration

    def _continue(self, engine: Engine) -> None:
        saved = self._saved
        if saved is None:
            return
        self._saved = None
        self._began = engine.state.iteration - saved["seen"]
        if saved["seen"]:
            skip_batches(engine, saved["seen"])
            self._restore(self._next)

    def _seen(self) -> int:
        """Return how many batches the loader has given since it was started."""
        return 0 if self._engine is None else self._engine.state.iteration - self._began

    def _states(self) -> dict[str, Any]:
        loader = self._loader()
        return {
            "python": _of_python(random.getstate()),
            "numpy": _of_numpy(np.random.get_state(legacy=True)),
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "generators": [generator.get_state() for generator in of_loader(loader)],
            "transforms": [_of_numpy(state.get_state(legacy=True)) for state in of_transforms(loader)],
        }

    def _restore(self, states: Mapping[str, Any]) -> None:
        random.setstate(_to_python(states["python"]))
        np.random.set_state(_to_numpy(states["numpy"]))
        torch.set_rng_state(states["torch"])
        if torch.cuda.is_available() and len(states["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(states["cuda"])
        for generator, state in zip(of_loader(self._loader()), states["generators"], strict=False):
            generator.set_state(state)
        for transform, state in zip(of_transforms(self._loader()), states["transforms"], strict=False):
            transform.set_state(_to_numpy(state))

    def _loader(self) -> Any:
        return None if self._engine is None else self._engine.state.dataloader


def _length_of(loader: Any) -> int | None:
    try:
        return len(loader)
    except TypeError:
        return None


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
