# SPDX-License-Identifier: Apache-2.0
"""One process that has imported everything and forks a cell whenever one is asked for; this is the side that asks.

Importing PyTorch, MONAI and MLflow takes longer than a small cell itself. The fork is Linux's, of a process of a single
thread that has not touched a GPU; elsewhere, and where imports leave more behind, each cell is an interpreter of its own.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from akd_monai.experiments._child import Ended, LostError, cell_variables, death_of

__all__ = ["MODULES", "WarmProcess", "warm_process"]

logger = logging.getLogger(__name__)

_SERVER = "akd_monai.experiments._warm_server"
_VISIBLE = "CUDA_VISIBLE_DEVICES"
# a launcher of several processes gains nothing by a fork
_CELLS = ("monai.bundle", "akd_monai")
# what the commands of cells import at some time or other; PyTorch's optimizers import the last
MODULES = (
    "monai.bundle.scripts",
    "fire",
    "monai.handlers",
    "akd_monai.bundle.workflow",
    "akd_monai.data.check_prediction",
    "akd_monai.data.gate",
    "akd_monai.data.reader",
    "akd_monai.data.sampler",
    "akd_monai.data.slices",
    "akd_monai.data.splits",
    "akd_monai.data.writer",
    "akd_monai.engines.trainer",
    "akd_monai.handlers",
    "torch._dynamo",
)


class _WarmChild:
    """A command that the warm process runs in a fork of itself."""

    def __init__(self, warm: WarmProcess, answers: socket.socket) -> None:
        self._warm = warm
        self._answers = answers
        self._lines = answers.makefile("r", encoding="utf-8")
        self.has_ended = threading.Event()
        self._pid = int(self._answer()["pid"])

    def wait(self) -> Ended:
        """Wait for its end; to be called once."""
        try:
            return Ended(**self._answer())
        finally:
            self.has_ended.set()
            self._lines.close()
            self._answers.close()

    def send(self, number: int) -> None:
        """Send a signal to it; SIGKILL also goes to its worker processes."""
        # only the parent knows for certain that the number still is this child's
        with contextlib.suppress(OSError):
            self._warm.ask({"pid": self._pid, "signal": number})

    def _answer(self) -> dict[str, Any]:
        try:
            line = self._lines.readline()
        except OSError:
            line = ""
        if not line:
            raise LostError("the process that forks cells is gone")
        answer: dict[str, Any] = json.loads(line)
        return answer


class WarmProcess:
    """The warm process of an experiment, which ends with it.

    Args:
        folder: of the experiment, where it writes what its imports say.
        variables: of the environment, which are those of every cell.
        modules: what it imports.
    """

    def __init__(
        self, folder: str | os.PathLike[str], variables: Mapping[str, str], modules: Sequence[str] = MODULES
    ) -> None:
        self._variables = dict(variables)
        self._lock = threading.Lock()
        self._refused: str | None = None
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control = ours
        place = Path(folder).resolve() / "devices"
        place.mkdir(parents=True, exist_ok=True)
        with theirs, open(place / "warm.txt", "wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", _SERVER, str(theirs.fileno()), *modules],
                cwd=place,
                env=cell_variables(variables),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=[theirs.fileno()],
                preexec_fn=death_of(os.getpid()),
            )

    def takes(self, command: Sequence[str], variables: Mapping[str, str]) -> bool:
        """Return whether a command can be forked from it, after it has imported everything."""
        own = {name: value for name, value in variables.items() if name != _VISIBLE}
        is_module = command[0] == "-m" and any(command[1] == one or command[1].startswith(f"{one}.") for one in _CELLS)
        is_cell = is_module or command[0].endswith(".py")
        return is_cell and own == self._variables and not self.refusal()

    def refusal(self) -> str:
        """Return why it cannot fork, after it has imported everything; an empty string if it can."""
        with self._lock:
            if self._refused is None:
                self._refused = self._first_answer()
                if self._refused:
                    logger.info("Each cell imports everything by itself: %s.", self._refused)
            return self._refused

    def start(
        self, command: Sequence[str], start_in: str, log: IO[bytes], variables: Mapping[str, str], held: Sequence[int]
    ) -> _WarmChild:
        """Start a command, as :func:`~akd_monai.experiments._child.start_plain` does.

        Raises:
            LostError: if the process is gone.
        """
        ours, theirs = socket.socketpair()
        request = {"command": list(command), "start_in": start_in, "variables": dict(variables)}
        with theirs:
            try:
                self.ask(request, [theirs.fileno(), log.fileno(), *held])
            except OSError as error:
                ours.close()
                raise LostError("the process that forks cells is gone") from error
        return _WarmChild(self, ours)

    def ask(self, request: Mapping[str, Any], descriptors: Sequence[int] = ()) -> None:
        """Send a request."""
        socket.send_fds(self._control, [json.dumps(request).encode()], list(descriptors))

    def stop_imports(self) -> None:
        """End it if it is still importing, so that nobody waits for that."""
        if self._refused is None:
            self._process.send_signal(signal.SIGKILL)

    def close(self) -> None:
        """End it, and every cell that still runs."""
        self._process.kill()
        self._process.wait()
        self._control.close()

    def _first_answer(self) -> str:
        try:
            answer = self._control.recv(4096)
        except OSError:
            answer = b""
        return str(json.loads(answer)["refused"]) if answer else "its process has ended while it imported"


@contextlib.contextmanager
def warm_process(
    folder: str | os.PathLike[str], variables: Mapping[str, str], modules: Sequence[str] = MODULES
) -> Iterator[WarmProcess | None]:
    """Have a warm process while the block runs; ``None`` on systems without its fork."""
    if sys.platform != "linux":
        yield None
        return
    warm = WarmProcess(folder, variables, modules)
    try:
        yield warm
    finally:
        warm.close()
