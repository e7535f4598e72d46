# SPDX-License-Identifier: Apache-2.0
"""Batches of images as a function of (seed, iteration), whatever else a run draws."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from akd_monai.keys import random_key

__all__ = ["ImageStream"]


class ImageStream:
    """The batch of images of each iteration: rounds through a data set in orders that depend on (seed, round) alone.

    Asked for one iteration after the other, it loads ahead as the training's loader does; after a jump it starts again at
    the iteration that is asked for, so that a resumed run needs no state.

    Args:
        dataset: images, whose index is a pair (round, number).
        batch_size: images of each process in an iteration.
        seed: of the orders.
        like: the training's loader, whose workers, memory and collation it has.

    Example:
        >>> from torch.utils.data import TensorDataset
        >>> class Named(Dataset):
        ...     def __len__(self):
        ...         return 3
        ...     def __getitem__(self, index):
        ...         return index[1]
        >>> stream = ImageStream(Named(), 2, 0, DataLoader(TensorDataset(torch.zeros(3))))
        >>> first, second, third = (stream.batch(number).tolist() for number in (1, 2, 3))
        >>> sorted(first + second[:1]), stream.batch(2).tolist() == second
        ([0, 1, 2], True)
    """

    def __init__(self, dataset: Dataset[Any], batch_size: int, seed: int, like: DataLoader[Any]) -> None:
        self.dataset = dataset
        self.batch_size = batch_size
        self.seed = seed
        self._like = like
        self._batches: Iterator[Any] | None = None
        self._next = 0

    def batch(self, iteration: int, rank: int = 0, processes: int = 1) -> Any:
        """Return the batch of an iteration, counted from 1.

        Args:
            iteration: of the run.
            rank: of this process.
            processes: that share an iteration; each is given images of its own.
        """
        if self._batches is None or iteration != self._next:
            order = _Order(len(self.dataset), self.batch_size, self.seed, iteration - 1, rank, processes)  # type: ignore[arg-type]
            self._batches = iter(self._loader(order))
        self._next = iteration + 1
        return next(self._batches)

    def close(self) -> None:
        """End the worker processes, if there are any."""
        self._batches = None

    def _loader(self, order: _Order) -> DataLoader[Any]:
        like = self._like
        return DataLoader(
            self.dataset,
            batch_sampler=order,
            num_workers=like.num_workers,
            collate_fn=like.collate_fn,
            pin_memory=like.pin_memory,
            timeout=like.timeout,
            multiprocessing_context=like.multiprocessing_context,
            # what a loader draws for its workers must not be missing to the training
            generator=torch.Generator().manual_seed(self.seed),
        )


class _Order(Sampler[list[tuple[int, int]]]):
    """The batches of one process from an iteration on, without end."""

    def __init__(self, size: int, batch_size: int, seed: int, start: int, rank: int, processes: int) -> None:
        self._size = size
        self._batch_size = batch_size
        self._seed = seed
        self._start = start
        self._rank = rank
        self._processes = processes

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        done = (self._start * self._processes + self._rank) * self._batch_size
        while True:
            yield [self._index(position) for position in range(done, done + self._batch_size)]
            done += self._processes * self._batch_size

    def _index(self, position: int) -> tuple[int, int]:
        turn, place = divmod(position, self._size)
        generator = torch.Generator().manual_seed(random_key(self._seed, "unlabelled", turn))
        return turn, int(torch.randperm(self._size, generator=generator)[place])
