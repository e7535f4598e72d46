# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from akd_monai.data import KeyedSampler
from akd_monai.errors import InputError


def test_an_epoch_is_a_permutation_that_seed_and_epoch_decide():
    sampler = KeyedSampler(range(20), seed=1)
    first, again = list(sampler), list(sampler)
    assert first == again
    assert sorted(first) == [(0, i) for i in range(20)]
    sampler.epoch = 3
    third = list(sampler)
    assert {epoch for epoch, _ in third} == {3}
    assert [i for _, i in third] != [i for _, i in first]
    other = KeyedSampler(range(20), seed=2)
    assert list(other) != first


def test_the_global_generator_plays_no_part():
    state = torch.get_rng_state()
    torch.manual_seed(1)
    one = list(KeyedSampler(range(20)))
    torch.manual_seed(2)
    assert list(KeyedSampler(range(20))) == one
    before = torch.get_rng_state()
    list(KeyedSampler(range(20)))
    assert torch.equal(torch.get_rng_state(), before)
    torch.set_rng_state(state)


@given(size=st.integers(1, 9), total=st.integers(1, 30), start=st.integers(0, 30), replicas=st.integers(1, 3))
def test_ranks_share_an_epoch_and_start_skips_its_beginning(size, total, start, replicas):
    samplers = [KeyedSampler(range(size), num_samples=total, rank=r, num_replicas=replicas) for r in range(replicas)]
    if total < replicas:
        with pytest.raises(InputError, match="cannot be shared by"):
            len(samplers[0])
        return
    drawn = [list(sampler) for sampler in samplers]
    assert [len(d) for d in drawn] == [len(s) for s in samplers] == [total // replicas] * replicas
    together = [pair for d in drawn for pair in d]
    assert len(set(together)) == len(together)
    # complete rounds hold each sample once
    rounds = [{i for _, i in together if i // size == r} for r in range(-(-total // size))]
    assert all(len(r) == size for r in rounds[: total // replicas * replicas // size])
    if start <= len(samplers[0]):
        samplers[0].start = start
        assert list(samplers[0]) == drawn[0][start:]
        assert samplers[0].start == 0
        assert list(samplers[0]) == drawn[0]


def test_rounds_have_their_own_order_and_key():
    indices = [i for _, i in KeyedSampler(range(50), num_samples=100)]
    assert sorted(indices) == list(range(100))
    assert indices[:50] != [i - 50 for i in indices[50:]]


def test_without_shuffle_samples_come_in_their_order():
    assert list(KeyedSampler(range(3), shuffle=False, num_samples=5)) == [(0, 0), (0, 1), (0, 2), (0, 3), (0, 4)]


def test_a_loader_sees_the_pairs():
    loader = torch.utils.data.DataLoader(
        _Echo(5), sampler=KeyedSampler(range(5), shuffle=False), batch_size=2, drop_last=True
    )
    assert [batch.tolist() for batch in loader] == [[[0, 0], [0, 1]], [[0, 2], [0, 3]]]


class _Echo(torch.utils.data.Dataset):
    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, pair):
        return torch.tensor(pair)


def _draw_as(rank: int, size: int, store: Path, found: Any) -> None:
    sampler = KeyedSampler(range(10))
    before = (sampler.rank, sampler.num_replicas, len(sampler))
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=size)
    found.put((rank, before, (sampler.rank, sampler.num_replicas, len(sampler)), list(sampler)))
    torch.distributed.destroy_process_group()


def test_rank_and_replicas_are_those_of_the_process_group(tmp_path):
    context = multiprocessing.get_context("fork")
    found = context.Queue()
    processes = [context.Process(target=_draw_as, args=(rank, 3, tmp_path / "store", found)) for rank in range(3)]
    for process in processes:
        process.start()
    results = sorted(found.get(timeout=120) for _ in processes)
    for process in processes:
        process.join()
    # a process group that is started after the sampler was made counts
    for rank, result in enumerate(results):
        expected = list(KeyedSampler(range(10), rank=rank, num_replicas=3))
        assert result == (rank, (0, 1, 10), (rank, 3, 3), expected)


def test_faults_are_named():
    with pytest.raises(InputError, match="the data set is empty"):
        KeyedSampler([])
    with pytest.raises(InputError, match="num_samples must be at least 1"):
        KeyedSampler(range(3), num_samples=0)
    with pytest.raises(InputError, match="rank must be 0 to 1 for 2 replicas, got 2"):
        KeyedSampler(range(3), rank=2, num_replicas=2)
    sampler = KeyedSampler(range(3))
    sampler.start = 4
    with pytest.raises(InputError, match="start must be 0 to 3"):
        iter(sampler)
