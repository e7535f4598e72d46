# SPDX-License-Identifier: Apache-2.0
"""Two runs never share the file of the best model without a word."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
from ignite.engine import Events
from toy_run import build

from akd_monai.errors import InputError
from akd_monai.files import FolderLock, sha256_of
from akd_monai.handlers import RunMember


def train(folder, models, **options):
    trainer = build(folder, models=models, **options)
    trainer.run()
    return trainer


def weights(models):
    return sha256_of(models / "model.pt"), (models / "best.json").read_text()


@pytest.mark.fault(
    "The same run, or none",
    "a second run with the same `ckpt_dir`",
    injected="another `output_dir`, the default `ckpt_dir`",
    outcome="refused before its first step",
)
def test_a_second_run_is_refused_before_its_first_step(tmp_path):
    models = tmp_path / "models"
    train(tmp_path / "plain", models, epochs=1, score=lambda epoch: 0.75)
    before = weights(models)
    second = build(tmp_path / "distilled", models=models, epochs=1)
    message = (
        r"model\.pt is the best model of another run \(val_mean_dice 0\.75 in epoch 1\): choose another folder .*"
        r"\(ckpt_dir of a bundle\), or set resume to 'never' to replace it\.$"
    )
    with pytest.raises(InputError, match=message):
        second.run()
    assert second.state.iteration == 0
    assert weights(models) == before
    # the refused run holds no lock, and left the first free to continue
    assert train(tmp_path / "plain", models, epochs=2).state.iteration == 10


def test_never_replaces_the_model_of_another_run_and_says_so(tmp_path, caplog):
    models = tmp_path / "models"
    train(tmp_path / "plain", models, epochs=1, score=lambda epoch: 0.75)
    train(tmp_path / "distilled", models, epochs=1, score=lambda epoch: 0.5, resume="never")
    assert "is the best model of another run (val_mean_dice 0.75 in epoch 1), which the first" in caplog.text
    assert json.loads((models / "best.json").read_text())["metric"] == 0.5
    # it is the second run's from now on: that one resumes, the first is told not to
    assert train(tmp_path / "distilled", models, epochs=2).state.iteration == 10
    with pytest.raises(InputError, match=r"best model of another run .*\(ckpt_dir of a bundle\)\.$"):
        train(tmp_path / "plain", models, epochs=2)


def test_the_same_run_may_start_again_in_its_folder(tmp_path):
    models = tmp_path / "models"
    train(tmp_path / "run", models, epochs=1, score=lambda epoch: 0.75)
    train(tmp_path / "run", models, epochs=1, score=lambda epoch: 0.5, resume="never")
    for name in ("resume.pt", "resume-previous.pt"):
        (tmp_path / "run" / name).unlink(missing_ok=True)
    train(tmp_path / "run", models, epochs=1, score=lambda epoch: 0.25)
    assert json.loads((models / "best.json").read_text())["metric"] == 0.25


def test_a_record_without_a_run_belongs_to_the_one_that_resumes_and_to_no_new_one(tmp_path):
    models = tmp_path / "models"
    train(tmp_path / "old", models, epochs=1, score=lambda epoch: 0.75)
    record = json.loads((models / "best.json").read_text())
    record.pop("run"), record.pop("file")
    (models / "best.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="is the best model of another run"):
        train(tmp_path / "new", models, epochs=1)
    resumed = train(tmp_path / "old", models, epochs=2, score=lambda epoch: 0.5)
    assert resumed.evaluator.state.best_metric == 0.75


def test_weights_that_no_run_recorded_may_be_replaced(tmp_path):
    models = tmp_path / "models"
    models.mkdir()
    torch.save({}, models / "model.pt")
    train(tmp_path / "run", models, epochs=1)
    record = json.loads((models / "best.json").read_text())
    assert record["sha256"] == sha256_of(models / "model.pt")


@pytest.mark.fault(
    "The same run, or none",
    "two runs at once in one `ckpt_dir`",
    injected="a second process starts meanwhile",
    outcome="refused; the process that holds it is named",
)
def test_two_runs_at_once_are_refused(tmp_path):
    models = tmp_path / "models"
    lock = f"FolderLock({str(models)!r}, '.model.pt.lock')"
    program = f"from akd_monai.files import FolderLock; lock = {lock}; lock.acquire(); print(1, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as other:
        assert other.stdout.readline() == "1\n"
        trainer = build(tmp_path / "run", models=models, epochs=1)
        with pytest.raises(InputError, match=rf"models' is in use by process {other.pid}: choose another folder"):
            trainer.run()
        assert trainer.state.iteration == 0
        other.communicate("\n")
    train(tmp_path / "run", models, epochs=1)


@pytest.mark.parametrize("ended", ["completed", "failed"])
def test_the_lock_is_given_back_however_a_run_ends(tmp_path, ended):
    trainer = build(tmp_path, epochs=1)
    if ended == "failed":
        trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            trainer.run()
    else:
        trainer.run()
    with FolderLock(tmp_path, ".model.pt.lock"), FolderLock(tmp_path):
        pass


@pytest.mark.fault(
    "Disk, memory and processes",
    "`ckpt_dir` cannot be written to",
    injected="a file stands in its place",
    outcome="refused before the first step",
)
def test_a_folder_that_cannot_be_written_to_is_told_before_the_first_step(tmp_path):
    (tmp_path / "file").write_text("in the way")
    trainer = build(tmp_path / "run", models=tmp_path / "file" / "models", epochs=1)
    with pytest.raises(InputError, match=r"folder '.*file/models' cannot be written to"):
        trainer.run()
    assert trainer.state.iteration == 0


@pytest.mark.parametrize("name", ["model.pt", "best.json"])
def test_a_folder_in_the_place_of_a_file_is_told_before_the_first_step(tmp_path, name):
    (tmp_path / name).mkdir()
    trainer = build(tmp_path, epochs=1)
    with pytest.raises(InputError, match=rf"{name}: is a folder, but a file is to be saved there; move it away\.$"):
        trainer.run()
    assert trainer.state.iteration == 0


@pytest.mark.fault(
    "Disk, memory and processes",
    "a file of the run cannot be read",
    injected="a folder in the place of its history or name",
    outcome="named in one line",
)
@pytest.mark.parametrize("name", ["run_name.txt", "history.jsonl"])
def test_other_files_of_the_run_that_cannot_be_read_are_named(tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(InputError, match=rf"{name}: cannot be read \(.*[dD]irectory.*\); move it away\.$"):
        train(tmp_path, tmp_path, epochs=1)


@pytest.mark.fault(
    "Damaged checkpoints and weights",
    "the best model was damaged or replaced before a resume",
    injected="another file in its place",
    outcome="refused with the remedy",
)
def test_a_damaged_best_model_stops_the_resume_that_relies_on_it(tmp_path):
    train(tmp_path, tmp_path, epochs=2)
    path = tmp_path / "model.pt"
    intact = path.read_bytes()
    data = bytearray(intact)
    data[len(data) // 2] ^= 4
    path.write_bytes(bytes(data))
    with pytest.raises(InputError, match=r"model\.pt is not what this run saved as its best .* or delete it to let"):
        train(tmp_path, tmp_path, epochs=3)
    path.write_bytes(intact)
    train(tmp_path, tmp_path, epochs=3)
    path.unlink()
    assert train(tmp_path, tmp_path, epochs=4, score=lambda epoch: 0.125).evaluator.state.best_metric == 0.125


def test_the_file_that_a_new_run_replaces_stays_described_until_it_is_replaced(tmp_path):
    """A kill between record and weights must not leave weights that no record describes."""
    train(tmp_path / "a", tmp_path, epochs=1, score=lambda epoch: 0.75)
    old = sha256_of(tmp_path / "model.pt")
    train(tmp_path / "b", tmp_path, epochs=1, score=lambda epoch: 0.5, resume="never")
    record = json.loads((tmp_path / "best.json").read_text())
    assert record["previous"]["sha256"] == old
    assert record["previous"]["run"] != record["run"]


def test_a_member_that_refuses_deletes_nothing(tmp_path):
    class Refusing(RunMember):
        left = 0

        def attach(self, engine):
            engine.add_event_handler(Events.STARTED, self.nothing)

        def nothing(self, engine):
            pass

        def enter_run(self, run, *, replace):
            raise InputError(f"refused {run.startswith('run_')} {replace}")

        def leave_run(self):
            self.left += 1

        def run_state(self):
            return {}

        def start_run(self, state):
            raise AssertionError("never started")

    train(tmp_path, tmp_path, epochs=1)
    member = Refusing()
    with pytest.raises(InputError, match="refused True True"):
        train(tmp_path, tmp_path, epochs=1, resume="never", handlers=[member])
    assert member.left == 1
    assert (tmp_path / "resume.pt").exists()
