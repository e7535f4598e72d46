# SPDX-License-Identifier: Apache-2.0
"""LossTerms, FiniteLoss, History and Progress."""

from __future__ import annotations

import io
import json
import logging
import math

import pytest
import torch
from ignite.engine import Engine, Events
from monai.data import MetaTensor
from monai.engines import SupervisedTrainer
from monai.handlers import StatsHandler
from torch import nn
from toy_run import build

from akd_monai.errors import NonFiniteError
from akd_monai.handlers import FiniteLoss, History, LossTerms, Progress, read_history
from akd_monai.handlers._metrics import epoch_metrics

TASK, AFFINITY = [1.0, 2.0, 6.0, 0.0], [0.5, None, 1.5, 4.0]


def trainer_of_terms(handlers, epochs=2, task=TASK, affinity=AFFINITY, batch=None):
    """Return a trainer whose terms are known: two iterations an epoch."""
    net = nn.Conv2d(1, 1, 1)

    def loss(prediction, label):
        i = trainer.state.iteration - 1
        terms = {"task": task[i], "affinity": affinity[i]}
        trainer.state.loss_terms = {k: torch.tensor(v) for k, v in terms.items() if v is not None}
        return prediction.sum() * 0 + sum(trainer.state.loss_terms.values())

    batch = batch or {"image": torch.ones(1, 1, 2, 2), "label": torch.ones(1, 1, 2, 2), "case_id": ["BMC/Case07"]}
    trainer = SupervisedTrainer(
        device="cpu",
        max_epochs=epochs,
        train_data_loader=[batch, batch],
        network=net,
        optimizer=torch.optim.SGD(net.parameters(), lr=0.25),
        loss_function=loss,
        train_handlers=handlers,
    )
    return trainer


def test_terms_are_averaged_over_the_iterations_that_have_them(tmp_path):
    path = tmp_path / "history.jsonl"
    trainer_of_terms([History(path), LossTerms()]).run()
    first, second = read_history(path)
    assert first == {
        "epoch": 1,
        "iteration": 2,
        "loss/task": 1.5,
        "loss/affinity": 0.5,
        "loss/total": 1.75,
        "lr": 0.25,
    }
    assert (second["loss/task"], second["loss/affinity"], second["loss/total"]) == (3.0, 2.75, 5.75)


def test_averages_are_there_for_handlers_listed_before():
    seen = []
    stats = StatsHandler(epoch_print_logger=lambda e: seen.append(dict(e.state.metrics)), iteration_log=False)
    trainer_of_terms([stats, LossTerms()]).run()
    assert [metrics["loss/task"] for metrics in seen] == [1.5, 3.0]


def test_interrupted_epoch_gives_the_same_average():
    handlers = [LossTerms(), LossTerms()]
    complete = trainer_of_terms([handlers[0]], epochs=1)
    complete.run()
    cut = trainer_of_terms([handlers[1]], epochs=1)
    cut.add_event_handler(Events.ITERATION_COMPLETED(once=1), lambda e: e.terminate())
    cut.run()
    state = handlers[1].run_state()
    rest = trainer_of_terms([resumed := LossTerms()], epochs=1)
    resumed.start_run(state)
    rest.state.iteration = 1
    rest.run()
    assert rest.state.metrics == complete.state.metrics


@pytest.mark.fault(
    "Numbers",
    "a term of the loss becomes NaN or infinite",
    injected="a term returns it in a later iteration",
    outcome="stopped before the step; term, epoch, iteration and cases are named",
)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_broken_term_is_named_before_it_reaches_the_weights(bad):
    trainer = trainer_of_terms([FiniteLoss()], affinity=[0.5, 0.5, bad, 0.5])
    before = trainer.network.weight.clone()
    message = f"loss term affinity is {bad} in epoch 2, iteration 3, for cases BMC/Case07: the weights are unchanged"
    with pytest.raises(NonFiniteError, match=message):
        trainer.run()
    assert torch.equal(trainer.network.weight, before)


@pytest.mark.fault(
    "Numbers",
    "the loss of a plain training becomes NaN",
    injected="the loss returns NaN",
    outcome="stopped before the step, the cases are named",
)
def test_a_plain_trainer_is_checked_too_and_cases_are_named_by_file():
    image = MetaTensor(torch.full((1, 1, 2, 2), math.nan), meta={"filename_or_obj": ["/data/Case03.nii.gz"]})
    net = nn.Conv2d(1, 1, 1)
    trainer = SupervisedTrainer(
        device="cpu",
        max_epochs=1,
        train_data_loader=[{"image": image, "label": torch.zeros(1, 1, 2, 2)}],
        network=net,
        optimizer=torch.optim.SGD(net.parameters(), lr=0.1),
        loss_function=nn.MSELoss(),
        train_handlers=[FiniteLoss()],
    )
    with pytest.raises(FloatingPointError, match=r"loss term task is nan .* for cases data/Case03: "):
        trainer.run()
    assert bool(torch.isfinite(net.weight).all())


def test_history_holds_validation_of_its_epoch_only(tmp_path):
    trainer = build(tmp_path, epochs=3)
    trainer.evaluator.run = lambda epoch, run=trainer.evaluator.run: run(epoch) if epoch != 2 else None
    trainer.run()
    rows = read_history(tmp_path / "history.jsonl")
    assert ["val_mean_dice" in row for row in rows] == [True, False, True]


def test_history_writes_undefined_as_null_and_stays_json(tmp_path):
    engine, path = Engine(lambda engine, batch: None), tmp_path / "history.jsonl"
    engine.state.metrics = {"hd95": math.nan, "asd": math.inf, "dice": torch.tensor([0.5, 1.0]), "name": "text"}
    History(path).attach(engine)
    engine.run([0])
    assert json.loads(path.read_text()) == {
        "epoch": 1,
        "iteration": 1,
        "hd95": None,
        "asd": None,
        "dice/0": 0.5,
        "dice/1": 1.0,
    }


def test_history_drops_what_a_resumed_run_does_again(tmp_path, caplog):
    path = tmp_path / "history.jsonl"
    path.write_text('{"epoch": 1, "iteration": 2}\n{"epoch": 2, "iteration": 4}\n{"epoch": 3, "ite')
    engine = Engine(lambda engine, batch: None)
    History(path).attach(engine)
    engine.load_state_dict({"iteration": 3, "epoch_length": 2, "max_epochs": 2})
    engine.run([0, 1], max_epochs=2)
    assert [row["iteration"] for row in read_history(path)] == [2, 4]
    assert "line 3 of" in caplog.text


def test_metrics_of_the_evaluator_stand_beside_those_of_the_trainer(tmp_path):
    trainer = build(tmp_path, epochs=1)
    trainer.run()
    assert epoch_metrics(trainer).keys() == {"loss/task", "loss/total", "val_mean_dice", "lr"}
    assert "val_mean_dice" not in epoch_metrics(trainer, [])


def test_progress_logs_one_line_an_epoch_without_a_terminal(tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="akd_monai.handlers.progress"):
        build(tmp_path, epochs=2, handlers=[Progress("student")]).run()
    lines = [r.message for r in caplog.records if r.name == "akd_monai.handlers.progress"]
    assert [line.split(",")[0] for line in lines] == ["student: epoch 1/2", "student: epoch 2/2"]
    assert all("task 0." in line and "val_mean_dice 0." in line and "elapsed" in line for line in lines)
    assert lines[1].endswith("00:00 left")
    assert "\r" not in caplog.text


@pytest.mark.fault(
    "Wrong input",
    "mixed precision is asked for on a CPU",
    injected="`amp` of MONAI's trainer, with and without",
    outcome="said once that it has no effect",
)
@pytest.mark.parametrize("amp", [False, True])
def test_amp_without_effect_is_said(tmp_path, caplog, amp):
    build(tmp_path, epochs=2, handlers=[Progress("student")], trainer={"amp": amp}).run()
    message = "student: amp has no effect on the device cpu, training is in full precision"
    assert caplog.messages.count(message) == int(amp)


def test_progress_draws_one_bar_that_a_resumed_run_continues(tmp_path, monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    build(tmp_path, epochs=1, handlers=[Progress("student", terminal=True)]).run()
    build(tmp_path, epochs=2, handlers=[Progress("student", terminal=True)]).run()
    drawn = [line for line in stream.getvalue().replace("\n", "\r").split("\r") if line.strip()]
    assert "0/5" in drawn[0]
    assert "5/10" in next(line for line in drawn if "/10" in line)
    assert "10/10" in drawn[-1]
    assert "task=" in stream.getvalue()
    assert "val_mean_dice=0." in stream.getvalue()


def test_progress_closes_its_bar_on_an_error(tmp_path):
    progress = Progress(terminal=True)
    trainer = trainer_of_terms([progress])
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=2), lambda e: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        trainer.run()
    assert progress._bar is None
