# SPDX-License-Identifier: Apache-2.0
"""For tests of cells on a cluster: what fake cells have noted, and a Slurm of one node and two devices.

That Slurm lives below a folder of its own, needs no rights, and leaves no trace elsewhere.

The daemons run in the foreground as children, listen on free ports of the loopback address, and authenticate nobody.
The devices are ``/dev/null`` and ``/dev/zero``: Slurm wants character devices, and nothing opens them.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import fake_cells

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "squeue", "scancel", "sinfo")
PARTITION = "test"
_PATIENCE = 60.0
_CONFIG = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={daemon}
AuthType=auth/none
CredType=cred/none
CryptoType=crypto/none
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
GresTypes=gpu
MinJobAge=300
KillWait=2
ReturnToService=2
SchedulerParameters=sched_interval=1,batch_sched_delay=0
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=1000 Gres=gpu:2
PartitionName={partition} Nodes={host} Default=YES OverSubscribe=FORCE:8 State=UP
"""
_DEVICES = "Name=gpu File=/dev/null\nName=gpu File=/dev/zero\n"


def missing_programs() -> list[str]:
    """Return which of Slurm's programs this machine lacks."""
    return [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]


def _path() -> str:
    # Debian keeps the daemons where only root looks for programs
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"])


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextlib.contextmanager
def slurm(folder: Path) -> Iterator[dict[str, str]]:
    """Run a Slurm and yield the environment in which its commands find it."""
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    host = socket.gethostname().split(".")[0]
    user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    values = {"host": host, "user": user, "folder": folder, "cpus": os.cpu_count(), "partition": PARTITION}
    config = _CONFIG.format(controller=_free_port(), daemon=_free_port(), **values)
    (folder / "slurm.conf").write_text(config)
    (folder / "gres.conf").write_text(_DEVICES)
    environment = {**os.environ, "PATH": _path(), "SLURM_CONF": str(folder / "slurm.conf")}
    with contextlib.ExitStack() as stack:
        for command in (["slurmctld", "-D"], ["slurmd", "-D"]):
            stack.enter_context(_daemon(command, environment, folder))
        stack.callback(_cancel_all, environment)
        _wait_until_idle(environment, folder)
        yield environment


@contextlib.contextmanager
def _daemon(command: list[str], environment: dict[str, str], folder: Path) -> Iterator[None]:
    with open(folder / f"{command[0]}.txt", "ab") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def jobs(environment: dict[str, str]) -> list[str]:
    """Return the jobs that wait or run."""
    command = ["squeue", "--noheader", "--format=%i %t"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()


def _cancel_all(environment: dict[str, str]) -> None:
    """End every job, so that none outlives the daemons."""
    subprocess.run(["scancel", f"--partition={PARTITION}"], env=environment, check=False)
    give_up = time.monotonic() + 20
    while jobs(environment) and time.monotonic() < give_up:
        time.sleep(0.2)


def _wait_until_idle(environment: dict[str, str], folder: Path) -> None:
    give_up = time.monotonic() + _PATIENCE
    command = ["sinfo", "--noheader", "--format=%t"]
    while time.monotonic() < give_up:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.stdout.strip() == "idle":
            return
        time.sleep(0.2)
    logs = [path.read_text()[-2000:] for path in sorted(folder.glob("*.log"))]
    raise RuntimeError("Slurm does not start:\n" + "\n".join(logs))


def events(folder: Path) -> list[dict]:
    """Return what cells have noted."""
    path = folder / "events.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def counts(folder: Path, event: str) -> Counter[str]:
    """Return how often each cell has noted an event."""
    return Counter(entry["cell"] for entry in events(folder) if entry["event"] == event)


def start_driver(folder: Path, machine: dict, environment: dict[str, str], seconds: float) -> subprocess.Popen[bytes]:
    """Start the experiment of fake cells by the pilot jobs of a machine file."""
    file = folder / "machine.json"
    file.write_text(json.dumps(machine))
    command = [sys.executable, fake_cells.__file__, "drive", str(folder), "0", str(seconds), str(file)]
    with open(folder / "driver.txt", "ab") as log:
        # a group of its own, as a terminal gives it
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log, process_group=0)


def wait_until(is_true: Callable[[], object], seconds: float) -> bool:
    """Wait for a condition and return whether it came."""
    give_up = time.monotonic() + seconds
    while not is_true() and time.monotonic() < give_up:
        time.sleep(0.1)
    return bool(is_true())
