# SPDX-License-Identifier: Apache-2.0
"""Cells on workers of pilot jobs: their devices, the end of a job, a lost worker, a command that fails."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import fake_cells
import pytest
from cluster_tools import counts, events, start_driver, wait_until

from akd_monai.errors import InputError
from akd_monai.experiments._worker import devices_of

pytest.importorskip("parsl", reason="the engine of experiments is Parsl")
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
NAMES = {cell.name for cell in fake_cells.graph(fake_cells.Path(), 0.0)}


@pytest.mark.parametrize(
    ("pinned", "granted", "expected"),
    [
        ("0", "", "0"),
        ("0", "3", "3"),
        ("1", "2,5", "5"),
        ("2,3", "4,5,6,7", "6,7"),
        ("2,5", "2,5", "2,5"),
        ("GPU-8a", "GPU-8a,GPU-9b", "GPU-8a"),
        ("1", "GPU-8a,GPU-9b", "GPU-9b"),
        ("", "", ""),
    ],
)
def test_devices_count_from_the_first_of_the_job(pinned, granted, expected):
    assert devices_of(pinned, granted) == expected


def test_more_devices_than_the_job_has_are_refused():
    with pytest.raises(
        InputError, match=r"machine file: available_accelerators asks for device 1 of a job that has 1 \(3\)"
    ):
        devices_of("1", "3")


WORKER = """
import os, sys
sys.path.insert(0, sys.argv[1])
import fake_cells
from pathlib import Path
from akd_monai.experiments._worker import run_on_worker
folder = Path(sys.argv[2])
os.environ['CUDA_VISIBLE_DEVICES'] = '1'
run_on_worker(fake_cells.make(folder, 't1', 60.0), str(folder))
"""


@LINUX
@pytest.mark.fault(
    "Experiments",
    "a scheduler ends the job that runs a cell",
    injected="SIGTERM to the worker, as at the walltime",
    outcome="the cell saves before the worker ends, at the device that the job was granted",
)
def test_a_cell_saves_when_its_job_ends(tmp_path):
    command = [sys.executable, "-c", WORKER, os.path.dirname(fake_cells.__file__), str(tmp_path)]
    # granted 4 and 6 by the scheduler, of which the worker has the second
    worker = subprocess.Popen(command, env={**os.environ, "CUDA_VISIBLE_DEVICES": "4,6"})
    try:
        assert wait_until(lambda: counts(tmp_path, "start") or worker.poll() is not None, 30)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(timeout=20) == 143
    finally:
        worker.kill()
    assert counts(tmp_path, "stopped") == {"t1": 1}
    assert {entry["device"] for entry in events(tmp_path)} == {"6"}
    assert not (tmp_path / "t1" / "result.json").exists()


def parent_of(pid):
    with open(f"/proc/{pid}/stat") as stream:
        return int(stream.read().rpartition(")")[2].split()[1])


@pytest.mark.slow
@LINUX
@pytest.mark.fault(
    "Experiments",
    "a worker of a pilot job is lost with its cell",
    injected="kill -9 of the worker; another cell fails by itself",
    outcome="the lost cell runs again; the failed one does not, and stops only what needs it",
)
def test_a_lost_worker_is_replaced_and_a_failed_command_is_reported(tmp_path):
    # stands for ssh: another shell with an environment of its own
    ssh = tmp_path / "ssh"
    ssh.write_text('#!/bin/sh\nshift\nexec env -i /bin/sh -c "$*"\n')
    ssh.chmod(0o755)
    path = f"{os.path.dirname(sys.executable)}:/usr/bin:/bin"
    machine = {
        "provider": "LocalProvider",
        "options": {"launcher": {"name": "WrappedLauncher", "options": {"prepend": f"{ssh} host env PATH={path}"}}},
        "executor": {
            "available_accelerators": 2,
            "heartbeat_period": 1,
            "heartbeat_threshold": 5,
            "address": "127.0.0.1",
        },
    }
    (tmp_path / "fail-t2").touch()
    environment = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    driver = start_driver(tmp_path, machine, environment, 1.0)
    try:
        assert wait_until(lambda: "t1" in counts(tmp_path, "start") or driver.poll() is not None, 60)
        lost = next(entry["pid"] for entry in events(tmp_path) if entry["cell"] == "t1")
        os.kill(parent_of(lost), signal.SIGKILL)
        assert driver.wait(timeout=60) == 4
    finally:
        driver.kill()
    said = (tmp_path / "driver.txt").read_text()
    assert counts(tmp_path, "start")["t1"] == 2
    assert counts(tmp_path, "start")["t2"] == 1
    assert set(counts(tmp_path, "end")) == {name for name in NAMES if name.endswith("t1")}
    assert set(counts(tmp_path, "end").values()) == {1}
    assert counts(tmp_path, "MISSING") == counts(tmp_path, "COLLISION") == {}
    assert {entry["device"] for entry in events(tmp_path)} == {"0", "1"}
    assert f"t2: t2 ended with exit code 1 (this cell fails); see {tmp_path / 't2' / 'log.txt'}\n" in said
    assert "enet-t2: not run, for want of what it needs: t2 ended with exit code 1" in said
    assert json.loads((tmp_path / "t1" / "result.json").read_text())["cell"] == "t1"


def processes_of(folder):
    """Return the command lines of processes that have the folder in them."""
    found = []
    for entry in os.scandir("/proc"):
        with contextlib.suppress(OSError):
            line = Path(entry.path, "cmdline").read_bytes().replace(b"\0", b" ").decode()
            if str(folder) in line:
                found.append(line)
    return found


MACHINE = {
    "provider": "LocalProvider",
    "executor": {"available_accelerators": 2, "heartbeat_period": 1, "heartbeat_threshold": 5},
}


def running_driver(folder):
    """Start an experiment of long cells and wait until two of them run."""
    driver = start_driver(folder, MACHINE, dict(os.environ), 60.0)
    assert wait_until(lambda: len(counts(folder, "start")) == 2 or driver.poll() is not None, 60)
    return driver


@pytest.mark.slow
@LINUX
@pytest.mark.fault(
    "Experiments",
    "Ctrl-C while pilot jobs run cells",
    injected="SIGINT to the experiment's group of processes, as a terminal sends it",
    outcome="running cells save, jobs are cancelled, and no process is left",
)
def test_ctrl_c_lets_cells_save_and_leaves_no_process(tmp_path):
    driver = running_driver(tmp_path)
    try:
        os.killpg(driver.pid, signal.SIGINT)
        assert driver.wait(timeout=60) != 0
    finally:
        driver.kill()
    assert wait_until(lambda: not processes_of(tmp_path), 20), processes_of(tmp_path)
    assert counts(tmp_path, "start") == counts(tmp_path, "stopped") == {"t1": 1, "t2": 1}


@pytest.mark.slow
@LINUX
@pytest.mark.fault(
    "Experiments",
    "the process that passes cells to pilot jobs is killed, for its memory for instance",
    injected="kill -9 of it while cells run",
    outcome="the experiment ends with one line and cancels its jobs, in place of waiting for ever",
)
def test_an_experiment_that_hears_nothing_of_its_jobs_ends(tmp_path):
    driver = running_driver(tmp_path)
    try:
        children = Path(f"/proc/{driver.pid}/task/{driver.pid}/children").read_text().split()
        lines = {int(pid): Path("/proc", pid, "cmdline").read_bytes() for pid in children}
        [passing] = [pid for pid, line in lines.items() if b"interchange" in line]
        os.kill(passing, signal.SIGKILL)
        assert driver.wait(timeout=30) == 1
    finally:
        driver.kill()
    assert (
        "InputError: the process that passes cells to pilot jobs has ended with exit code -9; start the same"
        in (tmp_path / "driver.txt").read_text()
    )
    assert wait_until(lambda: not processes_of(tmp_path), 20), processes_of(tmp_path)
