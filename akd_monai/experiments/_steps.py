# SPDX-License-Identifier: Apache-2.0
"""Run commands one after the other, each printed first, and remember which are done."""

from __future__ import annotations

import ctypes
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from akd_monai._home import map_strings, without_home
from akd_monai.errors import InputError
from akd_monai.files import read_json, write_json

__all__ = ["StepError", "Steps", "say"]

# from linux/prctl.h
_PR_SET_PDEATHSIG = 1


class StepError(RuntimeError):
    """A command of an experiment ended with an error; its own output has said why."""

    def __init__(self, command: str, code: int) -> None:
        super().__init__(f"exit code {code} from: {command}")
        self.code = code


class Steps:
    """Commands of one experiment in one folder; those that are done are not run again.

    Args:
        folder: where the record ``steps.json`` is kept.
        settings: what the experiment is; another content in the same folder is refused.

    Raises:
        InputError: when the folder holds an experiment with other settings.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self._record = folder / "steps.json"
        folder.mkdir(parents=True, exist_ok=True)
        self._state: dict[str, Any] = {"settings": map_strings(settings, without_home), "done": {}}
        if self._record.is_file():
            found = read_json(
                self._record, remedy="delete it and start again, or name another folder with --output_dir"
            )
            before = map_strings(found["settings"], without_home)
            differing = [k for k in settings if before.get(k) != self._state["settings"][k]]
            if differing:
                raise InputError(
                    f"{str(folder)!r} holds a run with another {', '.join(differing)}; "
                    "name another folder with --output_dir, or delete this one."
                )
            self._state["done"] = map_strings(found["done"], lambda text: without_home(text, "$HOME"))

    @property
    def commands(self) -> list[str]:
        """The commands that are done, in order."""
        return [step["command"] for step in self._state["done"].values() if step["command"]]

    def done(self, name: str) -> bool:
        """Whether the step called ``name`` is done."""
        return name in self._state["done"]

    def finish(self, name: str, command: str, seconds: float) -> None:
        """Record a step as done."""
        self._state["done"][name] = {"command": without_home(command, "$HOME"), "seconds": round(seconds, 1)}
        write_json(self._record, self._state, indent=2)

    def run(self, name: str, arguments: Sequence[str], folder: Path) -> None:
        """Show and run ``python`` with ``arguments`` in ``folder``, unless it is done.

        Raises:
            StepError: when the command fails.
            KeyboardInterrupt: when the user stops it.
        """
        shown = f"(cd {_quoted(os.path.relpath(folder))} && python {' '.join(map(_quoted, arguments))})"
        if self.done(name):
            say(f"{name}: done before")
            return
        say(f"\n{name}\n  {shown}")
        start = time.monotonic()
        # MLflow's variables would go before the commands' own settings; the warnings are MONAI's standing notes about
        # trusting configs, which are the project's own here
        environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")} | {
            "PYTHONWARNINGS": "ignore"
        }
        # threads that spin for long while they wait for each other bring a machine that is busy otherwise to a crawl
        environment.setdefault("GOMP_SPINCOUNT", "3000")
        with _CtrlCLater() as ctrl_c:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=folder,
                env=environment,
                preexec_fn=_detach if os.name == "posix" else None,
            )
            try:
                ctrl_c.deliver()
                code = process.wait()
            except KeyboardInterrupt:
                # not Ctrl-C itself, which a command that is still importing answers with a traceback; a training that
                # has begun writes its checkpoint
                process.terminate()
                process.wait()
                raise
        if code in (130, -2):
            raise KeyboardInterrupt
        if code:
            raise StepError(shown, code)
        self.finish(name, shown, time.monotonic() - start)


class _CtrlCLater:
    """Keep a Ctrl-C back until :meth:`deliver`; only the main thread can, elsewhere it has no effect.

    Python runs the hooks of :func:`os.register_at_fork` right after a fork and drops what they raise, so that a Ctrl-C
    which arrives during the fork of a large process is lost.
    """

    def __enter__(self) -> _CtrlCLater:
        self._received = False
        self._main = threading.current_thread() is threading.main_thread()
        if self._main:
            self._before = signal.signal(signal.SIGINT, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        if self._main:
            signal.signal(signal.SIGINT, self._before if self._before is not None else signal.SIG_DFL)

    def deliver(self) -> None:
        """Give Ctrl-C its former meaning back, and act on one that has come."""
        self.__exit__()
        if self._received:
            signal.raise_signal(signal.SIGINT)

    def _receive(self, *_: object) -> None:
        self._received = True


def _detach() -> None:
    """Leave the terminal's group, whose Ctrl-C the parent handles; on Linux, get SIGTERM when the parent is killed."""
    os.setpgid(0, 0)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def say(text: str) -> None:
    """Write a line for the user between the commands' own output, in order with it."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _quoted(argument: str) -> str:
    """Quote for a shell; lists of names, which hold single quotes, read best between double quotes.

    Example:
        >>> print(_quoted("--sites=['RUNMC']"))
        "--sites=['RUNMC']"
    """
    plain = "'" in argument and not set(argument) & set('"$`\\!')
    return f'"{argument}"' if plain else shlex.quote(argument)
