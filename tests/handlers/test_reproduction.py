# SPDX-License-Identifier: Apache-2.0
"""A stop because of NaN leaves one small file with all that is needed to see it again."""

from __future__ import annotations

import errno
import logging
import math

import pytest
import torch
from ignite.engine import Events
from monai.data import MetaTensor
from monai.engines import IterationEvents, SupervisedTrainer
from torch import nn
from toy_run import build

from akd_monai.errors import NonFiniteError
from akd_monai.handlers import FiniteLoss


class Spoil:
    """Make the loss NaN at one iteration, as a broken image does."""

    def __init__(self, iteration):
        self.iteration = iteration

    def attach(self, engine):
        engine.add_event_handler(IterationEvents.LOSS_COMPLETED, self)

    def __call__(self, engine):
        if engine.state.iteration == self.iteration:
            engine.state.output["loss"] = engine.state.output["loss"] * math.nan


def stopped(folder, iteration=8, finite=None):
    trainer = build(folder, handlers=[Spoil(iteration), finite or FiniteLoss()])
    with pytest.raises(NonFiniteError) as stop:
        trainer.run()
    return trainer, str(stop.value)


def test_batch_terms_position_and_a_hash_of_the_weights_are_saved(tmp_path):
    trainer, message = stopped(tmp_path)
    path = tmp_path / "nonfinite.pt"
    assert message.endswith(f"or lower the learning rate; the batch is saved in {path}.")
    assert "\n" not in message
    saved = torch.load(path, weights_only=True)
    assert (saved["epoch"], saved["iteration"], saved["seed"], saved["network"]) == (2, 8, 5, "Sequential")
    assert math.isnan(saved["values"]["task"])
    assert torch.equal(saved["batch"]["image"], trainer.state.batch["image"])
    assert saved["batch"]["case_id"] == list(trainer.state.batch["case_id"])
    assert path.stat().st_size < 10_000
    assert str(tmp_path).encode() not in path.read_bytes()
    assert torch.load(tmp_path / "resume.pt", weights_only=True)["iteration"] == 5


@pytest.mark.fault(
    "Numbers",
    "a stop because of NaN is to be looked into",
    injected="a NaN after some iterations",
    outcome="batch, terms and a hash of the weights are saved; resuming meets the same",
)
def test_resuming_meets_the_same_batch_and_weights(tmp_path):
    stopped(tmp_path / "a")
    first = torch.load(tmp_path / "a" / "nonfinite.pt", weights_only=True)
    stopped(tmp_path / "a")
    again = torch.load(tmp_path / "a" / "nonfinite.pt", weights_only=True)
    assert torch.equal(first["batch"]["image"], again["batch"]["image"])
    assert first["weights_sha256"] == again["weights_sha256"]
    stopped(tmp_path / "a", iteration=9)
    later = torch.load(tmp_path / "a" / "nonfinite.pt", weights_only=True)
    assert later["iteration"] == 9
    assert later["weights_sha256"] != first["weights_sha256"]
    assert [path.name for path in (tmp_path / "a").glob("nonfinite*")] == ["nonfinite.pt"]


@pytest.mark.fault(
    "Numbers",
    "weights become NaN without a NaN loss",
    injected="a weight is set to NaN",
    outcome="stopped; the batch is saved for a reproduction",
)
def test_weights_that_became_nan_leave_a_reproduction_too(tmp_path):
    trainer = build(tmp_path)

    @trainer.on(Events.ITERATION_COMPLETED(once=12))
    def spoil(engine):
        engine.network[0].weight.data[0] = float("nan")

    with pytest.raises(
        NonFiniteError, match=r"after iteration 15 \(0.weight.*the batch is saved in .*nonfinite\.pt\.$"
    ):
        trainer.run()
    saved = torch.load(tmp_path / "nonfinite.pt", weights_only=True)
    assert (saved["iteration"], next(iter(saved["values"]))) == (15, "0.weight")


@pytest.mark.fault(
    "Disk, memory and processes",
    "the disk is full while a NaN is being reported",
    injected="saving the reproduction raises ENOSPC",
    outcome="the reason of the stop is still the message",
)
def test_a_full_disk_does_not_hide_the_reason(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr("akd_monai.handlers._reproduction.save_atomic", full)
    _, message = stopped(tmp_path)
    assert message.startswith("loss term task is nan in epoch 2, iteration 8, for cases case")
    assert message.endswith("; the batch could not be saved ([Errno 28] no space left).")


def test_a_folder_may_be_named_and_without_one_nothing_is_saved(tmp_path):
    stopped(tmp_path / "run", finite=FiniteLoss(tmp_path / "other"))
    assert (tmp_path / "other" / "nonfinite.pt").is_file()
    assert not (tmp_path / "run" / "nonfinite.pt").exists()


def test_a_batch_of_monai_is_saved_without_the_places_of_its_files(tmp_path):
    image = MetaTensor(torch.full((1, 1, 2, 2), math.nan), meta={"filename_or_obj": ["/home/ada/Case03.nii.gz"]})
    batch = {
        "image": image,
        "label": torch.zeros(1, 1, 2, 2),
        "path": "/home/ada/Case03.nii.gz",
        "meta": {"a": [1, None]},
    }
    network = nn.Conv2d(1, 1, 1)
    trainer = SupervisedTrainer(
        device="cpu",
        max_epochs=1,
        train_data_loader=[batch],
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.1),
        loss_function=nn.MSELoss(),
        train_handlers=[FiniteLoss(tmp_path)],
    )
    with pytest.raises(NonFiniteError):
        trainer.run()
    saved = torch.load(tmp_path / "nonfinite.pt", weights_only=True)
    assert type(saved["batch"]["image"]) is torch.Tensor
    assert saved["batch"]["meta"] == {"a": [1, None]}
    assert b"ada" not in (tmp_path / "nonfinite.pt").read_bytes()


@pytest.mark.parametrize("error", [NonFiniteError("weights"), OSError(errno.ENOSPC, "no space left in 'eval'")])
def test_an_error_that_says_all_in_one_line_logs_no_traceback(tmp_path, caplog, error):
    def fail(engine):
        raise error

    trainer = build(tmp_path)
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=7), fail)
    with caplog.at_level(logging.DEBUG), pytest.raises(type(error)):
        trainer.run()
    assert "Traceback" not in caplog.text
    assert all(record.exc_info is None for record in caplog.records)
