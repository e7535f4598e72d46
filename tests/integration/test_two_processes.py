# SPDX-License-Identifier: Apache-2.0
"""Distillation by torchrun in two processes: every term works, the ranks agree, one of them writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import mlflow
import pytest
import torch
from bundle_tools import small_bundle

from akd_monai.files import sha256_of
from akd_monai.networks.nets import ENet

CONFIGS = "['configs/train.json','configs/multi_gpu_train.json','configs/distill.json','configs/look.json']"
# what each rank ends with
LOOK = """$torch.save({'network': @network.module.state_dict(), 'adapters': @distillation.state_dict(),
'terms': @train#trainer.state.loss_terms, 'images': @train#trainer.state.output[0]['image'],
'best': @validate#evaluator.state.best_metric},
@output_dir + '/rank' + str(torch.distributed.get_rank()) + '.pt')""".replace("\n", " ")


@pytest.mark.slow
def test_ranks_agree_and_one_writes(tmp_path, data_dir, teacher):
    root = small_bundle("enet", tmp_path / "student")
    (root / "configs" / "look.json").write_text(json.dumps({"+run": [LOOK]}))
    done = subprocess.run(
        [
            sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2",
            "-m", "monai.bundle", "run", "--config_file", CONFIGS, f"--teacher_bundle={teacher}",
            f"--dataset_dir={data_dir}", "--sites=['I2CVB']", "--tracking=configs/tracking.json", "--batch_size=3",
        ],
        cwd=root, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-12000:]
    first, second = (torch.load(root / "eval" / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))

    parameters = {name for name, _ in ENet(2, 1, 2).named_parameters()}
    for part, names in (("network", parameters), ("adapters", first["adapters"].keys())):
        assert names
        assert all(torch.equal(first[part][name], second[part][name]) for name in names)
    # each rank saw images of its own
    assert not torch.equal(first["images"], second["images"])
    for rank in (first, second):
        assert set(rank["terms"]) == {"task", "logits", "gram", "affinity"}
        assert all(value > 0 for value in rank["terms"].values())
    assert first["best"] == second["best"]

    ENet(2, 1, 2).load_state_dict(torch.load(root / "models" / "model.pt", weights_only=True), strict=True)
    history = (root / "eval" / "history.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in history] == [1, 2]
    record = json.loads((root / "eval" / "training.json").read_text())
    assert (record["processes"], record["epochs"], record["batch_size"]) == (2, 2, 3)
    assert record["teacher_sha256"] == sha256_of(teacher / "models" / "model.pt")
    assert record["weights_sha256"] == sha256_of(root / "models" / "model.pt")
    mlflow.set_tracking_uri(f"sqlite:///{root / 'eval' / 'mlruns.db'}")
    assert len(mlflow.search_runs(search_all_experiments=True)) == 1
