# SPDX-License-Identifier: Apache-2.0
"""The warm process: ``python -m akd_monai.experiments._warm_server DESCRIPTOR MODULE...``.

It imports the modules and then forks once for each request. The child returns from :func:`serve` and becomes what
``python COMMAND`` would have been: from there on, everything up to the exit code is the interpreter's own.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from akd_monai import _last_line
from akd_monai.experiments._child import end_with, load_prctl, maxrss_bytes

__all__ = ["Request", "become", "refusal", "serve"]

_REQUEST_BYTES = 1 << 20
_DESCRIPTORS = 16
# its library stops it before a fork, and starts it in parent and child
_HARMLESS = {"jemalloc_bg_thd"}
_DEVICES = ("/dev/nvidia", "/dev/kfd", "/dev/dri")


@dataclass(frozen=True)
class Request:
    """A command to be forked.

    Args:
        command: arguments after ``python``.
        start_in: folder in which it starts.
        variables: of its environment.
        descriptors: where the answers go, the log, and what is held open until the command has ended.
    """

    command: Sequence[str]
    start_in: str
    variables: Mapping[str, str]
    descriptors: Sequence[int]


@dataclass(frozen=True)
class _Running:
    """A fork whose end is awaited."""

    pid: int
    answers: socket.socket


def serve(control: socket.socket) -> Request | None:
    """Fork for each request; return the request in the child, and None in the parent when the experiment has ended."""
    parent = os.getpid()
    prctl = load_prctl()
    with selectors.DefaultSelector() as selector:
        selector.register(control, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.data is not None:
                    _answer_end(selector, key)
                    continue
                message, descriptors, *_ = socket.recv_fds(control, _REQUEST_BYTES, _DESCRIPTORS)
                if not message:
                    return None
                content = json.loads(message)
                if "signal" in content:
                    _send(selector, content)
                    continue
                request = Request(**content, descriptors=descriptors)
                if _forked(selector, request):
                    end_with(parent, prctl)
                    _leave(selector)
                    return request


def _forked(selector: selectors.BaseSelector, request: Request) -> bool:
    """Fork; return whether this is the child."""
    answers, *others = request.descriptors
    try:
        pid = os.fork()
    except OSError:
        # without an answer, the other side starts an interpreter
        pid = -1
    if pid == 0:
        return True
    for descriptor in others:
        os.close(descriptor)
    stream = socket.socket(fileno=answers)
    if pid < 0:
        stream.close()
        return False
    selector.register(os.pidfd_open(pid), selectors.EVENT_READ, _Running(pid, stream))
    _answer(stream, {"pid": pid})
    return False


def _answer(stream: socket.socket, content: Mapping[str, Any]) -> None:
    # a side that no longer listens is about to end, and this process with it
    with contextlib.suppress(OSError):
        stream.sendall(f"{json.dumps(content)}\n".encode())


def _answer_end(selector: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
    selector.unregister(key.fileobj)
    os.close(key.fd)
    _, status, used = os.wait4(key.data.pid, 0)
    answer = {
        "code": os.waitstatus_to_exitcode(status),
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "peak_memory_bytes": maxrss_bytes(used.ru_maxrss),
    }
    _answer(key.data.answers, answer)
    key.data.answers.close()


def _send(selector: selectors.BaseSelector, content: Mapping[str, int]) -> None:
    """Send a signal to a fork that is still awaited."""
    for key in selector.get_map().values():
        if key.data is None or key.data.pid != content["pid"]:
            continue
        with contextlib.suppress(ProcessLookupError):
            if content["signal"] == signal.SIGKILL:
                os.killpg(key.data.pid, signal.SIGKILL)
            else:
                os.kill(key.data.pid, content["signal"])


def _leave(selector: selectors.BaseSelector) -> None:
    """Close in the child what belongs to the parent."""
    for key in list(selector.get_map().values()):
        if key.data is None:
            key.fileobj.close()  # type: ignore[union-attr]
        else:
            os.close(key.fd)
            key.data.answers.close()


def become(request: Request) -> None:
    """Run a command in this process as ``python COMMAND`` runs it."""
    answers, log, *held = request.descriptors
    os.close(answers)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.close(log)
    for descriptor in held:
        os.set_inheritable(descriptor, True)
    os.environ.update(request.variables)
    os.chdir(request.start_in)
    if _has_touched_a_gpu():
        os.execv(sys.executable, [sys.executable, *request.command])
    _refresh()
    importlib.invalidate_caches()
    if request.command[0] == "-m":
        _run_module(request.command[1], request.command[2:])
    else:
        _run_script(request.command)


def _has_touched_a_gpu() -> bool:
    """Return whether PyTorch has initialised CUDA before the fork, after which it no longer works."""
    torch = sys.modules.get("torch")
    return torch is not None and bool(torch.cuda._is_in_bad_fork())


def _refresh() -> None:
    """Renew what a fresh interpreter has of its own: Python's random numbers do so by themselves, NumPy's do not."""
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()
    # registered at import for the process that imports
    _last_line.wait_for_pools()


def _run_module(name: str, arguments: Sequence[str]) -> None:
    sys.argv = [name, *arguments]
    if not getattr(sys.flags, "safe_path", False):
        sys.path[0] = os.getcwd()
    _last_line.end_in_one_line(name)
    runpy.run_module(name, run_name="__main__", alter_sys=True)


def _run_script(command: Sequence[str]) -> None:
    sys.argv = list(command)
    if not getattr(sys.flags, "safe_path", False):
        sys.path[0] = os.path.dirname(os.path.abspath(command[0]))
    runpy.run_path(command[0], run_name="__main__")


def refusal() -> str:
    """Return why this process must not fork; an empty string if it may."""
    others = [name for name in _threads() if name not in _HARMLESS]
    if others:
        return f"importing them starts other threads, {len(others)} here; OMP_NUM_THREADS above 1 does so, too"
    opened = [path for path in _opened() if path.startswith(_DEVICES)]
    return f"importing them opens {opened[0]}" if opened else ""


def _threads() -> list[str]:
    """Return the names of all threads but the main one, also of those that Python does not know."""
    names = []
    for thread in os.listdir("/proc/self/task"):
        if thread != str(os.getpid()):
            with contextlib.suppress(OSError), open(f"/proc/self/task/{thread}/comm", encoding="utf-8") as stream:
                names.append(stream.read().strip())
    return names


def _opened() -> list[str]:
    paths = []
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            paths.append(os.readlink(f"/proc/self/fd/{descriptor}"))
    return paths


def _main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    for name in sys.argv[2:]:
        importlib.import_module(name)
    control.send(json.dumps({"refused": refusal()}).encode())
    request = serve(control)
    if request is not None:
        become(request)


if __name__ == "__main__":
    _main()
