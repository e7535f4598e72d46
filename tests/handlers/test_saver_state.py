# SPDX-License-Identifier: Apache-2.0
"""MONAI's savers and early stopping continue with a run that is resumed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from ignite.engine import Events
from monai.handlers import CheckpointSaver, EarlyStopHandler
from toy_run import build

from akd_monai.handlers import SaverState

# of each epoch; the first is the best
SCORES = {1: 0.9, 2: 0.5, 3: 0.4, 4: 0.3}


class Lost(BaseException):
    """The end of a process, of which no handler is told in time."""


def run(folder: Path, *, lost_after: int | None = None, patience: int = 9) -> list[int]:
    """Train until an epoch is complete or to the end, and return the epochs that were begun."""
    folder.mkdir(exist_ok=True)
    state = SaverState()
    trainer = build(folder, score=SCORES.get, handlers=[state])
    saver = CheckpointSaver(folder, {"model": trainer.network}, save_key_metric=True, key_metric_filename="key.pt")
    saver.attach(trainer.evaluator)
    stop = EarlyStopHandler(patience, lambda engine: engine.state.metrics["val_mean_dice"], trainer=trainer)
    stop.attach(trainer.evaluator)
    begun = []

    def begin(engine) -> None:
        begun.append(engine.state.epoch)
        if lost_after is not None and engine.state.epoch > lost_after:
            raise Lost

    trainer.add_event_handler(Events.EPOCH_STARTED, begin)
    try:
        trainer.run()
    except Lost:
        begun.pop()
    run.best = trainer.evaluator.state.best_metric, trainer.evaluator.state.best_metric_epoch
    return begun


def key_weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "key.pt", weights_only=True)


@pytest.mark.parametrize("lost_after", [1, 2, 3])
def test_the_best_model_of_before_is_not_replaced_by_a_worse_one(tmp_path, lost_after):
    assert run(tmp_path / "one") == [1, 2, 3, 4]
    expected, best = key_weights(tmp_path / "one"), run.best
    assert run(tmp_path / "two", lost_after=lost_after) == list(range(1, lost_after + 1))
    assert run(tmp_path / "two") == list(range(lost_after + 1, 5))
    found = key_weights(tmp_path / "two")
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert run.best == best


def test_early_stopping_counts_on(tmp_path):
    assert run(tmp_path / "one", patience=2) == [1, 2, 3]
    run(tmp_path / "two", lost_after=2, patience=2)
    assert run(tmp_path / "two", patience=2) == [3]


def test_evaluators_continue_with_their_best_metric(tmp_path):
    states = [SaverState(), SaverState()]
    before, after = (build(tmp_path, handlers=[state]) for state in states)
    before.evaluator.state.best_metric = 0.9
    before.evaluator.state.best_metric_epoch = 3
    states[1].start_run(states[0].run_state())
    assert (after.evaluator.state.best_metric, after.evaluator.state.best_metric_epoch) == (0.9, 3)
