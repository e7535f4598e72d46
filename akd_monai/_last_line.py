# SPDX-License-Identifier: Apache-2.0
"""How a user's mistake ends a program: with one line and exit code 2, also under ``python -m monai.bundle``."""

from __future__ import annotations

import sys
from types import TracebackType

from akd_monai.errors import InputError

__all__ = ["end_in_one_line", "user_error"]

_EXIT_CODE = 2


def end_in_one_line() -> None:
    """Let mistakes end ``python -m monai.bundle ...`` as they end this package's commands; no other program is changed.

    MONAI shows several tracebacks, the last line of which is the config's expression, and exits with 1. All other errors
    are shown as before.
    """
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    if spec is None or not spec.name.startswith("monai.bundle"):
        return
    before = sys.excepthook

    def show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        mistake = user_error(error)
        if mistake is None:
            before(kind, error, trace)
            return
        sys.stderr.write(f"akd_monai: {mistake}\n")
        # raised here, it sets the exit code
        raise SystemExit(_EXIT_CODE)

    sys.excepthook = show


def user_error(error: BaseException | None) -> InputError | None:
    """Return the user's mistake that ``error`` reports, or None where it is an error of the program.

    MONAI's config parser wraps what a config raises, several times, so causes are followed. What merely happened while
    a mistake was being handled is no consequence of it, except inside MONAI.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, InputError):
            return error
        seen.add(id(error))
        error = error.__cause__ or _wrapped_by_monai(error)
    return None


def _wrapped_by_monai(error: BaseException) -> BaseException | None:
    if error.__suppress_context__ or error.__traceback__ is None:
        return None
    trace = error.__traceback__
    while trace.tb_next is not None:
        trace = trace.tb_next
    raised_in = str(trace.tb_frame.f_globals.get("__name__", ""))
    return error.__context__ if raised_in.startswith("monai.") else None
