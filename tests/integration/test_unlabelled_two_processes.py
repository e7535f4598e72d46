# SPDX-License-Identifier: Apache-2.0
"""Images without labels by torchrun in two processes: each has images of its own, and the ranks agree."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
from bundle_tools import small_bundle

from akd_monai.networks.nets import ENet

CONFIGS = "['configs/train.json','configs/multi_gpu_train.json','configs/distill.json','configs/look.json']"
LOOK = """$torch.save({'network': @network.module.state_dict(), 'terms': @train#trainer.state.loss_terms,
'images': @train#trainer.unlabelled._stream.batch(1, torch.distributed.get_rank(), 2)['image']},
@output_dir + '/rank' + str(torch.distributed.get_rank()) + '.pt')""".replace("\n", " ")


@pytest.mark.slow
def test_ranks_have_images_of_their_own_and_agree(tmp_path, data_dir, teacher):
    root = small_bundle("enet", tmp_path / "student", epochs=1)
    (root / "configs" / "look.json").write_text(json.dumps({"+run": [LOOK]}))
    done = subprocess.run(
        [
            sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2",
            "-m", "monai.bundle", "run", "--config_file", CONFIGS, f"--teacher_bundle={teacher}",
            f"--dataset_dir={data_dir}", "--sites=['I2CVB','RUNMC']", "--batch_size=2", "--labelled_cases=1",
            "--unlabelled_batch_size=2", "--confidence=0.1",
        ],
        cwd=root, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-12000:]
    first, second = (torch.load(root / "eval" / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
    for name, _ in ENet(2, 1, 2).named_parameters():
        assert torch.equal(first["network"][name], second["network"][name])
    assert not torch.equal(first["images"], second["images"])
    for rank in (first, second):
        assert set(rank["terms"]) == {"task", "unlabelled", "logits", "gram", "affinity"}
    record = json.loads((root / "eval" / "training.json").read_text())
    assert (record["processes"], record["labelled_cases"]) == (2, 1)
    assert not set(record["case_ids"]) & set(record["unlabelled_case_ids"])
