# SPDX-License-Identifier: Apache-2.0
"""Keep a training running while a server cannot be reached."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

from akd_monai.errors import one_line
from akd_monai.handlers._mlflow_run import without_password

__all__ = ["Outage", "limit_retries"]

_PAUSE_SECONDS = 60.0
_LONGEST = 200
# An unreachable server would otherwise hold a run up for minutes at each call.
_LIMITS = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}

logger = logging.getLogger(__name__)


def limit_retries() -> None:
    """Tell MLflow to give up soon on a server that does not answer, unless the user has said otherwise."""
    for name, value in _LIMITS.items():
        os.environ.setdefault(name, value)


class Outage:
    """Run actions that talk to MLflow; after one has failed, skip them for a minute.

    Args:
        kept_in: file in which the caller keeps what could not be sent, for the warning.
        what: what continues all the same, for the warning.

    Example:
        >>> outage = Outage(Path("spool.jsonl"))
        >>> outage.attempt(lambda: None), outage.attempt(lambda: 1 / 0), outage.attempt(lambda: None)
        (True, False, False)
    """

    def __init__(self, kept_in: Path, what: str = "training") -> None:
        self._kept_in = kept_in
        self._what = what
        self._pause_until = 0.0
        self._warned = False

    def attempt(self, action: Callable[[], object]) -> bool:
        """Return whether ``action`` was run without an error; the first error is logged as a warning."""
        if time.monotonic() < self._pause_until:
            return False
        try:
            action()
        except Exception as error:  # whatever goes wrong here, the training is worth more
            self._pause_until = time.monotonic() + _PAUSE_SECONDS
            self._warn(error)
            return False
        return True

    def end_pause(self) -> None:
        """Let the next action run, however soon after a failure."""
        self._pause_until = 0.0

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            self._warned = True
            # before it is cut, which might take the @ away that ends a password
            reason = one_line(without_password(str(error)), _LONGEST)
            logger.warning(
                "MLflow cannot be reached (%s): %s continues, and what is not sent is kept in %s",
                reason,
                self._what,
                self._kept_in,
            )
