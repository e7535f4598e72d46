# SPDX-License-Identifier: Apache-2.0
"""A run that is hit and started again must end as the run that was not: weights, rate, best model, history, batches."""

from __future__ import annotations

import json
import random
import signal

import pytest
import torch

from akd_monai.files import sha256_of

KILLED = -signal.SIGKILL


@pytest.fixture(scope="module")
def uninterrupted(run_toy, tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    assert run_toy(folder) == 0
    return folder


def batches(folder):
    """Return the batch of each iteration, asserting that an iteration that was run twice saw the same batch twice."""
    seen = {}
    for line in (folder / "batches.txt").read_text().splitlines():
        number, names = line.split(" ", 1)
        assert seen.setdefault(int(number), names) == names
    return seen


def best(folder):
    """Return the record of the best model, without the run's name, which is another in every folder."""
    text = (folder / "best.json").read_text()
    return json.loads(text.replace((folder / "run_name.txt").read_text().strip(), "RUN"))


def assert_same_end(folder, uninterrupted):
    expected, got = (torch.load(f / "final.pt", weights_only=True) for f in (uninterrupted, folder))
    assert all(torch.equal(expected[key], got[key]) for key in expected)
    assert json.loads((folder / "finished.json").read_text()) == json.loads(
        (uninterrupted / "finished.json").read_text()
    )
    assert (folder / "history.jsonl").read_text() == (uninterrupted / "history.jsonl").read_text()
    assert best(folder) == best(uninterrupted)
    assert sha256_of(folder / "model.pt") == sha256_of(uninterrupted / "model.pt")
    assert batches(folder) == batches(uninterrupted)
    assert not list(folder.glob(".tmp-*"))
    assert {p.name for p in folder.glob("*.pt")} == {"final.pt", "model.pt", "resume.pt", "resume-previous.pt"}


@pytest.mark.fault(
    "Stopped runs",
    "SIGKILL within an epoch",
    injected="the 13th of 20 iterations kills its process, with checkpoints every epoch, 1, 2 or 7 iterations",
    outcome="resumed; weights, history, best model and batches bit-identical to the uninterrupted run",
)
@pytest.mark.parametrize("interval", [None, 1, 2, 7])
def test_sigkill(run_toy, uninterrupted, tmp_path, interval):
    assert run_toy(tmp_path, {"at_iteration": 13}, interval=interval) == KILLED
    assert run_toy(tmp_path, interval=interval) == 0
    assert_same_end(tmp_path, uninterrupted)


@pytest.mark.fault(
    "Stopped runs",
    "SIGKILL again and again",
    injected="four kills of one run",
    outcome="bit-identical",
)
def test_sigkill_again_and_again(run_toy, uninterrupted, tmp_path):
    for iteration in (3, 9, 12, 18):
        assert run_toy(tmp_path, {"at_iteration": iteration}, interval=1) == KILLED
    assert run_toy(tmp_path, interval=1) == 0
    assert_same_end(tmp_path, uninterrupted)


@pytest.mark.fault(
    "Stopped runs",
    "SIGKILL with loader workers",
    injected="killed in iteration 13 with 2 workers",
    outcome="bit-identical",
)
def test_sigkill_with_worker_processes(run_toy, uninterrupted, tmp_path):
    assert run_toy(tmp_path, {"at_iteration": 13}, interval=1, workers=2) == KILLED
    assert run_toy(tmp_path, interval=1, workers=2) == 0
    assert_same_end(tmp_path, uninterrupted)


@pytest.mark.fault(
    "Stopped runs",
    "SIGKILL while a file is half written",
    injected="the n-th `fsync` halves the file and kills, for 12 n",
    outcome="bit-identical, no temporary file left",
)
@pytest.mark.parametrize("number", [*range(1, 11), 13, 16])
def test_sigkill_while_a_file_is_half_written(run_toy, uninterrupted, tmp_path, number):
    assert run_toy(tmp_path, {"at_sync": number}) == KILLED
    assert run_toy(tmp_path) == 0
    assert_same_end(tmp_path, uninterrupted)


@pytest.mark.fault(
    "Stopped runs",
    "SIGKILL just before a file takes its name",
    injected="the n-th `replace` kills, for 8 n",
    outcome="bit-identical, no temporary file left",
)
@pytest.mark.parametrize("number", range(1, 9))
def test_sigkill_before_a_file_is_renamed(run_toy, uninterrupted, tmp_path, number):
    assert run_toy(tmp_path, {"at_replace": number}) == KILLED
    assert run_toy(tmp_path) == 0
    assert_same_end(tmp_path, uninterrupted)


@pytest.mark.fault(
    "Stopped runs",
    "SIGKILL within a validation",
    injected="the n-th iteration of the validation kills, for 6 n and two intervals",
    outcome="bit-identical",
)
@pytest.mark.parametrize("interval", [None, 2])
@pytest.mark.parametrize("number", [1, 2, 3, 5, 6, 8])
def test_sigkill_within_a_validation(run_toy, uninterrupted, tmp_path, number, interval):
    assert run_toy(tmp_path, {"at_validation": number}, interval=interval) == KILLED
    assert run_toy(tmp_path, interval=interval) == 0
    assert_same_end(tmp_path, uninterrupted)


@pytest.mark.fault(
    "Stopped runs",
    "50 kills at any moment",
    injected="SIGKILL from another process after 5 to 150 ms, again and again",
    outcome="bit-identical",
)
def test_fifty_kills_at_any_moment_end_in_one_hash(run_toy, uninterrupted, tmp_path):
    """Each process lives a little, wherever that ends: in a step, a validation, a write, or before it has begun."""
    generator = random.Random(0)
    kills = 0
    for run in range(200):
        folder = tmp_path / str(run)
        code = KILLED
        while code == KILLED and kills < 50:
            code = run_toy(folder, {"after_ms": generator.randint(5, 150)}, interval=1)
            kills += code == KILLED
        if code == KILLED:
            code = run_toy(folder, interval=1)
        assert code == 0
        assert_same_end(folder, uninterrupted)
        if kills == 50:
            break
    assert kills == 50


@pytest.mark.fault(
    "Stopped runs",
    "Ctrl-C or SIGTERM",
    injected="the signal arrives in iteration 1, 13, 15 or 20",
    outcome="saved after the step, exit code 130 or 143, no traceback; resumed bit-identically, no step twice",
)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("iteration", [1, 13, 15, 20])
def test_stop_signal_saves_and_leaves(run_toy, uninterrupted, tmp_path, number, code, iteration):
    assert run_toy(tmp_path, {"at_iteration": iteration, "signal": number}) == code
    saved = torch.load(tmp_path / "resume.pt", weights_only=True)
    assert saved["iteration"] == iteration
    assert "the same command resumes the run" in (tmp_path / "log.txt").read_text()
    assert "Traceback" not in (tmp_path / "log.txt").read_text()
    assert run_toy(tmp_path) == 0
    assert_same_end(tmp_path, uninterrupted)
    assert len((tmp_path / "batches.txt").read_text().splitlines()) == 20  # no step was done twice


@pytest.mark.fault(
    "Stopped runs",
    "a second SIGTERM",
    injected="two signals in one iteration",
    outcome="the checkpoint is still saved",
)
def test_second_sigterm_does_not_hurry(run_toy, tmp_path):
    assert run_toy(tmp_path, {"at_iteration": 13, "signal": signal.SIGTERM, "times": 2}) == 143
    assert torch.load(tmp_path / "resume.pt", weights_only=True)["iteration"] == 13


@pytest.mark.fault(
    "Stopped runs",
    "Ctrl-C twice",
    injected="two signals in one iteration",
    outcome="leaves at once; resumed from the checkpoint before, bit-identically",
)
def test_second_interrupt_exits_at_once(run_toy, uninterrupted, tmp_path):
    assert run_toy(tmp_path, {"at_iteration": 13, "signal": signal.SIGINT, "times": 2}) == 130
    assert torch.load(tmp_path / "resume.pt", weights_only=True)["iteration"] == 10
    assert run_toy(tmp_path) == 0
    assert_same_end(tmp_path, uninterrupted)


@pytest.mark.fault(
    "Stopped runs",
    "a stop between accumulated batches",
    injected="SIGTERM in the first of two batches of a step",
    outcome="saved after the step; bit-identical",
)
def test_no_save_between_accumulated_batches(run_toy, tmp_path):
    options = {"trainer": {"accumulation_steps": 2}}
    assert run_toy(tmp_path / "uninterrupted", **options) == 0
    assert run_toy(tmp_path / "hit", {"at_iteration": 13, "signal": signal.SIGTERM}, **options) == 143
    assert torch.load(tmp_path / "hit" / "resume.pt", weights_only=True)["iteration"] == 14
    assert run_toy(tmp_path / "hit", **options) == 0
    assert_same_end(tmp_path / "hit", tmp_path / "uninterrupted")


@pytest.mark.parametrize("length", [3, 8])
def test_epoch_shorter_or_longer_than_the_loader(run_toy, tmp_path, length):
    options = {"trainer": {"epoch_length": length}, "interval": 1}
    assert run_toy(tmp_path / "uninterrupted", **options) == 0
    for iteration in (2, length + 2, 2 * length + length - 1):
        assert run_toy(tmp_path / "hit", {"at_iteration": iteration}, **options) == KILLED
    assert run_toy(tmp_path / "hit", **options) == 0
    assert_same_end(tmp_path / "hit", tmp_path / "uninterrupted")
