# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from ignite.engine import Engine, Events
from torch.utils.data import DataLoader

from akd_monai.data import KeyedSampler
from akd_monai.errors import InputError
from akd_monai.handlers import KeyedRandomness


class Keys(torch.utils.data.Dataset):
    """Give each sample's own key back."""

    def __len__(self):
        return 10

    def __getitem__(self, key):
        return torch.tensor(key)


def watch(iterations_done=0, *, seed=1, workers=0, epoch_length=5, epochs=3, rank=0):
    """Return {iteration: (samples, a random number)} of a run that starts after ``iterations_done``."""
    sampler = KeyedSampler(Keys(), seed=seed)
    seen = {}

    def step(engine, batch):
        seen[engine.state.iteration] = ([tuple(key) for key in batch.tolist()], torch.rand(()).item())

    engine = Engine(step)
    engine.state.rank = rank
    KeyedRandomness(seed, sampler, 2).attach(engine)
    engine.load_state_dict({"iteration": iterations_done, "epoch_length": epoch_length, "max_epochs": epochs})
    torch.manual_seed(iterations_done)  # the state of the generators must not matter
    engine.run(DataLoader(Keys(), batch_size=2, sampler=sampler, num_workers=workers), max_epochs=epochs)
    return seen


def test_an_epoch_holds_every_sample_once_under_its_own_number():
    seen = watch()
    for epoch in (1, 2, 3):
        samples = [key for i in range(5 * epoch - 4, 5 * epoch + 1) for key in seen[i][0]]
        assert sorted(samples) == [(epoch, index) for index in range(10)]


@pytest.mark.parametrize("epoch_length", [5, 3, 8, 10])
def test_any_start_continues_the_same_run(epoch_length):
    uninterrupted = watch(epoch_length=epoch_length)
    for done in range(3 * epoch_length):
        assert watch(done, epoch_length=epoch_length) == {i: v for i, v in uninterrupted.items() if i > done}


def test_workers_change_nothing():
    assert watch(6, workers=2) == {i: v for i, v in watch().items() if i > 6}


def test_seed_and_rank_change_the_numbers():
    numbers = [[value for _, value in watch(**change).values()] for change in ({}, {"seed": 2}, {"rank": 1})]
    assert len({tuple(n) for n in numbers}) == 3
    assert len(set(numbers[0])) == len(numbers[0])


def test_second_run_of_one_engine_starts_from_the_beginning():
    sampler, seen = KeyedSampler(Keys(), seed=1), []
    engine = Engine(lambda engine, batch: seen.append(batch.tolist()))
    KeyedRandomness(1, sampler).attach(engine)
    loader = DataLoader(Keys(), batch_size=2, sampler=sampler)
    engine.run(loader)
    engine.run(loader)
    assert seen[:5] == seen[5:]


def test_unknown_batch_size_is_refused():
    engine = Engine(lambda engine, batch: None)
    KeyedRandomness(1, KeyedSampler(Keys())).attach(engine)
    with pytest.raises(InputError, match="no batch_size"):
        engine.run([torch.zeros(1)])


def test_without_a_sampler_the_loader_is_left_alone_but_dropout_is_keyed():
    numbers = []
    for _ in range(2):
        engine = Engine(lambda engine, batch: numbers.append(torch.rand(()).item()))
        KeyedRandomness(1).attach(engine)
        engine.add_event_handler(Events.ITERATION_COMPLETED, lambda: torch.rand(7))
        engine.run([0, 1], max_epochs=2)
    assert numbers[:4] == numbers[4:]
