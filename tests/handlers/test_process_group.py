# SPDX-License-Identifier: Apache-2.0
"""What handlers ask of a real process group, in two processes that talk by gloo."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch.distributed as dist

from akd_monai.handlers import CaseMetrics
from akd_monai.handlers._stop_signals import StopSignals


def row(name: str) -> dict[str, object]:
    metrics = {"dice": 1.0, "hd95_mm": 0.0, "asd_mm": 0.0, "reference_ml": 1.0, "predicted_ml": 1.0}
    return {"case_id": name, "site": "S", "class": "1", **metrics}


def work(rank: int, folder: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    signals = StopSignals()
    signals.install()
    before = signals.agreed()
    if rank == 1:
        signal.raise_signal(signal.SIGTERM)
    handler = CaseMetrics()
    # "b" was evaluated by both, as a sampler does that gives every process the same number of cases
    handler._rows = [row("b"), row("a")] if rank == 0 else [row("b"), row("c")]
    found = {"before": before, "stop": signals.agreed(), "cases": handler.table()["case_id"].tolist()}
    (folder / f"rank{rank}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


@pytest.mark.fault(
    "Stopped runs",
    "one of two processes gets a stop signal",
    injected="SIGTERM to one rank",
    outcome="both stop after the same step",
)
@pytest.mark.skipif(not dist.is_gloo_available(), reason="PyTorch was built without gloo")
def test_processes_agree_on_a_stop_and_join_their_rows(tmp_path):
    # One thread: a process that has used several cannot be forked safely.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "LOCAL_RANK": "0"}
    command = [sys.executable, __file__, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    for rank in (0, 1):
        found = json.loads((tmp_path / f"rank{rank}.json").read_text())
        assert found == {"before": None, "stop": signal.SIGTERM, "cases": ["a", "b", "c"]}


if __name__ == "__main__":
    # Forked, so that imports are paid for once.
    child = os.fork()
    work(int(child == 0), Path(sys.argv[1]))
    if child:
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
