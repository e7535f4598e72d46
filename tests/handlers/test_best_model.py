# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from monai.engines import SupervisedEvaluator
from torch import nn
from toy_run import build, network

from akd_monai.errors import InputError
from akd_monai.files import sha256_of
from akd_monai.handlers import SaveBestModel

NAN = math.nan


def validate(folder, scores, *, resumed=False, net=None, **options):
    """Run one validation a score, whose weights are told apart by the score."""
    net = net or nn.Linear(1, 1)
    handler = SaveBestModel(net, folder / "model.pt", **options)
    evaluator = SupervisedEvaluator(
        device="cpu", val_data_loader=[0], network=net, iteration_update=lambda e, b: {}, val_handlers=[handler]
    )
    evaluator.state.key_metric_name = "dice"
    handler.start_run({} if resumed else None)
    for epoch, score in enumerate(scores, start=1):
        with torch.no_grad():
            net.weight.fill_(0.0 if isinstance(score, list) or score != score else float(score))
        evaluator.state.metrics["dice"] = score
        evaluator.run(epoch)
    return handler, evaluator


def weight(folder):
    return float(torch.load(folder / "model.pt", weights_only=True)["weight"])


@pytest.mark.parametrize(
    ("scores", "best", "epoch"),
    [
        ([0.5, 0.875, 0.625], 0.875, 2),
        ([0.5, 0.5], 0.5, 1),
        ([NAN, 0.25, NAN, 0.125], 0.25, 2),
        ([0.0], 0.0, 1),
        ([-2.0, -1.0], -1.0, 2),
        ([np.float64(0.25), torch.tensor(0.5)], 0.5, 2),
    ],
)
def test_the_highest_defined_metric_wins(tmp_path, scores, best, epoch):
    handler, evaluator = validate(tmp_path, scores)
    assert (handler.metric, handler.epoch, weight(tmp_path)) == (best, epoch, best)
    assert (evaluator.state.best_metric, evaluator.state.best_metric_epoch) == (best, epoch)
    record = json.loads((tmp_path / "best.json").read_text())
    assert (record["metric"], record["epoch"], record["sha256"]) == (best, epoch, sha256_of(tmp_path / "model.pt"))


@pytest.mark.fault(
    "Numbers",
    "a metric is undefined",
    injected="validation gives NaN alone",
    outcome="nothing is saved as best",
)
def test_only_undefined_metrics_save_nothing(tmp_path):
    validate(tmp_path, [NAN, NAN])
    assert not (tmp_path / "model.pt").exists()


def test_resumed_run_does_not_replace_a_better_model(tmp_path):
    validate(tmp_path, [0.9])
    before = sha256_of(tmp_path / "model.pt")
    handler, evaluator = validate(tmp_path, [0.6], resumed=True)
    assert sha256_of(tmp_path / "model.pt") == before
    assert (handler.metric, evaluator.state.best_metric, evaluator.state.best_metric_epoch) == (0.9, 0.9, 1)


def test_resumed_run_replaces_a_worse_model(tmp_path):
    validate(tmp_path, [0.6])
    validate(tmp_path, [0.9], resumed=True)
    assert weight(tmp_path) == pytest.approx(0.9)


def test_fresh_run_does_not_look_back(tmp_path):
    validate(tmp_path, [0.9])
    validate(tmp_path, [0.6])
    assert weight(tmp_path) == pytest.approx(0.6)


@pytest.mark.fault(
    "Stopped runs",
    "the end comes between the record and the weights of the best model",
    injected="an error between the two writes",
    outcome="the old best stays valid",
)
def test_end_between_record_and_weights_keeps_the_old_best(tmp_path, monkeypatch):
    validate(tmp_path, [0.7])
    with monkeypatch.context() as patch:
        patch.setattr("akd_monai.files.atomic_write", lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            validate(tmp_path, [0.8], resumed=True)
    assert json.loads((tmp_path / "best.json").read_text())["metric"] == 0.8
    handler, _ = validate(tmp_path, [0.65], resumed=True)
    assert (handler.metric, weight(tmp_path)) == (0.7, pytest.approx(0.7))


@pytest.mark.fault(
    "Damaged checkpoints and weights",
    "`best.json` is damaged",
    injected="its text is replaced",
    outcome="reported, not used",
)
@pytest.mark.parametrize("content", ["[1]", "{", "null"], ids=["list", "half", "null"])
def test_a_damaged_record_is_reported_and_not_used(tmp_path, caplog, content):
    validate(tmp_path, [0.9])
    (tmp_path / "best.json").write_text(content)
    validate(tmp_path, [0.6], resumed=True)
    assert "best.json is not used" in caplog.text
    assert weight(tmp_path) == pytest.approx(0.6)


def test_weights_of_unknown_origin_are_not_protected(tmp_path, caplog):
    validate(tmp_path, [0.9])
    torch.save(nn.Linear(1, 1).state_dict(), tmp_path / "model.pt")
    validate(tmp_path, [0.6], resumed=True)
    assert "not what this run saved as its best" in caplog.text
    assert weight(tmp_path) == pytest.approx(0.6)


def test_weights_are_plain_tensors_of_the_bare_network(tmp_path):
    net = network()
    validate_with = nn.DataParallel(net)
    handler = SaveBestModel(validate_with, tmp_path / "model.pt", key_metric="dice")
    evaluator = SupervisedEvaluator(
        device="cpu", val_data_loader=[0], network=net, iteration_update=lambda e, b: {}, val_handlers=[handler]
    )
    evaluator.state.metrics["dice"] = 0.5
    evaluator.run()
    weights = torch.load(tmp_path / "model.pt", weights_only=True)
    assert type(weights) is dict
    network(seed=1).load_state_dict(weights)
    assert all(value.is_contiguous() for value in weights.values())


def test_missing_and_plural_metrics_are_refused(tmp_path):
    with pytest.raises(InputError, match="no metric 'other' to choose the best model by; it has: dice"):
        validate(tmp_path, [0.5], key_metric="other")
    with pytest.raises(InputError, match="metric 'dice' has several"):
        validate(tmp_path, [[0.5, 0.6]])


def test_best_of_a_run_survives_its_interruption(tmp_path):
    """Best 0.9 before the end of the first process, 0.6 after it."""
    build(tmp_path, epochs=2, score=lambda epoch: 0.9).run()
    before = sha256_of(tmp_path / "model.pt")
    trainer = build(tmp_path, epochs=3, score=lambda epoch: 0.6)
    trainer.run()
    assert sha256_of(tmp_path / "model.pt") == before
    assert (trainer.evaluator.state.best_metric, trainer.evaluator.state.best_metric_epoch) == (0.9, 1)
