# SPDX-License-Identifier: Apache-2.0
"""Cells by pilot jobs of a real Slurm, which the test starts with one node and two devices where it is installed."""

from __future__ import annotations

import cluster_tools
import fake_cells
import pytest
from cluster_tools import counts, start_driver, wait_until

pytest.importorskip("parsl", reason="the engine of experiments is Parsl")
MISSING = cluster_tools.missing_programs()
NAMES = {cell.name for cell in fake_cells.graph(fake_cells.Path(), 0.0)}
# each job is granted one of the two devices of the node, and Slurm hides none of them
MACHINE = {
    "provider": "SlurmProvider",
    "options": {
        "partition": cluster_tools.PARTITION,
        "gres": "gpu:1",
        "exclusive": False,
        "init_blocks": 2,
        "max_blocks": 2,
    },
    "executor": {"available_accelerators": 1, "heartbeat_period": 1, "heartbeat_threshold": 4, "address": "127.0.0.1"},
}
SECONDS = 1.0


def said(folder):
    return (folder / "driver.txt").read_text()[-3000:]


@pytest.mark.slow
@pytest.mark.skipif(bool(MISSING), reason=f"Slurm is not installed: no {', '.join(MISSING)}")
@pytest.mark.fault(
    "Experiments",
    "the experiment is killed while pilot jobs of Slurm run its cells",
    injected="kill -9 of the experiment with two cells running, and the same command again",
    outcome="no cell finished twice, none lost, never two on a device, no job left",
)
def test_a_kill_repeats_nothing_and_loses_nothing_on_slurm(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    with cluster_tools.slurm(tmp_path / "slurm") as environment:
        killed = start_driver(out, MACHINE, environment, SECONDS)
        started = wait_until(lambda: counts(out, "start").total() >= 2 or killed.poll() is not None, 90)
        killed.kill()
        killed.wait()
        assert started, said(out)
        assert counts(out, "end").total() < len(NAMES)
        last = start_driver(out, MACHINE, environment, SECONDS)
        try:
            assert last.wait(timeout=120) == 0, said(out)
        finally:
            last.kill()
        assert wait_until(lambda: not cluster_tools.jobs(environment), 15)
    assert {path.parent.name for path in out.glob("*/result.json")} == NAMES
    assert counts(out, "end") == dict.fromkeys(NAMES, 1)
    assert counts(out, "MISSING") == counts(out, "COLLISION") == {}
