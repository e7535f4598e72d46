# SPDX-License-Identifier: Apache-2.0
"""An order of samples that is a function of (seed, epoch) and can start in the middle of an epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sized

import ignite.distributed as idist
import torch
from torch.utils.data import Sampler

from akd_monai.errors import InputError
from akd_monai.keys import random_key

__all__ = ["KeyedSampler"]


class KeyedSampler(Sampler[tuple[int, int]]):
    """Yield ``(epoch, index)`` in an order that depends on ``(seed, epoch)`` alone.

    The pair travels to :class:`~akd_monai.data.slices.SliceDataset`, which keys its augmentation by it; workers share
    no state. Whoever drives the training sets ``epoch`` before each epoch and, when it resumes, ``start``.

    When more samples are wanted than there are, the data are drawn again in a new order. Round ``r`` yields
    ``index + r * len(data_source)``: the same sample under another key, and so with another augmentation.

    Args:
        data_source: the data set; only its length is used.
        seed: seed of the order.
        num_samples: samples an epoch over all ranks; all samples once by default.
        shuffle: if false, samples come in their own order.
        rank: this process; by default that of ``ignite.distributed``, 0 without a process group.
        num_replicas: number of processes; likewise. Ranks draw disjoint samples, each the same number; what does not
            divide is left out.

    Attributes:
        epoch: epoch that the next iteration is for.
        start: number of samples (of this rank) that the next iteration skips; returns to 0 when it begins.

    Raises:
        InputError: if there is nothing to draw from, or ``start`` is past the end.

    Example:
        >>> sampler = KeyedSampler(range(4), seed=1)
        >>> first = list(sampler)
        >>> sampler.start = 2
        >>> list(sampler) == first[2:], list(sampler) == first
        (True, True)
    """

    def __init__(
        self,
        data_source: Sized,
        *,
        seed: int = 0,
        num_samples: int | None = None,
        shuffle: bool = True,
        rank: int | None = None,
        num_replicas: int | None = None,
    ) -> None:
        if num_samples is not None and num_samples < 1:
            raise InputError(f"num_samples must be at least 1, or null for all samples, got {num_samples}.")
        if len(data_source) < 1:
            raise InputError("there is no sample to draw: the data set is empty; check dataset_dir, sites and part.")
        self.data_source = data_source
        self.seed = seed
        self.num_samples = num_samples
        self.shuffle = shuffle
        self.epoch = 0
        self.start = 0
        self._rank = rank
        self._num_replicas = num_replicas
        if rank is not None and not 0 <= rank < self.num_replicas:
            raise InputError(f"rank must be 0 to {self.num_replicas - 1} for {self.num_replicas} replicas, got {rank}.")

    @property
    def rank(self) -> int:
        """The rank of this process."""
        # asked for when needed: a process group may be started after the sampler was made
        return idist.get_rank() if self._rank is None else self._rank

    @property
    def num_replicas(self) -> int:
        """The number of processes that share an epoch."""
        return idist.get_world_size() if self._num_replicas is None else self._num_replicas

    def __len__(self) -> int:
        """Return the samples that a rank draws in a complete epoch, whatever ``start`` says."""
        total = self.num_samples if self.num_samples is not None else len(self.data_source)
        if total < self.num_replicas:
            raise InputError(f"{total} samples cannot be shared by {self.num_replicas} processes; use fewer processes.")
        return total // self.num_replicas

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Return an iterator over this rank's samples of ``epoch``, less the first ``start``."""
        count = len(self)
        skipped = self.start
        epoch = self.epoch
        if not 0 <= skipped <= count:
            raise InputError(f"start must be 0 to {count}, the samples of an epoch, got {skipped}.")
        self.start = 0
        indices = self._indices(epoch, count * self.num_replicas)[self.rank :: self.num_replicas]
        return iter([(epoch, index) for index in indices[skipped:]])

    def _indices(self, epoch: int, total: int) -> list[int]:
        size = len(self.data_source)
        indices: list[int] = []
        for number in range(-(-total // size)):
            order = torch.arange(size)
            if self.shuffle:
                generator = torch.Generator().manual_seed(random_key(self.seed, "shuffle", epoch, number))
                order = torch.randperm(size, generator=generator)
            indices.extend((order + number * size).tolist())
        return indices[:total]
