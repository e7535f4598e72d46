# SPDX-License-Identifier: Apache-2.0
"""Cells that learn on several GPUs: their command, their places, and that no rank outlives them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from akd_monai.errors import InputError
from akd_monai.experiments._plan.expand import expand
from akd_monai.experiments._plan.matrix import read_matrix
from akd_monai.experiments._plan.places import grouped, grouped_machine, machine_places
from akd_monai.files import write_json

FILE = {
    "dataset_dir": "data",
    "sites": ["RUNMC", "HK"],
    "targets": ["HK"],
    "run_folds": [0],
    "teachers": ["unetplusplus"],
    "students": ["enet"],
}
LAUNCH = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
RUN = ("-m", "monai.bundle", "run", "--config_file")


@pytest.fixture
def matrix(tmp_path):
    return read_matrix(write_json(tmp_path / "two.json", {**FILE, "gpus_per_cell": 2}))


def heads(matrix, folder):
    """Return the beginning of each command, up to its config files."""
    return {cell.name: cell.command[: cell.command.index("--config_file") + 2] for cell in expand(matrix, folder)}


def test_what_learns_runs_by_torchrun_and_what_is_tested_does_not(matrix, tmp_path):
    found = heads(matrix, tmp_path)
    row = "HK/fold-0/student-enet/distilled/unetplusplus/seed-0"
    train = "'configs/train.json','configs/multi_gpu_train.json'"
    assert found["train/HK/teacher-unetplusplus/sources/seed-0"] == (*LAUNCH, *RUN, f"[{train}]")
    assert found[f"train/{row}"] == (*LAUNCH, *RUN, f"[{train},'configs/distill.json']")
    assert found[f"test/{row}"] == (*RUN, "['configs/train.json','configs/evaluate.json']")


def test_with_one_gpu_the_commands_are_plain(matrix, tmp_path):
    found = heads(replace(matrix, gpus_per_cell=1), tmp_path)
    assert found["train/HK/teacher-unetplusplus/sources/seed-0"] == (*RUN, "configs/train.json")
    assert not any("torch.distributed.run" in head for head in found.values())


def test_a_number_of_gpus_that_is_none_is_refused(tmp_path):
    for wrong in (0, "2", 1.5, True):
        with pytest.raises(InputError, match="gpus_per_cell must be an integer of 1 to 1000"):
            read_matrix(write_json(tmp_path / "two.json", {**FILE, "gpus_per_cell": wrong}))


def test_gpus_are_grouped_in_the_order_in_which_they_are_named():
    assert grouped(["3", "1", "0", "2"], 2) == ["3,1", "0,2"]
    assert grouped(["0,1", "2,3"], 2) == ["0,1", "2,3"]
    assert grouped(["0", "1"], 1) == ["0", "1"]
    assert grouped([], 2) == []


@pytest.mark.parametrize("gpus", [["0", "1", "2"], ["0"], ["0,1", "2"], ["0,1,2", "3,4,5"]])
def test_what_makes_no_groups_is_refused(gpus):
    with pytest.raises(InputError, match=r"gpus: \[.*\] do not make groups of 2, as gpus_per_cell"):
        grouped(gpus, 2)


def test_accelerators_of_a_cluster_are_grouped_likewise():
    def accelerators(given):
        machine = {"provider": "SlurmProvider", "options": {}, "executor": {"available_accelerators": given}}
        return grouped_machine(machine, 2)["executor"]["available_accelerators"]

    assert accelerators(4) == ["0,1", "2,3"]
    assert accelerators(["0,3", "1,2"]) == ["0,3", "1,2"]
    with pytest.raises(InputError, match="available_accelerators of the machine file"):
        accelerators(3)
    assert grouped_machine({"executor": {}}, 2) == {"executor": {}}


def test_the_time_left_on_a_cluster_counts_the_cells_of_every_job():
    def places(executor, **options):
        return machine_places({"options": options, "executor": executor})

    assert places({"available_accelerators": ["0,1", "2,3"]}, max_blocks=3, nodes_per_block=2) == 12
    assert places({"max_workers_per_node": 5}) == 5
    assert places({}, max_blocks=4) == 4


# loads the function without its package, whose imports take longer than the test
RANK = """
import importlib.util, os, sys, time
spec = importlib.util.spec_from_file_location('launcher', sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
module.end_with_launcher()
open(os.path.join(sys.argv[2], os.environ['RANK'] + '-' + str(os.getpid())), 'w').close()
time.sleep(120)
"""


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as stream:
            return stream.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
@pytest.mark.fault(
    "Experiments",
    "`torchrun` is killed and cannot stop its ranks",
    injected="kill -9 of the launcher of two ranks",
    outcome="both ranks end at once, so that the run that resumes has their devices",
)
def test_no_rank_outlives_its_launcher(tmp_path):
    from akd_monai.bundle import _launcher

    script = tmp_path / "rank.py"
    script.write_text(RANK)
    seen = tmp_path / "seen"
    seen.mkdir()
    command = [sys.executable, *LAUNCH, str(script), _launcher.__file__, str(seen)]
    launcher = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL)
    try:
        give_up = time.monotonic() + 90
        while len(list(seen.iterdir())) < 2 and launcher.poll() is None and time.monotonic() < give_up:
            time.sleep(0.1)
        pids = [int(path.name.split("-")[1]) for path in seen.iterdir()]
        assert len(pids) == 2
    finally:
        launcher.send_signal(signal.SIGKILL)
        launcher.wait()
    give_up = time.monotonic() + 10
    while any(map(is_running, pids)) and time.monotonic() < give_up:
        time.sleep(0.05)
    left = [pid for pid in pids if is_running(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left == []
