# SPDX-License-Identifier: Apache-2.0
"""How a mistake, a fault of the machine or a signal ends a program: with one line, also under ``python -m monai.bundle``."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
import time
import traceback
from multiprocessing import util
from types import FrameType, TracebackType

from akd_monai._faults import MACHINE_FAULT, machine_fault
from akd_monai.errors import BundleError, InputError, lost_process

__all__ = [
    "SHOW_TRACEBACK",
    "UNREAD",
    "end_in_one_line",
    "is_unread",
    "last_line",
    "leave_at_signals",
    "user_error",
    "wait_for_pools",
]

# a variable of the environment under which the tracebacks are shown before the line
SHOW_TRACEBACK = "AKD_TRACEBACK"

# seconds at most that the end of a program waits for volumes that are still being read
_WAIT = 60.0
_MISTAKE = 2
_FAULT = 1
_LOST = "lost-process"
# exit code of a program whose output nobody reads any more, as after `| head`: that of SIGPIPE, which Python ignores
UNREAD = 128 + 13
_WORDS: dict[int, str] = {signal.SIGINT: "stopped by Ctrl-C", signal.SIGTERM: "stopped by SIGTERM"}


def end_in_one_line(program: str | None = None) -> None:
    """Let mistakes and faults end ``python -m monai.bundle ...`` as they end this package's commands.

    MONAI shows several tracebacks, the last line of which is the config's expression, and exits with 1. All other errors
    are shown as before, and no other program is changed.

    Args:
        program: module that is run; by default the one with which the interpreter was started.
    """
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    name = program if program is not None else getattr(spec, "name", "")
    if not name.startswith("monai.bundle"):
        return
    before = sys.excepthook
    leave_at_signals()

    def show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        ending = last_line(error)
        if ending is None:
            before(kind, error, trace)
            return
        line, code = ending
        sys.stderr.write(f"akd_monai: {line}\n")
        # raised here, it sets the exit code
        raise SystemExit(code)

    sys.excepthook = show


def last_line(error: BaseException) -> tuple[str, int] | None:
    """Return the line and the exit code with which ``error`` ends a program; None for an error of the program.

    A user's mistake is code 2, a fault of the machine or of the numerics 1, Ctrl-C 130. Where the variable
    ``AKD_TRACEBACK`` of the environment is set, the tracebacks are written before.
    """
    if isinstance(error, KeyboardInterrupt):
        return f"{_WORDS[signal.SIGINT]}.", 128 + signal.SIGINT
    mistake = user_error(error)
    if mistake is not None:
        ending = str(mistake), _FAULT if mistake.code in (_LOST, MACHINE_FAULT) else _MISTAKE
    else:
        fault = _first_fault(error)
        if not fault:
            return None
        ending = fault, _FAULT
    if os.environ.get(SHOW_TRACEBACK):
        traceback.print_exception(error)
    return ending


def is_unread() -> bool:
    """Return whether nobody reads this program's output any more; it then takes all that is still to come and drops it.

    To be asked after a ``BrokenPipeError``, which pipes to other processes and connections raise as well.
    """
    try:
        output = sys.stdout.fileno()
        poll = select.poll()
    except (AttributeError, ValueError):  # no file, and Windows has no poll
        return False
    poll.register(output, 0)
    if not any(event & select.POLLERR for _, event in poll.poll(0)):
        return False
    nowhere = os.open(os.devnull, os.O_WRONLY)
    # the interpreter writes what it still holds when it ends
    os.dup2(nowhere, output)
    os.close(nowhere)
    return True


def user_error(error: BaseException | None) -> InputError | None:
    """Return the user's mistake that ``error`` reports, or that a process was lost; None for an error of the program.

    MONAI's config parser wraps what a config raises, several times, so causes are followed. What merely happened while
    a mistake was being handled is no consequence of it, except inside MONAI.
    """
    chain = _chain(error)
    # first of all: it says what is wrong, whatever it is wrapped in
    for inner in chain:
        if isinstance(inner, InputError):
            return inner
    return next(filter(None, map(lost_process, reversed(chain))), None)


def _first_fault(error: BaseException) -> str:
    # what explains a fault, with its folder, is raised from the fault; a BundleError only repeats what it wraps
    for inner in sorted(_chain(error), key=lambda one: isinstance(one, BundleError)):
        fault = machine_fault(inner)
        if fault:
            return fault
    return ""


def _chain(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and not any(error is known for known in found):
        found.append(error)
        error = error.__cause__ or _wrapped_by_monai(error)
    return found


def _wrapped_by_monai(error: BaseException) -> BaseException | None:
    if error.__suppress_context__ or error.__traceback__ is None:
        return None
    trace = error.__traceback__
    while trace.tb_next is not None:
        trace = trace.tb_next
    raised_in = str(trace.tb_frame.f_globals.get("__name__", ""))
    return error.__context__ if raised_in.startswith("monai.") else None


def leave_at_signals() -> None:
    """Let Ctrl-C and SIGTERM end the process with one line, also while modules are being imported.

    An interrupt inside an import is often turned into another error, by C code that is being initialised, so the process
    then ends at once: nothing has been started that would be lost. Elsewhere it is raised, so that files are closed and
    temporary ones deleted. Signals to which somebody listens already are left alone.
    """
    owner = os.getpid()

    def leave(number: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:
            # a worker process that inherited this
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        if number == signal.SIGINT and not _is_importing(frame):
            raise KeyboardInterrupt
        with contextlib.suppress(OSError):  # logging is not safe inside a signal handler
            os.write(2, f"\nakd_monai: {_WORDS[number]}.\n".encode())
        if _is_importing(frame):
            os._exit(128 + number)
        raise SystemExit(128 + number)

    # only the main thread of a program can listen
    with contextlib.suppress(ValueError):
        for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
            if signal.getsignal(number) == usual:
                signal.signal(number, leave)


def wait_for_pools() -> None:
    """Let the interpreter end only after the threads of thread pools, such as that of MONAI's ``CacheDataset``.

    Where one volume of a ``CacheDataset`` is refused, its pool has begun the next one, and a pool of threads does not
    wait for its threads. One that returns from PyTorch's C++ code to an interpreter that is ending is unwound by force,
    and the C++ runtime then aborts: "terminate called without an active exception", exit code 134 in place of ours.
    """
    # pools have a higher priority: by then they are closed, and their threads end after the item in their hands
    util.Finalize(None, _join_pool_threads, exitpriority=0)


def _join_pool_threads() -> None:
    from multiprocessing.dummy import DummyProcess

    deadline = time.monotonic() + _WAIT
    for thread in threading.enumerate():
        if isinstance(thread, DummyProcess) and thread is not threading.current_thread():
            thread.join(max(0.0, deadline - time.monotonic()))


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
