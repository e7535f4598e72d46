# SPDX-License-Identifier: Apache-2.0
"""Batches in which several sites have an equal share, as a function of (seed, epoch)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

import torch

from akd_monai.data import KeyedSampler, SliceDataset
from akd_monai.errors import InputError
from akd_monai.generalisation._sites import check_sites, sample_sites
from akd_monai.keys import random_key

__all__ = ["SiteSampler"]


class SiteSampler(KeyedSampler):
    r"""Fill each batch with samples of ``sites_per_batch`` sites, drawn again for each batch, an equal share of each.

    Every batch draws its sites at random, all equally likely, in random order; :class:`SamlTrainer` takes the last one as
    meta-test site. With batch size B and n sites a site has ``B // n`` samples, and one more for each of the first
    ``B % n`` sites. A site's samples are drawn without repetition until all have been seen, then in a new order: repeated
    samples have another key, and so another augmentation. The samples of a site stand together.

    The order depends on (seed, epoch) alone and can start in the middle of an epoch, as that of
    :class:`~akd_monai.data.KeyedSampler`, whose attributes ``epoch`` and ``start`` it has.

    Args:
        data_source: a :class:`~akd_monai.data.SliceDataset`, or a data set whose list ``data`` holds mappings with
            ``"site"``, such as MONAI's ``Dataset`` and ``CacheDataset``.
        batch_size: of the data loader, at least ``sites_per_batch``.
        sites_per_batch: number of sites in a batch, at least 2; ``None`` takes all, or as many as the batch has samples.
        seed: seed of the order.
        num_samples: samples an epoch; by default as many as there are.

    Attributes:
        sites: the sites, sorted.

    Raises:
        InputError: if there are fewer sites than a batch needs, a case names no site, or the batch is too small.

    Example:
        >>> from monai.data import Dataset
        >>> data = [{"site": site, "number": number} for site in ("BMC", "HK", "UCL") for number in range(4)]
        >>> sampler = SiteSampler(Dataset(data), batch_size=4, sites_per_batch=2)
        >>> [data[index]["site"] for index in sampler][:4]
        ['UCL', 'UCL', 'BMC', 'BMC']
    """

    def __init__(
        self,
        data_source: Any,
        *,
        batch_size: int,
        sites_per_batch: int | None = 3,
        seed: int = 0,
        num_samples: int | None = None,
    ) -> None:
        super().__init__(data_source, seed=seed, num_samples=num_samples, rank=0, num_replicas=1)
        sites = sample_sites(data_source)
        check_sites(sites, sites_per_batch or 2, "a batch of several sites")
        self.sites = sorted(set(sites))
        self.batch_size = batch_size
        self.sites_per_batch = sites_per_batch or min(len(self.sites), max(batch_size, 2))
        _check_batch(batch_size, self.sites_per_batch)
        self._samples = {site: [n for n, other in enumerate(sites) if other == site] for site in self.sites}
        # only such a data set takes an epoch with its index
        self._with_epoch = isinstance(data_source, SliceDataset)

    def __iter__(self) -> Iterator[Any]:
        """Return an iterator over the samples of ``epoch``, less the first ``start``."""
        pairs = super().__iter__()
        return pairs if self._with_epoch else (index % len(self.data_source) for _, index in pairs)

    def _indices(self, epoch: int, total: int) -> list[int]:
        streams = {site: self._stream(site, epoch) for site in self.sites}
        indices: list[int] = []
        batches = count()
        while len(indices) < total:
            for place, site in enumerate(self._drawn(epoch, next(batches))):
                share = self.batch_size // self.sites_per_batch + (place < self.batch_size % self.sites_per_batch)
                indices += [next(streams[site]) for _ in range(share)]
        return indices[:total]

    def _drawn(self, epoch: int, batch: int) -> Sequence[str]:
        order = _permutation(len(self.sites), self.seed, "sites", epoch, batch)
        return [self.sites[number] for number in order[: self.sites_per_batch]]

    def _stream(self, site: str, epoch: int) -> Iterator[int]:
        samples = self._samples[site]
        for turn in count():
            for number in _permutation(len(samples), self.seed, "samples", site, epoch, turn):
                yield samples[number] + turn * len(self.data_source)


def _permutation(size: int, *key: object) -> list[int]:
    generator = torch.Generator().manual_seed(random_key(*key))
    order: list[int] = torch.randperm(size, generator=generator).tolist()
    return order


def _check_batch(batch_size: int, sites: int) -> None:
    if sites < 2:
        raise InputError(f"sites_per_batch must be at least 2, or null for all, got {sites}.")
    if batch_size < sites:
        raise InputError(f"a batch of {sites} sites needs batch_size of at least {sites}, got {batch_size}.")
