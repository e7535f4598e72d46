# SPDX-License-Identifier: Apache-2.0
"""Which random numbers a resumed run puts back, and which it says that it cannot."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from monai.data import CacheDataset, DataLoader, Dataset, SmartCacheDataset, ThreadDataLoader
from monai.transforms import Compose, OneOf, RandFlip, RandGaussianNoise, Transform

from akd_monai.handlers import RandomState
from akd_monai.handlers._generators import of_transforms, unsaved


class Own(Transform):
    """A transform that draws from a generator of its own."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)

    def __call__(self, data):
        return data


class Called:
    """The same, of no class of MONAI."""

    def __init__(self) -> None:
        self.numbers = random.Random(0)

    def __call__(self, data):
        return data


ITEMS = [1.0, 2.0]
SAVED = {
    "a list": ITEMS,
    "shuffled": DataLoader(Dataset(ITEMS), shuffle=True),
    "generator of the loader": DataLoader(Dataset(ITEMS), shuffle=True, generator=torch.Generator()),
    "cached": DataLoader(CacheDataset(ITEMS, Compose([RandFlip(0.5)]), progress=False)),
    "workers": DataLoader(Dataset(ITEMS), num_workers=1),
}
UNSAVED = {
    "ThreadDataLoader reads ahead in a thread": ThreadDataLoader(Dataset(ITEMS), num_workers=0),
    "worker processes persist over epochs (persistent_workers)": DataLoader(
        Dataset(ITEMS), num_workers=1, persistent_workers=True
    ),
    "SmartCacheDataset replaces its items in a thread": DataLoader(
        SmartCacheDataset(ITEMS, replace_rate=0.5, cache_num=1, progress=False)
    ),
    "Own has a generator of its own (rng)": DataLoader(Dataset(ITEMS, Compose([RandFlip(0.5), Own()]))),
    "Called has a generator of its own (numbers)": DataLoader(Dataset(ITEMS, Compose([Called()]))),
    "map is no data loader of PyTorch": map(float, ITEMS),
}


@pytest.mark.parametrize("case", SAVED)
def test_what_can_be_put_back_is_not_warned_of(case):
    assert unsaved(SAVED[case]) == []


@pytest.mark.parametrize("words", UNSAVED)
def test_what_cannot_be_put_back_is_said_when_the_run_starts(words, caplog):
    assert unsaved(UNSAVED[words]) == [words]
    engine = Engine(lambda engine, batch: None)
    RandomState().attach(engine)
    engine.run([0])
    assert "resumed run" not in caplog.text
    engine.add_event_handler(Events.STARTED, lambda _: engine.terminate())
    engine.run(UNSAVED[words], epoch_length=1)
    expected = f"should this run be interrupted, the resumed run draws other random numbers than it would have: {words}"
    assert expected in caplog.text


def test_every_transform_is_found_once_wherever_it_stands():
    flip, noise, inner = RandFlip(0.5), RandGaussianNoise(0.5), RandFlip(0.1)
    for transform in (flip, noise, inner):
        transform.set_random_state(seed=1)
    composed = Compose([flip, OneOf([noise, Compose([inner])]), flip])
    found = of_transforms(DataLoader(CacheDataset(ITEMS, composed, progress=False)))
    assert all(sum(state is transform.R for state in found) == 1 for transform in (flip, noise, inner))


def run(engine_epochs, state=None, stop_at=None, epoch_length=None):
    """Return the numbers of each step, drawn by a sampler, a transform and the step, and the last state."""
    torch.manual_seed(0)
    transform = RandGaussianNoise(prob=1.0)
    # takes a seed for its transforms
    loader = DataLoader(Dataset([torch.zeros(1, 1) + i for i in range(5)], transform), shuffle=True)
    seen, states = [], []

    def step(engine, batch):
        seen.append((batch.item(), torch.rand(()).item(), random.random(), np.random.rand()))
        states.append(None)

    engine, member = Engine(step), RandomState()
    member.attach(engine)

    def keep(engine):
        states[-1] = (engine.state.iteration, member.run_state())
        if engine.state.iteration == stop_at:
            engine.terminate()

    def start(engine):
        if state is not None:
            engine.state.iteration, known = state
            engine.state.epoch = engine.state.iteration // engine.state.epoch_length
            member.start_run(known)
        else:
            torch.manual_seed(0)
            np.random.seed(0)
            random.seed(0)

    engine.add_event_handler(Events.STARTED, start)
    engine.add_event_handler(Events.ITERATION_COMPLETED, keep)
    # what draws at the beginning of an epoch must not matter
    engine.add_event_handler(Events.EPOCH_STARTED, lambda _: torch.rand(3))
    engine.run(loader, max_epochs=engine_epochs, epoch_length=epoch_length)
    return seen, states


@pytest.mark.parametrize("epoch_length", [None, 3, 7], ids=["all the data", "shorter", "longer"])
@pytest.mark.parametrize("at", range(1, 12))
def test_from_every_step_the_numbers_continue(epoch_length, at):
    expected, _ = run(4, epoch_length=epoch_length)
    before, states = run(4, stop_at=at, epoch_length=epoch_length)
    torch.manual_seed(99)
    after, _ = run(4, state=states[-1], epoch_length=epoch_length)
    assert before + after == expected
