# SPDX-License-Identifier: Apache-2.0
"""Distillation by MONAI's own command line: equality, resuming, tracking, and the plain student it leaves."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import pytest
import torch
from bundle_tools import run_bundle, small_bundle

from akd_monai.networks.nets import ENet

DISTILL = "['configs/train.json','configs/distill.json']"


def weights(bundle: Path) -> dict[str, torch.Tensor]:
    return torch.load(bundle / "models" / "model.pt", weights_only=True)


def last(bundle: Path) -> dict[str, torch.Tensor]:
    """Return the student's weights at the end of the run, which need not be the best."""
    return torch.load(bundle / "eval" / "resume.pt", weights_only=True)["parts"]["network"]


def equal(a, b) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def distilled(tmp_path_factory, data_dir, teacher) -> Path:
    """A student distilled in one go, tracked by MLflow."""
    root = small_bundle("enet", tmp_path_factory.mktemp("distilled") / "student")
    before = sha(teacher / "models" / "model.pt")
    run_bundle(
        root, DISTILL, f"--teacher_bundle={teacher}", f"--dataset_dir={data_dir}", "--sites=['I2CVB']",
        "--tracking=configs/tracking.json",
    )  # fmt: skip
    assert sha(teacher / "models" / "model.pt") == before
    return root


@pytest.mark.slow
def test_student_is_a_plain_student(distilled):
    state = weights(distilled)
    ENet(2, 1, 2).load_state_dict(state, strict=True)
    assert all(isinstance(value, torch.Tensor) for value in state.values())


@pytest.mark.slow
def test_mlflow_gives_the_terms_and_the_hash_back(distilled):
    mlflow.set_tracking_uri(f"sqlite:///{distilled / 'eval' / 'mlruns.db'}")
    runs = mlflow.search_runs(search_all_experiments=True)
    assert len(runs) == 1
    run = runs.iloc[0]
    assert run["status"] == "FINISHED"
    for term in ("task", "logits", "gram", "affinity", "total"):
        assert run[f"metrics.loss/{term}"] > 0
    assert run["tags.checkpoint_sha256"] == sha(distilled / "models" / "model.pt")
    assert run["params.seed"] == "0"


@pytest.mark.slow
def test_history_has_every_term_of_every_epoch(distilled):
    rows = [json.loads(line) for line in (distilled / "eval" / "history.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2]
    for row in rows:
        terms = [row[f"loss/{name}"] for name in ("task", "logits", "gram", "affinity")]
        assert row["loss/total"] == pytest.approx(sum(terms), rel=1e-5)


@pytest.mark.fault(
    "The same run, or none",
    "a distillation is resumed with another weight of a term",
    injected="`--lambda_gram` and an option of the teacher changed",
    outcome="refused, both named",
)
@pytest.mark.slow
def test_a_refused_resume_says_in_words_what_changed(tmp_path, distilled, data_dir, teacher):
    root = shutil.copytree(distilled, tmp_path / "student")
    done = run_bundle(
        root, DISTILL, f"--teacher_bundle={teacher}", f"--dataset_dir={data_dir}", "--sites=['I2CVB']",
        "--lambda_gram=0.5", "--teacher_options#channels_last=True", check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "lambdas.gram (was 0.9, is 0.5); teacher_options.channels_last (was False, is True)" in done.stderr


@pytest.mark.fault(
    "Stopped runs",
    "SIGKILL of a distillation through MONAI's command line",
    injected="killed after its first checkpoint",
    outcome="bit-identical weights",
)
@pytest.mark.slow
def test_killed_in_mid_epoch_and_resumed_ends_with_the_same_weights(tmp_path, data_dir, teacher, distilled):
    root = small_bundle("enet", tmp_path / "student", iterations_per_checkpoint=1)
    # slow enough to be met in the middle: many short epochs would end before the signal arrives
    options = [f"--teacher_bundle={teacher}", f"--dataset_dir={data_dir}", "--sites=['I2CVB']"]
    command = [sys.executable, "-W", "ignore", "-m", "monai.bundle", "run", "--config_file", DISTILL, *options]
    resume = root / "eval" / "resume.pt"
    with subprocess.Popen(
        command,
        cwd=root,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        while not resume.exists() and process.poll() is None:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    done = torch.load(resume, weights_only=True)["iteration"]
    assert 0 < done < 6, "the run was over before it was killed"
    run_bundle(root, DISTILL, *options)
    assert equal(last(root), last(distilled))
    assert sha(root / "models" / "model.pt") == sha(distilled / "models" / "model.pt")


@pytest.mark.slow
def test_with_every_weight_at_0_the_run_equals_the_plain_run(run_warm, tmp_path, data_dir, teacher):
    plain, off = (small_bundle("enet", tmp_path / name) for name in ("plain", "off"))
    common = [f"--dataset_dir={data_dir}", "--sites=['I2CVB']"]
    run_warm(plain, "configs/train.json", *common)
    zero = [f"--lambda_{name}=0.0" for name in ("logits", "gram", "affinity")]
    run_warm(off, DISTILL, f"--teacher_bundle={teacher}", *zero, *common)
    assert equal(last(plain), last(off))
    assert sha(plain / "models" / "model.pt") == sha(off / "models" / "model.pt")
