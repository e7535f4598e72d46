# SPDX-License-Identifier: Apache-2.0
"""Run a cell once: take its folder and a place, start its command, and write its result when it has ended well.

Workers on other machines import this module, so it knows neither Parsl nor MONAI.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from akd_monai.errors import one_line
from akd_monai.experiments._child import Ended, start_plain
from akd_monai.experiments._devices import GRACE, Devices, StoppedError, patient
from akd_monai.experiments._plan.cell import Cell, is_done
from akd_monai.files import FolderLock, read_json, write_json

__all__ = ["CellError", "Devices", "StoppedError", "run_cell"]

_BEHIND = "wait until its processes have ended"
# of a training that is under way; its weights are in another file
_STATE = ("resume.pt", "resume-previous.pt")
# bytes at the end of a log among which the last line is looked for
_TAIL = 8192


class CellError(RuntimeError):
    """The command of a cell ended with an error; its log says why.

    Args:
        name: of the cell.
        code: exit code of its command; minus the number of the signal that ended it.
        log: path of its log.
        last: last line of the log.
    """

    def __init__(self, name: str, code: int, log: str, last: str = "") -> None:
        super().__init__(name, code, log, last)
        self.name = name
        self.code = code
        self.log = log
        self.last = last

    def __str__(self) -> str:
        said = f" ({self.last})" if self.last else ""
        return f"{self.name} ended with {_ending(self.code)}{said}; see {self.log}"


def _ending(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        return f"signal {signal.Signals(-code).name}"
    return f"signal {-code}"


def run_cell(
    cell: Cell, devices: Devices | None = None, inputs: Sequence[Any] = (), *, patience: float = GRACE
) -> float:
    """Run a cell unless it is done, and return the seconds that it took.

    Args:
        cell: what to run.
        devices: places of this machine; ``None`` on a worker that has a device of its own.
        inputs: what must be done before; the engine waits for it.
        patience: seconds to wait for another process at the cell; endless on a cluster, where a pilot job of an earlier
            run may be at it, and ends it.

    Raises:
        CellError: if the command fails.
        StoppedError: if the experiment is stopped.
        InputError: if the folder of the cell belongs to another command or another process.
    """
    if devices is not None and devices.stopped:
        raise StoppedError
    Path(cell.folder).mkdir(parents=True, exist_ok=True)
    with patient(FolderLock(cell.folder, "cell.lock", remedy=_BEHIND), patience):
        # a cell that an earlier, lost worker started may have ended meanwhile
        if is_done(cell):
            return 0.0
        return _run_once(cell, devices)


def _run_once(cell: Cell, devices: Devices | None) -> float:
    starts = _starts(cell) + 1
    write_json(cell.record, {**cell.identity(), "starts": starts})
    log = Path(cell.folder) / "log.txt"
    with open(log, "ab") as stream:
        begin = stream.tell()
        start = time.monotonic()
        ended = _run(cell, devices, stream)
        seconds = time.monotonic() - start
    if devices is not None and devices.stopped and ended.code:
        raise StoppedError
    if ended.code:
        raise CellError(cell.name, ended.code, str(log), _last_line(log, begin))
    if not is_done(cell):
        write_json(cell.result, _result(cell, ended, seconds, starts))
    _drop_checkpoints(cell)
    return seconds


def _run(cell: Cell, devices: Devices | None, log: IO[bytes]) -> Ended:
    variables = dict(cell.environment)
    if devices is None:
        return start_plain(cell.command, cell.start_in, log, variables, []).wait()
    return devices.run(cell.command, cell.start_in, log, variables)


def _starts(cell: Cell) -> int:
    """Return how often the command was started before."""
    return int(read_json(cell.record).get("starts", 0)) if cell.record.is_file() else 0


def _result(cell: Cell, ended: Ended, seconds: float, starts: int) -> dict[str, Any]:
    """Return what a cell has used; of one that was started several times, in its last run."""
    cpu = ended.cpu_seconds
    return {
        "cell": cell.name,
        "seconds": round(seconds, 1),
        "cpu_seconds": None if cpu is None else round(cpu, 1),
        "peak_memory_bytes": ended.peak_memory_bytes,
        "disk_bytes": _disk_bytes(cell),
        "starts": starts,
    }


def _disk_bytes(cell: Cell) -> int:
    kept = [entry for entry in _entries(Path(cell.folder)) if entry not in _checkpoints(cell)]
    return sum(entry.lstat().st_size for entry in kept if not entry.is_dir())


def _checkpoints(cell: Cell) -> list[Path]:
    return [Path(cell.folder) / "eval" / name for name in _STATE]


def _drop_checkpoints(cell: Cell) -> None:
    """Delete the state from which a training resumes: a cell that is done never does, and it is most of its folder."""
    for path in _checkpoints(cell):
        with contextlib.suppress(OSError):
            path.unlink()


def _entries(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder):
        yield from (Path(parent) / name for name in names)


def _last_line(log: Path, begin: int) -> str:
    """Return the last line that a command has written to its log, which began at ``begin`` bytes."""
    with open(log, "rb") as stream:
        end = stream.seek(0, os.SEEK_END)
        stream.seek(max(begin, end - _TAIL))
        written = stream.read().decode(errors="replace")
    # a progress bar writes over itself
    lines = [line.strip() for line in written.replace("\r", "\n").split("\n")]
    return one_line(next((line for line in reversed(lines) if line), ""))
