# SPDX-License-Identifier: Apache-2.0
"""Random numbers of a training run as a function of seed, epoch and iteration."""

from __future__ import annotations

from collections.abc import Sized
from typing import Any

import torch
from ignite.engine import Engine, Events

from akd_monai.errors import InputError
from akd_monai.keys import random_key

__all__ = ["KeyedRandomness"]


class KeyedRandomness:
    """Give every iteration the same batch and dropout in every run of one seed, resumed or not.

    When an epoch starts, ``sampler.epoch`` is set to its number and ``sampler.start`` to the samples that a resumed run
    has already seen, and the loader is started again. When an iteration starts, the generators of all devices are
    seeded by (seed, iteration, rank): resuming needs no generator state.

    Args:
        seed: seed of all random numbers.
        sampler: an :class:`akd_monai.data.KeyedSampler`, or any sampler with the attributes ``epoch`` and ``start``.
            Without one, only dropout is keyed, and a run resumed inside an epoch sees other batches than it would have.
        batch_size: samples an iteration takes from the sampler; by default that of the loader.

    Raises:
        InputError: when the run starts, if there is a sampler but no batch size.

    Example:
        >>> seen = []
        >>> engine = Engine(lambda engine, batch: seen.append(torch.rand(()).item()))
        >>> KeyedRandomness(seed=7).attach(engine)
        >>> _ = engine.run([0, 1])
        >>> _ = torch.rand(3)  # whatever else draws numbers
        >>> _ = engine.run([0, 1])
        >>> seen[:2] == seen[2:], seen[0] == seen[1]
        (True, False)
    """

    def __init__(self, seed: int, sampler: Any = None, batch_size: int | None = None) -> None:
        self.seed = seed
        self.sampler = sampler
        self.batch_size = batch_size
        self._first_epoch = True

    def attach(self, engine: Engine) -> None:
        """Follow ``engine``, a trainer; the position among its handlers does not matter."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.EPOCH_STARTED, self._start_epoch)
        engine.add_event_handler(Events.DATALOADER_STOP_ITERATION, self._rewind)
        engine.add_event_handler(Events.ITERATION_STARTED, self._start_iteration)

    def _start(self, engine: Engine) -> None:
        self._first_epoch = True
        if self.sampler is None:
            return
        if self.batch_size is None:
            self.batch_size = getattr(engine.state.dataloader, "batch_size", None)
        if self.batch_size is None:
            raise InputError(
                "the data loader has no batch_size: give KeyedRandomness the batch_size that an iteration takes."
            )

    def _start_epoch(self, engine: Engine) -> None:
        if self.sampler is not None and self.batch_size is not None:
            self.sampler.epoch = engine.state.epoch
            self.sampler.start = _batches_done(engine) * self.batch_size
        # Ignite makes the first iterator itself, after this event, and then counts the iterations already done; later
        # it keeps one alive across epochs, and what that has prefetched belongs to the epoch before.
        if not self._first_epoch and engine.state.dataloader is not None:
            engine.set_data(engine.state.dataloader)
        self._first_epoch = False

    def _rewind(self, _: Engine) -> None:
        if self.sampler is not None:
            self.sampler.start = 0

    def _start_iteration(self, engine: Engine) -> None:
        rank = getattr(engine.state, "rank", 0)
        torch.manual_seed(random_key(self.seed, "iteration", engine.state.iteration, rank))


def _batches_done(engine: Engine) -> int:
    """Return how many batches of the loader's present pass a resumed run has already seen."""
    length = engine.state.epoch_length
    done = engine.state.iteration % length if length else 0
    loader = engine.state.dataloader
    if isinstance(loader, Sized) and len(loader):
        # An epoch longer than the loader goes through it several times.
        return done % len(loader)
    return done
