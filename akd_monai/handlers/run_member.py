# SPDX-License-Identifier: Apache-2.0
"""The interface of a handler that has a state to save."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

__all__ = ["RunMember"]


class RunMember(ABC):
    """Base class of handlers whose state :class:`ResumableCheckpoint` saves and restores without being told of them.

    Attach such a handler to the trainer, or to an evaluator that a ``ValidationHandler`` of the trainer runs. The calls
    are :meth:`enter_run`, :meth:`start_run`, any number of :meth:`run_state`, and :meth:`leave_run`.

    Example:
        >>> class Counter(RunMember):
        ...     count = 0
        ...     def run_state(self):
        ...         return {"count": self.count}
        ...     def start_run(self, state):
        ...         self.count = state.get("count", 0) if state else 0
        >>> counter = Counter()
        >>> counter.start_run({"count": 3})
        >>> counter.run_state()
        {'count': 3}
    """

    def enter_run(self, run: str, *, replace: bool) -> None:  # noqa: B027 - most members need nothing
        """Take what the run needs for itself, or refuse; called on the first process, before anything is loaded.

        Args:
            run: name of the run, the same whenever it is started in its folder, and no other run's.
            replace: whether the user has asked to start from the beginning, whatever is there.

        Raises:
            InputError: if something belongs to another run.
        """

    def leave_run(self) -> None:  # noqa: B027 - as above
        """Give back what :meth:`enter_run` took; called however the run ends, also if it was refused."""

    @abstractmethod
    def run_state(self) -> dict[str, Any]:
        """Return the state as tensors, numbers, strings, lists and dictionaries."""

    @abstractmethod
    def start_run(self, state: Mapping[str, Any] | None) -> None:
        """Continue from ``state``, which may lack entries, or start from the beginning when it is None."""
