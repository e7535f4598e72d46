# SPDX-License-Identifier: Apache-2.0
"""The command of a cell as a child that never outlives the process that started it, and what it has used."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Protocol

__all__ = [
    "Child",
    "Ended",
    "LostError",
    "PlainChild",
    "cell_variables",
    "death_of",
    "end_with",
    "load_prctl",
    "maxrss_bytes",
    "start_plain",
]

# from linux/prctl.h
_PR_SET_PDEATHSIG = 1
_KIB = 1024
# who one is at a server says nothing of which server that is
_LOGIN = {"MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"}


@dataclass(frozen=True)
class Ended:
    """How a command has ended.

    Args:
        code: its exit code; minus the number of the signal that ended it.
        cpu_seconds: of the command and of its worker processes; ``None`` where the system does not say.
        peak_memory_bytes: of the largest of these processes; likewise.
    """

    code: int
    cpu_seconds: float | None = None
    peak_memory_bytes: int | None = None


class LostError(RuntimeError):
    """The process that had started a command is gone, and the command with it."""


class Child(Protocol):
    """A command that runs."""

    has_ended: threading.Event

    def wait(self) -> Ended:
        """Wait for its end; to be called once."""

    def send(self, number: int) -> None:
        """Send a signal to it; SIGKILL also goes to its worker processes."""


class PlainChild:
    """A command in an interpreter of its own."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.has_ended = threading.Event()

    def wait(self) -> Ended:
        """Wait for its end; to be called once."""
        try:
            return _reaped(self._process)
        finally:
            self.has_ended.set()

    def send(self, number: int) -> None:
        """Send a signal to it; SIGKILL also goes to its worker processes."""
        if self.has_ended.is_set():
            return
        if os.name == "posix" and number == signal.SIGKILL:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
        self._process.send_signal(number)


def _reaped(process: subprocess.Popen[bytes]) -> Ended:
    if os.name != "posix":
        return Ended(process.wait())
    try:
        _, status, used = os.wait4(process.pid, 0)
    except ChildProcessError:
        # a signal was being sent at this moment, and found that it has ended
        return Ended(process.wait())
    code = os.waitstatus_to_exitcode(status)
    process.returncode = code
    return Ended(code, used.ru_utime + used.ru_stime, maxrss_bytes(used.ru_maxrss))


def maxrss_bytes(value: int) -> int:
    """Return the peak of memory in bytes; macOS counts it so, Linux in KiB."""
    return value if sys.platform == "darwin" else value * _KIB


def start_plain(
    command: Sequence[str], start_in: str, log: IO[bytes], variables: Mapping[str, str], held: Sequence[int]
) -> PlainChild:
    """Start a command.

    Args:
        command: arguments after ``python``.
        start_in: folder in which it starts.
        log: takes what it writes.
        variables: of its environment, beside those of this process.
        held: descriptors that it inherits.
    """
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=start_in,
        env=cell_variables(variables),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        pass_fds=list(held),
        preexec_fn=death_of(os.getpid()) if os.name == "posix" else None,
    )
    return PlainChild(process)


def cell_variables(own: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a cell: this process's, and what is the cell's own."""
    # MLflow's variables would go before the commands' own settings
    variables = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_") or name in _LOGIN}
    variables.setdefault("PYTHONWARNINGS", "ignore")
    variables.setdefault("GOMP_SPINCOUNT", "3000")
    return variables | dict(own)


def death_of(parent: int) -> Callable[[], None]:
    """Return what a child calls before its command, so that it ends with its parent."""
    # loaded here: a child of a process with several threads must not load anything
    prctl = load_prctl()
    return lambda: end_with(parent, prctl)


def load_prctl() -> Callable[..., int] | None:
    """Return the C library's function of this name; ``None`` where there is none."""
    return ctypes.CDLL(None).prctl if sys.platform == "linux" else None


def end_with(parent: int, prctl: Callable[..., int] | None) -> None:
    """Leave the terminal's group, and end when the parent ends.

    Args:
        parent: process id of the parent.
        prctl: see :func:`load_prctl`.
    """
    os.setpgid(0, 0)
    if prctl is not None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
