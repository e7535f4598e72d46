# SPDX-License-Identifier: Apache-2.0
"""Cells that stand for trainings: ``fake_cells.py cell ...`` is one, ``fake_cells.py drive FOLDER GPUS SECONDS`` runs 8,
with the path of a machine file after it by the pilot jobs of that file.

A cell notes in ``events.jsonl`` when it starts and ends and on which device, takes a lock of its device, which no other
cell may hold, and writes its result atomically.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path

from akd_monai.experiments._plan.cell import Cell, Row

TEACHERS = ("t1", "t2")
STUDENTS = ("enet", "erfnet", "espnet")
ROW = Row("HK", 0, "student", "enet", "without")


def note(folder: Path, **event) -> None:
    line = json.dumps({"pid": os.getpid(), "device": os.environ.get("CUDA_VISIBLE_DEVICES", ""), **event})
    with open(folder / "events.jsonl", "a") as stream:
        stream.write(line + "\n")


def cell(folder: Path, name: str, seconds: float, needs: list[str]) -> None:
    """Be a cell."""
    signal.signal(signal.SIGTERM, lambda *_: (note(folder, event="stopped", cell=name), sys.exit(143)))
    device = open(folder / f"device-{os.environ.get('CUDA_VISIBLE_DEVICES', '')}", "w")  # noqa: SIM115
    try:
        fcntl.flock(device, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        note(folder, event="COLLISION", cell=name)
    missing = [need for need in needs if not (folder / need / "result.json").exists()]
    known = "" if missing else "".join((folder / need / "result.json").read_text() for need in needs)
    note(folder, event="start" if not missing else "MISSING", cell=name)
    time.sleep(seconds)
    if (folder / f"fail-{name}").exists():
        sys.exit("this cell fails")
    temporary = folder / name / "half"
    temporary.write_text(json.dumps({"cell": name, "value": hashlib.sha256(f"{name} {known}".encode()).hexdigest()}))
    # one system call apart: a kill between the two lines leaves a result without a note, never a note without a result
    os.replace(temporary, folder / name / "result.json")
    note(folder, event="end", cell=name)


def make(folder: Path, name: str, seconds: float, needs: tuple[str, ...] = ()) -> Cell:
    command = (str(Path(__file__).resolve()), "cell", str(folder), name, str(seconds), *needs)
    place = folder / name
    return Cell(name, "train", ROW, command, str(folder), str(place), str(place / "result.json"), needs)


def graph(folder: Path, seconds: float) -> list[Cell]:
    """Return two teachers and three students of each."""
    cells = [make(folder, teacher, seconds) for teacher in TEACHERS]
    for teacher in TEACHERS:
        cells += [make(folder, f"{student}-{teacher}", seconds, (teacher,)) for student in STUDENTS]
    return cells


def drive(folder: Path, gpus: list[str], seconds: float, machine: str | None = None) -> None:
    """Be the experiment."""
    from akd_monai.experiments._devices import Devices
    from akd_monai.experiments._engine import run_cells
    from akd_monai.experiments._plan.cell import is_done
    from akd_monai.experiments._plan.machine import read_machine
    from akd_monai.files import FolderLock

    options = None if machine is None else read_machine(machine)
    with FolderLock(folder):
        waiting = [one for one in graph(folder, seconds) if not is_done(one)]
        errors = run_cells(waiting, folder, lambda *_: None, devices=Devices(folder, gpus), machine=options)
    for name, error in errors.items():
        sys.stderr.write(f"{name}: {error}\n")
    sys.exit(len(errors))


if __name__ == "__main__":
    verb, place, *rest = sys.argv[1:]
    if verb == "cell":
        cell(Path(place), rest[0], float(rest[1]), rest[2:])
    else:
        drive(Path(place), rest[0].split(","), float(rest[1]), *rest[2:])
