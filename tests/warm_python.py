# SPDX-License-Identifier: Apache-2.0
"""A ``python`` for shells of tests that has imported PyTorch and MONAI already: each call is a fork of one warm process.

``python -m MODULE`` and ``python SCRIPT`` behave as by the interpreter: same folder, environment, output and exit code, and
signals reach the fork. Any other form, such as ``python -c``, is run by the real interpreter.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import runpy
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

MODULES = (
    "akd_monai.__main__",
    "akd_monai.bundle.workflow",
    "akd_monai.engines",
    "akd_monai.handlers",
    "akd_monai.prostate.verify.run",
    "monai.bundle",
    "pandas",
    "scipy.stats",
)
PATIENCE = 120
# isolated, so that it starts in 20 ms
SHIM = """#!/bin/sh
exec {python} -I -S {file} call {socket} "$@"
"""


class WarmPython:
    """The warm process, and a folder with ``python`` for the front of PATH; use it as a context."""

    def __init__(self) -> None:
        # the path of a socket has 107 characters at most
        self._folder = Path(tempfile.mkdtemp(prefix="akd"))
        self._socket = self._folder / "warm"
        self.bin = self._folder / "bin"
        self.bin.mkdir()
        shim = self.bin / "python"
        names = {"python": shlex.quote(sys.executable), "file": shlex.quote(__file__), "socket": self._socket}
        shim.write_text(SHIM.format(**names))
        shim.chmod(0o755)

    def __enter__(self) -> WarmPython:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-W", "ignore", __file__, "serve", str(self._socket), *MODULES]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "warm\n", "the warm process did not start"
        return self

    def run(self, module: list[str], folder: Path) -> None:
        """Run ``python -m MODULE`` in a folder; it must end with 0."""
        command = [str(self.bin / "python"), "-m", *module]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._folder)


def serve(path: str, modules: list[str]) -> None:
    """Import the modules, then fork for each call."""
    for name in modules:
        importlib.import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    tests = os.getppid()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen()
        sys.stdout.write("warm\n")
        sys.stdout.flush()
        listener.settimeout(2.0)
        # tests that are killed cannot end this process themselves
        while os.getppid() == tests:
            try:
                caller, _ = listener.accept()
            except TimeoutError:
                continue
            # one process waits for the fork and answers, another becomes the command
            if os.fork() == 0:
                listener.close()
                _answer(caller)
                return
            caller.close()
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass


def _answer(caller: socket.socket) -> None:
    message, streams, *_ = socket.recv_fds(caller, 1 << 20, 3)
    request = json.loads(message)
    child = os.fork()
    if child == 0:
        caller.close()
        _become(request, streams)
        return
    for stream in streams:
        os.close(stream)
    caller.sendall(f"{child}\n".encode())
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with contextlib.suppress(OSError):
        caller.sendall(f"{code if code >= 0 else 128 - code}\n".encode())
    os._exit(0)


def _become(request: dict, streams: list[int]) -> None:
    """Become the command; everything up to the exit code is the interpreter's own."""
    from akd_monai import _last_line

    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    sys.modules["numpy"].random.seed()
    # registered at import, for the process that imports
    _last_line.wait_for_pools()
    command = request["command"]
    if command[0] == "-m":
        sys.argv = command[1:]
        sys.path[0] = request["folder"]
        _last_line.end_in_one_line(command[1])
        runpy.run_module(command[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = command
        sys.path[0] = str(Path(command[0]).resolve().parent)
        runpy.run_path(command[0], run_name="__main__")


def call(path: str, command: list[str]) -> int:
    """Ask the warm process for a command, wait for its end and return its exit code."""
    flags = ("-W", "ignore")
    plain = command[2:] if tuple(command[:2]) == flags else command
    if plain[:3] == ["-m", "akd_monai", "label"]:
        # MONAI Label lives in an environment of its own
        python = os.environ.get("AKD_LABEL_PYTHON", sys.executable)
        os.execv(python, [python, *command])
    is_module = plain[:1] == ["-m"] and plain[1:2] != ["pip"]
    if not plain or (plain[0].startswith("-") and not is_module):
        os.execv(sys.executable, [sys.executable, *command])
    request = {"command": plain, "folder": os.getcwd(), "environment": dict(os.environ)}
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as warm:
        warm.settimeout(PATIENCE)
        warm.connect(path)
        socket.send_fds(warm, [json.dumps(request).encode()], [0, 1, 2])
        answers = warm.makefile("r")
        child = int(answers.readline())
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda given, _: os.kill(child, given))
        warm.settimeout(None)
        return int(answers.readline() or 1)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2], sys.argv[3:])
    else:
        sys.exit(call(sys.argv[2], sys.argv[3:]))
