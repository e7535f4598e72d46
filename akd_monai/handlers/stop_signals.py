# SPDX-License-Identifier: Apache-2.0
"""SIGTERM and Ctrl-C as a wish to stop at the next good moment."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_NOTICE = b"\nStopping after this step and saving; Ctrl-C again ends the process at once, unsaved.\n"


class StopSignals:
    """Remember the first SIGTERM or SIGINT instead of dying of it; a SIGINT after it ends the process at once.

    Only the main thread can do that; elsewhere signals keep their meaning.

    Example:
        >>> signals = StopSignals()
        >>> signals.install()
        >>> os.kill(os.getpid(), signal.SIGTERM)
        >>> signals.received == signal.SIGTERM
        True
        >>> signals.restore()
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._previous: dict[int, Any] = {}

    def install(self) -> None:
        """Start to listen."""
        if threading.current_thread() is threading.main_thread() and not self._previous:
            self._previous = {number: signal.signal(number, self._receive) for number in _SIGNALS}

    def restore(self) -> None:
        """Give the signals back the meaning they had before."""
        for number, previous in self._previous.items():
            signal.signal(number, previous if previous is not None else signal.SIG_DFL)
        self._previous = {}

    def agreed(self, device: torch.device) -> int | None:
        """Return the signal that any process of the group received; every process must ask at the same iteration."""
        if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
            return self.received
        number = torch.tensor(self.received or 0, device=device)
        dist.all_reduce(number, op=dist.ReduceOp.MAX)
        self.received = int(number) or None
        return self.received

    def _receive(self, number: int, _: FrameType | None) -> None:
        if self.received is not None:
            # Batch systems may send SIGTERM several times; only a person presses a key twice.
            if number == signal.SIGINT:
                os._exit(128 + number)
            return
        self.received = number
        with contextlib.suppress(OSError):  # logging is not safe inside a signal handler
            os.write(2, _NOTICE)
