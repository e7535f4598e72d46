# SPDX-License-Identifier: Apache-2.0
"""Turn SIGTERM and Ctrl-C into a stop request, honoured at the next safe point."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from types import FrameType
from typing import Any

import ignite.distributed as idist

__all__ = ["StopSignals"]

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

    def agreed(self) -> int | None:
        """Return the signal that any process of the group received; every process must ask at the same iteration."""
        if idist.get_world_size() > 1:
            highest = idist.all_reduce(self.received or 0, op="MAX")
            self.received = int(highest) or None
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
